//! The section that says wherein the runs of a report were fitted otherwise than the paper's, or than the libraries' defaults.

use std::collections::BTreeMap;

use thorax_nets::segmentation::NetConfig;
use thorax_nn::optimizer::OptimizerConfig;

use super::{
    JudgedRun,
    document::{Block, Look, Table},
    masks::{config, epochs, rate, title},
    tables::NONE,
};
use crate::{
    classifiers::{
        Resample,
        library::{ALWAYS, Difference, LIBRARIES},
    },
    judge::masks::SegmentationJudgement,
    segmentation::run::SegmentConfig,
};

/// Runs of each of the paper's classifiers (section VII.A).
const PAPERS_RUNS: usize = 100;

/// What the paper does not say.
const UNSAID: &str = "does not say";

/// All of it; nothing where nothing is reported.
///
/// # Errors
/// Parameters that cannot be read.
pub(super) fn section(
    runs: &[&JudgedRun],
    masks: &[SegmentationJudgement],
    grid: &[SegmentationJudgement],
    blocks: &mut Vec<Block>,
) -> anyhow::Result<()> {
    let nets: Vec<(String, &SegmentConfig)> =
        masks.iter().filter_map(|judgement| Some((title(judgement), config(judgement)?))).collect();
    let of_grid: Vec<&SegmentConfig> = grid.iter().filter_map(config).collect();
    if runs.is_empty() && nets.is_empty() && of_grid.is_empty() {
        return Ok(());
    }
    blocks.push(Block::Section("Hyper-parameters that are not the paper's".into()));
    if !runs.is_empty() {
        blocks.push(Block::Heading("Classifiers".into()));
        blocks.push(Block::Paragraph(format!(
            "The paper names none of its classifiers' hyper-parameters, so each is set beside the default of {LIBRARIES}, which is what it \
             most likely had. One that is not listed is that default. thorax-train classify --paper takes them all, but for those that say \
             why not."
        )));
        // Runs with the same parameters share a table.
        let mut alike: BTreeMap<Vec<[String; 4]>, Vec<String>> = BTreeMap::new();
        for run in runs {
            alike.entry(of_classifiers(run)?).or_default().push(run.title());
        }
        for (rows, titles) in alike {
            let mut table =
                Table::of_words(titles.join("; "), &["Hyper-parameter", "Here", "Library, or paper", "Why"]);
            rows.into_iter().for_each(|row| table.push(Look::Plain, row.into()));
            blocks.push(Block::Table(table));
        }
        let caption = "What no option changes; docs/protocol.md says why.";
        let mut table = Table::of_words(caption, &["", "Here", "Library"]);
        ALWAYS.iter().for_each(|row| table.push(Look::Plain, row.map(str::to_owned).into()));
        blocks.push(Block::Table(table));
    }
    if !nets.is_empty() || !of_grid.is_empty() {
        blocks.push(Block::Heading("Segmentation".into()));
        blocks.push(Block::Paragraph(
            "Beside the paper's tables IV, IX and X, their best row first. What it does not say is listed, too. thorax-train train segment \
             --paper takes the best row's."
                .into(),
        ));
        // Nets that were judged on several sets of pictures are told once.
        let mut alike: Vec<(Vec<[String; 3]>, String)> = vec![];
        for (title, config) in nets {
            let rows = of_net(config);
            if !alike.iter().any(|(told, _)| *told == rows) {
                alike.push((rows, title));
            }
        }
        if let Some(shared) = shared(&of_grid) {
            alike.push((
                shared,
                format!("What the {} nets of the grid, in tables IX and X, have in common", of_grid.len()),
            ));
        }
        for (rows, title) in alike {
            let mut table = Table::of_words(title, &["Hyper-parameter", "Here", "Paper"]);
            rows.into_iter().for_each(|row| table.push(Look::Plain, row.into()));
            blocks.push(Block::Table(table));
        }
    }
    Ok(())
}

/// Rows of a run of classifiers.
fn of_classifiers(run: &JudgedRun) -> anyhow::Result<Vec<[String; 4]>> {
    let mut rows = vec![];
    if run.folder.runs != PAPERS_RUNS {
        rows.push(["runs of each".into(), run.folder.runs.to_string(), PAPERS_RUNS.to_string(), NONE.into()]);
    }
    let fewer = run.folder.classifiers.iter().filter(|classifier| classifier.runs.len() < run.folder.runs);
    for (kind, fewer) in
        fewer.map(|classifier| (classifier.kind, classifier.runs.len())).filter(|(_, runs)| *runs != PAPERS_RUNS)
    {
        let why = "a run takes long";
        rows.push([format!("runs of {}", kind.title()), fewer.to_string(), PAPERS_RUNS.to_string(), why.into()]);
    }
    let resample = match run.folder.resample {
        Resample::Bootstrap => "each draws the training patients anew",
        Resample::Split => "each splits the patients anew",
    };
    let why = "most classifiers would say the same a hundred times";
    rows.push(["why runs differ".into(), resample.into(), UNSAID.into(), why.into()]);
    let differences = run.folder.parameters.differences()?;
    rows.extend(differences.into_iter().map(|Difference { name, here, library, why }| {
        [name, here, library, why.unwrap_or("set by --config or --tune").to_owned()]
    }));
    Ok(rows)
}

/// The rows that all nets have alike; `None` where there is no net.
fn shared(nets: &[&SegmentConfig]) -> Option<Vec<[String; 3]>> {
    let all = nets.iter().map(|config| of_net(config));
    all.reduce(|mut shared, rows| {
        shared.retain(|row| rows.contains(row));
        shared
    })
}

/// Rows of a net: where the paper says something else, and where it says nothing.
fn of_net(config: &SegmentConfig) -> Vec<[String; 3]> {
    let frozen = matches!(config.net, NetConfig::EfficientNet(_));
    let (papers_epochs, epochs_best) = if frozen { ("400", 400) } else { ("500 (also 100, 200, 300, 400)", 500) };
    let blocks = config.net.unet().map(|unet| unet.blocks);
    let boundary = config.loss.boundary.is_some() && config.loss.cross_entropy > 0.0 && config.loss.dice > 0.0;
    let of_grid = |text: &str| if frozen { UNSAID.to_owned() } else { text.to_owned() };
    let said = [
        (
            blocks.is_none_or(|blocks| blocks == 6),
            "blocks",
            blocks.unwrap_or_default().to_string(),
            "6 (also 4)".into(),
        ),
        (
            config.start_sha256.is_none() && config.epochs == epochs_best,
            "epochs",
            epochs(&config.clone().into()),
            papers_epochs.into(),
        ),
        (!frozen && config.batch == 64, "batch", config.batch.to_string(), of_grid("64 (also 32, 128)")),
        (
            !frozen && rate(config) == "cosine(1e-5)",
            "learning rate",
            rate(config),
            of_grid("cosine(1e-5) (also cosine(5e-5), 1e-5, 5e-5; 1e-4 and 5e-4 in table X)"),
        ),
        (boundary, "loss", config.loss.describe(), "boundary loss + binary cross entropy + Dice".into()),
    ];
    let mut rows: Vec<[String; 3]> =
        said.into_iter().filter(|(same, ..)| !same).map(|(_, name, here, paper)| [name.into(), here, paper]).collect();
    let mut unsaid = vec![
        ("side of the picture", format!("{} pixels", config.preprocess.input_side)),
        ("channels and dropout", config.net.describe()),
        ("optimizer", optimizer(config.training.optimizer)),
        ("variation of pictures", config.augmentation.describe()),
    ];
    if boundary {
        unsaid.push(("weights of the loss's terms", config.loss.describe()));
    }
    let taught = config.taught.as_ref().map_or(0, |taught| taught.pictures);
    for (drawn, what) in [
        (config.healthy, "healthy pictures an epoch"),
        (config.boxed, "pictures with boxes an epoch"),
        (taught, "pictures with a teacher's masks an epoch"),
    ] {
        if drawn > 0 {
            unsaid.push((what, drawn.to_string()));
        }
    }
    if let Some(copies) = config.copies {
        unsaid.push(("changed copies of each picture", copies.count.to_string()));
    }
    rows.extend(unsaid.into_iter().map(|(name, here)| [name.into(), here, UNSAID.into()]));
    rows
}

fn optimizer(config: OptimizerConfig) -> String {
    match config {
        OptimizerConfig::Adamw(config) => format!("AdamW, weight decay {}", config.weight_decay),
        OptimizerConfig::Sgd(config) => {
            format!("SGD, momentum {}, weight decay {}", config.momentum, config.weight_decay)
        }
    }
}
