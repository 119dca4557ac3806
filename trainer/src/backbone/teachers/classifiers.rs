//! The paper's classifiers, as their run folders have them: what every run said of every picture.
//!
//! A run knows the pictures that it learnt from by heart (the nearest neighbour of each is itself), and what it says of them is a label, no
//! doubt. So of a training picture only those runs teach whose resample has not drawn its patient: their out-of-bag answers (Breiman 1996).
//! Each member of the student so learns of some 37 % of the patients, and of other ones than the next member.

use std::{collections::BTreeMap, path::PathBuf};

use anyhow::{Context, ensure};
use sha2::{Digest, Sha256};
use thorax_files::hexadecimal;
use thorax_shared::modality::Modality;

use crate::{
    backbone::pictures::Targets,
    classifiers::{ClassifierRuns, Kind, PredictedRow, Resample, RunConfiguration, RunFolder, read_run, resamples},
    data::{Record, Split},
};

/// All runs of one classifier in one folder.
struct Classifier {
    kind: Kind,
    /// `[runs][N]`: the probability that each run tells.
    runs: Vec<Vec<f64>>,
    /// Which of [`Classifiers::folders`].
    folder: usize,
}

/// The pictures of a run folder.
struct Pictures {
    rows: BTreeMap<String, (usize, PredictedRow)>,
    /// `[runs][N]`: how often each picture was learnt from.
    counts: Vec<Vec<u32>>,
    /// Of the features.
    sha256: String,
}

/// Classifiers of one or several run folders, whose runs are taken together.
pub struct Classifiers {
    folders: Vec<Pictures>,
    all: Vec<Classifier>,
}

impl Classifiers {
    /// The classifiers `only` (all where it is empty) of run folders of `modality`, and of each the first `most` runs (all without it).
    ///
    /// # Errors
    /// A folder without finished runs, on other pictures, with a split of each run's own, or with a source left out; no such classifier.
    pub fn open(folders: &[PathBuf], modality: Modality, only: &[Kind], most: Option<usize>) -> anyhow::Result<Self> {
        let (mut pictures, mut all) = (vec![], vec![]);
        for (number, path) in folders.iter().enumerate() {
            let name = path.display();
            let same = |other: &PathBuf| other.canonicalize().ok() == path.canonicalize().ok();
            ensure!(!folders[..number].iter().any(same), "--classifiers {name}: given twice; give each folder once");
            let RunFolder { rows, classifiers, runs, resample, left_out, modality: of, .. } = read_run(path)?;
            ensure!(of == modality, "{name}: classifiers of {of} pictures; give --classifiers of {modality}");
            ensure!(
                resample == Resample::Bootstrap && left_out.is_none(),
                "{name}: {}, so it has learnt from test patients or not from all that teach; give --classifiers whose runs are bootstrap \
                 resamples of the manifest's training split",
                if left_out.is_some() { "a source was left out" } else { "every run has dealt the patients out anew" }
            );
            let counts = resamples(path, runs, rows.len())?;
            let sha256 = RunConfiguration::read(path)?.store.contents_sha256;
            let by_path = rows.into_iter().enumerate().map(|(index, row)| (row.path.clone(), (index, row)));
            pictures.push(Pictures { rows: by_path.collect(), counts, sha256 });
            for ClassifierRuns { kind, mut runs, .. } in classifiers {
                if only.is_empty() || only.contains(&kind) {
                    runs.truncate(most.unwrap_or(usize::MAX));
                    all.push(Classifier { kind, runs, folder: number });
                }
            }
        }
        for kind in only {
            ensure!(
                all.iter().any(|classifier| classifier.kind == *kind),
                "--only {kind}: none of the folders has runs of it; thorax-train classify --only {kind} adds them"
            );
        }
        Ok(Self { folders: pictures, all })
    }

    /// Hashes of what each says, of which pictures and of which of them out of bag; and of what the feature store says of itself.
    pub fn sha256(&self) -> Vec<[String; 2]> {
        let of = |Classifier { runs, folder, .. }: &Classifier| {
            let Pictures { rows, counts, sha256 } = &self.folders[*folder];
            let mut hash = Sha256::new();
            for (path, (index, _)) in rows {
                hash.update(format!("{path}\n"));
                for (run, counts) in runs.iter().zip(counts) {
                    hash.update(run[*index].to_le_bytes());
                    hash.update(counts[*index].to_le_bytes());
                }
            }
            [hexadecimal(&hash.finalize()), sha256.clone()]
        };
        self.all.iter().map(of).collect()
    }

    /// What each is called, and how many runs it has.
    pub fn names(&self) -> Vec<String> {
        self.all.iter().map(|Classifier { kind, runs, .. }| format!("{kind} x {}", runs.len())).collect()
    }

    /// Runs of all.
    pub fn members(&self) -> usize {
        self.all.iter().map(|classifier| classifier.runs.len()).sum()
    }

    /// Those of `records`, which are of `split`, that all folders have.
    ///
    /// # Errors
    /// A picture of another split, patient or class there than in the manifest; a class of which no picture is there.
    pub fn known<'a>(&self, records: Vec<&'a Record>, split: Split) -> anyhow::Result<Vec<&'a Record>> {
        let all = records.len();
        let mut known = vec![];
        for record in records {
            let rows = || self.folders.iter().map(|folder| folder.rows.get(&record.path));
            let differs = |row: &PredictedRow| {
                row.split != record.split || row.group != record.group || row.positive != record.is_positive()
            };
            if let Some((_, row)) = rows().flatten().find(|(_, row)| differs(row)) {
                anyhow::bail!(
                    "{}: the classifiers have it in the split {}, {}, as of {}, the manifest in {}, {}, as of {}; extract the features and run \
                     thorax-train classify again",
                    record.path,
                    row.split.as_str(),
                    if row.positive { "positive" } else { "negative" },
                    row.group,
                    record.split.as_str(),
                    if record.is_positive() { "positive" } else { "negative" },
                    record.group
                );
            }
            if rows().all(|row| row.is_some()) {
                known.push(record);
            }
        }
        let (name, positive) = (split.as_str(), known.iter().filter(|record| record.is_positive()).count());
        ensure!(
            positive > 0 && positive < known.len(),
            "--classifiers: of the {all} {name} pictures of the manifest they know {positive} positive and {} negative; its paths have to be \
             those of the features",
            known.len() - positive
        );
        if known.len() < all {
            eprintln!(
                "{name}: {} of {all} pictures are left out: the classifiers were not asked for them",
                all - known.len()
            );
        }
        Ok(known)
    }

    /// What every run says of `records`, which are [known](Self::known): of training pictures those runs that have not learnt from them.
    ///
    /// # Errors
    /// A picture that is not known; runs that have learnt from all of them.
    pub fn targets(&self, records: &[&Record]) -> anyhow::Result<Targets> {
        let members = self.members();
        let mut targets = Targets::new(members, vec![0.5; records.len() * members]);
        let mut first = 0;
        for Classifier { runs, folder, .. } in &self.all {
            let Pictures { rows, counts, .. } = &self.folders[*folder];
            for (record, row) in records.iter().zip(0..) {
                let (at, _) = rows
                    .get(&record.path)
                    .with_context(|| format!("{}: the classifiers do not know it", record.path))?;
                for (run, said) in runs.iter().enumerate() {
                    let entry = row * members + first + run;
                    let learnt = record.split == Split::Train && counts[run][*at] > 0;
                    targets.probabilities[entry] = said[*at] as f32;
                    targets.weights[entry] = if learnt { 0.0 } else { 1.0 };
                }
            }
            first += runs.len();
        }
        // What a step weighs in all stays what it is where every answer counts.
        let mean = targets.weights.iter().sum::<f32>() / targets.weights.len() as f32;
        ensure!(
            mean > 0.0,
            "--classifiers: every run has learnt from every picture, so none says anything out of bag; give folders with more runs"
        );
        targets.weights.iter_mut().for_each(|weight| *weight /= mean);
        Ok(targets)
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;
    use crate::data::{Label, Task};

    fn record(path: &str, label: Label, split: Split) -> Record {
        Record::made(path, Task::Classify, label, split)
    }

    /// Two runs of one classifier: the first has learnt from the picture `a`, the second from `b`; neither from `v`.
    fn classifiers(records: &[Record]) -> Classifiers {
        let row = |record: &Record| PredictedRow {
            path: record.path.clone(),
            group: record.group.clone(),
            source: record.source.clone(),
            split: record.split,
            positive: record.is_positive(),
        };
        let rows =
            records.iter().enumerate().map(|(index, record)| (record.path.clone(), (index, row(record)))).collect();
        let counts = vec![vec![2, 0, 0], vec![0, 1, 0]];
        Classifiers {
            folders: vec![Pictures { rows, counts, sha256: "f".into() }],
            all: vec![Classifier { kind: Kind::Knn, runs: vec![vec![0.9, 0.8, 0.3], vec![0.6, 0.1, 0.2]], folder: 0 }],
        }
    }

    fn records() -> [Record; 3] {
        [
            record("a", Label::Positive, Split::Train),
            record("b", Label::Negative, Split::Train),
            record("v", Label::Negative, Split::Val),
        ]
    }

    #[test]
    fn a_run_teaches_what_it_has_not_learnt_from() {
        let records = records();
        let all = classifiers(&records);
        let known = all.known(records[..2].iter().collect(), Split::Train).unwrap();
        let targets = all.targets(&known).unwrap();
        assert_eq!(targets.probabilities, [0.9, 0.6, 0.8, 0.1]);
        assert_eq!(targets.weights, [0.0, 2.0, 2.0, 0.0], "out of bag alone, and one on average");
        let validation = all.targets(&[&records[2]]).unwrap();
        assert_eq!((validation.probabilities, validation.weights), (vec![0.3, 0.2], vec![1.0, 1.0]));
        assert_eq!((all.members(), all.names()), (2, vec!["knn x 2".to_owned()]));
    }

    #[test]
    fn what_they_do_not_know_is_left_out_and_what_they_know_otherwise_is_refused() {
        let records = records();
        let all = classifiers(&records);
        let stranger = record("s", Label::Positive, Split::Train);
        let known = |records: Vec<_>| all.known(records, Split::Train).map(|known| known.len());
        assert_eq!(known(vec![&stranger, &records[0], &records[1]]).unwrap(), 2);
        let error = known(vec![&stranger, &records[0]]).unwrap_err().to_string();
        assert!(error.contains("of the 2 train pictures") && error.contains("1 positive and 0 negative"), "{error}");
        let moved = Record { split: Split::Test, ..records[0].clone() };
        let error = known(vec![&moved]).unwrap_err().to_string();
        assert!(error.contains("in the split train, positive") && error.contains("the manifest in test"), "{error}");
        let other = Record { label: Label::Negative, ..records[0].clone() };
        assert!(known(vec![&other]).is_err());
        assert!(all.targets(&[&stranger]).is_err());
    }

    /// A second folder has the pictures in another order, and other runs.
    #[test]
    fn each_folder_has_its_own_order_and_its_own_draws() {
        let records = records();
        let mut all = classifiers(&records);
        let mut other = classifiers(&[records[2].clone(), records[1].clone(), records[0].clone()]);
        other.folders[0].counts = vec![vec![0, 3, 0]];
        all.folders.append(&mut other.folders);
        all.all.push(Classifier { kind: Kind::Mlp, runs: vec![vec![0.15, 0.25, 0.35]], folder: 1 });
        let targets = all.targets(&[&records[0], &records[1]]).unwrap();
        assert_eq!(targets.probabilities, [0.9, 0.6, 0.35, 0.8, 0.1, 0.25]);
        assert_eq!(targets.weights, [0.0, 2.0, 2.0, 2.0, 0.0, 0.0]);
        let hashes = all.sha256();
        all.folders[1].counts[0][0] = 1;
        assert_eq!(all.sha256()[0], hashes[0]);
        assert_ne!(all.sha256()[1], hashes[1], "who learnt from what is part of it");
    }
}
