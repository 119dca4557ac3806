//! Hits and misses, and what the paper makes of them (equations 3 to 8).

use super::{MetricError, check_lengths};

/// How often a yes-or-no prediction and the truth met: images for a classifier, pixels for a mask.
///
/// Adding two of them pools their samples; the mean of two figures and the figure of the pooled counts are not the
/// same, so say which one is reported.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub struct Confusion {
    /// Predicted positive, and is.
    pub true_positives: u64,
    /// Predicted positive, but is negative.
    pub false_positives: u64,
    /// Predicted negative, and is.
    pub true_negatives: u64,
    /// Predicted negative, but is positive.
    pub false_negatives: u64,
}

impl Confusion {
    /// Counts one more prediction.
    pub fn count(&mut self, predicted: bool, truth: bool) {
        match (predicted, truth) {
            (true, true) => self.true_positives += 1,
            (true, false) => self.false_positives += 1,
            (false, false) => self.true_negatives += 1,
            (false, true) => self.false_negatives += 1,
        }
    }

    /// Counts predictions `[N]` (images, or pixels of a mask) against the truth `[N]`.
    ///
    /// # Errors
    /// When the lengths differ or are 0.
    pub fn new(predicted: &[bool], truth: &[bool]) -> Result<Self, MetricError> {
        check_lengths(predicted.len(), truth.len())?;
        let mut counts = Self::default();
        for (&predicted, &truth) in predicted.iter().zip(truth) {
            counts.count(predicted, truth);
        }
        Ok(counts)
    }

    /// All samples.
    pub fn total(&self) -> u64 {
        self.true_positives + self.false_positives + self.true_negatives + self.false_negatives
    }

    /// Equation 3: share of samples that are right. For masks this is the pixel accuracy.
    pub fn accuracy(&self) -> Option<f64> {
        ratio(self.true_positives + self.true_negatives, self.total())
    }

    /// Equation 4: share of predicted positives that are positive. `None` when nothing was predicted positive.
    pub fn precision(&self) -> Option<f64> {
        ratio(self.true_positives, self.true_positives + self.false_positives)
    }

    /// Equation 5: recall, the share of positives that were found. `None` without positives.
    pub fn sensitivity(&self) -> Option<f64> {
        ratio(self.true_positives, self.true_positives + self.false_negatives)
    }

    /// Equation 6: share of negatives that were left alone. `None` without negatives.
    pub fn specificity(&self) -> Option<f64> {
        ratio(self.true_negatives, self.true_negatives + self.false_positives)
    }

    /// Equation 7: F1, which for masks is the Dice coefficient. `None` when nothing is or was predicted positive.
    pub fn f1(&self) -> Option<f64> {
        ratio(2 * self.true_positives, 2 * self.true_positives + self.false_positives + self.false_negatives)
    }

    /// Equation 8: intersection over union (Jaccard). `None` when nothing is or was predicted positive.
    pub fn iou(&self) -> Option<f64> {
        ratio(self.true_positives, self.true_positives + self.false_positives + self.false_negatives)
    }
}

impl core::ops::AddAssign for Confusion {
    fn add_assign(&mut self, other: Self) {
        self.true_positives += other.true_positives;
        self.false_positives += other.false_positives;
        self.true_negatives += other.true_negatives;
        self.false_negatives += other.false_negatives;
    }
}

impl core::ops::Add for Confusion {
    type Output = Self;
    fn add(mut self, other: Self) -> Self {
        self += other;
        self
    }
}

impl core::iter::Sum for Confusion {
    fn sum<I: Iterator<Item = Self>>(counts: I) -> Self {
        counts.fold(Self::default(), core::ops::Add::add)
    }
}

fn ratio(numerator: u64, denominator: u64) -> Option<f64> {
    (denominator > 0).then(|| numerator as f64 / denominator as f64)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn every_cell_is_counted() {
        let counts =
            Confusion::new(&[true, true, true, false, false, false], &[true, true, false, true, false, false]).unwrap();
        assert_eq!(counts, Confusion { true_positives: 2, false_positives: 1, true_negatives: 2, false_negatives: 1 });
        assert_eq!(counts.accuracy(), Some(4.0 / 6.0));
        assert_eq!(counts.iou(), Some(0.5));
    }

    #[test]
    fn without_a_denominator_there_is_no_figure() {
        let negatives = Confusion::new(&[false, false], &[false, false]).unwrap();
        assert_eq!(negatives.accuracy(), Some(1.0));
        assert_eq!(negatives.specificity(), Some(1.0));
        for figure in [negatives.precision(), negatives.sensitivity(), negatives.f1(), negatives.iou()] {
            assert_eq!(figure, None);
        }
        assert_eq!(Confusion::default().accuracy(), None);
        assert_eq!(Confusion::new(&[], &[]), Err(MetricError::Empty));
        assert_eq!(Confusion::new(&[true], &[]), Err(MetricError::Lengths { left: 1, right: 0 }));
    }

    proptest! {
        #[test]
        fn dice_and_iou_are_two_forms_of_one_figure(pairs in prop::collection::vec(any::<(bool, bool)>(), 1..200)) {
            let (predicted, truth): (alloc::vec::Vec<_>, alloc::vec::Vec<_>) = pairs.iter().copied().unzip();
            let counts = Confusion::new(&predicted, &truth).unwrap();
            prop_assert_eq!(counts.total() as usize, pairs.len());
            if let (Some(dice), Some(iou)) = (counts.f1(), counts.iou()) {
                prop_assert!((iou - dice / (2.0 - dice)).abs() < 1e-12);
            }
            let pooled: Confusion = pairs.iter().map(|&(p, t)| Confusion::new(&[p], &[t]).unwrap()).sum();
            prop_assert_eq!(pooled, counts);
        }
    }
}
