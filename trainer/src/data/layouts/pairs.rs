//! Pictures in `images/`, masks of the same names in `masks/` or `infection/`.

use std::collections::BTreeMap;

use super::{
    ImportArgs, Marks,
    files::by_stem,
    items::{Item, records},
    notes::Notes,
    patient_tables::PatientTables,
    patients::Patients,
    problem,
    records::{needed_modality, record},
    tree::Tree,
};
use crate::data::{DataError, Label, Record, Task};

pub(super) fn recognise(tree: &Tree) -> Option<String> {
    let has = |name: &str| tree.dir.join(name).is_dir();
    (has("images") && (has("masks") || has("infection"))).then(|| "images/ and masks/".into())
}

pub(super) fn list(args: &ImportArgs, tree: &Tree, notes: &mut Notes) -> Result<Vec<Record>, DataError> {
    let modality = needed_modality(args, notes)?;
    let name = ["masks", "infection"].into_iter().find(|name| args.dir.join(name).is_dir());
    let name = name.ok_or_else(|| problem(&args.dir, "no folder masks/ or infection/"))?;
    let masks = by_stem(&args.dir, name, notes)?;
    let of_lungs = args.masks == Some(Marks::Lungs);
    notes.told.push(match of_lungs {
        true => format!("{name}/ is read as the lungs, as told"),
        false => format!(
            "{name}/ is read as the infection; masks of the lungs belong into lung_masks/ (or say --masks lungs)"
        ),
    });
    let mut optional = |name: &str| match args.dir.join(name).is_dir() {
        true => by_stem(&args.dir, name, notes),
        false => Ok(BTreeMap::new()),
    };
    let (lungs, left, right) = (optional("lung_masks")?, optional("left_lung")?, optional("right_lung")?);
    let images = by_stem(&args.dir, "images", notes)?;
    for (stem, mask) in &masks {
        if !images.contains_key(stem) {
            notes.leave_out(mask, "no picture of the same name; add it or take the mask away");
        }
    }
    let mut pairs = vec![];
    for (stem, path) in images {
        let Some(mask) = masks.get(&stem).cloned() else {
            notes.leave_out(&path, "no mask of the same name; add it or take the picture away");
            continue;
        };
        let lung_mask = match (lungs.get(&stem), left.get(&stem), right.get(&stem)) {
            (_, Some(left), Some(right)) => format!("{left};{right}"),
            (Some(lungs), _, _) => lungs.clone(),
            _ => String::new(),
        };
        let (infection, lungs) = if of_lungs { (String::new(), mask) } else { (mask, lung_mask) };
        pairs.push(Item { path, infection, lungs, modality: Some(modality), ..Item::default() });
    }
    let tables = PatientTables::of(tree);
    if tables.speak_of(pairs.iter().map(|pair| pair.path.as_str())) {
        let pairs: Vec<Item> = pairs.into_iter().map(|pair| tables.told(args, pair)).collect::<Result<_, _>>()?;
        tables.tell(&pairs, notes);
        return records(args, tree, pairs, notes);
    }
    let mut patients = Patients::new(args, notes)?;
    let mut records = vec![];
    for Item { path, infection: mask, lungs: lung_mask, .. } in pairs {
        let patient = patients.of(&path, &args.dir.join(&path));
        let bare = record(args, path, modality, Task::Segment, Label::Unlabelled, "pairs", patient);
        records.push(Record { mask, lung_mask, ..bare });
    }
    patients.all_known(args, notes)?;
    Ok(records)
}
