//! A `manifest.csv` that says all itself.

use std::path::Path;

use serde::Deserialize;

use super::{
    ImportArgs,
    files::inside,
    notes::{Notes, Splits},
    problem,
    records::{record, source},
    tree::Tree,
    words::{label_of, modality_of, split_of, unlabelled, without_format},
};
use crate::data::{
    DataError, Label, Record, Split, Task, UNKNOWN_PATIENT,
    address::Address,
    check::{Kind, kind},
    table::Table,
};

/// What the columns of a layout's own manifest may be called; others are passed over, and told.
const COLUMNS: [&str; 12] = [
    "path",
    "modality",
    "class",
    "patient_id",
    "patient",
    "source",
    "licence",
    "license",
    "split",
    "mask",
    "lung_mask",
    "group",
];

/// A line of a layout's own manifest.
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

pub(super) fn recognise(tree: &Tree) -> Option<String> {
    tree.files.iter().any(|file| file == "manifest.csv").then(|| "manifest.csv".into())
}

pub(super) fn list(args: &ImportArgs, _: &Tree, notes: &mut Notes) -> Result<Vec<Record>, DataError> {
    let path = args.dir.join("manifest.csv");
    let table = Table::read(&path, &mut notes.told)?;
    notes.unread("manifest.csv", &table, &COLUMNS.map(|column| table.column(&[column])));
    let rows: Vec<(u64, SourceRow)> = table.rows(&path)?;
    if rows.is_empty() {
        return Err(problem(&path, "a header and no lines; add a line for each picture"));
    }
    let without_split = rows.iter().all(|(_, row)| row.split.is_empty());
    notes.splits = if without_split { Splits::Dealt } else { Splits::Kept };
    if without_split {
        notes.told.push(format!("{}: says no splits, so the patients are dealt out", path.display()));
    }
    let mut records = vec![];
    for (line, row) in rows {
        let failed = |reason: String| DataError::Table { path: path.clone(), line, reason };
        let modality = modality_of(&row.modality)
            .ok_or_else(|| failed(format!("modality `{}`: write xray or ct", row.modality)))?;
        notes.word("modality", &row.modality, modality.as_str());
        if notes.other_modality(args, modality) {
            continue;
        }
        if notes.unwanted(args, &row.class) || notes.unwanted(args, without_format(&row.class)) {
            continue;
        }
        let split = match split_of(&row.split) {
            _ if without_split => Split::Train,
            Some(split) => split,
            None => {
                return Err(failed(format!(
                    "split `{}`: write train, val or test (or leave it empty in all lines, and the patients are dealt out)",
                    row.split
                )));
            }
        };
        if !without_split {
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
        let sliced = Address::of(&picture).slice.is_some();
        let aside = !sliced && (kind(&args.dir.join(&picture)) != Kind::Picture || picture.starts_with("originals/"));
        let known = label_of(args, &class).or_else(|| label_of(args, without_format(&class)));
        let unlabelled = unlabelled(&class);
        if known.is_none() && !unlabelled && !aside && mask.is_empty() {
            return Err(failed(format!(
                "is `{class}` the disease or not? Say --positive {class} or --negative {class} (or write the class `unlabelled`)"
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
