//! Where infection and lungs are, as a DICOM Segmentation (PS3.3, A.51): binary, a frame for each slice and segment.
//!
//! Masks lie on the stored pixels of the picture, so a frame has the picture's rows, columns and place, and refers to it. Frames
//! without a pixel are left out, but for the case that all are: an object has to have frames, and "nothing was found" is a result. A
//! segment is described whether it has frames or not, since it was looked for.
//!
//! A slice is packed to bits when it is added, so that a device never holds the masks of a whole volume.
//!
//! A film (CR, DX) has no frame of reference: then neither position nor orientation is told, the segment is the only dimension, and
//! the reference to the one picture is what ties the pixels to it. Several pictures need places, or nobody could order them.

use std::cmp::Ordering;

use dicom_core::{DataElement, PrimitiveValue, Tag, VR};
use dicom_dictionary_std::{tags, uids};
use thorax_shared::plane::Plane;

use crate::{
    ObjectError,
    bits::Packed,
    code::{self, Code},
    object::{Bundle, Kind, Object, Provenance, RESEARCH_USE, algorithm, begin, by_series, derived_from, finish},
    set::{Set, put, put_empty, put_items},
    source::{Place, Reference, Source},
    uid,
};

const KIND: Kind = Kind {
    class: uids::SEGMENTATION_STORAGE,
    modality: "SEG",
    series_number: 9101,
    description: "Thorax segmentation, research use only",
};

/// The lungs found on a frame.
#[derive(Clone, Copy, Debug)]
pub enum Lungs<'a> {
    /// Which is which is known; left is the patient's left.
    Sided {
        /// The left lung.
        left: &'a Plane<u8>,
        /// The right lung.
        right: &'a Plane<u8>,
    },
    /// Nobody knows which is which.
    Unsided(&'a Plane<u8>),
}

/// The masks found on a frame, on its pixels as they are stored. What is not 0 is inside.
#[derive(Clone, Copy, Debug)]
pub struct Masks<'a> {
    /// The infected part of the lungs.
    pub infection: &'a Plane<u8>,
    /// The lungs.
    pub lungs: Lungs<'a>,
}

impl<'a> Masks<'a> {
    /// With the segments that they are of.
    fn segments(&self) -> Vec<(Segment, &'a Plane<u8>)> {
        let infection = (Segment::Infection, self.infection);
        match self.lungs {
            Lungs::Sided { left, right } => vec![infection, (Segment::LeftLung, left), (Segment::RightLung, right)],
            Lungs::Unsided(lungs) => vec![infection, (Segment::Lungs, lungs)],
        }
    }
}

/// What a segment is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Segment {
    /// The infected part of the lungs.
    Infection,
    /// The patient's left lung.
    LeftLung,
    /// The patient's right lung.
    RightLung,
    /// Both lungs, where nobody knows which is which.
    Lungs,
}

impl Segment {
    /// As a viewer lists it.
    pub const fn label(self) -> &'static str {
        match self {
            Self::Infection => "Infection",
            Self::LeftLung => "Left lung",
            Self::RightLung => "Right lung",
            Self::Lungs => "Lungs",
        }
    }

    /// What it is made of.
    pub(crate) fn finding(self) -> Code {
        if self == Self::Infection { code::OPACITY } else { code::LUNG }
    }

    /// The side, where it has one.
    pub(crate) fn side(self) -> Option<Code> {
        match self {
            Self::LeftLung => Some(code::LEFT),
            Self::RightLung => Some(code::RIGHT),
            Self::Infection | Self::Lungs => None,
        }
    }

    /// Recommended Display CIELab Value (PS3.3, C.10.7.1.1) of the colours in `thorax_shared::mask`.
    fn colour(self) -> [u16; 3] {
        use thorax_shared::mask::{INFECTION_COLOUR, LEFT_LUNG_COLOUR, LUNG_COLOUR};
        cielab(match self {
            Self::Infection => INFECTION_COLOUR,
            Self::LeftLung => LEFT_LUNG_COLOUR,
            Self::RightLung | Self::Lungs => LUNG_COLOUR,
        })
    }
}

/// sRGB (IEC 61966-2-1) as CIELab under D50, in the 16 bits of PS3.3, C.10.7.1.1: L* of 0 to 100 and a*, b* of -128 to 127 each over
/// 0 to 65535.
fn cielab(rgb: [u8; 3]) -> [u16; 3] {
    let linear = rgb.map(|value| {
        let value = f64::from(value) / 255.0;
        if value <= 0.04045 { value / 12.92 } else { ((value + 0.055) / 1.055).powf(2.4) }
    });
    // Bradford-adapted from D65 to D50, each row divided by the white point's value, which is the row's sum.
    let rows =
        [[0.4360747, 0.3850649, 0.1430804], [0.2225045, 0.7168786, 0.0606169], [0.0139322, 0.0971045, 0.7141733]];
    let [x, y, z] = rows.map(|row| {
        let sum: f64 = row.iter().sum();
        let value = row.iter().zip(linear).map(|(a, b)| a * b).sum::<f64>() / sum;
        if value > 216.0 / 24389.0 { value.cbrt() } else { (24389.0 / 27.0 * value + 16.0) / 116.0 }
    });
    let scaled = |value: f64| (value * 65535.0).round().clamp(0.0, 65535.0) as u16;
    let (l, a, b) = (116.0 * y - 16.0, 500.0 * (x - y), 200.0 * (y - z));
    [scaled(l / 100.0), scaled((a + 128.0) / 255.0), scaled((b + 128.0) / 255.0)]
}

/// A frame of a picture, with its masks as bits.
#[derive(Clone, Debug)]
struct Slice {
    /// Place among the sources.
    source: usize,
    /// The frame of the source, counted from 1.
    frame: u32,
    place: Option<Place>,
    /// Pixel Spacing, Slice Thickness, Spacing Between Slices, as they were written.
    measures: [Option<Vec<String>>; 3],
    masks: Vec<Packed>,
}

/// Of a functional group's Pixel Measures (PS3.3, C.7.6.16.2.1).
const MEASURES: [Tag; 3] = [tags::PIXEL_SPACING, tags::SLICE_THICKNESS, tags::SPACING_BETWEEN_SLICES];

/// Takes the frames of a picture or series one by one, and makes a segmentation of them.
#[derive(Clone, Debug, Default)]
pub struct SegmentationBuilder {
    sources: Vec<Source>,
    segments: Vec<Segment>,
    slices: Vec<Slice>,
    overlap: bool,
}

/// A finished segmentation, and what a report has to know of it.
#[derive(Clone, Debug)]
pub struct Segmentation {
    /// The object.
    pub object: Object,
    pub(crate) segments: Vec<SegmentFrames>,
    /// Whether it is of a single frame of a single picture.
    pub(crate) planar: bool,
}

/// A segment's number, name for all times, and frames.
#[derive(Clone, Debug)]
pub(crate) struct SegmentFrames {
    pub(crate) segment: Segment,
    pub(crate) number: u16,
    pub(crate) tracking_uid: String,
    /// Frame of the segmentation, counted from 1, and the picture and its frame (where it has several) that it lies on.
    pub(crate) frames: Vec<(u32, Reference, Option<u32>)>,
    /// The series of the pictures.
    pub(crate) series: String,
    /// Whether any pixel is marked.
    pub(crate) marked: bool,
}

impl Segmentation {
    /// Its segments, in the order of their numbers, each with the count of its frames.
    pub fn segments(&self) -> impl Iterator<Item = (Segment, usize)> + '_ {
        self.segments.iter().map(|segment| (segment.segment, segment.frames.len()))
    }
}

impl SegmentationBuilder {
    /// Adds what was found on a frame of `source`, counted from 1; a picture of a single frame has frame 1. The order does not
    /// matter.
    ///
    /// # Errors
    /// [`ObjectError`] when the masks have not the frame's size, or when the source is not of the study, size or frame of reference
    /// of those before it. What was added before stays.
    pub fn add(&mut self, source: &Source, frame: u32, masks: Masks<'_>) -> Result<(), ObjectError> {
        if !(1..=source.frames()).contains(&frame) {
            return Err(ObjectError::NoSuchFrame { frame, frames: source.frames() });
        }
        let masks = masks.segments();
        if let Some((_, mask)) = masks.iter().find(|(_, mask)| (mask.width(), mask.height()) != source.size()) {
            return Err(ObjectError::MaskSize { mask: (mask.width(), mask.height()), picture: source.size() });
        }
        let segments: Vec<Segment> = masks.iter().map(|(segment, _)| *segment).collect();
        if let Some(first) = self.sources.first() {
            let differ = |what: &'static str| Err(ObjectError::Differ(what));
            if first.study_instance_uid() != source.study_instance_uid() {
                return differ("study");
            } else if first.size() != source.size() {
                return differ("rows and columns");
            } else if first.frame_of_reference() != source.frame_of_reference() {
                return differ("frame of reference");
            } else if self.segments != segments {
                return differ("whether the sides of the lungs are known");
            }
        }
        let known = self.sources.iter().position(|known| known.reference() == source.reference());
        if self.slices.iter().any(|slice| Some(slice.source) == known && slice.frame == frame) {
            return Err(ObjectError::FrameTwice { instance: source.sop_instance_uid().to_owned(), frame });
        }
        let masks: Vec<Packed> = masks.iter().map(|(_, mask)| Packed::of(mask)).collect();
        self.overlap |= (1..masks.len()).any(|i| masks[..i].iter().any(|mask| mask.overlaps(&masks[i])));
        self.slices.push(Slice {
            source: known.unwrap_or(self.sources.len()),
            frame,
            place: source.place(frame),
            measures: MEASURES.map(|tag| source.of_frame(frame, tags::PIXEL_MEASURES_SEQUENCE, tag)),
            masks,
        });
        if known.is_none() {
            self.sources.push(source.clone());
        }
        self.segments = segments;
        Ok(())
    }

    /// Makes the object of what was added. What read the pictures is told now, since it is known when they were read.
    ///
    /// # Errors
    /// [`ObjectError`] when nothing was added, when several frames were and not all have a place, or when there are more pixels than
    /// an object can have.
    pub fn finish(mut self, provenance: &Provenance) -> Result<Segmentation, ObjectError> {
        let first = self.sources.first().ok_or(ObjectError::Nothing("frame"))?;
        let positions = positions(&mut self.slices)?;
        let placed = self.slices.iter().all(|slice| slice.place.is_some());

        let mut set = begin(&KIND, first, provenance);
        let sources: Vec<&Source> = self.sources.iter().collect();
        derived_from(&mut set, &sources);
        set.put(DataElement::new(tags::IMAGE_TYPE, VR::CS, "DERIVED\\PRIMARY"));
        put(&mut set, tags::CONTENT_LABEL, "RESEARCH_USE");
        put(&mut set, tags::CONTENT_DESCRIPTION, format!("Infection and lungs; {RESEARCH_USE}"));
        put_empty(&mut set, tags::CONTENT_CREATOR_NAME);
        let references = sources.iter().map(|source| (source.series_instance_uid(), source.reference()));
        put_items(
            &mut set,
            tags::REFERENCED_SERIES_SEQUENCE,
            by_series(references, tags::REFERENCED_INSTANCE_SEQUENCE),
        );
        if let Some(uid) = first.frame_of_reference().filter(|_| placed) {
            put(&mut set, tags::FRAME_OF_REFERENCE_UID, uid);
            put_empty(&mut set, tags::POSITION_REFERENCE_INDICATOR);
        } else {
            // Of type 2C where no plane is told (PS3.3, C.7.6.1), and the masks are turned as the picture is.
            let orientation = crate::set::texts(first.set(), tags::PATIENT_ORIENTATION).unwrap_or_default();
            let orientation = PrimitiveValue::Strs(orientation.into_iter().collect());
            put(&mut set, tags::PATIENT_ORIENTATION, orientation);
        }
        pixel_module(&mut set, first);
        put(&mut set, tags::SEGMENTATION_TYPE, "BINARY");
        put(&mut set, tags::SEGMENTS_OVERLAP, if self.overlap { "YES" } else { "NO" });
        let bundle = &provenance.bundle;
        let tracking: Vec<String> = self.segments.iter().map(|segment| self.tracking_uid(*segment, bundle)).collect();
        let described = self.segments.iter().zip(&tracking).zip(1..);
        let described =
            described.map(|((segment, uid), number)| Self::described(*segment, number, uid, bundle)).collect();
        put_items(&mut set, tags::SEGMENT_SEQUENCE, described);
        self.dimensions(&mut set, placed);
        let shared = self.shared_groups(placed);

        let all_empty = self.slices.iter().flat_map(|slice| &slice.masks).all(Packed::is_empty);
        let mut pixels = Packed::default();
        let mut frames = vec![];
        let mut segments = vec![];
        for (i, (&segment, tracking_uid)) in self.segments.iter().zip(&tracking).enumerate() {
            let number = i as u16 + 1;
            let mut of_segment = vec![];
            for (slice, position) in self.slices.iter().zip(&positions) {
                let source = &self.sources[slice.source];
                if slice.masks[i].is_empty() && !all_empty {
                    continue;
                }
                pixels.append(&slice.masks[i]);
                frames.push(self.frame_groups(slice, number, placed.then_some(*position), &shared));
                let frame = (source.frames() > 1).then_some(slice.frame);
                of_segment.push((frames.len() as u32, source.reference().clone(), frame));
            }
            segments.push(SegmentFrames {
                segment,
                number,
                tracking_uid: tracking_uid.clone(),
                marked: !all_empty && !of_segment.is_empty(),
                frames: of_segment,
                series: first.series_instance_uid().to_owned(),
            });
        }
        let pixels = pixels.into_bytes();
        // The length of an element has 32 bits, of which the last one is "undefined", and is even.
        if pixels.len() >= u32::MAX as usize {
            return Err(ObjectError::TooLarge);
        }
        put(&mut set, tags::NUMBER_OF_FRAMES, frames.len().to_string());
        put_items(&mut set, tags::SHARED_FUNCTIONAL_GROUPS_SEQUENCE, vec![shared]);
        put_items(&mut set, tags::PER_FRAME_FUNCTIONAL_GROUPS_SEQUENCE, frames);
        // Bits are bytes, whatever the order of bytes in words is (PS3.5, A.2).
        set.put(DataElement::new(tags::PIXEL_DATA, VR::OB, PrimitiveValue::U8(pixels.into())));
        let object = finish(set, &KIND, provenance)?;
        Ok(Segmentation { object, segments, planar: self.slices.len() == 1 })
    }

    /// A segment's name for all times: the same for the same pictures and bundle.
    fn tracking_uid(&self, segment: Segment, bundle: &Bundle) -> String {
        let mut parts = vec![segment.label().as_bytes(), &bundle.sha256];
        parts.extend(self.sources.iter().map(|source| source.sop_instance_uid().as_bytes()));
        uid::derived("tracking", &parts)
    }

    /// An item of the Segment Sequence (PS3.3, C.8.20.4).
    fn described(segment: Segment, number: u16, tracking_uid: &str, bundle: &Bundle) -> Set {
        let category =
            if segment == Segment::Infection { code::ABNORMAL_STRUCTURE } else { code::ANATOMICAL_STRUCTURE };
        let mut set = Set::new_empty();
        put(&mut set, tags::SEGMENT_NUMBER, number);
        put(&mut set, tags::SEGMENT_LABEL, segment.label());
        put(&mut set, tags::SEGMENT_DESCRIPTION, format!("{}; {RESEARCH_USE}", segment.label()));
        put(&mut set, tags::SEGMENT_ALGORITHM_TYPE, "AUTOMATIC");
        put(&mut set, tags::SEGMENT_ALGORITHM_NAME, algorithm(bundle));
        put_items(&mut set, tags::SEGMENTED_PROPERTY_CATEGORY_CODE_SEQUENCE, vec![category.item()]);
        let mut kind = segment.finding().item();
        if let Some(side) = segment.side() {
            put_items(&mut kind, tags::SEGMENTED_PROPERTY_TYPE_MODIFIER_CODE_SEQUENCE, vec![side.item()]);
        }
        put_items(&mut set, tags::SEGMENTED_PROPERTY_TYPE_CODE_SEQUENCE, vec![kind]);
        if segment == Segment::Infection {
            put_items(&mut set, tags::ANATOMIC_REGION_SEQUENCE, vec![code::LUNG.item()]);
        }
        let mut identification = Set::new_empty();
        put_items(
            &mut identification,
            tags::ALGORITHM_FAMILY_CODE_SEQUENCE,
            vec![code::ARTIFICIAL_INTELLIGENCE.item()],
        );
        put(&mut identification, tags::ALGORITHM_NAME, algorithm(bundle));
        put(&mut identification, tags::ALGORITHM_VERSION, bundle.hexadecimal());
        put_items(&mut set, tags::SEGMENTATION_ALGORITHM_IDENTIFICATION_SEQUENCE, vec![identification]);
        let [l, a, b] = segment.colour();
        let colour = PrimitiveValue::U16([l, a, b].into_iter().collect());
        put(&mut set, tags::RECOMMENDED_DISPLAY_CIE_LAB_VALUE, colour);
        put(&mut set, tags::TRACKING_ID, format!("Thorax {}", segment.label().to_lowercase()));
        put(&mut set, tags::TRACKING_UID, tracking_uid);
        set
    }

    /// By what the frames are ordered (PS3.3, C.7.6.17): the segment, then the position.
    fn dimensions(&self, set: &mut Set, placed: bool) {
        let parts: Vec<&[u8]> = self.sources.iter().map(|source| source.sop_instance_uid().as_bytes()).collect();
        let uid = uid::derived("dimension organization", &parts);
        let mut organization = Set::new_empty();
        put(&mut organization, tags::DIMENSION_ORGANIZATION_UID, uid.as_str());
        put_items(set, tags::DIMENSION_ORGANIZATION_SEQUENCE, vec![organization]);
        let dimension = |pointer: Tag, group: Tag, label: &str| {
            let mut set = Set::new_empty();
            put(&mut set, tags::DIMENSION_ORGANIZATION_UID, uid.as_str());
            put(&mut set, tags::DIMENSION_INDEX_POINTER, pointer);
            put(&mut set, tags::FUNCTIONAL_GROUP_POINTER, group);
            put(&mut set, tags::DIMENSION_DESCRIPTION_LABEL, label);
            set
        };
        let segment = dimension(
            tags::REFERENCED_SEGMENT_NUMBER,
            tags::SEGMENT_IDENTIFICATION_SEQUENCE,
            "Referenced Segment Number",
        );
        let position = placed
            .then(|| dimension(tags::IMAGE_POSITION_PATIENT, tags::PLANE_POSITION_SEQUENCE, "Image Position Patient"));
        put_items(set, tags::DIMENSION_INDEX_SEQUENCE, [Some(segment), position].into_iter().flatten().collect());
    }

    /// What all frames have in common: orientation and size of the pixels, where all slices agree.
    fn shared_groups(&self, placed: bool) -> Set {
        let mut groups = Set::new_empty();
        let (first, others) = match self.slices.split_first() {
            Some(slices) if placed => slices,
            _ => return groups,
        };
        if let Some(place) = &first.place
            && others.iter().all(|slice| slice.place.as_ref().is_some_and(|other| other.is_parallel(place)))
        {
            put_items(&mut groups, tags::PLANE_ORIENTATION_SEQUENCE, vec![orientation(place)]);
        }
        if others.iter().all(|slice| slice.measures == first.measures)
            && let Some(measures) = measures(first)
        {
            put_items(&mut groups, tags::PIXEL_MEASURES_SEQUENCE, vec![measures]);
        }
        groups
    }

    /// The functional groups of one frame. What is in `shared` is not told again. `position`: the slice's, counted from 1, where
    /// slices have places.
    fn frame_groups(&self, slice: &Slice, number: u16, position: Option<u32>, shared: &Set) -> Set {
        let source = &self.sources[slice.source];
        let mut groups = Set::new_empty();
        let mut image = source.reference().item();
        if source.frames() > 1 {
            put(&mut image, tags::REFERENCED_FRAME_NUMBER, slice.frame.to_string());
        }
        put(&mut image, tags::SPATIAL_LOCATIONS_PRESERVED, "YES");
        put_items(&mut image, tags::PURPOSE_OF_REFERENCE_CODE_SEQUENCE, vec![code::SOURCE_IMAGE.item()]);
        let mut derivation = Set::new_empty();
        put_items(&mut derivation, tags::SOURCE_IMAGE_SEQUENCE, vec![image]);
        put_items(&mut derivation, tags::DERIVATION_CODE_SEQUENCE, vec![code::SEGMENTATION.item()]);
        put_items(&mut groups, tags::DERIVATION_IMAGE_SEQUENCE, vec![derivation]);

        let mut content = Set::new_empty();
        let index = [Some(u32::from(number)), position].into_iter().flatten().collect();
        put(&mut content, tags::DIMENSION_INDEX_VALUES, PrimitiveValue::U32(index));
        put_items(&mut groups, tags::FRAME_CONTENT_SEQUENCE, vec![content]);

        let mut segment = Set::new_empty();
        put(&mut segment, tags::REFERENCED_SEGMENT_NUMBER, number);
        put_items(&mut groups, tags::SEGMENT_IDENTIFICATION_SEQUENCE, vec![segment]);

        if let Some(place) = slice.place.as_ref().filter(|_| position.is_some()) {
            let mut plane = Set::new_empty();
            put(&mut plane, tags::IMAGE_POSITION_PATIENT, strings(&place.position));
            put_items(&mut groups, tags::PLANE_POSITION_SEQUENCE, vec![plane]);
            if shared.get(tags::PLANE_ORIENTATION_SEQUENCE).is_none() {
                put_items(&mut groups, tags::PLANE_ORIENTATION_SEQUENCE, vec![orientation(place)]);
            }
            if shared.get(tags::PIXEL_MEASURES_SEQUENCE).is_none()
                && let Some(measures) = measures(slice)
            {
                put_items(&mut groups, tags::PIXEL_MEASURES_SEQUENCE, vec![measures]);
            }
        }
        groups
    }
}

/// Sorts slices by how far along the normal of the first one's plane they lie, and gives the number of each one's position, from 1:
/// the same place has the same number.
fn positions(slices: &mut [Slice]) -> Result<Vec<u32>, ObjectError> {
    let Some(plane) = slices.first().and_then(|slice| slice.place.clone()) else {
        return if slices.len() > 1 { Err(ObjectError::NoPlace) } else { Ok(vec![1; slices.len()]) };
    };
    if slices.iter().any(|slice| slice.place.is_none()) {
        return Err(ObjectError::NoPlace);
    }
    let along = |slice: &Slice| slice.place.as_ref().map_or(0.0, |place| place.along(&plane));
    slices.sort_by(|a, b| along(a).partial_cmp(&along(b)).unwrap_or(Ordering::Equal));
    let mut number = 1;
    let mut numbers = vec![];
    for (i, slice) in slices.iter().enumerate() {
        if i > 0
            && slice.place.as_ref().map(|place| &place.position) != slices[i - 1].place.as_ref().map(|it| &it.position)
        {
            number += 1;
        }
        numbers.push(number);
    }
    Ok(numbers)
}

fn strings(texts: &[String]) -> PrimitiveValue {
    PrimitiveValue::Strs(texts.iter().cloned().collect())
}

fn orientation(place: &Place) -> Set {
    let mut set = Set::new_empty();
    put(&mut set, tags::IMAGE_ORIENTATION_PATIENT, strings(&place.orientation));
    set
}

/// Pixel Measures, where the source says how large its pixels are.
fn measures(slice: &Slice) -> Option<Set> {
    slice.measures[0].as_ref()?;
    let mut set = Set::new_empty();
    for (tag, texts) in MEASURES.into_iter().zip(&slice.measures) {
        if let Some(texts) = texts {
            put(&mut set, tag, strings(texts));
        }
    }
    Some(set)
}

/// One bit a pixel, as PS3.3, C.8.20.2 asks for binary segmentations.
fn pixel_module(set: &mut Set, source: &Source) {
    let (columns, rows) = source.size();
    put(set, tags::SAMPLES_PER_PIXEL, 1u16);
    put(set, tags::PHOTOMETRIC_INTERPRETATION, "MONOCHROME2");
    put(set, tags::ROWS, rows as u16);
    put(set, tags::COLUMNS, columns as u16);
    put(set, tags::BITS_ALLOCATED, 1u16);
    put(set, tags::BITS_STORED, 1u16);
    put(set, tags::HIGH_BIT, 0u16);
    put(set, tags::PIXEL_REPRESENTATION, 0u16);
    put(set, tags::PRESENTATION_LUT_SHAPE, "IDENTITY");
    put(set, tags::BURNED_IN_ANNOTATION, "NO");
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn colours_are_those_of_the_panel() {
        // White and black are the ends of L*, and grey has no a* and b* (128 of 255).
        assert_eq!(cielab([255, 255, 255]), [65535, 32896, 32896]);
        assert_eq!(cielab([0, 0, 0]), [0, 32896, 32896]);
        // Of pure red, L*a*b* under D50 is 54.29, 80.80, 69.89 (Lindbloom's companding calculator).
        let [l, a, b] = cielab([255, 0, 0]).map(|value| f64::from(value) / 65535.0);
        assert!(
            (l * 100.0 - 54.29).abs() < 0.01 && (a * 255.0 - 208.80).abs() < 0.02 && (b * 255.0 - 197.89).abs() < 0.02
        );
    }
}
