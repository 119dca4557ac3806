//! Training a segmentation net: pictures and masks in, the checkpoint of the best validation Dice out.
//!
//! The loop, its checkpoints and its logs are [`training`](crate::nn::training)'s; here are the pictures, how they are
//! varied, the loss and the score.

use std::path::Path;

use anyhow::Context;
use candle_core::{DType, Device, Tensor, Var};
use rand::{Rng, rngs::StdRng};
use thorax_shared::{label::Modality, metrics::Confusion, preprocess::spec::PreprocessSpec};

use super::picture::SegmentationSample;
use crate::{
    data::{Manifest, Split},
    nets::attention_unet::{AttentionUnet, AttentionUnetConfig},
    nn::{
        checkpoint::Checkpoint,
        device::Precision,
        elementwise::{binary_cross_entropy, dot_planes, sigmoid, sum_planes},
        training::{BEST, Dataset, LATEST, Outcome, Run, Step, Task, TaskError, TrainingConfig, fit},
    },
};

/// The masks a net gives, in the order of its channels.
pub const MASKS: [&str; 2] = ["infection", "lung"];

/// How a run goes.
#[derive(Clone, Debug, serde::Serialize, serde::Deserialize)]
pub struct SegmentConfig {
    /// Whose pictures.
    pub modality: Modality,
    /// The net.
    pub net: AttentionUnetConfig,
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
    /// Pictures of class `normal` from the training split that are added, as pictures without infection whose lungs are not
    /// marked; those of the validation split are all added there. 0 for none.
    #[serde(default)]
    pub healthy: usize,
    /// Hash of the weights the run starts from; `None` for drawn ones.
    #[serde(default)]
    pub start_sha256: Option<String>,
    /// Optimizer, schedule and the like.
    #[serde(default)]
    pub training: TrainingConfig,
}

/// What a finished run is known by.
pub struct SegmentRun {
    /// The best weights.
    pub net: AttentionUnet,
    /// How it was trained.
    pub config: SegmentConfig,
    /// Validation Dice of the infection (pooled) of the best epoch.
    pub best_dice: f64,
    /// The epoch, counted from 0.
    pub best_epoch: usize,
}

/// Trains to the end, or goes on with what `folder`, which holds this very configuration, has. `start` is a file of weights
/// to begin with, such as another run's `best.safetensors`; `stop_after` a number of epochs after which the run stops for now.
///
/// # Errors
/// Unreadable pictures, losses that are not finite, files that cannot be written.
pub fn train(
    manifest: &Manifest,
    config: &SegmentConfig,
    start: Option<&Path>,
    folder: &Path,
    devices: &[Device],
    loaders: usize,
    stop_after: Option<usize>,
) -> anyhow::Result<()> {
    let load = |split| SegmentationSample::load_split(manifest, config.modality, split, &config.preprocess);
    let mut training = load(Split::Train)?;
    let mut validation = load(Split::Val)?;
    anyhow::ensure!(
        !training.is_empty(),
        "the manifest has no {} pictures with masks in the training split",
        config.modality
    );
    anyhow::ensure!(
        !validation.is_empty(),
        "the manifest has no {} pictures with masks in the validation split",
        config.modality
    );

    if config.healthy > 0 {
        let healthy = |split, most| {
            SegmentationSample::load_healthy(manifest, config.modality, split, &config.preprocess, most, config.seed)
        };
        training.extend(healthy(Split::Train, config.healthy)?);
        validation.extend(healthy(Split::Val, usize::MAX)?);
    }

    let task =
        Segmentation { training: Pictures { samples: training, modality: config.modality }, validation, config, start };
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
    Ok(())
}

/// The training pictures.
struct Pictures {
    samples: Vec<SegmentationSample>,
    modality: Modality,
}

/// What [`fit`] is to learn.
struct Segmentation<'a> {
    training: Pictures,
    validation: Vec<SegmentationSample>,
    config: &'a SegmentConfig,
    start: Option<&'a Path>,
}

impl Dataset for Pictures {
    type Sample = Values;

    fn len(&self) -> usize {
        self.samples.len()
    }

    fn name(&self, index: usize) -> String {
        self.samples[index].name.clone()
    }

    fn load(&self, index: usize, random: &mut StdRng) -> Result<Values, TaskError> {
        Ok(Augmentation::draw(self.modality, random).apply(&self.samples[index]))
    }

    fn collate(&self, samples: Vec<Values>) -> Result<Vec<Tensor>, TaskError> {
        Ok(collate(samples)?.to_vec())
    }
}

impl Task for Segmentation<'_> {
    type Data = Pictures;
    type Net = AttentionUnet;

    fn data(&self) -> &Pictures {
        &self.training
    }

    fn init(&self, device: &Device) -> Result<AttentionUnet, TaskError> {
        let net = self.config.net.init(self.config.seed, device)?;
        if let Some(path) = self.start {
            Checkpoint::load(path, device)?.restore(&net.variables())?;
        }
        Ok(net)
    }

    fn trainable(&self, net: &AttentionUnet) -> Vec<(String, Var)> {
        net.trainable()
    }

    fn variables(&self, net: &AttentionUnet) -> Vec<(String, Var)> {
        net.variables()
    }

    fn loss(&self, net: &AttentionUnet, batch: &[Tensor], step: &Step) -> Result<Tensor, TaskError> {
        let [x, truth, known] = batch else {
            return Err("a batch is pictures, masks, and which masks are known".into());
        };
        let logits = net.forward(&x.to_dtype(step.precision.dtype())?, true)?.to_dtype(DType::F32)?;
        Ok(bce_dice(&logits, truth, known)?)
    }

    fn scores(&self) -> &[&str] {
        &["dice_infection", "dice_lung"]
    }

    /// Pooled Dice.
    fn validate(&self, net: &AttentionUnet, precision: Precision) -> Result<Vec<f64>, TaskError> {
        let totals = evaluate(net, &self.validation, precision)?;
        Ok(totals.iter().map(|total| total.f1().unwrap_or(0.0)).collect())
    }
}

/// Reads the best weights of a run.
///
/// # Errors
/// A folder without a run, or with an unfinished one.
pub fn load(folder: &Path, device: &Device) -> anyhow::Result<SegmentRun> {
    let path = folder.join("config.json");
    let text = std::fs::read_to_string(&path).with_context(|| {
        format!("{}: no segmentation run; train one with thorax-train train segment", path.display())
    })?;
    let config: SegmentConfig = serde_json::from_str(&text).with_context(|| path.display().to_string())?;
    let latest = Checkpoint::load(&folder.join(LATEST), device)?;
    let done = latest.value::<usize>("epoch")? + 1;
    anyhow::ensure!(
        done >= config.epochs || latest.value("finished").unwrap_or(false),
        "{}: only {done} of {} epochs are done; run the same train command again",
        folder.display(),
        config.epochs
    );
    let best = Checkpoint::load(&folder.join(BEST), device)?;
    let net = config.net.init(config.seed, device)?;
    best.restore(&net.variables())?;
    // Runs of version 0.1 say best_dice.
    let best_dice = best.value("best_score").or_else(|_| best.value("best_dice"))?;
    Ok(SegmentRun { net, best_dice, best_epoch: best.value("best_epoch")?, config })
}

/// Pooled confusion of each mask over all `samples`.
///
/// # Errors
/// When the device fails.
pub fn evaluate(
    net: &AttentionUnet,
    samples: &[SegmentationSample],
    precision: Precision,
) -> candle_core::Result<Vec<Confusion>> {
    let mut totals = vec![Confusion::default(); net.config().channels_out];
    for chosen in samples.chunks(8) {
        let [x, y, known] = collate(chosen.iter().map(Values::of).collect())?;
        let x = x.to_device(net.device())?.to_dtype(precision.dtype())?;
        let logits = net.forward(&x, false)?.to_dtype(DType::F32)?.flatten_from(2)?.to_vec3::<f32>()?;
        if let Some(value) = logits.iter().flatten().flatten().find(|z| z.is_nan()) {
            candle_core::bail!("the net gives {value} for a validation picture");
        }
        let truth = y.flatten_from(2)?.to_vec3::<f32>()?;
        let known = known.flatten_from(1)?.to_vec2::<f32>()?;
        for ((logits, truth), known) in logits.iter().zip(&truth).zip(&known) {
            for (channel, total) in totals.iter_mut().enumerate().filter(|(c, _)| known[*c] > 0.0) {
                for (z, t) in logits[channel].iter().zip(&truth[channel]) {
                    total.count(*z > 0.0, *t > 0.5);
                }
            }
        }
    }
    Ok(totals)
}

/// Binary cross entropy plus soft Dice, mean over the masks (paper, section IV.B, without the boundary term).
///
/// `logits` and `truth` `[N, C, H, W]`; `known` `[N, C, 1, 1]` is 0 where a picture lacks that mask, which then does not count.
///
/// # Errors
/// Shapes that do not fit.
pub fn bce_dice(logits: &Tensor, truth: &Tensor, known: &Tensor) -> candle_core::Result<Tensor> {
    let (n, c, h, w) = logits.dims4()?;
    let known = known.reshape((n, c))?;
    let total = |planes: Tensor| planes.mul(&known)?.sum(0);
    let pixels = (known.sum(0)? * (h * w) as f64)?;
    let bce = total(sum_planes(&binary_cross_entropy(logits, truth)?)?)?.div(&(pixels + 1e-6)?)?;
    let probability = sigmoid(logits)?;
    let overlap = (total(dot_planes(&probability, truth)?)? * 2.0)?;
    let both = (total(sum_planes(&probability)?)? + total(sum_planes(truth)?)?)?;
    let dice = ((overlap + 1.0)? / (both + 1.0)?)?;
    (bce + (1.0 - dice)?)?.mean_all()
}

/// One random change of a picture and its masks.
#[derive(Clone, Copy, Debug)]
pub struct Augmentation {
    /// Columns of the matrix from a target to a source offset, both measured from the centre in sides.
    matrix: [f32; 4],
    /// Shift of the source, in sides.
    shift: [f32; 2],
    /// Exponent of the grey values.
    gamma: f32,
    /// Factor on the contrast around the mean grey, and what is added.
    contrast: f32,
    brightness: f32,
}

impl Augmentation {
    /// Rotation up to 15 degrees, scale 0.85 to 1.2, shift up to 6 %, grey values; left and right exchanged for every
    /// second picture, and top and bottom for every second slice (the 20-case set has slices of both orientations).
    fn draw(modality: Modality, random: &mut StdRng) -> Self {
        let angle = random.random_range(-15f32..15.0).to_radians();
        let scale = random.random_range(0.85f32..1.2);
        let flip_x = if random.random_bool(0.5) { -1.0 } else { 1.0 };
        let flip_y = if modality == Modality::Ct && random.random_bool(0.5) { -1.0 } else { 1.0 };
        let (sin, cos) = angle.sin_cos();
        Self {
            matrix: [cos * flip_x / scale, -sin * flip_y / scale, sin * flip_x / scale, cos * flip_y / scale],
            shift: [random.random_range(-0.06..0.06), random.random_range(-0.06..0.06)],
            gamma: random.random_range(-0.35f32..0.35).exp(),
            contrast: random.random_range(0.8..1.2),
            brightness: random.random_range(-0.1..0.1),
        }
    }

    /// The source position, in pixels, of target pixel `(x, y)`.
    fn source(&self, x: usize, y: usize, side: usize) -> (f32, f32) {
        let half = side as f32 / 2.0;
        let (u, v) = ((x as f32 + 0.5 - half) / side as f32, (y as f32 + 0.5 - half) / side as f32);
        let [a, b, c, d] = self.matrix;
        let (u, v) = (a * u + b * v + self.shift[0], c * u + d * v + self.shift[1]);
        (u * side as f32 + half - 0.5, v * side as f32 + half - 0.5)
    }

    /// The changed picture and its masks.
    fn apply(&self, sample: &SegmentationSample) -> Values {
        let mut values = Values::of(sample);
        let (side, area) = (sample.side, sample.side * sample.side);
        for pixel in 0..area {
            let (u, v) = self.source(pixel % side, pixel / side, side);
            let grey = (bilinear(&sample.picture, side, u, v) / 255.0).powf(self.gamma);
            let grey = ((grey - 0.5) * self.contrast + 0.5 + self.brightness).clamp(0.0, 1.0);
            values.picture[pixel] = sample.normalised(grey * 255.0);
            for (channel, mask) in sample.masks.iter().enumerate() {
                if let Some(mask) = mask {
                    values.masks[channel * area + pixel] = f32::from(u8::from(bilinear(mask, side, u, v) > 127.0));
                }
            }
        }
        values
    }
}

/// Bilinear value at `(x, y)`; 0 outside.
fn bilinear(plane: &[u8], side: usize, x: f32, y: f32) -> f32 {
    let (x0, y0) = (x.floor(), y.floor());
    let (fx, fy) = (x - x0, y - y0);
    let at = |x: f32, y: f32| {
        if x >= 0.0 && y >= 0.0 && x < side as f32 && y < side as f32 {
            f32::from(plane[y as usize * side + x as usize])
        } else {
            0.0
        }
    };
    (at(x0, y0) * (1.0 - fx) + at(x0 + 1.0, y0) * fx) * (1.0 - fy)
        + (at(x0, y0 + 1.0) * (1.0 - fx) + at(x0 + 1.0, y0 + 1.0) * fx) * fy
}

/// A picture as the net's numbers, and its masks.
struct Values {
    side: usize,
    /// `[1, S, S]`.
    picture: Vec<f32>,
    /// `[C, S, S]`, 0 or 1; 0 where a mask is not known.
    masks: Vec<f32>,
    /// `[C]`, 1 for a known mask.
    known: Vec<f32>,
}

impl Values {
    /// The picture as it is.
    fn of(sample: &SegmentationSample) -> Self {
        let area = sample.side * sample.side;
        let mask = |mask: &Option<Vec<u8>>| match mask {
            Some(mask) => mask.iter().map(|&v| f32::from(v) / 255.0).collect(),
            None => vec![0.0; area],
        };
        Self {
            side: sample.side,
            picture: sample.picture.iter().map(|&v| sample.normalised(f32::from(v))).collect(),
            masks: sample.masks.iter().flat_map(mask).collect(),
            known: sample.masks.iter().map(|mask| f32::from(u8::from(mask.is_some()))).collect(),
        }
    }
}

/// Pictures `[N, 1, S, S]`, masks `[N, C, S, S]` and which masks are known `[N, C, 1, 1]`, on the CPU.
fn collate(samples: Vec<Values>) -> candle_core::Result<[Tensor; 3]> {
    let (n, side) = (samples.len(), samples.first().map_or(0, |sample| sample.side));
    let (mut x, mut y, mut known) = (vec![], vec![], vec![]);
    for sample in samples {
        x.extend(sample.picture);
        y.extend(sample.masks);
        known.extend(sample.known);
    }
    Ok([
        Tensor::from_vec(x, (n, 1, side, side), &Device::Cpu)?,
        Tensor::from_vec(y, (n, MASKS.len(), side, side), &Device::Cpu)?,
        Tensor::from_vec(known, (n, MASKS.len(), 1, 1), &Device::Cpu)?,
    ])
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;
    use crate::nn::seeded;

    fn scalar(tensor: &Tensor) -> f32 {
        tensor.to_scalar().unwrap()
    }

    /// The definition in f64, pixel by pixel.
    fn reference(logits: &[[f64; 4]], truth: &[[f64; 4]]) -> f64 {
        let mut bce = 0.0;
        let (mut overlap, mut total) = (0.0, 0.0);
        for (z, y) in logits.iter().flatten().zip(truth.iter().flatten()) {
            let p = 1.0 / (1.0 + (-z).exp());
            bce -= y * p.ln() + (1.0 - y) * (1.0 - p).ln();
            overlap += p * y;
            total += p + y;
        }
        bce / (4 * logits.len()) as f64 + 1.0 - (2.0 * overlap + 1.0) / (total + 1.0)
    }

    #[test]
    fn the_loss_is_its_definition_and_unknown_masks_do_not_count() {
        let device = Device::Cpu;
        let logits = [
            [[[1.5f32, -0.5], [0.2, -3.0]], [[9.0, 9.0], [9.0, 9.0]]],
            [[[-1.0, 2.0], [0.0, 0.7]], [[0.3, -0.2], [1.1, 0.4]]],
        ];
        let truth = [
            [[[1f32, 0.0], [0.0, 1.0]], [[0.0, 0.0], [0.0, 0.0]]],
            [[[0.0, 1.0], [1.0, 0.0]], [[1.0, 0.0], [1.0, 1.0]]],
        ];
        let known = Tensor::new(&[1f32, 0.0, 1.0, 1.0], &device).unwrap().reshape((2, 2, 1, 1)).unwrap();
        let flat = |picture: usize, mask: usize, of: &[[[[f32; 2]; 2]; 2]; 2]| {
            let m = of[picture][mask];
            [m[0][0], m[0][1], m[1][0], m[1][1]].map(f64::from)
        };
        let first = reference(&[flat(0, 0, &logits), flat(1, 0, &logits)], &[flat(0, 0, &truth), flat(1, 0, &truth)]);
        let second = reference(&[flat(1, 1, &logits)], &[flat(1, 1, &truth)]);
        let loss =
            bce_dice(&Tensor::new(&logits, &device).unwrap(), &Tensor::new(&truth, &device).unwrap(), &known).unwrap();
        assert!((f64::from(scalar(&loss)) - (first + second) / 2.0).abs() < 1e-5, "{loss:?} {first} {second}");
    }

    /// Runs of version 0.1 have no words on the optimizer in their configuration, and other words in their checkpoints.
    #[test]
    fn a_run_of_version_0_1_is_read() {
        let folder = tempfile::tempdir().unwrap();
        let text = r#"{
            "modality": "ct",
            "net": {"channels_in": 1, "channels_out": 2, "base_channels": 2, "blocks": 1},
            "epochs": 3, "batch": 8, "peak_learning_rate": 0.002, "seed": 1,
            "preprocess": PREPROCESS,
            "manifest_sha256": "00"
        }"#;
        let normalise = thorax_shared::preprocess::spec::Normalise { mean: vec![0.5], std: vec![0.25] };
        let preprocess = super::super::preprocess_spec(Modality::Ct, 32, normalise);
        let text = text.replace("PREPROCESS", &serde_json::to_string(&preprocess).unwrap());
        std::fs::write(folder.path().join("config.json"), text).unwrap();
        let config = AttentionUnetConfig { channels_in: 1, channels_out: 2, base_channels: 2, blocks: 1 };
        let tensors: std::collections::BTreeMap<String, Tensor> = config
            .init(9, &Device::Cpu)
            .unwrap()
            .variables()
            .into_iter()
            .map(|(name, var)| (name, var.as_detached_tensor()))
            .collect();
        let write = |epoch: usize| {
            let words = [("epoch", epoch.to_string()), ("best_dice", "0.75".into()), ("best_epoch", "1".into())];
            let words = words.map(|(name, word)| (name.to_owned(), word));
            for name in [LATEST, BEST] {
                Checkpoint::new(tensors.clone(), words.clone().into()).save(&folder.path().join(name)).unwrap();
            }
        };
        write(1);
        let unfinished = load(folder.path(), &Device::Cpu).err().unwrap().to_string();
        assert!(unfinished.contains("only 2 of 3 epochs"), "{unfinished}");
        write(2);
        let run = load(folder.path(), &Device::Cpu).unwrap();
        assert_eq!((run.best_dice, run.best_epoch), (0.75, 1));
        assert_eq!(run.config.training, TrainingConfig::default());
        let (name, var) = run.net.variables().remove(0);
        assert_eq!(
            var.flatten_all().unwrap().to_vec1::<f32>().unwrap(),
            tensors[&name].flatten_all().unwrap().to_vec1::<f32>().unwrap()
        );
    }

    #[test]
    fn no_augmentation_moves_picture_and_mask_apart() {
        let side = 32;
        let inside = |x: usize, y: usize| (10..20).contains(&x) && (6..14).contains(&y);
        let picture: Vec<u8> = (0..side * side).map(|i| if inside(i % side, i / side) { 255 } else { 0 }).collect();
        let sample = SegmentationSample::new("made".into(), side, picture.clone(), vec![Some(picture), None], 0.0, 1.0);
        let mut random = seeded::generator(1, 0);
        for _ in 0..20 {
            let plain = Augmentation {
                gamma: 1.0,
                contrast: 1.0,
                brightness: 0.0,
                ..Augmentation::draw(Modality::Ct, &mut random)
            };
            let [x, y, known] = collate(vec![plain.apply(&sample)]).unwrap();
            let x = x.flatten_all().unwrap().to_vec1::<f32>().unwrap();
            let y = y.flatten_all().unwrap().to_vec1::<f32>().unwrap();
            assert_eq!(known.flatten_all().unwrap().to_vec1::<f32>().unwrap(), [1.0, 0.0]);
            assert!(y[..side * side].iter().sum::<f32>() > 30.0, "the mask is still in the picture");
            for (x, y) in x.iter().zip(&y) {
                assert!((x > &0.5) == (y > &0.5) || (x - 0.5).abs() < 0.01, "{x} {y}");
            }
        }
    }
}
