//! From a finished classifier and finished segmenters to a signed bundle, with a card measured on the test split.

use std::{
    collections::BTreeMap,
    path::{Path, PathBuf},
    time::{SystemTime, UNIX_EPOCH},
};

use anyhow::Context;
use sha2::{Digest, Sha256};
use thorax_engine::{golden, model::Model};
use thorax_files::{file_sha256, sha256_of};
use thorax_nets::source::WeightsArgs;
use thorax_nn::{
    graph::Graph,
    onnx::{HALF_PRECISION_FROM, to_onnx},
};
use thorax_phantom::{GOLDEN_SIDE, Phantom};
use thorax_shared::{
    bundle::{
        self, Calibration, Classifier, Disease, Extension, GoldenAnswer, Hashed, Name, PartKind, PartSource,
        Provenance, SecretKey, Segmenter, TrustedKeys,
    },
    mask,
    modality::Modality,
    preprocess::PreprocessSpec,
};

use super::card::{Origins, Survival, card};
use crate::{
    data::{self, Manifest, Split, Task, fingerprint::fingerprint, looks},
    features::{Extractor, Maker, Remade, preprocess_sha256},
    heads,
    judge::bundle::{JudgedModel, evaluate},
    probe::{Probe, Probed},
    segmentation::{MASKS, Origin},
    stress::{self, KEPT_AT_LEAST},
};

/// The classifier, its weights rounded as they are stored, and where those of the net before its heads are from.
///
/// # Errors
/// Other weights, or another segmenter, than those of the training.
pub fn classifier_net(run: &heads::ClassifyRun, remade: &Remade<'_>) -> anyhow::Result<Maker> {
    let mut made = run.whole(remade)?;
    made.graph.round_to_half(HALF_PRECISION_FROM)?;
    Ok(made)
}

fn name(text: &str) -> anyhow::Result<Name> {
    Name::try_from(text).map_err(|_| anyhow::anyhow!("{text}: longer than 64 bytes"))
}

/// How a bundle names a graph.
///
/// # Errors
/// A name that is too long.
pub(crate) fn bundle_graph(part: &str, graph: &Graph, preprocess: &PreprocessSpec) -> anyhow::Result<bundle::Graph> {
    Ok(bundle::Graph {
        part: name(part)?,
        input: name("input")?,
        outputs: graph.outputs.iter().map(|(output, _)| name(output)).collect::<anyhow::Result<_>>()?,
        preprocess: preprocess.clone(),
    })
}

/// The graphs of a bundle, and the files they lie in.
struct Files {
    classifier: bundle::Graph,
    segmenter: bundle::Graph,
    /// Name and bytes of each.
    onnx: Vec<(&'static str, Vec<u8>)>,
}

impl Files {
    /// `net` is the classifier `run`; where its trunk is the segmenter, both are one file, which the device runs once.
    fn of(run: &heads::ClassifyRun, net: &Graph, segmenter: &Origin) -> anyhow::Result<Self> {
        let spec = &run.config.preprocess;
        if run.config.backbone == Extractor::Segmenter {
            let both = bundle_graph("net.onnx", net, spec)?;
            let (masks, others) = both.outputs.iter().cloned().partition(|output| &**output == MASKS);
            return Ok(Self {
                classifier: bundle::Graph { outputs: others, ..both.clone() },
                segmenter: bundle::Graph { outputs: masks, ..both },
                onnx: vec![("net.onnx", to_onnx(net, "net")?)],
            });
        }
        let drawing = segmenter.shipped_graph()?;
        Ok(Self {
            classifier: bundle_graph("classifier.onnx", net, spec)?,
            segmenter: bundle_graph("segmenter.onnx", &drawing, segmenter.preprocess())?,
            onnx: vec![
                ("classifier.onnx", to_onnx(net, "classifier")?),
                ("segmenter.onnx", to_onnx(&drawing, "segmenter")?),
            ],
        })
    }
}

/// Phantoms that a bundle's answers are written down of.
const GOLDEN_PHANTOMS: u64 = 6;

/// What a bundle is to be made of.
pub struct Ingredients<'a> {
    /// Folder of a finished `train classify`.
    pub classifier: &'a Path,
    /// Folders of finished `train segment`, at least one, or a bundle that has the segmenter.
    pub segmenters: &'a [PathBuf],
    /// The backbone's weights, the same as in training; a classifier whose trunk is the segmenter has none.
    pub weights: Option<&'a WeightsArgs>,
    /// The manifest, the same as in training.
    pub manifest: &'a Path,
    /// The segmenter's manifest, where it learnt from another one.
    pub segmenter_manifest: Option<&'a Path>,
    /// What only the data's owner knows of their limits, as Markdown list items.
    pub limits: &'a str,
    /// What `thorax-train probe` found in the features that the classifier learnt from.
    pub probe: Option<&'a Probe>,
    /// Labelled pictures of the validation split, and as many with masks, whose verdicts have to survive every harmless change; 0 to
    /// try none.
    pub stress_pictures: usize,
    /// Sign all the same.
    pub despite_stress: bool,
    /// Signs the bundle.
    pub key: &'a SecretKey,
    /// Version of the model.
    pub model_version: &'a str,
    /// What *positive* means.
    pub disease: Option<Disease>,
    /// The youngest patient that the bundle may read, in years.
    pub minimum_age_years: Option<u8>,
}

/// A bundle.
pub struct Built {
    /// `thorax-ct` or `thorax-xray`.
    pub name: String,
    /// The signed file.
    pub bytes: Vec<u8>,
    /// The card, which is in it too.
    pub card: String,
}

/// Makes a bundle.
///
/// Its verdicts have to survive every harmless change on the validation split, which is asked before the test split is looked at.
///
/// # Errors
/// Runs that are not finished, do not belong together, or learnt from other data; verdicts that do not survive; pictures that cannot
/// be read.
pub fn build(args: &Ingredients<'_>) -> anyhow::Result<Built> {
    anyhow::ensure!(
        args.stress_pictures > 0 || args.despite_stress,
        "--stress-pictures 0: a bundle that was not tried is signed with --despite-stress alone, and its card says so; give both, or a \
         number of pictures"
    );
    let classifier = heads::load(args.classifier)?;
    let segmenter = Origin::open(args.segmenters)?;
    let manifest = data::open(args.manifest)?;
    let modality = classifier.config.modality;
    // The card says that splits are by patient and what the data were: it is not signed over others.
    data::verify(&manifest, modality, &[Task::Segment, Task::Classify])?;
    anyhow::ensure!(
        segmenter.modality() == modality,
        "the classifier reads {modality} pictures, the segmenter {} pictures",
        segmenter.modality()
    );
    let looks = looks::told(args.manifest, modality)?;
    let drawn = args.segmenter_manifest.map(|path| apart(path, &manifest, modality)).transpose()?;
    let masked = drawn.as_ref().unwrap_or(&manifest);
    let classifier_learnt_from = classifier.config.manifest_sha256 == fingerprint(&manifest, modality, Task::Classify)?;
    let masks_from = args.segmenter_manifest.unwrap_or(args.manifest);
    for (what, path, same) in [
        ("classifier", args.manifest, classifier_learnt_from),
        ("segmenter", masks_from, !segmenter.learnt_from_other(masked)?),
    ] {
        anyhow::ensure!(
            same,
            "{}: not the data the {what} was trained on; give the manifest of the training, or train again",
            path.display()
        );
    }
    let heads::ClassifyConfig { lungs_sha256, lesions_sha256, .. } = &classifier.config;
    for (expected, learnt, option) in [
        (lungs_sha256, "whose lungs the classifier was trained on", "--lungs"),
        (lesions_sha256, "whose lesions the classifier weighs", "--lesions"),
    ] {
        let Some(expected) = expected else { continue };
        let given = segmenter.sha256()?;
        anyhow::ensure!(
            given == *expected,
            "{}: not the segmenter {learnt} (SHA-256 {given}, expected {expected}); give that one, or train the classifier with {option} \
             (once for each --segmenter, in the same order)",
            segmenter.name()
        );
    }

    if let Some(probe) = args.probe {
        let config = &classifier.config;
        let learnt_from = Probed {
            modality,
            manifest_sha256: config.manifest_sha256.clone(),
            weights_sha256: config.backbone_sha256.clone(),
            preprocess_sha256: preprocess_sha256(&config.preprocess),
        };
        anyhow::ensure!(
            probe.of == learnt_from,
            "--probe (or the probe.json in --classifier): of other features than those the classifier learnt from; probe these with thorax-train probe"
        );
    }

    let made = classifier_net(&classifier, &Remade { weights: args.weights, segmenter: Some(&segmenter) })?;
    let files = Files::of(&classifier, &made.graph, &segmenter)?;
    let outcome = &classifier.outcome;
    let title = format!("thorax-{modality}");
    let mut contents = bundle::Manifest {
        name: title.clone(),
        version: args.model_version.to_owned(),
        created_unix_s: SystemTime::now().duration_since(UNIX_EPOCH)?.as_secs(),
        modality,
        class_names: [name("negative")?, name("positive")?],
        classifier: Classifier { graph: files.classifier, members: u16::try_from(classifier.config.members)? },
        segmenter: Some(Segmenter {
            graph: files.segmenter,
            channels: mask::NAMES.iter().map(|mask| name(mask)).collect::<anyhow::Result<_>>()?,
            mask_threshold: 0.5,
        }),
        quality: classifier.config.quality,
        decision: outcome.decision,
        calibration: Calibration {
            temperature: outcome.temperature,
            ece_before: outcome.ece[0] as f32,
            ece_after: outcome.ece[1] as f32,
            images: u32::try_from(outcome.validation_pictures + outcome.out_of_bag_pictures)?,
        },
        provenance: provenance(args, &manifest, &classifier.config, &segmenter)?,
        extension: Extension {
            lesions: classifier.lesions()?,
            probability_map: outcome.probability_map.clone(),
            refusals: outcome.refusals.clone(),
            minimum_age_years: args.minimum_age_years,
            disease: args.disease.clone(),
            ..Extension::default()
        },
    };
    let parts = |contents: &bundle::Manifest, card: &str| {
        let onnx = files.onnx.iter().map(|(name, bytes)| PartSource { name, kind: PartKind::Onnx, bytes });
        let card = PartSource { name: "card.md", kind: PartKind::Card, bytes: card.as_bytes() };
        bundle::write(contents.clone(), &onnx.chain([card]).collect::<Vec<_>>(), args.key)
    };
    // The card tells what this very bundle does on the test split, so the bundle is first made without it.
    let draft = tempfile::NamedTempFile::new()?;
    std::fs::write(draft.path(), parts(&contents, "")?)?;
    let model = JudgedModel::open(draft.path(), &TrustedKeys::only(args.key.public_key()))?;
    // So does what it says of phantoms, by which every device will be tested.
    contents.extension.golden = golden(model.device())?;
    let survival = survival(args.stress_pictures, args.despite_stress, &manifest, &model)?;
    let evaluation = evaluate(&manifest, &model, Split::Test, contents.provenance.seed)?;
    looks::look(args.manifest, "bundle build", modality, &model.title())?;
    let origins = Origins {
        classifier: &classifier,
        made: &made,
        segmenter: &segmenter,
        manifest: &manifest,
        segmenter_manifest: drawn.as_ref(),
        probe: args.probe,
        limits: args.limits,
        looks: &looks,
    };
    let card = card(&contents, &origins, &survival, &evaluation);
    Ok(Built { bytes: parts(&contents, &card)?, name: title, card })
}

/// The manifest at `path`, from which a segmenter learnt that is judged by `judged`.
///
/// # Errors
/// When it learnt from a picture that `judged` keeps for validation or for the test: no figure of it would be true.
fn apart(path: &Path, judged: &Manifest, modality: Modality) -> anyhow::Result<Manifest> {
    let manifest = data::open(path)?;
    data::verify(&manifest, modality, &[Task::Segment])?;
    let kept: BTreeMap<&str, Split> = judged
        .records
        .iter()
        .filter(|record| record.split != Split::Train && !record.sha256.is_empty())
        .map(|record| (record.sha256.as_str(), record.split))
        .collect();
    let learnt = manifest.records.iter().filter(|record| record.modality == modality && record.split == Split::Train);
    for record in learnt {
        if let Some(split) = kept.get(record.sha256.as_str()) {
            anyhow::bail!(
                "{}: {} was learnt from, and the manifest of the bundle has it in its {} split; train the segmenter again without it",
                path.display(),
                record.path,
                split.as_str()
            );
        }
    }
    Ok(manifest)
}

/// What the bundle says of phantoms; of those that it rejects it says nothing.
pub(crate) fn golden(model: &Model) -> anyhow::Result<Vec<GoldenAnswer>> {
    let phantoms = (1..=GOLDEN_PHANTOMS).map(|seed| (seed, seed % 2 == 0));
    let answers = phantoms.filter_map(|(seed, lesions)| {
        let phantom = Phantom::generate(model.manifest.modality, seed, GOLDEN_SIDE, lesions);
        golden::answer(model, seed, lesions, phantom.pixels()).transpose()
    });
    Ok(answers.collect::<Result<_, _>>()?)
}

/// What the verdicts survive on `pictures` of the validation split.
///
/// # Errors
/// Verdicts that do not, unless they are to be signed despite that; pictures that cannot be read.
pub(crate) fn survival(
    pictures: usize,
    despite: bool,
    manifest: &Manifest,
    model: &JudgedModel,
) -> anyhow::Result<Survival> {
    if pictures == 0 {
        return Ok(Survival::NotTried);
    }
    let settings =
        stress::Settings { split: Split::Val, pictures: Some(pictures), seed: 1, trials: stress::trials(&[], false)? };
    let (stress, _) = stress::measure(manifest, model, &settings, None)?;
    let fallen = stress.not_survived().len();
    anyhow::ensure!(
        fallen == 0 || despite,
        "the verdicts do not survive: after {fallen} harmless changes fewer than {:.0} % of them are the same ({}); train with changed \
         copies (--copies), or give --despite-stress, which the card then says first",
        KEPT_AT_LEAST * 100.0,
        stress.worst()
    );
    Ok(Survival::Tried(Box::new(stress)))
}

fn provenance(
    args: &Ingredients<'_>,
    manifest: &Manifest,
    config: &heads::ClassifyConfig,
    segmenter: &Origin,
) -> anyhow::Result<Provenance> {
    let mut splits: Vec<String> =
        manifest.records.iter().map(|r| format!("{}\t{}\t{}\n", r.source, r.group, r.split.as_str())).collect();
    splits.sort();
    splits.dedup();
    let of_classifier = ["classifier.safetensors", "config.json"]
        .map(|name| (format!("classifier/{name}"), args.classifier.join(name)));
    Ok(Provenance {
        data_sha256: sha256_of(&manifest.sha256()).context("the manifest's hash")?,
        split_sha256: Sha256::digest(splits.concat()).into(),
        code_revision: revision(),
        trainer_version: env!("CARGO_PKG_VERSION").into(),
        seed: config.seed,
        backbone_sha256: sha256_of(&config.backbone_sha256),
        inputs: of_classifier
            .into_iter()
            .chain(segmenter.files())
            .map(|(name, path)| Ok(Hashed { name, sha256: file_sha256(&path)? }))
            .collect::<anyhow::Result<_>>()?,
    })
}

/// The git revision of the sources in the current folder, `unknown` outside a checkout.
fn revision() -> String {
    let git = |arguments: &[&str]| {
        let output = std::process::Command::new("git").args(arguments).output().ok().filter(|o| o.status.success())?;
        Some(String::from_utf8_lossy(&output.stdout).trim().to_owned())
    };
    match (git(&["rev-parse", "HEAD"]), git(&["status", "--porcelain", "--untracked-files=no"])) {
        (Some(head), Some(changes)) if changes.is_empty() => head,
        (Some(head), _) => format!("{head} with changes"),
        _ => "unknown".into(),
    }
}
