//! The gradient of a convolution to its weight: for each weight, the product of two long rows.
//!
//! The same bands and buffers as in [`engine`](super::engine), with the output's gradient laid out at the same pitch and
//! zeros where no position is. A tile of some output channels and some taps is summed over the positions of a band in
//! registers; the lanes are added at the end of the band. Bands are dealt into parts by the sizes alone, each part
//! has its own sum, and the parts are added in order, so the result does not depend on the number of threads.

use std::ops::Range;

use pulp::{Simd, WithSimd};
use rayon::prelude::*;

use super::{
    band::{Layout, Source, with_scratch},
    engine::three_rows_pay,
    geometry::{Convolution, Plan},
    tiles::{self, with_gradient_tile},
    winograd::{self, POINTS, TILE},
};
use crate::simd::{dispatch, load};

/// Values of a task's buffers: rows are read once and in order, so the third cache is near enough.
const TASK_VALUES: usize = 768 * 1024;
/// Positions whose products are summed before the sums leave the registers: their rows stay in the first cache.
const CHUNK: usize = 1024;
/// Tasks a group is cut into by bands, and the most values their sums may take; tasks it is cut into by output channels,
/// each of which needs the input's rows anew.
const PARTS: usize = 16;
const CUTS: usize = 4;
const SUM_VALUES: usize = 2 * 1024 * 1024;

/// Writes the gradient `[C_out, C_in / groups, K_h, K_w]`.
pub(super) fn run(geometry: &Convolution, plan: &Plan, x: &[f32], gradient: &[f32], out: &mut [f32]) {
    let three_rows = three_rows_pay(plan);
    let channels = plan.target.channels;
    let [block, taps_block] = tiles::gradient(super::engine::lanes(), channels);
    let length_of = |layout: &Layout| layout.points() * layout.channels * layout.offsets[0].len();

    // A large weight is cut by output channels, so that its sums are there once; a small one by bands.
    let mut share = plan.clone();
    let mut layout = Layout::new(&share, geometry.batch, three_rows, [block, super::engine::lanes()], TASK_VALUES, 1);
    let parts = layout.bands.len().min(PARTS).min((SUM_VALUES / length_of(&layout)).max(1));
    let cuts = (CUTS / parts).min(channels.div_ceil(block));
    if cuts > 1 {
        share.target.channels = channels.div_ceil(cuts).next_multiple_of(block);
        layout = Layout::new(&share, geometry.batch, three_rows, [block, super::engine::lanes()], TASK_VALUES, 1);
    }
    let parts = parts.min(layout.bands.len());
    let cuts = channels.div_ceil(share.target.channels);

    let taps = layout.offsets[0].len();
    // Room for whole tiles; the taps beyond the last repeat the first and are dropped.
    let padded_taps = taps.next_multiple_of(taps_block);
    let offsets: Vec<usize> =
        layout.offsets[0].iter().copied().chain(std::iter::repeat_n(0, padded_taps - taps)).collect();
    let length = layout.points() * layout.channels * padded_taps;
    let sizes = [layout.planes * layout.plane, layout.sums(), POINTS * layout.pitch];
    let mut sums: Vec<Vec<f32>> = (0..geometry.groups * cuts * parts)
        .into_par_iter()
        .map(|index| {
            let (group, cut, part) = (index / parts / cuts, index / parts % cuts, index % parts);
            let bands = part * layout.bands.len() / parts..(part + 1) * layout.bands.len() / parts;
            let mut sums = vec![0f32; length];
            with_scratch(sizes, |[buffer, rows, lines]| {
                for band in &layout.bands[bands] {
                    let source = Source {
                        plan,
                        layout: &layout,
                        batch: geometry.batch,
                        groups: geometry.groups,
                        group,
                        values: x,
                    };
                    let first = cut * share.target.channels;
                    let task = GradientTask {
                        source,
                        offsets: &offsets,
                        gradient,
                        channels: first..(first + share.target.channels).min(channels),
                        band: band.clone(),
                        buffer,
                        rows,
                        lines,
                        sums: &mut sums,
                    };
                    dispatch(task);
                }
            });
            sums
        })
        .collect();
    for same in sums.chunks_mut(parts) {
        let (total, others) = same.split_at_mut(1);
        for other in others {
            total[0].par_iter_mut().with_min_len(1 << 14).zip(&*other).for_each(|(sum, value)| *sum += value);
        }
    }
    let columns = taps / plan.source.channels;
    let plan_taps = &plan.target_phases[0].taps;
    out.par_chunks_mut(plan.source.channels * geometry.taps()).with_min_len(4).enumerate().for_each(|(index, out)| {
        let (group, k) = (index / channels, index % channels);
        let (cut, k) = (k / share.target.channels, k % share.target.channels);
        let sums = &sums[(group * cuts + cut) * parts];
        let point = |point: usize| &sums[(point * layout.channels + k) * padded_taps..][..taps];
        if !three_rows {
            for (kernel, sums) in out.chunks_exact_mut(geometry.taps()).zip(point(0).chunks_exact(columns)) {
                for (tap, sum) in plan_taps.iter().zip(sums) {
                    kernel[tap.weight] = *sum;
                }
            }
            return;
        }
        let points: [&[f32]; POINTS] = std::array::from_fn(point);
        for (c, kernel) in out.chunks_exact_mut(geometry.taps()).enumerate() {
            for column in 0..columns {
                let rows = winograd::kernel_gradient(points.map(|point| point[c * columns + column]));
                for (r, value) in rows.into_iter().enumerate() {
                    kernel[plan_taps[r * columns + column].weight] = value;
                }
            }
        }
    });
}

struct GradientTask<'a> {
    source: Source<'a>,
    offsets: &'a [usize],
    gradient: &'a [f32],
    /// Of the group.
    channels: Range<usize>,
    band: Range<usize>,
    buffer: &'a mut [f32],
    /// The gradient's rows, `[point][channel][position]`.
    rows: &'a mut [f32],
    lines: &'a mut [f32],
    sums: &'a mut [f32],
}

impl WithSimd for GradientTask<'_> {
    type Output = ();

    #[inline(always)]
    fn with_simd<S: Simd>(mut self, simd: S) {
        self.source.fill(&self.band, self.buffer, self.lines);
        self.fill_gradient();
        with_gradient_tile!((S::F32_LANES, self.source.plan.target.channels), |M, N| self.multiply::<S, M, N>(simd));
    }
}

impl GradientTask<'_> {
    /// The gradient's rows at the buffer's pitch, zero wherever no position is.
    #[inline(always)]
    fn fill_gradient(&mut self) {
        let Source { plan, layout, groups, group, .. } = self.source;
        let (pitch, width) = (layout.pitch, plan.columns);
        for (index, k) in self.channels.clone().enumerate() {
            for (local, global) in self.band.clone().enumerate() {
                let (picture, row) = (global / layout.rows_per_picture, global % layout.rows_per_picture);
                let plane = ((picture * groups + group) * plan.target.channels + k) * plan.target.pixels();
                let at = index * layout.positions + local * pitch;
                let source = |row: usize| {
                    if row < plan.rows { &self.gradient[plane + row * width..][..width] } else { &[] }
                };
                if !layout.three_rows {
                    let line = &mut self.rows[at..at + pitch];
                    let values = source(row);
                    line[..values.len()].copy_from_slice(values);
                    line[values.len()..].fill(0.0);
                    continue;
                }
                let zeros = &mut self.lines[..width];
                zeros.fill(0.0);
                let rows: [&[f32]; TILE] = std::array::from_fn(|r| match source(row * TILE + r) {
                    [] => &*zeros,
                    values => values,
                });
                let mut points = self.rows.chunks_exact_mut(layout.channels * layout.positions);
                let mut out: [&mut [f32]; POINTS] = std::array::from_fn(|_| points.next().unwrap_or_default());
                for point in &mut out {
                    point[at + width..at + pitch].fill(0.0);
                }
                winograd::gradient(rows, out.each_mut().map(|point| &mut point[at..]), width);
            }
        }
        // Positions beyond the band, up to a whole register.
        let end = self.band.len() * pitch;
        for point in self.rows.chunks_exact_mut(layout.channels * layout.positions) {
            for line in point.chunks_exact_mut(layout.positions) {
                let end = end.min(line.len());
                line[end..].fill(0.0);
            }
        }
    }

    #[inline(always)]
    fn multiply<S: Simd, const M: usize, const N: usize>(&mut self, simd: S) {
        let layout = self.source.layout;
        let planes = layout.planes / layout.points();
        let positions = (self.band.len() * layout.pitch).next_multiple_of(S::F32_LANES);
        let taps = self.offsets.len();
        let blocks = self.channels.len().div_ceil(M);
        for point in 0..layout.points() {
            let buffer = &self.buffer[point * planes * layout.plane..][..planes * layout.plane];
            let rows = &self.rows[point * layout.channels * layout.positions..][..layout.channels * layout.positions];
            let sums = &mut self.sums[point * layout.channels * taps..][..layout.channels * taps];
            let mut start = 0;
            while start < positions {
                let length = CHUNK.min(positions - start);
                for block in 0..blocks {
                    let mut gradients = [rows; M];
                    for m in 0..M {
                        gradients[m] = &rows[(block * M + m) * layout.positions + start..][..length];
                    }
                    let mut tap = 0;
                    while tap < taps {
                        let mut values = [buffer; N];
                        for n in 0..N {
                            values[n] = &buffer[self.offsets[tap + n] + start..][..length];
                        }
                        let totals = dot::<S, M, N>(simd, gradients, values, length);
                        for m in 0..M {
                            for n in 0..N {
                                sums[(block * M + m) * taps + tap + n] += simd.reduce_sum_f32s(totals[m][n]);
                            }
                        }
                        tap += N;
                    }
                }
                start += length;
            }
        }
    }
}

/// Products of every one of `M` rows with every one of `N`, summed lane by lane.
#[inline(always)]
fn dot<S: Simd, const M: usize, const N: usize>(
    simd: S,
    rows: [&[f32]; M],
    values: [&[f32]; N],
    length: usize,
) -> [[S::f32s; N]; M] {
    let mut sums = [[simd.splat_f32s(0.0); N]; M];
    let mut x = 0;
    while x < length {
        let mut v = [simd.splat_f32s(0.0); N];
        for n in 0..N {
            [v[n]] = load::<S, 1>(simd, &values[n][x..]);
        }
        for m in 0..M {
            let [g] = load::<S, 1>(simd, &rows[m][x..]);
            for n in 0..N {
                sums[m][n] = simd.mul_add_e_f32s(g, v[n], sums[m][n]);
            }
        }
        x += S::F32_LANES;
    }
    sums
}
