//! Depthwise convolution of stride 1: one channel in, one out, so there is nothing to share but the rows.
//!
//! A plane is copied once with its padding. Two output rows are summed at a time in registers, since two adjacent rows
//! read the same input rows but one, and go straight to the output.

use pulp::{Simd, WithSimd};
use rayon::prelude::*;

use super::{
    band::{copy_line, with_scratch},
    engine::Epilogue,
    geometry::{Plan, Tap},
};
use crate::simd::{dispatch, load, store};

/// Whether this is for [`run`]: the taps of each kernel row are adjacent rows of one phase.
pub(super) fn fits(plan: &Plan) -> bool {
    plan.source.channels == 1
        && plan.target.channels == 1
        && plan.source_stride == 1
        && plan.target_stride == 1
        && plan.target.width >= 8
}

/// Carries out `plan` for all `planes` of `source`; `weight` has `taps` values for each of `groups` channels.
pub(super) fn run(
    plan: &Plan,
    groups: usize,
    source: &[f32],
    weight: &[f32],
    epilogue: Epilogue<'_>,
    target: &mut [f32],
) {
    let phase = &plan.target_phases[0];
    let (pitch, rows) = (plan.pitch(), plan.rows + plan.rows_below());
    let taps = phase.taps.len();
    // Kernel rows by their distance; a dilated kernel has none at most distances.
    let by_row: Vec<&[Tap]> = (0..=plan.rows_below())
        .map(|row| {
            let start = phase.taps.partition_point(|tap| tap.row < row);
            let end = phase.taps.partition_point(|tap| tap.row <= row);
            &phase.taps[start..end]
        })
        .collect();
    let planes = target.par_chunks_mut(plan.target.pixels()).zip(source.par_chunks(plan.source.pixels()));
    planes.enumerate().for_each(|(index, (out, source))| {
        let channel = index % groups;
        with_scratch([rows * pitch], |[buffer]| {
            for (h, line) in buffer.chunks_exact_mut(pitch).take(rows).enumerate() {
                let row = h as isize + plan.source_origin.0;
                if row < 0 || row >= plan.source.height as isize {
                    line.fill(0.0);
                } else {
                    let source = &source[row as usize * plan.source.width..][..plan.source.width];
                    copy_line(line, source, plan.source_origin.1, 1);
                }
            }
            let place = index * plan.target.pixels();
            dispatch(Rows {
                by_row: &by_row,
                weight: &weight[channel * taps..][..taps],
                buffer,
                pitch,
                width: plan.target.width,
                out,
            });
            epilogue.apply(channel, place, out);
        });
    });
}

struct Rows<'a> {
    by_row: &'a [&'a [Tap]],
    weight: &'a [f32],
    buffer: &'a [f32],
    pitch: usize,
    width: usize,
    out: &'a mut [f32],
}

impl WithSimd for Rows<'_> {
    type Output = ();

    #[inline(always)]
    fn with_simd<S: Simd>(self, simd: S) {
        let Self { by_row, weight, buffer, pitch, width, out } = self;
        for (pair, out) in out.chunks_mut(2 * width).enumerate() {
            let above = &buffer[2 * pair * pitch..];
            let (first, second) = out.split_at_mut(width);
            let mut x = 0;
            // Whole blocks; the last ones lie over those before, so that the edge needs no other code.
            for block in [4, 1] {
                let columns = block * S::F32_LANES;
                while x + columns <= width || (block == 1 && x < width && width >= columns) {
                    let at = x.min(width - columns);
                    if block == 4 {
                        two_rows::<S, 4>(simd, by_row, weight, above, pitch, at, first, second);
                    } else {
                        two_rows::<S, 1>(simd, by_row, weight, above, pitch, at, first, second);
                    }
                    x += columns;
                }
            }
            // Rows shorter than a register.
            while x < width {
                for (y, line) in [&mut *first, &mut *second].into_iter().enumerate() {
                    let Some(value) = line.get_mut(x) else { continue };
                    *value = 0.0;
                    for taps in by_row {
                        for tap in *taps {
                            *value += weight[tap.weight] * above[(y + tap.row) * pitch + tap.column + x];
                        }
                    }
                }
                x += 1;
            }
        }
    }
}

/// `N` registers of two output rows at column `x`; the second is left out where there is none.
#[inline(always)]
#[allow(clippy::too_many_arguments)]
fn two_rows<S: Simd, const N: usize>(
    simd: S,
    by_row: &[&[Tap]],
    weight: &[f32],
    above: &[f32],
    pitch: usize,
    x: usize,
    first: &mut [f32],
    second: &mut [f32],
) {
    let mut sums = [[simd.splat_f32s(0.0); N]; 2];
    if second.is_empty() {
        for taps in by_row {
            for tap in *taps {
                let values = load::<S, N>(simd, &above[tap.row * pitch + tap.column + x..]);
                let w = simd.splat_f32s(weight[tap.weight]);
                for n in 0..N {
                    sums[0][n] = simd.mul_add_e_f32s(w, values[n], sums[0][n]);
                }
            }
        }
        return store::<S, N>(simd, &mut first[x..], &sums[0]);
    }
    // Of the buffer's row `row` the first output row takes the kernel's row `row`, the second its row `row - 1`.
    let mut before: &[Tap] = &[];
    for row in 0..=by_row.len() {
        let here = by_row.get(row).copied().unwrap_or(&[]);
        let line = &above[row * pitch + x..];
        if here.len() == before.len() {
            for (tap, up) in here.iter().zip(before) {
                let values = load::<S, N>(simd, &line[tap.column..]);
                let (w, u) = (simd.splat_f32s(weight[tap.weight]), simd.splat_f32s(weight[up.weight]));
                for n in 0..N {
                    sums[0][n] = simd.mul_add_e_f32s(w, values[n], sums[0][n]);
                    sums[1][n] = simd.mul_add_e_f32s(u, values[n], sums[1][n]);
                }
            }
        } else {
            for (taps, sum) in [here, before].into_iter().zip(&mut sums) {
                for tap in taps {
                    let values = load::<S, N>(simd, &line[tap.column..]);
                    let w = simd.splat_f32s(weight[tap.weight]);
                    for n in 0..N {
                        sum[n] = simd.mul_add_e_f32s(w, values[n], sum[n]);
                    }
                }
            }
        }
        before = here;
    }
    store::<S, N>(simd, &mut first[x..], &sums[0]);
    store::<S, N>(simd, &mut second[x..], &sums[1]);
}
