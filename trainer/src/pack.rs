//! `thorax-train bundle`: make keys, build, verify and show bundles; `thorax-train export`: the ONNX graphs alone.

use std::{
    fmt::Write as _,
    path::{Path, PathBuf},
    time::{SystemTime, UNIX_EPOCH},
};

use anyhow::Context;
use candle_core::{Device, Tensor};
use rand::TryRngCore;
use rayon::prelude::*;
use sha2::{Digest, Sha256};
use thorax_engine::{model::Model, screening};
use thorax_files::{file_sha256, hexadecimal, write_atomically};
use thorax_nets::source::WeightsArgs;
use thorax_nn::{
    graph::Graph,
    onnx::{HALF_PRECISION_FROM, from_onnx, to_onnx},
    training::BEST,
};
use thorax_shared::{
    bundle::{
        self, Bundle, Calibration, Classifier, Hashed, Limits, Name, PartKind, PartSource, Provenance, SecretKey,
        Segmenter, TrustedKeys,
    },
    preprocess::spec::Core,
    uncertainty::Ensemble,
};

use crate::{
    data::{Manifest, Record, Split, Task},
    evaluate::{self, Evaluation},
    segmentation::Members,
    train::{self, classify, picture, progress, segment},
};

/// `thorax-train bundle ...`
#[derive(Debug, clap::Subcommand)]
pub enum BundleCommand {
    /// Draw a signing key; prints the public key that devices have to trust
    Keygen {
        /// File for the secret key; it must not exist
        out: PathBuf,
    },
    /// Put a classifier and a segmenter into a signed bundle, with a model card measured on the test split
    Build(BuildArgs),
    /// Compare candle with tract on every test picture of a bundle
    Verify(VerifyArgs),
    /// Show what a bundle says of itself
    Show {
        /// The bundle
        bundle: PathBuf,
        /// Print the model card
        #[arg(long)]
        card: bool,
    },
}

/// Options of `bundle build`.
#[derive(Debug, clap::Args)]
pub struct BuildArgs {
    /// Folder of a finished `train classify`
    #[arg(long)]
    classifier: PathBuf,
    /// Folder of a finished `train segment`; of several, the mean of their probabilities goes into the bundle
    #[arg(long = "segmenter", value_name = "DIR", required = true)]
    segmenters: Vec<PathBuf>,
    // The same as in training.
    #[command(flatten)]
    weights: WeightsArgs,
    /// The manifest, the same as in training
    #[arg(long)]
    manifest: PathBuf,
    /// Secret key written by `bundle keygen`
    #[arg(long)]
    key: PathBuf,
    /// The bundle; the card is written beside it
    #[arg(long)]
    out: PathBuf,
    /// Version of the model
    #[arg(long, default_value = env!("CARGO_PKG_VERSION"))]
    model_version: String,
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
    /// Folder of a finished `train classify` or `train segment`
    run: PathBuf,
    // Of a classifier's backbone, the same as in training.
    #[command(flatten)]
    weights: Option<WeightsArgs>,
    /// The ONNX file
    #[arg(long)]
    out: PathBuf,
}

/// Largest difference of probability allowed between candle and tract.
const PROBABILITY_TOLERANCE: f32 = 1e-4;
/// Largest share of pixels on which candle's and tract's masks may differ.
const MASK_TOLERANCE: f64 = 1e-3;

/// Carries out `bundle`.
///
/// # Errors
/// Whatever went wrong, with the file it went wrong with.
pub fn run(command: &BundleCommand) -> anyhow::Result<()> {
    match command {
        BundleCommand::Keygen { out } => keygen(out),
        BundleCommand::Build(args) => build(args),
        BundleCommand::Verify(args) => verify(args),
        BundleCommand::Show { bundle, card } => show(bundle, *card),
    }
}

fn keygen(out: &Path) -> anyhow::Result<()> {
    anyhow::ensure!(
        !out.exists(),
        "{}: exists already; a signing key is never overwritten, choose another name",
        out.display()
    );
    let mut seed = [0u8; 32];
    rand::rngs::OsRng.try_fill_bytes(&mut seed).context("the system gives no random numbers")?;
    let key = SecretKey::from_seed(&mut seed);
    let mut options = std::fs::OpenOptions::new();
    options.write(true).create_new(true);
    #[cfg(unix)]
    std::os::unix::fs::OpenOptionsExt::mode(&mut options, 0o600);
    let mut file = options.open(out).with_context(|| out.display().to_string())?;
    std::io::Write::write_all(&mut file, format!("{}\n", key.reveal()).as_bytes())?;
    file.sync_all()?;
    println!("{}", key.public_key());
    eprintln!("{}: secret key, keep it off every device; give devices the line above with --trust", out.display());
    Ok(())
}

/// The classifier's graph, weights rounded as they are stored.
fn classifier_graph(run: &classify::ClassifyRun, weights: &WeightsArgs) -> anyhow::Result<Graph> {
    let classify::ClassifyConfig { backbone, backbone_sha256, .. } = &run.config;
    let source = weights.resolve(*backbone)?;
    anyhow::ensure!(
        source.sha256 == *backbone_sha256,
        "--weights: {} are not those this classifier was trained on (SHA-256 {}, expected {backbone_sha256}); give those of the \
         training",
        source.origin,
        source.sha256
    );
    let mut graph = run.extend(source.open(*backbone, &Device::Cpu)?.graph)?;
    graph.round_to_half(HALF_PRECISION_FROM)?;
    Ok(graph)
}

/// Carries out `export`.
///
/// # Errors
/// A folder without a finished run.
pub fn export(args: &ExportArgs) -> anyhow::Result<()> {
    let bytes = if args.run.join("outcome.json").exists() {
        let weights = args.weights.as_ref().context("a classifier needs --weights, those it was trained on")?;
        to_onnx(&classifier_graph(&classify::load(&args.run)?, weights)?, "classifier")?
    } else {
        to_onnx(&Members::load(std::slice::from_ref(&args.run))?.shipped_graph()?, "segmenter")?
    };
    write_atomically(&args.out, |out| out.write_all(&bytes))?;
    println!("{}: {} bytes", args.out.display(), bytes.len());
    Ok(())
}

fn name(text: &str) -> anyhow::Result<Name> {
    Name::try_from(text).map_err(|_| anyhow::anyhow!("{text}: longer than 64 bytes"))
}

fn bundle_graph(
    part: &str,
    graph: &Graph,
    preprocess: &thorax_shared::preprocess::PreprocessSpec,
) -> anyhow::Result<bundle::Graph> {
    Ok(bundle::Graph {
        part: name(part)?,
        input: name("input")?,
        outputs: graph.outputs.iter().map(|(output, _)| name(output)).collect::<anyhow::Result<_>>()?,
        preprocess: preprocess.clone(),
    })
}

fn build(args: &BuildArgs) -> anyhow::Result<()> {
    let classifier = classify::load(&args.classifier)?;
    let segmenters = Members::load(&args.segmenters)?;
    let segmenter = segmenters.first();
    let manifest = Manifest::load(&args.manifest)?;
    let modality = classifier.config.modality;
    anyhow::ensure!(
        segmenter.config.modality == modality,
        "the classifier reads {modality} pictures, the segmenter {} pictures",
        segmenter.config.modality
    );
    let classifier_learnt_from =
        classifier.config.manifest_sha256 == train::fingerprint(&manifest, modality, Task::Classify)?;
    for (what, same) in
        [("classifier", classifier_learnt_from), ("segmenter", segmenter.config.learnt_from(&manifest)?)]
    {
        anyhow::ensure!(
            same,
            "{}: not the data the {what} was trained on; give the manifest of the training, or train again",
            args.manifest.display()
        );
    }
    if let Some(expected) = &classifier.config.lungs_sha256 {
        let given = segmenters.sha256()?;
        anyhow::ensure!(
            given == *expected,
            "{}: not the segmenter whose lungs the classifier was trained on (SHA-256 {given}, expected {expected}); \
             give that one, or train the classifier with --lungs (once for each --segmenter, in the same order)",
            segmenters.name()
        );
    }
    let secret = std::fs::read_to_string(&args.key).with_context(|| args.key.display().to_string())?;
    let key: SecretKey = secret.trim().parse().with_context(|| args.key.display().to_string())?;

    let classifier_net = classifier_graph(&classifier, &args.weights)?;
    let segmenter_net = segmenters.shipped_graph()?;
    let outcome = &classifier.outcome;
    let title = format!("thorax-{modality}");
    let contents = bundle::Manifest {
        name: title.clone(),
        version: args.model_version.clone(),
        created_unix_s: SystemTime::now().duration_since(UNIX_EPOCH)?.as_secs(),
        modality,
        class_names: [name("negative")?, name("positive")?],
        classifier: Classifier {
            graph: bundle_graph("classifier.onnx", &classifier_net, &classifier.config.preprocess)?,
            members: u16::try_from(classifier.config.members)?,
        },
        segmenter: Some(Segmenter {
            graph: bundle_graph("segmenter.onnx", &segmenter_net, &segmenter.config.preprocess)?,
            channels: segment::MASKS.iter().map(|mask| name(mask)).collect::<anyhow::Result<_>>()?,
            mask_threshold: 0.5,
        }),
        quality: classifier.config.quality,
        decision: outcome.decision,
        calibration: Calibration {
            temperature: outcome.temperature,
            ece_before: outcome.ece[0] as f32,
            ece_after: outcome.ece[1] as f32,
            images: u32::try_from(outcome.validation_pictures)?,
        },
        provenance: provenance(args, &manifest, &classifier.config)?,
    };
    let graphs = [to_onnx(&classifier_net, "classifier")?, to_onnx(&segmenter_net, "segmenter")?];
    let parts = |card: &str| {
        let [classifier, segmenter] = &graphs;
        bundle::write(
            contents.clone(),
            &[
                PartSource { name: "classifier.onnx", kind: PartKind::Onnx, bytes: classifier },
                PartSource { name: "segmenter.onnx", kind: PartKind::Onnx, bytes: segmenter },
                PartSource { name: "card.md", kind: PartKind::Card, bytes: card.as_bytes() },
            ],
            &key,
        )
    };
    // The card tells what this very bundle does on the test split, so the bundle is first made without it.
    let draft = tempfile::NamedTempFile::new()?;
    std::fs::write(draft.path(), parts("")?)?;
    let model = Model::open(draft.path(), &TrustedKeys::only(key.public_key()))?;
    let evaluation = evaluate::evaluate(&manifest, &model, Split::Test, contents.provenance.seed)?;
    let card = card(&contents, &classifier, &segmenters, &manifest, &evaluation);
    let bytes = parts(&card)?;
    write_atomically(&args.out, |out| out.write_all(&bytes))?;
    let card_path = args.out.with_file_name("CARD.md");
    write_atomically(&card_path, |out| out.write_all(card.as_bytes()))?;
    println!(
        "{}: {title} {}, {} bytes, signed by {}",
        args.out.display(),
        args.model_version,
        bytes.len(),
        key.public_key().fingerprint()
    );
    Ok(())
}

fn provenance(args: &BuildArgs, manifest: &Manifest, config: &classify::ClassifyConfig) -> anyhow::Result<Provenance> {
    let mut splits: Vec<String> =
        manifest.records.iter().map(|r| format!("{}\t{}\t{}\n", r.source, r.group, r.split.as_str())).collect();
    splits.sort();
    splits.dedup();
    let mut inputs = vec![];
    let mut add = |role: &str, folder: &Path, names: &[&str]| {
        inputs.extend(names.iter().map(|name| (format!("{role}/{name}"), folder.join(name))));
    };
    add("classifier", &args.classifier, &["classifier.safetensors", "config.json"]);
    for (number, folder) in args.segmenters.iter().enumerate() {
        let role = if args.segmenters.len() > 1 { format!("segmenter-{}", number + 1) } else { "segmenter".into() };
        add(&role, folder, &[BEST, segment::THRESHOLD, "config.json"]);
    }
    Ok(Provenance {
        data_sha256: unhex(&manifest.sha256()).context("the manifest's hash")?,
        split_sha256: Sha256::digest(splits.concat()).into(),
        code_revision: revision(),
        trainer_version: env!("CARGO_PKG_VERSION").into(),
        seed: config.seed,
        backbone_sha256: unhex(&config.backbone_sha256),
        inputs: inputs
            .into_iter()
            .map(|(name, path)| Ok(Hashed { name, sha256: file_sha256(&path)? }))
            .collect::<anyhow::Result<_>>()?,
    })
}

fn unhex(text: &str) -> Option<[u8; 32]> {
    let bytes = (0..text.len() / 2)
        .map(|i| u8::from_str_radix(text.get(2 * i..2 * i + 2)?, 16).ok())
        .collect::<Option<Vec<u8>>>()?;
    bytes.try_into().ok()
}

/// The git revision of the sources in the current folder, `unknown` outside a checkout.
fn revision() -> String {
    let git = |arguments: &[&str]| {
        let output = std::process::Command::new("git").args(arguments).output().ok().filter(|o| o.status.success())?;
        Some(String::from_utf8_lossy(&output.stdout).trim().to_owned())
    };
    match (git(&["rev-parse", "HEAD"]), git(&["status", "--porcelain", "--untracked-files=no"])) {
        (Some(head), Some(changes)) if changes.is_empty() => head,
        (Some(head), _) => format!("{head} with changes"),
        _ => "unknown".into(),
    }
}

/// The model card, after Mitchell et al., *Model Cards for Model Reporting* (2019).
fn card(
    contents: &bundle::Manifest,
    classifier: &classify::ClassifyRun,
    segmenters: &Members,
    manifest: &Manifest,
    evaluation: &Evaluation,
) -> String {
    let mut out = String::new();
    let segmenter = segmenters.first();
    let each =
        |of: &dyn Fn(&segment::SegmentRun) -> String| segmenters.runs().iter().map(of).collect::<Vec<_>>().join(" / ");
    let modality = contents.modality;
    let rule = &contents.decision;
    let p = &contents.provenance;
    let _ = write!(
        out,
        "# Model card: {} {}\n\n\
         **Research use only. Not a medical device. Not clinically validated.** Written by `thorax-train bundle build`; do not edit.\n\n\
         ## What it is\n\n\
         Reads {}: COVID-19 positive, negative or refer, an ensemble's entropy, a class activation map, and the infected part of the lungs.\n\n\
         - Classifier: EfficientNet-Lite0 pretrained on ImageNet and frozen, pooled features of {}, {} logistic heads, each on a bootstrap resample of the \
         training patients; L2 penalty {}, temperature {:.3} (validation ECE {:.3} before, {:.3} after, on {} pictures), validation AUC {:.3}.\n\
         - Decision: positive from {:.3}, negative below {:.3}, between them *refer*; *refer* above an entropy of {:.3} bit and above \
         novelty {:.2}, *rejected* above novelty {:.2}. Thresholds were chosen on the validation split for a sensitivity of {:.0} % and a specificity of \
         {:.0} %, the entropy limit for at most {:.0} % wrong answers (or the least risk that answers {:.0} %).\n\
         - Segmenter: {}{}{}, input {} x {}, {}, {}, {} epochs; the epoch of the best pooled validation Dice \
         of the infection was taken ({}, epoch {}), and a pixel is infected from a probability of {} on (validation Dice {} there, {} at \
         0.5). {}\n\n",
        contents.name,
        contents.version,
        match modality {
            thorax_shared::label::Modality::Xray => "frontal chest X-rays",
            thorax_shared::label::Modality::Ct => "axial chest CT slices",
        },
        seen_part(contents.classifier.graph.preprocess.core),
        contents.classifier.members,
        classifier.outcome.l2,
        contents.calibration.temperature,
        contents.calibration.ece_before,
        contents.calibration.ece_after,
        contents.calibration.images,
        classifier.outcome.validation_auc,
        rule.positive_at,
        rule.negative_at,
        rule.entropy_limit_bits,
        rule.novelty_refer,
        rule.novelty_reject,
        classify::WANTED_SENSITIVITY * 100.0,
        classify::WANTED_SPECIFICITY * 100.0,
        classify::WANTED_RISK * 100.0,
        classify::LEAST_ANSWERED * 100.0,
        match segmenters.runs().len() {
            1 => String::new(),
            members =>
                format!("the mean of {members} nets that differ in their seed (figures of each, divided by /): "),
        },
        segmenter.config.net.describe(),
        segmenter
            .config
            .encoder
            .as_ref()
            .map_or_else(String::new, |[origin, sha256]| { format!(" (its weights: {origin}, SHA-256 `{sha256}`)") }),
        segmenter.config.preprocess.input_side,
        segmenter.config.preprocess.input_side,
        segmenter.config.loss.describe(),
        segmenter.config.augmentation.describe(),
        segmenter.config.epochs,
        each(&|run| format!("{:.3}", run.best_dice)),
        each(&|run| (run.best_epoch + 1).to_string()),
        each(&|run| run.threshold.probability.to_string()),
        each(&|run| format!("{:.3}", run.threshold.dice)),
        each(&|run| format!("{:.3}", run.threshold.dice_at_half)),
        match (segmenter.config.healthy, &segmenter.config.start_sha256) {
            (0, None) => "No picture of class normal was added.".to_owned(),
            (0, Some(_)) =>
                "No picture of class normal was added; it began with the weights of another training.".to_owned(),
            (healthy, None) => {
                format!("{healthy} pictures of class normal were drawn for each epoch as pictures without infection.")
            }
            (healthy, Some(_)) => format!(
                "{healthy} pictures of class normal were drawn for each epoch as pictures without infection, in a second training that began with the weights of a first."
            ),
        },
    );
    let _ = writeln!(
        out,
        "## Data\n\nNo picture is contained. Splits are by patient; counts are pictures (patients or groups that belong together).\n"
    );
    let _ =
        writeln!(out, "| source | licence as stated there | task | train | val | test |\n|---|---|---|---|---|---|");
    let mut rows: std::collections::BTreeMap<(&str, &str, &str), Vec<&Record>> = std::collections::BTreeMap::new();
    for record in manifest.records.iter().filter(|r| r.modality == modality && r.task != Task::None) {
        let licence = if record.licence.is_empty() { "none stated" } else { &record.licence };
        rows.entry((&record.source, licence, record.task.as_str())).or_default().push(record);
    }
    for ((source, licence, task), records) in rows {
        let count = |split| {
            let of: Vec<&&Record> = records.iter().filter(|r| r.split == split).collect();
            let groups: std::collections::BTreeSet<&str> = of.iter().map(|r| r.group.as_str()).collect();
            format!("{} ({})", of.len(), groups.len())
        };
        let _ = writeln!(
            out,
            "| {source} | {licence} | {task} | {} | {} | {} |",
            count(Split::Train),
            count(Split::Val),
            count(Split::Test)
        );
    }
    let _ = write!(out, "\n## Figures\n\n{}", evaluation.to_markdown());
    let _ = write!(
        out,
        "\n## Limits\n\n\
         - Positive and negative pictures come from different collections and hospitals; a model can score by telling the collections apart. Read the \
         figures per source, and expect worse on pictures of another hospital.\n\
         - Labels are as the collections give them (captions, text-mined reports, RT-PCR); \"negative\" is not \"healthy\".\n\
         - Few patients have masks, so the intervals of the segmentation are wide or, with one patient a source, say nothing.\n\
         - The collections date from 2020: later variants and vaccinated patients are not in them. Ages and projections were not checked; a lateral film or a \
         child may be read as if it were a frontal film of an adult.\n\
         - The probability is calibrated on the validation split of the same collections, not on the prevalence of any clinic.\n\n\
         ## Provenance\n\n\
         - data and labels: SHA-256 `{}`; splits: `{}`\n\
         - backbone: `{}`\n\
         - sources: revision `{}`, thorax-train {}, seed {} (segmenter: {})\n",
        hexadecimal(&p.data_sha256),
        hexadecimal(&p.split_sha256),
        p.backbone_sha256.map_or_else(|| "none".into(), |hash| hexadecimal(&hash)),
        p.code_revision,
        p.trainer_version,
        p.seed,
        each(&|run| run.config.seed.to_string()),
    );
    out
}

/// The part of a picture that a network sees, in words.
fn seen_part(core: Core) -> &'static str {
    match core {
        Core::Whole => "the whole picture",
        Core::Body { .. } => "the body",
        Core::Film { .. } => "the exposed film",
        Core::Lungs { .. } => "the lungs that the segmenter finds",
    }
}

fn show(path: &Path, card: bool) -> anyhow::Result<()> {
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
    if card {
        let read = Bundle::read(&bytes, &TrustedKeys::only(seen.signer), &Limits::default())?;
        println!("\n{}", read.card().context("the bundle has no card")?);
    }
    Ok(())
}

/// Differences between candle and tract on one picture.
#[derive(Clone, Copy, Default)]
struct Difference {
    probability: f32,
    mask_pixels: f64,
}

fn verify(args: &VerifyArgs) -> anyhow::Result<()> {
    let manifest = Manifest::load(&args.manifest)?;
    let trusted = evaluate::trusted_keys(args.trust.as_deref())?;
    let mut failed = false;
    for path in &args.bundles {
        let model = Model::open(path, &trusted)?;
        let bytes = std::fs::read(path)?;
        let bundle = Bundle::read(&bytes, &trusted, &Limits::default())?;
        let classifier = from_onnx(bundle.classifier_graph())?;
        let segmenter = bundle.segmenter_graph().map(from_onnx).transpose()?;
        let modality = model.manifest.modality;
        let records: Vec<&Record> = [Task::Classify, Task::Segment]
            .into_iter()
            .flat_map(|task| manifest.select(modality, task, Some(Split::Test)))
            .take(args.limit.unwrap_or(usize::MAX))
            .collect();
        anyhow::ensure!(
            !records.is_empty(),
            "{}: the manifest has no {modality} test pictures",
            args.manifest.display()
        );
        let bar = progress(records.len(), &format!("verify {modality}"));
        let differences: Vec<Difference> = records
            .par_iter()
            .map(|record| {
                let difference = compare(&manifest, record, &model, &classifier, segmenter.as_ref())
                    .with_context(|| record.path.clone());
                bar.inc(1);
                difference
            })
            .collect::<anyhow::Result<_>>()?;
        bar.finish_and_clear();
        // One loop for both crashes the code generator of rustc 1.95.
        let worst = Difference {
            probability: differences.iter().map(|d| d.probability).fold(0.0, f32::max),
            mask_pixels: differences.iter().map(|d| d.mask_pixels).fold(0.0, f64::max),
        };
        let fine = worst.probability <= PROBABILITY_TOLERANCE && worst.mask_pixels <= MASK_TOLERANCE;
        failed |= !fine;
        println!(
            "{}: {} pictures, candle against tract: worst probability difference {:.2e} (allowed {PROBABILITY_TOLERANCE:.0e}), worst mask difference {:.4} % of \
             pixels (allowed {:.1} %): {}",
            path.display(),
            differences.len(),
            worst.probability,
            worst.mask_pixels * 100.0,
            MASK_TOLERANCE * 100.0,
            if fine { "agree" } else { "DISAGREE" }
        );
    }
    anyhow::ensure!(!failed, "candle and tract disagree; do not ship this bundle");
    Ok(())
}

fn compare(
    manifest: &Manifest,
    record: &Record,
    model: &Model,
    classifier: &Graph,
    segmenter: Option<&Graph>,
) -> anyhow::Result<Difference> {
    let frame = picture::read_record(manifest, record)?;
    let device = Device::Cpu;
    let run = |graph: &Graph, tensor: &[f32]| -> anyhow::Result<Vec<Vec<f32>>> {
        let [c, h, w] = graph.input_shape;
        let outputs = graph.run(&Tensor::from_slice(tensor, (1, c, h, w), &device)?)?;
        outputs.iter().map(|o| Ok(o.flatten_all()?.to_vec1()?)).collect()
    };
    let contents = &model.manifest;
    let tensor = screening::classifier_input(model, &frame)?;
    let by_candle = run(classifier, &tensor)?;
    let logits = contents.classifier.graph.outputs.iter().position(|o| o == "logits").context("no output logits")?;
    let probability = |logits: &[f32]| {
        Ok::<_, anyhow::Error>(Ensemble::from_logits(logits, contents.calibration.temperature)?.probability)
    };
    let difference = (probability(&by_candle[logits])? - probability(&model.classify(&tensor)?.logits)?).abs();
    let mut mask_pixels = 0.0;
    if let (Some(graph), Some(segmenter)) = (segmenter, &contents.segmenter) {
        let spec = &segmenter.graph.preprocess;
        let tensor = frame.prepare(spec)?.tensor;
        let by_candle = run(graph, &tensor)?.swap_remove(0);
        let by_tract: Vec<f32> =
            model.segment(&tensor)?.unwrap_or_default().into_iter().flat_map(|map| map.into_data()).collect();
        anyhow::ensure!(by_candle.len() == by_tract.len(), "masks of different sizes");
        let threshold = segmenter.mask_threshold;
        let other = by_candle.iter().zip(&by_tract).filter(|(a, b)| (**a >= threshold) != (**b >= threshold)).count();
        mask_pixels = other as f64 / by_candle.len().max(1) as f64;
    }
    Ok(Difference { probability: difference, mask_pixels })
}
