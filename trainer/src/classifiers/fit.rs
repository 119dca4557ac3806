//! A classifier by its name: what it needs is made, its runs are fitted, and each is handed on as it ends.

use std::{cell::OnceCell, path::Path};

use rayon::prelude::*;

use super::{
    ClassifierError, Kind, adaboost,
    bins::Bins,
    forest,
    gram::Gram,
    knn, mlp, naive_bayes,
    parameters::{Answer, Parameters},
    problem::Problem,
    run::ClassifierRun,
    svm::{KernelMatrix, Svm, SvmConfig},
    xgboost,
};

/// What is told of each run as it ends: the run, and the probability of every picture, `[N]`; and whether it calls each positive, `[N]`,
/// where that is not whether its probability is at least one half.
pub type Done<'a> = &'a (dyn Fn(&ClassifierRun, &[f64], Option<&[bool]>) -> Result<(), ClassifierError> + Sync);

/// What classifiers share.
pub struct Fitter<'a> {
    /// The pictures.
    pub problem: &'a Problem,
    /// Their inner products.
    pub gram: &'a Gram,
    /// Bytes that all may take together.
    pub memory: usize,
    /// Where the XGBoost library is, if not in the system's place.
    pub xgboost: Option<&'a Path>,
    bins: OnceCell<Bins>,
}

/// Whether the XGBoost library, `library` if it is not in the system's place, can be used.
///
/// # Errors
/// Why it cannot, and what to do.
pub fn check_xgboost(library: Option<&Path>) -> Result<(), ClassifierError> {
    Ok(xgboost::Library::open(library).map(drop)?)
}

impl<'a> Fitter<'a> {
    /// For the pictures of `problem`; `memory` in bytes.
    pub fn new(problem: &'a Problem, gram: &'a Gram, memory: usize, xgboost: Option<&'a Path>) -> Self {
        Self { problem, gram, memory, xgboost, bins: OnceCell::new() }
    }

    /// Fits `runs` of a classifier and tells `done` of each.
    ///
    /// # Errors
    /// What the classifier, or `done`, returns.
    pub fn fit(
        &self,
        kind: Kind,
        parameters: &Parameters,
        runs: &[ClassifierRun],
        done: Done<'_>,
    ) -> Result<(), ClassifierError> {
        if runs.is_empty() {
            return Ok(());
        }
        let Self { problem, gram, .. } = *self;
        let labels = &problem.labels;
        let all = |predictions: Vec<Vec<f64>>, runs: &[ClassifierRun]| {
            runs.iter().zip(predictions).try_for_each(|(run, prediction)| done(run, &prediction, None))
        };
        match kind {
            Kind::Knn => all(knn::predict(gram, labels, runs, &parameters.knn), runs),
            Kind::SvmPolynomial => {
                let answer = parameters.svm_polynomial.answer;
                self.machines(&SvmConfig::polynomial(&parameters.svm_polynomial, gram), answer, runs, done)
            }
            Kind::SvmRbf => {
                self.machines(&SvmConfig::rbf(&parameters.svm_rbf, gram), parameters.svm_rbf.answer, runs, done)
            }
            Kind::NaiveBayes => {
                all(naive_bayes::predict(problem, &gram.standard, runs, &parameters.naive_bayes)?, runs)
            }
            Kind::Mlp => {
                // The initial products of a run, the same in its own order, and their velocity and gradient.
                let each = 16 * problem.len() * parameters.mlp.hidden;
                let room = self.memory.saturating_sub(problem.shared_bytes());
                let together = (room / each.max(1)).clamp(2, runs.len().max(2));
                runs.chunks(together).try_for_each(|runs| mlp::predict(problem, gram, runs, &parameters.mlp, done))
            }
            Kind::RandomForest => {
                let bins = self.bins()?;
                let fit = |run: &ClassifierRun| {
                    done(run, &forest::predict(bins, labels, run, &parameters.random_forest), None)
                };
                runs.par_iter().try_for_each(fit)
            }
            Kind::AdaBoost => {
                let bins = self.bins()?;
                let fit =
                    |runs: &[ClassifierRun]| all(adaboost::predict(bins, labels, runs, &parameters.adaboost), runs);
                runs.chunks(adaboost::LANES).try_for_each(fit)
            }
            Kind::Xgboost => {
                let library = xgboost::Library::open(self.xgboost)?;
                eprintln!("XGBoost {}", library.version());
                let (bins, threads) = (self.bins()?, rayon::current_num_threads());
                let most = parameters.xgboost.max_bin as usize;
                let data = xgboost::Data::new(&library, bins, labels, most, threads)?;
                // The library has threads of its own: one run after the other.
                runs.iter().try_for_each(|run| {
                    let said = data.predict(run, &parameters.xgboost)?;
                    done(run, &said.into_iter().map(f64::from).collect::<Vec<f64>>(), None)
                })
            }
        }
    }

    /// The codes of all features, made when the first classifier asks for them. Training pictures set the cuts; where the split
    /// differs from run to run, those of the store's own training split do.
    fn bins(&self) -> Result<&Bins, ClassifierError> {
        if let Some(bins) = self.bins.get() {
            return Ok(bins);
        }
        let bins = Bins::of(&self.problem.store, &self.problem.rows, &self.problem.training())?;
        Ok(self.bins.get_or_init(|| bins))
    }

    fn machines(
        &self,
        config: &SvmConfig,
        answer: Answer,
        runs: &[ClassifierRun],
        done: Done<'_>,
    ) -> Result<(), ClassifierError> {
        let matrix = KernelMatrix::of(config.kernel, self.gram);
        let Problem { labels, folds, .. } = self.problem;
        runs.par_iter().try_for_each(|run| {
            let (machine, decisions) = Svm::fit(&matrix, labels, folds, run, config)?;
            let probabilities: Vec<f64> = decisions.iter().map(|&d| machine.sigmoid.probability(d)).collect();
            // scikit-learn's `predict` takes a decision of exactly 0 for the second class, too.
            let signs = (answer == Answer::Sign).then(|| decisions.iter().map(|&d| d >= 0.0).collect::<Vec<bool>>());
            done(run, &probabilities, signs.as_deref())
        })
    }
}
