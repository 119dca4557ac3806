//! YOLACT against the authors' program in float64 (trainer/references/yolact_reference.py): all four losses, gradients, detections.
#![allow(clippy::unwrap_used)]

mod lesion_pictures;
#[path = "../../tests/references/mod.rs"]
mod references;

use lesion_pictures::{Compared, Settings};
use thorax_nets::instance::{InstanceConfig, yolact::YolactConfig};

/// Of the largest value of each tensor.
const TOLERANCE: f64 = 1e-3;
/// The same for a sample of a gradient; PyTorch's own float32 is up to 6e-3 away.
const TOLERANCE_GRADIENT: f64 = 6e-3;

#[test]
fn losses_gradients_and_detections_equal_the_authors() {
    let mut compared = Compared::with("yolact.safetensors");
    let settings: Settings = serde_json::from_str(&compared.metadata).unwrap();
    let config = YolactConfig { classes: settings.classes, frozen: false, square: true };
    let net = settings.net(InstanceConfig::Yolact(config));
    let (x, targets) = settings.pictures();
    compared.detections(TOLERANCE, &net.detect(&x).unwrap(), &["boxes", "scores", "labels"]);
    compared.learning([TOLERANCE, TOLERANCE_GRADIENT], &net, &x, &targets);
    compared.end();
}
