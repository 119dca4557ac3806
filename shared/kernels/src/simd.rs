//! Reading and writing vector registers from slices, and sums that vector registers can take.

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

/// Running sums a loop keeps, so that compilers can put them into registers of any machine.
pub(crate) const LANES: usize = 16;

/// Sum of a short run of values: lane by lane in f32, the lanes in f64.
#[inline(always)]
pub(crate) fn sum(values: &[f32]) -> f64 {
    let mut lanes = [0f32; LANES];
    let (whole, rest) = values.as_chunks::<LANES>();
    for values in whole {
        for lane in 0..LANES {
            lanes[lane] += values[lane];
        }
    }
    lanes.iter().chain(rest).map(|&v| f64::from(v)).sum()
}
