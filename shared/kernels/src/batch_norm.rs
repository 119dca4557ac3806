//! Batch normalisation (Ioffe and Szegedy 2015) over N, H and W, with the ReLU that often follows it.
//!
//! The activations are read once for the statistics, once to be normalised, and twice for the gradients. Whether the ReLU
//! let a value through is computed again from the input, which is cheaper than to read the output.

use pulp::Arch;
use rayon::prelude::*;

use crate::simd::{LANES, sum};

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
                    let (run_mean, run_squares) = Arch::new().dispatch(|| run_moments(run));
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
#[inline(always)]
fn run_moments(run: &[f32]) -> (f64, f64) {
    let mean = (sum(run) / run.len() as f64) as f32;
    let mut lanes = [0f32; LANES];
    let (whole, rest) = run.as_chunks::<LANES>();
    for values in whole {
        for lane in 0..LANES {
            let distance = values[lane] - mean;
            lanes[lane] += distance * distance;
        }
    }
    let mut squares: f64 = lanes.iter().map(|&v| f64::from(v)).sum();
    for value in rest {
        squares += f64::from((value - mean) * (value - mean));
    }
    (f64::from(mean), squares)
}

/// `y = scale * x + shift` for each channel, and `max(y, 0)` if `relu`.
///
/// # Panics
/// When a slice is shorter than its shape.
pub fn scale_and_shift(shape: Shape, x: &[f32], scale: &[f32], shift: &[f32], relu: bool, y: &mut [f32]) {
    let floor = if relu { 0.0 } else { f32::NEG_INFINITY };
    y.par_chunks_mut(shape.pixels).zip(x.par_chunks(shape.pixels)).enumerate().for_each(|(plane, (y, x))| {
        let (scale, shift) = (scale[plane % shape.channels], shift[plane % shape.channels]);
        Arch::new().dispatch(|| {
            for (y, x) in y.iter_mut().zip(x) {
                *y = (scale * x + shift).max(floor);
            }
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
                    let (b, g) = Arch::new().dispatch(|| run_sums(x, d, scale, shift, floor, mean[c]));
                    to_beta += b;
                    to_gamma += g;
                }
            }
            (to_beta as f32, to_gamma as f32 * inverse_std[c])
        })
        .collect();
    let count = (shape.batch * shape.pixels) as f32;
    to_x.par_chunks_mut(shape.pixels).enumerate().for_each(|(plane, out)| {
        let c = plane % shape.channels;
        let (scale, shift, floor) = line(c);
        let x = &x[plane * shape.pixels..][..shape.pixels];
        let d = &gradient[plane * shape.pixels..][..shape.pixels];
        let (offset, slope) = (sums[c].0 / count, sums[c].1 / count * inverse_std[c]);
        let centre = mean[c];
        Arch::new().dispatch(|| {
            for ((out, x), d) in out.iter_mut().zip(x).zip(d) {
                let d = if scale * x + shift > floor { *d } else { 0.0 };
                *out = scale * (d - offset - slope * (x - centre));
            }
        });
    });
    let (to_beta, to_gamma): (Vec<f32>, Vec<f32>) = sums.into_iter().unzip();
    (to_gamma, to_beta)
}

/// Sums of the gradient, and of the gradient times the distance from the mean.
#[inline(always)]
fn run_sums(x: &[f32], d: &[f32], scale: f32, shift: f32, floor: f32, mean: f32) -> (f64, f64) {
    let (mut b, mut g) = ([0f32; LANES], [0f32; LANES]);
    let ((x_whole, x_rest), (d_whole, d_rest)) = (x.as_chunks::<LANES>(), d.as_chunks::<LANES>());
    for (x, d) in x_whole.iter().zip(d_whole) {
        for lane in 0..LANES {
            let d = if scale * x[lane] + shift > floor { d[lane] } else { 0.0 };
            b[lane] += d;
            g[lane] += d * (x[lane] - mean);
        }
    }
    let total = |lanes: &[f32; LANES]| lanes.iter().map(|&v| f64::from(v)).sum::<f64>();
    let (mut to_beta, mut to_gamma) = (total(&b), total(&g));
    for (x, d) in x_rest.iter().zip(d_rest) {
        if scale * x + shift > floor {
            to_beta += f64::from(*d);
            to_gamma += f64::from(d * (x - mean));
        }
    }
    (to_beta, to_gamma)
}
