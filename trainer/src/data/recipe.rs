//! How pictures of a modality are prepared for a net, unless something else was chosen.

use thorax_shared::{
    modality::Modality,
    preprocess::spec::{Clahe, Core, Equalisation, Normalise, PreprocessSpec, Window},
};

/// A slice without a unit is taken for equalised from this value of [`within_limit`](thorax_shared::preprocess::clahe::within_limit) on.
/// Of the training and validation slices 97 % of those that were equalised before they were published reach it, and of these 86 % after a blur
/// of one pixel too; of the others 5 %, nearly all of them figures out of papers. Of films that are equalised and films that are not the
/// values overlap.
pub const EQUALISED_FROM: f32 = 0.71;

/// How pictures of a modality are prepared for a net with inputs of `side` x `side`.
pub fn preprocess_spec(modality: Modality, side: u32, normalise: Normalise) -> PreprocessSpec {
    let clahe = Clahe { clip_limit: 2.0, tiles_x: 8, tiles_y: 8 };
    let (window, clahe, core) = match modality {
        Modality::Xray => {
            (Window::Quantiles { low: 0.005, high: 0.995 }, Equalisation::Always(clahe), Core::Film { margin: 0.02 })
        }
        Modality::Ct => (
            Window::Hounsfield { center: -600.0, width: 1500.0 },
            Equalisation::Once { clahe, done_from: EQUALISED_FROM },
            Core::Body { margin: 0.02 },
        ),
    };
    PreprocessSpec { window, working_side: 512, clahe, core, input_side: side, normalise }
}

/// `spec` as recipes are today: a slice that was equalised before is not equalised again. Nets from before recipes could say so mark such slices
/// better as well (infection of the validation split, CT 0.1: a Dice of .648, where they are equalised twice .583).
pub fn equalised_once(modality: Modality, spec: PreprocessSpec) -> PreprocessSpec {
    match (modality, spec.clahe) {
        (Modality::Ct, Equalisation::Always(clahe)) => {
            PreprocessSpec { clahe: Equalisation::Once { clahe, done_from: EQUALISED_FROM }, ..spec }
        }
        _ => spec,
    }
}

/// The part of a picture that a network sees, in words.
pub fn seen_part(core: Core) -> &'static str {
    match core {
        Core::Whole => "the whole picture",
        Core::Body { .. } => "the body",
        Core::Film { .. } => "the exposed film",
        Core::Lungs { .. } => "the lungs that the segmenter finds",
        Core::LungsAlone { .. } => "the lungs that the segmenter finds, without what lies around them",
    }
}
