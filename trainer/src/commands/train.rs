//! `thorax-train train`: from a manifest to trained weights; each run is a folder, each run resumes where it stopped.

use std::{
    collections::{BTreeMap, BTreeSet},
    num::NonZeroUsize,
    path::PathBuf,
};

use anyhow::Context;
use candle_core::Device;
use clap::{Args as _, FromArgMatches as _};
use thorax_files::{file_sha256, hexadecimal};
use thorax_nets::{
    Backbone,
    architecture::Parameter,
    segmentation::{
        NetConfig,
        attention_unet::AttentionUnetConfig,
        efficientnet_unet::{EfficientNetUnetConfig, SIDE_MULTIPLE},
        modified_attention_unet::ModifiedAttentionUnetConfig,
        unet::UnetConfig,
        unet_plus_plus::UnetPlusPlusConfig,
    },
    source::{SideArgs, Source, WeightsArgs},
};
use thorax_nn::{device::DeviceArgs, losses::LossArgs, training::TrainingArgs};
use thorax_shared::{mask, modality::Modality, preprocess::spec::Normalise};

use super::{
    probe,
    teachers::TeacherArgs,
    train_backbone::{self, TrainBackboneArgs},
    train_instance::{self, InstanceArgs},
};
use crate::{
    backbone::{run::BackboneConfig, teachers::Ensembles},
    changes::Copies,
    data::{
        self, Manifest, Record, Split, Task,
        fingerprint::{fingerprint, healthy_fingerprint, taught_fingerprint},
        recipe::preprocess_spec,
    },
    features::{self, Dtype, FeatureNet, FeatureRow, FeatureStore, FeatureTable, LoadingArgs, Remade, Request},
    files::start_run,
    heads::{self, RefuseArgs, RefusedPictures, Said, TaughtHeads},
    memory,
    segmentation::{
        augment::{AugmentationConfig, AugmentationName, Flips},
        boxes::Boxes,
        lungs::{LesionsArgs, LungCropArgs, LungFinder, TrunkArgs},
        paper::default_of_paper,
        pictures::Extent,
        run::{SegmentConfig, THRESHOLD, TaughtConfig, record_stages},
        teachers::MaskTeachers,
        train::{Beginning, train},
    },
    sweep::grid::{DICE, RunOptions},
};

/// `thorax-train train ...`
#[derive(Debug, clap::Subcommand)]
pub enum TrainCommand {
    /// An ensemble of bootstrapped linear heads on a frozen backbone's features, its calibration and thresholds
    Classify(Box<ClassifyArgs>),
    /// A backbone: its weights learn from the labels and from changed copies of the pictures, and see what the disease changes rather than
    /// how a file was stored
    Backbone(Box<TrainBackboneArgs>),
    /// A net for infection, left and right lung
    Segment(Box<SegmentArgs>),
    /// A net for single lesions, each with its box, its score and its mask
    Instance(Box<InstanceArgs>),
}

impl TrainCommand {
    /// The number of threads that was asked for.
    pub fn threads(&self) -> Option<NonZeroUsize> {
        match self {
            Self::Classify(args) => args.device.threads(),
            Self::Backbone(args) => args.threads(),
            Self::Segment(args) => args.device.threads(),
            Self::Instance(args) => args.threads(),
        }
    }
}

/// What both kinds of run ask.
#[derive(Debug, clap::Args)]
pub struct CommonArgs {
    /// Manifest written by `thorax-train data import`
    #[arg(long)]
    pub(super) manifest: PathBuf,
    /// Kind of picture
    #[arg(long)]
    pub(super) modality: Modality,
    /// The run's folder; a run that was stopped goes on
    #[arg(long)]
    pub(super) out: PathBuf,
    /// Seed of every random choice
    #[arg(long, default_value_t = 1)]
    pub(super) seed: u64,
}

/// What trainings that learn from masks may have beside them.
#[derive(Debug, clap::Args)]
pub struct BesideArgs {
    /// Pictures of class `normal` (or healthy, no finding, CT-0) that each epoch draws as pictures without infection, so that healthy
    /// lungs are learnt too
    #[arg(long, default_value_t = 0, value_parser = clap::value_parser!(u32).range(..=1_000_000))]
    healthy: u32,
    #[command(flatten)]
    copies: Copies,
    /// Weights to start from, such as another run's best.safetensors (of the same net)
    #[arg(long, value_name = "FILE")]
    pub(super) start: Option<PathBuf>,
}

/// The same, looked up.
pub(super) struct Beside {
    pub(super) healthy: usize,
    pub(super) healthy_sha256: Option<String>,
    pub(super) start_sha256: Option<String>,
    pub(super) copies: Option<Copies>,
}

impl Beside {
    /// Sees that there is memory for the pictures that a run holds at this side.
    ///
    /// # Errors
    /// Less than that, with what helps.
    pub(super) fn ensure_fit(&self, manifest: &data::Manifest, modality: Modality, side: u32) -> anyhow::Result<()> {
        let (healthy, copies) = (self.healthy > 0, self.copies.map_or(0, |copies| copies.count));
        Extent { modality, side: side as usize, healthy, copies }.ensure_fit(manifest)
    }
}

impl BesideArgs {
    /// What a run's configuration keeps of it.
    ///
    /// # Errors
    /// More healthy pictures than there are; files that cannot be read.
    pub(super) fn look_up(&self, manifest: &data::Manifest, common: &CommonArgs) -> anyhow::Result<Beside> {
        let normal = manifest.healthy(common.modality, Split::Train).count();
        anyhow::ensure!(
            self.healthy as usize <= normal,
            "--healthy {}: the training split of {} has {normal} {} pictures of class normal (or healthy, no finding, \
             CT-0); give at most that many",
            self.healthy,
            common.manifest.display(),
            common.modality
        );
        let healthy = self.healthy > 0;
        let start = self.start.as_deref().map(|path| anyhow::Ok(hexadecimal(&file_sha256(path)?)));
        Ok(Beside {
            healthy: self.healthy as usize,
            healthy_sha256: healthy.then(|| healthy_fingerprint(manifest, common.modality)).transpose()?,
            start_sha256: start.transpose()?,
            copies: (self.copies.count > 0).then_some(self.copies),
        })
    }
}

/// More epochs are taken for a mistake.
const MOST_EPOCHS: usize = 100_000;
/// More pictures a step are taken for a mistake.
const MOST_BATCH: usize = 4096;

/// Sees that a training's length makes sense.
///
/// # Errors
/// Nothing to do, more than anybody means, a learning rate that is none.
pub(super) fn check_length(
    epochs: usize,
    stop_after: Option<usize>,
    batch: usize,
    learning_rate: f64,
) -> anyhow::Result<()> {
    anyhow::ensure!(
        batch > 0 && epochs > 0 && stop_after != Some(0),
        "--batch, --epochs and --stop-after must be above 0"
    );
    for (option, value, most) in [("--epochs", epochs, MOST_EPOCHS), ("--batch", batch, MOST_BATCH)] {
        anyhow::ensure!(value <= most, "{option} {value}: more than {most} are taken for a mistake; give fewer");
    }
    anyhow::ensure!(
        learning_rate.is_finite() && learning_rate > 0.0,
        "--learning-rate {learning_rate} must be a number above 0"
    );
    Ok(())
}

/// Options of `train classify`.
#[derive(Debug, clap::Args)]
pub struct ClassifyArgs {
    #[command(flatten)]
    common: CommonArgs,
    /// The net whose features are learnt from; `thorax-train backbones` lists them
    #[arg(long, value_name = "NAME", default_value_t = Backbone::EfficientNetLite(0), conflicts_with = "segmenter")]
    backbone: Backbone,
    #[command(flatten)]
    weights: Option<WeightsArgs>,
    #[command(flatten)]
    side: SideArgs,
    #[command(flatten)]
    lungs: LungCropArgs,
    #[command(flatten)]
    trunk: TrunkArgs,
    #[command(flatten)]
    lesions: LesionsArgs,
    #[command(flatten)]
    refuse: RefuseArgs,
    #[command(flatten)]
    copies: Copies,
    /// Features that `thorax-train features` extracted; without it, they are extracted into the run's folder. --weights (or --segmenter) is then asked
    /// for --refuse and --out-of-bag, and --weights for --taught, alone; --lungs, of features of the lungs, for --refuse
    #[arg(long, value_name = "STORE", conflicts_with_all = ["backbone", "side", "lungs_alone", "copies"])]
    features: Option<PathBuf>,
    /// Of the changed copies in --features, learn from so many of each picture [default: all]
    #[arg(long, value_name = "N", requires = "features")]
    at_most_copies: Option<u16>,
    #[command(flatten)]
    loading: LoadingArgs,
    /// The heads that --weights of a student have behind them (thorax-train distill) are the ensemble; none are fitted. With what it was distilled
    /// from as --teacher in its place, heads are fitted behind the student as it is in the end, and keep more of what those say
    #[arg(long, conflicts_with_all = ["members", "balance", "steadiness", "segmenter", "teacher"])]
    taught: bool,
    // Its heads learn from these in place of the labels.
    #[command(flatten)]
    teachers: TeacherArgs,
    /// Heads in the ensemble
    #[arg(long, default_value_t = 32, value_parser = clap::value_parser!(u16).range(1..=1000), conflicts_with = "teacher")]
    members: u16,
    /// Choose penalty, calibration and thresholds on training pictures as well, by their out-of-bag predictions: those of the heads that did
    /// not draw the picture's patient
    ///
    /// For small validation splits, and 20 heads or more. The features must not have learnt from the labels: not for weights of `train
    /// backbone` or `distill`, nor for a segmenter that was shown healthy pictures, boxes or what others draw.
    #[arg(long, conflicts_with_all = ["taught", "teacher"])]
    out_of_bag: bool,
    /// How far the sources and classes count alike however many pictures they have: 0 not at all, 1 wholly
    #[arg(long, value_name = "SHARE", default_value_t = 0.0, value_parser = share)]
    balance: f32,
    /// How much more than large weights it is punished when changed copies of a picture (--copies) get other logits
    #[arg(long, value_name = "FACTOR", default_value_t = heads::STEADINESS, value_parser = factor::<f32>)]
    steadiness: f32,
    /// Do not ask what else than the disease tells the classes apart (`thorax-train probe`), which takes minutes; a bundle's card then says that
    /// nobody asked
    #[arg(long)]
    no_probe: bool,
    #[command(flatten)]
    device: DeviceArgs,
}

/// Options of `train segment`.
#[derive(Debug, clap::Args)]
#[command(mut_args(default_of_paper))]
pub struct SegmentArgs {
    #[command(flatten)]
    common: CommonArgs,
    /// Train as the paper's best net was trained, where it says how: --net modified-attention-unet --blocks 6 --epochs 500 --batch 64
    /// --learning-rate 1e-5 --schedule cosine --boundary rebalance. Each of these options goes before it where it is given
    #[arg(long)]
    paper: bool,
    /// Which net
    #[arg(long, value_enum, default_value_t = NetName::AttentionUnet)]
    net: NetName,
    /// Encoder blocks, each of which halves the picture; not with efficientnet [default: 4]
    #[arg(long, value_parser = clap::value_parser!(u8).range(1..=8))]
    blocks: Option<u8>,
    /// Channels of the first block
    #[arg(long, default_value_t = 16, value_parser = clap::value_parser!(u16).range(1..=512))]
    base_channels: u16,
    /// Probability with which the modified attention U-Net drops a value in its encoder [default: 0.1]
    #[arg(long, value_name = "PROBABILITY")]
    dropout: Option<f64>,
    /// The frozen encoder of --net efficientnet [default: efficientnet-lite0]
    #[arg(long, value_name = "NAME")]
    backbone: Option<Backbone>,
    #[command(flatten)]
    weights: Option<WeightsArgs>,
    /// Width and height of the net's input, a multiple of 2 to the power of the blocks
    #[arg(long, default_value_t = 192, value_parser = clap::value_parser!(u32).range(16..=1024))]
    side: u32,
    /// Passes over the training pictures
    #[arg(long, default_value_t = 12)]
    epochs: usize,
    /// Stop after so many epochs for now; without this the same command goes on to the end
    #[arg(long, value_name = "EPOCHS")]
    stop_after: Option<usize>,
    /// Pictures a step, or all training pictures where there are fewer
    #[arg(long, default_value_t = 8)]
    batch: usize,
    /// Highest learning rate of the schedule
    #[arg(long, default_value_t = 2e-3)]
    learning_rate: f64,
    #[command(flatten)]
    loss: LossArgs,
    /// How pictures are varied
    #[arg(long, value_enum, default_value_t = AugmentationName::Standard)]
    augmentation: AugmentationName,
    /// Mirror images [default: both with ct, horizontal with xray, none with --augmentation none]
    #[arg(long, value_enum)]
    flips: Option<Flips>,
    #[command(flatten)]
    beside: BesideArgs,
    /// Positive pictures with --boxes that each epoch draws beside those with masks
    #[arg(long, default_value_t = 0, requires = "boxes", value_parser = clap::value_parser!(u32).range(..=1_000_000))]
    boxed: u32,
    /// A pixel is infected from this probability on, in steps of 0.05 [default: that of the best validation Dice]; for masks that are to say
    /// how much is infected, where few validation pictures have masks
    #[arg(long, value_name = "PROBABILITY", value_parser = mask_threshold)]
    mask_threshold: Option<f32>,
    /// Boxes around lesions: a table path,x0,y0,x1,y1, paths as in the manifest, corners in pixels; infected is what of them is lung
    #[arg(long, value_name = "CSV", requires_all = ["boxed", "boxes_lungs"])]
    boxes: Option<PathBuf>,
    /// Finished run of `train segment` that finds the lungs in pictures with --boxes; of several, their mean
    #[arg(long, value_name = "RUN", requires = "boxes")]
    boxes_lungs: Vec<PathBuf>,
    /// Learn what this draws on pictures without masks, probability by probability, beside the drawn masks: a finished run of `train
    /// segment` of any net and side, or the segmenter of a bundle; of several, the mean
    #[arg(long, value_name = "RUN", requires = "taught")]
    teacher: Vec<PathBuf>,
    /// Pictures with the masks of --teacher that each epoch draws from all of the training split
    #[arg(long, value_name = "N", default_value_t = 0, requires = "teacher", value_parser = clap::value_parser!(u32).range(..=1_000_000))]
    taught: u32,
    #[command(flatten)]
    training: TrainingArgs,
    #[command(flatten)]
    device: DeviceArgs,
}

/// Carries out a command.
///
/// # Errors
/// Whatever went wrong, with the file it went wrong with.
pub fn run(command: &TrainCommand) -> anyhow::Result<()> {
    match command {
        TrainCommand::Classify(args) => classify(args),
        TrainCommand::Backbone(args) => train_backbone::run(args),
        TrainCommand::Segment(args) => segment(args),
        TrainCommand::Instance(args) => train_instance::run(args),
    }
}

impl ClassifyArgs {
    /// The file that `--weights` names, and the heads behind the backbone in it.
    fn taught_heads(&self) -> anyhow::Result<(Source, TaughtHeads)> {
        let weights = self
            .weights
            .as_ref()
            .context("--taught: the heads come with --weights FILE, those of a student; give it")?;
        let source = weights.resolve(self.backbone)?;
        let heads = TaughtHeads::open(&source)?;
        Ok((source, heads))
    }
}

/// `train segment`.
fn segment(args: &SegmentArgs) -> anyhow::Result<()> {
    let common = &args.common;
    let devices = args.device.open()?;
    args.check()?;
    let training = args.training.config()?;
    training.precision.check(&devices)?;
    let encoder = args.encoder()?;
    let (net, normalise) = args.net(encoder.as_ref())?;
    let mut augmentation = match args.augmentation {
        AugmentationName::Standard => AugmentationConfig::of(common.modality),
        AugmentationName::None => AugmentationConfig::none(),
    };
    augmentation.flips = args.flips.unwrap_or(augmentation.flips);
    if devices.iter().any(Device::is_cpu) {
        fits(net, args)?;
    }
    let manifest = data::open(&common.manifest)?;
    let beside = args.beside.look_up(&manifest, common)?;
    let boxed = args.boxed(&manifest)?;
    let teachers = args.teachers(&manifest)?;
    beside.ensure_fit(&manifest, common.modality, args.side)?;
    let others = beside.healthy > 0 || boxed.is_some() || teachers.is_some();
    let tasks: &[Task] = if others { &[Task::Segment, Task::Classify] } else { &[Task::Segment] };
    data::verify(&manifest, common.modality, tasks)?;
    let config = SegmentConfig {
        modality: common.modality,
        net,
        encoder: encoder.as_ref().map(|source| [source.origin.clone(), source.sha256.clone()]),
        epochs: args.epochs,
        batch: args.batch,
        peak_learning_rate: args.learning_rate,
        seed: common.seed,
        preprocess: preprocess_spec(common.modality, args.side, normalise),
        manifest_sha256: fingerprint(&manifest, common.modality, Task::Segment)?,
        healthy_sha256: beside.healthy_sha256,
        healthy: beside.healthy,
        boxed: args.boxed as usize,
        boxes_sha256: boxed.as_ref().map(|(table, _, finder)| [table.clone(), finder.sha256().to_owned()]),
        taught: teachers.as_ref().map(|(taught, _)| taught.clone()),
        start_sha256: beside.start_sha256,
        loss: args.loss.config()?,
        copies: beside.copies,
        augmentation,
        training,
    };
    let _lock = start_run(&common.out, "--out", &config)?;
    if let Some(weights) = &args.beside.start {
        record_stages(&common.out, weights)?;
    }
    let beginning = Beginning {
        start: args.beside.start.as_deref(),
        encoder: encoder.as_ref(),
        boxed: boxed.as_ref().map(|(_, boxes, finder)| (boxes, finder)),
        teachers: teachers.as_ref().map(|(_, teachers)| teachers),
        threshold: args.mask_threshold,
    };
    train(&manifest, &config, beginning, &common.out, &devices, args.training.loaders(), args.stop_after)
}

fn mask_threshold(text: &str) -> Result<f32, String> {
    match text.parse() {
        Ok(probability) if (0.05..=0.95).contains(&probability) => Ok(probability),
        _ => Err("not a probability from 0.05 to 0.95".into()),
    }
}

/// A segmentation net's name on the command line.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
enum NetName {
    /// Ronneberger et al. 2015
    Unet,
    /// Oktay et al. 2018
    AttentionUnet,
    /// The paper's own
    ModifiedAttentionUnet,
    /// Zhou et al. 2018, with deep supervision
    UnetPlusPlus,
    /// A frozen EfficientNet (--backbone, --weights) with a trained decoder
    Efficientnet,
}

/// The trainings that a sweep can start.
pub fn run_options() -> Vec<RunOptions> {
    let check = |matches: &clap::ArgMatches| {
        let arguments = SegmentArgs::from_arg_matches(matches)?;
        arguments.check()?;
        Ok(arguments.epochs)
    };
    let command = SegmentArgs::augment_args(clap::Command::new("segment"));
    let segment = RunOptions {
        name: "segment",
        words: &["train", "segment"],
        score: DICE,
        last_file: THRESHOLD,
        command,
        same_for_all: &[],
        check,
    };
    let [backbone, distill] = train_backbone::run_options();
    vec![segment, train_instance::run_options(), backbone, distill]
}

impl SegmentArgs {
    /// The table of boxes with its hash, and what finds the lungs, where pictures with boxes are drawn.
    fn boxed(&self, manifest: &data::Manifest) -> anyhow::Result<Option<(String, Boxes, LungFinder)>> {
        let Some(table) = self.boxes.as_deref().filter(|_| self.boxed > 0) else { return Ok(None) };
        let finder = LungFinder::open(&self.boxes_lungs, self.common.modality)?;
        anyhow::ensure!(
            !finder.learnt_from_other(manifest)?,
            "--boxes-lungs: the run learnt from other masks or splits than this manifest's; give one that was trained with it"
        );
        let boxes = Boxes::open(table)?;
        anyhow::ensure!(
            boxes.are_whole(),
            "{}: boxes of which lesions take a share; these are for train backbone --lesions, a segmenter learns from those without a share",
            table.display()
        );
        let pictures = boxes.pictures(manifest, &finder).count();
        anyhow::ensure!(
            pictures > 0,
            "{}: no box of a positive {} picture in the training split of {}; its paths are those of the manifest",
            table.display(),
            self.common.modality,
            self.common.manifest.display()
        );
        Ok(Some((hexadecimal(&file_sha256(table)?), boxes, finder)))
    }

    /// What is learnt from teachers, and these.
    fn teachers(&self, manifest: &data::Manifest) -> anyhow::Result<Option<(TaughtConfig, MaskTeachers)>> {
        if self.taught == 0 {
            return Ok(None);
        }
        let modality = self.common.modality;
        let teachers = MaskTeachers::open(&self.teacher, modality)?;
        if let Some(stranger) = teachers.stranger(manifest)? {
            anyhow::bail!(
                "--teacher: {stranger} learnt from other masks or splits than this manifest's, and may know patients of its validation or \
                 test split; give one that was trained with it"
            );
        }
        anyhow::ensure!(
            manifest.taught(modality).next().is_some(),
            "{}: no {modality} picture of the training split to learn from a teacher; leave out --teacher and --taught",
            self.common.manifest.display()
        );
        let taught = TaughtConfig {
            pictures: self.taught as usize,
            pictures_sha256: taught_fingerprint(manifest, modality)?,
            teachers: teachers.describe()?,
        };
        Ok(Some((taught, teachers)))
    }

    /// The backbone of the frozen encoder.
    fn backbone(&self) -> Backbone {
        self.backbone.unwrap_or(Backbone::EfficientNetLite(0))
    }

    /// Sees that the options make sense together, without a look at data, weights or devices.
    ///
    /// # Errors
    /// The first that does not.
    fn check(&self) -> anyhow::Result<()> {
        self.training.config()?;
        self.loss.config()?;
        check_length(self.epochs, self.stop_after, self.batch, self.learning_rate)?;
        if let Some(dropout) = self.dropout {
            anyhow::ensure!(
                (0.0..1.0).contains(&dropout),
                "--dropout {dropout}: give a probability, at least 0 and below 1"
            );
        }
        let frozen = self.net == NetName::Efficientnet;
        let foreign = [
            (self.backbone.is_some(), "--backbone", frozen, "--net efficientnet"),
            (self.weights.is_some(), "--weights", frozen, "--net efficientnet"),
            (self.blocks.is_some(), "--blocks", !frozen, "another net than efficientnet"),
            (
                self.dropout.is_some(),
                "--dropout",
                self.net == NetName::ModifiedAttentionUnet,
                "--net modified-attention-unet",
            ),
        ];
        if let Some((_, option, _, needed)) = foreign.iter().find(|(given, _, applies, _)| *given && !applies) {
            anyhow::bail!("{option} needs {needed}");
        }
        if frozen {
            anyhow::ensure!(
                self.weights.is_some(),
                "--net efficientnet needs --weights SOURCE, the weights of its encoder"
            );
        }
        let multiple = if frozen { SIDE_MULTIPLE } else { NetConfig::Unet(self.unet()).side_multiple() };
        anyhow::ensure!(
            (self.side as usize).is_multiple_of(multiple),
            "--side {}: the net halves its input, so give a multiple of {multiple}",
            self.side
        );
        anyhow::ensure!(
            matches!(self.backbone(), Backbone::EfficientNetB(_) | Backbone::EfficientNetLite(_)),
            "--backbone {}: the encoder is an EfficientNet; thorax-train backbones lists them",
            self.backbone()
        );
        Ok(())
    }

    /// The weights of the frozen encoder, if the net has one.
    fn encoder(&self) -> anyhow::Result<Option<Source>> {
        Ok(self.weights.as_ref().map(|weights| weights.resolve(self.backbone())).transpose()?)
    }

    /// The shape of the nets of U-Net's family.
    fn unet(&self) -> UnetConfig {
        UnetConfig {
            channels_in: 1,
            channels_out: mask::NAMES.len(),
            base_channels: usize::from(self.base_channels),
            blocks: usize::from(self.blocks.unwrap_or(4)),
        }
    }

    /// The net, and how its input is normalised.
    fn net(&self, encoder: Option<&Source>) -> anyhow::Result<(NetConfig, Normalise)> {
        let unet = self.unet();
        let dropout = self.dropout.unwrap_or(ModifiedAttentionUnetConfig::default().dropout);
        let net = match (self.net, encoder) {
            (NetName::Unet, _) => NetConfig::Unet(unet),
            (NetName::AttentionUnet, _) => NetConfig::AttentionUnet(AttentionUnetConfig { unet }),
            (NetName::ModifiedAttentionUnet, _) => {
                NetConfig::ModifiedAttentionUnet(ModifiedAttentionUnetConfig { unet, dropout })
            }
            (NetName::UnetPlusPlus, _) => NetConfig::UnetPlusPlus(UnetPlusPlusConfig { unet }),
            (NetName::Efficientnet, None) => anyhow::bail!("--net efficientnet needs --weights SOURCE"),
            (NetName::Efficientnet, Some(source)) => {
                let weights = source.weights(self.backbone(), &Device::Cpu)?;
                anyhow::ensure!(
                    weights.reduction().is_whole(),
                    "--weights: {} is of {}{}; a segmenter's encoder is a whole net, give the weights of one",
                    source.origin,
                    self.backbone(),
                    weights.reduction()
                );
                let config = EfficientNetUnetConfig {
                    backbone: self.backbone(),
                    layout: weights.layout(),
                    channels_out: unet.channels_out,
                    base_channels: unet.base_channels,
                };
                let (mean, std) = weights.normalisation();
                let normalise = Normalise { mean: mean.to_vec(), std: std.to_vec() };
                return Ok((NetConfig::EfficientNet(config), normalise));
            }
        };
        Ok((net, Normalise { mean: vec![0.5], std: vec![0.25] }))
    }
}

/// A number from 0 to 1.
pub(super) fn share(text: &str) -> Result<f32, String> {
    let share = text.parse().map_err(|_| "not a number".to_owned())?;
    if (0.0..=1.0).contains(&share) { Ok(share) } else { Err("take 0 to 1".into()) }
}

/// A number that is 0 or more.
pub(super) fn factor<T: std::str::FromStr + Copy + Into<f64>>(text: &str) -> Result<T, String> {
    let factor: T = text.parse().map_err(|_| "not a number".to_owned())?;
    if factor.into().is_finite() && factor.into() >= 0.0 { Ok(factor) } else { Err("take 0 or more".into()) }
}

/// `train classify`.
fn classify(args: &ClassifyArgs) -> anyhow::Result<()> {
    let common = &args.common;
    let device = args.device.open_one()?;
    let manifest = data::open(&common.manifest)?;
    let lesions = args.lesions.open(common.modality)?;
    let refuse = args.refuse.refuse.as_deref();
    let photographs = args.refuse.refuse_photographs;
    let refused = refuse.map(RefusedPictures::open).transpose()?.map(|refused| refused.and_photographs(photographs));
    let refuse_sha256 = refuse.map(|table| anyhow::Ok(hexadecimal(&file_sha256(table)?))).transpose()?;
    let most_copies = args.at_most_copies.unwrap_or(u16::MAX);
    args.teachers.check()?;
    let taught = args.taught.then(|| args.taught_heads()).transpose()?;
    let teachers = args.teachers.open(Some(common.modality))?;
    if let Some(teachers) = &teachers {
        teachers.learnt_from(&manifest)?;
        teachers.weigh_lesions_of(lesions.as_ref().map(LungFinder::sha256))?;
    }
    if !args.no_probe {
        // The probe reads every file, and is not to fail when all else is done.
        data::verify(&manifest, common.modality, &[Task::Classify])?;
    }
    let members = taught.as_ref().map(|(_, heads)| heads.members()).or(teachers.as_ref().map(Ensembles::members));
    let begin = |contents: &features::Contents| {
        if let Some((source, _)) = &taught {
            BackboneConfig::saw_alike(source, &contents.preprocess)?;
        }
        let config = heads::ClassifyConfig {
            modality: common.modality,
            members: members.unwrap_or(args.members.into()),
            taught: args.taught,
            teachers: teachers.as_ref().map(Ensembles::sha256).unwrap_or_default(),
            out_of_bag: args.out_of_bag,
            seed: common.seed,
            balance: args.balance,
            steadiness: if contents.copies > 0 { args.steadiness } else { 0.0 },
            lesions_sha256: lesions.as_ref().map(|finder| finder.sha256().to_owned()),
            refuse_sha256: refuse_sha256.clone(),
            refused_photographs: photographs,
            copies: contents.copies_seed.map(|seed| (contents.copies.min(most_copies), seed)),
            ..heads::ClassifyConfig::of(contents)
        };
        start_run(&common.out, "--out", &config).map(|lock| (lock, config))
    };
    let trunk = args.trunk.open(common.modality)?;
    let remade = Remade { weights: args.weights.as_ref(), segmenter: trunk.as_ref().map(LungFinder::origin) };
    if args.out_of_bag {
        // Before anything is written: the features of a store are held against these weights when they are made anew.
        for origin in [trunk.as_ref(), lesions.as_ref()].into_iter().flatten().map(LungFinder::origin) {
            match origin.knows_classes() {
                Some(false) => {}
                Some(true) => anyhow::bail!(
                    "--out-of-bag: {} was shown training pictures by their class (healthy ones, boxes, or what others draw), and sees more in \
                     these than in any other picture; leave the option out, or give a segmenter that learnt from masks alone",
                    origin.name()
                ),
                None => eprintln!(
                    "whether {} was shown training pictures by their class is not known; its card may tell. If it was, the out-of-bag \
                     predictions are too good",
                    origin.name()
                ),
            }
        }
        if let Some(weights) = &args.weights {
            let source = weights.resolve(args.backbone)?;
            anyhow::ensure!(
                !BackboneConfig::is_of_a_run(&source),
                "--out-of-bag: {} has learnt from the labels of the training pictures, whose features therefore say more than those of any \
                 other picture; leave the option out",
                source.origin
            );
        }
    }
    anyhow::ensure!(
        args.features.is_none()
            || (args.weights.is_some() || trunk.is_some()) == (refused.is_some() || args.taught || args.out_of_bag),
        "--features: give --weights or --segmenter, those of the features, with --refuse, --taught or --out-of-bag, and not without them"
    );
    let lungs = args.lungs.open(common.modality)?;
    let finder = lungs.as_ref().map(|lungs| &lungs.finder);
    let ((_lock, config), store) = match &args.features {
        Some(path) => {
            let store = FeatureStore::open(path)?;
            store.verify()?;
            let contents = store.contents();
            anyhow::ensure!(
                contents.modality == common.modality,
                "{}: features of {} pictures; give --modality {0}, or another store",
                path.display(),
                contents.modality
            );
            anyhow::ensure!(
                contents.manifest_sha256 == fingerprint(&manifest, common.modality, Task::Classify)?,
                "{}: features of other pictures, labels or splits than those of {}; give the manifest they were extracted \
                 with, or extract anew with thorax-train features",
                path.display(),
                common.manifest.display()
            );
            if finder.is_some() || refused.is_some() {
                contents.cropped_by(finder.map(LungFinder::sha256)).with_context(|| path.display().to_string())?;
            }
            if let Some((_, taught)) = &taught {
                taught.belong_to(contents)?;
            }
            if args.out_of_bag {
                remade
                    .maker(contents.backbone, &contents.weights_sha256, &contents.preprocess, &Device::Cpu)
                    .context("--out-of-bag needs the net that made the features")?;
            }
            (begin(contents)?, store)
        }
        None => {
            let net = match &trunk {
                Some(segmenter) => FeatureNet::of_segmenter(&manifest, segmenter)?,
                None => {
                    let weights = args.weights.as_ref().context(
                        "give --weights SOURCE, the backbone's weights, --segmenter RUN in place of a backbone, or --features STORE, \
                         extracted with thorax-train features",
                    )?;
                    let source = weights.resolve(args.backbone)?;
                    let backbone = (args.backbone, BackboneConfig::side(&source, args.backbone, args.side));
                    FeatureNet::of_backbone(&manifest, common.modality, backbone, source, lungs.as_ref(), &device)?
                }
            };
            let request = Request {
                manifest: &manifest,
                modality: common.modality,
                net: &net,
                lungs: finder,
                copies: args.copies,
                dtype: Dtype::F16,
                unit: features::UNIT,
                loading: args.loading,
                device: &device,
            };
            let config = begin(&request.contents()?)?;
            (config, request.store(&common.out.join("pictures.features"))?)
        }
    };
    let table = FeatureTable::pooled(&store, most_copies);
    let involvement = lesions.as_ref().map(|finder| {
        anyhow::ensure!(
            !finder.learnt_from_other(&manifest)?,
            "--lesions: a segmenter that learnt from other data than {}: its patients may be in the validation or test split; give one \
             that learnt from this manifest",
            common.manifest.display()
        );
        heads::involvement(&manifest, store.contents(), &table.rows, finder, &common.out)
    });
    let involvement = involvement.transpose()?;
    let contents = store.contents();
    let maker = || remade.maker(contents.backbone, &contents.weights_sha256, &contents.preprocess, &Device::Cpu);
    let refused = refused.map(|refused| {
        let made = maker().context("--refuse needs the net that made the features")?;
        refused.features(&manifest, contents, contents.copies.min(most_copies), &made.graph, finder)
    });
    let refused = refused.transpose()?;
    let said = teachers.as_ref().map(|teachers| said(teachers, &manifest, &table)).transpose()?;
    let beside = heads::Beside {
        involvement: involvement.as_deref(),
        refused: refused.as_ref(),
        taught: taught.as_ref().map(|(_, heads)| heads),
        said: said.as_ref(),
    };
    let outcome = heads::fit(&table, beside, &config, &common.out)?;
    for refusal in &outcome.refusals {
        eprintln!("rejected as {} from a probability of {:.3} on", refusal.kind, refusal.at);
    }
    eprintln!(
        "validation AUC {:.4}, L2 {}; on {} pictures: temperature {:.3}, ECE {:.4} -> {:.4}, positive at {:.3}, negative below {:.3}",
        outcome.validation_auc,
        outcome.l2,
        outcome.validation_pictures + outcome.out_of_bag_pictures,
        outcome.temperature,
        outcome.ece[0],
        outcome.ece[1],
        outcome.decision.positive_at,
        outcome.decision.negative_at
    );
    if !args.no_probe {
        probe::beside_classifier(&common.out, &manifest, contents, &table, common.seed).context(
            "the classifier is done; what else tells the classes apart is not known, give --no-probe to leave it so",
        )?;
    }
    Ok(())
}

/// What `teachers` say of the training and validation pictures in `table`, as they are; of a changed copy what they say of its picture.
fn said(teachers: &Ensembles, manifest: &Manifest, table: &FeatureTable) -> anyhow::Result<Said> {
    let members = teachers.members();
    let known = |row: &FeatureRow| row.split != Split::Test;
    let asked: BTreeSet<&str> = table.rows.iter().filter(|row| known(row)).map(|row| row.path.as_str()).collect();
    let records = manifest.select(teachers.modality(), Task::Classify, None);
    let records: Vec<&Record> = records.filter(|record| asked.contains(record.path.as_str())).collect();
    let told = teachers.targets(manifest, &records)?.probabilities;
    let told = records.iter().map(|record| record.path.as_str()).zip(told.chunks_exact(members)).collect();
    Ok(Said { members, probabilities: said_of(&table.rows, &told, members)?, lesions: teachers.weighed() })
}

/// `[rows, members]`: what is `told` of the picture of each row, 0.5 of those of the test split, of which nobody is asked.
fn said_of(rows: &[FeatureRow], told: &BTreeMap<&str, &[f32]>, members: usize) -> anyhow::Result<Vec<f32>> {
    let mut said = Vec::with_capacity(rows.len() * members);
    for row in rows {
        match (told.get(row.path.as_str()), row.split) {
            (Some(told), _) => said.extend_from_slice(told),
            (None, Split::Test) => said.resize(said.len() + members, 0.5),
            (None, _) => anyhow::bail!("{}: not in the manifest; extract the features anew", row.path),
        }
    }
    Ok(said)
}

/// Sees that a net can be trained in the memory that there is: its weights, their gradient, and two moving means of it, and the
/// maps of the first block alone, which is far from all.
fn fits(net: NetConfig, args: &SegmentArgs) -> anyhow::Result<()> {
    let weights: usize = net.architecture()?.parameters().iter().map(Parameter::count).sum();
    let maps = args.batch * usize::from(args.base_channels) * (args.side as usize).pow(2);
    let what = format!("{weights} weights, and {} pictures of {1} x {1} at a time,", args.batch, args.side);
    let needed = 16 * weights as u64 + 16 * maps as u64;
    memory::ensure_available(needed, &what, "--base-channels, --blocks, --side or --batch")
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use clap::Parser;

    use super::*;

    #[test]
    fn a_changed_copy_is_told_what_its_picture_is() {
        let row = |path: &str, split, copy| FeatureRow {
            path: path.into(),
            sha256: String::new(),
            patient_id: "p".into(),
            group: "p".into(),
            source: "made".into(),
            label: data::Label::Positive,
            split,
            equalised: false,
            copy,
        };
        let (a, b) = ([0.1f32, 0.2], [0.8f32, 0.9]);
        let told = BTreeMap::from([("a.png", &a[..]), ("b.png", &b[..])]);
        let rows = [
            row("b.png", Split::Train, 0),
            row("t.png", Split::Test, 0),
            row("a.png", Split::Val, 0),
            row("b.png", Split::Train, 1),
            row("a.png", Split::Val, 1),
        ];
        assert_eq!(said_of(&rows, &told, 2).unwrap(), [0.8, 0.9, 0.5, 0.5, 0.1, 0.2, 0.8, 0.9, 0.1, 0.2]);
        let error = said_of(&[row("c.png", Split::Train, 0)], &told, 2).unwrap_err().to_string();
        assert!(error.contains("c.png: not in the manifest"), "{error}");
    }

    use crate::segmentation::paper::OPTIONS;

    #[derive(Parser)]
    struct Command {
        #[command(flatten)]
        segment: SegmentArgs,
    }

    #[test]
    fn a_net_that_no_memory_holds_is_refused() {
        let fits = |words: &str| {
            let all = format!("command --manifest m --modality ct --out o {words}");
            let args = Command::try_parse_from(all.split_whitespace()).unwrap().segment;
            fits(args.net(None).unwrap().0, &args).map_err(|error| error.to_string())
        };
        assert_eq!(fits("--net unet --side 64 --base-channels 4 --batch 1"), Ok(()));
        // Maps of 32 TiB.
        let told = fits("--batch 4096 --base-channels 512 --side 1024").unwrap_err();
        assert!(told.contains("MiB are free") && told.contains("--base-channels"), "{told}");
    }

    #[test]
    fn the_papers_options_are_those_that_are_not_given() {
        let told = |words: &str| {
            let all = format!("command --manifest m --modality ct --out o {words}");
            let args = Command::try_parse_from(all.split_whitespace()).unwrap().segment;
            args.check().map(|()| args).map_err(|error| format!("{error:#}"))
        };
        // The same as writing them out, and each of them goes before.
        let words = |options: &[(&str, &str)]| {
            options
                .iter()
                .fold(String::new(), |all, (name, value)| format!("{all} --{} {value}", name.replace('_', "-")))
        };
        let same = |one: &str, other: &str| {
            let [one, other] =
                [one, other].map(|words| format!("{:?}", told(words).unwrap()).replace("paper: true", "paper: false"));
            assert_eq!(one, other);
        };
        same("--paper", &words(&OPTIONS));
        let given = [
            ("net", "unet"),
            ("blocks", "4"),
            ("epochs", "3"),
            ("batch", "2"),
            ("learning_rate", "0.1"),
            ("schedule", "constant"),
        ];
        for (index, option) in given.iter().enumerate() {
            let mut all = OPTIONS;
            all[index] = *option;
            same(&format!("--paper{}", words(&[*option])), &words(&all));
        }
        let without = told("").unwrap();
        assert_eq!((without.net, without.blocks, without.epochs), (NetName::AttentionUnet, None, 12));
        // A frozen encoder with the paper's loss and schedule.
        let frozen = told("--paper --net efficientnet --weights random:1 --side 224 --epochs 400").unwrap();
        assert_eq!((frozen.blocks, frozen.epochs, frozen.batch), (None, 400, 64));
        assert!(frozen.loss.config().unwrap().boundary.is_some());
        assert!(
            told("--paper --dropout 0.3").is_ok() && told("--paper --side 96").unwrap_err().contains("multiple of 64")
        );
    }

    #[test]
    fn options_that_make_no_sense_together_are_refused() {
        let check = |words: &str| {
            let all = format!("command --manifest m --modality ct --out o {words}");
            let command = Command::try_parse_from(all.split_whitespace()).map_err(|error| error.to_string())?;
            command.segment.check().map_err(|error| format!("{error:#}"))
        };
        for words in [
            "",
            "--net modified-attention-unet --blocks 6 --dropout 0.2",
            "--net efficientnet --weights random:1 --side 224",
        ] {
            assert_eq!(check(words), Ok(()), "{words}");
        }
        for (words, told) in [
            ("--net unet --dropout 0.1", "--dropout needs --net modified-attention-unet"),
            ("--net modified-attention-unet --dropout 1", "below 1"),
            ("--net unet --weights random:1", "--weights needs --net efficientnet"),
            ("--net efficientnet", "--weights SOURCE"),
            ("--net efficientnet --weights random:1 --blocks 4", "--blocks needs another net"),
            ("--net efficientnet --weights random:1 --side 200", "multiple of 32"),
            ("--net efficientnet --weights random:1 --backbone resnet50 --side 224", "is an EfficientNet"),
            ("--blocks 6 --side 96", "multiple of 64"),
            ("--batch 0", "above 0"),
            ("--epochs 0", "above 0"),
            ("--epochs 18446744073709551615", "--epochs 18446744073709551615: more than 100000"),
            ("--batch 1000000", "--batch 1000000: more than 4096"),
            ("--learning-rate nan", "above 0"),
            ("--dice-weight 0 --cross-entropy-weight 0", "nothing to learn"),
            ("--momentum 0.5", "--optimizer sgd"),
        ] {
            let error = check(words).unwrap_err();
            assert!(error.contains(told), "{words}: {error}");
        }
    }
}
