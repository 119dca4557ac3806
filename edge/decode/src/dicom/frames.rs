//! Several frames of one file that are one volume: the enhanced CT objects, whose functional groups say where each frame lies and
//! how it is scaled (PS3.3, C.7.6.16). Frames of anything else are a film, a run or a stack of captures, and are refused by name.

use dicom_dictionary_std::tags;
use thorax_shared::{modality::Modality, plane::Plane, preprocess::Pixels, verdict::ReferReason};

use super::{
    dataset::DataSet,
    picture,
    pixels::{self, Layout},
    stack::{Place, SamePlace, Stack, stack},
    view,
};
use crate::{DecodeError, Limits, Volume};

/// Enhanced CT Image Storage, Legacy Converted Enhanced CT Image Storage.
const ENHANCED_CT: [&str; 2] = ["1.2.840.10008.5.1.4.1.1.2.1", "1.2.840.10008.5.1.4.1.1.2.2"];

/// The volume that the frames of `data` are.
pub(super) fn volume(
    data: &mut DataSet<'_>,
    layout: &Layout,
    modality: Option<Modality>,
    limits: &Limits,
) -> Result<Volume, DecodeError> {
    let frames = layout.frames;
    let enhanced = data.text(tags::SOP_CLASS_UID).is_some_and(|class| ENHANCED_CT.contains(&&*class));
    if !enhanced || modality != Some(Modality::Ct) {
        return Err(DecodeError::MultiFrame { frames: frames as i64 });
    }
    if (layout.pixels() * 2) as u64 * frames as u64 > limits.max_decoded_bytes {
        return Err(DecodeError::TooMuchData { limit: limits.max_decoded_bytes });
    }
    let unsupported = |feature: String| DecodeError::Unsupported {
        format: "an enhanced CT object",
        feature,
        instead: "one series of axial slices",
    };
    // An overview that lies otherwise is named as such, not as a frame that does not fit.
    let mut places = Vec::new();
    for index in 0..frames {
        data.frame = index;
        view::of_slice(data)?;
        let place =
            Place::read(data, layout)?.ok_or_else(|| unsupported(format!("no position of frame {}", index + 1)))?;
        if places.first().is_some_and(|first: &Place| !first.fits(&place)) {
            return Err(unsupported(format!("frame {} that lies otherwise than the first", index + 1)));
        }
        places.push(place);
    }
    let Stack { order, affine, notes } = stack(&places, |index| format!("frame {}", index + 1)).map_err(|same| {
        let SamePlace(one, other) = same;
        unsupported(format!(
            "frames {} and {} at one place (two times, energies or reconstructions)",
            one + 1,
            other + 1
        ))
    })?;
    let mut refer = None;
    let slices = order.iter().map(|&index| {
        data.frame = index;
        let (plane, reason) = slice(data, layout)?;
        refer = refer.or(reason);
        Ok(plane)
    });
    let numbers = order.iter().map(|&index| index as u32 + 1).collect();
    let volume = Volume::from_slices(frames, affine, slices)?.with_notes(notes).of_frames(numbers);
    Ok(match refer {
        Some(reason) => volume.referred(reason),
        None => volume,
    })
}

/// The chosen frame of `data` in Hounsfield units, as it is stored, and why a person has to look at it.
pub(super) fn slice(data: &DataSet<'_>, layout: &Layout) -> Result<(Plane<i16>, Option<ReferReason>), DecodeError> {
    let found = picture(data, layout, Some(Modality::Ct))?;
    match found.pixels {
        Pixels::Hounsfield(plane) => Ok((plane, found.view.refer)),
        Pixels::Eight(_) | Pixels::Sixteen(_) => Err(pixels::unsupported("CT values of no unit".into())),
    }
}
