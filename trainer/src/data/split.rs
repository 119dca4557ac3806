//! Dealing patients out to training, validation and test.
//!
//! What is dealt is a *unit*: all records that share a group, a patient of one source, or the very same picture.
//! Within each stratum (modality, task, source, class) the units are put in an order that depends on the seed and on
//! their names alone, and cut at the fractions; so each source and class is in each split, and a picture that is added
//! later moves hardly any other.

use std::collections::{BTreeMap, HashMap};
use std::fmt;
use std::str::FromStr;

use rand::{SeedableRng as _, rngs::StdRng, seq::SliceRandom as _};
use sha2::{Digest, Sha256};

use super::{DataError, Record, Split, UNKNOWN_PATIENT, address::content};

/// The percentages of the patients for train, val and test.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Fractions([f64; 3]);

impl Default for Fractions {
    /// 70 % train, 10 % val, 20 % test.
    fn default() -> Self {
        Self([70.0, 10.0, 20.0])
    }
}

impl FromStr for Fractions {
    type Err = DataError;

    fn from_str(text: &str) -> Result<Self, DataError> {
        let parts: Option<Vec<f64>> = text.split(',').map(|part| part.trim().parse().ok()).collect();
        match parts.as_deref() {
            Some(&[train, val, test])
                if train.min(val).min(test) >= 0.0 && (train + val + test - 100.0).abs() < 1e-6 =>
            {
                Ok(Self([train, val, test]))
            }
            _ => Err(DataError::Fractions(text.to_owned())),
        }
    }
}

impl fmt::Display for Fractions {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{},{},{}", self.0[0], self.0[1], self.0[2])
    }
}

impl Fractions {
    /// The same proportion of training and validation, without a test.
    pub(super) fn without_test(self) -> Self {
        let [train, val, _] = self.0;
        let val = if train + val > 0.0 { 100.0 * val / (train + val) } else { 0.0 };
        Self([100.0 - val, val, 0.0])
    }

    /// How many of `units` go to (val, test). From three units on, each split that has a fraction gets at least one.
    fn counts(self, units: usize) -> (usize, usize) {
        let count = |percent: f64| {
            let rounded = (units as f64 * percent / 100.0).round() as usize;
            if units >= 3 && percent > 0.0 { rounded.max(1) } else { rounded }
        };
        let test = count(self.0[2]).min(units);
        (count(self.0[1]).min(units - test), test)
    }
}

/// The units of one stratum, each under its place in the order and its name.
type Stratum = BTreeMap<(Vec<u8>, String), Vec<usize>>;

/// One of the rounds of a cross-validation, `2/5`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub struct Fold {
    /// Which, counted from 1.
    pub number: usize,
    /// Of how many, at least 3: one for test, one for validation, the others for training.
    pub of: usize,
}

impl FromStr for Fold {
    type Err = DataError;

    fn from_str(text: &str) -> Result<Self, DataError> {
        let parts = text.split_once('/').and_then(|(number, of)| Some((number.parse().ok()?, of.parse().ok()?)));
        match parts {
            Some((number, of)) if (3..=1000).contains(&of) && (1..=of).contains(&number) => Ok(Self { number, of }),
            _ => Err(DataError::Fold(text.to_owned())),
        }
    }
}

impl fmt::Display for Fold {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.number, self.of)
    }
}

/// Gives every record a split; units with an unknown patient go to training.
pub fn assign_splits(records: &mut [Record], seed: u64, fractions: Fractions) {
    deal(records, seed, |position, units| {
        let (val, test) = fractions.counts(units);
        match position {
            p if p < test => Split::Test,
            p if p < test + val => Split::Val,
            _ => Split::Train,
        }
    });
}

/// Gives every record its split in one round of a cross-validation: over all rounds each patient is tested once and validated
/// once. Units with an unknown patient go to training in every round.
pub fn assign_fold(records: &mut [Record], seed: u64, fold: Fold) {
    deal(records, seed, |position, _| match (position + fold.of - (fold.number - 1)) % fold.of {
        0 => Split::Test,
        1 => Split::Val,
        _ => Split::Train,
    });
}

/// Deals groups of patients out to `count` folds of a cross-validation; the rows of a group are in one.
pub fn group_folds(groups: &[&str], count: usize, seed: u64) -> Vec<usize> {
    let mut different: Vec<&str> = groups.to_vec();
    different.sort_unstable();
    different.dedup();
    different.shuffle(&mut StdRng::seed_from_u64(seed));
    let of: BTreeMap<&str, usize> = different.into_iter().enumerate().map(|(i, group)| (group, i % count)).collect();
    groups.iter().map(|group| of[group]).collect()
}

/// Puts the units of each stratum in the seed's order; `split_of` tells the split of a position among so many.
fn deal(records: &mut [Record], seed: u64, split_of: impl Fn(usize, usize) -> Split) {
    let units = units(records);
    let mut strata: BTreeMap<String, Stratum> = BTreeMap::new();
    for members in units {
        if members.iter().any(|&i| records[i].patient_id == UNKNOWN_PATIENT) {
            members.iter().for_each(|&i| records[i].split = Split::Train);
            continue;
        }
        // A unit's name is its first group, its stratum that of its most common kind: neither depends on the order
        // in which the records came.
        let name = members.iter().map(|&i| records[i].group.clone()).min().unwrap_or_default();
        let mut kinds: BTreeMap<String, usize> = BTreeMap::new();
        for &i in &members {
            let r = &records[i];
            *kinds.entry([r.modality.as_str(), r.task.as_str(), &r.source, &r.class].join("\u{1f}")).or_default() += 1;
        }
        let stratum = kinds
            .into_iter()
            .max_by(|a, b| a.1.cmp(&b.1).then(b.0.cmp(&a.0)))
            .map(|(kind, _)| kind)
            .unwrap_or_default();
        let order = Sha256::new().chain_update(seed.to_le_bytes()).chain_update(name.as_bytes()).finalize().to_vec();
        strata.entry(stratum).or_default().entry((order, name)).or_default().extend(members);
    }
    for units in strata.into_values() {
        let count = units.len();
        for (position, members) in units.into_values().enumerate() {
            let split = split_of(position, count);
            members.iter().for_each(|&i| records[i].split = split);
        }
    }
}

/// The records that must stay together, as lists of their numbers.
pub(super) fn units(records: &[Record]) -> Vec<Vec<usize>> {
    let mut parent: Vec<usize> = (0..records.len()).collect();
    fn find(parent: &mut [usize], mut i: usize) -> usize {
        while parent[i] != i {
            parent[i] = parent[parent[i]];
            i = parent[i];
        }
        i
    }
    let mut first: HashMap<(char, &str, String), usize> = HashMap::new();
    for (i, record) in records.iter().enumerate() {
        let mut ties = vec![('g', "", record.group.clone())];
        if !record.sha256.is_empty() {
            ties.push(('s', "", content(&record.path, &record.sha256)));
        }
        if record.patient_id != UNKNOWN_PATIENT {
            ties.push(('p', record.source.as_str(), record.patient_id.clone()));
        }
        for tie in ties {
            let other = *first.entry(tie).or_insert(i);
            let (a, b) = (find(&mut parent, i), find(&mut parent, other));
            parent[a.max(b)] = a.min(b);
        }
    }
    let mut units: BTreeMap<usize, Vec<usize>> = BTreeMap::new();
    for i in 0..records.len() {
        units.entry(find(&mut parent, i)).or_default().push(i);
    }
    units.into_values().collect()
}

#[cfg(test)]
#[allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]
mod tests {
    use super::*;
    use crate::data::{Label, Task};
    use proptest::prelude::*;
    use thorax_shared::modality::Modality;

    fn record(number: usize, group: usize, patient: usize, source: usize, class: &str, picture: usize) -> Record {
        Record {
            path: format!("{number}.png"),
            modality: Modality::Ct,
            task: Task::Classify,
            label: if class == "covid" { Label::Positive } else { Label::Negative },
            class: class.into(),
            patient_id: if patient == 0 { UNKNOWN_PATIENT.into() } else { format!("p{patient}") },
            group: format!("g{group}"),
            source: format!("s{source}"),
            licence: String::new(),
            split: Split::Train,
            mask: String::new(),
            lung_mask: String::new(),
            sha256: format!("{picture:064x}"),
            equalised: false,
            masks_sha256: String::new(),
        }
    }

    prop_compose! {
        fn any_records()(
            rows in prop::collection::vec((0..30_usize, 0..40_usize, 0..3_usize, any::<bool>(), 0..200_usize), 0..120)
        ) -> Vec<Record> {
            rows.into_iter().enumerate()
                .map(|(i, (group, patient, source, covid, picture))| {
                    record(i, group, patient, source, if covid { "covid" } else { "normal" }, picture)
                })
                .collect()
        }
    }

    fn one_split_each<'a>(records: &'a [Record], key: impl Fn(&'a Record) -> Option<String>) -> bool {
        let mut seen: HashMap<String, Split> = HashMap::new();
        records.iter().all(|r| key(r).is_none_or(|key| *seen.entry(key).or_insert(r.split) == r.split))
    }

    proptest! {
        #[test]
        fn no_group_patient_or_picture_is_divided(mut records in any_records(), seed: u64) {
            assign_splits(&mut records, seed, Fractions::default());
            prop_assert!(one_split_each(&records, |r| Some(r.group.clone())));
            prop_assert!(one_split_each(&records, |r| Some(r.sha256.clone())));
            let whole = one_split_each(&records, |r| {
                (r.patient_id != UNKNOWN_PATIENT).then(|| format!("{} {}", r.source, r.patient_id))
            });
            prop_assert!(whole);
            prop_assert!(records.iter().all(|r| r.patient_id != UNKNOWN_PATIENT || r.split == Split::Train));
        }

        #[test]
        fn the_seed_alone_decides_whatever_the_order(mut records in any_records(), seed: u64) {
            let mut reversed: Vec<Record> = records.iter().rev().cloned().collect();
            assign_splits(&mut records, seed, Fractions::default());
            assign_splits(&mut reversed, seed, Fractions::default());
            reversed.reverse();
            prop_assert_eq!(records, reversed);
        }
    }

    #[test]
    fn fractions_hold_in_each_source_and_class() {
        let mut records: Vec<Record> = (0..400)
            .map(|i| record(i, 1000 + i, 1000 + i, i % 2, if i % 4 < 2 { "covid" } else { "normal" }, i))
            .collect();
        assign_splits(&mut records, 1, Fractions::default());
        for (source, class) in [("s0", "covid"), ("s0", "normal"), ("s1", "covid"), ("s1", "normal")] {
            let count =
                |split| records.iter().filter(|r| r.source == source && r.class == class && r.split == split).count();
            assert_eq!(Split::ALL.map(count), [70, 10, 20], "{source} {class}");
        }
        let before = records.clone();
        assign_splits(&mut records, 2, Fractions::default());
        assert_ne!(before, records, "another seed deals otherwise");
    }

    #[test]
    fn over_all_folds_each_patient_is_tested_and_validated_once() {
        let records: Vec<Record> =
            (0..60).map(|i| record(i, i / 2, if i < 4 { 0 } else { 1 + i / 2 }, 0, "covid", i)).collect();
        let mut counts = vec![[0; 3]; records.len()];
        for number in 1..=5 {
            let mut fold = records.clone();
            assign_fold(&mut fold, 3, Fold { number, of: 5 });
            assert!(one_split_each(&fold, |r| Some(r.group.clone())));
            let place = |split| Split::ALL.iter().position(|s| *s == split).unwrap();
            counts.iter_mut().zip(&fold).for_each(|(count, record)| count[place(record.split)] += 1);
        }
        for (record, count) in records.iter().zip(counts) {
            assert_eq!(count, if record.patient_id == UNKNOWN_PATIENT { [5, 0, 0] } else { [3, 1, 1] }, "{record:?}");
        }
        assert_eq!("2/5".parse::<Fold>().unwrap(), Fold { number: 2, of: 5 });
        assert_eq!(Fold { number: 2, of: 5 }.to_string(), "2/5");
        for bad in ["0/5", "6/5", "1/2", "2", "a/b", "", "2/18446744073709551615"] {
            assert!(bad.parse::<Fold>().unwrap_err().to_string().contains("2/5"), "{bad}");
        }
    }

    #[test]
    fn three_patients_are_enough_for_three_splits() {
        let mut records: Vec<Record> = (0..3).map(|i| record(i, i, i + 1, 0, "covid", i)).collect();
        assign_splits(&mut records, 0, Fractions::default());
        let mut splits: Vec<Split> = records.iter().map(|r| r.split).collect();
        splits.sort();
        assert_eq!(splits, Split::ALL);
    }

    #[test]
    fn fractions_are_read_and_refused() {
        assert_eq!("70,10,20".parse::<Fractions>().unwrap(), Fractions::default());
        assert_eq!(Fractions::default().to_string(), "70,10,20");
        for bad in ["70,10", "70,10,30", "a,b,c", "110,-10,0", "NaN,50,50", ""] {
            assert!(bad.parse::<Fractions>().is_err(), "{bad}");
        }
    }
}
