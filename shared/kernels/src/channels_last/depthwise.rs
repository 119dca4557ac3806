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
/// Pixels of a tile.
const TILE: usize = 4;

#[derive(Debug)]
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
        let [reach, columns] = [geometry.kernel_width, geometry.width + geometry.padding.left];
        for row in 0..self.out.len() / values {
            let taps =
                inside(self.first + row, geometry.kernel_height, geometry, geometry.padding.top, geometry.height);
            let mut x = 0;
            while x < width {
                // Whether all columns that the tile reads and all pixels that it writes are there.
                let last = (x + TILE - 1) * geometry.stride + reach;
                let between = x * geometry.stride >= geometry.padding.left && last <= columns && x + TILE <= width;
                x += match (geometry.kernel_width, geometry.stride, geometry.dilation) {
                    (3, 1, 1) if between => self.tile::<S, 3, 1, 6, false>(simd, row, x, taps.clone()),
                    (3, 2, 1) if between => self.tile::<S, 3, 2, 9, false>(simd, row, x, taps.clone()),
                    (5, 1, 1) if between => self.tile::<S, 5, 1, 8, false>(simd, row, x, taps.clone()),
                    (5, 2, 1) if between => self.tile::<S, 5, 2, 11, false>(simd, row, x, taps.clone()),
                    (3, 1, 1) => self.tile::<S, 3, 1, 6, true>(simd, row, x, taps.clone()),
                    (3, 2, 1) => self.tile::<S, 3, 2, 9, true>(simd, row, x, taps.clone()),
                    (5, 1, 1) => self.tile::<S, 5, 1, 8, true>(simd, row, x, taps.clone()),
                    (5, 2, 1) => self.tile::<S, 5, 2, 11, true>(simd, row, x, taps.clone()),
                    _ => {
                        let columns = inside(x, reach, geometry, geometry.padding.left, geometry.width);
                        self.pixel(simd, row, x, taps.clone(), columns)
                    }
                };
            }
        }
    }
}

impl Band<'_> {
    /// A tile of output row `first + row`, from column `x`: each of the `COLUMNS` columns that its pixels read is loaded once. At an `EDGE`
    /// some columns are padding, and some pixels behind the end of the row. Returns the pixels.
    #[inline(always)]
    fn tile<S: Simd, const K: usize, const STRIDE: usize, const COLUMNS: usize, const EDGE: bool>(
        &mut self,
        simd: S,
        row: usize,
        x: usize,
        rows: Range<usize>,
    ) -> usize {
        let Convolution { channels_in: channels, width, padding, .. } = *self.geometry;
        let Depthwise { pitch, weight, bias } = self.depthwise;
        let pixels = if EDGE { TILE.min(self.geometry.width_out() - x) } else { TILE };
        let at = (row * self.geometry.width_out() + x) * channels;
        let out = &mut self.out[at..at + pixels * channels];
        let add = self.add.map(|add| &add[at..at + pixels * channels]);
        // The taps' rows lie inside by their choice, unless there are none.
        let first = ((self.first + row) * STRIDE + rows.start).saturating_sub(padding.top);
        let before = if EDGE { padding.left.saturating_sub(x * STRIDE) } else { 0 };
        let column = x * STRIDE + before - padding.left;
        let there = if EDGE { width.saturating_sub(column).min(COLUMNS - before.min(COLUMNS)) } else { COLUMNS };
        let source = self.x.get((first * width + column) * channels..).unwrap_or_default();
        let weight = &weight[rows.start * K * pitch..rows.end * K * pitch];
        let mut channel = 0;
        while channel < channels {
            let whole = channels - channel >= S::F32_LANES;
            let mut sums = [S::as_simd_f32s(&bias[channel..]).0[0]; TILE];
            for (r, weight) in weight.chunks_exact(K * pitch).enumerate() {
                let line = &source[r * width * channels + channel..];
                let mut values = [simd.splat_f32s(0.0); COLUMNS];
                for (column, value) in values.iter_mut().enumerate() {
                    let at = if EDGE {
                        if column < before || column >= before + there {
                            continue;
                        }
                        (column - before) * channels
                    } else {
                        column * channels
                    };
                    *value = if whole {
                        S::as_simd_f32s(&line[at..at + S::F32_LANES]).0[0]
                    } else {
                        simd.partial_load_f32s(&line[at..at + channels - channel])
                    };
                }
                for q in 0..K {
                    let weight = S::as_simd_f32s(&weight[q * pitch + channel..]).0[0];
                    for m in 0..TILE {
                        sums[m] = simd.mul_add_e_f32s(values[m * STRIDE + q], weight, sums[m]);
                    }
                }
            }
            for (m, sum) in sums.into_iter().enumerate().take(pixels) {
                let place = m * channels..(m + 1) * channels;
                finish(simd, sum, add.map(|add| &add[place.clone()]), self.activation, channel, &mut out[place]);
            }
            channel += S::F32_LANES;
        }
        pixels
    }

    /// One pixel of output row `first + row`, in column `x`, with the taps that lie inside.
    #[inline(always)]
    fn pixel<S: Simd>(&mut self, simd: S, row: usize, x: usize, rows: Range<usize>, columns: Range<usize>) -> usize {
        let Convolution { channels_in: channels, width, stride, dilation, kernel_width, padding, .. } = *self.geometry;
        let Depthwise { pitch, weight, bias } = self.depthwise;
        let line = self.geometry.width_out() * channels;
        let place = row * line + x * channels..row * line + (x + 1) * channels;
        let out = &mut self.out[place.clone()];
        let add = self.add.map(|add| &add[place]);
        let mut channel = 0;
        while channel < channels {
            let whole = channels - channel >= S::F32_LANES;
            let mut sum = S::as_simd_f32s(&bias[channel..]).0[0];
            for r in rows.clone() {
                let y = (self.first + row) * stride + r * dilation - padding.top;
                for q in columns.clone() {
                    let column = x * stride + q * dilation - padding.left;
                    let values = &self.x[(y * width + column) * channels..][..channels];
                    let weight = S::as_simd_f32s(&weight[(r * kernel_width + q) * pitch + channel..]).0[0];
                    let value = if whole {
                        S::as_simd_f32s(&values[channel..channel + S::F32_LANES]).0[0]
                    } else {
                        simd.partial_load_f32s(&values[channel..])
                    };
                    sum = simd.mul_add_e_f32s(value, weight, sum);
                }
            }
            finish(simd, sum, add, self.activation, channel, out);
            channel += S::F32_LANES;
        }
        1
    }
}
