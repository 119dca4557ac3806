//! Convolutions that keep the channels apart: a register holds the same tap of many channels.
//!
//! Four rows of the kernel are one four of values. So for each output row the input rows of the kernel are interleaved,
//! `[column][channel][4]`, and then a kernel's column is one product of registers. Each interleaved column serves as many
//! output pixels as the kernel has columns. A task takes an output row, in runs of channels such that what is interleaved
//! stays in a cache.

use rayon::prelude::*;

use super::{
    Geometry,
    instructions::{InstructionSet, Instructions, MOST_LANES, Requantization, Work},
    memory::{Target, with_scratch},
    panels::{Panels, Unpacked},
    product::Writes,
};

/// Bytes that are interleaved at once, if a register's channels of a row are not more: a first cache, or little more.
const INTERLEAVED_BYTES: usize = 48 << 10;
/// The most pixels that are summed at once.
const PIXELS: usize = 4;

/// Weights and sizes of a depthwise convolution.
#[derive(Debug)]
pub(super) struct Depthwise {
    geometry: Geometry,
    instructions: InstructionSet,
    /// Each block one register; the places are `[four of kernel rows][column][row]`.
    panels: Panels,
    zero_point: u8,
    requantization: Requantization,
}

impl Depthwise {
    pub(super) fn new(
        geometry: &Geometry,
        instructions: InstructionSet,
        weight: &[i8],
        bias: &[i32],
        multipliers: &[f32],
        zero_points: [u8; 2],
    ) -> Self {
        let g = *geometry;
        let unpacked = Unpacked {
            channels: g.channels_out,
            fours: g.kernel_height.div_ceil(4) * g.kernel_width,
            registers: 1,
            weight: |channel, place: usize| {
                let (row, column) = (place / (4 * g.kernel_width) * 4 + place % 4, place / 4 % g.kernel_width);
                if row < g.kernel_height {
                    weight[(channel * g.kernel_height + row) * g.kernel_width + column]
                } else {
                    0
                }
            },
            bias,
            multipliers,
            zero_point: zero_points[0],
        };
        Self {
            geometry: g,
            instructions,
            panels: unpacked.pack(instructions),
            zero_point: zero_points[0],
            requantization: Requantization::new(zero_points[1]),
        }
    }

    pub(super) fn run(&self, batch: usize, x: &[u8], out: &mut [u8]) {
        let g = &self.geometry;
        let columns = g.padding.left + g.width + g.padding.right;
        let planes = g.kernel_height.div_ceil(4);
        let channels = g.channels_in.next_multiple_of(MOST_LANES);
        let run = (INTERLEAVED_BYTES / (columns * planes * 4)).max(1).next_multiple_of(MOST_LANES).min(channels);
        let sizes = Interleaved { columns, run, plane: columns * run * 4, planes };
        let outside = g.width * g.channels_in;
        let rows = batch * g.height_out();
        let target = Target::new(out);
        let workers = rayon::current_num_threads();
        let bands = rows.min(4 * workers);
        let band = |band: usize| {
            let rows = [band * rows / bands, (band + 1) * rows / bands];
            with_scratch(sizes.planes * sizes.plane + outside, |scratch| {
                let (interleaved, outside) = scratch.split_at_mut(sizes.planes * sizes.plane);
                outside.fill(self.zero_point);
                self.instructions.run(Task { depthwise: self, x, target, rows, sizes, interleaved, outside });
            });
        };
        if workers == 1 {
            (0..bands).for_each(band);
        } else {
            (0..bands).into_par_iter().for_each(band);
        }
    }
}

/// Some output rows, of all pictures in one count; no two tasks have one in common.
struct Task<'a> {
    depthwise: &'a Depthwise,
    x: &'a [u8],
    target: Target,
    rows: [usize; 2],
    sizes: Interleaved,
    /// `[four of kernel rows][column][channel][4]`.
    interleaved: &'a mut [u8],
    /// A row of padding.
    outside: &'a [u8],
}

/// The sizes of what is interleaved.
#[derive(Clone, Copy)]
struct Interleaved {
    /// Columns of the padded input.
    columns: usize,
    /// Channels of a run, a multiple of every register's.
    run: usize,
    /// Bytes of four kernel rows.
    plane: usize,
    /// Fours of kernel rows.
    planes: usize,
}

impl Work for Task<'_> {
    type Output = ();

    #[inline(always)]
    unsafe fn run<I: Instructions>(mut self) {
        let channels = self.depthwise.geometry.channels_in;
        for row in self.rows[0]..self.rows[1] {
            for first in (0..channels).step_by(self.sizes.run) {
                let last = (first + self.sizes.run).min(channels);
                // SAFETY: the caller's.
                unsafe { self.interleave::<I>(row, [first, last]) };
                for block in first / I::LANES..last.div_ceil(I::LANES) {
                    // SAFETY: the caller's; tasks differ in their rows.
                    unsafe { self.row::<I>(row, block, block * I::LANES - first) };
                }
            }
        }
    }
}

impl Task<'_> {
    /// Interleaves the input rows of output row `row`, in some channels.
    ///
    /// # Safety
    /// As [`Instructions`] says.
    #[inline(always)]
    unsafe fn interleave<I: Instructions>(&mut self, row: usize, channels: [usize; 2]) {
        let (sizes, outside) = (self.sizes, self.outside);
        let (g, zero_point) = (&self.depthwise.geometry, self.depthwise.zero_point);
        let (picture, row) = (row / g.height_out(), row % g.height_out());
        let length = g.width * g.channels_in;
        for (four, plane) in self.interleaved.chunks_exact_mut(sizes.plane).take(sizes.planes).enumerate() {
            let [a, b, c, d] = std::array::from_fn(|r| {
                let row = (row * g.stride + (4 * four + r) * g.dilation).checked_sub(g.padding.top);
                match row {
                    Some(row) if row < g.height => &self.x[(picture * g.height + row) * length..][..length],
                    _ => outside,
                }
            });
            let (fours, _) = plane.as_chunks_mut::<4>();
            let (left, rest) = fours.split_at_mut(g.padding.left * sizes.run);
            let (middle, right) = rest.split_at_mut(g.width * sizes.run);
            left.fill([zero_point; 4]);
            right.fill([zero_point; 4]);
            let used = channels[1] - channels[0];
            if used == sizes.run && used == g.channels_in {
                // SAFETY: the caller's.
                unsafe { I::interleave([a, b, c, d], middle) };
                continue;
            }
            for (column, fours) in middle.chunks_exact_mut(sizes.run).enumerate() {
                let at = column * g.channels_in + channels[0];
                let rows = [a, b, c, d].map(|row| &row[at..at + used]);
                // SAFETY: the caller's.
                unsafe { I::interleave(rows, &mut fours[..used]) };
            }
        }
    }

    /// The outputs of one row in a register of channels, which are `offset` channels behind the first interleaved.
    ///
    /// # Safety
    /// As [`Instructions`] says; no other thread touches these outputs.
    #[inline(always)]
    unsafe fn row<I: Instructions>(&self, row: usize, block: usize, offset: usize) {
        let (sizes, from) = (&self.sizes, &*self.interleaved);
        let (depthwise, g) = (self.depthwise, &self.depthwise.geometry);
        let width = g.width_out();
        let writes = Writes {
            target: self.target,
            start: row * width * g.channels_out,
            step: g.channels_out,
            requantization: depthwise.requantization,
        };
        let column = sizes.run * 4;
        // The last pixel's last column is within the padded input, by the definition of the output's width.
        assert!((width - 1) * g.stride + (g.kernel_width - 1) * g.dilation < sizes.columns);
        assert!(offset + I::LANES <= sizes.run && sizes.planes * sizes.plane <= from.len());
        let row = Row::<I> { sizes, g, panels: &depthwise.panels, block, writes, marker: std::marker::PhantomData };
        // SAFETY: a register's `LANES` fours begin `offset` channels behind the start of a column, and fit in it; the
        // columns of all pixels fit in a plane, and the planes in `from`: asserted above. The rest is the caller's.
        unsafe {
            let from = from.as_ptr().add(offset * 4);
            let (mut x, tiles) = (0, width.div_ceil(PIXELS));
            for tile in 0..tiles {
                // As even as can be.
                let mine = (width - x).div_ceil(tiles - tile);
                match mine {
                    1 => row.pixels::<1>(from, x, column),
                    2 => row.pixels::<2>(from, x, column),
                    3 => row.pixels::<3>(from, x, column),
                    _ => row.pixels::<PIXELS>(from, x, column),
                }
                x += mine;
            }
        }
    }
}

/// One output row in a register of channels.
struct Row<'a, I: Instructions> {
    sizes: &'a Interleaved,
    g: &'a Geometry,
    panels: &'a Panels,
    block: usize,
    writes: Writes,
    marker: std::marker::PhantomData<I>,
}

impl<I: Instructions> Row<'_, I> {
    /// The outputs of `M` pixels from `x` on; the first interleaved column is at `from`, `column` bytes long.
    ///
    /// # Safety
    /// As [`Task::row`], which asserts that all pixels read within what is interleaved.
    #[inline(always)]
    unsafe fn pixels<const M: usize>(&self, from: *const u8, x: usize, column: usize) {
        let (g, block) = (self.g, self.panels.blocks()[self.block]);
        let (weights, start, multipliers) = self.panels.of::<I>(block, self.sizes.planes * g.kernel_width);
        let mut weights = weights.as_ptr();
        // SAFETY: a block is one register, and has `planes * kernel_width` registers of weights; the values are where the
        // caller says.
        unsafe {
            let mut sums = [I::sums(start.as_ptr()); M];
            for plane in 0..self.sizes.planes {
                let from = from.add(plane * self.sizes.plane + x * g.stride * column);
                for q in 0..g.kernel_width {
                    let register = I::weights(weights);
                    weights = weights.add(I::WEIGHT_BYTES);
                    for (m, sum) in sums.iter_mut().enumerate() {
                        let values = I::own(from.add((m * g.stride + q * g.dilation) * column));
                        *sum = I::add_own(*sum, values, register);
                    }
                }
            }
            let place = self.writes.start + x * self.writes.step + block.channel;
            let out = self.writes.target.at(place..place + (M - 1) * self.writes.step + block.channels);
            let requantization = self.writes.requantization;
            I::store_pixels(sums, multipliers.as_ptr(), requantization, out, self.writes.step, block.channels);
        }
    }
}
