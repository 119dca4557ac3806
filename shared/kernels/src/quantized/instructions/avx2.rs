//! The instructions of AVX-VNNI, and of AVX2 without it.
//!
//! VNNI's `vpdpbusd` is the very product that is asked for. AVX2 has `vpmaddubsw`, which sums two such products in 16 bits
//! and saturates; so here bytes are widened to 16 bits and `vpmaddwd` sums two products in 32. Of four values the even and
//! the odd ones are widened, each by one instruction, so the weights are packed in that order, and already widened.

use std::arch::x86_64::*;

use super::{Instructions, Requantization, Work, pack_as_they_are};

/// Carries out `work` with AVX-VNNI.
#[target_feature(enable = "avx2,avxvnni")]
pub(super) unsafe fn with_avx_vnni<W: Work>(work: W) -> W::Output {
    // SAFETY: the caller's: the processor has what this function is compiled for.
    unsafe { work.run::<AvxVnni>() }
}

/// Carries out `work` with AVX2.
#[target_feature(enable = "avx2")]
pub(super) unsafe fn with_avx2<W: Work>(work: W) -> W::Output {
    // SAFETY: as above.
    unsafe { work.run::<Avx2>() }
}

/// Four bytes as one number.
///
/// # Safety
/// Four bytes can be read.
#[inline(always)]
pub(super) unsafe fn four_bytes(from: *const u8) -> i32 {
    // SAFETY: the caller's.
    unsafe { from.cast::<i32>().read_unaligned() }
}

/// The bytes of eight sums.
///
/// # Safety
/// The processor has AVX2, eight multipliers can be read, eight bytes written.
#[inline(always)]
unsafe fn store_eight(sums: __m256i, multipliers: *const f32, requantization: Requantization, out: *mut u8) {
    // SAFETY: the caller's.
    unsafe {
        let values = _mm256_mul_ps(_mm256_cvtepi32_ps(sums), _mm256_loadu_ps(multipliers));
        let values = _mm256_max_ps(values, _mm256_set1_ps(requantization.low));
        let values = _mm256_min_ps(values, _mm256_set1_ps(requantization.high));
        let values = _mm256_add_epi32(_mm256_cvtps_epi32(values), _mm256_set1_epi32(requantization.zero_point));
        let words = _mm_packs_epi32(_mm256_castsi256_si128(values), _mm256_extracti128_si256::<1>(values));
        _mm_storel_epi64(out.cast(), _mm_packus_epi16(words, words));
    }
}

/// Writes four rows' values side by side.
///
/// # Safety
/// The processor has AVX2.
#[inline(always)]
unsafe fn interleave(rows: [&[u8]; 4], out: &mut [[u8; 4]]) {
    let (parts, rest) = out.as_chunks_mut::<16>();
    let chunks = rows.map(|row| row.as_chunks::<16>());
    let [a, b, c, d] = chunks.map(|(chunks, _)| chunks);
    for ((((part, a), b), c), d) in parts.iter_mut().zip(a).zip(b).zip(c).zip(d) {
        // SAFETY: the caller's; sixteen bytes of each row are read, sixteen fours written.
        unsafe {
            let [a, b, c, d] = [a, b, c, d].map(|row| _mm_loadu_si128(row.as_ptr().cast()));
            let (above, below) = (_mm_unpacklo_epi8(a, b), _mm_unpacklo_epi8(c, d));
            let out: *mut __m128i = part.as_mut_ptr().cast();
            _mm_storeu_si128(out, _mm_unpacklo_epi16(above, below));
            _mm_storeu_si128(out.add(1), _mm_unpackhi_epi16(above, below));
            let (above, below) = (_mm_unpackhi_epi8(a, b), _mm_unpackhi_epi8(c, d));
            _mm_storeu_si128(out.add(2), _mm_unpacklo_epi16(above, below));
            _mm_storeu_si128(out.add(3), _mm_unpackhi_epi16(above, below));
        }
    }
    let [a, b, c, d] = chunks.map(|(_, rest)| rest);
    for ((((out, a), b), c), d) in rest.iter_mut().zip(a).zip(b).zip(c).zip(d) {
        *out = [*a, *b, *c, *d];
    }
}

/// 8 sums a register, 16 registers.
#[derive(Clone, Copy, Debug)]
pub(super) struct AvxVnni;

// SAFETY: intrinsics of AVX2 and AVX-VNNI alone; otherwise as above.
unsafe impl Instructions for AvxVnni {
    const LANES: usize = 8;
    const WEIGHT_BYTES: usize = 32;
    const TILES: [usize; 4] = [12, 6, 4, 0];

    type Sums = __m256i;
    type Weights = __m256i;
    type Values = *const u8;
    type Own = __m256i;

    fn pack(weights: &[[i8; 4]], packed: &mut [u8]) {
        pack_as_they_are(weights, packed);
    }

    #[inline(always)]
    unsafe fn sums(from: *const i32) -> __m256i {
        // SAFETY: the caller's.
        unsafe { _mm256_loadu_si256(from.cast()) }
    }

    #[inline(always)]
    unsafe fn weights(from: *const u8) -> __m256i {
        // SAFETY: the caller's.
        unsafe { _mm256_loadu_si256(from.cast()) }
    }

    #[inline(always)]
    unsafe fn sixteen(from: *const u8) -> *const u8 {
        from
    }

    #[inline(always)]
    unsafe fn four(from: *const u8) -> *const u8 {
        from
    }

    #[inline(always)]
    unsafe fn add<const QUARTER: usize>(sums: __m256i, values: *const u8, weights: __m256i) -> __m256i {
        // SAFETY: the caller's.
        unsafe { _mm256_dpbusd_avx_epi32(sums, _mm256_set1_epi32(four_bytes(values.add(4 * QUARTER))), weights) }
    }

    #[inline(always)]
    unsafe fn own(from: *const u8) -> __m256i {
        // SAFETY: the caller's.
        unsafe { _mm256_loadu_si256(from.cast()) }
    }

    #[inline(always)]
    unsafe fn add_own(sums: __m256i, values: __m256i, weights: __m256i) -> __m256i {
        // SAFETY: the caller's.
        unsafe { _mm256_dpbusd_avx_epi32(sums, values, weights) }
    }

    #[inline(always)]
    unsafe fn store_all<const N: usize>(
        sums: [__m256i; N],
        multipliers: *const f32,
        requantization: Requantization,
        out: *mut u8,
    ) {
        for (n, sums) in sums.into_iter().enumerate() {
            // SAFETY: the caller's: `N * LANES` multipliers and bytes.
            unsafe { store_eight(sums, multipliers.add(8 * n), requantization, out.add(8 * n)) };
        }
    }

    #[inline(always)]
    unsafe fn interleave(rows: [&[u8]; 4], out: &mut [[u8; 4]]) {
        // SAFETY: the caller's.
        unsafe { interleave(rows, out) };
    }
}

/// 8 sums a register, 16 registers.
#[derive(Clone, Copy, Debug)]
pub(super) struct Avx2;

/// The even and the odd of four values, each as two numbers of 16 bits.
///
/// # Safety
/// The processor has AVX2.
#[inline(always)]
unsafe fn even_and_odd(values: __m256i) -> [__m256i; 2] {
    // SAFETY: the caller's.
    unsafe { [_mm256_and_si256(values, _mm256_set1_epi16(255)), _mm256_srli_epi16::<8>(values)] }
}

// SAFETY: intrinsics of AVX2 alone; otherwise as above. `vpmaddwd` is exact: 2 * 255 * 128 is far below 2^31.
unsafe impl Instructions for Avx2 {
    const LANES: usize = 8;
    const WEIGHT_BYTES: usize = 64;
    const TILES: [usize; 4] = [8, 6, 4, 3];

    type Sums = __m256i;
    type Weights = *const __m256i;
    type Values = *const u8;
    type Own = __m256i;

    fn pack(weights: &[[i8; 4]], packed: &mut [u8]) {
        let (pairs, _) = packed.as_chunks_mut::<2>();
        let (even, odd) = pairs.split_at_mut(2 * Self::LANES);
        for (lane, weight) in weights.iter().enumerate() {
            let [a, b, c, d] = weight.map(|weight| i16::from(weight).to_le_bytes());
            [even[2 * lane], even[2 * lane + 1]] = [a, c];
            [odd[2 * lane], odd[2 * lane + 1]] = [b, d];
        }
    }

    #[inline(always)]
    unsafe fn sums(from: *const i32) -> __m256i {
        // SAFETY: the caller's.
        unsafe { _mm256_loadu_si256(from.cast()) }
    }

    #[inline(always)]
    unsafe fn weights(from: *const u8) -> *const __m256i {
        from.cast()
    }

    #[inline(always)]
    unsafe fn sixteen(from: *const u8) -> *const u8 {
        from
    }

    #[inline(always)]
    unsafe fn four(from: *const u8) -> *const u8 {
        from
    }

    #[inline(always)]
    unsafe fn add<const QUARTER: usize>(sums: __m256i, values: *const u8, weights: *const __m256i) -> __m256i {
        // SAFETY: the caller's.
        unsafe { Self::add_own(sums, _mm256_set1_epi32(four_bytes(values.add(4 * QUARTER))), weights) }
    }

    #[inline(always)]
    unsafe fn own(from: *const u8) -> __m256i {
        // SAFETY: the caller's.
        unsafe { _mm256_loadu_si256(from.cast()) }
    }

    #[inline(always)]
    unsafe fn add_own(sums: __m256i, values: __m256i, weights: *const __m256i) -> __m256i {
        // SAFETY: the caller's: the weights of a register are two of these.
        unsafe {
            let [even, odd] = even_and_odd(values);
            let sums = _mm256_add_epi32(sums, _mm256_madd_epi16(even, _mm256_loadu_si256(weights)));
            _mm256_add_epi32(sums, _mm256_madd_epi16(odd, _mm256_loadu_si256(weights.add(1))))
        }
    }

    #[inline(always)]
    unsafe fn store_all<const N: usize>(
        sums: [__m256i; N],
        multipliers: *const f32,
        requantization: Requantization,
        out: *mut u8,
    ) {
        for (n, sums) in sums.into_iter().enumerate() {
            // SAFETY: the caller's: `N * LANES` multipliers and bytes.
            unsafe { store_eight(sums, multipliers.add(8 * n), requantization, out.add(8 * n)) };
        }
    }

    #[inline(always)]
    unsafe fn interleave(rows: [&[u8]; 4], out: &mut [[u8; 4]]) {
        // SAFETY: the caller's.
        unsafe { interleave(rows, out) };
    }
}
