//! What was found, as a structured report: Comprehensive 3D SR (PS3.3, A.35.13), template TID 1500 "Measurement Report" (PS3.16).
//!
//! The first group of measurements is of the whole picture (TID 1501): the verdict, its reason, the figures, the quality, and which
//! bundle said so. Behind it stands a group for each segment that has pixels, which refers to them in the segmentation: by TID 1410
//! for a single picture, by TID 1411 for a series. Involvement is told in the first group, with the side as a modifier of each
//! figure, so that a report reads the same whether there is a segmentation or not.
//!
//! Every group has a tracking identifier and its UID, without which a well-known viewer fails (OHIF).

use dicom_dictionary_std::{tags, uids};
use thorax_shared::{bundle::Disease, lungs::Involvement, verdict::Verdict};

use crate::{
    ObjectError,
    code::{self, Code},
    object::{Kind, MANUFACTURER, MODEL, Object, Provenance, RESEARCH_USE, algorithm, begin, by_series, finish},
    segmentation::{SegmentFrames, Segmentation},
    set::{self, Set, plain, put, put_empty, put_items},
    source::{Reference, Source},
    uid,
};

const KIND: Kind = Kind {
    class: uids::COMPREHENSIVE3_DSR_STORAGE,
    modality: "SR",
    series_number: 9102,
    description: "Thorax report, research use only",
};

/// What Thorax says of a picture or series.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Reading<'a> {
    /// What *positive* means, in the bundle's words and by its code.
    pub disease: &'a Disease,
    /// The verdict.
    pub verdict: Verdict,
    /// Calibrated probability of the disease, 0 to 1; `None` when rejected.
    pub probability: Option<f32>,
    /// Entropy of the ensemble's mean distribution in bits, 0 to 1; `None` when rejected.
    pub epistemic_entropy_bits: Option<f32>,
    /// Infected share of the lungs; without sides where they are not known.
    pub involvement: Option<Involvement>,
    /// Quality of the picture, 0 to 1.
    pub quality_score: f32,
}

/// How a content item is related to the one that holds it (PS3.3, C.17.3.2.4).
#[derive(Clone, Copy)]
enum Relation {
    Contains,
    Context,
    AcquisitionContext,
    Modifier,
}

impl Relation {
    const fn word(self) -> &'static str {
        match self {
            Self::Contains => "CONTAINS",
            Self::Context => "HAS OBS CONTEXT",
            Self::AcquisitionContext => "HAS ACQ CONTEXT",
            Self::Modifier => "HAS CONCEPT MOD",
        }
    }
}

/// A content item of some value type, without its value.
fn item(relation: Relation, value_type: &str, name: Code) -> Set {
    let mut set = Set::new_empty();
    put(&mut set, tags::RELATIONSHIP_TYPE, relation.word());
    put(&mut set, tags::VALUE_TYPE, value_type);
    put_items(&mut set, tags::CONCEPT_NAME_CODE_SEQUENCE, vec![name.item()]);
    set
}

fn text(relation: Relation, name: Code, value: &str) -> Set {
    let mut set = item(relation, "TEXT", name);
    put(&mut set, tags::TEXT_VALUE, plain(value, 1024));
    set
}

fn coded(relation: Relation, name: Code, value: Code) -> Set {
    coded_as(relation, name, value.item())
}

fn coded_as(relation: Relation, name: Code, value: Set) -> Set {
    let mut set = item(relation, "CODE", name);
    put_items(&mut set, tags::CONCEPT_CODE_SEQUENCE, vec![value]);
    set
}

fn uid_reference(relation: Relation, name: Code, uid: &str) -> Set {
    let mut set = item(relation, "UIDREF", name);
    put(&mut set, tags::UID, uid);
    set
}

/// A number between 0 and `most`, with as many digits as an f32 has; DS takes 16 characters.
fn number(what: &'static str, name: Code, value: f32, most: f32, unit: Code) -> Result<Set, ObjectError> {
    // Rounding may have left a share a little above one.
    if !(0.0..=most * 1.000_001).contains(&value) {
        return Err(ObjectError::Number { what, value: f64::from(value) });
    }
    let mut measured = Set::new_empty();
    put(&mut measured, tags::NUMERIC_VALUE, decimal(value.min(most)));
    put_items(&mut measured, tags::MEASUREMENT_UNITS_CODE_SEQUENCE, vec![unit.item()]);
    let mut set = item(Relation::Contains, "NUM", name);
    put_items(&mut set, tags::MEASURED_VALUE_SEQUENCE, vec![measured]);
    Ok(set)
}

/// The shortest decimal that is this f32 and no other; of tiny values nine decimals, at most 13 characters for what is at most 100.
fn decimal(value: f32) -> String {
    let text = value.to_string();
    if text.len() <= 16 {
        return text;
    }
    format!("{value:.9}").trim_end_matches('0').trim_end_matches('.').to_owned()
}

fn container(relation: Relation, name: Code, template: Option<&str>, content: Vec<Set>) -> Set {
    let mut set = item(relation, "CONTAINER", name);
    put(&mut set, tags::CONTINUITY_OF_CONTENT, "SEPARATE");
    if let Some(template) = template {
        put_items(&mut set, tags::CONTENT_TEMPLATE_SEQUENCE, vec![template_item(template)]);
    }
    put_items(&mut set, tags::CONTENT_SEQUENCE, content);
    set
}

fn template_item(identifier: &str) -> Set {
    let mut set = Set::new_empty();
    put(&mut set, tags::MAPPING_RESOURCE, "DCMR");
    put(&mut set, tags::TEMPLATE_IDENTIFIER, identifier);
    set
}

/// A reference to an image, its frame and its segment, where they have to be told.
fn image(name: Code, reference: &Reference, frame: Option<u32>, segment: Option<u16>) -> Set {
    let mut referenced = reference.item();
    if let Some(frame) = frame {
        put(&mut referenced, tags::REFERENCED_FRAME_NUMBER, frame.to_string());
    }
    if let Some(segment) = segment {
        put(&mut referenced, tags::REFERENCED_SEGMENT_NUMBER, segment);
    }
    let mut set = item(Relation::Contains, "IMAGE", name);
    put_items(&mut set, tags::REFERENCED_SOP_SEQUENCE, vec![referenced]);
    set
}

/// Where, with the side as a modifier.
fn site(side: Option<Code>) -> Set {
    let mut set = coded(Relation::Modifier, code::FINDING_SITE, code::LUNG);
    if let Some(side) = side {
        put_items(&mut set, tags::CONTENT_SEQUENCE, vec![coded(Relation::Modifier, code::LATERALITY, side)]);
    }
    set
}

/// Makes the report of a picture or series: `sources` are the pictures that were looked at, `segmentation` what was made of their
/// masks.
///
/// # Errors
/// [`ObjectError`] when there is no source, when sources or segmentation are of several studies, or when a figure is none (NaN, out of its range).
pub fn report(
    sources: &[&Source],
    reading: &Reading<'_>,
    segmentation: Option<&Segmentation>,
    provenance: &Provenance,
) -> Result<Object, ObjectError> {
    let (first, others) = sources.split_first().ok_or(ObjectError::Nothing("picture"))?;
    if others.iter().any(|source| source.study_instance_uid() != first.study_instance_uid()) {
        return Err(ObjectError::Differ("study"));
    }
    let of_study = |made: &Segmentation| set::text(made.object.file(), tags::STUDY_INSTANCE_UID);
    if segmentation.is_some_and(|made| of_study(made).as_deref() != Some(first.study_instance_uid())) {
        return Err(ObjectError::Differ("study"));
    }
    let mut set = begin(&KIND, first, provenance);
    put_empty(&mut set, tags::REFERENCED_PERFORMED_PROCEDURE_STEP_SEQUENCE);
    put_empty(&mut set, tags::PERFORMED_PROCEDURE_CODE_SEQUENCE);
    put(&mut set, tags::COMPLETION_FLAG, "COMPLETE");
    put(&mut set, tags::COMPLETION_FLAG_DESCRIPTION, RESEARCH_USE);
    put(&mut set, tags::VERIFICATION_FLAG, "UNVERIFIED");
    put(&mut set, tags::PRELIMINARY_FLAG, "PRELIMINARY");
    let made = segmentation.map(|made| (made.object.series_instance_uid(), made.object.reference()));
    let read = sources.iter().map(|source| (source.series_instance_uid(), source.reference()));
    let mut evidence = Set::new_empty();
    put_items(
        &mut evidence,
        tags::REFERENCED_SERIES_SEQUENCE,
        by_series(read.chain(made), tags::REFERENCED_SOP_SEQUENCE),
    );
    put(&mut evidence, tags::STUDY_INSTANCE_UID, first.study_instance_uid());
    put_items(&mut set, tags::CURRENT_REQUESTED_PROCEDURE_EVIDENCE_SEQUENCE, vec![evidence]);

    // The root is a content item that is related to nothing (TID 1500).
    put(&mut set, tags::VALUE_TYPE, "CONTAINER");
    put_items(&mut set, tags::CONCEPT_NAME_CODE_SEQUENCE, vec![code::IMAGING_MEASUREMENT_REPORT.item()]);
    put(&mut set, tags::CONTINUITY_OF_CONTENT, "SEPARATE");
    put_items(&mut set, tags::CONTENT_TEMPLATE_SEQUENCE, vec![template_item("1500")]);
    let procedure = if first.is_ct() { code::CT } else { code::RADIOGRAPH };
    let mut content = vec![coded(Relation::Modifier, code::LANGUAGE, code::ENGLISH)];
    content.extend(observer(provenance));
    content.push(coded(Relation::Modifier, code::PROCEDURE_REPORTED, procedure));
    content.push(library(sources));
    let mut groups = vec![whole(sources, reading, provenance)?];
    if let Some(segmentation) = segmentation {
        let marked = segmentation.segments.iter().filter(|segment| segment.marked);
        groups.extend(marked.map(|segment| region(segmentation, segment)));
    }
    content.push(container(Relation::Contains, code::IMAGING_MEASUREMENTS, None, groups));
    put_items(&mut set, tags::CONTENT_SEQUENCE, content);
    finish(set, &KIND, provenance)
}

/// Who observed: the device (TID 1001, 1002, 1004).
fn observer(provenance: &Provenance) -> Vec<Set> {
    let device = &provenance.device;
    let uid = uid::derived("device", &[device.serial_number.as_bytes()]);
    let mut items = vec![
        coded(Relation::Context, code::OBSERVER_TYPE, code::DEVICE),
        uid_reference(Relation::Context, code::DEVICE_UID, &uid),
        text(Relation::Context, code::DEVICE_NAME, "Thorax"),
        text(Relation::Context, code::DEVICE_MANUFACTURER, MANUFACTURER),
        text(Relation::Context, code::DEVICE_MODEL, MODEL),
    ];
    // A text has to have a value.
    if !plain(&device.serial_number, 64).is_empty() {
        items.push(text(Relation::Context, code::DEVICE_SERIAL, &device.serial_number));
    }
    items
}

/// The pictures that were looked at (TID 1600), a group for each modality.
fn library(sources: &[&Source]) -> Set {
    let mut groups: Vec<(Code, Vec<Set>)> = vec![];
    for source in sources {
        let modality = source.modality();
        let image = image(code::SOURCE, source.reference(), None, None);
        match groups.iter_mut().find(|(known, _)| *known == modality) {
            Some((_, images)) => images.push(image),
            None => groups.push((modality, vec![image])),
        }
    }
    let group = |(modality, images): (Code, Vec<Set>)| {
        let mut content = vec![coded(Relation::AcquisitionContext, code::MODALITY, modality)];
        content.extend(images);
        container(Relation::Contains, code::IMAGE_LIBRARY_GROUP, None, content)
    };
    container(Relation::Contains, code::IMAGE_LIBRARY, None, groups.into_iter().map(group).collect())
}

/// What is said of the whole (TID 1501).
fn whole(sources: &[&Source], reading: &Reading<'_>, provenance: &Provenance) -> Result<Set, ObjectError> {
    let bundle = &provenance.bundle;
    let mut parts: Vec<&[u8]> = vec![&bundle.sha256];
    parts.extend(sources.iter().map(|source| source.sop_instance_uid().as_bytes()));
    let mut content = tracking("Thorax reading", &uid::derived("reading", &parts));
    // TID 4019; a bundle is known by its SHA-256 whatever it calls itself.
    content.push(text(Relation::Modifier, code::ALGORITHM_NAME, &algorithm(bundle)));
    content.push(text(Relation::Modifier, code::ALGORITHM_VERSION, &plain(&bundle.version, 64)));
    content.push(text(Relation::Modifier, code::ALGORITHM_PARAMETERS, &format!("sha256={}", bundle.hexadecimal())));
    content.extend(sources.iter().map(|source| image(code::SOURCE_OF_MEASUREMENT, source.reference(), None, None)));
    let mut add = |what, name, value: Option<f32>, most, unit| -> Result<(), ObjectError> {
        if let Some(value) = value {
            content.push(number(what, name, value, most, unit)?);
        }
        Ok(())
    };
    add("the probability", code::PROBABILITY, reading.probability, 1.0, code::NO_UNITS)?;
    add("the entropy", code::ENTROPY, reading.epistemic_entropy_bits, 1.0, code::BIT)?;
    add("the quality", code::QUALITY_RATING, Some(reading.quality_score), 1.0, code::NO_UNITS)?;
    if let Some(involvement) = reading.involvement {
        let shares = [
            (None, Some(involvement.percent)),
            (Some(code::LEFT), involvement.left_percent),
            (Some(code::RIGHT), involvement.right_percent),
        ];
        for (side, share) in shares.into_iter().filter_map(|(side, share)| Some((side, share?))) {
            let mut measured = number("the involvement", code::INVOLVEMENT, share, 100.0, code::PERCENT)?;
            put_items(&mut measured, tags::CONTENT_SEQUENCE, vec![site(side)]);
            content.push(measured);
        }
    }
    content.push(text(Relation::Contains, code::DISEASE, &reading.disease.words));
    content.extend(
        code::disease(reading.disease).map(|disease| coded_as(Relation::Contains, code::DISEASE_CODE, disease)),
    );
    content.push(coded(Relation::Contains, code::VERDICT, code::verdict(reading.verdict)));
    content.extend(
        code::verdict_reason(reading.verdict).map(|reason| coded(Relation::Contains, code::VERDICT_REASON, reason)),
    );
    content.push(text(Relation::Contains, code::COMMENT, RESEARCH_USE));
    Ok(container(Relation::Contains, code::MEASUREMENT_GROUP, Some("1501"), content))
}

/// A segment of the segmentation: what, where, and on which pixels (TID 1410, 1411).
fn region(segmentation: &Segmentation, segment: &SegmentFrames) -> Set {
    let name = format!("Thorax {}", segment.segment.label().to_lowercase());
    let mut content = tracking(&name, &segment.tracking_uid);
    content.push(coded(Relation::Contains, code::FINDING, segment.segment.finding()));
    content.push(site(segment.segment.side()));
    let reference = segmentation.object.reference();
    match &segment.frames[..] {
        [(frame, source, source_frame)] if segmentation.planar => {
            // A frame is of one segment, which is not told besides (PS3.3, C.17.3.5).
            content.push(image(code::SEGMENTATION_FRAME, reference, Some(*frame), None));
            content.push(image(code::SOURCE_OF_SEGMENTATION, source, *source_frame, None));
            container(Relation::Contains, code::MEASUREMENT_GROUP, Some("1410"), content)
        }
        _ => {
            content.push(image(code::REFERENCED_SEGMENT, reference, None, Some(segment.number)));
            content.push(uid_reference(Relation::Contains, code::SOURCE_SERIES, &segment.series));
            container(Relation::Contains, code::MEASUREMENT_GROUP, Some("1411"), content)
        }
    }
}

/// By what a group is known again (TID 4108).
fn tracking(name: &str, uid: &str) -> Vec<Set> {
    vec![
        text(Relation::Context, code::TRACKING_IDENTIFIER, name),
        uid_reference(Relation::Context, code::TRACKING_UID, uid),
    ]
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn numbers_fit_their_element() {
        assert_eq!([0.0, 1.0, 0.5, 100.0, 12.345].map(decimal), ["0", "1", "0.5", "100", "12.345"]);
        assert_eq!([f32::MIN_POSITIVE, 1e-9].map(decimal), ["0", "0.000000001"]);
        assert!([f32::MIN_POSITIVE, 99.999_99, 1.0 / 3.0, 1e-7].iter().all(|value| decimal(*value).len() <= 16));
    }

    #[test]
    fn what_is_no_number_is_refused() {
        for value in [f32::NAN, f32::INFINITY, -0.1, 1.1] {
            let told =
                number("the probability", code::PROBABILITY, value, 1.0, code::NO_UNITS).unwrap_err().to_string();
            assert!(told.contains("the probability cannot be"), "{told}");
        }
        assert!(number("the entropy", code::ENTROPY, 1.000_000_1, 1.0, code::BIT).is_ok());
    }
}
