//! From stored values to eight bits.

use super::{Pixels, spec::Window};
use crate::plane::Plane;
use alloc::{vec, vec::Vec};

/// The quantiles for pixels without a unit where the recipe only has a window in Hounsfield units.
const DEFAULT_QUANTILES: [f32; 2] = [0.005, 0.995];

/// `pixels` in eight bits, as `spec` says.
///
/// | | eight bits | sixteen bits | Hounsfield units |
/// |---|---|---|---|
/// | [`Window::Quantiles`] | quantiles | quantiles | quantiles |
/// | [`Window::Hounsfield`] | quantiles 0.005 and 0.995 | quantiles 0.005 and 0.995 | the window |
///
/// The same picture in eight bits, in twelve or in sixteen so becomes the same: greys without a unit mean nothing but their order
/// and proportions, and which of them are black and white is not left to how they were stored.
///
/// Between the two ends of a window values are scaled linearly and rounded half up. A window without width is a
/// step: values up to it become 0, values above it 255.
pub fn window(pixels: &Pixels, spec: &Window) -> Plane<u8> {
    match (pixels, spec) {
        (Pixels::Eight(plane), spec) => window(&Pixels::Sixteen(plane.map(u16::from)), spec),
        (Pixels::Sixteen(plane), Window::Quantiles { low, high }) => by_quantiles(plane, [*low, *high]),
        (Pixels::Sixteen(plane), Window::Hounsfield { .. }) => by_quantiles(plane, DEFAULT_QUANTILES),
        (Pixels::Hounsfield(plane), Window::Quantiles { low, high }) => {
            by_quantiles(&plane.map(|value| value.wrapping_sub(i16::MIN) as u16), [*low, *high])
        }
        (Pixels::Hounsfield(plane), Window::Hounsfield { center, width }) => {
            let (center, half) = (f64::from(*center), f64::from(*width) / 2.0);
            let table = table(i16::MIN.into(), center - half, center + half);
            plane.map(|value| table[usize::from(value.wrapping_sub(i16::MIN) as u16)])
        }
    }
}

fn by_quantiles(plane: &Plane<u16>, quantiles: [f32; 2]) -> Plane<u8> {
    let mut counts = vec![0usize; 1 << 16];
    for &value in plane.data() {
        counts[usize::from(value)] += 1;
    }
    let [low, high] = quantiles.map(|quantile| quantile_of(&counts, plane.data().len(), quantile));
    let table = table(0, low, high);
    plane.map(|value| table[usize::from(value)])
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
    fn eight_bits_stay_as_they_are() {
        let plane = Plane::from_fn(16, 16, |x, y| (16 * y + x) as u8);
        let spec = Window::Quantiles { low: 0.2, high: 0.8 };
        assert_eq!(window(&Pixels::Eight(plane.clone()), &spec), plane);
    }

    #[test]
    fn values_without_a_unit_take_the_default_quantiles_under_a_hounsfield_window() {
        let plane = Plane::from_fn(100, 100, |x, y| (100 * y + x) as u16);
        let pixels = Pixels::Sixteen(plane);
        let [low, high] = DEFAULT_QUANTILES;
        assert_eq!(
            window(&pixels, &Window::Hounsfield { center: -600.0, width: 1500.0 }),
            window(&pixels, &Window::Quantiles { low, high })
        );
    }
}
