//! Mask R-CNN against torchvision's in float64 (trainer/references/mask_rcnn.py): all five losses, gradients, detections, and ten steps.
#![allow(clippy::unwrap_used)]

mod lesion_pictures;
#[path = "../../tests/references/mod.rs"]
mod references;

use lesion_pictures::{Compared, Settings, sampled};
use serde::Deserialize;
use thorax_nets::instance::{InstanceConfig, mask_rcnn::MaskRcnnConfig, matching::Order};
use thorax_nn::optimizer::{Optimizer, SgdConfig};

/// Of the largest value of each tensor.
const TOLERANCE: f64 = 1e-3;
/// How far a weight may end from torchvision's after ten steps, of the way it has gone: at each step float32 rounds some value to the other
/// side of a ReLU's kink, and the gradient jumps. PyTorch's own float32 ends 4.0e-2 from its float64, as the script prints.
const TOLERANCE_AFTER: f64 = 6e-2;

#[derive(Deserialize)]
struct Training {
    #[serde(flatten)]
    settings: Settings,
    learning_rate: f64,
    steps: usize,
}

#[test]
fn losses_gradients_detections_and_ten_steps_equal_torchvisions() {
    let mut compared = Compared::with("mask_rcnn.safetensors");
    let Training { settings, learning_rate, steps } = serde_json::from_str(&compared.metadata).unwrap();
    let config = MaskRcnnConfig { classes: settings.classes, frozen: true, regions: 64, anchor: 32 };
    let net = settings.net(InstanceConfig::MaskRcnn(config));
    let (x, targets) = settings.pictures();
    compared.learning([TOLERANCE; 2], &net, &x, &targets);
    compared.detections(TOLERANCE, &net.detect(&x).unwrap(), &["boxes", "scores", "labels", "pixels"]);
    let config = SgdConfig { momentum: 0.9, nesterov: false, weight_decay: 0.0 };
    let mut optimizer = Optimizer::new(net.trainable(), config).unwrap();
    let mut losses = vec![];
    for _ in 0..steps {
        let loss = net.loss(&x, &targets, Order::AsItComes).unwrap();
        losses.push(loss.to_scalar::<f32>().unwrap());
        optimizer.step(&loss.backward().unwrap(), learning_rate).unwrap();
    }
    compared.check(TOLERANCE, "steps", losses);
    for (name, var) in net.trainable() {
        let gone = (var.as_tensor() - settings.weight(&name, var.dims())).unwrap();
        compared.check(TOLERANCE_AFTER, &format!("after.{name}"), sampled(&name, &gone));
    }
    compared.end();
}
