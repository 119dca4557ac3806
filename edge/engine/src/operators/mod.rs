//! Our kernels as operators of tract's graph.
//!
//! tract reads a bundle's graph, and plans and runs it; [`rewrite`] puts an [`Operator`] around one of our [`kernels`] in the place of
//! its convolutions, pools and joins. Those want the channels of a pixel side by side, so between them values are
//! `[N, H, W, C]`; what tract keeps, and the graph's inputs and outputs, are `[N, C, H, W]` as before. [`buffers`] are kept
//! from run to run.

mod buffers;
mod kernels;
mod rewrite;
#[cfg(test)]
mod tests;

use std::sync::Arc;

use tract_onnx::tract_core::internal::*;

pub(crate) use buffers::Buffers;
use buffers::Readers;
use kernels::Kernel;
pub(crate) use rewrite::{know_readers, rewrite};

/// A kernel where tract expects an operator.
#[derive(Clone, Debug)]
struct Operator {
    kernel: Arc<dyn Kernel>,
    output: TypedFact,
    shape: TVec<usize>,
    buffers: Buffers,
    readers: Readers,
}

impl PartialEq for Operator {
    fn eq(&self, other: &Self) -> bool {
        Arc::ptr_eq(&self.kernel, &other.kernel)
    }
}

impl Eq for Operator {}

impl Op for Operator {
    fn name(&self) -> StaticName {
        self.kernel.name().into()
    }

    fn validation(&self) -> Validation {
        Validation::Rounding
    }

    op_as_typed_op!();
}

impl EvalOp for Operator {
    op_out_of_plan!();

    fn eval(&self, _: &EvalContext, inputs: TVec<TValue>) -> TractResult<TVec<TValue>> {
        let inputs: TVec<&Tensor> = inputs.iter().map(|input| &**input).collect();
        let write = |output: &mut Tensor| self.kernel.run(&inputs, output);
        let output = self.buffers.written(self.output.datum_type, &self.shape, self.readers, write)?;
        Ok(tvec!(output.into_tvalue()))
    }
}

impl TypedOp for Operator {
    fn output_facts(&self, _: &[&TypedFact]) -> TractResult<TVec<TypedFact>> {
        Ok(tvec!(self.output.clone()))
    }

    as_op!();
}
