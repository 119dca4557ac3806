//! Training on NVIDIA GPUs: the operators of [`nn`](super) through cuDNN, and several GPUs through NCCL.
//!
//! candle has its own CUDA kernels for what is element by element, and cuBLAS for matrices; they stay in use. Its
//! convolution has no cuDNN behind its gradients, its pooling none for overlapping windows, and its batch norm is a
//! dozen passes. [`operators`] has these as differentiable functions on tensors, with the configurations of the CPU
//! operators beside which they stand; [`convolution`](mod@convolution), [`pool`](mod@pool) and [`batch_norm`] are the
//! calls into cuDNN below them, on storage.
//!
//! cudarc's safe layer hides the descriptors, and so lets nothing beside it reach pooling's gradient or batch norm; it
//! takes the first algorithm that cuDNN proposes without its kind of arithmetic, and frees no pooling descriptor.
//! Therefore the calls go through its `result` and `sys` layers, over the few owners in `handle`.
//!
//! Activations are f32, bf16 or f16, sums are f32. Every algorithm chosen is deterministic: the same run on the same
//! card with the same libraries gives the same bytes, as far as cuDNN keeps its word. In f32 the products may be
//! rounded to TF32 as in PyTorch, see [`allow_tf32`].
//!
//! Nothing here has been run on a GPU yet; what was checked without one is in the tests.

pub mod batch_norm;
pub mod convolution;
mod handle;
mod library;
#[cfg(feature = "nccl")]
pub mod nccl;
pub mod operators;
pub mod pool;
#[cfg(test)]
mod tests;

pub use handle::Operand;

use std::sync::atomic::{AtomicBool, Ordering};

use candle_core::{Device, Result};

static TF32: AtomicBool = AtomicBool::new(true);

/// Whether f32 convolutions may use tensor cores, which round the factors (not the sums) to 10 bits of mantissa.
///
/// On by default as in PyTorch (`torch.backends.cudnn.allow_tf32`); matrix products are full f32 in both. For the
/// whole process, and for convolutions called from now on.
pub fn allow_tf32(allow: bool) {
    TF32.store(allow, Ordering::Relaxed);
}

fn tf32_allowed() -> bool {
    TF32.load(Ordering::Relaxed)
}

/// The GPU with this ordinal, in the order of `nvidia-smi` under `CUDA_DEVICE_ORDER=PCI_BUS_ID`.
///
/// It has one stream, whichever thread uses it. candle's `Device::new_cuda` takes the stream of the calling thread, on
/// which tensors that a loader thread made need not be ready.
///
/// # Errors
/// A missing driver or library, by name and with the remedy; no such GPU.
pub fn device(ordinal: usize) -> Result<Device> {
    library::require(&library::FOR_TRAINING)?;
    Device::new_cuda_with_stream(ordinal)
        .map_err(|error| candle_core::Error::Msg(format!("{error}; `nvidia-smi -L` lists the devices, counted from 0")))
}
