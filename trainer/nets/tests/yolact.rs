//! YOLACT against the authors' program in float64 (trainer/references/yolact_reference.py): all four losses, gradients, detections. And as an
//! ONNX file, in tract and in ONNX Runtime, against itself.
#![allow(clippy::unwrap_used)]

mod lesion_pictures;
#[path = "../../tests/references/mod.rs"]
mod references;

use std::{path::Path, process::Command};

use candle_core::{Device, Tensor};
use lesion_pictures::{Compared, Settings};
use thorax_nets::instance::{Found, InstanceConfig, solo::SoloConfig, yolact::YolactConfig};

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

/// What a runtime gives for a picture.
struct Answer {
    /// `[K, 4]`.
    boxes: Vec<f32>,
    scores: Vec<f32>,
    /// `[K, S, S]`.
    masks: Vec<u8>,
}

impl Answer {
    /// Whether it is what the net itself found: the same lesions in the same order, but for the last digits.
    fn assert_is(&self, found: &Found, who: &str) {
        let count = found.instances.len();
        assert_eq!((self.scores.len(), self.boxes.len()), (count, 4 * count), "{who}");
        let pixels: usize = found.instances.iter().map(|instance| instance.mask.len()).sum();
        assert_eq!(self.masks.len(), pixels, "{who}");
        for ((score, corners), instance) in self.scores.iter().zip(self.boxes.chunks(4)).zip(&found.instances) {
            assert!((score - instance.score).abs() < 1e-4, "{who}: {score} {}", instance.score);
            let place = [instance.place.left, instance.place.top, instance.place.right, instance.place.bottom];
            let worst = corners.iter().zip(place).map(|(a, b)| (a - b).abs()).fold(0.0, f32::max);
            assert!(worst < 1e-2, "{who}: {corners:?} {place:?}");
        }
        let masks = found.instances.iter().flat_map(|instance| &instance.mask);
        let others = masks.zip(&self.masks).filter(|(own, other)| **own != (**other == 1)).count();
        // A pixel may lie at 0.5.
        assert!(others * 10_000 <= pixels, "{who}: {others} of {pixels} pixels differ");
    }
}

/// A net of drawn weights that finds some lesions and suppresses others, two pictures, and what it finds.
fn exported() -> (Vec<u8>, Tensor, Vec<Found>) {
    let mut settings: Settings = serde_json::from_str(&Compared::with("yolact.safetensors").metadata).unwrap();
    settings.classes = 2;
    let config = YolactConfig { classes: 2, frozen: false, square: false };
    let net = settings.net(InstanceConfig::Yolact(config));
    let (x, _) = settings.pictures();
    let found = net.detect(&x).unwrap();
    let counts: Vec<usize> = found.iter().map(|found| found.instances.len()).collect();
    assert!(counts.iter().all(|count| *count > 1), "{counts:?}");
    let drawn = found.iter().flat_map(|found| &found.instances).flat_map(|instance| &instance.mask);
    assert!(drawn.filter(|inside| **inside).count() > 100, "masks of something");
    (net.to_onnx(x.dim(2).unwrap()).unwrap(), x, found)
}

#[test]
fn in_tract_the_exported_net_finds_what_the_net_finds() {
    use tract_onnx::prelude::{Framework, InferenceModelExt, IntoRunnable, tvec};
    let (bytes, x, found) = exported();
    let model = tract_onnx::onnx().model_for_read(&mut std::io::Cursor::new(bytes)).unwrap();
    let plan = model.into_optimized().unwrap().into_runnable().unwrap();
    for (picture, found) in found.iter().enumerate() {
        let x = x.narrow(0, picture, 1).unwrap();
        let values = x.flatten_all().unwrap().to_vec1::<f32>().unwrap();
        let outputs =
            plan.run(tvec![tract_onnx::prelude::Tensor::from_shape(x.dims(), &values).unwrap().into()]).unwrap();
        let floats = |output: usize| outputs[output].to_plain_array_view::<f32>().unwrap().iter().copied().collect();
        let masks = outputs[2].to_plain_array_view::<u8>().unwrap().iter().copied().collect();
        Answer { boxes: floats(0), scores: floats(1), masks }.assert_is(found, "tract");
    }
}

#[test]
fn in_onnx_runtime_the_exported_net_finds_what_the_net_finds() {
    let Some(python) = thorax_wanted::onnxruntime() else { return };
    let (bytes, x, found) = exported();
    let folder = tempfile::tempdir().unwrap();
    let model = folder.path().join("yolact.onnx");
    std::fs::write(&model, bytes).unwrap();
    let values = x.flatten_all().unwrap().to_vec1::<f32>().unwrap();
    let values: Vec<u8> = values.iter().flat_map(|value| value.to_le_bytes()).collect();
    std::fs::write(folder.path().join("input.f32"), values).unwrap();
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("../references/run_onnx.py");
    let output = Command::new(python).arg(script).arg(&model).arg(folder.path()).output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    for (picture, found) in found.iter().enumerate() {
        let read = |name: &str| std::fs::read(folder.path().join(format!("{picture}_{name}.bin"))).unwrap();
        let floats =
            |name: &str| read(name).chunks(4).map(|bytes| f32::from_le_bytes(bytes.try_into().unwrap())).collect();
        let answer = Answer { boxes: floats("boxes"), scores: floats("scores"), masks: read("masks") };
        answer.assert_is(found, "ONNX Runtime");
    }
}

#[test]
fn other_nets_and_more_classes_are_refused() {
    for config in [
        InstanceConfig::Yolact(YolactConfig { classes: 3, frozen: false, square: true }),
        InstanceConfig::Solo(SoloConfig::default()),
    ] {
        let error = config.init(1, &Device::Cpu).unwrap().to_onnx(64).unwrap_err().to_string();
        assert!(error.contains("does not leave as ONNX"), "{error}");
    }
}
