//! Products of `M` pixels with `N` registers of output channels, summed in registers.
//!
//! A pixel's sum runs over *segments*: one for each row of the kernel, in which the values of the kernel's columns, and
//! their channels, lie side by side. From pixel to pixel a segment moves by a constant step. Four values at a time are
//! spread over a register and multiplied with `N` registers of weights: every weight that is loaded serves `M` pixels,
//! and every value `N` registers.

use super::{
    instructions::{Instructions, Requantization},
    memory::Target,
    panels::{Block, Panels},
};

/// Where a run of pixels reads.
#[derive(Clone, Copy)]
pub(super) struct Reads<'a> {
    pub(super) source: &'a [u8],
    /// Where each segment of the first pixel begins.
    pub(super) segments: &'a [usize],
    /// Fours of values of a segment; the last may go on behind the segment, where weights are 0.
    pub(super) fours: usize,
    /// From one pixel to the next.
    pub(super) step: usize,
}

/// Where a run of pixels writes.
#[derive(Clone, Copy)]
pub(super) struct Writes {
    pub(super) target: Target,
    /// Where the first pixel begins, which is its channel 0.
    pub(super) start: usize,
    /// From one pixel to the next.
    pub(super) step: usize,
    pub(super) requantization: Requantization,
}

/// All outputs of `pixels` pixels in one block of channels.
///
/// # Safety
/// As [`Instructions`] says; and no other thread touches these outputs.
#[inline(always)]
pub(super) unsafe fn multiply<I: Instructions>(
    reads: Reads<'_>,
    first: usize,
    pixels: usize,
    panels: &Panels,
    block: Block,
    writes: Writes,
) {
    let run = Run::<I> {
        source: reads.source.as_ptr(),
        reads,
        panels: panels.of::<I>(block, reads.segments.len() * reads.fours),
        block,
        writes,
        marker: std::marker::PhantomData,
    };
    let last = reads.segments.iter().max().map_or(0, |segment| first + segment + (pixels - 1) * reads.step);
    assert!(last + 4 * reads.fours <= reads.source.len(), "outside of the input");
    let most = I::TILES[block.registers - 1];
    let tiles = pixels.div_ceil(most);
    let mut pixel = 0;
    for tile in 0..tiles {
        // As even as can be.
        let mine = (pixels - pixel).div_ceil(tiles - tile);
        macro_rules! tile {
            ($N:literal: $($M:literal)+) => {
                match mine {
                    // SAFETY: the reads of the last pixel, and so of all, end within the source (asserted above); the rest
                    // is the caller's.
                    $($M if $M <= I::TILES[$N - 1] => unsafe { run.tile::<$M, $N>(first, pixel) },)+
                    _ => unreachable!("a tile of {mine} pixels"),
                }
            };
        }
        match block.registers {
            1 => tile!(1: 1 2 3 4 5 6 7 8 9 10 11 12 13 14),
            2 => tile!(2: 1 2 3 4 5 6 7 8 9 10 11 12),
            3 => tile!(3: 1 2 3 4 5 6 7 8),
            _ => tile!(4: 1 2 3 4 5 6),
        }
        pixel += mine;
    }
}

/// A run of pixels and a block of channels.
struct Run<'a, I: Instructions> {
    source: *const u8,
    reads: Reads<'a>,
    panels: (&'a [u8], &'a [i32], &'a [f32]),
    block: Block,
    writes: Writes,
    marker: std::marker::PhantomData<I>,
}

impl<I: Instructions> Run<'_, I> {
    /// The outputs of `M` pixels from `pixel` on.
    ///
    /// # Safety
    /// As [`multiply`], which asserts that these pixels read within the source.
    #[inline(always)]
    unsafe fn tile<const M: usize, const N: usize>(&self, first: usize, pixel: usize) {
        let (weights, start, multipliers) = self.panels;
        let (reads, writes) = (self.reads, self.writes);
        // SAFETY: `start` has the lanes of all registers of the block, which are `N`.
        let start = unsafe {
            let mut registers = [I::sums(start.as_ptr()); N];
            for (n, register) in registers.iter_mut().enumerate() {
                *register = I::sums(start.as_ptr().add(n * I::LANES));
            }
            registers
        };
        let mut sums = [start; M];
        let mut weights = weights.as_ptr();
        let step = reads.step;
        for segment in reads.segments {
            // SAFETY: the source holds `4 * fours` values from here on for each of the `M` pixels, and the weights hold
            // `fours` times `N` registers for each segment; both as `multiply` has asserted. The loops count `fours`.
            unsafe {
                let mut values = self.source.add(first + segment + pixel * step);
                for _ in 0..reads.fours / 4 {
                    let mut pixels = [I::sixteen(values); M];
                    for (m, pixel) in pixels.iter_mut().enumerate() {
                        *pixel = I::sixteen(values.add(m * step));
                    }
                    add::<I, 0, M, N>(&mut sums, &pixels, weights);
                    add::<I, 1, M, N>(&mut sums, &pixels, weights.add(N * I::WEIGHT_BYTES));
                    add::<I, 2, M, N>(&mut sums, &pixels, weights.add(2 * N * I::WEIGHT_BYTES));
                    add::<I, 3, M, N>(&mut sums, &pixels, weights.add(3 * N * I::WEIGHT_BYTES));
                    weights = weights.add(4 * N * I::WEIGHT_BYTES);
                    values = values.add(16);
                }
                for _ in 0..reads.fours % 4 {
                    let mut pixels = [I::four(values); M];
                    for (m, pixel) in pixels.iter_mut().enumerate() {
                        *pixel = I::four(values.add(m * step));
                    }
                    add::<I, 0, M, N>(&mut sums, &pixels, weights);
                    weights = weights.add(N * I::WEIGHT_BYTES);
                    values = values.add(4);
                }
            }
        }
        let lanes = N * I::LANES;
        let channels = self.block.channels;
        for (m, sums) in sums.into_iter().enumerate() {
            let place = writes.start + (pixel + m) * writes.step + self.block.channel;
            // SAFETY: `at` asserts that the output holds the channels; no other thread touches them, says the caller.
            // There are as many multipliers as lanes.
            unsafe { store::<I, N>(sums, multipliers, writes, place, channels.min(lanes)) };
        }
    }
}

/// Adds the products of `M` pixels' `QUARTER`-th four values with `N` registers of weights.
///
/// # Safety
/// The values have this quarter, and `N` registers of weights can be read.
#[inline(always)]
unsafe fn add<I: Instructions, const QUARTER: usize, const M: usize, const N: usize>(
    sums: &mut [[I::Sums; N]; M],
    pixels: &[I::Values; M],
    weights: *const u8,
) {
    // SAFETY: the caller's.
    unsafe {
        let mut registers = [I::weights(weights); N];
        for (n, register) in registers.iter_mut().enumerate() {
            *register = I::weights(weights.add(n * I::WEIGHT_BYTES));
        }
        for m in 0..M {
            for n in 0..N {
                sums[m][n] = I::add::<QUARTER>(sums[m][n], pixels[m], registers[n]);
            }
        }
    }
}

/// Writes the bytes of the first `channels` sums to `place` of the output.
///
/// # Safety
/// `N * LANES` multipliers, and at least as many lanes as channels; no other thread touches this place.
#[inline(always)]
pub(super) unsafe fn store<I: Instructions, const N: usize>(
    sums: [I::Sums; N],
    multipliers: &[f32],
    writes: Writes,
    place: usize,
    channels: usize,
) {
    // SAFETY: the target holds `channels` bytes at this place; the rest is the caller's.
    unsafe {
        let out = writes.target.at(place..place + channels);
        I::store(sums, multipliers.as_ptr(), writes.requantization, out, channels);
    }
}
