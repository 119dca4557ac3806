//! From a signed bundle to one that has graphs of integers beside its own.

use std::{
    collections::BTreeSet,
    fmt::Write as _,
    path::Path,
    time::{SystemTime, UNIX_EPOCH},
};

use anyhow::Context;
use candle_core::{Device, Tensor};
use thorax_engine::screening;
use thorax_nn::{
    graph::{Graph, NodeId, Operation},
    onnx::from_onnx,
    quantize::{Calibrated, Census, QuantizedGraph, Sensitivity, Settings, to_onnx},
};
use thorax_shared::bundle::{
    self, Bundle, Limits, Name, OtherPrecision, PartKind, PartSource, Precision, Role, SecretKey, TrustedKeys,
};

use super::compare::Comparison;
use crate::{
    bundle::build::golden,
    data::{self, Manifest, Record, Split, Task, picture::Picture},
    judge::bundle::{JudgedModel, evaluate},
    progress::in_parallel,
    stress::Sample,
};

/// Which layers stay in floating point, besides the classifier's heads.
#[derive(Clone, Debug)]
pub enum Kept {
    /// Of each graph, so many that lose most.
    Most(usize),
    /// These: `classifier/` or `segmenter/` and the name that the report has them under.
    Named(Vec<String>),
}

/// What is to be done.
pub struct Ingredients<'a> {
    /// The bundle.
    pub bundle: &'a Path,
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
    for (role, name, onnx) in graphs {
        let Some(onnx) = onnx else { continue };
        let graph = from_onnx(onnx)?;
        let inputs = inputs(args, &manifest, &model, role)?;
        anyhow::ensure!(!inputs.is_empty(), "the manifest has no training pictures of this modality for the {name}");
        let _ = writeln!(report, "## {name}\n\n{} pictures.\n", inputs.len());
        let (quantized, told) = quantize(args, role, &graph, &inputs).with_context(|| name.to_owned())?;
        report += &told;
        let written = to_onnx(&quantized, name)?;
        let _ = writeln!(report, "\nSize: {} bytes, {} in real numbers (half precision).\n", written.len(), onnx.len());
        let example = example(&quantized, &inputs[0])?;
        integer = integer.with_graph(role, written.clone());
        parts.push((role, QuantizedPart { name, onnx: written, example: (inputs[0].clone(), example) }));
    }

    for &split in args.splits {
        let real = evaluate(&manifest, &model, split, args.seed)?;
        let whole = evaluate(&manifest, &integer, split, args.seed)?;
        let _ = writeln!(
            report,
            "## {} split\n\nBoth by the device's own code and kernels.\n\n{}",
            split.as_str(),
            Comparison::new(&real, &whole).to_markdown()
        );
    }

    let mut contents = read.manifest().clone();
    contents.created_unix_s = SystemTime::now().duration_since(UNIX_EPOCH)?.as_secs();
    if contents.extension.golden.is_empty() {
        contents.extension.golden = golden(model.device())?;
    }
    let names: Vec<String> = parts.iter().map(|(_, part)| format!("{}.int8.onnx", part.name)).collect();
    contents.extension.precisions.retain(|other| other.precision != Precision::Int8);
    for ((role, _), name) in parts.iter().zip(&names) {
        let part = Name::try_from(name.as_str()).map_err(|_| anyhow::anyhow!("{name}: longer than 64 bytes"))?;
        contents.extension.precisions.push(OtherPrecision { role: *role, precision: Precision::Int8, part });
    }
    let old = read.parts().filter(|(entry, _)| !names.iter().any(|name| *name == entry.name.as_str()));
    let mut sources: Vec<PartSource<'_>> =
        old.map(|(entry, bytes)| PartSource { name: &entry.name, kind: entry.kind, bytes }).collect();
    for ((_, part), name) in parts.iter().zip(&names) {
        sources.push(PartSource { name, kind: PartKind::Onnx, bytes: &part.onnx });
    }
    let bytes = bundle::write(contents, &sources, args.key)?;
    Ok(Built { bytes, report, parts: parts.into_iter().map(|(_, part)| part).collect() })
}

/// What the device feeds a graph for training pictures of every class and source.
fn inputs(
    args: &Ingredients<'_>,
    manifest: &Manifest,
    model: &JudgedModel,
    role: Role,
) -> anyhow::Result<Vec<Vec<f32>>> {
    let modality = model.manifest().modality;
    let count = if role == Role::Segmenter { args.pictures.div_ceil(2) } else { args.pictures };
    let Sample { labelled, masked } = Sample::draw(manifest, modality, Split::Train, Some(count), args.seed);
    let records: Vec<&Record> = match role {
        Role::Classifier => labelled,
        Role::Segmenter => labelled.into_iter().chain(masked).collect(),
    };
    let see = |record: &&Record| -> anyhow::Result<Vec<f32>> {
        let picture = Picture::of(manifest, record)?;
        match (role, &model.manifest().segmenter) {
            (Role::Segmenter, Some(segmenter)) => Ok(picture.prepare(&segmenter.graph.preprocess)?.tensor),
            _ => Ok(screening::classifier_input(model.of(&picture), &picture.frame)?),
        }
    };
    in_parallel("calibration pictures", &records, see).into_iter().collect()
}

/// The graph of integers, and what is to be told of it.
fn quantize(
    args: &Ingredients<'_>,
    role: Role,
    graph: &Graph,
    inputs: &[Vec<f32>],
) -> anyhow::Result<(QuantizedGraph, String)> {
    let calibrated = Calibrated::new(graph, inputs, args.settings)?;
    let real = calibrated.graph();
    let heads = if role == Role::Classifier { calibrated.heads()? } else { BTreeSet::new() };
    let output =
        if role == Role::Classifier { "logits" } else { real.outputs.first().map_or("masks", |(name, _)| name) };
    let counted = calibrated.before_sigmoid(output).with_context(|| format!("no output {output}"))?;
    let measured = &inputs[..args.sensitivity_pictures.min(inputs.len())];
    let mut losses = if measured.is_empty() { vec![] } else { calibrated.sensitivity(counted, measured)? };
    losses.sort_by(|a, b| b.output_error.total_cmp(&a.output_error));
    let chosen: BTreeSet<NodeId> = match args.kept {
        Kept::Most(count) => {
            let candidates = losses.iter().map(|loss| loss.layer.node).filter(|node| !heads.contains(node));
            candidates.take(*count).collect()
        }
        Kept::Named(names) => {
            let graph = if role == Role::Classifier { "classifier/" } else { "segmenter/" };
            let of = |name: &str| {
                let node = calibrated.layers().iter().map(|l| l.node).find(|&node| real.value_name(node) == name);
                node.with_context(|| {
                    format!("--keep-float: the graph has no layer {graph}{name}; the report lists them")
                })
            };
            names.iter().filter_map(|name| name.strip_prefix(graph)).map(of).collect::<anyhow::Result<_>>()?
        }
    };
    let kept: BTreeSet<NodeId> = heads.union(&chosen).copied().collect();
    let quantized = calibrated.quantize(&kept)?;

    // What nobody chose must not run in floating point.
    let census = Census::of(&to_onnx(&quantized, "census")?)?;
    let layers = calibrated.layers();
    anyhow::ensure!(
        census.integer_convolutions() == layers.len() - kept.len() && census.integer_convolutions() > 0,
        "{} of {} layers calculate in integers, {} were to stay in floating point",
        census.integer_convolutions(),
        layers.len(),
        kept.len()
    );
    let mut told = format!(
        "Operators: {}.\n\n",
        census.operators.iter().map(|(k, n)| format!("{n} {k}")).collect::<Vec<_>>().join(", ")
    );
    let reason = |node: &NodeId| if heads.contains(node) { "a head" } else { "chosen" };
    let names: Vec<String> = kept.iter().map(|node| format!("{} ({})", real.value_name(*node), reason(node))).collect();
    let _ = writeln!(
        told,
        "{} layers in integers, {} in floating point: {}.\n",
        census.integer_convolutions(),
        kept.len(),
        names.join(", ")
    );
    if !losses.is_empty() {
        let _ = writeln!(
            told,
            "What each layer loses where it alone calculates in integers ({} pictures), most first:\n",
            measured.len()
        );
        told += "| layer | weight | SQNR, dB | mean squared error of the output |\n|---|---|---|---|\n";
    }
    for Sensitivity { layer, sqnr_db, output_error } in &losses {
        let weight = match &real.nodes[layer.node].operation {
            Operation::Convolution { weight, .. } | Operation::UpConvolution { weight, .. } => {
                format!("{:?}", weight.dims())
            }
            _ => String::new(),
        };
        let _ = writeln!(told, "| {} | {weight} | {sqnr_db:.1} | {output_error:.3e} |", real.value_name(layer.node));
    }
    Ok((quantized, told))
}

/// What the graph gives of one input.
fn example(graph: &QuantizedGraph, input: &[f32]) -> anyhow::Result<Vec<(String, Vec<f32>)>> {
    let [c, h, w] = graph.input_shape;
    let outputs = graph.run(&Tensor::from_slice(input, (1, c, h, w), &Device::Cpu)?)?;
    let named = graph.outputs.iter().zip(outputs);
    named.map(|((name, _), value)| Ok((name.clone(), value.flatten_all()?.to_vec1()?))).collect()
}
