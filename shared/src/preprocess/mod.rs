//! From a decoded picture to the numbers a network sees.
//!
//! ```text
//! stored values -> window -> take a frame off -> shrink to the working side -> CLAHE -> crop to the core -> fade what is not lung
//!     -> resize -> normalise
//! ```
//!
//! Each step is a function in a file of its own; [`prepare`] is the whole way, as the recipe ([`PreprocessSpec`]) in a
//! bundle says, and [`Equalised`] the part of it that two networks can share: a segmenter, which sees the core that the greys
//! tell, and a classifier, whose core may be the lungs that the segmenter found there ([`Equalised::crop`]). Trainer and device
//! call the same functions, and every step is exact integer arithmetic or a fixed order of `f32` operations, so both see the
//! same numbers. [`map_to_source()`] is the way back, for what the network drew.

pub mod clahe;
pub mod core_crop;
mod fade;
mod frame;
pub mod map_to_source;
pub mod normalise;
pub mod quality;
pub mod resize;
pub mod spec;
pub mod upright;
pub mod window;

pub use clahe::{clahe_u8, clahe_u16};
pub use core_crop::{around_lungs, find_core};
pub use map_to_source::{SourceRows, map_to_source};
pub use normalise::normalise;
pub use quality::{Quality, QualityLimits, assess};
pub use resize::{resize_f32, resize_u8};
pub use spec::PreprocessSpec;
pub use upright::Looks;
pub use window::window;

use crate::{
    modality::Modality,
    plane::{Plane, Rect},
    verdict::RejectReason,
};
use alloc::{borrow::Cow, vec::Vec};
use frame::Framed;
use spec::{Core, Equalisation};

/// Grey values and what they mean.
#[derive(Clone, Debug, PartialEq)]
pub enum Pixels {
    /// Eight bits, windowed by whoever wrote the file.
    Eight(Plane<u8>),
    /// Sixteen bits without a unit, the whole range used or not.
    Sixteen(Plane<u16>),
    /// Hounsfield units.
    Hounsfield(Plane<i16>),
}

impl Pixels {
    /// Columns and rows.
    pub fn size(&self) -> (usize, usize) {
        match self {
            Self::Eight(plane) => (plane.width(), plane.height()),
            Self::Sixteen(plane) => (plane.width(), plane.height()),
            Self::Hounsfield(plane) => (plane.width(), plane.height()),
        }
    }
}

/// Why a picture cannot be prepared, or a recipe not be followed.
#[derive(Clone, Debug, PartialEq, thiserror::Error)]
#[non_exhaustive]
pub enum PreprocessError {
    /// No pixels.
    #[error("the picture has no pixels: send it again")]
    Empty,
    /// A CLAHE grid outside of 1 to 64 tiles a side.
    #[error("a CLAHE grid of {x} x {y} tiles: take 1 to 64 a side")]
    Tiles {
        /// Tiles across.
        x: u32,
        /// Tiles down.
        y: u32,
    },
    /// A side of 0 or above 4096 pixels.
    #[error("{name} is {side} pixels: take 1 to 4096")]
    Side {
        /// The recipe's field.
        name: &'static str,
        /// What it says.
        side: u32,
    },
    /// A number that is not finite, or out of its range.
    #[error("{name} is {value}: take {range}")]
    Number {
        /// The recipe's field.
        name: &'static str,
        /// What it says.
        value: f64,
        /// What it may say.
        range: &'static str,
    },
    /// Not one mean and one standard deviation for each of one to three channels.
    #[error("{means} means and {deviations} standard deviations: take as many of each, 1 to 3")]
    Channels {
        /// How many means.
        means: usize,
        /// How many standard deviations.
        deviations: usize,
    },
}

/// A picture on its way into a network, with what the screen needs of it.
#[derive(Clone, Debug, PartialEq)]
pub struct Prepared {
    /// The picture in its own size, windowed, not equalised: for the screen.
    pub windowed: Plane<u8>,
    /// The part of it that the network sees, in pixels of `windowed`.
    pub core: Rect,
    /// What the network sees, `input_side` x `input_side`: equalised, cropped, resized.
    pub input: Plane<u8>,
    /// The same as numbers: `[C, input_side, input_side]`.
    pub tensor: Vec<f32>,
}

/// `windowed` shrunk until its longer side is the recipe's working side; unchanged when it is no longer. This is the
/// picture whose quality is measured.
pub fn working(windowed: &Plane<u8>, spec: &PreprocessSpec) -> Plane<u8> {
    frame::shrunk(windowed, spec.working_side as usize)
}

/// A picture that is windowed and equalised: everything that does not depend on what part of it a network sees, and how large,
/// so that two networks can share it.
#[derive(Clone, Debug, PartialEq)]
pub struct Equalised {
    /// The picture in its own size, windowed, not equalised: for the screen.
    pub windowed: Plane<u8>,
    /// The part of `windowed` that lies inside of a frame; everything where there is none.
    inside: Rect,
    /// That part at the working size.
    working: Plane<u8>,
    /// `working` after CLAHE; `None` where the recipe leaves it out, as it may for a picture that was equalised before.
    equalised: Option<Plane<u8>>,
}

/// The part of a picture that a network sees.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Crop {
    /// All that it touches, in pixels of [`Equalised::windowed`].
    pub rect: Rect,
    /// What is cut out, in pixels of the picture at the working size.
    working: Rect,
    /// How much is shown of each of these pixels, where something is faded.
    shown: Option<Plane<u8>>,
}

/// Where a segmenter found the lungs of a picture.
#[derive(Clone, Copy, Debug)]
pub struct FoundLungs<'a> {
    /// Both lungs, not 0, in the size of [`Equalised::windowed`].
    pub mask: &'a Plane<u8>,
    /// How the part of the picture in which the segmenter looks is found.
    pub seen: Core,
}

impl Equalised {
    /// Carries out the steps of `spec` up to the crop.
    ///
    /// # Errors
    /// [`PreprocessError::Empty`] for a picture without pixels; any other when [`PreprocessSpec::validate`] refuses the
    /// recipe.
    pub fn new(pixels: &Pixels, spec: &PreprocessSpec) -> Result<Self, PreprocessError> {
        spec.validate()?;
        let Framed { windowed, inside, working } =
            frame::window_without_frame(pixels, &spec.window, spec.working_side as usize);
        if windowed.data().is_empty() {
            return Err(PreprocessError::Empty);
        }
        let done = match spec.clahe {
            Equalisation::Once { clahe, done_from } if !matches!(pixels, Pixels::Hounsfield(_)) => {
                clahe::within_limit(&working, clahe)? >= done_from
            }
            _ => false,
        };
        let equalised = spec.clahe.clahe().filter(|_| !done).map(|clahe| clahe_u8(&working, clahe)).transpose()?;
        Ok(Self { windowed, inside, working, equalised })
    }

    /// The part that `core` names, inside of a frame. [`Core::Lungs`] is the box around the lungs, if they are `found`, and
    /// otherwise the part in which they were looked for; the whole picture if nobody looked. Without lungs nothing fades.
    pub fn crop(&self, core: Core, found: Option<FoundLungs<'_>>) -> Crop {
        let (source, small) = ((self.inside.width, self.inside.height), (self.working.width(), self.working.height()));
        let cut = |working| {
            let Rect { x, y, width, height } = scaled_out(working, small, source);
            Crop { rect: Rect { x: self.inside.x + x, y: self.inside.y + y, width, height }, working, shown: None }
        };
        let Some((margin, FoundLungs { mask, seen })) = core.around_lungs().zip(found) else {
            return cut(find_core(&self.working, core));
        };
        let seen = cut(find_core(&self.working, seen));
        let Some(lungs) = around_lungs(mask, seen.rect, margin) else { return seen };
        let lungs_inside = Rect { x: lungs.x - self.inside.x, y: lungs.y - self.inside.y, ..lungs };
        let crop = if lungs == seen.rect { seen } else { cut(scaled_out(lungs_inside, source, small)) };
        let shown = match core {
            Core::LungsAlone { fade, .. } => {
                let reach = fade.clamp(0.0, 1.0) * crop.working.width.max(crop.working.height) as f32;
                Some(fade::shown(&self.at_working_size(mask, crop.working), reach))
            }
            _ => None,
        };
        Crop { shown, ..crop }
    }

    /// `part` of a mask, in pixels of the working size, each as the mask has it in the middle of that pixel.
    fn at_working_size(&self, mask: &Plane<u8>, part: Rect) -> Plane<u8> {
        let middle = |at: usize, small: usize, source: usize| (2 * at + 1) * source / (2 * small);
        Plane::from_fn(part.width, part.height, |x, y| {
            let x = self.inside.x + middle(part.x + x, self.working.width(), self.inside.width);
            let y = self.inside.y + middle(part.y + y, self.working.height(), self.inside.height);
            mask.row(y)[x]
        })
    }

    /// How good the picture is inside of a frame, and why it is refused, if it is: see [`quality::assess`], or for a frame that
    /// leaves less than a third of the picture.
    pub fn assess(&self, colour_share: f32, limits: &QualityLimits) -> (Quality, Option<RejectReason>) {
        let framed = self.inside.area() < self.windowed.data().len().div_ceil(SMALLEST_INSIDE);
        let source = match self.inside == Rect::full(self.windowed.width(), self.windowed.height()) {
            true => Cow::Borrowed(&self.windowed),
            false => Cow::Owned(self.windowed.cropped(self.inside)),
        };
        let (quality, refused) = quality::assess(&self.working, &source, colour_share, limits);
        (quality, refused.or(framed.then_some(RejectReason::Framed)))
    }

    /// How the picture looks to stand; see [`upright::looks`].
    pub fn looks(&self, modality: Modality) -> Looks {
        upright::looks(&self.working, modality)
    }

    /// What a network sees of `crop`, `input_side` x `input_side`, and the same as numbers, `[C, input_side, input_side]`.
    pub fn input(&self, crop: &Crop, spec: &PreprocessSpec) -> (Plane<u8>, Vec<f32>) {
        let side = spec.input_side as usize;
        let mut cropped = self.equalised.as_ref().unwrap_or(&self.working).cropped(crop.working);
        if let Some(shown) = &crop.shown {
            cropped = fade::faded(&cropped, shown);
        }
        let input = resize_u8(&cropped, side, side);
        let tensor = normalise(&input, &spec.normalise);
        (input, tensor)
    }
}

/// The least part of a picture, as a divisor of its area, that lies inside of a frame: with less, the chest is small, or what was
/// found is something else. Of the training pictures each leaves more.
const SMALLEST_INSIDE: usize = 3;

/// Carries `spec` out on `pixels`, for a network whose core the greys tell (see [`find_core`]).
///
/// # Errors
/// Those of [`Equalised::new`].
pub fn prepare(pixels: &Pixels, spec: &PreprocessSpec) -> Result<Prepared, PreprocessError> {
    let equalised = Equalised::new(pixels, spec)?;
    let crop = equalised.crop(spec.core, None);
    let (input, tensor) = equalised.input(&crop, spec);
    Ok(Prepared { windowed: equalised.windowed, core: crop.rect, input, tensor })
}

/// `rect` of a picture of the size `from` in pixels of the same picture in the size `to`: all that it touches.
fn scaled_out(rect: Rect, from: (usize, usize), to: (usize, usize)) -> Rect {
    let span = |start: usize, length: usize, from: usize, to: usize| {
        let first = start * to / from;
        (first, ((start + length) * to).div_ceil(from) - first)
    };
    let (x, width) = span(rect.x, rect.width, from.0, to.0);
    let (y, height) = span(rect.y, rect.height, from.1, to.1);
    Rect { x, y, width, height }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use spec::{Clahe, Normalise, Window};

    const CLAHE: Clahe = Clahe { clip_limit: 2.0, tiles_x: 8, tiles_y: 8 };

    /// A bright, textured body left of the middle of a black slice, larger than the working side.
    fn slice() -> Pixels {
        Pixels::Sixteen(Plane::from_fn(310, 230, |x, y| {
            let inside = (40..200).contains(&x) && (30..190).contains(&y);
            if inside { 9000 + ((x * 37 + y * 59) % 251 * 100) as u16 } else { 0 }
        }))
    }

    fn recipe(input_side: u32) -> PreprocessSpec {
        PreprocessSpec {
            // Of a film the black around the body would be taken off.
            window: Window::Hounsfield { center: -600.0, width: 1500.0 },
            working_side: 155,
            clahe: Equalisation::Always(CLAHE),
            core: Core::Body { margin: 0.05 },
            input_side,
            normalise: Normalise { mean: [0.5, 0.4, 0.3].into(), std: [0.25, 0.2, 0.1].into() },
        }
    }

    /// The steps one after the other, as the story above tells them.
    fn by_hand(pixels: &Pixels, spec: &PreprocessSpec) -> Prepared {
        let windowed = window(pixels, &spec.window);
        let small = working(&windowed, spec);
        let found = find_core(&small, spec.core);
        let core = scaled_out(found, (small.width(), small.height()), (windowed.width(), windowed.height()));
        let side = spec.input_side as usize;
        let input = resize_u8(&clahe_u8(&small, CLAHE).unwrap().cropped(found), side, side);
        let tensor = normalise(&input, &spec.normalise);
        Prepared { windowed, core, input, tensor }
    }

    #[test]
    fn one_equalised_picture_serves_two_input_sides_and_two_cores() {
        let pixels = slice();
        let specs = [recipe(64), recipe(48), PreprocessSpec { core: Core::Whole, ..recipe(64) }];
        let equalised = Equalised::new(&pixels, &specs[0]).unwrap();
        for spec in &specs {
            let crop = equalised.crop(spec.core, None);
            let (input, tensor) = equalised.input(&crop, spec);
            assert_eq!((input.width(), tensor.len()), (spec.input_side as usize, 3 * input.data().len()));
            let shared = Prepared { windowed: equalised.windowed.clone(), core: crop.rect, input, tensor };
            assert_eq!(shared, prepare(&pixels, spec).unwrap());
            assert_eq!(shared, by_hand(&pixels, spec));
        }
        // The crop is one, or the test would say little about it.
        let body = equalised.crop(specs[0].core, None).rect;
        assert!(body.width < 200 && body.height < 200, "{body:?}");
    }

    #[test]
    fn the_lungs_are_cut_out_where_they_were_found() {
        let pixels = slice();
        let spec = PreprocessSpec { core: Core::Lungs { margin: 0.0 }, ..recipe(64) };
        let equalised = Equalised::new(&pixels, &spec).unwrap();
        let seen = recipe(64).core;
        // The working picture is half as large.
        let mask =
            Plane::from_fn(310, 230, |x, y| if (60..150).contains(&x) && (50..130).contains(&y) { 255 } else { 0 });
        let crop = equalised.crop(spec.core, Some(FoundLungs { mask: &mask, seen }));
        assert_eq!(crop.rect, Rect { x: 60, y: 50, width: 90, height: 80 });
        let by_hand = clahe_u8(&working(&equalised.windowed, &spec), CLAHE).unwrap();
        let by_hand = resize_u8(&by_hand.cropped(Rect { x: 30, y: 25, width: 45, height: 40 }), 64, 64);
        assert_eq!(equalised.input(&crop, &spec).0, by_hand);

        let nothing = mask.map(|_| 0);
        let body = equalised.crop(seen, None);
        assert_eq!(
            equalised.crop(spec.core, Some(FoundLungs { mask: &nothing, seen })),
            body,
            "no lungs: what was seen"
        );
        assert_eq!(equalised.crop(spec.core, None).rect, Rect::full(310, 230), "nobody looked");
    }

    #[test]
    fn what_lies_around_the_lungs_fades_where_they_are_seen_alone() {
        let pixels = slice();
        let spec = recipe(64);
        let equalised = Equalised::new(&pixels, &spec).unwrap();
        // Two lungs, whose box with its margin is 120 x 90 pixels of the picture, 60 x 45 of the working size.
        let lung = |x: usize, y: usize| ((70..110).contains(&x) || (140..170).contains(&x)) && (60..130).contains(&y);
        let mask = Plane::from_fn(310, 230, |x, y| if lung(x, y) { 255 } else { 0 });
        let found = Some(FoundLungs { mask: &mask, seen: spec.core });
        let (cut, alone) = (
            equalised.crop(Core::Lungs { margin: 0.1 }, found),
            equalised.crop(Core::LungsAlone { margin: 0.1, fade: 0.1 }, found),
        );
        assert_eq!((cut.rect, Rect { x: 60, y: 50, width: 120, height: 90 }), (alone.rect, alone.rect));
        let small = Plane::from_fn(60, 45, |x, y| u8::from(lung(61 + 2 * x, 51 + 2 * y)));
        let cropped = equalised.equalised.as_ref().unwrap().cropped(cut.working);
        let by_hand = fade::faded(&cropped, &fade::shown(&small, 6.0));
        assert_ne!(by_hand, cropped);
        assert_eq!(equalised.input(&alone, &spec).0, resize_u8(&by_hand, 64, 64));
        let [inside, corner] = [(15, 20), (0, 0)].map(|(x, y)| (by_hand.row(y)[x], cropped.row(y)[x]));
        assert_eq!(inside.0, inside.1, "the lungs stay as they are");
        let sum = |plane: &Plane<u8>| {
            plane
                .data()
                .iter()
                .zip(small.data())
                .filter(|(_, lung)| **lung > 0)
                .map(|(&grey, _)| u32::from(grey))
                .sum::<u32>()
        };
        let pixels = small.data().iter().map(|&lung| u32::from(lung)).sum::<u32>();
        assert_eq!(u32::from(corner.0), (sum(&cropped) + pixels / 2) / pixels, "far off is their mean grey");

        let nothing = mask.map(|_| 0);
        let found = Some(FoundLungs { mask: &nothing, seen: spec.core });
        let body = equalised.crop(spec.core, None);
        assert_eq!(equalised.crop(Core::LungsAlone { margin: 0.1, fade: 0.1 }, found), body, "no lungs: nothing fades");
        // A margin that makes their box all of what was seen.
        let found = Some(FoundLungs { mask: &mask, seen: spec.core });
        let all = equalised.crop(Core::LungsAlone { margin: 1.0, fade: 0.1 }, found);
        assert_eq!(all.rect, body.rect);
        assert_ne!(equalised.input(&all, &spec).0, equalised.input(&body, &spec).0, "lungs, so the rest fades");
    }

    /// Lungs of dark greys in a body of brighter ones, both of a few levels, in black air.
    fn grey_slice() -> Plane<u8> {
        Plane::from_fn(160, 160, |x, y| match (x.abs_diff(80).pow(2) + y.abs_diff(80).pow(2)).isqrt() {
            0..40 => 40 + ((x * 37 + y * 59) % 23) as u8,
            40..76 => 140 + ((x * 17 + y * 29) % 19) as u8,
            _ => 0,
        })
    }

    #[test]
    fn a_slice_is_equalised_once() {
        let once = PreprocessSpec {
            working_side: 160,
            clahe: Equalisation::Once { clahe: CLAHE, done_from: 0.8 },
            ..recipe(64)
        };
        let always = PreprocessSpec { clahe: Equalisation::Always(CLAHE), ..once.clone() };
        let never = PreprocessSpec { clahe: Equalisation::Never, ..once.clone() };
        let of = |pixels: &Pixels, spec: &PreprocessSpec| Equalised::new(pixels, spec).unwrap();
        let picture = grey_slice();
        let made = clahe_u8(&clahe_u8(&picture, CLAHE).unwrap(), CLAHE).unwrap();
        let [before, after] = [&picture, &made].map(|picture| clahe::within_limit(picture, CLAHE).unwrap());
        assert!(before < 0.6 && after > 0.8, "{before} {after}");
        let [plain, published] = [picture.clone(), made].map(Pixels::Eight);
        assert_eq!(of(&plain, &once), of(&plain, &always));
        assert_eq!(of(&published, &once), of(&published, &never));
        assert_ne!(of(&published, &once), of(&published, &always));
        let hounsfield = Pixels::Hounsfield(Plane::from_fn(160, 160, |x, y| ((x * 37 + y * 59) % 1500) as i16 - 1350));
        assert_ne!(of(&hounsfield, &never), of(&hounsfield, &once));
        assert_eq!(of(&hounsfield, &once), of(&hounsfield, &always), "units are never those of an equalised picture");
    }

    #[test]
    fn the_same_picture_is_all_but_what_the_network_wants() {
        let spec = recipe(64);
        let normalise = Normalise { mean: [0.5].into(), std: [0.5].into() };
        assert!(spec.same_picture(&PreprocessSpec { normalise, ..recipe(48) }));
        assert!(!spec.same_picture(&PreprocessSpec { clahe: Equalisation::Never, ..recipe(64) }));
        assert!(spec.same_picture(&PreprocessSpec { core: Core::Whole, ..recipe(64) }));
        assert!(!spec.same_picture(&PreprocessSpec { working_side: 156, ..recipe(64) }));
        assert!(
            !spec.same_picture(&PreprocessSpec { window: Window::Quantiles { low: 0.0, high: 1.0 }, ..recipe(64) })
        );
    }
}
