//! From a run folder to all its figures.

use std::collections::{BTreeMap, BTreeSet};

use rayon::prelude::*;
use serde::Serialize;
use thorax_shared::{
    decision::{ChoiceError, fit_temperature},
    metrics::{
        Confusion, DEFAULT_BINS, MetricError, RiskCoverage, RocCurve, brier_score, error_detection_auc,
        expected_calibration_error, negative_log_likelihood, reliability, roc_auc,
    },
    modality::Modality,
    uncertainty::{Ensemble, UncertaintyError, sigmoid},
};

use super::{Isotonic, JudgeError, Limit, Resample, RunFolder, choose_limit, holm, mcnemar, uncertainty_confusion};
use crate::{
    classifiers::{Kind, NotRun},
    data::Split,
    features::Extractor,
    judge::{Estimate, Resampling},
};

/// A probability of at least this is the answer "positive", where a classifier has no other.
const POSITIVE_AT: f32 = 0.5;

/// Bins of entropy over 0 to 1 bit.
const ENTROPY_BINS: usize = 20;

/// Points of a risk-coverage curve that are kept.
const CURVE_POINTS: usize = 200;

/// What may be chosen about judging.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub struct Settings {
    /// Bootstrap resamples of patients.
    pub resamples: usize,
    /// Confidence level of the intervals.
    pub level: f64,
    /// Seed of the bootstrap.
    pub seed: u64,
    /// Wanted sensitivity of the screening threshold.
    pub sensitivity: f64,
    /// Wanted share of wrong answers.
    pub risk: f64,
}

impl Default for Settings {
    /// 1000 resamples at 95 %; a sensitivity of 90 %, WHO's floor for a screening test; a risk of 10 %.
    fn default() -> Self {
        Self { resamples: 1000, level: 0.95, seed: 1, sensitivity: 0.9, risk: 0.1 }
    }
}

/// The paper's figures (equations 3 to 7) and the area under the ROC curve.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize)]
pub struct Figures<T> {
    /// Equation 3.
    pub accuracy: T,
    /// Equation 7.
    pub f1: T,
    /// Equation 5, sensitivity.
    pub recall: T,
    /// Equation 4.
    pub precision: T,
    /// Equation 6.
    pub specificity: T,
    /// Area under the ROC curve.
    pub auc: T,
}

impl<T> Figures<T> {
    /// Their names, in the order of [`Self::into_array`].
    pub const NAMES: [&'static str; 6] = ["accuracy", "f1", "recall", "precision", "specificity", "auc"];

    /// In the order of the paper's tables.
    pub fn into_array(self) -> [T; 6] {
        [self.accuracy, self.f1, self.recall, self.precision, self.specificity, self.auc]
    }

    /// From the order of the paper's tables.
    pub fn from_array([accuracy, f1, recall, precision, specificity, auc]: [T; 6]) -> Self {
        Self { accuracy, f1, recall, precision, specificity, auc }
    }
}

impl Figures<Option<f64>> {
    /// Of probabilities `[N]` of the disease, whether each picture is called positive, and labels.
    fn new(probabilities: &[f32], answers: &[bool], labels: &[bool]) -> Self {
        let counts = Confusion::new(answers, labels).unwrap_or_default();
        Self {
            accuracy: counts.accuracy(),
            f1: counts.f1(),
            recall: counts.sensitivity(),
            precision: counts.precision(),
            specificity: counts.specificity(),
            auc: roc_auc(probabilities, labels).ok(),
        }
    }
}

/// A figure of every run.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub struct Spread {
    /// Mean over the runs.
    pub mean: f64,
    /// Standard deviation over the runs (of the sample: divided by their number less one); `None` for one run.
    pub standard_deviation: Option<f64>,
    /// Runs that have the figure.
    pub runs: usize,
}

impl Spread {
    fn new(values: &[f64]) -> Option<Self> {
        let runs = values.len();
        let mean = values.iter().sum::<f64>() / runs as f64;
        let squares: f64 = values.iter().map(|value| (value - mean).powi(2)).sum();
        let standard_deviation = (runs > 1).then(|| (squares / (runs - 1) as f64).sqrt());
        (runs > 0).then_some(Self { mean, standard_deviation, runs })
    }
}

/// How many there are.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Count {
    /// Pictures.
    pub pictures: usize,
    /// Positive pictures.
    pub positive: usize,
    /// Groups of patients.
    pub patients: usize,
}

/// A bar of the reliability diagram.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub struct Bin {
    /// Pictures.
    pub count: usize,
    /// Mean of their probabilities.
    pub mean_probability: f64,
    /// Share of them with the disease.
    pub positive_share: f64,
}

/// Whether probabilities mean what they say.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Forecast {
    /// Expected calibration error in 15 bins of equal width.
    pub ece: f64,
    /// Brier score.
    pub brier: f64,
    /// Negative log-likelihood.
    pub nll: f64,
    /// The reliability diagram's bins that are not empty.
    pub reliability: Vec<Bin>,
}

impl Forecast {
    fn new(probabilities: &[f32], labels: &[bool]) -> Result<Self, MetricError> {
        let bins = reliability(probabilities, labels, DEFAULT_BINS)?;
        Ok(Self {
            ece: expected_calibration_error(probabilities, labels, DEFAULT_BINS)?,
            brier: brier_score(probabilities, labels)?,
            nll: negative_log_likelihood(probabilities, labels)?,
            reliability: bins
                .iter()
                .filter(|bin| bin.count > 0)
                .map(|bin| Bin {
                    count: bin.count,
                    mean_probability: bin.mean_probability,
                    positive_share: bin.positive_share,
                })
                .collect(),
        })
    }
}

/// Test probabilities before and after calibration on validation pictures.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Calibration {
    /// As averaged.
    pub before: Forecast,
    /// The logit of the averaged probability is divided by this (Guo et al. 2017, arXiv:1706.04599).
    pub temperature: Option<f32>,
    /// With that temperature.
    pub tempered: Option<Forecast>,
    /// With isotonic calibration.
    pub isotonic: Option<Forecast>,
}

/// What the entropy of the mean distribution (equation 2) says.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Uncertainty {
    /// Mean entropy in bits.
    pub mean_bits: f64,
    /// Mean entropy of right answers in bits.
    pub right_bits: Option<f64>,
    /// Mean entropy of wrong answers in bits.
    pub wrong_bits: Option<f64>,
    /// Mean mutual information in bits: the part of the entropy that is the runs' disagreement.
    pub mutual_information_bits: f64,
    /// Area under the ROC curve of finding wrong answers by their entropy.
    pub error_auc: Option<Estimate>,
    /// Right answers in 20 bins of entropy over 0 to 1 bit.
    pub right_histogram: Vec<usize>,
    /// Wrong answers in the same bins.
    pub wrong_histogram: Vec<usize>,
    /// From which entropy on an answer is uncertain, chosen on validation pictures.
    pub limit: Option<Limit>,
    /// Wrong answers to the validation pictures that the limit was chosen on.
    pub validation_errors: Option<usize>,
    /// "Uncertain" against "wrong" on test pictures.
    pub confusion: Option<Confusion>,
}

/// Answering only when certain enough.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Selective {
    /// Area under the risk-coverage curve.
    pub area: f64,
    /// Coverage and risk, at up to 200 places.
    pub curve: Vec<[f64; 2]>,
    /// For the wanted risk; `None` where no limit has it on validation pictures, and nothing should be answered.
    pub abstention: Option<Abstention>,
}

/// Abstaining, with the limit of the largest validation coverage whose risk is no more than wanted.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub struct Abstention {
    /// Answers with more entropy than this, in bits, are withheld.
    pub limit_bits: f32,
    /// Share of validation pictures that is answered.
    pub validation_coverage: f64,
    /// Share of those answers that is wrong.
    pub validation_risk: f64,
    /// Share of test pictures that is answered.
    pub coverage: f64,
    /// Share of those answers that is wrong; `None` without an answer.
    pub risk: Option<f64>,
}

/// A threshold for a wanted sensitivity, chosen on validation pictures.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub struct Screening {
    /// Probabilities of at least this are positive.
    pub threshold: f32,
    /// On validation pictures.
    pub validation_sensitivity: f64,
    /// On validation pictures.
    pub validation_specificity: f64,
    /// On test pictures.
    pub sensitivity: Option<Estimate>,
    /// On test pictures.
    pub specificity: Option<Estimate>,
}

/// The averaged prediction on the pictures of one source.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct SourceFigures {
    /// The source.
    pub source: String,
    /// Its test pictures.
    pub count: Count,
    /// Without F1, precision and AUC where it has one class only.
    pub figures: Figures<Option<Estimate>>,
}

/// All that is known of a classifier, or of the ensemble of all.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Judged {
    /// `None` for the ensemble of all classifiers.
    pub kind: Option<Kind>,
    /// Whether a run's answer is the sign of its decision, and the averaged one that of most runs (of the averaged probability, where
    /// both are as many), and not whether a probability is at least one half.
    pub by_sign: bool,
    /// How many runs its figures are of: all, or fewer of a classifier of which fewer were asked for. Of the ensemble those that every
    /// classifier has, in [`Self::runs`]; what is averaged has all.
    pub run_count: usize,
    /// Of each run by itself.
    pub runs: Figures<Option<Spread>>,
    /// Of the averaged prediction.
    pub averaged: Figures<Option<Estimate>>,
    /// Of the averaged prediction.
    pub confusion: Confusion,
    /// Accuracy of the averaged prediction on validation pictures, by which a classifier may be chosen.
    pub validation_accuracy: Option<f64>,
    /// False and true positive rate; empty where a class is missing.
    pub roc: Vec<[f64; 2]>,
    /// Of its probabilities.
    pub calibration: Calibration,
    /// Of its entropy.
    pub uncertainty: Uncertainty,
    /// Of answering selectively.
    pub selective: Selective,
    /// For a wanted sensitivity; `None` without positive validation pictures.
    pub screening: Option<Screening>,
    /// By source, in alphabetical order.
    pub sources: Vec<SourceFigures>,
}

impl Judged {
    /// Its name in files.
    pub fn name(&self) -> &'static str {
        self.kind.map_or("ensemble", Kind::name)
    }

    /// Its name in tables.
    pub fn title(&self) -> &'static str {
        self.kind.map_or("All classifiers", Kind::title)
    }
}

/// Two classifiers' averaged predictions on the same test pictures.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub struct Comparison {
    /// Position in [`Judgement::classifiers`].
    pub first: usize,
    /// Position in [`Judgement::classifiers`].
    pub second: usize,
    /// Pictures on which only the first is right.
    pub only_first: usize,
    /// Pictures on which only the second is right.
    pub only_second: usize,
    /// Exact McNemar test, two-sided.
    pub p: f64,
    /// The same, corrected for all pairs by Holm's method.
    pub corrected_p: f64,
}

/// All figures of a run folder.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Judgement {
    /// Kind of picture.
    pub modality: Modality,
    /// Whose features.
    pub backbone: Extractor,
    /// Where its weights came from, in words.
    pub weights: String,
    /// How the runs differ.
    pub resample: Resample,
    /// Runs of each classifier; [`Judged::run_count`] says where there are fewer.
    pub runs: usize,
    /// Seed of them.
    pub seed: u64,
    /// The source that no run learnt from, and that alone is judged.
    pub left_out: Option<String>,
    /// How it was judged.
    pub settings: Settings,
    /// Pictures that a run may learn from. With a split of its own for each run: that were so in any run, here and below.
    pub train: Count,
    /// Pictures that choices are made on.
    pub validation: Count,
    /// Pictures that are judged.
    pub test: Count,
    /// Groups of patients that are both learnt from and judged; every figure flatters where there is one, unless each run has a split of its own.
    pub patients_on_both_sides: usize,
    /// The classifiers in the order of the paper's tables, then the ensemble of all.
    pub classifiers: Vec<Judged>,
    /// Those that were to run and could not.
    pub not_run: BTreeMap<Kind, NotRun>,
    /// All pairs.
    pub comparisons: Vec<Comparison>,
}

/// Judges all classifiers of a run folder, and the ensemble of them.
///
/// The ensemble's distribution is the mean of the classifiers' mean distributions, each over all runs that it has.
/// Where each run has a split of its own, the averaged prediction of a picture is that of the runs in which it was a test
/// picture, and nothing is fitted or chosen: a validation picture of one run is a test picture of another.
///
/// # Errors
/// When there is no test picture, lists differ in length, or a probability is none.
pub fn judge(folder: &RunFolder, settings: &Settings) -> Result<Judgement, JudgeError> {
    folder.check()?;
    let rows_of = |split: Split| -> Vec<usize> {
        let is = |&row: &usize| (0..folder.runs).any(|run| folder.role(run, row) == Some(split));
        (0..folder.rows.len()).filter(is).collect()
    };
    let [train, validation, test] = Split::ALL.map(rows_of);
    if test.is_empty() {
        let what = format!("{} {}", folder.modality.title(), folder.backbone);
        let source = folder.left_out.as_ref().map(|source| format!(", {source} left out"));
        return Err(JudgeError::NoTestPicture { what: what + &source.unwrap_or_default() });
    }
    let patients = |rows: &[usize]| -> BTreeSet<&str> { rows.iter().map(|&row| &*folder.rows[row].group).collect() };
    let count = |rows: &[usize]| Count {
        pictures: rows.len(),
        positive: rows.iter().filter(|&&row| folder.rows[row].positive).count(),
        patients: patients(rows).len(),
    };
    let subjects = folder.classifiers.iter().map(|classifier| Subject {
        folder,
        kind: Some(classifier.kind),
        members: vec![&classifier.runs],
        runs: classifier.runs.len(),
        own_answers: classifier.answers.as_ref(),
    });
    let members: Vec<&Vec<Vec<f64>>> = folder.classifiers.iter().map(|classifier| &classifier.runs).collect();
    let runs = members.iter().map(|runs| runs.len()).min().unwrap_or(0);
    let all = Subject { folder, kind: None, members, runs, own_answers: None };
    let subjects: Vec<Subject> = subjects.chain([all]).collect();
    let judged: Vec<(Judged, Vec<bool>)> = subjects
        .par_iter()
        .map(|subject| {
            let test = subject.answers(&test, Split::Test)?;
            let validation = match folder.resample {
                Resample::Bootstrap => Some(subject.answers(&validation, Split::Val)?),
                Resample::Split => None,
            };
            let judged =
                subject.judge(&test, validation.filter(|answers| !answers.labels.is_empty()).as_ref(), settings)?;
            Ok((judged, test.wrong))
        })
        .collect::<Result<_, JudgeError>>()?;
    let (classifiers, wrong): (Vec<Judged>, Vec<Vec<bool>>) = judged.into_iter().unzip();
    Ok(Judgement {
        modality: folder.modality,
        backbone: folder.backbone,
        weights: folder.weights.clone(),
        resample: folder.resample,
        runs: folder.runs,
        seed: folder.seed,
        left_out: folder.left_out.clone(),
        settings: *settings,
        patients_on_both_sides: patients(&train).intersection(&patients(&test)).count(),
        train: count(&train),
        validation: count(&validation),
        test: count(&test),
        classifiers,
        not_run: folder.not_run.clone(),
        comparisons: compare(&wrong),
    })
}

/// All pairs of classifiers, from whether each answer of each, `[classifiers][N]`, is wrong.
fn compare(wrong: &[Vec<bool>]) -> Vec<Comparison> {
    let pairs = (0..wrong.len()).flat_map(|first| (first + 1..wrong.len()).map(move |second| (first, second)));
    let mut comparisons: Vec<Comparison> = pairs
        .map(|(first, second)| {
            let only = |right: usize, other: usize| {
                wrong[right].iter().zip(&wrong[other]).filter(|(a, b)| !**a && **b).count()
            };
            let (only_first, only_second) = (only(first, second), only(second, first));
            Comparison { first, second, only_first, only_second, p: mcnemar(only_first, only_second), corrected_p: 0.0 }
        })
        .collect();
    let corrected = holm(&comparisons.iter().map(|comparison| comparison.p).collect::<Vec<_>>());
    comparisons.iter_mut().zip(corrected).for_each(|(comparison, p)| comparison.corrected_p = p);
    comparisons
}

/// A classifier, or all of them.
struct Subject<'a> {
    folder: &'a RunFolder,
    kind: Option<Kind>,
    /// `[classifiers][runs][N]`.
    members: Vec<&'a Vec<Vec<f64>>>,
    /// The runs that all of them have.
    runs: usize,
    /// `[runs][N]`: whether each picture is called positive, where no probability says so.
    own_answers: Option<&'a Vec<Vec<bool>>>,
}

/// The averaged prediction of some pictures.
struct Answers {
    /// Patients, by number: what is drawn for the intervals.
    groups: Vec<usize>,
    labels: Vec<bool>,
    probabilities: Vec<f32>,
    /// Whether each picture is called positive.
    positive: Vec<bool>,
    entropy_bits: Vec<f32>,
    mutual_information_bits: Vec<f32>,
    wrong: Vec<bool>,
    /// Positions by source.
    sources: BTreeMap<String, Vec<usize>>,
}

impl Subject<'_> {
    /// Whether the runs call a picture positive: most of them, or where none has an answer of its own or both are as many, their
    /// probability.
    fn positive(&self, runs: impl Iterator<Item = usize>, row: usize, probability: f32) -> bool {
        let (yes, no) = self.own_answers.map_or((0, 0), |answers| {
            runs.fold((0usize, 0usize), |(yes, no), run| if answers[run][row] { (yes + 1, no) } else { (yes, no + 1) })
        });
        if yes == no { probability >= POSITIVE_AT } else { yes > no }
    }

    /// The averaged prediction of `rows`, each over the runs in which it is in `split`.
    fn answers(&self, rows: &[usize], split: Split) -> Result<Answers, JudgeError> {
        let mut numbers = BTreeMap::new();
        let mut sources: BTreeMap<String, Vec<usize>> = BTreeMap::new();
        for (position, &row) in rows.iter().enumerate() {
            let next = numbers.len();
            numbers.entry(&self.folder.rows[row].group).or_insert(next);
            sources.entry(self.folder.rows[row].source.clone()).or_default().push(position);
        }
        let in_split = |row: usize| (0..self.runs).filter(move |&run| self.folder.role(run, row) == Some(split));
        let ensembles: Vec<Ensemble> = rows
            .iter()
            .map(|&row| {
                let of = |runs: &&Vec<Vec<f64>>| -> Vec<f64> {
                    let in_split = (0..runs.len()).filter(|&run| self.folder.role(run, row) == Some(split));
                    in_split.map(|run| runs[run][row]).collect()
                };
                together(&self.members.iter().map(of).collect::<Vec<_>>())
            })
            .collect::<Result<_, _>>()?;
        let labels: Vec<bool> = rows.iter().map(|&row| self.folder.rows[row].positive).collect();
        let answer = |(&row, ensemble): (&usize, &Ensemble)| self.positive(in_split(row), row, ensemble.probability);
        let positive: Vec<bool> = rows.iter().zip(&ensembles).map(answer).collect();
        Ok(Answers {
            groups: rows.iter().map(|&row| numbers[&self.folder.rows[row].group]).collect(),
            probabilities: ensembles.iter().map(|ensemble| ensemble.probability).collect(),
            entropy_bits: ensembles.iter().map(|ensemble| ensemble.entropy_bits).collect(),
            mutual_information_bits: ensembles.iter().map(|ensemble| ensemble.mutual_information_bits).collect(),
            wrong: positive.iter().zip(&labels).map(|(positive, label)| positive != label).collect(),
            positive,
            labels,
            sources,
        })
    }

    /// Each run's own figures on its own test pictures.
    fn run_figures(&self) -> Figures<Option<Spread>> {
        let mut values: [Vec<f64>; 6] = Default::default();
        for run in 0..self.runs {
            let rows = (0..self.folder.rows.len()).filter(|&row| self.folder.role(run, row) == Some(Split::Test));
            let mean = |row: usize| {
                let sum: f64 = self.members.iter().map(|runs| runs[run][row]).sum();
                (sum / self.members.len() as f64) as f32
            };
            let rows: Vec<usize> = rows.collect();
            let probabilities: Vec<f32> = rows.iter().map(|&row| mean(row)).collect();
            let answer = |(&row, &probability): (&usize, &f32)| self.positive(std::iter::once(run), row, probability);
            let answers: Vec<bool> = rows.iter().zip(&probabilities).map(answer).collect();
            let labels: Vec<bool> = rows.iter().map(|&row| self.folder.rows[row].positive).collect();
            let figures = Figures::new(&probabilities, &answers, &labels).into_array();
            values.iter_mut().zip(figures).for_each(|(values, figure)| values.extend(figure));
        }
        Figures::from_array(values.map(|values| Spread::new(&values)))
    }

    fn judge(&self, test: &Answers, validation: Option<&Answers>, settings: &Settings) -> Result<Judged, JudgeError> {
        let all: Vec<usize> = (0..test.labels.len()).collect();
        Ok(Judged {
            kind: self.kind,
            run_count: self.runs,
            by_sign: self.own_answers.is_some(),
            runs: self.run_figures(),
            averaged: test.figures(&all, settings),
            confusion: Confusion::new(&test.positive, &test.labels)?,
            validation_accuracy: validation
                .and_then(|v| Figures::new(&v.probabilities, &v.positive, &v.labels).accuracy),
            roc: test.roc(),
            calibration: test.calibration(validation)?,
            uncertainty: test.uncertainty(validation, settings)?,
            selective: test.selective(validation, settings)?,
            screening: validation.and_then(|validation| test.screening(validation, settings)),
            sources: test
                .sources
                .iter()
                .map(|(source, positions)| SourceFigures {
                    source: source.clone(),
                    count: test.count(positions),
                    figures: test.figures(positions, settings),
                })
                .collect(),
        })
    }
}

/// What classifiers say together, `[classifiers][runs]`: each counts alike, however many runs it has.
fn together(members: &[Vec<f64>]) -> Result<Ensemble, UncertaintyError> {
    if members.iter().all(|runs| runs.len() == members[0].len()) {
        return Ensemble::from_probabilities(&members.concat());
    }
    let each: Vec<Ensemble> =
        members.iter().map(|runs| Ensemble::from_probabilities(runs)).collect::<Result<_, _>>()?;
    let means: Vec<f64> = members.iter().map(|runs| runs.iter().sum::<f64>() / runs.len() as f64).collect();
    let mean = Ensemble::from_probabilities(&means)?;
    let expected_entropy_bits =
        each.iter().map(|ensemble| ensemble.expected_entropy_bits).sum::<f32>() / each.len() as f32;
    Ok(Ensemble {
        expected_entropy_bits,
        mutual_information_bits: (mean.entropy_bits - expected_entropy_bits).max(0.0),
        members: members.iter().map(Vec::len).sum(),
        ..mean
    })
}

/// The elements at `positions`.
fn at<T: Copy>(values: &[T], positions: &[usize]) -> Vec<T> {
    positions.iter().map(|&position| values[position]).collect()
}

fn mean(values: impl Iterator<Item = f32>) -> Option<f64> {
    let (sum, count) = values.fold((0.0, 0usize), |(sum, count), value| (sum + f64::from(value), count + 1));
    (count > 0).then(|| sum / count as f64)
}

impl Answers {
    fn count(&self, positions: &[usize]) -> Count {
        let patients: BTreeSet<usize> = at(&self.groups, positions).into_iter().collect();
        let positive = positions.iter().filter(|&&position| self.labels[position]).count();
        Count { pictures: positions.len(), positive, patients: patients.len() }
    }

    /// A statistic of the pictures at some positions, with its interval over patients.
    fn estimate(
        &self,
        positions: &[usize],
        settings: &Settings,
        statistic: impl Fn(&[usize]) -> Option<f64>,
    ) -> Option<Estimate> {
        let groups = at(&self.groups, positions);
        let Settings { resamples, level, seed, .. } = *settings;
        Estimate::new(&groups, &Resampling { resamples, level, seed }, |drawn| statistic(&at(positions, drawn)))
    }

    /// With one class only, F1, precision and AUC say nothing and are left out.
    fn figures(&self, positions: &[usize], settings: &Settings) -> Figures<Option<Estimate>> {
        let labels = at(&self.labels, positions);
        let both = labels.contains(&true) && labels.contains(&false);
        let counts = |drawn: &[usize]| {
            let mut counts = Confusion::default();
            drawn.iter().for_each(|&i| counts.count(self.positive[i], self.labels[i]));
            counts
        };
        let of =
            |figure: fn(&Confusion) -> Option<f64>| self.estimate(positions, settings, |drawn| figure(&counts(drawn)));
        let auc = |drawn: &[usize]| roc_auc(&at(&self.probabilities, drawn), &at(&self.labels, drawn)).ok();
        Figures {
            accuracy: of(Confusion::accuracy),
            f1: of(Confusion::f1).filter(|_| both),
            recall: of(Confusion::sensitivity),
            precision: of(Confusion::precision).filter(|_| both),
            specificity: of(Confusion::specificity),
            auc: self.estimate(positions, settings, auc).filter(|_| both),
        }
    }

    /// The curve's corners.
    fn roc(&self) -> Vec<[f64; 2]> {
        let Ok(curve) = RocCurve::new(&self.probabilities, &self.labels) else { return Vec::new() };
        let mut corners: Vec<&thorax_shared::metrics::RocPoint> = Vec::new();
        for point in &curve.points {
            if let [.., a, b] = corners[..] {
                // Counts, so that "on one line" is exact.
                let run = |from: &thorax_shared::metrics::RocPoint, to: &thorax_shared::metrics::RocPoint| {
                    (to.false_positives - from.false_positives, to.true_positives - from.true_positives)
                };
                let ((x0, y0), (x1, y1)) = (run(a, b), run(b, point));
                if x0 * y1 == x1 * y0 {
                    corners.pop();
                }
            }
            corners.push(point);
        }
        corners.iter().map(|point| [curve.false_positive_rate(point), curve.true_positive_rate(point)]).collect()
    }

    fn calibration(&self, validation: Option<&Answers>) -> Result<Calibration, JudgeError> {
        let forecast = |probabilities: &[f32]| Forecast::new(probabilities, &self.labels);
        let (mut temperature, mut tempered, mut isotonic) = (None, None, None);
        if let Some(validation) = validation {
            let logits: Vec<[f32; 1]> = validation.probabilities.iter().map(|&p| [logit(p)]).collect();
            temperature = match fit_temperature(&logits, &validation.labels) {
                Err(ChoiceError::Samples(MetricError::OneClass)) => None,
                fitted => Some(fitted?),
            };
            if let Some(temperature) = temperature {
                let after: Vec<f32> = self.probabilities.iter().map(|&p| sigmoid(logit(p), temperature)).collect();
                tempered = Some(forecast(&after)?);
                let fitted = Isotonic::fit(&validation.probabilities, &validation.labels)?;
                let after: Vec<f32> = self.probabilities.iter().map(|&p| fitted.apply(p)).collect();
                isotonic = Some(forecast(&after)?);
            }
        }
        Ok(Calibration { before: forecast(&self.probabilities)?, temperature, tempered, isotonic })
    }

    fn uncertainty(&self, validation: Option<&Answers>, settings: &Settings) -> Result<Uncertainty, JudgeError> {
        let of =
            |wrong: bool| self.entropy_bits.iter().zip(&self.wrong).filter(move |(_, w)| **w == wrong).map(|(e, _)| *e);
        let histogram = |wrong: bool| {
            let mut bins = vec![0; ENTROPY_BINS];
            of(wrong).for_each(|bits| bins[((bits * ENTROPY_BINS as f32) as usize).min(ENTROPY_BINS - 1)] += 1);
            bins
        };
        let all: Vec<usize> = (0..self.labels.len()).collect();
        let right: Vec<bool> = vec![false; self.wrong.len()];
        let error_auc = |drawn: &[usize]| {
            error_detection_auc(&at(&self.entropy_bits, drawn), &at(&self.wrong, drawn), &at(&right, drawn)).ok()
        };
        let limit = validation.map(|v| choose_limit(&v.entropy_bits, &v.wrong)).transpose()?;
        let confusion = limit.map(|limit| uncertainty_confusion(&self.entropy_bits, &self.wrong, limit)).transpose()?;
        Ok(Uncertainty {
            mean_bits: mean(self.entropy_bits.iter().copied()).unwrap_or_default(),
            right_bits: mean(of(false)),
            wrong_bits: mean(of(true)),
            mutual_information_bits: mean(self.mutual_information_bits.iter().copied()).unwrap_or_default(),
            error_auc: self.estimate(&all, settings, error_auc),
            right_histogram: histogram(false),
            wrong_histogram: histogram(true),
            limit,
            validation_errors: validation.map(|v| v.wrong.iter().filter(|wrong| **wrong).count()),
            confusion,
        })
    }

    fn selective(&self, validation: Option<&Answers>, settings: &Settings) -> Result<Selective, JudgeError> {
        let curve = RiskCoverage::new(&self.entropy_bits, &self.wrong)?;
        let total = curve.total();
        let every = total.div_ceil(CURVE_POINTS);
        let risks = curve.risks().enumerate().filter(|(i, _)| (i + 1) % every == 0 || i + 1 == total);
        let abstention = match validation {
            Some(validation) => {
                let on_validation = RiskCoverage::new(&validation.entropy_bits, &validation.wrong)?;
                on_validation.at_risk(settings.risk).map(|chosen| {
                    let here = curve.at_limit(chosen.limit);
                    Abstention {
                        limit_bits: chosen.limit,
                        validation_coverage: chosen.answered as f64 / on_validation.total() as f64,
                        validation_risk: chosen.risk().unwrap_or_default(),
                        coverage: here.answered as f64 / total as f64,
                        risk: here.risk(),
                    }
                })
            }
            None => None,
        };
        let curve_points = risks.map(|(i, risk)| [(i + 1) as f64 / total as f64, risk]).collect();
        Ok(Selective { area: curve.area(), curve: curve_points, abstention })
    }

    /// The largest threshold with the wanted sensitivity on validation pictures.
    fn screening(&self, validation: &Answers, settings: &Settings) -> Option<Screening> {
        let curve = RocCurve::new(&validation.probabilities, &validation.labels).ok()?;
        let chosen = curve.points.iter().find(|point| curve.true_positive_rate(point) >= settings.sensitivity)?;
        let threshold = chosen.threshold;
        let share = |positive: bool| {
            let positions: Vec<usize> = (0..self.labels.len()).filter(|&i| self.labels[i] == positive).collect();
            self.estimate(&positions, settings, |drawn| {
                let hits = drawn.iter().filter(|&&i| (self.probabilities[i] >= threshold) == positive).count();
                Some(hits as f64 / drawn.len() as f64)
            })
        };
        Some(Screening {
            threshold,
            validation_sensitivity: curve.true_positive_rate(chosen),
            validation_specificity: curve.true_negative_rate(chosen),
            sensitivity: share(true),
            specificity: share(false),
        })
    }
}

/// The logit of a probability that was moved to within [`f32::EPSILON`] of 0 and 1, as [`negative_log_likelihood`] does: a
/// nearest-neighbour vote is often 0 or 1.
fn logit(probability: f32) -> f32 {
    let margin = f64::from(f32::EPSILON);
    let probability = f64::from(probability).clamp(margin, 1.0 - margin);
    (probability / (1.0 - probability)).ln() as f32
}
