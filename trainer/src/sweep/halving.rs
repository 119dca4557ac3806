//! Successive halving: all runs get a few epochs, the best go on, and only the best of those are trained to their end
//! (K. Jamieson and A. Talwalkar, Non-stochastic best arm identification and hyperparameter optimization, AISTATS 2016, with
//! the factor `eta` of L. Li et al., Hyperband, JMLR 2018).
//!
//! With `k` cuts, rung `r` trains what is left for `epochs / eta^(k - r)` epochs, each run by its own number of epochs, and keeps
//! the best `1 / eta`. A run that goes on goes on where it stopped, on the schedule of the full run. What was decided stands in
//! `halving.json`, and is not decided again: a run that failed is out, until that file is deleted.

use std::path::Path;

use anyhow::Context;
use serde::{Deserialize, Serialize};
use thorax_files::write_atomically;

use super::{
    grid::Combination,
    run::{Job, Sweep},
};

/// What was decided.
pub const FILE: &str = "halving.json";

/// The decisions of a sweep.
#[derive(Debug, PartialEq, Serialize, Deserialize)]
struct Decisions {
    eta: usize,
    /// All runs that take part.
    runs: Vec<String>,
    rungs: Vec<Rung>,
}

/// A decision: who goes on.
#[derive(Debug, PartialEq, Serialize, Deserialize)]
struct Rung {
    /// The best first, those that failed last.
    standing: Vec<Standing>,
}

#[derive(Debug, PartialEq, Serialize, Deserialize)]
struct Standing {
    name: String,
    /// Epochs that it was given.
    epochs: usize,
    /// Its best validation score within them; none when it failed.
    #[serde(alias = "best_validation_dice")]
    best_validation_score: Option<f64>,
    kept: bool,
}

/// How often the field of `runs` runs is cut when each cut leaves `1 / eta`: until one is left, but never below an epoch.
fn cuts(runs: usize, fewest_epochs: usize, eta: usize) -> u32 {
    let most = runs.min(fewest_epochs);
    (0..).take_while(|&cuts| eta.checked_pow(cuts + 1).is_some_and(|factor| factor <= most)).count() as u32
}

/// What the runs are to do in rung `rung` before the last of `cuts` cuts, and to their end after it.
fn jobs<'a>(runs: &[&'a Combination], rung: u32, cuts: u32, eta: usize) -> Vec<Job<'a>> {
    let stop = |run: &Combination| (rung < cuts).then(|| run.epochs.div_ceil(eta.pow(cuts - rung)));
    runs.iter().map(|&combination| Job { combination, stop_after: stop(combination) }).collect()
}

/// What is done first.
pub fn first_jobs<'a>(runs: &[&'a Combination], eta: usize) -> Vec<Job<'a>> {
    jobs(runs, 0, cuts_of(runs, eta), eta)
}

fn cuts_of(runs: &[&Combination], eta: usize) -> u32 {
    cuts(runs.len(), runs.iter().map(|run| run.epochs).min().unwrap_or(1), eta)
}

/// Halves the field of `runs`, with `train` to carry out jobs and give the names of those that failed. Gives the names of all that
/// failed.
///
/// # Errors
/// Decisions of other runs, files that cannot be read or written, and whatever `train` fails of.
pub fn run(
    sweep: &Sweep<'_>,
    runs: &[&Combination],
    eta: usize,
    mut train: impl FnMut(&[Job<'_>]) -> anyhow::Result<Vec<String>>,
) -> anyhow::Result<Vec<String>> {
    let path = sweep.out.join(FILE);
    let mut decisions = read(&path, eta, runs)?;
    let cuts = cuts_of(runs, eta);
    let mut left = runs.to_vec();
    let mut failed = vec![];
    for rung in 0..=cuts {
        if decisions.rungs.len() <= rung as usize {
            let jobs = jobs(&left, rung, cuts, eta);
            eprintln!("rung {} of {}: {} runs", rung + 1, cuts + 1, jobs.len());
            let failures = train(&jobs)?;
            if failures.len() == jobs.len() {
                // What fails altogether fails for a reason that is not theirs: nothing is decided, so that the same command goes on
                // when it is mended.
                failed.extend(failures);
                return Ok(failed);
            }
            if rung < cuts {
                decisions.rungs.push(decide(sweep, &jobs, &failures, eta)?);
                let text = serde_json::to_string_pretty(&decisions)?;
                write_atomically(&path, |out| out.write_all(text.as_bytes()))?;
            }
            // Those of a rung that is decided are told below, now and whenever the command is given again.
            if rung == cuts {
                failed.extend(failures);
            }
        }
        if let Some(Rung { standing }) = decisions.rungs.get(rung as usize) {
            let out = standing.iter().filter(|standing| standing.best_validation_score.is_none());
            failed.extend(out.map(|standing| standing.name.clone()));
            left.retain(|run| standing.iter().any(|standing| standing.kept && standing.name == run.name));
        }
    }
    Ok(failed)
}

fn read(path: &Path, eta: usize, runs: &[&Combination]) -> anyhow::Result<Decisions> {
    let runs = runs.iter().map(|run| run.name.clone()).collect();
    match std::fs::read_to_string(path) {
        Ok(text) => {
            let before: Decisions =
                serde_json::from_str(&text).with_context(|| format!("{}: delete it to decide anew", path.display()))?;
            anyhow::ensure!(
                before.eta == eta && before.runs == runs,
                "{}: decisions of other runs, or with --halving {}; delete it to decide anew",
                path.display(),
                before.eta
            );
            Ok(before)
        }
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(Decisions { eta, runs, rungs: vec![] }),
        Err(error) => anyhow::bail!("{}: {error}; check its permissions", path.display()),
    }
}

/// Keeps the best `1 / eta` of those that did not fail; equal ones by name.
fn decide(sweep: &Sweep<'_>, jobs: &[Job<'_>], failed: &[String], eta: usize) -> anyhow::Result<Rung> {
    let standing = |job: &Job<'_>| {
        let Job { combination, stop_after } = *job;
        let epochs = stop_after.unwrap_or(combination.epochs);
        let best_validation_score = match failed.contains(&combination.name) {
            true => None,
            false => best_within(&sweep.folder(combination).join("epochs.csv"), epochs)?,
        };
        anyhow::Ok(Standing { name: combination.name.clone(), epochs, best_validation_score, kept: false })
    };
    let mut standing = jobs.iter().map(standing).collect::<anyhow::Result<Vec<_>>>()?;
    let score = |standing: &Standing| standing.best_validation_score.unwrap_or(f64::NEG_INFINITY);
    standing.sort_by(|a, b| score(b).total_cmp(&score(a)).then_with(|| a.name.cmp(&b.name)));
    let keep = (standing.len() / eta).max(1);
    standing.iter_mut().take(keep).for_each(|standing| standing.kept = standing.best_validation_score.is_some());
    Ok(Rung { standing })
}

/// The best first score of the first `epochs` epochs. Not what the checkpoint says: a run may have gone further already, and is
/// then judged as if it had not.
fn best_within(path: &Path, epochs: usize) -> anyhow::Result<Option<f64>> {
    let named = || path.display().to_string();
    let mut table = csv::Reader::from_path(path).with_context(named)?;
    let mut best = None::<f64>;
    for row in table.records().take(epochs) {
        let row = row.with_context(named)?;
        // epoch, loss, scores
        let score = row.get(2).and_then(|cell| cell.parse::<f64>().ok()).with_context(|| {
            format!("{}: a row without a validation score; delete the run's folder to train it anew", path.display())
        })?;
        best = Some(best.map_or(score, |best| best.max(score)));
    }
    Ok(best)
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use proptest::prelude::*;
    use thorax_shared::modality::Modality;

    use super::*;
    use crate::sweep::{grid::Grid, leaderboard::tests::grid};

    #[test]
    fn a_field_is_cut_until_one_is_left() {
        assert_eq!(cuts(8, 100, 2), 3);
        assert_eq!(cuts(9, 100, 2), 3);
        assert_eq!(cuts(90, 100, 3), 4);
        assert_eq!(cuts(90, 4, 2), 2);
        assert_eq!(cuts(1, 100, 2), 0);
        assert_eq!(cuts(usize::MAX, usize::MAX, 2), 63);
    }

    fn sweep<'a>(grid: &'a Grid, out: &Path) -> Sweep<'a> {
        Sweep {
            program: "false".into(),
            grid,
            manifest: "manifest.csv".into(),
            manifest_sha256: "00".into(),
            modality: Modality::Ct,
            out: out.to_owned(),
            seed: 3,
            device: None,
        }
    }

    /// Has the runs of `jobs` reach the score `batch / 10`, the one of `fails` none, and tells what was asked.
    fn train(
        sweep: &Sweep<'_>,
        jobs: &[Job<'_>],
        fails: &str,
        asked: &mut Vec<(String, Option<usize>)>,
    ) -> Vec<String> {
        for Job { combination, stop_after } in jobs {
            asked.push((combination.name.clone(), *stop_after));
            let epochs = stop_after.unwrap_or(combination.epochs);
            let score = combination.labels[0].parse::<f64>().unwrap() / 10.0;
            // The best epoch is the first; a better one lies beyond every rung, where nobody may look.
            let row = |epoch: usize| format!("{epoch},0.1,{},0,0,0\n", if epoch == 0 { score } else { 0.0 });
            let rows: String = (0..epochs).map(row).collect();
            let beyond = format!("{epochs},0.1,{},0,0,0\n", 1.0 - score);
            let folder = sweep.folder(combination);
            std::fs::create_dir_all(&folder).unwrap();
            let head = "epoch,loss,dice_infection,learning_rate,gradient_norm,images_per_second\n";
            std::fs::write(folder.join("epochs.csv"), [head, &rows, &beyond].concat()).unwrap();
        }
        jobs.iter().map(|job| job.combination.name.clone()).filter(|name| name == fails).collect()
    }

    #[test]
    fn the_best_go_on_and_what_was_decided_stays_decided() {
        let out = tempfile::tempdir().unwrap();
        let grid = grid(&out.path().join("grid.toml"), "[fixed]\nepochs = 10\n[grid]\nbatch = [1, 2, 3, 4, 5, 6, 7]");
        let runs: Vec<&Combination> = grid.combinations.iter().collect();
        let sweep = sweep(&grid, out.path());
        let mut asked = vec![];
        let failed = run(&sweep, &runs, 2, |jobs| Ok(train(&sweep, jobs, "batch=6", &mut asked))).unwrap();
        assert_eq!(failed, ["batch=6"]);
        let name = |batch: usize| format!("batch={batch}");
        let mut expected: Vec<_> = (1..=7).map(|batch| (name(batch), Some(3))).collect();
        // 7 / 2 is 3, and the sixth has failed.
        expected.extend([4, 5, 7].map(|batch| (name(batch), Some(5))));
        expected.push((name(7), None));
        assert_eq!(asked, expected);
        let text = std::fs::read_to_string(out.path().join(FILE)).unwrap();
        let decisions: Decisions = serde_json::from_str(&text).unwrap();
        assert_eq!(decisions.rungs.len(), 2);
        let last = decisions.rungs[0].standing.last().unwrap();
        assert!(last.name == "batch=6" && last.best_validation_score.is_none() && !last.kept);

        // Once more: only the last rung is asked for, which skips what is finished.
        asked.clear();
        let again = run(&sweep, &runs, 2, |jobs| Ok(train(&sweep, jobs, "", &mut asked))).unwrap();
        assert_eq!(asked, [(name(7), None)]);
        assert_eq!(again, ["batch=6"], "who is out is told again");
        // Interrupted after the first decision.
        let half = Decisions { rungs: decisions.rungs.into_iter().take(1).collect(), ..decisions };
        // As it was called when all scores were Dice.
        let older = serde_json::to_string(&half).unwrap().replace("best_validation_score", "best_validation_dice");
        std::fs::write(out.path().join(FILE), older).unwrap();
        asked.clear();
        run(&sweep, &runs, 2, |jobs| Ok(train(&sweep, jobs, "", &mut asked))).unwrap();
        assert_eq!(asked, expected[7..]);
        assert_eq!(std::fs::read_to_string(out.path().join(FILE)).unwrap(), text);
        for (runs, eta) in [(&runs[1..], 2), (&runs[..], 3)] {
            let told = run(&sweep, runs, eta, |_| Ok(vec![])).unwrap_err().to_string();
            assert!(told.contains(FILE) && told.contains("delete it"), "{told}");
        }
    }

    #[test]
    fn a_field_that_fails_altogether_ends() {
        let out = tempfile::tempdir().unwrap();
        let grid = grid(&out.path().join("grid.toml"), "[grid]\nbatch = [1, 2]");
        let runs: Vec<&Combination> = grid.combinations.iter().collect();
        let all = |jobs: &[Job<'_>]| Ok(jobs.iter().map(|job| job.combination.name.clone()).collect());
        for _ in 0..2 {
            assert_eq!(run(&sweep(&grid, out.path()), &runs, 2, all).unwrap(), ["batch=1", "batch=2"]);
            assert!(!out.path().join(FILE).exists(), "nothing is decided");
        }
    }

    proptest! {
        #[test]
        fn no_rung_is_without_a_run_or_an_epoch(runs in 1usize..500, epochs in 1usize..1000, eta in 2usize..9) {
            let cuts = cuts(runs, epochs, eta);
            let mut left = runs;
            let mut before = 0;
            for rung in 0..cuts {
                let given = epochs.div_ceil(eta.pow(cuts - rung));
                prop_assert!(given > before && given < epochs.max(2));
                before = given;
                left /= eta;
            }
            prop_assert!(left >= 1);
            prop_assert!(left < eta || epochs < eta.pow(cuts + 1));
        }
    }
}
