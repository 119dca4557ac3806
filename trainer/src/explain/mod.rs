//! Where in a picture a run folder's classifiers find what they say, the paper's figure 4: Grad-CAM of those that have a gradient, occlusion of
//! the others.
//!
//! The paper's classifiers see the last convolution of a frozen net un-pooled, and a support vector machine is a smooth
//! function of it. So its gradient can be written down (`machines`) and no net has to be run backwards: the machines are
//! fitted again (`again`), the picture goes once through the net, the gradient weighs the channels (`grad_cam`), and the weighted sum is
//! drawn over the picture (`pictures`). What is explained is the mean decision value of the runs. So it is of the perceptron (`perceptrons`),
//! by its mean logit. Forests, boosted trees, kNN and naive Bayes have no gradient, or none that is worth a picture: of these, one square of
//! the picture after the other is greyed out, and what is explained is by how much the mean probability of the runs falls (`occlusion`).
//!
//! The map tells what raised a score, not whether the score is right, nor what a radiologist would look at.

mod again;
mod grad_cam;
mod machines;
mod occlusion;
mod perceptrons;
mod pictures;
#[cfg(test)]
mod tests;

use std::{
    collections::BTreeSet,
    num::NonZeroUsize,
    path::{Path, PathBuf},
};

use anyhow::{Context, ensure};
use candle_core::{Device, Tensor};
use half::f16;
use safetensors::tensor::TensorView;
use serde::Serialize;
use thorax_files::write_atomically;
use thorax_nets::source::{WeightsArgs, are_drawn};
use thorax_nn::{device::DeviceArgs, graph::Graph};
use thorax_shared::{modality::Modality, plane::Plane, uncertainty::Ensemble, verdict::RejectReason};

use self::{again::Runs, machines::Machines, perceptrons::Perceptrons};
use crate::{
    classifiers::{Gram, Kind, Problem, RunConfiguration, StoreIdentity, check_xgboost},
    data::picture::Picture,
    features::{Contents, Dtype, Remade},
    figures::{Figure, write as write_figures},
    files::{take_folder, write_png},
    progress::progress,
    segmentation::lungs::{self, LungFinder, LungsArgs},
};

/// Pictures that may be explained by occlusion at a time. Their copies are in memory together.
const MOST_OCCLUDED: usize = 16;

/// Options of `explain`.
#[derive(Debug, clap::Args)]
pub struct ExplainArgs {
    /// Run folder written by `thorax-train classify`
    #[arg(long, value_name = "FOLDER")]
    run: PathBuf,
    /// The features that its runs learnt from
    #[arg(long, value_name = "STORE")]
    features: PathBuf,
    #[command(flatten)]
    weights: Option<WeightsArgs>,
    #[command(flatten)]
    lungs: LungsArgs,
    /// The segmenter that made the features, where it was none of the backbones: a run of `thorax-train train segment`, or a bundle
    #[arg(long, value_name = "RUN", conflicts_with_all = ["weights", "lungs"])]
    segmenter: Option<PathBuf>,
    /// Whose answer is explained: of support vector machines and the perceptron by Grad-CAM, of the others by occlusion (169 squares of the
    /// picture are greyed out one after the other)
    #[arg(long, value_enum, value_name = "NAME", default_value_t = Kind::SvmRbf)]
    classifier: Kind,
    /// The first N runs [default: all of the folder]
    #[arg(long, value_name = "N")]
    runs: Option<NonZeroUsize>,
    /// What the heat speaks for [default: the more probable of both]
    #[arg(long, value_enum)]
    class: Option<Class>,
    /// Folder for the pictures, figures.json (for `thorax-train report --figures`) and explained.csv
    #[arg(long, value_name = "DIR")]
    out: PathBuf,
    /// Also write the numbers: NAME_maps.safetensors with `map` [H, W] before scaling (of occlusion, by how much the probability falls), and
    /// `heat` at the size of the input
    #[arg(long)]
    maps: bool,
    /// The XGBoost library, as of `thorax-train classify`
    #[arg(long, value_name = "FILE", env = "THORAX_XGBOOST")]
    xgboost: Option<PathBuf>,
    /// Pictures in any format that the device reads
    #[arg(required = true, value_name = "PICTURE")]
    pictures: Vec<PathBuf>,
    #[command(flatten)]
    device: DeviceArgs,
}

impl ExplainArgs {
    /// The number of threads that was asked for.
    pub fn threads(&self) -> Option<NonZeroUsize> {
        self.device.threads()
    }
}

/// What a picture may show.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, clap::ValueEnum)]
#[serde(rename_all = "lowercase")]
enum Class {
    /// The disease
    #[value(alias = "covid")]
    Positive,
    /// Anything else
    #[value(alias = "other")]
    Negative,
}

/// A picture as the net is shown it.
struct Seen {
    /// What the net saw.
    input: Plane<u8>,
    /// `[C, H, W]`: the same in numbers.
    numbers: Vec<f32>,
    /// Why it failed the quality check, if it did.
    refused: Option<RejectReason>,
}

/// What the runs say of a picture, and what tells where in it that comes from.
enum Explanation {
    /// Of classifiers that have a gradient.
    Gradient {
        /// `[C, H, W]` of the picture, as a store would keep them.
        features: Vec<f32>,
        answer: grad_cam::Answer,
    },
    /// Of the others.
    Occlusion {
        /// `[runs]`: probabilities of the disease.
        probabilities: Vec<f64>,
        /// `[1 + squares]`: the mean probability of the disease in the picture, and in its greyed copies.
        scores: Vec<f64>,
    },
}

impl Explanation {
    /// What was done, in words, and in the names of files.
    fn method(&self) -> (&'static str, &'static str) {
        match self {
            Self::Gradient { .. } => ("Grad-CAM", "gradcam"),
            Self::Occlusion { .. } => ("Occlusion", "occlusion"),
        }
    }

    /// `[runs]`: probabilities of the disease.
    fn probabilities(&self) -> &[f64] {
        match self {
            Self::Gradient { answer, .. } => &answer.probabilities,
            Self::Occlusion { probabilities, .. } => probabilities,
        }
    }

    /// Where the picture raises the score of `class`; `shape` is that of the features.
    fn map(&self, class: Class, shape: [usize; 3]) -> Plane<f32> {
        match self {
            Self::Gradient { features, answer } => {
                let sign = if class == Class::Positive { 1.0 } else { -1.0 };
                let gradient: Vec<f64> = answer.gradient.iter().map(|derivative| sign * derivative).collect();
                grad_cam::activation_map(features, &gradient, shape)
            }
            Self::Occlusion { scores, .. } if class == Class::Positive => occlusion::map(scores),
            Self::Occlusion { scores, .. } => {
                occlusion::map(&scores.iter().map(|score| 1.0 - score).collect::<Vec<f64>>())
            }
        }
    }

    /// Of occlusion, by how much the probability of `class` falls at most, of one square.
    fn most(&self, class: Class) -> Option<f64> {
        match self {
            Self::Gradient { .. } => None,
            Self::Occlusion { scores, .. } => {
                let sign = if class == Class::Positive { 1.0 } else { -1.0 };
                Some(scores.iter().map(|score| sign * (scores[0] - score)).fold(0.0, f64::max))
            }
        }
    }

    /// Of support vector machines, whether the picture resembles none that was learnt from.
    fn unfamiliar(&self) -> bool {
        matches!(self, Self::Gradient { answer, .. } if answer.unfamiliar)
    }
}

/// A line of explained.csv.
#[derive(Serialize)]
struct Line {
    file: String,
    /// Mean over the runs, of the disease; not calibrated.
    probability: f32,
    /// Of that mean, in bits.
    entropy_bits: f32,
    /// What the heat speaks for.
    class: Class,
    /// Mean decision value of support vector machines, mean logit of perceptrons; positive for the disease.
    decision: Option<f64>,
    /// Of support vector machines, whether the picture resembles any that they learnt from.
    familiar: Option<bool>,
    /// `passed`, or why the picture failed the check.
    quality: String,
}

/// Carries out `explain`.
///
/// # Errors
/// Whatever went wrong, with the file it went wrong with.
pub fn run(args: &ExplainArgs) -> anyhow::Result<()> {
    let device = args.device.open_one()?;
    let configuration = RunConfiguration::read(&args.run)?;
    let protocol = &configuration.protocol;
    let there = protocol.runs_of(args.classifier);
    let count = args.runs.map_or(there, NonZeroUsize::get);
    ensure!(
        (1..=there).contains(&count),
        "{}: has {there} runs of {}, not {count}; ask for fewer --runs, or give thorax-train classify {}",
        args.run.display(),
        args.classifier,
        match (protocol.runs.max(count), protocol.fewer.get(&args.classifier)) {
            (runs, Some(_)) => format!("--runs {runs} --fewer {}={count}", args.classifier),
            (runs, None) => format!("--runs {runs}"),
        }
    );
    ensure!(
        has_gradient(args.classifier) || args.pictures.len() <= MOST_OCCLUDED,
        "{} pictures: by occlusion at most {MOST_OCCLUDED} are explained at a time, since each takes {} copies; give fewer",
        args.pictures.len(),
        occlusion::COPIES
    );
    let _lock = take_folder(&args.out)?;
    let problem = open(&args.features, &args.run, &configuration)?;
    let contents = &problem.contents;
    let trunk = args
        .segmenter
        .as_ref()
        .map(|path| LungFinder::open(std::slice::from_ref(path), contents.modality))
        .transpose()?;
    let remade = Remade { weights: args.weights.as_ref(), segmenter: trunk.as_ref().map(LungFinder::origin) };
    let made = remade
        .maker(contents.backbone, &contents.weights_sha256, &contents.preprocess, &device)
        .with_context(|| format!("{} was made with {}", args.features.display(), contents.weights))?;
    let lungs = args.lungs.open(contents.modality)?;
    contents.cropped_by(lungs.as_ref().map(LungFinder::sha256)).with_context(|| args.features.display().to_string())?;
    let bar = progress(args.pictures.len(), "pictures");
    let seen = args.pictures.iter().map(|path| {
        bar.inc(1);
        see(path, contents, lungs.as_ref()).with_context(|| path.display().to_string())
    });
    let seen: Vec<Seen> = seen.collect::<anyhow::Result<_>>()?;
    bar.finish_and_clear();
    let net = Net { graph: &made.graph, dtype: contents.dtype, device: &device };
    let runs =
        Runs { kind: args.classifier, count, folder: &args.run, configuration: &configuration, problem: &problem };
    let explain = if has_gradient(args.classifier) { by_gradient } else { by_occlusion };
    let answers = explain(args, &runs, &net, &seen)?;

    let mut lines = csv::Writer::from_writer(vec![]);
    let mut figures = vec![];
    let told = names(&args.pictures).into_iter().zip(seen).zip(answers);
    for (number, (path, ((name, seen), answer))) in args.pictures.iter().zip(told).enumerate() {
        let ensemble = Ensemble::from_probabilities(answer.probabilities())?;
        let likely = if ensemble.probability >= 0.5 { Class::Positive } else { Class::Negative };
        let class = args.class.unwrap_or(likely);
        let (method, in_files) = answer.method();
        let map = answer.map(class, problem.shape);
        let heat = grad_cam::heat(&map, seen.input.width());
        let files = [
            ("input", pictures::grey(&seen.input)),
            ("heat", pictures::coloured(&heat)),
            (in_files, pictures::overlaid(&seen.input, &heat)),
        ];
        let files = files.map(|(what, picture)| (format!("{name}_{what}.png"), picture));
        files.iter().try_for_each(|(file, picture)| write_png(&args.out.join(file), picture))?;
        if args.maps {
            write_maps(&args.out.join(format!("{name}_maps.safetensors")), &map, &heat)?;
        }
        let warning = if answer.unfamiliar() {
            " The picture resembles none that the runs learnt from: the answer is the one to any such picture, and the heat \
             means nothing."
        } else if heat.data().iter().any(|&heat| heat > 0.0) {
            ""
        } else if has_gradient(args.classifier) {
            " There is none: nowhere does the picture raise that score."
        } else {
            " There is none: nowhere does the answer fall, on average over runs and the squares that cover a place. Answers that are 0 and 1, or a \
             few steps, hide what is small."
        };
        figures.push(Figure {
            title: figure_title(number + 1, args.classifier, contents, method),
            caption: caption(args.classifier, contents, &ensemble, class, answer.most(class), warning, seen.refused),
            files: files.map(|(file, _)| file).into(),
        });
        let (probability, entropy_bits) = (ensemble.probability, ensemble.entropy_bits);
        let quality = seen.refused.map_or("passed".into(), reason);
        let file = path.display().to_string();
        let (decision, familiar) = match &answer {
            Explanation::Gradient { answer, .. } => {
                (Some(answer.decision), (args.classifier != Kind::Mlp).then_some(!answer.unfamiliar))
            }
            Explanation::Occlusion { .. } => (None, None),
        };
        lines.serialize(Line { file, probability, entropy_bits, class, decision, familiar, quality })?;
    }
    let lines = lines.into_inner()?;
    write_atomically(&args.out.join("explained.csv"), |out| out.write_all(&lines))?;
    write_figures(&args.out, &figures)?;
    println!("{}: {} pictures explained; research use only", args.out.display(), figures.len());
    Ok(())
}

/// The pictures that the runs in `folder` learnt from, in the store `path`.
fn open(path: &Path, folder: &Path, configuration: &RunConfiguration) -> anyhow::Result<Problem> {
    let RunConfiguration { store, protocol, parameters, .. } = configuration;
    let left_out = protocol.left_out.as_deref();
    let problem = Problem::open(path, Some(store.backbone), left_out, parameters.folds, protocol.seed)?;
    let found = StoreIdentity::of(&problem);
    ensure!(
        found == *store,
        "{}: not the features that the runs in {} learnt from, which are {} features of {} {} pictures with weights {} \
         (SHA-256 {}); these are {} of {} {} with {} ({}), or their pictures, labels or splits differ. Give the store that \
         thorax-train classify was given",
        path.display(),
        folder.display(),
        store.dtype,
        store.pictures,
        store.modality,
        store.weights,
        store.weights_sha256,
        found.dtype,
        found.pictures,
        found.modality,
        found.weights,
        found.weights_sha256,
    );
    Ok(problem)
}

/// Whether its answer has a derivative by the features that is worth a picture.
const fn has_gradient(kind: Kind) -> bool {
    matches!(kind, Kind::SvmRbf | Kind::SvmPolynomial | Kind::Mlp)
}

/// What made the features of a store, and how they are kept there.
struct Net<'a> {
    graph: &'a Graph,
    dtype: Dtype,
    device: &'a Device,
}

impl Net<'_> {
    /// `[N][C * H * W]`: the features of inputs `[N][C * H * W]`, as a store keeps them.
    fn features(&self, inputs: &[Vec<f32>]) -> anyhow::Result<Vec<Vec<f32>>> {
        let [channels, height, width] = self.graph.input_shape;
        let x = Tensor::from_vec(inputs.concat(), (inputs.len(), channels, height, width), self.device)?;
        let mut features = self.graph.run(&x)?.swap_remove(0).flatten_from(1)?.to_vec2::<f32>()?;
        for value in features.iter_mut().flatten() {
            if self.dtype == Dtype::F16 {
                *value = f16::from_f32(*value).to_f32();
            }
            ensure!(value.is_finite(), "a feature of it is not finite as {}; check the weights", self.dtype);
        }
        Ok(features)
    }
}

/// Why classifiers with a gradient say what they say.
fn by_gradient(args: &ExplainArgs, runs: &Runs, net: &Net, seen: &[Seen]) -> anyhow::Result<Vec<Explanation>> {
    let standardise = runs.configuration.parameters.standardise;
    let gram = Gram::open(&args.run.join("gram.safetensors"), runs.problem, standardise)?;
    let features = args.pictures.iter().zip(seen).map(|(path, seen)| {
        let features = net.features(std::slice::from_ref(&seen.numbers));
        Ok(features.with_context(|| path.display().to_string())?.concat())
    });
    let features: Vec<Vec<f32>> = features.collect::<anyhow::Result<_>>()?;
    let answers = match runs.kind {
        Kind::Mlp => Perceptrons::fit(runs, &gram)?.answer(&features),
        _ => {
            let machines = Machines::fit(runs, &gram)?;
            let bar = progress(features.len(), "explanations");
            let answers = features.iter().map(|features| machines.answer(features)).inspect(|_| bar.inc(1)).collect();
            bar.finish_and_clear();
            answers
        }
    };
    let explained = features.into_iter().zip(answers);
    Ok(explained.map(|(features, answer)| Explanation::Gradient { features, answer }).collect())
}

/// Why any classifier says what it says: by its answers to the pictures, and to copies in which a square is greyed out.
fn by_occlusion(args: &ExplainArgs, runs: &Runs, net: &Net, seen: &[Seen]) -> anyhow::Result<Vec<Explanation>> {
    /// Copies that go through the net at a time.
    const BATCH: usize = 17;
    runs.check_there()?;
    if runs.kind == Kind::Xgboost {
        check_xgboost(args.xgboost.as_deref())?;
    }
    let bar = progress(seen.len(), "greyed copies");
    let features = args.pictures.iter().zip(seen).map(|(path, seen)| {
        let copies = occlusion::copies(&seen.numbers, net.graph.input_shape);
        let features = copies.chunks(BATCH).map(|copies| net.features(copies)).collect::<anyhow::Result<Vec<_>>>();
        bar.inc(1);
        Ok(features.with_context(|| path.display().to_string())?.concat())
    });
    let features: Vec<Vec<Vec<f32>>> = features.collect::<anyhow::Result<_>>()?;
    bar.finish_and_clear();
    let said = occlusion::ask(runs, &features, &args.out, args.xgboost.as_deref())?;
    let explained = said.into_iter().map(|mut said| {
        let scores = said.iter().map(|runs| runs.iter().sum::<f64>() / runs.len() as f64).collect();
        Explanation::Occlusion { probabilities: said.swap_remove(0), scores }
    });
    Ok(explained.collect())
}

/// Reads and prepares a picture as those of the store were.
fn see(path: &Path, contents: &Contents, lungs: Option<&LungFinder>) -> anyhow::Result<Seen> {
    let picture = Picture::read(path, false)?;
    let equalised = picture.equalise(&contents.preprocess)?;
    let (_, refused) = equalised.assess(picture.frame.colour_share, &contents.quality);
    let crop = lungs::crop(&picture, &equalised, &contents.preprocess, lungs)?;
    let (input, numbers) = equalised.input(&crop, &contents.preprocess);
    Ok(Seen { input, numbers, refused })
}

/// A name for the files of each picture: its own without the ending, and a number behind it where another has the same.
fn names(paths: &[PathBuf]) -> Vec<String> {
    let mut taken = BTreeSet::new();
    let unique = |path: &PathBuf| {
        let stem = path.file_stem().unwrap_or(path.as_os_str()).to_string_lossy().into_owned();
        let numbered = (2..).map(|number| format!("{stem}-{number}"));
        std::iter::once(stem.clone()).chain(numbered).find(|name| taken.insert(name.clone())).unwrap_or(stem)
    };
    paths.iter().map(unique).collect()
}

fn title(modality: Modality) -> &'static str {
    match modality {
        Modality::Xray => "Chest X-ray",
        Modality::Ct => "CT slice",
    }
}

/// Why, without the advice.
fn reason(refused: RejectReason) -> String {
    let text = refused.to_string();
    text.split(':').next().unwrap_or(&text).to_owned()
}

/// Net and classifier are in it, since a report shows the figures of several.
fn figure_title(number: usize, kind: Kind, contents: &Contents, method: &str) -> String {
    let drawn = if are_drawn(&contents.weights) { ", drawn weights" } else { "" };
    let (picture, net, classifier) = (title(contents.modality), contents.backbone, kind.title());
    format!("{picture} {number}, {net}{drawn}, {classifier}: {method} and heat map")
}

fn caption(
    kind: Kind,
    contents: &Contents,
    ensemble: &Ensemble,
    class: Class,
    most: Option<f64>,
    warning: &str,
    refused: Option<RejectReason>,
) -> String {
    let class = match class {
        Class::Positive => "the disease",
        Class::Negative => "anything but the disease",
    };
    let weights = match are_drawn(&contents.weights) {
        true => format!("{}: drawn weights, which have seen no picture before", contents.weights),
        false => format!("weights: {}", contents.weights),
    };
    let mut text = format!(
        "{}: what the net saw, the heat map, and both. {}, mean of {} runs on features of {} ({weights}): probability of the disease \
         {:.1} %, entropy {:.2} bits, uncalibrated. The heat speaks for {class}, from blue (least) to yellow (most).",
        title(contents.modality),
        kind.title(),
        ensemble.members,
        contents.backbone,
        100.0 * ensemble.probability,
        ensemble.entropy_bits
    );
    if let Some(most) = most {
        text += &format!(
            " It is by how much the probability of {class} falls where a square of a seventh of the side is greyed out, on average over the squares that \
             cover a place; of one square at most {:.1} points.",
            100.0 * most
        );
    }
    text += warning;
    if let Some(refused) = refused {
        text += &format!(" The picture failed the quality check ({}).", reason(refused));
    }
    text + " Research use only."
}

/// The numbers behind the pictures.
fn write_maps(path: &Path, map: &Plane<f32>, heat: &Plane<f32>) -> anyhow::Result<()> {
    let tensor =
        |plane: &Plane<f32>| (vec![plane.height(), plane.width()], bytemuck::cast_slice(plane.data()).to_vec());
    let tensors = [("map", tensor(map)), ("heat", tensor(heat))];
    let views: Vec<(&str, TensorView<'_>)> = tensors
        .iter()
        .map(|(name, (shape, bytes))| Ok((*name, TensorView::new(safetensors::Dtype::F32, shape.clone(), bytes)?)))
        .collect::<anyhow::Result<_>>()?;
    let file = safetensors::serialize(views, None)?;
    Ok(write_atomically(path, |out| out.write_all(&file))?)
}
