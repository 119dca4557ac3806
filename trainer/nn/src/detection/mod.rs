//! What nets that find single objects need beside convolutions.
//!
//! [`boxes`] are rectangles, their overlap, and their difference from a reference as a net learns it; [`suppression`] leaves one
//! of many that show the same; [`roi_align`] cuts what lies in a box out of a map; [`group_norm`](mod@group_norm) normalises
//! where a batch is too small for batch norm; [`masks`] brings a box's mask to the picture; [`losses`] are what the heads make
//! small. Boxes are chosen and compared on the host, since their number changes from picture to picture; only what has a gradient
//! is a tensor.

pub mod boxes;
pub mod group_norm;
pub mod losses;
pub mod masks;
pub mod roi_align;
pub mod suppression;

pub use boxes::{BoundingBox, BoxCoder};
