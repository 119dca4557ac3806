//! De-identification: nothing that names anybody is left, at any depth, and what belongs together stays together.
#![allow(clippy::unwrap_used, clippy::panic, reason = "a test may fail by panic")]

mod made;

use std::io::Cursor;

use dicom_core::{DataElement, PrimitiveValue, Tag, VR};
use dicom_dictionary_std::{tags, uids};
use made::{Set, deep, enhanced, film, item, items, put, put_items, slice, text};
use proptest::prelude::*;
use thorax_objects::{
    Source,
    deidentify::{Deidentified, Key, Warning, deidentify_file},
};

/// A film that names somebody wherever it can.
fn telling() -> Set {
    let mut set = film(7, 5);
    let private = |set: &mut Set, group: u16| {
        set.put(DataElement::new(Tag(group, 0x0010), VR::LO, PrimitiveValue::from("SECRETMAKER")));
        set.put(DataElement::new(Tag(group, 0x1001), VR::PN, PrimitiveValue::from("SECRET^PRIVATE")));
    };
    private(&mut set, 0x0009);
    let mut code = item(&[(tags::CODE_VALUE, "1"), (tags::CODING_SCHEME_DESIGNATOR, "DCM"), (tags::CODE_MEANING, "a")]);
    private(&mut code, 0x0011);
    put(&mut code, tags::PATIENT_NAME, "SECRET^DEEP");
    let mut image = item(&[
        (tags::REFERENCED_SOP_CLASS_UID, uids::CT_IMAGE_STORAGE),
        (tags::REFERENCED_SOP_INSTANCE_UID, "1.2.826.0.1.3"),
        (tags::CONTENT_DATE, "19991231"),
    ]);
    put_items(&mut image, tags::PURPOSE_OF_REFERENCE_CODE_SEQUENCE, vec![code]);
    put_items(&mut set, tags::REFERENCED_IMAGE_SEQUENCE, vec![image]);
    let person = item(&[(tags::PATIENT_ID, "SECRET-ID"), (tags::TYPE_OF_PATIENT_ID, "TEXT")]);
    put_items(&mut set, tags::OTHER_PATIENT_I_DS_SEQUENCE, vec![person]);
    for (tag, value) in [
        (tags::INSTITUTION_NAME, "SECRET HOSPITAL"),
        (tags::OPERATORS_NAME, "SECRET^OPERATOR"),
        (tags::PATIENT_COMMENTS, "SECRET"),
        (tags::DEVICE_SERIAL_NUMBER, "SECRET-7"),
        (tags::ACQUISITION_DATE, "19991231"),
        (tags::SERIES_TIME, "235959"),
        (tags::CONTENT_DATE, "19991231"),
        (tags::PATIENT_NAME, "SECRET^NAME"),
        (tags::PATIENT_ID, "SECRET-ID"),
        (tags::ACCESSION_NUMBER, "SECRET-1"),
    ] {
        put(&mut set, tag, value);
    }
    // An overlay, a curve, and an element that nobody knows.
    let mut bytes = |tag, vr, value: &[u8]| {
        set.put(DataElement::new(tag, vr, PrimitiveValue::U8(value.iter().copied().collect())));
    };
    bytes(Tag(0x6000, 0x3000), VR::OB, b"SECRETOVERLAY ");
    bytes(Tag(0x5000, 0x3000), VR::OB, b"SECRETCURVE ");
    bytes(Tag(0x0008, 0x9f9e), VR::UN, b"SECRETUNKNOWN ");
    set
}

fn clean(file: Vec<u8>) -> Deidentified {
    deidentify_file(Cursor::new(file), &Key::new([7; 32])).unwrap()
}

fn bytes(made: &Deidentified) -> Vec<u8> {
    let mut bytes = vec![];
    made.object.write_all(&mut bytes).unwrap();
    bytes
}

fn contains(bytes: &[u8], text: &str) -> bool {
    bytes.windows(text.len()).any(|window| window == text.as_bytes())
}

#[test]
fn nothing_is_left_at_any_depth_in_any_syntax() {
    // The last is retired, and met.
    for syntax in [uids::EXPLICIT_VR_LITTLE_ENDIAN, uids::IMPLICIT_VR_LITTLE_ENDIAN, "1.2.840.10008.1.2.2"] {
        let mut set = telling();
        // A sequence as bytes, where a VR can be said.
        if syntax != uids::IMPLICIT_VR_LITTLE_ENDIAN {
            let bytes = PrimitiveValue::U8(b"SECRETSEQUENCE".iter().copied().collect());
            set.put(DataElement::new(tags::PROCEDURE_CODE_SEQUENCE, VR::UN, bytes));
        }
        let file = made::file(set, syntax);
        assert!(contains(&file, "SECRET^DEEP") && contains(&file, "19991231"), "the test's own file tells");
        let made = clean(file);
        let bytes = bytes(&made);
        for word in ["SECRET", "19991231", "235959", "19610203", "20210405", "060Y", "House^Greg", "1.2.826.0.1."] {
            assert!(!contains(&bytes, word), "{syntax}: {word}");
        }
        fn no_private(set: &Set) {
            for element in set.iter() {
                assert_eq!(element.header().tag.group() % 2, 0);
                element.value().items().unwrap_or_default().iter().for_each(no_private);
            }
        }
        no_private(&made.object);
        assert_eq!(made.object.meta().transfer_syntax(), syntax);
    }
}

#[test]
fn a_deflated_file_is_cleaned_too() {
    let made = clean(deflated(&made::file(telling(), uids::EXPLICIT_VR_LITTLE_ENDIAN)));
    assert!(!contains(&bytes(&made), "SECRET"));
    assert_eq!(made.object.meta().transfer_syntax(), uids::EXPLICIT_VR_LITTLE_ENDIAN);
}

/// The same data set, deflated (PS3.5, A.5).
fn deflated(file: &[u8]) -> Vec<u8> {
    use std::io::Write as _;
    let plain = dicom_object::from_reader(file).unwrap();
    let mut set = vec![];
    plain.write_dataset(&mut set).unwrap();
    let mut packed = flate2::write::DeflateEncoder::new(vec![], flate2::Compression::fast());
    packed.write_all(&set).unwrap();
    let uid = format!("{}\0", uids::DEFLATED_EXPLICIT_VR_LITTLE_ENDIAN);
    let uid = &uid.as_bytes()[..uid.len() / 2 * 2];
    [&[0; 128][..], b"DICM", &[2, 0, 0x10, 0], b"UI", &[uid.len() as u8, 0], uid, &packed.finish().unwrap()].concat()
}

#[test]
fn references_go_on_pointing_where_they_pointed() {
    let made = clean(made::file(telling(), uids::EXPLICIT_VR_LITTLE_ENDIAN));
    let set = &made.object;
    let own = text(set, tags::SOP_INSTANCE_UID);
    assert_eq!(deep(set, &[tags::REFERENCED_IMAGE_SEQUENCE, tags::REFERENCED_SOP_INSTANCE_UID]), own);
    let class = deep(set, &[tags::REFERENCED_IMAGE_SEQUENCE, tags::REFERENCED_SOP_CLASS_UID]);
    assert_eq!(class, uids::CT_IMAGE_STORAGE, "what a thing is names nobody");
    assert_eq!(set.meta().media_storage_sop_instance_uid().trim_end_matches('\0'), own);
    let code = &items(&items(set, tags::REFERENCED_IMAGE_SEQUENCE)[0], tags::PURPOSE_OF_REFERENCE_CODE_SEQUENCE)[0];
    assert_eq!(text(code, tags::CODE_MEANING), "a");
}

#[test]
fn slices_stay_a_series_and_a_patient_one_patient() {
    let of = |number: u16, key: u8| {
        let file = made::file(slice(number, 4, 4), uids::EXPLICIT_VR_LITTLE_ENDIAN);
        deidentify_file(Cursor::new(file), &Key::new([key; 32])).unwrap().object
    };
    let (one, two, other) = (of(0, 1), of(1, 1), of(0, 2));
    for tag in [tags::STUDY_INSTANCE_UID, tags::SERIES_INSTANCE_UID, tags::FRAME_OF_REFERENCE_UID, tags::PATIENT_ID] {
        assert_eq!(text(&one, tag), text(&two, tag));
        assert_ne!(text(&one, tag), text(&other, tag), "another key");
    }
    assert_ne!(text(&one, tags::SOP_INSTANCE_UID), text(&two, tags::SOP_INSTANCE_UID));
    assert_eq!(text(&one, tags::IMAGE_ORIENTATION_PATIENT), made::OBLIQUE, "geometry names nobody");
    let source = Source::new(one.into_inner()).unwrap();
    assert_eq!(source.size(), (4, 4));
}

#[test]
fn it_says_what_was_done() {
    let made = clean(made::file(telling(), uids::EXPLICIT_VR_LITTLE_ENDIAN)).object;
    assert_eq!(text(&made, tags::PATIENT_IDENTITY_REMOVED), "YES");
    assert!(text(&made, tags::DEIDENTIFICATION_METHOD).contains("PS3.15"));
    assert_eq!(deep(&made, &[tags::DEIDENTIFICATION_METHOD_CODE_SEQUENCE, tags::CODE_VALUE]), "113100");
    assert_eq!(text(&made, tags::LONGITUDINAL_TEMPORAL_INFORMATION_MODIFIED), "REMOVED");
    // Once more adds nothing.
    let mut file = vec![];
    made.write_all(&mut file).unwrap();
    let again = clean(file).object;
    assert_eq!(items(&again, tags::DEIDENTIFICATION_METHOD_CODE_SEQUENCE).len(), 1);
    assert_eq!(text(&again, tags::DEIDENTIFICATION_METHOD), text(&made, tags::DEIDENTIFICATION_METHOD));
}

#[test]
fn pixels_are_not_touched_and_burned_in_text_is_warned_of() {
    let with = |value: Option<&str>| {
        let mut set = film(7, 5);
        if let Some(value) = value {
            put(&mut set, tags::BURNED_IN_ANNOTATION, value);
        }
        clean(made::file(set, uids::EXPLICIT_VR_LITTLE_ENDIAN))
    };
    assert_eq!(with(Some("NO")).warnings, []);
    assert_eq!(with(Some("YES")).warnings, [Warning::BurnedIn]);
    assert_eq!(with(None).warnings, [Warning::BurnedInUnknown]);
    let pixels: Vec<u16> = (0..35).map(|i| i * 37 % 4096).collect();
    assert_eq!(with(None).object.element(tags::PIXEL_DATA).unwrap().to_multi_int::<u16>().unwrap(), pixels);
}

#[test]
fn an_enhanced_object_keeps_its_functional_groups() {
    let mut set = enhanced(2, 4, 4);
    put(&mut set, tags::ACQUISITION_DATE_TIME, "19991231235959");
    let made = clean(made::file(set, uids::EXPLICIT_VR_LITTLE_ENDIAN)).object;
    let source = Source::new(made.clone().into_inner()).unwrap();
    assert_eq!(source.frames(), 2);
    assert_eq!(items(&made, tags::PER_FRAME_FUNCTIONAL_GROUPS_SEQUENCE).len(), 2);
    assert_eq!(text(&made, tags::ACQUISITION_DATE_TIME), "19000101000000", "of type 1 there");
}

#[test]
fn what_is_no_picture_is_refused() {
    let mut set = film(7, 5);
    set.remove_element(tags::ROWS);
    set.remove_element(tags::COLUMNS);
    let file = made::file(set, uids::EXPLICIT_VR_LITTLE_ENDIAN);
    let told = deidentify_file(Cursor::new(file), &Key::new([7; 32])).unwrap_err().to_string();
    assert!(told.contains("not a picture"), "{told}");
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(256))]

    /// Whatever bytes come, there is an object or an error, and no panic; an object that is made is one without names.
    #[test]
    fn damaged_files_do_no_harm(
        changes in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 1..8),
        cut in any::<Option<prop::sample::Index>>(),
        implicit in any::<bool>(),
    ) {
        let syntax = if implicit { uids::IMPLICIT_VR_LITTLE_ENDIAN } else { uids::EXPLICIT_VR_LITTLE_ENDIAN };
        let mut file = made::file(telling(), syntax);
        for (place, value) in &changes {
            // Behind the preamble, where everything means something.
            let at = 132 + place.index(file.len() - 132);
            file[at] = *value;
        }
        if let Some(cut) = cut {
            file.truncate(cut.index(file.len()));
        }
        let _ = Source::read(Cursor::new(&file));
        if let Ok(made) = deidentify_file(Cursor::new(&file), &Key::new([7; 32])) {
            let mut written = vec![];
            // What cannot be written is told.
            if made.object.write_all(&mut written).is_ok() {
                prop_assert!(made.object.iter().all(|element| element.header().tag.group() % 2 == 0));
            }
        }
    }
}
