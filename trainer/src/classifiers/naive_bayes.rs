//! Gaussian naive Bayes, all runs at once.
//!
//! A run's means and variances are weighted sums over the pictures, so those of all runs are products of one matrix, the counts
//! of the runs, with the features and their squares. So are the logarithmic odds, which are quadratic in each feature. The store
//! is read block of columns by block of columns, all in f64: the odds of a hundred thousand columns add up to thousands, and a
//! probability is decided by their last digits.

use thorax_nn::matmul::{View, multiply};

use super::{
    ClassifierError,
    parameters::NaiveBayesParameters,
    problem::Problem,
    run::ClassifierRun,
    standard::{Standard, Standardised, blocks},
};

/// Columns of a block of f64.
const BLOCK: usize = 256;

/// The probability of the disease of every picture, `[runs][N]`, as scikit-learn's `GaussianNB` with the counts as weights.
///
/// # Errors
/// A store that cannot be read any more.
pub(super) fn predict(
    problem: &Problem,
    standard: &Standard,
    runs: &[ClassifierRun],
    parameters: &NaiveBayesParameters,
) -> Result<Vec<Vec<f64>>, ClassifierError> {
    let (pictures, columns) = (problem.len(), problem.columns());
    let weights = Weights::of(&problem.labels, runs);
    let features = Standardised::open(problem, standard)?;
    let each_block = |work: &mut dyn FnMut(&Block)| {
        let mut block = Block::new(pictures);
        for wide in blocks(columns) {
            for first in wide.clone().step_by(BLOCK) {
                block.load(&features, first..(first + BLOCK).min(wide.end));
                work(&block);
            }
        }
    };

    // The largest variance of a run's columns, both classes together, sets what is added to all.
    let mut largest = vec![0f64; runs.len()];
    each_block(&mut |block| {
        let moments = weights.moments(block);
        for (run, largest) in largest.iter_mut().enumerate() {
            let total = weights.totals[2 * run] + weights.totals[2 * run + 1];
            for column in 0..block.width {
                let sum = |power: usize| {
                    let of = |class: usize| moments[power][(2 * run + class) * block.width + column];
                    (of(0) + of(1)) / total
                };
                *largest = largest.max(sum(1) - sum(0) * sum(0));
            }
        }
    });

    let mut odds = vec![0f64; pictures * runs.len()];
    let mut constants: Vec<f64> = weights.totals.chunks_exact(2).map(|total| (total[1] / total[0]).ln()).collect();
    each_block(&mut |block| {
        let moments = weights.moments(block);
        let width = block.width;
        // The logarithm of the ratio of both densities is `quadratic x^2 + linear x + constant`.
        let (mut quadratic, mut linear) = (vec![0f64; runs.len() * width], vec![0f64; runs.len() * width]);
        for run in 0..runs.len() {
            let added = parameters.var_smoothing * largest[run];
            for column in 0..width {
                let normal = |class: usize| {
                    let at = (2 * run + class) * width + column;
                    let mean = moments[0][at] / weights.totals[2 * run + class];
                    let variance = (moments[1][at] / weights.totals[2 * run + class] - mean * mean).max(0.0) + added;
                    (mean, variance)
                };
                let ((m0, v0), (m1, v1)) = (normal(0), normal(1));
                if v0 <= 0.0 || v1 <= 0.0 {
                    // A constant column and no smoothing: it says nothing.
                    continue;
                }
                quadratic[run * width + column] = 0.5 * (1.0 / v0 - 1.0 / v1);
                linear[run * width + column] = m1 / v1 - m0 / v0;
                constants[run] += 0.5 * (m0 * m0 / v0 - m1 * m1 / v1) + 0.5 * (v0 / v1).ln();
            }
        }
        let (out, x) = (View::row_major(pictures, runs.len()), View::row_major(pictures, width));
        let by_run = View::row_major(runs.len(), width).transposed();
        multiply((&mut odds, out), true, (&block.squares, x), (&quadratic, by_run), true);
        multiply((&mut odds, out), true, (&block.values, x), (&linear, by_run), true);
    });
    let probability = |run: usize, picture: usize| {
        let odds = odds[picture * runs.len() + run] + constants[run];
        if odds >= 0.0 { 1.0 / (1.0 + (-odds).exp()) } else { odds.exp() / (1.0 + odds.exp()) }
    };
    Ok((0..runs.len()).map(|run| (0..pictures).map(|picture| probability(run, picture)).collect()).collect())
}

/// Some columns of all pictures.
struct Block {
    /// `[N, width]`.
    values: Vec<f64>,
    squares: Vec<f64>,
    buffer: Vec<f32>,
    width: usize,
    pictures: usize,
}

impl Block {
    fn new(pictures: usize) -> Self {
        Self { values: vec![], squares: vec![], buffer: vec![0.0; pictures * BLOCK], width: 0, pictures }
    }

    fn load(&mut self, features: &Standardised<'_>, columns: std::ops::Range<usize>) {
        self.width = columns.len();
        let used = &mut self.buffer[..self.pictures * self.width];
        features.par_fill(0..self.pictures, columns, used);
        self.values.clear();
        self.values.extend(used.iter().map(|&value| f64::from(value)));
        self.squares.clear();
        self.squares.extend(self.values.iter().map(|value| value * value));
    }
}

/// How much each picture counts in each class of each run.
struct Weights {
    /// `[2 runs, N]`: row `2 run + class`.
    values: Vec<f64>,
    /// `[2 runs]`.
    totals: Vec<f64>,
    pictures: usize,
}

impl Weights {
    fn of(labels: &[bool], runs: &[ClassifierRun]) -> Self {
        let values: Vec<f64> = runs
            .iter()
            .flat_map(|run| [false, true].into_iter().map(move |class| (run, class)))
            .flat_map(|(run, class)| {
                let pairs = run.counts.iter().zip(labels);
                pairs.map(move |(&count, &label)| if label == class { f64::from(count) } else { 0.0 })
            })
            .collect();
        let totals = values.chunks_exact(labels.len()).map(|row| row.iter().sum()).collect();
        Self { values, totals, pictures: labels.len() }
    }

    /// Sums of the values and of their squares, each `[2 runs, width]`.
    fn moments(&self, block: &Block) -> [Vec<f64>; 2] {
        let rows = self.totals.len();
        [&block.values, &block.squares].map(|values| {
            let mut sums = vec![0f64; rows * block.width];
            multiply(
                (&mut sums, View::row_major(rows, block.width)),
                false,
                (&self.values, View::row_major(rows, self.pictures)),
                (values, View::row_major(self.pictures, block.width)),
                true,
            );
            sums
        })
    }
}
