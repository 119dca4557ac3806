//! The part of the page on single lesions: COCO's figures of each net that finds them, as `masks judge` wrote them.

use super::{
    document::{Block, Look, Table},
    tables::percent_interval,
};
use crate::{instance::average_precision::Summary, judge::lesions::LesionJudgement};

/// The section; nothing where no such net was judged.
pub(super) fn section(judgements: &[LesionJudgement], blocks: &mut Vec<Block>) {
    if judgements.is_empty() {
        return;
    }
    let caption = "COCO's average precision (AP) and recall (AR) of each lesion's mask, in percent, with intervals over patients; AP is the mean \
         over overlaps of 0.5 to 0.95. Lesions are the connected parts of the infection mask, but for those that were too small to be learnt.";
    let head = ["Net", "Split", "Lesions", "Pictures", "Patients", "AP", "AP50", "AP75", "AR1", "AR10", "AR100"];
    let mut table = Table::new(caption, &head);
    for judgement in judgements {
        let [pictures, patients, lesions] = judgement.counts;
        let mut cells = vec![judgement.net.clone(), judgement.split.as_str().to_owned()];
        cells.extend([lesions, pictures, patients].map(|count| count.to_string()));
        let figure = |name: &&str| percent_interval(judgement.figures.get(*name).copied().flatten());
        cells.extend(Summary::NAMES.iter().map(figure));
        table.push(Look::Plain, cells);
    }
    blocks.push(Block::Section("Lesions, one by one".into()));
    blocks.push(Block::Table(table));
}
