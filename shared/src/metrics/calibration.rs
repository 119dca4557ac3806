//! Whether probabilities mean what they say.

use super::{
    Interval, MetricError, SplitMix64,
    bootstrap::{check_level, sorted_with_ends},
    check_probabilities, quantile,
};
use alloc::{vec, vec::Vec};

/// Bins of [`expected_calibration_error`] in the literature (Guo et al. 2017, arXiv:1706.04599).
pub const DEFAULT_BINS: usize = 15;

/// One bar of a reliability diagram.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct ReliabilityBin {
    /// Samples whose probability falls into the bin.
    pub count: usize,
    /// Mean of their probabilities, 0 for an empty bin.
    pub mean_probability: f64,
    /// Share of them that is positive, 0 for an empty bin.
    pub positive_share: f64,
}

/// The reliability diagram: `bins` bins of equal width over 0 to 1, bin `i` from `i / bins` (exclusive, but 0 is in
/// the first) to `(i + 1) / bins` (inclusive), as scikit-learn's `calibration_curve(strategy="uniform")`.
///
/// # Errors
/// When the lengths differ or are 0, a probability is not within 0 to 1, or `bins` is 0.
pub fn reliability(probabilities: &[f32], labels: &[bool], bins: usize) -> Result<Vec<ReliabilityBin>, MetricError> {
    check_probabilities(probabilities, labels)?;
    if bins == 0 {
        return Err(MetricError::Parameter { name: "bins", range: "at least 1" });
    }
    let mut diagram = vec![ReliabilityBin::default(); bins];
    for (&probability, &label) in probabilities.iter().zip(labels) {
        let scaled = libm::ceil(f64::from(probability) * bins as f64) as usize;
        let bin = &mut diagram[scaled.saturating_sub(1).min(bins - 1)];
        bin.count += 1;
        bin.mean_probability += f64::from(probability);
        bin.positive_share += f64::from(u8::from(label));
    }
    for bin in diagram.iter_mut().filter(|bin| bin.count > 0) {
        bin.mean_probability /= bin.count as f64;
        bin.positive_share /= bin.count as f64;
    }
    Ok(diagram)
}

/// Expected calibration error, 0 to 1: the mean over samples of `|mean probability - share of positives|` of their
/// bin in [`reliability`].
///
/// This is calibration of the *positive* probability, which is what the thresholds are compared with; Guo et al.
/// bin the confidence of the *predicted* class instead, and the two figures differ.
///
/// # Errors
/// Those of [`reliability`].
pub fn expected_calibration_error(probabilities: &[f32], labels: &[bool], bins: usize) -> Result<f64, MetricError> {
    let gaps = reliability(probabilities, labels, bins)?
        .iter()
        .map(|bin| bin.count as f64 * (bin.mean_probability - bin.positive_share).abs())
        .sum::<f64>();
    Ok(gaps / probabilities.len() as f64)
}

/// What `statistic` of the labels would be if each of the probabilities were right: median, and the middle `level` (0.95, say) of
/// `draws` draws of labels by the probabilities (consistency resampling; Bröcker and Smith 2007, *Increasing the reliability of
/// reliability diagrams*). Draws without a value are left out and show in [`Interval::resamples`].
///
/// Of [`expected_calibration_error`] it is not 0: in a bin of few samples the share of positives is off by chance, and a measured
/// error within these ends cannot be told from none. Each sample is drawn by itself; of several images of a patient the ends are
/// therefore a little too near.
///
/// # Errors
/// When there is no sample, a probability is not within 0 to 1, `level` is not between 0 and 1, or no draw has a value.
pub fn if_calibrated(
    probabilities: &[f32],
    seed: u64,
    draws: usize,
    level: f64,
    mut statistic: impl FnMut(&[bool]) -> Option<f64>,
) -> Result<Interval, MetricError> {
    let mut labels = vec![false; probabilities.len()];
    check_probabilities(probabilities, &labels)?;
    check_level(level)?;
    let mut random = SplitMix64::new(seed);
    let drawn = (0..draws).filter_map(|_| {
        // 53 bits are what a number from 0 to 1 holds.
        let mut share = || (random.next_u64() >> 11) as f64 / (1u64 << 53) as f64;
        labels.iter_mut().zip(probabilities).for_each(|(label, &p)| *label = share() < f64::from(p));
        statistic(&labels)
    });
    let (values, [low, high]) = sorted_with_ends(drawn.collect(), level)?;
    let estimate = quantile(&values, 0.5).ok_or(MetricError::NoResample)?;
    Ok(Interval { estimate, low, high, resamples: values.len() })
}

/// Brier score: the mean of `(probability - label)^2`, 0 to 1, smaller is better.
///
/// # Errors
/// When the lengths differ or are 0, or a probability is not within 0 to 1.
pub fn brier_score(probabilities: &[f32], labels: &[bool]) -> Result<f64, MetricError> {
    check_probabilities(probabilities, labels)?;
    let sum: f64 = probabilities
        .iter()
        .zip(labels)
        .map(|(&probability, &label)| {
            let gap = f64::from(probability) - f64::from(u8::from(label));
            gap * gap
        })
        .sum();
    Ok(sum / probabilities.len() as f64)
}

/// Negative log-likelihood: the mean of `-ln` of the probability given to what was true, smaller is better.
///
/// Probabilities are first moved to within [`f32::EPSILON`] of 0 and 1 (scikit-learn's `log_loss` for `float32`), so
/// that one confident error costs 15.9, not infinity.
///
/// # Errors
/// When the lengths differ or are 0, or a probability is not within 0 to 1.
pub fn negative_log_likelihood(probabilities: &[f32], labels: &[bool]) -> Result<f64, MetricError> {
    check_probabilities(probabilities, labels)?;
    let sum: f64 = probabilities.iter().zip(labels).map(|(&p, &label)| log_loss(f64::from(p), label)).sum();
    Ok(sum / probabilities.len() as f64)
}

/// One sample's share of [`negative_log_likelihood`].
pub(crate) fn log_loss(probability: f64, label: bool) -> f64 {
    let margin = f64::from(f32::EPSILON);
    let probability = probability.clamp(margin, 1.0 - margin);
    -libm::log(if label { probability } else { 1.0 - probability })
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn a_calibrated_forecast_has_no_error() {
        let probabilities = [0.25f32; 4];
        let labels = [true, false, false, false];
        assert_eq!(expected_calibration_error(&probabilities, &labels, DEFAULT_BINS), Ok(0.0));
        assert_eq!(brier_score(&probabilities, &labels), Ok(0.1875));
    }

    /// Of one bin with a probability of a half, the error is the distance of a binomial share from a half.
    #[test]
    fn perfect_calibration_has_the_error_of_chance() {
        let of = |probabilities: &[f32], bins: usize| {
            if_calibrated(probabilities, 3, 2000, 0.95, |labels| {
                expected_calibration_error(probabilities, labels, bins).ok()
            })
        };
        // The median of |N(0, s)| is 0.6745 s, its 95 % quantile 1.96 s, its 97.5 % quantile 2.2414 s, with s = 1 / (2 sqrt(n)).
        for count in [100, 10_000] {
            let deviation = 0.5 / libm::sqrt(count as f64);
            let found = of(&vec![0.5; count], 1).unwrap();
            assert!((found.estimate / deviation - 0.6745).abs() < 0.08, "{found:?}");
            assert!((found.high / deviation - 2.2414).abs() < 0.2 && found.resamples == 2000, "{found:?}");
        }
        // Certain and right: nothing is left to chance.
        let certain = of(&[0.0, 1.0], DEFAULT_BINS).unwrap();
        assert_eq!((certain.low, certain.high), (0.0, 0.0));
        assert_eq!(of(&[0.5; 9], 1), of(&[0.5; 9], 1));
        assert_eq!(of(&[], 1), Err(MetricError::Empty));
        assert!(matches!(of(&[1.5], 1), Err(MetricError::Score { .. })));
        for level in [0.0, 1.0, f64::NAN] {
            let refused = if_calibrated(&[0.5], 1, 10, level, |_| Some(0.0));
            assert!(matches!(refused, Err(MetricError::Parameter { .. })), "{refused:?}");
        }
        assert_eq!(if_calibrated(&[0.5], 1, 10, 0.95, |_| None), Err(MetricError::NoResample));
        assert_eq!(if_calibrated(&[0.5], 1, 0, 0.95, |_| Some(0.0)), Err(MetricError::NoResample));
    }

    #[test]
    fn edges_belong_to_the_bin_below() {
        let diagram = reliability(&[0.0, 0.5, 0.500_1, 1.0], &[false; 4], 2).unwrap();
        assert_eq!((diagram[0].count, diagram[1].count), (2, 2));
    }

    #[test]
    fn a_confident_error_is_dear_but_finite() {
        let loss = negative_log_likelihood(&[1.0], &[false]).unwrap();
        assert!((loss - 15.942_385).abs() < 1e-5, "{loss}");
    }

    #[test]
    fn what_is_no_probability_is_refused() {
        for value in [-0.1, 1.1, f32::NAN, f32::INFINITY] {
            assert!(matches!(brier_score(&[value], &[true]), Err(MetricError::Score { index: 0, .. })));
        }
        assert!(matches!(reliability(&[0.5], &[true], 0), Err(MetricError::Parameter { .. })));
        assert_eq!(negative_log_likelihood(&[], &[]), Err(MetricError::Empty));
    }

    proptest! {
        #[test]
        fn figures_keep_their_bounds(samples in prop::collection::vec((0.0f32..=1.0, any::<bool>()), 1..100), bins in 1usize..40) {
            let (p, y): (Vec<f32>, Vec<bool>) = samples.into_iter().unzip();
            prop_assert!((0.0..=1.0).contains(&expected_calibration_error(&p, &y, bins).unwrap()));
            prop_assert!((0.0..=1.0).contains(&brier_score(&p, &y).unwrap()));
            prop_assert!((0.0..16.0).contains(&negative_log_likelihood(&p, &y).unwrap()));
            prop_assert_eq!(reliability(&p, &y, bins).unwrap().iter().map(|b| b.count).sum::<usize>(), p.len());
        }
    }
}
