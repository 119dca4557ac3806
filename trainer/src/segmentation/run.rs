//! The folder of a run of `thorax-train train segment`: how it was trained, its best weights, and the threshold chosen with them.

use std::path::Path;

use anyhow::Context;
use candle_core::Device;
use sha2::{Digest, Sha256};
use thorax_files::{file_sha256, hexadecimal, write_atomically};
use thorax_nets::segmentation::{Net, NetConfig};
use thorax_nn::{
    checkpoint::Checkpoint,
    graph::Graph,
    losses::LossConfig,
    training::{BEST, TrainingConfig, is_finished},
};
use thorax_shared::{mask, modality::Modality, preprocess::spec::PreprocessSpec};

use super::augment::AugmentationConfig;
use crate::{
    changes::Copies,
    data::{Manifest, Task, fingerprint},
};

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
    /// Positive pictures with boxes around their lesions that are drawn for each epoch from those of the training split. 0 for none.
    #[serde(default, skip_serializing_if = "is_none")]
    pub boxed: usize,
    /// Hashes of the table of boxes and of the segmenter whose lungs they are cut to; `None` where none are drawn.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub boxes_sha256: Option<[String; 2]>,
    /// Pictures that teachers draw the masks of; `None` where there are none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub taught: Option<TaughtConfig>,
    /// Hash of the weights the run starts from; `None` for drawn ones.
    pub start_sha256: Option<String>,
    /// Changed copies of each training picture, one of which (or the picture itself) is drawn each time; of a validation picture, and
    /// of one of class `normal`, there is one. Earlier runs had none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub copies: Option<Copies>,
    /// What is made small.
    pub loss: LossConfig,
    /// How pictures are varied.
    pub augmentation: AugmentationConfig,
    /// Optimizer, schedule and the like.
    pub training: TrainingConfig,
}

/// What a run learns from teachers.
#[derive(Clone, Debug, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub struct TaughtConfig {
    /// Pictures that are drawn for each epoch from all of the training split, with a class or without a label.
    pub pictures: usize,
    /// Hash of those.
    pub pictures_sha256: String,
    /// Name and hash of each teacher.
    pub teachers: Vec<[String; 2]>,
}

#[allow(clippy::trivially_copy_pass_by_ref, reason = "serde asks so")]
fn is_none(count: &usize) -> bool {
    *count == 0
}

impl SegmentConfig {
    /// What runs share that differ in their seed alone. The weights a run started from are its own, so only whether it had some counts.
    pub fn without_seed(&self) -> Self {
        Self { seed: 0, start_sha256: self.start_sha256.as_ref().map(|_| String::new()), ..self.clone() }
    }

    /// Whether the run was shown pictures by their class, beside those with masks: healthy ones, positive ones with boxes, or what teachers
    /// draw on either. (The weights that it may have started from are not asked.)
    pub fn knows_classes(&self) -> bool {
        self.healthy > 0 || self.boxed > 0 || self.taught.is_some()
    }

    /// Whether the run learnt from this very manifest: its pictures with masks, and those of class `normal` and those that teachers drew
    /// masks on where it drew some.
    /// (The weights that it may have started from are not asked.)
    ///
    /// # Errors
    /// A mask that cannot be read.
    pub fn learnt_from(&self, manifest: &Manifest) -> anyhow::Result<bool> {
        let healthy = self
            .healthy_sha256
            .is_some()
            .then(|| fingerprint::healthy_fingerprint(manifest, self.modality))
            .transpose()?;
        let taught =
            self.taught.is_some().then(|| fingerprint::taught_fingerprint(manifest, self.modality)).transpose()?;
        Ok(healthy == self.healthy_sha256
            && taught.as_ref() == self.taught.as_ref().map(|taught| &taught.pictures_sha256)
            && self.manifest_sha256 == fingerprint::fingerprint(manifest, self.modality, Task::Segment)?)
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
            preprocess: crate::data::recipe::preprocess_spec(
                Modality::Ct,
                64,
                Normalise { mean: vec![0.5], std: vec![0.25] },
            ),
            manifest_sha256: "00".into(),
            healthy: 0,
            healthy_sha256: None,
            boxed: 0,
            boxes_sha256: None,
            taught: None,
            start_sha256: None,
            copies: None,
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
    /// The trainings before it, the first one first: none for a run that began with drawn weights, `None` where the weights it began
    /// with came without a record of theirs.
    pub earlier: Option<Vec<SegmentConfig>>,
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

/// Of the steps between 0 and 1, `steps` of them with the upper end, the one of the best Dice; of several, the one nearest to a half.
pub(crate) fn best_step(steps: usize, dice: impl Fn(usize) -> f64) -> usize {
    let half = steps / 2;
    let mut inside: Vec<usize> = (1..steps).collect();
    inside.sort_by_key(|step| step.abs_diff(half));
    inside.into_iter().fold(half, |best, step| if dice(step) > dice(best) { step } else { best })
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
pub(super) fn best_net(folder: &Path, config: &SegmentConfig, device: &Device) -> anyhow::Result<(Net, Checkpoint)> {
    let best = Checkpoint::load(&folder.join(BEST), device)?;
    let net = config.net.init(config.seed, device)?;
    best.restore(&net.variables())?;
    Ok((net, best))
}

impl SegmentRun {
    /// The net's graph, with the chosen threshold moved to 0.5.
    ///
    /// # Errors
    /// When the device fails.
    pub fn graph(&self) -> candle_core::Result<Graph> {
        let mut thresholds = [0.5; mask::NAMES.len()];
        thresholds[mask::INFECTION] = self.threshold.probability;
        self.net.to_graph_at(self.config.preprocess.input_side as usize, &thresholds)
    }
}

/// The file in a run's folder that has the configurations of the trainings before it, the first one first.
const STAGES: &str = "stages.json";

/// Keeps in `folder` how the weights were trained that its run begins with: the run `start` is of, and those before it. Weights
/// without a run around them leave no such record.
///
/// # Errors
/// A record that cannot be read or written.
pub fn record_stages(folder: &Path, start: &Path) -> anyhow::Result<()> {
    let before = start.parent().unwrap_or(Path::new("."));
    let Ok(text) = std::fs::read_to_string(before.join("config.json")) else { return Ok(()) };
    let Ok(config) = serde_json::from_str::<SegmentConfig>(&text) else { return Ok(()) };
    let Some(mut stages) = earlier_stages(before, &config)? else { return Ok(()) };
    stages.push(config);
    let text = serde_json::to_string_pretty(&stages)?;
    Ok(write_atomically(&folder.join(STAGES), |out| out.write_all(text.as_bytes()))?)
}

/// What [`record_stages`] kept.
fn earlier_stages(folder: &Path, config: &SegmentConfig) -> anyhow::Result<Option<Vec<SegmentConfig>>> {
    if config.start_sha256.is_none() {
        return Ok(Some(vec![]));
    }
    let path = folder.join(STAGES);
    match std::fs::read_to_string(&path) {
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(error).with_context(|| path.display().to_string()),
        Ok(text) => Ok(Some(serde_json::from_str(&text).with_context(|| {
            format!(
                "{}: not the stages of a run of this version; delete it, and the card will say that they are unknown",
                path.display()
            )
        })?)),
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
    anyhow::ensure!(
        !text.contains("\"instance_net\""),
        "{}: a run of train instance, which finds single lesions; masks judge takes it, but nothing else does yet",
        folder.display()
    );
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
    let earlier = earlier_stages(folder, &config)?;
    Ok(SegmentRun { net, best_dice, best_epoch, config, threshold, earlier })
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    /// Each stage of a training knows those before it, and says so where it does not.
    #[test]
    fn stages_are_recorded_from_run_to_run() {
        use thorax_nets::segmentation::unet::UnetConfig;

        let root = tempfile::tempdir().unwrap();
        let run = |name: &str, seed: u64, start: Option<&str>| {
            let config = SegmentConfig {
                start_sha256: start.map(|_| "ff".into()),
                ..SegmentConfig::example(NetConfig::Unet(UnetConfig::default()), seed)
            };
            let folder = root.path().join(name);
            std::fs::create_dir_all(&folder).unwrap();
            std::fs::write(folder.join("config.json"), serde_json::to_string(&config).unwrap()).unwrap();
            if let Some(start) = start {
                record_stages(&folder, &root.path().join(start).join(BEST)).unwrap();
            }
            earlier_stages(&folder, &config).unwrap().map(|stages| stages.iter().map(|s| s.seed).collect::<Vec<_>>())
        };
        assert_eq!(run("first", 1, None), Some(vec![]));
        assert_eq!(run("second", 2, Some("first")), Some(vec![1]));
        assert_eq!(run("third", 3, Some("second")), Some(vec![1, 2]));
        assert_eq!(run("of-a-file", 4, Some("nowhere")), None, "weights without a run");
        assert_eq!(run("after-it", 5, Some("of-a-file")), None, "nor is anything known of what stands on them");
    }

    #[test]
    fn a_run_of_another_version_is_refused() {
        let folder = tempfile::tempdir().unwrap();
        std::fs::write(folder.path().join("config.json"), r#"{"modality": "ct", "epochs": 3}"#).unwrap();
        let error = format!("{:#}", load(folder.path(), &Device::Cpu).err().unwrap());
        assert!(error.contains("config.json") && error.contains("train it anew"), "{error}");
    }
}
