//! How a record becomes bytes: a byte that tells its version, and behind it the fields as postcard.
//!
//! A newer program reads what an older one wrote ([`Record::older`]), and rewrites it when it opens the journal, so that old
//! forms do not linger. An older program refuses what a newer one wrote; it could only guess.

use serde::{Serialize, de::DeserializeOwned};

use crate::error::{JournalError, Result};

/// Something that is kept in a table.
pub(crate) trait Record: Serialize + DeserializeOwned {
    /// What it is called in an error.
    const NAME: &'static str;
    /// The version that is written. Whoever changes the fields counts it up, and reads the former version in
    /// [`Self::older`]; the test of golden bytes in `entries` fails otherwise.
    const VERSION: u8;

    /// Reads the fields of an older version; `None` for a version that never was.
    fn older(_version: u8, _fields: &[u8]) -> Option<postcard::Result<Self>> {
        None
    }

    /// Version and fields.
    fn encode(&self) -> Result<Vec<u8>> {
        postcard::to_extend(self, vec![Self::VERSION]).map_err(|reason| damaged::<Self>(reason))
    }

    /// The record in these bytes, all of them.
    fn decode(bytes: &[u8]) -> Result<Self> {
        let (version, fields) = match bytes {
            [] => return Err(damaged::<Self>("no bytes")),
            [version, fields @ ..] => (*version, fields),
        };
        if version > Self::VERSION {
            return Err(JournalError::Newer { what: Self::NAME, found: version, known: Self::VERSION });
        }
        if version < Self::VERSION {
            let read = Self::older(version, fields).ok_or_else(|| damaged::<Self>(format!("version {version}")))?;
            return read.map_err(|reason| damaged::<Self>(reason));
        }
        exactly(fields).map_err(|reason| damaged::<Self>(reason))
    }
}

/// Fields, and nothing behind them.
pub(crate) fn exactly<T: DeserializeOwned>(fields: &[u8]) -> postcard::Result<T> {
    let (value, rest) = postcard::take_from_bytes(fields)?;
    if rest.is_empty() { Ok(value) } else { Err(postcard::Error::DeserializeBadEncoding) }
}

fn damaged<R: Record>(evidence: impl ToString) -> JournalError {
    JournalError::Damaged { what: format!("a {} in the journal", R::NAME), evidence: evidence.to_string() }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
pub(crate) mod tests {
    use super::*;
    use proptest::prelude::*;
    use serde::Deserialize;

    /// A record that had two forms before this one: a name alone, then a name and an age in years.
    #[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
    pub(crate) struct Third {
        pub(crate) name: String,
        pub(crate) age_days: u32,
    }

    #[derive(Serialize, Deserialize)]
    struct Second {
        name: String,
        age_years: u32,
    }

    impl Record for Third {
        const NAME: &'static str = "pretended record";
        const VERSION: u8 = 3;

        fn older(version: u8, fields: &[u8]) -> Option<postcard::Result<Self>> {
            match version {
                1 => Some(exactly::<String>(fields).map(|name| Self { name, age_days: 0 })),
                2 => Some(
                    exactly::<Second>(fields)
                        .map(|second| Self { name: second.name, age_days: 365 * second.age_years }),
                ),
                _ => None,
            }
        }
    }

    pub(crate) fn first_form(name: &str) -> Vec<u8> {
        postcard::to_extend(&name.to_owned(), vec![1]).unwrap()
    }

    #[test]
    fn older_forms_are_read_and_newer_ones_refused() {
        let second = postcard::to_extend(&Second { name: "Ada".into(), age_years: 2 }, vec![2]).unwrap();
        assert_eq!(Third::decode(&first_form("Ada")).unwrap(), Third { name: "Ada".into(), age_days: 0 });
        assert_eq!(Third::decode(&second).unwrap(), Third { name: "Ada".into(), age_days: 730 });
        let newer = Third::decode(&[4, 1, 2]).unwrap_err();
        assert!(matches!(newer, JournalError::Newer { found: 4, known: 3, .. }), "{newer}");
        assert!(newer.to_string().contains("install the newer program"), "{newer}");
        for bytes in [&[][..], &[0, 1], &[3], &[1, 200]] {
            let told = Third::decode(bytes).unwrap_err();
            assert!(matches!(told, JournalError::Damaged { .. }), "{bytes:?}: {told}");
        }
    }

    proptest! {
        #[test]
        fn a_record_is_its_bytes_and_nothing_behind_them(name in ".*", age_days: u32, behind: u8) {
            let record = Third { name, age_days };
            let mut bytes = record.encode().unwrap();
            prop_assert_eq!(&Third::decode(&bytes).unwrap(), &record);
            bytes.push(behind);
            prop_assert!(Third::decode(&bytes).is_err());
        }

        #[test]
        fn any_bytes_are_read_or_refused(bytes: Vec<u8>) {
            let _ = Third::decode(&bytes);
            let _ = crate::entries::Object::decode(&bytes);
            let _ = crate::entries::Study::decode(&bytes);
            let _ = crate::entries::StudyResult::decode(&bytes);
            let _ = crate::entries::Delivery::decode(&bytes);
            let _ = crate::entries::Feedback::decode(&bytes);
            let _ = crate::entries::Audit::decode(&bytes);
        }
    }
}
