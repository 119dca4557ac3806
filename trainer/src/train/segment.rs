//! Training a segmentation net: pictures and masks in, the checkpoint of the best validation Dice out.
//!
//! The run's folder holds `latest.safetensors` after every epoch (weights, moving statistics, optimizer, best score), from
//! which a killed run goes on, `best.safetensors`, and `epochs.csv`. Every random choice of an epoch is drawn from the seed
//! and the number of the epoch, so that a resumed run sees what an undisturbed one sees.

use std::path::Path;

use anyhow::Context;
use candle_core::{Device, Tensor};
use rand::{Rng, rngs::StdRng, seq::SliceRandom};
use rayon::prelude::*;
use thorax_shared::{label::Modality, metrics::Confusion, preprocess::spec::PreprocessSpec};

use super::{picture::SegmentationSample, progress};
use crate::{
    data::{Manifest, Split},
    files::write_atomically,
    nets::attention_unet::{AttentionUnet, AttentionUnetConfig},
    nn::{
        checkpoint::Checkpoint,
        optimizer::{AdamWConfig, Optimizer},
        schedule::one_cycle,
        seeded,
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
    /// Highest learning rate of the one-cycle schedule.
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

/// Trains to the end, or goes on with what `folder`, which holds this very configuration, has.
///
/// # Errors
/// Unreadable pictures, losses that are not finite.
///
/// `start` is a file of weights to begin with, such as another run's `best.safetensors`.
pub fn train(
    manifest: &Manifest,
    config: &SegmentConfig,
    start: Option<&Path>,
    folder: &Path,
    device: &Device,
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

    let net = config.net.init(config.seed, device)?;
    if let Some(path) = start {
        restore(&net, &Checkpoint::load(path, device)?).with_context(|| path.display().to_string())?;
    }
    let mut optimizer = Optimizer::new(net.trainable(), AdamWConfig::default())?;
    let mut best = (f64::NEG_INFINITY, 0);
    let mut first_epoch = 0;
    let latest = folder.join("latest.safetensors");
    if latest.exists() {
        let checkpoint = Checkpoint::load(&latest, device)?;
        restore(&net, &checkpoint)?;
        optimizer.restore(checkpoint.value("step")?, &checkpoint.tensors)?;
        first_epoch = checkpoint.value::<usize>("epoch")? + 1;
        best = (checkpoint.value("best_dice")?, checkpoint.value("best_epoch")?);
        eprintln!("resumed {} after epoch {first_epoch}", folder.display());
    }
    let steps_per_epoch = training.len() / config.batch.min(training.len());
    let batch = config.batch.min(training.len());
    let steps = steps_per_epoch * config.epochs;
    for epoch in first_epoch..config.epochs {
        let mut random = seeded::generator(config.seed, 1 + epoch as u64);
        let mut order: Vec<usize> = (0..training.len()).collect();
        order.shuffle(&mut random);
        let bar = progress(steps_per_epoch, &format!("epoch {}/{}", epoch + 1, config.epochs));
        let mut sum = 0.0;
        for (index, chosen) in order.chunks_exact(batch).enumerate() {
            let augmentations: Vec<Augmentation> =
                chosen.iter().map(|_| Augmentation::draw(config.modality, &mut random)).collect();
            let (x, y, known) = assemble(&training, chosen, Some(&augmentations), device)?;
            let loss = bce_dice(&net.forward(&x, true)?, &y, &known)?;
            let value = f64::from(loss.to_scalar::<f32>()?);
            anyhow::ensure!(
                value.is_finite(),
                "the loss is {value} in epoch {}, step {index}, pictures {}; lower --learning-rate",
                epoch + 1,
                chosen.iter().map(|&i| training[i].name.as_str()).collect::<Vec<_>>().join(", ")
            );
            let gradients = loss.backward()?;
            optimizer.step(&gradients, one_cycle(epoch * steps_per_epoch + index, steps, config.peak_learning_rate))?;
            sum += value;
            bar.set_message(format!("loss {:.4}", sum / (index + 1) as f64));
            bar.inc(1);
        }
        bar.finish_and_clear();
        let scores = evaluate(&net, &validation, device)?;
        let dice = scores[0].f1().unwrap_or(0.0);
        let lung = scores[1].f1().unwrap_or(0.0);
        let loss = sum / steps_per_epoch as f64;
        eprintln!(
            "epoch {:>3}: loss {loss:.4}, validation Dice infection {dice:.4}, lung {lung:.4} (pooled)",
            epoch + 1
        );
        let improved = dice > best.0;
        if improved {
            best = (dice, epoch);
        }
        let mut checkpoint = Checkpoint::default();
        checkpoint.tensors.extend(net.variables().into_iter().map(|(name, var)| (name, var.as_detached_tensor())));
        for (key, value) in [
            ("epoch", epoch.to_string()),
            ("step", optimizer.steps().to_string()),
            ("best_dice", best.0.to_string()),
            ("best_epoch", best.1.to_string()),
        ] {
            checkpoint.metadata.insert(key.into(), value);
        }
        if improved {
            checkpoint.save(&folder.join("best.safetensors"))?;
        }
        append_row(&folder.join("epochs.csv"), epoch, &format!("{epoch},{loss},{dice},{lung}"))?;
        checkpoint.tensors.extend(optimizer.state());
        checkpoint.save(&latest)?;
    }
    eprintln!("best validation Dice of the infection: {:.4}, epoch {}", best.0, best.1 + 1);
    Ok(())
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
    let latest = Checkpoint::load(&folder.join("latest.safetensors"), device)?;
    let done = latest.value::<usize>("epoch")? + 1;
    anyhow::ensure!(
        done >= config.epochs,
        "{}: only {done} of {} epochs are done; run the same train command again",
        folder.display(),
        config.epochs
    );
    let best = Checkpoint::load(&folder.join("best.safetensors"), device)?;
    let net = config.net.init(config.seed, device)?;
    restore(&net, &best)?;
    Ok(SegmentRun { net, best_dice: best.value("best_dice")?, best_epoch: best.value("best_epoch")?, config })
}

fn restore(net: &AttentionUnet, checkpoint: &Checkpoint) -> anyhow::Result<()> {
    for (name, var) in net.variables() {
        var.set(checkpoint.tensor(&name)?).with_context(|| name.clone())?;
    }
    Ok(())
}

/// Adds `row` to a CSV file that has one row an epoch, dropping rows of later epochs that a killed run left.
fn append_row(path: &Path, epoch: usize, row: &str) -> anyhow::Result<()> {
    let before = std::fs::read_to_string(path).unwrap_or_default();
    let mut text = String::from("epoch,loss,dice_infection,dice_lung\n");
    before.lines().skip(1).take(epoch).for_each(|line| text += &format!("{line}\n"));
    text += &format!("{row}\n");
    write_atomically(path, |out| out.write_all(text.as_bytes()))?;
    Ok(())
}

/// Pooled confusion of each mask over all `samples`.
///
/// # Errors
/// When the device fails.
pub fn evaluate(
    net: &AttentionUnet,
    samples: &[SegmentationSample],
    device: &Device,
) -> anyhow::Result<Vec<Confusion>> {
    let mut totals = vec![Confusion::default(); net.config().channels_out];
    let order: Vec<usize> = (0..samples.len()).collect();
    for chosen in order.chunks(8) {
        let (x, y, known) = assemble(samples, chosen, None, device)?;
        let logits = net.forward(&x, false)?.flatten_from(2)?.to_vec3::<f32>()?;
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
    let (_, _, h, w) = logits.dims4()?;
    // max(z, 0) - z y + ln(1 + exp(-|z|)): the stable form.
    let bce = ((logits.relu()? - (logits * truth)?)? + (logits.abs()?.neg()?.exp()? + 1.0)?.log()?)?;
    let pixels = (known.sum((0, 2, 3))? * (h * w) as f64)?;
    let bce = bce.broadcast_mul(known)?.sum((0, 2, 3))?.div(&(pixels + 1e-6)?)?;
    let probability = crate::nn::graph::sigmoid(logits)?.broadcast_mul(known)?;
    let truth = truth.broadcast_mul(known)?;
    let overlap = ((&probability * &truth)?.sum((0, 2, 3))? * 2.0)?;
    let total = (probability.sum((0, 2, 3))? + truth.sum((0, 2, 3))?)?;
    let dice = ((overlap + 1.0)? / (total + 1.0)?)?;
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
}

/// Bilinear value at `(x, y)`; 0 outside.
fn sample(plane: &[u8], side: usize, x: f32, y: f32) -> f32 {
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

/// Pictures `[N, 1, S, S]`, masks `[N, C, S, S]` and which masks are known `[N, C, 1, 1]`.
fn assemble(
    samples: &[SegmentationSample],
    chosen: &[usize],
    augmentations: Option<&[Augmentation]>,
    device: &Device,
) -> anyhow::Result<(Tensor, Tensor, Tensor)> {
    let side = samples[chosen[0]].side;
    let area = side * side;
    let rows: Vec<(Vec<f32>, Vec<f32>)> = chosen
        .par_iter()
        .enumerate()
        .map(|(row, &index)| {
            let sample_ = &samples[index];
            let Some(augmentation) = augmentations.map(|a| &a[row]) else {
                let x = sample_.picture.iter().map(|&v| sample_.normalised(f32::from(v))).collect();
                let y = sample_
                    .masks
                    .iter()
                    .flat_map(|m| (0..area).map(move |i| m.as_ref().map_or(0.0, |m| f32::from(m[i]) / 255.0)))
                    .collect();
                return (x, y);
            };
            let mut x = vec![0f32; area];
            let mut y = vec![0f32; area * MASKS.len()];
            for pixel in 0..area {
                let (u, v) = augmentation.source(pixel % side, pixel / side, side);
                let grey = (sample(&sample_.picture, side, u, v) / 255.0).powf(augmentation.gamma);
                let grey = ((grey - 0.5) * augmentation.contrast + 0.5 + augmentation.brightness).clamp(0.0, 1.0);
                x[pixel] = sample_.normalised(grey * 255.0);
                for (channel, mask) in sample_.masks.iter().enumerate() {
                    if let Some(mask) = mask {
                        y[channel * area + pixel] = f32::from(u8::from(sample(mask, side, u, v) > 127.0));
                    }
                }
            }
            (x, y)
        })
        .collect();
    let (x, y): (Vec<Vec<f32>>, Vec<Vec<f32>>) = rows.into_iter().unzip();
    let known: Vec<f32> =
        chosen.iter().flat_map(|&i| samples[i].masks.iter().map(|m| f32::from(u8::from(m.is_some())))).collect();
    let n = chosen.len();
    Ok((
        Tensor::from_vec(x.concat(), (n, 1, side, side), device)?,
        Tensor::from_vec(y.concat(), (n, MASKS.len(), side, side), device)?,
        Tensor::from_vec(known, (n, MASKS.len(), 1, 1), device)?,
    ))
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

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
            let (x, y, known) = assemble(std::slice::from_ref(&sample), &[0], Some(&[plain]), &Device::Cpu).unwrap();
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
