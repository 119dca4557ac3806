//! What is done to two values, either of which may have one channel, row or column where the other has more.

use candle_core::{Result, Tensor};
use rayon::prelude::*;
use thorax_kernels::{KernelError, elementwise as kernels};

use super::{Kernel, Operation, Operator, Shape, both};
use crate::{
    elementwise::scale_planes,
    onnx_format::{ReadError, StoredNode, Writer},
};

/// The sum.
pub(super) struct Add;

impl Operator for Add {
    fn shape(&self, inputs: &[Shape]) -> Result<Shape> {
        joined(inputs)
    }

    fn run(&self, inputs: &[&Tensor]) -> Result<Tensor> {
        let [a, b] = both(inputs)?;
        a.broadcast_add(b)
    }

    fn kernel(&self, inputs: &[Shape]) -> Result<Box<dyn Kernel>> {
        Ok(Box::new(Broadcast { shapes: both(inputs)?, f: |a, b| a + b }))
    }

    fn write(&self, writer: &mut Writer, inputs: Vec<String>, output: &str) -> Result<()> {
        writer.node("Add", inputs, output, vec![]);
        Ok(())
    }
}

/// The product.
pub(super) struct Multiply;

impl Operator for Multiply {
    fn shape(&self, inputs: &[Shape]) -> Result<Shape> {
        joined(inputs)
    }

    fn run(&self, inputs: &[&Tensor]) -> Result<Tensor> {
        let [a, b] = both(inputs)?;
        match *a.dims() {
            [n, c, _, _] if b.dims() == [n, c, 1, 1] => scale_planes(a, b),
            _ => a.broadcast_mul(b),
        }
    }

    fn kernel(&self, inputs: &[Shape]) -> Result<Box<dyn Kernel>> {
        Ok(Box::new(Broadcast { shapes: both(inputs)?, f: |a, b| a * b }))
    }

    fn write(&self, writer: &mut Writer, inputs: Vec<String>, output: &str) -> Result<()> {
        writer.node("Mul", inputs, output, vec![]);
        Ok(())
    }
}

/// The quotient.
pub(super) struct Divide;

impl Operator for Divide {
    fn shape(&self, inputs: &[Shape]) -> Result<Shape> {
        joined(inputs)
    }

    fn run(&self, inputs: &[&Tensor]) -> Result<Tensor> {
        let [a, b] = both(inputs)?;
        a.broadcast_div(b)
    }

    fn kernel(&self, inputs: &[Shape]) -> Result<Box<dyn Kernel>> {
        Ok(Box::new(Broadcast { shapes: both(inputs)?, f: |a, b| a / b }))
    }

    fn write(&self, writer: &mut Writer, inputs: Vec<String>, output: &str) -> Result<()> {
        writer.node("Div", inputs, output, vec![]);
        Ok(())
    }
}

fn joined(inputs: &[Shape]) -> Result<Shape> {
    let [a, b] = both(inputs)?;
    if (0..3).any(|axis| a[axis] != b[axis] && a[axis] != 1 && b[axis] != 1) {
        candle_core::bail!("shapes {a:?} and {b:?} do not fit");
    }
    Ok([0, 1, 2].map(|axis| a[axis].max(b[axis])))
}

struct Broadcast<F> {
    shapes: [Shape; 2],
    f: F,
}

/// Pixels of a task.
const SHARE: usize = 1024;

impl<F: Fn(f32, f32) -> f32 + Copy + Send + Sync> Kernel for Broadcast<F> {
    fn run(&self, inputs: &[&[f32]], _: usize, out: &mut [f32]) -> std::result::Result<(), KernelError> {
        let ([of_a, of_b], [a, b], f) = (self.shapes, [inputs[0], inputs[1]], self.f);
        if of_a == of_b {
            kernels::binary(a, b, out, f);
            return Ok(());
        }
        let [c, h, w] = [0, 1, 2].map(|axis| of_a[axis].max(of_b[axis]));
        out.par_chunks_mut(c).with_min_len(SHARE).enumerate().for_each(|(pixel, out)| {
            let at = [pixel / (h * w), pixel / w % h, pixel % w];
            let (a, b) = (channels(of_a, a, at), channels(of_b, b, at));
            match (a, b) {
                (&[a], b) => out.iter_mut().zip(b).for_each(|(out, &b)| *out = f(a, b)),
                (a, &[b]) => out.iter_mut().zip(a).for_each(|(out, &a)| *out = f(a, b)),
                (a, b) => out.iter_mut().zip(a.iter().zip(b)).for_each(|(out, (&a, &b))| *out = f(a, b)),
            }
        });
        Ok(())
    }
}

/// The channels of one pixel, or of the only one in its row or column.
fn channels([c, h, w]: Shape, values: &[f32], [picture, y, x]: [usize; 3]) -> &[f32] {
    let (y, x) = (if h == 1 { 0 } else { y }, if w == 1 { 0 } else { x });
    &values[((picture * h + y) * w + x) * c..][..c]
}

pub(super) fn read(node: &StoredNode) -> std::result::Result<Option<Operation>, ReadError> {
    Ok(Some(match node.kind() {
        "Add" => Operation::Add,
        "Mul" => Operation::Multiply,
        "Div" => Operation::Divide,
        _ => return Ok(None),
    }))
}
