//! The masks that are found on a picture: their names, their colours, and what counts as lung.
//!
//! Masks are planes of 0 and 255 ([`NAMES`] in the order of a net's channels); left and right are the patient's, and the patient's
//! left is on the right of the picture.

use crate::plane::Plane;

/// The masks a segmentation net gives, in the order of its channels.
pub const NAMES: [&str; 3] = ["infection", "left_lung", "right_lung"];
/// Place of the infection in [`NAMES`].
pub const INFECTION: usize = 0;
/// Place of the patient's left lung, which is on the right of the picture.
pub const LEFT_LUNG: usize = 1;
/// Place of the patient's right lung.
pub const RIGHT_LUNG: usize = 2;
/// What both lungs together are called.
pub const LUNGS: &str = "lungs";

/// Colour of the infection, 8 bits a channel, on the panel and in every overlay. The colours are told apart by people who do not see
/// red and green, from the heat map, and from grey.
pub const INFECTION_COLOUR: [u8; 3] = [255, 72, 224];
/// Colour of lungs, and of the patient's right one where the left is drawn in a colour of its own.
pub const LUNG_COLOUR: [u8; 3] = [96, 224, 255];
/// Colour of the patient's left lung where it is told apart from the right one.
pub const LEFT_LUNG_COLOUR: [u8; 3] = [240, 228, 66];

/// The pixels of `mask` (not 0) that have one of their four neighbours outside of it. Beyond the picture is outside.
pub fn outline(mask: &Plane<u8>) -> Plane<bool> {
    let (width, height) = (mask.width(), mask.height());
    Plane::from_fn(width, height, |x, y| {
        let inside = |x: usize, y: usize| mask.get(x, y) != 0;
        let enclosed = x > 0 && y > 0 && x + 1 < width && y + 1 < height;
        inside(x, y) && !(enclosed && inside(x - 1, y) && inside(x + 1, y) && inside(x, y - 1) && inside(x, y + 1))
    })
}

/// All masks together, marked with their highest value; `None` if one is not known, or there is none.
pub fn union<'a>(masks: impl IntoIterator<Item = Option<&'a Plane<u8>>>) -> Option<Plane<u8>> {
    let mut masks = masks.into_iter();
    let mut union = masks.next()??.clone();
    for mask in masks {
        union.data_mut().iter_mut().zip(mask?.data()).for_each(|(union, mask)| *union |= mask);
    }
    Some(union)
}
