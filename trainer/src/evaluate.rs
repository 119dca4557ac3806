//! How good a bundle is on a split of a manifest, judged through the very code the device runs.
//!
//! Every figure comes with a percentile bootstrap interval over patients, and per source: COVID and other pictures of public
//! collections come from different hospitals, so a figure over all sources flatters.

use std::{
    collections::BTreeMap,
    fmt::Write as _,
    path::{Path, PathBuf},
};

use anyhow::Context;
use rayon::prelude::*;
use thorax_engine::{model::Model, screening};
use thorax_files::write_atomically;
use thorax_shared::{
    bundle::TrustedKeys,
    label::{Modality, Verdict},
    metrics::{self, Confusion, Interval},
};

use crate::{
    data::{Label, Manifest, Record, Split, Task},
    train::{
        picture, progress,
        segment::{INFECTION, LEFT_LUNG, RIGHT_LUNG},
    },
};

/// What the device tells of a picture: infection, and both lungs.
pub const MASKS: [&str; 2] = ["infection", "lung"];

/// Bootstrap resamples of patients.
const RESAMPLES: usize = 1000;
/// Confidence level of the intervals.
const LEVEL: f64 = 0.95;

/// Options of `evaluate`.
#[derive(Debug, clap::Args)]
pub struct EvaluateArgs {
    /// Manifest written by `thorax-train data import`
    #[arg(long)]
    manifest: PathBuf,
    /// Bundles to judge, each on the pictures of its modality
    #[arg(long = "bundle", required = true)]
    bundles: Vec<PathBuf>,
    /// File of trusted public keys; the keys that are built in are trusted as well
    #[arg(long)]
    trust: Option<PathBuf>,
    /// Split to judge on
    #[arg(long, value_enum, default_value_t = SplitChoice::Test)]
    split: SplitChoice,
    /// Also writes one row a picture to this CSV file
    #[arg(long)]
    predictions: Option<PathBuf>,
    /// Seed of the bootstrap
    #[arg(long, default_value_t = 1)]
    seed: u64,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
enum SplitChoice {
    Train,
    Val,
    Test,
}

impl From<SplitChoice> for Split {
    fn from(choice: SplitChoice) -> Self {
        match choice {
            SplitChoice::Train => Self::Train,
            SplitChoice::Val => Self::Val,
            SplitChoice::Test => Self::Test,
        }
    }
}

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
pub struct MaskScore {
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
    pub masks: Vec<MaskScore>,
    positive_at: f32,
    seed: u64,
}

/// Reads every picture of the split with `model`.
///
/// # Errors
/// Pictures that cannot be read, graphs that cannot be run.
pub fn evaluate(manifest: &Manifest, model: &Model, split: Split, seed: u64) -> anyhow::Result<Evaluation> {
    let modality = model.manifest.modality;
    let labelled: Vec<&Record> =
        manifest.select(modality, Task::Classify, Some(split)).filter(|r| r.label != Label::Unlabelled).collect();
    let bar = progress(labelled.len(), &format!("{modality} {}", split.as_str()));
    let predictions = labelled
        .par_iter()
        .map(|record| {
            let frame = picture::read_record(manifest, record)?;
            let (reading, _) = screening::read(model, &frame).with_context(|| record.path.clone())?;
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
            let frame = picture::read_record(manifest, record)?;
            let reading = screening::segment_only(model, &frame).with_context(|| record.path.clone())?;
            let truth = picture::truth_masks(manifest, record, &reading.1)?;
            let lungs = picture::union([&truth[LEFT_LUNG], &truth[RIGHT_LUNG]].map(Option::as_ref));
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
            Ok(MaskScore {
                path: record.path.clone(),
                group: record.group.clone(),
                source: record.source.clone(),
                masks,
            })
        })
        .collect::<anyhow::Result<_>>()?;
    bar.finish_and_clear();
    Ok(Evaluation { modality, split, predictions, masks, positive_at: model.manifest.decision.positive_at, seed })
}

/// A mean over the numbers there are.
fn mean(values: impl Iterator<Item = f64>) -> Option<f64> {
    let (sum, count) = values.fold((0.0, 0usize), |(sum, count), value| (sum + value, count + 1));
    (count > 0).then(|| sum / count as f64)
}

/// Dice; two empty masks agree.
fn dice(confusion: &Confusion) -> f64 {
    confusion.f1().unwrap_or(1.0)
}

/// IoU; two empty masks agree.
fn iou(confusion: &Confusion) -> f64 {
    confusion.iou().unwrap_or(1.0)
}

fn cell(interval: Option<Interval>) -> String {
    interval.map_or_else(|| "–".into(), |i| format!("{:.3} ({:.3}–{:.3})", i.estimate, i.low, i.high))
}

impl Evaluation {
    fn interval<T>(
        &self,
        items: &[&T],
        group: impl Fn(&T) -> &str,
        statistic: impl Fn(&[&T]) -> Option<f64>,
    ) -> Option<Interval> {
        let groups: Vec<&str> = items.iter().map(|item| group(item)).collect();
        metrics::bootstrap_interval(&groups, self.seed, RESAMPLES, LEVEL, |indices| {
            let chosen: Vec<&T> = indices.iter().map(|&i| items[i]).collect();
            statistic(&chosen)
        })
        .ok()
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
                 Two empty masks count as 1. Intervals: {:.0} %, bootstrap over patients.\n",
                LEVEL * 100.0
            );
            let header = [
                "source",
                "mask",
                "pictures (patients)",
                "Dice per image",
                "IoU per image",
                "Dice pooled",
                "IoU pooled",
                "Dice per patient",
                "IoU per patient",
                "pixel accuracy",
            ];
            let _ = writeln!(out, "| {} |\n|{}", header.join(" | "), "---|".repeat(header.len()));
            for (channel, mask) in MASKS.iter().enumerate() {
                let scored: Vec<MaskScore> =
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
                        if total.is_empty() { "–".into() } else { format!("{:.3}", dice(&total.into_iter().sum())) }
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

    fn mask_row(&self, items: &[&MaskScore], channel: usize) -> Vec<String> {
        let one = |m: &MaskScore| m.masks[channel].unwrap_or_default();
        let statistic = |f: &dyn Fn(&[&MaskScore]) -> Option<f64>| cell(self.interval(items, |m| &m.group, f));
        let pooled = |items: &[&MaskScore]| items.iter().map(|m| one(m)).sum::<Confusion>();
        let per_patient = |items: &[&MaskScore], score: fn(&Confusion) -> f64| {
            let mut patients: BTreeMap<&str, Confusion> = BTreeMap::new();
            items.iter().for_each(|m| *patients.entry(&m.group).or_default() += one(m));
            mean(patients.values().map(score))
        };
        let patients = groups_of(items, |m| &m.group).len();
        vec![
            format!("{} ({patients})", items.len()),
            statistic(&|items| mean(items.iter().map(|m| dice(&one(m))))),
            statistic(&|items| mean(items.iter().map(|m| iou(&one(m))))),
            statistic(&|items| Some(dice(&pooled(items)))),
            statistic(&|items| Some(iou(&pooled(items)))),
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

/// Carries out `evaluate`.
///
/// # Errors
/// Bundles, manifests or pictures that cannot be read.
pub fn run(args: &EvaluateArgs) -> anyhow::Result<()> {
    let manifest = Manifest::load(&args.manifest)?;
    let trusted = trusted_keys(args.trust.as_deref())?;
    let mut csv = String::new();
    for path in &args.bundles {
        let model = Model::open(path, &trusted)?;
        let evaluation = evaluate(&manifest, &model, args.split.into(), args.seed)?;
        anyhow::ensure!(
            !evaluation.predictions.is_empty() || !evaluation.masks.is_empty(),
            "{}: the manifest has no {} pictures in this split",
            path.display(),
            evaluation.modality
        );
        println!("## {} ({})\n", model.title(), path.display());
        println!("{}", evaluation.to_markdown());
        let rows = evaluation.to_csv();
        csv.push_str(if csv.is_empty() { &rows } else { rows.split_once('\n').map_or("", |(_, rest)| rest) });
    }
    if let Some(path) = &args.predictions {
        write_atomically(path, |out| out.write_all(csv.as_bytes()))?;
    }
    println!("Research use only, not a medical device.");
    Ok(())
}

/// The keys of a file and those that are built in.
///
/// # Errors
/// A file that cannot be read or holds no keys.
pub fn trusted_keys(path: Option<&Path>) -> anyhow::Result<TrustedKeys> {
    Ok(thorax_engine::trust::trusted_keys(path)?)
}
