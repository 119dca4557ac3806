//! Values and gradients of the operators of `nn`, against three judges that share no code with them: PyTorch in float64
//! (trainer/references/nn_operators.py), finite differences, and convolutions and poolings written out here in f64.
#![allow(clippy::unwrap_used, clippy::panic)]

#[path = "../../tests/references/mod.rs"]
mod references;

use candle_core::{DType, Device, Result, Tensor, Var};
use proptest::prelude::*;
use references::{drawn, load, worst_relative};
use serde::Deserialize;
use thorax_nn::{
    batch_norm::BatchNorm,
    convolution::{
        ConvolutionConfig, Padding, TransposedConfig, convolution, convolution_input_gradient,
        convolution_weight_gradient, transposed_convolution,
    },
    dropout::dropout,
    pool::{PoolConfig, average_pool, max_pool},
    upsample::{bilinear, nearest},
};

/// What the worst relative error (see [`worst_relative`]) may be in f32.
const TOLERANCE: f64 = 1e-4;

fn variable(tensor: &Tensor) -> Var {
    Var::from_tensor(tensor).unwrap()
}

/// The gradients of `sum(y * upstream)`.
fn gradients(y: &Tensor, upstream: &Tensor, variables: &[&Var]) -> Vec<Tensor> {
    let store = (y * upstream).unwrap().sum_all().unwrap().backward().unwrap();
    variables.iter().map(|var| store.get(var).unwrap().clone()).collect()
}

/// An operator with its settings, as the reference file has it.
#[derive(Debug, Deserialize)]
#[serde(tag = "operator", rename_all = "snake_case")]
enum Operator {
    Convolution {
        weight: Vec<usize>,
        stride: usize,
        padding: [usize; 4],
        dilation: usize,
        groups: usize,
    },
    TransposedConvolution {
        weight: Vec<usize>,
        stride: usize,
        padding: usize,
        output_padding: usize,
        dilation: usize,
        groups: usize,
    },
    MaxPool {
        kernel: usize,
        stride: usize,
        padding: usize,
        ceil_mode: bool,
    },
    AveragePool {
        kernel: usize,
        stride: usize,
        padding: usize,
        ceil_mode: bool,
        count_padding: bool,
    },
    Bilinear {
        height: usize,
        width: usize,
        align_corners: bool,
    },
    Nearest {
        height: usize,
        width: usize,
    },
    BatchNorm {
        train: bool,
        relu: bool,
    },
}

#[derive(Debug, Deserialize)]
struct Case {
    x: Vec<usize>,
    #[serde(flatten)]
    operator: Operator,
}

/// `gamma`, `beta` and the moving statistics from their tensors.
fn batch_norm(gamma: &Tensor, beta: &Tensor, mean: &Tensor, variance: &Tensor) -> BatchNorm {
    let norm = BatchNorm::new(gamma.elem_count(), &Device::Cpu).unwrap();
    norm.gamma.set(gamma).unwrap();
    norm.beta.set(beta).unwrap();
    norm.moving_mean.set(mean).unwrap();
    norm.moving_variance.set(variance).unwrap();
    norm
}

impl Case {
    /// Everything that the file holds for this case, computed by us and named as there.
    fn results(&self, index: usize) -> Vec<(String, Tensor)> {
        let x = variable(&drawn(&format!("{index}.x"), &self.x));
        let weight = match &self.operator {
            Operator::Convolution { weight, .. } | Operator::TransposedConvolution { weight, .. } => {
                Some(variable(&drawn(&format!("{index}.weight"), weight)))
            }
            _ => None,
        };
        let mut variables = vec![("x", x.clone())];
        variables.extend(weight.iter().map(|weight| ("weight", weight.clone())));
        let kernel = weight.as_ref().unwrap_or(&x);
        let mut further = vec![];
        let y = match self.operator {
            Operator::Convolution { stride, padding: [top, left, bottom, right], dilation, groups, .. } => {
                let padding = Padding { top, left, bottom, right };
                convolution(&x, kernel, ConvolutionConfig { stride, padding, dilation, groups })
            }
            Operator::TransposedConvolution { stride, padding, output_padding, dilation, groups, .. } => {
                let config = TransposedConfig { stride, padding, output_padding, dilation, groups };
                transposed_convolution(&x, kernel, config)
            }
            Operator::MaxPool { kernel, stride, padding, ceil_mode } => {
                max_pool(&x, PoolConfig { kernel, stride, padding, ceil_mode })
            }
            Operator::AveragePool { kernel, stride, padding, ceil_mode, count_padding } => {
                average_pool(&x, PoolConfig { kernel, stride, padding, ceil_mode }, count_padding)
            }
            Operator::Bilinear { height, width, align_corners } => bilinear(&x, height, width, align_corners),
            Operator::Nearest { height, width } => nearest(&x, height, width),
            Operator::BatchNorm { train, relu } => {
                let vector = |name: &str| drawn(&format!("{index}.{name}"), &self.x[1..2]);
                let variance = (vector("moving_variance") * 0.5).unwrap() + 1.0;
                let norm = batch_norm(&vector("gamma"), &vector("beta"), &vector("moving_mean"), &variance.unwrap());
                variables.extend([("gamma", norm.gamma.clone()), ("beta", norm.beta.clone())]);
                if train {
                    let y = norm.train(&x, relu);
                    further.push(("moving_mean".into(), norm.moving_mean.as_detached_tensor()));
                    further.push(("moving_variance".into(), norm.moving_variance.as_detached_tensor()));
                    y
                } else {
                    norm.infer(&x, relu)
                }
            }
        }
        .unwrap_or_else(|error| panic!("case {index}, {self:?}: {error}"));
        let upstream = drawn(&format!("{index}.upstream"), y.dims());
        let found = gradients(&y, &upstream, &variables.iter().map(|(_, var)| var).collect::<Vec<_>>());
        further.push(("y".into(), y));
        let names = variables.iter().map(|(name, _)| format!("gradient.{name}"));
        further.extend(names.zip(found));
        further
    }
}

#[test]
fn values_and_gradients_equal_pytorchs() {
    let (expected, metadata) = load("nn_operators.safetensors");
    let cases: Vec<Case> = serde_json::from_str(&metadata["cases"]).unwrap();
    assert!(cases.len() >= 72);
    let (mut compared, mut wrong, mut worst) = (0, vec![], (0.0, String::new()));
    for (index, case) in cases.iter().enumerate() {
        for (name, got) in case.results(index) {
            let expected = &expected[&format!("{index}.{name}")];
            let error = if got.dims() == expected.dims() { worst_relative(&got, expected) } else { f64::INFINITY };
            let line = format!("case {index}, {name}: {error:.1e} {case:?}, {:?} {:?}", got.dims(), expected.dims());
            if error > worst.0 {
                worst = (error, line.clone());
            }
            if error > TOLERANCE {
                wrong.push(line);
            }
            compared += 1;
        }
    }
    eprintln!("{compared} tensors of {} cases; the worst: {}", cases.len(), worst.1);
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
    assert_eq!(compared, expected.len(), "every tensor of the file was compared");
}

/// The gradient of `sum(f(x) * upstream)` by five-point central differences, one value of `x` after another. The sum is
/// taken in f64, so what remains of rounding is that of `f` itself.
fn finite_differences(f: &dyn Fn(&Tensor) -> Result<Tensor>, x: &Tensor, upstream: &Tensor, step: f32) -> Tensor {
    let values = x.flatten_all().unwrap().to_vec1::<f32>().unwrap();
    let upstream: Vec<f32> = upstream.flatten_all().unwrap().to_vec1().unwrap();
    let at = |place: usize, offset: f32| -> f64 {
        let mut moved = values.clone();
        moved[place] += offset;
        let y = f(&Tensor::from_vec(moved, x.shape(), &Device::Cpu).unwrap()).unwrap();
        let y: Vec<f32> = y.flatten_all().unwrap().to_vec1().unwrap();
        y.iter().zip(&upstream).map(|(y, u)| f64::from(*y) * f64::from(*u)).sum()
    };
    let slopes: Vec<f32> = (0..values.len())
        .map(|place| {
            let [before2, before, after, after2] = [-2.0, -1.0, 1.0, 2.0].map(|factor| at(place, factor * step));
            ((before2 - 8.0 * before + 8.0 * after - after2) / (12.0 * f64::from(step))) as f32
        })
        .collect();
    Tensor::from_vec(slopes, x.shape(), &Device::Cpu).unwrap()
}

/// Compares both gradients of `f`, each in its own right.
fn check_slopes(name: &str, f: impl Fn(&[Tensor]) -> Result<Tensor>, inputs: &[Tensor], step: f32) {
    let variables: Vec<Var> = inputs.iter().map(variable).collect();
    let y = f(&variables.iter().map(|var| var.as_tensor().clone()).collect::<Vec<_>>()).unwrap();
    let upstream = drawn(name, y.dims());
    let found = gradients(&y, &upstream, &variables.iter().collect::<Vec<_>>());
    for (position, (input, found)) in inputs.iter().zip(found).enumerate() {
        let one = |x: &Tensor| {
            let mut moved = inputs.to_vec();
            moved[position] = x.clone();
            f(&moved)
        };
        let error = worst_relative(&found, &finite_differences(&one, input, &upstream, step));
        eprintln!("{name}, input {position}: {error:.1e}");
        assert!(error <= TOLERANCE, "{name}, input {position}: {error:.1e}");
    }
}

/// Linear operators have no error of the step's width, so the step may be wide.
#[test]
fn gradients_of_linear_operators_equal_finite_differences() {
    const STEP: f32 = 0.25;
    let x = |shape: [usize; 4]| drawn("x", &shape);
    let weight = |shape: [usize; 4]| drawn("weight", &shape);
    let padding = Padding { top: 0, left: 1, bottom: 2, right: 1 };
    for (name, x_shape, weight_shape, config) in [
        ("dense", [2, 3, 5, 7], [2, 3, 3, 3], ConvolutionConfig::dense(3)),
        ("strided", [1, 2, 7, 6], [3, 2, 3, 3], ConvolutionConfig { stride: 2, padding, dilation: 1, groups: 1 }),
        ("dilated", [1, 2, 7, 9], [2, 2, 3, 3], ConvolutionConfig { stride: 1, padding, dilation: 2, groups: 1 }),
        ("grouped", [1, 4, 5, 6], [6, 2, 3, 3], ConvolutionConfig { stride: 1, padding, dilation: 1, groups: 2 }),
        ("depthwise", [2, 3, 6, 7], [3, 1, 5, 5], ConvolutionConfig { stride: 2, padding, dilation: 1, groups: 3 }),
        ("multiplied", [1, 2, 5, 6], [4, 1, 3, 3], ConvolutionConfig { stride: 1, padding, dilation: 1, groups: 2 }),
    ] {
        check_slopes(name, |i| convolution(&i[0], &i[1], config), &[x(x_shape), weight(weight_shape)], STEP);
    }
    for (name, weight_shape, config) in [
        (
            "transposed",
            [4, 2, 3, 3],
            TransposedConfig { stride: 2, padding: 1, output_padding: 1, dilation: 1, groups: 1 },
        ),
        (
            "transposed, dilated, grouped",
            [4, 3, 2, 2],
            TransposedConfig { stride: 3, padding: 1, output_padding: 0, dilation: 2, groups: 2 },
        ),
    ] {
        let inputs = [x([2, 4, 3, 4]), weight(weight_shape)];
        check_slopes(name, |i| transposed_convolution(&i[0], &i[1], config), &inputs, STEP);
    }
    let pool = PoolConfig { kernel: 3, stride: 2, padding: 1, ceil_mode: true };
    for count_padding in [false, true] {
        check_slopes("average pool", |i| average_pool(&i[0], pool, count_padding), &[x([2, 2, 6, 7])], STEP);
    }
    for align_corners in [false, true] {
        check_slopes("bilinear", |i| bilinear(&i[0], 7, 3, align_corners), &[x([2, 2, 4, 5])], STEP);
    }
    check_slopes("nearest", |i| nearest(&i[0], 7, 3), &[x([2, 2, 4, 5])], STEP);
    check_slopes("dropout", |i| dropout(&i[0], 0.4, 7), &[x([2, 2, 4, 5])], STEP);
}

/// Values a tenth apart in drawn order: a step of a hundredth changes no winner.
#[test]
fn gradient_of_max_pool_equals_finite_differences() {
    let shape = [2, 2, 6, 7];
    let order: Vec<f32> = drawn("order", &shape).flatten_all().unwrap().to_vec1().unwrap();
    let ranks = order.iter().map(|v| order.iter().filter(|other| *other < v).count() as f32 / 10.0);
    let x = Tensor::from_vec(ranks.collect::<Vec<f32>>(), shape.as_slice(), &Device::Cpu).unwrap();
    for (kernel, stride, padding, ceil_mode) in [(2, 2, 0, true), (3, 2, 1, false), (3, 1, 1, false)] {
        let config = PoolConfig { kernel, stride, padding, ceil_mode };
        check_slopes("max pool", |i| max_pool(&i[0], config), std::slice::from_ref(&x), 0.02);
    }
}

/// The step is narrow enough for the fifth derivative, wide enough for f32; with ReLU, the inputs are the first drawn ones
/// whose outputs stay on their side of 0 at every step.
#[test]
fn gradients_of_batch_norm_equal_finite_differences() {
    const STEP: f32 = 1.0 / 64.0;
    let shape = [2, 2, 3, 4];
    let train = |i: &[Tensor], relu: bool| {
        let norm = BatchNorm::new(2, &Device::Cpu)?;
        // Gradients reach gamma and beta through the operator's own variables, which are what is checked here.
        norm.gamma.set(&i[1])?;
        norm.beta.set(&i[2])?;
        norm.train(&i[0], relu).map(|y| (y, norm))
    };
    for relu in [false, true] {
        let inputs = (0..1000)
            .map(|draw| {
                let gamma = (drawn(&format!("{draw}.gamma"), &[2]) + 1.5).unwrap();
                [drawn(&format!("{draw}.x"), &shape), gamma, drawn(&format!("{draw}.beta"), &[2])]
            })
            .find(|inputs| {
                let y: Vec<f32> = train(inputs, false).unwrap().0.flatten_all().unwrap().to_vec1().unwrap();
                !relu || y.iter().all(|y| y.abs() > 0.15)
            })
            .unwrap();
        let x = variable(&inputs[0]);
        let (y, norm) = train(&[x.as_tensor().clone(), inputs[1].clone(), inputs[2].clone()], relu).unwrap();
        let upstream = drawn("batch norm", y.dims());
        let found = gradients(&y, &upstream, &[&x, &norm.gamma, &norm.beta]);
        for (position, found) in found.iter().enumerate() {
            let one = |moved: &Tensor| {
                let mut all = inputs.clone();
                all[position] = moved.clone();
                train(&all, relu).map(|(y, _)| y)
            };
            let error = worst_relative(found, &finite_differences(&one, &inputs[position], &upstream, STEP));
            eprintln!("batch norm, ReLU {relu}, input {position}: {error:.1e}");
            assert!(error <= TOLERANCE, "batch norm, ReLU {relu}, input {position}: {error:.1e}");
        }
    }
}

/// The sum that a convolution is: calls `visit` with the places in `x`, `weight` and `y` of each product.
fn products(x: &[usize], weight: &[usize], config: ConvolutionConfig, mut visit: impl FnMut(usize, usize, usize)) {
    let ConvolutionConfig { stride, padding, dilation, groups } = config;
    let [height, width] = output_sides(x, weight, config);
    let (channels_in, channels_out) = (weight[1], weight[0] / groups);
    for n in 0..x[0] {
        for o in 0..weight[0] {
            for i in 0..channels_in {
                let channel = o / channels_out * channels_in + i;
                for (r, c) in (0..height).flat_map(|r| (0..width).map(move |c| (r, c))) {
                    let y = ((n * weight[0] + o) * height + r) * width + c;
                    for (kr, kc) in (0..weight[2]).flat_map(|kr| (0..weight[3]).map(move |kc| (kr, kc))) {
                        let row = (r * stride + kr * dilation).wrapping_sub(padding.top);
                        let column = (c * stride + kc * dilation).wrapping_sub(padding.left);
                        if row < x[2] && column < x[3] {
                            let from = ((n * x[1] + channel) * x[2] + row) * x[3] + column;
                            visit(from, ((o * channels_in + i) * weight[2] + kr) * weight[3] + kc, y);
                        }
                    }
                }
            }
        }
    }
}

fn output_sides(x: &[usize], weight: &[usize], config: ConvolutionConfig) -> [usize; 2] {
    let p = config.padding;
    let side = |size: usize, kernel: usize| (size - (kernel - 1) * config.dilation - 1) / config.stride + 1;
    [side(x[2] + p.top + p.bottom, weight[2]), side(x[3] + p.left + p.right, weight[3])]
}

fn in_f64(tensor: &Tensor) -> Vec<f64> {
    tensor.flatten_all().unwrap().to_dtype(DType::F64).unwrap().to_vec1().unwrap()
}

fn in_f32(values: &[f64], shape: &[usize]) -> Tensor {
    Tensor::from_slice(values, shape, &Device::Cpu).unwrap().to_dtype(DType::F32).unwrap()
}

/// Worst relative errors of value, input gradient and weight gradient.
fn convolution_errors(x_shape: &[usize], weight_shape: &[usize], config: ConvolutionConfig) -> [f64; 3] {
    let (x, weight) = (variable(&drawn("x", x_shape)), variable(&drawn("weight", weight_shape)));
    let y = convolution(&x, &weight, config).unwrap();
    let [height, width] = output_sides(x_shape, weight_shape, config);
    assert_eq!(y.dims(), [x_shape[0], weight_shape[0], height, width]);
    let upstream = drawn("upstream", y.dims());
    let found = gradients(&y, &upstream, &[&x, &weight]);
    // The functions that stand alone are the same computation.
    let alone = [
        convolution_input_gradient(&weight, &upstream, x.shape(), config).unwrap(),
        convolution_weight_gradient(&x, &upstream, weight.shape(), config).unwrap(),
    ];
    for (alone, found) in alone.iter().zip(&found) {
        assert!(worst_relative(alone, found) < 1e-6);
    }
    let (x, weight, dy) = (in_f64(&x), in_f64(&weight), in_f64(&upstream));
    let (mut value, mut dx, mut dw) = (vec![0.0; dy.len()], vec![0.0; x.len()], vec![0.0; weight.len()]);
    products(x_shape, weight_shape, config, |i, w, o| {
        value[o] += x[i] * weight[w];
        dx[i] += dy[o] * weight[w];
        dw[w] += dy[o] * x[i];
    });
    [
        worst_relative(&y, &in_f32(&value, y.dims())),
        worst_relative(&found[0], &in_f32(&dx, x_shape)),
        worst_relative(&found[1], &in_f32(&dw, weight_shape)),
    ]
}

/// A transposed convolution is the input gradient of the convolution that has its output for input.
fn transposed_errors(x_shape: &[usize], weight_shape: &[usize], config: TransposedConfig) -> [f64; 3] {
    let TransposedConfig { stride, padding, output_padding, dilation, groups } = config;
    let side =
        |size: usize, kernel: usize| (size - 1) * stride + (kernel - 1) * dilation + 1 + output_padding - 2 * padding;
    let shape =
        [x_shape[0], weight_shape[1] * groups, side(x_shape[2], weight_shape[2]), side(x_shape[3], weight_shape[3])];
    let (x, weight) = (variable(&drawn("x", x_shape)), variable(&drawn("weight", weight_shape)));
    let y = transposed_convolution(&x, &weight, config).unwrap();
    assert_eq!(y.dims(), shape);
    let upstream = drawn("upstream", y.dims());
    let found = gradients(&y, &upstream, &[&x, &weight]);
    let forward = ConvolutionConfig { stride, padding: Padding::all(padding), dilation, groups };
    let (x, weight, dy) = (in_f64(&x), in_f64(&weight), in_f64(&upstream));
    let (mut value, mut dx, mut dw) = (vec![0.0; dy.len()], vec![0.0; x.len()], vec![0.0; weight.len()]);
    assert_eq!(output_sides(&shape, weight_shape, forward), [x_shape[2], x_shape[3]], "{config:?}");
    products(&shape, weight_shape, forward, |o, w, i| {
        value[o] += x[i] * weight[w];
        dx[i] += dy[o] * weight[w];
        dw[w] += dy[o] * x[i];
    });
    [
        worst_relative(&y, &in_f32(&value, y.dims())),
        worst_relative(&found[0], &in_f32(&dx, x_shape)),
        worst_relative(&found[1], &in_f32(&dw, weight_shape)),
    ]
}

/// Worst relative errors of value and gradient.
fn pool_errors(shape: &[usize], config: PoolConfig, average: Option<bool>) -> [f64; 2] {
    let PoolConfig { kernel, stride, padding, ceil_mode } = config;
    let x = variable(&drawn("x", shape));
    let y = match average {
        None => max_pool(&x, config),
        Some(count_padding) => average_pool(&x, config, count_padding),
    }
    .unwrap();
    let side = |size: usize| {
        let room = size + 2 * padding - kernel;
        let side = if ceil_mode { room.div_ceil(stride) } else { room / stride } + 1;
        // As in PyTorch, no window begins in the padding below or right.
        if (side - 1) * stride >= size + padding { side - 1 } else { side }
    };
    let (height, width) = (side(shape[2]), side(shape[3]));
    assert_eq!(y.dims(), [shape[0], shape[1], height, width]);
    let upstream = drawn("upstream", y.dims());
    let found = gradients(&y, &upstream, &[&x]);
    let (x, dy) = (in_f64(&x), in_f64(&upstream));
    let (mut value, mut dx) = (vec![0.0; dy.len()], vec![0.0; x.len()]);
    for place in 0..dy.len() {
        let (plane, r, c) = (place / (height * width), place / width % height, place % width);
        // From and to, inside the picture, and how many rows or columns of zeros around it belong to the window.
        let span = |at: usize, size: usize| {
            let (from, to) = (at * stride, (at * stride + kernel).min(size + 2 * padding));
            (from.max(padding) - padding, (to - padding).min(size), to - from)
        };
        let ((top, bottom, rows), (left, right, columns)) = (span(r, shape[2]), span(c, shape[3]));
        let window = (top..bottom).flat_map(|r| (left..right).map(move |c| (plane * shape[2] + r) * shape[3] + c));
        if let Some(count_padding) = average {
            let count = if count_padding { rows * columns } else { window.clone().count() } as f64;
            value[place] = window.clone().map(|i| x[i]).sum::<f64>() / count;
            window.for_each(|i| dx[i] += dy[place] / count);
        } else {
            let largest = window.max_by(|&a, &b| x[a].total_cmp(&x[b])).unwrap();
            value[place] = x[largest];
            dx[largest] += dy[place];
        }
    }
    [worst_relative(&y, &in_f32(&value, y.dims())), worst_relative(&found[0], &in_f32(&dx, shape))]
}

/// Shapes large enough for every blocked path.
#[test]
fn large_convolutions_equal_the_written_out_sum() {
    let config = |stride, padding, dilation, groups| ConvolutionConfig {
        stride,
        padding: Padding::all(padding),
        dilation,
        groups,
    };
    for (x, weight, config) in [
        ([2, 32, 40, 70], [32, 32, 3, 3], config(1, 1, 1, 1)),
        ([1, 3, 70, 90], [24, 3, 7, 7], config(2, 3, 1, 1)),
        ([2, 40, 33, 31], [56, 40, 3, 3], config(2, 1, 1, 1)),
        ([1, 24, 40, 45], [20, 24, 3, 3], config(1, 2, 2, 1)),
        ([2, 70, 19, 37], [90, 70, 1, 1], config(1, 0, 1, 1)),
        ([2, 64, 20, 22], [96, 64, 1, 1], config(2, 0, 1, 1)),
        ([1, 1, 64, 100], [16, 1, 3, 3], config(1, 1, 1, 1)),
        ([1, 16, 64, 100], [1, 16, 3, 3], config(1, 1, 1, 1)),
        ([2, 32, 24, 41], [48, 8, 3, 3], config(1, 1, 1, 4)),
        ([2, 48, 40, 70], [48, 1, 3, 3], config(1, 1, 1, 48)),
        ([2, 48, 40, 70], [48, 1, 5, 5], config(2, 2, 1, 48)),
        ([1, 256, 7, 7], [130, 256, 3, 3], config(1, 1, 1, 1)),
    ] {
        let errors = convolution_errors(&x, &weight, config);
        let worst = errors.iter().copied().fold(0.0, f64::max);
        eprintln!("{x:?} {weight:?} {config:?}: {worst:.1e}");
        assert!(errors.iter().all(|&error| error <= TOLERANCE), "{x:?} {weight:?} {config:?}: {errors:?}");
    }
    for (x, weight, config) in [
        (
            [2, 64, 20, 35],
            [64, 32, 2, 2],
            TransposedConfig { stride: 2, padding: 0, output_padding: 0, dilation: 1, groups: 1 },
        ),
        (
            [1, 40, 17, 33],
            [40, 12, 3, 3],
            TransposedConfig { stride: 2, padding: 1, output_padding: 1, dilation: 1, groups: 2 },
        ),
    ] {
        let errors = transposed_errors(&x, &weight, config);
        assert!(errors.iter().all(|&error| error <= TOLERANCE), "{x:?} {weight:?} {config:?}: {errors:?}");
    }
}

#[test]
fn large_poolings_equal_the_written_out_windows() {
    for (kernel, stride, padding, ceil_mode) in [(2, 2, 0, false), (3, 2, 1, false), (3, 2, 0, true), (5, 1, 2, false)]
    {
        let config = PoolConfig { kernel, stride, padding, ceil_mode };
        for average in [None, Some(false), Some(true)] {
            let errors = pool_errors(&[2, 24, 57, 83], config, average);
            assert!(errors.iter().all(|&error| error <= TOLERANCE), "{config:?} {average:?}: {errors:?}");
        }
    }
}

#[test]
fn dropout_keeps_its_share_and_scales_what_it_keeps() {
    let x = Tensor::ones((3, 4, 50, 60), DType::F32, &Device::Cpu).unwrap();
    let draw = |seed| -> Vec<f32> { dropout(&x, 0.3, seed).unwrap().flatten_all().unwrap().to_vec1().unwrap() };
    let values = draw(1);
    assert!(values.iter().all(|&v| v == 0.0 || (v - 1.0 / 0.7).abs() < 1e-6));
    let kept = values.iter().filter(|&&v| v != 0.0).count() as f64 / values.len() as f64;
    // Five standard deviations of 36000 draws.
    assert!((kept - 0.7).abs() < 5.0 * (0.21f64 / 36_000.0).sqrt(), "{kept}");
    assert_eq!(values, draw(1));
    assert_ne!(values, draw(2));
    let same: Vec<f32> = dropout(&x, 0.0, 1).unwrap().flatten_all().unwrap().to_vec1().unwrap();
    assert!(same.iter().all(|&v| v == 1.0));
}

/// Batch, channels in and out of a group, groups, height, width, kernel, stride, dilation, four paddings.
fn geometry() -> impl Strategy<Value = ([usize; 4], [usize; 4], ConvolutionConfig)> {
    let sizes = (1..3usize, 1..6usize, 1..6usize, 1..4usize, 1..20usize, 1..40usize);
    let kernel = (1..6usize, 1..6usize, 1..4usize, 1..4usize, [0..4usize, 0..4usize, 0..4usize, 0..4usize]);
    (sizes, kernel)
        .prop_map(|((n, channels_in, channels_out, groups, h, w), (kh, kw, stride, dilation, pads))| {
            let [top, left, bottom, right] = pads;
            let config = ConvolutionConfig { stride, padding: Padding { top, left, bottom, right }, dilation, groups };
            ([n, channels_in * groups, h, w], [channels_out * groups, channels_in, kh, kw], config)
        })
        .prop_filter("the kernel fits", |(x, weight, c)| {
            let p = c.padding;
            (weight[2] - 1) * c.dilation < x[2] + p.top + p.bottom
                && (weight[3] - 1) * c.dilation < x[3] + p.left + p.right
        })
}

proptest! {
    // proptest looks for lib.rs to keep its findings beside, which a test of its own does not have.
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn any_convolution_equals_the_written_out_sum((x, weight, config) in geometry()) {
        for error in convolution_errors(&x, &weight, config) {
            prop_assert!(error <= TOLERANCE, "{error}");
        }
    }

    #[test]
    fn any_transposed_convolution_equals_the_written_out_sum(
        (n, channels_in, channels_out, groups, h, w) in (1..3usize, 1..5usize, 1..5usize, 1..4usize, 1..9usize, 1..20usize),
        (kernel, stride, dilation, padding, output_padding) in (1..6usize, 1..4usize, 1..3usize, 0..3usize, 0..3usize),
    ) {
        let reach = (kernel - 1) * dilation;
        // The output must exist, and PyTorch's rule for the extra rows holds.
        prop_assume!(2 * padding <= reach && output_padding < stride.max(dilation));
        // Extra rows beyond the stride would belong to a further input pixel of the convolution it is the gradient of.
        prop_assume!(output_padding < stride);
        let config = TransposedConfig { stride, padding, output_padding, dilation, groups };
        let weight = [channels_in * groups, channels_out, kernel, kernel];
        for error in transposed_errors(&[n, channels_in * groups, h, w], &weight, config) {
            prop_assert!(error <= TOLERANCE, "{error}");
        }
    }

    #[test]
    fn any_pooling_equals_the_written_out_windows(
        (n, channels, h, w) in (1..3usize, 1..4usize, 1..16usize, 1..40usize),
        (kernel, stride, padding, ceil_mode) in (1..6usize, 1..5usize, 0..3usize, any::<bool>()),
        average in proptest::option::of(any::<bool>()),
    ) {
        // PyTorch's own condition: at most half a window of padding.
        prop_assume!(2 * padding <= kernel && h + 2 * padding >= kernel && w + 2 * padding >= kernel);
        let config = PoolConfig { kernel, stride, padding, ceil_mode };
        for error in pool_errors(&[n, channels, h, w], config, average) {
            prop_assert!(error <= TOLERANCE, "{error}");
        }
    }
}
