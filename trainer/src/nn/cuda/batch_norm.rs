//! Batch normalisation over N, H and W in cuDNN's spatial mode, whose sums have a fixed order.
//!
//! Scale, shift and statistics are f32 for every type of activation. Whether cuDNN takes bf16 activations here depends
//! on its version, and PyTorch does not ask it to; where it refuses, they go through f32.

use candle_core::backend::BackendStorage;
use candle_core::{CudaStorage, DType, Error, Layout, Result, Shape};
use cudarc::cudnn::result::CudnnError;
use cudarc::cudnn::sys;

use super::convolution::same_kind;
use super::handle::{Address, Handle, ONE, TensorDescriptor, ZERO, read, refused, uninitialised, write};

const SPATIAL: sys::cudnnBatchNormMode_t = sys::cudnnBatchNormMode_t::CUDNN_BATCHNORM_SPATIAL;

/// An operand and its layout.
pub type Operand<'a> = (&'a CudaStorage, &'a Layout);

/// Normalises x `[N, C, H, W]` with its own statistics, scales by gamma and shifts by beta, both f32 `[C]`.
///
/// Gives y as x, the mean `[C]` and `1 / sqrt(biased variance + epsilon)` `[C]`, both f32.
///
/// # Errors
/// Operands of other shapes, types or layouts; what cuDNN refuses.
pub fn batch_norm_train(
    x: Operand,
    gamma: Operand,
    beta: Operand,
    epsilon: f64,
) -> Result<(CudaStorage, CudaStorage, CudaStorage)> {
    through_f32(
        "batch norm",
        x.0.dtype(),
        || train(x, gamma, beta, epsilon),
        || {
            let (wide, layout) = widened(x)?;
            let (y, mean, inverse_std) = train((&wide, &layout), gamma, beta, epsilon)?.map_err(refused("batch norm"))?;
            Ok((y.to_dtype(&layout, x.0.dtype())?, mean, inverse_std))
        },
    )
}

/// Gradients to x (as x), gamma and beta (f32 `[C]`), from what [`batch_norm_train`] gave.
///
/// # Errors
/// As [`batch_norm_train`].
pub fn batch_norm_gradient(
    x: Operand,
    gradient: Operand,
    gamma: Operand,
    mean: Operand,
    inverse_std: Operand,
    epsilon: f64,
) -> Result<(CudaStorage, CudaStorage, CudaStorage)> {
    let name = "batch norm, gradient";
    let kind = same_kind(name, x.0, gradient.0)?;
    through_f32(
        name,
        kind,
        || differentiate(x, gradient, gamma, mean, inverse_std, epsilon),
        || {
            let ((wide, layout), (wide_gradient, gradient_layout)) = (widened(x)?, widened(gradient)?);
            let (to_x, to_gamma, to_beta) = differentiate(
                (&wide, &layout),
                (&wide_gradient, &gradient_layout),
                gamma,
                mean,
                inverse_std,
                epsilon,
            )?
            .map_err(refused(name))?;
            Ok((to_x.to_dtype(&layout, kind)?, to_gamma, to_beta))
        },
    )
}

/// Normalises x `[N, C, H, W]` with given statistics, each f32 `[C]`; not differentiable.
///
/// # Errors
/// As [`batch_norm_train`].
pub fn batch_norm_infer(
    x: Operand,
    gamma: Operand,
    beta: Operand,
    mean: Operand,
    variance: Operand,
    epsilon: f64,
) -> Result<CudaStorage> {
    let name = "batch norm, inference";
    through_f32(
        name,
        x.0.dtype(),
        || infer(x, gamma, beta, mean, variance, epsilon),
        || {
            let (wide, layout) = widened(x)?;
            let y = infer((&wide, &layout), gamma, beta, mean, variance, epsilon)?.map_err(refused(name))?;
            y.to_dtype(&layout, x.0.dtype())
        },
    )
}

type Tried<T> = std::result::Result<T, CudnnError>;

/// `directly`, or for 16-bit activations that cuDNN refuses, `widened`.
fn through_f32<T>(
    name: &'static str,
    kind: DType,
    directly: impl FnOnce() -> Result<Tried<T>>,
    widened: impl FnOnce() -> Result<T>,
) -> Result<T> {
    use sys::cudnnStatus_t::{CUDNN_STATUS_BAD_PARAM, CUDNN_STATUS_NOT_SUPPORTED};
    match directly()? {
        Ok(done) => Ok(done),
        Err(CudnnError(CUDNN_STATUS_BAD_PARAM | CUDNN_STATUS_NOT_SUPPORTED)) if kind != DType::F32 => widened(),
        Err(other) => Err(refused(name)(other)),
    }
}

fn widened((x, layout): Operand) -> Result<(CudaStorage, Layout)> {
    Ok((x.to_dtype(layout, DType::F32)?, Layout::contiguous(layout.shape())))
}

fn train(
    (x, x_layout): Operand,
    gamma: Operand,
    beta: Operand,
    epsilon: f64,
) -> Result<Tried<(CudaStorage, CudaStorage, CudaStorage)>> {
    let problem = Problem::new(x, x_layout)?;
    let stream = &problem.handle.stream;
    let channels = [problem.shape[1]];
    // SAFETY: cuDNN writes all three outputs whole.
    let (mut y, mut mean, mut inverse_std) = unsafe {
        (
            uninitialised(&x.device, &problem.shape, x.dtype())?,
            uninitialised(&x.device, &channels, DType::F32)?,
            uninitialised(&x.device, &channels, DType::F32)?,
        )
    };
    let status = {
        let x = read(x, x_layout, &problem.shape, stream)?;
        let (gamma, beta) = (problem.row(gamma)?, problem.row(beta)?);
        let y = write(&mut y, stream)?;
        let (mean, inverse_std) = (write(&mut mean, stream)?, write(&mut inverse_std, stream)?);
        // SAFETY: handle and descriptors live in `problem`; operands are contiguous and of the shapes announced; moving
        // statistics may be null, and are then not kept.
        unsafe {
            sys::cudnnBatchNormalizationForwardTraining(
                problem.handle.raw,
                SPATIAL,
                ONE,
                ZERO,
                problem.activations.raw(),
                x.as_ptr(),
                problem.activations.raw(),
                y.as_mut_ptr(),
                problem.rows.raw(),
                gamma.as_ptr(),
                beta.as_ptr(),
                0.0,
                std::ptr::null_mut(),
                std::ptr::null_mut(),
                epsilon,
                mean.as_mut_ptr(),
                inverse_std.as_mut_ptr(),
            )
        }
        .result()
    };
    Ok(status.map(|()| (y, mean, inverse_std)))
}

fn differentiate(
    (x, x_layout): Operand,
    (gradient, gradient_layout): Operand,
    gamma: Operand,
    mean: Operand,
    inverse_std: Operand,
    epsilon: f64,
) -> Result<Tried<(CudaStorage, CudaStorage, CudaStorage)>> {
    let problem = Problem::new(x, x_layout)?;
    let stream = &problem.handle.stream;
    let channels = [problem.shape[1]];
    // SAFETY: cuDNN writes all three outputs whole.
    let (mut to_x, mut to_gamma, mut to_beta) = unsafe {
        (
            uninitialised(&x.device, &problem.shape, x.dtype())?,
            uninitialised(&x.device, &channels, DType::F32)?,
            uninitialised(&x.device, &channels, DType::F32)?,
        )
    };
    let status = {
        let x = read(x, x_layout, &problem.shape, stream)?;
        let gradient = read(gradient, gradient_layout, &problem.shape, stream)?;
        let (gamma, mean, inverse_std) = (problem.row(gamma)?, problem.row(mean)?, problem.row(inverse_std)?);
        let to_x = write(&mut to_x, stream)?;
        let (to_gamma, to_beta) = (write(&mut to_gamma, stream)?, write(&mut to_beta, stream)?);
        // SAFETY: as in `train`.
        unsafe {
            sys::cudnnBatchNormalizationBackward(
                problem.handle.raw,
                SPATIAL,
                ONE,
                ZERO,
                ONE,
                ZERO,
                problem.activations.raw(),
                x.as_ptr(),
                problem.activations.raw(),
                gradient.as_ptr(),
                problem.activations.raw(),
                to_x.as_mut_ptr(),
                problem.rows.raw(),
                gamma.as_ptr(),
                to_gamma.as_mut_ptr(),
                to_beta.as_mut_ptr(),
                epsilon,
                mean.as_ptr(),
                inverse_std.as_ptr(),
            )
        }
        .result()
    };
    Ok(status.map(|()| (to_x, to_gamma, to_beta)))
}

fn infer(
    (x, x_layout): Operand,
    gamma: Operand,
    beta: Operand,
    mean: Operand,
    variance: Operand,
    epsilon: f64,
) -> Result<Tried<CudaStorage>> {
    let problem = Problem::new(x, x_layout)?;
    let stream = &problem.handle.stream;
    // SAFETY: cuDNN writes the whole output.
    let mut y = unsafe { uninitialised(&x.device, &problem.shape, x.dtype()) }?;
    let status = {
        let x = read(x, x_layout, &problem.shape, stream)?;
        let (gamma, beta) = (problem.row(gamma)?, problem.row(beta)?);
        let (mean, variance) = (problem.row(mean)?, problem.row(variance)?);
        let y = write(&mut y, stream)?;
        // SAFETY: as in `train`.
        unsafe {
            sys::cudnnBatchNormalizationForwardInference(
                problem.handle.raw,
                SPATIAL,
                ONE,
                ZERO,
                problem.activations.raw(),
                x.as_ptr(),
                problem.activations.raw(),
                y.as_mut_ptr(),
                problem.rows.raw(),
                gamma.as_ptr(),
                beta.as_ptr(),
                mean.as_ptr(),
                variance.as_ptr(),
                epsilon,
            )
        }
        .result()
    };
    Ok(status.map(|()| y))
}

struct Problem {
    handle: std::rc::Rc<Handle>,
    shape: [usize; 4],
    activations: TensorDescriptor,
    /// `[1, C, 1, 1]`, f32: scale, shift, statistics and their gradients.
    rows: TensorDescriptor,
}

impl Problem {
    fn new(x: &CudaStorage, layout: &Layout) -> Result<Self> {
        let (n, channels, h, w) = layout.shape().dims4()?;
        let shape = [n, channels, h, w];
        if Shape::from(&shape[..]).elem_count() == 0 {
            return Err(Error::msg(format!("batch norm: nothing to normalise in the shape {shape:?}")));
        }
        Ok(Self {
            handle: Handle::of(&x.device)?,
            shape,
            activations: TensorDescriptor::new(x.dtype(), shape)?,
            rows: TensorDescriptor::new(DType::F32, [1, channels, 1, 1])?,
        })
    }

    /// An f32 operand `[C]`.
    fn row<'a>(&'a self, (values, layout): Operand<'a>) -> Result<Address<'a>> {
        if values.dtype() != DType::F32 {
            return Err(Error::msg("batch norm: scale, shift and statistics must be f32"));
        }
        read(values, layout, &self.shape[1..2], &self.handle.stream)
    }
}
