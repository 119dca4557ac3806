//! The folder of a run of `thorax-train train instance`: how it was trained, its best weights, and the score chosen with them.

use std::path::Path;

use anyhow::Context;
use candle_core::Device;
use thorax_nets::instance::{InstanceConfig, InstanceNet};
use thorax_nn::{
    checkpoint::Checkpoint,
    training::{BEST, TrainingConfig, is_finished},
};
use thorax_shared::{modality::Modality, preprocess::spec::PreprocessSpec};

use crate::{
    changes::Copies,
    data::{Manifest, Task, fingerprint},
    segmentation::augment::AugmentationConfig,
};

/// How a run goes.
#[derive(Clone, Debug, PartialEq, serde::Serialize, serde::Deserialize)]
#[serde(deny_unknown_fields)]
pub struct InstanceRunConfig {
    /// Whose pictures.
    pub modality: Modality,
    /// The net. (A run of `train segment` has it under another name, so that neither is taken for the other.)
    pub instance_net: InstanceConfig,
    /// Where the backbone's weights are from, and their hash.
    pub backbone: [String; 2],
    /// Passes over the training pictures.
    pub epochs: usize,
    /// Pictures a step.
    pub batch: usize,
    /// Highest learning rate of the schedule.
    pub peak_learning_rate: f64,
    /// Of weights, of the order of pictures, of their augmentation, and of what is sampled.
    pub seed: u64,
    /// How a picture becomes the net's input.
    pub preprocess: PreprocessSpec,
    /// Hash of the manifest, so that a run is not resumed on other data.
    pub manifest_sha256: String,
    /// Pictures of class `normal` that are drawn for each epoch from those of the training split, as pictures without lesions.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub healthy: usize,
    /// Hash of the manifest's pictures of class `normal`, where some are drawn.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub healthy_sha256: Option<String>,
    /// Hash of the weights that the whole net began with, where it began with any.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub start_sha256: Option<String>,
    /// Changed copies of each picture to learn from, where there are any.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub copies: Option<Copies>,
    /// A component of the infection mask with fewer pixels than this, at the net's size, is no lesion.
    pub smallest_lesion: usize,
    /// How pictures are varied.
    pub augmentation: AugmentationConfig,
    /// Optimizer, schedule and the like.
    pub training: TrainingConfig,
}

fn is_zero(count: &usize) -> bool {
    *count == 0
}

impl InstanceRunConfig {
    /// What runs share that differ in their seed alone. The weights a run started from are its own, so only whether it had some counts.
    pub fn without_seed(&self) -> Self {
        Self { seed: 0, start_sha256: self.start_sha256.as_ref().map(|_| String::new()), ..self.clone() }
    }

    /// Whether the run learnt from this very manifest.
    ///
    /// # Errors
    /// A mask that cannot be read.
    pub fn learnt_from(&self, manifest: &Manifest) -> anyhow::Result<bool> {
        let healthy = self.healthy_sha256.is_some();
        let healthy = healthy.then(|| fingerprint::healthy_fingerprint(manifest, self.modality)).transpose()?;
        Ok(self.manifest_sha256 == fingerprint::fingerprint(manifest, self.modality, Task::Segment)?
            && self.healthy_sha256 == healthy)
    }
}

/// From which score on a lesion counts, chosen on the validation split.
#[derive(Clone, Copy, Debug, PartialEq, serde::Serialize, serde::Deserialize)]
pub struct ScoreThreshold {
    /// The score.
    pub score: f32,
    /// Validation Dice of the union of the lesions (pooled) there.
    pub dice: f64,
}

/// The file in a run's folder that has its [`ScoreThreshold`]; it is written last, and a run without it is not done.
pub const THRESHOLD: &str = "score_threshold.json";

/// What a finished run is known by.
pub struct InstanceRun {
    /// The best weights.
    pub net: InstanceNet,
    /// How it was trained.
    pub config: InstanceRunConfig,
    /// What was chosen with its weights.
    pub threshold: ScoreThreshold,
}

/// Whether a folder has a run of `train instance`, finished or not.
pub fn is_run(folder: &Path) -> bool {
    let text = std::fs::read_to_string(folder.join("config.json")).unwrap_or_default();
    text.contains("\"instance_net\"")
}

/// The net with its best weights.
pub(super) fn best_net(folder: &Path, config: &InstanceRunConfig, device: &Device) -> anyhow::Result<InstanceNet> {
    let net = config.instance_net.init(config.seed, device)?;
    Checkpoint::load(&folder.join(BEST), device)?.restore(&net.variables())?;
    Ok(net)
}

/// Reads the best weights of a run.
///
/// # Errors
/// A folder without a run, with an unfinished one, or with a damaged one.
pub fn load(folder: &Path, device: &Device) -> anyhow::Result<InstanceRun> {
    let read = |name: &str, remedy: &str| {
        let path = folder.join(name);
        std::fs::read_to_string(&path).with_context(|| format!("{}: {remedy}", path.display()))
    };
    let text = read("config.json", "no run of single lesions; train one with thorax-train train instance")?;
    let config: InstanceRunConfig = serde_json::from_str(&text).with_context(|| {
        format!("{}: not the configuration of a run of train instance of this version; train it anew", folder.display())
    })?;
    anyhow::ensure!(
        is_finished(folder)?,
        "{}: not all of its {} epochs are done; run the same train command again",
        folder.display(),
        config.epochs
    );
    let text = read(THRESHOLD, "not chosen yet; run the same train command again")?;
    let threshold: ScoreThreshold = serde_json::from_str(&text).with_context(|| {
        format!("{}: {THRESHOLD} is damaged; delete it, and run the same train command again", folder.display())
    })?;
    Ok(InstanceRun { net: best_net(folder, &config, device)?, config, threshold })
}
