//! Bands of rows: how positions are cut into tasks, and how a task's source rows come into its buffer.

use std::{cell::RefCell, ops::Range};

use rayon::prelude::*;

use super::{
    geometry::{Plan, TargetPhase},
    winograd::{self, POINTS, TILE},
};

/// Values of a cache line.
const LINE: usize = 16;
/// Positions below which a task is too small for its tiles.
const FEW_POSITIONS: usize = 96;

/// Combinations of rows that are multiplied separately.
fn points(three_rows: bool) -> usize {
    if three_rows { POINTS } else { 1 }
}

/// Sizes that all tasks of a call share.
pub(super) struct Layout {
    pub(super) three_rows: bool,
    /// Position rows a picture takes, with the rows between pictures that no position uses.
    pub(super) rows_per_picture: usize,
    pub(super) rows_below: usize,
    pub(super) pitch: usize,
    /// Buffer rows of a plane, and values from one plane to the next.
    pub(super) plane: usize,
    pub(super) planes: usize,
    /// Positions of the largest task.
    pub(super) positions: usize,
    /// Target channels, rounded up to whole tiles.
    pub(super) channels: usize,
    pub(super) tile: usize,
    pub(super) bands: Vec<Range<usize>>,
    /// For each target phase, where each tap's row starts in the buffer.
    pub(super) offsets: Vec<Vec<usize>>,
}

impl Layout {
    /// Register tiles of `tile` channels and `tile_width` positions; tasks of about `task_values` values of buffer and sums,
    /// at least `workers` of them where there are rows enough.
    pub(super) fn new(
        plan: &Plan,
        batch: usize,
        three_rows: bool,
        [tile, tile_width]: [usize; 2],
        task_values: usize,
        workers: usize,
    ) -> Self {
        let (pitch, rows_below) = (plan.pitch(), if three_rows { 0 } else { plan.rows_below() });
        let rows = if three_rows { plan.rows.div_ceil(TILE) } else { plan.rows };
        let rows_per_picture = rows + rows_below;
        let points = points(three_rows);
        let planes = points * plan.source.channels * plan.source_phases.len();
        let channels = plan.target.channels.next_multiple_of(tile);
        let row_values = pitch * (planes + points * channels);
        let fitting = (task_values / row_values).max(FEW_POSITIONS.div_ceil(pitch));
        let bands: Vec<Range<usize>> = if fitting > rows_per_picture && batch >= workers {
            // Small pictures: several a task.
            let share = (fitting / rows_per_picture).min(batch.div_ceil(workers));
            (0..batch)
                .step_by(share)
                .map(|first| {
                    let last = (first + share).min(batch) - 1;
                    first * rows_per_picture..last * rows_per_picture + rows
                })
                .collect()
        } else {
            let parts = rows.div_ceil(fitting).max(workers.div_ceil(batch)).min(rows);
            (0..batch * parts)
                .map(|index| {
                    let (picture, part) = (index / parts * rows_per_picture, index % parts);
                    picture + part * rows / parts..picture + (part + 1) * rows / parts
                })
                .collect()
        };
        let most_rows = bands.iter().map(Range::len).max().unwrap_or(0);
        let positions = spread(most_rows * pitch + tile_width);
        // The last tile reads beyond the last row: its own width, and the columns that the taps reach.
        let plane = spread((most_rows + rows_below) * pitch + tile_width + pitch - plan.columns);
        let offsets = plan
            .target_phases
            .iter()
            .map(|phase| {
                let taps = if three_rows { &phase.taps[..phase.taps.len() / 3] } else { &phase.taps[..] };
                (0..plan.source.channels)
                    .flat_map(|c| {
                        taps.iter().map(move |tap| {
                            let row = if three_rows { 0 } else { tap.row };
                            (c * plan.source_phases.len() + tap.phase) * plane + row * pitch + tap.column
                        })
                    })
                    .collect()
            })
            .collect();
        Self {
            three_rows,
            rows_per_picture,
            rows_below,
            pitch,
            plane,
            planes,
            positions,
            channels,
            tile,
            bands,
            offsets,
        }
    }

    /// As [`points`].
    pub(super) fn points(&self) -> usize {
        points(self.three_rows)
    }

    /// Values of the sums of the largest task, `[point][channel][position]`.
    pub(super) fn sums(&self) -> usize {
        self.points() * self.channels * self.positions
    }

    /// The first target row that position rows before `row` (of a picture) do not write.
    pub(super) fn target_row(&self, plan: &Plan, row: usize) -> usize {
        let row = if self.three_rows { row * TILE } else { row };
        if row >= plan.rows {
            return plan.target.height;
        }
        let origin = plan.target_phases.first().map_or(0, |phase| phase.row);
        ((row * plan.target_stride) as isize + origin).clamp(0, plan.target.height as isize) as usize
    }

    /// Weights of one target phase in the order in which the tiles read them: `[tile][point][source channel][tap]` and
    /// then the tile's channels.
    pub(super) fn pack(plan: &Plan, phase: &TargetPhase, three_rows: bool, tile: usize, weight: &[f32]) -> Vec<f32> {
        let (to, from) = plan.weight_strides;
        let columns = if three_rows { phase.taps.len() / 3 } else { phase.taps.len() };
        let points = points(three_rows);
        let panel = plan.source.channels * columns * tile;
        let mut packed = vec![0f32; plan.target.channels.div_ceil(tile) * points * panel];
        packed.par_chunks_mut((points * panel).max(1)).enumerate().for_each(|(block, packed)| {
            let channels = tile.min(plan.target.channels - block * tile);
            for c in 0..plan.source.channels {
                for column in 0..columns {
                    let place = (c * columns + column) * tile;
                    for m in 0..channels {
                        let kernel = &weight[(block * tile + m) * to + c * from..];
                        if three_rows {
                            let rows = [0, 1, 2].map(|r| kernel[phase.taps[r * columns + column].weight]);
                            for (point, value) in winograd::kernel(rows).into_iter().enumerate() {
                                packed[point * panel + place + m] = value;
                            }
                        } else {
                            packed[place + m] = kernel[phase.taps[column].weight];
                        }
                    }
                }
            }
        });
        packed
    }
}

/// Value `x` of the line is value `x * stride + origin` of the source, 0 outside.
#[inline(always)]
pub(super) fn copy_line(line: &mut [f32], source: &[f32], origin: isize, stride: usize) {
    let before = ((-origin).max(0) as usize).div_ceil(stride).min(line.len());
    let reach = source.len() as isize - origin;
    let end = (if reach > 0 { (reach as usize).div_ceil(stride) } else { 0 }).clamp(before, line.len());
    line[..before].fill(0.0);
    line[end..].fill(0.0);
    let line = &mut line[before..end];
    if line.is_empty() {
        return;
    }
    let source = &source[(before as isize * stride as isize + origin) as usize..];
    if stride == 1 {
        line.copy_from_slice(&source[..line.len()]);
    } else if stride == 2 {
        // Pairs compile into vector instructions. The last value may lack its other half.
        let Some((last, line)) = line.split_last_mut() else { return };
        *last = source[2 * line.len()];
        let (pairs, _) = source.as_chunks::<2>();
        for (value, pair) in line.iter_mut().zip(pairs) {
            *value = pair[0];
        }
    } else {
        for (value, source) in line.iter_mut().zip(source.iter().step_by(stride)) {
            *value = *source;
        }
    }
}

/// `length`, or a little more: an odd number of cache lines, so that the same place of many rows falls into many sets of
/// the first cache.
fn spread(length: usize) -> usize {
    (length.div_ceil(LINE) | 1) * LINE
}

/// Where a task's source rows come from.
pub(super) struct Source<'a> {
    pub(super) plan: &'a Plan,
    pub(super) layout: &'a Layout,
    pub(super) batch: usize,
    pub(super) groups: usize,
    pub(super) group: usize,
    /// `[N, groups * channels, H, W]`.
    pub(super) values: &'a [f32],
}

impl Source<'_> {
    /// Writes the rows of `band` into `buffer`, `[plane][row]`; `lines` is room for six rows.
    #[inline(always)]
    pub(super) fn fill(&self, band: &Range<usize>, buffer: &mut [f32], lines: &mut [f32]) {
        let layout = self.layout;
        if layout.three_rows {
            self.fill_three_rows(band, buffer, lines);
        } else {
            self.fill_phases(band, buffer);
        }
        // What tiles read beyond the last row must be finite, since it is multiplied by zero.
        let end = (band.len() + layout.rows_below) * layout.pitch;
        for plane in buffer.chunks_exact_mut(layout.plane) {
            let end = end.min(plane.len());
            plane[end..].fill(0.0);
        }
    }

    /// Row `row` of channel `c` of the group, if the picture has it.
    #[inline(always)]
    fn row(&self, picture: usize, c: usize, row: isize) -> Option<&[f32]> {
        let side = self.plan.source;
        if picture >= self.batch || row < 0 || row >= side.height as isize {
            return None;
        }
        let plane = (picture * self.groups + self.group) * side.channels + c;
        Some(&self.values[plane * side.pixels() + row as usize * side.width..][..side.width])
    }

    /// Copies the rows of the band, each phase to its plane.
    #[inline(always)]
    fn fill_phases(&self, band: &Range<usize>, buffer: &mut [f32]) {
        let (plan, layout) = (self.plan, self.layout);
        let mut planes = buffer.chunks_exact_mut(layout.plane);
        for c in 0..plan.source.channels {
            for &(py, px) in &plan.source_phases {
                let Some(plane) = planes.next() else { return };
                let lines = plane.chunks_exact_mut(layout.pitch);
                for (local, line) in lines.take(band.len() + layout.rows_below).enumerate() {
                    let global = band.start + local;
                    let (picture, row) = (global / layout.rows_per_picture, global % layout.rows_per_picture);
                    let row = (row * plan.source_stride) as isize + py + plan.source_origin.0;
                    match self.row(picture, c, row) {
                        Some(source) => copy_line(line, source, px + plan.source_origin.1, plan.source_stride),
                        None => line.fill(0.0),
                    }
                }
            }
        }
    }

    /// Writes the six combinations of the rows of every tile of the band.
    #[inline(always)]
    fn fill_three_rows(&self, band: &Range<usize>, buffer: &mut [f32], lines: &mut [f32]) {
        let (plan, layout) = (self.plan, self.layout);
        let pitch = layout.pitch;
        let point = plan.source.channels * layout.plane;
        let mut points = buffer.chunks_exact_mut(point);
        let mut out: [&mut [f32]; POINTS] = std::array::from_fn(|_| points.next().unwrap_or_default());
        // Columns of the padding are combinations of zeros; the others are read where they are.
        let origin = plan.source_origin.1;
        let before = ((-origin).max(0) as usize).min(pitch);
        let first = (origin.max(0) as usize).min(plan.source.width);
        let width = (plan.source.width - first).min(pitch - before);
        let zeros = &mut lines[..width];
        zeros.fill(0.0);
        for c in 0..plan.source.channels {
            for local in 0..band.len() {
                let global = band.start + local;
                let (picture, tile) = (global / layout.rows_per_picture, global % layout.rows_per_picture);
                let rows: [&[f32]; POINTS] = std::array::from_fn(|r| {
                    let row = self.row(picture, c, (tile * TILE + r) as isize + plan.source_origin.0);
                    row.map_or(&*zeros, |row| &row[first..first + width])
                });
                let at = c * layout.plane + local * pitch;
                for point in &mut out {
                    point[at..at + before].fill(0.0);
                    point[at + before + width..at + pitch].fill(0.0);
                }
                winograd::input(rows, out.each_mut().map(|point| &mut point[at + before..]), width);
            }
        }
    }
}

/// Calls `work` with slices of the wanted sizes that start at a cache line. They keep a thread's last values, whatever
/// those were; a thread's memory for them is kept from call to call.
pub(crate) fn with_scratch<const N: usize>(sizes: [usize; N], work: impl FnOnce([&mut [f32]; N])) {
    thread_local! {
        static SCRATCH: RefCell<Vec<f32>> = const { RefCell::new(Vec::new()) };
    }
    SCRATCH.with_borrow_mut(|memory| {
        let sizes = sizes.map(|size| size.next_multiple_of(LINE));
        let wanted = sizes.iter().sum::<usize>() + LINE;
        if memory.len() < wanted {
            memory.resize(wanted, 0.0);
        }
        let start = memory.as_ptr().align_offset(LINE * size_of::<f32>()).min(LINE);
        let mut rest = &mut memory[start..];
        work(sizes.map(|size| {
            let (mine, others) = std::mem::take(&mut rest).split_at_mut(size);
            rest = others;
            mine
        }));
    });
}
