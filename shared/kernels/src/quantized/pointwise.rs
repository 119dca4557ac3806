//! Sums and products of two tensors, functions of one byte, and the ways to bytes and back.
//!
//! The arithmetic is that of ONNX's `DequantizeLinear`, an operator in f32, and `QuantizeLinear`, which divides by the
//! scale. Division is slow, so values are multiplied by the scale's inverse, and only where a product comes so close to a
//! tie that the quotient might round otherwise, they are divided: the bytes are the same.

use pulp::{Simd, WithSimd};
use rayon::prelude::*;

use super::{Quantization, expect};
use crate::{KernelError, simd::dispatch};

/// Values that are quantized at once.
const CHUNK: usize = 64;
/// Values one thread takes at a time; whole chunks.
const SHARE: usize = 1 << 14;
/// Added to a small number, rounds it to an integer, ties to even, and leaves that in the lowest bits.
const SHIFT: f32 = 12_582_912.0;

/// A tensor of bytes.
#[derive(Clone, Copy, Debug)]
pub struct Operand<'a> {
    /// Its bytes.
    pub bytes: &'a [u8],
    /// What they stand for.
    pub quantization: Quantization,
}

/// What two tensors become.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Operation {
    /// Their sum.
    Add,
    /// Their product.
    Multiply,
}

/// Where the second tensor has one value for many.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Broadcast {
    /// Nowhere: `[N, H, W, C]`.
    Nowhere,
    /// Along rows and columns: `[N, 1, 1, C]`.
    Pixels,
    /// Along the channels: `[N, H, W, 1]`.
    Channels,
}

/// Two tensors' sum or product, bounded.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Combination {
    /// Sum or product.
    pub operation: Operation,
    /// Pixels of a picture, `H * W`.
    pub pixels: usize,
    /// Channels, C.
    pub channels: usize,
    /// Of the second tensor.
    pub broadcast: Broadcast,
    /// Bounds of the result, for a ReLU or a ReLU6 that follows; infinite for none.
    pub bounds: [f32; 2],
    /// Of the result.
    pub y: Quantization,
}

impl Combination {
    /// `a` `[N, H, W, C]` and `b` (see [`Broadcast`]) into `out` `[N, H, W, C]`.
    ///
    /// # Errors
    /// Slices of another length, scales that are not above 0, bounds in the wrong order.
    pub fn run(&self, batch: usize, a: Operand<'_>, b: Operand<'_>, out: &mut [u8]) -> Result<(), KernelError> {
        let pixels = batch * self.pixels;
        let seconds = match self.broadcast {
            Broadcast::Nowhere => pixels * self.channels,
            Broadcast::Pixels => batch * self.channels,
            Broadcast::Channels => pixels,
        };
        expect("the first operand", a.bytes.len(), pixels * self.channels)?;
        expect("the second operand", b.bytes.len(), seconds)?;
        expect("the output", out.len(), pixels * self.channels)?;
        for quantization in [a.quantization, b.quantization, self.y] {
            quantization.check()?;
        }
        if self.bounds[0].is_nan() || self.bounds[1].is_nan() || self.bounds[0] > self.bounds[1] {
            return Err(KernelError::Shape(format!("quantized: bounds {:?}", self.bounds)));
        }
        if out.is_empty() {
            return Ok(());
        }
        // Runs of values that go with as many of the second operand, or with one.
        let (run, one) = match self.broadcast {
            Broadcast::Nowhere => (SHARE, SHARE),
            Broadcast::Pixels => (self.channels, self.channels),
            Broadcast::Channels => (self.channels, 1),
        };
        let share = if run == SHARE { SHARE } else { SHARE.div_ceil(run) * run };
        out.par_chunks_mut(share).zip(a.bytes.par_chunks(share)).enumerate().for_each(|(index, (out, bytes))| {
            let first = index * share / run;
            dispatch(Runs { combination: self, a: Operand { bytes, ..a }, b, out, run, one, first });
        });
        Ok(())
    }
}

/// Some runs of a combination, the first of which is the `first` of all.
struct Runs<'a> {
    combination: &'a Combination,
    a: Operand<'a>,
    b: Operand<'a>,
    out: &'a mut [u8],
    run: usize,
    one: usize,
    first: usize,
}

impl WithSimd for Runs<'_> {
    type Output = ();

    #[inline(always)]
    fn with_simd<S: Simd>(self, _: S) {
        let Combination { operation, pixels, broadcast, bounds, y, .. } = *self.combination;
        let runs = self.out.chunks_mut(self.run).zip(self.a.bytes.chunks(self.run));
        for (index, (out, a)) in runs.enumerate() {
            let index = self.first + index;
            let index = if broadcast == Broadcast::Pixels { index / pixels } else { index };
            let b = &self.b.bytes[index * self.one..];
            let b = &b[..self.one.min(b.len())];
            for (chunk, (out, a)) in out.chunks_mut(CHUNK).zip(a.chunks(CHUNK)).enumerate() {
                let mut first = [0f32; CHUNK];
                dequantize_into(&mut first, a, self.a.quantization);
                let mut second = [0f32; CHUNK];
                if self.one == 1 {
                    second.fill(self.b.quantization.dequantize(b[0]));
                } else {
                    dequantize_into(&mut second, &b[chunk * CHUNK..][..a.len()], self.b.quantization);
                }
                for i in 0..CHUNK {
                    let value = match operation {
                        Operation::Add => first[i] + second[i],
                        Operation::Multiply => first[i] * second[i],
                    };
                    first[i] = bounded(value, bounds);
                }
                quantize_into(out, &first, y);
            }
        }
    }
}

/// The values of at most as many bytes; the rest becomes 0.
#[inline(always)]
fn dequantize_into(values: &mut [f32; CHUNK], bytes: &[u8], quantization: Quantization) {
    let mut padded = [quantization.zero_point; CHUNK];
    padded[..bytes.len()].copy_from_slice(bytes);
    for i in 0..CHUNK {
        values[i] = quantization.dequantize(padded[i]);
    }
}

/// The bytes of the first values.
#[inline(always)]
fn quantize_into(bytes: &mut [u8], values: &[f32; CHUNK], quantization: Quantization) {
    let zero_point = f32::from(quantization.zero_point);
    let bounds = [-zero_point, 255.0 - zero_point];
    let inverse = quantization.scale.recip();
    let mut quotients = [0f32; CHUNK];
    let mut near_a_tie = 0;
    for i in 0..CHUNK {
        let quotient = bounded(values[i] * inverse, bounds);
        let rounded = quotient + SHIFT - SHIFT;
        near_a_tie |= u32::from((quotient - rounded).abs() > 0.4999);
        quotients[i] = quotient;
    }
    // Product and quotient differ by less than two units in the last place, which below 256 are 2^-15 each. A scale whose
    // inverse is no normal number is divided by as well.
    if near_a_tie != 0 || !inverse.is_normal() {
        for i in 0..CHUNK {
            quotients[i] = bounded(values[i] / quantization.scale, bounds);
        }
    }
    let mut padded = [0u8; CHUNK];
    for i in 0..CHUNK {
        padded[i] = ((quotients[i] + SHIFT).to_bits() as u8).wrapping_add(quantization.zero_point);
    }
    bytes.copy_from_slice(&padded[..bytes.len()]);
}

/// The value within bounds, each by one instruction; what is no number becomes the lower one.
#[inline(always)]
fn bounded(value: f32, [low, high]: [f32; 2]) -> f32 {
    let value = if value > low { value } else { low };
    if value < high { value } else { high }
}

/// A function of one byte.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Table([u8; 256]);

impl Table {
    /// `f` of the values that the bytes of `x` stand for, as bytes of `y`.
    ///
    /// # Errors
    /// Scales that are not above 0.
    pub fn new(x: Quantization, y: Quantization, f: impl Fn(f32) -> f32) -> Result<Self, KernelError> {
        x.check()?;
        y.check()?;
        let mut table = [0; 256];
        for (byte, entry) in (0..=u8::MAX).zip(&mut table) {
            *entry = y.quantize(f(x.dequantize(byte)));
        }
        Ok(Self(table))
    }

    /// The same values with another quantization.
    ///
    /// # Errors
    /// Scales that are not above 0.
    pub fn requantize(x: Quantization, y: Quantization) -> Result<Self, KernelError> {
        Self::new(x, y, |value| value)
    }

    /// The function of one byte.
    #[inline(always)]
    pub fn of(&self, byte: u8) -> u8 {
        self.0[usize::from(byte)]
    }

    /// `out = f(x)`, of equal length.
    ///
    /// # Errors
    /// Slices of different lengths.
    pub fn run(&self, x: &[u8], out: &mut [u8]) -> Result<(), KernelError> {
        expect("the output", out.len(), x.len())?;
        out.par_chunks_mut(SHARE).zip(x.par_chunks(SHARE)).for_each(|(out, x)| {
            for (out, x) in out.iter_mut().zip(x) {
                *out = self.of(*x);
            }
        });
        Ok(())
    }
}

/// The bytes of values, of equal length.
///
/// # Errors
/// Slices of different lengths, a scale that is not above 0.
pub fn quantize(x: &[f32], quantization: Quantization, out: &mut [u8]) -> Result<(), KernelError> {
    quantization.check()?;
    expect("the output", out.len(), x.len())?;
    out.par_chunks_mut(SHARE).zip(x.par_chunks(SHARE)).for_each(|(out, x)| dispatch(Quantize { x, quantization, out }));
    Ok(())
}

/// Quantizes on this thread.
pub(super) struct Quantize<'a> {
    pub(super) x: &'a [f32],
    pub(super) quantization: Quantization,
    pub(super) out: &'a mut [u8],
}

impl WithSimd for Quantize<'_> {
    type Output = ();

    #[inline(always)]
    fn with_simd<S: Simd>(self, _: S) {
        for (out, x) in self.out.chunks_mut(CHUNK).zip(self.x.chunks(CHUNK)) {
            let mut values = [0f32; CHUNK];
            values[..x.len()].copy_from_slice(x);
            quantize_into(out, &values, self.quantization);
        }
    }
}

/// The values of bytes, of equal length.
///
/// # Errors
/// Slices of different lengths, a scale that is not above 0.
pub fn dequantize(x: Operand<'_>, out: &mut [f32]) -> Result<(), KernelError> {
    x.quantization.check()?;
    expect("the output", out.len(), x.bytes.len())?;
    out.par_chunks_mut(SHARE)
        .zip(x.bytes.par_chunks(SHARE))
        .for_each(|(out, bytes)| dispatch(Dequantize { x: Operand { bytes, ..x }, out }));
    Ok(())
}

struct Dequantize<'a> {
    x: Operand<'a>,
    out: &'a mut [f32],
}

impl WithSimd for Dequantize<'_> {
    type Output = ();

    #[inline(always)]
    fn with_simd<S: Simd>(self, _: S) {
        for (out, byte) in self.out.iter_mut().zip(self.x.bytes) {
            *out = self.x.quantization.dequantize(*byte);
        }
    }
}
