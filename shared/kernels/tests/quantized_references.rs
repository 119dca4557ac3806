//! The operators on bytes against ONNX Runtime, byte for byte; `references/quantized.py` made what is compared.
#![allow(clippy::unwrap_used)]

use std::collections::HashMap;

use thorax_kernels::{
    convolution::{Convolution as Geometry, Padding},
    quantized::{
        Broadcast, Combination, Convolution, DepthOrder, InstructionSet, Interpolation, Operand, Operation, Pool,
        PoolKind, Quantization, depth_to_space, dequantize, double, quantize,
    },
};

/// One line of the references.
struct Case(HashMap<&'static str, &'static str>);

impl Case {
    fn numbers<const N: usize>(&self, name: &str) -> [usize; N] {
        let numbers: Vec<usize> = self.0[name].split(',').map(|number| number.parse().unwrap()).collect();
        numbers.try_into().unwrap()
    }

    fn bytes(&self, name: &str) -> Vec<u8> {
        let (pairs, rest) = self.0[name].as_bytes().as_chunks::<2>();
        assert!(rest.is_empty());
        pairs.iter().map(|pair| u8::from_str_radix(std::str::from_utf8(pair).unwrap(), 16).unwrap()).collect()
    }

    fn words(&self, name: &str) -> Vec<[u8; 4]> {
        let bytes = self.bytes(name);
        let (words, rest) = bytes.as_chunks::<4>();
        assert!(rest.is_empty());
        words.to_vec()
    }

    fn floats(&self, name: &str) -> Vec<f32> {
        self.words(name).into_iter().map(f32::from_le_bytes).collect()
    }

    fn quantizations<const N: usize>(&self) -> [Quantization; N] {
        let (scales, zeros) = (self.floats("scales"), self.numbers::<N>("zeros"));
        assert_eq!(scales.len(), N);
        std::array::from_fn(|i| Quantization { scale: scales[i], zero_point: zeros[i].try_into().unwrap() })
    }
}

/// All cases of a kind, of which there must be some.
fn cases(kind: &str) -> Vec<Case> {
    let lines = include_str!("references/quantized.txt").lines();
    let fields = lines.filter_map(|line| line.strip_prefix(kind)?.strip_prefix(' '));
    let cases: Vec<Case> =
        fields.map(|line| Case(line.split(' ').map(|field| field.split_once('=').unwrap()).collect())).collect();
    assert!(!cases.is_empty(), "no case of {kind}");
    cases
}

#[test]
fn convolutions() {
    for case in cases("convolution") {
        let [
            batch,
            channels_in,
            channels_out,
            height,
            width,
            kernel,
            stride,
            dilation,
            top,
            left,
            bottom,
            right,
            groups,
        ] = case.numbers("sizes");
        let g = Geometry {
            batch,
            channels_in,
            channels_out,
            height,
            width,
            kernel_height: kernel,
            kernel_width: kernel,
            stride,
            dilation,
            padding: Padding { top, left, bottom, right },
            groups,
        };
        let weight: Vec<i8> = case.bytes("weight").into_iter().map(u8::cast_signed).collect();
        let bias: Vec<i32> = case.words("bias").into_iter().map(i32::from_le_bytes).collect();
        let ([x, y], scales) = (case.quantizations(), case.floats("weight_scales"));
        let expected = case.bytes("y");
        let ends = expected.iter().filter(|byte| [0, 255].contains(*byte)).count();
        assert!(ends * 4 < expected.len() * 3, "mostly saturated, so it shows nothing: {g:?}");
        for set in InstructionSet::available() {
            let convolution = Convolution::with_instructions(set, &g, &weight, &scales, Some(&bias), x, y).unwrap();
            let mut got = vec![0; expected.len()];
            convolution.run(batch, &case.bytes("x"), &mut got).unwrap();
            assert_eq!(got, expected, "{set}: {g:?}");
        }
    }
}

#[test]
fn sums_and_products() {
    for case in cases("combination") {
        let [batch, pixels, channels, multiply, one_channel, one_pixel, relu] = case.numbers("sizes");
        let [a, b, y] = case.quantizations();
        let combination = Combination {
            operation: if multiply == 1 { Operation::Multiply } else { Operation::Add },
            pixels,
            channels,
            broadcast: match (one_channel, one_pixel) {
                (1, _) => Broadcast::Channels,
                (_, 1) => Broadcast::Pixels,
                _ => Broadcast::Nowhere,
            },
            bounds: [if relu == 1 { 0.0 } else { f32::NEG_INFINITY }, f32::INFINITY],
            y,
        };
        let [first, second] = [case.bytes("a"), case.bytes("b")];
        let mut got = vec![0; first.len()];
        let operands = (Operand { bytes: &first, quantization: a }, Operand { bytes: &second, quantization: b });
        combination.run(batch, operands.0, operands.1, &mut got).unwrap();
        assert_eq!(got, case.bytes("y"), "{combination:?}");
    }
}

#[test]
fn pools() {
    for case in cases("pool") {
        let [batch, channels, height, width, kernel, stride, padding, largest, with_padding] = case.numbers("sizes");
        let [x, y] = case.quantizations();
        let pool = Pool {
            geometry: Geometry {
                batch: 1,
                channels_in: channels,
                channels_out: channels,
                height,
                width,
                kernel_height: kernel,
                kernel_width: kernel,
                stride,
                dilation: 1,
                padding: Padding::all(padding),
                groups: 1,
            },
            kind: if largest == 1 {
                PoolKind::Largest
            } else {
                PoolKind::Mean { x, y, with_padding: with_padding == 1 }
            },
        };
        let expected = case.bytes("y");
        let mut got = vec![0; expected.len()];
        pool.run(batch, &case.bytes("x"), &mut got).unwrap();
        assert_eq!(got, expected, "{pool:?}");
    }
}

#[test]
fn pixels_out_of_channels() {
    for (kind, order) in [("depth_DCR", DepthOrder::DepthColumnRow), ("depth_CRD", DepthOrder::ColumnRowDepth)] {
        for case in cases(kind) {
            let [batch, channels, height, width] = case.numbers("sizes");
            let x = case.bytes("x");
            let mut got = vec![0; x.len()];
            depth_to_space(order, [batch * height, width, channels / 4], &x, &mut got).unwrap();
            assert_eq!(got, case.bytes("y"), "{kind}");
        }
    }
}

#[test]
fn twice_the_size() {
    for (kind, how) in [("double_nearest", Interpolation::Nearest), ("double_linear", Interpolation::Bilinear)] {
        for case in cases(kind) {
            let [batch, channels, height, width] = case.numbers("sizes");
            let x = case.bytes("x");
            let mut got = vec![0; 4 * x.len()];
            double(how, batch, [height, width, channels], &x, &mut got).unwrap();
            assert_eq!(got, case.bytes("y"), "{kind}");
        }
    }
}

#[test]
fn values_to_bytes_and_back() {
    for case in cases("values") {
        let [quantization] = case.quantizations();
        let (x, expected) = (case.floats("x"), case.bytes("y"));
        let mut got = vec![0; x.len()];
        quantize(&x, quantization, &mut got).unwrap();
        assert_eq!(got, expected);
        assert!(x.iter().zip(&expected).all(|(x, y)| quantization.quantize(*x) == *y));
        let mut values = vec![0.0; x.len()];
        dequantize(Operand { bytes: &got, quantization }, &mut values).unwrap();
        assert_eq!(values, case.floats("back"));
    }
}
