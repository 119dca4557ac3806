//! EfficientNet-Lite0, headless and frozen (Tan and Le 2019; the Lite variant drops squeeze-and-excitation and uses ReLU6).
//!
//! The weights come from a safetensors file with timm's names (`tf_efficientnet_lite0`); batch norms are folded while reading.

use std::{collections::BTreeMap, path::Path};

use candle_core::{Device, Tensor};

use super::weights::{Weights, WeightsError, read};
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

/// What errors call the net.
const NAME: &str = "timm's tf_efficientnet_lite0";

/// Builds the headless graph from a file; its output `features` is `[N, 1280, 7, 7]`.
///
/// # Errors
/// [`WeightsError`] when the file is not such a net's.
pub fn load(path: &Path, device: &Device) -> Result<Graph, WeightsError> {
    build(&read(path, NAME, device)?)
}

/// Builds the headless graph from named tensors (see [`load`]).
///
/// # Errors
/// [`WeightsError`] when a tensor is missing or has another shape.
pub fn build(tensors: &BTreeMap<String, Tensor>) -> Result<Graph, WeightsError> {
    graph(Weights::Named { tensors, net: NAME })
}

/// Draws the headless graph with random weights (see [`Weights::Drawn`]).
///
/// # Errors
/// [`WeightsError`] when the device fails.
pub fn draw(seed: u64, device: &Device) -> Result<Graph, WeightsError> {
    graph(Weights::Drawn { seed, device })
}

fn graph(weights: Weights) -> Result<Graph, WeightsError> {
    let mut builder = Builder { weights, graph: Graph::new([3, INPUT_SIDE, INPUT_SIDE]) };
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
    weights: Weights<'a>,
    graph: Graph,
}

impl Builder<'_> {
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
        let shape = [out, per_group, kernel, kernel];
        let (weight, bias) = self.weights.folded(&convolution, &norm, shape, EPSILON)?;
        let padding = Padding::same(side, kernel, stride);
        let config = ConvolutionConfig { stride, padding, dilation: 1, groups: if depthwise { channels } else { 1 } };
        Ok((self.graph.convolution(input, weight, bias, config), side.div_ceil(stride)))
    }
}
