//! `thorax-train bundle`: make keys, build, verify and show bundles; `thorax-train export`: the ONNX graphs alone; `thorax-train
//! evaluate`: what bundles are worth.

use std::{
    io::Write as _,
    path::{Path, PathBuf},
};

use anyhow::Context;
use candle_core::Device;
use thorax_engine::trust::trusted_keys;
use thorax_files::{hexadecimal, write_atomically};
use thorax_nets::source::WeightsArgs;
use thorax_nn::onnx::to_onnx;
use thorax_shared::bundle::{self, Bundle, Disease, Limits, Name, TrustedKeys};

use super::{probe, teachers::TeacherArgs};
use crate::{
    bundle::{
        build::{self, classifier_net},
        keys, verify,
    },
    data::{self, Split, Task, recipe::seen_part},
    features::Remade,
    files::refuse_existing,
    heads, instance,
    judge::{
        beside,
        bundle::{JudgedModel, PIXELS, PREDICTIONS, evaluate},
        teachers,
    },
    probe::Probe,
    segmentation::Origin,
};

/// `thorax-train bundle ...`
#[derive(Debug, clap::Subcommand)]
pub enum BundleCommand {
    /// Draw a signing key; prints the public key that devices have to trust
    Keygen {
        /// File for the secret key; it must not exist
        out: PathBuf,
    },
    /// Put a classifier and a segmenter whose verdicts survive what happens to files into a signed bundle, with a model card measured on
    /// the test split
    Build(Box<BuildArgs>),
    /// Compare candle with tract on every test picture of a bundle
    Verify(VerifyArgs),
    /// Show what a bundle says of itself
    Show {
        /// The bundle
        bundle: PathBuf,
        /// Print the model card
        #[arg(long)]
        card: bool,
        /// Write its graphs, its card and what it says of itself (manifest.json) into this folder, for other programs
        #[arg(long, value_name = "FOLDER")]
        extract: Option<PathBuf>,
    },
}

/// Options of `bundle build`.
#[derive(Debug, clap::Args)]
pub struct BuildArgs {
    /// Folder of a finished `train classify`
    #[arg(long)]
    classifier: PathBuf,
    /// Folder of a finished `train segment`; of several, the mean of their probabilities goes into the bundle. Or a bundle, whose segmenter
    /// goes into this one as it is
    #[arg(long = "segmenter", value_name = "DIR", required = true)]
    segmenters: Vec<PathBuf>,
    // The same as in training; a classifier whose trunk is the segmenter has none.
    #[command(flatten)]
    weights: Option<WeightsArgs>,
    /// The manifest, the same as in training
    #[arg(long)]
    manifest: PathBuf,
    /// The segmenter's manifest, where it learnt from another one: of masks that an older bundle drew, for instance. None of its training
    /// pictures may be kept back in --manifest
    #[arg(long, value_name = "MANIFEST")]
    segmenter_manifest: Option<PathBuf>,
    /// Markdown list of what only you know of the data's limits (who was labelled how, when, by whom); the card ends its own list with it
    #[arg(long, value_name = "FILE")]
    limits: Option<PathBuf>,
    /// probe.json that `thorax-train probe` wrote of the features that the classifier learnt from; the card tells what is in it [default: that
    /// in --classifier, which `train classify` wrote]
    #[arg(long, value_name = "FILE")]
    probe: Option<PathBuf>,
    /// Labelled pictures of the validation split, and as many with masks, that are tried under every change; 0 (with --despite-stress)
    /// tries none
    #[arg(long, value_name = "N", default_value_t = 120)]
    stress_pictures: u32,
    /// Sign also where a harmless change leaves fewer than 90 % of the verdicts as they are; the card says so first
    #[arg(long)]
    despite_stress: bool,
    /// Secret key written by `bundle keygen`
    #[arg(long)]
    key: PathBuf,
    /// The bundle; the card is written beside it
    #[arg(long)]
    out: PathBuf,
    /// Version of the model
    #[arg(long, default_value = env!("CARGO_PKG_VERSION"))]
    model_version: String,
    /// What *positive* means, as the screen says it: claims follow figures, and a classifier that was not shown to tell COVID-19 from other
    /// viral pneumonia finds "pneumonia as COVID-19 makes it" [default: COVID-19]
    #[arg(long, value_name = "WORDS", requires = "disease_code")]
    disease: Option<String>,
    /// Its code, for reports: SCHEME:CODE:MEANING, such as "SCT:840539006:COVID-19"
    #[arg(long, value_name = "CODE", requires = "disease", value_parser = code)]
    disease_code: Option<[String; 3]>,
    /// The youngest patient that it may read, in years; a device rejects younger ones
    #[arg(long, value_name = "YEARS", value_parser = clap::value_parser!(u8).range(..=120))]
    minimum_age: Option<u8>,
    /// Write over a bundle and a card that are there
    #[arg(long)]
    force: bool,
}

fn code(text: &str) -> Result<[String; 3], String> {
    let parts: Vec<&str> = text.splitn(3, ':').map(str::trim).collect();
    match parts[..] {
        [scheme, code, meaning] if !(scheme.is_empty() || code.is_empty() || meaning.is_empty()) => {
            // What a DICOM report takes, which would otherwise leave the code out.
            let plain = text.bytes().all(|byte| (b' '..=b'~').contains(&byte) && byte != b'\\');
            if scheme.len() > 16 || !plain {
                return Err(
                    "a DICOM report takes a SCHEME of at most 16 characters, and ASCII without backslash in all three"
                        .into(),
                );
            }
            Ok([scheme, code, meaning].map(str::to_owned))
        }
        _ => Err("not SCHEME:CODE:MEANING".into()),
    }
}

/// Options of `bundle verify`.
#[derive(Debug, clap::Args)]
pub struct VerifyArgs {
    /// Bundles
    #[arg(required = true)]
    bundles: Vec<PathBuf>,
    /// The manifest whose test pictures are compared
    #[arg(long)]
    manifest: PathBuf,
    /// File of trusted public keys; the keys that are built in are trusted as well
    #[arg(long)]
    trust: Option<PathBuf>,
    /// Compare only the first pictures
    #[arg(long)]
    limit: Option<usize>,
}

/// Options of `export`.
#[derive(Debug, clap::Args)]
pub struct ExportArgs {
    /// Folder of a finished `train classify` or `train segment`, or of a `train instance --net yolact`
    run: PathBuf,
    // Of a classifier's backbone, the same as in training.
    #[command(flatten)]
    weights: Option<WeightsArgs>,
    /// Of a classifier with a segmenter as its trunk: that segmenter, a run or a bundle
    #[arg(long, value_name = "RUN", conflicts_with = "weights")]
    segmenter: Option<PathBuf>,
    /// The ONNX file
    #[arg(long)]
    out: PathBuf,
    /// Write over a file that is there
    #[arg(long)]
    force: bool,
}

/// Carries out `bundle`.
///
/// # Errors
/// Whatever went wrong, with the file it went wrong with.
pub fn run(command: &BundleCommand) -> anyhow::Result<()> {
    match command {
        BundleCommand::Keygen { out } => keygen(out),
        BundleCommand::Build(args) => build(args),
        BundleCommand::Verify(args) => verify(args),
        BundleCommand::Show { bundle, card, extract } => show(bundle, *card, extract.as_deref()),
    }
}

fn keygen(out: &Path) -> anyhow::Result<()> {
    let public = keys::draw(out)?;
    // Without its public half a key is good for nothing.
    if let Err(error) = writeln!(std::io::stdout(), "{public}") {
        std::fs::remove_file(out).with_context(|| out.display().to_string())?;
        return Err(error)
            .context("the public key cannot be written to standard output, so no key was made; try again");
    }
    eprintln!(
        "{}: secret key, keep it off every device; the line on standard output is its public half, for the files that --trust names",
        out.display()
    );
    Ok(())
}

fn build(args: &BuildArgs) -> anyhow::Result<()> {
    let card = args.out.with_file_name("CARD.md");
    anyhow::ensure!(args.out != card, "--out {}: the card has this name; give the bundle another", args.out.display());
    [&args.out, &card].into_iter().try_for_each(|path| refuse_existing(path, args.force))?;
    let limits =
        args.limits.as_ref().map(|path| std::fs::read_to_string(path).with_context(|| path.display().to_string()));
    let limits = limits.transpose()?.unwrap_or_default();
    let beside = args.classifier.join(probe::JSON);
    let probe: Option<Probe> = match args.probe.as_ref().or_else(|| beside.exists().then_some(&beside)) {
        Some(path) => {
            let text = std::fs::read(path).with_context(|| path.display().to_string())?;
            let probe = serde_json::from_slice(&text)
                .with_context(|| format!("{}: not the probe.json of thorax-train probe", path.display()))?;
            Some(probe)
        }
        None => None,
    };
    let disease =
        args.disease.iter().zip(&args.disease_code).next().map(|(words, code)| disease(words, code)).transpose()?;
    let key = keys::read(&args.key)?;
    let built = build::build(&build::Ingredients {
        classifier: &args.classifier,
        segmenters: &args.segmenters,
        weights: args.weights.as_ref(),
        manifest: &args.manifest,
        segmenter_manifest: args.segmenter_manifest.as_deref(),
        limits: &limits,
        probe: probe.as_ref(),
        stress_pictures: args.stress_pictures as usize,
        despite_stress: args.despite_stress,
        key: &key,
        model_version: &args.model_version,
        disease,
        minimum_age_years: args.minimum_age,
    })?;
    write_atomically(&args.out, |out| out.write_all(&built.bytes))?;
    write_atomically(&card, |out| out.write_all(built.card.as_bytes()))?;
    println!(
        "{}: {} {}, {} bytes, signed by {}",
        args.out.display(),
        built.name,
        args.model_version,
        built.bytes.len(),
        key.public_key().fingerprint()
    );
    Ok(())
}

fn disease(words: &str, [scheme, code, meaning]: &[String; 3]) -> anyhow::Result<Disease> {
    let name = |text: &str| Name::try_from(text).ok().with_context(|| format!("{text}: too long for a bundle"));
    Ok(Disease { words: name(words)?, scheme: name(scheme)?, code: name(code)?, meaning: name(meaning)? })
}

fn verify(args: &VerifyArgs) -> anyhow::Result<()> {
    let manifest = data::open(&args.manifest)?;
    let trusted = trusted_keys(args.trust.as_deref())?;
    let mut failed = false;
    for path in &args.bundles {
        let agreement =
            verify::verify(path, &trusted, &manifest, args.limit).with_context(|| path.display().to_string())?;
        failed |= !agreement.is_fine();
        println!(
            "{}: {} pictures, candle against tract: worst probability difference {:.2e} (allowed {:.0e}), worst mask difference {:.4} % of \
             pixels (allowed {:.1} %): {}",
            path.display(),
            agreement.pictures,
            agreement.probability,
            verify::PROBABILITY_TOLERANCE,
            agreement.mask_pixels * 100.0,
            verify::MASK_TOLERANCE * 100.0,
            if agreement.is_fine() { "agree" } else { "DISAGREE" }
        );
    }
    anyhow::ensure!(!failed, "candle and tract disagree; do not ship this bundle");
    Ok(())
}

/// Carries out `export`.
///
/// # Errors
/// A folder without a finished run.
pub fn export(args: &ExportArgs) -> anyhow::Result<()> {
    refuse_existing(&args.out, args.force)?;
    let bytes = if args.run.join("outcome.json").exists() {
        let segmenter = args.segmenter.as_ref().map(|path| Origin::open(std::slice::from_ref(path))).transpose()?;
        let remade = Remade { weights: args.weights.as_ref(), segmenter: segmenter.as_ref() };
        to_onnx(&classifier_net(&heads::load(&args.run)?, &remade)?.graph, "classifier")?
    } else if args.segmenter.is_some() {
        anyhow::bail!("--segmenter: {} is no classifier; leave it out", args.run.display());
    } else if instance::run::is_run(&args.run) {
        let run = instance::run::load(&args.run, &Device::Cpu)?;
        println!("a lesion counts from a score of {} on", run.threshold.score);
        run.net.to_onnx(run.config.preprocess.input_side as usize).with_context(|| args.run.display().to_string())?
    } else {
        to_onnx(&Origin::open(std::slice::from_ref(&args.run))?.shipped_graph()?, "segmenter")?
    };
    write_atomically(&args.out, |out| out.write_all(&bytes))?;
    println!("{}: {} bytes", args.out.display(), bytes.len());
    Ok(())
}

fn show(path: &Path, card: bool, extract: Option<&Path>) -> anyhow::Result<()> {
    let bytes = std::fs::read(path).with_context(|| path.display().to_string())?;
    let seen = bundle::inspect_untrusted(&bytes, &Limits::default()).with_context(|| path.display().to_string())?;
    let m = &seen.manifest;
    println!("{} {} ({}), signed by {}", m.name, m.version, m.modality, seen.signer);
    println!(
        "classifier: {} members, input {}, sees {}",
        m.classifier.members,
        m.classifier.graph.preprocess.input_side,
        seen_part(m.classifier.graph.preprocess.core)
    );
    if let Some(s) = &m.segmenter {
        println!(
            "segmenter: {}, input {}, sees {}",
            s.channels.join(", "),
            s.graph.preprocess.input_side,
            seen_part(s.graph.preprocess.core)
        );
    }
    println!(
        "positive from {}, negative below {}, temperature {}",
        m.decision.positive_at, m.decision.negative_at, m.calibration.temperature
    );
    for part in &seen.parts {
        println!("part {} ({:?}): {} bytes, SHA-256 {}", part.name, part.kind, part.length, hexadecimal(&part.sha256));
    }
    if !card && extract.is_none() {
        return Ok(());
    }
    let read = Bundle::read(&bytes, &TrustedKeys::only(seen.signer), &Limits::default())?;
    if let Some(folder) = extract {
        std::fs::create_dir_all(folder).with_context(|| folder.display().to_string())?;
        let write = |name: &str, bytes: &[u8]| {
            let path = folder.join(name);
            refuse_existing(&path, false)?;
            write_atomically(&path, |out| out.write_all(bytes)).map_err(anyhow::Error::from)
        };
        write("manifest.json", serde_json::to_string_pretty(m)?.as_bytes())?;
        read.parts().try_for_each(|(part, bytes)| write(&part.name, bytes))?;
    }
    if card {
        println!("\n{}", read.card().context("the bundle has no card")?);
    }
    Ok(())
}

/// Options of `evaluate`.
#[derive(Debug, clap::Args)]
pub struct EvaluateArgs {
    /// Manifest written by `thorax-train data import`
    #[arg(long)]
    manifest: PathBuf,
    /// Bundles to judge, each on the pictures of its modality
    #[arg(long = "bundle", required = true)]
    bundles: Vec<PathBuf>,
    /// File of trusted public keys; the keys that are built in are trusted as well
    #[arg(long)]
    trust: Option<PathBuf>,
    /// Split to judge on: train, val or test
    #[arg(long, default_value = "test")]
    split: Split,
    #[command(flatten)]
    teachers: TeacherArgs,
    /// Also writes one row a picture to this CSV file
    #[arg(long, value_name = "FILE")]
    predictions: Option<PathBuf>,
    /// Also writes one row a picture and mask to this CSV file: the pixels that all figures of masks are made of
    #[arg(long, value_name = "FILE")]
    pixels: Option<PathBuf>,
    /// Write over files that are there
    #[arg(long)]
    force: bool,
    /// Seed of the bootstrap
    #[arg(long, default_value_t = 1)]
    seed: u64,
}

/// Carries out `evaluate`.
///
/// # Errors
/// Bundles, manifests or pictures that cannot be read.
pub fn evaluate_bundles(args: &EvaluateArgs) -> anyhow::Result<()> {
    args.predictions.iter().chain(&args.pixels).try_for_each(|path| refuse_existing(path, args.force))?;
    args.teachers.check()?;
    let teachers = args.teachers.open(None)?;
    let manifest = data::open(&args.manifest)?;
    let trusted = trusted_keys(args.trust.as_deref())?;
    let models = args.bundles.iter().map(|path| anyhow::Ok((path, JudgedModel::open(path, &trusted)?)));
    let models = models.collect::<anyhow::Result<Vec<_>>>()?;
    if let Some(teachers) = &teachers {
        let modality = teachers.modality();
        anyhow::ensure!(
            models.iter().any(|(_, model)| model.manifest().modality == modality),
            "--teacher: none of the bundles reads {modality} pictures; give one that does"
        );
        teachers.learnt_from(&manifest)?;
    }
    let mut taught = vec![];
    let [mut predictions, mut pixels] = [(); 2].map(|()| csv::Writer::from_writer(vec![]));
    predictions.write_record(PREDICTIONS)?;
    pixels.write_record(PIXELS)?;
    for (path, model) in models {
        data::verify(&manifest, model.manifest().modality, &[Task::Segment, Task::Classify])?;
        let evaluation = evaluate(&manifest, &model, args.split, args.seed)?;
        anyhow::ensure!(
            !evaluation.predictions.is_empty() || !evaluation.masks.is_empty(),
            "{}: the manifest has no {} pictures in this split",
            path.display(),
            evaluation.modality
        );
        if args.split == Split::Test {
            data::looks::look(&args.manifest, "evaluate", evaluation.modality, &model.title())?;
        }
        println!("## {} ({})\n", model.title(), path.display());
        println!("{}", evaluation.to_markdown());
        evaluation.write_predictions(&mut predictions)?;
        evaluation.write_pixels(&mut pixels)?;
        if teachers.as_ref().is_some_and(|teachers| teachers.modality() == evaluation.modality) {
            taught.push((model.title(), evaluation));
        }
    }
    if let (Some(teachers), Some((_, first))) = (&teachers, taught.first()) {
        let (name, said) = (teachers::name(teachers), teachers::evaluate(&manifest, teachers, first)?);
        let bundles = taught.iter().map(|(title, evaluation)| (title.as_str(), evaluation));
        let all: Vec<_> = [(name.as_str(), &said)].into_iter().chain(bundles).collect();
        println!("## Beside {name}, {} split\n\n{}", args.split.as_str(), beside::to_markdown(&all));
    }
    for (path, table) in [(&args.predictions, predictions), (&args.pixels, pixels)] {
        let table = table.into_inner()?;
        path.iter().try_for_each(|path| write_atomically(path, |out| out.write_all(&table)))?;
    }
    println!("Research use only, not a medical device.");
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_code_is_one_that_a_report_takes() {
        for text in ["SCT:56717001:Tuberculosis", " SCT:56717001: Tuberculosis "] {
            assert_eq!(code(text), Ok(["SCT", "56717001", "Tuberculosis"].map(str::to_owned)));
        }
        for refused in
            ["SCT:56717001", "SCT::Tuberculosis", "A SCHEME OF MANY LETTERS:1:x", "SCT:1:fièvre", "SCT:1\\2:x"]
        {
            assert!(code(refused).is_err(), "{refused}");
        }
    }
}
