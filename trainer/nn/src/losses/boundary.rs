//! Boundary loss: `L_B` of Kervadec et al. (2019, "Boundary loss for highly unbalanced segmentation"; 2021 in Medical Image
//! Analysis, from which the weights are).
//!
//! The mean of `p d` over the pixels, with the probability `p` and the signed distance `d` to the true edge in pixels: but for
//! a constant, the distance between the true edge and the net's. It is least, and not above 0, where the net finds the mask
//! exactly. Its gradient says nothing about a mask that is empty, and alone it may settle on finding none at all; so it goes
//! together with the terms over regions, and its weight `alpha` rises as the net learns.

use candle_core::{Result, Tensor};
use serde::{Deserialize, Serialize};

use super::Known;
use crate::elementwise::dot_planes;

/// What the terms over regions weigh beside the boundary loss, whose weight is `alpha`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, clap::ValueEnum)]
#[serde(rename_all = "snake_case")]
pub enum Balance {
    /// 1 - alpha: it gives way
    #[default]
    Rebalance,
    /// 1 throughout
    Increase,
}

/// How the weight of the boundary loss goes over the epochs.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct BoundaryConfig {
    /// `alpha` in the first epoch; 0.01 by default, as Kervadec et al. have it.
    pub first: f64,
    /// What each epoch adds to it; 0.01 by default, as they have it.
    pub rise_per_epoch: f64,
    /// Where its rise ends; 0.9 by default, since their code leaves the terms over regions a weight of 0.1.
    pub highest: f64,
    /// What the terms over regions weigh beside it; [`Balance::Rebalance`] by default.
    pub balance: Balance,
}

impl Default for BoundaryConfig {
    fn default() -> Self {
        Self { first: 0.01, rise_per_epoch: 0.01, highest: 0.9, balance: Balance::default() }
    }
}

impl BoundaryConfig {
    /// The weights of the terms over regions and of the boundary loss in `epoch`, counted from 0.
    pub(super) fn weights(&self, epoch: usize) -> (f64, f64) {
        let alpha = (self.first + self.rise_per_epoch * epoch as f64).min(self.highest);
        match self.balance {
            Balance::Rebalance => (1.0 - alpha, alpha),
            Balance::Increase => (1.0, alpha),
        }
    }

    /// What is wrong with the numbers, if anything.
    pub(super) fn problem(&self) -> Option<&'static str> {
        let Self { first, rise_per_epoch, highest, balance } = *self;
        if ![first, rise_per_epoch, highest].iter().all(|number| number.is_finite() && *number >= 0.0) {
            Some("the boundary loss's weight, its rise and its highest value must be numbers of at least 0")
        } else if first > highest {
            Some("the boundary loss's first weight must not be above its highest")
        } else if first + rise_per_epoch == 0.0 || highest == 0.0 {
            Some(
                "the boundary loss would never count; give a weight, a rise and a highest weight above 0, or leave it out",
            )
        } else if balance == Balance::Rebalance && highest > 1.0 {
            Some("the boundary loss's highest weight must be at most 1, where the other terms give way to it")
        } else {
            None
        }
    }
}

/// The mean over the pixels of each mask, `[C]`, in pixels, of probabilities and signed distances `[N, C, H, W]`.
pub(super) fn boundary(probability: &Tensor, distance: &Tensor, known: &Known) -> Result<Tensor> {
    known.mean(&dot_planes(probability, distance)?)
}
