//! `thorax-train bench engine`: what the device runs its graphs with, beside ONNX Runtime and beside tract as it comes.
//!
//! Ours is the device's own code: tract's graph with the kernels of `thorax-kernels` in it. All sides are given the very same ONNX
//! file and input, one picture at a time, and their first outputs are held together before anything is timed. The same nets in 8-bit
//! integers are quantized here, by pictures of noise: that is enough to time them, and says nothing of what they see.

use std::{collections::BTreeSet, io::Write, path::PathBuf, time::Instant};

use anyhow::Context;
use candle_core::Device;
use serde::Serialize;
use thorax_engine::{
    graph::{Graph, Kernels},
    trust::trusted_keys,
};
use thorax_nets::{
    Backbone,
    segmentation::{NetConfig, attention_unet::AttentionUnetConfig, unet::UnetConfig},
};
use thorax_nn::{
    convolution::ConvolutionConfig,
    graph::{self, NodeId, Operation},
    onnx::to_onnx,
    quantize::{self, Calibrated, Ranges, Settings},
    seeded,
};
use thorax_shared::bundle::{Bundle, Limits};

use super::{
    PairArgs, Timing,
    backbones::read_values,
    compare, median,
    peer::{Library, Peer},
};

/// Options of `bench engine`.
#[derive(Debug, clap::Args)]
pub struct EngineArgs {
    /// A Python that has ONNX Runtime
    #[arg(long, value_name = "PYTHON")]
    peers: PathBuf,
    /// Bundles whose graphs are timed; several may be given
    #[arg(long, value_name = "BUNDLE", num_args = 1.., default_values = ["models/teachers/xray/thorax-xray.thorax", "models/teachers/ct/thorax-ct.thorax"])]
    bundle: Vec<PathBuf>,
    /// File of trusted keys [default: those of the shipped bundles]
    #[arg(long, value_name = "KEYS")]
    trust: Option<PathBuf>,
    #[command(flatten)]
    pub(super) pairing: PairArgs,
}

/// Everything that was measured, for `--json`.
#[derive(Debug, Serialize)]
struct Report {
    processor: String,
    threads: usize,
    pairs: usize,
    onnx_runtime: String,
    rows: Vec<Row>,
}

#[derive(Debug, Serialize)]
struct Row {
    #[serde(flatten)]
    row: Timing,
    /// Reading and planning the graph on our side, milliseconds.
    ours_plan_ms: f64,
}

/// A graph to time.
struct Case {
    name: String,
    onnx: Vec<u8>,
    /// The same net in 8-bit integers.
    quantized: Vec<u8>,
    /// `[1, C, H, W]`.
    shape: [usize; 4],
    /// In the order of the file; the first is compared.
    outputs: Vec<String>,
}

/// Largest difference from another's output, in parts of the largest value, at which both count as the same net.
const SAME: f32 = 1e-3;
/// The same of the mean difference in 8-bit integers: a sum that ONNX Runtime fuses is rounded otherwise, which moves a byte here and there, and
/// drawn weights carry that far.
const NEAR: f32 = 0.03;

pub(super) fn run(arguments: &EngineArgs) -> anyhow::Result<()> {
    let PairArgs { pairs, only, json, .. } = &arguments.pairing;
    let (threads, pairs) = (rayon::current_num_threads(), pairs.get());
    let mut onnx_runtime = Peer::start(Library::OnnxRuntime, &arguments.peers, threads)?;
    let mut report =
        Report { processor: processor(), threads, pairs, onnx_runtime: onnx_runtime.ask("version")?, rows: vec![] };
    if !json {
        println!(
            "{}, {threads} threads (tract: 1), medians of {pairs} pairs; ONNX Runtime {}",
            report.processor, report.onnx_runtime
        );
        println!("{:<30} {:<14} {:>9} {:>9} {:>6} {:>9}", "graph", "peer", "ours ms", "peer ms", "ratio", "plan ms");
    }
    let wanted = |case: &Case| only.as_ref().is_none_or(|text| case.name.contains(text));
    for case in cases(arguments)?.iter().filter(|case| wanted(case)) {
        for row in time(case, pairs, &mut onnx_runtime).with_context(|| case.name.clone())? {
            if !json {
                let Row { row: Timing { case, peer, ours_ms, peer_ms, ratio }, ours_plan_ms } = &row;
                println!("{case:<30} {peer:<14} {ours_ms:>9.2} {peer_ms:>9.2} {ratio:>6.2} {ours_plan_ms:>9.1}");
                // A row appears when it is measured, in a pipe as well.
                let _ = std::io::stdout().flush();
            }
            report.rows.push(row);
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

/// Ours beside each peer.
fn time(case: &Case, pairs: usize, onnx_runtime: &mut Peer) -> anyhow::Result<Vec<Row>> {
    let length: usize = case.shape.iter().product();
    let x: Vec<f32> = seeded::normal(length, 1.0, 1, &Device::Cpu)?.to_vec1::<f32>().context("the input")?;
    let read = |onnx: &[u8], kernels| Graph::read(onnx, &case.outputs, kernels).map_err(anyhow::Error::msg);
    let plan = |kernels| read(&case.onnx, kernels);
    let mut planned = vec![];
    for _ in 0..3 {
        let start = Instant::now();
        drop(plan(Kernels::Own)?);
        planned.push(milliseconds(start));
    }
    let ours_plan_ms = median(planned);
    let (own, tract) = (plan(Kernels::Own)?, plan(Kernels::Tract)?);
    let run = |graph: &Graph| -> anyhow::Result<f64> {
        let start = Instant::now();
        graph.run(&case.shape, &x).map_err(anyhow::Error::msg)?;
        Ok(milliseconds(start))
    };
    let first = |graph: &Graph| -> anyhow::Result<Vec<f32>> {
        let outputs = graph.run(&case.shape, &x).map_err(anyhow::Error::msg)?;
        Ok(outputs.into_iter().next().context("the graph has no output")?.1)
    };
    let y = first(&own)?;
    same(&y, &first(&tract)?).context("tract")?;
    let question = ask(onnx_runtime, &case.onnx, &x)?;
    same(&y, &question.answer).context("ONNX Runtime")?;
    let name = || case.name.clone();
    let mut rows = vec![
        compare(name(), "ONNX Runtime", pairs, || run(&own), || onnx_runtime.run(&question.case))?,
        compare(name(), "tract", pairs, || run(&own), || run(&tract))?,
    ];
    drop(tract);
    let start = Instant::now();
    let integers = read(&case.quantized, Kernels::Own)?;
    let integers_plan_ms = milliseconds(start);
    let question = ask(onnx_runtime, &case.quantized, &x)?;
    near(&first(&integers)?, &question.answer).context("ONNX Runtime, int8")?;
    let name = || format!("{}, int8", case.name);
    rows.extend([
        compare(name(), "ONNX Runtime", pairs, || run(&integers), || onnx_runtime.run(&question.case))?,
        compare(name(), "ours, f32", pairs, || run(&integers), || run(&own))?,
    ]);
    let plans = [ours_plan_ms, ours_plan_ms, integers_plan_ms, integers_plan_ms];
    Ok(rows.into_iter().zip(plans).map(|(row, ours_plan_ms)| Row { row, ours_plan_ms }).collect())
}

/// A case that ONNX Runtime is ready for.
struct Question {
    case: String,
    /// Its first output.
    answer: Vec<f32>,
    _folder: tempfile::TempDir,
}

fn ask(onnx_runtime: &mut Peer, onnx: &[u8], x: &[f32]) -> anyhow::Result<Question> {
    let folder = tempfile::tempdir()?;
    std::fs::write(folder.path().join("graph.onnx"), onnx)?;
    std::fs::write(folder.path().join("x.f32"), x.iter().flat_map(|v| v.to_le_bytes()).collect::<Vec<u8>>())?;
    let case = folder.path().display().to_string();
    onnx_runtime.prepare(&case)?;
    Ok(Question { case, answer: read_values(&folder.path().join("y.f32"))?, _folder: folder })
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

/// The bundles' graphs, then nets with drawn weights.
fn cases(arguments: &EngineArgs) -> anyhow::Result<Vec<Case>> {
    let keys = trusted_keys(arguments.trust.as_deref())?;
    let mut cases = vec![];
    for path in &arguments.bundle {
        let bytes = std::fs::read(path).with_context(|| path.display().to_string())?;
        let bundle = Bundle::read(&bytes, &keys, &Limits::default()).with_context(|| path.display().to_string())?;
        let manifest = bundle.manifest();
        let segmenter = manifest.segmenter.as_ref().map(|segmenter| &segmenter.graph);
        let graphs = [
            Some(("classifier", &manifest.classifier.graph, bundle.classifier_graph())),
            segmenter.zip(bundle.segmenter_graph()).map(|(graph, bytes)| ("segmenter", graph, bytes)),
        ];
        for (role, graph, onnx) in graphs.into_iter().flatten() {
            let side = graph.preprocess.input_side as usize;
            let net = thorax_nn::onnx::from_onnx(onnx)?;
            cases.push(Case {
                name: format!("{} {role}", manifest.name),
                onnx: onnx.to_vec(),
                quantized: quantized(&net)?,
                shape: [1, graph.preprocess.normalise.mean.len(), side, side],
                // ONNX Runtime answers in the order of the file.
                outputs: net.outputs.into_iter().map(|(name, _)| name).collect(),
            });
        }
    }
    let device = Device::Cpu;
    let unet = NetConfig::Unet(UnetConfig::default());
    let attention = NetConfig::AttentionUnet(AttentionUnetConfig::default());
    let drawn = [
        ("ResNet50", Backbone::ResNet50.draw(1, &device)?.graph),
        ("MobileNetV2", mobilenet_v2(224)?),
        ("EfficientNet-B0", Backbone::EfficientNetB(0).draw(1, &device)?.graph),
        ("U-Net, 16 channels, 256", unet.init(1, &device)?.to_graph(256)?),
        ("attention U-Net, 16, 256", attention.init(1, &device)?.to_graph(256)?),
    ];
    for (name, mut graph) in drawn {
        // As the file has it.
        graph.round_to_half(thorax_nn::onnx::HALF_PRECISION_FROM)?;
        let [channels, height, width] = graph.input_shape;
        cases.push(Case {
            name: name.into(),
            onnx: to_onnx(&graph, "drawn")?,
            quantized: quantized(&graph)?,
            shape: [1, channels, height, width],
            outputs: graph.outputs.iter().map(|(name, _)| name.clone()).collect(),
        });
    }
    Ok(cases)
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
