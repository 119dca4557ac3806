//! The ways in which data sets lie in folders, read into one manifest.
//!
//! | layout | looks like | patients | split |
//! |---|---|---|---|
//! | `manifest` | `manifest.csv` with `path,modality,class,patient_id,source,licence,split,mask,lung_mask,group` | its own | kept |
//! | `phantoms` | `phantoms.csv`, as `thorax-train phantom` writes it | one each | dealt |
//! | `bids` | `participants.tsv` and a folder `sub-...` for each participant; masks under `derivatives/` | the participants | dealt |
//! | `tasks` | `dataset.json` that names labels, as of nnU-Net (`imagesTr`, `labelsTr`) and of the Medical Segmentation Decathlon | a volume each | its own test |
//! | `lists` | `train*.txt`, `test*.txt` with `patient file class source` a line; pictures in `train/`, `test/` | the lists' | kept |
//! | `scan-table` | a CSV with a column of scans (`ct_scan`) and columns of their masks, all NIfTI; perhaps of patients, splits and classes | the table's, or a volume each | its own, or dealt |
//! | `studies` | DICOM files and a CSV that tells classes by StudyInstanceUID or PatientID | the files' | dealt |
//! | `volumes` | NIfTI volumes, masks beside them whose names or folders say so, classes by folder | a volume each | dealt |
//! | `class-masks` | `CLASS/images/` with `CLASS/masks/`, `lung masks/`, `infection masks/`; perhaps under `Train/`, `Val/`, `Test/` | tables', or as told | kept |
//! | `pairs` | `images/`, `masks/` (or `infection/`), perhaps `lung_masks/` or `left_lung/` and `right_lung/`; equal names | tables', or from names | dealt |
//! | `patient-tables` | pictures in class folders, and CSVs with a column of file names and one of patients | the tables' | dealt |
//! | `folders` | a folder a class, as `covid/` and `normal/`, perhaps under `train/`, `val/`, `test/` or in a folder of all | from names, or as told | its own, or dealt |
//!
//! A layout *recognises* a folder by its shape and *lists* what is in it; no collection is known by its name. What all have in
//! common is in `items`, and here: opening, hashing, splitting.
//!
//! *Patients from names*: what comes before the first `__` in a file's name (`patient-7__0012.png` is `patient-7`'s). DICOM files say
//! themselves. Who a picture is of that says neither has to be told (`--patients`, `--patient-pattern`,
//! `--each-picture-is-a-patient`): a guess would put one patient into training and test without a word.
//!
//! One bad file does not stop an import, and none is dropped silently: what is left out is listed with the reason and counted.
//! Litter (`.DS_Store`, `__MACOSX`, `Thumbs.db`, `._x.jpg`) is counted.

mod bids;
mod class_folders;
mod class_masks;
mod files;
mod folders;
mod items;
mod lists;
mod manifest;
mod marks;
mod notes;
mod pairs;
mod patient_tables;
mod patients;
mod phantoms;
mod records;
mod scan_table;
mod studies;
mod tasks;
mod tree;
mod volumes;
mod words;

use std::{
    collections::{BTreeMap, BTreeSet},
    path::{Path, PathBuf},
};

use regex::Regex;
use thorax_files::{file_sha256, hexadecimal};
use thorax_shared::modality::Modality;

use super::{DataError, Fractions, Manifest, Record, Split, address::Address, assign_splits, check::dimensions};
use crate::progress::in_parallel;
pub(super) use notes::listed;
use notes::{Notes, Splits};
use tree::Tree;
pub(super) use words::healthy;

/// Read a folder of pictures into a manifest
#[derive(Clone, Debug, clap::Args)]
pub struct ImportArgs {
    /// The folder to read
    pub dir: PathBuf,
    /// The manifest to write
    #[arg(long, required_unless_present = "dry_run")]
    pub out: Option<PathBuf>,
    /// Show what was found, and what the folder leaves open, and write nothing
    #[arg(long)]
    pub dry_run: bool,
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
    /// The classes that are the disease, separated by commas; where they are given, COVID-19 is one only if it is among them
    #[arg(long, value_delimiter = ',')]
    pub positive: Vec<String>,
    /// Further classes that are not the disease, separated by commas
    #[arg(long, value_delimiter = ',')]
    pub negative: Vec<String>,
    /// Classes to leave out, separated by commas
    #[arg(long, value_delimiter = ',')]
    pub leave_out: Vec<String>,
    /// What masks mark that do not say it themselves
    #[arg(long, value_enum)]
    pub masks: Option<Marks>,
    /// Of volumes, take every so many-th slice
    #[arg(long, default_value_t = 1, value_name = "N")]
    pub every: usize,
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

/// What masks mark.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, clap::ValueEnum)]
pub enum Marks {
    /// Infection
    Infection,
    /// Both lungs
    Lungs,
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
    /// participants.tsv and a folder for each participant
    Bids,
    /// dataset.json of nnU-Net or the Medical Segmentation Decathlon
    Tasks,
    /// Lists of patient, file, class and source
    Lists,
    /// A table of NIfTI scans and their masks
    ScanTable,
    /// DICOM studies with a table of their classes
    Studies,
    /// NIfTI volumes with masks beside
    Volumes,
    /// images/ and masks/ in a folder for each class
    ClassMasks,
    /// Pictures in images/, masks of the same names in masks/ or infection/
    Pairs,
    /// Pictures in class folders with tables of their patients
    PatientTables,
    /// A folder for each class
    Folders,
}

/// A layout: how it is recognised, and what it lists.
struct Known {
    layout: Layout,
    /// By what a folder is recognised, in words.
    recognise: fn(&Tree) -> Option<String>,
    list: fn(&ImportArgs, &Tree, &mut Notes) -> Result<Vec<Record>, DataError>,
}

/// All layouts, the more particular first.
const KNOWN: [Known; 12] = [
    Known { layout: Layout::Manifest, recognise: manifest::recognise, list: manifest::list },
    Known { layout: Layout::Phantoms, recognise: phantoms::recognise, list: phantoms::list },
    Known { layout: Layout::Bids, recognise: bids::recognise, list: bids::list },
    Known { layout: Layout::Tasks, recognise: tasks::recognise, list: tasks::list },
    Known { layout: Layout::Lists, recognise: lists::recognise, list: lists::list },
    Known { layout: Layout::ScanTable, recognise: scan_table::recognise, list: scan_table::list },
    Known { layout: Layout::Studies, recognise: studies::recognise, list: studies::list },
    Known { layout: Layout::Volumes, recognise: volumes::recognise, list: volumes::list },
    Known { layout: Layout::ClassMasks, recognise: class_masks::recognise, list: class_masks::list },
    Known { layout: Layout::Pairs, recognise: pairs::recognise, list: pairs::list },
    Known { layout: Layout::PatientTables, recognise: patient_tables::recognise, list: patient_tables::list },
    Known { layout: Layout::Folders, recognise: folders::recognise, list: folders::list },
];

/// What an import came to.
#[derive(Clone, Debug)]
pub struct Imported {
    /// The pictures.
    pub manifest: Manifest,
    /// How the folder is laid out, and by what that was seen.
    pub layout: String,
    /// What was read otherwise than it was written, each thing once.
    pub told: Vec<String>,
    /// What the folder leaves open, of which only a dry run comes to an end.
    pub open: Vec<String>,
    /// Files that are not in the manifest, and why.
    pub left_out: Vec<(String, String)>,
}

/// Reads the folder that `args` name; writes nothing.
///
/// # Errors
/// [`DataError`] naming the folder, file or line that does not fit the layout.
pub fn import(args: &ImportArgs) -> Result<Imported, DataError> {
    let mut notes = Notes::default();
    let tree = Tree::read(&args.dir, args.patients.as_deref())?;
    let (known, by) = recognised(args.layout, &tree)?;
    let layout = format!("{}: {by}", name(known.layout));
    refuse_broken_tables(args, &tree, &mut notes)?;
    let mut records = (known.list)(args, &tree, &mut notes)?;
    leave_out_unreadable(args, &mut records, &mut notes);
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
    hash(args, &mut records)?;
    deal(args, &mut records, notes.splits);
    let open = std::mem::take(&mut notes.open);
    let (told, left_out) = notes.told();
    Ok(Imported { manifest: Manifest::new(args.dir.clone(), records), layout, told, open, left_out })
}

/// A table that cannot be read may be the one that says who pictures are of, or what they show.
///
/// # Errors
/// The first such table; a dry run goes on to the next.
fn refuse_broken_tables(args: &ImportArgs, tree: &Tree, notes: &mut Notes) -> Result<(), DataError> {
    for (file, error) in tree.broken_tables() {
        let reason = format!("{error}; put the table {file} right, or take it out of the folder");
        notes.untold(args, problem(&tree.dir, reason))?;
    }
    Ok(())
}

/// The files that records name, each once: a volume is named by each of its slices.
fn files(records: &[Record]) -> Vec<String> {
    let named = records.iter().flat_map(|record| std::iter::once(record.path.as_str()).chain(record.masks()));
    let files: BTreeSet<&str> = named.map(|written| Address::of(written).file).collect();
    files.into_iter().map(str::to_owned).collect()
}

/// What cannot even be opened is not imported, nor is what has such a mask.
fn leave_out_unreadable(args: &ImportArgs, records: &mut Vec<Record>, notes: &mut Notes) {
    let files = files(records);
    let reasons = in_parallel("opening", &files, |file| dimensions(&args.dir.join(file)).err());
    let bad: BTreeMap<&str, String> =
        files.iter().zip(reasons).filter_map(|(file, reason)| Some((file.as_str(), reason?))).collect();
    records.retain(|record| {
        let named = std::iter::once(record.path.as_str()).chain(record.masks());
        let Some((file, reason)) = named.map(|file| Address::of(file).file).find_map(|file| bad.get_key_value(file))
        else {
            return true;
        };
        let reason = if record.path.starts_with(file) { reason.clone() } else { format!("its mask {file}: {reason}") };
        notes.leave_out(&record.path, reason);
        false
    });
}

/// Notes the hashes of all files.
fn hash(args: &ImportArgs, records: &mut [Record]) -> Result<(), DataError> {
    let files = files(records);
    let hashes = in_parallel("reading", &files, |file| file_sha256(&args.dir.join(file)));
    let mut of: BTreeMap<&str, String> = BTreeMap::new();
    for (file, hash) in files.iter().zip(hashes) {
        of.insert(file, hexadecimal(&hash?));
    }
    for record in records {
        let hash = |written: &str| of.get(Address::of(written).file).cloned().unwrap_or_default();
        let masks: Vec<String> = record.masks().map(hash).collect();
        (record.sha256, record.masks_sha256) = (hash(&record.path), masks.join(";"));
    }
    Ok(())
}

/// Gives every record its split, where the collection does not.
fn deal(args: &ImportArgs, records: &mut [Record], splits: Splits) {
    match splits {
        Splits::Kept => {}
        Splits::Dealt => assign_splits(records, args.seed, args.fractions),
        Splits::ValFromTrain => deal_train(args, records, Split::Val),
        Splits::TestFromTrain => deal_train(args, records, Split::Test),
    }
}

/// Deals the split that a collection lacks out of its train.
fn deal_train(args: &ImportArgs, records: &mut [Record], lacking: Split) {
    let (places, mut train): (Vec<usize>, Vec<Record>) = records
        .iter()
        .enumerate()
        .filter(|(_, record)| record.split == Split::Train)
        .map(|(place, record)| (place, record.clone()))
        .unzip();
    let fractions = if lacking == Split::Val { args.fractions.without_test() } else { args.fractions };
    assign_splits(&mut train, args.seed, fractions);
    // What falls to a split that the collection has stays in train.
    places.into_iter().zip(train).filter(|(_, record)| record.split == lacking).for_each(|(place, record)| {
        records[place].split = record.split;
    });
}

/// What is said of DICOM files without a word that tells their classes.
const DICOM_NEEDS_A_TABLE: &str = "DICOM files, and nothing says what they show: add a CSV with the columns StudyInstanceUID (or PatientID) and \
     class, or put them into a folder for each class, such as COVID/ and Normal/, and name folders that are called otherwise with --positive and \
     --negative";

/// The layout that the user names, or the first that the folder looks like.
fn recognised(wanted: Layout, tree: &Tree) -> Result<(&'static Known, String), DataError> {
    if let Some(known) = KNOWN.iter().find(|known| known.layout == wanted) {
        return Ok((known, (known.recognise)(tree).unwrap_or("as told".into())));
    }
    KNOWN.iter().find_map(|known| Some((known, (known.recognise)(tree)?))).ok_or_else(|| {
        let reason = match tree.dicom().next() {
            Some(_) => DICOM_NEEDS_A_TABLE,
            None => {
                "no known layout: expected manifest.csv, phantoms.csv, participants.tsv, dataset.json, lists, tables of patients, scans or \
                 studies, NIfTI volumes, images/ with masks/, or a folder for each class"
            }
        };
        problem(&tree.dir, reason)
    })
}

/// What `--layout` calls it.
fn name(layout: Layout) -> String {
    clap::ValueEnum::to_possible_value(&layout).map_or_else(String::new, |value| value.get_name().to_owned())
}

fn problem(path: &Path, reason: impl Into<String>) -> DataError {
    DataError::Layout { path: path.to_owned(), reason: reason.into() }
}
