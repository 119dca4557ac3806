//! Training a backbone: pictures and what is to be said of them in, a file of weights out.
//!
//! The loop, its checkpoints and logs are [`training`](thorax_nn::training)'s; here are the loss and the scores.

use std::path::Path;

use candle_core::{DType, Device, Tensor, Var};
use thorax_nets::{
    BackboneWeights,
    network::{Network, Pass},
};
use thorax_nn::{
    checkpoint::Checkpoint,
    device::Precision,
    elementwise::binary_cross_entropy,
    training::{BEST, FitRun, Objective, Outcome, Step, TaskError, fit, is_finished},
};
use thorax_shared::{
    metrics,
    uncertainty::{Ensemble, sigmoid},
};

use super::{
    lesions,
    net::{LESION_MAP, LOGITS},
    pictures::{Pictures, Preparation, Targets},
    run::BackboneConfig,
};
use crate::{
    data::Record,
    heads::{self, auc_inside},
    ranks::spearman,
};

/// Validation pictures of a step.
const AT_ONCE: usize = 8;

/// Teachers are not taken for surer of a class than this, or less sure of the other, where logits are compared.
const SURELY: f64 = 1e-3;

/// Validation pictures as they are, and changed once.
const VALIDATION_COPIES: [u16; 2] = [0, 1];

/// What a backbone learns from, and is chosen by.
pub struct Material<'a> {
    /// The weights that it starts from.
    pub start: &'a BackboneWeights,
    /// How pictures are prepared.
    pub preparation: Preparation<'a>,
    /// Those of the training split, and what is to be said of each.
    pub training: (Vec<&'a Record>, Targets),
    /// The same of the validation split; of those that count nothing, which are the last, only the lesions are scored.
    pub validation: (Vec<&'a Record>, Targets),
    /// What the file of weights is to hold beside the net's own, by name.
    pub beside: Vec<(String, Tensor)>,
}

/// How the run is carried out.
pub struct Conduct<'a> {
    /// The run's folder, which holds this very configuration.
    pub folder: &'a Path,
    /// Where it computes.
    pub devices: &'a [Device],
    /// Threads that load pictures ahead.
    pub loaders: usize,
    /// Epochs after which it stops for now.
    pub stop_after: Option<usize>,
}

/// Trains to the end, or goes on with what the folder has; whether it is finished and its weights are written.
///
/// # Errors
/// Unreadable pictures, losses that are not finite, files that cannot be written.
pub fn train(material: Material<'_>, config: &BackboneConfig, conduct: &Conduct<'_>) -> anyhow::Result<bool> {
    let Material { start, preparation, training: (records, targets), validation, beside } = material;
    let views = if config.steadiness > 0.0 { 2 } else { 1 };
    let first = if config.teachers.is_empty() { "auc_inside" } else { "agreement" };
    let others = [(config.doubt.is_some(), "doubt"), (config.lesions.is_some(), "lesions_auc")];
    let others = others.into_iter().filter_map(|(is_scored, name)| is_scored.then_some(name));
    let scores = [first, "auc", "kept"].into_iter().chain(others).collect();
    let task = Task {
        training: Pictures::new(preparation, records, targets, config.balance, views),
        validation: Validation::new(preparation, validation.0, validation.1)?,
        scores,
        start,
        config,
    };
    let Outcome { best, .. } = fit(
        &task,
        &FitRun {
            folder: conduct.folder,
            devices: conduct.devices,
            loaders: conduct.loaders,
            epochs: config.epochs,
            stop_after: conduct.stop_after,
            batch: config.batch,
            learning_rate: config.peak_learning_rate,
            seed: config.seed,
            config: &config.training,
        },
    )?;
    eprintln!("best validation {}: {:.4}, epoch {}", task.scores[0], best.score, best.epoch + 1);
    let finished = is_finished(conduct.folder)?;
    if finished {
        let Checkpoint { mut tensors, .. } = Checkpoint::load(&conduct.folder.join(BEST), &Device::Cpu)?;
        tensors.extend(beside);
        config.write(tensors, conduct.folder)?;
    }
    Ok(finished)
}

/// The validation pictures, prepared once, and what is to be said of them.
struct Validation<'a> {
    records: Vec<&'a Record>,
    targets: Targets,
    /// Inputs of some pictures, each batch of one of [`VALIDATION_COPIES`].
    batches: Vec<Tensor>,
    /// Where the lesions lie in each of them, as [`View::lesions`](super::pictures::View::lesions).
    lesions: Vec<Option<Vec<f32>>>,
}

/// What a net says of the validation pictures.
struct Told {
    /// A probability a member of each picture that is asked for, `[copies][pictures * members]`.
    probabilities: Vec<Vec<f32>>,
    /// The logits of the cells, and the shares of these that lesions cover, of each picture of which that is known.
    cells: Vec<[Vec<f32>; 2]>,
}

impl<'a> Validation<'a> {
    fn new(preparation: Preparation<'_>, records: Vec<&'a Record>, targets: Targets) -> anyhow::Result<Self> {
        let of_copy = |&copy: &u16| {
            let pictures: Vec<_> = records.iter().map(|&record| (record, copy)).collect();
            pictures.chunks(AT_ONCE).map(|some| preparation.batch(some)).collect::<anyhow::Result<Vec<_>>>()
        };
        let batches = VALIDATION_COPIES.iter().map(of_copy).collect::<anyhow::Result<Vec<_>>>()?.concat();
        let (batches, lesions): (_, Vec<_>) = batches.into_iter().unzip();
        Ok(Self { records, targets, batches, lesions: lesions.concat() })
    }

    /// What `net` says of every copy of every picture.
    fn told(&self, net: &Network, precision: Precision) -> Result<Told, TaskError> {
        let (mut probabilities, mut cells) = (vec![], vec![]);
        let mut lesions = self.lesions.iter();
        for batch in &self.batches {
            let x = batch.to_device(net.device())?.to_dtype(precision.dtype())?;
            let Outputs { logits, lesion_map } = outputs(net, &x, Pass::Infer)?;
            let logits = logits.flatten_all()?.to_vec1::<f32>()?;
            probabilities.extend(logits.into_iter().map(|logit| sigmoid(logit, 1.0)));
            let Some(map) = lesion_map else { continue };
            for (told, truth) in map.flatten_from(1)?.to_vec2::<f32>()?.into_iter().zip(&mut lesions) {
                cells.extend(truth.as_ref().map(|truth| [told, truth.clone()]));
            }
        }
        let asked = self.targets.asked() * self.targets.members;
        let of_copy = |copy: &[f32]| copy[..asked].to_vec();
        Ok(Told { probabilities: probabilities.chunks(self.targets.probabilities.len()).map(of_copy).collect(), cells })
    }

    /// How well members say what they are to say: 1 less their mean squared error in units of the variance.
    fn agreement(&self, told: &[Vec<f32>]) -> f64 {
        let truth = &self.targets.probabilities[..self.targets.asked() * self.targets.members];
        let mean = truth.iter().map(|&p| f64::from(p)).sum::<f64>() / truth.len() as f64;
        let squares = |other: &dyn Fn(usize) -> f64| {
            truth.iter().enumerate().map(|(at, &p)| (f64::from(p) - other(at)).powi(2)).sum::<f64>()
                / truth.len() as f64
        };
        let error = told.iter().map(|copy| squares(&|at| f64::from(copy[at]))).sum::<f64>() / told.len() as f64;
        1.0 - error / squares(&|_| mean).max(1e-12)
    }
}

/// What [`fit`] is to learn.
struct Task<'a> {
    training: Pictures<'a>,
    validation: Validation<'a>,
    scores: Vec<&'static str>,
    start: &'a BackboneWeights,
    config: &'a BackboneConfig,
}

/// The learning rate of the layer of the variable `name`, where the first trained layer has `first`, and the heads, with what is behind them, 1.
pub(super) fn rate_of_layer(first: f64, net: &Network, name: &str) -> f64 {
    let layer = |name: &str| name.rsplit_once('.').map_or_else(|| name.to_owned(), |(layer, _)| layer.to_owned());
    let mut layers: Vec<String> = net.trainable().iter().map(|(name, _)| layer(name)).collect();
    layers.dedup();
    let position = |wanted: &str| layers.iter().position(|other| other == wanted);
    let last = position(heads::LAYER).unwrap_or(layers.len().saturating_sub(1));
    let at = position(&layer(name)).unwrap_or(last).min(last);
    first.powf((last - at) as f64 / last.max(1) as f64)
}

/// The logits of probabilities, none of which is taken for surer than [`SURELY`].
pub(super) fn log_odds(probabilities: &Tensor) -> candle_core::Result<Tensor> {
    let p = probabilities.clamp(SURELY, 1.0 - SURELY)?;
    p.log()? - p.affine(-1.0, 1.0)?.log()?
}

/// How far the logits of members `[N, members, 1, 1]` lie from their mean: what they disagree in.
pub(super) fn from_their_mean(logits: &Tensor) -> candle_core::Result<Tensor> {
    logits.broadcast_sub(&logits.mean_keepdim(1)?)
}

/// Spearman's correlation of what the members disagree in (mutual information), between what is told and what is to be told,
/// `[pictures * members]`.
pub(super) fn doubt(told: &[f32], wanted: &[f32], members: usize) -> f64 {
    let information = |probabilities: &[f32]| -> Vec<f32> {
        let of = |members: &[f32]| Ensemble::from_probabilities(members).map_or(0.0, |of| of.mutual_information_bits);
        probabilities.chunks(members).map(of).collect()
    };
    spearman(&information(told), &information(wanted)).unwrap_or_default()
}

/// What the net gives.
struct Outputs {
    /// A logit a member, `[N, members, 1, 1]`.
    logits: Tensor,
    /// A logit a cell, `[N, 1, g, g]`, where lesions are learnt.
    lesion_map: Option<Tensor>,
}

fn outputs(net: &Network, x: &Tensor, pass: Pass) -> Result<Outputs, TaskError> {
    let mut given = net.forward(x, pass)?;
    let mut take = |name: &str| -> candle_core::Result<Option<Tensor>> {
        given.remove(name).and_then(|mut maps| maps.pop()).map(|map| map.to_dtype(DType::F32)).transpose()
    };
    Ok(Outputs { logits: take(LOGITS)?.ok_or("the net gives no logits")?, lesion_map: take(LESION_MAP)? })
}

impl<'a> Objective for Task<'a> {
    type Data = Pictures<'a>;
    type Net = Network;

    fn data(&self) -> &Pictures<'a> {
        &self.training
    }

    fn init(&self, device: &Device) -> Result<Network, TaskError> {
        Ok(self.config.shape.network(self.start, self.config.lesions.is_some(), device)?)
    }

    fn trainable(&self, net: &Network) -> Vec<(String, Var)> {
        net.trainable()
    }

    fn rate(&self, net: &Network, name: &str) -> f64 {
        self.config.first_layer_rate.map_or(1.0, |first| rate_of_layer(first, net, name))
    }

    fn variables(&self, net: &Network) -> Vec<(String, Var)> {
        net.variables()
    }

    /// The mean cross entropy over views and members, how far the views' logits lie apart, how far the members' logits lie from their mean
    /// otherwise than the teachers', and the cross entropy of the cells.
    fn loss(&self, net: &Network, batch: &[Tensor], step: &Step) -> Result<Tensor, TaskError> {
        let [x, probabilities, weights, of_lesions @ ..] = batch else {
            return Err("a batch is pictures, what is to be said of them, and how much that counts".into());
        };
        let x = x.to_dtype(step.precision.dtype())?;
        let Outputs { logits, lesion_map } = outputs(net, &x, Pass::Train { seed: step.seed })?;
        let views = logits.chunk(logits.dim(0)? / probabilities.dim(0)?, 0)?;
        let mut loss = Tensor::zeros((), DType::F32, logits.device())?;
        for view in &views {
            let each = (binary_cross_entropy(view, probabilities)? * weights)?.mean_all()?;
            loss = (loss + (each / views.len() as f64)?)?;
        }
        if let [first, second] = &views[..] {
            let apart = (first - second)?.sqr()?.mean_all()?;
            loss = (loss + (apart * self.config.steadiness)?)?;
        }
        if let Some(factor) = self.config.doubt {
            let wanted = from_their_mean(&log_odds(probabilities)?)?;
            for view in &views {
                let apart = (from_their_mean(view)? - &wanted)?.sqr()?.mean_all()?;
                loss = (loss + (apart * (factor / views.len() as f64))?)?;
            }
        }
        if let Some(task) = &self.config.lesions {
            let (Some(map), [shares, weights]) = (&lesion_map, of_lesions) else {
                return Err("a batch or a net without lesions, where they are to be learnt".into());
            };
            loss = (loss + (lesions::loss(map, shares, weights)? * task.factor)?)?;
        }
        Ok(loss)
    }

    fn scores(&self) -> &[&str] {
        &self.scores
    }

    /// The AUC inside sources or the agreement with the teachers, the AUC, the share of pictures that are told the same class when
    /// they are changed; where it is learnt, how alike the members disagree (of the pictures as they are), and the AUC of cells with a lesion.
    fn validate(&self, net: &Network, precision: Precision) -> Result<Vec<f64>, TaskError> {
        let Validation { records, targets, .. } = &self.validation;
        let records = &records[..targets.asked()];
        let Told { probabilities: told, cells } = self.validation.told(net, precision)?;
        let mean = |members: &[f32]| members.iter().sum::<f32>() / members.len() as f32;
        let means: Vec<Vec<f32>> = told.iter().map(|copy| copy.chunks(targets.members).map(mean).collect()).collect();
        let labels: Vec<bool> = records.iter().map(|record| record.is_positive()).collect();
        let sources: Vec<&str> = records.iter().map(|record| record.source.as_str()).collect();
        let over_copies =
            |score: &dyn Fn(&[f32]) -> f64| means.iter().map(|copy| score(copy)).sum::<f64>() / means.len() as f64;
        let first = match self.config.teachers.is_empty() {
            true => over_copies(&|copy| auc_inside(copy, &labels, &sources)),
            false => self.validation.agreement(&told),
        };
        let auc = over_copies(&|copy| metrics::roc_auc(copy, &labels).unwrap_or(0.5));
        let same = means[0].iter().zip(&means[1]).filter(|(a, b)| (**a > 0.5) == (**b > 0.5)).count();
        let mut scores = vec![first, auc, same as f64 / labels.len() as f64];
        if self.config.doubt.is_some() {
            let wanted = &targets.probabilities[..targets.asked() * targets.members];
            scores.push(doubt(&told[0], wanted, targets.members));
        }
        if self.config.lesions.is_some() {
            scores.push(lesions::cells_auc(&cells));
        }
        Ok(scores)
    }
}
