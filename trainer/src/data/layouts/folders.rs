//! A folder for each class, perhaps under `train/`, `val/` and `test/` or in a folder of all, with folders of patients or `images/` in it.

use std::collections::BTreeSet;

use super::{
    DICOM_NEEDS_A_TABLE, ImportArgs,
    class_folders::{class_folders, common, folders, guessed_class_folders},
    files::{entries, is_picture, relative},
    items::{Item, records},
    listed,
    notes::Notes,
    problem,
    studies::Header,
    tree::{Tree, file_name, folder, is_volume},
    words::{left_out, sorts_files, split_of, told},
};
use crate::data::{
    DataError, Record,
    check::{Kind, kind},
};

pub(super) fn recognise(tree: &Tree) -> Option<String> {
    let folders = entries(&tree.dir, &mut Notes::default()).ok()?;
    folders.iter().any(|path| path.is_dir()).then(|| "a folder for each class".into())
}

pub(super) fn list(args: &ImportArgs, tree: &Tree, notes: &mut Notes) -> Result<Vec<Record>, DataError> {
    let files: Vec<&str> = tree.files.iter().map(String::as_str).filter(|file| is_picture(&tree.at(file))).collect();
    let common = common(&files);
    let mut places = class_folders(args, &files, notes)?;
    let guessed = guessed_class_folders(&files);
    if places.iter().all(|place| place.is_empty()) {
        if !files.is_empty() && files.iter().all(|file| kind(&tree.at(file)) == Kind::Dicom) {
            notes.untold(args, problem(&args.dir, DICOM_NEEDS_A_TABLE))?;
        }
        places = guessed;
    } else if places.iter().all(|place| place.len() <= common.len() && !told(args, file_name(place))) {
        let below: Vec<&str> = guessed.into_iter().collect::<BTreeSet<_>>().into_iter().map(file_name).collect();
        if below.len() > 1 {
            let question = format!(
                "is `{common}` the class of all pictures, or are the folders in it classes ({})? Name it, or those, with --positive and \
                 --negative",
                listed(&below)
            );
            notes.untold(args, problem(&args.dir, question))?;
        }
    }
    refuse_empty(args, tree, &files, &places, notes)?;
    let mut items = vec![];
    for (file, place) in files.iter().zip(places) {
        match why_none(file, place, common) {
            Some(reason) => notes.leave_out(file, reason),
            None => items.push(item(tree, file, place)),
        }
    }
    tree.tell_unused(&files.into_iter().collect(), notes);
    records(args, tree, items, notes)
}

/// A picture of the class whose folder is `place`.
fn item(tree: &Tree, file: &str, place: &str) -> Item {
    let path = tree.at(file);
    let header = (kind(&path) == Kind::Dicom).then(|| Header::of(&path)).flatten();
    Item {
        path: file.into(),
        class: file_name(place).into(),
        split: folders(file).filter(|folder| *folder != place).find_map(|folder| split_of(file_name(folder))),
        modality: header.and_then(|header| header.modality),
        ..Item::default()
    }
}

/// Why a file in the class's folder `place` is no picture to learn from, if it is none; all files are in `common`.
fn why_none(file: &str, place: &str, common: &str) -> Option<&'static str> {
    let of_masks = |folder: &str| {
        let name = file_name(folder).to_lowercase();
        name.contains("mask") || name.contains("segmentation")
    };
    match () {
        () if place.is_empty() => Some("in no class's folder"),
        () if folders(file).take_while(|folder| folder.len() > common.len()).any(of_masks) => {
            Some("in a folder of masks, and so no picture")
        }
        () if is_volume(file) => Some("a volume; import volumes from a folder of their own, or with --layout volumes"),
        () => None,
    }
}

/// # Errors
/// A folder without pictures beside those of the classes: a class that was not unpacked would be missing without a word.
fn refuse_empty(
    args: &ImportArgs,
    tree: &Tree,
    files: &[&str],
    places: &[&str],
    notes: &mut Notes,
) -> Result<(), DataError> {
    let full: BTreeSet<&str> = files.iter().flat_map(|file| folders(file)).collect();
    let classes = places.iter().filter(|place| !place.is_empty());
    let parents: BTreeSet<&str> = classes.map(|place| folder(place)).collect();
    for parent in parents {
        for path in entries(&tree.at(parent), &mut Notes::default())? {
            let place = relative(&tree.dir, &path);
            let name = file_name(&place);
            let asked = path.is_dir() && !path.is_symlink() && !sorts_files(name) && !left_out(args, name);
            if asked && !full.contains(place.as_str()) {
                notes.untold(args, problem(&path, "this class has no pictures; add some or remove the folder"))?;
            }
        }
    }
    Ok(())
}
