//! Keys to sign bundles with.

use std::path::Path;

use anyhow::Context;
use rand::TryRngCore;
use thorax_files::write_secret;
use thorax_shared::bundle::{PublicKey, SecretKey};

/// Draws a key and writes its secret half to `out`, whole or not at all, readable by its owner alone; returns the half that devices have to trust.
///
/// # Errors
/// A file that exists already or cannot be written; a system that gives no random numbers.
pub fn draw(out: &Path) -> anyhow::Result<PublicKey> {
    let taken =
        || format!("{}: exists already; a signing key is never overwritten, choose another name", out.display());
    anyhow::ensure!(std::fs::symlink_metadata(out).is_err(), taken());
    let mut seed = [0u8; 32];
    rand::rngs::OsRng.try_fill_bytes(&mut seed).context("the system gives no random numbers")?;
    let key = SecretKey::from_seed(&mut seed);
    match write_secret(out, |file| file.write_all(format!("{}\n", key.reveal()).as_bytes())) {
        Err(error) if error.reason.kind() == std::io::ErrorKind::AlreadyExists => anyhow::bail!(taken()),
        written => written?,
    }
    Ok(key.public_key())
}

/// Reads the secret half that [`draw`] wrote.
///
/// # Errors
/// A file that cannot be read or is no key.
pub fn read(path: &Path) -> anyhow::Result<SecretKey> {
    let secret = std::fs::read_to_string(path).with_context(|| path.display().to_string())?;
    secret.trim().parse().with_context(|| path.display().to_string())
}
