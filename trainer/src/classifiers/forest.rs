//! The random forest (Breiman 2001), as scikit-learn's `RandomForestClassifier` grows it.
//!
//! A tree learns from as many draws with replacement as its run has, and splits until its leaves are pure. A split looks at
//! `max_features` columns drawn at random, and takes the one that leaves the least Gini impurity; columns that are constant
//! in the node count as looked at, but drawing goes on until one that is not was seen. What the forest says is the mean of
//! its trees' shares of positives in the leaf.
//!
//! No tree is kept. The rows it did not draw go down with those that it did, so that when a leaf is reached, all rows that
//! end in it are known and get its share.

use rand::{Rng, rngs::StdRng};
use thorax_nn::seeded::{derive, generator};

use super::{
    bins::{Bins, MOST_BINS},
    parameters::{ForestParameters, MaxFeatures, MaxFeaturesRule},
    run::ClassifierRun,
};

/// Rows of a node up to which its codes are sorted; above it counting in bins is quicker.
const SORTED: usize = 48;

/// The probability of the positive class, `[N]`, from a forest fitted to `run`.
///
/// # Panics
/// When labels or counts are not as many as rows, or the run learns from nothing or from two million draws or more.
pub(super) fn predict(bins: &Bins, labels: &[bool], run: &ClassifierRun, parameters: &ForestParameters) -> Vec<f64> {
    assert!(labels.len() == bins.rows() && run.counts.len() == bins.rows(), "one label and count a row");
    let samples: Vec<u32> =
        (0u32..).zip(&run.counts).flat_map(|(row, &count)| std::iter::repeat_n(row, count as usize)).collect();
    assert!((1..Count::LIMIT).contains(&samples.len()), "{} draws", samples.len());
    let mut grower = Grower::new(bins, parameters);
    let mut total = vec![0f64; bins.rows()];
    for tree in 0..parameters.trees {
        let mut random = generator(derive(run.seed, &[tree as u64]), 0);
        let counts = draw(&samples, labels, &mut random);
        grower.grow(&counts, &mut random, |row, share| total[row as usize] += share);
    }
    total.iter().map(|total| total / parameters.trees as f64).collect()
}

/// How often each row was drawn for a tree.
fn draw(samples: &[u32], labels: &[bool], random: &mut StdRng) -> Vec<Count> {
    let mut times = vec![0; samples.len()];
    samples.iter().for_each(|_| times[random.random_range(0..samples.len() as u32) as usize] += 1);
    let mut counts = vec![Count(0); labels.len()];
    for (&row, times) in samples.iter().zip(times) {
        let row = row as usize;
        counts[row] = counts[row].and(Count::of(times, labels[row]));
    }
    counts
}

/// Negative draws, positive draws and samples, in one number, so that a row is counted with one addition. Samples are draws
/// of the run, of which a tree may have drawn one several times: `min_samples_leaf` counts it once, the impurity every time.
#[derive(Clone, Copy, PartialEq, Eq)]
struct Count(u64);

impl Count {
    const BITS: u32 = 21;
    const LIMIT: usize = 1 << Self::BITS;

    fn of(times: u64, positive: bool) -> Self {
        Self(times << (u32::from(positive) * Self::BITS) | u64::from(times > 0) << (2 * Self::BITS))
    }

    fn and(self, other: Self) -> Self {
        Self(self.0 + other.0)
    }

    fn less(self, other: Self) -> Self {
        Self(self.0 - other.0)
    }

    fn is_none(self) -> bool {
        self.0 == 0
    }

    fn negatives(self) -> f64 {
        (self.0 % Self::LIMIT as u64) as f64
    }

    fn positives(self) -> f64 {
        ((self.0 >> Self::BITS) % Self::LIMIT as u64) as f64
    }

    fn samples(self) -> usize {
        (self.0 >> (2 * Self::BITS)) as usize
    }
}

/// The best split of a node that was found so far.
struct Split {
    impurity: f64,
    column: usize,
    /// Codes up to this one go left: half way between the two codes of the node that it parts.
    threshold: u8,
}

/// Part of the rows, and where in the tree.
struct Node {
    drawn: std::ops::Range<usize>,
    others: std::ops::Range<usize>,
    count: Count,
    depth: usize,
}

/// Grows one tree after the other.
struct Grower<'a> {
    bins: &'a Bins,
    look_at: usize,
    min_samples_leaf: usize,
    max_depth: usize,
    /// All columns, in an order that drawing changes.
    columns: Vec<u32>,
    /// Rows that the tree drew, node by node.
    drawn: Vec<(u32, Count)>,
    /// The others, node by node.
    others: Vec<u32>,
    histogram: [Count; MOST_BINS],
}

impl<'a> Grower<'a> {
    fn new(bins: &'a Bins, parameters: &ForestParameters) -> Self {
        let look_at = match parameters.max_features {
            MaxFeatures::Count(count) => count,
            MaxFeatures::Rule(MaxFeaturesRule::Sqrt) => (bins.columns() as f64).sqrt() as usize,
        };
        Self {
            bins,
            look_at: look_at.max(1),
            min_samples_leaf: parameters.min_samples_leaf,
            max_depth: if parameters.max_depth == 0 { usize::MAX } else { parameters.max_depth },
            columns: (0..bins.columns() as u32).collect(),
            drawn: Vec::new(),
            others: Vec::new(),
            histogram: [Count(0); MOST_BINS],
        }
    }

    /// Tells each row's share of positives in its leaf.
    fn grow(&mut self, counts: &[Count], random: &mut StdRng, mut tell: impl FnMut(u32, f64)) {
        self.drawn.clear();
        self.others.clear();
        for (row, &count) in (0u32..).zip(counts) {
            if count.is_none() { self.others.push(row) } else { self.drawn.push((row, count)) }
        }
        let count = self.drawn.iter().fold(Count(0), |sum, (_, count)| sum.and(*count));
        let mut nodes = vec![Node { drawn: 0..self.drawn.len(), others: 0..self.others.len(), count, depth: 0 }];
        while let Some(node) = nodes.pop() {
            if let Some(split) = self.split(&node, random) {
                let codes = self.bins.column(split.column);
                let is_left = |row: u32| codes[row as usize] <= split.threshold;
                let drawn = &mut self.drawn[node.drawn.clone()];
                let middle = part(drawn, |(row, _)| is_left(*row));
                let left = drawn[..middle].iter().fold(Count(0), |sum, (_, count)| sum.and(*count));
                let middle = node.drawn.start + middle;
                let between = node.others.start + part(&mut self.others[node.others.clone()], |row| is_left(*row));
                let depth = node.depth + 1;
                nodes.push(Node {
                    drawn: middle..node.drawn.end,
                    others: between..node.others.end,
                    count: node.count.less(left),
                    depth,
                });
                nodes.push(Node {
                    drawn: node.drawn.start..middle,
                    others: node.others.start..between,
                    count: left,
                    depth,
                });
            } else {
                let share = node.count.positives() / (node.count.negatives() + node.count.positives());
                self.drawn[node.drawn].iter().for_each(|(row, _)| tell(*row, share));
                self.others[node.others].iter().for_each(|row| tell(*row, share));
            }
        }
    }

    /// The best split of a node; none makes it a leaf.
    fn split(&mut self, node: &Node, random: &mut StdRng) -> Option<Split> {
        let pure = node.count.negatives() == 0.0 || node.count.positives() == 0.0;
        if pure || node.depth >= self.max_depth || node.count.samples() < 2 * self.min_samples_leaf {
            return None;
        }
        let mut best = None;
        let (mut seen, mut constant) = (0, 0);
        while seen < self.columns.len() && (seen < self.look_at || constant == seen) {
            let left = self.columns.len() - seen;
            let chosen = random.random_range(0..left as u32) as usize;
            self.columns.swap(chosen, left - 1);
            let column = self.columns[left - 1] as usize;
            seen += 1;
            let varies = if node.drawn.len() <= SORTED {
                self.sort(node, column, &mut best)
            } else {
                self.count(node, column, &mut best)
            };
            constant += usize::from(!varies);
        }
        best
    }

    /// Looks for a split of a large node in `column`; tells whether the column varies there.
    fn count(&mut self, node: &Node, column: usize, best: &mut Option<Split>) -> bool {
        let codes = self.bins.column(column);
        let histogram = &mut self.histogram[..self.bins.bins(column)];
        histogram.fill(Count(0));
        for &(row, count) in &self.drawn[node.drawn.clone()] {
            let bin = &mut histogram[usize::from(codes[row as usize])];
            *bin = bin.and(count);
        }
        let mut walk = Walk::along(column, node.count, self.min_samples_leaf, best);
        (0u8..)
            .zip(&*histogram)
            .filter(|(_, count)| !count.is_none())
            .for_each(|(code, count)| walk.step(code, *count));
        walk.varies
    }

    /// The same in a small node.
    fn sort(&self, node: &Node, column: usize, best: &mut Option<Split>) -> bool {
        let codes = self.bins.column(column);
        let drawn = &self.drawn[node.drawn.clone()];
        let mut keys = [0u16; SORTED];
        let keys = &mut keys[..drawn.len()];
        for ((key, &(row, _)), number) in keys.iter_mut().zip(drawn).zip(0u16..) {
            *key = u16::from(codes[row as usize]) << 8 | number;
        }
        if keys.iter().all(|key| key >> 8 == keys[0] >> 8) {
            return false;
        }
        keys.sort_unstable();
        let mut walk = Walk::along(column, node.count, self.min_samples_leaf, best);
        keys.iter().for_each(|key| walk.step((key >> 8) as u8, drawn[usize::from(key & 255)].1));
        walk.varies
    }
}

/// A walk along a column's codes in a node, upwards.
struct Walk<'a> {
    column: usize,
    total: Count,
    min_samples_leaf: usize,
    best: &'a mut Option<Split>,
    least: f64,
    left: Count,
    code: u8,
    varies: bool,
}

impl<'a> Walk<'a> {
    fn along(column: usize, total: Count, min_samples_leaf: usize, best: &'a mut Option<Split>) -> Self {
        let least = best.as_ref().map_or(f64::INFINITY, |split| split.impurity);
        Self { column, total, min_samples_leaf, best, least, left: Count(0), code: 0, varies: false }
    }

    /// The next code, which may be the last one again, and what has it.
    #[inline]
    fn step(&mut self, code: u8, count: Count) {
        if code != self.code && !self.left.is_none() {
            self.varies = true;
            self.consider(code);
        }
        self.code = code;
        self.left = self.left.and(count);
    }

    /// A split between the last code and `next`.
    fn consider(&mut self, next: u8) {
        let (left, right) = (self.left, self.total.less(self.left));
        if left.samples().min(right.samples()) < self.min_samples_leaf {
            return;
        }
        // Gini impurity of both sides, weighted by their draws and halved: n p / (n + p) on each side.
        let (n, p, rn, rp) = (left.negatives(), left.positives(), right.negatives(), right.positives());
        let impurity = (n * p * (rn + rp) + rn * rp * (n + p)) / ((n + p) * (rn + rp));
        if impurity < self.least {
            self.least = impurity;
            let threshold = u8::midpoint(self.code, next);
            *self.best = Some(Split { impurity, column: self.column, threshold });
        }
    }
}

/// Brings the items for which `is_left` holds to the front, in their order, and tells how many they are. That rows stay
/// ascending lets a column's codes be read forwards.
fn part<T: Copy>(items: &mut [T], is_left: impl Fn(&T) -> bool) -> usize {
    let (left, right): (Vec<T>, Vec<T>) = items.iter().partition(|item| is_left(item));
    items[..left.len()].copy_from_slice(&left);
    items[left.len()..].copy_from_slice(&right);
    left.len()
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use crate::classifiers::bins::references::{Trees, run};

    fn parameters(
        trees: usize,
        max_features: MaxFeatures,
        min_samples_leaf: usize,
        max_depth: usize,
    ) -> ForestParameters {
        ForestParameters { trees, max_features, min_samples_leaf, max_depth }
    }

    const SQRT: MaxFeatures = MaxFeatures::Rule(MaxFeaturesRule::Sqrt);

    #[test]
    fn probabilities_are_those_of_scikit_learn() {
        // Of two forests of 2000 and 4000 trees, a row's probabilities differ by a standard deviation of up to
        // 0.5 sqrt(1/2000 + 1/4000) = 0.014.
        let trees = Trees::read();
        for (name, max_features, min_samples_leaf, max_depth) in [
            ("forest", SQRT, 1, 0),
            ("forest_leaf", SQRT, 5, 0),
            ("forest_depth", SQRT, 1, 3),
            ("forest_one", MaxFeatures::Count(1), 1, 0),
            ("forest_all", MaxFeatures::Count(24), 10, 0),
        ] {
            let parameters = parameters(2000, max_features, min_samples_leaf, max_depth);
            for (run, expected) in trees.runs.iter().zip(trees.probabilities(name)) {
                let found = predict(&trees.bins, &trees.labels, run, &parameters);
                let differences = found.iter().zip(&expected).map(|(found, expected)| found - expected);
                let largest = differences.clone().map(f64::abs).fold(0.0, f64::max);
                let mean = differences.sum::<f64>() / expected.len() as f64;
                assert!(largest < 0.055 && mean.abs() < 0.004, "{name}: largest {largest}, mean {mean}");
            }
        }
    }

    #[test]
    fn leaves_of_one_tree_are_pure_where_rows_can_be_told_apart() {
        let trees = Trees::read();
        let run = run(vec![1; trees.labels.len()], 3);
        let found = predict(&trees.bins, &trees.labels, &run, &parameters(1, SQRT, 1, 0));
        assert!(found.iter().all(|p| *p == 0.0 || *p == 1.0));
        let right = found.iter().zip(&trees.labels).filter(|(p, label)| (**p > 0.5) == **label).count();
        assert!(right * 10 > 7 * found.len(), "{right} of {}", found.len());
    }

    #[test]
    fn rows_that_cannot_be_told_apart_share_a_leaf() {
        // A column that never varies in what is learnt from, and one that says which of two kinds a row is.
        let bins = Bins::of_columns(&[5.0, 5.0, 5.0, 5.0, 5.0, 7.0, 0.0, 0.0, 0.0, 1.0, 1.0, 1.0], &[true; 6]);
        let labels = [false, true, false, true, true, true];
        let run = run(vec![40, 40, 0, 40, 0, 0], 1);
        let found = predict(&bins, &labels, &run, &parameters(50, MaxFeatures::Count(1), 1, 0));
        assert_eq!(found[3..], [1.0; 3]);
        assert_eq!((found[0], found[0]), (found[1], found[2]));
        assert!((found[0] - 0.5).abs() < 0.05, "{}", found[0]);
    }

    #[test]
    fn the_seed_decides_alone() {
        let trees = Trees::read();
        let forest = |seed| {
            let run = run(trees.runs[0].counts.clone(), seed);
            predict(&trees.bins, &trees.labels, &run, &parameters(20, SQRT, 1, 0))
        };
        assert_eq!(forest(7), forest(7));
        assert_ne!(forest(7), forest(8));
    }
}
