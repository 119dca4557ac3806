//! The paper's modified attention U-Net (section IV.B): 4 or 6 encoder blocks, each of convolutions with ReLU, max pooling, batch
//! norm and dropout; decoder blocks of batch norm, convolutions and ReLU; an attention gate in every skip connection.
//!
//! Where the text is silent: two convolutions a block, as in U-Net; the skip leaves before the pooling, so that it has the
//! size of the decoder's map; the bottleneck is a decoder block. The norms stand apart from the convolutions, so at inference they
//! are convolutions of each channel by itself.

use candle_core::{Device, Result, Tensor};
use thorax_nn::{
    batch_norm::BatchNorm,
    dropout::dropout,
    elementwise::{concatenate, relu},
    graph::{Graph, NodeId, Operation},
    pool::{PoolConfig, max_pool},
    seeded,
};

use super::{
    Pass, SegmentationNet, Visitor,
    blocks::{AttentionGate, Biased, Initialiser, Up, visit_norm, width, write_norm},
    unet::UnetConfig,
};

/// The shape of the net.
#[derive(Clone, Copy, Debug, PartialEq, serde::Serialize, serde::Deserialize)]
pub struct ModifiedAttentionUnetConfig {
    /// Channels and blocks; the paper's "block size" is the number of encoder blocks, 4 or 6.
    #[serde(flatten)]
    pub unet: UnetConfig,
    /// Probability with which an encoder block drops a value.
    pub dropout: f64,
}

impl Default for ModifiedAttentionUnetConfig {
    /// The paper does not tell how much is dropped; 0.1.
    fn default() -> Self {
        Self { unet: UnetConfig::default(), dropout: 0.1 }
    }
}

impl ModifiedAttentionUnetConfig {
    /// The net with weights drawn from `seed`.
    ///
    /// # Errors
    /// When the device refuses the memory.
    pub fn init(self, seed: u64, device: &Device) -> Result<ModifiedAttentionUnet> {
        let UnetConfig { channels_in, channels_out, base_channels, blocks } = self.unet;
        let mut draw = Initialiser::new(seed, device);
        let width = |block: usize| width(base_channels, block);
        let before = |block: usize| if block == 0 { channels_in } else { width(block - 1) };
        let encoder = (0..blocks)
            .map(|b| {
                Ok(EncoderBlock {
                    convolutions: Convolutions::new(&mut draw, before(b), width(b))?,
                    norm: BatchNorm::new(width(b), device)?,
                })
            })
            .collect::<Result<_>>()?;
        let bottleneck = NormedBlock::new(&mut draw, before(blocks), width(blocks))?;
        let decoder = (0..blocks)
            .rev()
            .map(|b| {
                Ok(DecoderBlock {
                    up: draw.up(width(b + 1), width(b))?,
                    gate: draw.gate(width(b))?,
                    normed: NormedBlock::new(&mut draw, 2 * width(b), width(b))?,
                })
            })
            .collect::<Result<_>>()?;
        let head = draw.biased(width(0), channels_out, 1)?;
        Ok(ModifiedAttentionUnet { config: self, encoder, bottleneck, decoder, head })
    }
}

/// The net with its weights.
pub struct ModifiedAttentionUnet {
    config: ModifiedAttentionUnetConfig,
    encoder: Vec<EncoderBlock>,
    bottleneck: NormedBlock,
    decoder: Vec<DecoderBlock>,
    head: Biased,
}

/// Twice: 3x3 convolution, ReLU.
struct Convolutions([Biased; 2]);

/// Convolutions, then (after the pooling, where the skip has left) batch norm and dropout.
struct EncoderBlock {
    convolutions: Convolutions,
    norm: BatchNorm,
}

/// Batch norm, then convolutions.
struct NormedBlock {
    norm: BatchNorm,
    convolutions: Convolutions,
}

struct DecoderBlock {
    up: Up,
    gate: AttentionGate,
    normed: NormedBlock,
}

fn normalise(norm: &BatchNorm, x: &Tensor, pass: Pass) -> Result<Tensor> {
    if pass.trains() { norm.train(x, false) } else { norm.infer(x, false) }
}

impl Convolutions {
    fn new(draw: &mut Initialiser, channels_in: usize, channels_out: usize) -> Result<Self> {
        Ok(Self([draw.biased(channels_in, channels_out, 3)?, draw.biased(channels_out, channels_out, 3)?]))
    }

    fn forward(&self, x: &Tensor) -> Result<Tensor> {
        self.0.iter().try_fold(x.clone(), |x, convolution| relu(&convolution.forward(&x)?))
    }

    fn write(&self, graph: &mut Graph, node: NodeId) -> Result<NodeId> {
        self.0.iter().try_fold(node, |node, convolution| {
            let node = convolution.write(graph, node)?;
            Ok(graph.push(Operation::Relu, &[node]))
        })
    }

    fn visit(&self, prefix: &str, visitor: &mut Visitor) {
        for (index, convolution) in self.0.iter().enumerate() {
            convolution.visit(&format!("{prefix}.conv{index}"), visitor);
        }
    }
}

impl NormedBlock {
    fn new(draw: &mut Initialiser, channels_in: usize, channels_out: usize) -> Result<Self> {
        let norm = BatchNorm::new(channels_in, draw.device)?;
        Ok(Self { norm, convolutions: Convolutions::new(draw, channels_in, channels_out)? })
    }

    fn forward(&self, x: &Tensor, pass: Pass) -> Result<Tensor> {
        self.convolutions.forward(&normalise(&self.norm, x, pass)?)
    }

    fn write(&self, graph: &mut Graph, node: NodeId) -> Result<NodeId> {
        let node = write_norm(&self.norm, graph, node)?;
        self.convolutions.write(graph, node)
    }

    fn visit(&self, prefix: &str, visitor: &mut Visitor) {
        visit_norm(&self.norm, &format!("{prefix}.bn"), visitor);
        self.convolutions.visit(prefix, visitor);
    }
}

impl SegmentationNet for ModifiedAttentionUnet {
    fn device(&self) -> &Device {
        self.head.device()
    }

    fn forward(&self, x: &Tensor, pass: Pass) -> Result<Vec<Tensor>> {
        let mut skips = Vec::with_capacity(self.encoder.len());
        let mut x = x.clone();
        for (index, block) in self.encoder.iter().enumerate() {
            let skip = block.convolutions.forward(&x)?;
            x = normalise(&block.norm, &max_pool(&skip, PoolConfig::tiles(2))?, pass)?;
            if let Pass::Train { seed } = pass {
                x = dropout(&x, self.config.dropout, seeded::derive(seed, &[index as u64]))?;
            }
            skips.push(skip);
        }
        x = self.bottleneck.forward(&x, pass)?;
        for (block, skip) in self.decoder.iter().zip(skips.into_iter().rev()) {
            let up = block.up.forward(&x)?;
            x = block.normed.forward(&concatenate(&block.gate.forward(&skip, &up)?, &up)?, pass)?;
        }
        Ok(vec![self.head.forward(&x)?])
    }

    fn graph(&self, side: usize) -> Result<(Graph, NodeId)> {
        let mut graph = Graph::new([self.config.unet.channels_in, side, side]);
        let (mut node, mut skips) = (0, vec![]);
        for block in &self.encoder {
            let skip = block.convolutions.write(&mut graph, node)?;
            node = graph.push(Operation::MaxPool(PoolConfig::tiles(2)), &[skip]);
            node = write_norm(&block.norm, &mut graph, node)?;
            skips.push(skip);
        }
        node = self.bottleneck.write(&mut graph, node)?;
        for (block, skip) in self.decoder.iter().zip(skips.into_iter().rev()) {
            let up = block.up.write(&mut graph, node)?;
            let attended = block.gate.write(&mut graph, skip, up)?;
            let both = graph.push(Operation::Concatenate, &[attended, up]);
            node = block.normed.write(&mut graph, both)?;
        }
        let logits = self.head.write(&mut graph, node)?;
        Ok((graph, logits))
    }

    fn visit(&self, visitor: &mut Visitor) {
        for (index, block) in self.encoder.iter().enumerate() {
            let prefix = format!("encoder.{index}");
            block.convolutions.visit(&prefix, visitor);
            visit_norm(&block.norm, &format!("{prefix}.bn"), visitor);
        }
        self.bottleneck.visit("bottleneck", visitor);
        for (index, block) in self.decoder.iter().enumerate() {
            let prefix = format!("decoder.{index}");
            block.up.visit(&format!("{prefix}.up"), visitor);
            block.gate.visit(&format!("{prefix}.gate"), visitor);
            block.normed.visit(&prefix, visitor);
        }
        self.head.visit("head", visitor);
    }
}
