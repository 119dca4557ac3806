//! The folder of a run: how a backbone learnt, and the weights that it left.

use std::{collections::BTreeMap, path::Path};

use candle_core::Tensor;

use thorax_nets::{
    Backbone,
    backbones::reduction,
    source::{SideArgs, Source, SourceKind},
};
use thorax_nn::{checkpoint::Checkpoint, training::TrainingConfig};
use thorax_shared::{
    modality::Modality,
    preprocess::spec::{Core, PreprocessSpec},
};

use super::{
    lesions::LesionTask,
    net::{Frozen, LESION_MAP, Shape},
};
use crate::{
    changes::Copies,
    data::{Fold, recipe},
    markdown::escaped,
};

/// What a run leaves: the backbone's weights with its heads behind them.
pub const WEIGHTS: &str = "weights.safetensors";

/// How a run goes.
#[derive(Clone, Debug, PartialEq, serde::Serialize, serde::Deserialize)]
pub struct BackboneConfig {
    /// Whose pictures.
    pub modality: Modality,
    /// The net.
    pub shape: Shape,
    /// Where the weights that it starts from are from, and their hash.
    pub start: [String; 2],
    /// Hashes of the teachers, see [`Teachers::sha256`](super::teachers::Teachers::sha256). None where labels are learnt from.
    pub teachers: Vec<[String; 2]>,
    /// What each teacher sees of a picture, where one of them sees another part than the student.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub teachers_see: Vec<Core>,
    /// The names of those that are classifiers of a run folder, with their runs, such as `knn x 100`.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub classifiers: Vec<String>,
    /// What ensembles say is learnt by their own temperatures, as those who were distilled before did not.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub tempered: bool,
    /// Hash of the pictures without a label of which what the teachers say is learnt too; `None` where none are.
    pub unlabelled_sha256: Option<String>,
    /// Passes over the training pictures.
    pub epochs: usize,
    /// Pictures a step.
    pub batch: usize,
    /// Highest learning rate of the schedule, which the heads have.
    pub peak_learning_rate: f64,
    /// That of the first layer that is trained, as a share of the heads'; it grows from layer to layer by the same factor (Howard and Ruder
    /// 2018, section 3.2). `None`: all layers have the same.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub first_layer_rate: Option<f64>,
    /// Of resamples, of the order of pictures, and of which copy is drawn.
    pub seed: u64,
    /// The patients that are left out, as a member of a deep ensemble does.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub left_out: Option<Fold>,
    /// How a picture becomes the net's input.
    pub preprocess: PreprocessSpec,
    /// [`crate::segmentation::Origin::sha256`] of the segmenter whose lungs pictures are cropped to; `None` where they are not.
    pub lungs_sha256: Option<String>,
    /// Hash of the manifest.
    pub manifest_sha256: String,
    /// Changed copies that there are of each picture, one of which, or the picture itself, is drawn each time.
    pub copies: Copies,
    /// See [`crate::heads::ClassifyConfig::balance`].
    pub balance: f32,
    /// How much the squared difference of a head's logits of two copies of a picture counts.
    pub steadiness: f64,
    /// How much it counts beside the probabilities that the members' logits lie as far from their mean as the teachers'; `None` where that is
    /// not asked.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub doubt: Option<f64>,
    /// How lesions are learnt beside the labels; `None` where they are not.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub lesions: Option<LesionTask>,
    /// Optimizer, schedule and the like.
    pub training: TrainingConfig,
}

/// The word of a file of weights that says how they came about: a [`BackboneConfig`] as JSON.
const TRAINING: &str = "training";

/// What a file of weights says under [`TRAINING`].
fn words_of(source: &Source) -> Option<String> {
    let SourceKind::File(path) = &source.kind else { return None };
    Checkpoint::load_words(path).ok()?.metadata.remove(TRAINING)
}

impl BackboneConfig {
    /// Writes the net's tensors into the run's folder, but for those of [`LESION_MAP`], and how they came about.
    ///
    /// # Errors
    /// When the file cannot be written.
    pub(super) fn write(&self, mut tensors: BTreeMap<String, Tensor>, folder: &Path) -> anyhow::Result<()> {
        tensors.retain(|name, _| name.rsplit_once('.').is_none_or(|(layer, _)| layer != LESION_MAP));
        let mut words = BTreeMap::from([(TRAINING.to_owned(), serde_json::to_string(self)?)]);
        if !self.shape.reduction.is_whole() {
            words.insert(reduction::WORD.to_owned(), serde_json::to_string(&self.shape.reduction)?);
        }
        Ok(Checkpoint::new(tensors, words).save(&folder.join(WEIGHTS))?)
    }

    /// Whether a run of ours left the weights of `source`, of this version or another.
    pub fn is_of_a_run(source: &Source) -> bool {
        words_of(source).is_some()
    }

    /// The side of the pictures of `backbone` with the weights of `source`: as it was asked for, as a run of ours learnt them, or as published.
    pub fn side(source: &Source, backbone: Backbone, asked: SideArgs) -> usize {
        let learnt = || Self::of(source).map(|config| config.preprocess.input_side as usize);
        asked.asked().or_else(learnt).unwrap_or_else(|| backbone.input_side())
    }

    /// Sees that pictures which are prepared by `preprocess` are like those that the weights of `source` learnt from.
    ///
    /// # Errors
    /// Another side, or another part of the picture.
    pub fn saw_alike(source: &Source, preprocess: &PreprocessSpec) -> anyhow::Result<()> {
        let Some(Self { preprocess: learnt, .. }) = Self::of(source) else { return Ok(()) };
        anyhow::ensure!(
            learnt.input_side == preprocess.input_side && learnt.core == preprocess.core,
            "{}: learnt from {} ({} pixels), the features are of {} ({} pixels); give --side, --lungs and --lungs-alone as in its training",
            source.origin,
            recipe::seen_part(learnt.core),
            learnt.input_side,
            recipe::seen_part(preprocess.core),
            preprocess.input_side
        );
        Ok(())
    }

    /// How the weights of `source` came about, where a run of ours left them.
    pub fn of(source: &Source) -> Option<Self> {
        serde_json::from_str(&words_of(source)?).ok()
    }

    /// For a card.
    pub fn describe(&self) -> String {
        let Self {
            shape,
            start: [origin, sha256],
            teachers,
            teachers_see,
            unlabelled_sha256,
            epochs,
            copies,
            balance,
            steadiness,
            first_layer_rate,
            lesions,
            classifiers,
            left_out,
            doubt,
            ..
        } = self;
        let from = match teachers.len() {
            _ if !classifiers.is_empty() => format!(
                "what the runs of other classifiers ({}) say of the pictures whose patients they had not learnt from",
                classifiers.join(", ")
            ),
            0 => format!("the labels, by {} heads on bootstrap resamples of the training patients", shape.members),
            count => format!(
                "what {count} {} of {} members in all{} {} of the pictures as they are{}",
                if count == 1 { "teacher" } else { "teachers" },
                shape.members,
                match &teachers_see[..] {
                    [] => String::new(),
                    seen => {
                        let seen: Vec<_> = seen.iter().map(|&core| recipe::seen_part(core)).collect();
                        format!(" (seeing {})", seen.join("; "))
                    }
                },
                if count == 1 { "says" } else { "say" },
                if unlabelled_sha256.is_some() { ", those without a label too" } else { "" },
            ),
        };
        let origin = escaped(origin);
        format!(
            "{}{} trained from {origin} (SHA-256 `{sha256}`) on {from}; {}{}{}{}{} epochs, seed {}; one of {} changed copies of a picture, or the \
             picture itself, was seen each time; sources and classes balanced by {balance}, two copies' logits drawn together by {steadiness}{}",
            shape.backbone,
            shape.reduction,
            match shape.frozen {
                Frozen::None => String::new(),
                frozen => format!("kept as it was up to the map {}; ", frozen.name()),
            },
            left_out.map(|fold| format!("without the patients of fold {fold}; ")).unwrap_or_default(),
            first_layer_rate
                .map(|share| format!("learning rates from {share} times the heads' at the first layer; "))
                .unwrap_or_default(),
            lesions
                .as_ref()
                .map(|task| {
                    format!(
                        "where lesions lie was learnt beside it, from {} (factor {}); ",
                        task.told_by(),
                        task.factor
                    )
                })
                .unwrap_or_default(),
            epochs,
            self.seed,
            copies.count,
            doubt.map(|factor| format!(", what members disagree in weighed by {factor}")).unwrap_or_default(),
        )
    }
}
