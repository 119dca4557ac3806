//! A folder for each class with `images/` in it, and folders of masks beside that, perhaps under `Train/`, `Val/` and `Test/`.
//!
//! What masks mark, their folder says (`lung masks`, `infection masks`). Where it says `masks` alone, those of healthy lungs (a class
//! such as `normal`) are looked at: what marks anything there are lungs.

use std::collections::{BTreeMap, BTreeSet};

use super::{
    ImportArgs, Marks,
    files::stem,
    items::{Item, records},
    marks::{LOOKED_AT, by_healthy_lungs, word},
    notes::Notes,
    patient_tables::PatientTables,
    problem,
    tree::{Tree, file_name, folder, join, parts},
    words::{healthy, plain, split_of},
};
use crate::data::{DataError, Record, Split, mask::Mask};

/// `CLASS/images/` and what lies beside it.
struct Class<'a> {
    /// The folder in which `images/` is.
    folder: &'a str,
    class: &'a str,
    split: Option<Split>,
    pictures: Vec<&'a str>,
    /// By the role that their folder's name says, and the pictures' names without endings.
    masks: BTreeMap<Role, BTreeMap<String, &'a str>>,
}

/// What masks mark by the name of their folder.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Role {
    /// Its name does not say it.
    Plain,
    Marks(Marks),
    LeftLung,
    RightLung,
}

pub(super) fn recognise(tree: &Tree) -> Option<String> {
    // What is wrong with them is told when they are listed.
    let Ok(classes) = classes(tree) else { return Some("images/ and masks in classes".into()) };
    let with_masks: Vec<&str> =
        classes.iter().filter(|class| !class.masks.is_empty()).map(|class| class.class).collect();
    (!with_masks.is_empty()).then(|| format!("images/ and masks in the classes {}", unique(&with_masks).join(", ")))
}

pub(super) fn list(args: &ImportArgs, tree: &Tree, notes: &mut Notes) -> Result<Vec<Record>, DataError> {
    let classes = classes(tree)?;
    let plain_masks = plain_masks(args, tree, &classes, notes)?;
    let same = |class: &&Class<'_>| {
        let has = |role| class.masks.contains_key(&role);
        let lungs = plain_masks == Marks::Lungs && has(Role::LeftLung);
        has(Role::Plain) && (has(Role::Marks(plain_masks)) || lungs)
    };
    if let Some(class) = classes.iter().find(same) {
        let reason =
            format!("two folders of {}s, one of them called masks; keep one, or say --masks", word(plain_masks));
        return Err(problem(&tree.at(class.folder), reason));
    }
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
                    missing.push(role.word());
                    continue;
                };
                taken.insert(mask);
                match (role, plain_masks) {
                    (Role::Marks(Marks::Infection), _) | (Role::Plain, Marks::Infection) => {
                        item.infection = (*mask).into();
                    }
                    (Role::Marks(Marks::Lungs), _) | (Role::Plain, Marks::Lungs) => item.lungs = (*mask).into(),
                    // The right one follows the left.
                    (Role::LeftLung, _) => item.lungs = format!("{mask};"),
                    (Role::RightLung, _) => item.lungs += mask,
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
    let mut items = without_copies(items, notes);
    let tables = PatientTables::of(tree);
    if tables.speak_of(items.iter().map(|item| item.path.as_str())) {
        items = items.into_iter().map(|item| tables.told(args, item)).collect::<Result<_, _>>()?;
        used.extend(tables.tell(&items, notes));
    }
    tree.tell_unused(&used, notes);
    records(args, tree, items, notes)
}

/// Every folder that has `images/`.
///
/// # Errors
/// Two masks of one picture that mark the same, or one of a single lung.
fn classes(tree: &Tree) -> Result<Vec<Class<'_>>, DataError> {
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
                (true, false) if says("left") => Role::LeftLung,
                (true, false) if says("right") => Role::RightLung,
                (true, false) => Role::Marks(Marks::Lungs),
                (false, true) => Role::Marks(Marks::Infection),
                _ => Role::Plain,
            };
            let name = stem(file_name(mask));
            if let Some(other) = class.masks.entry(role).or_default().insert(name, mask) {
                return Err(problem(
                    &tree.at(mask),
                    format!("{other} is a mask of the same picture and marks the same; keep one"),
                ));
            }
        }
    }
    let classes: Vec<Class<'_>> = classes.into_values().collect();
    let one_sided = |class: &&Class<'_>| {
        class.masks.contains_key(&Role::LeftLung) != class.masks.contains_key(&Role::RightLung)
            || (class.masks.contains_key(&Role::LeftLung) && class.masks.contains_key(&Role::Marks(Marks::Lungs)))
    };
    match classes.iter().find(one_sided) {
        Some(class) => {
            let reason =
                "masks of one lung without the other's, or beside masks of both; keep both sides, or both in one";
            Err(problem(&tree.at(class.folder), reason))
        }
        None => Ok(classes),
    }
}

/// What masks mark whose folder does not say it.
///
/// # Errors
/// No class of healthy lungs has any, and the user does not say it.
fn plain_masks(args: &ImportArgs, tree: &Tree, classes: &[Class<'_>], notes: &mut Notes) -> Result<Marks, DataError> {
    let plain: Vec<&Class<'_>> = classes.iter().filter(|class| class.masks.contains_key(&Role::Plain)).collect();
    if let Some(marks) = args.masks {
        return Ok(marks);
    }
    let Some(first) = plain.first() else { return Ok(Marks::Infection) };
    let masks = plain
        .iter()
        .filter(|class| healthy(class.class))
        .filter_map(|class| class.masks.get(&Role::Plain))
        .flat_map(BTreeMap::values);
    let mark_anything: Vec<bool> =
        masks.take(LOOKED_AT).filter_map(|mask| Some(!Mask::read(&tree.at(mask)).ok()?.is_empty())).collect();
    by_healthy_lungs(args, notes, ["folders called masks", "pictures"], &mark_anything, || {
        format!(
            "do the masks in {} mark the infection or the lungs? Say --masks infection or --masks lungs",
            join(first.folder, "masks")
        )
    })
}

impl Role {
    fn word(self) -> &'static str {
        match self {
            Self::Plain => "mask",
            Self::Marks(marks) => word(marks),
            Self::LeftLung => "mask of the left lung",
            Self::RightLung => "mask of the right lung",
        }
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
