//! The instructions in plain Rust: what all others are held against.

use super::{Instructions, Requantization, pack_as_they_are};

/// No more than the language.
#[derive(Clone, Copy, Debug)]
pub(super) struct Portable;

const LANES: usize = 8;

// SAFETY: plain Rust, for every processor.
unsafe impl Instructions for Portable {
    const LANES: usize = LANES;
    const WEIGHT_BYTES: usize = 4 * LANES;
    const TILES: [usize; 4] = [2, 0, 0, 0];

    type Sums = [i32; LANES];
    type Weights = [[i8; 4]; LANES];
    type Values = *const u8;
    type Own = [[u8; 4]; LANES];

    fn pack(weights: &[[i8; 4]], packed: &mut [u8]) {
        pack_as_they_are(weights, packed);
    }

    #[inline(always)]
    unsafe fn sums(from: *const i32) -> Self::Sums {
        // SAFETY: the caller's.
        unsafe { from.cast::<Self::Sums>().read_unaligned() }
    }

    #[inline(always)]
    unsafe fn weights(from: *const u8) -> Self::Weights {
        // SAFETY: the caller's.
        unsafe { from.cast::<Self::Weights>().read_unaligned() }
    }

    #[inline(always)]
    unsafe fn sixteen(from: *const u8) -> Self::Values {
        from
    }

    #[inline(always)]
    unsafe fn four(from: *const u8) -> Self::Values {
        from
    }

    #[inline(always)]
    unsafe fn add<const QUARTER: usize>(sums: Self::Sums, values: Self::Values, weights: Self::Weights) -> Self::Sums {
        // SAFETY: the caller's: the values have this quarter.
        let values = unsafe { values.add(4 * QUARTER).cast::<[u8; 4]>().read_unaligned() };
        // SAFETY: nothing is needed.
        unsafe { Self::add_own(sums, [values; LANES], weights) }
    }

    #[inline(always)]
    unsafe fn own(from: *const u8) -> Self::Own {
        // SAFETY: the caller's.
        unsafe { from.cast::<Self::Own>().read_unaligned() }
    }

    #[inline(always)]
    unsafe fn add_own(mut sums: Self::Sums, values: Self::Own, weights: Self::Weights) -> Self::Sums {
        for lane in 0..LANES {
            for i in 0..4 {
                let product = i32::from(values[lane][i]) * i32::from(weights[lane][i]);
                sums[lane] = sums[lane].wrapping_add(product);
            }
        }
        sums
    }

    #[inline(always)]
    unsafe fn store_all<const N: usize>(
        sums: [Self::Sums; N],
        multipliers: *const f32,
        requantization: Requantization,
        out: *mut u8,
    ) {
        for (i, sum) in sums.as_flattened().iter().enumerate() {
            // SAFETY: the caller's: `i` is below `N * LANES`.
            unsafe { out.add(i).write(requantization.byte(*sum, *multipliers.add(i))) };
        }
    }
}
