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

/// The texts of a value, without the spaces and NULs that pad them; `None` where there are none.
pub(crate) fn texts(set: &Set, tag: Tag) -> Option<Vec<String>> {
    let element = set.get(tag)?;
    let texts = element.value().primitive()?.to_multi_str();
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
    fn values_have_the_vr_of_the_dictionary() {
        let mut set = Set::new_empty();
        put(&mut set, tags::ROWS, 7u16);
        put(&mut set, tags::PIXEL_SPACING, PrimitiveValue::Strs(["0.5", "0.25 "].map(String::from).into_iter().collect()));
        put_empty(&mut set, tags::PATIENT_NAME);
        put_empty(&mut set, tags::PERFORMED_PROCEDURE_CODE_SEQUENCE);
        assert_eq!(set.get(tags::ROWS).unwrap().header().vr, VR::US);
        assert_eq!(texts(&set, tags::PIXEL_SPACING).unwrap(), ["0.5", "0.25"]);
        assert_eq!((text(&set, tags::PATIENT_NAME), text(&set, tags::STUDY_ID)), (None, None));
        assert_eq!(set.get(tags::PERFORMED_PROCEDURE_CODE_SEQUENCE).unwrap().header().vr, VR::SQ);
        assert_eq!(standard_vr(Tag(0x0009, 0x0010)), None);
    }
}
