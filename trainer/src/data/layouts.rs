//! Four ways in which data sets lie in folders, read into one manifest.
//!
//! | layout | looks like | patients | split |
//! |---|---|---|---|
//! | `manifest` | `manifest.csv` with `path,modality,class,patient_id,source,licence,split,mask,lung_mask,group` | its own | kept |
//! | `phantoms` | `phantoms.csv`, as `thorax-train phantom` writes it | one each | dealt |
//! | `pairs` | `images/`, `masks/` (or `infection/`), perhaps `lung_masks/` or `left_lung/` and `right_lung/`; equal names | from names | dealt |
//! | `folders` | a folder a class, as `covid/` and `normal/` | from names, or a CSV | dealt |
//!
//! *Patients from names*: what comes before the first `__` in a file's name (`patient-7__0012.png` is `patient-7`'s),
//! or the whole name without extension where there is none.

use std::{
    collections::{BTreeMap, HashMap},
    fs,
    path::{Path, PathBuf},
};

use serde::Deserialize;
use thorax_files::{file_sha256, hexadecimal};
use thorax_phantom::Truth;
use thorax_shared::modality::Modality;

use super::{
    DataError, Fractions, Label, Manifest, Record, Split, Task, UNKNOWN_PATIENT, assign_splits,
    check::{Kind, kind},
    manifest::table_error,
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
    /// CSV with the columns file,patient for layout folders; `unknown` patients are for training only
    #[arg(long)]
    pub patients: Option<PathBuf>,
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

/// Reads the folder that `args` name; writes nothing.
///
/// # Errors
/// [`DataError`] naming the folder, file or line that does not fit the layout.
pub fn import(args: &ImportArgs) -> Result<Manifest, DataError> {
    let layout = match args.layout {
        Layout::Auto => guessed(&args.dir)?,
        layout => layout,
    };
    let mut records = match layout {
        Layout::Auto | Layout::Manifest => from_manifest(args)?,
        Layout::Phantoms => from_phantoms(args)?,
        Layout::Pairs => from_pairs(args)?,
        Layout::Folders => from_folders(args)?,
    };
    if records.is_empty() {
        return Err(problem(&args.dir, "no pictures found; check the folder, --layout and --modality"));
    }
    for beginning in &args.equalised {
        let mut begin_so = records.iter_mut().filter(|record| record.path.starts_with(beginning)).peekable();
        if begin_so.peek().is_none() {
            return Err(problem(&args.dir, format!("no picture's path begins with {beginning}; check --equalised")));
        }
        begin_so.for_each(|record| record.equalised = true);
    }
    let hashes = in_parallel("reading", &records, |record| {
        file_sha256(&args.dir.join(&record.path)).map(|sha256| hexadecimal(&sha256))
    });
    for (record, hash) in records.iter_mut().zip(hashes) {
        record.sha256 = hash?;
    }
    let mut manifest = Manifest::new(args.dir.clone(), records);
    if layout != Layout::Manifest {
        assign_splits(&mut manifest.records, args.seed, args.fractions);
    }
    Ok(manifest)
}

fn guessed(dir: &Path) -> Result<Layout, DataError> {
    let has = |name: &str| dir.join(name).exists();
    if has("manifest.csv") {
        Ok(Layout::Manifest)
    } else if has("phantoms.csv") {
        Ok(Layout::Phantoms)
    } else if has("images") && (has("masks") || has("infection")) {
        Ok(Layout::Pairs)
    } else if entries(dir)?.iter().any(|path| path.is_dir()) {
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
    modality: Modality,
    class: String,
    patient_id: String,
    source: String,
    #[serde(default)]
    licence: String,
    split: Split,
    #[serde(default)]
    mask: String,
    #[serde(default)]
    lung_mask: String,
    #[serde(default)]
    group: String,
}

fn from_manifest(args: &ImportArgs) -> Result<Vec<Record>, DataError> {
    let rows: Vec<SourceRow> = table(&args.dir.join("manifest.csv"))?;
    let wanted = rows.into_iter().filter(|row| args.modality.is_none_or(|modality| modality == row.modality));
    Ok(wanted
        .map(|row| {
            // Volumes and DICOM files are for tests of decoders, and originals repeat pictures that are listed
            // smaller: all are kept, none is learnt from.
            let aside = kind(Path::new(&row.path)) != Kind::Picture || row.path.starts_with("originals/");
            let label = match row.class.as_str() {
                "covid" | "covid-seg" | "covid-seg-volume" | "covid-volume-hu" => Label::Positive,
                "normal" | "other" | "normal-volume-hu" => Label::Negative,
                _ => Label::Unlabelled,
            };
            let task = match label {
                _ if aside => Task::None,
                _ if !row.mask.is_empty() => Task::Segment,
                Label::Unlabelled => Task::None,
                _ => Task::Classify,
            };
            let group = if row.group.is_empty() { row.patient_id.clone() } else { row.group };
            // Pictures of unknown patients have nothing in common but that.
            let group = if group == UNKNOWN_PATIENT { format!("{UNKNOWN_PATIENT}/{}", row.path) } else { group };
            Record {
                path: row.path,
                modality: row.modality,
                task,
                label,
                class: row.class,
                patient_id: row.patient_id,
                group,
                source: row.source,
                licence: row.licence,
                split: row.split,
                mask: row.mask,
                lung_mask: row.lung_mask,
                sha256: String::new(),
                equalised: false,
            }
        })
        .collect())
}

/// Each 8-bit picture is for both tasks; the other formats show the same and are kept aside.
fn from_phantoms(args: &ImportArgs) -> Result<Vec<Record>, DataError> {
    let truths: Vec<Truth> = table(&args.dir.join("phantoms.csv"))?;
    let wanted = truths.into_iter().filter(|truth| args.modality.is_none_or(|modality| modality == truth.modality));
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
            };
            let tasks: &[Task] = if truth.format == "png" { &[Task::Classify, Task::Segment] } else { &[Task::None] };
            tasks.iter().map(move |task| Record { task: *task, ..record.clone() })
        })
        .collect())
}

fn from_pairs(args: &ImportArgs) -> Result<Vec<Record>, DataError> {
    let modality = needed_modality(args)?;
    let masks = ["masks", "infection"].into_iter().find(|name| args.dir.join(name).is_dir());
    let masks = by_stem(&args.dir, masks.ok_or_else(|| problem(&args.dir, "no folder masks/ or infection/"))?)?;
    let optional =
        |name: &str| if args.dir.join(name).is_dir() { by_stem(&args.dir, name) } else { Ok(BTreeMap::new()) };
    let (lungs, left, right) = (optional("lung_masks")?, optional("left_lung")?, optional("right_lung")?);
    let images = by_stem(&args.dir, "images")?;

    let without: Vec<&str> =
        images.iter().filter(|(stem, _)| !masks.contains_key(*stem)).map(|(_, path)| path.as_str()).collect();
    if !without.is_empty() {
        return Err(problem(
            &args.dir,
            format!("no mask of the same name for {}; add it or take the picture away", listed(&without)),
        ));
    }
    let stray: Vec<&str> =
        masks.iter().filter(|(stem, _)| !images.contains_key(*stem)).map(|(_, path)| path.as_str()).collect();
    if !stray.is_empty() {
        return Err(problem(
            &args.dir,
            format!("no picture of the same name for {}; add it or take the mask away", listed(&stray)),
        ));
    }
    Ok(images
        .into_iter()
        .map(|(stem, path)| {
            let lung_mask = match (lungs.get(&stem), left.get(&stem), right.get(&stem)) {
                (_, Some(left), Some(right)) => format!("{left};{right}"),
                (Some(lungs), _, _) => lungs.clone(),
                _ => String::new(),
            };
            let mask = masks.get(&stem).cloned().unwrap_or_default();
            let patient = patient_of(&stem);
            Record {
                mask,
                lung_mask,
                ..record(args, path, modality, Task::Segment, Label::Unlabelled, "pairs", patient)
            }
        })
        .collect())
}

fn from_folders(args: &ImportArgs) -> Result<Vec<Record>, DataError> {
    let modality = needed_modality(args)?;
    let mut patients = args.patients.as_deref().map(patient_table).transpose()?;
    let mut records = Vec::new();
    let mut unlisted = Vec::new();
    for folder in entries(&args.dir)?.into_iter().filter(|path| path.is_dir()) {
        let class = folder.file_name().unwrap_or_default().to_string_lossy().into_owned();
        let mut files = Vec::new();
        walk(&folder, &mut files)?;
        files.retain(|path| is_picture(path));
        if files.is_empty() {
            return Err(problem(&folder, "this class has no pictures; add some or remove the folder"));
        }
        let label = label_of(args, &class).ok_or_else(|| {
            problem(&folder, format!("is `{class}` COVID-19 or not? Say --positive {class} or --negative {class}"))
        })?;
        for path in files {
            let relative = relative(&args.dir, &path);
            let name = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
            let patient = match &mut patients {
                None => patient_of(&stem(&name)),
                Some(table) => match table.get(&relative).or_else(|| table.get(&name)) {
                    Some(patient) => patient.clone(),
                    None => {
                        unlisted.push(relative);
                        continue;
                    }
                },
            };
            let task = if kind(&path) == Kind::Picture { Task::Classify } else { Task::None };
            records.push(record(args, relative, modality, task, label, &class, patient));
        }
    }
    match (unlisted.is_empty(), &args.patients) {
        (false, Some(table)) => {
            let unlisted: Vec<&str> = unlisted.iter().map(String::as_str).collect();
            Err(problem(
                table,
                format!("no patient for {}; add a line file,patient (`unknown` where nobody knows)", listed(&unlisted)),
            ))
        }
        _ => Ok(records),
    }
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
    let folder_name =
        || args.dir.canonicalize().ok().and_then(|dir| Some(dir.file_name()?.to_string_lossy().into_owned()));
    let source = args.source.clone().or_else(folder_name).unwrap_or("import".into());
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
    }
}

fn needed_modality(args: &ImportArgs) -> Result<Modality, DataError> {
    args.modality
        .ok_or_else(|| problem(&args.dir, "this layout does not say what its pictures are; give --modality xray or ct"))
}

fn label_of(args: &ImportArgs, class: &str) -> Option<Label> {
    let plain = |word: &str| word.to_lowercase().replace(['-', '_', ' '], "");
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

/// The patient that a file's name (without extension) tells: what comes before the first `__`, or all of it.
fn patient_of(stem: &str) -> String {
    stem.split("__").next().filter(|patient| !patient.is_empty()).unwrap_or(stem).to_owned()
}

fn patient_table(path: &Path) -> Result<HashMap<String, String>, DataError> {
    #[derive(Deserialize)]
    struct ManifestLine {
        file: String,
        patient: String,
    }
    let rows: Vec<ManifestLine> = table(path)?;
    let mut patients = HashMap::new();
    for row in rows {
        if let Some(other) =
            patients.insert(row.file.clone(), row.patient.clone()).filter(|other| *other != row.patient)
        {
            return Err(problem(
                path,
                format!("{} belongs to {other} and to {}; keep one line", row.file, row.patient),
            ));
        }
    }
    Ok(patients)
}

fn table<T: serde::de::DeserializeOwned>(path: &Path) -> Result<Vec<T>, DataError> {
    let bytes = fs::read(path).map_err(|reason| DataError::Read { path: path.to_owned(), reason })?;
    csv::Reader::from_reader(bytes.as_slice())
        .deserialize()
        .map(|row| row.map_err(|error| table_error(path, &error)))
        .collect()
}

/// The pictures of a folder by their names without extension.
fn by_stem(dir: &Path, name: &str) -> Result<BTreeMap<String, String>, DataError> {
    let mut files = BTreeMap::new();
    for path in entries(&dir.join(name))?.into_iter().filter(|path| is_picture(path)) {
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
}

/// What a folder holds, sorted, but for hidden files.
fn entries(dir: &Path) -> Result<Vec<PathBuf>, DataError> {
    let failed = |reason| DataError::Read { path: dir.to_owned(), reason };
    let read: Result<Vec<PathBuf>, _> = fs::read_dir(dir).map_err(failed)?.map(|entry| Ok(entry?.path())).collect();
    let mut paths = read.map_err(failed)?;
    paths.retain(|path| !path.file_name().unwrap_or_default().to_string_lossy().starts_with('.'));
    paths.sort();
    Ok(paths)
}

fn walk(dir: &Path, files: &mut Vec<PathBuf>) -> Result<(), DataError> {
    for path in entries(dir)? {
        if path.is_dir() {
            walk(&path, files)?;
        } else {
            files.push(path);
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
fn listed(names: &[&str]) -> String {
    let shown = names.iter().take(8).copied().collect::<Vec<_>>().join(", ");
    if names.len() > 8 { format!("{shown} and {} more", names.len() - 8) } else { shown }
}
