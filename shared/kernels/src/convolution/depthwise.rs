//! Depthwise convolution: one channel in, one out, so there is nothing to share but the rows.
//!
//! A plane is copied once with its padding, cut into phases where the stride is above 1. All its positions are then one
//! row of a constant pitch, on which every tap is a constant distance; what lies between the rows is computed and left.

use pulp::{Simd, WithSimd};
use rayon::prelude::*;

use super::{
    band::{copy_line, with_scratch},
    engine::{Activation, Epilogue, lanes},
    geometry::Plan,
};
use crate::{
    elementwise::Swish,
    simd::{dispatch, load, store},
};

/// Planes of a task.
const SHARE: usize = 4;

/// Registers of sums: as many as a processor needs to be busy with while the first is on its way.
const REGISTERS: usize = 8;

/// Whether this is for [`run`].
pub(super) fn fits(plan: &Plan) -> bool {
    plan.source.channels == 1 && plan.target.channels == 1 && plan.target_stride == 1
}

/// Carries out `plan` for all planes of `source`; `weight` has `taps` values for each of `groups` channels.
pub(super) fn run(
    plan: &Plan,
    groups: usize,
    source: &[f32],
    weight: &[f32],
    epilogue: Epilogue<'_>,
    target: &mut [f32],
) {
    let taps = &plan.target_phases[0].taps;
    let rows = plan.rows + plan.rows_below();
    // The zeros to the left of a row serve the row above as those to its right, where there are enough.
    let left = (-plan.source_origin.1).max(0) as usize;
    let shared = left + plan.source.width;
    let pitch = if plan.source_stride == 1 && shared >= plan.columns && plan.pitch() <= shared + left {
        shared.min(plan.pitch())
    } else {
        plan.pitch()
    };
    let lanes = lanes();
    let block = REGISTERS * lanes;
    // As the sums are made, in blocks, and as they are read, in rows of whole registers.
    let read = plan.rows.saturating_sub(1) * pitch + plan.target.width.next_multiple_of(lanes);
    let positions = (plan.rows * pitch).next_multiple_of(block).max(read);
    // The last block reads beyond the last row what no position owns.
    let phase = rows * pitch + block + pitch;
    let taps: Vec<(usize, usize)> =
        taps.iter().map(|tap| (tap.phase * phase + tap.row * pitch + tap.column, tap.weight)).collect();
    let pixels = [plan.source.pixels(), plan.target.pixels()];
    let tasks = target.par_chunks_mut(SHARE * pixels[1]).zip(source.par_chunks(SHARE * pixels[0]));
    tasks.enumerate().for_each(|(task, (target, source))| {
        with_scratch([plan.source_phases.len() * phase, positions], |[buffer, sums]| {
            let planes = Planes { plan, rows, pitch, phase, taps: &taps, weight, epilogue, groups };
            dispatch(PlaneRun { planes, first: task * SHARE, source, target, buffer, sums });
        });
    });
}

/// What is the same for all planes.
struct Planes<'a> {
    plan: &'a Plan,
    /// Rows of the buffer, of `pitch` values each; a phase has `phase`.
    rows: usize,
    pitch: usize,
    phase: usize,
    /// Distance in the buffer and place in the weight.
    taps: &'a [(usize, usize)],
    weight: &'a [f32],
    epilogue: Epilogue<'a>,
    groups: usize,
}

/// Some planes, one after another, in the same memory.
struct PlaneRun<'a> {
    planes: Planes<'a>,
    /// Number of the first.
    first: usize,
    source: &'a [f32],
    target: &'a mut [f32],
    buffer: &'a mut [f32],
    sums: &'a mut [f32],
}

impl WithSimd for PlaneRun<'_> {
    type Output = ();

    #[inline(always)]
    fn with_simd<S: Simd>(self, simd: S) {
        let Planes { plan, groups, weight, taps, .. } = self.planes;
        // The padding, which no plane overwrites.
        self.buffer.fill(0.0);
        for (local, out) in self.target.chunks_exact_mut(plan.target.pixels()).enumerate() {
            let index = self.first + local;
            let channel = index % groups;
            self.planes.pad(simd, &self.source[local * plan.source.pixels()..], self.buffer);
            self.planes.multiply(simd, &weight[channel * taps.len()..][..taps.len()], self.buffer, self.sums);
            self.planes.write(simd, index, self.sums, out);
        }
    }
}

impl Planes<'_> {
    /// The plane at the start of `source` to its place in the buffer, phase by phase.
    #[inline(always)]
    fn pad<S: Simd>(&self, simd: S, source: &[f32], buffer: &mut [f32]) {
        let (plan, stride) = (self.plan, self.plan.source_stride);
        let (top, left) = plan.source_origin;
        let (height, width) = (plan.source.height, plan.source.width);
        for (buffer, &(py, px)) in buffer.chunks_exact_mut(self.phase).zip(&plan.source_phases) {
            // Lines whose row is one of the source's.
            let top = py + top;
            let first = ((-top).max(0) as usize).div_ceil(stride).min(self.rows);
            let end = ((height as isize - top).max(0) as usize).div_ceil(stride).clamp(first, self.rows);
            let Some(first_row) = (first * stride).checked_add_signed(top) else { continue };
            if stride > 1 {
                let rows = source[..height * width].chunks_exact(width).skip(first_row).step_by(stride);
                for (line, row) in buffer.chunks_exact_mut(self.pitch).take(end).skip(first).zip(rows) {
                    copy_line(line, row, px + left, stride);
                }
                continue;
            }
            let (before, from) = ((-left).max(0) as usize, left.max(0) as usize);
            let length = width.saturating_sub(from).min(self.pitch.saturating_sub(before));
            // In whole registers: what is beyond the row is zero, and padding, or overwritten by the next row.
            let whole = length.next_multiple_of(S::F32_LANES);
            for line in first..end {
                let row = &source[(first_row + line - first) * width + from..];
                let line = &mut buffer[line * self.pitch + before..][..whole];
                if row.len() >= whole {
                    copy_registers(simd, &row[..whole], line, length);
                } else {
                    line[..length].copy_from_slice(&row[..length]);
                    line[length..].fill(0.0);
                }
            }
        }
    }

    /// The products of a padded plane, for all its positions.
    #[inline(always)]
    fn multiply<S: Simd>(&self, simd: S, weight: &[f32], buffer: &[f32], sums: &mut [f32]) {
        let block = REGISTERS * S::F32_LANES;
        let blocks = (self.plan.rows * self.pitch).div_ceil(block);
        for (index, out) in sums.chunks_exact_mut(block).take(blocks).enumerate() {
            let values = &buffer[index * block..];
            let mut sums = [simd.splat_f32s(0.0); REGISTERS];
            for &(distance, place) in self.taps {
                let values = load::<S, REGISTERS>(simd, &values[distance..]);
                let w = simd.splat_f32s(weight[place]);
                for n in 0..REGISTERS {
                    sums[n] = simd.mul_add_e_f32s(w, values[n], sums[n]);
                }
            }
            store::<S, REGISTERS>(simd, out, &sums);
        }
    }

    /// The rows without what lies between them, and what is done to them.
    #[inline(always)]
    fn write<S: Simd>(&self, simd: S, index: usize, sums: &[f32], out: &mut [f32]) {
        let (width, pixels) = (self.plan.target.width, self.plan.target.pixels());
        let Epilogue { bias, add, activation } = self.epilogue;
        let bias = simd.splat_f32s(bias.map_or(0.0, |bias| bias[index % self.groups]));
        let add = add.map(|add| &add[index * pixels..][..pixels]);
        // In whole registers: what is beyond the row is overwritten by the next.
        let whole = width.next_multiple_of(S::F32_LANES);
        for row in 0..self.plan.target.height {
            let (sums, _) = S::as_simd_f32s(&sums[row * self.pitch..][..whole]);
            let start = row * width;
            if start + whole > pixels || add.is_some() {
                let mut out = &mut out[start..start + width];
                let mut add = add.map(|add| &add[start..start + width]);
                for sum in sums {
                    let lanes = out.len().min(S::F32_LANES);
                    let mut value = simd.add_f32s(*sum, bias);
                    if let Some(add) = &mut add {
                        value = simd.add_f32s(value, simd.partial_load_f32s(&add[..lanes]));
                        *add = &add[lanes..];
                    }
                    let (now, rest) = out.split_at_mut(lanes);
                    simd.partial_store_f32s(now, activation.limited(simd, value));
                    out = rest;
                }
                continue;
            }
            let (out, _) = S::as_mut_simd_f32s(&mut out[start..start + whole]);
            for (out, sum) in out.iter_mut().zip(sums) {
                *out = activation.limited(simd, simd.add_f32s(*sum, bias));
            }
        }
        if activation == Activation::Swish {
            Swish(out).with_simd(simd);
        }
    }
}

/// `line = row`, in whole registers; zero from `length` on, which lies in the last.
#[inline(always)]
fn copy_registers<S: Simd>(simd: S, row: &[f32], line: &mut [f32], length: usize) {
    let (row, _) = S::as_simd_f32s(row);
    let (line, _) = S::as_mut_simd_f32s(line);
    if let (Some((last_row, row)), Some((last, line))) = (row.split_last(), line.split_last_mut()) {
        for (line, row) in line.iter_mut().zip(row) {
            *line = *row;
        }
        let used = length - row.len() * S::F32_LANES;
        let mask = simd.mask_between_m32s(0, used as u32);
        *last = simd.select_f32s(mask.mask(), *last_row, simd.splat_f32s(0.0));
    }
}
