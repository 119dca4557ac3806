//! One number of each window, or of each channel.

use candle_core::{Result, Tensor};
use thorax_kernels::{KernelError, elementwise as kernels, pool::Pool};
use tract_onnx::pb::AttributeProto;

use super::{Kernel, Operation, Operator, Shape, first, with_batch};
use crate::{
    onnx_format::{ReadError, StoredNode, Writer, foreign, integer, integers},
    pool::{PoolConfig, average_pool, max_pool},
};

/// Largest of each window.
pub(super) struct MaxPool(pub(super) PoolConfig);

impl Operator for MaxPool {
    fn shape(&self, inputs: &[Shape]) -> Result<Shape> {
        shape(self.0, inputs)
    }

    fn run(&self, inputs: &[&Tensor]) -> Result<Tensor> {
        max_pool(first(inputs)?, self.0)
    }

    fn kernel(&self, inputs: &[Shape]) -> Result<Box<dyn Kernel>> {
        Ok(Box::new(Largest(self.0.pool(&with_batch(first(inputs)?))?)))
    }

    fn identity(&self) -> (String, Vec<candle_core::TensorId>) {
        (format!("{:?}", self.0), vec![])
    }

    fn write(&self, writer: &mut Writer, inputs: Vec<String>, output: &str) -> Result<()> {
        writer.node("MaxPool", inputs, output, windows(self.0));
        Ok(())
    }
}

struct Largest(Pool);

impl Kernel for Largest {
    fn run(&self, inputs: &[&[f32]], _: usize, out: &mut [f32]) -> std::result::Result<(), KernelError> {
        self.0.largest(inputs[0], out)
    }
}

/// Mean of each window; the padding does not count.
pub(super) struct AveragePool(pub(super) PoolConfig);

impl Operator for AveragePool {
    fn shape(&self, inputs: &[Shape]) -> Result<Shape> {
        shape(self.0, inputs)
    }

    fn run(&self, inputs: &[&Tensor]) -> Result<Tensor> {
        average_pool(first(inputs)?, self.0, false)
    }

    fn kernel(&self, inputs: &[Shape]) -> Result<Box<dyn Kernel>> {
        Ok(Box::new(Mean(self.0.pool(&with_batch(first(inputs)?))?)))
    }

    fn identity(&self) -> (String, Vec<candle_core::TensorId>) {
        (format!("{:?}", self.0), vec![])
    }

    fn write(&self, writer: &mut Writer, inputs: Vec<String>, output: &str) -> Result<()> {
        let attributes = [windows(self.0), vec![integer("count_include_pad", 0)]].concat();
        writer.node("AveragePool", inputs, output, attributes);
        Ok(())
    }
}

struct Mean(Pool);

impl Kernel for Mean {
    fn run(&self, inputs: &[&[f32]], _: usize, out: &mut [f32]) -> std::result::Result<(), KernelError> {
        self.0.mean(inputs[0], false, out)
    }
}

/// Mean of each channel.
pub(super) struct GlobalAveragePool;

impl Operator for GlobalAveragePool {
    fn shape(&self, inputs: &[Shape]) -> Result<Shape> {
        Ok([first(inputs)?[0], 1, 1])
    }

    fn run(&self, inputs: &[&Tensor]) -> Result<Tensor> {
        first(inputs)?.mean_keepdim((2, 3))
    }

    fn kernel(&self, inputs: &[Shape]) -> Result<Box<dyn Kernel>> {
        let [_, h, w] = first(inputs)?;
        Ok(Box::new(PlaneMean { pixels: h * w }))
    }

    fn write(&self, writer: &mut Writer, inputs: Vec<String>, output: &str) -> Result<()> {
        writer.node("GlobalAveragePool", inputs, output, vec![]);
        Ok(())
    }
}

struct PlaneMean {
    pixels: usize,
}

impl Kernel for PlaneMean {
    fn run(&self, inputs: &[&[f32]], _: usize, out: &mut [f32]) -> std::result::Result<(), KernelError> {
        let scale = 1.0 / self.pixels as f32;
        let sums = kernels::sum_planes(inputs[0], self.pixels);
        out.iter_mut().zip(sums).for_each(|(out, sum)| *out = sum * scale);
        Ok(())
    }
}

fn shape(config: PoolConfig, inputs: &[Shape]) -> Result<Shape> {
    let input = first(inputs)?;
    let (h, w) = config.output(&with_batch(input))?;
    Ok([input[0], h, w])
}

fn windows(config: PoolConfig) -> Vec<AttributeProto> {
    let PoolConfig { kernel, stride, padding, ceil_mode } = config;
    vec![
        integers("kernel_shape", &[kernel; 2]),
        integers("strides", &[stride; 2]),
        integers("pads", &[padding; 4]),
        integer("ceil_mode", usize::from(ceil_mode)),
    ]
}

pub(super) fn read(node: &StoredNode) -> std::result::Result<Option<Operation>, ReadError> {
    let kind: fn(PoolConfig) -> Operation = match node.kind() {
        "MaxPool" => Operation::MaxPool,
        "AveragePool" => Operation::AveragePool,
        "GlobalAveragePool" => return Ok(Some(Operation::GlobalAveragePool)),
        _ => return Ok(None),
    };
    let ceil_mode = node.integer("ceil_mode").is_some_and(|mode| mode != 0);
    let (kernel, stride) = (node.even("kernel_shape")?, node.even("strides")?);
    let padding = match node.integers("pads")[..] {
        [] => 0,
        [top, left, bottom, right] if [left, bottom, right] == [top; 3] => top,
        _ => return Err(foreign("a pooling with uneven pads")),
    };
    Ok(Some(kind(PoolConfig { kernel, stride, padding, ceil_mode })))
}
