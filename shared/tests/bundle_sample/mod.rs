//! A small bundle, and a second writer of the format that follows SPEC.md and not the crate's code.
#![allow(dead_code, clippy::unwrap_used, clippy::expect_used)]

use ed25519_dalek::{Signer, SigningKey};
use serde::Serialize;
use sha2::{Digest, Sha256};
use thorax_shared::bundle::{
    Calibration, Classifier, Disease, Extension, GoldenAnswer, Graph, Hashed, Manifest, Name, OtherPrecision, PartKind,
    PartSource, Precision, Provenance, Refusal, Role, SecretKey, Segmenter, Teacher, TrustedKeys, write,
};
use thorax_shared::calibration::ProbabilityMap;
use thorax_shared::decision::DecisionRule;
use thorax_shared::lesions::LesionEvidence;
use thorax_shared::modality::Modality;
use thorax_shared::preprocess::QualityLimits;
use thorax_shared::preprocess::spec::{Clahe, Core, Equalisation, Normalise, PreprocessSpec, Window};
use thorax_shared::verdict::RejectReason;

pub(crate) const SEED: [u8; 32] = [7; 32];

pub(crate) fn key() -> SecretKey {
    SecretKey::from_seed(&mut SEED.clone())
}

pub(crate) fn trusted() -> TrustedKeys {
    TrustedKeys::only(key().public_key())
}

pub(crate) fn name(text: &str) -> Name {
    Name::try_from(text).expect("at most 64 bytes")
}

fn preprocess(window: Window, clahe: Equalisation, core: Core) -> PreprocessSpec {
    let normalise = Normalise { mean: vec![0.5], std: vec![0.25] };
    PreprocessSpec { window, working_side: 1024, clahe, core, input_side: 224, normalise }
}

pub(crate) fn manifest() -> Manifest {
    Manifest {
        name: "thorax-ct".into(),
        version: "1.0.0".into(),
        created_unix_s: 1_700_000_000,
        modality: Modality::Ct,
        class_names: [name("normal"), name("COVID-19")],
        classifier: Classifier {
            graph: Graph {
                part: name("classifier.onnx"),
                input: name("image"),
                outputs: vec![name("logits"), name("activation"), name("novelty"), name("refusal")],
                preprocess: preprocess(
                    Window::Hounsfield { center: -600.0, width: 1500.0 },
                    Equalisation::Once { clahe: Clahe { clip_limit: 2.0, tiles_x: 8, tiles_y: 8 }, done_from: 0.75 },
                    Core::Body { margin: 0.05 },
                ),
            },
            members: 4,
        },
        segmenter: Some(Segmenter {
            graph: Graph {
                part: name("segmenter.onnx"),
                input: name("image"),
                outputs: vec![name("masks")],
                preprocess: preprocess(Window::Quantiles { low: 0.005, high: 0.995 }, Equalisation::Never, Core::Whole),
            },
            channels: vec![name("infection"), name("lung")],
            mask_threshold: 0.5,
        }),
        quality: QualityLimits { min_sharpness: 0.42, ..QualityLimits::default() },
        decision: DecisionRule {
            positive_at: 0.75,
            negative_at: 0.25,
            entropy_limit_bits: 0.875,
            novelty_refer: 2.0,
            novelty_reject: 4.0,
        },
        calibration: Calibration { temperature: 1.5, ece_before: 0.125, ece_after: 0.03125, images: 300 },
        provenance: Provenance {
            data_sha256: [0xd1; 32],
            split_sha256: [0x51; 32],
            code_revision: "1a1d69c".into(),
            trainer_version: "0.1.0".into(),
            seed: 42,
            backbone_sha256: Some([0xbb; 32]),
            inputs: vec![Hashed { name: "train.toml".into(), sha256: [0x17; 32] }],
        },
        extension: extension(),
    }
}

fn extension() -> Extension {
    Extension {
        lesions: Some(LesionEvidence { mean: 1.5, std: 0.75, weights: vec![0.5, 1.0, 0.25, 0.75] }),
        probability_map: Some(ProbabilityMap::Beta { a: 1.25, b: 0.5, c: -0.25 }),
        refusals: vec![Refusal { kind: name("lateral film"), reason: RejectReason::NotFrontal, at: 0.5 }],
        minimum_age_years: Some(16),
        precisions: vec![OtherPrecision {
            role: Role::Segmenter,
            precision: Precision::Int8,
            part: name("segmenter.int8.onnx"),
        }],
        golden: vec![GoldenAnswer {
            seed: 7,
            lesions: true,
            probability: 0.875,
            entropy_bits: 0.5,
            involvement_percent: Some(12.5),
        }],
        teacher: Some(Teacher { name: "ensemble of 5".into(), auc: 0.875, dice: Some(0.75) }),
        disease: Some(Disease {
            words: name("COVID-19 pneumonia"),
            scheme: name("SCT"),
            code: name("882784691000119100"),
            meaning: name("Pneumonia caused by SARS-CoV-2"),
        }),
    }
}

pub(crate) const PARTS: [PartSource<'static>; 4] = [
    PartSource { name: "classifier.onnx", kind: PartKind::Onnx, bytes: b"graph 1" },
    PartSource { name: "segmenter.onnx", kind: PartKind::Onnx, bytes: b"graph 2" },
    PartSource { name: "segmenter.int8.onnx", kind: PartKind::Onnx, bytes: b"graph 3" },
    PartSource { name: "card.md", kind: PartKind::Card, bytes: b"# Card\n" },
];

pub(crate) fn bundle() -> Vec<u8> {
    write(manifest(), &PARTS, &key()).expect("a valid bundle")
}

/// The file of version 2 for an encoded manifest and its parts, signed with the trusted key.
pub(crate) fn frame(manifest: &[u8], parts: &[u8]) -> Vec<u8> {
    frame_of(2, manifest, parts)
}

/// The same of any version.
pub(crate) fn frame_of(version: u8, manifest: &[u8], parts: &[u8]) -> Vec<u8> {
    let mut file = [b"THORAX".as_slice(), &[version, 0]].concat();
    file.extend((manifest.len() as u32).to_le_bytes());
    file.extend((parts.len() as u64).to_le_bytes());
    file.extend(manifest);
    let key = SigningKey::from_bytes(&SEED);
    let signature = key.sign(&file).to_bytes();
    file.extend(parts);
    file.extend(key.verifying_key().to_bytes());
    file.extend(signature);
    file
}

/// The fields of the sample's manifest in the order of the format, each with its encoding and whether that is the
/// length of a text or list.
pub(crate) fn fields() -> Vec<(String, Vec<u8>)> {
    let m = manifest();
    let mut list = Fields::default();
    list.text("name", &m.name);
    list.text("version", &m.version);
    list.add("created_unix_s", m.created_unix_s);
    list.add("modality: 0 xray, 1 ct", m.modality);
    list.text("class_names[0]", &m.class_names[0]);
    list.text("class_names[1]", &m.class_names[1]);
    list.graph("classifier.graph", &m.classifier.graph);
    list.add("classifier.members", m.classifier.members);
    let segmenter = m.segmenter.expect("sample has one");
    list.add("segmenter: 0 none, 1 follows", 1u8);
    list.graph("segmenter.graph", &segmenter.graph);
    list.add("segmenter.channels: count", segmenter.channels.len());
    for (i, channel) in segmenter.channels.iter().enumerate() {
        list.text(&format!("segmenter.channels[{i}]"), channel);
    }
    list.add("segmenter.mask_threshold", segmenter.mask_threshold);
    list.add("quality.min_side", m.quality.min_side);
    list.add("quality.max_aspect", m.quality.max_aspect);
    list.add("quality.max_colour_share", m.quality.max_colour_share);
    list.add("quality.min_grey_levels", m.quality.min_grey_levels);
    list.add("quality.max_dark_share", m.quality.max_dark_share);
    list.add("quality.max_bright_share", m.quality.max_bright_share);
    list.add("quality.min_contrast", m.quality.min_contrast);
    list.add("quality.good_contrast", m.quality.good_contrast);
    list.add("quality.min_sharpness", m.quality.min_sharpness);
    list.add("quality.good_sharpness", m.quality.good_sharpness);
    list.add("decision.positive_at", m.decision.positive_at);
    list.add("decision.negative_at", m.decision.negative_at);
    list.add("decision.entropy_limit_bits", m.decision.entropy_limit_bits);
    list.add("decision.novelty_refer", m.decision.novelty_refer);
    list.add("decision.novelty_reject", m.decision.novelty_reject);
    list.add("calibration.temperature", m.calibration.temperature);
    list.add("calibration.ece_before", m.calibration.ece_before);
    list.add("calibration.ece_after", m.calibration.ece_after);
    list.add("calibration.images", m.calibration.images);
    list.add("provenance.data_sha256", m.provenance.data_sha256);
    list.add("provenance.split_sha256", m.provenance.split_sha256);
    list.text("provenance.code_revision", &m.provenance.code_revision);
    list.text("provenance.trainer_version", &m.provenance.trainer_version);
    list.add("provenance.seed", m.provenance.seed);
    list.add("provenance.backbone_sha256: 0 none, 1 follows", 1u8);
    list.add("provenance.backbone_sha256", m.provenance.backbone_sha256.expect("sample has one"));
    list.add("provenance.inputs: count", m.provenance.inputs.len());
    for (i, input) in m.provenance.inputs.iter().enumerate() {
        list.text(&format!("provenance.inputs[{i}].name"), &input.name);
        list.add(&format!("provenance.inputs[{i}].sha256"), input.sha256);
    }
    list.0.extend(extension_fields());
    list.add("parts: count", PARTS.len());
    for (i, part) in PARTS.iter().enumerate() {
        list.text(&format!("parts[{i}].name"), part.name);
        list.add(&format!("parts[{i}].kind: 0 Onnx, 1 Card, 2 Other"), part.kind);
        list.add(&format!("parts[{i}].length"), part.bytes.len());
        list.add(&format!("parts[{i}].sha256"), <[u8; 32]>::from(Sha256::digest(part.bytes)));
    }
    list.0
}

/// What version 2 adds.
pub(crate) fn extension_fields() -> Vec<(String, Vec<u8>)> {
    let e = extension();
    let mut list = Fields::default();
    let lesions = e.lesions.expect("sample has it");
    list.add("lesions: 0 none, 1 follows", 1u8);
    list.add("lesions.mean", lesions.mean);
    list.add("lesions.std", lesions.std);
    list.add("lesions.weights: count", lesions.weights.len());
    for (i, weight) in lesions.weights.iter().enumerate() {
        list.add(&format!("lesions.weights[{i}]"), weight);
    }
    list.add("probability_map: 0 none, 1 follows", 1u8);
    let Some(ProbabilityMap::Beta { a, b, c }) = e.probability_map else { unreachable!("sample has one of Beta") };
    list.add("probability_map: 0 Isotonic, 1 Beta", 1u8);
    list.add("probability_map.a", a);
    list.add("probability_map.b", b);
    list.add("probability_map.c", c);
    list.add("refusals: count", e.refusals.len());
    for (i, refusal) in e.refusals.iter().enumerate() {
        list.text(&format!("refusals[{i}].kind"), &refusal.kind);
        list.add(&format!("refusals[{i}].reason: {:?}", refusal.reason), refusal.reason);
        list.add(&format!("refusals[{i}].at"), refusal.at);
    }
    list.add("minimum_age_years: 0 none, 1 follows", 1u8);
    list.add("minimum_age_years", e.minimum_age_years.expect("sample has it"));
    list.add("precisions: count", e.precisions.len());
    for (i, precision) in e.precisions.iter().enumerate() {
        list.add(&format!("precisions[{i}].role: 0 Classifier, 1 Segmenter"), precision.role);
        list.add(&format!("precisions[{i}].precision: 0 Half, 1 Int8"), precision.precision);
        list.text(&format!("precisions[{i}].part"), &precision.part);
    }
    list.add("golden: count", e.golden.len());
    for (i, golden) in e.golden.iter().enumerate() {
        list.add(&format!("golden[{i}].seed"), golden.seed);
        list.add(&format!("golden[{i}].lesions: 0 without, 1 with"), golden.lesions);
        list.add(&format!("golden[{i}].probability"), golden.probability);
        list.add(&format!("golden[{i}].entropy_bits"), golden.entropy_bits);
        list.add(&format!("golden[{i}].involvement_percent: 0 none, 1 follows"), 1u8);
        list.add(&format!("golden[{i}].involvement_percent"), golden.involvement_percent.expect("sample has it"));
    }
    let teacher = e.teacher.expect("sample has one");
    list.add("teacher: 0 none, 1 follows", 1u8);
    list.text("teacher.name", &teacher.name);
    list.add("teacher.auc", teacher.auc);
    list.add("teacher.dice: 0 none, 1 follows", 1u8);
    list.add("teacher.dice", teacher.dice.expect("sample has it"));
    let disease = e.disease.expect("sample has it");
    list.add("disease: 0 none, 1 follows", 1u8);
    list.text("disease.words", &disease.words);
    list.text("disease.scheme", &disease.scheme);
    list.text("disease.code", &disease.code);
    list.text("disease.meaning", &disease.meaning);
    list.0
}

#[derive(Default)]
struct Fields(Vec<(String, Vec<u8>)>);

impl Fields {
    fn add(&mut self, meaning: &str, value: impl Serialize) {
        self.0.push((meaning.into(), postcard::to_allocvec(&value).expect("encodable")));
    }

    fn text(&mut self, meaning: &str, text: &str) {
        self.add(&format!("{meaning}: length"), text.len());
        self.0.push((format!("{meaning}: {text:?}"), text.as_bytes().to_vec()));
    }

    fn graph(&mut self, at: &str, graph: &Graph) {
        self.text(&format!("{at}.part"), &graph.part);
        self.text(&format!("{at}.input"), &graph.input);
        self.add(&format!("{at}.outputs: count"), graph.outputs.len());
        for (i, output) in graph.outputs.iter().enumerate() {
            self.text(&format!("{at}.outputs[{i}]"), output);
        }
        let at = format!("{at}.preprocess");
        let spec = &graph.preprocess;
        let window = format!("{at}.window: 0 Quantiles, 1 Hounsfield");
        match spec.window {
            Window::Quantiles { low, high } => {
                self.add(&window, 0u8);
                self.add(&format!("{at}.window.low"), low);
                self.add(&format!("{at}.window.high"), high);
            }
            Window::Hounsfield { center, width } => {
                self.add(&window, 1u8);
                self.add(&format!("{at}.window.center"), center);
                self.add(&format!("{at}.window.width"), width);
            }
        }
        self.add(&format!("{at}.working_side"), spec.working_side);
        let variant = match spec.clahe {
            Equalisation::Never => 0u8,
            Equalisation::Always(_) => 1,
            Equalisation::Once { .. } => 2,
        };
        self.add(&format!("{at}.clahe: 0 Never, 1 Always, 2 Once"), variant);
        if let Some(clahe) = spec.clahe.clahe() {
            self.add(&format!("{at}.clahe.clip_limit"), clahe.clip_limit);
            self.add(&format!("{at}.clahe.tiles_x"), clahe.tiles_x);
            self.add(&format!("{at}.clahe.tiles_y"), clahe.tiles_y);
        }
        if let Equalisation::Once { done_from, .. } = spec.clahe {
            self.add(&format!("{at}.clahe.done_from"), done_from);
        }
        let core = format!("{at}.core: 0 Whole, 1 Body, 2 Film, 3 Lungs, 4 LungsAlone");
        match spec.core {
            Core::Whole => self.add(&core, 0u8),
            Core::Body { margin } | Core::Film { margin } | Core::Lungs { margin } => {
                let kind = match spec.core {
                    Core::Body { .. } => 1u8,
                    Core::Film { .. } => 2,
                    _ => 3,
                };
                self.add(&core, kind);
                self.add(&format!("{at}.core.margin"), margin);
            }
            Core::LungsAlone { margin, fade } => {
                self.add(&core, 4u8);
                self.add(&format!("{at}.core.margin"), margin);
                self.add(&format!("{at}.core.fade"), fade);
            }
        }
        self.add(&format!("{at}.input_side"), spec.input_side);
        for (list, values) in [("mean", &spec.normalise.mean), ("std", &spec.normalise.std)] {
            self.add(&format!("{at}.normalise.{list}: count"), values.len());
            for (i, value) in values.iter().enumerate() {
                self.add(&format!("{at}.normalise.{list}[{i}]"), value);
            }
        }
    }
}
