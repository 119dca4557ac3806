//! From a signed bundle to one whose graphs are of integers.
//!
//! The new bundle is one of its own, not a second precision in the old one: golden answers, thresholds and the figures of a card are those of
//! one arithmetic. It names the old one as its teacher. A smaller segmenter that learnt from the old one's may stand in its place; what that
//! costs, and what the integers cost, stand beside each other.

use std::{
    fmt::Write as _,
    path::Path,
    time::{SystemTime, UNIX_EPOCH},
};

use anyhow::Context;
use candle_core::{Device, Tensor};
use thorax_files::file_sha256;
use thorax_nn::{
    onnx::{from_onnx, to_onnx},
    quantize::{QuantizedGraph, Settings},
    training::TrainingConfig,
};
use thorax_shared::bundle::{
    self, Bundle, Hashed, Limits, PartKind, PartSource, Role, SecretKey, Segmenter, Teacher, TrustedKeys,
};

use super::{
    inputs::{input, records},
    part::Part,
};
use crate::{
    backbone::teachers::Ensembles,
    bundle::{
        build::{bundle_graph, golden, survival},
        card,
    },
    changes::Copies,
    data::{self, Manifest, Record, Split, Task, looks},
    judge::{
        beside,
        bundle::{Evaluation, JudgedModel, evaluate},
        teachers,
    },
    progress::in_parallel,
    segmentation::{Integers, Origin},
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
    /// Which graphs.
    pub graphs: Vec<Role>,
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
    /// Takes the place of the bundle's segmenter.
    pub segmenter: Option<&'a Origin>,
    /// The bundle whose segmenter of integers takes the place of this one's, as it is.
    pub lent: Option<&'a Path>,
    /// The new bundle's version; that of the old one with `-int8` behind it if there is none.
    pub model_version: Option<&'a str>,
    /// What the bundle was distilled from, for the card; none where nobody taught it.
    pub teachers: Option<&'a Ensembles>,
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
    /// Splits on which all are compared.
    pub splits: &'a [Split],
    /// Labelled pictures of the validation split, and as many with masks, whose verdicts have to survive every harmless change; 0 to
    /// try none.
    pub stress_pictures: usize,
    /// Sign all the same.
    pub despite_stress: bool,
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
    let model = JudgedModel::open(args.bundle, args.trusted)?;
    let manifest = data::open(args.manifest)?;
    let modality = model.manifest().modality;
    if let Some(other) = args.teachers.map(Ensembles::modality).filter(|other| *other != modality) {
        anyhow::bail!("--teacher: reads {other} pictures, the bundle {modality}; give runs of {modality}");
    }
    data::verify(&manifest, modality, &[Task::Segment, Task::Classify])?;
    args.teachers.map(|teachers| teachers.learnt_from(&manifest)).transpose()?;
    let looks = looks::told(args.manifest, modality)?;
    let lent = args.lent.map(|path| Integers::open(path, args.trusted, modality)).transpose()?;
    let segmenter = match (args.segmenter, &lent) {
        (Some(origin), _) => Some(to_onnx(&origin.shipped_graph()?, "segmenter")?),
        (None, Some(lent)) => Some(lent.onnx.clone()),
        (None, None) => read.segmenter_graph().map(<[u8]>::to_vec),
    };
    // What is quantized: the bundle, with the new segmenter where there is one.
    let real = match (args.segmenter, &lent, &segmenter) {
        (Some(origin), _, Some(onnx)) => with_segmenter(model.clone(), origin, onnx, &manifest)?,
        (None, Some(lent), _) => with_lent(&model, lent)?,
        _ => model.clone(),
    };
    // Where classifier and segmenter are one net, it is quantized once, as the classifier.
    let one = model.device().is_one_net();
    anyhow::ensure!(
        !one || args.segmenter.is_none() && lent.is_none(),
        "--segmenter, --segmenter-of: the bundle's classifier reads the maps of its own segmenter, so no other can take its place; train one on the \
         other's (thorax-train train classify --segmenter)"
    );
    let mut graphs = vec![(Role::Classifier, if one { "net" } else { "classifier" }, read.classifier_graph().to_vec())];
    graphs.extend(segmenter.filter(|_| !one).map(|onnx| (Role::Segmenter, "segmenter", onnx)));

    let stays = |role: Role| role == Role::Segmenter && lent.is_some();
    if let Kept::Named(names) = args.kept {
        let there = |name: &&String| {
            graphs.iter().any(|(role, graph, _)| name.split('/').next() == Some(graph) && !stays(*role))
        };
        if let Some(odd) = names.iter().find(|name| !there(name)) {
            let graphs: Vec<&str> = graphs.iter().map(|(_, graph, _)| *graph).collect();
            anyhow::bail!("--keep-float {odd}: the bundle's graphs are {}", graphs.join(" and "));
        }
    }
    anyhow::ensure!(
        !one || !matches!(args.kept, Kept::Most(1..)),
        "--keep-float: the table of losses is of the verdict alone, and this net draws masks too; name the layers, as net/n1,net/n49"
    );

    let mut report = format!(
        "Calibrated on up to {} training pictures (seed {}); {:?}.\n\n",
        args.pictures, args.seed, args.settings
    );
    let mut prepared = vec![];
    for (role, name, onnx) in graphs.iter().filter(|(role, ..)| one || args.graphs.contains(role) && !stays(*role)) {
        let graph = from_onnx(onnx).with_context(|| (*name).to_owned())?;
        let inputs = inputs(args, &manifest, &real, *role)?;
        anyhow::ensure!(!inputs.is_empty(), "the manifest has no training pictures of this modality for the {name}");
        let part = Part { args, manifest: &manifest, model: &real, role: *role, name, size: onnx.len() };
        prepared.push(part.prepare(&graph, inputs)?);
    }
    let mut parts = vec![];
    for prepared in prepared {
        let Part { role, name, size, .. } = *prepared.part();
        let first = prepared.inputs[0].clone();
        let _ = writeln!(report, "## The {name} in integers\n\n{} pictures.\n", prepared.inputs.len());
        let (quantized, onnx, told) = prepared.quantize().with_context(|| name.to_owned())?;
        report += &told;
        let _ = writeln!(report, "\nSize: {} bytes, {size} in real numbers (half precision).\n", onnx.len());
        let example = example(&quantized, &first)?;
        if let Some((.., graph)) = graphs.iter_mut().find(|(of, ..)| *of == role) {
            graph.clone_from(&onnx);
        }
        parts.push(QuantizedPart { name, onnx, example: (first, example) });
    }
    let integer = graphs.iter().fold(real.clone(), |model, (role, _, onnx)| model.with_graph(*role, onnx));

    // What it survives is asked before the test split is looked at.
    let survival = survival(args.stress_pictures, args.despite_stress, &manifest, &integer)?;
    let mut judged = Judged::default();
    for &split in args.splits {
        let old = evaluate(&manifest, &model, split, args.seed)?;
        let taught = args.teachers.map(|of| anyhow::Ok((teachers::name(of), teachers::evaluate(&manifest, of, &old)?)));
        let other_segmenter = args.segmenter.is_some() || lent.is_some();
        let between = other_segmenter.then(|| evaluate(&manifest, &real, split, args.seed)).transpose()?;
        let whole = evaluate(&manifest, &integer, split, args.seed)?;
        if split == Split::Test {
            judged.looks.clone_from(&looks);
            looks::look(args.manifest, "quantize", modality, &model.title())?;
        }
        judged.judge(&model.title(), taught.transpose()?, &old, between.as_ref(), whole);
    }
    let report = judged.told.clone() + &report;
    let made = Made { graphs: &graphs, lent: lent.as_ref(), judged, survival: &survival, report: &report };
    let bytes = signed(args, &read, &integer, &made)?;
    Ok(Built { bytes, report: format!("# {} in 8-bit integers\n\n{report}", model.title()), parts })
}

/// How good the new bundle is beside the old one.
#[derive(Default)]
struct Judged {
    /// The old one, by the validation split.
    teacher: Option<Teacher>,
    /// Tables, Markdown.
    told: String,
    /// What the new one says of the last split.
    last: Option<Evaluation>,
    /// How often the test split had been looked at before, for the card; nothing where it was not asked.
    looks: String,
}

impl Judged {
    /// Adds a split: the teachers where there are some, the old bundle, the same with a new segmenter where there is one, and the integers.
    fn judge(
        &mut self,
        title: &str,
        taught: Option<(String, Evaluation)>,
        old: &Evaluation,
        with_segmenter: Option<&Evaluation>,
        integer: Evaluation,
    ) {
        if integer.split == Split::Val {
            self.teacher = beside::teacher(title, old, &integer);
        }
        let mut all: Vec<(&str, &Evaluation)> = taught.iter().map(|(name, said)| (&**name, said)).collect();
        all.push((title, old));
        all.extend(with_segmenter.map(|real| ("with the new segmenter, in real numbers", real)));
        all.push(("this bundle, in integers", &integer));
        let _ = writeln!(
            self.told,
            "## Beside {title}, {} split\n\nAll {}by the device's own code and kernels.\n\n{}",
            integer.split.as_str(),
            if taught.is_some() { "but the first column " } else { "" },
            beside::to_markdown(&all)
        );
        self.last = Some(integer);
    }
}

/// The bundle with another segmenter, in real numbers.
fn with_segmenter(
    model: JudgedModel,
    origin: &Origin,
    onnx: &[u8],
    manifest: &Manifest,
) -> anyhow::Result<JudgedModel> {
    let modality = model.manifest().modality;
    anyhow::ensure!(
        origin.modality() == modality,
        "--segmenter {}: draws on {} pictures, the bundle reads {modality}; give a run of {modality}",
        origin.name(),
        origin.modality()
    );
    anyhow::ensure!(
        !origin.learnt_from_other(manifest)?,
        "--segmenter {}: learnt from other masks or splits than this manifest's; give one that was trained with it",
        origin.name()
    );
    anyhow::ensure!(
        model.manifest().segmenter.is_some(),
        "the bundle has no segmenter, so --segmenter has none to take the place of; leave it out"
    );
    Ok(model.with_graph(Role::Segmenter, onnx).prepared_as(origin.preprocess()))
}

/// The bundle with the segmenter of another, which draws what the device takes the bundle's own for.
fn with_lent(model: &JudgedModel, lent: &Integers) -> anyhow::Result<JudgedModel> {
    let own = model.manifest().segmenter.as_ref();
    let own =
        own.context("the bundle has no segmenter, so --segmenter-of has none to take the place of; leave it out")?;
    let said = |segmenter: &Segmenter| {
        let Segmenter { graph, channels, mask_threshold } = segmenter.clone();
        (graph.input, graph.outputs, channels, mask_threshold)
    };
    anyhow::ensure!(
        said(own) == said(&lent.segmenter),
        "--segmenter-of: that of {} has other masks, or its graph other names, than the bundle's; give another",
        lent.title
    );
    if lent.split_sha256 != model.manifest().provenance.split_sha256 {
        eprintln!(
            "warning: --segmenter-of: {} was judged on other splits than the bundle, so its segmenter may have learnt from pictures that it is \
             judged on here",
            lent.title
        );
    }
    Ok(model.clone().with_graph(Role::Segmenter, &lent.onnx).prepared_as(&lent.segmenter.graph.preprocess))
}

/// What becomes a bundle.
struct Made<'a> {
    graphs: &'a [(Role, &'static str, Vec<u8>)],
    /// The segmenter, where it is another bundle's.
    lent: Option<&'a Integers>,
    judged: Judged,
    survival: &'a card::Survival,
    report: &'a str,
}

/// The new bundle: the old one's parts with the new graphs in place of its own, its golden answers asked of these, and what is known of it in
/// front of the old card.
fn signed(args: &Ingredients<'_>, old: &Bundle<'_>, integer: &JudgedModel, made: &Made<'_>) -> anyhow::Result<Vec<u8>> {
    let mut contents = old.manifest().clone();
    contents.created_unix_s = SystemTime::now().duration_since(UNIX_EPOCH)?.as_secs();
    contents.version = args.model_version.map_or_else(|| format!("{}-int8", contents.version), str::to_owned);
    contents.extension.golden = golden(integer.device())?;
    contents.extension.teacher.clone_from(&made.judged.teacher);
    let mut report = made.report.to_owned();
    if let (Some(origin), Some(segmenter)) = (args.segmenter, &mut contents.segmenter) {
        segmenter.graph = bundle_graph(segmenter.graph.part.as_str(), &origin.shipped_graph()?, origin.preprocess())?;
        let inputs = &mut contents.provenance.inputs;
        inputs.retain(|input| !input.name.starts_with("segmenter"));
        for (name, path) in origin.files() {
            inputs.push(Hashed { name, sha256: file_sha256(&path)? });
        }
        report += &card::of_segmenter(origin);
    }
    if let (Some(lent), Some(segmenter)) = (made.lent, &mut contents.segmenter) {
        segmenter.graph = bundle::Graph { part: segmenter.graph.part.clone(), ..lent.segmenter.graph.clone() };
        let inputs = &mut contents.provenance.inputs;
        inputs.retain(|input| !input.name.starts_with("segmenter"));
        inputs.push(Hashed { name: format!("segmenter of {}", lent.title), sha256: lent.sha256 });
        report += &card::of_integer_segmenter(lent);
    }
    let new = |name: &str| {
        let parts = [
            (Role::Classifier, Some(&contents.classifier.graph)),
            (Role::Segmenter, contents.segmenter.as_ref().map(|segmenter| &segmenter.graph)),
        ];
        let role = parts.into_iter().find_map(|(role, graph)| (graph?.part.as_str() == name).then_some(role))?;
        made.graphs.iter().find(|(of, ..)| *of == role).map(|(.., onnx)| onnx.as_slice())
    };
    let judged = made.judged.last.as_ref().map(|last| (last, made.judged.looks.as_str()));
    let card = old.card().map(|card| card::of_integers(&contents, made.survival, judged, &report, card));
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
