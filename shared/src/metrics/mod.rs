//! The figures by which a model is judged.
//!
//! [`confusion`] holds the paper's equations 3 to 8, for images and for the pixels of masks; [`roc`] the curve over
//! all thresholds and its area; [`calibration`] says whether a probability of 0.8 means eight in ten;
//! [`selective`] what is gained by answering only when certain; and [`bootstrap`] how far a figure can be trusted, with patients, not images, as what is drawn.
//!
//! A figure whose denominator is zero is `None` (scikit-learn's `zero_division=nan`): a test set without a patient
//! has no sensitivity, and a 0 or 1 in its place would be made up. All sums are `f64`.

pub mod bootstrap;
pub mod calibration;
pub mod confusion;
pub mod roc;
pub mod selective;

pub use bootstrap::{Interval, SplitMix64, bootstrap_interval, quantile};
pub use calibration::{
    DEFAULT_BINS, ReliabilityBin, brier_score, expected_calibration_error, if_calibrated, negative_log_likelihood,
    reliability,
};
pub use confusion::Confusion;
pub use roc::{RocCurve, RocPoint, error_detection_auc, roc_auc};
pub use selective::{RiskCoverage, RiskPoint};

/// Why a figure cannot be computed.
#[derive(Clone, Copy, Debug, PartialEq, thiserror::Error)]
#[non_exhaustive]
pub enum MetricError {
    /// Two lists that belong together differ in length.
    #[error("{left} predictions for {right} labels: give one for each")]
    Lengths {
        /// Length of the first list.
        left: usize,
        /// Length of the second.
        right: usize,
    },
    /// Nothing to measure.
    #[error("no samples: there is nothing to measure")]
    Empty,
    /// A ranking needs both classes.
    #[error("all labels are the same: a ranking needs positive and negative samples")]
    OneClass,
    /// A score is NaN, or a probability is not within 0 to 1.
    #[error("score {value} of sample {index} is not usable: it must be a number, and within 0 to 1 if a probability")]
    Score {
        /// Position of the sample.
        index: usize,
        /// Its score.
        value: f32,
    },
    /// A parameter of the measurement is out of range.
    #[error("{name} is out of range: it must be {range}")]
    Parameter {
        /// Which parameter.
        name: &'static str,
        /// Its range, in words.
        range: &'static str,
    },
    /// No resample had a statistic.
    #[error("none of the resamples had a value: there are too few samples, or only one class")]
    NoResample,
}

/// Refuses lists that do not belong together.
fn check_lengths(left: usize, right: usize) -> Result<(), MetricError> {
    if left != right {
        return Err(MetricError::Lengths { left, right });
    }
    if left == 0 {
        return Err(MetricError::Empty);
    }
    Ok(())
}

/// Refuses what is no probability, and lists that do not belong together.
fn check_probabilities(probabilities: &[f32], labels: &[bool]) -> Result<(), MetricError> {
    check_lengths(probabilities.len(), labels.len())?;
    match probabilities.iter().enumerate().find(|(_, p)| !(0.0..=1.0).contains(*p)) {
        Some((index, &value)) => Err(MetricError::Score { index, value }),
        None => Ok(()),
    }
}
