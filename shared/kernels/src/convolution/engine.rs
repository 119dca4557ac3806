//! Carries out a [`Plan`]: rows into a buffer of one pitch, products over flattened positions, sums out to the target.
//!
//! The positions are cut into bands of rows, one task each. A task copies the source rows it needs into its buffer
//! (padded, cut into phases, or combined by [`winograd`]), multiplies them with the packed weights, tile by tile with the
//! sums in registers, and writes the sums where they belong, with bias, second summand and activation on the way. Every
//! sum is taken in the same order however the bands are cut, so the result does not depend on the number of threads.

use std::ops::Range;

use pulp::{Simd, WithSimd};
use rayon::prelude::*;

use super::{
    band::{Layout, Source, with_scratch},
    geometry::Plan,
    tiles::{self, with_product_tile},
    winograd::{self, POINTS, TILE},
};
use crate::{
    elementwise::Swish,
    simd::{dispatch, load, store},
};

/// Taps whose products are summed before the sums leave the registers: their rows and weights stay in the first cache.
const CHUNK: usize = 256;
/// Values of buffer and sums a task should not exceed, about the second cache.
const TASK_VALUES: usize = 96 * 1024;

/// What is done to a sum before it is written.
#[derive(Clone, Copy, Debug, Default)]
pub struct Epilogue<'a> {
    /// Added to each channel of the output, `[C_out]`.
    pub bias: Option<&'a [f32]>,
    /// Added to the output, of the output's shape.
    pub add: Option<&'a [f32]>,
    /// Applied last.
    pub activation: Activation,
}

impl Epilogue<'_> {
    /// To values of `channel` that stand at `place` of the output.
    #[inline(always)]
    pub(super) fn apply(&self, channel: usize, place: usize, values: &mut [f32]) {
        Finish::new(self, channel, place, values.len()).apply(values);
    }
}

/// A function of one value.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Activation {
    /// The value itself.
    #[default]
    None,
    /// `max(x, 0)`.
    Relu,
    /// `min(max(x, 0), 6)`.
    Relu6,
    /// `x / (1 + exp(-x))`.
    Swish,
}

impl Activation {
    #[inline(always)]
    fn limits(self) -> (f32, f32) {
        match self {
            Self::None | Self::Swish => (f32::NEG_INFINITY, f32::INFINITY),
            Self::Relu => (0.0, f32::INFINITY),
            Self::Relu6 => (0.0, 6.0),
        }
    }

    /// Its limits, to a register. Comparisons, not minimum and maximum, so that a NaN stays one.
    #[inline(always)]
    pub(crate) fn limited<S: Simd>(self, simd: S, value: S::f32s) -> S::f32s {
        if matches!(self, Self::None | Self::Swish) {
            return value;
        }
        let (low, high) = self.limits();
        let (low, high) = (simd.splat_f32s(low), simd.splat_f32s(high));
        let value = simd.select_f32s(simd.less_than_f32s(value, low), low, value);
        simd.select_f32s(simd.less_than_f32s(high, value), high, value)
    }
}

/// Lanes of the machine's f32 registers.
pub(crate) fn lanes() -> usize {
    struct Lanes;
    impl WithSimd for Lanes {
        type Output = usize;
        #[inline(always)]
        fn with_simd<S: Simd>(self, _: S) -> usize {
            S::F32_LANES
        }
    }
    dispatch(Lanes)
}

/// One group's worth of pointers into the whole.
pub(super) struct Operands<'a> {
    pub(super) batch: usize,
    pub(super) groups: usize,
    /// `[N, groups * source channels, H, W]`.
    pub(super) source: &'a [f32],
    pub(super) weight: &'a Packed,
    pub(super) epilogue: Epilogue<'a>,
}

/// Weights in the order in which the tiles read them.
#[derive(Clone, Debug)]
pub(super) struct Packed {
    three_rows: bool,
    tile: usize,
    /// By group, then by target phase.
    values: Vec<Vec<Vec<f32>>>,
}

impl Packed {
    /// `weight_group` values of `weight` are a group's.
    pub(super) fn new(plan: &Plan, groups: usize, weight: &[f32], weight_group: usize) -> Self {
        let three_rows = three_rows_pay(plan);
        let [tile, _] = tiles::product(lanes(), plan.target.channels);
        let values = (0..groups)
            .into_par_iter()
            .map(|group| {
                let weight = &weight[group * weight_group..];
                let phases = plan.target_phases.iter();
                phases.map(|phase| Layout::pack(plan, phase, three_rows, tile, weight)).collect()
            })
            .collect();
        Self { three_rows, tile, values }
    }
}

/// Whether the three-row algorithm pays: enough channels and positions must share the transforms. The number of pictures
/// plays no part, so that a picture's result does not depend on those beside it.
pub(super) fn three_rows_pay(plan: &Plan) -> bool {
    plan.has_three_rows()
        && plan.source.channels >= 8
        && plan.target.channels >= 8
        && plan.rows >= 4
        && plan.rows * plan.columns >= 128
}

/// Carries out `plan` for every picture and group, writing all of `target` `[N, groups * target channels, H, W]`.
pub(super) fn run(plan: &Plan, operands: &Operands<'_>, target: &mut [f32]) {
    let &Packed { three_rows, tile, .. } = operands.weight;
    let workers = rayon::current_num_threads().div_ceil(operands.groups);
    let sizes = [tile, tiles::product(lanes(), plan.target.channels)[1] * lanes()];
    let layout = Layout::new(plan, operands.batch, three_rows, sizes, TASK_VALUES, workers);

    // The target rows of each task, as slices that cannot overlap.
    let count = layout.bands.len();
    let mut tasks: Vec<BandTask<'_>> = (0..operands.groups * count)
        .map(|index| BandTask { group: index / count, band: layout.bands[index % count].clone(), rows: vec![] })
        .collect();
    let channels = operands.groups * plan.target.channels;
    for (index, mut plane) in target.chunks_exact_mut(plan.target.pixels()).enumerate() {
        let (picture, group) = (index / channels, index % channels / plan.target.channels);
        let (first, end) = (picture * layout.rows_per_picture, (picture + 1) * layout.rows_per_picture);
        let mut taken = 0;
        let from = layout.bands.partition_point(|band| band.end <= first);
        for (task, band) in layout.bands.iter().enumerate().skip(from).take_while(|(_, band)| band.start < end) {
            let last = layout.target_row(plan, band.end.min(end) - first);
            let (mine, rest) = plane.split_at_mut((last - taken) * plan.target.width);
            tasks[group * count + task].rows.push(TargetRows { index, first: taken, values: mine });
            (plane, taken) = (rest, last);
        }
    }
    let sizes = [layout.planes * layout.plane, layout.sums(), POINTS * layout.pitch];
    tasks.into_par_iter().for_each(|task| {
        with_scratch(sizes, |[buffer, sums, lines]| {
            let packed = &operands.weight.values[task.group];
            dispatch(BandRun { plan, layout: &layout, operands, packed, task, buffer, sums, lines });
        });
    });
}

/// Rows of one plane of the target.
struct TargetRows<'a> {
    /// Plane in the whole target.
    index: usize,
    /// First row.
    first: usize,
    values: &'a mut [f32],
}

/// What one thread does at a time.
struct BandTask<'a> {
    group: usize,
    band: Range<usize>,
    /// By picture, then by channel.
    rows: Vec<TargetRows<'a>>,
}

struct BandRun<'a, 't> {
    plan: &'a Plan,
    layout: &'a Layout,
    operands: &'a Operands<'a>,
    packed: &'a [Vec<f32>],
    task: BandTask<'t>,
    buffer: &'a mut [f32],
    sums: &'a mut [f32],
    lines: &'a mut [f32],
}

impl WithSimd for BandRun<'_, '_> {
    type Output = ();

    #[inline(always)]
    fn with_simd<S: Simd>(mut self, simd: S) {
        let source = Source {
            plan: self.plan,
            layout: self.layout,
            batch: self.operands.batch,
            groups: self.operands.groups,
            group: self.task.group,
            values: self.operands.source,
        };
        source.fill(&self.task.band, self.buffer, self.lines);
        let positions = self.task.band.len() * self.layout.pitch;
        for index in 0..self.plan.target_phases.len() {
            with_product_tile!((S::F32_LANES, self.plan.target.channels), |M, N| self
                .multiply::<S, M, N>(simd, index, positions));
            if self.layout.three_rows {
                self.write_three_rows();
            } else {
                self.write(index);
            }
        }
    }
}

impl BandRun<'_, '_> {
    /// Sums of products for all positions of the band, `[point][channel][position]`.
    #[inline(always)]
    fn multiply<S: Simd, const M: usize, const N: usize>(&mut self, simd: S, phase: usize, positions: usize) {
        let layout = self.layout;
        let (points, planes) = (layout.points(), layout.planes / layout.points());
        let offsets = &layout.offsets[phase][..];
        assert_eq!(M, layout.tile, "the weight was packed for another tile");
        let panel = offsets.len() * M;
        let width = N * S::F32_LANES;
        let blocks = layout.channels / M;
        for point in 0..points {
            let rows = &self.buffer[point * planes * layout.plane..][..planes * layout.plane];
            let packed = &self.packed[phase];
            let sums =
                &mut self.sums[point * layout.channels * layout.positions..][..layout.channels * layout.positions];
            if offsets.is_empty() {
                sums.fill(0.0);
            }
            let mut chunk = 0;
            while chunk < offsets.len() {
                let end = (chunk + CHUNK).min(offsets.len());
                let taps = &offsets[chunk..end];
                let mut x = 0;
                while x < positions {
                    for block in 0..blocks {
                        let weights = &packed[(block * points + point) * panel..][chunk * M..end * M];
                        let sums = &mut sums[block * M * layout.positions..][..M * layout.positions];
                        let mut tile = [[simd.splat_f32s(0.0); N]; M];
                        if chunk > 0 {
                            for m in 0..M {
                                tile[m] = load::<S, N>(simd, &sums[m * layout.positions + x..]);
                            }
                        }
                        product::<S, M, N>(simd, weights, taps, rows, x, &mut tile);
                        for m in 0..M {
                            store::<S, N>(simd, &mut sums[m * layout.positions + x..], &tile[m]);
                        }
                    }
                    x += width;
                }
                chunk = end;
            }
        }
    }

    /// Sums to their places in the target.
    #[inline(always)]
    fn write(&mut self, phase: usize) {
        let (plan, layout) = (self.plan, self.layout);
        let (stride, width) = (plan.target_stride as isize, plan.target.width as isize);
        let (row_origin, column_origin) = (plan.target_phases[phase].row, plan.target_phases[phase].column);
        // Positions whose column lies inside the target.
        let from = ((stride - 1 - column_origin).max(0) / stride) as usize;
        let to = (((width - column_origin + stride - 1) / stride).max(0) as usize).min(plan.columns);
        for target in &mut self.task.rows {
            let plane_channel = target.index % (self.operands.groups * plan.target.channels);
            let picture = target.index / (self.operands.groups * plan.target.channels);
            let sums = &self.sums[plane_channel % plan.target.channels * layout.positions..][..layout.positions];
            let rows = target.values.len() / plan.target.width;
            for local in 0..rows {
                let row = (target.first + local) as isize - row_origin;
                if row < 0 || row % stride != 0 || from >= to {
                    continue;
                }
                let position_row = picture * layout.rows_per_picture + (row / stride) as usize;
                let at = (position_row - self.task.band.start) * layout.pitch;
                let line = &sums[at..at + plan.columns];
                let out = &mut target.values[local * plan.target.width..][..plan.target.width];
                let place = target.index * plan.target.pixels() + (target.first + local) * plan.target.width;
                let finish = Finish::new(&self.operands.epilogue, plane_channel, place, plan.target.width);
                let start = (from as isize * stride + column_origin) as usize;
                finish.write(&line[from..to], out, start, plan.target_stride);
            }
        }
    }

    /// Four target rows from the six sums of each tile.
    #[inline(always)]
    fn write_three_rows(&mut self) {
        let (plan, layout) = (self.plan, self.layout);
        let pitch = layout.pitch;
        // Positions and target columns are the same here, and a tile's rows begin at a multiple of four.
        let width = plan.target.width;
        for target in &mut self.task.rows {
            let plane_channel = target.index % (self.operands.groups * plan.target.channels);
            let picture = target.index / (self.operands.groups * plan.target.channels);
            let channel = plane_channel % plan.target.channels;
            for (local, out) in target.values.chunks_mut(TILE * width).enumerate() {
                let row = target.first + local * TILE;
                let tile = picture * layout.rows_per_picture + row / TILE - self.task.band.start;
                let sums: [&[f32]; POINTS] = std::array::from_fn(|point| {
                    &self.sums[(point * layout.channels + channel) * layout.positions + tile * pitch..][..width]
                });
                // Rows below the target go to the scratch lines.
                let mut targets = out.chunks_exact_mut(width).chain(self.lines.chunks_exact_mut(width));
                let rows: [&mut [f32]; TILE] = std::array::from_fn(|_| targets.next().unwrap_or_default());
                winograd::output(sums, rows, width);
                for (r, out) in out.chunks_exact_mut(width).enumerate() {
                    let place = target.index * plan.target.pixels() + (row + r) * width;
                    self.operands.epilogue.apply(plane_channel, place, out);
                }
            }
        }
    }
}

/// The epilogue of one row.
struct Finish<'a> {
    bias: f32,
    add: Option<&'a [f32]>,
    low: f32,
    high: f32,
    swish: bool,
    plain: bool,
}

impl<'a> Finish<'a> {
    #[inline(always)]
    fn new(epilogue: &Epilogue<'a>, channel: usize, place: usize, width: usize) -> Self {
        let (low, high) = epilogue.activation.limits();
        Self {
            bias: epilogue.bias.map_or(0.0, |bias| bias[channel]),
            add: epilogue.add.map(|add| &add[place..place + width]),
            low,
            high,
            swish: epilogue.activation == Activation::Swish,
            plain: epilogue.bias.is_none() && epilogue.add.is_none() && epilogue.activation == Activation::None,
        }
    }

    /// The limits of the activation. Written so that a NaN stays one: it must not be hidden from whoever looks for it.
    #[inline(always)]
    fn limit(&self, value: f32) -> f32 {
        if value < self.low {
            self.low
        } else if value > self.high {
            self.high
        } else {
            value
        }
    }

    /// To sums that are in their place.
    #[inline(always)]
    fn apply(&self, out: &mut [f32]) {
        if self.plain {
            return;
        }
        match self.add {
            Some(add) => {
                for (out, add) in out.iter_mut().zip(add) {
                    *out = self.limit(*out + self.bias + add);
                }
            }
            None => {
                for out in &mut *out {
                    *out = self.limit(*out + self.bias);
                }
            }
        }
        if self.swish {
            dispatch(Swish(out));
        }
    }

    #[inline(always)]
    fn write(&self, sums: &[f32], out: &mut [f32], start: usize, stride: usize) {
        if stride > 1 {
            // A gradient to the input, which has a bias at the most.
            debug_assert!(self.add.is_none() && !self.swish && (self.low, self.high) == Activation::None.limits());
            for (out, sum) in out[start..].iter_mut().step_by(stride).zip(sums) {
                *out = sum + self.bias;
            }
            return;
        }
        let out = &mut out[start..start + sums.len()];
        out.copy_from_slice(sums);
        let add = self.add.map(|add| &add[start..start + sums.len()]);
        Self { add, ..*self }.apply(out);
    }
}

/// `tile += weights * rows` over the taps: `M` channels at `N` registers of positions from `x`.
#[inline(always)]
fn product<S: Simd, const M: usize, const N: usize>(
    simd: S,
    weights: &[f32],
    taps: &[usize],
    rows: &[f32],
    x: usize,
    tile: &mut [[S::f32s; N]; M],
) {
    let mut sums = *tile;
    let (weights, _) = weights.as_chunks::<M>();
    for (weight, &offset) in weights.iter().zip(taps) {
        let values = load::<S, N>(simd, &rows[offset + x..]);
        for m in 0..M {
            let w = simd.splat_f32s(weight[m]);
            for n in 0..N {
                sums[m][n] = simd.mul_add_e_f32s(w, values[n], sums[m][n]);
            }
        }
    }
    *tile = sums;
}
