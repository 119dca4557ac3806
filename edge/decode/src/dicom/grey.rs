//! From stored values to grey values: modality transformation, window, polarity.
//!
//! A stored value has 16 bits at most, so the whole chain (PS3.3, C.11.1 and C.11.2; PS3.4, N.2) is worked out once for
//! each value that can occur, and the pixels are looked up in that table.

use dicom_core::Tag;
use dicom_dictionary_std::tags;
use thorax_shared::preprocess::Pixels;

use super::{FORMAT, damaged, dataset::DataSet, pixels::Layout};
use crate::{DecodeError, plane};

/// Hounsfield units of air, which is what padding around the reconstruction circle stands for.
const AIR: i16 = -1024;

/// Hounsfield units of a CT slice; `None` where the file does not say how to get them.
pub(super) fn hounsfield(data: &DataSet, layout: &Layout, codes: &[u16]) -> Result<Option<Pixels>, DecodeError> {
    let unit = data.text(tags::RESCALE_TYPE);
    if unit.is_some_and(|unit| unit != "HU") {
        return Ok(None);
    }
    let Some(rescale) = rescale(data)? else { return Ok(None) };
    let padding = Padding::read(data, layout)?;
    let table: Vec<i16> = codes_of(layout)
        .map(|code| {
            let stored = layout.stored_value(code);
            // The conversion saturates, as it should.
            if padding.contains(stored) { AIR } else { rescale.apply(stored.into()).round() as i16 }
        })
        .collect();
    look_up(layout, codes, &table).map(|pixels| Some(Pixels::Hounsfield(pixels)))
}

/// Grey values of a film. With a window in the file these are its 8 bits; without one all that was stored is kept, and
/// preprocessing finds the window.
pub(super) fn film(data: &DataSet, layout: &Layout, codes: &[u16], inverted: bool) -> Result<Pixels, DecodeError> {
    let modality = modality_transform(data, layout)?;
    let values: Vec<f64> = codes_of(layout).map(|code| modality.apply(layout.stored_value(code).into())).collect();
    let lowest = values.iter().copied().fold(f64::INFINITY, f64::min);
    let highest = values.iter().copied().fold(f64::NEG_INFINITY, f64::max);

    let window = voi_transform(data, lowest < 0.0)?;
    let (brightest, shares): (f64, Vec<f64>) = match window {
        Some(window) => (255.0, values.iter().map(|&value| window.apply(value)).collect()),
        None => {
            let levels = if layout.bits_stored <= 8 { 255.0 } else { f64::from((1u32 << layout.bits_stored) - 1) };
            let range = (highest - lowest).max(f64::MIN_POSITIVE);
            (levels, values.iter().map(|value| (value - lowest) / range).collect())
        }
    };
    let padding = Padding::read(data, layout)?;
    // MONOCHROME1 means that the lowest value *after* the window is shown white, so that is where it is inverted.
    let grey = |(code, share): (u16, f64)| match () {
        () if padding.contains(layout.stored_value(code)) => 0.0,
        () if inverted => brightest - (share * brightest).round(),
        () => (share * brightest).round(),
    };
    let table = codes_of(layout).zip(shares).map(grey);
    if brightest > 255.0 {
        let table: Vec<u16> = table.map(|grey| grey as u16).collect();
        look_up(layout, codes, &table).map(Pixels::Sixteen)
    } else {
        let table: Vec<u8> = table.map(|grey| grey as u8).collect();
        look_up(layout, codes, &table).map(Pixels::Eight)
    }
}

/// All values that `bits_stored` bits can have.
fn codes_of(layout: &Layout) -> impl Iterator<Item = u16> + use<> {
    0..=((1u32 << layout.bits_stored) - 1) as u16
}

fn look_up<T: Copy>(
    layout: &Layout,
    codes: &[u16],
    table: &[T],
) -> Result<thorax_shared::plane::Plane<T>, DecodeError> {
    let data = codes.iter().map(|&code| table[usize::from(code)]).collect();
    plane(FORMAT, layout.columns.into(), layout.rows.into(), data)
}

/// A step of the chain, from value to value.
#[derive(Debug)]
enum Transform {
    /// Rescale Slope and Rescale Intercept.
    Rescale { slope: f64, intercept: f64 },
    /// A table, whose first entry is for the value `first`.
    Table { first: i32, entries: Vec<u16> },
}

impl Transform {
    fn apply(&self, value: f64) -> f64 {
        match self {
            Self::Rescale { slope, intercept } => slope * value + intercept,
            Self::Table { first, entries } => {
                let index = (value - f64::from(*first)).round().clamp(0.0, entries.len() as f64 - 1.0);
                entries[index as usize].into()
            }
        }
    }
}

/// The file's Rescale Slope and Intercept.
fn rescale(data: &DataSet) -> Result<Option<Transform>, DecodeError> {
    match (&data.numbers(tags::RESCALE_SLOPE)?[..], &data.numbers(tags::RESCALE_INTERCEPT)?[..]) {
        (&[0.0, ..], _) => Err(damaged("Rescale Slope is 0".into())),
        (&[slope, ..], &[intercept, ..]) => Ok(Some(Transform::Rescale { slope, intercept })),
        _ => Ok(None),
    }
}

fn modality_transform(data: &DataSet, layout: &Layout) -> Result<Transform, DecodeError> {
    Ok(match table(data, tags::MODALITY_LUT_SEQUENCE, layout.signed)? {
        Some((table, _)) => table,
        None => rescale(data)?.unwrap_or(Transform::Rescale { slope: 1.0, intercept: 0.0 }),
    })
}

/// The look-up table in a sequence, and the bits of its entries (PS3.3, C.11.1.1 and C.11.2.1.1).
fn table(data: &DataSet, sequence: Tag, signed: bool) -> Result<Option<(Transform, u32)>, DecodeError> {
    let (Some(descriptor), Some(entries)) =
        (data.item(sequence, tags::LUT_DESCRIPTOR), data.item(sequence, tags::LUT_DATA))
    else {
        return Ok(None);
    };
    let broken = || damaged("a look-up table contradicts its descriptor".into());
    let [length, first, bits] =
        descriptor.to_multi_int::<i32>().ok().and_then(|d| d.try_into().ok()).ok_or_else(broken)?;
    // The descriptor is signed or unsigned as the pixels are, but not every writer sticks to that.
    let length = match length as u16 {
        0 => 65536,
        length => usize::from(length),
    };
    let first = if signed { i32::from(first as i16) } else { i32::from(first as u16) };
    let bytes = entries.to_bytes();
    let entries: Vec<u16> = if bytes.len() >= 2 * length {
        bytes.as_chunks().0.iter().take(length).map(|&pair| u16::from_le_bytes(pair)).collect()
    } else if bytes.len() >= length && bits <= 8 {
        bytes.iter().take(length).map(|&byte| byte.into()).collect()
    } else {
        return Err(broken());
    };
    let bits = u32::try_from(bits).ok().filter(|bits| (1..=16).contains(bits)).ok_or_else(broken)?;
    Ok(Some((Transform::Table { first, entries }, bits)))
}

/// The file's window, from value to a share of full brightness (0 to 1).
#[derive(Debug)]
enum Window {
    Table { table: Transform, brightest: f64 },
    Linear { center: f64, width: f64 },
    LinearExact { center: f64, width: f64 },
    Sigmoid { center: f64, width: f64 },
}

impl Window {
    /// PS3.3, C.11.2.1.2 and C.11.2.1.3.
    fn apply(&self, value: f64) -> f64 {
        match *self {
            Self::Table { ref table, brightest } => (table.apply(value) / brightest).min(1.0),
            Self::Linear { center, width } => {
                let (center, width) = (center - 0.5, width - 1.0);
                if value <= center - width / 2.0 {
                    0.0
                } else if value > center + width / 2.0 {
                    1.0
                } else {
                    (value - center) / width + 0.5
                }
            }
            Self::LinearExact { center, width } => ((value - center) / width + 0.5).clamp(0.0, 1.0),
            Self::Sigmoid { center, width } => 1.0 / (1.0 + (-4.0 * (value - center) / width).exp()),
        }
    }
}

/// The first window that the file proposes; a look-up table goes before numbers.
fn voi_transform(data: &DataSet, signed: bool) -> Result<Option<Window>, DecodeError> {
    if let Some((table, bits)) = table(data, tags::VOILUT_SEQUENCE, signed)? {
        return Ok(Some(Window::Table { table, brightest: f64::from((1u32 << bits) - 1) }));
    }
    let (centers, widths) = (data.numbers(tags::WINDOW_CENTER)?, data.numbers(tags::WINDOW_WIDTH)?);
    let (Some(&center), Some(&width)) = (centers.first(), widths.first()) else { return Ok(None) };
    Ok(match data.text(tags::VOILUT_FUNCTION).as_deref() {
        // Widths that the standard forbids say nothing.
        _ if width <= 0.0 => None,
        Some("SIGMOID") => Some(Window::Sigmoid { center, width }),
        Some("LINEAR_EXACT") => Some(Window::LinearExact { center, width }),
        _ if width < 1.0 => None,
        _ => Some(Window::Linear { center, width }),
    })
}

/// Stored values that are no measurement (PS3.3, C.7.5.1.1.2).
#[derive(Debug)]
struct Padding(Option<std::ops::RangeInclusive<i32>>);

impl Padding {
    fn read(data: &DataSet, layout: &Layout) -> Result<Self, DecodeError> {
        // US or SS, as the pixels are; implicit VR cannot tell, so the bits are taken.
        let value = |tag| {
            let bits = data.integer(tag)?.map(|value| value as u16);
            Ok::<_, DecodeError>(bits.map(|bits| if layout.signed { i32::from(bits as i16) } else { bits.into() }))
        };
        let Some(from) = value(tags::PIXEL_PADDING_VALUE)? else { return Ok(Self(None)) };
        let to = value(tags::PIXEL_PADDING_RANGE_LIMIT)?.unwrap_or(from);
        Ok(Self(Some(from.min(to)..=from.max(to))))
    }

    fn contains(&self, stored: i32) -> bool {
        self.0.as_ref().is_some_and(|range| range.contains(&stored))
    }
}
