//! Max and average pooling with any window, forward and backward.
//!
//! candle's max-pool has a gradient only where window and step are equal, and none pads or has a ceil mode.

use candle_core::{CpuStorage, CustomOp1, CustomOp2, Layout, Result, Shape, Tensor};
use thorax_kernels::pool::Pool;

use super::{computed, contiguous, kernel_error};

/// The windows, as in PyTorch.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PoolConfig {
    /// Rows and columns of a window.
    pub kernel: usize,
    /// Distance of the windows.
    pub stride: usize,
    /// Rows and columns around the picture; at most half the window.
    pub padding: usize,
    /// Also take the last window that is not full.
    pub ceil_mode: bool,
}

impl PoolConfig {
    /// Windows of `kernel` side by side.
    pub const fn tiles(kernel: usize) -> Self {
        Self { kernel, stride: kernel, padding: 0, ceil_mode: false }
    }

    pub(super) fn pool(&self, x: &Shape) -> Result<Pool> {
        let (_, _, height, width) = x.dims4()?;
        let Self { kernel, stride, padding, ceil_mode } = *self;
        let pool = Pool { height, width, kernel, stride, padding, ceil_mode };
        pool.check().map_err(kernel_error)?;
        Ok(pool)
    }

    /// Rows and columns of the result for pictures of `x` `[N, C, H, W]`.
    ///
    /// # Errors
    /// Sizes that do not fit.
    pub fn output(&self, x: &Shape) -> Result<(usize, usize)> {
        let pool = self.pool(x)?;
        Ok((pool.height_out(), pool.width_out()))
    }
}

/// The largest value of each window of `x` `[N, C, H, W]`. Differentiable: the first of equal values gets the gradient.
///
/// # Errors
/// Sizes that do not fit; on the CPU, other types than f32.
pub fn max_pool(x: &Tensor, config: PoolConfig) -> Result<Tensor> {
    let pool = config.pool(x.shape())?;
    #[cfg(feature = "cuda")]
    if x.device().is_cuda() {
        return super::cuda::operators::max_pool(x, &pool);
    }
    x.contiguous()?.apply_op1(Largest(pool))
}

/// The mean of each window of `x` `[N, C, H, W]`; `count_padding` counts the padding as zeros. Differentiable.
///
/// # Errors
/// Sizes that do not fit; on the CPU, other types than f32.
pub fn average_pool(x: &Tensor, config: PoolConfig, count_padding: bool) -> Result<Tensor> {
    let pool = config.pool(x.shape())?;
    #[cfg(feature = "cuda")]
    if x.device().is_cuda() {
        return super::cuda::operators::average_pool(x, &pool, count_padding);
    }
    x.contiguous()?.apply_op1(Mean { pool, count_padding })
}

fn output(pool: &Pool, x: &Shape) -> Result<Shape> {
    let (n, c, _, _) = x.dims4()?;
    Ok((n, c, pool.height_out(), pool.width_out()).into())
}

struct Largest(Pool);

impl CustomOp1 for Largest {
    fn name(&self) -> &'static str {
        "max-pool"
    }

    fn cpu_fwd(&self, x: &CpuStorage, xl: &Layout) -> Result<(CpuStorage, Shape)> {
        let x = contiguous(x, xl, self.name())?;
        computed(output(&self.0, xl.shape())?, |y| self.0.largest(x, y))
    }

    fn bwd(&self, x: &Tensor, _: &Tensor, gradient: &Tensor) -> Result<Option<Tensor>> {
        x.apply_op2_no_bwd(&gradient.contiguous()?, &LargestGradient(self.0)).map(Some)
    }
}

struct LargestGradient(Pool);

impl CustomOp2 for LargestGradient {
    fn name(&self) -> &'static str {
        "max-pool gradient"
    }

    fn cpu_fwd(&self, x: &CpuStorage, xl: &Layout, d: &CpuStorage, dl: &Layout) -> Result<(CpuStorage, Shape)> {
        let (x, d) = (contiguous(x, xl, self.name())?, contiguous(d, dl, self.name())?);
        computed(xl.shape().clone(), |out| self.0.largest_gradient(x, d, out))
    }
}

struct Mean {
    pool: Pool,
    count_padding: bool,
}

impl CustomOp1 for Mean {
    fn name(&self) -> &'static str {
        "average pool"
    }

    fn cpu_fwd(&self, x: &CpuStorage, xl: &Layout) -> Result<(CpuStorage, Shape)> {
        let x = contiguous(x, xl, self.name())?;
        computed(output(&self.pool, xl.shape())?, |y| self.pool.mean(x, self.count_padding, y))
    }

    fn bwd(&self, x: &Tensor, _: &Tensor, gradient: &Tensor) -> Result<Option<Tensor>> {
        let operator = MeanGradient { forward: self, shape: x.shape().clone() };
        gradient.contiguous()?.apply_op1_no_bwd(&operator).map(Some)
    }
}

struct MeanGradient<'a> {
    forward: &'a Mean,
    shape: Shape,
}

impl CustomOp1 for MeanGradient<'_> {
    fn name(&self) -> &'static str {
        "average pool gradient"
    }

    fn cpu_fwd(&self, d: &CpuStorage, dl: &Layout) -> Result<(CpuStorage, Shape)> {
        let d = contiguous(d, dl, self.name())?;
        computed(self.shape.clone(), |out| self.forward.pool.mean_gradient(d, self.forward.count_padding, out))
    }
}
