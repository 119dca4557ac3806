//! The training loop: a [`Task`] (data, net, loss, validation) in; the weights of the best epoch, a checkpoint and logs out.
//!
//! [`fit`] writes into the run's folder, after every epoch:
//!
//! | file | holds |
//! |---|---|
//! | `latest.safetensors` | all that a killed run needs to go on: weights, optimizer, moving average, counters, loss scale, best score |
//! | `best.safetensors` | the weights of the best score, the averaged ones where there is an average |
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
#[cfg(test)]
mod tests;

use std::{path::Path, time::Instant};

use candle_core::{Device, Tensor, Var};
use rand::rngs::StdRng;
use serde::{Deserialize, Serialize};

pub use arguments::TrainingArgs;
use events::EventFile;
pub use loss_scale::{GROWTH_INTERVAL, LossScale};

use super::{
    checkpoint::{Checkpoint, CheckpointError},
    device::{DeviceError, Precision},
    ema::Ema,
    optimizer::{Optimizer, OptimizerConfig, clip_factor, global_norm},
    parallel::{self, Communicator},
    schedule::Schedule,
    seeded,
};
use crate::files::WriteError;
use loader::{Loader, Plan, purpose};
use log::{Epoch, Log};

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
pub trait Task: Sync {
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
        } else {
            self.optimizer.problem().or(self.schedule.problem())
        };
        problem.map_or(Ok(()), |problem| Err(TrainingError::Configuration(problem.to_owned())))
    }
}

/// A run of [`fit`].
#[derive(Clone, Copy, Debug)]
pub struct Run<'a> {
    /// Where it writes, and goes on from what is there.
    pub folder: &'a Path,
    /// Where it computes: a rank for each.
    pub devices: &'a [Device],
    /// Threads a rank that load samples ahead.
    pub loaders: usize,
    /// Passes over the samples.
    pub epochs: usize,
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
    /// Epochs done, fewer than asked for when the run ended early.
    pub epochs: usize,
}

/// The name of the checkpoint a run goes on from.
pub const LATEST: &str = "latest.safetensors";
/// The name of the best weights.
pub const BEST: &str = "best.safetensors";

/// Trains to the end, or goes on with what the run's folder holds.
///
/// # Errors
/// See [`TrainingError`].
pub fn fit<T: Task>(task: &T, run: &Run<'_>) -> Result<Outcome, TrainingError> {
    let plan = run.plan(task.data().len())?;
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

impl Run<'_> {
    /// Sees that the numbers make sense for `samples` samples.
    fn plan(&self, samples: usize) -> Result<Plan, TrainingError> {
        let ranks = self.devices.len();
        let batch = self.batch.min(samples);
        let problem = if ranks == 0 || self.loaders == 0 || self.epochs == 0 {
            Some("devices, loading threads and epochs must be at least 1".to_owned())
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

/// One replica and all that goes with it.
struct Rank<'a, T: Task> {
    task: &'a T,
    run: &'a Run<'a>,
    plan: Plan,
    communicator: Box<dyn Communicator>,
    device: &'a Device,
    net: T::Net,
    variables: Vec<(String, Var)>,
    optimizer: Optimizer,
    ema: Option<Ema>,
    loss_scale: Option<LossScale>,
    schedule: Schedule,
    /// Epochs done.
    epochs: usize,
    /// The run has ended, by its epochs or its patience.
    finished: bool,
    best: Best,
}

/// Sums over the steps of an epoch.
#[derive(Default)]
struct Totals {
    loss: f64,
    norm: f64,
    /// Steps whose gradients were finite.
    moved: usize,
    learning_rate: f64,
}

impl<'a, T: Task> Rank<'a, T> {
    fn new(
        task: &'a T,
        run: &'a Run<'a>,
        plan: Plan,
        communicator: Box<dyn Communicator>,
        device: &'a Device,
    ) -> Result<Self, TrainingError> {
        let net = task.init(device).map_err(TrainingError::Task)?;
        let variables = task.variables(&net);
        let mut rank = Self {
            optimizer: Optimizer::new(task.trainable(&net), run.config.optimizer)?,
            ema: run.config.ema.map(|decay| Ema::new(variables.clone(), decay)).transpose()?,
            loss_scale: (run.config.precision == Precision::F16).then(LossScale::default),
            schedule: run.config.schedule.scaled(plan.steps() as f64),
            epochs: 0,
            finished: false,
            best: Best { score: f64::NEG_INFINITY, epoch: 0 },
            task,
            run,
            plan,
            communicator,
            device,
            net,
            variables,
        };
        rank.resume()?;
        if rank.plan.ranks > 1 {
            // However each replica came by its weights, they start as one.
            let weights: Vec<Tensor> = rank.variables.iter().map(|(_, var)| var.as_detached_tensor()).collect();
            let first = rank.communicator.broadcast(&weights).map_err(TrainingError::Communicator)?;
            for ((_, var), first) in rank.variables.iter().zip(first) {
                var.set(&first)?;
            }
        }
        Ok(rank)
    }

    fn is_first(&self) -> bool {
        self.plan.rank == 0
    }

    /// Goes on where the folder's checkpoint ends, if there is one.
    fn resume(&mut self) -> Result<(), TrainingError> {
        let path = self.run.folder.join(LATEST);
        if !path.exists() {
            return Ok(());
        }
        let checkpoint = Checkpoint::load(&path, self.device)?;
        for (name, var) in &self.variables {
            var.set(checkpoint.tensor(name)?)?;
        }
        self.optimizer.restore(checkpoint.value("step")?, &checkpoint.tensors)?;
        if let Some(ema) = &mut self.ema {
            ema.restore(checkpoint.value("ema_updates")?, &checkpoint.tensors)?;
        }
        if let Some(scale) = &mut self.loss_scale {
            *scale = LossScale {
                scale: checkpoint.value("loss_scale")?,
                good_steps: checkpoint.value("loss_scale_good_steps")?,
            };
        }
        self.epochs = checkpoint.value::<usize>("epoch")? + 1;
        self.finished = checkpoint.value("finished")?;
        self.best = Best { score: checkpoint.value("best_score")?, epoch: checkpoint.value("best_epoch")? };
        let position = checkpoint.value::<usize>("schedule_step")?;
        if checkpoint.value::<u64>("seed")? != self.run.seed || position != self.epochs * self.plan.steps() {
            return Err(TrainingError::Configuration(format!(
                "{}: a run of another seed, or with other samples in an epoch; choose another folder",
                path.display()
            )));
        }
        if self.is_first() {
            eprintln!("resumed {} after epoch {}", self.run.folder.display(), self.epochs);
        }
        Ok(())
    }

    fn train(mut self) -> Result<Outcome, TrainingError> {
        let mut log = match self.is_first() {
            true => Some(Log::open(self.run.folder, self.task.scores(), self.epochs)?),
            false => None,
        };
        let (data, plan, loaders) = (self.task.data(), self.plan, self.run.loaders);
        let epochs = self.epochs..self.run.epochs;
        if !self.finished {
            std::thread::scope(|scope| {
                let mut loader = Loader::start(scope, data, plan, epochs.clone(), loaders);
                for epoch in epochs {
                    let started = Instant::now();
                    let totals = self.epoch(epoch, &mut loader)?;
                    let seconds = started.elapsed().as_secs_f64();
                    self.epochs = epoch + 1;
                    let ended = log.as_mut().map_or(Ok(()), |log| self.finish_epoch(log, &totals, seconds));
                    self.agree_on_end(ended)?;
                    if self.finished {
                        break;
                    }
                }
                Ok::<_, TrainingError>(())
            })?;
        }
        Ok(Outcome { best: self.best, epochs: self.epochs })
    }

    fn epoch(&mut self, epoch: usize, loader: &mut Loader) -> Result<Totals, TrainingError> {
        let steps = self.plan.steps();
        let bar = log::progress(self.is_first(), steps * self.plan.batch, epoch, self.run.epochs);
        let mut totals = Totals::default();
        for step in 0..steps {
            self.step(epoch, step, loader, &mut totals)?;
            bar.inc(self.plan.batch as u64);
            bar.set_message(format!("loss {:.4}", totals.loss / (step + 1) as f64));
        }
        bar.finish_and_clear();
        Ok(totals)
    }

    fn step(
        &mut self,
        epoch: usize,
        step: usize,
        loader: &mut Loader,
        totals: &mut Totals,
    ) -> Result<(), TrainingError> {
        let number = epoch * self.plan.steps() + step;
        let attempt = self.gradients(number, loader);
        let (loss, gradients) = self.mean(attempt)?;
        let loss = f64::from(loss.to_scalar::<f32>()?);
        // The loss is not scaled, so no scale can make it finite.
        if !loss.is_finite() {
            return Err(self.not_finite("loss".to_owned(), loss, epoch, step));
        }
        totals.loss += loss;
        totals.learning_rate = self.schedule.rate(number, self.run.epochs * self.plan.steps(), self.run.learning_rate);
        let scale = self.loss_scale.map_or(1.0, |scale| scale.scale);
        let norm = global_norm(&gradients)? / scale;
        if norm.is_finite() {
            let factor = clip_factor(norm, self.run.config.clip) / scale;
            self.optimizer.update(&gradients, totals.learning_rate, factor)?;
            if let Some(ema) = &mut self.ema {
                ema.update()?;
            }
            if let Some(scale) = &mut self.loss_scale {
                scale.succeeded();
            }
            totals.norm += norm;
            totals.moved += 1;
            return Ok(());
        }
        if self.loss_scale.as_mut().is_some_and(LossScale::backed_off) {
            return Ok(());
        }
        let mut named = self.optimizer.names().zip(&gradients);
        let broken =
            named.find(|(_, gradient)| !matches!(global_norm(std::slice::from_ref(*gradient)), Ok(n) if n.is_finite()));
        let name = broken.map_or("all variables", |(name, _)| name);
        Err(self.not_finite(format!("gradient of {name}"), norm, epoch, step))
    }

    /// This rank's loss, and the gradients of the loss times its scale.
    fn gradients(&self, number: usize, loader: &mut Loader) -> Result<(Tensor, Vec<Tensor>), TrainingError> {
        let batch: Vec<Tensor> =
            loader.next()?.iter().map(|tensor| tensor.to_device(self.device)).collect::<Result<_, _>>()?;
        let seed = seeded::derive(self.run.seed, &[purpose::STEP, number as u64, self.plan.rank as u64]);
        let step = Step { precision: self.run.config.precision, seed };
        let loss = self.task.loss(&self.net, &batch, &step).map_err(TrainingError::Task)?;
        let store = match self.loss_scale {
            Some(scale) => (&loss * scale.scale)?.backward()?,
            None => loss.backward()?,
        };
        Ok((loss.detach(), self.optimizer.gradients(&store)?))
    }

    /// The mean of what the ranks have found; when one of them has failed, all do, and none waits for it.
    fn mean(
        &self,
        attempt: Result<(Tensor, Vec<Tensor>), TrainingError>,
    ) -> Result<(Tensor, Vec<Tensor>), TrainingError> {
        if self.plan.ranks == 1 {
            return attempt;
        }
        let (failed, found) = match &attempt {
            Ok((loss, gradients)) => (0f32, [std::slice::from_ref(loss), gradients].concat()),
            Err(_) => (1f32, self.optimizer.zeros()?),
        };
        let mut tensors = vec![Tensor::new(failed, self.device)?];
        tensors.extend(found);
        let mut mean = self.communicator.mean(&tensors).map_err(TrainingError::Communicator)?.into_iter();
        attempt?;
        match (mean.next(), mean.next()) {
            (Some(failed), Some(loss)) if failed.to_scalar::<f32>()? == 0.0 => Ok((loss, mean.collect())),
            _ => Err(TrainingError::OtherRank),
        }
    }

    /// All ranks learn from rank 0 whether the run has ended, or failed.
    fn agree_on_end(&mut self, ended: Result<(), TrainingError>) -> Result<(), TrainingError> {
        if self.plan.ranks == 1 {
            return ended;
        }
        let word = match &ended {
            Ok(()) => f32::from(u8::from(self.finished)),
            Err(_) => -1.0,
        };
        let word = Tensor::new(word, self.device)?;
        let told = self.communicator.broadcast(&[word]).map_err(TrainingError::Communicator)?;
        ended?;
        match told.first().map(Tensor::to_scalar::<f32>).transpose()? {
            Some(word) if word >= 0.0 => {
                self.finished = word > 0.0;
                Ok(())
            }
            _ => Err(TrainingError::OtherRank),
        }
    }

    fn not_finite(&self, what: String, value: f64, epoch: usize, step: usize) -> TrainingError {
        let samples = self.plan.of_step(epoch, step).into_iter().map(|index| self.task.data().name(index)).collect();
        TrainingError::NotFinite { what, value, epoch: epoch + 1, step: step + 1, samples }
    }

    /// Validates and writes everything of the epoch that has just been done.
    fn finish_epoch(&mut self, log: &mut Log, totals: &Totals, seconds: f64) -> Result<(), TrainingError> {
        let epoch = self.epochs - 1;
        self.exchange()?;
        let scores = self.task.validate(&self.net, self.run.config.precision).map_err(TrainingError::Task)?;
        for (name, &value) in self.task.scores().iter().zip(&scores) {
            if !value.is_finite() {
                return Err(TrainingError::Score { name: (*name).to_owned(), value, epoch: epoch + 1 });
            }
        }
        let first = scores.first().copied().unwrap_or(f64::NEG_INFINITY);
        if first > self.best.score {
            self.best = Best { score: first, epoch };
            let mut best = self.checkpoint();
            best.metadata.retain(|name, _| ["epoch", "best_score", "best_epoch"].contains(&name.as_str()));
            best.save(&self.run.folder.join(BEST))?;
        }
        self.exchange()?;
        let waited = epoch - self.best.epoch;
        let impatient = self.run.config.patience.is_some_and(|patience| waited >= patience);
        self.finished = impatient || self.epochs == self.run.epochs;
        let steps = self.plan.steps();
        log.add(&Epoch {
            number: epoch,
            loss: totals.loss / steps as f64,
            scores: &scores,
            learning_rate: totals.learning_rate,
            gradient_norm: totals.norm / totals.moved.max(1) as f64,
            samples_per_second: (steps * self.plan.batch) as f64 / seconds,
            loss_scale: self.loss_scale.map(|scale| scale.scale),
        })?;
        if impatient {
            eprintln!("no better {} for {waited} epochs: the run ends here", self.task.scores()[0]);
        }
        let mut latest = self.checkpoint();
        latest.tensors.extend(self.optimizer.state());
        latest.tensors.extend(self.ema.iter().flat_map(Ema::state));
        latest.save(&self.run.folder.join(LATEST))?;
        Ok(())
    }

    /// The net has its averaged weights between two calls.
    fn exchange(&mut self) -> Result<(), TrainingError> {
        Ok(self.ema.as_mut().map_or(Ok(()), Ema::exchange)?)
    }

    /// The net's weights and the run's counters.
    fn checkpoint(&self) -> Checkpoint {
        let tensors = self.variables.iter().map(|(name, var)| (name.clone(), var.as_detached_tensor())).collect();
        let mut words = vec![
            ("epoch", (self.epochs - 1).to_string()),
            ("finished", self.finished.to_string()),
            ("step", self.optimizer.steps().to_string()),
            ("schedule_step", (self.epochs * self.plan.steps()).to_string()),
            ("seed", self.run.seed.to_string()),
            ("best_score", self.best.score.to_string()),
            ("best_epoch", self.best.epoch.to_string()),
        ];
        if let Some(ema) = &self.ema {
            words.push(("ema_updates", ema.updates().to_string()));
        }
        if let Some(LossScale { scale, good_steps }) = self.loss_scale {
            words.push(("loss_scale", scale.to_string()));
            words.push(("loss_scale_good_steps", good_steps.to_string()));
        }
        Checkpoint { tensors, metadata: words.into_iter().map(|(name, word)| (name.to_owned(), word)).collect() }
    }
}
