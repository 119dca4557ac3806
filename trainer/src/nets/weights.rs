//! The tensors that a net is built of: out of a file by their names, or drawn from a seed.

use std::{collections::BTreeMap, path::Path};

use candle_core::{DType, Device, Tensor};

use crate::nn::seeded;

/// Why the weights could not be used.
#[derive(Debug, thiserror::Error)]
pub enum WeightsError {
    /// The file could not be read.
    #[error("{path}: {source}; give the path of a safetensors file with the weights of {net}")]
    Read {
        /// The file.
        path: String,
        /// Whose weights were expected.
        net: &'static str,
        /// What candle said.
        source: candle_core::Error,
    },
    /// A tensor is not there.
    #[error("the weights lack the tensor {name}: this is not {net}")]
    Missing {
        /// The tensor.
        name: String,
        /// Whose weights were expected.
        net: &'static str,
    },
    /// A tensor has another shape.
    #[error("the tensor {name} has shape {got:?}, expected {expected:?}: this is not {net}")]
    Shape {
        /// The tensor.
        name: String,
        /// Its shape in the file.
        got: Vec<usize>,
        /// Its shape in the net.
        expected: Vec<usize>,
        /// Whose weights were expected.
        net: &'static str,
    },
    /// Arithmetic failed.
    #[error(transparent)]
    Candle(#[from] candle_core::Error),
}

/// Reads all tensors of a safetensors file; `net` is named in errors.
///
/// # Errors
/// [`WeightsError::Read`].
pub fn read(path: &Path, net: &'static str, device: &Device) -> Result<BTreeMap<String, Tensor>, WeightsError> {
    let tensors = candle_core::safetensors::load(path, device).map_err(|source| WeightsError::Read {
        path: path.display().to_string(),
        net,
        source,
    })?;
    Ok(tensors.into_iter().collect())
}

/// Where the tensors of a net come from.
pub enum Weights<'a> {
    /// From a file (see [`read`]).
    Named {
        /// All tensors of the file.
        tensors: &'a BTreeMap<String, Tensor>,
        /// Whose weights they should be, for errors.
        net: &'static str,
    },
    /// Kernels drawn normally with variance 2 / fan-in (He et al. 2015), batch norms that change nothing.
    Drawn {
        /// Each kernel has a stream of its own, by its name.
        seed: u64,
        /// Where the tensors are made.
        device: &'a Device,
    },
}

impl Weights<'_> {
    /// The f32 tensor of that name and shape.
    ///
    /// # Errors
    /// [`WeightsError`] when it is missing or has another shape.
    pub fn tensor(&self, name: &str, shape: &[usize]) -> Result<Tensor, WeightsError> {
        match *self {
            Self::Named { tensors, net } => {
                let tensor = tensors.get(name).ok_or_else(|| WeightsError::Missing { name: name.to_owned(), net })?;
                if tensor.dims() != shape {
                    let (got, expected) = (tensor.dims().to_vec(), shape.to_vec());
                    return Err(WeightsError::Shape { name: name.to_owned(), got, expected, net });
                }
                Ok(tensor.to_dtype(DType::F32)?)
            }
            Self::Drawn { seed, device } if shape.len() > 1 => {
                // FNV-1a: the order in which the tensors are asked for does not matter.
                let stream = name
                    .bytes()
                    .fold(0xCBF2_9CE4_8422_2325u64, |hash, b| (hash ^ u64::from(b)).wrapping_mul(0x0100_0000_01B3));
                let fan_in: usize = shape[1..].iter().product();
                Ok(seeded::normal(shape, (2.0 / fan_in as f32).sqrt(), seed ^ stream, device)?)
            }
            Self::Drawn { device, .. } if name.ends_with(".weight") || name.ends_with(".running_var") => {
                Ok(Tensor::ones(shape, DType::F32, device)?)
            }
            Self::Drawn { device, .. } => Ok(Tensor::zeros(shape, DType::F32, device)?),
        }
    }

    /// Weight and bias of a convolution with the batch norm behind it folded in: kernel `<convolution>.weight` of `shape`
    /// `[C_out, C_in / groups, K_h, K_w]`, batch norm `<norm>.{weight, bias, running_mean, running_var}`, each `[C_out]`.
    ///
    /// # Errors
    /// [`WeightsError`] when a tensor is missing or has another shape.
    pub fn folded(
        &self,
        convolution: &str,
        norm: &str,
        shape: [usize; 4],
        epsilon: f64,
    ) -> Result<(Tensor, Tensor), WeightsError> {
        let [out, ..] = shape;
        let weight = self.tensor(&format!("{convolution}.weight"), &shape)?;
        let [gamma, beta, mean, variance] = ["weight", "bias", "running_mean", "running_var"]
            .map(|part| self.tensor(&format!("{norm}.{part}"), &[out]));
        let scale = gamma?.div(&(variance? + epsilon)?.sqrt()?)?;
        let bias = beta?.sub(&(mean? * &scale)?)?;
        Ok((weight.broadcast_mul(&scale.reshape((out, 1, 1, 1))?)?, bias))
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[test]
    fn seed_and_name_decide_a_drawn_kernel_and_its_width() {
        let draw = |seed, name: &str| -> Vec<f32> {
            let weights = Weights::Drawn { seed, device: &Device::Cpu };
            weights.tensor(name, &[64, 32, 3, 3]).unwrap().flatten_all().unwrap().to_vec1().unwrap()
        };
        let values = draw(1, "a.weight");
        assert_eq!(values, draw(1, "a.weight"));
        assert_ne!(values, draw(2, "a.weight"));
        assert_ne!(values, draw(1, "b.weight"));
        let variance = values.iter().map(|v| f64::from(v * v)).sum::<f64>() / values.len() as f64;
        // 18432 values: the variance of a normal sample is known to about a per cent.
        assert!((variance * 288.0 / 2.0 - 1.0).abs() < 0.05, "{variance}");
    }

    #[test]
    fn a_drawn_batch_norm_changes_nothing() {
        let weights = Weights::Drawn { seed: 1, device: &Device::Cpu };
        let (weight, bias) = weights.folded("c", "n", [2, 3, 1, 1], 0.0).unwrap();
        let same = weights.tensor("c.weight", &[2, 3, 1, 1]).unwrap();
        assert_eq!(
            weight.flatten_all().unwrap().to_vec1::<f32>().unwrap(),
            same.flatten_all().unwrap().to_vec1::<f32>().unwrap()
        );
        assert_eq!(bias.to_vec1::<f32>().unwrap(), [0.0; 2]);
    }
}
