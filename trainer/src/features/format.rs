//! The bytes of a feature store: a safetensors file whose header says everything about the pictures before the first of them
//! is read (`trainer/FEATURES.md` is the specification).
//!
//! Since the header is known from the start, the file has its final size from the start, and every row its place. So rows
//! are written where they belong, in any order, and a run that goes on changes nothing that is there.

use std::{
    collections::BTreeMap,
    path::{Path, PathBuf},
};

use safetensors::Dtype as TensorType;
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};
use thorax_files::hexadecimal;
use thorax_nets::Layout;
use thorax_shared::{
    modality::Modality,
    preprocess::{QualityLimits, spec::PreprocessSpec},
    verdict::RejectReason,
};

use super::Extractor;
use crate::{
    changes::{self, Change},
    data::{Label, Record, Split, address::content},
};

// A row is lent out as it lies in the file.
#[cfg(target_endian = "big")]
compile_error!("feature stores are little-endian, and read without conversion");

/// The version of the format that is written and read.
pub const FORMAT: u32 = 1;

/// The metadata entry that holds [`Contents`], as a JSON object.
const METADATA: &str = "thorax";

/// The features begin at a multiple of this, the size of a page.
const PAGE: usize = 4096;

/// The longest header that safetensors reads.
const LONGEST_HEADER: usize = 100_000_000;

/// Why a feature store could not be made or read.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum FeatureError {
    /// The system refused.
    #[error(
        "{path}: {reason}; check the path, the permissions and the room on the disk. What was extracted is kept: the same \
         command goes on from there", path = path.display()
    )]
    Io {
        /// The file.
        path: PathBuf,
        /// The system's reason.
        reason: std::io::Error,
    },
    /// The file is none, or damaged.
    #[error(
        "{path}: no feature store, or a damaged one: {reason}; delete it, and extract with thorax-train features",
        path = path.display()
    )]
    Malformed {
        /// The file.
        path: PathBuf,
        /// What is wrong.
        reason: String,
    },
    /// It holds something else than what was asked for.
    #[error("{path}: a store of other features: {differences}; {remedy}", path = path.display())]
    Other {
        /// The file.
        path: PathBuf,
        /// What it has and what was asked for.
        differences: String,
        /// What to do.
        remedy: &'static str,
    },
    /// Another process is at work on it.
    #[error("{path}: another process is writing this store; wait for it, or give another name", path = path.display())]
    Locked {
        /// The file.
        path: PathBuf,
    },
    /// Rows are not there yet.
    #[error(
        "{path}: {missing} of {rows} rows are not extracted yet; go on with thorax-train features", path = path.display()
    )]
    Unfinished {
        /// The file.
        path: PathBuf,
        /// Rows without features.
        missing: usize,
        /// All rows.
        rows: usize,
    },
    /// A row is not what was written.
    #[error(
        "{path}: row {row} ({picture}) does not have the checksum it was written with: the disk or a copy failed; delete the \
         file and extract again", path = path.display()
    )]
    Checksum {
        /// The file.
        path: PathBuf,
        /// Its number.
        row: usize,
        /// Whose features.
        picture: String,
    },
    /// Numbers that the type cannot hold.
    #[error("{picture}: a feature is {value}, which is no number of {dtype}; {remedy}")]
    Value {
        /// Whose features.
        picture: String,
        /// The number.
        value: f32,
        /// The store's type.
        dtype: Dtype,
        /// What to do.
        remedy: &'static str,
    },
    /// More pictures than a header can name.
    #[error(
        "{rows} pictures are too many for one store: the header would have {length} bytes, and safetensors reads {LONGEST_HEADER}; divide the manifest"
    )]
    TooManyRows {
        /// Pictures.
        rows: usize,
        /// Bytes of the header.
        length: usize,
    },
}

/// The type of the stored numbers.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, clap::ValueEnum)]
#[serde(rename_all = "lowercase")]
pub enum Dtype {
    /// Half precision: 11 bits, up to 65504.
    #[default]
    F16,
    /// Single precision, as the net computes.
    F32,
}

impl Dtype {
    /// Bytes of a number.
    pub const fn size(self) -> usize {
        match self {
            Self::F16 => 2,
            Self::F32 => 4,
        }
    }

    const fn tensor_type(self) -> TensorType {
        match self {
            Self::F16 => TensorType::F16,
            Self::F32 => TensorType::F32,
        }
    }
}

impl std::fmt::Display for Dtype {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Self::F16 => "f16",
            Self::F32 => "f32",
        })
    }
}

/// Reasons of the quality check, in the order of their numbers, which begin at 2.
const REASONS: [RejectReason; 10] = [
    RejectReason::TooSmall,
    RejectReason::Blurred,
    RejectReason::Underexposed,
    RejectReason::Overexposed,
    RejectReason::LowContrast,
    RejectReason::FewGreyLevels,
    RejectReason::Shape,
    RejectReason::Colour,
    RejectReason::OutOfDistribution,
    RejectReason::Framed,
];

/// What has become of a picture.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum State {
    /// Its row is still empty.
    Missing,
    /// Its features are there.
    Extracted,
    /// Its features are there, but it failed the quality check.
    Refused(RejectReason),
}

impl State {
    /// The number that stands for it in the file.
    pub fn code(self) -> u32 {
        match self {
            Self::Missing => 0,
            Self::Extracted => 1,
            Self::Refused(reason) => 2 + REASONS.iter().position(|&r| r == reason).unwrap_or(REASONS.len()) as u32,
        }
    }

    /// What a number of the file means, if it means anything.
    pub fn from_code(code: u32) -> Option<Self> {
        match code {
            0 => Some(Self::Missing),
            1 => Some(Self::Extracted),
            _ => REASONS.get(code as usize - 2).map(|&reason| Self::Refused(reason)),
        }
    }
}

/// What is known of a picture without its pixels.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct FeatureRow {
    /// Path in the manifest.
    pub path: String,
    /// SHA-256 of the picture's file, hexadecimal.
    pub sha256: String,
    /// The patient, unique within `source`.
    pub patient_id: String,
    /// Patients that must stay on one side of a split.
    pub group: String,
    /// The collection it comes from.
    pub source: String,
    /// Whether it shows the disease.
    pub label: Label,
    /// Who may see it.
    pub split: Split,
    /// It was equalised before it was published; see [`Record::equalised`].
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub equalised: bool,
    /// 0 for the picture itself; from 1 on, a copy of it that was changed at random, see [`FeatureRow::changes`].
    #[serde(default, skip_serializing_if = "is_none")]
    pub copy: u16,
}

#[allow(clippy::trivially_copy_pass_by_ref, reason = "serde asks so")]
fn is_none(count: &u16) -> bool {
    *count == 0
}

impl FeatureRow {
    /// The row of a picture.
    pub fn of(record: &Record) -> Self {
        let Record { path, sha256, patient_id, group, source, label, split, equalised, .. } = record.clone();
        Self { path, sha256, patient_id, group, source, label, split, equalised, copy: 0 }
    }

    /// The row of a picture and those of its changed copies; a picture of the test split has none.
    pub(super) fn with_copies(record: &Record, copies: u16) -> impl Iterator<Item = Self> {
        let row = Self::of(record);
        let copies = if row.split == Split::Test { 0 } else { copies };
        (0..=copies).map(move |copy| Self { copy, ..row.clone() })
    }

    /// What becomes of the picture in this copy, see [`changes::history`].
    pub fn changes(&self, seed: u64) -> Vec<Change> {
        changes::history(&content(&self.path, &self.sha256), self.copy, seed)
    }
}

/// What a store says of its features; stores that agree in this hold the same features.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Contents {
    /// [`FORMAT`].
    pub format: u32,
    /// The program that computed them, with its version.
    pub program: String,
    /// The net.
    pub backbone: Extractor,
    /// Where its weights came from, in words.
    pub weights: String,
    /// SHA-256 of the weights.
    pub weights_sha256: String,
    /// Whose names a backbone's weights had.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub layout: Option<Layout>,
    /// Where the net was computed, `cpu` or `cuda`: the last bits differ.
    pub device: String,
    /// Type of the stored numbers.
    pub dtype: Dtype,
    /// Pictures that were computed together and are written together.
    pub unit: usize,
    /// Whose pictures.
    pub modality: Modality,
    /// How a picture becomes the net's input.
    pub preprocess: PreprocessSpec,
    /// [`preprocess_sha256`] of it.
    pub preprocess_sha256: String,
    /// What counts as refused.
    pub quality: QualityLimits,
    /// [`crate::segmentation::Origin::sha256`] of the segmenter whose lungs the pictures were cropped to; `None`, and not there,
    /// where they were not.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub lungs_sha256: Option<String>,
    /// [`crate::data::fingerprint::fingerprint`] of the manifest.
    pub manifest_sha256: String,
    /// Changed copies of each picture of the training and the validation split.
    #[serde(default, skip_serializing_if = "is_none")]
    pub copies: u16,
    /// Of their changes.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub copies_seed: Option<u64>,
    /// The pictures, in the order of the rows.
    pub rows: Vec<FeatureRow>,
}

/// SHA-256 of a recipe's JSON form, hexadecimal.
pub fn preprocess_sha256(spec: &PreprocessSpec) -> String {
    // A recipe is numbers and enums: its JSON form cannot fail.
    hexadecimal(&Sha256::digest(serde_json::to_vec(spec).unwrap_or_default()))
}

impl Contents {
    /// Sees that the pictures were cropped to the lungs that the segmenter with the hash `found` finds, or to none.
    ///
    /// # Errors
    /// That it is not.
    pub fn cropped_by(&self, found: Option<&str>) -> anyhow::Result<()> {
        let wanted = self.lungs_sha256.as_deref();
        anyhow::ensure!(
            found == wanted,
            "--lungs: {} is not what these pictures were cropped with: {}; give that, or leave --lungs out where it is nothing",
            found.unwrap_or("nothing"),
            wanted.unwrap_or("nothing")
        );
        Ok(())
    }

    /// Where this, found in a file, differs from what is `wanted`: `backbone is ..., not ...; ...`; empty where it does not.
    /// Fields called in `ignored` may differ.
    pub fn differences(&self, wanted: &Self, ignored: &[&str]) -> String {
        let object = |contents: &Self| match serde_json::to_value(contents) {
            Ok(serde_json::Value::Object(fields)) => fields,
            _ => Default::default(),
        };
        let wanted_fields = object(wanted);
        let differing = object(self).into_iter().filter(|(name, _)| !ignored.contains(&name.as_str()));
        let words = differing.filter(|(name, found)| wanted_fields.get(name) != Some(found)).map(|(name, found)| {
            if name == "rows" {
                let pairs = self.rows.iter().zip(&wanted.rows);
                return match pairs.into_iter().find(|(a, b)| a != b) {
                    Some((a, b)) if a.path == b.path => {
                        format!("{} has other words in the manifest, or other content", a.path)
                    }
                    _ => format!("it has {} pictures, the manifest {} or others", self.rows.len(), wanted.rows.len()),
                };
            }
            if found.is_object() {
                return format!("{name} has other values");
            }
            format!("{name} is {found}, not {}", wanted_fields.get(&name).unwrap_or_default())
        });
        words.collect::<Vec<_>>().join("; ")
    }
}

/// A store's header, and where everything lies, in bytes from the file's beginning.
#[derive(Clone, Debug)]
pub(super) struct Header {
    pub(super) contents: Contents,
    /// `[C, H, W]` of a row.
    pub(super) shape: [usize; 3],
    /// CRC-32 of each row.
    pub(super) checksum_at: u64,
    /// State of each row.
    pub(super) state_at: u64,
    /// The first row.
    pub(super) features_at: u64,
    /// Bytes of a row.
    pub(super) row_bytes: usize,
}

/// A tensor's entry of a safetensors header.
#[derive(PartialEq, Serialize, Deserialize)]
struct Entry {
    dtype: TensorType,
    shape: Vec<usize>,
    data_offsets: [usize; 2],
}

/// A safetensors header, its tensors in the order of the file.
#[derive(PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Entries {
    #[serde(rename = "__metadata__")]
    metadata: BTreeMap<String, String>,
    checksum: Entry,
    state: Entry,
    features: Entry,
}

impl Entries {
    /// The entries of a store whose metadata is `text`; `None` if it cannot be so large.
    fn new(text: String, rows: usize, shape: [usize; 3], dtype: Dtype) -> Option<Self> {
        let [c, h, w] = shape;
        let features = [rows, c, h, w, dtype.size()].into_iter().try_fold(1usize, usize::checked_mul)?;
        let state = rows.checked_mul(8)?;
        let end = state.checked_add(features)?;
        Some(Self {
            metadata: [(METADATA.to_owned(), text)].into(),
            checksum: Entry { dtype: TensorType::U32, shape: vec![rows], data_offsets: [0, 4 * rows] },
            state: Entry { dtype: TensorType::U32, shape: vec![rows], data_offsets: [4 * rows, state] },
            features: Entry { dtype: dtype.tensor_type(), shape: vec![rows, c, h, w], data_offsets: [state, end] },
        })
    }
}

impl Header {
    /// The header of a new store with rows of shape `[C, H, W]`, and its bytes.
    pub(super) fn new(contents: Contents, shape: [usize; 3]) -> Result<(Self, Vec<u8>), FeatureError> {
        let rows = contents.rows.len();
        let too_many = |length| FeatureError::TooManyRows { rows, length };
        let text = serde_json::to_string(&contents).unwrap_or_default();
        let entries = Entries::new(text, rows, shape, contents.dtype).ok_or_else(|| too_many(usize::MAX))?;
        let mut bytes = vec![0; 8];
        bytes.extend(serde_json::to_vec(&entries).unwrap_or_default());
        // Spaces behind the JSON text put the features on a page.
        bytes.resize((bytes.len() + 8 * rows).next_multiple_of(PAGE) - 8 * rows, b' ');
        let length = bytes.len() - 8;
        if length > LONGEST_HEADER {
            return Err(too_many(length));
        }
        bytes[..8].copy_from_slice(&(length as u64).to_le_bytes());
        Ok((Self::at(contents, shape, bytes.len() as u64), bytes))
    }

    /// Where everything lies behind a header that ends at `start`.
    fn at(contents: Contents, shape: [usize; 3], start: u64) -> Self {
        let rows = contents.rows.len() as u64;
        let row_bytes = shape.iter().product::<usize>() * contents.dtype.size();
        Self {
            contents,
            shape,
            checksum_at: start,
            state_at: start + 4 * rows,
            features_at: start + 8 * rows,
            row_bytes,
        }
    }

    /// The bytes that the header takes, with its length, of a file of `file_length` bytes that begins with `first`.
    pub(super) fn length(path: &Path, first: [u8; 8], file_length: u64) -> Result<usize, FeatureError> {
        let length = u64::from_le_bytes(first);
        if length == 0 || length > LONGEST_HEADER as u64 || length + 8 > file_length {
            let reason = format!("a header of {length} bytes in a file of {file_length}");
            return Err(FeatureError::Malformed { path: path.to_owned(), reason });
        }
        Ok(8 + length as usize)
    }

    /// Reads the header of a file of `file_length` bytes from its first [`Self::length`] bytes. Only the metadata and the
    /// shape of the features are taken from it; everything else, the file's length too, has to be what follows from them.
    pub(super) fn parse(path: &Path, bytes: &[u8], file_length: u64) -> Result<Self, FeatureError> {
        let malformed = |reason: String| FeatureError::Malformed { path: path.to_owned(), reason };
        let json = |e: serde_json::Error| malformed(e.to_string());
        let entries: Entries = serde_json::from_slice(&bytes[8..]).map_err(json)?;
        let text = entries.metadata.get(METADATA).ok_or_else(|| malformed("its metadata has no `thorax`".into()))?;
        #[derive(Deserialize)]
        struct Version {
            format: u32,
        }
        let Version { format } = serde_json::from_str(text).map_err(json)?;
        if format != FORMAT {
            return Err(malformed(format!("format {format}, and this program reads format {FORMAT}")));
        }
        let contents: Contents = serde_json::from_str(text).map_err(json)?;
        let rows = contents.rows.len();
        let &[_, c, h, w] = entries.features.shape.as_slice() else {
            return Err(malformed(format!("features of shape {:?}, not [N, C, H, W]", entries.features.shape)));
        };
        if [rows, contents.unit, c, h, w].contains(&0) {
            return Err(malformed("no rows, or rows without numbers".into()));
        }
        let expected = Entries::new(text.clone(), rows, [c, h, w], contents.dtype);
        if expected.as_ref() != Some(&entries) {
            return Err(malformed(format!("its tensors are not those of {rows} rows of {c} x {h} x {w} numbers")));
        }
        // The product fits: it is the end of the features' offsets.
        let header = Self::at(contents, [c, h, w], bytes.len() as u64);
        if !header.features_at.is_multiple_of(PAGE as u64) {
            return Err(malformed(format!("its features begin at byte {}, which begins no page", header.features_at)));
        }
        let length = (bytes.len() as u64).checked_add(entries.features.data_offsets[1] as u64);
        if length != Some(file_length) {
            return Err(malformed(format!("it has {file_length} bytes, and its header describes another length")));
        }
        Ok(header)
    }

    /// Rows of the store.
    pub(super) fn rows(&self) -> usize {
        self.contents.rows.len()
    }

    /// Bytes of the file.
    pub(super) fn file_length(&self) -> u64 {
        self.row_at(self.rows())
    }

    /// Where a row begins.
    pub(super) fn row_at(&self, row: usize) -> u64 {
        self.features_at + row as u64 * self.row_bytes as u64
    }

    /// The rows of a unit.
    pub(super) fn unit(&self, unit: usize) -> std::ops::Range<usize> {
        let first = unit * self.contents.unit;
        first..(first + self.contents.unit).min(self.rows())
    }
}
