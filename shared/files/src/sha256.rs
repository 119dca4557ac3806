//! By what a file is known, whatever it is called: its SHA-256.

use std::{
    fs::File,
    io,
    path::{Path, PathBuf},
};

use sha2::{Digest, Sha256};

/// A file could not be read.
#[derive(Debug, thiserror::Error)]
#[error("cannot read {path}: {reason}; check the path and the permissions", path = path.display())]
pub struct ReadError {
    /// The file.
    pub path: PathBuf,
    /// The system's reason.
    pub reason: io::Error,
}

/// The SHA-256 of a file.
///
/// # Errors
/// [`ReadError`] with the path.
pub fn file_sha256(path: &Path) -> Result<[u8; 32], ReadError> {
    let failed = |reason| ReadError { path: path.to_owned(), reason };
    let mut hash = Sha256::new();
    io::copy(&mut File::open(path).map_err(failed)?, &mut hash).map_err(failed)?;
    Ok(hash.finalize().into())
}

/// The SHA-256 that [`hexadecimal`] wrote; `None` for any other text.
pub fn sha256_of(text: &str) -> Option<[u8; 32]> {
    let mut hash = [0; 32];
    if text.len() != 64 || !text.bytes().all(|byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f')) {
        return None;
    }
    for (byte, digits) in hash.iter_mut().zip(text.as_bytes().chunks_exact(2)) {
        *byte = u8::from_str_radix(std::str::from_utf8(digits).ok()?, 16).ok()?;
    }
    Some(hash)
}

/// Lower-case hexadecimal.
pub fn hexadecimal(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}
