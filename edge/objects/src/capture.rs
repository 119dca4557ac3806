//! The panel as a picture that any viewer can show: Secondary Capture (PS3.3, A.8).
//!
//! One panel is a Secondary Capture Image, which every archive takes; several are a Multi-frame True Color Secondary Capture, a
//! page each. Pixels are RGB, 8 bits, colour by pixel, without compression.

use dicom_core::{DataElement, PrimitiveValue, VR};
use dicom_dictionary_std::{tags, uids};

use crate::{
    ObjectError,
    object::{Kind, Object, Provenance, RESEARCH_USE, begin, derived_from, finish},
    set::{put, put_empty},
    source::Source,
};

const SINGLE: Kind = Kind {
    class: uids::SECONDARY_CAPTURE_IMAGE_STORAGE,
    modality: "OT",
    series_number: 9103,
    description: "Thorax panel, research use only",
};
const PAGES: Kind = Kind { class: uids::MULTI_FRAME_TRUE_COLOR_SECONDARY_CAPTURE_IMAGE_STORAGE, ..SINGLE };

/// A panel's pixels.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Panel {
    width: u16,
    height: u16,
    rgb: Vec<u8>,
}

impl Panel {
    /// Takes `rgb`, three bytes a pixel, row by row.
    ///
    /// # Errors
    /// [`ObjectError::PanelSize`] when that is not exactly as many as the size asks for, or the size is none that DICOM has.
    pub fn new(width: usize, height: usize, rgb: Vec<u8>) -> Result<Self, ObjectError> {
        let wrong = ObjectError::PanelSize { width, height, bytes: rgb.len() };
        match (u16::try_from(width), u16::try_from(height)) {
            (Ok(columns @ 1..), Ok(rows @ 1..)) if rgb.len() == 3 * width * height => {
                Ok(Self { width: columns, height: rows, rgb })
            }
            _ => Err(wrong),
        }
    }
}

/// Makes a secondary capture of panels of one size, drawn of `sources`. `names_patient`: whether a panel shows who the patient is.
///
/// # Errors
/// [`ObjectError`] when there is no source or no panel, or panels differ in size.
pub fn capture(
    sources: &[&Source],
    panels: Vec<Panel>,
    names_patient: bool,
    provenance: &Provenance,
) -> Result<Object, ObjectError> {
    let first = sources.first().ok_or(ObjectError::Nothing("picture"))?;
    if sources.iter().any(|source| source.study_instance_uid() != first.study_instance_uid()) {
        return Err(ObjectError::Differ("study"));
    }
    let (width, height) =
        panels.first().map(|panel| (panel.width, panel.height)).ok_or(ObjectError::Nothing("panel"))?;
    if let Some(other) = panels.iter().find(|panel| (panel.width, panel.height) != (width, height)) {
        let (width, height) = (other.width.into(), other.height.into());
        return Err(ObjectError::PanelSize { width, height, bytes: other.rgb.len() });
    }
    let kind = if panels.len() == 1 { SINGLE } else { PAGES };
    let mut set = begin(&kind, first, provenance);
    derived_from(&mut set, sources);
    set.put(DataElement::new(tags::IMAGE_TYPE, VR::CS, "DERIVED\\SECONDARY\\OTHER"));
    put(&mut set, tags::DERIVATION_DESCRIPTION, format!("Panel with overlay; {RESEARCH_USE}"));
    // Made at a workstation (PS3.3, C.8.6.1), not taken over from a modality's interface.
    put(&mut set, tags::CONVERSION_TYPE, "WSD");
    put_empty(&mut set, tags::PATIENT_ORIENTATION);
    put(&mut set, tags::BURNED_IN_ANNOTATION, if names_patient { "YES" } else { "NO" });
    put(&mut set, tags::SAMPLES_PER_PIXEL, 3u16);
    put(&mut set, tags::PHOTOMETRIC_INTERPRETATION, "RGB");
    put(&mut set, tags::PLANAR_CONFIGURATION, 0u16);
    put(&mut set, tags::ROWS, height);
    put(&mut set, tags::COLUMNS, width);
    put(&mut set, tags::BITS_ALLOCATED, 8u16);
    put(&mut set, tags::BITS_STORED, 8u16);
    put(&mut set, tags::HIGH_BIT, 7u16);
    put(&mut set, tags::PIXEL_REPRESENTATION, 0u16);
    if panels.len() > 1 {
        put(&mut set, tags::NUMBER_OF_FRAMES, panels.len().to_string());
        put(&mut set, tags::FRAME_INCREMENT_POINTER, tags::PAGE_NUMBER_VECTOR);
        let pages = (1..=panels.len()).map(|page| page.to_string()).collect();
        put(&mut set, tags::PAGE_NUMBER_VECTOR, PrimitiveValue::Strs(pages));
    }
    let mut pixels: Vec<u8> = panels.into_iter().flat_map(|panel| panel.rgb).collect();
    if pixels.len() % 2 == 1 {
        pixels.push(0);
    }
    if pixels.len() >= u32::MAX as usize {
        return Err(ObjectError::TooLarge);
    }
    set.put(DataElement::new(tags::PIXEL_DATA, VR::OB, PrimitiveValue::U8(pixels.into())));
    finish(set, &kind, provenance)
}
