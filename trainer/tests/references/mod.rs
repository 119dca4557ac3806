//! Numbers that Python and Rust draw alike, and the files of results that PyTorch wrote for them.
#![allow(clippy::unwrap_used, dead_code)]

use std::collections::HashMap;

use candle_core::{Device, Tensor};

/// A hash of a place and of `name`: the twin of trainer/references/drawn.py.
fn hashed(name: &str) -> impl Fn(u32) -> u32 {
    let name = name.bytes().fold(0x811C_9DC5u32, |hash, byte| (hash ^ u32::from(byte)).wrapping_mul(0x0100_0193));
    move |place| {
        let mut hash = place ^ name;
        hash = (hash ^ (hash >> 16)).wrapping_mul(0x7FEB_352D);
        hash = (hash ^ (hash >> 15)).wrapping_mul(0x846C_A68B);
        hash ^ (hash >> 16)
    }
}

/// A value in [-1, 1) for each place, from a hash of the place and of `name`.
pub(crate) fn drawn(name: &str, shape: &[usize]) -> Tensor {
    let hash = hashed(name);
    let value = |place: u32| ((hash(place) >> 8) as f32 - 8_388_608.0) / 8_388_608.0;
    let count = shape.iter().product::<usize>() as u32;
    Tensor::from_vec((0..count).map(value).collect::<Vec<_>>(), shape, &Device::Cpu).unwrap()
}

/// `count` places below `total`.
pub(crate) fn places(name: &str, count: usize, total: usize) -> Vec<u32> {
    (0..count as u32).map(hashed(name)).map(|hash| hash % total as u32).collect()
}

/// How many products a value of the convolution's output sums up.
fn fan_in(name: &str, shape: &[usize]) -> usize {
    if name.ends_with("up.weight") {
        return shape[0];
    }
    match *shape {
        // Keras: [K_h, K_w, C_in, C_out], depthwise [K_h, K_w, C, 1].
        [rows, columns, _, 1] if name.ends_with("/kernel") => rows * columns,
        [rows, columns, channels, _] if name.ends_with("/kernel") => rows * columns * channels,
        _ => shape[1..].iter().product(),
    }
}

/// By what the scale of an EfficientNet block's last batch norm is multiplied (`block_scale` in drawn.py).
fn block_scale(name: &str) -> f64 {
    let Some(layer) = name.strip_suffix(".weight").or_else(|| name.strip_suffix("/gamma")) else { return 1.0 };
    let blocks = [("blocks.", ".bn3", ".0"), ("features.", ".block.3.1", ".0"), ("block", "_project_bn", "a")];
    blocks
        .into_iter()
        .find_map(|(start, end, first)| {
            let block = layer.strip_suffix(end).filter(|block| block.starts_with(start))?;
            Some(if block.ends_with(first) { 1.0 } else { 0.2 })
        })
        .unwrap_or(1.0)
}

/// A net's parameter: kernels scaled after He, scales near 1, shifts near 0 (`drawn_parameter` in drawn.py).
pub(crate) fn drawn_parameter(name: &str, shape: &[usize]) -> Tensor {
    let value = drawn(name, shape);
    let ends_with = |ends: &[&str]| ends.iter().any(|end| name.ends_with(end));
    // candle's scalar operations on f32 tensors round their f64 operand first, as NumPy's float32 does.
    let (scale, shift) = if shape.len() > 1 {
        ((6.0 / fan_in(name, shape) as f64).sqrt(), 0.0)
    } else if ends_with(&["running_var", "moving_variance"]) {
        (0.5, 1.0)
    } else if ends_with(&["weight", "gamma"]) {
        return (((value * 0.25).unwrap() + 1.0).unwrap() * block_scale(name)).unwrap();
    } else {
        (0.125, 0.0)
    };
    ((value * scale).unwrap() + shift).unwrap()
}

/// The tensors and the metadata of trainer/tests/references/`file`.
pub(crate) fn load(file: &str) -> (HashMap<String, Tensor>, HashMap<String, String>) {
    let path = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("../tests/references").join(file);
    let bytes = std::fs::read(&path).unwrap();
    let (_, header) = safetensors::SafeTensors::read_metadata(&bytes).unwrap();
    let metadata = header.metadata().clone().unwrap_or_default();
    (candle_core::safetensors::load_buffer(&bytes, &Device::Cpu).unwrap(), metadata)
}

/// Largest difference over all values, as a share of the largest expected value.
pub(crate) fn worst_relative(got: &Tensor, expected: &Tensor) -> f64 {
    assert_eq!(got.dims(), expected.dims());
    let flat = |tensor: &Tensor| tensor.flatten_all().unwrap().to_vec1::<f32>().unwrap();
    let (got, expected) = (flat(got), flat(expected));
    let largest = expected.iter().fold(0f64, |m, v| m.max(f64::from(v.abs())));
    let worst = got.iter().zip(&expected).map(|(a, b)| (f64::from(*a) - f64::from(*b)).abs());
    // A NaN must not pass: `f64::max` would drop it.
    let worst = worst.fold(0f64, |m, v| if v.is_nan() { f64::INFINITY } else { m.max(v) });
    // Where zeros are expected, zeros have to come.
    if worst == 0.0 { 0.0 } else { worst / largest }
}
