//! Nets that find infection and lungs: trained, and set to work on whole pictures.
//!
//! [`train`] makes a [`run`]'s folder from [`sample`]s that are varied by [`augment`]; where lesions have no
//! masks, [`boxes`] around them will do, or what [`teachers`] draw. A [`Segmenter`] is such a run, the mean of several ([`Members`]), or what a bundle has
//! ([`Shipped`]), and takes whole pictures: it prepares them as the device does and brings what the net drew back to the picture's own
//! size. [`predict`] writes such masks: for a picture as PNG files of its rows and columns, for a volume as NIfTI files that lie over
//! the scan ([`nifti`]). And a classifier can be shown the lungs that it finds, and nothing else ([`lungs`]), or learn from what the net itself sees in them ([`trunk`]). What the masks are worth,
//! [`judge::masks`](crate::judge::masks) says.

pub mod augment;
pub mod boxes;
pub mod lungs;
mod members;
pub mod nifti;
mod origin;
pub mod paper;
pub(crate) mod pictures;
pub mod predict;
pub mod run;
pub mod sample;
mod segmenter;
mod shipped;
pub mod teachers;
#[cfg(test)]
pub(crate) mod tests;
pub mod train;
pub mod trunk;

pub use lungs::LungFinder;
pub use members::{Members, refuse_twins};
pub use origin::Origin;
pub use segmenter::{DrawMasks, Drawn, OUTPUT as MASKS, Segmenter};
pub use shipped::{Integers, Shipped};
