//! NIfTI volumes, and masks beside them whose file or folder says that they are masks.
//!
//! A volume is a *mask* where the last part of its name, or that of a folder's, is a word for one (`x_mask.nii.gz`, `rp_msk/1.nii`,
//! `Lung_Mask/`), and is a scan otherwise. A mask belongs to the scan whose name is the same without such words; where there is
//! none, to the one scan that has all parts of the mask's name in their order (`site_001` of `site_org_001-dcm`). What belongs to
//! what is told before anything is written (`--dry-run`).
//!
//! What a mask marks its name or folder says (`lung_mask`, `infection`). Where it says that it is a mask and no more, it marks the
//! infection if other masks are called lungs'; else those of healthy lungs are looked at, and where there are none the user is asked.

use std::collections::{BTreeMap, BTreeSet, HashMap};

use super::{
    ImportArgs, Marks,
    class_folders::class_folders,
    files::stem,
    items::{Item, records},
    listed,
    marks::{LOOKED_AT, by_healthy_lungs},
    notes::Notes,
    tree::{Tree, file_name, folder, parts},
    words::{healthy, split_of},
};
use crate::data::{DataError, Record, address::Address, volumes};

/// Words at the end of a name that say that it is a mask.
const MASK_WORDS: [&str; 14] = [
    "mask",
    "masks",
    "msk",
    "msks",
    "seg",
    "segs",
    "segmentation",
    "segmentations",
    "label",
    "labels",
    "annotation",
    "annotations",
    "gt",
    "roi",
];
/// Words of what masks mark; a name that ends so is a mask's.
const LUNG_WORDS: [&str; 2] = ["lung", "lungs"];
const INFECTION_WORDS: [&str; 6] = ["infection", "infections", "lesion", "lesions", "ggo", "consolidation"];
/// Words at the end of a scan's name that its mask's does not have.
const SCAN_WORDS: [&str; 7] = ["im", "img", "image", "images", "ct", "scan", "volume"];

/// What a mask marks by its name.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Role {
    Infection,
    Lungs,
    LeftLung,
    RightLung,
    /// Labels: left lung, right lung, infection.
    Both,
    /// Its name does not say what it marks.
    Untold,
}

/// A mask, what it marks, and the name of its scan as far as it tells.
struct Mask<'a> {
    file: &'a str,
    role: Role,
    name: Vec<String>,
}

pub(super) fn recognise(tree: &Tree) -> Option<String> {
    let volumes = tree.volumes().count();
    let pictures = tree.pictures().count();
    (volumes > 0 && volumes >= pictures).then(|| format!("{volumes} NIfTI volumes"))
}

pub(super) fn list(args: &ImportArgs, tree: &Tree, notes: &mut Notes) -> Result<Vec<Record>, DataError> {
    let mut items: Vec<Item> = vec![];
    let mut masks: Vec<Mask<'_>> = vec![];
    for file in tree.volumes() {
        match mask(args, file) {
            Some(mask) => masks.push(mask),
            None => items.push(Item { path: file.into(), stack: is_stack(file), ..Item::default() }),
        }
    }
    give_classes(args, &mut items, notes)?;
    let mut pairs: BTreeMap<Role, Vec<(&str, String)>> = BTreeMap::new();
    let scans = Scans::of(&items);
    for mask in &masks {
        match scans.scan_of(mask, &items) {
            Ok(scan) => pairs.entry(mask.role).or_default().push((mask.file, items[scan].path.clone())),
            Err(reason) => notes.leave_out(mask.file, reason),
        }
    }
    if let Some(masks) = pairs.remove(&Role::Untold) {
        let lungs = [Role::Lungs, Role::LeftLung, Role::RightLung].iter().any(|role| pairs.contains_key(role));
        let marks = untold(args, tree, &masks, &items, lungs, notes)?;
        pairs.entry(role_of(marks)).or_default().extend(masks);
    }
    for (role, pairs) in &pairs {
        let told: Vec<String> = pairs.iter().map(|(mask, scan)| format!("{mask} of {scan}")).collect();
        let told: Vec<&str> = told.iter().map(String::as_str).collect();
        notes.told.push(format!("{} by their names: {}", words(*role), shown(args, &told)));
    }
    give(&pairs, &mut items, notes);
    let stacks: Vec<String> = items.iter().filter(|item| item.stack).map(|item| item.path.clone()).collect();
    for stack in &stacks {
        notes
            .told
            .push(format!("{stack}: read as pictures of several patients in one file, for it is called after a split"));
    }
    let used: BTreeSet<&str> = tree.volumes().collect();
    tree.tell_unused(&used, notes);
    records(args, tree, items, notes)
}

/// All of them where a dry run shows them, the first few otherwise.
fn shown(args: &ImportArgs, names: &[&str]) -> String {
    if args.dry_run { names.join(", ") } else { listed(names) }
}

/// Gives the scans the classes of their folders.
///
/// # Errors
/// A scan in folders of two classes.
fn give_classes(args: &ImportArgs, items: &mut [Item], notes: &mut Notes) -> Result<(), DataError> {
    let paths: Vec<String> = items.iter().map(|item| item.path.clone()).collect();
    let paths: Vec<&str> = paths.iter().map(String::as_str).collect();
    let places = class_folders(args, &paths, notes)?;
    items.iter_mut().zip(places).for_each(|(item, place)| item.class = file_name(place).to_owned());
    Ok(())
}

fn words(role: Role) -> &'static str {
    match role {
        Role::Infection => "infection masks",
        Role::Lungs => "lung masks",
        Role::LeftLung => "masks of the left lung",
        Role::RightLung => "masks of the right lung",
        Role::Untold => "masks",
        Role::Both => "labels of left lung, right lung and infection (1, 2, 3)",
    }
}

/// A file called `tr_im`, `val_images`: the pictures of a split in one file, which is no patient's volume.
fn is_stack(file: &str) -> bool {
    let parts = parts(&stem(file_name(file)));
    let split = |word: &String| word == "tr" || split_of(word).is_some();
    parts.len() == 2 && split(&parts[0]) && SCAN_WORDS.contains(&parts[1].as_str())
}

/// What a file is a mask of; `None` of a scan.
fn mask<'a>(args: &ImportArgs, file: &'a str) -> Option<Mask<'a>> {
    let is = |words: &[&str], part: &String| words.contains(&part.as_str());
    let ends = |parts: &[String]| {
        parts
            .last()
            .is_some_and(|last| [&MASK_WORDS[..], &LUNG_WORDS, &INFECTION_WORDS].iter().any(|words| is(words, last)))
    };
    let name = parts(&stem(file_name(file)));
    let folders: Vec<Vec<String>> = folder(file).split('/').map(parts).filter(|parts| ends(parts)).collect();
    if !ends(&name) && folders.is_empty() {
        return None;
    }
    let says = |words: &[&str]| {
        let of_mask = |parts: &[String]| ends(parts) && parts.iter().any(|part| is(words, part));
        of_mask(&name) || folders.iter().any(|folder| of_mask(folder))
    };
    let role = match (says(&LUNG_WORDS), says(&INFECTION_WORDS)) {
        (true, true) => Role::Both,
        (true, false) if says(&["left"]) => Role::LeftLung,
        (true, false) if says(&["right"]) => Role::RightLung,
        (true, false) => Role::Lungs,
        (false, true) => Role::Infection,
        (false, false) => args.masks.map_or(Role::Untold, role_of),
    };
    let mut name = name;
    let superfluous = |part: &String| {
        [&MASK_WORDS[..], &LUNG_WORDS, &INFECTION_WORDS].iter().any(|words| is(words, part))
            || ["and", "left", "right"].contains(&part.as_str())
    };
    while name.len() > 1 && name.last().is_some_and(superfluous) {
        name.pop();
    }
    Some(Mask { file, role, name })
}

fn role_of(marks: Marks) -> Role {
    match marks {
        Marks::Infection => Role::Infection,
        Marks::Lungs => Role::Lungs,
    }
}

/// What `masks` mark whose names do not say it, each with its scan.
///
/// # Errors
/// Nothing tells, and the user does not say it.
fn untold(
    args: &ImportArgs,
    tree: &Tree,
    masks: &[(&str, String)],
    items: &[Item],
    others_are_lungs: bool,
    notes: &mut Notes,
) -> Result<Marks, DataError> {
    if others_are_lungs {
        notes.told.push(
            "masks whose names do not say what they mark are read as infection masks, for others are called lungs'"
                .into(),
        );
        return Ok(Marks::Infection);
    }
    let well: BTreeSet<&str> =
        items.iter().filter(|item| healthy(&item.class)).map(|item| item.path.as_str()).collect();
    let of_well = masks.iter().filter(|(_, scan)| well.contains(scan.as_str())).take(LOOKED_AT);
    let mark_anything: Vec<bool> = of_well
        .filter_map(|(mask, _)| Some(volumes::volume(&tree.at(mask)).ok()?.values().iter().any(|&value| value > 0)))
        .collect();
    by_healthy_lungs(args, notes, ["masks whose names do not say what they mark", "scans"], &mark_anything, || {
        let files: Vec<&str> = masks.iter().map(|(mask, _)| *mask).collect();
        let files = listed(&files);
        format!("do these masks mark the infection or the lungs? Say --masks infection or --masks lungs: {files}")
    })
}

/// The scans' names, in parts and without words that their masks' names do not have.
struct Scans {
    names: Vec<Vec<String>>,
    places: HashMap<Vec<String>, Vec<usize>>,
}

impl Scans {
    fn of(items: &[Item]) -> Self {
        let mut scans = Self { names: vec![], places: HashMap::new() };
        for (place, item) in items.iter().enumerate() {
            let mut name = parts(&stem(file_name(&item.path)));
            while name.len() > 1 && name.last().is_some_and(|last| SCAN_WORDS.contains(&last.as_str())) {
                name.pop();
            }
            scans.places.entry(name.clone()).or_default().push(place);
            scans.names.push(name);
        }
        scans
    }

    /// The scan of a mask.
    fn scan_of(&self, mask: &Mask<'_>, items: &[Item]) -> Result<usize, String> {
        let mut found = self.places.get(&mask.name).cloned().unwrap_or_default();
        if found.is_empty() {
            found = (0..items.len()).filter(|&i| in_order(&mask.name, &self.names[i])).collect();
        }
        // Of equal names, the scan that lies nearest.
        if found.len() > 1 {
            let shared = |i: &usize| items[*i].path.bytes().zip(mask.file.bytes()).take_while(|(a, b)| a == b).count();
            let most = found.iter().map(shared).max();
            found.retain(|i| Some(shared(i)) == most);
        }
        match found[..] {
            [one] => Ok(one),
            [] => Err("no scan of such a name; rename one, or take the mask away".into()),
            _ => {
                let several: Vec<&str> = found.iter().map(|&i| items[i].path.as_str()).collect();
                Err(format!("may belong to {}; rename it after the one", listed(&several)))
            }
        }
    }
}

/// Whether `of` has all `parts`, in their order.
fn in_order(parts: &[String], of: &[String]) -> bool {
    let mut left = of.iter();
    parts.iter().all(|part| left.any(|other| other == part))
}

/// Gives the scans their masks.
fn give(pairs: &BTreeMap<Role, Vec<(&str, String)>>, items: &mut [Item], notes: &mut Notes) {
    let places: HashMap<String, usize> = items.iter().enumerate().map(|(i, item)| (item.path.clone(), i)).collect();
    // Labels of both come last in order: where there are masks of their own, those are taken.
    for (role, pairs) in pairs {
        for (mask, scan) in pairs {
            let Some(item) = places.get(scan).and_then(|&place| items.get_mut(place)) else { continue };
            let labels = |labels: &[u16]| Address::labels(mask, labels.to_vec()).to_string();
            let (place, value) = match role {
                // What it marks was found before.
                Role::Untold => continue,
                Role::Infection => (&mut item.infection, (*mask).to_owned()),
                Role::Lungs => (&mut item.lungs, (*mask).to_owned()),
                // The right one follows the left.
                Role::LeftLung if item.lungs.is_empty() => {
                    item.lungs = format!("{mask};");
                    continue;
                }
                Role::RightLung if item.lungs.ends_with(';') => {
                    item.lungs += mask;
                    continue;
                }
                Role::LeftLung | Role::RightLung => {
                    notes.leave_out(
                        mask,
                        format!("{scan} has masks of both lungs, or of the right one alone; keep one way"),
                    );
                    continue;
                }
                Role::Both => {
                    if item.infection.is_empty() {
                        item.infection = labels(&[3]);
                    }
                    if item.lungs.is_empty() {
                        // Where there is infection, there is lung, of which side the map does not say.
                        item.lungs = labels(&[1, 2, 3]);
                    }
                    continue;
                }
            };
            if place.is_empty() {
                *place = value;
            } else {
                notes.leave_out(mask, format!("{scan} has the mask {place} already; keep one"));
            }
        }
    }
    for item in items.iter_mut().filter(|item| item.lungs.ends_with(';')) {
        notes.leave_out(item.lungs.trim_end_matches(';'), "a left lung without a right one");
        item.lungs.clear();
    }
}
