//! Kernels on bytes.

use thorax_kernels::quantized::{self, Combination, DepthOrder, Operand, Part, Quantization, Table};
use tract_onnx::tract_core::internal::*;

use super::{Kernel, one, values};

fn bytes(tensor: &Tensor) -> TractResult<&[u8]> {
    tensor.try_as_plain_ram()?.as_slice::<u8>()
}

/// A convolution of bytes.
#[derive(Debug)]
pub(in crate::operators) struct ByteConvolution {
    pub(in crate::operators) packed: quantized::Convolution,
}

impl Kernel for ByteConvolution {
    fn name(&self) -> &'static str {
        "ThoraxByteConvolution"
    }

    fn run(&self, inputs: &[&Tensor], output: &mut Tensor) -> TractResult<()> {
        let batch = output.shape().first().copied().unwrap_or(1);
        let mut output = output.try_as_plain_ram_mut()?;
        Ok(self.packed.run(batch, bytes(one(inputs)?)?, output.as_slice_mut::<u8>()?)?)
    }
}

/// Largest byte of windows.
#[derive(Debug)]
pub(in crate::operators) struct ByteWindows {
    pub(in crate::operators) pool: quantized::Pool,
}

impl Kernel for ByteWindows {
    fn name(&self) -> &'static str {
        "ThoraxBytePool"
    }

    fn run(&self, inputs: &[&Tensor], output: &mut Tensor) -> TractResult<()> {
        let batch = output.shape().first().copied().unwrap_or(1);
        let mut output = output.try_as_plain_ram_mut()?;
        Ok(self.pool.run(batch, bytes(one(inputs)?)?, output.as_slice_mut::<u8>()?)?)
    }
}

/// The channels of all inputs, one after another, which are of one quantization.
#[derive(Debug)]
pub(in crate::operators) struct ByteConcatenate {
    pub(in crate::operators) channels: Vec<usize>,
}

impl Kernel for ByteConcatenate {
    fn name(&self) -> &'static str {
        "ThoraxByteConcatenate"
    }

    fn run(&self, inputs: &[&Tensor], output: &mut Tensor) -> TractResult<()> {
        let mut parts: TVec<Part<'_>> = tvec!();
        for (input, &channels) in inputs.iter().zip(&self.channels) {
            parts.push(Part { bytes: bytes(input)?, channels, table: None });
        }
        let mut output = output.try_as_plain_ram_mut()?;
        let output = output.as_slice_mut::<u8>()?;
        let pixels = output.len() / self.channels.iter().sum::<usize>().max(1);
        Ok(quantized::concatenate(pixels, &parts, output)?)
    }
}

/// Four channels as four pixels.
#[derive(Debug)]
pub(in crate::operators) struct DepthToSpace {
    pub(in crate::operators) order: DepthOrder,
}

impl Kernel for DepthToSpace {
    fn name(&self) -> &'static str {
        "ThoraxDepthToSpace"
    }

    fn run(&self, inputs: &[&Tensor], output: &mut Tensor) -> TractResult<()> {
        let input = one(inputs)?;
        let [batch, height, width, channels] = *input.shape() else { bail!("not [N, H, W, C]: {:?}", input.shape()) };
        let mut output = output.try_as_plain_ram_mut()?;
        let sizes = [batch * height, width, channels / 4];
        Ok(quantized::depth_to_space(self.order, sizes, bytes(input)?, output.as_slice_mut::<u8>()?)?)
    }
}

/// A function of single bytes.
#[derive(Debug)]
pub(in crate::operators) struct ByteTable {
    pub(in crate::operators) table: Table,
}

impl Kernel for ByteTable {
    fn name(&self) -> &'static str {
        "ThoraxByteTable"
    }

    fn run(&self, inputs: &[&Tensor], output: &mut Tensor) -> TractResult<()> {
        let mut output = output.try_as_plain_ram_mut()?;
        Ok(self.table.run(bytes(one(inputs)?)?, output.as_slice_mut::<u8>()?)?)
    }
}

/// Sum or product of two.
#[derive(Debug)]
pub(in crate::operators) struct ByteCombination {
    pub(in crate::operators) combination: Combination,
    /// Of the two.
    pub(in crate::operators) quantizations: [Quantization; 2],
}

impl Kernel for ByteCombination {
    fn name(&self) -> &'static str {
        "ThoraxByteCombination"
    }

    fn run(&self, inputs: &[&Tensor], output: &mut Tensor) -> TractResult<()> {
        let [a, b] = inputs else { bail!("a sum or product of {}", inputs.len()) };
        let batch = output.shape().first().copied().unwrap_or(1);
        let operand = |tensor, quantization| TractResult::Ok(Operand { bytes: bytes(tensor)?, quantization });
        let (a, b) = (operand(a, self.quantizations[0])?, operand(b, self.quantizations[1])?);
        let mut output = output.try_as_plain_ram_mut()?;
        Ok(self.combination.run(batch, a, b, output.as_slice_mut::<u8>()?)?)
    }
}

/// Values to bytes; with channels and pixels, from `[N, C, H, W]`.
#[derive(Debug)]
pub(in crate::operators) struct Quantize {
    pub(in crate::operators) y: Quantization,
    pub(in crate::operators) turn: Option<[usize; 2]>,
}

impl Kernel for Quantize {
    fn name(&self) -> &'static str {
        "ThoraxQuantize"
    }

    fn run(&self, inputs: &[&Tensor], output: &mut Tensor) -> TractResult<()> {
        let input = values(one(inputs)?)?;
        let mut output = output.try_as_plain_ram_mut()?;
        let output = output.as_slice_mut::<u8>()?;
        let done = match self.turn {
            Some(sizes) => quantized::quantize_channels_last(input, sizes, self.y, output),
            None => quantized::quantize(input, self.y, output),
        };
        Ok(done?)
    }
}

/// Bytes to values.
#[derive(Debug)]
pub(in crate::operators) struct Dequantize {
    pub(in crate::operators) x: Quantization,
}

impl Kernel for Dequantize {
    fn name(&self) -> &'static str {
        "ThoraxDequantize"
    }

    fn run(&self, inputs: &[&Tensor], output: &mut Tensor) -> TractResult<()> {
        let operand = Operand { bytes: bytes(one(inputs)?)?, quantization: self.x };
        let mut output = output.try_as_plain_ram_mut()?;
        Ok(quantized::dequantize(operand, output.as_slice_mut::<f32>()?)?)
    }
}
