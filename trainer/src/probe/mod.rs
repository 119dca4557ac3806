//! What else than the disease tells the classes apart: whether the features know the collection, whether the file alone knows the class,
//! and what is left of an AUC inside a collection, or on one that nobody learnt from.
//!
//! Positive and negative pictures of public collections come from different hospitals, so a classifier can learn the hospital. Four
//! questions show how much of that there is (after Zech et al. 2018 and DeGrave et al. 2021): how well a linear classifier tells the
//! source from the features; how well the size, compression and border of a file tell the class; the AUC inside every source that has
//! both classes; and the AUC on each such source when the heads of [`crate::heads`] learnt from the others. A fifth shows what more
//! patients would be worth: the same AUC from a sixteenth, an eighth, a quarter and a half of them.
//!
//! Everything is judged on groups of patients that were not learnt from. Pictures of the test split are left out unless they are asked
//! for. `linear` has the classifiers, `facts` what a file tells.

mod facts;
mod linear;

use std::collections::{BTreeMap, BTreeSet};

use candle_core::Device;
use serde::{Deserialize, Serialize};
use thorax_nn::checkpoint::Checkpoint;
use thorax_shared::{metrics, modality::Modality, uncertainty::Ensemble};

use self::linear::Table;
use crate::{
    data::{Manifest, Split, UNKNOWN_PATIENT, group_folds},
    features::{Contents, FeatureRow, FeatureTable},
    heads,
    judge::{Estimate, Resampling},
    markdown,
    progress::in_parallel,
};

/// The version of `probe.json`.
const FORMAT: u32 = 1;
/// Parts of each cross-validation.
const FOLDS: usize = 5;
/// Shares of the patients from which the AUC is told, to see what more of them are worth.
const SHARES: [f64; 5] = [0.0625, 0.125, 0.25, 0.5, 1.0];
/// How often patients and folds are drawn for each share.
const DRAWS: u64 = 5;
/// Heads of each ensemble that learns without a source.
const MEMBERS: usize = 8;
/// Bootstrap resamples of patients.
const RESAMPLES: usize = 1000;
/// Confidence level of the intervals.
const LEVEL: f64 = 0.95;

/// Whose pictures and features were probed: those of one classifier, if they are the same.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Probed {
    /// Film or CT slice.
    pub modality: Modality,
    /// [`crate::data::fingerprint::fingerprint`] of the manifest.
    pub manifest_sha256: String,
    /// Of the backbone's weights.
    pub weights_sha256: String,
    /// How a picture becomes the net's input.
    pub preprocess_sha256: String,
}

/// A collection, and how it is told.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Source {
    /// Its name.
    pub name: String,
    /// Pictures.
    pub pictures: usize,
    /// Positive ones among them.
    pub positive: usize,
    /// Groups of patients.
    pub groups: usize,
    /// Share of its pictures that a linear classifier of the features takes for its own; `None` where it has too few groups.
    pub recognised: Option<f64>,
    /// AUC inside it of a linear classifier of the features that learnt from all sources; `None` where it has one class.
    pub auc_inside: Option<Estimate>,
    /// AUC inside it of what the files tell.
    pub auc_of_files: Option<Estimate>,
    /// AUC on it of heads that learnt from all other sources.
    pub auc_left_out: Option<Estimate>,
}

/// What a linear classifier of the features is worth that learnt from a share of the patients.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Learnt {
    /// Groups of patients that it learnt from, on average over folds and draws.
    pub groups: f64,
    /// AUC of all pictures, over the draws.
    pub auc: Option<Spread>,
    /// AUC inside each source that has both classes, by its name.
    pub sources: BTreeMap<String, Option<Spread>>,
}

/// A figure over several draws.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct Spread {
    /// Mean.
    pub mean: f64,
    /// Standard deviation (of the sample).
    pub deviation: f64,
}

impl Spread {
    fn of(values: &[f64]) -> Option<Self> {
        let count = values.len() as f64;
        let mean = values.iter().sum::<f64>() / count;
        let squares = values.iter().map(|value| (value - mean).powi(2)).sum::<f64>();
        (count > 1.0).then(|| Self { mean, deviation: (squares / (count - 1.0)).sqrt() })
    }
}

/// What was found.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Probe {
    /// 1.
    pub format: u32,
    /// Whose pictures and features.
    pub of: Probed,
    /// Whether pictures of the test split are among them.
    pub with_test: bool,
    /// Pictures.
    pub pictures: usize,
    /// Positive ones among them.
    pub positive: usize,
    /// Mean over the sources of [`Source::recognised`]: the balanced accuracy of the classifier of sources.
    pub sources_told: Option<f64>,
    /// What it is by chance: one over the number of sources.
    pub sources_by_chance: Option<f64>,
    /// AUC of a linear classifier of the features, for comparison.
    pub auc_of_features: Option<Estimate>,
    /// AUC of a linear classifier of what the files tell.
    pub auc_of_files_linear: Option<Estimate>,
    /// AUC of the nearest neighbours by what the files tell.
    pub auc_of_files: Option<Estimate>,
    /// Every source.
    pub sources: Vec<Source>,
    /// From ever more patients; empty in files of programs that did not ask.
    #[serde(default)]
    pub by_patients: Vec<Learnt>,
}

/// Asks the five questions of the pooled features `table` of a store with `contents`; copies are learnt from, and not judged.
///
/// # Errors
/// Pictures that cannot be read; no pictures of both classes.
pub fn probe(
    manifest: &Manifest,
    contents: &Contents,
    table: &FeatureTable,
    with_test: bool,
    seed: u64,
) -> anyhow::Result<Probe> {
    let judged: Vec<usize> = (0..table.rows.len())
        .filter(|&row| table.rows[row].copy == 0 && (with_test || table.rows[row].split != Split::Test))
        .collect();
    let rows: Vec<&FeatureRow> = judged.iter().map(|&row| &table.rows[row]).collect();
    let positive: Vec<bool> = rows.iter().map(|row| row.positive()).collect();
    anyhow::ensure!(
        positive.contains(&true) && positive.contains(&false),
        "the store has no pictures of both classes outside of the test split; extract others, or give --with-test"
    );
    let groups: Vec<&str> = rows.iter().map(|row| row.group.as_str()).collect();
    let folds = group_folds(&groups, FOLDS, seed);
    let values: Vec<f32> = judged.iter().flat_map(|&row| table.row(row)).copied().collect();
    let features = Table { values: &values, columns: table.columns, folds: &folds };
    let classes: Vec<usize> = positive.iter().map(|&positive| usize::from(positive)).collect();
    let of_positive =
        |probabilities: Vec<f32>| -> Vec<f32> { probabilities.chunks_exact(2).map(|row| row[1]).collect() };

    let by_features = of_positive(features.logistic(&classes, 2));
    let recognised = recognised(&rows, &features, seed);
    let window = &contents.preprocess.window;
    let told = in_parallel("files", &rows, |row| facts::of(manifest, &row.path, window));
    let told: Vec<f32> = told.into_iter().collect::<anyhow::Result<Vec<_>>>()?.concat();
    let files = Table { values: &told, columns: facts::FACTS.len(), folds: &folds };
    let by_files = files.neighbours(&positive);
    let by_files_linear = of_positive(files.logistic(&classes, 2));

    let resampling = Resampling { resamples: RESAMPLES, level: LEVEL, seed };
    let auc = |scores: &[f32], of: &dyn Fn(&FeatureRow) -> bool| {
        let of: Vec<usize> = (0..rows.len()).filter(|&i| of(rows[i])).collect();
        let groups: Vec<&str> = of.iter().map(|&i| groups[i]).collect();
        Estimate::new(&groups, &resampling, |drawn| {
            let (scores, labels): (Vec<f32>, Vec<bool>) =
                drawn.iter().map(|&i| (scores[of[i]], positive[of[i]])).unzip();
            metrics::roc_auc(&scores, &labels).ok()
        })
    };
    let names: BTreeSet<&str> = rows.iter().map(|row| row.source.as_str()).collect();
    let sources = names.into_iter().map(|name| {
        let inside = |row: &FeatureRow| row.source == name;
        let of: Vec<&&FeatureRow> = rows.iter().filter(|row| inside(row)).collect();
        let ill = of.iter().filter(|row| row.positive()).count();
        // What `auc` says of a source of one class is nothing; heads without it need not be fitted.
        let left_out = if ill == 0 || ill == of.len() { None } else { left_out(table, contents, &rows, name, seed)? };
        Ok(Source {
            name: name.to_owned(),
            pictures: of.len(),
            positive: ill,
            groups: of.iter().map(|row| &row.group).collect::<BTreeSet<_>>().len(),
            recognised: recognised.get(name).copied(),
            auc_inside: auc(&by_features, &inside),
            auc_of_files: auc(&by_files, &inside),
            auc_left_out: left_out.and_then(|scores| auc(&scores, &inside)),
        })
    });
    let known = recognised.len();
    Ok(Probe {
        format: FORMAT,
        of: Probed {
            modality: contents.modality,
            manifest_sha256: contents.manifest_sha256.clone(),
            weights_sha256: contents.weights_sha256.clone(),
            preprocess_sha256: contents.preprocess_sha256.clone(),
        },
        with_test,
        pictures: rows.len(),
        positive: positive.iter().filter(|positive| **positive).count(),
        sources_told: (known > 1).then(|| recognised.values().sum::<f64>() / known as f64),
        sources_by_chance: (known > 1).then(|| 1.0 / known as f64),
        auc_of_features: auc(&by_features, &|_| true),
        auc_of_files_linear: auc(&by_files_linear, &|_| true),
        auc_of_files: auc(&by_files, &|_| true),
        sources: sources.collect::<anyhow::Result<_>>()?,
        by_patients: by_patients(&rows, &values, table.columns, seed),
    })
}

/// The AUC of the features `values` of `rows` by a classifier that learnt from each of [`SHARES`] of the patients, [`DRAWS`] times with
/// other folds and other patients. Pictures of unknown patients are left out: two of one may lie on both sides, the more the more are
/// learnt from.
fn by_patients(rows: &[&FeatureRow], values: &[f32], columns: usize, seed: u64) -> Vec<Learnt> {
    let known: Vec<usize> = (0..rows.len()).filter(|&row| rows[row].patient_id != UNKNOWN_PATIENT).collect();
    let values: Vec<f32> = known.iter().flat_map(|&row| &values[row * columns..][..columns]).copied().collect();
    let rows: Vec<&FeatureRow> = known.into_iter().map(|row| rows[row]).collect();
    let groups: Vec<&str> = rows.iter().map(|row| row.group.as_str()).collect();
    let positive: Vec<bool> = rows.iter().map(|row| row.positive()).collect();
    let classes: Vec<usize> = positive.iter().map(|&positive| usize::from(positive)).collect();
    let names: BTreeSet<&str> = rows.iter().map(|row| row.source.as_str()).collect();
    // In as many parts as the smallest share has of all: the first parts are the patients that are learnt from.
    let parts = (1.0 / SHARES[0]) as usize;
    let learn = |share: f64| {
        let learnt_parts = (share * parts as f64).round() as usize;
        let mut learnt = 0.0;
        let mut all = vec![];
        let mut inside: BTreeMap<&str, Vec<f64>> = names.iter().map(|&name| (name, vec![])).collect();
        for draw in 0..DRAWS {
            let folds = group_folds(&groups, FOLDS, seed.wrapping_add(draw));
            // Dealt out by another order than the folds are.
            let part = group_folds(&groups, parts, seed.wrapping_add(draw) ^ 0x5eed);
            let is_learnt = |row: usize| part[row] < learnt_parts;
            let both_classes = (0..FOLDS).all(|fold| {
                let of = |wanted: bool| {
                    (0..rows.len()).any(|row| is_learnt(row) && folds[row] != fold && positive[row] == wanted)
                };
                of(true) && of(false)
            });
            if !both_classes {
                continue;
            }
            let different: BTreeSet<&str> =
                (0..rows.len()).filter(|&row| is_learnt(row)).map(|row| groups[row]).collect();
            learnt += different.len() as f64 * (FOLDS - 1) as f64 / FOLDS as f64 / DRAWS as f64;
            let table = Table { values: &values, columns, folds: &folds };
            let said: Vec<f32> = table.logistic_of(is_learnt, &classes, 2).chunks_exact(2).map(|row| row[1]).collect();
            // Of each fold by itself, since each has a classifier of its own, whose probabilities are not those of another; pairs count.
            let auc = |of: &dyn Fn(&FeatureRow) -> bool| {
                let of: Vec<usize> = (0..rows.len()).filter(|&row| of(rows[row])).collect();
                let folds: Vec<String> = of.iter().map(|&row| folds[row].to_string()).collect();
                let (scores, labels): (Vec<f32>, Vec<bool>) = of.iter().map(|&row| (said[row], positive[row])).unzip();
                let folds: Vec<&str> = folds.iter().map(String::as_str).collect();
                (labels.contains(&true) && labels.contains(&false)).then(|| heads::auc_inside(&scores, &labels, &folds))
            };
            all.extend(auc(&|_| true));
            inside.iter_mut().for_each(|(name, values)| values.extend(auc(&|row| row.source == *name)));
        }
        let sources = inside.into_iter().filter(|(_, values)| !values.is_empty());
        Learnt {
            groups: learnt,
            auc: Spread::of(&all),
            sources: sources.map(|(name, values)| (name.to_owned(), Spread::of(&values))).collect(),
        }
    };
    SHARES.into_iter().map(learn).collect()
}

/// The share of each source's pictures that a linear classifier of the features takes for its own, of the sources with a group a fold
/// or more; of no source where there are not two of these.
fn recognised<'a>(rows: &[&'a FeatureRow], features: &Table<'_>, seed: u64) -> BTreeMap<&'a str, f64> {
    let mut groups: BTreeMap<&str, BTreeSet<&str>> = BTreeMap::new();
    for row in rows {
        groups.entry(&row.source).or_default().insert(&row.group);
    }
    let sources: Vec<&str> =
        groups.into_iter().filter(|(_, groups)| groups.len() >= FOLDS).map(|(name, _)| name).collect();
    if sources.len() < 2 {
        return BTreeMap::new();
    }
    let known: Vec<(usize, usize)> = rows
        .iter()
        .enumerate()
        .filter_map(|(i, row)| Some((i, sources.binary_search(&row.source.as_str()).ok()?)))
        .collect();
    let targets: Vec<usize> = known.iter().map(|(_, source)| *source).collect();
    let values: Vec<f32> =
        known.iter().flat_map(|(i, _)| &features.values[i * features.columns..][..features.columns]).copied().collect();
    // Dealt out source by source, so that each fold has of every one.
    let mut folds = vec![0; known.len()];
    for source in 0..sources.len() {
        let of: Vec<usize> = (0..known.len()).filter(|&i| targets[i] == source).collect();
        let groups: Vec<&str> = of.iter().map(|&i| rows[known[i].0].group.as_str()).collect();
        for (i, fold) in of.into_iter().zip(group_folds(&groups, FOLDS, seed)) {
            folds[i] = fold;
        }
    }
    let table = Table { values: &values, columns: features.columns, folds: &folds };
    let recalls = linear::recalls(&table.logistic(&targets, sources.len()), &targets, sources.len());
    sources.into_iter().zip(recalls).filter_map(|(name, recall)| Some((name, recall?))).collect()
}

/// What heads that learnt from all sources but `name` say of `rows`; `None` where the others have no pictures of both classes to learn
/// from and to choose by.
fn left_out(
    table: &FeatureTable,
    contents: &Contents,
    rows: &[&FeatureRow],
    name: &str,
    seed: u64,
) -> anyhow::Result<Option<Vec<f32>>> {
    // Patients of that source are not learnt from in another one either.
    let apart: BTreeSet<&str> =
        table.rows.iter().filter(|row| row.source == name).map(|row| row.group.as_str()).collect();
    let others: Vec<usize> = (0..table.rows.len())
        .filter(|&row| table.rows[row].split != Split::Test && !apart.contains(table.rows[row].group.as_str()))
        .collect();
    let enough = [Split::Train, Split::Val].into_iter().all(|split| {
        let of = |positive: bool| {
            others.iter().any(|&row| table.rows[row].split == split && table.rows[row].positive() == positive)
        };
        of(true) && of(false)
    });
    if !enough {
        return Ok(None);
    }
    let learnt = FeatureTable {
        rows: others.iter().map(|&row| table.rows[row].clone()).collect(),
        columns: table.columns,
        values: others.iter().flat_map(|&row| table.row(row)).copied().collect(),
    };
    // Novelty is not asked for.
    let config = heads::ClassifyConfig { members: MEMBERS, seed, directions: 1, ..heads::ClassifyConfig::of(contents) };
    let folder = tempfile::tempdir()?;
    let outcome = heads::fit(&learnt, heads::Beside::default(), &config, folder.path())?;
    let fitted = Checkpoint::load(&folder.path().join("classifier.safetensors"), &Device::Cpu)?;
    let numbers = |name: &str| -> anyhow::Result<Vec<f32>> { Ok(fitted.tensor(name)?.flatten_all()?.to_vec1()?) };
    let (mean, inverse_std) = (numbers("mean")?, numbers("inverse_std")?);
    let (weights, bias) = (numbers("weights")?, numbers("bias")?);
    let at: BTreeMap<&str, usize> =
        table.rows.iter().enumerate().filter(|(_, row)| row.copy == 0).map(|(i, row)| (row.path.as_str(), i)).collect();
    let say = |row: &&FeatureRow| -> anyhow::Result<f32> {
        let mut logits = bias.clone();
        let standard =
            table.row(at[row.path.as_str()]).iter().zip(&mean).zip(&inverse_std).map(|((x, m), s)| (x - m) * s);
        for (value, weights) in standard.zip(weights.chunks_exact(bias.len())) {
            logits.iter_mut().zip(weights).for_each(|(logit, weight)| *logit += value * weight);
        }
        Ok(Ensemble::from_logits(&logits, outcome.temperature)?.probability)
    };
    rows.iter().map(say).collect::<anyhow::Result<_>>().map(Some)
}

fn cell(estimate: Option<Estimate>) -> String {
    estimate.map_or_else(|| "–".into(), |e| format!("{:.3} ({:.3}–{:.3})", e.value, e.low, e.high))
}

fn number(value: Option<f64>) -> String {
    value.map_or_else(|| "–".into(), |value| format!("{value:.3}"))
}

impl Probe {
    /// Tables and what they mean; the heading is the caller's.
    pub fn to_markdown(&self) -> String {
        let split = if self.with_test {
            "with those of the test split: whoever chooses anything by these figures has looked at it once more"
        } else {
            "without those of the test split"
        };
        let mut out = format!(
            "{} pictures, {} of them positive, {split}. Cross-validated in {FOLDS} parts over groups of patients; intervals: {:.0} %, \
             bootstrap over patients.\n\n",
            self.pictures,
            self.positive,
            LEVEL * 100.0
        );
        out += &markdown::head(&["question", "figure", "by chance"]);
        let chance = "0.5".to_owned();
        let questions = [
            (
                "which source, from the features (linear; balanced accuracy)",
                number(self.sources_told),
                number(self.sources_by_chance),
            ),
            ("which class, from the features (linear; AUC)", cell(self.auc_of_features), chance.clone()),
            ("which class, from the file alone (nearest neighbours; AUC)", cell(self.auc_of_files), chance.clone()),
            ("which class, from the file alone (linear; AUC)", cell(self.auc_of_files_linear), chance),
        ];
        out.extend(questions.map(|(question, figure, chance)| markdown::row([question, &figure, &chance])));
        out += "\n";
        let head = [
            "source",
            "pictures (positive)",
            "groups",
            "recognised",
            "AUC inside",
            "AUC inside, file alone",
            "AUC, left out",
        ];
        out += &markdown::head(&head);
        for source in &self.sources {
            out += &markdown::row([
                source.name.clone(),
                format!("{} ({})", source.pictures, source.positive),
                source.groups.to_string(),
                number(source.recognised),
                cell(source.auc_inside),
                cell(source.auc_of_files),
                cell(source.auc_left_out),
            ]);
        }
        out += &format!(
            "\nThe file alone: {}. Recognised: share of the source's pictures that the classifier of sources takes for its own. Inside: the \
             classifier learnt from all sources. Left out: heads that learnt from all other sources. A source of one class has no AUC.\n",
            facts::FACTS.join(", ")
        );
        out + &self.growth()
    }

    /// The table of [`Self::by_patients`].
    fn growth(&self) -> String {
        let Some(first) = self.by_patients.first() else { return String::new() };
        let names: Vec<&str> = first.sources.keys().map(String::as_str).collect();
        let mut out = format!(
            "\nWhat more patients are worth: AUC of the linear classifier of the features (always the same penalty) that learnt from so many groups \
             of known patients, of all sources together. Mean over {DRAWS} draws of patients and folds, {FOLDS} folds each, and standard deviation \
             among the draws: how much these patients matter, not how far the AUC is from that of others.\n\n"
        );
        let inside = names.iter().map(|name| format!("inside {name}"));
        let head: Vec<String> = ["groups learnt from".to_owned(), "all".to_owned()].into_iter().chain(inside).collect();
        out += &markdown::head(&head);
        let told = |spread: Option<Spread>| {
            spread.map_or_else(|| "–".to_owned(), |spread| format!("{:.3} ± {:.3}", spread.mean, spread.deviation))
        };
        for learnt in &self.by_patients {
            let inside = names.iter().map(|&name| told(learnt.sources.get(name).copied().flatten()));
            out += &markdown::row([format!("{:.0}", learnt.groups), told(learnt.auc)].into_iter().chain(inside));
        }
        out
    }

    /// Everything, for other programs, and for the card of a bundle.
    ///
    /// # Errors
    /// None that are known of.
    pub fn to_json(&self) -> anyhow::Result<Vec<u8>> {
        let mut text = serde_json::to_vec_pretty(self)?;
        text.push(b'\n');
        Ok(text)
    }
}
