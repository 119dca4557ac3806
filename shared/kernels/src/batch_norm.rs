//! Batch normalisation (Ioffe and Szegedy 2015) over N, H and W, with the ReLU that often follows it.
//!
//! The activations are read once for the statistics, once to be normalised, and twice for the gradients. Whether the ReLU
//! let a value through is computed again from the input, which is cheaper than to read the output.

use pulp::{Simd, WithSimd};
use rayon::prelude::*;

use crate::{
    elementwise::{binary, unary},
    simd::{dispatch, sum, total_of},
};

/// Values whose mean and squares are taken while they are in the first cache.
const RUN: usize = 2048;

/// Shape of the activations.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Shape {
    /// N.
    pub batch: usize,
    /// C.
    pub channels: usize,
    /// H times W.
    pub pixels: usize,
}

impl Shape {
    fn plane<'a>(&self, values: &'a [f32], picture: usize, channel: usize) -> &'a [f32] {
        &values[(picture * self.channels + channel) * self.pixels..][..self.pixels]
    }
}

/// Mean and biased variance of each channel of `x` `[N, C, H, W]`: runs of values by two passes in f32, the runs together
/// in f64 (Chan, Golub and LeVeque 1983).
///
/// # Panics
/// When `x` is shorter than its shape.
pub fn moments(shape: Shape, x: &[f32]) -> (Vec<f32>, Vec<f32>) {
    (0..shape.channels)
        .into_par_iter()
        .map(|channel| {
            let (mut count, mut mean, mut squares) = (0f64, 0f64, 0f64);
            for picture in 0..shape.batch {
                for run in shape.plane(x, picture, channel).chunks(RUN) {
                    let (run_mean, run_squares) = dispatch(RunMoments(run));
                    let length = run.len() as f64;
                    let distance = run_mean - mean;
                    let total = count + length;
                    mean += distance * length / total;
                    squares += run_squares + distance * distance * count * length / total;
                    count = total;
                }
            }
            (mean as f32, (squares / count.max(1.0)) as f32)
        })
        .unzip()
}

/// Mean, and sum of squared distances from it.
struct RunMoments<'a>(&'a [f32]);

impl WithSimd for RunMoments<'_> {
    type Output = (f64, f64);

    #[inline(always)]
    fn with_simd<S: Simd>(self, simd: S) -> (f64, f64) {
        let mean = (sum(simd, self.0) / self.0.len() as f64) as f32;
        let centre = simd.splat_f32s(mean);
        let (registers, rest) = S::as_simd_f32s(self.0);
        let mut lanes = [simd.splat_f32s(0.0); 4];
        let (whole, single) = registers.as_chunks::<4>();
        for values in whole {
            for n in 0..4 {
                let distance = simd.sub_f32s(values[n], centre);
                lanes[n] = simd.mul_add_e_f32s(distance, distance, lanes[n]);
            }
        }
        for value in single {
            let distance = simd.sub_f32s(*value, centre);
            lanes[0] = simd.mul_add_e_f32s(distance, distance, lanes[0]);
        }
        let mut squares = total_of(simd, lanes);
        for value in rest {
            squares += f64::from((value - mean) * (value - mean));
        }
        (f64::from(mean), squares)
    }
}

/// `y = scale * x + shift` for each channel, and `max(y, 0)` if `relu`.
///
/// # Panics
/// When a slice is shorter than its shape.
pub fn scale_and_shift(shape: Shape, x: &[f32], scale: &[f32], shift: &[f32], relu: bool, y: &mut [f32]) {
    let floor = if relu { 0.0 } else { f32::NEG_INFINITY };
    let pixels = shape.pixels.max(1);
    y.par_chunks_mut(pixels).zip(x.par_chunks(pixels)).enumerate().for_each(|(plane, (y, x))| {
        let (scale, shift) = (scale[plane % shape.channels], shift[plane % shape.channels]);
        // Written so that a NaN stays one.
        unary(x, y, |x| {
            let y = scale * x + shift;
            if y < floor { floor } else { y }
        });
    });
}

/// What the gradient needs to know of the forward pass.
#[derive(Clone, Copy, Debug)]
pub struct Statistics<'a> {
    /// Scale, `[C]`.
    pub gamma: &'a [f32],
    /// Shift, `[C]`.
    pub beta: &'a [f32],
    /// Of the batch, `[C]`.
    pub mean: &'a [f32],
    /// One over the root of the batch's variance, `[C]`.
    pub inverse_std: &'a [f32],
    /// A ReLU followed.
    pub relu: bool,
}

/// The gradients to scale and shift, each `[C]`, and to the input, into `to_x`.
///
/// # Panics
/// When a slice is shorter than its shape.
pub fn gradient(
    shape: Shape,
    x: &[f32],
    gradient: &[f32],
    statistics: Statistics<'_>,
    to_x: &mut [f32],
) -> (Vec<f32>, Vec<f32>) {
    let Statistics { gamma, beta, mean, inverse_std, relu } = statistics;
    // The ReLU lets through what is above `-beta / (gamma / std)`; compared by the same arithmetic as the forward pass.
    let line = |c: usize| {
        let scale = gamma[c] * inverse_std[c];
        (scale, beta[c] - scale * mean[c], if relu { 0.0 } else { f32::NEG_INFINITY })
    };
    let sums: Vec<(f32, f32)> = (0..shape.channels)
        .into_par_iter()
        .map(|c| {
            let (scale, shift, floor) = line(c);
            let (mut to_beta, mut to_gamma) = (0f64, 0f64);
            for picture in 0..shape.batch {
                let (x, d) = (shape.plane(x, picture, c), shape.plane(gradient, picture, c));
                for (x, d) in x.chunks(RUN).zip(d.chunks(RUN)) {
                    let (b, g) = dispatch(RunSums { x, d, scale, shift, floor, mean: mean[c] });
                    to_beta += b;
                    to_gamma += g;
                }
            }
            (to_beta as f32, to_gamma as f32 * inverse_std[c])
        })
        .collect();
    let count = (shape.batch * shape.pixels) as f32;
    to_x.par_chunks_mut(shape.pixels.max(1)).enumerate().for_each(|(plane, out)| {
        let c = plane % shape.channels;
        let (scale, shift, floor) = line(c);
        let x = &x[plane * shape.pixels..][..shape.pixels];
        let d = &gradient[plane * shape.pixels..][..shape.pixels];
        let (offset, slope) = (sums[c].0 / count, sums[c].1 / count * inverse_std[c]);
        let centre = mean[c];
        binary(x, d, out, |x, d| {
            let d = if scale * x + shift > floor { d } else { 0.0 };
            scale * (d - offset - slope * (x - centre))
        });
    });
    let (to_beta, to_gamma): (Vec<f32>, Vec<f32>) = sums.into_iter().unzip();
    (to_gamma, to_beta)
}

/// Sums of the gradient, and of the gradient times the distance from the mean.
struct RunSums<'a> {
    x: &'a [f32],
    d: &'a [f32],
    scale: f32,
    shift: f32,
    floor: f32,
    mean: f32,
}

impl WithSimd for RunSums<'_> {
    type Output = (f64, f64);

    #[inline(always)]
    fn with_simd<S: Simd>(self, simd: S) -> (f64, f64) {
        let Self { x, d, scale, shift, floor, mean } = self;
        let ((x, x_rest), (d, d_rest)) = (S::as_simd_f32s(x), S::as_simd_f32s(d));
        let zero = simd.splat_f32s(0.0);
        let (scales, shifts) = (simd.splat_f32s(scale), simd.splat_f32s(shift));
        let (floors, means) = (simd.splat_f32s(floor), simd.splat_f32s(mean));
        let (mut b, mut g) = ([zero; 4], [zero; 4]);
        for (index, (x, d)) in x.iter().zip(d).enumerate() {
            // Multiplied and added apart, as the forward pass does, so that both agree on what the ReLU let through.
            let y = simd.add_f32s(simd.mul_f32s(scales, *x), shifts);
            let d = simd.select_f32s(simd.greater_than_f32s(y, floors), *d, zero);
            b[index % 2] = simd.add_f32s(b[index % 2], d);
            g[index % 2] = simd.mul_add_e_f32s(d, simd.sub_f32s(*x, means), g[index % 2]);
        }
        let (mut to_beta, mut to_gamma) = (total_of(simd, b), total_of(simd, g));
        for (x, d) in x_rest.iter().zip(d_rest) {
            if scale * x + shift > floor {
                to_beta += f64::from(*d);
                to_gamma += f64::from(d * (x - mean));
            }
        }
        (to_beta, to_gamma)
    }
}
