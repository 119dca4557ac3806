//! Reports and secondary captures: what stands in them, and what they refer to.
#![allow(clippy::unwrap_used, clippy::panic, reason = "a test may fail by panic")]

mod made;

use dicom_core::Tag;
use dicom_dictionary_std::{tags, uids};
use made::{Set, deep, disease, drawn, film, items, provenance, put, reading, reread, sided, slice, source, text};
use thorax_objects::{Panel, Reading, Segmentation, SegmentationBuilder, Source, capture, report};
use thorax_shared::{
    bundle::{Disease, Name},
    plane::Plane,
    verdict::{ReferReason, RejectReason, Verdict},
};

fn segmentation(sources: &[Source], infected: bool) -> Segmentation {
    let mut builder = SegmentationBuilder::default();
    for source in sources {
        let (width, height) = source.size();
        let mut masks = drawn(width, height, 0);
        if !infected {
            masks[0] = Plane::filled(width, height, 0);
        }
        builder.add(source, 1, sided(&masks)).unwrap();
    }
    builder.finish(&provenance()).unwrap()
}

/// Concept name of a content item.
fn name(item: &Set) -> String {
    deep(item, &[tags::CONCEPT_NAME_CODE_SEQUENCE, tags::CODE_VALUE])
}

fn children<'a>(item: &'a Set, code: &str) -> Vec<&'a Set> {
    items(item, tags::CONTENT_SEQUENCE).iter().filter(|item| name(item) == code).collect()
}

fn groups(report: &Set) -> Vec<&Set> {
    children(children(report, "126010")[0], "125007")
}

fn template(group: &Set) -> String {
    deep(group, &[tags::CONTENT_TEMPLATE_SEQUENCE, tags::TEMPLATE_IDENTIFIER])
}

fn number(item: &Set) -> (f64, String) {
    let value = &items(item, tags::MEASURED_VALUE_SEQUENCE)[0];
    let unit = deep(value, &[tags::MEASUREMENT_UNITS_CODE_SEQUENCE, tags::CODE_VALUE]);
    (text(value, tags::NUMERIC_VALUE).parse().unwrap(), unit)
}

fn referenced(item: &Set, tag: Tag) -> String {
    deep(item, &[tags::REFERENCED_SOP_SEQUENCE, tag])
}

#[test]
fn a_report_says_what_was_found() {
    let source = source(film(20, 30));
    let made = segmentation(std::slice::from_ref(&source), true);
    let report = reread(&report(&[&source], &reading(), Some(&made), &provenance()).unwrap());
    assert_eq!(name(&report), "126000");
    assert_eq!(template(&report), "1500");
    assert_eq!(text(&report, tags::VERIFICATION_FLAG), "UNVERIFIED");
    let whole = groups(&report)[0];
    assert_eq!(template(whole), "1501");
    let measured = |code: &str| children(whole, code).into_iter().map(number).collect::<Vec<_>>();
    assert_eq!(measured("PROBABILITY"), [(0.625, "1".into())]);
    assert_eq!(measured("ENTROPY"), [(0.75, "bit".into())]);
    assert_eq!(measured("111029"), [(0.875, "1".into())]);
    let sides: Vec<_> = children(whole, "INVOLVEMENT")
        .into_iter()
        .map(|item| {
            let site = &items(item, tags::CONTENT_SEQUENCE)[0];
            let side = site
                .get(tags::CONTENT_SEQUENCE)
                .and_then(|it| it.value().items())
                .map(|it| deep(&it[0], &[tags::CONCEPT_CODE_SEQUENCE, tags::CODE_MEANING]));
            (side, number(item).0)
        })
        .collect();
    assert_eq!(sides, [(None, 12.5), (Some("Left".into()), 0.0), (Some("Right".into()), 25.25)]);
    let coded = |code: &str| {
        children(whole, code)
            .iter()
            .map(|it| deep(it, &[tags::CONCEPT_CODE_SEQUENCE, tags::CODE_VALUE]))
            .collect::<Vec<_>>()
    };
    assert_eq!(coded("VERDICT"), ["10828004"]);
    assert!(coded("REASON").is_empty());
    assert_eq!(text(children(whole, "DISEASE")[0], tags::TEXT_VALUE), "pneumonia as COVID-19 makes it");
    assert_eq!(coded("DISEASE_CODE"), ["840539006"]);
    assert_eq!(text(children(whole, "111001")[0], tags::TEXT_VALUE), "Thorax covid-xray 3");
    let hash = text(children(whole, "111002")[0], tags::TEXT_VALUE);
    assert_eq!(hash, "sha256=000102030405060708090a0b0c0d0e0f101112131415161718191a1b1c1d1e1f");
    assert_eq!(text(children(whole, "121106")[0], tags::TEXT_VALUE), "research use only, not a medical device");
    assert_eq!(referenced(children(whole, "121112")[0], tags::REFERENCED_SOP_INSTANCE_UID), source.sop_instance_uid());
}

#[test]
fn every_group_is_tracked_and_refers_to_its_segment() {
    let source = source(film(20, 30));
    let made = segmentation(std::slice::from_ref(&source), true);
    let set = reread(&report(&[&source], &reading(), Some(&made), &provenance()).unwrap());
    let segments = reread(&made.object);
    let groups = groups(&set);
    assert_eq!(groups.len(), 4);
    for group in &groups {
        assert!(!text(children(group, "112039")[0], tags::TEXT_VALUE).is_empty());
        assert!(text(children(group, "112040")[0], tags::UID).starts_with("2.25."));
    }
    for (i, group) in groups[1..].iter().enumerate() {
        assert_eq!(template(group), "1410");
        let frame = children(group, "121214")[0];
        assert_eq!(referenced(frame, tags::REFERENCED_SOP_INSTANCE_UID), made.object.sop_instance_uid());
        assert_eq!(referenced(frame, tags::REFERENCED_FRAME_NUMBER), (i + 1).to_string());
        let segment = &items(&segments, tags::SEGMENT_SEQUENCE)[i];
        assert_eq!(text(children(group, "112040")[0], tags::UID), text(segment, tags::TRACKING_UID));
    }
    // The evidence has the picture and the segmentation, each in its series.
    let study = &items(&set, tags::CURRENT_REQUESTED_PROCEDURE_EVIDENCE_SEQUENCE)[0];
    let evidence: Vec<_> = items(study, tags::REFERENCED_SERIES_SEQUENCE)
        .iter()
        .map(|series| {
            let instance = deep(series, &[tags::REFERENCED_SOP_SEQUENCE, tags::REFERENCED_SOP_INSTANCE_UID]);
            (text(series, tags::SERIES_INSTANCE_UID), instance)
        })
        .collect();
    let series = |series: &str, instance: &str| (series.to_owned(), instance.to_owned());
    assert_eq!(
        evidence,
        [
            series(source.series_instance_uid(), source.sop_instance_uid()),
            series(made.object.series_instance_uid(), made.object.sop_instance_uid()),
        ]
    );
}

#[test]
fn a_series_refers_to_whole_segments_and_none_that_is_empty() {
    let sources = [0, 1, 2].map(|number| source(slice(number, 9, 5)));
    let made = segmentation(&sources, false);
    let all: Vec<&Source> = sources.iter().collect();
    let set = reread(&report(&all, &reading(), Some(&made), &provenance()).unwrap());
    let groups = groups(&set);
    let numbers: Vec<String> = groups[1..]
        .iter()
        .map(|group| {
            assert_eq!(template(group), "1411");
            assert_eq!(text(children(group, "121232")[0], tags::UID), sources[0].series_instance_uid());
            referenced(children(group, "121191")[0], tags::REFERENCED_SEGMENT_NUMBER)
        })
        .collect();
    assert_eq!(numbers, ["2", "3"]);
    assert_eq!(children(children(&set, "111028")[0], "126200").len(), 1);
    assert_eq!(deep(children(&set, "121058")[0], &[tags::CONCEPT_CODE_SEQUENCE, tags::CODE_VALUE]), "25045-6");
}

#[test]
fn what_was_rejected_has_a_verdict_a_reason_and_no_figures() {
    let source = source(film(20, 30));
    let reading = Reading {
        disease: &disease("tuberculosis", "56717001", "Tuberculosis"),
        verdict: Verdict::Rejected(RejectReason::Blurred),
        probability: None,
        epistemic_entropy_bits: None,
        involvement: None,
        quality_score: 0.0,
    };
    let set = reread(&report(&[&source], &reading, None, &provenance()).unwrap());
    let groups = groups(&set);
    assert_eq!(groups.len(), 1);
    for code in ["PROBABILITY", "ENTROPY", "INVOLVEMENT"] {
        assert!(children(groups[0], code).is_empty());
    }
    let coded = |code: &str| deep(children(groups[0], code)[0], &[tags::CONCEPT_CODE_SEQUENCE, tags::CODE_VALUE]);
    assert_eq!((coded("VERDICT").as_str(), coded("REASON").as_str()), ("REJECTED", "BLURRED"));
    assert_eq!(coded("DISEASE_CODE"), "56717001");
    assert_eq!(text(children(groups[0], "DISEASE")[0], tags::TEXT_VALUE), "tuberculosis");
}

#[test]
fn a_code_stands_in_its_element_or_not_at_all() {
    let source = source(film(20, 30));
    let coded = |disease: &Disease| {
        let made = report(&[&source], &Reading { disease, ..reading() }, None, &provenance()).unwrap();
        let set = reread(&made);
        let items = children(groups(&set)[0], "DISEASE_CODE");
        items.first().map(|item| deep(item, &[tags::CONCEPT_CODE_SEQUENCE, tags::LONG_CODE_VALUE]))
    };
    let long = disease("COVID-19 pneumonia", "882784691000119100", "Pneumonia caused by SARS-CoV-2");
    assert_eq!(coded(&long).as_deref(), Some("882784691000119100"), "more than the 16 characters of a Code Value");
    let scheme = Name::try_from("a designator of 30 characters.").unwrap();
    assert_eq!(coded(&Disease { scheme, ..long.clone() }), None);
    assert_eq!(coded(&disease("paludisme", "61462000", "Paludisme d’Afrique")), None, "not ASCII");
}

#[test]
fn sides_that_are_not_known_are_not_told() {
    let source = source(film(20, 30));
    let mut reading = Reading { verdict: Verdict::Refer(ReferReason::HighEntropy), ..reading() };
    reading.involvement = reading.involvement.map(|involvement| involvement.without_sides());
    let set = reread(&report(&[&source], &reading, None, &provenance()).unwrap());
    assert_eq!(children(groups(&set)[0], "INVOLVEMENT").len(), 1);
}

#[test]
fn figures_that_are_none_and_pictures_of_two_studies_are_refused() {
    let one = source(film(20, 30));
    let told = |reading: Reading| report(&[&one], &reading, None, &provenance()).unwrap_err().to_string();
    assert!(told(Reading { probability: Some(f32::NAN), ..reading() }).contains("the probability cannot be NaN"));
    assert!(told(Reading { quality_score: 1.5, ..reading() }).contains("the quality cannot be 1.5"));
    let mut other = film(20, 30);
    put(&mut other, tags::STUDY_INSTANCE_UID, "1.2.9");
    let other = source(other);
    let told = report(&[&one, &other], &reading(), None, &provenance()).unwrap_err().to_string();
    assert!(told.contains("differ in study"), "{told}");
    let made = segmentation(&[other], true);
    let told = report(&[&one], &reading(), Some(&made), &provenance()).unwrap_err().to_string();
    assert!(told.contains("differ in study"), "{told}");
    assert!(report(&[], &reading(), None, &provenance()).unwrap_err().to_string().contains("no picture was given"));
}

#[test]
fn a_panel_is_a_picture_of_its_own_bytes() {
    let source = source(film(20, 30));
    // 3 x 3 x 3 bytes: an odd number, which is padded.
    let rgb: Vec<u8> = (0..27).collect();
    let panel = || Panel::new(3, 3, rgb.clone()).unwrap();
    let single = reread(&capture(&[&source], vec![panel()], false, &provenance()).unwrap());
    assert_eq!(text(&single, tags::SOP_CLASS_UID), uids::SECONDARY_CAPTURE_IMAGE_STORAGE);
    let pixels = single.element(tags::PIXEL_DATA).unwrap().to_bytes().unwrap().into_owned();
    assert_eq!((&pixels[..27], pixels.len()), (&rgb[..], 28));
    assert_eq!(text(&single, tags::BURNED_IN_ANNOTATION), "NO");
    assert!(text(&single, tags::IMAGE_COMMENTS).contains("research use only, not a medical device"));
    let pages = reread(&capture(&[&source], vec![panel(), panel()], true, &provenance()).unwrap());
    assert_eq!(text(&pages, tags::SOP_CLASS_UID), uids::MULTI_FRAME_TRUE_COLOR_SECONDARY_CAPTURE_IMAGE_STORAGE);
    assert_eq!(pages.element(tags::PIXEL_DATA).unwrap().to_bytes().unwrap().len(), 54);
    assert_eq!(
        (text(&pages, tags::NUMBER_OF_FRAMES), text(&pages, tags::BURNED_IN_ANNOTATION)),
        ("2".into(), "YES".into())
    );
}

#[test]
fn panels_that_do_not_fit_are_refused() {
    for (width, height, bytes) in [(3, 3, 26), (0, 3, 0), (70_000, 1, 210_000)] {
        assert!(Panel::new(width, height, vec![0; bytes]).unwrap_err().to_string().contains("no panel of"));
    }
    let source = source(film(20, 30));
    let panels =
        [(3, 3), (3, 4)].map(|(width, height)| Panel::new(width, height, vec![0; 3 * width * height]).unwrap());
    assert!(capture(&[&source], panels.into(), false, &provenance()).is_err());
    assert!(capture(&[&source], vec![], false, &provenance()).unwrap_err().to_string().contains("no panel was given"));
}
