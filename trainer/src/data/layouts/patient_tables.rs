//! Pictures in class folders, and beside them tables that say who they are of: CSVs with a column of file names and one of patients,
//! and perhaps one of diagnoses.

use std::collections::{BTreeMap, BTreeSet};

use super::{
    ImportArgs,
    files::stem,
    items::{Item, records},
    listed,
    notes::Notes,
    tree::{TableFile, Tree, file_name, folder},
    words::{class_word, healthy, known, label_of, plain, unlabelled},
};
use crate::data::{DataError, Label, Record, UNKNOWN_PATIENT};

const FILES: [&str; 7] = ["file_name", "filename", "file", "image", "image_name", "image_id", "picture"];
const PATIENTS: [&str; 5] = ["patient_id", "patient", "patientid", "subject", "subject_id"];
const CLASSES: [&str; 5] = ["diagnosis", "class", "label", "finding", "category"];

/// A line of a table.
struct Line<'a> {
    table: &'a TableFile,
    line: u64,
    patient: &'a str,
    class: &'a str,
}

/// The lines of all tables by the picture's name without its ending.
type Lines<'a> = BTreeMap<String, Vec<Line<'a>>>;

pub(super) fn recognise(tree: &Tree) -> Option<String> {
    let names: BTreeSet<String> = tree.pictures().map(|file| stem(file_name(file))).collect();
    let lines = lines(tree);
    let tables: BTreeSet<&str> = lines
        .iter()
        .filter(|(name, _)| names.contains(*name))
        .flat_map(|(_, lines)| lines.iter().map(|line| line.table.file.as_str()))
        .collect();
    (!tables.is_empty())
        .then(|| format!("patients of pictures in {}", tables.into_iter().collect::<Vec<_>>().join(", ")))
}

pub(super) fn list(args: &ImportArgs, tree: &Tree, notes: &mut Notes) -> Result<Vec<Record>, DataError> {
    let tables = PatientTables::of(tree);
    let mut items = vec![];
    for file in tree.pictures() {
        let class = file_name(folder(file));
        items.push(tables.told(args, Item { path: file.into(), class: class.into(), ..Item::default() })?);
    }
    let mut used: BTreeSet<&str> = tree.pictures().collect();
    used.extend(tables.tell(&items, notes));
    tree.tell_unused(&used, notes);
    records(args, tree, items, notes)
}

/// What a collection's tables say of its pictures.
pub(super) struct PatientTables<'a>(Lines<'a>);

impl<'a> PatientTables<'a> {
    pub(super) fn of(tree: &'a Tree) -> Self {
        Self(lines(tree))
    }

    /// Whether a line speaks of any of the pictures.
    pub(super) fn speak_of<'b>(&self, mut pictures: impl Iterator<Item = &'b str>) -> bool {
        pictures.any(|file| self.0.contains_key(&stem(file_name(file))))
    }

    /// A picture with the patient and the class that a line says; without a line, nobody knows whose it is.
    ///
    /// # Errors
    /// Lines that say two things of it.
    pub(super) fn told(&self, args: &ImportArgs, item: Item) -> Result<Item, DataError> {
        let line = match self.0.get(&stem(file_name(&item.path))) {
            Some(lines) => line_of(args, &item.path, &item.class, lines)?,
            None => None,
        };
        let patient = line.map_or(UNKNOWN_PATIENT, |line| line.patient).to_owned();
        // The table's word for the class is the more particular one.
        let class = line.map(|line| line.class.to_owned()).filter(|class| !class.is_empty()).unwrap_or(item.class);
        Ok(Item { class, patient: Some(patient), ..item })
    }

    /// Tells what was read of the pictures, and what was not; the tables that were read come back.
    pub(super) fn tell(&self, items: &[Item], notes: &mut Notes) -> BTreeSet<&'a str> {
        let names: BTreeSet<String> = items.iter().map(|item| stem(file_name(&item.path))).collect();
        let read = self.0.iter().filter(|(name, _)| names.contains(*name)).flat_map(|(_, lines)| lines);
        let tables: BTreeMap<&str, &TableFile> = read.map(|line| (line.table.file.as_str(), line.table)).collect();
        for table in tables.values() {
            notes.told.extend(table.told.iter().cloned());
            notes.told.push(format!("{}: read as the pictures' patients", table.file));
            let read = [&FILES[..], &PATIENTS, &CLASSES].map(|names| table.table.column(names));
            notes.unread(&table.file, &table.table, &read);
        }
        let unlisted = items.iter().map(|item| item.path.as_str());
        let unlisted: Vec<&str> = unlisted.filter(|file| !self.0.contains_key(&stem(file_name(file)))).collect();
        tell_of_lines(&self.0, items, &unlisted, notes);
        tell_of_patients_in_two_tables(&self.0, notes);
        tables.into_keys().collect()
    }
}

fn lines(tree: &Tree) -> Lines<'_> {
    let mut lines = Lines::new();
    for table in tree.tables() {
        let (Some(files), Some(patients)) = (table.table.column(&FILES), table.table.column(&PATIENTS)) else {
            continue;
        };
        let classes = table.table.column(&CLASSES);
        // `meta_data_covid.csv` tells the class of its lines where no column does.
        let name = file_name(&table.file).rsplit_once('.').map_or("", |(name, _)| name);
        let of_name = name.rsplit(['_', '-', ' ']).next().filter(|class| known(class)).unwrap_or_default();
        for (line, cells) in table.table.lines() {
            let class = classes.map_or(of_name, |column| cells.get(column).unwrap_or_default());
            let line = Line { table, line, patient: cells.get(patients).unwrap_or_default(), class };
            let name = file_name(cells.get(files).unwrap_or_default());
            let name = if super::files::is_picture(std::path::Path::new(name)) { stem(name) } else { name.to_owned() };
            lines.entry(name).or_default().push(line);
        }
    }
    lines
}

/// The line of a picture in the folder `class`: of several, those whose class may be the folder's.
///
/// # Errors
/// Lines that say two things of it.
fn line_of<'a, 'b>(
    args: &ImportArgs,
    file: &str,
    class: &str,
    lines: &'b [Line<'a>],
) -> Result<Option<&'b Line<'a>>, DataError> {
    let fitting: Vec<&Line<'_>> = lines.iter().filter(|line| agree(args, class, line.class)).collect();
    let told = |line: &Line<'_>| {
        let Line { table, line, patient, class } = line;
        format!("{} line {line}: patient {patient}, class `{class}`", table.file)
    };
    let Some(first) = fitting.first() else {
        let Some(line) = lines.first() else { return Ok(None) };
        let reason = format!("{file} lies in `{class}`, but {}; put right which is wrong", told(line));
        return Err(DataError::Table { path: line.table.path.clone(), line: line.line, reason });
    };
    if let Some(other) = fitting.iter().find(|line| line.patient != first.patient) {
        let reason = format!("tables disagree on {file}: {}, {}; keep one of the lines", told(first), told(other));
        return Err(DataError::Table { path: other.table.path.clone(), line: other.line, reason });
    }
    let says = |line: &&&Line<'_>| !unlabelled(line.class);
    let first = fitting.iter().find(says).unwrap_or(first);
    if let Some(other) = fitting.iter().filter(says).find(|line| !one_class(args, first.class, line.class)) {
        let reason = format!("tables disagree on {file}: {}, {}; keep one of the lines", told(first), told(other));
        return Err(DataError::Table { path: other.table.path.clone(), line: other.line, reason });
    }
    if first.patient.is_empty() {
        let reason = format!("no patient for {file}; write who it is, or `{UNKNOWN_PATIENT}`");
        return Err(DataError::Table { path: first.table.path.clone(), line: first.line, reason });
    }
    Ok(Some(first))
}

/// Whether the classes of two lines say one thing, in one word or in several.
fn one_class(args: &ImportArgs, one: &str, other: &str) -> bool {
    let told = |class: &str| label_of(args, class).is_some();
    plain(&class_word(one)) == plain(&class_word(other)) || (told(one) && told(other) && agree(args, one, other))
}

/// Whether a folder's class and a table's may be one: `NonCOVID` may be `Normal` or `CAP`, but `Normal` is not `CAP`.
fn agree(args: &ImportArgs, folder: &str, table: &str) -> bool {
    let says = |class: &str| match class_word(class).as_str() {
        _ if healthy(class) => Some(true),
        "other" | "pneumonia" => Some(false),
        _ => None,
    };
    match (label_of(args, folder), label_of(args, table)) {
        _ if unlabelled(table) => true,
        (Some(Label::Negative), Some(Label::Negative)) => {
            says(folder).zip(says(table)).is_none_or(|(folder, table)| folder == table)
        }
        (Some(folder), Some(table)) => folder == table,
        _ => true,
    }
}

/// Tells of lines without pictures and of pictures without lines.
fn tell_of_lines(lines: &Lines<'_>, items: &[Item], unlisted: &[&str], notes: &mut Notes) {
    let names: BTreeSet<String> = items.iter().map(|item| stem(file_name(&item.path))).collect();
    let without: Vec<&str> = lines.keys().filter(|name| !names.contains(*name)).map(String::as_str).collect();
    if !without.is_empty() {
        notes.told.push(format!("{} names in the tables without a picture: {}", without.len(), listed(&without)));
    }
    if !unlisted.is_empty() {
        notes.told.push(format!(
            "{} pictures of which no table says the patient, and which are for training only: {}",
            unlisted.len(),
            listed(unlisted)
        ));
    }
}

/// Tells which patients are named by two tables: they are taken for one person, which never puts one on two sides of a split.
fn tell_of_patients_in_two_tables(lines: &Lines<'_>, notes: &mut Notes) {
    let mut tables: BTreeMap<&str, BTreeSet<&str>> = BTreeMap::new();
    for line in lines.values().flatten() {
        tables.entry(line.patient).or_default().insert(&line.table.file);
    }
    let several: Vec<&str> =
        tables.iter().filter(|(_, tables)| tables.len() > 1).map(|(patient, _)| *patient).collect();
    if !several.is_empty() {
        notes.told.push(format!("in two tables, and taken for one person each: patients {}", listed(&several)));
    }
}
