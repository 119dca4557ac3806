//! Dropout (Srivastava et al. 2014) whose choice depends on a seed and the place alone.

use candle_core::{DType, Device, Result, Tensor};

use super::elementwise::Dropout;

/// Sets values of `x` to zero with `probability` and scales the others by `1 / (1 - probability)`. The same `seed` drops the
/// same places, on every device; give every call of a net its own. Differentiable.
///
/// # Errors
/// A probability outside 0 to below 1.
pub fn dropout(x: &Tensor, probability: f64, seed: u64) -> Result<Tensor> {
    if !(0.0..1.0).contains(&(probability as f32)) {
        candle_core::bail!("dropout: the probability {probability} is not in 0 to below 1");
    }
    if probability == 0.0 {
        return Ok(x.clone());
    }
    let operator = Dropout { probability: probability as f32, seed };
    if x.device().is_cpu() {
        return x.contiguous()?.apply_op1(operator);
    }
    // The choice is made on the CPU, so that it is the same everywhere.
    let kept = Tensor::ones(x.shape(), DType::F32, &Device::Cpu)?.apply_op1_no_bwd(&operator)?;
    x * kept.to_device(x.device())?.to_dtype(x.dtype())?
}
