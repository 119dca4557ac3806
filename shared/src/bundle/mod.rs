//! The signed file in which a model travels.
//!
//! A bundle is all that a device needs to read images as the workstation meant it: the networks, the preprocessing
//! recipe, thresholds and temperature, where all of it came from, and a model card. [`write()`] makes one;
//! [`Bundle::read`] lends its parts out of the bytes read, after everything was checked and nothing before. There is
//! no way to the parts of a bundle that nobody trusted signed.
//!
//! The layout, byte by byte, is in `shared/SPEC.md`. In short: a header with version and lengths, the manifest
//! (postcard) with length and SHA-256 of every part, the parts, and at the end the signer's key and an Ed25519
//! signature over header and manifest. So every byte is covered: header and manifest by the signature, the parts by
//! the hashes in the manifest, the key by the signature (Ed25519 hashes it in), and the signature by itself (strict
//! verification knows one valid form of it).

mod error;
mod extension;
mod keys;
mod manifest;
mod write;

pub use error::BundleError;
pub use extension::{Disease, Extension, GoldenAnswer, OtherPrecision, Precision, Refusal, Role, Teacher};
pub use keys::{Fingerprint, KeyError, PublicKey, SecretKey, TrustedKeys};
pub use manifest::{
    Calibration, Classifier, Graph, Hashed, Manifest, Name, PartEntry, PartKind, Provenance, Segmenter, Sha256Sum,
};
pub use write::{PartSource, write};

use alloc::vec::Vec;
use manifest::{Contents, FirstContents};
use sha2::{Digest, Sha256};

/// The first bytes of every bundle.
pub const MAGIC: [u8; 6] = *b"THORAX";
/// The version of the format that this crate writes. It reads this one and [`FIRST_VERSION`].
pub const FORMAT_VERSION: u16 = 2;
/// The version that had no [`Extension`].
pub const FIRST_VERSION: u16 = 1;
/// Magic (6), version (2), length of the manifest (4), length of all parts (8).
const HEADER_BYTES: usize = 20;
/// Public key (32), signature (64).
const TRAILER_BYTES: usize = 96;

/// How much a reader puts up with. Checked before anything is allocated, hashed or decoded.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    /// Bytes of the whole file. Whoever reads the file should look at its size first.
    pub file_bytes: u64,
    /// Bytes of the manifest.
    pub manifest_bytes: u32,
}

impl Default for Limits {
    /// 512 MiB for the file, 64 KiB for the manifest.
    fn default() -> Self {
        Self { file_bytes: 512 << 20, manifest_bytes: 64 << 10 }
    }
}

/// A bundle that was checked from the first byte to the last, and is signed by a trusted key.
#[derive(Clone, Debug)]
pub struct Bundle<'a> {
    manifest: Manifest,
    parts: Vec<(PartEntry, &'a [u8])>,
    signer: PublicKey,
}

impl<'a> Bundle<'a> {
    /// Reads a bundle from the bytes of a whole file. The parts are borrowed, not copied.
    ///
    /// The order of the checks: limits, magic, version, lengths, whether the key is trusted, the signature, the
    /// manifest ([`Manifest::validate`] and that its parts fit), each part's hash. Any bytes at all may be given.
    ///
    /// # Errors
    /// [`BundleError`] says what was wrong, and what to do.
    pub fn read(bytes: &'a [u8], trusted: &TrustedKeys, limits: &Limits) -> Result<Self, BundleError> {
        let frame = Envelope::split(bytes, limits)?;
        let signer =
            trusted.find(frame.key).ok_or(BundleError::UnknownKey { fingerprint: Fingerprint::of(frame.key) })?;
        let (contents, parts) = frame.check(&signer)?;
        Ok(Self { manifest: contents.manifest, parts: contents.parts.into_iter().zip(parts).collect(), signer })
    }

    /// What the bundle says of itself.
    pub fn manifest(&self) -> &Manifest {
        &self.manifest
    }

    /// The trusted key that signed it.
    pub fn signer(&self) -> &PublicKey {
        &self.signer
    }

    /// All parts with their bytes, in the order of the file.
    pub fn parts(&self) -> impl ExactSizeIterator<Item = (&PartEntry, &'a [u8])> {
        self.parts.iter().map(|(entry, bytes)| (entry, *bytes))
    }

    /// The bytes of a part.
    pub fn part(&self, name: &str) -> Option<&'a [u8]> {
        self.parts.iter().find(|(entry, _)| entry.name == name).map(|(_, bytes)| *bytes)
    }

    /// The classifier's ONNX graph.
    pub fn classifier_graph(&self) -> &'a [u8] {
        // `check` saw to it that the part is there.
        self.part(&self.manifest.classifier.graph.part).unwrap_or_default()
    }

    /// The segmenter's ONNX graph, if the bundle has one.
    pub fn segmenter_graph(&self) -> Option<&'a [u8]> {
        self.part(&self.manifest.segmenter.as_ref()?.graph.part)
    }

    /// The model card, if the bundle has one and it is UTF-8.
    pub fn card(&self) -> Option<&'a str> {
        let (_, bytes) = self.parts.iter().find(|(entry, _)| entry.kind == PartKind::Card)?;
        core::str::from_utf8(bytes).ok()
    }
}

/// What a whole and unaltered bundle says of itself, whoever signed it: for listing, not for use.
#[derive(Clone, Debug, PartialEq)]
pub struct Inspection {
    /// The key that signed it. It need not be one that anybody trusts.
    pub signer: PublicKey,
    /// What it says of itself.
    pub manifest: Manifest,
    /// Its parts, without their bytes.
    pub parts: Vec<PartEntry>,
}

/// Looks into a bundle whose signer is not known: makes every check of [`Bundle::read`] but whether the key is
/// trusted. Anyone can sign a bundle, so what this returns is only fit for being shown, next to the signer's
/// fingerprint; it gives no way to the parts.
///
/// # Errors
/// Those of [`Bundle::read`] except [`BundleError::UnknownKey`].
pub fn inspect_untrusted(bytes: &[u8], limits: &Limits) -> Result<Inspection, BundleError> {
    let frame = Envelope::split(bytes, limits)?;
    let signer = PublicKey::from_bytes(frame.key).map_err(|_| BundleError::BadSignature)?;
    let (contents, _) = frame.check(&signer)?;
    Ok(Inspection { signer, manifest: contents.manifest, parts: contents.parts })
}

/// A file cut at its seams; nothing is known of the pieces yet.
struct Envelope<'a> {
    version: u16,
    /// Header and manifest: what is signed.
    signed: &'a [u8],
    manifest: &'a [u8],
    parts: &'a [u8],
    key: &'a [u8; 32],
    signature: &'a [u8; 64],
}

impl<'a> Envelope<'a> {
    fn split(bytes: &'a [u8], limits: &Limits) -> Result<Self, BundleError> {
        let found = bytes.len() as u64;
        let at_least = BundleError::Truncated { expected: (HEADER_BYTES + TRAILER_BYTES) as u64, found };
        let too_large = |bytes| BundleError::TooLarge { bytes, limit: limits.file_bytes };
        if found > limits.file_bytes {
            return Err(too_large(found));
        }
        let Some((magic, rest)) = bytes.split_first_chunk::<6>() else {
            return Err(if MAGIC.starts_with(bytes) { at_least } else { BundleError::NotABundle });
        };
        if *magic != MAGIC {
            return Err(BundleError::NotABundle);
        }
        let (version, rest) = rest.split_first_chunk::<2>().ok_or(at_least.clone())?;
        let version = u16::from_le_bytes(*version);
        if !(FIRST_VERSION..=FORMAT_VERSION).contains(&version) {
            return Err(BundleError::UnsupportedVersion { found: version, supported: FORMAT_VERSION });
        }
        let (manifest_length, rest) = rest.split_first_chunk::<4>().ok_or(at_least.clone())?;
        let (parts_length, rest) = rest.split_first_chunk::<8>().ok_or(at_least)?;
        let manifest_length = u32::from_le_bytes(*manifest_length);
        let parts_length = u64::from_le_bytes(*parts_length);
        if manifest_length > limits.manifest_bytes {
            return Err(BundleError::ManifestTooLarge { bytes: manifest_length, limit: limits.manifest_bytes });
        }
        let expected = parts_length.saturating_add(u64::from(manifest_length) + (HEADER_BYTES + TRAILER_BYTES) as u64);
        if expected > limits.file_bytes {
            return Err(too_large(expected));
        }
        let truncated = BundleError::Truncated { expected, found };
        if found > expected {
            return Err(BundleError::TrailingBytes { extra: found - expected });
        }
        let (Ok(manifest_length), Ok(parts_length)) = (usize::try_from(manifest_length), usize::try_from(parts_length))
        else {
            return Err(too_large(expected));
        };
        let (manifest, rest) = rest.split_at_checked(manifest_length).ok_or(truncated.clone())?;
        let (parts, rest) = rest.split_at_checked(parts_length).ok_or(truncated.clone())?;
        let (key, rest) = rest.split_first_chunk::<32>().ok_or(truncated.clone())?;
        let (signature, _) = rest.split_first_chunk::<64>().ok_or(truncated)?;
        Ok(Self { version, signed: &bytes[..HEADER_BYTES + manifest_length], manifest, parts, key, signature })
    }

    /// Everything that `signer` vouches for, and the bytes of each part.
    fn check(&self, signer: &PublicKey) -> Result<(Contents, Vec<&'a [u8]>), BundleError> {
        if !signer.has_signed(self.signed, self.signature) {
            return Err(BundleError::BadSignature);
        }
        let contents = decode(self.version, self.manifest).ok_or(BundleError::MalformedManifest)?;
        contents.validate()?;
        let mut rest = self.parts;
        let mut parts = Vec::with_capacity(contents.parts.len());
        for entry in &contents.parts {
            let length = usize::try_from(entry.length).map_err(|_| BundleError::PartLengths)?;
            let (part, after) = rest.split_at_checked(length).ok_or(BundleError::PartLengths)?;
            parts.push(part);
            rest = after;
        }
        if !rest.is_empty() {
            return Err(BundleError::PartLengths);
        }
        for (entry, part) in contents.parts.iter().zip(&parts) {
            if Sha256::digest(part)[..] != entry.sha256 {
                return Err(BundleError::PartAltered { name: entry.name.clone() });
            }
        }
        Ok((contents, parts))
    }
}

/// What a manifest of `version` says, if it says nothing else.
fn decode(version: u16, bytes: &[u8]) -> Option<Contents> {
    let (contents, rest) = match version {
        FIRST_VERSION => {
            let (first, rest): (FirstContents, _) = postcard::take_from_bytes(bytes).ok()?;
            (first.into(), rest)
        }
        _ => postcard::take_from_bytes(bytes).ok()?,
    };
    rest.is_empty().then_some(contents)
}

/// The README's examples are tests.
#[cfg(doctest)]
#[doc = include_str!("../../README.md")]
struct Readme;
