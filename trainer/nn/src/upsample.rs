//! Pictures of another size: bilinear and nearest, as PyTorch's `interpolate` defines them, forward and backward.
//!
//! candle's bilinear has no gradient. On another device than the CPU both are two products with small matrices of
//! weights, which candle can differentiate.

use candle_core::{CpuStorage, CustomOp1, DType, Device, Layout, Result, Shape, Tensor};
pub use thorax_kernels::resample::Method;
use thorax_kernels::resample::Resample;

use super::{computed, contiguous};

/// `x` `[N, C, H, W]` at `height` x `width`, each value mixed of the two nearest rows and columns. Differentiable.
///
/// # Errors
/// Other shapes, sizes of 0.
pub fn bilinear(x: &Tensor, height: usize, width: usize, align_corners: bool) -> Result<Tensor> {
    resample(x, height, width, Method::Bilinear { align_corners })
}

/// `x` `[N, C, H, W]` at `height` x `width`, each value copied. Differentiable.
///
/// # Errors
/// Other shapes, sizes of 0.
pub fn nearest(x: &Tensor, height: usize, width: usize) -> Result<Tensor> {
    resample(x, height, width, Method::Nearest)
}

fn resample(x: &Tensor, height_out: usize, width_out: usize, method: Method) -> Result<Tensor> {
    let (n, c, height, width) = x.dims4()?;
    if height * width * height_out * width_out == 0 {
        candle_core::bail!("upsampling: {:?} to {height_out} x {width_out}: a size is 0", x.shape());
    }
    if x.device().is_cpu() {
        return x.contiguous()?.apply_op1(Forward(Resample { height, width, height_out, width_out, method }));
    }
    let rows = weights(height, height_out, method)?.to_device(x.device())?.to_dtype(x.dtype())?;
    let columns = weights(width, width_out, method)?.to_device(x.device())?.to_dtype(x.dtype())?;
    let mixed = x.reshape((n * c * height, width))?.matmul(&columns)?.reshape((n * c, height, width_out))?;
    let turned = mixed.transpose(1, 2)?.contiguous()?.reshape((n * c * width_out, height))?.matmul(&rows)?;
    turned.reshape((n, c, width_out, height_out))?.transpose(2, 3)?.contiguous()
}

/// The matrix `[size, size_out]` that resamples a row: the resampled rows of the unit matrix.
fn weights(size: usize, size_out: usize, method: Method) -> Result<Tensor> {
    let row = Resample { height: 1, width: size, height_out: 1, width_out: size_out, method };
    Tensor::eye(size, DType::F32, &Device::Cpu)?
        .reshape((size, 1, 1, size))?
        .apply_op1_no_bwd(&Forward(row))?
        .reshape((size, size_out))
}

struct Forward(Resample);

impl CustomOp1 for Forward {
    fn name(&self) -> &'static str {
        "upsampling"
    }

    fn cpu_fwd(&self, x: &CpuStorage, xl: &Layout) -> Result<(CpuStorage, Shape)> {
        let (n, c, _, _) = xl.shape().dims4()?;
        let x = contiguous(x, xl, self.name())?;
        computed((n, c, self.0.height_out, self.0.width_out).into(), |y| self.0.forward(x, y))
    }

    fn bwd(&self, _: &Tensor, _: &Tensor, gradient: &Tensor) -> Result<Option<Tensor>> {
        gradient.contiguous()?.apply_op1_no_bwd(&Gradient(self.0)).map(Some)
    }
}

struct Gradient(Resample);

impl CustomOp1 for Gradient {
    fn name(&self) -> &'static str {
        "upsampling gradient"
    }

    fn cpu_fwd(&self, d: &CpuStorage, dl: &Layout) -> Result<(CpuStorage, Shape)> {
        let (n, c, _, _) = dl.shape().dims4()?;
        let d = contiguous(d, dl, self.name())?;
        computed((n, c, self.0.height, self.0.width).into(), |out| self.0.gradient(d, out))
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::{super::seeded, *};

    #[test]
    fn the_products_for_other_devices_equal_the_kernel() {
        for method in
            [Method::Nearest, Method::Bilinear { align_corners: true }, Method::Bilinear { align_corners: false }]
        {
            let x = seeded::normal((2, 3, 5, 4), 1.0, 1, &Device::Cpu).unwrap();
            let ours = resample(&x, 9, 7, method).unwrap();
            let (rows, columns) = (weights(5, 9, method).unwrap(), weights(4, 7, method).unwrap());
            let flat = x.reshape((30, 4)).unwrap().matmul(&columns).unwrap().reshape((6, 5, 7)).unwrap();
            let theirs = rows.t().unwrap().broadcast_left(6).unwrap().contiguous().unwrap().matmul(&flat).unwrap();
            let worst: f32 = (ours.reshape((6, 9, 7)).unwrap() - theirs)
                .unwrap()
                .abs()
                .unwrap()
                .flatten_all()
                .unwrap()
                .max(0)
                .unwrap()
                .to_scalar()
                .unwrap();
            assert!(worst < 1e-5, "{method:?}: {worst}");
        }
    }
}
