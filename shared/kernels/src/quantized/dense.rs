//! Convolutions of groups of channels, of which one is the usual number.
//!
//! A task takes a band of output rows. It copies the input rows of the band into its scratch with the padding written out,
//! so that a kernel row's values are one segment, and so that no inner loop asks for a border. A convolution of single
//! pixels with nothing around them needs no copy: its input is one long row.

use rayon::prelude::*;

use super::{
    Geometry,
    instructions::{InstructionSet, Instructions, Requantization, Work},
    memory::{Target, with_scratch},
    panels::{Panels, Unpacked},
    product::{Reads, Writes, multiply},
};

/// Bytes of input that a task is to take, at most: some of a second-level cache.
const TASK_BYTES: usize = 128 << 10;

/// Weights and sizes of a convolution whose groups are not the channels.
#[derive(Debug)]
pub(super) struct Dense {
    geometry: Geometry,
    instructions: InstructionSet,
    /// One for each group.
    groups: Vec<Panels>,
    /// Where the segments of an output pixel begin in the scratch, from its first value on.
    segments: Vec<usize>,
    fours: usize,
    /// Bytes of a row of the scratch.
    pitch: usize,
    zero_point: u8,
    requantization: Requantization,
}

impl Dense {
    pub(super) fn new(
        geometry: &Geometry,
        instructions: InstructionSet,
        weight: &[i8],
        bias: &[i32],
        multipliers: &[f32],
        zero_points: [u8; 2],
    ) -> Self {
        let g = *geometry;
        let (inner, outer) = (g.channels_in / g.groups, g.channels_out / g.groups);
        let pitch = (g.padding.left + g.width + g.padding.right) * inner;
        let length = if g.dilation == 1 { g.kernel_width * inner } else { inner };
        let columns = g.kernel_width * inner / length;
        let segments: Vec<usize> = (0..g.kernel_height)
            .flat_map(|r| (0..columns).map(move |q| r * g.dilation * pitch + q * g.dilation * inner))
            .collect();
        let fours = length.div_ceil(4);
        let taps = g.kernel_height * g.kernel_width;
        let groups = (0..g.groups).map(|group| {
            let channels = group * outer..(group + 1) * outer;
            let weight = &weight[group * outer * inner * taps..][..outer * inner * taps];
            let unpacked = Unpacked {
                channels: outer,
                fours: segments.len() * fours,
                registers: 4,
                weight: |channel, place: usize| {
                    let (segment, place) = (place / (4 * fours), place % (4 * fours));
                    if place >= length {
                        return 0;
                    }
                    let (tap, c) = (segment / columns * g.kernel_width + segment % columns, place % inner);
                    weight[(channel * inner + c) * taps + tap + place / inner]
                },
                bias: &bias[channels.clone()],
                multipliers: &multipliers[channels],
                zero_point: zero_points[0],
            };
            unpacked.pack(instructions)
        });
        let groups = groups.collect();
        Self {
            geometry: g,
            instructions,
            groups,
            segments,
            fours,
            pitch,
            zero_point: zero_points[0],
            requantization: Requantization::new(zero_points[1]),
        }
    }

    /// Whether the input can be read where it is, as one long row.
    fn in_place(&self) -> bool {
        let g = &self.geometry;
        let padding = g.padding.top + g.padding.left + g.padding.bottom + g.padding.right;
        g.kernel_height * g.kernel_width * g.stride * g.groups == 1 && padding == 0 && g.channels_in.is_multiple_of(4)
    }

    /// Where outputs go, from the first on.
    fn writes(&self, target: Target, step: usize) -> Writes {
        Writes { target, start: 0, step, requantization: self.requantization }
    }

    pub(super) fn run(&self, batch: usize, x: &[u8], out: &mut [u8]) {
        let g = &self.geometry;
        let target = Target::new(out);
        let workers = rayon::current_num_threads();
        let in_place = self.in_place();
        // Rows that can be shared out, in each of so many pictures; of pixels, if they are read in place.
        let (pictures, rows, row_bytes) = if in_place {
            (1, batch * g.height * g.width, g.channels_in)
        } else {
            (batch, g.height_out(), g.stride * self.pitch)
        };
        let fitting = (TASK_BYTES / row_bytes).max(1);
        let bands = rows.div_ceil(fitting).max(workers.div_ceil(pictures)).min(rows);
        // Where there are fewer rows than threads the output channels are shared out too.
        let parts = workers.div_ceil(pictures * bands * g.groups).min(self.groups[0].blocks().len());
        let tasks = pictures * bands * parts * g.groups;
        let task = |task: usize| {
            let (group, task) = (task % g.groups, task / g.groups);
            let (part, task) = (task % parts, task / parts);
            let (band, picture) = (task % bands, task / bands);
            let blocks = self.groups[group].blocks().len();
            let blocks = [part * blocks / parts, (part + 1) * blocks / parts];
            let rows = [band * rows / bands, (band + 1) * rows / bands];
            if in_place {
                self.instructions.run(InPlace { dense: self, x, target, blocks, pixels: rows });
            } else {
                let lines = (rows[1] - rows[0] - 1) * g.stride + (g.kernel_height - 1) * g.dilation + 1;
                // The last four values may go on behind the last row.
                with_scratch(lines * self.pitch + 3, |scratch| {
                    self.instructions.run(Task {
                        dense: self,
                        x,
                        target,
                        scratch,
                        picture,
                        group,
                        blocks,
                        rows,
                        lines,
                    });
                });
            }
        };
        if workers == 1 {
            (0..tasks).for_each(task);
        } else {
            (0..tasks).into_par_iter().for_each(task);
        }
    }
}

/// Some pixels of a convolution that reads them where they are, and some blocks of output channels; no two of them write
/// the same bytes.
struct InPlace<'a> {
    dense: &'a Dense,
    x: &'a [u8],
    target: Target,
    blocks: [usize; 2],
    pixels: [usize; 2],
}

impl Work for InPlace<'_> {
    type Output = ();

    #[inline(always)]
    unsafe fn run<I: Instructions>(self) {
        let (dense, [from, to]) = (self.dense, self.pixels);
        let (step, out) = (dense.geometry.channels_in, dense.geometry.channels_out);
        let reads = Reads { source: self.x, segments: &dense.segments, fours: dense.fours, step };
        let writes = Writes { start: from * out, ..dense.writes(self.target, out) };
        for block in &dense.groups[0].blocks()[self.blocks[0]..self.blocks[1]] {
            // SAFETY: the caller's; no two write the same bytes.
            unsafe { multiply::<I>(reads, from * step, to - from, &dense.groups[0], *block, writes) };
        }
    }
}

/// A band of output rows and some blocks of output channels; no two of them write the same bytes.
struct Task<'a> {
    dense: &'a Dense,
    x: &'a [u8],
    target: Target,
    scratch: &'a mut [u8],
    picture: usize,
    group: usize,
    blocks: [usize; 2],
    rows: [usize; 2],
    /// Rows of the padded input that the band reads.
    lines: usize,
}

impl Work for Task<'_> {
    type Output = ();

    #[inline(always)]
    unsafe fn run<I: Instructions>(mut self) {
        self.copy();
        let (dense, g) = (self.dense, &self.dense.geometry);
        let ([from, to], panels) = (self.rows, &dense.groups[self.group]);
        let (width, outer) = (g.width_out(), g.channels_out / g.groups);
        let step = g.stride * (g.channels_in / g.groups);
        let reads = Reads { source: self.scratch, segments: &dense.segments, fours: dense.fours, step };
        let writes = dense.writes(self.target, g.channels_out);
        for block in &panels.blocks()[self.blocks[0]..self.blocks[1]] {
            for row in from..to {
                let start = (self.picture * g.height_out() + row) * width * g.channels_out + self.group * outer;
                let (writes, first) = (Writes { start, ..writes }, (row - from) * g.stride * dense.pitch);
                // SAFETY: the caller's; no two write the same bytes.
                unsafe { multiply::<I>(reads, first, width, panels, *block, writes) };
            }
        }
    }
}

impl Task<'_> {
    /// Writes the band's input rows, with their padding, as rows of `pitch`.
    #[inline(always)]
    fn copy(&mut self) {
        let (dense, g) = (self.dense, &self.dense.geometry);
        let inner = g.channels_in / g.groups;
        let first = (self.rows[0] * g.stride) as isize - g.padding.top as isize;
        for (row, line) in self.scratch.chunks_exact_mut(dense.pitch).take(self.lines).enumerate() {
            let row = first + row as isize;
            if row < 0 || row >= g.height as isize {
                line.fill(dense.zero_point);
                continue;
            }
            let place = (self.picture * g.height + row as usize) * g.width * g.channels_in;
            let source = &self.x[place..][..g.width * g.channels_in];
            let (left, rest) = line.split_at_mut(g.padding.left * inner);
            let (middle, right) = rest.split_at_mut(g.width * inner);
            left.fill(dense.zero_point);
            right.fill(dense.zero_point);
            if g.groups == 1 {
                middle.copy_from_slice(source);
            } else {
                for (to, from) in middle.chunks_exact_mut(inner).zip(source.chunks_exact(g.channels_in)) {
                    to.copy_from_slice(&from[self.group * inner..][..inner]);
                }
            }
        }
    }
}
