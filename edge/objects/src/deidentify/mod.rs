//! A picture without its names: the Basic Application Level Confidentiality Profile of PS3.15, annex E, without options.
//!
//! What is done to an attribute stands in the profile's table E.1-1, in all sequences alike. Dates and times go. UIDs are replaced,
//! the same one always by the same one, so that slices stay a series and references find what they mean; the new ones come from a
//! keyed hash (HMAC-SHA-256), so that nobody without the key can try which old UID they come from. So does the patient's identifier,
//! which keeps two studies of one patient together.
//!
//! The table leaves a choice where an attribute may or may not be needed. Then an attribute that is there is kept as the table's last
//! resort allows (a dummy value, or none), so that the object stays one of its kind; but dates, times and sequences, whose dummies
//! would be statements, are removed where the table lets them be, save the two that the enhanced objects must have.
//!
//! More than the table asks: what the standard's dictionary does not know goes, and so do sequences that came as bytes of VR UN and
//! cannot be looked into, all of Curve and Overlay groups (an overlay without its data is none), dates that are younger than the
//! table, and group lengths.
//!
//! Pixels are not touched. Who is named in the pixels stays named: *Clean Pixel Data* is an option of its own, and where a file does
//! not say that nothing is burned in, a [`Warning`] does.

mod profile;

use std::io::{Read, Seek};

use dicom_core::{DataElement, PrimitiveValue, Tag, VR};
use dicom_dictionary_std::tags;
use dicom_object::{DefaultDicomObject, InMemDicomObject, meta::FileMetaTableBuilder};
use hmac::{Hmac, Mac};
use sha2::Sha256;

use crate::{
    ObjectError,
    code::Code,
    part10::{self, DEEPEST},
    set::{Set, put, put_items, standard_vr, text, texts},
    uid::from_bits,
};
use profile::TABLE;

/// What De-identification Method says: profile and edition.
const METHOD: &str = "DICOM PS3.15 2026c E.1 Basic Profile, no options";
const METHOD_CODE: Code = Code("113100", "DCM", "Basic Application Confidentiality Profile");
/// Standard UIDs (classes, transfer syntaxes, well-known frames of reference) name nobody.
const STANDARD: &str = "1.2.840.10008.";
/// What enhanced objects must have, though the table would let it be removed (PS3.3, C.8.15 and C.7.6.14).
const NEEDED: [Tag; 2] = [tags::ACQUISITION_DATE_TIME, tags::ACQUISITION_CONTEXT_SEQUENCE];

/// The secret behind new UIDs and identifiers. The same key gives the same ones.
#[derive(Clone)]
pub struct Key([u8; 32]);

impl Key {
    /// Takes 32 random bytes, which must stay where the pictures came from.
    pub fn new(bytes: [u8; 32]) -> Self {
        Self(bytes)
    }

    /// The hash of `parts`, each with its length, under the key.
    fn hash(&self, parts: &[&[u8]]) -> [u8; 32] {
        // HMAC takes a key of any length.
        let Ok(mut hash) = Hmac::<Sha256>::new_from_slice(&self.0) else { unreachable!("HMAC takes any key") };
        for part in parts {
            hash.update(&(part.len() as u64).to_le_bytes());
            hash.update(part);
        }
        hash.finalize().into_bytes().into()
    }

    /// What stands in place of `uid`.
    pub fn uid(&self, uid: &str) -> String {
        if uid.is_empty() || uid.starts_with(STANDARD) {
            return uid.to_owned();
        }
        from_bits(&self.hash(&[b"uid", uid.as_bytes()]))
    }

    /// What stands in place of a patient's identifier, 20 characters.
    fn patient(&self, issuer: &str, identifier: &str) -> String {
        let hash = self.hash(&[b"patient", issuer.as_bytes(), identifier.as_bytes()]);
        let digits: String = hash[..8].iter().map(|byte| format!("{byte:02X}")).collect();
        format!("ANON{digits}")
    }
}

/// A key is not to be seen in a log.
impl std::fmt::Debug for Key {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Key(..)")
    }
}

/// What is done to an attribute: the codes of table E.1-1, where a slash leaves a choice.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[allow(clippy::upper_case_acronyms, reason = "the table's own codes, without the slashes")]
enum Action {
    /// Replace with a dummy value.
    D,
    /// Replace with an empty value.
    Z,
    /// Remove.
    X,
    /// Replace with another UID, the same for the same.
    U,
    /// Z/D.
    ZD,
    /// X/Z.
    XZ,
    /// X/D.
    XD,
    /// X/Z/D.
    XZD,
    /// X/Z/U*: remove, empty, or keep as a sequence in which UIDs are replaced.
    XZU,
}

/// What is done in the end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Deed {
    Remove,
    Empty,
    Dummy,
    Uid,
    /// Keep, and look into its items where it is a sequence.
    Clean,
}

impl Action {
    fn deed(self, tag: Tag, vr: VR) -> Deed {
        let removable = matches!(self, Self::XZ | Self::XD | Self::XZD);
        if removable && matches!(vr, VR::DA | VR::TM | VR::DT | VR::SQ) && !NEEDED.contains(&tag) {
            return Deed::Remove;
        }
        match self {
            Self::X => Deed::Remove,
            Self::Z | Self::XZ => Deed::Empty,
            Self::D | Self::ZD | Self::XD | Self::XZD => Deed::Dummy,
            Self::U => Deed::Uid,
            Self::XZU => Deed::Clean,
        }
    }
}

/// The table's line for `tag`.
fn action(tag: Tag) -> Option<Action> {
    TABLE.binary_search_by_key(&tag, |(tag, _)| *tag).ok().map(|at| TABLE[at].1)
}

/// What is done to the element `tag`, which stands in the file with `vr`.
fn deed(tag: Tag, vr: VR) -> Deed {
    let (group, element) = (tag.group(), tag.element());
    // Private attributes, group lengths, curves and overlays.
    if group % 2 == 1 || element == 0 || matches!(group, 0x5000..=0x50ff | 0x6000..=0x60ff) {
        return Deed::Remove;
    }
    let Some(standard) = standard_vr(tag) else { return Deed::Remove };
    // A sequence that is bytes, or bytes that are a sequence.
    if (standard == VR::SQ) != (vr == VR::SQ) {
        return Deed::Remove;
    }
    match action(tag) {
        Some(action) => action.deed(tag, standard),
        None if matches!(standard, VR::DA | VR::DT | VR::TM) => Deed::Remove,
        None => Deed::Clean,
    }
}

/// What a person has to look at, since no profile can.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Warning {
    /// The file says that names or dates are burned into the pixels.
    BurnedIn,
    /// The file does not say whether anything is burned into the pixels.
    BurnedInUnknown,
}

impl std::fmt::Display for Warning {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Self::BurnedIn => "the pixels show who the patient is: do not give this picture away",
            Self::BurnedInUnknown => {
                "look at the picture: the file does not say whether text is burned into the pixels"
            }
        })
    }
}

/// A picture without names.
#[derive(Clone, Debug)]
pub struct Deidentified {
    /// The object, in the transfer syntax in which it came; a deflated one is explicit VR little endian now.
    pub object: DefaultDicomObject,
    /// What a person has to look at.
    pub warnings: Vec<Warning>,
}

/// De-identifies the picture in a Part 10 file, which may come from anywhere: sequences nested without end and lengths beyond its own
/// are refused.
///
/// # Errors
/// [`ObjectError`] where the file cannot be read, and as [`deidentify`].
pub fn deidentify_file(file: impl Read + Seek, key: &Key) -> Result<Deidentified, ObjectError> {
    deidentify(part10::read(file, None)?, key)
}

/// De-identifies a picture, with its pixels or without. Sequences that are nested deeper than any of the standard are removed.
///
/// # Errors
/// [`ObjectError::NotAPicture`] for objects without rows and columns, whose texts cannot be cleaned; [`ObjectError::Missing`] without
/// UIDs; [`ObjectError::Meta`].
pub fn deidentify(object: DefaultDicomObject, key: &Key) -> Result<Deidentified, ObjectError> {
    if [tags::ROWS, tags::COLUMNS].iter().any(|tag| text(&object, *tag).is_none()) {
        return Err(ObjectError::NotAPicture);
    }
    for (tag, attribute) in [(tags::SOP_CLASS_UID, "SOP Class UID"), (tags::SOP_INSTANCE_UID, "SOP Instance UID")] {
        text(&object, tag).ok_or(ObjectError::Missing(attribute))?;
    }
    let meta = FileMetaTableBuilder::new().transfer_syntax(object.meta().transfer_syntax().trim_end_matches('\0'));
    let set = object.into_inner();
    let warnings = match text(&set, tags::BURNED_IN_ANNOTATION).as_deref() {
        Some("NO") => vec![],
        Some("YES") => vec![Warning::BurnedIn],
        _ => vec![Warning::BurnedInUnknown],
    };
    let issuer = text(&set, tags::ISSUER_OF_PATIENT_ID).unwrap_or_default();
    let who = [tags::PATIENT_ID, tags::STUDY_INSTANCE_UID, tags::SOP_INSTANCE_UID];
    let who = who.into_iter().find_map(|tag| text(&set, tag)).unwrap_or_default();
    let method = texts(&set, tags::DEIDENTIFICATION_METHOD).unwrap_or_default();
    let methods = set.get(tags::DEIDENTIFICATION_METHOD_CODE_SEQUENCE).and_then(|element| element.value().items());
    // Only codes: what else an item holds is nobody's business.
    let methods = methods.unwrap_or_default().iter().filter_map(|item| {
        let mut code = Set::new_empty();
        for tag in [tags::CODE_VALUE, tags::CODING_SCHEME_DESIGNATOR, tags::CODE_MEANING] {
            put(&mut code, tag, text(item, tag)?);
        }
        Some(code)
    });
    let mut methods: Vec<Set> = methods.collect();
    let mut clean = cleaned(set, key, 0);
    put(&mut clean, tags::PATIENT_ID, key.patient(&issuer, &who));
    put(&mut clean, tags::PATIENT_IDENTITY_REMOVED, "YES");
    let method = method.into_iter().filter(|text| text != METHOD && !text.is_empty()).chain([METHOD.to_owned()]);
    put(&mut clean, tags::DEIDENTIFICATION_METHOD, PrimitiveValue::Strs(method.collect()));
    methods.retain(|item| text(item, tags::CODE_VALUE).as_deref() != Some(METHOD_CODE.0));
    methods.push(METHOD_CODE.item());
    put_items(&mut clean, tags::DEIDENTIFICATION_METHOD_CODE_SEQUENCE, methods);
    put(&mut clean, tags::LONGITUDINAL_TEMPORAL_INFORMATION_MODIFIED, "REMOVED");
    Ok(Deidentified { object: clean.with_meta(meta).map_err(Box::new)?, warnings })
}

/// A data set of which only what may stay is left.
fn cleaned(mut set: InMemDicomObject, key: &Key, depth: usize) -> InMemDicomObject {
    let mut clean = Set::new_empty();
    for tag in set.tags().collect::<Vec<_>>() {
        let Some(deed) = set.get(tag).map(|element| deed(tag, element.header().vr)) else { continue };
        // Nothing that the standard does not know is left; of VR UN may be what it knows.
        let Some(vr) = standard_vr(tag).filter(|_| deed != Deed::Remove) else { continue };
        match deed {
            Deed::Remove => {}
            Deed::Empty if vr == VR::SQ => put_items(&mut clean, tag, vec![]),
            Deed::Empty => drop(clean.put(DataElement::new(tag, vr, PrimitiveValue::Empty))),
            Deed::Dummy if vr == VR::SQ => put_items(&mut clean, tag, vec![DUMMY_CODE.item()]),
            Deed::Dummy => drop(clean.put(DataElement::new(tag, vr, dummy(vr)))),
            Deed::Uid => {
                let uids = texts(&set, tag).unwrap_or_default().iter().map(|uid| key.uid(uid)).collect();
                clean.put(DataElement::new(tag, VR::UI, PrimitiveValue::Strs(uids)));
            }
            Deed::Clean if vr == VR::SQ => {
                if depth < DEEPEST {
                    let items = set.take(tag).and_then(|element| element.into_value().into_items()).unwrap_or_default();
                    let items = items.into_iter().map(|item| cleaned(item, key, depth + 1)).collect();
                    put_items(&mut clean, tag, items);
                }
            }
            Deed::Clean if vr == VR::UI => {
                let uids = texts(&set, tag).unwrap_or_default().into_iter().collect();
                clean.put(DataElement::new(tag, VR::UI, PrimitiveValue::Strs(uids)));
            }
            // Taken, not copied: it may be the pixels.
            Deed::Clean => drop(set.take(tag).map(|element| clean.put(element))),
        }
    }
    clean
}

const DUMMY_CODE: Code = Code("ANONYMIZED", "99THORAX", "Anonymized");

/// A value that says nothing, of each VR.
fn dummy(vr: VR) -> PrimitiveValue {
    match vr {
        VR::AE | VR::CS | VR::SH | VR::LO | VR::ST | VR::LT | VR::UC | VR::UT | VR::PN => "ANONYMIZED".into(),
        VR::AS => "000D".into(),
        VR::DA => "19000101".into(),
        VR::DT => "19000101000000".into(),
        VR::TM => "000000".into(),
        VR::DS | VR::IS => "0".into(),
        VR::UR => "urn:anonymized".into(),
        VR::US | VR::OW => 0u16.into(),
        VR::SS => 0i16.into(),
        VR::UL | VR::OL => 0u32.into(),
        VR::SL => 0i32.into(),
        VR::FL | VR::OF => 0f32.into(),
        VR::FD | VR::OD => 0f64.into(),
        _ => PrimitiveValue::U8([0, 0].into_iter().collect()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_table_is_in_order_and_complete() {
        assert!(TABLE.windows(2).all(|pair| pair[0].0 < pair[1].0), "sorted, each once");
        // The counts of the columns in edition 2026c.
        let count = |action| TABLE.iter().filter(|(_, it)| *it == action).count();
        use Action::{D, U, X, XD, XZ, XZD, XZU, Z, ZD};
        let counts = [D, Z, X, U, ZD, XZ, XD, XZD, XZU].map(count);
        assert_eq!(counts, [93, 42, 412, 55, 6, 11, 23, 8, 2]);
        assert_eq!(action(tags::PATIENT_NAME), Some(Z));
        assert_eq!(action(tags::ROWS), None);
    }

    #[test]
    fn what_the_table_leaves_open_is_decided_by_what_it_is() {
        assert_eq!(deed(tags::SERIES_DATE, VR::DA), Deed::Remove);
        assert_eq!(deed(tags::ACQUISITION_DATE_TIME, VR::DT), Deed::Dummy);
        assert_eq!(deed(tags::STUDY_DATE, VR::DA), Deed::Empty);
        assert_eq!(deed(tags::CONTENT_DATE, VR::DA), Deed::Dummy);
        assert_eq!(deed(tags::SOURCE_IMAGE_SEQUENCE, VR::SQ), Deed::Clean);
        assert_eq!(deed(tags::SOURCE_IMAGE_SEQUENCE, VR::UN), Deed::Remove, "bytes that cannot be looked into");
        assert_eq!(deed(Tag(0x0009, 0x0010), VR::LO), Deed::Remove);
        assert_eq!(deed(Tag(0x6002, 0x0010), VR::US), Deed::Remove);
        assert_eq!(deed(Tag(0x0008, 0x9f9f), VR::LO), Deed::Remove, "the standard does not know it");
        assert_eq!(deed(tags::PIXEL_DATA, VR::OW), Deed::Clean);
    }

    #[test]
    fn a_key_is_needed_to_know_a_uid_again() {
        let (one, other) = (Key::new([1; 32]), Key::new([2; 32]));
        assert_eq!(one.uid("1.2.3"), one.uid("1.2.3"));
        assert_ne!(one.uid("1.2.3"), one.uid("1.2.4"));
        assert_ne!(one.uid("1.2.3"), other.uid("1.2.3"));
        assert_eq!(one.uid("1.2.840.10008.1.4.1.1"), "1.2.840.10008.1.4.1.1", "a well-known frame of reference");
        assert_ne!(one.patient("a", "bc"), one.patient("ab", "c"));
        assert_eq!(format!("{one:?}"), "Key(..)");
    }
}
