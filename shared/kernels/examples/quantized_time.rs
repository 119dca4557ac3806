//! Times convolutions of bytes, and of f32, layer by layer on one thread: `quantized_time [RUNS [NET [SET]]]`.
//!
//! NET is mobilenet (V2 of 224 pixels), resnet (50 layers, 224 pixels), unet (16 channels, 256 pixels) or nothing for all;
//! SET a number, counted from the best of the machine's instruction sets. Prints for each layer the median milliseconds of
//! bytes and of f32 (`thorax_kernels::convolution`, `[N, C, H, W]`), their ratio, and the products of bytes a cycle, also
//! as a share of what the instructions can do at best. Cycles are counted by a chain of dependent additions, at the start.
#![allow(clippy::unwrap_used)]

use std::{hint::black_box, time::Instant};

use thorax_kernels::{
    convolution::{Activation, Convolution as Geometry, Epilogue, Padding},
    quantized::{Convolution, InstructionSet, Quantization},
};

/// How often a layer is in the net, and what it is.
type Layer = (usize, Geometry);

fn layer([channels_in, channels_out]: [usize; 2], side: usize, kernel: usize, stride: usize) -> Geometry {
    Geometry {
        batch: 1,
        channels_in,
        channels_out,
        height: side,
        width: side,
        kernel_height: kernel,
        kernel_width: kernel,
        stride,
        dilation: 1,
        padding: Padding::all(kernel / 2),
        groups: 1,
    }
}

fn depthwise(channels: usize, side: usize, stride: usize) -> Geometry {
    Geometry { groups: channels, ..layer([channels; 2], side, 3, stride) }
}

/// Table 2 of Sandler et al., MobileNetV2 (2018).
fn mobilenet() -> Vec<Layer> {
    let mut layers = vec![(1, layer([3, 32], 224, 3, 2)), (1, depthwise(32, 112, 1)), (1, layer([32, 16], 112, 1, 1))];
    let (mut channels, mut side) = (16, 112);
    for [out, repeats, stride] in [[24, 2, 2], [32, 3, 2], [64, 4, 2], [96, 3, 1], [160, 3, 2], [320, 1, 1]] {
        for repeat in 0..repeats {
            let stride = if repeat == 0 { stride } else { 1 };
            let wide = channels * 6;
            layers.extend([(1, layer([channels, wide], side, 1, 1)), (1, depthwise(wide, side, stride))]);
            side /= stride;
            layers.push((1, layer([wide, out], side, 1, 1)));
            channels = out;
        }
    }
    layers.push((1, layer([320, 1280], 7, 1, 1)));
    merged(layers)
}

/// Table 1 of He et al., Deep residual learning (2016); the stride is in the 3x3 convolution, as torchvision has it.
fn resnet() -> Vec<Layer> {
    let mut layers = vec![(1, layer([3, 64], 224, 7, 2))];
    let (mut channels, mut side) = (64, 56);
    for (stage, repeats) in [3, 4, 6, 3].into_iter().enumerate() {
        let inner = 64 << stage;
        for repeat in 0..repeats {
            let stride = if repeat == 0 && stage > 0 { 2 } else { 1 };
            if repeat == 0 {
                layers.push((1, layer([channels, 4 * inner], side, 1, stride)));
            }
            layers.extend([(1, layer([channels, inner], side, 1, 1)), (1, layer([inner; 2], side, 3, stride))]);
            side /= stride;
            layers.push((1, layer([inner, 4 * inner], side, 1, 1)));
            channels = 4 * inner;
        }
    }
    merged(layers)
}

/// A U-Net of four levels; the transposed convolutions as 1x1 ones.
fn unet() -> Vec<Layer> {
    let mut layers = vec![(1, layer([1, 16], 256, 3, 1)), (1, layer([16, 16], 256, 3, 1))];
    for level in 1..5 {
        let channels = 16 << level;
        layers.extend([(1, layer([channels / 2, channels], 256 >> level, 3, 1))]);
        layers.extend([(1, layer([channels; 2], 256 >> level, 3, 1))]);
    }
    for level in (0..4).rev() {
        let channels = 16 << level;
        layers.push((1, layer([2 * channels, 4 * channels], 128 >> level, 1, 1)));
        layers.push((1, layer([2 * channels, channels], 256 >> level, 3, 1)));
        layers.push((1, layer([channels; 2], 256 >> level, 3, 1)));
    }
    merged(layers)
}

/// Layers of the same sizes as one, with their number.
fn merged(layers: Vec<Layer>) -> Vec<Layer> {
    let mut distinct: Vec<Layer> = vec![];
    for (count, geometry) in layers {
        match distinct.iter_mut().find(|(_, other)| *other == geometry) {
            Some((known, _)) => *known += count,
            None => distinct.push((count, geometry)),
        }
    }
    distinct
}

/// Cycles a second: each of these additions waits for the one before.
fn frequency() -> f64 {
    (0..100)
        .map(|_| {
            let (start, mut sum) = (Instant::now(), black_box(1u64));
            for _ in 0..500_000 {
                sum = black_box_in_register(sum.wrapping_add(3));
            }
            black_box(sum);
            5e5 / start.elapsed().as_secs_f64()
        })
        .fold(0.0, f64::max)
}

/// Keeps the compiler from summing ahead, without going through memory.
#[allow(unsafe_code)]
fn black_box_in_register(value: u64) -> u64 {
    let mut value = value;
    // SAFETY: no instruction at all.
    unsafe { std::arch::asm!("/* {0} */", inout(reg) value, options(nomem, nostack, preserves_flags, pure)) };
    value
}

/// Products of bytes a cycle: on x86 the two vector units of server processors, on ARM those of Cortex-A76 (dot product)
/// and A72.
fn peak(instructions: InstructionSet) -> f64 {
    match instructions.to_string().as_str() {
        "AVX-512 VNNI" => 128.0,
        "AVX-VNNI" => 64.0,
        "AVX2" => 24.0,
        "NEON with dot product" => 32.0,
        "NEON" => 8.0,
        _ => f64::NAN,
    }
}

fn median(runs: usize, mut f: impl FnMut()) -> f64 {
    let mut times: Vec<f64> = (0..runs + 1)
        .map(|_| {
            let start = Instant::now();
            f();
            start.elapsed().as_secs_f64() * 1e3
        })
        .skip(1)
        .collect();
    times.sort_by(f64::total_cmp);
    times[runs / 2]
}

fn main() {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let runs = arguments.first().map_or(15, |runs| runs.parse().unwrap());
    let wanted = arguments.get(1).map_or("", String::as_str);
    let set = InstructionSet::available()[arguments.get(2).map_or(0, |set| set.parse().unwrap())];
    let hertz = frequency();
    println!("{set}, {:.2} GHz, {runs} runs, one thread", hertz / 1e9);
    rayon::ThreadPoolBuilder::new().num_threads(1).build_global().unwrap();
    for (name, layers) in [("mobilenet", mobilenet()), ("resnet", resnet()), ("unet", unet())] {
        if !name.contains(wanted) {
            continue;
        }
        println!("\n{name:<44}    int8 ms     f32 ms  f32/int8  products a cycle");
        let mut total = [0.0, 0.0, 0.0];
        for (count, g) in layers {
            let quantization = Quantization { scale: 0.02, zero_point: 3 };
            let weight: Vec<i8> = (0..g.weight_length()).map(|i| (i * 37 % 255) as u8 as i8).collect();
            let packed =
                Convolution::with_instructions(set, &g, &weight, &[0.001], None, quantization, quantization).unwrap();
            let x: Vec<u8> = (0..g.input_length()).map(|i| (i * 31 % 256) as u8).collect();
            let mut y = vec![0u8; g.output_length()];
            let bytes = median(runs, || packed.run(1, black_box(&x), black_box(&mut y)).unwrap());
            let weight: Vec<f32> = weight.iter().map(|w| f32::from(*w)).collect();
            let (packed, bias) = (g.pack(&weight).unwrap(), vec![0.5; g.channels_out]);
            let x: Vec<f32> = x.iter().map(|x| f32::from(*x)).collect();
            let mut y = vec![0f32; g.output_length()];
            let epilogue = || Epilogue { bias: Some(&bias), add: None, activation: Activation::Relu6 };
            let floats =
                median(runs, || g.forward_packed(black_box(&x), &packed, epilogue(), black_box(&mut y)).unwrap());
            let products = (g.output_length() * g.weight_length() / g.channels_out) as f64;
            let rate = products / (bytes * 1e-3 * hertz);
            let text = format!(
                "{count} x {}->{}, {}x{}, kernel {}, stride {}{}",
                g.channels_in,
                g.channels_out,
                g.height,
                g.width,
                g.kernel_height,
                g.stride,
                if g.groups > 1 { ", depthwise" } else { "" }
            );
            println!(
                "{text:<44} {bytes:>10.4} {floats:>10.4} {:>9.2} {rate:>9.1} {:>5.0} %",
                floats / bytes,
                100.0 * rate / peak(set)
            );
            for (total, value) in total.iter_mut().zip([bytes, floats, products]) {
                *total += count as f64 * value;
            }
        }
        let rate = total[2] / (total[0] * 1e-3 * hertz);
        println!(
            "{:<44} {:>10.4} {:>10.4} {:>9.2} {rate:>9.1} {:>5.0} %",
            "all",
            total[0],
            total[1],
            total[1] / total[0],
            100.0 * rate / peak(set)
        );
    }
}
