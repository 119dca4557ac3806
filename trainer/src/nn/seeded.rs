//! Random tensors that depend on nothing but their seed (candle's CPU generator cannot be seeded).

use candle_core::{Device, Result, Shape, Tensor};
use rand::{Rng, SeedableRng, rngs::StdRng};

/// A generator for one purpose: the same `seed` and `stream` give the same numbers on every machine.
pub fn generator(seed: u64, stream: u64) -> StdRng {
    // SplitMix64's increment keeps neighbouring streams apart.
    StdRng::seed_from_u64(seed ^ stream.wrapping_mul(0x9E37_79B9_7F4A_7C15))
}

/// Normally distributed values with mean 0 and the given standard deviation (Box and Muller's method).
///
/// # Errors
/// When the device refuses the memory.
pub fn normal(shape: impl Into<Shape>, std: f32, seed: u64, device: &Device) -> Result<Tensor> {
    let shape = shape.into();
    let mut random = generator(seed, 0);
    let values: Vec<f32> = (0..shape.elem_count())
        .map(|_| {
            let (u, v) = (1.0 - random.random::<f64>(), random.random::<f64>());
            ((-2.0 * u.ln()).sqrt() * (std::f64::consts::TAU * v).cos()) as f32 * std
        })
        .collect();
    Tensor::from_vec(values, shape, device)
}
