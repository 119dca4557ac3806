//! What one mask of one picture came to, and what many of them came to together.
//!
//! Three means of a figure are told, which answer three questions. *Per picture*: how good is the mask of a picture? *Pooled*:
//! how much of all infected pixels is found? *Per patient*: pixels of a patient together, then the mean over patients, how good
//! are the masks of a patient? Patients with many slices do not outweigh the others there, so it is the one to compare by.
//!
//! Rules where a figure is not defined: without a true pixel there is no Dice, IoU or sensitivity, and the picture counts as
//! false-positive area instead; where there is something and nothing was found, Dice is 0, and the distance of the outlines is
//! undefined and the picture is counted as missed.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use thorax_nn::distance_transform::{DistanceError, PIXELS};
use thorax_shared::{metrics::Confusion, plane::Plane};

use super::{
    surface_distance::{hd95, percentile},
    volume::VolumeScore,
};
use crate::judge::{Estimate, Resampling, mean};

/// A picture with more false-positive area than this, in percent, is counted.
pub const CLEARLY_FALSE_PERCENT: f64 = 1.0;

/// One number, or what is known of it, for each figure.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct MaskFigures<T> {
    /// Twice the shared area over the sum of both (the paper's equation 7).
    pub dice: T,
    /// Shared area over that of both together (equation 8).
    pub iou: T,
    /// Share of pixels that are right (equation 3).
    pub pixel_accuracy: T,
    /// Share of the true area that was found (equation 5).
    pub sensitivity: T,
    /// Share of the rest that was left alone (equation 6).
    pub specificity: T,
    /// 95th percentile of the outlines' distance, in pixels.
    pub hd95_pixels: T,
    /// The same in millimetres, where a pixel's size is known.
    pub hd95_mm: T,
}

impl<T> MaskFigures<T> {
    /// The names, in the order of [`Self::into_array`].
    pub const NAMES: [&'static str; 7] =
        ["dice", "iou", "pixel_accuracy", "sensitivity", "specificity", "hd95_pixels", "hd95_mm"];

    /// In the order of [`Self::NAMES`].
    pub fn into_array(self) -> [T; 7] {
        let Self { dice, iou, pixel_accuracy, sensitivity, specificity, hd95_pixels, hd95_mm } = self;
        [dice, iou, pixel_accuracy, sensitivity, specificity, hd95_pixels, hd95_mm]
    }

    /// From the order of [`Self::NAMES`].
    pub fn from_array(array: [T; 7]) -> Self {
        let [dice, iou, pixel_accuracy, sensitivity, specificity, hd95_pixels, hd95_mm] = array;
        Self { dice, iou, pixel_accuracy, sensitivity, specificity, hd95_pixels, hd95_mm }
    }

    /// Each figure from its position in [`Self::NAMES`].
    pub fn from_fn(of: impl FnMut(usize) -> T) -> Self {
        Self::from_array(std::array::from_fn(of))
    }
}

impl MaskFigures<Option<f64>> {
    /// From counted pixels and the distances of the outlines in pixels and millimetres.
    pub fn of(pixels: &Confusion, hd95: [Option<f64>; 2]) -> Self {
        let something = pixels.true_positives + pixels.false_negatives > 0;
        Self {
            dice: pixels.f1().filter(|_| something),
            iou: pixels.iou().filter(|_| something),
            pixel_accuracy: pixels.accuracy(),
            sensitivity: pixels.sensitivity(),
            specificity: pixels.specificity(),
            hd95_pixels: hd95[0],
            hd95_mm: hd95[1],
        }
    }
}

/// One mask of one picture beside the true one.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct MaskScore {
    /// Pixels by what they are and what was found.
    pub pixels: Confusion,
    /// Distance of the outlines in pixels and millimetres; `None` where one mask is empty or a pixel has no known size.
    pub hd95: [Option<f64>; 2],
}

impl MaskScore {
    /// Compares two masks of one size, 0 outside. `spacing_mm` is a pixel's height and width.
    ///
    /// # Errors
    /// Masks of two sizes; a spacing that is none.
    pub fn new(found: &Plane<u8>, truth: &Plane<u8>, spacing_mm: Option<[f32; 2]>) -> Result<Self, DistanceError> {
        if (found.width(), found.height()) != (truth.width(), truth.height()) {
            return Err(DistanceError::Size { pixels: found.data().len(), width: truth.width() });
        }
        let mut pixels = Confusion::default();
        found.data().iter().zip(truth.data()).for_each(|(&found, &truth)| pixels.count(found != 0, truth != 0));
        let in_mm = spacing_mm.map(|spacing| hd95(found, truth, spacing.map(f64::from))).transpose()?.flatten();
        Ok(Self { pixels, hd95: [hd95(found, truth, PIXELS)?, in_mm] })
    }

    /// All figures.
    pub fn figures(&self) -> MaskFigures<Option<f64>> {
        MaskFigures::of(&self.pixels, self.hd95)
    }

    /// Whether no pixel truly belongs to the mask.
    pub fn is_truth_empty(&self) -> bool {
        self.pixels.true_positives + self.pixels.false_negatives == 0
    }

    /// Whether there is something, and nothing was found.
    pub fn is_missed(&self) -> bool {
        !self.is_truth_empty() && self.pixels.true_positives + self.pixels.false_positives == 0
    }

    /// Area found where there is nothing, in percent of the picture.
    pub fn false_positive_percent(&self) -> f64 {
        100.0 * self.pixels.false_positives as f64 / self.pixels.total().max(1) as f64
    }
}

/// A picture of the split.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct PictureScore {
    /// Path in the manifest.
    pub path: String,
    /// Patient, or patients that belong together.
    pub group: String,
    /// Collection.
    pub source: String,
    /// Whether it is a picture without the disease, of which only the infection is judged: there is none.
    pub negative: bool,
    /// In the order of the masks that are judged; `None` where the truth is not known.
    pub masks: Vec<Option<MaskScore>>,
    /// Infected share of the lungs in percent, as found and in truth.
    pub involvement_percent: [Option<f64>; 2],
}

/// One mask of one patient.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct PatientScore {
    /// The patient, or patients that belong together.
    pub group: String,
    /// Pictures.
    pub pictures: usize,
    /// Pixels of all of them together.
    pub pixels: Confusion,
    /// Of the pixels together; distances are means over the pictures that have one.
    pub figures: MaskFigures<Option<f64>>,
}

/// Area found where there is nothing.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct FalsePositives {
    /// Pictures without a true pixel.
    pub pictures: usize,
    /// Their patients.
    pub patients: usize,
    /// Mean area in percent of the picture.
    pub mean_percent: Option<Estimate>,
    /// Median area in percent of the picture.
    pub median_percent: Option<Estimate>,
    /// Share of the pictures with more than [`CLEARLY_FALSE_PERCENT`].
    pub clearly_false: Option<Estimate>,
    /// Mean area in percent of the lungs that were found.
    pub mean_percent_of_lungs: Option<Estimate>,
    /// Pictures on which hardly any lung was found, which the last figure leaves out.
    pub without_lungs: usize,
}

/// All figures of a mask.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct MaskJudgement {
    /// Its name.
    pub mask: String,
    /// Pictures whose truth is known.
    pub pictures: usize,
    /// Pictures with something to find.
    pub pictures_with_truth: usize,
    /// Pictures with something to find, on which nothing was found.
    pub missed: usize,
    /// Mean over pictures.
    pub per_picture: MaskFigures<Option<Estimate>>,
    /// All pixels together; there is no such distance.
    pub pooled: MaskFigures<Option<Estimate>>,
    /// Pixels of a patient together, mean over patients.
    pub per_patient: MaskFigures<Option<Estimate>>,
    /// Voxels of a volume together, mean over volumes; the distance is that of the surfaces in three dimensions.
    #[serde(default)]
    pub per_volume: MaskFigures<Option<Estimate>>,
    /// Pictures without anything to find.
    pub false_positives: Option<FalsePositives>,
    /// Each patient.
    pub patients: Vec<PatientScore>,
}

/// Judges the mask at `position`, called `name`, on `pictures` and on the `volumes` that they are slices of; `None` where no picture has
/// its truth.
pub fn judge_mask(
    name: &str,
    position: usize,
    pictures: &[&PictureScore],
    volumes: &[VolumeScore],
    settings: &Resampling,
) -> Option<MaskJudgement> {
    let judged: Vec<(&PictureScore, MaskScore)> =
        pictures.iter().filter_map(|&picture| Some((picture, picture.masks[position]?))).collect();
    if judged.is_empty() {
        return None;
    }
    let groups: Vec<&str> = judged.iter().map(|(picture, _)| picture.group.as_str()).collect();
    let figures: Vec<[Option<f64>; 7]> = judged.iter().map(|(_, score)| score.figures().into_array()).collect();
    let patients = patients(&judged);
    let patient_figures: Vec<[Option<f64>; 7]> = patients.iter().map(|p| p.figures.into_array()).collect();
    let volumes: Vec<(&str, [Option<f64>; 7])> = volumes
        .iter()
        .filter_map(|volume| Some((volume.group.as_str(), volume.masks[position]?.figures().into_array())))
        .collect();
    let volume_groups: Vec<&str> = volumes.iter().map(|(group, _)| *group).collect();
    // A patient that is drawn twice counts twice, so patients are the samples here.
    let numbers: Vec<usize> = (0..patients.len()).collect();
    let nothing: Vec<_> =
        judged.iter().filter(|(_, score)| score.is_truth_empty()).map(|(picture, _)| *picture).collect();
    Some(MaskJudgement {
        mask: name.to_owned(),
        pictures: judged.len(),
        pictures_with_truth: judged.len() - nothing.len(),
        missed: judged.iter().filter(|(_, score)| score.is_missed()).count(),
        per_picture: MaskFigures::from_fn(|figure| {
            Estimate::new(&groups, settings, |drawn| mean(drawn.iter().filter_map(|&i| figures[i][figure])))
        }),
        pooled: MaskFigures::from_fn(|figure| {
            Estimate::new(&numbers, settings, |drawn| {
                let pixels: Confusion = drawn.iter().map(|&i| patients[i].pixels).sum();
                MaskFigures::of(&pixels, [None; 2]).into_array()[figure]
            })
        }),
        per_patient: MaskFigures::from_fn(|figure| {
            Estimate::new(&numbers, settings, |drawn| mean(drawn.iter().filter_map(|&i| patient_figures[i][figure])))
        }),
        per_volume: MaskFigures::from_fn(|figure| {
            Estimate::new(&volume_groups, settings, |drawn| mean(drawn.iter().filter_map(|&i| volumes[i].1[figure])))
        }),
        false_positives: false_positives(position, &nothing, settings),
        patients,
    })
}

/// The area of the mask at `position` on `pictures` that have nothing of it; `None` where there is no such picture.
pub fn false_positives(position: usize, pictures: &[&PictureScore], settings: &Resampling) -> Option<FalsePositives> {
    let percents: Vec<f64> =
        pictures.iter().filter_map(|p| Some(p.masks[position]?.false_positive_percent())).collect();
    if percents.is_empty() || percents.len() != pictures.len() {
        return None;
    }
    let groups: Vec<&str> = pictures.iter().map(|picture| picture.group.as_str()).collect();
    let of_lungs: Vec<Option<f64>> = pictures.iter().map(|picture| picture.involvement_percent[0]).collect();
    let drawn_percents = |drawn: &[usize]| drawn.iter().map(|&i| percents[i]).collect::<Vec<_>>();
    Some(FalsePositives {
        pictures: pictures.len(),
        patients: groups.iter().collect::<std::collections::BTreeSet<_>>().len(),
        mean_percent: Estimate::new(&groups, settings, |drawn| mean(drawn_percents(drawn))),
        median_percent: Estimate::new(&groups, settings, |drawn| percentile(&mut drawn_percents(drawn), 0.5)),
        clearly_false: Estimate::new(&groups, settings, |drawn| {
            mean(drawn.iter().map(|&i| f64::from(u8::from(percents[i] > CLEARLY_FALSE_PERCENT))))
        }),
        mean_percent_of_lungs: Estimate::new(&groups, settings, |drawn| {
            mean(drawn.iter().filter_map(|&i| of_lungs[i]))
        }),
        without_lungs: of_lungs.iter().filter(|percent| percent.is_none()).count(),
    })
}

/// Mean distance between the found and the true infected share of the lungs, in percentage points.
pub fn involvement_error(pictures: &[&PictureScore], settings: &Resampling) -> Option<Estimate> {
    let known: Vec<(&str, f64)> = pictures
        .iter()
        .filter_map(|picture| {
            let [found, truth] = picture.involvement_percent;
            Some((picture.group.as_str(), (found? - truth?).abs()))
        })
        .collect();
    let groups: Vec<&str> = known.iter().map(|(group, _)| *group).collect();
    Estimate::new(&groups, settings, |drawn| mean(drawn.iter().map(|&i| known[i].1)))
}

/// Each patient's pixels together, sorted by name.
fn patients(judged: &[(&PictureScore, MaskScore)]) -> Vec<PatientScore> {
    let mut groups: BTreeMap<&str, Vec<&MaskScore>> = BTreeMap::new();
    judged.iter().for_each(|(picture, score)| groups.entry(&picture.group).or_default().push(score));
    groups
        .into_iter()
        .map(|(group, scores)| {
            let (pixels, figures) = together(&scores);
            PatientScore { group: group.to_owned(), pictures: scores.len(), pixels, figures }
        })
        .collect()
}

/// Pixels of all masks together, and what they come to; distances are means over the masks that have one.
pub(super) fn together(scores: &[&MaskScore]) -> (Confusion, MaskFigures<Option<f64>>) {
    let pixels = scores.iter().map(|score| score.pixels).sum();
    let hd95 = [0, 1].map(|unit| mean(scores.iter().filter_map(|score| score.hd95[unit])));
    (pixels, MaskFigures::of(&pixels, hd95))
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;
    use crate::judge::masks::surface_distance::references::cases;

    const SETTINGS: Resampling = Resampling { resamples: 200, level: 0.95, seed: 1 };

    #[test]
    fn figures_are_medpy_s() {
        for case in cases() {
            let [found, truth] = case.masks();
            let score = MaskScore::new(&found, &truth, Some(case.spacing_mm.map(|mm| mm as f32))).unwrap();
            let expected = MaskFigures {
                dice: case.dice,
                iou: case.iou,
                pixel_accuracy: Some(case.pixel_accuracy),
                sensitivity: case.sensitivity,
                specificity: case.specificity,
                hd95_pixels: case.hd95_pixels,
                hd95_mm: case.hd95_mm,
            };
            let pairs = score.figures().into_array().into_iter().zip(expected.into_array());
            for ((got, expected), name) in pairs.zip(MaskFigures::<()>::NAMES) {
                assert_eq!(got.is_some(), expected.is_some(), "{name}");
                assert!(got.zip(expected).is_none_or(|(a, b)| (a - b).abs() < 1e-9), "{name}: {got:?} {expected:?}");
            }
        }
    }

    /// A row of pixels.
    fn row(text: &str) -> Plane<u8> {
        Plane::new(text.len(), 1, text.bytes().map(|c| if c == b'1' { 255 } else { 0 }).collect()).unwrap()
    }

    fn picture(group: &str, found: &str, truth: &str, involvement_percent: [Option<f64>; 2]) -> PictureScore {
        PictureScore {
            path: format!("{group} {found} {truth}"),
            group: group.into(),
            source: "made".into(),
            negative: false,
            masks: vec![None, Some(MaskScore::new(&row(found), &row(truth), None).unwrap())],
            involvement_percent,
        }
    }

    #[test]
    fn masks_of_two_sizes_are_refused() {
        assert!(MaskScore::new(&row("0110"), &row("011"), None).is_err());
        let two_rows = Plane::filled(2, 2, 0u8);
        assert!(MaskScore::new(&two_rows, &row("01"), None).is_err());
    }

    #[test]
    fn nothing_to_find_is_no_dice_and_nothing_found_is_a_dice_of_nothing() {
        let nothing = MaskScore::new(&row("0100000000"), &row("0000000000"), None).unwrap();
        assert!(nothing.is_truth_empty() && !nothing.is_missed());
        assert_eq!(nothing.false_positive_percent(), 10.0);
        let MaskFigures { dice, iou, sensitivity, specificity, hd95_pixels, .. } = nothing.figures();
        assert_eq!((dice, iou, sensitivity, specificity, hd95_pixels), (None, None, None, Some(0.9), None));
        let both = MaskScore::new(&row("000"), &row("000"), None).unwrap();
        assert_eq!((both.figures().dice, both.is_missed()), (None, false));
        let missed = MaskScore::new(&row("000"), &row("011"), Some([1.0, 1.0])).unwrap();
        assert!(missed.is_missed() && !missed.is_truth_empty());
        let MaskFigures { dice, iou, sensitivity, hd95_pixels, hd95_mm, .. } = missed.figures();
        assert_eq!((dice, iou, sensitivity, hd95_pixels, hd95_mm), (Some(0.0), Some(0.0), Some(0.0), None, None));
    }

    /// MaskFigures of three pictures of two patients, by hand.
    #[test]
    fn the_three_means_are_three_figures() {
        let pictures = [
            // Dice 1, one pixel; Dice 0.5: two of six found, none false. Together: 3 right, 4 not found: 6 / 10.
            picture("a", "1000000000", "1000000000", [None, None]),
            picture("a", "1100000000", "1111110000", [Some(10.0), Some(30.0)]),
            // Nothing to find, one of ten pixels found.
            picture("a", "1000000000", "0000000000", [Some(4.0), Some(0.0)]),
            // Missed.
            picture("b", "0000000000", "0000000011", [Some(0.0), None]),
        ];
        let all: Vec<&PictureScore> = pictures.iter().collect();
        assert!(judge_mask("unknown", 0, &all, &[], &SETTINGS).is_none());
        let judged = judge_mask("infection", 1, &all, &[], &SETTINGS).unwrap();
        assert_eq!((judged.pictures, judged.pictures_with_truth, judged.missed), (4, 3, 1));
        let value = |figure: Option<Estimate>| figure.map(|estimate| estimate.value);
        let close = |figure: Option<Estimate>, expected: f64| {
            assert!((figure.unwrap().value - expected).abs() < 1e-12, "{figure:?} {expected}");
        };
        close(judged.per_picture.dice, 0.5);
        // True 3, false 1, not found 4 + 2.
        close(judged.pooled.dice, 6.0 / 13.0);
        // Patient a with the false pixel of the empty picture: 6 / (6 + 1 + 4); patient b: 0.
        close(judged.per_patient.dice, (6.0 / 11.0 + 0.0) / 2.0);
        close(judged.pooled.pixel_accuracy, 33.0 / 40.0);
        close(judged.per_patient.pixel_accuracy, (25.0 / 30.0 + 0.8) / 2.0);
        assert_eq!(value(judged.pooled.hd95_pixels), None);
        // Distances 0 and those of 0 1 to 0..5: mean over patient a's pictures; patient b has none.
        let second = pictures[1].masks[1].unwrap().hd95[0].unwrap();
        close(judged.per_patient.hd95_pixels, second / 2.0);
        close(judged.per_picture.hd95_pixels, second / 2.0);
        assert_eq!(judged.per_picture.hd95_mm, None);
        let groups: Vec<(&str, usize)> = judged.patients.iter().map(|p| (p.group.as_str(), p.pictures)).collect();
        assert_eq!(groups, [("a", 3), ("b", 1)]);
        let found = judged.false_positives.unwrap();
        assert_eq!((found.pictures, found.patients, found.without_lungs), (1, 1, 0));
        close(found.mean_percent, 10.0);
        close(found.clearly_false, 1.0);
        close(found.mean_percent_of_lungs, 4.0);
        close(involvement_error(&all, &SETTINGS), 12.0);
    }

    /// Of two patients, a resample has one of them twice in half of all cases; its mean over patients is then that patient's.
    #[test]
    fn a_patient_drawn_twice_counts_twice() {
        let pictures: Vec<PictureScore> = [("a", "11"), ("b", "00"), ("c", "11")]
            .into_iter()
            .map(|(group, found)| picture(group, found, "11", [None, None]))
            .collect();
        let all: Vec<&PictureScore> = pictures.iter().collect();
        let judged =
            judge_mask("infection", 1, &all, &[], &Resampling { resamples: 1000, level: 0.2, seed: 3 }).unwrap();
        let dice = judged.per_patient.dice.unwrap();
        assert!((dice.value - 2.0 / 3.0).abs() < 1e-12);
        // Thirds: of 27 draws 8 have no b, 12 one, 6 two and 1 three, so the middle fifth is 2/3 throughout. Were a patient drawn
        // twice counted once, a, a, b would have a Dice of 1/2, as often as a, b, c.
        assert_eq!((dice.low, dice.high), (2.0 / 3.0, 2.0 / 3.0));
    }

    #[test]
    fn area_on_pictures_that_have_none() {
        let percents = [0.0, 0.5, 2.0, 10.0];
        let pictures: Vec<PictureScore> = percents
            .iter()
            .enumerate()
            .map(|(patient, percent)| {
                let pixels = Confusion {
                    false_positives: (percent * 10.0) as u64,
                    true_negatives: 1000 - (percent * 10.0) as u64,
                    ..Confusion::default()
                };
                PictureScore {
                    path: String::new(),
                    group: patient.to_string(),
                    source: String::new(),
                    negative: true,
                    masks: vec![Some(MaskScore { pixels, hd95: [None; 2] })],
                    involvement_percent: [(patient > 0).then_some(2.0 * percent), None],
                }
            })
            .collect();
        let all: Vec<&PictureScore> = pictures.iter().collect();
        let found = false_positives(0, &all, &SETTINGS).unwrap();
        assert_eq!((found.pictures, found.patients, found.without_lungs), (4, 4, 1));
        for (figure, expected) in [
            (found.mean_percent, 3.125),
            (found.median_percent, 1.25),
            (found.clearly_false, 0.5),
            (found.mean_percent_of_lungs, 25.0 / 3.0),
        ] {
            let Estimate { value, low, high } = figure.unwrap();
            assert!((value - expected).abs() < 1e-12, "{value} {expected}");
            assert!(low < value && value < high, "{low} {value} {high}");
        }
        assert!(false_positives(0, &[], &SETTINGS).is_none());
    }
}
