//! `thorax-train`: the workstation's command line.

use clap::{Parser, Subcommand};
use thorax_trainer::{bench, data, evaluate, pack, phantom, train};

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

fn main() -> anyhow::Result<()> {
    match Arguments::parse().command {
        Command::Phantom(arguments) => phantom::run(arguments),
        Command::Data(command) => data::run(command),
        Command::Train(command) => train::run(&command),
        Command::Export(arguments) => pack::export(&arguments),
        Command::Bundle(command) => pack::run(&command),
        Command::Evaluate(arguments) => evaluate::run(&arguments),
        Command::Bench(command) => bench::run(&command),
    }
}
