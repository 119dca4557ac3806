//! Largest and mean of windows, and the mean of a whole picture.

use pulp::{Simd, WithSimd};
use rayon::prelude::*;

use super::{Geometry, Quantization, expect, pointwise::Operand};
use crate::{KernelError, simd::dispatch};

/// Channels that are summed at once.
const CHUNK: usize = 64;

/// What a window becomes.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum PoolKind {
    /// Its largest byte, of the same quantization; the padding is never the largest.
    Largest,
    /// Its mean; the padding does not count.
    Mean {
        /// Of the input.
        x: Quantization,
        /// Of the output.
        y: Quantization,
        /// The padding is zeros that count.
        with_padding: bool,
    },
}

/// Windows over each channel.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Pool {
    /// Sizes: both numbers of channels are those of the input, batch and groups play no part.
    pub geometry: Geometry,
    /// What a window becomes.
    pub kind: PoolKind,
}

impl Pool {
    /// `x` `[N, H, W, C]` to `out` `[N, H', W', C]`. A mean is summed exactly, as integers, and rounded twice: as
    /// a value, and as a byte, ties to even.
    ///
    /// # Errors
    /// Sizes that contradict each other, scales that are not above 0, slices of another length.
    pub fn run(&self, batch: usize, x: &[u8], out: &mut [u8]) -> Result<(), KernelError> {
        let geometry = Geometry { batch: 1, groups: 1, ..self.geometry };
        geometry.check()?;
        expect("the channels of the output", geometry.channels_out, geometry.channels_in)?;
        if let PoolKind::Mean { x, y, .. } = self.kind {
            x.check()?;
            y.check()?;
        }
        expect("the input", x.len(), batch * geometry.input_length())?;
        expect("the output", out.len(), batch * geometry.output_length())?;
        let (row, height) = (geometry.width_out() * geometry.channels_out, geometry.height_out());
        out.par_chunks_mut(row).enumerate().for_each(|(index, out)| {
            let x = &x[index / height * geometry.input_length()..][..geometry.input_length()];
            dispatch(Row { pool: self, x, row: index % height, out });
        });
        Ok(())
    }
}

/// One output row.
struct Row<'a> {
    pool: &'a Pool,
    /// The picture.
    x: &'a [u8],
    row: usize,
    out: &'a mut [u8],
}

/// What of a window that begins at `start` (counted with the padding before it) lies within `size`.
#[inline(always)]
fn taps(
    start: usize,
    kernel: usize,
    dilation: usize,
    before: usize,
    size: usize,
) -> impl Iterator<Item = usize> + Clone {
    (0..kernel).filter_map(move |tap| (start + tap * dilation).checked_sub(before).filter(|place| *place < size))
}

impl WithSimd for Row<'_> {
    type Output = ();

    #[inline(always)]
    fn with_simd<S: Simd>(self, _: S) {
        let g = &self.pool.geometry;
        let rows = taps(self.row * g.stride, g.kernel_height, g.dilation, g.padding.top, g.height);
        for (column, out) in self.out.chunks_exact_mut(g.channels_in).enumerate() {
            let columns = taps(column * g.stride, g.kernel_width, g.dilation, g.padding.left, g.width);
            let pixels = rows.clone().flat_map(|row| columns.clone().map(move |column| row * g.width + column));
            for (chunk, out) in out.chunks_mut(CHUNK).enumerate() {
                let values = |pixel: usize| &self.x[pixel * g.channels_in + chunk * CHUNK..][..out.len()];
                match self.pool.kind {
                    PoolKind::Largest => {
                        let mut largest = [0u8; CHUNK];
                        for pixel in pixels.clone() {
                            for (largest, value) in largest.iter_mut().zip(values(pixel)) {
                                *largest = (*largest).max(*value);
                            }
                        }
                        out.copy_from_slice(&largest[..out.len()]);
                    }
                    PoolKind::Mean { x, y, with_padding } => {
                        let mut sums = [0i32; CHUNK];
                        for pixel in pixels.clone() {
                            for (sum, value) in sums.iter_mut().zip(values(pixel)) {
                                *sum += i32::from(*value) - i32::from(x.zero_point);
                            }
                        }
                        let count =
                            if with_padding { g.kernel_height * g.kernel_width } else { pixels.clone().count() };
                        for (out, sum) in out.iter_mut().zip(sums) {
                            *out = y.quantize(sum as f32 * x.scale / count.max(1) as f32);
                        }
                    }
                }
            }
        }
    }
}

/// The mean of every channel of every picture, `x` `[N, H, W, C]` to `out` `[N, C]`, summed exactly. To get bytes, quantize
/// it.
///
/// # Errors
/// Slices of another length, a scale that is not above 0, no pixels.
pub fn global_average(x: Operand<'_>, [pixels, channels]: [usize; 2], out: &mut [f32]) -> Result<(), KernelError> {
    x.quantization.check()?;
    if pixels * channels == 0 || pixels > 1 << 23 {
        return Err(KernelError::Shape(format!("quantized: a mean of {pixels} pixels of {channels} channels")));
    }
    expect("the input", x.bytes.len(), out.len() * pixels)?;
    if !out.len().is_multiple_of(channels) {
        return Err(KernelError::Shape(format!("quantized: {} means of {channels} channels", out.len())));
    }
    for (out, bytes) in out.chunks_exact_mut(channels).zip(x.bytes.chunks_exact(pixels * channels)) {
        out.par_chunks_mut(CHUNK).enumerate().for_each(|(index, out)| {
            dispatch(Average { bytes: &bytes[index * CHUNK..], channels, quantization: x.quantization, pixels, out });
        });
    }
    Ok(())
}

/// Some channels of a picture.
struct Average<'a> {
    bytes: &'a [u8],
    channels: usize,
    quantization: Quantization,
    pixels: usize,
    out: &'a mut [f32],
}

impl WithSimd for Average<'_> {
    type Output = ();

    #[inline(always)]
    fn with_simd<S: Simd>(self, _: S) {
        // 2^23 pixels of less than 2^8 each are the most that fit.
        let mut sums = [0i32; CHUNK];
        for pixel in 0..self.pixels {
            let values = &self.bytes[pixel * self.channels..][..self.out.len()];
            for (sum, value) in sums.iter_mut().zip(values) {
                *sum += i32::from(*value) - i32::from(self.quantization.zero_point);
            }
        }
        for (out, sum) in self.out.iter_mut().zip(sums) {
            *out = sum as f32 * self.quantization.scale / self.pixels as f32;
        }
    }
}
