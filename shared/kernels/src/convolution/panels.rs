//! Convolution as a product of matrices: weights `[C_out, C_in * taps]` times what each position reads.
//!
//! The positions of all pictures are one long row, cut into panels as wide as a register tile. A task gathers the values
//! of its panels, `[panel][input channel][tap][position]`, so that the product reads memory from front to back, and writes
//! each tile to its place with bias, second summand and activation on the way. No column is computed that nobody wants,
//! which for small pictures is what [`super::engine`] does beyond their edges. Every sum is taken in one order, whatever
//! the number of pictures and of threads.

use std::ops::Range;

use pulp::{Simd, WithSimd};
use rayon::prelude::*;

use super::{
    Convolution,
    band::{copy_line, with_scratch},
    engine::{Activation, Epilogue, lanes},
    tiles::{self, with_product_tile},
};
use crate::{
    elementwise::Swish,
    simd::{dispatch, load, store},
};

/// Values that a task gathers at most, half of a second cache.
const TASK_VALUES: usize = 64 * 1024;

/// Depth of a chunk at most: what a register tile reads of it fits into a first cache.
const CHUNK: usize = 320;
/// Whether this is faster than the engine's bands: gathering costs a read and a write for every tap, which many channels of
/// the output have to share.
pub(super) fn pays(convolution: &Convolution) -> bool {
    convolution.groups == 1 && (convolution.taps() == 1 || convolution.channels_out >= 96)
}

/// Weights in the order in which the tiles read them: `[block][input channel][tap][channel of the block]`.
#[derive(Clone, Debug)]
pub(super) struct Packed {
    tile: usize,
    values: Vec<f32>,
}

impl Packed {
    /// Of a convolution's `weight` `[C_out, C_in, K_h, K_w]`.
    pub(super) fn new(convolution: &Convolution, weight: &[f32]) -> Self {
        let [tile, _] = tiles::product(lanes(), convolution.channels_out);
        let depth = convolution.channels_in * convolution.taps();
        let mut values = vec![0f32; convolution.channels_out.div_ceil(tile) * depth * tile];
        values.par_chunks_mut(depth * tile).zip(weight.par_chunks(depth * tile)).for_each(|(packed, weight)| {
            for (channel, weight) in weight.chunks_exact(depth).enumerate() {
                packed[channel..].iter_mut().step_by(tile).zip(weight).for_each(|(packed, weight)| *packed = *weight);
            }
        });
        Self { tile, values }
    }
}

/// Writes all of `target` `[N, C_out, H', W']`.
pub(super) fn run(
    convolution: &Convolution,
    source: &[f32],
    weight: &Packed,
    epilogue: Epilogue<'_>,
    target: &mut [f32],
) {
    let lanes = lanes();
    let width = tiles::product(lanes, convolution.channels_out)[1] * lanes;
    let pixels = convolution.height_out() * convolution.width_out();
    let (positions, channels) = (convolution.batch * pixels, convolution.channels_out);
    // Whole channels a chunk, chunks of about one size.
    let most = (CHUNK / convolution.taps()).clamp(1, convolution.channels_in);
    let chunk = convolution.channels_in.div_ceil(convolution.channels_in.div_ceil(most));
    let depth = chunk * convolution.taps();
    let panels = positions.div_ceil(width);
    let share = (TASK_VALUES / (depth * width)).clamp(1, panels.div_ceil(2 * rayon::current_num_threads()).max(1));
    let step = share * width;
    let mut tasks: Vec<PanelTask<'_>> = (0..positions)
        .step_by(step)
        .map(|start| PanelTask { start, end: (start + step).min(positions), rows: vec![] })
        .collect();
    for (index, mut plane) in target.chunks_exact_mut(pixels).enumerate() {
        let first = index / channels * pixels;
        let mut at = first;
        for task in &mut tasks[first / step..] {
            let (mine, rest) = std::mem::take(&mut plane).split_at_mut(task.end.min(first + pixels) - at);
            at += mine.len();
            task.rows.push(mine);
            plane = rest;
            if plane.is_empty() {
                break;
            }
        }
    }
    tasks.into_par_iter().for_each(|task| {
        let panels = (task.end - task.start).div_ceil(width);
        let kept = if chunk < convolution.channels_in { channels.div_ceil(weight.tile) } else { 1 };
        with_scratch([panels * depth * width, kept * panels * weight.tile * width], |[values, sums]| {
            dispatch(PanelRun { convolution, source, weight, epilogue, pixels, chunk, task, values, sums });
        });
    });
}

/// A range of positions, with its part of each plane: by picture, then by channel.
struct PanelTask<'a> {
    start: usize,
    end: usize,
    rows: Vec<&'a mut [f32]>,
}

/// Positions of one row and one panel: what they read, and where it goes.
struct Stretch {
    to: usize,
    length: usize,
    from: usize,
    y: isize,
    x: isize,
}

struct PanelRun<'a, 't> {
    convolution: &'a Convolution,
    source: &'a [f32],
    weight: &'a Packed,
    epilogue: Epilogue<'a>,
    pixels: usize,
    /// Input channels that are gathered at a time.
    chunk: usize,
    task: PanelTask<'t>,
    values: &'a mut [f32],
    /// A tile for each panel, and when there are several chunks, for each block.
    sums: &'a mut [f32],
}

impl WithSimd for PanelRun<'_, '_> {
    type Output = ();

    #[inline(always)]
    fn with_simd<S: Simd>(self, simd: S) {
        with_product_tile!((S::F32_LANES, self.convolution.channels_out), |M, N| self.tiles::<S, M, N>(simd));
    }
}

impl PanelRun<'_, '_> {
    #[inline(always)]
    fn tiles<S: Simd, const M: usize, const N: usize>(mut self, simd: S) {
        assert_eq!(M, self.weight.tile, "the weight was packed for another tile");
        let width = N * S::F32_LANES;
        let panels = (self.task.end - self.task.start).div_ceil(width);
        let (channels_in, taps) = (self.convolution.channels_in, self.convolution.taps());
        let weight = self.weight;
        let mut from = 0;
        while from < channels_in {
            let channels = from..(from + self.chunk).min(channels_in);
            self.gather::<S, N>(simd, channels.clone());
            let (first, last) = (from == 0, channels.end == channels_in);
            let depth = channels.start * taps..channels.end * taps;
            // All panels for one block of channels, and then the next: that writes to few planes at a time.
            for (block, weights) in weight.values.chunks_exact(channels_in * taps * M).enumerate() {
                let weights = &weights[depth.start * M..depth.end * M];
                for panel in 0..panels {
                    let values = &self.values[panel * depth.len() * width..][..depth.len() * width];
                    let place = (if first && last { panel } else { block * panels + panel }) * M * width;
                    let sums = &mut self.sums[place..place + M * width];
                    let mut tile = [[simd.splat_f32s(0.0); N]; M];
                    if !first {
                        for m in 0..M {
                            tile[m] = load::<S, N>(simd, &sums[m * width..]);
                        }
                    }
                    product::<S, M, N>(simd, weights, values, &mut tile);
                    let start = self.task.start + panel * width;
                    let whole = start % self.pixels + width <= self.pixels && start + width <= self.task.end;
                    if whole && last {
                        self.write::<S, M, N>(simd, block, start, &tile);
                        continue;
                    }
                    for m in 0..M {
                        store::<S, N>(simd, &mut sums[m * width..], &tile[m]);
                    }
                    if last {
                        self.scatter(block, panel, place, width);
                    }
                }
                if last && self.epilogue.activation == Activation::Swish {
                    self.swish(simd, block);
                }
            }
            from = channels.end;
        }
    }

    /// What the task's positions read of some channels, one after another, so that memory is read in long runs.
    #[inline(always)]
    fn gather<S: Simd, const N: usize>(&mut self, simd: S, channels: Range<usize>) {
        let depth = channels.len() * self.convolution.taps();
        let width = N * S::F32_LANES;
        let &Convolution { channels_in, stride, dilation, padding, kernel_width, .. } = self.convolution;
        let (mut height_in, mut width_in) = (self.convolution.height, self.convolution.width);
        let mut columns = self.convolution.width_out();
        let taps = self.convolution.taps();
        if taps == 1 && (height_in * width_in, stride) == (self.pixels, 1) {
            // No neighbour is read: a picture is one long row.
            (height_in, width_in, columns) = (1, self.pixels, self.pixels);
        }
        let mut at = self.task.start;
        let mut runs = vec![];
        while at < self.task.end {
            let (picture, place) = (at / self.pixels, at % self.pixels);
            let (row, column) = (place / columns, place % columns);
            let local = at - self.task.start;
            let length = (columns - column).min(self.task.end - at).min(width - local % width);
            runs.push(Stretch {
                to: local / width * depth * width + local % width,
                length,
                from: picture * channels_in * height_in * width_in,
                y: (row * stride) as isize - padding.top as isize,
                x: (column * stride) as isize - padding.left as isize,
            });
            at += length;
        }
        for (local, channel) in channels.enumerate() {
            for run in &runs {
                let plane = &self.source[run.from + channel * height_in * width_in..][..height_in * width_in];
                for tap in 0..taps {
                    let (r, q) = (tap / kernel_width, tap % kernel_width);
                    let line = &mut self.values[run.to + (local * taps + tap) * width..][..run.length];
                    let (y, x) = (run.y + (r * dilation) as isize, run.x + (q * dilation) as isize);
                    if y < 0 || y >= height_in as isize {
                        line.fill(0.0);
                        continue;
                    }
                    let row = &plane[y as usize * width_in..][..width_in];
                    if stride == 1 && x >= 0 && x as usize + run.length <= width_in {
                        let row = &row[x as usize..][..run.length];
                        if run.length == width {
                            store::<S, N>(simd, line, &load::<S, N>(simd, row));
                        } else {
                            line.copy_from_slice(row);
                        }
                    } else {
                        copy_line(line, row, x, stride);
                    }
                }
            }
        }
        // What no position owns must be finite all the same.
        let used = (self.task.end - self.task.start) % width;
        if used > 0 {
            let last = (self.task.end - self.task.start) / width * depth * width;
            let panel = &mut self.values[last..][..depth * width];
            panel.chunks_exact_mut(width).for_each(|line| line[used..].fill(0.0));
        }
    }

    /// The sums of a tile to their places, `N` registers from `start` on, all of one picture.
    #[inline(always)]
    fn write<S: Simd, const M: usize, const N: usize>(
        &mut self,
        simd: S,
        block: usize,
        start: usize,
        tile: &[[S::f32s; N]; M],
    ) {
        let (picture, place) = (start / self.pixels, start % self.pixels);
        let first = self.task.start.max(picture * self.pixels);
        let row = (picture - self.task.start / self.pixels) * self.convolution.channels_out;
        let plane = picture * self.convolution.channels_out;
        let activation = self.epilogue.activation;
        // Loops, since a closure would be a call that takes its registers from memory.
        for (channel, sums) in (block * M..self.convolution.channels_out).zip(tile) {
            let out = &mut self.task.rows[row + channel][start - first..];
            let mut values = *sums;
            if let Some(bias) = self.epilogue.bias {
                let bias = simd.splat_f32s(bias[channel]);
                for value in &mut values {
                    *value = simd.add_f32s(*value, bias);
                }
            }
            if let Some(add) = self.epilogue.add {
                let add = load::<S, N>(simd, &add[(plane + channel) * self.pixels + place..]);
                for n in 0..N {
                    values[n] = simd.add_f32s(values[n], add[n]);
                }
            }
            for value in &mut values {
                *value = activation.limited(simd, *value);
            }
            store::<S, N>(simd, out, &values);
        }
    }

    /// Over all that the task has of a block's channels: in long runs, which compile into vector instructions.
    #[inline(always)]
    fn swish<S: Simd>(&mut self, simd: S, block: usize) {
        let (channels, tile) = (self.convolution.channels_out, self.weight.tile);
        let mine = block * tile..((block + 1) * tile).min(channels);
        for row in self.task.rows.chunks_mut(channels).flat_map(|picture| &mut picture[mine.clone()]) {
            Swish(row).with_simd(simd);
        }
    }

    /// As [`Self::write`], from the scratch memory, for a panel of several pictures or of fewer positions.
    #[inline(always)]
    fn scatter(&mut self, block: usize, panel: usize, place: usize, width: usize) {
        let (channels, tile) = (self.convolution.channels_out, self.weight.tile);
        let mut epilogue = self.epilogue;
        if epilogue.activation == Activation::Swish {
            // Comes after the block's last panel.
            epilogue.activation = Activation::None;
        }
        let start = self.task.start + panel * width;
        let end = (start + width).min(self.task.end);
        let mut at = start;
        while at < end {
            let picture = at / self.pixels;
            let length = ((picture + 1) * self.pixels).min(end) - at;
            let first = self.task.start.max(picture * self.pixels);
            let row = (picture - self.task.start / self.pixels) * channels;
            for (m, channel) in (block * tile..channels).take(tile).enumerate() {
                let out = &mut self.task.rows[row + channel][at - first..][..length];
                out.copy_from_slice(&self.sums[place + m * width + at - start..][..length]);
                epilogue.apply(channel, (picture * channels + channel) * self.pixels + at % self.pixels, out);
            }
            at += length;
        }
    }
}

/// `tile += weights * values` over a part of the depth: `M` channels at `N` registers of positions.
#[inline(always)]
fn product<S: Simd, const M: usize, const N: usize>(
    simd: S,
    weights: &[f32],
    values: &[f32],
    tile: &mut [[S::f32s; N]; M],
) {
    let mut sums = *tile;
    let (weights, _) = weights.as_chunks::<M>();
    let (values, _) = S::as_simd_f32s(values);
    let (values, _) = values.as_chunks::<N>();
    for (weight, values) in weights.iter().zip(values) {
        for m in 0..M {
            let w = simd.splat_f32s(weight[m]);
            for n in 0..N {
                sums[m][n] = simd.mul_add_e_f32s(w, values[n], sums[m][n]);
            }
        }
    }
    *tile = sums;
}
