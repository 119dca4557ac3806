//! What can be checked of cuDNN without a GPU, its description of shapes and types; and, on a GPU, every operator
//! against the CPU's.
//!
//! Tests that lack a library or a GPU say so and pass.
#![allow(clippy::unwrap_used, unsafe_code)]

use std::cell::RefCell;

use candle_core::{DType, Device, Result, Tensor, Var};
use cudarc::cudnn::sys;
use thorax_kernels::convolution::Convolution as Geometry;
use thorax_wanted::{Kind, found};

use super::{
    super::{
        batch_norm::BatchNorm,
        convolution::{ConvolutionConfig, Padding, TransposedConfig, convolution, transposed_convolution},
        detection::{
            BoundingBox,
            group_norm::group_norm,
            roi_align::{RoiAlignConfig, roi_align},
        },
        pool::{PoolConfig, average_pool, max_pool},
        seeded,
    },
    convolution::{input_shape, output_shape, weight_shape},
    handle::{ConvolutionDescriptor, FilterDescriptor, PoolingDescriptor, TensorDescriptor},
    pool::{PoolGeometry, PoolKind, mode},
};

/// cuDNN describes shapes without a driver; is it there?
fn cudnn_is_there() -> bool {
    found(Kind::Gpu, super::library::require(&super::library::FOR_TRAINING[5..])).is_some()
}

/// Sizes with odd remainders, groups and dilation.
fn geometries() -> Vec<Geometry> {
    let base = Geometry {
        batch: 2,
        channels_in: 4,
        channels_out: 6,
        height: 13,
        width: 10,
        kernel_height: 3,
        kernel_width: 3,
        stride: 1,
        dilation: 1,
        padding: Padding::all(1),
        groups: 1,
    };
    let flat = Padding { top: 2, bottom: 2, ..Padding::default() };
    vec![
        base,
        Geometry { kernel_height: 1, kernel_width: 1, padding: Padding::default(), ..base },
        Geometry { stride: 2, ..base },
        Geometry { stride: 3, kernel_height: 5, kernel_width: 5, padding: flat, ..base },
        Geometry { dilation: 2, padding: Padding::all(2), ..base },
        Geometry { groups: 2, ..base },
        Geometry { groups: 4, channels_out: 4, stride: 2, ..base },
    ]
}

#[test]
fn cudnn_computes_the_shapes_that_we_compute() {
    if !cudnn_is_there() {
        return;
    }
    for kind in [DType::F32, DType::BF16, DType::F16] {
        for geometry in geometries() {
            let input = TensorDescriptor::new(kind, input_shape(&geometry)).unwrap();
            let weight = FilterDescriptor::new(kind, weight_shape(&geometry)).unwrap();
            let convolution = ConvolutionDescriptor::new(
                [geometry.padding.top, geometry.padding.left],
                geometry.stride,
                geometry.dilation,
                geometry.groups,
            )
            .unwrap();
            let mut shape = [0; 4];
            let [n, c, h, w] = &mut shape;
            // SAFETY: the descriptors live, and the four numbers are written.
            unsafe {
                sys::cudnnGetConvolution2dForwardOutputDim(convolution.raw(), input.raw(), weight.raw(), n, c, h, w)
            }
            .result()
            .unwrap();
            assert_eq!(shape.map(|length| length as usize), output_shape(&geometry), "{kind:?} {geometry:?}");
        }
    }
}

#[test]
fn cudnn_pools_to_the_shapes_that_we_compute() {
    if !cudnn_is_there() {
        return;
    }
    for kind in [PoolKind::Max, PoolKind::AverageWithPadding, PoolKind::AverageWithoutPadding] {
        for (kernel, stride, padding) in [(2, 2, 0), (3, 2, 1), (3, 1, 1), (5, 3, 2)] {
            let geometry = PoolGeometry { kind, kernel, stride, padding };
            let input = TensorDescriptor::new(DType::BF16, [2, 3, 17, 12]).unwrap();
            let pooling = PoolingDescriptor::new(mode(kind), kernel, padding, stride).unwrap();
            let mut shape = [0; 4];
            let [n, c, h, w] = &mut shape;
            // SAFETY: the descriptors live, and the four numbers are written.
            unsafe { sys::cudnnGetPooling2dForwardOutputDim(pooling.raw(), input.raw(), n, c, h, w) }.result().unwrap();
            let ours = [2, 3, geometry.length_out(17), geometry.length_out(12)];
            assert_eq!(shape.map(|length| length as usize), ours, "{geometry:?}");
        }
    }
}

#[test]
fn cudnn_wants_f32_statistics_for_every_type_of_activation() {
    if !cudnn_is_there() {
        return;
    }
    for kind in [DType::F32, DType::BF16, DType::F16] {
        let activations = TensorDescriptor::new(kind, [2, 5, 7, 3]).unwrap();
        let derived = TensorDescriptor::new(DType::F16, [1; 4]).unwrap();
        let mut described = sys::cudnnDataType_t::CUDNN_DATA_INT8;
        let mut numbers = [0; 8];
        let [n, c, h, w, n_step, c_step, h_step, w_step] = &mut numbers;
        // SAFETY: the descriptors live, and type and eight numbers are written.
        unsafe {
            sys::cudnnDeriveBNTensorDescriptor(
                derived.raw(),
                activations.raw(),
                sys::cudnnBatchNormMode_t::CUDNN_BATCHNORM_SPATIAL,
            )
            .result()
            .unwrap();
            sys::cudnnGetTensor4dDescriptor(derived.raw(), &mut described, n, c, h, w, n_step, c_step, h_step, w_step)
                .result()
                .unwrap();
        }
        assert_eq!(described, sys::cudnnDataType_t::CUDNN_DATA_FLOAT, "{kind:?}");
        assert_eq!(numbers[..4], [1, 5, 1, 1], "{kind:?}");
    }
}

#[test]
fn sizes_that_cudnn_cannot_count_are_errors() {
    if !cudnn_is_there() {
        return;
    }
    let message = TensorDescriptor::new(DType::F32, [1, 1, 1, 1 << 40]).err().unwrap().to_string();
    assert!(message.contains("too large"), "{message}");
    let message = TensorDescriptor::new(DType::U8, [1; 4]).err().unwrap().to_string();
    assert!(message.contains("f32, bf16 or f16"), "{message}");
}

/// The first GPU, computing f32 without TF32.
fn gpu() -> Option<Device> {
    let device = found(Kind::Gpu, super::device(0))?;
    super::allow_tf32(false);
    Some(device)
}

/// The largest difference between a GPU's and the CPU's tensor, by the largest value.
fn relative_difference(gpu: &Tensor, cpu: &Tensor) -> f32 {
    let gpu = gpu.to_device(&Device::Cpu).unwrap().to_dtype(DType::F32).unwrap();
    assert_eq!(gpu.dims(), cpu.dims());
    let largest = |x: &Tensor| x.abs().unwrap().flatten_all().unwrap().max(0).unwrap().to_scalar::<f32>().unwrap();
    largest(&(gpu - cpu).unwrap()) / largest(cpu).max(1e-3)
}

/// Value and gradients of `operator` on the GPU, in each precision, against the CPU's in f32 on the same numbers.
///
/// `master` inputs stay f32 in every precision, as the scale of a batch norm does.
fn agree(
    case: &str,
    gpu: &Device,
    inputs: &[Tensor],
    master: &[Tensor],
    operator: impl Fn(&[Var], &[Var]) -> Result<Tensor>,
) {
    agree_in(&[(DType::F32, 1e-4), (DType::BF16, 3e-2), (DType::F16, 4e-3)], case, gpu, inputs, master, operator);
}

/// The same in these precisions, each with what it may be off by.
fn agree_in(
    precisions: &[(DType, f32)],
    case: &str,
    gpu: &Device,
    inputs: &[Tensor],
    master: &[Tensor],
    operator: impl Fn(&[Var], &[Var]) -> Result<Tensor>,
) {
    for &(kind, tolerance) in precisions {
        // Rounded first, so that both begin with the same numbers.
        let rounded = |x: &Tensor| x.to_dtype(kind).unwrap().to_dtype(DType::F32).unwrap();
        let run = |device: &Device, kind: DType| {
            let var = |x: &Tensor, kind| {
                Var::from_tensor(&rounded(x).to_device(device).unwrap().to_dtype(kind).unwrap()).unwrap()
            };
            let inputs: Vec<Var> = inputs.iter().map(|x| var(x, kind)).collect();
            let master: Vec<Var> = master.iter().map(|x| var(x, DType::F32)).collect();
            let y = operator(&inputs, &master).unwrap();
            // A weighted sum, so that no two pixels pull alike.
            let pull = rounded(&seeded::normal(y.dims(), 1.0, 99, &Device::Cpu).unwrap());
            let pull = pull.to_device(device).unwrap().to_dtype(kind).unwrap();
            let gradients = (&y * pull).unwrap().to_dtype(DType::F32).unwrap().sum_all().unwrap().backward().unwrap();
            let gradient = |var: &Var| gradients.get(var).unwrap().clone();
            let gradients = inputs.iter().chain(&master).map(gradient).collect::<Vec<_>>();
            (y, gradients)
        };
        let (expected, expected_gradients) = run(&Device::Cpu, DType::F32);
        let (y, gradients) = run(gpu, kind);
        assert_eq!(y.dtype(), kind, "{case}");
        let difference = relative_difference(&y, &expected);
        assert!(difference < tolerance, "{case}, {kind:?}: the value is off by {difference}");
        for (index, (got, expected)) in gradients.iter().zip(&expected_gradients).enumerate() {
            let difference = relative_difference(got, expected);
            assert!(difference < tolerance, "{case}, {kind:?}: gradient {index} is off by {difference}");
        }
    }
}

fn drawn(shape: &[usize], seed: u64) -> Tensor {
    seeded::normal(shape, 1.0, seed, &Device::Cpu).unwrap()
}

#[test]
fn convolutions_are_the_cpus() {
    let Some(gpu) = gpu() else { return };
    let uneven = Padding { top: 0, left: 1, bottom: 2, right: 1 };
    for (channels_in, channels_out, kernel, stride, padding, dilation, groups) in [
        (4, 6, 3, 1, Padding::all(1), 1, 1),
        (4, 6, 1, 1, Padding::all(0), 1, 1),
        (3, 2, 3, 2, uneven, 1, 1),
        (2, 3, 5, 3, Padding::all(2), 1, 1),
        (4, 4, 3, 1, Padding::all(2), 2, 2),
        (6, 6, 3, 2, Padding::all(1), 1, 6),
        (5, 10, 5, 1, uneven, 1, 5),
    ] {
        let config = ConvolutionConfig { stride, padding, dilation, groups };
        let inputs =
            [drawn(&[2, channels_in, 13, 10], 1), drawn(&[channels_out, channels_in / groups, kernel, kernel], 2)];
        agree(&format!("{config:?}"), &gpu, &inputs, &[], |inputs, _| convolution(&inputs[0], &inputs[1], config));
    }
}

#[test]
fn transposed_convolutions_are_the_cpus() {
    let Some(gpu) = gpu() else { return };
    for (kernel, stride, padding, output_padding, dilation, groups) in
        [(2, 2, 0, 0, 1, 1), (3, 2, 1, 1, 1, 1), (4, 3, 1, 2, 1, 2), (3, 1, 1, 0, 2, 1)]
    {
        let config = TransposedConfig { stride, padding, output_padding, dilation, groups };
        let inputs = [drawn(&[2, 4, 7, 5], 3), drawn(&[4, 6 / groups, kernel, kernel], 4)];
        agree(&format!("{config:?}"), &gpu, &inputs, &[], |inputs, _| {
            transposed_convolution(&inputs[0], &inputs[1], config)
        });
    }
}

#[test]
fn pooling_is_the_cpus() {
    let Some(gpu) = gpu() else { return };
    for (kernel, stride, padding, ceil_mode) in
        [(2, 2, 0, false), (2, 2, 0, true), (3, 2, 1, false), (3, 2, 1, true), (3, 1, 1, false), (5, 3, 2, true)]
    {
        let config = PoolConfig { kernel, stride, padding, ceil_mode };
        // Distinct values, that stay distinct in bf16: which of equal ones gets the gradient is cuDNN's own choice.
        let x: Vec<f32> = (0..2 * 3 * 13 * 8).map(|i| (i * 389 % 256) as f32 - 128.0).collect();
        let x = Tensor::from_vec(x, (2, 3, 13, 8), &Device::Cpu).unwrap();
        agree(&format!("max {config:?}"), &gpu, &[x], &[], |inputs, _| max_pool(&inputs[0], config));
        for count_padding in [false, true] {
            let case = format!("average {config:?}, padding counts {count_padding}");
            agree(&case, &gpu, &[drawn(&[2, 3, 13, 8], 5)], &[], |inputs, _| {
                average_pool(&inputs[0], config, count_padding)
            });
        }
    }
}

#[test]
fn batch_norm_is_the_cpus() {
    let Some(gpu) = gpu() else { return };
    for relu in [false, true] {
        for shape in [[2, 3, 5, 7], [3, 4, 17, 19]] {
            let x = (drawn(&shape, 6) * 2.0).unwrap().affine(1.0, 0.7).unwrap();
            let rows = [drawn(&shape[1..2], 7), drawn(&shape[1..2], 8)];
            let moved = RefCell::new(Vec::new());
            agree(&format!("{shape:?}, ReLU {relu}"), &gpu, &[x], &rows, |inputs, master| {
                let mut norm = BatchNorm::new(shape[1], inputs[0].device())?;
                (norm.gamma, norm.beta) = (master[0].clone(), master[1].clone());
                let y = norm.train(&inputs[0], relu);
                moved.borrow_mut().push((norm.moving_mean, norm.moving_variance));
                y
            });
            // CPU and GPU by turns, f32 first.
            let moved = moved.into_inner();
            for (index, pair) in moved.chunks_exact(2).enumerate() {
                let tolerance = if index == 0 { 1e-4 } else { 1e-2 };
                assert!(relative_difference(&pair[1].0, &pair[0].0) < tolerance, "moving mean");
                assert!(relative_difference(&pair[1].1, &pair[0].1) < tolerance, "moving variance");
            }
        }
    }
}

/// The nets that have it compute their heads in f32.
#[test]
fn group_norm_is_the_cpus() {
    let Some(gpu) = gpu() else { return };
    for groups in [1, 2, 6] {
        let x = drawn(&[2, 6, 5, 7], 11).affine(2.0, 0.7).unwrap();
        let inputs = [x, drawn(&[6], 12), drawn(&[6], 13)];
        agree_in(&[(DType::F32, 1e-4)], &format!("{groups} groups"), &gpu, &inputs, &[], |inputs, _| {
            group_norm(&inputs[0], &inputs[1], &inputs[2], groups, 1e-5)
        });
    }
}

/// It is the CPU's kernel: what is looked at is the way there and back.
#[test]
fn roi_align_is_the_cpus() {
    let Some(gpu) = gpu() else { return };
    let region = |left, top, right, bottom| BoundingBox { left, top, right, bottom };
    let regions = [(0, region(1.0, 2.0, 9.0, 7.5)), (1, region(-3.0, 0.0, 30.0, 4.0)), (0, region(5.0, 5.0, 5.5, 5.2))];
    for (samples, aligned) in [(2, false), (0, true)] {
        let config = RoiAlignConfig { height: 3, width: 2, scale: 0.5, samples, aligned };
        agree_in(&[(DType::F32, 1e-6)], &format!("{config:?}"), &gpu, &[drawn(&[2, 3, 6, 7], 14)], &[], |inputs, _| {
            roi_align(&inputs[0], &regions, config)
        });
    }
}

/// Every algorithm is chosen to be deterministic.
#[test]
fn the_same_gradients_come_twice() {
    let Some(gpu) = gpu() else { return };
    let run = || {
        let x = Var::from_tensor(&drawn(&[4, 16, 33, 31], 9).to_device(&gpu).unwrap()).unwrap();
        let weight = Var::from_tensor(&drawn(&[24, 16, 3, 3], 10).to_device(&gpu).unwrap()).unwrap();
        let y = convolution(&x, &weight, ConvolutionConfig::dense(3)).unwrap();
        let y = max_pool(&y, PoolConfig { kernel: 3, stride: 2, padding: 1, ceil_mode: false }).unwrap();
        let gradients = y.sqr().unwrap().sum_all().unwrap().backward().unwrap();
        [&x, &weight].map(|var| gradients.get(var).unwrap().flatten_all().unwrap().to_vec1::<f32>().unwrap())
    };
    assert!(run() == run());
}
