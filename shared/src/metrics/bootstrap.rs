//! How far a figure can be trusted: the percentile bootstrap over patients.
//!
//! Images of one patient resemble each other, so drawing images would promise too narrow an interval. Patients are
//! drawn instead, with all their images (cluster bootstrap; Efron and Tibshirani 1993, chapters 8 and 13).

use super::MetricError;
use alloc::{collections::BTreeMap, vec::Vec};

/// A figure with its confidence interval.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Interval {
    /// The figure of the sample itself.
    pub estimate: f64,
    /// Lower end.
    pub low: f64,
    /// Upper end.
    pub high: f64,
    /// Resamples that had a value (one that drew a single class has no AUC).
    pub resamples: usize,
}

/// Percentile bootstrap interval of `statistic` at confidence `level` (0.95, say).
///
/// `groups[i]` names the patient of sample `i`. Each of `resamples` rounds draws as many groups as there are, with
/// replacement, and hands `statistic` the indices of all samples of the groups drawn (a group drawn twice is there
/// twice). The ends are the `(1 - level) / 2` and `(1 + level) / 2` quantiles, interpolated linearly as NumPy does.
/// Rounds whose statistic is `None` are left out and show in [`Interval::resamples`]. The same seed gives the same
/// interval everywhere.
///
/// # Errors
/// When there is no sample, `resamples` is 0, `level` is not between 0 and 1, or the statistic has no value for the
/// sample itself or for any resample.
pub fn bootstrap_interval<G: Ord>(
    groups: &[G],
    seed: u64,
    resamples: usize,
    level: f64,
    mut statistic: impl FnMut(&[usize]) -> Option<f64>,
) -> Result<Interval, MetricError> {
    if groups.is_empty() {
        return Err(MetricError::Empty);
    }
    if resamples == 0 {
        return Err(MetricError::Parameter { name: "resamples", range: "at least 1" });
    }
    check_level(level)?;
    let mut members: BTreeMap<&G, Vec<usize>> = BTreeMap::new();
    for (index, group) in groups.iter().enumerate() {
        members.entry(group).or_default().push(index);
    }
    let members: Vec<Vec<usize>> = members.into_values().collect();
    let all: Vec<usize> = (0..groups.len()).collect();
    let estimate = statistic(&all).ok_or(MetricError::NoResample)?;

    let mut random = SplitMix64::new(seed);
    let mut drawn = Vec::with_capacity(groups.len());
    let values = (0..resamples)
        .filter_map(|_| {
            drawn.clear();
            for _ in 0..members.len() {
                drawn.extend_from_slice(&members[random.below(members.len())]);
            }
            statistic(&drawn).filter(|value| !value.is_nan())
        })
        .collect();
    let (values, [low, high]) = sorted_with_ends(values, level)?;
    Ok(Interval { estimate, low, high, resamples: values.len() })
}

/// Whether `level` is between 0 and 1.
pub(super) fn check_level(level: f64) -> Result<(), MetricError> {
    if level > 0.0 && level < 1.0 {
        return Ok(());
    }
    Err(MetricError::Parameter { name: "level", range: "between 0 and 1, for instance 0.95" })
}

/// The values, sorted, and the ends between which the middle `level` of them lies.
pub(super) fn sorted_with_ends(mut values: Vec<f64>, level: f64) -> Result<(Vec<f64>, [f64; 2]), MetricError> {
    values.sort_unstable_by(f64::total_cmp);
    match (quantile(&values, (1.0 - level) / 2.0), quantile(&values, (1.0 + level) / 2.0)) {
        (Some(low), Some(high)) => Ok((values, [low, high])),
        _ => Err(MetricError::NoResample),
    }
}

/// The `q` quantile of sorted values, interpolated linearly (NumPy's default); `None` for no values.
pub fn quantile(sorted: &[f64], q: f64) -> Option<f64> {
    let position = q * sorted.len().checked_sub(1)? as f64;
    let below = sorted[position as usize];
    let above = sorted[(position as usize + 1).min(sorted.len() - 1)];
    Some(below + (above - below) * (position - libm::floor(position)))
}

/// SplitMix64 (Steele, Lea and Flood 2014, *Fast splittable pseudorandom number generators*; Vigna's `splitmix64.c`):
/// six lines, and the same numbers on every machine. Not for secrets.
#[derive(Clone, Debug)]
pub struct SplitMix64(u64);

impl SplitMix64 {
    /// Starts at `seed`; every seed is a good one.
    pub const fn new(seed: u64) -> Self {
        Self(seed)
    }

    /// The next 64 random bits.
    pub const fn next_u64(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    /// A number from 0 to `bound - 1` (0 for a bound of 0), by multiplication (Lemire 2019). Without his rejection
    /// step: the bias is below `bound / 2^64`.
    pub const fn below(&mut self, bound: usize) -> usize {
        ((self.next_u64() as u128 * bound as u128) >> 64) as usize
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn the_generator_gives_the_published_numbers() {
        // Rosetta Code, "Pseudo-random numbers/Splitmix64", seed 1234567.
        let mut random = SplitMix64::new(1_234_567);
        let expected = [
            6_457_827_717_110_365_317,
            3_203_168_211_198_807_973,
            9_817_491_932_198_370_423,
            4_593_380_528_125_082_431,
            16_408_922_859_458_223_821,
        ];
        assert_eq!(core::array::from_fn(|_| random.next_u64()), expected);
    }

    #[test]
    fn whole_patients_are_drawn() {
        let patients = ["b", "a", "b", "c", "c", "c"];
        let interval = bootstrap_interval(&patients, 1, 200, 0.9, |drawn| {
            for (patient, images) in [("a", 1), ("b", 2), ("c", 3)] {
                assert_eq!(drawn.iter().filter(|&&i| patients[i] == patient).count() % images, 0);
            }
            Some(drawn.len() as f64)
        })
        .unwrap();
        assert_eq!((interval.estimate, interval.resamples), (6.0, 200));
        assert!(interval.low < 6.0 && interval.high > 6.0, "{interval:?}");
    }

    #[test]
    fn more_patients_narrow_the_interval() {
        let width = |patients: usize| {
            let ids: Vec<usize> = (0..patients).collect();
            let interval = bootstrap_interval(&ids, 3, 500, 0.95, |drawn| {
                Some(drawn.iter().filter(|&&i| i % 2 == 0).count() as f64 / drawn.len() as f64)
            })
            .unwrap();
            interval.high - interval.low
        };
        // Standard error of a share of one half: 1.96 * 2 * 0.5 / sqrt(n).
        assert!((width(100) - 0.196).abs() < 0.03);
        assert!((width(1600) - 0.049).abs() < 0.01);
    }

    #[test]
    fn resamples_without_a_value_are_counted_out() {
        let interval = bootstrap_interval(&[0, 1], 5, 100, 0.95, |drawn| drawn.contains(&0).then_some(1.0)).unwrap();
        assert!((60..90).contains(&interval.resamples), "{interval:?}");
        assert_eq!(bootstrap_interval(&[0, 1], 5, 100, 0.95, |_| None), Err(MetricError::NoResample));
    }

    #[test]
    fn impossible_requests_are_refused() {
        let none: [u8; 0] = [];
        assert_eq!(bootstrap_interval(&none, 1, 10, 0.95, |_| Some(1.0)), Err(MetricError::Empty));
        assert!(matches!(bootstrap_interval(&[1], 1, 0, 0.95, |_| Some(1.0)), Err(MetricError::Parameter { .. })));
        for level in [0.0, 1.0, f64::NAN] {
            let refused = bootstrap_interval(&[1], 1, 10, level, |_| Some(1.0));
            assert!(matches!(refused, Err(MetricError::Parameter { .. })));
        }
    }
}
