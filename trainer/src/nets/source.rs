//! Where a backbone's weights come from, as the command line names it.

use std::path::{Path, PathBuf};

use candle_core::Device;
use sha2::{Digest, Sha256};

use super::{Backbone, Pretrained, weights::WeightsError};
use crate::data::{DataError, file_sha256, hexadecimal};

/// Weights that cannot be had.
#[derive(Debug, thiserror::Error)]
pub enum SourceError {
    /// `random:` without a seed.
    #[error("--weights {0}: expected random:SEED, such as random:1")]
    Seed(String),
    /// The file cannot be read.
    #[error(transparent)]
    Read(#[from] DataError),
}

/// The option that names weights.
#[derive(Clone, Debug, clap::Args)]
pub struct WeightsArgs {
    /// The backbone's weights: a safetensors file, or random:SEED (drawn, for measuring and testing)
    #[arg(long, value_name = "SOURCE")]
    weights: String,
}

/// Weights that are at hand.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Source {
    /// In words: a file's name, or `random:SEED`.
    pub origin: String,
    /// SHA-256 of the file, or of the words for drawn weights; hexadecimal.
    pub sha256: String,
    /// What they are made of.
    pub kind: SourceKind,
}

/// What weights are made of.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum SourceKind {
    /// A safetensors file.
    File(PathBuf),
    /// Drawn from a seed.
    Drawn(u64),
}

impl WeightsArgs {
    /// Sees that the weights of `backbone` are at hand.
    ///
    /// # Errors
    /// [`SourceError`].
    pub fn resolve(&self, backbone: Backbone) -> Result<Source, SourceError> {
        let text = &self.weights;
        let Some(seed) = text.strip_prefix("random:") else {
            let path = Path::new(text);
            let sha256 = hexadecimal(&file_sha256(path)?);
            let origin = path.file_name().map_or_else(|| text.clone(), |name| name.to_string_lossy().into_owned());
            return Ok(Source { origin, sha256, kind: SourceKind::File(path.to_owned()) });
        };
        let seed = seed.parse().map_err(|_| SourceError::Seed(text.clone()))?;
        let origin = format!("random:{seed}");
        let sha256 = hexadecimal(&Sha256::digest(format!("{backbone} {origin}")));
        Ok(Source { origin, sha256, kind: SourceKind::Drawn(seed) })
    }
}

impl Source {
    /// The net with these weights, for inference.
    ///
    /// # Errors
    /// [`WeightsError`] when they are another net's.
    pub fn open(&self, backbone: Backbone, device: &Device) -> Result<Pretrained, WeightsError> {
        match &self.kind {
            SourceKind::File(path) => backbone.open(path, device),
            SourceKind::Drawn(seed) => backbone.draw(*seed, device),
        }
    }
}
