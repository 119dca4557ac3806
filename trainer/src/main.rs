//! `thorax-train`: the workstation's command line.

use std::{
    ffi::OsStr,
    io::Write as _,
    num::{NonZeroU64, NonZeroUsize},
    process::ExitCode,
};

use clap::{Parser, Subcommand};
use thorax_trainer::{bench, commands, explain, report, sweep};

/// Training frees and takes blocks of many megabytes all the time. The system's allocator hands each back to the kernel,
/// which clears it again page by page; this one keeps them, once [`keep_memory`] has told it to. A training step takes a
/// fifth less time.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

/// mimalloc's option `mi_option_purge_delay`: the milliseconds after which freed memory goes back to the system. The crate has
/// names for its neighbours in mimalloc.h, 14 and 16, and not for this one.
const PURGE_DELAY: libmimalloc_sys::mi_option_t = libmimalloc_sys::mi_option_use_numa_nodes - 1;

/// Has the allocator keep what was freed for the next step.
fn keep_memory() {
    #[allow(unsafe_code)]
    // SAFETY: writes a number into mimalloc's table of options; the index is inside it, and no memory of ours is touched.
    unsafe {
        libmimalloc_sys::mi_option_set(PURGE_DELAY, -1);
    }
}

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
    Phantom(thorax_phantom::PhantomArgs),
    /// Import, check, split and count training data
    #[command(subcommand)]
    Data(commands::data::DataCommand),
    /// List every net: paper, input, parameters, priors, what it is judged by
    Nets(commands::nets::NetsArgs),
    /// List the backbones: input, features, parameters, where their weights are
    Backbones(commands::backbones::BackbonesArgs),
    /// Extract the features that a backbone sees in every labelled picture
    Features(Box<commands::features::FeaturesArgs>),
    /// Fit the paper's eight classifiers to features, a hundred times each
    Classify(Box<commands::classify::ClassifyArgs>),
    /// Show where in a picture the classifiers of a run folder find what they say: Grad-CAM, or occlusion
    Explain(Box<explain::ExplainArgs>),
    /// Train a classifier or a segmenter
    #[command(subcommand)]
    Train(commands::train::TrainCommand),
    /// Have a small net learn what each member of finished classifiers says
    Distill(Box<commands::train_backbone::DistillArgs>),
    /// Train a segmenter, or a net for single lesions, with every combination of a grid's hyper-parameters, here or on Slurm
    Sweep(Box<sweep::SweepArgs>),
    /// Draw masks of a trained segmenter, and judge them
    #[command(subcommand)]
    Masks(commands::masks::MasksCommand),
    /// Write the ONNX graph of a run
    Export(commands::bundle::ExportArgs),
    /// Make keys; build, verify and show bundles
    #[command(subcommand)]
    Bundle(commands::bundle::BundleCommand),
    /// Add graphs of 8-bit integers to a bundle, and say what they lose
    Quantize(Box<commands::quantize::QuantizeArgs>),
    /// Judge bundles on a split of a manifest
    Evaluate(commands::bundle::EvaluateArgs),
    /// Try what a bundle's verdicts survive: JPEG, another window, noise, a border, a negative, and more
    Stress(commands::stress::StressArgs),
    /// Ask what else than the disease tells the classes apart: the collection, the file's size and compression
    Probe(commands::probe::ProbeArgs),
    /// Judge classifiers' runs and write the page with the paper's tables, charts and pictures
    Report(report::ReportArgs),
    /// Time operators and backbones beside other libraries
    #[command(subcommand)]
    Bench(bench::BenchCommand),
}

impl Command {
    /// The number of threads that was asked for.
    fn threads(&self) -> Option<NonZeroUsize> {
        match self {
            Self::Features(arguments) => arguments.threads(),
            Self::Classify(arguments) => arguments.threads(),
            Self::Explain(arguments) => arguments.threads(),
            Self::Train(command) => command.threads(),
            Self::Distill(arguments) => arguments.threads(),
            Self::Bench(command) => command.threads(),
            _ => None,
        }
    }
}

fn main() -> ExitCode {
    keep_memory();
    tell_of_lost_output();
    let Arguments { command } = Arguments::parse();
    if let Some(error) = unusable_threads(std::env::var_os("RAYON_NUM_THREADS").as_deref()) {
        eprintln!("Error: {error}");
        return ExitCode::FAILURE;
    }
    #[allow(unsafe_code)]
    // SAFETY: the only thread so far is this one: reading the arguments starts none, and nothing was called before.
    unsafe {
        thorax_nn::device::prepare_threads(command.threads());
    }
    sweep::run::end_with_sweep();
    match run(command) {
        Ok(()) => ExitCode::SUCCESS,
        // The reasons one after the other, and no trace of where in the program it arose, whatever RUST_BACKTRACE says: what went
        // wrong lies outside of it.
        Err(error) => {
            eprintln!("Error: {error:#}");
            ExitCode::FAILURE
        }
    }
}

/// What is wrong with the number of threads in the environment, where `--threads` does not decide.
fn unusable_threads(value: Option<&OsStr>) -> Option<String> {
    // Rayon takes 0, and what is no number, for one a core.
    let number = value?.to_str()?.parse::<NonZeroU64>().ok()?;
    let error = thorax_nn::device::threads(&number.to_string()).err()?;
    Some(format!("RAYON_NUM_THREADS={number}: {error}"))
}

/// `println!` panics where standard output is closed (`| head`) or full. That is no fault of the program's: it ends without a word in
/// the one case, and with the reason in the other.
fn tell_of_lost_output() {
    let other = std::panic::take_hook();
    std::panic::set_hook(Box::new(move |info| {
        let told = info.payload_as_str().unwrap_or_default();
        match told.strip_prefix("failed printing to stdout: ") {
            Some(reason) => {
                if !reason.contains("Broken pipe") {
                    let _ = writeln!(std::io::stderr(), "Error: cannot write to standard output: {reason}");
                }
                std::process::exit(1);
            }
            None => other(info),
        }
    }));
}

fn run(command: Command) -> anyhow::Result<()> {
    match command {
        Command::Phantom(arguments) => Ok(commands::phantom::run(&arguments)?),
        Command::Data(command) => commands::data::run(command),
        Command::Nets(arguments) => commands::nets::run(&arguments),
        Command::Backbones(arguments) => commands::backbones::run(&arguments),
        Command::Features(arguments) => commands::features::run(&arguments),
        Command::Classify(arguments) => commands::classify::run(&arguments),
        Command::Explain(arguments) => explain::run(&arguments),
        Command::Train(command) => commands::train::run(&command),
        Command::Distill(arguments) => commands::train_backbone::distill(&arguments),
        Command::Sweep(arguments) => sweep::run(&arguments, &commands::train::run_options()),
        Command::Masks(command) => commands::masks::run(&command),
        Command::Export(arguments) => commands::bundle::export(&arguments),
        Command::Bundle(command) => commands::bundle::run(&command),
        Command::Quantize(arguments) => commands::quantize::run(&arguments),
        Command::Evaluate(arguments) => commands::bundle::evaluate_bundles(&arguments),
        Command::Stress(arguments) => commands::stress::run(&arguments),
        Command::Probe(arguments) => commands::probe::run(&arguments),
        Command::Report(arguments) => report::run(&arguments),
        Command::Bench(command) => bench::run(&command),
    }
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory as _;

    use super::*;

    /// Ids that no option has, two options of one name: clap tells, where its own assertions are built (Cargo.toml).
    #[test]
    fn options_fit_together() {
        Arguments::command().debug_assert();
    }

    #[test]
    fn a_million_threads_in_the_environment_are_refused() {
        let told = |value: &str| unusable_threads(Some(OsStr::new(value)));
        assert_eq!([told("2"), told("0"), told(""), told("many"), unusable_threads(None)], [const { None }; 5]);
        assert!(told("1000000").is_some_and(|told| told.contains("RAYON_NUM_THREADS=1000000")));
    }

    /// The option has no name in the crate; its default tells that it is the right one.
    #[test]
    fn the_option_is_the_delay_of_purges() {
        #[allow(unsafe_code)]
        // SAFETY: reads a number from mimalloc's table of options; the index is inside it.
        let delay = || unsafe { libmimalloc_sys::mi_option_get(PURGE_DELAY) };
        assert!(std::env::var_os("MIMALLOC_PURGE_DELAY").is_some() || delay() > 0, "{}", delay());
        keep_memory();
        assert_eq!(delay(), -1);
    }
}
