//! Inference on `[N, H, W, C]`: the channels of a pixel lie side by side, so a register holds the channels of one pixel.
//!
//! The kernels of [`convolution`](crate::convolution) keep `[N, C, H, W]`, as training wants it, and need long rows. A net for
//! inference has few pixels and many channels in its later half, products of single pixels, and convolutions that keep the
//! channels apart; with the channels inside all of these are the same few loops, and bands of rows are whole slices of
//! memory. `dense` multiplies, `depthwise` keeps channels apart, `transposed` doubles the sides, `pool` and `scale` are what their
//! names say; `tile` is the product in registers that the first three share; `layout` leads here and back.
//!
//! Whatever is here is packed once for its weights and then run as often as one likes, without allocating. Results do not
//! depend on the number of threads.

mod aligned;
mod dense;
mod depthwise;
mod layout;
mod pool;
mod scale;
mod tile;
mod transposed;

pub use layout::{channels_inside, channels_outside};
pub use pool::{Pool, PoolKind, concatenate, global_average};
pub use scale::{Factors, scale};

use crate::{
    KernelError,
    convolution::{Activation, Convolution, Padding},
};

/// A convolution with its weights and what follows it: a sum and an activation.
#[derive(Debug)]
pub struct PackedConvolution {
    /// Values of a picture, before and behind.
    lengths: [usize; 2],
    activation: Activation,
    kernel: Kernel,
}

#[derive(Debug)]
enum Kernel {
    Dense(dense::Dense),
    Depthwise(depthwise::Depthwise),
}

/// A convolution as a net has it. The batch of its geometry plays no part.
#[derive(Clone, Copy, Debug)]
pub struct Layer<'a> {
    /// Its sizes.
    pub geometry: Convolution,
    /// `[C_out, C_in / groups, K_h, K_w]`
    pub weight: &'a [f32],
    /// `[C_out]`
    pub bias: Option<&'a [f32]>,
    /// What follows.
    pub activation: Activation,
}

impl Layer<'_> {
    /// The sizes for one picture.
    fn checked(&self) -> Result<Convolution, KernelError> {
        let geometry = Convolution { batch: 1, ..self.geometry };
        geometry.check()?;
        expect("the weight", self.weight.len(), geometry.weight_length())?;
        if let Some(bias) = self.bias {
            expect("the bias", bias.len(), geometry.channels_out)?;
        }
        Ok(geometry)
    }
}

/// Whether every channel is convolved by itself.
fn channels_apart(geometry: &Convolution) -> bool {
    [geometry.channels_in, geometry.channels_out] == [geometry.groups; 2]
}

impl PackedConvolution {
    /// # Errors
    /// Sizes that contradict each other, slices of another length, groups that are neither one nor the channels.
    pub fn new(layer: &Layer<'_>) -> Result<Self, KernelError> {
        let geometry = layer.checked()?;
        let kernel = if geometry.groups == 1 {
            Kernel::Dense(dense::Dense::new(&geometry, layer.weight, layer.bias))
        } else if channels_apart(&geometry) {
            Kernel::Depthwise(depthwise::Depthwise::new(&geometry, layer.weight, layer.bias))
        } else {
            return Err(KernelError::Shape(format!(
                "convolution: groups must be one or the channels, with the channels inside: {geometry:?}"
            )));
        };
        let lengths = [geometry.input_length(), geometry.output_length()];
        Ok(Self { lengths, activation: layer.activation, kernel })
    }

    /// A depthwise convolution behind one of single pixels, `before`, whose values are made as they are needed: those parts of an inverted
    /// residual block (Sandler et al. 2018, figure 3) that have many channels.
    ///
    /// # Errors
    /// As [`Self::new`]; a first that is not of single pixels, a second that mixes channels or is not of the first's output.
    pub fn expanded(before: &Layer<'_>, layer: &Layer<'_>) -> Result<Self, KernelError> {
        let (first, second) = (before.checked()?, layer.checked()?);
        let single = first.groups * first.kernel_height * first.kernel_width * first.stride == 1
            && first.padding == Padding::default();
        let between = [first.channels_out, first.height, first.width];
        if !single || !channels_apart(&second) || between != [second.channels_in, second.height, second.width] {
            return Err(KernelError::Shape(format!("an expanded depthwise convolution: {first:?}, then {second:?}")));
        }
        let depthwise = depthwise::Depthwise::new(&second, layer.weight, layer.bias);
        let kernel =
            Kernel::Depthwise(depthwise.expanding(first.channels_in, before.weight, before.bias, before.activation));
        let lengths = [first.input_length(), second.output_length()];
        Ok(Self { lengths, activation: layer.activation, kernel })
    }

    /// `x` `[N, H, W, C_in]` to `out` `[N, H', W', C_out]`; `add` of `out`'s shape is added before the activation.
    ///
    /// # Errors
    /// Slices of another length.
    pub fn run(&self, batch: usize, x: &[f32], add: Option<&[f32]>, out: &mut [f32]) -> Result<(), KernelError> {
        expect("the input", x.len(), batch * self.lengths[0])?;
        expect("the output", out.len(), batch * self.lengths[1])?;
        if let Some(add) = add {
            expect("the second summand", add.len(), out.len())?;
        }
        match &self.kernel {
            Kernel::Dense(dense) => dense.run(x, add, self.activation, out),
            Kernel::Depthwise(depthwise) => depthwise.run(x, add, self.activation, out),
        }
        Ok(())
    }
}

/// A transposed convolution of kernel 2 and stride 2, which doubles both sides.
#[derive(Debug)]
pub struct PackedUpConvolution {
    channels_in: usize,
    channels_out: usize,
    kernel: transposed::Transposed,
}

impl PackedUpConvolution {
    /// `weight` `[C_in, C_out, 2, 2]`, `bias` `[C_out]`.
    ///
    /// # Errors
    /// Slices of another length.
    pub fn new(
        [channels_in, channels_out]: [usize; 2],
        weight: &[f32],
        bias: Option<&[f32]>,
    ) -> Result<Self, KernelError> {
        expect("the weight", weight.len(), channels_in * channels_out * 4)?;
        if let Some(bias) = bias {
            expect("the bias", bias.len(), channels_out)?;
        }
        if channels_in * channels_out == 0 {
            return Err(KernelError::Shape("transposed convolution: no channels".into()));
        }
        let kernel = transposed::Transposed::new([channels_in, channels_out], weight, bias);
        Ok(Self { channels_in, channels_out, kernel })
    }

    /// `x` `[N, H, W, C_in]` to `out` `[N, 2 H, 2 W, C_out]`; `rows` is `N * H`, `width` is W.
    ///
    /// # Errors
    /// Slices of another length.
    pub fn run(&self, rows: usize, width: usize, x: &[f32], out: &mut [f32]) -> Result<(), KernelError> {
        expect("the input", x.len(), rows * width * self.channels_in)?;
        expect("the output", out.len(), 4 * rows * width * self.channels_out)?;
        self.kernel.run(width, x, out);
        Ok(())
    }
}

fn expect(name: &str, length: usize, expected: usize) -> Result<(), KernelError> {
    if length == expected {
        return Ok(());
    }
    Err(KernelError::Shape(format!("channels last: {name} has {length} values, expected {expected}")))
}
