//! Products of `M` pixels with `N` registers of output channels, summed in registers.
//!
//! A pixel's sum runs over *segments*: one for each row of the kernel, and within it over values that lie side by side,
//! the kernel's columns times the channels. From pixel to pixel a segment moves by a constant step. Each value is spread
//! over a register and multiplied with `N` registers of weights, so every weight that is loaded serves `M` pixels, and
//! every value `N` registers.

use pulp::Simd;

use super::aligned::Aligned;
use crate::{convolution::Activation, elementwise::swish_of, simd::prefetch};

/// Values of a cache line.
const LINE: usize = 16;

/// Values of a pixel that are multiplied in one turn of the inner loop.
const UNROLLED: usize = 4;

/// Output channels in blocks of registers, and the weights in the order in which the tiles read them.
#[derive(Debug)]
pub(super) struct Panels {
    channels: usize,
    lanes: usize,
    blocks: Vec<Block>,
    values: Aligned,
    bias: Aligned,
}

/// Some registers of output channels.
#[derive(Clone, Copy, Debug)]
pub(super) struct Block {
    /// First output channel.
    pub(super) channel: usize,
    /// Registers.
    pub(super) registers: usize,
    /// Where the weights begin.
    start: usize,
}

impl Panels {
    /// `weight(k, c)` is the factor of a pixel's `k`-th of `depth` values in channel `c`.
    pub(super) fn new(
        lanes: usize,
        channels: usize,
        depth: usize,
        bias: Option<&[f32]>,
        weight: impl Fn(usize, usize) -> f32,
    ) -> Self {
        let registers = channels.div_ceil(lanes);
        // With few products a sum it is writing that takes the time, and that is quickest where whole pixels are written at once.
        let widest = match lanes {
            8 => 3,
            1 => 4,
            _ if depth <= 32 => 6,
            // Narrow blocks of many pixels, so that the first cache holds a block's weights.
            16 => 2,
            _ => 4,
        };
        let count = registers.div_ceil(widest);
        let mut blocks = Vec::with_capacity(count);
        let mut values = Aligned::zeros(registers * lanes * depth);
        let (mut first, mut start) = (0, 0);
        for block in 0..count {
            // As even as can be.
            let mine = (registers - first).div_ceil(count - block);
            blocks.push(Block { channel: first * lanes, registers: mine, start });
            for k in 0..depth {
                for lane in 0..mine * lanes {
                    let channel = first * lanes + lane;
                    if channel < channels {
                        values[start + k * mine * lanes + lane] = weight(k, channel);
                    }
                }
            }
            start += depth * mine * lanes;
            first += mine;
        }
        let mut padded = Aligned::zeros(registers * lanes);
        if let Some(bias) = bias {
            padded[..channels].copy_from_slice(bias);
        }
        Self { channels, lanes, blocks, values, bias: padded }
    }

    pub(super) fn blocks(&self) -> &[Block] {
        &self.blocks
    }

    /// How many weights there are.
    pub(super) fn values(&self) -> usize {
        self.values.len()
    }

    /// The weights of a block, from the `from`-th value of a pixel on.
    #[inline(always)]
    fn weights(&self, block: Block, from: usize) -> &[f32] {
        &self.values[block.start + from * block.registers * self.lanes..]
    }

    /// The same `depth` values' weights of the next block, none behind the last.
    #[inline(always)]
    fn weights_behind(&self, block: Block, from: usize, depth: usize) -> &[f32] {
        let next = self.blocks.iter().find(|next| next.channel > block.channel);
        next.map_or(&[], |next| &self.weights(*next, from)[..depth * next.registers * self.lanes])
    }

    /// The bias of a block, zero behind the last channel.
    #[inline(always)]
    pub(super) fn bias(&self, block: Block) -> &[f32] {
        &self.bias[block.channel..][..block.registers * self.lanes]
    }

    /// How many of the block's values are channels.
    pub(super) fn width(&self, block: Block) -> usize {
        (block.registers * self.lanes).min(self.channels - block.channel)
    }
}

/// Where a run of pixels reads.
#[derive(Clone, Copy)]
pub(super) struct Reads<'a> {
    pub(super) source: &'a [f32],
    /// Where each segment of the first pixel begins.
    pub(super) segments: &'a [usize],
    /// Values of a segment.
    pub(super) length: usize,
    /// From one pixel to the next.
    pub(super) step: usize,
}

/// What becomes of a run of pixels' sums.
pub(super) trait Sink<S: Simd> {
    /// What the sums of the block's `n`-th register begin with.
    fn start(&self, simd: S, n: usize) -> S::f32s;

    /// Has the place of the pixels from `pixel` on fetched.
    fn ahead<const M: usize, const N: usize>(&self, pixel: usize);

    /// The sums of the pixels from `pixel` on.
    fn take<const M: usize, const N: usize>(&mut self, simd: S, pixel: usize, sums: &[[S::f32s; N]; M]);
}

/// All sums of `pixels` pixels in one block of channels; `from` is the number of values of a pixel whose weights come before.
#[inline(always)]
pub(super) fn multiply<S: Simd>(
    simd: S,
    reads: Reads<'_>,
    pixels: usize,
    panels: &Panels,
    block: Block,
    from: usize,
    sink: &mut impl Sink<S>,
) {
    let weights = panels.weights(block, from);
    // What is read next: the same part of the block behind.
    let depth = reads.segments.len() * reads.length;
    let mut ahead = panels.weights_behind(block, from, depth);
    macro_rules! run {
        ($N:literal: $($M:literal),+) => {{
            let mut pixel = 0;
            $(
                while pixels - pixel >= $M {
                    let mut sums = [[simd.splat_f32s(0.0); $N]; $M];
                    for n in 0..$N {
                        let start = sink.start(simd, n);
                        for m in 0..$M {
                            sums[m][n] = start;
                        }
                    }
                    sink.ahead::<$M, $N>(pixel + $M);
                    let share = (depth * 2 * LINE / UNROLLED).min(ahead.len());
                    product::<S, $M, $N>(simd, reads, pixel, weights, &ahead[..share], &mut sums);
                    ahead = &ahead[share..];
                    sink.take(simd, pixel, &sums);
                    pixel += $M;
                }
            )+
        }};
    }
    // As many sums as registers allow, beside a block's weights and a value.
    match (S::F32_LANES, block.registers) {
        (8, 1) => run!(1: 12, 4, 1),
        (8, 2) => run!(2: 6, 2, 1),
        (8, _) => run!(3: 4, 1),
        (1, 1) => run!(1: 4, 1),
        (1, 2) => run!(2: 2, 1),
        (1, 3) => run!(3: 2, 1),
        (1, _) => run!(4: 2, 1),
        (_, 1) => run!(1: 14, 8, 7, 4, 2, 1),
        (_, 2) => run!(2: 12, 7, 6, 4, 2, 1),
        (_, 3) => run!(3: 8, 4, 2, 1),
        (_, 4) => run!(4: 6, 4, 2, 1),
        (_, 5) => run!(5: 5, 4, 2, 1),
        (_, _) => run!(6: 4, 2, 1),
    }
}

/// `sums += weights * values` over all segments.
#[inline(always)]
pub(super) fn product<S: Simd, const M: usize, const N: usize>(
    simd: S,
    reads: Reads<'_>,
    pixel: usize,
    weights: &[f32],
    ahead: &[f32],
    sums: &mut [[S::f32s; N]; M],
) {
    let mut next = 0;
    let Reads { source, segments, length, step } = reads;
    let (weights, _) = S::as_simd_f32s(weights);
    let (mut weights, _) = weights.as_chunks::<N>();
    let mut tile = *sums;
    for &segment in segments {
        // Loops and no closures, which the compiler may leave as calls without vector instructions.
        let mut values: [&[f32]; M] = [&[]; M];
        for m in 0..M {
            values[m] = &source[segment + (pixel + m) * step..][..length];
        }
        let (mine, rest) = weights.split_at(length);
        weights = rest;
        // Four values of a pixel at a time, so that its address is at hand for four products.
        let (fours, _) = mine.as_chunks::<UNROLLED>();
        let mut wholes: [&[[f32; UNROLLED]]; M] = [&[]; M];
        for m in 0..M {
            wholes[m] = &values[m].as_chunks::<UNROLLED>().0[..fours.len()];
        }
        for (k, weights) in fours.iter().enumerate() {
            prefetch(ahead, next);
            prefetch(ahead, next + LINE);
            next += 2 * LINE;
            for u in 0..UNROLLED {
                for m in 0..M {
                    let value = simd.splat_f32s(wholes[m][k][u]);
                    for n in 0..N {
                        tile[m][n] = simd.mul_add_e_f32s(value, weights[u][n], tile[m][n]);
                    }
                }
            }
        }
        for k in fours.len() * UNROLLED..length {
            for m in 0..M {
                let value = simd.splat_f32s(values[m][k]);
                for n in 0..N {
                    tile[m][n] = simd.mul_add_e_f32s(value, mine[k][n], tile[m][n]);
                }
            }
        }
    }
    *sums = tile;
}

/// Bias, summand, activation, and the way into the output.
pub(super) struct Store<'a> {
    /// The run's first pixel at its start.
    pub(super) out: &'a mut [f32],
    /// From one pixel to the next.
    pub(super) step: usize,
    /// First value of a pixel that is written.
    pub(super) first: usize,
    /// Values that are written, the last register perhaps not whole.
    pub(super) width: usize,
    /// Of the block, in whole registers.
    pub(super) bias: &'a [f32],
    /// As `out`.
    pub(super) add: Option<&'a [f32]>,
    pub(super) activation: Activation,
}

impl<S: Simd> Sink<S> for Store<'_> {
    #[inline(always)]
    fn start(&self, _: S, n: usize) -> S::f32s {
        S::as_simd_f32s(self.bias).0[n]
    }

    #[inline(always)]
    fn ahead<const M: usize, const N: usize>(&self, pixel: usize) {
        for m in 0..M {
            for line in 0..(N * S::F32_LANES).div_ceil(LINE) {
                prefetch(self.out, (pixel + m) * self.step + self.first + line * LINE);
            }
        }
    }

    #[inline(always)]
    fn take<const M: usize, const N: usize>(&mut self, simd: S, pixel: usize, sums: &[[S::f32s; N]; M]) {
        if self.width == N * S::F32_LANES && self.add.is_none() && self.activation != Activation::Swish {
            for (m, sums) in sums.iter().enumerate() {
                let at = (pixel + m) * self.step + self.first;
                let (out, _) = S::as_mut_simd_f32s(&mut self.out[at..at + self.width]);
                let (out, _) = out.as_chunks_mut::<N>();
                for (out, &sum) in out[0].iter_mut().zip(sums) {
                    *out = limited(simd, self.activation, sum);
                }
            }
            return;
        }
        for (m, sums) in sums.iter().enumerate() {
            let at = (pixel + m) * self.step + self.first;
            let out = &mut self.out[at..at + self.width];
            let add = self.add.map(|add| &add[at..at + self.width]);
            for (n, &sum) in sums.iter().enumerate() {
                finish(simd, sum, add, self.activation, n * S::F32_LANES, out);
            }
        }
    }
}

/// The limits of an activation. A NaN stays one: it is the second operand, which x86 gives back, NEON gives a NaN for any, and without
/// vector instructions the comparisons do it.
#[inline(always)]
fn limited<S: Simd>(simd: S, activation: Activation, value: S::f32s) -> S::f32s {
    if S::F32_LANES == 1 {
        return activation.limited(simd, value);
    }
    match activation {
        Activation::None | Activation::Swish => value,
        Activation::Relu => simd.max_f32s(simd.splat_f32s(0.0), value),
        Activation::Relu6 => simd.min_f32s(simd.splat_f32s(6.0), simd.max_f32s(simd.splat_f32s(0.0), value)),
    }
}

/// The activation of a register of sums.
#[inline(always)]
pub(super) fn activated<S: Simd>(simd: S, activation: Activation, value: S::f32s) -> S::f32s {
    if activation == Activation::Swish { swish_of(simd, value) } else { limited(simd, activation, value) }
}

/// A register of sums to its place, with the summand and the activation.
#[inline(always)]
pub(super) fn finish<S: Simd>(
    simd: S,
    mut value: S::f32s,
    add: Option<&[f32]>,
    activation: Activation,
    first: usize,
    out: &mut [f32],
) {
    let whole = out.len() >= first + S::F32_LANES;
    let end = if whole { first + S::F32_LANES } else { out.len() };
    if let Some(add) = add {
        value = simd.add_f32s(value, load_some(simd, &add[first..end], whole));
    }
    let value = activated(simd, activation, value);
    if whole {
        let (out, _) = S::as_mut_simd_f32s(&mut out[first..end]);
        out[0] = value;
    } else {
        simd.partial_store_f32s(&mut out[first..end], value);
    }
}

#[inline(always)]
fn load_some<S: Simd>(simd: S, values: &[f32], whole: bool) -> S::f32s {
    if whole { S::as_simd_f32s(values).0[0] } else { simd.partial_load_f32s(values) }
}
