//! What the device says of every picture under one change, and the files that keep it.

use std::{
    borrow::Cow,
    fs,
    path::{Path, PathBuf},
    sync::{
        OnceLock,
        atomic::{AtomicUsize, Ordering},
    },
};

use anyhow::Context;
use indicatif::ProgressBar;
use rayon::prelude::*;
use serde::{Deserialize, Serialize};
use thorax_decode::Frame;
use thorax_engine::screening;
use thorax_files::write_atomically;
use thorax_shared::{mask::INFECTION, metrics::Confusion, plane::Plane, verdict::Verdict};

use super::{Trial, sample::Sample};
use crate::{
    changes::{Change, apply_all},
    data::{
        Manifest, Record, Split,
        picture::{Picture, truth_masks},
    },
    files::refuse_existing,
    judge::bundle::JudgedModel,
};

/// Bytes of decoded pictures that are held for the next change. What is beyond them is decoded for each change anew.
const ROOM: usize = 1 << 30;

/// Two pictures whose greys differ by no more than this on average are one.
const SAME_GREYS: f64 = 2.0;

/// What the device says of one labelled picture.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct Seen {
    /// Positive, negative, refer or rejected.
    pub verdict: Verdict,
    /// Probability, and entropy in bits; `None` when rejected before it was read.
    pub evidence: Option<[f32; 2]>,
    /// It was harmed, and what was read is the picture as it was before.
    pub put_right: bool,
}

/// Everything that was read under one change, in the order of the sample.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(super) struct Readings {
    /// The change, by whose definition kept readings are known to be its own.
    pub(super) change: Option<Change>,
    /// Of each labelled picture.
    pub(super) seen: Vec<Seen>,
    /// Pixels of the infection of each picture with a mask; `None` without a segmenter.
    pub(super) masks: Vec<Option<Confusion>>,
}

/// Pictures of a manifest, decoded when they are first asked for, and kept as far as there is room.
struct Pictures<'a> {
    manifest: &'a Manifest,
    records: &'a [&'a Record],
    held: Vec<OnceLock<Picture>>,
    taken: &'a AtomicUsize,
}

impl<'a> Pictures<'a> {
    fn new(manifest: &'a Manifest, records: &'a [&'a Record], taken: &'a AtomicUsize) -> Self {
        Self { manifest, records, held: records.iter().map(|_| OnceLock::new()).collect(), taken }
    }

    fn get(&self, index: usize) -> anyhow::Result<Cow<'_, Picture>> {
        if let Some(picture) = self.held[index].get() {
            return Ok(Cow::Borrowed(picture));
        }
        let picture = Picture::of(self.manifest, self.records[index])?;
        let [width, height] = picture.size();
        // Two bytes a pixel at most.
        match self.taken.fetch_add(2 * width * height, Ordering::Relaxed) < ROOM {
            true => Ok(Cow::Borrowed(self.held[index].get_or_init(|| picture))),
            false => Ok(Cow::Owned(picture)),
        }
    }
}

/// Reads a sample under one change after the other.
pub(super) struct Reader<'a> {
    model: &'a JudgedModel,
    labelled: Pictures<'a>,
    masked: Pictures<'a>,
}

impl<'a> Reader<'a> {
    pub(super) fn new(
        manifest: &'a Manifest,
        model: &'a JudgedModel,
        sample: &'a Sample<'a>,
        taken: &'a AtomicUsize,
    ) -> Self {
        Self {
            model,
            labelled: Pictures::new(manifest, &sample.labelled, taken),
            masked: Pictures::new(manifest, &sample.masked, taken),
        }
    }

    /// Reads every picture of the sample under the change of `trial`.
    ///
    /// # Errors
    /// Pictures that cannot be read, graphs that cannot be run.
    pub(super) fn read(&self, trial: &Trial, bar: &ProgressBar) -> anyhow::Result<Readings> {
        let each = |pictures: &Pictures<'_>| -> Vec<usize> { (0..pictures.records.len()).collect() };
        let seen = each(&self.labelled).into_par_iter().map(|index| {
            let picture = self.labelled.get(index)?;
            let seen = self.see(&picture, trial).with_context(|| self.labelled.records[index].path.clone())?;
            bar.inc(1);
            Ok(seen)
        });
        let seen = seen.collect::<anyhow::Result<_>>()?;
        let masks = each(&self.masked).into_par_iter().map(|index| {
            let record = self.masked.records[index];
            let pixels = self.mark(&*self.masked.get(index)?, record, trial).with_context(|| record.path.clone())?;
            bar.inc(1);
            Ok(pixels)
        });
        Ok(Readings { change: trial.change, seen, masks: masks.collect::<anyhow::Result<_>>()? })
    }

    /// A labelled picture, through the device's own code.
    fn see(&self, picture: &Picture, trial: &Trial) -> anyhow::Result<Seen> {
        let model = self.model.of(picture);
        let spec = &model.manifest.classifier.graph.preprocess;
        let frame = changed(&picture.frame, trial.change, self.model);
        let (reading, _) = screening::read(model, &frame)?;
        let put_right = trial.harmful && same(&reading.picture, &picture.equalise(spec)?.windowed);
        let evidence = reading.evidence.map(|evidence| [evidence.probability, evidence.entropy_bits]);
        Ok(Seen { verdict: reading.verdict, evidence, put_right })
    }

    /// The infection that the segmenter marks, against the true one moved as the picture was.
    fn mark(&self, picture: &Picture, record: &Record, trial: &Trial) -> anyhow::Result<Option<Confusion>> {
        let model = self.model.of(picture);
        let [width, height] = picture.size();
        let truth = truth_masks(self.masked.manifest, record, &Plane::filled(width, height, 0))?;
        let frame = changed(&picture.frame, trial.change, self.model);
        let (found, _) = screening::segment_only(model, &frame)?;
        let Some((found, truth)) = found.zip(truth[INFECTION].as_ref()) else { return Ok(None) };
        let truth = trial.change.map_or_else(|| truth.clone(), |change| change.apply_to_mask(truth));
        let mut pixels = Confusion::default();
        found.infection.data().iter().zip(truth.data()).for_each(|(&f, &t)| pixels.count(f != 0, t != 0));
        Ok(Some(pixels))
    }
}

/// The picture after a change, as another program would have saved it: in eight bits, and without a word on how it hangs.
fn changed<'a>(frame: &'a Frame, change: Option<Change>, model: &JudgedModel) -> Cow<'a, Frame> {
    let Some(change) = change else { return Cow::Borrowed(frame) };
    let window = &model.manifest().classifier.graph.preprocess.window;
    let pixels = apply_all(&[change], frame.pixels.clone(), window);
    Cow::Owned(Frame { pixels, sides_known: false, ..frame.clone() })
}

/// Whether two pictures are one.
fn same(a: &Plane<u8>, b: &Plane<u8>) -> bool {
    if (a.width(), a.height()) != (b.width(), b.height()) {
        return false;
    }
    let apart: f64 = a.data().iter().zip(b.data()).map(|(a, b)| f64::from(a.abs_diff(*b))).sum();
    apart <= SAME_GREYS * a.data().len() as f64
}

/// By what kept readings are known to be of the same bundle and pictures.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Identity {
    /// The bundle's file, hexadecimal.
    pub bundle_sha256: String,
    /// The manifest, hexadecimal.
    pub manifest_sha256: String,
    /// Whose pictures.
    pub split: Split,
    /// Pictures of the sample; `None` for all.
    pub pictures: Option<usize>,
    /// Of the sample.
    pub seed: u64,
    /// By whose definition of the changes.
    pub program: String,
}

/// A folder that keeps the readings under each change, so that a run that was stopped goes on.
pub struct Kept {
    folder: PathBuf,
}

impl Kept {
    /// The readings of `identity` in `folder`, which may have none yet. Those of another identity are refused; with `force` they are
    /// forgotten.
    ///
    /// # Errors
    /// A folder with the readings of another bundle, manifest, split, sample or version; one that cannot be written.
    pub fn open(folder: &Path, identity: &Identity, force: bool) -> anyhow::Result<Self> {
        let kept = Self { folder: folder.join("readings") };
        let path = folder.join("config.json");
        let there: Option<Identity> = fs::read(&path).ok().and_then(|text| serde_json::from_slice(&text).ok());
        if there.as_ref() == Some(identity) {
            return Ok(kept);
        }
        if there.is_some() {
            anyhow::ensure!(
                force,
                "{}: has the readings of another bundle, manifest, split, sample or version of the program; choose another --out, or \
                 give --force to begin anew there",
                folder.display()
            );
        } else {
            [path.clone(), folder.join("stress.md")].iter().try_for_each(|path| refuse_existing(path, force))?;
        }
        if kept.folder.exists() {
            fs::remove_dir_all(&kept.folder).with_context(|| kept.folder.display().to_string())?;
        }
        let text = serde_json::to_vec_pretty(identity)?;
        write_atomically(&path, |out| out.write_all(&text))?;
        Ok(kept)
    }

    fn path(&self, trial: &Trial) -> PathBuf {
        self.folder.join(format!("{}.json", file_name(&trial.title())))
    }

    /// What was read under the change of `trial`, if that is known: of the same definition, and of as many pictures.
    pub(super) fn read(&self, trial: &Trial, sample: &Sample<'_>) -> Option<Readings> {
        let readings: Readings = serde_json::from_slice(&fs::read(self.path(trial)).ok()?).ok()?;
        let whole = readings.seen.len() == sample.labelled.len() && readings.masks.len() == sample.masked.len();
        (readings.change == trial.change && whole).then_some(readings)
    }

    pub(super) fn write(&self, trial: &Trial, readings: &Readings) -> anyhow::Result<()> {
        let text = serde_json::to_vec(readings)?;
        Ok(write_atomically(&self.path(trial), |out| out.write_all(&text))?)
    }
}

/// A title as the name of a file.
pub(super) fn file_name(title: &str) -> String {
    let letter = |letter: char| if letter.is_ascii_alphanumeric() || ".-".contains(letter) { letter } else { '_' };
    title.chars().map(letter).collect()
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use thorax_shared::verdict::RejectReason;

    use super::*;
    use crate::{
        data::{Label, Task},
        stress::{tests::record, trials},
    };

    #[test]
    fn readings_are_kept_by_bundle_manifest_and_definition() {
        let folder = tempfile::tempdir().unwrap();
        let identity = Identity {
            bundle_sha256: "b".into(),
            manifest_sha256: "m".into(),
            split: Split::Val,
            pictures: Some(1),
            seed: 1,
            program: "p".into(),
        };
        let picture = record("a", "1", Label::Positive, Task::Classify);
        let sample = Sample { labelled: vec![&picture], masked: vec![] };
        let trial = &trials(&["JPEG".into()], false).unwrap()[1];
        let seen = Seen {
            verdict: Verdict::Rejected(RejectReason::Blurred),
            evidence: Some([0.1, 0.468_995_6]),
            put_right: false,
        };
        let readings = Readings { change: trial.change, seen: vec![seen], masks: vec![] };
        let kept = Kept::open(folder.path(), &identity, false).unwrap();
        assert_eq!(kept.read(trial, &sample), None);
        kept.write(trial, &readings).unwrap();
        let kept = Kept::open(folder.path(), &identity, false).unwrap();
        assert_eq!(kept.read(trial, &sample), Some(readings));
        // Another strength under the name, another number of pictures.
        let other = Trial { change: Some(Change::Jpeg(39)), ..trial.clone() };
        assert_eq!(kept.read(&other, &sample), None);
        assert_eq!(kept.read(trial, &Sample { labelled: vec![], masked: vec![] }), None);

        let identity = Identity { bundle_sha256: "other".into(), ..identity };
        let refused = Kept::open(folder.path(), &identity, false).err().unwrap().to_string();
        assert!(refused.contains("another bundle") && refused.contains("--force"), "{refused}");
        let kept = Kept::open(folder.path(), &identity, true).unwrap();
        assert_eq!(kept.read(trial, &sample), None);
    }

    #[test]
    fn a_picture_is_put_right_when_it_is_what_it_was() {
        let picture = Plane::from_fn(40, 30, |x, y| (3 * x + 2 * y) as u8);
        assert!(same(&picture, &picture.map(|grey| grey + 1)));
        let negative = Change::Negative.apply(&picture);
        assert!(!same(&picture, &negative) && same(&picture, &Change::Negative.apply(&negative)));
        assert!(
            !same(&picture, &Change::Turned(1).apply(&picture)) && !same(&picture, &Change::Turned(2).apply(&picture))
        );
    }

    #[test]
    fn titles_are_names_of_files() {
        assert_eq!(file_name("black border 12 %"), "black_border_12__");
        assert_eq!(file_name("range 40-200"), "range_40-200");
        let titles: Vec<String> = trials(&[], true).unwrap().iter().map(|trial| file_name(&trial.title())).collect();
        let mut different = titles.clone();
        different.sort();
        different.dedup();
        assert_eq!(different.len(), titles.len(), "no two changes share a file");
    }
}
