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
    tree::{TableFile, Tree, file_name, folder, is_volume, join, parts},
};
use crate::data::{DataError, Record};

const CLASSES: [&str; 8] = ["diagnosis", "class", "label", "group", "covid", "covid_status", "finding", "pathology"];

/// Entities that tell pictures of a participant apart, which a mask of a picture without them does not have.
const TELL_APART: [&str; 9] = ["ses", "task", "acq", "ce", "rec", "dir", "run", "echo", "chunk"];

/// What a picture and its masks have in common: the data set, the participant, the session, and whether they are volumes.
type Place<'a> = (&'a str, &'a str, Option<&'a str>, bool);

/// The tables of participants by the data set's root.
fn participants(tree: &Tree) -> BTreeMap<&str, &TableFile> {
    tree.tables()
        .filter(|table| {
            file_name(&table.file) == "participants.tsv" && table.table.column(&["participant_id"]).is_some()
        })
        .map(|table| (root(folder(&table.file)), table))
        .collect()
}

pub(super) fn recognise(tree: &Tree) -> Option<String> {
    let tables: Vec<&str> = participants(tree).values().map(|table| table.file.as_str()).collect();
    (!tables.is_empty() && tree.files.iter().any(|file| place(file).is_some()))
        .then(|| format!("{} and folders sub-...", tables.join(", ")))
}

pub(super) fn list(args: &ImportArgs, tree: &Tree, notes: &mut Notes) -> Result<Vec<Record>, DataError> {
    let tables = participants(tree);
    if tables.is_empty() {
        return Err(problem(&args.dir, "no participants.tsv with participant_id"));
    }
    let mut classes_of = BTreeMap::new();
    for (root, table) in &tables {
        classes_of.insert(*root, classes(table, notes)?);
    }
    let (derived, raw): (Vec<&str>, Vec<&str>) = tree
        .pictures()
        .chain(tree.volumes())
        .filter(|file| place(file).is_some())
        .partition(|file| file.split('/').any(|part| part == "derivatives"));
    let masks: Vec<&str> = derived.into_iter().filter(|file| is_mask(file)).collect();
    let mut used: BTreeSet<&str> = tables.values().map(|table| table.file.as_str()).chain(masks.clone()).collect();
    let mut items = vec![];
    let mut strangers: BTreeMap<&str, Vec<&str>> = BTreeMap::new();
    for picture in raw {
        let Some((root, subject, ..)) = place(picture) else { continue };
        let mut roots = std::iter::successors(Some(root), |root| (!root.is_empty()).then(|| folder(root)));
        let classes = roots.find_map(|root| classes_of.get(root));
        let Some(class) = classes.and_then(|classes| classes.get(subject)) else {
            strangers.entry(root).or_default().push(picture);
            continue;
        };
        used.insert(picture);
        // Of several data sets, each has its own first participant.
        let patient = if tables.len() > 1 { join(root, subject) } else { subject.to_owned() };
        items.push(Item {
            path: picture.into(),
            class: class.clone(),
            patient: Some(patient),
            modality: modality(picture),
            ..Item::default()
        });
    }
    if let Some((root, pictures)) = strangers.first_key_value() {
        let path = tree.at(&join(root, "participants.tsv"));
        return Err(problem(&path, format!("no line for {}; add one for each participant", listed(pictures))));
    }
    give(&masks, &mut items, notes);
    tree.tell_unused(&used, notes);
    records(args, tree, items, notes)
}

/// Gives each picture its masks.
fn give(masks: &[&str], items: &mut [Item], notes: &mut Notes) {
    let paths: Vec<String> = items.iter().map(|item| item.path.clone()).collect();
    let mut beside: BTreeMap<Place<'_>, Vec<usize>> = BTreeMap::new();
    for (i, place) in paths.iter().enumerate().filter_map(|(i, path)| Some((i, place(path)?))) {
        beside.entry(place).or_default().push(i);
    }
    for mask in masks {
        let beside = place(mask).and_then(|place| beside.get(&place)).map_or(&[][..], Vec::as_slice);
        let fitting: Vec<(usize, usize)> = beside.iter().filter_map(|&i| Some((fit(mask, &paths[i])?, i))).collect();
        let longest = fitting.iter().map(|(length, _)| *length).max();
        let of: Vec<usize> = fitting.iter().filter(|(length, _)| Some(*length) == longest).map(|(_, i)| *i).collect();
        let item = match of[..] {
            [one] => &mut items[one],
            [] => {
                notes.leave_out(mask, "no picture whose name it begins with; add it or take the mask away");
                continue;
            }
            _ => {
                let several: Vec<&str> = of.iter().map(|&i| paths[i].as_str()).collect();
                notes.leave_out(mask, format!("may belong to {}; name it after the one", listed(&several)));
                continue;
            }
        };
        let place = if lungs(mask) { &mut item.lungs } else { &mut item.infection };
        if place.is_empty() {
            *place = (*mask).into();
        } else {
            notes.leave_out(mask, format!("{} has the mask {place} already; keep one", item.path));
        }
    }
}

/// The participants' classes, where a column tells them.
fn classes(table: &TableFile, notes: &mut Notes) -> Result<BTreeMap<String, String>, DataError> {
    let column = table.table.column(&CLASSES);
    match column.and_then(|column| table.table.columns().nth(column)) {
        Some(column) => notes.told.push(format!("{}: column {column} read as the classes", table.file)),
        None => notes.told.push(format!("{}: no column of classes ({})", table.file, CLASSES.join(", "))),
    }
    let id = table.table.column(&["participant_id"]).unwrap_or_default();
    notes.told.extend(table.told.iter().cloned());
    notes.unread(&table.file, &table.table, &[Some(id), column]);
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

/// Whose a file is, and of which session; `None` of what is no participant's.
fn place(file: &str) -> Option<Place<'_>> {
    let parts: Vec<&str> = folder(file).split('/').collect();
    let subject = parts.iter().position(|part| part.starts_with("sub-"))?;
    let session = parts[subject..].iter().copied().find(|part| part.starts_with("ses-"));
    let end = parts.iter().position(|part| *part == "derivatives").unwrap_or(subject).min(subject);
    // The parts before the root's end and the `/` behind each.
    let length: usize = parts[..end].iter().map(|part| part.len() + 1).sum();
    Some((root(&file[..length.saturating_sub(1)]), parts[subject], session, is_volume(file)))
}

/// The root of a data set whose pictures may lie in `rawdata/`, beside `derivatives/`.
fn root(above: &str) -> &str {
    if file_name(above) == "rawdata" { folder(above) } else { above }
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

/// How long the part of its name is that a mask has in common with its picture, all but the picture's suffix; `None` where it is
/// another's.
fn fit(mask: &str, picture: &str) -> Option<usize> {
    let (mask, name) = (stem(file_name(mask)), stem(file_name(picture)));
    let entities = name.rsplit_once('_').map_or(name.as_str(), |(entities, _)| entities);
    let rest = mask.strip_prefix(entities)?.strip_prefix('_')?;
    let others = rest.split('_').any(|part| part.split_once('-').is_some_and(|(key, _)| TELL_APART.contains(&key)));
    (!others).then_some(entities.len())
}
