//! The way back: what a network drew over its input, on the source picture.

use alloc::{vec, vec::Vec};

use super::resize::Rows;
use crate::plane::{Plane, Rect};

/// Puts what a network drew over its input (mask probabilities, heat) back on the source picture of the size
/// `source`: resized into `core`, 0 around it.
pub fn map_to_source(map: &Plane<f32>, core: Rect, source: (usize, usize)) -> Plane<f32> {
    let mut placed = Plane::filled(source.0, source.1, 0.0);
    let mut rows = SourceRows::new(map, core, source);
    for (y, out) in placed.data_mut().chunks_exact_mut(source.0.max(1)).enumerate() {
        out.copy_from_slice(rows.row(y));
    }
    placed
}

/// Rows of a map, whose values stay what they are.
type MapRows<'a> = Rows<'a, f32, fn(f32) -> f32>;

/// What [`map_to_source`] gives, row by row: several maps of a large picture can be gone through side by side without any of them in memory.
pub struct SourceRows<'a> {
    rows: Option<MapRows<'a>>,
    visible: Rect,
    row: Vec<f32>,
}

impl<'a> SourceRows<'a> {
    /// The rows of `map` on a picture of the size `source`.
    pub fn new(map: &'a Plane<f32>, core: Rect, source: (usize, usize)) -> Self {
        let visible = core.within(source.0, source.1);
        let drawn = !map.data().is_empty() && visible.width > 0 && visible.height > 0;
        let same: fn(f32) -> f32 = |value| value;
        Self { rows: drawn.then(|| Rows::new(map, core.width, core.height, same)), visible, row: vec![0.0; source.0] }
    }

    /// Row `y` of the picture; quickest from top to bottom.
    pub fn row(&mut self, y: usize) -> &[f32] {
        let Rect { x, y: top, width, height } = self.visible;
        match &mut self.rows {
            Some(rows) if (top..top + height).contains(&y) => {
                self.row[x..x + width].copy_from_slice(&rows.row(y - top)[..width]);
            }
            _ => self.row.fill(0.0),
        }
        &self.row
    }
}
