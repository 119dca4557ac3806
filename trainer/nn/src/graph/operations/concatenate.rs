//! The channels of all inputs, one after another.

use candle_core::{Result, Tensor};
use thorax_kernels::KernelError;

use super::{Kernel, Operation, Operator, Shape, first, values};
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
        Ok(Box::new(Copy { parts: inputs.iter().copied().map(values).collect() }))
    }

    fn write(&self, writer: &mut Writer, inputs: Vec<String>, output: &str) -> Result<()> {
        writer.node("Concat", inputs, output, vec![integer("axis", 1)]);
        Ok(())
    }
}

struct Copy {
    /// Values of a picture of each input.
    parts: Vec<usize>,
}

impl Kernel for Copy {
    fn run(&self, inputs: &[&[f32]], _: usize, out: &mut [f32]) -> std::result::Result<(), KernelError> {
        let length = self.parts.iter().sum();
        let mut start = 0;
        for (&part, input) in self.parts.iter().zip(inputs) {
            let pictures = input.chunks_exact(part).zip(out.chunks_exact_mut(length));
            pictures.for_each(|(source, out)| out[start..start + part].copy_from_slice(source));
            start += part;
        }
        Ok(())
    }
}

pub(super) fn read(node: &StoredNode) -> std::result::Result<Option<Operation>, ReadError> {
    Ok((node.kind() == "Concat").then_some(Operation::Concatenate))
}
