//! Keys to sign bundles with.

use std::path::Path;

use anyhow::Context;
use rand::TryRngCore;
use thorax_shared::bundle::{PublicKey, SecretKey};

/// Draws a key and writes its secret half to `out`, readable by its owner alone; returns the half that devices have to trust.
///
/// # Errors
/// A file that exists already or cannot be written; a system that gives no random numbers.
pub fn draw(out: &Path) -> anyhow::Result<PublicKey> {
    anyhow::ensure!(
        !out.exists(),
        "{}: exists already; a signing key is never overwritten, choose another name",
        out.display()
    );
    let mut seed = [0u8; 32];
    rand::rngs::OsRng.try_fill_bytes(&mut seed).context("the system gives no random numbers")?;
    let key = SecretKey::from_seed(&mut seed);
    let mut options = std::fs::OpenOptions::new();
    options.write(true).create_new(true);
    #[cfg(unix)]
    std::os::unix::fs::OpenOptionsExt::mode(&mut options, 0o600);
    let mut file = options.open(out).with_context(|| out.display().to_string())?;
    std::io::Write::write_all(&mut file, format!("{}\n", key.reveal()).as_bytes())?;
    file.sync_all()?;
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
