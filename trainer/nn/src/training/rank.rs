//! A rank of a run: a replica of the net on its device, stepping together with the others.

use std::time::Instant;

use candle_core::{DType, Device, Tensor, Var};

use super::{
    BEST, Best, Dataset, FitRun, LATEST, LossScale, Objective, Outcome, Step, TrainingError,
    loader::{Loader, Plan, purpose},
    log::{self, Epoch, Log},
};
use crate::{
    checkpoint::Checkpoint,
    device::Precision,
    ema::Ema,
    optimizer::{Optimizer, clip_factor, global_norm},
    parallel::Communicator,
    schedule::Schedule,
    seeded,
};

/// One replica and all that goes with it.
pub(super) struct Rank<'a, T: Objective> {
    task: &'a T,
    run: &'a FitRun<'a>,
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

impl<'a, T: Objective> Rank<'a, T> {
    pub(super) fn new(
        task: &'a T,
        run: &'a FitRun<'a>,
        plan: Plan,
        communicator: Box<dyn Communicator>,
        device: &'a Device,
    ) -> Result<Self, TrainingError> {
        let net = task.init(device).map_err(TrainingError::Task)?;
        let variables = task.variables(&net);
        let mut rank = Self {
            optimizer: Optimizer::new(task.trainable(&net), run.config.optimizer)?
                .with_rates(|name| task.rate(&net, name)),
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
        checkpoint.restore(&self.variables)?;
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

    pub(super) fn train(mut self) -> Result<Outcome, TrainingError> {
        let mut log = match self.is_first() {
            true => Some(Log::open(self.run.folder, self.task.scores(), self.epochs)?),
            false => None,
        };
        let (data, plan, loaders) = (self.task.data(), self.plan, self.run.loaders);
        let epochs = self.epochs..self.run.stop_after.map_or(self.run.epochs, |stop| stop.min(self.run.epochs));
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
        let attempt = self.gradients(epoch, number, loader);
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
    fn gradients(
        &self,
        epoch: usize,
        number: usize,
        loader: &mut Loader,
    ) -> Result<(Tensor, Vec<Tensor>), TrainingError> {
        let batch: Vec<Tensor> =
            loader.next()?.iter().map(|tensor| tensor.to_device(self.device)).collect::<Result<_, _>>()?;
        let seed = seeded::derive(self.run.seed, &[purpose::STEP, number as u64, self.plan.rank as u64]);
        let step = Step { epoch, precision: self.run.config.precision, seed };
        let loss = self.task.loss(&self.net, &batch, &step).map_err(TrainingError::Task)?;
        let store = match self.loss_scale {
            Some(scale) => (&loss * scale.scale)?.backward()?,
            None => loss.backward()?,
        };
        // The ranks exchange one type.
        Ok((loss.detach().to_dtype(DType::F32)?, self.optimizer.gradients(&store)?))
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
        if first > self.best.score || self.run.config.keep_last {
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
        Checkpoint::new(tensors, words.into_iter().map(|(name, word)| (name.to_owned(), word)).collect())
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::{
        super::{
            parallel,
            tests::{CONFIG, Regression},
        },
        *,
    };

    #[test]
    fn a_scaled_loss_that_overflows_moves_nothing_and_the_scale_is_kept() {
        let folder = tempfile::tempdir().unwrap();
        let task = Regression::default();
        let devices = [Device::Cpu];
        let run = FitRun {
            folder: folder.path(),
            devices: &devices,
            loaders: 1,
            epochs: 2,
            stop_after: None,
            batch: 4,
            learning_rate: 0.02,
            seed: 4,
            config: &CONFIG,
        };
        let plan = run.plan(task.data().len()).unwrap();
        let rank = || {
            let communicator = parallel::connect(&devices).unwrap().remove(0);
            let mut rank = Rank::new(&task, &run, plan, communicator, &Device::Cpu).unwrap();
            // f16 does not run on a CPU; in f32 a scale of 2^128 overflows as 2^16 does in f16.
            rank.loss_scale = Some(LossScale { scale: 2f64.powi(128), good_steps: 7 });
            rank
        };
        let mut scaled = rank();
        let all = |rank: &Rank<'_, Regression>| -> Vec<Vec<f32>> {
            let mut tensors = rank.checkpoint().tensors;
            tensors.extend(rank.optimizer.state());
            tensors.extend(rank.ema.iter().flat_map(Ema::state));
            tensors.values().map(|tensor| tensor.flatten_all().unwrap().to_vec1().unwrap()).collect()
        };
        let start = all(&scaled);
        std::thread::scope(|scope| {
            let mut loader = Loader::start(scope, task.data(), plan, 0..2, 1);
            let mut totals = Totals::default();
            scaled.step(0, 0, &mut loader, &mut totals).unwrap();
            assert_eq!(scaled.loss_scale, Some(LossScale { scale: 2f64.powi(127), good_steps: 0 }));
            assert!(start == all(&scaled));
            assert_eq!((totals.moved, scaled.optimizer.steps()), (0, 0));

            scaled.loss_scale = Some(LossScale { scale: 1024.0, good_steps: 7 });
            scaled.step(0, 1, &mut loader, &mut totals).unwrap();
            assert_eq!(scaled.loss_scale, Some(LossScale { scale: 1024.0, good_steps: 8 }));
            assert_eq!((totals.moved, scaled.optimizer.steps()), (1, 1));
        });
        // A step of a scaled loss is that of the loss itself, to the bit, since the scale is a power of 2.
        let mut unscaled = rank();
        unscaled.loss_scale = None;
        std::thread::scope(|scope| {
            let mut loader = Loader::start(scope, task.data(), plan, 0..2, 1);
            loader.next().unwrap();
            unscaled.step(0, 1, &mut loader, &mut Totals::default()).unwrap();
        });
        assert!(all(&unscaled) == all(&scaled));

        scaled.epochs = 1;
        let mut log = Log::open(folder.path(), task.scores(), 0).unwrap();
        scaled.finish_epoch(&mut log, &Totals::default(), 1.0).unwrap();
        let mut resumed = rank();
        resumed.resume().unwrap();
        assert_eq!(resumed.loss_scale, scaled.loss_scale);
    }
}
