//! The kernels with the channels inside, against the definition and against those with the channels outside.
#![allow(clippy::unwrap_used)]

mod inside;
mod written_out;

use inside::{error, fits, inside};
use proptest::prelude::*;
use thorax_kernels::{
    KernelError,
    channels_last::{Layer, PackedConvolution, PackedUpConvolution, Pool, PoolKind, global_average},
    convolution::{Activation, Convolution, Padding},
};
use written_out::{dense, shapes, values};

#[test]
fn shapes_that_nets_use() {
    let more = [
        dense(1, [16, 24], [30, 31], 3),
        dense(2, [24, 144], [14, 14], 1),
        dense(1, [3, 32], [20, 20], 3),
        dense(1, [33, 65], [6, 5], 3),
        Convolution { groups: 40, ..dense(2, [40, 40], [14, 14], 5) },
        Convolution { groups: 40, ..dense(1, [40, 40], [20, 10], 5) },
        // A kernel of one row, as wide as the picture: one column of outputs, and no pointwise convolution.
        Convolution { kernel_height: 1, padding: Padding::all(0), ..dense(2, [10, 20], [9, 3], 3) },
        Convolution { groups: 96, stride: 2, padding: Padding::same(28, 3, 2), ..dense(1, [96, 96], [28, 28], 3) },
    ];
    for case in shapes().into_iter().chain(more).filter(fits) {
        let error = error(&case, Activation::None);
        assert!(error < 2e-5, "{error} {case:?}");
    }
}

#[test]
fn activations_come_last() {
    for activation in [Activation::Relu, Activation::Relu6, Activation::Swish] {
        for case in [dense(2, [9, 21], [12, 14], 3), Convolution { groups: 10, ..dense(2, [10, 10], [12, 14], 3) }] {
            let error = error(&case, activation);
            assert!(error < 2e-5, "{error} {activation:?} {case:?}");
        }
    }
}

#[test]
fn groups_that_are_neither_one_nor_the_channels_are_refused() {
    let g = Convolution { groups: 3, ..dense(1, [27, 33], [31, 17], 3) };
    let weight = values(g.weight_length(), 1);
    let layer = Layer { geometry: g, weight: &weight, bias: None, activation: Activation::None };
    assert!(PackedConvolution::new(&layer).is_err());
}

#[test]
fn neither_threads_nor_neighbours_change_a_bit() {
    for g in [
        dense(3, [24, 17], [61, 45], 3),
        dense(3, [24, 70], [7, 7], 1),
        Convolution { groups: 24, ..dense(3, [24, 24], [31, 17], 3) },
    ] {
        let (x, w) = (values(g.input_length(), 1), values(g.weight_length(), 2));
        let layer = Layer { geometry: g, weight: &w, bias: None, activation: Activation::Swish };
        let packed = PackedConvolution::new(&layer).unwrap();
        let run = |threads: usize, pictures: std::ops::Range<usize>| {
            let pool = rayon::ThreadPoolBuilder::new().num_threads(threads).build().unwrap();
            let (input, output) = (g.input_length() / 3, g.output_length() / 3);
            let mut y = vec![f32::NAN; pictures.len() * output];
            pool.install(|| {
                packed.run(pictures.len(), &x[pictures.start * input..pictures.end * input], None, &mut y).unwrap();
            });
            y.into_iter().map(f32::to_bits).collect::<Vec<_>>()
        };
        let one = run(1, 0..3);
        assert_eq!(one, run(3, 0..3), "{g:?}");
        assert_eq!(one, [run(2, 0..1), run(1, 1..2), run(4, 2..3)].concat(), "{g:?}");
    }
}

/// An expanded depthwise convolution and its two parts, one after the other, with a summand.
fn together_and_apart(first: &Convolution, second: &Convolution, threads: usize) -> [Vec<u32>; 2] {
    let x = values(first.input_length(), 1);
    let weights = [values(first.weight_length(), 2), values(second.weight_length(), 3)];
    let (bias, add) = (values(first.channels_out, 4), values(second.output_length(), 5));
    let layer = |g: &Convolution, index: usize, activation| Layer {
        geometry: *g,
        weight: &weights[index],
        bias: Some(&bias),
        activation,
    };
    let (before, behind) = (layer(first, 0, Activation::Relu6), layer(second, 1, Activation::Swish));
    let pool = rayon::ThreadPoolBuilder::new().num_threads(threads).build().unwrap();
    let (mut together, mut apart) = (vec![f32::NAN; add.len()], vec![f32::NAN; add.len()]);
    pool.install(|| {
        PackedConvolution::expanded(&before, &behind).unwrap().run(first.batch, &x, Some(&add), &mut together).unwrap();
        let mut between = vec![f32::NAN; first.output_length()];
        PackedConvolution::new(&before).unwrap().run(first.batch, &x, None, &mut between).unwrap();
        PackedConvolution::new(&behind).unwrap().run(first.batch, &between, Some(&add), &mut apart).unwrap();
    });
    [together, apart].map(|values| values.into_iter().map(f32::to_bits).collect())
}

#[test]
fn an_expanded_depthwise_convolution_is_its_two_parts() {
    for (channels, sides, kernel, stride) in [
        ([16, 96], [112, 112], 3, 2),
        ([24, 144], [56, 56], 3, 1),
        ([40, 240], [28, 28], 5, 1),
        ([112, 672], [14, 14], 5, 2),
        ([192, 1152], [7, 7], 5, 1),
        // Neither whole lines of channels nor whole tiles.
        ([5, 37], [10, 9], 3, 1),
        ([3, 7], [3, 2], 3, 1),
    ] {
        let first = dense(2, channels, sides, 1);
        let second = Convolution {
            groups: channels[1],
            stride,
            padding: Padding::same(sides[0], kernel, stride),
            ..dense(2, [channels[1]; 2], sides, kernel)
        };
        let [one, apart] = together_and_apart(&first, &second, 1);
        assert_eq!(one, apart, "{first:?} {second:?}");
        assert_eq!(one, together_and_apart(&first, &second, 3)[0], "{first:?} {second:?}");
    }
}

#[test]
fn what_does_not_go_together_is_refused() {
    let first = dense(1, [4, 20], [9, 9], 1);
    let second = Convolution { groups: 20, ..dense(1, [20, 20], [9, 9], 3) };
    for (first, second) in [
        (dense(1, [4, 20], [9, 9], 3), second),
        (Convolution { stride: 2, ..first }, second),
        (first, Convolution { groups: 1, ..second }),
        (first, Convolution { height: 8, ..second }),
        (first, Convolution { groups: 10, channels_in: 10, channels_out: 10, ..second }),
    ] {
        let weights = [values(first.weight_length(), 1), values(second.weight_length(), 2)];
        let layer = |geometry, weight| Layer { geometry, weight, bias: None, activation: Activation::None };
        let both = PackedConvolution::expanded(&layer(first, &weights[0]), &layer(second, &weights[1]));
        assert!(matches!(both, Err(KernelError::Shape(_))), "{first:?} {second:?}");
    }
}

#[test]
fn the_transposed_convolution_is_the_gradient_to_the_input() {
    for [channels_in, channels_out] in [[1, 1], [16, 8], [33, 21], [64, 32]] {
        let (rows, width) = (6, 7);
        // The convolution of which it is the gradient has the roles exchanged.
        let g = Convolution {
            stride: 2,
            padding: Padding::all(0),
            ..dense(2, [channels_out, channels_in], [rows, 2 * width], 2)
        };
        let (x, w) = (values(g.output_length(), 1), values(g.weight_length(), 2));
        let bias = values(channels_out, 3);
        let mut expected = vec![f32::NAN; g.input_length()];
        g.input_gradient(&w, &x, Some(&bias), &mut expected).unwrap();
        let packed = PackedUpConvolution::new([channels_in, channels_out], &w, Some(&bias)).unwrap();
        let mut got = vec![f32::NAN; expected.len()];
        packed.run(rows, width, &inside(&x, channels_in, rows / 2 * width), &mut got).unwrap();
        let expected = inside(&expected, channels_out, rows * 2 * width);
        for (got, expected) in got.iter().zip(&expected) {
            assert!((got - expected).abs() < 1e-5, "{got} {expected}");
        }
    }
}

#[test]
fn pools_are_what_their_names_say() {
    let geometry = Convolution {
        stride: 2,
        padding: Padding { top: 1, left: 1, bottom: 0, right: 1 },
        ..dense(2, [21, 21], [9, 12], 3)
    };
    let x = values(geometry.input_length(), 5);
    let x = inside(&x, 21, 9 * 12);
    for kind in [PoolKind::Largest, PoolKind::Mean, PoolKind::MeanWithPadding] {
        let (height, width) = (geometry.height_out(), geometry.width_out());
        let mut out = vec![f32::NAN; 2 * height * width * 21];
        Pool { geometry, kind }.run(2, &x, &mut out).unwrap();
        for (i, &got) in out.iter().enumerate() {
            let (n, y, column, c) = (i / 21 / width / height, i / 21 / width % height, i / 21 % width, i % 21);
            let mut window = vec![];
            for (r, q) in (0..3).flat_map(|r| (0..3).map(move |q| (r, q))) {
                let (y, x_) = ((2 * y + r).wrapping_sub(1), (2 * column + q).wrapping_sub(1));
                if y < 9 && x_ < 12 {
                    window.push(x[((n * 9 + y) * 12 + x_) * 21 + c]);
                }
            }
            let expected = match kind {
                PoolKind::Largest => window.iter().copied().fold(f32::NEG_INFINITY, f32::max),
                PoolKind::Mean => window.iter().sum::<f32>() / window.len() as f32,
                PoolKind::MeanWithPadding => window.iter().sum::<f32>() / 9.0,
            };
            assert!((got - expected).abs() < 1e-6, "{kind:?} {i}: {got} {expected}");
        }
    }
    let mut means = vec![f32::NAN; 2 * 21];
    global_average(9 * 12, 21, &x, &mut means).unwrap();
    for (i, mean) in means.iter().enumerate() {
        let sum: f32 = (0..9 * 12).map(|p| x[(i / 21 * 9 * 12 + p) * 21 + i % 21]).sum();
        assert!((mean - sum / 108.0).abs() < 1e-6);
    }
}

#[test]
fn a_nan_in_a_window_stays_one() {
    let geometry = Convolution { padding: Padding::all(0), ..dense(1, [5, 5], [1, 3], 1) };
    let geometry = Convolution { kernel_width: 3, ..geometry };
    for place in 0..3 {
        let mut x = vec![1.0; 15];
        x[place * 5 + 2] = f32::NAN;
        let mut out = vec![0.0; 5];
        Pool { geometry, kind: PoolKind::Largest }.run(1, &x, &mut out).unwrap();
        assert!(out[2].is_nan() && out[1] == 1.0, "{out:?}");
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(96))]

    #[test]
    fn any_sizes(
        batch in 1usize..3,
        channels in (1usize..40, 1usize..70),
        sides in (1usize..20, 1usize..20),
        kernel in (1usize..6, 1usize..6),
        (stride, dilation) in (1usize..4, 1usize..3),
        padding in (0usize..3, 0usize..3, 0usize..3, 0usize..3),
        depthwise in any::<bool>(),
    ) {
        let g = Convolution {
            batch,
            channels_in: channels.0,
            channels_out: if depthwise { channels.0 } else { channels.1 },
            height: sides.0,
            width: sides.1,
            kernel_height: kernel.0,
            kernel_width: kernel.1,
            stride,
            dilation,
            padding: Padding { top: padding.0, left: padding.1, bottom: padding.2, right: padding.3 },
            groups: if depthwise { channels.0 } else { 1 },
        };
        prop_assume!(g.check().is_ok());
        let error = error(&g, Activation::Relu);
        prop_assert!(error < 2e-5, "{} {:?}", error, g);
        if depthwise {
            let first = dense(batch, [channels.1, channels.0], sides.into(), 1);
            let [together, apart] = together_and_apart(&first, &g, 1 + channels.1 % 3);
            prop_assert_eq!(together, apart, "{:?}", g);
        }
    }
}
