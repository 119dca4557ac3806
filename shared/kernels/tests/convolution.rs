//! The convolution's three directions against their definition, summed in f64.
#![allow(clippy::unwrap_used)]

mod written_out;

use proptest::prelude::*;
use thorax_kernels::convolution::{Activation, Convolution, Epilogue, Padding};
use written_out::{dense, errors, shapes, values};

#[test]
fn shapes_that_nets_use() {
    for case in shapes() {
        let errors = errors(&case);
        assert!(errors.iter().all(|e| *e < 2e-5), "{errors:?} {case:?}");
    }
}

#[test]
fn a_picture_does_not_depend_on_those_beside_it() {
    for case in shapes() {
        let g = Convolution { batch: 5, ..case };
        let (x, w) = (values(g.input_length(), 1), values(g.weight_length(), 2));
        let bias = values(g.channels_out, 4);
        let epilogue = Epilogue { bias: Some(&bias), add: None, activation: Activation::Swish };
        let packed = g.pack(&w).unwrap();
        let run = |pictures: std::ops::Range<usize>| {
            let g = Convolution { batch: pictures.len(), ..g };
            let each = g.input_length() / g.batch;
            let mut y = vec![f32::NAN; g.output_length()];
            g.forward_packed(&x[pictures.start * each..pictures.end * each], &packed, epilogue, &mut y).unwrap();
            y
        };
        let parts = [run(0..1), run(1..3), run(3..5)].concat();
        assert!(run(0..5).iter().zip(&parts).all(|(a, b)| a.to_bits() == b.to_bits()), "{g:?}");
    }
}

#[test]
fn bias_summand_and_activation_are_applied_in_this_order() {
    let depthwise = Convolution { groups: 10, ..dense(2, [10, 10], [12, 14], 3) };
    for g in [dense(2, [9, 10], [12, 14], 1), dense(2, [9, 10], [12, 14], 3), depthwise] {
        let (x, w) = (values(g.input_length(), 1), values(g.weight_length(), 2));
        let (bias, add) = (values(10, 4), values(g.output_length(), 5));
        let mut plain = vec![0f32; g.output_length()];
        g.forward(&x, &w, Epilogue::default(), &mut plain).unwrap();
        let relu6: fn(f32) -> f32 = |x| x.clamp(0.0, 6.0);
        let swish: fn(f32) -> f32 = |x| x / (1.0 + (-x).exp());
        for (activation, f) in [(Activation::Relu6, relu6), (Activation::Swish, swish)] {
            let epilogue = Epilogue { bias: Some(&bias), add: Some(&add), activation };
            let mut got = vec![0f32; g.output_length()];
            g.forward(&x, &w, epilogue, &mut got).unwrap();
            for (i, (got, plain)) in got.iter().zip(&plain).enumerate() {
                let expected = f(plain + bias[i / (12 * 14) % 10] + add[i]);
                assert!((got - expected).abs() < 1e-5, "{i}: {got} {expected}");
            }
        }
    }
}

#[test]
fn the_number_of_threads_changes_no_bit() {
    let run = |threads: usize| {
        let pool = rayon::ThreadPoolBuilder::new().num_threads(threads).build().unwrap();
        pool.install(|| {
            let g = dense(3, [24, 17], [61, 45], 3);
            let (x, w, dy) = (values(g.input_length(), 1), values(g.weight_length(), 2), values(g.output_length(), 3));
            let mut out = [vec![0f32; dy.len()], vec![0f32; x.len()], vec![0f32; w.len()]];
            let [y, dx, dw] = &mut out;
            g.forward(&x, &w, Epilogue::default(), y).unwrap();
            g.input_gradient(&w, &dy, None, dx).unwrap();
            g.weight_gradient(&x, &dy, dw).unwrap();
            out.concat().into_iter().map(f32::to_bits).collect::<Vec<_>>()
        })
    };
    let one = run(1);
    assert_eq!(one, run(2));
    assert_eq!(one, run(5));
}

#[test]
fn a_nan_stays_one() {
    for (kernel, channels) in [(1, 8), (3, 8), (3, 1)] {
        let g = dense(1, [channels, channels], [24, 24], kernel);
        let mut x = values(g.input_length(), 1);
        x[100] = f32::NAN;
        let (w, bias) = (values(g.weight_length(), 2), values(channels, 3));
        for activation in [Activation::None, Activation::Relu, Activation::Relu6] {
            let mut y = vec![0f32; g.output_length()];
            g.forward(&x, &w, Epilogue { bias: Some(&bias), add: None, activation }, &mut y).unwrap();
            assert!(y[100].is_nan(), "{kernel} {channels} {activation:?}");
            assert!(!y[576 - 1].is_nan());
        }
    }
}

#[test]
fn sizes_that_contradict_each_other_are_refused() {
    let g = dense(1, [4, 4], [6, 6], 3);
    let mut out = vec![0f32; g.output_length()];
    let x = vec![0f32; g.input_length()];
    let w = vec![0f32; g.weight_length()];
    assert!(g.forward(&x[1..], &w, Epilogue::default(), &mut out).is_err());
    assert!(Convolution { groups: 3, ..g }.forward(&x, &w, Epilogue::default(), &mut out).is_err());
    for nothing in [Convolution { batch: 0, ..g }, Convolution { height: 0, ..g }, Convolution { channels_out: 0, ..g }]
    {
        assert!(nothing.check().is_err());
    }
    let small = Convolution { height: 1, padding: Padding::all(0), ..g };
    let message = small.forward(&x, &w, Epilogue::default(), &mut out).unwrap_err().to_string();
    assert!(message.contains("smaller than the kernel"), "{message}");
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(200))]
    #[test]
    fn any_geometry(
        batch in 1usize..4,
        groups in 1usize..4,
        channels in (1usize..6, 1usize..6),
        wide in any::<bool>(),
        sides in (1usize..20, 1usize..40),
        kernel in (1usize..5, 1usize..5),
        stride in 1usize..4,
        dilation in 1usize..3,
        padding in (0usize..4, 0usize..4, 0usize..4, 0usize..4),
    ) {
        let factor = if wide { 4 } else { 1 };
        let g = Convolution {
            batch,
            channels_in: groups * channels.0 * factor,
            channels_out: groups * channels.1 * factor,
            height: sides.0,
            width: sides.1,
            kernel_height: kernel.0,
            kernel_width: kernel.1,
            stride,
            dilation,
            padding: Padding { top: padding.0, left: padding.1, bottom: padding.2, right: padding.3 },
            groups,
        };
        prop_assume!(g.check().is_ok());
        let errors = errors(&g);
        prop_assert!(errors.iter().all(|e| *e < 2e-5), "{errors:?} {g:?}");
    }
}
