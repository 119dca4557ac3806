//! `thorax-train`: the workstation's command line.

use clap::{Parser, Subcommand};
use thorax_trainer::{bench, train};

/// Trains, exports, signs and evaluates the models of Thorax. Research use only, not a medical device.
#[derive(Debug, Parser)]
#[command(name = "thorax-train", version, propagate_version = true)]
struct Arguments {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Train a classifier or a segmenter
    #[command(subcommand)]
    Train(train::TrainCommand),
    /// Time our operators beside candle's
    Bench(bench::BenchArgs),
}

fn main() -> anyhow::Result<()> {
    match Arguments::parse().command {
        Command::Train(command) => train::run(&command),
        Command::Bench(arguments) => bench::run(&arguments),
    }
}
