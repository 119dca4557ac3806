//! Coded concepts (PS3.3, 8.8): what DICOM, SNOMED CT and UCUM have codes for, and what we had to name ourselves.
//!
//! A code is of DICOM's own lists (PS3.16) where there is one. What Thorax says of a picture has none: no list has the probability
//! of a disease, an ensemble's entropy, or a verdict that a person has to decide. Those are of the private scheme `99THORAX`
//! (PS3.16, 8: private schemes begin with 99).

use dicom_dictionary_std::tags;
use thorax_shared::{
    bundle::Disease,
    verdict::{ReferReason, RejectReason, Verdict},
};

use crate::set::{Set, plain, put};

/// A concept: value, scheme, meaning.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Code(pub(crate) &'static str, pub(crate) &'static str, pub(crate) &'static str);

/// The private scheme.
pub(crate) const THORAX: &str = "99THORAX";

const SCT: &str = "SCT";
const DCM: &str = "DCM";
const LN: &str = "LN";
const UCUM: &str = "UCUM";

// Segments (CID 7150, 7151, 6102, 244).
pub(crate) const ANATOMICAL_STRUCTURE: Code = Code("91723000", SCT, "Anatomical Structure");
pub(crate) const ABNORMAL_STRUCTURE: Code = Code("49755003", SCT, "Morphologically Abnormal Structure");
pub(crate) const LUNG: Code = Code("39607008", SCT, "Lung");
pub(crate) const LEFT: Code = Code("7771000", SCT, "Left");
pub(crate) const RIGHT: Code = Code("24028007", SCT, "Right");
pub(crate) const OPACITY: Code = Code("112001", DCM, "Opacity");
pub(crate) const ARTIFICIAL_INTELLIGENCE: Code = Code("123110", DCM, "Artificial Intelligence");

// References (CID 7203, 7202).
pub(crate) const SEGMENTATION: Code = Code("113076", DCM, "Segmentation");
pub(crate) const SOURCE_IMAGE: Code = Code("121322", DCM, "Source image for image processing operation");

// The report (TID 1500 and those in it).
pub(crate) const IMAGING_MEASUREMENT_REPORT: Code = Code("126000", DCM, "Imaging Measurement Report");
pub(crate) const LANGUAGE: Code = Code("121049", DCM, "Language of Content Item and Descendants");
pub(crate) const ENGLISH: Code = Code("en", "RFC5646", "English");
pub(crate) const OBSERVER_TYPE: Code = Code("121005", DCM, "Observer Type");
pub(crate) const DEVICE: Code = Code("121007", DCM, "Device");
pub(crate) const DEVICE_UID: Code = Code("121012", DCM, "Device Observer UID");
pub(crate) const DEVICE_NAME: Code = Code("121013", DCM, "Device Observer Name");
pub(crate) const DEVICE_MANUFACTURER: Code = Code("121014", DCM, "Device Observer Manufacturer");
pub(crate) const DEVICE_MODEL: Code = Code("121015", DCM, "Device Observer Model Name");
pub(crate) const DEVICE_SERIAL: Code = Code("121016", DCM, "Device Observer Serial Number");
pub(crate) const PROCEDURE_REPORTED: Code = Code("121058", DCM, "Procedure reported");
// Of CID 100, which has no procedure of the chest; the body part is that of the findings.
pub(crate) const RADIOGRAPH: Code = Code("43468-8", LN, "XR unspecified body region");
pub(crate) const CT: Code = Code("25045-6", LN, "CT unspecified body region");
pub(crate) const IMAGE_LIBRARY: Code = Code("111028", DCM, "Image Library");
pub(crate) const IMAGE_LIBRARY_GROUP: Code = Code("126200", DCM, "Image Library Group");
pub(crate) const SOURCE: Code = Code("260753009", SCT, "Source");
pub(crate) const MODALITY: Code = Code("121139", DCM, "Modality");
pub(crate) const IMAGING_MEASUREMENTS: Code = Code("126010", DCM, "Imaging Measurements");
pub(crate) const MEASUREMENT_GROUP: Code = Code("125007", DCM, "Measurement Group");
pub(crate) const TRACKING_IDENTIFIER: Code = Code("112039", DCM, "Tracking Identifier");
pub(crate) const TRACKING_UID: Code = Code("112040", DCM, "Tracking Unique Identifier");
pub(crate) const FINDING: Code = Code("121071", DCM, "Finding");
pub(crate) const FINDING_SITE: Code = Code("363698007", SCT, "Finding Site");
pub(crate) const LATERALITY: Code = Code("272741003", SCT, "Laterality");
pub(crate) const ALGORITHM_NAME: Code = Code("111001", DCM, "Algorithm Name");
pub(crate) const ALGORITHM_PARAMETERS: Code = Code("111002", DCM, "Algorithm Parameters");
pub(crate) const ALGORITHM_VERSION: Code = Code("111003", DCM, "Algorithm Version");
pub(crate) const SEGMENTATION_FRAME: Code = Code("121214", DCM, "Referenced Segmentation Frame");
pub(crate) const REFERENCED_SEGMENT: Code = Code("121191", DCM, "Referenced Segment");
pub(crate) const SOURCE_OF_SEGMENTATION: Code = Code("121233", DCM, "Source image for segmentation");
pub(crate) const SOURCE_SERIES: Code = Code("121232", DCM, "Source series for segmentation");
pub(crate) const SOURCE_OF_MEASUREMENT: Code = Code("121112", DCM, "Source of Measurement");
pub(crate) const COMMENT: Code = Code("121106", DCM, "Comment");
pub(crate) const QUALITY_RATING: Code = Code("111029", DCM, "Image Quality Rating");

// Modalities (CID 29).
pub(crate) const MODALITY_CR: Code = Code("CR", DCM, "Computed Radiography");
pub(crate) const MODALITY_CT: Code = Code("CT", DCM, "Computed Tomography");
pub(crate) const MODALITY_DX: Code = Code("DX", DCM, "Digital Radiography");
pub(crate) const MODALITY_OT: Code = Code("OT", DCM, "Other");

// Units (CID 7181; `bit` is UCUM's own).
pub(crate) const NO_UNITS: Code = Code("1", UCUM, "no units");
pub(crate) const PERCENT: Code = Code("%", UCUM, "Percent");
pub(crate) const BIT: Code = Code("bit", UCUM, "bit");

// What Thorax says.
pub(crate) const VERDICT: Code = Code("VERDICT", THORAX, "Screening verdict, research use only");
pub(crate) const VERDICT_REASON: Code = Code("REASON", THORAX, "Reason of the screening verdict");
pub(crate) const PROBABILITY: Code = Code("PROBABILITY", THORAX, "Probability of the disease, research use only");
pub(crate) const DISEASE: Code = Code("DISEASE", THORAX, "Disease that the verdict is on");
pub(crate) const DISEASE_CODE: Code = Code("DISEASE_CODE", THORAX, "Code of the disease that the verdict is on");
pub(crate) const ENTROPY: Code = Code("ENTROPY", THORAX, "Epistemic entropy of the ensemble");
pub(crate) const INVOLVEMENT: Code = Code("INVOLVEMENT", THORAX, "Infected share of the lung area");
const POSITIVE: Code = Code("10828004", SCT, "Positive");
const NEGATIVE: Code = Code("260385009", SCT, "Negative");
const REFER: Code = Code("REFER", THORAX, "Refer to a person");
const REJECTED: Code = Code("REJECTED", THORAX, "Rejected, not read");

/// The concept of a verdict.
pub(crate) fn verdict(verdict: Verdict) -> Code {
    match verdict {
        Verdict::Positive => POSITIVE,
        Verdict::Negative => NEGATIVE,
        Verdict::Refer(_) => REFER,
        Verdict::Rejected(_) => REJECTED,
    }
}

/// The concept of a verdict's reason; `None` where it needs none.
pub(crate) fn verdict_reason(verdict: Verdict) -> Option<Code> {
    let (value, meaning) = match verdict {
        Verdict::Positive | Verdict::Negative => return None,
        Verdict::Refer(reason) => match reason {
            ReferReason::AbstainZone => ("ABSTAIN_ZONE", "Probability between the two thresholds"),
            ReferReason::HighEntropy => ("HIGH_ENTROPY", "The ensemble is too uncertain"),
            ReferReason::Unfamiliar => ("UNFAMILIAR", "At the border of what the models were trained on"),
            ReferReason::OrientationUnknown => ("ORIENTATION", "The file does not say how the picture hangs"),
            ReferReason::ViewUnknown => ("VIEW", "The view is not known to be frontal"),
            ReferReason::NotOfAChest => ("NOT_A_CHEST", "The CT values are not those of a chest"),
        },
        Verdict::Rejected(reason) => match reason {
            RejectReason::TooSmall => ("TOO_SMALL", "Too few pixels"),
            RejectReason::Blurred => ("BLURRED", "Too blurred"),
            RejectReason::Underexposed => ("UNDEREXPOSED", "Too dark"),
            RejectReason::Overexposed => ("OVEREXPOSED", "Too bright"),
            RejectReason::LowContrast => ("LOW_CONTRAST", "Too little contrast"),
            RejectReason::FewGreyLevels => ("FEW_GREY_LEVELS", "Few grey levels"),
            RejectReason::Shape => ("SHAPE", "Not the shape of a whole chest image"),
            RejectReason::Colour => ("COLOUR", "A colour picture"),
            RejectReason::Negative => ("NEGATIVE", "Looks like a negative"),
            RejectReason::Turned => ("TURNED", "Looks turned on its side or upside down"),
            RejectReason::OutOfDistribution => ("OUT_OF_DISTRIB", "Does not look like a chest X-ray or CT slice"),
            RejectReason::Framed => ("FRAMED", "A small picture in a wide frame"),
            RejectReason::NotFrontal => ("NOT_FRONTAL", "Looks like a film from the side"),
            RejectReason::Child => ("CHILD", "Looks like the film of a child"),
            RejectReason::SoftTissueWindow => ("SOFT_TISSUE", "Looks like a slice in a soft-tissue window"),
        },
    };
    Some(Code(value, THORAX, meaning))
}

/// The item of a bundle's disease; `None` where its code does not fit the elements of one.
pub(crate) fn disease(disease: &Disease) -> Option<Set> {
    let Disease { scheme, code, meaning, .. } = disease;
    let fits = |text: &str, most| plain(text, most) == text;
    // A code of more characters than SH takes has an element of its own (PS3.3, 8.1).
    let value = if code.len() <= 16 { tags::CODE_VALUE } else { tags::LONG_CODE_VALUE };
    if !(fits(code, 64) && fits(scheme, 16) && fits(meaning, 64)) {
        return None;
    }
    let mut set = Set::new_empty();
    put(&mut set, value, code.as_str());
    put(&mut set, tags::CODING_SCHEME_DESIGNATOR, scheme.as_str());
    put(&mut set, tags::CODE_MEANING, meaning.as_str());
    Some(set)
}

impl Code {
    /// As the item of a code sequence.
    pub(crate) fn item(self) -> Set {
        let mut set = Set::new_empty();
        put(&mut set, tags::CODE_VALUE, self.0);
        put(&mut set, tags::CODING_SCHEME_DESIGNATOR, self.1);
        put(&mut set, tags::CODE_MEANING, self.2);
        set
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn codes_fit_their_elements() {
        // Code Value is SH (16 characters), Code Meaning LO (64).
        let verdicts = ReferReason::ALL.map(Verdict::Refer).into_iter().chain(RejectReason::ALL.map(Verdict::Rejected));
        let codes: Vec<Code> = verdicts
            .flat_map(|it| [Some(verdict(it)), verdict_reason(it)])
            .flatten()
            .chain([
                VERDICT,
                VERDICT_REASON,
                PROBABILITY,
                DISEASE,
                DISEASE_CODE,
                ENTROPY,
                INVOLVEMENT,
                LANGUAGE,
                SOURCE_IMAGE,
            ])
            .collect();
        for Code(value, scheme, meaning) in codes {
            assert!(value.len() <= 16 && scheme.len() <= 16 && meaning.len() <= 64, "{value} {meaning}");
        }
        assert_eq!((verdict(Verdict::Positive).0, verdict_reason(Verdict::Negative)), ("10828004", None));
    }
}
