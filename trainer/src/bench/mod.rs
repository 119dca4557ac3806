//! `thorax-train bench`: `nn`, what the operators of `nn` gain, and how far they are from PyTorch; `backbones`, how fast features
//! are extracted; `engine`, how fast the device runs its graphs; `store`, what it costs to read features again; `classify`, what a
//! hundred runs of each classifier take.
//!
//! Two sides carry the same work out in turn, in one run, with the same number of threads; a figure is a median, and a
//! ratio the median of the pairs' ratios, so that what disturbs the machine disturbs both. PyTorch and ONNX
//! Runtime are processes of their own (`peer`) that wait while we compute; candle's stock operators run in ours. The peak memory of a training step is
//! measured in a fresh process for each side.

mod backbones;
mod cases;
mod classify;
mod engine;
mod peer;
mod store;

use std::{
    io::Write,
    num::NonZeroUsize,
    path::PathBuf,
    process::Command,
    time::{Duration, Instant},
};

use anyhow::Context;
use backbones::BackbonesArgs;
use peer::{Library, Peer};
use serde::{Deserialize, Serialize};

use self::cases::TRAINING_STEPS;
use crate::memory::peak_kib;

/// What is measured.
#[derive(Debug, clap::Subcommand)]
pub enum BenchCommand {
    /// Time operators and training steps beside PyTorch's and candle's
    Nn(NnArgs),
    /// Images a second of the frozen backbones beside PyTorch and ONNX Runtime
    ///
    /// Compared are the inference graph that extracts features, with random weights, and in turn: PyTorch running timm's net
    /// (eager, in inference mode), the same traced, frozen and optimised for inference, and ONNX Runtime (CPU, all graph
    /// optimisations) running the ONNX file of our graph. All have the same number of threads, batch and input size, no head
    /// and no pooling; each waits, asleep, while another computes. Figures are medians over the pairs of runs; a ratio is the
    /// median of the pairs' ours ms / peer ms, below 1 where ours is faster.
    Backbones(BackbonesArgs),
    /// The device's engine beside ONNX Runtime and tract, graph by graph
    ///
    /// Compared are the shipped bundles' graphs, and nets of other shapes with drawn weights, one picture at a time: by the
    /// device's own code, by ONNX Runtime (CPU, all graph optimisations) and by tract without our kernels, each given the same
    /// ONNX file. In 8-bit integers ONNX Runtime also has what its own tool makes of the net in real numbers (QDQ and QOperator,
    /// u8 and i8), and the quickest of the three counts. Figures are medians over the pairs of runs; a ratio is the median of
    /// the pairs' ours ms / peer ms, below 1 where ours is faster. tract has one thread, whatever the others have.
    Engine(engine::EngineArgs),
    /// Time reading a feature store by rows and by columns
    Store(store::StoreArgs),
    /// Time and peak memory of the classifiers' runs, beside scikit-learn and XGBoost
    Classify(classify::ClassifyBenchArgs),
    /// The memory of one training step, as `bench nn` asks for it in a process of its own
    #[command(hide = true)]
    Memory {
        /// The step's case
        case: String,
    },
}

/// Options of `bench nn`.
#[derive(Debug, clap::Args)]
pub struct NnArgs {
    /// A Python that has PyTorch, and torchvision for the cases of Mask R-CNN; without it, only candle's stock operators are compared with
    #[arg(long, value_name = "PYTHON")]
    torch: Option<PathBuf>,
    #[command(flatten)]
    threads: ThreadArgs,
    #[command(flatten)]
    pairing: PairArgs,
}

/// Options of every comparison.
#[derive(Debug, clap::Args)]
struct PairArgs {
    /// Paired runs of each case, after two to warm up
    #[arg(long, default_value = "9", value_name = "N")]
    pairs: NonZeroUsize,
    /// Only cases whose name contains this; any backbone of `thorax-train backbones` can be asked for
    #[arg(long, value_name = "TEXT")]
    only: Option<String>,
    /// Print the results as JSON
    #[arg(long)]
    json: bool,
}

/// Threads of a comparison that is made with one number of them.
#[derive(Debug, clap::Args)]
struct ThreadArgs {
    /// Threads of either side [default: RAYON_NUM_THREADS, or one a core]
    #[arg(long, value_name = "N", value_parser = thorax_nn::device::threads)]
    threads: Option<NonZeroUsize>,
}

impl BenchCommand {
    /// The number of threads that was asked for; `engine`, which is asked for several, has pools of its own.
    pub fn threads(&self) -> Option<NonZeroUsize> {
        match self {
            Self::Nn(arguments) => arguments.threads.threads,
            Self::Backbones(arguments) => arguments.threads.threads,
            Self::Engine(_) | Self::Memory { .. } | Self::Store(_) | Self::Classify(_) => None,
        }
    }
}

/// Figures of one case.
#[derive(Debug, Serialize)]
struct Timing {
    case: String,
    peer: &'static str,
    ours_ms: f64,
    peer_ms: f64,
    ratio: f64,
}

/// Resident memory of a process in KiB, from the kernel.
#[derive(Clone, Copy, Debug, Serialize, Deserialize)]
struct Memory {
    /// Before the case was built.
    idle_kib: u64,
    /// The most there was.
    peak_kib: u64,
}

impl Memory {
    /// What the case itself took.
    fn own_kib(self) -> u64 {
        self.peak_kib.saturating_sub(self.idle_kib)
    }
}

#[derive(Debug, Serialize)]
struct MemoryRow {
    case: &'static str,
    ours: Memory,
    peer: Memory,
    /// Of the peaks.
    ratio: f64,
    /// Of the peaks less what the idle process has, which for PyTorch is mostly its libraries.
    own_ratio: f64,
}

#[derive(Debug, Serialize)]
struct Report {
    threads: usize,
    pairs: usize,
    torch: Option<String>,
    rows: Vec<Timing>,
    memory: Vec<MemoryRow>,
}

/// Runs the command.
///
/// # Errors
/// A Python without the libraries, a failing operator.
pub fn run(command: &BenchCommand) -> anyhow::Result<()> {
    match command {
        BenchCommand::Nn(arguments) => nn(arguments),
        BenchCommand::Backbones(arguments) => backbones::run(arguments),
        BenchCommand::Engine(arguments) => engine::run(arguments),
        BenchCommand::Classify(arguments) => classify::run(arguments),
        BenchCommand::Store(arguments) => store::run(arguments),
        BenchCommand::Memory { case } => {
            let idle_kib = peak_kib()?;
            let (_, step) = TRAINING_STEPS.into_iter().find(|(name, _)| name == case).with_context(|| {
                format!(
                    "there is no training step {case}; there are {}",
                    TRAINING_STEPS.map(|(name, _)| name).join("; ")
                )
            })?;
            let mut step = step()?;
            for _ in 0..3 {
                step()?;
            }
            println!("{}", serde_json::to_string(&Memory { idle_kib, peak_kib: peak_kib()? })?);
            Ok(())
        }
    }
}

fn nn(arguments: &NnArgs) -> anyhow::Result<()> {
    let PairArgs { pairs, only, json } = &arguments.pairing;
    let (threads, pairs) = (rayon::current_num_threads(), pairs.get());
    let wanted = |name: &str| only.as_ref().is_none_or(|text| name.contains(text));
    let mut torch =
        arguments.torch.as_deref().map(|python| Peer::start(Library::Torch, python, threads)).transpose()?;
    let mut report = Report {
        threads,
        pairs,
        torch: torch.as_mut().map(|torch| torch.ask("version")).transpose()?,
        rows: vec![],
        memory: vec![],
    };
    let show = |row: &Timing| {
        if !json {
            let Timing { case, peer, ours_ms, peer_ms, ratio } = row;
            println!("{case:<58} {ours_ms:>9.2} {peer_ms:>9.2} {ratio:>6.2}  {peer}");
            // A row appears when it is measured, in a pipe as well.
            let _ = std::io::stdout().flush();
        }
    };
    if !json {
        println!(
            "{threads} threads, medians of {pairs} pairs; PyTorch {}",
            report.torch.as_deref().unwrap_or("not given")
        );
        println!("{:<58} {:>9} {:>9} {:>6}  peer", "case", "ours ms", "peer ms", "ratio");
    }
    if let Some(torch) = &mut torch {
        for case in cases::beside_torch().into_iter().filter(|case| wanted(&case.name)) {
            torch.prepare(&case.name)?;
            let mut ours = (case.ours)()?;
            let row = compare(case.name.clone(), "PyTorch", pairs, || timed(&mut ours), || torch.run(&case.name))?;
            show(&row);
            report.rows.push(row);
        }
    }
    for case in cases::beside_candle().into_iter().filter(|case| wanted(&case.name)) {
        let (mut ours, mut theirs) = (case.both)()?;
        let row = compare(case.name.clone(), "candle", pairs, || timed(&mut ours), || timed(&mut theirs))?;
        show(&row);
        report.rows.push(row);
    }
    drop(torch);
    let steps: Vec<&str> = TRAINING_STEPS.into_iter().map(|(name, _)| name).filter(|name| wanted(name)).collect();
    if let Some(python) = arguments.torch.as_deref().filter(|_| !steps.is_empty()) {
        if !json {
            let title = "peak resident memory, own process";
            println!("\n{title:<58} {:>9} {:>9} {:>6}", "ours MiB", "peer MiB", "ratio");
        }
        for case in steps {
            let row = memory(case, python, threads)?;
            if !json {
                let mib = |kib: u64| kib as f64 / 1024.0;
                let (ours, peer) = (row.ours, row.peer);
                for (name, ours, peer, ratio) in [
                    (row.case, ours.peak_kib, peer.peak_kib, row.ratio),
                    ("  less what the process had before", ours.own_kib(), peer.own_kib(), row.own_ratio),
                ] {
                    println!("{name:<58} {:>9.0} {:>9.0} {ratio:>6.2}  PyTorch", mib(ours), mib(peer));
                }
            }
            report.memory.push(row);
        }
    }
    if *json {
        println!("{}", serde_json::to_string_pretty(&report)?);
    }
    Ok(())
}

/// Time of one run.
fn timed(work: &mut impl FnMut() -> candle_core::Result<()>) -> anyhow::Result<f64> {
    let start = Instant::now();
    work()?;
    Ok(start.elapsed().as_secs_f64() * 1e3)
}

/// Both sides in turn; every other pair begins with the peer.
fn compare(
    case: String,
    peer: &'static str,
    pairs: usize,
    mut ours: impl FnMut() -> anyhow::Result<f64>,
    mut theirs: impl FnMut() -> anyhow::Result<f64>,
) -> anyhow::Result<Timing> {
    let rest = || std::thread::sleep(Duration::from_millis(20));
    for _ in 0..2 {
        ours().and_then(|_| theirs()).with_context(|| case.clone())?;
    }
    let mut times = Vec::with_capacity(pairs);
    for pair in 0..pairs {
        // Threads that wait for more work spin for a while before they sleep, and would take the processor from the other.
        rest();
        if pair % 2 == 0 {
            let first = ours()?;
            rest();
            times.push((first, theirs()?));
        } else {
            let first = theirs()?;
            rest();
            times.push((ours()?, first));
        }
    }
    let over_pairs = |f: fn(&(f64, f64)) -> f64| median(times.iter().map(f).collect());
    Ok(Timing {
        case,
        peer,
        ours_ms: over_pairs(|pair| pair.0),
        peer_ms: over_pairs(|pair| pair.1),
        ratio: over_pairs(|pair| pair.0 / pair.1),
    })
}

/// The middle value, the mean of the two middle ones of an even number.
fn median(mut values: Vec<f64>) -> f64 {
    values.sort_by(f64::total_cmp);
    let middle = values.len() / 2;
    if values.len() % 2 == 1 { values[middle] } else { (values[middle - 1] + values[middle]) / 2.0 }
}

/// A training step's memory on either side, each in a process that does nothing else.
fn memory(case: &'static str, python: &std::path::Path, threads: usize) -> anyhow::Result<MemoryRow> {
    let output = Command::new(std::env::current_exe()?).args(["bench", "memory", case]).output()?;
    anyhow::ensure!(
        output.status.success(),
        "thorax-train bench memory ended with {}: {}",
        output.status,
        String::from_utf8_lossy(&output.stderr)
    );
    let ours: Memory = serde_json::from_slice(&output.stdout).context("thorax-train bench memory")?;
    let mut torch = Peer::start(Library::Torch, python, threads)?;
    let idle_kib = torch.ask("peak")?.parse()?;
    // Two steps to prepare and one more, as on our side.
    torch.prepare(case)?;
    torch.run(case)?;
    let peer = Memory { idle_kib, peak_kib: torch.ask("peak")?.parse()? };
    let ratio = |ours: u64, peer: u64| ours as f64 / peer as f64;
    Ok(MemoryRow {
        case,
        ours,
        peer,
        ratio: ratio(ours.peak_kib, peer.peak_kib),
        own_ratio: ratio(ours.own_kib(), peer.own_kib()),
    })
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[test]
    fn a_ratio_is_the_median_of_the_pairs_ratios() {
        // Every pair has ratio 1/2, while the machine grows slower from pair to pair.
        let (mut a, mut b) = (0.0, 0.0);
        let ours = || {
            a += 1.0;
            Ok(a)
        };
        let theirs = || {
            b += 2.0;
            Ok(b)
        };
        let row = compare("case".into(), "peer", 4, ours, theirs).unwrap();
        // Two warm-up runs came before: ours 3, 4, 5, 6.
        assert_eq!((row.ours_ms, row.peer_ms, row.ratio), (4.5, 9.0, 0.5));
    }
}
