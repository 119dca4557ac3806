//! Weights, optimizer and everything else a run needs to go on, in one safetensors file that is replaced whole.
//!
//! Tensors keep their type, and the same content gives the same bytes, so that two runs can be compared by hash.

use std::{
    collections::BTreeMap,
    io::Read,
    path::{Path, PathBuf},
};

use candle_core::{DType, Device, Tensor, Var, WithDType};
use half::{bf16, f16};
use safetensors::tensor::{Dtype, TensorView};
use sha2::{Digest, Sha256};
use thorax_files::{hexadecimal, write_atomically};

/// The metadata entry that holds all words, as a JSON object.
const METADATA: &str = "thorax";

/// The word with the hash of all else.
const SHA256: &str = "sha256";

/// The hash of words and tensors: a checkpoint that a disk or a hand changed is not gone on from.
fn contents_sha256(words: &BTreeMap<String, String>, tensors: &BTreeMap<&str, TensorView<'_>>) -> String {
    let mut hash = Sha256::new();
    for (name, word) in words {
        hash.update(format!("{name:?} {word:?}\n"));
    }
    for (name, tensor) in tensors {
        hash.update(format!("{name:?} {:?} {:?}\n", tensor.dtype(), tensor.shape()));
        hash.update(tensor.data());
    }
    hexadecimal(&hash.finalize())
}

/// A checkpoint could not be used.
#[derive(Debug, thiserror::Error)]
pub enum CheckpointError {
    /// The file cannot be written.
    #[error(transparent)]
    Write(#[from] thorax_files::WriteError),
    /// The file cannot be read.
    #[error(
        "{path}: {reason}; give another file, or, if a run is to go on from it, start that run again in another folder"
    )]
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
    /// Where it was read from, for messages.
    path: PathBuf,
}

impl Checkpoint {
    /// What a file is to hold.
    pub fn new(tensors: BTreeMap<String, Tensor>, metadata: BTreeMap<String, String>) -> Self {
        Self { tensors, metadata, path: PathBuf::new() }
    }

    /// Writes everything to `path`, whole or not at all.
    ///
    /// # Errors
    /// When a tensor cannot be read from its device or the file cannot be written.
    pub fn save(&self, path: &Path) -> Result<(), CheckpointError> {
        let data = self
            .tensors
            .iter()
            .map(|(name, tensor)| {
                let (dtype, bytes) = little_endian(tensor)?;
                Ok((name.as_str(), dtype, tensor.dims().to_vec(), bytes))
            })
            .collect::<candle_core::Result<Vec<_>>>()?;
        let read = |error: safetensors::SafeTensorError| CheckpointError::Read {
            path: path.display().to_string(),
            reason: error.to_string(),
        };
        let views = data
            .iter()
            .map(|(name, dtype, shape, bytes)| Ok((*name, TensorView::new(*dtype, shape.clone(), bytes)?)))
            .collect::<Result<BTreeMap<_, _>, _>>()
            .map_err(read)?;
        // One entry: safetensors keeps several in an order that differs from run to run, and the file's hash with it.
        let mut words = self.metadata.clone();
        words.insert(SHA256.to_owned(), contents_sha256(&self.metadata, &views));
        let words = serde_json::to_string(&words)
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
        let mut metadata: BTreeMap<String, String> = serde_json::from_str(words).map_err(|e| error(e.to_string()))?;
        // Files from before the hash have none.
        if let Some(expected) = metadata.remove(SHA256) {
            let views = safetensors::SafeTensors::deserialize(&bytes).map_err(|e| error(e.to_string()))?;
            let views: BTreeMap<&str, TensorView<'_>> = views.iter().collect();
            if contents_sha256(&metadata, &views) != expected {
                return Err(error("its content is not what was written (SHA-256 differs)".into()));
            }
        }
        let tensors = candle_core::safetensors::load_buffer(&bytes, device).map_err(|e| error(e.to_string()))?;
        Ok(Self { tensors: tensors.into_iter().collect(), metadata, path: path.to_owned() })
    }

    /// Reads the words of a file that [`Self::save`] wrote, and none of its tensors, which may be gigabytes.
    ///
    /// # Errors
    /// When it is missing or is no such file.
    pub fn load_words(path: &Path) -> Result<Self, CheckpointError> {
        #[derive(serde::Deserialize)]
        struct Header {
            #[serde(rename = "__metadata__")]
            words: BTreeMap<String, String>,
        }
        let words = || -> std::io::Result<BTreeMap<String, String>> {
            let mut file = std::fs::File::open(path)?;
            let mut length = [0; 8];
            file.read_exact(&mut length)?;
            // Bounded by the file: a length that is not true allocates nothing.
            let mut header = vec![];
            file.take(u64::from_le_bytes(length)).read_to_end(&mut header)?;
            let header: Header = serde_json::from_slice(&header)?;
            Ok(serde_json::from_str(header.words.get(METADATA).map_or("{}", String::as_str))?)
        };
        let mut metadata =
            words().map_err(|e| CheckpointError::Read { path: path.display().to_string(), reason: e.to_string() })?;
        metadata.remove(SHA256);
        Ok(Self { tensors: BTreeMap::new(), metadata, path: path.to_owned() })
    }

    /// The tensor called `name`.
    ///
    /// # Errors
    /// When there is none.
    pub fn tensor(&self, name: &str) -> Result<&Tensor, CheckpointError> {
        self.tensors.get(name).ok_or_else(|| self.unusable(format!("it lacks {name}")))
    }

    /// The word called `name`, parsed.
    ///
    /// # Errors
    /// When there is none or it is something else.
    pub fn value<T: std::str::FromStr>(&self, name: &str) -> Result<T, CheckpointError> {
        let value = self.metadata.get(name).and_then(|text| text.parse().ok());
        value.ok_or_else(|| self.unusable(format!("it lacks {name}, or it is malformed")))
    }

    /// Puts the tensors of the same names into `variables`.
    ///
    /// # Errors
    /// When one is missing, or has another shape.
    pub fn restore(&self, variables: &[(String, Var)]) -> Result<(), CheckpointError> {
        variables.iter().try_for_each(|(name, var)| {
            let saved = self.tensor(name)?;
            var.set(saved).map_err(|error| self.unusable(format!("{name}: {error}")))
        })
    }

    fn unusable(&self, reason: String) -> CheckpointError {
        CheckpointError::Read { path: self.path.display().to_string(), reason }
    }
}

/// A tensor's values as safetensors stores them.
fn little_endian(tensor: &Tensor) -> candle_core::Result<(Dtype, Vec<u8>)> {
    fn bytes<T: WithDType, const N: usize>(tensor: &Tensor, of: fn(T) -> [u8; N]) -> candle_core::Result<Vec<u8>> {
        Ok(tensor.flatten_all()?.to_vec1::<T>()?.into_iter().flat_map(of).collect())
    }
    Ok(match tensor.dtype() {
        DType::F64 => (Dtype::F64, bytes(tensor, f64::to_le_bytes)?),
        DType::F32 => (Dtype::F32, bytes(tensor, f32::to_le_bytes)?),
        DType::F16 => (Dtype::F16, bytes(tensor, f16::to_le_bytes)?),
        DType::BF16 => (Dtype::BF16, bytes(tensor, bf16::to_le_bytes)?),
        DType::I64 => (Dtype::I64, bytes(tensor, i64::to_le_bytes)?),
        DType::U32 => (Dtype::U32, bytes(tensor, u32::to_le_bytes)?),
        DType::U8 => (Dtype::U8, bytes(tensor, u8::to_le_bytes)?),
        other => candle_core::bail!("a checkpoint holds no {other:?}"),
    })
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[test]
    fn every_type_keeps_its_bits_and_the_same_content_gives_the_same_bytes() {
        let folder = tempfile::tempdir().unwrap();
        let values = Tensor::new(&[1f32, 0.0, 3.0, 200.0], &Device::Cpu).unwrap();
        let types = [DType::F64, DType::F32, DType::F16, DType::BF16, DType::I64, DType::U32, DType::U8];
        let saved = || {
            let tensors = types.iter().map(|t| (t.as_str().to_owned(), values.to_dtype(*t).unwrap()));
            Checkpoint::new(tensors.collect(), (0..20).map(|i| (format!("word {i}"), i.to_string())).collect())
        };
        let paths = ["a", "b"].map(|name| folder.path().join(name));
        paths.iter().for_each(|path| saved().save(path).unwrap());
        assert_eq!(std::fs::read(&paths[0]).unwrap(), std::fs::read(&paths[1]).unwrap());
        let read = Checkpoint::load(&paths[0], &Device::Cpu).unwrap();
        for dtype in types {
            let tensor = read.tensor(dtype.as_str()).unwrap();
            assert_eq!(tensor.dtype(), dtype);
            let back = tensor.to_dtype(DType::F32).unwrap().to_vec1::<f32>().unwrap();
            assert_eq!(back, [1.0, 0.0, 3.0, 200.0]);
        }
    }

    #[test]
    fn what_is_saved_is_read_again() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("a.safetensors");
        let tensor = Tensor::new(&[[1f32, -2.5], [f32::MIN_POSITIVE, 4.0]], &Device::Cpu).unwrap();
        let words = [("epoch".to_owned(), "3".to_owned())];
        let saved = Checkpoint::new([("w".to_owned(), tensor.clone())].into(), words.into());
        saved.save(&path).unwrap();
        let read = Checkpoint::load(&path, &Device::Cpu).unwrap();
        assert_eq!(read.tensor("w").unwrap().to_vec2::<f32>().unwrap(), tensor.to_vec2::<f32>().unwrap());
        assert_eq!(read.value::<usize>("epoch").unwrap(), 3);
        let words = Checkpoint::load_words(&path).unwrap();
        assert!(words.metadata == read.metadata && words.tensors.is_empty());
        let lacking = read.value::<usize>("absent").unwrap_err().to_string();
        assert!(lacking.contains("a.safetensors") && lacking.contains("absent"), "{lacking}");

        let var = Var::zeros((2, 2), DType::F32, &Device::Cpu).unwrap();
        read.restore(&[("w".to_owned(), var.clone())]).unwrap();
        assert_eq!(var.to_vec2::<f32>().unwrap(), tensor.to_vec2::<f32>().unwrap());
        let other = Var::zeros(3, DType::F32, &Device::Cpu).unwrap();
        let misshapen = read.restore(&[("w".to_owned(), other)]).unwrap_err().to_string();
        assert!(misshapen.contains("a.safetensors") && misshapen.contains("w: "), "{misshapen}");
    }

    #[test]
    fn a_changed_weight_or_word_is_found() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("a.safetensors");
        let tensor = Tensor::new(&[1f32, -2.5], &Device::Cpu).unwrap();
        let words = [("epoch".to_owned(), "31415".to_owned())];
        Checkpoint::new([("w".to_owned(), tensor)].into(), words.into()).save(&path).unwrap();
        let whole = std::fs::read(&path).unwrap();
        let word = whole.windows(5).position(|bytes| bytes == b"31415").unwrap();
        for at in [word, whole.len() - 1] {
            let mut bytes = whole.clone();
            bytes[at] ^= 1;
            std::fs::write(&path, bytes).unwrap();
            let error = Checkpoint::load(&path, &Device::Cpu).err().unwrap().to_string();
            assert!(error.contains("a.safetensors") && error.contains("SHA-256"), "{error}");
        }
        // One of before the hash.
        let tensors = candle_core::safetensors::load_buffer(&whole, &Device::Cpu).unwrap();
        candle_core::safetensors::save(&tensors, &path).unwrap();
        assert!(Checkpoint::load(&path, &Device::Cpu).is_ok());
    }

    #[test]
    fn a_truncated_file_is_an_error_that_names_it() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("broken.safetensors");
        std::fs::write(&path, b"\x10\0\0\0\0\0\0\0{\"w\"").unwrap();
        for read in [Checkpoint::load(&path, &Device::Cpu), Checkpoint::load_words(&path)] {
            let error = read.err().unwrap().to_string();
            assert!(error.contains("broken.safetensors"), "{error}");
        }
        // A length beyond the end of the file.
        std::fs::write(&path, [&u64::MAX.to_le_bytes()[..], b"{}"].concat()).unwrap();
        assert!(Checkpoint::load_words(&path).is_err());
    }
}
