//! From what was found in a picture to what a hospital's archive keeps.
//!
//! A picture archive takes DICOM objects and nothing else, so a result is told in three of them, each in a new series of the
//! picture's own study:
//!
//! - [`SegmentationBuilder`] makes a *Segmentation*: where infection and lungs are, on the pixels of the picture as it was sent.
//! - [`report`] makes a *Comprehensive 3D SR* by template TID 1500: verdict, figures, quality, and which bundle said so.
//! - [`capture`] makes a *Secondary Capture*: the panel as any viewer can show it.
//!
//! All are marked as research. None has a clock or a counter inside: what identifies an object is derived from its content, so the
//! same result is the same object however often it is made, and an archive that has it already sees that it does.
//!
//! What leaves the hospital leaves without names: [`deidentify`](deidentify::deidentify) applies the Basic Profile of PS3.15. What
//! is to lie on a desk is a page to print, [`Page`].
//!
//! A picture is a [`Source`]: its data set without pixels. The crate decodes nothing, draws nothing, sends nothing and knows no
//! network; references such as "PS3.3, C.7.6.3" are parts and sections of the DICOM standard.

mod bits;
mod capture;
mod code;
pub mod deidentify;
mod error;
mod object;
mod page;
mod part10;
mod report;
mod segmentation;
mod set;
mod source;
mod uid;

pub use bits::unpack;
pub use capture::{Panel, capture};
pub use error::ObjectError;
pub use object::{Bundle, Device, Moment, Object, Provenance, RESEARCH_USE};
pub use page::{Page, Picture, Section};
pub use report::{Reading, report};
pub use segmentation::{Lungs, Masks, Segment, Segmentation, SegmentationBuilder};
pub use source::{Patient, Source};
