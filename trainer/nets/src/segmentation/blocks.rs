//! What the segmentation nets are made of: convolutions with their norms, steps up, attention gates.
//!
//! Each part is used three times: [`forward`](DoubleConvolution::forward) trains it, `write` appends it to the inference graph,
//! `visit` names its variables, under the names the checkpoints have.

use candle_core::{DType, Device, Result, Tensor, Var};
use thorax_nn::{
    batch_norm::BatchNorm,
    convolution::{
        ConvolutionConfig, TransposedConfig, biased_convolution, biased_transposed_convolution, convolution,
    },
    elementwise::{add_relu, attend, sigmoid},
    graph::{Graph, NodeId, Operation},
    seeded,
};

use super::Visitor;

/// No block has more channels, however deep the net is (as in nnU-Net, Isensee et al. 2021): six blocks of doubling channels
/// would put nine tenths of the weights where the map has 4 x 4 pixels.
const MOST_CHANNELS: usize = 512;

/// Channels of encoder block `block`, counted from 0; each doubles those before, up to 512.
pub(super) fn width(base_channels: usize, block: usize) -> usize {
    (base_channels << block.min(usize::BITS as usize / 2)).min(MOST_CHANNELS.max(base_channels))
}

/// Draws weights, a stream of the seed for each.
pub(super) struct Initialiser<'a> {
    seed: u64,
    drawn: u64,
    pub(super) device: &'a Device,
}

impl<'a> Initialiser<'a> {
    pub(super) fn new(seed: u64, device: &'a Device) -> Self {
        Self { seed, drawn: 0, device }
    }

    /// He initialisation: normal with variance 2 / fan-in.
    fn weight(&mut self, shape: (usize, usize, usize, usize), fan_in: usize) -> Result<Var> {
        self.drawn += 1;
        let std = (2.0 / fan_in as f32).sqrt();
        let seed = self.seed ^ self.drawn.wrapping_mul(0x9E37_79B9_7F4A_7C15);
        Var::from_tensor(&seeded::normal(shape, std, seed, self.device)?)
    }

    pub(super) fn double(&mut self, channels_in: usize, channels_out: usize) -> Result<DoubleConvolution> {
        let mut layer = |channels_in: usize| {
            let weight = self.weight((channels_out, channels_in, 3, 3), channels_in * 9)?;
            Ok::<_, candle_core::Error>((weight, BatchNorm::new(channels_out, self.device)?))
        };
        Ok(DoubleConvolution { layers: [layer(channels_in)?, layer(channels_out)?] })
    }

    /// A convolution with bias, `kernel` x `kernel`.
    pub(super) fn biased(&mut self, channels_in: usize, channels_out: usize, kernel: usize) -> Result<Biased> {
        let shape = (channels_out, channels_in, kernel, kernel);
        Ok(Biased {
            weight: self.weight(shape, channels_in * kernel * kernel)?,
            bias: Var::zeros(channels_out, DType::F32, self.device)?,
            config: ConvolutionConfig::dense(kernel),
        })
    }

    pub(super) fn up(&mut self, channels_in: usize, channels_out: usize) -> Result<Up> {
        Ok(Up {
            weight: self.weight((channels_in, channels_out, 2, 2), channels_in)?,
            bias: Var::zeros(channels_out, DType::F32, self.device)?,
        })
    }

    /// A gate for a skip of `channels` channels, led by a signal of as many.
    pub(super) fn gate(&mut self, channels: usize) -> Result<AttentionGate> {
        let inner = (channels / 2).max(1);
        Ok(AttentionGate {
            signal: self.biased(channels, inner, 1)?,
            skip: self.biased(channels, inner, 1)?,
            score: self.biased(inner, 1, 1)?,
        })
    }
}

/// Twice: 3x3 convolution, batch norm, ReLU.
pub(super) struct DoubleConvolution {
    layers: [(Var, BatchNorm); 2],
}

impl DoubleConvolution {
    pub(super) fn forward(&self, x: &Tensor, train: bool) -> Result<Tensor> {
        self.layers.iter().try_fold(x.clone(), |x, (weight, norm)| {
            let config = ConvolutionConfig::dense(3);
            if train {
                norm.train_convolved(&x, weight, config, true)
            } else {
                norm.infer(&convolution(&x, weight, config)?, true)
            }
        })
    }

    pub(super) fn write(&self, graph: &mut Graph, mut node: NodeId) -> Result<NodeId> {
        for (weight, norm) in &self.layers {
            let (scale, shift) = norm.folded()?;
            let folded = weight.as_detached_tensor().broadcast_mul(&scale.reshape((scale.elem_count(), 1, 1, 1))?)?;
            node = graph.convolution(node, folded, shift, ConvolutionConfig::dense(3));
            node = graph.push(Operation::Relu, &[node]);
        }
        Ok(node)
    }

    pub(super) fn visit(&self, prefix: &str, visitor: &mut Visitor) {
        for (index, (weight, norm)) in self.layers.iter().enumerate() {
            visitor(format!("{prefix}.conv{index}.weight"), weight, true);
            visit_norm(norm, &format!("{prefix}.bn{index}"), visitor);
        }
    }
}

/// Names the variables of a batch norm.
pub(super) fn visit_norm(norm: &BatchNorm, prefix: &str, visitor: &mut Visitor) {
    visitor(format!("{prefix}.weight"), &norm.gamma, true);
    visitor(format!("{prefix}.bias"), &norm.beta, true);
    visitor(format!("{prefix}.running_mean"), &norm.moving_mean, false);
    visitor(format!("{prefix}.running_var"), &norm.moving_variance, false);
}

/// Appends a batch norm that no convolution before it can take in: a convolution of each channel by itself, 1x1.
pub(super) fn write_norm(norm: &BatchNorm, graph: &mut Graph, node: NodeId) -> Result<NodeId> {
    let (scale, shift) = norm.folded()?;
    let channels = scale.elem_count();
    let config = ConvolutionConfig { groups: channels, ..ConvolutionConfig::dense(1) };
    Ok(graph.convolution(node, scale.reshape((channels, 1, 1, 1))?, shift, config))
}

/// A convolution with bias.
pub(super) struct Biased {
    weight: Var,
    bias: Var,
    config: ConvolutionConfig,
}

impl Biased {
    pub(super) fn forward(&self, x: &Tensor) -> Result<Tensor> {
        biased_convolution(x, &self.weight, &self.bias, self.config)
    }

    pub(super) fn write(&self, graph: &mut Graph, node: NodeId) -> Result<NodeId> {
        self.write_scaled(graph, node, 1.0)
    }

    /// Appends `factor` times the convolution.
    pub(super) fn write_scaled(&self, graph: &mut Graph, node: NodeId, factor: f64) -> Result<NodeId> {
        // Copies: the graph keeps its weights when the net is trained on.
        let scaled = |var: &Var| match factor {
            1.0 => var.as_detached_tensor().copy(),
            _ => var.as_detached_tensor() * factor,
        };
        Ok(graph.convolution(node, scaled(&self.weight)?, scaled(&self.bias)?, self.config))
    }

    pub(super) fn visit(&self, prefix: &str, visitor: &mut Visitor) {
        visitor(format!("{prefix}.weight"), &self.weight, true);
        visitor(format!("{prefix}.bias"), &self.bias, true);
    }

    pub(super) fn device(&self) -> &Device {
        self.weight.device()
    }
}

/// A transposed 2x2 convolution with stride 2, which doubles the sides.
pub(super) struct Up {
    weight: Var,
    bias: Var,
}

impl Up {
    pub(super) fn forward(&self, x: &Tensor) -> Result<Tensor> {
        biased_transposed_convolution(x, &self.weight, &self.bias, TransposedConfig::doubling())
    }

    pub(super) fn write(&self, graph: &mut Graph, node: NodeId) -> Result<NodeId> {
        let (weight, bias) = (self.weight.as_detached_tensor().copy()?, self.bias.as_detached_tensor().copy()?);
        Ok(graph.push(Operation::UpConvolution { weight, bias }, &[node]))
    }

    pub(super) fn visit(&self, prefix: &str, visitor: &mut Visitor) {
        visitor(format!("{prefix}.weight"), &self.weight, true);
        visitor(format!("{prefix}.bias"), &self.bias, true);
    }
}

/// An additive attention gate (Oktay et al. 2018, equations 1 and 2): each pixel of the skip connection is weighed by what
/// it and the deeper map hold, `sigmoid(score(relu(signal(g) + skip(x))))`.
pub(super) struct AttentionGate {
    signal: Biased,
    skip: Biased,
    score: Biased,
}

impl AttentionGate {
    /// The skip, gated by the signal, both `[N, C, H, W]`.
    pub(super) fn forward(&self, skip: &Tensor, signal: &Tensor) -> Result<Tensor> {
        let sum = add_relu(&self.signal.forward(signal)?, &self.skip.forward(skip)?)?;
        attend(skip, &sigmoid(&self.score.forward(&sum)?)?)
    }

    pub(super) fn write(&self, graph: &mut Graph, skip: NodeId, signal: NodeId) -> Result<NodeId> {
        let signal = self.signal.write(graph, signal)?;
        let from_skip = self.skip.write(graph, skip)?;
        let sum = graph.push(Operation::Add, &[signal, from_skip]);
        let sum = graph.push(Operation::Relu, &[sum]);
        let score = self.score.write(graph, sum)?;
        let attention = graph.push(Operation::Sigmoid, &[score]);
        Ok(graph.push(Operation::Multiply, &[skip, attention]))
    }

    pub(super) fn visit(&self, prefix: &str, visitor: &mut Visitor) {
        self.signal.visit(&format!("{prefix}.signal"), visitor);
        self.skip.visit(&format!("{prefix}.skip"), visitor);
        self.score.visit(&format!("{prefix}.score"), visitor);
    }
}
