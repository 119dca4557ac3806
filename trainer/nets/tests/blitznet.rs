//! BlitzNet against its definition in PyTorch, float64 (trainer/references/blitznet.py): all three losses, and gradients.
#![allow(clippy::unwrap_used)]

mod lesion_pictures;
#[path = "../../tests/references/mod.rs"]
mod references;

use lesion_pictures::{Compared, Settings};
use thorax_nets::instance::{InstanceConfig, blitznet::BlitzNetConfig};

/// Of the largest value of each tensor.
const TOLERANCE: f64 = 1e-3;

#[test]
fn losses_and_gradients_equal_those_of_the_definition() {
    let mut compared = Compared::with("blitznet.safetensors");
    let settings: Settings = serde_json::from_str(&compared.metadata).unwrap();
    let config = BlitzNetConfig { classes: settings.classes, frozen: false };
    let net = settings.net(InstanceConfig::Blitznet(config));
    let (x, targets) = settings.pictures();
    compared.learning(TOLERANCE, &net, &x, &targets);
    compared.end();
}
