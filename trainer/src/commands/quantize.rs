//! `thorax-train quantize`: graphs of 8-bit integers beside those of a bundle.

use std::path::PathBuf;

use anyhow::Context;
use thorax_engine::trust::trusted_keys;
use thorax_files::write_atomically;
use thorax_nn::quantize::{Ranges, Settings};

use crate::{
    bundle::keys,
    data::Split,
    files::refuse_existing,
    quantize::build::{Ingredients, Kept, build},
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
    /// Layers in floating point: of each graph so many that lose most, or names from the report, as classifier/n42,segmenter/n7
    #[arg(long, value_name = "N|NAMES", default_value = "0", value_parser = kept)]
    keep_float: Kept,
    /// Compare on no split
    #[arg(long)]
    no_comparison: bool,
    /// Compare on the test split as well: once, at the end
    #[arg(long, conflicts_with = "no_comparison")]
    test: bool,
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
            let odd = names.iter().find(|name| !name.starts_with("classifier/") && !name.starts_with("segmenter/"));
            anyhow::ensure!(odd.is_none(), "--keep-float: {odd:?} names no graph: classifier/NAME or segmenter/NAME");
        }
    }
    let report = args.out.with_added_extension("md");
    [&args.out, &report].into_iter().try_for_each(|path| refuse_existing(path, args.force))?;
    let splits: &[Split] = match (args.no_comparison, args.test) {
        (true, _) => &[],
        (false, false) => &[Split::Val],
        (false, true) => &[Split::Val, Split::Test],
    };
    let built = build(&Ingredients {
        bundle: &args.bundle,
        trusted: &trusted_keys(args.trust.as_deref())?,
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
