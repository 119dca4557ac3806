//! `thorax-train report`: run folders judged, as a page to read and show, and as numbers to work with.
//!
//! Every run folder becomes a section in the layout of the paper's tables V to VIII, its own numbers beside the paper's;
//! folders of `masks judge` become sections in the layout of its tables IX to XII;
//! folders with a source left out become one table beside the run that learnt from it. `document` is the page as data, which is
//! rendered twice, as HTML and as Markdown; `tables` and `charts` fill it. The same folders and options give the same bytes.

pub(crate) mod charts;
pub(crate) mod document;
mod hyper_parameters;
mod lesions;
mod masks;
mod numbers;
mod paper;
mod paper_masks;
mod tables;
#[cfg(test)]
mod tests;

use std::path::PathBuf;

use anyhow::Context;
use thorax_files::write_atomically;
use thorax_nets::source::are_drawn;

use self::{
    document::{Block, Document, Look, Table},
    paper::PaperTable,
    tables::LeftOut,
};
use crate::{
    classifiers::{Resample, RunFolder, read_run},
    figures,
    judge::{
        self,
        classifiers::{JudgeError, Judged, Judgement, Settings, judge},
    },
    progress::progress,
};

/// Options of `report`.
#[derive(Debug, clap::Args)]
pub struct ReportArgs {
    /// Folder of thorax-train classify; what it holds under sources/ (a source left out) is reported too. May be repeated
    #[arg(long = "run", value_name = "DIR", required_unless_present_any = ["masks", "grid"])]
    pub runs: Vec<PathBuf>,
    /// Folder that `thorax-train masks judge` wrote: a net, with its seeds. May be repeated
    #[arg(long = "masks", value_name = "DIR")]
    pub masks: Vec<PathBuf>,
    /// Folder in which `thorax-train masks judge` judged the nets of a grid, whose runs differ: they have rows in the paper's tables IX and X
    /// alone. May be repeated
    #[arg(long, value_name = "DIR")]
    pub grid: Vec<PathBuf>,
    /// Folder that `thorax-train explain` or `masks judge --figures` wrote, or another with PNG pictures and their list, figures.json: [{"title",
    /// "caption", "files": ["a.png", ...]}, ...]. May be repeated
    #[arg(long, value_name = "FOLDER")]
    pub figures: Vec<PathBuf>,
    /// Where report.html and report.md go, and of classifiers tables.csv and judgement.json
    #[arg(long, value_name = "FOLDER")]
    pub out: PathBuf,
    /// Wanted sensitivity of the screening threshold
    #[arg(long, value_name = "SHARE", default_value_t = Settings::default().sensitivity, value_parser = share)]
    pub sensitivity: f64,
    /// Wanted share of wrong answers when abstaining
    #[arg(long, value_name = "SHARE", default_value_t = Settings::default().risk, value_parser = share)]
    pub risk: f64,
    /// Bootstrap resamples of patients
    #[arg(long, default_value_t = 1000, value_parser = clap::value_parser!(u32).range(1..=1_000_000))]
    pub resamples: u32,
    /// Seed of the bootstrap
    #[arg(long, default_value_t = Settings::default().seed)]
    pub seed: u64,
}

/// Reads a share above 0 and at most 1.
fn share(text: &str) -> Result<f64, String> {
    let share = text.parse().ok().filter(|share: &f64| *share > 0.0 && *share <= 1.0);
    share.ok_or_else(|| "expected a share above 0 and at most 1, such as 0.9".into())
}

/// What was judged.
struct JudgedRun {
    folder: RunFolder,
    judgement: Judgement,
}

impl JudgedRun {
    /// `X-ray, resnet50`: the title of its section.
    fn title(&self) -> String {
        let Judgement { modality, backbone, resample, weights, .. } = &self.judgement;
        let drawn = if are_drawn(weights) { ", drawn weights" } else { "" };
        let split = if *resample == Resample::Split { ", a split of its own for each run" } else { "" };
        format!("{}, {backbone}{drawn}{split}", modality.title())
    }

    /// Whether the other is the same with a source left out, or the other way round.
    fn belongs_to(&self, other: &Self) -> bool {
        let key = |run: &Self| {
            let Judgement { modality, backbone, resample, weights, .. } = &run.judgement;
            (*modality, *backbone, *resample, weights.clone())
        };
        key(self) == key(other)
    }
}

/// Carries out `report`.
///
/// # Errors
/// Folders that are no finished runs, pictures that are missing, and what cannot be written.
pub fn run(args: &ReportArgs) -> anyhow::Result<()> {
    let ReportArgs { sensitivity, risk, resamples, seed, .. } = *args;
    let settings = Settings { resamples: resamples as usize, seed, sensitivity, risk, ..Settings::default() };
    let folders = with_sources(&args.runs)?;
    let bar = progress(folders.len(), "judging");
    let mut runs = Vec::new();
    for path in &folders {
        let folder = read_run(path)?;
        let judgement = judge(&folder, &settings).with_context(|| path.display().to_string())?;
        runs.push(JudgedRun { folder, judgement });
        bar.inc(1);
    }
    bar.finish_and_clear();
    let pictures =
        args.figures.iter().map(|folder| figures::read(folder)).collect::<anyhow::Result<Vec<_>>>()?.concat();
    let same = |folder: &PathBuf| {
        folder.canonicalize().is_ok_and(|folder| args.out.canonicalize().is_ok_and(|out| out == folder))
    };
    if let Some(folder) = args.masks.iter().chain(&args.grid).find(|folder| same(folder)) {
        anyhow::bail!("--out {}: has the judgement that is to be read; choose another folder", folder.display());
    }
    let masks = args.masks.iter().map(|folder| masks::read(folder)).collect::<anyhow::Result<Vec<_>>>()?;
    let grid = args.grid.iter().map(|folder| masks::read_grid(folder)).collect::<anyhow::Result<Vec<_>>>()?.concat();
    let lesions = args.masks.iter().zip(&masks).map(|(folder, judgement)| lesions::read(folder, judgement));
    let lesions: Vec<lesions::Judged> = lesions.collect::<anyhow::Result<Vec<_>>>()?.into_iter().flatten().collect();
    let page = page(&runs, [&masks, &grid], &lesions, pictures, &settings)?;
    let judgements: Vec<&Judgement> = runs.iter().map(|run| &run.judgement).collect();
    let mut files = vec![("report.html", page.to_html().into_bytes()), ("report.md", page.to_markdown().into_bytes())];
    // `masks judge` has written the figures of the masks already.
    if !judgements.is_empty() {
        files.extend([("tables.csv", numbers::csv(&judgements)?), ("judgement.json", numbers::json(&judgements)?)]);
    }
    for (name, bytes) in files {
        let path = args.out.join(name);
        write_atomically(&path, |out| out.write_all(&bytes))?;
        eprintln!("{}", path.display());
    }
    Ok(())
}

/// Each folder, then those of its sources in alphabetical order; a folder that was named twice once.
fn with_sources(runs: &[PathBuf]) -> anyhow::Result<Vec<PathBuf>> {
    let mut all: Vec<PathBuf> = Vec::new();
    for run in runs {
        let mut found = vec![run.clone()];
        let sources = run.join("sources");
        if sources.is_dir() {
            let entries = std::fs::read_dir(&sources).with_context(|| sources.display().to_string())?;
            let paths = entries.map(|entry| Ok(entry?.path())).collect::<std::io::Result<Vec<_>>>();
            let mut paths = paths.with_context(|| sources.display().to_string())?;
            paths.retain(|path| path.is_dir());
            paths.sort();
            found.extend(paths);
        }
        found.retain(|path| !all.contains(path));
        all.extend(found);
    }
    Ok(all)
}

fn page(
    runs: &[JudgedRun],
    [masks, grid]: [&[judge::masks::SegmentationJudgement]; 2],
    lesions: &[lesions::Judged],
    pictures: Vec<figures::Pictures>,
    settings: &Settings,
) -> anyhow::Result<Document> {
    let mut blocks = vec![
        Block::Caution(
            "Research use only, not a medical device.".into(),
            vec![
                "Nothing on this page may be used to diagnose or treat anyone. Probabilities and entropies are those of classifiers \
                 trained on small public collections."
                    .into(),
            ],
        ),
        Block::Caution(
            "What these numbers do not say.".into(),
            vec![
                "Positive and negative pictures of public collections come from different hospitals, so a classifier can learn the \
                 source in place of the disease: read the tables by source, and those with a source left out, before any other."
                    .into(),
                "All splits here are by patient. The paper splits pictures and does not say that patients were kept apart; slices of \
                 one patient on both sides raise every figure. The paper's pictures are others, too: its numbers stand beside ours \
                 for orientation, not as the same measurement."
                    .into(),
            ],
        ),
    ];
    let (left_out, main): (Vec<&JudgedRun>, Vec<&JudgedRun>) =
        runs.iter().partition(|run| run.judgement.left_out.is_some());
    if !main.is_empty() {
        blocks.push(Block::Section("Summary".into()));
        blocks.push(Block::Table(summary(&main)));
    }
    for run in &main {
        blocks.push(Block::Section(run.title()));
        section(&run.judgement, &mut blocks)?;
    }
    let mut reported: Vec<&JudgedRun> = Vec::new();
    for run in &left_out {
        if reported.iter().any(|other| other.belongs_to(run)) {
            continue;
        }
        reported.push(run);
        let family = left_out.iter().filter(|other| other.belongs_to(run));
        let main = main.iter().find(|main| main.belongs_to(run));
        let found = family.map(|run| beside(run, main.copied(), settings)).collect::<anyhow::Result<Vec<_>>>()?;
        blocks.push(Block::Section(format!("{}: a source left out", run.title())));
        blocks.push(Block::Table(tables::left_out(&found)));
        blocks.push(Block::Table(tables::left_out_by_classifier(&found)));
    }
    masks::sections(masks, grid, &mut blocks)?;
    lesions::section(lesions, &mut blocks);
    hyper_parameters::section(&main, masks, grid, &mut blocks)?;
    if !pictures.is_empty() {
        blocks.push(Block::Section("Pictures".into()));
        blocks.extend(pictures.into_iter().map(Block::Pictures));
    }
    let title = match (runs.is_empty(), masks.is_empty() && grid.is_empty()) {
        (false, false) => "Chest X-rays and CT: classifiers, their uncertainty, and segmentation",
        (true, _) => "Chest X-rays and CT: segmentation",
        (_, true) => "Chest X-rays and CT: classifiers and their uncertainty",
    };
    Ok(Document { title: title.into(), name: "report", blocks })
}

/// A run without a source beside the run that learnt from it.
fn beside<'a>(run: &'a JudgedRun, main: Option<&'a JudgedRun>, settings: &Settings) -> anyhow::Result<LeftOut<'a>> {
    let source = run.judgement.left_out.as_deref().unwrap_or_default();
    let same = main.map(|main| {
        let tested =
            |row: usize| (0..main.folder.runs).any(|run| main.folder.role(run, row) == Some(crate::data::Split::Test));
        let paths =
            main.folder.rows.iter().enumerate().filter(|(row, _)| tested(*row)).map(|(_, row)| row.path.as_str());
        let paths: std::collections::BTreeSet<&str> = paths.collect();
        let same = run.folder.retain(|row| row.source != source || paths.contains(row.path.as_str()));
        match judge(&same, settings) {
            Err(JudgeError::NoTestPicture { .. }) => Ok(None),
            judged => judged.map(Some),
        }
    });
    let same = same.transpose()?.flatten();
    let main = main.map(|main| by_the_same_classifiers(main, run, settings)).transpose()?.flatten();
    Ok(LeftOut { source, all: &run.judgement, same, main })
}

/// What the classifiers of `main` say that `run` has too, so that all of them together are of the same; `None` where there is none.
fn by_the_same_classifiers(
    main: &JudgedRun,
    run: &JudgedRun,
    settings: &Settings,
) -> anyhow::Result<Option<Judgement>> {
    let has = |kind| run.folder.classifiers.iter().any(|classifier| classifier.kind == kind);
    let mut folder = main.folder.clone();
    folder.classifiers.retain(|classifier| has(classifier.kind));
    match folder.classifiers.len() {
        0 => Ok(None),
        all if all == main.folder.classifiers.len() => Ok(Some(main.judgement.clone())),
        _ => Ok(Some(judge(&folder, settings)?)),
    }
}

/// A row a run.
fn summary(runs: &[&JudgedRun]) -> Table {
    let caption = "In percent, on test pictures. All classifiers: their averaged prediction. Chosen: the classifier with the highest \
         accuracy on validation pictures, so that the choice does not flatter. Both are accuracies of averaged predictions, intervals over \
         patients.";
    let head = [
        "Features",
        "Test pictures",
        "Positive",
        "Patients",
        "All classifiers",
        "AUC",
        "AUROC of entropy",
        "ECE after temperature",
        "Chosen",
        "Paper's best",
    ];
    let mut table = Table::new(caption, &head);
    for run in runs {
        let judgement = &run.judgement;
        let test = judgement.test;
        let Some(ensemble) = judgement.classifiers.last() else { continue };
        let single = judgement.classifiers.iter().filter(|judged| judged.kind.is_some());
        // Of equals the first, in the paper's order.
        let chosen = single.filter(|j| j.validation_accuracy.is_some()).fold(None, |best: Option<&Judged>, judged| {
            best.filter(|best| best.validation_accuracy >= judged.validation_accuracy).or(Some(judged))
        });
        let ece =
            ensemble.calibration.tempered.as_ref().map_or(tables::NONE.into(), |after| format!("{:.3}", after.ece));
        let paper = PaperTable::beside(judgement);
        table.push(
            Look::Plain,
            vec![
                run.title(),
                test.pictures.to_string(),
                test.positive.to_string(),
                test.patients.to_string(),
                tables::percent_interval(ensemble.averaged.accuracy),
                tables::interval(ensemble.averaged.auc),
                tables::interval(ensemble.uncertainty.error_auc),
                ece,
                chosen.map_or(tables::NONE.into(), |judged| {
                    format!("{} {}", judged.title(), tables::percent_interval(judged.averaged.accuracy))
                }),
                paper.map_or(tables::NONE.into(), |paper| tables::percent(Some(paper.best_accuracy() / 100.0))),
            ],
        );
    }
    table
}

fn section(judgement: &Judgement, blocks: &mut Vec<Block>) -> anyhow::Result<()> {
    let paper = PaperTable::beside(judgement);
    let count = |count: crate::judge::classifiers::Count| {
        format!("{} pictures of {} patients, {} positive", count.pictures, count.patients, count.positive)
    };
    let fewer = judgement.classifiers.iter().filter(|judged| judged.run_count < judgement.runs);
    let fewer = fewer.filter(|judged| judged.kind.is_some());
    let fewer: String = fewer.map(|judged| format!(", {} of {}", judged.run_count, judged.title())).collect();
    blocks.push(Block::Paragraph(match judgement.resample {
        Resample::Bootstrap => format!(
            "Un-pooled features of {} ({}). {} runs of each classifier{fewer} (seed {}), each fitted to its own bootstrap resample of the \
             training patients. Training: {}. Validation: {}. Test: {}. Whatever is fitted or chosen saw validation pictures only.",
            judgement.backbone,
            judgement.weights,
            judgement.runs,
            judgement.seed,
            count(judgement.train),
            count(judgement.validation),
            count(judgement.test)
        ),
        Resample::Split => format!(
            "Un-pooled features of {} ({}). {} runs of each classifier (seed {}), each with a split of its own by patient; in all \
             {} were tested in some run. Since a validation picture of one run is a test picture of another, nothing is fitted or \
             chosen for the averaged prediction: temperature, limit of certainty, abstaining and threshold are left out.",
            judgement.backbone,
            judgement.weights,
            judgement.runs,
            judgement.seed,
            count(judgement.test)
        ),
    }));
    if judgement.resample == Resample::Bootstrap && judgement.patients_on_both_sides > 0 {
        let sentence = format!(
            "{} groups of patients are both learnt from and judged: every figure of this section flatters.",
            judgement.patients_on_both_sides
        );
        blocks.push(Block::Caution("Patients on both sides.".into(), vec![sentence]));
    }
    let heading = |text: &str| Block::Heading(text.into());
    let title = match paper {
        Some(paper) => format!("Scores, as in the paper's table {}", paper.number),
        None => "Scores, in the layout of the paper's tables".into(),
    };
    blocks.push(Block::Heading(title));
    blocks.push(Block::Table(tables::as_in_the_paper(judgement, paper)));
    let of_paper = |judged: &Judged| {
        let figures = paper.zip(judged.kind).and_then(|(paper, kind)| paper.figures(kind));
        figures.map(|figures| figures[0] / 100.0)
    };
    let of_paper: Vec<Option<f64>> = judgement.classifiers.iter().map(of_paper).collect();
    let caption = "Accuracy on test pictures.".to_owned();
    blocks.push(Block::Charts(charts::accuracies(judgement, &of_paper, caption)?));
    let caption = "The averaged predictions on test pictures. Left: every threshold. Right: answering the pictures of least entropy \
         first; a curve that rises to the right means that the entropy knows where the errors are.";
    blocks.push(Block::Charts(charts::curves(judgement, caption.into())?));
    blocks.push(heading("Probabilities and entropy"));
    blocks.push(Block::Table(tables::probabilities(judgement)));
    let caption = "Entropy of the mean distribution over all runs. Useful uncertainty has right answers on the left and wrong ones on \
         the right.";
    blocks.push(Block::Charts(charts::entropies(judgement, caption.into())?));
    let caption = "Reliability on test pictures: on the dashed line, a probability means what it says. Larger dots, more pictures.";
    blocks.push(Block::Charts(charts::reliabilities(judgement, caption.into())?));
    if judgement.resample == Resample::Bootstrap {
        blocks.push(heading("Uncertain where wrong?"));
        blocks.push(Block::Table(tables::certainty(judgement)));
        blocks.push(heading("Thresholds and abstaining"));
        blocks.push(Block::Table(tables::decisions(judgement)));
    }
    blocks.push(heading("By source"));
    blocks.push(Block::Table(tables::sources(judgement)));
    blocks.push(Block::Table(tables::accuracy_by_source(judgement)));
    blocks.push(heading("Do the classifiers differ?"));
    blocks.push(Block::Table(tables::comparisons(judgement)));
    Ok(())
}
