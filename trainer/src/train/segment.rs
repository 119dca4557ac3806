//! Training a segmentation net: pictures and masks in, the checkpoint of the best validation Dice out.
//!
//! The loop, its checkpoints and its logs are [`training`](thorax_nn::training)'s; here are the pictures, how they are
//! varied, the loss and the score.

use std::path::Path;

use anyhow::Context;
use candle_core::{DType, Device, Tensor, Var};
use rand::{Rng, rngs::StdRng};
use sha2::{Digest, Sha256};
use thorax_files::{file_sha256, hexadecimal, write_atomically};
use thorax_nets::{
    segmentation::{Net, NetConfig, Pass},
    source::Source,
};
use thorax_nn::{
    checkpoint::Checkpoint,
    device::Precision,
    distance_transform::{DistanceError, signed_distance},
    graph::Graph,
    losses::LossConfig,
    training::{BEST, Dataset, LATEST, Outcome, Run, Step, Task, TaskError, TrainingConfig, fit},
};
use thorax_shared::{label::Modality, metrics::Confusion, preprocess::spec::PreprocessSpec};

use super::{
    augmentation::{Augmentation, AugmentationConfig},
    picture::SegmentationSample,
};
use crate::data::{Manifest, Split};

/// The masks a net gives, in the order of its channels; left and right are the patient's.
pub const MASKS: [&str; 3] = ["infection", "left_lung", "right_lung"];
/// Place of the infection in [`MASKS`].
pub const INFECTION: usize = 0;
/// Place of the patient's left lung, which is on the right of the picture.
pub const LEFT_LUNG: usize = 1;
/// Place of the patient's right lung.
pub const RIGHT_LUNG: usize = 2;

/// How a run goes.
#[derive(Clone, Debug, PartialEq, serde::Serialize, serde::Deserialize)]
pub struct SegmentConfig {
    /// Whose pictures.
    pub modality: Modality,
    /// The net.
    pub net: NetConfig,
    /// Where the frozen encoder's weights are from, and their hash; `None` for nets without one.
    pub encoder: Option<[String; 2]>,
    /// Passes over the training pictures.
    pub epochs: usize,
    /// Pictures a step.
    pub batch: usize,
    /// Highest learning rate of the schedule.
    pub peak_learning_rate: f64,
    /// Of weights, of the order of pictures, and of their augmentation.
    pub seed: u64,
    /// How a picture becomes the net's input.
    pub preprocess: PreprocessSpec,
    /// Hash of the manifest, so that a run is not resumed on other data.
    pub manifest_sha256: String,
    /// Pictures of class `normal` that are drawn for each epoch from those of the training split, as pictures without infection
    /// whose lungs are not marked; those of the validation split are all added there. 0 for none.
    pub healthy: usize,
    /// Hash of the manifest's pictures of class `normal`; `None` where none are drawn.
    pub healthy_sha256: Option<String>,
    /// Hash of the weights the run starts from; `None` for drawn ones.
    pub start_sha256: Option<String>,
    /// What is made small.
    pub loss: LossConfig,
    /// How pictures are varied.
    pub augmentation: AugmentationConfig,
    /// Optimizer, schedule and the like.
    pub training: TrainingConfig,
}

impl SegmentConfig {
    /// What runs share that differ in their seed alone. The weights a run started from are its own, so only whether it had some counts.
    pub fn without_seed(&self) -> Self {
        Self { seed: 0, start_sha256: self.start_sha256.as_ref().map(|_| String::new()), ..self.clone() }
    }

    /// Whether the run learnt from this very manifest: its pictures with masks, and those of class `normal` where it drew some.
    /// (The weights that it may have started from are not asked.)
    ///
    /// # Errors
    /// A mask that cannot be read.
    pub fn learnt_from(&self, manifest: &Manifest) -> anyhow::Result<bool> {
        let healthy =
            self.healthy_sha256.is_some().then(|| super::healthy_fingerprint(manifest, self.modality)).transpose()?;
        Ok(healthy == self.healthy_sha256
            && self.manifest_sha256 == super::fingerprint(manifest, self.modality, crate::data::Task::Segment)?)
    }
}

#[cfg(test)]
impl SegmentConfig {
    /// A short run on small slices.
    pub(crate) fn example(net: NetConfig, seed: u64) -> Self {
        use thorax_shared::preprocess::spec::Normalise;
        Self {
            modality: Modality::Ct,
            net,
            encoder: None,
            epochs: 3,
            batch: 4,
            peak_learning_rate: 2e-3,
            seed,
            preprocess: super::preprocess_spec(Modality::Ct, 64, Normalise { mean: vec![0.5], std: vec![0.25] }),
            manifest_sha256: "00".into(),
            healthy: 0,
            healthy_sha256: None,
            start_sha256: None,
            loss: LossConfig::default(),
            augmentation: AugmentationConfig::of(Modality::Ct),
            training: TrainingConfig::default(),
        }
    }
}

/// What a finished run is known by.
pub struct SegmentRun {
    /// The best weights.
    pub net: Net,
    /// How it was trained.
    pub config: SegmentConfig,
    /// Validation Dice of the infection (pooled) of the best epoch.
    pub best_dice: f64,
    /// The epoch, counted from 0.
    pub best_epoch: usize,
    /// What was chosen with its weights.
    pub threshold: Threshold,
}

/// From which probability on a pixel is infected. A net is sure of the patients it learnt from, and less so of others, whose
/// infection it would leave out at 0.5; so, like the epoch, the threshold is chosen on the validation split.
#[derive(Clone, Copy, Debug, PartialEq, serde::Serialize, serde::Deserialize)]
pub struct Threshold {
    /// The probability.
    pub probability: f32,
    /// Validation Dice of the infection (pooled) there.
    pub dice: f64,
    /// The same at 0.5.
    pub dice_at_half: f64,
}

/// The file in a run's folder that has its [`Threshold`]; it is written last, and a run without it is not done.
pub(crate) const THRESHOLD: &str = "threshold.json";

/// Thresholds are chosen in steps of a twentieth: less would follow the noise of a few patients.
const THRESHOLD_STEPS: usize = 20;

/// Weights to begin with.
#[derive(Clone, Copy, Debug, Default)]
pub struct Beginning<'a> {
    /// All of the net's, such as another run's `best.safetensors`.
    pub start: Option<&'a Path>,
    /// The frozen encoder's.
    pub encoder: Option<&'a Source>,
}

/// Trains to the end, or goes on with what `folder`, which holds this very configuration, has; stops for now after
/// `stop_after` epochs, if a number is given.
///
/// # Errors
/// Unreadable pictures, losses that are not finite, files that cannot be written.
pub fn train(
    manifest: &Manifest,
    config: &SegmentConfig,
    beginning: Beginning<'_>,
    folder: &Path,
    devices: &[Device],
    loaders: usize,
    stop_after: Option<usize>,
) -> anyhow::Result<()> {
    let load = |split| {
        let samples = SegmentationSample::load_split(manifest, config.modality, split, &config.preprocess)?;
        anyhow::ensure!(
            !samples.is_empty(),
            "the manifest has no {} pictures with masks in the {} split",
            config.modality,
            split.as_str()
        );
        Ok(samples)
    };
    let samples = load(Split::Train)?;
    let mut validation = load(Split::Val)?;
    let healthy = |split| match config.healthy {
        0 => Ok(vec![]),
        _ => SegmentationSample::load_healthy(manifest, config.modality, split, &config.preprocess),
    };
    validation.extend(healthy(Split::Val)?);

    let task = Segmentation {
        training: Pictures { samples, healthy: healthy(Split::Train)?, config },
        validation,
        config,
        beginning,
    };
    let run = Run {
        folder,
        devices,
        loaders,
        epochs: config.epochs,
        stop_after,
        batch: config.batch,
        learning_rate: config.peak_learning_rate,
        seed: config.seed,
        config: &config.training,
    };
    let Outcome { best, .. } = fit(&task, &run)?;
    eprintln!("best validation Dice of the infection: {:.4}, epoch {}", best.score, best.epoch + 1);
    let path = folder.join(THRESHOLD);
    if path.exists() || !is_finished(folder)? {
        return Ok(());
    }
    let device = devices.first().unwrap_or(&Device::Cpu);
    let (net, _) = best_net(folder, config, device)?;
    let chosen = choose_threshold(&infection_counts(&net, &task.validation)?);
    let text = serde_json::to_string_pretty(&chosen)?;
    write_atomically(&path, |out| out.write_all(text.as_bytes()))?;
    let Threshold { probability, dice, dice_at_half } = chosen;
    eprintln!(
        "a pixel is infected from a probability of {probability} on: validation Dice {dice:.4} ({dice_at_half:.4} at 0.5)"
    );
    Ok(())
}

/// Whether all epochs of a run are done, or it ended early.
fn is_finished(folder: &Path) -> anyhow::Result<bool> {
    Ok(Checkpoint::load_words(&folder.join(LATEST))?.value("finished")?)
}

/// SHA-256 of all that a finished run's masks depend on: its best weights and the threshold.
///
/// # Errors
/// A folder without them.
pub fn sha256(folder: &Path) -> anyhow::Result<String> {
    let files = [BEST, THRESHOLD].map(|name| file_sha256(&folder.join(name)));
    let hashes: Vec<[u8; 32]> = files.into_iter().collect::<Result<_, _>>()?;
    Ok(hexadecimal(&Sha256::digest(hashes.concat())))
}

/// The net with its best weights, and the checkpoint they are from.
fn best_net(folder: &Path, config: &SegmentConfig, device: &Device) -> anyhow::Result<(Net, Checkpoint)> {
    let best = Checkpoint::load(&folder.join(BEST), device)?;
    let net = config.net.init(config.seed, device)?;
    best.restore(&net.variables())?;
    Ok((net, best))
}

/// The training pictures.
struct Pictures<'a> {
    samples: Vec<SegmentationSample>,
    /// Those without infection, of which an epoch draws as many as the configuration says.
    healthy: Vec<SegmentationSample>,
    config: &'a SegmentConfig,
}

/// What [`fit`] is to learn.
struct Segmentation<'a> {
    training: Pictures<'a>,
    validation: Vec<SegmentationSample>,
    config: &'a SegmentConfig,
    beginning: Beginning<'a>,
}

impl Dataset for Pictures<'_> {
    type Sample = Values;

    fn len(&self) -> usize {
        self.samples.len() + self.config.healthy
    }

    fn name(&self, index: usize) -> String {
        self.samples.get(index).map_or_else(|| "a picture of class normal".to_owned(), |sample| sample.name.clone())
    }

    fn load(&self, index: usize, random: &mut StdRng) -> Result<Values, TaskError> {
        let sample = match self.samples.get(index) {
            Some(sample) => sample,
            None => &self.healthy[random.random_range(0..self.healthy.len())],
        };
        let mut values = Augmentation::draw(&self.config.augmentation, random).apply(sample);
        if self.config.loss.boundary.is_some() {
            values.measure()?;
        }
        Ok(values)
    }

    fn collate(&self, samples: Vec<Values>) -> Result<Vec<Tensor>, TaskError> {
        Ok(collate(samples)?)
    }
}

impl<'a> Task for Segmentation<'a> {
    type Data = Pictures<'a>;
    type Net = Net;

    fn data(&self) -> &Pictures<'a> {
        &self.training
    }

    fn init(&self, device: &Device) -> Result<Net, TaskError> {
        let net = self.config.net.init(self.config.seed, device)?;
        if let (Some(source), NetConfig::EfficientNet(config)) = (self.beginning.encoder, self.config.net) {
            net.set_encoder(source.weights(config.backbone, device)?.weights())?;
        }
        if let Some(path) = self.beginning.start {
            Checkpoint::load(path, device)?.restore(&net.variables())?;
        }
        Ok(net)
    }

    fn trainable(&self, net: &Net) -> Vec<(String, Var)> {
        net.trainable()
    }

    fn variables(&self, net: &Net) -> Vec<(String, Var)> {
        net.variables()
    }

    /// The mean over the net's heads.
    fn loss(&self, net: &Net, batch: &[Tensor], step: &Step) -> Result<Tensor, TaskError> {
        let [x, truth, known, distance @ ..] = batch else {
            return Err("a batch is pictures, masks, and which masks are known".into());
        };
        let heads = net.forward(&x.to_dtype(step.precision.dtype())?, Pass::Train { seed: step.seed })?;
        let losses = heads
            .iter()
            .map(|logits| {
                self.config.loss.loss(&logits.to_dtype(DType::F32)?, truth, distance.first(), known, step.epoch)
            })
            .collect::<Result<Vec<_>, _>>()?;
        Ok(Tensor::stack(&losses, 0)?.mean_all()?)
    }

    fn scores(&self) -> &[&str] {
        &["dice_infection", "dice_left_lung", "dice_right_lung"]
    }

    /// Pooled Dice.
    fn validate(&self, net: &Net, precision: Precision) -> Result<Vec<f64>, TaskError> {
        let totals = evaluate(net, &self.validation, precision)?;
        Ok(totals.iter().map(|total| total.f1().unwrap_or(0.0)).collect())
    }
}

impl SegmentRun {
    /// The net's graph, with the chosen threshold moved to 0.5.
    ///
    /// # Errors
    /// When the device fails.
    pub fn graph(&self) -> candle_core::Result<Graph> {
        let mut thresholds = [0.5; MASKS.len()];
        thresholds[INFECTION] = self.threshold.probability;
        self.net.to_graph_at(self.config.preprocess.input_side as usize, &thresholds)
    }
}

/// Reads the best weights of a run.
///
/// # Errors
/// A folder without a run, with an unfinished one, or with one whose threshold is missing or damaged.
pub fn load(folder: &Path, device: &Device) -> anyhow::Result<SegmentRun> {
    let path = folder.join("config.json");
    let text = std::fs::read_to_string(&path).with_context(|| {
        format!("{}: no segmentation run; train one with thorax-train train segment", path.display())
    })?;
    let config: SegmentConfig = serde_json::from_str(&text).with_context(|| {
        format!("{}: not the configuration of a segmentation run of this version; train it anew", path.display())
    })?;
    anyhow::ensure!(
        is_finished(folder)?,
        "{}: not all of its {} epochs are done; run the same train command again",
        folder.display(),
        config.epochs
    );
    let path = folder.join(THRESHOLD);
    let text = std::fs::read_to_string(&path).with_context(|| {
        format!(
            "{}: not chosen yet; run the same train command again (a run of an earlier version: train it anew)",
            path.display()
        )
    })?;
    let threshold: Threshold = serde_json::from_str(&text)
        .with_context(|| format!("{}: damaged; delete it, and run the same train command again", path.display()))?;
    anyhow::ensure!(
        threshold.probability > 0.0 && threshold.probability < 1.0,
        "{}: {} is no threshold; delete it, and run the same train command again",
        path.display(),
        threshold.probability
    );
    let (net, best) = best_net(folder, &config, device)?;
    let (best_dice, best_epoch) = (best.value("best_score")?, best.value("best_epoch")?);
    Ok(SegmentRun { net, best_dice, best_epoch, config, threshold })
}

/// Pooled confusion of each mask over all `samples`.
fn evaluate(net: &Net, samples: &[SegmentationSample], precision: Precision) -> candle_core::Result<Vec<Confusion>> {
    let mut totals = vec![Confusion::default(); MASKS.len()];
    for_each_mask(net, samples, precision, |mask, logits, truth| {
        logits.iter().zip(truth).for_each(|(z, t)| totals[mask].count(*z > 0.0, *t > 0.5));
    })?;
    Ok(totals)
}

/// How many pixels of `samples` that are not infected, and that are, have an infection's probability in each of
/// [`THRESHOLD_STEPS`].
fn infection_counts(net: &Net, samples: &[SegmentationSample]) -> candle_core::Result<[[u64; 2]; THRESHOLD_STEPS]> {
    let mut counts = [[0; 2]; THRESHOLD_STEPS];
    for_each_mask(net, samples, Precision::F32, |mask, logits, truth| {
        for (z, t) in logits.iter().zip(truth).filter(|_| mask == INFECTION) {
            let probability = 1.0 / (1.0 + (-z).exp());
            let step = ((probability * THRESHOLD_STEPS as f32) as usize).min(THRESHOLD_STEPS - 1);
            counts[step][usize::from(*t > 0.5)] += 1;
        }
    })?;
    Ok(counts)
}

/// The threshold of the best pooled Dice; of several, the one nearest to 0.5.
fn choose_threshold(counts: &[[u64; 2]; THRESHOLD_STEPS]) -> Threshold {
    let truth: u64 = counts.iter().map(|[_, infected]| infected).sum();
    let dice = |step: usize| {
        let [false_positives, true_positives] =
            counts[step..].iter().fold([0, 0], |sum, count| [sum[0] + count[0], sum[1] + count[1]]);
        let both = false_positives + true_positives + truth;
        if both == 0 { 0.0 } else { 2.0 * true_positives as f64 / both as f64 }
    };
    let half = THRESHOLD_STEPS / 2;
    let mut steps: Vec<usize> = (1..THRESHOLD_STEPS).collect();
    steps.sort_by_key(|step| step.abs_diff(half));
    let best = steps.into_iter().fold(half, |best, step| if dice(step) > dice(best) { step } else { best });
    let probability = best as f32 / THRESHOLD_STEPS as f32;
    Threshold { probability, dice: dice(best), dice_at_half: dice(half) }
}

/// Shows `each` the number of a mask, its logits and its truth, for every mask that is known of every sample.
fn for_each_mask(
    net: &Net,
    samples: &[SegmentationSample],
    precision: Precision,
    mut each: impl FnMut(usize, &[f32], &[f32]),
) -> candle_core::Result<()> {
    for chosen in samples.chunks(8) {
        let batch = collate(chosen.iter().map(Values::of).collect())?;
        let [x, y, known] = batch.as_slice() else { candle_core::bail!("a batch is pictures, masks, known masks") };
        let x = x.to_device(net.device())?.to_dtype(precision.dtype())?;
        let logits = net.infer(&x)?.to_dtype(DType::F32)?.flatten_from(2)?.to_vec3::<f32>()?;
        if let Some(value) = logits.iter().flatten().flatten().find(|z| z.is_nan()) {
            candle_core::bail!("the net gives {value} for a validation picture");
        }
        let truth = y.flatten_from(2)?.to_vec3::<f32>()?;
        let known = known.flatten_from(1)?.to_vec2::<f32>()?;
        for ((logits, truth), known) in logits.iter().zip(&truth).zip(&known) {
            for channel in (0..MASKS.len()).filter(|&channel| known[channel] > 0.0) {
                each(channel, &logits[channel], &truth[channel]);
            }
        }
    }
    Ok(())
}

/// A picture as the net's numbers, and its masks.
pub(super) struct Values {
    pub(super) side: usize,
    /// `[C, S, S]`.
    pub(super) picture: Vec<f32>,
    /// `[M, S, S]` for the M [`MASKS`], 0 or 1; 0 where a mask is not known.
    pub(super) masks: Vec<f32>,
    /// `[M]`, 1 for a known mask.
    pub(super) known: Vec<f32>,
    /// `[M, S, S]`, the signed distance to each mask's border, for the boundary loss.
    pub(super) distance: Option<Vec<f32>>,
}

impl Values {
    /// The picture as it is.
    pub(super) fn of(sample: &SegmentationSample) -> Self {
        let area = sample.side * sample.side;
        let mask = |mask: &Option<Vec<u8>>| match mask {
            Some(mask) => mask.iter().map(|&v| f32::from(v) / 255.0).collect(),
            None => vec![0.0; area],
        };
        let grey: Vec<f32> = sample.picture.iter().map(|&v| f32::from(v)).collect();
        Self {
            side: sample.side,
            picture: sample.normalised(&grey),
            masks: sample.masks.iter().flat_map(mask).collect(),
            known: sample.masks.iter().map(|mask| f32::from(u8::from(mask.is_some()))).collect(),
            distance: None,
        }
    }

    /// Adds the signed distances.
    fn measure(&mut self) -> Result<(), DistanceError> {
        let mut distances = Vec::with_capacity(self.masks.len());
        for mask in self.masks.chunks_exact(self.side * self.side) {
            let inside: Vec<bool> = mask.iter().map(|&value| value > 0.5).collect();
            distances.extend(signed_distance(&inside, self.side)?);
        }
        self.distance = Some(distances);
        Ok(())
    }
}

/// Pictures `[N, C, S, S]`, masks `[N, M, S, S]`, which masks are known `[N, M, 1, 1]`, and, where they were measured, the signed
/// distances `[N, M, S, S]`, on the CPU.
fn collate(samples: Vec<Values>) -> candle_core::Result<Vec<Tensor>> {
    let (n, side) = (samples.len(), samples.first().map_or(0, |sample| sample.side));
    let channels = samples.first().map_or(0, |sample| sample.picture.len() / (side * side).max(1));
    let (mut x, mut y, mut known, mut distance) = (vec![], vec![], vec![], vec![]);
    for sample in samples {
        x.extend(sample.picture);
        y.extend(sample.masks);
        known.extend(sample.known);
        distance.extend(sample.distance.into_iter().flatten());
    }
    let masks = (n, MASKS.len(), side, side);
    let mut batch = vec![
        Tensor::from_vec(x, (n, channels, side, side), &Device::Cpu)?,
        Tensor::from_vec(y, masks, &Device::Cpu)?,
        Tensor::from_vec(known, (n, MASKS.len(), 1, 1), &Device::Cpu)?,
    ];
    if !distance.is_empty() {
        batch.push(Tensor::from_vec(distance, masks, &Device::Cpu)?);
    }
    Ok(batch)
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[test]
    fn a_batch_has_a_channel_for_each_mean_and_distances_where_they_were_measured() {
        let side = 8;
        let mask: Vec<u8> = (0..side * side).map(|i| if i % side < 3 { 255 } else { 0 }).collect();
        let sample = |masks| SegmentationSample::new("made".into(), side, mask.clone(), masks, &[0.5; 3], &[0.5; 3]);
        let full = sample(vec![Some(mask.clone()), Some(mask.clone()), Some(mask.clone())]);
        let part = sample(vec![None, Some(mask.clone()), None]);
        let batch = collate(vec![Values::of(&full), Values::of(&part)]).unwrap();
        let shapes: Vec<_> = batch.iter().map(|tensor| tensor.dims().to_vec()).collect();
        assert_eq!(shapes, [vec![2, 3, 8, 8], vec![2, 3, 8, 8], vec![2, 3, 1, 1]]);
        let known = batch[2].flatten_all().unwrap().to_vec1::<f32>().unwrap();
        assert_eq!(known, [1.0, 1.0, 1.0, 0.0, 1.0, 0.0]);
        let measured = [full, part].map(|sample| {
            let mut values = Values::of(&sample);
            values.measure().unwrap();
            values
        });
        let batch = collate(measured.into()).unwrap();
        let distance = batch[3].to_vec2_of_planes();
        // The mask is three columns wide: -2, -1, 0 inside, then the distance to it.
        assert_eq!(distance[0][..side], [-2.0, -1.0, 0.0, 1.0, 2.0, 3.0, 4.0, 5.0]);
        assert!(distance[3].iter().all(|&d| d == 0.0), "an unknown mask has no distance");
    }

    #[test]
    fn the_threshold_is_that_of_the_best_dice() {
        let mut counts = [[0; 2]; THRESHOLD_STEPS];
        // Not infected, infected: at 0.5 half of the infection is found, at 0.2 all, with little beside it.
        counts[0] = [1000, 0];
        counts[4] = [10, 50];
        counts[15] = [5, 50];
        let Threshold { probability, dice, dice_at_half } = choose_threshold(&counts);
        assert!((probability - 0.2).abs() < 1e-6, "{probability}");
        assert!((dice - 200.0 / 215.0).abs() < 1e-12 && (dice_at_half - 100.0 / 155.0).abs() < 1e-12);
        // Where all are alike it stays at the half.
        let same = choose_threshold(&[[0; 2]; THRESHOLD_STEPS]);
        assert_eq!(same, Threshold { probability: 0.5, dice: 0.0, dice_at_half: 0.0 });
        let mut sure = [[0; 2]; THRESHOLD_STEPS];
        (sure[0], sure[19]) = ([100, 0], [0, 10]);
        assert_eq!(choose_threshold(&sure), Threshold { probability: 0.5, dice: 1.0, dice_at_half: 1.0 });
    }

    trait Planes {
        fn to_vec2_of_planes(&self) -> Vec<Vec<f32>>;
    }

    impl Planes for Tensor {
        fn to_vec2_of_planes(&self) -> Vec<Vec<f32>> {
            self.flatten_from(2).unwrap().flatten_to(1).unwrap().to_vec2().unwrap()
        }
    }

    #[test]
    fn a_run_of_another_version_is_refused() {
        let folder = tempfile::tempdir().unwrap();
        std::fs::write(folder.path().join("config.json"), r#"{"modality": "ct", "epochs": 3}"#).unwrap();
        let error = format!("{:#}", load(folder.path(), &Device::Cpu).err().unwrap());
        assert!(error.contains("config.json") && error.contains("train it anew"), "{error}");
    }
}
