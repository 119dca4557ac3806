//! `thorax-train probe`: what else than the disease tells the classes apart.

use std::path::{Path, PathBuf};

use thorax_files::write_atomically;

use crate::{
    data::{self, Manifest, Task, fingerprint::fingerprint},
    features::{Contents, FeatureStore, FeatureTable},
    files::refuse_existing,
    probe::{Probe, probe},
};

/// Names of the two files, for people and for `bundle build`.
const MARKDOWN: &str = "probe.md";
pub(super) const JSON: &str = "probe.json";

/// Options of `probe`.
#[derive(Debug, clap::Args)]
pub struct ProbeArgs {
    /// Features written by `thorax-train features`
    #[arg(long, value_name = "STORE")]
    features: PathBuf,
    /// The manifest that they were extracted with
    #[arg(long)]
    manifest: PathBuf,
    /// Folder for probe.md and probe.json
    #[arg(long, value_name = "FOLDER")]
    out: PathBuf,
    /// Also probe the pictures of the test split, which is a look at it
    #[arg(long)]
    with_test: bool,
    /// Seed of the folds, of the resamples and of the bootstrap
    #[arg(long, default_value_t = 1)]
    seed: u64,
    /// Write over files that are there
    #[arg(long)]
    force: bool,
}

/// Carries out `probe`.
///
/// # Errors
/// A store or a manifest that cannot be read, or that do not belong together; pictures that cannot be read.
pub fn run(args: &ProbeArgs) -> anyhow::Result<()> {
    [MARKDOWN, JSON].into_iter().try_for_each(|name| refuse_existing(&args.out.join(name), args.force))?;
    let store = FeatureStore::open(&args.features)?;
    store.verify()?;
    let contents = store.contents();
    let manifest = data::open(&args.manifest)?;
    anyhow::ensure!(
        contents.manifest_sha256 == fingerprint(&manifest, contents.modality, Task::Classify)?,
        "{}: features of other pictures, labels or splits than those of {}; give the manifest they were extracted with, or extract \
         anew with thorax-train features",
        args.features.display(),
        args.manifest.display()
    );
    data::verify(&manifest, contents.modality, &[Task::Classify])?;
    let probe = probe(&manifest, contents, &FeatureTable::pooled(&store, u16::MAX), args.with_test, args.seed)?;
    println!("{}", write(&args.out, &probe, contents)?);
    Ok(())
}

/// Probes the features that a classifier learnt from, without a look at the test split, and leaves what is found in its run's folder,
/// where `bundle build` looks for it.
///
/// # Errors
/// Pictures that cannot be read; files that cannot be written.
pub(super) fn beside_classifier(
    folder: &Path,
    manifest: &Manifest,
    contents: &Contents,
    table: &FeatureTable,
    seed: u64,
) -> anyhow::Result<()> {
    let probe = probe(manifest, contents, table, false, seed)?;
    write(folder, &probe, contents)?;
    Ok(())
}

/// Writes both files into `folder`; returns the text.
fn write(folder: &Path, probe: &Probe, contents: &Contents) -> anyhow::Result<String> {
    let text = format!(
        "# What else tells the classes apart: {}, {}\n\nResearch use only, not a medical device.\n\n{}",
        contents.modality.title(),
        contents.backbone,
        probe.to_markdown()
    );
    write_atomically(&folder.join(MARKDOWN), |out| out.write_all(text.as_bytes()))?;
    let bytes = probe.to_json()?;
    write_atomically(&folder.join(JSON), |out| out.write_all(&bytes))?;
    Ok(text)
}
