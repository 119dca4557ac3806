//! Reading and writing vector registers from slices, and the one matrix product everything dense stands on.

use pulp::Simd;

/// `N` registers from the start of `values`.
#[inline(always)]
pub(crate) fn load<S: Simd, const N: usize>(simd: S, values: &[f32]) -> [S::f32s; N] {
    let (lanes, _) = S::as_simd_f32s(values);
    let lanes = &lanes[..N];
    let mut registers = [simd.splat_f32s(0.0); N];
    for n in 0..N {
        registers[n] = lanes[n];
    }
    registers
}

/// Writes `N` registers to the start of `values`.
#[inline(always)]
pub(crate) fn store<S: Simd, const N: usize>(_: S, values: &mut [f32], registers: &[S::f32s; N]) {
    let (lanes, _) = S::as_mut_simd_f32s(values);
    let lanes = &mut lanes[..N];
    for n in 0..N {
        lanes[n] = registers[n];
    }
}
