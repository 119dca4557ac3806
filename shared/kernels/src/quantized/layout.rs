//! Moving values: to bytes with the channels inside and back, side by side, into pixels, and twice as large.

use rayon::prelude::*;

use super::{
    Quantization, expect,
    memory::with_scratch,
    pointwise::{Operand, Quantize, Table, quantize},
};
use crate::{KernelError, simd::dispatch};

/// Pixels that change their layout at once.
const PIXELS: usize = 64;

/// `x` `[N, C, H, W]` to bytes `out` `[N, H, W, C]`; `pixels` is `H * W`.
///
/// # Errors
/// Slices of another length, a scale that is not above 0.
pub fn quantize_channels_last(
    x: &[f32],
    [channels, pixels]: [usize; 2],
    quantization: Quantization,
    out: &mut [u8],
) -> Result<(), KernelError> {
    quantization.check()?;
    whole_pictures(x.len(), out.len(), channels * pixels)?;
    if channels == 1 {
        return quantize(x, quantization, out);
    }
    out.par_chunks_mut(channels * pixels).zip(x.par_chunks(channels * pixels)).for_each(|(out, x)| {
        out.par_chunks_mut(channels * PIXELS).enumerate().for_each(|(index, out)| {
            let (first, count) = (index * PIXELS, out.len() / channels);
            with_scratch(count, |bytes| {
                for (c, plane) in x.chunks_exact(pixels).enumerate() {
                    dispatch(Quantize { x: &plane[first..first + count], quantization, out: bytes });
                    for (out, byte) in out.iter_mut().skip(c).step_by(channels).zip(&*bytes) {
                        *out = *byte;
                    }
                }
            });
        });
    });
    Ok(())
}

/// Bytes `x` `[N, H, W, C]` to values `out` `[N, C, H, W]`; `pixels` is `H * W`.
///
/// # Errors
/// Slices of another length, a scale that is not above 0.
pub fn dequantize_channels_first(
    x: Operand<'_>,
    [channels, pixels]: [usize; 2],
    out: &mut [f32],
) -> Result<(), KernelError> {
    x.quantization.check()?;
    whole_pictures(x.bytes.len(), out.len(), channels * pixels)?;
    out.par_chunks_mut(pixels.max(1)).enumerate().for_each(|(plane, out)| {
        let (picture, c) = (plane / channels, plane % channels);
        let bytes = &x.bytes[picture * channels * pixels + c..];
        for (out, byte) in out.iter_mut().zip(bytes.iter().step_by(channels)) {
            *out = x.quantization.dequantize(*byte);
        }
    });
    Ok(())
}

fn whole_pictures(x: usize, out: usize, picture: usize) -> Result<(), KernelError> {
    if picture == 0 || !x.is_multiple_of(picture) {
        return Err(KernelError::Shape(format!("quantized: {x} values are no pictures of {picture}")));
    }
    expect("the output", out, x)
}

/// A tensor that is put beside others.
#[derive(Clone, Copy, Debug)]
pub struct Part<'a> {
    /// Its bytes, `[N, H, W, C]`.
    pub bytes: &'a [u8],
    /// Its channels.
    pub channels: usize,
    /// From its quantization to the result's, where they differ.
    pub table: Option<&'a Table>,
}

/// The parts' channels side by side, `out` `[N, H, W, sum of the parts' C]`; `pixels` is `N * H * W`.
///
/// # Errors
/// Slices of another length.
pub fn concatenate(pixels: usize, parts: &[Part<'_>], out: &mut [u8]) -> Result<(), KernelError> {
    for part in parts {
        expect("a part", part.bytes.len(), pixels * part.channels)?;
    }
    let channels: usize = parts.iter().map(|part| part.channels).sum();
    expect("the output", out.len(), pixels * channels)?;
    out.par_chunks_mut(channels.max(1) * PIXELS).enumerate().for_each(|(index, out)| {
        let mut start = 0;
        for part in parts.iter().filter(|part| part.channels > 0) {
            let bytes = part.bytes[index * PIXELS * part.channels..].chunks_exact(part.channels);
            for (out, bytes) in out.chunks_exact_mut(channels).zip(bytes) {
                let out = &mut out[start..start + part.channels];
                match part.table {
                    None => out.copy_from_slice(bytes),
                    Some(table) => out.iter_mut().zip(bytes).for_each(|(out, byte)| *out = table.of(*byte)),
                }
            }
            start += part.channels;
        }
    });
    Ok(())
}

/// Which channels make the four pixels of [`depth_to_space`] (the modes of ONNX's `DepthToSpace`).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum DepthOrder {
    /// Row and column of the pixel are the slower index: channel `(2 * row + column) * C + c`.
    DepthColumnRow,
    /// Row and column of the pixel are the faster index: channel `(c * 2 + row) * 2 + column`.
    ColumnRowDepth,
}

/// Every pixel's `4 * channels` values as four pixels: `x` `[rows, width, 4 C]` to `out` `[2 rows, 2 width, C]`, where
/// `rows` is `N * H`.
///
/// # Errors
/// Slices of another length.
pub fn depth_to_space(
    order: DepthOrder,
    [rows, width, channels]: [usize; 3],
    x: &[u8],
    out: &mut [u8],
) -> Result<(), KernelError> {
    expect("the input", x.len(), rows * width * 4 * channels)?;
    expect("the output", out.len(), x.len())?;
    let line = 2 * width * channels;
    if line == 0 {
        return Ok(());
    }
    out.par_chunks_mut(line).enumerate().for_each(|(index, out)| {
        let pixels = x[index / 2 * 2 * line..][..2 * line].chunks_exact(4 * channels);
        for (out, pixel) in out.chunks_exact_mut(2 * channels).zip(pixels) {
            match order {
                DepthOrder::DepthColumnRow => {
                    out.copy_from_slice(&pixel[index % 2 * 2 * channels..][..2 * channels]);
                }
                DepthOrder::ColumnRowDepth => {
                    let (left, right) = out.split_at_mut(channels);
                    let (fours, _) = pixel.as_chunks::<4>();
                    for ((left, right), four) in left.iter_mut().zip(right).zip(fours) {
                        [*left, *right] = [four[index % 2 * 2], four[index % 2 * 2 + 1]];
                    }
                }
            }
        }
    });
    Ok(())
}

/// How [`double`] fills the pixels between.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Interpolation {
    /// With the pixel they lie in.
    Nearest,
    /// Three quarters of the nearer and a quarter of the farther, down and across (pixel centres at one half,
    /// ONNX's `half_pixel`; the same as `pytorch_half_pixel` but for sides of 1). Rounded once, ties to even.
    Bilinear,
}

/// Twice the rows and columns: `x` `[N, H, W, C]` to `out` `[N, 2 H, 2 W, C]`, of the same quantization.
///
/// # Errors
/// Slices of another length.
pub fn double(
    interpolation: Interpolation,
    batch: usize,
    [height, width, channels]: [usize; 3],
    x: &[u8],
    out: &mut [u8],
) -> Result<(), KernelError> {
    expect("the input", x.len(), batch * height * width * channels)?;
    expect("the output", out.len(), 4 * x.len())?;
    if out.is_empty() {
        return Ok(());
    }
    let line = width * channels;
    out.par_chunks_mut(2 * line).enumerate().for_each(|(index, out)| {
        let (picture, row) = (index / (2 * height), index % (2 * height));
        let row_of = |row: usize| &x[(picture * height + row) * line..][..line];
        let [near, far] = [row / 2, neighbour(row, height)].map(row_of);
        for (column, out) in out.chunks_exact_mut(channels).enumerate() {
            let pixel = |column: usize| column * channels..(column + 1) * channels;
            let place = pixel(column / 2);
            match interpolation {
                Interpolation::Nearest => out.copy_from_slice(&near[place]),
                Interpolation::Bilinear => {
                    let other = pixel(neighbour(column, width));
                    let near_row = near[place.clone()].iter().zip(&near[other.clone()]);
                    let far_row = far[place].iter().zip(&far[other]);
                    for ((out, (a, b)), (c, d)) in out.iter_mut().zip(near_row).zip(far_row) {
                        let [a, b, c, d] = [*a, *b, *c, *d].map(u16::from);
                        let sixteenths = 9 * a + 3 * (b + c) + d;
                        // Half is added, less the smallest step where the integer below is even.
                        *out = ((sixteenths + 7 + (sixteenths >> 4 & 1)) >> 4) as u8;
                    }
                }
            }
        }
    });
    Ok(())
}

/// The farther of the two pixels between whose centres lies that of `place` in twice as many.
fn neighbour(place: usize, size: usize) -> usize {
    if place.is_multiple_of(2) { (place / 2).saturating_sub(1) } else { (place / 2 + 1).min(size - 1) }
}
