//! Counting what a manifest holds.

use std::collections::{BTreeMap, HashSet};

use super::{Manifest, Record, Split};

/// A table of pictures (and, in brackets, groups of patients) per modality, task, label (what counts as positive), class, source and split.
pub fn summary(manifest: &Manifest) -> String {
    let mut counts: BTreeMap<[&str; 5], [(usize, HashSet<&str>); 3]> = BTreeMap::new();
    for record in &manifest.records {
        let Record { modality, task, label, class, source, .. } = record;
        let key = [modality.as_str(), task.as_str(), label.as_str(), class, source];
        let (pictures, groups) = &mut counts.entry(key).or_default()[record.split as usize];
        *pictures += 1;
        groups.insert(&record.group);
    }
    let mut lines = vec![["modality", "task", "label", "class", "train", "val", "test", "source"].map(String::from)];
    for ([modality, task, label, class, source], splits) in &counts {
        let [train, val, test] = splits.each_ref().map(|(pictures, groups)| format!("{pictures} ({})", groups.len()));
        let [modality, task, label, class, source] =
            [modality, task, label, class, source].map(|word| word.to_string());
        lines.push([modality, task, label, class, train, val, test, source]);
    }
    let total = |split| manifest.records.iter().filter(|record| record.split == split).count().to_string();
    let [train, val, test] = Split::ALL.map(total);
    lines.push([
        "all".into(),
        String::new(),
        String::new(),
        String::new(),
        train,
        val,
        test,
        "pictures (groups of patients)".into(),
    ]);

    let widths: [usize; 8] =
        std::array::from_fn(|i| lines.iter().map(|line| line[i].chars().count()).max().unwrap_or(0));
    let padded = |line: &[String; 8]| {
        let cells: Vec<String> = line.iter().zip(widths).map(|(cell, width)| format!("{cell:<width$}")).collect();
        format!("{}\n", cells.join("  ").trim_end())
    };
    lines.iter().map(padded).collect()
}
