//! The tensors that a net is built of: out of a file by their names, or drawn from a seed.
//!
//! A file is compared with the net as a whole before anything is built, so that one error says all that is wrong with it.

use std::{collections::BTreeMap, fmt, path::Path};

use candle_core::{DType, Device, Tensor};
use thorax_nn::seeded;

use super::{
    architecture::{Architecture, Parameter, Role, Weights},
    layout::{Layout, Naming},
};

/// Why the weights could not be used.
#[derive(Debug, thiserror::Error)]
pub enum WeightsError {
    /// The file could not be read.
    #[error("{path}: {source}; give the path of a safetensors file with the weights of {net}")]
    Read {
        /// The file.
        path: String,
        /// Whose weights were expected.
        net: String,
        /// What candle said.
        source: Box<candle_core::Error>,
    },
    /// The tensors are not the net's.
    #[error("{0}")]
    Mismatch(Box<Mismatch>),
    /// The tensors of a file are not the net's.
    #[error("{path}: {mismatch}")]
    File {
        /// The file.
        path: String,
        /// What is wrong.
        mismatch: Box<Mismatch>,
    },
    /// What the file says of the net cannot be read.
    #[error("{path}: {word:?} does not say what of a backbone is left; read it with the thorax-train that wrote it")]
    Reduction {
        /// The file.
        path: String,
        /// What it says.
        word: String,
    },
    /// Weights of which the wanted ones cannot be made.
    #[error(
        "--depth, --width and --plain reduce a whole EfficientNet-Lite: the weights are of {found}, asked for is {wanted}; give --weights of \
         the whole net, or leave these options out"
    )]
    Irreducible {
        /// The net that they are of.
        found: String,
        /// The net that was asked for.
        wanted: String,
    },
    /// Arithmetic failed.
    #[error(transparent)]
    Candle(#[from] candle_core::Error),
}

impl WeightsError {
    /// The same error, with the name of the file.
    pub fn in_file(self, path: &Path) -> Self {
        match self {
            Self::Mismatch(mismatch) => Self::File { path: path.display().to_string(), mismatch },
            other => other,
        }
    }
}

/// A tensor of another shape than the net's.
#[derive(Debug, PartialEq, Eq)]
pub struct Misshapen {
    /// The tensor.
    pub name: String,
    /// Its shape in the file.
    pub got: Vec<usize>,
    /// Its shape in the net.
    pub expected: Vec<usize>,
}

impl fmt::Display for Misshapen {
    fn fmt(&self, f: &mut fmt::Formatter) -> fmt::Result {
        write!(f, "{} is {:?} in place of {:?}", self.name, self.got, self.expected)
    }
}

/// How the tensors of a file differ from a net's.
#[derive(Debug)]
pub struct Difference {
    /// Whose names the file seemed to have.
    pub layout: Layout,
    /// Tensors that are not there, by the file's names.
    pub missing: Vec<String>,
    /// Tensors that the net does not have.
    pub unexpected: Vec<String>,
    /// Tensors of another shape.
    pub misshapen: Vec<Misshapen>,
}

/// A file's tensors that are not the net's.
#[derive(Debug)]
pub struct Mismatch {
    /// Whose weights were expected, and what is left of that net.
    pub net: String,
    /// Where there are some, on the Hugging Face Hub.
    pub hub_repository: &'static str,
    /// What is wrong.
    pub difference: Difference,
    /// The net that the tensors fit.
    pub fits: Option<&'static str>,
}

/// How many tensors an error names.
const NAMED: usize = 3;

impl fmt::Display for Mismatch {
    fn fmt(&self, f: &mut fmt::Formatter) -> fmt::Result {
        fn list(f: &mut fmt::Formatter, what: &str, names: &[impl fmt::Display]) -> fmt::Result {
            if names.is_empty() {
                return Ok(());
            }
            let first: Vec<_> = names.iter().take(NAMED).map(ToString::to_string).collect();
            write!(f, "; {} {what}: {}", names.len(), first.join(", "))?;
            match names.len().saturating_sub(NAMED) {
                0 => Ok(()),
                more => write!(f, " and {more} more"),
            }
        }
        let Difference { layout, missing, unexpected, misshapen } = &self.difference;
        write!(f, "not the weights of {} (the names were taken for {layout}'s)", self.net)?;
        list(f, "missing", missing)?;
        list(f, "unexpected", unexpected)?;
        list(f, "misshapen", misshapen)?;
        match self.fits {
            Some(other) => write!(f, "; these are the weights of {other}: name that backbone, or give another file"),
            None => write!(
                f,
                "; give the safetensors file of timm, torchvision or Keras for this net, such as model.safetensors of {} \
                 on the Hugging Face Hub",
                self.hub_repository
            ),
        }
    }
}

/// Reads all tensors of a safetensors file; `net` is named in errors.
///
/// # Errors
/// [`WeightsError::Read`].
pub fn read(path: &Path, net: &str, device: &Device) -> Result<BTreeMap<String, Tensor>, WeightsError> {
    let tensors = candle_core::safetensors::load(path, device).map_err(|source| WeightsError::Read {
        path: path.display().to_string(),
        net: net.to_owned(),
        source: Box::new(source),
    })?;
    Ok(tensors.into_iter().collect())
}

/// Names and shapes of the tensors that a file of a net as `layout` has it has, in the net's order, the classifier aside.
pub(super) fn file_tensors(net: &Architecture, layout: Layout) -> Vec<(String, Vec<usize>)> {
    expected(net, &Naming::new(layout, &BTreeMap::new())).collect()
}

fn expected(net: &Architecture, naming: &Naming) -> impl Iterator<Item = (String, Vec<usize>)> {
    net.parameters().into_iter().map(move |parameter| (naming.name(&parameter), naming.shape(&parameter)))
}

/// What the tensors of a file differ in from the net as `layout` has it, if in anything.
pub(super) fn compare(layout: Layout, net: &Architecture, tensors: &BTreeMap<String, Tensor>) -> Option<Difference> {
    let naming = Naming::new(layout, tensors);
    let (mut missing, mut misshapen) = (vec![], vec![]);
    let expected: BTreeMap<String, Vec<usize>> = expected(net, &naming).collect();
    for (name, shape) in &expected {
        match tensors.get(name) {
            None => missing.push(name.clone()),
            Some(tensor) if tensor.dims() != shape.as_slice() => {
                let (got, expected) = (tensor.dims().to_vec(), shape.clone());
                misshapen.push(Misshapen { name: name.clone(), got, expected });
            }
            Some(_) => {}
        }
    }
    let foreign = |name: &&String| !expected.contains_key(*name) && !layout.ignores(name);
    let unexpected: Vec<String> = tensors.keys().filter(foreign).cloned().collect();
    let equal = missing.is_empty() && unexpected.is_empty() && misshapen.is_empty();
    (!equal).then_some(Difference { layout, missing, unexpected, misshapen })
}

/// The parameters of a net in a file of that layout, in the net's own order of dimensions.
///
/// # Errors
/// When the device fails.
pub(super) fn named(
    layout: Layout,
    net: &Architecture,
    tensors: &BTreeMap<String, Tensor>,
) -> candle_core::Result<Weights> {
    let naming = Naming::new(layout, tensors);
    let mut weights = Weights::new();
    for parameter in net.parameters() {
        if let Some(tensor) = tensors.get(&naming.name(&parameter)) {
            let tensor = naming.convert(&parameter, tensor)?.to_dtype(DType::F32)?;
            weights.insert(parameter.name(), tensor);
        }
    }
    Ok(weights)
}

/// Kernels drawn normally with variance 2 / fan-in (He et al. 2015), batch norms that change nothing, no biases. Each kernel
/// has a stream of its own, by its name.
///
/// # Errors
/// When the device refuses the memory.
pub(super) fn drawn(architecture: &Architecture, seed: u64, device: &Device) -> candle_core::Result<Weights> {
    let start = |parameter: Parameter| {
        let name = parameter.name();
        // FNV-1a: the order in which the kernels are drawn does not matter.
        let stream =
            name.bytes().fold(0xCBF2_9CE4_8422_2325u64, |hash, b| (hash ^ u64::from(b)).wrapping_mul(0x0100_0000_01B3));
        Ok((name, starting(&parameter, seed ^ stream, device)?))
    };
    architecture.parameters().into_iter().map(start).collect()
}

/// As [`drawn`], but a kernel's stream is its number; without what is frozen.
///
/// # Errors
/// When the device refuses the memory.
pub(super) fn drawn_in_order(architecture: &Architecture, seed: u64, device: &Device) -> candle_core::Result<Weights> {
    let mut kernels = 0u64;
    let mut start = |parameter: Parameter| {
        kernels += u64::from(matches!(parameter.role, Role::Kernel | Role::UpKernel | Role::Matrix));
        let seed = seed ^ kernels.wrapping_mul(0x9E37_79B9_7F4A_7C15);
        Ok((parameter.name(), starting(&parameter, seed, device)?))
    };
    architecture.parameters().into_iter().filter(|parameter| !parameter.frozen).map(&mut start).collect()
}

/// What a parameter is before training.
fn starting(parameter: &Parameter, seed: u64, device: &Device) -> candle_core::Result<Tensor> {
    let shape = parameter.shape.as_slice();
    let normal = |fan_in: usize| seeded::normal(shape, (2.0 / fan_in as f32).sqrt(), seed, device);
    match parameter.role {
        Role::Kernel | Role::Matrix => normal(shape[1..].iter().product()),
        // Windows do not overlap: a pixel that comes out is made of one that goes in.
        Role::UpKernel => normal(shape[0]),
        Role::Scale | Role::Variance => Tensor::ones(shape, DType::F32, device),
        Role::Bias | Role::Shift | Role::Mean => Tensor::zeros(shape, DType::F32, device),
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;
    use crate::architecture::{Convolution, Folding};

    /// Two convolutions, the second with a batch norm.
    fn architecture() -> Architecture {
        let mut net = Architecture::new(32, 0.0, Folding::Reciprocal);
        let first = net.convolution(0, Convolution::new("a", 32, 64, [3, 3]));
        let norm = Some(net.norm("n", true));
        let last = net.convolution(first, Convolution { norm, biased: true, ..Convolution::new("b", 64, 64, [3, 3]) });
        net.name_map("features", last);
        net
    }

    fn values(weights: &Weights, name: &str) -> Vec<f32> {
        weights[name].flatten_all().unwrap().to_vec1().unwrap()
    }

    #[test]
    fn seed_and_name_decide_a_drawn_kernel_and_its_width() {
        let draw = |seed| drawn(&architecture(), seed, &Device::Cpu).unwrap();
        let (first, again, other) = (draw(1), draw(1), draw(2));
        for (name, fan_in) in [("a.weight", 288.0), ("b.weight", 576.0)] {
            let drawn = values(&first, name);
            assert_eq!(drawn, values(&again, name));
            assert_ne!(drawn, values(&other, name));
            let variance = drawn.iter().map(|v| f64::from(v * v)).sum::<f64>() / drawn.len() as f64;
            // At least 18432 values: the variance of a normal sample is known to about a per cent.
            assert!((variance * fan_in / 2.0 - 1.0).abs() < 0.05, "{name}: {variance}");
        }
        assert_ne!(values(&first, "a.weight")[..100], values(&first, "b.weight")[..100]);
    }

    #[test]
    fn a_drawn_batch_norm_changes_nothing() {
        let weights = drawn(&architecture(), 1, &Device::Cpu).unwrap();
        let (graph, _) = architecture().graph(weights.clone(), 8).unwrap();
        let Some(thorax_nn::graph::Operation::Convolution { weight, bias, .. }) =
            graph.nodes.last().map(|node| node.operation.clone())
        else {
            unreachable!()
        };
        assert_eq!(weight.flatten_all().unwrap().to_vec1::<f32>().unwrap(), values(&weights, "b.weight"));
        assert_eq!(bias.to_vec1::<f32>().unwrap(), [0.0; 64]);
    }
}
