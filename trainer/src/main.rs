//! `thorax-train`: the workstation's command line.

use std::num::NonZeroUsize;

use clap::{Parser, Subcommand};
use thorax_trainer::{bench, data, evaluate, nn::device, pack, phantom, train};

/// Training frees and takes blocks of many megabytes all the time. The system's allocator hands each back to the kernel,
/// which clears it again page by page; this one keeps them. A training step takes 6 to 8 % less time.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

/// Trains, exports, signs and evaluates the models of Thorax. Research use only, not a medical device.
#[derive(Debug, Parser)]
#[command(name = "thorax-train", version, propagate_version = true)]
struct Arguments {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Write synthetic chest films and CT slices with known lesions
    Phantom(phantom::PhantomArgs),
    /// Import, check, split and count training data
    #[command(subcommand)]
    Data(data::DataCommand),
    /// Train a classifier or a segmenter
    #[command(subcommand)]
    Train(train::TrainCommand),
    /// Write the ONNX graph of a run
    Export(pack::ExportArgs),
    /// Make keys; build, verify and show bundles
    #[command(subcommand)]
    Bundle(pack::BundleCommand),
    /// Judge bundles on a split of a manifest
    Evaluate(evaluate::EvaluateArgs),
    /// Time our operators beside PyTorch's and candle's
    #[command(subcommand)]
    Bench(bench::BenchCommand),
}

impl Command {
    /// The number of threads that was asked for.
    fn threads(&self) -> Option<NonZeroUsize> {
        match self {
            Self::Train(command) => command.threads(),
            _ => None,
        }
    }
}

fn main() -> anyhow::Result<()> {
    let Arguments { command } = Arguments::parse();
    #[allow(unsafe_code)]
    // SAFETY: the only thread so far is this one: reading the arguments starts none, and nothing was called before.
    unsafe {
        device::prepare_threads(command.threads());
    }
    match command {
        Command::Phantom(arguments) => phantom::run(arguments),
        Command::Data(command) => data::run(command),
        Command::Train(command) => train::run(&command),
        Command::Export(arguments) => pack::export(&arguments),
        Command::Bundle(command) => pack::run(&command),
        Command::Evaluate(arguments) => evaluate::run(&arguments),
        Command::Bench(command) => bench::run(&command),
    }
}
