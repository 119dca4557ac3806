//! The kernels, each with what it was made ready for; values are `[N, H, W, C]`. Those on [`bytes`] have a file of their own.

mod bytes;

use std::fmt::Debug;

use thorax_kernels::channels_last::{
    Factors, PackedConvolution, PackedUpConvolution, Pool, channels_inside, channels_outside, concatenate,
    global_average, scale,
};
use tract_onnx::tract_core::internal::*;

pub(super) use bytes::{
    ByteCombination, ByteConcatenate, ByteConvolution, ByteTable, ByteWindows, DepthToSpace, Dequantize, Quantize,
};

/// What an operator computes.
pub(super) trait Kernel: Debug + Send + Sync {
    /// As tract shows it.
    fn name(&self) -> &'static str;

    /// Writes all of `output`.
    fn run(&self, inputs: &[&Tensor], output: &mut Tensor) -> TractResult<()>;
}

fn values(tensor: &Tensor) -> TractResult<&[f32]> {
    tensor.try_as_plain_ram()?.as_slice::<f32>()
}

fn one<'a, T: ?Sized>(inputs: &[&'a T]) -> TractResult<&'a T> {
    inputs.first().copied().context("an operator without its input")
}

/// A convolution, with a second summand if there is a second input.
#[derive(Debug)]
pub(super) struct Convolution {
    pub(super) packed: PackedConvolution,
}

impl Kernel for Convolution {
    fn name(&self) -> &'static str {
        "ThoraxConvolution"
    }

    fn run(&self, inputs: &[&Tensor], output: &mut Tensor) -> TractResult<()> {
        let batch = output.shape().first().copied().unwrap_or(1);
        let add = inputs.get(1).map(|add| values(add)).transpose()?;
        let mut output = output.try_as_plain_ram_mut()?;
        Ok(self.packed.run(batch, values(one(inputs)?)?, add, output.as_slice_mut::<f32>()?)?)
    }
}

/// A transposed convolution of kernel 2 and stride 2.
#[derive(Debug)]
pub(super) struct UpConvolution {
    pub(super) packed: PackedUpConvolution,
}

impl Kernel for UpConvolution {
    fn name(&self) -> &'static str {
        "ThoraxUpConvolution"
    }

    fn run(&self, inputs: &[&Tensor], output: &mut Tensor) -> TractResult<()> {
        let input = one(inputs)?;
        let [batch, height, width, _] = *input.shape() else { bail!("not [N, H, W, C]: {:?}", input.shape()) };
        let mut output = output.try_as_plain_ram_mut()?;
        Ok(self.packed.run(batch * height, width, values(input)?, output.as_slice_mut::<f32>()?)?)
    }
}

/// Largest or mean of windows.
#[derive(Debug)]
pub(super) struct Windows {
    pub(super) pool: Pool,
}

impl Kernel for Windows {
    fn name(&self) -> &'static str {
        "ThoraxPool"
    }

    fn run(&self, inputs: &[&Tensor], output: &mut Tensor) -> TractResult<()> {
        let batch = output.shape().first().copied().unwrap_or(1);
        let mut output = output.try_as_plain_ram_mut()?;
        Ok(self.pool.run(batch, values(one(inputs)?)?, output.as_slice_mut::<f32>()?)?)
    }
}

/// The mean of each channel.
#[derive(Debug)]
pub(super) struct GlobalAverage {
    pub(super) pixels: usize,
    pub(super) channels: usize,
}

impl Kernel for GlobalAverage {
    fn name(&self) -> &'static str {
        "ThoraxGlobalAverage"
    }

    fn run(&self, inputs: &[&Tensor], output: &mut Tensor) -> TractResult<()> {
        let mut output = output.try_as_plain_ram_mut()?;
        Ok(global_average(self.pixels, self.channels, values(one(inputs)?)?, output.as_slice_mut::<f32>()?)?)
    }
}

/// The channels of all inputs, one after another.
#[derive(Debug)]
pub(super) struct Concatenate {
    pub(super) channels: Vec<usize>,
}

impl Kernel for Concatenate {
    fn name(&self) -> &'static str {
        "ThoraxConcatenate"
    }

    fn run(&self, inputs: &[&Tensor], output: &mut Tensor) -> TractResult<()> {
        let mut parts: TVec<(usize, &[f32])> = tvec!();
        for (input, &channels) in inputs.iter().zip(&self.channels) {
            parts.push((channels, values(input)?));
        }
        let mut output = output.try_as_plain_ram_mut()?;
        Ok(concatenate(&parts, output.as_slice_mut::<f32>()?)?)
    }
}

/// The first input times the second, which has a factor a channel or a pixel.
#[derive(Debug)]
pub(super) struct Scale {
    pub(super) factors: Factors,
    pub(super) pixels: usize,
    pub(super) channels: usize,
}

impl Kernel for Scale {
    fn name(&self) -> &'static str {
        "ThoraxScale"
    }

    fn run(&self, inputs: &[&Tensor], output: &mut Tensor) -> TractResult<()> {
        let [x, factors] = inputs else { bail!("a scale of {}", inputs.len()) };
        let mut output = output.try_as_plain_ram_mut()?;
        let output = output.as_slice_mut::<f32>()?;
        Ok(scale(self.factors, [self.pixels, self.channels], values(x)?, values(factors)?, output)?)
    }
}

/// From `[N, C, H, W]` to `[N, H, W, C]`, or back.
#[derive(Debug)]
pub(super) struct Turn {
    pub(super) inside: bool,
    pub(super) channels: usize,
    pub(super) pixels: usize,
}

impl Kernel for Turn {
    fn name(&self) -> &'static str {
        if self.inside { "ThoraxChannelsInside" } else { "ThoraxChannelsOutside" }
    }

    fn run(&self, inputs: &[&Tensor], output: &mut Tensor) -> TractResult<()> {
        let turn = if self.inside { channels_inside } else { channels_outside };
        let mut output = output.try_as_plain_ram_mut()?;
        Ok(turn([self.channels, self.pixels], values(one(inputs)?)?, output.as_slice_mut::<f32>()?)?)
    }
}
