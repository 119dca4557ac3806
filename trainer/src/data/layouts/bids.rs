//! BIDS: `participants.tsv`, a folder `sub-...` for each participant, and what others made of the pictures under `derivatives/`.

use std::collections::{BTreeMap, BTreeSet};

use thorax_shared::modality::Modality;

use super::{
    ImportArgs,
    files::stem,
    items::{Item, records},
    listed,
    notes::Notes,
    problem,
    tree::{TableFile, Tree, file_name, folder, is_volume, parts},
};
use crate::data::{DataError, Record};

const CLASSES: [&str; 8] = ["diagnosis", "class", "label", "group", "covid", "covid_status", "finding", "pathology"];

fn participants(tree: &Tree) -> Option<&TableFile> {
    tree.tables()
        .iter()
        .find(|table| file_name(&table.file) == "participants.tsv" && table.table.column(&["participant_id"]).is_some())
}

pub(super) fn recognise(tree: &Tree) -> Option<String> {
    let table = participants(tree)?;
    tree.files.iter().any(|file| subject(file).is_some()).then(|| format!("{} and folders sub-...", table.file))
}

pub(super) fn list(args: &ImportArgs, tree: &Tree, notes: &mut Notes) -> Result<Vec<Record>, DataError> {
    let table = participants(tree).ok_or_else(|| problem(&args.dir, "no participants.tsv with participant_id"))?;
    let classes = classes(table, notes)?;
    let mut used: BTreeSet<&str> = BTreeSet::from([table.file.as_str()]);
    let (derived, raw): (Vec<&str>, Vec<&str>) = tree
        .pictures()
        .chain(tree.volumes())
        .filter(|file| subject(file).is_some())
        .partition(|file| file.split('/').any(|part| part == "derivatives"));
    let masks: Vec<&str> = derived.into_iter().filter(|file| is_mask(file)).collect();
    let mut items = vec![];
    let mut strangers = vec![];
    for picture in raw {
        let Some(subject) = subject(picture) else { continue };
        let Some(class) = classes.get(subject) else {
            strangers.push(picture);
            continue;
        };
        used.insert(picture);
        let mut item = Item {
            path: picture.into(),
            class: class.clone(),
            patient: Some(subject.into()),
            modality: modality(picture),
            ..Item::default()
        };
        for mask in masks.iter().filter(|mask| is_of(mask, picture)) {
            used.insert(mask);
            let place = if lungs(mask) { &mut item.lungs } else { &mut item.infection };
            if place.is_empty() {
                *place = (*mask).into();
            } else {
                notes.leave_out(mask, format!("{picture} has the mask {place} already; keep one"));
            }
        }
        items.push(item);
    }
    for mask in masks.iter().filter(|mask| !used.contains(*mask)) {
        notes.leave_out(mask, "no picture whose name it begins with; add it or take the mask away");
    }
    if !strangers.is_empty() {
        return Err(problem(&table.path, format!("no line for {}; add one for each participant", listed(&strangers))));
    }
    let used: BTreeSet<&str> = used.into_iter().chain(masks.iter().copied()).collect();
    tree.tell_unused(&used, notes);
    records(args, tree, items, notes)
}

/// The participants' classes, where a column tells them.
fn classes(table: &TableFile, notes: &mut Notes) -> Result<BTreeMap<String, String>, DataError> {
    let column = table.table.column(&CLASSES);
    match column.and_then(|column| table.table.columns().nth(column)) {
        Some(column) => notes.told.push(format!("{}: column {column} read as the classes", table.file)),
        None => notes.told.push(format!("{}: no column of classes ({})", table.file, CLASSES.join(", "))),
    }
    let id = table.table.column(&["participant_id"]).unwrap_or_default();
    let mut classes = BTreeMap::new();
    for (line, cells) in table.table.lines() {
        let patient = cells.get(id).unwrap_or_default().to_owned();
        let class = column.and_then(|column| cells.get(column)).unwrap_or_default().to_owned();
        if let Some(other) = classes.insert(patient.clone(), class.clone()).filter(|other| *other != class) {
            let reason = format!("{patient} is `{other}` and `{class}`; keep one line");
            return Err(DataError::Table { path: table.path.clone(), line, reason });
        }
    }
    Ok(classes)
}

/// The participant of a file.
fn subject(file: &str) -> Option<&str> {
    folder(file).split('/').find(|part| part.starts_with("sub-"))
}

/// Film or slice, by the suffix that ends the name.
fn modality(file: &str) -> Option<Modality> {
    match parts(&stem(file_name(file))).last().map(String::as_str) {
        Some("dx" | "cr" | "cxr" | "xray") => Some(Modality::Xray),
        Some("ct") => Some(Modality::Ct),
        _ if is_volume(file) => Some(Modality::Ct),
        _ => None,
    }
}

fn is_mask(file: &str) -> bool {
    matches!(parts(&stem(file_name(file))).last().map(String::as_str), Some("mask" | "dseg" | "seg" | "probseg"))
}

fn lungs(mask: &str) -> bool {
    parts(&stem(file_name(mask))).iter().any(|part| part == "lung" || part == "lungs")
}

/// Whether a mask is the picture's: its name is the picture's but for the last part, and perhaps more.
fn is_of(mask: &str, picture: &str) -> bool {
    let name = stem(file_name(picture));
    let entities = name.rsplit_once('_').map_or(name.as_str(), |(entities, _)| entities);
    stem(file_name(mask)).strip_prefix(entities).is_some_and(|rest| rest.starts_with('_'))
}
