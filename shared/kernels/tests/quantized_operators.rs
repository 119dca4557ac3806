//! What is done to bytes between convolutions, against its definition.
#![allow(clippy::unwrap_used)]

use proptest::prelude::*;
use thorax_kernels::quantized::{
    Broadcast, Combination, Operand, Operation, Part, Quantization, Table, concatenate, dequantize_channels_first,
    global_average, quantize_channels_last,
};

fn bytes(length: usize, salt: u32) -> Vec<u8> {
    (0..length as u32).map(|i| ((i ^ salt).wrapping_mul(0x9E37_79B9) >> 21) as u8).collect()
}

fn quantizations() -> impl Strategy<Value = Quantization> {
    // Plain fractions make ties.
    let scales =
        prop_oneof![1e-4f32..10.0, (1u8..20).prop_map(|n| f32::from(n) / 16.0), Just(1e-30), Just(1e-42), Just(1e30)];
    (scales, any::<u8>()).prop_map(|(scale, zero_point)| Quantization { scale, zero_point })
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(300))]
    #[test]
    fn combinations_round_as_quotients_do(
        [a, b, y] in [quantizations(), quantizations(), quantizations()],
        multiply in any::<bool>(),
        sizes in (1usize..3, 1usize..40, 1usize..80),
        broadcast in prop_oneof![Just(Broadcast::Nowhere), Just(Broadcast::Pixels), Just(Broadcast::Channels)],
        bounds in prop_oneof![Just([f32::NEG_INFINITY, f32::INFINITY]), Just([0.0, f32::INFINITY]), Just([0.0, 6.0])],
    ) {
        let (batch, pixels, channels) = sizes;
        let operation = if multiply { Operation::Multiply } else { Operation::Add };
        let combination = Combination { operation, pixels, channels, broadcast, bounds, y };
        let place = |i: usize| match broadcast {
            Broadcast::Nowhere => i,
            Broadcast::Pixels => i / channels / pixels * channels + i % channels,
            Broadcast::Channels => i / channels,
        };
        let length = batch * pixels * channels;
        let (first, second) = (bytes(length, 1), bytes(place(length - 1) + 1, 2));
        let mut got = vec![0; length];
        let operands = (Operand { bytes: &first, quantization: a }, Operand { bytes: &second, quantization: b });
        combination.run(batch, operands.0, operands.1, &mut got).unwrap();
        for (i, got) in got.iter().enumerate() {
            let [a, b] = [a.dequantize(first[i]), b.dequantize(second[place(i)])];
            let value = if multiply { a * b } else { a + b };
            let zero_point = f32::from(y.zero_point);
            let byte = (value.max(bounds[0]).min(bounds[1]) / y.scale).round_ties_even() + zero_point;
            prop_assert_eq!(*got, byte.clamp(0.0, 255.0) as u8, "{} and {} by {:?}", a, b, combination);
        }
    }

    #[test]
    fn layouts_change_on_the_way_to_bytes_and_back(
        q in (1e-3f32..1.0, any::<u8>()).prop_map(|(scale, zero_point)| Quantization { scale, zero_point }),
        (batch, channels, pixels) in (1usize..3, 1usize..9, 1usize..200),
    ) {
        let x: Vec<f32> = bytes(batch * channels * pixels, 3).into_iter().map(|b| q.dequantize(b)).collect();
        let mut last = vec![0; x.len()];
        quantize_channels_last(&x, [channels, pixels], q, &mut last).unwrap();
        for (i, byte) in last.iter().enumerate() {
            let (picture, pixel, c) = (i / channels / pixels, i / channels % pixels, i % channels);
            prop_assert_eq!(*byte, q.quantize(x[(picture * channels + c) * pixels + pixel]));
        }
        let mut back = vec![f32::NAN; x.len()];
        dequantize_channels_first(Operand { bytes: &last, quantization: q }, [channels, pixels], &mut back).unwrap();
        prop_assert_eq!(back, x);
    }

    #[test]
    fn parts_lie_side_by_side(pixels in 1usize..200, channels in prop::collection::vec(0usize..7, 1..5)) {
        let [x, y] = [0.5, 1.0].map(|scale| Quantization { scale, zero_point: 9 });
        let table = Table::requantize(x, y).unwrap();
        let all: Vec<Vec<u8>> = channels.iter().zip(4..).map(|(c, salt)| bytes(pixels * c, salt)).collect();
        let part = |(i, bytes): (usize, &'_ Vec<u8>)| (i, bytes.clone());
        let parts: Vec<Part<'_>> = all.iter().enumerate().map(|(i, bytes)| {
            Part { bytes, channels: channels[i], table: (i % 2 == 1).then_some(&table) }
        }).collect();
        let mut got = vec![0; all.iter().map(Vec::len).sum()];
        concatenate(pixels, &parts, &mut got).unwrap();
        let mut expected = vec![];
        for pixel in 0..pixels {
            for (i, bytes) in all.iter().enumerate().map(part) {
                for byte in &bytes[pixel * channels[i]..(pixel + 1) * channels[i]] {
                    expected.push(if i % 2 == 1 { y.quantize(x.dequantize(*byte)) } else { *byte });
                }
            }
        }
        prop_assert_eq!(got, expected);
    }

    #[test]
    fn a_mean_is_that_of_the_values(
        (pictures, pixels, channels) in (1usize..3, 1usize..60, 1usize..150),
        q in (1e-3f32..1.0, any::<u8>()).prop_map(|(scale, zero_point)| Quantization { scale, zero_point }),
    ) {
        let x = bytes(pictures * pixels * channels, 5);
        let mut got = vec![f32::NAN; pictures * channels];
        global_average(Operand { bytes: &x, quantization: q }, [pixels, channels], &mut got).unwrap();
        for (i, got) in got.iter().enumerate() {
            let values = (0..pixels).map(|p| f64::from(q.dequantize(x[(i / channels * pixels + p) * channels + i % channels])));
            let mean = values.sum::<f64>() / pixels as f64;
            prop_assert!((f64::from(*got) - mean).abs() < 1e-5 * f64::from(q.scale) * 255.0, "{} {}", got, mean);
        }
    }
}

#[test]
fn a_table_is_a_function_of_each_byte() {
    let [x, y] = [(0.05, 128), (1.0 / 256.0, 0)].map(|(scale, zero_point)| Quantization { scale, zero_point });
    let sigmoid = |value: f32| 1.0 / (1.0 + (-value).exp());
    let table = Table::new(x, y, sigmoid).unwrap();
    let all: Vec<u8> = (0..=255).cycle().take(40_000).collect();
    let mut got = vec![0; all.len()];
    table.run(&all, &mut got).unwrap();
    assert!(all.iter().zip(&got).all(|(byte, got)| y.quantize(sigmoid(x.dequantize(*byte))) == *got));
    assert_eq!((got[0], got[128], got[255]), (0, 128, 255));
}

#[test]
fn what_contradicts_itself_is_refused() {
    let q = Quantization { scale: 1.0, zero_point: 0 };
    let zero = Quantization { scale: 0.0, zero_point: 0 };
    let operand = |bytes| Operand { bytes, quantization: q };
    assert!(quantize_channels_last(&[0.0; 7], [2, 3], q, &mut [0; 7]).is_err());
    assert!(quantize_channels_last(&[0.0; 6], [2, 3], zero, &mut [0; 6]).is_err());
    assert!(dequantize_channels_first(operand(&[0; 6]), [2, 0], &mut [0.0; 6]).is_err());
    assert!(global_average(operand(&[0; 6]), [2, 2], &mut [0.0; 3]).is_err());
    assert!(Table::requantize(q, zero).is_err());
    let part = Part { bytes: &[0; 4], channels: 3, table: None };
    assert!(concatenate(2, &[part], &mut [0; 6]).is_err());
    let bounds = [1.0, 0.0];
    let combination =
        Combination { operation: Operation::Add, pixels: 2, channels: 2, broadcast: Broadcast::Nowhere, bounds, y: q };
    let mut out = [0; 4];
    assert!(combination.run(1, operand(&[0; 4]), operand(&[0; 4]), &mut out).is_err());
    let combination = Combination { bounds: [0.0, 1.0], ..combination };
    assert!(combination.run(1, operand(&[0; 4]), operand(&[0; 2]), &mut out).is_err());
    assert!(combination.run(1, operand(&[0; 4]), operand(&[0; 4]), &mut out).is_ok());
}
