//! Features as a backbone's un-pooled maps have them: ReLU, many zeros, dead columns, two classes that lie apart a little.

use rand::{Rng, SeedableRng, rngs::SmallRng};
use rand_distr::StandardNormal;

/// Of the rows, the share that is learnt from.
const LEARNT: f64 = 0.7;

/// Standardised features `[N, C]`, row by row. The first `learnt` rows are learnt from, all are predicted.
pub(crate) struct Problem {
    pub(crate) rows: usize,
    pub(crate) columns: usize,
    pub(crate) learnt: usize,
    pub(crate) features: Vec<f32>,
    pub(crate) positive: Vec<bool>,
    /// 1 / (C x variance of all numbers), scikit-learn's `gamma="scale"`.
    pub(crate) gamma: f64,
}

/// How a column behaves before it is standardised.
#[derive(Clone, Copy)]
struct Column {
    /// Added before the ReLU: where it is low, the column is mostly zero.
    offset: f32,
    /// Added in positive rows.
    shift: f32,
}

impl Problem {
    /// The same for the same sizes.
    pub(crate) fn drawn(rows: usize, columns: usize) -> Self {
        let mut random = SmallRng::seed_from_u64(1);
        let behaviour: Vec<Column> = (0..columns)
            .map(|_| match random.gen_range(0..100) {
                // Never active, or in a few rows only: constant in a class or in both.
                0..5 => Column { offset: -9.0, shift: 0.0 },
                5..10 => Column { offset: -2.7, shift: 0.0 },
                10..30 => Column { offset: -0.5, shift: if random.r#gen() { 0.35 } else { -0.35 } },
                _ => Column { offset: random.gen_range(-1.5..0.5), shift: 0.0 },
            })
            .collect();
        let positive: Vec<bool> = (0..rows).map(|row| row % 2 == 0).collect();
        let mut features = vec![0.0f32; rows * columns];
        for (row, positive) in features.chunks_exact_mut(columns).zip(&positive) {
            for (value, column) in row.iter_mut().zip(&behaviour) {
                let noise: f32 = random.sample(StandardNormal);
                *value = (noise + column.offset + if *positive { column.shift } else { 0.0 }).max(0.0);
            }
        }
        let learnt = (LEARNT * rows as f64) as usize;
        let square = standardise(&mut features, columns, learnt);
        Self { rows, columns, learnt, features, positive, gamma: 1.0 / square }
    }

    /// What is learnt from, as a copy: none of the libraries learns from some of the rows of a matrix.
    pub(crate) fn learn(&self) -> Vec<f32> {
        self.features[..self.learnt * self.columns].to_vec()
    }

    /// The labels of what is learnt from.
    pub(crate) fn labels<T>(&self, of: impl Fn(bool) -> T) -> Vec<T> {
        self.positive[..self.learnt].iter().map(|positive| of(*positive)).collect()
    }

    /// The share of right answers in the rows that were not learnt from.
    pub(crate) fn accuracy(&self, answers: &[bool]) -> f64 {
        let asked = self.learnt..self.rows;
        let right = asked.clone().filter(|row| answers[*row] == self.positive[*row]).count();
        right as f64 / asked.len() as f64
    }
}

/// Mean and standard deviation of each column over the first rows; a constant column keeps its divisor 1. Gives the sum of the
/// variances that are left.
fn standardise(features: &mut [f32], columns: usize, learnt: usize) -> f64 {
    let mut sums = vec![(0.0f64, 0.0f64); columns];
    for row in features.chunks_exact(columns).take(learnt) {
        for (sums, value) in sums.iter_mut().zip(row) {
            let value = f64::from(*value);
            *sums = (sums.0 + value, sums.1 + value * value);
        }
    }
    let count = learnt as f64;
    let scale: Vec<(f64, f64)> = sums
        .iter()
        .map(|(sum, square)| {
            let mean = sum / count;
            let deviation = (square / count - mean * mean).max(0.0).sqrt();
            (mean, if deviation == 0.0 { 1.0 } else { deviation })
        })
        .collect();
    for row in features.chunks_exact_mut(columns) {
        for (value, (mean, deviation)) in row.iter_mut().zip(&scale) {
            *value = ((f64::from(*value) - mean) / deviation) as f32;
        }
    }
    sums.iter().filter(|(_, square)| *square > 0.0).count() as f64
}
