//! `thorax-train bench engine`: what the device runs its graphs with, beside ONNX Runtime and beside tract as it comes.
//!
//! Ours is the device's own code: tract's graph with the kernels of `thorax-kernels` in it. All sides are given the very same ONNX
//! file and input, one picture at a time, and their first outputs are held together before anything is timed; what ONNX Runtime's own tool
//! quantized is held against its net of real numbers instead. A shipped graph in 8-bit integers stands beside the graph of real numbers that it was made of. What is not shipped in integers is quantized here, by pictures of
//! noise: that is enough to time it, and says nothing of what it sees.

use std::{
    collections::BTreeSet,
    io::Write,
    num::NonZeroUsize,
    path::{Path, PathBuf},
    time::Instant,
};

use anyhow::Context;
use candle_core::Device;
use serde::Serialize;
use thorax_engine::{
    graph::{self as engine, Kernels},
    trust::trusted_keys,
};
use thorax_nets::{
    Backbone,
    backbones::reduction::Reduction,
    segmentation::{NetConfig, attention_unet::AttentionUnetConfig, unet::UnetConfig},
};
use thorax_nn::{
    convolution::ConvolutionConfig,
    graph::{self, NodeId, Operation},
    onnx::{from_onnx, to_onnx},
    quantize::{self, Calibrated, Census, Ranges, Settings},
    seeded,
};
use thorax_shared::bundle::{Bundle, Limits, Manifest, Sha256Sum};

use super::{
    PairArgs, Timing,
    backbones::read_values,
    compare, median,
    peer::{Library, Peer},
};

/// What is timed unless `--bundle` says so: what devices have, and what that was made of.
const SHIPPED: [&str; 4] = [
    "models/xray/thorax-xray.thorax",
    "models/ct/thorax-ct.thorax",
    "models/teachers/xray/thorax-xray.thorax",
    "models/teachers/ct/thorax-ct.thorax",
];

/// Options of `bench engine`.
#[derive(Debug, clap::Args)]
pub struct EngineArgs {
    /// A Python that has ONNX Runtime, and onnx for its quantization
    #[arg(long, value_name = "PYTHON")]
    peers: PathBuf,
    /// Bundles whose graphs are timed; one in integers is set beside its teacher if that is among them
    #[arg(long, value_name = "BUNDLE", num_args = 1.., default_values = SHIPPED)]
    bundle: Vec<PathBuf>,
    /// File of trusted keys [default: those of the shipped bundles]
    #[arg(long, value_name = "KEYS")]
    trust: Option<PathBuf>,
    /// Numbers of threads of either side, one after another
    #[arg(long, value_name = "N", value_delimiter = ',', default_values = ["1", "2"], value_parser = thorax_nn::device::threads)]
    threads: Vec<NonZeroUsize>,
    #[command(flatten)]
    pub(super) pairing: PairArgs,
}

/// Everything that was measured, for `--json`.
#[derive(Debug, Serialize)]
struct Report {
    processor: String,
    pairs: usize,
    onnx_runtime: String,
    rows: Vec<Row>,
}

#[derive(Debug, Serialize)]
struct Row {
    threads: usize,
    #[serde(flatten)]
    row: Timing,
    /// Reading and planning the graph on our side, milliseconds.
    ours_plan_ms: f64,
}

/// A net to time, in real numbers, in 8-bit integers or in both: ONNX files.
struct Case {
    name: String,
    /// Whose graph of real numbers it is, where that is another's.
    real_name: Option<String>,
    /// `[1, C, H, W]`.
    shape: [usize; 4],
    real: Option<Vec<u8>>,
    integers: Option<Vec<u8>>,
}

/// Largest difference from another's output, in parts of the largest value, at which both count as the same net.
const SAME: f32 = 1e-3;
/// The same of the mean difference in 8-bit integers: a sum that ONNX Runtime fuses is rounded otherwise, which moves a byte here and there, and
/// drawn weights carry that far.
const NEAR: f32 = 0.03;

pub(super) fn run(arguments: &EngineArgs) -> anyhow::Result<()> {
    let PairArgs { pairs, only, json } = &arguments.pairing;
    let pairs = pairs.get();
    let sides = arguments.threads.iter().map(|threads| Side::start(threads.get(), &arguments.peers));
    let mut sides = sides.collect::<anyhow::Result<Vec<_>>>()?;
    let onnx_runtime = sides.first_mut().context("--threads names no number")?.onnx_runtime.ask("version")?;
    let mut report = Report { processor: processor(), pairs, onnx_runtime, rows: vec![] };
    if !json {
        println!("{}, medians of {pairs} pairs; ONNX Runtime {}", report.processor, report.onnx_runtime);
        println!(
            "{:<36} {:>7} {:<26} {:>9} {:>9} {:>6} {:>9}",
            "graph", "threads", "peer", "ours ms", "peer ms", "ratio", "plan ms"
        );
    }
    let wanted = |name: &str| only.as_ref().is_none_or(|text| name.contains(text.as_str()));
    for case in &cases(arguments, wanted)? {
        let forms = Forms::new(case).with_context(|| case.name.clone())?;
        for side in &mut sides {
            for row in time(case, &forms, pairs, side).with_context(|| case.name.clone())? {
                if !json {
                    let Row { threads, row: Timing { case, peer, ours_ms, peer_ms, ratio }, ours_plan_ms } = &row;
                    println!(
                        "{case:<36} {threads:>7} {peer:<26} {ours_ms:>9.2} {peer_ms:>9.2} {ratio:>6.2} {ours_plan_ms:>9.1}"
                    );
                    // A row appears when it is measured, in a pipe as well.
                    let _ = std::io::stdout().flush();
                }
                report.rows.push(row);
            }
        }
    }
    if *json {
        println!("{}", serde_json::to_string_pretty(&report)?);
    }
    Ok(())
}

/// The processor's name, as the kernel gives it.
fn processor() -> String {
    let text = std::fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
    let value = |key: &str| {
        let line = text.lines().find(|line| line.starts_with(key))?;
        line.split_once(':').map(|(_, value)| value.trim().to_owned())
    };
    let name = value("model name").or_else(|| value("CPU part")).unwrap_or_else(|| "unknown processor".into());
    let flags = value("flags").or_else(|| value("Features")).unwrap_or_default();
    let has: Vec<&str> = ["avx2", "avx512f", "avx_vnni", "avx512_vnni", "asimddp", "i8mm"]
        .into_iter()
        .filter(|wanted| flags.split(' ').any(|flag| flag == *wanted))
        .collect();
    format!("{name} ({})", has.join(", "))
}

/// So many threads of ours, and as many of ONNX Runtime's.
struct Side {
    pool: rayon::ThreadPool,
    onnx_runtime: Peer,
}

impl Side {
    fn start(threads: usize, python: &Path) -> anyhow::Result<Self> {
        let pool = thorax_engine::threads::pool(threads).build()?;
        Ok(Self { pool, onnx_runtime: Peer::start(Library::OnnxRuntime, python, threads)? })
    }
}

/// That two answers are of the same net.
type Agree = fn(&[f32], &[f32]) -> anyhow::Result<()>;

/// A graph that our side is ready to run, and the folder in which ONNX Runtime finds it.
struct Form {
    name: String,
    own: engine::Graph,
    plan_ms: f64,
    /// Ours.
    answer: Vec<f32>,
    /// As it comes, where it can run the graph.
    tract: Option<engine::Graph>,
    folder: tempfile::TempDir,
    agree: Agree,
}

impl Form {
    /// `real` is the net that ONNX Runtime may quantize as it likes.
    fn new(
        name: String,
        onnx: &[u8],
        real: Option<&[u8]>,
        case: &Case,
        x: &[f32],
        agree: Agree,
    ) -> anyhow::Result<Self> {
        // All outputs, in the order of the file, as ONNX Runtime gives them.
        let read = |kernels| engine::Graph::read(onnx, &[] as &[&str], kernels).map_err(anyhow::Error::msg);
        let first = |graph: &engine::Graph| -> anyhow::Result<Vec<f32>> {
            let outputs = graph.run(&case.shape, x).map_err(anyhow::Error::msg)?;
            Ok(outputs.into_iter().next().context("the graph has no output")?.1)
        };
        let mut planned = vec![];
        for _ in 0..3 {
            let start = Instant::now();
            drop(read(Kernels::Own)?);
            planned.push(milliseconds(start));
        }
        let own = read(Kernels::Own)?;
        let answer = first(&own)?;
        let tract = read(Kernels::Tract).and_then(|tract| Ok((first(&tract)?, tract)));
        let tract = match tract {
            Ok((theirs, tract)) => {
                agree(&answer, &theirs).with_context(|| format!("{name}: tract"))?;
                Some(tract)
            }
            Err(error) => {
                eprintln!("{name}: not beside tract, which cannot run it ({error:#})");
                None
            }
        };
        let folder = tempfile::tempdir()?;
        let write = |name: &str, bytes: &[u8]| std::fs::write(folder.path().join(name), bytes);
        write("graph.onnx", onnx)?;
        write("x.f32", &x.iter().flat_map(|v| v.to_le_bytes()).collect::<Vec<u8>>())?;
        if let Some(real) = real {
            write("real.onnx", real)?;
        }
        Ok(Self { name, own, plan_ms: median(planned), answer, tract, folder, agree })
    }
}

/// A case, ready to be timed with any number of threads.
struct Forms {
    x: Vec<f32>,
    real: Option<Form>,
    integers: Option<Form>,
}

impl Forms {
    fn new(case: &Case) -> anyhow::Result<Self> {
        let length: usize = case.shape.iter().product();
        let x: Vec<f32> = seeded::normal(length, 1.0, 1, &Device::Cpu)?.to_vec1::<f32>().context("the input")?;
        let real = case.real.as_deref();
        let form = |name: String, onnx: Option<&[u8]>, real: Option<&[u8]>, agree: Agree| {
            onnx.map(|onnx| Form::new(name, onnx, real, case, &x, agree)).transpose()
        };
        let integers = form(format!("{}, int8", case.name), case.integers.as_deref(), real, near)?;
        let real = form(case.real_name.as_ref().unwrap_or(&case.name).clone(), real, None, same)?;
        Ok(Self { x, real, integers })
    }
}

/// Ours beside each peer.
fn time(case: &Case, forms: &Forms, pairs: usize, side: &mut Side) -> anyhow::Result<Vec<Row>> {
    let mut rows = vec![];
    let Forms { x, real, integers } = forms;
    let threads = side.pool.current_num_threads();
    for form in real.iter().chain(integers) {
        let question = form.folder.path().display().to_string();
        side.onnx_runtime.prepare(&question)?;
        let answer = read_values(&form.folder.path().join("y.f32"))?;
        (form.agree)(&form.answer, &answer).with_context(|| format!("{}: ONNX Runtime", form.name))?;
        let peer = match std::fs::read_to_string(form.folder.path().join("form.txt"))?.as_str() {
            "QDQ" => "ONNX Runtime, its QDQ",
            "QOperator" => "ONNX Runtime, its QOperator",
            _ => "ONNX Runtime",
        };
        let Side { pool, onnx_runtime } = &mut *side;
        let run = |graph: &engine::Graph| -> anyhow::Result<f64> {
            let start = Instant::now();
            pool.install(|| graph.run(&case.shape, x)).map_err(anyhow::Error::msg)?;
            Ok(milliseconds(start))
        };
        let ours = || run(&form.own);
        let mut timings = vec![compare(form.name.clone(), peer, pairs, ours, || onnx_runtime.run(&question))?];
        let real = real.as_ref().filter(|real| !std::ptr::eq(*real, form));
        let others = [("tract", form.tract.as_ref()), ("ours, f32", real.map(|real| &real.own))];
        for (peer, graph) in others.into_iter().filter_map(|(peer, graph)| Some((peer, graph?))) {
            timings.push(compare(form.name.clone(), peer, pairs, ours, || run(graph))?);
        }
        rows.extend(timings.into_iter().map(|row| Row { threads, row, ours_plan_ms: form.plan_ms }));
    }
    Ok(rows)
}

fn milliseconds(start: Instant) -> f64 {
    start.elapsed().as_secs_f64() * 1e3
}

/// That both are the same net's answer.
fn same(ours: &[f32], theirs: &[f32]) -> anyhow::Result<()> {
    anyhow::ensure!(ours.len() == theirs.len(), "ours has {} values, theirs {}", ours.len(), theirs.len());
    let largest = ours.iter().fold(f32::MIN_POSITIVE, |largest, v| largest.max(v.abs()));
    let worst = ours.iter().zip(theirs).map(|(a, b)| (a - b).abs() / largest);
    // A comparison that a NaN does not pass.
    let all = worst.clone().all(|difference| difference <= SAME);
    anyhow::ensure!(all, "ours and theirs differ by {:e} of the largest value", worst.fold(0.0, f32::max));
    Ok(())
}

/// That both are about the same net's answer.
fn near(ours: &[f32], theirs: &[f32]) -> anyhow::Result<()> {
    anyhow::ensure!(ours.len() == theirs.len(), "ours has {} values, theirs {}", ours.len(), theirs.len());
    let largest = ours.iter().fold(f32::MIN_POSITIVE, |largest, v| largest.max(v.abs()));
    let sum: f32 = ours.iter().zip(theirs).map(|(a, b)| (a - b).abs()).sum();
    let mean = sum / (largest * ours.len().max(1) as f32);
    // A comparison that a NaN does not pass.
    anyhow::ensure!(mean <= NEAR, "ours and theirs differ by {mean:e} of the largest value on average");
    Ok(())
}

/// A graph of a bundle.
#[derive(Debug)]
struct Part {
    /// Name and version of the bundle, and those of the bundle that it was made of.
    bundle: String,
    teacher: Option<String>,
    role: &'static str,
    onnx: Vec<u8>,
    /// `[1, C, H, W]`.
    shape: [usize; 4],
    /// Whether it calculates in integers.
    integers: bool,
    /// What a segmenter was made of; a bundle that was made of another may have a segmenter of its own.
    segmenter: Vec<(String, Sha256Sum)>,
}

impl Part {
    fn name(&self) -> String {
        format!("{} {}", self.bundle, self.role)
    }

    /// Whether `integers` is this graph in integers. With another input, or a segmenter of other files, it is another net.
    fn teaches(&self, integers: &Self) -> bool {
        integers.integers
            && !self.integers
            && integers.teacher.as_ref() == Some(&self.bundle)
            && (integers.role, integers.shape, &integers.segmenter) == (self.role, self.shape, &self.segmenter)
    }
}

/// Names and hashes of the files that a bundle's segmenter was made of.
fn segmenter_inputs(manifest: &Manifest) -> Vec<(String, Sha256Sum)> {
    let inputs = manifest.provenance.inputs.iter().filter(|input| input.name.starts_with("segmenter"));
    inputs.map(|input| (input.name.to_string(), input.sha256)).collect()
}

/// The bundles' graphs, each once.
fn parts(arguments: &EngineArgs) -> anyhow::Result<Vec<Part>> {
    let keys = trusted_keys(arguments.trust.as_deref())?;
    let mut parts = vec![];
    for path in &arguments.bundle {
        let bytes = std::fs::read(path).with_context(|| path.display().to_string())?;
        let bundle = Bundle::read(&bytes, &keys, &Limits::default()).with_context(|| path.display().to_string())?;
        let manifest = bundle.manifest();
        let classifier = &manifest.classifier.graph;
        let segmenter = manifest.segmenter.as_ref().map(|segmenter| &segmenter.graph).zip(bundle.segmenter_graph());
        let one_net = segmenter.is_some_and(|(segmenter, _)| segmenter.part == classifier.part);
        let verdict = (if one_net { "net" } else { "classifier" }, classifier, bundle.classifier_graph());
        let masks = segmenter.filter(|_| !one_net).map(|(graph, onnx)| ("segmenter", graph, onnx));
        for (role, graph, onnx) in [Some(verdict), masks].into_iter().flatten() {
            let side = graph.preprocess.input_side as usize;
            parts.push(Part {
                bundle: format!("{} {}", manifest.name, manifest.version),
                teacher: manifest.extension.teacher.as_ref().map(|teacher| teacher.name.clone()),
                role,
                onnx: onnx.to_vec(),
                shape: [1, graph.preprocess.normalise.mean.len(), side, side],
                integers: Census::of(onnx)?.integer_convolutions() > 0,
                segmenter: if role == "segmenter" { segmenter_inputs(manifest) } else { vec![] },
            });
        }
    }
    Ok(parts)
}

/// A case for each graph whose name is `wanted`, where one in integers takes along the one of real numbers that it was made of.
fn shipped(parts: &[Part], wanted: impl Fn(&str) -> bool) -> anyhow::Result<Vec<Case>> {
    let mut cases = vec![];
    for part in parts.iter().filter(|part| wanted(&part.name())) {
        let (real, integers) = if part.integers {
            (parts.iter().find(|other| other.teaches(part)), part.onnx.clone())
        } else if parts.iter().any(|other| part.teaches(other)) {
            continue;
        } else {
            (Some(part), quantized(&from_onnx(&part.onnx)?)?)
        };
        cases.push(Case {
            name: part.name(),
            real_name: real.map(Part::name),
            shape: part.shape,
            real: real.map(|real| real.onnx.clone()),
            integers: Some(integers),
        });
    }
    Ok(cases)
}

/// Of the bundles' graphs, then of nets with drawn weights, those whose name is `wanted`.
fn cases(arguments: &EngineArgs, wanted: impl Fn(&str) -> bool) -> anyhow::Result<Vec<Case>> {
    let mut cases = shipped(&parts(arguments)?, &wanted)?;
    let device = Device::Cpu;
    let unet = NetConfig::Unet(UnetConfig::default());
    let attention = NetConfig::AttentionUnet(AttentionUnetConfig::default());
    let mut drawn = vec![
        ("ResNet50", Backbone::ResNet50.draw(1, &device)?.graph),
        ("MobileNetV2", mobilenet_v2(224)?),
        ("EfficientNet-B0", Backbone::EfficientNetB(0).draw(1, &device)?.graph),
        ("U-Net, 16 channels, 256", unet.init(1, &device)?.to_graph(256)?),
        ("attention U-Net, 16, 256", attention.init(1, &device)?.to_graph(256)?),
    ];
    drawn.extend(students(&device)?);
    for (name, mut graph) in drawn.into_iter().filter(|(name, _)| wanted(name)) {
        // As the file has it.
        graph.round_to_half(thorax_nn::onnx::HALF_PRECISION_FROM)?;
        let [channels, height, width] = graph.input_shape;
        cases.push(Case {
            name: name.into(),
            real_name: None,
            shape: [1, channels, height, width],
            real: Some(to_onnx(&graph, "drawn")?),
            integers: Some(quantized(&graph)?),
        });
    }
    Ok(cases)
}

/// EfficientNet-Lite0 as `--side`, `--depth`, `--width` and `--plain` leave it to a student.
fn students(device: &Device) -> anyhow::Result<Vec<(&'static str, graph::Graph)>> {
    let whole = Reduction::WHOLE;
    let students = [
        ("Lite0 whole, 224", 224, whole),
        ("Lite0 whole, 160", 160, whole),
        ("Lite0 whole, 128", 128, whole),
        ("Lite0 depth 0.5, 224", 224, Reduction { depth: 0.5, ..whole }),
        ("Lite0 width 0.75, 224", 224, Reduction { width: 0.75, ..whole }),
        ("Lite0 width 0.5, 224", 224, Reduction { width: 0.5, ..whole }),
        ("Lite0 plain 2, 224", 224, Reduction { plain: 2, ..whole }),
        ("Lite0 plain 3, 224", 224, Reduction { plain: 3, ..whole }),
    ];
    let student = |(name, side, reduction)| {
        let weights = Backbone::EfficientNetLite(0).drawn_weights(1, device)?.reduced_to(reduction, 1)?;
        Ok((name, weights.pretrained(side)?.graph))
    };
    students.into_iter().map(student).collect()
}

/// The net in 8-bit integers, its ranges those of noise.
fn quantized(graph: &graph::Graph) -> candle_core::Result<Vec<u8>> {
    let [channels, height, width] = graph.input_shape;
    let noise =
        |seed| seeded::normal((channels, height, width), 1.0, seed, &Device::Cpu)?.flatten_all()?.to_vec1::<f32>();
    let pictures = (1..3).map(noise).collect::<candle_core::Result<Vec<_>>>()?;
    let settings = Settings { ranges: Ranges::MinMax, per_channel: true, equalise: false, correct_bias: false };
    let calibrated = Calibrated::new(graph, &pictures, settings)?;
    quantize::to_onnx(&calibrated.quantize(&BTreeSet::new())?, "quantized")
}

/// MobileNetV2 without its head (Sandler et al. 2018, table 2), with drawn weights.
fn mobilenet_v2(side: usize) -> candle_core::Result<graph::Graph> {
    // Expansion, channels, blocks, stride of the first.
    const STAGES: [[usize; 4]; 7] =
        [[1, 16, 1, 1], [6, 24, 2, 2], [6, 32, 3, 2], [6, 64, 4, 2], [6, 96, 3, 1], [6, 160, 3, 2], [6, 320, 1, 1]];
    let mut net = graph::Graph::new([3, side, side]);
    let mut seed = 0;
    let mut convolve =
        |net: &mut graph::Graph, x: NodeId, channels: [usize; 2], kernel: usize, config: ConvolutionConfig| {
            let inputs = channels[0] / config.groups;
            seed += 1;
            // He et al. 2015, so that values neither vanish nor grow.
            let deviation = (2.0 / (inputs * kernel * kernel) as f32).sqrt();
            let weight = seeded::normal((channels[1], inputs, kernel, kernel), deviation, seed, &Device::Cpu)?;
            let bias = seeded::normal(channels[1], 0.1, seed + 1000, &Device::Cpu)?;
            candle_core::Result::Ok(net.convolution(x, weight, bias, config))
        };
    let dense = ConvolutionConfig::dense;
    let x = convolve(&mut net, 0, [3, 32], 3, ConvolutionConfig { stride: 2, ..dense(3) })?;
    let mut x = net.push(Operation::Relu6, &[x]);
    let mut channels = 32;
    for [expansion, channels_out, blocks, stride] in STAGES {
        for block in 0..blocks {
            let (before, wide) = (x, channels * expansion);
            if expansion > 1 {
                x = convolve(&mut net, x, [channels, wide], 1, dense(1))?;
                x = net.push(Operation::Relu6, &[x]);
            }
            let stride = if block == 0 { stride } else { 1 };
            x = convolve(&mut net, x, [wide, wide], 3, ConvolutionConfig { stride, groups: wide, ..dense(3) })?;
            x = net.push(Operation::Relu6, &[x]);
            x = convolve(&mut net, x, [wide, channels_out], 1, dense(1))?;
            if block > 0 {
                x = net.push(Operation::Add, &[x, before]);
            }
            channels = channels_out;
        }
    }
    let x = convolve(&mut net, x, [channels, 1280], 1, dense(1))?;
    let x = net.push(Operation::Relu6, &[x]);
    net.output("features", x);
    Ok(net)
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[test]
    fn mobilenet_v2_has_its_published_size() {
        let net = mobilenet_v2(224).unwrap();
        let weights: usize = net
            .nodes
            .iter()
            .map(|node| match &node.operation {
                Operation::Convolution { weight, .. } => weight.elem_count(),
                _ => 0,
            })
            .sum();
        // torchvision's 3,504,872 parameters less the head's 1,281,000 and 2 for each of 17,056 channels of batch norms.
        assert_eq!(weights, 3_504_872 - 1_281_000 - 2 * 17_056);
    }

    #[test]
    fn integers_stand_beside_what_they_were_made_of() {
        let part = |bundle: &str, teacher: Option<&str>, role, [channels, byte, made_of]: [u8; 3]| Part {
            bundle: bundle.into(),
            teacher: teacher.map(str::to_owned),
            role,
            onnx: vec![byte],
            shape: [1, usize::from(channels), 8, 8],
            integers: teacher.is_some(),
            segmenter: if role == "segmenter" { vec![("segmenter run".into(), [made_of; 32])] } else { vec![] },
        };
        let parts = [
            part("chest 2", Some("chest 1"), "classifier", [3, 0, 0]),
            part("chest 2", Some("chest 1"), "segmenter", [3, 1, 0]),
            part("chest 1", None, "classifier", [3, 2, 0]),
            part("chest 1", None, "segmenter", [3, 4, 0]),
            part("chest 3", Some("chest 1"), "classifier", [1, 3, 0]),
            // Made of another run.
            part("chest 4", Some("chest 1"), "segmenter", [3, 5, 1]),
        ];
        let cases = shipped(&parts, |_| true).unwrap();
        let found: Vec<_> =
            cases.iter().map(|case| (case.name.as_str(), case.real.as_deref(), case.integers.as_deref())).collect();
        assert_eq!(
            found,
            [
                ("chest 2 classifier", Some(&[2][..]), Some(&[0][..])),
                ("chest 2 segmenter", Some(&[4][..]), Some(&[1][..])),
                ("chest 3 classifier", None, Some(&[3][..])),
                ("chest 4 segmenter", None, Some(&[5][..])),
            ]
        );
    }

    #[test]
    fn another_answer_is_not_the_same() {
        assert!(same(&[1.0, 2.0], &[1.0, 2.001]).is_ok());
        assert!(same(&[1.0, 2.0], &[1.0, 2.1]).is_err());
        assert!(same(&[1.0, 2.0], &[1.0, f32::NAN]).is_err());
        assert!(same(&[1.0], &[1.0, 2.0]).is_err());
        assert!(near(&[1.0, 2.0], &[1.1, 2.0]).is_ok());
        assert!(near(&[1.0, 2.0], &[1.1, 1.8]).is_err());
        assert!(near(&[1.0, 2.0], &[1.0, f32::NAN]).is_err());
    }
}
