//! What is learnt and from which pictures: the rows of a store that passed the quality check, checked for all that would make
//! a figure a lie.

use std::{
    collections::{BTreeMap, BTreeSet},
    path::{Path, PathBuf},
};

use rayon::prelude::*;
use thorax_nn::seeded;
use thorax_shared::modality::Modality;

use super::{ClassifierError, run::ClassifierRun};
use crate::{
    data::{Fractions, Label, Record, Split, Task, UNKNOWN_PATIENT, assign_splits},
    features::{Contents, Extractor, FeatureRow, FeatureStore, State},
};

/// Draws of a resample before it is given up.
const ATTEMPTS: usize = 100;

/// Pictures to learn from, without their features.
#[derive(Clone, Debug)]
pub struct Problem {
    /// The store with their features.
    pub store: PathBuf,
    /// What it says of itself.
    pub contents: Contents,
    /// `[C, H, W]` of a picture's features.
    pub shape: [usize; 3],
    /// `[N]`: where each picture is in the store.
    pub rows: Vec<usize>,
    /// `[N]`: what is known of each.
    pub pictures: Vec<FeatureRow>,
    /// `[N]`: whether it shows the disease.
    pub labels: Vec<bool>,
    /// `[N]`: the fold of the cross-fitting, the same for all pictures of a group.
    pub folds: Vec<usize>,
    /// The source whose pictures are the test split, and in no other.
    pub left_out: Option<String>,
}

/// How the runs of a classifier differ.
#[derive(Clone, Copy, Debug, PartialEq, Eq, serde::Serialize, serde::Deserialize, clap::ValueEnum)]
#[serde(rename_all = "lowercase")]
pub enum Resample {
    /// Each learns from its own draw of the training patients, with replacement: an ensemble
    Bootstrap,
    /// Each deals the patients out to train, val and test anew: error bars over splits
    Split,
}

/// The runs, and with [`Resample::Split`] what each picture was in each.
#[derive(Clone, Debug)]
pub struct Runs {
    /// One after the other.
    pub runs: Vec<ClassifierRun>,
    /// `[runs][N]`, where they differ from the store's split.
    pub roles: Option<Vec<Vec<Split>>>,
}

impl Problem {
    /// Reads what `path` says of its pictures, and checks it.
    ///
    /// # Errors
    /// A store of another backbone than `wanted`; a patient in two splits; a class missing from a split; no picture of the
    /// source `left_out`; a store that cannot be read.
    pub fn open(
        path: &Path,
        wanted: Option<Extractor>,
        left_out: Option<&str>,
        folds: usize,
        seed: u64,
    ) -> Result<Self, ClassifierError> {
        let store = FeatureStore::open(path)?;
        let contents = store.contents().clone();
        if let Some(wanted) = wanted.filter(|&wanted| wanted != contents.backbone) {
            return Err(ClassifierError::Backbone { store: path.to_owned(), found: contents.backbone, wanted });
        }
        check_leaks(path, &contents.rows)?;
        store.verify()?;
        // Changed copies are for the heads of a bundle; these learn from the pictures themselves, as the paper's do.
        let passed =
            (0..store.rows()).filter(|&row| store.state(row) == State::Extracted && contents.rows[row].copy == 0);
        let apart: BTreeSet<&str> =
            contents.rows.iter().filter(|r| Some(&*r.source) == left_out).map(|r| &*r.group).collect();
        let (rows, pictures): (Vec<usize>, Vec<FeatureRow>) =
            passed.filter_map(|row| Some((row, placed(contents.rows[row].clone(), left_out, &apart)?))).unzip();
        if let Some(wanted) = left_out.filter(|&wanted| contents.rows.iter().all(|row| row.source != wanted)) {
            let sources: BTreeSet<&str> = contents.rows.iter().map(|row| row.source.as_str()).collect();
            let sources = sources.into_iter().map(|source| format!("{source:?}")).collect::<Vec<_>>().join(", ");
            return Err(ClassifierError::Source { store: path.to_owned(), wanted: wanted.to_owned(), sources });
        }
        let labels: Vec<bool> = pictures.iter().map(FeatureRow::positive).collect();
        let folds = deal_folds(&pictures, &labels, folds, seed);
        let problem = Self {
            store: path.to_owned(),
            shape: store.shape(),
            contents,
            rows,
            pictures,
            labels,
            folds,
            left_out: left_out.map(str::to_owned),
        };
        let splits = if left_out.is_some() { &[Split::Train, Split::Val][..] } else { &Split::ALL };
        for &split in splits {
            problem.check_classes(split)?;
        }
        Ok(problem)
    }

    /// Number of pictures, N.
    pub fn len(&self) -> usize {
        self.rows.len()
    }

    /// Whether there is no picture.
    pub fn is_empty(&self) -> bool {
        self.rows.is_empty()
    }

    /// Numbers of a picture, `C * H * W`.
    pub fn columns(&self) -> usize {
        self.shape.iter().product()
    }

    /// Bytes of the pictures' features in the store.
    pub fn bytes(&self) -> usize {
        self.len() * self.columns() * self.contents.dtype.size()
    }

    /// Bytes that fitting may take where nobody says how many: the features and the Gram matrix, and some more.
    pub fn memory(&self) -> usize {
        (self.shared_bytes() * 13 / 10).max(512 << 20)
    }

    /// Bytes of what all classifiers share: the features in the mapped store, and the Gram matrix.
    pub fn shared_bytes(&self) -> usize {
        self.bytes() + 4 * self.len() * self.len()
    }

    /// Kind of picture.
    pub fn modality(&self) -> Modality {
        self.contents.modality
    }

    /// `[N]`: the training pictures.
    pub fn training(&self) -> Vec<bool> {
        self.pictures.iter().map(|row| row.split == Split::Train).collect()
    }

    fn check_classes(&self, split: Split) -> Result<(), ClassifierError> {
        for (positive, class) in [(true, "positive"), (false, "negative")] {
            if !self.pictures.iter().any(|row| row.split == split && row.positive() == positive) {
                let (store, modality) = (self.store.clone(), self.modality());
                return Err(ClassifierError::MissingClass { store, split, class, modality });
            }
        }
        Ok(())
    }

    /// `count` runs.
    ///
    /// With [`Resample::Bootstrap`] each draws as many groups (patients) as the training split has, with replacement; a picture
    /// counts as often as its group was drawn. Patients, not pictures, since pictures of one patient resemble each other. With
    /// [`Resample::Split`] all groups are dealt out anew, 70 % / 10 % / 20 %, as `thorax-train data split` does.
    ///
    /// # Errors
    /// [`ClassifierError::Resample`] when draw after draw lacks a class.
    pub fn runs(&self, resample: Resample, count: usize, seed: u64) -> Result<Runs, ClassifierError> {
        let drawn: Vec<(ClassifierRun, Option<Vec<Split>>)> = (0..count)
            .into_par_iter()
            .map(|number| {
                let own = seeded::derive(seed, &[1, number as u64]);
                let (counts, roles) = match resample {
                    Resample::Bootstrap => (self.bootstrap(number, own)?, None),
                    Resample::Split => {
                        let roles = self.deal(number, own)?;
                        (roles.iter().map(|&role| u32::from(role == Split::Train)).collect(), Some(roles))
                    }
                };
                Ok((ClassifierRun { number, seed: own, counts }, roles))
            })
            .collect::<Result<_, ClassifierError>>()?;
        let (runs, roles): (Vec<ClassifierRun>, Vec<Option<Vec<Split>>>) = drawn.into_iter().unzip();
        Ok(Runs { runs, roles: roles.into_iter().collect() })
    }

    fn bootstrap(&self, number: usize, seed: u64) -> Result<Vec<u32>, ClassifierError> {
        use rand::Rng as _;
        let mut groups: BTreeMap<&str, Vec<usize>> = BTreeMap::new();
        for (index, row) in self.pictures.iter().enumerate().filter(|(_, row)| row.split == Split::Train) {
            groups.entry(&row.group).or_default().push(index);
        }
        let groups: Vec<Vec<usize>> = groups.into_values().collect();
        for attempt in 0..ATTEMPTS {
            let mut random = seeded::generator(seed, attempt as u64);
            let mut counts = vec![0; self.len()];
            for _ in 0..groups.len() {
                groups[random.random_range(0..groups.len())].iter().for_each(|&index| counts[index] += 1);
            }
            if self.has_both(|index| counts[index] > 0) {
                return Ok(counts);
            }
        }
        Err(ClassifierError::Resample { what: format!("run {number}"), attempts: ATTEMPTS })
    }

    fn deal(&self, number: usize, seed: u64) -> Result<Vec<Split>, ClassifierError> {
        for attempt in 0..ATTEMPTS {
            let mut records: Vec<Record> = self.pictures.iter().map(|row| record(row, self.modality())).collect();
            assign_splits(&mut records, seeded::derive(seed, &[attempt as u64]), Fractions::default());
            let roles: Vec<Split> = records.into_iter().map(|record| record.split).collect();
            if Split::ALL.iter().all(|&split| self.has_both(|index| roles[index] == split)) {
                return Ok(roles);
            }
        }
        Err(ClassifierError::Resample { what: format!("the split of run {number}"), attempts: ATTEMPTS })
    }

    fn has_both(&self, chosen: impl Fn(usize) -> bool) -> bool {
        [true, false].iter().all(|&class| (0..self.len()).any(|index| self.labels[index] == class && chosen(index)))
    }
}

/// A picture with the split that it has when a source is left out; `None` if it is then not needed: the test pictures of the
/// other sources, and whatever else they have of the groups of patients that are `apart`.
fn placed(mut row: FeatureRow, left_out: Option<&str>, apart: &BTreeSet<&str>) -> Option<FeatureRow> {
    let Some(source) = left_out else { return Some(row) };
    if row.source == source {
        row.split = Split::Test;
        return Some(row);
    }
    (row.split != Split::Test && !apart.contains(&*row.group)).then_some(row)
}

/// Refuses a patient or group on both sides of a split.
fn check_leaks(store: &Path, rows: &[FeatureRow]) -> Result<(), ClassifierError> {
    let mut seen: BTreeMap<String, &FeatureRow> = BTreeMap::new();
    for row in rows {
        let patient =
            (row.patient_id != UNKNOWN_PATIENT).then(|| format!("patient {} of {}", row.patient_id, row.source));
        let content = (!row.sha256.is_empty()).then(|| format!("the picture {}", row.sha256));
        for what in [Some(format!("the group {}", row.group)), patient, content].into_iter().flatten() {
            let first = *seen.entry(what.clone()).or_insert(row);
            if first.split != row.split {
                return Err(ClassifierError::Leak {
                    store: store.to_owned(),
                    what,
                    first: first.split,
                    first_picture: first.path.clone(),
                    second: row.split,
                    second_picture: row.path.clone(),
                });
            }
        }
    }
    Ok(())
}

/// Deals groups out to folds, so that each has its share of both classes.
fn deal_folds(pictures: &[FeatureRow], labels: &[bool], folds: usize, seed: u64) -> Vec<usize> {
    use rand::seq::SliceRandom as _;
    let mut groups: BTreeMap<(Split, &str), Vec<usize>> = BTreeMap::new();
    for (index, row) in pictures.iter().enumerate() {
        groups.entry((row.split, &row.group)).or_default().push(index);
    }
    let mut groups: Vec<Vec<usize>> = groups.into_values().collect();
    groups.shuffle(&mut seeded::generator(seed, 2));
    let positives = |group: &Vec<usize>| group.iter().filter(|&&index| labels[index]).count();
    // Stable: within a split and class, the shuffled order stays.
    groups.sort_by_key(|group| (pictures[group[0]].split, 2 * positives(group) > group.len()));
    let mut fold = vec![0; pictures.len()];
    for (position, group) in groups.into_iter().enumerate() {
        group.into_iter().for_each(|index| fold[index] = position % folds);
    }
    fold
}

/// The line of a manifest that a row came from, as far as dealing out needs it.
fn record(row: &FeatureRow, modality: Modality) -> Record {
    Record {
        path: row.path.clone(),
        modality,
        task: Task::Classify,
        label: row.label,
        class: if row.label == Label::Positive { "positive" } else { "negative" }.into(),
        patient_id: row.patient_id.clone(),
        group: row.group.clone(),
        source: row.source.clone(),
        licence: String::new(),
        split: row.split,
        mask: String::new(),
        lung_mask: String::new(),
        sha256: row.sha256.clone(),
        equalised: row.equalised,
        masks_sha256: String::new(),
    }
}
