//! Pooling and batch normalisation by cuDNN as differentiable functions on candle tensors of one GPU.
//!
//! [`pool`](mod@super::super::pool) and [`batch_norm`](mod@super::super::batch_norm) come here with tensors that are not
//! on the CPU; convolution needs no function of its own, since its operators are the CPU's with another kernel. What
//! cuDNN has no word for, windows that overhang, is said with candle's operations around it.

use std::sync::{Arc, OnceLock};

use candle_core::{
    CpuStorage, CudaStorage, CustomOp1, CustomOp3, DType, Error, Layout, Result, Shape, Storage, StorageRef, Tensor,
    op::BackpropOp,
};
use thorax_kernels::pool::Pool;

use super::{
    batch_norm::{batch_norm_gradient, batch_norm_infer, batch_norm_train},
    handle::Operand,
    pool::{PoolGeometry, PoolKind, pool, pool_gradient},
};

/// The largest value of each window of x `[N, C, H, W]`.
///
/// # Errors
/// Types other than f32, bf16 and f16, a failure of the device.
pub fn max_pool(x: &Tensor, windows: &Pool) -> Result<Tensor> {
    let mut x = x.clone();
    for (dimension, side) in [(2, Side::rows(windows)), (3, Side::columns(windows))] {
        if side.overhang() > 0 {
            let mut shape = x.dims().to_vec();
            shape[dimension] = side.overhang();
            let lowest = Tensor::full(f32::NEG_INFINITY, shape, x.device())?.to_dtype(x.dtype())?;
            x = Tensor::cat(&[&x, &lowest], dimension)?;
        }
    }
    x.contiguous()?.apply_op1(Pooling(PoolGeometry::new(windows, PoolKind::Max)))
}

/// The average of each window of x `[N, C, H, W]`, by the window's size or, without `count_padding`, by the number of
/// its pixels inside the picture. What overhangs the padding never counts (PyTorch's rule).
///
/// # Errors
/// As [`max_pool`].
pub fn average_pool(x: &Tensor, windows: &Pool, count_padding: bool) -> Result<Tensor> {
    let kind = if count_padding { PoolKind::AverageWithPadding } else { PoolKind::AverageWithoutPadding };
    let (rows, columns) = (Side::rows(windows), Side::columns(windows));
    if rows.overhang() == 0 && columns.overhang() == 0 {
        return x.contiguous()?.apply_op1(Pooling(PoolGeometry::new(windows, kind)));
    }
    // Overhanging pixels as zeros that count, and the true counts afterwards.
    let x = x.pad_with_zeros(2, 0, rows.overhang())?.pad_with_zeros(3, 0, columns.overhang())?.contiguous()?;
    let y = x.apply_op1(Pooling(PoolGeometry::new(windows, PoolKind::AverageWithPadding)))?;
    let rows = Tensor::new(rows.shares(count_padding), x.device())?.reshape((1, 1, (), 1))?.to_dtype(x.dtype())?;
    let columns =
        Tensor::new(columns.shares(count_padding), x.device())?.reshape((1, 1, 1, ()))?.to_dtype(x.dtype())?;
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
/// As [`max_pool`].
pub fn batch_norm(x: &Tensor, gamma: &Tensor, beta: &Tensor, epsilon: f64) -> Result<Normalised> {
    let statistics = Arc::new(OnceLock::new());
    let operator = BatchNorm { epsilon, statistics: statistics.clone() };
    let y = x.contiguous()?.apply_op3(&gamma.contiguous()?, &beta.contiguous()?, operator)?;
    let (mean, inverse_std) = known(&statistics)?;
    let variance = (inverse_std.sqr()?.recip()? - epsilon)?.maximum(0f32)?;
    Ok(Normalised { y, mean: mean.clone(), variance })
}

/// Normalises x `[N, C, H, W]` with given statistics; everything else is f32 `[C]`. Differentiable in x, gamma, beta.
///
/// # Errors
/// As [`max_pool`].
pub fn batch_norm_inference(
    x: &Tensor,
    gamma: &Tensor,
    beta: &Tensor,
    mean: Tensor,
    variance: Tensor,
    epsilon: f64,
) -> Result<Tensor> {
    x.contiguous()?.apply_op3(&gamma.contiguous()?, &beta.contiguous()?, Inference { mean, variance, epsilon })
}

struct Pooling(PoolGeometry);

impl CustomOp1 for Pooling {
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

struct Inference {
    mean: Tensor,
    variance: Tensor,
    epsilon: f64,
}

impl CustomOp3 for Inference {
    fn name(&self) -> &'static str {
        "cuDNN batch norm, inference"
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
        let (mean, variance) = (Locked::new(&self.mean), Locked::new(&self.variance));
        let (gamma, beta) = ((gamma, gamma_layout), (beta, beta_layout));
        let y = batch_norm_infer((x, xl), gamma, beta, mean.get()?, variance.get()?, self.epsilon)?;
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
        let row = |values: &Tensor| values.reshape((1, (), 1, 1));
        let inverse_std = (&self.variance + self.epsilon)?.sqrt()?.recip()?;
        let (x_wide, gradient) = (x.to_dtype(DType::F32)?, gradient.to_dtype(DType::F32)?);
        let to_x = gradient.broadcast_mul(&row(&(gamma * &inverse_std)?)?)?.to_dtype(x.dtype())?;
        let centred = x_wide.broadcast_sub(&row(&self.mean)?)?;
        let to_gamma = ((centred * &gradient)?.sum((0, 2, 3))? * inverse_std)?;
        Ok((Some(to_x), Some(to_gamma), Some(gradient.sum((0, 2, 3))?)))
    }
}

/// The windows along one side of a picture.
struct Side {
    length: usize,
    count: usize,
    kernel: usize,
    stride: usize,
    padding: usize,
}

impl Side {
    fn rows(windows: &Pool) -> Self {
        let Pool { height, kernel, stride, padding, .. } = *windows;
        Self { length: height, count: windows.height_out(), kernel, stride, padding }
    }

    fn columns(windows: &Pool) -> Self {
        let Pool { width, kernel, stride, padding, .. } = *windows;
        Self { length: width, count: windows.width_out(), kernel, stride, padding }
    }

    /// By how many pixels the last window overhangs the padding, in ceil mode.
    fn overhang(&self) -> usize {
        let end = self.count.saturating_sub(1) * self.stride + self.kernel;
        end.saturating_sub(self.length + 2 * self.padding)
    }

    /// For each window, the kernel's side by the number of its pixels that count.
    fn shares(&self, count_padding: bool) -> Vec<f32> {
        // In coordinates of the padded side, of which `first..last` counts.
        let first = if count_padding { 0 } else { self.padding };
        let last = self.length + 2 * self.padding - first;
        (0..self.count)
            .map(|window| {
                let start = window * self.stride;
                let end = start + self.kernel;
                self.kernel as f32 / (end.min(last).saturating_sub(start.max(first))) as f32
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
                for (ceil_mode, count_padding) in [(false, false), (false, true), (true, false), (true, true)] {
                    let windows = Pool { height: length, width: 40, kernel, stride, padding, ceil_mode };
                    if windows.check().is_err() {
                        continue;
                    }
                    let side = Side::rows(&windows);
                    let [l, k, s, p] = [length, kernel, stride, padding].map(|value| value as i64);
                    let expected = defined(l, k, s, p, ceil_mode, count_padding);
                    assert_eq!(side.count, expected.len(), "{windows:?}");
                    // With the overhang as padding, cuDNN finds just these windows.
                    let geometry = PoolGeometry::new(&windows, PoolKind::Max);
                    assert_eq!(geometry.length_out(length + side.overhang()), expected.len(), "{windows:?}");
                    assert!(ceil_mode || side.overhang() == 0, "{windows:?}");
                    let shares: Vec<f32> = expected.iter().map(|&pixels| kernel as f32 / pixels as f32).collect();
                    assert_eq!(side.shares(count_padding), shares, "{windows:?}");
                }
            }
        }
    }
}
