//! The channels of all inputs, one after another.

use candle_core::{Result, Tensor};
use thorax_kernels::{KernelError, channels_last::concatenate};

use super::{Kernel, Operation, Operator, Shape, first};
use crate::onnx_format::{ReadError, StoredNode, Writer, integer};

pub(super) struct Concatenate;

impl Operator for Concatenate {
    fn shape(&self, inputs: &[Shape]) -> Result<Shape> {
        let [_, h, w] = first(inputs)?;
        if inputs.iter().any(|part| part[1..] != [h, w]) {
            candle_core::bail!("shapes {inputs:?} do not fit");
        }
        Ok([inputs.iter().map(|part| part[0]).sum(), h, w])
    }

    fn run(&self, inputs: &[&Tensor]) -> Result<Tensor> {
        Tensor::cat(inputs, 1)
    }

    fn kernel(&self, inputs: &[Shape]) -> Result<Box<dyn Kernel>> {
        Ok(Box::new(Copy { channels: inputs.iter().map(|[channels, ..]| *channels).collect() }))
    }

    fn write(&self, writer: &mut Writer, inputs: Vec<String>, output: &str) -> Result<()> {
        writer.node("Concat", inputs, output, vec![integer("axis", 1)]);
        Ok(())
    }
}

struct Copy {
    /// Of each input.
    channels: Vec<usize>,
}

impl Kernel for Copy {
    fn run(&self, inputs: &[&[f32]], _: usize, out: &mut [f32]) -> std::result::Result<(), KernelError> {
        let parts: Vec<(usize, &[f32])> = self.channels.iter().copied().zip(inputs.iter().copied()).collect();
        concatenate(&parts, out)
    }
}

pub(super) fn read(node: &StoredNode) -> std::result::Result<Option<Operation>, ReadError> {
    Ok((node.kind() == "Concat").then_some(Operation::Concatenate))
}
