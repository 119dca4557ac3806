//! What bundles say since version 2 of the format, each only if it applies. The order of the fields is the format: see
//! `shared/SPEC.md`.

use alloc::{string::String, vec::Vec};

use serde::{Deserialize, Serialize};

use super::{
    BundleError, Manifest,
    manifest::{MAX_ENTRIES, Name, PartEntry, PartKind, ensure, share, text},
};
use crate::{calibration::ProbabilityMap, lesions::LesionEvidence, verdict::RejectReason};

/// What a manifest of version 2 adds to that of version 1; nothing in one of version 1.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Extension {
    /// How the infected share of the lungs that the segmenter finds moves the classifier's logits, before their temperature.
    pub lesions: Option<LesionEvidence>,
    /// What is done to the mean probability after the temperature.
    pub probability_map: Option<ProbabilityMap>,
    /// What the classifier's output `refusal` says, in its order.
    pub refusals: Vec<Refusal>,
    /// The youngest patient that it may read.
    pub minimum_age_years: Option<u8>,
    /// The graphs in other precisions than those that the manifest names. Thorax writes none, and runs none: a bundle has one arithmetic.
    pub precisions: Vec<OtherPrecision>,
    /// Answers that a device must give on phantoms before it is trusted with patients.
    pub golden: Vec<GoldenAnswer>,
    /// What it was distilled from.
    pub teacher: Option<Teacher>,
    /// What *positive* means.
    pub disease: Option<Disease>,
}

/// A kind of picture that is rejected: the logistic of one value of the classifier's output `refusal`, `[1, kinds, ...]`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Refusal {
    /// What such pictures are, for people: `lateral film`.
    pub kind: Name,
    /// What is said of them.
    pub reason: RejectReason,
    /// They are rejected from this probability on.
    pub at: f32,
}

/// One of the bundle's two graphs.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Role {
    /// [`Manifest::classifier`].
    Classifier,
    /// [`Manifest::segmenter`].
    Segmenter,
}

/// In what numbers a graph calculates.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Precision {
    /// 32-bit floating point, from weights stored as 16-bit ones.
    Half,
    /// 8-bit integers.
    Int8,
}

/// A graph in another precision: same input, outputs and recipe as the manifest's.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct OtherPrecision {
    /// Which graph.
    pub role: Role,
    /// In what numbers.
    pub precision: Precision,
    /// Name of the part that holds it.
    pub part: Name,
}

/// What the bundle answers on a phantom of 512 x 512 pixels, to 1e-4 in probability and entropy and 0.1 in percent.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct GoldenAnswer {
    /// Seed of the phantom, which is of the bundle's modality.
    pub seed: u64,
    /// Whether it is drawn with lesions.
    pub lesions: bool,
    /// Mean probability.
    pub probability: f32,
    /// Entropy of the mean distribution, in bits.
    pub entropy_bits: f32,
    /// Infected share of the lungs, in percent; `None` where hardly any lung is found.
    pub involvement_percent: Option<f32>,
}

/// What a bundle was distilled from, and how good that is.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Teacher {
    /// Its name.
    pub name: String,
    /// Its AUC on the validation split.
    pub auc: f32,
    /// Pooled Dice of its infection masks on the validation split, where it draws any.
    pub dice: Option<f32>,
}

/// What *positive* means.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Disease {
    /// In words, as a panel shows it: `pneumonia as COVID-19 makes it`.
    pub words: Name,
    /// Coding scheme designator (PS3.16, Table 8-1): `SCT`.
    pub scheme: Name,
    /// Code in it.
    pub code: Name,
    /// Meaning of the code.
    pub meaning: Name,
}

impl Extension {
    /// Checks every value, and that what it speaks of is there.
    pub(super) fn validate(&self, manifest: &Manifest, parts: Option<&[PartEntry]>) -> Result<(), BundleError> {
        if let Some(LesionEvidence { mean, std, weights }) = &self.lesions {
            let finite = weights.iter().chain([mean]).all(|value| value.is_finite());
            ensure(finite, "lesions", "has a value that is no number")?;
            ensure(std.is_finite() && *std > 0.0, "lesions.std", "is not a positive, finite number")?;
            let members = usize::from(manifest.classifier.members);
            ensure(weights.len() == members, "lesions.weights", "are not as many as members")?;
            ensure(manifest.finds_lungs(), "lesions", "are found by no segmenter of the bundle")?;
        }
        if let Some(map) = &self.probability_map {
            ensure(map.is_valid(), "probability_map", "leaves 0 to 1, or turns probabilities round")?;
        }
        ensure(self.refusals.len() <= MAX_ENTRIES, "refusals", "has more than 256 entries")?;
        for refusal in &self.refusals {
            text("refusals.kind", &refusal.kind)?;
            share("refusals.at", refusal.at)?;
        }
        let told = manifest.classifier.graph.outputs.iter().any(|output| output == "refusal");
        ensure(self.refusals.is_empty() || told, "refusals", "are told by no output of the classifier")?;
        ensure(self.precisions.len() <= MAX_ENTRIES, "precisions", "has more than 256 entries")?;
        let segmented = manifest.segmenter.is_some();
        for precision in &self.precisions {
            ensure(
                segmented || precision.role == Role::Classifier,
                "precisions",
                "speak of a segmenter that is not there",
            )?;
            let is_part = |part: &PartEntry| part.name == precision.part && part.kind == PartKind::Onnx;
            if parts.is_some_and(|parts| !parts.iter().any(is_part)) {
                let role = if precision.role == Role::Classifier { "classifier" } else { "segmenter" };
                return Err(BundleError::MissingPart { role, name: precision.part.clone() });
            }
        }
        ensure(self.golden.len() <= MAX_ENTRIES, "golden", "has more than 256 entries")?;
        for answer in &self.golden {
            share("golden.probability", answer.probability)?;
            share("golden.entropy_bits", answer.entropy_bits)?;
            let percent = answer.involvement_percent.unwrap_or_default();
            ensure((0.0..=100.0).contains(&percent), "golden.involvement_percent", "is not within 0 to 100")?;
        }
        if let Some(teacher) = &self.teacher {
            text("teacher.name", &teacher.name)?;
            share("teacher.auc", teacher.auc)?;
            share("teacher.dice", teacher.dice.unwrap_or_default())?;
        }
        if let Some(Disease { words, scheme, code, meaning }) = &self.disease {
            [words, scheme, code, meaning].into_iter().try_for_each(|word| text("disease", word))?;
        }
        Ok(())
    }
}
