//! From a CT slice's stored values to Hounsfield units, or a refusal: a lung window over anything else is a picture of nothing.
//!
//! Where the file leaves open how to get them, the values themselves decide. Every axial slice of a chest has air (below -500
//! HU) and soft tissue (-200 to 300 HU), and no other usual scale has both there. What is told and right, what is told incompletely and
//! right as it stands, and what is a whole 1024 too high is read; all else is refused.

use dicom_dictionary_std::tags;
use thorax_shared::{preprocess::Pixels, verdict::ReferReason};

use super::{
    dataset::DataSet,
    pixels::Layout,
    stored::{Padding, Rescale, codes_of, counts, look_up},
};
use crate::DecodeError;

/// Hounsfield units of air, which is what padding around the reconstruction circle stands for.
const AIR: i16 = -1024;

/// What scanners that cannot store negative numbers add.
const OFFSET: f64 = 1024.0;

/// Hounsfield units of a CT slice, and why a person has to look at them, if one has to: a file whose every word says Hounsfield
/// units is believed, but without air and soft tissue it is no slice of a chest, or its words are wrong.
///
/// # Errors
/// [`DecodeError::NoHounsfield`], where the file does not say how to get them and the values do not tell.
pub(super) fn hounsfield(
    data: &DataSet<'_>,
    layout: &Layout,
    codes: &[u16],
) -> Result<(Pixels, Option<ReferReason>), DecodeError> {
    if data.item(tags::MODALITY_LUT_SEQUENCE, tags::LUT_DATA).is_some() {
        return Err(no_hounsfield("they are in a look-up table, whose entries cannot be negative"));
    }
    let rescale = Rescale::read(data)?;
    let unit = data.keyword(tags::RESCALE_TYPE);
    let padding = Padding::read(data, layout);
    let values: Vec<Option<f64>> = codes_of(layout)
        .map(|code| layout.stored_value(code))
        .map(|stored| (!padding.contains(stored)).then(|| rescale.apply(stored.into())))
        .collect();
    let counts = counts(layout, codes.iter().copied());
    let measured: Vec<(f64, usize)> = values
        .iter()
        .zip(counts)
        .filter(|(_, count)| *count > 0)
        .filter_map(|(value, count)| Some(((*value)?, count)))
        .collect();
    let pixels = measured.iter().map(|(_, count)| count).sum::<usize>().max(1) as f64;
    let share = |from: f64, to: f64| {
        let inside = measured.iter().filter(|(value, _)| (from..to).contains(value)).map(|(_, count)| count);
        inside.sum::<usize>() as f64 / pixels
    };
    let air = |offset: f64| share(f64::NEG_INFINITY, offset - 500.0) >= 0.01;
    let tissue = |offset: f64| share(offset - 200.0, offset + 300.0) >= 0.05;

    let told =
        rescale.slope.is_some() && rescale.intercept.is_some() && unit.as_deref().is_none_or(|unit| unit == "HU");
    let offset = match () {
        () if air(0.0) && (told || tissue(0.0)) => 0.0,
        // An intercept of 0 where it should be -1024: then there is nothing below 0, and the air is there.
        () if rescale.intercept == Some(0.0)
            && share(f64::NEG_INFINITY, -100.0) == 0.0
            && air(OFFSET)
            && tissue(OFFSET) =>
        {
            OFFSET
        }
        () if told => 0.0,
        () if rescale.intercept.is_none() => return Err(no_hounsfield("Rescale Intercept is missing")),
        () => return Err(no_hounsfield("no air and lung among its values")),
    };
    let table: Vec<i16> = values
        .iter()
        // The conversion saturates, as it should.
        .map(|value| value.map_or(AIR, |value| (value - offset).round() as i16))
        .collect();
    let refer = (!air(offset) || !tissue(offset)).then_some(ReferReason::NotOfAChest);
    Ok((Pixels::Hounsfield(look_up(layout, codes, &table)?), refer))
}

/// The refusal, and what it rests on.
pub(super) fn no_hounsfield(evidence: &'static str) -> DecodeError {
    DecodeError::NoHounsfield { evidence }
}
