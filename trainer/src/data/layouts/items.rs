//! From what a layout lists to the lines of a manifest: what all layouts have in common.
//!
//! A volume becomes its axial slices: those in which its lung mask, or where there is none everything, marks anything. A slice of a
//! patient who has the disease is positive for a classifier only where it shows infection, if a mask says where that is.

use std::collections::BTreeMap;

use thorax_decode::Outline;
use thorax_shared::{modality::Modality, preprocess::Pixels};

use super::{
    ImportArgs, listed,
    notes::{Notes, Splits},
    patients::{Patients, patients_of_volumes},
    problem,
    records::{needed_modality, record},
    tree::{Tree, is_volume},
    words::{class_word, label_of, unlabelled},
};
use crate::{
    data::{
        DataError, Label, Record, Split, Task, UNKNOWN_PATIENT,
        address::Address,
        mask::{Foreground, lies_over},
        volumes,
    },
    progress::in_parallel,
};

/// A picture or a volume, as a layout lists it; what is empty or `None` the layout does not tell.
#[derive(Clone, Debug, Default, PartialEq)]
pub(super) struct Item {
    /// Below the folder.
    pub(super) path: String,
    /// The class in the collection's own word.
    pub(super) class: String,
    pub(super) patient: Option<String>,
    pub(super) modality: Option<Modality>,
    pub(super) split: Option<Split>,
    /// The infection's mask, an [`Address`].
    pub(super) infection: String,
    /// The lungs' mask, or the left and the right one's with `;` between.
    pub(super) lungs: String,
    pub(super) source: Option<String>,
    /// A volume that is no patient's: each slice is a picture by itself.
    pub(super) stack: bool,
}

/// An item's slice, or the item itself where it is a picture.
struct Part<'a> {
    item: &'a Item,
    path: String,
    /// Whether a classifier may learn the patient's class from it.
    shows: bool,
}

/// The lines of a manifest that the items come to.
///
/// # Errors
/// [`DataError`] for a class that is neither, pictures of whom nobody knows, and a modality that nobody told.
pub(super) fn records(
    args: &ImportArgs,
    tree: &Tree,
    items: Vec<Item>,
    notes: &mut Notes,
) -> Result<Vec<Record>, DataError> {
    let items: Vec<Item> = items.into_iter().filter(|item| !notes.unwanted(args, &item.class)).collect();
    let labels = labels(args, &items, notes)?;
    let mut patients = Patients::new(args, notes)?;
    let asked = patients.asked();
    let by_name = |item: &&Item| is_volume(&item.path) && !item.stack && item.patient.is_none() && !asked;
    let volumes = items.iter().filter(by_name).map(|item| (item.path.as_str(), item.class.as_str()));
    let of_volumes = patients_of_volumes(args, &volumes.collect::<Vec<_>>(), notes)?;
    let mut records = vec![];
    for ((parts, reason), label) in parts(args, tree, &items, &labels).into_iter().zip(&labels) {
        if let Some((file, reason)) = reason {
            notes.leave_out(&file, reason);
        }
        for Part { item, path, shows } in parts {
            let patient = match (&item.patient, of_volumes.get(item.path.as_str())) {
                (Some(patient), _) if !asked => patient.clone(),
                (None, Some(patient)) if !asked => patient.clone(),
                _ => patients.of_part(&item.path, &path, &tree.at(&item.path)),
            };
            let modality = match item.modality {
                Some(modality) => modality,
                None if is_volume(&path) || is_volume(&item.path) => Modality::Ct,
                None => needed_modality(args, notes)?,
            };
            if notes.other_modality(args, modality) {
                continue;
            }
            let masked = !item.infection.is_empty() || !item.lungs.is_empty();
            let labelled = *label != Label::Unlabelled && shows;
            let tasks = [(Task::Classify, labelled), (Task::Segment, masked), (Task::None, !labelled && !masked)];
            let class = class_word(&item.class);
            for (task, _) in tasks.into_iter().filter(|(_, is)| *is) {
                let bare = record(args, path.clone(), modality, task, *label, &class, patient.clone());
                let source = item.source.clone().unwrap_or(bare.source);
                let group = if patient == UNKNOWN_PATIENT { bare.group } else { format!("{source}/{patient}") };
                records.push(Record {
                    source,
                    group,
                    split: item.split.unwrap_or(Split::Train),
                    mask: item.infection.clone(),
                    lung_mask: item.lungs.clone(),
                    ..bare
                });
            }
        }
    }
    patients.all_known(args, notes)?;
    tell_what_is_none(&records, notes);
    notes.splits = splits(&items, notes);
    Ok(records)
}

/// Whether each item shows the disease.
fn labels(args: &ImportArgs, items: &[Item], notes: &mut Notes) -> Result<Vec<Label>, DataError> {
    let mut unknown: BTreeMap<&str, usize> = BTreeMap::new();
    let mut labels = vec![];
    for item in items {
        let word = class_word(&item.class);
        let label = match label_of(args, &item.class) {
            Some(label) => label,
            None if unlabelled(&item.class) => Label::Unlabelled,
            None => {
                *unknown.entry(&item.class).or_default() += 1;
                Label::Unlabelled
            }
        };
        if !item.class.is_empty() {
            notes.word("class", &item.class, &word);
        }
        labels.push(label);
    }
    let unknown: Vec<&str> = unknown.into_keys().collect();
    if unknown.is_empty() {
        return Ok(labels);
    }
    let words = listed(&unknown);
    let error = problem(
        &args.dir,
        format!(
            "which of these classes are the disease, and which are not? {words}: say --positive, --negative or --leave-out, each \
             with some of them, separated by commas"
        ),
    );
    notes.untold(args, error)?;
    Ok(labels)
}

/// The pictures that each item comes to, or why it comes to none.
#[allow(clippy::type_complexity, reason = "one place")]
fn parts<'a>(
    args: &ImportArgs,
    tree: &Tree,
    items: &'a [Item],
    labels: &[Label],
) -> Vec<(Vec<Part<'a>>, Option<(String, String)>)> {
    let both: Vec<(&Item, &Label)> = items.iter().zip(labels).collect();
    let of = |(item, label): &(&'a Item, &Label)| {
        if !is_volume(&item.path) {
            return (vec![Part { item, path: item.path.clone(), shows: true }], None);
        }
        match slices(args, tree, item, **label) {
            Ok(slices) if slices.is_empty() => {
                (vec![], Some((item.path.clone(), "its lung mask marks nothing in any slice".into())))
            }
            Ok(slices) => {
                let part = |(slice, shows)| {
                    let path = Address::slice(&item.path, slice).to_string();
                    Part { item, path, shows }
                };
                (slices.into_iter().map(part).collect(), None)
            }
            Err(reason) => (vec![], Some((item.path.clone(), reason))),
        }
    };
    if items.iter().any(|item| is_volume(&item.path)) {
        in_parallel("volumes", &both, of)
    } else {
        both.iter().map(of).collect()
    }
}

/// The slices of a volume that are taken, by their places in the file, and whether each shows its patient's class.
fn slices(args: &ImportArgs, tree: &Tree, item: &Item, label: Label) -> Result<Vec<(usize, bool)>, String> {
    let outline = thorax_decode::nifti_outline(&tree.at(&item.path)).map_err(|error| error.to_string())?;
    let mut lungs: Vec<Vec<bool>> = vec![];
    for lung in item.lungs.split(';').filter(|lung| !lung.is_empty()) {
        lungs.push(marked(tree, lung, outline)?);
    }
    let infection = match item.infection.as_str() {
        "" => None,
        infection => Some(marked(tree, infection, outline)?),
    };
    let has_lung = |index: usize| lungs.is_empty() || lungs.iter().any(|slices| slices[index]);
    let with_lung: Vec<usize> = (0..outline.slices).filter(|&index| has_lung(index)).collect();
    // Of a short volume the middle one.
    let every = args.every.clamp(1, with_lung.len().max(1));
    let chosen = with_lung.into_iter().skip(every / 2).step_by(every);
    let place = |index: usize| if outline.feet_first { index } else { outline.slices - 1 - index };
    let shows = |index: usize| match &infection {
        Some(infection) if label == Label::Positive => infection[index],
        _ => true,
    };
    Ok(chosen.map(|index| (place(index), shows(index))).collect())
}

/// In which slices, from the feet on, a mask marks anything.
fn marked(tree: &Tree, mask: &str, of: Outline) -> Result<Vec<bool>, String> {
    let address = Address::of(mask);
    let path = tree.at(address.file);
    let outline = thorax_decode::nifti_outline(&path).map_err(|error| format!("its mask {}: {error}", address.file))?;
    let size = |outline: Outline| [outline.columns, outline.rows, outline.slices];
    if size(outline) != size(of) {
        let [[a, b, c], [x, y, z]] = [outline, of].map(size);
        return Err(format!("its mask {} has {a} x {b} x {c} voxels, it has {x} x {y} x {z}", address.file));
    }
    lies_over(&outline, &of).map_err(|reason| format!("its mask {}: {reason}", address.file))?;
    let read = volumes::volume(&path).map_err(|error| format!("its mask {error:#}"))?;
    let foreground = Foreground::chosen(read.values(), address.labels).map_err(|error| format!("{mask}: {error}"))?;
    let volume = read.volume();
    let marks = |index: usize| match volume.slice_on_grid(index).map(|slice| slice.pixels) {
        Some(Pixels::Eight(plane)) => plane.data().iter().any(|&value| foreground.holds(value.into())),
        Some(Pixels::Sixteen(plane)) => plane.data().iter().any(|&value| foreground.holds(value)),
        _ => false,
    };
    Ok((0..volume.slices()).map(marks).collect())
}

/// Tells of how many lines nothing is learnt.
fn tell_what_is_none(records: &[Record], notes: &mut Notes) {
    let none: Vec<&str> = records.iter().filter(|r| r.task == Task::None).map(|r| r.path.as_str()).collect();
    if !none.is_empty() {
        let listed = listed(&none);
        notes.told.push(format!("nothing is learnt from {} pictures without class and mask: {listed}", none.len()));
    }
}

/// What is to be done with the collection's own splits.
fn splits(items: &[Item], notes: &mut Notes) -> Splits {
    let has = |split| items.iter().any(|item| item.split == Some(split));
    let without: Vec<&str> = items.iter().filter(|item| item.split.is_none()).map(|item| item.path.as_str()).collect();
    if has(Split::Train) && !without.is_empty() {
        notes.told.push(format!("in no split, and so in train: {}", listed(&without)));
    }
    match (has(Split::Train), has(Split::Val), has(Split::Test)) {
        (true, true, true) => Splits::Kept,
        (true, false, true) => {
            notes.told.push("it has train and test, but no val, which is dealt out of train".into());
            Splits::ValFromTrain
        }
        (true, true, false) => {
            notes.told.push("it has train and val, but no test, which is dealt out of train".into());
            Splits::TestFromTrain
        }
        (false, false, false) => Splits::Dealt,
        (train, val, test) => {
            let own = [(train, "train"), (val, "val"), (test, "test")];
            let own: Vec<&str> = own.iter().filter(|(has, _)| *has).map(|(_, word)| *word).collect();
            notes
                .told
                .push(format!("of splits it has {} alone, so all patients are dealt out anew", own.join(" and ")));
            Splits::Dealt
        }
    }
}
