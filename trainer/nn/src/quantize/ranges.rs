//! Which range of real numbers a tensor's 256 values span, by what was seen of it on calibration pictures.
//!
//! A range that holds every value seen wastes steps on the rarest; a narrower one cuts these off. [`Ranges`] are the ways to choose that
//! Nagel et al. 2021 (arXiv 2106.08295, section 3.1) compare.

use super::numbers::Quantization;

/// Bins of a histogram, eight for each of the 256 values.
const BINS: usize = 2048;
/// Ends of a range that are tried for the least error: so many parts of the outermost value seen.
const ENDS: u32 = 100;
/// Times that each end is chosen anew for the other.
const ROUNDS: usize = 2;

/// How a range is chosen.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Ranges {
    /// From the smallest to the largest value.
    MinMax,
    /// Without the outermost values: the share (0.9999, for instance) of those that are not zero that lies within either end.
    Percentile(f64),
    /// With the least mean squared error of the values that were seen.
    MeanSquaredError,
}

/// Smallest and largest value of a tensor.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Extent {
    /// Smallest, or 0.
    pub low: f32,
    /// Largest, or 0.
    pub high: f32,
}

impl Default for Extent {
    fn default() -> Self {
        Self { low: 0.0, high: 0.0 }
    }
}

impl Extent {
    /// Widens itself to take in `values`.
    pub fn observe(&mut self, values: &[f32]) {
        self.low = values.iter().copied().fold(self.low, f32::min);
        self.high = values.iter().copied().fold(self.high, f32::max);
    }

    /// What takes in both.
    pub fn union(self, other: Self) -> Self {
        Self { low: self.low.min(other.low), high: self.high.max(other.high) }
    }
}

/// How often a tensor had which values. Zeros do not count: every quantization has them exactly.
#[derive(Clone, Debug)]
pub struct Histogram {
    extent: Extent,
    bins: Vec<u64>,
}

impl Histogram {
    /// An empty one for values within `extent`.
    pub fn new(extent: Extent) -> Self {
        Self { extent, bins: vec![0; BINS] }
    }

    /// Counts `values`; those outside of the extent as its ends.
    pub fn observe(&mut self, values: &[f32]) {
        let Extent { low, high } = self.extent;
        let per_value = BINS as f32 / (high - low).max(f32::MIN_POSITIVE);
        for &value in values.iter().filter(|value| **value != 0.0) {
            self.bins[(((value - low) * per_value) as usize).min(BINS - 1)] += 1;
        }
    }

    /// Adds what `other`, of the same extent, has counted.
    pub fn add(&mut self, other: &Self) {
        debug_assert_eq!(self.extent, other.extent);
        self.bins.iter_mut().zip(&other.bins).for_each(|(bin, other)| *bin += other);
    }

    /// The middle of each bin that was met, and how often it was.
    fn counted(&self) -> impl Iterator<Item = (f32, u64)> {
        let Extent { low, high } = self.extent;
        let width = (high - low) / BINS as f32;
        let middle = move |bin: usize| low + (bin as f32 + 0.5) * width;
        self.bins.iter().enumerate().filter(|(_, count)| **count > 0).map(move |(bin, &count)| (middle(bin), count))
    }

    /// Sum of the squared errors of all values.
    fn squared_error(&self, quantization: Quantization) -> f64 {
        let error = |value: f32| f64::from(quantization.dequantize(quantization.quantize(value)) - value);
        self.counted().map(|(value, count)| error(value).powi(2) * count as f64).sum()
    }
}

impl Ranges {
    /// The quantization of a tensor, or of several that are to have the same one.
    pub fn choose(self, seen: &[&Histogram]) -> Quantization {
        let extent = seen.iter().map(|seen| seen.extent).fold(Extent::default(), Extent::union);
        let Extent { low, high } = extent;
        match self {
            Self::MinMax => Quantization::of_range(low, high),
            Self::Percentile(share) => {
                let [low, high] = quantiles(seen, share);
                Quantization::of_range(low, high)
            }
            Self::MeanSquaredError => {
                let error = |low, high| -> f64 {
                    let quantization = Quantization::of_range(low, high);
                    seen.iter().map(|seen| seen.squared_error(quantization)).sum()
                };
                let mut best = [low, high];
                for _ in 0..ROUNDS {
                    best[1] = least(high, |end| error(best[0], end));
                    best[0] = least(low, |end| error(end, best[1]));
                }
                Quantization::of_range(best[0], best[1])
            }
        }
    }
}

/// The part of `outermost` at which `error` is least; the largest of those with the same error.
fn least(outermost: f32, error: impl Fn(f32) -> f64) -> f32 {
    if outermost == 0.0 {
        return outermost;
    }
    let ends = (1..=ENDS).rev().map(|part| outermost * part as f32 / ENDS as f32);
    let errors = ends.map(|end| (end, error(end)));
    errors.min_by(|a, b| a.1.total_cmp(&b.1)).map_or(outermost, |(end, _)| end)
}

/// The values below and above which a share of `1 - share` of all that are not zero lies.
fn quantiles(seen: &[&Histogram], share: f64) -> [f32; 2] {
    let mut counted: Vec<(f32, u64)> = seen.iter().flat_map(|seen| seen.counted()).collect();
    counted.sort_by(|a, b| a.0.total_cmp(&b.0));
    let total: u64 = counted.iter().map(|(_, count)| count).sum();
    let beyond = (total as f64 * (1.0 - share)).floor() as u64;
    let inner = |counted: &mut dyn Iterator<Item = &(f32, u64)>| {
        let mut passed = 0;
        let mut inside = counted.skip_while(|(_, count)| {
            passed += count;
            passed <= beyond
        });
        inside.next().map_or(0.0, |(value, _)| *value)
    };
    [inner(&mut counted.iter()), inner(&mut counted.iter().rev())]
}

#[cfg(test)]
mod tests {
    use super::*;

    fn histogram(values: &[f32]) -> Histogram {
        let mut extent = Extent::default();
        extent.observe(values);
        let mut histogram = Histogram::new(extent);
        histogram.observe(values);
        histogram
    }

    fn mean_squared_error(values: &[f32], quantization: Quantization) -> f64 {
        let error = |&value: &f32| f64::from(quantization.dequantize(quantization.quantize(value)) - value).powi(2);
        values.iter().map(error).sum::<f64>() / values.len() as f64
    }

    /// Many values of a bell, and one far away.
    fn with_outlier() -> Vec<f32> {
        let bell = (0..20_000u32).map(|i| {
            let uniform =
                |salt: u32| f64::from((i ^ salt).wrapping_mul(2_654_435_761).rotate_left(9)) / 4_294_967_296.0;
            ((uniform(1) + uniform(77) + uniform(1234) - 1.5) * 2.0) as f32
        });
        bell.chain([60.0]).collect()
    }

    #[test]
    fn an_outlier_is_kept_left_out_or_weighed() {
        let values = with_outlier();
        let seen = histogram(&values);
        let [all, inner, least] =
            [Ranges::MinMax, Ranges::Percentile(0.999), Ranges::MeanSquaredError].map(|ranges| ranges.choose(&[&seen]));
        assert!((all.range()[1] - 60.0).abs() < 0.3, "{all:?}");
        assert!(inner.range()[1] < 4.0 && inner.range()[0] > -4.0, "{inner:?}");
        let errors = [all, inner, least].map(|quantization| mean_squared_error(&values, quantization));
        assert!(errors[2] <= errors[0] && errors[2] <= errors[1], "{errors:?}");
    }

    #[test]
    fn the_least_error_is_that_of_no_other_range_that_could_be_chosen() {
        let values: Vec<f32> = with_outlier().into_iter().map(|value| value.clamp(-1.0, 5.0)).collect();
        let seen = histogram(&values);
        let found = seen.squared_error(Ranges::MeanSquaredError.choose(&[&seen]));
        for part in 1..=50 {
            let high = 5.0 * part as f32 / 50.0;
            let other = seen.squared_error(Quantization::of_range(-1.0, high));
            assert!(found <= other * 1.000_1, "up to {high}: {other}, found {found}");
        }
    }

    #[test]
    fn tensors_that_share_a_range_are_weighed_together() {
        let (small, large) = (histogram(&[0.5, 1.0, -0.5]), histogram(&[-3.0, 7.0]));
        let shared = Ranges::MinMax.choose(&[&small, &large]);
        assert_eq!(shared, Quantization::of_range(-3.0, 7.0));
        assert_eq!(Ranges::MinMax.choose(&[]), Quantization::of_range(0.0, 0.0));
    }

    #[test]
    fn what_is_never_negative_has_zero_point_zero() {
        let values: Vec<f32> = (0..1000).map(|i| (i % 37) as f32 * 0.1).collect();
        for ranges in [Ranges::MinMax, Ranges::Percentile(0.9999), Ranges::MeanSquaredError] {
            assert_eq!(ranges.choose(&[&histogram(&values)]).zero_point, 0, "{ranges:?}");
        }
    }

    #[test]
    fn a_tensor_of_few_values_but_zeros_keeps_them() {
        let mut values = vec![0.0; 9990];
        values.extend([5.0; 10]);
        let chosen = Ranges::Percentile(0.99).choose(&[&histogram(&values)]);
        assert!((chosen.range()[1] - 5.0).abs() < 0.1, "{chosen:?}");
    }
}
