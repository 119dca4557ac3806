//! Soft Dice loss (Milletari et al. 2016, "V-Net", but for the squares in the denominator): a lesion counts by how much of it
//! is found, be it large or small.
//!
//! `1 - (2 Σ p y + 1) / (Σ p + Σ y + 1)`, with sums over the whole batch: a picture without a lesion then needs no case of its
//! own. The 1 makes an empty mask that is found empty a perfect one.

use candle_core::{Result, Tensor};

use super::Known;
use crate::elementwise::{dot_planes, sum_planes};

/// The loss of each mask, `[C]`, 0 to 1, of probabilities and truth `[N, C, H, W]`.
pub(super) fn dice(probability: &Tensor, truth: &Tensor, known: &Known) -> Result<Tensor> {
    let overlap = (known.total(&dot_planes(probability, truth)?)? * 2.0)?;
    let both = (known.total(&sum_planes(probability)?)? + known.total(&sum_planes(truth)?)?)?;
    let dice = ((overlap + 1.0)? / (both + 1.0)?)?;
    1.0 - dice
}
