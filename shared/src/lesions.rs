//! What the infected share of the lungs says beside the classifier's features.
//!
//! Features of a picture tell the hospital that stored it as well as the disease. How much of the lungs a segmenter marks as infected
//! tells the disease alone, as far as a picture shows it, so each member of the ensemble may weigh it beside its features.

use alloc::vec::Vec;

use serde::{Deserialize, Serialize};

/// How far each member's logit is moved by the infected share of the lungs.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct LesionEvidence {
    /// Mean of [`log_share`] over the training pictures.
    pub mean: f32,
    /// Standard deviation of the same.
    pub std: f32,
    /// What is added to each member's logit for each standard deviation above the mean.
    pub weights: Vec<f32>,
}

impl LesionEvidence {
    /// Adds to each of `logits`, one a member, what an involvement of `percent` says. Where hardly any lung was found nobody knows how
    /// much of it is infected, and nothing is added.
    pub fn add_to(&self, logits: &mut [f32], percent: Option<f32>) {
        let value = self.value(percent);
        for (logit, weight) in logits.iter_mut().zip(&self.weights) {
            *logit = (f64::from(*logit) + f64::from(*weight) * value) as f32;
        }
    }

    /// An involvement in standard deviations from the mean of the training pictures, 0 where it is not known.
    pub fn value(&self, percent: Option<f32>) -> f64 {
        percent.map_or(0.0, |percent| (log_share(percent) - f64::from(self.mean)) / f64::from(self.std))
    }
}

/// `ln(1 + percent)`: from none to little is as far as from some to much. Of what is no number above 0, 0.
pub fn log_share(percent: f32) -> f64 {
    libm::log1p(f64::from(percent.max(0.0)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_share_that_is_not_known_says_nothing() {
        let evidence = LesionEvidence { mean: 1.0, std: 0.5, weights: [1.0, -2.0].into() };
        let mut logits = [0.25, 0.5];
        evidence.add_to(&mut logits, None);
        assert_eq!(logits, [0.25, 0.5]);
        // ln(1 + 6.389) is 2: two standard deviations above the mean.
        evidence.add_to(&mut logits, Some(6.389_056));
        assert!((logits[0] - 2.25).abs() < 1e-5 && (logits[1] + 3.5).abs() < 1e-5, "{logits:?}");
    }

    #[test]
    fn what_is_no_number_is_no_lesion() {
        assert!(log_share(f32::NAN).abs() < f64::EPSILON && log_share(-3.0).abs() < f64::EPSILON);
    }
}
