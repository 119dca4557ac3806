//! Everything that makes figures: how good classifiers, masks and bundles are, and whether their uncertainty is worth anything.
//!
//! [`classifiers`] judges the runs of the paper's eight, [`masks`] what segmentation nets draw, [`lesions`] what nets that
//! find single lesions find, [`bundle`] a whole bundle through the device's own code, [`teachers`] what it was distilled from; [`beside`]
//! sets them side by side. Figures are of patients: they, not pictures, are drawn anew for every [`Estimate`]'s interval.

pub mod beside;
pub mod bundle;
pub mod classifiers;
mod interval;
pub mod lesions;
pub mod masks;
pub mod teachers;

pub use interval::{Estimate, Resampling, mean};
