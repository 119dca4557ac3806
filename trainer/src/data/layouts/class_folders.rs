//! Which of a file's folders is its class's.
//!
//! It is the deepest that the user names, or else whose word has a plain meaning (`COVID`, `Normal`), below the folders that all files are
//! in: those tell no classes apart (`covid19/COVID`, `covid19/Normal`). A folder beside a class's is a class as well, whatever it means
//! (`TB/` beside `Normal/`), in every split (`test/TB/` beside `train/Normal/`).

use std::collections::BTreeSet;

use super::{
    ImportArgs,
    notes::Notes,
    problem,
    tree::{file_name, folder},
    words::{label_of, sorts_files, told},
};
use crate::data::DataError;

/// The class's folder of each of `files`, below the collection's; empty where no word tells it.
///
/// # Errors
/// A file in folders of two classes.
pub(super) fn class_folders<'a>(
    args: &ImportArgs,
    files: &[&'a str],
    notes: &mut Notes,
) -> Result<Vec<&'a str>, DataError> {
    let common = common(files);
    let mut places = files.iter().map(|file| named(args, file, common, notes)).collect::<Result<Vec<&str>, _>>()?;
    if places.iter().all(|place| place.is_empty()) {
        return files.iter().map(|file| named(args, file, "", notes)).collect();
    }
    let beside: BTreeSet<String> =
        places.iter().filter(|place| !place.is_empty()).map(|place| without_splits(folder(place))).collect();
    let is_beside = |place: &&str| !sorts_files(file_name(place)) && beside.contains(&without_splits(folder(place)));
    for (place, file) in places.iter_mut().zip(files).filter(|(place, _)| place.is_empty()) {
        *place = folders(file).find(is_beside).unwrap_or_default();
    }
    Ok(places)
}

/// The same by a guess, which a question to the user follows: the first folder that is not all files' and no split's, or of those that
/// are all files' the last.
pub(super) fn guessed_class_folders<'a>(files: &[&'a str]) -> Vec<&'a str> {
    let common = common(files);
    let guess = |file: &&'a str| {
        let places = folders(file).filter(|place| !sorts_files(file_name(place)));
        let (below, above): (Vec<&str>, Vec<&str>) = places.partition(|place| place.len() > common.len());
        below.last().or(above.first()).copied().unwrap_or_default()
    };
    files.iter().map(guess).collect()
}

/// The folders that a file is in, the deepest first.
pub(super) fn folders(file: &str) -> impl Iterator<Item = &str> {
    std::iter::successors(Some(folder(file)), |place| Some(folder(place))).take_while(|place| !place.is_empty())
}

/// The deepest folder that all files are in.
pub(super) fn common<'a>(files: &[&'a str]) -> &'a str {
    let all_in = |place: &&str| {
        let inside = format!("{place}/");
        files.iter().all(|file| file.starts_with(&inside))
    };
    files.first().and_then(|first| folders(first).find(all_in)).unwrap_or_default()
}

/// The deepest of the folders below `above` that the user names, or else that is a class by its word.
fn named<'a>(args: &ImportArgs, file: &'a str, above: &str, notes: &mut Notes) -> Result<&'a str, DataError> {
    let places: Vec<&str> = folders(file).take_while(|place| place.len() > above.len()).collect();
    if let Some(place) = places.iter().copied().find(|place| told(args, file_name(place))) {
        return Ok(place);
    }
    let label = |place: &str| label_of(args, file_name(place));
    let known: Vec<&str> = places.into_iter().filter(|place| label(place).is_some()).collect();
    let Some(deepest) = known.first().copied() else { return Ok("") };
    if let Some(other) = known.iter().copied().find(|place| label(place) != label(deepest)) {
        let [deepest, other] = [deepest, other].map(file_name);
        let question = format!(
            "folders of two classes, `{other}` and `{deepest}`: rename the one that is none, or name the class with --positive or \
             --negative"
        );
        notes.untold(args, problem(&args.dir.join(file), question))?;
    }
    Ok(deepest)
}

/// A folder without the parts that are splits.
fn without_splits(folder: &str) -> String {
    folder.split('/').filter(|name| !sorts_files(name)).collect::<Vec<_>>().join("/")
}
