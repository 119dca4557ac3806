//! Pixels that are not square are made square, and what was drawn over them goes back.
//!
//! Every model, every crop and every length on a picture takes a pixel's height for its width. Where a file says that they differ,
//! the picture is resampled so that its pixels are as large as the smaller of the two, in both directions: nothing is lost.

use thorax_shared::{
    plane::{Orientation, Plane},
    preprocess::{
        Pixels,
        resize::{resize_i16, resize_u8, resize_u16},
    },
};

use super::Frame;

/// Heights and widths of a pixel that differ by less than this share are the same: files round them.
const SAME: f64 = 0.01;

/// The most pixels that a picture is enlarged to; one that would have more is shrunk along its finer side instead.
const MOST_PIXELS: f64 = (64u64 << 20) as f64;

/// Columns and rows of a picture of `size` when its pixels, `spacing_mm` high and wide, were made square; the same where they are
/// square, or where a size is not known (not above 0).
pub(super) fn squared_size((width, height): (usize, usize), spacing_mm: [f32; 2]) -> (usize, usize) {
    let [down, across] = spacing_mm.map(f64::from);
    let known = down > 0.0 && across > 0.0 && (down / across).is_finite() && (across / down).is_finite();
    if !known || (down - across).abs() <= SAME * down.min(across) {
        return (width, height);
    }
    let in_pixels_of = |side: f64| {
        let length = |pixels: usize, mm: f64| (pixels as f64 * mm / side).round().max(1.0);
        (length(width, across), length(height, down))
    };
    let (fine_width, fine_height) = in_pixels_of(down.min(across));
    let (width, height) = if fine_width * fine_height <= MOST_PIXELS {
        (fine_width, fine_height)
    } else {
        in_pixels_of(down.max(across))
    };
    (width as usize, height as usize)
}

impl Frame {
    /// The same picture with square pixels.
    pub(super) fn squared(self) -> Self {
        let Some(spacing) = self.spacing_mm else { return self };
        let size = match &self.pixels {
            Pixels::Eight(plane) => (plane.width(), plane.height()),
            Pixels::Sixteen(plane) => (plane.width(), plane.height()),
            Pixels::Hounsfield(plane) => (plane.width(), plane.height()),
        };
        let (width, height) = squared_size(size, spacing);
        if (width, height) == size {
            return self;
        }
        let pixels = match &self.pixels {
            Pixels::Eight(plane) => Pixels::Eight(resize_u8(plane, width, height)),
            Pixels::Sixteen(plane) => Pixels::Sixteen(resize_u16(plane, width, height)),
            Pixels::Hounsfield(plane) => Pixels::Hounsfield(resize_i16(plane, width, height)),
        };
        let [down, across] = spacing;
        let enlarged = width * height > size.0 * size.1;
        let side = if enlarged { down.min(across) } else { down.max(across) };
        Self { pixels, spacing_mm: Some([side; 2]), ..self }
    }
}

/// What was drawn over a [`Frame`] with this `orientation` and [`stored_size`](Frame::stored_size), on the columns and rows of the
/// file: turned back, and of the pixels that were made square those that lie over the centres of the stored ones.
pub fn as_stored<T: Copy>(drawn: &Plane<T>, orientation: Orientation, stored_size: (usize, usize)) -> Plane<T> {
    let turned = drawn.oriented(orientation.inverse());
    let (width, height) = stored_size;
    if (turned.width(), turned.height()) == stored_size || turned.data().is_empty() {
        return turned;
    }
    let nearest = |index: usize, from: usize, to: usize| (2 * index + 1) * from / (2 * to);
    Plane::from_fn(width, height, |x, y| {
        turned.get(nearest(x, turned.width(), width), nearest(y, turned.height(), height))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_finer_spacing_is_kept_and_a_hundredth_is_no_difference() {
        assert_eq!(squared_size((100, 80), [0.4, 0.2]), (100, 160));
        assert_eq!(squared_size((100, 80), [0.2, 0.4]), (200, 80));
        assert_eq!(squared_size((100, 80), [0.2, 0.2019]), (100, 80));
        assert_eq!(squared_size((100, 80), [0.2, 0.2021]), (101, 80));
        assert_eq!(squared_size((100, 80), [0.0, 0.2]), (100, 80));
        assert_eq!(squared_size((100, 80), [f32::NAN, f32::INFINITY]), (100, 80));
        // Too many: shrunk across instead.
        assert_eq!(squared_size((8000, 8000), [1.0, 0.5]), (4000, 8000));
        assert_eq!(squared_size((8000, 10), [1e30, 1e-5]), (1, 10));
    }

    #[test]
    fn what_is_drawn_over_squared_pixels_goes_back_to_the_stored_ones() {
        for transpose in [false, true] {
            let orientation = Orientation { transpose, flip_horizontal: true, flip_vertical: false };
            let stored = Plane::from_fn(7, 5, |x, y| (10 * y + x) as u8);
            let shown = stored.oriented(orientation);
            for (by, down) in [(2, 1), (1, 3)] {
                let drawn =
                    Plane::from_fn(by * shown.width(), down * shown.height(), |x, y| shown.get(x / by, y / down));
                assert_eq!(as_stored(&drawn, orientation, (7, 5)), stored);
            }
            assert_eq!(as_stored(&shown, orientation, (7, 5)), stored);
        }
    }
}
