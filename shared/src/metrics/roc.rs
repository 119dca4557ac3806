//! The receiver operating characteristic: what every threshold would have given.

use super::{MetricError, check_lengths};
use alloc::vec::Vec;

/// What one threshold gives: samples with `score >= threshold` are called positive.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct RocPoint {
    /// The threshold; infinity for the first point, where nothing is called positive.
    pub threshold: f32,
    /// Positives called positive.
    pub true_positives: usize,
    /// Negatives called positive.
    pub false_positives: usize,
}

/// The curve: one point for each different score, thresholds falling (scikit-learn's
/// `roc_curve(drop_intermediate=False)`).
#[derive(Clone, Debug, PartialEq)]
pub struct RocCurve {
    /// Positive samples.
    pub positives: usize,
    /// Negative samples.
    pub negatives: usize,
    /// From (0, 0) to (1, 1).
    pub points: Vec<RocPoint>,
}

impl RocCurve {
    /// From scores `[N]` (any numbers, larger is more positive) and labels `[N]`.
    ///
    /// # Errors
    /// When the lengths differ, a score is NaN, or a class is missing.
    pub fn new(scores: &[f32], labels: &[bool]) -> Result<Self, MetricError> {
        check_lengths(scores.len(), labels.len())?;
        if let Some((index, &value)) = scores.iter().enumerate().find(|(_, score)| score.is_nan()) {
            return Err(MetricError::Score { index, value });
        }
        let mut samples: Vec<(f32, bool)> = scores.iter().copied().zip(labels.iter().copied()).collect();
        samples.sort_unstable_by(|a, b| b.0.total_cmp(&a.0));
        let mut points = alloc::vec![RocPoint { threshold: f32::INFINITY, true_positives: 0, false_positives: 0 }];
        let (mut positives, mut negatives) = (0, 0);
        // `==`, not `total_cmp`: -0.0 and 0.0 are one threshold.
        for tied in samples.chunk_by(|a, b| a.0 == b.0) {
            let hits = tied.iter().filter(|(_, label)| *label).count();
            positives += hits;
            negatives += tied.len() - hits;
            points.push(RocPoint { threshold: tied[0].0, true_positives: positives, false_positives: negatives });
        }
        if positives == 0 || negatives == 0 {
            return Err(MetricError::OneClass);
        }
        Ok(Self { positives, negatives, points })
    }

    /// Sensitivity at a point of this curve.
    pub fn true_positive_rate(&self, point: &RocPoint) -> f64 {
        point.true_positives as f64 / self.positives as f64
    }

    /// Specificity at a point of this curve.
    pub fn true_negative_rate(&self, point: &RocPoint) -> f64 {
        (self.negatives - point.false_positives) as f64 / self.negatives as f64
    }

    /// One minus the specificity at a point of this curve.
    pub fn false_positive_rate(&self, point: &RocPoint) -> f64 {
        point.false_positives as f64 / self.negatives as f64
    }

    /// Area under the curve by the trapezoid rule: the chance that a positive scores higher than a negative, ties
    /// counting half (scikit-learn's `roc_auc_score`).
    pub fn auc(&self) -> f64 {
        // Twice the area in units of one positive times one negative is a whole number.
        let doubled: u128 = self
            .points
            .windows(2)
            .map(|pair| {
                let width = pair[1].false_positives - pair[0].false_positives;
                width as u128 * (pair[0].true_positives + pair[1].true_positives) as u128
            })
            .sum();
        doubled as f64 / (2.0 * self.positives as f64 * self.negatives as f64)
    }
}

/// [`RocCurve::auc`] without the curve.
///
/// # Errors
/// Those of [`RocCurve::new`].
pub fn roc_auc(scores: &[f32], labels: &[bool]) -> Result<f64, MetricError> {
    Ok(RocCurve::new(scores, labels)?.auc())
}

/// How well uncertainty `[N]` (entropy in bits, say) points out the predictions that are wrong: the area under the
/// curve with "wrong" as the positive class. 0.5 is no help, 1 finds every error first.
///
/// # Errors
/// Those of [`RocCurve::new`]; [`MetricError::OneClass`] when all predictions are right, or all wrong.
pub fn error_detection_auc(uncertainty: &[f32], predicted: &[bool], truth: &[bool]) -> Result<f64, MetricError> {
    check_lengths(predicted.len(), truth.len())?;
    let wrong: Vec<bool> = predicted.iter().zip(truth).map(|(predicted, truth)| predicted != truth).collect();
    roc_auc(uncertainty, &wrong)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn perfect_reversed_and_useless() {
        let labels = [false, false, true, true];
        assert_eq!(roc_auc(&[0.1, 0.2, 0.8, 0.9], &labels), Ok(1.0));
        assert_eq!(roc_auc(&[0.9, 0.8, 0.2, 0.1], &labels), Ok(0.0));
        assert_eq!(roc_auc(&[0.5; 4], &labels), Ok(0.5));
        assert_eq!(roc_auc(&[-0.0, 0.0, 0.0, -0.0], &labels), Ok(0.5));
    }

    #[test]
    fn what_has_no_ranking_is_refused() {
        assert_eq!(roc_auc(&[0.1, 0.2], &[true, true]), Err(MetricError::OneClass));
        assert_eq!(roc_auc(&[], &[]), Err(MetricError::Empty));
        assert!(matches!(roc_auc(&[f32::NAN, 0.1], &[true, false]), Err(MetricError::Score { index: 0, .. })));
        assert_eq!(error_detection_auc(&[0.1], &[true], &[true]), Err(MetricError::OneClass));
    }

    proptest! {
        #[test]
        fn auc_is_the_share_of_pairs_in_order(samples in prop::collection::vec((0u8..12, any::<bool>()), 2..80)) {
            let scores: Vec<f32> = samples.iter().map(|s| f32::from(s.0)).collect();
            let labels: Vec<bool> = samples.iter().map(|s| s.1).collect();
            let (mut sum, mut pairs) = (0.0, 0.0);
            for (a, _) in samples.iter().filter(|s| s.1) {
                for (b, _) in samples.iter().filter(|s| !s.1) {
                    pairs += 1.0;
                    sum += match a.cmp(b) { core::cmp::Ordering::Greater => 1.0, core::cmp::Ordering::Equal => 0.5, _ => 0.0 };
                }
            }
            match roc_auc(&scores, &labels) {
                Ok(auc) => prop_assert!((auc - sum / pairs).abs() < 1e-12),
                Err(error) => { prop_assert_eq!(error, MetricError::OneClass); prop_assert_eq!(pairs, 0.0); }
            }
        }
    }
}
