//! EfficientNet-Lite0, headless and frozen (Tan and Le 2019; the Lite variant drops squeeze-and-excitation and uses ReLU6).
//!
//! The weights come from a safetensors file with timm's names (`tf_efficientnet_lite0`); batch norms are folded while reading.

use std::{collections::BTreeMap, path::Path};

use candle_core::{DType, Device, Tensor};

use crate::nn::{
    convolution::{ConvolutionConfig, Padding},
    graph::{Graph, NodeId, Operation},
};

/// Width and height of the input.
pub const INPUT_SIDE: usize = 224;
/// Channels of the feature map.
pub const FEATURES: usize = 1280;
/// Width and height of the feature map.
pub const FEATURE_SIDE: usize = 7;

/// Batch norm's epsilon in the TensorFlow weights.
const EPSILON: f64 = 1e-3;

/// Expansion, channels out, blocks, stride of the first block and kernel of each stage.
const STAGES: [(usize, usize, usize, usize, usize); 7] = [
    (1, 16, 1, 1, 3),
    (6, 24, 2, 2, 3),
    (6, 40, 2, 2, 5),
    (6, 80, 3, 2, 3),
    (6, 112, 3, 1, 5),
    (6, 192, 4, 2, 5),
    (6, 320, 1, 1, 3),
];

/// Why the weights could not be used.
#[derive(Debug, thiserror::Error)]
pub enum WeightsError {
    /// The file could not be read.
    #[error("{path}: {source}; give the path of a safetensors file with timm's tf_efficientnet_lite0 weights")]
    Read {
        /// The file.
        path: String,
        /// What candle said.
        source: candle_core::Error,
    },
    /// A tensor is not there.
    #[error("the weights lack the tensor {0}: this is not timm's tf_efficientnet_lite0")]
    Missing(String),
    /// A tensor has another shape.
    #[error("the tensor {name} has shape {got:?}, expected {expected:?}: this is not timm's tf_efficientnet_lite0")]
    Shape {
        /// The tensor.
        name: String,
        /// Its shape in the file.
        got: Vec<usize>,
        /// Its shape in the net.
        expected: Vec<usize>,
    },
    /// Arithmetic failed.
    #[error(transparent)]
    Candle(#[from] candle_core::Error),
}

/// Builds the headless graph from a file; its output `features` is `[N, 1280, 7, 7]`.
///
/// # Errors
/// [`WeightsError`] when the file is not such a net's.
pub fn load(path: &Path, device: &Device) -> Result<Graph, WeightsError> {
    let tensors = candle_core::safetensors::load(path, device)
        .map_err(|source| WeightsError::Read { path: path.display().to_string(), source })?;
    build(&tensors.into_iter().collect())
}

/// Builds the headless graph from named tensors (see [`load`]).
///
/// # Errors
/// [`WeightsError`] when a tensor is missing or has another shape.
pub fn build(tensors: &BTreeMap<String, Tensor>) -> Result<Graph, WeightsError> {
    let mut builder = Builder { tensors, graph: Graph::new([3, INPUT_SIDE, INPUT_SIDE]) };
    let stem = Layer { convolution: "conv_stem".into(), norm: "bn1".into(), kernel: 3, stride: 2, depthwise: false };
    let (mut node, mut side) = builder.layer(0, stem, 3, 32, INPUT_SIDE)?;
    node = builder.graph.push(Operation::Relu6, &[node]);
    let mut channels = 32;
    for (s, (expansion, channels_out, blocks, first_stride, kernel)) in STAGES.into_iter().enumerate() {
        for r in 0..blocks {
            let stride = if r == 0 { first_stride } else { 1 };
            let prefix = format!("blocks.{s}.{r}");
            let before = node;
            let expanded = channels * expansion;
            // timm names the layers of a block without expansion one number lower.
            let mut norm = 1..;
            let mut layer = |name: &str, kernel, stride, depthwise| Layer {
                convolution: format!("{prefix}.{name}"),
                norm: format!("{prefix}.bn{}", norm.next().unwrap_or(0)),
                kernel,
                stride,
                depthwise,
            };
            if expansion > 1 {
                (node, side) = builder.layer(node, layer("conv_pw", 1, 1, false), channels, expanded, side)?;
                node = builder.graph.push(Operation::Relu6, &[node]);
            }
            (node, side) = builder.layer(node, layer("conv_dw", kernel, stride, true), expanded, expanded, side)?;
            node = builder.graph.push(Operation::Relu6, &[node]);
            let project = if expansion > 1 { "conv_pwl" } else { "conv_pw" };
            (node, side) = builder.layer(node, layer(project, 1, 1, false), expanded, channels_out, side)?;
            if stride == 1 && channels == channels_out {
                node = builder.graph.push(Operation::Add, &[node, before]);
            }
            channels = channels_out;
        }
    }
    let head = Layer { convolution: "conv_head".into(), norm: "bn2".into(), kernel: 1, stride: 1, depthwise: false };
    (node, _) = builder.layer(node, head, channels, FEATURES, side)?;
    node = builder.graph.push(Operation::Relu6, &[node]);
    builder.graph.output("features", node);
    Ok(builder.graph)
}

struct Layer {
    convolution: String,
    norm: String,
    kernel: usize,
    stride: usize,
    depthwise: bool,
}

struct Builder<'a> {
    tensors: &'a BTreeMap<String, Tensor>,
    graph: Graph,
}

impl Builder<'_> {
    fn tensor(&self, name: &str, shape: &[usize]) -> Result<Tensor, WeightsError> {
        let tensor = self.tensors.get(name).ok_or_else(|| WeightsError::Missing(name.into()))?;
        if tensor.dims() != shape {
            return Err(WeightsError::Shape {
                name: name.into(),
                got: tensor.dims().to_vec(),
                expected: shape.to_vec(),
            });
        }
        Ok(tensor.to_dtype(DType::F32)?)
    }

    /// A convolution with its batch norm folded in; the node and the side of its output.
    fn layer(
        &mut self,
        input: NodeId,
        layer: Layer,
        channels: usize,
        out: usize,
        side: usize,
    ) -> Result<(NodeId, usize), WeightsError> {
        let Layer { convolution, norm, kernel, stride, depthwise } = layer;
        let per_group = if depthwise { 1 } else { channels };
        let weight = self.tensor(&format!("{convolution}.weight"), &[out, per_group, kernel, kernel])?;
        let [gamma, beta, mean, variance] = ["weight", "bias", "running_mean", "running_var"]
            .map(|part| self.tensor(&format!("{norm}.{part}"), &[out]));
        let scale = gamma?.div(&(variance? + EPSILON)?.sqrt()?)?;
        let bias = beta?.sub(&(mean? * &scale)?)?;
        let weight = weight.broadcast_mul(&scale.reshape((out, 1, 1, 1))?)?;
        let padding = Padding::same(side, kernel, stride);
        let config = ConvolutionConfig { stride, padding, dilation: 1, groups: if depthwise { channels } else { 1 } };
        Ok((self.graph.convolution(input, weight, bias, config), side.div_ceil(stride)))
    }
}
