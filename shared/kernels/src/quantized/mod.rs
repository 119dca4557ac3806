//! Inference on bytes, `[N, H, W, C]`: the integer arithmetic of ONNX's quantized operators.
//!
//! Activations are u8 with one [`Quantization`] a tensor, weights are i8 with zero point 0 and one scale an output channel.
//! Four products of bytes fit where one of f32 does, so on processors that sum them by one instruction a convolution takes
//! a fraction of the time. [`Convolution`] is packed once for its sizes and the machine's [`InstructionSet`].
//!
//! The room is built in layers. `instructions` says what is asked of a processor, and has an answer for each. `product`
//! sums tiles in registers, from weights in the order of `panels`; `dense` and `depthwise` bring a convolution's rows
//! before it. `pointwise`, `pool` and `layout` are the other operators. Sums of integers are exact and the rest is one
//! rounding, so every set of instructions, and every number of threads, gives the same bytes.
#![allow(
    unsafe_code,
    reason = "instructions that sum products of bytes are intrinsics; each use has its proof beside it"
)]

mod convolution;
mod dense;
mod depthwise;
mod instructions;
mod layout;
mod memory;
mod panels;
mod pointwise;
mod pool;
mod product;

pub use convolution::Convolution;
pub use instructions::InstructionSet;
pub use layout::{
    DepthOrder, Interpolation, Part, concatenate, depth_to_space, dequantize_channels_first, double,
    quantize_channels_last,
};
pub use pointwise::{Broadcast, Combination, Operand, Operation, Table, dequantize, quantize};
pub use pool::{Pool, PoolKind, global_average};

use crate::{KernelError, convolution::Convolution as Geometry};

/// What the bytes of a tensor stand for: `scale * (byte - zero_point)`.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Quantization {
    /// The distance of two neighbouring values.
    pub scale: f32,
    /// The byte that stands for 0.
    pub zero_point: u8,
}

impl Quantization {
    /// The byte of a value: `round(value / scale) + zero_point`, ties to even, saturated. (`QuantizeLinear` of ONNX.)
    #[inline(always)]
    pub fn quantize(self, value: f32) -> u8 {
        let zero_point = f32::from(self.zero_point);
        ((value / self.scale).max(-zero_point).min(255.0 - zero_point).round_ties_even() + zero_point) as u8
    }

    /// The value of a byte. (`DequantizeLinear` of ONNX.)
    #[inline(always)]
    pub fn dequantize(self, byte: u8) -> f32 {
        f32::from(i16::from(byte) - i16::from(self.zero_point)) * self.scale
    }

    fn check(self) -> Result<(), KernelError> {
        if self.scale.is_finite() && self.scale > 0.0 {
            return Ok(());
        }
        Err(KernelError::Shape(format!("quantized: a scale must be above 0, not {}", self.scale)))
    }
}

fn expect(name: &str, length: usize, expected: usize) -> Result<(), KernelError> {
    if length == expected {
        return Ok(());
    }
    Err(KernelError::Shape(format!("quantized: {name} has {length} values, expected {expected}")))
}
