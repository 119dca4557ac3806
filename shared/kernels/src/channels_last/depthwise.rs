//! Channels that stay apart: a register of channels at a few pixels at a time, no copy of the input.
//!
//! Taps beyond the border are left out, so the pixels of a row fall into those at its two ends, taken one by one, and those
//! between, taken in tiles with all taps.

use pulp::{Simd, WithSimd};
use rayon::prelude::*;
use std::ops::Range;

use super::{aligned::Aligned, tile::finish};
use crate::{
    convolution::{Activation, Convolution, lanes},
    simd::dispatch,
};

/// Output rows of a task.
const TASK_ROWS: usize = 4;

pub(super) struct Depthwise {
    /// Values of a tap, in whole registers.
    pitch: usize,
    /// `[K_h * K_w]` of `pitch` values.
    weight: Aligned,
    /// Of `pitch` values.
    bias: Aligned,
}

impl Depthwise {
    pub(super) fn new(geometry: &Convolution, weight: &[f32], bias: Option<&[f32]>) -> Self {
        let taps = geometry.kernel_height * geometry.kernel_width;
        let channels = geometry.channels_out;
        let pitch = channels.next_multiple_of(lanes());
        let mut packed = Aligned::zeros(taps * pitch);
        for tap in 0..taps {
            for channel in 0..channels {
                packed[tap * pitch + channel] = weight[channel * taps + tap];
            }
        }
        let mut padded = Aligned::zeros(pitch);
        if let Some(bias) = bias {
            padded[..channels].copy_from_slice(bias);
        }
        Self { pitch, weight: packed, bias: padded }
    }

    pub(super) fn run(
        &self,
        geometry: &Convolution,
        x: &[f32],
        add: Option<&[f32]>,
        activation: Activation,
        out: &mut [f32],
    ) {
        let [input, output] = [geometry.input_length(), geometry.output_length()];
        let row = geometry.width_out() * geometry.channels_out;
        let band = row * TASK_ROWS;
        out.par_chunks_mut(output).zip(x.par_chunks(input)).enumerate().for_each(|(picture, (out, x))| {
            out.par_chunks_mut(band).enumerate().for_each(|(index, out)| {
                let start = picture * output + index * band;
                let add = add.map(|add| &add[start..start + out.len()]);
                let first = index * TASK_ROWS;
                dispatch(Band { depthwise: self, geometry, x, first, add, activation, out });
            });
        });
    }
}

/// Some output rows of one picture.
struct Band<'a> {
    depthwise: &'a Depthwise,
    geometry: &'a Convolution,
    x: &'a [f32],
    first: usize,
    add: Option<&'a [f32]>,
    activation: Activation,
    out: &'a mut [f32],
}

/// The taps whose source lies inside `size`, of the `kernel` taps that output `at` reads.
fn inside(at: usize, kernel: usize, geometry: &Convolution, padding: usize, size: usize) -> Range<usize> {
    let start = at * geometry.stride;
    let first = padding.saturating_sub(start).div_ceil(geometry.dilation);
    let end = (size + padding).saturating_sub(start).div_ceil(geometry.dilation);
    first.min(kernel)..end.min(kernel).max(first.min(kernel))
}

impl WithSimd for Band<'_> {
    type Output = ();

    #[inline(always)]
    fn with_simd<S: Simd>(mut self, simd: S) {
        let geometry = self.geometry;
        let width = geometry.width_out();
        let values = width * geometry.channels_out;
        let columns = |x: usize| inside(x, geometry.kernel_width, geometry, geometry.padding.left, geometry.width);
        let all = 0..geometry.kernel_width;
        let from = (0..width).find(|&x| columns(x) == all).unwrap_or(width);
        let to = (from..width).rfind(|&x| columns(x) == all).map_or(from, |x| x + 1);
        for row in 0..self.out.len() / values {
            let taps =
                inside(self.first + row, geometry.kernel_height, geometry, geometry.padding.top, geometry.height);
            let mut x = 0;
            while x < width {
                if x < from || x >= to {
                    self.pixels::<S, 1>(simd, row, x, taps.clone(), columns(x));
                    x += 1;
                } else if to - x >= 4 {
                    self.pixels::<S, 4>(simd, row, x, taps.clone(), all.clone());
                    x += 4;
                } else {
                    self.pixels::<S, 1>(simd, row, x, taps.clone(), all.clone());
                    x += 1;
                }
            }
        }
    }
}

impl Band<'_> {
    /// `M` pixels of output row `first + row`, from column `x`.
    #[inline(always)]
    fn pixels<S: Simd, const M: usize>(
        &mut self,
        simd: S,
        row: usize,
        x: usize,
        rows: Range<usize>,
        columns: Range<usize>,
    ) {
        let Convolution { channels_in: channels, width, stride, dilation, kernel_width, padding, .. } = *self.geometry;
        let Depthwise { pitch, weight, bias } = self.depthwise;
        let line = self.geometry.width_out() * channels;
        let out = row * line + x * channels;
        let step = stride * channels;
        let mut channel = 0;
        while channel < channels {
            let whole = channels - channel >= S::F32_LANES;
            let mut sums = [S::as_simd_f32s(&bias[channel..]).0[0]; M];
            for r in rows.clone() {
                // Inside by the choice of the taps.
                let y = (self.first + row) * stride + r * dilation - padding.top;
                for q in columns.clone() {
                    let column = x * stride + q * dilation - padding.left;
                    let values = &self.x[(y * width + column) * channels + channel..];
                    let weight = S::as_simd_f32s(&weight[(r * kernel_width + q) * pitch + channel..]).0[0];
                    for m in 0..M {
                        let value = if whole {
                            S::as_simd_f32s(&values[m * step..][..S::F32_LANES]).0[0]
                        } else {
                            simd.partial_load_f32s(&values[m * step..][..channels - channel])
                        };
                        sums[m] = simd.mul_add_e_f32s(value, weight, sums[m]);
                    }
                }
            }
            for (m, sum) in sums.into_iter().enumerate() {
                let place = out + m * channels + channel..out + (m + 1) * channels;
                let add = self.add.map(|add| &add[place.clone()]);
                finish(simd, sum, add, self.activation, 0, &mut self.out[place]);
            }
            channel += S::F32_LANES;
        }
    }
}
