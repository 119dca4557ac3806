//! What the libraries offer of the paper's eight classifiers, each fitted once the way its documentation says.

use anyhow::Context;
use linfa::traits::{Fit, Predict};
use linfa::{Dataset, DatasetBase, dataset::Pr};
use linfa_bayes::NaiveBayes;
use linfa_nn::NearestNeighbour;
use ndarray::{Array1, Array2};
use rand::{SeedableRng, rngs::SmallRng};
use serde::{Deserialize, Serialize};
use smartcore::algorithm::neighbour::KNNAlgorithmName;
use smartcore::linalg::basic::matrix::DenseMatrix;
use std::time::Instant;

use crate::problem::Problem;

const NEIGHBOURS: usize = 5;
const TREES: usize = 100;
const ROUNDS: usize = 50;
const DEGREE: f64 = 3.0;

/// A classifier of a library.
pub(crate) struct Case {
    pub(crate) library: &'static str,
    pub(crate) classifier: &'static str,
    /// What it answers with.
    pub(crate) answers: &'static str,
    pub(crate) run: fn(Problem) -> anyhow::Result<Outcome>,
}

/// What a run of a case was like.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct Outcome {
    pub(crate) fit_s: f64,
    /// Of all rows.
    pub(crate) predict_s: f64,
    pub(crate) accuracy: f64,
    /// Rows whose probability does not lie in 0..=1.
    pub(crate) impossible: usize,
}

pub(crate) const CASES: [Case; 11] = [
    Case {
        library: "linfa-svm",
        classifier: "svm-rbf",
        answers: "probability (of its own training rows)",
        run: |problem| linfa_svm(problem, |parameters| parameters.gaussian_kernel(1.0)),
    },
    Case {
        library: "linfa-svm",
        classifier: "svm-polynomial",
        answers: "probability (of its own training rows)",
        run: |problem| linfa_svm(problem, |parameters| parameters.polynomial_kernel(0.0, DEGREE as f32)),
    },
    Case {
        library: "smartcore",
        classifier: "svm-rbf",
        answers: "decision value",
        run: |problem| {
            let gamma = problem.gamma;
            smartcore_svm(problem, smartcore::svm::Kernels::rbf().with_gamma(gamma))
        },
    },
    Case {
        library: "smartcore",
        classifier: "svm-polynomial",
        answers: "decision value",
        run: |problem| {
            let kernel = smartcore::svm::Kernels::polynomial().with_degree(DEGREE).with_coef0(0.0);
            let gamma = problem.gamma;
            smartcore_svm(problem, kernel.with_gamma(gamma))
        },
    },
    Case { library: "linfa-ensemble", classifier: "random-forest", answers: "label", run: linfa_forest },
    Case { library: "smartcore", classifier: "random-forest", answers: "label", run: smartcore_forest },
    Case { library: "linfa-nn", classifier: "knn", answers: "neighbours", run: linfa_neighbours },
    Case { library: "smartcore", classifier: "knn", answers: "probability", run: smartcore_neighbours },
    Case { library: "linfa-ensemble", classifier: "adaboost", answers: "label", run: linfa_adaboost },
    Case { library: "linfa-bayes", classifier: "naive-bayes", answers: "probability", run: linfa_bayes },
    Case { library: "smartcore", classifier: "naive-bayes", answers: "label", run: smartcore_bayes },
];

/// Times both steps; `predict` answers for all rows.
fn measure<M>(
    problem: &Problem,
    fit: impl FnOnce() -> anyhow::Result<M>,
    predict: impl FnOnce(&M) -> anyhow::Result<Vec<f64>>,
) -> anyhow::Result<Outcome> {
    let start = Instant::now();
    let model = fit()?;
    let fit_s = start.elapsed().as_secs_f64();
    let start = Instant::now();
    let probability = predict(&model)?;
    let predict_s = start.elapsed().as_secs_f64();
    let answers: Vec<bool> = probability.iter().map(|probability| *probability > 0.5).collect();
    let impossible = probability.iter().filter(|probability| !(0.0..=1.0).contains(*probability)).count();
    Ok(Outcome { fit_s, predict_s, accuracy: problem.accuracy(&answers), impossible })
}

fn array(features: Vec<f32>, columns: usize) -> anyhow::Result<Array2<f32>> {
    Ok(Array2::from_shape_vec((features.len() / columns, columns), features)?)
}

/// `[N, C]` of what is learnt from with its labels, and `[N, C]` of all rows.
fn linfa_data<T>(
    problem: &mut Problem,
    of: impl Fn(bool) -> T,
) -> anyhow::Result<(Dataset<f32, T, ndarray::Ix1>, Array2<f32>)> {
    let learn = array(problem.learn(), problem.columns)?;
    let labels = Array1::from_vec(problem.labels(of));
    let all = array(std::mem::take(&mut problem.features), problem.columns)?;
    Ok((DatasetBase::new(learn, labels), all))
}

/// The same for smartcore.
fn smartcore_data(problem: &mut Problem) -> anyhow::Result<(DenseMatrix<f32>, DenseMatrix<f32>)> {
    let columns = problem.columns;
    let learn = DenseMatrix::new(problem.learnt, columns, problem.learn(), false)?;
    let all = DenseMatrix::new(problem.rows, columns, std::mem::take(&mut problem.features), false)?;
    Ok((learn, all))
}

type SvmParameters = linfa_svm::SvmParams<f32, Pr>;

fn linfa_svm(mut problem: Problem, kernel: impl Fn(SvmParameters) -> SvmParameters) -> anyhow::Result<Outcome> {
    // It knows no gamma, so that goes into the numbers.
    let root = problem.gamma.sqrt() as f32;
    problem.features.iter_mut().for_each(|value| *value *= root);
    let (learn, all) = linfa_data(&mut problem, |positive| positive)?;
    measure(
        &problem,
        || Ok(kernel(linfa_svm::Svm::params().pos_neg_weights(1.0, 1.0).eps(1e-3)).fit(&learn)?),
        |model| {
            let probability: Vec<Pr> = all.outer_iter().map(|row| model.predict(row)).collect();
            Ok(probability.iter().map(|probability| f64::from(**probability)).collect())
        },
    )
}

fn smartcore_svm(mut problem: Problem, kernel: smartcore::svm::Kernels) -> anyhow::Result<Outcome> {
    use smartcore::svm::svc::{SVC, SVCParameters};
    let labels = problem.labels(|positive| if positive { 1i32 } else { -1 });
    let (learn, all) = smartcore_data(&mut problem)?;
    let parameters = SVCParameters::default().with_c(1.0).with_tol(1e-3).with_kernel(kernel).with_seed(Some(1));
    measure(
        &problem,
        || Ok(SVC::fit(&learn, &labels, &parameters)?),
        // It has no probabilities: the sign decides.
        |model| Ok(model.decision_function(&all)?.iter().map(|value| f64::from(u8::from(*value > 0.0))).collect()),
    )
}

fn linfa_forest(mut problem: Problem) -> anyhow::Result<Outcome> {
    // The square root of the columns is drawn for each tree; for each node, as forests have it, it cannot.
    let share = 1.0 / (problem.columns as f64).sqrt();
    let (learn, all) = linfa_data(&mut problem, usize::from)?;
    let tree = linfa_trees::DecisionTree::params();
    let parameters = linfa_ensemble::RandomForestParams::new_fixed_rng(tree, SmallRng::seed_from_u64(1));
    let parameters = parameters.ensemble_size(TREES).bootstrap_proportion(1.0).feature_proportion(share);
    measure(
        &problem,
        || Ok(parameters.fit(&learn)?),
        |model| Ok(model.predict(&all).iter().map(|label| *label as f64).collect()),
    )
}

fn smartcore_forest(mut problem: Problem) -> anyhow::Result<Outcome> {
    use smartcore::ensemble::random_forest_classifier::{RandomForestClassifier, RandomForestClassifierParameters};
    let labels = problem.labels(i32::from);
    let (learn, all) = smartcore_data(&mut problem)?;
    let parameters = RandomForestClassifierParameters::default().with_n_trees(TREES as u16).with_seed(1);
    measure(
        &problem,
        || Ok(RandomForestClassifier::fit(&learn, &labels, parameters)?),
        |model| Ok(model.predict(&all)?.into_iter().map(f64::from).collect()),
    )
}

fn linfa_neighbours(mut problem: Problem) -> anyhow::Result<Outcome> {
    let (learn, all) = linfa_data(&mut problem, |positive| positive)?;
    let (points, labels) = (learn.records(), learn.targets());
    measure(
        &problem,
        || Ok(linfa_nn::LinearSearch.from_batch(points, linfa_nn::distance::L2Dist)?),
        |index| {
            let share = |row: ndarray::ArrayView1<f32>| {
                let near = index.k_nearest(row, NEIGHBOURS)?;
                Ok(near.iter().filter(|(_, row)| labels[*row]).count() as f64 / near.len() as f64)
            };
            all.outer_iter().map(share).collect()
        },
    )
}

fn smartcore_neighbours(mut problem: Problem) -> anyhow::Result<Outcome> {
    use smartcore::neighbors::knn_classifier::{KNNClassifier, KNNClassifierParameters};
    let labels = problem.labels(i32::from);
    let (learn, all) = smartcore_data(&mut problem)?;
    let parameters = KNNClassifierParameters::default().with_k(NEIGHBOURS);
    let parameters = parameters.with_algorithm(KNNAlgorithmName::LinearSearch);
    measure(
        &problem,
        || Ok(KNNClassifier::fit(&learn, &labels, parameters)?),
        |model| Ok(model.predict_proba(&all)?.iter().map(|shares| shares[1]).collect()),
    )
}

fn linfa_adaboost(mut problem: Problem) -> anyhow::Result<Outcome> {
    let (learn, all) = linfa_data(&mut problem, usize::from)?;
    let stump = linfa_trees::DecisionTree::params().max_depth(Some(1));
    let parameters = linfa_ensemble::AdaBoostParams::new_fixed_rng(stump, SmallRng::seed_from_u64(1));
    measure(
        &problem,
        || Ok(parameters.n_estimators(ROUNDS).fit(&learn)?),
        |model| Ok(model.predict(&all).iter().map(|label| *label as f64).collect()),
    )
}

fn linfa_bayes(mut problem: Problem) -> anyhow::Result<Outcome> {
    let (learn, all) = linfa_data(&mut problem, usize::from)?;
    measure(
        &problem,
        || Ok(linfa_bayes::GaussianNb::params().fit(&learn)?),
        |model| {
            let (probability, classes) = model.predict_proba(all.view());
            let positive = classes.iter().position(|class| **class == 1).context("there is no such class")?;
            Ok(probability.column(positive).iter().map(|probability| f64::from(*probability)).collect())
        },
    )
}

fn smartcore_bayes(mut problem: Problem) -> anyhow::Result<Outcome> {
    use smartcore::naive_bayes::gaussian::GaussianNB;
    let labels = problem.labels(u32::from);
    let (learn, all) = smartcore_data(&mut problem)?;
    measure(
        &problem,
        || Ok(GaussianNB::fit(&learn, &labels, Default::default())?),
        |model| Ok(model.predict(&all)?.into_iter().map(f64::from).collect()),
    )
}
