//! A picture in few numbers: by which it is known again, and its facts.

use std::sync::OnceLock;

use image::GrayImage;
use image_hasher::{HashAlg, Hasher, HasherConfig};
use thorax_shared::{
    plane::Plane,
    preprocess::{
        Equalised, PreprocessError,
        quality::QualityLimits,
        resize_u8,
        spec::{Core, Equalisation, Normalise, PreprocessSpec},
    },
};

use super::{facts::Facts, letters};
use crate::data::{Manifest, Record, picture::Picture, recipe::preprocess_spec};

/// Columns and rows of what is compared.
pub(super) const SIDE: usize = 64;
/// Of the blur whose difference to the picture is its detail, in pixels of the small picture.
const BLUR: usize = 4;

/// A picture in few numbers.
pub(super) struct Sketch {
    /// 256 bits that change little when a picture is changed a little.
    pub(super) hash: [u64; 4],
    /// What is left of the small picture without what all chests have in common, its greatest 127.
    pub(super) detail: Vec<i8>,
    /// Length of `detail`.
    pub(super) norm: f32,
    pub(super) facts: Facts,
}

impl Sketch {
    /// Of a record's picture; `None` where it is too small for one.
    pub(super) fn of(manifest: &Manifest, record: &Record, picture: &Picture) -> Option<Self> {
        let recipe = PreprocessSpec {
            clahe: Equalisation::Never,
            core: Core::Whole,
            ..preprocess_spec(record.modality, SIDE as u32, no_normalisation())
        };
        Self::new(picture, &recipe, |sharpness, letters| Facts::of(manifest, record, picture, sharpness, letters)).ok()
    }

    fn new(
        picture: &Picture,
        recipe: &PreprocessSpec,
        facts: impl FnOnce(f32, bool) -> Facts,
    ) -> Result<Self, PreprocessError> {
        let equalised = Equalised::new(&picture.frame.pixels, recipe)?;
        let (quality, _) = equalised.assess(0.0, &QualityLimits::default());
        let windowed = &equalised.windowed;
        let longer = windowed.width().max(windowed.height()).max(1);
        let at_512 = |side: usize| (side * 512 / longer).max(1);
        let working = resize_u8(windowed, at_512(windowed.width()), at_512(windowed.height()));
        let letters = letters::any(&working);
        let (small, _) = equalised.input(&equalised.crop(Core::Whole, None), recipe);
        let (hash, detail) = of_small(&small);
        let norm = detail.iter().map(|&value| f32::from(value).powi(2)).sum::<f32>().sqrt();
        Ok(Self { hash, detail, norm, facts: facts(quality.sharpness, letters) })
    }
}

/// Hash and detail of a picture of [`SIDE`] x [`SIDE`].
pub(super) fn of_small(small: &Plane<u8>) -> ([u64; 4], Vec<i8>) {
    let ranked = ranked(small);
    (hash(&ranked), detail(&ranked))
}

/// Greys by their rank, so that no gamma and no window changes them.
fn ranked(small: &Plane<u8>) -> Plane<u8> {
    let mut below = [0_usize; 257];
    small.data().iter().for_each(|&grey| below[usize::from(grey) + 1] += 1);
    for grey in 0..256 {
        below[grey + 1] += below[grey];
    }
    let all = small.data().len().max(1);
    small.map(|grey| {
        let grey = usize::from(grey);
        ((below[grey] + below[grey + 1]) * 255 / (2 * all)) as u8
    })
}

/// The perceptual hash of `image_hasher`: signs of the differences of neighbours after a cosine transform.
fn hash(ranked: &Plane<u8>) -> [u64; 4] {
    // Its cosine transform is planned once.
    static HASHER: OnceLock<Hasher<[u8; 32]>> = OnceLock::new();
    let hasher = HASHER.get_or_init(|| {
        HasherConfig::with_bytes_type::<[u8; 32]>()
            .hash_size(16, 16)
            .hash_alg(HashAlg::Median)
            .preproc_dct()
            .to_hasher()
    });
    let image = GrayImage::from_raw(SIDE as u32, SIDE as u32, ranked.data().to_vec()).unwrap_or_default();
    let bytes = hasher.hash_image(&image);
    let mut words = [0; 4];
    for (word, bytes) in words.iter_mut().zip(bytes.as_bytes().chunks(8)) {
        *word = bytes.iter().fold(0, |word, &byte| word << 8 | u64::from(byte));
    }
    words
}

/// The picture less its blur.
fn detail(ranked: &Plane<u8>) -> Vec<i8> {
    let blurred = blurred(ranked);
    let mean: Vec<f32> = ranked.data().iter().zip(&blurred).map(|(&grey, blur)| f32::from(grey) - blur).collect();
    let offset = mean.iter().sum::<f32>() / mean.len().max(1) as f32;
    let largest = mean.iter().map(|value| (value - offset).abs()).fold(1.0, f32::max);
    mean.iter().map(|value| ((value - offset) / largest * 127.0).round() as i8).collect()
}

/// The mean of the square of `2 BLUR + 1` pixels around each.
fn blurred(plane: &Plane<u8>) -> Vec<f32> {
    let (width, height) = (plane.width(), plane.height());
    // Sums of all that lies above and to the left.
    let mut sums = vec![0_u32; (width + 1) * (height + 1)];
    for y in 0..height {
        let mut row = 0;
        for x in 0..width {
            row += u32::from(plane.get(x, y));
            sums[(y + 1) * (width + 1) + x + 1] = sums[y * (width + 1) + x + 1] + row;
        }
    }
    let mean = |i: usize| {
        let (x, y) = (i % width, i / width);
        let (left, right) = (x.saturating_sub(BLUR), (x + BLUR + 1).min(width));
        let (top, bottom) = (y.saturating_sub(BLUR), (y + BLUR + 1).min(height));
        let at = |x: usize, y: usize| sums[y * (width + 1) + x];
        let sum = at(right, bottom) + at(left, top) - at(left, bottom) - at(right, top);
        sum as f32 / ((right - left) * (bottom - top)) as f32
    };
    (0..width * height).map(mean).collect()
}

pub(super) fn no_normalisation() -> Normalise {
    Normalise { mean: vec![0.0], std: vec![1.0] }
}
