//! What nets do to single values between their layers, each in one pass over the memory.
//!
//! Slices are of equal length unless said otherwise; what is beyond the shortest is left alone.

use pulp::{Simd, WithSimd};
use rayon::prelude::*;

use crate::simd::{dispatch, sum, total_of};

/// Values one thread takes at a time.
const SHARE: usize = 1 << 14;

/// `out = f(a)`; `f` should be small, so that it is compiled into the loop.
pub fn unary(a: &[f32], out: &mut [f32], f: impl Fn(f32) -> f32 + Copy + Sync) {
    struct Loop<'a, F>(&'a [f32], &'a mut [f32], F);
    impl<F: Fn(f32) -> f32> WithSimd for Loop<'_, F> {
        type Output = ();
        #[inline(always)]
        fn with_simd<S: Simd>(self, _: S) {
            for (out, a) in self.1.iter_mut().zip(self.0) {
                *out = (self.2)(*a);
            }
        }
    }
    out.par_chunks_mut(SHARE).zip(a.par_chunks(SHARE)).for_each(|(out, a)| dispatch(Loop(a, out, f)));
}

/// `out = f(a, b)`; `f` should be small, so that it is compiled into the loop.
pub fn binary(a: &[f32], b: &[f32], out: &mut [f32], f: impl Fn(f32, f32) -> f32 + Copy + Sync) {
    struct Loop<'a, F>(&'a [f32], &'a [f32], &'a mut [f32], F);
    impl<F: Fn(f32, f32) -> f32> WithSimd for Loop<'_, F> {
        type Output = ();
        #[inline(always)]
        fn with_simd<S: Simd>(self, _: S) {
            for ((out, a), b) in self.2.iter_mut().zip(self.0).zip(self.1) {
                *out = (self.3)(*a, *b);
            }
        }
    }
    let operands = a.par_chunks(SHARE).zip(b.par_chunks(SHARE));
    out.par_chunks_mut(SHARE).zip(operands).for_each(|(out, (a, b))| dispatch(Loop(a, b, out, f)));
}

/// `1 / (1 + exp(-x))`, within two units in the last place of the larger of `exp(-|x|)` and the result.
#[inline(always)]
pub fn sigmoid(x: f32) -> f32 {
    1.0 / (1.0 + exp(-x))
}

/// Added to a small number, leaves its integer in the lowest bits.
const SHIFT: f32 = 12_582_912.0;
/// `ln 2` in two parts, the first with few enough digits that its multiples are exact.
const LN_2: [f32; 2] = [0.693_359_4, -2.121_944_4e-4];
/// The ends of what [`exp`] tells apart.
const EXPONENTS: [f32; 2] = [-87.3, 88.0];

/// `exp(x)` in a form that compilers turn into vector instructions: `2^n` times a polynomial on `|r| <= ln 2 / 2` (Cody
/// and Waite's reduction, the Taylor series to the seventh power; relative error below 2e-7). Saturates at `2^-126` and
/// `2^127`; NaN stays NaN.
#[inline(always)]
pub fn exp(x: f32) -> f32 {
    let x = x.clamp(EXPONENTS[0], EXPONENTS[1]);
    let shifted = x * std::f32::consts::LOG2_E + SHIFT;
    let n = shifted - SHIFT;
    let r = (x - n * LN_2[0]) - n * LN_2[1];
    let polynomial = 1.0
        + r * (1.0
            + r * (0.5 + r * (1.0 / 6.0 + r * (1.0 / 24.0 + r * (1.0 / 120.0 + r * (1.0 / 720.0 + r / 5040.0))))));
    // The exponent from the bits: a conversion to an integer would be a call, or a dozen instructions.
    polynomial * f32::from_bits((shifted.to_bits() << 23).wrapping_add(127 << 23))
}

/// `out = a / (1 + exp(-a))`, relative error below 5e-7; what is below -88 counts as -88 (-5e-37). A value's result depends on
/// nothing but the value.
pub fn swish(a: &[f32], out: &mut [f32]) {
    out.par_chunks_mut(SHARE).zip(a.par_chunks(SHARE)).for_each(|(out, a)| {
        let length = out.len().min(a.len());
        out[..length].copy_from_slice(&a[..length]);
        dispatch(Swish(&mut out[..length]));
    });
}

/// As [`swish`], in place and on this thread.
pub(crate) struct Swish<'a>(pub(crate) &'a mut [f32]);

impl WithSimd for Swish<'_> {
    type Output = ();

    #[inline(always)]
    fn with_simd<S: Simd>(self, simd: S) {
        let (registers, rest) = S::as_mut_simd_f32s(self.0);
        for register in registers {
            *register = swish_of(simd, *register);
        }
        if !rest.is_empty() {
            let values = swish_of(simd, simd.partial_load_f32s(rest));
            simd.partial_store_f32s(rest, values);
        }
    }
}

/// `x / (1 + exp(-x))`; the exponential as in [`exp`], with the coefficients of Cephes (Moshier 1992) and fused products.
#[inline(always)]
pub(crate) fn swish_of<S: Simd>(simd: S, x: S::f32s) -> S::f32s {
    let shift = simd.splat_f32s(SHIFT);
    let [low, high] = EXPONENTS.map(|end| simd.splat_f32s(end));
    // Comparisons, not minimum and maximum, so that a NaN stays one. The value is limited below, where the result is as good
    // as zero, and its exponential above.
    let x = simd.select_f32s(simd.less_than_f32s(x, simd.neg_f32s(high)), simd.neg_f32s(high), x);
    let y = simd.neg_f32s(x);
    let y = simd.select_f32s(simd.less_than_f32s(y, low), low, y);
    let shifted = simd.mul_add_e_f32s(y, simd.splat_f32s(std::f32::consts::LOG2_E), shift);
    let n = simd.sub_f32s(shifted, shift);
    let r = simd.mul_add_e_f32s(n, simd.splat_f32s(-LN_2[0]), y);
    let r = simd.mul_add_e_f32s(n, simd.splat_f32s(-LN_2[1]), r);
    let mut series = simd.splat_f32s(1.987_569_1e-4);
    for coefficient in [1.398_2e-3, 8.333_452e-3, 4.166_579_6e-2, 1.666_666_5e-1, 0.5, 1.0, 1.0] {
        series = simd.mul_add_e_f32s(series, r, simd.splat_f32s(coefficient));
    }
    // The exponent from the lowest bits, where the shift has left the integer.
    let bits = simd.wrapping_dyn_shl_u32s(simd.transmute_u32s_f32s(shifted), simd.splat_u32s(23));
    let scale = simd.transmute_f32s_u32s(simd.add_u32s(bits, simd.splat_u32s(127 << 23)));
    simd.div_f32s(x, simd.mul_add_e_f32s(series, scale, simd.splat_f32s(1.0)))
}

/// `ln(1 + exp(x))` without overflow, to about 1e-7: the logarithm of one over the sigmoid of `-x`.
#[inline(always)]
pub fn softplus(x: f32) -> f32 {
    // ln(1 + u) for u in 0 to 1 as 2 artanh(u / (2 + u)), whose series is short since the argument is at most a third.
    let u = exp(-x.abs());
    let s = u / (2.0 + u);
    let t = s * s;
    let series = 1.0
        + t * (1.0 / 3.0
            + t * (1.0 / 5.0 + t * (1.0 / 7.0 + t * (1.0 / 9.0 + t * (1.0 / 11.0 + t * (1.0 / 13.0 + t / 15.0))))));
    x.max(0.0) + 2.0 * s * series
}

/// Sum of each plane of `a`, in f64.
pub fn sum_planes(a: &[f32], pixels: usize) -> Vec<f32> {
    a.par_chunks(pixels.max(1))
        .map(|plane| plane.chunks(1024).map(|run| dispatch(Sum(run))).sum::<f64>() as f32)
        .collect()
}

/// Sum of the products of each plane of `a` and the same of `b`, in f64.
pub fn dot_planes(a: &[f32], b: &[f32], pixels: usize) -> Vec<f32> {
    let dot = |a: &[f32], b: &[f32]| dispatch(Dot(a, b));
    a.par_chunks(pixels.max(1))
        .zip(b.par_chunks(pixels.max(1)))
        .map(|(a, b)| a.chunks(1024).zip(b.chunks(1024)).map(|(a, b)| dot(a, b)).sum::<f64>() as f32)
        .collect()
}

struct Dot<'a>(&'a [f32], &'a [f32]);

impl WithSimd for Dot<'_> {
    type Output = f64;

    #[inline(always)]
    fn with_simd<S: Simd>(self, simd: S) -> f64 {
        let ((a, a_rest), (b, b_rest)) = (S::as_simd_f32s(self.0), S::as_simd_f32s(self.1));
        let mut lanes = [simd.splat_f32s(0.0); 4];
        for (index, (a, b)) in a.iter().zip(b).enumerate() {
            lanes[index % 4] = simd.mul_add_e_f32s(*a, *b, lanes[index % 4]);
        }
        let rest: f64 = a_rest.iter().zip(b_rest).map(|(a, b)| f64::from(a * b)).sum();
        rest + total_of(simd, lanes)
    }
}

/// `f` of every value of a plane of `a` and the plane's number in `scales`; `f` should be small.
///
/// # Panics
/// When there are fewer scales than planes.
pub fn with_scales(
    a: &[f32],
    scales: &[f32],
    pixels: usize,
    out: &mut [f32],
    f: impl Fn(f32, f32) -> f32 + Copy + Sync,
) {
    out.par_chunks_mut(pixels.max(1)).zip(a.par_chunks(pixels.max(1))).enumerate().for_each(|(plane, (out, a))| {
        let scale = scales[plane];
        unary(a, out, move |a| f(a, scale));
    });
}

/// Every plane of `a` `[N, C, pixels]` times the picture's one plane of `b` `[N, 1, pixels]`.
///
/// # Panics
/// When `b` is shorter than its shape.
pub fn multiply_by_plane(a: &[f32], b: &[f32], channels: usize, pixels: usize, out: &mut [f32]) {
    out.par_chunks_mut(pixels.max(1)).zip(a.par_chunks(pixels.max(1))).enumerate().for_each(|(plane, (out, a))| {
        let b = &b[plane / channels * pixels..][..pixels];
        binary(a, b, out, |a, b| a * b);
    });
}

/// For each picture and pixel the sum over the channels of `a * b`, both `[N, C, pixels]`, into `out` `[N, 1, pixels]`.
///
/// # Panics
/// When an operand is shorter than its shape.
pub fn sum_of_products(a: &[f32], b: &[f32], channels: usize, pixels: usize, out: &mut [f32]) {
    let share = SHARE.min(pixels).max(1);
    out.par_chunks_mut(pixels.max(1)).enumerate().for_each(|(picture, out)| {
        out.par_chunks_mut(share).enumerate().for_each(|(part, out)| {
            out.fill(0.0);
            for channel in 0..channels {
                let at = (picture * channels + channel) * pixels + part * share;
                let (a, b) = (&a[at..][..out.len()], &b[at..][..out.len()]);
                dispatch(AddProducts { a, b, out });
            }
        });
    });
}

struct AddProducts<'a> {
    a: &'a [f32],
    b: &'a [f32],
    out: &'a mut [f32],
}

impl WithSimd for AddProducts<'_> {
    type Output = ();

    #[inline(always)]
    fn with_simd<S: Simd>(self, _: S) {
        for ((out, a), b) in self.out.iter_mut().zip(self.a).zip(self.b) {
            *out += a * b;
        }
    }
}

/// Sum of each channel of `a` `[N, C, pixels]` over N and the pixels: the gradient of a bias. Long sums are kept in f64.
///
/// # Panics
/// When `a` is shorter than its shape.
pub fn sum_channels(a: &[f32], batch: usize, channels: usize, pixels: usize) -> Vec<f32> {
    (0..channels)
        .into_par_iter()
        .map(|channel| {
            let planes = (0..batch).map(|picture| &a[(picture * channels + channel) * pixels..][..pixels]);
            planes.flat_map(|plane| plane.chunks(1024)).map(|run| dispatch(Sum(run))).sum::<f64>() as f32
        })
        .collect()
}

struct Sum<'a>(&'a [f32]);

impl WithSimd for Sum<'_> {
    type Output = f64;

    #[inline(always)]
    fn with_simd<S: Simd>(self, simd: S) -> f64 {
        sum(simd, self.0)
    }
}

/// Dropout (Srivastava et al. 2014): zero with `probability`, else `1 / (1 - probability)` times the value. Which value is
/// dropped is a function of the seed and its place, so the gradient is the same call on the gradient.
pub fn dropout(x: &[f32], probability: f32, seed: u64, out: &mut [f32]) {
    let limit = (f64::from(probability) * 2f64.powi(32)) as u64;
    let scale = 1.0 / (1.0 - probability);
    out.par_chunks_mut(SHARE).zip(x.par_chunks(SHARE)).enumerate().for_each(|(part, (out, x))| {
        // A key a part, so that 32 bits of counter are enough.
        let key = mix(seed ^ (part as u64).wrapping_mul(0x9E37_79B9_7F4A_7C15));
        let (low, high) = (key as u32, (key >> 32) as u32);
        let limit = limit.min(u64::from(u32::MAX)) as u32;
        dispatch(Drop { x, out, low, high, limit, scale });
    });
}

struct Drop<'a> {
    x: &'a [f32],
    out: &'a mut [f32],
    low: u32,
    high: u32,
    limit: u32,
    scale: f32,
}

impl WithSimd for Drop<'_> {
    type Output = ();

    #[inline(always)]
    fn with_simd<S: Simd>(self, _: S) {
        let length = self.out.len().min(self.x.len());
        let (x, out) = (&self.x[..length], &mut self.out[..length]);
        for index in 0..length {
            let mut h = (index as u32 ^ self.low).wrapping_mul(0x9E37_79B1) ^ self.high;
            h = (h ^ (h >> 16)).wrapping_mul(0x7FEB_352D);
            h = (h ^ (h >> 15)).wrapping_mul(0x846C_A68B);
            h ^= h >> 16;
            out[index] = if h < self.limit { 0.0 } else { x[index] * self.scale };
        }
    }
}

/// SplitMix64's finaliser (Steele, Lea and Flood 2014).
fn mix(mut z: u64) -> u64 {
    z = (z ^ (z >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
    z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
    z ^ (z >> 31)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn exp_and_sigmoid_are_those_of_the_standard_library() {
        for i in -19_970..19_970 {
            let x = i as f32 * 0.004_37;
            let (got, expected) = (f64::from(exp(x)), f64::from(x).exp());
            assert!((got - expected).abs() <= 3e-7 * expected, "{x}: {got} {expected}");
            let expected = 1.0 / (1.0 + (-f64::from(x)).exp());
            assert!((f64::from(sigmoid(x)) - expected).abs() <= 3e-7 * expected.max(1e-30), "{x}");
        }
        for i in -9_000..9_000 {
            let x = i as f32 * 0.01;
            let expected = f64::from(x).max(0.0) + (-f64::from(x).abs()).exp().ln_1p();
            assert!((f64::from(softplus(x)) - expected).abs() <= 3e-7 * expected.max(1e-30), "{x}: {expected}");
        }
        let x: Vec<f32> = (-9_001..9_000).map(|i| i as f32 * 0.01).collect();
        let mut y = vec![0f32; x.len()];
        swish(&x, &mut y);
        for (x, y) in x.iter().zip(&y) {
            let expected = f64::from(*x) / (1.0 + (-f64::from(*x)).exp());
            assert!((f64::from(*y) - expected).abs() <= 5e-7 * expected.abs().max(1e-30), "{x}: {y} {expected}");
        }
        let mut one = [0.0, 0.0, 0.0];
        swish(&[x[11], f32::NAN, f32::INFINITY], &mut one);
        assert!(one[0].to_bits() == y[11].to_bits() && one[1].is_nan() && one[2] == f32::INFINITY, "{one:?}");
        assert!(exp(f32::NAN).is_nan() && sigmoid(f32::NAN).is_nan());
        assert_eq!(sigmoid(f32::INFINITY), 1.0);
        assert!(sigmoid(f32::NEG_INFINITY) < 1e-37);
    }

    #[test]
    fn dropout_drops_the_wanted_share_and_keeps_the_mean() {
        let x = vec![1f32; 200_000];
        let mut y = x.clone();
        dropout(&x, 0.3, 7, &mut y);
        let dropped = y.iter().filter(|v| **v == 0.0).count() as f64 / x.len() as f64;
        assert!((dropped - 0.3).abs() < 0.005, "{dropped}");
        let mean = y.iter().map(|v| f64::from(*v)).sum::<f64>() / x.len() as f64;
        assert!((mean - 1.0).abs() < 0.01, "{mean}");
        let mut other = x.clone();
        dropout(&x, 0.3, 8, &mut other);
        let same = y.iter().zip(&other).filter(|(a, b)| a == b).count() as f64 / x.len() as f64;
        assert!((same - (0.7 * 0.7 + 0.3 * 0.3)).abs() < 0.01, "{same}");
        dropout(&x, 0.0, 8, &mut other);
        assert_eq!(other, x);
    }
}
