//! The training loop: an [`Objective`] (data, net, loss, validation) in; the weights of the best epoch, a checkpoint and logs out.
//!
//! [`fit`] writes into the run's folder, after every epoch:
//!
//! | file | holds |
//! |---|---|
//! | `latest.safetensors` | all that a killed run needs to go on: weights, optimizer, moving average, counters, loss scale, best score |
//! | `best.safetensors` | the weights of the best score, or of the last epoch if asked; the averaged ones where there is an average |
//! | `epochs.csv` | a row an epoch: loss, scores, learning rate, mean gradient norm, pictures a second |
//! | `events.out.tfevents` | the same for TensorBoard |
//!
//! No random number outlives its use: the order of an epoch, the loading of a sample and the seed of a step are each drawn
//! from the run's seed and the number of the epoch, sample or step. So the seed and the counters are the whole random state, a
//! resumed run sees what an undisturbed one sees, and the number of loading threads changes nothing. On a CPU the
//! weights of a killed and resumed run equal an undisturbed one's to the bit.
//!
//! With several devices each has a thread, a replica of the net and its share of each batch (see [`parallel`]); rank 0
//! validates and writes. Batch norm normalises each share by itself, and the moving statistics kept are those of rank 0.

mod arguments;
mod events;
mod loader;
mod log;
mod loss_scale;
mod rank;
#[cfg(test)]
mod tests;

pub use arguments::TrainingArgs;
pub use loss_scale::{GROWTH_INTERVAL, LossScale};

use std::path::Path;

use candle_core::{Device, Tensor, Var};
use loader::Plan;
use rand::rngs::StdRng;
use rank::Rank;
use serde::{Deserialize, Serialize};
use thorax_files::WriteError;

use super::{
    checkpoint::{Checkpoint, CheckpointError},
    device::{DeviceError, Precision},
    optimizer::OptimizerConfig,
    parallel::{self, Communicator},
    schedule::Schedule,
};

/// Whatever went wrong in a task's own code.
pub type TaskError = Box<dyn std::error::Error + Send + Sync>;

/// Why a run ended before its end.
#[derive(Debug, thiserror::Error)]
pub enum TrainingError {
    /// Numbers that make no sense together.
    #[error("{0}")]
    Configuration(String),
    /// The devices do not fit.
    #[error(transparent)]
    Device(#[from] DeviceError),
    /// A sample cannot be loaded.
    #[error("{name}: {reason}")]
    Sample {
        /// Its name.
        name: String,
        /// Why.
        reason: TaskError,
    },
    /// A loss or gradient that is no number.
    #[error(
        "the {what} is {value} in epoch {epoch}, step {step}, samples {}; look at these samples, or lower the learning rate",
        samples.join(", ")
    )]
    NotFinite {
        /// `loss`, or `gradient of` a variable.
        what: String,
        /// What it is.
        value: f64,
        /// Counted from 1.
        epoch: usize,
        /// Of the epoch, counted from 1.
        step: usize,
        /// The samples of the batch.
        samples: Vec<String>,
    },
    /// A score that is no number.
    #[error("the validation score {name} is {value} after epoch {epoch}; look at the validation data")]
    Score {
        /// Its name.
        name: String,
        /// What it is.
        value: f64,
        /// Counted from 1.
        epoch: usize,
    },
    /// The task's own code.
    #[error(transparent)]
    Task(TaskError),
    /// A checkpoint.
    #[error(transparent)]
    Checkpoint(#[from] CheckpointError),
    /// A file.
    #[error(transparent)]
    Write(#[from] WriteError),
    /// A device.
    #[error(transparent)]
    Candle(#[from] candle_core::Error),
    /// The ranks cannot reach each other.
    #[error("exchange between the devices: {0}")]
    Communicator(#[source] candle_core::Error),
    /// Another rank has an error to tell.
    #[error("another rank has failed")]
    OtherRank,
}

/// Samples to train on. Several threads load at the same time.
pub trait Dataset: Sync {
    /// A loaded and augmented sample.
    type Sample;

    /// How many there are.
    fn len(&self) -> usize;

    /// Whether there are none.
    fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// What a message calls sample `index`.
    fn name(&self, index: usize) -> String;

    /// Sample `index`, changed by nothing but `random`, which is the same whenever an epoch is run again.
    ///
    /// # Errors
    /// A sample that cannot be read; the run ends with its name.
    fn load(&self, index: usize, random: &mut StdRng) -> Result<Self::Sample, TaskError>;

    /// The tensors of a batch, on the CPU, the samples along their first dimension.
    ///
    /// # Errors
    /// Samples that do not fit each other.
    fn collate(&self, samples: Vec<Self::Sample>) -> Result<Vec<Tensor>, TaskError>;
}

/// What is being learnt.
pub trait Objective: Sync {
    /// The training samples.
    type Data: Dataset;
    /// The net; each rank makes one, and keeps it on its own thread.
    type Net;

    /// The training samples.
    fn data(&self) -> &Self::Data;

    /// The net before its first step, the same for each call; its variables are f32.
    ///
    /// # Errors
    /// When the device refuses the memory.
    fn init(&self, device: &Device) -> Result<Self::Net, TaskError>;

    /// What the optimizer moves, by name.
    fn trainable(&self, net: &Self::Net) -> Vec<(String, Var)>;

    /// The learning rate of the variable `name` of [`Self::trainable`], as a share of the schedule's.
    fn rate(&self, _net: &Self::Net, _name: &str) -> f64 {
        1.0
    }

    /// All that belongs to the net's weights, moving statistics included, by name.
    fn variables(&self, net: &Self::Net) -> Vec<(String, Var)>;

    /// The loss of a batch that [`Dataset::collate`] made, a mean over its samples, as a scalar.
    ///
    /// # Errors
    /// When the device fails.
    fn loss(&self, net: &Self::Net, batch: &[Tensor], step: &Step) -> Result<Tensor, TaskError>;

    /// The names of the validation scores; the first decides which epoch is the best, and more is better.
    fn scores(&self) -> &[&str];

    /// The validation scores, in the order of their names.
    ///
    /// # Errors
    /// When the device fails.
    fn validate(&self, net: &Self::Net, precision: Precision) -> Result<Vec<f64>, TaskError>;
}

/// What a net may want to know of a step.
#[derive(Clone, Copy, Debug)]
pub struct Step {
    /// The epoch, counted from 0.
    pub epoch: usize,
    /// The type in which the net computes.
    pub precision: Precision,
    /// A seed for what is random in the net, such as dropout; no other step and rank has it.
    pub seed: u64,
}

/// How a net is trained, besides the numbers that every run has.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct TrainingConfig {
    /// The optimizer.
    pub optimizer: OptimizerConfig,
    /// The learning rate over the run; counts epochs.
    pub schedule: Schedule,
    /// The largest norm of all gradients together; larger ones are shortened to it.
    pub clip: Option<f64>,
    /// The decay of the weights' moving average, which is then validated and kept.
    pub ema: Option<f64>,
    /// Epochs without a better score after which the run ends.
    pub patience: Option<usize>,
    /// The last epoch counts as the best, whatever its score: where the validation samples say little of what is learnt.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub keep_last: bool,
    /// The type in which the net computes.
    pub precision: Precision,
}

impl TrainingConfig {
    /// Sees that the numbers make sense.
    ///
    /// # Errors
    /// [`TrainingError::Configuration`].
    pub fn check(&self) -> Result<(), TrainingError> {
        let problem = if self.clip.is_some_and(|limit| limit.is_nan() || limit <= 0.0) {
            Some("the largest norm of the gradients must be above 0")
        } else if self.ema.is_some_and(|decay| !(0.0..1.0).contains(&decay)) {
            Some("the decay of the moving average must be at least 0 and below 1")
        } else if self.patience == Some(0) {
            Some("the patience must be at least 1 epoch")
        } else if self.patience.is_some() && self.keep_last {
            Some(
                "patience waits for a better score, which means nothing where the last epoch is kept; give one of them",
            )
        } else {
            self.optimizer.problem().or(self.schedule.problem())
        };
        problem.map_or(Ok(()), |problem| Err(TrainingError::Configuration(problem.to_owned())))
    }
}

/// A run of [`fit`].
#[derive(Clone, Copy, Debug)]
pub struct FitRun<'a> {
    /// Where it writes, and goes on from what is there.
    pub folder: &'a Path,
    /// Where it computes: a rank for each.
    pub devices: &'a [Device],
    /// Threads a rank that load samples ahead.
    pub loaders: usize,
    /// Passes over the samples.
    pub epochs: usize,
    /// Epochs after which it stops for now; the same run without this goes on as if it had not stopped.
    pub stop_after: Option<usize>,
    /// Samples a step, over all ranks; at most all of them.
    pub batch: usize,
    /// The highest learning rate.
    pub learning_rate: f64,
    /// Of everything random.
    pub seed: u64,
    /// The rest.
    pub config: &'a TrainingConfig,
}

/// The best epoch so far.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Best {
    /// Its first score.
    pub score: f64,
    /// Its number, counted from 0.
    pub epoch: usize,
}

/// What a finished run was.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Outcome {
    /// The best epoch.
    pub best: Best,
    /// Epochs done, fewer than asked for when the run ended early or was to stop.
    pub epochs: usize,
}

/// The name of the checkpoint a run goes on from.
pub const LATEST: &str = "latest.safetensors";
/// The name of the best weights.
pub const BEST: &str = "best.safetensors";

/// Whether all epochs of the run in `folder` are done, or it ended early.
///
/// # Errors
/// No checkpoint there, or a damaged one.
pub fn is_finished(folder: &Path) -> Result<bool, CheckpointError> {
    Checkpoint::load_words(&folder.join(LATEST))?.value("finished")
}

/// Trains to the end, or goes on with what the run's folder holds.
///
/// # Errors
/// See [`TrainingError`].
pub fn fit<T: Objective>(task: &T, run: &FitRun<'_>) -> Result<Outcome, TrainingError> {
    let plan = run.plan(task.data().len())?;
    if task.scores().is_empty() {
        return Err(TrainingError::Configuration(
            "a task needs a validation score, by which its best epoch is known".into(),
        ));
    }
    let communicators = parallel::connect(run.devices).map_err(TrainingError::Communicator)?;
    let work = |communicator: Box<dyn Communicator>, device: &Device| {
        let plan = Plan { rank: communicator.rank(), ..plan };
        Rank::new(task, run, plan, communicator, device)?.train()
    };
    let results: Vec<Result<Outcome, TrainingError>> = std::thread::scope(|scope| {
        let mut ranks = communicators.into_iter().zip(run.devices);
        let first = ranks.next();
        let work = &work;
        let others: Vec<_> = ranks.map(|(rank, device)| scope.spawn(move || work(rank, device))).collect();
        let first = first.map(|(rank, device)| work(rank, device));
        let others = others.into_iter().map(|rank| rank.join().unwrap_or(Err(TrainingError::OtherRank)));
        first.into_iter().chain(others).collect()
    });
    // The rank that failed by itself has more to tell than those that it took with it.
    let weight = |result: &Result<Outcome, TrainingError>| match result {
        Ok(_) => 0,
        Err(TrainingError::OtherRank) => 1,
        Err(TrainingError::Communicator(_)) => 2,
        Err(_) => 3,
    };
    results.into_iter().rev().max_by_key(weight).unwrap_or(Err(TrainingError::OtherRank))
}

impl FitRun<'_> {
    /// Sees that the numbers make sense for `samples` samples.
    fn plan(&self, samples: usize) -> Result<Plan, TrainingError> {
        let ranks = self.devices.len();
        let batch = self.batch.min(samples);
        let problem = if ranks == 0 || self.loaders == 0 || self.epochs == 0 || self.stop_after == Some(0) {
            Some("devices, loading threads, epochs and those to stop after must be at least 1".to_owned())
        } else if batch == 0 {
            Some("there are no samples to train on, or none in a batch".to_owned())
        } else if !batch.is_multiple_of(ranks) {
            Some(format!("a batch of {batch} samples cannot be shared by {ranks} devices; choose another batch"))
        } else if !(self.learning_rate.is_finite() && self.learning_rate > 0.0) {
            Some(format!("the learning rate {} must be above 0", self.learning_rate))
        } else {
            None
        };
        if let Some(problem) = problem {
            return Err(TrainingError::Configuration(problem));
        }
        self.config.check()?;
        self.config.precision.check(self.devices)?;
        Ok(Plan { seed: self.seed, samples, batch, rank: 0, ranks })
    }
}
