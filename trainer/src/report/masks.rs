//! The part of the page on segmentation: the paper's tables IX to XII and its figure 6, of what `masks judge` wrote.
//!
//! Each folder is one net with its runs (seeds), or with the rounds of its cross-validation, which have a section of their own. The paper
//! does not say over what its Dice is a mean; ours is told per picture, which is what its tables probably mean, and per patient, which is
//! what a patient may expect.

use std::path::Path;

use anyhow::ensure;
use thorax_nets::{
    Backbone,
    segmentation::{NetConfig, unet::UnetConfig},
    source::are_drawn,
};
use thorax_nn::schedule::Schedule;
use thorax_shared::{
    mask::{INFECTION, NAMES},
    modality::Modality,
};

use super::{
    charts,
    document::{Block, Look, Table},
    paper_masks::{EPOCHS, GRID, METHODS, OTHERS, OTHERS_SET, PUBLISHED, PUBLISHED_SET, TRANSFER},
    tables::{NONE, or_none},
};
use crate::{
    data::Split,
    judge::{
        Estimate,
        masks::{
            self, MaskSpread, Recipe, RunJudgement, RunSpread, SegmentationJudgement, Training, score::MaskJudgement,
        },
    },
    segmentation::run::SegmentConfig,
};

/// Reads what `masks judge` wrote of one net.
///
/// # Errors
/// A folder that has no judgement, or one of several nets.
pub(super) fn read(folder: &Path) -> anyhow::Result<SegmentationJudgement> {
    let judgement = of_runs(folder)?;
    ensure!(
        judgement.runs.len() == 1 || !judgement.spread.is_empty(),
        "{}: runs that differ in more than their seed; judge each net into a folder of its own, or give the folder as --grid",
        folder.display()
    );
    Ok(judgement)
}

/// Reads what `masks judge` wrote of the nets of a grid, and gives each as a judgement of its own.
///
/// # Errors
/// A folder that has no judgement.
pub(super) fn read_grid(folder: &Path) -> anyhow::Result<Vec<SegmentationJudgement>> {
    let SegmentationJudgement { runs, .. } = of_runs(folder)?;
    let judgement = of_runs(folder)?;
    let one = |run| SegmentationJudgement { runs: vec![run], spread: vec![], ..judgement.clone() };
    Ok(runs.into_iter().map(one).collect())
}

/// Reads a judgement that says how its nets were trained.
fn of_runs(folder: &Path) -> anyhow::Result<SegmentationJudgement> {
    let judgement = masks::read(folder)?;
    ensure!(
        judgement.runs.iter().all(|run| !run.training.is_empty()),
        "{}: it does not say how the nets were trained; give folders in which masks judge judged runs of train segment or train instance",
        folder.display()
    );
    Ok(judgement)
}

/// Everything on segmentation: a section for each set of pictures, and one a modality for cross-validations. Nets of a `grid` have rows in
/// the paper's tables IX and X alone.
///
/// # Errors
/// A chart that cannot be drawn.
pub(super) fn sections(
    judgements: &[SegmentationJudgement],
    grid: &[SegmentationJudgement],
    blocks: &mut Vec<Block>,
) -> anyhow::Result<()> {
    for modality in [Modality::Ct, Modality::Xray] {
        let of_modality = judgements.iter().filter(|judgement| judgement.modality == modality);
        let (rounds, of_modality): (Vec<&SegmentationJudgement>, Vec<&SegmentationJudgement>) =
            of_modality.partition(|j| rounds(j) > 1);
        let of_grid = || grid.iter().filter(|judgement| judgement.modality == modality);
        let mut sources: Vec<&Option<String>> = vec![];
        for judgement in of_modality.iter().copied().chain(of_grid()) {
            if !sources.contains(&&judgement.source) {
                sources.push(&judgement.source);
            }
        }
        for source in sources {
            let nets: Vec<&SegmentationJudgement> =
                of_modality.iter().copied().filter(|judgement| judgement.source == *source).collect();
            let of_grid: Vec<&SegmentationJudgement> =
                of_grid().filter(|judgement| judgement.source == *source).collect();
            one_set(modality, &nets, &of_grid, blocks)?;
        }
        if !rounds.is_empty() {
            cross_validations(modality, &rounds, blocks)?;
        }
    }
    Ok(())
}

/// The section of nets that were judged on one set of pictures, with the paper's tables of it.
fn one_set(
    modality: Modality,
    nets: &[&SegmentationJudgement],
    of_grid: &[&SegmentationJudgement],
    blocks: &mut Vec<Block>,
) -> anyhow::Result<()> {
    let all = [nets, of_grid].concat();
    let Some(first) = all.first() else { return Ok(()) };
    ensure!(
        all.iter().all(|other| other.split == first.split),
        "--masks: folders judged on different splits; make a report of each"
    );
    let source = first.source.as_ref().map_or_else(String::new, |source| format!(": {source}"));
    blocks.push(Block::Section(format!("{}, segmentation{source}", modality.title())));
    blocks.push(Block::Paragraph(introduction(&all)));
    // The paper's table XI and those of single nets are of the set of 20 cases.
    let papers = of_set(first, PUBLISHED_SET);
    if !nets.is_empty() {
        let number = if papers { "XI" } else { "XII" };
        blocks.push(Block::Heading(format!("Infection, as in the paper's table {number}")));
        blocks.push(Block::Table(comparison(nets, papers)));
        if of_set(first, OTHERS_SET) {
            blocks.push(Block::Heading("Beside other works, as in the paper's table XIII".into()));
            blocks.push(Block::Table(others(nets)));
        }
        figures_of(nets, blocks);
    }
    if papers {
        blocks.push(Block::Heading("Frozen EfficientNets, as in the paper's table IX".into()));
        blocks.push(Block::Table(transfer(&all)));
        blocks.push(Block::Heading("Blocks, epochs and learning rates, as in the paper's table X".into()));
        blocks.push(Block::Table(grid(&all)));
    }
    if nets.is_empty() { Ok(()) } else { curves_of(nets, blocks) }
}

/// Whether all pictures with masks are of a set.
fn of_set(judgement: &SegmentationJudgement, set: &str) -> bool {
    let pictures = judgement.runs.iter().flat_map(|run| &run.pictures);
    pictures.filter(|picture| !picture.negative).all(|picture| picture.source.contains(set))
}

/// What both sections tell.
fn figures_of(judgements: &[&SegmentationJudgement], blocks: &mut Vec<Block>) {
    blocks.push(Block::Heading("Every mask, per patient".into()));
    blocks.push(Block::Table(masks(judgements)));
    blocks.push(Block::Table(patients(judgements)));
    blocks.push(Block::Heading("Infected share of the lungs, and infection where there is none".into()));
    blocks.push(Block::Table(shares(judgements)));
}

fn curves_of(judgements: &[&SegmentationJudgement], blocks: &mut Vec<Block>) -> anyhow::Result<()> {
    let caption = "Validation Dice of the infection (pooled) and training loss after each epoch, a line a run. A run that began with earlier \
         weights shows its own epochs; where it drew pictures of class normal, what is marked on those of the validation split counts, too.";
    blocks.push(Block::Heading("While training, as in the paper's figure 6".into()));
    blocks.push(Block::Charts(charts::training(judgements, caption.into())?));
    Ok(())
}

/// Said where [`started`] holds of a net.
const EARLIER: &str = "Some began with earlier weights, whose training this page knows nothing of.";

/// Rounds of the cross-validation; 1 for a net that was judged by itself.
fn rounds(judgement: &SegmentationJudgement) -> usize {
    judgement.runs.first().map_or(1, |run| run.identity.rounds)
}

/// The section of nets of which each patient was judged by one that had not seen him.
fn cross_validations(
    modality: Modality,
    judgements: &[&SegmentationJudgement],
    blocks: &mut Vec<Block>,
) -> anyhow::Result<()> {
    let first = judgements.first().and_then(|judgement| infection(judgement.runs.first()?));
    blocks.push(Block::Section(format!("{}, segmentation: cross-validation by patient", modality.title())));
    let earlier = judgements.iter().flat_map(|judgement| &judgement.runs).any(started);
    blocks.push(Block::Paragraph(format!(
        "{} of {} patients. Each patient was judged by the net of the one round that did not learn from him, nor was chosen by him.{}",
        or_none(first, |mask| format!("{} pictures", mask.pictures)),
        or_none(first, |mask| mask.patients.len().to_string()),
        if earlier { format!(" {EARLIER}") } else { String::new() },
    )));
    let mut sources = judgements.iter().flat_map(|judgement| &judgement.runs).flat_map(|run| &run.pictures);
    if modality == Modality::Ct && sources.any(|picture| picture.source.contains(PUBLISHED_SET)) {
        blocks.push(Block::Heading("Infection, beside published cross-validations".into()));
        blocks.push(Block::Table(published(judgements)));
    }
    figures_of(judgements, blocks);
    curves_of(judgements, blocks)
}

fn published(judgements: &[&SegmentationJudgement]) -> Table {
    let caption = format!(
        "Dice of the infection in percent, mean over patients, ours with its interval over them. The published figures are of whole volumes of \
         the 20 cases of {PUBLISHED_SET}; ours are of the slices and patients that the collection has, and a round learns from all patients but \
         those of two folds: beside each other for orientation."
    );
    let mut table = Table::new(caption, &["Method", "Dice", "Folds"]);
    for judgement in judgements {
        let dice = judgement.runs.first().and_then(infection).and_then(|mask| mask.per_patient.dice);
        let folds = format!("{} by patient", rounds(judgement));
        table.push(Look::Strong, vec![title(judgement), super::tables::percent_interval(dice), folds]);
    }
    for work in &PUBLISHED {
        table.push(Look::Faint, vec![work.name.into(), format!("{:.1}", work.dice), work.folds.into()]);
    }
    table
}

fn introduction(judgements: &[&SegmentationJudgement]) -> String {
    let first = judgements[0];
    let pictures = first.runs.first().and_then(infection);
    let mut runs = judgements.iter().flat_map(|judgement| &judgement.runs);
    let earlier = format!("No net learnt from these patients in the training told here. {EARLIER}");
    let seen = match (first.split, runs.clone().all(|run| run.identity.same_data)) {
        (_, false) => {
            "The nets learnt from other data than those they are judged with, and may have seen these pictures."
        }
        (Split::Train, _) => "The nets were trained on these pictures: the figures say nothing of others.",
        (Split::Val, _) => "The best epoch of each net was chosen on these pictures, which flatters.",
        (Split::Test, _) if runs.any(started) => earlier.as_str(),
        (Split::Test, _) => "No net has seen these patients.",
    };
    format!(
        "{} of {} patients of the {} split. {seen} Intervals are of {} bootstrap resamples of patients; with few \
         patients they are wide. Where a net was trained with several seeds, the mean over the runs stands, with their standard \
         deviation. The paper's figures are of other pictures, split by picture.",
        or_none(pictures.map(|mask| mask.pictures), |count| format!("{count} pictures")),
        or_none(pictures.map(|mask| mask.patients.len()), |count| count.to_string()),
        first.split.as_str(),
        first.settings.resamples,
    )
}

/// The mean over the runs of a figure, and their standard deviation.
fn over_runs(runs: &[RunJudgement], figure: impl Fn(&RunJudgement) -> Option<f64>) -> Option<RunSpread> {
    let values: Vec<f64> = runs.iter().filter_map(figure).collect();
    RunSpread::new(&values)
}

/// `63.1 ± 1.2`, in percent.
fn percent(spread: Option<RunSpread>) -> String {
    or_none(spread, |spread| {
        let deviation = spread.standard_deviation.map(|deviation| format!(" ± {:.1}", 100.0 * deviation));
        format!("{:.1}{}", 100.0 * spread.mean, deviation.unwrap_or_default())
    })
}

fn infection(run: &RunJudgement) -> Option<&MaskJudgement> {
    run.masks.iter().find(|mask| mask.mask == NAMES[INFECTION])
}

/// Whether it began with the weights of another training.
fn started(run: &RunJudgement) -> bool {
    run.training.iter().any(|training| training.config.started())
}

/// How the first run was trained.
fn recipe(runs: &[RunJudgement]) -> Option<&Recipe> {
    runs.first()?.training.first().map(|training| &training.config)
}

/// The same of a segmentation net.
pub(super) fn config(judgement: &SegmentationJudgement) -> Option<&SegmentConfig> {
    recipe(&judgement.runs)?.segment()
}

/// Its epochs, and whether it had learnt before them.
pub(super) fn epochs(recipe: &Recipe) -> String {
    match recipe.started() {
        true => format!("{}, from earlier weights", recipe.epochs()),
        false => recipe.epochs().to_string(),
    }
}

pub(super) fn title(judgement: &SegmentationJudgement) -> String {
    let net = recipe(&judgement.runs).map_or_else(String::new, Recipe::describe);
    match &judgement.runs[..] {
        [run] => match (run.identity.members, run.identity.rounds) {
            (1, 1) => net,
            (1, rounds) => format!("{net}, {rounds} rounds"),
            (members, _) => format!("{net}, mean of {members} nets"),
        },
        runs => format!("{net}, {} seeds", runs.len()),
    }
}

/// How a net was trained, in four cells: epochs, side of its input, weights of its encoder, time.
pub(super) fn budget(runs: &[RunJudgement]) -> [String; 4] {
    let recipe = recipe(runs);
    let hours = |run: &RunJudgement| run.training.iter().map(Training::hours).sum::<Option<f64>>();
    [
        or_none(recipe, epochs),
        or_none(recipe, |recipe| recipe.side().to_string()),
        or_none(recipe.and_then(Recipe::weights), weights),
        or_none(over_runs(runs, hours), |hours| duration(hours.mean)),
    ]
}

/// The heads of [`budget`].
pub(super) const BUDGET: [&str; 4] = ["Epochs", "Side", "Encoder", "Time"];

/// What [`BUDGET`] means, in a caption.
pub(super) const BUDGET_TOLD: &str = "Side: of the net's input, in pixels. Encoder: where its weights are from; drawn ones have seen no picture before. Time: of \
     the training's steps, on whatever it ran on.";

/// Hours in few digits: `34 s`, `12 min`, `2.5 h`.
pub(super) fn duration(hours: f64) -> String {
    let seconds = 3600.0 * hours;
    match seconds {
        ..100.0 => format!("{seconds:.0} s"),
        ..6000.0 => format!("{:.0} min", seconds / 60.0),
        _ => format!("{hours:.1} h"),
    }
}

/// Weights in a few words.
fn weights(origin: &str) -> String {
    match are_drawn(origin) {
        true => "drawn".into(),
        false => origin.rsplit(['/', '\\']).next().unwrap_or(origin).to_owned(),
    }
}

/// The nets, then the paper's: of its table XI where `papers` says that the pictures are of its set, or else of its table XII.
fn comparison(judgements: &[&SegmentationJudgement], papers: bool) -> Table {
    let (number, set) = match papers {
        true => ("XI", "The set is the one of its table XI."),
        false => ("XII", "Its table XII is of another set, which has no masks to be had."),
    };
    let caption = format!(
        "In percent. IoU and Dice are means over pictures with infection, pixel accuracy over all; pooled: all pixels together. Faint: the paper's \
         table {number}. {set} {BUDGET_TOLD}"
    );
    let head = ["Method", "IoU", "Dice", "Pixel accuracy", "Dice, pooled", "Dice, per patient"];
    let mut table = Table::new(caption, &[&head[..], &BUDGET].concat());
    for judgement in judgements {
        let of = |figure: fn(&MaskJudgement) -> Option<Estimate>| {
            percent(over_runs(&judgement.runs, |run| Some(figure(infection(run)?)?.value)))
        };
        let mut cells = vec![
            title(judgement),
            of(|mask| mask.per_picture.iou),
            of(|mask| mask.per_picture.dice),
            of(|mask| mask.per_picture.pixel_accuracy),
            of(|mask| mask.pooled.dice),
            of(|mask| mask.per_patient.dice),
        ];
        cells.extend(budget(&judgement.runs));
        table.push(Look::Strong, cells);
    }
    for (row, method) in METHODS.iter().enumerate() {
        let mut cells = vec![format!("{}, paper, table {number}", method.name)];
        cells.extend(method.scores[usize::from(!papers)].iter().map(|score| format!("{score:.1}")));
        cells.resize(head.len() + BUDGET.len(), NONE.to_owned());
        table.push(if row == 0 { Look::First } else { Look::Faint }, cells);
    }
    table
}

/// The paper's table XIII with our nets.
fn others(judgements: &[&SegmentationJudgement]) -> Table {
    let caption = "In percent, means over pictures. Faint: what the paper's table XIII says of other works and of itself, which may be of more than these \
         pictures alone. Ours have not learnt from this set.";
    let mut table = Table::new(caption, &["Work", "Dice", "IoU"]);
    for judgement in judgements {
        let of = |figure: fn(&MaskJudgement) -> Option<Estimate>| {
            percent(over_runs(&judgement.runs, |run| Some(figure(infection(run)?)?.value)))
        };
        table.push(
            Look::Strong,
            vec![title(judgement), of(|mask| mask.per_picture.dice), of(|mask| mask.per_picture.iou)],
        );
    }
    for (row, work) in OTHERS.iter().enumerate() {
        let cells = vec![work.name.into(), format!("{:.1}", work.dice), format!("{:.1}", work.iou)];
        table.push(if row == 0 { Look::First } else { Look::Faint }, cells);
    }
    table
}

fn masks(judgements: &[&SegmentationJudgement]) -> Table {
    let caption = "Mean over patients with its interval, of the first run; behind it the spread of the runs where there are several. HD95 in \
         pixels of the picture, a mean over the patients' pictures; in 3D, between the surfaces of whole volumes, a mean over them.";
    let head = ["Net", "Mask", "Dice", "runs", "IoU", "Sensitivity", "Specificity", "HD95", "HD95 in 3D, mm", "missed"];
    let mut table = Table::new(caption, &head);
    for judgement in judgements {
        for (row, mask) in judgement.runs[0].masks.iter().enumerate() {
            let figures = &mask.per_patient;
            let spread = judgement.spread.iter().find(|spread: &&MaskSpread| spread.mask == mask.mask);
            // A single patient has no interval.
            let interval = |estimate: Option<Estimate>| match mask.patients.len() {
                1 => super::tables::percent(estimate.map(|e| e.value)),
                _ => super::tables::percent_interval(estimate),
            };
            let distance = or_none(figures.hd95_pixels, |e| format!("{:.1} ({:.1}–{:.1})", e.value, e.low, e.high));
            table.push(
                if row == 0 { Look::First } else { Look::Plain },
                vec![
                    if row == 0 { title(judgement) } else { String::new() },
                    mask.mask.replace('_', " "),
                    interval(figures.dice),
                    percent(spread.and_then(|spread| spread.per_patient.dice)),
                    interval(figures.iou),
                    interval(figures.sensitivity),
                    interval(figures.specificity),
                    distance,
                    or_none(mask.per_volume.hd95_mm, |e| format!("{:.1} ({:.1}–{:.1})", e.value, e.low, e.high)),
                    format!("{} of {}", mask.missed, mask.pictures_with_truth),
                ],
            );
        }
    }
    table
}

/// Dice of the infection of each patient.
fn patients(judgements: &[&SegmentationJudgement]) -> Table {
    let mut names: Vec<&str> = vec![];
    for mask in judgements.iter().filter_map(|judgement| infection(&judgement.runs[0])) {
        names.extend(mask.patients.iter().map(|patient| patient.group.as_str()));
    }
    names.sort_unstable();
    names.dedup();
    let most = 40;
    let left_out = names.len().saturating_sub(most);
    let caption = match left_out {
        0 => "Dice of the infection of each patient, in percent, mean over the runs.".to_owned(),
        _ => format!(
            "Dice of the infection of the first {most} patients, in percent, mean over the runs; {left_out} more are in judgement.json."
        ),
    };
    names.truncate(most);
    let nets: Vec<String> = judgements.iter().map(|judgement| title(judgement)).collect();
    let head: Vec<&str> = ["Patient"].into_iter().chain(nets.iter().map(String::as_str)).collect();
    let mut table = Table::new(caption, &head);
    for name in names {
        let dice =
            |run: &RunJudgement| infection(run)?.patients.iter().find(|patient| patient.group == name)?.figures.dice;
        let mut cells = vec![name.to_owned()];
        cells.extend(judgements.iter().map(|judgement| percent(over_runs(&judgement.runs, dice))));
        table.push(Look::Plain, cells);
    }
    table
}

fn shares(judgements: &[&SegmentationJudgement]) -> Table {
    let caption = "First run of each net, intervals over patients. The error is the mean distance between the found and the true infected \
         share of the lungs, in percentage points. On pictures of class normal everything found is false.";
    let head = [
        "Net",
        "Error of the share",
        "Normal pictures",
        "False area, % of the picture",
        "% of the lungs found",
        "Pictures with more than 1 %",
    ];
    let mut table = Table::new(caption, &head);
    let points =
        |estimate: Option<Estimate>| or_none(estimate, |e| format!("{:.2} ({:.2}–{:.2})", e.value, e.low, e.high));
    for judgement in judgements {
        let run = &judgement.runs[0];
        let negatives = run.negatives.as_ref();
        table.push(
            Look::Plain,
            vec![
                title(judgement),
                points(run.involvement_error),
                or_none(negatives, |negatives| negatives.pictures.to_string()),
                points(negatives.and_then(|negatives| negatives.mean_percent)),
                points(negatives.and_then(|negatives| negatives.mean_percent_of_lungs)),
                super::tables::percent_interval(negatives.and_then(|negatives| negatives.clearly_false)),
            ],
        );
    }
    table
}

/// Dice and IoU of the infection, means over pictures.
fn dice_and_iou(judgement: &SegmentationJudgement) -> [String; 2] {
    let share = |spread: Option<RunSpread>| or_none(spread, |spread| format!("{:.3}", spread.mean));
    [
        share(over_runs(&judgement.runs, |run| Some(infection(run)?.per_picture.dice?.value))),
        share(over_runs(&judgement.runs, |run| Some(infection(run)?.per_picture.iou?.value))),
    ]
}

fn transfer(judgements: &[&SegmentationJudgement]) -> Table {
    let caption = format!(
        "Mean over pictures. An encoder with the published weights stands beside the paper's; one with drawn weights has nothing to do with the \
         paper's, which knows photographs, and has a row of its own below. {BUDGET_TOLD}"
    );
    let head = ["Type", "Epochs, paper", "Dice, paper", "IoU, paper"];
    let mut table = Table::new(caption, &[&head[..], &BUDGET, &["Dice", "IoU"]].concat());
    let frozen = |judgement: &SegmentationJudgement| match config(judgement)?.net {
        NetConfig::EfficientNet(net) => Some(net.backbone),
        _ => None,
    };
    let drawn =
        |judgement: &SegmentationJudgement| recipe(&judgement.runs).and_then(Recipe::weights).is_some_and(are_drawn);
    let ours = |judgement: &SegmentationJudgement| [&budget(&judgement.runs)[..], &dice_and_iou(judgement)].concat();
    for row in &TRANSFER {
        let backbone = Backbone::EfficientNetB(row.variant);
        let of_row: Vec<&SegmentationJudgement> =
            judgements.iter().copied().filter(|judgement| frozen(judgement) == Some(backbone)).collect();
        let beside: Vec<Vec<String>> = of_row.iter().filter(|j| !drawn(j)).map(|j| ours(j)).collect();
        let look = if beside.is_empty() { Look::Plain } else { Look::Strong };
        let told = if of_row.is_empty() { "not trained here" } else { "with drawn weights: below" };
        let mut none = vec![told.to_owned()];
        none.resize(BUDGET.len() + 2, NONE.to_owned());
        for ours in if beside.is_empty() { vec![none] } else { beside } {
            let mut cells = vec![
                format!("EfficientNet-B{}", row.variant),
                row.epochs.to_string(),
                format!("{:.2}", row.dice),
                format!("{:.3}", row.iou),
            ];
            cells.extend(ours);
            table.push(look, cells);
        }
    }
    for judgement in judgements {
        let Some(backbone) = frozen(judgement) else { continue };
        let name = match backbone {
            Backbone::EfficientNetB(_) if !drawn(judgement) => continue,
            _ if drawn(judgement) => format!("{backbone}, drawn weights"),
            _ => backbone.to_string(),
        };
        let mut cells = vec![name];
        cells.resize(head.len(), NONE.to_owned());
        cells.extend(ours(judgement));
        table.push(if drawn(judgement) { Look::Plain } else { Look::Strong }, cells);
    }
    table
}

/// The learning rate, as the paper writes it.
pub(super) fn rate(config: &SegmentConfig) -> String {
    let peak = config.peak_learning_rate;
    match config.training.schedule {
        Schedule::Constant => peak.to_string(),
        Schedule::OneCycle => format!("one cycle({peak:e})"),
        Schedule::Step { .. } => format!("steps({peak:e})"),
        Schedule::Cosine { .. } => format!("cosine({peak:e})"),
    }
}

/// A net that was judged and has encoder blocks: its place in the paper's table X.
struct GridNet<'a> {
    judgement: &'a SegmentationJudgement,
    blocks: usize,
    rate: String,
    epochs: usize,
    /// Whether it had learnt before.
    started: bool,
}

/// Whether a net's epochs are those of a row of the paper's, or the same share of the longest training of its `series` (the nets that differ
/// in their epochs alone) that the row's are of the paper's longest.
fn is_of_row(net: &GridNet<'_>, series: &[usize], papers: usize) -> bool {
    let longest = series.iter().copied().max().unwrap_or_default();
    let several = series.iter().any(|epochs| *epochs != longest);
    net.epochs == papers || (several && net.epochs * EPOCHS[EPOCHS.len() - 1] == papers * longest)
}

fn grid(judgements: &[&SegmentationJudgement]) -> Table {
    let caption = format!(
        "Mean over pictures. Where nets were trained with the paper's blocks and rate for a fixed share of its epochs (a hundredth, say), each \
         stands beside its row; U-Nets that have no row of the paper's come first. thorax-train sweep with docs/segmentation/table_x.toml trains \
         the rows, with table_iv.toml all of its table IV. {BUDGET_TOLD}"
    );
    let head = ["Blocks and rate", "Epochs, paper", "Dice, paper", "IoU, paper", "Here"];
    let mut table = Table::new(caption, &[&head[..], &BUDGET, &["Dice", "IoU"]].concat());
    let nets = judgements.iter().filter_map(|judgement| {
        let config = config(judgement)?;
        let UnetConfig { blocks, .. } = config.net.unet()?;
        let started = config.start_sha256.is_some();
        Some(GridNet { judgement, blocks, rate: rate(config), epochs: config.epochs, started })
    });
    let nets: Vec<GridNet<'_>> = nets.collect();
    let ours = |net: &GridNet<'_>| {
        [&[title(net.judgement)], &budget(&net.judgement.runs)[..], &dice_and_iou(net.judgement)].concat()
    };
    let name = |blocks: usize, rate: &str| format!("{blocks} blocks, {rate}");
    let mut papers = vec![];
    let mut placed = vec![false; nets.len()];
    for rows in &GRID {
        let alike = |net: &GridNet<'_>| !net.started && net.blocks == rows.blocks && net.rate == rows.rate;
        let series: Vec<usize> = nets.iter().filter(|net| alike(net)).map(|net| net.epochs).collect();
        for (row, (epochs, [dice, iou])) in EPOCHS.iter().zip(rows.scores).enumerate() {
            let beside: Vec<usize> =
                (0..nets.len()).filter(|&i| alike(&nets[i]) && is_of_row(&nets[i], &series, *epochs)).collect();
            beside.iter().for_each(|&i| placed[i] = true);
            let mut none = vec!["not trained here".to_owned()];
            none.resize(1 + BUDGET.len() + 2, NONE.to_owned());
            let found = beside.iter().map(|&i| ours(&nets[i])).collect::<Vec<_>>();
            for ours in if found.is_empty() { vec![none] } else { found } {
                let cells =
                    vec![name(rows.blocks, rows.rate), epochs.to_string(), format!("{dice:.2}"), format!("{iou:.3}")];
                papers.push((if row == 0 { Look::First } else { Look::Plain }, [cells, ours].concat()));
            }
        }
    }
    for (net, _) in nets.iter().zip(&placed).filter(|(_, placed)| !**placed) {
        let mut cells = vec![name(net.blocks, &net.rate)];
        cells.resize(head.len() - 1, NONE.to_owned());
        table.push(Look::Strong, [cells, ours(net)].concat());
    }
    papers.into_iter().for_each(|(look, cells)| table.push(look, cells));
    table
}
