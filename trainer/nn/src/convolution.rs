//! Two-dimensional convolution and transposed convolution, forward and backward.
//!
//! candle's CPU convolution has slow gradients and walks grouped convolutions one group at a time; `thorax-kernels` does
//! the work here (`thorax-train bench nn` prints both times). A transposed convolution is the gradient of a convolution to its
//! input, so the three kernels serve both: what is forward for the one is backward for the other.

#[cfg(feature = "cuda")]
use candle_core::CudaStorage;
use candle_core::{CpuStorage, CustomOp2, CustomOp3, Layout, Result, Shape, Tensor};
use thorax_kernels::convolution::{Convolution as Geometry, Epilogue};

#[cfg(feature = "cuda")]
use super::cuda::convolution as cuda;
use super::{computed, contiguous, elementwise::sum_channels, kernel_error};

pub use thorax_kernels::convolution::Padding;

/// How the kernel moves over the picture.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ConvolutionConfig {
    /// Step, down and across.
    pub stride: usize,
    /// Zeros around the picture.
    pub padding: Padding,
    /// Distance of the kernel's taps, down and across.
    pub dilation: usize,
    /// Groups of channels that do not see each other; the number of channels for a depthwise convolution.
    pub groups: usize,
}

impl ConvolutionConfig {
    /// Stride 1, one group, output as large as the input for an odd `kernel`.
    pub const fn dense(kernel: usize) -> Self {
        Self { stride: 1, padding: Padding::all(kernel / 2), dilation: 1, groups: 1 }
    }

    /// All sizes of the convolution of an input of shape `x` with a weight of shape `weight`.
    ///
    /// # Errors
    /// Shapes that do not fit; a kernel larger than the padded picture.
    pub fn geometry(&self, x: &Shape, weight: &Shape) -> Result<Geometry> {
        let (batch, channels_in, height, width) = x.dims4()?;
        let (channels_out, channels_per_group, kernel_height, kernel_width) = weight.dims4()?;
        let Self { stride, padding, dilation, groups } = *self;
        if channels_per_group * groups != channels_in {
            candle_core::bail!("convolution: input {x:?} does not fit weight {weight:?} with {self:?}");
        }
        let geometry = Geometry {
            batch,
            channels_in,
            channels_out,
            height,
            width,
            kernel_height,
            kernel_width,
            stride,
            dilation,
            padding,
            groups,
        };
        geometry.check().map_err(kernel_error)?;
        Ok(geometry)
    }

    /// On a GPU, pads `x` by what one side has more than the other, since cuDNN pads opposite sides alike.
    fn for_device(self, x: &Tensor) -> Result<(Tensor, Self)> {
        let Padding { top, left, bottom, right } = self.padding;
        let (y, across) = (top.min(bottom), left.min(right));
        let padding = Padding { top: y, left: across, bottom: y, right: across };
        if x.device().is_cpu() || padding == self.padding {
            return Ok((x.clone(), self));
        }
        let x = x.pad_with_zeros(2, top - y, bottom - y)?.pad_with_zeros(3, left - across, right - across)?;
        Ok((x, Self { padding, ..self }))
    }
}

/// `x` `[N, C_in, H, W]` convolved with `weight` `[C_out, C_in / groups, K_h, K_w]`, giving `[N, C_out, H', W']`.
///
/// Differentiable in both. The weight may be f32 where `x` is bf16 or f16, and is rounded to its type.
///
/// # Errors
/// Shapes that do not fit; a kernel larger than the padded picture; on the CPU, other types than f32.
pub fn convolution(x: &Tensor, weight: &Tensor, config: ConvolutionConfig) -> Result<Tensor> {
    let (x, config) = config.for_device(x)?;
    let geometry = config.geometry(x.shape(), weight.shape())?;
    x.contiguous()?.apply_op2(&weight.to_dtype(x.dtype())?.contiguous()?, Convolve::Forward(geometry))
}

/// As [`convolution`], plus `bias` `[C_out]`. Differentiable in all three.
///
/// # Errors
/// As [`convolution`].
pub fn biased_convolution(x: &Tensor, weight: &Tensor, bias: &Tensor, config: ConvolutionConfig) -> Result<Tensor> {
    if !x.device().is_cpu() {
        return super::elementwise::add_channels(&convolution(x, weight, config)?, bias);
    }
    let geometry = config.geometry(x.shape(), weight.shape())?;
    x.contiguous()?.apply_op3(&weight.contiguous()?, &bias.contiguous()?, Convolve::Forward(geometry))
}

/// The gradient of a convolution to its input of shape `x`, from that to its output.
///
/// # Errors
/// As [`convolution`].
pub fn convolution_input_gradient(
    weight: &Tensor,
    gradient: &Tensor,
    x: &Shape,
    config: ConvolutionConfig,
) -> Result<Tensor> {
    let geometry = config.geometry(x, weight.shape())?;
    weight.contiguous()?.apply_op2_no_bwd(&gradient.contiguous()?, &InputGradient(geometry))
}

/// The gradient of a convolution to its weight of shape `weight`, from that to its output.
///
/// # Errors
/// As [`convolution`].
pub fn convolution_weight_gradient(
    x: &Tensor,
    gradient: &Tensor,
    weight: &Shape,
    config: ConvolutionConfig,
) -> Result<Tensor> {
    let geometry = config.geometry(x.shape(), weight)?;
    x.contiguous()?.apply_op2_no_bwd(&gradient.contiguous()?, &WeightGradient(geometry))
}

/// How a transposed convolution spreads the picture.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TransposedConfig {
    /// Distance at which the input's pixels are laid out.
    pub stride: usize,
    /// Rows and columns cut off all around.
    pub padding: usize,
    /// Rows added below and columns added on the right; less than the stride.
    pub output_padding: usize,
    /// Distance of the kernel's taps.
    pub dilation: usize,
    /// Groups of channels that do not see each other.
    pub groups: usize,
}

impl TransposedConfig {
    /// Doubles the sides with a kernel of 2.
    pub const fn doubling() -> Self {
        Self { stride: 2, padding: 0, output_padding: 0, dilation: 1, groups: 1 }
    }

    /// The convolution whose gradient this is: its input is our output.
    pub(super) fn geometry(&self, x: &Shape, weight: &Shape) -> Result<Geometry> {
        let (batch, channels, height, width) = x.dims4()?;
        let (channels_in, channels_per_group, kernel_height, kernel_width) = weight.dims4()?;
        let Self { stride, padding, output_padding, dilation, groups } = *self;
        let side = |size: usize, kernel: usize| {
            let full = size.checked_sub(1)? * stride + kernel.checked_sub(1)? * dilation + 1 + output_padding;
            full.checked_sub(2 * padding)
        };
        let (Some(height_out), Some(width_out), true) =
            (side(height, kernel_height), side(width, kernel_width), channels == channels_in)
        else {
            candle_core::bail!("transposed convolution: input {x:?} does not fit weight {weight:?} with {self:?}");
        };
        if output_padding >= stride {
            candle_core::bail!("transposed convolution: the output padding must be below the stride: {self:?}");
        }
        let geometry = Geometry {
            batch,
            channels_in: channels_per_group * groups,
            channels_out: channels,
            height: height_out,
            width: width_out,
            kernel_height,
            kernel_width,
            stride,
            dilation,
            padding: Padding::all(padding),
            groups,
        };
        geometry.check().map_err(kernel_error)?;
        Ok(geometry)
    }
}

/// `x` `[N, C_in, H, W]` spread by `weight` `[C_in, C_out / groups, K_h, K_w]`, giving `[N, C_out, H', W']` with
/// `H' = (H - 1) * stride - 2 * padding + dilation * (K_h - 1) + output_padding + 1`, as in PyTorch.
///
/// Differentiable in both. The weight may be f32 where `x` is bf16 or f16, and is rounded to its type.
///
/// # Errors
/// Shapes that do not fit; on the CPU, other types than f32.
pub fn transposed_convolution(x: &Tensor, weight: &Tensor, config: TransposedConfig) -> Result<Tensor> {
    let geometry = config.geometry(x.shape(), weight.shape())?;
    x.contiguous()?.apply_op2(&weight.to_dtype(x.dtype())?.contiguous()?, Convolve::Transposed(geometry))
}

/// As [`transposed_convolution`], plus `bias` `[C_out]`. Differentiable in all three.
///
/// # Errors
/// As [`transposed_convolution`].
pub fn biased_transposed_convolution(
    x: &Tensor,
    weight: &Tensor,
    bias: &Tensor,
    config: TransposedConfig,
) -> Result<Tensor> {
    if !x.device().is_cpu() {
        return super::elementwise::add_channels(&transposed_convolution(x, weight, config)?, bias);
    }
    let geometry = config.geometry(x.shape(), weight.shape())?;
    x.contiguous()?.apply_op3(&weight.contiguous()?, &bias.contiguous()?, Convolve::Transposed(geometry))
}

fn input_shape(g: &Geometry) -> Shape {
    (g.batch, g.channels_in, g.height, g.width).into()
}

fn output_shape(g: &Geometry) -> Shape {
    (g.batch, g.channels_out, g.height_out(), g.width_out()).into()
}

fn weight_shape(g: &Geometry) -> Shape {
    (g.channels_out, g.channels_in / g.groups, g.kernel_height, g.kernel_width).into()
}

/// The gradient, contiguous, and nothing where `operand` needs none: a picture is no variable.
fn wanted(operand: &Tensor, gradient: impl FnOnce() -> Result<Tensor>) -> Result<Option<Tensor>> {
    if operand.track_op() { gradient().map(Some) } else { Ok(None) }
}

/// Input, weight, and perhaps bias, to output.
#[derive(Clone, Copy)]
enum Convolve {
    /// From the geometry's input to its output.
    Forward(Geometry),
    /// From the geometry's output to its input: the transposed convolution.
    Transposed(Geometry),
}

impl Convolve {
    fn run(&self, operands: [(&CpuStorage, &Layout); 2], bias: Option<&[f32]>) -> Result<(CpuStorage, Shape)> {
        let [x, weight] = operands.map(|(storage, layout)| contiguous(storage, layout, CustomOp2::name(self)));
        let (x, weight) = (x?, weight?);
        match self {
            Self::Forward(g) => {
                let epilogue = Epilogue { bias, ..Epilogue::default() };
                computed(output_shape(g), |out| g.forward(x, weight, epilogue, out))
            }
            Self::Transposed(g) => computed(input_shape(g), |out| g.input_gradient(weight, x, bias, out)),
        }
    }

    fn gradients(&self, x: &Tensor, weight: &Tensor, gradient: &Tensor) -> Result<(Option<Tensor>, Option<Tensor>)> {
        match *self {
            Self::Forward(g) => Ok((
                wanted(x, || weight.apply_op2_no_bwd(gradient, &InputGradient(g)))?,
                wanted(weight, || x.apply_op2_no_bwd(gradient, &WeightGradient(g)))?,
            )),
            Self::Transposed(g) => Ok((
                wanted(x, || gradient.apply_op2_no_bwd(weight, &Self::Forward(g)))?,
                wanted(weight, || gradient.apply_op2_no_bwd(x, &WeightGradient(g)))?,
            )),
        }
    }
}

impl CustomOp2 for Convolve {
    fn name(&self) -> &'static str {
        match self {
            Self::Forward(_) => "convolution",
            Self::Transposed(_) => "transposed convolution",
        }
    }

    #[cfg(feature = "cuda")]
    fn cuda_fwd(&self, x: &CudaStorage, xl: &Layout, w: &CudaStorage, wl: &Layout) -> Result<(CudaStorage, Shape)> {
        match self {
            Self::Forward(g) => Ok((cuda::convolution((x, xl), (w, wl), g)?, output_shape(g))),
            Self::Transposed(g) => Ok((cuda::convolution_input_gradient((w, wl), (x, xl), g)?, input_shape(g))),
        }
    }

    fn cpu_fwd(&self, x: &CpuStorage, xl: &Layout, w: &CpuStorage, wl: &Layout) -> Result<(CpuStorage, Shape)> {
        self.run([(x, xl), (w, wl)], None)
    }

    fn bwd(&self, x: &Tensor, w: &Tensor, _: &Tensor, gradient: &Tensor) -> Result<(Option<Tensor>, Option<Tensor>)> {
        self.gradients(x, w, &gradient.contiguous()?)
    }
}

impl CustomOp3 for Convolve {
    fn name(&self) -> &'static str {
        "convolution with bias"
    }

    fn cpu_fwd(
        &self,
        x: &CpuStorage,
        xl: &Layout,
        w: &CpuStorage,
        wl: &Layout,
        b: &CpuStorage,
        bl: &Layout,
    ) -> Result<(CpuStorage, Shape)> {
        self.run([(x, xl), (w, wl)], Some(contiguous(b, bl, CustomOp3::name(self))?))
    }

    fn bwd(
        &self,
        x: &Tensor,
        w: &Tensor,
        bias: &Tensor,
        _: &Tensor,
        gradient: &Tensor,
    ) -> Result<(Option<Tensor>, Option<Tensor>, Option<Tensor>)> {
        let gradient = gradient.contiguous()?;
        let (to_x, to_w) = self.gradients(x, w, &gradient)?;
        Ok((to_x, to_w, wanted(bias, || sum_channels(&gradient))?))
    }
}

/// Weight and output's gradient to input's gradient.
struct InputGradient(Geometry);

impl CustomOp2 for InputGradient {
    fn name(&self) -> &'static str {
        "convolution input gradient"
    }

    #[cfg(feature = "cuda")]
    fn cuda_fwd(&self, w: &CudaStorage, wl: &Layout, d: &CudaStorage, dl: &Layout) -> Result<(CudaStorage, Shape)> {
        Ok((cuda::convolution_input_gradient((w, wl), (d, dl), &self.0)?, input_shape(&self.0)))
    }

    fn cpu_fwd(&self, w: &CpuStorage, wl: &Layout, d: &CpuStorage, dl: &Layout) -> Result<(CpuStorage, Shape)> {
        let (w, d) = (contiguous(w, wl, self.name())?, contiguous(d, dl, self.name())?);
        computed(input_shape(&self.0), |out| self.0.input_gradient(w, d, None, out))
    }
}

/// Input and output's gradient to weight's gradient.
struct WeightGradient(Geometry);

impl CustomOp2 for WeightGradient {
    fn name(&self) -> &'static str {
        "convolution weight gradient"
    }

    #[cfg(feature = "cuda")]
    fn cuda_fwd(&self, x: &CudaStorage, xl: &Layout, d: &CudaStorage, dl: &Layout) -> Result<(CudaStorage, Shape)> {
        Ok((cuda::convolution_weight_gradient((x, xl), (d, dl), &self.0)?, weight_shape(&self.0)))
    }

    fn cpu_fwd(&self, x: &CpuStorage, xl: &Layout, d: &CpuStorage, dl: &Layout) -> Result<(CpuStorage, Shape)> {
        let (x, d) = (contiguous(x, xl, self.name())?, contiguous(d, dl, self.name())?);
        computed(weight_shape(&self.0), |out| self.0.weight_gradient(x, d, out))
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::super::seeded;
    use super::*;
    use candle_core::{Device, Var};

    const CASES: [(usize, usize, usize, usize, usize, ConvolutionConfig); 7] = {
        const fn c(stride: usize, padding: Padding, groups: usize) -> ConvolutionConfig {
            ConvolutionConfig { stride, padding, dilation: 1, groups }
        }
        const ODD: Padding = Padding { top: 0, left: 1, bottom: 2, right: 1 };
        [
            (3, 5, 9, 11, 3, c(1, Padding::all(1), 1)),
            (4, 6, 8, 7, 1, c(1, Padding::all(0), 1)),
            (3, 2, 13, 10, 3, c(2, ODD, 1)),
            (2, 3, 7, 9, 5, c(3, Padding::all(2), 1)),
            (6, 6, 9, 10, 3, c(1, Padding::all(1), 6)),
            (5, 5, 12, 11, 5, c(2, ODD, 5)),
            (2, 2, 3, 3, 3, c(1, Padding::all(3), 1)),
        ]
    };

    fn stock(x: &Tensor, w: &Tensor, c: ConvolutionConfig) -> Tensor {
        let p = c.padding;
        let x = x.pad_with_zeros(2, p.top, p.bottom).unwrap().pad_with_zeros(3, p.left, p.right).unwrap();
        x.conv2d(w, 0, c.stride, 1, c.groups).unwrap()
    }

    fn worst(a: &Tensor, b: &Tensor) -> f32 {
        assert_eq!(a.dims(), b.dims());
        (a - b).unwrap().abs().unwrap().flatten_all().unwrap().max(0).unwrap().to_scalar().unwrap()
    }

    fn total(x: &Tensor) -> f64 {
        x.to_dtype(candle_core::DType::F64).unwrap().sum_all().unwrap().to_scalar().unwrap()
    }

    /// A convolution is linear in its input and in its weight, so the slope along any direction is the value there: an
    /// exact check of both gradients (candle's own fail for strides that leave different remainders down and across).
    #[test]
    fn value_equals_candles_own_and_gradients_the_exact_slopes() {
        for (index, (cin, cout, h, w, k, config)) in CASES.into_iter().enumerate() {
            let device = Device::Cpu;
            let draw = |shape: &[usize], stream: usize| {
                seeded::normal(shape, 1.0, (100 * stream + index) as u64, &device).unwrap()
            };
            let weight_shape = [cout, cin / config.groups, k, k];
            let x = Var::from_tensor(&draw(&[2, cin, h, w], 1)).unwrap();
            let weight = Var::from_tensor(&draw(&weight_shape, 2)).unwrap();
            let ours = convolution(&x, &weight, config).unwrap();
            assert!(worst(&ours, &stock(&x, &weight, config)) < 1e-4, "case {index}: value");
            // A weighted sum, so that no two output pixels pull alike.
            let pull = draw(ours.dims(), 3);
            let gradients = (&ours * &pull).unwrap().sum_all().unwrap().backward().unwrap();
            let slope = |x: &Tensor, weight: &Tensor| total(&(stock(x, weight, config) * &pull).unwrap());
            for stream in 4..8 {
                let (dx, dw) = (draw(&[2, cin, h, w], stream), draw(&weight_shape, 10 + stream));
                for (name, var, direction, expected) in
                    [("input", &x, &dx, slope(&dx, &weight)), ("weight", &weight, &dw, slope(&x, &dw))]
                {
                    let got = total(&(gradients.get(var).unwrap() * direction).unwrap());
                    assert!(
                        (got - expected).abs() < 1e-3 * expected.abs().max(10.0),
                        "case {index}, {name}: {got} {expected}"
                    );
                }
            }
        }
    }

    #[test]
    fn padding_same_is_tensorflows() {
        assert_eq!(Padding::same(224, 3, 2), Padding { top: 0, left: 0, bottom: 1, right: 1 });
        assert_eq!(Padding::same(7, 5, 1), Padding::all(2));
        assert_eq!(Padding::same(56, 5, 2), Padding { top: 1, left: 1, bottom: 2, right: 2 });
    }

    #[test]
    fn shapes_that_do_not_fit_are_errors() {
        let x = Tensor::zeros((1, 4, 2, 2), candle_core::DType::F32, &Device::Cpu).unwrap();
        for shape in [(1, 3, 3, 3), (1, 4, 9, 9)] {
            let w = Tensor::zeros(shape, candle_core::DType::F32, &Device::Cpu).unwrap();
            assert!(convolution(&x, &w, ConvolutionConfig::dense(3)).is_err());
        }
    }
}
