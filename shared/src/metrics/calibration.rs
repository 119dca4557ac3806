//! Whether probabilities mean what they say.

use super::{MetricError, check_probabilities};
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
