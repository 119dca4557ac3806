//! How data sets are written down here: a value for a tag, whose VR the standard's dictionary knows.

use dicom_core::{
    DataElement, PrimitiveValue, Tag, VR,
    dictionary::{DataDictionary, DataDictionaryEntry},
    value::DataSetSequence,
};
use dicom_dictionary_std::StandardDataDictionary;
use dicom_object::InMemDicomObject;

/// A data set, or an item of a sequence.
pub(crate) type Set = InMemDicomObject;

/// The VR that the standard gives to `tag`; `None` where the standard does not know it (private elements too).
pub(crate) fn standard_vr(tag: Tag) -> Option<VR> {
    if tag.group() % 2 == 1 {
        return None;
    }
    StandardDataDictionary.by_tag(tag).map(|entry| entry.vr().relaxed())
}

/// Puts a value.
pub(crate) fn put(set: &mut Set, tag: Tag, value: impl Into<PrimitiveValue>) {
    set.put(DataElement::new(tag, standard_vr(tag).unwrap_or(VR::UN), value.into()));
}

/// Puts an element without value.
pub(crate) fn put_empty(set: &mut Set, tag: Tag) {
    match standard_vr(tag) {
        Some(VR::SQ) => put_items(set, tag, vec![]),
        _ => put(set, tag, PrimitiveValue::Empty),
    }
}

/// Puts a sequence.
pub(crate) fn put_items(set: &mut Set, tag: Tag, items: Vec<Set>) {
    set.put(DataElement::new(tag, VR::SQ, DataSetSequence::from(items)));
}

/// A text as what we write ourselves may be, whatever the character set: printable ASCII without backslash, which would begin
/// another value. `most`: characters that the VR takes.
pub(crate) fn plain(text: &str, most: usize) -> String {
    let plain = text.chars().map(|c| if c == '\\' || !(' '..='~').contains(&c) { '?' } else { c });
    plain.take(most).collect::<String>().trim().to_owned()
}

/// Whether values of `vr` are characters.
pub(crate) fn is_text(vr: VR) -> bool {
    use VR::{AE, AS, CS, DA, DS, DT, IS, LO, LT, PN, SH, ST, TM, UC, UI, UR, UT};
    matches!(vr, AE | AS | CS | DA | DS | DT | IS | LO | LT | PN | SH | ST | TM | UC | UI | UR | UT)
}

/// The texts of a value, without the spaces and NULs that pad them; `None` where there are none.
///
/// Archives write elements that they did not know as bytes (VR UN, in the order of the least significant byte first, PS3.5, 6.2.2);
/// we do know them.
pub(crate) fn texts(set: &Set, tag: Tag) -> Option<Vec<String>> {
    let value = set.get(tag)?.value().primitive()?;
    let texts: Vec<String> = match (value, standard_vr(tag)) {
        (PrimitiveValue::U8(bytes), Some(vr)) if is_text(vr) => {
            bytes.split(|&byte| byte == b'\\').map(|part| part.iter().map(|&byte| char::from(byte)).collect()).collect()
        }
        (PrimitiveValue::U8(bytes), Some(VR::US)) => {
            bytes.chunks_exact(2).map(|pair| u16::from_le_bytes([pair[0], pair[1]]).to_string()).collect()
        }
        // Text that holds backslashes as characters (PS3.5, 6.2).
        (_, Some(VR::LT | VR::ST | VR::UT)) => value.to_multi_str().into_owned(),
        // One string of several values is what a data set made by hand has.
        _ => value.to_multi_str().iter().flat_map(|text| text.split('\\').map(str::to_owned)).collect(),
    };
    let texts: Vec<String> =
        texts.iter().map(|text| text.trim_matches(|c: char| c == '\0' || c.is_whitespace()).to_owned()).collect();
    (!texts.iter().all(String::is_empty)).then_some(texts)
}

/// The first text of a value.
pub(crate) fn text(set: &Set, tag: Tag) -> Option<String> {
    texts(set, tag)?.into_iter().next().filter(|text| !text.is_empty())
}

/// The items of a sequence.
pub(crate) fn items(set: &Set, tag: Tag) -> &[Set] {
    set.get(tag).and_then(|element| element.value().items()).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use dicom_dictionary_std::tags;

    #[test]
    fn our_own_text_is_ascii_and_one_value() {
        assert_eq!(plain("Büro\\Nord\n1", 64), "B?ro?Nord?1");
        assert_eq!(plain(&"a".repeat(70), 64).len(), 64);
    }

    #[test]
    fn bytes_that_are_known_are_understood() {
        let mut set = Set::new_empty();
        let mut unknown = |tag, bytes: &[u8]| {
            set.put(DataElement::new(tag, VR::UN, PrimitiveValue::U8(bytes.iter().copied().collect())));
        };
        unknown(tags::STUDY_INSTANCE_UID, b"1.2.3\0");
        unknown(tags::IMAGE_TYPE, b"ORIGINAL\\PRIMARY");
        unknown(tags::ROWS, &[0x34, 0x12]);
        assert_eq!(text(&set, tags::STUDY_INSTANCE_UID).unwrap(), "1.2.3");
        assert_eq!(texts(&set, tags::IMAGE_TYPE).unwrap(), ["ORIGINAL", "PRIMARY"]);
        assert_eq!(text(&set, tags::ROWS).unwrap(), "4660");
    }

    #[test]
    fn values_have_the_vr_of_the_dictionary() {
        let mut set = Set::new_empty();
        put(&mut set, tags::ROWS, 7u16);
        put(
            &mut set,
            tags::PIXEL_SPACING,
            PrimitiveValue::Strs(["0.5", "0.25 "].map(String::from).into_iter().collect()),
        );
        put_empty(&mut set, tags::PATIENT_NAME);
        put_empty(&mut set, tags::PERFORMED_PROCEDURE_CODE_SEQUENCE);
        assert_eq!(set.get(tags::ROWS).unwrap().header().vr, VR::US);
        assert_eq!(texts(&set, tags::PIXEL_SPACING).unwrap(), ["0.5", "0.25"]);
        assert_eq!((text(&set, tags::PATIENT_NAME), text(&set, tags::STUDY_ID)), (None, None));
        assert_eq!(set.get(tags::PERFORMED_PROCEDURE_CODE_SEQUENCE).unwrap().header().vr, VR::SQ);
        assert_eq!(standard_vr(Tag(0x0009, 0x0010)), None);
    }
}
