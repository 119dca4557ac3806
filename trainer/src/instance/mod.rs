//! Nets that find single lesions: trained, and set to work on whole pictures.
//!
//! [`train`] makes a [`run`]'s folder from the same pictures and masks as [`segmentation`](crate::segmentation)'s nets learn from; a lesion is
//! a connected component of the infection mask. A [`LesionFinder`] is such a run that takes whole pictures. What it finds is judged twice: the
//! union of all lesions as any mask is ([`judge::masks`](crate::judge::masks)), and each lesion by itself
//! ([`judge::lesions`](crate::judge::lesions)).

pub mod average_precision;
mod drawing;
mod finder;
pub mod run;
pub mod train;

pub use drawing::drawing;
pub use finder::{FoundLesions, Lesion, LesionFinder};
