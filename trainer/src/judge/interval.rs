//! A figure and how far it can be trusted: its bootstrap interval over patients.

use serde::{Deserialize, Serialize};
use thorax_shared::metrics::bootstrap_interval;

/// A figure with its interval over patients.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct Estimate {
    /// The figure.
    pub value: f64,
    /// Lower end.
    pub low: f64,
    /// Upper end.
    pub high: f64,
}

impl Estimate {
    /// The statistic of all `groups` (a patient's pictures share theirs) and its percentile bootstrap interval over groups; `None`
    /// where it has no value.
    pub fn new<G: Ord>(
        groups: &[G],
        resampling: &Resampling,
        statistic: impl FnMut(&[usize]) -> Option<f64>,
    ) -> Option<Self> {
        let Resampling { resamples, level, seed } = *resampling;
        let interval = bootstrap_interval(groups, seed, resamples, level, statistic).ok()?;
        Some(Self { value: interval.estimate, low: interval.low, high: interval.high })
    }
}

/// How intervals are made.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct Resampling {
    /// Bootstrap resamples of patients.
    pub resamples: usize,
    /// Confidence level of the intervals.
    pub level: f64,
    /// Seed of the bootstrap.
    pub seed: u64,
}

/// The mean; `None` for no values.
pub fn mean(values: impl IntoIterator<Item = f64>) -> Option<f64> {
    let (sum, count) = values.into_iter().fold((0.0, 0usize), |(sum, count), value| (sum + value, count + 1));
    (count > 0).then(|| sum / count as f64)
}
