//! What candle lacks to train convolutional nets, and the graph in which a trained net leaves.
//!
//! Nothing here knows medicine. [`convolution`](mod@convolution) and its neighbours are candle operators on
//! `thorax-kernels` (`thorax-train bench nn` prints their time beside PyTorch's and candle's); on a GPU the same functions
//! call cuDNN, see `cuda`.
//! [`training`] is the loop, which stands on [`optimizer`], [`schedule`], [`ema`], [`checkpoint`], [`device`] and
//! [`parallel`]; [`losses`] are what it makes small. [`graph`] is the inference form of a net: candle runs it, and [`onnx`] writes and
//! reads it as ONNX; [`quantize`] makes one of 8-bit integers of it. [`detection`] is what nets that find single objects need beside that.

pub mod batch_norm;
pub mod checkpoint;
pub mod communicator;
pub mod convolution;
#[cfg(feature = "cuda")]
pub mod cuda;
pub mod detection;
pub mod device;
pub mod distance_transform;
pub mod dropout;
pub mod elementwise;
pub mod ema;
pub mod graph;
mod in_place;
pub mod losses;
pub mod matmul;
pub mod onnx;
mod onnx_format;
pub mod optimizer;
pub mod parallel;
pub mod pool;
pub mod quantize;
pub mod schedule;
pub mod seeded;
pub mod training;
pub mod upsample;

use candle_core::{CpuStorage, Layout, Result, Shape, Tensor};
use rayon::iter::{IndexedParallelIterator, ParallelIterator};
use thorax_kernels::KernelError;

/// The values of a contiguous f32 operand of a CPU operator.
fn contiguous<'a>(storage: &'a CpuStorage, layout: &Layout, operator: &str) -> Result<&'a [f32]> {
    let CpuStorage::F32(values) = storage else {
        candle_core::bail!("{operator}: on the CPU operands must be f32; use --precision f32, or a GPU");
    };
    match layout.contiguous_offsets() {
        Some((start, end)) => Ok(&values[start..end]),
        None => candle_core::bail!("{operator}: operands must be contiguous"),
    }
}

/// Calls `f` with the values of a contiguous f32 CPU tensor, without a copy.
fn with_values<T>(tensor: &Tensor, operator: &str, f: impl FnOnce(&[f32]) -> T) -> Result<T> {
    let (storage, layout) = tensor.storage_and_layout();
    match &*storage {
        candle_core::Storage::Cpu(cpu) => Ok(f(contiguous(cpu, layout, operator)?)),
        _ => candle_core::bail!("{operator}: operand is not on the CPU"),
    }
}

/// A new CPU tensor of `shape` whose values `f` writes, all of them.
fn computed(
    shape: Shape,
    f: impl FnOnce(&mut [f32]) -> std::result::Result<(), KernelError>,
) -> Result<(CpuStorage, Shape)> {
    let mut values = zeros(shape.elem_count());
    f(&mut values).map_err(kernel_error)?;
    Ok((CpuStorage::F32(values), shape))
}

/// Zeros, written by all threads: for large tensors that takes as long as the kernel's own work.
fn zeros(length: usize) -> Vec<f32> {
    const SHARE: usize = 1 << 16;
    rayon::iter::repeat_n(0f32, length).with_min_len(SHARE).collect()
}

fn kernel_error(error: KernelError) -> candle_core::Error {
    candle_core::Error::Msg(error.to_string()).bt()
}
