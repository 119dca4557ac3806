//! The manifest: one line per picture, saying what it shows, whose it is, and what it may be used for.

use std::path::{Component, Path, PathBuf};

use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};
use thorax_files::{hexadecimal, write_atomically};
use thorax_shared::modality::Modality;

use super::{
    DataError,
    address::{Address, is_volume},
    layouts::healthy,
    table::{Table, decoded},
};

/// The `patient_id` of a picture whose patient nobody knows: for training only.
pub const UNKNOWN_PATIENT: &str = "unknown";

/// The comment that says where the paths begin, when that is not the manifest's own folder.
pub(super) const ROOT_COMMENT: &str = "# root: ";

/// What a picture is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Task {
    /// A classifier learns its label.
    Classify,
    /// A segmentation net learns its mask.
    Segment,
    /// Nothing is learnt from it: volumes, DICOM files and originals kept for tests of decoders.
    None,
}

/// Whether a picture shows the disease that a bundle is for, COVID-19 by default.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Label {
    /// Without it: healthy, or another disease.
    Negative,
    /// With it.
    Positive,
    /// Not said.
    Unlabelled,
}

/// Which part of the work may see a picture.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Split {
    /// Weights are fitted to it.
    Train,
    /// Choices (epoch, threshold, calibration) are made on it.
    Val,
    /// Looked at once, for the figures that are reported.
    Test,
}

impl std::str::FromStr for Split {
    type Err = String;

    /// Reads [`Split::as_str`].
    fn from_str(text: &str) -> Result<Self, String> {
        Self::ALL.into_iter().find(|split| split.as_str() == text).ok_or_else(|| "expected train, val or test".into())
    }
}

impl Split {
    /// All three, in the order of the fractions.
    pub const ALL: [Self; 3] = [Self::Train, Self::Val, Self::Test];

    /// `train`, `val` or `test`.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Train => "train",
            Self::Val => "val",
            Self::Test => "test",
        }
    }
}

impl Task {
    /// `classify`, `segment` or `none`.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Classify => "classify",
            Self::Segment => "segment",
            Self::None => "none",
        }
    }
}

impl Label {
    /// `positive`, `negative` or `unlabelled`.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Negative => "negative",
            Self::Positive => "positive",
            Self::Unlabelled => "unlabelled",
        }
    }
}

/// One line of the manifest. Paths are relative to [`Manifest::root`], with `/` between folders; those of pictures and masks are an
/// [`Address`], which may name a slice of a volume or labels of a mask.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Record {
    /// The picture.
    pub path: String,
    /// Film or CT slice.
    pub modality: Modality,
    /// What it is for.
    pub task: Task,
    /// Whether it shows the disease.
    pub label: Label,
    /// The class in the source's own word, such as `covid`, `normal`, `other`.
    pub class: String,
    /// The patient, unique within `source`, or [`UNKNOWN_PATIENT`].
    pub patient_id: String,
    /// What must stay on one side of a split: a patient, or patients that overlap.
    pub group: String,
    /// The collection it comes from.
    pub source: String,
    /// The licence that the collection states.
    pub licence: String,
    /// Who may see it.
    pub split: Split,
    /// The infection mask, or empty.
    pub mask: String,
    /// The mask of both lungs, or of the patient's left and right lung with `;` between, or empty.
    pub lung_mask: String,
    /// SHA-256 of the picture's file, hexadecimal.
    pub sha256: String,
    /// The picture was equalised (CLAHE) before it was published, and is not equalised again. Manifests without this column
    /// have no such pictures.
    #[serde(default)]
    pub equalised: bool,
    /// SHA-256 of the masks' files, in the order of [`Self::masks`], with `;` between; empty where it is not known, as in manifests
    /// without this column.
    #[serde(default)]
    pub masks_sha256: String,
}

impl Record {
    /// Whether it was taken for the only picture of its patient, since nobody says who it is of (`data import --each-picture-is-a-patient`):
    /// it is then called after its own file.
    pub fn is_its_own_patient(&self) -> bool {
        // Volumes are called without what says that they are.
        let file = Address::of(&self.path).file;
        let names = [self.path.as_str(), file, file.trim_end_matches(".gz").trim_end_matches(".nii")];
        let above = names.into_iter().filter_map(|name| name.strip_suffix(&self.patient_id));
        above.into_iter().any(|folder| folder.is_empty() || folder.ends_with('/'))
    }

    /// Whether it is known to show the disease.
    pub fn is_positive(&self) -> bool {
        self.label == Label::Positive
    }

    /// An X-ray of a patient of its own, for tests.
    #[cfg(test)]
    pub fn made(path: &str, task: Task, label: Label, split: Split) -> Self {
        Self {
            path: path.into(),
            modality: Modality::Xray,
            task,
            label,
            class: String::new(),
            patient_id: path.into(),
            group: path.into(),
            source: "a".into(),
            licence: String::new(),
            split,
            mask: String::new(),
            lung_mask: String::new(),
            sha256: String::new(),
            equalised: false,
            masks_sha256: String::new(),
        }
    }

    /// Whether it is of class `normal`, or another whose word says that its lungs show nothing (`healthy`, `no finding`, `CT-0`).
    pub fn is_healthy(&self) -> bool {
        self.label == Label::Negative && healthy(&self.class)
    }

    /// The lung masks: none, one for both lungs, or the patient's left and right.
    pub fn lung_masks(&self) -> impl Iterator<Item = &str> {
        self.lung_mask.split(';').filter(|path| !path.is_empty())
    }

    /// Infection mask and lung masks, as many as there are.
    pub fn masks(&self) -> impl Iterator<Item = &str> {
        Some(self.mask.as_str()).filter(|path| !path.is_empty()).into_iter().chain(self.lung_masks())
    }
}

/// A set of pictures and what is known of them.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Manifest {
    /// Where the records' paths begin.
    pub root: PathBuf,
    /// The lines, sorted by path and task.
    pub records: Vec<Record>,
}

impl Manifest {
    /// Takes the records of pictures under `root`, and sorts them.
    pub fn new(root: PathBuf, mut records: Vec<Record>) -> Self {
        records.sort_by(|a, b| (&a.path, a.task).cmp(&(&b.path, b.task)));
        Self { root, records }
    }

    /// Reads a manifest written by [`Self::save`].
    ///
    /// Its paths are relative to the folder named in a first line `# root: FOLDER` (itself relative to the manifest's
    /// folder, or absolute), and without such a line to the manifest's folder.
    ///
    /// # Errors
    /// [`DataError::Read`] when there is no such file, [`DataError::Table`] for a line that cannot be understood or
    /// that names a file outside the root.
    pub fn load(path: &Path) -> Result<Self, DataError> {
        let mut told = vec![];
        let text = decoded(path, &mut told)?;
        let folder = folder_of(path);
        // The root's line is no line of the table, but one of the file.
        let (root, table, above) = match text.strip_prefix(ROOT_COMMENT).and_then(|rest| rest.split_once('\n')) {
            Some((root, table)) => (folder.join(root.trim_end()), table, 1),
            None => (folder.to_owned(), text.as_str(), 0),
        };
        let table = Table::parse(path, table, above, &mut told)?;
        told.iter().for_each(|what| eprintln!("{what}"));
        let mut records = Vec::new();
        for (line, record) in table.rows::<Record>(path)? {
            let failed = |reason| DataError::Table { path: path.to_owned(), line, reason };
            for file in std::iter::once(record.path.as_str()).chain(record.masks()) {
                if !stays_inside(file) {
                    return Err(failed(format!(
                        "`{file}` does not lie under the root: write a path relative to it, without .."
                    )));
                }
            }
            if record.task == Task::Segment && record.masks().next().is_none() {
                return Err(failed(format!(
                    "{} is for segmentation but names no mask: name one, or set task to none",
                    record.path
                )));
            }
            if record.task == Task::Classify && record.label == Label::Unlabelled {
                return Err(failed(format!(
                    "{} is for classification but unlabelled: label it, or set task to none",
                    record.path
                )));
            }
            records.push(record);
        }
        Ok(Self::new(root, records))
    }

    /// Writes the manifest, whole or not at all.
    ///
    /// # Errors
    /// [`DataError::Write`] with the path.
    pub fn save(&self, path: &Path) -> Result<(), DataError> {
        let table = self.table(path)?;
        let root = relative_root(&self.root, folder_of(path));
        write_atomically(path, |out| {
            if let Some(root) = root {
                writeln!(out, "{ROOT_COMMENT}{root}")?;
            }
            out.write_all(&table)
        })?;
        Ok(())
    }

    /// The SHA-256 of all lines: the same pictures, labels and splits have the same hash wherever they lie.
    pub fn sha256(&self) -> String {
        let mut hash = Sha256::new();
        // Encoding into memory cannot fail but for a bug in the encoder; an empty table then gives a hash that
        // matches no other.
        hash.update(self.table(Path::new("manifest")).unwrap_or_default());
        hexadecimal(&hash.finalize())
    }

    fn table(&self, path: &Path) -> Result<Vec<u8>, DataError> {
        let write = || -> csv::Result<Vec<u8>> {
            let mut writer = csv::WriterBuilder::new().has_headers(true).from_writer(Vec::new());
            self.records.iter().try_for_each(|record| writer.serialize(record))?;
            let bytes = writer.into_inner().map_err(csv::IntoInnerError::into_error)?;
            if self.records.iter().any(|record| !record.masks_sha256.is_empty()) {
                return Ok(bytes);
            }
            // A manifest from before the masks' hashes stays as it was, and so does its own hash.
            let mut writer = csv::Writer::from_writer(Vec::new());
            for row in csv::ReaderBuilder::new().has_headers(false).from_reader(&bytes[..]).records() {
                let row = row?;
                writer.write_record(row.iter().take(row.len() - 1))?;
            }
            Ok(writer.into_inner().map_err(csv::IntoInnerError::into_error)?)
        };
        write().map_err(|error| table_error(path, &error))
    }

    /// The records of one modality and task, of one split or of all.
    pub fn select(&self, modality: Modality, task: Task, split: Option<Split>) -> impl Iterator<Item = &Record> {
        self.records.iter().filter(move |record| {
            record.modality == modality && record.task == task && split.is_none_or(|split| record.split == split)
        })
    }

    /// The pictures of one modality and split that have a mask, of the infection or of the lungs.
    pub fn masked(&self, modality: Modality, split: Split) -> impl Iterator<Item = &Record> {
        self.select(modality, Task::Segment, Some(split)).filter(|record| record.masks().next().is_some())
    }

    /// The pictures of a split of which nobody says whether they show the disease, and that are for no task of their own; whole volumes
    /// are none.
    pub fn unlabelled(&self, modality: Modality, split: Split) -> impl Iterator<Item = &Record> {
        let asked = |record: &&Record| {
            record.label == Label::Unlabelled && record.task != Task::Segment && !is_volume(&record.path)
        };
        self.records.iter().filter(move |r| r.modality == modality && r.split == split).filter(asked)
    }

    /// The pictures of the training split that teachers can draw masks on: those with a class, and those without a label.
    pub fn taught(&self, modality: Modality) -> impl Iterator<Item = &Record> {
        self.select(modality, Task::Classify, Some(Split::Train)).chain(self.unlabelled(modality, Split::Train))
    }

    /// The healthy pictures of one modality and split ([`Record::is_healthy`]).
    pub fn healthy(&self, modality: Modality, split: Split) -> impl Iterator<Item = &Record> {
        self.select(modality, Task::Classify, Some(split)).filter(|record| record.is_healthy())
    }

    /// Of the pictures for segmentation only those whose source has `text` in its name; all others stay.
    pub fn with_masks_of(&self, text: &str) -> Self {
        let stays = |record: &&Record| record.task != Task::Segment || record.source.contains(text);
        Self { root: self.root.clone(), records: self.records.iter().filter(stays).cloned().collect() }
    }

    /// Where the file lies that a record names; see [`Address`].
    pub fn locate(&self, relative: &str) -> PathBuf {
        self.root.join(Address::of(relative).file)
    }
}

/// What the CSV reader said, with its line.
pub(super) fn table_error(path: &Path, error: &csv::Error) -> DataError {
    let line = error.position().map_or(0, csv::Position::line);
    DataError::Table { path: path.to_owned(), line, reason: csv_reason(error) }
}

pub(super) fn csv_reason(error: &csv::Error) -> String {
    match error.kind() {
        csv::ErrorKind::Deserialize { err, .. } => err.to_string(),
        _ => error.to_string(),
    }
}

fn folder_of(path: &Path) -> &Path {
    path.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."))
}

pub(super) fn stays_inside(file: &str) -> bool {
    !file.is_empty() && Path::new(file).components().all(|part| matches!(part, Component::Normal(_)))
}

/// The root as a manifest in `folder` names it: not at all, relative below it, absolute elsewhere.
fn relative_root(root: &Path, folder: &Path) -> Option<String> {
    let absolute = |path: &Path| path.canonicalize().or_else(|_| std::path::absolute(path)).unwrap_or(path.to_owned());
    let (root, folder) = (absolute(root), absolute(folder));
    match root.strip_prefix(&folder) {
        Ok(below) if below.as_os_str().is_empty() => None,
        Ok(below) => Some(below.to_string_lossy().into_owned()),
        Err(_) => Some(root.to_string_lossy().into_owned()),
    }
}
