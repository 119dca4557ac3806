//! A frozen EfficientNet with a trained decoder (paper, section IV.B, EfficientNet-B0 to B7; Lite0 to 2 as well): the last
//! layer is taken off, and from the features a U-Net's decoder climbs back over the encoder's maps.
//!
//! The encoder's batch norms use their moving statistics, and no gradient enters it. Its weights belong to the checkpoint all
//! the same, so that a run's folder is complete.

use super::parts::Builder;
use crate::{architecture::Architecture, backbones::Backbone, layout::Layout};

/// What the names of the frozen encoder's variables begin with.
pub(super) const ENCODER: &str = "backbone.";

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
    /// The net.
    ///
    /// # Errors
    /// A backbone without the maps that the decoder wants.
    pub fn architecture(self) -> candle_core::Result<Architecture> {
        let encoder = self.encoder();
        let mut net = Builder::new(encoder.channels(0));
        let maps = net.net.freeze(0, ENCODER, encoder);
        let find = |name: &str| {
            let map = maps.iter().find(|(map, _)| *map == name);
            map.map(|&(_, step)| step)
                .ok_or_else(|| candle_core::Error::Msg(format!("{}: the net has no map {name}", self.backbone)))
        };
        let mut step = find(FEATURES)?;
        for (index, skip) in SKIPS.into_iter().map(Some).chain([None]).enumerate() {
            let channels = self.base_channels << (SKIPS.len() - index);
            let prefix = format!("decoder.{index}");
            step = net.up(&format!("{prefix}.up"), step, channels);
            if let Some(skip) = skip {
                step = net.join(find(skip)?, step);
            }
            step = net.double(&prefix, step, channels);
        }
        Ok(net.finish(step, self.channels_out))
    }

    /// The encoder by itself.
    pub(super) fn encoder(self) -> Architecture {
        self.backbone.architecture(self.layout)
    }
}
