//! What happened to the device itself: a bundle was installed, taken back, its thresholds set. Nothing of it is of a patient.

use serde::{Deserialize, Serialize};

use crate::{clock::Moment, entries::Hash, record::Record};

/// Something that happened to the device. The program fills it; the journal does not judge it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Event {
    /// When the journal was told.
    pub noted: Moment,
    /// What it is.
    pub what: NewEvent,
}

/// What is known of an event before the journal has it.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct NewEvent {
    /// By what it is known; one key is one event, however often the journal is told.
    pub key: String,
    /// In few words, such as `bundle rolled back`.
    pub kind: String,
    /// Of what: cause, figures.
    pub text: String,
    /// Who did it; `None` where the device did.
    pub by: Option<String>,
    /// When, in milliseconds since 1970-01-01 00:00 UTC, as the wall clock had it.
    pub unix_milliseconds: i64,
    /// `xray` or `ct`, where it is about one.
    pub modality: Option<String>,
    /// SHA-256 of the bundle's file that it is about.
    pub bundle_sha256: Option<Hash>,
}

impl Record for Event {
    const NAME: &'static str = "event";
    const VERSION: u8 = 1;
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn the_bytes_of_each_version() {
        let event = Event {
            noted: Moment { unix_milliseconds: -2, device_milliseconds: 300 },
            what: NewEvent {
                key: "b/1".into(),
                kind: "k".into(),
                text: "t".into(),
                by: Some("ada".into()),
                unix_milliseconds: -1,
                modality: Some("ct".into()),
                bundle_sha256: Some([3; 32]),
            },
        };
        let bytes = thorax_files::hexadecimal(&event.encode().unwrap());
        let fields = "01 03ac02 03622f31 016b 0174 0103616461 01 01026374 01".replace(' ', "");
        assert_eq!(bytes, format!("{fields}{}", "03".repeat(32)));
    }

    proptest! {
        #[test]
        fn any_bytes_are_read_or_refused(bytes: Vec<u8>) {
            let _ = Event::decode(&bytes);
        }
    }
}
