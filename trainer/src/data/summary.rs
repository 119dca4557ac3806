//! Counting what a manifest holds.

use std::collections::{BTreeMap, HashSet};

use super::{Manifest, Split};

/// A table of pictures (and, in brackets, groups of patients) per modality, task, class, source and split.
pub fn summary(manifest: &Manifest) -> String {
    let mut counts: BTreeMap<[&str; 4], [(usize, HashSet<&str>); 3]> = BTreeMap::new();
    for record in &manifest.records {
        let key = [record.modality.as_str(), record.task.as_str(), record.class.as_str(), record.source.as_str()];
        let (pictures, groups) = &mut counts.entry(key).or_default()[record.split as usize];
        *pictures += 1;
        groups.insert(&record.group);
    }
    let mut lines = vec![["modality", "task", "class", "train", "val", "test", "source"].map(String::from)];
    for ([modality, task, class, source], splits) in &counts {
        let [train, val, test] = splits.each_ref().map(|(pictures, groups)| format!("{pictures} ({})", groups.len()));
        lines.push([(*modality).into(), (*task).into(), (*class).into(), train, val, test, (*source).into()]);
    }
    let total = |split| manifest.records.iter().filter(|record| record.split == split).count().to_string();
    let [train, val, test] = Split::ALL.map(total);
    lines.push(["all".into(), String::new(), String::new(), train, val, test, "pictures (groups of patients)".into()]);

    let widths: [usize; 7] =
        std::array::from_fn(|i| lines.iter().map(|line| line[i].chars().count()).max().unwrap_or(0));
    let padded = |line: &[String; 7]| {
        let cells: Vec<String> = line.iter().zip(widths).map(|(cell, width)| format!("{cell:<width$}")).collect();
        format!("{}\n", cells.join("  ").trim_end())
    };
    lines.iter().map(padded).collect()
}
