//! `thorax-train stress`: what a bundle's verdicts survive.

use std::path::{Path, PathBuf};

use anyhow::Context;
use thorax_engine::trust::trusted_keys;
use thorax_files::{file_sha256, hexadecimal, write_atomically};
use thorax_shared::{
    plane::Plane,
    preprocess::{Pixels, window},
};

use crate::{
    data::{self, Split, Task, picture::Picture},
    files::take_folder,
    judge::bundle::JudgedModel,
    stress::{self, Identity, Kept, Settings, measure, trials},
};

/// Options of `stress`.
#[derive(Debug, clap::Args)]
pub struct StressArgs {
    /// The bundle that is tried
    #[arg(long)]
    bundle: PathBuf,
    /// Manifest written by `thorax-train data import`
    #[arg(long)]
    manifest: PathBuf,
    /// File of trusted public keys; the keys that are built in are trusted as well
    #[arg(long)]
    trust: Option<PathBuf>,
    /// Split to try on: train, val or test
    #[arg(long, default_value = "test")]
    split: Split,
    /// Only so many pictures with a label, and so many with masks, of both classes and all sources [default: all]
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..))]
    pictures: Option<u32>,
    /// Only these kinds of change, separated by commas; another name lists all
    #[arg(long, value_name = "NAMES", value_delimiter = ',')]
    kinds: Vec<String>,
    /// Try every strength of each change, and draw what is kept against it
    #[arg(long)]
    strengths: bool,
    /// The picture that the page shows under each change, in any format that the device reads [default: a phantom]. The page then
    /// contains it: mind whose it is
    #[arg(long, value_name = "PICTURE")]
    show: Option<PathBuf>,
    /// Folder for stress.md, stress.html, stress.csv, stress.json and curves/; a run that was stopped goes on there
    #[arg(long, value_name = "FOLDER")]
    out: PathBuf,
    /// Begin anew where the folder has the readings of another bundle, manifest, split or sample
    #[arg(long)]
    force: bool,
    /// Seed of the sample and of the bootstrap
    #[arg(long, default_value_t = 1)]
    seed: u64,
}

/// Carries out `stress`.
///
/// # Errors
/// Bundles, manifests or pictures that cannot be read; a folder with other readings, or that cannot be written.
pub fn run(args: &StressArgs) -> anyhow::Result<()> {
    let trials = trials(&args.kinds, args.strengths)?;
    let model = JudgedModel::open(&args.bundle, &trusted_keys(args.trust.as_deref())?)
        .with_context(|| args.bundle.display().to_string())?;
    let manifest = data::open(&args.manifest)?;
    let modality = model.manifest().modality;
    data::verify(&manifest, modality, &[Task::Segment, Task::Classify])?;
    let (sample, what) = match &args.show {
        Some(path) => (shown(path, &model)?, format!("{} under every change.", path.display())),
        None => (stress::phantom(modality), "A phantom, made up by thorax-phantom, under every change.".into()),
    };
    let _lock = take_folder(&args.out)?;
    let identity = Identity {
        bundle_sha256: hexadecimal(&file_sha256(&args.bundle)?),
        manifest_sha256: manifest.sha256(),
        split: args.split,
        pictures: args.pictures.map(|pictures| pictures as usize),
        seed: args.seed,
        program: concat!("thorax-train ", env!("CARGO_PKG_VERSION")).into(),
    };
    let settings = Settings { split: args.split, pictures: identity.pictures, seed: args.seed, trials };
    let kept = Kept::open(&args.out, &identity, args.force)?;
    let (stress, read) = measure(&manifest, &model, &settings, Some(&kept)).with_context(|| {
        format!("the changes that were read are kept in {}; the same command goes on", args.out.display())
    })?;
    let looks = (args.split == Split::Test).then(|| data::looks::told(&args.manifest, modality)).transpose()?;
    if looks.is_some() && read > 0 {
        data::looks::look(&args.manifest, "stress", modality, &model.title())?;
    }
    let curves = stress.curves()?;
    let [html, markdown] = stress.page(looks.as_deref(), &curves, &sample, &what)?;
    let files = [
        ("stress.md", markdown.into_bytes()),
        ("stress.html", html.into_bytes()),
        ("stress.csv", stress.to_csv()?),
        ("stress.json", stress.to_json()?),
    ];
    let files = files.map(|(name, bytes)| (PathBuf::from(name), bytes)).into_iter();
    let drawn = curves.iter().map(|curve| (Path::new("curves").join(curve.file()), curve.svg.clone().into_bytes()));
    for (name, bytes) in files.chain(drawn) {
        write_atomically(&args.out.join(name), |out| out.write_all(&bytes))?;
    }
    println!("{}", stress.to_markdown());
    println!("{}: stress.md, stress.html, stress.csv, stress.json; research use only", args.out.display());
    Ok(())
}

/// A picture as another program would show it, and save it in eight bits.
fn shown(path: &Path, model: &JudgedModel) -> anyhow::Result<Plane<u8>> {
    let picture = Picture::read(path, false).context("--show")?;
    Ok(match picture.frame.pixels {
        Pixels::Eight(picture) => picture,
        deeper => window(&deeper, &model.manifest().classifier.graph.preprocess.window),
    })
}
