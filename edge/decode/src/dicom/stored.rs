//! What is common to films and slices on the way from stored values to their meaning: tables, rescale, padding.
//!
//! A stored value has 16 bits at most, so the whole chain (PS3.3, C.11.1 and C.11.2; PS3.4, N.2) is worked out once for
//! each value that can occur, and the pixels are looked up in that table.

use dicom_core::Tag;
use dicom_dictionary_std::tags;
use thorax_shared::plane::Plane;

use super::{FORMAT, damaged, dataset::DataSet, pixels::Layout};
use crate::{DecodeError, plane};

/// All values that `bits_stored` bits can have.
pub(super) fn codes_of(layout: &Layout) -> impl Iterator<Item = u16> + use<> {
    0..=((1u32 << layout.bits_stored) - 1) as u16
}

/// How many pixels have each of the [`codes_of`].
pub(super) fn counts(layout: &Layout, codes: impl Iterator<Item = u16>) -> Vec<usize> {
    let mut counts = vec![0; 1 << layout.bits_stored];
    for code in codes {
        counts[usize::from(code)] += 1;
    }
    counts
}

/// The picture of what `table` makes of each code.
pub(super) fn look_up<T: Copy>(layout: &Layout, codes: &[u16], table: &[T]) -> Result<Plane<T>, DecodeError> {
    let data = codes.iter().map(|&code| table[usize::from(code)]).collect();
    plane(FORMAT, layout.columns.into(), layout.rows.into(), data)
}

/// A look-up table (PS3.3, C.11.1.1 and C.11.2.1.1), whose first entry is for the value `first`.
#[derive(Debug)]
pub(super) struct Table {
    first: i32,
    entries: Vec<u16>,
}

impl Table {
    /// The table in the first item of `sequence`, for values that are `signed` or not.
    pub(super) fn read(data: &DataSet<'_>, sequence: Tag, signed: bool) -> Result<Option<Self>, DecodeError> {
        let (Some(descriptor), Some(entries)) =
            (data.item(sequence, tags::LUT_DESCRIPTOR), data.item(sequence, tags::LUT_DATA))
        else {
            return Ok(None);
        };
        let broken = || damaged("a look-up table contradicts its descriptor".into());
        let [length, first, bits] = descriptor.words().try_into().map_err(|_| broken())?;
        let length = if length == 0 { 65536 } else { usize::from(length) };
        // The descriptor is signed or unsigned as the pixels are, but not every writer sticks to that.
        let first = if signed { i32::from(first as i16) } else { i32::from(first) };
        let words = entries.words();
        let entries: Vec<u16> = if words.len() >= length {
            words.into_iter().take(length).collect()
        } else if entries.bytes().len() >= length && bits <= 8 {
            entries.bytes().iter().take(length).map(|&byte| byte.into()).collect()
        } else {
            return Err(broken());
        };
        if !(1..=16).contains(&bits) {
            return Err(broken());
        }
        Ok(Some(Self { first, entries }))
    }

    pub(super) fn apply(&self, value: f64) -> f64 {
        let index = (value - f64::from(self.first)).round().clamp(0.0, self.entries.len() as f64 - 1.0);
        self.entries[index as usize].into()
    }

    /// The greatest entry. It, and not the number of bits in the descriptor, is the end of the scale: tables of 12 bits that are said
    /// to have 16 are common.
    pub(super) fn greatest(&self) -> u16 {
        self.entries.iter().copied().max().unwrap_or(0)
    }
}

/// Rescale Slope and Rescale Intercept, each as far as the file tells it.
#[derive(Clone, Copy, Debug)]
pub(super) struct Rescale {
    pub(super) slope: Option<f64>,
    pub(super) intercept: Option<f64>,
}

impl Rescale {
    pub(super) fn read(data: &DataSet<'_>) -> Result<Self, DecodeError> {
        let first = |tag| Ok::<_, DecodeError>(data.numbers(tag)?.first().copied());
        let slope = first(tags::RESCALE_SLOPE)?;
        if slope == Some(0.0) {
            return Err(damaged("Rescale Slope is 0".into()));
        }
        Ok(Self { slope, intercept: first(tags::RESCALE_INTERCEPT)? })
    }

    /// What is not told changes nothing.
    pub(super) fn apply(self, value: f64) -> f64 {
        self.slope.unwrap_or(1.0) * value + self.intercept.unwrap_or(0.0)
    }
}

/// Stored values that are no measurement (PS3.3, C.7.5.1.1.2).
#[derive(Debug)]
pub(super) struct Padding(Option<std::ops::RangeInclusive<i32>>);

impl Padding {
    pub(super) fn read(data: &DataSet<'_>, layout: &Layout) -> Self {
        // US or SS, as the pixels are; not every writer knows which, so the bits are taken.
        let value = |tag| {
            let bits = data.get(tag)?.words().first().copied()?;
            let fits = layout.bits_stored == 16 || bits >> layout.bits_stored == 0;
            Some(match layout.signed {
                false => i32::from(bits),
                true if fits => layout.stored_value(bits),
                true => i32::from(bits as i16),
            })
        };
        let Some(from) = value(tags::PIXEL_PADDING_VALUE) else { return Self(None) };
        let to = value(tags::PIXEL_PADDING_RANGE_LIMIT).unwrap_or(from);
        Self(Some(from.min(to)..=from.max(to)))
    }

    pub(super) fn contains(&self, stored: i32) -> bool {
        self.0.as_ref().is_some_and(|range| range.contains(&stored))
    }
}
