//! Why a bundle was not installed, taken back or given thresholds.

use std::io;

use thorax_files::LockError;
use thorax_shared::{bundle::BundleError, modality::Modality, reason::Reason};

use crate::hash::BundleHash;

/// What is wrong.
#[derive(Debug, thiserror::Error)]
#[error("{}", self.reason())]
#[non_exhaustive]
pub enum BundlesError {
    /// Another process is changing something.
    Busy(#[from] LockError),
    /// It is no bundle that this device may run.
    Refused(#[from] BundleError),
    /// It has no golden answers.
    NoGoldenAnswers,
    /// The device does not give its golden answers.
    SelfTest(String),
    /// It is active already.
    AlreadyActive(BundleHash),
    /// There is nothing to go back to.
    NothingInstalled(Modality),
    /// `state.json` cannot be read.
    State(String),
    /// Written by a newer program.
    Newer {
        /// Its form.
        found: u32,
        /// The newest form that is understood.
        known: u32,
    },
    /// A bundle's file is not what it was.
    Damaged(BundleHash),
    /// A site's thresholds are out of their bounds.
    Thresholds(String),
    /// Nobody is named, or nothing said, or too much.
    Words(&'static str),
    /// The system refuses.
    Io {
        /// What was to be done.
        what: String,
        /// The system's reason.
        reason: io::Error,
    },
}

impl BundlesError {
    /// Cause and remedy.
    pub fn reason(&self) -> Reason {
        match self {
            Self::Busy(error) => Reason::without_remedy(error.to_string()),
            Self::Refused(error) => Reason::without_remedy(error.to_string()),
            Self::NoGoldenAnswers => Reason::new(
                "the bundle has no answers to test this device by",
                "have it built anew with golden answers (format 2), or name it in the profile and answer for it",
            ),
            Self::SelfTest(cause) => Reason::new(
                format!("the self-test failed ({cause})"),
                "nothing was changed; ask whoever signed the bundle whether it is made for this kind of device",
            ),
            Self::AlreadyActive(hash) => Reason::without_remedy(format!("bundle {} is active already", hash.short())),
            Self::NothingInstalled(modality) => Reason::new(
                format!("no bundle for {modality} is installed here, so there is none to go back from"),
                "what the profile names is changed in the profile",
            ),
            Self::State(cause) => Reason::new(
                format!("the list of installed bundles cannot be read ({cause})"),
                "move the folder `bundles` out of the folder of data, and install the bundles again",
            ),
            Self::Newer { found, known } => Reason::new(
                format!("the list of installed bundles has form {found}, and this program knows {known}"),
                "install the newer program again; this one changed nothing",
            ),
            Self::Damaged(hash) => Reason::new(
                format!("the file of bundle {} is damaged or gone", hash.short()),
                "check the disk, and install the bundle again",
            ),
            Self::Thresholds(cause) => Reason::new(
                cause.clone(),
                "see `thorax-edge threshold show` for the bounds; beyond them it takes another bundle",
            ),
            Self::Words(which) => Reason::new(
                format!("{which} is empty, has control characters or more than 200 bytes"),
                "say it in a line",
            ),
            Self::Io { what, reason } => {
                Reason::new(format!("cannot {what} ({reason})"), "check the disk and its permissions")
            }
        }
    }

    pub(crate) fn io(what: impl Into<String>) -> impl FnOnce(io::Error) -> Self {
        let what = what.into();
        move |reason| Self::Io { what, reason }
    }
}
