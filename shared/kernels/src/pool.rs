//! The largest and the mean value of windows, forward and backward.
//!
//! Windows may overlap and reach over the edge. As in PyTorch, padding never is the largest, the last window must start
//! inside the picture or its padding on the left, and of equal values the first gets the gradient (a NaN counts as the
//! largest).

use pulp::{Simd, WithSimd};
use rayon::prelude::*;

use crate::{KernelError, simd::dispatch};

/// Sizes of a pooling of planes of `height` x `width`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Pool {
    /// Rows of a plane.
    pub height: usize,
    /// Columns of a plane.
    pub width: usize,
    /// Rows and columns of a window.
    pub kernel: usize,
    /// Distance of the windows.
    pub stride: usize,
    /// Rows and columns around the plane.
    pub padding: usize,
    /// Also take the last window that is not full.
    pub ceil_mode: bool,
}

impl Pool {
    /// Refuses sizes that contradict each other.
    ///
    /// # Errors
    /// Zero sizes, a padding above half the window, a window larger than the padded plane.
    pub fn check(&self) -> Result<(), KernelError> {
        let refuse = |why: &str| Err(KernelError::Shape(format!("pooling: {why}: {self:?}")));
        if self.kernel == 0 || self.stride == 0 || self.height * self.width == 0 {
            return refuse("a size is 0");
        }
        if 2 * self.padding > self.kernel {
            return refuse("the padding is more than half the window");
        }
        if self.height.min(self.width) + 2 * self.padding < self.kernel {
            return refuse("the window is larger than the padded picture");
        }
        Ok(())
    }

    fn count(&self, size: usize) -> usize {
        let free = size + 2 * self.padding - self.kernel;
        if !self.ceil_mode {
            return free / self.stride + 1;
        }
        let count = free.div_ceil(self.stride) + 1;
        if (count - 1) * self.stride >= size + self.padding { count - 1 } else { count }
    }

    /// Rows of the result.
    pub fn height_out(&self) -> usize {
        self.count(self.height)
    }

    /// Columns of the result.
    pub fn width_out(&self) -> usize {
        self.count(self.width)
    }

    /// Rows or columns of the plane under window `index`, and its size with padding.
    fn window(&self, index: usize, size: usize) -> (std::ops::Range<usize>, usize) {
        let start = index * self.stride;
        let end = (start + self.kernel).min(size + 2 * self.padding);
        (start.saturating_sub(self.padding)..(end.saturating_sub(self.padding)).min(size), end - start)
    }

    fn is_halving(&self) -> bool {
        self.kernel == 2 && self.stride == 2 && self.padding == 0 && self.height >= 2 && !self.ceil_mode
    }

    /// Every window is full.
    fn is_full(&self) -> bool {
        self.padding == 0 && !self.ceil_mode
    }

    fn planes(&self, x: &[f32], y: &[f32]) -> Result<(), KernelError> {
        self.check()?;
        let (a, b) = (self.height * self.width, self.height_out() * self.width_out());
        if x.len().is_multiple_of(a) && y.len().is_multiple_of(b) && x.len() / a == y.len() / b {
            return Ok(());
        }
        Err(KernelError::Shape(format!("pooling: {} and {} values do not fit {self:?}", x.len(), y.len())))
    }

    /// The largest value of every window of the planes `x`, into `y`.
    ///
    /// # Errors
    /// Sizes that contradict each other.
    pub fn largest(&self, x: &[f32], y: &mut [f32]) -> Result<(), KernelError> {
        self.planes(x, y)?;
        let (pixels, width_out) = (self.height * self.width, self.width_out());
        y.par_chunks_mut(self.height_out() * width_out).zip(x.par_chunks(pixels)).for_each(|(y, x)| {
            if self.is_halving() {
                for (rows, y) in x.chunks(2 * self.width).zip(y.chunks_exact_mut(width_out)) {
                    let (above, below) = rows.split_at(self.width);
                    let ((above, _), (below, _)) = (above.as_chunks::<2>(), below.as_chunks::<2>());
                    for ((y, a), b) in y.iter_mut().zip(above).zip(below) {
                        let top = if exceeds(a[1], a[0]) { a[1] } else { a[0] };
                        let bottom = if exceeds(b[1], b[0]) { b[1] } else { b[0] };
                        *y = if exceeds(bottom, top) { bottom } else { top };
                    }
                }
                return;
            }
            let larger = |a: f32, b: f32| if exceeds(b, a) { b } else { a };
            self.by_rows(x, y, f32::NEG_INFINITY, larger, |y, largest, _, _| *y = largest);
        });
        Ok(())
    }

    /// Joins the values of every window, first of each column of a row of windows, which vector instructions do, then along the
    /// row; `write` gets the result and the numbers of rows and columns that were joined.
    fn by_rows(
        &self,
        x: &[f32],
        y: &mut [f32],
        start: f32,
        join: impl Fn(f32, f32) -> f32 + Copy,
        write: impl Fn(&mut f32, f32, usize, usize),
    ) {
        let mut line = vec![start; self.width];
        for (row, y) in y.chunks_exact_mut(self.width_out()).enumerate() {
            let (rows, _) = self.window(row, self.height);
            line.fill(start);
            for x in rows.clone().map(|row| &x[row * self.width..][..self.width]) {
                dispatch(Join { line: &mut line, x, join });
            }
            // Full windows need no looking where they end.
            let first = self.padding.div_ceil(self.stride).min(y.len());
            let free = (self.width + self.padding).saturating_sub(self.kernel) / self.stride + 1;
            let full = first..free.clamp(first, y.len());
            let start_of_first = (first * self.stride).saturating_sub(self.padding).min(line.len());
            let windows = line[start_of_first..].windows(self.kernel);
            for (y, window) in y[full.clone()].iter_mut().zip(windows.step_by(self.stride)) {
                let joined = window.iter().fold(start, |joined, value| join(joined, *value));
                write(y, joined, rows.len(), self.kernel);
            }
            for column in (0..full.start).chain(full.end..y.len()) {
                let y = &mut y[column];
                let (columns, _) = self.window(column, self.width);
                let joined = line[columns.clone()].iter().fold(start, |joined, value| join(joined, *value));
                write(y, joined, rows.len(), columns.len());
            }
        }
    }

    fn place_of_largest(&self, x: &[f32], row: usize, column: usize) -> usize {
        let (rows, _) = self.window(row, self.height);
        let (columns, _) = self.window(column, self.width);
        let mut place = rows.start * self.width + columns.start;
        for row in rows {
            for column in columns.clone() {
                let at = row * self.width + column;
                if exceeds(x[at], x[place]) {
                    place = at;
                }
            }
        }
        place
    }

    /// The gradient to the planes `x` of [`Self::largest`], into `out`.
    ///
    /// # Errors
    /// Sizes that contradict each other.
    pub fn largest_gradient(&self, x: &[f32], gradient: &[f32], out: &mut [f32]) -> Result<(), KernelError> {
        self.planes(x, gradient)?;
        self.planes(out, gradient)?;
        let (pixels, width_out) = (self.height * self.width, self.width_out());
        let planes = out.par_chunks_mut(pixels).zip(x.par_chunks(pixels));
        planes.zip(gradient.par_chunks(self.height_out() * width_out)).for_each(|((out, x), gradient)| {
            if self.is_halving() {
                let rows = x.chunks(2 * self.width).zip(out.chunks_mut(2 * self.width));
                for ((x, out), gradient) in rows.zip(gradient.chunks_exact(width_out)) {
                    self.halving_gradient(x, gradient, out);
                }
                // A last row that no window covers.
                out[self.height / 2 * 2 * self.width..].fill(0.0);
                return;
            }
            out.fill(0.0);
            for (index, gradient) in gradient.iter().enumerate() {
                out[self.place_of_largest(x, index / width_out, index % width_out)] += gradient;
            }
        });
        Ok(())
    }

    /// Two rows of the plane, one of the gradient. Written without branches, which the data would make unpredictable.
    fn halving_gradient(&self, x: &[f32], gradient: &[f32], out: &mut [f32]) {
        let (above, below) = x.split_at(self.width);
        let (out_above, out_below) = out.split_at_mut(self.width);
        let ((above, _), (below, _)) = (above.as_chunks::<2>(), below.as_chunks::<2>());
        let (out_above, rest_above) = out_above.as_chunks_mut::<2>();
        let (out_below, rest_below) = out_below.as_chunks_mut::<2>();
        for ((((a, b), out_a), out_b), &d) in above.iter().zip(below).zip(out_above).zip(out_below).zip(gradient) {
            let right_a = exceeds(a[1], a[0]);
            let right_b = exceeds(b[1], b[0]);
            let top = if right_a { a[1] } else { a[0] };
            let bottom = if right_b { b[1] } else { b[0] };
            let down = exceeds(bottom, top);
            let (to_top, to_bottom) = if down { (0.0, d) } else { (d, 0.0) };
            *out_a = if right_a { [0.0, to_top] } else { [to_top, 0.0] };
            *out_b = if right_b { [0.0, to_bottom] } else { [to_bottom, 0.0] };
        }
        rest_above.fill(0.0);
        rest_below.fill(0.0);
    }

    /// The mean of every window of the planes `x`, into `y`; `count_padding` counts the padding as zeros.
    ///
    /// # Errors
    /// Sizes that contradict each other.
    pub fn mean(&self, x: &[f32], count_padding: bool, y: &mut [f32]) -> Result<(), KernelError> {
        self.planes(x, y)?;
        let (pixels, width_out) = (self.height * self.width, self.width_out());
        y.par_chunks_mut(self.height_out() * width_out).zip(x.par_chunks(pixels)).for_each(|(y, x)| {
            if self.is_full() {
                let scale = 1.0 / (self.kernel * self.kernel) as f32;
                for (row, y) in y.chunks_exact_mut(width_out).enumerate() {
                    y.fill(0.0);
                    for line in x[row * self.stride * self.width..].chunks(self.width).take(self.kernel) {
                        add_windows(line, self.kernel, self.stride, y);
                    }
                    y.iter_mut().for_each(|y| *y *= scale);
                }
                return;
            }
            if count_padding {
                for (index, y) in y.iter_mut().enumerate() {
                    let (rows, columns, count) = self.mean_window(index, width_out, count_padding);
                    let sum: f32 = rows.map(|row| x[row * self.width..][columns.clone()].iter().sum::<f32>()).sum();
                    *y = sum / count;
                }
                return;
            }
            self.by_rows(x, y, 0.0, |a, b| a + b, |y, sum, rows, columns| *y = sum / (rows * columns) as f32);
        });
        Ok(())
    }

    fn mean_window(
        &self,
        index: usize,
        width_out: usize,
        count_padding: bool,
    ) -> (std::ops::Range<usize>, std::ops::Range<usize>, f32) {
        let (rows, height) = self.window(index / width_out, self.height);
        let (columns, width) = self.window(index % width_out, self.width);
        let count = if count_padding { height * width } else { rows.len() * columns.len() };
        (rows, columns, count as f32)
    }

    /// The gradient to the planes of [`Self::mean`], into `out`.
    ///
    /// # Errors
    /// Sizes that contradict each other.
    pub fn mean_gradient(&self, gradient: &[f32], count_padding: bool, out: &mut [f32]) -> Result<(), KernelError> {
        self.planes(out, gradient)?;
        let (pixels, width_out) = (self.height * self.width, self.width_out());
        let gradients = gradient.par_chunks(self.height_out() * width_out);
        out.par_chunks_mut(pixels).zip(gradients).for_each(|(out, gradient)| {
            out.fill(0.0);
            if self.is_full() {
                let scale = 1.0 / (self.kernel * self.kernel) as f32;
                for (row, gradient) in gradient.chunks_exact(width_out).enumerate() {
                    for line in out[row * self.stride * self.width..].chunks_mut(self.width).take(self.kernel) {
                        for column in 0..self.kernel {
                            let line = line[column..].iter_mut().step_by(self.stride);
                            line.zip(gradient).for_each(|(out, d)| *out += d * scale);
                        }
                    }
                }
                return;
            }
            for (index, gradient) in gradient.iter().enumerate() {
                let (rows, columns, count) = self.mean_window(index, width_out, count_padding);
                let share = gradient / count;
                for row in rows {
                    out[row * self.width..][columns.clone()].iter_mut().for_each(|value| *value += share);
                }
            }
        });
        Ok(())
    }
}

struct Join<'a, F> {
    line: &'a mut [f32],
    x: &'a [f32],
    join: F,
}

impl<F: Fn(f32, f32) -> f32> WithSimd for Join<'_, F> {
    type Output = ();

    #[inline(always)]
    fn with_simd<S: Simd>(self, _: S) {
        for (line, x) in self.line.iter_mut().zip(self.x) {
            *line = (self.join)(*line, *x);
        }
    }
}

/// Whether `a` is larger than `b`, where a NaN is larger than any number.
#[inline(always)]
fn exceeds(a: f32, b: f32) -> bool {
    a > b || (a.is_nan() && !b.is_nan())
}

/// Adds to each sum its window of the row.
fn add_windows(row: &[f32], kernel: usize, stride: usize, sums: &mut [f32]) {
    if (kernel, stride) == (2, 2) {
        let (pairs, _) = row.as_chunks::<2>();
        sums.iter_mut().zip(pairs).for_each(|(sum, [a, b])| *sum += a + b);
        return;
    }
    for column in 0..kernel {
        sums.iter_mut().zip(row[column..].iter().step_by(stride)).for_each(|(sum, value)| *sum += value);
    }
}
