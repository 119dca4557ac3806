//! Channels that stay apart, a cache line of channels at a time.
//!
//! The rows that a kernel reads lie in a ring, a line of channels of every pixel side by side, with their padding: so the first cache holds
//! them whatever the number of channels, and all distances are known when this is compiled. They are copied there, or *made* there: an
//! inverted residual block (Sandler et al. 2018, figure 3) widens its channels by a convolution of single pixels before it filters
//! them, and that wide picture, the largest of its net, never reaches memory.

use std::{marker::PhantomData, ops::Range};

use pulp::{Simd, WithSimd};
use rayon::prelude::*;

use super::{
    aligned::Aligned,
    tile::{Reads, activated, product},
};
use crate::{
    convolution::{Activation, Convolution, band::with_scratch},
    simd::{dispatch, prefetch, prefetch_line},
};

/// Channels that are filtered together: a cache line.
const LINE: usize = 16;
type Line = [f32; LINE];

#[derive(Debug)]
pub(super) struct Depthwise {
    /// Of one picture.
    geometry: Convolution,
    /// `[line][K_h * K_w][LINE]`
    weight: Aligned,
    /// `[line][LINE]`
    bias: Aligned,
    expansion: Option<Expansion>,
}

/// A convolution of single pixels before it.
#[derive(Debug)]
struct Expansion {
    channels_in: usize,
    /// `[line][C_in][LINE]`
    weight: Aligned,
    /// `[line][LINE]`
    bias: Aligned,
    activation: Activation,
}

/// `[line][depth][LINE]` of `[C][depth]`, zero behind the last channel.
fn in_lines(channels: usize, depth: usize, value: impl Fn(usize, usize) -> f32) -> Aligned {
    let mut packed = Aligned::zeros(channels.next_multiple_of(LINE) * depth);
    for channel in 0..channels {
        for k in 0..depth {
            packed[(channel / LINE * depth + k) * LINE + channel % LINE] = value(channel, k);
        }
    }
    packed
}

fn bias_in_lines(channels: usize, bias: Option<&[f32]>) -> Aligned {
    in_lines(channels, 1, |channel, _| bias.map_or(0.0, |bias| bias[channel]))
}

impl Depthwise {
    pub(super) fn new(geometry: &Convolution, weight: &[f32], bias: Option<&[f32]>) -> Self {
        let (channels, taps) = (geometry.channels_out, geometry.kernel_height * geometry.kernel_width);
        Self {
            geometry: *geometry,
            weight: in_lines(channels, taps, |channel, tap| weight[channel * taps + tap]),
            bias: bias_in_lines(channels, bias),
            expansion: None,
        }
    }

    /// Behind a convolution of single pixels from `channels_in` channels; `weight` `[C, C_in]`, `bias` `[C]`.
    pub(super) fn expanding(
        self,
        channels_in: usize,
        weight: &[f32],
        bias: Option<&[f32]>,
        activation: Activation,
    ) -> Self {
        let channels = self.geometry.channels_in;
        let expansion = Expansion {
            channels_in,
            weight: in_lines(channels, channels_in, |channel, k| weight[channel * channels_in + k]),
            bias: bias_in_lines(channels, bias),
            activation,
        };
        Self { expansion: Some(expansion), ..self }
    }

    pub(super) fn run(&self, x: &[f32], add: Option<&[f32]>, activation: Activation, out: &mut [f32]) {
        let geometry = &self.geometry;
        let channels_in = self.expansion.as_ref().map_or(geometry.channels_in, |expansion| expansion.channels_in);
        let [input, output] = [channels_in * geometry.height * geometry.width, geometry.output_length()];
        let (lines, height) = (geometry.channels_out.div_ceil(LINE), geometry.height_out());
        let pictures = x.len() / input;
        // Bands of rows only where there are too few lines for all threads, since the rows where they meet are made twice.
        let bands = match rayon::current_num_threads() {
            1 => 1,
            threads => (2 * threads).div_ceil(lines * pictures.max(1)).min(height),
        };
        let rows = height.div_ceil(bands);
        let ring = [self.ring_rows() * self.pitch() * LINE];
        let parts = Parts::new(out);
        (0..pictures * bands * lines).into_par_iter().for_each(|task| {
            let (picture, band, line) = (task / lines / bands, task / lines % bands, task % lines);
            let rows = band * rows..((band + 1) * rows).min(height);
            let x = &x[picture * input..][..input];
            with_scratch(ring, |[ring]| {
                // No two tasks have the same rows and the same line.
                let target = Target { parts: &parts, start: picture * output, add, activation };
                dispatch(Task { depthwise: self, x, line, rows, target, ring });
            });
        });
    }

    /// Rows from the first to the last that a kernel reads.
    fn ring_rows(&self) -> usize {
        (self.geometry.kernel_height - 1) * self.geometry.dilation + 1
    }

    /// Pixels of a row with its padding.
    fn pitch(&self) -> usize {
        self.geometry.width + self.geometry.padding.left + self.geometry.padding.right
    }
}

/// Values that several tasks write at once, each its own.
struct Parts<'a> {
    start: *mut f32,
    length: usize,
    values: PhantomData<&'a mut [f32]>,
}

// SAFETY: it is a borrowed slice that is handed out in parts, by `part`, whose caller sees to it that nobody else has the same part.
#[allow(unsafe_code)]
unsafe impl Sync for Parts<'_> {}

impl<'a> Parts<'a> {
    fn new(values: &'a mut [f32]) -> Self {
        Self { start: values.as_mut_ptr(), length: values.len(), values: PhantomData }
    }

    /// The values from `at` on.
    ///
    /// # Safety
    /// While the slice is in use nobody else has one with any of these values.
    #[inline(always)]
    #[allow(unsafe_code, clippy::mut_from_ref)]
    unsafe fn part(&self, at: usize, length: usize) -> &mut [f32] {
        assert!(at <= self.length && length <= self.length - at, "a part lies inside");
        // SAFETY: the values are inside, as was just seen, of a slice that is borrowed for as long as this lives; that they are not lent twice is
        // the caller's part.
        unsafe { std::slice::from_raw_parts_mut(self.start.add(at), length) }
    }

    /// Has the values from `at` on fetched, so that writing them does not wait.
    #[inline(always)]
    fn ahead(&self, at: usize) {
        prefetch_line(self.start.wrapping_add(at));
    }
}

/// Where a picture's values go.
struct Target<'a> {
    parts: &'a Parts<'a>,
    /// First value of the picture.
    start: usize,
    /// As all parts.
    add: Option<&'a [f32]>,
    activation: Activation,
}

/// Some output rows of a line of channels.
struct Task<'a> {
    depthwise: &'a Depthwise,
    /// The picture.
    x: &'a [f32],
    line: usize,
    rows: Range<usize>,
    target: Target<'a>,
    /// `[row][pixel][LINE]`
    ring: &'a mut [f32],
}

impl WithSimd for Task<'_> {
    type Output = ();

    #[inline(always)]
    fn with_simd<S: Simd>(self, simd: S) {
        match LINE / S::F32_LANES {
            1 => self.rows::<S, 1>(simd),
            2 => self.rows::<S, 2>(simd),
            4 => self.rows::<S, 4>(simd),
            _ => self.rows::<S, LINE>(simd),
        }
    }
}

#[allow(clippy::needless_range_loop, reason = "the compiler unrolls these, so that the values stay in registers")]
impl Task<'_> {
    /// With a line in `N` registers.
    #[inline(always)]
    fn rows<S: Simd, const N: usize>(mut self, simd: S) {
        let Depthwise { geometry, weight, bias, .. } = self.depthwise;
        let Convolution { stride, dilation, padding, kernel_height, kernel_width, .. } = *geometry;
        let (pitch, ring_rows) = (self.depthwise.pitch(), self.depthwise.ring_rows());
        let (ring, _) = std::mem::take(&mut self.ring).as_chunks_mut::<LINE>();
        for row in ring.chunks_exact_mut(pitch) {
            row[..padding.left].fill([0.0; LINE]);
            row[padding.left + geometry.width..].fill([0.0; LINE]);
        }
        let taps = kernel_height * kernel_width;
        let (weight, _) = weight[self.line * taps * LINE..][..taps * LINE].as_chunks::<LINE>();
        let (bias, _) = bias[self.line * LINE..][..LINE].as_chunks::<LINE>();
        let width = geometry.width_out();
        // Whole tiles of one size, the last of which overlaps the one before.
        let tile = match width {
            // With a step of two the columns of seven pixels do not fit into registers.
            _ if width.is_multiple_of(7) && stride == 1 => 7,
            4.. => 4,
            _ => 1,
        };
        let mut made = self.rows.start * stride;
        for y in self.rows.clone() {
            let first = y * stride;
            // The lines of a row lie apart, so the hardware does not see which comes next.
            for x in 0..width {
                self.target.parts.ahead(self.place(y * width + x, 0));
            }
            made = made.max(first);
            while made < first + ring_rows {
                let row = &mut ring[made % ring_rows * pitch..][padding.left..][..geometry.width];
                self.make::<S, N>(simd, made.checked_sub(padding.top).filter(|&row| row < geometry.height), row);
                made += 1;
            }
            let filter = Filter { ring, pitch, weight, bias: &bias[0], first, dilation, stride };
            macro_rules! tiles {
                ($K:literal, $STRIDE:literal, $T:literal) => {
                    self.tiles::<S, N, $K, $STRIDE, $T, { ($T - 1) * $STRIDE + $K }>(simd, y, &filter)
                };
            }
            match (kernel_height, kernel_width, stride, dilation, tile) {
                (3, 3, 1, 1, 7) => tiles!(3, 1, 7),
                (5, 5, 1, 1, 7) => tiles!(5, 1, 7),
                (3, 3, 1, 1, 4) => tiles!(3, 1, 4),
                (3, 3, 2, 1, 4) => tiles!(3, 2, 4),
                (5, 5, 1, 1, 4) => tiles!(5, 1, 4),
                (5, 5, 2, 1, 4) => tiles!(5, 2, 4),
                _ => self.pixels::<S, N>(simd, y, &filter),
            }
        }
    }

    /// A row of the line, padding if there is none.
    #[inline(always)]
    fn make<S: Simd, const N: usize>(&self, simd: S, row: Option<usize>, out: &mut [Line]) {
        let Some(row) = row else { return out.fill([0.0; LINE]) };
        if let Some(expansion) = &self.depthwise.expansion {
            return expansion.row::<S, N>(simd, self.line, row, self.x, out);
        }
        let channels = self.depthwise.geometry.channels_in;
        let first = self.line * LINE;
        let x = &self.x[row * out.len() * channels..][..out.len() * channels];
        for (index, (pixel, out)) in x.chunks_exact(channels).zip(out).enumerate() {
            // The same place in the row behind.
            prefetch(self.x, (row + 1) * x.len() + index * channels + first);
            match pixel[first..].first_chunk::<LINE>() {
                Some(line) => *out = *line,
                None => {
                    *out = [0.0; LINE];
                    out[..channels - first].copy_from_slice(&pixel[first..]);
                }
            }
        }
    }

    /// Output row `y` in tiles of `T` pixels, which read `COLUMNS` columns.
    #[inline(always)]
    fn tiles<S: Simd, const N: usize, const K: usize, const STRIDE: usize, const T: usize, const COLUMNS: usize>(
        &self,
        simd: S,
        y: usize,
        filter: &Filter<'_>,
    ) {
        let width = self.depthwise.geometry.width_out();
        let mut rows: [&[Line]; K] = [&[]; K];
        for r in 0..K {
            rows[r] = filter.row(r);
        }
        let (weight, _) = filter.weight.as_chunks::<K>();
        let (bias, _) = S::as_simd_f32s(filter.bias);
        let mut next = 0;
        while next < width {
            let x = next.min(width - T);
            for n in 0..N {
                let mut sums = [bias[n]; T];
                for r in 0..K {
                    let (values, _) = rows[r][x * STRIDE..][..COLUMNS].as_chunks::<COLUMNS>();
                    let mut columns = [simd.splat_f32s(0.0); COLUMNS];
                    for c in 0..COLUMNS {
                        columns[c] = S::as_simd_f32s(&values[0][c]).0[n];
                    }
                    for q in 0..K {
                        let weight = S::as_simd_f32s(&weight[r][q]).0[n];
                        for m in 0..T {
                            sums[m] = simd.mul_add_e_f32s(columns[m * STRIDE + q], weight, sums[m]);
                        }
                    }
                }
                self.store(simd, y * width + x, n, sums);
            }
            next += T;
        }
    }

    /// Output row `y` pixel by pixel, for kernels that are rare.
    #[inline(always)]
    fn pixels<S: Simd, const N: usize>(&self, simd: S, y: usize, filter: &Filter<'_>) {
        let Convolution { kernel_height, kernel_width, .. } = self.depthwise.geometry;
        let width = self.depthwise.geometry.width_out();
        let (bias, _) = S::as_simd_f32s(filter.bias);
        for x in 0..width {
            for n in 0..N {
                let mut sum = bias[n];
                for r in 0..kernel_height {
                    let row = filter.row(r);
                    for q in 0..kernel_width {
                        let value = S::as_simd_f32s(&row[x * filter.stride + q * filter.dilation]).0[n];
                        let weight = S::as_simd_f32s(&filter.weight[r * kernel_width + q]).0[n];
                        sum = simd.mul_add_e_f32s(value, weight, sum);
                    }
                }
                self.store(simd, y * width + x, n, [sum]);
            }
        }
    }

    /// The place of the line's `channel`-th value of an output pixel.
    #[inline(always)]
    fn place(&self, pixel: usize, channel: usize) -> usize {
        self.target.start + pixel * self.depthwise.geometry.channels_out + self.line * LINE + channel
    }

    /// The `n`-th registers of the line of output pixels from `pixel` on, with the summand and the activation.
    #[inline(always)]
    #[allow(unsafe_code)]
    fn store<S: Simd, const T: usize>(&self, simd: S, pixel: usize, n: usize, mut values: [S::f32s; T]) {
        let Target { parts, add, activation, .. } = self.target;
        let channels = self.depthwise.geometry.channels_out;
        let first = n * S::F32_LANES;
        let count = channels.saturating_sub(self.line * LINE + first).min(S::F32_LANES);
        if count == 0 {
            return;
        }
        if let Some(add) = add {
            for m in 0..T {
                let at = self.place(pixel + m, first);
                values[m] = simd.add_f32s(values[m], simd.partial_load_f32s(&add[at..at + count]));
            }
        }
        for value in &mut values {
            *value = activated(simd, activation, *value);
        }
        for m in 0..T {
            // SAFETY: these are channels of this task's line, in one of its rows, which no other task has; the slice is gone before the next one
            // is made.
            let out = unsafe { parts.part(self.place(pixel + m, first), count) };
            if count == S::F32_LANES {
                S::as_mut_simd_f32s(out).0[0] = values[m];
            } else {
                simd.partial_store_f32s(out, values[m]);
            }
        }
    }
}

/// What an output row is made of.
struct Filter<'a> {
    ring: &'a [Line],
    pitch: usize,
    weight: &'a [Line],
    bias: &'a Line,
    /// First row that is read, from the first of the padding on.
    first: usize,
    dilation: usize,
    stride: usize,
}

impl Filter<'_> {
    /// The row of the kernel's row `r`.
    #[inline(always)]
    fn row(&self, r: usize) -> &[Line] {
        let rows = self.ring.len() / self.pitch;
        &self.ring[(self.first + r * self.dilation) % rows * self.pitch..][..self.pitch]
    }
}

impl Expansion {
    /// Row `row` of the line, of as many pixels as `out` has, of the picture `x`.
    #[inline(always)]
    fn row<S: Simd, const N: usize>(&self, simd: S, line: usize, row: usize, x: &[f32], out: &mut [Line]) {
        let depth = self.channels_in;
        let (source, pitch) = (&x[row * out.len() * depth..], out.len() * depth);
        let reads = Reads { source, segments: &[0], length: depth, step: depth };
        let weight = &self.weight[line * depth * LINE..][..depth * LINE];
        // A row's share of those of the line behind.
        let share = (depth * LINE).div_ceil(x.len() / pitch);
        for at in (0..share).step_by(LINE) {
            prefetch(&self.weight, (line + 1) * depth * LINE + row * share + at);
        }
        let (bias, _) = S::as_simd_f32s(&self.bias[line * LINE..][..LINE]);
        let mut pixel = 0;
        macro_rules! run {
            ($($M:literal),+) => {{
                $(
                    while out.len() - pixel >= $M {
                        let mut sums = [[simd.splat_f32s(0.0); N]; $M];
                        for m in 0..$M {
                            for n in 0..N {
                                sums[m][n] = bias[n];
                            }
                        }
                        product::<S, $M, N>(simd, reads, pixel, weight, &[], &mut sums);
                        for m in 0..$M {
                            let (line, _) = S::as_mut_simd_f32s(&mut out[pixel + m]);
                            for n in 0..N {
                                line[n] = activated(simd, self.activation, sums[m][n]);
                            }
                        }
                        pixel += $M;
                    }
                )+
            }};
        }
        // As many sums as registers allow.
        match N {
            1 => run!(14, 8, 7, 4, 2, 1),
            2 | 4 => run!(6, 4, 2, 1),
            _ => run!(1),
        }
    }
}
