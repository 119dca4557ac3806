//! A table of scans: a CSV with a column of NIfTI scans and columns of their masks, and perhaps of patients, splits and classes. Its
//! paths are as they were on its author's machine, of which the last two parts are found here. Columns that are not read are told.

use std::collections::{BTreeMap, BTreeSet};

use super::{
    ImportArgs,
    files::stem,
    items::{Item, records},
    notes::Notes,
    tree::{TableFile, Tree, file_name, folder},
    words::split_of,
};
use crate::data::{DataError, Record, Split, UNKNOWN_PATIENT, address::Address};

const SCANS: [&str; 6] = ["ct_scan", "scan", "ct", "volume", "image", "ct_scans"];
const INFECTIONS: [&str; 4] = ["infection_mask", "infection", "lesion_mask", "mask"];
const LUNGS: [&str; 3] = ["lung_mask", "lungs", "lung"];
/// Left lung, right lung and infection as the labels 1, 2 and 3 of one file.
const BOTH: [&str; 1] = ["lung_and_infection_mask"];

const PATIENTS: [&str; 5] = ["patient_id", "patient", "patientid", "subject_id", "subject"];
const SPLITS: [&str; 3] = ["split", "subset", "partition"];
const CLASSES: [&str; 4] = ["class", "diagnosis", "category", "finding"];

/// The place of the columns.
struct Columns {
    scan: usize,
    patient: Option<usize>,
    split: Option<usize>,
    class: Option<usize>,
    infection: Option<usize>,
    lungs: Option<usize>,
    both: Option<usize>,
}

impl Columns {
    fn of(table: &TableFile) -> Option<Self> {
        let of = |names: &[&str]| table.table.column(names);
        let columns = Self {
            scan: of(&SCANS)?,
            infection: of(&INFECTIONS),
            lungs: of(&LUNGS),
            both: of(&BOTH),
            patient: of(&PATIENTS),
            split: of(&SPLITS),
            class: of(&CLASSES),
        };
        (columns.infection.or(columns.lungs).or(columns.both)).map(|_| columns)
    }

    /// The places of all.
    fn all(&self) -> [Option<usize>; 7] {
        let Self { scan, patient, split, class, infection, lungs, both } = *self;
        [Some(scan), patient, split, class, infection, lungs, both]
    }
}

fn tables(tree: &Tree) -> impl Iterator<Item = (&TableFile, Columns)> {
    let any = tree.volumes().next().is_some();
    tree.tables().filter(move |_| any).filter_map(|table| Some((table, Columns::of(table)?)))
}

pub(super) fn recognise(tree: &Tree) -> Option<String> {
    let tables: Vec<&str> = tables(tree).map(|(table, _)| table.file.as_str()).collect();
    (!tables.is_empty()).then(|| format!("scans and their masks in {}", tables.join(", ")))
}

pub(super) fn list(args: &ImportArgs, tree: &Tree, notes: &mut Notes) -> Result<Vec<Record>, DataError> {
    let mut items: BTreeMap<String, Item> = BTreeMap::new();
    let mut used: BTreeSet<&str> = BTreeSet::new();
    for (table, columns) in tables(tree) {
        used.insert(&table.file);
        notes.told.extend(table.told.iter().cloned());
        notes.unread(&table.file, &table.table, &columns.all());
        for (line, cells) in table.table.lines() {
            let failed = |reason| DataError::Table { path: table.path.clone(), line, reason };
            let mut file = |column: Option<usize>| -> Result<&str, DataError> {
                let cell = column.and_then(|column| cells.get(column)).unwrap_or_default();
                if cell.is_empty() {
                    return Ok("");
                }
                let file = found(tree, cell).map_err(failed)?;
                used.insert(file);
                Ok(file)
            };
            let scan = file(Some(columns.scan))?;
            let (infection, lungs, both) = (file(columns.infection)?, file(columns.lungs)?, file(columns.both)?);
            if scan.is_empty() {
                return Err(failed("no scan; take the line out or name one".into()));
            }
            let cell = |column: Option<usize>| column.map(|column| cells.get(column).unwrap_or_default());
            let patient = cell(columns.patient).map(str::to_owned);
            if patient.as_deref() == Some("") {
                return Err(failed(format!("no patient for {scan}; write who it is, or `{UNKNOWN_PATIENT}`")));
            }
            let split = match cell(columns.split) {
                Some(word) => {
                    let split = split_of(word);
                    Some(split.ok_or_else(|| failed(format!("split `{word}`: write train, val or test")))?)
                }
                None => None,
            };
            let label = |labels: &[u16]| Address::labels(both, labels.to_vec()).to_string();
            let item = Item {
                path: scan.into(),
                class: cell(columns.class).unwrap_or_default().into(),
                patient,
                split,
                infection: if infection.is_empty() && !both.is_empty() { label(&[3]) } else { infection.into() },
                lungs: match (lungs, both) {
                    ("", "") => String::new(),
                    // Where there is infection, there is lung.
                    ("", _) => label(&[1, 2, 3]),
                    (lungs, _) => lungs.into(),
                },
                ..Item::default()
            };
            if let Some(other) = items.insert(scan.into(), item.clone()).filter(|other| *other != item) {
                return Err(failed(format!(
                    "{scan} has {}, and in a line before {}; keep one",
                    in_words(&item),
                    in_words(&other)
                )));
            }
        }
    }
    notes.told.push("of the scans' table the last parts of each path are read, wherever they lie".into());
    tree.tell_unused(&used, notes);
    records(args, tree, items.into_values().collect(), notes)
}

/// What a line says of its scan.
fn in_words(item: &Item) -> String {
    let Item { infection, lungs, class, patient, split, .. } = item;
    let what = [
        ("masks", format!("{infection} {lungs}").trim().to_owned()),
        ("class", class.clone()),
        ("patient", patient.clone().unwrap_or_default()),
        ("split", split.map_or("", Split::as_str).to_owned()),
    ];
    let what = what.iter().filter(|(_, value)| !value.is_empty());
    what.map(|(what, value)| format!("the {what} `{value}`")).collect::<Vec<_>>().join(", ")
}

/// The file that a cell means: of its name, and of several the one in a folder of the same name.
fn found<'a>(tree: &'a Tree, cell: &str) -> Result<&'a str, String> {
    let cell = cell.replace('\\', "/");
    let name = stem(file_name(&cell));
    let named: Vec<&str> = tree.volumes().filter(|file| stem(file_name(file)) == name).collect();
    let beside: Vec<&str> =
        named.iter().copied().filter(|file| file_name(folder(file)) == file_name(folder(&cell))).collect();
    // Where there is such a folder, a file of that name in another one is another file.
    let there = tree.volumes().any(|file| file_name(folder(file)) == file_name(folder(&cell)));
    match (&beside[..], &named[..]) {
        ([file], _) => Ok(file),
        ([], [file]) if !there => Ok(file),
        (_, []) | ([], _) if there || named.is_empty() => {
            Err(format!("{cell} is not there; unpack it, or take the line out"))
        }
        (_, several) => Err(format!("{cell} may be {}; keep one of them", several.join(" or "))),
    }
}
