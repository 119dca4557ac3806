//! `thorax-train train backbone` and `thorax-train distill`: a backbone learns from labels, or from teachers.

use std::{collections::BTreeSet, num::NonZeroUsize, path::PathBuf};

use anyhow::Context;
use candle_core::Device;
use clap::{Args, FromArgMatches};
use thorax_files::{file_sha256, hexadecimal};
use thorax_nets::{
    Backbone,
    backbones::reduction::{ReductionArgs, positive_share},
    source::{SideArgs, WeightsArgs},
};
use thorax_nn::{device::DeviceArgs, training::TrainingArgs};
use thorax_shared::{modality::Modality, preprocess::spec::Core};

use super::{
    teachers::TeacherArgs,
    train::{CommonArgs, check_length, factor, share},
};
use crate::{
    backbone::{
        fold,
        lesions::{LesionTask, Lesions},
        net::{Frozen, Shape},
        pictures::{Preparation, Targets},
        run::{BackboneConfig, WEIGHTS},
        teachers::{Classifiers, Teachers},
        train::{Conduct, Material, train},
    },
    changes::Copies,
    classifiers::Kind,
    data::{
        self, Fold, Label, Manifest, Record, Split, Task,
        fingerprint::{fingerprint, unlabelled_fingerprint},
    },
    features,
    files::start_run,
    segmentation::{boxes::Boxes, lungs::LungCropArgs},
    sweep::grid::{RunOptions, Score},
};

/// Options of `train backbone`, and of `distill` too.
#[derive(Debug, clap::Args)]
pub struct BackboneArgs {
    #[command(flatten)]
    common: CommonArgs,
    /// The net; `thorax-train backbones` lists them
    #[arg(long, value_name = "NAME", default_value_t = Backbone::EfficientNetLite(0))]
    backbone: Backbone,
    #[command(flatten)]
    weights: WeightsArgs,
    #[command(flatten)]
    side: SideArgs,
    #[command(flatten)]
    reduction: ReductionArgs,
    #[command(flatten)]
    lungs: LungCropArgs,
    /// What of the backbone stays as it is
    #[arg(long, value_enum, default_value_t = Frozen::None)]
    frozen: Frozen,
    /// Batch norms follow the batches, in place of staying what they are; for weights that were drawn
    #[arg(long)]
    batch_norms: bool,
    /// Probability with which a pooled feature is dropped
    #[arg(long, value_name = "PROBABILITY", default_value_t = 0.2)]
    dropout: f64,
    /// Changed copies that there are of each picture, one of which, or the picture itself, is drawn each time: greys, sharpness, noise, JPEG,
    /// borders, letters, small turns
    #[arg(long, value_name = "N", default_value_t = 100, value_parser = clap::value_parser!(u16).range(0..=10_000))]
    copies: u16,
    /// Of the changes
    #[arg(long, value_name = "SEED", default_value_t = 1)]
    copies_seed: u64,
    /// How far the sources and classes count alike however many pictures they have: 0 not at all, 1 wholly
    #[arg(long, value_name = "SHARE", default_value_t = 0.5, value_parser = share)]
    balance: f32,
    /// How much the squared difference of the logits of two copies of a picture is punished; 0 to see one copy at a time
    #[arg(long, value_name = "FACTOR", default_value_t = 0.1, value_parser = factor::<f32>)]
    steadiness: f32,
    /// Passes over the training pictures
    #[arg(long, default_value_t = 10)]
    epochs: usize,
    /// Stop after so many epochs for now; without this the same command goes on to the end
    #[arg(long, value_name = "EPOCHS")]
    stop_after: Option<usize>,
    /// Pictures a step
    #[arg(long, default_value_t = 16)]
    batch: usize,
    /// Highest learning rate of the schedule
    #[arg(long, default_value_t = 2e-4)]
    learning_rate: f64,
    /// Learning rate of the first layer as a share of the heads'; between them it grows from layer to layer by the same factor [default: all
    /// layers learn at the same rate]
    #[arg(long, value_name = "SHARE", value_parser = positive_share)]
    first_layer_rate: Option<f64>,
    #[command(flatten)]
    training: TrainingArgs,
    #[command(flatten)]
    device: DeviceArgs,
}

/// Options of `train backbone`.
#[derive(Debug, clap::Args)]
pub struct TrainBackboneArgs {
    #[command(flatten)]
    backbone: BackboneArgs,
    /// Heads behind it, each on its own resample of the patients; what is fitted to the features later has its own
    #[arg(long, default_value_t = 8, value_parser = clap::value_parser!(u16).range(1..=1000))]
    members: u16,
    /// How much it counts beside the labels to say where the lesions lie, which masks, --boxes and pictures of class normal tell; 0 to learn
    /// the labels alone
    #[arg(long, value_name = "FACTOR", default_value_t = 0.0, value_parser = factor::<f64>)]
    lesions: f64,
    /// Boxes around lesions in pictures without masks, with a label or without, for --lesions: a table path,x0,y0,x1,y1 with paths as in the
    /// manifest and corners in pixels, and where there is a column share, how much of the box they take (0 to 1)
    #[arg(long, value_name = "CSV", requires = "lesions")]
    boxes: Option<PathBuf>,
    /// Leave out this fold of the training patients, such as 2/5 for the second of five (at least three): a member of a deep ensemble, each of which
    /// leaves out another and has another --seed. Heads behind it learn from all patients
    #[arg(long, value_name = "K/N")]
    leave_out: Option<Fold>,
}

impl TrainBackboneArgs {
    /// Sees that the options make sense together, without a look at data, weights or devices.
    fn check(&self) -> anyhow::Result<()> {
        anyhow::ensure!(
            self.lesions > 0.0 || self.boxes.is_none(),
            "--boxes without --lesions: say how much they count"
        );
        self.backbone.check()
    }

    /// What tells where lesions lie, and how much that counts; `None` where it is not learnt.
    fn lesions(&self) -> anyhow::Result<Option<LesionArgs>> {
        if self.lesions == 0.0 {
            return Ok(None);
        }
        let table = self.boxes.as_deref();
        Ok(Some(LesionArgs {
            factor: self.lesions,
            lesions: Lesions { boxes: table.map(Boxes::open).transpose()? },
            table: table.map(|table| anyhow::Ok(hexadecimal(&file_sha256(table)?))).transpose()?,
        }))
    }
}

/// How lesions are learnt beside the labels.
struct LesionArgs {
    factor: f64,
    lesions: Lesions,
    /// Hash of the table of boxes.
    table: Option<String>,
}

impl LesionArgs {
    /// For the run's configuration.
    fn task(&self, manifest: &Manifest, modality: Modality) -> anyhow::Result<LesionTask> {
        LesionTask::new(self.factor, manifest, modality, self.table.clone())
    }
}

/// Options of `distill`.
#[derive(Debug, clap::Args)]
#[command(group(clap::ArgGroup::new("taught_by").args(["teacher", "classifiers"]).required(true).multiple(true)))]
pub struct DistillArgs {
    #[command(flatten)]
    backbone: BackboneArgs,
    #[command(flatten)]
    teachers: TeacherArgs,
    /// Learn what the teachers say of pictures without a label too
    #[arg(long)]
    unlabelled: bool,
    /// How much it counts beside the members' probabilities that what they disagree in is the teachers': the squared difference of how far each
    /// logit lies from the members' mean. For several --teacher, whose disagreement is small beside what they say together; 0 not to ask it
    #[arg(long, value_name = "FACTOR", default_value_t = 0.0, value_parser = factor::<f64>, conflicts_with = "classifiers")]
    doubt: f64,
    /// In place of --teacher: run folder of `thorax-train classify`, whose classifiers are learnt from, a head for each of their runs, and of
    /// each training picture what those runs say that have not learnt from its patient; may be given more than once
    #[arg(long, value_name = "FOLDER", conflicts_with_all = ["teacher", "unlabelled"])]
    classifiers: Vec<PathBuf>,
    /// Only these of the --classifiers
    #[arg(long, value_name = "NAMES", value_delimiter = ',', requires = "classifiers")]
    only: Vec<Kind>,
    /// So many runs of each of the --classifiers [default: all]
    #[arg(long, value_name = "N", requires = "classifiers", value_parser = clap::value_parser!(u16).range(1..))]
    runs: Option<u16>,
}

/// What a sweep has to know to start `train backbone`, and `distill`.
pub(super) fn run_options() -> [RunOptions; 2] {
    let labels = |matches: &clap::ArgMatches| {
        let arguments = TrainBackboneArgs::from_arg_matches(matches)?;
        arguments.check()?;
        Ok(arguments.backbone.epochs)
    };
    let teachers = |matches: &clap::ArgMatches| {
        let arguments = DistillArgs::from_arg_matches(matches)?;
        arguments.check()?;
        Ok(arguments.backbone.epochs)
    };
    let backbone = RunOptions {
        name: "backbone",
        words: &["train", "backbone"],
        score: Score {
            column: "best_validation_auc_inside",
            name: "validation AUC inside sources",
            meaning: "AUC over pairs of validation pictures of one source",
        },
        last_file: WEIGHTS,
        command: TrainBackboneArgs::augment_args(clap::Command::new("backbone")),
        same_for_all: &[],
        check: labels,
    };
    let distill = RunOptions {
        name: "distill",
        words: &["distill"],
        score: Score {
            column: "best_validation_agreement",
            name: "validation agreement",
            meaning: "Agreement with the teachers on the validation pictures (1 less the squared error of the members' probabilities in units \
                      of their variance)",
        },
        last_file: WEIGHTS,
        command: DistillArgs::augment_args(clap::Command::new("distill")),
        same_for_all: &["teacher", "teacher-weights", "teacher-lungs", "classifiers", "only", "runs"],
        check: teachers,
    };
    [backbone, distill]
}

impl TrainBackboneArgs {
    /// The number of threads that was asked for.
    pub(super) fn threads(&self) -> Option<NonZeroUsize> {
        self.backbone.device.threads()
    }
}

impl DistillArgs {
    /// Sees that the options make sense together, without a look at data, weights or devices.
    fn check(&self) -> anyhow::Result<()> {
        self.teachers.check()?;
        self.backbone.check()
    }

    /// The number of threads that was asked for.
    pub fn threads(&self) -> Option<NonZeroUsize> {
        self.backbone.device.threads()
    }
}

/// Carries out `train backbone`.
pub(super) fn run(args: &TrainBackboneArgs) -> anyhow::Result<()> {
    args.check()?;
    let lessons = Lessons { left_out: args.leave_out, lesions: args.lesions()?, ..Lessons::default() };
    args.backbone.learn(usize::from(args.members), lessons)
}

/// Carries out `distill`.
///
/// # Errors
/// Whatever went wrong, with the file it went wrong with.
pub fn distill(args: &DistillArgs) -> anyhow::Result<()> {
    args.check()?;
    let modality = args.backbone.common.modality;
    let teachers = match args.teachers.open(Some(modality))? {
        Some(ensembles) => Teachers::Ensembles(ensembles.into()),
        None => {
            let runs = args.runs.map(usize::from);
            Teachers::Classifiers(Classifiers::open(&args.classifiers, modality, &args.only, runs)?)
        }
    };
    let doubt = (args.doubt > 0.0).then_some(args.doubt);
    let lessons = Lessons { teachers: Some(&teachers), unlabelled: args.unlabelled, doubt, ..Lessons::default() };
    args.backbone.learn(teachers.members(), lessons)
}

/// What a backbone learns from beside the labelled pictures.
#[derive(Default)]
struct Lessons<'a> {
    /// In place of the labels, what these say.
    teachers: Option<&'a Teachers>,
    /// What they say of pictures without a label too.
    unlabelled: bool,
    /// How much it counts what the teachers' members disagree in.
    doubt: Option<f64>,
    /// Where lesions lie, beside the labels.
    lesions: Option<LesionArgs>,
    /// Patients that are left out.
    left_out: Option<Fold>,
}

impl BackboneArgs {
    /// Sees that the options make sense together, without a look at data, weights or devices.
    fn check(&self) -> anyhow::Result<()> {
        self.training.config()?;
        check_length(self.epochs, self.stop_after, self.batch, self.learning_rate)?;
        anyhow::ensure!(
            (0.0..1.0).contains(&self.dropout),
            "--dropout {}: give a probability, at least 0 and below 1",
            self.dropout
        );
        anyhow::ensure!(
            !self.reduction.draws() || self.batch_norms && self.frozen == Frozen::None,
            "--plain: its convolutions are drawn, so nothing of them may stay as it is; give --batch-norms, and leave --frozen out"
        );
        Ok(())
    }

    /// Has a backbone with `members` heads learn.
    fn learn(&self, members: usize, lessons: Lessons<'_>) -> anyhow::Result<()> {
        let Lessons { teachers, unlabelled, doubt, lesions, left_out } = lessons;
        let devices = self.device.open()?;
        let training = self.training.config()?;
        training.precision.check(&devices)?;
        let common = &self.common;
        let manifest = data::open(&common.manifest)?;
        self.verify(&manifest, unlabelled, lesions.as_ref())?;
        let strangers = left_out.map(|of| fold::left_out(&manifest, common.modality, of)).unwrap_or_default();
        let gathered = |split| self.gathered(&manifest, split, teachers, unlabelled, lesions.as_ref(), &strangers);
        let (training_pictures, validation_pictures) = (gathered(Split::Train)?, gathered(Split::Val)?);
        if let Some(of) = left_out {
            eprintln!("without fold {of}: {} training pictures", training_pictures.records.len());
        }
        if teachers.is_none() {
            validation_pictures.tells_disease_from_source().with_context(|| common.manifest.display().to_string())?;
        }
        let source = self.weights.resolve(self.backbone)?;
        let lungs = self.lungs.open(common.modality)?;
        let weights = source.weights(self.backbone, &Device::Cpu)?.reduced(self.reduction, common.seed)?;
        let side = BackboneConfig::side(&source, self.backbone, self.side);
        let preprocess =
            features::preprocess(&manifest, common.modality, side, weights.normalisation(), lungs.as_ref())?;
        let finder = lungs.as_ref().map(|lungs| &lungs.finder);
        if let Some(finder) = teachers.and_then(Teachers::lungs) {
            finder.learnt_from("--teacher-lungs", &manifest)?;
        }
        let differ = |see: &Vec<Core>| see.iter().any(|core| *core != preprocess.core);
        let teachers_see = teachers.map(Teachers::see).filter(differ).unwrap_or_default();
        let shape = Shape {
            backbone: self.backbone,
            reduction: weights.reduction(),
            members,
            frozen: self.frozen,
            batch_norms: self.batch_norms,
            dropout: self.dropout,
        };
        let config = BackboneConfig {
            modality: common.modality,
            shape,
            start: [source.origin.clone(), source.sha256.clone()],
            teachers: teachers.map(Teachers::sha256).unwrap_or_default(),
            teachers_see,
            classifiers: teachers.map(Teachers::classifiers).unwrap_or_default(),
            tempered: matches!(teachers, Some(Teachers::Ensembles(_))),
            unlabelled_sha256: unlabelled.then(|| unlabelled_fingerprint(&manifest, common.modality)).transpose()?,
            epochs: self.epochs,
            batch: self.batch,
            peak_learning_rate: self.learning_rate,
            first_layer_rate: self.first_layer_rate,
            seed: common.seed,
            left_out,
            preprocess,
            lungs_sha256: finder.map(|finder| finder.sha256().to_owned()),
            manifest_sha256: fingerprint(&manifest, common.modality, Task::Classify)?,
            copies: Copies { count: self.copies, seed: self.copies_seed },
            balance: self.balance,
            steadiness: f64::from(self.steadiness),
            doubt,
            lesions: lesions.as_ref().map(|args| args.task(&manifest, common.modality)).transpose()?,
            training,
        };
        let _lock = start_run(&common.out, "--out", &config)?;
        let targets = |Gathered { records, asked }: &Gathered<'_>, split| -> anyhow::Result<Targets> {
            let (of_these, unasked) = (&records[..*asked], records.len() - asked);
            let targets = match teachers {
                Some(teachers) => teachers.targets(&manifest, of_these)?,
                None => {
                    let labels = Targets::of_labels(of_these, members);
                    if split == Split::Train { labels.resampled(of_these, common.seed) } else { labels }
                }
            };
            Ok(targets.unasked(unasked))
        };
        let (training_targets, validation_targets) =
            (targets(&training_pictures, Split::Train)?, targets(&validation_pictures, Split::Val)?);
        let cells = shape.cells(weights.layout(), side)?;
        let material = Material {
            start: &weights,
            preparation: Preparation {
                manifest: &manifest,
                spec: &config.preprocess,
                lungs: finder,
                copies: config.copies,
                lesions: lesions.as_ref().map(|args| (&args.lesions, cells)),
            },
            training: (training_pictures.records, training_targets),
            validation: (validation_pictures.records, validation_targets),
            beside: teachers.map(Teachers::evidence).transpose()?.unwrap_or_default(),
        };
        let conduct = Conduct {
            folder: &common.out,
            devices: &devices,
            loaders: self.training.loaders(),
            stop_after: self.stop_after,
        };
        if train(material, &config, &conduct)? {
            println!("{}", common.out.join(WEIGHTS).display());
        }
        Ok(())
    }

    /// Sees that all pictures that are read, and their masks, are those that were imported.
    fn verify(&self, manifest: &Manifest, unlabelled: bool, lesions: Option<&LesionArgs>) -> anyhow::Result<()> {
        let modality = self.common.modality;
        let mut records: Vec<&Record> = manifest.select(modality, Task::Classify, None).collect();
        if let Some(LesionArgs { lesions, .. }) = lesions {
            records.extend(Split::ALL.into_iter().flat_map(|split| lesions.pictures(manifest, modality, split)));
        }
        if unlabelled {
            records.extend(manifest.unlabelled(modality, Split::Train));
        }
        Ok(data::verify_records(manifest, &records)?)
    }

    /// The pictures of a split, without a look at them; without those of `strangers`, groups of patients.
    ///
    /// # Errors
    /// A class without pictures; teachers that do not know them; no lesions where these are to be learnt.
    fn gathered<'a>(
        &self,
        manifest: &'a Manifest,
        split: Split,
        teachers: Option<&Teachers>,
        unlabelled: bool,
        lesions: Option<&'a LesionArgs>,
        strangers: &BTreeSet<&str>,
    ) -> anyhow::Result<Gathered<'a>> {
        let (modality, name) = (self.common.modality, split.as_str());
        let known = |record: &Record| !strangers.contains(record.group.as_str());
        let mut records = pictures(manifest, modality, unlabelled, split, known)?;
        if let Some(teachers) = teachers {
            records = teachers.known(records, split)?;
        }
        let asked = records.len();
        let Some(LesionArgs { lesions, .. }) = lesions else { return Ok(Gathered { records, asked }) };
        records.extend(lesions.pictures(manifest, modality, split).filter(|record| known(record)));
        let shown = records.iter().filter(|record| lesions.shown(record)).count();
        anyhow::ensure!(
            shown > 0,
            "--lesions: no {modality} picture of the {name} split has a mask of its infection or a box: give --boxes, or leave out --lesions"
        );
        let unasked = records.len() - asked;
        eprintln!("{name}: lesions are shown in {shown} pictures, of which {unasked} are seen for these alone");
        if let Some(boxes) = lesions.boxes.as_ref().filter(|_| split == Split::Train) {
            let boxed = records.iter().filter(|record| boxes.has(record)).count();
            anyhow::ensure!(
                boxed > 0,
                "--boxes: no box of a {modality} picture in the training split of {}; its paths are those of the manifest",
                self.common.manifest.display()
            );
            eprintln!("{boxed} of the {} pictures with boxes are of the {name} split", boxes.len());
        }
        Ok(Gathered { records, asked })
    }
}

/// Pictures of a split: first those that the heads are told something of, then those that are seen for their lesions alone.
struct Gathered<'a> {
    records: Vec<&'a Record>,
    /// How many are of the first kind.
    asked: usize,
}

impl Gathered<'_> {
    /// Sees that a source of the validation pictures has both classes.
    fn tells_disease_from_source(&self) -> anyhow::Result<()> {
        let classes = self.records[..self.asked].iter().map(|record| (&record.source, record.is_positive()));
        let classes: BTreeSet<_> = classes.collect();
        anyhow::ensure!(
            classes.iter().any(|&(source, positive)| classes.contains(&(source, !positive))),
            "no source of the val split has pictures of both classes, so nothing tells a backbone that knows the disease from one that knows \
             the source; add a source with both, or fit heads to published weights with thorax-train train classify"
        );
        Ok(())
    }
}

/// The pictures of a split that are learnt from: those with a label, and in training those without one too, where they are wanted.
fn pictures(
    manifest: &Manifest,
    modality: Modality,
    unlabelled: bool,
    split: Split,
    known: impl Fn(&Record) -> bool,
) -> anyhow::Result<Vec<&Record>> {
    let labelled = manifest.select(modality, Task::Classify, Some(split));
    let mut records: Vec<_> = labelled.filter(|record| record.label != Label::Unlabelled && known(record)).collect();
    let positive = records.iter().filter(|record| record.is_positive()).count();
    anyhow::ensure!(
        positive > 0 && positive < records.len(),
        "the {} split has no {} {} pictures; check the manifest with thorax-train data check",
        split.as_str(),
        if positive > 0 { "negative" } else { "positive" },
        modality
    );
    if unlabelled && split == Split::Train {
        let labelled = records.len();
        records.extend(manifest.unlabelled(modality, split).filter(|record| known(record)));
        eprintln!("{labelled} pictures with a label, {} without", records.len() - labelled);
    }
    Ok(records)
}
