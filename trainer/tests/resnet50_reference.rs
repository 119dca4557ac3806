//! ResNet50 against PyTorch's features in float64 (trainer/references/resnet50_features.py; torchvision's net gives the
//! same) on drawn weights, and its size against Table III of the paper.
#![allow(clippy::unwrap_used)]

mod references;

use std::collections::BTreeMap;

use candle_core::{DType, Device, Tensor};
use references::{drawn, drawn_parameter, load, worst_relative};
use thorax_trainer::{
    export::{HALF_PRECISION_FROM, from_onnx, to_onnx},
    nets::resnet50::{self, FEATURE_SIDE, FEATURES, INPUT_SIDE},
    nn::graph::Operation,
};

/// The names and shapes that torchvision's `resnet50().state_dict()` has, without its head.
fn parameters() -> Vec<(String, Vec<usize>)> {
    let mut found = vec![];
    let mut layer = |convolution: String, norm: String, shape: [usize; 4]| {
        found.push((format!("{convolution}.weight"), shape.to_vec()));
        for part in ["weight", "bias", "running_mean", "running_var"] {
            found.push((format!("{norm}.{part}"), vec![shape[0]]));
        }
    };
    layer("conv1".into(), "bn1".into(), [64, 3, 7, 7]);
    let mut channels = 64;
    for (stage, (width, blocks)) in [(64, 3), (128, 4), (256, 6), (512, 3)].into_iter().enumerate() {
        for block in 0..blocks {
            let prefix = format!("layer{}.{block}", stage + 1);
            let name = |kind: &str, index: usize| format!("{prefix}.{kind}{index}");
            layer(name("conv", 1), name("bn", 1), [width, channels, 1, 1]);
            layer(name("conv", 2), name("bn", 2), [width, width, 3, 3]);
            layer(name("conv", 3), name("bn", 3), [4 * width, width, 1, 1]);
            if block == 0 {
                layer(name("downsample.", 0), name("downsample.", 1), [4 * width, channels, 1, 1]);
            }
            channels = 4 * width;
        }
    }
    found
}

#[test]
fn features_equal_pytorchs() {
    let tensors: BTreeMap<String, Tensor> = parameters()
        .into_iter()
        .map(|(name, shape)| {
            let tensor = drawn_parameter(&name, &shape);
            (name, tensor)
        })
        .collect();
    let graph = resnet50::build(&tensors).unwrap();
    let features = graph.run(&drawn("picture", &[1, 3, INPUT_SIDE, INPUT_SIDE])).unwrap().remove(0);
    assert_eq!(features.dims(), [1, FEATURES, FEATURE_SIDE, FEATURE_SIDE]);
    let every_eighth: Vec<u32> = (0..FEATURES as u32).step_by(8).collect();
    let every_eighth = Tensor::new(every_eighth, &Device::Cpu).unwrap();
    let error = worst_relative(
        &features.index_select(&every_eighth, 1).unwrap(),
        &load("resnet50_features.safetensors").0["features"],
    );
    eprintln!("worst relative error {error:.1e}");
    assert!(error <= 1e-4, "{error}");
}

#[test]
fn sizes_are_those_of_the_papers_table() {
    let graph = resnet50::draw(1, &Device::Cpu).unwrap();
    // As Keras counts: kernel and bias of every convolution, scale, shift, mean and variance of the batch norm behind it.
    let parameters: usize = graph
        .nodes
        .iter()
        .map(|node| match &node.operation {
            Operation::Convolution { weight, bias, .. } => weight.elem_count() + 5 * bias.elem_count(),
            _ => 0,
        })
        .sum();
    assert_eq!(parameters, 23_587_712);
    assert_eq!(FEATURES * FEATURE_SIDE * FEATURE_SIDE, 100_352);
}

#[test]
fn the_graph_survives_its_onnx_file() {
    let mut graph = resnet50::draw(1, &Device::Cpu).unwrap();
    graph.round_to_half(HALF_PRECISION_FROM).unwrap();
    let read = from_onnx(&to_onnx(&graph, "resnet50").unwrap()).unwrap();
    let x = drawn("picture", &[1, 3, INPUT_SIDE, INPUT_SIDE]);
    let error = worst_relative(&read.run(&x).unwrap()[0], &graph.run(&x).unwrap()[0]);
    assert!(error < 1e-6, "{error}");
}

#[test]
fn weights_of_another_net_are_refused_by_name() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("other.safetensors");
    let refusal = |tensors: &[(&str, &[usize])]| {
        let tensors =
            tensors.iter().map(|(name, shape)| (*name, Tensor::zeros(*shape, DType::F32, &Device::Cpu).unwrap()));
        candle_core::safetensors::save(&tensors.collect(), &path).unwrap();
        resnet50::load(&path, &Device::Cpu).err().unwrap().to_string()
    };
    let error = refusal(&[("w", &[2, 2])]);
    assert!(error.contains("conv1.weight") && error.contains("resnet50"), "{error}");
    let error = refusal(&[("conv1.weight", &[64, 1, 7, 7])]);
    assert!(error.contains("[64, 1, 7, 7]") && error.contains("[64, 3, 7, 7]"), "{error}");
    std::fs::write(&path, b"no safetensors").unwrap();
    let error = resnet50::load(&path, &Device::Cpu).err().unwrap().to_string();
    assert!(error.contains("other.safetensors"), "{error}");
}
