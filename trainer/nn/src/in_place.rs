//! Values of a CPU tensor, to be changed where they are.
//!
//! candle's tensors never change, but variables and an optimizer's moments do: a step in ten passes of fresh tensors costs
//! several times the one pass that the processor needs (`thorax-train bench`).

use std::cell::RefCell;

use candle_core::{CpuStorage, InplaceOp1, Layout, Result, Tensor};
use rayon::prelude::*;

/// Values that one thread takes at a time; the results of no pass depend on it, nor on the number of threads.
pub(crate) const CHUNK: usize = 1 << 14;

/// Calls `f` with the values of a contiguous f32 CPU tensor. Nothing else may read or write that tensor meanwhile.
pub(crate) fn with_values_mut(tensor: &Tensor, f: impl FnOnce(&mut [f32])) -> Result<()> {
    struct Operator<F>(RefCell<Option<F>>);

    impl<F: FnOnce(&mut [f32])> InplaceOp1 for Operator<F> {
        fn name(&self) -> &'static str {
            "in-place update"
        }

        fn cpu_fwd(&self, storage: &mut CpuStorage, layout: &Layout) -> Result<()> {
            let CpuStorage::F32(values) = storage else {
                candle_core::bail!("in-place update: the tensor must be f32");
            };
            let Some((start, end)) = layout.contiguous_offsets() else {
                candle_core::bail!("in-place update: the tensor must be contiguous");
            };
            if let Some(f) = self.0.borrow_mut().take() {
                f(&mut values[start..end]);
            }
            Ok(())
        }
    }

    tensor.inplace_op1(&Operator(RefCell::new(Some(f))))
}

/// Sum of squares in f64, the same for any number of threads.
pub(crate) fn sum_of_squares(values: &[f32]) -> f64 {
    let of_chunk = |chunk: &[f32]| -> f64 {
        let mut lanes = [0f64; 8];
        let whole = chunk.chunks_exact(lanes.len());
        let rest: f64 = whole.remainder().iter().map(|&v| f64::from(v) * f64::from(v)).sum();
        for eight in whole {
            lanes.iter_mut().zip(eight).for_each(|(lane, &v)| *lane += f64::from(v) * f64::from(v));
        }
        lanes.iter().sum::<f64>() + rest
    };
    if values.len() <= CHUNK {
        return of_chunk(values);
    }
    values.par_chunks(CHUNK).map(of_chunk).collect::<Vec<f64>>().iter().sum()
}
