//! Ten training steps of a small attention U-Net with AdamW against the same ten in PyTorch, float64
//! (trainer/references/unet_ten_steps.py): losses, logits and weights.
#![allow(clippy::unwrap_used)]

#[path = "../../tests/references/mod.rs"]
mod references;

use candle_core::{Device, Tensor};
use references::{drawn, drawn_parameter, load, worst_relative};
use serde::Deserialize;
use thorax_nets::segmentation::{NetConfig, Pass, attention_unet::AttentionUnetConfig};
use thorax_nn::{
    losses::LossConfig,
    optimizer::{AdamWConfig, Optimizer},
};

/// Of the largest value of each tensor.
const TOLERANCE: f64 = 1e-4;

#[derive(Deserialize)]
struct Settings {
    #[serde(flatten)]
    net: AttentionUnetConfig,
    batch: usize,
    side: usize,
    steps: usize,
    learning_rate: f64,
    epsilon: f64,
    draw: usize,
}

/// Pictures, masks and which masks are known, as in the script.
fn batch(settings: &Settings) -> (Tensor, Tensor, Tensor) {
    let &Settings { batch, side, draw, .. } = settings;
    let mut truth = vec![];
    let mut known = vec![1f32; batch * 2];
    known[batch * 2 - 1] = 0.0;
    for n in 0..batch as i32 {
        for c in 0..2 {
            let (row, column, radius) = (7 + 5 * n + 2 * c, 10 + 2 * n - c, 4 + 3 * c - n);
            for (r, k) in (0..side as i32).flat_map(|r| (0..side as i32).map(move |k| (r, k))) {
                let inside = (r - row).pow(2) + (k - column).pow(2) < radius.pow(2);
                truth.push(if inside { 1f32 } else { 0.0 });
            }
        }
    }
    let truth = Tensor::from_vec(truth, (batch, 2, side, side), &Device::Cpu).unwrap();
    let noise = drawn(&format!("{draw}.picture"), &[batch, 1, side, side]);
    let x = (noise + truth.sum_keepdim(1).unwrap()).unwrap();
    (x, truth, Tensor::from_vec(known, (batch, 2, 1, 1), &Device::Cpu).unwrap())
}

#[test]
fn ten_training_steps_equal_pytorchs() {
    let (expected, metadata) = load("unet_ten_steps.safetensors");
    let settings: Settings = serde_json::from_str(&metadata["settings"]).unwrap();
    assert_eq!(settings.steps, 10);
    let net = NetConfig::AttentionUnet(settings.net).init(0, &Device::Cpu).unwrap();
    for (name, var) in net.trainable() {
        var.set(&drawn_parameter(&format!("{}.{name}", settings.draw), var.dims())).unwrap();
    }
    let (x, truth, known) = batch(&settings);
    let config = AdamWConfig { epsilon: settings.epsilon, ..AdamWConfig::default() };
    let mut optimizer = Optimizer::new(net.trainable(), config).unwrap();
    let mut losses = vec![];
    let mut compared = 0;
    let mut check = |name: &str, got: &Tensor| {
        let error = worst_relative(got, &expected[name]);
        compared += 1;
        eprintln!("{name}: {error:.1e}");
        (error > TOLERANCE).then(|| format!("{name}: {error:.1e}"))
    };
    let mut wrong = vec![];
    for step in 0..settings.steps {
        let logits = net.forward(&x, Pass::Train { seed: 0 }).unwrap().remove(0);
        let loss = LossConfig::default().loss(&logits, &truth, None, &known, 0).unwrap();
        losses.push(loss.to_scalar::<f32>().unwrap());
        optimizer.step(&loss.backward().unwrap(), settings.learning_rate).unwrap();
        if step == 0 {
            wrong.extend(check("first_logits", &logits));
        } else if step == settings.steps - 1 {
            wrong.extend(check("last_logits", &logits));
        }
    }
    wrong.extend(check("losses", &Tensor::new(losses, &Device::Cpu).unwrap()));
    for (name, var) in net.variables() {
        wrong.extend(check(&format!("weights.{name}"), var.as_tensor()));
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
    assert_eq!(compared, expected.len(), "every tensor of the file was compared");
}
