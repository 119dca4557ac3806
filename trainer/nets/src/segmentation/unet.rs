//! U-Net (Ronneberger et al. 2015) with batch norm after every 3x3 convolution and zero padding, so that the masks have the
//! picture's size. The attention U-Net is the same net with a gate in every skip connection.

use candle_core::{Device, Result, Tensor};
use thorax_nn::{
    elementwise::concatenate,
    graph::{Graph, NodeId, Operation},
    pool::{PoolConfig, max_pool},
};

use super::{
    Pass, SegmentationNet, Visitor,
    blocks::{AttentionGate, Biased, DoubleConvolution, Initialiser, Up, width},
};

/// The shape of a U-Net.
#[derive(Clone, Copy, Debug, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub struct UnetConfig {
    /// Channels of the picture.
    pub channels_in: usize,
    /// Masks that come out.
    pub channels_out: usize,
    /// Channels of the first encoder block; each further one doubles them, up to 512.
    pub base_channels: usize,
    /// Encoder blocks above the bottleneck; the input's sides must be multiples of `2^blocks`.
    pub blocks: usize,
}

impl Default for UnetConfig {
    /// One grey channel in, two masks out, 16 base channels, 4 blocks.
    fn default() -> Self {
        Self { channels_in: 1, channels_out: 2, base_channels: 16, blocks: 4 }
    }
}

impl UnetConfig {
    /// The net with weights drawn from `seed`.
    ///
    /// # Errors
    /// When the device refuses the memory.
    pub fn init(self, seed: u64, device: &Device) -> Result<Unet> {
        Unet::new(self, false, seed, device)
    }
}

/// The net with its weights.
pub struct Unet {
    config: UnetConfig,
    encoder: Vec<DoubleConvolution>,
    bottleneck: DoubleConvolution,
    decoder: Vec<DecoderBlock>,
    head: Biased,
}

/// Upsampling, attention gate where the net has them, and double convolution.
struct DecoderBlock {
    up: Up,
    gate: Option<AttentionGate>,
    double: DoubleConvolution,
}

impl Unet {
    pub(super) fn new(config: UnetConfig, gated: bool, seed: u64, device: &Device) -> Result<Self> {
        let UnetConfig { channels_in, channels_out, base_channels, blocks } = config;
        let mut draw = Initialiser::new(seed, device);
        let width = |block: usize| width(base_channels, block);
        // The channels that enter a block.
        let before = |block: usize| if block == 0 { channels_in } else { width(block - 1) };
        let encoder = (0..blocks).map(|b| draw.double(before(b), width(b))).collect::<Result<_>>()?;
        let bottleneck = draw.double(before(blocks), width(blocks))?;
        let decoder = (0..blocks)
            .rev()
            .map(|b| {
                Ok(DecoderBlock {
                    up: draw.up(width(b + 1), width(b))?,
                    gate: gated.then(|| draw.gate(width(b))).transpose()?,
                    double: draw.double(2 * width(b), width(b))?,
                })
            })
            .collect::<Result<_>>()?;
        let head = draw.biased(width(0), channels_out, 1)?;
        Ok(Self { config, encoder, bottleneck, decoder, head })
    }
}

impl SegmentationNet for Unet {
    fn device(&self) -> &Device {
        self.head.device()
    }

    fn forward(&self, x: &Tensor, pass: Pass) -> Result<Vec<Tensor>> {
        let train = pass.trains();
        let mut skips = Vec::with_capacity(self.encoder.len());
        let mut x = x.clone();
        for block in &self.encoder {
            let skip = block.forward(&x, train)?;
            x = max_pool(&skip, PoolConfig::tiles(2))?;
            skips.push(skip);
        }
        x = self.bottleneck.forward(&x, train)?;
        for (block, skip) in self.decoder.iter().zip(skips.into_iter().rev()) {
            let up = block.up.forward(&x)?;
            let skip = match &block.gate {
                Some(gate) => gate.forward(&skip, &up)?,
                None => skip,
            };
            x = block.double.forward(&concatenate(&skip, &up)?, train)?;
        }
        Ok(vec![self.head.forward(&x)?])
    }

    fn graph(&self, side: usize) -> Result<(Graph, NodeId)> {
        let mut graph = Graph::new([self.config.channels_in, side, side]);
        let (mut node, mut skips) = (0, vec![]);
        for block in &self.encoder {
            let skip = block.write(&mut graph, node)?;
            node = graph.push(Operation::MaxPool(PoolConfig::tiles(2)), &[skip]);
            skips.push(skip);
        }
        node = self.bottleneck.write(&mut graph, node)?;
        for (block, skip) in self.decoder.iter().zip(skips.into_iter().rev()) {
            let up = block.up.write(&mut graph, node)?;
            let skip = match &block.gate {
                Some(gate) => gate.write(&mut graph, skip, up)?,
                None => skip,
            };
            let both = graph.push(Operation::Concatenate, &[skip, up]);
            node = block.double.write(&mut graph, both)?;
        }
        let logits = self.head.write(&mut graph, node)?;
        Ok((graph, logits))
    }

    fn visit(&self, visitor: &mut Visitor) {
        for (index, block) in self.encoder.iter().enumerate() {
            block.visit(&format!("encoder.{index}"), visitor);
        }
        self.bottleneck.visit("bottleneck", visitor);
        for (index, block) in self.decoder.iter().enumerate() {
            let prefix = format!("decoder.{index}");
            block.up.visit(&format!("{prefix}.up"), visitor);
            if let Some(gate) = &block.gate {
                gate.visit(&format!("{prefix}.gate"), visitor);
            }
            block.double.visit(&prefix, visitor);
        }
        self.head.visit("head", visitor);
    }
}
