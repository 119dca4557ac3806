//! The convolution of bytes: every set of instructions that this machine has against the definition, byte for byte.
#![allow(clippy::unwrap_used)]

use proptest::prelude::*;
use thorax_kernels::{
    convolution::{Convolution as Geometry, Padding},
    quantized::{Convolution, InstructionSet, Quantization},
};

/// Bytes that depend on nothing but their place; one in eight is one of the ends.
fn bytes(length: usize, salt: u32) -> Vec<u8> {
    (0..length as u32)
        .map(|i| {
            let mut h = i.wrapping_mul(0x9E37_79B9) ^ salt.wrapping_mul(0x85EB_CA6B);
            h = (h ^ (h >> 15)).wrapping_mul(0x2C1B_3C6D);
            h = (h ^ (h >> 12)).wrapping_mul(0x297A_2D39);
            h ^= h >> 15;
            match h >> 28 {
                0 => 0,
                1 => 255,
                _ => h as u8,
            }
        })
        .collect()
}

struct Case {
    g: Geometry,
    x: Vec<u8>,
    weight: Vec<i8>,
    scales: Vec<f32>,
    bias: Vec<i32>,
    quantizations: [Quantization; 2],
}

impl Case {
    /// With weights from `least` on.
    fn new(g: Geometry, zero_points: [u8; 2], least: i8) -> Self {
        let weight = bytes(g.weight_length(), 2).into_iter().map(|b| (b ^ 128).cast_signed().max(least)).collect();
        let random = bytes(4 * g.channels_out, 3);
        let depth = (g.weight_length() / g.channels_out) as f32;
        let scales = (0..g.channels_out).map(|c| (1.0 + f32::from(random[c]) / 64.0) / 74.0 / depth.sqrt()).collect();
        let (numbers, _) = random.as_chunks::<4>();
        let bias = numbers.iter().map(|number| i32::from_le_bytes(*number) >> 17).collect();
        let [x, y] = zero_points.map(|zero_point| Quantization { scale: 0.021, zero_point });
        Self { g, x: bytes(g.input_length(), 1), weight, scales, bias, quantizations: [x, y] }
    }

    /// As the definition says, one output at a time.
    fn expected(&self) -> Vec<u8> {
        let (g, [x, y]) = (&self.g, self.quantizations);
        let (inner, outer) = (g.channels_in / g.groups, g.channels_out / g.groups);
        let mut out = vec![];
        for place in 0..g.output_length() {
            let (pixel, k) = (place / g.channels_out, place % g.channels_out);
            let (row, column) = (pixel / g.width_out() % g.height_out(), pixel % g.width_out());
            let picture = pixel / g.width_out() / g.height_out();
            let mut sum = self.bias[k];
            for tap in 0..g.kernel_height * g.kernel_width {
                let (r, q) = (tap / g.kernel_width, tap % g.kernel_width);
                let row = (row * g.stride + r * g.dilation).wrapping_sub(g.padding.top);
                let column = (column * g.stride + q * g.dilation).wrapping_sub(g.padding.left);
                if row >= g.height || column >= g.width {
                    continue;
                }
                for c in 0..inner {
                    let pixel = (picture * g.height + row) * g.width + column;
                    let value = self.x[pixel * g.channels_in + k / outer * inner + c];
                    let weight = self.weight[(k * inner + c) * g.kernel_height * g.kernel_width + tap];
                    sum += (i32::from(value) - i32::from(x.zero_point)) * i32::from(weight);
                }
            }
            let value = (sum as f32 * (x.scale * self.scales[k] / y.scale)).round_ties_even();
            out.push((value + f32::from(y.zero_point)).clamp(0.0, 255.0) as u8);
        }
        out
    }

    fn got(&self, instructions: InstructionSet, batch: usize) -> Vec<u8> {
        let [x, y] = self.quantizations;
        let bias = Some(&self.bias[..]);
        let convolution =
            Convolution::with_instructions(instructions, &self.g, &self.weight, &self.scales, bias, x, y).unwrap();
        let (x, y) = (self.g.input_length() / self.g.batch, self.g.output_length() / self.g.batch);
        let mut out = vec![85; y * batch];
        convolution.run(batch, &self.x[..x * batch], &mut out).unwrap();
        out
    }

    fn check(&self) {
        let expected = self.expected();
        for instructions in InstructionSet::available() {
            assert!(self.got(instructions, self.g.batch) == expected, "{instructions}: {:?}", self.g);
        }
    }
}

fn dense(batch: usize, channels: [usize; 2], sides: [usize; 2], kernel: usize) -> Geometry {
    Geometry {
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

/// Shapes that nets use, every number of registers and every rest of pixels, and bands that are cut.
fn shapes() -> Vec<Geometry> {
    let mut shapes = vec![
        dense(1, [1, 16], [40, 70], 3),
        dense(2, [16, 16], [33, 65], 3),
        Geometry { stride: 2, padding: Padding::all(3), ..dense(1, [3, 64], [45, 61], 7) },
        Geometry { stride: 2, ..dense(2, [24, 20], [28, 28], 1) },
        dense(2, [256, 70], [25, 25], 1),
        dense(1, [64, 24], [60, 60], 3),
        Geometry { groups: 24, stride: 2, ..dense(2, [24, 24], [31, 17], 5) },
        Geometry { groups: 200, ..dense(1, [200, 200], [9, 130], 3) },
        Geometry { groups: 24, ..dense(2, [24, 48], [11, 17], 3) },
        Geometry { groups: 3, ..dense(2, [27, 33], [31, 17], 3) },
        Geometry { dilation: 3, padding: Padding::all(3), ..dense(1, [10, 12], [20, 23], 3) },
        Geometry { dilation: 2, padding: Padding::all(2), groups: 20, ..dense(1, [20, 20], [20, 23], 3) },
        dense(1, [700, 97], [1, 1], 1),
    ];
    for channels in [16, 31, 48, 57, 150] {
        shapes.extend((1..15).map(|width| dense(1, [8, channels], [2, width], 3)));
    }
    shapes
}

#[test]
fn shapes_that_nets_use() {
    for g in shapes() {
        for (zero_points, least) in [([0, 0], -127), ([121, 128], -128), ([255, 255], -128)] {
            Case::new(g, zero_points, least).check();
        }
    }
}

/// The largest sums of two, four and all products, of either sign: where instructions that saturate would show it.
#[test]
fn the_ends_of_bytes_are_exact() {
    for groups in [1, 32] {
        for (value, weight, zero_point) in
            [(255, -128, 0), (255, 127, 0), (0, -128, 255), (0, 127, 255), (128, -128, 0)]
        {
            let g = Geometry { groups, ..dense(1, [32, 32], [5, 9], 3) };
            let mut case = Case::new(g, [zero_point, 128], -128);
            case.x.fill(value);
            case.weight.fill(weight);
            // So that the largest sum becomes about 127.
            case.scales.fill(127.0 / (9.0 * 32.0 / groups as f32 * 255.0 * 128.0));
            case.check();
        }
    }
}

#[test]
fn neither_threads_nor_pictures_beside_it_change_a_picture() {
    for g in shapes() {
        let case = Case::new(Geometry { batch: 3, ..g }, [7, 30], -128);
        for instructions in InstructionSet::available() {
            let all = case.got(instructions, 3);
            let one = case.got(instructions, 1);
            assert!(all.starts_with(&one), "{instructions}: {g:?}");
            for threads in [1, 7] {
                let pool = rayon::ThreadPoolBuilder::new().num_threads(threads).build().unwrap();
                assert!(pool.install(|| case.got(instructions, 3)) == all, "{instructions}, {threads} threads: {g:?}");
            }
        }
    }
}

#[test]
fn what_contradicts_itself_is_refused() {
    let g = dense(1, [4, 4], [8, 8], 3);
    let q = Quantization { scale: 0.5, zero_point: 3 };
    let refused = |weight: usize, scales: &[f32], bias: usize, x: Quantization| {
        Convolution::new(&g, &vec![0; weight], scales, Some(&vec![0; bias]), x, q).unwrap_err().to_string()
    };
    assert!(refused(145, &[1.0], 4, q).contains("the weight has 145 values, expected 144"));
    assert!(refused(144, &[1.0, 2.0], 4, q).contains("the scales of the weight"));
    assert!(refused(144, &[1.0], 5, q).contains("the bias"));
    assert!(refused(144, &[f32::NAN], 4, q).contains("channel 0 the factor NaN"));
    assert!(refused(144, &[1.0], 4, Quantization { scale: 0.0, zero_point: 0 }).contains("above 0"));
    let convolution = Convolution::new(&g, &[1; 144], &[1.0], None, q, q).unwrap();
    assert!(convolution.run(2, &[0; 256], &mut [0; 512]).unwrap_err().to_string().contains("the input"));
    assert!(convolution.run(1, &[0; 256], &mut [0; 255]).unwrap_err().to_string().contains("the output"));
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(300))]
    #[test]
    fn any_geometry(
        batch in 1usize..3,
        groups in 1usize..4,
        depthwise in any::<bool>(),
        channels in (1usize..9, 1usize..9),
        factor in prop_oneof![Just(1usize), Just(4), Just(11)],
        sides in (1usize..12, 1usize..20),
        kernel in (1usize..6, 1usize..5),
        stride in 1usize..4,
        dilation in 1usize..3,
        padding in (0usize..4, 0usize..4, 0usize..4, 0usize..4),
        zero_points in any::<[u8; 2]>(),
        least in prop_oneof![Just(-127i8), Just(-128)],
    ) {
        let groups = if depthwise { channels.0 * factor } else { groups };
        let [inner, outer] = if depthwise { [1, 1] } else { [channels.0 * factor, channels.1 * factor] };
        let g = Geometry {
            batch,
            channels_in: groups * inner,
            channels_out: groups * outer,
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
        Case::new(g, zero_points, least).check();
    }
}
