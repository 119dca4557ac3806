//! Weights, optimizer and everything else a run needs to go on, in one safetensors file that is replaced whole.

use std::{collections::BTreeMap, path::Path};

use candle_core::{Device, Tensor};
use safetensors::tensor::{Dtype, TensorView};

use crate::files::write_atomically;

/// The metadata entry that holds all words, as a JSON object.
const METADATA: &str = "thorax";

/// A checkpoint could not be used.
#[derive(Debug, thiserror::Error)]
pub enum CheckpointError {
    /// The file cannot be written.
    #[error(transparent)]
    Write(#[from] crate::files::WriteError),
    /// The file cannot be read.
    #[error("{path}: {reason}; delete the run's folder to start again")]
    Read {
        /// The file.
        path: String,
        /// Why.
        reason: String,
    },
    /// Arithmetic failed.
    #[error(transparent)]
    Candle(#[from] candle_core::Error),
}

/// Tensors by name, and a few words about them.
#[derive(Default)]
pub struct Checkpoint {
    /// Weights, moments and the like.
    pub tensors: BTreeMap<String, Tensor>,
    /// Numbers and words, as text.
    pub metadata: BTreeMap<String, String>,
}

impl Checkpoint {
    /// Writes everything to `path`, whole or not at all.
    ///
    /// # Errors
    /// When a tensor cannot be read from its device or the file cannot be written.
    pub fn save(&self, path: &Path) -> Result<(), CheckpointError> {
        let data = self
            .tensors
            .iter()
            .map(|(name, tensor)| {
                let values = tensor.flatten_all()?.to_vec1::<f32>()?;
                let bytes: Vec<u8> = values.iter().flat_map(|v| v.to_le_bytes()).collect();
                Ok((name.as_str(), tensor.dims().to_vec(), bytes))
            })
            .collect::<candle_core::Result<Vec<_>>>()?;
        let read = |error: safetensors::SafeTensorError| CheckpointError::Read {
            path: path.display().to_string(),
            reason: error.to_string(),
        };
        let views = data
            .iter()
            .map(|(name, shape, bytes)| Ok((*name, TensorView::new(Dtype::F32, shape.clone(), bytes)?)))
            .collect::<Result<Vec<_>, _>>()
            .map_err(read)?;
        // One entry: safetensors keeps several in an order that differs from run to run, and the file's hash with it.
        let words = serde_json::to_string(&self.metadata)
            .map_err(|e| CheckpointError::Read { path: path.display().to_string(), reason: e.to_string() })?;
        let bytes = safetensors::serialize(views, Some([(METADATA.to_owned(), words)].into())).map_err(read)?;
        write_atomically(path, |out| out.write_all(&bytes))?;
        Ok(())
    }

    /// Reads a file that [`Self::save`] wrote.
    ///
    /// # Errors
    /// When it is missing or is no such file.
    pub fn load(path: &Path, device: &Device) -> Result<Self, CheckpointError> {
        let error = |reason: String| CheckpointError::Read { path: path.display().to_string(), reason };
        let bytes = std::fs::read(path).map_err(|e| error(e.to_string()))?;
        let (_, header) = safetensors::SafeTensors::read_metadata(&bytes).map_err(|e| error(e.to_string()))?;
        let words = header.metadata().as_ref().and_then(|words| words.get(METADATA)).map_or("{}", String::as_str);
        let metadata = serde_json::from_str(words).map_err(|e| error(e.to_string()))?;
        let tensors = candle_core::safetensors::load_buffer(&bytes, device)?.into_iter().collect();
        Ok(Self { tensors, metadata })
    }

    /// The tensor called `name`.
    ///
    /// # Errors
    /// When there is none.
    pub fn tensor(&self, name: &str) -> Result<&Tensor, CheckpointError> {
        self.tensors
            .get(name)
            .ok_or_else(|| CheckpointError::Read { path: "checkpoint".into(), reason: format!("it lacks {name}") })
    }

    /// The word called `name`, parsed.
    ///
    /// # Errors
    /// When there is none or it is something else.
    pub fn value<T: std::str::FromStr>(&self, name: &str) -> Result<T, CheckpointError> {
        self.metadata.get(name).and_then(|text| text.parse().ok()).ok_or_else(|| CheckpointError::Read {
            path: "checkpoint".into(),
            reason: format!("it lacks {name}, or it is malformed"),
        })
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[test]
    fn what_is_saved_is_read_again() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("a.safetensors");
        let tensor = Tensor::new(&[[1f32, -2.5], [f32::MIN_POSITIVE, 4.0]], &Device::Cpu).unwrap();
        let saved = Checkpoint {
            tensors: [("w".to_owned(), tensor.clone())].into(),
            metadata: [("epoch".to_owned(), "3".to_owned())].into(),
        };
        saved.save(&path).unwrap();
        let read = Checkpoint::load(&path, &Device::Cpu).unwrap();
        assert_eq!(read.tensor("w").unwrap().to_vec2::<f32>().unwrap(), tensor.to_vec2::<f32>().unwrap());
        assert_eq!(read.value::<usize>("epoch").unwrap(), 3);
        assert!(read.value::<usize>("absent").is_err());
    }

    #[test]
    fn a_truncated_file_is_an_error_that_names_it() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("broken.safetensors");
        std::fs::write(&path, b"\x10\0\0\0\0\0\0\0{\"w\"").unwrap();
        let error = Checkpoint::load(&path, &Device::Cpu).err().unwrap().to_string();
        assert!(error.contains("broken.safetensors"), "{error}");
    }
}
