//! `dataset.json` with the names of labels, as nnU-Net has it (`imagesTr/CASE_0000.nii.gz`, `labelsTr/CASE.nii.gz`), and before it the
//! Medical Segmentation Decathlon, whose `training` lists the pairs.
//!
//! A label whose name speaks of lungs is one, left or right where it says so; one that speaks of an infection or lesion is the
//! infection's. Names that speak of neither are told and not read.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::Value;

use super::{
    ImportArgs,
    items::{Item, records},
    listed,
    notes::Notes,
    problem,
    tree::{Tree, file_name, folder, join, parts},
};
use crate::data::{DataError, Record, Split, address::Address};

const INFECTIONS: [&str; 14] = [
    "infection",
    "infections",
    "lesion",
    "lesions",
    "covid",
    "covid19",
    "ggo",
    "glass",
    "consolidation",
    "opacity",
    "opacities",
    "pneumonia",
    "disease",
    "effusion",
];
const LUNGS: [&str; 2] = ["lung", "lungs"];

/// Which values mark what.
#[derive(Default)]
struct Labels {
    infection: Vec<u16>,
    left: Vec<u16>,
    right: Vec<u16>,
    both: Vec<u16>,
    /// Names that speak of neither.
    others: Vec<String>,
}

/// A picture, its label map if it has one, and what it is called.
struct Case {
    picture: String,
    labels: Option<String>,
    name: String,
    split: Option<Split>,
}

/// The tables that name labels, each as its file and its JSON.
fn datasets(tree: &Tree) -> Vec<(&str, Value)> {
    let read = |file: &'_ str| serde_json::from_slice::<Value>(&std::fs::read(tree.at(file)).ok()?).ok();
    let with_labels = tree.named("dataset.json").filter_map(|file| Some((file, read(file)?)));
    with_labels.filter(|(_, json)| json.get("labels").is_some_and(Value::is_object)).collect()
}

pub(super) fn recognise(tree: &Tree) -> Option<String> {
    let files: Vec<&str> = datasets(tree).iter().map(|(file, _)| *file).collect();
    (!files.is_empty()).then(|| format!("names of labels in {}", files.join(", ")))
}

pub(super) fn list(args: &ImportArgs, tree: &Tree, notes: &mut Notes) -> Result<Vec<Record>, DataError> {
    let mut items = vec![];
    let mut used: BTreeSet<String> = BTreeSet::new();
    let datasets = datasets(tree);
    if datasets.is_empty() {
        return Err(problem(&args.dir, "no dataset.json that names labels"));
    }
    for (file, json) in &datasets {
        used.insert((*file).to_owned());
        let labels = Labels::of(json);
        labels.tell(args, tree, file, notes)?;
        for case in cases(tree, file, json, notes) {
            used.insert(case.picture.clone());
            let mut item = Item { path: case.picture, split: case.split, ..Item::default() };
            if let Some(map) = &case.labels {
                used.insert(map.clone());
                let address = |values: &[u16]| Address::labels(map, values.to_vec()).to_string();
                if !labels.infection.is_empty() {
                    item.infection = address(&labels.infection);
                }
                item.lungs = labels.lungs(&address);
            }
            if !super::tree::is_volume(&item.path) && args.each_picture_is_a_patient {
                item.patient = Some(case.name);
            }
            items.push(item);
        }
    }
    let used: BTreeSet<&str> = used.iter().map(String::as_str).collect();
    tree.tell_unused(&used, notes);
    records(args, tree, items, notes)
}

impl Labels {
    /// nnU-Net writes a name and its value (or values), the Decathlon a value and its name.
    fn of(json: &Value) -> Self {
        let mut labels = Self::default();
        for (key, value) in json.get("labels").and_then(Value::as_object).into_iter().flatten() {
            let number = |value: &Value| value.as_u64().and_then(|value| u16::try_from(value).ok());
            let (name, values): (&str, Vec<u16>) = match value {
                Value::String(name) => (name, key.parse().into_iter().collect()),
                Value::Array(values) => (key, values.iter().filter_map(number).collect()),
                value => (key, number(value).into_iter().collect()),
            };
            labels.add(name, values.into_iter().filter(|&value| value > 0).collect());
        }
        labels
    }

    /// The lungs' mask, of whose values `address` makes one. Where there is infection there is lung as well, of which side the map
    /// does not say, so that it comes to a mask of both.
    fn lungs(&self, address: &dyn Fn(&[u16]) -> String) -> String {
        let Self { infection, left, right, both, .. } = self;
        let sides = !left.is_empty() && !right.is_empty();
        match (sides, both.is_empty()) {
            (false, true) => String::new(),
            (true, true) if infection.is_empty() => format!("{};{}", address(left), address(right)),
            _ => {
                let mut all = [&left[..], right, both, infection].concat();
                all.sort_unstable();
                all.dedup();
                address(&all)
            }
        }
    }

    fn add(&mut self, name: &str, values: Vec<u16>) {
        let parts = parts(name);
        let says = |words: &[&str]| parts.iter().any(|part| words.contains(&part.as_str()));
        let place = match (says(&INFECTIONS), says(&LUNGS), says(&["left"]), says(&["right"])) {
            _ if values.is_empty() => return,
            (true, ..) => &mut self.infection,
            (false, true, true, false) => &mut self.left,
            (false, true, false, true) => &mut self.right,
            (false, true, ..) => &mut self.both,
            _ => {
                self.others.push(name.to_owned());
                return;
            }
        };
        place.extend(values);
    }

    /// Tells how the names were read.
    ///
    /// # Errors
    /// None of them speaks of lungs or infection.
    fn tell(&self, args: &ImportArgs, tree: &Tree, file: &str, notes: &mut Notes) -> Result<(), DataError> {
        let Self { infection, left, right, both, others } = self;
        if [infection, left, right, both].into_iter().all(Vec::is_empty) {
            let question = format!(
                "no label speaks of lungs or infection ({}); call one `lung` or `infection` in it",
                others.join(", ")
            );
            return notes.untold(args, problem(&tree.at(file), question));
        }
        let of = |what: &str, values: &[u16]| (!values.is_empty()).then(|| format!("{what} {values:?}"));
        let read = [of("infection", infection), of("left lung", left), of("right lung", right), of("lungs", both)];
        let read = read.into_iter().flatten().collect::<Vec<_>>().join(", ");
        notes.told.push(format!("{file}: labels read as {read}"));
        if !others.is_empty() {
            notes.told.push(format!("{file}: labels that are not read: {}", others.join(", ")));
        }
        Ok(())
    }
}

/// The cases of a data set: its listed pairs, or what lies in its folders.
fn cases(tree: &Tree, file: &str, json: &Value, notes: &mut Notes) -> Vec<Case> {
    let root = folder(file);
    let files: BTreeSet<&str> = tree.files.iter().map(String::as_str).collect();
    let ending = json.get("file_ending").and_then(Value::as_str).unwrap_or(".nii.gz");
    let mut cases = vec![];
    let mut missing = vec![];
    let pairs = json.get("training").and_then(Value::as_array);
    for pair in pairs.into_iter().flatten() {
        let path = |what: &str| {
            Some(join(root, pair.get(what)?.as_str()?.trim_start_matches("./"))).filter(|path| !path.contains("/../"))
        };
        let Some(picture) = path("image") else { continue };
        let labels = path("label");
        if !files.contains(picture.as_str()) || labels.as_deref().is_some_and(|labels| !files.contains(labels)) {
            missing.push(picture);
            continue;
        }
        let name = name_of(&picture, "");
        cases.push(Case { picture, labels, name, split: Some(Split::Train) });
    }
    let folders = [("imagesTr", "labelsTr", Split::Train), ("imagesTs", "labelsTs", Split::Test)];
    // Where pairs are listed, the list says what there is to learn from.
    for (pictures, labels, split) in folders.into_iter().filter(|(.., split)| pairs.is_none() || *split == Split::Test)
    {
        let (pictures, labels) = (join(root, pictures), join(root, labels));
        for picture in files.iter().filter(|file| folder(file) == pictures && file.ends_with(ending)) {
            let whole = name_of(picture, ending);
            let Some(name) = whole.strip_suffix("_0000").or(pairs.is_some().then_some(whole.as_str())) else {
                notes.leave_out(
                    picture,
                    "a further channel, or no `_0000` at its name's end; the first channel is read",
                );
                continue;
            };
            let map = join(&labels, &format!("{name}{ending}"));
            let map = Some(map).filter(|map| files.contains(map.as_str()));
            // What was kept back for a test mostly has no labels.
            if map.is_none() && split == Split::Train {
                missing.push((*picture).to_owned());
                continue;
            }
            // Without labels it is no test, and the others are dealt out.
            let split = map.is_some().then_some(split);
            cases.push(Case { picture: (*picture).into(), labels: map, name: name.into(), split });
        }
    }
    for picture in missing {
        notes.leave_out(&picture, "it or its labels are not there; add them, or take its line out");
    }
    by_name(&cases, notes);
    cases
}

/// Tells of names that stand for two pictures.
fn by_name(cases: &[Case], notes: &mut Notes) {
    let mut names: BTreeMap<&str, usize> = BTreeMap::new();
    cases.iter().for_each(|case| *names.entry(&case.name).or_default() += 1);
    let twice: Vec<&str> = names.into_iter().filter(|(_, count)| *count > 1).map(|(name, _)| name).collect();
    if !twice.is_empty() {
        notes.told.push(format!("of one name, and so of one patient: {}", listed(&twice)));
    }
}

fn name_of(path: &str, ending: &str) -> String {
    let name = file_name(path);
    name.strip_suffix(ending).filter(|_| !ending.is_empty()).map_or_else(|| super::files::stem(name), str::to_owned)
}
