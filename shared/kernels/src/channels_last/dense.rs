//! Convolution of all channels with all channels.
//!
//! Three ways. A kernel of one pixel reads the input where it lies. A kernel of three rows halves its products by
//! `winograd`: a band's rows are turned into six combinations, multiplied point by point, and the sums turned into four
//! rows. Any other kernel reads a copy of the band's rows with its padding written out, or the input itself if it has none.

use pulp::{Simd, WithSimd};
use rayon::prelude::*;

use super::tile::{Block, Panels, Reads, Sink, Store, finish, multiply};
use crate::{
    convolution::{
        Activation, Convolution,
        band::with_scratch,
        lanes,
        winograd::{self, POINTS, TILE},
    },
    simd::dispatch,
};

/// Values that a task's copies and sums should not exceed, about half of the second cache.
const TASK_VALUES: usize = 96 * 1024;
/// Pixels of a task without copies; enough for the weights to be worth loading.
const TASK_PIXELS: usize = 768;
/// Weights that the first cache holds beside the pixels.
const FEW_WEIGHTS: usize = 4 * 1024;
/// Pixels that are then finished together; whole tiles of nearly any height.
const FEW_PIXELS: usize = 84;

/// Weights, and all that can be known of a run before it: sizes and places are worked out once.
#[derive(Debug)]
pub(super) struct Dense {
    geometry: Convolution,
    panels: Panels,
    three_rows: bool,
    /// Whether the input is read where it lies.
    in_place: bool,
    /// Whether an output pixel reads the input's pixel of the same place alone, so that where rows end does not matter.
    pointwise: bool,
    /// Values of an input row with its padding.
    pitch: usize,
    /// Beginning of each segment of the first pixel of a row, from the first input row that it reads.
    segments: Vec<usize>,
    /// Values of a segment.
    length: usize,
}

fn three_rows_pay(geometry: &Convolution) -> bool {
    geometry.kernel_height == 3
        && geometry.stride == 1
        && geometry.dilation == 1
        && geometry.channels_in >= 8
        && geometry.channels_out >= 8
        && geometry.height_out() >= TILE
}

impl Dense {
    pub(super) fn new(geometry: &Convolution, weight: &[f32], bias: Option<&[f32]>) -> Self {
        let &Convolution { channels_in, channels_out, kernel_height, kernel_width, .. } = geometry;
        let taps = kernel_height * kernel_width;
        let tap = |channel_out: usize, channel_in: usize, row: usize, column: usize| {
            weight[(channel_out * channels_in + channel_in) * taps + row * kernel_width + column]
        };
        let three_rows = three_rows_pay(geometry);
        let panels = if three_rows {
            let depth = kernel_width * channels_in;
            Panels::new(lanes(), channels_out, POINTS * depth, bias, |k, channel| {
                let (point, column, channel_in) = (k / depth, k % depth / channels_in, k % channels_in);
                winograd::kernel(std::array::from_fn(|row| tap(channel, channel_in, row, column)))[point]
            })
        } else {
            Panels::new(lanes(), channels_out, taps * channels_in, bias, |k, channel| {
                let (place, channel_in) = (k / channels_in, k % channels_in);
                tap(channel, channel_in, place / kernel_width, place % kernel_width)
            })
        };
        let mut geometry = *geometry;
        let padding = geometry.padding;
        let in_place = [padding.top, padding.left, padding.bottom, padding.right] == [0; 4] && !three_rows;
        let pointwise = in_place && geometry.kernel_height * geometry.kernel_width * geometry.stride == 1;
        if pointwise {
            // A band is one row of any number of pixels.
            (geometry.height, geometry.width) = (geometry.height * geometry.width, 1);
        }
        let pitch = (geometry.width + padding.left + padding.right) * channels_in;
        // Without dilation a row of the kernel reads values that lie side by side.
        let (columns, length) = match geometry.dilation {
            1 => (1, kernel_width * channels_in),
            _ => (kernel_width, channels_in),
        };
        let rows = if three_rows { 1 } else { kernel_height };
        let segments = (0..rows)
            .flat_map(|row| (0..columns).map(move |column| (row * pitch + column * channels_in) * geometry.dilation))
            .collect();
        Self { geometry, panels, three_rows, in_place, pointwise, pitch, segments, length }
    }

    pub(super) fn run(&self, x: &[f32], add: Option<&[f32]>, activation: Activation, out: &mut [f32]) {
        let picture = [self.geometry.input_length(), self.geometry.output_length()];
        let row = self.geometry.width_out() * self.geometry.channels_out;
        let band = self.rows_of_a_band() * row;
        let pictures = out.par_chunks_mut(picture[1]).zip(x.par_chunks(picture[0])).enumerate();
        pictures.for_each(|(picture_index, (out, x))| {
            out.par_chunks_mut(band).enumerate().for_each(|(index, out)| {
                let start = picture_index * picture[1] + index * band;
                let add = add.map(|add| &add[start..start + out.len()]);
                let rows = out.len() / row;
                with_scratch(self.scratch(rows), |scratch| {
                    let first = index * band / row;
                    dispatch(Band { dense: self, x, first, rows, add, activation, out, scratch });
                });
            });
        });
    }

    fn input_rows(&self, rows: usize) -> usize {
        (rows - 1) * self.geometry.stride + (self.geometry.kernel_height - 1) * self.geometry.dilation + 1
    }

    /// Values of the sums of one point of one tile of rows, in the widest block.
    fn sums(&self) -> usize {
        let widest = self.panels.blocks().iter().map(|block| block.registers).max().unwrap_or(1);
        self.geometry.width_out() * widest * lanes()
    }

    /// Copies and sums of a band of `rows` output rows.
    fn scratch(&self, rows: usize) -> [usize; 2] {
        if self.three_rows {
            let tiles = rows.div_ceil(TILE);
            [tiles * POINTS * self.pitch, tiles * POINTS * self.sums()]
        } else if self.in_place {
            [0, 0]
        } else {
            [self.input_rows(rows) * self.pitch, 0]
        }
    }

    /// Output rows that a task takes: what the cache holds, and no more than leaves work for every thread.
    fn rows_of_a_band(&self) -> usize {
        let height = self.geometry.height_out();
        let fair = height.div_ceil(rayon::current_num_threads());
        if self.three_rows {
            let [copies, sums] = self.scratch(TILE);
            let tiles = (TASK_VALUES / (copies + sums)).max(1);
            // Whole tiles, so that a band's border does not change which rows are summed together.
            return (tiles * TILE).min(fair.next_multiple_of(TILE));
        }
        let cached = if self.in_place {
            TASK_PIXELS / self.geometry.width_out()
        } else {
            let more = self.geometry.stride * self.pitch;
            1 + TASK_VALUES.saturating_sub(self.input_rows(1) * self.pitch) / more
        };
        cached.min(fair).max(1)
    }
}

/// Some output rows of one picture.
struct Band<'a> {
    dense: &'a Dense,
    /// The picture.
    x: &'a [f32],
    first: usize,
    rows: usize,
    add: Option<&'a [f32]>,
    activation: Activation,
    out: &'a mut [f32],
    scratch: [&'a mut [f32]; 2],
}

impl WithSimd for Band<'_> {
    type Output = ();

    #[inline(always)]
    fn with_simd<S: Simd>(mut self, simd: S) {
        if self.dense.three_rows {
            self.three_rows(simd);
        } else {
            self.direct(simd);
        }
    }
}

impl Band<'_> {
    #[inline(always)]
    fn direct<S: Simd>(&mut self, simd: S) {
        let Dense { geometry, panels, pitch, segments, length, .. } = self.dense;
        let first = self.first * geometry.stride;
        let [copies, _] = &mut self.scratch;
        let source: &[f32] = if self.dense.in_place {
            &self.x[first * pitch..]
        } else {
            for (row, copy) in copies.chunks_exact_mut(*pitch).take(self.dense.input_rows(self.rows)).enumerate() {
                pad(geometry, self.x, first + row, copy);
            }
            copies
        };
        let (rows, width) = if self.dense.pointwise { (1, self.rows) } else { (self.rows, geometry.width_out()) };
        let row_values = width * geometry.channels_out;
        // If the first cache holds all weights, the output is written pixel by pixel, else the weights are read block by block.
        let pixels = if panels.values() <= FEW_WEIGHTS { FEW_PIXELS } else { width };
        for row in 0..rows {
            for first in (0..width).step_by(pixels) {
                let pixels = pixels.min(width - first);
                let step = geometry.stride * geometry.channels_in;
                let source = &source[row * geometry.stride * pitch + first * step..];
                let start = row * row_values + first * geometry.channels_out;
                let place = start..start + pixels * geometry.channels_out;
                for &block in panels.blocks() {
                    let reads = Reads { source, segments, length: *length, step };
                    let mut store = Store {
                        out: &mut self.out[place.clone()],
                        step: geometry.channels_out,
                        first: block.channel,
                        width: panels.width(block),
                        bias: panels.bias(block),
                        add: self.add.map(|add| &add[place.clone()]),
                        activation: self.activation,
                    };
                    multiply(simd, reads, pixels, panels, block, 0, &mut store);
                }
            }
        }
    }

    #[inline(always)]
    fn three_rows<S: Simd>(&mut self, simd: S) {
        let Dense { geometry, panels, pitch, segments, length, .. } = self.dense;
        let [copies, sums] = &mut self.scratch;
        let tiles = self.rows.div_ceil(TILE);
        // `[point][tile][pitch]`
        for tile in 0..tiles {
            combine(geometry, self.x, self.first + tile * TILE, copies, tile * pitch, tiles * pitch);
        }
        let width = geometry.width_out();
        for &block in panels.blocks() {
            let values = block.registers * S::F32_LANES;
            // `[point][tile][pixel][channel]`
            for point in 0..POINTS {
                for tile in 0..tiles {
                    let at = (point * tiles + tile) * pitch;
                    let source = &copies[at..at + pitch];
                    let reads = Reads { source, segments, length: *length, step: geometry.channels_in };
                    let sums = &mut sums[(point * tiles + tile) * width * values..][..width * values];
                    multiply(simd, reads, width, panels, block, point * length, &mut Raw(sums));
                }
            }
            for tile in 0..tiles {
                write_rows(
                    simd,
                    Tile { sums, tiles, tile, values, width },
                    (panels, block),
                    geometry.channels_out,
                    self.add,
                    self.activation,
                    &mut self.out[..],
                );
            }
        }
    }
}

/// Sums as they are, in whole registers.
struct Raw<'a>(&'a mut [f32]);

impl<S: Simd> Sink<S> for Raw<'_> {
    #[inline(always)]
    fn start(&self, simd: S, _: usize) -> S::f32s {
        simd.splat_f32s(0.0)
    }

    /// It is in the cache.
    #[inline(always)]
    fn ahead<const M: usize, const N: usize>(&self, _: usize) {}

    #[inline(always)]
    fn take<const M: usize, const N: usize>(&mut self, _: S, pixel: usize, sums: &[[S::f32s; N]; M]) {
        let (out, _) = S::as_mut_simd_f32s(self.0);
        let (out, _) = out.as_chunks_mut::<N>();
        out[pixel..pixel + M].copy_from_slice(sums);
    }
}

/// The sums of four output rows.
struct Tile<'a> {
    sums: &'a [f32],
    tiles: usize,
    tile: usize,
    /// Of a pixel.
    values: usize,
    width: usize,
}

/// Four output rows from the sums of six points.
#[inline(always)]
fn write_rows<S: Simd>(
    simd: S,
    Tile { sums, tiles, tile, values, width }: Tile<'_>,
    (panels, block): (&Panels, Block),
    channels: usize,
    add: Option<&[f32]>,
    activation: Activation,
    out: &mut [f32],
) {
    let points: [&[S::f32s]; POINTS] = std::array::from_fn(|point| {
        let (registers, _) = S::as_simd_f32s(&sums[(point * tiles + tile) * width * values..][..width * values]);
        registers
    });
    let (bias, _) = S::as_simd_f32s(panels.bias(block));
    let (two, four, eight) = (simd.splat_f32s(2.0), simd.splat_f32s(4.0), simd.splat_f32s(8.0));
    let row_values = width * channels;
    let first_row = tile * TILE;
    let rows = (out.len() / row_values - first_row).min(TILE);
    let block_width = panels.width(block);
    for x in 0..width {
        for (n, &shift) in bias.iter().enumerate() {
            let index = x * bias.len() + n;
            let m: [S::f32s; POINTS] = std::array::from_fn(|point| points[point][index]);
            let (sum1, difference1) = (simd.add_f32s(m[1], m[2]), simd.sub_f32s(m[1], m[2]));
            let (sum2, difference2) = (simd.add_f32s(m[3], m[4]), simd.sub_f32s(m[3], m[4]));
            let outputs = [
                simd.add_f32s(simd.add_f32s(m[0], sum1), sum2),
                simd.mul_add_e_f32s(two, difference2, difference1),
                simd.mul_add_e_f32s(four, sum2, sum1),
                simd.add_f32s(simd.mul_add_e_f32s(eight, difference2, difference1), m[5]),
            ];
            for (row, &value) in outputs.iter().enumerate().take(rows) {
                let at = (first_row + row) * row_values + x * channels + block.channel;
                let place = at..at + block_width;
                let add = add.map(|add| &add[place.clone()]);
                let value = simd.add_f32s(value, shift);
                finish(simd, value, add, activation, n * S::F32_LANES, &mut out[place]);
            }
        }
    }
}

/// Row `row` of the padded input.
#[inline(always)]
fn pad(geometry: &Convolution, x: &[f32], row: usize, copy: &mut [f32]) {
    let values = geometry.width * geometry.channels_in;
    match row.checked_sub(geometry.padding.top).filter(|&row| row < geometry.height) {
        None => copy.fill(0.0),
        Some(row) => {
            let left = geometry.padding.left * geometry.channels_in;
            copy[..left].fill(0.0);
            copy[left..left + values].copy_from_slice(&x[row * values..][..values]);
            copy[left + values..].fill(0.0);
        }
    }
}

/// The six combinations of the rows that output rows from `first` on read; point `p` begins at `at + p * distance`.
#[inline(always)]
fn combine(geometry: &Convolution, x: &[f32], first: usize, copies: &mut [f32], at: usize, distance: usize) {
    const ZEROS: [f32; 256] = [0.0; 256];
    let values = geometry.width * geometry.channels_in;
    let left = geometry.padding.left * geometry.channels_in;
    let right = geometry.padding.right * geometry.channels_in;
    let rows: [Option<&[f32]>; POINTS] = std::array::from_fn(|row| {
        let row = (first + row).checked_sub(geometry.padding.top).filter(|&row| row < geometry.height)?;
        Some(&x[row * values..][..values])
    });
    let mut rest = &mut copies[at..];
    let mut points: [&mut [f32]; POINTS] = Default::default();
    for (point, out) in points.iter_mut().enumerate() {
        let taken = if point + 1 < POINTS { distance } else { rest.len() };
        let (mine, others) = std::mem::take(&mut rest).split_at_mut(taken);
        rest = others;
        let (edge, mine) = mine[..left + values + right].split_at_mut(left);
        edge.fill(0.0);
        let (mine, edge) = mine.split_at_mut(values);
        edge.fill(0.0);
        *out = mine;
    }
    if let [Some(a), Some(b), Some(c), Some(d), Some(e), Some(f)] = rows {
        winograd::input([a, b, c, d, e, f], points, values);
        return;
    }
    // At the border some rows are zero, a few values at a time.
    let mut start = 0;
    while start < values {
        let end = (start + ZEROS.len()).min(values);
        let rows = rows.map(|row| row.map_or(&ZEROS[..end - start], |row| &row[start..end]));
        winograd::input(rows, points.each_mut().map(|point| &mut point[start..end]), end - start);
        start = end;
    }
}
