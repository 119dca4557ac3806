//! `thorax-train train instance`: its words, and what they ask for.

use std::num::NonZeroUsize;

use candle_core::Device;
use clap::{Args as _, FromArgMatches as _};
use thorax_nets::{
    Backbone, Layout,
    instance::{
        InstanceConfig, blitznet,
        blitznet::BlitzNetConfig,
        mask_rcnn::{MaskRcnnConfig, PUBLISHED_ANCHOR},
        solo,
        solo::SoloConfig,
        srgnet::SrgNetConfig,
        yolact,
        yolact::YolactConfig,
    },
    source::{Source, SourceKind, WeightsArgs},
};
use thorax_nn::{device::DeviceArgs, training::TrainingArgs};
use thorax_shared::preprocess::spec::Normalise;

use super::train::{Beside, BesideArgs, CommonArgs, check_length};
use crate::{
    data::{self, Task, fingerprint::fingerprint, recipe::preprocess_spec},
    files::start_run,
    instance::{
        run::{InstanceRunConfig, THRESHOLD},
        train::{Beginning, train},
    },
    memory,
    segmentation::augment::{AugmentationConfig, AugmentationName, Flips},
    sweep::grid::{DICE, RunOptions},
};

/// Sides of the pictures where a CPU trains, if none is asked for.
const SIDE_ON_A_CPU: u32 = 256;

/// A net's name on the command line.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
enum NetName {
    /// He et al. 2017
    MaskRcnn,
    /// Bolya et al. 2019
    Yolact,
    /// Wang et al. 2020, the first version
    Solo,
    /// Dvornik et al. 2017; scored by its semantic map
    Blitznet,
    /// A reconstruction from the abstract of Wu et al. 2021
    Srgnet,
}

impl NetName {
    /// The side of the pictures that the published net was trained on.
    fn published_side(self) -> u32 {
        let side = match self {
            Self::MaskRcnn | Self::Srgnet => 800,
            Self::Solo => solo::SIDE,
            Self::Yolact => yolact::SIDE,
            Self::Blitznet => blitznet::SIDE,
        };
        side as u32
    }

    /// Whether stem, first stage and batch norms of a published backbone stay what they are, as whoever published the net has it.
    fn published_frozen(self) -> bool {
        matches!(self, Self::MaskRcnn | Self::Solo | Self::Srgnet)
    }
}

/// Options of `train instance`.
#[derive(Debug, clap::Args)]
pub struct InstanceArgs {
    #[command(flatten)]
    common: CommonArgs,
    /// Which net
    #[arg(long, value_enum, default_value_t = NetName::MaskRcnn)]
    net: NetName,
    #[command(flatten)]
    weights: WeightsArgs,
    /// Keep the backbone's stem, first stage and batch norms as they are [default: with published weights, where the published net does:
    /// mask-rcnn, solo, srgnet; with random ones, false]
    #[arg(long, value_name = "BOOL")]
    frozen: Option<bool>,
    /// Regions of a picture that a step of mask-rcnn looks at [default: 512, on a CPU 64]
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u16).range(4..=4096))]
    regions: Option<u16>,
    /// Side of the smallest anchors of mask-rcnn, in pixels; each further map's are twice as large. Those of the published net are for pictures of
    /// 800 pixels: where all are smaller, lesions are too [default: 32]
    #[arg(long, value_name = "PIXELS", value_parser = clap::value_parser!(u16).range(2..=256))]
    anchor: Option<u16>,
    /// Width and height of the net's input, a multiple of 32 but with yolact and blitznet [default: that of the published net, on a CPU 256]
    #[arg(long, value_parser = clap::value_parser!(u32).range(64..=1344))]
    side: Option<u32>,
    /// A connected part of the infection mask with fewer pixels than this, at the net's size, is no lesion
    #[arg(long, value_name = "PIXELS", default_value_t = 10, value_parser = clap::value_parser!(u32).range(1..=100_000))]
    smallest_lesion: u32,
    /// Passes over the training pictures
    #[arg(long, default_value_t = 12)]
    epochs: usize,
    /// Stop after so many epochs for now; without this the same command goes on to the end
    #[arg(long, value_name = "EPOCHS")]
    stop_after: Option<usize>,
    /// Pictures a step, or all training pictures where there are fewer
    #[arg(long, default_value_t = 2)]
    batch: usize,
    /// Highest learning rate of the schedule
    #[arg(long, default_value_t = 1e-4)]
    learning_rate: f64,
    /// How pictures are varied
    #[arg(long, value_enum, default_value_t = AugmentationName::Standard)]
    augmentation: AugmentationName,
    /// Mirror images [default: both with ct, horizontal with xray, none with --augmentation none]
    #[arg(long, value_enum)]
    flips: Option<Flips>,
    #[command(flatten)]
    beside: BesideArgs,
    #[command(flatten)]
    training: TrainingArgs,
    #[command(flatten)]
    device: DeviceArgs,
}

impl InstanceArgs {
    /// The number of threads that was asked for.
    pub(super) fn threads(&self) -> Option<NonZeroUsize> {
        self.device.threads()
    }

    /// Sees that the options make sense together, without a look at data, weights or devices.
    fn check(&self) -> anyhow::Result<()> {
        self.training.config()?;
        check_length(self.epochs, self.stop_after, self.batch, self.learning_rate)?;
        let mask_rcnn = self.net == NetName::MaskRcnn;
        anyhow::ensure!(self.regions.is_none() || mask_rcnn, "--regions needs --net mask-rcnn");
        anyhow::ensure!(
            self.anchor.is_none() || mask_rcnn,
            "--anchor needs --net mask-rcnn: the other nets scale with --side"
        );
        let multiple = self.config(false, true).side_multiple();
        if let Some(side) = self.side {
            anyhow::ensure!(
                (side as usize).is_multiple_of(multiple),
                "--side {side}: the net halves its input, so give a multiple of {multiple}"
            );
        }
        Ok(())
    }

    /// The net.
    fn config(&self, frozen: bool, on_cpu: bool) -> InstanceConfig {
        let regions = self.regions.map_or(if on_cpu { 64 } else { 512 }, usize::from);
        match self.net {
            NetName::MaskRcnn => {
                let anchor = self.anchor.map_or(PUBLISHED_ANCHOR, usize::from);
                InstanceConfig::MaskRcnn(MaskRcnnConfig { classes: 2, frozen, regions, anchor })
            }
            NetName::Yolact => InstanceConfig::Yolact(YolactConfig { frozen, ..YolactConfig::default() }),
            NetName::Solo => InstanceConfig::Solo(SoloConfig { classes: 1, frozen }),
            NetName::Blitznet => InstanceConfig::Blitznet(BlitzNetConfig { classes: 2, frozen }),
            NetName::Srgnet => InstanceConfig::Srgnet(SrgNetConfig { frozen }),
        }
    }
}

/// Sees that weights have the names that the nets' backbones have, and gives what their pictures are normalised with.
fn normalisation(source: &Source) -> anyhow::Result<Normalise> {
    let weights = source.weights(Backbone::ResNet50, &Device::Cpu)?;
    anyhow::ensure!(
        weights.layout() == Layout::Timm,
        "{}: weights of {}, whose ResNet50 has its strides and biases elsewhere; give timm's or torchvision's, such as --weights hub",
        source.origin,
        weights.layout()
    );
    let (mean, std) = weights.normalisation();
    Ok(Normalise { mean: mean.to_vec(), std: std.to_vec() })
}

/// Sees that a net can be trained in the memory that there is: its weights, their gradient, two moving means of it, and the maps of stem and
/// first stage alone (some 150 values a pixel of the picture), which is far from all.
fn fits(net: InstanceConfig, batch: usize, side: u32) -> anyhow::Result<()> {
    let needed = 16 * net.parameters() as u64 + 600 * batch as u64 * u64::from(side).pow(2);
    memory::ensure_available(needed, &format!("{batch} pictures of {side} x {side} at a time"), "--side or --batch")
}

/// What a sweep has to know to start this training.
pub(super) fn run_options() -> RunOptions {
    let check = |matches: &clap::ArgMatches| {
        let arguments = InstanceArgs::from_arg_matches(matches)?;
        arguments.check()?;
        Ok(arguments.epochs)
    };
    let command = InstanceArgs::augment_args(clap::Command::new("instance"));
    RunOptions {
        name: "instance",
        words: &["train", "instance"],
        score: DICE,
        last_file: THRESHOLD,
        command,
        same_for_all: &[],
        check,
    }
}

/// Carries out `train instance`.
pub(super) fn run(args: &InstanceArgs) -> anyhow::Result<()> {
    let common = &args.common;
    let devices = args.device.open()?;
    args.check()?;
    let training = args.training.config()?;
    training.precision.check(&devices)?;
    let on_cpu = devices.iter().any(Device::is_cpu);
    let source = args.weights.resolve(Backbone::ResNet50)?;
    let normalise = normalisation(&source)?;
    let published = matches!(source.kind, SourceKind::File(_));
    let frozen = args.frozen.unwrap_or(published && args.net.published_frozen());
    let side = args.side.unwrap_or(if on_cpu { SIDE_ON_A_CPU } else { args.net.published_side() });
    let mut augmentation = match args.augmentation {
        AugmentationName::Standard => AugmentationConfig::of(common.modality),
        AugmentationName::None => AugmentationConfig::none(),
    };
    augmentation.flips = args.flips.unwrap_or(augmentation.flips);
    let net = args.config(frozen, on_cpu);
    if on_cpu {
        fits(net, args.batch, side)?;
    }
    let manifest = data::open(&common.manifest)?;
    let beside = args.beside.look_up(&manifest, common)?;
    beside.ensure_fit(&manifest, common.modality, side)?;
    let Beside { healthy, healthy_sha256, start_sha256, copies } = beside;
    let tasks: &[Task] = if healthy > 0 { &[Task::Segment, Task::Classify] } else { &[Task::Segment] };
    data::verify(&manifest, common.modality, tasks)?;
    let config = InstanceRunConfig {
        modality: common.modality,
        instance_net: net,
        backbone: [source.origin.clone(), source.sha256.clone()],
        epochs: args.epochs,
        batch: args.batch,
        peak_learning_rate: args.learning_rate,
        seed: common.seed,
        preprocess: preprocess_spec(common.modality, side, normalise),
        manifest_sha256: fingerprint(&manifest, common.modality, Task::Segment)?,
        healthy,
        healthy_sha256,
        start_sha256,
        copies,
        smallest_lesion: args.smallest_lesion as usize,
        augmentation,
        training,
    };
    let _lock = start_run(&common.out, "--out", &config)?;
    eprintln!("{}, {} parameters", config.instance_net.describe(), config.instance_net.parameters());
    let beginning = Beginning { backbone: &source, start: args.beside.start.as_deref() };
    train(&manifest, &config, beginning, &common.out, &devices, args.training.loaders(), args.stop_after)
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use clap::Parser;

    use super::*;

    #[derive(Parser)]
    struct Command {
        #[command(flatten)]
        instance: InstanceArgs,
    }

    #[test]
    fn pictures_that_no_memory_holds_are_refused() {
        let net = InstanceConfig::Yolact(YolactConfig::default());
        assert!(fits(net, 1, 64).is_ok());
        let told = fits(net, 4096, 1344).unwrap_err().to_string();
        assert!(told.contains("MiB are free; give a smaller --side or --batch"), "{told}");
    }

    #[test]
    fn options_that_make_no_sense_together_are_refused() {
        let check = |words: &str| {
            let all = format!("command --manifest m --modality ct --out o --weights random:1 {words}");
            let command = Command::try_parse_from(all.split_whitespace()).map_err(|error| error.to_string())?;
            command.instance.check().map_err(|error| format!("{error:#}"))
        };
        for words in
            ["", "--net yolact --side 550", "--net mask-rcnn --regions 128 --anchor 20 --side 512", "--frozen false"]
        {
            assert_eq!(check(words), Ok(()), "{words}");
        }
        for (words, told) in [
            ("--net yolact --regions 12", "--regions needs --net mask-rcnn"),
            ("--net solo --anchor 8", "--anchor needs --net mask-rcnn"),
            ("--side 250", "multiple of 32"),
            ("--batch 0", "above 0"),
            ("--learning-rate nan", "above 0"),
            ("--smallest-lesion 0", "--smallest-lesion"),
            ("--epochs 1000000", "more than 100000"),
        ] {
            let error = check(words).unwrap_err();
            assert!(error.contains(told), "{words}: {error}");
        }
    }
}
