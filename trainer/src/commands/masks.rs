//! `thorax-train masks`: draw masks, and say what they are worth.

use std::{
    collections::BTreeSet,
    path::{Path, PathBuf},
};

use anyhow::{Context, bail, ensure};
use thorax_shared::modality::Modality;

use crate::{
    data::{self, Manifest, Split, Task, picture::Picture},
    instance::{self, LesionFinder, drawing},
    judge::{
        Resampling, lesions,
        masks::{
            self, FORMAT, Identity, NOTICE, RunJudgement, SegmentationJudgement, Training, compare::Stack, figures,
            judge_run, pool, spread, tables,
        },
    },
    segmentation::{
        Members,
        predict::{mask_file_stem, predict_file},
        refuse_twins,
        run::SegmentConfig,
    },
};

/// `thorax-train masks ...`
#[derive(Debug, clap::Subcommand)]
pub enum MasksCommand {
    /// Compare the masks that trained nets draw with the true ones of a split
    Judge(JudgeArgs),
    /// Put the rounds of a cross-validation together, as one judgement over all patients (of masks; single lesions stay with their round)
    Pool(PoolArgs),
    /// Draw the masks of pictures (PNG files) and volumes (NIfTI files that lie over the scan)
    Predict(PredictArgs),
    /// Compare a mask with the true one: NIfTI volumes that lie over one scan, or pictures
    Compare(CompareArgs),
}

/// Carries out a command.
///
/// # Errors
/// Whatever went wrong, with the file it went wrong with.
pub fn run(command: &MasksCommand) -> anyhow::Result<()> {
    match command {
        MasksCommand::Judge(args) => judge(args),
        MasksCommand::Pool(args) => pool_rounds(args),
        MasksCommand::Predict(args) => predict(args),
        MasksCommand::Compare(args) => compare(args),
    }
}

/// Options of `masks judge`.
#[derive(Debug, clap::Args)]
pub struct JudgeArgs {
    /// Manifest written by `thorax-train data import`
    #[arg(long)]
    manifest: PathBuf,
    /// Folder of a finished `thorax-train train segment` or `train instance`; several (of several seeds) are judged each by itself, and
    /// their spread. Of a net that finds single lesions the union is judged here, and each lesion in lesions.md and lesions.json
    #[arg(long = "run", value_name = "DIR", required = true)]
    runs: Vec<PathBuf>,
    /// Judge the mean of the runs' probabilities, as one net
    #[arg(long)]
    mean: bool,
    /// Split to judge on: train, val or test
    #[arg(long, default_value = "test")]
    split: Split,
    /// Of the pictures with masks judge those alone whose source has this text in its name; those of class normal stay
    #[arg(long, value_name = "TEXT")]
    source: Option<String>,
    /// Folder for judgement.md, judgement.json, pictures.csv and patients.csv
    #[arg(long, value_name = "DIR")]
    out: PathBuf,
    /// Also write the pictures of so many figures of the first run, and their list for `thorax-train report --figures`: picture,
    /// true masks, masks found, from the lowest Dice to the highest; of a net that finds single lesions also these, with boxes and scores
    #[arg(long, value_name = "N", default_value_t = 0)]
    figures: usize,
    /// Resamples of the bootstrap over patients
    #[arg(long, default_value_t = 1000, value_parser = clap::value_parser!(u32).range(1..=1_000_000))]
    resamples: u32,
    /// Seed of the bootstrap
    #[arg(long, default_value_t = 1)]
    seed: u64,
}

/// Options of `masks pool`.
#[derive(Debug, clap::Args)]
pub struct PoolArgs {
    /// Folder of `thorax-train masks judge`, one a round, with one run each
    #[arg(required = true, num_args = 2.., value_name = "DIR")]
    rounds: Vec<PathBuf>,
    /// Folder for judgement.md, judgement.json, pictures.csv and patients.csv
    #[arg(long, value_name = "DIR")]
    out: PathBuf,
    /// Resamples of the bootstrap over patients
    #[arg(long, default_value_t = 1000, value_parser = clap::value_parser!(u32).range(1..=1_000_000))]
    resamples: u32,
    /// Seed of the bootstrap
    #[arg(long, default_value_t = 1)]
    seed: u64,
}

/// Options of `masks predict`.
#[derive(Debug, clap::Args)]
pub struct PredictArgs {
    /// Folder of a finished `thorax-train train segment`; of several, the mean of their probabilities is drawn
    #[arg(long = "run", value_name = "DIR", required = true)]
    runs: Vec<PathBuf>,
    /// Folder for the masks: NAME_MASK.png of a picture, NAME_MASK.nii.gz of a volume, NAME_overlay.png of both
    #[arg(long, value_name = "DIR")]
    out: PathBuf,
    /// The files were equalised (CLAHE) before they were published, and are not equalised again
    #[arg(long)]
    equalised: bool,
    /// Write over files that are there
    #[arg(long)]
    force: bool,
    /// PNG, JPEG, TIFF and DICOM pictures, NIfTI volumes
    #[arg(required = true, value_name = "FILE")]
    files: Vec<PathBuf>,
}

/// Options of `masks compare`.
#[derive(Debug, clap::Args)]
pub struct CompareArgs {
    /// The mask: a NIfTI volume, or a picture
    found: PathBuf,
    /// The true mask, on the voxels or pixels of the other
    truth: PathBuf,
    /// Of the true mask only what has this value; a mask of both lungs often has 1 and 2 [default:
    /// what training would take as marked: all above 0 of labels, the brighter half of shades of grey]
    #[arg(long, value_name = "VALUE", value_parser = clap::value_parser!(u16).range(1..))]
    label: Option<u16>,
    /// Tell it as JSON
    #[arg(long)]
    json: bool,
}

/// Carries out `masks judge`.
///
/// # Errors
/// Whatever went wrong, with the file it went wrong with.
fn judge(args: &JudgeArgs) -> anyhow::Result<()> {
    if args.runs.iter().any(|run| instance::run::is_run(run)) {
        return judge_instances(args);
    }
    let manifest = data::open(&args.manifest)?;
    let settings = Resampling { resamples: args.resamples as usize, level: 0.95, seed: args.seed };
    let groups: Vec<&[PathBuf]> = args.runs.chunks(if args.mean { args.runs.len() } else { 1 }).collect();
    let nets = groups.iter().map(|folders| Members::load(folders)).collect::<anyhow::Result<Vec<Members>>>()?;
    refuse_twins(&nets)?;
    if let Some(members) = nets.first() {
        data::verify(&manifest, members.first().config.modality, &[Task::Segment, Task::Classify])?;
    }
    let mut runs: Vec<RunJudgement> = vec![];
    let mut modality = None;
    let judged_on = of_source(&manifest, args)?;
    for (folders, members) in groups.into_iter().zip(&nets) {
        let run = members.first();
        let segmenter = members.segmenter().with_context(|| members.name())?;
        same_modality(&mut modality, segmenter.modality(), &members.name())?;
        let identity = Identity {
            run: members.name(),
            seed: run.config.seed,
            members: members.runs().len(),
            rounds: 1,
            same_data: run.config.learnt_from(&manifest)?,
        };
        let learnt_from = identity.same_data.then_some(&manifest);
        let judged = judge_run(&judged_on, args.split, &segmenter, identity, &settings)?;
        if runs.is_empty() && args.figures > 0 {
            figures::write(&judged_on, &segmenter, &judged, None, args.figures, &args.out)?;
        }
        let training = members
            .runs()
            .iter()
            .zip(folders)
            .map(|(run, folder)| Training::read(folder, run.config.clone().into(), learnt_from));
        runs.push(RunJudgement { training: training.collect::<anyhow::Result<_>>()?, ..judged });
    }
    let recipes: Vec<SegmentConfig> = nets.iter().map(|members| members.first().config.without_seed()).collect();
    let judgement = write_judgement(args, modality, settings, runs, &recipes)?;
    println!("{}", tables::summary(&judgement));
    println!("{}: judgement.md, judgement.json, pictures.csv, patients.csv; research use only", args.out.display());
    Ok(())
}

/// What is judged: all of the manifest, or of its pictures with masks those of `--source`.
fn of_source(manifest: &Manifest, args: &JudgeArgs) -> anyhow::Result<Manifest> {
    let Some(text) = &args.source else { return Ok(manifest.clone()) };
    let chosen = manifest.with_masks_of(text);
    let segment = |manifest: &Manifest| -> BTreeSet<String> {
        let records = manifest.records.iter().filter(|r| r.task == Task::Segment && r.split == args.split);
        records.map(|record| record.source.clone()).collect()
    };
    let all: Vec<String> = segment(manifest).into_iter().collect();
    ensure!(
        !segment(&chosen).is_empty(),
        "--source {text}: no picture with masks in the {} split is of such a source; there are: {}",
        args.split.as_str(),
        all.join("; ")
    );
    Ok(chosen)
}

/// Sees that a run called `name` is on the pictures that the runs before it are on.
fn same_modality(before: &mut Option<Modality>, own: Modality, name: &str) -> anyhow::Result<()> {
    let before = *before.get_or_insert(own);
    ensure!(
        own == before,
        "{name}: a run on {own} pictures, the runs before it are on {before} pictures; judge them one by one"
    );
    Ok(())
}

/// Writes what the runs come to; runs of one recipe, but for their seeds, also have a spread.
fn write_judgement<R: PartialEq>(
    args: &JudgeArgs,
    modality: Option<Modality>,
    settings: Resampling,
    runs: Vec<RunJudgement>,
    recipes: &[R],
) -> anyhow::Result<SegmentationJudgement> {
    let comparable = recipes.len() > 1 && recipes.iter().all(|other| *other == recipes[0]);
    let judgement = SegmentationJudgement {
        format: FORMAT,
        notice: NOTICE.into(),
        modality: modality.context("give at least one --run")?,
        split: args.split,
        source: args.source.clone(),
        settings,
        spread: if comparable { spread(&runs) } else { vec![] },
        runs,
    };
    masks::write(&judgement, &args.out)?;
    Ok(judgement)
}

/// `masks judge` of runs of `train instance`: the union of the lesions as a mask, and each lesion.
fn judge_instances(args: &JudgeArgs) -> anyhow::Result<()> {
    ensure!(!args.mean, "--mean: lesions have no mean; judge the runs each by itself");
    if let Some(other) = args.runs.iter().find(|run| !instance::run::is_run(run)) {
        bail!("{}: no run of train instance, as the others are; judge it by itself", other.display());
    }
    let manifest = data::open(&args.manifest)?;
    let settings = Resampling { resamples: args.resamples as usize, level: 0.95, seed: args.seed };
    let judged_on = of_source(&manifest, args)?;
    let (mut runs, mut judged_lesions, mut recipes) = (vec![], vec![], vec![]);
    let mut modality = None;
    for folder in &args.runs {
        let finder = LesionFinder::load(folder)?;
        let config = &finder.run().config;
        same_modality(&mut modality, config.modality, &folder.display().to_string())?;
        if runs.is_empty() {
            data::verify(&manifest, config.modality, &[Task::Segment, Task::Classify])?;
        }
        let identity = Identity {
            run: folder.display().to_string(),
            seed: config.seed,
            members: 1,
            rounds: 1,
            same_data: config.learnt_from(&manifest)?,
        };
        let learnt_from = identity.same_data.then_some(&manifest);
        let (judged, lesions) = lesions::judge_run(&judged_on, args.split, &finder, identity, &settings)?;
        if runs.is_empty() && args.figures > 0 {
            let drawn = |picture: &Picture| Ok(drawing(&finder.find(picture)?, finder.run().threshold.score));
            figures::write(&judged_on, &finder, &judged, Some(&drawn), args.figures, &args.out)?;
        }
        judged_lesions.push(lesions);
        recipes.push(config.without_seed());
        let training = vec![Training::read(folder, config.clone().into(), learnt_from)?];
        runs.push(RunJudgement { training, ..judged });
    }
    let judgement = write_judgement(args, modality, settings, runs, &recipes)?;
    lesions::write(&judged_lesions, &args.out)?;
    println!("{}\n{}", tables::summary(&judgement), lesions::markdown(&judged_lesions));
    println!(
        "{}: judgement.md, judgement.json, pictures.csv, patients.csv, lesions.md, lesions.json; research use only",
        args.out.display()
    );
    Ok(())
}

/// Carries out `masks pool`.
///
/// # Errors
/// Folders that are no rounds of one cross-validation; a file that cannot be read or written.
fn pool_rounds(args: &PoolArgs) -> anyhow::Result<()> {
    let out = args.out.canonicalize().ok();
    if let Some(round) = args.rounds.iter().find(|round| out.is_some() && round.canonicalize().ok() == out) {
        bail!("{}: one of the rounds, whose judgement would be written over; give another --out", round.display());
    }
    let rounds = args.rounds.iter().map(|folder| Ok((folder.as_path(), masks::read(folder)?)));
    let rounds: Vec<(&Path, SegmentationJudgement)> = rounds.collect::<anyhow::Result<_>>()?;
    let settings = Resampling { resamples: args.resamples as usize, level: 0.95, seed: args.seed };
    let judgement = pool::pool(&rounds, settings)?;
    masks::write(&judgement, &args.out)?;
    println!("{}", tables::summary(&judgement));
    for folder in &args.rounds {
        if !lesions::read(folder)?.is_empty() {
            println!("{}: its single lesions are not put together; lesions.md has this round's", folder.display());
        }
    }
    Ok(())
}

/// Carries out `masks predict`. A file that cannot be read does not keep the others from being read.
///
/// # Errors
/// A run that cannot be read; files of one name; at the end, how many files had no masks drawn (each said on standard error).
fn predict(args: &PredictArgs) -> anyhow::Result<()> {
    let segmenter = Members::load(&args.runs)?.segmenter()?;
    let mut names = BTreeSet::new();
    for file in &args.files {
        let name = mask_file_stem(file);
        ensure!(
            names.insert(name.clone()),
            "{}: another file's masks are called {name} as well; predict them into another --out",
            file.display()
        );
    }
    let inputs: BTreeSet<PathBuf> = args.files.iter().filter_map(|file| file.canonicalize().ok()).collect();
    let mut failed = 0;
    for file in &args.files {
        let free = |path: &Path| {
            ensure!(
                path.canonicalize().map_or(true, |path| !inputs.contains(&path)),
                "{}: is itself to be read; choose another --out",
                path.display()
            );
            ensure!(
                args.force || !path.exists(),
                "{}: is there already; choose another --out, or --force",
                path.display()
            );
            Ok(())
        };
        match predict_file(&segmenter, file, args.equalised, &args.out, free) {
            Ok(said) => println!("{}: {said}", file.display()),
            Err(error) => {
                failed += 1;
                eprintln!("{}: {error:#}", file.display());
            }
        }
    }
    println!("Research use only, not a medical device.");
    if failed > 0 {
        bail!("{failed} of {} files have no masks, for the reasons above", args.files.len());
    }
    Ok(())
}

/// Carries out `masks compare`.
///
/// # Errors
/// Files that cannot be read, are no masks, or do not lie over each other.
fn compare(args: &CompareArgs) -> anyhow::Result<()> {
    let read = |path: &Path, label| Stack::read(path, label).with_context(|| path.display().to_string());
    let (found, truth) = (read(&args.found, None)?, read(&args.truth, args.label)?);
    ensure!(
        found.lies_over(&truth),
        "{}: {}, {} has {}, or they are oriented or spaced otherwise; resample the one onto the other's grid",
        args.truth.display(),
        truth.size(),
        args.found.display(),
        found.size()
    );
    let comparison = masks::compare::compare(&found, &truth)?;
    if args.json {
        println!("{}", serde_json::to_string_pretty(&comparison)?);
    } else {
        println!("{}\n{NOTICE}", comparison.told());
    }
    Ok(())
}
