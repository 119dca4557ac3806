//! Weights that trainer/scripts/keras_to_safetensors.py converted, against the features of the Keras nets that they are from.
//!
//! Needs the folder that trainer/references/keras_weights.py writes, named by THORAX_KERAS_FILES; without Keras there is none,
//! and the test says that it was left out.
#![allow(clippy::unwrap_used)]

#[path = "../../tests/references/mod.rs"]
mod references;

use candle_core::{Device, Tensor};
use references::{drawn, worst_relative};
use thorax_nets::{Backbone, Layout, weights};

/// Keras computes in f32 as well.
const WORST: f64 = 1e-4;

#[test]
fn converted_files_give_the_features_of_keras() {
    let Some(folder) = thorax_wanted::keras() else { return };
    for backbone in [Backbone::ResNet50, Backbone::InceptionResNetV2, Backbone::EfficientNetB(0)] {
        let folder = folder.join(backbone.name());
        let read = |file: &str| weights::read(&folder.join(file), backbone.name(), &Device::Cpu).unwrap();
        let expected = read("expected.safetensors").remove("features").unwrap();
        let net = backbone.open(&folder.join("older.safetensors"), &Device::Cpu).unwrap();
        assert_eq!(net.layout, Layout::Keras);
        let side = backbone.input_side();
        let picture = ((drawn("picture", &[1, 3, side, side]) + 1.0).unwrap() / 2.0).unwrap();
        let channels = |values: [f32; 3]| Tensor::new(&values, &Device::Cpu).unwrap().reshape((1, 3, 1, 1)).unwrap();
        let x = picture.broadcast_sub(&channels(net.mean)).unwrap().broadcast_div(&channels(net.std)).unwrap();
        let features = net.graph.run(&x).unwrap().remove(0);
        assert_eq!(features.dims(), expected.dims());
        let worst = worst_relative(&features, &expected);
        eprintln!("{backbone}: largest difference {worst:.1e} of the largest value");
        assert!(worst < WORST, "{backbone}: {worst:e}");
        for file in ["whole", "keras3", "older_inside", "keras3_inside"] {
            let net = backbone.open(&folder.join(format!("{file}.safetensors")), &Device::Cpu).unwrap();
            let same = net.graph.run(&x).unwrap().remove(0);
            assert_eq!(worst_relative(&same, &features), 0.0, "{backbone}, {file}");
        }
    }
}
