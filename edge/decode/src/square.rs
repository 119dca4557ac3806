//! Pixels that are not square are made square, huge pictures are shrunk, and what was drawn over them goes back.
//!
//! Every model, every crop and every length on a picture takes a pixel's height for its width. Where a file says that they differ,
//! the picture is resampled so that its pixels are as large as the smaller of the two, in both directions: nothing is lost. And
//! since every mask and map of a picture has its size, in 32 bits a pixel on its way, one of more than [`MOST_PIXELS`] is shrunk:
//! some detectors have more, scanners of film and photographs do, but no model looks at so many.

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

/// Pixels whose sides differ by more than this factor are a mistake of the file.
const MOST_OBLONG: f64 = 16.0;

/// The most pixels that a picture is shown with.
const MOST_PIXELS: f64 = (8u64 << 20) as f64;

/// Columns and rows with which a picture of `size` is shown whose pixels are `spacing_mm` high and wide, where that is known (above
/// 0): made square, and no more than [`MOST_PIXELS`].
pub(super) fn shown_size((width, height): (usize, usize), spacing_mm: [f32; 2]) -> (usize, usize) {
    let [down, across] = spacing_mm.map(f64::from);
    let known = down > 0.0 && down <= MOST_OBLONG * across && across <= MOST_OBLONG * down;
    let (mut wide, mut high) = (width as f64, height as f64);
    if known && (down - across).abs() > SAME * down.min(across) {
        let side = down.min(across);
        (wide, high) = ((wide * across / side).round(), (high * down / side).round());
    }
    if wide * high > MOST_PIXELS {
        let share = (MOST_PIXELS / (wide * high)).sqrt();
        (wide, high) = ((wide * share).floor(), (high * share).floor());
    }
    (wide.max(1.0) as usize, high.max(1.0) as usize)
}

impl Frame {
    /// The same picture with square pixels, and not too many.
    pub(super) fn shown(self) -> Self {
        let size = self.pixels.size();
        let (width, height) = shown_size(size, self.spacing_mm.unwrap_or_default());
        if (width, height) == size || size.0 * size.1 == 0 {
            return self;
        }
        let pixels = match &self.pixels {
            Pixels::Eight(plane) => Pixels::Eight(resize_u8(plane, width, height)),
            Pixels::Sixteen(plane) => Pixels::Sixteen(resize_u16(plane, width, height)),
            Pixels::Hounsfield(plane) => Pixels::Hounsfield(resize_i16(plane, width, height)),
        };
        let spacing_mm = self
            .spacing_mm
            .map(|[down, across]| [down * (size.1 as f32 / height as f32), across * (size.0 as f32 / width as f32)]);
        Self { pixels, spacing_mm, ..self }
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
        assert_eq!(shown_size((100, 80), [0.4, 0.2]), (100, 160));
        assert_eq!(shown_size((100, 80), [0.2, 0.4]), (200, 80));
        assert_eq!(shown_size((100, 80), [0.2, 0.2019]), (100, 80));
        assert_eq!(shown_size((100, 80), [0.2, 0.2021]), (101, 80));
        for unknown in [[0.0, 0.2], [0.0; 2], [-1.0, 2.0], [f32::NAN, f32::INFINITY], [1e38, 1e-45], [0.1, 1.7]] {
            assert_eq!(shown_size((100, 80), unknown), (100, 80), "{unknown:?}");
        }
    }

    #[test]
    fn huge_pictures_are_shrunk_in_proportion() {
        assert_eq!(shown_size((4096, 2048), [0.0; 2]), (4096, 2048));
        assert_eq!(shown_size((8192, 4096), [0.1; 2]), (4096, 2048));
        assert_eq!(shown_size((2048, 2560), [1.0, 0.4]), (1638, 5120));
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
