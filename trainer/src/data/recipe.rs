//! How pictures of a modality are prepared for a net, unless something else was chosen.

use thorax_shared::{
    modality::Modality,
    preprocess::spec::{Clahe, Core, Normalise, PreprocessSpec, Window},
};

/// How pictures of a modality are prepared for a net with inputs of `side` x `side`.
pub fn preprocess_spec(modality: Modality, side: u32, normalise: Normalise) -> PreprocessSpec {
    let (window, core) = match modality {
        Modality::Xray => (Window::Quantiles { low: 0.005, high: 0.995 }, Core::Film { margin: 0.02 }),
        Modality::Ct => (Window::Hounsfield { center: -600.0, width: 1500.0 }, Core::Body { margin: 0.02 }),
    };
    let clahe = Some(Clahe { clip_limit: 2.0, tiles_x: 8, tiles_y: 8 });
    PreprocessSpec { window, working_side: 512, clahe, core, input_side: side, normalise }
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
