//! Everything that would make a figure measured with this data a lie, found before the measuring.

use std::{
    collections::{BTreeMap, BTreeSet},
    fmt,
    fs::File,
    io::Read,
    path::Path,
};

use dicom_dictionary_std::tags;
use dicom_object::OpenFileOptions;
use thorax_decode::Outline;
use thorax_files::{file_sha256, hexadecimal};
use thorax_shared::plane::Plane;

use super::{
    Label, Manifest, Record, Split, Task, UNKNOWN_PATIENT,
    address::{Address, content},
    mask::{self, Mask},
    picture::{Picture, refuse_lungs_as_infection},
    trust::hashes,
    volumes,
};
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
    /// One and the same picture is of two classes.
    TwoClasses {
        /// A class and a file of it, for each.
        files: Vec<(String, String)>,
    },
    /// A line stands twice: the picture would count twice.
    Duplicate {
        /// The file.
        file: String,
        /// What for.
        task: &'static str,
        /// How many lines.
        lines: usize,
    },
    /// A mask of the lungs in the place of the infection's.
    LungMask {
        /// The picture.
        picture: String,
        /// The mask.
        mask: String,
    },
    /// A picture that can be read, but is none to learn from or judge on.
    NoPicture {
        /// The file.
        file: String,
        /// Why.
        reason: String,
    },
    /// No infection mask of a split marks anything.
    NothingMarked {
        /// The modality.
        modality: &'static str,
        /// The split.
        split: Split,
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
            Self::TwoClasses { files } => {
                let places: Vec<String> = files.iter().map(|(class, file)| format!("`{class}` as {file}")).collect();
                write!(f, "the same picture is of several classes: {}; keep the right one", places.join(", "))
            }
            Self::Duplicate { file, task, lines } => {
                write!(f, "{file}: {lines} lines for the task {task}, and would count so often; keep one")
            }
            Self::LungMask { picture, mask } => write!(
                f,
                "{mask}: by its name a mask of the lungs, given as the infection's of {picture}; name it in the column lung_mask"
            ),
            Self::NoPicture { file, reason } => write!(f, "{file}: {reason}; take its row out"),
            Self::NothingMarked { modality, split } => write!(
                f,
                "no infection mask of the {modality} pictures in {} marks anything: nothing can be learnt or judged there; \
                 check how the masks were exported",
                split.as_str()
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

/// What [`check`] found.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Findings {
    /// What is wrong.
    pub problems: Vec<Problem>,
    /// What is not wrong, but was understood in one of several ways, or may surprise.
    pub told: Vec<String>,
}

/// Looks for all problems. Every file is read, and decoded where something is learnt from it.
pub fn check(manifest: &Manifest) -> Findings {
    check_and(manifest, |_, _| None::<()>).0
}

/// [`check`], and what `see` makes of each picture that something is learnt from, once, however many lines name it: most of the time goes
/// into decoding. Pictures that cannot be read, or are none, are not shown. In the order of their paths.
pub fn check_and<T: Send>(
    manifest: &Manifest,
    see: impl Fn(&Record, &Picture) -> Option<T> + Sync + Send,
) -> (Findings, Vec<(&Record, T)>) {
    if manifest.records.is_empty() {
        return (Findings { problems: vec![Problem::Empty], told: vec![] }, vec![]);
    }
    let mut lines: BTreeMap<&str, Vec<&Record>> = BTreeMap::new();
    manifest.records.iter().for_each(|record| lines.entry(&record.path).or_default().push(record));
    let lines: Vec<Vec<&Record>> = lines.into_values().collect();
    let looks = in_parallel("checking", &lines, |records| look_at(manifest, records, &see));
    let (looks, shown): (Vec<_>, Vec<_>) = looks.into_iter().unzip();
    (findings(manifest, &looks.concat()), shown.into_iter().flatten().collect())
}

/// What the lines and all their files show.
fn findings(manifest: &Manifest, looks: &[(&Record, Look)]) -> Findings {
    let mut problems: BTreeSet<Problem> = static_problems(manifest).into_iter().collect();
    problems.extend(missing_classes(&manifest.records));
    let mut marked: BTreeMap<(&'static str, Split), bool> = BTreeMap::new();
    let mut told: BTreeMap<String, Vec<&str>> = BTreeMap::new();
    for (record, seen) in looks {
        problems.extend(seen.problems.iter().cloned());
        if let Some(infection) = seen.infection {
            *marked.entry((record.modality.as_str(), record.split)).or_default() |= infection;
        }
        seen.told.iter().for_each(|(file, what)| told.entry(what.clone()).or_default().push(file));
    }
    let nothing = marked.into_iter().filter(|(_, marked)| !marked);
    problems.extend(nothing.map(|((modality, split), _)| Problem::NothingMarked { modality, split }));
    let mut told: Vec<String> = told
        .into_iter()
        .map(|(what, mut files)| {
            files.sort_unstable();
            files.dedup();
            format!("{what} ({}): {}", files.len(), super::layouts::listed(&files))
        })
        .collect();
    let unknown = manifest.records.iter().flat_map(hashes).filter(|(_, sha256)| sha256.is_empty()).count();
    if unknown > 0 {
        told.push(format!(
            "{unknown} files have no SHA-256 in the manifest: whether they changed is not known; import again"
        ));
    }
    Findings { problems: problems.into_iter().collect(), told }
}

/// What the lines alone show.
pub(super) fn static_problems(manifest: &Manifest) -> Vec<Problem> {
    let records = &manifest.records;
    let mut problems: BTreeSet<Problem> = leaks(records).into_iter().collect();
    problems.extend(contradictions(records));
    problems.extend(duplicates(records));
    problems.extend(
        records
            .iter()
            .filter(|record| names_lungs(record))
            .map(|record| Problem::LungMask { picture: record.path.clone(), mask: record.mask.clone() }),
    );
    let unknown = records.iter().filter(|r| r.patient_id == UNKNOWN_PATIENT && r.split != Split::Train);
    problems.extend(unknown.map(|r| Problem::UnknownPatient { file: r.path.clone(), split: r.split }));
    problems.into_iter().collect()
}

/// Whether the infection mask is called one of the lungs, or is one of the lung masks. What the picture itself is called says
/// nothing, nor does a folder further up, or a file of which some labels are named.
fn names_lungs(record: &Record) -> bool {
    let stem = Path::new(&record.path).file_stem().unwrap_or_default().to_string_lossy().to_lowercase();
    let mask = record.mask.to_lowercase().replace(stem.as_str(), "");
    let last: Vec<&str> = mask.rsplit('/').take(2).collect();
    let says = |word: &str| last.iter().any(|part| part.contains(word));
    let lungs = says("lung") && !["infection", "lesion", "#label="].into_iter().any(says);
    lungs || (!record.mask.is_empty() && record.lung_masks().any(|lung| lung == record.mask))
}

fn duplicates(records: &[Record]) -> Vec<Problem> {
    let mut lines: BTreeMap<(&str, &'static str), usize> = BTreeMap::new();
    for record in records {
        *lines.entry((&record.path, record.task.as_str())).or_default() += 1;
    }
    let twice = lines.into_iter().filter(|(_, lines)| *lines > 1);
    twice.map(|((file, task), lines)| Problem::Duplicate { file: file.to_owned(), task, lines }).collect()
}

/// What a record's files show.
#[derive(Clone, Default)]
struct Look {
    problems: Vec<Problem>,
    /// Whether the infection mask marks anything, where there is one that can be read.
    infection: Option<bool>,
    /// A file and what is to be told of it.
    told: Vec<(String, String)>,
}

/// All lines of one picture, which is decoded once, and what `see` makes of it.
#[allow(clippy::type_complexity, reason = "one place")]
fn look_at<'a, T>(
    manifest: &Manifest,
    records: &[&'a Record],
    see: &impl Fn(&Record, &Picture) -> Option<T>,
) -> (Vec<(&'a Record, Look)>, Option<(&'a Record, T)>) {
    // Where a picture serves both tasks, its class is in the line of one of them.
    let classified = records.iter().find(|record| record.task == Task::Classify);
    let learnt = classified.or_else(|| records.iter().find(|record| record.task != Task::None));
    let decoded = learnt.map(|record| (*record, Decoded::of(manifest, record)));
    let looks = records.iter().map(|&record| {
        let decoded = decoded.as_ref().filter(|_| record.task != Task::None).map(|(_, decoded)| decoded);
        (record, look(manifest, record, decoded))
    });
    let looks = looks.collect();
    let shown = decoded.and_then(|(record, decoded)| {
        let picture = decoded.ok().filter(|decoded| decoded.is_none.is_none())?.picture;
        Some((record, see(record, &picture)?))
    });
    (looks, shown)
}

/// One line; `decoded` is its picture, where something is learnt from it.
fn look(manifest: &Manifest, record: &Record, decoded: Option<&Result<Decoded, String>>) -> Look {
    let mut look = Look::default();
    let size = match decoded {
        None => dimensions(&manifest.locate(&record.path)),
        Some(Err(reason)) => Err(reason.clone()),
        Some(Ok(Decoded { size, is_none, .. })) => {
            let no_picture = |reason: &String| Problem::NoPicture { file: record.path.clone(), reason: reason.clone() };
            look.problems.extend(is_none.as_ref().map(no_picture));
            Ok(*size)
        }
    };
    let picture_size =
        size.map_err(|reason| look.problems.push(Problem::Unreadable { file: record.path.clone(), reason })).ok();
    let mut planes: Vec<Option<Plane<u8>>> = vec![];
    for (position, mask) in record.masks().enumerate() {
        let (mask_size, plane) = match mask_of(manifest, record, mask) {
            Ok(read) => read,
            Err(reason) => {
                look.problems.push(Problem::Unreadable { file: mask.to_owned(), reason });
                planes.push(None);
                continue;
            }
        };
        let fits =
            picture_size.is_none_or(|size| size == mask_size || plane.as_ref().is_some_and(|mask| fits(mask, size)));
        if let Some(picture_size) = picture_size.filter(|_| !fits) {
            let (picture, mask) = (record.path.clone(), mask.to_owned());
            look.problems.push(Problem::MaskSize { picture, picture_size, mask, mask_size });
            planes.push(None);
            continue;
        }
        if let (Some([width, height, _]), Some(_)) = (picture_size.filter(|size| *size != mask_size), &plane) {
            let [columns, rows, _] = mask_size;
            look.told.push((mask.to_owned(), mask::fitted_told([columns, rows], [width, height])));
        }
        if let Some(mask_read) = &plane {
            if let Some(values) = mask_read.foreground.told() {
                look.told.push((mask.to_owned(), format!("masks with the values {values}")));
            }
            let infection = position == 0 && !record.mask.is_empty();
            let empty = mask_read.is_empty();
            if infection && record.task == Task::Segment {
                look.infection = Some(!empty);
            }
            if empty && record.label != Label::Negative {
                look.told.push((mask.to_owned(), "masks that mark nothing".into()));
            }
        }
        planes.push(plane.map(|mask| mask.plane));
    }
    if !record.mask.is_empty()
        && planes.len() > 1
        && let Err(error) = refuse_lungs_as_infection(record, &planes)
    {
        look.problems.push(Problem::NoPicture { file: record.mask.clone(), reason: error.to_string() });
    }
    // Of a file that is told above, its hash says no more.
    let sliced = Address::of(&record.path).slice.is_some();
    let changed = hashes(record).filter(|(file, expected)| {
        let path = manifest.locate(file);
        let sha256 =
            if sliced { volumes::sha256(&path).ok() } else { file_sha256(&path).ok().map(|sha| hexadecimal(&sha)) };
        !expected.is_empty() && sha256.is_some_and(|sha256| sha256 != *expected)
    });
    let told = |file: &str, problems: &[Problem]| {
        problems.iter().any(|problem| match problem {
            Problem::Unreadable { file: other, .. } | Problem::MaskSize { mask: other, .. } => other == file,
            _ => false,
        })
    };
    let changed: Vec<Problem> = changed
        .filter(|(file, _)| !told(file, &look.problems))
        .map(|(file, _)| Problem::Changed { file: file.to_owned() })
        .collect();
    look.problems.extend(changed);
    look
}

/// A picture that is learnt from, decoded as training does.
struct Decoded {
    picture: Picture,
    /// Columns, rows and slices.
    size: [usize; 3],
    /// Why it is no picture, if it is none.
    is_none: Option<String>,
}

impl Decoded {
    /// Of a line, or why it cannot be read.
    fn of(manifest: &Manifest, record: &Record) -> Result<Self, String> {
        let [.., mut slices] = dimensions(&manifest.locate(&record.path))?;
        if Address::of(&record.path).slice.is_some() {
            slices = 1;
        }
        let picture =
            Picture::decode_at(manifest, &record.path, record.equalised).map_err(|error| match error.source() {
                Some(reason) => reason.to_string(),
                None => error.to_string(),
            })?;
        let [width, height] = picture.size();
        let small = || (width.min(height) < 16).then(|| format!("{width} x {height} pixels are no picture"));
        let is_none = picture.is_none().map(str::to_owned).or_else(small);
        Ok(Self { picture, size: [width, height, slices], is_none })
    }
}

/// A mask's size, and what it marks where it is a picture's.
fn mask_of(manifest: &Manifest, record: &Record, mask: &str) -> Result<([usize; 3], Option<Mask>), String> {
    let path = manifest.locate(mask);
    let size = dimensions(&path)?;
    if record.task == Task::None {
        return Ok((size, None));
    }
    let read = Mask::of(manifest, &record.path, mask).map_err(|error| format!("{:#}", error.root_cause()))?;
    // A volume's, of the slice.
    Ok(([read.plane.width(), read.plane.height(), 1], Some(read)))
}

/// Whether a mask can be brought to the size of its picture.
fn fits(mask: &Mask, [width, height, slices]: [usize; 3]) -> bool {
    slices == 1 && mask::fitted(mask.plane.clone(), [width, height]).is_ok()
}

fn leaks(records: &[Record]) -> Vec<Problem> {
    let mut places: BTreeMap<String, BTreeMap<Split, &str>> = BTreeMap::new();
    for record in records {
        let mut note = |what: String| {
            places.entry(what).or_default().entry(record.split).or_insert(&record.path);
        };
        note(format!("group `{}`", record.group));
        if !record.sha256.is_empty() {
            note(format!("picture {}", content(&record.path, &record.sha256)));
        }
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

/// One content with two labels, or, where classes are learnt, with two classes.
fn contradictions(records: &[Record]) -> Vec<Problem> {
    let mut labels: BTreeMap<String, BTreeMap<Label, &str>> = BTreeMap::new();
    let mut classes: BTreeMap<String, BTreeMap<&str, &str>> = BTreeMap::new();
    for record in records.iter().filter(|record| !record.sha256.is_empty()) {
        let shown = content(&record.path, &record.sha256);
        labels.entry(shown.clone()).or_default().entry(record.label).or_insert(&record.path);
        if record.task == Task::Classify {
            classes.entry(shown).or_default().entry(&record.class).or_insert(&record.path);
        }
    }
    let pair = |files: &BTreeMap<Label, &str>| {
        let (positive, negative) = (*files.get(&Label::Positive)?, *files.get(&Label::Negative)?);
        Some(Problem::Contradiction { positive: positive.into(), negative: negative.into() })
    };
    let told: Vec<(&String, Problem)> =
        labels.iter().filter_map(|(shown, files)| Some((shown, pair(files)?))).collect();
    let several = classes.iter().filter(|(shown, files)| files.len() > 1 && !told.iter().any(|(t, _)| t == shown));
    let several: Vec<Problem> = several
        .map(|(_, files)| Problem::TwoClasses {
            files: files.iter().map(|(class, file)| ((*class).to_owned(), (*file).to_owned())).collect(),
        })
        .collect();
    told.into_iter().map(|(_, problem)| problem).chain(several).collect()
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
pub(super) fn dimensions(path: &Path) -> Result<[usize; 3], String> {
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
        Kind::Nifti => match thorax_decode::nifti_outline(path) {
            Ok(Outline { columns, rows, slices, .. }) => Ok([columns, rows, slices]),
            Err(error) => Err(error.to_string()),
        },
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

/// What a file name says of its content.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    Picture,
    Dicom,
    Nifti,
}

pub(super) fn kind(path: &Path) -> Kind {
    let name = path.to_string_lossy().to_ascii_lowercase();
    let ends = |endings: &[&str]| endings.iter().any(|ending| name.ends_with(ending));
    // Archives call files without an ending, or after their UID, whose last number is none.
    let ending_says = ends(&[".png", ".jpg", ".jpeg", ".tif", ".tiff", ".csv", ".txt", ".json"]);
    if ends(&[".nii", ".nii.gz"]) {
        Kind::Nifti
    } else if ends(&[".dcm"]) || (!ending_says && is_dicom(path)) {
        Kind::Dicom
    } else {
        Kind::Picture
    }
}

/// Whether a file says that it is DICOM (PS3.10: after a preamble of 128 bytes).
pub(super) fn is_dicom(path: &Path) -> bool {
    let mut start = [0; 132];
    File::open(path).and_then(|mut file| file.read_exact(&mut start)).is_ok() && start[128..] == *b"DICM"
}
