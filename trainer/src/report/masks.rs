//! The part of the page on segmentation: the paper's tables IX to XII and its figure 6, of what `masks judge` wrote.
//!
//! Each folder is one net with its runs (seeds). The paper does not say over what its Dice is a mean; ours is told per picture, which is
//! what its tables probably mean, and per patient, which is what a patient may expect.

use std::path::Path;

use anyhow::ensure;
use thorax_shared::label::Modality;

use super::{
    charts,
    document::{Block, Look, Table},
    paper_masks::{EPOCHS, GRID, METHODS, TRANSFER},
    tables::{NONE, or_none},
};
use crate::{
    data::Split,
    judge::Estimate,
    nets::{
        Backbone,
        segmentation::{NetConfig, unet::UnetConfig},
    },
    nn::schedule::Schedule,
    segmentation::{
        judge_masks::{self, Judgement, MaskSpread, RunJudgement, RunSpread},
        score::MaskJudgement,
    },
    train::segment::SegmentConfig,
};

/// The mask that the paper's tables are about.
const INFECTION: &str = "infection";

/// Reads what `masks judge` wrote of one net.
///
/// # Errors
/// A folder that has no judgement, or one of several nets.
pub(super) fn read(folder: &Path) -> anyhow::Result<Judgement> {
    let judgement = judge_masks::read(folder)?;
    ensure!(
        judgement.runs.len() == 1 || !judgement.spread.is_empty(),
        "{}: runs that differ in more than their seed; judge each net into a folder of its own",
        folder.display()
    );
    ensure!(
        judgement.runs.iter().all(|run| run.training.is_some()),
        "{}: it does not say how the nets were trained (a pooled judgement never does); give folders in which masks judge judged \
         runs of train segment",
        folder.display()
    );
    Ok(judgement)
}

/// Everything on segmentation, a section a modality.
///
/// # Errors
/// A chart that cannot be drawn.
pub(super) fn sections(judgements: &[Judgement], blocks: &mut Vec<Block>) -> anyhow::Result<()> {
    for modality in [Modality::Ct, Modality::Xray] {
        let of_modality: Vec<&Judgement> = judgements.iter().filter(|j| j.modality == modality).collect();
        let Some(first) = of_modality.first() else { continue };
        ensure!(
            of_modality.iter().all(|other| other.split == first.split),
            "--masks: folders judged on different splits; make a report of each"
        );
        blocks.push(Block::Section(format!("{}, segmentation", modality.title())));
        blocks.push(Block::Paragraph(introduction(first)));
        blocks.push(Block::Heading("Infection, as in the paper's tables XI and XII".into()));
        blocks.push(Block::Table(comparison(&of_modality)));
        blocks.push(Block::Heading("Every mask, per patient".into()));
        blocks.push(Block::Table(masks(&of_modality)));
        blocks.push(Block::Table(patients(&of_modality)));
        blocks.push(Block::Heading("Infected share of the lungs, and infection where there is none".into()));
        blocks.push(Block::Table(shares(&of_modality)));
        blocks.push(Block::Heading("Frozen EfficientNets, as in the paper's table IX".into()));
        blocks.push(Block::Table(transfer(&of_modality)));
        blocks.push(Block::Heading("Blocks, epochs and learning rates, as in the paper's table X".into()));
        blocks.push(Block::Table(grid(&of_modality)));
        blocks.push(Block::Heading("While training, as in the paper's figure 6".into()));
        let caption = "Validation Dice of the infection (pooled) and training loss after each epoch, a line a run.";
        blocks.push(Block::Charts(charts::training(&of_modality, caption.into())?));
    }
    Ok(())
}

fn introduction(first: &Judgement) -> String {
    let pictures = first.runs.first().and_then(infection);
    let seen = match (first.split, first.runs.iter().all(|run| run.identity.same_data)) {
        (_, false) => {
            "The nets learnt from other data than those they are judged with, and may have seen these pictures."
        }
        (Split::Train, _) => "The nets were trained on these pictures: the figures say nothing of others.",
        (Split::Val, _) => "The best epoch of each net was chosen on these pictures, which flatters.",
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
fn over_runs(judgement: &Judgement, figure: impl Fn(&RunJudgement) -> Option<f64>) -> Option<RunSpread> {
    let values: Vec<f64> = judgement.runs.iter().filter_map(figure).collect();
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
    run.masks.iter().find(|mask| mask.mask == INFECTION)
}

/// How the first run was trained.
fn config(judgement: &Judgement) -> Option<&SegmentConfig> {
    judgement.runs.first()?.training.as_ref().map(|(config, _)| config)
}

fn title(judgement: &Judgement) -> String {
    let net = config(judgement).map_or_else(String::new, |config| config.net.describe());
    match judgement.runs.len() {
        1 => match judgement.runs[0].identity.members {
            1 => net,
            members => format!("{net}, mean of {members} nets"),
        },
        runs => format!("{net}, {runs} seeds"),
    }
}

fn comparison(judgements: &[&Judgement]) -> Table {
    let caption = "In percent. IoU and Dice are means over pictures with infection, pixel accuracy over all; the two last columns are ours alone: all \
         pixels together, and the mean over patients. Faint: the paper's tables XI and XII.";
    let head = ["Method", "IoU", "Dice", "Pixel accuracy", "Dice, pooled", "Dice, per patient"];
    let mut table = Table::new(caption, &head);
    for judgement in judgements {
        let of = |figure: fn(&MaskJudgement) -> Option<Estimate>| {
            percent(over_runs(judgement, |run| Some(figure(infection(run)?)?.value)))
        };
        table.push(
            Look::Strong,
            vec![
                title(judgement),
                of(|mask| mask.per_picture.iou),
                of(|mask| mask.per_picture.dice),
                of(|mask| mask.per_picture.pixel_accuracy),
                of(|mask| mask.pooled.dice),
                of(|mask| mask.per_patient.dice),
            ],
        );
    }
    for (index, number) in ["XI", "XII"].into_iter().enumerate() {
        for (row, method) in METHODS.iter().enumerate() {
            let built = if method.built { "" } else { "; not built here" };
            let mut cells = vec![format!("{}, paper, table {number}{built}", method.name)];
            cells.extend(method.scores[index].iter().map(|score| format!("{score:.1}")));
            cells.extend([NONE.to_owned(), NONE.to_owned()]);
            table.push(if row == 0 { Look::First } else { Look::Faint }, cells);
        }
    }
    table
}

fn masks(judgements: &[&Judgement]) -> Table {
    let caption = "Mean over patients with its interval, of the first run; behind it the spread of the runs where there are several. HD95 in \
         pixels of the picture, a mean over the patients' pictures.";
    let head = ["Net", "Mask", "Dice", "runs", "IoU", "Sensitivity", "Specificity", "HD95", "missed"];
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
                    format!("{} of {}", mask.missed, mask.pictures_with_truth),
                ],
            );
        }
    }
    table
}

/// Dice of the infection of each patient.
fn patients(judgements: &[&Judgement]) -> Table {
    let mut names: Vec<&str> = vec![];
    for mask in judgements.iter().filter_map(|judgement| infection(&judgement.runs[0])) {
        names.extend(mask.patients.iter().map(|patient| patient.group.as_str()));
    }
    names.sort_unstable();
    names.dedup();
    let most = 12;
    let left_out = names.len().saturating_sub(most);
    let caption = match left_out {
        0 => "Dice of the infection of each patient, in percent, mean over the runs.".to_owned(),
        _ => format!(
            "Dice of the infection of the first {most} patients, in percent, mean over the runs; {left_out} more are in judgement.json."
        ),
    };
    names.truncate(most);
    let head: Vec<&str> = ["Net"].into_iter().chain(names.iter().copied()).collect();
    let mut table = Table::new(caption, &head);
    for judgement in judgements {
        let mut cells = vec![title(judgement)];
        cells.extend(names.iter().map(|name| {
            percent(over_runs(judgement, |run| {
                infection(run)?.patients.iter().find(|patient| patient.group == *name)?.figures.dice
            }))
        }));
        table.push(Look::Plain, cells);
    }
    table
}

fn shares(judgements: &[&Judgement]) -> Table {
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
fn dice_and_iou(judgement: &Judgement) -> [String; 2] {
    let share = |spread: Option<RunSpread>| or_none(spread, |spread| format!("{:.3}", spread.mean));
    [
        share(over_runs(judgement, |run| Some(infection(run)?.per_picture.dice?.value))),
        share(over_runs(judgement, |run| Some(infection(run)?.per_picture.iou?.value))),
    ]
}

fn transfer(judgements: &[&Judgement]) -> Table {
    let caption = "Mean over pictures, beside the paper's. A variant that was not trained here says so.";
    let head = ["Type", "Epochs, paper", "Dice, paper", "IoU, paper", "Epochs", "Dice", "IoU"];
    let mut table = Table::new(caption, &head);
    let frozen = |judgement: &Judgement| match config(judgement)?.net {
        NetConfig::EfficientNet(net) => Some(net.backbone),
        _ => None,
    };
    let ours = |judgement: &Judgement| {
        let [dice, iou] = dice_and_iou(judgement);
        [or_none(config(judgement), |config| config.epochs.to_string()), dice, iou]
    };
    for row in &TRANSFER {
        let backbone = Backbone::EfficientNetB(row.variant);
        let trained: Vec<[String; 3]> =
            judgements.iter().filter(|judgement| frozen(judgement) == Some(backbone)).map(|&j| ours(j)).collect();
        let look = if trained.is_empty() { Look::Plain } else { Look::Strong };
        let none = ["not trained here".into(), NONE.into(), NONE.into()];
        for ours in if trained.is_empty() { vec![none] } else { trained } {
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
        if TRANSFER.iter().any(|row| backbone == Backbone::EfficientNetB(row.variant)) {
            continue;
        }
        let mut cells = vec![backbone.to_string(), NONE.into(), NONE.into(), NONE.into()];
        cells.extend(ours(judgement));
        table.push(Look::Strong, cells);
    }
    table
}

fn grid(judgements: &[&Judgement]) -> Table {
    let caption = "U-Nets of all kinds that were judged, then the paper's table X (faint), whose rows were not all trained here: \
         `thorax-train sweep` with docs/segmentation/table_iv.toml does. Mean over pictures.";
    let mut table = Table::new(caption, &["Model", "Blocks", "Epochs", "Learning rate", "Dice", "IoU"]);
    for judgement in judgements {
        let Some(config) = config(judgement) else { continue };
        let Some(UnetConfig { blocks, .. }) = config.net.unet() else { continue };
        let schedule = match config.training.schedule {
            Schedule::OneCycle => "one cycle",
            Schedule::Constant => "constant",
            Schedule::Step { .. } => "steps",
            Schedule::Cosine { .. } => "cosine",
        };
        let [dice, iou] = dice_and_iou(judgement);
        let rate = format!("{schedule}({:e})", config.peak_learning_rate);
        table
            .push(Look::Strong, vec![title(judgement), blocks.to_string(), config.epochs.to_string(), rate, dice, iou]);
    }
    for (index, rows) in GRID.iter().enumerate() {
        for (row, (epochs, [dice, iou])) in EPOCHS.iter().zip(rows.scores).enumerate() {
            let cells = vec![
                "U-Net, paper".into(),
                rows.blocks.to_string(),
                epochs.to_string(),
                rows.rate.into(),
                format!("{dice:.2}"),
                format!("{iou:.3}"),
            ];
            table.push(if index + row == 0 { Look::First } else { Look::Faint }, cells);
        }
    }
    table
}
