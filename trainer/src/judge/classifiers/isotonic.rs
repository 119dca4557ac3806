//! Isotonic calibration: the rising step function nearest to the labels.

use thorax_shared::metrics::MetricError;

/// A fitted calibration, from probability to probability.
///
/// The fit is the least-squares one among all functions that never fall, found by pooling adjacent violators (Ayer et al.
/// 1955; Zadrozny and Elkan 2002 for calibration). Between two fitted probabilities it is interpolated linearly, and beyond
/// the outermost it is constant: scikit-learn's `IsotonicRegression(out_of_bounds="clip")`.
#[derive(Clone, Debug, PartialEq)]
pub struct Isotonic {
    /// Probability before and after, both rising.
    knots: Vec<(f64, f64)>,
}

/// Neighbours that have become one.
struct Block {
    first: f64,
    last: f64,
    positives: f64,
    count: f64,
}

impl Block {
    fn mean(&self) -> f64 {
        self.positives / self.count
    }
}

impl Isotonic {
    /// Fits probabilities `[N]` to labels `[N]`; equal probabilities count as one point with their mean label.
    ///
    /// # Errors
    /// When the lengths differ or are 0, or a probability is not within 0 to 1.
    pub fn fit(probabilities: &[f32], labels: &[bool]) -> Result<Self, MetricError> {
        if probabilities.len() != labels.len() {
            return Err(MetricError::Lengths { left: probabilities.len(), right: labels.len() });
        }
        if probabilities.is_empty() {
            return Err(MetricError::Empty);
        }
        if let Some((index, &value)) = probabilities.iter().enumerate().find(|(_, p)| !(0.0..=1.0).contains(*p)) {
            return Err(MetricError::Score { index, value });
        }
        let mut samples: Vec<(f32, bool)> = probabilities.iter().copied().zip(labels.iter().copied()).collect();
        samples.sort_unstable_by(|a, b| a.0.total_cmp(&b.0));
        let mut blocks: Vec<Block> = Vec::new();
        for tied in samples.chunk_by(|a, b| a.0 == b.0) {
            let at = f64::from(tied[0].0);
            let positives = tied.iter().filter(|(_, label)| *label).count() as f64;
            let mut block = Block { first: at, last: at, positives, count: tied.len() as f64 };
            while let Some(before) = blocks.pop_if(|before| before.mean() >= block.mean()) {
                block.first = before.first;
                block.positives += before.positives;
                block.count += before.count;
            }
            blocks.push(block);
        }
        let knots = blocks.iter().flat_map(|block| [(block.first, block.mean()), (block.last, block.mean())]);
        let mut knots: Vec<_> = knots.collect();
        knots.dedup();
        Ok(Self { knots })
    }

    /// The calibrated probability, 0 to 1; NaN stays NaN.
    pub fn apply(&self, probability: f32) -> f32 {
        let asked = f64::from(probability);
        if asked.is_nan() {
            return f32::NAN;
        }
        let above = self.knots.partition_point(|(before, _)| *before < asked);
        let calibrated = match (above.checked_sub(1).and_then(|below| self.knots.get(below)), self.knots.get(above)) {
            (Some(&(x0, y0)), Some(&(x1, y1))) => y0 + (y1 - y0) * (asked - x0) / (x1 - x0),
            (Some(&(_, y)), None) | (None, Some(&(_, y))) => y,
            // `fit` leaves no calibration without a knot.
            (None, None) => asked,
        };
        calibrated as f32
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use proptest::prelude::*;

    use super::*;
    use crate::judge::classifiers::references::{flags, floats, section};

    #[test]
    fn answers_are_scikit_learns() {
        let cases = section("isotonic");
        assert_eq!(cases.len(), 3);
        for case in cases {
            let fitted = Isotonic::fit(&floats(&case["probabilities"]), &flags(&case["labels"])).unwrap();
            for (asked, answer) in floats(&case["asked"]).into_iter().zip(floats(&case["answers"])) {
                let found = fitted.apply(asked);
                assert!((found - answer).abs() <= 1e-6, "at {asked}: found {found}, reference {answer}");
            }
        }
    }

    #[test]
    fn what_cannot_be_fitted_is_refused() {
        assert_eq!(Isotonic::fit(&[], &[]), Err(MetricError::Empty));
        assert_eq!(Isotonic::fit(&[0.1], &[]), Err(MetricError::Lengths { left: 1, right: 0 }));
        assert!(matches!(Isotonic::fit(&[f32::NAN], &[true]), Err(MetricError::Score { index: 0, .. })));
        assert!(Isotonic::fit(&[0.5], &[true]).unwrap().apply(f32::NAN).is_nan());
    }

    proptest! {
        /// It rises, keeps the sum of the labels, and lies no farther from them than the best constant or the identity.
        #[test]
        fn the_fit_rises_and_is_near(samples in prop::collection::vec((0u16..=64, any::<bool>()), 1..80)) {
            let (p, y): (Vec<f32>, Vec<bool>) = samples.iter().map(|&(p, y)| (f32::from(p) / 64.0, y)).unzip();
            let fitted = Isotonic::fit(&p, &y).unwrap();
            let answers: Vec<f32> = (0..=128u8).map(|i| fitted.apply(f32::from(i) / 128.0)).collect();
            prop_assert!(answers.windows(2).all(|pair| pair[0] <= pair[1] + 1e-6));
            prop_assert!(answers.iter().all(|answer| (0.0..=1.0).contains(answer)));
            let label = |y: bool| f64::from(u8::from(y));
            let sum: f64 = p.iter().map(|&p| f64::from(fitted.apply(p))).sum();
            let positives: f64 = y.iter().map(|&y| label(y)).sum();
            prop_assert!((sum - positives).abs() < 1e-4, "{sum} {positives}");
            let loss = |answer: &dyn Fn(f32) -> f64| -> f64 {
                p.iter().zip(&y).map(|(&p, &y)| (answer(p) - label(y)).powi(2)).sum()
            };
            let best = loss(&|p| f64::from(fitted.apply(p)));
            prop_assert!(best <= loss(&|_| positives / p.len() as f64) + 1e-4);
            prop_assert!(best <= loss(&f64::from) + 1e-4);
        }
    }
}
