//! BlitzNet against its definition in PyTorch, float64 (trainer/references/blitznet.py): all three losses, detections, the semantic map.
#![allow(clippy::unwrap_used)]

mod lesion_pictures;
#[path = "../../tests/references/mod.rs"]
mod references;

use lesion_pictures::{Compared, Settings};
use thorax_nets::instance::{InstanceConfig, blitznet::BlitzNetConfig, matching::Order};

/// Of the largest value of each tensor.
const TOLERANCE: f64 = 1e-3;
/// The same for losses: batch norms of eight values make much of a rounding. PyTorch's own float32 is 6e-3 away.
const TOLERANCE_LOSS: f64 = 5e-3;

#[test]
fn losses_and_detections_equal_those_of_the_definition() {
    let mut compared = Compared::with("blitznet.safetensors");
    let settings: Settings = serde_json::from_str(&compared.metadata).unwrap();
    let config = BlitzNetConfig { classes: settings.classes, frozen: false };
    let net = settings.net(InstanceConfig::Blitznet(config));
    let (x, targets) = settings.pictures();
    let found = net.detect(&x).unwrap();
    compared.detections(TOLERANCE, &found, &["boxes", "scores", "labels"]);
    for (number, found) in found.into_iter().enumerate() {
        let marked = found.map.unwrap().iter().filter(|inside| **inside).count();
        compared.check(TOLERANCE, &format!("map.{number}"), vec![marked as f32]);
    }
    for (name, loss) in net.losses(&x, &targets, Order::AsItComes).unwrap() {
        compared.check(TOLERANCE_LOSS, &format!("losses.{name}"), vec![loss.to_scalar::<f32>().unwrap()]);
    }
    compared.end();
}
