//! From a decoded picture to the numbers a network sees.

pub mod spec;

use crate::plane::Plane;

/// Grey values and what they mean.
#[derive(Clone, Debug, PartialEq)]
pub enum Pixels {
    /// Eight bits, windowed by whoever wrote the file.
    Eight(Plane<u8>),
    /// Sixteen bits without a unit, the whole range used or not.
    Sixteen(Plane<u16>),
    /// Hounsfield units.
    Hounsfield(Plane<i16>),
}
