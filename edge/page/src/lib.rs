//! The page for the tablet: what the device found, for those who may see it.
//!
//! A nurse has no terminal, so everything that somebody looks at every day is a page here: the list of studies, one study with its
//! picture and what the models marked on it, why a picture was not read, what waits, and a form in which a reader says whether the
//! verdict was right. It is plain HTML that is made here for each request: no script runs in it, nothing is loaded from
//! elsewhere, and the browser is told to refuse it if it were.
//!
//! It is off unless a profile has a table `[page]`. A request goes one way, whatever it asks for:
//!
//! ```text
//! connection (TLS, limits) -> request (parsed, ids only) -> session, role, form token -> a line of the audit -> view
//! ```
//!
//! Nothing of the address becomes a path: what is asked for is one of the few forms of [`request::Route`], whose numbers are looked
//! up in the journal. Nothing is shown whose line in the audit could not be written.

mod answer;
mod config;
mod error;
mod facts;
mod limits;
mod printed;
pub mod request;
mod secret;
mod server;
mod sessions;
pub mod users;
mod views;

use std::{fmt::Debug, sync::Arc};

use thorax_journal::{Hash, Journal};
use thorax_shared::{modality::Modality, reason::Reason, words::Language};

pub use config::Config;
pub use error::PageError;
pub use server::start;

/// A study with a result as one file of HTML that a browser prints on A4, as the page prints it.
///
/// # Errors
/// What cannot be read.
pub fn print(journal: &Journal, study: u64, language: Language) -> Result<String, String> {
    let facts = facts::Facts::gather(journal, study).map_err(|error| error.to_string())?;
    printed::page(&facts, journal, language)
}

/// What the page asks the device.
pub trait Appliance: Debug + Send + Sync + 'static {
    /// The journal, unless it is being opened. Whoever has it gives it back when the request is answered.
    fn journal(&self) -> Option<Arc<Journal>>;
    /// What stands in the way at the moment.
    fn trouble(&self) -> Option<String>;
    /// The bundles that read, by name and version.
    fn bundles(&self) -> Vec<String>;
    /// What is installed for each kind of picture.
    fn installed(&self) -> Vec<Installed>;
    /// The bundles that lie where sticks appear, signed by somebody who is trusted.
    fn offered(&self) -> Vec<Offered>;
    /// Installs the offered bundle with this SHA-256, by the name of whoever asks.
    ///
    /// # Errors
    /// What is wrong with it; nothing was changed then.
    fn install(&self, sha256: &Hash, by: &str) -> Result<(), Reason>;
    /// Goes back to the bundle before the one that is run.
    ///
    /// # Errors
    /// Why that cannot be.
    fn roll_back(&self, modality: Modality, why: &str, by: &str) -> Result<(), Reason>;
}

/// What is installed for a kind of picture.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Installed {
    /// The kind.
    pub modality: Modality,
    /// The bundle, by name and version; `None` where it is what the profile names.
    pub active: Option<String>,
    /// Studies that it has read on trial, and of how many.
    pub trial: Option<(u64, u64)>,
    /// The one before it; `None` where that is what the profile names.
    pub former: Option<String>,
    /// What was taken back last, and why.
    pub taken_back: Option<(String, String)>,
}

/// A bundle on a stick.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Offered {
    /// By which it is known.
    pub sha256: Hash,
    /// Name and version.
    pub title: String,
    /// What it reads.
    pub modality: Modality,
}
