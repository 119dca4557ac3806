//! What nets that find single lesions are worth, lesion by lesion: COCO's average precision and recall, with intervals over patients.
//!
//! True lesions are the connected components of the infection mask at the picture's own size; those that were too small to be learnt do not
//! count, neither for nor against.

use std::{
    collections::{BTreeMap, BTreeSet},
    path::Path,
};

use anyhow::Context;
use serde::{Deserialize, Serialize};
use thorax_files::write_atomically;
use thorax_shared::mask::INFECTION;

use super::{
    Estimate, Resampling,
    masks::{self, Identity, RunJudgement},
};
use crate::{
    data::{
        Manifest, Record, Split, Task,
        picture::{Picture, truth_masks},
    },
    instance::{
        FoundLesions, LesionFinder,
        average_precision::{MOST, Matches, Summary},
        run::InstanceRunConfig,
    },
};

/// The version of `lesions.json`: since 2 small lesions count neither way.
pub const FORMAT: u32 = 2;

/// What is known of the lesions that a run found.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct LesionJudgement {
    /// The version of this form.
    pub format: u32,
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

/// Judges what a run finds on the pictures of a split: the union of the lesions as any mask is ([`masks::judge_run`]), and each lesion. Every
/// picture goes through the net once.
///
/// # Errors
/// Pictures and masks that cannot be read, a net that cannot be run, a split without pictures that have masks.
pub fn judge_run(
    manifest: &Manifest,
    split: Split,
    finder: &LesionFinder,
    identity: Identity,
    settings: &Resampling,
) -> anyhow::Result<(RunJudgement, LesionJudgement)> {
    let draw = |record: &Record, picture: &Picture| {
        let found = finder.find(picture)?;
        let matches = matched(manifest, record, &found, &finder.run().config)?;
        anyhow::Ok((found.into_drawn(), matches))
    };
    let (judged, matches) = masks::judge_drawn(manifest, split, finder, &draw, identity, settings)?;
    let known = judged.pictures.iter().zip(matches).filter_map(|(picture, own)| Some((picture.group.clone(), own?)));
    let (groups, matches): (Vec<String>, Vec<Matches>) = known.unzip();
    let lesions = LesionJudgement {
        format: FORMAT,
        run: judged.identity.run.clone(),
        net: finder.run().config.instance_net.describe().to_owned(),
        split,
        counts: [
            matches.len(),
            groups.iter().collect::<BTreeSet<_>>().len(),
            matches.iter().map(Matches::truths).sum(),
        ],
        smallest_lesion: finder.run().config.smallest_lesion,
        score_threshold: finder.run().threshold.score,
        settings: *settings,
        figures: figures(&groups, &matches, settings),
    };
    Ok((judged, lesions))
}

/// The lesions of a picture beside the true ones, where these are known.
fn matched(
    manifest: &Manifest,
    record: &Record,
    found: &FoundLesions,
    config: &InstanceRunConfig,
) -> anyhow::Result<Option<Matches>> {
    if record.task != Task::Segment || record.mask.is_empty() {
        return Ok(None);
    }
    let Some(mask) = truth_masks(manifest, record, &found.picture)?.swap_remove(INFECTION) else { return Ok(None) };
    let inside: Vec<bool> = mask.data().iter().map(|value| *value > 0).collect();
    // As many pixels of the picture as the smallest lesion has at the net's size.
    let side = config.preprocess.input_side as usize;
    let smallest = (config.smallest_lesion * found.seen.area()).div_ceil(side * side);
    let lesions = found.lesions.iter().map(|lesion| (f64::from(lesion.score), lesion.mask.as_slice()));
    Ok(Some(Matches::of_mask(&lesions.collect::<Vec<_>>(), &inside, mask.width(), smallest)?))
}

/// The figures by their names, with intervals over the patients, of which `groups` has that of each picture.
fn figures(groups: &[String], matches: &[Matches], settings: &Resampling) -> BTreeMap<String, Option<Estimate>> {
    let statistic = |figure: usize| {
        move |chosen: &[usize]| {
            let pictures: Vec<&Matches> = chosen.iter().map(|&index| &matches[index]).collect();
            Summary::of(&pictures).map(|summary| summary.into_array()[figure])
        }
    };
    let names = Summary::NAMES.iter().enumerate();
    names.map(|(figure, name)| ((*name).to_owned(), Estimate::new(groups, settings, statistic(figure)))).collect()
}

/// The name of the figures in a folder, and that of their page.
pub(super) const FIGURES: &str = "lesions.json";
pub(super) const PAGE: &str = "lesions.md";

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
    let judgements: Option<Vec<LesionJudgement>> = serde_json::from_slice(&text).ok();
    let of_this_form = judgements.filter(|all| all.iter().all(|judgement| judgement.format == FORMAT));
    of_this_form.with_context(|| {
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
    for (name, bytes) in [(FIGURES, json), (PAGE, markdown(judgements).into_bytes())] {
        write_atomically(&folder.join(name), |out| out.write_all(&bytes))?;
    }
    Ok(())
}

/// The page.
pub fn markdown(judgements: &[LesionJudgement]) -> String {
    let mut text = format!(
        "# Lesions\n\nCOCO's average precision (AP) and recall (AR) of masks, in percent, at most {MOST} lesions a picture; in brackets the \
         interval of a bootstrap over patients. AP is the mean over overlaps of 0.5 to 0.95. Lesions that are too small to be learnt count neither \
         for nor against. Research use only, not a medical device.\n\n\
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
