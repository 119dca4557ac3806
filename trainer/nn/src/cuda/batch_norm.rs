//! Batch normalisation over N, H and W in cuDNN's spatial mode, whose sums have a fixed order.
//!
//! Scale, shift and statistics are f32 for every type of activation. Whether cuDNN takes bf16 activations here depends
//! on its version, and PyTorch does not ask it to; where it refuses, they go through f32.
#![allow(unsafe_code)]

use candle_core::{CudaStorage, DType, Error, Result, Shape, backend::BackendStorage};
use cudarc::cudnn::sys;

use super::handle::{
    Address, Handle, ONE, Operand, TensorDescriptor, Tried, ZERO, read, through_f32, uninitialised, write,
};

const SPATIAL: sys::cudnnBatchNormMode_t = sys::cudnnBatchNormMode_t::CUDNN_BATCHNORM_SPATIAL;

/// Normalises x `[N, C, H, W]` with its own statistics, scales by gamma and shifts by beta, both f32 `[C]`.
///
/// Gives y as x, and f32 `[C]` the mean and `1 / sqrt(biased variance + epsilon)`.
///
/// # Errors
/// Operands of other shapes, types or layouts; what cuDNN refuses.
pub fn batch_norm_train(
    x: Operand,
    gamma: Operand,
    beta: Operand,
    epsilon: f64,
) -> Result<(CudaStorage, [CudaStorage; 2])> {
    through_f32("batch norm", [x], |[x]| train(x, gamma, beta, epsilon))
}

/// Gradients to x (as x), and f32 `[C]` to gamma and beta, from what [`batch_norm_train`] gave.
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
) -> Result<(CudaStorage, [CudaStorage; 2])> {
    through_f32("batch norm, gradient", [x, gradient], |[x, gradient]| {
        differentiate(x, gradient, gamma, mean, inverse_std, epsilon)
    })
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
    let (y, ()) = through_f32("batch norm, inference", [x], |[x]| infer(x, gamma, beta, mean, variance, epsilon))?;
    Ok(y)
}

fn train(x: Operand, gamma: Operand, beta: Operand, epsilon: f64) -> Result<Tried<(CudaStorage, [CudaStorage; 2])>> {
    let problem = Problem::new(x)?;
    let stream = &problem.handle.stream;
    let channels = [problem.shape[1]];
    // SAFETY: cuDNN writes all three outputs whole.
    let (mut y, mut mean, mut inverse_std) = unsafe {
        (
            uninitialised(&x.0.device, &problem.shape, x.0.dtype())?,
            uninitialised(&x.0.device, &channels, DType::F32)?,
            uninitialised(&x.0.device, &channels, DType::F32)?,
        )
    };
    let status = {
        let x = read(x, &problem.shape, stream)?;
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
    Ok(status.map(|()| (y, [mean, inverse_std])))
}

fn differentiate(
    x: Operand,
    gradient: Operand,
    gamma: Operand,
    mean: Operand,
    inverse_std: Operand,
    epsilon: f64,
) -> Result<Tried<(CudaStorage, [CudaStorage; 2])>> {
    let problem = Problem::new(x)?;
    let stream = &problem.handle.stream;
    let channels = [problem.shape[1]];
    // SAFETY: cuDNN writes all three outputs whole.
    let (mut to_x, mut to_gamma, mut to_beta) = unsafe {
        (
            uninitialised(&x.0.device, &problem.shape, x.0.dtype())?,
            uninitialised(&x.0.device, &channels, DType::F32)?,
            uninitialised(&x.0.device, &channels, DType::F32)?,
        )
    };
    let status = {
        let x = read(x, &problem.shape, stream)?;
        let gradient = read(gradient, &problem.shape, stream)?;
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
    Ok(status.map(|()| (to_x, [to_gamma, to_beta])))
}

fn infer(
    x: Operand,
    gamma: Operand,
    beta: Operand,
    mean: Operand,
    variance: Operand,
    epsilon: f64,
) -> Result<Tried<(CudaStorage, ())>> {
    let problem = Problem::new(x)?;
    let stream = &problem.handle.stream;
    // SAFETY: cuDNN writes the whole output.
    let mut y = unsafe { uninitialised(&x.0.device, &problem.shape, x.0.dtype()) }?;
    let status = {
        let x = read(x, &problem.shape, stream)?;
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
    Ok(status.map(|()| (y, ())))
}

struct Problem {
    handle: std::rc::Rc<Handle>,
    shape: [usize; 4],
    activations: TensorDescriptor,
    /// `[1, C, 1, 1]`, f32: scale, shift, statistics and their gradients.
    rows: TensorDescriptor,
}

impl Problem {
    fn new((x, layout): Operand) -> Result<Self> {
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
    fn row<'a>(&'a self, values: Operand<'a>) -> Result<Address<'a>> {
        if values.0.dtype() != DType::F32 {
            return Err(Error::msg("batch norm: scale, shift and statistics must be f32"));
        }
        read(values, &self.shape[1..2], &self.handle.stream)
    }
}
