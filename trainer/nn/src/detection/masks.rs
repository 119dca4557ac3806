//! Masks between a box and its picture.

use thorax_kernels::resample::{Method, Resample};

use super::boxes::BoundingBox;

/// Puts a box's probabilities `[side, side]` into a picture of that size, 0 elsewhere, as Mask R-CNN does (He et al. 2017; the
/// rounding is torchvision's): a border of one value is put around them, the box grows with it and begins and ends at whole pixels,
/// and the values are mixed bilinearly.
///
/// # Panics
/// When `values` has another length than `side` squared.
pub fn paste(values: &[f32], side: usize, place: &BoundingBox, height: usize, width: usize) -> Vec<f32> {
    assert_eq!(values.len(), side * side, "a box's mask is square");
    let padded_side = side + 2;
    let mut padded = vec![0f32; padded_side * padded_side];
    for (row, values) in values.chunks(side).enumerate() {
        padded[(row + 1) * padded_side + 1..][..side].copy_from_slice(values);
    }
    let growth = padded_side as f32 / side as f32;
    let (x, y) = (0.5 * (place.left + place.right), 0.5 * (place.top + place.bottom));
    let (half_width, half_height) = (0.5 * place.width() * growth, 0.5 * place.height() * growth);
    let [left, top, right, bottom] =
        [x - half_width, y - half_height, x + half_width, y + half_height].map(|corner| corner.trunc() as i64);
    let (rows, columns) = ((bottom - top + 1).max(1), (right - left + 1).max(1));
    let resample = Resample {
        height: padded_side,
        width: padded_side,
        height_out: rows as usize,
        width_out: columns as usize,
        method: Method::Bilinear { align_corners: false },
    };
    let mut picture = vec![0f32; height * width];
    let mut large = vec![0f32; (rows * columns) as usize];
    if resample.forward(&padded, &mut large).is_err() {
        return picture;
    }
    let inside = |from: i64, size: i64, all: usize| from.max(0)..(from + size).min(all as i64).max(from.max(0));
    let across = inside(left, columns, width);
    for row in inside(top, rows, height) {
        let from = ((row - top) * columns + across.start - left) as usize;
        let count = (across.end - across.start) as usize;
        let to = row as usize * width + across.start as usize;
        picture[to..to + count].copy_from_slice(&large[from..from + count]);
    }
    picture
}

/// Whether each pixel of a map `[height, width]` lies in `place`, grown by `border` on each side.
pub fn inside(place: &BoundingBox, border: f32, height: usize, width: usize) -> Vec<bool> {
    let lies = |at: f32, from: f32, to: f32, size: usize| {
        at >= (from - border).max(0.0) && at < (to + border).min(size as f32)
    };
    (0..height * width)
        .map(|at| {
            let (x, y) = ((at % width) as f32, (at / width) as f32);
            lies(x, place.left, place.right, width) && lies(y, place.top, place.bottom, height)
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_full_mask_fills_its_box_and_nothing_far_from_it() {
        let place = BoundingBox { left: 10.0, top: 6.0, right: 30.0, bottom: 16.0 };
        let pasted = paste(&[1.0; 28 * 28], 28, &place, 24, 40);
        for (at, value) in pasted.iter().enumerate() {
            let (x, y) = ((at % 40) as f32, (at / 40) as f32);
            let well_inside = (12.0..28.0).contains(&x) && (8.0..14.0).contains(&y);
            let far = !(8.0..32.0).contains(&x) || !(4.0..18.0).contains(&y);
            assert!(!well_inside || *value > 0.99, "{x} {y}: {value}");
            assert!(!far || *value == 0.0, "{x} {y}: {value}");
        }
    }

    #[test]
    fn what_lies_outside_the_picture_is_left_out() {
        let place = BoundingBox { left: -50.0, top: -50.0, right: -20.0, bottom: 80.0 };
        assert!(paste(&[1.0; 4], 2, &place, 8, 8).iter().all(|value| *value == 0.0));
        let half = BoundingBox { left: -8.0, top: -8.0, right: 4.0, bottom: 4.0 };
        let pasted = paste(&[1.0; 16], 4, &half, 8, 8);
        assert!(pasted[0] > 0.99 && pasted[63] == 0.0);
    }

    #[test]
    fn a_box_has_the_pixels_between_its_edges() {
        let place = BoundingBox { left: 1.0, top: 0.0, right: 3.0, bottom: 1.0 };
        assert_eq!(inside(&place, 0.0, 2, 4), [false, true, true, false, false, false, false, false]);
        assert_eq!(inside(&place, 1.0, 2, 4), [true; 8]);
    }
}
