//! The folder of the runs: what was asked for, which pictures, which draws, and what every run said of every picture.
//!
//! A run's predictions are a file of their own, written when the run ends, so work that was killed goes on at the next run; and
//! whoever wants other figures later reads them here and fits nothing again.

mod not_run;
mod read;

use std::{
    collections::BTreeMap,
    path::{Path, PathBuf},
};

pub use not_run::{NotRun, note_not_run, read_not_run};
pub use read::{ClassifierRuns, PredictedRow, RunFolder, RunFolderError, probabilities, read_run, resamples};
use safetensors::{Dtype, SafeTensors, tensor::TensorView};
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};
use thorax_files::{hexadecimal, write_atomically};
use thorax_shared::modality::Modality;

use super::{
    ClassifierError, Kind,
    parameters::Parameters,
    problem::{Problem, Resample, Runs},
};
use crate::{
    features::{self, Extractor},
    files::differences,
};

/// The version of the folder. Until version 1 predictions were f32, whose means split ties.
pub const FORMAT: u32 = 2;

/// All that decides what the runs say.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct RunConfiguration {
    /// The version of the folder, [`FORMAT`].
    pub format: u32,
    /// The features.
    pub store: StoreIdentity,
    /// The runs.
    pub protocol: Protocol,
    /// The classifiers.
    pub parameters: Parameters,
}

/// Which features were learnt from.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct StoreIdentity {
    /// Kind of picture.
    pub modality: Modality,
    /// The net.
    pub backbone: Extractor,
    /// Where its weights came from, in words.
    pub weights: String,
    /// SHA-256 of the weights.
    pub weights_sha256: String,
    /// Type of the stored numbers.
    pub dtype: features::Dtype,
    /// `[C, H, W]` of a picture's features.
    pub shape: [usize; 3],
    /// Pictures of the store, those included that failed the quality check.
    pub pictures: usize,
    /// SHA-256 of what the store says of itself: pictures, labels, splits, recipe.
    pub contents_sha256: String,
}

/// How often and on what is fitted.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Protocol {
    /// How runs differ.
    pub resample: Resample,
    /// How many there are of each classifier, those in `fewer` aside.
    pub runs: usize,
    /// How many were asked for of classifiers of which a run takes long.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub fewer: BTreeMap<Kind, usize>,
    /// Of all draws.
    pub seed: u64,
    /// The source that is the test split, if one is.
    pub left_out: Option<String>,
}

impl Protocol {
    /// How many runs there are of `kind`.
    pub fn runs_of(&self, kind: Kind) -> usize {
        runs_of(&self.fewer, kind, self.runs)
    }
}

/// How many runs there are of `kind`: `runs`, or fewer where that was asked for.
fn runs_of(fewer: &BTreeMap<Kind, usize>, kind: Kind, runs: usize) -> usize {
    fewer.get(&kind).map_or(runs, |&few| few.clamp(1, runs.max(1)))
}

impl StoreIdentity {
    /// Of the features of `problem`.
    pub fn of(problem: &Problem) -> Self {
        let contents = &problem.contents;
        Self {
            modality: contents.modality,
            backbone: contents.backbone,
            weights: contents.weights.clone(),
            weights_sha256: contents.weights_sha256.clone(),
            dtype: contents.dtype,
            shape: problem.shape,
            pictures: contents.rows.len(),
            contents_sha256: hexadecimal(&Sha256::digest(serde_json::to_vec(contents).unwrap_or_default())),
        }
    }
}

impl RunConfiguration {
    /// Reads that of the runs in `folder`, and changes nothing there.
    ///
    /// # Errors
    /// When it is no run folder, or one of another version.
    pub fn read(folder: &Path) -> Result<Self, RunFolderError> {
        /// Read first, since what else the file has depends on it.
        #[derive(Deserialize)]
        struct Version {
            format: u32,
        }
        let path = folder.join("configuration.json");
        let bytes = read::read(&path)?;
        let Version { format } = serde_json::from_slice(&bytes).map_err(|error| read::malformed(&path, error))?;
        if format != FORMAT {
            return Err(read::malformed(
                &path,
                format!(
                    "it has format {format}, and this program reads {FORMAT}; run thorax-train classify again into a new folder"
                ),
            ));
        }
        serde_json::from_slice(&bytes).map_err(|error| read::malformed(&path, error))
    }
}

/// An opened folder.
#[derive(Clone, Debug)]
pub struct Folder {
    path: PathBuf,
    /// Pictures.
    len: usize,
    /// What every file of predictions has to name.
    key: String,
}

impl Folder {
    /// Begins in `path`, or goes on there.
    ///
    /// # Errors
    /// [`ClassifierError::Differs`] when it holds runs of another configuration, other than fewer of them, or another number of those of
    /// which there are fewer.
    pub fn open(path: &Path, configuration: &RunConfiguration) -> Result<Self, ClassifierError> {
        let file = path.join("configuration.json");
        let asked = serde_json::to_value(configuration).map_err(|error| malformed(&file, error))?;
        match std::fs::read(&file) {
            Err(reason) if reason.kind() == std::io::ErrorKind::NotFound => {}
            Err(reason) => return Err(ClassifierError::Read { path: file, reason }),
            Ok(bytes) => {
                let found: serde_json::Value =
                    serde_json::from_slice(&bytes).map_err(|error| malformed(&file, error))?;
                let mut differ = differences("", &identity(&found), &identity(&asked));
                let [there, here] = [&found, &asked].map(|configuration| &configuration["protocol"]["runs"]);
                if there.as_u64() >= here.as_u64() {
                    differ.extend(differences("protocol.runs", there, here));
                }
                if !differ.is_empty() {
                    let differences = differ.join("; ");
                    return Err(ClassifierError::Differs { folder: path.to_owned(), differences });
                }
            }
        }
        std::fs::create_dir_all(path.join("predictions"))
            .map_err(|reason| ClassifierError::Read { path: path.to_owned(), reason })?;
        let text = serde_json::to_string_pretty(configuration).map_err(|error| malformed(&file, error))?;
        write_atomically(&file, |out| out.write_all(text.as_bytes()))?;
        let key = hexadecimal(&Sha256::digest(identity(&asked).to_string()));
        Ok(Self { path: path.to_owned(), len: 0, key })
    }

    /// Writes `rows.csv`, `resamples.csv` and, where the split differs from run to run, `roles.csv`.
    ///
    /// # Errors
    /// Files that cannot be written.
    pub fn describe(&mut self, problem: &Problem, runs: &Runs) -> Result<(), ClassifierError> {
        self.len = problem.len();
        let mut rows = csv::Writer::from_writer(vec![]);
        let mut write = |fields: [&str; 7]| rows.write_record(fields);
        let path = self.path.join("rows.csv");
        write(["row", "path", "group", "source", "split", "positive", "fold"]).map_err(|e| malformed(&path, e))?;
        for (index, picture) in problem.pictures.iter().enumerate() {
            let (row, fold) = (problem.rows[index].to_string(), problem.folds[index].to_string());
            let positive = problem.labels[index].to_string();
            write([&row, &picture.path, &picture.group, &picture.source, picture.split.as_str(), &positive, &fold])
                .map_err(|e| malformed(&path, e))?;
        }
        let rows = rows.into_inner().map_err(|e| malformed(&path, e))?;
        write_atomically(&path, |out| out.write_all(&rows))?;
        let number = |run: usize, index: usize| runs.runs[run].counts[index].to_string();
        self.table("resamples.csv", runs.runs.len(), number)?;
        if let Some(roles) = &runs.roles {
            self.table("roles.csv", roles.len(), |run, index| roles[run][index].as_str().to_owned())?;
        }
        Ok(())
    }

    /// A column a run, a line a picture.
    fn table(&self, name: &str, runs: usize, cell: impl Fn(usize, usize) -> String) -> Result<(), ClassifierError> {
        let path = self.path.join(name);
        let mut table = csv::Writer::from_writer(vec![]);
        table.write_record((0..runs).map(|run| format!("run{run}"))).map_err(|e| malformed(&path, e))?;
        for index in 0..self.len {
            table.write_record((0..runs).map(|run| cell(run, index))).map_err(|e| malformed(&path, e))?;
        }
        let table = table.into_inner().map_err(|e| malformed(&path, e))?;
        Ok(write_atomically(&path, |out| out.write_all(&table))?)
    }

    /// The file of a run's predictions.
    pub fn predictions(&self, kind: Kind, run: usize) -> PathBuf {
        predictions(&self.path, kind, run)
    }

    /// Whether a run has ended and its file is whole.
    pub fn has(&self, kind: Kind, run: usize) -> bool {
        let whole = |bytes: Vec<u8>| {
            let (_, header) = SafeTensors::read_metadata(&bytes).ok()?;
            let same = header.metadata().as_ref()?.get("key")? == &self.key;
            same.then(|| probabilities(&bytes, self.len).ok()).flatten()
        };
        std::fs::read(self.predictions(kind, run)).ok().and_then(whole).is_some()
    }

    /// Keeps what a run said of every picture: its probability, and whether it calls it positive, where that is not whether its
    /// probability is at least one half.
    ///
    /// # Errors
    /// A file that cannot be written.
    pub fn keep(
        &self,
        kind: Kind,
        run: usize,
        probabilities: &[f64],
        answers: Option<&[bool]>,
    ) -> Result<(), ClassifierError> {
        let path = self.predictions(kind, run);
        if let Some(folder) = path.parent() {
            std::fs::create_dir_all(folder).map_err(|reason| ClassifierError::Read { path: path.clone(), reason })?;
        }
        let answers: Option<Vec<u8>> = answers.map(|answers| answers.iter().map(|&answer| answer.into()).collect());
        let file = predictions_file(&self.key, probabilities, answers.as_deref()).map_err(|e| malformed(&path, e))?;
        Ok(write_atomically(&path, |out| out.write_all(&file))?)
    }
}

/// A configuration without how many runs there are: more than before are the same runs, and some more.
fn identity(configuration: &serde_json::Value) -> serde_json::Value {
    let mut identity = configuration.clone();
    if let Some(protocol) = identity["protocol"].as_object_mut() {
        protocol.insert("runs".into(), serde_json::Value::Null);
        protocol.remove("fewer");
    }
    identity
}

fn predictions_file(
    key: &str,
    probabilities: &[f64],
    answers: Option<&[u8]>,
) -> Result<Vec<u8>, safetensors::SafeTensorError> {
    let len = probabilities.len();
    let mut tensors =
        vec![("probability", TensorView::new(Dtype::F64, vec![len], bytemuck::cast_slice(probabilities))?)];
    if let Some(answers) = answers {
        tensors.push(("answer", TensorView::new(Dtype::U8, vec![len], answers)?));
    }
    safetensors::serialize(tensors, Some([("key".to_owned(), key.to_owned())].into()))
}

/// The file of a run's predictions in the run folder `folder`.
pub fn predictions(folder: &Path, kind: Kind, run: usize) -> PathBuf {
    folder.join("predictions").join(kind.name()).join(format!("{run:04}.safetensors"))
}

fn malformed(path: &Path, error: impl std::fmt::Display) -> ClassifierError {
    ClassifierError::Malformed { path: path.to_owned(), reason: error.to_string() }
}
