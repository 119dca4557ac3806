//! Largest and mean of windows, and the mean of a whole picture.

use pulp::{Simd, WithSimd};
use rayon::prelude::*;

use super::expect;
use crate::{KernelError, convolution::Convolution, simd::dispatch};

/// Pixels of a task.
const SHARE: usize = 1024;

/// What a window becomes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum PoolKind {
    /// Its largest value; the padding is never the largest.
    Largest,
    /// Its mean; the padding does not count.
    Mean,
    /// Its mean, the padding being zeros that count.
    MeanWithPadding,
}

/// Windows over each channel.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Pool {
    /// Sizes: both numbers of channels are those of the input, the groups play no part.
    pub geometry: Convolution,
    /// What a window becomes.
    pub kind: PoolKind,
}

impl Pool {
    /// `x` `[N, H, W, C]` to `out` `[N, H', W', C]`.
    ///
    /// # Errors
    /// Sizes that contradict each other, slices of another length.
    pub fn run(&self, batch: usize, x: &[f32], out: &mut [f32]) -> Result<(), KernelError> {
        let geometry = Convolution { batch: 1, groups: 1, ..self.geometry };
        geometry.check()?;
        expect("the input", x.len(), batch * geometry.input_length())?;
        expect("the output", out.len(), batch * geometry.output_length())?;
        let row = geometry.width_out() * geometry.channels_out;
        let height = geometry.height_out();
        out.par_chunks_mut(row).enumerate().for_each(|(index, out)| {
            let x = &x[index / height * geometry.input_length()..][..geometry.input_length()];
            dispatch(Row { pool: self, x, row: index % height, out });
        });
        Ok(())
    }
}

struct Row<'a> {
    pool: &'a Pool,
    x: &'a [f32],
    row: usize,
    out: &'a mut [f32],
}

impl WithSimd for Row<'_> {
    type Output = ();

    #[inline(always)]
    fn with_simd<S: Simd>(self, simd: S) {
        let Pool { geometry, kind } = *self.pool;
        let Convolution { channels_in: channels, height, width, stride, dilation, padding, .. } = geometry;
        for (column, out) in self.out.chunks_exact_mut(channels).enumerate() {
            let mut count = 0;
            for r in 0..geometry.kernel_height {
                let Some(y) = (self.row * stride + r * dilation).checked_sub(padding.top).filter(|&y| y < height)
                else {
                    continue;
                };
                for q in 0..geometry.kernel_width {
                    let Some(x) = (column * stride + q * dilation).checked_sub(padding.left).filter(|&x| x < width)
                    else {
                        continue;
                    };
                    let values = &self.x[(y * width + x) * channels..][..channels];
                    if count == 0 {
                        out.copy_from_slice(values);
                    } else if kind == PoolKind::Largest {
                        // Comparisons, so that a NaN in the window is not lost, whichever side it comes from.
                        fold(simd, out, values, |simd, a, b| {
                            let number = simd.select_f32s(simd.equal_f32s(b, b), a, b);
                            simd.select_f32s(simd.less_than_f32s(a, b), b, number)
                        });
                    } else {
                        fold(simd, out, values, |simd, a, b| simd.add_f32s(a, b));
                    }
                    count += 1;
                }
            }
            let counted = match kind {
                PoolKind::Largest => continue,
                PoolKind::Mean => count,
                PoolKind::MeanWithPadding => geometry.kernel_height * geometry.kernel_width,
            };
            if count == 0 {
                out.fill(0.0);
            }
            let share = 1.0 / counted.max(1) as f32;
            out.iter_mut().for_each(|value| *value *= share);
        }
    }
}

#[inline(always)]
fn fold<S: Simd>(simd: S, out: &mut [f32], values: &[f32], f: impl Fn(S, S::f32s, S::f32s) -> S::f32s) {
    let (out, out_rest) = S::as_mut_simd_f32s(out);
    let (values, rest) = S::as_simd_f32s(values);
    for (out, value) in out.iter_mut().zip(values) {
        *out = f(simd, *out, *value);
    }
    if !rest.is_empty() {
        let value = f(simd, simd.partial_load_f32s(out_rest), simd.partial_load_f32s(rest));
        simd.partial_store_f32s(out_rest, value);
    }
}

/// The mean of each channel, `x` `[N, H, W, C]` to `out` `[N, C]`.
///
/// # Errors
/// Slices of another length.
pub fn global_average(pixels: usize, channels: usize, x: &[f32], out: &mut [f32]) -> Result<(), KernelError> {
    if pixels * channels == 0 {
        return Err(KernelError::Shape("channels last: the mean of no pixel".into()));
    }
    expect("the input", x.len(), out.len() * pixels)?;
    x.par_chunks(pixels * channels).zip(out.par_chunks_mut(channels)).for_each(|(x, out)| dispatch(Mean { x, out }));
    Ok(())
}

struct Mean<'a> {
    x: &'a [f32],
    out: &'a mut [f32],
}

impl WithSimd for Mean<'_> {
    type Output = ();

    #[inline(always)]
    fn with_simd<S: Simd>(self, simd: S) {
        let pixels = self.x.len() / self.out.len();
        self.out.fill(0.0);
        for pixel in self.x.chunks_exact(self.out.len()) {
            fold(simd, self.out, pixel, |simd, a, b| simd.add_f32s(a, b));
        }
        let share = 1.0 / pixels as f32;
        self.out.iter_mut().for_each(|value| *value *= share);
    }
}

/// The channels of all inputs, one after another: of each its channels and its values `[N, H, W, C]`.
///
/// # Errors
/// Inputs of different numbers of pixels, an output of another length.
pub fn concatenate(inputs: &[(usize, &[f32])], out: &mut [f32]) -> Result<(), KernelError> {
    let channels: usize = inputs.iter().map(|(channels, _)| channels).sum();
    if channels == 0 {
        return Err(KernelError::Shape("channels last: nothing to join".into()));
    }
    let pixels = out.len() / channels;
    expect("the output", out.len(), pixels * channels)?;
    for (channels, x) in inputs {
        expect("an input", x.len(), pixels * channels)?;
    }
    out.par_chunks_mut(SHARE * channels).enumerate().for_each(|(share, out)| {
        let mut first = 0;
        for &(own, x) in inputs {
            let x = x[share * SHARE * own..].chunks_exact(own.max(1));
            for (out, x) in out.chunks_exact_mut(channels).zip(x) {
                out[first..first + own].copy_from_slice(x);
            }
            first += own;
        }
    });
    Ok(())
}
