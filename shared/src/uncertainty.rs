//! How sure an ensemble is: the paper's equations 1 and 2, and where the uncertainty comes from.
//!
//! Equation 1 averages the members' predictive distributions; equation 2 is the entropy of that average. The
//! paper prints it without its minus sign and without a base; we read it as Shannon's entropy in **bits** (base 2),
//! so that two classes give 0 (certain) to 1 (knows nothing).
//!
//! The entropy of the mean holds both kinds of uncertainty. It splits (Houlsby et al. 2011, *BALD*,
//! arXiv:1112.5745; Gal et al. 2017, arXiv:1703.02910) into the mean of the members' own entropies, which more
//! training data would not remove (aleatoric), and the rest, the mutual information between prediction and choice
//! of member, which is the members' disagreement (epistemic).
//!
//! All sums are carried out in `f64` with `libm`, so that workstation and device agree to the bit.

use alloc::{vec, vec::Vec};

use crate::calibration::ProbabilityMap;

/// How far a distribution may miss a sum of 1.
const SUM_TOLERANCE: f64 = 1e-3;

/// Why no distribution could be made of the numbers given.
#[derive(Clone, Copy, Debug, PartialEq, thiserror::Error)]
#[non_exhaustive]
pub enum UncertaintyError {
    /// No member, or no class.
    #[error("the ensemble has no member or no class: give at least one of each")]
    Empty,
    /// Members disagree about the number of classes.
    #[error("member {member} has {found} classes, the first has {expected}: all members must know the same classes")]
    Classes {
        /// Position of the member.
        member: usize,
        /// Classes of the first member.
        expected: usize,
        /// Classes of this member.
        found: usize,
    },
    /// A logit is NaN or infinite.
    #[error("the logit of member {member} is {value}: the model or its input is broken")]
    Logit {
        /// Position of the member.
        member: usize,
        /// What it said.
        value: f32,
    },
    /// A probability is NaN or outside 0 to 1.
    #[error("a probability of member {member} is {value}, which is not within 0 to 1: apply softmax or sigmoid first")]
    Probability {
        /// Position of the member.
        member: usize,
        /// What it said.
        value: f32,
    },
    /// The probabilities of a member do not sum to 1.
    #[error("the probabilities of member {member} sum to {sum}, not 1: apply softmax first")]
    Sum {
        /// Position of the member.
        member: usize,
        /// Their sum.
        sum: f32,
    },
    /// The temperature is not a positive number.
    #[error("temperature {0} is not a positive, finite number: calibrate again")]
    Temperature(f32),
}

/// Equation 1: the mean of the members' distributions, `members[N][C]` to `[C]`.
///
/// # Errors
/// When there is no member, the members differ in length, or one is not a distribution (values within 0 to 1 that
/// sum to 1 give or take 0.001).
pub fn mean_distribution(members: &[impl AsRef<[f32]>]) -> Result<Vec<f32>, UncertaintyError> {
    let classes = members.first().map_or(0, |first| first.as_ref().len());
    if classes == 0 {
        return Err(UncertaintyError::Empty);
    }
    let mut mean = vec![0.0f64; classes];
    for (member, distribution) in members.iter().map(AsRef::as_ref).enumerate() {
        if distribution.len() != classes {
            return Err(UncertaintyError::Classes { member, expected: classes, found: distribution.len() });
        }
        let mut sum = 0.0;
        for (mean, &value) in mean.iter_mut().zip(distribution) {
            check_probability(member, value.into())?;
            sum += f64::from(value);
            *mean += f64::from(value);
        }
        if (sum - 1.0).abs() > SUM_TOLERANCE {
            return Err(UncertaintyError::Sum { member, sum: sum as f32 });
        }
    }
    Ok(mean.into_iter().map(|sum| (sum / members.len() as f64) as f32).collect())
}

/// Equation 2: the entropy in bits of a distribution, from 0 to `log2(C)`; `0 log 0` is 0.
///
/// Meant for what [`mean_distribution`] returns: NaN in gives NaN out, which
/// [`DecisionRule::decide`](crate::decision::DecisionRule::decide) refers to a person.
pub fn entropy_bits(distribution: &[f32]) -> f32 {
    distribution.iter().map(|&p| surprise(f64::from(p))).sum::<f64>() as f32
}

/// Equation 2 for two classes: the entropy in bits, 0 to 1, of a probability and its complement.
pub fn binary_entropy_bits(probability: f32) -> f32 {
    binary_entropy(f64::from(probability)) as f32
}

/// `1 / (1 + exp(-logit / temperature))`, without overflow for any finite logit.
pub fn sigmoid(logit: f32, temperature: f32) -> f32 {
    logistic(f64::from(logit) / f64::from(temperature)) as f32
}

/// What an ensemble of binary classifiers says of one image.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Ensemble {
    /// Mean probability of the positive class (equation 1).
    pub probability: f32,
    /// Entropy of the mean distribution in bits, 0 to 1 (equation 2): the whole uncertainty.
    pub entropy_bits: f32,
    /// Mean of the members' own entropies in bits: the part that no further member removes (aleatoric).
    pub expected_entropy_bits: f32,
    /// The difference of the two, in bits, never negative: how much the members disagree (epistemic).
    pub mutual_information_bits: f32,
    /// Standard deviation of the members' probabilities (of the population: divided by the number of members).
    pub standard_deviation: f32,
    /// Number of members.
    pub members: usize,
}

impl Ensemble {
    /// From the members' logits `[members]`; each is divided by `temperature` before the sigmoid.
    ///
    /// # Errors
    /// When there is no member, a logit is NaN or infinite, or the temperature is not a positive number.
    pub fn from_logits(logits: &[f32], temperature: f32) -> Result<Self, UncertaintyError> {
        check_temperature(temperature)?;
        if let Some((member, &value)) = logits.iter().enumerate().find(|(_, logit)| !logit.is_finite()) {
            return Err(UncertaintyError::Logit { member, value });
        }
        Self::new(logits.iter().map(|&logit| logistic(f64::from(logit) / f64::from(temperature))))
    }

    /// From the members' probabilities `[members]` of the positive class, `f32` or `f64`.
    ///
    /// Shares that are no binary fractions, such as the votes of five neighbours, should come as `f64`: members of .2 and .4
    /// and members of .3 and .3 then have the same mean, and stay tied. As `f32` they differ in the last bit.
    ///
    /// # Errors
    /// When there is no member, or a probability is NaN or outside 0 to 1.
    pub fn from_probabilities<P: Copy + Into<f64>>(probabilities: &[P]) -> Result<Self, UncertaintyError> {
        for (member, &value) in probabilities.iter().enumerate() {
            check_probability(member, value.into())?;
        }
        Self::new(probabilities.iter().map(|&p| p.into()))
    }

    /// After a `map` of the mean probability: the entropy is then that of what it gives. Without one as it is.
    pub fn mapped(self, map: Option<&ProbabilityMap>) -> Self {
        let Some(map) = map else { return self };
        let probability = map.apply(self.probability);
        Self { probability, entropy_bits: binary_entropy_bits(probability), ..self }
    }

    fn new(probabilities: impl ExactSizeIterator<Item = f64> + Clone) -> Result<Self, UncertaintyError> {
        let members = probabilities.len();
        if members == 0 {
            return Err(UncertaintyError::Empty);
        }
        let average = |sum: f64| sum / members as f64;
        let mean = average(probabilities.clone().sum());
        let entropy = binary_entropy(mean);
        let expected = average(probabilities.clone().map(binary_entropy).sum());
        let variance = average(probabilities.map(|p| (p - mean) * (p - mean)).sum());
        Ok(Self {
            probability: mean as f32,
            entropy_bits: entropy as f32,
            expected_entropy_bits: expected as f32,
            mutual_information_bits: (entropy - expected).max(0.0) as f32,
            standard_deviation: libm::sqrt(variance) as f32,
            members,
        })
    }
}

pub(crate) fn check_temperature(temperature: f32) -> Result<(), UncertaintyError> {
    if temperature.is_finite() && temperature > 0.0 { Ok(()) } else { Err(UncertaintyError::Temperature(temperature)) }
}

fn check_probability(member: usize, value: f64) -> Result<(), UncertaintyError> {
    match (0.0..=1.0).contains(&value) {
        true => Ok(()),
        false => Err(UncertaintyError::Probability { member, value: value as f32 }),
    }
}

/// `-p log2 p`, 0 at 0.
fn surprise(p: f64) -> f64 {
    if p == 0.0 { 0.0 } else { -p * libm::log2(p) }
}

fn binary_entropy(p: f64) -> f64 {
    surprise(p) + surprise(1.0 - p)
}

pub(crate) fn logistic(logit: f64) -> f64 {
    1.0 / (1.0 + libm::exp(-logit))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn the_papers_example() {
        // Ten members whose mean is 0.6 and 0.4: 0.6 log2 0.6 + 0.4 log2 0.4 with its minus sign.
        let members: Vec<[f32; 2]> = (0..10).map(|i| if i % 2 == 0 { [0.5, 0.5] } else { [0.7, 0.3] }).collect();
        let mean = mean_distribution(&members).unwrap();
        assert!((mean[0] - 0.6).abs() < 1e-6 && (mean[1] - 0.4).abs() < 1e-6);
        assert!((entropy_bits(&mean) - 0.970_950_6).abs() < 1e-6);
    }

    #[test]
    fn entropy_is_zero_when_certain_and_log2_of_classes_when_uniform() {
        assert_eq!(entropy_bits(&[0.0, 1.0]), 0.0);
        assert_eq!(entropy_bits(&[0.5, 0.5]), 1.0);
        assert_eq!(entropy_bits(&[0.125; 8]), 3.0);
        assert_eq!(binary_entropy_bits(0.0), 0.0);
        assert_eq!(binary_entropy_bits(1.0), 0.0);
        assert!(entropy_bits(&[f32::NAN, 1.0]).is_nan());
    }

    #[test]
    fn agreement_is_aleatoric_and_disagreement_epistemic() {
        let agree = Ensemble::from_probabilities(&[0.5; 4]).unwrap();
        assert_eq!(
            (agree.entropy_bits, agree.mutual_information_bits, agree.standard_deviation, agree.members),
            (1.0, 0.0, 0.0, 4)
        );
        let disagree = Ensemble::from_probabilities(&[0.0, 1.0]).unwrap();
        assert_eq!((disagree.entropy_bits, disagree.expected_entropy_bits), (1.0, 0.0));
        assert_eq!((disagree.mutual_information_bits, disagree.standard_deviation), (1.0, 0.5));
    }

    #[test]
    fn extreme_logits_saturate_without_nan() {
        let ensemble = Ensemble::from_logits(&[f32::MAX, f32::MIN, 0.0, -1e-30], f32::MIN_POSITIVE).unwrap();
        assert!(ensemble.entropy_bits.is_finite() && ensemble.standard_deviation.is_finite());
        assert_eq!(Ensemble::from_logits(&[1e30], 1.0).unwrap().probability, 1.0);
        assert_eq!(Ensemble::from_logits(&[-1e30], 1.0).unwrap().entropy_bits, 0.0);
    }

    #[test]
    fn equal_means_of_votes_stay_equal() {
        // All ways in which ten runs of five neighbours each can come to `votes` votes for the class, as far as two values go.
        for votes in 0..=50u32 {
            let mut means = Vec::new();
            for most in votes.div_ceil(10)..=5 {
                let mut left = votes;
                let members: Vec<f64> = (0..10)
                    .map(|_| {
                        let share = left.min(most);
                        left -= share;
                        f64::from(share) / 5.0
                    })
                    .collect();
                means.push(Ensemble::from_probabilities(&members).unwrap());
            }
            assert!(means.iter().all(|e| e.probability == means[0].probability), "{votes}: {means:?}");
            assert!(means.iter().all(|e| e.entropy_bits == means[0].entropy_bits), "{votes}: {means:?}");
        }
    }

    #[test]
    fn temperature_divides_the_logit() {
        let ensemble = Ensemble::from_logits(&[2.0], 2.0).unwrap();
        assert!((ensemble.probability - 0.731_058_6).abs() < 1e-6);
        assert_eq!(ensemble.probability, sigmoid(1.0, 1.0));
    }

    #[test]
    fn what_is_no_distribution_is_refused() {
        let none: [[f32; 2]; 0] = [];
        assert_eq!(mean_distribution(&none), Err(UncertaintyError::Empty));
        assert_eq!(mean_distribution(&[[0.0f32; 0]]), Err(UncertaintyError::Empty));
        assert!(matches!(
            mean_distribution(&[vec![0.5, 0.5], vec![1.0]]),
            Err(UncertaintyError::Classes { member: 1, expected: 2, found: 1 })
        ));
        assert!(matches!(mean_distribution(&[[0.5, 0.6]]), Err(UncertaintyError::Sum { member: 0, .. })));
        assert!(matches!(mean_distribution(&[[1.5, -0.5]]), Err(UncertaintyError::Probability { .. })));
        assert_eq!(Ensemble::from_logits(&[], 1.0), Err(UncertaintyError::Empty));
        assert!(matches!(Ensemble::from_logits(&[0.0, f32::NAN], 1.0), Err(UncertaintyError::Logit { member: 1, .. })));
        assert!(matches!(Ensemble::from_logits(&[f32::INFINITY], 1.0), Err(UncertaintyError::Logit { .. })));
        assert!(matches!(Ensemble::from_probabilities(&[f32::NAN]), Err(UncertaintyError::Probability { .. })));
        for temperature in [0.0, -1.0, f32::NAN, f32::INFINITY] {
            assert!(matches!(Ensemble::from_logits(&[0.0], temperature), Err(UncertaintyError::Temperature(_))));
        }
    }

    proptest! {
        #[test]
        fn an_ensemble_keeps_its_bounds(logits in prop::collection::vec(-1e6f32..1e6, 1..40), temperature in 1e-3f32..1e3) {
            let e = Ensemble::from_logits(&logits, temperature).unwrap();
            prop_assert!((0.0..=1.0).contains(&e.probability));
            prop_assert!((0.0..=1.0).contains(&e.entropy_bits));
            prop_assert!((0.0..=0.5).contains(&e.standard_deviation));
            prop_assert!(e.mutual_information_bits >= 0.0);
            prop_assert!((e.expected_entropy_bits + e.mutual_information_bits - e.entropy_bits).abs() < 1e-6);
        }

        #[test]
        fn two_classes_agree_with_the_binary_form(p in 0.0f32..=1.0) {
            prop_assert!((entropy_bits(&[p, 1.0 - p]) - binary_entropy_bits(p)).abs() < 1e-6);
        }
    }
}
