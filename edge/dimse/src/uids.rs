//! The UIDs that are spoken of (DICOM PS3.6, table A-1), and what a UID is.

/// Verification, the class of C-ECHO.
pub const VERIFICATION: &str = "1.2.840.10008.1.1";
/// Storage Commitment Push Model, and its only instance (PS3.4, J.3).
pub const STORAGE_COMMITMENT: &str = "1.2.840.10008.1.20.1";
/// Its instance.
pub const STORAGE_COMMITMENT_INSTANCE: &str = "1.2.840.10008.1.20.1.1";
/// Modality Worklist Information Model FIND (PS3.4, K.6.1.1).
pub const MODALITY_WORKLIST: &str = "1.2.840.10008.5.1.4.31";
/// The only application context there is (PS3.7, annex A.2.1).
pub const APPLICATION_CONTEXT: &str = "1.2.840.10008.3.1.1.1";
/// Implicit VR Little Endian, which everybody speaks.
pub const IMPLICIT_LITTLE_ENDIAN: &str = "1.2.840.10008.1.2";
/// Explicit VR Little Endian.
pub const EXPLICIT_LITTLE_ENDIAN: &str = "1.2.840.10008.1.2.1";
/// Explicit VR Big Endian, retired.
pub const EXPLICIT_BIG_ENDIAN: &str = "1.2.840.10008.1.2.2";
/// Deflated Explicit VR Little Endian.
pub const DEFLATED: &str = "1.2.840.10008.1.2.1.99";

/// Who wrote our files and speaks on our associations (PS3.7, D.3.3.2). Made once, from a random number (PS3.5, B.2).
pub const IMPLEMENTATION_CLASS: &str = "2.25.225466842127390134061208366087190245731";
/// Its name, no longer than 16 characters.
pub const IMPLEMENTATION_VERSION: &str = "THORAX";

/// Whether this is a UID (PS3.5, 9.1): numbers with points between, no more than 64 characters. A leading zero in a number
/// breaks the standard as well, but old devices write it, and it does no harm.
pub fn is_uid(text: &str) -> bool {
    (1..=64).contains(&text.len())
        && text.split('.').all(|number| !number.is_empty() && number.bytes().all(|digit| digit.is_ascii_digit()))
}

/// A value of VR UI without its padding.
pub fn trimmed(text: &str) -> &str {
    text.trim_end_matches(['\0', ' '])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_uid_is_numbers_and_points() {
        for uid in ["1", "1.2.840.10008.1.2", "2.25.0", &"1".repeat(64), IMPLEMENTATION_CLASS] {
            assert!(is_uid(uid), "{uid}");
        }
        for text in ["", ".", "1.", ".1", "1..2", "1.a", "../../etc/passwd", "1.2/3", "1.2\0", &"1".repeat(65), "１.2"]
        {
            assert!(!is_uid(text), "{text}");
        }
        assert_eq!(trimmed("1.2\0"), "1.2");
    }
}
