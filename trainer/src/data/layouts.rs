//! Four ways in which data sets lie in folders, read into one manifest.
//!
//! | layout | looks like | patients | split |
//! |---|---|---|---|
//! | `manifest` | `manifest.csv` with `path,modality,class,patient_id,source,licence,split,mask,lung_mask,group` | its own | kept |
//! | `phantoms` | `phantoms.csv`, as `thorax-train phantom` writes it | one each | dealt |
//! | `pairs` | `images/`, `masks/` (or `infection/`), perhaps `lung_masks/` or `left_lung/` and `right_lung/`; equal names | from names | dealt |
//! | `folders` | a folder a class, as `covid/` and `normal/` | from names, or as told | dealt |
//!
//! *Patients from names*: what comes before the first `__` in a file's name (`patient-7__0012.png` is `patient-7`'s). DICOM files say
//! themselves. Who a picture is of that says neither has to be told (`--patients`, `--patient-pattern`,
//! `--each-picture-is-a-patient`): a guess would put one patient into training and test without a word.
//!
//! One bad file does not stop an import, and none is dropped silently: what is left out is listed with the reason and counted.
//! Litter (`.DS_Store`, `__MACOSX`, `Thumbs.db`, `._x.jpg`) is counted.

use std::{
    collections::{BTreeMap, BTreeSet, HashMap},
    fs,
    path::{Path, PathBuf},
};

use dicom_dictionary_std::tags;
use dicom_object::OpenFileOptions;
use regex::Regex;
use serde::Deserialize;
use thorax_files::{file_sha256, hexadecimal};
use thorax_phantom::Truth;
use thorax_shared::modality::Modality;

use super::{
    DataError, Fractions, Label, Manifest, Record, Split, Task, UNKNOWN_PATIENT, assign_splits,
    check::{Kind, dimensions, is_dicom, kind},
    manifest::stays_inside,
    table::Table,
};
use crate::progress::in_parallel;

/// Read a folder of pictures into a manifest
#[derive(Clone, Debug, clap::Args)]
pub struct ImportArgs {
    /// The folder to read
    pub dir: PathBuf,
    /// The manifest to write
    #[arg(long)]
    pub out: PathBuf,
    /// How the folder is laid out
    #[arg(long, value_enum, default_value_t = Layout::Auto)]
    pub layout: Layout,
    /// What the pictures are (needed for folders and pairs; of a manifest or phantoms, only these are taken)
    #[arg(long, value_parser = modality)]
    pub modality: Option<Modality>,
    /// The same seed deals the patients out the same way
    #[arg(long, default_value_t = 0)]
    pub seed: u64,
    /// Percent of the patients for train,val,test (a manifest keeps its own split)
    #[arg(long, default_value_t = Fractions::default())]
    pub fractions: Fractions,
    /// CSV with the columns file,patient for layouts folders and pairs; `unknown` patients are for training only
    #[arg(long, value_name = "FILE")]
    pub patients: Option<PathBuf>,
    /// What names the patient in a picture's path below the folder: the expression's first group, or all that it matches
    #[arg(long, value_name = "REGEX", conflicts_with = "patients")]
    pub patient_pattern: Option<Regex>,
    /// No two pictures are of one patient
    #[arg(long, conflicts_with_all = ["patients", "patient_pattern"])]
    pub each_picture_is_a_patient: bool,
    /// Further class folders that are COVID-19, separated by commas
    #[arg(long, value_delimiter = ',')]
    pub positive: Vec<String>,
    /// Further class folders that are not COVID-19, separated by commas
    #[arg(long, value_delimiter = ',')]
    pub negative: Vec<String>,
    /// What to call the collection [default: the folder's name]
    #[arg(long)]
    pub source: Option<String>,
    /// The collection's licence
    #[arg(long, default_value = "not stated")]
    pub licence: String,
    /// Pictures whose path begins so were equalised (CLAHE) before they were published, and are not equalised again; may be
    /// repeated
    #[arg(long, value_name = "PATH")]
    pub equalised: Vec<String>,
}

fn modality(word: &str) -> Result<Modality, String> {
    match word {
        "xray" => Ok(Modality::Xray),
        "ct" => Ok(Modality::Ct),
        _ => Err("write xray or ct".into()),
    }
}

/// How a data folder is laid out.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub enum Layout {
    /// The first of the following that fits
    Auto,
    /// A manifest.csv that names patients and splits
    Manifest,
    /// The output of `thorax-train phantom`
    Phantoms,
    /// Pictures in images/, masks of the same names in masks/ or infection/
    Pairs,
    /// A folder for each class
    Folders,
}

/// Class folders whose meaning needs no telling (lower case, without spaces, `-` and `_`).
const POSITIVE: [&str; 6] = ["covid", "covid19", "positive", "pos", "ctcovid", "sarscov2"];
const NEGATIVE: [&str; 11] = [
    "normal",
    "negative",
    "neg",
    "healthy",
    "nofinding",
    "noncovid",
    "noncovid19",
    "ctnoncovid",
    "other",
    "pneumonia",
    "viralpneumonia",
];

/// Classes that say that nobody knows.
const UNLABELLED: [&str; 7] = ["", "unlabelled", "unlabeled", "unknown", "indeterminate", "notstated", "none"];

/// What an import came to.
#[derive(Clone, Debug)]
pub struct Imported {
    /// The pictures.
    pub manifest: Manifest,
    /// What was read otherwise than it was written, each thing once.
    pub told: Vec<String>,
    /// Files that are not in the manifest, and why.
    pub left_out: Vec<(String, String)>,
}

/// What an import has to tell besides its records.
#[derive(Default)]
struct Notes {
    told: Vec<String>,
    left_out: Vec<(String, String)>,
    /// Files that systems leave in folders.
    litter: usize,
    /// A manifest whose lines have no split.
    without_split: bool,
    /// Words read as others, and how often.
    words: BTreeMap<(&'static str, String, String), usize>,
}

impl Notes {
    fn leave_out(&mut self, file: &str, reason: impl Into<String>) {
        self.left_out.push((file.to_owned(), reason.into()));
    }

    /// `written` was read as `read`.
    fn word(&mut self, column: &'static str, written: &str, read: &str) {
        if written != read {
            *self.words.entry((column, written.to_owned(), read.to_owned())).or_default() += 1;
        }
    }

    fn told(self) -> (Vec<String>, Vec<(String, String)>) {
        let mut told = self.told;
        told.extend(
            self.words
                .into_iter()
                .map(|((column, written, read), rows)| format!("{column} `{written}` read as `{read}` ({rows})")),
        );
        if self.litter > 0 {
            told.push(format!("{} files that systems leave in folders (such as .DS_Store) passed over", self.litter));
        }
        (told, self.left_out)
    }
}

/// Reads the folder that `args` name; writes nothing.
///
/// # Errors
/// [`DataError`] naming the folder, file or line that does not fit the layout.
pub fn import(args: &ImportArgs) -> Result<Imported, DataError> {
    let mut notes = Notes::default();
    let layout = match args.layout {
        Layout::Auto => guessed(&args.dir)?,
        layout => layout,
    };
    let mut records = match layout {
        Layout::Auto | Layout::Manifest => from_manifest(args, &mut notes)?,
        Layout::Phantoms => from_phantoms(args, &mut notes)?,
        Layout::Pairs => from_pairs(args, &mut notes)?,
        Layout::Folders => from_folders(args, &mut notes)?,
    };
    // What cannot even be opened is not imported.
    let bad = in_parallel("opening", &records, |record| {
        let bad = |file: &str| dimensions(&args.dir.join(file)).err().map(|reason| (file.to_owned(), reason));
        std::iter::once(record.path.as_str()).chain(record.masks()).find_map(bad)
    });
    let mut bad = bad.into_iter();
    records.retain(|record| match bad.next().flatten() {
        None => true,
        Some((file, reason)) => {
            let reason = if file == record.path { reason } else { format!("its mask {file}: {reason}") };
            notes.leave_out(&record.path, reason);
            false
        }
    });
    if records.is_empty() {
        let why: Vec<String> = notes.left_out.iter().map(|(file, reason)| format!("{file}: {reason}")).collect();
        if !why.is_empty() {
            let why: Vec<&str> = why.iter().map(String::as_str).collect();
            return Err(problem(&args.dir, format!("no picture can be read; {}", listed(&why))));
        }
        return Err(problem(&args.dir, "no pictures found; check the folder, --layout and --modality"));
    }
    for beginning in &args.equalised {
        let mut begin_so = records.iter_mut().filter(|record| record.path.starts_with(beginning)).peekable();
        if begin_so.peek().is_none() {
            return Err(problem(&args.dir, format!("no picture's path begins with {beginning}; check --equalised")));
        }
        begin_so.for_each(|record| record.equalised = true);
    }
    let hashes = in_parallel("reading", &records, |record| -> Result<[String; 2], DataError> {
        let hash = |file: &str| file_sha256(&args.dir.join(file)).map(|sha256| hexadecimal(&sha256));
        let masks = record.masks().map(hash).collect::<Result<Vec<_>, _>>()?;
        Ok([hash(&record.path)?, masks.join(";")])
    });
    for (record, hashes) in records.iter_mut().zip(hashes) {
        [record.sha256, record.masks_sha256] = hashes?;
    }
    if layout != Layout::Manifest || notes.without_split {
        assign_splits(&mut records, args.seed, args.fractions);
    }
    let (told, left_out) = notes.told();
    Ok(Imported { manifest: Manifest::new(args.dir.clone(), records), told, left_out })
}

fn guessed(dir: &Path) -> Result<Layout, DataError> {
    let has = |name: &str| dir.join(name).exists();
    if has("manifest.csv") {
        Ok(Layout::Manifest)
    } else if has("phantoms.csv") {
        Ok(Layout::Phantoms)
    } else if has("images") && (has("masks") || has("infection")) {
        Ok(Layout::Pairs)
    } else if entries(dir, &mut Notes::default())?.iter().any(|path| path.is_dir()) {
        Ok(Layout::Folders)
    } else {
        Err(problem(
            dir,
            "no known layout: expected manifest.csv, phantoms.csv, images/ with masks/, or a folder for each class",
        ))
    }
}

fn problem(path: &Path, reason: impl Into<String>) -> DataError {
    DataError::Layout { path: path.to_owned(), reason: reason.into() }
}

/// A line of a layout's own manifest; further columns are passed over.
#[derive(Deserialize)]
struct SourceRow {
    path: String,
    modality: String,
    class: String,
    #[serde(alias = "patient")]
    patient_id: String,
    #[serde(default)]
    source: String,
    #[serde(default, alias = "license")]
    licence: String,
    #[serde(default)]
    split: String,
    #[serde(default)]
    mask: String,
    #[serde(default)]
    lung_mask: String,
    #[serde(default)]
    group: String,
}

fn from_manifest(args: &ImportArgs, notes: &mut Notes) -> Result<Vec<Record>, DataError> {
    let path = args.dir.join("manifest.csv");
    let rows: Vec<(u64, SourceRow)> = Table::read(&path, &mut notes.told)?.rows(&path)?;
    if rows.is_empty() {
        return Err(problem(&path, "a header and no lines; add a line for each picture"));
    }
    notes.without_split = rows.iter().all(|(_, row)| row.split.is_empty());
    if notes.without_split {
        notes.told.push(format!("{}: says no splits, so the patients are dealt out", path.display()));
    }
    let mut records = vec![];
    for (line, row) in rows {
        let failed = |reason: String| DataError::Table { path: path.clone(), line, reason };
        let modality = modality_of(&row.modality)
            .ok_or_else(|| failed(format!("modality `{}`: write xray or ct", row.modality)))?;
        notes.word("modality", &row.modality, modality.as_str());
        if args.modality.is_some_and(|wanted| wanted != modality) {
            continue;
        }
        let split = match split_of(&row.split) {
            _ if notes.without_split => Split::Train,
            Some(split) => split,
            None => {
                return Err(failed(format!(
                    "split `{}`: write train, val or test (or leave it empty in all lines, and the patients are dealt out)",
                    row.split
                )));
            }
        };
        if !notes.without_split {
            notes.word("split", &row.split, split.as_str());
        }
        let mut file = |written: &str| -> Result<String, DataError> {
            let file = inside(&args.dir, written).map_err(failed)?;
            if file != written {
                let what = if Path::new(written).is_absolute() { "absolute" } else { "written with \\ or ./" };
                notes.word("paths", what, "relative to the folder");
            }
            Ok(file)
        };
        let picture = file(&row.path)?;
        let mask = if row.mask.is_empty() { String::new() } else { file(&row.mask)? };
        let lungs = row.lung_mask.split(';').map(str::trim).filter(|lung| !lung.is_empty());
        let lung_mask = lungs.map(&mut file).collect::<Result<Vec<_>, _>>()?.join(";");
        let class = row.class.to_lowercase();
        notes.word("class", &row.class, &class);
        let patient_id = match row.patient_id.to_lowercase().as_str() {
            "" => return Err(failed(format!("no patient; write who it is, or `{UNKNOWN_PATIENT}`"))),
            UNKNOWN_PATIENT => UNKNOWN_PATIENT.to_owned(),
            _ => row.patient_id.clone(),
        };
        // Volumes and DICOM files are for tests of decoders, and originals repeat pictures that are listed smaller: all are kept,
        // none is learnt from.
        let aside = kind(&args.dir.join(&picture)) != Kind::Picture || picture.starts_with("originals/");
        let known = match class.as_str() {
            "covid-seg" | "covid-seg-volume" | "covid-volume-hu" => Some(Label::Positive),
            "normal-volume-hu" => Some(Label::Negative),
            _ => label_of(args, &class),
        };
        let unlabelled = UNLABELLED.contains(&plain(&class).as_str());
        if known.is_none() && !unlabelled && !aside && mask.is_empty() {
            return Err(failed(format!(
                "is `{class}` COVID-19 or not? Say --positive {class} or --negative {class} (or write the class `unlabelled`)"
            )));
        }
        let label = known.unwrap_or(Label::Unlabelled);
        let task = match label {
            _ if aside => Task::None,
            _ if !mask.is_empty() => Task::Segment,
            Label::Unlabelled => Task::None,
            _ => Task::Classify,
        };
        if task == Task::None {
            let why = if aside { "volumes, DICOM files and originals" } else { "unlabelled pictures" };
            notes.word("lines", why, "task none: nothing is learnt from them");
        }
        let group = if row.group.is_empty() { patient_id.clone() } else { row.group };
        // Pictures of unknown patients have nothing in common but that.
        let group = match group.to_lowercase() == UNKNOWN_PATIENT {
            true => format!("{UNKNOWN_PATIENT}/{picture}"),
            false => group,
        };
        records.push(Record {
            source: if row.source.is_empty() { source(args) } else { row.source },
            licence: row.licence,
            patient_id,
            group,
            split,
            mask,
            lung_mask,
            ..record(args, picture, modality, task, label, &class, String::new())
        });
    }
    Ok(records)
}

/// What a picture is, in the words that people use.
fn modality_of(word: &str) -> Option<Modality> {
    match plain(word).as_str() {
        "xray" | "cxr" | "chestxray" | "cr" | "dx" | "film" => Some(Modality::Xray),
        "ct" => Some(Modality::Ct),
        _ => None,
    }
}

/// A split, in the words that people use.
fn split_of(word: &str) -> Option<Split> {
    match plain(word).as_str() {
        "train" | "training" => Some(Split::Train),
        "val" | "valid" | "validation" | "dev" => Some(Split::Val),
        "test" | "testing" => Some(Split::Test),
        _ => None,
    }
}

/// A file's path below `dir`, with `/` between folders.
fn inside(dir: &Path, written: &str) -> Result<String, String> {
    let refused =
        || format!("`{written}` does not lie under {}: write a path relative to it, without ..", dir.display());
    let mut file = written.to_owned();
    if Path::new(written).is_absolute() {
        let roots = [dir.canonicalize().ok(), std::path::absolute(dir).ok()];
        let below = roots.iter().flatten().find_map(|root| Path::new(written).strip_prefix(root).ok());
        file = below.ok_or_else(refused)?.to_string_lossy().into_owned();
    } else if written.contains('\\') && !dir.join(written).exists() {
        file = written.replace('\\', "/");
    }
    while let Some(rest) = file.strip_prefix("./") {
        file = rest.to_owned();
    }
    if stays_inside(&file) { Ok(file) } else { Err(refused()) }
}

/// Each 8-bit picture is for both tasks; the other formats show the same and are kept aside.
fn from_phantoms(args: &ImportArgs, notes: &mut Notes) -> Result<Vec<Record>, DataError> {
    let path = args.dir.join("phantoms.csv");
    let truths: Vec<(u64, Truth)> = Table::read(&path, &mut notes.told)?.rows(&path)?;
    let wanted = truths.into_iter().map(|(_, truth)| truth);
    let wanted = wanted.filter(|truth| args.modality.is_none_or(|modality| modality == truth.modality));
    Ok(wanted
        .flat_map(|truth| {
            let patient = format!("phantom-{}-{}", truth.modality, truth.seed);
            let positive = truth.label == "positive";
            let record = Record {
                path: truth.file,
                modality: truth.modality,
                task: Task::None,
                label: if positive { Label::Positive } else { Label::Negative },
                class: if positive { "covid" } else { "normal" }.into(),
                group: patient.clone(),
                patient_id: patient,
                source: args.source.clone().unwrap_or("thorax-train phantom".into()),
                licence: args.licence.clone(),
                split: Split::Train,
                mask: truth.infection_mask,
                lung_mask: format!("{};{}", truth.left_lung_mask, truth.right_lung_mask),
                sha256: String::new(),
                equalised: false,
                masks_sha256: String::new(),
            };
            let tasks: &[Task] = if truth.format == "png" { &[Task::Classify, Task::Segment] } else { &[Task::None] };
            tasks.iter().map(move |task| Record { task: *task, ..record.clone() })
        })
        .collect())
}

fn from_pairs(args: &ImportArgs, notes: &mut Notes) -> Result<Vec<Record>, DataError> {
    let modality = needed_modality(args)?;
    let name = ["masks", "infection"].into_iter().find(|name| args.dir.join(name).is_dir());
    let name = name.ok_or_else(|| problem(&args.dir, "no folder masks/ or infection/"))?;
    let masks = by_stem(&args.dir, name, notes)?;
    notes.told.push(format!("{name}/ is read as the infection; masks of the lungs belong into lung_masks/"));
    let mut optional = |name: &str| match args.dir.join(name).is_dir() {
        true => by_stem(&args.dir, name, notes),
        false => Ok(BTreeMap::new()),
    };
    let (lungs, left, right) = (optional("lung_masks")?, optional("left_lung")?, optional("right_lung")?);
    let images = by_stem(&args.dir, "images", notes)?;
    for (stem, mask) in &masks {
        if !images.contains_key(stem) {
            notes.leave_out(mask, "no picture of the same name; add it or take the mask away");
        }
    }
    let mut patients = Patients::new(args, notes)?;
    let mut records = vec![];
    for (stem, path) in images {
        let Some(mask) = masks.get(&stem).cloned() else {
            notes.leave_out(&path, "no mask of the same name; add it or take the picture away");
            continue;
        };
        let lung_mask = match (lungs.get(&stem), left.get(&stem), right.get(&stem)) {
            (_, Some(left), Some(right)) => format!("{left};{right}"),
            (Some(lungs), _, _) => lungs.clone(),
            _ => String::new(),
        };
        let patient = patients.of(&path, &args.dir.join(&path));
        let bare = record(args, path, modality, Task::Segment, Label::Unlabelled, "pairs", patient);
        records.push(Record { mask, lung_mask, ..bare });
    }
    patients.all_known(args)?;
    Ok(records)
}

fn from_folders(args: &ImportArgs, notes: &mut Notes) -> Result<Vec<Record>, DataError> {
    let modality = needed_modality(args)?;
    let mut patients = Patients::new(args, notes)?;
    let mut records = Vec::new();
    for folder in entries(&args.dir, notes)? {
        if !folder.is_dir() {
            if is_picture(&folder) || !folder.exists() {
                notes.leave_out(&relative(&args.dir, &folder), "in no class's folder, or a link to nowhere");
            }
            continue;
        }
        let class = folder.file_name().unwrap_or_default().to_string_lossy().into_owned();
        let mut files = Vec::new();
        let mut seen = BTreeSet::new();
        walk(&args.dir, &folder, &mut seen, &mut files, notes)?;
        files.retain(|path| learnable(&args.dir, &folder, path, notes));
        if files.is_empty() {
            return Err(problem(&folder, "this class has no pictures; add some or remove the folder"));
        }
        let label = label_of(args, &class).ok_or_else(|| {
            problem(&folder, format!("is `{class}` COVID-19 or not? Say --positive {class} or --negative {class}"))
        })?;
        let word = class.to_lowercase();
        for path in files {
            let relative = relative(&args.dir, &path);
            notes.word("class", &class, &word);
            let patient = patients.of(&relative, &path);
            let task = if kind(&path) == Kind::Nifti { Task::None } else { Task::Classify };
            if task == Task::None {
                notes.word("files", "volumes", "task none: nothing is learnt from them");
            }
            records.push(record(args, relative, modality, task, label, &word, patient));
        }
    }
    patients.all_known(args)?;
    Ok(records)
}

/// Whether a file in a class's folder is a picture to learn from; what is left out is noted.
fn learnable(dir: &Path, class: &Path, path: &Path, notes: &mut Notes) -> bool {
    let name = relative(dir, path);
    let below =
        path.strip_prefix(class).unwrap_or(path).parent().unwrap_or(Path::new("")).to_string_lossy().to_lowercase();
    let reason = match () {
        () if path.to_str().is_none() => "its name is not UTF-8; rename it",
        () if !is_picture(path) => "no PNG, JPEG, TIFF, DICOM or NIfTI by its name",
        () if below.contains("mask") || below.contains("segmentation") => "in a folder of masks, and so no picture",
        () => return true,
    };
    notes.leave_out(&name, reason);
    false
}

/// Who pictures are of, by what the user says, the files, or their names.
struct Patients<'a> {
    table: Option<HashMap<String, String>>,
    pattern: Option<&'a Regex>,
    each: bool,
    /// Pictures of which nothing is known.
    unknown: Vec<String>,
}

impl<'a> Patients<'a> {
    fn new(args: &'a ImportArgs, notes: &mut Notes) -> Result<Self, DataError> {
        let table = args.patients.as_deref().map(|path| patient_table(path, notes)).transpose()?;
        let each = args.each_picture_is_a_patient;
        Ok(Self { table, pattern: args.patient_pattern.as_ref(), each, unknown: vec![] })
    }

    /// The patient of the picture `relative`, which lies at `path`; whom nobody knows is noted.
    fn of(&mut self, relative: &str, path: &Path) -> String {
        let name = relative.rsplit('/').next().unwrap_or(relative);
        let known = if let Some(table) = &self.table {
            table.get(relative).or_else(|| table.get(name)).cloned()
        } else if let Some(pattern) = self.pattern {
            let found = pattern.captures(relative);
            found.and_then(|found| Some(found.get(1).or(found.get(0))?.as_str().to_owned()))
        } else if self.each {
            Some(relative.to_owned())
        } else if kind(path) == Kind::Dicom {
            dicom_patient(path)
        } else {
            let stem = stem(name);
            stem.split_once("__").map(|(patient, _)| patient.to_owned())
        };
        known.filter(|patient| !patient.is_empty()).unwrap_or_else(|| {
            // What cannot be opened is left out anyway.
            if dimensions(path).is_ok() {
                self.unknown.push(relative.to_owned());
            }
            UNKNOWN_PATIENT.to_owned()
        })
    }

    /// # Errors
    /// Pictures of which nothing is known.
    fn all_known(self, args: &ImportArgs) -> Result<(), DataError> {
        if self.unknown.is_empty() {
            return Ok(());
        }
        let files: Vec<&str> = self.unknown.iter().map(String::as_str).collect();
        let examples = listed(&files);
        match (&args.patients, self.pattern) {
            (Some(table), _) => Err(problem(
                table,
                format!("no patient for {examples}; add a line file,patient (`{UNKNOWN_PATIENT}` where nobody knows)"),
            )),
            (_, Some(pattern)) => Err(problem(
                &args.dir,
                format!(
                    "--patient-pattern {pattern} finds no patient in {examples}; give one that does, or --patients"
                ),
            )),
            _ => Err(DataError::PatientsUnknown { path: args.dir.clone(), pictures: files.len(), examples }),
        }
    }
}

/// The patient that a DICOM file names, together with who issued the number.
fn dicom_patient(path: &Path) -> Option<String> {
    let header = OpenFileOptions::new().read_until(tags::PIXEL_DATA).open_file(path).ok()?;
    let text = |tag| Some(header.element(tag).ok()?.to_str().ok()?.trim().trim_end_matches('\0').to_owned());
    let id = text(tags::PATIENT_ID).filter(|id| !id.is_empty())?;
    match text(tags::ISSUER_OF_PATIENT_ID).filter(|issuer| !issuer.is_empty()) {
        Some(issuer) => Some(format!("{issuer}/{id}")),
        None => Some(id),
    }
}

/// What the collection is called.
fn source(args: &ImportArgs) -> String {
    let folder_name =
        || args.dir.canonicalize().ok().and_then(|dir| Some(dir.file_name()?.to_string_lossy().into_owned()));
    args.source.clone().or_else(folder_name).unwrap_or("import".into())
}

fn record(
    args: &ImportArgs,
    path: String,
    modality: Modality,
    task: Task,
    label: Label,
    class: &str,
    patient: String,
) -> Record {
    let source = source(args);
    let group =
        if patient == UNKNOWN_PATIENT { format!("{UNKNOWN_PATIENT}/{path}") } else { format!("{source}/{patient}") };
    Record {
        path,
        modality,
        task,
        label,
        class: class.to_owned(),
        patient_id: patient,
        group,
        source,
        licence: args.licence.clone(),
        split: Split::Train,
        mask: String::new(),
        lung_mask: String::new(),
        sha256: String::new(),
        equalised: false,
        masks_sha256: String::new(),
    }
}

fn needed_modality(args: &ImportArgs) -> Result<Modality, DataError> {
    args.modality
        .ok_or_else(|| problem(&args.dir, "this layout does not say what its pictures are; give --modality xray or ct"))
}

fn label_of(args: &ImportArgs, class: &str) -> Option<Label> {
    let is_in = |told: &[String], known: &[&str]| {
        told.iter().any(|word| plain(word) == plain(class)) || known.contains(&plain(class).as_str())
    };
    // What the user says comes before what the names suggest.
    if is_in(&args.positive, &[]) {
        Some(Label::Positive)
    } else if is_in(&args.negative, &NEGATIVE) {
        Some(Label::Negative)
    } else {
        is_in(&[], &POSITIVE).then_some(Label::Positive)
    }
}

/// A word without capitals, blanks, `-` and `_`.
fn plain(word: &str) -> String {
    word.to_lowercase().replace(['-', '_', ' '], "")
}

fn patient_table(path: &Path, notes: &mut Notes) -> Result<HashMap<String, String>, DataError> {
    #[derive(Deserialize)]
    struct PatientLine {
        #[serde(alias = "file_name", alias = "filename", alias = "path")]
        file: String,
        #[serde(alias = "patient_id")]
        patient: String,
    }
    let rows: Vec<(u64, PatientLine)> = Table::read(path, &mut notes.told)?.rows(path)?;
    let mut patients = HashMap::new();
    for (line, row) in rows {
        let other = patients.insert(row.file.clone(), row.patient.clone());
        if let Some(other) = other.filter(|other| *other != row.patient) {
            let reason = format!("{} belongs to {other} and to {}; keep one line", row.file, row.patient);
            return Err(DataError::Table { path: path.to_owned(), line, reason });
        }
    }
    Ok(patients)
}

/// The pictures of a folder by their names without extension.
fn by_stem(dir: &Path, name: &str, notes: &mut Notes) -> Result<BTreeMap<String, String>, DataError> {
    let mut files = BTreeMap::new();
    for path in entries(&dir.join(name), notes)? {
        if path.to_str().is_none() || !is_picture(&path) {
            notes.leave_out(&relative(dir, &path), "no picture's name in UTF-8 (PNG, JPEG, TIFF, DICOM, NIfTI)");
            continue;
        }
        let file_name = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
        if let Some(other) = files.insert(stem(&file_name), relative(dir, &path)) {
            return Err(problem(&path, format!("has the same name as {other} but for the extension; rename one")));
        }
    }
    Ok(files)
}

fn stem(name: &str) -> String {
    let name = name.strip_suffix(".gz").unwrap_or(name);
    name.rsplit_once('.').map_or(name, |(stem, _)| stem).to_owned()
}

fn is_picture(path: &Path) -> bool {
    let name = path.to_string_lossy().to_ascii_lowercase();
    [".png", ".jpg", ".jpeg", ".tif", ".tiff", ".dcm", ".nii", ".nii.gz"]
        .iter()
        .any(|extension| name.ends_with(extension))
        || is_dicom(path)
}

/// What a folder holds, sorted, but for litter, which is counted.
fn entries(dir: &Path, notes: &mut Notes) -> Result<Vec<PathBuf>, DataError> {
    let failed = |reason| DataError::Read { path: dir.to_owned(), reason };
    let read: Result<Vec<PathBuf>, _> = fs::read_dir(dir).map_err(failed)?.map(|entry| Ok(entry?.path())).collect();
    let mut paths = read.map_err(failed)?;
    paths.retain(|path| {
        let name = path.file_name().unwrap_or_default().to_string_lossy().to_lowercase();
        let litter = name.starts_with('.') || ["__macosx", "thumbs.db", "desktop.ini"].contains(&name.as_str());
        notes.litter += usize::from(litter);
        !litter
    });
    paths.sort();
    Ok(paths)
}

/// All files below `folder`; a folder is entered once, however many links lead to it.
fn walk(
    dir: &Path,
    folder: &Path,
    seen: &mut BTreeSet<PathBuf>,
    files: &mut Vec<PathBuf>,
    notes: &mut Notes,
) -> Result<(), DataError> {
    let real = folder.canonicalize().map_err(|reason| DataError::Read { path: folder.to_owned(), reason })?;
    let root = dir.canonicalize().map_err(|reason| DataError::Read { path: dir.to_owned(), reason })?;
    // A link up to the class or above it would bring in the other classes.
    if root.starts_with(&real) || !seen.insert(real) {
        notes.leave_out(&relative(dir, folder), "a link to a folder that is read already");
        return Ok(());
    }
    for path in entries(folder, notes)? {
        match path.metadata() {
            Err(error) => notes.leave_out(&relative(dir, &path), error.to_string()),
            Ok(metadata) if metadata.is_dir() => walk(dir, &path, seen, files, notes)?,
            Ok(_) => files.push(path),
        }
    }
    Ok(())
}

/// `path` below `dir`, with `/` between folders on every system.
fn relative(dir: &Path, path: &Path) -> String {
    let below = path.strip_prefix(dir).unwrap_or(path);
    below.components().map(|part| part.as_os_str().to_string_lossy().into_owned()).collect::<Vec<_>>().join("/")
}

/// The first few of many names.
pub(super) fn listed(names: &[&str]) -> String {
    let shown = names.iter().take(8).copied().collect::<Vec<_>>().join(", ");
    if names.len() > 8 { format!("{shown} and {} more", names.len() - 8) } else { shown }
}
