//! From what a layout lists to the lines of a manifest.

use thorax_shared::modality::Modality;

use super::{ImportArgs, notes::Notes, problem};
use crate::data::{DataError, Label, Record, Split, Task, UNKNOWN_PATIENT};

/// What the collection is called.
pub(super) fn source(args: &ImportArgs) -> String {
    let folder_name =
        || args.dir.canonicalize().ok().and_then(|dir| Some(dir.file_name()?.to_string_lossy().into_owned()));
    args.source.clone().or_else(folder_name).unwrap_or("import".into())
}

pub(super) fn record(
    args: &ImportArgs,
    path: String,
    modality: Modality,
    task: Task,
    label: Label,
    class: &str,
    patient: String,
) -> Record {
    let source = source(args);
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
        masks_sha256: String::new(),
    }
}

/// # Errors
/// Nobody says what the pictures are; a dry run goes on as if they were films.
pub(super) fn needed_modality(args: &ImportArgs, notes: &mut Notes) -> Result<Modality, DataError> {
    if let Some(modality) = args.modality {
        return Ok(modality);
    }
    let question = "this layout does not say what its pictures are; give --modality xray or ct";
    notes.untold(args, problem(&args.dir, question))?;
    Ok(Modality::Xray)
}
