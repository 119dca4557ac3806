//! An ensemble of linear heads on frozen features, its calibration, and the familiar part of feature space.
//!
//! Each head is a logistic regression on the pooled features, fitted to its own bootstrap resample of the patients (paper,
//! section VII.A, with our reading of why runs differ). A linear head on pooled features is also a 1x1 convolution followed
//! by the pooling, so its class activation map is exact and costs nothing: the mean of the map *is* the logit.
//!
//! How familiar a picture is, is its Mahalanobis distance to the training features, with the covariance reduced to its
//! leading directions and one variance for the rest (probabilistic principal components, Tipping and Bishop 1999).

mod calibration;
mod lesions;
mod refusals;
mod rule;
mod said;
mod taught;

use std::{
    collections::{BTreeMap, BTreeSet},
    path::Path,
};

use anyhow::Context;
use candle_core::{Device, Tensor};
use rand::Rng as _;
use rayon::prelude::*;
use thorax_files::{file_sha256, hexadecimal, write_atomically};
use thorax_nn::{
    checkpoint::Checkpoint,
    convolution::ConvolutionConfig,
    graph::{Graph, Operation},
    matmul::{View, multiply},
    optimizer::{AdamWConfig, AdamWStep},
    seeded,
};
use thorax_shared::{
    bundle::Refusal,
    calibration::ProbabilityMap,
    decision::{self, DecisionRule},
    lesions::{LesionEvidence, log_share},
    metrics,
    modality::Modality,
    preprocess::{quality::QualityLimits, spec::PreprocessSpec},
    uncertainty::Ensemble,
};

pub use calibration::Judged;
pub use lesions::involvement;
use refusals::RefusalHeads;
pub use refusals::{RefuseArgs, RefusedFeatures, RefusedPictures};
pub use rule::{LEAST_ANSWERED, Promise, WANTED_RISK, WANTED_SENSITIVITY, WANTED_SPECIFICITY};
pub use said::Said;
pub use taught::{LAYER, LESIONS, TaughtHeads};

use crate::{
    data::{Split, UNKNOWN_PATIENT},
    features::{Contents, Extractor, FeatureTable, Maker, Remade},
    progress::progress,
};

/// How a run goes.
#[derive(Clone, Debug, serde::Serialize, serde::Deserialize)]
pub struct ClassifyConfig {
    /// Whose pictures.
    pub modality: Modality,
    /// Heads in the ensemble.
    pub members: usize,
    /// Of the resamples.
    pub seed: u64,
    /// Steps of each fit.
    pub steps: usize,
    /// Directions kept of the features' covariance.
    pub directions: usize,
    /// How much the pictures of a source and class count together: 0, as many as they are; 1, all sources and classes alike; between,
    /// each picture counts the number of its kind to the power of minus this.
    #[serde(default, skip_serializing_if = "is_none")]
    pub balance: f32,
    /// Penalty on the variance of a logit among the changed copies of a picture, as a multiple of that on the squared weights.
    #[serde(default, skip_serializing_if = "is_none")]
    pub steadiness: f32,
    /// Changed copies of each picture that were learnt from and chosen by, and the seed of their changes.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub copies: Option<(u16, u64)>,
    /// How a picture becomes the backbone's input.
    pub preprocess: PreprocessSpec,
    /// What is refused before it is read.
    pub quality: QualityLimits,
    /// [`crate::segmentation::Origin::sha256`] of the segmenter whose lungs pictures were cropped to; `None` where they were not.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub lungs_sha256: Option<String>,
    /// [`crate::segmentation::Origin::sha256`] of the segmenter whose lesions are evidence beside the features; `None` where none are.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub lesions_sha256: Option<String>,
    /// Hash of the table of pictures that are to be rejected; `None` where there was none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub refuse_sha256: Option<String>,
    /// Photographs of training pictures that were to be rejected as well.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub refused_photographs: u16,
    /// Penalty, calibration and thresholds were chosen on training pictures as well, by their out-of-bag predictions (Breiman 1996): those
    /// of the heads whose resample has not drawn the picture's patient.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub out_of_bag: bool,
    /// The heads came with the backbone's weights, and were not fitted.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub taught: bool,
    /// Hashes of heads and backbone of those who were learnt from in place of the labels.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub teachers: Vec<[String; 2]>,
    /// Hash of the manifest.
    pub manifest_sha256: String,
    /// Whose features were learnt from.
    pub backbone: Extractor,
    /// Hash of its weights.
    pub backbone_sha256: String,
}

impl ClassifyConfig {
    /// The usual fit of the features of a store.
    pub fn of(contents: &Contents) -> Self {
        Self {
            modality: contents.modality,
            members: 32,
            seed: 1,
            steps: 400,
            directions: 64,
            balance: 0.0,
            steadiness: if contents.copies > 0 { STEADINESS } else { 0.0 },
            copies: contents.copies_seed.map(|seed| (contents.copies, seed)),
            preprocess: contents.preprocess.clone(),
            quality: contents.quality,
            lungs_sha256: contents.lungs_sha256.clone(),
            lesions_sha256: None,
            refuse_sha256: None,
            refused_photographs: 0,
            out_of_bag: false,
            taught: false,
            teachers: vec![],
            manifest_sha256: contents.manifest_sha256.clone(),
            backbone: contents.backbone,
            backbone_sha256: contents.weights_sha256.clone(),
        }
    }
}

#[allow(clippy::trivially_copy_pass_by_ref, reason = "serde asks so")]
fn is_zero(count: &u16) -> bool {
    *count == 0
}

#[allow(clippy::trivially_copy_pass_by_ref, reason = "serde asks so")]
fn is_none(share: &f32) -> bool {
    *share == 0.0
}

/// What a fit leaves besides the weights.
#[derive(Clone, Debug, serde::Serialize, serde::Deserialize)]
pub struct ClassifyOutcome {
    /// Penalty on the squared weights: that of the best AUC inside the sources of the selection set which have both classes, or, where there
    /// are none, of the least loss. The selection set is the validation split, and with it what is predicted out of bag.
    pub l2: f32,
    /// Divides every logit; fitted on the selection set.
    pub temperature: f32,
    /// Expected calibration error on the selection set, before and after.
    pub ece: [f64; 2],
    /// Pictures of the validation split in the selection set: all.
    pub validation_pictures: usize,
    /// Training pictures in the selection set ([`ClassifyConfig::out_of_bag`]).
    #[serde(default)]
    pub out_of_bag_pictures: usize,
    /// AUC on the validation split.
    pub validation_auc: f64,
    /// Thresholds, chosen on the selection set; the limits of novelty on the validation split.
    pub decision: DecisionRule,
    /// What can be said of the answers on pictures like those of the selection set.
    #[serde(default)]
    pub promise: Option<Promise>,
    /// What is done to the mean probability after the temperature, where that alone does not make it mean what it says.
    #[serde(default)]
    pub probability_map: Option<ProbabilityMap>,
    /// How the ways to calibrate were judged, each on patients of the selection set that it was not fitted to.
    #[serde(default)]
    pub calibrations: Vec<Judged>,
    /// What is rejected, in the order of the refusal heads.
    #[serde(default)]
    pub refusals: Vec<Refusal>,
}

/// Penalties tried.
const PENALTIES: [f32; 6] = [1e-3, 1e-2, 3e-2, 1e-1, 3e-1, 1.0];

/// The [`ClassifyConfig::steadiness`] that was best on the validation split of the project's films.
pub const STEADINESS: f32 = 10.0;

/// The infected share of the lungs is so much larger than a feature to the penalty on squared weights, which then hardly touches it: it
/// is one number that knows the disease among a thousand that do not.
const LESION_SCALE: f64 = 10.0;

/// Learning rate of the heads at the start; half a cosine leads to 0.
const HIGHEST_RATE: f64 = 0.01;

/// The fitted heads, on standardised features.
struct Heads {
    /// `[columns, members]`, row by row.
    weights: Vec<f32>,
    bias: Vec<f32>,
}

/// How much of the lungs is infected in each row that heads learn from, standardised.
struct Lesions {
    mean: f32,
    std: f32,
    /// Times [`LESION_SCALE`], of every row of the table.
    values: Vec<f32>,
}

/// Mean and inverse standard deviation of each column.
struct Standard {
    mean: Vec<f32>,
    inverse_std: Vec<f32>,
}

/// What a fit has beside the features.
#[derive(Clone, Copy, Default)]
pub struct Beside<'a> {
    /// The infected share of the lungs in percent of each row, where it is evidence.
    pub involvement: Option<&'a [Option<f32>]>,
    /// What is to be rejected.
    pub refused: Option<&'a RefusedFeatures>,
    /// The heads, where they are not to be fitted.
    pub taught: Option<&'a TaughtHeads>,
    /// What the heads are to say, where that is not the labels.
    pub said: Option<&'a Said>,
}

/// Fits everything and writes `classifier.safetensors`, `outcome.json` and `validation.csv` into `folder`.
///
/// # Errors
/// A split without one of the classes; taught heads of other features; files that cannot be written.
pub fn fit(
    table: &FeatureTable,
    beside: Beside<'_>,
    config: &ClassifyConfig,
    folder: &Path,
) -> anyhow::Result<ClassifyOutcome> {
    let Beside { involvement, refused, taught, said } = beside;
    let gather = |split: Split| -> anyhow::Result<(Vec<usize>, Vec<bool>)> {
        let (indices, labels): (Vec<usize>, Vec<bool>) = table.split(split).map(|(i, row)| (i, row.positive())).unzip();
        anyhow::ensure!(
            labels.contains(&true) && labels.contains(&false),
            "the {} split has no {} {} pictures; check the manifest with thorax-train data check",
            split.as_str(),
            if labels.contains(&true) { "negative" } else { "positive" },
            config.modality
        );
        Ok((indices, labels))
    };
    let (train, train_labels) = gather(Split::Train)?;
    let (validation, validation_labels) = gather(Split::Val)?;
    let standard = Standard::of(table, &train);
    let lesions = involvement.map(|percent| Lesions::of(percent, &train));
    let features = standard.apply(table, &train);
    let familiar = Familiar::fit(&features, table.columns, config.directions, config.seed);
    let features_validation = standard.apply(table, &validation);
    let mut novelty = familiar.novelty(&features_validation, table.columns);
    let apart = |x: &[f32], columns| {
        (config.steadiness > 0.0 && config.copies.is_some()).then(|| spread(table, &train, x, columns))
    };
    let of_refused = |refused| {
        let spread = apart(&features, table.columns);
        RefusalHeads::fit(refused, &standard, &features, &features_validation, config, spread.as_deref())
    };
    let refusals = refused.map(of_refused).transpose()?;
    let resamples = match said {
        Some(said) => vec![weights(table, &train, config); said.members],
        None => resamples(table, &train, config),
    };
    let out_of_bag = match config.out_of_bag && taught.is_none() {
        true => out_of_bag(table, &train, &validation, &resamples),
        false => vec![],
    };
    let selection: Vec<usize> = validation.iter().copied().chain(out_of_bag.iter().map(|&at| train[at])).collect();
    let labels: Vec<bool> = selection.iter().map(|&row| table.rows[row].positive()).collect();
    if !out_of_bag.is_empty() {
        let known = familiar.novelty(&features, table.columns);
        novelty.extend(out_of_bag.iter().map(|&at| known[at]));
    }
    let columns = table.columns + usize::from(lesions.is_some());
    let plain = said.map(|_| [features.clone(), features_validation.clone()]);
    let x = Lesions::beside(lesions.as_ref(), features, &train, table.columns);
    let x_validation = Lesions::beside(lesions.as_ref(), features_validation, &validation, table.columns);
    // Of a training picture those heads speak that did not learn from its patient, as many as there are.
    let say = |heads: &Heads| -> Vec<Vec<f32>> {
        let mut said = heads.logits(&x_validation, columns);
        if !out_of_bag.is_empty() {
            let all = heads.logits(&x, columns);
            said.extend(out_of_bag.iter().map(|&at| out_of_bag_logits(&all[at], &resamples, at)));
        }
        said
    };
    let (l2, heads) = match (taught, said.zip(plain)) {
        (Some(taught), _) => (0.0, taught.on(&standard, lesions.as_ref())?),
        (None, Some((said, [x, x_validation]))) => {
            let spread = apart(&x, table.columns);
            let target = |row: usize, member| said.of(train[row], member);
            let fit = |l2| Heads::fit(&x, &target, &resamples, table.columns, config, l2, spread.as_deref());
            let say = |heads: &Heads| heads.logits(&x_validation, table.columns);
            let (l2, heads) = said.best(fit, say, &validation)?;
            (l2, heads.weighing(said.lesions.as_ref(), lesions.as_ref())?)
        }
        (None, None) => {
            let spread = apart(&x, columns);
            let target = |row: usize, _| f32::from(u8::from(train_labels[row]));
            let fit = |l2| Heads::fit(&x, &target, &resamples, columns, config, l2, spread.as_deref());
            let sources: Vec<&str> = selection.iter().map(|&row| table.rows[row].source.as_str()).collect();
            best_penalty(fit, say, &labels, &sources)?
        }
    };
    let logits = say(&heads);
    let temperature = decision::fit_temperature(&logits, &labels)?;
    let probabilities =
        |t| -> anyhow::Result<Vec<f32>> { Ok(ensemble(&logits, t)?.iter().map(|e| e.probability).collect()) };
    let (before, stretched) = (probabilities(1.0)?, probabilities(temperature)?);
    let groups: Vec<&str> = selection.iter().map(|&row| table.rows[row].group.as_str()).collect();
    let (map, calibrations) = calibration::choose(&stretched, &labels, &groups, config.seed)?;
    let ensembles: Vec<Ensemble> =
        ensemble(&logits, temperature)?.into_iter().map(|ensemble| ensemble.mapped(map.as_ref())).collect();
    let after: Vec<f32> = ensembles.iter().map(|ensemble| ensemble.probability).collect();
    let ece = |p: &[f32]| metrics::expected_calibration_error(p, &labels, 15);
    let firsts = rule::one_of_each(selection.iter().map(|&row| &table.rows[row]));
    let (rule, promise) = rule::choose(&ensembles, &labels, &novelty, validation.len(), &firsts)?;
    let outcome = ClassifyOutcome {
        l2,
        temperature,
        ece: [ece(&before)?, ece(&after)?],
        validation_pictures: validation.len(),
        out_of_bag_pictures: out_of_bag.len(),
        validation_auc: metrics::roc_auc(&after[..validation.len()], &validation_labels)?,
        decision: rule,
        promise,
        probability_map: map,
        calibrations,
        refusals: refusals.as_ref().map(|heads| heads.refusals.clone()).unwrap_or_default(),
    };
    write_classifier(
        &standard,
        &heads,
        lesions.as_ref(),
        refusals.as_ref(),
        &familiar,
        table.columns,
        &folder.join("classifier.safetensors"),
    )?;
    let text = serde_json::to_string_pretty(&outcome)?;
    write_atomically(&folder.join("outcome.json"), |out| out.write_all(text.as_bytes()))?;
    let mut rows = csv::Writer::from_writer(vec![]);
    rows.write_record(["path", "positive", "probability", "entropy_bits", "novelty"])?;
    for (((&index, label), e), novelty) in validation.iter().zip(&validation_labels).zip(&ensembles).zip(&novelty) {
        let numbers = [e.probability, e.entropy_bits, *novelty].map(|number| number.to_string());
        let words = [table.rows[index].path.clone(), label.to_string()];
        rows.write_record(words.iter().chain(&numbers))?;
    }
    let rows = rows.into_inner()?;
    write_atomically(&folder.join("validation.csv"), |out| out.write_all(&rows))?;
    Ok(outcome)
}

/// How often each of the training rows counts for each member, `[members][rows]`: patients drawn with replacement, sources and classes
/// balanced.
fn resamples(table: &FeatureTable, train: &[usize], config: &ClassifyConfig) -> Vec<Vec<f32>> {
    let of_patients: Vec<&str> = train.iter().map(|&row| table.rows[row].group.as_str()).collect();
    let mut resamples = bootstrap(&of_patients, config.members, config.seed);
    let weights = weights(table, train, config);
    resamples
        .iter_mut()
        .for_each(|counts| counts.iter_mut().zip(&weights).for_each(|(count, weight)| *count *= weight));
    resamples
}

/// How much each of the training rows counts, sources and classes balanced.
fn weights(table: &FeatureTable, train: &[usize], config: &ClassifyConfig) -> Vec<f32> {
    let kinds: Vec<_> =
        train.iter().map(|&row| (table.rows[row].source.as_str(), table.rows[row].positive())).collect();
    balanced(&kinds, config.balance)
}

/// Which of the training rows are predicted out of bag: those that some resample has not drawn, of known patients (two pictures of an
/// unknown one may lie on both sides), of the collections that the validation split has, since what is chosen is for pictures like those.
fn out_of_bag(table: &FeatureTable, train: &[usize], validation: &[usize], resamples: &[Vec<f32>]) -> Vec<usize> {
    let sources: BTreeSet<&str> = validation.iter().map(|&row| table.rows[row].source.as_str()).collect();
    let row = |at: usize| &table.rows[train[at]];
    (0..train.len())
        .filter(|&at| row(at).patient_id != UNKNOWN_PATIENT && sources.contains(row(at).source.as_str()))
        .filter(|&at| resamples.iter().any(|counts| counts[at] == 0.0))
        .collect()
}

/// The logits of the members whose resamples have no training row `at`.
fn out_of_bag_logits(logits: &[f32], resamples: &[Vec<f32>], at: usize) -> Vec<f32> {
    logits.iter().zip(resamples).filter(|(_, counts)| counts[at] == 0.0).map(|(&logit, _)| logit).collect()
}

/// The best penalty, and the heads that `fit` makes of it, by what they `say` of pictures with these labels and sources.
fn best_penalty(
    fit: impl Fn(f32) -> Heads,
    say: impl Fn(&Heads) -> Vec<Vec<f32>>,
    labels: &[bool],
    sources: &[&str],
) -> anyhow::Result<(f32, Heads)> {
    let bar = progress(PENALTIES.len(), "heads");
    let mut best: Option<([f64; 2], f32, Heads)> = None;
    for l2 in PENALTIES {
        let heads = fit(l2);
        let probabilities = ensemble(&say(&heads), 1.0)?.iter().map(|e| e.probability).collect::<Vec<_>>();
        let loss = metrics::negative_log_likelihood(&probabilities, labels)?;
        bar.inc(1);
        let score = [auc_inside(&probabilities, labels, sources), -loss];
        if best.as_ref().is_none_or(|(highest, ..)| score > *highest) {
            best = Some((score, l2, heads));
        }
    }
    bar.finish_and_clear();
    let (_, l2, heads) = best.context("no penalty gave a finite loss")?;
    Ok((l2, heads))
}

fn ensemble(logits: &[Vec<f32>], temperature: f32) -> anyhow::Result<Vec<Ensemble>> {
    logits.iter().map(|members| Ok(Ensemble::from_logits(members, temperature)?)).collect()
}

/// How often a positive picture is more probable than a negative one of the same source, over all such pairs, ties counting half; 0
/// where no source has both classes. Pairs of two sources are left out, for they reward who knows the source.
pub fn auc_inside(probabilities: &[f32], labels: &[bool], sources: &[&str]) -> f64 {
    let mut of = BTreeMap::<&str, (Vec<f32>, Vec<bool>)>::new();
    for ((&probability, &label), &source) in probabilities.iter().zip(labels).zip(sources) {
        let (scores, positive) = of.entry(source).or_default();
        scores.push(probability);
        positive.push(label);
    }
    let (mut won, mut pairs) = (0.0, 0.0);
    for (scores, positive) in of.values() {
        let positives = positive.iter().filter(|&&positive| positive).count();
        let count = (positives * (positive.len() - positives)) as f64;
        if let Ok(auc) = metrics::roc_auc(scores, positive) {
            won += auc * count;
            pairs += count;
        }
    }
    if pairs == 0.0 { 0.0 } else { won / pairs }
}

/// How often each picture counts for each member, `[members][pictures]`: the `groups` (patients) that the pictures belong to are drawn
/// with replacement.
pub fn bootstrap(groups: &[&str], members: usize, seed: u64) -> Vec<Vec<f32>> {
    let mut all = groups.to_vec();
    all.sort_unstable();
    all.dedup();
    let of_row: Vec<usize> = groups.iter().map(|group| all.binary_search(group).unwrap_or_default()).collect();
    (0..members)
        .map(|member| {
            let mut random = seeded::generator(seed, 1 + member as u64);
            let mut counts = vec![0f32; all.len()];
            (0..all.len()).for_each(|_| counts[random.random_range(0..all.len())] += 1.0);
            of_row.iter().map(|&group| counts[group]).collect()
        })
        .collect()
}

/// What each picture of these kinds (sources and classes) counts, see [`ClassifyConfig::balance`]; 1 on average.
pub fn balanced<Kind: Ord>(kinds: &[Kind], balance: f32) -> Vec<f32> {
    let mut counts = BTreeMap::<&Kind, f32>::new();
    kinds.iter().for_each(|kind| *counts.entry(kind).or_default() += 1.0);
    let weights: Vec<f32> = kinds.iter().map(|kind| counts[kind].powf(-balance)).collect();
    let mean = weights.iter().sum::<f32>() / weights.len() as f32;
    weights.into_iter().map(|weight| weight / mean).collect()
}

/// `[columns, columns]`: the covariance of standardised features among the changed copies of a picture, over all pictures. A head that
/// is steep along its leading directions reads how a picture was stored (within-class covariance normalisation, Hatch, Kajarekar and
/// Stolcke 2006, with a picture as the class).
fn spread(table: &FeatureTable, rows: &[usize], x: &[f32], columns: usize) -> Vec<f32> {
    let mut pictures = BTreeMap::<&str, Vec<usize>>::new();
    rows.iter().enumerate().for_each(|(at, &row)| pictures.entry(table.rows[row].path.as_str()).or_default().push(at));
    let mut apart = x.to_vec();
    for copies in pictures.values() {
        let mut mean = vec![0f32; columns];
        for &at in copies {
            mean.iter_mut().zip(&x[at * columns..][..columns]).for_each(|(m, v)| *m += v / copies.len() as f32);
        }
        for &at in copies {
            apart[at * columns..][..columns].iter_mut().zip(&mean).for_each(|(v, m)| *v -= m);
        }
    }
    let view = View::row_major(rows.len(), columns);
    let mut spread = vec![0f32; columns * columns];
    multiply(
        (&mut spread, View::row_major(columns, columns)),
        false,
        (&apart, view.transposed()),
        (&apart, view),
        true,
    );
    spread.iter_mut().for_each(|v| *v /= rows.len() as f32);
    spread
}

impl Lesions {
    /// Of the `percent` of each row, by those of the training `rows`.
    fn of(percent: &[Option<f32>], rows: &[usize]) -> Self {
        let known: Vec<f64> = rows.iter().filter_map(|&row| percent[row]).map(log_share).collect();
        let count = known.len().max(1) as f64;
        let mean = known.iter().sum::<f64>() / count;
        let variance = known.iter().map(|value| (value - mean) * (value - mean)).sum::<f64>() / count;
        let (mean, std) = (mean as f32, (variance.sqrt() + 1e-3) as f32);
        let evidence = LesionEvidence { mean, std, weights: vec![] };
        let values = percent.iter().map(|&percent| (LESION_SCALE * evidence.value(percent)) as f32).collect();
        Self { mean, std, values }
    }

    /// The features of `rows` with the share of each behind them, `[rows, columns + 1]`; the features alone where there are none.
    fn beside(lesions: Option<&Self>, features: Vec<f32>, rows: &[usize], columns: usize) -> Vec<f32> {
        let Some(lesions) = lesions else { return features };
        let of = |(features, &row): (&[f32], &usize)| {
            features.iter().copied().chain([lesions.values[row]]).collect::<Vec<_>>()
        };
        features.chunks_exact(columns).zip(rows).flat_map(of).collect()
    }
}

impl Standard {
    fn of(table: &FeatureTable, rows: &[usize]) -> Self {
        let count = rows.len() as f64;
        let mut mean = vec![0f64; table.columns];
        let mut square = vec![0f64; table.columns];
        for &row in rows {
            for ((sum, squares), &value) in mean.iter_mut().zip(&mut square).zip(table.row(row)) {
                *sum += f64::from(value);
                *squares += f64::from(value) * f64::from(value);
            }
        }
        mean.iter_mut().for_each(|m| *m /= count);
        let inverse_std =
            square.iter().zip(&mean).map(|(s, m)| 1.0 / ((s / count - m * m).max(0.0).sqrt() + 1e-3) as f32).collect();
        Self { mean: mean.into_iter().map(|m| m as f32).collect(), inverse_std }
    }

    fn apply(&self, table: &FeatureTable, rows: &[usize]) -> Vec<f32> {
        rows.iter().flat_map(|&row| self.row(table.row(row))).collect()
    }

    fn row(&self, features: &[f32]) -> impl Iterator<Item = f32> {
        features.iter().zip(&self.mean).zip(&self.inverse_std).map(|((x, m), s)| (x - m) * s)
    }
}

impl Heads {
    /// Weighted logistic regressions, one a resample, all at once: full-batch Adam on a convex loss, the mean cross entropy with the
    /// `target` of each row and member, and `l2 / 2` times the squared weights and the variance of the logit that `spread` tells.
    #[allow(clippy::too_many_arguments, reason = "each is another part of one loss")]
    fn fit(
        x: &[f32],
        target: &dyn Fn(usize, usize) -> f32,
        resamples: &[Vec<f32>],
        columns: usize,
        config: &ClassifyConfig,
        l2: f32,
        spread: Option<&[f32]>,
    ) -> Self {
        let (rows, members) = (x.len() / columns, resamples.len());
        let totals: Vec<f32> = resamples.iter().map(|counts| counts.iter().sum()).collect();
        let mut weights = vec![0f32; columns * members];
        let mut bias = vec![0f32; members];
        let mut moments = [columns * members, members].map(|count| [vec![0f32; count], vec![0f32; count]]);
        let adam = AdamWConfig { weight_decay: 0.0, ..AdamWConfig::default() };
        let mut residual = vec![0f32; rows * members];
        let mut gradient = vec![0f32; columns * members];
        let mut unsteady = vec![0f32; columns * members];
        let (x_view, w_view, r_view) =
            (View::row_major(rows, columns), View::row_major(columns, members), View::row_major(rows, members));
        for step in 1..=config.steps {
            multiply((&mut residual, r_view), false, (x, x_view), (&weights, w_view), true);
            let mut to_bias = vec![0f32; members];
            for (row, values) in residual.chunks_exact_mut(members).enumerate() {
                for (member, z) in values.iter_mut().enumerate() {
                    let p = 1.0 / (1.0 + (-(*z + bias[member])).exp());
                    *z = (p - target(row, member)) * resamples[member][row] / totals[member];
                    to_bias[member] += *z;
                }
            }
            multiply((&mut gradient, w_view), false, (x, x_view.transposed()), (&residual, r_view), true);
            gradient.iter_mut().zip(&weights).for_each(|(g, w)| *g += l2 * w);
            if let Some(spread) = spread {
                multiply(
                    (&mut unsteady, w_view),
                    false,
                    (spread, View::row_major(columns, columns)),
                    (&weights, w_view),
                    true,
                );
                gradient.iter_mut().zip(&unsteady).for_each(|(g, u)| *g += l2 * config.steadiness * u);
            }
            let share = step as f64 / config.steps as f64;
            let rate = HIGHEST_RATE * 0.5 * (1.0 + (std::f64::consts::PI * share).cos());
            let adam = AdamWStep::new(&adam, step, rate, 1.0);
            let [of_weights, of_bias] = &mut moments;
            for (values, gradients, [first, second]) in
                [(&mut weights, &gradient, of_weights), (&mut bias, &to_bias, of_bias)]
            {
                adam.apply(values, first, second, gradients);
            }
        }
        Self { weights, bias }
    }

    /// One logit a member for each row of `x`.
    fn logits(&self, x: &[f32], columns: usize) -> Vec<Vec<f32>> {
        let (rows, members) = (x.len() / columns, self.bias.len());
        let mut z = vec![0f32; rows * members];
        let w = View::row_major(columns, members);
        multiply(
            (&mut z, View::row_major(rows, members)),
            false,
            (x, View::row_major(rows, columns)),
            (&self.weights, w),
            true,
        );
        z.chunks_exact(members).map(|row| row.iter().zip(&self.bias).map(|(z, b)| z + b).collect()).collect()
    }
}

/// Leading directions of the standardised training features.
struct Familiar {
    /// `[directions, columns]`, orthonormal rows.
    directions: Vec<f32>,
    /// Variance along each.
    variances: Vec<f32>,
    /// Mean variance of the other directions.
    rest: f32,
}

impl Familiar {
    /// Orthogonal iteration from a seeded start.
    fn fit(x: &[f32], columns: usize, count: usize, seed: u64) -> Self {
        let rows = x.len() / columns;
        // Half of what the pictures span at most: the rest has to tell how far ordinary pictures stray from the directions.
        let count = count.min(rows / 2).min(columns).max(1);
        let mut random = seeded::generator(seed, u64::MAX);
        let mut directions: Vec<f32> = (0..count * columns).map(|_| random.random_range(-1.0..1.0)).collect();
        let (x_view, d_view) = (View::row_major(rows, columns), View::row_major(count, columns));
        let p_view = View::row_major(rows, count);
        let mut projected = vec![0f32; rows * count];
        for _ in 0..30 {
            orthonormalise(&mut directions, columns);
            multiply((&mut projected, p_view), false, (x, x_view), (&directions, d_view.transposed()), true);
            multiply((&mut directions, d_view), false, (&projected, p_view.transposed()), (x, x_view), true);
        }
        orthonormalise(&mut directions, columns);
        multiply((&mut projected, p_view), false, (x, x_view), (&directions, d_view.transposed()), true);
        let variances: Vec<f32> = (0..count)
            .map(|d| projected.chunks_exact(count).map(|row| row[d] * row[d]).sum::<f32>() / rows as f32)
            .collect();
        let total = x.par_iter().map(|&v| f64::from(v) * f64::from(v)).sum::<f64>() / rows as f64;
        let rest = ((total - variances.iter().map(|&v| f64::from(v)).sum::<f64>()) / (columns - count).max(1) as f64)
            .max(1e-6);
        Self { directions, variances: variances.into_iter().map(|v| v.max(rest as f32)).collect(), rest: rest as f32 }
    }

    /// Squared Mahalanobis distance of each row divided by the number of columns: about 1 for familiar pictures.
    fn novelty(&self, x: &[f32], columns: usize) -> Vec<f32> {
        let count = self.variances.len();
        x.chunks_exact(columns)
            .map(|row| {
                let total: f32 = row.iter().map(|v| v * v).sum::<f32>() / self.rest;
                let known: f32 = self
                    .directions
                    .chunks_exact(columns)
                    .zip(&self.variances)
                    .map(|(d, variance)| {
                        let u: f32 = d.iter().zip(row).map(|(d, v)| d * v).sum();
                        u * u * (1.0 / variance - 1.0 / self.rest)
                    })
                    .sum();
                debug_assert!(count <= columns);
                (total + known) / columns as f32
            })
            .collect()
    }
}

/// Modified Gram-Schmidt over the rows.
fn orthonormalise(rows: &mut [f32], columns: usize) {
    let count = rows.len() / columns;
    for i in 0..count {
        let (before, rest) = rows.split_at_mut(i * columns);
        let row = &mut rest[..columns];
        for other in before.chunks_exact(columns) {
            let dot: f32 = other.iter().zip(row.iter()).map(|(a, b)| a * b).sum();
            row.iter_mut().zip(other).for_each(|(r, o)| *r -= dot * o);
        }
        let norm = row.iter().map(|v| v * v).sum::<f32>().sqrt().max(1e-20);
        row.iter_mut().for_each(|r| *r /= norm);
    }
}

fn write_classifier(
    standard: &Standard,
    heads: &Heads,
    lesions: Option<&Lesions>,
    refusals: Option<&RefusalHeads>,
    familiar: &Familiar,
    columns: usize,
    path: &Path,
) -> anyhow::Result<()> {
    let device = Device::Cpu;
    let tensor = |values: &[f32], shape: &[usize]| Tensor::from_slice(values, shape, &device);
    let members = heads.bias.len();
    let count = familiar.variances.len();
    let (of_features, of_lesions) = heads.weights.split_at(columns * members);
    let mut tensors = vec![
        ("mean".to_owned(), tensor(&standard.mean, &[columns])?),
        ("inverse_std".to_owned(), tensor(&standard.inverse_std, &[columns])?),
        ("weights".to_owned(), tensor(of_features, &[columns, members])?),
        ("bias".to_owned(), tensor(&heads.bias, &[members])?),
        ("directions".to_owned(), tensor(&familiar.directions, &[count, columns])?),
        ("variances".to_owned(), tensor(&familiar.variances, &[count])?),
        ("rest".to_owned(), tensor(&[familiar.rest], &[1])?),
    ];
    if let Some(Lesions { mean, std, .. }) = lesions {
        let weights: Vec<f32> = of_lesions.iter().map(|weight| weight * LESION_SCALE as f32).collect();
        tensors.push(("lesion_weights".to_owned(), tensor(&weights, &[members])?));
        tensors.push(("lesion_mean_std".to_owned(), tensor(&[*mean, *std], &[2])?));
    }
    if let Some(RefusalHeads { weights, bias, refusals }) = refusals {
        tensors.push(("refusal_weights".to_owned(), tensor(weights, &[columns, refusals.len()])?));
        tensors.push(("refusal_bias".to_owned(), tensor(bias, &[refusals.len()])?));
    }
    Checkpoint::new(tensors.into_iter().collect(), [].into()).save(path)?;
    Ok(())
}

/// A finished run.
pub struct ClassifyRun {
    /// How it was fitted.
    pub config: ClassifyConfig,
    /// What came out.
    pub outcome: ClassifyOutcome,
    /// Hash of the heads' file, hexadecimal.
    pub sha256: String,
    weights: Checkpoint,
}

/// Reads a run that [`fit`] finished.
///
/// # Errors
/// A folder without one.
pub fn load(folder: &Path) -> anyhow::Result<ClassifyRun> {
    let json = |name: &str| {
        let path = folder.join(name);
        std::fs::read_to_string(&path).with_context(|| {
            format!("{}: no finished classification run; train one with thorax-train train classify", path.display())
        })
    };
    let (config, outcome) = (json("config.json")?, json("outcome.json")?);
    let heads = folder.join("classifier.safetensors");
    Ok(ClassifyRun {
        config: serde_json::from_str(&config)?,
        outcome: serde_json::from_str(&outcome)?,
        sha256: hexadecimal(&file_sha256(&heads)?),
        weights: Checkpoint::load(&heads, &Device::Cpu)?,
    })
}

impl ClassifyRun {
    /// The net whose features the heads learnt from, with the heads behind it.
    ///
    /// # Errors
    /// Other weights or another segmenter than in training, or none.
    pub fn whole(&self, remade: &Remade<'_>) -> anyhow::Result<Maker> {
        let ClassifyConfig { backbone, backbone_sha256, preprocess, .. } = &self.config;
        let made = remade.maker(*backbone, backbone_sha256, preprocess, &Device::Cpu)?;
        Ok(Maker { graph: self.extend(made.graph)?, ..made })
    }

    /// How the infected share of the lungs moves the logits, where it is evidence.
    ///
    /// # Errors
    /// Weights that lack it although the run was fitted with it.
    pub fn lesions(&self) -> anyhow::Result<Option<LesionEvidence>> {
        let read = |name: &str| anyhow::Ok(self.weights.tensor(name)?.flatten_all()?.to_vec1::<f32>()?);
        let of = |_: &String| {
            let (mean_std, weights) = (read("lesion_mean_std")?, read("lesion_weights")?);
            let [mean, std] = mean_std[..] else { anyhow::bail!("lesion_mean_std: {} numbers, not 2", mean_std.len()) };
            Ok(LesionEvidence { mean, std, weights })
        };
        self.config.lesions_sha256.as_ref().map(of).transpose()
    }

    /// Puts the heads and the novelty score behind a backbone whose first output is its feature map; its other outputs stay. Outputs: `activation`
    /// `[1, members, H, W]`, `logits` `[1, members, 1, 1]` (the mean of each map), `novelty` `[1, 1, 1, 1]`, and `refusal`
    /// `[1, kinds, 1, 1]` where there are refusal heads.
    ///
    /// # Errors
    /// When the weights do not fit the backbone.
    pub fn extend(&self, mut backbone: Graph) -> anyhow::Result<Graph> {
        let features = backbone.outputs.first().context("the backbone has no output")?.1;
        let others = backbone.outputs.split_off(1);
        backbone.outputs.clear();
        let get = |name: &str| self.weights.tensor(name);
        let (mean, inverse_std, weights) = (get("mean")?, get("inverse_std")?, get("weights")?);
        let columns = weights.dim(0)?;
        let pointwise = ConvolutionConfig::dense(1);

        // Heads on raw features: the standardisation goes into weight and bias.
        let raw = |weights: &Tensor, bias: &Tensor| -> candle_core::Result<[Tensor; 2]> {
            let heads = weights.dim(1)?;
            let raw = weights.broadcast_mul(&inverse_std.reshape((columns, 1))?)?.t()?.contiguous()?;
            let shift = raw.matmul(&mean.reshape((columns, 1))?)?.flatten_all()?;
            Ok([raw.reshape((heads, columns, 1, 1))?, (bias - shift)?])
        };
        let [weight, bias] = raw(weights, get("bias")?)?;
        let activation = backbone.convolution(features, weight, bias, pointwise);
        let logits = backbone.push(Operation::GlobalAveragePool, &[activation]);

        let pooled = backbone.push(Operation::GlobalAveragePool, &[features]);
        if !self.outcome.refusals.is_empty() {
            let [weight, bias] = raw(get("refusal_weights")?, get("refusal_bias")?)?;
            let refusal = backbone.convolution(pooled, weight, bias, pointwise);
            backbone.output("refusal", refusal);
        }
        let shift = (mean * inverse_std)?.neg()?;
        let standard = backbone.scale_and_shift(pooled, inverse_std, shift)?;
        let directions = get("directions")?;
        let count = directions.dims2()?.0;
        let zeros = |n: usize| Tensor::zeros(n, candle_core::DType::F32, &Device::Cpu);
        let u = backbone.convolution(standard, directions.reshape((count, columns, 1, 1))?, zeros(count)?, pointwise);
        let u = backbone.push(Operation::Multiply, &[u, u]);
        let square = backbone.push(Operation::Multiply, &[standard, standard]);
        let per_column = 1.0 / columns as f64;
        let rest = get("rest")?.recip()?;
        let known = (get("variances")?.recip()?.broadcast_sub(&rest)? * per_column)?.reshape((1, count, 1, 1))?;
        let all = (rest.broadcast_as(columns)?.contiguous()? * per_column)?.reshape((1, columns, 1, 1))?;
        let known = backbone.convolution(u, known, zeros(1)?, pointwise);
        let all = backbone.convolution(square, all, zeros(1)?, pointwise);
        let novelty = backbone.push(Operation::Add, &[all, known]);
        for (name, node) in [("activation", activation), ("logits", logits), ("novelty", novelty)] {
            backbone.output(name, node);
        }
        backbone.outputs.extend(others);
        Ok(backbone)
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use thorax_shared::{preprocess::spec::Normalise, uncertainty::sigmoid, verdict::RejectReason};

    use super::*;
    use crate::{
        data::{Label, recipe::preprocess_spec},
        features::FeatureRow,
    };

    const COLUMNS: usize = 12;

    /// Two noisy classes, two pictures a patient.
    fn table() -> FeatureTable {
        let mut random = seeded::generator(5, 0);
        let mut table = FeatureTable { rows: vec![], columns: COLUMNS, values: vec![] };
        for index in 0..240 {
            let positive = index / 2 % 2 == 0;
            let split = [Split::Train, Split::Train, Split::Val][index / 2 % 3];
            let shift = if positive { 0.8 } else { -0.8 };
            table.values.extend((0..COLUMNS).map(|c| {
                let noise: f32 = random.random_range(-1.5..1.5);
                3.0 + c as f32 + if c < 4 { shift + noise } else { noise }
            }));
            let path = format!("{index}.png");
            let group = format!("patient {}", index / 2);
            table.rows.push(FeatureRow {
                path,
                sha256: String::new(),
                patient_id: group.clone(),
                group,
                source: "made".into(),
                label: if positive { Label::Positive } else { Label::Negative },
                split,
                equalised: false,
                copy: 0,
            });
        }
        table
    }

    pub(super) fn config() -> ClassifyConfig {
        ClassifyConfig {
            modality: Modality::Ct,
            members: 5,
            seed: 3,
            steps: 300,
            directions: 4,
            balance: 0.0,
            steadiness: 0.0,
            copies: None,
            preprocess: preprocess_spec(Modality::Ct, 16, Normalise { mean: vec![0.5], std: vec![0.5] }),
            quality: QualityLimits::default(),
            lungs_sha256: None,
            lesions_sha256: None,
            refuse_sha256: None,
            refused_photographs: 0,
            out_of_bag: false,
            taught: false,
            teachers: vec![],
            manifest_sha256: String::new(),
            backbone: thorax_nets::Backbone::EfficientNetLite(0).into(),
            backbone_sha256: String::new(),
        }
    }

    /// A backbone that hands its input on, so that the features are known.
    fn identity() -> Graph {
        let mut graph = Graph::new([COLUMNS, 2, 3]);
        let features = graph.push(Operation::Relu, &[0]);
        graph.output("features", features);
        graph
    }

    #[test]
    fn the_graph_gives_the_heads_logits_their_maps_and_the_novelty() {
        let folder = tempfile::tempdir().unwrap();
        let table = table();
        let outcome = fit(&table, Beside::default(), &config(), folder.path()).unwrap();
        assert!(outcome.validation_auc > 0.9, "{outcome:?}");
        std::fs::write(folder.path().join("config.json"), serde_json::to_string(&config()).unwrap()).unwrap();
        let run = load(folder.path()).unwrap();
        let graph = run.extend(identity()).unwrap();

        // A picture whose features are uneven over the map but have row 7's mean.
        let row = table.row(7);
        let waves = [1.0f32, -1.0, 0.5, -0.5, 0.25, -0.25];
        let values: Vec<f32> = row.iter().flat_map(|&v| waves.map(|w| v + w)).collect();
        let x = Tensor::from_vec(values, (1, COLUMNS, 2, 3), &Device::Cpu).unwrap();
        let outputs = graph.run(&x).unwrap();
        let flat = |name: &str| {
            let index = graph.outputs.iter().position(|(output, _)| output == name).unwrap();
            outputs[index].flatten_all().unwrap().to_vec1::<f32>().unwrap()
        };

        let get = |name: &str| run.weights.tensor(name).unwrap().flatten_all().unwrap().to_vec1::<f32>().unwrap();
        let (mean, inverse_std, weights, bias) = (get("mean"), get("inverse_std"), get("weights"), get("bias"));
        let standard: Vec<f32> = (0..COLUMNS).map(|c| (row[c] - mean[c]) * inverse_std[c]).collect();
        for (member, logit) in flat("logits").iter().enumerate() {
            let expected = bias[member] + (0..COLUMNS).map(|c| standard[c] * weights[c * 5 + member]).sum::<f32>();
            assert!((logit - expected).abs() < 1e-4, "member {member}: {logit} {expected}");
            let map = &flat("activation")[member * 6..][..6];
            assert!((map.iter().sum::<f32>() / 6.0 - logit).abs() < 1e-4, "the map's mean is the logit");
        }
        let familiar = Familiar { directions: get("directions"), variances: get("variances"), rest: get("rest")[0] };
        let expected = familiar.novelty(&standard, COLUMNS)[0];
        assert!((flat("novelty")[0] - expected).abs() < 1e-4 * expected.max(1.0), "{:?} {expected}", flat("novelty"));
    }

    /// Labels that no feature tells: who judged training pictures by heads that learnt from them would take these for sure.
    #[test]
    fn out_of_bag_nothing_is_known_that_was_learnt_by_heart() {
        let resamples = [vec![1.0, 0.0], vec![0.0, 0.0], vec![2.0, 1.0]];
        assert_eq!(out_of_bag_logits(&[0.1, 0.2, 0.3], &resamples, 0), [0.2]);
        assert_eq!(out_of_bag_logits(&[0.1, 0.2, 0.3], &resamples, 1), [0.1, 0.2]);

        let mut random = seeded::generator(9, 0);
        let columns = 120;
        let mut table = FeatureTable { columns, ..table() };
        table.values = (0..table.rows.len() * columns).map(|_| random.random_range(-1.0..1.0)).collect();
        for row in &mut table.rows {
            let of_patient: u32 = row.group.bytes().map(u32::from).sum();
            row.label = if of_patient.is_multiple_of(2) { Label::Positive } else { Label::Negative };
        }
        let folder = tempfile::tempdir().unwrap();
        let fit = |out_of_bag| {
            let config = ClassifyConfig { out_of_bag, members: 12, ..config() };
            fit(&table, Beside::default(), &config, folder.path()).unwrap()
        };
        let (without, with) = (fit(false), fit(true));
        assert_eq!(without.out_of_bag_pictures, 0);
        // Of twelve resamples nearly every patient is missing from one.
        let train = table.split(Split::Train).count();
        assert!(with.out_of_bag_pictures * 10 > train * 9, "{} of {train}", with.out_of_bag_pictures);
        assert_eq!(with.validation_pictures, without.validation_pictures);
        let promise = with.promise.unwrap();
        assert!(promise.patients > without.promise.unwrap().patients && promise.confidence.is_none(), "{promise:?}");
        // Right in half of the cases, where in-sample every answer would be right.
        assert!(promise.answered > 0 && promise.wrong * 5 > promise.answered, "{promise:?}");
        // A training picture is near itself, so the limits of novelty are those of the validation split.
        assert_eq!(with.decision.novelty_refer, without.decision.novelty_refer);
        assert_eq!(
            table.split(Split::Val).count(),
            csv::Reader::from_path(folder.path().join("validation.csv")).unwrap().records().count()
        );
    }

    #[test]
    fn out_of_bag_are_known_patients_of_the_validation_splits_collections() {
        let mut table = table();
        let train: Vec<usize> = table.split(Split::Train).map(|(row, _)| row).collect();
        let validation: Vec<usize> = table.split(Split::Val).map(|(row, _)| row).collect();
        table.rows[train[0]].patient_id = UNKNOWN_PATIENT.into();
        table.rows[train[1]].source = "elsewhere".into();
        let mut drawn = vec![1.0; train.len()];
        drawn[2] = 0.0;
        let none = vec![0.0; train.len()];
        assert_eq!(out_of_bag(&table, &train, &validation, std::slice::from_ref(&drawn)), [2]);
        let expected: Vec<usize> = (2..train.len()).collect();
        assert_eq!(out_of_bag(&table, &train, &validation, &[drawn, none]), expected);
    }

    /// Runs of before there was a selection set.
    #[test]
    fn an_outcome_without_what_was_added_later_is_read() {
        let folder = tempfile::tempdir().unwrap();
        let outcome = fit(&table(), Beside::default(), &config(), folder.path()).unwrap();
        let mut old = serde_json::to_value(&outcome).unwrap();
        let fields = old.as_object_mut().unwrap();
        for added in ["out_of_bag_pictures", "promise", "probability_map", "calibrations", "refusals"] {
            assert!(fields.remove(added).is_some(), "{added}");
        }
        let read: ClassifyOutcome = serde_json::from_value(old).unwrap();
        assert_eq!((read.out_of_bag_pictures, read.validation_pictures), (0, outcome.validation_pictures));
        let config = serde_json::to_value(config()).unwrap();
        assert!(config.get("out_of_bag").is_none() && serde_json::from_value::<ClassifyConfig>(config).is_ok());
    }

    #[test]
    fn infected_lungs_are_weighed_beside_the_features() {
        let mut random = seeded::generator(6, 0);
        let mut table = table();
        // The features say nothing, the infected share nearly all; of every tenth picture it is not known.
        table.values.iter_mut().for_each(|value| *value = 3.0 + random.random_range(-1.5f32..1.5));
        let percent: Vec<Option<f32>> = table
            .rows
            .iter()
            .enumerate()
            .map(|(at, row)| {
                let share =
                    if row.positive() { random.random_range(1.0..30.0) } else { random.random_range(0.0..2.0f32) };
                (at % 10 != 0).then_some(share)
            })
            .collect();
        let folder = tempfile::tempdir().unwrap();
        let config = ClassifyConfig { lesions_sha256: Some("ab".into()), ..config() };
        let without = fit(&table, Beside::default(), &config, folder.path()).unwrap();
        assert!(without.validation_auc < 0.7, "{}", without.validation_auc);
        let with =
            fit(&table, Beside { involvement: Some(&percent), ..Beside::default() }, &config, folder.path()).unwrap();
        assert!(with.validation_auc > 0.9, "{}", with.validation_auc);

        std::fs::write(folder.path().join("config.json"), serde_json::to_string(&config).unwrap()).unwrap();
        let run = load(folder.path()).unwrap();
        let lesions = run.lesions().unwrap().unwrap();
        assert!(lesions.weights.len() == 5 && lesions.weights.iter().all(|&weight| weight > 0.5), "{lesions:?}");
        // The graph's logits, and what the lesions add, are the logits of the fit.
        let graph = run.extend(identity()).unwrap();
        let rows = csv::Reader::from_path(folder.path().join("validation.csv")).unwrap().into_records();
        let told: BTreeMap<String, f32> =
            rows.map(|row| row.map(|row| (row[0].to_owned(), row[2].parse().unwrap())).unwrap()).collect();
        for (index, row) in table.split(Split::Val) {
            let values: Vec<f32> = table.row(index).iter().flat_map(|&value| [value; 6]).collect();
            let outputs = graph.run(&Tensor::from_vec(values, (1, COLUMNS, 2, 3), &Device::Cpu).unwrap()).unwrap();
            let at = graph.outputs.iter().position(|(output, _)| output == "logits").unwrap();
            let mut logits = outputs[at].flatten_all().unwrap().to_vec1::<f32>().unwrap();
            lesions.add_to(&mut logits, percent[index]);
            let ensemble = Ensemble::from_logits(&logits, run.outcome.temperature).unwrap();
            let probability = ensemble.mapped(run.outcome.probability_map.as_ref()).probability;
            assert!((probability - told[&row.path]).abs() < 1e-4, "{} {probability} {}", row.path, told[&row.path]);
        }
    }

    #[test]
    fn what_is_to_be_refused_is_told_from_what_is_read() {
        let folder = tempfile::tempdir().unwrap();
        let table = table();
        let mut random = seeded::generator(7, 0);
        // Two kinds, each far off in a column of its own.
        let mut odd = |column: usize| -> Vec<f32> {
            (0..COLUMNS)
                .map(|c| 3.0 + c as f32 + if c == column { 8.0 } else { random.random_range(-1.5..1.5) })
                .collect()
        };
        let refused =
            RefusedFeatures { rows: (0..20).map(|at| if at % 2 == 0 { (0, odd(6)) } else { (1, odd(9)) }).collect() };
        let outcome =
            fit(&table, Beside { refused: Some(&refused), ..Beside::default() }, &config(), folder.path()).unwrap();
        let reasons: Vec<_> = outcome.refusals.iter().map(|refusal| refusal.reason).collect();
        assert_eq!(reasons, [RejectReason::NotFrontal, RejectReason::Child]);
        std::fs::write(folder.path().join("config.json"), serde_json::to_string(&config()).unwrap()).unwrap();
        let graph = load(folder.path()).unwrap().extend(identity()).unwrap();
        let told = |row: &[f32]| -> Vec<bool> {
            let values: Vec<f32> = row.iter().flat_map(|&value| [value; 6]).collect();
            let outputs = graph.run(&Tensor::from_vec(values, (1, COLUMNS, 2, 3), &Device::Cpu).unwrap()).unwrap();
            let at = graph.outputs.iter().position(|(output, _)| output == "refusal").unwrap();
            let logits = outputs[at].flatten_all().unwrap().to_vec1::<f32>().unwrap();
            logits.iter().zip(&outcome.refusals).map(|(&logit, refusal)| sigmoid(logit, 1.0) >= refusal.at).collect()
        };
        assert_eq!((told(&odd(6)), told(&odd(9))), (vec![true, false], vec![false, true]));
        for (index, _) in table.split(Split::Val) {
            assert_eq!(told(table.row(index)), [false, false]);
        }
    }

    #[test]
    fn balanced_sources_and_classes_count_alike() {
        let mut table = table();
        let train: Vec<usize> = table.split(Split::Train).map(|(index, _)| index).collect();
        // A fifth is from elsewhere, and mostly positive.
        for (at, &row) in train.iter().enumerate().filter(|(at, _)| at % 5 == 0) {
            table.rows[row].source = "elsewhere".into();
            table.rows[row].label = if at % 20 == 0 { Label::Negative } else { Label::Positive };
        }
        let kinds: Vec<_> =
            train.iter().map(|&row| (table.rows[row].source.as_str(), table.rows[row].positive())).collect();
        assert!(balanced(&kinds, 0.0).iter().all(|&weight| (weight - 1.0).abs() < 1e-6));
        let weights = balanced(&kinds, 1.0);
        let mut sums = BTreeMap::<_, f32>::new();
        for (kind, weight) in kinds.iter().zip(&weights) {
            *sums.entry(kind).or_default() += weight;
        }
        assert_eq!(sums.len(), 4);
        let mean = train.len() as f32 / 4.0;
        assert!(sums.values().all(|sum| (sum - mean).abs() < 1e-2 * mean), "{sums:?}");
        let half = balanced(&kinds, 0.5);
        assert!(half.iter().zip(&weights).all(|(half, whole)| (half - 1.0).abs() <= (whole - 1.0).abs() + 0.2));
    }

    /// A feature that tells the classes but not the same in each copy of a picture is used less than one that is steady.
    #[test]
    fn a_feature_that_changes_with_the_copy_is_used_less() {
        let mut random = seeded::generator(8, 0);
        let mut table = FeatureTable { rows: vec![], columns: 2, values: vec![] };
        for index in 0..360u16 {
            let (picture, copy) = (index / 3, index % 3);
            let positive = picture % 2 == 0;
            let shift = if positive { 1.0 } else { -1.0 };
            let steady = shift + f32::from(picture % 7) / 4.0 - 0.75;
            table.values.extend([steady, shift + random.random_range(-2.0f32..2.0)]);
            table.rows.push(FeatureRow {
                path: format!("{picture}.png"),
                sha256: String::new(),
                patient_id: picture.to_string(),
                group: picture.to_string(),
                source: "made".into(),
                label: if positive { Label::Positive } else { Label::Negative },
                split: if picture % 3 == 2 { Split::Val } else { Split::Train },
                equalised: false,
                copy,
            });
        }
        let share = |steadiness: f32| {
            let folder = tempfile::tempdir().unwrap();
            fit(
                &table,
                Beside::default(),
                &ClassifyConfig { steadiness, copies: Some((2, 1)), directions: 1, ..config() },
                folder.path(),
            )
            .unwrap();
            std::fs::write(folder.path().join("config.json"), serde_json::to_string(&config()).unwrap()).unwrap();
            let weights = load(folder.path()).unwrap().weights.tensor("weights").unwrap().to_vec2::<f32>().unwrap();
            let size = |column: usize| weights[column].iter().map(|w| w.abs()).sum::<f32>();
            size(1) / size(0)
        };
        let (without, with) = (share(0.0), share(1e4));
        assert!(with < 0.5 * without, "{without} without, {with} with");
    }

    #[test]
    fn novelty_is_small_for_what_was_seen_and_large_for_what_was_not() {
        let table = table();
        let train: Vec<usize> = table.split(Split::Train).map(|(index, _)| index).collect();
        let standard = Standard::of(&table, &train);
        let x = standard.apply(&table, &train);
        let familiar = Familiar::fit(&x, COLUMNS, 4, 1);
        let seen = familiar.novelty(&x, COLUMNS);
        let mean = seen.iter().sum::<f32>() / seen.len() as f32;
        assert!((mean - 1.0).abs() < 0.05, "mean novelty of the training pictures is {mean}");
        assert!(familiar.novelty(&[6.0; COLUMNS], COLUMNS)[0] > 10.0);
        // The directions are orthonormal.
        for (i, a) in familiar.directions.chunks_exact(COLUMNS).enumerate() {
            for (j, b) in familiar.directions.chunks_exact(COLUMNS).enumerate() {
                let dot: f32 = a.iter().zip(b).map(|(a, b)| a * b).sum();
                assert!((dot - f32::from(u8::from(i == j))).abs() < 1e-4, "{i} {j} {dot}");
            }
        }
    }

    #[test]
    fn a_resample_draws_patients_whole() {
        let table = table();
        let train: Vec<usize> = table.split(Split::Train).map(|(index, _)| index).collect();
        let groups: Vec<&str> = train.iter().map(|&row| table.rows[row].group.as_str()).collect();
        let resamples = bootstrap(&groups, 3, 9);
        assert_ne!(resamples[0], resamples[1]);
        assert_eq!(resamples, bootstrap(&groups, 3, 9));
        for counts in &resamples {
            assert_eq!(
                counts.iter().sum::<f32>(),
                train.len() as f32,
                "two pictures a patient, as many patients as there are"
            );
            for pair in counts.chunks_exact(2) {
                assert_eq!(pair[0], pair[1], "pictures of one patient go together");
            }
        }
    }

    #[test]
    fn only_pairs_of_one_source_count() {
        let (probabilities, labels) = ([0.9, 0.8, 0.3, 0.2, 0.1], [true, true, false, true, false]);
        // Of `b`, one of the two pairs is in order; `a` has one class alone.
        assert_eq!(auc_inside(&probabilities, &labels, &["a", "a", "b", "b", "b"]), 0.5);
        assert_eq!(auc_inside(&probabilities, &labels, &["b", "b", "b", "a", "a"]), 1.0);
        assert_eq!(auc_inside(&probabilities, &labels, &["a", "b", "c", "d", "e"]), 0.0);
    }

    #[test]
    fn a_split_without_positives_is_refused_by_name() {
        let mut table = table();
        table.rows.iter_mut().filter(|row| row.split == Split::Val).for_each(|row| row.label = Label::Negative);
        let error =
            fit(&table, Beside::default(), &config(), tempfile::tempdir().unwrap().path()).unwrap_err().to_string();
        assert!(error.contains("val split has no positive ct pictures"), "{error}");
    }
}
