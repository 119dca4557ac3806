//! `thorax-train masks pool`: the rounds of a cross-validation as one judgement.
//!
//! Each round (`data split --fold`) trains a net of its own and judges it on patients that no other round tests. Put together, every
//! patient of the collection was judged once, by a net that had not seen him, and the intervals are over all of them.

use std::{
    collections::BTreeMap,
    path::{Path, PathBuf},
};

use anyhow::{Context, ensure};

use super::{
    judge_masks::{FORMAT, Identity, Judgement, NOTICE, RunJudgement, read, write},
    score::{PictureScore, Settings},
    tables,
};
use crate::{data::Split, train::segment::SegmentConfig};

/// Options of `masks pool`.
#[derive(Debug, clap::Args)]
pub struct PoolArgs {
    /// Folder of `thorax-train masks judge`, one a round, with one run each
    #[arg(required = true, num_args = 2.., value_name = "DIR")]
    rounds: Vec<PathBuf>,
    /// Folder for judgement.md, judgement.json, pictures.csv and patients.csv
    #[arg(long, value_name = "DIR")]
    out: PathBuf,
    /// Resamples of the bootstrap over patients
    #[arg(long, default_value_t = 1000, value_parser = clap::value_parser!(u32).range(1..))]
    resamples: u32,
    /// Seed of the bootstrap
    #[arg(long, default_value_t = 1)]
    seed: u64,
}

/// Carries out `masks pool`.
///
/// # Errors
/// Folders that are no rounds of one cross-validation; a file that cannot be read or written.
pub(super) fn run(args: &PoolArgs) -> anyhow::Result<()> {
    let rounds = args.rounds.iter().map(|folder| Ok((folder.as_path(), read(folder)?)));
    let rounds: Vec<(&Path, Judgement)> = rounds.collect::<anyhow::Result<_>>()?;
    let settings = Settings { resamples: args.resamples as usize, level: 0.95, seed: args.seed };
    let judgement = pool(&rounds, settings)?;
    write(&judgement, &args.out)?;
    println!("{}", tables::summary(&judgement));
    Ok(())
}

/// One judgement of all rounds, each with the folder it was read from.
///
/// # Errors
/// No round; one that was not judged on its test split, has several runs, or a run that learnt from other data; rounds that
/// differ in net, masks, or how they were trained; a patient of two rounds.
pub fn pool(rounds: &[(&Path, Judgement)], settings: Settings) -> anyhow::Result<Judgement> {
    let (_, first) = rounds.first().context("give the folders of the rounds")?;
    let mut tested: BTreeMap<(String, String), &Path> = BTreeMap::new();
    let mut pictures: Vec<PictureScore> = vec![];
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
        let known = |(folder, round): (&Path, &Judgement)| {
            let members = round.runs[0].identity.members;
            let names = round.runs[0].mask_names.clone();
            Ok::<_, anyhow::Error>((
                members,
                round.modality,
                names,
                recipe(&round.runs[0]).with_context(|| folder.display().to_string())?,
            ))
        };
        ensure!(
            known((folder, round))? == known((rounds[0].0, first))?,
            "{}: another net, or trained in another way, than {}; pool rounds that differ in their data alone",
            folder.display(),
            rounds[0].0.display()
        );
        let mut groups: Vec<(String, String)> =
            run.pictures.iter().map(|picture| (picture.source.clone(), picture.group.clone())).collect();
        groups.sort();
        groups.dedup();
        for group in groups {
            if let Some(before) = tested.get(&group) {
                anyhow::bail!(
                    "{}: patient {} is in {} as well; pool rounds of one cross-validation (data split --fold)",
                    folder.display(),
                    group.1,
                    before.display()
                );
            }
            tested.insert(group, folder);
        }
        pictures.extend(run.pictures.iter().cloned());
    }
    let seed = first.runs[0].identity.seed;
    let members = first.runs[0].identity.members;
    let identity = Identity { run: format!("{} rounds", rounds.len()), seed, members, same_data: true };
    let names = first.runs[0].mask_names.clone();
    Ok(Judgement {
        format: FORMAT,
        notice: NOTICE.into(),
        modality: first.modality,
        split: Split::Test,
        settings,
        runs: vec![RunJudgement::new(identity, names, pictures, &settings)],
        spread: vec![],
    })
}

/// How a run was trained, but for its data and seed. (Nothing here knows which patients the weights it may have started from had
/// seen.)
fn recipe(run: &RunJudgement) -> anyhow::Result<SegmentConfig> {
    let (config, _) = run.training.as_ref().context(
        "it does not say how its net was trained; give folders in which masks judge judged runs of train segment",
    )?;
    Ok(SegmentConfig { manifest_sha256: String::new(), healthy_sha256: None, ..config.without_seed() })
}
