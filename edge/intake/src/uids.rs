//! The UIDs of what is taken (DICOM PS3.6, table A-1).

pub(crate) use thorax_dimse::uids::{
    APPLICATION_CONTEXT, DEFLATED, EXPLICIT_BIG_ENDIAN, EXPLICIT_LITTLE_ENDIAN, IMPLEMENTATION_CLASS,
    IMPLEMENTATION_VERSION, IMPLICIT_LITTLE_ENDIAN, STORAGE_COMMITMENT, STORAGE_COMMITMENT_INSTANCE, VERIFICATION,
    is_uid, trimmed,
};

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
