//! Owners of what cuDNN hands out, and device addresses for as long as they may be used.
#![allow(unsafe_code)]

use std::{
    cell::RefCell,
    collections::HashMap,
    ffi::{c_int, c_void},
    rc::Rc,
    sync::Arc,
};

use candle_core::{
    CudaDevice, CudaStorage, DType, Error, Layout, Result, Shape,
    backend::{BackendDevice, BackendStorage},
    cuda::{CudaStorageSlice, DeviceId},
};
use cudarc::{
    cudnn::{
        result::{self, CudnnError},
        sys,
    },
    driver::{CudaSlice, CudaStream, DevicePtr, DevicePtrMut, SyncOnDrop, sys::CUdeviceptr},
};

use super::convolution::Choices;

/// cuDNN's scaling factors: `y = ONE * result + ZERO * y`. f32 for f32, bf16 and f16 tensors alike.
pub(super) const ONE: *const c_void = (&raw const ONE_F32).cast();
/// With this as the factor of the old value, cuDNN does not read the output, so it may be uninitialised.
pub(super) const ZERO: *const c_void = (&raw const ZERO_F32).cast();
static ONE_F32: f32 = 1.0;
static ZERO_F32: f32 = 0.0;

/// An operand's storage and layout.
pub type Operand<'a> = (&'a CudaStorage, &'a Layout);

/// cuDNN's refusal as candle's error, with the operation that was refused.
pub(super) fn refused(operation: &'static str) -> impl Fn(CudnnError) -> Error {
    move |CudnnError(status)| Error::msg(format!("{operation}: cuDNN reports {status:?}"))
}

/// cuDNN on one device and one thread, since its handles may not be shared between threads.
pub(super) struct Handle {
    pub(super) raw: sys::cudnnHandle_t,
    pub(super) stream: Arc<CudaStream>,
    pub(super) choices: Choices,
    workspace: RefCell<Option<CudaSlice<u8>>>,
}

thread_local! {
    static HANDLES: RefCell<HashMap<DeviceId, Rc<Handle>>> = RefCell::default();
}

impl Handle {
    /// This thread's handle of the device, whose context becomes the current one.
    pub(super) fn of(device: &CudaDevice) -> Result<Rc<Self>> {
        let stream = device.cuda_stream();
        stream.context().bind_to_thread().map_err(Error::wrap)?;
        HANDLES.with_borrow_mut(|handles| {
            if let Some(handle) = handles.get(&device.id()) {
                return Ok(handle.clone());
            }
            super::library::require(&super::library::FOR_TRAINING)?;
            let raw = result::create_handle().map_err(refused("opening cuDNN"))?;
            let handle = Self { raw, stream, choices: Choices::default(), workspace: RefCell::default() };
            // SAFETY: `raw` was just created, and `handle` keeps the stream alive for as long as `raw` lives.
            unsafe { result::set_stream(raw, handle.stream.cu_stream().cast()) }.map_err(refused("opening cuDNN"))?;
            let handle = Rc::new(handle);
            handles.insert(device.id(), handle.clone());
            Ok(handle)
        })
    }

    /// Calls `f` with at least `bytes` of device memory for intermediate results, which the thread keeps for the next
    /// call; `None` where the device has not that much left.
    pub(super) fn with_workspace<T>(&self, bytes: usize, f: impl FnOnce(*mut c_void) -> T) -> Option<T> {
        if bytes == 0 {
            return Some(f(std::ptr::null_mut()));
        }
        let mut kept = self.workspace.borrow_mut();
        if kept.as_ref().is_none_or(|kept| kept.len() < bytes) {
            *kept = None; // freed first, so that the two need not fit side by side
            // SAFETY: cuDNN writes a workspace before it reads it, so it may be uninitialised.
            *kept = unsafe { self.stream.alloc::<u8>(bytes) }.ok();
        }
        let workspace = kept.as_mut()?;
        let (address, _recorded) = workspace.device_ptr_mut(&self.stream);
        Some(f(address as *mut c_void))
    }
}

impl Drop for Handle {
    fn drop(&mut self) {
        // SAFETY: created in `of`, destroyed once. A failure here leaves nothing to be done about it.
        let _ = unsafe { result::destroy_handle(self.raw) };
    }
}

/// An owner of one of cuDNN's descriptors: made, set, and destroyed once.
macro_rules! descriptor {
    ($(#[$doc:meta])* $name:ident, $raw:ty, $create:expr, $destroy:expr) => {
        $(#[$doc])*
        pub(super) struct $name($raw);

        impl $name {
            fn create() -> Result<Self> {
                $create().map(Self).map_err(refused(stringify!($name)))
            }

            pub(super) fn raw(&self) -> $raw {
                self.0
            }
        }

        impl Drop for $name {
            fn drop(&mut self) {
                // SAFETY: created in this type's constructor, and destroyed only here.
                let _ = unsafe { $destroy(self.0) };
            }
        }
    };
}

descriptor!(
    /// Shape and type of a contiguous tensor `[N, C, H, W]`.
    TensorDescriptor,
    sys::cudnnTensorDescriptor_t,
    result::create_tensor_descriptor,
    result::destroy_tensor_descriptor
);
descriptor!(
    /// Shape and type of a weight `[C_out, C_in / groups, K_y, K_x]`.
    FilterDescriptor,
    sys::cudnnFilterDescriptor_t,
    result::create_filter_descriptor,
    result::destroy_filter_descriptor
);
descriptor!(
    /// Padding, stride, dilation, groups and arithmetic of a convolution.
    ConvolutionDescriptor,
    sys::cudnnConvolutionDescriptor_t,
    result::create_convolution_descriptor,
    result::destroy_convolution_descriptor
);
descriptor!(
    /// Window, padding and stride of a pooling.
    PoolingDescriptor,
    sys::cudnnPoolingDescriptor_t,
    result::create_pooling_descriptor,
    sys::cudnnDestroyPoolingDescriptor
);

const NCHW: sys::cudnnTensorFormat_t = sys::cudnnTensorFormat_t::CUDNN_TENSOR_NCHW;

impl TensorDescriptor {
    pub(super) fn new(kind: DType, shape: [usize; 4]) -> Result<Self> {
        let (kind, shape) = (data_type(kind)?, integers(shape)?);
        let descriptor = Self::create()?;
        // SAFETY: the descriptor was just created.
        unsafe { result::set_tensor4d_descriptor(descriptor.0, NCHW, kind, shape) }
            .map_err(refused("TensorDescriptor"))?;
        Ok(descriptor)
    }
}

impl FilterDescriptor {
    pub(super) fn new(kind: DType, shape: [usize; 4]) -> Result<Self> {
        let (kind, shape) = (data_type(kind)?, integers(shape)?);
        let descriptor = Self::create()?;
        // SAFETY: the descriptor was just created.
        unsafe { result::set_filter4d_descriptor(descriptor.0, kind, NCHW, shape) }
            .map_err(refused("FilterDescriptor"))?;
        Ok(descriptor)
    }
}

impl ConvolutionDescriptor {
    /// Sums are f32 for every type of operand.
    pub(super) fn new(padding: [usize; 2], stride: usize, dilation: usize, groups: usize) -> Result<Self> {
        let ([pad_y, pad_x], [stride, dilation]) = (integers(padding)?, integers([stride, dilation])?);
        let [groups] = integers([groups])?;
        let descriptor = Self::create()?;
        // SAFETY: the descriptor was just created.
        unsafe {
            result::set_convolution2d_descriptor(
                descriptor.0,
                pad_y,
                pad_x,
                stride,
                stride,
                dilation,
                dilation,
                sys::cudnnConvolutionMode_t::CUDNN_CROSS_CORRELATION,
                sys::cudnnDataType_t::CUDNN_DATA_FLOAT,
            )
            .and_then(|()| result::set_convolution_group_count(descriptor.0, groups))
        }
        .map_err(refused("ConvolutionDescriptor"))?;
        Ok(descriptor)
    }

    pub(super) fn set_arithmetic(&self, arithmetic: sys::cudnnMathType_t) -> Result<()> {
        // SAFETY: the descriptor lives as long as `self`.
        unsafe { result::set_convolution_math_type(self.0, arithmetic) }.map_err(refused("convolution arithmetic"))
    }
}

impl PoolingDescriptor {
    pub(super) fn new(mode: sys::cudnnPoolingMode_t, kernel: usize, padding: usize, stride: usize) -> Result<Self> {
        let [kernel, padding, stride] = integers([kernel, padding, stride])?;
        let descriptor = Self::create()?;
        // SAFETY: the descriptor was just created; each slice has the two entries that are announced.
        unsafe {
            result::set_pooling_descriptor(
                descriptor.0,
                mode,
                sys::cudnnNanPropagation_t::CUDNN_PROPAGATE_NAN,
                2,
                &[kernel; 2],
                &[padding; 2],
                &[stride; 2],
            )
        }
        .map_err(refused("PoolingDescriptor"))?;
        Ok(descriptor)
    }
}

fn integers<const N: usize>(values: [usize; N]) -> Result<[c_int; N]> {
    let mut integers = [0; N];
    for (integer, value) in integers.iter_mut().zip(values) {
        *integer = c_int::try_from(value).map_err(|_| Error::msg(format!("cuDNN: {value} is too large for it")))?;
    }
    Ok(integers)
}

fn data_type(kind: DType) -> Result<sys::cudnnDataType_t> {
    match kind {
        DType::F32 => Ok(sys::cudnnDataType_t::CUDNN_DATA_FLOAT),
        DType::BF16 => Ok(sys::cudnnDataType_t::CUDNN_DATA_BFLOAT16),
        DType::F16 => Ok(sys::cudnnDataType_t::CUDNN_DATA_HALF),
        other => Err(Error::msg(format!("cuDNN: operands must be f32, bf16 or f16, and not {other:?}"))),
    }
}

/// Device memory for `shape` that the caller has cuDNN fill.
///
/// # Safety
/// All of it must be written before any of it is read.
pub(super) unsafe fn uninitialised(device: &CudaDevice, shape: &[usize], kind: DType) -> Result<CudaStorage> {
    // SAFETY: as this function's.
    unsafe { device.alloc_uninit(&Shape::from(shape), kind) }
}

/// A device address, valid while this lives; on drop it is recorded that work on the stream uses it.
pub(super) struct Address<'a> {
    address: CUdeviceptr,
    _recorded: SyncOnDrop<'a>,
}

impl Address<'_> {
    pub(super) fn as_ptr(&self) -> *const c_void {
        self.address as *const c_void
    }

    pub(super) fn as_mut_ptr(&self) -> *mut c_void {
        self.address as *mut c_void
    }
}

/// Where the elements of a contiguous operand of exactly this shape begin.
pub(super) fn read<'a>((storage, layout): Operand<'a>, shape: &[usize], stream: &'a CudaStream) -> Result<Address<'a>> {
    if layout.dims() != shape {
        let found = layout.dims();
        return Err(Error::msg(format!("cuDNN: an operand must have the shape {shape:?}, and has {found:?}")));
    }
    let Some((start, end)) = layout.contiguous_offsets() else {
        return Err(Error::msg("cuDNN: operands must be contiguous"));
    };
    let ((address, recorded), length, width) = match &storage.slice {
        CudaStorageSlice::F32(values) => (values.device_ptr(stream), values.len(), 4),
        CudaStorageSlice::BF16(values) => (values.device_ptr(stream), values.len(), 2),
        CudaStorageSlice::F16(values) => (values.device_ptr(stream), values.len(), 2),
        _ => return Err(Error::msg("cuDNN: operands must be f32, bf16 or f16")),
    };
    if end > length {
        return Err(Error::msg(format!("cuDNN: an operand of {length} elements is shorter than its shape")));
    }
    Ok(Address { address: address + (start * width) as u64, _recorded: recorded })
}

/// Where the elements of an output of this module begin.
pub(super) fn write<'a>(storage: &'a mut CudaStorage, stream: &'a CudaStream) -> Result<Address<'a>> {
    let (address, recorded) = match &mut storage.slice {
        CudaStorageSlice::F32(values) => values.device_ptr_mut(stream),
        CudaStorageSlice::BF16(values) => values.device_ptr_mut(stream),
        CudaStorageSlice::F16(values) => values.device_ptr_mut(stream),
        _ => return Err(Error::msg("cuDNN: operands must be f32, bf16 or f16")),
    };
    Ok(Address { address, _recorded: recorded })
}

/// The type of operands, which must be the same, on one device.
pub(super) fn same_kind(name: &str, operands: &[Operand]) -> Result<DType> {
    let [(first, _), others @ ..] = operands else {
        return Err(Error::msg(format!("{name}: no operand")));
    };
    for (other, _) in others {
        if first.device.id() != other.device.id() {
            return Err(Error::msg(format!("{name}: operands must be on one device")));
        }
        if first.dtype() != other.dtype() {
            let (a, b) = (first.dtype(), other.dtype());
            return Err(Error::msg(format!("{name}: operands must be of one type, and are {a:?} and {b:?}")));
        }
    }
    Ok(first.dtype())
}

/// What cuDNN made of a call.
pub(super) type Tried<T> = std::result::Result<T, CudnnError>;

/// `attempt` with the activations as they are or, where they are bf16 or f16 and cuDNN refuses that, as f32, with the
/// first result, an activation itself, rounded back.
pub(super) fn through_f32<const N: usize, R>(
    name: &'static str,
    activations: [Operand; N],
    attempt: impl Fn([Operand; N]) -> Result<Tried<(CudaStorage, R)>>,
) -> Result<(CudaStorage, R)> {
    // cuDNN 9 has codes for parameters it refuses (2000 and on) and for what it does not support (3000 and on).
    let unsupported = |status: sys::cudnnStatus_t| matches!(status as u32 / 1000, 2 | 3);
    let kind = same_kind(name, &activations)?;
    match attempt(activations)? {
        Err(CudnnError(status)) if kind != DType::F32 && unsupported(status) => {}
        other => return other.map_err(refused(name)),
    }
    let mut wide = Vec::with_capacity(N);
    for (storage, layout) in activations {
        wide.push((storage.to_dtype(layout, DType::F32)?, Layout::contiguous(layout.shape())));
    }
    let (result, rest) = attempt(std::array::from_fn(|i| (&wide[i].0, &wide[i].1)))?.map_err(refused(name))?;
    let layout = Layout::contiguous(result.as_cuda_slice::<f32>()?.len());
    Ok((result.to_dtype(&layout, kind)?, rest))
}
