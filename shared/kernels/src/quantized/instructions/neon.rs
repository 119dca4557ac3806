//! The instructions of 64-bit ARM: NEON, with and without its dot product.
//!
//! Both know products of signed with signed bytes alone, so values are lowered by 128, which flips their highest bit.
//!
//! The dot product, `sdot`, sums four products for each of four sums, from four values that all of them share. It has no
//! intrinsic yet in stable Rust, hence the assembly. Without it `smull` multiplies eight bytes into 16 bits, `smlal` adds
//! eight more products, and `sadalp` adds neighbours into 32 bits: 16 products by three instructions. Two products fit in
//! 16 bits, with their sign, as long as no weight is -128 (2 * 128 * 127 = 32512); for weights that are, each is added
//! alone. So of four values the first two and the last two go separate ways, and the weights are packed in that order.

use std::arch::{aarch64::*, asm};

use super::{Instructions, Requantization, Work, pack_as_they_are};

/// Carries out `work` with NEON; `FULL_RANGE` if a weight is -128.
#[target_feature(enable = "neon")]
pub(super) unsafe fn with_neon<W: Work, const FULL_RANGE: bool>(work: W) -> W::Output {
    // SAFETY: the caller's: the processor has what this function is compiled for.
    unsafe { work.run::<Neon<FULL_RANGE>>() }
}

/// Carries out `work` with the dot product.
#[target_feature(enable = "neon,dotprod")]
pub(super) unsafe fn with_dot_product<W: Work>(work: W) -> W::Output {
    // SAFETY: as above.
    unsafe { work.run::<NeonDotProduct>() }
}

/// Sixteen bytes, lowered by 128.
///
/// # Safety
/// Sixteen bytes can be read.
#[inline(always)]
unsafe fn lowered(from: *const u8) -> int8x16_t {
    // SAFETY: the caller's.
    unsafe { vreinterpretq_s8_u8(veorq_u8(vld1q_u8(from), vdupq_n_u8(128))) }
}

/// Four bytes, four times, lowered by 128.
///
/// # Safety
/// Four bytes can be read.
#[inline(always)]
unsafe fn four_lowered(from: *const u8) -> int8x16_t {
    // SAFETY: the caller's.
    unsafe {
        let four = vdupq_n_u32(from.cast::<u32>().read_unaligned());
        vreinterpretq_s8_u8(veorq_u8(vreinterpretq_u8_u32(four), vdupq_n_u8(128)))
    }
}

/// The bytes of `N` registers of four sums.
///
/// # Safety
/// `4 * N` multipliers can be read, as many bytes written.
#[inline(always)]
unsafe fn store<const N: usize>(
    sums: [int32x4_t; N],
    multipliers: *const f32,
    requantization: Requantization,
    out: *mut u8,
) {
    // SAFETY: the caller's.
    unsafe {
        for (n, sums) in sums.into_iter().enumerate() {
            let values = vmulq_f32(vcvtq_f32_s32(sums), vld1q_f32(multipliers.add(4 * n)));
            let values = vmaxq_f32(values, vdupq_n_f32(requantization.low));
            let values = vminq_f32(values, vdupq_n_f32(requantization.high));
            let values = vaddq_s32(vcvtnq_s32_f32(values), vdupq_n_s32(requantization.zero_point));
            let words = vqmovun_s32(values);
            let bytes = vqmovn_u16(vcombine_u16(words, words));
            out.add(4 * n).cast::<u32>().write_unaligned(vget_lane_u32::<0>(vreinterpret_u32_u8(bytes)));
        }
    }
}

/// NEON with its dot product: 4 sums a register, 32 registers.
#[derive(Clone, Copy, Debug)]
pub(super) struct NeonDotProduct;

// SAFETY: intrinsics of NEON, and `sdot`, which the dot product is; who calls them has both, as the trait asks. What is
// read and written is what the trait names.
unsafe impl Instructions for NeonDotProduct {
    const LANES: usize = 4;
    const WEIGHT_BYTES: usize = 16;
    const TILES: [usize; 4] = [12, 8, 6, 5];
    const LOWERED: i32 = 128;

    type Sums = int32x4_t;
    type Weights = int8x16_t;
    type Values = int8x16_t;
    type Own = int8x16_t;

    fn pack(weights: &[[i8; 4]], packed: &mut [u8]) {
        pack_as_they_are(weights, packed);
    }

    #[inline(always)]
    unsafe fn sums(from: *const i32) -> int32x4_t {
        // SAFETY: the caller's.
        unsafe { vld1q_s32(from) }
    }

    #[inline(always)]
    unsafe fn weights(from: *const u8) -> int8x16_t {
        // SAFETY: the caller's.
        unsafe { vld1q_s8(from.cast()) }
    }

    #[inline(always)]
    unsafe fn sixteen(from: *const u8) -> int8x16_t {
        // SAFETY: the caller's.
        unsafe { lowered(from) }
    }

    #[inline(always)]
    unsafe fn four(from: *const u8) -> int8x16_t {
        // SAFETY: the caller's.
        unsafe { four_lowered(from) }
    }

    #[inline(always)]
    unsafe fn add<const QUARTER: usize>(mut sums: int32x4_t, values: int8x16_t, weights: int8x16_t) -> int32x4_t {
        // SAFETY: one instruction on registers, which the processor has.
        unsafe {
            asm!(
                "sdot {sums:v}.4s, {weights:v}.16b, {values:v}.4b[{quarter}]",
                sums = inout(vreg) sums,
                weights = in(vreg) weights,
                values = in(vreg) values,
                quarter = const QUARTER,
                options(pure, nomem, nostack, preserves_flags),
            );
        }
        sums
    }

    #[inline(always)]
    unsafe fn own(from: *const u8) -> int8x16_t {
        // SAFETY: the caller's.
        unsafe { lowered(from) }
    }

    #[inline(always)]
    unsafe fn add_own(mut sums: int32x4_t, values: int8x16_t, weights: int8x16_t) -> int32x4_t {
        // SAFETY: one instruction on registers, which the processor has.
        unsafe {
            asm!(
                "sdot {sums:v}.4s, {weights:v}.16b, {values:v}.16b",
                sums = inout(vreg) sums,
                weights = in(vreg) weights,
                values = in(vreg) values,
                options(pure, nomem, nostack, preserves_flags),
            );
        }
        sums
    }

    #[inline(always)]
    unsafe fn store_all<const N: usize>(
        sums: [int32x4_t; N],
        multipliers: *const f32,
        requantization: Requantization,
        out: *mut u8,
    ) {
        // SAFETY: the caller's.
        unsafe { store(sums, multipliers, requantization, out) };
    }
}

/// NEON: 4 sums a register, 32 registers. `FULL_RANGE` if a weight is -128.
#[derive(Clone, Copy, Debug)]
pub(super) struct Neon<const FULL_RANGE: bool>;

// SAFETY: intrinsics of NEON alone; otherwise as above. Sums of two products fit in 16 bits, as the module says.
unsafe impl<const FULL_RANGE: bool> Instructions for Neon<FULL_RANGE> {
    const LANES: usize = 4;
    const WEIGHT_BYTES: usize = 16;
    const TILES: [usize; 4] = [8, 6, 4, 3];
    const LOWERED: i32 = 128;

    type Sums = int32x4_t;
    /// `[first or last two][lane][2]`.
    type Weights = int8x16_t;
    type Values = int8x16_t;
    /// As the weights.
    type Own = int8x16_t;

    fn pack(weights: &[[i8; 4]], packed: &mut [u8]) {
        let (first, last) = packed.split_at_mut(2 * Self::LANES);
        for (lane, weight) in weights.iter().enumerate() {
            let [a, b, c, d] = weight.map(i8::cast_unsigned);
            [first[2 * lane], first[2 * lane + 1]] = [a, b];
            [last[2 * lane], last[2 * lane + 1]] = [c, d];
        }
    }

    #[inline(always)]
    unsafe fn sums(from: *const i32) -> int32x4_t {
        // SAFETY: the caller's.
        unsafe { vld1q_s32(from) }
    }

    #[inline(always)]
    unsafe fn weights(from: *const u8) -> int8x16_t {
        // SAFETY: the caller's.
        unsafe { vld1q_s8(from.cast()) }
    }

    #[inline(always)]
    unsafe fn sixteen(from: *const u8) -> int8x16_t {
        // SAFETY: the caller's.
        unsafe { lowered(from) }
    }

    #[inline(always)]
    unsafe fn four(from: *const u8) -> int8x16_t {
        // SAFETY: the caller's.
        unsafe { four_lowered(from) }
    }

    #[inline(always)]
    unsafe fn add<const QUARTER: usize>(sums: int32x4_t, values: int8x16_t, weights: int8x16_t) -> int32x4_t {
        // SAFETY: intrinsics of NEON on registers.
        unsafe {
            let values = vreinterpretq_s16_s8(values);
            let (first, last) = match QUARTER {
                0 => (vdup_laneq_s16::<0>(values), vdup_laneq_s16::<1>(values)),
                1 => (vdup_laneq_s16::<2>(values), vdup_laneq_s16::<3>(values)),
                2 => (vdup_laneq_s16::<4>(values), vdup_laneq_s16::<5>(values)),
                _ => (vdup_laneq_s16::<6>(values), vdup_laneq_s16::<7>(values)),
            };
            add_pairs::<FULL_RANGE>(sums, vreinterpret_s8_s16(first), vreinterpret_s8_s16(last), weights)
        }
    }

    #[inline(always)]
    unsafe fn own(from: *const u8) -> int8x16_t {
        // SAFETY: the caller's.
        unsafe {
            let pairs = vreinterpretq_s16_s8(lowered(from));
            let (first, last) = (vuzp1q_s16(pairs, pairs), vuzp2q_s16(pairs, pairs));
            vreinterpretq_s8_s16(vcombine_s16(vget_low_s16(first), vget_low_s16(last)))
        }
    }

    #[inline(always)]
    unsafe fn add_own(sums: int32x4_t, values: int8x16_t, weights: int8x16_t) -> int32x4_t {
        // SAFETY: intrinsics of NEON on registers.
        unsafe { add_pairs::<FULL_RANGE>(sums, vget_low_s8(values), vget_high_s8(values), weights) }
    }

    #[inline(always)]
    unsafe fn store_all<const N: usize>(
        sums: [int32x4_t; N],
        multipliers: *const f32,
        requantization: Requantization,
        out: *mut u8,
    ) {
        // SAFETY: the caller's.
        unsafe { store(sums, multipliers, requantization, out) };
    }
}

/// Adds to each sum its first two products and its last two.
///
/// # Safety
/// The processor has NEON.
#[inline(always)]
unsafe fn add_pairs<const FULL_RANGE: bool>(
    sums: int32x4_t,
    first: int8x8_t,
    last: int8x8_t,
    weights: int8x16_t,
) -> int32x4_t {
    // SAFETY: the caller's.
    unsafe {
        let products = vmull_s8(vget_low_s8(weights), first);
        if FULL_RANGE {
            let sums = vpadalq_s16(sums, products);
            vpadalq_s16(sums, vmull_s8(vget_high_s8(weights), last))
        } else {
            vpadalq_s16(sums, vmlal_s8(products, vget_high_s8(weights), last))
        }
    }
}
