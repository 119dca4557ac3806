//! Other sizes: area average where a side shrinks, bilinear where it grows.
//!
//! Pixels are squares and centres lie at half numbers, as in OpenCV (`INTER_AREA`, `INTER_LINEAR`), PyTorch
//! (`align_corners=False`) and ONNX (`half_pixel`). Both rules are a weighted mean of neighbours along each axis,
//! so one routine serves both: the weights are found once for each axis, then columns are mixed, then rows.

use crate::plane::Plane;
use alloc::{vec, vec::Vec};

/// `picture` with `width` columns and `height` rows, rounded half up; without pixels if either has none.
pub fn resize_u8(picture: &Plane<u8>, width: usize, height: usize) -> Plane<u8> {
    if (picture.width(), picture.height()) == (width, height) {
        return picture.clone();
    }
    // The cast rounds down and holds to 0..=255.
    resample(picture, width, height, f32::from, |value| (value + 0.5) as u8)
}

/// [`resize_u8`] for sixteen bits without sign.
pub fn resize_u16(picture: &Plane<u16>, width: usize, height: usize) -> Plane<u16> {
    if (picture.width(), picture.height()) == (width, height) {
        return picture.clone();
    }
    resample(picture, width, height, f32::from, |value| (value + 0.5) as u16)
}

/// [`resize_u8`] for Hounsfield units.
pub fn resize_i16(picture: &Plane<i16>, width: usize, height: usize) -> Plane<i16> {
    if (picture.width(), picture.height()) == (width, height) {
        return picture.clone();
    }
    // Below 0 the cast rounds up.
    resample(picture, width, height, f32::from, |value| libm::floorf(value + 0.5) as i16)
}

/// `map` (probabilities, heat) with `width` columns and `height` rows; without values if either has none.
pub fn resize_f32(map: &Plane<f32>, width: usize, height: usize) -> Plane<f32> {
    if (map.width(), map.height()) == (width, height) {
        return map.clone();
    }
    resample(map, width, height, |value| value, |value| value)
}

/// `width` and `height` shrunk alike until the longer is `side`; unchanged when it is no longer than that.
pub fn fitted(width: usize, height: usize, side: usize) -> (usize, usize) {
    let longer = width.max(height);
    if longer <= side {
        return (width, height);
    }
    // Rounded half up, and never to nothing.
    let scaled = |length: usize| {
        let (length, longer, side) = (length as u64, longer as u64, side as u64);
        ((length * side + longer / 2) / longer).max(1) as usize
    };
    (scaled(width), scaled(height))
}

fn resample<T: Copy, U: Copy + Default>(
    picture: &Plane<T>,
    width: usize,
    height: usize,
    widen: impl Fn(T) -> f32,
    narrow: impl Fn(f32) -> U,
) -> Plane<U> {
    let mut resized = Plane::filled(width, height, U::default());
    if picture.data().is_empty() || resized.data().is_empty() {
        return resized;
    }
    let mut rows = Rows::new(picture, width, height, widen);
    for (y, out) in resized.data_mut().chunks_exact_mut(width).enumerate() {
        for (out, &value) in out.iter_mut().zip(rows.row(y)) {
            *out = narrow(value);
        }
    }
    resized
}

/// A picture of another size, row by row, for those who need none of it as a whole.
pub(super) struct Rows<'a, T, W> {
    picture: &'a Plane<T>,
    widen: W,
    columns: Vec<Mix>,
    rows: Vec<Mix>,
    /// Rows already mixed along x; neighbours often share one, so the last two are kept.
    kept: [(usize, Vec<f32>); 2],
    wide: Vec<f32>,
    sums: Vec<f32>,
}

impl<'a, T: Copy, W: Fn(T) -> f32> Rows<'a, T, W> {
    /// `picture`, which has pixels, with `width` columns and `height` rows.
    pub(super) fn new(picture: &'a Plane<T>, width: usize, height: usize, widen: W) -> Self {
        Self {
            picture,
            widen,
            columns: mixes(picture.width(), width),
            rows: mixes(picture.height(), height),
            kept: [(usize::MAX, vec![0.0; width]), (usize::MAX, vec![0.0; width])],
            wide: vec![0.0; picture.width()],
            sums: vec![0.0; width],
        }
    }

    /// New row `y`; quickest from top to bottom.
    pub(super) fn row(&mut self, y: usize) -> &[f32] {
        let Self { picture, widen, columns, rows, kept, wide, sums } = self;
        sums.fill(0.0);
        let mix = &rows[y];
        for (y, &weight) in (mix.first..).zip(&mix.weights) {
            let slot = y % 2;
            if kept[slot].0 != y {
                for (wide, &value) in wide.iter_mut().zip(picture.row(y)) {
                    *wide = widen(value);
                }
                for (sum, mix) in kept[slot].1.iter_mut().zip(columns.iter()) {
                    let values = &wide[mix.first..mix.first + mix.weights.len()];
                    *sum = values.iter().zip(&mix.weights).map(|(value, weight)| value * weight).sum();
                }
                kept[slot].0 = y;
            }
            for (sum, value) in sums.iter_mut().zip(&kept[slot].1) {
                *sum += weight * value;
            }
        }
        sums
    }
}

/// What one new row or column is made of: the old ones from `first` on, weighted; the weights add up to 1.
struct Mix {
    first: usize,
    weights: Vec<f32>,
}

fn mixes(from: usize, to: usize) -> Vec<Mix> {
    if to < from { area(from, to) } else { bilinear(from, to) }
}

/// Each new pixel covers `from / to` old ones, the outer two in part.
fn area(from: usize, to: usize) -> Vec<Mix> {
    (0..to)
        .map(|index| {
            // In units of 1 / to of an old pixel everything is whole.
            let (start, end) = (index * from, (index + 1) * from);
            let weights = (start / to..end.div_ceil(to))
                .map(|old| {
                    let covered = end.min((old + 1) * to) - start.max(old * to);
                    covered as f32 / from as f32
                })
                .collect();
            Mix { first: start / to, weights }
        })
        .collect()
}

/// Each new pixel lies between two old centres, or outside of the outermost, whose value it then has.
fn bilinear(from: usize, to: usize) -> Vec<Mix> {
    let scale = from as f64 / to as f64;
    (0..to)
        .map(|index| {
            let position = ((index as f64 + 0.5) * scale - 0.5).clamp(0.0, (from - 1) as f64);
            let first = position as usize;
            let share = (position - first as f64) as f32;
            let weights = if share > 0.0 { vec![1.0 - share, share] } else { vec![1.0] };
            Mix { first, weights }
        })
        .collect()
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "a test may fail")]
mod tests {
    use super::*;

    #[test]
    fn halving_takes_the_mean_of_four() {
        let picture = Plane::new(4, 2, vec![0, 10, 200, 201, 20, 30, 202, 203]).unwrap();
        // (200 + 201 + 202 + 203) / 4 = 201.5, rounded up.
        assert_eq!(resize_u8(&picture, 2, 1).data(), [15, 202]);
    }

    #[test]
    fn thirds_are_weighted_by_what_they_cover() {
        let map = Plane::new(3, 1, vec![0.0, 3.0, 6.0]).unwrap();
        let halves = resize_f32(&map, 2, 1);
        assert!((halves.get(0, 0) - 1.0).abs() < 1e-6 && (halves.get(1, 0) - 5.0).abs() < 1e-6, "{halves:?}");
    }

    #[test]
    fn doubling_puts_new_centres_a_quarter_off() {
        let map = Plane::new(2, 1, vec![0.0, 1.0]).unwrap();
        assert_eq!(resize_f32(&map, 4, 1).data(), [0.0, 0.25, 0.75, 1.0]);
    }

    #[test]
    fn every_kind_of_pixel_is_rounded_half_up() {
        let eight = Plane::new(4, 2, vec![0u8, 10, 200, 201, 20, 31, 202, 203]).unwrap();
        let sixteen = resize_u16(&eight.map(|value| u16::from(value) + 65000), 2, 1);
        assert_eq!(sixteen.map(|value| (value - 65000) as u8), resize_u8(&eight, 2, 1));
        let units = resize_i16(&eight.map(|value| i16::from(value) - 1000), 2, 1);
        assert_eq!(units.map(|value| (value + 1000) as u8), resize_u8(&eight, 2, 1));
    }

    #[test]
    fn nothing_comes_of_nothing() {
        let empty = Plane::filled(0, 5, 7u8);
        assert_eq!(resize_u8(&empty, 2, 2).data(), [0; 4]);
        assert!(resize_u8(&Plane::filled(3, 3, 7u8), 0, 2).data().is_empty());
    }

    #[test]
    fn fitting_keeps_the_shape_and_never_enlarges() {
        assert_eq!(fitted(2500, 2048, 1024), (1024, 839));
        assert_eq!(fitted(300, 200, 1024), (300, 200));
        assert_eq!(fitted(100_000, 3, 10), (10, 1));
    }
}
