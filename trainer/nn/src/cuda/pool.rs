//! Maximum and average over windows, and their gradients, in cuDNN.
//!
//! The maximum uses cuDNN's deterministic mode: its plain one adds the gradients of overlapping windows with atomics,
//! in whatever order they come.
#![allow(unsafe_code)]

use candle_core::{CudaStorage, Error, Result, backend::BackendStorage};
use cudarc::cudnn::{result, sys};
use thorax_kernels::pool::Pool;

use super::handle::{
    Handle, ONE, Operand, PoolingDescriptor, TensorDescriptor, Tried, ZERO, read, through_f32, uninitialised, write,
};

/// What becomes of a window.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PoolKind {
    /// The largest value; padding never wins.
    Max,
    /// The sum over the window, padding as zeros, by the size of the window.
    AverageWithPadding,
    /// The sum over the window by the number of its pixels that are no padding.
    AverageWithoutPadding,
}

/// Square windows of `kernel`, every `stride`, over an input with `padding` on all sides.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PoolGeometry {
    /// What becomes of a window.
    pub kind: PoolKind,
    /// Side of the window.
    pub kernel: usize,
    /// Step in both directions.
    pub stride: usize,
    /// On all four sides.
    pub padding: usize,
}

impl PoolGeometry {
    pub(super) fn new(windows: &Pool, kind: PoolKind) -> Self {
        Self { kind, kernel: windows.kernel, stride: windows.stride, padding: windows.padding }
    }

    /// `(L + 2 p - K) / s + 1`: whole windows only. Who wants the last, overhanging one (ceil mode) pads first.
    pub fn length_out(&self, length: usize) -> usize {
        (length + 2 * self.padding).checked_sub(self.kernel).map_or(0, |steps| steps / self.stride.max(1) + 1)
    }
}

/// Pools x `[N, C, H, W]` to `[N, C, H_out, W_out]`.
///
/// # Errors
/// Operands that are not contiguous f32, bf16 or f16, windows that do not fit; what cuDNN refuses.
pub fn pool(x: Operand, geometry: &PoolGeometry) -> Result<CudaStorage> {
    let (y, ()) = through_f32("pooling", [x], |[x]| forward(x, geometry))?;
    Ok(y)
}

/// The gradient to x `[N, C, H, W]` from x, the pooled y and the gradient to y, both `[N, C, H_out, W_out]`.
///
/// # Errors
/// As [`pool`].
pub fn pool_gradient(x: Operand, y: Operand, gradient: Operand, geometry: &PoolGeometry) -> Result<CudaStorage> {
    let (to_x, ()) =
        through_f32("pooling, gradient", [x, y, gradient], |[x, y, gradient]| differentiate(x, y, gradient, geometry))?;
    Ok(to_x)
}

fn forward(x: Operand, geometry: &PoolGeometry) -> Result<Tried<(CudaStorage, ())>> {
    let problem = Problem::new(x, geometry)?;
    let stream = &problem.handle.stream;
    // SAFETY: cuDNN writes the whole output.
    let mut y = unsafe { uninitialised(&x.0.device, &problem.output_shape, x.0.dtype()) }?;
    let status = {
        let x = read(x, &problem.input_shape, stream)?;
        let y = write(&mut y, stream)?;
        // SAFETY: handle and descriptors live in `problem`; `read` checked that x is contiguous and of the shape that
        // its descriptor announces, y was allocated for its.
        unsafe {
            result::pooling_forward(
                problem.handle.raw,
                problem.pooling.raw(),
                ONE,
                problem.input.raw(),
                x.as_ptr(),
                ZERO,
                problem.output.raw(),
                y.as_mut_ptr(),
            )
        }
    };
    Ok(status.map(|()| (y, ())))
}

fn differentiate(
    x: Operand,
    y: Operand,
    gradient: Operand,
    geometry: &PoolGeometry,
) -> Result<Tried<(CudaStorage, ())>> {
    let problem = Problem::new(x, geometry)?;
    let stream = &problem.handle.stream;
    // SAFETY: cuDNN writes the whole output.
    let mut to_x = unsafe { uninitialised(&x.0.device, &problem.input_shape, x.0.dtype()) }?;
    let status = {
        let x = read(x, &problem.input_shape, stream)?;
        let y = read(y, &problem.output_shape, stream)?;
        let gradient = read(gradient, &problem.output_shape, stream)?;
        let to_x = write(&mut to_x, stream)?;
        // SAFETY: as in `forward`.
        unsafe {
            sys::cudnnPoolingBackward(
                problem.handle.raw,
                problem.pooling.raw(),
                ONE,
                problem.output.raw(),
                y.as_ptr(),
                problem.output.raw(),
                gradient.as_ptr(),
                problem.input.raw(),
                x.as_ptr(),
                ZERO,
                problem.input.raw(),
                to_x.as_mut_ptr(),
            )
        }
        .result()
    };
    Ok(status.map(|()| (to_x, ())))
}

struct Problem {
    handle: std::rc::Rc<Handle>,
    input_shape: [usize; 4],
    output_shape: [usize; 4],
    pooling: PoolingDescriptor,
    input: TensorDescriptor,
    output: TensorDescriptor,
}

impl Problem {
    fn new((x, layout): Operand, geometry: &PoolGeometry) -> Result<Self> {
        let (n, channels, h, w) = layout.shape().dims4()?;
        let input_shape = [n, channels, h, w];
        let output_shape = [n, channels, geometry.length_out(h), geometry.length_out(w)];
        let fits = geometry.stride > 0 && geometry.kernel >= 2 * geometry.padding;
        if !fits || input_shape.iter().chain(&output_shape).any(|&length| length == 0) {
            return Err(Error::msg(format!("pooling: {geometry:?} does not fit the shape {input_shape:?}")));
        }
        Ok(Self {
            handle: Handle::of(&x.device)?,
            input_shape,
            output_shape,
            pooling: PoolingDescriptor::new(mode(geometry.kind), geometry.kernel, geometry.padding, geometry.stride)?,
            input: TensorDescriptor::new(x.dtype(), input_shape)?,
            output: TensorDescriptor::new(x.dtype(), output_shape)?,
        })
    }
}

pub(super) fn mode(kind: PoolKind) -> sys::cudnnPoolingMode_t {
    match kind {
        PoolKind::Max => sys::cudnnPoolingMode_t::CUDNN_POOLING_MAX_DETERMINISTIC,
        PoolKind::AverageWithPadding => sys::cudnnPoolingMode_t::CUDNN_POOLING_AVERAGE_COUNT_INCLUDE_PADDING,
        PoolKind::AverageWithoutPadding => sys::cudnnPoolingMode_t::CUDNN_POOLING_AVERAGE_COUNT_EXCLUDE_PADDING,
    }
}
