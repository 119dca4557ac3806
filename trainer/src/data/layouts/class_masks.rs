//! A folder for each class with `images/` in it, and folders of masks beside that, perhaps under `Train/`, `Val/` and `Test/`.
//!
//! What masks mark, their folder says (`lung masks`, `infection masks`). Where it says `masks` alone, those of healthy lungs (a class
//! such as `normal`) are looked at: what marks anything there are lungs.

use std::collections::{BTreeMap, BTreeSet};

use super::{
    ImportArgs, Marks,
    files::stem,
    items::{Item, records},
    notes::Notes,
    problem,
    tree::{Tree, file_name, folder, join, parts},
    words::{healthy, plain, split_of},
};
use crate::data::{DataError, Record, Split, mask::Mask};

/// So many masks are looked at to see what they mark.
const LOOKED_AT: usize = 20;

/// `CLASS/images/` and what lies beside it.
struct Class<'a> {
    /// The folder in which `images/` is.
    folder: &'a str,
    class: &'a str,
    split: Option<Split>,
    pictures: Vec<&'a str>,
    /// By the role that their folder's name says, and the pictures' names without endings.
    masks: BTreeMap<Option<Marks>, BTreeMap<String, &'a str>>,
}

pub(super) fn recognise(tree: &Tree) -> Option<String> {
    let classes = classes(tree);
    let with_masks: Vec<&str> =
        classes.iter().filter(|class| !class.masks.is_empty()).map(|class| class.class).collect();
    (!with_masks.is_empty()).then(|| format!("images/ and masks in the classes {}", unique(&with_masks).join(", ")))
}

pub(super) fn list(args: &ImportArgs, tree: &Tree, notes: &mut Notes) -> Result<Vec<Record>, DataError> {
    let classes = classes(tree);
    let plain_masks = plain_masks(args, tree, &classes, notes)?;
    let mut used: BTreeSet<&str> = BTreeSet::new();
    let mut items: Vec<Item> = vec![];
    for class in &classes {
        let mut taken: BTreeSet<&str> = BTreeSet::new();
        for picture in &class.pictures {
            used.insert(picture);
            let name = stem(file_name(picture));
            let mut item =
                Item { path: (*picture).into(), class: class.class.into(), split: class.split, ..Item::default() };
            let mut missing = vec![];
            for (role, masks) in &class.masks {
                let Some(mask) = masks.get(&name) else {
                    missing.push(role.map_or("mask", word));
                    continue;
                };
                taken.insert(mask);
                match role.unwrap_or(plain_masks) {
                    Marks::Infection => item.infection = (*mask).into(),
                    Marks::Lungs => item.lungs = (*mask).into(),
                }
            }
            if missing.is_empty() {
                items.push(item);
            } else {
                let missing = missing.join(" and no ");
                notes.leave_out(picture, format!("no {missing} of the same name; add it or take the picture away"));
            }
        }
        for mask in class.masks.values().flat_map(BTreeMap::values) {
            used.insert(mask);
            if !taken.contains(mask) {
                notes.leave_out(mask, "no picture of the same name; add it or take the mask away");
            }
        }
    }
    let items = without_copies(items, notes);
    tree.tell_unused(&used, notes);
    records(args, tree, items, notes)
}

/// Every folder that has `images/`.
fn classes(tree: &Tree) -> Vec<Class<'_>> {
    let mut classes: BTreeMap<&str, Class<'_>> = BTreeMap::new();
    let is_images = |file: &str| matches!(plain(file_name(folder(file))).as_str(), "images" | "image" | "imgs");
    for picture in tree.pictures().filter(|file| is_images(file)) {
        let above = folder(folder(picture));
        // Of `images/` itself another layout knows.
        if above.is_empty() {
            continue;
        }
        let split = above.split('/').rev().skip(1).find_map(split_of);
        let class = Class { folder: above, class: file_name(above), split, pictures: vec![], masks: BTreeMap::new() };
        classes.entry(above).or_insert(class).pictures.push(picture);
    }
    for mask in tree.pictures().filter(|file| !is_images(file)) {
        let Some(class) = classes.get_mut(folder(folder(mask))) else { continue };
        let words = parts(file_name(folder(mask)));
        let says = |word: &str| words.iter().any(|part| part.starts_with(word));
        if says("mask") || says("segmentation") {
            let role = match (says("lung"), says("infection") || says("lesion")) {
                (true, false) => Some(Marks::Lungs),
                (false, true) => Some(Marks::Infection),
                _ => None,
            };
            class.masks.entry(role).or_default().insert(stem(file_name(mask)), mask);
        }
    }
    classes.into_values().collect()
}

/// What masks mark whose folder does not say it.
///
/// # Errors
/// No class of healthy lungs has any, and the user does not say it.
fn plain_masks(args: &ImportArgs, tree: &Tree, classes: &[Class<'_>], notes: &mut Notes) -> Result<Marks, DataError> {
    let plain: Vec<&Class<'_>> = classes.iter().filter(|class| class.masks.contains_key(&None)).collect();
    if let Some(marks) = args.masks {
        return Ok(marks);
    }
    let Some(first) = plain.first() else { return Ok(Marks::Infection) };
    let masks = plain
        .iter()
        .filter(|class| healthy(class.class))
        .filter_map(|class| class.masks.get(&None))
        .flat_map(BTreeMap::values);
    let looked_at: Vec<Mask> = masks.take(LOOKED_AT).filter_map(|mask| Mask::read(&tree.at(mask)).ok()).collect();
    if looked_at.is_empty() {
        let question = format!(
            "do the masks in {} mark the infection or the lungs? Say --masks infection or --masks lungs",
            join(first.folder, "masks")
        );
        notes.untold(args, problem(&args.dir, question))?;
        return Ok(Marks::Infection);
    }
    let marks = if looked_at.iter().any(|mask| !mask.is_empty()) { Marks::Lungs } else { Marks::Infection };
    notes.told.push(format!(
        "folders called masks are read as {}s, for pictures of healthy lungs have {} (--masks says otherwise)",
        word(marks),
        if marks == Marks::Lungs { "some that mark something" } else { "none that marks anything" }
    ));
    Ok(marks)
}

fn word(marks: Marks) -> &'static str {
    match marks {
        Marks::Infection => "infection mask",
        Marks::Lungs => "lung mask",
    }
}

/// Of pictures that two parts of a collection have under one name and class, the one with the infection's mask: as they are cut
/// differently into train and test, both would put one picture on two sides.
fn without_copies(items: Vec<Item>, notes: &mut Notes) -> Vec<Item> {
    let key = |item: &Item| (plain(&item.class), file_name(&item.path).to_owned());
    // Within one folder of train, val and test, equal names in two classes are two pictures.
    let part = |item: &Item| item.path.split('/').next().unwrap_or_default().to_owned();
    let better: BTreeMap<(String, String), String> =
        items.iter().filter(|item| !item.infection.is_empty()).map(|item| (key(item), part(item))).collect();
    let before = items.len();
    let kept: Vec<Item> = items
        .into_iter()
        .filter(|item| !item.infection.is_empty() || better.get(&key(item)).is_none_or(|other| *other == part(item)))
        .collect();
    if kept.len() < before {
        notes.told.push(format!(
            "{} pictures stand in two parts of the collection under one name, and are taken from the one with the infection's mask",
            before - kept.len()
        ));
    }
    kept
}

fn unique<'a>(words: &[&'a str]) -> Vec<&'a str> {
    words.iter().copied().collect::<BTreeSet<&str>>().into_iter().collect()
}
