//! What `thorax-train phantom` writes.

use thorax_phantom::Truth;

use super::{ImportArgs, notes::Notes, tree::Tree};
use crate::data::{DataError, Label, Record, Split, Task, table::Table};

/// Each 8-bit picture is for both tasks; the other formats show the same and are kept aside.
pub(super) fn recognise(tree: &Tree) -> Option<String> {
    tree.files.iter().any(|file| file == "phantoms.csv").then(|| "phantoms.csv".into())
}

pub(super) fn list(args: &ImportArgs, _: &Tree, notes: &mut Notes) -> Result<Vec<Record>, DataError> {
    let path = args.dir.join("phantoms.csv");
    let truths: Vec<(u64, Truth)> = Table::read(&path, &mut notes.told)?.rows(&path)?;
    let wanted = truths.into_iter().map(|(_, truth)| truth);
    let wanted =
        wanted.filter(|truth| !notes.other_modality(args, truth.modality) && !notes.unwanted(args, class(truth)));
    Ok(wanted
        .flat_map(|truth| {
            let patient = format!("phantom-{}-{}", truth.modality, truth.seed);
            let (class, positive) = (class(&truth).to_owned(), truth.label == "positive");
            let record = Record {
                path: truth.file,
                modality: truth.modality,
                task: Task::None,
                label: if positive { Label::Positive } else { Label::Negative },
                class,
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

fn class(truth: &Truth) -> &'static str {
    if truth.label == "positive" { "covid" } else { "normal" }
}
