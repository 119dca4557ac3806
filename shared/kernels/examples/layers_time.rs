//! Times a convolution with the channels inside beside the same with the channels outside:
//! `layers_time [THREADS]`. One line a layer of MobileNetV2, ResNet50 and a U-Net of 16 channels.
#![allow(clippy::unwrap_used)]

use std::time::Instant;

use thorax_kernels::{
    channels_last::{Layer, PackedConvolution},
    convolution::{Activation, Convolution, Epilogue, Padding},
};

fn median(runs: usize, mut f: impl FnMut()) -> f64 {
    // Touched before each run, so that a layer finds its values and weights as far away as in the middle of a net.
    let mut other = vec![1u8; 12 << 20];
    f();
    let mut times: Vec<f64> = (0..runs)
        .map(|_| {
            other.iter_mut().step_by(64).for_each(|v| *v = v.wrapping_add(1));
            let start = Instant::now();
            f();
            start.elapsed().as_secs_f64() * 1e3
        })
        .collect();
    times.sort_by(f64::total_cmp);
    times[runs / 2]
}

fn main() {
    let threads = std::env::args().nth(1).map_or(1, |a| a.parse().unwrap());
    rayon::ThreadPoolBuilder::new().num_threads(threads).build_global().unwrap();
    // Channels in and out, side, kernel, stride, depthwise.
    let layers = [
        (3, 32, 224, 3, 2, false),
        (32, 16, 112, 1, 1, false),
        (96, 96, 112, 3, 2, true),
        (16, 96, 112, 1, 1, false),
        (144, 144, 56, 3, 1, true),
        (24, 144, 56, 1, 1, false),
        (144, 24, 56, 1, 1, false),
        (192, 32, 28, 1, 1, false),
        (240, 240, 28, 5, 1, true),
        (384, 384, 14, 3, 1, true),
        (384, 64, 14, 1, 1, false),
        (96, 576, 14, 1, 1, false),
        (960, 960, 7, 3, 1, true),
        (960, 160, 7, 1, 1, false),
        (320, 1280, 7, 1, 1, false),
        (64, 64, 56, 3, 1, false),
        (256, 64, 56, 1, 1, false),
        (128, 128, 28, 3, 1, false),
        (256, 256, 14, 3, 1, false),
        (1024, 256, 14, 1, 1, false),
        (512, 512, 7, 3, 1, false),
        (512, 2048, 7, 1, 1, false),
        (1, 16, 256, 3, 1, false),
        (16, 16, 256, 3, 1, false),
        (32, 16, 256, 3, 1, false),
        (32, 32, 128, 3, 1, false),
        (64, 64, 64, 3, 1, false),
        (128, 128, 32, 3, 1, false),
        (256, 256, 16, 3, 1, false),
        (16, 2, 256, 1, 1, false),
    ];
    println!(
        "{:>5} {:>5} {:>4} k s {:>10} {:>10} {:>6} {:>9}",
        "in", "out", "side", "outside ms", "inside ms", "ratio", "GMAC/s"
    );
    for (channels_in, channels_out, side, kernel, stride, depthwise) in layers {
        let g = Convolution {
            batch: 1,
            channels_in,
            channels_out,
            height: side,
            width: side,
            kernel_height: kernel,
            kernel_width: kernel,
            stride,
            dilation: 1,
            padding: Padding::same(side, kernel, stride),
            groups: if depthwise { channels_in } else { 1 },
        };
        let made = |length: usize| (0..length).map(|i| ((i * 37 % 101) as f32 - 50.0) / 50.0).collect::<Vec<f32>>();
        let (x, w, bias) = (made(g.input_length()), made(g.weight_length()), made(channels_out));
        let mut y = vec![0f32; g.output_length()];
        let packed = g.pack(&w).unwrap();
        let epilogue = Epilogue { bias: Some(&bias), add: None, activation: Activation::Relu6 };
        let outside = median(15, || g.forward_packed(&x, &packed, epilogue, &mut y).unwrap());
        let last = PackedConvolution::new(&Layer {
            geometry: g,
            weight: &w,
            bias: Some(&bias),
            activation: Activation::Relu6,
        })
        .unwrap();
        let inside = median(15, || last.run(1, &x, None, &mut y).unwrap());
        let products = (g.output_length() * g.weight_length() / channels_out) as f64;
        println!(
            "{channels_in:>5} {channels_out:>5} {side:>4} {kernel} {stride} {outside:>10.3} {inside:>10.3} {:>6.2} {:>9.1}{}",
            inside / outside,
            products / inside / 1e6,
            if depthwise { " depthwise" } else { "" }
        );
    }
}
