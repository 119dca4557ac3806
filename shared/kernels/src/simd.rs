//! Reading and writing vector registers from slices, and sums that vector registers can take.

use std::sync::atomic::{AtomicBool, Ordering};

use pulp::{Arch, Scalar, Simd, WithSimd};

static PORTABLE: AtomicBool = AtomicBool::new(false);

/// Has all kernels of this process do without vector instructions, so that the tests can hold the two ways together.
/// To be called before a weight is packed.
#[doc(hidden)]
pub fn use_portable_kernels(portable: bool) {
    PORTABLE.store(portable, Ordering::SeqCst);
}

/// Whether the kernels are to do without vector instructions.
pub(crate) fn portable() -> bool {
    PORTABLE.load(Ordering::Relaxed)
}

/// Carries out `work` with the machine's widest registers.
#[inline(always)]
pub(crate) fn dispatch<W: WithSimd>(work: W) -> W::Output {
    if portable() { work.with_simd(Scalar) } else { Arch::new().dispatch(work) }
}

/// Asks for the cache line of the value `at`, if there is one, to be near when it is needed. The hardware asks by itself for lines in a
/// row, but stops at every page and does not know which weights come next.
#[inline(always)]
pub(crate) fn prefetch(values: &[f32], at: usize) {
    if let Some(value) = values.get(at) {
        prefetch_line(value);
    }
}

/// Asks for the cache line of an address, whatever is there.
#[inline(always)]
#[allow(unsafe_code)]
pub(crate) fn prefetch_line(address: *const f32) {
    #[cfg(target_arch = "x86_64")]
    // SAFETY: a prefetch is a hint. It reads and writes nothing, faults at no address, and SSE, which it belongs to, is part of x86-64.
    unsafe {
        use std::arch::x86_64::{_MM_HINT_T0, _mm_prefetch};
        _mm_prefetch::<_MM_HINT_T0>(address.cast());
    }
    #[cfg(target_arch = "aarch64")]
    // SAFETY: as above; `prfm` belongs to every AArch64.
    unsafe {
        std::arch::asm!("prfm pldl1keep, [{0}]", in(reg) address, options(nostack, preserves_flags, readonly));
    }
    #[cfg(not(any(target_arch = "x86_64", target_arch = "aarch64")))]
    let _ = address;
}

/// `N` registers from the start of `values`.
#[inline(always)]
pub(crate) fn load<S: Simd, const N: usize>(simd: S, values: &[f32]) -> [S::f32s; N] {
    let (lanes, _) = S::as_simd_f32s(values);
    let lanes = &lanes[..N];
    let mut registers = [simd.splat_f32s(0.0); N];
    registers.copy_from_slice(lanes);
    registers
}

/// Writes `N` registers to the start of `values`.
#[inline(always)]
pub(crate) fn store<S: Simd, const N: usize>(_: S, values: &mut [f32], registers: &[S::f32s; N]) {
    let (lanes, _) = S::as_mut_simd_f32s(values);
    lanes[..N].copy_from_slice(registers);
}

/// Sum of a short run of values: lane by lane in f32, the lanes in f64.
#[inline(always)]
pub(crate) fn sum<S: Simd>(simd: S, values: &[f32]) -> f64 {
    let (registers, rest) = S::as_simd_f32s(values);
    let mut lanes = [simd.splat_f32s(0.0); 4];
    let (whole, single) = registers.as_chunks::<4>();
    for values in whole {
        for n in 0..4 {
            lanes[n] = simd.add_f32s(lanes[n], values[n]);
        }
    }
    for value in single {
        lanes[0] = simd.add_f32s(lanes[0], *value);
    }
    let mut total = 0f64;
    for value in rest {
        total += f64::from(*value);
    }
    total + total_of(simd, lanes)
}

/// Sum of all lanes.
#[inline(always)]
pub(crate) fn total_of<S: Simd>(simd: S, lanes: [S::f32s; 4]) -> f64 {
    let [a, b, c, d] = lanes;
    f64::from(simd.reduce_sum_f32s(simd.add_f32s(simd.add_f32s(a, b), simd.add_f32s(c, d))))
}
