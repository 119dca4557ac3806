//! The paper's modified attention U-Net (section IV.B): 4 or 6 encoder blocks, each of convolutions with ReLU, max pooling, batch
//! norm and dropout; decoder blocks of batch norm, convolutions and ReLU; an attention gate in every skip connection.
//!
//! Where the text is silent: two convolutions a block, as in U-Net; the skip leaves before the pooling, so that it has the
//! size of the decoder's map; the bottleneck is a decoder block. The norms stand apart from the convolutions, so at inference they
//! are convolutions of each channel by itself.

use super::{
    parts::{Builder, width},
    unet::UnetConfig,
};
use crate::architecture::{Architecture, Layer};

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
    /// The net.
    pub fn architecture(self) -> Architecture {
        let Self { unet: UnetConfig { channels_in, channels_out, base_channels, blocks }, dropout: probability } = self;
        let width = |block: usize| width(base_channels, block);
        let mut net = Builder::new(channels_in);
        let (mut step, mut skips) = (0, vec![]);
        for block in 0..blocks {
            let prefix = format!("encoder.{block}");
            let skip = net.double_without_norm(&prefix, step, width(block));
            skips.push(skip);
            step = net.down(skip);
            step = net.norm(&format!("{prefix}.bn"), step);
            step = net.net.push(Layer::Dropout { probability, stream: block as u64 }, &[step]);
        }
        // A decoder block: the norm comes first.
        let normed = |net: &mut Builder, prefix: &str, step, channels| {
            let step = net.norm(&format!("{prefix}.bn"), step);
            net.double_without_norm(prefix, step, channels)
        };
        step = normed(&mut net, "bottleneck", step, width(blocks));
        for (index, (block, skip)) in skips.into_iter().enumerate().rev().enumerate() {
            let prefix = format!("decoder.{index}");
            let up = net.up(&format!("{prefix}.up"), step, width(block));
            let attended = net.gate(&format!("{prefix}.gate"), skip, up);
            let both = net.join(attended, up);
            step = normed(&mut net, &prefix, both, width(block));
        }
        net.finish(step, channels_out)
    }
}
