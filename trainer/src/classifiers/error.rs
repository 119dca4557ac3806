//! Why classifiers could not be fitted.

use std::path::PathBuf;

use thorax_files::WriteError;
use thorax_shared::modality::Modality;

use super::xgboost::XgboostError;
use crate::{
    data::Split,
    features::{Extractor, FeatureError},
};

/// Why classifiers could not be fitted, or what they gave not be read.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ClassifierError {
    /// The features cannot be read.
    #[error(transparent)]
    Features(#[from] FeatureError),
    /// A result cannot be written.
    #[error(transparent)]
    Write(#[from] WriteError),
    /// XGBoost cannot be used.
    #[error(transparent)]
    Xgboost(#[from] XgboostError),
    /// A file cannot be read.
    #[error("{path}: {reason}; check the path and the permissions", path = path.display())]
    Read {
        /// The file.
        path: PathBuf,
        /// The system's reason.
        reason: std::io::Error,
    },
    /// A file of the run's folder is not what was written there.
    #[error("{path}: {reason}; delete it, and run the same command again", path = path.display())]
    Malformed {
        /// The file.
        path: PathBuf,
        /// What is wrong.
        reason: String,
    },
    /// A split lacks a class.
    #[error(
        "{store}: the {split} split has no {class} {modality} picture that passed the quality check; deal the pictures out anew \
         with thorax-train data split, or add some", store = store.display(), split = split.as_str()
    )]
    MissingClass {
        /// The features.
        store: PathBuf,
        /// The split.
        split: Split,
        /// `positive` or `negative`.
        class: &'static str,
        /// Kind of picture.
        modality: Modality,
    },
    /// A patient is on both sides of a split.
    #[error(
        "{store}: {what} is in the {first} split with {first_picture} and in the {second} split with {second_picture}; every \
         figure would flatter. Correct the manifest (thorax-train data check names all such patients) and extract again",
        store = store.display(), first = first.as_str(), second = second.as_str()
    )]
    Leak {
        /// The features.
        store: PathBuf,
        /// Patient, or group of patients.
        what: String,
        /// One split.
        first: Split,
        /// A picture in it.
        first_picture: String,
        /// The other.
        second: Split,
        /// A picture in it.
        second_picture: String,
    },
    /// A feature is NaN or infinite.
    #[error(
        "{store}: feature {column} of {picture} is {value}; the net's weights or the picture are damaged: extract again, with \
         other weights if it stays so", store = store.display()
    )]
    NotFinite {
        /// The features.
        store: PathBuf,
        /// Whose.
        picture: String,
        /// Which.
        column: usize,
        /// What it is.
        value: f32,
    },
    /// The features are of another net than was asked for.
    #[error("{store}: features of {found}, not of {wanted}; give --backbone {found}, or the store of {wanted}", store = store.display())]
    Backbone {
        /// The features.
        store: PathBuf,
        /// Whose they are.
        found: Extractor,
        /// Whose were asked for.
        wanted: Extractor,
    },
    /// No picture is of the source that is to be left out.
    #[error("{store}: no picture is from the source {wanted:?}; there are {sources}", store = store.display())]
    Source {
        /// The features.
        store: PathBuf,
        /// What was asked for.
        wanted: String,
        /// What there is.
        sources: String,
    },
    /// The folder holds runs of another configuration.
    #[error(
        "{folder}: holds runs of another configuration: {differences}; choose another --out, or delete the folder",
        folder = folder.display()
    )]
    Differs {
        /// The run's folder.
        folder: PathBuf,
        /// What it has and what was asked for.
        differences: String,
    },
    /// The configuration file cannot be used.
    #[error("{path}: {reason}; thorax-train classify --defaults prints a file that can be", path = path.display())]
    Parameters {
        /// The file.
        path: PathBuf,
        /// What is wrong.
        reason: String,
    },
    /// The work does not fit the memory it may have.
    #[error("{what} take {needed_mib} MiB, but --memory allows {allowed_mib} MiB; allow more, or take fewer pictures")]
    Memory {
        /// What does not fit.
        what: &'static str,
        /// What it takes.
        needed_mib: usize,
        /// What it may take.
        allowed_mib: usize,
    },
    /// A resample without one of the classes was drawn again and again.
    #[error("{what}: every one of {attempts} draws lacked a class; there are too few patients of it: add some")]
    Resample {
        /// What was drawn.
        what: String,
        /// How often.
        attempts: usize,
    },
    /// A solver came to no end.
    #[error(
        "{classifier}, run {run}: no end after {iterations} iterations; raise its tolerance, or standardise the features"
    )]
    NotConverged {
        /// Whose solver.
        classifier: &'static str,
        /// In which run.
        run: usize,
        /// How far it went.
        iterations: usize,
    },
}
