//! What can be checked of cuDNN without a GPU, its description of shapes and types; and, on a GPU, every operator
//! against the CPU's.
//!
//! Tests that lack a library or a GPU say so and pass.
#![allow(clippy::unwrap_used)]

use candle_core::DType;
use cudarc::cudnn::sys;

use super::convolution::ConvolutionGeometry;
use super::handle::{ConvolutionDescriptor, FilterDescriptor, PoolingDescriptor, TensorDescriptor};
use super::pool::{PoolGeometry, PoolKind, mode};

/// cuDNN describes shapes without a driver; is it there?
fn cudnn_is_there(test: &str) -> bool {
    let there = super::library::require(&super::library::FOR_TRAINING[5..]);
    if let Err(error) = &there {
        eprintln!("SKIPPED {test}: {error}");
    }
    there.is_ok()
}

/// Sizes with odd remainders, groups and dilation.
fn geometries() -> Vec<ConvolutionGeometry> {
    let base = ConvolutionGeometry {
        batch: 2,
        channels_in: 4,
        channels_out: 6,
        height: 13,
        width: 10,
        kernel_height: 3,
        kernel_width: 3,
        stride: 1,
        padding_y: 1,
        padding_x: 1,
        dilation: 1,
        groups: 1,
    };
    vec![
        base,
        ConvolutionGeometry { kernel_height: 1, kernel_width: 1, padding_y: 0, padding_x: 0, ..base },
        ConvolutionGeometry { stride: 2, ..base },
        ConvolutionGeometry { stride: 3, kernel_height: 5, kernel_width: 5, padding_y: 2, padding_x: 0, ..base },
        ConvolutionGeometry { dilation: 2, padding_y: 2, padding_x: 1, ..base },
        ConvolutionGeometry { groups: 2, ..base },
        ConvolutionGeometry { groups: 4, channels_out: 4, stride: 2, ..base },
    ]
}

#[test]
fn cudnn_computes_the_shapes_that_we_compute() {
    if !cudnn_is_there("shapes of convolutions") {
        return;
    }
    for kind in [DType::F32, DType::BF16, DType::F16] {
        for geometry in geometries() {
            let input = TensorDescriptor::new(kind, geometry.input_shape()).unwrap();
            let weight = FilterDescriptor::new(kind, geometry.weight_shape()).unwrap();
            let convolution = ConvolutionDescriptor::new(
                [geometry.padding_y, geometry.padding_x],
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
            assert_eq!(shape.map(|length| length as usize), geometry.output_shape(), "{kind:?} {geometry:?}");
        }
    }
}

#[test]
fn cudnn_pools_to_the_shapes_that_we_compute() {
    if !cudnn_is_there("shapes of pooling") {
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
    if !cudnn_is_there("types of batch norm") {
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
    if !cudnn_is_there("sizes") {
        return;
    }
    let message = TensorDescriptor::new(DType::F32, [1, 1, 1, 1 << 40]).err().unwrap().to_string();
    assert!(message.contains("too large"), "{message}");
    let message = TensorDescriptor::new(DType::U8, [1; 4]).err().unwrap().to_string();
    assert!(message.contains("f32, bf16 or f16"), "{message}");
}
