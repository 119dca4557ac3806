//! The rounds of a cross-validation as one judgement.
//!
//! Each round (`data split --fold`) trains a net of its own and judges it on patients that no other round tests. Put together, every
//! patient of the collection was judged once, by a net that had not seen him, and the intervals are over all of them.

use std::{
    collections::{BTreeMap, BTreeSet},
    path::Path,
};

use anyhow::{Context, ensure};

use super::{
    FORMAT, Identity, NOTICE, Recipe, RunJudgement, SegmentationJudgement, Training, score::PictureScore,
    volume::VolumeScore,
};
use crate::{data::Split, judge::Resampling};

/// One judgement of all rounds, each with the folder it was read from.
///
/// # Errors
/// No round; one that was not judged on its test split, has several runs, or a run that learnt from other data; rounds that
/// differ in net, masks, or how they were trained; a patient of two rounds.
pub fn pool(rounds: &[(&Path, SegmentationJudgement)], settings: Resampling) -> anyhow::Result<SegmentationJudgement> {
    let (_, first) = rounds.first().context("give the folders of the rounds")?;
    let mut tested: BTreeMap<(&str, &str), &Path> = BTreeMap::new();
    let mut pictures: Vec<PictureScore> = vec![];
    let mut volumes: Vec<VolumeScore> = vec![];
    let mut trainings: Vec<Training> = vec![];
    let mut expected = None;
    for (folder, round) in rounds {
        let folder = *folder;
        let [run] = &round.runs[..] else {
            anyhow::bail!("{}: {} runs; judge one run a round", folder.display(), round.runs.len())
        };
        ensure!(
            round.split == Split::Test && run.identity.same_data,
            "{}: not judged on the test split of the manifest that the run was trained with; judge it there",
            folder.display()
        );
        let recipe = recipe(run).with_context(|| folder.display().to_string())?;
        let net = (run.identity.members, round.modality, &run.mask_names, recipe);
        ensure!(
            net == *expected.get_or_insert_with(|| net.clone()),
            "{}: another net, or trained in another way, than {}; pool rounds that differ in their data alone",
            folder.display(),
            rounds[0].0.display()
        );
        let groups: BTreeSet<(&str, &str)> =
            run.pictures.iter().map(|picture| (picture.source.as_str(), picture.group.as_str())).collect();
        for group in groups {
            if let Some(before) = tested.insert(group, folder) {
                anyhow::bail!(
                    "{}: patient {} is in {} as well; pool rounds of one cross-validation (data split --fold)",
                    folder.display(),
                    group.1,
                    before.display()
                );
            }
        }
        pictures.extend(run.pictures.iter().cloned());
        volumes.extend(run.volumes.iter().cloned());
        trainings.extend(run.training.iter().cloned());
    }
    let RunJudgement { identity: Identity { seed, members, .. }, mask_names, .. } = &first.runs[0];
    let identity = Identity {
        run: format!("{} rounds", rounds.len()),
        seed: *seed,
        members: *members,
        rounds: rounds.len(),
        same_data: true,
    };
    let pooled = RunJudgement::new(identity, mask_names.clone(), pictures, volumes, &settings);
    Ok(SegmentationJudgement {
        format: FORMAT,
        notice: NOTICE.into(),
        modality: first.modality,
        split: Split::Test,
        source: first.source.clone(),
        settings,
        runs: vec![RunJudgement { training: trainings, ..pooled }],
        spread: vec![],
    })
}

/// How a run was trained, but for its data and seed. (Nothing here knows which patients the weights it may have started from had
/// seen.)
fn recipe(run: &RunJudgement) -> anyhow::Result<Recipe> {
    let Training { config, .. } = run.training.first().context(
        "it does not say how its net was trained; give folders in which masks judge judged runs of train segment or train instance",
    )?;
    Ok(config.of_a_round())
}
