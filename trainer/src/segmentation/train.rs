//! Training a segmentation net: pictures and masks in, the checkpoint of the best validation Dice out.
//!
//! The loop, its checkpoints and its logs are [`training`](thorax_nn::training)'s; here are the pictures, how they are
//! varied, the loss and the score.

use std::path::Path;

use candle_core::{DType, Device, Tensor, Var};
use rand::rngs::StdRng;
use thorax_files::write_atomically;
use thorax_nets::{
    segmentation::{Net, NetConfig, Pass},
    source::Source,
};
use thorax_nn::{
    checkpoint::Checkpoint,
    device::Precision,
    training::{Dataset, FitRun, Objective, Outcome, Step, TaskError, fit, is_finished},
};
use thorax_shared::{
    mask::{INFECTION, NAMES as MASKS},
    metrics::Confusion,
};

use super::{
    boxes::Boxes,
    lungs::LungFinder,
    pictures::{TrainingPictures, Wanted},
    run::{SegmentConfig, THRESHOLD, Threshold, best_net, best_step},
    sample::{SegmentationSample, Values, collate},
    teachers::MaskTeachers,
};
use crate::data::{Manifest, Record};

/// Thresholds are chosen in steps of a twentieth: less would follow the noise of a few patients.
const THRESHOLD_STEPS: usize = 20;

/// What a training has beside its manifest.
#[derive(Clone, Copy, Default)]
pub struct Beginning<'a> {
    /// All of the net's, such as another run's `best.safetensors`.
    pub start: Option<&'a Path>,
    /// The frozen encoder's.
    pub encoder: Option<&'a Source>,
    /// Boxes around lesions, and what finds the lungs that they are cut to.
    pub boxed: Option<(&'a Boxes, &'a LungFinder)>,
    /// What draws masks on pictures that have none.
    pub teachers: Option<&'a MaskTeachers>,
    /// From which probability on a pixel is infected; `None` for that of the best validation Dice.
    pub threshold: Option<f32>,
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
    let wanted = Wanted {
        modality: config.modality,
        preprocess: &config.preprocess,
        healthy: config.healthy,
        copies: config.copies.unwrap_or_default(),
        shows: &SegmentationSample::shows_infection,
        what: "infection marked",
        remedy: ". Masks of the lungs alone are not enough: join a collection with masks of the infection (thorax-train data join), or take the \
                 segmenter of a bundle (models/teachers) where a run is asked for",
    };
    let (training, validation) = wanted.load(manifest)?;
    let boxed =
        beginning.boxed.map(|(boxes, finder)| boxes.load(manifest, finder, &config.preprocess, wanted.one_copy()));
    let training = training.beside(config.boxed, boxed.transpose()?.unwrap_or_default());
    let training = match (&config.taught, beginning.teachers) {
        (Some(taught), Some(teachers)) => {
            let records: Vec<&Record> = manifest.taught(config.modality).collect();
            let pictures = teachers.teach(manifest, &records, &config.preprocess, wanted.one_copy())?;
            training.beside(taught.pictures, pictures)
        }
        _ => training,
    };
    let task = Segmentation { training: Pictures { pictures: training, config }, validation, config, beginning };
    let run = FitRun {
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
    let chosen = choose_threshold(&infection_counts(&net, &task.validation)?, beginning.threshold);
    let text = serde_json::to_string_pretty(&chosen)?;
    write_atomically(&path, |out| out.write_all(text.as_bytes()))?;
    let Threshold { probability, dice, dice_at_half } = chosen;
    eprintln!(
        "a pixel is infected from a probability of {probability} on: validation Dice {dice:.4} ({dice_at_half:.4} at 0.5)"
    );
    Ok(())
}

/// The training pictures.
struct Pictures<'a> {
    pictures: TrainingPictures,
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
        self.pictures.len()
    }

    fn name(&self, index: usize) -> String {
        self.pictures.name(index)
    }

    fn load(&self, index: usize, random: &mut StdRng) -> Result<Values, TaskError> {
        let mut values =
            self.pictures.load(index, &self.config.augmentation, random).ok_or("an epoch has no such picture")?;
        if self.config.loss.boundary.is_some() {
            values.measure()?;
        }
        Ok(values)
    }

    fn collate(&self, samples: Vec<Values>) -> Result<Vec<Tensor>, TaskError> {
        Ok(collate(samples)?)
    }
}

impl<'a> Objective for Segmentation<'a> {
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

/// The threshold of the best pooled Dice; of several, the one nearest to 0.5. If one is `given`, the step nearest to it.
fn choose_threshold(counts: &[[u64; 2]; THRESHOLD_STEPS], given: Option<f32>) -> Threshold {
    let truth: u64 = counts.iter().map(|[_, infected]| infected).sum();
    let dice = |step: usize| {
        let [false_positives, true_positives] =
            counts[step..].iter().fold([0, 0], |sum, count| [sum[0] + count[0], sum[1] + count[1]]);
        let both = false_positives + true_positives + truth;
        if both == 0 { 0.0 } else { 2.0 * true_positives as f64 / both as f64 }
    };
    let half = THRESHOLD_STEPS / 2;
    let best = match given {
        Some(probability) => ((probability * THRESHOLD_STEPS as f32).round() as usize).clamp(1, THRESHOLD_STEPS - 1),
        None => best_step(THRESHOLD_STEPS, dice),
    };
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

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[test]
    fn the_threshold_is_that_of_the_best_dice() {
        let mut counts = [[0; 2]; THRESHOLD_STEPS];
        // Not infected, infected: at 0.5 half of the infection is found, at 0.2 all, with little beside it.
        counts[0] = [1000, 0];
        counts[4] = [10, 50];
        counts[15] = [5, 50];
        let Threshold { probability, dice, dice_at_half } = choose_threshold(&counts, None);
        assert!((probability - 0.2).abs() < 1e-6, "{probability}");
        assert!((dice - 200.0 / 215.0).abs() < 1e-12 && (dice_at_half - 100.0 / 155.0).abs() < 1e-12);
        // Where all are alike it stays at the half.
        let same = choose_threshold(&[[0; 2]; THRESHOLD_STEPS], None);
        assert_eq!(same, Threshold { probability: 0.5, dice: 0.0, dice_at_half: 0.0 });
        let mut sure = [[0; 2]; THRESHOLD_STEPS];
        (sure[0], sure[19]) = ([100, 0], [0, 10]);
        assert_eq!(choose_threshold(&sure, Some(0.9)).probability, 0.9);
        assert_eq!(choose_threshold(&sure, None), Threshold { probability: 0.5, dice: 1.0, dice_at_half: 1.0 });
    }
}
