//! What segmentation nets are worth: from runs and a split to figures.
//!
//! Every picture of the split with masks is drawn on by each run and compared at its own size; so is every picture of class
//! `normal`, where anything that is found is false. Runs of one net that differ in their seed alone are told each by itself, and
//! their spread beside them: a difference between two nets that is smaller than the spread of one of them is none.

pub mod compare;
pub mod figures;
pub mod pool;
mod recipe;
pub mod score;
mod surface_distance;
pub mod tables;
#[cfg(test)]
mod tests;
pub mod volume;

use std::{collections::BTreeMap, path::Path};

use anyhow::{Context, ensure};
use rayon::prelude::*;
use serde::{Deserialize, Serialize};
use thorax_files::write_atomically;
use thorax_shared::{
    lungs::involvement_percent,
    mask::{INFECTION, LUNGS, NAMES, union},
    modality::Modality,
    plane::Plane,
};

pub use self::recipe::Recipe;
use self::{
    score::{
        FalsePositives, MaskFigures, MaskJudgement, MaskScore, PictureScore, false_positives, involvement_error,
        judge_mask,
    },
    volume::{JudgedSlice, SlicePair, VolumeScore, judge_volume},
};
use super::{Estimate, Resampling, lesions, mean};
use crate::{
    data::{
        Manifest, Record, Split,
        address::Address,
        picture::{Picture, slice_distance_mm, truth_masks},
    },
    progress::progress,
    segmentation::{DrawMasks, Drawn},
};

/// The version of `judgement.json`.
pub const FORMAT: u32 = 2;
/// Only of volumes.
const VOLUMES: &str = "volumes.csv";
/// What a judgement may be used for.
pub const NOTICE: &str = "Research use only, not a medical device.";

/// How a run went, epoch by epoch.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Curve {
    /// Training loss.
    pub loss: Vec<f64>,
    /// Validation Dice of the infection, pooled.
    pub dice: Vec<f64>,
    /// Training pictures a second; nothing where it was not kept.
    #[serde(default)]
    pub images_per_second: Vec<f64>,
}

impl Curve {
    /// Of the `epochs.csv` in a run's folder.
    ///
    /// # Errors
    /// A file that is missing or is none.
    pub fn read(folder: &Path) -> anyhow::Result<Self> {
        #[derive(Deserialize)]
        struct Epoch {
            loss: f64,
            dice_infection: f64,
            images_per_second: f64,
        }
        let path = folder.join("epochs.csv");
        let mut table = csv::Reader::from_path(&path).with_context(|| path.display().to_string())?;
        let epochs = table.deserialize().collect::<Result<Vec<Epoch>, _>>();
        let epochs = epochs.with_context(|| format!("{}: not the log of a training", path.display()))?;
        Ok(Self {
            loss: epochs.iter().map(|epoch| epoch.loss).collect(),
            dice: epochs.iter().map(|epoch| epoch.dice_infection).collect(),
            images_per_second: epochs.iter().map(|epoch| epoch.images_per_second).collect(),
        })
    }
}

/// All that is known of some runs on a split.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct SegmentationJudgement {
    /// The version of this form.
    pub format: u32,
    /// What it may be used for.
    pub notice: String,
    /// Whose pictures.
    pub modality: Modality,
    /// Which of them.
    pub split: Split,
    /// What the source of every picture with masks says; `None` where pictures of all sources were judged.
    #[serde(default)]
    pub source: Option<String>,
    /// How the intervals were made.
    pub settings: Resampling,
    /// Each run by itself.
    pub runs: Vec<RunJudgement>,
    /// The runs together, for each mask; empty for one run, and for runs that differ in more than their seed.
    pub spread: Vec<MaskSpread>,
}

/// Which run it is.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Identity {
    /// Its folder, as it was given, or what it is the mean of.
    pub run: String,
    /// Its seed, or that of the first of several.
    pub seed: u64,
    /// Runs whose mean it is.
    pub members: usize,
    /// Rounds of a cross-validation, each with a net of its own; 1 where it is one net.
    pub rounds: usize,
    /// Whether it learnt from the very manifest it is judged with. Where not, it may have seen pictures it is judged on.
    pub same_data: bool,
}

/// All that is known of one run.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct RunJudgement {
    /// Which it is.
    #[serde(flatten)]
    pub identity: Identity,
    /// The masks that are judged, in the order of a picture's.
    pub mask_names: Vec<String>,
    /// Each mask whose truth is known of some picture.
    pub masks: Vec<MaskJudgement>,
    /// Mean distance between the found and the true infected share of the lungs, in percentage points.
    pub involvement_error: Option<Estimate>,
    /// The infection found on pictures of class `normal`; `None` where the split has none.
    pub negatives: Option<FalsePositives>,
    /// Each picture.
    pub pictures: Vec<PictureScore>,
    /// Each volume whose slices are among them.
    #[serde(default)]
    pub volumes: Vec<VolumeScore>,
    /// How it was trained: one training, or those of all that it is the mean of, or that of each round of a cross-validation; none for
    /// a net that is no run.
    pub training: Vec<Training>,
}

/// How a net was trained, and how that went.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Training {
    /// How.
    pub config: Recipe,
    /// What came of it, epoch by epoch. A net that started from earlier weights has only its own epochs here.
    pub curve: Curve,
    /// Pictures of an epoch; `None` where it is not known what the net learnt from.
    #[serde(default)]
    pub pictures: Option<usize>,
}

impl Training {
    /// How the run in `folder` was trained and how that went; `manifest` is what it learnt from, where that is known.
    ///
    /// # Errors
    /// A folder without a log of its epochs.
    pub fn read(folder: &Path, config: Recipe, manifest: Option<&Manifest>) -> anyhow::Result<Self> {
        let own = manifest.map(|manifest| manifest.masked(config.modality(), Split::Train).count());
        let pictures = own.map(|own| own + config.drawn());
        Ok(Self { config, curve: Curve::read(folder)?, pictures })
    }

    /// Hours that the steps took, validation not counted.
    pub fn hours(&self) -> Option<f64> {
        let rates = &self.curve.images_per_second;
        let seconds: f64 = rates.iter().map(|rate| self.pictures.unwrap_or_default() as f64 / rate).sum();
        (seconds > 0.0 && seconds.is_finite()).then_some(seconds / 3600.0)
    }
}

/// A figure of several runs.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct RunSpread {
    /// Runs that have it.
    pub runs: usize,
    /// Mean.
    pub mean: f64,
    /// Standard deviation (of the sample: divided by their number less one); `None` for one run.
    pub standard_deviation: Option<f64>,
    /// Smallest.
    pub min: f64,
    /// Largest.
    pub max: f64,
}

/// A mask of several runs.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct MaskSpread {
    /// Its name.
    pub mask: String,
    /// Of the means over pictures.
    pub per_picture: MaskFigures<Option<RunSpread>>,
    /// Of all pixels together.
    pub pooled: MaskFigures<Option<RunSpread>>,
    /// Of the means over patients.
    pub per_patient: MaskFigures<Option<RunSpread>>,
    /// Of the means over volumes.
    #[serde(default)]
    pub per_volume: MaskFigures<Option<RunSpread>>,
}

impl RunSpread {
    /// `None` for no values.
    pub fn new(values: &[f64]) -> Option<Self> {
        let mean = mean(values.iter().copied())?;
        let squares: f64 = values.iter().map(|value| (value - mean).powi(2)).sum();
        let standard_deviation = (values.len() > 1).then(|| (squares / (values.len() - 1) as f64).sqrt());
        let [min, max] = [f64::min, f64::max].map(|of| values.iter().copied().reduce(of).unwrap_or(mean));
        Some(Self { runs: values.len(), mean, standard_deviation, min, max })
    }
}

/// The masks that are judged: those the net draws, and both lungs together where it draws each by itself.
pub(super) struct JudgedMasks<'a> {
    names: Vec<&'a str>,
    /// Positions of the masks that are lung.
    lungs: Vec<usize>,
    infection: Option<usize>,
}

impl<'a> JudgedMasks<'a> {
    pub(super) fn new(drawn: &'a [String]) -> Self {
        let mut names: Vec<&str> = drawn.iter().map(String::as_str).collect();
        let lungs: Vec<usize> = (0..names.len()).filter(|&i| names[i].contains("lung")).collect();
        let infection = names.iter().position(|&name| name == NAMES[INFECTION]);
        if lungs.len() > 1 {
            names.push(LUNGS);
        }
        Self { names, lungs, infection }
    }

    /// Both lungs together; `None` where one of them is not known.
    fn both_lungs(&self, masks: &[Option<Plane<u8>>]) -> Option<Plane<u8>> {
        union(self.lungs.iter().map(|&position| masks[position].as_ref()))
    }

    /// Compares masks in the order of the net's; `truth` may lack some. `seen`: pixels of the part of the picture that the net saw. Gives
    /// both masks of each pair as well, for the volume that the picture may be a slice of.
    fn score(
        &self,
        record: &Record,
        negative: bool,
        found: Vec<Plane<u8>>,
        mut truth: Vec<Option<Plane<u8>>>,
        seen: u64,
        spacing_mm: Option<[f32; 2]>,
    ) -> anyhow::Result<(PictureScore, Vec<Option<SlicePair>>)> {
        let mut found: Vec<Option<Plane<u8>>> = found.into_iter().map(Some).collect();
        ensure!(found.len() == truth.len(), "the net draws {} masks, the truth has {}", found.len(), truth.len());
        let involvement = |masks: &[Option<Plane<u8>>]| {
            involvement_percent(masks[self.infection?].as_ref()?, &self.both_lungs(masks)?, seen)
        };
        let involvement_percent = [involvement(&found), involvement(&truth)];
        if self.lungs.len() > 1 {
            found.push(self.both_lungs(&found));
            truth.push(self.both_lungs(&truth));
        }
        let pairs: Vec<_> = found.iter().zip(&truth).map(|(found, truth)| found.as_ref().zip(truth.as_ref())).collect();
        let masks = pairs
            .iter()
            .map(|pair| pair.map(|(found, truth)| MaskScore::new(found, truth, spacing_mm)).transpose())
            .collect::<Result<_, _>>()?;
        let score = PictureScore {
            path: record.path.clone(),
            group: record.group.clone(),
            source: record.source.clone(),
            negative,
            masks,
            involvement_percent,
        };
        Ok((score, pairs.into_iter().map(|pair| pair.map(|(found, truth)| SlicePair::new(found, truth))).collect()))
    }
}

/// Draws on every picture of the split and compares.
///
/// # Errors
/// Pictures and masks that cannot be read, a net that cannot be run, a split without pictures that have masks.
pub fn judge_run(
    manifest: &Manifest,
    split: Split,
    segmenter: &impl DrawMasks,
    identity: Identity,
    settings: &Resampling,
) -> anyhow::Result<RunJudgement> {
    let draw = |_: &Record, picture: &Picture| anyhow::Ok((segmenter.draw(picture)?, ()));
    Ok(judge_drawn(manifest, split, segmenter, &draw, identity, settings)?.0)
}

/// As [`judge_run`], of masks that `draw` gives with something more of each picture, which comes back in the order of the judgement's
/// pictures.
///
/// # Errors
/// As [`judge_run`].
pub(super) fn judge_drawn<More: Send>(
    manifest: &Manifest,
    split: Split,
    segmenter: &impl DrawMasks,
    draw: &(impl Fn(&Record, &Picture) -> anyhow::Result<(Drawn, More)> + Sync),
    identity: Identity,
    settings: &Resampling,
) -> anyhow::Result<(RunJudgement, Vec<More>)> {
    let modality = segmenter.modality();
    let judged = JudgedMasks::new(segmenter.names());
    let masked = manifest.masked(modality, split).map(|record| (record, false));
    let records: Vec<(&Record, bool)> =
        masked.chain(manifest.healthy(modality, split).map(|record| (record, true))).collect();
    ensure!(
        records.iter().any(|(_, negative)| !negative),
        "the manifest has no {modality} pictures with masks in its {} split; choose another --split, or deal the patients out \
         with thorax-train data split",
        split.as_str()
    );
    let bar = progress(records.len(), &format!("{modality} {}", split.as_str()));
    let score = |(record, negative): (&Record, bool)| {
        let picture = Picture::of(manifest, record)?;
        let (drawn, more) = draw(record, &picture)?;
        let truth = if negative {
            let nothing = Plane::filled(drawn.picture.width(), drawn.picture.height(), 0);
            (0..drawn.masks.len()).map(|mask| (judged.infection == Some(mask)).then(|| nothing.clone())).collect()
        } else {
            of_names(segmenter.names(), truth_masks(manifest, record, &drawn.picture)?)
        };
        let (score, pairs) =
            judged.score(record, negative, drawn.masks, truth, drawn.seen, picture.frame.spacing_mm)?;
        bar.inc(1);
        anyhow::Ok((score, more, pairs, picture.frame.spacing_mm))
    };
    let (mut pictures, mut volumes) = (vec![], vec![]);
    // One volume after the other, so that no more than the masks of one are kept.
    for (file, numbers) in by_volume(&records) {
        let scored = numbers
            .into_par_iter()
            .map(|number| Ok((number, score(records[number]).with_context(|| records[number].0.path.clone())?)))
            .collect::<anyhow::Result<Vec<_>>>()?;
        if let Some(file) = file {
            let slices = scored.iter().filter_map(|(number, (score, _, pairs, _))| {
                Some((Address::of(&records[*number].0.path).slice?, score, pairs.as_slice()))
            });
            let in_plane = scored.first().and_then(|(_, (.., spacing_mm))| *spacing_mm);
            let spacing_mm = voxel_mm(manifest, file, in_plane)?;
            let slices: Vec<JudgedSlice<'_>> = slices.collect();
            volumes.extend(judge_volume(file, &slices, spacing_mm).with_context(|| file.to_owned())?);
        }
        pictures.extend(scored.into_iter().map(|(number, (score, more, ..))| (number, score, more)));
    }
    bar.finish_and_clear();
    pictures.sort_by_key(|(number, ..)| *number);
    let (pictures, more) = pictures.into_iter().map(|(_, score, more)| (score, more)).unzip();
    let names = judged.names.iter().map(|&name| name.to_owned()).collect();
    Ok((RunJudgement::new(identity, names, pictures, volumes, settings), more))
}

/// Distances in the volume `file` from slice to slice, from row to row and from column to column, in millimetres; `in_plane` are the last
/// two. `None` where they are not known.
///
/// # Errors
/// A file that cannot be read, or is no volume.
pub(super) fn voxel_mm(
    manifest: &Manifest,
    file: &str,
    in_plane: Option<[f32; 2]>,
) -> anyhow::Result<Option<[f64; 3]>> {
    let spacing_mm = slice_distance_mm(manifest, file)?.zip(in_plane);
    Ok(spacing_mm.map(|(slice, [row, column])| [slice, row, column].map(f64::from)))
}

/// The positions of pictures with masks that are slices of a volume, by its file; those of all others together.
pub(super) fn by_volume<'a>(records: &[(&'a Record, bool)]) -> BTreeMap<Option<&'a str>, Vec<usize>> {
    let mut all: BTreeMap<Option<&str>, Vec<usize>> = BTreeMap::new();
    for (number, (record, negative)) in records.iter().enumerate() {
        let address = Address::of(&record.path);
        let file = address.slice.filter(|_| !negative).map(|_| address.file);
        all.entry(file).or_default().push(number);
    }
    all
}

/// Of all masks of a picture those that a net draws, in its order.
fn of_names(names: &[String], masks: Vec<Option<Plane<u8>>>) -> Vec<Option<Plane<u8>>> {
    let of = |name: &String| NAMES.iter().position(|of| of == name).and_then(|position| masks.get(position)?.clone());
    names.iter().map(of).collect()
}

impl RunJudgement {
    /// What the scores of `pictures`, and of the `volumes` that they are slices of, come to; `mask_names` are in the order of each
    /// one's scores.
    pub(super) fn new(
        identity: Identity,
        mask_names: Vec<String>,
        pictures: Vec<PictureScore>,
        volumes: Vec<VolumeScore>,
        settings: &Resampling,
    ) -> Self {
        let (negatives, masked): (Vec<&PictureScore>, Vec<&PictureScore>) = pictures.iter().partition(|p| p.negative);
        let masks = mask_names.iter().enumerate();
        let masks =
            masks.filter_map(|(position, name)| judge_mask(name, position, &masked, &volumes, settings)).collect();
        let infection = mask_names.iter().position(|name| name == NAMES[INFECTION]);
        Self {
            masks,
            involvement_error: involvement_error(&masked, settings),
            negatives: infection.and_then(|position| false_positives(position, &negatives, settings)),
            identity,
            mask_names,
            pictures,
            volumes,
            training: vec![],
        }
    }
}

/// Reads `judgement.json` of a folder of `masks judge`.
///
/// # Errors
/// A folder that has none, or one of another version.
pub fn read(folder: &Path) -> anyhow::Result<SegmentationJudgement> {
    let path = folder.join("judgement.json");
    let text = std::fs::read(&path)
        .with_context(|| format!("{}: expected what thorax-train masks judge writes", path.display()))?;
    let judgement: SegmentationJudgement = serde_json::from_slice(&text).with_context(|| {
        format!("{}: not what this version of thorax-train masks judge writes; judge again", path.display())
    })?;
    ensure!(
        judgement.format == FORMAT,
        "{}: format {}, this program reads {FORMAT}; judge again",
        path.display(),
        judgement.format
    );
    ensure!(!judgement.runs.is_empty(), "{}: no run was judged", path.display());
    Ok(judgement)
}

/// The spread of runs of one net.
pub fn spread(runs: &[RunJudgement]) -> Vec<MaskSpread> {
    let Some(first) = runs.first() else { return vec![] };
    let of = |name: &str, figures: fn(&MaskJudgement) -> MaskFigures<Option<Estimate>>| {
        let all: Vec<[Option<Estimate>; 7]> = runs
            .iter()
            .flat_map(|run| run.masks.iter().filter(|mask| mask.mask == name))
            .map(|mask| figures(mask).into_array())
            .collect();
        MaskFigures::from_fn(|figure| {
            let values: Vec<f64> = all.iter().filter_map(|run| Some(run[figure]?.value)).collect();
            RunSpread::new(&values)
        })
    };
    first
        .masks
        .iter()
        .map(|MaskJudgement { mask, .. }| MaskSpread {
            mask: mask.clone(),
            per_picture: of(mask, |mask| mask.per_picture),
            pooled: of(mask, |mask| mask.pooled),
            per_patient: of(mask, |mask| mask.per_patient),
            per_volume: of(mask, |mask| mask.per_volume),
        })
        .collect()
}

/// Writes the four files of a judgement, and `volumes.csv` where it has any. What an earlier judgement left in the folder that this one may
/// not have is taken away, so that `report` does not read it as this one's.
///
/// # Errors
/// A file that cannot be written, or not be taken away.
pub fn write(judgement: &SegmentationJudgement, folder: &Path) -> anyhow::Result<()> {
    let mut json = serde_json::to_vec_pretty(judgement)?;
    json.push(b'\n');
    let mut files = vec![
        ("pictures.csv", tables::pictures(judgement)?),
        ("patients.csv", tables::patients(judgement)?),
        ("judgement.json", json),
        ("judgement.md", tables::markdown(judgement).into_bytes()),
    ];
    if judgement.runs.iter().any(|run| !run.volumes.is_empty()) {
        files.push((VOLUMES, tables::volumes(judgement)?));
    }
    for name in [VOLUMES, lesions::FIGURES, lesions::PAGE] {
        let path = folder.join(name);
        if path.exists() {
            std::fs::remove_file(&path).with_context(|| format!("{}: of an earlier judgement", path.display()))?;
        }
    }
    for (name, bytes) in files {
        write_atomically(&folder.join(name), |out| out.write_all(&bytes))?;
    }
    Ok(())
}
