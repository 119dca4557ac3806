//! What nets do between their layers, each as one operator and one pass: candle composes them of several.
//!
//! On another device than the CPU the same functions call candle's stock operations.

use candle_core::{CpuStorage, CustomOp1, CustomOp2, Layout, Result, Shape, Tensor};
use rayon::prelude::*;
use thorax_kernels::elementwise as kernels;

use super::{computed, contiguous};

/// `max(x, 0)`, differentiable.
///
/// # Errors
/// When the device fails.
pub fn relu(x: &Tensor) -> Result<Tensor> {
    if x.device().is_cpu() { x.contiguous()?.apply_op1(Relu) } else { x.relu() }
}

/// `min(max(x, 0), 6)`, differentiable.
///
/// # Errors
/// When the device fails.
pub fn relu6(x: &Tensor) -> Result<Tensor> {
    if x.device().is_cpu() { x.contiguous()?.apply_op1(Relu6) } else { x.clamp(0f32, 6f32) }
}

/// `x / (1 + exp(-x))`, also called SiLU (Ramachandran et al. 2017), differentiable.
///
/// # Errors
/// When the device fails.
pub fn swish(x: &Tensor) -> Result<Tensor> {
    if x.device().is_cpu() { x.contiguous()?.apply_op1(Swish) } else { x * composed_sigmoid(x)? }
}

/// `1 / (1 + exp(-x))`, differentiable.
///
/// # Errors
/// When the device fails.
pub fn sigmoid(x: &Tensor) -> Result<Tensor> {
    if x.device().is_cpu() {
        return x.contiguous()?.apply_op1(Sigmoid);
    }
    composed_sigmoid(x)
}

/// The sigmoid of candle's operations, by the hyperbolic tangent: its gradient is finite everywhere, while that of
/// `1 / (1 + exp(-x))` overflows, in f16 already at -6.
fn composed_sigmoid(x: &Tensor) -> Result<Tensor> {
    ((x * 0.5)?.tanh()? * 0.5)? + 0.5
}

/// The nearest whole number of `step`s within `low..=high`, which are such; differentiable as if nothing were rounded, and flat beyond the
/// ends.
///
/// Halves go to the even neighbour on the CPU, as ONNX has it, and away from zero elsewhere.
///
/// # Errors
/// When the device fails.
pub fn fake_quantize(x: &Tensor, step: f32, [low, high]: [f32; 2]) -> Result<Tensor> {
    if x.device().is_cpu() {
        return x.contiguous()?.apply_op1(FakeQuantize { step, low, high });
    }
    let inside = x.clamp(low, high)?;
    let rounded = ((&inside / f64::from(step))?.round()? * f64::from(step))?;
    &inside + (rounded - &inside)?.detach()
}

/// `max(a + b, 0)`, differentiable in both; `a` and `b` are of one shape.
///
/// # Errors
/// Other shapes.
pub fn add_relu(a: &Tensor, b: &Tensor) -> Result<Tensor> {
    if !a.device().is_cpu() {
        return (a + b)?.relu();
    }
    if a.shape() != b.shape() {
        candle_core::bail!("sum: shapes {:?} and {:?} differ", a.shape(), b.shape());
    }
    a.contiguous()?.apply_op2(&b.contiguous()?, AddRelu)
}

/// Every channel of `x` `[N, C, H, W]` times `attention` `[N, 1, H, W]`, differentiable in both.
///
/// # Errors
/// Other shapes.
pub fn attend(x: &Tensor, attention: &Tensor) -> Result<Tensor> {
    let (n, _, h, w) = x.dims4()?;
    if attention.dims() != [n, 1, h, w] {
        candle_core::bail!("attention {:?} does not fit {:?}", attention.shape(), x.shape());
    }
    if !x.device().is_cpu() {
        return x.broadcast_mul(attention);
    }
    x.contiguous()?.apply_op2(&attention.contiguous()?, Attend)
}

/// Each plane of `x` `[N, C, H, W]` times its number in `scale` `[N, C, 1, 1]`, differentiable in both.
///
/// # Errors
/// Other shapes.
pub fn scale_planes(x: &Tensor, scale: &Tensor) -> Result<Tensor> {
    let (n, c, _, _) = x.dims4()?;
    if scale.dims() != [n, c, 1, 1] {
        candle_core::bail!("scales {:?} do not fit {:?}", scale.shape(), x.shape());
    }
    if !x.device().is_cpu() {
        return x.broadcast_mul(scale);
    }
    x.contiguous()?.apply_op2(&scale.contiguous()?, ScalePlanes)
}

/// The channels of `a` and then those of `b`, both `[N, C, H, W]` but for C. Differentiable in both.
///
/// # Errors
/// Other shapes.
pub fn concatenate(a: &Tensor, b: &Tensor) -> Result<Tensor> {
    let ((n, _, h, w), (bn, _, bh, bw)) = (a.dims4()?, b.dims4()?);
    if (n, h, w) != (bn, bh, bw) {
        candle_core::bail!("concatenation: shapes {:?} and {:?} do not fit", a.shape(), b.shape());
    }
    if !a.device().is_cpu() {
        return Tensor::cat(&[a, b], 1);
    }
    a.contiguous()?.apply_op2(&b.contiguous()?, Concatenate)
}

/// The binary cross entropy `ln(1 + exp(z)) - y z` of each logit `z` and its truth `y`, both of one shape. Differentiable
/// in the logits.
///
/// # Errors
/// Other shapes.
pub fn binary_cross_entropy(logits: &Tensor, truth: &Tensor) -> Result<Tensor> {
    if logits.shape() != truth.shape() {
        candle_core::bail!("cross entropy: shapes {:?} and {:?} differ", logits.shape(), truth.shape());
    }
    if logits.device().is_cpu() {
        return logits.contiguous()?.apply_op2(&truth.contiguous()?, CrossEntropy);
    }
    // max(z, 0) - z y + ln(1 + exp(-|z|)): the stable form.
    (logits.relu()? - (logits * truth)?)? + (logits.abs()?.neg()?.exp()? + 1.0)?.log()?
}

/// The sum of each plane of `x` `[N, C, H, W]`, `[N, C]`. Differentiable.
///
/// # Errors
/// Other shapes.
pub fn sum_planes(x: &Tensor) -> Result<Tensor> {
    if x.device().is_cpu() { x.contiguous()?.apply_op1(SumPlanes) } else { x.sum((2, 3)) }
}

/// The sum over each plane of the products of `a` and `b`, both `[N, C, H, W]`, giving `[N, C]`. Differentiable in `a`.
///
/// # Errors
/// Other shapes.
pub fn dot_planes(a: &Tensor, b: &Tensor) -> Result<Tensor> {
    if !a.device().is_cpu() {
        return (a * b)?.sum((2, 3));
    }
    if a.shape() != b.shape() {
        candle_core::bail!("sum of products: shapes {:?} and {:?} differ", a.shape(), b.shape());
    }
    a.contiguous()?.apply_op2(&b.contiguous()?, DotPlanes)
}

/// `x` `[N, C, H, W]` plus `bias` `[C]`, rounded to the type of `x`; differentiable in both.
///
/// # Errors
/// Other shapes.
pub fn add_channels(x: &Tensor, bias: &Tensor) -> Result<Tensor> {
    x.broadcast_add(&bias.to_dtype(x.dtype())?.reshape((1, bias.elem_count(), 1, 1))?)
}

/// Sum of each channel of `x` `[N, C, H, W]`, `[C]`: the gradient of a bias.
///
/// # Errors
/// Other shapes.
pub(super) fn sum_channels(x: &Tensor) -> Result<Tensor> {
    let (n, c, h, w) = x.dims4()?;
    let sums = super::with_values(x, "bias gradient", |values| kernels::sum_channels(values, n, c, h * w))?;
    Tensor::new(sums, x.device())
}

/// A gradient that needs the operand or the result, and that of the result.
fn gradient_of(
    name: &'static str,
    value: &Tensor,
    gradient: &Tensor,
    f: impl Fn(f32, f32) -> f32 + Copy + Sync,
) -> Result<Tensor> {
    value.apply_op2_no_bwd(&gradient.contiguous()?, &Binary { name, f })
}

struct Binary<F> {
    name: &'static str,
    f: F,
}

impl<F: Fn(f32, f32) -> f32 + Copy + Sync> CustomOp2 for Binary<F> {
    fn name(&self) -> &'static str {
        self.name
    }

    fn cpu_fwd(&self, a: &CpuStorage, al: &Layout, b: &CpuStorage, bl: &Layout) -> Result<(CpuStorage, Shape)> {
        let (a, b) = (contiguous(a, al, self.name)?, contiguous(b, bl, self.name)?);
        computed(al.shape().clone(), |out| {
            kernels::binary(a, b, out, self.f);
            Ok(())
        })
    }
}

struct Relu;

impl CustomOp1 for Relu {
    fn name(&self) -> &'static str {
        "ReLU"
    }

    fn cpu_fwd(&self, x: &CpuStorage, xl: &Layout) -> Result<(CpuStorage, Shape)> {
        let x = contiguous(x, xl, self.name())?;
        computed(xl.shape().clone(), |y| {
            // Written so that a NaN stays one: it must not be hidden from whoever looks for it.
            kernels::unary(x, y, |x| if x < 0.0 { 0.0 } else { x });
            Ok(())
        })
    }

    fn bwd(&self, _: &Tensor, y: &Tensor, gradient: &Tensor) -> Result<Option<Tensor>> {
        gradient_of("ReLU gradient", y, gradient, |y, d| if y > 0.0 { d } else { 0.0 }).map(Some)
    }
}

struct Relu6;

impl CustomOp1 for Relu6 {
    fn name(&self) -> &'static str {
        "ReLU6"
    }

    fn cpu_fwd(&self, x: &CpuStorage, xl: &Layout) -> Result<(CpuStorage, Shape)> {
        let x = contiguous(x, xl, self.name())?;
        computed(xl.shape().clone(), |y| {
            // `clamp` leaves a NaN one.
            kernels::unary(x, y, |x| x.clamp(0.0, 6.0));
            Ok(())
        })
    }

    fn bwd(&self, _: &Tensor, y: &Tensor, gradient: &Tensor) -> Result<Option<Tensor>> {
        gradient_of("ReLU6 gradient", y, gradient, |y, d| if y > 0.0 && y < 6.0 { d } else { 0.0 }).map(Some)
    }
}

struct Swish;

impl CustomOp1 for Swish {
    fn name(&self) -> &'static str {
        "swish"
    }

    fn cpu_fwd(&self, x: &CpuStorage, xl: &Layout) -> Result<(CpuStorage, Shape)> {
        let x = contiguous(x, xl, self.name())?;
        computed(xl.shape().clone(), |y| {
            kernels::swish(x, y);
            Ok(())
        })
    }

    fn bwd(&self, x: &Tensor, _: &Tensor, gradient: &Tensor) -> Result<Option<Tensor>> {
        let slope = |x: f32, d: f32| {
            let s = kernels::sigmoid(x);
            d * s * (1.0 + x * (1.0 - s))
        };
        gradient_of("swish gradient", x, gradient, slope).map(Some)
    }
}

struct Sigmoid;

impl CustomOp1 for Sigmoid {
    fn name(&self) -> &'static str {
        "sigmoid"
    }

    fn cpu_fwd(&self, x: &CpuStorage, xl: &Layout) -> Result<(CpuStorage, Shape)> {
        let x = contiguous(x, xl, self.name())?;
        computed(xl.shape().clone(), |y| {
            kernels::unary(x, y, kernels::sigmoid);
            Ok(())
        })
    }

    fn bwd(&self, _: &Tensor, y: &Tensor, gradient: &Tensor) -> Result<Option<Tensor>> {
        gradient_of("sigmoid gradient", y, gradient, |y, d| d * y * (1.0 - y)).map(Some)
    }
}

struct FakeQuantize {
    step: f32,
    low: f32,
    high: f32,
}

impl CustomOp1 for FakeQuantize {
    fn name(&self) -> &'static str {
        "fake quantization"
    }

    fn cpu_fwd(&self, x: &CpuStorage, xl: &Layout) -> Result<(CpuStorage, Shape)> {
        let x = contiguous(x, xl, self.name())?;
        let Self { step, low, high } = *self;
        computed(xl.shape().clone(), |y| {
            // A NaN stays one.
            kernels::unary(x, y, |x| ((x / step).round_ties_even() * step).clamp(low, high));
            Ok(())
        })
    }

    fn bwd(&self, x: &Tensor, _: &Tensor, gradient: &Tensor) -> Result<Option<Tensor>> {
        let Self { low, high, .. } = *self;
        let slope = move |x: f32, d: f32| if (low..=high).contains(&x) { d } else { 0.0 };
        gradient_of("fake quantization gradient", x, gradient, slope).map(Some)
    }
}

struct AddRelu;

impl CustomOp2 for AddRelu {
    fn name(&self) -> &'static str {
        "sum and ReLU"
    }

    fn cpu_fwd(&self, a: &CpuStorage, al: &Layout, b: &CpuStorage, bl: &Layout) -> Result<(CpuStorage, Shape)> {
        let f = |a: f32, b: f32| if a + b < 0.0 { 0.0 } else { a + b };
        Binary { name: CustomOp2::name(self), f }.cpu_fwd(a, al, b, bl)
    }

    fn bwd(&self, _: &Tensor, _: &Tensor, y: &Tensor, gradient: &Tensor) -> Result<(Option<Tensor>, Option<Tensor>)> {
        let both = gradient_of("sum and ReLU gradient", y, gradient, |y, d| if y > 0.0 { d } else { 0.0 })?;
        Ok((Some(both.clone()), Some(both)))
    }
}

struct Attend;

impl CustomOp2 for Attend {
    fn name(&self) -> &'static str {
        "attention"
    }

    fn cpu_fwd(&self, x: &CpuStorage, xl: &Layout, a: &CpuStorage, al: &Layout) -> Result<(CpuStorage, Shape)> {
        let (_, channels, h, w) = xl.shape().dims4()?;
        let (x, a) = (contiguous(x, xl, self.name())?, contiguous(a, al, self.name())?);
        computed(xl.shape().clone(), |out| {
            kernels::multiply_by_plane(x, a, channels, h * w, out);
            Ok(())
        })
    }

    fn bwd(
        &self,
        x: &Tensor,
        attention: &Tensor,
        _: &Tensor,
        gradient: &Tensor,
    ) -> Result<(Option<Tensor>, Option<Tensor>)> {
        let gradient = gradient.contiguous()?;
        let to_x = gradient.apply_op2_no_bwd(attention, &Attend)?;
        let to_attention = x.apply_op2_no_bwd(&gradient, &SumOfProducts)?;
        Ok((Some(to_x), Some(to_attention)))
    }
}

struct ScalePlanes;

impl CustomOp2 for ScalePlanes {
    fn name(&self) -> &'static str {
        "scaled planes"
    }

    fn cpu_fwd(&self, x: &CpuStorage, xl: &Layout, s: &CpuStorage, sl: &Layout) -> Result<(CpuStorage, Shape)> {
        let (_, _, h, w) = xl.shape().dims4()?;
        let (x, s) = (contiguous(x, xl, self.name())?, contiguous(s, sl, self.name())?);
        computed(xl.shape().clone(), |out| {
            kernels::with_scales(x, s, h * w, out, |x, s| x * s);
            Ok(())
        })
    }

    fn bwd(
        &self,
        x: &Tensor,
        scale: &Tensor,
        _: &Tensor,
        gradient: &Tensor,
    ) -> Result<(Option<Tensor>, Option<Tensor>)> {
        let gradient = gradient.contiguous()?;
        let to_x = gradient.apply_op2_no_bwd(scale, &ScalePlanes)?;
        let to_scale = x.apply_op2_no_bwd(&gradient, &DotPlanes)?.reshape(scale.shape())?;
        Ok((Some(to_x), Some(to_scale)))
    }
}

/// The gradient to the attention.
struct SumOfProducts;

impl CustomOp2 for SumOfProducts {
    fn name(&self) -> &'static str {
        "attention gradient"
    }

    fn cpu_fwd(&self, a: &CpuStorage, al: &Layout, b: &CpuStorage, bl: &Layout) -> Result<(CpuStorage, Shape)> {
        let (n, channels, h, w) = al.shape().dims4()?;
        let (a, b) = (contiguous(a, al, self.name())?, contiguous(b, bl, self.name())?);
        computed((n, 1, h, w).into(), |out| {
            kernels::sum_of_products(a, b, channels, h * w, out);
            Ok(())
        })
    }
}

struct Concatenate;

impl CustomOp2 for Concatenate {
    fn name(&self) -> &'static str {
        "concatenation"
    }

    fn cpu_fwd(&self, a: &CpuStorage, al: &Layout, b: &CpuStorage, bl: &Layout) -> Result<(CpuStorage, Shape)> {
        let ((n, ac, h, w), bc) = (al.shape().dims4()?, bl.shape().dim(1)?);
        let (a, b) = (contiguous(a, al, self.name())?, contiguous(b, bl, self.name())?);
        computed((n, ac + bc, h, w).into(), |out| {
            let pixels = h * w;
            out.par_chunks_mut(pixels.max(1)).enumerate().for_each(|(plane, out)| {
                let (picture, channel) = (plane / (ac + bc), plane % (ac + bc));
                let (source, index) =
                    if channel < ac { (a, picture * ac + channel) } else { (b, picture * bc + channel - ac) };
                out.copy_from_slice(&source[index * pixels..][..pixels]);
            });
            Ok(())
        })
    }

    fn bwd(&self, a: &Tensor, b: &Tensor, _: &Tensor, gradient: &Tensor) -> Result<(Option<Tensor>, Option<Tensor>)> {
        let (ac, bc) = (a.dim(1)?, b.dim(1)?);
        let gradient = gradient.contiguous()?;
        let part = |first: usize, channels: usize| gradient.apply_op1_no_bwd(&Channels { first, channels }).map(Some);
        Ok((part(0, ac)?, part(ac, bc)?))
    }
}

/// Some of the channels, for the gradient of a concatenation.
struct Channels {
    first: usize,
    channels: usize,
}

impl CustomOp1 for Channels {
    fn name(&self) -> &'static str {
        "concatenation gradient"
    }

    fn cpu_fwd(&self, x: &CpuStorage, xl: &Layout) -> Result<(CpuStorage, Shape)> {
        let (n, c, h, w) = xl.shape().dims4()?;
        let x = contiguous(x, xl, self.name())?;
        computed((n, self.channels, h, w).into(), |out| {
            let pixels = h * w;
            out.par_chunks_mut(pixels.max(1)).enumerate().for_each(|(plane, out)| {
                let index = plane / self.channels * c + self.first + plane % self.channels;
                out.copy_from_slice(&x[index * pixels..][..pixels]);
            });
            Ok(())
        })
    }
}

struct CrossEntropy;

impl CustomOp2 for CrossEntropy {
    fn name(&self) -> &'static str {
        "cross entropy"
    }

    fn cpu_fwd(&self, z: &CpuStorage, zl: &Layout, y: &CpuStorage, yl: &Layout) -> Result<(CpuStorage, Shape)> {
        let f = |z: f32, y: f32| kernels::softplus(z) - y * z;
        Binary { name: self.name(), f }.cpu_fwd(z, zl, y, yl)
    }

    fn bwd(&self, z: &Tensor, y: &Tensor, _: &Tensor, gradient: &Tensor) -> Result<(Option<Tensor>, Option<Tensor>)> {
        let slope = Binary { name: "cross entropy gradient", f: |z: f32, y: f32| kernels::sigmoid(z) - y };
        let slope = z.apply_op2_no_bwd(y, &slope)?;
        Ok((Some(gradient_of("cross entropy gradient", &slope, gradient, |slope, d| slope * d)?), None))
    }
}

struct SumPlanes;

impl CustomOp1 for SumPlanes {
    fn name(&self) -> &'static str {
        "sum of planes"
    }

    fn cpu_fwd(&self, x: &CpuStorage, xl: &Layout) -> Result<(CpuStorage, Shape)> {
        let (n, c, h, w) = xl.shape().dims4()?;
        let sums = kernels::sum_planes(contiguous(x, xl, self.name())?, h * w);
        Ok((CpuStorage::F32(sums), (n, c).into()))
    }

    fn bwd(&self, x: &Tensor, _: &Tensor, gradient: &Tensor) -> Result<Option<Tensor>> {
        let (n, c, _, _) = x.dims4()?;
        gradient.reshape((n, c, 1, 1))?.broadcast_as(x.shape())?.contiguous().map(Some)
    }
}

struct DotPlanes;

impl CustomOp2 for DotPlanes {
    fn name(&self) -> &'static str {
        "sum of products"
    }

    fn cpu_fwd(&self, a: &CpuStorage, al: &Layout, b: &CpuStorage, bl: &Layout) -> Result<(CpuStorage, Shape)> {
        let (n, c, h, w) = al.shape().dims4()?;
        let (a, b) = (contiguous(a, al, self.name())?, contiguous(b, bl, self.name())?);
        Ok((CpuStorage::F32(kernels::dot_planes(a, b, h * w)), (n, c).into()))
    }

    fn bwd(&self, a: &Tensor, b: &Tensor, _: &Tensor, gradient: &Tensor) -> Result<(Option<Tensor>, Option<Tensor>)> {
        let (n, c, _, _) = a.dims4()?;
        let spread = gradient.reshape((n, c, 1, 1))?.broadcast_as(a.shape())?.contiguous()?;
        Ok((Some(gradient_of("sum of products gradient", b, &spread, |b, d| b * d)?), None))
    }
}

/// Dropout; see [`super::dropout`].
pub(super) struct Dropout {
    pub(super) probability: f32,
    pub(super) seed: u64,
}

impl CustomOp1 for Dropout {
    fn name(&self) -> &'static str {
        "dropout"
    }

    fn cpu_fwd(&self, x: &CpuStorage, xl: &Layout) -> Result<(CpuStorage, Shape)> {
        let x = contiguous(x, xl, self.name())?;
        computed(xl.shape().clone(), |out| {
            kernels::dropout(x, self.probability, self.seed, out);
            Ok(())
        })
    }

    fn bwd(&self, _: &Tensor, _: &Tensor, gradient: &Tensor) -> Result<Option<Tensor>> {
        let same = Self { probability: self.probability, seed: self.seed };
        gradient.contiguous()?.apply_op1_no_bwd(&same).map(Some)
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use candle_core::{Device, Var};

    use super::*;

    #[test]
    fn both_sigmoids_agree_and_their_gradients_stay_finite() {
        let x = Var::new(&[[[[-100f32, -12.0, -0.5, 0.0, 3.0, 12.0, 100.0]]]], &Device::Cpu).unwrap();
        let run = |f: fn(&Tensor) -> Result<Tensor>| {
            let y = f(&x).unwrap();
            let gradient = y.sum_all().unwrap().backward().unwrap().get(&x).unwrap().clone();
            [y, gradient].map(|t| t.flatten_all().unwrap().to_vec1::<f32>().unwrap()).concat()
        };
        let (ours, composed) = (run(sigmoid), run(composed_sigmoid));
        assert!(ours.iter().zip(&composed).all(|(a, b)| (a - b).abs() < 1e-6), "{ours:?} {composed:?}");
    }
}
