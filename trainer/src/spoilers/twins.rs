//! Pictures that are nearly the same: saved again as JPEG, made smaller, brighter, or equalised.
//!
//! All pairs are compared by their hashes, 256 bits; those that differ in few of them by the correlation of their details. The
//! thresholds were set on planted copies of real pictures, see `tests`.

use std::fmt;

use rayon::prelude::*;

use super::sketch::Sketch;
use crate::data::{Label, Record, Split};

/// Bits of the hash by which candidates may differ.
pub(super) const BITS: u32 = 72;
/// The least correlation of two copies' details.
pub(super) const CORRELATION: f32 = 0.78;

/// Two pictures, by their numbers, and the correlation of their details.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Pair {
    pub(super) a: usize,
    pub(super) b: usize,
    pub(super) correlation: f32,
}

/// Two pictures that are nearly the same.
#[derive(Clone, Debug, PartialEq)]
pub struct Twins {
    /// The files.
    pub files: [String; 2],
    /// Where each is.
    pub splits: [Split; 2],
    /// What each shows.
    pub labels: [Label; 2],
    /// The groups that they are said to be of.
    pub groups: [String; 2],
    /// Of their details, from 0 to 1.
    pub correlation: f32,
}

/// The pairs that are nearly the same and `worth` a word, the most alike first.
pub(super) fn pairs(sketches: &[Sketch], worth: impl Fn(usize, usize) -> bool + Sync) -> Vec<Pair> {
    let mut pairs: Vec<Pair> = (0..sketches.len())
        .into_par_iter()
        .flat_map_iter(|a| {
            let near =
                (a + 1..sketches.len()).filter(move |&b| differing(&sketches[a].hash, &sketches[b].hash) <= BITS);
            let worth = &worth;
            near.filter(move |&b| worth(a, b)).filter_map(move |b| {
                let correlation = correlation(&sketches[a], &sketches[b]);
                (correlation >= CORRELATION).then_some(Pair { a, b, correlation })
            })
        })
        .collect();
    pairs.sort_by(|x, y| y.correlation.total_cmp(&x.correlation).then((x.a, x.b).cmp(&(y.a, y.b))));
    pairs
}

pub(super) fn differing(a: &[u64; 4], b: &[u64; 4]) -> u32 {
    a.iter().zip(b).map(|(a, b)| (a ^ b).count_ones()).sum()
}

pub(super) fn correlation(a: &Sketch, b: &Sketch) -> f32 {
    let dot: i32 = a.detail.iter().zip(&b.detail).map(|(&a, &b)| i32::from(a) * i32::from(b)).sum();
    dot as f32 / (a.norm * b.norm).max(1.0)
}

impl Twins {
    pub(super) fn of(records: &[&Record], Pair { a, b, correlation }: Pair) -> Self {
        let both = [records[a], records[b]];
        Self {
            files: both.map(|record| record.path.clone()),
            splits: both.map(|record| record.split),
            labels: both.map(|record| record.label),
            groups: both.map(|record| record.group.clone()),
            correlation,
        }
    }

    /// On which two sides they stand.
    pub fn sides(&self) -> String {
        let [a, b] = [0, 1].map(|i| format!("{} and {}", self.splits[i].as_str(), self.labels[i].as_str()));
        format!("{a}, {b}")
    }
}

impl fmt::Display for Twins {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "nearly the same picture: {} and {} ({}; correlation {:.2}); look at them, and give both one group, or take one out",
            self.files[0],
            self.files[1],
            self.sides(),
            self.correlation
        )
    }
}
