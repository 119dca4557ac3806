//! Segmentations: masks on the pixels they were found on, whatever the source says of its place.
#![allow(clippy::unwrap_used, clippy::panic, reason = "a test may fail by panic")]

mod made;

use std::io::Cursor;

use dicom_core::{DataElement, PrimitiveValue, VR};
use dicom_dictionary_std::{tags, uids};
use made::{Set, deep, drawn, enhanced, film, items, provenance, put, reread, sided, slice, source, text, texts};
use proptest::prelude::*;
use thorax_objects::{Lungs, Masks, Moment, Provenance, Segment, Segmentation, SegmentationBuilder, Source, unpack};
use thorax_shared::plane::Plane;

fn segmentation(sources: &[Source], masks: impl Fn(usize) -> [Plane<u8>; 3]) -> Segmentation {
    let mut builder = SegmentationBuilder::default();
    let mut count = 0;
    for source in sources {
        for frame in 1..=source.frames() {
            builder.add(source, frame, sided(&masks(count))).unwrap();
            count += 1;
        }
    }
    builder.finish(&provenance()).unwrap()
}

/// Segment, instance, frame of it, dimension index, and the mask.
type Frame = (u16, String, Option<u32>, Vec<u32>, Plane<u8>);

fn frames(set: &Set) -> Vec<Frame> {
    let number = |tag| set.element(tag).unwrap().to_int::<usize>().unwrap();
    let groups = items(set, tags::PER_FRAME_FUNCTIONAL_GROUPS_SEQUENCE);
    let bytes = set.element(tags::PIXEL_DATA).unwrap().to_bytes().unwrap();
    let masks = unpack(&bytes, number(tags::COLUMNS), number(tags::ROWS), number(tags::NUMBER_OF_FRAMES)).unwrap();
    assert_eq!(masks.len(), groups.len());
    let one = |(group, mask): (&Set, Plane<u8>)| {
        let image = &items(&items(group, tags::DERIVATION_IMAGE_SEQUENCE)[0], tags::SOURCE_IMAGE_SEQUENCE)[0];
        let segment = deep(group, &[tags::SEGMENT_IDENTIFICATION_SEQUENCE, tags::REFERENCED_SEGMENT_NUMBER]);
        let frame = image.get(tags::REFERENCED_FRAME_NUMBER).map(|frame| frame.to_int().unwrap());
        let index = items(group, tags::FRAME_CONTENT_SEQUENCE)[0].element(tags::DIMENSION_INDEX_VALUES).unwrap();
        let instance = text(image, tags::REFERENCED_SOP_INSTANCE_UID);
        (segment.parse().unwrap(), instance, frame, index.to_multi_int().unwrap(), mask)
    };
    groups.iter().zip(masks).map(one).collect()
}

#[test]
fn a_film_has_no_place_and_the_segment_is_the_only_dimension() {
    let masks = drawn(203, 101, 1);
    let set = reread(&segmentation(&[source(film(203, 101))], |_| masks.clone()).object);
    let found = frames(&set);
    for (i, (segment, instance, frame, index, mask)) in found.iter().enumerate() {
        assert_eq!((*segment, instance.as_str(), *frame), (i as u16 + 1, "1.2.826.0.1.3", None));
        assert_eq!((index, mask), (&vec![i as u32 + 1], &masks[i]));
    }
    assert_eq!(found.len(), 3);
    for tag in [tags::FRAME_OF_REFERENCE_UID, tags::IMAGE_POSITION_PATIENT, tags::PLANE_ORIENTATION_SEQUENCE] {
        assert!(set.get(tag).is_none());
    }
    assert_eq!(items(&set, tags::SHARED_FUNCTIONAL_GROUPS_SEQUENCE)[0].iter().count(), 0);
    assert_eq!(items(&set, tags::DIMENSION_INDEX_SEQUENCE).len(), 1);
    assert_eq!(text(&set, tags::PATIENT_ORIENTATION), "L\\F");
    // OHIF drops a segmentation without it.
    let series = &items(&set, tags::REFERENCED_SERIES_SEQUENCE)[0];
    assert_eq!(text(series, tags::SERIES_INSTANCE_UID), "1.2.826.0.1.2");
    assert_eq!(deep(series, &[tags::REFERENCED_INSTANCE_SEQUENCE, tags::REFERENCED_SOP_INSTANCE_UID]), "1.2.826.0.1.3");
}

#[test]
fn an_oblique_slice_keeps_its_place_to_the_letter() {
    let set = reread(&segmentation(&[source(slice(2, 77, 61))], |_| drawn(77, 61, 0)).object);
    let group = &items(&set, tags::PER_FRAME_FUNCTIONAL_GROUPS_SEQUENCE)[0];
    let shared = &items(&set, tags::SHARED_FUNCTIONAL_GROUPS_SEQUENCE)[0];
    let position = deep(group, &[tags::PLANE_POSITION_SEQUENCE, tags::IMAGE_POSITION_PATIENT]);
    assert_eq!(position, "-99.3800\\16.4100\\3.0000");
    assert_eq!(deep(shared, &[tags::PLANE_ORIENTATION_SEQUENCE, tags::IMAGE_ORIENTATION_PATIENT]), made::OBLIQUE);
    assert_eq!(deep(shared, &[tags::PIXEL_MEASURES_SEQUENCE, tags::PIXEL_SPACING]), "0.75\\0.5");
    assert_eq!(deep(shared, &[tags::PIXEL_MEASURES_SEQUENCE, tags::SLICE_THICKNESS]), "2.5");
    assert_eq!(text(&set, tags::FRAME_OF_REFERENCE_UID), "1.2.826.0.1.5");
    assert_eq!(items(&set, tags::DIMENSION_INDEX_SEQUENCE).len(), 2);
}

#[test]
fn slices_in_any_order_are_sorted_by_place_and_empty_frames_are_left_out() {
    // Slice n has its infection only where n is odd, and no left lung anywhere.
    let order = [4, 0, 3, 1, 2];
    let sources = order.map(|number| source(slice(number, 13, 7)));
    let of = |number: u16| {
        let [infection, _, right] = drawn(13, 7, number as usize);
        let none = Plane::filled(13, 7, 0);
        [if number % 2 == 1 { infection } else { none.clone() }, none, right]
    };
    let made = segmentation(&sources, |place| of(order[place]));
    let found = frames(&reread(&made.object));
    let expected: Vec<_> = [(1u16, 1u16), (1, 3), (3, 0), (3, 1), (3, 2), (3, 3), (3, 4)]
        .map(|(segment, number)| {
            let mask = of(number)[usize::from(segment) - 1].map(|value| if value > 0 { 255 } else { 0 });
            let instance = format!("1.2.826.0.1.4.{}", number + 1);
            (segment, instance, None, vec![segment.into(), u32::from(number) + 1], mask)
        })
        .into();
    assert_eq!(found, expected);
    // What was looked for is described, found or not.
    let set = reread(&made.object);
    let labels: Vec<String> =
        items(&set, tags::SEGMENT_SEQUENCE).iter().map(|segment| text(segment, tags::SEGMENT_LABEL)).collect();
    assert_eq!(labels, ["Infection", "Left lung", "Right lung"]);
    let counts: Vec<_> = made.segments().collect();
    assert_eq!(counts, [(Segment::Infection, 2), (Segment::LeftLung, 0), (Segment::RightLung, 5)]);
}

#[test]
fn where_nothing_was_found_all_frames_say_so() {
    let sources = [0, 1].map(|number| source(slice(number, 5, 3)));
    let found = frames(&reread(&segmentation(&sources, |_| [0; 3].map(|_| Plane::filled(5, 3, 0))).object));
    assert_eq!(found.len(), 6);
    assert!(found.iter().all(|(.., mask)| mask.data().iter().all(|value| *value == 0)));
}

#[test]
fn frames_of_an_enhanced_object_are_named() {
    let set = reread(&segmentation(&[source(enhanced(3, 9, 5))], |frame| drawn(9, 5, frame)).object);
    let found = frames(&set);
    // The third frame lies lowest: 2 mm against the normal from frame to frame.
    let first: Vec<_> =
        found.iter().take(3).map(|(segment, _, frame, index, _)| (*segment, *frame, index.clone())).collect();
    assert_eq!(first, [(1, Some(3), vec![1, 1]), (1, Some(2), vec![1, 2]), (1, Some(1), vec![1, 3])]);
    for (segment, _, frame, _, mask) in &found {
        assert_eq!(*mask, drawn(9, 5, frame.unwrap() as usize - 1)[usize::from(*segment) - 1]);
    }
    let places = items(&set, tags::PER_FRAME_FUNCTIONAL_GROUPS_SEQUENCE);
    assert_eq!(deep(&places[0], &[tags::PLANE_POSITION_SEQUENCE, tags::IMAGE_POSITION_PATIENT]), "0\\0\\-4");
}

#[test]
fn where_sides_are_not_known_there_is_one_segment_of_lung() {
    let [infection, lungs, _] = drawn(8, 8, 0);
    let mut builder = SegmentationBuilder::default();
    let masks = Masks { infection: &infection, lungs: Lungs::Unsided(&lungs) };
    builder.add(&source(film(8, 8)), 1, masks).unwrap();
    let set = reread(&builder.finish(&provenance()).unwrap().object);
    let segments = items(&set, tags::SEGMENT_SEQUENCE);
    assert_eq!(segments.iter().map(|it| text(it, tags::SEGMENT_LABEL)).collect::<Vec<_>>(), ["Infection", "Lungs"]);
    let kind = &items(&segments[1], tags::SEGMENTED_PROPERTY_TYPE_CODE_SEQUENCE)[0];
    assert!(kind.get(tags::SEGMENTED_PROPERTY_TYPE_MODIFIER_CODE_SEQUENCE).is_none());
    assert_eq!(frames(&set)[1].4, lungs);
}

#[test]
fn sides_are_the_patient_s() {
    let set = reread(&segmentation(&[source(film(8, 8))], |_| drawn(8, 8, 0)).object);
    let side = |i: usize| {
        let kind = &items(&items(&set, tags::SEGMENT_SEQUENCE)[i], tags::SEGMENTED_PROPERTY_TYPE_CODE_SEQUENCE)[0];
        deep(kind, &[tags::SEGMENTED_PROPERTY_TYPE_MODIFIER_CODE_SEQUENCE, tags::CODE_MEANING])
    };
    assert_eq!((side(1).as_str(), side(2).as_str()), ("Left", "Right"));
}

#[test]
fn the_same_result_is_the_same_object() {
    let make = |seed: usize, provenance: &Provenance| {
        let mut builder = SegmentationBuilder::default();
        builder.add(&source(film(8, 8)), 1, sided(&drawn(8, 8, seed))).unwrap();
        builder.finish(provenance).unwrap().object
    };
    let first = make(0, &provenance());
    assert_eq!(first.to_bytes().unwrap(), make(0, &provenance()).to_bytes().unwrap());
    let mut later = provenance();
    later.moment = Moment::new((2027, 1, 1), (0, 0, 0)).unwrap();
    let again = make(0, &later);
    assert_eq!(first.sop_instance_uid(), again.sop_instance_uid(), "the time of day is no part of a result");
    assert_eq!(first.series_instance_uid(), again.series_instance_uid());
    let mut other = provenance();
    other.bundle.sha256[31] ^= 1;
    for different in [make(1, &provenance()), make(0, &other)] {
        assert_ne!(first.sop_instance_uid(), different.sop_instance_uid());
        assert_ne!(first.series_instance_uid(), different.series_instance_uid());
    }
    let set = reread(&first);
    assert_eq!((text(&set, tags::CONTENT_DATE), text(&set, tags::CONTENT_TIME)), ("20261128".into(), "113005".into()));
}

#[test]
fn every_object_says_that_it_is_research() {
    let set = reread(&segmentation(&[source(film(8, 8))], |_| drawn(8, 8, 0)).object);
    for tag in [tags::IMAGE_COMMENTS, tags::CONTENT_DESCRIPTION] {
        assert!(text(&set, tag).contains("research use only, not a medical device"));
    }
    assert_eq!(text(&set, tags::CONTENT_LABEL), "RESEARCH_USE");
    let versions = texts(&set, tags::SOFTWARE_VERSIONS);
    assert_eq!(versions[..2], ["0.1.0", "Thorax covid-xray 3"]);
    assert_eq!(versions[2], "000102030405060708090a0b0c0d0e0f101112131415161718191a1b1c1d1e1f");
}

/// Names as bytes, in sets that dicom-rs knows, does not know, and knows the first of.
#[test]
fn names_keep_their_bytes_in_every_character_set() {
    let sets: [(&str, &[u8]); 6] = [
        ("ISO_IR 100", b"M\xfcller^J\xf6rg"),
        ("ISO_IR 192", "Wałęsa^हिन्दी".as_bytes()),
        ("ISO_IR 148", b"Y\xfdlmaz^I\xfe\xfdk"),
        ("GB18030", b"\xcd\xf5^\xd0\xa1\xb6\xab"),
        ("\\ISO 2022 IR 87", b"Yamada^Tarou=\x1b$B;3ED\x1b(B^\x1b$BB@O:\x1b(B"),
        ("", b"M\xfcller^undeclared"),
    ];
    for (charset, name) in sets {
        let mut set = film(8, 8);
        if !charset.is_empty() {
            put(&mut set, tags::SPECIFIC_CHARACTER_SET, charset);
        }
        put(&mut set, tags::PATIENT_NAME, "@@NAME@@");
        // As bytes, so that the test's writer has no say in it.
        let mut bytes = made::file(set, uids::EXPLICIT_VR_LITTLE_ENDIAN);
        let at = bytes.windows(8).position(|window| window == b"@@NAME@@").unwrap();
        let mut padded = name.to_vec();
        padded.resize(padded.len().next_multiple_of(2), b' ');
        bytes[at - 2] = padded.len() as u8;
        bytes.splice(at..at + 8, padded.iter().copied());
        let made =
            segmentation(&[Source::read(Cursor::new(bytes)).unwrap()], |_| drawn(8, 8, 0)).object.to_bytes().unwrap();
        let found = made.windows(padded.len()).any(|window| window == padded);
        assert!(found, "{charset}: {}", String::from_utf8_lossy(name));
        assert_eq!(made.windows(charset.len().max(1)).any(|window| window == charset.as_bytes()), !charset.is_empty());
    }
}

#[test]
fn an_age_that_is_none_is_left_out_and_an_identifier_is_not() {
    let mut set = film(8, 8);
    put(&mut set, tags::PATIENT_AGE, "62");
    set.put(DataElement::new(tags::PATIENT_ID, VR::UN, PrimitiveValue::from("odd\\one ")));
    set.put(DataElement::new(tags::STUDY_ID, VR::UN, PrimitiveValue::U8(b"S 7 ".iter().copied().collect())));
    let set = reread(&segmentation(&[source(set)], |_| drawn(8, 8, 0)).object);
    assert!(set.get(tags::PATIENT_AGE).is_none());
    assert_eq!(text(&set, tags::PATIENT_ID), "odd\\one");
    assert_eq!((text(&set, tags::STUDY_ID).as_str(), set.element(tags::STUDY_ID).unwrap().vr()), ("S 7", VR::SH));
}

#[test]
fn what_does_not_belong_together_is_refused() {
    let told = |first: Set, second: Set, size: (usize, usize)| {
        let mut builder = SegmentationBuilder::default();
        let (width, height) = source(first.clone()).size();
        builder.add(&source(first), 1, sided(&drawn(width, height, 0))).unwrap();
        match builder.add(&source(second), 1, sided(&drawn(size.0, size.1, 0))) {
            Err(error) => error.to_string(),
            Ok(()) => builder.finish(&provenance()).unwrap_err().to_string(),
        }
    };
    let with = |mut set: Set, tag, value: &str| {
        put(&mut set, tag, value);
        set
    };
    assert!(told(film(8, 8), film(8, 8), (8, 8)).contains("given twice"));
    assert!(told(slice(0, 8, 8), slice(1, 8, 8), (7, 8)).contains("a mask of 7 x 8 pixels on a picture of 8 x 8"));
    assert!(told(slice(0, 8, 8), slice(1, 8, 9), (8, 9)).contains("differ in rows and columns"));
    let other = with(slice(1, 8, 8), tags::STUDY_INSTANCE_UID, "1.2.9");
    assert!(told(slice(0, 8, 8), other, (8, 8)).contains("differ in study"));
    let other = with(slice(1, 8, 8), tags::FRAME_OF_REFERENCE_UID, "1.2.9");
    assert!(told(slice(0, 8, 8), other, (8, 8)).contains("differ in frame of reference"));
    let second = with(film(8, 8), tags::SOP_INSTANCE_UID, "1.2.9");
    assert!(told(film(8, 8), second, (8, 8)).contains("does not say where in the patient it lies"));
    let nowhere = with(slice(1, 8, 8), tags::IMAGE_POSITION_PATIENT, "1\\2");
    assert!(told(slice(0, 8, 8), nowhere, (8, 8)).contains("does not say where in the patient it lies"));
    let nothing = SegmentationBuilder::default().finish(&provenance()).unwrap_err().to_string();
    assert!(nothing.contains("no frame was given"));
    let mut builder = SegmentationBuilder::default();
    let missing = builder.add(&source(film(8, 8)), 2, sided(&drawn(8, 8, 0))).unwrap_err().to_string();
    assert!(missing.contains("no frame 2 in a picture of 1"));
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    /// Widths and heights of all remainders by eight, several frames, so that frames begin inside of bytes.
    #[test]
    fn masks_of_any_size_come_back((width, height, count, bits) in (1u16..40, 1u16..20, 1u16..5).prop_flat_map(
        |(width, height, count)| {
            let pixels = usize::from(width) * usize::from(height) * usize::from(count) * 3;
            (Just(width), Just(height), Just(count), prop::collection::vec(any::<bool>(), pixels))
        }
    )) {
        let (w, h) = (usize::from(width), usize::from(height));
        let mask = |place: usize| {
            let pixels = &bits[place * w * h..(place + 1) * w * h];
            Plane::new(w, h, pixels.iter().map(|&bit| if bit { 255 } else { 0 }).collect()).unwrap()
        };
        let masks: Vec<[Plane<u8>; 3]> = (0..count.into()).map(|i| [mask(3 * i), mask(3 * i + 1), mask(3 * i + 2)]).collect();
        let sources: Vec<Source> = (0..count).map(|number| source(slice(number, width, height))).collect();
        let found = frames(&reread(&segmentation(&sources, |i| masks[i].clone()).object));
        let nothing = masks.iter().flatten().all(|mask| mask.data().iter().all(|value| *value == 0));
        let mut expected = vec![];
        for segment in 0..3 {
            for (number, of_slice) in masks.iter().enumerate() {
                if nothing || of_slice[segment].data().iter().any(|value| *value != 0) {
                    expected.push((segment as u16 + 1, format!("1.2.826.0.1.4.{}", number + 1), of_slice[segment].clone()));
                }
            }
        }
        let found: Vec<_> = found.into_iter().map(|(segment, instance, _, _, mask)| (segment, instance, mask)).collect();
        prop_assert_eq!(found, expected);
    }
}
