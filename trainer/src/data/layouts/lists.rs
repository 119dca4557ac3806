//! Lists of pictures, one for each split: `train*.txt` and `test*.txt`, a line `patient file class source` for each picture, with
//! blanks between; the pictures lie in `train/` and `test/`.

use std::collections::{BTreeMap, BTreeSet};

use super::{
    ImportArgs,
    items::{Item, records},
    listed,
    notes::Notes,
    tree::{Tree, file_name, folder, join, parts},
    words::split_of,
};
use crate::data::{DataError, Record, Split, table::decoded};

/// A list and the split that its name says.
struct List<'a> {
    file: &'a str,
    split: Split,
}

/// A line of a list.
struct Line {
    number: u64,
    patient: String,
    file: String,
    class: String,
    source: String,
}

pub(super) fn recognise(tree: &Tree) -> Option<String> {
    let pictures: BTreeSet<&str> = tree.pictures().collect();
    let fits = |list: &List<'_>| {
        lines(tree, list, &mut vec![])
            .is_ok_and(|lines| lines.iter().any(|line| pictures.contains(place(list, line).as_str())))
    };
    let lists: Vec<&str> = lists(tree).into_iter().filter(fits).map(|list| list.file).collect();
    (!lists.is_empty()).then(|| format!("patient, file, class and source in {}", lists.join(", ")))
}

pub(super) fn list(args: &ImportArgs, tree: &Tree, notes: &mut Notes) -> Result<Vec<Record>, DataError> {
    let pictures: BTreeSet<&str> = tree.pictures().collect();
    let mut items: BTreeMap<String, Item> = BTreeMap::new();
    let mut missing: Vec<String> = vec![];
    let lists = lists(tree);
    for list in &lists {
        for line in lines(tree, list, &mut notes.told)? {
            let path = place(list, &line);
            if !pictures.contains(path.as_str()) {
                missing.push(path);
                continue;
            }
            let item = Item {
                path: path.clone(),
                class: line.class,
                patient: Some(line.patient),
                split: Some(list.split),
                source: Some(line.source),
                ..Item::default()
            };
            if let Some(other) = items.insert(path, item.clone()).filter(|other| *other != item) {
                let reason = format!(
                    "lists disagree on {}: patient {} of {:?}, class `{}`, or patient {} of {:?}, class `{}`; keep one line",
                    item.path,
                    other.patient.unwrap_or_default(),
                    other.source.unwrap_or_default(),
                    other.class,
                    item.patient.unwrap_or_default(),
                    item.source.unwrap_or_default(),
                    item.class
                );
                return Err(DataError::Table { path: tree.at(list.file), line: line.number, reason });
            }
        }
    }
    let lists: BTreeSet<&str> = lists.iter().map(|list| list.file).collect();
    if !missing.is_empty() {
        let missing: Vec<&str> = missing.iter().map(String::as_str).collect();
        notes.told.push(format!("{} pictures of the lists are not there: {}", missing.len(), listed(&missing)));
    }
    let items: Vec<Item> = items.into_values().collect();
    let used: BTreeSet<&str> = items.iter().map(|item| item.path.as_str()).chain(lists).collect();
    tree.tell_unused(&used, notes);
    records(args, tree, items.clone(), notes)
}

/// The texts whose names begin with a split.
fn lists(tree: &Tree) -> Vec<List<'_>> {
    let list = |file: &'_ String| {
        let name = file_name(file);
        let split = split_of(parts(name).first()?)?;
        name.to_lowercase().ends_with(".txt").then_some(split)
    };
    tree.files.iter().filter_map(|file| Some(List { file, split: list(file)? })).collect()
}

/// Where the picture of a line lies: in the folder that is called as the list's split, or beside the list.
fn place(list: &List<'_>, line: &Line) -> String {
    let word = parts(file_name(list.file)).into_iter().next().unwrap_or_default();
    join(folder(list.file), &format!("{word}/{}", line.file))
}

/// The lines of a list. Files may have blanks in their names, the other three words have none.
fn lines(tree: &Tree, list: &List<'_>, told: &mut Vec<String>) -> Result<Vec<Line>, DataError> {
    let path = tree.at(list.file);
    let text = decoded(&path, told)?;
    let line = |(number, text): (usize, &str)| {
        let number = number as u64 + 1;
        let words: Vec<&str> = text.split_whitespace().collect();
        let [patient, file @ .., class, source] = &words[..] else {
            let reason = format!("`{text}`: write patient, file, class and source, with blanks between");
            return Err(DataError::Table { path: path.clone(), line: number, reason });
        };
        if file.is_empty() {
            let reason = format!("`{text}`: three words; write patient, file, class and source");
            return Err(DataError::Table { path: path.clone(), line: number, reason });
        }
        Ok(Line {
            number,
            patient: (*patient).into(),
            file: file.join(" "),
            class: (*class).into(),
            source: (*source).into(),
        })
    };
    text.lines().enumerate().filter(|(_, text)| !text.trim().is_empty()).map(line).collect()
}
