//! Everything that would make a figure measured with this data a lie, found before the measuring.

use std::{
    collections::{BTreeMap, BTreeSet},
    fmt,
    fs::File,
    io::{BufReader, Read},
    path::Path,
};

use dicom_dictionary_std::tags;
use dicom_object::OpenFileOptions;
use flate2::read::GzDecoder;
use thorax_files::{file_sha256, hexadecimal};

use super::{Label, Manifest, Record, Split, Task, UNKNOWN_PATIENT};
use crate::progress::in_parallel;

/// One thing that is wrong with a manifest or its files; printed, it names the files and the remedy.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
#[non_exhaustive]
pub enum Problem {
    /// A picture or mask is not there or is no picture.
    Unreadable {
        /// The file.
        file: String,
        /// Why it cannot be read.
        reason: String,
    },
    /// A file is not the one that was imported.
    Changed {
        /// The file.
        file: String,
    },
    /// A mask does not fit its picture.
    MaskSize {
        /// The picture.
        picture: String,
        /// Its columns, rows and slices.
        picture_size: [usize; 3],
        /// The mask.
        mask: String,
        /// Its columns, rows and slices.
        mask_size: [usize; 3],
    },
    /// A patient, a group or one and the same picture is in more than one split.
    Leak {
        /// `group`, `patient` or `picture`, and which.
        what: String,
        /// A file and its split, for each split.
        files: Vec<(Split, String)>,
    },
    /// One and the same picture is positive in one place and negative in another.
    Contradiction {
        /// A positive file.
        positive: String,
        /// A negative file with the same content.
        negative: String,
    },
    /// A picture of an unknown patient outside training.
    UnknownPatient {
        /// The file.
        file: String,
        /// Where it is.
        split: Split,
    },
    /// A split has no picture of a class.
    MissingClass {
        /// Modality, task and class.
        class: String,
        /// Where there is none.
        split: Split,
    },
    /// There is nothing in the manifest.
    Empty,
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let size = |[width, height, slices]: [usize; 3]| match slices {
            1 => format!("{width} x {height}"),
            _ => format!("{width} x {height} x {slices}"),
        };
        match self {
            Self::Unreadable { file, reason } => write!(f, "{file}: {reason}; restore the file or take its row out"),
            Self::Changed { file } => {
                write!(f, "{file}: not the file that was imported (SHA-256 differs); import again")
            }
            Self::MaskSize { picture, picture_size, mask, mask_size } => write!(
                f,
                "{mask}: mask of {} for {picture} of {}; a mask must have its picture's size",
                size(*mask_size),
                size(*picture_size)
            ),
            Self::Leak { what, files } => {
                let places: Vec<String> =
                    files.iter().map(|(split, file)| format!("{file} in {}", split.as_str())).collect();
                write!(f, "{what} is in more than one split: {}; run `thorax-train data split`", places.join(", "))
            }
            Self::Contradiction { positive, negative } => write!(
                f,
                "the same picture is positive as {positive} and negative as {negative}; find out which is right, or take both out"
            ),
            Self::UnknownPatient { file, split } => write!(
                f,
                "{file}: in {} though its patient is unknown; such pictures are for training only",
                split.as_str()
            ),
            Self::MissingClass { class, split } => write!(
                f,
                "no picture of {class} in {}; add patients of that class, or split with other fractions or another seed",
                split.as_str()
            ),
            Self::Empty => write!(f, "the manifest has no rows; import a folder that holds pictures"),
        }
    }
}

/// Looks for all problems, and reads every file's bytes but decodes no more than headers.
pub fn check(manifest: &Manifest) -> Vec<Problem> {
    if manifest.records.is_empty() {
        return vec![Problem::Empty];
    }
    let mut problems: BTreeSet<Problem> =
        in_parallel("checking", &manifest.records, |record| file_problems(manifest, record))
            .into_iter()
            .flatten()
            .collect();
    problems.extend(leaks(&manifest.records));
    problems.extend(contradictions(&manifest.records));
    problems.extend(missing_classes(&manifest.records));
    problems.extend(
        manifest
            .records
            .iter()
            .filter(|record| record.patient_id == UNKNOWN_PATIENT && record.split != Split::Train)
            .map(|record| Problem::UnknownPatient { file: record.path.clone(), split: record.split }),
    );
    problems.into_iter().collect()
}

fn file_problems(manifest: &Manifest, record: &Record) -> Vec<Problem> {
    let mut problems = Vec::new();
    let mut measured = |file: &str| match dimensions(&manifest.locate(file)) {
        Ok(size) => Some(size),
        Err(reason) => {
            problems.push(Problem::Unreadable { file: file.to_owned(), reason });
            None
        }
    };
    let picture_size = measured(&record.path);
    let mask_sizes: Vec<_> = record.masks().map(|mask| (mask.to_owned(), measured(mask))).collect();
    if let Some(picture_size) = picture_size {
        if file_sha256(&manifest.locate(&record.path)).is_ok_and(|sha256| hexadecimal(&sha256) != record.sha256) {
            problems.push(Problem::Changed { file: record.path.clone() });
        }
        for (mask, mask_size) in mask_sizes {
            if let Some(mask_size) = mask_size.filter(|size| *size != picture_size) {
                problems.push(Problem::MaskSize { picture: record.path.clone(), picture_size, mask, mask_size });
            }
        }
    }
    problems
}

fn leaks(records: &[Record]) -> Vec<Problem> {
    let mut places: BTreeMap<String, BTreeMap<Split, &str>> = BTreeMap::new();
    for record in records {
        let mut note = |what: String| {
            places.entry(what).or_default().entry(record.split).or_insert(&record.path);
        };
        note(format!("group `{}`", record.group));
        note(format!("picture {}", &record.sha256));
        if record.patient_id != UNKNOWN_PATIENT {
            note(format!("patient `{}` of {}", record.patient_id, record.source));
        }
    }
    let divided = places.into_iter().filter(|(_, splits)| splits.len() > 1);
    divided
        .map(|(what, splits)| Problem::Leak {
            what,
            files: splits.into_iter().map(|(s, file)| (s, file.to_owned())).collect(),
        })
        .collect()
}

fn contradictions(records: &[Record]) -> Vec<Problem> {
    let mut labels: BTreeMap<&str, BTreeMap<Label, &str>> = BTreeMap::new();
    for record in records {
        labels.entry(&record.sha256).or_default().entry(record.label).or_insert(&record.path);
    }
    let pairs =
        labels.values().filter_map(|files| Some((*files.get(&Label::Positive)?, *files.get(&Label::Negative)?)));
    pairs
        .map(|(positive, negative)| Problem::Contradiction { positive: positive.into(), negative: negative.into() })
        .collect()
}

/// Classes to be classified, and masks to be learnt, must occur in each split; both labels must occur at all.
fn missing_classes(records: &[Record]) -> Vec<Problem> {
    let mut present: BTreeMap<String, BTreeSet<Split>> = BTreeMap::new();
    for record in records {
        let modality = record.modality.as_str();
        match record.task {
            Task::Classify => {
                // Where one label is there, the other must be too.
                for label in ["positive", "negative"] {
                    present.entry(format!("{modality} for classification that is {label}")).or_default();
                }
                let label = if record.label == Label::Positive { "positive" } else { "negative" };
                present
                    .entry(format!("{modality} for classification that is {label}"))
                    .or_default()
                    .insert(record.split);
                let class = format!("{modality} for classification, class `{}`", record.class);
                present.entry(class).or_default().insert(record.split);
            }
            Task::Segment => {
                present.entry(format!("{modality} for segmentation")).or_default().insert(record.split);
            }
            Task::None => {}
        }
    }
    let missing = |(class, splits): (String, BTreeSet<Split>)| {
        let absent = Split::ALL.into_iter().filter(move |split| !splits.contains(split));
        absent.map(move |split| Problem::MissingClass { class: class.clone(), split })
    };
    present.into_iter().flat_map(missing).collect()
}

/// Columns, rows and slices, from the file's header.
fn dimensions(path: &Path) -> Result<[usize; 3], String> {
    if path.metadata().map_err(|error| error.to_string())?.len() == 0 {
        return Err("the file is empty".into());
    }
    match kind(path) {
        Kind::Dicom => {
            let header = OpenFileOptions::new()
                .read_until(tags::PIXEL_DATA)
                .open_file(path)
                .map_err(|e| format!("not readable as DICOM: {e}"))?;
            let number = |tag| {
                let element = header.element(tag).map_err(|e| format!("no picture in this DICOM file: {e}"))?;
                element.to_int::<usize>().map_err(|e| format!("not readable as DICOM: {e}"))
            };
            Ok([number(tags::COLUMNS)?, number(tags::ROWS)?, 1])
        }
        Kind::Nifti => nifti_dimensions(path).map_err(|error| format!("not readable as NIfTI-1: {error}")),
        Kind::Picture => {
            let reader = image::ImageReader::open(path).and_then(image::ImageReader::with_guessed_format);
            let (width, height) = reader
                .map_err(|error| error.to_string())?
                .into_dimensions()
                .map_err(|error| format!("not readable as a picture: {error}"))?;
            Ok([width as usize, height as usize, 1])
        }
    }
}

fn nifti_dimensions(path: &Path) -> std::io::Result<[usize; 3]> {
    let file = BufReader::new(File::open(path)?);
    let mut header = [0_u8; 348];
    if path.extension().is_some_and(|extension| extension.eq_ignore_ascii_case("gz")) {
        GzDecoder::new(file).read_exact(&mut header)?;
    } else {
        BufReader::new(file).read_exact(&mut header)?;
    }
    // The header's first field is its own length, 348, in the byte order of all the rest (nifti1.h).
    let little = match [header[0], header[1], header[2], header[3]] {
        [0x5C, 1, 0, 0] => true,
        [0, 0, 1, 0x5C] => false,
        _ => return Err(std::io::Error::other("its header does not begin with 348")),
    };
    let dimension = |i: usize| {
        let bytes = [header[40 + 2 * i], header[41 + 2 * i]];
        usize::from(if little { u16::from_le_bytes(bytes) } else { u16::from_be_bytes(bytes) })
    };
    Ok([dimension(1), dimension(2), dimension(3).max(1)])
}

/// What a file name says of its content.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    Picture,
    Dicom,
    Nifti,
}

pub(super) fn kind(path: &Path) -> Kind {
    let name = path.to_string_lossy().to_ascii_lowercase();
    if name.ends_with(".dcm") {
        Kind::Dicom
    } else if name.ends_with(".nii") || name.ends_with(".nii.gz") {
        Kind::Nifti
    } else {
        Kind::Picture
    }
}
