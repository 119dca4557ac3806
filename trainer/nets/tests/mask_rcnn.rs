//! Mask R-CNN against torchvision's in float64 (trainer/references/mask_rcnn.py): all five losses, gradients, detections, and ten steps.
#![allow(clippy::unwrap_used)]

#[path = "../../tests/references/mod.rs"]
mod references;

use std::collections::HashMap;

use candle_core::{Device, Tensor};
use references::{drawn, drawn_parameter, load, places, worst_relative};
use serde::Deserialize;
use thorax_nets::instance::{
    InstanceConfig, InstanceNet,
    mask_rcnn::MaskRcnnConfig,
    matching::Order,
    targets::{Target, Targets, around},
};
use thorax_nn::optimizer::{Optimizer, SgdConfig};

/// Of the largest value of each tensor.
const TOLERANCE: f64 = 1e-3;
/// How far a weight may end from torchvision's after ten steps, of the way it has gone: at each step float32 rounds some value to the other
/// side of a ReLU's kink, and the gradient jumps. (PyTorch's own float32 is as far from its float64, as the script prints.)
const TOLERANCE_AFTER: f64 = 6e-2;
/// Values of each gradient in the file.
const SAMPLES: usize = 12;

#[derive(Deserialize)]
struct Settings {
    batch: usize,
    side: usize,
    classes: usize,
    learning_rate: f64,
    steps: usize,
    small: Vec<(String, f64)>,
    lesions: Vec<Vec<(usize, usize, usize, usize, usize)>>,
}

impl Settings {
    /// A parameter as the script draws it.
    fn weight(&self, name: &str, shape: &[usize]) -> Tensor {
        let scaled = |value: Tensor, (part, factor): &(String, f64)| {
            let applies = name.contains(part) && !name.contains("running") && !name.ends_with("bias");
            if applies { (value * *factor).unwrap() } else { value }
        };
        self.small.iter().fold(drawn_parameter(name, shape), scaled)
    }

    fn net(&self) -> InstanceNet {
        let config = MaskRcnnConfig { classes: self.classes, frozen: true, regions: 64 };
        let net = InstanceConfig::MaskRcnn(config).init(0, &Device::Cpu).unwrap();
        for (name, var) in net.variables() {
            var.set(&self.weight(&name, var.dims())).unwrap();
        }
        net
    }

    /// Pictures with ellipses, which are the lesions.
    fn batch(&self) -> (Tensor, Vec<Targets>) {
        let side = self.side;
        let mut pictures = drawn("pictures", &[self.batch, 3, side, side]).flatten_all().unwrap().to_vec1::<f32>().unwrap();
        let mut all = vec![];
        for (number, lesions) in self.lesions.iter().enumerate() {
            let mut targets = Targets { height: side, width: side, lesions: vec![] };
            for &(left, top, width, height, class) in lesions {
                let place = |at: usize, from: usize, size: usize| (at as f64 - from as f64 + 0.5) / size as f64 * 2.0 - 1.0;
                let inside = |at: usize| {
                    place(at % side, left, width).powi(2) + place(at / side, top, height).powi(2) <= 1.0
                };
                let mask: Vec<bool> = (0..side * side).map(inside).collect();
                for channel in 0..3 {
                    let plane = &mut pictures[(number * 3 + channel) * side * side..][..side * side];
                    plane.iter_mut().zip(&mask).for_each(|(value, inside)| *value += if *inside { class as f32 } else { 0.0 });
                }
                targets.lesions.push(Target { class, place: around(&mask, side).unwrap(), mask });
            }
            all.push(targets);
        }
        (Tensor::from_vec(pictures, (self.batch, 3, side, side), &Device::Cpu).unwrap(), all)
    }
}

/// Collects what is too far from the file.
struct Compared {
    expected: HashMap<String, Tensor>,
    wrong: Vec<String>,
    worst: f64,
    count: usize,
}

impl Compared {
    fn check(&mut self, name: &str, got: Vec<f32>) {
        self.check_to(TOLERANCE, name, got);
    }

    fn check_to(&mut self, tolerance: f64, name: &str, got: Vec<f32>) {
        let got = Tensor::new(got, &Device::Cpu).unwrap();
        let error = worst_relative(&got, &self.expected[name].flatten_all().unwrap());
        self.count += 1;
        if tolerance == TOLERANCE {
            self.worst = self.worst.max(error);
        }
        if error > tolerance {
            self.wrong.push(format!("{name}: {error:.1e}"));
        }
    }
}

fn sampled(name: &str, tensor: &Tensor) -> Vec<f32> {
    let flat = tensor.flatten_all().unwrap().to_vec1::<f32>().unwrap();
    places(name, SAMPLES, flat.len()).into_iter().map(|at| flat[at as usize]).collect()
}

#[test]
fn losses_gradients_detections_and_ten_steps_equal_torchvisions() {
    let (expected, metadata) = load("mask_rcnn.safetensors");
    let settings: Settings = serde_json::from_str(&metadata["settings"]).unwrap();
    let all = expected.len();
    let mut compared = Compared { expected, wrong: vec![], worst: 0.0, count: 0 };
    let net = settings.net();
    let (x, targets) = settings.batch();
    let losses = net.losses(&x, &targets, Order::AsItComes).unwrap();
    assert_eq!(losses.len(), 5);
    for (name, loss) in &losses {
        eprintln!("{name}: {loss}");
        compared.check(&format!("losses.{name}"), vec![loss.to_scalar::<f32>().unwrap()]);
    }
    let store = net.loss(&x, &targets, Order::AsItComes).unwrap().backward().unwrap();
    for (name, var) in net.trainable() {
        compared.check(&format!("gradient.{name}"), sampled(&name, store.get(&var).unwrap()));
    }
    for (number, found) in net.detect(&x).unwrap().into_iter().enumerate() {
        let instances = &found.instances[..20];
        let of = |part: &str| format!("found.{number}.{part}");
        let places = instances.iter().flat_map(|i| [i.place.left, i.place.top, i.place.right, i.place.bottom]);
        compared.check(&of("boxes"), places.collect());
        compared.check(&of("scores"), instances.iter().map(|i| i.score).collect());
        compared.check(&of("labels"), instances.iter().map(|i| i.class as f32).collect());
        let pixels = instances.iter().map(|i| i.mask.iter().filter(|inside| **inside).count() as f32);
        compared.check(&of("pixels"), pixels.collect());
    }
    let config = SgdConfig { momentum: 0.9, nesterov: false, weight_decay: 0.0 };
    let mut optimizer = Optimizer::new(net.trainable(), config).unwrap();
    let mut steps = vec![];
    for _ in 0..settings.steps {
        let loss = net.loss(&x, &targets, Order::AsItComes).unwrap();
        steps.push(loss.to_scalar::<f32>().unwrap());
        optimizer.step(&loss.backward().unwrap(), settings.learning_rate).unwrap();
    }
    compared.check("steps", steps);
    for (name, var) in net.trainable() {
        // How far each weight has gone.
        let gone = (var.as_tensor() - settings.weight(&name, var.dims())).unwrap();
        compared.check_to(TOLERANCE_AFTER, &format!("after.{name}"), sampled(&name, &gone));
    }
    eprintln!("{} tensors, worst {:.1e}", compared.count, compared.worst);
    assert!(compared.wrong.is_empty(), "{}", compared.wrong.join("\n"));
    assert_eq!(compared.count, all, "every tensor of the file was compared");
}
