//! ResNet50, headless and frozen (He et al. 2015; stride on the 3x3 convolution of a block, as torchvision and timm have it).
//!
//! The weights come from a safetensors file with the names that torchvision and timm (`resnet50`) share, or from a seed;
//! batch norms are folded while reading. The feature map of a 224 x 224 picture has 2048 x 7 x 7 = 100,352 values, and the
//! net, counted as Keras counts it (a bias for every convolution, four vectors for every batch norm), 23,587,712
//! parameters, which is what Table III of the paper says.

use std::{collections::BTreeMap, path::Path};

use candle_core::{Device, Tensor};

use super::weights::{Weights, WeightsError, read};
use crate::nn::{
    convolution::{ConvolutionConfig, Padding},
    graph::{Graph, NodeId, Operation},
    pool::PoolConfig,
};

/// Width and height of the input.
pub const INPUT_SIDE: usize = 224;
/// Channels of the feature map.
pub const FEATURES: usize = 2048;
/// Width and height of the feature map.
pub const FEATURE_SIDE: usize = 7;

/// Batch norm's epsilon.
const EPSILON: f64 = 1e-5;

/// What errors call the net.
const NAME: &str = "torchvision's or timm's resnet50";

/// Width of the 3x3 convolutions and number of blocks of each stage; all but the first halve the sides.
const STAGES: [(usize, usize); 4] = [(64, 3), (128, 4), (256, 6), (512, 3)];

/// A block gives this many times its width.
const EXPANSION: usize = 4;

/// Builds the headless graph from a file; its output `features` is `[N, 2048, 7, 7]`.
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

/// The headless graph (see [`load`]) with kernels drawn from `seed`: for measuring and testing.
///
/// # Errors
/// When the device refuses the memory.
pub fn draw(seed: u64, device: &Device) -> Result<Graph, WeightsError> {
    graph(Weights::Drawn { seed, device })
}

fn graph(weights: Weights) -> Result<Graph, WeightsError> {
    let mut builder = Builder { weights, graph: Graph::new([3, INPUT_SIDE, INPUT_SIDE]) };
    let mut node = builder.layer(0, "conv1", "bn1", [64, 3, 7, 7], 2)?;
    node = builder.graph.push(Operation::Relu, &[node]);
    let pool = PoolConfig { kernel: 3, stride: 2, padding: 1, ceil_mode: false };
    node = builder.graph.push(Operation::MaxPool(pool), &[node]);
    let mut channels = 64;
    for (stage, (width, blocks)) in STAGES.into_iter().enumerate() {
        for block in 0..blocks {
            let stride = if stage > 0 && block == 0 { 2 } else { 1 };
            node = builder.bottleneck(node, &format!("layer{}.{block}", stage + 1), channels, width, stride)?;
            channels = width * EXPANSION;
        }
    }
    builder.graph.output("features", node);
    Ok(builder.graph)
}

struct Builder<'a> {
    weights: Weights<'a>,
    graph: Graph,
}

impl Builder<'_> {
    /// A convolution with its batch norm folded in, padded so that stride 1 keeps the sides.
    fn layer(
        &mut self,
        input: NodeId,
        convolution: &str,
        norm: &str,
        shape: [usize; 4],
        stride: usize,
    ) -> Result<NodeId, WeightsError> {
        let (weight, bias) = self.weights.folded(convolution, norm, shape, EPSILON)?;
        let config = ConvolutionConfig { stride, padding: Padding::all(shape[3] / 2), dilation: 1, groups: 1 };
        Ok(self.graph.convolution(input, weight, bias, config))
    }

    /// 1x1 to `width`, 3x3 with the stride, 1x1 to four times `width`, plus the input or a projection of it.
    fn bottleneck(
        &mut self,
        input: NodeId,
        prefix: &str,
        channels: usize,
        width: usize,
        stride: usize,
    ) -> Result<NodeId, WeightsError> {
        let out = width * EXPANSION;
        let mut node = input;
        for (index, (shape, stride)) in
            [([width, channels, 1, 1], 1), ([width, width, 3, 3], stride), ([out, width, 1, 1], 1)]
                .into_iter()
                .enumerate()
        {
            if index > 0 {
                node = self.graph.push(Operation::Relu, &[node]);
            }
            let number = index + 1;
            node =
                self.layer(node, &format!("{prefix}.conv{number}"), &format!("{prefix}.bn{number}"), shape, stride)?;
        }
        let shortcut = if channels == out {
            input
        } else {
            let [convolution, norm] = [0, 1].map(|index| format!("{prefix}.downsample.{index}"));
            self.layer(input, &convolution, &norm, [out, channels, 1, 1], stride)?
        };
        let sum = self.graph.push(Operation::Add, &[node, shortcut]);
        Ok(self.graph.push(Operation::Relu, &[sum]))
    }
}
