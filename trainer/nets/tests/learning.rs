//! Every net that finds lesions learns a few pictures by heart and finds what it learnt: losses and what is told of a picture belong together.
#![allow(clippy::unwrap_used)]

use candle_core::{Device, Tensor};
use thorax_nets::instance::{
    InstanceConfig, blitznet::BlitzNetConfig, mask_rcnn::MaskRcnnConfig, matching::Order, solo::SoloConfig,
    srgnet::SrgNetConfig, targets::Targets, yolact::YolactConfig,
};
use thorax_nn::{
    optimizer::{AdamWConfig, Optimizer, clip_factor, global_norm},
    seeded,
};

const SIDE: usize = 64;
const MOST_STEPS: u64 = 120;
/// Dice from which on the pictures are learnt.
const LEARNT: f64 = 0.7;

/// Grey noise with bright squares, and the squares as lesions.
fn picture(number: u64, squares: &[(usize, usize, usize)]) -> (Tensor, Targets) {
    let mut numbers = vec![0f32; SIDE * SIDE];
    for (number, &(left, top, side)) in squares.iter().enumerate() {
        for at in 0..side * side {
            numbers[(top + at / side) * SIDE + left + at % side] = (number + 1) as f32;
        }
    }
    let bright: Vec<f32> = numbers.iter().map(|number| if *number > 0.0 { 2.0 } else { 0.0 }).collect();
    let bright = Tensor::from_vec(bright, (1, 1, SIDE, SIDE), &Device::Cpu).unwrap();
    let noise = seeded::normal((1, 3, SIDE, SIDE), 0.3, number, &Device::Cpu).unwrap();
    (noise.broadcast_add(&bright).unwrap(), Targets::of_numbers(&numbers, SIDE, SIDE).unwrap())
}

/// Dice of two masks.
fn dice(found: &[bool], truth: &[bool]) -> f64 {
    let count = |mask: &[bool]| mask.iter().filter(|inside| **inside).count();
    let both = found.iter().zip(truth).filter(|(found, truth)| **found && **truth).count();
    2.0 * both as f64 / (count(found) + count(truth)).max(1) as f64
}

/// Trains on two pictures until what the net finds on them, without the help of their truth, is what it was shown.
fn learns(config: InstanceConfig) {
    let net = config.init(3, &Device::Cpu).unwrap();
    let (pictures, targets): (Vec<Tensor>, Vec<Targets>) =
        [picture(1, &[(4, 4, 16), (28, 28, 32)]), picture(2, &[(30, 6, 30)])].into_iter().unzip();
    let x = Tensor::cat(&pictures, 0).unwrap();
    let mut optimizer = Optimizer::new(net.trainable(), AdamWConfig::default()).unwrap();
    let mut best = 0f64;
    for step in 0..MOST_STEPS {
        let loss = net.loss(&x, &targets, Order::Drawn(step)).unwrap();
        let gradients = optimizer.gradients(&loss.backward().unwrap()).unwrap();
        let norm = global_norm(&gradients).unwrap();
        optimizer.update(&gradients, 1e-3, clip_factor(norm, Some(10.0))).unwrap();
        if step % 10 == 9 {
            let found = net.detect(&x).unwrap();
            let each =
                found.iter().zip(&targets).map(|(found, truth)| dice(&found.union(SIDE * SIDE, 0.3), &truth.union()));
            best = best.max(each.sum::<f64>() / 2.0);
            if best >= LEARNT {
                return;
            }
        }
    }
    unreachable!("{}: after {MOST_STEPS} steps on two pictures, Dice on these is {best:.2}", config.describe());
}

#[test]
fn mask_rcnn_finds_what_it_learnt() {
    learns(InstanceConfig::MaskRcnn(MaskRcnnConfig { classes: 2, frozen: false, regions: 32, anchor: 8 }));
}

#[test]
fn yolact_finds_what_it_learnt() {
    learns(InstanceConfig::Yolact(YolactConfig { frozen: false, ..YolactConfig::default() }));
}

#[test]
fn solo_finds_what_it_learnt() {
    learns(InstanceConfig::Solo(SoloConfig { classes: 1, frozen: false }));
}

#[test]
fn blitznet_finds_what_it_learnt() {
    learns(InstanceConfig::Blitznet(BlitzNetConfig { classes: 2, frozen: false }));
}

#[test]
fn srgnet_finds_what_it_learnt() {
    learns(InstanceConfig::Srgnet(SrgNetConfig { frozen: false }));
}
