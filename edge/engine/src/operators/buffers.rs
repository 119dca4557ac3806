//! Tensors that are written again in the next run.
//!
//! tract drops a value when its last reader has run, but what it drops is only its own hold on the tensor: the other is here. So a
//! tensor that nobody else holds is free, and after the first run no operator of ours asks for memory.

use std::sync::{Arc, Mutex, PoisonError};

use tract_onnx::tract_core::internal::*;

/// The tensors of one graph. A copy shares them.
#[derive(Clone, Debug, Default)]
pub(super) struct Buffers(Arc<Mutex<Vec<Arc<Tensor>>>>);

impl Buffers {
    /// A tensor that nobody else holds; what is in it is from before, or zero.
    pub(super) fn take(&self, datum_type: DatumType, shape: &[usize]) -> TractResult<Arc<Tensor>> {
        let length: usize = shape.iter().product();
        let free = |tensor: &Arc<Tensor>| {
            Arc::strong_count(tensor) == 1 && tensor.datum_type() == datum_type && tensor.len() == length
        };
        let found = {
            let mut kept = self.0.lock().unwrap_or_else(PoisonError::into_inner);
            kept.iter().position(free).map(|index| kept.swap_remove(index))
        };
        match found {
            Some(mut tensor) => {
                Arc::get_mut(&mut tensor).context("a buffer that is free has no other user")?.set_shape(shape)?;
                Ok(tensor)
            }
            None => Ok(Tensor::zero_dt(datum_type, shape)?.into_arc_tensor()),
        }
    }

    /// Keeps a hold on `tensor`.
    pub(super) fn keep(&self, tensor: &Arc<Tensor>) {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).push(tensor.clone());
    }
}
