//! SOLO against mmdetection's head in float64 (trainer/references/solo_reference.py): both losses, gradients, detections.
#![allow(clippy::unwrap_used)]

mod lesion_pictures;
#[path = "../../tests/references/mod.rs"]
mod references;

use lesion_pictures::{Compared, Settings, pixels};
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
    for (number, found) in net.detect(&x).unwrap().into_iter().enumerate() {
        let of = |part: &str| format!("found.{number}.{part}");
        compared.found(TOLERANCE, &of("scores"), &found.instances, |instance| [instance.score]);
        compared.found(TOLERANCE, &of("labels"), &found.instances, |instance| [instance.class as f32]);
        compared.found(TOLERANCE, &of("pixels"), &found.instances, pixels);
    }
    compared.learning([TOLERANCE, TOLERANCE_GRADIENT], &net, &x, &targets);
    compared.end();
}
