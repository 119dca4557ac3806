//! The part of the page on single lesions: COCO's figures of each net that finds them, as `masks judge` wrote them.

use std::path::Path;

use anyhow::Context;

use super::{
    document::{Block, Look, Table},
    masks::{BUDGET, BUDGET_TOLD, budget},
    tables::percent_interval,
};
use crate::{
    instance::average_precision::Summary,
    judge::{
        lesions::{self, LesionJudgement},
        masks::SegmentationJudgement,
    },
};

/// What a run found, lesion by lesion, and what tells it from others of the same net.
pub(super) struct Judged {
    lesions: LesionJudgement,
    seed: u64,
    /// Modality and, where one was chosen, source of the pictures.
    set: String,
    budget: [String; 4],
}

/// Reads what `masks judge` wrote of the lesions into a folder of which `judgement` was read; nothing where no net found single ones.
///
/// # Errors
/// A file that is damaged, or tells of a run that is not in the judgement.
pub(super) fn read(folder: &Path, judgement: &SegmentationJudgement) -> anyhow::Result<Vec<Judged>> {
    let source = judgement.source.as_ref().map_or_else(String::new, |source| format!(": {source}"));
    let set = format!("{}{source}", judgement.modality.title());
    let of_run = |lesions: LesionJudgement| {
        let run = judgement.runs.iter().find(|run| run.identity.run == lesions.run).with_context(|| {
            format!("{}: lesions.json tells of {}, judgement.json does not; judge again", folder.display(), lesions.run)
        })?;
        let budget = budget(std::slice::from_ref(run));
        Ok(Judged { lesions, seed: run.identity.seed, set: set.clone(), budget })
    };
    lesions::read(folder)?.into_iter().map(of_run).collect()
}

/// The section; nothing where no such net was judged.
pub(super) fn section(judged: &[Judged], blocks: &mut Vec<Block>) {
    if judged.is_empty() {
        return;
    }
    let caption = format!(
        "COCO's average precision (AP) and recall (AR) of each lesion's mask, in percent, with intervals over patients; AP is the mean over overlaps \
         of 0.5 to 0.95. Lesions are the connected parts of the infection mask; those that were too small to be learnt count neither for nor \
         against, nor does what is found of that size beside them. {BUDGET_TOLD}"
    );
    let head = [
        "Net", "Seed", "Set", "Split", "Lesions", "Pictures", "Patients", "AP", "AP50", "AP75", "AR1", "AR10", "AR100",
    ];
    let mut table = Table::new(caption, &[&head[..], &BUDGET].concat());
    for Judged { lesions: judgement, seed, set, budget } in judged {
        let [pictures, patients, lesions] = judgement.counts;
        let mut cells = vec![judgement.net.clone(), seed.to_string(), set.clone(), judgement.split.as_str().to_owned()];
        cells.extend([lesions, pictures, patients].map(|count| count.to_string()));
        let figure = |name: &&str| percent_interval(judgement.figures.get(*name).copied().flatten());
        cells.extend(Summary::NAMES.iter().map(figure));
        cells.extend(budget.iter().cloned());
        table.push(Look::Plain, cells);
    }
    blocks.push(Block::Section("Lesions, one by one".into()));
    blocks.push(Block::Table(table));
}
