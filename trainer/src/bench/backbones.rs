//! `thorax-train bench backbones`: images a second of the frozen backbones, beside PyTorch and ONNX Runtime.
//!
//! Ours is the inference graph that extracts features ([`Graph::run`]). PyTorch runs timm's net of the same name, once as it is
//! and once frozen and optimised for inference. ONNX Runtime runs the file that `export` writes of the very graph, and its
//! first output is held against ours before anything is timed.

use std::{
    io::Write,
    num::NonZeroUsize,
    path::{Path, PathBuf},
};

use anyhow::Context;
use candle_core::{Device, Tensor};
use serde::Serialize;
use thorax_nets::Backbone;
use thorax_nn::{
    graph::Graph,
    onnx::{HALF_PRECISION_FROM, to_onnx_of_batch},
    seeded,
};

use super::{
    PairArgs, ThreadArgs, Timing, compare,
    peer::{Library, Peer},
    timed,
};

/// Options of `bench backbones`.
#[derive(Debug, clap::Args)]
pub struct BackbonesArgs {
    /// A Python that has PyTorch, timm and ONNX Runtime
    #[arg(long, value_name = "PYTHON")]
    peers: PathBuf,
    /// Pictures at a time
    #[arg(long, default_value = "8", value_name = "N")]
    batch: NonZeroUsize,
    #[command(flatten)]
    pub(super) threads: ThreadArgs,
    #[command(flatten)]
    pub(super) pairing: PairArgs,
}

/// Everything that was measured, for `--json`.
#[derive(Debug, Serialize)]
struct Report {
    threads: usize,
    pairs: usize,
    batch: usize,
    torch: String,
    onnx_runtime: String,
    rows: Vec<BackboneRow>,
}

#[derive(Debug, Serialize)]
struct BackboneRow {
    #[serde(flatten)]
    row: Timing,
    ours_images_per_second: f64,
    peer_images_per_second: f64,
}

/// What is compared unless `--only` asks for others.
const USUAL: [Backbone; 4] =
    [Backbone::ResNet50, Backbone::InceptionResNetV2, Backbone::EfficientNetB(0), Backbone::EfficientNetLite(0)];

/// The name of the Hub's repository is timm's name of the net, and that of the weights.
fn timm_name(backbone: Backbone) -> &'static str {
    let repository = backbone.hub_repository();
    let name = repository.strip_prefix("timm/").unwrap_or(repository);
    name.split_once('.').map_or(name, |(net, _)| net)
}

/// Largest difference from ONNX Runtime's output, in parts of the largest value, at which both count as the same net.
const SAME: f32 = 1e-3;

pub(super) fn run(arguments: &BackbonesArgs) -> anyhow::Result<()> {
    let PairArgs { pairs, only, json } = &arguments.pairing;
    let (threads, pairs, batch) = (rayon::current_num_threads(), pairs.get(), arguments.batch.get());
    let start = |library| Peer::start(library, &arguments.peers, threads);
    let mut torch = start(Library::Torch)?;
    let mut onnx_runtime = start(Library::OnnxRuntime)?;
    let mut report = Report {
        threads,
        pairs,
        batch,
        torch: torch.ask("version")?,
        onnx_runtime: onnx_runtime.ask("version")?,
        rows: vec![],
    };
    if !json {
        println!(
            "{threads} threads, batches of {batch}, medians of {pairs} pairs; PyTorch {}; ONNX Runtime {}",
            report.torch, report.onnx_runtime
        );
        println!(
            "{:<22} {:<18} {:>13} {:>13} {:>9} {:>9} {:>6}",
            "net", "peer", "ours images/s", "peer images/s", "ours ms", "peer ms", "ratio"
        );
    }
    let chosen: Vec<Backbone> = match only {
        None => USUAL.into(),
        Some(text) => Backbone::ALL.into_iter().filter(|backbone| backbone.name().contains(text)).collect(),
    };
    for backbone in chosen {
        let (name, timm, side) = (backbone.name(), timm_name(backbone), backbone.input_side());
        let mut graph = backbone.draw(1, &Device::Cpu)?.graph;
        // As the file has it.
        graph.round_to_half(HALF_PRECISION_FROM)?;
        let x = seeded::normal((batch, 3, side, side), 1.0, 1, &Device::Cpu)?;
        let y = first_output(&graph, &x)?;
        let folder = tempfile::tempdir()?;
        let onnx_case = folder.path().display().to_string();
        write_case(folder.path(), &graph, name, &x)?;
        for (peer, library, case) in [
            ("PyTorch", Library::Torch, format!("timm {timm}, {batch} x 3 x {side} x {side}, eager")),
            ("PyTorch, frozen", Library::Torch, format!("timm {timm}, {batch} x 3 x {side} x {side}, frozen")),
            ("ONNX Runtime", Library::OnnxRuntime, onnx_case),
        ] {
            let process = if library == Library::Torch { &mut torch } else { &mut onnx_runtime };
            let shape = process.prepare(&case)?;
            let expected = y.dims().iter().map(usize::to_string).collect::<Vec<_>>().join(" x ");
            anyhow::ensure!(shape == expected, "{name}: ours gives {expected}, {peer} gives {shape}");
            if library == Library::OnnxRuntime {
                let worst = difference(&y, &read_values(&folder.path().join("y.f32"))?)?;
                anyhow::ensure!(
                    worst <= SAME,
                    "{name}: ours and ONNX Runtime's differ by {worst:e} of the largest value"
                );
            }
            let mut ours = || first_output(&graph, &x).map(drop);
            let row = compare(name.into(), peer, pairs, || timed(&mut ours), || process.run(&case))?;
            let images_per_second = |ms: f64| batch as f64 * 1e3 / ms;
            let row = BackboneRow {
                ours_images_per_second: images_per_second(row.ours_ms),
                peer_images_per_second: images_per_second(row.peer_ms),
                row,
            };
            if !json {
                let BackboneRow { row, ours_images_per_second: ours, peer_images_per_second: theirs } = &row;
                let Timing { case, peer, ours_ms, peer_ms, ratio } = row;
                println!(
                    "{case:<22} {peer:<18} {ours:>13.1} {theirs:>13.1} {ours_ms:>9.1} {peer_ms:>9.1} {ratio:>6.2}"
                );
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

/// `features` of the batch.
fn first_output(graph: &Graph, x: &Tensor) -> candle_core::Result<Tensor> {
    graph.run(x)?.into_iter().next().ok_or_else(|| candle_core::Error::Msg("the graph has no output".into()))
}

/// What ONNX Runtime is given: the graph and the input.
fn write_case(folder: &Path, graph: &Graph, name: &str, x: &Tensor) -> anyhow::Result<()> {
    let batch = x.dim(0)?;
    std::fs::write(folder.join("graph.onnx"), to_onnx_of_batch(graph, name, batch)?)?;
    let values: Vec<u8> = x.flatten_all()?.to_vec1::<f32>()?.into_iter().flat_map(f32::to_le_bytes).collect();
    Ok(std::fs::write(folder.join("x.f32"), values)?)
}

/// The values of a case's file.
pub(super) fn read_values(path: &Path) -> anyhow::Result<Vec<f32>> {
    let bytes = std::fs::read(path).with_context(|| path.display().to_string())?;
    Ok(bytes.chunks_exact(4).map(|b| f32::from_le_bytes([b[0], b[1], b[2], b[3]])).collect())
}

/// The largest difference of `y` from `theirs`, in parts of the largest value; infinite where one is no number.
fn difference(y: &Tensor, theirs: &[f32]) -> anyhow::Result<f32> {
    let ours = y.flatten_all()?.to_vec1::<f32>()?;
    anyhow::ensure!(ours.len() == theirs.len(), "ours has {} values, theirs {}", ours.len(), theirs.len());
    let largest = ours.iter().fold(0f32, |largest, v| largest.max(v.abs()));
    let worst = ours.iter().zip(theirs).map(|(a, b)| (a - b).abs() / largest);
    Ok(worst.fold(0.0, |worst, d| if d.is_finite() { f32::max(worst, d) } else { f32::INFINITY }))
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[test]
    fn timm_knows_the_nets_by_these_names() {
        assert_eq!(timm_name(Backbone::ResNet50), "resnet50");
        assert_eq!(timm_name(Backbone::EfficientNetB(3)), "tf_efficientnet_b3");
        assert_eq!(timm_name(Backbone::EfficientNetLite(0)), "tf_efficientnet_lite0");
    }

    #[test]
    fn a_difference_is_seen_also_where_there_is_no_number() {
        let y = Tensor::new(&[4f32, -2.0], &Device::Cpu).unwrap();
        assert_eq!(difference(&y, &[4.0, -2.0]).unwrap(), 0.0);
        assert_eq!(difference(&y, &[4.0, -1.0]).unwrap(), 0.25);
        assert_eq!(difference(&y, &[4.0, f32::NAN]).unwrap(), f32::INFINITY);
        assert!(difference(&y, &[4.0]).is_err());
        let nothing = Tensor::zeros(2, candle_core::DType::F32, &Device::Cpu).unwrap();
        assert_eq!(difference(&nothing, &[0.0, 0.0]).unwrap(), f32::INFINITY);
    }
}
