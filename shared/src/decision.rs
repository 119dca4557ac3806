//! From numbers to a verdict, and how the numbers that decide are chosen.
//!
//! [`DecisionRule`] is data and travels in the bundle; [`DecisionRule::decide`] is the only place where a verdict is
//! made. Its numbers are chosen on *validation* images, never on test images, by [`fit_temperature`] (so that
//! probabilities mean something) and then [`choose_thresholds`] (so that the wanted share of patients is not missed).

use crate::metrics::{MetricError, RocCurve, calibration::log_loss};
use crate::uncertainty::logistic;
use crate::verdict::{ReferReason, RejectReason, Verdict};
use alloc::vec::Vec;
use serde::{Deserialize, Serialize};

/// The limits that turn [`Evidence`] into a [`Verdict`].
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct DecisionRule {
    /// A probability of at least this is positive.
    pub positive_at: f32,
    /// A probability below this is negative; from here to `positive_at` is the abstain zone (empty when they are
    /// equal).
    pub negative_at: f32,
    /// More entropy of the mean distribution than this, in bits (0 to 1), is referred. Two classes have no more than
    /// 1, so 1 switches the limit off.
    pub entropy_limit_bits: f32,
    /// More novelty (distance from the training images, in the classifier's own unit) than this is referred.
    pub novelty_refer: f32,
    /// More novelty than this is rejected. [`f32::MAX`] in both switches the limits off.
    pub novelty_reject: f32,
}

/// What is known of one image when it is decided.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct Evidence {
    /// Calibrated mean probability of the positive class, 0 to 1.
    pub probability: f32,
    /// Entropy of the mean distribution in bits, 0 to 1.
    pub entropy_bits: f32,
    /// Distance from the training images, in the classifier's own unit.
    pub novelty: f32,
}

/// Why a rule cannot decide.
#[derive(Clone, Copy, Debug, PartialEq, thiserror::Error)]
#[non_exhaustive]
pub enum RuleError {
    /// The thresholds are not `0 <= negative_at <= positive_at <= 1`.
    #[error(
        "thresholds negative_at {negative_at} and positive_at {positive_at} are not 0 <= negative_at <= positive_at <= 1: choose them again"
    )]
    Thresholds {
        /// The lower one.
        negative_at: f32,
        /// The upper one.
        positive_at: f32,
    },
    /// The entropy limit is not within 0 to 1.
    #[error("entropy limit {0} is not within 0 to 1 bits: 1 switches it off")]
    Entropy(f32),
    /// The novelty limits are not finite and in order.
    #[error(
        "novelty limits {refer} and {reject} are not finite with the first not above the second: the largest f32 switches them off"
    )]
    Novelty {
        /// The lower one.
        refer: f32,
        /// The upper one.
        reject: f32,
    },
}

impl DecisionRule {
    /// Checks that the rule can decide.
    ///
    /// # Errors
    /// When a limit is NaN, out of range or out of order.
    pub fn validate(&self) -> Result<(), RuleError> {
        let Self { positive_at, negative_at, entropy_limit_bits, novelty_refer, novelty_reject } = *self;
        if !(0.0 <= negative_at && negative_at <= positive_at && positive_at <= 1.0) {
            return Err(RuleError::Thresholds { negative_at, positive_at });
        }
        if !(0.0..=1.0).contains(&entropy_limit_bits) {
            return Err(RuleError::Entropy(entropy_limit_bits));
        }
        if !(novelty_refer.is_finite() && novelty_reject.is_finite() && novelty_refer <= novelty_reject) {
            return Err(RuleError::Novelty { refer: novelty_refer, reject: novelty_reject });
        }
        Ok(())
    }

    /// The verdict. The first that applies, in this order:
    ///
    /// 1. rejected, `OutOfDistribution`: `novelty > novelty_reject`
    /// 2. refer, `Unfamiliar`: `novelty > novelty_refer`
    /// 3. refer, `HighEntropy`: `entropy_bits > entropy_limit_bits`
    /// 4. positive: `probability >= positive_at`
    /// 5. negative: `probability < negative_at`
    /// 6. refer, `AbstainZone`: anything else
    ///
    /// NaN fails every comparison that would let an image pass: with NaN anywhere, in evidence or rule, or with a
    /// probability outside 0 to 1, the verdict is never positive or negative.
    pub fn decide(&self, evidence: &Evidence) -> Verdict {
        let Evidence { probability, entropy_bits, novelty } = *evidence;
        let familiar = novelty <= self.novelty_refer && novelty <= self.novelty_reject;
        let certain = entropy_bits <= self.entropy_limit_bits;
        let decidable = (0.0..=1.0).contains(&probability) && self.negative_at <= self.positive_at;
        if novelty > self.novelty_reject {
            Verdict::Rejected(RejectReason::OutOfDistribution)
        } else if !familiar {
            Verdict::Refer(ReferReason::Unfamiliar)
        } else if !certain {
            Verdict::Refer(ReferReason::HighEntropy)
        } else if decidable && probability >= self.positive_at {
            Verdict::Positive
        } else if decidable && probability < self.negative_at {
            Verdict::Negative
        } else {
            Verdict::Refer(ReferReason::AbstainZone)
        }
    }
}

/// Two thresholds, and what they gave on the images that they were chosen on.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Thresholds {
    /// [`DecisionRule::positive_at`].
    pub positive_at: f32,
    /// [`DecisionRule::negative_at`].
    pub negative_at: f32,
    /// Share of positives that are not called negative (found or referred).
    pub sensitivity: f64,
    /// Share of negatives that are not called positive (cleared or referred).
    pub specificity: f64,
    /// Share of positives called positive.
    pub found: f64,
    /// Share of negatives called negative.
    pub cleared: f64,
    /// Share of all in the abstain zone.
    pub abstained: f64,
}

/// Why no thresholds or temperature could be chosen.
#[derive(Clone, Copy, Debug, PartialEq, thiserror::Error)]
#[non_exhaustive]
pub enum ChoiceError {
    /// The samples cannot be ranked or scored.
    #[error(transparent)]
    Samples(#[from] MetricError),
    /// A target is not above 0 and at most 1.
    #[error("target {0} is not above 0 and at most 1: give a share, for instance 0.9")]
    Target(f64),
    /// No threshold of at most 1 has the wanted specificity.
    #[error(
        "a specificity of {wanted} is out of reach: too many negative images have probability 1; fit the temperature first, or ask for less"
    )]
    Specificity {
        /// What was asked for.
        wanted: f64,
    },
    /// An image has no members, or a logit is NaN or infinite.
    #[error("image {image} has no member or a logit that is not a finite number: leave it out")]
    Logits {
        /// Position of the image.
        image: usize,
    },
}

/// Chooses both thresholds on validation images: probabilities `[N]` and labels `[N]`.
///
/// - `negative_at` is the largest threshold at which at least `sensitivity_target` of the positives are at or above
///   it: no larger share of patients is called negative than allowed (WHO's floor for a triage test is 0.90).
/// - `positive_at` is the smallest threshold at which at least `specificity_target` of the negatives are below it.
///
/// What lies between the two is referred. Where the classes are so far apart that `negative_at` would be above
/// `positive_at`, every threshold between them meets both targets; both become the middle and nothing is referred.
///
/// # Errors
/// When the samples cannot be ranked (see [`RocCurve::new`]) or are no probabilities, a target is no share, or so
/// many negatives have probability 1 that no threshold has the wanted specificity.
pub fn choose_thresholds(
    probabilities: &[f32],
    labels: &[bool],
    sensitivity_target: f64,
    specificity_target: f64,
) -> Result<Thresholds, ChoiceError> {
    for target in [sensitivity_target, specificity_target] {
        if !(target > 0.0 && target <= 1.0) {
            return Err(ChoiceError::Target(target));
        }
    }
    let curve = RocCurve::new(probabilities, labels)?;
    if let Some((index, &value)) = probabilities.iter().enumerate().find(|(_, p)| !(0.0..=1.0).contains(*p)) {
        return Err(MetricError::Score { index, value }.into());
    }
    // Thresholds fall along the curve: the first point that is sensitive enough has the largest. The last point has
    // a sensitivity of 1, so there always is one.
    let negative_at = curve
        .points
        .iter()
        .find(|point| curve.true_positive_rate(point) >= sensitivity_target)
        .map_or(0.0, |point| point.threshold);
    // The first point that is not specific enough any more: just above its score lies the smallest threshold that is.
    let positive_at = curve
        .points
        .iter()
        .find(|point| curve.true_negative_rate(point) < specificity_target)
        .map_or(0.0, |point| point.threshold.next_up());
    if positive_at > 1.0 {
        return Err(ChoiceError::Specificity { wanted: specificity_target });
    }
    let (positive_at, negative_at) = if negative_at > positive_at {
        let middle = positive_at.midpoint(negative_at);
        (middle, middle)
    } else {
        (positive_at, negative_at)
    };
    let share = |label: Option<bool>, called: &dyn Fn(f32) -> bool| {
        let of: Vec<f32> = probabilities
            .iter()
            .zip(labels)
            .filter(|(_, actual)| label.is_none_or(|label| label == **actual))
            .map(|(&probability, _)| probability)
            .collect();
        of.iter().filter(|probability| called(**probability)).count() as f64 / of.len() as f64
    };
    Ok(Thresholds {
        positive_at,
        negative_at,
        sensitivity: share(Some(true), &|p| p >= negative_at),
        specificity: share(Some(false), &|p| p < positive_at),
        found: share(Some(true), &|p| p >= positive_at),
        cleared: share(Some(false), &|p| p < negative_at),
        abstained: share(None, &|p| negative_at <= p && p < positive_at),
    })
}

/// Temperatures that [`fit_temperature`] considers.
pub const TEMPERATURES: core::ops::RangeInclusive<f32> = 0.05..=20.0;

/// The temperature at which the ensemble's mean probability has the smallest negative log-likelihood on validation
/// images: `member_logits[N][members]`, labels `[N]`.
///
/// All members share the temperature (Guo et al. 2017, arXiv:1706.04599, applied to the mean of equation 1). The
/// logarithm of the temperature is scanned on a grid over [`TEMPERATURES`], and the best step's surroundings are
/// refined by golden-section search to a relative error of about 1e-6. Where the images are separated perfectly the
/// likelihood grows for ever and the smallest temperature is returned; validation sets that small are no use.
///
/// # Errors
/// When the lengths differ or are 0, an image has no member, a logit is NaN or infinite, or a class is missing.
pub fn fit_temperature(member_logits: &[impl AsRef<[f32]>], labels: &[bool]) -> Result<f32, ChoiceError> {
    if member_logits.len() != labels.len() {
        return Err(MetricError::Lengths { left: member_logits.len(), right: labels.len() }.into());
    }
    if labels.is_empty() {
        return Err(MetricError::Empty.into());
    }
    if labels.iter().all(|&label| label == labels[0]) {
        return Err(MetricError::OneClass.into());
    }
    let unusable = |logits: &[f32]| logits.is_empty() || logits.iter().any(|logit| !logit.is_finite());
    if let Some(image) = member_logits.iter().position(|logits| unusable(logits.as_ref())) {
        return Err(ChoiceError::Logits { image });
    }
    let loss = |log_temperature: f64| -> f64 {
        let scale = libm::exp(-log_temperature);
        let image = |logits: &[f32]| {
            logits.iter().map(|&logit| logistic(f64::from(logit) * scale)).sum::<f64>() / logits.len() as f64
        };
        member_logits.iter().zip(labels).map(|(logits, &label)| log_loss(image(logits.as_ref()), label)).sum()
    };

    const STEPS: usize = 24;
    let (low, high) = (libm::log(f64::from(*TEMPERATURES.start())), libm::log(f64::from(*TEMPERATURES.end())));
    let step = (high - low) / STEPS as f64;
    let best = (0..=STEPS)
        .map(|i| low + step * i as f64)
        .map(|at| (at, loss(at)))
        .min_by(|a, b| a.1.total_cmp(&b.1))
        .map_or(0.0, |(at, _)| at);
    let log_temperature = golden_section((best - step).max(low), (best + step).min(high), 1e-6, loss);
    Ok((libm::exp(log_temperature) as f32).clamp(*TEMPERATURES.start(), *TEMPERATURES.end()))
}

/// Where `f` is smallest between `low` and `high`, give or take `tolerance` (Kiefer 1953).
fn golden_section(mut low: f64, mut high: f64, tolerance: f64, f: impl Fn(f64) -> f64) -> f64 {
    const SHRINK: f64 = 0.618_033_988_749_894_9;
    let inner = |low: f64, high: f64| (high - SHRINK * (high - low), low + SHRINK * (high - low));
    let (mut left, mut right) = inner(low, high);
    let (mut f_left, mut f_right) = (f(left), f(right));
    while high - low > tolerance {
        if f_left <= f_right {
            (high, right, f_right) = (right, left, f_left);
            left = inner(low, high).0;
            f_left = f(left);
        } else {
            (low, left, f_left) = (left, right, f_right);
            right = inner(low, high).1;
            f_right = f(right);
        }
    }
    low.midpoint(high)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::panic)]
    use super::*;
    use crate::metrics::SplitMix64;
    use proptest::prelude::*;

    const RULE: DecisionRule = DecisionRule {
        positive_at: 0.7,
        negative_at: 0.3,
        entropy_limit_bits: 0.95,
        novelty_refer: 2.0,
        novelty_reject: 4.0,
    };

    fn decide(probability: f32, entropy_bits: f32, novelty: f32) -> Verdict {
        RULE.decide(&Evidence { probability, entropy_bits, novelty })
    }

    #[test]
    fn every_verdict_and_its_border() {
        assert_eq!(decide(0.7, 0.5, 0.0), Verdict::Positive);
        assert_eq!(decide(0.7f32.next_down(), 0.5, 0.0), Verdict::Refer(ReferReason::AbstainZone));
        assert_eq!(decide(0.3, 0.5, 0.0), Verdict::Refer(ReferReason::AbstainZone));
        assert_eq!(decide(0.3f32.next_down(), 0.5, 0.0), Verdict::Negative);
        assert_eq!(decide(0.9, 0.95, 2.0), Verdict::Positive);
        assert_eq!(decide(0.9, 0.95f32.next_up(), 2.0), Verdict::Refer(ReferReason::HighEntropy));
        assert_eq!(decide(0.9, 0.5, 2.0f32.next_up()), Verdict::Refer(ReferReason::Unfamiliar));
        assert_eq!(decide(0.9, 0.5, 4.0), Verdict::Refer(ReferReason::Unfamiliar));
        assert_eq!(decide(0.9, 0.5, 4.0f32.next_up()), Verdict::Rejected(RejectReason::OutOfDistribution));
    }

    #[test]
    fn novelty_comes_before_entropy_and_entropy_before_the_zone() {
        assert_eq!(decide(0.5, 1.0, 9.0), Verdict::Rejected(RejectReason::OutOfDistribution));
        assert_eq!(decide(0.5, 1.0, 3.0), Verdict::Refer(ReferReason::Unfamiliar));
        assert_eq!(decide(0.5, 1.0, 1.0), Verdict::Refer(ReferReason::HighEntropy));
    }

    #[test]
    fn rules_that_cannot_decide_are_refused() {
        assert_eq!(RULE.validate(), Ok(()));
        let off = DecisionRule { entropy_limit_bits: 1.0, novelty_refer: f32::MAX, novelty_reject: f32::MAX, ..RULE };
        assert_eq!(off.validate(), Ok(()));
        for (positive_at, negative_at) in [(0.3, 0.7), (1.1, 0.3), (0.7, -0.1), (f32::NAN, 0.3), (0.7, f32::NAN)] {
            let rule = DecisionRule { positive_at, negative_at, ..RULE };
            assert!(matches!(rule.validate(), Err(RuleError::Thresholds { .. })));
        }
        for entropy_limit_bits in [-0.1, 1.1, f32::NAN] {
            let rule = DecisionRule { entropy_limit_bits, ..RULE };
            assert!(matches!(rule.validate(), Err(RuleError::Entropy(_))));
        }
        for (novelty_refer, novelty_reject) in [(4.0, 2.0), (f32::NAN, 2.0), (2.0, f32::NAN), (2.0, f32::INFINITY)] {
            let rule = DecisionRule { novelty_refer, novelty_reject, ..RULE };
            assert!(matches!(rule.validate(), Err(RuleError::Novelty { .. })));
        }
    }

    #[test]
    fn overlapping_classes_leave_an_abstain_zone() {
        let probabilities = [0.05, 0.1, 0.2, 0.3, 0.6, 0.4, 0.5, 0.7, 0.8, 0.9];
        let labels = [false, false, false, false, false, true, true, true, true, true];
        let chosen = choose_thresholds(&probabilities, &labels, 1.0, 1.0).unwrap();
        assert_eq!((chosen.negative_at, chosen.positive_at), (0.4, 0.6f32.next_up()));
        assert_eq!((chosen.sensitivity, chosen.specificity), (1.0, 1.0));
        assert_eq!((chosen.found, chosen.cleared, chosen.abstained), (0.6, 0.8, 0.3));
        let lenient = choose_thresholds(&probabilities, &labels, 0.8, 0.8).unwrap();
        assert_eq!(lenient.negative_at, lenient.positive_at);
        assert_eq!((lenient.sensitivity, lenient.specificity, lenient.abstained), (0.8, 0.8, 0.0));
    }

    #[test]
    fn separated_classes_are_cut_in_the_middle() {
        let chosen = choose_thresholds(&[0.1, 0.2, 0.8, 0.9], &[false, false, true, true], 0.9, 0.9).unwrap();
        assert_eq!(chosen.positive_at, chosen.negative_at);
        assert!((chosen.positive_at - 0.5).abs() < 1e-6);
        assert_eq!((chosen.found, chosen.cleared, chosen.abstained), (1.0, 1.0, 0.0));
    }

    #[test]
    fn impossible_targets_are_refused() {
        let labels = [false, true];
        assert_eq!(choose_thresholds(&[1.0, 1.0], &labels, 0.9, 0.9), Err(ChoiceError::Specificity { wanted: 0.9 }));
        assert!(matches!(choose_thresholds(&[0.1, 0.9], &labels, f64::NAN, 0.9), Err(ChoiceError::Target(_))));
        assert_eq!(choose_thresholds(&[0.1, 0.9], &labels, 0.9, 0.0), Err(ChoiceError::Target(0.0)));
        assert!(matches!(choose_thresholds(&[0.1, 1.9], &labels, 0.9, 0.9), Err(ChoiceError::Samples(_))));
        assert_eq!(
            choose_thresholds(&[0.1, 0.2], &[true, true], 0.9, 0.9),
            Err(ChoiceError::Samples(MetricError::OneClass))
        );
    }

    #[test]
    fn the_temperature_that_made_the_labels_is_found() {
        // Labels drawn from sigmoid(logit / 2.5): the likelihood is largest near 2.5.
        let mut random = SplitMix64::new(11);
        let mut uniform = move || (random.next_u64() >> 11) as f64 / (1u64 << 53) as f64;
        let logits: Vec<[f32; 1]> = (0..20_000).map(|_| [(uniform() * 16.0 - 8.0) as f32]).collect();
        let labels: Vec<bool> = logits.iter().map(|z| uniform() < logistic(f64::from(z[0]) / 2.5)).collect();
        let temperature = fit_temperature(&logits, &labels).unwrap();
        assert!((temperature - 2.5).abs() < 0.1, "{temperature}");
    }

    #[test]
    fn a_perfect_separation_ends_at_the_smallest_temperature() {
        let temperature = fit_temperature(&[[-2.0f32], [2.0]], &[false, true]).unwrap();
        assert!(TEMPERATURES.contains(&temperature) && temperature < 0.3, "{temperature}");
    }

    #[test]
    fn unusable_logits_are_refused() {
        let none: [[f32; 1]; 0] = [];
        assert_eq!(fit_temperature(&none, &[]), Err(ChoiceError::Samples(MetricError::Empty)));
        assert_eq!(fit_temperature(&[[0.0]], &[true]), Err(ChoiceError::Samples(MetricError::OneClass)));
        assert_eq!(fit_temperature(&[[0.0], [f32::NAN]], &[true, false]), Err(ChoiceError::Logits { image: 1 }));
        let ragged: [&[f32]; 2] = [&[1.0, 2.0], &[]];
        assert_eq!(fit_temperature(&ragged, &[true, false]), Err(ChoiceError::Logits { image: 1 }));
    }

    fn any_f32() -> impl Strategy<Value = f32> {
        prop_oneof![
            8 => -0.5f32..1.5,
            1 => prop::sample::select(&[f32::NAN, f32::INFINITY, f32::NEG_INFINITY, 0.0, 1.0][..])
        ]
    }

    proptest! {
        #[test]
        fn nan_never_passes(numbers in prop::array::uniform8(any_f32())) {
            let [positive_at, negative_at, entropy_limit_bits, novelty_refer, novelty_reject, probability, entropy_bits, novelty] = numbers;
            let rule = DecisionRule { positive_at, negative_at, entropy_limit_bits, novelty_refer, novelty_reject };
            let verdict = rule.decide(&Evidence { probability, entropy_bits, novelty });
            if numbers.iter().any(|n| n.is_nan()) {
                prop_assert!(matches!(verdict, Verdict::Refer(_) | Verdict::Rejected(_)), "{verdict:?}");
            }
            if matches!(verdict, Verdict::Positive | Verdict::Negative) {
                prop_assert!((0.0..=1.0).contains(&probability));
            }
        }

        #[test]
        fn chosen_thresholds_meet_their_targets_and_make_a_valid_rule(
            samples in prop::collection::vec((0u16..=999, any::<bool>()), 2..120),
            sensitivity in 0.01f64..=1.0, specificity in 0.01f64..=1.0,
        ) {
            let probabilities: Vec<f32> = samples.iter().map(|s| f32::from(s.0) / 1000.0).collect();
            let labels: Vec<bool> = samples.iter().map(|s| s.1).collect();
            match choose_thresholds(&probabilities, &labels, sensitivity, specificity) {
                Ok(chosen) => {
                    let rule = DecisionRule { positive_at: chosen.positive_at, negative_at: chosen.negative_at, ..RULE };
                    prop_assert_eq!(rule.validate(), Ok(()));
                    prop_assert!(chosen.sensitivity >= sensitivity && chosen.specificity >= specificity, "{:?}", chosen);
                }
                Err(error) => prop_assert_eq!(error, ChoiceError::Samples(MetricError::OneClass)),
            }
        }
    }
}
