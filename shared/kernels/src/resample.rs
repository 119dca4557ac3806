//! Planes of another size: bilinear and nearest, forward and backward, as PyTorch's `interpolate` defines them.
//!
//! Both are separable: a value is a weighted sum of two rows, each a weighted sum of two columns (one of one for nearest).
//! The gradient is the transpose, taken row by row.

use rayon::prelude::*;

use crate::KernelError;

/// Which values a new one is made of.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Method {
    /// The two nearest rows and columns, by distance. Pixels have their centres at halves, or, if `align_corners`, the
    /// outermost centres fall together.
    Bilinear {
        /// Whether the outermost centres fall together.
        align_corners: bool,
    },
    /// The pixel that holds the new pixel's upper left corner.
    Nearest,
}

/// Sizes of a resampling of planes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Resample {
    /// Rows of a plane.
    pub height: usize,
    /// Columns of a plane.
    pub width: usize,
    /// Rows of the result.
    pub height_out: usize,
    /// Columns of the result.
    pub width_out: usize,
    /// How.
    pub method: Method,
}

/// Two places and the weight of the second.
#[derive(Clone, Copy)]
struct Pair {
    first: usize,
    second: usize,
    share: f32,
}

/// `a` itself where `b` has no share, even if that is infinite.
#[inline(always)]
fn mix(a: f32, b: f32, share: f32) -> f32 {
    if share == 0.0 { a } else { a + share * (b - a) }
}

impl Resample {
    fn pairs(&self, size: usize, size_out: usize) -> Vec<Pair> {
        let scale = size as f32 / size_out as f32;
        (0..size_out)
            .map(|i| match self.method {
                Method::Nearest => {
                    let place = ((i as f32 * scale) as usize).min(size - 1);
                    Pair { first: place, second: place, share: 0.0 }
                }
                Method::Bilinear { align_corners } => {
                    let place = if !align_corners {
                        (scale * (i as f32 + 0.5) - 0.5).max(0.0)
                    } else if size_out > 1 {
                        i as f32 * ((size - 1) as f32 / (size_out - 1) as f32)
                    } else {
                        0.0
                    };
                    let first = (place as usize).min(size - 1);
                    Pair { first, second: (first + 1).min(size - 1), share: place - first as f32 }
                }
            })
            .collect()
    }

    fn planes(&self, x: &[f32], y: &[f32]) -> Result<(), KernelError> {
        let (a, b) = (self.height * self.width, self.height_out * self.width_out);
        if a > 0 && b > 0 && x.len().is_multiple_of(a) && y.len().is_multiple_of(b) && x.len() / a == y.len() / b {
            return Ok(());
        }
        Err(KernelError::Shape(format!("resampling: {} and {} values do not fit {self:?}", x.len(), y.len())))
    }

    /// The planes `x` at the new size, into `y`.
    ///
    /// # Errors
    /// Sizes that contradict each other.
    pub fn forward(&self, x: &[f32], y: &mut [f32]) -> Result<(), KernelError> {
        self.planes(x, y)?;
        let (rows, columns) = (self.pairs(self.height, self.height_out), self.pairs(self.width, self.width_out));
        let planes = y.par_chunks_mut(self.height_out * self.width_out).zip(x.par_chunks(self.height * self.width));
        planes.for_each_init(
            || vec![0f32; self.width],
            |mixed, (y, x)| {
                for (row, y) in rows.iter().zip(y.chunks_exact_mut(self.width_out)) {
                    let above = &x[row.first * self.width..][..self.width];
                    let below = &x[row.second * self.width..][..self.width];
                    for ((m, a), b) in mixed.iter_mut().zip(above).zip(below) {
                        *m = mix(*a, *b, row.share);
                    }
                    for (y, column) in y.iter_mut().zip(&columns) {
                        let (a, b) = (mixed[column.first], mixed[column.second]);
                        *y = mix(a, b, column.share);
                    }
                }
            },
        );
        Ok(())
    }

    /// The gradient to the planes, from that to the result, into `out`.
    ///
    /// # Errors
    /// Sizes that contradict each other.
    pub fn gradient(&self, gradient: &[f32], out: &mut [f32]) -> Result<(), KernelError> {
        self.planes(out, gradient)?;
        let (rows, columns) = (self.pairs(self.height, self.height_out), self.pairs(self.width, self.width_out));
        let gradients = gradient.par_chunks(self.height_out * self.width_out);
        out.par_chunks_mut(self.height * self.width).zip(gradients).for_each_init(
            || vec![0f32; self.width],
            |mixed, (out, gradient)| {
                out.fill(0.0);
                for (row, gradient) in rows.iter().zip(gradient.chunks_exact(self.width_out)) {
                    mixed.fill(0.0);
                    for (d, column) in gradient.iter().zip(&columns) {
                        mixed[column.first] += d * (1.0 - column.share);
                        mixed[column.second] += d * column.share;
                    }
                    for (place, share) in [(row.first, 1.0 - row.share), (row.second, row.share)] {
                        let line = &mut out[place * self.width..][..self.width];
                        line.iter_mut().zip(&*mixed).for_each(|(out, m)| *out += share * m);
                    }
                }
            },
        );
        Ok(())
    }
}
