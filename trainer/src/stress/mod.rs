//! Whether a bundle's verdicts survive what happens to a picture on its way: the pictures of a split under every change of
//! [`crate::changes`], through the device's own code, beside the same pictures unchanged.
//!
//! A verdict that reads the lungs does not ask how the film was stored. So after a harmless change it should be the same: what is
//! counted is *kept*, the share of pictures with the same one of the four verdicts. A bundle that refers everything keeps everything,
//! so what share it answers, and what it keeps of that, stands beside. After a harmful change (a negative, a film on its side) the
//! picture should be put right or refused.
//!
//! [`measure`] reads (`sample`: which pictures; `readings`: what the device says of them, kept for a run that goes on) and counts
//! (`figures`); `tables` and `page` are what is shown of it. `bundle build` asks [`Stress::not_survived`] before it signs.

mod figures;
mod page;
mod readings;
mod sample;
mod tables;

use std::{collections::BTreeSet, sync::atomic::AtomicUsize};

use serde::{Deserialize, Serialize};
use thorax_shared::modality::Modality;

use self::readings::{Reader, Readings};
use crate::{
    changes::{Change, KINDS, Kind},
    data::{Label, Manifest, Split},
    judge::bundle::JudgedModel,
    progress::progress,
};

pub use figures::{Figures, KEPT_AT_LEAST};
pub use page::{Curve, phantom};
pub use readings::{Identity, Kept, Seen};
pub(crate) use sample::Sample;

/// The pictures as they are, which all others are compared with.
const UNCHANGED: &str = "unchanged";

/// A change that every picture is tried with.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Trial {
    /// The kind of change, such as `JPEG`, or `unchanged`.
    pub name: String,
    /// Its strength in words; empty where there is one only.
    pub strength: String,
    /// What is done; `None` for the unchanged picture.
    pub change: Option<Change>,
    /// The picture has to be put right or refused; otherwise the verdict has to be the same.
    pub harmful: bool,
    /// The strength that stands in the tables, and by which a bundle is accepted.
    pub shown: bool,
}

impl Trial {
    /// Name and strength.
    pub fn title(&self) -> String {
        format!("{} {}", self.name, self.strength).trim_end().to_owned()
    }

    fn of(kind: &Kind, strength: usize) -> Self {
        let (words, change) = kind.strengths[strength];
        let (name, shown) = (kind.name.to_owned(), strength == kind.named);
        Self { name, strength: words.to_owned(), change: Some(change), harmful: kind.harmful, shown }
    }
}

/// The unchanged pictures, and the changes of `kinds` (of all, where none is named): each in the strength of the tables, or in all.
///
/// # Errors
/// A name that no kind has, with those that there are.
pub fn trials(kinds: &[String], all_strengths: bool) -> anyhow::Result<Vec<Trial>> {
    let named = |kind: &Kind, name: &String| kind.name.eq_ignore_ascii_case(name.trim());
    if let Some(unknown) = kinds.iter().find(|name| !KINDS.iter().any(|kind| named(kind, name))) {
        let names: BTreeSet<&str> = KINDS.iter().map(|kind| kind.name).collect();
        let names: Vec<&str> = names.into_iter().collect();
        anyhow::bail!("--kinds {unknown}: there is no such change; there are {}", names.join(", "));
    }
    let wanted = KINDS.iter().filter(|kind| kinds.is_empty() || kinds.iter().any(|name| named(kind, name)));
    let of_kinds = wanted.flat_map(|kind| (0..kind.strengths.len()).map(|strength| Trial::of(kind, strength)));
    let unchanged =
        Trial { name: UNCHANGED.into(), strength: String::new(), change: None, harmful: false, shown: true };
    Ok(std::iter::once(unchanged).chain(of_kinds.filter(|trial| all_strengths || trial.shown)).collect())
}

/// What is tried, and on what.
#[derive(Clone, Debug)]
pub struct Settings {
    /// Whose pictures.
    pub split: Split,
    /// So many labelled pictures, and so many with masks; `None` for all.
    pub pictures: Option<usize>,
    /// Of the sample and of the intervals.
    pub seed: u64,
    /// From [`trials`].
    pub trials: Vec<Trial>,
}

/// A picture that was tried.
#[derive(Clone, Debug)]
struct Tried {
    path: String,
    group: String,
    source: String,
    positive: bool,
}

/// What became of a bundle's verdicts.
#[derive(Clone, Debug, Serialize)]
pub struct Stress {
    /// Name and version of the bundle.
    pub bundle: String,
    /// Whose pictures.
    pub modality: Modality,
    /// Of which split.
    pub split: Split,
    /// Labelled pictures.
    pub pictures: usize,
    /// Positive ones among them.
    pub positive: usize,
    /// Patients of the labelled pictures.
    pub patients: usize,
    /// Pictures with a mask of the infection.
    pub masked: usize,
    /// Whether there are more pictures in the split than these.
    pub sampled: bool,
    /// Of the unchanged pictures first, then of each change in the order of [`KINDS`].
    pub figures: Vec<Figures>,
    #[serde(skip)]
    tried: Vec<Tried>,
    /// Of each of `figures`, of each of `tried`.
    #[serde(skip)]
    seen: Vec<Vec<Seen>>,
}

impl Stress {
    /// Harmless changes after which too many verdicts are others, worst first: a bundle for which there is one is not to be trusted
    /// with files of other programs.
    pub fn not_survived(&self) -> Vec<&Figures> {
        let mut fallen: Vec<&Figures> = self.figures.iter().filter(|figures| !figures.survived()).collect();
        fallen.sort_by(|a, b| Figures::worst_first(a, b));
        fallen
    }
}

/// Reads the pictures of a split with `model` under every change. What `kept` has is not read again; a new reading is kept there.
///
/// Returns what was found, and how many changes had to be read.
///
/// # Errors
/// A split without labelled pictures; pictures that cannot be read, graphs that cannot be run, readings that cannot be written.
pub fn measure(
    manifest: &Manifest,
    model: &JudgedModel,
    settings: &Settings,
    kept: Option<&Kept>,
) -> anyhow::Result<(Stress, usize)> {
    let modality = model.manifest().modality;
    let Settings { split, pictures, seed, ref trials } = *settings;
    let sample = Sample::draw(manifest, modality, split, pictures, seed);
    anyhow::ensure!(
        !sample.labelled.is_empty(),
        "the manifest has no labelled {modality} pictures in the {} split; give another --split or manifest",
        split.as_str()
    );
    let whole = Sample::draw(manifest, modality, split, None, seed);
    let taken = AtomicUsize::new(0);
    let reader = Reader::new(manifest, model, &sample, &taken);
    let each = sample.labelled.len() + sample.masked.len();
    let bar = progress(trials.len() * each, &format!("{modality} stress"));
    let mut read = 0;
    let readings = trials.iter().map(|trial| {
        bar.set_message(trial.title());
        if let Some(readings) = kept.and_then(|kept| kept.read(trial, &sample)) {
            bar.inc(each as u64);
            bar.reset_eta();
            return Ok(readings);
        }
        let readings = reader.read(trial, &bar)?;
        read += 1;
        kept.map_or(Ok(()), |kept| kept.write(trial, &readings))?;
        Ok(readings)
    });
    let readings: Vec<Readings> = readings.collect::<anyhow::Result<_>>()?;
    bar.finish_and_clear();
    let tried: Vec<Tried> = sample
        .labelled
        .iter()
        .map(|record| Tried {
            path: record.path.clone(),
            group: record.group.clone(),
            source: record.source.clone(),
            positive: record.label == Label::Positive,
        })
        .collect();
    let masked: Vec<&str> = sample.masked.iter().map(|record| record.group.as_str()).collect();
    let unchanged = &readings[0];
    let figures = trials
        .iter()
        .zip(&readings)
        .map(|(trial, readings)| Figures::count(trial, &tried, &masked, unchanged, readings, seed));
    let stress = Stress {
        bundle: model.title(),
        modality,
        split,
        pictures: tried.len(),
        positive: tried.iter().filter(|picture| picture.positive).count(),
        patients: tried.iter().map(|picture| &picture.group).collect::<BTreeSet<_>>().len(),
        masked: masked.len(),
        sampled: (sample.labelled.len(), sample.masked.len()) != (whole.labelled.len(), whole.masked.len()),
        figures: figures.collect(),
        seen: readings.iter().map(|readings| readings.seen.clone()).collect(),
        tried,
    };
    Ok((stress, read))
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;
    use crate::data::{Record, Task};

    pub(super) fn record(source: &str, patient: &str, label: Label, task: Task) -> Record {
        Record {
            path: format!("{source}/{patient}.png"),
            modality: Modality::Xray,
            task,
            label,
            class: String::new(),
            patient_id: patient.into(),
            group: format!("{source} {patient}"),
            source: source.into(),
            licence: String::new(),
            split: Split::Val,
            mask: String::new(),
            lung_mask: String::new(),
            sha256: String::new(),
            equalised: false,
            masks_sha256: String::new(),
        }
    }

    #[test]
    fn trials_begin_with_the_unchanged_picture_and_are_those_that_were_named() {
        let shown = trials(&[], false).unwrap();
        assert_eq!((shown[0].title().as_str(), shown[0].change), (UNCHANGED, None));
        assert_eq!(shown.len(), 1 + KINDS.len());
        assert!(shown.iter().all(|trial| trial.shown));
        assert!(shown.iter().any(|trial| trial.title() == "JPEG 40" && trial.change == Some(Change::Jpeg(40))));
        let all = trials(&[], true).unwrap();
        assert_eq!(all.len(), 1 + KINDS.iter().map(|kind| kind.strengths.len()).sum::<usize>());
        assert_eq!(all.iter().filter(|trial| trial.shown).count(), shown.len());
        let titles = |kinds: &[&str], all| -> Vec<String> {
            let kinds: Vec<String> = kinds.iter().map(|&kind| kind.into()).collect();
            trials(&kinds, all).unwrap().iter().map(Trial::title).collect()
        };
        assert_eq!(titles(&["jpeg", "turned"], false), ["unchanged", "JPEG 40", "turned 90", "turned 180"]);
        assert_eq!(titles(&["blur"], true), ["unchanged", "blur 0.5", "blur 1", "blur 2"]);
        let refused = trials(&["JPEG".into(), "fax".into()], false).unwrap_err().to_string();
        assert!(refused.contains("fax") && refused.contains("black border, blur"), "{refused}");
    }
}
