//! Numbers of 8 bits, as ONNX defines `QuantizeLinear`, `DequantizeLinear` and `QLinearConv`.
//!
//! A value `x` is stored as `q = round(x / scale) + zero_point`, halves to the even neighbour, and means
//! `(q - zero_point) * scale`. All arithmetic here is in f32, in the order in which ONNX Runtime does it, so that the results are
//! equal to the bit.

/// Largest value of an activation.
const LARGEST: f32 = 255.0;
/// Largest weight; -128 is not used, so that weights are symmetric.
const LARGEST_WEIGHT: f32 = 127.0;
/// A bias may take this much of an i32, the rest is for the sum of products.
const LARGEST_BIAS: f32 = (1u32 << 30) as f32;

/// How the u8 values of a tensor stand for real ones.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Quantization {
    /// Distance of two neighbouring values.
    pub scale: f32,
    /// What stands for 0.
    pub zero_point: u8,
}

impl Quantization {
    /// The one whose values span `low..=high`, widened to take in 0, which must be exact since padding is made of it.
    ///
    /// A range without an extent, or with an end that is no number, gives the scale 1: all values are then 0.
    pub fn of_range(low: f32, high: f32) -> Self {
        let (low, high) = (low.min(0.0), high.max(0.0));
        let scale = (high - low) / LARGEST;
        if !(scale.is_finite() && scale >= f32::MIN_POSITIVE) {
            return Self { scale: 1.0, zero_point: 0 };
        }
        Self { scale, zero_point: (-low / scale).round_ties_even().clamp(0.0, LARGEST) as u8 }
    }

    /// The smallest and the largest value that it has.
    pub fn range(self) -> [f32; 2] {
        [self.dequantize(0), self.dequantize(u8::MAX)]
    }

    /// The u8 that stands for `value`; the nearest end of the range for one outside.
    #[inline]
    pub fn quantize(self, value: f32) -> u8 {
        self.saturate((value / self.scale).round_ties_even())
    }

    /// What `value` stands for.
    #[inline]
    pub fn dequantize(self, value: u8) -> f32 {
        (i32::from(value) - i32::from(self.zero_point)) as f32 * self.scale
    }

    /// The u8 of a sum of products, `multiplier` of its steps making one of this.
    #[inline]
    pub fn requantize(self, sum: i32, multiplier: f32) -> u8 {
        self.saturate((sum as f32 * multiplier).round_ties_even())
    }

    /// A whole number of steps as the u8 that is nearest.
    #[inline]
    fn saturate(self, steps: f32) -> u8 {
        let zero_point = f32::from(self.zero_point);
        (steps.clamp(-zero_point, LARGEST - zero_point) + zero_point) as u8
    }
}

/// The weights of a convolution as i8 with zero point 0.
#[derive(Clone, Debug, PartialEq)]
pub struct QuantizedWeight {
    /// In the order of the real ones, the output channel first.
    pub values: Vec<i8>,
    /// One an output channel; all the same where they are one for the tensor.
    pub scales: Vec<f32>,
}

impl QuantizedWeight {
    /// Quantizes `weight`, whose first dimension is the output channels, of which there are as many as in `bias`.
    ///
    /// The scale is the largest weight over 127, of each channel or (`per_channel` false) of all. It is never so small that the bias,
    /// which has the scale `x_scale * scale`, would need more than half of an i32: of a channel whose weights are all but zero it is the
    /// bias that counts.
    pub fn new(weight: &[f32], bias: &[f32], x_scale: f32, per_channel: bool) -> Self {
        let length = (weight.len() / bias.len().max(1)).max(1);
        let channels = || weight.chunks_exact(length);
        let largest = |values: &[f32]| values.iter().fold(0f32, |largest, value| largest.max(value.abs()));
        let of_tensor = largest(weight);
        let scales: Vec<f32> = channels()
            .zip(bias)
            .map(|(values, bias)| {
                let largest = if per_channel { largest(values) } else { of_tensor };
                let scale = (largest / LARGEST_WEIGHT).max(bias.abs() / (x_scale * LARGEST_BIAS));
                if scale >= f32::MIN_POSITIVE { scale } else { 1.0 }
            })
            .collect();
        let quantize = |(values, &scale): (&[f32], &f32)| {
            let steps = values.iter().map(|value| (value / scale).round_ties_even());
            steps.map(|steps| steps.clamp(-LARGEST_WEIGHT, LARGEST_WEIGHT) as i8).collect::<Vec<i8>>()
        };
        Self { values: channels().zip(&scales).flat_map(quantize).collect(), scales }
    }

    /// What the values stand for.
    pub fn dequantized(&self) -> Vec<f32> {
        let length = (self.values.len() / self.scales.len().max(1)).max(1);
        let channels = self.values.chunks_exact(length).zip(&self.scales);
        channels.flat_map(|(values, &scale)| values.iter().map(move |&value| f32::from(value) * scale)).collect()
    }

    /// `bias` as i32 of the scale `x_scale * scale` of each channel.
    pub fn bias(&self, bias: &[f32], x_scale: f32) -> Vec<i32> {
        bias.iter().zip(&self.scales).map(|(bias, scale)| (bias / (x_scale * scale)).round_ties_even() as i32).collect()
    }

    /// For each channel, how many steps of `y_scale` a step of its sum of products is.
    pub fn multipliers(&self, x_scale: f32, y_scale: f32) -> Vec<f32> {
        self.scales.iter().map(|scale| x_scale * scale / y_scale).collect()
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn values_inside_come_back_within_half_a_step(low in -1e3f32..0.0, extent in 1e-3f32..2e3, share in 0f32..1.0) {
            let quantization = Quantization::of_range(low, low + extent);
            let [first, last] = quantization.range();
            let value = first + (last - first) * share;
            let back = quantization.dequantize(quantization.quantize(value));
            prop_assert!((back - value).abs() <= quantization.scale * 0.500_1, "{value} {back}");
            // Zero is exact, and the range is no more than half a step from what was asked for.
            prop_assert_eq!(quantization.dequantize(quantization.quantize(0.0)), 0.0);
            let high = (low + extent).max(0.0);
            prop_assert!((first - low).abs() <= quantization.scale * 0.51 && (last - high).abs() <= quantization.scale * 0.51);
        }

        #[test]
        fn what_lies_outside_becomes_the_nearest_end(low in -1e3f32..0.0, high in 0f32..1e3, beyond in 0f32..1e6) {
            let quantization = Quantization::of_range(low, high + 1e-3);
            let [first, last] = quantization.range();
            prop_assert_eq!(quantization.quantize(first - beyond), 0);
            prop_assert_eq!(quantization.quantize(last + beyond), 255);
        }

        #[test]
        fn quantized_values_are_fixed_points(low in -1e3f32..0.0, high in 1e-2f32..1e3, value: u8) {
            let quantization = Quantization::of_range(low, high);
            prop_assert_eq!(quantization.quantize(quantization.dequantize(value)), value);
        }

        #[test]
        fn a_sum_is_requantized_as_its_real_value(sum in -2_000_000i32..2_000_000, scale in 1e-6f32..1e-3, zero_point: u8) {
            let quantization = Quantization { scale: 0.02, zero_point };
            let exact = (f64::from(sum) * f64::from(scale / 0.02) + f64::from(zero_point)).clamp(0.0, 255.0);
            let found = f64::from(quantization.requantize(sum, scale / 0.02));
            prop_assert!((found - exact).abs() <= 0.501, "{found} {exact}");
        }

        #[test]
        fn weights_are_within_half_a_step_and_channels_apart(
            weight in prop::collection::vec(-2f32..2.0, 12),
            bias in prop::collection::vec(-2f32..2.0, 3),
        ) {
            let each = QuantizedWeight::new(&weight, &bias, 0.1, true);
            let all = QuantizedWeight::new(&weight, &bias, 0.1, false);
            prop_assert!(all.scales.iter().all(|scale| *scale == all.scales[0]));
            for (index, (value, back)) in weight.iter().zip(each.dequantized()).enumerate() {
                let scale = each.scales[index / 4];
                prop_assert!((value - back).abs() <= 0.500_1 * scale && scale <= all.scales[0]);
            }
            let stored = each.bias(&bias, 0.1);
            for ((bias, stored), scale) in bias.iter().zip(stored).zip(&each.scales) {
                prop_assert!((f64::from(stored) * f64::from(0.1 * scale) - f64::from(*bias)).abs() <= f64::from(0.1 * scale));
            }
        }
    }

    #[test]
    fn halves_go_to_the_even_neighbour() {
        let quantization = Quantization { scale: 0.5, zero_point: 10 };
        assert_eq!([0.25, 0.75, 1.25, -0.25, -0.75].map(|value| quantization.quantize(value)), [10, 12, 12, 10, 8]);
        assert_eq!([1, 3, 5, -1].map(|sum| quantization.requantize(sum, 0.5)), [10, 12, 12, 10]);
    }

    #[test]
    fn ranges_without_extent_and_dead_channels_are_no_division_by_zero() {
        for (low, high) in [(0.0, 0.0), (1.0, -1.0), (f32::NAN, f32::NAN), (0.0, f32::INFINITY)] {
            assert_eq!(Quantization::of_range(low, high), Quantization { scale: 1.0, zero_point: 0 });
        }
        let weight = QuantizedWeight::new(&[0.0, 0.0, 1.0, 1.0], &[3.0, 0.0], 1e-3, true);
        assert_eq!(weight.values, [0, 0, 127, 127]);
        let bias = weight.bias(&[3.0, 0.0], 1e-3);
        assert!((f64::from(bias[0]) * f64::from(weight.scales[0]) * 1e-3 - 3.0).abs() < 1e-6, "{bias:?}");
        assert_eq!(QuantizedWeight::new(&[0.0; 2], &[0.0], 1.0, true).scales, [1.0]);
    }
}
