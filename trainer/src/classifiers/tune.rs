//! `--tune`: hyper-parameters by cross-validation over the patients of the training split. Validation and test pictures are not
//! looked at.

use std::path::Path;

use serde::{Deserialize, Serialize};
use thorax_files::write_atomically;
use thorax_nn::seeded;
use thorax_shared::metrics;

use super::{ClassifierError, ClassifierRun, Configuration, Fitter, Kind, Parameters};
use crate::data::Split;

/// A candidate and how it did.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(super) struct Candidate {
    /// Whose.
    pub classifier: Kind,
    /// The values tried, as TOML.
    pub values: Vec<(String, toml::Value)>,
    /// Mean AUC over the folds.
    pub auc: f64,
    /// Of each fold.
    pub folds: Vec<f64>,
}

/// All that was tried, and from where it started.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
struct Tuning {
    start: Parameters,
    seed: u64,
    candidates: Vec<Candidate>,
}

/// The best parameters of `kinds`: of each classifier the candidate with the highest mean AUC over the folds, the first of equal
/// ones. What was tried is kept in the file `path`, and not tried again.
///
/// # Errors
/// What a classifier returns; a file that cannot be written.
pub fn tune(
    fitter: &Fitter<'_>,
    configuration: &Configuration,
    kinds: &[Kind],
    seed: u64,
    path: &Path,
) -> Result<Parameters, ClassifierError> {
    let start = configuration.parameters.clone();
    let kept = std::fs::read(path).ok().and_then(|bytes| serde_json::from_slice::<Tuning>(&bytes).ok());
    let mut tuning = kept.filter(|kept| kept.start == start && kept.seed == seed).unwrap_or(Tuning {
        start: start.clone(),
        seed,
        candidates: vec![],
    });
    let folds = fold_runs(fitter, start.folds, seed);
    let mut best = start;
    for &kind in kinds {
        let Some(grid) = configuration.tune.get(&kind) else { continue };
        let combinations = combinations(grid);
        let bar = crate::progress::progress(combinations.len(), &format!("tune {kind}"));
        let mut chosen: Option<(f64, Parameters, String)> = None;
        for values in combinations {
            let changes: Vec<(&str, &toml::Value)> =
                values.iter().map(|(name, value)| (name.as_str(), value)).collect();
            let parameters = configuration
                .with(kind, &changes)
                .map_err(|reason| ClassifierError::Parameters { path: path.to_owned(), reason })?;
            let words = describe(&values);
            let known = tuning.candidates.iter().find(|c| c.classifier == kind && c.values == values).map(|c| c.auc);
            let auc = match known {
                Some(auc) => auc,
                None => {
                    let aucs = judge(fitter, kind, &parameters, &folds)?;
                    let auc = aucs.iter().sum::<f64>() / aucs.len() as f64;
                    tuning.candidates.push(Candidate { classifier: kind, values, auc, folds: aucs });
                    write(path, &tuning)?;
                    auc
                }
            };
            if chosen.as_ref().is_none_or(|(highest, ..)| auc > *highest) {
                chosen = Some((auc, parameters, words));
            }
            bar.inc(1);
        }
        bar.finish_and_clear();
        if let Some((auc, parameters, words)) = chosen {
            eprintln!("{kind}: {words}, cross-validated AUC {auc:.4}");
            best.take(kind, &parameters);
        }
    }
    Ok(best)
}

fn describe(values: &[(String, toml::Value)]) -> String {
    values.iter().map(|(name, value)| format!("{name} = {value}")).collect::<Vec<_>>().join(", ")
}

/// A run for each fold, that learns from the training pictures outside of it.
fn fold_runs(fitter: &Fitter<'_>, folds: usize, seed: u64) -> Vec<ClassifierRun> {
    let problem = fitter.problem;
    let outside = |fold| {
        let pictures = problem.pictures.iter().zip(&problem.folds);
        pictures.map(|(row, &f)| u32::from(row.split == Split::Train && f != fold)).collect()
    };
    (0..folds)
        .map(|fold| ClassifierRun {
            number: fold,
            seed: seeded::derive(seed, &[5, fold as u64]),
            counts: outside(fold),
        })
        .filter(|run| [true, false].iter().all(|class| learns(run, &problem.labels, *class)))
        .collect()
}

fn learns(run: &ClassifierRun, labels: &[bool], class: bool) -> bool {
    run.counts.iter().zip(labels).any(|(&count, &label)| count > 0 && label == class)
}

/// The AUC of each fold's pictures, by the run that did not learn from them.
fn judge(
    fitter: &Fitter<'_>,
    kind: Kind,
    parameters: &Parameters,
    folds: &[ClassifierRun],
) -> Result<Vec<f64>, ClassifierError> {
    let problem = fitter.problem;
    let aucs = std::sync::Mutex::new(vec![None; folds.len()]);
    fitter.fit(kind, parameters, folds, &|run, probabilities, _| {
        let of_fold = (0..problem.len())
            .filter(|&i| problem.pictures[i].split == Split::Train && problem.folds[i] == run.number)
            .map(|i| (probabilities[i] as f32, problem.labels[i]));
        let (scores, labels): (Vec<f32>, Vec<bool>) = of_fold.unzip();
        // A fold with one class alone has no AUC, and no say.
        let auc = metrics::roc_auc(&scores, &labels).ok();
        let position = folds.iter().position(|fold| fold.number == run.number);
        if let (Ok(mut aucs), Some(position)) = (aucs.lock(), position) {
            aucs[position] = auc;
        }
        Ok(())
    })?;
    let aucs: Vec<f64> = aucs.into_inner().unwrap_or_default().into_iter().flatten().collect();
    if aucs.is_empty() {
        return Err(ClassifierError::Resample { what: format!("the folds of {kind}"), attempts: folds.len() });
    }
    Ok(aucs)
}

/// Every choice of one value for each name.
fn combinations(grid: &super::Grid) -> Vec<Vec<(String, toml::Value)>> {
    grid.iter().fold(vec![vec![]], |choices, (name, values)| {
        let longer = |choice: &Vec<(String, toml::Value)>| {
            let choice = choice.clone();
            values.iter().map(move |value| [choice.clone(), vec![(name.clone(), value.clone())]].concat())
        };
        choices.iter().flat_map(longer).collect()
    })
}

fn write(path: &Path, tuning: &Tuning) -> Result<(), ClassifierError> {
    let malformed =
        |error: serde_json::Error| ClassifierError::Malformed { path: path.to_owned(), reason: error.to_string() };
    let text = serde_json::to_vec_pretty(tuning).map_err(malformed)?;
    Ok(write_atomically(path, |out| out.write_all(&text))?)
}
