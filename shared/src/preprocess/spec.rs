//! The recipe by which an image becomes a tensor; it travels in the bundle, so that the device does
//! exactly what the trainer did.

use alloc::vec::Vec;
use serde::{Deserialize, Serialize};

/// The whole recipe. The steps are carried out in the order of the fields.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct PreprocessSpec {
    /// From stored values to 8 bits.
    pub window: Window,
    /// Larger pictures are first shrunk (area average) until their longer side is this many pixels,
    /// so that the contrast limit and the quality score mean the same for every detector.
    pub working_side: u32,
    /// Contrast limited adaptive histogram equalisation (paper, section III), `None` to leave it out.
    pub clahe: Option<Clahe>,
    /// How the core (body or film) is found, and cropped to (paper, section III).
    pub core: Core,
    /// Width and height of the network's input.
    pub input_side: u32,
    /// From 8 bits to the network's numbers.
    pub normalise: Normalise,
}

/// From stored values to 8 bits.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub enum Window {
    /// For pixels that have no unit: the `low` and `high` quantiles (0 to 1) become 0 and 255. Eight-bit
    /// pictures are left as they are: somebody windowed them already.
    Quantiles {
        /// Share of pixels that become black.
        low: f32,
        /// One minus the share of pixels that become white.
        high: f32,
    },
    /// For Hounsfield units: `center - width / 2` becomes 0, `center + width / 2` becomes 255. Pictures without a
    /// unit are windowed by the quantiles 0.005 and 0.995 if they have more than eight bits.
    Hounsfield {
        /// Middle of the window, in HU.
        center: f32,
        /// Width of the window, in HU.
        width: f32,
    },
}

/// Parameters of CLAHE, with OpenCV's meaning.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct Clahe {
    /// OpenCV's `clipLimit`; 0 or less means no limit.
    pub clip_limit: f64,
    /// Tiles across.
    pub tiles_x: u32,
    /// Tiles down.
    pub tiles_y: u32,
}

/// How the core of the picture is found.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub enum Core {
    /// The whole picture.
    Whole,
    /// The largest body: the largest connected region brighter than Otsu's threshold, with what it encloses.
    Body {
        /// Margin around it, as a share of its longer side.
        margin: f32,
    },
    /// The exposed film: uniform borders (black or white frames, collimation) are cut off.
    Film {
        /// Margin around it, as a share of its longer side.
        margin: f32,
    },
}

/// From 8 bits to the network's numbers: `(value / 255 - mean[c]) / std[c]` for each channel `c`; the grey picture is
/// repeated in every channel.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Normalise {
    /// One mean a channel.
    pub mean: Vec<f32>,
    /// One standard deviation a channel.
    pub std: Vec<f32>,
}
