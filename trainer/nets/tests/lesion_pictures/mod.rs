//! Pictures with ellipses as lesions, and drawn weights: the twin of trainer/references/lesion_pictures.py.
#![allow(clippy::unwrap_used, clippy::panic, dead_code)]

use std::collections::HashMap;

use candle_core::{Device, Tensor};
use serde::Deserialize;
use thorax_nets::instance::{
    Found, Instance, InstanceConfig, InstanceNet,
    matching::Order,
    targets::{Target, Targets, around},
};

use super::references::{drawn, drawn_parameter, load, places, worst_relative};

/// Values of each gradient in a file.
const SAMPLES: usize = 12;

#[derive(Deserialize)]
pub(crate) struct Settings {
    batch: usize,
    side: usize,
    pub(crate) classes: usize,
    small: Vec<(String, f64)>,
    lesions: Vec<Vec<[usize; 5]>>,
}

impl Settings {
    /// A parameter as the script draws it.
    pub(crate) fn weight(&self, name: &str, shape: &[usize]) -> Tensor {
        let scaled = |value: Tensor, (part, factor): &(String, f64)| {
            let applies = name.contains(part) && !name.contains("running") && !name.ends_with("bias");
            if applies { (value * *factor).unwrap() } else { value }
        };
        self.small.iter().fold(drawn_parameter(name, shape), scaled)
    }

    /// A net with the drawn weights.
    pub(crate) fn net(&self, config: InstanceConfig) -> InstanceNet {
        let net = config.init(0, &Device::Cpu).unwrap();
        for (name, var) in net.variables() {
            var.set(&self.weight(&name, var.dims())).unwrap();
        }
        net
    }

    /// Pictures with ellipses, which are the lesions.
    pub(crate) fn pictures(&self) -> (Tensor, Vec<Targets>) {
        let side = self.side;
        let mut pictures =
            drawn("pictures", &[self.batch, 3, side, side]).flatten_all().unwrap().to_vec1::<f32>().unwrap();
        let mut all = vec![];
        for (number, lesions) in self.lesions.iter().enumerate() {
            let mut targets = Targets { height: side, width: side, lesions: vec![] };
            for &[left, top, width, height, class] in lesions {
                let place =
                    |at: usize, from: usize, size: usize| (at as f64 - from as f64 + 0.5) / size as f64 * 2.0 - 1.0;
                let inside =
                    |at: usize| place(at % side, left, width).powi(2) + place(at / side, top, height).powi(2) <= 1.0;
                let mask: Vec<bool> = (0..side * side).map(inside).collect();
                for channel in 0..3 {
                    let plane = &mut pictures[(number * 3 + channel) * side * side..][..side * side];
                    let lesion = plane.iter_mut().zip(&mask).filter(|(_, inside)| **inside);
                    lesion.for_each(|(value, _)| *value += class as f32);
                }
                targets.lesions.push(Target { class, place: around(&mask, side).unwrap(), mask });
            }
            all.push(targets);
        }
        (Tensor::from_vec(pictures, (self.batch, 3, side, side), &Device::Cpu).unwrap(), all)
    }
}

/// A sample of a tensor's values.
pub(crate) fn sampled(name: &str, tensor: &Tensor) -> Vec<f32> {
    let flat = tensor.flatten_all().unwrap().to_vec1::<f32>().unwrap();
    places(name, SAMPLES, flat.len()).into_iter().map(|at| flat[at as usize]).collect()
}

/// Compares with a file, and collects what is too far from it.
pub(crate) struct Compared {
    expected: HashMap<String, Tensor>,
    pub(crate) metadata: String,
    wrong: Vec<String>,
    worst: f64,
    count: usize,
}

impl Compared {
    pub(crate) fn with(file: &str) -> Self {
        let (expected, metadata) = load(file);
        Self { expected, metadata: metadata["settings"].clone(), wrong: vec![], worst: 0.0, count: 0 }
    }

    /// The largest difference may be `tolerance` of the largest value.
    pub(crate) fn check(&mut self, tolerance: f64, name: &str, got: Vec<f32>) {
        let got = Tensor::new(got, &Device::Cpu).unwrap();
        let error = worst_relative(&got, &self.expected[name].flatten_all().unwrap());
        self.count += 1;
        self.worst = self.worst.max(error);
        if error > tolerance {
            self.wrong.push(format!("{name}: {error:.1e}"));
        }
    }

    /// The terms of the loss, and a sample of each gradient, to these tolerances.
    pub(crate) fn learning(
        &mut self,
        [loss_tolerance, gradient_tolerance]: [f64; 2],
        net: &InstanceNet,
        x: &Tensor,
        targets: &[Targets],
    ) {
        let losses = net.losses(x, targets, Order::AsItComes).unwrap();
        for (name, loss) in &losses {
            self.check(loss_tolerance, &format!("losses.{name}"), vec![loss.to_scalar::<f32>().unwrap()]);
        }
        let store = net.loss(x, targets, Order::AsItComes).unwrap().backward().unwrap();
        for (name, var) in net.trainable() {
            self.check(gradient_tolerance, &format!("gradient.{name}"), sampled(&name, store.get(&var).unwrap()));
        }
    }

    /// The first detections of each picture, as many as the file has: these parts of each.
    pub(crate) fn detections(&mut self, tolerance: f64, found: &[Found], parts: &[&str]) {
        for (number, Found { instances, .. }) in found.iter().enumerate() {
            for part in parts {
                let name = format!("found.{number}.{part}");
                match *part {
                    "boxes" => self.found(tolerance, &name, instances, corners),
                    "scores" => self.found(tolerance, &name, instances, |instance| [instance.score]),
                    "labels" => self.found(tolerance, &name, instances, |instance| [instance.class as f32]),
                    "pixels" => self.found(tolerance, &name, instances, pixels),
                    other => panic!("a detection has no {other}"),
                }
            }
        }
    }

    /// A figure of each of the first detections of a picture.
    fn found<T: IntoIterator<Item = f32>>(
        &mut self,
        tolerance: f64,
        name: &str,
        instances: &[Instance],
        of: impl Fn(&Instance) -> T,
    ) {
        let count = self.expected[name].dim(0).unwrap();
        assert!(instances.len() >= count && count > 0, "{name}: {} of {count}", instances.len());
        self.check(tolerance, name, instances[..count].iter().flat_map(of).collect());
    }

    pub(crate) fn end(self) {
        eprintln!("{} tensors, worst {:.1e}", self.count, self.worst);
        assert!(self.wrong.is_empty(), "{}", self.wrong.join("\n"));
        assert_eq!(self.count, self.expected.len(), "every tensor of the file was compared");
    }
}

/// The corners of a detection's box.
fn corners(instance: &Instance) -> [f32; 4] {
    [instance.place.left, instance.place.top, instance.place.right, instance.place.bottom]
}

/// The pixels of a detection's mask.
fn pixels(instance: &Instance) -> [f32; 1] {
    [instance.mask.iter().filter(|inside| **inside).count() as f32]
}
