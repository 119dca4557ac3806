//! cuDNN's operators as differentiable functions on candle tensors of one GPU.
//!
//! The functions of [`nn`](super::super) come here with tensors that are not on the CPU. What cuDNN has no word for is
//! said with candle's operations around it: padding that differs from side to side, and windows that overhang.

use std::sync::{Arc, OnceLock};

use candle_core::op::BackpropOp;
use candle_core::{
    CpuStorage, CudaStorage, CustomOp1, CustomOp2, CustomOp3, Error, Layout, Result, Shape, Storage, StorageRef, Tensor,
};

use super::super::convolution::Padding;
use super::batch_norm::{batch_norm_gradient, batch_norm_infer, batch_norm_train};
use super::convolution::{self as cudnn, ConvolutionGeometry};
use super::handle::Operand;
use super::pool::{PoolGeometry, PoolKind, pool, pool_gradient};

/// Convolution of x `[N, C_in, H, W]` with a weight `[C_out, C_in / groups, K_y, K_x]` of the same type.
///
/// # Errors
/// Shapes that do not fit, types other than f32, bf16 and f16, a failure of the device.
pub fn convolution(
    x: &Tensor,
    weight: &Tensor,
    padding: Padding,
    stride: usize,
    dilation: usize,
    groups: usize,
) -> Result<Tensor> {
    // cuDNN pads both sides alike; what one side has more is padded here.
    let (padding_y, padding_x) = (padding.top.min(padding.bottom), padding.left.min(padding.right));
    let x = pad_with_zeros(x, 2, padding.top - padding_y, padding.bottom - padding_y)?;
    let x = pad_with_zeros(&x, 3, padding.left - padding_x, padding.right - padding_x)?.contiguous()?;
    let (batch, channels_in, height, width) = x.dims4()?;
    let (channels_out, _, kernel_height, kernel_width) = weight.dims4()?;
    let geometry = ConvolutionGeometry {
        batch,
        channels_in,
        channels_out,
        height,
        width,
        kernel_height,
        kernel_width,
        stride,
        padding_y,
        padding_x,
        dilation,
        groups,
    };
    x.apply_op2(&weight.contiguous()?, Convolution(geometry))
}

/// Transposed convolution of x `[N, C_in, H, W]` with a weight `[C_in, C_out / groups, K_y, K_x]` of the same type: the
/// gradient to its input of the convolution that leads from the result's shape to x's.
///
/// # Errors
/// As [`convolution`]; an output padding that is not smaller than the stride.
pub fn transposed_convolution(
    x: &Tensor,
    weight: &Tensor,
    padding: usize,
    output_padding: usize,
    stride: usize,
    dilation: usize,
    groups: usize,
) -> Result<Tensor> {
    let (batch, channels_in, height, width) = x.dims4()?;
    let (_, channels_a_group, kernel_height, kernel_width) = weight.dims4()?;
    if output_padding >= stride {
        return Err(Error::msg(format!(
            "transposed convolution on CUDA: the output padding {output_padding} must be smaller than the stride {stride}"
        )));
    }
    let length_out = |length: usize, kernel: usize| {
        let whole = length.saturating_sub(1) * stride + dilation * kernel.saturating_sub(1) + output_padding + 1;
        whole.saturating_sub(2 * padding)
    };
    let geometry = ConvolutionGeometry {
        batch,
        channels_in: channels_a_group * groups,
        channels_out: channels_in,
        height: length_out(height, kernel_height),
        width: length_out(width, kernel_width),
        kernel_height,
        kernel_width,
        stride,
        padding_y: padding,
        padding_x: padding,
        dilation,
        groups,
    };
    x.contiguous()?.apply_op2(&weight.contiguous()?, Transposed(geometry))
}

/// The largest value of each window of x `[N, C, H, W]`; with `ceil_mode` also of windows that overhang the lower and
/// right border, if they begin inside (PyTorch's rule).
///
/// # Errors
/// As [`convolution`].
pub fn max_pool(x: &Tensor, kernel: usize, stride: usize, padding: usize, ceil_mode: bool) -> Result<Tensor> {
    let geometry = PoolGeometry { kind: PoolKind::Max, kernel, stride, padding };
    let (_, _, height, width) = x.dims4()?;
    let windows = [height, width].map(|length| Windows::new(length, &geometry, ceil_mode));
    let mut x = x.clone();
    for (dimension, windows) in [2, 3].into_iter().zip(&windows) {
        if windows.overhang > 0 {
            let mut shape = x.dims().to_vec();
            shape[dimension] = windows.overhang;
            let lowest = Tensor::full(f32::NEG_INFINITY, shape, x.device())?.to_dtype(x.dtype())?;
            x = Tensor::cat(&[&x, &lowest], dimension)?;
        }
    }
    x.contiguous()?.apply_op1(Pool(geometry))
}

/// The average of each window of x `[N, C, H, W]`, by the window's size or, without `count_padding`, by the number of
/// its pixels inside the picture. Under `ceil_mode` what overhangs the padding never counts (PyTorch's rule).
///
/// # Errors
/// As [`convolution`].
pub fn average_pool(
    x: &Tensor,
    kernel: usize,
    stride: usize,
    padding: usize,
    ceil_mode: bool,
    count_padding: bool,
) -> Result<Tensor> {
    let kind = if count_padding { PoolKind::AverageWithPadding } else { PoolKind::AverageWithoutPadding };
    let geometry = PoolGeometry { kind, kernel, stride, padding };
    let (_, _, height, width) = x.dims4()?;
    let windows = [height, width].map(|length| Windows::new(length, &geometry, ceil_mode));
    if windows.iter().all(|windows| windows.overhang == 0) {
        return x.contiguous()?.apply_op1(Pool(geometry));
    }
    // Overhanging pixels as zeros that count, and the true counts afterwards.
    let x = pad_with_zeros(x, 2, 0, windows[0].overhang)?;
    let x = pad_with_zeros(&x, 3, 0, windows[1].overhang)?.contiguous()?;
    let y = x.apply_op1(Pool(PoolGeometry { kind: PoolKind::AverageWithPadding, ..geometry }))?;
    let [rows, columns] = windows.map(|windows| windows.shares(&geometry));
    let rows = Tensor::new(rows, x.device())?.reshape((1, 1, (), 1))?.to_dtype(x.dtype())?;
    let columns = Tensor::new(columns, x.device())?.reshape((1, 1, 1, ()))?.to_dtype(x.dtype())?;
    y.broadcast_mul(&rows)?.broadcast_mul(&columns)
}

/// What batch normalisation gives in training.
pub struct Normalised {
    /// `[N, C, H, W]`, differentiable in x, gamma and beta.
    pub y: Tensor,
    /// The batch's mean, f32 `[C]`.
    pub mean: Tensor,
    /// The batch's biased variance, f32 `[C]`.
    pub variance: Tensor,
}

/// Normalises x `[N, C, H, W]` with its own statistics, scales by gamma and shifts by beta, both f32 `[C]`.
///
/// # Errors
/// As [`convolution`].
pub fn batch_norm(x: &Tensor, gamma: &Tensor, beta: &Tensor, epsilon: f64) -> Result<Normalised> {
    let statistics = Arc::new(OnceLock::new());
    let operator = BatchNorm { epsilon, statistics: statistics.clone() };
    let y = x.contiguous()?.apply_op3(&gamma.contiguous()?, &beta.contiguous()?, operator)?;
    let (mean, inverse_std) = known(&statistics)?;
    let variance = (inverse_std.sqr()?.recip()? - epsilon)?.maximum(0f32)?;
    Ok(Normalised { y, mean: mean.clone(), variance })
}

/// Normalises x `[N, C, H, W]` with given statistics; everything else is f32 `[C]`. Not differentiable.
///
/// # Errors
/// As [`convolution`].
pub fn batch_norm_inference(
    x: &Tensor,
    gamma: &Tensor,
    beta: &Tensor,
    mean: &Tensor,
    variance: &Tensor,
    epsilon: f64,
) -> Result<Tensor> {
    let x = x.contiguous()?;
    let (x_lock, gamma, beta) = (Locked::new(&x), Locked::new(gamma), Locked::new(beta));
    let (mean, variance) = (Locked::new(mean), Locked::new(variance));
    let y = batch_norm_infer(x_lock.get()?, gamma.get()?, beta.get()?, mean.get()?, variance.get()?, epsilon)?;
    Ok(tensor(y, x.dims()))
}

struct Convolution(ConvolutionGeometry);

impl CustomOp2 for Convolution {
    fn name(&self) -> &'static str {
        "cuDNN convolution"
    }

    fn cpu_fwd(&self, _: &CpuStorage, _: &Layout, _: &CpuStorage, _: &Layout) -> Result<(CpuStorage, Shape)> {
        Err(not_on_cpu(self.name()))
    }

    fn cuda_fwd(&self, x: &CudaStorage, xl: &Layout, w: &CudaStorage, wl: &Layout) -> Result<(CudaStorage, Shape)> {
        Ok((cudnn::convolution((x, xl), (w, wl), &self.0)?, Shape::from(&self.0.output_shape()[..])))
    }

    fn bwd(
        &self,
        x: &Tensor,
        weight: &Tensor,
        _: &Tensor,
        gradient: &Tensor,
    ) -> Result<(Option<Tensor>, Option<Tensor>)> {
        let gradient = gradient.contiguous()?;
        let to_x = x.track_op().then(|| input_gradient(weight, &gradient, &self.0)).transpose()?;
        let to_weight = weight.track_op().then(|| weight_gradient(x, &gradient, &self.0)).transpose()?;
        Ok((to_x, to_weight))
    }
}

struct Transposed(ConvolutionGeometry);

impl CustomOp2 for Transposed {
    fn name(&self) -> &'static str {
        "cuDNN transposed convolution"
    }

    fn cpu_fwd(&self, _: &CpuStorage, _: &Layout, _: &CpuStorage, _: &Layout) -> Result<(CpuStorage, Shape)> {
        Err(not_on_cpu(self.name()))
    }

    fn cuda_fwd(&self, x: &CudaStorage, xl: &Layout, w: &CudaStorage, wl: &Layout) -> Result<(CudaStorage, Shape)> {
        Ok((cudnn::convolution_input_gradient((w, wl), (x, xl), &self.0)?, Shape::from(&self.0.input_shape()[..])))
    }

    fn bwd(
        &self,
        x: &Tensor,
        weight: &Tensor,
        _: &Tensor,
        gradient: &Tensor,
    ) -> Result<(Option<Tensor>, Option<Tensor>)> {
        let gradient = gradient.contiguous()?;
        let to_x = || {
            let (gradient, weight) = (Locked::new(&gradient), Locked::new(weight));
            let to_x = cudnn::convolution(gradient.get()?, weight.get()?, &self.0)?;
            Ok::<_, Error>(tensor(to_x, &self.0.output_shape()))
        };
        let to_x = x.track_op().then(to_x).transpose()?;
        let to_weight = weight.track_op().then(|| weight_gradient(&gradient, x, &self.0)).transpose()?;
        Ok((to_x, to_weight))
    }
}

fn input_gradient(weight: &Tensor, gradient: &Tensor, geometry: &ConvolutionGeometry) -> Result<Tensor> {
    let (weight, gradient) = (Locked::new(weight), Locked::new(gradient));
    let to_x = cudnn::convolution_input_gradient(weight.get()?, gradient.get()?, geometry)?;
    Ok(tensor(to_x, &geometry.input_shape()))
}

fn weight_gradient(x: &Tensor, gradient: &Tensor, geometry: &ConvolutionGeometry) -> Result<Tensor> {
    let (x, gradient) = (Locked::new(x), Locked::new(gradient));
    let to_weight = cudnn::convolution_weight_gradient(x.get()?, gradient.get()?, geometry)?;
    Ok(tensor(to_weight, &geometry.weight_shape()))
}

struct Pool(PoolGeometry);

impl CustomOp1 for Pool {
    fn name(&self) -> &'static str {
        "cuDNN pooling"
    }

    fn cpu_fwd(&self, _: &CpuStorage, _: &Layout) -> Result<(CpuStorage, Shape)> {
        Err(not_on_cpu(self.name()))
    }

    fn cuda_fwd(&self, x: &CudaStorage, xl: &Layout) -> Result<(CudaStorage, Shape)> {
        let (n, channels, h, w) = xl.shape().dims4()?;
        Ok((pool((x, xl), &self.0)?, (n, channels, self.0.length_out(h), self.0.length_out(w)).into()))
    }

    fn bwd(&self, x: &Tensor, y: &Tensor, gradient: &Tensor) -> Result<Option<Tensor>> {
        let gradient = gradient.contiguous()?;
        let (x_lock, y, gradient) = (Locked::new(x), Locked::new(y), Locked::new(&gradient));
        let to_x = pool_gradient(x_lock.get()?, y.get()?, gradient.get()?, &self.0)?;
        Ok(Some(tensor(to_x, x.dims())))
    }
}

/// Mean and `1 / sqrt(variance + epsilon)` of the batch, which the forward pass leaves for the backward pass.
type Statistics = OnceLock<(Tensor, Tensor)>;

fn known(statistics: &Statistics) -> Result<&(Tensor, Tensor)> {
    statistics.get().ok_or_else(|| Error::msg("batch norm: the forward pass has not run"))
}

struct BatchNorm {
    epsilon: f64,
    statistics: Arc<Statistics>,
}

impl CustomOp3 for BatchNorm {
    fn name(&self) -> &'static str {
        "cuDNN batch norm"
    }

    fn cpu_fwd(
        &self,
        _: &CpuStorage,
        _: &Layout,
        _: &CpuStorage,
        _: &Layout,
        _: &CpuStorage,
        _: &Layout,
    ) -> Result<(CpuStorage, Shape)> {
        Err(not_on_cpu(self.name()))
    }

    fn cuda_fwd(
        &self,
        x: &CudaStorage,
        xl: &Layout,
        gamma: &CudaStorage,
        gamma_layout: &Layout,
        beta: &CudaStorage,
        beta_layout: &Layout,
    ) -> Result<(CudaStorage, Shape)> {
        let (y, [mean, inverse_std]) =
            batch_norm_train((x, xl), (gamma, gamma_layout), (beta, beta_layout), self.epsilon)?;
        let channels = gamma_layout.dims();
        // Set once: candle runs an operator's forward pass once.
        let _ = self.statistics.set((tensor(mean, channels), tensor(inverse_std, channels)));
        Ok((y, xl.shape().clone()))
    }

    fn bwd(
        &self,
        x: &Tensor,
        gamma: &Tensor,
        _: &Tensor,
        _: &Tensor,
        gradient: &Tensor,
    ) -> Result<(Option<Tensor>, Option<Tensor>, Option<Tensor>)> {
        let (mean, inverse_std) = known(&self.statistics)?;
        let gradient = gradient.contiguous()?;
        let (x_lock, gradient, gamma_lock) = (Locked::new(x), Locked::new(&gradient), Locked::new(gamma));
        let (mean, inverse_std) = (Locked::new(mean), Locked::new(inverse_std));
        let (to_x, [to_gamma, to_beta]) = batch_norm_gradient(
            x_lock.get()?,
            gradient.get()?,
            gamma_lock.get()?,
            mean.get()?,
            inverse_std.get()?,
            self.epsilon,
        )?;
        let row = |values| Some(tensor(values, gamma.dims()));
        Ok((Some(tensor(to_x, x.dims())), row(to_gamma), row(to_beta)))
    }
}

/// The windows along one side of a picture.
struct Windows {
    length: usize,
    count: usize,
    /// By how many pixels the last one overhangs the padding.
    overhang: usize,
}

impl Windows {
    fn new(length: usize, geometry: &PoolGeometry, ceil_mode: bool) -> Self {
        let PoolGeometry { kernel, stride, padding, .. } = *geometry;
        let (stride, padded) = (stride.max(1), length + 2 * padding);
        let slack = if ceil_mode { stride - 1 } else { 0 };
        let mut count = (padded + slack).checked_sub(kernel).map_or(0, |steps| steps / stride + 1);
        // A window that would begin in the lower padding has nothing to say.
        if ceil_mode && count > 0 && (count - 1) * stride >= length + padding {
            count -= 1;
        }
        let end = count.checked_sub(1).map_or(0, |last| last * stride + kernel);
        Self { length, count, overhang: end.saturating_sub(padded) }
    }

    /// For each window, the kernel's side by the number of its pixels that count.
    fn shares(&self, geometry: &PoolGeometry) -> Vec<f32> {
        let PoolGeometry { kernel, stride, padding, kind } = *geometry;
        // In coordinates of the padded side, of which `first..last` counts.
        let (first, last) = match kind {
            PoolKind::AverageWithoutPadding => (padding, padding + self.length),
            _ => (0, self.length + 2 * padding),
        };
        (0..self.count)
            .map(|window| {
                let (start, end) = (window * stride, window * stride + kernel);
                kernel as f32 / (end.min(last).saturating_sub(start.max(first))) as f32
            })
            .collect()
    }
}

/// The storage of a tensor, locked for reading.
struct Locked<'a>(StorageRef<'a>, &'a Layout);

impl<'a> Locked<'a> {
    fn new(tensor: &'a Tensor) -> Self {
        let (storage, layout) = tensor.storage_and_layout();
        Self(storage, layout)
    }

    fn get(&self) -> Result<Operand<'_>> {
        match &*self.0 {
            Storage::Cuda(storage) => Ok((storage, self.1)),
            _ => Err(Error::msg("cuDNN: operands must be on a GPU")),
        }
    }
}

fn tensor(storage: CudaStorage, shape: &[usize]) -> Tensor {
    Tensor::from_storage(Storage::Cuda(storage), shape, BackpropOp::none(), false)
}

fn pad_with_zeros(x: &Tensor, dimension: usize, before: usize, after: usize) -> Result<Tensor> {
    if before + after == 0 { Ok(x.clone()) } else { x.pad_with_zeros(dimension, before, after) }
}

fn not_on_cpu(name: &str) -> Error {
    Error::msg(format!("{name}: operands must be on a GPU"))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// PyTorch's windows, pixel by pixel: its count by its own formula, and how many pixels of each count.
    fn defined(length: i64, kernel: i64, stride: i64, padding: i64, ceil: bool, with_padding: bool) -> Vec<i64> {
        let slack = if ceil { stride - 1 } else { 0 };
        let mut count = (length + 2 * padding - kernel + slack).div_euclid(stride) + 1;
        if ceil && (count - 1) * stride >= length + padding {
            count -= 1;
        }
        let counts = |pixel: &i64| {
            if with_padding { (-padding..length + padding).contains(pixel) } else { (0..length).contains(pixel) }
        };
        (0..count)
            .map(|w| (w * stride - padding..w * stride - padding + kernel).filter(counts).count() as i64)
            .collect()
    }

    #[test]
    fn windows_and_their_counts_are_pytorchs() {
        for (length, kernel, stride) in
            (1..16).flat_map(|l| (1..6).flat_map(move |k| (1..5).map(move |s| (l as usize, k as usize, s as usize))))
        {
            for padding in 0..=kernel / 2 {
                for (ceil, with_padding) in [(false, false), (false, true), (true, false), (true, true)] {
                    let kind =
                        if with_padding { PoolKind::AverageWithPadding } else { PoolKind::AverageWithoutPadding };
                    let geometry = PoolGeometry { kind, kernel, stride, padding };
                    let windows = Windows::new(length, &geometry, ceil);
                    let [l, k, s, p] = [length, kernel, stride, padding].map(|value| value as i64);
                    let expected = defined(l, k, s, p, ceil, with_padding);
                    let case = format!("{length} {geometry:?} ceil {ceil}");
                    assert_eq!(windows.count, expected.len(), "{case}");
                    // With the overhang as padding, cuDNN finds just these windows.
                    assert_eq!(geometry.length_out(length + windows.overhang), expected.len(), "{case}");
                    assert!(ceil || windows.overhang == 0, "{case}");
                    let shares: Vec<f32> = expected.iter().map(|&pixels| kernel as f32 / pixels as f32).collect();
                    assert_eq!(windows.shares(&geometry), shares, "{case}");
                }
            }
        }
    }
}
