//! Several manifests as one: collections are imported one by one, each with its own options, and learnt from together.

use std::{
    collections::{BTreeMap, BTreeSet},
    path::{Path, PathBuf},
};

use super::{DataError, Manifest, Record, Split, split::units};

/// Manifests that were put together.
#[derive(Clone, Debug)]
pub struct Joined {
    /// All their lines.
    pub manifest: Manifest,
    /// What is otherwise than it stood in them.
    pub told: Vec<String>,
}

/// Puts the lines of manifests together; their paths then begin at the folder that has all of their roots. Splits stay, but what must not be
/// divided and is in two splits (the same picture in two collections, a patient of one source) goes to training.
///
/// # Errors
/// A manifest that cannot be read, or whose root is not there; one that is given twice.
pub fn join(paths: &[PathBuf]) -> Result<Joined, DataError> {
    let absolute =
        |path: &Path| path.canonicalize().map_err(|reason| DataError::Read { path: path.to_owned(), reason });
    let mut manifests: Vec<(PathBuf, Vec<Record>)> = vec![];
    for (number, path) in paths.iter().enumerate() {
        if paths[..number].iter().any(|other| other.canonicalize().ok() == path.canonicalize().ok()) {
            return Err(DataError::Layout {
                path: path.clone(),
                reason: "given twice; give each manifest once".into(),
            });
        }
        let Manifest { root, records } = Manifest::load(path)?;
        manifests.push((absolute(&root)?, records));
    }
    let root = common(manifests.iter().map(|(root, _)| root.as_path()));
    let mut told = tell_groups_apart(&mut manifests);
    let mut sources: BTreeMap<&str, BTreeSet<usize>> = BTreeMap::new();
    for (number, (_, records)) in manifests.iter().enumerate() {
        for record in records {
            sources.entry(&record.source).or_default().insert(number);
        }
    }
    for (source, _) in sources.into_iter().filter(|(_, of)| of.len() > 1) {
        told.push(format!(
            "the source {source} is in several manifests: a patient of the same name in it is taken for the same"
        ));
    }
    let mut records: Vec<Record> = vec![];
    let mut twice = 0;
    for (of, lines) in manifests {
        let below = of.strip_prefix(&root).unwrap_or(&of).to_string_lossy().replace('\\', "/");
        let moved = |file: &str| if below.is_empty() { file.to_owned() } else { format!("{below}/{file}") };
        let known: BTreeSet<(String, &str, String)> =
            records.iter().map(|r: &Record| (r.path.clone(), r.task.as_str(), r.class.clone())).collect();
        let moved = lines.into_iter().map(|record| Record {
            path: moved(&record.path),
            mask: if record.mask.is_empty() { String::new() } else { moved(&record.mask) },
            lung_mask: record.lung_masks().map(moved).collect::<Vec<_>>().join(";"),
            ..record
        });
        let (others, again): (Vec<Record>, Vec<Record>) =
            moved.partition(|r| !known.contains(&(r.path.clone(), r.task.as_str(), r.class.clone())));
        twice += again.len();
        records.extend(others);
    }
    if twice > 0 {
        told.push(format!("{twice} lines stand in an earlier manifest too, and are taken from that"));
    }
    let mut divided = 0;
    for members in units(&records) {
        let splits: BTreeSet<Split> = members.iter().map(|&index| records[index].split).collect();
        if splits.len() > 1 {
            divided += 1;
            members.iter().for_each(|&index| records[index].split = Split::Train);
        }
    }
    if divided > 0 {
        told.push(format!(
            "{divided} patients (or copies of one picture) were in two splits, and are for training now"
        ));
    }
    Ok(Joined { manifest: Manifest::new(root, records), told })
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
            let foreign = |(other, of): (usize, &BTreeMap<String, BTreeSet<String>>)| {
                other != number && of.get(&record.group).is_some_and(|theirs| theirs.is_disjoint(mine))
            };
            if sources.iter().enumerate().any(foreign) {
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
    use crate::data::{Label, Task};

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
        let Joined { manifest, told } = join(&[first.clone(), second]).unwrap();
        assert!(manifest.records.iter().all(|record| record.split == Split::Train));
        assert!(told[0].contains("1 patients (or copies of one picture) were in two splits"), "{told:?}");
        // The same files, imported twice.
        let again = folder.path().join("again.csv");
        std::fs::copy(&first, &again).unwrap();
        let Joined { manifest, told } = join(&[first, again]).unwrap();
        assert_eq!((manifest.records.len(), told.len()), (1, 2), "{told:?}");
    }
}
