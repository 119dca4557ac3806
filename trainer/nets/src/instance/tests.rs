//! What all nets have in common: their sizes, and that nothing a mask can be makes a loss that is no number.
#![allow(clippy::unwrap_used)]

use candle_core::{Device, Tensor};
use thorax_nn::seeded;

use super::{matching::Order, targets::Targets, *};

const NETS: [InstanceConfig; 5] = [
    InstanceConfig::MaskRcnn(MaskRcnnConfig { classes: 2, frozen: true, regions: 32, anchor: 32 }),
    InstanceConfig::Yolact(YolactConfig { classes: 2, frozen: true, square: true }),
    InstanceConfig::Solo(SoloConfig { classes: 1, frozen: true }),
    InstanceConfig::Blitznet(BlitzNetConfig { classes: 2, frozen: true }),
    InstanceConfig::Srgnet(SrgNetConfig { frozen: true }),
];

#[test]
fn parameters_and_priors_are_those_of_the_published_nets() {
    let yolact = YolactConfig::default();
    let blitznet = BlitzNetConfig::default();
    for (net, parameters) in [
        (InstanceConfig::MaskRcnn(MaskRcnnConfig { classes: 91, ..MaskRcnnConfig::default() }), 44_401_393),
        (InstanceConfig::MaskRcnn(MaskRcnnConfig::default()), 43_922_395),
        (InstanceConfig::MaskRcnn(MaskRcnnConfig { frozen: false, ..MaskRcnnConfig::default() }), 43_975_515),
        (InstanceConfig::Yolact(YolactConfig { classes: 81, ..yolact }), 31_164_943),
        (InstanceConfig::Yolact(yolact), 30_598_355),
        (InstanceConfig::Solo(SoloConfig { classes: 80, ..SoloConfig::default() }), 36_301_232),
        (InstanceConfig::Solo(SoloConfig::default()), 36_119_137),
        (InstanceConfig::Blitznet(BlitzNetConfig { classes: 21, ..blitznet }), 59_379_951),
        (InstanceConfig::Blitznet(blitznet), 55_625_342),
        // Nobody published it: what the reconstruction has.
        (InstanceConfig::Srgnet(SrgNetConfig::default()), 27_182_661),
    ] {
        assert_eq!(net.parameters(), parameters, "{net:?}");
    }
    assert_eq!(InstanceConfig::Yolact(yolact).priors(yolact::SIDE), Some(19_248));
    assert_eq!(InstanceConfig::Blitznet(blitznet).priors(blitznet::SIDE), Some(45_390));
}

#[test]
fn a_configuration_is_written_and_read() {
    for net in NETS {
        let text = serde_json::to_string(&net).unwrap();
        assert_eq!(serde_json::from_str::<InstanceConfig>(&text).unwrap(), net, "{text}");
    }
}

/// A picture of 64 x 64 with these squares as lesions.
fn targets(squares: &[(usize, usize, usize)]) -> Targets {
    let mut numbers = vec![0f32; 64 * 64];
    for (number, &(left, top, side)) in squares.iter().enumerate() {
        for at in (0..side * side).map(|at| (top + at / side) * 64 + left + at % side) {
            numbers[at] = (number + 1) as f32;
        }
    }
    Targets::of_numbers(&numbers, 64, 64).unwrap()
}

#[test]
fn every_net_learns_from_any_batch_and_all_that_is_trained_has_a_gradient() {
    let x = seeded::normal((2, 3, 64, 64), 1.0, 1, &Device::Cpu).unwrap();
    let batches = [
        [targets(&[(4, 4, 30), (50, 50, 1)]), targets(&[(0, 0, 64)])],
        [targets(&[(10, 20, 16)]), targets(&[])],
        [targets(&[]), targets(&[])],
    ];
    for config in NETS {
        let net = config.init(3, &Device::Cpu).unwrap();
        for (number, batch) in batches.iter().enumerate() {
            let losses = net.losses(&x, batch, Order::Drawn(1)).unwrap();
            let values: Vec<f32> = losses.iter().map(|(_, loss)| loss.to_scalar().unwrap()).collect();
            assert!(values.iter().all(|v| v.is_finite() && *v >= 0.0), "{config:?}, batch {number}: {values:?}");
            let loss = losses.into_iter().map(|(_, loss)| loss).reduce(|sum, loss| (sum + loss).unwrap()).unwrap();
            let store = loss.backward().unwrap();
            for (name, var) in net.trainable() {
                let gradient = store.get(&var).unwrap_or_else(|| unreachable!("{config:?}: {name} has no gradient"));
                let sum = gradient.abs().unwrap().sum_all().unwrap().to_scalar::<f32>().unwrap();
                assert!(sum.is_finite(), "{config:?}, batch {number}: the gradient of {name} is {sum}");
            }
        }
        for found in net.detect(&x).unwrap() {
            assert!(found.instances.windows(2).all(|pair| pair[0].score >= pair[1].score));
            assert!(found.instances.iter().all(|instance| instance.mask.len() == 64 * 64 && instance.place.has_area()));
            assert_eq!(found.union(64 * 64, 0.5).len(), 64 * 64);
        }
    }
}

/// Every comparison with what is no number is false, so that a broken net would find nothing and seem whole.
#[test]
fn a_net_with_a_weight_that_is_no_number_finds_nothing_but_an_error() {
    let x = seeded::normal((1, 3, 64, 64), 1.0, 1, &Device::Cpu).unwrap();
    // The last layers: before a ReLU, NaN becomes 0.
    let last: [&[&str]; 5] = [
        &["rpn.head.cls_logits", "rpn.head.bbox_pred", "roi_heads.box_predictor.cls_score"],
        &["prediction_layers.0.bbox_layer", "prediction_layers.0.conf_layer", "prediction_layers.0.mask_layer"],
        &["mask_head.conv_cls", "mask_head.conv_mask_list.0", "mask_head.conv_mask_list.4"],
        &["location.0", "confidence.6", "segmentation.logits"],
        &["segmentation.0"],
    ];
    for (config, layers) in NETS.into_iter().zip(last) {
        let net = config.init(3, &Device::Cpu).unwrap();
        for layer in layers {
            let name = format!("{layer}.weight");
            let (_, var) = net.variables().into_iter().find(|(of, _)| *of == name).unwrap();
            let whole = var.as_tensor().copy().unwrap();
            for none in [f32::NAN, f32::INFINITY] {
                let mut values = whole.flatten_all().unwrap().to_vec1::<f32>().unwrap();
                values[0] = none;
                var.set(&Tensor::from_vec(values, whole.shape(), &Device::Cpu).unwrap()).unwrap();
                let error = net.detect(&x).unwrap_err().to_string();
                assert!(error.contains("no number") && error.contains("train it anew"), "{config:?}, {name}: {error}");
            }
            var.set(&whole).unwrap();
        }
        net.detect(&x).unwrap();
    }
}

#[test]
fn lesions_that_cannot_be_learnt_are_refused() {
    let net = NETS[4].init(3, &Device::Cpu).unwrap();
    let x = Tensor::zeros((1, 3, 64, 64), DType::F32, &Device::Cpu).unwrap();
    let mut thin = targets(&[(4, 4, 8)]);
    thin.lesions[0].place.right = thin.lesions[0].place.left;
    let error = net.losses(&x, &[thin], Order::AsItComes).unwrap_err().to_string();
    assert!(error.contains("no area; leave the lesion out"), "{error}");
    assert!(net.losses(&x, &[], Order::AsItComes).is_err());
}

#[test]
fn a_backbones_weights_take_their_place_and_others_are_refused() {
    let net = NETS[0].init(3, &Device::Cpu).unwrap();
    let weights = crate::Backbone::ResNet50.drawn_weights(9, &Device::Cpu).unwrap();
    net.set_backbone(weights.weights()).unwrap();
    let (_, var) = net.variables().into_iter().find(|(name, _)| name == "backbone.body.layer3.1.conv2.weight").unwrap();
    let expected = weights.weights()["layer3.1.conv2.weight"].flatten_all().unwrap().to_vec1::<f32>().unwrap();
    assert_eq!(var.flatten_all().unwrap().to_vec1::<f32>().unwrap(), expected);
    let mut fewer = weights.weights().clone();
    fewer.remove("conv1.weight");
    assert!(net.set_backbone(&fewer).unwrap_err().to_string().contains("lack conv1.weight"));
}
