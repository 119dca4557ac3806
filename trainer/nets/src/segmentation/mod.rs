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
//! A [`NetConfig`] is what a run's configuration keeps; each net is told once ([`NetConfig::architecture`]), and
//! [`NetConfig::init`] makes a [`Net`] of it. Each gives logits, one
//! channel a mask; one with several heads (deep supervision) gives several maps, all of which are trained, and its answer is their
//! mean.

pub mod attention_unet;
pub mod efficientnet_unet;
pub mod modified_attention_unet;
mod parts;
#[cfg(test)]
mod tests;
pub mod unet;
pub mod unet_plus_plus;

use attention_unet::AttentionUnetConfig;
use candle_core::{Device, Result, Tensor, Var};
use efficientnet_unet::{ENCODER, EfficientNetUnetConfig};
use modified_attention_unet::ModifiedAttentionUnetConfig;
use thorax_nn::graph::{Graph, Operation};
use unet::UnetConfig;
use unet_plus_plus::UnetPlusPlusConfig;

pub use crate::network::Pass;
use crate::{
    architecture::{Architecture, Weights},
    network::Network,
    weights,
};

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
    /// The net.
    ///
    /// # Errors
    /// A shape that the net cannot have.
    pub fn architecture(self) -> Result<Architecture> {
        match self {
            Self::Unet(config) => Ok(config.architecture()),
            Self::AttentionUnet(config) => Ok(config.architecture()),
            Self::ModifiedAttentionUnet(config) => Ok(config.architecture()),
            Self::UnetPlusPlus(config) => config.architecture(),
            Self::EfficientNet(config) => config.architecture(),
        }
    }

    /// The net with weights drawn from `seed`, a frozen encoder's too: published ones are put in their place by
    /// [`Net::set_encoder`].
    ///
    /// # Errors
    /// As [`Self::architecture`]; when the device refuses the memory.
    pub fn init(self, seed: u64, device: &Device) -> Result<Net> {
        let architecture = self.architecture()?;
        let mut start = weights::drawn_in_order(&architecture, seed, device)?;
        if let Self::EfficientNet(config) = self {
            let encoder = weights::drawn(&config.encoder(), seed, device)?;
            start.extend(encoder.into_iter().map(|(name, weight)| (format!("{ENCODER}{name}"), weight)));
        }
        Ok(Net { config: self, network: Network::new(architecture, start)? })
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
    network: Network,
}

impl Net {
    /// Which net it is.
    pub fn config(&self) -> NetConfig {
        self.config
    }

    /// Where it is.
    pub fn device(&self) -> &Device {
        self.network.device()
    }

    /// Logits `[N, channels_out, H, W]` of `x` `[N, channels_in, H, W]`, of each head.
    ///
    /// # Errors
    /// Sides that the net cannot halve as often as it must, another number of channels.
    pub fn forward(&self, x: &Tensor, pass: Pass) -> Result<Vec<Tensor>> {
        let logits = self.network.forward(x, pass)?.remove(parts::LOGITS);
        logits.ok_or_else(|| candle_core::Error::Msg("the net gives no logits".into()))
    }

    /// The net's answer: the mean of its heads' logits, `[N, channels_out, H, W]`.
    ///
    /// # Errors
    /// As [`Self::forward`].
    pub fn infer(&self, x: &Tensor) -> Result<Tensor> {
        let heads = self.forward(x, Pass::Infer)?;
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
        let (mut graph, outputs) = self.network.architecture().graph(self.network.weights()?, side)?;
        graph.outputs.clear();
        let [(_, mut logits)] = outputs[..] else { candle_core::bail!("the net has {} outputs", outputs.len()) };
        if thresholds.iter().any(|&threshold| threshold != 0.5) {
            let shift: Vec<f32> = thresholds.iter().map(|p| -(p / (1.0 - p)).ln()).collect();
            let shift = Tensor::from_vec(shift, thresholds.len(), self.network.device())?;
            logits = graph.scale_and_shift(logits, &shift.ones_like()?, shift)?;
        }
        let masks = graph.push(Operation::Sigmoid, &[logits]);
        graph.output("masks", masks);
        Ok(graph)
    }

    /// What the optimizer moves, by name.
    pub fn trainable(&self) -> Vec<(String, Var)> {
        self.network.trainable()
    }

    /// Everything a checkpoint needs, moving statistics included, by name.
    pub fn variables(&self) -> Vec<(String, Var)> {
        self.network.variables()
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
