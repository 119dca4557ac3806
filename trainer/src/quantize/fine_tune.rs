//! Fine-tuning for integers: a graph learns on training pictures and changed copies of them to say in integers what it says in real
//! numbers.
//!
//! No label and no mask is asked: the teacher is the graph itself ([`Student`]). The loop, its checkpoints and logs are
//! [`training`](thorax_nn::training)'s. The validation pictures choose the epoch, by how well it says on them what the teacher says.

use std::{collections::BTreeSet, path::Path};

use candle_core::{Device, Tensor, Var};
use rand::{Rng, rngs::StdRng};
use thorax_nn::{
    checkpoint::Checkpoint,
    device::Precision,
    graph::{Graph, NodeId},
    quantize::{Calibrated, Student},
    training::{BEST, Dataset, FitRun, Objective, Outcome, Step, TaskError, TrainingConfig, fit},
};

use super::inputs::Inputs;
use crate::{changes::Copies, files::start_run};

/// Validation pictures of a step.
const AT_ONCE: usize = 8;

/// How a run goes; kept in its folder, so that it is not gone on with otherwise.
#[derive(Clone, Debug, serde::Serialize)]
pub struct FineTuneConfig {
    /// The bundle's hash.
    pub bundle_sha256: String,
    /// Hash of the manifest.
    pub manifest_sha256: String,
    /// How the graph is quantized.
    pub quantization: String,
    /// Names of the layers that stay in floating point.
    pub kept: Vec<String>,
    /// Pictures to calibrate by, and how many of training and validation are learnt from and chosen by, at most.
    pub pictures: [usize; 3],
    /// Changed copies of each training picture.
    pub copies: Copies,
    /// Passes over the training pictures.
    pub epochs: usize,
    /// Pictures a step.
    pub batch: usize,
    /// Highest learning rate of the schedule.
    pub learning_rate: f64,
    /// Of everything random.
    pub seed: u64,
    /// Optimizer, schedule and the like.
    pub training: TrainingConfig,
}

/// What it is done with and on.
pub struct FineTuning<'a> {
    /// How.
    pub config: &'a FineTuneConfig,
    /// The run's folder.
    pub folder: &'a Path,
    /// Where it computes.
    pub devices: &'a [Device],
    /// Threads that load samples ahead.
    pub loaders: usize,
}

/// What the integers are fine-tuned from and by.
pub struct Material<'a> {
    /// The calibrated graph.
    pub calibrated: Calibrated,
    /// Its layers that stay in floating point.
    pub kept: &'a BTreeSet<NodeId>,
    /// What it was calibrated by.
    pub calibration: &'a [Vec<f32>],
    /// Training pictures and their copies.
    pub training: Inputs,
    /// Validation pictures.
    pub validation: Inputs,
}

/// Trains to the end, or goes on with what the run's folder has; the graph as it is then, and what is to be told of it.
///
/// # Errors
/// A folder of another run, losses that are not finite, files that cannot be written.
pub fn fine_tune(material: Material<'_>, how: &FineTuning<'_>) -> anyhow::Result<(Calibrated, String)> {
    let Material { calibrated, kept, calibration, training, validation } = material;
    let _lock = start_run(how.folder, "--fine-tune", how.config)?;
    let shape = calibrated.graph().input_shape;
    let names: Vec<String> = calibrated.graph().outputs.iter().map(|(name, _)| name.clone()).collect();
    let teacher = calibrated.graph().clone();
    let task = Task {
        scores: std::iter::once("agreement").chain(names.iter().map(String::as_str)).collect(),
        validation: batches(&validation, &teacher)?,
        training: Pictures { inputs: training, teacher, shape },
        calibrated: &calibrated,
        kept,
        variances: calibrated.variances(calibration)?,
    };
    let student = || calibrated.student(kept, &task.variances, &Device::Cpu);
    let before = student()?.agreement(&task.validation)?;
    eprintln!("agreement with the teacher before: {:.4}", mean(&before));
    let config = how.config;
    let Outcome { best, epochs } = fit(
        &task,
        &FitRun {
            folder: how.folder,
            devices: how.devices,
            loaders: how.loaders,
            epochs: config.epochs,
            stop_after: None,
            batch: config.batch,
            learning_rate: config.learning_rate,
            seed: config.seed,
            config: &config.training,
        },
    )?;
    let student = student()?;
    Checkpoint::load(&how.folder.join(BEST), &Device::Cpu)?.restore(&student.variables())?;
    let after = student.agreement(&task.validation)?;
    let mut told = format!(
        "Fine-tuned for integers on {} training pictures with {} changed copies each, {epochs} epochs (the best is {}), learning rate {}.\n\n\
         Agreement with the teacher on {} validation pictures (1 less the squared error in units of the variance):\n\n\
         | output | before | after |\n|---|---|---|\n",
        task.training.inputs.len(),
        config.copies.count,
        best.epoch + 1,
        config.learning_rate,
        validation.len(),
    );
    for ((name, before), after) in names.iter().zip(&before).zip(&after) {
        told += &format!("| {name} | {before:.4} | {after:.4} |\n");
    }
    Ok((calibrated.tuned(&student)?, told + "\n"))
}

fn mean(values: &[f64]) -> f64 {
    values.iter().sum::<f64>() / values.len().max(1) as f64
}

/// Validation pictures, and what the teacher says of them.
fn batches(inputs: &Inputs, teacher: &Graph) -> anyhow::Result<Vec<(Tensor, Vec<Tensor>)>> {
    let [c, h, w] = teacher.input_shape;
    let pictures: Vec<usize> = (0..inputs.len()).collect();
    let batch = |chosen: &[usize]| -> anyhow::Result<_> {
        let values: Vec<f32> = chosen.iter().flat_map(|&picture| inputs.get(picture, 0)).collect();
        let x = Tensor::from_vec(values, (chosen.len(), c, h, w), &Device::Cpu)?;
        let said = teacher.run(&x)?;
        Ok((x, said))
    };
    anyhow::ensure!(!pictures.is_empty(), "the validation split has no pictures to choose the epoch by");
    pictures.chunks(AT_ONCE).map(batch).collect()
}

/// The training pictures.
struct Pictures {
    inputs: Inputs,
    teacher: Graph,
    shape: [usize; 3],
}

/// What [`fit`] is to learn.
struct Task<'a> {
    training: Pictures,
    validation: Vec<(Tensor, Vec<Tensor>)>,
    scores: Vec<&'a str>,
    calibrated: &'a Calibrated,
    kept: &'a BTreeSet<NodeId>,
    variances: Vec<f64>,
}

impl Dataset for Pictures {
    type Sample = Vec<f32>;

    fn len(&self) -> usize {
        self.inputs.len()
    }

    fn name(&self, index: usize) -> String {
        self.inputs.name(index).to_owned()
    }

    fn load(&self, index: usize, random: &mut StdRng) -> Result<Vec<f32>, TaskError> {
        Ok(self.inputs.get(index, random.random_range(0..self.inputs.variants(index))))
    }

    /// Pictures, and what the teacher says of them.
    fn collate(&self, samples: Vec<Vec<f32>>) -> Result<Vec<Tensor>, TaskError> {
        let [c, h, w] = self.shape;
        let x = Tensor::from_vec(samples.concat(), (samples.len(), c, h, w), &Device::Cpu)?;
        let said = self.teacher.run(&x)?;
        Ok(std::iter::once(x).chain(said).collect())
    }
}

impl Objective for Task<'_> {
    type Data = Pictures;
    type Net = Student;

    fn data(&self) -> &Pictures {
        &self.training
    }

    fn init(&self, device: &Device) -> Result<Student, TaskError> {
        Ok(self.calibrated.student(self.kept, &self.variances, device)?)
    }

    fn trainable(&self, net: &Student) -> Vec<(String, Var)> {
        net.variables()
    }

    fn variables(&self, net: &Student) -> Vec<(String, Var)> {
        net.variables()
    }

    fn loss(&self, net: &Student, batch: &[Tensor], _: &Step) -> Result<Tensor, TaskError> {
        let [x, said @ ..] = batch else { return Err("a batch is pictures, and what the teacher says of them".into()) };
        Ok(net.loss(&net.forward(x)?, said)?)
    }

    fn scores(&self) -> &[&str] {
        &self.scores
    }

    fn validate(&self, net: &Student, _: Precision) -> Result<Vec<f64>, TaskError> {
        let each = net.agreement(&self.validation)?;
        Ok(std::iter::once(mean(&each)).chain(each).collect())
    }
}
