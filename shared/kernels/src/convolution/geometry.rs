//! The sizes of a convolution, and its three directions as one thing: a list of taps over flattened rows.
//!
//! Output position `(y, x)` of a convolution reads, for each tap `(r, q)` of the kernel, the padded input at
//! `(y * stride + r * dilation, x * stride + q * dilation)`. Cut the padded input into `stride * stride` phases (every
//! stride-th row and column), give all rows one pitch and lay them end to end: then a tap is a constant distance in one
//! long row, whatever the position. The gradient to the input is the same with the roles exchanged: its *outputs* come
//! in phases, and each phase is a convolution of stride 1 over the gradient.

use crate::KernelError;

/// Rows of zeros around a picture.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub struct Padding {
    /// Above.
    pub top: usize,
    /// On the left.
    pub left: usize,
    /// Below.
    pub bottom: usize,
    /// On the right.
    pub right: usize,
}

impl Padding {
    /// The same on all four sides.
    pub const fn all(size: usize) -> Self {
        Self { top: size, left: size, bottom: size, right: size }
    }

    /// TensorFlow's `SAME`: the output has `ceil(size / stride)` pixels, the odd row of zeros goes below and right.
    pub fn same(size: usize, kernel: usize, stride: usize) -> Self {
        let total = ((size.div_ceil(stride) - 1) * stride + kernel).saturating_sub(size);
        Self { top: total / 2, left: total / 2, bottom: total.div_ceil(2), right: total.div_ceil(2) }
    }
}

/// All sizes of a convolution of `[N, C_in, H, W]` with `[C_out, C_in / groups, K_h, K_w]`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Convolution {
    /// Pictures, N.
    pub batch: usize,
    /// Channels of the input.
    pub channels_in: usize,
    /// Channels of the output.
    pub channels_out: usize,
    /// Rows of the input.
    pub height: usize,
    /// Columns of the input.
    pub width: usize,
    /// Rows of the kernel.
    pub kernel_height: usize,
    /// Columns of the kernel.
    pub kernel_width: usize,
    /// Step, down and across.
    pub stride: usize,
    /// Distance of the kernel's taps, down and across.
    pub dilation: usize,
    /// Zeros around the input.
    pub padding: Padding,
    /// Groups of channels that do not see each other.
    pub groups: usize,
}

impl Convolution {
    /// Refuses sizes that contradict each other.
    ///
    /// # Errors
    /// Zero sizes, channels that the groups do not divide, a kernel larger than the padded input.
    pub fn check(&self) -> Result<(), KernelError> {
        let refuse = |why: &str| Err(KernelError::Shape(format!("convolution: {why}: {self:?}")));
        if self.groups == 0 || self.stride == 0 || self.dilation == 0 {
            return refuse("stride, dilation and groups must be above 0");
        }
        if !self.channels_in.is_multiple_of(self.groups) || !self.channels_out.is_multiple_of(self.groups) {
            return refuse("the groups must divide the channels");
        }
        let sizes = [self.batch, self.channels_in, self.channels_out, self.height, self.width];
        if sizes.contains(&0) || self.kernel_height * self.kernel_width == 0 {
            return refuse("a size is 0");
        }
        if self.height + self.padding.top + self.padding.bottom < self.reach(self.kernel_height)
            || self.width + self.padding.left + self.padding.right < self.reach(self.kernel_width)
        {
            return refuse("the padded input is smaller than the kernel");
        }
        Ok(())
    }

    /// Pixels from the first to the last tap of a kernel of `size`.
    fn reach(&self, size: usize) -> usize {
        (size - 1) * self.dilation + 1
    }

    /// Rows of the output.
    pub fn height_out(&self) -> usize {
        (self.height + self.padding.top + self.padding.bottom - self.reach(self.kernel_height)) / self.stride + 1
    }

    /// Columns of the output.
    pub fn width_out(&self) -> usize {
        (self.width + self.padding.left + self.padding.right - self.reach(self.kernel_width)) / self.stride + 1
    }

    /// Values of the input.
    pub fn input_length(&self) -> usize {
        self.batch * self.channels_in * self.height * self.width
    }

    /// Values of the output.
    pub fn output_length(&self) -> usize {
        self.batch * self.channels_out * self.height_out() * self.width_out()
    }

    /// Values of the weight.
    pub fn weight_length(&self) -> usize {
        self.channels_out * (self.channels_in / self.groups) * self.taps()
    }

    pub(super) fn taps(&self) -> usize {
        self.kernel_height * self.kernel_width
    }

    /// The convolution as the engine sees it.
    pub(super) fn forward_plan(&self) -> Plan {
        let (s, d) = (self.stride, self.dilation);
        let phases: Vec<(usize, usize)> = distinct((0..self.kernel_height).map(|r| r * d % s))
            .into_iter()
            .flat_map(|py| distinct((0..self.kernel_width).map(|q| q * d % s)).into_iter().map(move |px| (py, px)))
            .collect();
        let mut taps = vec![];
        for r in 0..self.kernel_height {
            for q in 0..self.kernel_width {
                let phase = (r * d % s, q * d % s);
                let phase = phases.iter().position(|&p| p == phase).unwrap_or_default();
                taps.push(Tap { phase, row: r * d / s, column: q * d / s, weight: r * self.kernel_width + q });
            }
        }
        Plan {
            source: Side { channels: self.channels_in / self.groups, height: self.height, width: self.width },
            target: Side {
                channels: self.channels_out / self.groups,
                height: self.height_out(),
                width: self.width_out(),
            },
            rows: self.height_out(),
            columns: self.width_out(),
            source_stride: s,
            source_phases: phases.iter().map(|p| (p.0 as isize, p.1 as isize)).collect(),
            source_origin: (-(self.padding.top as isize), -(self.padding.left as isize)),
            target_stride: 1,
            target_phases: vec![TargetPhase { row: 0, column: 0, taps }],
            weight_strides: (self.channels_in / self.groups * self.taps(), self.taps()),
        }
    }

    /// The gradient to the input as the engine sees it: source is the output's gradient, target the input's.
    pub(super) fn input_gradient_plan(&self) -> Plan {
        let (s, d) = (self.stride, self.dilation);
        let (top, left) = (self.padding.top, self.padding.left);
        let (first_row, first_column) = (top / s, left / s);
        // Of padded row u * s + a, the taps with r * d = a (mod s) read the gradient at u - (r * d - a) / s.
        let phase_taps = |kernel: usize, a: usize| -> Vec<(usize, usize)> {
            (0..kernel).filter(|t| t * d % s == a).map(|t| (t, t * d / s)).collect()
        };
        let furthest_row = (self.kernel_height - 1) * d / s;
        let furthest_column = (self.kernel_width - 1) * d / s;
        let mut target_phases = vec![];
        for a in 0..s {
            for b in 0..s {
                let mut taps = vec![];
                for (r, row) in phase_taps(self.kernel_height, a) {
                    for (q, column) in phase_taps(self.kernel_width, b) {
                        taps.push(Tap {
                            phase: 0,
                            row: furthest_row - row,
                            column: furthest_column - column,
                            weight: r * self.kernel_width + q,
                        });
                    }
                }
                // In ascending order of rows, as in the forward direction.
                taps.sort_by_key(|tap| (tap.row, tap.column));
                target_phases.push(TargetPhase {
                    row: (first_row * s + a) as isize - top as isize,
                    column: (first_column * s + b) as isize - left as isize,
                    taps,
                });
            }
        }
        Plan {
            source: Side {
                channels: self.channels_out / self.groups,
                height: self.height_out(),
                width: self.width_out(),
            },
            target: Side { channels: self.channels_in / self.groups, height: self.height, width: self.width },
            rows: (top + self.height - 1) / s - first_row + 1,
            columns: (left + self.width - 1) / s - first_column + 1,
            source_stride: 1,
            source_phases: vec![(0, 0)],
            source_origin: (
                first_row as isize - furthest_row as isize,
                first_column as isize - furthest_column as isize,
            ),
            target_stride: s,
            target_phases,
            weight_strides: (self.taps(), self.channels_in / self.groups * self.taps()),
        }
    }
}

fn distinct(values: impl Iterator<Item = usize>) -> Vec<usize> {
    let mut values: Vec<usize> = values.collect();
    values.sort_unstable();
    values.dedup();
    values
}

/// Channels of one group, rows and columns of one picture.
#[derive(Clone, Copy, Debug)]
pub(super) struct Side {
    pub(super) channels: usize,
    pub(super) height: usize,
    pub(super) width: usize,
}

impl Side {
    pub(super) fn pixels(&self) -> usize {
        self.height * self.width
    }
}

/// One multiplication: where in the source relative to the position, and with which weight.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Tap {
    /// Index in [`Plan::source_phases`].
    pub(super) phase: usize,
    /// Rows below the position.
    pub(super) row: usize,
    /// Columns to the right of the position.
    pub(super) column: usize,
    /// Place in the kernel.
    pub(super) weight: usize,
}

/// Every `target_stride`-th row and column of the target.
#[derive(Clone, Debug)]
pub(super) struct TargetPhase {
    /// Target row of position row 0; may lie outside.
    pub(super) row: isize,
    /// Target column of position column 0; may lie outside.
    pub(super) column: isize,
    pub(super) taps: Vec<Tap>,
}

/// A convolution in either direction, of one group.
#[derive(Clone, Debug)]
pub(super) struct Plan {
    pub(super) source: Side,
    pub(super) target: Side,
    /// Position rows and columns.
    pub(super) rows: usize,
    pub(super) columns: usize,
    /// Buffer row `h` of phase `(py, px)` is source row `h * source_stride + py + source_origin.0`; columns likewise.
    pub(super) source_stride: usize,
    pub(super) source_phases: Vec<(isize, isize)>,
    pub(super) source_origin: (isize, isize),
    /// Position row `u` of a target phase is target row `u * target_stride + phase.row`; columns likewise.
    pub(super) target_stride: usize,
    pub(super) target_phases: Vec<TargetPhase>,
    /// Distance in the weight from one target channel to the next, and from one source channel to the next.
    pub(super) weight_strides: (usize, usize),
}

impl Plan {
    /// Rows that the lowest tap reaches below its position.
    pub(super) fn rows_below(&self) -> usize {
        self.all_taps().map(|tap| tap.row).max().unwrap_or(0)
    }

    /// Distance from one buffer row to the next.
    pub(super) fn pitch(&self) -> usize {
        self.columns + self.all_taps().map(|tap| tap.column).max().unwrap_or(0)
    }

    fn all_taps(&self) -> impl Iterator<Item = &Tap> {
        self.target_phases.iter().flat_map(|phase| &phase.taps)
    }

    /// Three adjacent kernel rows, stride 1: what the minimal filtering of [`super::winograd`] can do.
    pub(super) fn has_three_rows(&self) -> bool {
        let [phase] = self.target_phases.as_slice() else { return false };
        let [first, ..] = phase.taps.as_slice() else { return false };
        let columns = phase.taps.iter().filter(|tap| tap.row == first.row).count();
        self.source_phases.len() == 1
            && self.source_stride == 1
            && self.target_stride == 1
            && phase.taps.len() == 3 * columns
            && phase
                .taps
                .iter()
                .enumerate()
                .all(|(i, tap)| tap.row == i / columns && tap.column == phase.taps[i % columns].column)
    }

    /// No neighbour is read: the picture is one long row.
    pub(super) fn is_pointwise(&self) -> bool {
        let [phase] = self.target_phases.as_slice() else { return false };
        self.source_stride == 1
            && self.target_stride == 1
            && self.source_origin == (0, 0)
            && phase.taps.len() == 1
            && (self.source.height, self.source.width) == (self.rows, self.columns)
            && (self.target.height, self.target.width) == (self.rows, self.columns)
    }

    /// Makes a pointwise plan's rows long, whatever the picture's are: short rows are many copies.
    pub(super) fn flatten(&mut self) {
        /// Rows are no longer than this, so that bands can be cut between them.
        const LONGEST: usize = 128;
        let pixels = self.source.pixels();
        let width = (1..=LONGEST.min(pixels)).rev().find(|width| pixels.is_multiple_of(*width)).unwrap_or(pixels);
        if width < self.columns {
            return;
        }
        for side in [&mut self.source, &mut self.target] {
            (side.height, side.width) = (pixels / width, width);
        }
        (self.rows, self.columns) = (pixels / width, width);
    }
}
