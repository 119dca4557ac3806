//! U-Net (Ronneberger et al. 2015) with batch norm after every 3x3 convolution and zero padding, so that the masks have the
//! picture's size. The attention U-Net is the same net with a gate in every skip connection.

use super::parts::{Builder, width};
use crate::architecture::Architecture;

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
    /// The net.
    pub fn architecture(self) -> Architecture {
        architecture(self, false)
    }
}

/// The net, with attention gates if `gated`.
pub(super) fn architecture(config: UnetConfig, gated: bool) -> Architecture {
    let UnetConfig { channels_in, channels_out, base_channels, blocks } = config;
    let width = |block: usize| width(base_channels, block);
    let mut net = Builder::new(channels_in);
    let (mut step, mut skips) = (0, vec![]);
    for block in 0..blocks {
        let skip = net.double(&format!("encoder.{block}"), step, width(block));
        skips.push(skip);
        step = net.down(skip);
    }
    step = net.double("bottleneck", step, width(blocks));
    for (index, (block, skip)) in skips.into_iter().enumerate().rev().enumerate() {
        let prefix = format!("decoder.{index}");
        let up = net.up(&format!("{prefix}.up"), step, width(block));
        let skip = if gated { net.gate(&format!("{prefix}.gate"), skip, up) } else { skip };
        let both = net.join(skip, up);
        step = net.double(&prefix, both, width(block));
    }
    net.finish(step, channels_out)
}
