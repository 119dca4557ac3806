//! What an archive's status means for an object that it was sent (DICOM PS3.4, table GG.4-1, which for storage is table B.2-1;
//! PS3.7, annex C). STOW-RS has the same statuses as failure reasons (PS3.18, table I.2-2).

/// What becomes of the object.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Meaning {
    /// The archive has it.
    Has,
    /// It has no room now.
    Later,
    /// It will never take it.
    Refused,
}

impl Meaning {
    /// Of a status.
    pub fn of(status: u16) -> Self {
        match status {
            // Success; warnings: coerced, or elements that it does not keep; it has this instance already.
            0x0000 | 0xb000..=0xbfff | 0x0111 => Self::Has,
            // Out of resources; resource limitation.
            0xa700..=0xa7ff | 0x0213 => Self::Later,
            _ => Self::Refused,
        }
    }
}

/// The status in words.
pub(crate) fn words(status: u16) -> String {
    let words = match status {
        0x0110 => "processing failure",
        0x0112 => "it does not have the object",
        0x0117 => "invalid SOP Instance UID",
        0x0119 => "another class than it has under this SOP Instance UID",
        0x0122 => "it does not take objects of this class",
        0x0124 => "we are not authorised",
        0x0131 => "the transaction is known already",
        0x0213 | 0xa700..=0xa7ff => "out of resources",
        0x0272 => "it does not take this transfer syntax",
        0xa900..=0xa9ff => "the data set does not match its class",
        0xc000..=0xcfff => "it cannot understand the object",
        _ => return format!("status {status:04x}"),
    };
    format!("{words}, status {status:04x}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_status_is_success_a_pause_or_an_end() {
        for status in [0x0000, 0xb000, 0xb006, 0xb007, 0xbfff, 0x0111] {
            assert_eq!(Meaning::of(status), Meaning::Has, "{status:04x}");
        }
        for status in [0xa700, 0xa701, 0xa7ff, 0x0213] {
            assert_eq!(Meaning::of(status), Meaning::Later, "{status:04x}");
        }
        for status in [0xa900, 0xa9ff, 0xc000, 0xcfff, 0x0110, 0x0122, 0x0124, 0x0001, 0xfe00, 0xff00, 0xffff] {
            assert_eq!(Meaning::of(status), Meaning::Refused, "{status:04x}");
        }
        assert_eq!(words(0xa702), "out of resources, status a702");
    }
}
