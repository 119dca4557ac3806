//! One number of each window, or of each channel.

use candle_core::{Result, Tensor};
use thorax_kernels::{
    KernelError,
    channels_last::{Pool, PoolKind, global_average},
    convolution::{Convolution, Padding},
};
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
        kernel(self.0, inputs, PoolKind::Largest)
    }

    fn identity(&self) -> (String, Vec<candle_core::TensorId>) {
        (format!("{:?}", self.0), vec![])
    }

    fn write(&self, writer: &mut Writer, inputs: Vec<String>, output: &str) -> Result<()> {
        writer.node("MaxPool", inputs, output, windows(self.0));
        Ok(())
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
        kernel(self.0, inputs, PoolKind::Mean)
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

/// Windows over each channel. The last ones that are not full reach beyond the picture.
fn kernel(config: PoolConfig, inputs: &[Shape], kind: PoolKind) -> Result<Box<dyn Kernel>> {
    let [channels, height, width] = first(inputs)?;
    let PoolConfig { kernel, stride, padding, .. } = config;
    let (rows, columns) = config.output(&with_batch([channels, height, width]))?;
    let beyond = |out: usize, size: usize| ((out - 1) * stride + kernel).saturating_sub(size + padding);
    let geometry = Convolution {
        batch: 1,
        channels_in: channels,
        channels_out: channels,
        height,
        width,
        kernel_height: kernel,
        kernel_width: kernel,
        stride,
        dilation: 1,
        padding: Padding { top: padding, left: padding, bottom: beyond(rows, height), right: beyond(columns, width) },
        groups: 1,
    };
    Ok(Box::new(Windows(Pool { geometry, kind })))
}

struct Windows(Pool);

impl Kernel for Windows {
    fn run(&self, inputs: &[&[f32]], batch: usize, out: &mut [f32]) -> std::result::Result<(), KernelError> {
        self.0.run(batch, inputs[0], out)
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
        let [channels, h, w] = first(inputs)?;
        Ok(Box::new(Mean { channels, pixels: h * w }))
    }

    fn write(&self, writer: &mut Writer, inputs: Vec<String>, output: &str) -> Result<()> {
        writer.node("GlobalAveragePool", inputs, output, vec![]);
        Ok(())
    }
}

struct Mean {
    channels: usize,
    pixels: usize,
}

impl Kernel for Mean {
    fn run(&self, inputs: &[&[f32]], _: usize, out: &mut [f32]) -> std::result::Result<(), KernelError> {
        global_average(self.pixels, self.channels, inputs[0], out)
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
