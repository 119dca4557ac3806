//! SOLO against mmdetection's head in float64 (trainer/references/solo_reference.py): both losses, gradients, detections.
#![allow(clippy::unwrap_used)]

mod lesion_pictures;
#[path = "../../tests/references/mod.rs"]
mod references;

use lesion_pictures::{Compared, Settings};
use thorax_nets::instance::{InstanceConfig, solo::SoloConfig};

/// Of the largest value of each tensor.
const TOLERANCE: f64 = 1e-3;
/// The same for a sample of a gradient; PyTorch's own float32 is up to 2e-3 away.
const TOLERANCE_GRADIENT: f64 = 6e-3;

#[test]
fn losses_gradients_and_detections_equal_mmdetections() {
    let mut compared = Compared::with("solo.safetensors");
    let settings: Settings = serde_json::from_str(&compared.metadata).unwrap();
    let net = settings.net(InstanceConfig::Solo(SoloConfig { classes: settings.classes, frozen: true }));
    let (x, targets) = settings.pictures();
    compared.detections(TOLERANCE, &net.detect(&x).unwrap(), &["scores", "labels", "pixels"]);
    compared.learning([TOLERANCE, TOLERANCE_GRADIENT], &net, &x, &targets);
    compared.end();
}
