//! CPU kernels of convolutional nets in f32, for whoever has slices: no tensor library, no file, no medicine.
//!
//! The trainer calls them as candle operators, the device may call them from a tract operator. All activations are
//! `[N, C, H, W]`, row after row without gaps. Work is shared among the threads of rayon's pool, and no result depends on
//! how many there are. Vector instructions (AVX2, AVX-512, NEON) are chosen at run time by `pulp`, so nothing here is
//! `unsafe`, but for a prefetch, and for the products of bytes in [`quantized`], which `pulp` does not have.
//!
//! - [`convolution`]: forward, gradient to the input (which is a transposed convolution), gradient to the weight
//! - [`pool`]: largest and mean of windows
//! - [`batch_norm`]: with the ReLU that follows it
//! - [`resample`]: bilinear and nearest
//! - [`elementwise`]: what nets do between their layers
//! - [`quantized`]: inference on bytes, with the channels inside

pub mod batch_norm;
pub mod channels_last;
pub mod convolution;
pub mod elementwise;
pub mod pool;
pub mod quantized;
pub mod resample;
mod simd;

pub use simd::use_portable_kernels;

/// Why a kernel refuses its operands.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum KernelError {
    /// Sizes that contradict each other.
    #[error("{0}")]
    Shape(String),
}
