//! What the default limits refuse, on pictures made for the purpose. For the real ones see
//! `references/quality_calibration.py`.
#![allow(clippy::unwrap_used, reason = "a test may fail")]

#[path = "references/preprocess/synthetic.rs"]
mod synthetic;

use thorax_shared::{
    plane::Plane,
    preprocess::{
        Equalised, FoundLungs, Pixels, PreprocessSpec, Quality, QualityLimits, assess, resize_u8,
        spec::{Clahe, Core, Equalisation, Normalise, Window},
    },
    verdict::RejectReason,
};

/// Bright body, two dark lungs with ribs over them, film noise: enough of a chest for a measure of quality.
fn chest(width: usize, height: usize) -> Plane<u8> {
    let noise = synthetic::picture("noise", 7, width, height, 8);
    Plane::from_fn(width, height, |x, y| {
        let (u, v) = (x as f64 / width as f64 - 0.5, y as f64 / height as f64 - 0.5);
        let lung = ((u.abs() - 0.2) / 0.14).powi(2) + (v / 0.36).powi(2) < 1.0;
        let rib = (v * 22.0 + u * u * 30.0).sin() > 0.6;
        let noise = f64::from(noise.get(x, y)) / 255.0 * 8.0;
        (if lung { 60.0 } else { 170.0 - 120.0 * u * u } + if rib { 35.0 } else { 0.0 } + noise) as u8
    })
}

/// Means over `reach` pixels on each side along both axes, three times over: nearly a Gaussian.
fn blurred(picture: &Plane<u8>, reach: usize) -> Plane<u8> {
    let mut blurred = picture.clone();
    for _ in 0..3 {
        for axis in 0..2 {
            let before = blurred.clone();
            blurred = Plane::from_fn(picture.width(), picture.height(), |x, y| {
                let (at, length) = if axis == 0 { (x, picture.width()) } else { (y, picture.height()) };
                let near = at.saturating_sub(reach)..(at + reach + 1).min(length);
                let count = near.len() as u32;
                let value = |at| u32::from(if axis == 0 { before.get(at, y) } else { before.get(x, at) });
                (near.map(value).sum::<u32>() / count) as u8
            });
        }
    }
    blurred
}

/// As films are read.
fn recipe() -> PreprocessSpec {
    PreprocessSpec {
        window: Window::Quantiles { low: 0.005, high: 0.995 },
        working_side: 1024,
        clahe: Equalisation::Always(Clahe { clip_limit: 2.0, tiles_x: 8, tiles_y: 8 }),
        core: Core::Film { margin: 0.02 },
        input_side: 224,
        normalise: Normalise { mean: vec![0.5], std: vec![0.5] },
    }
}

fn assessed(picture: &Plane<u8>) -> (Quality, Option<RejectReason>) {
    assess(picture, picture, 0.0, &QualityLimits::default())
}

#[test]
fn a_chest_is_accepted_with_a_good_score() {
    let (quality, reason) = assessed(&chest(512, 480));
    assert_eq!(reason, None, "{quality:?}");
    assert!(quality.score > 0.3, "{quality:?}");
}

#[test]
fn spoiled_pictures_are_refused_for_what_is_wrong_with_them() {
    let chest = chest(512, 480);
    let noise = synthetic::picture("noise", 3, 512, 512, 8);
    for (name, picture, expected) in [
        // Three means over 7 pixels: sigma 3.5.
        ("blurred", blurred(&chest, 3), RejectReason::Blurred),
        ("dark", chest.map(|value| value / 20), RejectReason::Underexposed),
        ("white", chest.map(|value| 255 - (255 - value) / 16), RejectReason::Overexposed),
        ("constant", Plane::filled(512, 512, 128), RejectReason::LowContrast),
        ("constant with noise", noise.map(|value| 120 + value as u8 % 16), RejectReason::LowContrast),
        ("mask", chest.map(|value| if value > 100 { 200 } else { 40 }), RejectReason::FewGreyLevels),
        (
            "shrunk mask",
            resize_u8(&chest.map(|value| if value > 100 { 255 } else { 0 }), 300, 281),
            RejectReason::FewGreyLevels,
        ),
        ("one pixel", Plane::filled(1, 1, 128), RejectReason::TooSmall),
        ("no pixel", Plane::filled(0, 0, 128), RejectReason::TooSmall),
        ("strip", resize_u8(&chest, 2000, 100), RejectReason::Shape),
        ("upright strip", resize_u8(&chest, 100, 2000), RejectReason::Shape),
    ] {
        let (quality, reason) = assessed(&picture);
        assert_eq!(reason, Some(expected), "{name}: {quality:?}");
    }
}

#[test]
fn colour_and_source_size_count_too() {
    let chest = chest(400, 400);
    let limits = QualityLimits::default();
    assert_eq!(assess(&chest, &chest, 0.5, &limits).1, Some(RejectReason::Colour));
    assert_eq!(assess(&chest, &resize_u8(&chest, 40, 40), 0.0, &limits).1, Some(RejectReason::TooSmall));
    assert_eq!(assess(&chest, &chest, 0.01, &limits).1, None);
}

/// What a film is judged by lies inside of its frame.
#[test]
fn a_small_picture_in_a_wide_frame_is_refused_and_a_large_one_is_read_without_it() {
    let chest = chest(400, 400);
    let spec = recipe();
    let alone = Equalised::new(&Pixels::Eight(chest.clone()), &spec).unwrap();
    // Something that a segmenter found in it, at its place in a picture of `side` with the film from `from` on.
    let mask = |side: usize, from: usize| {
        let of = |at: usize, range: std::ops::Range<usize>| at >= from && range.contains(&(at - from));
        Plane::from_fn(side, side, |x, y| u8::from(of(x, 90..310) && of(y, 70..290)))
    };
    let lungs_alone = Core::LungsAlone { margin: 0.05, fade: 0.07 };
    let lungs = mask(400, 0);
    let faded = alone.input(&alone.crop(lungs_alone, Some(FoundLungs { mask: &lungs, seen: spec.core })), &spec).0;
    assert_ne!(
        faded,
        alone
            .input(&alone.crop(Core::Lungs { margin: 0.05 }, Some(FoundLungs { mask: &lungs, seen: spec.core })), &spec)
            .0
    );
    let alone = (alone.assess(0.0, &QualityLimits::default()), alone.input(&alone.crop(spec.core, None), &spec).0);
    for grey in [0, 30, 128, 200, 255] {
        for (side, refused) in [(720, Some(RejectReason::Framed)), (640, None), (410, None)] {
            let from = (side - 400) / 2;
            let framed = Plane::from_fn(side, side, |x, y| {
                let inside = |at: usize| (from..from + 400).contains(&at);
                if inside(x) && inside(y) { chest.get(x - from, y - from) } else { grey }
            });
            let equalised = Equalised::new(&Pixels::Eight(framed), &spec).unwrap();
            let (quality, reason) = equalised.assess(0.0, &QualityLimits::default());
            assert_eq!((quality, reason), (alone.0.0, refused.or(alone.0.1)), "{grey} {side}");
            let crop = equalised.crop(spec.core, None);
            assert!(crop.rect.x >= from && crop.rect.x + crop.rect.width <= from + 400, "{grey} {side}: {crop:?}");
            assert_eq!(equalised.input(&crop, &spec).0, alone.1, "{grey} {side}: not what the film alone becomes");
            let lungs = mask(side, from);
            let crop = equalised.crop(lungs_alone, Some(FoundLungs { mask: &lungs, seen: spec.core }));
            assert_eq!(equalised.input(&crop, &spec).0, faded, "{grey} {side}: faded at another place");
        }
    }
}

/// Shrunk to the working size, dots of two to four levels become the film that they stand for.
#[test]
fn a_printed_page_is_refused_however_good_it_looks_from_afar() {
    let chest = chest(1500, 1400);
    for steps in [1u32, 3] {
        // An ordered dither with a matrix of 4 x 4.
        let matrix = [[0u32, 8, 2, 10], [12, 4, 14, 6], [3, 11, 1, 9], [15, 7, 13, 5]];
        let dots = Plane::from_fn(chest.width(), chest.height(), |x, y| {
            let value = u32::from(chest.get(x, y)) * steps * 16 / 255 + matrix[y % 4][x % 4];
            ((value / 16).min(steps) * 255 / steps) as u8
        });
        let working = resize_u8(&dots, 500, 467);
        let limits = QualityLimits::default();
        let (quality, reason) = assess(&working, &dots, 0.0, &limits);
        assert_eq!(reason, Some(RejectReason::FewGreyLevels), "{steps}: {quality:?}");
        assert_eq!(assess(&working, &working, 0.0, &limits).1, None, "{steps}: the shrunk one alone would pass");
    }
}

#[test]
fn the_more_blur_the_less_sharpness_and_score() {
    let mut last = assessed(&chest(512, 512)).0;
    for reach in 1..4 {
        let quality = assessed(&blurred(&chest(512, 512), reach)).0;
        assert!(
            quality.sharpness < last.sharpness && quality.score <= last.score,
            "{reach}: {quality:?} after {last:?}"
        );
        last = quality;
    }
    assert_eq!(last.score, 0.0);
}

#[test]
fn working_sides_above_the_measured_one_change_little() {
    let large = chest(1536, 1440);
    let (sharp, _) = assessed(&large);
    let (same, _) = assessed(&resize_u8(&large, 512, 480));
    assert_eq!(sharp, same);
}

#[test]
fn limits_that_are_not_numbers_are_refused() {
    assert_eq!(QualityLimits::default().validate(), Ok(()));
    assert!(QualityLimits { max_dark_share: f32::NAN, ..Default::default() }.validate().is_err());
    assert!(QualityLimits { min_sharpness: -1.0, ..Default::default() }.validate().is_err());
}
