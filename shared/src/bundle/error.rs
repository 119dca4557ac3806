//! Why a bundle was refused.

use super::{Fingerprint, Name};
use crate::decision::RuleError;
use crate::preprocess::PreprocessError;

/// Why a bundle was refused, or could not be written. Each message ends with what to do; the caller, who knows the
/// file's name, puts it in front.
#[derive(Clone, Debug, PartialEq, thiserror::Error)]
#[non_exhaustive]
pub enum BundleError {
    /// The file is larger than the reader's limit, or its header says it ought to be.
    #[error("bundle of {bytes} bytes is above the limit of {limit}: raise the limit if the device has the memory")]
    TooLarge {
        /// Its size, or what its header says.
        bytes: u64,
        /// [`Limits::file_bytes`](super::Limits::file_bytes).
        limit: u64,
    },
    /// The file does not begin as bundles do.
    #[error("not a Thorax bundle: give a file written by `thorax-train`")]
    NotABundle,
    /// The file has another version of the format, or its version was altered.
    #[error(
        "the bundle has format version {found}, this program reads version {supported}: update the program, or have the bundle written again by a trainer that fits"
    )]
    UnsupportedVersion {
        /// The file's version.
        found: u16,
        /// [`FORMAT_VERSION`](super::FORMAT_VERSION).
        supported: u16,
    },
    /// The file ends early.
    #[error("the bundle is cut off: {found} of at least {expected} bytes; copy it again")]
    Truncated {
        /// Bytes it should have (at least these, if even the header is cut).
        expected: u64,
        /// Bytes it has.
        found: u64,
    },
    /// Something was appended to the file.
    #[error("{extra} bytes follow the end of the bundle: copy it again")]
    TrailingBytes {
        /// How many.
        extra: u64,
    },
    /// The manifest is larger than the reader's limit.
    #[error("manifest of {bytes} bytes is above the limit of {limit}: shorten the provenance, or raise the limit")]
    ManifestTooLarge {
        /// What the header says.
        bytes: u32,
        /// [`Limits::manifest_bytes`](super::Limits::manifest_bytes).
        limit: u32,
    },
    /// The signer is not trusted, or the signer's key was altered.
    #[error(
        "the bundle is signed by the unknown key {fingerprint}: if its owner confirms this fingerprint, add the key to the trusted keys; otherwise do not use the bundle"
    )]
    UnknownKey {
        /// Of the key in the file.
        fingerprint: Fingerprint,
    },
    /// Header, manifest or signature were altered after signing.
    #[error("the signature does not fit: the bundle was altered after signing; copy it again, or ask its signer")]
    BadSignature,
    /// The manifest was signed, but cannot be decoded.
    #[error("the manifest cannot be decoded: it was written by a faulty program; write the bundle again")]
    MalformedManifest,
    /// A value of the manifest is out of range.
    #[error("manifest: {field} {problem}; correct it and write the bundle again")]
    InvalidManifest {
        /// Which value.
        field: &'static str,
        /// What is wrong with it.
        problem: &'static str,
    },
    /// A preprocessing recipe or the quality limits cannot be followed.
    #[error("manifest: {role}: {error}, and write the bundle again")]
    Preprocess {
        /// Whose: `classifier`, `segmenter` or `quality`.
        role: &'static str,
        /// What is wrong.
        error: PreprocessError,
    },
    /// The decision rule cannot decide.
    #[error(transparent)]
    Decision(#[from] RuleError),
    /// Two parts have one name.
    #[error("two parts are named {name}: rename one and write the bundle again")]
    DuplicatePart {
        /// Their name.
        name: Name,
    },
    /// The manifest speaks of a part that is not there, or is no ONNX graph.
    #[error("the {role} refers to the part {name}, which is not an ONNX graph in the bundle: add it and write again")]
    MissingPart {
        /// Who refers to it.
        role: &'static str,
        /// Its name.
        name: Name,
    },
    /// The lengths of the parts do not add up to what the header says.
    #[error("the parts' lengths do not fit the file: it was written by a faulty program; write the bundle again")]
    PartLengths,
    /// A part was altered after signing.
    #[error("part {name} was altered after signing: copy the bundle again, or ask its signer")]
    PartAltered {
        /// Its name.
        name: Name,
    },
}
