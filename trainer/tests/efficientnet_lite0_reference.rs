//! EfficientNet-Lite0 against ONNX Runtime's features and logits on the same picture and the real ImageNet weights.
//!
//! Weights and reference are material beside the checkout (`../shared/weights`, or `$THORAX_SHARED_MATERIAL/weights`), not
//! part of the repository; without them the test says so and does nothing.
#![allow(clippy::unwrap_used)]

use std::path::PathBuf;

use candle_core::Device;
use thorax_trainer::nets::efficientnet_lite;

#[test]
fn features_equal_onnx_runtimes() {
    let material = std::env::var_os("THORAX_SHARED_MATERIAL")
        .map_or_else(|| PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../../shared"), PathBuf::from);
    let weights = material.join("weights/tf_efficientnet_lite0.f32.safetensors");
    let reference = material.join("weights/reference_tf_efficientnet_lite0_chelsea.safetensors");
    if !weights.exists() || !reference.exists() {
        eprintln!("SKIPPED features_equal_onnx_runtimes: {} is not there", weights.display());
        return;
    }
    let device = Device::Cpu;
    let graph = efficientnet_lite::load(&weights, &device).unwrap();
    let reference = candle_core::safetensors::load(&reference, &device).unwrap();
    let features = graph.run(&reference["input"]).unwrap().remove(0);
    let expected = &reference["features"];
    let features = if expected.rank() == 2 { features.mean((2, 3)).unwrap() } else { features };
    assert_eq!(features.dims(), expected.dims());
    let flat = |tensor: &candle_core::Tensor| tensor.flatten_all().unwrap().to_vec1::<f32>().unwrap();
    let (ours, theirs) = (flat(&features), flat(expected));
    let dot = |a: &[f32], b: &[f32]| a.iter().zip(b).map(|(a, b)| f64::from(*a) * f64::from(*b)).sum::<f64>();
    let cosine = dot(&ours, &theirs) / (dot(&ours, &ours) * dot(&theirs, &theirs)).sqrt();
    let largest = theirs.iter().copied().fold(0f32, f32::max);
    let worst = ours.iter().zip(&theirs).map(|(a, b)| (a - b).abs()).fold(0f32, f32::max);
    assert!(cosine > 0.999_999, "cosine {cosine}");
    assert!(worst < 1e-3 * largest, "worst difference {worst} of values up to {largest}");
}

#[test]
fn weights_of_another_net_are_refused_by_the_tensor_that_is_missing() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("other.safetensors");
    let tensor = candle_core::Tensor::zeros((2, 2), candle_core::DType::F32, &Device::Cpu).unwrap();
    candle_core::safetensors::save(&std::collections::HashMap::from([("w", tensor)]), &path).unwrap();
    let error = efficientnet_lite::load(&path, &Device::Cpu).err().unwrap().to_string();
    assert!(error.contains("conv_stem.weight"), "{error}");
    std::fs::write(&path, b"no safetensors").unwrap();
    let error = efficientnet_lite::load(&path, &Device::Cpu).err().unwrap().to_string();
    assert!(error.contains("other.safetensors"), "{error}");
}
