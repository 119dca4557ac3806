//! DICOM files, and a table of what studies or patients show.
//!
//! | column | is |
//! |---|---|
//! | `StudyInstanceUID`, or an `id` that is one, perhaps with `_study` behind | which study |
//! | `PatientID` | which patient, where the table has no studies |
//! | `class`, `label`, `diagnosis`, ... | what it shows |
//! | else several columns with a 1 in one of them and 0 in the others | what it shows is the column with the 1 |
//!
//! Slices of a series are put in order, and overviews (localizers) left out, as on the device. Whom a picture is of, its file says.

use std::collections::{BTreeMap, BTreeSet};

use dicom_dictionary_std::tags;
use dicom_object::OpenFileOptions;
use thorax_decode::{Input, Limits, gather};
use thorax_shared::modality::Modality;

use super::{
    ImportArgs,
    files::relative,
    items::{Item, records},
    listed,
    notes::Notes,
    patients::dicom_patient,
    problem,
    tree::{TableFile, Tree},
    words::{known, unlabelled},
};
use crate::data::{
    DataError, Record,
    check::{Kind, kind},
};

const STUDIES: [&str; 5] = ["studyinstanceuid", "study_instance_uid", "study_uid", "study_id", "study"];
const PATIENTS: [&str; 3] = ["patientid", "patient_id", "patient"];
const CLASSES: [&str; 7] = ["class", "label", "diagnosis", "finding", "category", "target", "covid"];

/// What a table tells.
struct Told<'a> {
    table: &'a TableFile,
    /// Whether lines are for studies, or for patients.
    studies: bool,
    /// The columns that tell it.
    columns: Vec<Option<usize>>,
    classes: BTreeMap<String, (u64, String)>,
}

/// What a DICOM file says of itself.
pub(super) struct Header {
    study: Option<String>,
    pub(super) modality: Option<Modality>,
}

pub(super) fn recognise(tree: &Tree) -> Option<String> {
    tree.dicom().next()?;
    let told = tables(tree);
    let table = told.first()?;
    Some(format!("DICOM files, classes by {} in {}", if table.studies { "study" } else { "patient" }, table.table.file))
}

pub(super) fn list(args: &ImportArgs, tree: &Tree, notes: &mut Notes) -> Result<Vec<Record>, DataError> {
    let tables = tables(tree);
    let [told] = &tables[..] else {
        let files: Vec<&str> = tables.iter().map(|told| told.table.file.as_str()).collect();
        let reason = match files.len() {
            0 => "no table tells what studies or patients show; add a CSV with StudyInstanceUID and class".to_owned(),
            _ => format!("several tables tell what studies or patients show: {}; keep one", files.join(", ")),
        };
        return Err(problem(&args.dir, reason));
    };
    refuse_contradictions(told)?;
    notes.told.extend(told.table.told.iter().cloned());
    notes.unread(&told.table.file, &told.table.table, &told.columns);
    let gathered = gather(std::slice::from_ref(&args.dir), &Limits::default(), None);
    let mut used: BTreeSet<String> = BTreeSet::from([told.table.file.clone()]);
    for (file, reason) in &gathered.passed_over {
        let file = relative(&args.dir, file);
        if kind(&args.dir.join(&file)) == Kind::Dicom {
            used.insert(file.clone());
            notes.leave_out(&file, reason.clone());
        }
    }
    let mut items = vec![];
    let mut unlisted: Vec<String> = vec![];
    for input in &gathered.inputs {
        let series = input.slices().is_some();
        notes.told.extend(input.notes().iter().cloned());
        // Of a short series the middle one.
        let every = if series { args.every.clamp(1, input.files().len().max(1)) } else { 1 };
        used.extend(input.files().iter().map(|path| relative(&args.dir, path)));
        for path in input.files().iter().skip(every / 2).step_by(every) {
            let file = relative(&args.dir, path);
            if matches!(input, Input::Empty(_)) || kind(path) != Kind::Dicom {
                used.remove(&file);
                continue;
            }
            let Some(Header { study: Some(study), modality }) = Header::of(path) else {
                notes.leave_out(&file, "no study in this DICOM file");
                continue;
            };
            let patient = dicom_patient(path);
            let key = if told.studies { Some(study) } else { patient.clone() };
            let class = key.and_then(|key| told.classes.get(&key)).map(|(_, class)| class.clone());
            if class.is_none() {
                unlisted.push(file.clone());
            }
            items.push(Item { path: file, class: class.unwrap_or_default(), patient, modality, ..Item::default() });
        }
    }
    if !unlisted.is_empty() {
        let files: Vec<&str> = unlisted.iter().map(String::as_str).collect();
        if files.len() == items.len() {
            let what = if told.studies { "StudyInstanceUID" } else { "PatientID" };
            let reason =
                format!("its {what} are those of none of the {} DICOM files, such as {}", files.len(), listed(&files));
            return Err(problem(&told.table.path, format!("{reason}; check the column")));
        }
        notes.told.push(format!("{} files of which the table says nothing: {}", files.len(), listed(&files)));
    }
    let used: BTreeSet<&str> = used.iter().map(String::as_str).collect();
    tree.tell_unused(&used, notes);
    records(args, tree, items, notes)
}

impl Header {
    /// `None` of a file that is no DICOM.
    pub(super) fn of(path: &std::path::Path) -> Option<Self> {
        let header = OpenFileOptions::new().read_until(tags::PIXEL_DATA).open_file(path).ok()?;
        let text = |tag| Some(header.element(tag).ok()?.to_str().ok()?.trim().trim_end_matches('\0').to_owned());
        let modality = match text(tags::MODALITY).as_deref() {
            Some("CT") => Some(Modality::Ct),
            Some("CR" | "DX" | "RG") => Some(Modality::Xray),
            _ => None,
        };
        Some(Self { study: text(tags::STUDY_INSTANCE_UID), modality })
    }
}

/// The tables that tell what studies or patients show.
fn tables(tree: &Tree) -> Vec<Told<'_>> {
    let mut told: Vec<Told<'_>> = tree.tables().filter_map(read).collect();
    // Where some tell of studies, what tells of patients is a list of them.
    if told.iter().any(|told| told.studies) {
        told.retain(|told| told.studies);
    }
    // Of several, those whose words are classes: a list of boxes has a column `label` as well.
    let words = |told: &Told<'_>| told.classes.values().filter(|(_, class)| known(class) || unlabelled(class)).count();
    if told.len() > 1 && told.iter().any(|told| words(told) > 0) {
        told.retain(|told| words(told) > 0);
    }
    told
}

fn read(table: &TableFile) -> Option<Told<'_>> {
    let id = table.table.column(&["id"]).filter(|&column| {
        let mut lines = table.table.lines().peekable();
        lines.peek().is_some() && lines.all(|(_, cells)| cells.get(column).is_some_and(|cell| cell.ends_with("_study")))
    });
    let studies = table.table.column(&STUDIES).or(id);
    let key = studies.or_else(|| table.table.column(&PATIENTS))?;
    let class = table.table.column(&CLASSES);
    let one_of = one_of(table, key);
    if class.is_none() && one_of.is_empty() {
        return None;
    }
    let mut classes: BTreeMap<String, (u64, String)> = BTreeMap::new();
    for (line, cells) in table.table.lines() {
        let cell = |column: usize| cells.get(column).unwrap_or_default();
        let class = match class {
            Some(class) => cell(class).to_owned(),
            None => {
                let column = one_of.iter().find(|&&column| cell(column).starts_with('1'));
                column.and_then(|&column| table.table.columns().nth(column)).unwrap_or_default().replace('_', " ")
            }
        };
        let key = cell(key).trim_end_matches("_study").to_owned();
        // Of two that disagree, what both say is kept for the message.
        let class = match classes.get(&key) {
            Some((_, other)) if *other != class => format!("{other}{OR}{class}"),
            _ => class,
        };
        classes.insert(key, (line, class));
    }
    let told_by = if class.is_some() { vec![class] } else { one_of.into_iter().map(Some).collect() };
    let columns = [vec![Some(key)], told_by].concat();
    Some(Told { table, studies: studies.is_some(), columns, classes })
}

/// Between two classes that lines of one study have.
const OR: &str = "\u{1f}";

/// # Errors
/// A study or patient of two classes.
fn refuse_contradictions(told: &Told<'_>) -> Result<(), DataError> {
    match told.classes.iter().find(|(_, (_, class))| class.contains(OR)) {
        Some((key, (line, class))) => {
            let reason = format!("{key} is `{}`; keep one line", class.replace(OR, "` and `"));
            Err(DataError::Table { path: told.table.path.clone(), line: *line, reason })
        }
        None => Ok(()),
    }
}

/// Columns of which each line has a 1 in exactly one, and 0 in the others.
fn one_of(table: &TableFile, key: usize) -> Vec<usize> {
    let number = |cells: &csv::StringRecord, column: usize| match cells.get(column) {
        Some("0" | "0.0") => Some(0),
        Some("1" | "1.0") => Some(1),
        _ => None,
    };
    let columns: Vec<usize> = (0..table.table.columns().count())
        .filter(|&column| column != key && table.table.lines().all(|(_, cells)| number(cells, column).is_some()))
        .collect();
    let one =
        |cells: &csv::StringRecord| columns.iter().filter_map(|&column| number(cells, column)).sum::<usize>() == 1;
    let any = table.table.lines().next().is_some() && columns.len() > 1;
    if any && table.table.lines().all(|(_, cells)| one(cells)) { columns } else { vec![] }
}
