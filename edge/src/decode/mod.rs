//! From a file's bytes to upright grey pixels of known meaning.

use thorax_shared::{label::Modality, plane::Orientation, preprocess::Pixels};

/// One picture, upright and with dark meaning air, ready for preprocessing.
#[derive(Clone, Debug, PartialEq)]
pub struct Frame {
    /// The pixels as a reader expects them: head up for films, the patient's right on the left of the picture,
    /// anterior up for slices; air dark, bone bright.
    pub pixels: Pixels,
    /// What the file says it is; `None` where it does not say.
    pub modality: Option<Modality>,
    /// How the stored rows and columns were turned to make `pixels`; masks are turned back by its inverse.
    pub orientation: Orientation,
    /// Height and width of a pixel of `pixels` in millimetres (down, across), where the file says.
    pub spacing_mm: Option<[f32; 2]>,
    /// Share of pixels (0 to 1) that are clearly coloured; radiographs have (nearly) none.
    pub colour_share: f32,
}
