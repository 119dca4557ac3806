//! `thorax-train bench classify`: time and peak memory of each classifier's runs, as pictures and columns grow, and beside
//! scikit-learn and XGBoost.
//!
//! The features are drawn, not extracted: zeros and positive numbers as after ReLU, some columns shifted in one class. Each
//! classifier is fitted by `thorax-train classify` in a process of its own, so that its peak memory is its own; the Gram
//! matrix, which they share, is made by a process before. The peers fit the same resamples from the same store
//! (trainer/references/classifiers.py), some runs of them, scaled to as many as ours.

use std::{
    num::NonZeroUsize,
    path::{Path, PathBuf},
    process::{Command, Stdio},
    time::Instant,
};

use anyhow::Context;
use half::f16;
use rand::Rng as _;
use thorax_nets::{Backbone, Layout};
use thorax_nn::seeded;
use thorax_shared::{
    modality::Modality,
    preprocess::{QualityLimits, spec::Normalise},
};

use crate::{
    classifiers::Kind,
    data::{Label, Split, recipe::preprocess_spec},
    features::{Contents, Dtype, FORMAT, FeatureRow, Opened, State, StoreWriter, WrittenRow, preprocess_sha256},
};

/// The script that fits the peers.
const SCRIPT: &str = include_str!("../../references/classifiers.py");

/// Options of `bench classify`.
#[derive(Debug, clap::Args)]
pub struct ClassifyBenchArgs {
    /// Numbers of pictures
    #[arg(long, value_delimiter = ',', default_value = "500,1000,2000", value_name = "N")]
    pictures: Vec<usize>,
    /// Nets that have as many features: 62,720 and 100,352
    #[arg(long, value_delimiter = ',', default_value = "efficientnet-lite0,resnet50", value_name = "NAMES")]
    backbones: Vec<Backbone>,
    /// Runs of each classifier
    #[arg(long, default_value = "100", value_name = "N")]
    runs: NonZeroUsize,
    /// Only these classifiers
    #[arg(long, value_enum, value_delimiter = ',', value_name = "NAMES")]
    only: Vec<Kind>,
    /// A Python that has scikit-learn, XGBoost and safetensors; its side is timed as well
    #[arg(long, value_name = "PYTHON")]
    peers: Option<PathBuf>,
    /// Runs that the peers are timed for
    #[arg(long, default_value = "2", value_name = "N")]
    peer_runs: NonZeroUsize,
    /// Threads of either side
    #[arg(long, default_value = "2", value_name = "N", value_parser = thorax_nn::device::threads)]
    threads: NonZeroUsize,
}

/// Runs the benchmark.
///
/// # Errors
/// A child that fails.
pub(super) fn run(args: &ClassifyBenchArgs) -> anyhow::Result<()> {
    for &pictures in &args.pictures {
        for &backbone in &args.backbones {
            let folder = tempfile::tempdir()?;
            let store = folder.path().join("drawn.features");
            draw(&store, pictures, backbone)?;
            case(args, &store, folder.path(), pictures)?;
        }
    }
    println!("Features are drawn; times are wall times on {} threads. Research use only.", args.threads);
    Ok(())
}

fn case(args: &ClassifyBenchArgs, store: &Path, folder: &Path, pictures: usize) -> anyhow::Result<()> {
    let out = folder.join("run");
    let bytes = std::fs::metadata(store)?.len() as f64;
    let gram = 4.0 * (pictures * pictures) as f64;
    let mib = |bytes: f64| bytes / f64::from(1 << 20);
    let columns = bytes / (2 * pictures) as f64;
    println!(
        "\n{pictures} pictures, about {columns:.0} columns: store {:.0} MiB, Gram matrix {:.0} MiB, 1.3 times both {:.0} MiB",
        mib(bytes),
        mib(gram),
        1.3 * mib(bytes + gram)
    );
    let classify = |only: &str, runs: usize| -> anyhow::Result<(f64, f64)> {
        let mut command = Command::new(std::env::current_exe()?);
        command.args(["classify", "--only", only, "--runs", &runs.to_string(), "--features"]).arg(store);
        command.arg("--out").arg(&out).args(["--threads", &args.threads.to_string()]);
        let started = Instant::now();
        let output = command.stdout(Stdio::null()).stderr(Stdio::piped()).output()?;
        let seconds = started.elapsed().as_secs_f64();
        let said = String::from_utf8_lossy(&output.stderr);
        anyhow::ensure!(output.status.success(), "classify --only {only}: {said}");
        let peak =
            said.lines().rev().find_map(|line| line.split("peak memory ").nth(1)?.split(' ').next()?.parse().ok());
        Ok((seconds, peak.context("classify did not tell its peak memory")?))
    };
    // The first run of the quickest classifier makes the Gram matrix.
    let (seconds, peak) = classify("knn", args.runs.get())?;
    println!("{:<15} {:>9} s   {:>6} MiB", "Gram and kNN", format!("{seconds:.1}"), peak);
    let kinds: Vec<Kind> =
        Kind::ALL.into_iter().filter(|kind| args.only.is_empty() || args.only.contains(kind)).collect();
    let mut ours = vec![];
    for &kind in &kinds {
        let _ = std::fs::remove_dir_all(out.join("predictions").join(kind.name()));
        let (seconds, peak) = classify(kind.name(), args.runs.get())?;
        println!("{:<15} {:>9} s   {:>6} MiB", kind.name(), format!("{seconds:.1}"), peak);
        ours.push((kind, seconds));
    }
    match &args.peers {
        Some(python) => peers(args, python, folder, store, &out, &ours),
        None => Ok(()),
    }
}

/// What the script says of a case.
#[derive(serde::Deserialize)]
struct PeerCase {
    classifier: String,
    from: String,
    finished: bool,
    hundred_runs_s_scaled: Option<f64>,
    peak_kib: Option<f64>,
}

#[derive(serde::Deserialize)]
struct PeerCases {
    cases: Vec<PeerCase>,
}

fn peers(
    args: &ClassifyBenchArgs,
    python: &Path,
    folder: &Path,
    store: &Path,
    out: &Path,
    ours: &[(Kind, f64)],
) -> anyhow::Result<()> {
    let script = folder.join("classifiers.py");
    std::fs::write(&script, SCRIPT)?;
    let names = ours.iter().map(|(kind, _)| kind.name()).collect::<Vec<_>>().join(",");
    let output = Command::new(python)
        .arg(&script)
        .args([out, store])
        .args(["--json", "--only", &names, "--time", &args.peer_runs.to_string()])
        .args(["--threads", &args.threads.to_string()])
        .stderr(Stdio::inherit())
        .output()
        .with_context(|| format!("{}: give the path of a Python that has scikit-learn", python.display()))?;
    anyhow::ensure!(output.status.success(), "the peers failed; their message stands above");
    let cases: PeerCases = serde_json::from_slice(&output.stdout).context("the peers did not answer in JSON")?;
    println!("{:<15} {:<12} {:>12} {:>9} {:>10}", "peer", "from", "s, scaled", "peak MiB", "peer/ours");
    for case in cases.cases {
        let seconds = case.hundred_runs_s_scaled.map(|seconds| seconds * args.runs.get() as f64 / 100.0);
        let own = ours.iter().find(|(kind, _)| kind.name() == case.classifier).map(|(_, seconds)| *seconds);
        let ratio = seconds.zip(own).map_or("-".to_owned(), |(peer, own)| format!("{:.1}", peer / own));
        let seconds = seconds.filter(|_| case.finished).map_or("not ended".to_owned(), |s| format!("{s:.1}"));
        let peak = case.peak_kib.map_or("-".to_owned(), |kib| format!("{:.0}", kib / 1024.0));
        println!("{:<15} {:<12} {seconds:>12} {peak:>9} {ratio:>10}", case.classifier, case.from);
    }
    Ok(())
}

/// Writes a store of drawn features, 70 % of its pictures for training, two of each patient.
fn draw(path: &Path, pictures: usize, backbone: Backbone) -> anyhow::Result<()> {
    let preprocess = preprocess_spec(Modality::Xray, 224, Normalise { mean: vec![0.5; 3], std: vec![0.5; 3] });
    let rows: Vec<FeatureRow> = (0..pictures)
        .map(|index| {
            let patient = index / 2;
            FeatureRow {
                path: format!("drawn/{index:05}.png"),
                sha256: format!("{index:064x}"),
                patient_id: format!("p{patient}"),
                group: format!("g{patient}"),
                source: "drawn".into(),
                label: if patient % 2 == 0 { Label::Positive } else { Label::Negative },
                split: [Split::Train, Split::Val, Split::Test][[0, 0, 0, 0, 0, 0, 0, 1, 2, 2][patient / 2 % 10]],
                equalised: false,
                copy: 0,
            }
        })
        .collect();
    let contents = Contents {
        format: FORMAT,
        program: concat!("thorax-train ", env!("CARGO_PKG_VERSION"), ", drawn").into(),
        backbone: backbone.into(),
        weights: "none: drawn features".into(),
        weights_sha256: "00".repeat(32),
        layout: Some(Layout::Timm),
        device: "cpu".into(),
        dtype: Dtype::F16,
        unit: 16,
        modality: Modality::Xray,
        preprocess_sha256: preprocess_sha256(&preprocess),
        preprocess,
        quality: QualityLimits::default(),
        lungs_sha256: None,
        manifest_sha256: "00".repeat(32),
        copies: 0,
        copies_seed: None,
        rows,
    };
    let shape = backbone.feature_shape();
    let columns: usize = shape.iter().product();
    let Opened::Unfinished(writer) = StoreWriter::open(path, &contents, shape)? else { return Ok(()) };
    for unit in writer.pending().to_vec() {
        let bytes: Vec<Vec<u8>> = writer
            .unit(unit)
            .map(|index| {
                let mut random = seeded::generator(1, index as u64);
                let positive = contents.rows[index].positive();
                let number = |column: usize| {
                    // A sum of four is normal enough, and quick.
                    let sum: f32 = (0..4).map(|_| random.random_range(-1.0f32..1.0)).sum();
                    let shift = if positive && column.is_multiple_of(17) { 0.15 } else { 0.0 };
                    f16::from_f32((sum + shift).max(0.0)).to_le_bytes()
                };
                (0..columns).flat_map(number).collect()
            })
            .collect();
        let rows: Vec<WrittenRow> = bytes.iter().map(|bytes| WrittenRow { state: State::Extracted, bytes }).collect();
        writer.write(unit, &rows)?;
    }
    writer.finish()?;
    Ok(())
}
