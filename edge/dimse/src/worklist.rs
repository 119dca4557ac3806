//! The modality worklist (DICOM PS3.4, annex K): who is scheduled at the cart, as the hospital's information system has it.
//!
//! The question is a C-FIND with a pattern: what has a value has to match, what is empty is to be answered. Each answer is a message
//! of its own, *pending*, until a last one says that there are no more. A worklist that has no end is told to stop
//! (C-CANCEL) after so many, and all of it has one deadline. What comes back is text of somebody else's, so it is bounded, and
//! rid of control characters.

use dicom_encoding::text::{SpecificCharacterSet, TextCodec};

use crate::{
    association::Requestor,
    command::{self, RESPONSE, Response, status},
    elements::{Elements, ITEM, SCHEDULED_PROCEDURE_STEP_SEQUENCE, Tag, Value, element},
    talk::{Deadline, End, Wire},
};

const SPECIFIC_CHARACTER_SET: Tag = (0x0008, 0x0005);
const ACCESSION_NUMBER: Tag = (0x0008, 0x0050);
const MODALITY: Tag = (0x0008, 0x0060);
const PATIENT_NAME: Tag = (0x0010, 0x0010);
const PATIENT_ID: Tag = (0x0010, 0x0020);
const PATIENT_BIRTH_DATE: Tag = (0x0010, 0x0030);
const PATIENT_SEX: Tag = (0x0010, 0x0040);
const STUDY_INSTANCE_UID: Tag = (0x0020, 0x000d);
const REQUESTED_PROCEDURE_DESCRIPTION: Tag = (0x0032, 0x1060);
const STATION_AE_TITLE: Tag = (0x0040, 0x0001);
const START_DATE: Tag = (0x0040, 0x0002);
const START_TIME: Tag = (0x0040, 0x0003);
const STEP_DESCRIPTION: Tag = (0x0040, 0x0007);
const STEP_ID: Tag = (0x0040, 0x0009);
const REQUESTED_PROCEDURE_ID: Tag = (0x0040, 0x1001);

/// No text of an answer is longer, in characters.
const MOST_TEXT: usize = 200;
/// After a C-CANCEL as many answers may still be on their way.
const MOST_ON_THEIR_WAY: usize = 10_000;

/// What is asked for. Without a value a field matches anything.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Query {
    /// AE title of the cart for which it is scheduled (0040,0001).
    pub station_ae_title: Option<String>,
    /// Such as `CR`, `DX`, `CT` (0008,0060).
    pub modality: Option<String>,
    /// A day, `20261128`, or days, `20261128-20261129` (0040,0002).
    pub date: Option<String>,
}

/// Who is scheduled. What the worklist does not tell is empty.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[allow(missing_docs, reason = "each is called as in PS3.3")]
pub struct Entry {
    pub patient_name: String,
    pub patient_id: String,
    pub patient_birth_date: String,
    pub patient_sex: String,
    pub accession_number: String,
    pub study_instance_uid: String,
    pub requested_procedure_id: String,
    pub requested_procedure_description: String,
    pub modality: String,
    pub station_ae_title: String,
    pub start_date: String,
    pub start_time: String,
    pub step_description: String,
    pub step_id: String,
}

/// What was answered.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Answers {
    /// In order of date and time.
    pub entries: Vec<Entry>,
    /// Whether there were more than were wanted.
    pub is_cut: bool,
    /// Answers that could not be understood.
    pub damaged: usize,
}

/// Why there is no answer.
#[derive(Debug, thiserror::Error)]
pub enum FindError {
    /// The conversation ended early.
    #[error(transparent)]
    End(#[from] End),
    /// The worklist does not answer this question.
    #[error("the worklist answers with status {status:04x}{}", if comment.is_empty() { String::new() } else { format!(" ({comment})") })]
    Refused {
        /// PS3.4, table K.4-1.
        status: u16,
        /// Its words.
        comment: String,
    },
}

impl Query {
    /// The data set of the question, in Implicit VR Little Endian.
    fn data_set(&self) -> Vec<u8> {
        let text = |tag: Tag, value: &Option<String>| {
            let mut bytes = value.clone().unwrap_or_default().into_bytes();
            bytes.resize(bytes.len().next_multiple_of(2), b' ');
            element(tag, &bytes)
        };
        let any = |tag: Tag| element(tag, b"");
        let step = [
            text(MODALITY, &self.modality),
            text(STATION_AE_TITLE, &self.station_ae_title),
            text(START_DATE, &self.date),
            any(START_TIME),
            any(STEP_DESCRIPTION),
            any(STEP_ID),
        ]
        .concat();
        [
            any(SPECIFIC_CHARACTER_SET),
            any(ACCESSION_NUMBER),
            any(PATIENT_NAME),
            any(PATIENT_ID),
            any(PATIENT_BIRTH_DATE),
            any(PATIENT_SEX),
            any(STUDY_INSTANCE_UID),
            any(REQUESTED_PROCEDURE_DESCRIPTION),
            element(SCHEDULED_PROCEDURE_STEP_SEQUENCE, &element(ITEM, &step)),
            any(REQUESTED_PROCEDURE_ID),
        ]
        .concat()
    }
}

impl Entry {
    /// Reads the data set of an answer, in Implicit VR Little Endian.
    ///
    /// # Errors
    /// What is wrong with it.
    pub fn read(bytes: &[u8]) -> Result<Self, &'static str> {
        let mut entry = Self::default();
        let mut characters = SpecificCharacterSet::default();
        let mut elements = Elements::new(bytes, true);
        while !elements.is_empty() {
            match elements.element()? {
                (SPECIFIC_CHARACTER_SET, Value::Bytes(bytes)) => {
                    let code = String::from_utf8_lossy(bytes);
                    // Of code extensions (several values) the first is what a name begins in; a value that is not known is ASCII.
                    let code =
                        code.split('\\').map(|code| code.trim_matches([' ', '\0'])).find(|code| !code.is_empty());
                    characters = code.and_then(SpecificCharacterSet::from_code).unwrap_or_default();
                }
                (SCHEDULED_PROCEDURE_STEP_SEQUENCE, Value::Items(items)) => {
                    // There is one in an answer (PS3.4, table K.6-1).
                    let Some(first) = items.first() else { continue };
                    let mut step = elements.inner(first)?;
                    while !step.is_empty() {
                        if let (tag, Value::Bytes(bytes)) = step.element()? {
                            entry.set(tag, bytes, &characters);
                        }
                    }
                }
                (tag, Value::Bytes(bytes)) => entry.set(tag, bytes, &characters),
                _ => {}
            }
        }
        Ok(entry)
    }

    fn set(&mut self, tag: Tag, bytes: &[u8], characters: &SpecificCharacterSet) {
        let field = match tag {
            PATIENT_NAME => &mut self.patient_name,
            PATIENT_ID => &mut self.patient_id,
            PATIENT_BIRTH_DATE => &mut self.patient_birth_date,
            PATIENT_SEX => &mut self.patient_sex,
            ACCESSION_NUMBER => &mut self.accession_number,
            STUDY_INSTANCE_UID => &mut self.study_instance_uid,
            REQUESTED_PROCEDURE_ID => &mut self.requested_procedure_id,
            REQUESTED_PROCEDURE_DESCRIPTION => &mut self.requested_procedure_description,
            MODALITY => &mut self.modality,
            STATION_AE_TITLE => &mut self.station_ae_title,
            START_DATE => &mut self.start_date,
            START_TIME => &mut self.start_time,
            STEP_DESCRIPTION => &mut self.step_description,
            STEP_ID => &mut self.step_id,
            _ => return,
        };
        let bytes = &bytes[..bytes.len().min(4 * MOST_TEXT)];
        let text = characters.decode(bytes).unwrap_or_else(|_| String::from_utf8_lossy(bytes).into_owned());
        // Nobody else's text steers a terminal.
        let text: String = text.chars().filter(|c| !c.is_control()).take(MOST_TEXT).collect();
        *field = text.trim().to_owned();
    }
}

/// Asks a worklist on an association whose `context` is of its class, for at most `most` answers, all of which have to be there by
/// `deadline`.
///
/// # Errors
/// [`FindError`]; the association is to be aborted then.
pub fn find<W: Wire>(
    association: &mut Requestor<W>,
    context: u8,
    query: &Query,
    most: usize,
    deadline: Deadline,
) -> Result<Answers, FindError> {
    let id = association.message_id();
    let messages = association.messages();
    messages.send(context, &command::find(crate::uids::MODALITY_WORKLIST, id), Some(&mut &query.data_set()[..]))?;
    let mut answers = Answers::default();
    let mut on_their_way = 0;
    loop {
        let message = messages.message(deadline)?;
        let response = Response::read(&message.command).map_err(End::wrong)?;
        if message.context != context || response.field != command::C_FIND | RESPONSE || response.message_id != id {
            return Err(End::wrong("a response to another message").into());
        }
        match response.status {
            status::PENDING | status::PENDING_WITHOUT_OPTIONAL => {}
            status::SUCCESS => break,
            status::CANCELLED if answers.is_cut => break,
            status => return Err(FindError::Refused { status, comment: response.comment }),
        }
        if answers.is_cut {
            on_their_way += 1;
            if on_their_way > MOST_ON_THEIR_WAY {
                return Err(End::wrong("a worklist without an end").into());
            }
        } else if answers.entries.len() + answers.damaged >= most {
            answers.is_cut = true;
            messages.send(context, &command::cancel(id), None)?;
        } else {
            match Entry::read(&message.data_set) {
                Ok(entry) => answers.entries.push(entry),
                Err(_) => answers.damaged += 1,
            }
        }
    }
    answers.entries.sort_by(|a, b| (&a.start_date, &a.start_time).cmp(&(&b.start_date, &b.start_time)));
    Ok(answers)
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn answer(characters: &[u8], name: &[u8]) -> Vec<u8> {
        let step = [element(MODALITY, b"DX"), element(START_DATE, b"20261128"), element(START_TIME, b"0930")].concat();
        [
            element(SPECIFIC_CHARACTER_SET, characters),
            element(PATIENT_NAME, name),
            element(PATIENT_ID, b"7\x1b[2J "),
            element(SCHEDULED_PROCEDURE_STEP_SEQUENCE, &element(ITEM, &step)),
        ]
        .concat()
    }

    #[test]
    fn an_answer_is_read_in_its_characters_and_steers_no_terminal() {
        for (characters, name, expected) in [
            (&b""[..], &b"DOE^JANE"[..], "DOE^JANE"),
            (b"ISO_IR 192", "N\u{e9}e^Ad\u{e8}le".as_bytes(), "N\u{e9}e^Ad\u{e8}le"),
            (b"ISO_IR 100", b"N\xe9e^Ad\xe8le", "N\u{e9}e^Ad\u{e8}le"),
            (b"UNKNOWN ", b"DOE^JANE", "DOE^JANE"),
        ] {
            let entry = Entry::read(&answer(characters, name)).unwrap();
            assert_eq!((&*entry.patient_name, &*entry.patient_id), (expected, "7[2J"));
            assert_eq!((&*entry.modality, &*entry.start_date, &*entry.start_time), ("DX", "20261128", "0930"));
        }
        let whole = answer(b"", b"DOE^JANE");
        assert!((1..whole.len()).any(|length| Entry::read(&whole[..length]).is_err()));
    }

    #[test]
    fn the_question_is_read_back_as_it_was_asked() {
        let query = Query {
            station_ae_title: Some("CART1".into()),
            modality: Some("DX".into()),
            date: Some("20261128-20261129".into()),
        };
        let asked = Entry::read(&query.data_set()).unwrap();
        let expected = Entry {
            station_ae_title: "CART1".into(),
            modality: "DX".into(),
            start_date: "20261128-20261129".into(),
            ..Entry::default()
        };
        assert_eq!(asked, expected);
    }

    proptest! {
        #[test]
        fn any_answer_is_read_or_refused(bytes: Vec<u8>, at in 0usize..100, byte: u8) {
            let _ = Entry::read(&bytes);
            let mut damaged = answer(b"ISO_IR 192", b"DOE^JANE");
            let at = at % damaged.len();
            damaged[at] = byte;
            let _ = Entry::read(&damaged);
        }
    }
}
