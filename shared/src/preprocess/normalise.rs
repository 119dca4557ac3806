//! From eight bits to the network's numbers.

use super::spec::Normalise;
use crate::plane::Plane;
use alloc::vec::Vec;

/// The tensor `[C, height, width]` of `picture`: `(value / 255 - mean[c]) / std[c]` for each of the recipe's channels.
pub fn normalise(picture: &Plane<u8>, spec: &Normalise) -> Vec<f32> {
    let mut tensor = Vec::with_capacity(spec.mean.len().min(spec.std.len()) * picture.data().len());
    for (mean, std) in spec.mean.iter().zip(&spec.std) {
        let table: [f32; 256] = core::array::from_fn(|value| (value as f32 / 255.0 - mean) / std);
        tensor.extend(picture.data().iter().map(|&value| table[usize::from(value)]));
    }
    tensor
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "a test may fail")]
mod tests {
    use super::*;
    use alloc::vec;

    #[test]
    fn channels_follow_one_another() {
        let picture = Plane::new(2, 1, vec![0, 255]).unwrap();
        let spec = Normalise { mean: vec![0.0, 0.5], std: vec![1.0, 0.25] };
        assert_eq!(normalise(&picture, &spec), [0.0, 1.0, -2.0, 2.0]);
    }
}
