//! The UIDs that are spoken of (DICOM PS3.6, table A-1), and what a UID is.

/// Verification, the class of C-ECHO.
pub(crate) const VERIFICATION: &str = "1.2.840.10008.1.1";
/// Storage Commitment Push Model, and its only instance (PS3.4, J.3).
pub(crate) const STORAGE_COMMITMENT: &str = "1.2.840.10008.1.20.1";
pub(crate) const STORAGE_COMMITMENT_INSTANCE: &str = "1.2.840.10008.1.20.1.1";
/// The only application context there is (PS3.7, annex A.2.1).
pub(crate) const APPLICATION_CONTEXT: &str = "1.2.840.10008.3.1.1.1";
pub(crate) const IMPLICIT_LITTLE_ENDIAN: &str = "1.2.840.10008.1.2";
pub(crate) const EXPLICIT_LITTLE_ENDIAN: &str = "1.2.840.10008.1.2.1";
pub(crate) const EXPLICIT_BIG_ENDIAN: &str = "1.2.840.10008.1.2.2";
pub(crate) const DEFLATED: &str = "1.2.840.10008.1.2.1.99";

/// Who wrote our files and speaks on our associations (PS3.7, D.3.3.2). Made once, from a random number (PS3.5, B.2).
pub(crate) const IMPLEMENTATION_CLASS: &str = "2.25.225466842127390134061208366087190245731";
/// Its name, no longer than 16 characters.
pub(crate) const IMPLEMENTATION_VERSION: &str = "THORAX";

/// The images that are decoded.
pub(crate) const IMAGES: [&str; 6] = [
    "1.2.840.10008.5.1.4.1.1.1",   // Computed Radiography
    "1.2.840.10008.5.1.4.1.1.1.1", // Digital X-Ray, for presentation
    "1.2.840.10008.5.1.4.1.1.2",   // CT
    "1.2.840.10008.5.1.4.1.1.2.1", // Enhanced CT
    "1.2.840.10008.5.1.4.1.1.2.2", // Legacy Converted Enhanced CT
    "1.2.840.10008.5.1.4.1.1.7",   // Secondary Capture
];

/// The codings that are decoded.
pub(crate) const CODINGS: [&str; 15] = [
    EXPLICIT_LITTLE_ENDIAN,
    IMPLICIT_LITTLE_ENDIAN,
    EXPLICIT_BIG_ENDIAN,
    DEFLATED,
    "1.2.840.10008.1.2.4.50",  // JPEG baseline
    "1.2.840.10008.1.2.4.51",  // JPEG extended
    "1.2.840.10008.1.2.4.57",  // JPEG lossless
    "1.2.840.10008.1.2.4.70",  // JPEG lossless, first-order prediction
    "1.2.840.10008.1.2.4.80",  // JPEG-LS lossless
    "1.2.840.10008.1.2.4.81",  // JPEG-LS near-lossless
    "1.2.840.10008.1.2.4.90",  // JPEG 2000 lossless
    "1.2.840.10008.1.2.4.91",  // JPEG 2000
    "1.2.840.10008.1.2.4.201", // HTJ2K lossless
    "1.2.840.10008.1.2.4.203", // HTJ2K
    "1.2.840.10008.1.2.5",     // RLE
];

/// Whether this is a UID (PS3.5, 9.1): numbers with points between, no more than 64 characters. A leading zero in a number
/// breaks the standard as well, but old devices write it, and it does no harm.
pub(crate) fn is_uid(text: &str) -> bool {
    (1..=64).contains(&text.len())
        && text.split('.').all(|number| !number.is_empty() && number.bytes().all(|digit| digit.is_ascii_digit()))
}

/// A value of VR UI without its padding.
pub(crate) fn trimmed(text: &str) -> &str {
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
