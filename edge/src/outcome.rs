//! What comes of a file: the value that the rest of the device works on.
//!
//! An [`Outcome`] knows nothing of the process that made it, so it can be put into a journal, sent, and shown again after a power
//! cut. What the process spent on it is a [`Cost`], beside it.

use std::time::{Duration, Instant};

use serde::{Deserialize, Serialize};
use thorax_decode::{Frame, Input, Limits, Study};
use thorax_engine::{
    error::{DeviceError, ScreenError},
    screening::{Reading, Screener, Screening, Slices, Timings},
};
use thorax_objects::Source;
use thorax_shared::{modality::Modality, plane::Orientation, reason::Reason};

/// What comes of a file.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub enum Outcome {
    /// It was read; the verdict may still be that it is not good enough.
    Screened(Box<Screening>),
    /// It could not be read.
    Refused(Reason),
}

/// What the process spent on a file.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Cost {
    /// Reading and decoding it.
    pub decode: Duration,
    /// The stages of screening.
    pub stages: Timings,
}

/// How a file's rows and columns became the picture, for what is to be put back on them.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Hanging {
    /// How they were turned.
    pub orientation: Orientation,
    /// How many columns and rows there are.
    pub stored_size: (usize, usize),
    /// Whether the file says which side is which.
    pub sides_known: bool,
    /// Which frame of the file it is, counted from 1, where slices are frames of one file.
    pub frame: Option<u32>,
}

impl Hanging {
    fn of(study: &Study) -> Self {
        let of = |frame: &Frame| Self {
            orientation: frame.orientation,
            stored_size: frame.stored_size,
            sides_known: frame.sides_known,
            frame: None,
        };
        match study {
            Study::Image(frame) => of(frame),
            Study::Volume(volume) => volume.slice(0).as_ref().map(of).unwrap_or_default(),
        }
    }
}

/// Decodes and screens `input`: see [`Screener::screen`] for `modality` and `slices`. `each` sees every reading, with the number
/// of its slice and how the file's rows and columns became it. Slices have the numbers that they have in the file
/// ([`Volume::stored_index`](thorax_decode::Volume::stored_index)), here as in the [`Screening`]. A patient who is younger than the bundle's
/// minimum is refused, where the file tells the age.
///
/// # Errors
/// [`DeviceError`] when the device cannot go on. What is wrong with the file is an [`Outcome`].
pub fn screen_file(
    screener: &Screener,
    input: &Input,
    modality: Option<Modality>,
    slices: usize,
    mut each: impl FnMut(Option<usize>, &Reading, Hanging),
) -> Result<(Outcome, Cost), DeviceError> {
    let start = Instant::now();
    let study = match input.decode(&Limits::default(), modality) {
        Ok(study) => study,
        Err(error) => return Ok((Outcome::Refused(error.reason()), Cost::default())),
    };
    let decode = start.elapsed();
    let hanging = Hanging::of(&study);
    let stored = |index: usize| match &study {
        Study::Image(_) => index,
        Study::Volume(volume) => volume.stored_index(index),
    };
    let frame = |index: usize| match &study {
        Study::Image(_) => None,
        Study::Volume(volume) => volume.frame(stored(index)),
    };
    match screener.screen(&study, modality, slices, |slice, reading| {
        each(slice.map(stored), reading, Hanging { frame: slice.and_then(frame), ..hanging });
    }) {
        Ok((mut screening, stages)) => {
            screening.slices = screening.slices.map(|slices| Slices { shown: stored(slices.shown), ..slices });
            let used = screener.models().iter().find(|model| model.identity.sha256 == screening.bundle.sha256);
            let least = used.and_then(|model| model.manifest.extension.minimum_age_years);
            if let Some(reason) = least.and_then(|least| too_young(age_of(input)?, least)) {
                return Ok((Outcome::Refused(reason), Cost { decode, stages }));
            }
            Ok((Outcome::Screened(Box::new(screening)), Cost { decode, stages }))
        }
        Err(ScreenError::Picture(error)) => Ok((Outcome::Refused(error.reason()), Cost::default())),
        Err(ScreenError::Device(error)) => Err(error),
    }
}

/// The patient's age in whole years, where a DICOM file tells it.
fn age_of(input: &Input) -> Option<u32> {
    Source::open(input.files().first()?).ok()?.patient_age_years()
}

/// Why a patient of `years` is not read by whom one has to be `least` for.
pub fn too_young(years: u32, least: u8) -> Option<Reason> {
    let cause = format!("a patient of {years} years, and nobody under {least} is read here");
    (years < u32::from(least)).then(|| Reason::new(cause, "have a person look at it"))
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[test]
    fn a_refusal_is_the_same_after_it_was_written_and_read() {
        let key = thorax_shared::bundle::SecretKey::from_seed(&mut [1; 32]).public_key();
        let screener = Screener::open(&[], &thorax_shared::bundle::TrustedKeys::only(key)).unwrap();
        let (outcome, cost) =
            screen_file(&screener, &Input::File("/nowhere.png".into()), None, 0, |_, _, _| ()).unwrap();
        assert_eq!(outcome, Outcome::Refused(Reason::new("no such file", "check the path")));
        assert_eq!(cost, Cost::default());
        let bytes = postcard::to_stdvec(&outcome).unwrap();
        assert_eq!(postcard::from_bytes::<Outcome>(&bytes).unwrap(), outcome);
        assert_eq!(serde_json::from_str::<Outcome>(&serde_json::to_string(&outcome).unwrap()).unwrap(), outcome);
    }

    #[test]
    fn whoever_is_below_the_minimum_is_refused_and_nobody_else() {
        let told = too_young(14, 15).unwrap();
        assert_eq!(told.cause, "a patient of 14 years, and nobody under 15 is read here");
        assert_eq!((too_young(15, 15), too_young(0, 0)), (None, None));
    }
}
