#![allow(clippy::unwrap_used, clippy::panic)]

use std::{
    collections::BTreeMap,
    sync::{
        Mutex,
        atomic::{AtomicUsize, Ordering},
    },
};

use rand::Rng;

use super::*;
use crate::{checkpoint::Checkpoint, optimizer::SgdConfig, seeded};

/// Vectors of four numbers, one of which may be poisoned, and a function of them.
pub(super) struct Vectors {
    count: usize,
    /// A sample whose numbers are `NaN`.
    poisoned: Option<usize>,
    /// A sample that cannot be read.
    unreadable: Option<usize>,
}

/// A net of two layers that learns that function.
pub(super) struct Regression {
    data: Vectors,
    /// The net draws noise at each step, as dropout does.
    noise: f64,
    /// The loss has no finite gradient.
    steep: bool,
    /// Calls of the loss after which it fails, as a run does that is killed.
    fails_after: usize,
    /// The epoch of each call.
    calls: Mutex<Vec<usize>>,
    /// What the validation says, instead of the error, one an epoch.
    said: Vec<f64>,
    validations: AtomicUsize,
}

impl Default for Regression {
    fn default() -> Self {
        Self {
            data: Vectors { count: 23, poisoned: None, unreadable: None },
            noise: 0.0,
            steep: false,
            fails_after: usize::MAX,
            calls: Mutex::default(),
            said: vec![],
            validations: AtomicUsize::new(0),
        }
    }
}

impl Dataset for Vectors {
    type Sample = [f32; 5];

    fn len(&self) -> usize {
        self.count
    }

    fn name(&self, index: usize) -> String {
        format!("vector_{index}")
    }

    fn load(&self, index: usize, random: &mut StdRng) -> Result<[f32; 5], TaskError> {
        if self.unreadable == Some(index) {
            return Err("it is torn".into());
        }
        let x: [f32; 4] =
            std::array::from_fn(|i| ((index * 7 + i * 3) % 11) as f32 / 5.0 - 1.0 + random.random_range(-0.1..0.1));
        let y = if self.poisoned == Some(index) { f32::NAN } else { x[0] * x[1] - x[2] };
        Ok([x[0], x[1], x[2], x[3], y])
    }

    fn collate(&self, samples: Vec<[f32; 5]>) -> Result<Vec<Tensor>, TaskError> {
        let all = Tensor::from_vec(samples.concat(), (samples.len(), 5), &Device::Cpu)?;
        Ok(vec![all.narrow(1, 0, 4)?.contiguous()?, all.narrow(1, 4, 1)?.contiguous()?])
    }
}

impl Objective for Regression {
    type Data = Vectors;
    type Net = Vec<(String, Var)>;

    fn data(&self) -> &Vectors {
        &self.data
    }

    fn init(&self, device: &Device) -> Result<Self::Net, TaskError> {
        let draw = |name: &str, shape: &[usize], seed| -> Result<(String, Var), TaskError> {
            Ok((name.to_owned(), Var::from_tensor(&seeded::normal(shape, 0.5, seed, device)?)?))
        };
        Ok(vec![draw("hidden", &[4, 16], 1)?, draw("bias", &[16], 2)?, draw("out", &[16, 1], 3)?])
    }

    fn trainable(&self, net: &Self::Net) -> Vec<(String, Var)> {
        net.clone()
    }

    fn variables(&self, net: &Self::Net) -> Vec<(String, Var)> {
        net.clone()
    }

    fn loss(&self, net: &Self::Net, batch: &[Tensor], step: &Step) -> Result<Tensor, TaskError> {
        let mut calls = self.calls.lock().unwrap();
        if calls.len() >= self.fails_after {
            return Err("killed".into());
        }
        calls.push(step.epoch);
        drop(calls);
        let noise = (seeded::normal(batch[0].shape(), 1.0, step.seed, batch[0].device())? * self.noise)?;
        let x = (&batch[0] + noise)?;
        let hidden = x.matmul(&net[0].1)?.broadcast_add(&net[1].1)?.relu()?;
        let loss = (hidden.matmul(&net[2].1)? - &batch[1])?.sqr()?.mean_all()?;
        Ok(match self.steep {
            true => (loss + (net[2].1.as_tensor() - net[2].1.as_detached_tensor())?.sqr()?.sum_all()?.sqrt()?)?,
            false => loss,
        })
    }

    fn scores(&self) -> &[&str] {
        &["minus_error"]
    }

    fn validate(&self, net: &Self::Net, _: Precision) -> Result<Vec<f64>, TaskError> {
        let epoch = self.validations.fetch_add(1, Ordering::Relaxed);
        if let Some(said) = self.said.get(epoch) {
            return Ok(vec![*said]);
        }
        let samples = (0..self.data.len()).map(|i| self.data.load(i, &mut seeded::generator(99, 0)));
        let batch = self.data.collate(samples.collect::<Result<_, _>>()?)?;
        let hidden = batch[0].matmul(&net[0].1)?.broadcast_add(&net[1].1)?.relu()?;
        let error = (hidden.matmul(&net[2].1)? - &batch[1])?.sqr()?.mean_all()?;
        Ok(vec![-f64::from(error.to_scalar::<f32>()?)])
    }
}

pub(super) const CONFIG: TrainingConfig = TrainingConfig {
    optimizer: OptimizerConfig::Sgd(SgdConfig { momentum: 0.9, nesterov: true, weight_decay: 1e-4 }),
    schedule: Schedule::Cosine { warm_up: 1.0, lowest: 0.01, restarts: None },
    clip: Some(1.0),
    ema: Some(0.9),
    patience: None,
    keep_last: false,
    precision: Precision::F32,
};

fn plain() -> TrainingConfig {
    TrainingConfig { schedule: Schedule::Constant, ..Default::default() }
}

/// A run of 5 epochs of 5 steps of 4 samples, on `devices` CPUs.
fn train(
    task: &Regression,
    folder: &Path,
    config: &TrainingConfig,
    devices: usize,
    loaders: usize,
) -> Result<Outcome, TrainingError> {
    train_until(task, folder, config, devices, loaders, None)
}

/// The same, stopping after so many epochs.
fn train_until(
    task: &Regression,
    folder: &Path,
    config: &TrainingConfig,
    devices: usize,
    loaders: usize,
    stop_after: Option<usize>,
) -> Result<Outcome, TrainingError> {
    let devices = vec![Device::Cpu; devices];
    let (epochs, batch, learning_rate, seed) = (5, 4, 0.02, 4);
    fit(task, &FitRun { folder, devices: &devices, loaders, epochs, stop_after, batch, learning_rate, seed, config })
}

fn weights(folder: &Path) -> BTreeMap<String, Vec<f32>> {
    let checkpoint = Checkpoint::load(&folder.join(LATEST), &Device::Cpu).unwrap();
    let flat = |tensor: Tensor| tensor.flatten_all().unwrap().to_vec1().unwrap();
    checkpoint.tensors.into_iter().map(|(name, tensor)| (name, flat(tensor))).collect()
}

/// The rows of `epochs.csv` without the speed.
fn rows(folder: &Path) -> Vec<String> {
    let text = std::fs::read_to_string(folder.join("epochs.csv")).unwrap();
    text.lines().map(|line| line.rsplit_once(',').unwrap().0.to_owned()).collect()
}

#[track_caller]
fn same_run(a: &Path, b: &Path) {
    for name in [LATEST, BEST] {
        assert!(std::fs::read(a.join(name)).unwrap() == std::fs::read(b.join(name)).unwrap(), "{name} differs");
    }
    assert_eq!(rows(a), rows(b));
}

#[test]
fn a_run_that_was_stopped_and_goes_on_gives_the_same_bytes() {
    for (config, devices) in [(CONFIG, 1), (plain(), 1), (CONFIG, 2)] {
        let (whole, stopped) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
        let task = || Regression { noise: 0.1, ..Default::default() };
        let outcome = train(&task(), whole.path(), &config, devices, 1).unwrap();
        assert_eq!(outcome.epochs, 5);
        // In the middle of the third epoch.
        let killed = Regression { fails_after: 12 * devices, ..task() };
        let error = train(&killed, stopped.path(), &config, devices, 2).unwrap_err().to_string();
        assert!(error.contains("killed"), "{error}");
        assert_eq!(rows(stopped.path()).len(), 1 + 2);
        let resumed = task();
        assert_eq!(train(&resumed, stopped.path(), &config, devices, 3).unwrap(), outcome);
        let epochs: Vec<usize> = [2, 3, 4].into_iter().flat_map(|epoch| vec![epoch; 5 * devices]).collect();
        assert_eq!(resumed.calls.into_inner().unwrap(), epochs);
        same_run(whole.path(), stopped.path());
        // A finished run is left as it is.
        let before = std::fs::read(whole.path().join(LATEST)).unwrap();
        assert_eq!(train(&killed, whole.path(), &config, devices, 1).unwrap(), outcome);
        assert!(before == std::fs::read(whole.path().join(LATEST)).unwrap());
    }
}

#[test]
fn a_run_that_was_to_stop_goes_on_as_if_it_had_not() {
    for (config, devices) in [(CONFIG, 1), (plain(), 2)] {
        let (whole, stopped) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
        let task = || Regression { noise: 0.1, ..Default::default() };
        let outcome = train(&task(), whole.path(), &config, devices, 1).unwrap();
        // Stopping where it is already does nothing.
        for (stop, done) in [(1, 1), (3, 3), (3, 3), (2, 3)] {
            let stopped = train_until(&task(), stopped.path(), &config, devices, 2, Some(stop)).unwrap();
            assert_eq!(stopped.epochs, done);
        }
        let latest = Checkpoint::load(&stopped.path().join(LATEST), &Device::Cpu).unwrap();
        assert!(!latest.value::<bool>("finished").unwrap());
        assert_eq!(train_until(&task(), stopped.path(), &config, devices, 1, Some(9)).unwrap(), outcome);
        same_run(whole.path(), stopped.path());
    }
}

#[test]
fn it_learns_and_the_number_of_loading_threads_changes_nothing() {
    let (one, three) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let outcome = train(&Regression::default(), one.path(), &CONFIG, 1, 1).unwrap();
    train(&Regression::default(), three.path(), &CONFIG, 1, 3).unwrap();
    same_run(one.path(), three.path());
    let rows = rows(one.path());
    assert_eq!(rows[0], "epoch,loss,minus_error,learning_rate,gradient_norm");
    let losses: Vec<f64> = rows[1..].iter().map(|row| row.split(',').nth(1).unwrap().parse().unwrap()).collect();
    assert!(losses[4] < 0.5 * losses[0], "{losses:?}");
    assert!(outcome.best.score > -losses[0], "{outcome:?}");
}

#[test]
fn two_ranks_step_as_one_with_the_whole_batch() {
    for config in [CONFIG, plain()] {
        let (one, two, again) =
            (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
        train(&Regression::default(), one.path(), &config, 1, 1).unwrap();
        train(&Regression::default(), two.path(), &config, 2, 1).unwrap();
        train(&Regression::default(), again.path(), &config, 2, 2).unwrap();
        same_run(two.path(), again.path());
        let (one, two) = (weights(one.path()), weights(two.path()));
        assert_eq!(one.keys().collect::<Vec<_>>(), two.keys().collect::<Vec<_>>());
        let pairs = || one.iter().flat_map(|(name, values)| values.iter().zip(&two[name]));
        let worst = pairs().map(|(a, b)| (a - b).abs()).fold(0f32, f32::max);
        eprintln!("largest difference after 25 steps: {worst}");
        assert!(worst < 1e-6, "{worst}");
    }
}

#[test]
fn a_loss_or_gradient_that_is_no_number_is_refused_with_its_samples() {
    for devices in [1, 2] {
        let folder = tempfile::tempdir().unwrap();
        let data = Vectors { count: 23, poisoned: Some(17), unreadable: None };
        let error = train(&Regression { data, ..Default::default() }, folder.path(), &CONFIG, devices, 1).unwrap_err();
        let TrainingError::NotFinite { what, samples, .. } = &error else { panic!("{error}") };
        assert_eq!((what.as_str(), samples.len()), ("loss", 4));
        assert!(samples.contains(&"vector_17".to_owned()));
        let told = error.to_string();
        assert!(
            ["NaN", "epoch 1, step", "vector_17", "learning rate"].iter().all(|word| told.contains(word)),
            "{told}"
        );
    }
    let folder = tempfile::tempdir().unwrap();
    let error = train(&Regression { steep: true, ..Default::default() }, folder.path(), &CONFIG, 1, 1).unwrap_err();
    assert!(error.to_string().contains("gradient of out is"), "{error}");
    assert!(!folder.path().join(LATEST).exists());
}

#[test]
fn a_rank_that_fails_takes_the_others_with_it_and_says_why() {
    for devices in [1, 2, 4] {
        let folder = tempfile::tempdir().unwrap();
        let data = Vectors { count: 23, poisoned: None, unreadable: Some(5) };
        let error = train(&Regression { data, ..Default::default() }, folder.path(), &CONFIG, devices, 2).unwrap_err();
        assert_eq!(error.to_string(), "vector_5: it is torn");
    }
}

#[test]
fn a_run_without_progress_ends_early_and_stays_ended() {
    for devices in [1, 2] {
        let folder = tempfile::tempdir().unwrap();
        let config = TrainingConfig { patience: Some(2), ..CONFIG };
        let task = || Regression { said: vec![0.3, 0.5, 0.5, 0.4, 0.9], ..Default::default() };
        let outcome = train(&task(), folder.path(), &config, devices, 1).unwrap();
        assert_eq!(outcome, Outcome { best: Best { score: 0.5, epoch: 1 }, epochs: 4 });
        assert_eq!(rows(folder.path()).len(), 1 + 4);
        assert_eq!(train(&task(), folder.path(), &config, devices, 1).unwrap(), outcome);
        let best = Checkpoint::load(&folder.path().join(BEST), &Device::Cpu).unwrap();
        assert_eq!(best.value::<f64>("best_score").unwrap(), 0.5);
    }
}

#[test]
fn the_averaged_weights_are_kept_where_there_is_an_average() {
    let folder = tempfile::tempdir().unwrap();
    let said = vec![0.1, 0.2, 0.3, 0.4, 0.5];
    train(&Regression { said, ..Default::default() }, folder.path(), &CONFIG, 1, 1).unwrap();
    let best = Checkpoint::load(&folder.path().join(BEST), &Device::Cpu).unwrap();
    let best: Vec<f32> = best.tensor("out").unwrap().flatten_all().unwrap().to_vec1().unwrap();
    let latest = weights(folder.path());
    assert_eq!(best, latest["ema.out"]);
    assert_ne!(best, latest["out"]);
}

#[test]
fn the_last_epoch_is_kept_where_it_is_asked_for() {
    let folder = tempfile::tempdir().unwrap();
    let config = TrainingConfig { keep_last: true, ..CONFIG };
    let task = Regression { said: vec![0.3, 0.9, 0.5, 0.4, 0.2], ..Default::default() };
    let outcome = train(&task, folder.path(), &config, 1, 1).unwrap();
    assert_eq!(outcome.best, Best { score: 0.2, epoch: 4 });
    let best = Checkpoint::load(&folder.path().join(BEST), &Device::Cpu).unwrap();
    let best: Vec<f32> = best.tensor("out").unwrap().flatten_all().unwrap().to_vec1().unwrap();
    assert_eq!(best, weights(folder.path())["ema.out"]);
}

#[test]
fn senseless_runs_are_refused() {
    let folder = tempfile::tempdir().unwrap();
    let refused = |change: &dyn Fn(&mut FitRun<'_>), words: &str| {
        let devices = [Device::Cpu, Device::Cpu];
        let mut run = FitRun {
            folder: folder.path(),
            devices: &devices,
            loaders: 1,
            epochs: 2,
            stop_after: None,
            batch: 4,
            learning_rate: 0.1,
            seed: 1,
            config: &CONFIG,
        };
        change(&mut run);
        let error = fit(&Regression::default(), &run).unwrap_err().to_string();
        assert!(error.contains(words), "{error}");
    };
    refused(&|run| run.batch = 5, "shared by 2 devices");
    refused(&|run| run.batch = 0, "no samples");
    refused(&|run| run.stop_after = Some(0), "at least 1");
    refused(&|run| run.learning_rate = f64::NAN, "learning rate");
    refused(&|run| run.config = &TrainingConfig { precision: Precision::F16, ..CONFIG }, "--precision f16");
    refused(&|run| run.config = &TrainingConfig { ema: Some(1.0), ..CONFIG }, "moving average");
    refused(&|run| run.config = &TrainingConfig { clip: Some(0.0), ..CONFIG }, "norm");
    // A folder of another run.
    train(&Regression::default(), folder.path(), &CONFIG, 1, 1).unwrap();
    refused(&|run| run.seed = 5, "another folder");
}
