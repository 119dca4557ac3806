//! A frozen EfficientNet with a trained decoder (paper, section IV.B, EfficientNet-B0 to B7; Lite0 to 2 as well): the last
//! layer is taken off, and from the features a U-Net's decoder climbs back over the encoder's maps.
//!
//! The encoder's batch norms use their moving statistics, and no gradient enters it. Its weights belong to the checkpoint all
//! the same, so that a run's folder is complete.

use candle_core::{Device, Result, Tensor};
use thorax_nn::{
    elementwise::concatenate,
    graph::{Graph, NodeId, Operation},
};

use super::{
    Pass, SegmentationNet, Visitor,
    blocks::{Biased, DoubleConvolution, Initialiser, Up},
};
use crate::{
    Backbone, Layout,
    network::{Mode, Network},
    weights,
};

/// The encoder's maps that the decoder passes on its way up, deepest first.
const SKIPS: [&str; 4] = ["stride16", "stride8", "stride4", "stride2"];

/// The encoder halves a picture five times.
pub const SIDE_MULTIPLE: usize = 32;

/// The name of the deepest map.
const FEATURES: &str = "features";

/// The shape of the net.
#[derive(Clone, Copy, Debug, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub struct EfficientNetUnetConfig {
    /// The encoder; it takes pictures of three channels.
    pub backbone: Backbone,
    /// Whose encoder: TensorFlow's and PyTorch's differ at the borders.
    pub layout: Layout,
    /// Masks that come out.
    pub channels_out: usize,
    /// Channels of the last decoder block, at the picture's size; each deeper one has twice as many.
    pub base_channels: usize,
}

impl Default for EfficientNetUnetConfig {
    /// EfficientNet-Lite0 as timm has it, two masks, 16 channels.
    fn default() -> Self {
        Self { backbone: Backbone::EfficientNetLite(0), layout: Layout::Timm, channels_out: 2, base_channels: 16 }
    }
}

impl EfficientNetUnetConfig {
    /// The net with weights drawn from `seed`, the encoder's too: published ones are put in their place by
    /// [`Net::set_encoder`](super::Net::set_encoder).
    ///
    /// # Errors
    /// When the device refuses the memory.
    pub fn init(self, seed: u64, device: &Device) -> Result<EfficientNetUnet> {
        let architecture = self.backbone.architecture(self.layout);
        let channels = |name: &str| {
            let map = architecture.maps().iter().find(|(map, _)| *map == name);
            map.map(|&(_, step)| architecture.channels(step))
                .ok_or_else(|| candle_core::Error::Msg(format!("{}: the net has no map {name}", self.backbone)))
        };
        let mut draw = Initialiser::new(seed, device);
        let mut deep = channels(FEATURES)?;
        let mut decoder = vec![];
        for (index, skip) in SKIPS.into_iter().map(Some).chain([None]).enumerate() {
            let here = self.base_channels << (SKIPS.len() - index);
            let joined = here + skip.map_or(Ok(0), channels)?;
            decoder.push(DecoderBlock { up: draw.up(deep, here)?, double: draw.double(joined, here)? });
            deep = here;
        }
        let head = draw.biased(deep, self.channels_out, 1)?;
        let drawn = weights::drawn(&architecture, seed, device)?;
        Ok(EfficientNetUnet { encoder: Network::new(architecture, drawn)?, decoder, head })
    }
}

/// The net with its weights.
pub struct EfficientNetUnet {
    encoder: Network,
    decoder: Vec<DecoderBlock>,
    head: Biased,
}

struct DecoderBlock {
    up: Up,
    double: DoubleConvolution,
}

impl SegmentationNet for EfficientNetUnet {
    fn device(&self) -> &Device {
        self.head.device()
    }

    fn forward(&self, x: &Tensor, pass: Pass) -> Result<Vec<Tensor>> {
        let mut maps = self.encoder.forward(x, Mode::Frozen)?;
        let mut take = |name: &str| {
            maps.remove(name).ok_or_else(|| candle_core::Error::Msg(format!("the encoder has no map {name}")))
        };
        let mut x = take(FEATURES)?;
        for (index, block) in self.decoder.iter().enumerate() {
            let mut up = block.up.forward(&x)?;
            if let Some(skip) = SKIPS.get(index) {
                up = concatenate(&take(skip)?, &up)?;
            }
            x = block.double.forward(&up, pass.trains())?;
        }
        Ok(vec![self.head.forward(&x)?])
    }

    fn graph(&self, side: usize) -> Result<(Graph, NodeId)> {
        let (mut graph, maps) = self.encoder.architecture().graph(self.encoder.weights()?, side)?;
        graph.outputs.clear();
        let find = |name: &str| {
            let map = maps.iter().find(|(map, _)| *map == name);
            map.map(|&(_, node)| node).ok_or_else(|| candle_core::Error::Msg(format!("the encoder has no map {name}")))
        };
        let mut node = find(FEATURES)?;
        for (index, block) in self.decoder.iter().enumerate() {
            node = block.up.write(&mut graph, node)?;
            if let Some(skip) = SKIPS.get(index) {
                node = graph.push(Operation::Concatenate, &[find(skip)?, node]);
            }
            node = block.double.write(&mut graph, node)?;
        }
        let logits = self.head.write(&mut graph, node)?;
        Ok((graph, logits))
    }

    fn visit(&self, visitor: &mut Visitor) {
        for (name, var) in self.encoder.variables() {
            visitor(format!("{}{name}", super::ENCODER), &var, false);
        }
        for (index, block) in self.decoder.iter().enumerate() {
            let prefix = format!("decoder.{index}");
            block.up.visit(&format!("{prefix}.up"), visitor);
            block.double.visit(&prefix, visitor);
        }
        self.head.visit("head", visitor);
    }
}
