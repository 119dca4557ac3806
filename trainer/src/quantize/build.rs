//! From a signed bundle to one whose graphs are of integers.
//!
//! The new bundle is one of its own, not a second precision in the old one: golden answers, thresholds and the figures of a card are those of
//! one arithmetic. It names the old one as its teacher.

use std::{
    fmt::Write as _,
    path::Path,
    time::{SystemTime, UNIX_EPOCH},
};

use anyhow::Context;
use candle_core::{Device, Tensor};
use thorax_nn::{
    onnx::from_onnx,
    quantize::{QuantizedGraph, Settings},
    training::TrainingConfig,
};
use thorax_shared::bundle::{self, Bundle, Limits, PartKind, PartSource, Role, SecretKey, Teacher, TrustedKeys};

use super::{
    compare::Comparison,
    inputs::{input, records},
    part::Part,
};
use crate::{
    bundle::build::golden,
    changes::Copies,
    data::{self, Manifest, Record, Split, Task},
    judge::bundle::{JudgedModel, evaluate},
    progress::in_parallel,
};

/// Which layers stay in floating point, besides the classifier's heads.
#[derive(Clone, Debug)]
pub enum Kept {
    /// Of each graph, so many that lose most.
    Most(usize),
    /// These: `classifier/` or `segmenter/` and the name that the report has them under.
    Named(Vec<String>),
}

/// How the graphs are fine-tuned.
#[derive(Clone, Debug)]
pub struct Tuning<'a> {
    /// Where each graph's run has its folder.
    pub runs: &'a Path,
    /// Training pictures that are learnt from, and validation pictures that choose the epoch, at most.
    pub pictures: [usize; 2],
    /// Changed copies of each training picture.
    pub copies: Copies,
    /// Passes over the training pictures.
    pub epochs: usize,
    /// Pictures a step.
    pub batch: usize,
    /// Highest learning rate.
    pub learning_rate: f64,
    /// Optimizer, schedule and the like.
    pub training: TrainingConfig,
    /// Where it is trained.
    pub devices: &'a [Device],
    /// Threads that load ahead.
    pub loaders: usize,
}

/// What is to be done.
pub struct Ingredients<'a> {
    /// The bundle.
    pub bundle: &'a Path,
    /// Which of its graphs.
    pub graphs: &'a [Role],
    /// The new bundle's version; that of the old one with `-int8` behind it if there is none.
    pub model_version: Option<&'a str>,
    /// How the graphs learn what rounding costs them, if they do.
    pub tuning: Option<&'a Tuning<'a>>,
    /// Whose bundles are read.
    pub trusted: &'a TrustedKeys,
    /// The manifest.
    pub manifest: &'a Path,
    /// Training pictures to calibrate by.
    pub pictures: usize,
    /// Of those, how many the sensitivity is measured on; 0 for no table.
    pub sensitivity_pictures: usize,
    /// Which pictures.
    pub seed: u64,
    /// How the graphs are quantized.
    pub settings: Settings,
    /// What stays in floating point.
    pub kept: &'a Kept,
    /// Splits on which both are compared.
    pub splits: &'a [Split],
    /// Signs the new bundle.
    pub key: &'a SecretKey,
}

/// A graph of integers.
pub struct QuantizedPart {
    /// `classifier` or `segmenter`.
    pub name: &'static str,
    /// The ONNX file.
    pub onnx: Vec<u8>,
    /// What calibrated it first, `[C, S, S]`, and what it gives of it: for comparing other runtimes.
    pub example: (Vec<f32>, Vec<(String, Vec<f32>)>),
}

/// The new bundle.
pub struct Built {
    /// The signed file.
    pub bytes: Vec<u8>,
    /// The report, Markdown.
    pub report: String,
    /// Its graphs of integers.
    pub parts: Vec<QuantizedPart>,
}

/// Quantizes a bundle's graphs.
///
/// # Errors
/// A bundle that cannot be read, a manifest without training pictures of its modality, a graph that would run in floating point where
/// nobody chose that.
pub fn build(args: &Ingredients<'_>) -> anyhow::Result<Built> {
    let bytes = std::fs::read(args.bundle).with_context(|| args.bundle.display().to_string())?;
    let read =
        Bundle::read(&bytes, args.trusted, &Limits::default()).with_context(|| args.bundle.display().to_string())?;
    let open = || JudgedModel::open(args.bundle, args.trusted);
    let model = open()?;
    let manifest = data::open(args.manifest)?;
    data::verify(&manifest, model.manifest().modality, &[Task::Segment, Task::Classify])?;
    let mut report = format!("# {} in 8-bit integers\n\n", model.title());
    let _ = writeln!(
        report,
        "Calibrated on up to {} training pictures (seed {}); {:?}.\n",
        args.pictures, args.seed, args.settings
    );

    let mut integer = open()?;
    let mut parts = vec![];
    let graphs = [
        (Role::Classifier, "classifier", Some(read.classifier_graph())),
        (Role::Segmenter, "segmenter", read.segmenter_graph()),
    ];
    let mut prepared = vec![];
    for (role, name, onnx) in graphs {
        let Some(onnx) = onnx.filter(|_| args.graphs.contains(&role)) else { continue };
        let graph = from_onnx(onnx).with_context(|| name.to_owned())?;
        let inputs = inputs(args, &manifest, &model, role)?;
        anyhow::ensure!(!inputs.is_empty(), "the manifest has no training pictures of this modality for the {name}");
        let part = Part { args, manifest: &manifest, model: &model, role, name, size: onnx.len() };
        prepared.push(part.prepare(&graph, inputs)?);
    }
    for prepared in prepared {
        let Part { role, name, size, .. } = *prepared.part();
        let first = prepared.inputs[0].clone();
        let _ = writeln!(report, "## {name}\n\n{} pictures.\n", prepared.inputs.len());
        let (quantized, onnx, told) = prepared.quantize().with_context(|| name.to_owned())?;
        report += &told;
        let _ = writeln!(report, "\nSize: {} bytes, {size} in real numbers (half precision).\n", onnx.len());
        let example = example(&quantized, &first)?;
        integer = integer.with_graph(role, onnx.clone());
        parts.push((role, QuantizedPart { name, onnx, example: (first, example) }));
    }

    let mut teacher = None;
    for &split in args.splits {
        let real = evaluate(&manifest, &model, split, args.seed)?;
        let whole = evaluate(&manifest, &integer, split, args.seed)?;
        let comparison = Comparison::new(&real, &whole);
        let _ = writeln!(
            report,
            "## {} split\n\nBoth by the device's own code and kernels.\n\n{}",
            split.as_str(),
            comparison.to_markdown()
        );
        if split == Split::Val {
            teacher = comparison.teacher(&model.title());
        }
    }

    let bytes = signed(args, &read, &integer, teacher, &parts, &report)?;
    Ok(Built { bytes, report, parts: parts.into_iter().map(|(_, part)| part).collect() })
}

/// The new bundle: the old one's parts with the new graphs in place of its own, its golden answers asked of these, and the report in front
/// of its card.
fn signed(
    args: &Ingredients<'_>,
    old: &Bundle<'_>,
    integer: &JudgedModel,
    teacher: Option<Teacher>,
    parts: &[(Role, QuantizedPart)],
    report: &str,
) -> anyhow::Result<Vec<u8>> {
    let mut contents = old.manifest().clone();
    contents.created_unix_s = SystemTime::now().duration_since(UNIX_EPOCH)?.as_secs();
    contents.version = args.model_version.map_or_else(|| format!("{}-int8", contents.version), str::to_owned);
    contents.extension.golden = golden(integer.device())?;
    contents.extension.teacher = teacher;
    let new = |name: &str| {
        let graphs = [
            (Role::Classifier, Some(&contents.classifier.graph)),
            (Role::Segmenter, contents.segmenter.as_ref().map(|segmenter| &segmenter.graph)),
        ];
        let role = graphs.into_iter().find_map(|(role, graph)| (graph?.part.as_str() == name).then_some(role))?;
        parts.iter().find(|(of, _)| *of == role).map(|(_, part)| part.onnx.as_slice())
    };
    let card = old.card().map(|card| format!("{report}\n---\n\nThe card of the bundle that it was made of:\n\n{card}"));
    let sources: Vec<PartSource<'_>> = old
        .parts()
        .map(|(entry, bytes)| {
            let bytes = match (entry.kind, &card) {
                (PartKind::Card, Some(card)) => card.as_bytes(),
                _ => new(&entry.name).unwrap_or(bytes),
            };
            PartSource { name: &entry.name, kind: entry.kind, bytes }
        })
        .collect();
    Ok(bundle::write(contents.clone(), &sources, args.key)?)
}

/// What the device feeds a graph for training pictures of every class and source, as they are.
fn inputs(
    args: &Ingredients<'_>,
    manifest: &Manifest,
    model: &JudgedModel,
    role: Role,
) -> anyhow::Result<Vec<Vec<f32>>> {
    let records = records(manifest, model, role, Split::Train, args.pictures, args.seed);
    let see = |record: &&Record| input(manifest, model, role, record, 0, Copies::default());
    in_parallel("calibration pictures", &records, see).into_iter().collect()
}

/// What the graph gives of one input.
fn example(graph: &QuantizedGraph, input: &[f32]) -> anyhow::Result<Vec<(String, Vec<f32>)>> {
    let [c, h, w] = graph.input_shape;
    let outputs = graph.run(&Tensor::from_slice(input, (1, c, h, w), &Device::Cpu)?)?;
    let named = graph.outputs.iter().zip(outputs);
    named.map(|((name, _), value)| Ok((name.clone(), value.flatten_all()?.to_vec1()?))).collect()
}
