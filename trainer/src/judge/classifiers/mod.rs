//! How good classifiers are, and whether their uncertainty is worth anything.
//!
//! A [`RunFolder`] is what `thorax-train classify` left: for each of the paper's classifiers, many runs' probabilities of every
//! picture. [`judge`] makes figures of it: of each run, of the averaged prediction (equation 1), and of the ensemble of all
//! classifiers. Whatever is fitted or chosen (temperature, isotonic calibration, thresholds, the limit of certainty, the abstain
//! zone) sees validation pictures only, and every figure is one of test pictures. Patients, not pictures, are drawn for the
//! intervals.

mod certainty;
mod comparison;
mod isotonic;
mod judgement;
#[cfg(test)]
pub(crate) mod simulation;
#[cfg(test)]
mod tests;

pub use certainty::{FALLBACK_LIMIT_BITS, Limit, LimitRule, choose_limit, uncertainty_confusion};
pub use comparison::{holm, mcnemar};
pub use isotonic::Isotonic;
pub use judgement::{
    Abstention, Bin, Calibration, Comparison, Count, Figures, Forecast, Judged, Judgement, Screening, Selective,
    Settings, SourceFigures, Spread, Uncertainty, judge,
};
use thorax_shared::{decision::ChoiceError, metrics::MetricError, uncertainty::UncertaintyError};

pub use crate::classifiers::{ClassifierRuns, PredictedRow, Resample, RunFolder, RunFolderError};

/// Why runs could not be judged.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum JudgeError {
    /// The run folder cannot be read, or its lists do not belong together.
    #[error(transparent)]
    RunFolder(#[from] RunFolderError),
    /// There is nothing to judge on.
    #[error("no picture to judge {what} on: deal the patients out with thorax-train data split, and classify again")]
    NoTestPicture {
        /// The run, in words.
        what: String,
    },
    /// A figure cannot be computed.
    #[error(transparent)]
    Metric(#[from] MetricError),
    /// A threshold or temperature cannot be chosen.
    #[error(transparent)]
    Choice(#[from] ChoiceError),
    /// Probabilities make no ensemble.
    #[error(transparent)]
    Uncertainty(#[from] UncertaintyError),
}

/// Reading `trainer/tests/references/judging.json`, which `trainer/references/judging.py` wrote.
#[cfg(test)]
pub(crate) mod references {
    #![allow(clippy::unwrap_used)]
    use serde_json::Value;

    pub(crate) fn section(name: &str) -> Vec<Value> {
        let all: Value = serde_json::from_str(include_str!("../../../tests/references/judging.json")).unwrap();
        all[name].as_array().unwrap().clone()
    }

    pub(crate) fn number(value: &Value) -> f64 {
        value.as_f64().unwrap()
    }

    pub(crate) fn floats(value: &Value) -> Vec<f32> {
        value.as_array().unwrap().iter().map(|v| number(v) as f32).collect()
    }

    pub(crate) fn flags(value: &Value) -> Vec<bool> {
        value.as_array().unwrap().iter().map(|v| v.as_u64() == Some(1)).collect()
    }
}
