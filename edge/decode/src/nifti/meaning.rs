//! What the values of a volume mean, as far as they show it.
//!
//! | values | are |
//! |---|---|
//! | some below -200 | Hounsfield units: no other image of the chest has them, and every CT has air |
//! | air and soft tissue 1000 apart, but elsewhere | Hounsfield units with an offset, see [`Stored`] |
//! | whole, 0 to 255 | greys that somebody windowed, or a mask |
//! | whole, 0 to 65535, few different ones | the labels of a mask |
//! | anything else | not known, and refused: read as Hounsfield units, or stretched to what it may have been, it would show another chest |

use super::super::DecodeError;

/// Values below this are taken for Hounsfield units.
const CLEARLY_AIR: f64 = -200.0;

/// Hounsfield units of air, for voxels that are not numbers.
const AIR: i16 = -1024;

/// A volume of this many slices or fewer without Hounsfield units is a picture, or the three colours of one.
pub(super) const FEW_SLICES: usize = 4;

/// Pictures have more different values than this, masks fewer.
const LABELS: usize = 32;

/// Labels of 16 bits: atlases number parts of the body in hundreds, but few are in one chest.
const NUMBERED_LABELS: usize = 256;

/// Values that are counted one by one.
const LOWEST: i32 = i16::MIN as i32;
const HIGHEST: i32 = u16::MAX as i32;

/// How often each value occurs, rounded to whole numbers.
pub(super) struct Histogram {
    counts: Vec<u64>,
    lowest: f64,
    highest: f64,
    whole: bool,
}

impl Default for Histogram {
    fn default() -> Self {
        let counts = vec![0; (HIGHEST - LOWEST + 1) as usize];
        Self { counts, lowest: f64::INFINITY, highest: f64::NEG_INFINITY, whole: true }
    }
}

impl Histogram {
    /// Counts `value`, unless it is no number.
    pub(super) fn add(&mut self, value: f64) {
        if !value.is_finite() {
            return;
        }
        self.lowest = self.lowest.min(value);
        self.highest = self.highest.max(value);
        // The conversions saturate, and what is outside is not counted.
        self.whole &= value as i64 as f64 == value;
        let place = (value + 0.5).floor() - f64::from(LOWEST);
        if place >= 0.0
            && let Some(count) = self.counts.get_mut(place as usize)
        {
            *count += 1;
        }
    }

    /// How many values lie in `from..to`.
    fn count(&self, from: i32, to: i32) -> f64 {
        let place = |value: i32| (value.clamp(LOWEST, HIGHEST + 1) - LOWEST) as usize;
        self.counts[place(from)..place(to).max(place(from))].iter().sum::<u64>() as f64
    }

    /// How many different values there are.
    fn different(&self) -> usize {
        self.counts.iter().filter(|&&count| count > 0).count()
    }

    /// The same values, as if those from [`WRAPPED`] on had been negative before they were stored without a sign.
    fn unwrapped(&self) -> Self {
        let mut counts = self.counts.clone();
        let from = (WRAPPED - LOWEST) as usize;
        for (place, count) in counts.split_off(from).into_iter().enumerate() {
            counts[place + from - (1 << 16)] += count;
        }
        counts.resize(self.counts.len(), 0);
        Self { counts, ..*self }
    }

    /// Whether the values are those of a CT of the chest whose water lies at `water`: air and lung, soft tissue 1000 above the air,
    /// and little in between or above. Values below those of air are padding, outside of what was measured.
    fn is_ct(&self, water: i32) -> bool {
        let share = |from: i32, to: i32| self.count(water + from, water + to);
        let (airy, tissue) = (share(-1100, -500), share(-200, 200));
        let (partial, contrast, bone) = (share(-500, -200), share(200, 700), share(700, 4000));
        let all = airy + partial + tissue + contrast + bone;
        let padding = share(LOWEST - water, -1100);
        let beyond = share(4000, HIGHEST + 1 - water);
        airy >= 0.1 * all
            && tissue >= 0.1 * all
            && tissue >= 2.0 * partial
            && tissue >= 2.0 * contrast
            && bone <= 0.05 * all
            && all >= padding
            && beyond <= 0.001 * all
    }

    /// The distance from `least` to the peak of air within 100 above it; `least` itself does not count, since there lies what is
    /// outside of what was measured, and what was clipped.
    fn air_above(&self, least: i32) -> i32 {
        const HALF: i32 = 6;
        let near = |value: i32| self.count((value - HALF).max(least + 1), value + HALF + 1) as u64;
        (least + 1 + HALF..=least + 100).max_by_key(|&value| near(value)).map_or(0, |peak| peak - least)
    }
}

/// Where negative values begin that were stored without a sign, if there are any: -4096.
const WRAPPED: i32 = 61440;

/// How Hounsfield units were stored.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Stored {
    /// The value of water, which has 0 Hounsfield units.
    water: i32,
    /// Whether negative values became large ones.
    wrapped: bool,
}

impl Stored {
    /// The Hounsfield units that `value` stands for.
    pub(super) fn units(self, value: f64) -> i16 {
        if value.is_nan() {
            return AIR;
        }
        let value = if self.wrapped && value >= f64::from(WRAPPED) { value - 65536.0 } else { value };
        // The conversion saturates.
        (value - f64::from(self.water)).round_ties_even() as i16
    }
}

/// What the values of a volume mean.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Meaning {
    /// Hounsfield units.
    Hounsfield(Stored),
    /// Whole numbers from 0 to 255.
    Eight,
    /// Whole numbers from 0 to 65535.
    Sixteen,
}

impl Meaning {
    /// Of the values of `histogram`; `few` where there are [`FEW_SLICES`] or fewer along some axis.
    ///
    /// # Errors
    /// [`DecodeError`] where the values are none, are those of a picture, or do not show what they are.
    pub(super) fn of(histogram: &Histogram, few: bool) -> Result<Self, DecodeError> {
        let Histogram { lowest, highest, whole, .. } = *histogram;
        let units = |water: i32| Ok(Self::Hounsfield(Stored { water, wrapped: false }));
        if lowest > highest {
            return Err(super::damaged("no voxel is a number".into()));
        }
        if lowest < CLEARLY_AIR {
            // Rescaled twice; without this all of the body would be air.
            let twice = !histogram.is_ct(0) && histogram.is_ct(-1024);
            return units(if twice { -1024 } else { 0 });
        }
        if lowest >= 0.0 && histogram.count(WRAPPED, HIGHEST + 1) > 0.0 && whole && highest <= f64::from(HIGHEST) {
            let unwrapped = histogram.unwrapped();
            if let Some(water) = [0, 1024].into_iter().find(|&water| unwrapped.is_ct(water)) {
                return Ok(Self::Hounsfield(Stored { water, wrapped: true }));
            }
        }
        if let Some(water) = [1024, 8192, 32768].into_iter().find(|&water| histogram.is_ct(water)) {
            // An offset of 1000 is as common as 1024, which is DICOM's; air, at -1000, tells which it is.
            let least = water - 1024;
            return units(if histogram.air_above(least) < 12 { least + 1000 } else { water });
        }
        let mask = histogram.different() <= if few || highest <= 255.0 { LABELS } else { NUMBERED_LABELS };
        let in_range = whole && lowest >= 0.0;
        match highest {
            _ if few && !mask => Err(picture()),
            ..=255.0 if in_range => Ok(Self::Eight),
            ..=65535.0 if in_range && mask => Ok(Self::Sixteen),
            _ => Err(DecodeError::NoHounsfield { evidence: "no air at -1000, nor where a known offset puts it" }),
        }
    }

    pub(super) fn is_hounsfield(self) -> bool {
        matches!(self, Self::Hounsfield(_))
    }
}

/// What is said of a film in a NIfTI file.
fn picture() -> DecodeError {
    DecodeError::Unsupported {
        format: super::FORMAT,
        feature: "a picture instead of a CT volume".into(),
        instead: "DICOM, PNG, JPEG or TIFF",
    }
}
