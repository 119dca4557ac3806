//! What the ranks of a data parallel training say to each other ([`parallel`](crate::parallel) chooses how).

use candle_core::{Result, Tensor};

/// How the ranks of a run exchange tensors. Every rank makes the same calls, with tensors of the same shapes.
pub trait Communicator: Send {
    /// This rank's number, counted from 0.
    fn rank(&self) -> usize;

    /// How many ranks there are.
    fn size(&self) -> usize;

    /// The mean over all ranks of each tensor, the same bits on every rank.
    ///
    /// # Errors
    /// When a device fails, or another rank has ended.
    fn mean(&self, tensors: &[Tensor]) -> Result<Vec<Tensor>>;

    /// Rank 0's tensors, on this rank's device.
    ///
    /// # Errors
    /// As [`Self::mean`].
    fn broadcast(&self, tensors: &[Tensor]) -> Result<Vec<Tensor>>;
}
