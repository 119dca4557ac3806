//! What a bundle says of itself. The order of the fields is the format: see `shared/SPEC.md`.

use super::{BundleError, Extension};
use crate::decision::DecisionRule;
use crate::modality::Modality;
use crate::preprocess::quality::QualityLimits;
use crate::preprocess::spec::PreprocessSpec;
use alloc::{string::String, vec::Vec};
use serde::{Deserialize, Serialize};

/// A short name: at most 64 bytes of UTF-8.
pub type Name = heapless::String<64>;
/// A SHA-256.
pub type Sha256Sum = [u8; 32];

/// Longest text, in bytes.
const MAX_TEXT: usize = 256;
/// Most parts.
const MAX_PARTS: usize = 64;
/// Most entries of any other list.
pub(super) const MAX_ENTRIES: usize = 256;
/// Least side of a picture on its way into a network: no radiograph is told by less.
const MIN_SIDE: u32 = 16;
/// The year 10000, in seconds since 1970.
const FAR_FUTURE: u64 = 253_402_300_800;

/// What a bundle says of itself, and what the device has to know to run it.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Manifest {
    /// Of the model, for people: `thorax-xray`.
    pub name: String,
    /// Of the model: `1.2.0`.
    pub version: String,
    /// When it was written, in seconds since 1970-01-01 UTC.
    pub created_unix_s: u64,
    /// What it reads.
    pub modality: Modality,
    /// What is shown for a negative and for a positive image, in this order.
    pub class_names: [Name; 2],
    /// The network that says positive or negative.
    pub classifier: Classifier,
    /// The network that marks what is affected, if there is one.
    pub segmenter: Option<Segmenter>,
    /// What an image has to reach before it is read.
    pub quality: QualityLimits,
    /// When it is positive, negative or left to a person.
    pub decision: DecisionRule,
    /// What makes its probabilities mean something.
    pub calibration: Calibration,
    /// Where it comes from.
    pub provenance: Provenance,
    /// What was added in version 2.
    #[serde(default)]
    pub extension: Extension,
}

/// A network of the bundle. Classifier and segmenter may be one: then both name the same part, input and preprocessing, and each its own
/// outputs.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Graph {
    /// Name of the part that holds the ONNX graph.
    pub part: Name,
    /// Name of the graph's input, `[1, C, S, S]` with `C` channels and side `S` of [`Graph::preprocess`].
    pub input: Name,
    /// Names of the graph's outputs; what they are is said with the network ([`Classifier`], [`Segmenter`]).
    pub outputs: Vec<Name>,
    /// From image to input.
    pub preprocess: PreprocessSpec,
}

/// The network that says positive or negative. The device finds its outputs by their names, in any order:
///
/// | output | shape | what |
/// |---|---|---|
/// | `logits` | `[1, members, ...]`, further dimensions are 1 | one logit a member, larger is more positive |
/// | `activation` | `[1, members, H, W]` | class activation map of each member; its mean is the member's logit |
/// | `novelty` | one number | distance from the training images, for [`DecisionRule::novelty_refer`] |
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Classifier {
    /// The network.
    pub graph: Graph,
    /// Members of the ensemble, one logit each.
    pub members: u16,
}

/// The network that marks what is affected. Its first output, whatever its name, is probabilities `[1, channels, S, S]`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Segmenter {
    /// The network.
    pub graph: Graph,
    /// What each channel of the first output marks: `infection`, and either `left_lung` and `right_lung` (the patient's) or
    /// `lung` for both, which [`crate::lungs::split`] cuts in two.
    pub channels: Vec<Name>,
    /// A pixel is marked if its probability is at least this.
    pub mask_threshold: f32,
}

/// What makes the probabilities mean something, fitted on validation images.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct Calibration {
    /// Every logit is divided by this.
    pub temperature: f32,
    /// Expected calibration error at temperature 1, 0 to 1.
    pub ece_before: f32,
    /// Expected calibration error at [`Calibration::temperature`], 0 to 1.
    pub ece_after: f32,
    /// Images it was fitted on.
    pub images: u32,
}

/// Where a model comes from: with these, somebody else can make it again.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Provenance {
    /// Of the data (of the manifest that lists every image with its hash).
    pub data_sha256: Sha256Sum,
    /// Of the file that says which patient is in which split.
    pub split_sha256: Sha256Sum,
    /// Revision of the source (git) that trained it.
    pub code_revision: String,
    /// Version of the trainer that wrote it.
    pub trainer_version: String,
    /// Seed of all random numbers.
    pub seed: u64,
    /// Of the pretrained weights it began with, if any.
    pub backbone_sha256: Option<Sha256Sum>,
    /// Every other file that went in.
    pub inputs: Vec<Hashed>,
}

/// A file that went in.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Hashed {
    /// Its name.
    pub name: String,
    /// Its hash.
    pub sha256: Sha256Sum,
}

/// What a part is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum PartKind {
    /// An ONNX graph.
    Onnx,
    /// The model card, Markdown in UTF-8.
    Card,
    /// Anything else.
    Other,
}

/// A part, as the manifest lists it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct PartEntry {
    /// A plain file name: letters, digits, `.`, `_` and `-`, no `.` in front.
    pub name: Name,
    /// What it is.
    pub kind: PartKind,
    /// Bytes.
    pub length: u64,
    /// Of its bytes.
    pub sha256: Sha256Sum,
}

/// What was encoded and signed in version 1.
#[derive(Deserialize)]
pub(super) struct FirstContents {
    manifest: FirstManifest,
    parts: Vec<PartEntry>,
}

/// [`Manifest`] without its extension.
#[derive(Deserialize)]
struct FirstManifest {
    name: String,
    version: String,
    created_unix_s: u64,
    modality: Modality,
    class_names: [Name; 2],
    classifier: Classifier,
    segmenter: Option<Segmenter>,
    quality: QualityLimits,
    decision: DecisionRule,
    calibration: Calibration,
    provenance: Provenance,
}

impl From<FirstContents> for Contents {
    fn from(FirstContents { manifest: first, parts }: FirstContents) -> Self {
        let manifest = Manifest {
            name: first.name,
            version: first.version,
            created_unix_s: first.created_unix_s,
            modality: first.modality,
            class_names: first.class_names,
            classifier: first.classifier,
            segmenter: first.segmenter,
            quality: first.quality,
            decision: first.decision,
            calibration: first.calibration,
            provenance: first.provenance,
            extension: Extension::default(),
        };
        Self { manifest, parts }
    }
}

/// What is encoded and signed: the manifest and the list of parts.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(super) struct Contents {
    pub(super) manifest: Manifest,
    pub(super) parts: Vec<PartEntry>,
}

pub(super) fn ensure(fine: bool, field: &'static str, problem: &'static str) -> Result<(), BundleError> {
    if fine { Ok(()) } else { Err(BundleError::InvalidManifest { field, problem }) }
}

pub(super) fn text(field: &'static str, text: &str) -> Result<(), BundleError> {
    ensure(!text.is_empty(), field, "is empty")?;
    ensure(text.len() <= MAX_TEXT, field, "is longer than 256 bytes")?;
    // What is shown on screens and terminals must not steer them.
    ensure(!text.chars().any(char::is_control), field, "contains control characters")
}

fn names(field: &'static str, names: &[Name]) -> Result<(), BundleError> {
    ensure(!names.is_empty(), field, "is empty")?;
    ensure(names.len() <= MAX_ENTRIES, field, "has more than 256 entries")?;
    names.iter().try_for_each(|name| text(field, name))?;
    let unique = names.iter().enumerate().all(|(i, name)| !names[..i].contains(name));
    ensure(unique, field, "has an entry twice")
}

pub(super) fn share(field: &'static str, value: f32) -> Result<(), BundleError> {
    ensure((0.0..=1.0).contains(&value), field, "is not within 0 to 1")
}

impl Manifest {
    /// Checks that every value is in its range. [`Bundle::read`](super::Bundle::read) and
    /// [`write`](super::write()) do so too.
    ///
    /// # Errors
    /// [`BundleError::InvalidManifest`], [`BundleError::Preprocess`] or [`BundleError::Decision`] for the first that is
    /// not.
    pub fn validate(&self) -> Result<(), BundleError> {
        text("name", &self.name)?;
        text("version", &self.version)?;
        ensure(self.created_unix_s < FAR_FUTURE, "created_unix_s", "is after the year 9999")?;
        names("class_names", &self.class_names)?;
        self.classifier.graph.validate("classifier")?;
        ensure(self.classifier.members > 0, "classifier.members", "is 0")?;
        if let Some(segmenter) = &self.segmenter {
            segmenter.graph.validate("segmenter")?;
            names("segmenter.channels", &segmenter.channels)?;
            let [left, right] = ["left_lung", "right_lung"].map(|channel| segmenter.marks(channel));
            ensure(left == right, "segmenter.channels", "has one lung without the other")?;
            share("segmenter.mask_threshold", segmenter.mask_threshold)?;
            ensure(
                !segmenter.graph.preprocess.core.follows_lungs(),
                "segmenter.preprocess.core",
                "is the lungs, which the segmenter has yet to find",
            )?;
        }
        ensure(
            !self.classifier.graph.preprocess.core.follows_lungs() || self.finds_lungs(),
            "classifier.preprocess.core",
            "is the lungs, which no segmenter of the bundle finds",
        )?;
        self.quality.validate().map_err(|error| BundleError::Preprocess { role: "quality", error })?;
        self.decision.validate()?;
        let Calibration { temperature, ece_before, ece_after, images: _ } = self.calibration;
        ensure(
            temperature.is_finite() && temperature > 0.0,
            "calibration.temperature",
            "is not a positive, finite number",
        )?;
        share("calibration.ece_before", ece_before)?;
        share("calibration.ece_after", ece_after)?;
        text("provenance.code_revision", &self.provenance.code_revision)?;
        text("provenance.trainer_version", &self.provenance.trainer_version)?;
        ensure(self.provenance.inputs.len() <= MAX_ENTRIES, "provenance.inputs", "has more than 256 entries")?;
        self.provenance.inputs.iter().try_for_each(|input| text("provenance.inputs", &input.name))?;
        self.extension.validate(self, None)
    }

    /// Whether its segmenter marks lungs and what is infected in them.
    pub(super) fn finds_lungs(&self) -> bool {
        self.segmenter.as_ref().is_some_and(|segmenter| {
            segmenter.marks("infection") && (segmenter.marks("left_lung") || segmenter.marks("lung"))
        })
    }
}

impl Segmenter {
    /// Whether one of its channels is called so.
    fn marks(&self, channel: &str) -> bool {
        self.channels.iter().any(|name| name == channel)
    }
}

impl Graph {
    /// Whether it is the same net as another, on the same picture, so that one run says what both say.
    pub fn is_one_with(&self, other: &Self) -> bool {
        self.part == other.part && self.input == other.input && self.preprocess == other.preprocess
    }

    fn validate(&self, role: &'static str) -> Result<(), BundleError> {
        text(role, &self.input)?;
        names(role, &self.outputs)?;
        self.preprocess.validate().map_err(|error| BundleError::Preprocess { role, error })?;
        let sides = [self.preprocess.working_side, self.preprocess.input_side];
        ensure(sides.iter().all(|side| *side >= MIN_SIDE), role, "has a picture's side below 16 pixels")
    }
}

impl Contents {
    /// [`Manifest::validate`], and that the parts are what it speaks of.
    pub(super) fn validate(&self) -> Result<(), BundleError> {
        self.manifest.validate()?;
        ensure(self.parts.len() <= MAX_PARTS, "parts", "are more than 64")?;
        for (i, part) in self.parts.iter().enumerate() {
            let plain = |c: char| c.is_ascii_alphanumeric() || "._-".contains(c);
            ensure(
                !part.name.is_empty() && !part.name.starts_with('.') && part.name.chars().all(plain),
                "parts",
                "have a name that is not of letters, digits, `.`, `_` and `-`, or begins with `.`",
            )?;
            if self.parts[..i].iter().any(|other| other.name == part.name) {
                return Err(BundleError::DuplicatePart { name: part.name.clone() });
            }
        }
        let segmenter = self.manifest.segmenter.as_ref().map(|segmenter| ("segmenter", &segmenter.graph));
        for (role, graph) in [Some(("classifier", &self.manifest.classifier.graph)), segmenter].into_iter().flatten() {
            if !self.parts.iter().any(|part| part.name == graph.part && part.kind == PartKind::Onnx) {
                return Err(BundleError::MissingPart { role, name: graph.part.clone() });
            }
        }
        self.manifest.extension.validate(&self.manifest, Some(&self.parts))
    }
}
