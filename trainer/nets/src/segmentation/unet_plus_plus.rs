//! U-Net++ (Zhou et al. 2018), which the paper calls U-Net+: nested, dense skip connections, and a head on each of the full-size maps.
//!
//! Node `(i, j)` has the size of encoder block `i`; it takes all nodes `(i, 0..j)` and the upsampled node `(i + 1, j - 1)`. All heads
//! `(0, 1..=blocks)` are trained (deep supervision), and the net's answer is the mean of their logits.

use super::{
    parts::{Builder, LOGITS, width},
    unet::UnetConfig,
};
use crate::architecture::{Activation, Architecture, Kind, StepId};

/// The shape of the net.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub struct UnetPlusPlusConfig {
    /// Channels and blocks; at least 1 block.
    #[serde(flatten)]
    pub unet: UnetConfig,
}

impl UnetPlusPlusConfig {
    /// The net.
    ///
    /// # Errors
    /// No blocks.
    pub fn architecture(self) -> candle_core::Result<Architecture> {
        let UnetConfig { channels_in, channels_out, base_channels, blocks } = self.unet;
        if blocks == 0 {
            candle_core::bail!("U-Net++ has no head without a block");
        }
        let width = |block: usize| width(base_channels, block);
        let mut net = Builder::new(channels_in);
        // Of each size: all nodes so far, and the last of them.
        let mut dense: Vec<StepId> = vec![];
        for i in 0..=blocks {
            let step = dense.last().map_or(0, |&above| net.down(above));
            dense.push(net.double(&format!("encoder.{i}"), step, width(i)));
        }
        let mut last = dense.clone();
        let mut heads = vec![];
        for j in 1..=blocks {
            let mut next = vec![];
            for i in 0..=blocks - j {
                let prefix = format!("nested.{i}.{j}");
                let up = net.up(&format!("{prefix}.up"), last[i + 1], width(i));
                let both = net.join(dense[i], up);
                let made = net.double(&prefix, both, width(i));
                dense[i] = net.join(dense[i], made);
                next.push(made);
            }
            let head = net.biased(&format!("head.{}", j - 1), next[0], channels_out, 1, Activation::None);
            // Checkpoints have the heads behind all nodes.
            net.net.tell_last(head);
            heads.push(head);
            last = next;
        }
        net.net.output(LOGITS, Kind::Heads, heads);
        Ok(net.net)
    }
}
