//! The instructions of AVX-512 VNNI: `vpdpbusd` is the very product that is asked for.

use std::arch::x86_64::*;

use super::{Instructions, Requantization, Work, avx2::four_bytes, pack_as_they_are};

/// Carries out `work` with AVX-512 VNNI.
#[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512vnni")]
pub(super) unsafe fn with_avx512_vnni<W: Work>(work: W) -> W::Output {
    // SAFETY: the caller's: the processor has what this function is compiled for.
    unsafe { work.run::<Avx512Vnni>() }
}

/// 16 sums a register, 32 registers.
#[derive(Clone, Copy, Debug)]
pub(super) struct Avx512Vnni;

// SAFETY: intrinsics of AVX-512 F, BW, VL and VNNI alone; who calls them has those, as the trait asks. What is read and
// written is what the trait names.
unsafe impl Instructions for Avx512Vnni {
    const LANES: usize = 16;
    const WEIGHT_BYTES: usize = 64;
    const TILES: [usize; 4] = [14, 12, 8, 6];

    type Sums = __m512i;
    type Weights = __m512i;
    type Values = *const u8;
    type Own = __m512i;

    fn pack(weights: &[[i8; 4]], packed: &mut [u8]) {
        pack_as_they_are(weights, packed);
    }

    #[inline(always)]
    unsafe fn sums(from: *const i32) -> __m512i {
        // SAFETY: the caller's.
        unsafe { _mm512_loadu_si512(from.cast()) }
    }

    #[inline(always)]
    unsafe fn weights(from: *const u8) -> __m512i {
        // SAFETY: the caller's.
        unsafe { _mm512_loadu_si512(from.cast()) }
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
    unsafe fn add<const QUARTER: usize>(sums: __m512i, values: *const u8, weights: __m512i) -> __m512i {
        // SAFETY: the caller's.
        unsafe { _mm512_dpbusd_epi32(sums, _mm512_set1_epi32(four_bytes(values.add(4 * QUARTER))), weights) }
    }

    #[inline(always)]
    unsafe fn own(from: *const u8) -> __m512i {
        // SAFETY: the caller's.
        unsafe { _mm512_loadu_si512(from.cast()) }
    }

    #[inline(always)]
    unsafe fn add_own(sums: __m512i, values: __m512i, weights: __m512i) -> __m512i {
        // SAFETY: the caller's.
        unsafe { _mm512_dpbusd_epi32(sums, values, weights) }
    }

    #[inline(always)]
    unsafe fn store_all<const N: usize>(
        sums: [__m512i; N],
        multipliers: *const f32,
        requantization: Requantization,
        out: *mut u8,
    ) {
        // SAFETY: the caller's.
        unsafe { Self::store(sums, multipliers, requantization, out, 16 * N) };
    }

    /// Four registers become one; the mask keeps what is not there from being written.
    #[inline(always)]
    unsafe fn store<const N: usize>(
        sums: [__m512i; N],
        multipliers: *const f32,
        requantization: Requantization,
        out: *mut u8,
        channels: usize,
    ) {
        const { assert!(N <= 4) };
        // SAFETY: the caller's: `N * LANES` multipliers are read, and the first `channels` bytes written.
        unsafe {
            let mut rounded = [_mm512_setzero_si512(); 4];
            for (n, sums) in sums.into_iter().enumerate() {
                rounded[n] = round(sums, _mm512_loadu_ps(multipliers.add(16 * n)), requantization);
            }
            if N == 1 {
                let bytes = pack_one(rounded[0], requantization);
                _mm_mask_storeu_epi8(out.cast(), u16::MAX >> (16 - channels), bytes);
            } else {
                let bytes = pack_four(rounded, requantization);
                _mm512_mask_storeu_epi8(out.cast(), u64::MAX >> (64 - channels), bytes);
            }
        }
    }

    #[inline(always)]
    unsafe fn store_pixels<const M: usize>(
        sums: [__m512i; M],
        multipliers: *const f32,
        requantization: Requantization,
        out: *mut u8,
        step: usize,
        channels: usize,
    ) {
        const { assert!(1 <= M && M <= 4) };
        // SAFETY: the caller's.
        unsafe {
            let multipliers = _mm512_loadu_ps(multipliers);
            let mask = u16::MAX >> (16 - channels);
            let out: *mut i8 = out.cast();
            if M == 1 {
                let bytes = pack_one(round(sums[0], multipliers, requantization), requantization);
                return _mm_mask_storeu_epi8(out, mask, bytes);
            }
            let mut rounded = [_mm512_setzero_si512(); 4];
            for (m, sums) in sums.into_iter().enumerate() {
                rounded[m] = round(sums, multipliers, requantization);
            }
            let bytes = pack_four(rounded, requantization);
            _mm_mask_storeu_epi8(out, mask, _mm512_castsi512_si128(bytes));
            _mm_mask_storeu_epi8(out.add(step), mask, _mm512_extracti32x4_epi32::<1>(bytes));
            if M > 2 {
                _mm_mask_storeu_epi8(out.add(2 * step), mask, _mm512_extracti32x4_epi32::<2>(bytes));
            }
            if M > 3 {
                _mm_mask_storeu_epi8(out.add(3 * step), mask, _mm512_extracti32x4_epi32::<3>(bytes));
            }
        }
    }

    #[inline(always)]
    unsafe fn interleave(rows: [&[u8]; 4], out: &mut [[u8; 4]]) {
        let (parts, rest) = out.as_chunks_mut::<16>();
        let chunks = rows.map(|row| row.as_chunks::<16>());
        // Each quarter gets four channels of all rows, and then transposes them. The compiler must not know the order, or it
        // merges the two instructions into nine.
        // SAFETY: the caller's.
        let (order, transposed) = unsafe {
            let transposed = _mm_setr_epi8(0, 4, 8, 12, 1, 5, 9, 13, 2, 6, 10, 14, 3, 7, 11, 15);
            (std::hint::black_box(quarters()), _mm512_broadcast_i32x4(transposed))
        };
        let [a, b, c, d] = chunks.map(|(chunks, _)| chunks);
        for ((((part, a), b), c), d) in parts.iter_mut().zip(a).zip(b).zip(c).zip(d) {
            // SAFETY: the caller's; sixteen bytes of each row are read, sixteen fours written.
            unsafe {
                let [a, b, c, d] = [a, b, c, d].map(|row| _mm_loadu_si128(row.as_ptr().cast()));
                let rows = _mm512_inserti32x4::<1>(_mm512_castsi128_si512(a), b);
                let rows = _mm512_inserti32x4::<3>(_mm512_inserti32x4::<2>(rows, c), d);
                let fours = _mm512_shuffle_epi8(_mm512_permutexvar_epi32(order, rows), transposed);
                _mm512_storeu_si512(part.as_mut_ptr().cast(), fours);
            }
        }
        let [a, b, c, d] = chunks.map(|(_, rest)| rest);
        for ((((out, a), b), c), d) in rest.iter_mut().zip(a).zip(b).zip(c).zip(d) {
            *out = [*a, *b, *c, *d];
        }
    }
}

/// Sums as integers beside the zero point, not yet bounded below. What is too small for 32 bits becomes the smallest
/// number; what is too large would too, so it is bounded.
///
/// # Safety
/// The processor has AVX-512 F.
#[inline(always)]
unsafe fn round(sums: __m512i, multipliers: __m512, requantization: Requantization) -> __m512i {
    // SAFETY: the caller's.
    unsafe {
        let values = _mm512_mul_ps(_mm512_cvtepi32_ps(sums), multipliers);
        _mm512_cvtps_epi32(_mm512_min_ps(values, _mm512_set1_ps(requantization.high)))
    }
}

/// Every fourth number, from each of the first four on: that transposes four times four.
///
/// # Safety
/// The processor has AVX-512 F.
#[inline(always)]
unsafe fn quarters() -> __m512i {
    // SAFETY: the caller's.
    unsafe { _mm512_setr_epi32(0, 4, 8, 12, 1, 5, 9, 13, 2, 6, 10, 14, 3, 7, 11, 15) }
}

/// The bytes of four registers, saturated, one after another.
///
/// # Safety
/// The processor has AVX-512 F and BW.
#[inline(always)]
unsafe fn pack_four([a, b, c, d]: [__m512i; 4], requantization: Requantization) -> __m512i {
    // SAFETY: the caller's.
    unsafe {
        let zero_point = _mm512_set1_epi16(requantization.zero_point as i16);
        let low = _mm512_adds_epi16(_mm512_packs_epi32(a, b), zero_point);
        let high = _mm512_adds_epi16(_mm512_packs_epi32(c, d), zero_point);
        // Packing goes by quarters of a register, so fours of each of the registers follow one another.
        _mm512_permutexvar_epi32(quarters(), _mm512_packus_epi16(low, high))
    }
}

/// The bytes of a register, saturated.
///
/// # Safety
/// The processor has AVX-512 F.
#[inline(always)]
unsafe fn pack_one(rounded: __m512i, requantization: Requantization) -> __m128i {
    // SAFETY: the caller's.
    unsafe {
        let low = _mm512_set1_epi32(-requantization.zero_point);
        let bytes = _mm512_add_epi32(_mm512_max_epi32(rounded, low), _mm512_set1_epi32(requantization.zero_point));
        _mm512_cvtepi32_epi8(bytes)
    }
}
