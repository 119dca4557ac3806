//! Whose bundles this device runs.

use std::path::{Path, PathBuf};

use thorax_shared::bundle::{KeyError, TrustedKeys};

/// The public keys of the shipped bundles, compiled in so that nobody can exchange bundles and keys together.
const BUILT_IN: &str = include_str!("../../../models/trusted.keys");

/// A file of keys could not be used.
#[derive(Debug, thiserror::Error)]
pub enum TrustError {
    /// The file cannot be read.
    #[error("{path}: {reason}; give --trust a file of lines ed25519:<64 hexadecimal digits> comment", path = path.display())]
    Read {
        /// The file.
        path: PathBuf,
        /// What the system said.
        reason: std::io::Error,
    },
    /// A line is no key.
    #[error("{path}: {reason}", path = path.display())]
    Key {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        reason: KeyError,
    },
}

/// The keys that are built in, and those of `path`.
///
/// # Errors
/// [`TrustError`] when `path` cannot be read or has a line that is no key.
pub fn trusted_keys(path: Option<&Path>) -> Result<TrustedKeys, TrustError> {
    let mut text = BUILT_IN.to_owned();
    if let Some(path) = path {
        let more =
            std::fs::read_to_string(path).map_err(|reason| TrustError::Read { path: path.to_owned(), reason })?;
        text.push('\n');
        text.push_str(&more);
    }
    TrustedKeys::parse(&text)
        .map_err(|reason| TrustError::Key { path: path.map_or_else(|| "built-in keys".into(), Path::to_owned), reason })
}
