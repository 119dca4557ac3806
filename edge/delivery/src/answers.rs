//! What a DICOMweb server answers to objects that it was sent: DICOM JSON (PS3.18, 10.5.3 and annex F), of which no more is
//! believed than which instances it names as stored and which as failed.

use serde_json::{Map, Value};

use crate::meaning::Meaning;

/// No answer is longer.
pub(crate) const MOST_ANSWER_BYTES: u64 = 1 << 20;

const REFERENCED_SOP_SEQUENCE: &str = "00081199";
const FAILED_SOP_SEQUENCE: &str = "00081198";
const REFERENCED_SOP_INSTANCE_UID: &str = "00081155";
const FAILURE_REASON: &str = "00081197";
/// Processing failure, of an instance that failed without a reason.
const PROCESSING_FAILURE: u16 = 0x0110;

/// Which instances were stored, and which not.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Answers {
    stored: Vec<String>,
    failed: Vec<(String, u16)>,
}

/// Why it is no answer.
#[derive(Debug, thiserror::Error)]
pub enum AnswersError {
    /// No JSON, or nested too deeply.
    #[error("no JSON ({0})")]
    Json(#[from] serde_json::Error),
    /// JSON of another form.
    #[error("JSON that is not DICOM's ({0})")]
    Form(&'static str),
}

impl Answers {
    /// Reads an answer.
    ///
    /// # Errors
    /// [`AnswersError`].
    pub fn read(bytes: &[u8]) -> Result<Self, AnswersError> {
        let sets = match serde_json::from_slice(bytes)? {
            // Some servers put the one data set into an array, as for searches.
            Value::Array(sets) => sets,
            set => vec![set],
        };
        let mut answers = Self::default();
        for set in &sets {
            let set = set.as_object().ok_or(AnswersError::Form("no data set"))?;
            for item in items(set, REFERENCED_SOP_SEQUENCE)? {
                answers.stored.push(instance(item)?);
            }
            for item in items(set, FAILED_SOP_SEQUENCE)? {
                let reason = match first(item, FAILURE_REASON) {
                    None => PROCESSING_FAILURE,
                    Some(reason) => reason
                        .as_u64()
                        .and_then(|reason| u16::try_from(reason).ok())
                        .ok_or(AnswersError::Form("a failure reason that is no number"))?,
                };
                answers.failed.push((instance(item)?, reason));
            }
        }
        Ok(answers)
    }

    /// The status of an instance; `None` where nothing is said of it. Failed counts before stored.
    pub fn status(&self, sop_instance_uid: &str) -> Option<u16> {
        let failed = self.failed.iter().find(|(uid, _)| uid == sop_instance_uid).map(|(_, reason)| *reason);
        // A failure that claims to be a success is none of ours to explain.
        let failed = failed.map(|reason| if reason == 0 { PROCESSING_FAILURE } else { reason });
        failed.or_else(|| self.stored.iter().any(|uid| uid == sop_instance_uid).then_some(0))
    }

    /// What becomes of an instance.
    pub fn meaning(&self, sop_instance_uid: &str) -> Option<Meaning> {
        self.status(sop_instance_uid).map(Meaning::of)
    }
}

/// The first value of an element.
fn first<'v>(set: &'v Map<String, Value>, tag: &str) -> Option<&'v Value> {
    set.get(tag)?.get("Value")?.as_array()?.first()
}

/// The items of a sequence; none, where it is missing or empty.
fn items<'v>(
    set: &'v Map<String, Value>,
    tag: &str,
) -> Result<impl Iterator<Item = &'v Map<String, Value>>, AnswersError> {
    let wrong = AnswersError::Form("a sequence that is none");
    let items = match set.get(tag) {
        None => &[][..],
        Some(element) => match element.get("Value") {
            None => &[][..],
            Some(value) => value.as_array().ok_or(wrong)?,
        },
    };
    if items.iter().all(Value::is_object) {
        Ok(items.iter().filter_map(Value::as_object))
    } else {
        Err(AnswersError::Form("an item that is none"))
    }
}

fn instance(item: &Map<String, Value>) -> Result<String, AnswersError> {
    let uid = first(item, REFERENCED_SOP_INSTANCE_UID).and_then(Value::as_str);
    uid.map(|uid| uid.trim_end_matches(['\0', ' ']).to_owned()).ok_or(AnswersError::Form("an item without instance"))
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    /// As Orthanc 1.10.1 with its DICOMweb plugin 1.7 answers.
    const STORED: &str = r#"{"00081190":{"Value":["http://127.0.0.1/dicom-web/studies/1.2"],"vr":"UR"},
        "00081198":{"vr":"SQ"},"00081199":{"Value":[{"00081150":{"Value":["1.2.840.10008.5.1.4.1.1.7"],"vr":"UI"},
        "00081155":{"Value":["1.2.3"],"vr":"UI"},"00081190":{"Value":["http://127.0.0.1/x"],"vr":"UR"}}],"vr":"SQ"}}"#;

    #[test]
    fn what_is_stored_and_what_failed_is_read() {
        let answers = Answers::read(STORED.as_bytes()).unwrap();
        assert_eq!((answers.meaning("1.2.3"), answers.status("1.2")), (Some(Meaning::Has), None));
        let failed = r#"[{"00081198":{"vr":"SQ","Value":[
            {"00081155":{"vr":"UI","Value":["1.2.3"]},"00081197":{"vr":"US","Value":[42752]}},
            {"00081155":{"vr":"UI","Value":["1.2.4"]}}]}}]"#;
        let answers = Answers::read(failed.as_bytes()).unwrap();
        assert_eq!((answers.status("1.2.3"), answers.meaning("1.2.3")), (Some(0xa700), Some(Meaning::Later)));
        assert_eq!(answers.meaning("1.2.4"), Some(Meaning::Refused));
        let both = r#"{"00081199":{"Value":[{"00081155":{"Value":["1.2"]}}]},
            "00081198":{"Value":[{"00081155":{"Value":["1.2"]},"00081197":{"Value":[0]}}]}}"#;
        assert_eq!(Answers::read(both.as_bytes()).unwrap().meaning("1.2"), Some(Meaning::Refused));
    }

    #[test]
    fn what_is_no_answer_is_told() {
        let deep = format!("{}{}", "[".repeat(5000), "]".repeat(5000));
        for text in [
            "",
            "<html>",
            "7",
            "[7]",
            &deep,
            r#"{"00081199":{"Value":7}}"#,
            r#"{"00081199":{"Value":[7]}}"#,
            r#"{"00081199":{"Value":[{"00081155":{"Value":[7]}}]}}"#,
            r#"{"00081198":{"Value":[{"00081155":{"Value":["1"]},"00081197":{"Value":[65536]}}]}}"#,
            r#"{"00081198":{"Value":[{"00081155":{"Value":["1"]},"00081197":{"Value":["a"]}}]}}"#,
        ] {
            assert!(Answers::read(text.as_bytes()).is_err(), "{text}");
        }
        assert_eq!(Answers::read(b"{}").unwrap(), Answers::default());
    }

    proptest! {
        #[test]
        fn any_bytes_are_an_answer_or_not(bytes: Vec<u8>, at in 0..STORED.len(), byte: u8) {
            let _ = Answers::read(&bytes);
            let mut damaged = STORED.as_bytes().to_vec();
            damaged[at] = byte;
            let _ = Answers::read(&damaged);
        }
    }
}
