//! What one member of a deep ensemble does not learn from.
//!
//! Nets that learn from the same pictures agree on all of these, whatever their seeds, and doubt nothing that a student could learn. A member
//! that leaves out a fold of the patients sees their pictures as it would see a stranger's. (The heads that `train classify` puts behind it
//! learn from all patients.)

use std::collections::BTreeSet;

use thorax_shared::modality::Modality;

use crate::data::{Fold, Manifest, Split, group_folds};

/// Deals patients out alike for every member, whatever its own seed.
const SEED: u64 = 1;

/// The groups of training patients of `modality` that are in `fold`.
pub fn left_out(manifest: &Manifest, modality: Modality, fold: Fold) -> BTreeSet<&str> {
    let training = manifest.records.iter().filter(|r| r.modality == modality && r.split == Split::Train);
    let groups: Vec<&str> = training.map(|record| record.group.as_str()).collect();
    let folds = group_folds(&groups, fold.of, SEED);
    groups.into_iter().zip(folds).filter_map(|(group, of)| (of + 1 == fold.number).then_some(group)).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::data::{Label, Record, Task};

    #[test]
    fn each_patient_is_left_out_once() {
        let record = |index: usize| {
            let split = if index < 40 { Split::Train } else { Split::Val };
            let made = Record::made(&format!("{index}.png"), Task::Classify, Label::Positive, split);
            Record { group: format!("patient {}", index / 2), ..made }
        };
        let manifest = Manifest::new("".into(), (0..50).map(record).collect());
        let modality = manifest.records[0].modality;
        let groups = [1, 2, 3].map(|number| left_out(&manifest, modality, Fold { number, of: 3 }));
        assert!(groups.iter().all(|of| (6..=7).contains(&of.len())));
        assert_eq!(groups.iter().flatten().collect::<BTreeSet<_>>().len(), 20, "of the validation split none");
    }
}
