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

/// A seed of its own for each `path` of numbers below `seed`, such as purpose, epoch and picture: SplitMix64's mixing (Steele,
/// Lea and Flood 2014) after each number, so that neighbouring paths have nothing in common.
pub fn derive(seed: u64, path: &[u64]) -> u64 {
    let mix = |z: u64| {
        let z = (z ^ (z >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        let z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        z ^ (z >> 31)
    };
    path.iter().fold(mix(seed.wrapping_add(0x9E37_79B9_7F4A_7C15)), |state, number| {
        mix(state.wrapping_add(0x9E37_79B9_7F4A_7C15) ^ mix(number.wrapping_add(0x9E37_79B9_7F4A_7C15)))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn derived_seeds_differ_and_are_always_the_same() {
        let mut seen = std::collections::BTreeSet::new();
        for seed in 0..4 {
            for a in 0..20 {
                assert!(seen.insert(derive(seed, &[a])));
                (0..20).for_each(|b| assert!(seen.insert(derive(seed, &[a, b])), "{seed} {a} {b}"));
            }
        }
        assert_eq!(derive(1, &[2, 3]), derive(1, &[2, 3]));
        assert_ne!(derive(1, &[2, 3]), derive(1, &[3, 2]));
    }
}
