//! A whole net on a GPU against the CPU's (the operators by themselves: `thorax_nn::cuda`). Without a GPU it says so and passes.
#![cfg(feature = "cuda")]
#![allow(clippy::unwrap_used)]

use candle_core::{DType, Device, Tensor};
use thorax_nets::segmentation::{NetConfig, Pass, attention_unet::AttentionUnetConfig, unet::UnetConfig};
use thorax_nn::seeded;

fn drawn(shape: &[usize], seed: u64) -> Tensor {
    seeded::normal(shape, 1.0, seed, &Device::Cpu).unwrap()
}

/// The whole of a net, its weights f32 and its activations in each precision.
#[test]
fn a_net_learns_as_on_the_cpu() {
    let Some(gpu) = thorax_wanted::found(thorax_wanted::Kind::Gpu, thorax_nn::cuda::device(0)) else { return };
    thorax_nn::cuda::allow_tf32(false);
    let run = |device: &Device, kind: DType| {
        let unet = UnetConfig { base_channels: 8, blocks: 2, ..UnetConfig::default() };
        let net = NetConfig::AttentionUnet(AttentionUnetConfig { unet }).init(5, device).unwrap();
        let x = drawn(&[4, 1, 32, 32], 11).to_device(device).unwrap().to_dtype(kind).unwrap();
        let y = net.forward(&x, Pass::Train { seed: 1 }).unwrap()[0].to_dtype(DType::F32).unwrap();
        let pull = drawn(y.dims(), 12).to_device(device).unwrap();
        let gradients = (&y * pull).unwrap().sum_all().unwrap().backward().unwrap();
        let inference = net.infer(&x).unwrap().to_dtype(DType::F32).unwrap();
        let mut found = vec![("output".to_owned(), y), ("output in inference".to_owned(), inference)];
        found.extend(net.trainable().into_iter().map(|(name, var)| {
            let gradient = gradients.get(&var).unwrap().clone();
            assert_eq!(gradient.dtype(), DType::F32, "{name}");
            (name, gradient)
        }));
        found
    };
    // By the length of the whole tensor: single values of a deep layer's gradient drown in the rounding of bf16.
    let length = |x: &Tensor| x.sqr().unwrap().sum_all().unwrap().to_scalar::<f32>().unwrap().sqrt();
    let expected = run(&Device::Cpu, DType::F32);
    for (kind, tolerance) in [(DType::F32, 1e-3), (DType::BF16, 0.25), (DType::F16, 0.05)] {
        for ((name, got), (_, expected)) in run(&gpu, kind).iter().zip(&expected) {
            let difference = (got.to_device(&Device::Cpu).unwrap() - expected).unwrap();
            let difference = length(&difference) / length(expected);
            assert!(difference < tolerance, "{name}, {kind:?}: off by {difference}");
        }
    }
}
