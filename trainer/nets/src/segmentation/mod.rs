//! The nets that find infection and lungs, one a file, behind one face.
//!
//! | net | file | source |
//! |---|---|---|
//! | U-Net | [`unet`] | Ronneberger et al. 2015 |
//! | attention U-Net | [`attention_unet`] | Oktay et al. 2018 |
//! | modified attention U-Net | [`modified_attention_unet`] | the paper, section IV.B |
//! | U-Net++ | [`unet_plus_plus`] | Zhou et al. 2018 |
//! | frozen EfficientNet, trained decoder | [`efficientnet_unet`] | the paper, section IV.B |
//!
//! A [`NetConfig`] is what a run's configuration keeps; [`NetConfig::init`] makes a [`Net`] of it. Each net gives logits, one
//! channel a mask; one with several heads (deep supervision) gives several maps, all of which are trained, and its answer is their
//! mean.

pub mod attention_unet;
mod blocks;
pub mod efficientnet_unet;
pub mod modified_attention_unet;
#[cfg(test)]
mod tests;
pub mod unet;
pub mod unet_plus_plus;

use attention_unet::AttentionUnetConfig;
use candle_core::{Device, Result, Tensor, Var};
use efficientnet_unet::EfficientNetUnetConfig;
use modified_attention_unet::ModifiedAttentionUnetConfig;
use thorax_nn::graph::{Graph, NodeId, Operation};
use unet::UnetConfig;
use unet_plus_plus::UnetPlusPlusConfig;

use super::weights::Weights;

/// What the names of a frozen encoder's variables begin with.
const ENCODER: &str = "backbone.";

/// Takes a variable's name, the variable, and whether training moves it by its gradient.
pub type Visitor<'a> = dyn FnMut(String, &Var, bool) + 'a;

/// What a pass through a net is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Pass {
    /// Batch norms use the batch's statistics, and the moving ones follow; dropout drops what `seed` chooses.
    Train {
        /// Of the dropout; each step has its own.
        seed: u64,
    },
    /// Batch norms use the moving statistics; nothing is dropped.
    Infer,
}

impl Pass {
    fn trains(self) -> bool {
        matches!(self, Self::Train { .. })
    }
}

/// What every segmentation net can do.
pub trait SegmentationNet {
    /// Where the net is.
    fn device(&self) -> &Device;

    /// Logits `[N, channels_out, H, W]` of `x` `[N, channels_in, H, W]`, of each head.
    ///
    /// # Errors
    /// Sides that the net cannot halve as often as it must, another number of channels.
    fn forward(&self, x: &Tensor, pass: Pass) -> Result<Vec<Tensor>>;

    /// The inference graph for pictures of `side` x `side`, without outputs, and the node of the heads' mean logits.
    ///
    /// # Errors
    /// When the device fails.
    fn graph(&self, side: usize) -> Result<(Graph, NodeId)>;

    /// Tells every variable, in a fixed order.
    fn visit(&self, visitor: &mut Visitor);
}

/// Which net, and its shape.
#[derive(Clone, Copy, Debug, PartialEq, serde::Serialize, serde::Deserialize)]
#[serde(tag = "kind", rename_all = "kebab-case")]
#[non_exhaustive]
pub enum NetConfig {
    /// Ronneberger et al. 2015.
    Unet(UnetConfig),
    /// Oktay et al. 2018.
    AttentionUnet(AttentionUnetConfig),
    /// The paper's.
    ModifiedAttentionUnet(ModifiedAttentionUnetConfig),
    /// Zhou et al. 2018.
    UnetPlusPlus(UnetPlusPlusConfig),
    /// The paper's transfer learning.
    EfficientNet(EfficientNetUnetConfig),
}

impl NetConfig {
    /// The net with weights drawn from `seed`.
    ///
    /// # Errors
    /// When the device refuses the memory.
    pub fn init(self, seed: u64, device: &Device) -> Result<Net> {
        let net: Box<dyn SegmentationNet> = match self {
            Self::Unet(config) => Box::new(config.init(seed, device)?),
            Self::AttentionUnet(config) => Box::new(config.init(seed, device)?),
            Self::ModifiedAttentionUnet(config) => Box::new(config.init(seed, device)?),
            Self::UnetPlusPlus(config) => Box::new(config.init(seed, device)?),
            Self::EfficientNet(config) => Box::new(config.init(seed, device)?),
        };
        Ok(Net { config: self, net })
    }

    /// The shape of a net of U-Net's family.
    pub fn unet(self) -> Option<UnetConfig> {
        match self {
            Self::Unet(unet)
            | Self::AttentionUnet(AttentionUnetConfig { unet })
            | Self::ModifiedAttentionUnet(ModifiedAttentionUnetConfig { unet, .. })
            | Self::UnetPlusPlus(UnetPlusPlusConfig { unet }) => Some(unet),
            Self::EfficientNet(_) => None,
        }
    }

    /// What the sides of the pictures must be multiples of.
    pub fn side_multiple(self) -> usize {
        self.unet().map_or(efficientnet_unet::SIDE_MULTIPLE, |unet| 1 << unet.blocks)
    }

    /// In words, for a model card.
    pub fn describe(self) -> String {
        let unet = |name: &str, unet: UnetConfig| {
            format!("{name}, {} blocks, {} base channels", unet.blocks, unet.base_channels)
        };
        match self {
            Self::Unet(config) => unet("U-Net", config),
            Self::AttentionUnet(config) => unet("attention U-Net", config.unet),
            Self::ModifiedAttentionUnet(config) => {
                format!("{}, dropout {}", unet("the paper's modified attention U-Net", config.unet), config.dropout)
            }
            Self::UnetPlusPlus(config) => unet("U-Net++", config.unet),
            Self::EfficientNet(config) => {
                format!("{} (frozen) with a decoder of {} base channels", config.backbone, config.base_channels)
            }
        }
    }
}

/// A segmentation net with its weights.
pub struct Net {
    config: NetConfig,
    net: Box<dyn SegmentationNet>,
}

impl Net {
    /// Which net it is.
    pub fn config(&self) -> NetConfig {
        self.config
    }

    /// Where it is.
    pub fn device(&self) -> &Device {
        self.net.device()
    }

    /// Logits of each head; see [`SegmentationNet::forward`].
    ///
    /// # Errors
    /// As there.
    pub fn forward(&self, x: &Tensor, pass: Pass) -> Result<Vec<Tensor>> {
        self.net.forward(x, pass)
    }

    /// The net's answer: the mean of its heads' logits, `[N, channels_out, H, W]`.
    ///
    /// # Errors
    /// As [`SegmentationNet::forward`].
    pub fn infer(&self, x: &Tensor) -> Result<Tensor> {
        let heads = self.net.forward(x, Pass::Infer)?;
        let count = heads.len() as f64;
        let sum = heads.into_iter().map(Ok).reduce(|sum, head| sum? + head?);
        sum.unwrap_or_else(|| candle_core::bail!("the net has no head"))? / count
    }

    /// The inference graph for pictures of `side` x `side`: output `masks`, probabilities `[N, channels_out, side, side]`.
    ///
    /// # Errors
    /// When the device fails.
    pub fn to_graph(&self, side: usize) -> Result<Graph> {
        self.to_graph_at(side, &[])
    }

    /// The same with a probability for each mask, `[channels_out]`, from which on a pixel belongs to it: the logits are moved so that
    /// this becomes 0.5, and nobody behind the graph has to know of it. None for 0.5.
    ///
    /// # Errors
    /// When the device fails.
    pub fn to_graph_at(&self, side: usize, thresholds: &[f32]) -> Result<Graph> {
        let (mut graph, mut logits) = self.net.graph(side)?;
        if thresholds.iter().any(|&threshold| threshold != 0.5) {
            let shift: Vec<f32> = thresholds.iter().map(|p| -(p / (1.0 - p)).ln()).collect();
            let shift = Tensor::from_vec(shift, thresholds.len(), self.net.device())?;
            logits = graph.scale_and_shift(logits, &shift.ones_like()?, shift)?;
        }
        let masks = graph.push(Operation::Sigmoid, &[logits]);
        graph.output("masks", masks);
        Ok(graph)
    }

    /// What the optimizer moves, by name.
    pub fn trainable(&self) -> Vec<(String, Var)> {
        let mut found = vec![];
        self.net.visit(&mut |name, var, trainable| {
            if trainable {
                found.push((name, var.clone()));
            }
        });
        found
    }

    /// Everything a checkpoint needs, moving statistics included, by name.
    pub fn variables(&self) -> Vec<(String, Var)> {
        let mut found = vec![];
        self.net.visit(&mut |name, var, _| found.push((name, var.clone())));
        found
    }

    /// Puts the weights of a backbone into the frozen encoder.
    ///
    /// # Errors
    /// A net without an encoder of its own, a weight that is missing or misshapen.
    pub fn set_encoder(&self, weights: &Weights) -> Result<()> {
        let mut set = 0;
        for (name, var) in self.variables() {
            let Some(name) = name.strip_prefix(ENCODER) else { continue };
            let weight =
                weights.get(name).ok_or_else(|| candle_core::Error::Msg(format!("the weights lack {name}")))?;
            var.set(&weight.to_device(var.device())?)?;
            set += 1;
        }
        if set == 0 {
            candle_core::bail!("{}: the net has no frozen encoder", self.config.describe());
        }
        Ok(())
    }
}
