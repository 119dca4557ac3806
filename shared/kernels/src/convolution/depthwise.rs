//! Depthwise convolution: one channel in, one out, so there is nothing to share but the rows.
//!
//! A plane is copied once with its padding, cut into phases where the stride is above 1. All its positions are then one
//! row of a constant pitch, on which every tap is a constant distance; what lies between the rows is computed and left.

use pulp::{Simd, WithSimd};
use rayon::prelude::*;

use super::{
    band::{copy_line, with_scratch},
    engine::Epilogue,
    geometry::Plan,
};
use crate::simd::{dispatch, load, store};

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
    let (rows, width) = (plan.rows + plan.rows_below(), plan.target.width);
    // The zeros to the left of a row serve the row above as those to its right, where there are enough.
    let left = (-plan.source_origin.1).max(0) as usize;
    let shared = left + plan.source.width;
    let pitch = if plan.source_stride == 1 && shared >= plan.columns && plan.pitch() <= shared + left {
        shared.min(plan.pitch())
    } else {
        plan.pitch()
    };
    let block = REGISTERS * crate::convolution::engine::lanes();
    let positions = (plan.rows * pitch).next_multiple_of(block);
    // The last block reads beyond the last row what no position owns.
    let phase = rows * pitch + block + pitch;
    let taps: Vec<(usize, usize)> =
        taps.iter().map(|tap| (tap.phase * phase + tap.row * pitch + tap.column, tap.weight)).collect();
    let planes = target.par_chunks_mut(plan.target.pixels()).zip(source.par_chunks(plan.source.pixels()));
    planes.with_min_len(4).enumerate().for_each(|(index, (out, source))| {
        let channel = index % groups;
        with_scratch([plan.source_phases.len() * phase, positions], |[buffer, sums]| {
            for (buffer, &(py, px)) in buffer.chunks_exact_mut(phase).zip(&plan.source_phases) {
                for (h, line) in buffer.chunks_exact_mut(pitch).take(rows).enumerate() {
                    let row = (h * plan.source_stride) as isize + py + plan.source_origin.0;
                    if row < 0 || row >= plan.source.height as isize {
                        line.fill(0.0);
                    } else {
                        let source = &source[row as usize * plan.source.width..][..plan.source.width];
                        copy_line(line, source, px + plan.source_origin.1, plan.source_stride);
                    }
                }
                buffer[rows * pitch..][..pitch].fill(0.0);
            }
            let weight = &weight[channel * taps.len()..][..taps.len()];
            dispatch(Sums { taps: &taps, weight, buffer, sums });
            let place = index * plan.target.pixels();
            dispatch(Finish { sums, pitch, width, epilogue, channel, place, out });
        });
    });
}

struct Sums<'a> {
    /// Distance in the buffer and place in the weight.
    taps: &'a [(usize, usize)],
    weight: &'a [f32],
    buffer: &'a [f32],
    sums: &'a mut [f32],
}

impl WithSimd for Sums<'_> {
    type Output = ();

    #[inline(always)]
    fn with_simd<S: Simd>(self, simd: S) {
        for (index, out) in self.sums.chunks_exact_mut(REGISTERS * S::F32_LANES).enumerate() {
            let values = &self.buffer[index * out.len()..];
            let mut sums = [simd.splat_f32s(0.0); REGISTERS];
            for &(distance, place) in self.taps {
                let values = load::<S, REGISTERS>(simd, &values[distance..]);
                let w = simd.splat_f32s(self.weight[place]);
                for n in 0..REGISTERS {
                    sums[n] = simd.mul_add_e_f32s(w, values[n], sums[n]);
                }
            }
            store::<S, REGISTERS>(simd, out, &sums);
        }
    }
}

/// The rows without what lies between them, and what is done to them.
struct Finish<'a> {
    sums: &'a [f32],
    pitch: usize,
    width: usize,
    epilogue: Epilogue<'a>,
    channel: usize,
    place: usize,
    out: &'a mut [f32],
}

impl WithSimd for Finish<'_> {
    type Output = ();

    #[inline(always)]
    fn with_simd<S: Simd>(self, _: S) {
        for (out, sums) in self.out.chunks_exact_mut(self.width).zip(self.sums.chunks_exact(self.pitch)) {
            out.copy_from_slice(&sums[..self.width]);
        }
        self.epilogue.apply(self.channel, self.place, self.out);
    }
}
