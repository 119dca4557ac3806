//! How good a bundle is on a split of a manifest, judged through the very code the device runs.
//!
//! Every figure comes with a percentile bootstrap interval over patients, and per source: COVID and other pictures of public
//! collections come from different hospitals, so a figure over all sources flatters.

use std::{
    collections::{BTreeMap, BTreeSet},
    fmt::Write as _,
    path::Path,
};

use anyhow::Context;
use rayon::prelude::*;
use thorax_engine::{error::DeviceError, model::Model, screening};
use thorax_shared::{
    bundle::{self, Role, TrustedKeys},
    mask::{INFECTION, LEFT_LUNG, LUNGS, NAMES, RIGHT_LUNG, union},
    metrics::{self, Confusion},
    modality::Modality,
    preprocess::spec::{Equalisation, PreprocessSpec},
    verdict::Verdict,
};

use super::{
    Estimate, Resampling,
    masks::{
        by_volume,
        score::MaskFigures,
        volume::{PlacedPair, SlicePair, hd95_of_volume},
        voxel_mm,
    },
    mean,
};
use crate::{
    data::{
        Label, Manifest, Record, Split, Task,
        address::Address,
        picture::{Picture, truth_masks},
    },
    markdown::{self, escaped},
    progress::progress,
};

/// What the device tells of a picture: infection, and both lungs.
pub const MASKS: [&str; 2] = [NAMES[INFECTION], LUNGS];

/// Bootstrap resamples of patients.
const RESAMPLES: usize = 1000;
/// Confidence level of the intervals.
const LEVEL: f64 = 0.95;

/// A picture of somebody healthy should have no more than this share of the lungs marked, in percent.
const MARKED_PERCENT: f32 = 1.0;

/// Columns of [`Evaluation::write_predictions`].
pub const PREDICTIONS: [&str; 12] = [
    "modality",
    "path",
    "group",
    "source",
    "class",
    "positive",
    "verdict",
    "probability",
    "entropy_bits",
    "novelty",
    "mutual_information_bits",
    "involvement_percent",
];
/// Columns of [`Evaluation::write_pixels`].
pub const PIXELS: [&str; 9] = [
    "modality",
    "path",
    "group",
    "source",
    "mask",
    "true_positives",
    "false_positives",
    "true_negatives",
    "false_negatives",
];

/// One labelled picture as the device reads it.
#[derive(Clone, Debug)]
pub struct Prediction {
    /// Path in the manifest.
    pub path: String,
    /// Patient, or patients that belong together.
    pub group: String,
    /// Collection.
    pub source: String,
    /// What the collection calls it; of what is not the disease it tells whether it is healthy.
    pub class: String,
    /// Whether it shows the disease.
    pub positive: bool,
    /// What the device says.
    pub verdict: Verdict,
    /// Probability, entropy in bits, novelty, mutual information in bits (of the members' own probabilities, before a map of their mean);
    /// `None` when rejected before the ensemble was asked.
    pub evidence: Option<[f32; 4]>,
    /// Infected share of the lungs, as the device shows it.
    pub involvement_percent: Option<f32>,
}

/// One picture with true masks.
#[derive(Clone, Debug)]
pub struct MaskedPicture {
    /// Path in the manifest.
    pub path: String,
    /// Patient.
    pub group: String,
    /// Collection.
    pub source: String,
    /// Confusion of pixels for each of [`MASKS`]; `None` where the truth lacks it or the picture was rejected.
    pub masks: Vec<Option<Confusion>>,
}

/// One volume with true masks, whose slices are among the [`MaskedPicture`]s.
#[derive(Clone, Debug, PartialEq)]
pub struct MaskedVolume {
    /// Its file, as the manifest has it.
    pub file: String,
    /// Patient.
    pub group: String,
    /// Slices that were judged.
    pub slices: usize,
    /// 95th percentile of the distances of the surfaces in three dimensions for each of [`MASKS`], in mm; `None` where a mask is empty,
    /// the file says no sizes, or slices are missing, without the truth or rejected.
    pub hd95_mm: [Option<f64>; 2],
}

/// All that is known of a bundle on a split.
#[derive(Clone, Debug)]
pub struct Evaluation {
    /// Whose pictures.
    pub modality: Modality,
    /// Which split.
    pub split: Split,
    /// Labelled pictures.
    pub predictions: Vec<Prediction>,
    /// Pictures with masks.
    pub masks: Vec<MaskedPicture>,
    /// Volumes with masks.
    pub volumes: Vec<MaskedVolume>,
    positive_at: f32,
    seed: u64,
}

/// A bundle as the device runs it, and the same for pictures that somebody equalised before they were published.
#[derive(Clone)]
pub struct JudgedModel {
    /// As it is.
    model: Model,
    /// Without the step.
    of_equalised: Model,
}

/// `recipe` for pictures of which the manifest says that they were equalised before.
fn told_equalised(recipe: &mut PreprocessSpec) {
    if matches!(recipe.clahe, Equalisation::Always(_)) {
        recipe.clahe = Equalisation::Never;
    }
}

impl JudgedModel {
    /// Opens the bundle at `path`.
    ///
    /// # Errors
    /// A bundle that cannot be read or is not signed by one of `trusted`.
    pub fn open(path: &Path, trusted: &TrustedKeys) -> Result<Self, DeviceError> {
        let model = Model::open(path, trusted)?;
        let mut of_equalised = model.clone();
        let bundle::Manifest { classifier, segmenter, .. } = &mut of_equalised.manifest;
        told_equalised(&mut classifier.graph.preprocess);
        segmenter.iter_mut().for_each(|segmenter| told_equalised(&mut segmenter.graph.preprocess));
        Ok(Self { model, of_equalised })
    }

    /// The same with another graph, see [`Model::with_graph`].
    #[must_use]
    pub fn with_graph(self, role: Role, onnx: &[u8]) -> Self {
        Self { model: self.model.with_graph(role, onnx), of_equalised: self.of_equalised.with_graph(role, onnx) }
    }

    /// The same with a segmenter that pictures are prepared for in another way.
    #[must_use]
    pub fn prepared_as(mut self, preprocess: &PreprocessSpec) -> Self {
        for (model, equalises) in [(&mut self.model, true), (&mut self.of_equalised, false)] {
            if let Some(segmenter) = &mut model.manifest.segmenter {
                segmenter.graph.preprocess = preprocess.clone();
                if !equalises {
                    told_equalised(&mut segmenter.graph.preprocess);
                }
            }
        }
        self
    }

    /// What the bundle says of itself.
    pub fn manifest(&self) -> &bundle::Manifest {
        &self.model.manifest
    }

    /// As the device runs it.
    pub fn device(&self) -> &Model {
        &self.model
    }

    /// Name and version.
    pub fn title(&self) -> String {
        self.model.title()
    }

    /// What reads `picture`, so that it is not equalised twice where the manifest says that it was before. A bundle that looks for that itself
    /// ([`Equalisation::Once`]) is told nothing, as on a device.
    pub fn of(&self, picture: &Picture) -> &Model {
        if picture.equalised { &self.of_equalised } else { &self.model }
    }
}

/// Reads every picture of the split with `model`.
///
/// # Errors
/// Pictures that cannot be read, graphs that cannot be run.
pub fn evaluate(manifest: &Manifest, model: &JudgedModel, split: Split, seed: u64) -> anyhow::Result<Evaluation> {
    let modality = model.manifest().modality;
    let labelled: Vec<&Record> =
        manifest.select(modality, Task::Classify, Some(split)).filter(|r| r.label != Label::Unlabelled).collect();
    let bar = progress(labelled.len(), &format!("{modality} {}", split.as_str()));
    let predictions = labelled
        .par_iter()
        .map(|record| {
            let picture = Picture::of(manifest, record)?;
            let (reading, _) =
                screening::read(model.of(&picture), &picture.frame).with_context(|| record.path.clone())?;
            bar.inc(1);
            Ok(Prediction {
                path: record.path.clone(),
                group: record.group.clone(),
                source: record.source.clone(),
                class: record.class.clone(),
                positive: record.label == Label::Positive,
                verdict: reading.verdict,
                evidence: reading
                    .evidence
                    .zip(reading.mutual_information_bits)
                    .map(|(e, information)| [e.probability, e.entropy_bits, e.novelty, information]),
                involvement_percent: reading
                    .masks
                    .and_then(|masks| masks.area.involvement())
                    .map(|involvement| involvement.percent),
            })
        })
        .collect::<anyhow::Result<_>>()?;
    bar.finish_and_clear();
    let masked: Vec<(&Record, bool)> = manifest.masked(modality, split).map(|record| (record, false)).collect();
    let bar = progress(masked.len(), &format!("{modality} {} masks", split.as_str()));
    let (mut masks, mut volumes) = (vec![], vec![]);
    // One volume after the other, so that no more than the masks of one are kept.
    for (file, numbers) in by_volume(&masked) {
        let judged = numbers
            .par_iter()
            .map(|&number| {
                let judged = JudgedPicture::new(manifest, model, masked[number].0);
                bar.inc(1);
                judged.with_context(|| masked[number].0.path.clone())
            })
            .collect::<anyhow::Result<Vec<_>>>()?;
        if let Some(file) = file {
            volumes.extend(MaskedVolume::of(manifest, file, &judged)?);
        }
        masks.extend(numbers.into_iter().zip(judged.into_iter().map(|judged| judged.picture)));
    }
    bar.finish_and_clear();
    masks.sort_by_key(|(number, _)| *number);
    let masks = masks.into_iter().map(|(_, picture)| picture).collect();
    let positive_at = model.manifest().decision.positive_at;
    Ok(Evaluation { modality, split, predictions, masks, volumes, positive_at, seed })
}

/// A picture with masks, and what the volume that it may be a slice of needs of it.
struct JudgedPicture {
    picture: MaskedPicture,
    /// What was found beside the truth, for each of [`MASKS`] that has both.
    pairs: [Option<SlicePair>; 2],
    spacing_mm: Option<[f32; 2]>,
}

impl JudgedPicture {
    fn new(manifest: &Manifest, model: &JudgedModel, record: &Record) -> anyhow::Result<Self> {
        let picture = Picture::of(manifest, record)?;
        let reading = screening::segment_only(model.of(&picture), &picture.frame)?;
        let truth = truth_masks(manifest, record, &reading.1)?;
        let lungs = union([&truth[LEFT_LUNG], &truth[RIGHT_LUNG]].map(Option::as_ref));
        let truth = [truth[INFECTION].clone(), lungs];
        let found = reading.0.map(|masks| {
            let lungs = masks.lungs();
            [masks.infection, lungs]
        });
        let both = |channel: usize| found.as_ref().map(|found| &found[channel]).zip(truth[channel].as_ref());
        let confusion = |channel: usize| {
            let (found, truth) = both(channel)?;
            let mut confusion = Confusion::default();
            found.data().iter().zip(truth.data()).for_each(|(&f, &t)| confusion.count(f != 0, t != 0));
            Some(confusion)
        };
        Ok(Self {
            picture: MaskedPicture {
                path: record.path.clone(),
                group: record.group.clone(),
                source: record.source.clone(),
                masks: (0..MASKS.len()).map(confusion).collect(),
            },
            pairs: [0, 1].map(|channel| both(channel).map(|(found, truth)| SlicePair::new(found, truth))),
            spacing_mm: picture.frame.spacing_mm,
        })
    }
}

impl MaskedVolume {
    /// Of the slices of `file`.
    fn of(manifest: &Manifest, file: &str, slices: &[JudgedPicture]) -> anyhow::Result<Option<Self>> {
        let Some(first) = slices.first() else { return Ok(None) };
        let spacing_mm = voxel_mm(manifest, file, first.spacing_mm)?;
        let hd95 = |channel: usize| {
            let place = |slice: &JudgedPicture| Address::of(&slice.picture.path).slice;
            let placed = slices.iter().filter_map(|slice| Some((place(slice)?, slice.pairs[channel].as_ref())));
            let placed: Vec<PlacedPair<'_>> = placed.collect();
            hd95_of_volume(placed, spacing_mm).with_context(|| file.to_owned())
        };
        let group = first.picture.group.clone();
        Ok(Some(Self { file: file.to_owned(), group, slices: slices.len(), hd95_mm: [hd95(0)?, hd95(1)?] }))
    }
}

/// Dice of what was counted; without a true pixel there is none, as `masks judge` has it.
fn dice(pixels: &Confusion) -> Option<f64> {
    MaskFigures::of(pixels, [None; 2]).dice
}

/// IoU, by the same rule.
fn iou(pixels: &Confusion) -> Option<f64> {
    MaskFigures::of(pixels, [None; 2]).iou
}

/// Dice by the other rule, which some published figures follow: two empty masks are worth 1, and one that is empty beside one that is
/// not is worth 0.
fn dice_empty_as_one(pixels: &Confusion) -> f64 {
    pixels.f1().unwrap_or(1.0)
}

fn cell(estimate: Option<Estimate>) -> String {
    estimate.map_or_else(|| "–".into(), |e| format!("{:.3} ({:.3}–{:.3})", e.value, e.low, e.high))
}

impl Evaluation {
    fn interval<T>(
        &self,
        items: &[&T],
        group: impl Fn(&T) -> &str,
        statistic: impl Fn(&[&T]) -> Option<f64>,
    ) -> Option<Estimate> {
        let groups: Vec<&str> = items.iter().map(|item| group(item)).collect();
        let resampling = Resampling { resamples: RESAMPLES, level: LEVEL, seed: self.seed };
        Estimate::new(&groups, &resampling, |indices| {
            let chosen: Vec<&T> = indices.iter().map(|&i| items[i]).collect();
            statistic(&chosen)
        })
    }

    /// What somebody else says of the same labelled pictures, who draws no masks and calls positive what is at least `positive_at`.
    pub(super) fn said_by(&self, predictions: Vec<Prediction>, positive_at: f32) -> Self {
        let (modality, split, seed) = (self.modality, self.split, self.seed);
        Self { modality, split, predictions, masks: vec![], volumes: vec![], positive_at, seed }
    }

    /// Markdown tables: classification per source, then segmentation per source.
    pub fn to_markdown(&self) -> String {
        let mut out = String::new();
        let title = self.modality.title();
        if !self.predictions.is_empty() {
            let _ = writeln!(out, "### {title}, classification, {} split\n", self.split.as_str());
            let _ = writeln!(
                out,
                "Forced decision: positive from probability {:.3} on. Answered: share of pictures that got *positive* or *negative*; \
                 selective accuracy: accuracy on those. Intervals: {:.0} %, bootstrap over patients.\n",
                self.positive_at,
                LEVEL * 100.0
            );
            let header = [
                "source",
                "pictures (positive)",
                "AUC",
                "sensitivity",
                "specificity",
                "accuracy",
                "ECE",
                "AUROC of entropy for errors",
                "answered",
                "selective accuracy",
                "rejected",
            ];
            out += &markdown::head(&header);
            self.by_source(
                &self.predictions,
                |p| &p.source,
                |name, items| {
                    let _ = writeln!(out, "| {name} | {} |", self.classification_row(items).join(" | "));
                },
            );
            let all: Vec<&Prediction> = self.predictions.iter().collect();
            let [ece, entropy] = self.if_calibrated(&all).map(cell);
            let _ = writeln!(
                out,
                "\nIf every probability were right, chance alone would give, on as many pictures (median, and {:.0} % of {RESAMPLES} draws): ECE \
                 {ece}, AUROC of entropy for errors {entropy}. Pictures of a patient are drawn independently here, so the ranges are somewhat \
                 too narrow. A figure inside them is no sign of bad calibration, and no proof of a good one. AURC (area under the curve of risk \
                 against coverage, the least uncertain first): {}. Brier score: {}.",
                LEVEL * 100.0,
                cell(self.aurc(&all)),
                cell(self.brier(&all))
            );
        }
        out += &self.by_class();
        out += &self.by_patient();
        for (label, positive) in [("positive", true), ("negative", false)] {
            let mut shares: Vec<f64> = self
                .predictions
                .iter()
                .filter(|p| p.positive == positive)
                .filter_map(|p| Some(p.involvement_percent?.into()))
                .collect();
            shares.sort_by(f64::total_cmp);
            let quartiles = [0.25, 0.5, 0.75].map(|share| metrics::quantile(&shares, share));
            if let [Some(low), Some(median), Some(high)] = quartiles {
                let _ = writeln!(
                    out,
                    "\nInvolvement shown on {label} pictures: median {median:.1} % (quartiles {low:.1}–{high:.1} %)."
                );
            }
        }
        if !self.masks.is_empty() {
            let _ = writeln!(out, "\n### {title}, segmentation, {} split\n", self.split.as_str());
            let _ = writeln!(
                out,
                "Per image: mean over pictures. Pooled: all pixels together. Per patient: pixels of a patient together, mean over patients. \
                 Without a true pixel there is no Dice and no IoU, so two empty masks do not count; the column beside counts them as 1, as \
                 some published figures do. Intervals: {:.0} %, bootstrap over patients.\n",
                LEVEL * 100.0
            );
            let header = [
                "source",
                "mask",
                "pictures (patients)",
                "Dice per image",
                "IoU per image",
                "Dice per image, two empty masks as 1",
                "Dice pooled",
                "IoU pooled",
                "Dice per patient",
                "IoU per patient",
                "pixel accuracy",
            ];
            out += &markdown::head(&header);
            for (channel, mask) in MASKS.iter().enumerate() {
                let scored: Vec<MaskedPicture> =
                    self.masks.iter().filter(|m| m.masks[channel].is_some()).cloned().collect();
                self.by_source(
                    &scored,
                    |m| &m.source,
                    |name, items| {
                        let _ = writeln!(out, "| {name} | {mask} | {} |", self.mask_row(items, channel).join(" | "));
                    },
                );
            }
            let _ = writeln!(
                out,
                "\n| patient | pictures | {} |\n|---|---|{}",
                MASKS.map(|m| format!("Dice {m}")).join(" | "),
                "---|".repeat(MASKS.len())
            );
            for (patient, items) in groups(&self.masks, |m| &m.group) {
                let cells: Vec<String> = (0..MASKS.len())
                    .map(|c| {
                        let total: Vec<Confusion> = items.iter().filter_map(|m| m.masks[c]).collect();
                        if total.is_empty() {
                            "–".into()
                        } else {
                            dice(&total.into_iter().sum()).map_or_else(|| "–".into(), |dice| format!("{dice:.3}"))
                        }
                    })
                    .collect();
                let count = items.len().to_string();
                out += &markdown::row([&patient, &count].into_iter().chain(&cells));
            }
        }
        out += &self.volume_table();
        out
    }

    /// A line a volume, and the means before them; nothing where no volume was judged.
    fn volume_table(&self) -> String {
        if self.volumes.is_empty() {
            return String::new();
        }
        let mut out = String::from(
            "\nWhole volumes: 95th percentile of the Hausdorff distance of the surfaces in three dimensions, in mm. There is none where a \
             mask is empty, or where slices between the first and the last are missing or rejected.\n\n",
        );
        let head = MASKS.map(|mask| format!("HD95 {mask}, mm"));
        out += &markdown::head(&["volume", "slices", &head[0], &head[1]]);
        let means = [0, 1].map(|channel| {
            let known = self.volumes.iter().filter(|volume| volume.hd95_mm[channel].is_some()).count();
            format!("{}, of {known}", cell(self.mean_hd95(channel)))
        });
        let _ = writeln!(out, "| **mean** | – | {} |", means.join(" | "));
        for volume in &self.volumes {
            let distances = volume.hd95_mm.map(|distance| distance.map_or_else(|| "–".into(), |mm| format!("{mm:.1}")));
            let cells = [volume.file.clone(), volume.slices.to_string()].into_iter().chain(distances);
            out += &markdown::row(cells.collect::<Vec<String>>().iter().map(String::as_str));
        }
        out
    }

    /// Mean distance of the volumes that have one, in mm.
    fn mean_hd95(&self, channel: usize) -> Option<Estimate> {
        let volumes: Vec<&MaskedVolume> = self.volumes.iter().collect();
        self.interval(
            &volumes,
            |volume| &volume.group,
            |volumes| mean(volumes.iter().filter_map(|volume| volume.hd95_mm[channel])),
        )
    }

    /// Tells `each` of all items together and, where there are several, of each source: its name as a Markdown cell, and its items.
    fn by_source<'a, T>(&self, items: &'a [T], source: impl Fn(&T) -> &str, mut each: impl FnMut(&str, &[&'a T])) {
        let all: Vec<&T> = items.iter().collect();
        if all.is_empty() {
            return;
        }
        each("**all**", &all);
        let sources = groups(items, source);
        if sources.len() > 1 {
            sources.iter().for_each(|(name, items)| each(&escaped(name), items));
        }
    }

    /// What is said of patients (groups that belong together) of whom several pictures were read, by the mean of the pictures' probabilities,
    /// as the device takes the mean of the slices of a volume; nothing where there are none.
    fn by_patient(&self) -> String {
        let patients = patients(&self.predictions);
        if patients.iter().all(|patient| patient.pictures < 2) {
            return String::new();
        }
        let mut out = format!(
            "\nBy patient (group that belongs together), each by the mean probability of the pictures that were read and not rejected; forced decision from {:.3} on. *Several*: patients of whom \
             more than one picture was read.\n\n",
            self.positive_at
        );
        out +=
            &markdown::head(&["source", "patients (positive)", "several", "AUC", "sensitivity", "specificity", "ECE"]);
        self.by_source(
            &patients,
            |patient| &patient.source,
            |name, items| {
                let positive = items.iter().filter(|patient| patient.positive).count();
                let several = items.iter().filter(|patient| patient.pictures > 1).count();
                let statistic = |of: OfTruth<'_>| {
                    self.interval(
                        items,
                        |patient| &patient.group,
                        |drawn| {
                            let (p, y): (Vec<f32>, Vec<bool>) =
                                drawn.iter().map(|patient| (patient.probability, patient.positive)).unzip();
                            of(&p, &y)
                        },
                    )
                };
                let confusion = |p: &[f32], y: &[bool]| {
                    let mut confusion = Confusion::default();
                    p.iter().zip(y).for_each(|(&p, &y)| confusion.count(p >= self.positive_at, y));
                    confusion
                };
                let figures = [
                    statistic(&|p, y| metrics::roc_auc(p, y).ok()),
                    statistic(&|p, y| confusion(p, y).sensitivity()),
                    statistic(&|p, y| confusion(p, y).specificity()),
                    statistic(&|p, y| metrics::expected_calibration_error(p, y, metrics::DEFAULT_BINS).ok()),
                ];
                let cells = figures.map(cell).join(" | ");
                let _ = writeln!(out, "| {name} | {} ({positive}) | {several} | {cells} |", items.len());
            },
        );
        out
    }

    /// What is said of each class that the collections tell apart.
    fn by_class(&self) -> String {
        let classes = groups(&self.predictions, |p| &p.class);
        if classes.is_empty() {
            return String::new();
        }
        let mut out = format!(
            "\nBy class. Of a class without the disease, what counts is how much is called negative or referred, not positive, and how many \
             pictures have more than {MARKED_PERCENT} % of their lungs marked as infected (of those on which lungs were found).\n\n",
        );
        let marked = format!("more than {MARKED_PERCENT} % marked");
        let head = ["class", "pictures", "positive", "negative", "refer", "rejected", "not called positive", &marked];
        out += &markdown::head(&head);
        for (class, items) in classes {
            let said = |word: &str| items.iter().filter(|p| p.verdict.as_str() == word).count().to_string();
            let counts = ["positive", "negative", "refer", "rejected"].map(said);
            let shares = [self.not_called_positive(&items), self.marked(&items)].map(cell);
            let cells = [escaped(&class), items.len().to_string()].into_iter().chain(counts).chain(shares);
            out += &markdown::row(cells.collect::<Vec<_>>().iter().map(String::as_str));
        }
        out
    }

    /// Share that is called negative or referred, of what is not rejected; `None` of a class with the disease.
    fn not_called_positive(&self, items: &[&Prediction]) -> Option<Estimate> {
        if items.iter().any(|p| p.positive) {
            return None;
        }
        let read: Vec<&Prediction> =
            items.iter().copied().filter(|p| !matches!(p.verdict, Verdict::Rejected(_))).collect();
        self.interval(
            &read,
            |p| &p.group,
            |items| mean(items.iter().map(|p| f64::from(u8::from(p.verdict != Verdict::Positive)))),
        )
    }

    /// Share with more than [`MARKED_PERCENT`] of the lungs marked, of the pictures on which lungs were found.
    fn marked(&self, items: &[&Prediction]) -> Option<Estimate> {
        let found: Vec<&Prediction> = items.iter().copied().filter(|p| p.involvement_percent.is_some()).collect();
        let is_marked = |p: &&Prediction| p.involvement_percent.is_some_and(|percent| percent > MARKED_PERCENT);
        self.interval(&found, |p| &p.group, |items| mean(items.iter().map(|p| f64::from(u8::from(is_marked(p))))))
    }

    /// The figures to read before all others, as Markdown list items: the worst source, and the class without the disease that is most
    /// often called positive.
    pub fn worst(&self) -> String {
        let mut out = String::new();
        let lowest = |a: &Estimate, b: &Estimate| a.value.total_cmp(&b.value);
        let sources = groups(&self.predictions, |p| &p.source).into_iter();
        let aucs = sources.filter_map(|(source, items)| Some((source, items.len(), self.auc(&items)?)));
        if let Some((source, pictures, auc)) = aucs.min_by(|a, b| lowest(&a.2, &b.2)) {
            let _ = writeln!(
                out,
                "- Worst source: AUC {} inside of {}, on {pictures} pictures of the {} split.",
                cell(Some(auc)),
                escaped(&source),
                self.split.as_str()
            );
        }
        let classes = groups(&self.predictions, |p| &p.class).into_iter();
        let spared = classes.filter_map(|(class, items)| Some((class, self.not_called_positive(&items)?)));
        if let Some((class, share)) = spared.min_by(|a, b| lowest(&a.1, &b.1)) {
            let _ = writeln!(
                out,
                "- Of class *{}*, which is without the disease, {} are called negative or referred, the others positive.",
                escaped(&class),
                cell(Some(share))
            );
        }
        out
    }

    /// Name and value, with its interval, of the figures of all pictures together, for setting bundles side by side.
    pub fn figures(&self) -> Vec<(String, String)> {
        const NAMED: [&str; 8] = [
            "AUC",
            "sensitivity, forced decision",
            "specificity, forced decision",
            "accuracy, forced decision",
            "ECE",
            "AUROC of entropy for errors",
            "answered",
            "accuracy of the answers",
        ];
        let all: Vec<&Prediction> = self.predictions.iter().collect();
        let named = |name: &str, estimate| (name.to_owned(), cell(estimate));
        let mut figures: Vec<_> = NAMED.into_iter().zip(self.classification(&all)).map(|(n, e)| named(n, e)).collect();
        let names = ["ECE by chance, if every probability were right", "AUROC of entropy by chance, if so"];
        figures.extend(names.into_iter().zip(self.if_calibrated(&all)).map(|(name, estimate)| named(name, estimate)));
        figures.push(named("AURC", self.aurc(&all)));
        figures.push(named("Brier score", self.brier(&all)));
        for (channel, mask) in MASKS.iter().enumerate() {
            let known: Vec<&MaskedPicture> = self.masks.iter().filter(|m| m.masks[channel].is_some()).collect();
            if !known.is_empty() {
                let [_, _, _, pooled, _, per_patient, ..] = self.mask_figures(&known, channel);
                figures.push(named(&format!("Dice of {mask}, pooled"), pooled));
                figures.push(named(&format!("Dice of {mask}, per patient"), per_patient));
            }
            if let Some(distance) = self.mean_hd95(channel) {
                figures.push(named(&format!("HD95 of {mask} in volumes, mm"), Some(distance)));
            }
        }
        figures
    }

    fn classification_row(&self, items: &[&Prediction]) -> Vec<String> {
        let positive = items.iter().filter(|p| p.positive).count();
        let rejected = items.iter().filter(|p| matches!(p.verdict, Verdict::Rejected(_))).count();
        let mut row = vec![format!("{} ({positive})", items.len())];
        row.extend(self.classification(items).map(cell));
        row.push(rejected.to_string());
        row
    }

    /// A statistic of the pictures that were read, with its interval over patients.
    fn of_read(&self, items: &[&Prediction], statistic: impl Fn(&[&Prediction]) -> Option<f64>) -> Option<Estimate> {
        self.interval(&read(items), |p| &p.group, statistic)
    }

    /// AUC of the pictures that were read.
    fn auc(&self, items: &[&Prediction]) -> Option<Estimate> {
        self.of_read(items, |items| {
            let (p, _, y) = columns(items);
            metrics::roc_auc(&p, &y).ok()
        })
    }

    /// ECE and AUROC of entropy for errors as they would be were every probability right ([`metrics::if_calibrated`]), of the
    /// pictures that were read.
    fn if_calibrated(&self, items: &[&Prediction]) -> [Option<Estimate>; 2] {
        let (p, h, _) = columns(&read(items));
        let predicted: Vec<bool> = p.iter().map(|&p| p >= self.positive_at).collect();
        let of = |statistic: &dyn Fn(&[bool]) -> Option<f64>| {
            let found = metrics::if_calibrated(&p, self.seed, RESAMPLES, LEVEL, statistic).ok()?;
            Some(Estimate { value: found.estimate, low: found.low, high: found.high })
        };
        [
            of(&|labels| metrics::expected_calibration_error(&p, labels, metrics::DEFAULT_BINS).ok()),
            of(&|labels| metrics::error_detection_auc(&h, &predicted, labels).ok()),
        ]
    }

    /// Area under the curve of risk against coverage by entropy, of the forced decision on the pictures that were read.
    fn aurc(&self, items: &[&Prediction]) -> Option<Estimate> {
        self.of_read(items, |items| {
            let (p, h, y) = columns(items);
            let wrong: Vec<bool> = p.iter().zip(&y).map(|(&p, &y)| (p >= self.positive_at) != y).collect();
            Some(metrics::RiskCoverage::new(&h, &wrong).ok()?.area())
        })
    }

    /// Brier score of the pictures that were read.
    fn brier(&self, items: &[&Prediction]) -> Option<Estimate> {
        self.of_read(items, |items| {
            let (p, _, y) = columns(items);
            metrics::brier_score(&p, &y).ok()
        })
    }

    /// AUC, sensitivity, specificity, accuracy, ECE, AUROC of entropy for errors, answered, selective accuracy; of the pictures that
    /// were read.
    fn classification(&self, items: &[&Prediction]) -> [Option<Estimate>; 8] {
        let confusion = |items: &[&Prediction]| {
            let mut confusion = Confusion::default();
            items
                .iter()
                .for_each(|p| confusion.count(p.evidence.is_some_and(|e| e[0] >= self.positive_at), p.positive));
            confusion
        };
        let statistic = |f: &dyn Fn(&[&Prediction]) -> Option<f64>| self.of_read(items, f);
        let answered = |items: &[&Prediction]| -> Vec<bool> {
            let right = |p: &Prediction| match p.verdict {
                Verdict::Positive => Some(p.positive),
                Verdict::Negative => Some(!p.positive),
                Verdict::Refer(_) | Verdict::Rejected(_) => None,
            };
            items.iter().filter_map(|p| right(p)).collect()
        };
        [
            self.auc(items),
            statistic(&|items| confusion(items).sensitivity()),
            statistic(&|items| confusion(items).specificity()),
            statistic(&|items| confusion(items).accuracy()),
            statistic(&|items| {
                let (p, _, y) = columns(items);
                metrics::expected_calibration_error(&p, &y, metrics::DEFAULT_BINS).ok()
            }),
            statistic(&|items| {
                let (p, h, y) = columns(items);
                let predicted: Vec<bool> = p.iter().map(|&p| p >= self.positive_at).collect();
                metrics::error_detection_auc(&h, &predicted, &y).ok()
            }),
            statistic(&|items| Some(answered(items).len() as f64 / items.len().max(1) as f64)),
            statistic(&|items| mean(answered(items).into_iter().map(|right| f64::from(u8::from(right))))),
        ]
    }

    fn mask_row(&self, items: &[&MaskedPicture], channel: usize) -> Vec<String> {
        let patients: BTreeSet<&str> = items.iter().map(|m| m.group.as_str()).collect();
        let mut row = vec![format!("{} ({})", items.len(), patients.len())];
        row.extend(self.mask_figures(items, channel).map(cell));
        row
    }

    /// Dice and IoU per image, Dice with two empty masks as 1, both pooled, both per patient, pixel accuracy.
    fn mask_figures(&self, items: &[&MaskedPicture], channel: usize) -> [Option<Estimate>; 8] {
        let one = |m: &MaskedPicture| m.masks[channel].unwrap_or_default();
        let statistic = |f: &dyn Fn(&[&MaskedPicture]) -> Option<f64>| self.interval(items, |m| &m.group, f);
        let pooled = |items: &[&MaskedPicture]| items.iter().map(|m| one(m)).sum::<Confusion>();
        let mut of_patient: BTreeMap<&str, Confusion> = BTreeMap::new();
        items.iter().for_each(|m| *of_patient.entry(&m.group).or_default() += one(m));
        // Patients are the samples here: one who is drawn twice counts twice.
        let patients: Vec<(&str, Confusion)> = of_patient.into_iter().collect();
        let patients: Vec<&(&str, Confusion)> = patients.iter().collect();
        let per_patient = |score: fn(&Confusion) -> Option<f64>| {
            let statistic = |drawn: &[&(&str, Confusion)]| mean(drawn.iter().filter_map(|(_, pixels)| score(pixels)));
            self.interval(&patients, |(group, _)| group, statistic)
        };
        [
            statistic(&|items| mean(items.iter().filter_map(|m| dice(&one(m))))),
            statistic(&|items| mean(items.iter().filter_map(|m| iou(&one(m))))),
            statistic(&|items| mean(items.iter().map(|m| dice_empty_as_one(&one(m))))),
            statistic(&|items| dice(&pooled(items))),
            statistic(&|items| iou(&pooled(items))),
            per_patient(dice),
            per_patient(iou),
            statistic(&|items| pooled(items).accuracy()),
        ]
    }

    /// Writes one row a labelled picture into `table`.
    ///
    /// # Errors
    /// A table that cannot be written.
    pub fn write_predictions(&self, table: &mut csv::Writer<Vec<u8>>) -> csv::Result<()> {
        for p in &self.predictions {
            let positive = if p.positive { "true" } else { "false" };
            let words = [self.modality.as_str(), &p.path, &p.group, &p.source, &p.class, positive];
            let evidence: [String; 4] = match p.evidence {
                Some(evidence) => evidence.map(|number| number.to_string()),
                None => Default::default(),
            };
            let involvement = p.involvement_percent.map_or_else(String::new, |percent| percent.to_string());
            let numbers = evidence.iter().chain([&involvement]).map(String::as_str);
            table.write_record(words.into_iter().chain([p.verdict.as_str()]).chain(numbers))?;
        }
        Ok(())
    }

    /// Writes one row a picture and mask into `table`: what was counted, from which all figures of masks follow.
    ///
    /// # Errors
    /// A table that cannot be written.
    pub fn write_pixels(&self, table: &mut csv::Writer<Vec<u8>>) -> csv::Result<()> {
        for picture in &self.masks {
            for (mask, pixels) in MASKS.iter().zip(&picture.masks) {
                let Some(c) = pixels else { continue };
                let counts = [c.true_positives, c.false_positives, c.true_negatives, c.false_negatives];
                let counts = counts.map(|count| count.to_string());
                let words = [self.modality.as_str(), &picture.path, &picture.group, &picture.source, mask];
                table.write_record(words.into_iter().chain(counts.iter().map(String::as_str)))?;
            }
        }
        Ok(())
    }
}

/// A figure of probabilities and truth.
type OfTruth<'a> = &'a dyn Fn(&[f32], &[bool]) -> Option<f64>;

/// A patient of whom pictures were read; somebody of whom there are pictures with the disease and without it is two of them.
struct Patient {
    group: String,
    source: String,
    positive: bool,
    pictures: usize,
    /// Mean of the pictures.
    probability: f32,
}

fn patients(predictions: &[Prediction]) -> Vec<Patient> {
    let mut all: BTreeMap<_, Vec<f32>> = BTreeMap::new();
    for p in predictions.iter().filter(|p| !matches!(p.verdict, Verdict::Rejected(_))) {
        let Some([probability, ..]) = p.evidence else { continue };
        all.entry((&p.group, &p.source, p.positive)).or_default().push(probability);
    }
    let patients = all.into_iter().map(|((group, source, positive), of)| Patient {
        group: group.clone(),
        source: source.clone(),
        positive,
        pictures: of.len(),
        probability: of.iter().sum::<f32>() / of.len() as f32,
    });
    patients.collect()
}

/// Those that were read.
fn read<'a>(items: &[&'a Prediction]) -> Vec<&'a Prediction> {
    items.iter().copied().filter(|p| p.evidence.is_some()).collect()
}

/// Probability, entropy and truth of each.
fn columns(items: &[&Prediction]) -> (Vec<f32>, Vec<f32>, Vec<bool>) {
    let evidence = items.iter().map(|p| p.evidence.unwrap_or_default());
    (
        evidence.clone().map(|e| e[0]).collect(),
        evidence.map(|e| e[1]).collect(),
        items.iter().map(|p| p.positive).collect(),
    )
}

fn groups<'a, T>(items: &'a [T], key: impl Fn(&T) -> &str) -> BTreeMap<String, Vec<&'a T>> {
    let mut found: BTreeMap<String, Vec<&'a T>> = BTreeMap::new();
    items.iter().for_each(|item| found.entry(key(item).to_owned()).or_default().push(item));
    found
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use serde_json::Value;
    use thorax_phantom::{Phantom, write_labels, write_volume};
    use thorax_shared::{plane::Plane, verdict::ReferReason};

    use super::*;

    fn evaluation(predictions: Vec<Prediction>, masks: Vec<MaskedPicture>, seed: u64) -> Evaluation {
        let (modality, split) = (Modality::Xray, Split::Test);
        Evaluation { modality, split, predictions, masks, volumes: vec![], positive_at: 0.5, seed }
    }

    fn masked(group: &str, infection: Confusion) -> MaskedPicture {
        let (path, group) = (format!("{group}.png"), group.to_owned());
        MaskedPicture { path, group, source: "made".into(), masks: vec![Some(infection), None] }
    }

    /// Whatever `evaluate` prints, value and both ends, against `trainer/references/bootstrap.py`.
    #[test]
    fn intervals_are_those_of_an_exact_bootstrap_in_numpy() {
        let all: Value = serde_json::from_str(include_str!("../../tests/references/bootstrap.json")).unwrap();
        let rows = |name: &str| all[name].as_array().unwrap().clone();
        let text = |value: &Value| value.as_str().unwrap().to_owned();
        let number = |value: &Value| value.as_f64().unwrap();
        let (predictions, pixels) = (rows("predictions"), rows("pixels"));
        let predictions = predictions.iter().enumerate().map(|(index, row)| Prediction {
            path: index.to_string(),
            group: text(&row["group"]),
            source: "made".into(),
            class: "made".into(),
            positive: row["positive"].as_bool().unwrap(),
            verdict: match row["verdict"].as_str().unwrap() {
                "positive" => Verdict::Positive,
                "negative" => Verdict::Negative,
                _ => Verdict::Refer(ReferReason::HighEntropy),
            },
            evidence: Some([number(&row["probability"]) as f32, number(&row["entropy_bits"]) as f32, 0.0, 0.0]),
            involvement_percent: None,
        });
        let masks = pixels.iter().map(|row| {
            let count = |name: &str| row[name].as_u64().unwrap();
            let pixels = Confusion {
                true_positives: count("true_positives"),
                false_positives: count("false_positives"),
                true_negatives: count("true_negatives"),
                false_negatives: count("false_negatives"),
            };
            masked(&text(&row["group"]), pixels)
        });
        let predictions: Vec<Prediction> = predictions.collect();
        let evaluation = evaluation(predictions, masks.collect(), all["seed"].as_u64().unwrap());
        let (read, drawn) =
            (evaluation.predictions.iter().collect::<Vec<_>>(), evaluation.masks.iter().collect::<Vec<_>>());
        for (section, names, found) in [
            (
                "classification",
                [
                    "AUC",
                    "sensitivity",
                    "specificity",
                    "accuracy",
                    "ECE",
                    "AUROC of entropy for errors",
                    "answered",
                    "selective accuracy",
                ],
                evaluation.classification(&read),
            ),
            (
                "masks",
                [
                    "Dice per image",
                    "IoU per image",
                    "Dice per image, two empty masks as 1",
                    "Dice pooled",
                    "IoU pooled",
                    "Dice per patient",
                    "IoU per patient",
                    "pixel accuracy",
                ],
                evaluation.mask_figures(&drawn, 0),
            ),
        ] {
            for (name, found) in names.into_iter().zip(found) {
                let found = found.unwrap();
                let expected: Vec<f64> = all[section][name].as_array().unwrap().iter().map(number).collect();
                for (found, expected) in [found.value, found.low, found.high].iter().zip(&expected) {
                    assert!((found - expected).abs() < 1e-12, "{name}: found {found}, NumPy {expected}");
                }
            }
        }
    }

    #[test]
    fn the_worst_source_and_class_come_first() {
        let of = |source: &str, class: &str, verdict: Verdict, probability: f32| Prediction {
            path: String::new(),
            group: format!("{source}{class}{probability}"),
            source: source.into(),
            class: class.into(),
            positive: class == "covid",
            verdict,
            evidence: Some([probability, 0.5, 0.0, 0.0]),
            // Marked where it is called positive though it is not.
            involvement_percent: Some(if class == "other" && probability > 0.5 { 3.0 } else { 1.0 }),
        };
        let refer = Verdict::Refer(ReferReason::AbstainZone);
        let read = vec![
            of("good", "covid", Verdict::Positive, 0.9),
            of("good", "normal", Verdict::Negative, 0.1),
            of("bad", "covid", Verdict::Negative, 0.2),
            of("bad", "other", Verdict::Positive, 0.8),
            of("bad", "other", refer, 0.5),
        ];
        let evaluation = evaluation(read, vec![], 1);
        let worst = evaluation.worst();
        assert!(worst.contains("AUC 0.000") && worst.contains("inside of bad, on 3 pictures"), "{worst}");
        assert!(worst.contains("Of class *other*, which is without the disease, 0.500"), "{worst}");
        let text = evaluation.to_markdown();
        assert!(text.contains("| other | 2 | 1 | 0 | 1 | 0 | 0.500 (0.000–1.000) | 0.500"), "{text}");
        assert!(text.contains("| covid | 2 | 1 | 1 | 0 | 0 | – | 0.000"), "{text}");
    }

    #[test]
    fn a_patient_is_the_mean_of_the_pictures() {
        let of = |group: &str, positive: bool, evidence: Option<f32>| Prediction {
            path: String::new(),
            group: group.into(),
            source: "made".into(),
            class: "made".into(),
            positive,
            verdict: Verdict::Positive,
            evidence: evidence.map(|probability| [probability, 0.5, 0.0, 0.0]),
            involvement_percent: None,
        };
        // Picture by picture .2 lies below .4; of the patients the positive one has .55.
        let read =
            vec![of("a", true, Some(0.9)), of("a", true, Some(0.2)), of("b", false, Some(0.4)), of("b", false, None)];
        let text = evaluation(read.clone(), vec![], 1).to_markdown();
        assert!(text.contains("| **all** | 2 (1) | 1 | 1.000"), "{text}");
        assert!(!evaluation(read[1..].to_vec(), vec![], 1).to_markdown().contains("By patient"), "nobody has several");
    }

    #[test]
    fn risk_and_chance_by_hand() {
        let of = |positive: bool, probability: f32, entropy: f32| Prediction {
            path: String::new(),
            group: format!("{probability}"),
            source: "made".into(),
            class: "made".into(),
            positive,
            verdict: Verdict::Refer(ReferReason::AbstainZone),
            evidence: Some([probability, entropy, 0.0, 0.0]),
            involvement_percent: None,
        };
        // Two right answers, then a wrong one, then a right one: risks 0, 0, 1/3, 1/4.
        let read = vec![of(true, 0.9, 0.1), of(false, 0.2, 0.2), of(true, 0.3, 0.3), of(true, 0.6, 0.4)];
        let evaluation = evaluation(read, vec![], 1);
        let all: Vec<&Prediction> = evaluation.predictions.iter().collect();
        let aurc = evaluation.aurc(&all).unwrap().value;
        assert!((aurc - (1.0 / 3.0 + 1.0 / 4.0) / 4.0).abs() < 1e-12, "{aurc}");
        // Each is alone in its bin, so the error of each is how far its label is from its probability.
        let [ece, _] = evaluation.if_calibrated(&all);
        let ece = ece.unwrap();
        let smallest = (0.1 + 0.2 + 0.3 + 0.4) / 4.0;
        assert!((ece.low - smallest).abs() < 1e-6 && ece.value >= smallest && ece.high <= 0.75, "{ece:?}");
        let text = evaluation.to_markdown();
        assert!(text.contains("If every probability were right") && text.contains("AURC"), "{text}");
    }

    #[test]
    fn words_from_outside_break_neither_table() {
        let pixels = Confusion { true_positives: 1, true_negatives: 3, ..Confusion::default() };
        let mut odd = masked("a|b", pixels);
        odd.source = "one\n| two `x`".into();
        let plain = masked("c,\"d\"", pixels);
        let prediction = Prediction {
            path: "a,b \"c\"\n.png".into(),
            group: "g".into(),
            source: "s|t".into(),
            class: "c|d".into(),
            positive: true,
            verdict: Verdict::Positive,
            evidence: None,
            involvement_percent: None,
        };
        let evaluation = evaluation(vec![prediction.clone()], vec![odd, plain], 1);
        let text = evaluation.to_markdown();
        assert!(text.contains("| one \\| two \\`x\\` | infection |") && text.contains("| a\\|b | 1 |"), "{text}");
        let cells = |line: &str| line.replace("\\|", "").matches('|').count();
        let table: Vec<&str> = text.lines().skip_while(|line| !line.starts_with("| source | mask")).collect();
        assert!(table.iter().take_while(|line| !line.is_empty()).all(|line| cells(line) == cells(table[0])), "{text}");

        let mut csv = csv::Writer::from_writer(vec![]);
        csv.write_record(PREDICTIONS).unwrap();
        evaluation.write_predictions(&mut csv).unwrap();
        let bytes = csv.into_inner().unwrap();
        let rows: Vec<csv::StringRecord> = csv::Reader::from_reader(&bytes[..]).records().map(Result::unwrap).collect();
        assert_eq!((rows.len(), &rows[0][1], &rows[0][3], &rows[0][7]), (1, prediction.path.as_str(), "s|t", ""));
        let mut csv = csv::Writer::from_writer(vec![]);
        csv.write_record(PIXELS).unwrap();
        evaluation.write_pixels(&mut csv).unwrap();
        let bytes = csv.into_inner().unwrap();
        let rows: Vec<csv::StringRecord> = csv::Reader::from_reader(&bytes[..]).records().map(Result::unwrap).collect();
        assert_eq!((rows.len(), &rows[1][2], &rows[1][7]), (2, "c,\"d\"", "3"));
    }

    /// Nine slices of a phantom as a volume, and its infection and lungs as labels of one file.
    fn volume() -> (tempfile::TempDir, Manifest, Vec<Phantom>) {
        let folder = tempfile::tempdir().unwrap();
        let slices = Phantom::generate_volume(3, 64, true);
        write_volume(&folder.path().join("scan.nii.gz"), &slices).unwrap();
        let label = |phantom: &Phantom, pixel: usize| {
            let lung = phantom.left_lung.data()[pixel] || phantom.right_lung.data()[pixel];
            if phantom.infection.data()[pixel] { 3 } else { u8::from(lung) }
        };
        write_labels(&folder.path().join("labels.nii.gz"), &slices, label).unwrap();
        let records = (0..slices.len()).map(|place| Record {
            modality: Modality::Ct,
            mask: "labels.nii.gz#label=3".into(),
            lung_mask: "labels.nii.gz#label=1+3".into(),
            group: "a patient".into(),
            ..Record::made(&format!("scan.nii.gz#slice={place}"), Task::Segment, Label::Positive, Split::Test)
        });
        let records = records.collect();
        let manifest = Manifest::new(folder.path().to_owned(), records);
        (folder, manifest, slices)
    }

    #[test]
    fn masks_of_a_volume_that_lie_a_slice_too_high_are_five_millimetres_off() {
        let (_folder, manifest, phantoms) = volume();
        // The lung of one slice, found in all but the first and drawn in all but the last.
        let lung = phantoms[4].left_lung.map(u8::from);
        let empty = Plane::filled(lung.width(), lung.height(), 0);
        let last = phantoms.len() - 1;
        let slice = |place: usize| JudgedPicture {
            picture: MaskedPicture {
                path: format!("scan.nii.gz#slice={place}"),
                ..masked("a patient", Confusion::default())
            },
            pairs: [
                Some(SlicePair::new(&empty, &lung)),
                Some(SlicePair::new(
                    if place == 0 { &empty } else { &lung },
                    if place == last { &empty } else { &lung },
                )),
            ],
            spacing_mm: Some([1.0, 1.0]),
        };
        let judged = |places: &[usize]| {
            let slices: Vec<JudgedPicture> = places.iter().map(|&place| slice(place)).collect();
            MaskedVolume::of(&manifest, "scan.nii.gz", &slices).unwrap().unwrap()
        };
        // The order of the lines does not count.
        let found = judged(&[8, 0, 1, 2, 3, 4, 5, 6, 7]);
        assert_eq!((found.slices, found.hd95_mm[0]), (9, None), "nothing of the infection was found");
        assert!(found.hd95_mm[1].is_some_and(|distance| (distance - 5.0).abs() < 1e-4), "{found:?}");
        assert_eq!(judged(&[0, 1, 2, 4, 5, 6, 7, 8]).hd95_mm, [None; 2], "a slice is missing");
        let mut rejected: Vec<JudgedPicture> = (0..9).map(slice).collect();
        rejected[8].pairs = [None, None];
        let rejected = MaskedVolume::of(&manifest, "scan.nii.gz", &rejected).unwrap().unwrap();
        assert_eq!(rejected.hd95_mm, [None; 2], "one was rejected");

        let evaluation = Evaluation { volumes: vec![found], ..evaluation(vec![], vec![], 1) };
        let text = evaluation.to_markdown();
        assert!(text.contains("| **mean** | – | –, of 0 | 5.000 (5.000–5.000), of 1 |"), "{text}");
        assert!(text.contains("| scan.nii.gz | 9 | – | 5.0 |"), "{text}");
        assert!(evaluation.figures().iter().any(|(name, _)| name == "HD95 of lungs in volumes, mm"));
    }

    #[test]
    fn slices_of_a_volume_are_read_by_a_shipped_bundle_and_judged_as_one() {
        let (_folder, manifest, phantoms) = volume();
        let bundle = Path::new(env!("CARGO_MANIFEST_DIR")).join("../models/ct/thorax-ct.thorax");
        let model = JudgedModel::open(&bundle, &thorax_engine::trust::trusted_keys(None).unwrap()).unwrap();
        let evaluation = evaluate(&manifest, &model, Split::Test, 1).unwrap();
        assert_eq!((evaluation.masks.len(), evaluation.volumes.len()), (phantoms.len(), 1));
        for (place, picture) in evaluation.masks.iter().enumerate() {
            assert_eq!(picture.path, format!("scan.nii.gz#slice={place}"));
        }
        let volume = &evaluation.volumes[0];
        assert_eq!((volume.file.as_str(), volume.slices), ("scan.nii.gz", phantoms.len()));
        assert!(evaluation.to_markdown().contains("| scan.nii.gz | 9 | "));
    }
}
