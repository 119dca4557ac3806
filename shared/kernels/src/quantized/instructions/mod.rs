//! What the kernels ask of a processor, and which of its instruction sets answers.

#[cfg(target_arch = "x86_64")]
mod avx2;
#[cfg(target_arch = "x86_64")]
mod avx512;
#[cfg(target_arch = "aarch64")]
mod neon;
mod portable;

use std::fmt;

use portable::Portable;

/// The most sums that a register of any instruction set has.
pub(super) const MOST_LANES: usize = 16;

/// Instructions that sum products of four unsigned with four signed bytes in 32 bits, exactly.
///
/// A *register* holds the sums of [`Self::LANES`] output channels. Beside each sum lie four values and four weights, which
/// belong to the same four consecutive places of the sum's products.
///
/// # Safety
/// Whoever calls any of the functions runs on a processor that has the instructions, from code that was compiled for them
/// (see [`InstructionSet::run`]).
pub(super) unsafe trait Instructions: Copy + 'static {
    /// Sums of a register.
    const LANES: usize;
    /// Bytes of the weights of a register: four for each sum, in whatever form.
    const WEIGHT_BYTES: usize;
    /// The most pixels of a tile with one, two, three and four registers of output channels; 0 where there is no such tile.
    const TILES: [usize; 4];
    /// What the values are lowered by before they are multiplied, for instructions that know only signed bytes.
    const LOWERED: i32 = 0;

    /// A register of sums.
    type Sums: Copy;
    /// A register of weights.
    type Weights: Copy;
    /// Sixteen consecutive values of one pixel, or where they are.
    type Values: Copy;
    /// Four values for each sum of a register.
    type Own: Copy;

    /// Writes `[lane][4]` weights in the form in which [`Self::weights`] reads them, [`Self::WEIGHT_BYTES`] long.
    fn pack(weights: &[[i8; 4]], packed: &mut [u8]);

    /// Reads a register of sums.
    ///
    /// # Safety
    /// [`Self::LANES`] values can be read.
    unsafe fn sums(from: *const i32) -> Self::Sums;

    /// Reads a register of weights.
    ///
    /// # Safety
    /// [`Self::WEIGHT_BYTES`] bytes can be read.
    unsafe fn weights(from: *const u8) -> Self::Weights;

    /// Sixteen values of a pixel.
    ///
    /// # Safety
    /// Sixteen bytes can be read for as long as the result is used.
    unsafe fn sixteen(from: *const u8) -> Self::Values;

    /// Four values of a pixel, the first quarter of sixteen.
    ///
    /// # Safety
    /// Four bytes can be read for as long as the result is used.
    unsafe fn four(from: *const u8) -> Self::Values;

    /// Adds to each sum the product of its four weights with the `QUARTER`-th four of the values.
    ///
    /// # Safety
    /// `values` have this quarter.
    unsafe fn add<const QUARTER: usize>(sums: Self::Sums, values: Self::Values, weights: Self::Weights) -> Self::Sums;

    /// `[lane][4]` values.
    ///
    /// # Safety
    /// Four bytes for each of [`Self::LANES`] can be read.
    unsafe fn own(from: *const u8) -> Self::Own;

    /// Adds to each sum the product of its four weights with its own four values.
    ///
    /// # Safety
    /// As for all.
    unsafe fn add_own(sums: Self::Sums, values: Self::Own, weights: Self::Weights) -> Self::Sums;

    /// Writes `sums * multipliers`, as bytes: see [`Requantization`].
    ///
    /// # Safety
    /// `N * LANES` multipliers can be read, `N * LANES` bytes written.
    unsafe fn store_all<const N: usize>(
        sums: [Self::Sums; N],
        multipliers: *const f32,
        requantization: Requantization,
        out: *mut u8,
    );

    /// The same for the first `channels` of the sums.
    ///
    /// # Safety
    /// `N * LANES` multipliers can be read, `channels` bytes written, and there are as many sums.
    #[inline(always)]
    unsafe fn store<const N: usize>(
        sums: [Self::Sums; N],
        multipliers: *const f32,
        requantization: Requantization,
        out: *mut u8,
        channels: usize,
    ) {
        const { assert!(Self::LANES <= MOST_LANES && N <= 4) };
        // SAFETY: the caller's where the channels are all of the lanes. Else all are written into an array that has room for
        // every lane there can be, and `channels` of them, which are not more, are copied.
        unsafe {
            if channels == N * Self::LANES {
                Self::store_all(sums, multipliers, requantization, out);
            } else {
                let mut bytes = [0u8; 4 * MOST_LANES];
                Self::store_all(sums, multipliers, requantization, bytes.as_mut_ptr());
                std::ptr::copy_nonoverlapping(bytes.as_ptr(), out, channels);
            }
        }
    }

    /// Writes the bytes of one register of each of `M` pixels, at most four, which begin `step` bytes from one another.
    ///
    /// # Safety
    /// `LANES` multipliers can be read, `channels` bytes be written at each pixel, and there are as many sums.
    #[inline(always)]
    unsafe fn store_pixels<const M: usize>(
        sums: [Self::Sums; M],
        multipliers: *const f32,
        requantization: Requantization,
        out: *mut u8,
        step: usize,
        channels: usize,
    ) {
        for (m, sums) in sums.into_iter().enumerate() {
            // SAFETY: the caller's.
            unsafe { Self::store([sums], multipliers, requantization, out.add(m * step), channels) };
        }
    }

    /// Writes four rows' values side by side, `[channel][4]`; all are of equal length.
    ///
    /// # Safety
    /// As for all.
    #[inline(always)]
    unsafe fn interleave(rows: [&[u8]; 4], out: &mut [[u8; 4]]) {
        let [a, b, c, d] = rows;
        for ((((out, a), b), c), d) in out.iter_mut().zip(a).zip(b).zip(c).zip(d) {
            *out = [*a, *b, *c, *d];
        }
    }
}

/// How a sum of products becomes a byte: as f32 it is multiplied, bounded, rounded to the nearest integer (ties to the even
/// one), and raised by the output's zero point. That is what ONNX Runtime does, in this order
/// (`MlasRequantizeOutput`, onnxruntime/core/mlas/lib/quantize.cpp); bounds before rounding equal saturation behind it,
/// since they are integers.
#[derive(Clone, Copy, Debug)]
pub(super) struct Requantization {
    /// The output's zero point.
    pub(super) zero_point: i32,
    /// The bound below, `-zero_point`.
    pub(super) low: f32,
    /// The bound above, `255 - zero_point`.
    pub(super) high: f32,
}

impl Requantization {
    pub(super) fn new(zero_point: u8) -> Self {
        Self { zero_point: i32::from(zero_point), low: -f32::from(zero_point), high: 255.0 - f32::from(zero_point) }
    }

    /// The byte of one sum.
    #[inline(always)]
    pub(super) fn byte(self, sum: i32, multiplier: f32) -> u8 {
        let value = (sum as f32 * multiplier).max(self.low).min(self.high);
        (value.round_ties_even() as i32 + self.zero_point) as u8
    }
}

/// Writes the weights as they are, for most instructions.
fn pack_as_they_are(weights: &[[i8; 4]], packed: &mut [u8]) {
    for (packed, weight) in packed.iter_mut().zip(weights.as_flattened()) {
        *packed = *weight as u8;
    }
}

/// Something to be carried out with an instruction set.
pub(super) trait Work {
    /// What comes out.
    type Output;

    /// Carries it out; to be inlined in whole (`#[inline(always)]`), or it is compiled without the instructions.
    ///
    /// # Safety
    /// As [`Instructions`] says.
    unsafe fn run<I: Instructions>(self) -> Self::Output;
}

/// Instructions of this machine by which products of bytes are summed. There is no value for instructions that it lacks.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct InstructionSet(Kind);

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
enum Kind {
    Portable,
    #[cfg(target_arch = "x86_64")]
    Avx2,
    #[cfg(target_arch = "x86_64")]
    AvxVnni,
    #[cfg(target_arch = "x86_64")]
    Avx512Vnni,
    #[cfg(target_arch = "aarch64")]
    Neon,
    /// For weights of -128, of whose products NEON can not add two in 16 bits.
    #[cfg(target_arch = "aarch64")]
    NeonFullRange,
    #[cfg(target_arch = "aarch64")]
    NeonDotProduct,
}

impl InstructionSet {
    /// Plain Rust, which every machine runs.
    pub const PORTABLE: Self = Self(Kind::Portable);

    /// All that this machine has, the best first; [`Self::PORTABLE`] is the last.
    pub fn available() -> Vec<Self> {
        let mut sets = vec![];
        #[cfg(target_arch = "x86_64")]
        {
            use std::arch::is_x86_feature_detected as has;
            if has!("avx512f") && has!("avx512bw") && has!("avx512vl") && has!("avx512vnni") {
                sets.push(Self(Kind::Avx512Vnni));
            }
            if has!("avx2") && has!("avxvnni") {
                sets.push(Self(Kind::AvxVnni));
            }
            if has!("avx2") {
                sets.push(Self(Kind::Avx2));
            }
        }
        #[cfg(target_arch = "aarch64")]
        {
            use std::arch::is_aarch64_feature_detected as has;
            if has!("neon") && has!("dotprod") {
                sets.push(Self(Kind::NeonDotProduct));
            }
            if has!("neon") {
                sets.push(Self(Kind::Neon));
            }
        }
        sets.push(Self::PORTABLE);
        sets
    }

    /// The best of this machine, or [`Self::PORTABLE`] where [`use_portable_kernels`](crate::use_portable_kernels) asks so.
    pub fn best() -> Self {
        if crate::simd::portable() { Self::PORTABLE } else { Self::available()[0] }
    }

    /// The same, or what stands in for it with these weights.
    pub(super) fn for_weights(self, weights: &[i8]) -> Self {
        #[cfg(target_arch = "aarch64")]
        if self.0 == Kind::Neon && weights.contains(&i8::MIN) {
            return Self(Kind::NeonFullRange);
        }
        let _ = weights;
        self
    }

    /// Carries out `work` with these instructions.
    #[inline(always)]
    pub(super) fn run<W: Work>(self, work: W) -> W::Output {
        match self.0 {
            // SAFETY: it needs nothing.
            Kind::Portable => unsafe { work.run::<Portable>() },
            // SAFETY: `available` makes this value only where the machine has the instructions for which the function is
            // compiled; so for those below.
            #[cfg(target_arch = "x86_64")]
            Kind::Avx2 => unsafe { avx2::with_avx2(work) },
            // SAFETY: as above.
            #[cfg(target_arch = "x86_64")]
            Kind::AvxVnni => unsafe { avx2::with_avx_vnni(work) },
            // SAFETY: as above.
            #[cfg(target_arch = "x86_64")]
            Kind::Avx512Vnni => unsafe { avx512::with_avx512_vnni(work) },
            // SAFETY: as above.
            #[cfg(target_arch = "aarch64")]
            Kind::Neon => unsafe { neon::with_neon::<W, false>(work) },
            // SAFETY: as above; `for_weights` makes it of `Neon`.
            #[cfg(target_arch = "aarch64")]
            Kind::NeonFullRange => unsafe { neon::with_neon::<W, true>(work) },
            // SAFETY: as above.
            #[cfg(target_arch = "aarch64")]
            Kind::NeonDotProduct => unsafe { neon::with_dot_product(work) },
        }
    }
}

impl fmt::Display for InstructionSet {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self.0 {
            Kind::Portable => "portable",
            #[cfg(target_arch = "x86_64")]
            Kind::Avx2 => "AVX2",
            #[cfg(target_arch = "x86_64")]
            Kind::AvxVnni => "AVX-VNNI",
            #[cfg(target_arch = "x86_64")]
            Kind::Avx512Vnni => "AVX-512 VNNI",
            #[cfg(target_arch = "aarch64")]
            Kind::Neon | Kind::NeonFullRange => "NEON",
            #[cfg(target_arch = "aarch64")]
            Kind::NeonDotProduct => "NEON with dot product",
        })
    }
}
