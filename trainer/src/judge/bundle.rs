//! How good a bundle is on a split of a manifest, judged through the very code the device runs.
//!
//! Every figure comes with a percentile bootstrap interval over patients, and per source: COVID and other pictures of public
//! collections come from different hospitals, so a figure over all sources flatters.

use std::{collections::BTreeMap, fmt::Write as _, path::Path};

use anyhow::Context;
use rayon::prelude::*;
use thorax_engine::{error::DeviceError, model::Model, screening};
use thorax_shared::{
    bundle::{self, TrustedKeys},
    mask::{INFECTION, LEFT_LUNG, LUNGS, NAMES, RIGHT_LUNG, union},
    metrics::{self, Confusion},
    modality::Modality,
    verdict::Verdict,
};

use super::{Estimate, Resampling, masks::score::MaskFigures, mean};
use crate::{
    data::{
        Label, Manifest, Record, Split, Task,
        picture::{Picture, truth_masks},
    },
    progress::progress,
};

/// What the device tells of a picture: infection, and both lungs.
pub const MASKS: [&str; 2] = [NAMES[INFECTION], LUNGS];

/// Bootstrap resamples of patients.
const RESAMPLES: usize = 1000;
/// Confidence level of the intervals.
const LEVEL: f64 = 0.95;

/// One labelled picture as the device reads it.
#[derive(Clone, Debug)]
pub struct Prediction {
    /// Path in the manifest.
    pub path: String,
    /// Patient, or patients that belong together.
    pub group: String,
    /// Collection.
    pub source: String,
    /// COVID-19.
    pub positive: bool,
    /// What the device says.
    pub verdict: Verdict,
    /// Probability, entropy in bits, novelty; `None` when rejected before it was read.
    pub evidence: Option<[f32; 3]>,
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
    positive_at: f32,
    seed: u64,
}

/// A bundle as the device runs it, and the same for pictures that somebody equalised before they were published.
pub struct JudgedModel {
    /// As it is.
    model: Model,
    /// Without the step.
    of_equalised: Model,
}

impl JudgedModel {
    /// Opens the bundle at `path`.
    ///
    /// # Errors
    /// A bundle that cannot be read or is not signed by one of `trusted`.
    pub fn open(path: &Path, trusted: &TrustedKeys) -> Result<Self, DeviceError> {
        let model = Model::open(path, trusted)?;
        let mut of_equalised = model.clone();
        of_equalised.manifest.classifier.graph.preprocess.clahe = None;
        if let Some(segmenter) = &mut of_equalised.manifest.segmenter {
            segmenter.graph.preprocess.clahe = None;
        }
        Ok(Self { model, of_equalised })
    }

    /// What the bundle says of itself.
    pub fn manifest(&self) -> &bundle::Manifest {
        &self.model.manifest
    }

    /// Name and version.
    pub fn title(&self) -> String {
        self.model.title()
    }

    /// What reads `picture`, so that it is not equalised twice.
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
                positive: record.label == Label::Positive,
                verdict: reading.verdict,
                evidence: reading.evidence.map(|e| [e.probability, e.entropy_bits, e.novelty]),
                involvement_percent: reading
                    .masks
                    .and_then(|masks| masks.area.involvement())
                    .map(|involvement| involvement.percent),
            })
        })
        .collect::<anyhow::Result<_>>()?;
    bar.finish_and_clear();
    let masked: Vec<&Record> = manifest.masked(modality, split).collect();
    let bar = progress(masked.len(), &format!("{modality} {} masks", split.as_str()));
    let masks = masked
        .par_iter()
        .map(|record| {
            let picture = Picture::of(manifest, record)?;
            let reading =
                screening::segment_only(model.of(&picture), &picture.frame).with_context(|| record.path.clone())?;
            let truth = truth_masks(manifest, record, &reading.1)?;
            let lungs = union([&truth[LEFT_LUNG], &truth[RIGHT_LUNG]].map(Option::as_ref));
            let truth = [truth[INFECTION].clone(), lungs];
            let found = reading.0.map(|masks| {
                let lungs = masks.lungs();
                [masks.infection, lungs]
            });
            let masks = truth
                .iter()
                .enumerate()
                .map(|(channel, truth)| {
                    let (found, truth) = found.as_ref().map(|found| &found[channel]).zip(truth.as_ref())?;
                    let mut confusion = Confusion::default();
                    found.data().iter().zip(truth.data()).for_each(|(&f, &t)| confusion.count(f != 0, t != 0));
                    Some(confusion)
                })
                .collect();
            bar.inc(1);
            Ok(MaskedPicture {
                path: record.path.clone(),
                group: record.group.clone(),
                source: record.source.clone(),
                masks,
            })
        })
        .collect::<anyhow::Result<_>>()?;
    bar.finish_and_clear();
    Ok(Evaluation { modality, split, predictions, masks, positive_at: model.manifest().decision.positive_at, seed })
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
            let _ = writeln!(out, "| {} |\n|{}", header.join(" | "), "---|".repeat(header.len()));
            self.by_source(
                &self.predictions,
                |p| &p.source,
                |name, items| {
                    let _ = writeln!(out, "| {name} | {} |", self.classification_row(items).join(" | "));
                },
            );
        }
        for (label, positive) in [("positive", true), ("negative", false)] {
            let mut shares: Vec<f32> = self
                .predictions
                .iter()
                .filter(|p| p.positive == positive)
                .filter_map(|p| p.involvement_percent)
                .collect();
            shares.sort_by(f32::total_cmp);
            if let Some(last) = shares.len().checked_sub(1) {
                let [low, median, high] = [1, 2, 3].map(|quarter| shares[last * quarter / 4]);
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
            let _ = writeln!(out, "| {} |\n|{}", header.join(" | "), "---|".repeat(header.len()));
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
                let _ = writeln!(out, "| {patient} | {} | {} |", items.len(), cells.join(" | "));
            }
        }
        out
    }

    fn by_source<'a, T>(&self, items: &'a [T], source: impl Fn(&T) -> &str, mut each: impl FnMut(&str, &[&'a T])) {
        let all: Vec<&T> = items.iter().collect();
        if all.is_empty() {
            return;
        }
        each("**all**", &all);
        let sources = groups(items, source);
        if sources.len() > 1 {
            sources.iter().for_each(|(name, items)| each(name, items));
        }
    }

    fn classification_row(&self, items: &[&Prediction]) -> Vec<String> {
        let rejected = items.iter().filter(|p| matches!(p.verdict, Verdict::Rejected(_))).count();
        let read: Vec<&Prediction> = items.iter().copied().filter(|p| p.evidence.is_some()).collect();
        let columns = |items: &[&Prediction]| -> (Vec<f32>, Vec<f32>, Vec<bool>) {
            let evidence = items.iter().map(|p| p.evidence.unwrap_or_default());
            (
                evidence.clone().map(|e| e[0]).collect(),
                evidence.map(|e| e[1]).collect(),
                items.iter().map(|p| p.positive).collect(),
            )
        };
        let confusion = |items: &[&Prediction]| {
            let mut confusion = Confusion::default();
            items
                .iter()
                .for_each(|p| confusion.count(p.evidence.is_some_and(|e| e[0] >= self.positive_at), p.positive));
            confusion
        };
        let statistic = |f: &dyn Fn(&[&Prediction]) -> Option<f64>| cell(self.interval(&read, |p| &p.group, f));
        let answered = |items: &[&Prediction]| -> Vec<bool> {
            let right = |p: &Prediction| match p.verdict {
                Verdict::Positive => Some(p.positive),
                Verdict::Negative => Some(!p.positive),
                Verdict::Refer(_) | Verdict::Rejected(_) => None,
            };
            items.iter().filter_map(|p| right(p)).collect()
        };
        vec![
            format!("{} ({})", items.len(), items.iter().filter(|p| p.positive).count()),
            statistic(&|items| {
                let (p, _, y) = columns(items);
                metrics::roc_auc(&p, &y).ok()
            }),
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
            rejected.to_string(),
        ]
    }

    fn mask_row(&self, items: &[&MaskedPicture], channel: usize) -> Vec<String> {
        let one = |m: &MaskedPicture| m.masks[channel].unwrap_or_default();
        let statistic = |f: &dyn Fn(&[&MaskedPicture]) -> Option<f64>| cell(self.interval(items, |m| &m.group, f));
        let pooled = |items: &[&MaskedPicture]| items.iter().map(|m| one(m)).sum::<Confusion>();
        let per_patient = |items: &[&MaskedPicture], score: fn(&Confusion) -> Option<f64>| {
            let mut patients: BTreeMap<&str, Confusion> = BTreeMap::new();
            items.iter().for_each(|m| *patients.entry(&m.group).or_default() += one(m));
            mean(patients.values().filter_map(score))
        };
        let patients = groups_of(items, |m| &m.group).len();
        vec![
            format!("{} ({patients})", items.len()),
            statistic(&|items| mean(items.iter().filter_map(|m| dice(&one(m))))),
            statistic(&|items| mean(items.iter().filter_map(|m| iou(&one(m))))),
            statistic(&|items| mean(items.iter().map(|m| dice_empty_as_one(&one(m))))),
            statistic(&|items| dice(&pooled(items))),
            statistic(&|items| iou(&pooled(items))),
            statistic(&|items| per_patient(items, dice)),
            statistic(&|items| per_patient(items, iou)),
            statistic(&|items| pooled(items).accuracy()),
        ]
    }

    /// One row a picture.
    pub fn to_csv(&self) -> String {
        let mut out = String::from("modality,path,group,source,positive,verdict,probability,entropy_bits,novelty\n");
        for p in &self.predictions {
            let evidence = p.evidence.map_or_else(|| ",,".into(), |[a, b, c]| format!("{a},{b},{c}"));
            let _ = writeln!(
                out,
                "{},{},{},{:?},{},{},{evidence}",
                self.modality,
                p.path,
                p.group,
                p.source,
                p.positive,
                p.verdict.as_str()
            );
        }
        out
    }
}

fn groups<T>(items: &[T], key: impl Fn(&T) -> &str) -> BTreeMap<String, Vec<&T>> {
    let all: Vec<&T> = items.iter().collect();
    groups_of(&all, key)
}

fn groups_of<'a, T>(items: &[&'a T], key: impl Fn(&T) -> &str) -> BTreeMap<String, Vec<&'a T>> {
    let mut found: BTreeMap<String, Vec<&'a T>> = BTreeMap::new();
    items.iter().for_each(|item| found.entry(key(item).to_owned()).or_default().push(item));
    found
}
