//! The convolution of bytes: `QLinearConv` of ONNX (opset 10), with weights of zero point 0.

use super::{Geometry, Quantization, dense::Dense, depthwise::Depthwise, expect, instructions::InstructionSet};
use crate::KernelError;

/// A convolution of bytes with its weights, packed once for its sizes and this machine.
///
/// With the quantizations `x` and `y` of input and output and one weight scale an output channel,
/// `y = round(sum * (x.scale * weight_scale / y.scale)) + y.zero_point`, saturated, where `sum` is the bias plus the
/// products of `x - x.zero_point` with the weights, in 32 bits; the factor is formed from left to right in f32, the sum is
/// turned into f32 before it is multiplied, and ties are rounded to the even number. So does ONNX Runtime. The padding is
/// the input's zero point. A ReLU that follows is the saturation below, if `y.zero_point` is 0.
#[derive(Debug)]
pub struct Convolution {
    geometry: Geometry,
    kernel: Kernel,
}

#[derive(Debug)]
enum Kernel {
    Dense(Dense),
    Depthwise(Depthwise),
}

impl Convolution {
    /// `weight` `[C_out, C_in / groups, K_h, K_w]`, `weight_scales` `[C_out]` or `[1]`, `bias` `[C_out]` of scale
    /// `x.scale * weight_scale`. The batch of `geometry` plays no part.
    ///
    /// # Errors
    /// Sizes that contradict each other, slices of another length, scales that are not above 0.
    pub fn new(
        geometry: &Geometry,
        weight: &[i8],
        weight_scales: &[f32],
        bias: Option<&[i32]>,
        x: Quantization,
        y: Quantization,
    ) -> Result<Self, KernelError> {
        Self::with_instructions(InstructionSet::best(), geometry, weight, weight_scales, bias, x, y)
    }

    /// As [`Self::new`], with instructions of one's own choice. The results are the same.
    ///
    /// # Errors
    /// As [`Self::new`].
    pub fn with_instructions(
        instructions: InstructionSet,
        geometry: &Geometry,
        weight: &[i8],
        weight_scales: &[f32],
        bias: Option<&[i32]>,
        x: Quantization,
        y: Quantization,
    ) -> Result<Self, KernelError> {
        let geometry = Geometry { batch: 1, ..*geometry };
        geometry.check()?;
        expect("the weight", weight.len(), geometry.weight_length())?;
        let channels = geometry.channels_out;
        if weight_scales.len() != 1 {
            expect("the scales of the weight", weight_scales.len(), channels)?;
        }
        if let Some(bias) = bias {
            expect("the bias", bias.len(), channels)?;
        }
        x.check()?;
        y.check()?;
        let scales = if weight_scales.len() == 1 { &vec![weight_scales[0]; channels] } else { weight_scales };
        let multipliers: Vec<f32> = scales.iter().map(|scale| x.scale * scale / y.scale).collect();
        if let Some(channel) = multipliers.iter().position(|multiplier| !multiplier.is_finite() || *multiplier < 0.0) {
            return Err(KernelError::Shape(format!(
                "quantized: the scales give channel {channel} the factor {}",
                multipliers[channel]
            )));
        }
        let bias = bias.map_or_else(|| vec![0; channels], <[i32]>::to_vec);
        let instructions = instructions.for_weights(weight);
        let zero_points = [x.zero_point, y.zero_point];
        let depthwise = geometry.groups > 1 && geometry.groups == geometry.channels_in && geometry.groups == channels;
        let kernel = if depthwise {
            Kernel::Depthwise(Depthwise::new(&geometry, instructions, weight, &bias, &multipliers, zero_points))
        } else {
            Kernel::Dense(Dense::new(&geometry, instructions, weight, &bias, &multipliers, zero_points))
        };
        Ok(Self { geometry, kernel })
    }

    /// The sizes, with a batch of 1.
    pub fn geometry(&self) -> &Geometry {
        &self.geometry
    }

    /// `x` `[N, H, W, C_in]` to `out` `[N, H', W', C_out]`.
    ///
    /// # Errors
    /// Slices of another length.
    pub fn run(&self, batch: usize, x: &[u8], out: &mut [u8]) -> Result<(), KernelError> {
        expect("the input", x.len(), batch * self.geometry.input_length())?;
        expect("the output", out.len(), batch * self.geometry.output_length())?;
        if batch == 0 {
            return Ok(());
        }
        match &self.kernel {
            Kernel::Dense(dense) => dense.run(batch, x, out),
            Kernel::Depthwise(depthwise) => depthwise.run(batch, x, out),
        }
        Ok(())
    }
}
