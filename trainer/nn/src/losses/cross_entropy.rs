//! Binary cross entropy: every pixel counts alike.
//!
//! `-y ln p - (1 - y) ln(1 - p)` with the probability `p` and the truth `y`, taken from the logits, where it is stable.

use candle_core::{Result, Tensor};

use super::Known;
use crate::elementwise::{binary_cross_entropy, sum_planes};

/// The mean over the pixels of each mask, `[C]`, of logits and truth `[N, C, H, W]`.
pub(super) fn cross_entropy(logits: &Tensor, truth: &Tensor, known: &Known) -> Result<Tensor> {
    known.mean(&sum_planes(&binary_cross_entropy(logits, truth)?)?)
}
