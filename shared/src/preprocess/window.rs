//! From stored values to eight bits.

use super::{Pixels, spec::Window};
use crate::plane::{Plane, Rect};
use alloc::{borrow::Cow, vec, vec::Vec};

/// `pixels` in eight bits, as `spec` says.
///
/// | | eight bits | sixteen bits | Hounsfield units |
/// |---|---|---|---|
/// | [`Window::Quantiles`] | quantiles | quantiles | quantiles |
/// | [`Window::Hounsfield`] | unchanged | as many bits as occur, in eight | the window |
///
/// The same picture in eight bits, in twelve or in sixteen so becomes the same. Greys of a film mean nothing but their order and
/// proportions, and which of them are black and white is not left to how they were stored. A slice without a unit was windowed
/// by whoever wrote it, and its black and white are those of that window.
///
/// Between the two ends of a window values are scaled linearly and rounded half up. A window without width is a
/// step: values up to it become 0, values above it 255.
pub fn window(pixels: &Pixels, spec: &Window) -> Plane<u8> {
    match (pixels, spec) {
        (_, Window::Quantiles { low, high }) => {
            let plane = sixteen(pixels);
            by_quantiles(&plane, inside_border(&plane), [*low, *high])
        }
        (Pixels::Eight(plane), Window::Hounsfield { .. }) => plane.clone(),
        (Pixels::Sixteen(plane), Window::Hounsfield { .. }) => by_depth(plane),
        (Pixels::Hounsfield(plane), Window::Hounsfield { center, width }) => {
            let (center, half) = (f64::from(*center), f64::from(*width) / 2.0);
            let table = table(i16::MIN.into(), center - half, center + half);
            plane.map(|value| table[usize::from(value.wrapping_sub(i16::MIN) as u16)])
        }
    }
}

/// [`window`], where black and white are those of the part `inside` alone; `None` where they do not follow from the picture.
pub(super) fn window_inside(pixels: &Pixels, spec: &Window, inside: Rect) -> Option<Plane<u8>> {
    match spec {
        Window::Quantiles { low, high } => Some(by_quantiles(&sixteen(pixels), inside, [*low, *high])),
        Window::Hounsfield { .. } => None,
    }
}

/// The values as they are ordered, without what they mean.
fn sixteen(pixels: &Pixels) -> Cow<'_, Plane<u16>> {
    match pixels {
        Pixels::Eight(plane) => Cow::Owned(plane.map(u16::from)),
        Pixels::Sixteen(plane) => Cow::Borrowed(plane),
        Pixels::Hounsfield(plane) => Cow::Owned(plane.map(|value| value.wrapping_sub(i16::MIN) as u16)),
    }
}

/// Sixteen bits of which only those occur that the greatest value has, but eight at least, in eight.
fn by_depth(plane: &Plane<u16>) -> Plane<u8> {
    let most = plane.data().iter().copied().max().unwrap_or(0);
    let depth = (u16::BITS - most.leading_zeros()).max(8);
    let table = table(0, 0.0, f64::from((1u32 << depth) - 1));
    plane.map(|value| table[usize::from(value)])
}

/// Rows and columns at the edge whose values differ by less than this share of the picture's span show nothing: JPEG moves an even
/// border by less.
const EVEN: f64 = 4.0 / 255.0;

/// The quantiles are those of the part `inside`.
fn by_quantiles(plane: &Plane<u16>, inside: Rect, quantiles: [f32; 2]) -> Plane<u8> {
    let mut counts = vec![0usize; 1 << 16];
    for y in inside.y..inside.y + inside.height {
        for &value in &plane.row(y)[inside.x..inside.x + inside.width] {
            counts[usize::from(value)] += 1;
        }
    }
    let [low, high] = quantiles.map(|quantile| quantile_of(&counts, inside.width * inside.height, quantile));
    let table = table(0, low, high);
    plane.map(|value| table[usize::from(value)])
}

/// The picture without the rows and columns at its edges that are even; all of it where nothing else would be left. What a shutter,
/// a collimator, padding or a viewer left around the picture says nothing about it.
fn inside_border(plane: &Plane<u16>) -> Rect {
    let (width, height) = (plane.width(), plane.height());
    let (least, most) = span(plane.data().iter().copied());
    let even = |(from, to): (u16, u16)| f64::from(to.saturating_sub(from)) <= EVEN * f64::from(most - least.min(most));
    let row = |y: usize| even(span(plane.row(y).iter().copied()));
    let Some(top) = (0..height).find(|&y| !row(y)) else { return Rect::full(width, height) };
    let bottom = (top..height).rev().find(|&y| !row(y)).unwrap_or(top);
    let column = |x: usize| even(span((top..=bottom).map(|y| plane.row(y)[x])));
    let Some(left) = (0..width).find(|&x| !column(x)) else { return Rect::full(width, height) };
    let right = (left..width).rev().find(|&x| !column(x)).unwrap_or(left);
    Rect { x: left, y: top, width: right - left + 1, height: bottom - top + 1 }
}

/// The least and the most of some values.
fn span(values: impl Iterator<Item = u16>) -> (u16, u16) {
    values.fold((u16::MAX, 0), |(least, most), value| (least.min(value), most.max(value)))
}

/// The smallest level at or below which at least the share `quantile` of all values lies (never below the smallest
/// value that occurs).
fn quantile_of(counts: &[usize], total: usize, quantile: f32) -> f64 {
    let wanted = (f64::from(quantile) * total as f64).max(1.0);
    let mut seen = 0;
    let level = counts.iter().position(|count| {
        seen += count;
        seen as f64 >= wanted
    });
    level.unwrap_or(counts.len() - 1) as f64
}

/// For each of the 65536 values from `first` on, what it becomes when `low` is black and `high` is white.
fn table(first: i32, low: f64, high: f64) -> Vec<u8> {
    (first..first + (1 << 16))
        .map(|value| {
            let value = f64::from(value);
            if value <= low {
                0
            } else if value >= high {
                255
            } else {
                // The cast rounds down and holds to 0..=255.
                ((value - low) / (high - low) * 255.0 + 0.5) as u8
            }
        })
        .collect()
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "a test may fail")]
mod tests {
    use super::*;

    fn hounsfield(values: &[i16], center: f32, width: f32) -> Vec<u8> {
        let plane = Plane::new(values.len(), 1, values.to_vec()).unwrap();
        window(&Pixels::Hounsfield(plane), &Window::Hounsfield { center, width }).into_data()
    }

    fn sixteen(values: &[u16], low: f32, high: f32) -> Vec<u8> {
        let plane = Plane::new(values.len(), 1, values.to_vec()).unwrap();
        window(&Pixels::Sixteen(plane), &Window::Quantiles { low, high }).into_data()
    }

    #[test]
    fn the_lung_window_ends_where_its_half_widths_do() {
        // Center -600, width 1500: -1350 is black, 150 is white, the middle is 127.5, which rounds up.
        assert_eq!(
            hounsfield(&[-32768, -1350, -1349, -600, 149, 150, 32767], -600.0, 1500.0),
            [0, 0, 0, 128, 255, 255, 255]
        );
    }

    #[test]
    fn a_window_of_255_hounsfield_units_keeps_each_unit() {
        assert_eq!(hounsfield(&[0, 1, 2, 127, 254, 255], 127.5, 255.0), [0, 1, 2, 127, 254, 255]);
    }

    #[test]
    fn quantiles_cut_the_tails_off() {
        let values: Vec<u16> = (0..=1000).map(|value| value * 50).collect();
        let windowed = sixteen(&values, 0.1, 0.9);
        assert_eq!((windowed[100], windowed[101], windowed[500], windowed[899], windowed[900]), (0, 0, 128, 255, 255));
    }

    #[test]
    fn windows_without_width_are_steps() {
        assert_eq!(sixteen(&[700; 9], 0.0, 1.0), [0; 9]);
        assert_eq!(hounsfield(&[-1, 0, 1], 0.0, 0.0), [0, 0, 255]);
        assert_eq!(hounsfield(&[-1, 0, 1], 0.0, -10.0), [0, 0, 0]);
        assert_eq!(hounsfield(&[-1, 0, 1], f32::NAN, 1.0), [0, 0, 0]);
    }

    #[test]
    fn eight_bits_are_what_sixteen_are() {
        let plane = Plane::from_fn(16, 16, |x, y| (8 * y + 5 * x) as u8);
        let spec = Window::Quantiles { low: 0.2, high: 0.8 };
        let eight = window(&Pixels::Eight(plane.clone()), &spec);
        assert_eq!(window(&Pixels::Sixteen(plane.map(|value| u16::from(value) * 257)), &spec), eight);
        assert_eq!(window(&Pixels::Sixteen(plane.map(|value| u16::from(value) * 16)), &spec), eight);
    }

    #[test]
    fn a_border_says_nothing_about_the_picture() {
        let picture = Plane::from_fn(40, 30, |x, y| (1000 + 7 * x + 11 * y) as u16);
        let spec = Window::Quantiles { low: 0.005, high: 0.995 };
        let alone = window(&Pixels::Sixteen(picture.clone()), &spec);
        // Noise of a hundredth of the span, as JPEG leaves it.
        for (border, noise) in [(0, 0), (0, 5), (1000, 0), (1500, 0)] {
            let bordered = Plane::from_fn(60, 60, |x, y| match (x.checked_sub(10), y.checked_sub(20)) {
                (Some(x), Some(y)) if x < 40 && y < 30 => picture.get(x, y),
                _ => border + noise * ((x + y) % 2) as u16,
            });
            let shown = window(&Pixels::Sixteen(bordered), &spec);
            assert_eq!(shown.cropped(Rect { x: 10, y: 20, width: 40, height: 30 }), alone, "{border}");
        }
        assert_eq!(inside_border(&Plane::filled(3, 2, 7)), Rect::full(3, 2));
    }

    #[test]
    fn slices_without_a_unit_keep_their_black_and_white_however_deep_they_are() {
        let spec = Window::Hounsfield { center: -600.0, width: 1500.0 };
        let plane = Plane::from_fn(16, 16, |x, y| (60 + 8 * y + 4 * x) as u8);
        for by in [1, 16, 257] {
            let deep = window(&Pixels::Sixteen(plane.map(|value| u16::from(value) * by)), &spec);
            let apart = deep.data().iter().zip(plane.data()).map(|(a, b)| a.abs_diff(*b)).max();
            assert!(apart <= Some(1), "{by}: {apart:?}");
        }
        assert_eq!(window(&Pixels::Eight(plane.clone()), &spec), plane);
    }
}
