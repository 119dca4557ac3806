//! Which bundles a device runs, and with which thresholds.
//!
//! A bundle comes on a stick, signed. It is *installed* ([`Bundles::install`]) when a trusted key has signed it and the device gives
//! its golden answers; then it is *on trial*: it is active, and the one that was active before is kept. The trial is over, for
//! good, after so many studies or hours ([`TrialLength`]). It ends the other way, *rolled back* to the former bundle, when the
//! self-test fails at a start, when the device went down twice at work with it, or when a person says so. Where nothing is installed, or
//! the first one was taken back, the device runs what its profile names.
//!
//! What is in the folder:
//!
//! | name | is |
//! |---|---|
//! | `<SHA-256>` | a bundle |
//! | `state.json` | which is active, which was before, how the trial goes, the site's thresholds, what the journal is yet to be told |
//! | `*.part` | a file that is being written |
//! | `.lock` | keeps other processes out, for the moment of a change |
//!
//! A file gets its name when it is whole and on the disk, `state.json` is the last to be written, and files that it does not name are
//! removed behind that. So a power cut leaves the state before a change or the one behind it, each with its bundles.
//!
//! A site may set [thresholds](SiteThresholds) of its own, which can only make a device say less; and [`table`] tells what each
//! threshold would do with a site's own patients.

mod error;
mod hash;
mod state;
mod store;
pub mod table;
mod thresholds;

pub use error::BundlesError;
pub use hash::BundleHash;
pub use state::{Installed, RolledBack, Slot, State, Trial};
pub use store::{Active, Bundles, FOLDER, InstallReport, TrialLength};
pub use thresholds::{SiteThresholds, allowed};
