//! Sources for the tests: data sets that are written here, and masks that are drawn.
#![allow(dead_code, reason = "each test binary uses some of it")]

use std::{io::Cursor, sync::LazyLock};

use dicom_core::{
    DataElement, PrimitiveValue, Tag, VR,
    dictionary::{DataDictionary, DataDictionaryEntry},
    value::DataSetSequence,
};
use dicom_dictionary_std::{StandardDataDictionary, tags, uids};
use dicom_object::{InMemDicomObject, meta::FileMetaTableBuilder};
use thorax_objects::{Bundle, Device, Lungs, Masks, Moment, Object, Provenance, Reading, Source};
use thorax_shared::{
    bundle::{Disease, Name},
    lungs::Involvement,
    plane::Plane,
    verdict::Verdict,
};

pub(crate) type Set = InMemDicomObject;

pub(crate) fn put(set: &mut Set, tag: Tag, value: impl Into<PrimitiveValue>) {
    let vr = StandardDataDictionary.by_tag(tag).unwrap().vr().relaxed();
    set.put(DataElement::new(tag, vr, value.into()));
}

pub(crate) fn put_items(set: &mut Set, tag: Tag, items: Vec<Set>) {
    set.put(DataElement::new(tag, VR::SQ, DataSetSequence::from(items)));
}

pub(crate) fn item(values: &[(Tag, &str)]) -> Set {
    let mut set = Set::new_empty();
    values.iter().for_each(|(tag, value)| put(&mut set, *tag, *value));
    set
}

fn picture(class: &str, modality: &str, instance: &str, width: u16, height: u16) -> Set {
    let mut set = item(&[
        (tags::SOP_CLASS_UID, class),
        (tags::SOP_INSTANCE_UID, instance),
        (tags::STUDY_INSTANCE_UID, "1.2.826.0.1.1"),
        (tags::SERIES_INSTANCE_UID, "1.2.826.0.1.2"),
        (tags::MODALITY, modality),
        (tags::PATIENT_NAME, "Doe^Jane"),
        (tags::PATIENT_ID, "P-1"),
        (tags::PATIENT_BIRTH_DATE, "19610203"),
        (tags::PATIENT_SEX, "F"),
        (tags::STUDY_DATE, "20210405"),
        (tags::STUDY_TIME, "060708"),
        (tags::STUDY_ID, "S1"),
        (tags::ACCESSION_NUMBER, "ACC-99"),
        (tags::REFERRING_PHYSICIAN_NAME, "House^Greg"),
        (tags::PATIENT_AGE, "060Y"),
        (tags::BODY_PART_EXAMINED, "CHEST"),
        (tags::PHOTOMETRIC_INTERPRETATION, "MONOCHROME2"),
        (tags::SERIES_NUMBER, "3"),
        (tags::INSTANCE_NUMBER, "1"),
        (tags::MANUFACTURER, "Maker"),
    ]);
    for (tag, value) in [
        (tags::ROWS, height),
        (tags::COLUMNS, width),
        (tags::SAMPLES_PER_PIXEL, 1),
        (tags::BITS_ALLOCATED, 16),
        (tags::BITS_STORED, 12),
        (tags::HIGH_BIT, 11),
        (tags::PIXEL_REPRESENTATION, 0),
    ] {
        put(&mut set, tag, value);
    }
    set
}

/// A film: no frame of reference.
pub(crate) fn film(width: u16, height: u16) -> Set {
    let mut set = picture(uids::COMPUTED_RADIOGRAPHY_IMAGE_STORAGE, "CR", "1.2.826.0.1.3", width, height);
    put(&mut set, tags::PATIENT_ORIENTATION, "L\\F");
    put(&mut set, tags::VIEW_POSITION, "PA");
    put(&mut set, tags::IMAGER_PIXEL_SPACING, "0.2\\0.2");
    set
}

/// Rows and columns at right angles to each other, no axis along the patient's; the normal is (0.224, -0.768, 0.6).
pub(crate) const OBLIQUE: &str = "0.96\\0.28\\0\\-0.168\\0.576\\0.8";

/// Slice `number` of an oblique CT series, 2.5 mm from slice to slice.
pub(crate) fn slice(number: u16, width: u16, height: u16) -> Set {
    let instance = format!("1.2.826.0.1.4.{}", number + 1);
    let mut set = picture(uids::CT_IMAGE_STORAGE, "CT", &instance, width, height);
    let [x, y, z] = [0.224, -0.768, 0.6].map(|n| n * 2.5 * f64::from(number));
    put(&mut set, tags::IMAGE_POSITION_PATIENT, format!("{:.4}\\{:.4}\\{:.4}", x - 100.5, y + 20.25, z));
    for (tag, value) in [
        (tags::FRAME_OF_REFERENCE_UID, "1.2.826.0.1.5"),
        (tags::POSITION_REFERENCE_INDICATOR, ""),
        (tags::IMAGE_ORIENTATION_PATIENT, OBLIQUE),
        (tags::PIXEL_SPACING, "0.75\\0.5"),
        (tags::SLICE_THICKNESS, "2.5"),
        (tags::IMAGE_TYPE, "ORIGINAL\\PRIMARY\\AXIAL"),
        (tags::RESCALE_INTERCEPT, "-1024"),
        (tags::RESCALE_SLOPE, "1"),
        (tags::KVP, "120"),
        (tags::ACQUISITION_NUMBER, "1"),
        (tags::PATIENT_POSITION, "HFS"),
    ] {
        put(&mut set, tag, value);
    }
    set
}

/// An enhanced CT object of `frames` slices.
pub(crate) fn enhanced(frames: u16, width: u16, height: u16) -> Set {
    let mut set = picture(uids::ENHANCED_CT_IMAGE_STORAGE, "CT", "1.2.826.0.1.6", width, height);
    put(&mut set, tags::NUMBER_OF_FRAMES, frames.to_string());
    put(&mut set, tags::FRAME_OF_REFERENCE_UID, "1.2.826.0.1.5");
    let groups = |parts: Vec<(Tag, Set)>| {
        let mut groups = Set::new_empty();
        parts.into_iter().for_each(|(tag, part)| put_items(&mut groups, tag, vec![part]));
        groups
    };
    let shared = groups(vec![
        (tags::PLANE_ORIENTATION_SEQUENCE, item(&[(tags::IMAGE_ORIENTATION_PATIENT, "1\\0\\0\\0\\1\\0")])),
        (tags::PIXEL_MEASURES_SEQUENCE, item(&[(tags::PIXEL_SPACING, "0.75\\0.5"), (tags::SLICE_THICKNESS, "2")])),
    ]);
    put_items(&mut set, tags::SHARED_FUNCTIONAL_GROUPS_SEQUENCE, vec![shared]);
    let own = (0..frames).map(|frame| {
        let position = format!("0\\0\\{}", f64::from(frame) * -2.0);
        groups(vec![(tags::PLANE_POSITION_SEQUENCE, item(&[(tags::IMAGE_POSITION_PATIENT, &position)]))])
    });
    put_items(&mut set, tags::PER_FRAME_FUNCTIONAL_GROUPS_SEQUENCE, own.collect());
    set
}

/// With pixels, as a Part 10 file.
pub(crate) fn file(mut set: Set, syntax: &str) -> Vec<u8> {
    let number = |tag| set.get(tag).and_then(|element| element.to_int::<usize>().ok()).unwrap_or(1);
    let pixels = number(tags::ROWS) * number(tags::COLUMNS) * number(tags::NUMBER_OF_FRAMES);
    let pixels = (0..pixels).map(|i| (i * 37 % 4096) as u16).collect();
    set.put(DataElement::new(tags::PIXEL_DATA, VR::OW, PrimitiveValue::U16(pixels)));
    let mut bytes = vec![];
    set.with_meta(FileMetaTableBuilder::new().transfer_syntax(syntax)).unwrap().write_all(&mut bytes).unwrap();
    bytes
}

/// The source of a data set, by way of a file.
pub(crate) fn source(set: Set) -> Source {
    Source::read(Cursor::new(file(set, uids::EXPLICIT_VR_LITTLE_ENDIAN))).unwrap()
}

pub(crate) fn provenance() -> Provenance {
    Provenance {
        device: Device { serial_number: "BOX-0001".into(), software_version: "0.1.0".into() },
        bundle: Bundle { name: "covid-xray".into(), version: "3".into(), sha256: std::array::from_fn(|i| i as u8) },
        moment: Moment::new((2026, 11, 28), (11, 30, 5)).unwrap(),
    }
}

/// A disease by its SNOMED CT code.
pub(crate) fn disease(words: &str, code: &str, meaning: &str) -> Disease {
    let name = |text| Name::try_from(text).unwrap();
    Disease { words: name(words), scheme: name("SCT"), code: name(code), meaning: name(meaning) }
}

static COVID_19: LazyLock<Disease> =
    LazyLock::new(|| disease("pneumonia as COVID-19 makes it", "840539006", "COVID-19"));

pub(crate) fn reading() -> Reading<'static> {
    Reading {
        disease: &COVID_19,
        verdict: Verdict::Positive,
        probability: Some(0.625),
        epistemic_entropy_bits: Some(0.75),
        involvement: Some(Involvement { percent: 12.5, left_percent: Some(0.0), right_percent: Some(25.25) }),
        quality_score: 0.875,
    }
}

/// Infection, left lung, right lung, unlike each other and unlike themselves mirrored.
pub(crate) fn drawn(width: usize, height: usize, seed: usize) -> [Plane<u8>; 3] {
    [3, 5, 7]
        .map(|step| Plane::from_fn(width, height, |x, y| u8::from((x * x + 2 * y + seed).is_multiple_of(step)) * 255))
}

pub(crate) fn sided(masks: &[Plane<u8>; 3]) -> Masks<'_> {
    Masks { infection: &masks[0], lungs: Lungs::Sided { left: &masks[1], right: &masks[2] } }
}

/// What a reader of the object's file gets.
pub(crate) fn reread(object: &Object) -> Set {
    dicom_object::from_reader(&object.to_bytes().unwrap()[..]).unwrap().into_inner()
}

/// All texts of a value.
pub(crate) fn texts(set: &Set, tag: Tag) -> Vec<String> {
    let texts = set.element(tag).unwrap().to_multi_str().unwrap();
    texts.iter().map(|text| text.trim_end_matches(['\0', ' ']).to_owned()).collect()
}

pub(crate) fn text(set: &Set, tag: Tag) -> String {
    texts(set, tag).join("\\")
}

pub(crate) fn items(set: &Set, tag: Tag) -> &[Set] {
    set.element(tag).unwrap().value().items().unwrap()
}

/// The value at the end of a way through the first items of sequences.
pub(crate) fn deep(set: &Set, way: &[Tag]) -> String {
    match way {
        [tag] => text(set, *tag),
        [sequence, rest @ ..] => deep(&items(set, *sequence)[0], rest),
        [] => unreachable!("a way has a tag"),
    }
}
