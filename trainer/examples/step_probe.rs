//! scratch
use candle_core::Device;
use std::time::Instant;
use thorax_trainer::{
    nets::attention_unet::AttentionUnetConfig,
    nn::{
        optimizer::{AdamWConfig, Optimizer},
        seeded,
    },
    train::segment::bce_dice,
};
fn main() {
    let d = Device::Cpu;
    let net = AttentionUnetConfig::default().init(1, &d).unwrap();
    let mut opt = Optimizer::new(net.trainable(), AdamWConfig::default()).unwrap();
    let x = seeded::normal((4, 1, 256, 256), 1.0, 2, &d).unwrap();
    let y = seeded::normal((4, 2, 256, 256), 1.0, 3, &d)
        .unwrap()
        .gt(0f32)
        .unwrap()
        .to_dtype(candle_core::DType::F32)
        .unwrap();
    let known = candle_core::Tensor::ones((4, 2, 1, 1), candle_core::DType::F32, &d).unwrap();
    let runs: usize = std::env::args().nth(1).map_or(5, |a| a.parse().unwrap());
    for _ in 0..runs {
        let a = Instant::now();
        let logits = net.forward(&x, true).unwrap();
        let b = Instant::now();
        let loss = bce_dice(&logits, &y, &known).unwrap();
        let c = Instant::now();
        let g = loss.backward().unwrap();
        let e = Instant::now();
        opt.step(&g, 1e-3).unwrap();
        let f = Instant::now();
        println!(
            "forward {:.0} loss {:.0} backward {:.0} optimizer {:.0} total {:.0}",
            (b - a).as_secs_f64() * 1e3,
            (c - b).as_secs_f64() * 1e3,
            (e - c).as_secs_f64() * 1e3,
            (f - e).as_secs_f64() * 1e3,
            (f - a).as_secs_f64() * 1e3
        );
    }
    let s = std::fs::read_to_string("/proc/self/status").unwrap();
    println!("{}", s.lines().find(|l| l.starts_with("VmHWM")).unwrap());
}
