//! From a study that was received to all that is kept of its result.
//!
//! A study is what came under one Study Instance UID: a film, two films, the slices of a series with its overview. Its objects get
//! names by the order in which they came, in a folder made for the purpose, since the journal's names are hashes, which say nothing
//! to anybody, and a sender's names may be a patient's. From there on it is a folder of files, read as `thorax-edge screen FOLDER`
//! reads it: slices of a series are one volume and have one verdict, the rest is read file by file, and what is passed over is told.
//!
//! The study has one line in the journal, that of the image that needs a person most: *positive* before *refer* before *negative*
//! before *rejected*. All of it is in `outcome.json`; the DICOM objects of each image and what the panel shows of it lie beside.

use std::{
    io,
    os::unix::fs::symlink,
    path::{Path, PathBuf},
};

use chrono::{Datelike, Timelike};
use embedded_graphics::Drawable;
use serde_json::{Value, json};
use tempfile::TempDir;
use thorax_decode::{Gathered, Input, Limits, as_stored, gather};
use thorax_engine::{
    error::DeviceError,
    model::Model,
    screening::{Reading, Screener, Screening},
};
use thorax_files::hexadecimal;
use thorax_journal::{Kind, Moment, Summary, TakenObject, TakenStudy, Thresholds};
use thorax_objects::{
    self as structured, Bundle, Device, Lungs, Masks, ObjectError, Panel, Provenance, Segmentation,
    SegmentationBuilder, Source, capture, report as structured_report,
};
use thorax_screen::{Framebuffer, PANEL};
use thorax_shared::{plane::Plane, reason::Reason, verdict::Verdict, words::Language};

use super::{bundles::Keeper, state::Progress};
use crate::{
    outcome::{Cost, Hanging, Outcome, screen_file, too_young},
    profile::Site,
    report::{self, Row},
};

/// The whole result of a study, for programs.
pub(super) const OUTCOME: &str = "outcome.json";

/// What reads studies: bundles, and what the site asks for.
pub(super) struct Reader {
    pub(super) screener: Screener,
    /// Who knows whose thresholds they decide by.
    pub(super) keeper: Keeper,
    /// Slices to read of a volume.
    pub(super) slices: usize,
    pub(super) site: Site,
    /// Whether the picture and its overlays are kept, as the page shows them.
    pub(super) pictures: bool,
    /// Where folders of links are made, on the disk of the data.
    pub(super) work: PathBuf,
}

/// Why a study was not read; it is not to blame.
#[derive(Debug, thiserror::Error)]
pub(super) enum ReadError {
    /// Nothing can be read before somebody has mended the device.
    #[error(transparent)]
    Device(#[from] DeviceError),
    /// The system refuses what may work later.
    #[error("the study's folder cannot be made ({0}): check the disk and its permissions")]
    Io(#[from] io::Error),
}

/// What is to be kept of a study.
#[derive(Debug)]
pub(super) struct Finding {
    pub(super) summary: Summary,
    /// Labels and bytes.
    pub(super) files: Vec<(String, Vec<u8>)>,
    /// What the panel shows of it: its most urgent image; `None` where none was to be read.
    pub(super) shown: Option<Outcome>,
    /// The patient's number, as the file of that image has it; empty where it does not tell.
    pub(super) patient_id: String,
}

impl Finding {
    /// Whether there is anything that an archive takes.
    pub(super) fn has_objects(&self) -> bool {
        self.files.iter().any(|(label, _)| label.ends_with(".dcm"))
    }

    /// Of a study at which the program failed.
    pub(super) fn failed(study: &TakenStudy) -> Self {
        let reason = Reason::new(
            "the program failed at this study",
            "look at it yourself, and report the fault with the images",
        );
        let summary = Summary {
            verdict: "rejected".into(),
            cause: Some(reason.cause.to_string()),
            remedy: reason.remedy.as_ref().map(ToString::to_string),
            ..Summary::default()
        };
        let outcome = json!({
            "study": study.number,
            "research_use_only": true,
            "verdict": summary.verdict,
            "cause": summary.cause,
            "remedy": summary.remedy,
        });
        let shown = Outcome::Refused(reason);
        Self {
            summary,
            files: vec![(OUTCOME.into(), outcome.to_string().into_bytes())],
            shown: Some(shown),
            patient_id: String::new(),
        }
    }
}

/// An image or volume of the study, read.
struct Read {
    input: Input,
    /// Its objects, by place in the study.
    objects: Vec<usize>,
    outcome: Outcome,
    cost: Cost,
    /// `None` where no DICOM objects can be made of it.
    made: Option<Made>,
    /// What is to be told beside what reading told.
    notes: Vec<String>,
}

/// What DICOM objects are made of.
struct Made {
    /// The pictures that were looked at.
    sources: Vec<Source>,
    segmentation: Option<Segmentation>,
    provenance: Provenance,
}

impl Reader {
    /// Reads a study at `now`, and tells `tell` how far it is.
    pub(super) fn read(&self, study: &TakenStudy, now: Moment, tell: &dyn Fn(Progress)) -> Result<Finding, ReadError> {
        let folder = self.linked(&study.objects)?;
        let Gathered { mut inputs, passed_over } = gather(&[folder.path().to_owned()], &Limits::default(), None);
        inputs.retain(|input| !matches!(input, Input::Empty(_)));
        let images: Vec<usize> = inputs.iter().map(|input| images_of(input.files().len(), self.slices)).collect();
        let mut progress = Progress { done: 0, all: images.iter().sum() };
        tell(progress);
        let mut reads = vec![];
        for (input, images) in inputs.into_iter().zip(images) {
            let mut slices = 0;
            // The last one is done when all that follows from the slices is.
            let slice_read = || {
                slices += 1;
                tell(Progress { done: progress.done + slices.min(images - 1), ..progress });
            };
            reads.push(self.read_input(input, &study.objects, now, slice_read)?);
            progress.done += images;
            tell(progress);
        }
        let passed_over: Vec<(usize, String)> =
            passed_over.into_iter().filter_map(|(path, why)| Some((place(&path)?, why))).collect();
        Ok(self.finding(study, reads, &passed_over, now))
    }

    /// A folder of links to the objects, named by their order.
    fn linked(&self, objects: &[TakenObject]) -> io::Result<TempDir> {
        let folder = tempfile::Builder::new().prefix("study-").tempdir_in(&self.work)?;
        for (index, object) in objects.iter().enumerate() {
            symlink(&object.path, folder.path().join(name(index)))?;
        }
        Ok(folder)
    }

    fn read_input(
        &self,
        input: Input,
        objects: &[TakenObject],
        now: Moment,
        mut slice_read: impl FnMut(),
    ) -> Result<Read, ReadError> {
        let places: Vec<usize> = input.files().iter().filter_map(|file| place(file)).collect();
        let is_dicom = |place: &usize| {
            objects.get(*place).is_some_and(|object| matches!(object.object.what.kind, Kind::Dicom { .. }))
        };
        let first = match input.files().first() {
            Some(file) if places.iter().all(is_dicom) => Some(Source::open(file)),
            _ => None,
        };
        let reason = first.as_ref().and_then(|first| self.not_asked_for(first.as_ref().ok()?));
        if let Some(reason) = reason {
            let outcome = Outcome::Refused(reason);
            return Ok(Read { input, objects: places, outcome, cost: Cost::default(), made: None, notes: vec![] });
        }
        let mut marked = first.map(|first| Marked::new(&input, first));
        let (outcome, cost) = screen_file(&self.screener, &input, None, self.slices, |slice, reading, hanging| {
            if let Some(marked) = &mut marked {
                marked.add(slice, reading, hanging);
            }
            slice_read();
        })?;
        let mut notes = vec![];
        let made = match (&outcome, marked) {
            (Outcome::Screened(screening), Some(marked)) => {
                let made = provenance(&self.site, screening, now).and_then(|p| marked.finish(p, &mut notes));
                made.map_err(|error| notes.push(format!("no DICOM objects: {error}"))).ok()
            }
            _ => None,
        };
        Ok(Read { input, objects: places, outcome, cost, made, notes })
    }

    /// Why the site does not want this picture read, as far as the file tells.
    fn not_asked_for(&self, source: &Source) -> Option<Reason> {
        // What no bundle may read need not be read to know by which it would have been.
        let of_bundles = self.screener.models().iter().map(|model| model.manifest.extension.minimum_age_years);
        let least = least_age(self.site.minimum_age_years, of_bundles);
        if let Some(reason) = least.and_then(|least| too_young(source.patient_age_years()?, least)) {
            return Some(reason);
        }
        let parts = &self.site.body_parts;
        let part = source.body_part().filter(|part| !parts.is_empty() && !parts.contains(part))?;
        let cause = format!("the file says that it shows {part}, which is not read here");
        Some(Reason::new(cause, "send a chest, or put the body part right at the modality"))
    }

    /// The bundle that a study, or an image of it, was read by.
    fn model(&self, sha256: &[u8; 32]) -> Option<&Model> {
        self.screener.models().iter().find(|model| model.identity.sha256 == *sha256)
    }

    /// The thresholds by which a bundle decides.
    fn thresholds(&self, sha256: &[u8; 32]) -> Option<Thresholds> {
        self.model(sha256).map(|model| self.keeper.thresholds(model))
    }

    fn finding(
        &self,
        study: &TakenStudy,
        mut reads: Vec<Read>,
        passed_over: &[(usize, String)],
        now: Moment,
    ) -> Finding {
        let mut files = vec![];
        let mut readings = vec![];
        for (index, read) in reads.iter().enumerate() {
            let mut notes = read.notes.clone();
            let mut labels = vec![];
            let thresholds = match &read.outcome {
                Outcome::Screened(screening) => self.thresholds(&screening.bundle.sha256),
                Outcome::Refused(_) => None,
            };
            for (what, ending, made) in results(study, read, self.pictures, thresholds) {
                let label = match index {
                    0 => format!("{what}.{ending}"),
                    index => format!("{what}-{}.{ending}", index + 1),
                };
                match made {
                    Ok(bytes) => {
                        labels.push(label.clone());
                        files.push((label, bytes));
                    }
                    Err(reason) => notes.push(format!("no {label}: {reason}")),
                }
            }
            let mut reading = reading_json(study, read, &notes, &labels);
            if let Outcome::Screened(_) = &read.outcome {
                reading["thresholds"] = json!(thresholds);
            }
            readings.push(reading);
        }
        let mut summary = summary(&reads, passed_over);
        summary.thresholds = summary.bundle_sha256.and_then(|sha256| self.thresholds(&sha256));
        let passed_over = passed_over.iter().map(|(place, why)| json!({ "image": image(study, *place), "cause": why }));
        let outcome = json!({
            "study": study.number,
            "key": study.study.key,
            "round": study.study.round,
            "site": self.site.name,
            "read_utc": now.utc(),
            "research_use_only": true,
            "verdict": summary.verdict,
            "cause": summary.cause,
            "remedy": summary.remedy,
            "readings": readings,
            "passed_over": passed_over.collect::<Vec<Value>>(),
        });
        files.insert(0, (OUTCOME.into(), outcome.to_string().into_bytes()));
        let shown = leading(&reads).map(|place| reads.swap_remove(place));
        let source = shown.as_ref().and_then(|read| read.made.as_ref()?.sources.first());
        let patient_id = source.map_or_else(String::new, |source| source.patient().id);
        Finding { summary, files, shown: shown.map(|read| read.outcome), patient_id }
    }
}

/// How many images are to be read of an input of so many files, of which at most `slices` slices are (0: all). A volume in one file is told as
/// one image, since its slices are not known before it is decoded.
fn images_of(files: usize, slices: usize) -> usize {
    match slices {
        0 => files.max(1),
        most => files.clamp(1, most),
    }
}

/// Collects what was marked on each picture, on the pixels of its file.
struct Marked<'a> {
    input: &'a Input,
    /// The data set of the first file.
    first: Result<Source, ObjectError>,
    /// The pictures that were looked at.
    sources: Vec<Source>,
    segmentation: SegmentationBuilder,
    /// Whether anything was added to it.
    any: bool,
    problem: Option<String>,
}

impl<'a> Marked<'a> {
    fn new(input: &'a Input, first: Result<Source, ObjectError>) -> Self {
        let segmentation = SegmentationBuilder::default();
        Self { input, first, sources: vec![], segmentation, any: false, problem: None }
    }

    fn add(&mut self, slice: Option<usize>, reading: &Reading, hanging: Hanging) {
        if let Err(problem) = self.try_add(slice, reading, hanging) {
            self.problem.get_or_insert(problem);
        }
    }

    fn try_add(&mut self, slice: Option<usize>, reading: &Reading, hanging: Hanging) -> Result<(), String> {
        let source = match (self.input, slice) {
            (Input::Series(_), Some(slice)) => {
                let file = self.input.files().get(slice).ok_or("a slice without a file")?;
                Source::open(file).map_err(|error| error.to_string())?
            }
            _ => self.first.as_ref().map_err(ToString::to_string)?.clone(),
        };
        if !self.sources.iter().any(|known| known.sop_instance_uid() == source.sop_instance_uid()) {
            self.sources.push(source.clone());
        }
        let Some(masks) = &reading.masks else { return Ok(()) };
        let frame = match (source.frames(), hanging.frame) {
            (1, _) => 1,
            (_, Some(frame)) => frame,
            (_, None) => return Err("which frame the masks lie on is not known".into()),
        };
        let stored = |mask: &Plane<u8>| as_stored(mask, hanging.orientation, hanging.stored_size);
        let infection = stored(&masks.infection);
        let added = if hanging.sides_known {
            let (left, right) = (stored(&masks.left_lung), stored(&masks.right_lung));
            let lungs = Lungs::Sided { left: &left, right: &right };
            self.segmentation.add(&source, frame, Masks { infection: &infection, lungs })
        } else {
            let both = stored(&masks.lungs());
            self.segmentation.add(&source, frame, Masks { infection: &infection, lungs: Lungs::Unsided(&both) })
        };
        self.any |= added.is_ok();
        added.map_err(|error| error.to_string())
    }

    /// Makes the segmentation, where anything was marked and nothing stood in its way; what did is told.
    fn finish(self, provenance: Provenance, notes: &mut Vec<String>) -> Result<Made, ObjectError> {
        self.first?;
        let segmentation = match self.problem {
            None if self.any => self.segmentation.finish(&provenance).map_err(|error| error.to_string()).map(Some),
            None => Ok(None),
            // Half of what was found would look like all of it.
            Some(problem) => Err(problem),
        };
        let segmentation = segmentation.unwrap_or_else(|problem| {
            notes.push(format!("no segmentation: {problem}"));
            None
        });
        Ok(Made { sources: self.sources, segmentation, provenance })
    }
}

/// A file of a result: what it is, the ending of its name, its bytes or why there are none.
type ResultFile = (&'static str, &'static str, Result<Vec<u8>, String>);

/// Every file that is made of an image that was decided by these `thresholds`, with the `pictures` of the page or without.
fn results(study: &TakenStudy, read: &Read, pictures: bool, thresholds: Option<Thresholds>) -> Vec<ResultFile> {
    let name = format!("study {}", study.number);
    let mut panel = Framebuffer::new(PANEL);
    let Ok(()) = match &read.outcome {
        Outcome::Screened(screening) => {
            let title = screening.bundle.title();
            report::panel(screening, &name, &title, thresholds).draw(&mut panel)
        }
        Outcome::Refused(reason) => {
            report::refusal(reason, &reason.to_string(), &name, Language::English).draw(&mut panel)
        }
    };
    let mut results = vec![("panel", "png", panel.png().map_err(|error| error.to_string()))];
    if let (Outcome::Screened(screening), true) = (&read.outcome, pictures) {
        match report::layers(screening).png() {
            Ok(layers) => results.extend(layers.into_iter().map(|(what, png)| (what, "png", Ok(png)))),
            Err(error) => results.push(("picture", "png", Err(error.to_string()))),
        }
    }
    let (Outcome::Screened(screening), Some(made)) = (&read.outcome, &read.made) else { return results };
    let told = |made: Result<Vec<u8>, ObjectError>| made.map_err(|error| error.to_string());
    let sources: Vec<&Source> = made.sources.iter().collect();
    if let Some(segmentation) = &made.segmentation {
        results.push(("seg", "dcm", told(segmentation.object.to_bytes())));
    }
    let sr = structured_report(&sources, &figures(screening), made.segmentation.as_ref(), &made.provenance);
    results.push(("sr", "dcm", told(sr.and_then(|object| object.to_bytes()))));
    let sc = Panel::new(PANEL.width as usize, PANEL.height as usize, panel.to_image().into_raw())
        // The panel tells the number of the study, and no name.
        .and_then(|panel| capture(&sources, vec![panel], false, &made.provenance)?.to_bytes());
    results.push(("sc", "dcm", told(sc)));
    results
}

/// What the report tells of a screening: of a rejected picture no figures.
fn figures(screening: &Screening) -> structured::Reading<'_> {
    let told = screening.evidence.filter(|_| !matches!(screening.verdict, Verdict::Rejected(_)));
    structured::Reading {
        disease: &screening.bundle.disease,
        verdict: screening.verdict,
        probability: told.map(|evidence| evidence.probability),
        epistemic_entropy_bits: told.map(|evidence| evidence.entropy_bits),
        involvement: told.and(screening.involvement),
        quality_score: screening.shown.quality.score,
    }
}

fn provenance(site: &Site, screening: &Screening, now: Moment) -> Result<Provenance, ObjectError> {
    let bundle = &screening.bundle;
    let time = chrono::DateTime::from_timestamp_millis(now.unix_milliseconds).ok_or(ObjectError::Moment)?;
    let year = u16::try_from(time.year()).map_err(|_| ObjectError::Moment)?;
    let [month, day, hour, minute, second] =
        [time.month(), time.day(), time.hour(), time.minute(), time.second()].map(|part| part as u8);
    Ok(Provenance {
        device: Device {
            serial_number: site.serial_number.clone(),
            software_version: env!("CARGO_PKG_VERSION").into(),
        },
        bundle: Bundle { name: bundle.name.clone(), version: bundle.version.clone(), sha256: bundle.sha256 },
        moment: structured::Moment::new((year, month, day), (hour, minute, second))?,
    })
}

/// Whoever is younger need not be read: the site does not want it, and none of the bundles may.
fn least_age(site: Option<u8>, of_bundles: impl Iterator<Item = Option<u8>>) -> Option<u8> {
    site.max(of_bundles.min().flatten())
}

/// How much what came of an image needs a person; nothing where it was not read.
fn urgency(outcome: &Outcome) -> u8 {
    match outcome {
        Outcome::Screened(screening) => match screening.verdict {
            Verdict::Positive => 3,
            Verdict::Refer(_) => 2,
            Verdict::Negative => 1,
            Verdict::Rejected(_) => 0,
        },
        Outcome::Refused(_) => 0,
    }
}

/// The place of the most urgent image, the first of those that are equally urgent.
fn leading(reads: &[Read]) -> Option<usize> {
    let urgencies = reads.iter().map(|read| urgency(&read.outcome)).enumerate();
    urgencies.rev().max_by_key(|(_, urgency)| *urgency).map(|(place, _)| place)
}

/// The study in a line: that of its most urgent image, and how many were not read.
fn summary(reads: &[Read], passed_over: &[(usize, String)]) -> Summary {
    let Some(read) = leading(reads).and_then(|place| reads.get(place)) else {
        let why = passed_over.first().map_or("it holds none", |(_, why)| why);
        return Summary {
            verdict: "rejected".into(),
            cause: Some(format!("no image to be read ({why})")),
            remedy: Some("send the images themselves".into()),
            ..Summary::default()
        };
    };
    let row = read.row();
    let rejected = reads.iter().filter(|read| urgency(&read.outcome) == 0).count();
    let also =
        (rejected > 0 && rejected < reads.len()).then(|| format!("{rejected} of {} images not read", reads.len()));
    let cause: Vec<String> = row.cause.into_iter().chain(also).collect();
    let bundle_sha256 = match &read.outcome {
        Outcome::Screened(screening) => Some(screening.bundle.sha256),
        Outcome::Refused(_) => None,
    };
    Summary {
        modality: row.modality.map(|modality| modality.as_str().into()),
        verdict: row.verdict.into(),
        cause: (!cause.is_empty()).then(|| cause.join("; ")),
        remedy: row.remedy,
        probability: row.probability.map(f64::from),
        entropy_bits: row.entropy_bits.map(f64::from),
        left_involvement_percent: row.involvement_left_percent.map(f64::from),
        right_involvement_percent: row.involvement_right_percent.map(f64::from),
        bundle: row.bundle,
        bundle_sha256,
        // By the bundle, from whoever knows it.
        thresholds: None,
    }
}

impl Read {
    fn row(&self) -> Row {
        Row::new(&self.input, &self.outcome, &self.cost)
    }
}

/// A row as `thorax-edge screen --json` has it, with the journal's names in place of a file's.
fn reading_json(study: &TakenStudy, read: &Read, notes: &[String], labels: &[String]) -> Value {
    let mut row = read.row();
    row.notes.extend_from_slice(notes);
    // A row is made of numbers and words, which JSON has.
    let mut fields = serde_json::to_value(row).unwrap_or_default();
    if let Some(fields) = fields.as_object_mut() {
        // These are of this run and of its folder of links.
        for name in ["file", "peak_memory_mib", "research_use_only"] {
            fields.remove(name);
        }
        let images = read.objects.iter().map(|place| image(study, *place));
        fields.insert("images".into(), images.collect());
        fields.insert("results".into(), json!(labels));
    }
    fields
}

/// An object, by all its names.
fn image(study: &TakenStudy, place: usize) -> Value {
    let Some(TakenObject { number, object, .. }) = study.objects.get(place) else { return Value::Null };
    let uid = match &object.what.kind {
        Kind::Dicom { sop_instance_uid, .. } => Some(sop_instance_uid),
        Kind::Picture => None,
    };
    json!({ "object": number, "name": name(place), "sop_instance_uid": uid, "sha256": hexadecimal(&object.sha256) })
}

/// What an object is called while it is read: its place in the study, counted from 1.
fn name(place: usize) -> String {
    format!("image_{:05}", place + 1)
}

/// The way back.
fn place(path: &Path) -> Option<usize> {
    let number: usize = path.file_name()?.to_str()?.strip_prefix("image_")?.parse().ok()?;
    number.checked_sub(1)
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    fn refused(cause: &'static str) -> Read {
        let outcome = Outcome::Refused(Reason::without_remedy(cause));
        let input = Input::File(name(0).into());
        Read { input, objects: vec![0], outcome, cost: Cost::default(), made: None, notes: vec![] }
    }

    #[test]
    fn no_more_images_than_slices_are_read() {
        assert_eq!([images_of(1, 16), images_of(40, 16), images_of(40, 0), images_of(0, 16)], [1, 16, 40, 1]);
    }

    #[test]
    fn a_name_tells_the_place_and_nothing_else_does() {
        for number in [0, 7, 99_999, 1_234_567] {
            assert_eq!(place(Path::new("data/study-x").join(name(number)).as_path()), Some(number));
        }
        for other in ["image_", "image_0", "image_x", "film", ""] {
            assert_eq!(place(Path::new(other)), None, "{other}");
        }
    }

    #[test]
    fn the_higher_minimum_of_site_and_bundle_counts() {
        for (site, bundle, years, least) in [
            (Some(15), None, Some(14), Some(15)),
            (Some(15), Some(18), Some(16), Some(18)),
            (Some(18), Some(15), Some(16), Some(18)),
            (None, Some(18), Some(17), Some(18)),
            (Some(15), Some(18), Some(18), None),
            (None, None, Some(1), None),
            (Some(15), Some(18), None, None),
        ] {
            let told = least_age(site, [bundle].into_iter()).and_then(|least| too_young(years?, least));
            let expected = least
                .zip(years)
                .map(|(least, years)| format!("a patient of {years} years, and nobody under {least} is read here"));
            assert_eq!(told.map(|reason| reason.cause.into_owned()), expected, "{site:?} {bundle:?} {years:?}");
        }
        // A bundle without a minimum may read anybody; the one that reads is asked again.
        assert_eq!(least_age(Some(15), [Some(18), None].into_iter()), Some(15));
    }

    #[test]
    fn a_study_in_which_nothing_was_read_says_why() {
        let nothing = summary(&[], &[(0, "an overview".into())]);
        assert_eq!((&*nothing.verdict, &*nothing.cause.unwrap()), ("rejected", "no image to be read (an overview)"));
        let all = summary(&[refused("cut short"), refused("empty")], &[]);
        assert_eq!((&*all.verdict, &*all.cause.unwrap()), ("rejected", "cut short"));
    }
}
