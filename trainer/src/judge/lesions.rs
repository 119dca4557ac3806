//! What nets that find single lesions are worth, lesion by lesion: COCO's average precision and recall, with intervals over patients.
//!
//! True lesions are the connected components of the infection mask at the picture's own size; those that were too small to be learnt do not
//! count, neither for nor against.

use std::{
    collections::{BTreeMap, BTreeSet},
    path::Path,
};

use anyhow::Context;
use rayon::prelude::*;
use serde::{Deserialize, Serialize};
use thorax_files::write_atomically;
use thorax_nets::instance::targets::{Targets, components};
use thorax_shared::mask::INFECTION;

use super::{Estimate, Resampling};
use crate::{
    data::{
        Manifest, Record, Split,
        picture::{Picture, truth_masks},
    },
    instance::{
        LesionFinder,
        average_precision::{MOST, Matches, Summary},
    },
    progress::progress,
};

/// What is known of the lesions that a run found.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct LesionJudgement {
    /// The run's folder, as it was given.
    pub run: String,
    /// In words.
    pub net: String,
    /// Which pictures.
    pub split: Split,
    /// Pictures with an infection mask, patients, true lesions.
    pub counts: [usize; 3],
    /// Smallest lesion, in pixels at the net's size.
    pub smallest_lesion: usize,
    /// From which score on a lesion is part of the union that is judged as a mask.
    pub score_threshold: f32,
    /// How the intervals were made.
    pub settings: Resampling,
    /// The figures by their names ([`Summary::NAMES`]); `None` where no picture has a lesion.
    pub figures: BTreeMap<String, Option<Estimate>>,
}

/// The pictures of a run, matched.
pub struct Matched {
    /// The patient of each.
    groups: Vec<String>,
    matches: Vec<Matches>,
}

/// Finds the lesions of every picture of the split that has an infection mask, and matches them with the true ones.
///
/// # Errors
/// Pictures and masks that cannot be read, a net that cannot be run.
pub fn find(manifest: &Manifest, split: Split, finder: &LesionFinder) -> anyhow::Result<Matched> {
    let config = &finder.run().config;
    let records: Vec<&Record> = manifest.masked(config.modality, split).collect();
    let bar = progress(records.len(), &format!("lesions of {}", split.as_str()));
    let side = config.preprocess.input_side as usize;
    let one = |record: &Record| {
        let picture = Picture::of(manifest, record)?;
        let found = finder.find(&picture)?;
        let (width, height) = (found.picture.width(), found.picture.height());
        let truth = truth_masks(manifest, record, &found.picture)?.swap_remove(INFECTION);
        let mask = truth.context("the picture has no infection mask")?;
        let mask: Vec<bool> = mask.data().iter().map(|value| *value > 0).collect();
        // As many pixels of the picture as the smallest lesion has at the net's size.
        let smallest = (config.smallest_lesion * found.seen.area()).div_ceil(side * side);
        let numbers: Vec<f32> = components(&mask, width, smallest).into_iter().map(|number| number as f32).collect();
        let truth = Targets::of_numbers(&numbers, height, width)?;
        let lesions: Vec<(f64, &[bool])> =
            found.lesions.iter().map(|lesion| (f64::from(lesion.score), lesion.mask.as_slice())).collect();
        let truths: Vec<&[bool]> = truth.lesions.iter().map(|lesion| lesion.mask.as_slice()).collect();
        bar.inc(1);
        anyhow::Ok(Matches::of(&lesions, &truths))
    };
    let matches = records.par_iter().map(|record| one(record).with_context(|| record.path.clone()));
    let matches = matches.collect::<anyhow::Result<_>>()?;
    bar.finish_and_clear();
    Ok(Matched { groups: records.iter().map(|record| record.group.clone()).collect(), matches })
}

/// What the matched pictures come to.
pub fn judge(
    matched: &Matched,
    finder: &LesionFinder,
    run: &Path,
    split: Split,
    settings: Resampling,
) -> LesionJudgement {
    let Matched { groups, matches } = matched;
    let statistic = |figure: usize| {
        move |chosen: &[usize]| {
            let pictures: Vec<&Matches> = chosen.iter().map(|&index| &matches[index]).collect();
            Summary::of(&pictures).map(|summary| summary.into_array()[figure])
        }
    };
    let figures = Summary::NAMES.iter().enumerate();
    let figures = figures
        .map(|(figure, name)| ((*name).to_owned(), Estimate::new(groups, &settings, statistic(figure))))
        .collect();
    let patients = groups.iter().collect::<BTreeSet<_>>().len();
    let run_config = &finder.run().config;
    LesionJudgement {
        run: run.display().to_string(),
        net: run_config.instance_net.describe().to_owned(),
        split,
        counts: [matches.len(), patients, matches.iter().map(Matches::truths).sum()],
        smallest_lesion: run_config.smallest_lesion,
        score_threshold: finder.run().threshold.score,
        settings,
        figures,
    }
}

/// The name of the figures in a folder.
const FIGURES: &str = "lesions.json";

/// Reads what [`write()`] wrote; nothing of a folder in which no such net was judged.
///
/// # Errors
/// A file that is damaged, or of another version.
pub fn read(folder: &Path) -> anyhow::Result<Vec<LesionJudgement>> {
    let path = folder.join(FIGURES);
    if !path.exists() {
        return Ok(vec![]);
    }
    let text = std::fs::read(&path).with_context(|| path.display().to_string())?;
    serde_json::from_slice(&text).with_context(|| {
        format!("{}: not what this version of thorax-train masks judge writes; judge again", path.display())
    })
}

/// Writes `lesions.json` and `lesions.md`.
///
/// # Errors
/// A file that cannot be written.
pub fn write(judgements: &[LesionJudgement], folder: &Path) -> anyhow::Result<()> {
    let mut json = serde_json::to_vec_pretty(judgements)?;
    json.push(b'\n');
    for (name, bytes) in [(FIGURES, json), ("lesions.md", markdown(judgements).into_bytes())] {
        write_atomically(&folder.join(name), |out| out.write_all(&bytes))?;
    }
    Ok(())
}

/// The page.
pub fn markdown(judgements: &[LesionJudgement]) -> String {
    let mut text = format!(
        "# Lesions\n\nCOCO's average precision (AP) and recall (AR) of masks, in percent, at most {MOST} lesions a picture; in brackets the \
         interval of a bootstrap over patients. AP is the mean over overlaps of 0.5 to 0.95. Research use only, not a medical device.\n\n\
         | run | net | lesions | AP | AP50 | AP75 | AR1 | AR10 | AR100 |\n|---|---|---|---|---|---|---|---|---|\n"
    );
    for judgement in judgements {
        let [pictures, patients, lesions] = judgement.counts;
        let cell = |name: &&str| {
            let percent = |value: f64| format!("{:.1}", 100.0 * value);
            let told = |of: Estimate| format!("{} ({} to {})", percent(of.value), percent(of.low), percent(of.high));
            judgement.figures.get(*name).copied().flatten().map_or_else(|| "-".to_owned(), told)
        };
        let cells: Vec<String> = Summary::NAMES.iter().map(cell).collect();
        text.push_str(&format!(
            "| {} | {} | {lesions} on {pictures} pictures of {patients} patients, at least {} pixels at the net's size | {} |\n",
            judgement.run,
            judgement.net,
            judgement.smallest_lesion,
            cells.join(" | ")
        ));
    }
    text
}
