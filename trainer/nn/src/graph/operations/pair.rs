//! What is done to two values, either of which may have one channel, row or column where the other has more.

use candle_core::{Result, Tensor};
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

impl<F: Fn(f32, f32) -> f32 + Copy + Send + Sync> Kernel for Broadcast<F> {
    fn run(&self, inputs: &[&[f32]], _: usize, out: &mut [f32]) -> std::result::Result<(), KernelError> {
        let ([of_a, of_b], [a, b]) = (self.shapes, [inputs[0], inputs[1]]);
        let [c, h, w] = [0, 1, 2].map(|axis| of_a[axis].max(of_b[axis]));
        if of_a == of_b {
            kernels::binary(a, b, out, self.f);
            return Ok(());
        }
        if of_a == [c, h, w] && of_b == [c, 1, 1] {
            kernels::with_scales(a, b, h * w, out, self.f);
            return Ok(());
        }
        let place = |of: Shape, picture: usize, at: [usize; 3]| {
            let [y, x, z] = [0, 1, 2].map(|axis| if of[axis] == 1 { 0 } else { at[axis] });
            ((picture * of[0] + y) * of[1] + x) * of[2] + z
        };
        for (index, out) in out.iter_mut().enumerate() {
            let at = [index / (h * w) % c, index / w % h, index % w];
            let picture = index / (c * h * w);
            *out = (self.f)(a[place(of_a, picture, at)], b[place(of_b, picture, at)]);
        }
        Ok(())
    }
}

pub(super) fn read(node: &StoredNode) -> std::result::Result<Option<Operation>, ReadError> {
    Ok(Some(match node.kind() {
        "Add" => Operation::Add,
        "Mul" => Operation::Multiply,
        _ => return Ok(None),
    }))
}
