//! Attention U-Net (Oktay et al. 2018): a [`Unet`] with an additive attention gate in every skip connection.

use candle_core::{Device, Result};

use super::unet::{Unet, UnetConfig};

/// The shape of the net.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub struct AttentionUnetConfig {
    /// That of the U-Net without its gates.
    #[serde(flatten)]
    pub unet: UnetConfig,
}

impl AttentionUnetConfig {
    /// The net with weights drawn from `seed`.
    ///
    /// # Errors
    /// When the device refuses the memory.
    pub fn init(self, seed: u64, device: &Device) -> Result<Unet> {
        Unet::new(self.unet, true, seed, device)
    }
}
