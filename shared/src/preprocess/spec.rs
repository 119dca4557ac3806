//! The recipe by which an image becomes a tensor; it travels in the bundle, so that the device does
//! exactly what the trainer did.

use super::PreprocessError;
use alloc::vec::Vec;
use serde::{Deserialize, Deserializer, Serialize, Serializer};

/// The largest working or input side, in pixels.
pub const MAX_SIDE: u32 = 4096;

/// The most CLAHE tiles across or down.
pub const MAX_TILES: u32 = 64;

/// The whole recipe. The steps are carried out in the order of the fields.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct PreprocessSpec {
    /// From stored values to 8 bits.
    pub window: Window,
    /// Larger pictures are first shrunk (area average) until their longer side is this many pixels,
    /// so that the contrast limit and the quality score mean the same for every detector.
    pub working_side: u32,
    /// Whether it is equalised.
    pub clahe: Equalisation,
    /// How the core (body, film or lungs) is found, and cropped to (paper, section III).
    pub core: Core,
    /// Width and height of the network's input.
    pub input_side: u32,
    /// From 8 bits to the network's numbers.
    pub normalise: Normalise,
}

/// From stored values to 8 bits.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub enum Window {
    /// For pixels that have no unit: the `low` and `high` quantiles (0 to 1) of what lies inside an even border become 0 and
    /// 255, whether they were stored in eight bits or in more.
    Quantiles {
        /// Share of pixels that become black.
        low: f32,
        /// One minus the share of pixels that become white.
        high: f32,
    },
    /// For Hounsfield units: `center - width / 2` becomes 0, `center + width / 2` becomes 255. Pictures without a
    /// unit keep the black and white that whoever wrote them gave them.
    Hounsfield {
        /// Middle of the window, in HU.
        center: f32,
        /// Width of the window, in HU.
        width: f32,
    },
}

/// Whether a picture is equalised (CLAHE; paper, section III).
///
/// In a bundle a variant's number and its fields; in JSON `null` for [`Equalisation::Never`], else one object of all fields.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Equalisation {
    /// Never.
    Never,
    /// Always, also a picture that somebody equalised before.
    Always(Clahe),
    /// Unless somebody did it before. Hounsfield units are not equalised, so they always are here.
    Once {
        /// How.
        clahe: Clahe,
        /// A picture is taken for equalised from this value of [`within_limit`](super::clahe::within_limit) on, 0 to 1.
        done_from: f32,
    },
}

impl Equalisation {
    /// How, where it is done.
    pub const fn clahe(self) -> Option<Clahe> {
        match self {
            Self::Never => None,
            Self::Always(clahe) | Self::Once { clahe, .. } => Some(clahe),
        }
    }
}

/// [`Equalisation`] in a bundle. `Never` and `Always` have the bytes of the option that they were once.
#[derive(Serialize, Deserialize)]
#[serde(remote = "Equalisation")]
enum Coded {
    Never,
    Always(Clahe),
    Once { clahe: Clahe, done_from: f32 },
}

/// [`Equalisation`] for people, where it is not [`Equalisation::Never`]. What was written before there was `Once` is read.
#[derive(Serialize, Deserialize)]
struct Readable {
    #[serde(flatten)]
    clahe: Clahe,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    done_from: Option<f32>,
}

impl Serialize for Equalisation {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        if !serializer.is_human_readable() {
            return Coded::serialize(self, serializer);
        }
        let done_from = if let Self::Once { done_from, .. } = self { Some(*done_from) } else { None };
        self.clahe().map(|clahe| Readable { clahe, done_from }).serialize(serializer)
    }
}

impl<'de> Deserialize<'de> for Equalisation {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        if !deserializer.is_human_readable() {
            return Coded::deserialize(deserializer);
        }
        Ok(match Option::<Readable>::deserialize(deserializer)? {
            None => Self::Never,
            Some(Readable { clahe, done_from: None }) => Self::Always(clahe),
            Some(Readable { clahe, done_from: Some(done_from) }) => Self::Once { clahe, done_from },
        })
    }
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
    /// The body: the largest connected region brighter than Otsu's threshold, with what it encloses, and others nearly
    /// as large. For CT slices.
    Body {
        /// Margin around it, as a share of its longer side.
        margin: f32,
    },
    /// The exposed film: uniform borders (frames of any grey, collimation) are cut off. For radiographs.
    Film {
        /// Margin around it, as a share of its longer side.
        margin: f32,
    },
    /// The lungs that a segmenter found, boxed, or the core in which it looked where it found hardly any. For a classifier
    /// that has a segmenter beside it.
    Lungs {
        /// Margin around them, as a share of their box's longer side.
        margin: f32,
    },
    /// The same box, in which everything but the lungs fades into their mean grey.
    LungsAlone {
        /// Margin around them, as a share of their box's longer side.
        margin: f32,
        /// Up to which distance from the lungs something of the picture is still seen, as a share of the longer side of what is
        /// cut out.
        fade: f32,
    },
}

impl Core {
    /// Whether a segmenter has to find the lungs first.
    pub const fn follows_lungs(self) -> bool {
        self.around_lungs().is_some()
    }

    /// The margin around the lungs, where these are the core.
    pub const fn around_lungs(self) -> Option<f32> {
        match self {
            Self::Lungs { margin } | Self::LungsAlone { margin, .. } => Some(margin),
            Self::Whole | Self::Body { .. } | Self::Film { .. } => None,
        }
    }
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

impl PreprocessSpec {
    /// Both recipes agree up to the crop, so that one [`Equalised`](super::Equalised) serves both.
    pub fn same_picture(&self, other: &Self) -> bool {
        (&self.window, self.working_side, self.clahe) == (&other.window, other.working_side, other.clahe)
    }

    /// Whether the recipe can be followed; a recipe that came in a file is to be asked first ([`super::prepare`] does).
    ///
    /// # Errors
    /// The first field, in the recipe's order, that is out of its range:
    /// - quantiles: 0 <= `low` < `high` <= 1; Hounsfield window: a finite center, a finite width above 0;
    /// - `working_side` and `input_side`: 1 to [`MAX_SIDE`];
    /// - CLAHE: 1 to [`MAX_TILES`] tiles each way, a finite clip limit; [`Equalisation::Once`]: a limit above 0, and from 0 to 1;
    /// - the core's margin and its fade: 0 to 1;
    /// - means and standard deviations: finite, as many of each, 1 to 3, deviations above 0.
    pub fn validate(&self) -> Result<(), PreprocessError> {
        fn number(name: &'static str, value: f64, fits: bool, range: &'static str) -> Result<(), PreprocessError> {
            if value.is_finite() && fits { Ok(()) } else { Err(PreprocessError::Number { name, value, range }) }
        }
        fn side(name: &'static str, side: u32) -> Result<(), PreprocessError> {
            if (1..=MAX_SIDE).contains(&side) { Ok(()) } else { Err(PreprocessError::Side { name, side }) }
        }
        match self.window {
            Window::Quantiles { low, high } => {
                number("window.low", low.into(), low >= 0.0, "a share from 0 to 1")?;
                number("window.high", high.into(), high > low && high <= 1.0, "a share above window.low, up to 1")?;
            }
            Window::Hounsfield { center, width } => {
                number("window.center", center.into(), true, "a finite number of Hounsfield units")?;
                number("window.width", width.into(), width > 0.0, "a number of Hounsfield units above 0")?;
            }
        }
        side("working_side", self.working_side)?;
        if let Some(Clahe { clip_limit, tiles_x, tiles_y }) = self.clahe.clahe() {
            number("clahe.clip_limit", clip_limit, true, "a finite number (0 or less: no limit)")?;
            if ![tiles_x, tiles_y].iter().all(|tiles| (1..=MAX_TILES).contains(tiles)) {
                return Err(PreprocessError::Tiles { x: tiles_x, y: tiles_y });
            }
        }
        let share = |name, share: f32| number(name, share.into(), (0.0..=1.0).contains(&share), "a share from 0 to 1");
        if let Equalisation::Once { clahe, done_from } = self.clahe {
            let limits = clahe.clip_limit > 0.0;
            number(
                "clahe.clip_limit",
                clahe.clip_limit,
                limits,
                "a number above 0, by which equalised pictures are told",
            )?;
            share("clahe.done_from", done_from)?;
        }
        match self.core {
            Core::Whole => {}
            Core::Body { margin } | Core::Film { margin } | Core::Lungs { margin } => share("core.margin", margin)?,
            Core::LungsAlone { margin, fade } => {
                share("core.margin", margin)?;
                share("core.fade", fade)?;
            }
        }
        side("input_side", self.input_side)?;
        let Normalise { mean, std } = &self.normalise;
        if mean.len() != std.len() || !(1..=3).contains(&mean.len()) {
            return Err(PreprocessError::Channels { means: mean.len(), deviations: std.len() });
        }
        for &mean in mean {
            number("normalise.mean", mean.into(), true, "a finite number")?;
        }
        for &std in std {
            number("normalise.std", std.into(), std > 0.0, "a finite number above 0")?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    /// The numbers of the variants and the order of their fields are the format of a bundle.
    #[test]
    fn cores_keep_their_bytes() {
        let margin = 0.05f32.to_le_bytes();
        let of = |core: Core| postcard::to_allocvec(&core).unwrap();
        assert_eq!(of(Core::Whole), [0]);
        assert_eq!(of(Core::Body { margin: 0.05 }), [&[1], &margin[..]].concat());
        assert_eq!(of(Core::Film { margin: 0.05 }), [&[2], &margin[..]].concat());
        assert_eq!(of(Core::Lungs { margin: 0.05 }), [&[3], &margin[..]].concat());
        let alone = of(Core::LungsAlone { margin: 0.05, fade: 0.07 });
        assert_eq!(alone, [&[4], &margin[..], &0.07f32.to_le_bytes()].concat());
    }

    const CLAHE: Clahe = Clahe { clip_limit: 2.0, tiles_x: 8, tiles_y: 8 };

    #[test]
    fn equalisation_keeps_the_bytes_of_an_option() {
        let bytes = |value: &Equalisation| postcard::to_allocvec(value).unwrap();
        assert_eq!(bytes(&Equalisation::Never), postcard::to_allocvec(&None::<Clahe>).unwrap());
        assert_eq!(bytes(&Equalisation::Always(CLAHE)), postcard::to_allocvec(&Some(CLAHE)).unwrap());
        let once = Equalisation::Once { clahe: CLAHE, done_from: 0.75 };
        assert_eq!(bytes(&once), [&[2], &2.0f64.to_le_bytes()[..], &[8, 8], &0.75f32.to_le_bytes()].concat());
        for value in [Equalisation::Never, Equalisation::Always(CLAHE), once] {
            assert_eq!(postcard::from_bytes::<Equalisation>(&bytes(&value)).unwrap(), value);
        }
    }

    #[test]
    fn equalisation_is_read_as_it_was_written_before() {
        let always = r#"{"clip_limit":2.0,"tiles_x":8,"tiles_y":8}"#;
        let once = r#"{"clip_limit":2.0,"tiles_x":8,"tiles_y":8,"done_from":0.75}"#;
        for (text, value) in [
            ("null", Equalisation::Never),
            (always, Equalisation::Always(CLAHE)),
            (once, Equalisation::Once { clahe: CLAHE, done_from: 0.75 }),
        ] {
            assert_eq!(serde_json::from_str::<Equalisation>(text).unwrap(), value);
            assert_eq!(serde_json::to_string(&value).unwrap(), text);
        }
        serde_json::from_str::<Equalisation>(r#"{"clip_limit":2.0,"tiles_x":8}"#).unwrap_err();
    }
}
