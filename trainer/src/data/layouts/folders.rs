//! A folder for each class.

use std::{collections::BTreeSet, path::Path};

use super::{
    ImportArgs,
    files::{entries, is_picture, relative, walk},
    notes::Notes,
    patients::Patients,
    problem,
    records::{needed_modality, record},
    tree::Tree,
    words::{label_of, left_out},
};
use crate::data::{
    DataError, Record, Task,
    check::{Kind, kind},
};

pub(super) fn recognise(tree: &Tree) -> Option<String> {
    let folders = entries(&tree.dir, &mut Notes::default()).ok()?;
    folders.iter().any(|path| path.is_dir()).then(|| "a folder for each class".into())
}

pub(super) fn list(args: &ImportArgs, _: &Tree, notes: &mut Notes) -> Result<Vec<Record>, DataError> {
    let modality = needed_modality(args, notes)?;
    let mut patients = Patients::new(args, notes)?;
    let mut records = Vec::new();
    for folder in entries(&args.dir, notes)? {
        if !folder.is_dir() {
            if is_picture(&folder) || !folder.exists() {
                notes.leave_out(&relative(&args.dir, &folder), "in no class's folder, or a link to nowhere");
            }
            continue;
        }
        let class = folder.file_name().unwrap_or_default().to_string_lossy().into_owned();
        let mut files = Vec::new();
        let mut seen = BTreeSet::new();
        walk(&args.dir, &folder, &mut seen, &mut files, notes)?;
        files.retain(|path| learnable(&args.dir, &folder, path, notes) && !notes.unwanted(args, &class));
        if left_out(args, &class) {
            continue;
        }
        if files.is_empty() {
            return Err(problem(&folder, "this class has no pictures; add some or remove the folder"));
        }
        let label = label_of(args, &class).ok_or_else(|| {
            problem(&folder, format!("is `{class}` the disease or not? Say --positive {class} or --negative {class}"))
        })?;
        let word = class.to_lowercase();
        for path in files {
            let relative = relative(&args.dir, &path);
            notes.word("class", &class, &word);
            let patient = patients.of(&relative, &path);
            let task = if kind(&path) == Kind::Nifti { Task::None } else { Task::Classify };
            if task == Task::None {
                notes.word("files", "volumes", "task none: nothing is learnt from them");
            }
            records.push(record(args, relative, modality, task, label, &word, patient));
        }
    }
    patients.all_known(args, notes)?;
    Ok(records)
}

/// Whether a file in a class's folder is a picture to learn from; what is left out is noted.
fn learnable(dir: &Path, class: &Path, path: &Path, notes: &mut Notes) -> bool {
    let name = relative(dir, path);
    let below =
        path.strip_prefix(class).unwrap_or(path).parent().unwrap_or(Path::new("")).to_string_lossy().to_lowercase();
    let reason = match () {
        () if path.to_str().is_none() => "its name is not UTF-8; rename it",
        () if !is_picture(path) => "no PNG, JPEG, TIFF, DICOM or NIfTI by its name",
        () if below.contains("mask") || below.contains("segmentation") => "in a folder of masks, and so no picture",
        () => return true,
    };
    notes.leave_out(&name, reason);
    false
}
