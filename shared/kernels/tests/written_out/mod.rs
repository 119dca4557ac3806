//! The convolution's three directions as their definition says, summed in f64, and shapes that nets use.
// Each test takes what it needs.
#![allow(dead_code)]

use thorax_kernels::convolution::{Convolution, Epilogue, Padding};

/// Numbers that depend on nothing but their place.
pub(crate) fn values(length: usize, salt: u32) -> Vec<f32> {
    (0..length as u32)
        .map(|i| {
            let mut h = i.wrapping_mul(0x9E37_79B9) ^ salt.wrapping_mul(0x85EB_CA6B);
            h = (h ^ (h >> 15)).wrapping_mul(0x2C1B_3C6D);
            h = (h ^ (h >> 12)).wrapping_mul(0x297A_2D39);
            ((h ^ (h >> 15)) as f32 / u32::MAX as f32) * 2.0 - 1.0
        })
        .collect()
}

/// Calls `f` with the places of output, input and weight of every product.
pub(crate) fn products(g: &Convolution, mut f: impl FnMut(usize, usize, usize)) {
    let (ho, wo) = (g.height_out(), g.width_out());
    let (cg, kg) = (g.channels_in / g.groups, g.channels_out / g.groups);
    for n in 0..g.batch {
        for k in 0..g.channels_out {
            for (y, x) in (0..ho).flat_map(|y| (0..wo).map(move |x| (y, x))) {
                for c in 0..cg {
                    for (r, q) in (0..g.kernel_height).flat_map(|r| (0..g.kernel_width).map(move |q| (r, q))) {
                        let iy = (y * g.stride + r * g.dilation) as isize - g.padding.top as isize;
                        let ix = (x * g.stride + q * g.dilation) as isize - g.padding.left as isize;
                        if iy < 0 || ix < 0 || iy >= g.height as isize || ix >= g.width as isize {
                            continue;
                        }
                        let channel = k / kg * cg + c;
                        f(
                            ((n * g.channels_out + k) * ho + y) * wo + x,
                            ((n * g.channels_in + channel) * g.height + iy as usize) * g.width + ix as usize,
                            ((k * cg + c) * g.kernel_height + r) * g.kernel_width + q,
                        );
                    }
                }
            }
        }
    }
}

pub(crate) fn worst(got: &[f32], expected: &[f64]) -> f64 {
    let largest = expected.iter().fold(1e-3f64, |m, v| m.max(v.abs()));
    got.iter().zip(expected).map(|(a, b)| (f64::from(*a) - b).abs() / largest).fold(0.0, f64::max)
}

/// Worst relative errors of output, input gradient and weight gradient.
pub(crate) fn errors(g: &Convolution) -> [f64; 3] {
    let x = values(g.input_length(), 1);
    let w = values(g.weight_length(), 2);
    let dy = values(g.output_length(), 3);
    let (mut y, mut dx, mut dw) = (vec![0f64; dy.len()], vec![0f64; x.len()], vec![0f64; w.len()]);
    products(g, |o, i, k| {
        y[o] += f64::from(x[i]) * f64::from(w[k]);
        dx[i] += f64::from(dy[o]) * f64::from(w[k]);
        dw[k] += f64::from(dy[o]) * f64::from(x[i]);
    });
    let mut got = vec![f32::NAN; y.len()];
    g.forward(&x, &w, Epilogue::default(), &mut got).unwrap();
    let mut got_dx = vec![f32::NAN; dx.len()];
    g.input_gradient(&w, &dy, None, &mut got_dx).unwrap();
    let mut got_dw = vec![f32::NAN; dw.len()];
    g.weight_gradient(&x, &dy, &mut got_dw).unwrap();
    [worst(&got, &y), worst(&got_dx, &dx), worst(&got_dw, &dw)]
}

pub(crate) fn dense(batch: usize, channels: [usize; 2], sides: [usize; 2], kernel: usize) -> Convolution {
    Convolution {
        batch,
        channels_in: channels[0],
        channels_out: channels[1],
        height: sides[0],
        width: sides[1],
        kernel_height: kernel,
        kernel_width: kernel,
        stride: 1,
        dilation: 1,
        padding: Padding::all(kernel / 2),
        groups: 1,
    }
}

/// Shapes that nets use, and a few that they do not.
pub(crate) fn shapes() -> Vec<Convolution> {
    vec![
        dense(1, [1, 16], [40, 70], 3),
        dense(2, [16, 16], [33, 65], 3),
        dense(3, [32, 40], [16, 16], 3),
        dense(2, [40, 16], [7, 7], 3),
        dense(5, [64, 64], [4, 4], 3),
        dense(2, [70, 9], [13, 29], 1),
        dense(1, [130, 70], [7, 7], 1),
        Convolution { stride: 2, ..dense(2, [3, 20], [45, 61], 7) },
        Convolution { stride: 2, ..dense(2, [24, 20], [28, 28], 1) },
        Convolution { stride: 2, padding: Padding::same(30, 3, 2), ..dense(2, [24, 20], [30, 30], 3) },
        Convolution { groups: 24, stride: 2, ..dense(2, [24, 24], [31, 17], 5) },
        Convolution { groups: 24, ..dense(2, [24, 48], [31, 17], 3) },
        Convolution { groups: 4, ..dense(2, [4, 4], [26, 26], 3) },
        Convolution { groups: 4, ..dense(2, [4, 4], [19, 19], 3) },
        Convolution { groups: 4, ..dense(2, [4, 4], [16, 3], 3) },
        Convolution { groups: 4, stride: 2, ..dense(2, [4, 4], [51, 51], 3) },
        Convolution { groups: 3, ..dense(2, [27, 33], [31, 17], 3) },
        Convolution { dilation: 3, padding: Padding::all(3), ..dense(1, [10, 12], [20, 23], 3) },
        Convolution { stride: 2, padding: Padding::all(0), ..dense(1, [10, 12], [20, 24], 2) },
        Convolution { padding: Padding { top: 0, left: 3, bottom: 2, right: 1 }, ..dense(1, [10, 12], [20, 24], 3) },
        Convolution { padding: Padding::all(3), ..dense(2, [8, 8], [5, 6], 3) },
        Convolution { stride: 3, ..dense(1, [2, 2], [9, 9], 1) },
        dense(3, [45, 100], [7, 7], 3),
        dense(2, [700, 97], [7, 7], 1),
        Convolution { stride: 2, ..dense(2, [40, 112], [15, 15], 3) },
        Convolution {
            kernel_height: 1,
            padding: Padding { top: 0, left: 3, bottom: 0, right: 3 },
            ..dense(2, [60, 96], [9, 17], 7)
        },
        Convolution {
            kernel_width: 1,
            padding: Padding { top: 3, left: 0, bottom: 3, right: 0 },
            ..dense(2, [60, 96], [9, 17], 7)
        },
        Convolution { groups: 24, ..dense(2, [24, 24], [7, 7], 5) },
    ]
}
