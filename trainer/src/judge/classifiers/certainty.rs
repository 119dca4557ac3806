//! Certain or not against right or wrong: the uncertainty confusion matrix.
//!
//! Shamsi et al. (2021, the paper's reference 8) ask whether an ensemble is uncertain where it is wrong; Asgharnezhad, Shamsi
//! et al. (2022, Scientific Reports 12:815, arXiv:2012.11840) judge that like a test whose finding is "uncertain" and whose
//! disease is "wrong". A wrong answer that was called uncertain is a true positive, a right one that was called certain a
//! true negative. So the matrix is a [`Confusion`], and its accuracy, sensitivity, specificity and precision are theirs.

use serde::Serialize;
use thorax_shared::metrics::{Confusion, MetricError, RocCurve};

/// Answers with at least this much entropy are uncertain where nothing better can be chosen: half of what two classes can
/// have, a probability of 0.11 to 0.89.
pub const FALLBACK_LIMIT_BITS: f32 = 0.5;

/// How the limit came about.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum LimitRule {
    /// It maximises uncertainty sensitivity + uncertainty specificity (Youden 1950).
    Youden,
    /// [`FALLBACK_LIMIT_BITS`]: all answers were right, all were wrong, or no limit told them apart.
    Fallback,
}

/// The entropy from which on an answer is called uncertain.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub struct Limit {
    /// In bits.
    pub bits: f32,
    /// How it came about.
    pub rule: LimitRule,
}

/// Chooses the limit on validation answers: entropies in bits `[N]`, and whether each answer `[N]` is wrong. Of equally good
/// limits the largest is taken, which calls the fewest answers uncertain.
///
/// # Errors
/// When the lengths differ or are 0, or an entropy is NaN.
pub fn choose_limit(entropy_bits: &[f32], wrong: &[bool]) -> Result<Limit, MetricError> {
    let curve = match RocCurve::new(entropy_bits, wrong) {
        Err(MetricError::OneClass) => return Ok(Limit { bits: FALLBACK_LIMIT_BITS, rule: LimitRule::Fallback }),
        curve => curve?,
    };
    let mut best = (0.0, Limit { bits: FALLBACK_LIMIT_BITS, rule: LimitRule::Fallback });
    for point in &curve.points {
        let gain = curve.true_positive_rate(point) - curve.false_positive_rate(point);
        if gain > best.0 {
            best = (gain, Limit { bits: point.threshold, rule: LimitRule::Youden });
        }
    }
    Ok(best.1)
}

/// Counts entropies in bits `[N]` against whether each answer `[N]` is wrong.
///
/// # Errors
/// When the lengths differ or are 0.
pub fn uncertainty_confusion(entropy_bits: &[f32], wrong: &[bool], limit: Limit) -> Result<Confusion, MetricError> {
    let uncertain: Vec<bool> = entropy_bits.iter().map(|&entropy| entropy >= limit.bits).collect();
    Confusion::new(&uncertain, wrong)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use proptest::prelude::*;

    use super::*;
    use crate::judge::classifiers::references::{flags, floats, number, section};

    #[test]
    fn limit_and_figures_are_scikit_learns() {
        let cases = section("uncertainty");
        assert_eq!(cases.len(), 2);
        for case in cases {
            let (entropy, wrong) = (floats(&case["entropy_bits"]), flags(&case["wrong"]));
            let limit = choose_limit(&entropy, &wrong).unwrap();
            assert_eq!((f64::from(limit.bits), limit.rule), (number(&case["limit"]), LimitRule::Youden));
            let counts = uncertainty_confusion(&entropy, &wrong, limit).unwrap();
            for (name, found) in [
                ("accuracy", counts.accuracy()),
                ("sensitivity", counts.sensitivity()),
                ("specificity", counts.specificity()),
                ("precision", counts.precision()),
            ] {
                assert!((found.unwrap() - number(&case["figures"][name])).abs() < 1e-12, "{name}");
            }
        }
    }

    #[test]
    fn without_errors_or_order_half_a_bit_is_the_limit() {
        let fallback = Limit { bits: 0.5, rule: LimitRule::Fallback };
        assert_eq!(choose_limit(&[0.1, 0.9], &[false, false]), Ok(fallback));
        assert_eq!(choose_limit(&[0.1, 0.9], &[true, true]), Ok(fallback));
        assert_eq!(choose_limit(&[0.1, 0.9], &[true, false]), Ok(fallback));
        assert_eq!(choose_limit(&[0.4, 0.4], &[true, false]), Ok(fallback));
        assert_eq!(choose_limit(&[], &[]), Err(MetricError::Empty));
    }

    proptest! {
        #[test]
        fn no_other_limit_is_better(samples in prop::collection::vec((0u8..=32, any::<bool>()), 1..80), other in 0u8..=32) {
            let (entropy, wrong): (Vec<f32>, Vec<bool>) = samples.iter().map(|&(e, w)| (f32::from(e) / 32.0, w)).unzip();
            let gain = |limit| {
                let counts = uncertainty_confusion(&entropy, &wrong, limit).unwrap();
                counts.sensitivity().zip(counts.specificity()).map(|(sensitivity, specificity)| sensitivity + specificity)
            };
            let limit = choose_limit(&entropy, &wrong).unwrap();
            if let (LimitRule::Youden, Some(best)) = (limit.rule, gain(limit)) {
                prop_assert!(best > 1.0);
                let other = gain(Limit { bits: f32::from(other) / 32.0, ..limit }).unwrap();
                prop_assert!(best + 1e-12 >= other);
            }
        }
    }
}
