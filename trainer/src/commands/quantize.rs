//! `thorax-train quantize`: a bundle whose graphs are of 8-bit integers.

use std::path::PathBuf;

use anyhow::Context;
use candle_core::Device;
use thorax_engine::trust::trusted_keys;
use thorax_files::write_atomically;
use thorax_nn::{
    device::{DeviceArgs, Precision},
    quantize::{Ranges, Settings},
    training::TrainingArgs,
};
use thorax_shared::bundle::Role;

use super::{teachers::TeacherArgs, train::check_length};
use crate::{
    bundle::keys,
    changes::Copies,
    data::Split,
    files::refuse_existing,
    quantize::build::{Ingredients, Kept, Tuning, build},
    segmentation::Origin,
};

/// Options of `quantize`.
#[derive(Debug, clap::Args)]
pub struct QuantizeArgs {
    /// The bundle
    #[arg(long)]
    bundle: PathBuf,
    /// File of trusted public keys; the keys that are built in are trusted as well
    #[arg(long)]
    trust: Option<PathBuf>,
    /// The manifest; its training pictures calibrate, its validation pictures compare
    #[arg(long)]
    manifest: PathBuf,
    /// Training pictures to calibrate by
    #[arg(long, value_name = "N", default_value_t = 128)]
    pictures: usize,
    /// Of those, how many the table of the layers is measured on; 0 for no table
    #[arg(long, value_name = "N", default_value_t = 8)]
    sensitivity_pictures: usize,
    /// Which pictures
    #[arg(long, default_value_t = 1)]
    seed: u64,
    /// How the range of an activation is chosen: mse, percentile or minmax
    #[arg(long, default_value = "mse", value_parser = ranges)]
    ranges: Ranges,
    /// One scale for a whole weight, not one for each output channel
    #[arg(long)]
    per_tensor: bool,
    /// Leave the ranges of neighbouring layers as they are
    #[arg(long)]
    no_equalise: bool,
    /// Leave the biases as they are
    #[arg(long)]
    no_bias_correction: bool,
    /// Layers in floating point: of each graph so many that lose most, or names from the report, as classifier/n42,segmenter/n7; of one net
    /// for both, as net/n42
    #[arg(long, value_name = "N|NAMES", default_value = "0", value_parser = kept)]
    keep_float: Kept,
    /// Which graphs; the others stay as they are. Where classifier and segmenter are one net, it is that
    #[arg(long, value_enum, value_delimiter = ',', default_values_t = [GraphName::Classifier, GraphName::Segmenter])]
    graphs: Vec<GraphName>,
    /// Put the segmenter of this finished run of `train segment` in the place of the bundle's: a smaller one that learnt from it (`train
    /// segment --teacher BUNDLE`); of several runs, their mean
    #[arg(long, value_name = "RUN")]
    segmenter: Vec<PathBuf>,
    /// Put the segmenter of integers of this bundle in the place of the bundle's, as it is
    #[arg(long, value_name = "BUNDLE", conflicts_with = "segmenter")]
    segmenter_of: Option<PathBuf>,
    #[command(flatten)]
    fine_tune: FineTuneArgs,
    #[command(flatten)]
    teachers: TeacherArgs,
    /// Labelled images of the validation split, and as many with masks, whose verdicts have to survive every harmless change; 0 to try none
    #[arg(long, value_name = "N", default_value_t = 0)]
    stress_pictures: usize,
    /// Sign verdicts that do not survive; the card says so first
    #[arg(long, requires = "stress_pictures")]
    despite_stress: bool,
    /// Compare on no split
    #[arg(long)]
    no_comparison: bool,
    /// Compare on the test split as well: once, at the end
    #[arg(long, conflicts_with = "no_comparison")]
    test: bool,
    /// The new bundle's version [default: the old one's, with -int8 behind it]
    #[arg(long, value_name = "VERSION")]
    model_version: Option<String>,
    /// Secret key written by `bundle keygen`
    #[arg(long)]
    key: PathBuf,
    /// The new bundle; the report is written beside it, with `.md` behind its name
    #[arg(long)]
    out: PathBuf,
    /// Folder for the graphs of integers as ONNX files, with an input and what they give of it (f32, little-endian)
    #[arg(long, value_name = "FOLDER")]
    onnx: Option<PathBuf>,
    /// Write over files that are there
    #[arg(long)]
    force: bool,
}

/// A graph of a bundle.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
enum GraphName {
    /// What tells the disease
    Classifier,
    /// What draws masks
    Segmenter,
}

impl From<GraphName> for Role {
    fn from(name: GraphName) -> Self {
        match name {
            GraphName::Classifier => Self::Classifier,
            GraphName::Segmenter => Self::Segmenter,
        }
    }
}

/// Options of the fine-tuning.
#[derive(Debug, clap::Args)]
struct FineTuneArgs {
    /// Fine-tune for integers, with a run for each graph in this folder; a run that was stopped goes on
    #[arg(long, value_name = "FOLDER")]
    fine_tune: Option<PathBuf>,
    /// Which of the graphs are fine-tuned
    #[arg(long, value_name = "GRAPHS", value_enum, value_delimiter = ',', requires = "fine_tune",
        default_values_t = [GraphName::Classifier, GraphName::Segmenter])]
    fine_tuned: Vec<GraphName>,
    /// Passes over the training pictures
    #[arg(long, default_value_t = 4, requires = "fine_tune")]
    epochs: usize,
    /// Pictures a step
    #[arg(long, default_value_t = 16, requires = "fine_tune")]
    batch: usize,
    /// Highest learning rate, in units of the largest weight of each channel
    #[arg(long, value_name = "RATE", default_value_t = 5e-6, requires = "fine_tune")]
    learning_rate: f64,
    /// Training pictures to learn from, at most
    #[arg(long, value_name = "N", default_value_t = 1024, requires = "fine_tune")]
    learn_from: usize,
    /// Validation pictures that choose the epoch, at most
    #[arg(long, value_name = "N", default_value_t = 96, requires = "fine_tune")]
    choose_by: usize,
    #[command(flatten)]
    copies: Copies,
    #[command(flatten)]
    training: TrainingArgs,
    #[command(flatten)]
    device: DeviceArgs,
}

impl FineTuneArgs {
    /// What is asked for, on `devices`.
    fn tuning<'a>(&'a self, devices: &'a [Device]) -> anyhow::Result<Option<Tuning<'a>>> {
        let Some(runs) = &self.fine_tune else { return Ok(None) };
        check_length(self.epochs, None, self.batch, self.learning_rate)?;
        let training = self.training.config()?;
        anyhow::ensure!(
            training.precision == Precision::F32,
            "--precision: what is fine-tuned for integers is rounded to them already; leave it at f32"
        );
        anyhow::ensure!(self.learn_from > 0 && self.choose_by > 0, "--learn-from and --choose-by must be above 0");
        Ok(Some(Tuning {
            runs,
            graphs: self.fine_tuned.iter().map(|&name| name.into()).collect(),
            pictures: [self.learn_from, self.choose_by],
            copies: self.copies,
            epochs: self.epochs,
            batch: self.batch,
            learning_rate: self.learning_rate,
            training,
            devices,
            loaders: self.training.loaders(),
        }))
    }
}

fn ranges(text: &str) -> Result<Ranges, String> {
    match text {
        "mse" => Ok(Ranges::MeanSquaredError),
        "minmax" => Ok(Ranges::MinMax),
        "percentile" => Ok(Ranges::Percentile(0.9999)),
        _ => Err("not mse, percentile or minmax".into()),
    }
}

fn kept(text: &str) -> Result<Kept, std::convert::Infallible> {
    Ok(match text.parse() {
        Ok(count) => Kept::Most(count),
        Err(_) => Kept::Named(text.split(',').map(str::to_owned).collect()),
    })
}

/// Carries out `quantize`.
///
/// # Errors
/// Whatever went wrong, with the file it went wrong with.
pub fn run(args: &QuantizeArgs) -> anyhow::Result<()> {
    match &args.keep_float {
        Kept::Most(count) => anyhow::ensure!(
            *count == 0 || args.sensitivity_pictures > 0,
            "--keep-float {count} needs the table of the layers: --sensitivity-pictures above 0"
        ),
        Kept::Named(names) => {
            let names_a_graph = |name: &&String| {
                name.split_once('/').is_some_and(|(graph, _)| ["classifier", "segmenter", "net"].contains(&graph))
            };
            if let Some(odd) = names.iter().find(|name| !names_a_graph(name)) {
                anyhow::bail!(
                    "--keep-float: {odd} names no graph: give classifier/NAME or segmenter/NAME, or net/NAME where both are one net"
                );
            }
        }
    }
    let report = args.out.with_added_extension("md");
    [&args.out, &report].into_iter().try_for_each(|path| refuse_existing(path, args.force))?;
    let splits: &[Split] = match (args.no_comparison, args.test) {
        (true, _) => &[],
        (false, false) => &[Split::Val],
        (false, true) => &[Split::Val, Split::Test],
    };
    let devices = args.fine_tune.device.open()?;
    let tuning = args.fine_tune.tuning(&devices)?;
    let segmenter = (!args.segmenter.is_empty()).then(|| Origin::open(&args.segmenter)).transpose()?;
    let trusted = trusted_keys(args.trust.as_deref())?;
    let graphs: Vec<Role> = args.graphs.iter().map(|&name| name.into()).collect();
    args.teachers.check()?;
    let teachers = args.teachers.open(None)?;
    anyhow::ensure!(
        teachers.is_none() || !args.no_comparison,
        "--teacher stands beside the bundle in a comparison, and with --no-comparison there is none; leave one of them out"
    );
    let built = build(&Ingredients {
        lent: args.segmenter_of.as_deref(),
        bundle: &args.bundle,
        graphs: &graphs,
        segmenter: segmenter.as_ref(),
        model_version: args.model_version.as_deref(),
        teachers: teachers.as_ref(),
        tuning: tuning.as_ref(),
        trusted: &trusted,
        manifest: &args.manifest,
        pictures: args.pictures,
        sensitivity_pictures: args.sensitivity_pictures,
        seed: args.seed,
        settings: Settings {
            ranges: args.ranges,
            per_channel: !args.per_tensor,
            equalise: !args.no_equalise,
            correct_bias: !args.no_bias_correction,
        },
        kept: &args.keep_float,
        splits,
        stress_pictures: args.stress_pictures,
        despite_stress: args.despite_stress,
        key: &keys::read(&args.key)?,
    })?;
    if let Some(folder) = &args.onnx {
        std::fs::create_dir_all(folder).with_context(|| folder.display().to_string())?;
        let write = |name: String, bytes: &[u8]| write_atomically(&folder.join(name), |out| out.write_all(bytes));
        let little_endian = |values: &[f32]| values.iter().flat_map(|value| value.to_le_bytes()).collect::<Vec<u8>>();
        for part in &built.parts {
            write(format!("{}.int8.onnx", part.name), &part.onnx)?;
            write(format!("{}.input.f32", part.name), &little_endian(&part.example.0))?;
            for (output, values) in &part.example.1 {
                write(format!("{}.{output}.f32", part.name), &little_endian(values))?;
            }
        }
    }
    write_atomically(&args.out, |out| out.write_all(&built.bytes))?;
    write_atomically(&report, |out| out.write_all(built.report.as_bytes()))?;
    println!("{}", built.report);
    println!("{}: {} bytes", args.out.display(), built.bytes.len());
    println!("Research use only, not a medical device.");
    Ok(())
}
