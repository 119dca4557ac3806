//! What a run learnt from, as one hash: a run goes on, and a bundle is built, with the very same data only.

use sha2::{Digest, Sha256};
use thorax_files::{file_sha256, hexadecimal};
use thorax_shared::modality::Modality;

use super::{Manifest, Record, Split, Task, address::Address, volumes};

/// Hash of everything a run takes from a manifest: path, patient, split and content of its pictures, whether they are equalised
/// already, their labels where labels are learnt, and the content of their masks where masks are.
///
/// # Errors
/// A mask that cannot be read.
pub fn fingerprint(manifest: &Manifest, modality: Modality, task: Task) -> anyhow::Result<String> {
    fingerprint_of(manifest, manifest.select(modality, task, None), task)
}

/// The same of the pictures of class `normal`, which `train segment --healthy` draws from.
///
/// # Errors
/// None today.
pub fn healthy_fingerprint(manifest: &Manifest, modality: Modality) -> anyhow::Result<String> {
    let healthy = Split::ALL.into_iter().flat_map(|split| manifest.healthy(modality, split));
    fingerprint_of(manifest, healthy, Task::Classify)
}

/// The same of the pictures without a label that `distill --unlabelled` learns from.
///
/// # Errors
/// None today.
pub fn unlabelled_fingerprint(manifest: &Manifest, modality: Modality) -> anyhow::Result<String> {
    fingerprint_of(manifest, manifest.unlabelled(modality, Split::Train), Task::Classify)
}

/// The same of the pictures that `train segment --taught` draws from.
///
/// # Errors
/// None today.
pub fn taught_fingerprint(manifest: &Manifest, modality: Modality) -> anyhow::Result<String> {
    fingerprint_of(manifest, manifest.taught(modality), Task::Classify)
}

fn fingerprint_of<'a>(
    manifest: &Manifest,
    records: impl Iterator<Item = &'a Record>,
    task: Task,
) -> anyhow::Result<String> {
    let line = |r: &Record| -> anyhow::Result<String> {
        let label = if task == Task::Classify { format!("{:?}", r.label) } else { String::new() };
        let mut line = format!("{}\t{}\t{label}\t{}\t{}", r.path, r.group, r.split.as_str(), r.sha256);
        if r.equalised {
            line += "\tequalised";
        }
        for mask in r.masks().filter(|_| task == Task::Segment) {
            line += &format!("\t{mask}\t{}", mask_sha256(manifest, r, mask)?);
        }
        Ok(line + "\n")
    };
    let mut lines = records.map(line).collect::<anyhow::Result<Vec<String>>>()?;
    lines.sort();
    Ok(hexadecimal(&Sha256::digest(lines.concat())))
}

/// A volume's mask is the mask of each of its slices.
fn mask_sha256(manifest: &Manifest, record: &Record, mask: &str) -> anyhow::Result<String> {
    let path = manifest.locate(mask);
    match Address::of(&record.path).slice {
        None => Ok(hexadecimal(&file_sha256(&path)?)),
        Some(_) => volumes::sha256(&path),
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;
    use crate::data::Label;

    /// A run goes on, and a bundle is built, with the data it began with only: masks belong to it.
    #[test]
    fn the_fingerprint_knows_the_masks() {
        let folder = tempfile::tempdir().unwrap();
        let write = |name: &str, text: &str| std::fs::write(folder.path().join(name), text).unwrap();
        write("mask.png", "one");
        write("lung.png", "two");
        let record = |lung_mask: &str| Record {
            path: "a.png".into(),
            modality: Modality::Ct,
            task: Task::Segment,
            label: Label::Unlabelled,
            class: "seg".into(),
            patient_id: "p".into(),
            group: "p".into(),
            source: "made".into(),
            licence: String::new(),
            split: Split::Train,
            mask: "mask.png".into(),
            lung_mask: lung_mask.into(),
            sha256: "00".into(),
            equalised: false,
            masks_sha256: String::new(),
        };
        let of = |lung_mask: &str| {
            let manifest = Manifest::new(folder.path().to_owned(), vec![record(lung_mask)]);
            fingerprint(&manifest, Modality::Ct, Task::Segment)
        };
        let before = of("lung.png").unwrap();
        assert_eq!(of("lung.png").unwrap(), before);
        let equalised = Record { equalised: true, ..record("lung.png") };
        let equalised = Manifest::new(folder.path().to_owned(), vec![equalised]);
        assert_ne!(fingerprint(&equalised, Modality::Ct, Task::Segment).unwrap(), before);
        // Of which pictures are drawn as healthy ones, the class decides, too.
        let of_class = |class: &str| {
            let record = Record { task: Task::Classify, label: Label::Negative, class: class.into(), ..record("") };
            let manifest = Manifest::new(folder.path().to_owned(), vec![record]);
            [healthy_fingerprint(&manifest, Modality::Ct), fingerprint(&manifest, Modality::Ct, Task::Classify)]
                .map(Result::unwrap)
        };
        let [normal, other] = ["normal", "pneumonia"].map(of_class);
        assert!(normal[0] != other[0] && normal[1] == other[1]);
        let pair = of("lung.png;mask.png").unwrap();
        assert_ne!(pair, before);
        assert_ne!(of("mask.png;lung.png").unwrap(), pair, "left and right exchanged");
        write("mask.png", "drawn anew");
        assert_ne!(of("lung.png").unwrap(), before);
        let error = format!("{:#}", of("gone.png").unwrap_err());
        assert!(error.contains("gone.png"), "{error}");
    }
}
