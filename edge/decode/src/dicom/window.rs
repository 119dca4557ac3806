//! From a film's stored values to grey values: modality transformation, window, polarity, padding.
//!
//! Nothing here decides how bright the picture is in the end: preprocessing stretches whatever comes between its quantiles. What
//! matters is that the order of the greys and their proportions are those that the file means, with as many levels as it has.

use dicom_dictionary_std::tags;
use thorax_shared::preprocess::Pixels;

use super::{
    dataset::DataSet,
    pixels::Layout,
    shutter::Shutter,
    stored::{Padding, Rescale, Table, codes_of, counts, look_up},
};
use crate::DecodeError;

/// Grey values of a film, dark where the beam came through.
pub(super) fn film(
    data: &DataSet<'_>,
    layout: &Layout,
    codes: &[u16],
    photometric: &str,
) -> Result<Pixels, DecodeError> {
    let table = Table::read(data, tags::MODALITY_LUT_SEQUENCE, layout.signed)?;
    let rescale = Rescale::read(data)?;
    let values: Vec<f64> = codes_of(layout)
        .map(|code| f64::from(layout.stored_value(code)))
        .map(|stored| table.as_ref().map_or_else(|| rescale.apply(stored), |table| table.apply(stored)))
        .collect();
    let padding = Padding::read(data, layout);
    let measured: Vec<bool> = codes_of(layout).map(|code| !padding.contains(layout.stored_value(code))).collect();
    let columns = usize::from(layout.columns).max(1);
    let shutter = Shutter::read(data);
    let seen = |at: usize| shutter.as_ref().is_none_or(|shutter| shutter.shows(at % columns, at / columns));
    let seen_codes = codes.iter().enumerate().filter(|(at, _)| seen(*at)).map(|(_, &code)| code);
    let occurs: Vec<bool> =
        counts(layout, seen_codes).iter().zip(&measured).map(|(&n, &measured)| n > 0 && measured).collect();
    let among =
        |of: &[f64], which: &[bool]| ends(of.iter().zip(which).filter(|(_, which)| **which).map(|(&value, _)| value));

    let window = Window::read(data, among(&values, &measured).0 < 0.0)?
        .map(|window| values.iter().map(|&value| window.apply(value)).collect::<Vec<_>>())
        // A window that leaves one grey is none.
        .filter(|shares| {
            let (darkest, brightest) = among(shares, &occurs);
            brightest > darkest
        });
    // Without a window a grey is what was stored, counted from the least that can be; with one, what the window makes of it in
    // as many levels as there are.
    let levels = match (&window, layout.bits_stored) {
        (None, ..=8) => 255.0,
        (None, bits) => f64::from((1u32 << bits) - 1),
        (Some(_), _) => 65535.0,
    };
    let shares = window.unwrap_or_else(|| {
        let (lowest, highest) = ends(values.iter().copied());
        values.iter().map(|value| (value - lowest) / (highest - lowest).max(f64::MIN_POSITIVE)).collect()
    });
    // MONOCHROME1 means that the lowest value *after* the window is shown white, so that is where it is inverted. What the
    // presentation LUT says goes before it (PS3.3, C.11.6.1.2), as dcmtk's dcm2pnm has it.
    let inverted = match data.keyword(tags::PRESENTATION_LUT_SHAPE).as_deref() {
        Some("INVERSE") => true,
        Some("IDENTITY") => false,
        _ => photometric == "MONOCHROME1",
    };
    let shown: Vec<f64> = shares.iter().map(|share| if inverted { 1.0 - share } else { *share }).collect();
    let darkest = (among(&shown, &occurs).0.clamp(0.0, 1.0) * levels).round() as u16;
    let table = shown
        .iter()
        .zip(&measured)
        .map(|(&shown, &measured)| if measured { (shown.clamp(0.0, 1.0) * levels).round() as u16 } else { darkest });
    let table: Vec<u16> = table.collect();
    let mut picture = look_up(layout, codes, &table)?;
    // What is no measurement, or not to be seen, is as dark as the darkest that is.
    if shutter.is_some() {
        picture.data_mut().iter_mut().enumerate().filter(|(at, _)| !seen(*at)).for_each(|(_, grey)| *grey = darkest);
    }
    Ok(if levels > 255.0 { Pixels::Sixteen(picture) } else { Pixels::Eight(picture.map(|grey| grey as u8)) })
}

/// The least and the greatest of some values.
fn ends(values: impl Iterator<Item = f64>) -> (f64, f64) {
    values.fold((f64::INFINITY, f64::NEG_INFINITY), |(least, greatest), value| (least.min(value), greatest.max(value)))
}

/// The file's window, from value to a share of full brightness (0 to 1).
#[derive(Debug)]
enum Window {
    Table(Table),
    Linear { center: f64, width: f64 },
    LinearExact { center: f64, width: f64 },
    Sigmoid { center: f64, width: f64 },
}

impl Window {
    /// The first window that the file proposes; a look-up table goes before numbers. A window is a proposal for showing: one that
    /// says nothing is passed over.
    fn read(data: &DataSet<'_>, signed: bool) -> Result<Option<Self>, DecodeError> {
        if let Some(table) = Table::read(data, tags::VOILUT_SEQUENCE, signed)? {
            return Ok(Some(Self::Table(table)));
        }
        let (Some(center), Some(width)) = (data.hint(tags::WINDOW_CENTER), data.hint(tags::WINDOW_WIDTH)) else {
            return Ok(None);
        };
        Ok(match data.keyword(tags::VOILUT_FUNCTION).as_deref() {
            // Widths that the standard forbids; 1 is a step, and what writers put where they know no window.
            _ if width <= 0.0 => None,
            Some("SIGMOID") => Some(Self::Sigmoid { center, width }),
            Some("LINEAR_EXACT" | "LINEAR EXACT") => Some(Self::LinearExact { center, width }),
            _ if width <= 1.0 => None,
            _ => Some(Self::Linear { center, width }),
        })
    }

    /// PS3.3, C.11.2.1.2 and C.11.2.1.3.
    fn apply(&self, value: f64) -> f64 {
        match *self {
            Self::Table(ref table) => table.apply(value) / f64::from(table.greatest().max(1)),
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
