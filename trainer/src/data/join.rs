//! Several manifests as one: collections are imported one by one, each with its own options, and learnt from together.

use std::{
    collections::{BTreeMap, BTreeSet},
    path::{Path, PathBuf},
};

use super::{DataError, Label, Manifest, Record, Split, Task, address::content, split::units};

/// Manifests that were put together.
#[derive(Clone, Debug)]
pub struct Joined {
    /// All their lines.
    pub manifest: Manifest,
    /// What is otherwise than it stood in them.
    pub told: Vec<String>,
}

/// Puts the lines of manifests together; their paths then begin at the folder that has all of their roots. Splits stay, but what must not be
/// divided and is in two splits (copies of a picture, a patient of one source) goes to training. A copy of a picture that is in an earlier
/// manifest is left out where it has the same label, and what is one patient has one group.
///
/// # Errors
/// A manifest that cannot be read, or whose root is not there; one that is given twice; a picture that two of them contradict each other
/// about; roots without a common folder.
pub fn join(paths: &[PathBuf]) -> Result<Joined, DataError> {
    let mut manifests: Vec<(PathBuf, Vec<Record>)> = vec![];
    for (number, path) in paths.iter().enumerate() {
        if paths[..number].iter().any(|other| other.canonicalize().ok() == path.canonicalize().ok()) {
            return Err(failed(path, "given twice; give each manifest once"));
        }
        let Manifest { root, records } = Manifest::load(path)?;
        let root = root.canonicalize().map_err(|reason| DataError::Read { path: root, reason })?;
        manifests.push((root, records));
    }
    let root = common(manifests.iter().map(|(root, _)| root.as_path()));
    let mut told = tell_groups_apart(&mut manifests);
    told.extend(sources_of_several(&manifests));
    let mut records: Vec<Record> = vec![];
    let mut copies = 0;
    for ((of, lines), manifest) in manifests.into_iter().zip(paths) {
        let prefix = prefix(&of, &root).ok_or_else(|| {
            failed(&of, "no folder has it and the others' both, or its path is no plain text; move them below one folder and import them there")
        })?;
        let lines = lines.into_iter().map(|record| moved(record, &prefix));
        copies += add(&mut records, lines, manifest)?;
    }
    if copies > 0 {
        told.push(format!("{copies} lines are of a picture that an earlier manifest has, and are taken from that"));
    }
    let mut divided = 0;
    for members in units(&records) {
        let splits: BTreeSet<Split> = members.iter().map(|&index| records[index].split).collect();
        if splits.len() > 1 {
            divided += 1;
            members.iter().for_each(|&index| records[index].split = Split::Train);
        }
        // Whoever keeps groups apart then keeps copies together.
        let group = members.iter().map(|&index| &records[index].group).min().cloned().unwrap_or_default();
        members.iter().for_each(|&index| records[index].group.clone_from(&group));
    }
    if divided > 0 {
        told.push(format!(
            "{divided} patients (or copies of one picture) were in two splits, and are for training now"
        ));
    }
    Ok(Joined { manifest: Manifest::new(root, records), told })
}

/// Adds the lines of a manifest, `from`, to those of earlier ones; returns how many are left out, as they are of a picture that is there.
///
/// # Errors
/// A picture of another label than there, or a file with other masks.
fn add(records: &mut Vec<Record>, lines: impl Iterator<Item = Record>, from: &Path) -> Result<usize, DataError> {
    let mut files: BTreeMap<(String, Task), usize> = BTreeMap::new();
    let mut contents: BTreeSet<(String, Task)> = BTreeSet::new();
    let mut labelled: BTreeMap<String, usize> = BTreeMap::new();
    for (index, record) in records.iter().enumerate() {
        files.entry((record.path.clone(), record.task)).or_insert(index);
        if !record.sha256.is_empty() {
            let content = content(&record.path, &record.sha256);
            contents.insert((content.clone(), record.task));
            if record.label != Label::Unlabelled {
                labelled.entry(content).or_insert(index);
            }
        }
    }
    let mut copies = 0;
    for record in lines {
        let content = content(&record.path, &record.sha256);
        let same_file = files.get(&(record.path.clone(), record.task)).copied();
        let before = labelled.get(&content).copied().or(same_file).map(|index| &records[index]);
        if let Some(before) = before.filter(|before| ![before.label, Label::Unlabelled].contains(&record.label)) {
            let reason = format!(
                "{} is {} here, and {} is {} in an earlier manifest; leave one of them out",
                record.path, record.class, before.path, before.class
            );
            return Err(failed(from, &reason));
        }
        let masks = |record: &Record| [record.mask.clone(), record.lung_mask.clone()];
        match same_file {
            Some(index) if masks(&records[index]) != masks(&record) => {
                let reason =
                    format!("{} has other masks here than in an earlier manifest; import its folder once", record.path);
                return Err(failed(from, &reason));
            }
            Some(_) => copies += 1,
            // Somebody else's masks of the same picture are something new.
            None if record.task != Task::Segment && contents.contains(&(content, record.task)) => copies += 1,
            None => records.push(record),
        }
    }
    Ok(copies)
}

fn failed(path: &Path, reason: &str) -> DataError {
    DataError::Layout { path: path.to_owned(), reason: reason.to_owned() }
}

/// What paths below `folder` have before them when they begin at `root`, `/` at the end; `None` where there is no such thing.
fn prefix(folder: &Path, root: &Path) -> Option<String> {
    let below = folder.strip_prefix(root).ok().filter(|_| root.has_root())?;
    let parts: Option<Vec<&str>> = below.components().map(|part| part.as_os_str().to_str()).collect();
    // Lung masks are written with it between them.
    let parts = parts?.into_iter().map(|part| format!("{part}/")).collect::<String>();
    (!parts.contains(';')).then_some(parts)
}

fn moved(record: Record, prefix: &str) -> Record {
    let moved = |file: &str| format!("{prefix}{file}");
    Record {
        path: moved(&record.path),
        mask: if record.mask.is_empty() { String::new() } else { moved(&record.mask) },
        lung_mask: record.lung_masks().map(moved).collect::<Vec<_>>().join(";"),
        ..record
    }
}

/// Tells of sources of one name in several manifests.
fn sources_of_several(manifests: &[(PathBuf, Vec<Record>)]) -> Vec<String> {
    let mut sources: BTreeMap<&str, BTreeSet<usize>> = BTreeMap::new();
    for (number, (_, records)) in manifests.iter().enumerate() {
        for record in records {
            sources.entry(&record.source).or_default().insert(number);
        }
    }
    let several = sources.into_iter().filter(|(_, of)| of.len() > 1);
    let tell = |(source, _)| {
        format!(
            "the source {source} is in several manifests: a patient of the same name in it is taken for the same; where they are others, import \
             one of them with --source NAME"
        )
    };
    several.map(tell).collect()
}

/// The folder that has all of them.
fn common<'a>(mut roots: impl Iterator<Item = &'a Path>) -> PathBuf {
    let Some(first) = roots.next() else { return PathBuf::new() };
    roots.fold(first.to_owned(), |common, root| {
        common.components().zip(root.components()).take_while(|(a, b)| a == b).map(|(a, _)| a).collect()
    })
}

/// Gives groups of the same name in two manifests, which are of other sources, names of their own.
fn tell_groups_apart(manifests: &mut [(PathBuf, Vec<Record>)]) -> Vec<String> {
    // Of each group in each manifest, its sources.
    let sources: Vec<BTreeMap<String, BTreeSet<String>>> = manifests
        .iter()
        .map(|(_, records)| {
            let mut of: BTreeMap<String, BTreeSet<String>> = BTreeMap::new();
            for record in records {
                of.entry(record.group.clone()).or_default().insert(record.source.clone());
            }
            of
        })
        .collect();
    let mut renamed = BTreeSet::new();
    for (number, (_, records)) in manifests.iter_mut().enumerate() {
        for record in records {
            let mine = &sources[number][&record.group];
            let others = sources.iter().enumerate().filter(|(other, _)| *other != number);
            let others: Vec<bool> =
                others.filter_map(|(_, of)| of.get(&record.group)).map(|theirs| theirs.is_disjoint(mine)).collect();
            if !others.is_empty() && others.iter().all(|foreign| *foreign) {
                let source = mine.first().map_or("", String::as_str);
                let name = format!("{source}/{}", record.group);
                renamed.insert(std::mem::replace(&mut record.group, name));
            }
        }
    }
    match renamed.len() {
        0 => vec![],
        count => {
            vec![format!("{count} groups have the same name in two collections, and are told apart by their sources")]
        }
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    fn record(path: &str, source: &str, patient: &str, split: Split) -> Record {
        let record = Record::made(path, Task::Classify, Label::Positive, split);
        Record { source: source.into(), patient_id: patient.into(), group: patient.into(), ..record }
    }

    /// Writes a manifest of pictures in `folder/name`.
    fn written(folder: &Path, name: &str, records: Vec<Record>) -> PathBuf {
        let root = folder.join(name);
        std::fs::create_dir_all(&root).unwrap();
        let path = folder.join(format!("{}.csv", name.replace('/', "_")));
        Manifest::new(root, records).save(&path).unwrap();
        path
    }

    #[test]
    fn paths_begin_where_all_roots_are() {
        let folder = tempfile::tempdir().unwrap();
        let masked = Record {
            task: Task::Segment,
            mask: "m/1.png".into(),
            lung_mask: "l/1.png;r/1.png".into(),
            ..record("1.png#slice=2", "one", "p1", Split::Val)
        };
        let first = written(folder.path(), "sets/one", vec![record("1.png", "one", "p1", Split::Val), masked]);
        let second = written(folder.path(), "sets/two/films", vec![record("1.png", "two", "p9", Split::Test)]);
        let Joined { manifest, told } = join(&[first, second]).unwrap();
        assert_eq!(told, [""; 0]);
        assert_eq!(manifest.root, folder.path().join("sets").canonicalize().unwrap());
        let paths: Vec<&str> = manifest.records.iter().map(|record| record.path.as_str()).collect();
        assert_eq!(paths, ["one/1.png", "one/1.png#slice=2", "two/films/1.png"]);
        assert_eq!(manifest.records[1].mask, "one/m/1.png");
        assert_eq!(manifest.records[1].lung_mask, "one/l/1.png;one/r/1.png");
        assert_eq!(manifest.records[2].split, Split::Test, "splits are kept");
        let out = folder.path().join("all.csv");
        manifest.save(&out).unwrap();
        assert_eq!(Manifest::load(&out).unwrap().records, manifest.records);
    }

    #[test]
    fn patients_of_one_name_are_two_in_two_collections_and_one_in_one() {
        let folder = tempfile::tempdir().unwrap();
        let first = written(folder.path(), "one", vec![record("a.png", "one", "p1", Split::Train)]);
        let second = written(folder.path(), "two", vec![record("b.png", "two", "p1", Split::Test)]);
        let third = written(folder.path(), "three", vec![record("c.png", "two", "p1", Split::Val)]);
        let Joined { manifest, told } = join(&[first.clone(), second.clone()]).unwrap();
        let groups: Vec<&str> = manifest.records.iter().map(|record| record.group.as_str()).collect();
        assert_eq!(groups, ["one/p1", "two/p1"]);
        assert_eq!(manifest.records[1].split, Split::Test);
        assert!(told[0].contains("told apart by their sources"), "{told:?}");
        let Joined { manifest, told } = join(&[second, third]).unwrap();
        assert!(manifest.records.iter().all(|record| record.group == "p1" && record.split == Split::Train));
        assert!(told[0].contains("the source two is in several") && told[1].contains("for training now"), "{told:?}");
        assert!(join(&[first.clone(), first]).unwrap_err().to_string().contains("given twice"));
    }

    #[test]
    fn the_same_picture_in_two_collections_is_on_one_side() {
        let folder = tempfile::tempdir().unwrap();
        let same = |record: Record| Record { sha256: "ab".repeat(32), ..record };
        let first = written(folder.path(), "one", vec![same(record("a.png", "one", "p1", Split::Val))]);
        let second = written(folder.path(), "two", vec![same(record("b.png", "two", "p2", Split::Test))]);
        let Joined { manifest, told } = join(&[first.clone(), second.clone()]).unwrap();
        assert_eq!((manifest.records.len(), manifest.records[0].path.as_str()), (1, "one/a.png"), "it counts once");
        assert!(told[0].contains("1 lines are of a picture that an earlier manifest has"), "{told:?}");
        // Masks of the second are kept, in the first's split, group and word for the class.
        let masked = Record {
            task: Task::Segment,
            mask: "m.png".into(),
            class: "covid-19".into(),
            ..same(record("b.png", "two", "p2", Split::Test))
        };
        let masks = written(folder.path(), "masks", vec![masked]);
        let named = written(
            folder.path(),
            "named",
            vec![Record { class: "covid".into(), ..same(record("a.png", "one", "p1", Split::Val)) }],
        );
        let Joined { manifest, told } = join(&[named, masks]).unwrap();
        assert_eq!(manifest.records.len(), 2);
        assert!(manifest.records.iter().all(|record| record.split == Split::Train && record.group == "p1"));
        assert!(told[0].contains("1 patients (or copies of one picture) were in two splits"), "{told:?}");
        // Two that contradict each other.
        let negative = Record {
            label: Label::Negative,
            class: "normal".into(),
            ..same(record("c.png", "three", "p3", Split::Val))
        };
        let negative = written(folder.path(), "three", vec![negative]);
        let error = join(&[second, negative]).unwrap_err().to_string();
        assert!(error.contains("three/c.png is normal here") && error.contains("two/b.png"), "{error}");
        // The same files, imported twice.
        let again = folder.path().join("again.csv");
        std::fs::copy(&first, &again).unwrap();
        let Joined { manifest, told } = join(&[first, again]).unwrap();
        assert_eq!((manifest.records.len(), told.len()), (1, 2), "{told:?}");
    }
}
