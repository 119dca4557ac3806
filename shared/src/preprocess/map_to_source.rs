//! The way back: what a network drew over its input, on the source picture.

use super::resize::resize_f32;
use crate::plane::{Plane, Rect};

/// Puts what a network drew over its input (mask probabilities, heat) back on the source picture of the size
/// `source`: resized into `core`, 0 around it.
pub fn map_to_source(map: &Plane<f32>, core: Rect, source: (usize, usize)) -> Plane<f32> {
    let mut placed = Plane::filled(source.0, source.1, 0.0);
    let resized = resize_f32(map, core.width, core.height);
    let visible = core.within(source.0, source.1);
    if visible.width > 0 {
        for y in 0..visible.height {
            let start = (visible.y + y) * source.0 + visible.x;
            placed.data_mut()[start..start + visible.width].copy_from_slice(&resized.row(y)[..visible.width]);
        }
    }
    placed
}
