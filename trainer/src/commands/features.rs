//! `thorax-train features`: the features that a backbone sees, into a store.

use std::{num::NonZeroUsize, path::PathBuf};

use anyhow::Context;
use thorax_nets::{
    Backbone,
    source::{SideArgs, WeightsArgs},
};
use thorax_nn::device::DeviceArgs;
use thorax_shared::modality::Modality;

use crate::{
    backbone::run::BackboneConfig,
    changes::Copies,
    data,
    features::{Dtype, FeatureNet, LoadingArgs, Request, State},
    segmentation::lungs::{LungCropArgs, TrunkArgs},
};

/// Options of `features`.
#[derive(Debug, clap::Args)]
pub struct FeaturesArgs {
    /// Manifest written by `thorax-train data import`
    #[arg(long)]
    manifest: PathBuf,
    /// Kind of picture
    #[arg(long)]
    modality: Modality,
    /// The net; `thorax-train backbones` lists them
    #[arg(long, value_name = "NAME", required_unless_present = "segmenter", conflicts_with = "segmenter")]
    backbone: Option<Backbone>,
    #[command(flatten)]
    weights: Option<WeightsArgs>,
    #[command(flatten)]
    side: SideArgs,
    #[command(flatten)]
    lungs: LungCropArgs,
    #[command(flatten)]
    trunk: TrunkArgs,
    #[command(flatten)]
    copies: Copies,
    /// The store; a run that was stopped goes on
    #[arg(long, value_name = "STORE")]
    out: PathBuf,
    /// Type of the stored numbers
    #[arg(long, value_enum, default_value_t = Dtype::F16)]
    dtype: Dtype,
    /// Pictures that are computed together, and written together
    #[arg(long, value_name = "N", default_value_t = 16, value_parser = clap::value_parser!(u16).range(1..=4096))]
    batch: u16,
    #[command(flatten)]
    loading: LoadingArgs,
    #[command(flatten)]
    device: DeviceArgs,
}

impl FeaturesArgs {
    /// The number of threads that was asked for.
    pub fn threads(&self) -> Option<NonZeroUsize> {
        self.device.threads()
    }
}

/// Carries out `features`.
///
/// # Errors
/// Whatever went wrong, with the file it went wrong with.
pub fn run(args: &FeaturesArgs) -> anyhow::Result<()> {
    let device = args.device.open_one()?;
    let manifest = data::open(&args.manifest)?;
    let lungs = args.lungs.open(args.modality)?;
    let trunk = args.trunk.open(args.modality)?;
    let net = match (&trunk, args.backbone) {
        (Some(segmenter), _) => FeatureNet::of_segmenter(&manifest, segmenter)?,
        (None, Some(backbone)) => {
            let weights = args.weights.as_ref().context("give --weights SOURCE, those of the backbone")?;
            let source = weights.resolve(backbone)?;
            let side = BackboneConfig::side(&source, backbone, args.side);
            FeatureNet::of_backbone(&manifest, args.modality, (backbone, side), source, lungs.as_ref(), &device)?
        }
        (None, None) => anyhow::bail!("give --backbone NAME or --segmenter RUN"),
    };
    let request = Request {
        manifest: &manifest,
        modality: args.modality,
        net: &net,
        lungs: lungs.as_ref().map(|lungs| &lungs.finder),
        copies: args.copies,
        dtype: args.dtype,
        unit: usize::from(args.batch),
        loading: args.loading,
        device: &device,
    };
    let store = request.store(&args.out)?;
    let [c, h, w] = store.shape();
    let rows = store.rows();
    let refused = (0..rows).filter(|&row| store.state(row) != State::Extracted).count();
    println!(
        "{}: {rows} pictures, {refused} of which failed the quality check; {c} x {h} x {w} {} features each, {} weights of {}",
        args.out.display(),
        args.dtype,
        store.contents().backbone,
        store.contents().weights
    );
    Ok(())
}
