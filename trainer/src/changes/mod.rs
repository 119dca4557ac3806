//! What a picture meets between the detector and the device: other programs' black and white, JPEG, a screenshot's border, a smaller
//! size, letters, a vendor's sharpening; and what must not pass unseen, a negative, a film on its side, a photograph of a film.
//!
//! A verdict should depend on the lungs and not on any of these, so they serve twice: [`random`] makes of a training picture the
//! ones that it might have been ([`crate::features`]), and [`KINDS`] in rising strengths are what a bundle is tried with.
//! Greys are of 8 bits, as a viewer would save them; a picture of more bits or of Hounsfield units is windowed first.
//!
//! The definitions agree with NumPy and OpenCV (`trainer/references/changes.py`, `tests`) to one grey level, but for JPEG, noise
//! and letters, which are alike in kind.

mod copies;
mod geometry;
mod greys;
mod kinds;
mod random;
#[cfg(test)]
mod tests;

pub use copies::{Copies, history};
use geometry::Sample;
pub use kinds::{KINDS, Kind};
pub use random::random;

use serde::{Deserialize, Serialize};
use thorax_shared::{
    plane::{Orientation, Plane},
    preprocess::{
        self, Pixels, clahe_u8, resize_u8,
        spec::{Clahe, Window},
    },
};

use crate::data::picture::Picture;

/// A change of a grey picture of 8 bits.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub enum Change {
    /// CLAHE over 8 x 8 tiles.
    Equalised {
        /// OpenCV's `clipLimit`.
        clip_limit: f64,
    },
    /// `255 (grey / 255)^exponent`.
    Gamma(f64),
    /// Black and white become these greys.
    Range {
        /// What 0 becomes.
        black: u8,
        /// What 255 becomes.
        white: u8,
    },
    /// A narrower window: these greys become black and white, and what is beyond them is lost.
    Window {
        /// What becomes 0.
        low: u8,
        /// What becomes 255.
        high: u8,
    },
    /// Stored as JPEG of this quality, 1 to 100.
    Jpeg(u8),
    /// Both sides times this factor (area average), and as large again as they were (bilinear).
    Softened(f64),
    /// Both sides times this factor.
    Resized(f64),
    /// The width times this factor, the height as it was.
    Squeezed(f64),
    /// A border of this share of each side, of one grey.
    Border {
        /// Of the width, left and right; of the height, above and below.
        share: f64,
        /// Its grey.
        grey: u8,
    },
    /// A collimator's shadow, tilted by two degrees, over this share of each side.
    Collimated {
        /// Of the width, left and right; of the height, above and below.
        share: f64,
    },
    /// Cut off by this share of each side.
    Cropped {
        /// Of the width, left and right; of the height, above and below.
        share: f64,
    },
    /// Turned by a few degrees around its middle, clockwise; what comes in from outside is black.
    Tilted(f64),
    /// Gaussian blur of this standard deviation in pixels.
    Blur(f64),
    /// An unsharp mask, as vendors sharpen: the picture and `amount` times its difference to its blur of `sigma` pixels.
    Sharpened {
        /// In pixels.
        sigma: f64,
        /// Of the difference.
        amount: f64,
    },
    /// Gaussian noise.
    Noise {
        /// Standard deviation in grey levels.
        sigma: f64,
        /// Of the noise.
        seed: u64,
    },
    /// A line of white letters in the upper left corner and a large L in the upper right.
    Text,
    /// A lead marker: a white box with a letter cut out, at the edge of the film.
    Marker,
    /// Left and right exchanged. It cannot be told from a film without a marker.
    Mirrored,
    /// Black and white exchanged.
    Negative,
    /// By this many quarter turns, counterclockwise.
    Turned(u8),
    /// A photograph of the film on a light box, taken by hand: perspective, a window's reflection, darker corners, JPEG.
    Photograph {
        /// Of how the camera was held.
        seed: u64,
    },
}

impl Change {
    /// The changed picture. One without pixels stays as it is.
    pub fn apply(self, picture: &Plane<u8>) -> Plane<u8> {
        if picture.data().is_empty() {
            return picture.clone();
        }
        let (width, height) = (picture.width(), picture.height());
        match self {
            Self::Equalised { clip_limit } => {
                // Refused are only other numbers of tiles and limits that are no numbers; nothing is then equalised.
                clahe_u8(picture, Clahe { clip_limit, tiles_x: 8, tiles_y: 8 }).unwrap_or_else(|_| picture.clone())
            }
            Self::Gamma(exponent) => greys::by_table(picture, |grey| 255.0 * (f64::from(grey) / 255.0).powf(exponent)),
            Self::Range { black, white } => {
                let (black, white) = (f64::from(black), f64::from(white));
                greys::by_table(picture, |grey| black + f64::from(grey) * (white - black) / 255.0)
            }
            Self::Window { low, high } => {
                let span = f64::from(high) - f64::from(low);
                greys::by_table(picture, |grey| 255.0 * (f64::from(grey) - f64::from(low)) / span.max(1.0))
            }
            Self::Jpeg(quality) => greys::jpeg(picture, quality),
            Self::Softened(factor) => {
                let small = resize_u8(picture, scaled_down(width, factor), scaled_down(height, factor));
                resize_u8(&small, width, height)
            }
            Self::Blur(sigma) => greys::blurred(picture, sigma),
            Self::Sharpened { sigma, amount } => greys::sharpened(picture, sigma, amount),
            Self::Noise { sigma, seed } => greys::noisy(picture, sigma, seed),
            Self::Text => greys::with_text(picture),
            Self::Marker => greys::with_marker(picture),
            Self::Negative => picture.map(|grey| 255 - grey),
            Self::Collimated { share } => geometry::collimated(picture, share),
            Self::Photograph { seed } => geometry::photographed(picture, seed),
            _ => self.moved(picture, Sample::Bilinear),
        }
    }

    /// A mask of the picture after the change: only where pixels lie matters to it.
    pub fn apply_to_mask(self, mask: &Plane<u8>) -> Plane<u8> {
        if mask.data().is_empty() {
            return mask.clone();
        }
        match self {
            Self::Photograph { seed } => geometry::photographed_mask(mask, seed),
            Self::Border { share, .. } => Self::Border { share, grey: 0 }.moved(mask, Sample::Nearest),
            _ => self.moved(mask, Sample::Nearest),
        }
    }

    /// What of the change moves pixels, with `sample` to read between them.
    fn moved(self, picture: &Plane<u8>, sample: Sample) -> Plane<u8> {
        let (width, height) = (picture.width(), picture.height());
        let resized = |new_width: usize, new_height: usize| match sample {
            Sample::Nearest => Plane::from_fn(new_width, new_height, |x, y| {
                picture.get((2 * x + 1) * width / (2 * new_width), (2 * y + 1) * height / (2 * new_height))
            }),
            Sample::Bilinear => resize_u8(picture, new_width, new_height),
        };
        let turned = |transpose, flip_horizontal, flip_vertical| {
            picture.oriented(Orientation { transpose, flip_horizontal, flip_vertical })
        };
        match self {
            Self::Resized(factor) => resized(scaled_down(width, factor), scaled_down(height, factor)),
            Self::Squeezed(factor) => resized(scaled_down(width, factor), height),
            Self::Border { share, grey } => geometry::bordered(picture, share, grey),
            Self::Cropped { share } => geometry::cropped(picture, share),
            Self::Tilted(degrees) => geometry::tilted(picture, degrees, sample),
            Self::Mirrored => turned(false, true, false),
            Self::Turned(quarters) => match quarters % 4 {
                0 => picture.clone(),
                1 => turned(true, false, true),
                2 => turned(false, true, true),
                _ => turned(true, true, false),
            },
            _ => picture.clone(),
        }
    }
}

/// `pixels` after all `changes`, one after the other; as they are where there is none. A picture of more than 8 bits is first windowed
/// as a viewer would that saves it, by the `window` of whoever is going to read it.
pub fn apply_all(changes: &[Change], pixels: Pixels, window: &Window) -> Pixels {
    if changes.is_empty() {
        return pixels;
    }
    let shown = match pixels {
        Pixels::Eight(picture) => picture,
        deeper => preprocess::window(&deeper, window),
    };
    Pixels::Eight(changes.iter().fold(shown, |picture, change| change.apply(&picture)))
}

/// `picture` after all `changes`, see [`apply_all`]. Whoever changes a picture does not pass on what was done to it before.
pub fn changed(mut picture: Picture, changes: &[Change], window: &Window) -> Picture {
    picture.frame.pixels = apply_all(changes, picture.frame.pixels, window);
    picture.equalised &= changes.is_empty();
    picture
}

/// A side times a factor, rounded down, one pixel at least.
fn scaled_down(side: usize, factor: f64) -> usize {
    ((side as f64 * factor) as usize).max(1)
}
