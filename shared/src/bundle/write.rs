//! Making a bundle.

use super::manifest::{Contents, Manifest, Name, PartEntry, PartKind};
use super::{BundleError, FORMAT_VERSION, HEADER_BYTES, Limits, MAGIC, SecretKey, TRAILER_BYTES};
use alloc::vec::Vec;
use sha2::{Digest, Sha256};

/// A part that is to go into a bundle.
#[derive(Clone, Copy, Debug)]
pub struct PartSource<'a> {
    /// A plain file name, see [`PartEntry::name`].
    pub name: &'a str,
    /// What it is.
    pub kind: PartKind,
    /// Its bytes.
    pub bytes: &'a [u8],
}

/// Writes and signs a bundle. The same arguments give the same bytes.
///
/// # Errors
/// When [`Bundle::read`](super::Bundle::read) with the default [`Limits`] would refuse the result: a manifest that is
/// not valid, parts that are missing, named twice or badly, or too many bytes.
pub fn write(manifest: Manifest, parts: &[PartSource<'_>], key: &SecretKey) -> Result<Vec<u8>, BundleError> {
    let entry = |part: &PartSource<'_>| {
        let name = Name::try_from(part.name)
            .map_err(|_| BundleError::InvalidManifest { field: "parts", problem: "have a name above 64 bytes" })?;
        let sha256 = Sha256::digest(part.bytes).into();
        Ok(PartEntry { name, kind: part.kind, length: part.bytes.len() as u64, sha256 })
    };
    let contents = Contents { manifest, parts: parts.iter().map(entry).collect::<Result<_, BundleError>>()? };
    contents.validate()?;
    let encoded = postcard::to_allocvec(&contents).map_err(|_| BundleError::MalformedManifest)?;

    let limits = Limits::default();
    let manifest_length = u32::try_from(encoded.len()).unwrap_or(u32::MAX);
    if manifest_length > limits.manifest_bytes {
        return Err(BundleError::ManifestTooLarge { bytes: manifest_length, limit: limits.manifest_bytes });
    }
    let parts_length = parts.iter().map(|part| part.bytes.len() as u64).sum::<u64>();
    let total = HEADER_BYTES as u64 + u64::from(manifest_length) + parts_length + TRAILER_BYTES as u64;
    if total > limits.file_bytes {
        return Err(BundleError::TooLarge { bytes: total, limit: limits.file_bytes });
    }

    let mut file = Vec::with_capacity(total as usize);
    file.extend_from_slice(&MAGIC);
    file.extend_from_slice(&FORMAT_VERSION.to_le_bytes());
    file.extend_from_slice(&manifest_length.to_le_bytes());
    file.extend_from_slice(&parts_length.to_le_bytes());
    file.extend_from_slice(&encoded);
    let signature = key.sign(&file);
    for part in parts {
        file.extend_from_slice(part.bytes);
    }
    file.extend_from_slice(key.public_key().as_bytes());
    file.extend_from_slice(&signature);
    Ok(file)
}
