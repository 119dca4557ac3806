//! Attention U-Net (Oktay et al. 2018): a [U-Net](UnetConfig) with an additive attention gate in every skip connection.

use super::unet::{self, UnetConfig};
use crate::architecture::Architecture;

/// The shape of the net.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub struct AttentionUnetConfig {
    /// That of the U-Net without its gates.
    #[serde(flatten)]
    pub unet: UnetConfig,
}

impl AttentionUnetConfig {
    /// The net.
    pub fn architecture(self) -> Architecture {
        unet::architecture(self.unet, true)
    }
}
