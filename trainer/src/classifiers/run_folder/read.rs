//! Reading a run folder: its pictures, and every run's probability of each of them.

use std::{
    collections::BTreeMap,
    fs,
    path::{Path, PathBuf},
};

use rayon::prelude::*;
use safetensors::{Dtype, SafeTensors};
use serde::Deserialize;
use thorax_shared::modality::Modality;

use super::{NotRun, RunConfiguration, predictions, read_not_run};
use crate::{
    classifiers::{Kind, Parameters, Resample},
    data::Split,
    features::Extractor,
};

/// Why a run folder could not be read.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum RunFolderError {
    /// A file cannot be read.
    #[error("{path}: {reason}; check the path and the permissions", path = path.display())]
    Read {
        /// The file.
        path: PathBuf,
        /// The system's reason.
        reason: std::io::Error,
    },
    /// A file is not there.
    #[error(
        "{path} is missing: either the folder is none of thorax-train classify, or it was stopped; the same command goes on \
         from there", path = path.display()
    )]
    Unfinished {
        /// The file.
        path: PathBuf,
    },
    /// A file is not what was written.
    #[error(
        "{path}: {reason}; it is damaged, or of another version: delete it, and run thorax-train classify with the same options",
        path = path.display()
    )]
    Malformed {
        /// The file.
        path: PathBuf,
        /// What is wrong.
        reason: String,
    },
    /// Lists that belong together differ in length.
    #[error("{what}: there are {found}, not {expected}; the runs do not belong together")]
    Shape {
        /// Which list.
        what: String,
        /// Its length.
        found: usize,
        /// What it should be.
        expected: usize,
    },
}

/// A run folder.
#[derive(Clone, Debug)]
pub struct RunFolder {
    /// Kind of picture.
    pub modality: Modality,
    /// Whose features.
    pub backbone: Extractor,
    /// Where its weights came from, in words.
    pub weights: String,
    /// How the runs differ.
    pub resample: Resample,
    /// Runs of each classifier, those in `fewer` aside.
    pub runs: usize,
    /// Runs of classifiers that have fewer.
    pub fewer: BTreeMap<Kind, usize>,
    /// Seed of them.
    pub seed: u64,
    /// Their hyper-parameters.
    pub parameters: Parameters,
    /// Classifiers that were to run and could not.
    pub not_run: BTreeMap<Kind, NotRun>,
    /// The source that no run learnt from.
    pub left_out: Option<String>,
    /// `[N]`: the pictures.
    pub rows: Vec<PredictedRow>,
    /// The classifiers, in the order of [`Kind::ALL`].
    pub classifiers: Vec<ClassifierRuns>,
    /// `[runs][N]`: what each picture was in each run, where every run has a split of its own.
    pub roles: Option<Vec<Vec<Split>>>,
}

/// A picture that was predicted.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
pub struct PredictedRow {
    /// Path in the manifest.
    pub path: String,
    /// What must stay on one side of a split: a patient, or patients that overlap.
    pub group: String,
    /// The collection it comes from.
    pub source: String,
    /// Its split in the manifest.
    pub split: Split,
    /// Whether it shows the disease.
    #[serde(deserialize_with = "yes_or_no")]
    pub positive: bool,
}

/// All that one classifier said.
#[derive(Clone, Debug)]
pub struct ClassifierRuns {
    /// Which.
    pub kind: Kind,
    /// `[runs][N]`: probabilities of the disease.
    pub runs: Vec<Vec<f64>>,
    /// `[runs][N]`: whether each run calls a picture positive, where that is not whether its probability is at least one half.
    pub answers: Option<Vec<Vec<bool>>>,
}

/// `true`, `false`, `1` or `0`.
fn yes_or_no<'de, D: serde::Deserializer<'de>>(from: D) -> Result<bool, D::Error> {
    match String::deserialize(from)?.as_str() {
        "true" | "1" => Ok(true),
        "false" | "0" => Ok(false),
        other => Err(serde::de::Error::custom(format!("positive is {other:?}, neither true nor false"))),
    }
}

impl RunFolder {
    /// What a row was in a run: learnt from, chosen on or judged; `None` where it was not used.
    ///
    /// A left-out source is judged whole, since nothing was learnt from any of it, and then nothing else is.
    pub fn role(&self, run: usize, row: usize) -> Option<Split> {
        if let Some(roles) = &self.roles {
            return Some(roles[run][row]);
        }
        let PredictedRow { source, split, .. } = &self.rows[row];
        match &self.left_out {
            Some(left_out) if left_out == source => Some(Split::Test),
            Some(_) => Some(*split).filter(|split| *split != Split::Test),
            None => Some(*split),
        }
    }

    /// The same with fewer pictures.
    pub fn retain(&self, keep: impl Fn(&PredictedRow) -> bool) -> Self {
        let kept: Vec<bool> = self.rows.iter().map(keep).collect();
        fn chosen<T: Clone>(of: &[T], kept: &[bool]) -> Vec<T> {
            of.iter().zip(kept).filter(|(_, kept)| **kept).map(|(value, _)| value.clone()).collect()
        }
        let classifiers = self.classifiers.iter().map(|ClassifierRuns { kind, runs, answers }| ClassifierRuns {
            kind: *kind,
            runs: runs.iter().map(|run| chosen(run, &kept)).collect(),
            answers: answers.as_ref().map(|runs| runs.iter().map(|run| chosen(run, &kept)).collect()),
        });
        Self {
            fewer: self.fewer.clone(),
            parameters: self.parameters.clone(),
            not_run: self.not_run.clone(),
            weights: self.weights.clone(),
            left_out: self.left_out.clone(),
            rows: chosen(&self.rows, &kept),
            classifiers: classifiers.collect(),
            roles: self.roles.as_ref().map(|roles| roles.iter().map(|run| chosen(run, &kept)).collect()),
            ..*self
        }
    }

    /// Refuses lists that do not belong together, so that indices can be trusted.
    ///
    /// # Errors
    /// The first list that does.
    pub fn check(&self) -> Result<(), RunFolderError> {
        let differing = |what: String, found, expected| Err(RunFolderError::Shape { what, found, expected });
        if self.runs == 0 || self.classifiers.is_empty() {
            return differing("classifiers that ran".into(), 0, 1);
        }
        let rows = self.rows.len();
        for ClassifierRuns { kind, runs, answers } in &self.classifiers {
            let expected = super::runs_of(&self.fewer, *kind, self.runs);
            let wrong =
                |answers: &&Vec<Vec<bool>>| answers.len() != expected || answers.iter().any(|run| run.len() != rows);
            if let Some(answers) = answers.as_ref().filter(wrong) {
                return differing(format!("answers of {kind}"), answers.concat().len(), expected * rows);
            }
            if runs.len() != expected {
                return differing(format!("runs of {kind}"), runs.len(), expected);
            }
            if let Some((number, run)) = runs.iter().enumerate().find(|(_, run)| run.len() != rows) {
                return differing(format!("probabilities of {kind}, run {number}"), run.len(), rows);
            }
        }
        if let Some(roles) = &self.roles {
            if roles.len() != self.runs {
                return differing("runs with roles".into(), roles.len(), self.runs);
            }
            if let Some((number, run)) = roles.iter().enumerate().find(|(_, run)| run.len() != rows) {
                return differing(format!("roles of run {number}"), run.len(), rows);
            }
        }
        Ok(())
    }
}

/// Reads a run folder.
///
/// # Errors
/// When it is none, a file of it is missing or damaged, or a run is missing.
pub fn read_run(folder: &Path) -> Result<RunFolder, RunFolderError> {
    let RunConfiguration { store, protocol, parameters, .. } = RunConfiguration::read(folder)?;
    let not_run = read_not_run(folder)?;
    let rows = read_rows(&folder.join("rows.csv"))?;
    let roles = match protocol.resample {
        Resample::Bootstrap => None,
        Resample::Split => Some(read_table(&folder.join("roles.csv"), protocol.runs, rows.len())?),
    };
    let mut classifiers = Vec::new();
    for kind in Kind::ALL {
        // One that could not run to its end has no row, whatever it left.
        if !not_run.contains_key(&kind) && predictions(folder, kind, 0).parent().is_some_and(Path::is_dir) {
            classifiers.push(read_classifier(folder, kind, protocol.runs_of(kind), rows.len())?);
        }
    }
    if classifiers.is_empty() || protocol.runs == 0 {
        return Err(RunFolderError::Unfinished { path: folder.join("predictions") });
    }
    Ok(RunFolder {
        modality: store.modality,
        backbone: store.backbone,
        weights: store.weights,
        resample: protocol.resample,
        runs: protocol.runs,
        fewer: protocol.fewer,
        seed: protocol.seed,
        parameters,
        not_run,
        left_out: protocol.left_out,
        rows,
        classifiers,
        roles,
    })
}

/// All runs of a classifier.
fn read_classifier(folder: &Path, kind: Kind, runs: usize, rows: usize) -> Result<ClassifierRuns, RunFolderError> {
    let said = (0..runs).into_par_iter().map(|run| {
        let path = predictions(folder, kind, run);
        let bytes = read(&path)?;
        let said = probabilities(&bytes, rows).and_then(|said| Ok((said, answers(&bytes, rows)?)));
        said.map_err(|reason| malformed(&path, reason))
    });
    let (runs, answers): (Vec<_>, Vec<_>) = said.collect::<Result<Vec<_>, _>>()?.into_iter().unzip();
    // The runs of a classifier are all of one kind: what their file has to name says so.
    Ok(ClassifierRuns { kind, runs, answers: answers.into_iter().collect() })
}

pub(super) fn malformed(path: &Path, reason: impl ToString) -> RunFolderError {
    RunFolderError::Malformed { path: path.to_owned(), reason: reason.to_string() }
}

/// A file's bytes; that it is not there means that the run is not finished.
pub(super) fn read(path: &Path) -> Result<Vec<u8>, RunFolderError> {
    fs::read(path).map_err(|reason| match reason.kind() {
        std::io::ErrorKind::NotFound => RunFolderError::Unfinished { path: path.to_owned() },
        _ => RunFolderError::Read { path: path.to_owned(), reason },
    })
}

fn read_rows(path: &Path) -> Result<Vec<PredictedRow>, RunFolderError> {
    let text = read(path)?;
    let rows: Result<Vec<PredictedRow>, _> = csv::Reader::from_reader(text.as_slice()).deserialize().collect();
    let rows = rows.map_err(|error| malformed(path, error))?;
    if rows.is_empty() { Err(malformed(path, "it has no picture")) } else { Ok(rows) }
}

/// `[runs][N]`: how often each picture of a run folder was learnt from in each run.
///
/// # Errors
/// When the folder has no such table, or one of other runs or pictures.
pub fn resamples(folder: &Path, runs: usize, rows: usize) -> Result<Vec<Vec<u32>>, RunFolderError> {
    read_table(&folder.join("resamples.csv"), runs, rows)
}

/// `[runs][N]` of a table with a column a run and a line a picture.
fn read_table<T: serde::de::DeserializeOwned + Clone>(
    path: &Path,
    runs: usize,
    rows: usize,
) -> Result<Vec<Vec<T>>, RunFolderError> {
    let text = read(path)?;
    let mut columns = vec![Vec::with_capacity(rows); runs];
    for line in csv::Reader::from_reader(text.as_slice()).deserialize() {
        let line: Vec<T> = line.map_err(|error| malformed(path, error))?;
        if line.len() != runs {
            return Err(malformed(path, format!("a line has {} values, and there are {runs} runs", line.len())));
        }
        columns.iter_mut().zip(line).for_each(|(run, value)| run.push(value));
    }
    match columns.first().map_or(0, Vec::len) {
        found if found == rows => Ok(columns),
        found => Err(malformed(path, format!("it has {found} lines, and there are {rows} pictures"))),
    }
}

/// What is in a file of predictions of `len` pictures.
///
/// # Errors
/// Why it is none, in words.
pub fn probabilities(bytes: &[u8], len: usize) -> Result<Vec<f64>, String> {
    let tensors = SafeTensors::deserialize(bytes).map_err(|error| error.to_string())?;
    let tensor = tensors.tensor("probability").map_err(|error| error.to_string())?;
    if tensor.dtype() != Dtype::F64 || tensor.shape() != [len] {
        return Err(format!("probability is {:?} {:?}, and not F64 [{len}]", tensor.dtype(), tensor.shape()));
    }
    let probabilities: Vec<f64> = bytemuck::pod_collect_to_vec(tensor.data());
    match probabilities.iter().position(|p| !(0.0..=1.0).contains(p)) {
        Some(row) => Err(format!("the probability of row {row} is {}", probabilities[row])),
        None => Ok(probabilities),
    }
}

/// Whether a run calls each of `len` pictures positive; `None` where its file has its probabilities alone.
fn answers(bytes: &[u8], len: usize) -> Result<Option<Vec<bool>>, String> {
    let tensors = SafeTensors::deserialize(bytes).map_err(|error| error.to_string())?;
    let Ok(tensor) = tensors.tensor("answer") else { return Ok(None) };
    if tensor.dtype() != Dtype::U8 || tensor.shape() != [len] {
        return Err(format!("answer is {:?} {:?}, and not U8 [{len}]", tensor.dtype(), tensor.shape()));
    }
    Ok(Some(tensor.data().iter().map(|&answer| answer != 0).collect()))
}
