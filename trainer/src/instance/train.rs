//! Training a net that finds single lesions: pictures and masks in, the checkpoint of the best validation Dice out.
//!
//! The loop, its checkpoints and its logs are [`training`](thorax_nn::training)'s, pictures and their changes those of
//! [`segmentation`](crate::segmentation). A batch is pictures and, as a picture of numbers, their lesions, made of the masks after they were
//! varied.

use std::path::Path;

use candle_core::{Device, Tensor, Var};
use rand::rngs::StdRng;
use thorax_files::write_atomically;
use thorax_nets::{
    Backbone,
    instance::{
        InstanceNet,
        matching::Order,
        targets::{Targets, components},
    },
    source::Source,
};
use thorax_nn::{
    checkpoint::Checkpoint,
    device::Precision,
    training::{Dataset, FitRun, Objective, Outcome, Step, TaskError, fit, is_finished},
};
use thorax_shared::{mask::INFECTION, metrics::Confusion};

use super::{
    average_precision::{Matches, Summary},
    run::{InstanceRunConfig, ScoreThreshold, THRESHOLD, best_net},
};
use crate::{
    data::Manifest,
    segmentation::{
        pictures::{TrainingPictures, Wanted},
        run::best_step,
        sample::{SegmentationSample, Values},
    },
};

/// Scores from which a lesion counts are tried in steps of a twentieth.
const STEPS: usize = 20;

/// What a training has beside its manifest.
#[derive(Clone, Copy)]
pub struct Beginning<'a> {
    /// The backbone's weights.
    pub backbone: &'a Source,
    /// All of the net's, such as another run's `best.safetensors`.
    pub start: Option<&'a Path>,
}

/// Trains to the end, or goes on with what `folder`, which holds this very configuration, has; stops for now after `stop_after` epochs, if a
/// number is given.
///
/// # Errors
/// Unreadable pictures, losses that are not finite, files that cannot be written.
pub fn train(
    manifest: &Manifest,
    config: &InstanceRunConfig,
    beginning: Beginning<'_>,
    folder: &Path,
    devices: &[Device],
    loaders: usize,
    stop_after: Option<usize>,
) -> anyhow::Result<()> {
    let smallest = config.smallest_lesion;
    let shows = |sample: &SegmentationSample| {
        let mask: Vec<f32> = sample.masks[INFECTION].iter().flatten().map(|value| f32::from(*value) / 255.0).collect();
        lesion_numbers(&mask, sample.side, smallest).iter().any(|number| *number > 0.0)
    };
    let wanted = Wanted {
        modality: config.modality,
        preprocess: &config.preprocess,
        healthy: config.healthy,
        copies: config.copies.unwrap_or_default(),
        shows: &shows,
        what: &format!("a lesion of at least {smallest} pixels"),
        remedy: ", or give a smaller --smallest-lesion",
    };
    let (pictures, validation) = wanted.load(manifest)?;
    let task = Task { training: Pictures { pictures, config }, validation, config, beginning };
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
    eprintln!("best validation Dice of the union of the lesions: {:.4}, epoch {}", best.score, best.epoch + 1);
    let path = folder.join(THRESHOLD);
    if path.exists() || !is_finished(folder)? {
        return Ok(());
    }
    let net = best_net(folder, config, devices.first().unwrap_or(&Device::Cpu))?;
    let (chosen, _) = validate(&net, &task.validation, config.smallest_lesion, Precision::F32)?;
    let text = serde_json::to_string_pretty(&chosen)?;
    write_atomically(&path, |out| out.write_all(text.as_bytes()))?;
    eprintln!("a lesion counts from a score of {} on: validation Dice {:.4}", chosen.score, chosen.dice);
    Ok(())
}

/// The lesions of a mask of 0 and 1, as numbers.
fn lesion_numbers(mask: &[f32], side: usize, smallest: usize) -> Vec<f32> {
    let mask: Vec<bool> = mask.iter().map(|value| *value > 0.5).collect();
    components(&mask, side, smallest).into_iter().map(|number| number as f32).collect()
}

/// The training pictures.
struct Pictures<'a> {
    pictures: TrainingPictures,
    config: &'a InstanceRunConfig,
}

/// A picture as the net's numbers, and its lesions.
pub(super) struct Sample {
    side: usize,
    /// `[C, S, S]`.
    picture: Vec<f32>,
    /// `[S, S]`.
    lesions: Vec<f32>,
}

impl Sample {
    fn of(values: Values, smallest: usize) -> Self {
        let Values { side, picture, masks, .. } = values;
        let lesions = lesion_numbers(&masks[INFECTION * side * side..][..side * side], side, smallest);
        Self { side, picture, lesions }
    }
}

/// Pictures `[N, C, S, S]` and the numbers of their lesions `[N, S, S]`, on the CPU.
fn collate(samples: Vec<Sample>) -> candle_core::Result<Vec<Tensor>> {
    let (count, side) = (samples.len(), samples.first().map_or(0, |sample| sample.side));
    let channels = samples.first().map_or(0, |sample| sample.picture.len() / (side * side).max(1));
    let (pictures, lesions): (Vec<_>, Vec<_>) =
        samples.into_iter().map(|sample| (sample.picture, sample.lesions)).unzip();
    Ok(vec![
        Tensor::from_vec(pictures.concat(), (count, channels, side, side), &Device::Cpu)?,
        Tensor::from_vec(lesions.concat(), (count, side, side), &Device::Cpu)?,
    ])
}

impl Dataset for Pictures<'_> {
    type Sample = Sample;

    fn len(&self) -> usize {
        self.pictures.len()
    }

    fn name(&self, index: usize) -> String {
        self.pictures.name(index)
    }

    fn load(&self, index: usize, random: &mut StdRng) -> Result<Sample, TaskError> {
        let values = self.pictures.load(index, &self.config.augmentation, random);
        Ok(Sample::of(values.ok_or("an epoch has no such picture")?, self.config.smallest_lesion))
    }

    fn collate(&self, samples: Vec<Sample>) -> Result<Vec<Tensor>, TaskError> {
        Ok(collate(samples)?)
    }
}

/// What [`fit`] is to learn.
struct Task<'a> {
    training: Pictures<'a>,
    validation: Vec<SegmentationSample>,
    config: &'a InstanceRunConfig,
    beginning: Beginning<'a>,
}

impl<'a> Objective for Task<'a> {
    type Data = Pictures<'a>;
    type Net = InstanceNet;

    fn data(&self) -> &Pictures<'a> {
        &self.training
    }

    fn init(&self, device: &Device) -> Result<InstanceNet, TaskError> {
        let net = self.config.instance_net.init(self.config.seed, device)?;
        net.set_backbone(self.beginning.backbone.weights(Backbone::ResNet50, device)?.weights())?;
        if let Some(path) = self.beginning.start {
            Checkpoint::load(path, device)?.restore(&net.variables())?;
        }
        Ok(net)
    }

    fn trainable(&self, net: &InstanceNet) -> Vec<(String, Var)> {
        net.trainable()
    }

    fn variables(&self, net: &InstanceNet) -> Vec<(String, Var)> {
        net.variables()
    }

    /// The sum of the net's terms.
    fn loss(&self, net: &InstanceNet, batch: &[Tensor], step: &Step) -> Result<Tensor, TaskError> {
        let [x, lesions] = batch else { return Err("a batch is pictures and lesions".into()) };
        let targets = Targets::of_batch(lesions)?;
        Ok(net.loss(&x.to_dtype(step.precision.dtype())?, &targets, Order::Drawn(step.seed))?)
    }

    fn scores(&self) -> &[&str] {
        &["dice_infection", "lesion_ap50", "lesion_ap"]
    }

    /// The pooled Dice of the union of the lesions, at the score where it is best; the average precision of the lesions.
    fn validate(&self, net: &InstanceNet, precision: Precision) -> Result<Vec<f64>, TaskError> {
        let (threshold, lesions) = validate(net, &self.validation, self.config.smallest_lesion, precision)?;
        Ok(vec![threshold.dice, lesions.map_or(0.0, |of| of.ap50), lesions.map_or(0.0, |of| of.ap)])
    }
}

/// The score of the best pooled Dice, and the figures of the lesions.
fn validate(
    net: &InstanceNet,
    samples: &[SegmentationSample],
    smallest: usize,
    precision: Precision,
) -> candle_core::Result<(ScoreThreshold, Option<Summary>)> {
    let mut totals = [Confusion::default(); STEPS];
    let mut matches = vec![];
    for sample in samples {
        let Values { side, picture, .. } = Values::of(sample);
        let channels = picture.len() / (side * side);
        let x = Tensor::from_vec(picture, (1, channels, side, side), net.device())?.to_dtype(precision.dtype())?;
        let found = net.detect(&x)?.swap_remove(0);
        let mask = sample.masks[INFECTION].as_deref().unwrap_or_default();
        for (step, total) in totals.iter_mut().enumerate().skip(1) {
            let union = found.union(side * side, step as f32 / STEPS as f32);
            union.iter().zip(mask).for_each(|(found, truth)| total.count(*found, *truth > 0));
        }
        let mask: Vec<bool> = mask.iter().map(|value| *value > 0).collect();
        let lesions = found.instances.iter().map(|of| (f64::from(of.score), of.mask.as_slice()));
        matches.push(Matches::of_mask(&lesions.collect::<Vec<_>>(), &mask, side, smallest)?);
    }
    let dice = |step: usize| totals[step].f1().unwrap_or(0.0);
    let best = best_step(STEPS, dice);
    let threshold = ScoreThreshold { score: best as f32 / STEPS as f32, dice: dice(best) };
    Ok((threshold, Summary::of(&matches.iter().collect::<Vec<_>>())))
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use candle_core::DType;

    use super::*;

    #[test]
    fn a_batch_has_pictures_and_the_numbers_of_their_lesions() {
        let side = 8;
        let mask: Vec<f32> = (0..64).map(|at| if at % 8 < 2 || at == 36 { 1.0 } else { 0.0 }).collect();
        let values = |masks: Vec<f32>| Values {
            side,
            picture: vec![0.5; 3 * 64],
            masks: [masks, vec![0.0; 128]].concat(),
            known: vec![1.0, 0.0, 0.0],
            distance: None,
        };
        let samples = vec![Sample::of(values(mask.clone()), 1), Sample::of(values(mask), 2)];
        let batch = collate(samples).unwrap();
        assert_eq!(batch[0].dims(), [2, 3, 8, 8]);
        let targets = Targets::of_batch(&batch[1]).unwrap();
        let areas = |targets: &Targets| {
            targets
                .lesions
                .iter()
                .map(|lesion| lesion.mask.iter().filter(|inside| **inside).count())
                .collect::<Vec<_>>()
        };
        assert_eq!((areas(&targets[0]), areas(&targets[1])), (vec![16, 1], vec![16]));
        assert_eq!(batch[1].dtype(), DType::F32);
    }
}
