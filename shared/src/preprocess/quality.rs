//! Whether a picture is good enough to be read.
//!
//! The paper takes blurred and unclear images out before anything else and does not say how. Here each picture is
//! measured, the measures are held against limits that travel with the model, and the first limit that is broken is
//! the reason given. The measures are there whether the picture is refused or not.

use super::{
    PreprocessError,
    resize::{fitted, resize_u8},
};
use crate::{plane::Plane, verdict::RejectReason};
use alloc::vec::Vec;
use serde::{Deserialize, Serialize};

/// Grey values below this are dark, and values from 256 less this on are bright.
const TAIL: u8 = 16;

/// Larger pictures are shrunk to this longer side before anything is measured: a chest at twice the resolution has
/// edges twice as wide in pixels, and the limits are to mean the same for every working side.
pub const MEASURED_SIDE: usize = 512;

/// What was measured, on the working picture (windowed, before equalisation), shrunk to [`MEASURED_SIDE`].
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct Quality {
    /// 0 (no edges, or edges that more blur would not change) to 1: one minus the blur of Crete et al., see
    /// [`sharpness`].
    pub sharpness: f32,
    /// Standard deviation of the grey values, as a share of 255 (root mean square contrast): 0 to 0.5.
    pub contrast: f32,
    /// Share of pixels below 16: 0 to 1.
    pub dark_share: f32,
    /// Share of pixels above 239: 0 to 1.
    pub bright_share: f32,
    /// Effective number of grey levels: 2 to the power of the histogram's entropy in bits, 1 to 256. Unlike a count of
    /// the levels that occur it stays low for a mask whose edges were softened by JPEG or by shrinking.
    pub grey_levels: f32,
    /// 0 (at or beyond a limit) to 1: the least of
    /// - sharpness and contrast, each counted linearly from its limit (0) to its `good` value (1),
    /// - `2 * (1 - share / limit)` for the dark and for the bright share, so 1 up to half of the limit.
    ///
    /// It is for the operator's eye and the journal; no decision hangs on it.
    pub score: f32,
}

/// What a picture has to reach.
///
/// The defaults were set on the train part of the project's collection of real chest X-rays and CT slices (longer
/// side up to 512 pixels, JPEG; `xray_siim` 256) with `shared/references/quality_calibration.py`, so that few real pictures, and few that
/// are a little blurred (a), and most spoiled ones are refused:
///
/// | refused of | pictures | as they are | blurred (a) | blurred (b) | dark (c) | white (d) | two levels (e) |
/// |---|---|---|---|---|---|---|---|
/// | `xray` | 754 | 0.0 % | 0.0 % | 75.3 % | 100.0 % | 100.0 % | 100.0 % |
/// | `xray_siim` | 2069 | 0.1 % | 0.4 % | 66.4 % | 100.0 % | 100.0 % | 100.0 % |
/// | `ct` | 1075 | 0.1 % | 0.1 % | 79.1 % | 100.0 % | 100.0 % | 100.0 % |
/// | `seg` | 518 | 0.0 % | 0.0 % | 19.3 % | 100.0 % | 100.0 % | 100.0 % |
/// | `seg_xray` | 55 | 0.0 % | 0.0 % | 81.8 % | 100.0 % | 100.0 % | 100.0 % |
///
/// (a) Gaussian blur, sigma 1 pixel; (b) sigma 4 pixels at a longer side of 512: what has sharp letters or borders on it, or was sharpened
/// much, passes all the same, and a limit that refuses it (0.42 before) refuses half of what is blurred by one pixel; (c) grey values
/// times 0.05; (d) distance from white times 0.06; (e) black where the picture is below 128, else white, saved as JPEG. All 573 infection
/// masks of these sets are refused as well.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct QualityLimits {
    /// Least width and height of the source in pixels.
    pub min_side: u32,
    /// Greatest ratio of the source's longer to its shorter side.
    pub max_aspect: f32,
    /// Greatest share of coloured pixels.
    pub max_colour_share: f32,
    /// Least [`Quality::grey_levels`].
    pub min_grey_levels: f32,
    /// Greatest [`Quality::dark_share`].
    pub max_dark_share: f32,
    /// Greatest [`Quality::bright_share`].
    pub max_bright_share: f32,
    /// Least [`Quality::contrast`].
    pub min_contrast: f32,
    /// The contrast that is good enough for the full score.
    pub good_contrast: f32,
    /// Least [`Quality::sharpness`].
    pub min_sharpness: f32,
    /// The sharpness that is good enough for the full score.
    pub good_sharpness: f32,
}

impl Default for QualityLimits {
    fn default() -> Self {
        Self {
            min_side: 64,
            max_aspect: 3.0,
            max_colour_share: 0.1,
            min_grey_levels: 7.0,
            max_dark_share: 0.85,
            max_bright_share: 0.9,
            min_contrast: 0.04,
            good_contrast: 0.16,
            min_sharpness: 0.24,
            good_sharpness: 0.6,
        }
    }
}

impl QualityLimits {
    /// Whether every limit is a number; one that is not would refuse nothing.
    ///
    /// # Errors
    /// [`PreprocessError::Number`] with the first that is not finite or below 0.
    pub fn validate(&self) -> Result<(), PreprocessError> {
        for (name, value) in [
            ("max_aspect", self.max_aspect),
            ("max_colour_share", self.max_colour_share),
            ("min_grey_levels", self.min_grey_levels),
            ("max_dark_share", self.max_dark_share),
            ("max_bright_share", self.max_bright_share),
            ("min_contrast", self.min_contrast),
            ("good_contrast", self.good_contrast),
            ("min_sharpness", self.min_sharpness),
            ("good_sharpness", self.good_sharpness),
        ] {
            if !value.is_finite() || value < 0.0 {
                return Err(PreprocessError::Number { name, value: value.into(), range: "a finite number, 0 or more" });
            }
        }
        Ok(())
    }
}

/// Measures the working picture, and says why the picture is to be refused, if it is.
///
/// `source` is the windowed picture as it came, `colour_share` the share of its pixels that are not grey (0 for formats
/// without colour). Its size is held against the limits, and its grey levels are counted as well as those of the working picture:
/// shrinking makes greys of the dots of a printed page.
///
/// The limits are tried in this order: size, shape, colour, masks, darkness, brightness, contrast, grey levels, sharpness.
/// A picture without pixels is too small.
pub fn assess(
    working: &Plane<u8>,
    source: &Plane<u8>,
    colour_share: f32,
    limits: &QualityLimits,
) -> (Quality, Option<RejectReason>) {
    let (width, height) = fitted(working.width(), working.height(), MEASURED_SIDE);
    let working = &resize_u8(working, width, height);
    let [greys, source_greys] = [working, source].map(Greys::of);
    let variance = (greys.square - greys.mean * greys.mean).max(0.0);
    let mut quality = Quality {
        sharpness: sharpness(working),
        contrast: (libm::sqrt(variance) / 255.0) as f32,
        dark_share: greys.dark_share,
        bright_share: greys.bright_share,
        grey_levels: greys.levels.min(source_greys.levels),
        score: 0.0,
    };
    quality.score = score(&quality, limits);
    let mask = [&greys, &source_greys].into_iter().any(|greys| greys.are_of_a_mask(limits));
    (quality, refusal(&quality, mask, (source.width(), source.height()), colour_share, limits))
}

/// How the greys of a picture are distributed.
struct Greys {
    mean: f64,
    /// Mean of the squares.
    square: f64,
    /// See [`Quality`].
    dark_share: f32,
    bright_share: f32,
    /// Effective number, see [`Quality::grey_levels`].
    levels: f32,
    /// How many occur.
    different: usize,
}

impl Greys {
    fn of(picture: &Plane<u8>) -> Self {
        let mut counts = [0u32; 256];
        for &value in picture.data() {
            counts[usize::from(value)] += 1;
        }
        let total = (picture.data().len() as f64).max(1.0);
        let shares = counts.map(|count| f64::from(count) / total);
        let (dark, bright) = (usize::from(TAIL), 256 - usize::from(TAIL));
        let entropy: f64 = shares.iter().filter(|share| **share > 0.0).map(|share| -share * libm::log2(*share)).sum();
        Self {
            mean: (0u32..).zip(shares).map(|(value, share)| f64::from(value) * share).sum(),
            square: (0u32..).zip(shares).map(|(value, share)| f64::from(value * value) * share).sum(),
            dark_share: shares[..dark].iter().sum::<f64>() as f32,
            bright_share: shares[bright..].iter().sum::<f64>() as f32,
            levels: libm::exp2(entropy) as f32,
            different: counts.iter().filter(|&&count| count > 0).count(),
        }
    }

    /// Most of a mask is background, so it would pass for an underexposed picture: it is told by its few values, or by
    /// having hardly any but black and white.
    fn are_of_a_mask(&self, limits: &QualityLimits) -> bool {
        let black_and_white =
            self.dark_share > 0.0 && self.bright_share > 0.0 && self.dark_share + self.bright_share > 0.97;
        self.levels < limits.min_grey_levels && ((2..=MASK_LEVELS).contains(&self.different) || black_and_white)
    }
}

fn score(quality: &Quality, limits: &QualityLimits) -> f32 {
    let share_of =
        |value: f32, least: f32, good: f32| if good > least { (value - least) / (good - least) } else { 1.0 };
    let room = |share: f32, most: f32| if most > 0.0 { 2.0 * (1.0 - share / most) } else { 0.0 };
    [
        share_of(quality.sharpness, limits.min_sharpness, limits.good_sharpness),
        share_of(quality.contrast, limits.min_contrast, limits.good_contrast),
        room(quality.dark_share, limits.max_dark_share),
        room(quality.bright_share, limits.max_bright_share),
    ]
    .into_iter()
    .fold(1.0, f32::min)
    .max(0.0)
}

/// A picture of two to this many grey values is a mask, however dark it is.
const MASK_LEVELS: usize = 3;

fn refusal(
    quality: &Quality,
    mask: bool,
    (width, height): (usize, usize),
    colour_share: f32,
    limits: &QualityLimits,
) -> Option<RejectReason> {
    let (shorter, longer) = (width.min(height), width.max(height));
    [
        (shorter < (limits.min_side as usize).max(1), RejectReason::TooSmall),
        (longer as f64 > shorter as f64 * f64::from(limits.max_aspect), RejectReason::Shape),
        (colour_share > limits.max_colour_share, RejectReason::Colour),
        (mask, RejectReason::FewGreyLevels),
        (quality.dark_share > limits.max_dark_share, RejectReason::Underexposed),
        (quality.bright_share > limits.max_bright_share, RejectReason::Overexposed),
        (quality.contrast < limits.min_contrast, RejectReason::LowContrast),
        (quality.grey_levels < limits.min_grey_levels, RejectReason::FewGreyLevels),
        (quality.sharpness < limits.min_sharpness, RejectReason::Blurred),
    ]
    .into_iter()
    .find_map(|(broken, reason)| broken.then_some(reason))
}

/// How many neighbours on each side the blur takes in: with the pixel itself nine, as in the paper.
const REACH: usize = 4;

/// One minus the blur of Crete, Dolmiere, Ladret and Nicolas (*The blur effect: perception and estimation with a new
/// no-reference perceptual quality metric*, SPIE 6492, 2007).
///
/// The picture is blurred once more, by a mean over nine pixels. In a sharp picture that takes away much of the
/// difference between neighbours, in a blurred one little: the sharpness is the share of the differences (summed
/// over the picture, along x and along y, the lesser of the two) that goes. It depends on neither brightness nor
/// contrast, and noise of a level or two, which drives the variance of the Laplacian, moves it little. 0 where
/// there is no difference at all.
pub fn sharpness(picture: &Plane<u8>) -> f32 {
    let mut along_x = Differences::default();
    let mut line = Vec::new();
    for y in 0..picture.height() {
        along_x.add(picture.row(y), &mut line);
    }
    let mut along_y = Differences::default();
    let mut column = Vec::with_capacity(picture.height());
    for x in 0..picture.width() {
        column.clear();
        column.extend((0..picture.height()).map(|y| picture.row(y)[x]));
        along_y.add(&column, &mut line);
    }
    along_x.share_lost().min(along_y.share_lost())
}

/// Sums of differences of neighbours, in ninths of a grey level.
#[derive(Default)]
struct Differences {
    before: u64,
    lost: u64,
}

impl Differences {
    fn add(&mut self, line: &[u8], padded: &mut Vec<u8>) {
        let (Some(&first), Some(&last)) = (line.first(), line.last()) else { return };
        padded.clear();
        padded.extend(core::iter::repeat_n(first, REACH));
        padded.extend_from_slice(line);
        padded.extend(core::iter::repeat_n(last, REACH));
        // Two neighbours' means over `2 * REACH + 1` pixels share all but the outermost ones.
        let outermost = padded.iter().zip(&padded[2 * REACH + 1..]);
        for (pair, (&leaving, &entering)) in line.windows(2).zip(outermost) {
            let difference = (2 * REACH as u64 + 1) * u64::from(pair[0].abs_diff(pair[1]));
            self.before += difference;
            self.lost += difference.saturating_sub(leaving.abs_diff(entering).into());
        }
    }

    fn share_lost(&self) -> f32 {
        if self.before == 0 { 0.0 } else { (self.lost as f64 / self.before as f64) as f32 }
    }
}
