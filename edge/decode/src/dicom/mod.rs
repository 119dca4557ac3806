//! DICOM: chest films (CR, DX, RG) and axial CT slices, one frame a file.
//!
//! The way of a file: [`elements`] finds the elements wherever they are nested, [`dataset`] keeps those that matter, [`pixels`]
//! unpacks the samples, [`hounsfield`] and [`window`] say what stored values mean, [`view`] how to hang the picture.
//!
//! Meaning is never guessed. What makes a picture mean something else than it seems to (another modality, a lateral film, a
//! coronal reformat, raw detector data, values that are no Hounsfield units) is refused by name; where the file leaves open how
//! the picture hangs, its sides are not told, and where it should have said so, a person has to look.

mod dataset;
mod elements;
mod hounsfield;
mod pixels;
mod shutter;
mod stored;
mod view;
mod window;

use dicom_dictionary_std::tags;
use image::RgbImage;
use thorax_shared::{modality::Modality, preprocess::Pixels};

pub(super) use self::dataset::{has_magic, looks_bare};
use self::{dataset::DataSet, pixels::Layout};
use super::{DecodeError, Frame, Limits, oriented, picture};

/// The name of the format in messages.
const FORMAT: &str = "DICOM";

/// Decodes a DICOM file. `told` is what a person says that it is, whatever the file says.
pub(super) fn decode(bytes: &[u8], limits: &Limits, told: Option<Modality>) -> Result<Frame, DecodeError> {
    let data = DataSet::read(bytes, limits)?;
    let modality = match told {
        Some(modality) => Some(modality),
        None => modality(&data)?,
    };
    if data.get(tags::PIXEL_DATA).is_none() && data.fragments().is_none_or(|fragments| fragments.is_empty()) {
        return Err(if data.get(tags::FLOAT_PIXEL_DATA).or(data.get(tags::DOUBLE_FLOAT_PIXEL_DATA)).is_some() {
            pixels::unsupported("floating-point pixels".into())
        } else {
            DecodeError::NoPixelData
        });
    }
    if let Some(frames) = data.integer(tags::NUMBER_OF_FRAMES)?
        && frames > 1
    {
        return Err(DecodeError::MultiFrame { frames });
    }
    refuse_raw(&data)?;
    let layout = Layout::read(&data, limits)?;
    let mut view = match modality {
        Some(Modality::Ct) => view::of_slice(&data)?,
        Some(Modality::Xray) | None => view::of_film(&data)?,
    };

    let samples = pixels::read(&data, &layout)?;
    let (stored, colour_share) = match samples.photometric.as_str() {
        photometric @ ("MONOCHROME1" | "MONOCHROME2") if layout.samples_per_pixel == 1 => match modality {
            Some(Modality::Ct) => {
                let (pixels, refer) = hounsfield::hounsfield(&data, &layout, &samples.codes)?;
                view.refer = view.refer.or(refer);
                (pixels, 0.0)
            }
            Some(Modality::Xray) | None => (window::film(&data, &layout, &samples.codes, photometric)?, 0.0),
        },
        "RGB" | "YBR_FULL" if layout.samples_per_pixel == 3 && modality == Some(Modality::Ct) => {
            return Err(hounsfield::no_hounsfield("they are colours"));
        }
        photometric @ ("RGB" | "YBR_FULL") if layout.samples_per_pixel == 3 => {
            let (grey, share) = picture::luminance(&colour(&layout, &samples.codes, photometric)?, FORMAT)?;
            (Pixels::Eight(grey), share)
        }
        other => return Err(pixels::unsupported(format!("photometric interpretation {other}"))),
    };
    let orientation = view.orientation;
    let pixels = match stored {
        Pixels::Eight(plane) => Pixels::Eight(oriented(plane, orientation)),
        Pixels::Sixteen(plane) => Pixels::Sixteen(oriented(plane, orientation)),
        Pixels::Hounsfield(plane) => Pixels::Hounsfield(oriented(plane, orientation)),
    };
    let spacing_mm =
        spacing(&data)?.map(|[down, across]| if orientation.transpose { [across, down] } else { [down, across] });
    Ok(Frame {
        pixels,
        modality,
        orientation,
        stored_size: (layout.columns.into(), layout.rows.into()),
        spacing_mm,
        colour_share,
        sides_known: view.sides_known,
        refer: view.refer,
    })
}

/// Refuses what the detector counted before it was made a picture (PS3.3, C.8.11.1).
fn refuse_raw(data: &DataSet<'_>) -> Result<(), DecodeError> {
    /// Digital X-Ray Image Storage - For Processing.
    const FOR_PROCESSING: &str = "1.2.840.10008.5.1.4.1.1.1.1.1";
    let intent = data.keyword(tags::PRESENTATION_INTENT_TYPE).map(|intent| intent.replace('_', " "));
    let raw = match intent.as_deref() {
        Some("FOR PRESENTATION") => false,
        Some("FOR PROCESSING") => true,
        _ => data.text(tags::SOP_CLASS_UID).as_deref() == Some(FOR_PROCESSING),
    };
    if raw { Err(DecodeError::ForProcessing) } else { Ok(()) }
}

/// The kind of picture, `None` where the file does not say.
fn modality(data: &DataSet<'_>) -> Result<Option<Modality>, DecodeError> {
    match data.keyword(tags::MODALITY) {
        None => Ok(None),
        Some(modality) => match modality.as_str() {
            "CR" | "DX" | "RG" => Ok(Some(Modality::Xray)),
            "CT" => Ok(Some(Modality::Ct)),
            _ => Err(DecodeError::Modality { modality }),
        },
    }
}
/// Height and width of a stored pixel in millimetres: in the patient, or else on the detector.
fn spacing(data: &DataSet<'_>) -> Result<Option<[f32; 2]>, DecodeError> {
    for tag in [tags::PIXEL_SPACING, tags::IMAGER_PIXEL_SPACING] {
        if let [down, across] = data.numbers(tag)?[..]
            && down > 0.0
            && across > 0.0
        {
            return Ok(Some([down as f32, across as f32]));
        }
    }
    Ok(None)
}

/// The colour picture that the codes of three channels are.
fn colour(layout: &Layout, codes: &[u16], photometric: &str) -> Result<RgbImage, DecodeError> {
    let full = f32::from((1u16 << layout.bits_stored) - 1);
    let rgb = codes
        .as_chunks::<3>()
        .0
        .iter()
        .flat_map(|pixel| {
            let channels = pixel.map(|code| f32::from(code) / full * 255.0);
            let rgb = if photometric == "YBR_FULL" { rgb_of(channels) } else { channels };
            rgb.map(|channel| channel.round() as u8)
        })
        .collect();
    RgbImage::from_raw(layout.columns.into(), layout.rows.into(), rgb)
        .ok_or_else(|| damaged("too few colour samples".into()))
}

/// ITU-R BT.601 at full range, as PS3.3, C.7.6.3.1.2 has it.
fn rgb_of([luma, blue, red]: [f32; 3]) -> [f32; 3] {
    let (blue, red) = (blue - 128.0, red - 128.0);
    [luma + 1.402 * red, luma - 0.344_136 * blue - 0.714_136 * red, luma + 1.772 * blue]
}

fn damaged(reason: String) -> DecodeError {
    DecodeError::Damaged { format: FORMAT, reason }
}
