//! The one picture type: a rectangle of grey values, row by row.
//!
//! `image`'s buffers need `std`; this is the little that preprocessing needs of them.

use alloc::vec::Vec;

use serde::{Deserialize, Serialize};

/// A picture of one channel: `data[y * width + x]`, row 0 on top.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "Stored<T>", bound(deserialize = "T: Copy + Deserialize<'de>"))]
pub struct Plane<T> {
    width: usize,
    height: usize,
    data: Vec<T>,
}

/// A picture as it was written, its size not yet believed.
#[derive(Deserialize)]
struct Stored<T> {
    width: usize,
    height: usize,
    data: Vec<T>,
}

impl<T: Copy> TryFrom<Stored<T>> for Plane<T> {
    type Error = SizeMismatch;

    fn try_from(stored: Stored<T>) -> Result<Self, SizeMismatch> {
        Self::new(stored.width, stored.height, stored.data)
    }
}

/// The pixels given do not fill the rectangle given.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{width} x {height} pixels need {width} * {height} values, got {values}")]
pub struct SizeMismatch {
    /// Columns asked for.
    pub width: usize,
    /// Rows asked for.
    pub height: usize,
    /// Values given.
    pub values: usize,
}

impl<T: Copy> Plane<T> {
    /// Takes `data`, `width * height` values row by row.
    ///
    /// # Errors
    /// [`SizeMismatch`] when `data` is not exactly that long.
    pub fn new(width: usize, height: usize, data: Vec<T>) -> Result<Self, SizeMismatch> {
        if width.checked_mul(height) == Some(data.len()) {
            Ok(Self { width, height, data })
        } else {
            Err(SizeMismatch { width, height, values: data.len() })
        }
    }

    /// A picture that is `value` everywhere.
    pub fn filled(width: usize, height: usize, value: T) -> Self {
        Self { width, height, data: alloc::vec![value; width * height] }
    }

    /// A picture whose pixel at column `x`, row `y` is `f(x, y)`.
    pub fn from_fn(width: usize, height: usize, mut f: impl FnMut(usize, usize) -> T) -> Self {
        let data = (0..height).flat_map(|y| (0..width).map(move |x| (x, y))).map(|(x, y)| f(x, y)).collect();
        Self { width, height, data }
    }

    /// Columns.
    pub fn width(&self) -> usize {
        self.width
    }

    /// Rows.
    pub fn height(&self) -> usize {
        self.height
    }

    /// All values, row by row.
    pub fn data(&self) -> &[T] {
        &self.data
    }

    /// All values, row by row, to be changed.
    pub fn data_mut(&mut self) -> &mut [T] {
        &mut self.data
    }

    /// Gives the values away.
    pub fn into_data(self) -> Vec<T> {
        self.data
    }

    /// Row `y`.
    ///
    /// # Panics
    /// When there is no such row.
    pub fn row(&self, y: usize) -> &[T] {
        &self.data[y * self.width..(y + 1) * self.width]
    }

    /// The value at column `x`, row `y`.
    ///
    /// # Panics
    /// When there is no such pixel.
    pub fn get(&self, x: usize, y: usize) -> T {
        assert!(x < self.width, "column {x} of {}", self.width);
        self.data[y * self.width + x]
    }

    /// The same picture with `f` applied to each value.
    pub fn map<U>(&self, f: impl FnMut(T) -> U) -> Plane<U> {
        Plane { width: self.width, height: self.height, data: self.data.iter().copied().map(f).collect() }
    }

    /// The part of the picture inside `rect`, which is cut to the picture first.
    pub fn cropped(&self, rect: Rect) -> Self {
        let rect = rect.within(self.width, self.height);
        let data = (rect.y..rect.y + rect.height)
            .flat_map(|y| self.row(y)[rect.x..rect.x + rect.width].iter().copied())
            .collect();
        Self { width: rect.width, height: rect.height, data }
    }

    /// Turned by `orientation`, as [`Orientation`] says.
    pub fn oriented(&self, orientation: Orientation) -> Self {
        let (width, height) = if orientation.transpose { (self.height, self.width) } else { (self.width, self.height) };
        Self::from_fn(width, height, |x, y| {
            let x = if orientation.flip_horizontal { width - 1 - x } else { x };
            let y = if orientation.flip_vertical { height - 1 - y } else { y };
            if orientation.transpose { self.get(y, x) } else { self.get(x, y) }
        })
    }
}

/// A rectangle of pixels.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Rect {
    /// First column.
    pub x: usize,
    /// First row.
    pub y: usize,
    /// Columns.
    pub width: usize,
    /// Rows.
    pub height: usize,
}

impl Rect {
    /// The whole of a picture of this size.
    pub const fn full(width: usize, height: usize) -> Self {
        Self { x: 0, y: 0, width, height }
    }

    /// The part that lies inside a picture of this size (empty when none does).
    #[must_use]
    pub fn within(self, width: usize, height: usize) -> Self {
        let x = self.x.min(width);
        let y = self.y.min(height);
        Self { x, y, width: self.width.min(width - x), height: self.height.min(height - y) }
    }

    /// The part that lies inside of both (empty when none does).
    #[must_use]
    pub fn common(self, other: Self) -> Self {
        let span = |first: usize, length: usize, other: usize, other_length: usize| {
            let start = first.max(other);
            (start, (first + length).min(other + other_length).saturating_sub(start))
        };
        let (x, width) = span(self.x, self.width, other.x, other.width);
        let (y, height) = span(self.y, self.height, other.y, other.height);
        Self { x, y, width, height }
    }

    /// Number of pixels.
    pub const fn area(self) -> usize {
        self.width * self.height
    }
}

/// How stored rows and columns become the picture a reader expects: first the transpose, then the
/// flips. The identity shows the pixels as they are stored.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Orientation {
    /// Rows become columns, before any flip.
    pub transpose: bool,
    /// Left and right change places.
    pub flip_horizontal: bool,
    /// Top and bottom change places.
    pub flip_vertical: bool,
}

impl Orientation {
    /// The orientation that undoes this one.
    #[must_use]
    pub const fn inverse(self) -> Self {
        if self.transpose {
            Self { transpose: true, flip_horizontal: self.flip_vertical, flip_vertical: self.flip_horizontal }
        } else {
            self
        }
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::expect_used)]
    use super::*;
    use alloc::vec;

    #[test]
    fn every_orientation_is_undone_by_its_inverse() {
        let picture = Plane::new(3, 2, vec![1, 2, 3, 4, 5, 6]).expect("3 x 2");
        for bits in 0..8 {
            let orientation =
                Orientation { transpose: bits & 1 != 0, flip_horizontal: bits & 2 != 0, flip_vertical: bits & 4 != 0 };
            assert_eq!(picture.oriented(orientation).oriented(orientation.inverse()), picture, "{orientation:?}");
        }
    }

    #[test]
    fn transpose_comes_before_the_flips() {
        let picture = Plane::new(3, 2, vec![1, 2, 3, 4, 5, 6]).expect("3 x 2");
        let turned = picture.oriented(Orientation { transpose: true, flip_horizontal: true, flip_vertical: false });
        assert_eq!(turned.data(), [4, 1, 5, 2, 6, 3]);
    }

    #[test]
    fn a_crop_is_cut_to_the_picture() {
        let picture = Plane::from_fn(4, 3, |x, y| 10 * y + x);
        let part = picture.cropped(Rect { x: 2, y: 1, width: 9, height: 9 });
        assert_eq!((part.width(), part.height(), part.data()), (2, 2, &[12, 13, 22, 23][..]));
    }

    #[test]
    fn wrong_lengths_are_refused() {
        assert!(Plane::new(2, 2, vec![0u8; 3]).is_err());
        assert!(Plane::<u8>::new(usize::MAX, 2, vec![]).is_err());
    }

    #[test]
    fn a_written_picture_is_read_back_and_a_wrong_one_is_not() {
        let picture = Plane::new(3, 2, vec![1u16, 2, 3, 4, 5, 600]).expect("3 x 2");
        let bytes = postcard::to_allocvec(&picture).expect("encoded");
        assert_eq!(postcard::from_bytes::<Plane<u16>>(&bytes).expect("decoded"), picture);
        let lie = postcard::to_allocvec(&(4usize, 2usize, vec![1u16; 6])).expect("encoded");
        assert!(postcard::from_bytes::<Plane<u16>>(&lie).is_err());
    }
}
