//! The operators of `nn::detection` against torchvision (trainer/references/detection.py).
#![allow(clippy::unwrap_used)]

#[path = "../../tests/references/mod.rs"]
mod references;

use std::collections::HashMap;

use candle_core::{Device, Tensor, Var};
use references::{drawn, load, worst_relative};
use serde::Deserialize;
use thorax_nn::detection::{
    BoundingBox, BoxCoder,
    group_norm::group_norm,
    losses::{focal, smooth_l1, softmax_cross_entropy},
    masks::paste,
    roi_align::{Region, RoiAlignConfig, roi_align},
    suppression::{class_wise, greedy, matrix},
};

/// Of the largest value of each tensor.
const TOLERANCE: f64 = 1e-5;

#[derive(Deserialize)]
struct RoiAlignCase {
    x: Vec<usize>,
    regions: usize,
    height: usize,
    width: usize,
    scale: f32,
    samples: usize,
    aligned: bool,
}

fn corners([left, top, right, bottom]: [f32; 4]) -> BoundingBox {
    BoundingBox { left, top, right, bottom }
}

/// As `boxes` in the script.
fn boxes(name: &str, count: usize, size: f32) -> Vec<BoundingBox> {
    let values = drawn(name, &[count, 4]).to_vec2::<f32>().unwrap();
    let one = |v: &Vec<f32>| {
        let [x, y] = [0, 1].map(|i| (v[i] + 1.0) * size / 2.0);
        let [w, h] = [2, 3].map(|i| (v[i] + 1.05) * size / 6.0);
        corners([x - w, y - h, x + w, y + h])
    };
    values.iter().map(one).collect()
}

fn check(expected: &HashMap<String, Tensor>, name: &str, got: &Tensor) {
    let error = worst_relative(&got.flatten_all().unwrap(), &expected[name].flatten_all().unwrap());
    eprintln!("{name}: {error:.1e}");
    assert!(error <= TOLERANCE, "{name}: {error:.1e}");
}

fn numbers(values: Vec<f32>) -> Tensor {
    Tensor::new(values, &Device::Cpu).unwrap()
}

#[test]
fn regions_and_their_gradients_equal_torchvisions() {
    let (expected, metadata) = load("detection.safetensors");
    let cases: Vec<RoiAlignCase> = serde_json::from_str(&metadata["roi_align"]).unwrap();
    assert_eq!(cases.len(), 4);
    for (index, case) in cases.iter().enumerate() {
        let name = format!("roi_align.{index}");
        let x = Var::from_tensor(&drawn(&format!("{name}.x"), &case.x)).unwrap();
        let size = case.x[2].min(case.x[3]) as f32 / case.scale;
        let regions = boxes(&format!("{name}.boxes"), case.regions, size).into_iter().enumerate();
        let regions: Vec<Region> = regions.map(|(number, region)| (number % case.x[0], region)).collect();
        let &RoiAlignCase { height, width, scale, samples, aligned, .. } = case;
        let y = roi_align(&x, &regions, RoiAlignConfig { height, width, scale, samples, aligned }).unwrap();
        let upstream = drawn(&format!("{name}.upstream"), y.dims());
        let gradients = (&y * upstream).unwrap().sum_all().unwrap().backward().unwrap();
        check(&expected, &format!("{name}.y"), &y);
        check(&expected, &format!("{name}.gradient"), gradients.get(&x).unwrap());
    }
}

#[test]
fn what_is_suppressed_is_what_torchvision_suppresses() {
    let (expected, _) = load("detection.safetensors");
    let candidates = boxes("suppression.boxes", 200, 100.0);
    let scores = (drawn("suppression.scores", &[200]) * 0.5).unwrap();
    let scores = (scores + 0.5).unwrap().to_vec1::<f32>().unwrap();
    let indices = |name: &str| expected[name].to_vec1::<f32>().unwrap().iter().map(|v| *v as usize).collect::<Vec<_>>();
    assert_eq!(greedy(&candidates, &scores, 0.4), indices("suppression.greedy"));
    let classes: Vec<usize> = (0..200).map(|index| index % 3).collect();
    assert_eq!(class_wise(&candidates, &scores, &classes, 0.4), indices("suppression.class_wise"));
    let rows = |a: &BoundingBox| candidates.iter().map(|b| a.overlap(b)).collect::<Vec<f32>>();
    check(&expected, "suppression.overlaps", &numbers(candidates[..20].iter().flat_map(rows).collect()));
    let disc = |place: &BoundingBox| {
        let lies = |at: f32, from: f32, to: f32| at >= from && at < to;
        let pixel = |at: usize| {
            lies((at % 40) as f32, place.left, place.right) && lies((at / 40) as f32, place.top, place.bottom)
        };
        (0..1600).map(pixel).collect::<Vec<bool>>()
    };
    let masks: Vec<Vec<bool>> = boxes("suppression.discs", 30, 40.0).iter().map(disc).collect();
    let classes: Vec<usize> = (0..30).map(|index| index % 2).collect();
    check(&expected, "suppression.matrix", &numbers(matrix(&masks, &classes, 2.0)));
}

#[test]
fn boxes_are_encoded_decoded_and_pasted_as_torchvision_does() {
    let (expected, _) = load("detection.safetensors");
    let coder = BoxCoder::new([10.0, 10.0, 5.0, 5.0]);
    let (targets, references) = (boxes("suppression.boxes", 200, 100.0), boxes("coder.references", 50, 100.0));
    let codes = references.iter().zip(&targets).flat_map(|(reference, target)| coder.encode(target, reference));
    check(&expected, "coder.codes", &numbers(codes.collect()));
    let codes = (drawn("coder.codes", &[50, 4]) * 30.0).unwrap().to_vec2::<f32>().unwrap();
    let decoded = codes.iter().zip(&references).flat_map(|(code, reference)| {
        let BoundingBox { left, top, right, bottom } = coder.decode([code[0], code[1], code[2], code[3]], reference);
        [left, top, right, bottom]
    });
    check(&expected, "coder.boxes", &numbers(decoded.collect()));
    let places = [[3.2, 4.9, 30.1, 22.7], [-7.0, 10.0, 9.5, 60.0], [40.3, 2.0, 41.1, 3.0], [12.0, 12.0, 12.0, 40.0]]
        .map(corners);
    let values = ((drawn("paste.values", &[4, 1, 28, 28]) * 0.5).unwrap() + 0.5).unwrap();
    let values = values.flatten_from(1).unwrap().to_vec2::<f32>().unwrap();
    let pasted = places.iter().zip(&values).flat_map(|(place, values)| paste(values, 28, place, 48, 56));
    check(&expected, "paste.pictures", &numbers(pasted.collect()));
}

#[test]
fn losses_and_group_norm_equal_pytorchs() {
    let (expected, _) = load("detection.safetensors");
    let x = Var::from_tensor(&(drawn("losses.logits", &[6, 9]) * 4.0).unwrap()).unwrap();
    let other = drawn("losses.other", &[6, 9]);
    let truth = other.gt(0f32).unwrap().to_dtype(candle_core::DType::F32).unwrap();
    let part = |row: usize| other.get(row).unwrap().narrow(0, 0, 6).unwrap();
    let maps = x.reshape((1, 6, 3, 3)).unwrap();
    let upstream = drawn("losses.upstream", &[1, 6, 3, 3]);
    for (name, y, upstream) in [
        ("smooth_l1", smooth_l1(&x, &other, 1.0 / 9.0).unwrap(), None),
        ("focal", focal(&x, &truth, 0.25, 2.0).unwrap(), None),
        ("cross_entropy", softmax_cross_entropy(&x, &[0, 1, 2, 3, 4, 5]).unwrap(), None),
        ("group_norm", group_norm(&maps, &(part(0) + 2.0).unwrap(), &part(1), 2, 1e-5).unwrap(), Some(upstream)),
    ] {
        let pulled = upstream.map_or_else(|| y.clone(), |upstream| (&y * upstream).unwrap());
        let gradients = pulled.sum_all().unwrap().backward().unwrap();
        check(&expected, &format!("{name}.y"), &y);
        check(&expected, &format!("{name}.gradient"), gradients.get(&x).unwrap());
    }
}
