//! What is done to each value by itself.

use candle_core::{Result, Tensor};
use thorax_kernels::{KernelError, convolution::Activation, elementwise as kernels};

use super::{Kernel, Operation, Operator, Shape, first};
use crate::{
    elementwise::{relu, relu6, sigmoid, swish},
    onnx_format::{ReadError, StoredNode, Writer},
};

/// `max(x, 0)`.
pub(super) struct Relu;

impl Operator for Relu {
    fn shape(&self, inputs: &[Shape]) -> Result<Shape> {
        first(inputs)
    }

    fn run(&self, inputs: &[&Tensor]) -> Result<Tensor> {
        relu(first(inputs)?)
    }

    fn kernel(&self, _: &[Shape]) -> Result<Box<dyn Kernel>> {
        each(|x, out| kernels::unary(x, out, |x| if x < 0.0 { 0.0 } else { x }))
    }

    fn behind(&self) -> Option<Activation> {
        Some(Activation::Relu)
    }

    fn write(&self, writer: &mut Writer, inputs: Vec<String>, output: &str) -> Result<()> {
        writer.node("Relu", inputs, output, vec![]);
        Ok(())
    }
}

/// `min(max(x, 0), 6)`.
pub(super) struct Relu6;

impl Operator for Relu6 {
    fn shape(&self, inputs: &[Shape]) -> Result<Shape> {
        first(inputs)
    }

    fn run(&self, inputs: &[&Tensor]) -> Result<Tensor> {
        relu6(first(inputs)?)
    }

    fn kernel(&self, _: &[Shape]) -> Result<Box<dyn Kernel>> {
        each(|x, out| kernels::unary(x, out, |x| x.clamp(0.0, 6.0)))
    }

    fn behind(&self) -> Option<Activation> {
        Some(Activation::Relu6)
    }

    fn write(&self, writer: &mut Writer, mut inputs: Vec<String>, output: &str) -> Result<()> {
        inputs.push(writer.scalar(&format!("{output}.min"), 0.0));
        inputs.push(writer.scalar(&format!("{output}.max"), 6.0));
        writer.node("Clip", inputs, output, vec![]);
        Ok(())
    }
}

/// `x / (1 + exp(-x))`.
pub(super) struct Swish;

impl Operator for Swish {
    fn shape(&self, inputs: &[Shape]) -> Result<Shape> {
        first(inputs)
    }

    fn run(&self, inputs: &[&Tensor]) -> Result<Tensor> {
        swish(first(inputs)?)
    }

    fn kernel(&self, _: &[Shape]) -> Result<Box<dyn Kernel>> {
        each(kernels::swish)
    }

    fn behind(&self) -> Option<Activation> {
        Some(Activation::Swish)
    }

    fn write(&self, writer: &mut Writer, mut inputs: Vec<String>, output: &str) -> Result<()> {
        // ONNX has none; the runtimes know the pair.
        let gate = gate_of(output);
        writer.node("Sigmoid", inputs.clone(), &gate, vec![]);
        inputs.push(gate);
        writer.node("Mul", inputs, output, vec![]);
        Ok(())
    }
}

/// `1 / (1 + exp(-x))`.
pub(super) struct Sigmoid;

impl Operator for Sigmoid {
    fn shape(&self, inputs: &[Shape]) -> Result<Shape> {
        first(inputs)
    }

    fn run(&self, inputs: &[&Tensor]) -> Result<Tensor> {
        sigmoid(first(inputs)?)
    }

    fn kernel(&self, _: &[Shape]) -> Result<Box<dyn Kernel>> {
        each(|x, out| kernels::unary(x, out, kernels::sigmoid))
    }

    fn write(&self, writer: &mut Writer, inputs: Vec<String>, output: &str) -> Result<()> {
        writer.node("Sigmoid", inputs, output, vec![]);
        Ok(())
    }
}

fn each(f: impl Fn(&[f32], &mut [f32]) + Send + Sync + 'static) -> Result<Box<dyn Kernel>> {
    Ok(Box::new(Each(f)))
}

struct Each<F>(F);

impl<F: Fn(&[f32], &mut [f32]) + Send + Sync> Kernel for Each<F> {
    fn run(&self, inputs: &[&[f32]], _: usize, out: &mut [f32]) -> std::result::Result<(), KernelError> {
        self.0(inputs[0], out);
        Ok(())
    }
}

/// The name of the sigmoid in a swish called `output`.
fn gate_of(output: &str) -> String {
    format!("{output}.gate")
}

/// Whether a node that was read is the second of the pair that a swish is written as, and `last` the first: the gate has a
/// name that nothing else has.
pub(crate) fn closes_swish(node: &StoredNode, output: &str, operation: &Operation, last: Option<&Operation>) -> bool {
    node.input(1) == Some(&gate_of(output))
        && matches!((operation, last), (Operation::Multiply, Some(Operation::Sigmoid)))
}

pub(super) fn read(node: &StoredNode) -> std::result::Result<Option<Operation>, ReadError> {
    Ok(Some(match node.kind() {
        "Relu" => Operation::Relu,
        "Clip" => Operation::Relu6,
        "Sigmoid" => Operation::Sigmoid,
        _ => return Ok(None),
    }))
}
