//! Every backbone in every layout against timm, torchvision and Keras (trainer/references/backbones.py), on drawn weights and on
//! the real ones that are at hand.
//!
//! Real pictures and real weights are material beside the checkout (`../shared`, or `$THORAX_SHARED_MATERIAL`), not part of the
//! repository; without them what needs them is left out, and said so.
#![allow(clippy::unwrap_used)]

#[path = "../../tests/references/mod.rs"]
mod references;

use std::collections::{BTreeMap, HashMap};

use candle_core::{DType, Device, Tensor};
use references::{drawn, drawn_parameter, load, places, worst_relative};
use sha2::{Digest, Sha256};
use thorax_nets::{Backbone, Layout, Pretrained};
use thorax_nn::onnx::{HALF_PRECISION_FROM, from_onnx, to_onnx};
use thorax_wanted::shared;

const FIXTURE: &str = "backbones.safetensors";

/// What the issue asks for.
const COSINE: f64 = 0.99999;
/// f32 against f64, over the depth of B7; the issue asks for 1e-3.
const WORST: f64 = 1e-4;

fn flat(tensor: &Tensor) -> Vec<f32> {
    tensor.flatten_all().unwrap().to_vec1().unwrap()
}

fn cosine(a: &[f32], b: &[f32]) -> f64 {
    let dot = |a: &[f32], b: &[f32]| a.iter().zip(b).map(|(a, b)| f64::from(*a) * f64::from(*b)).sum::<f64>();
    dot(a, b) / (dot(a, a) * dot(b, b)).sqrt()
}

/// The tensors of a file of that layout, drawn by their names.
fn drawn_file(backbone: Backbone, layout: Layout) -> BTreeMap<String, Tensor> {
    let mut tensors: BTreeMap<String, Tensor> = backbone
        .file_tensors(layout)
        .into_iter()
        .map(|(name, shape)| {
            let tensor = drawn_parameter(&name, &shape);
            (name, tensor)
        })
        .collect();
    if layout == Layout::Keras && matches!(backbone, Backbone::EfficientNetB(_)) {
        let mut add = |name: &str, values: [f32; 3]| {
            tensors.insert(format!("normalization/{name}"), Tensor::new(&values, &Device::Cpu).unwrap());
        };
        add("mean", [0.485, 0.456, 0.406]);
        add("variance", [0.229f32, 0.224, 0.225].map(|std| std * std));
    }
    tensors
}

/// The picture of that name in 0..1, `[1, 3, side, side]`: the drawn one, or a real one by nearest neighbours.
fn picture(name: &str, side: usize, hashes: &HashMap<String, String>) -> Option<Tensor> {
    if name == "drawn" {
        return Some(((drawn("picture", &[1, 3, side, side]) + 1.0).unwrap() / 2.0).unwrap());
    }
    let bytes = std::fs::read(shared(&format!("data/seg/images/{name}"))?).unwrap();
    let hash: String = Sha256::digest(&bytes).iter().map(|byte| format!("{byte:02x}")).collect();
    assert_eq!(hash, hashes[name], "{name} is not the picture that the reference was made of");
    let grey = image::load_from_memory(&bytes).unwrap().to_luma8();
    let at = |place: usize, size: u32| (place * size as usize / side) as u32;
    let pixel = |place: usize| grey.get_pixel(at(place % side, grey.width()), at(place / side, grey.height())).0[0];
    let plane: Vec<f32> = (0..side * side).map(|place| f32::from(pixel(place)) / 255.0).collect();
    Some(Tensor::from_vec([&plane[..]; 3].concat(), (1, 3, side, side), &Device::Cpu).unwrap())
}

fn normalised(net: &Pretrained, picture: &Tensor) -> Tensor {
    let row = |values: &[f32; 3]| Tensor::new(values, &Device::Cpu).unwrap().reshape((1, 3, 1, 1)).unwrap();
    picture.broadcast_sub(&row(&net.mean)).unwrap().broadcast_div(&row(&net.std)).unwrap()
}

/// Runs the net, and compares each named map with what the fixture has under `prefix`; the worst of both measures.
fn compare(net: &Pretrained, x: &Tensor, prefix: &str, expected: &HashMap<String, Tensor>) -> (f64, f64) {
    let graph = net.with_maps();
    let (mut least, mut most) = (1f64, 0f64);
    for ((name, _), map) in graph.outputs.iter().zip(graph.run(x).unwrap()) {
        let expected = flat(&expected[&format!("{prefix}/{name}")]);
        let values = flat(&map);
        let square: f64 = values.iter().map(|value| f64::from(*value).powi(2)).sum();
        let at = places(name, expected.len() - 1, values.len());
        let mut got: Vec<f32> = at.into_iter().map(|place| values[place as usize]).collect();
        got.push((square / values.len() as f64).sqrt() as f32);
        let tensor = |values: &[f32]| Tensor::new(values, &Device::Cpu).unwrap();
        let error = worst_relative(&tensor(&got), &tensor(&expected));
        let cosine = cosine(&got[..got.len() - 1], &expected[..expected.len() - 1]);
        assert!(
            cosine >= COSINE && error <= WORST,
            "{prefix}/{name}: cosine {cosine}, worst relative error {error:.1e}"
        );
        (least, most) = (least.min(cosine), most.max(error));
    }
    (least, most)
}

#[test]
fn maps_equal_those_of_timm_torchvision_and_keras() {
    let (expected, metadata) = load(FIXTURE);
    let hashes: HashMap<String, String> = serde_json::from_str(&metadata["pictures"]).unwrap();
    let mut pictures = vec!["drawn"];
    pictures.extend(hashes.keys().map(String::as_str));
    let mut compared = 0;
    for backbone in Backbone::ALL {
        for layout in backbone.layouts() {
            let net = backbone.load(&drawn_file(backbone, *layout)).unwrap();
            assert_eq!(net.layout, *layout);
            let label = format!("{backbone}/{}", layout.to_string().to_lowercase());
            let mut features = vec![];
            for name in &pictures {
                let prefix = format!("{label}/{name}");
                if !expected.contains_key(&format!("{prefix}/features")) {
                    continue;
                }
                let Some(picture) = picture(name, backbone.input_side(), &hashes) else { continue };
                let (cosine, error) = compare(&net, &normalised(&net, &picture), &prefix, &expected);
                eprintln!("{prefix}: cosine 1 - {:.0e}, worst relative error {error:.0e}", 1.0 - cosine);
                features.push(flat(&expected[&format!("{prefix}/features")]));
                compared += 1;
            }
            // Features that hardly depended on the picture would be equal whatever is wrong with the first layers.
            for other in features.iter().skip(1) {
                let same = cosine(&features[0], other);
                assert!(same < 0.999, "{label}: the features of two pictures have cosine {same}");
            }
        }
    }
    // 13 by timm, 8 by torchvision, 10 by Keras.
    assert!(compared >= 31, "{compared}");
}

#[test]
fn parameters_are_as_many_as_keras_counts() {
    let (_, metadata) = load(FIXTURE);
    let counts: BTreeMap<Backbone, [usize; 2]> = serde_json::from_str(&metadata["keras_parameters"]).unwrap();
    assert_eq!(counts.len(), 10);
    for (backbone, expected) in counts {
        let parameters = backbone.architecture(Layout::Keras).parameters();
        let trained = parameters.iter().filter(|parameter| parameter.is_trainable());
        let got = [parameters.iter().map(|p| p.count()).sum::<usize>(), trained.map(|p| p.count()).sum()];
        assert_eq!(got, expected, "{backbone}");
    }
}

#[test]
fn real_weights_give_the_features_of_onnx_runtime_and_timm() {
    let weights = ["tf_efficientnet_lite0.f32", "tf_efficientnet_lite2.f16"]
        .map(|name| shared(&format!("weights/{name}.safetensors")));
    let reference = shared("weights/reference_tf_efficientnet_lite0_chelsea.safetensors");
    let ([Some(lite0), Some(lite2)], Some(reference)) = (weights, reference) else { return };
    let device = Device::Cpu;
    let net = Backbone::EfficientNetLite(0).open(&lite0, &device).unwrap();
    let reference = candle_core::safetensors::load(reference, &device).unwrap();
    let (x, expected) = (&reference["input"], &reference["features"]);
    let features = net.graph.run(x).unwrap().remove(0);
    let features = if expected.rank() == 2 { features.mean((2, 3)).unwrap() } else { features };
    let (cosine, error) = (cosine(&flat(&features), &flat(expected)), worst_relative(&features, expected));
    eprintln!(
        "efficientnet-lite0 on ImageNet weights: cosine 1 - {:.0e}, worst relative error {error:.0e}",
        1.0 - cosine
    );
    assert!(cosine >= COSINE && error <= 1e-3, "cosine {cosine}, worst relative error {error}");

    let net = Backbone::EfficientNetLite(2).open(&lite2, &device).unwrap();
    let at: Vec<u32> = (0..260).map(|place| place * 224 / 260).collect();
    let at = Tensor::new(at, &device).unwrap();
    let x = x.index_select(&at, 2).unwrap().index_select(&at, 3).unwrap();
    let (cosine, error) = compare(&net, &x, "efficientnet-lite2/imagenet/chelsea", &load(FIXTURE).0);
    eprintln!(
        "efficientnet-lite2 on ImageNet weights: cosine 1 - {:.0e}, worst relative error {error:.0e}",
        1.0 - cosine
    );
}

#[test]
fn numbers_of_keras_layers_may_start_anywhere() {
    let backbone = Backbone::InceptionResNetV2;
    let tensors = drawn_file(backbone, Layout::Keras);
    let later: BTreeMap<String, Tensor> = tensors
        .iter()
        .map(|(name, tensor)| {
            let (layer, variable) = name.split_once('/').unwrap();
            let kind = ["conv2d", "batch_normalization"].into_iter().find(|kind| layer.starts_with(kind));
            let name = kind.map_or(name.clone(), |kind| {
                let number: usize = layer[kind.len()..].trim_start_matches('_').parse().unwrap_or(0);
                format!("{kind}_{}/{variable}", number + if kind == "conv2d" { 203 } else { 7 })
            });
            (name, tensor.clone())
        })
        .collect();
    assert!(later.contains_key("conv2d_203/kernel") && later.contains_key("batch_normalization_7/beta"));
    let [first, second] = [tensors, later].map(|tensors| backbone.weights(&tensors).unwrap().pretrained(75).unwrap());
    let x = drawn("picture", &[1, 3, 75, 75]);
    let [first, second] = [first, second].map(|net| flat(&net.graph.run(&x).unwrap()[0]));
    assert_eq!(first, second);
}

#[test]
fn published_keras_files_keep_deviations_for_variances() {
    let backbone = Backbone::EfficientNetB(0);
    let mut tensors = drawn_file(backbone, Layout::Keras);
    let std = [0.229f32, 0.224, 0.225];
    let own = backbone.load(&tensors).unwrap();
    tensors.insert("normalization/variance".into(), Tensor::new(&std, &Device::Cpu).unwrap());
    let published = backbone.load(&tensors).unwrap();
    tensors.retain(|name, _| !name.starts_with("normalization"));
    let without = backbone.load(&tensors).unwrap();
    for net in [own, published, without] {
        assert_eq!(net.mean, [0.485, 0.456, 0.406]);
        assert!(net.std.iter().zip(std).all(|(got, std)| (got - std).abs() < 1e-6), "{:?}", net.std);
    }
}

#[test]
fn the_graph_survives_its_onnx_file() {
    for backbone in [Backbone::ResNet50, Backbone::InceptionResNetV2, Backbone::EfficientNetB(0)] {
        let mut graph = backbone.draw(1, &Device::Cpu).unwrap().graph;
        graph.round_to_half(HALF_PRECISION_FROM).unwrap();
        let read = from_onnx(&to_onnx(&graph, backbone.name()).unwrap()).unwrap();
        let side = backbone.input_side();
        let x = drawn("picture", &[1, 3, side, side]);
        let error = worst_relative(&read.run(&x).unwrap()[0], &graph.run(&x).unwrap()[0]);
        assert!(error < 1e-6, "{backbone}: {error}");
    }
}

/// What is said of a file with these tensors.
fn refusal(backbone: Backbone, tensors: &BTreeMap<String, Tensor>) -> String {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("other.safetensors");
    candle_core::safetensors::save(&tensors.clone().into_iter().collect(), &path).unwrap();
    let error = backbone.open(&path, &Device::Cpu).err().unwrap().to_string();
    assert!(error.contains("other.safetensors") && error.contains(backbone.name()), "{error}");
    error
}

fn says(error: &str, words: &[&str]) {
    words.iter().for_each(|word| assert!(error.contains(word), "{word:?} is not in {error:?}"));
}

#[test]
fn another_nets_file_is_refused_and_named() {
    let tensors = drawn_file(Backbone::EfficientNetLite(1), Layout::Timm);
    let error = refusal(Backbone::ResNet50, &tensors);
    says(
        &error,
        &[
            "; 261 missing: conv1.weight, ",
            " and 258 more; ",
            "unexpected: ",
            "these are the weights of efficientnet-lite1",
        ],
    );
    let error = refusal(Backbone::EfficientNetLite(1), &drawn_file(Backbone::ResNet50, Layout::Keras));
    says(&error, &["320 missing: blocks.0.0.bn1.bias", "318 unexpected: conv1_bn/beta", "the weights of resnet50"]);
    let nothing = BTreeMap::from([("w".to_owned(), Tensor::zeros((2, 2), DType::F32, &Device::Cpu).unwrap())]);
    let error = refusal(Backbone::ResNet50, &nothing);
    says(&error, &["unexpected: w", "timm/resnet50.tv_in1k on the Hugging Face Hub"]);
}

#[test]
fn a_missing_tensor_is_named() {
    let mut tensors = drawn_file(Backbone::EfficientNetB(0), Layout::Torchvision);
    tensors.remove("features.2.1.block.2.fc1.bias").unwrap();
    let error = refusal(Backbone::EfficientNetB(0), &tensors);
    says(&error, &["taken for torchvision's", "; 1 missing: features.2.1.block.2.fc1.bias;"]);
    assert!(!error.contains("unexpected") && !error.contains("misshapen"), "{error}");
}

#[test]
fn an_unexpected_tensor_is_named_and_a_classifier_is_expected() {
    let mut tensors = drawn_file(Backbone::ResNet50, Layout::Keras);
    let value = || Tensor::zeros(3, DType::F32, &Device::Cpu).unwrap();
    tensors.insert("predictions/kernel".into(), value());
    Backbone::ResNet50.load(&tensors).unwrap();
    tensors.insert("conv1_conv/scale".into(), value());
    let error = refusal(Backbone::ResNet50, &tensors);
    says(&error, &["taken for Keras's", "; 1 unexpected: conv1_conv/scale;"]);
    assert!(!error.contains("missing") && !error.contains("misshapen"), "{error}");
    let mut tensors = drawn_file(Backbone::EfficientNetLite(0), Layout::Timm);
    for name in ["classifier.weight", "classifier.bias", "bn1.num_batches_tracked"] {
        tensors.insert(name.into(), value());
    }
    Backbone::EfficientNetLite(0).load(&tensors).unwrap();
}

#[test]
fn a_misshapen_tensor_is_named_with_both_shapes() {
    let mut tensors = drawn_file(Backbone::ResNet50, Layout::Timm);
    tensors.insert("conv1.weight".into(), Tensor::zeros((64, 1, 7, 7), DType::F32, &Device::Cpu).unwrap());
    let error = refusal(Backbone::ResNet50, &tensors);
    says(&error, &["; 1 misshapen: conv1.weight is [64, 1, 7, 7] in place of [64, 3, 7, 7];"]);
    assert!(!error.contains("missing") && !error.contains("unexpected"), "{error}");
}

#[test]
fn no_safetensors_file_is_refused_by_name() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("other.safetensors");
    std::fs::write(&path, b"no safetensors").unwrap();
    let error = Backbone::ResNet50.open(&path, &Device::Cpu).err().unwrap().to_string();
    says(&error, &["other.safetensors", "resnet50"]);
    let error = Backbone::ResNet50.open(&folder.path().join("absent"), &Device::Cpu).err().unwrap().to_string();
    says(&error, &["absent", "resnet50"]);
}

#[test]
fn half_precision_files_are_read_to_f32() {
    let backbone = Backbone::EfficientNetLite(0);
    let tensors = drawn_file(backbone, Layout::Timm);
    let x = drawn("picture", &[1, 3, 64, 64]);
    let features = |through: &[DType]| {
        let cast = |tensor: &Tensor| through.iter().fold(tensor.clone(), |tensor, to| tensor.to_dtype(*to).unwrap());
        let tensors = tensors.iter().map(|(name, tensor)| (name.clone(), cast(tensor))).collect();
        flat(&backbone.weights(&tensors).unwrap().pretrained(64).unwrap().graph.run(&x).unwrap()[0])
    };
    for half in [DType::F16, DType::BF16] {
        assert_eq!(features(&[half]), features(&[half, DType::F32]));
        assert_ne!(features(&[half]), features(&[]));
    }
}
