//! The answers that a bundle must give before it is trusted with patients.
//!
//! Whoever signs a bundle runs it on phantoms and writes down what it says; a device that says something else has another processor's
//! arithmetic, a damaged library or the wrong bundle, and would be wrong on patients without anybody seeing it. Phantoms come from whoever
//! calls: nothing here draws.

use thorax_decode::Frame;
use thorax_shared::{bundle::GoldenAnswer, plane::Orientation, preprocess::Pixels};

use crate::{
    error::{DeviceError, ScreenError},
    model::Model,
    screening,
};

/// How far probability and entropy may be apart.
const TOLERANCE: f32 = 1e-4;
/// How far the infected share of the lungs may be apart, in percent of them.
const TOLERANCE_PERCENT: f32 = 0.1;

/// What `model` says of the phantom of `seed`, with lesions or without, whose pixels are `pixels`; `None` where it gives no answer.
///
/// # Errors
/// A model that cannot be run.
pub fn answer(model: &Model, seed: u64, lesions: bool, pixels: Pixels) -> Result<Option<GoldenAnswer>, ScreenError> {
    let frame = Frame {
        stored_size: pixels.size(),
        pixels,
        modality: Some(model.manifest.modality),
        orientation: Orientation::default(),
        spacing_mm: None,
        colour_share: 0.0,
        sides_known: true,
        refer: None,
    };
    let (reading, _) = screening::read(model, &frame)?;
    let involvement = reading.masks.as_ref().and_then(|masks| masks.area.involvement());
    Ok(reading.evidence.map(|evidence| GoldenAnswer {
        seed,
        lesions,
        probability: evidence.probability,
        entropy_bits: evidence.entropy_bits,
        involvement_percent: involvement.map(|involvement| involvement.percent),
    }))
}

/// Which of its golden answers a bundle has to give.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Asked {
    /// All, before it is installed.
    All,
    /// At a start: the first with lesions, which every layer of both graphs has a part in, masks and all. What the others would tell was told
    /// when it was installed, and drawing a phantom takes longer than reading it.
    One,
}

/// Sees that `model` gives the golden answers that it is `asked` for on the phantoms that `draw` draws from a seed, with lesions or without;
/// returns how many these are.
///
/// # Errors
/// [`DeviceError::Golden`] for the first that it does not give; a model that cannot be run.
pub fn check(model: &Model, asked: Asked, draw: impl Fn(u64, bool) -> Pixels) -> Result<usize, ScreenError> {
    let golden = chosen(&model.manifest.extension.golden, asked);
    for expected in &golden {
        let found = answer(model, expected.seed, expected.lesions, draw(expected.seed, expected.lesions))?;
        if !found.as_ref().is_some_and(|found| agree(found, expected)) {
            let told = |answer: &GoldenAnswer| format!("{:.5}", answer.probability);
            return Err(DeviceError::Golden {
                bundle: model.title(),
                seed: expected.seed,
                expected: told(expected),
                found: found.as_ref().map_or_else(|| "no answer".into(), told),
            }
            .into());
        }
    }
    Ok(golden.len())
}

fn chosen(golden: &[GoldenAnswer], asked: Asked) -> Vec<&GoldenAnswer> {
    match asked {
        Asked::All => golden.iter().collect(),
        Asked::One => golden.iter().find(|answer| answer.lesions).or(golden.first()).into_iter().collect(),
    }
}

/// Whether two answers are one.
fn agree(found: &GoldenAnswer, expected: &GoldenAnswer) -> bool {
    let near = |a: f32, b: f32, tolerance: f32| (a - b).abs() <= tolerance;
    let involvement = match (found.involvement_percent, expected.involvement_percent) {
        (Some(found), Some(expected)) => near(found, expected, TOLERANCE_PERCENT),
        (found, expected) => found == expected,
    };
    near(found.probability, expected.probability, TOLERANCE)
        && near(found.entropy_bits, expected.entropy_bits, TOLERANCE)
        && involvement
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_start_asks_for_one_with_lesions() {
        let of = |seed, lesions| GoldenAnswer {
            seed,
            lesions,
            probability: 0.5,
            entropy_bits: 0.25,
            involvement_percent: None,
        };
        let golden = [of(1, false), of(2, false), of(3, true), of(4, true)];
        let seeds = |golden: &[GoldenAnswer], asked| chosen(golden, asked).iter().map(|a| a.seed).collect::<Vec<_>>();
        assert_eq!(seeds(&golden, Asked::One), [3]);
        assert_eq!(seeds(&golden, Asked::All), [1, 2, 3, 4]);
        assert_eq!(seeds(&golden[..2], Asked::One), [1]);
        assert!(seeds(&[], Asked::One).is_empty());
    }

    #[test]
    fn answers_agree_within_their_tolerance() {
        let expected = GoldenAnswer {
            seed: 1,
            lesions: true,
            probability: 0.5,
            entropy_bits: 0.25,
            involvement_percent: Some(10.0),
        };
        let with = |change: fn(&mut GoldenAnswer)| {
            let mut found = expected.clone();
            change(&mut found);
            agree(&found, &expected)
        };
        assert!(with(|_| {}) && with(|a| a.probability += 5e-5) && with(|a| a.involvement_percent = Some(10.05)));
        assert!(!with(|a| a.probability += 2e-4) && !with(|a| a.entropy_bits = f32::NAN));
        assert!(!with(|a| a.involvement_percent = None) && !with(|a| a.involvement_percent = Some(10.2)));
    }
}
