//! From a folder of pictures to a manifest that training can trust.
//!
//! `import` reads one of a dozen layouts into a [`Manifest`] (a CSV table with a line per picture or slice), `join` puts several together, `split` deals patients
//! out to training, validation and test, `check` looks for everything that would make a measured accuracy a lie
//! (a patient on both sides, one picture under two labels, a mask of another size), and `summary` counts. Commands that learn or
//! judge [`open`] a manifest and [`verify`] its files, which refuse what `check` would find there; [`looks`] at the test split are
//! counted.
//!
//! A picture belongs to a patient, patients that cannot be told apart share a group, and a group is never divided.
//! Whose patient is not known (`unknown`) may be trained on, never tested on.

pub mod address;
mod check;
pub mod fingerprint;
mod join;
mod layouts;
pub mod looks;
mod manifest;
pub mod mask;
pub mod picture;
pub mod recipe;
mod split;
mod summary;
mod table;
mod trust;
pub mod volumes;

use std::path::PathBuf;

pub use check::{Findings, Problem, check, check_and};
pub use join::{Joined, join};
pub use layouts::{ImportArgs, Imported, Layout, Marks, import};
pub use manifest::{Label, Manifest, Record, Split, Task, UNKNOWN_PATIENT};
pub use split::{Fold, Fractions, assign_fold, assign_splits, group_folds};
pub use summary::summary;
use thorax_files::{ReadError, WriteError};
pub use trust::{open, verify, verify_records};

/// Why data could not be imported, read or written.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum DataError {
    /// A file or folder could not be read.
    #[error("cannot read {path}: {reason}; check the path and the permissions", path = path.display())]
    Read {
        /// The file or folder.
        path: PathBuf,
        /// The system's reason.
        reason: std::io::Error,
    },
    /// A file could not be read.
    #[error(transparent)]
    Unreadable(#[from] ReadError),
    /// A manifest could not be written.
    #[error(transparent)]
    Write(#[from] WriteError),
    /// A table's line cannot be understood.
    #[error("{path}, line {line}: {reason}", path = path.display())]
    Table {
        /// The table.
        path: PathBuf,
        /// Its line, counted from 1 (0 where unknown).
        line: u64,
        /// What is wrong, and the remedy.
        reason: String,
    },
    /// The folder is not laid out as expected.
    #[error("{path}: {reason}", path = path.display())]
    Layout {
        /// The folder.
        path: PathBuf,
        /// What is wrong, and the remedy.
        reason: String,
    },
    /// Pictures whose patients nobody told.
    #[error(
        "{path}: nothing says which patient {pictures} of the pictures are of ({examples}), and pictures of one patient must not \
         be learnt from and tested on; give --patients FILE (CSV with the columns file,patient), or --patient-pattern REGEX \
         for what names the patient in a file's path, or, where it is so, --each-picture-is-a-patient",
        path = path.display()
    )]
    PatientsUnknown {
        /// The folder.
        path: PathBuf,
        /// How many pictures.
        pictures: usize,
        /// The first of them.
        examples: String,
    },
    /// A manifest that would make a figure a lie.
    #[error("{path}: {count} problem(s): {first}; `thorax-train data check` lists all", path = path.display())]
    Unsound {
        /// The manifest.
        path: PathBuf,
        /// How many.
        count: usize,
        /// The first few.
        first: String,
    },
    /// Split fractions that are no fractions.
    #[error("fractions `{0}`: give three percentages that add up to 100, e.g. 70,10,20 (train,val,test)")]
    Fractions(String),
    /// A fold that is none.
    #[error(
        "fold `{0}`: give which of how many, e.g. 2/5; at least 3, for one is tested, one validated, the others trained on"
    )]
    Fold(String),
}

#[cfg(test)]
mod layout_mends;
#[cfg(test)]
mod layout_tests;
#[cfg(test)]
pub(crate) mod mocks;
#[cfg(test)]
mod tests;
