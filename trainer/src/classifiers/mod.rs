//! The paper's eight classifiers on un-pooled features, each fitted a hundred times (sections IV.A, V and VII.A).
//!
//! A run learns from its own draw of the training patients, so that the runs of a classifier are an ensemble, whose spread is
//! the epistemic uncertainty. `problem` says which pictures there are and draws the runs, `standard` and `gram` look at the
//! features once for all, `bins` cuts them for the trees; `knn`, `svm`, `naive_bayes`, `mlp`, `forest`, `adaboost` and
//! `xgboost` fit; `run_folder` keeps what they say, and reads it again. Nothing is judged here.

mod adaboost;
mod bins;
mod error;
mod fit;
mod forest;
mod gram;
mod knn;
pub mod library;
mod mlp;
mod naive_bayes;
mod parameters;
mod platt;
mod problem;
mod run;
pub mod run_folder;
mod standard;
mod svm;
#[cfg(test)]
mod tests;
pub mod tune;
mod xgboost;

pub use bins::Bins;
pub use error::ClassifierError;
pub use fit::{Done, Fitter, check_xgboost};
pub use gram::Gram;
pub use mlp::{Perceptron, fit_perceptrons};
pub use parameters::{
    AdaBoostParameters, Answer, Configuration, DEFAULTS, ForestParameters, Gamma, GammaRule, Grid, KnnParameters,
    MaxFeatures, MaxFeaturesRule, MlpParameters, NaiveBayesParameters, NeighbourWeights, Parameters,
    PolynomialParameters, RbfParameters, XgboostParameters,
};
pub use platt::Sigmoid;
pub use problem::{Problem, Resample, Runs};
pub use run::{ClassifierRun, Kind};
pub use run_folder::{
    ClassifierRuns, FORMAT, Folder, NotRun, PredictedRow, Protocol, RunConfiguration, RunFolder, RunFolderError,
    StoreIdentity, note_not_run, predictions, probabilities, read_run, resamples,
};
pub use standard::{Standard, Standardised, blocks};
pub use svm::{Kernel, KernelMatrix, Svm, SvmConfig};
pub use xgboost::{PACKAGE as XGBOOST_PACKAGE, XgboostError};
