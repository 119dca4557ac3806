//! Attention U-Net (Ronneberger et al. 2015; Oktay et al. 2018): additive attention gates in every skip connection, batch
//! norm after every 3x3 convolution (paper, section IV.B).

use candle_core::{DType, Device, Result, Tensor, Var};

use crate::nn::{
    batch_norm::BatchNorm,
    convolution::{
        ConvolutionConfig, TransposedConfig, biased_convolution, biased_transposed_convolution, convolution,
    },
    elementwise::{add_relu, attend, concatenate, sigmoid},
    graph::{Graph, NodeId, Operation},
    pool::{PoolConfig, max_pool},
    seeded,
};

/// The shape of the net.
#[derive(Clone, Copy, Debug, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub struct AttentionUnetConfig {
    /// Channels of the picture.
    pub channels_in: usize,
    /// Masks that come out.
    pub channels_out: usize,
    /// Channels of the first encoder block; each further one doubles them.
    pub base_channels: usize,
    /// Encoder blocks above the bottleneck; the input's sides must be multiples of `2^blocks`.
    pub blocks: usize,
}

impl Default for AttentionUnetConfig {
    /// One grey channel in, two masks out, 16 base channels, 4 blocks.
    fn default() -> Self {
        Self { channels_in: 1, channels_out: 2, base_channels: 16, blocks: 4 }
    }
}

/// The net with its weights.
pub struct AttentionUnet {
    config: AttentionUnetConfig,
    encoder: Vec<DoubleConvolution>,
    bottleneck: DoubleConvolution,
    decoder: Vec<DecoderBlock>,
    head: Pointwise,
}

/// Twice: 3x3 convolution, batch norm, ReLU.
struct DoubleConvolution {
    layers: [(Var, BatchNorm); 2],
}

/// Upsampling, attention gate and double convolution.
struct DecoderBlock {
    up_weight: Var,
    up_bias: Var,
    gate_signal: Pointwise,
    gate_skip: Pointwise,
    gate_score: Pointwise,
    double: DoubleConvolution,
}

/// A 1x1 convolution with bias.
struct Pointwise {
    weight: Var,
    bias: Var,
}

/// Draws weights, a stream of the seed for each.
struct Initialiser<'a> {
    seed: u64,
    drawn: u64,
    device: &'a Device,
}

impl Initialiser<'_> {
    /// He initialisation: normal with variance 2 / fan-in.
    fn weight(&mut self, shape: (usize, usize, usize, usize), fan_in: usize) -> Result<Var> {
        self.drawn += 1;
        let std = (2.0 / fan_in as f32).sqrt();
        let seed = self.seed ^ self.drawn.wrapping_mul(0x9E37_79B9_7F4A_7C15);
        Var::from_tensor(&seeded::normal(shape, std, seed, self.device)?)
    }

    fn double(&mut self, channels_in: usize, channels_out: usize) -> Result<DoubleConvolution> {
        let mut layer = |channels_in: usize| {
            let weight = self.weight((channels_out, channels_in, 3, 3), channels_in * 9)?;
            Ok::<_, candle_core::Error>((weight, BatchNorm::new(channels_out, self.device)?))
        };
        Ok(DoubleConvolution { layers: [layer(channels_in)?, layer(channels_out)?] })
    }

    fn pointwise(&mut self, channels_in: usize, channels_out: usize) -> Result<Pointwise> {
        Ok(Pointwise {
            weight: self.weight((channels_out, channels_in, 1, 1), channels_in)?,
            bias: Var::zeros(channels_out, DType::F32, self.device)?,
        })
    }
}

impl AttentionUnetConfig {
    /// The net with weights drawn from `seed`.
    ///
    /// # Errors
    /// When the device refuses the memory.
    pub fn init(self, seed: u64, device: &Device) -> Result<AttentionUnet> {
        let mut draw = Initialiser { seed, drawn: 0, device };
        let width = |block: usize| self.base_channels << block;
        let encoder = (0..self.blocks)
            .map(|b| draw.double(if b == 0 { self.channels_in } else { width(b - 1) }, width(b)))
            .collect::<Result<Vec<_>>>()?;
        let bottleneck =
            draw.double(if self.blocks == 0 { self.channels_in } else { width(self.blocks - 1) }, width(self.blocks))?;
        let decoder = (0..self.blocks)
            .rev()
            .map(|b| {
                let (deep, here) = (width(b + 1), width(b));
                Ok(DecoderBlock {
                    up_weight: draw.weight((deep, here, 2, 2), deep)?,
                    up_bias: Var::zeros(here, DType::F32, device)?,
                    gate_signal: draw.pointwise(here, (here / 2).max(1))?,
                    gate_skip: draw.pointwise(here, (here / 2).max(1))?,
                    gate_score: draw.pointwise((here / 2).max(1), 1)?,
                    double: draw.double(2 * here, here)?,
                })
            })
            .collect::<Result<Vec<_>>>()?;
        let head = draw.pointwise(self.base_channels, self.channels_out)?;
        Ok(AttentionUnet { config: self, encoder, bottleneck, decoder, head })
    }
}

impl DoubleConvolution {
    fn forward(&self, x: &Tensor, train: bool) -> Result<Tensor> {
        self.layers.iter().try_fold(x.clone(), |x, (weight, norm)| {
            let config = ConvolutionConfig::dense(3);
            if train {
                norm.train_convolved(&x, weight, config, true)
            } else {
                norm.infer(&convolution(&x, weight, config)?, true)
            }
        })
    }

    fn write(&self, graph: &mut Graph, mut node: NodeId) -> Result<NodeId> {
        for (weight, norm) in &self.layers {
            let (scale, shift) = norm.folded()?;
            let folded = weight.as_detached_tensor().broadcast_mul(&scale.reshape((scale.elem_count(), 1, 1, 1))?)?;
            node = graph.convolution(node, folded, shift, ConvolutionConfig::dense(3));
            node = graph.push(Operation::Relu, &[node]);
        }
        Ok(node)
    }

    fn visit(&self, prefix: &str, visitor: &mut impl FnMut(String, &Var, bool)) {
        for (index, (weight, norm)) in self.layers.iter().enumerate() {
            visitor(format!("{prefix}.conv{index}.weight"), weight, true);
            visitor(format!("{prefix}.bn{index}.weight"), &norm.gamma, true);
            visitor(format!("{prefix}.bn{index}.bias"), &norm.beta, true);
            visitor(format!("{prefix}.bn{index}.running_mean"), &norm.moving_mean, false);
            visitor(format!("{prefix}.bn{index}.running_var"), &norm.moving_variance, false);
        }
    }
}

impl Pointwise {
    fn forward(&self, x: &Tensor) -> Result<Tensor> {
        biased_convolution(x, &self.weight, &self.bias, ConvolutionConfig::dense(1))
    }

    fn write(&self, graph: &mut Graph, node: NodeId) -> Result<NodeId> {
        // Copies: the graph keeps its weights when the net is trained on.
        let (weight, bias) = (self.weight.as_detached_tensor().copy()?, self.bias.as_detached_tensor().copy()?);
        Ok(graph.convolution(node, weight, bias, ConvolutionConfig::dense(1)))
    }

    fn visit(&self, prefix: &str, visitor: &mut impl FnMut(String, &Var, bool)) {
        visitor(format!("{prefix}.weight"), &self.weight, true);
        visitor(format!("{prefix}.bias"), &self.bias, true);
    }
}

impl AttentionUnet {
    /// Where the net is.
    pub fn device(&self) -> &Device {
        self.head.weight.device()
    }

    /// The net's shape.
    pub fn config(&self) -> AttentionUnetConfig {
        self.config
    }

    /// Logits `[N, channels_out, H, W]` of `x` `[N, channels_in, H, W]`; `train` normalises with the batch's statistics.
    ///
    /// # Errors
    /// Sides that are not multiples of `2^blocks`, another number of channels.
    pub fn forward(&self, x: &Tensor, train: bool) -> Result<Tensor> {
        let mut skips = Vec::with_capacity(self.encoder.len());
        let mut x = x.clone();
        for block in &self.encoder {
            let skip = block.forward(&x, train)?;
            x = max_pool(&skip, PoolConfig::tiles(2))?;
            skips.push(skip);
        }
        x = self.bottleneck.forward(&x, train)?;
        for (block, skip) in self.decoder.iter().zip(skips.into_iter().rev()) {
            let up = biased_transposed_convolution(&x, &block.up_weight, &block.up_bias, TransposedConfig::doubling())?;
            let sum = add_relu(&block.gate_signal.forward(&up)?, &block.gate_skip.forward(&skip)?)?;
            let attention = sigmoid(&block.gate_score.forward(&sum)?)?;
            let attended = attend(&skip, &attention)?;
            x = block.double.forward(&concatenate(&attended, &up)?, train)?;
        }
        self.head.forward(&x)
    }

    /// The inference graph for pictures of `side` x `side`: output `masks`, probabilities `[1, channels_out, side, side]`.
    ///
    /// # Errors
    /// When the device fails.
    pub fn to_graph(&self, side: usize) -> Result<Graph> {
        let mut graph = Graph::new([self.config.channels_in, side, side]);
        let mut node = 0;
        let mut skips = vec![];
        for block in &self.encoder {
            let skip = block.write(&mut graph, node)?;
            node = graph.push(Operation::MaxPool(PoolConfig::tiles(2)), &[skip]);
            skips.push(skip);
        }
        node = self.bottleneck.write(&mut graph, node)?;
        for (block, skip) in self.decoder.iter().zip(skips.into_iter().rev()) {
            let weight = block.up_weight.as_detached_tensor().copy()?;
            let bias = block.up_bias.as_detached_tensor().copy()?;
            let up = graph.push(Operation::UpConvolution { weight, bias }, &[node]);
            let signal = block.gate_signal.write(&mut graph, up)?;
            let from_skip = block.gate_skip.write(&mut graph, skip)?;
            let sum = graph.push(Operation::Add, &[signal, from_skip]);
            let sum = graph.push(Operation::Relu, &[sum]);
            let score = block.gate_score.write(&mut graph, sum)?;
            let attention = graph.push(Operation::Sigmoid, &[score]);
            let attended = graph.push(Operation::Multiply, &[skip, attention]);
            let both = graph.push(Operation::Concatenate, &[attended, up]);
            node = block.double.write(&mut graph, both)?;
        }
        let logits = self.head.write(&mut graph, node)?;
        let masks = graph.push(Operation::Sigmoid, &[logits]);
        graph.output("masks", masks);
        Ok(graph)
    }

    fn visit(&self, visitor: &mut impl FnMut(String, &Var, bool)) {
        for (index, block) in self.encoder.iter().enumerate() {
            block.visit(&format!("encoder.{index}"), visitor);
        }
        self.bottleneck.visit("bottleneck", visitor);
        for (index, block) in self.decoder.iter().enumerate() {
            let prefix = format!("decoder.{index}");
            visitor(format!("{prefix}.up.weight"), &block.up_weight, true);
            visitor(format!("{prefix}.up.bias"), &block.up_bias, true);
            block.gate_signal.visit(&format!("{prefix}.gate.signal"), visitor);
            block.gate_skip.visit(&format!("{prefix}.gate.skip"), visitor);
            block.gate_score.visit(&format!("{prefix}.gate.score"), visitor);
            block.double.visit(&prefix, visitor);
        }
        self.head.visit("head", visitor);
    }

    /// What the optimizer moves, by name.
    pub fn trainable(&self) -> Vec<(String, Var)> {
        let mut found = vec![];
        self.visit(&mut |name, var, trainable| {
            if trainable {
                found.push((name, var.clone()));
            }
        });
        found
    }

    /// Everything a checkpoint needs, moving statistics included, by name.
    pub fn variables(&self) -> Vec<(String, Var)> {
        let mut found = vec![];
        self.visit(&mut |name, var, _| found.push((name, var.clone())));
        found
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[test]
    fn the_graph_computes_what_the_net_computes() {
        let device = Device::Cpu;
        let config = AttentionUnetConfig { channels_in: 1, channels_out: 2, base_channels: 4, blocks: 2 };
        let net = config.init(7, &device).unwrap();
        let x = seeded::normal((2, 1, 16, 16), 1.0, 8, &device).unwrap();
        // A few training passes move the moving statistics away from their start, so that folding is really tested.
        for _ in 0..3 {
            net.forward(&x, true).unwrap();
        }
        let from_net = sigmoid(&net.forward(&x, false).unwrap()).unwrap();
        let from_graph = net.to_graph(16).unwrap().run(&x).unwrap().remove(0);
        let worst: f32 =
            (from_net - from_graph).unwrap().abs().unwrap().flatten_all().unwrap().max(0).unwrap().to_scalar().unwrap();
        assert!(worst < 1e-5, "{worst}");
    }

    #[test]
    fn every_trainable_variable_gets_a_gradient() {
        let device = Device::Cpu;
        let net = AttentionUnetConfig { channels_in: 1, channels_out: 2, base_channels: 4, blocks: 2 }
            .init(1, &device)
            .unwrap();
        let x = seeded::normal((2, 1, 16, 16), 1.0, 2, &device).unwrap();
        let gradients = net.forward(&x, true).unwrap().sqr().unwrap().sum_all().unwrap().backward().unwrap();
        for (name, var) in net.trainable() {
            assert!(gradients.get(&var).is_some(), "{name}");
        }
    }

    #[test]
    fn the_seed_decides_the_weights() {
        let draw = |seed| {
            AttentionUnetConfig::default()
                .init(seed, &Device::Cpu)
                .unwrap()
                .head
                .weight
                .flatten_all()
                .unwrap()
                .to_vec1::<f32>()
                .unwrap()
        };
        assert_eq!(draw(1), draw(1));
        assert_ne!(draw(1), draw(2));
    }
}
