//! AdaBoost of decision stumps, as scikit-learn's `AdaBoostClassifier`: discrete SAMME (Zhu, Zou, Rosset and Hastie 2009),
//! which for two classes is Freund and Schapire's (1997).
//!
//! Each round looks for the stump of least Gini impurity in all columns, a hundred thousand of them, so nearly all the time
//! goes into adding the rows' weights up by code. Eight runs do it together: a row's code is read once, and its weights in
//! the eight runs are added as one vector. A run's resample enters as weights, which is the same as rows that are there
//! several times.

use pulp::{Arch, Simd, WithSimd};
use rayon::prelude::*;

use super::{
    bins::{Bins, MOST_BINS},
    parameters::AdaBoostParameters,
    run::ClassifierRun,
};

/// Runs that share the reading of codes.
pub(super) const LANES: usize = 8;

/// Columns of a task.
const BLOCK: usize = 64;

/// Least share of all weight on each side of a stump. What is below could be the rounding of a sum in f32.
const LEAST: f32 = 1e-6;

/// A number for each run.
type Lanes = [f32; LANES];

/// Weights by code and class: 16 KiB, which the first cache holds.
type Histogram = [[Lanes; 2]; MOST_BINS];

/// The probabilities of the positive class, `[runs][N]`, each from an AdaBoost fitted to its run. On all cores.
///
/// The probability is scikit-learn's, `1 / (1 + exp(-2 m))` where m is the stumps' mean vote from -1 to 1: never below 0.12
/// or above 0.88. It is 0.5 for every row where no column tells the classes apart better than a coin (scikit-learn gives an
/// error).
///
/// # Panics
/// When labels or counts are not as many as rows.
pub(super) fn predict(
    bins: &Bins,
    labels: &[bool],
    runs: &[ClassifierRun],
    parameters: &AdaBoostParameters,
) -> Vec<Vec<f64>> {
    assert_eq!(labels.len(), bins.rows(), "one label a row");
    assert!(runs.iter().all(|run| run.counts.len() == bins.rows()), "one count a row");
    runs.chunks(LANES).flat_map(|runs| together(bins, labels, runs, parameters)).collect()
}

/// Up to [`LANES`] runs.
fn together(bins: &Bins, labels: &[bool], runs: &[ClassifierRun], parameters: &AdaBoostParameters) -> Vec<Vec<f64>> {
    // Negatives first: a loop for each class needs no branch.
    let of_class =
        |class| (0..bins.rows()).filter(move |&row| labels[row] == class && runs.iter().any(|run| run.counts[row] > 0));
    let rows: Vec<usize> = of_class(false).chain(of_class(true)).collect();
    let negatives = of_class(false).count();
    let mut boosters: Vec<Booster> = runs.iter().map(|run| Booster::new(run, &rows)).collect();
    let mut weights = vec![[0f32; LANES]; rows.len()];
    for _ in 0..parameters.rounds {
        if boosters.iter().all(|booster| booster.finished) {
            break;
        }
        for (lane, booster) in boosters.iter().enumerate() {
            let shares = booster.shares();
            weights.iter_mut().zip(shares).for_each(|(weights, share)| weights[lane] = share as f32);
        }
        let found = search(bins, &rows, negatives, &weights);
        for (booster, found) in boosters.iter_mut().zip(found) {
            if !booster.finished {
                booster.boost(bins, &rows, negatives, found, parameters.learning_rate);
            }
        }
    }
    boosters.iter().map(Booster::probabilities).collect()
}

/// Where a column parts the rows best.
#[derive(Clone, Copy, Debug)]
struct Found {
    /// Infinite when no column parts them.
    impurity: f32,
    column: usize,
    /// The last code on the left.
    code: u8,
}

const NOTHING: Found = Found { impurity: f32::INFINITY, column: usize::MAX, code: u8::MAX };

/// The best stump of each lane. Of equal ones the first column's, and in it the lowest: whatever the number of threads.
fn search(bins: &Bins, rows: &[usize], negatives: usize, weights: &[Lanes]) -> [Found; LANES] {
    let mut total = [[0f32; LANES]; 2];
    for lane in 0..LANES {
        let sum = |weights: &[Lanes]| weights.iter().map(|weights| f64::from(weights[lane])).sum::<f64>() as f32;
        total[0][lane] = sum(&weights[..negatives]);
        total[1][lane] = sum(&weights[negatives..]);
    }
    let arch = Arch::new();
    let blocks = (0..bins.columns().div_ceil(BLOCK)).into_par_iter();
    let better = |a: [Found; LANES], b: [Found; LANES]| {
        std::array::from_fn(|lane| {
            let key = |found: &Found| (found.impurity, found.column);
            if key(&b[lane]) < key(&a[lane]) { b[lane] } else { a[lane] }
        })
    };
    let new_histogram = || Box::new([[[0f32; LANES]; 2]; MOST_BINS]);
    blocks
        .map_init(new_histogram, |histogram, block| {
            let mut best = [NOTHING; LANES];
            for column in block * BLOCK..((block + 1) * BLOCK).min(bins.columns()) {
                if bins.bins(column) > 1 {
                    let (codes, bins) = (bins.column(column), bins.bins(column));
                    let work = Column { codes, bins, rows, negatives, weights, total, histogram: &mut *histogram };
                    let (impurity, code) = arch.dispatch(work);
                    for lane in 0..LANES {
                        if impurity[lane] < best[lane].impurity {
                            best[lane] = Found { impurity: impurity[lane], column, code: code[lane] as u8 };
                        }
                    }
                }
            }
            best
        })
        .reduce(|| [NOTHING; LANES], better)
}

/// The best place in one column.
struct Column<'a> {
    codes: &'a [u8],
    bins: usize,
    rows: &'a [usize],
    negatives: usize,
    weights: &'a [Lanes],
    total: [Lanes; 2],
    histogram: &'a mut Histogram,
}

impl WithSimd for Column<'_> {
    type Output = (Lanes, [u32; LANES]);

    // The loops over lanes become vector instructions of whichever width this is compiled for, closures would not.
    #[inline(always)]
    fn with_simd<S: Simd>(self, _: S) -> Self::Output {
        let Self { codes, bins, rows, negatives, weights, total, histogram } = self;
        for bin in &mut histogram[..bins] {
            *bin = [[0.0; LANES]; 2];
        }
        for (&row, weights) in rows[..negatives].iter().zip(&weights[..negatives]) {
            let bin = &mut histogram[codes[row] as usize][0];
            for lane in 0..LANES {
                bin[lane] += weights[lane];
            }
        }
        for (&row, weights) in rows[negatives..].iter().zip(&weights[negatives..]) {
            let bin = &mut histogram[codes[row] as usize][1];
            for lane in 0..LANES {
                bin[lane] += weights[lane];
            }
        }
        let (mut best, mut at) = ([f32::INFINITY; LANES], [0u32; LANES]);
        let mut left = [[0f32; LANES]; 2];
        for (code, bin) in histogram[..bins].iter().enumerate() {
            for lane in 0..LANES {
                let n = left[0][lane] + bin[0][lane];
                let p = left[1][lane] + bin[1][lane];
                left[0][lane] = n;
                left[1][lane] = p;
                let right_n = (total[0][lane] - n).max(0.0);
                let right_p = (total[1][lane] - p).max(0.0);
                let (here, there) = (n + p, right_n + right_p);
                // Half the Gini impurity of both sides, weighted: n p / (n + p) on each.
                let impurity = n * p / here + right_n * right_p / there;
                let better = (here > LEAST) & (there > LEAST) & (impurity < best[lane]);
                best[lane] = if better { impurity } else { best[lane] };
                at[lane] = if better { code as u32 } else { at[lane] };
            }
        }
        (best, at)
    }
}

/// What one run has learnt so far.
struct Booster {
    /// Of each row that some run of the group learns from: how often this one counts it.
    counts: Vec<f64>,
    /// The weight of each of those rows, counted once. They sum up to 1, counted as often as they count.
    weights: Vec<f64>,
    /// `[N]`: what the stumps' votes for positive less those for negative weigh.
    votes: Vec<f64>,
    /// What all votes weigh.
    total: f64,
    finished: bool,
}

impl Booster {
    fn new(run: &ClassifierRun, rows: &[usize]) -> Self {
        let counts: Vec<f64> = rows.iter().map(|&row| f64::from(run.counts[row])).collect();
        let sum: f64 = counts.iter().sum();
        let weights = vec![1.0 / sum.max(1.0); rows.len()];
        Self { counts, weights, votes: vec![0.0; run.counts.len()], total: 0.0, finished: sum == 0.0 }
    }

    /// The rows' shares of all weight; none when nothing more is learnt.
    fn shares(&self) -> impl Iterator<Item = f64> {
        let factor = if self.finished { 0.0 } else { 1.0 };
        self.counts.iter().zip(&self.weights).map(move |(count, weight)| factor * count * weight)
    }

    /// Adds the stump that `found` describes, and weighs the rows anew.
    fn boost(&mut self, bins: &Bins, rows: &[usize], negatives: usize, found: Found, learning_rate: f64) {
        // scikit-learn's floor below every weight.
        self.weights.iter_mut().for_each(|weight| *weight = weight.max(f64::EPSILON));
        let codes = (found.column < bins.columns()).then(|| bins.column(found.column));
        let code = |row: usize| codes.map_or(0, |codes| codes[row]);
        // Half way to the next code that this run counts, as scikit-learn's threshold is half way between two numbers.
        let counted = rows.iter().zip(&self.counts).filter(|(_, count)| **count > 0.0);
        let next = counted.map(|(row, _)| code(*row)).filter(|next| *next > found.code).min();
        let threshold = u8::midpoint(found.code, next.unwrap_or(u8::MAX));
        // Weight by side and class, now in f64.
        let mut sides = [[0f64; 2]; 2];
        for (number, (row, share)) in rows.iter().zip(self.shares()).enumerate() {
            sides[usize::from(code(*row) > threshold)][usize::from(number >= negatives)] += share;
        }
        let says = sides.map(|[negative, positive]| positive > negative);
        let wrong: f64 = sides.iter().map(|[negative, positive]| negative.min(*positive)).sum();
        let error = wrong / sides.as_flattened().iter().sum::<f64>();
        if error >= 0.5 {
            self.finished = true;
            return;
        }
        self.finished = error <= 0.0;
        let vote = if self.finished { 1.0 } else { learning_rate * ((1.0 - error) / error).ln() };
        self.total += vote;
        let answer = |row: usize| says[usize::from(code(row) > threshold)];
        for (row, votes) in self.votes.iter_mut().enumerate() {
            *votes += if answer(row) { vote } else { -vote };
        }
        for (number, (row, weight)) in rows.iter().zip(&mut self.weights).enumerate() {
            if answer(*row) != (number >= negatives) {
                *weight *= vote.exp();
            }
        }
        let sum: f64 = self.counts.iter().zip(&self.weights).map(|(count, weight)| count * weight).sum();
        self.weights.iter_mut().for_each(|weight| *weight /= sum);
    }

    fn probabilities(&self) -> Vec<f64> {
        let mean = |votes: f64| if self.total > 0.0 { votes / self.total } else { 0.0 };
        self.votes.iter().map(|&votes| 1.0 / (1.0 + (-2.0 * mean(votes)).exp())).collect()
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use proptest::prelude::*;

    use super::*;
    use crate::classifiers::bins::references::{Trees, run};

    #[test]
    fn probabilities_are_those_of_scikit_learn() {
        // Ten runs: a whole group, and one that is not.
        let trees = Trees::read();
        for (name, rounds, learning_rate) in [("adaboost", 50, 1.0), ("adaboost_slow", 20, 0.3)] {
            let parameters = AdaBoostParameters { rounds, learning_rate };
            let found = predict(&trees.bins, &trees.labels, &trees.runs, &parameters);
            let expected = trees.probabilities(name);
            assert_eq!(found.len(), expected.len());
            for (number, (found, expected)) in found.iter().zip(&expected).enumerate() {
                for (row, (found, expected)) in found.iter().zip(expected).enumerate() {
                    let difference = (found - expected).abs();
                    assert!(difference < 1e-6, "{name}, run {number}, row {row}: {found} not {expected}");
                }
            }
        }
    }

    #[test]
    fn a_perfect_stump_ends_it_and_a_coin_says_nothing() {
        // The first column parts the classes between 2 and 5; half way is 3.5. The second run has one class only.
        let values = [0.0, 1.0, 2.0, 5.0, 6.0, 3.0, 4.0];
        let bins = Bins::of_columns(&values, &[true; 7]);
        let labels = [false, false, false, true, true, true, false];
        let runs = [run(vec![1, 1, 1, 1, 2, 0, 0], 0), run(vec![0, 0, 0, 1, 1, 1, 0], 0), run(vec![0; 7], 0)];
        let found = predict(&bins, &labels, &runs, &AdaBoostParameters { rounds: 5, learning_rate: 1.0 });
        let surely = 1.0 / (1.0 + (-2f64).exp());
        let [no, yes] = [1.0 - surely, surely];
        for (found, expected) in found[0].iter().zip([no, no, no, yes, yes, no, yes]) {
            assert!((found - expected).abs() < 1e-6, "{found} not {expected}");
        }
        assert_eq!(found[1], [surely; 7]);
        assert_eq!(found[2], [0.5; 7]);
        // Both classes have both numbers alike.
        let bins = Bins::of_columns(&[0.0, 1.0, 0.0, 1.0], &[true; 4]);
        let coin = predict(
            &bins,
            &[false, false, true, true],
            &[run(vec![1; 4], 0)],
            &AdaBoostParameters { rounds: 5, learning_rate: 1.0 },
        );
        assert_eq!(coin[0], [0.5; 4]);
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(40))]
        #[test]
        fn no_stump_is_better_than_the_one_that_is_found(
            (codes, labels, counts) in (4usize..60, 1usize..70).prop_flat_map(|(rows, columns)| (
                prop::collection::vec(0u8..20, rows * columns),
                prop::collection::vec(prop::bool::ANY, rows),
                prop::collection::vec(0u32..4, rows),
            )),
        ) {
            let rows: Vec<usize> = (0..labels.len()).filter(|&row| !labels[row]).collect();
            let negatives = rows.len();
            let rows: Vec<usize> = rows.into_iter().chain((0..labels.len()).filter(|&row| labels[row])).collect();
            let bins = Bins::of_columns(&codes.iter().map(|&c| f32::from(c)).collect::<Vec<_>>(), &vec![true; labels.len()]);
            let total = f64::from(counts.iter().sum::<u32>().max(1));
            let weights: Vec<Lanes> = rows.iter().map(|&row| {
                std::array::from_fn(|lane| (f64::from(counts[row]) / total) as f32 * if lane == 3 { 1.0 } else { 0.5 })
            }).collect();
            let found = search(&bins, &rows, negatives, &weights)[3];
            let mut least = f64::INFINITY;
            for column in 0..bins.columns() {
                for code in 0..=255 {
                    let mut sides = [[0f64; 2]; 2];
                    for (row, &label) in labels.iter().enumerate() {
                        let side = usize::from(bins.column(column)[row] > code);
                        sides[side][usize::from(label)] += f64::from(counts[row]) / total;
                    }
                    if sides.iter().all(|[n, p]| n + p > 0.0) {
                        least = least.min(sides.iter().map(|[n, p]| n * p / (n + p)).sum());
                    }
                }
            }
            if least.is_finite() {
                prop_assert!((f64::from(found.impurity) - least).abs() < 1e-6, "{:?} not {}", found, least);
            } else {
                prop_assert_eq!(found.column, usize::MAX);
            }
        }
    }
}
