#![allow(clippy::unwrap_used)]
//! What holds for every net.

use thorax_nn::{elementwise::sigmoid, seeded};

use super::*;

const UNET: UnetConfig = UnetConfig { channels_in: 1, channels_out: 3, base_channels: 4, blocks: 2 };

fn all() -> Vec<NetConfig> {
    vec![
        NetConfig::Unet(UNET),
        NetConfig::AttentionUnet(AttentionUnetConfig { unet: UNET }),
        NetConfig::ModifiedAttentionUnet(ModifiedAttentionUnetConfig { unet: UNET, dropout: 0.2 }),
        NetConfig::UnetPlusPlus(UnetPlusPlusConfig { unet: UNET }),
        NetConfig::EfficientNet(EfficientNetUnetConfig { channels_out: 3, base_channels: 4, ..Default::default() }),
    ]
}

fn picture(config: NetConfig, side: usize) -> Tensor {
    let channels = config.unet().map_or(3, |unet| unet.channels_in);
    seeded::normal((2, channels, side, side), 1.0, 8, &Device::Cpu).unwrap()
}

fn flat(x: &Tensor) -> Vec<f32> {
    x.flatten_all().unwrap().to_vec1().unwrap()
}

#[test]
fn the_graph_computes_what_the_net_computes() {
    for config in all() {
        let side = 32;
        let (net, x) = (config.init(7, &Device::Cpu).unwrap(), picture(config, side));
        // A few training passes move the moving statistics away from their start, so that folding is really tested.
        for seed in 0..3 {
            net.forward(&x, Pass::Train { seed }).unwrap();
        }
        let from_net = sigmoid(&net.infer(&x).unwrap()).unwrap();
        assert_eq!(from_net.dims(), [2, 3, side, side]);
        let from_graph = net.to_graph(side).unwrap().run(&x).unwrap().remove(0);
        let pairs = flat(&from_net).into_iter().zip(flat(&from_graph));
        let worst = pairs.map(|(a, b)| (a - b).abs()).fold(0.0, f32::max);
        assert!(worst < 1e-5, "{config:?}: {worst}");
        // A threshold of the first mask becomes 0.5, and the others stay what they are.
        let moved = flat(&net.to_graph_at(side, &[0.2, 0.5, 0.5]).unwrap().run(&x).unwrap()[0]);
        for (pixel, (plain, moved)) in flat(&from_graph).into_iter().zip(moved).enumerate() {
            let infection = (pixel / (side * side)).is_multiple_of(3);
            let expected = if infection { plain / (plain + 0.25 * (1.0 - plain)) } else { plain };
            assert!((moved - expected).abs() < 1e-5, "{config:?}, pixel {pixel}: {plain} became {moved}");
        }
    }
}

#[test]
fn every_trainable_variable_gets_a_gradient_and_the_frozen_encoder_none() {
    for config in all() {
        let (net, x) = (config.init(1, &Device::Cpu).unwrap(), picture(config, 32));
        let heads = net.forward(&x, Pass::Train { seed: 1 }).unwrap();
        let loss = heads.iter().map(|head| head.sqr().unwrap().sum_all().unwrap()).reduce(|a, b| (a + b).unwrap());
        let gradients = loss.unwrap().backward().unwrap();
        let trainable: Vec<String> = net.trainable().into_iter().map(|(name, _)| name).collect();
        for (name, var) in net.variables() {
            let statistics = name.ends_with("running_mean") || name.ends_with("running_var");
            let frozen = name.starts_with(ENCODER);
            assert_eq!(trainable.contains(&name), !statistics && !frozen, "{config:?}: {name}");
            assert_eq!(gradients.get(&var).is_some(), !statistics && !frozen, "{config:?}: {name}");
        }
    }
}

#[test]
fn the_seed_decides_weights_and_dropout() {
    for config in all() {
        let draw = |seed| config.init(seed, &Device::Cpu).unwrap();
        let weights = |net: &Net| flat(&net.variables().last().unwrap().1.as_detached_tensor());
        let first = |net: &Net| flat(&net.trainable()[0].1.as_detached_tensor());
        assert_eq!((weights(&draw(1)), first(&draw(1))), (weights(&draw(1)), first(&draw(1))));
        assert_ne!(first(&draw(1)), first(&draw(2)), "{config:?}");
        let x = picture(config, 32);
        let train = |seed| flat(&draw(1).forward(&x, Pass::Train { seed }).unwrap()[0]);
        assert_eq!(train(5), train(5));
        assert_eq!(train(5) == train(6), !matches!(config, NetConfig::ModifiedAttentionUnet(_)), "{config:?}");
    }
}

#[test]
fn a_configuration_is_written_and_read() {
    for config in all() {
        let text = serde_json::to_string(&config).unwrap();
        assert_eq!(serde_json::from_str::<NetConfig>(&text).unwrap(), config, "{text}");
    }
}

#[test]
fn names_of_variables_are_unique_and_the_deepest_blocks_are_bounded() {
    for config in all() {
        let names: Vec<String> = config.init(1, &Device::Cpu).unwrap().variables().into_iter().map(|v| v.0).collect();
        let unique: std::collections::BTreeSet<&String> = names.iter().collect();
        assert_eq!(unique.len(), names.len(), "{config:?}");
    }
    assert_eq!([parts::width(16, 4), parts::width(16, 6), parts::width(600, 3)], [256, 512, 600]);
}

#[test]
fn an_encoder_takes_a_backbones_weights() {
    let config = EfficientNetUnetConfig { channels_out: 1, base_channels: 4, ..Default::default() };
    let net = NetConfig::EfficientNet(config).init(1, &Device::Cpu).unwrap();
    let architecture = config.backbone.architecture(config.layout);
    let drawn = crate::weights::drawn(&architecture, 99, &Device::Cpu).unwrap();
    net.set_encoder(&drawn).unwrap();
    for (name, var) in net.variables() {
        if let Some(name) = name.strip_prefix(ENCODER) {
            assert_eq!(flat(&var.as_detached_tensor()), flat(&drawn[name]), "{name}");
        }
    }
    let unet = NetConfig::Unet(UNET).init(1, &Device::Cpu).unwrap();
    assert!(unet.set_encoder(&drawn).unwrap_err().to_string().contains("no frozen encoder"));
    assert!(net.set_encoder(&Weights::new()).unwrap_err().to_string().contains("lack"));
}
