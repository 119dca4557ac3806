//! Times the three directions of a convolution: `convolution_time N C_in C_out H W K STRIDE GROUPS [RUNS]`.
//!
//! Prints median and least milliseconds, and billions of multiplications and additions a second (of the direct algorithm,
//! at the least time).
#![allow(clippy::unwrap_used)]

use std::time::Instant;

use thorax_kernels::convolution::{Convolution, Epilogue, Padding};

fn main() {
    let a: Vec<usize> = std::env::args().skip(1).map(|a| a.parse().unwrap()).collect();
    let g = Convolution {
        batch: a[0],
        channels_in: a[1],
        channels_out: a[2],
        height: a[3],
        width: a[4],
        kernel_height: a[5],
        kernel_width: a[5],
        stride: a[6],
        dilation: 1,
        padding: Padding::all(a[5] / 2),
        groups: a[7],
    };
    let runs = a.get(8).copied().unwrap_or(9);
    let made = |length: usize| (0..length).map(|i| ((i * 37 % 101) as f32 - 50.0) / 50.0).collect::<Vec<f32>>();
    let (x, w, dy) = (made(g.input_length()), made(g.weight_length()), made(g.output_length()));
    let (mut y, mut dx, mut dw) = (dy.clone(), x.clone(), w.clone());
    let operations = 2.0 * (g.output_length() * g.weight_length() / g.channels_out) as f64;
    let time = |name: &str, f: &mut dyn FnMut()| {
        let mut times: Vec<f64> = (0..runs)
            .map(|_| {
                let start = Instant::now();
                f();
                start.elapsed().as_secs_f64() * 1e3
            })
            .collect();
        times.sort_by(f64::total_cmp);
        let median = times[runs / 2];
        let least = times[0];
        println!(
            "{name:<16} median {median:>9.2} ms, least {least:>9.2} ms, {:>6.1} GFLOP/s",
            operations / least / 1e6
        );
    };
    let packed = g.pack(&w).unwrap();
    time("forward, packed", &mut || g.forward_packed(&x, &packed, Epilogue::default(), &mut y).unwrap());
    time("forward", &mut || g.forward(&x, &w, Epilogue::default(), &mut y).unwrap());
    time("input gradient", &mut || g.input_gradient(&w, &dy, None, &mut dx).unwrap());
    time("weight gradient", &mut || g.weight_gradient(&x, &dy, &mut dw).unwrap());
}
