//! What a segmentation net is trained to make small.
//!
//! A net gives a logit for each mask and pixel, and three terms say how far it is from the truth. The
//! [cross entropy](LossConfig::cross_entropy) looks at each pixel by itself, [Dice](LossConfig::dice) at the overlap, however
//! small the lesion is; both are sums over regions. The [boundary loss](LossConfig::boundary) weighs each pixel by its distance
//! to the true edge, so that a stray spot far away costs more than an edge that is a pixel off. The paper (section IV.B)
//! trains with all three; a [`LossConfig`] says how much of each.
//!
//! Not every picture has every mask marked. Each term pools the pixels of the pictures that have the mask, and the loss is the
//! mean over the masks; what is not marked neither counts nor has a gradient.

mod arguments;
mod boundary;
mod cross_entropy;
mod dice;
#[cfg(test)]
mod tests;

pub use arguments::LossArgs;
pub use boundary::{Balance, BoundaryConfig};

use candle_core::{Result, Tensor};
use serde::{Deserialize, Serialize};

use crate::{elementwise::sigmoid, training::TrainingError};

/// The weights of the terms.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct LossConfig {
    /// Of the binary cross entropy, a mean over pixels; 1 by default.
    pub cross_entropy: f64,
    /// Of the soft Dice loss, 0 to 1; 1 by default.
    pub dice: f64,
    /// The boundary loss, in pixels; `None`, the default, for none.
    pub boundary: Option<BoundaryConfig>,
}

impl Default for LossConfig {
    fn default() -> Self {
        Self { cross_entropy: 1.0, dice: 1.0, boundary: None }
    }
}

impl LossConfig {
    /// Sees that the numbers make sense.
    ///
    /// # Errors
    /// [`TrainingError::Configuration`].
    pub fn check(&self) -> std::result::Result<(), TrainingError> {
        let region = [self.cross_entropy, self.dice];
        let problem = if !region.iter().all(|weight| weight.is_finite() && *weight >= 0.0) {
            Some("the weights of cross entropy and Dice must be numbers of at least 0")
        } else if region == [0.0; 2] && self.boundary.is_none_or(|boundary| boundary.first == 0.0) {
            Some("all weights of the loss are 0, so there is nothing to learn; give one above 0")
        } else {
            self.boundary.and_then(|boundary| boundary.problem())
        };
        problem.map_or(Ok(()), |problem| Err(TrainingError::Configuration(problem.to_owned())))
    }

    /// The loss of a batch in `epoch`, counted from 0, as a scalar; differentiable in the logits.
    ///
    /// `logits`, `truth` (0 or 1) and `distance` are `[N, C, H, W]` in f32. `distance` is the
    /// [signed distance](crate::distance_transform::signed_distance) to the edge of the truth, which the boundary loss needs.
    /// `known` `[N, C, 1, 1]` is 1, or 0 where a picture lacks that mask, which then does not count.
    ///
    /// # Errors
    /// Shapes that do not fit; a boundary loss without distances.
    pub fn loss(
        &self,
        logits: &Tensor,
        truth: &Tensor,
        distance: Option<&Tensor>,
        known: &Tensor,
        epoch: usize,
    ) -> Result<Tensor> {
        let known = Known::new(logits, known)?;
        let (region, edge) = self.boundary.map_or((1.0, 0.0), |boundary| boundary.weights(epoch));
        let mut loss = known.pixels.zeros_like()?;
        if self.cross_entropy > 0.0 {
            loss = (loss + (cross_entropy::cross_entropy(logits, truth, &known)? * (region * self.cross_entropy))?)?;
        }
        if self.dice > 0.0 || self.boundary.is_some() {
            let probability = sigmoid(logits)?;
            if self.dice > 0.0 {
                loss = (loss + (dice::dice(&probability, truth, &known)? * (region * self.dice))?)?;
            }
            if self.boundary.is_some() {
                let Some(distance) = distance else {
                    candle_core::bail!("the boundary loss needs the signed distance to the edge of each mask");
                };
                loss = (loss + (boundary::boundary(&probability, distance, &known)? * edge)?)?;
            }
        }
        loss.mean_all()
    }

    /// In words, for a model card.
    pub fn describe(&self) -> String {
        let mut terms = vec![];
        if self.cross_entropy > 0.0 {
            terms.push(format!("{} x cross entropy", self.cross_entropy));
        }
        if self.dice > 0.0 {
            terms.push(format!("{} x Dice", self.dice));
        }
        if let Some(BoundaryConfig { first, rise_per_epoch, highest, balance }) = self.boundary {
            let others = match balance {
                Balance::Rebalance => ", by which the other terms weigh less",
                Balance::Increase => "",
            };
            terms.push(format!(
                "boundary loss (weight {first}, {rise_per_epoch} more each epoch, up to {highest}{others})"
            ));
        }
        terms.join(" + ")
    }
}

/// Which pictures have which mask.
struct Known {
    /// `[N, C]`, 1 or 0.
    flags: Tensor,
    /// Pixels of the pictures that have the mask, `[C]`.
    pixels: Tensor,
}

impl Known {
    /// Of `logits` `[N, C, H, W]` and flags `[N, C, 1, 1]`.
    fn new(logits: &Tensor, known: &Tensor) -> Result<Self> {
        let (n, c, h, w) = logits.dims4()?;
        let flags = known.reshape((n, c))?;
        let pixels = (flags.sum(0)? * (h * w) as f64)?;
        Ok(Self { flags, pixels })
    }

    /// Sums of planes `[N, C]` over the pictures that have the mask, `[C]`.
    fn total(&self, planes: &Tensor) -> Result<Tensor> {
        planes.mul(&self.flags)?.sum(0)
    }

    /// Sums of planes `[N, C]` as means over the pixels of the pictures that have the mask, `[C]`; 0 for a mask that none has.
    fn mean(&self, planes: &Tensor) -> Result<Tensor> {
        // Far less than one pixel: it changes nothing but 0 / 0.
        self.total(planes)?.div(&(&self.pixels + 1e-6)?)
    }
}
