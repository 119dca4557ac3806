//! k nearest neighbours, by the distances that follow from the Gram matrix.
//!
//! All runs share one list of neighbours for each picture, nearest first. A run walks along it and passes over the pictures that
//! it did not draw.

use rayon::prelude::*;

use super::{gram::Gram, parameters::KnnParameters, parameters::NeighbourWeights, run::ClassifierRun};

/// Neighbours of a picture that are sorted at first; the rest only for a run that drew too few of them.
const NEAREST: usize = 64;

/// The pictures' neighbours: those that some run learns from.
struct Neighbours {
    /// Nearest first, up to `sorted`; behind it the others, in no order.
    order: Vec<(f32, u32)>,
    sorted: usize,
}

impl Neighbours {
    /// `|x - y|^2 = <x, x> - 2 <x, y> + <y, y>`. Of equally distant ones, the first in the table is nearer.
    fn of(gram: &Gram, squares: &[f32], learnt_from: &[u32], picture: usize) -> Self {
        let row = gram.row(picture);
        let own = f64::from(squares[picture]);
        let distance = |&other: &u32| {
            let other = other as usize;
            let squared = own - 2.0 * f64::from(row[other]) + f64::from(squares[other]);
            // A picture is at no distance from itself, whatever rounding says.
            (if other == picture { 0.0 } else { squared.max(0.0) as f32 }, other as u32)
        };
        let order = learnt_from.iter().map(distance).collect();
        let mut neighbours = Self { order, sorted: 0 };
        neighbours.sort(NEAREST);
        neighbours
    }

    /// Sorts at least the first `count`.
    fn sort(&mut self, count: usize) {
        let nearer = |a: &(f32, u32), b: &(f32, u32)| a.0.total_cmp(&b.0).then(a.1.cmp(&b.1));
        let count = count.min(self.order.len());
        if count < self.order.len() && count > 0 {
            self.order.select_nth_unstable_by(count - 1, nearer);
        }
        self.order[..count].sort_unstable_by(nearer);
        self.sorted = count;
    }

    /// The share of positive pictures among the `k` nearest that the run drew; a picture drawn twice is two neighbours.
    ///
    /// In f64: shares are few and often tied, and the mean over runs is to keep the ties.
    fn vote(&mut self, labels: &[bool], run: &ClassifierRun, parameters: &KnnParameters) -> f64 {
        let mut missing = u64::try_from(parameters.neighbours).unwrap_or(u64::MAX);
        let mut votes = [0f64; 2];
        let mut index = 0;
        while missing > 0 && index < self.order.len() {
            if index == self.sorted {
                self.sort(self.order.len());
            }
            let (squared, other) = self.order[index];
            index += 1;
            let drawn = u64::from(run.counts[other as usize]).min(missing);
            if drawn == 0 {
                continue;
            }
            let weight = match parameters.weights {
                NeighbourWeights::Uniform => 1.0,
                // Pictures at no distance alone decide.
                NeighbourWeights::Distance if squared == 0.0 => 1e150,
                NeighbourWeights::Distance => 1.0 / f64::from(squared).sqrt(),
            };
            votes[usize::from(labels[other as usize])] += weight * drawn as f64;
            missing -= drawn;
        }
        votes[1] / (votes[0] + votes[1])
    }
}

/// The probability of the disease of every picture, `[runs][N]`.
pub(super) fn predict(
    gram: &Gram,
    labels: &[bool],
    runs: &[ClassifierRun],
    parameters: &KnnParameters,
) -> Vec<Vec<f64>> {
    let squares = gram.diagonal();
    let drawn = |&index: &u32| runs.iter().any(|run| run.counts[index as usize] > 0);
    let learnt_from: Vec<u32> = (0..gram.len as u32).filter(drawn).collect();
    let by_picture: Vec<Vec<f64>> = (0..gram.len)
        .into_par_iter()
        .map(|picture| {
            let mut neighbours = Neighbours::of(gram, &squares, &learnt_from, picture);
            runs.iter().map(|run| neighbours.vote(labels, run, parameters)).collect()
        })
        .collect();
    (0..runs.len()).map(|run| by_picture.iter().map(|votes| votes[run]).collect()).collect()
}
