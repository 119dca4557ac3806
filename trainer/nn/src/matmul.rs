//! A safe door to the `gemm` crate: strided matrix products, f32 or f64, whose bounds are checked once per call.
//!
//! Of the few `unsafe` calls (CONTRIBUTING lists them) this is one; `just memcheck` runs its tests under valgrind (Miri cannot run the
//! SIMD kernels behind it).

/// A number that matrices are made of.
pub trait Element: Copy + 'static {
    /// One.
    const ONE: Self;
}

impl Element for f32 {
    const ONE: Self = 1.0;
}

impl Element for f64 {
    const ONE: Self = 1.0;
}

/// A strided view of a matrix: element `(r, c)` is `data[r * row_stride + c * column_stride]`.
#[derive(Clone, Copy)]
pub struct View {
    /// Number of rows.
    pub rows: usize,
    /// Number of columns.
    pub columns: usize,
    /// Distance from one row to the next.
    pub row_stride: usize,
    /// Distance from one column to the next.
    pub column_stride: usize,
}

impl View {
    /// Row after row without gaps.
    pub const fn row_major(rows: usize, columns: usize) -> Self {
        Self { rows, columns, row_stride: columns, column_stride: 1 }
    }

    /// The same values with rows and columns exchanged.
    #[must_use]
    pub const fn transposed(self) -> Self {
        Self { rows: self.columns, columns: self.rows, row_stride: self.column_stride, column_stride: self.row_stride }
    }

    fn check(&self, length: usize, operand: &str) {
        if self.rows == 0 || self.columns == 0 {
            return;
        }
        let last = (self.rows - 1)
            .checked_mul(self.row_stride)
            .zip((self.columns - 1).checked_mul(self.column_stride))
            .and_then(|(r, c)| r.checked_add(c));
        assert!(last.is_some_and(|last| last < length), "{operand}: view outside its {length} values");
    }

    /// Two elements never share a place: needed of a matrix that is written.
    fn check_distinct(&self) {
        let apart = |minor: usize, count: usize, major: usize| minor > 0 && major >= count * minor;
        assert!(
            self.rows <= 1
                || self.columns <= 1
                || apart(self.column_stride, self.columns, self.row_stride)
                || apart(self.row_stride, self.rows, self.column_stride),
            "destination: elements overlap"
        );
        assert!(self.rows <= 1 || self.row_stride > 0, "destination: rows overlap");
        assert!(self.columns <= 1 || self.column_stride > 0, "destination: columns overlap");
    }
}

/// `destination = lhs * rhs`, or `destination += lhs * rhs` when `accumulate`.
///
/// # Panics
/// When the shapes do not fit each other, a view reaches outside its slice, or elements of the destination overlap.
pub fn multiply<T: Element>(
    (destination, d): (&mut [T], View),
    accumulate: bool,
    (lhs, l): (&[T], View),
    (rhs, r): (&[T], View),
    parallel: bool,
) {
    assert!(d.rows == l.rows && d.columns == r.columns && l.columns == r.rows, "matrix product: shapes do not fit");
    d.check(destination.len(), "destination");
    d.check_distinct();
    l.check(lhs.len(), "left operand");
    r.check(rhs.len(), "right operand");
    let parallelism = if parallel { gemm::Parallelism::Rayon(0) } else { gemm::Parallelism::None };
    #[allow(unsafe_code)]
    // SAFETY: `gemm` reads and writes exactly the elements (row, column) of the three views. `check` proved that the
    // largest offset of each view lies inside its slice (strides are not negative, so it is the largest), that the
    // slices are live and initialised is the type system's, and `check_distinct` that no two destination elements share
    // a place, so threads that share the work never write the same one. `&mut` excludes overlap with the operands.
    unsafe {
        gemm::gemm(
            d.rows,
            d.columns,
            l.columns,
            destination.as_mut_ptr(),
            d.column_stride as isize,
            d.row_stride as isize,
            accumulate,
            lhs.as_ptr(),
            l.column_stride as isize,
            l.row_stride as isize,
            rhs.as_ptr(),
            r.column_stride as isize,
            r.row_stride as isize,
            T::ONE,
            T::ONE,
            false,
            false,
            false,
            parallelism,
        );
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn naive(l: (&[f32], View), r: (&[f32], View)) -> Vec<f32> {
        let mut out = vec![0.0; l.1.rows * r.1.columns];
        for i in 0..l.1.rows {
            for j in 0..r.1.columns {
                out[i * r.1.columns + j] = (0..l.1.columns)
                    .map(|k| {
                        l.0[i * l.1.row_stride + k * l.1.column_stride]
                            * r.0[k * r.1.row_stride + j * r.1.column_stride]
                    })
                    .sum();
            }
        }
        out
    }

    #[test]
    fn equals_the_definition_for_odd_shapes_and_transposed_views() {
        for (m, k, n) in [(1, 1, 1), (3, 5, 7), (17, 33, 9), (2, 144, 301), (64, 3, 65)] {
            let lhs: Vec<f32> = (0..m * k).map(|i| ((i * 37) % 19) as f32 - 9.0).collect();
            let rhs: Vec<f32> = (0..k * n).map(|i| ((i * 53) % 23) as f32 - 11.0).collect();
            for (l, r) in [
                (View::row_major(m, k), View::row_major(k, n)),
                (View::row_major(k, m).transposed(), View::row_major(n, k).transposed()),
            ] {
                let expected = naive((&lhs, l), (&rhs, r));
                let mut got = vec![f32::NAN; m * n];
                multiply((&mut got, View::row_major(m, n)), false, (&lhs, l), (&rhs, r), false);
                assert_eq!(got, expected, "{m} {k} {n}");
                multiply((&mut got, View::row_major(m, n)), true, (&lhs, l), (&rhs, r), true);
                let double = |numbers: &[f32]| numbers.iter().copied().map(f64::from).collect::<Vec<_>>();
                let mut precise = vec![f64::NAN; m * n];
                multiply((&mut precise, View::row_major(m, n)), false, (&double(&lhs), l), (&double(&rhs), r), false);
                assert_eq!(precise, double(&expected), "f64 {m} {k} {n}");
                assert_eq!(got, expected.iter().map(|v| 2.0 * v).collect::<Vec<_>>(), "accumulated {m} {k} {n}");
            }
        }
    }

    #[test]
    #[should_panic(expected = "outside its")]
    fn a_view_outside_its_slice_is_refused() {
        multiply(
            (&mut [0.0; 3], View::row_major(2, 2)),
            false,
            (&[0.0; 4], View::row_major(2, 2)),
            (&[0.0; 4], View::row_major(2, 2)),
            false,
        );
    }

    #[test]
    #[should_panic(expected = "overlap")]
    fn overlapping_destinations_are_refused() {
        let d = View { rows: 2, columns: 2, row_stride: 1, column_stride: 1 };
        multiply(
            (&mut [0.0; 4], d),
            false,
            (&[0.0; 4], View::row_major(2, 2)),
            (&[0.0; 4], View::row_major(2, 2)),
            false,
        );
    }
}
