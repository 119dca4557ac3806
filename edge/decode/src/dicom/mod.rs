//! DICOM: chest films (CR, DX, RG), axial CT slices, and the volumes that enhanced CT objects are.
//!
//! The way of a file: [`elements`] finds the elements wherever they are nested, [`dataset`] keeps those that matter, [`pixels`]
//! unpacks the samples, [`hounsfield`], [`window`] and [`colour`] say what stored values mean, [`view`] how to hang the picture.
//! [`stack`] puts slices in order, those of one file ([`frames`]) and those of a series of files (`crate::series`).
//!
//! Meaning is never guessed. What makes a picture mean something else than it seems to (another modality, a lateral film, a
//! coronal reformat, raw detector data, values that are no Hounsfield units) is refused by name; where the file leaves open how
//! the picture hangs, its sides are not told, and where it should have said so, a person has to look.

mod colour;
mod dataset;
mod elements;
mod frames;
mod hounsfield;
mod pixels;
mod shutter;
mod stack;
mod stored;
mod view;
mod window;

use dicom_dictionary_std::tags;
use thorax_shared::{modality::Modality, plane::Plane, preprocess::Pixels, verdict::ReferReason};

pub(super) use self::dataset::{has_magic, looks_bare};
pub(super) use self::stack::{Place, SamePlace, Stack, stack};
use self::{dataset::DataSet, pixels::Layout, view::View};
use super::{DecodeError, Frame, Limits, Study, oriented, picture};

/// The name of the format in messages.
const FORMAT: &str = "DICOM";

/// Decodes a DICOM file. `told` is what a person says that it is, whatever the file says.
pub(super) fn decode(bytes: &[u8], limits: &Limits, told: Option<Modality>) -> Result<Study, DecodeError> {
    let mut data = DataSet::read(bytes, limits)?;
    let modality = match told {
        Some(modality) => Some(modality),
        None => modality(&data)?,
    };
    if !data.has_pixels() {
        return Err(if data.get(tags::FLOAT_PIXEL_DATA).or(data.get(tags::DOUBLE_FLOAT_PIXEL_DATA)).is_some() {
            pixels::unsupported("floating-point pixels".into())
        } else {
            DecodeError::NoPixelData
        });
    }
    refuse_raw(&data)?;
    let layout = Layout::read(&data, limits)?;
    if layout.frames > 1 {
        return frames::volume(&mut data, &layout, modality, limits).map(Study::Volume);
    }
    let Picture { pixels, view, colour_share } = picture(&data, &layout, modality)?;
    let orientation = view.orientation;
    let pixels = match pixels {
        Pixels::Eight(plane) => Pixels::Eight(oriented(plane, orientation)),
        Pixels::Sixteen(plane) => Pixels::Sixteen(oriented(plane, orientation)),
        Pixels::Hounsfield(plane) => Pixels::Hounsfield(oriented(plane, orientation)),
    };
    let turned = |[down, across]: [f32; 2]| if orientation.transpose { [across, down] } else { [down, across] };
    let spacing = spacing(&data)?.map(turned);
    let frame = Frame {
        pixels,
        modality,
        orientation,
        stored_size: (layout.columns.into(), layout.rows.into()),
        spacing_mm: spacing.or_else(|| aspect(&data).map(turned)),
        colour_share,
        sides_known: view.sides_known,
        refer: view.refer,
    }
    .shown();
    // A ratio is no length.
    let spacing_mm = spacing.and(frame.spacing_mm);
    Ok(Study::Image(Frame { spacing_mm, ..frame }))
}

/// A picture as it is stored, and how to hang it.
struct Picture {
    pixels: Pixels,
    view: View,
    colour_share: f32,
}

/// The frame of `data` that is chosen.
fn picture(data: &DataSet<'_>, layout: &Layout, modality: Option<Modality>) -> Result<Picture, DecodeError> {
    let mut view = match modality {
        Some(Modality::Ct) => view::of_slice(data)?,
        Some(Modality::Xray) | None => view::of_film(data)?,
    };
    let samples = pixels::read(data, layout, data.frame)?;
    if let Some(colours) = colour::rgb(data, layout, &samples)? {
        if modality == Some(Modality::Ct) {
            return Err(hounsfield::no_hounsfield("they are colours"));
        }
        let (grey, colour_share) = picture::luminance(&colours, FORMAT)?;
        return Ok(Picture { pixels: Pixels::Eight(grey), view, colour_share });
    }
    let photometric = samples.photometric.as_str();
    if !matches!(photometric, "MONOCHROME1" | "MONOCHROME2") || samples.channels != 1 {
        return Err(pixels::unsupported(format!("photometric interpretation {photometric}")));
    }
    let pixels = match modality {
        Some(Modality::Ct) => {
            let (pixels, refer) = hounsfield::hounsfield(data, layout, &samples.codes)?;
            view.refer = view.refer.or(refer);
            pixels
        }
        Some(Modality::Xray) | None => window::film(data, layout, &samples.codes, photometric)?,
    };
    Ok(Picture { pixels, view, colour_share: 0.0 })
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

/// Height and width of a stored pixel by Pixel Aspect Ratio (PS3.3, C.7.6.3.1.7), in no unit: for pictures without spacing.
fn aspect(data: &DataSet<'_>) -> Option<[f32; 2]> {
    match data.numbers(tags::PIXEL_ASPECT_RATIO).ok()?[..] {
        [down, across] if down > 0.0 && across > 0.0 => Some([down as f32, across as f32]),
        _ => None,
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

fn damaged(reason: String) -> DecodeError {
    DecodeError::Damaged { format: FORMAT, reason }
}

/// What a DICOM file says of itself that tells whether it is a slice of a series.
#[derive(Clone, Debug)]
pub(super) struct Header {
    /// Which series it is of, if it says.
    pub(super) series: Option<String>,
    /// Which object it is.
    pub(super) instance: Option<String>,
    pub(super) kind: Kind,
}

/// What a DICOM file is to a series.
#[derive(Clone, Debug)]
pub(super) enum Kind {
    /// A CT image of one frame; where it lies, if it says.
    Slice(Option<Place>),
    /// An overview by which a scan was planned.
    Localizer,
    /// Anything else that has pixels.
    Other,
}

/// Reads what [`Header`] holds, and no pixels. `told` is what a person says that the file is.
pub(super) fn header(bytes: &[u8], limits: &Limits, told: Option<Modality>) -> Result<Header, DecodeError> {
    let data = DataSet::read(bytes, limits)?;
    if !data.has_pixels() && data.get(tags::FLOAT_PIXEL_DATA).or(data.get(tags::DOUBLE_FLOAT_PIXEL_DATA)).is_none() {
        return Err(DecodeError::NoPixelData);
    }
    let ct = told.map_or_else(|| data.keyword(tags::MODALITY).as_deref() == Some("CT"), |told| told == Modality::Ct);
    let overview = data
        .texts(tags::IMAGE_TYPE)
        .iter()
        .any(|word| ["LOCALIZER", "SCOUT", "TOPOGRAM", "SCANOGRAM", "SURVIEW"].contains(&&*word.to_uppercase()));
    let kind = match ct {
        true if overview => Kind::Localizer,
        // What is wrong with it is told when it is read.
        true => match Layout::read(&data, limits) {
            Ok(layout) if layout.frames == 1 => Kind::Slice(Place::read(&data, &layout).unwrap_or(None)),
            _ => Kind::Other,
        },
        false => Kind::Other,
    };
    Ok(Header { series: data.text(tags::SERIES_INSTANCE_UID), instance: data.text(tags::SOP_INSTANCE_UID), kind })
}

/// A slice of a series in Hounsfield units, as it is stored, and why a person has to look at it.
pub(super) fn slice(bytes: &[u8], limits: &Limits) -> Result<(Plane<i16>, Option<ReferReason>), DecodeError> {
    let data = DataSet::read(bytes, limits)?;
    refuse_raw(&data)?;
    frames::slice(&data, &Layout::read(&data, limits)?)
}
