//! The data sets of storage commitment (DICOM PS3.4, annex J): which images are asked about, and which of them are kept.
//!
//! Question and answer have one form: a transaction, the images that are meant or kept, and those that are not.

use crate::{
    elements::{Elements, FAILED_SOP_SEQUENCE, ITEM, REFERENCED_SOP_SEQUENCE, Tag, Value, element},
    uids::{self, is_uid, trimmed},
};

/// No question or answer is longer.
pub const MOST_COMMITMENT_BYTES: usize = 1 << 20;

const TRANSACTION_UID: Tag = (0x0008, 0x1195);
const REFERENCED_SOP_CLASS_UID: Tag = (0x0008, 0x1150);
const REFERENCED_SOP_INSTANCE_UID: Tag = (0x0008, 0x1155);
const FAILURE_REASON: Tag = (0x0008, 0x1197);
/// Of an image that failed without a reason.
const PROCESSING_FAILURE: u16 = 0x0110;

/// An image by class and instance.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Reference {
    /// SOP Class UID.
    pub class: String,
    /// SOP Instance UID.
    pub instance: String,
}

/// A question, or its answer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Commitment {
    /// By which the answer is known to be that of the question.
    pub transaction: String,
    /// What is asked about; in an answer, what is kept.
    pub images: Vec<Reference>,
    /// What is not kept, with the reason (PS3.3, C.14.1.1); nothing, in a question.
    pub failed: Vec<(Reference, u16)>,
}

fn uid(bytes: &[u8]) -> Result<String, &'static str> {
    let text = std::str::from_utf8(bytes).map(trimmed).ok().filter(|text| is_uid(text));
    text.map(str::to_owned).ok_or("a UID that is none")
}

impl Commitment {
    /// Reads the data set of an N-ACTION or of an N-EVENT-REPORT (PS3.4, tables J.3-1 and J.3-2).
    ///
    /// # Errors
    /// What is wrong with it.
    pub fn read(bytes: &[u8], transfer_syntax_uid: &str) -> Result<Self, &'static str> {
        let implicit = transfer_syntax_uid == uids::IMPLICIT_LITTLE_ENDIAN;
        let mut elements = Elements::new(bytes, implicit);
        let (mut transaction, mut images, mut failed) = (None, vec![], vec![]);
        while !elements.is_empty() {
            match elements.element()? {
                (TRANSACTION_UID, Value::Bytes(bytes)) => transaction = Some(uid(bytes)?),
                (REFERENCED_SOP_SEQUENCE, Value::Items(items)) => {
                    for item in items {
                        images.push(reference(elements.inner(item)?)?.0);
                    }
                }
                (FAILED_SOP_SEQUENCE, Value::Items(items)) => {
                    for item in items {
                        let (reference, reason) = reference(elements.inner(item)?)?;
                        failed.push((reference, reason.unwrap_or(PROCESSING_FAILURE)));
                    }
                }
                _ => {}
            }
        }
        match transaction {
            Some(transaction) if !images.is_empty() || !failed.is_empty() => Ok(Self { transaction, images, failed }),
            _ => Err("no transaction, or no image in it"),
        }
    }

    /// 1: all is kept; 2: some is not (PS3.4, J.3.3).
    pub fn event_type(&self) -> u16 {
        if self.failed.is_empty() { 1 } else { 2 }
    }

    /// The data set, in Implicit VR Little Endian.
    pub fn data_set(&self) -> Vec<u8> {
        let of = |reference: &Reference| {
            let class = uid_element(REFERENCED_SOP_CLASS_UID, &reference.class);
            [class, uid_element(REFERENCED_SOP_INSTANCE_UID, &reference.instance)].concat()
        };
        let mut bytes = uid_element(TRANSACTION_UID, &self.transaction);
        if !self.failed.is_empty() {
            let item = |(reference, reason): &(Reference, u16)| {
                element(ITEM, &[of(reference), element(FAILURE_REASON, &reason.to_le_bytes())].concat())
            };
            let items: Vec<u8> = self.failed.iter().flat_map(item).collect();
            bytes.extend(element(FAILED_SOP_SEQUENCE, &items));
        }
        if !self.images.is_empty() {
            let items: Vec<u8> = self.images.iter().flat_map(|reference| element(ITEM, &of(reference))).collect();
            bytes.extend(element(REFERENCED_SOP_SEQUENCE, &items));
        }
        bytes
    }
}

/// An item of either sequence, with its failure reason.
fn reference(mut elements: Elements<'_>) -> Result<(Reference, Option<u16>), &'static str> {
    let (mut class, mut instance, mut reason) = (None, None, None);
    while !elements.is_empty() {
        match elements.element()? {
            (REFERENCED_SOP_CLASS_UID, Value::Bytes(bytes)) => class = Some(uid(bytes)?),
            (REFERENCED_SOP_INSTANCE_UID, Value::Bytes(bytes)) => instance = Some(uid(bytes)?),
            (FAILURE_REASON, Value::Bytes(bytes)) => {
                reason = Some(u16::from_le_bytes(bytes.try_into().map_err(|_| "a failure reason that is no number")?));
            }
            _ => {}
        }
    }
    class
        .zip(instance)
        .map(|(class, instance)| (Reference { class, instance }, reason))
        .ok_or("an image without class or instance")
}

fn uid_element(tag: Tag, uid: &str) -> Vec<u8> {
    let mut value = uid.as_bytes().to_vec();
    value.resize(value.len().next_multiple_of(2), 0);
    element(tag, &value)
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;
    use crate::elements::UNDEFINED;
    use proptest::prelude::*;

    fn question() -> Commitment {
        let reference = |instance: &str| Reference { class: "1.2.3".into(), instance: instance.into() };
        Commitment { transaction: "2.25.7".into(), images: vec![reference("1.5"), reference("1.55")], failed: vec![] }
    }

    fn explicit(tag: Tag, vr: &[u8], length: u32, value: &[u8]) -> Vec<u8> {
        let length = if vr == b"SQ" {
            [&[0, 0][..], &length.to_le_bytes()].concat()
        } else {
            (length as u16).to_le_bytes().to_vec()
        };
        [&tag.0.to_le_bytes()[..], &tag.1.to_le_bytes(), vr, &length, value].concat()
    }

    #[test]
    fn question_and_answer_are_read_in_every_form() {
        // As our own answer is written: lengths everywhere.
        let mut answer = question();
        assert_eq!(answer.event_type(), 1);
        let implicit = answer.data_set();
        assert_eq!(Commitment::read(&implicit, uids::IMPLICIT_LITTLE_ENDIAN).unwrap(), question());
        answer.failed.push((Reference { class: "1.2".into(), instance: "9.9".into() }, 0x0112));
        assert_eq!(answer.event_type(), 2);
        assert!(answer.data_set().ends_with(&implicit[uid_element(TRANSACTION_UID, "2.25.7").len()..]));
        assert_eq!(Commitment::read(&answer.data_set(), uids::IMPLICIT_LITTLE_ENDIAN).unwrap(), answer);
        answer.images.clear();
        assert_eq!(Commitment::read(&answer.data_set(), uids::IMPLICIT_LITTLE_ENDIAN).unwrap(), answer);

        // Explicit, and without lengths.
        let uid = |tag, text: &str| {
            let mut value = text.as_bytes().to_vec();
            value.resize(value.len().next_multiple_of(2), 0);
            explicit(tag, b"UI", value.len() as u32, &value)
        };
        let item = |instance| {
            let fields = [uid(REFERENCED_SOP_CLASS_UID, "1.2.3"), uid(REFERENCED_SOP_INSTANCE_UID, instance)].concat();
            [&[0xfe, 0xff, 0, 0xe0, 255, 255, 255, 255][..], &fields, &[0xfe, 0xff, 0x0d, 0xe0, 0, 0, 0, 0]].concat()
        };
        let end = [0xfe, 0xff, 0xdd, 0xe0, 0, 0, 0, 0];
        let items = [item("1.5"), item("1.55"), end.to_vec()].concat();
        let set =
            [uid(TRANSACTION_UID, "2.25.7"), explicit(REFERENCED_SOP_SEQUENCE, b"SQ", UNDEFINED, &items)].concat();
        assert_eq!(Commitment::read(&set, uids::EXPLICIT_LITTLE_ENDIAN).unwrap(), question());
        assert!(Commitment::read(&set[..set.len() - 1], uids::EXPLICIT_LITTLE_ENDIAN).is_err());
        assert!(Commitment::read(&uid(TRANSACTION_UID, "2.25.7"), uids::EXPLICIT_LITTLE_ENDIAN).is_err());
        let nested = explicit((8, 0x1115), b"SQ", UNDEFINED, &[0xfe, 0xff, 0, 0xe0, 255, 255, 255, 255]);
        let told = Commitment::read(&nested.repeat(50), uids::EXPLICIT_LITTLE_ENDIAN).unwrap_err();
        assert_eq!(told, "sequences nested too deeply");
    }

    proptest! {
        #[test]
        fn any_bytes_are_a_question_or_not(bytes: Vec<u8>) {
            let _ = Commitment::read(&bytes, uids::IMPLICIT_LITTLE_ENDIAN);
            let _ = Commitment::read(&bytes, uids::EXPLICIT_LITTLE_ENDIAN);
        }
    }
}
