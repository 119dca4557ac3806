//! `thorax-train sweep`: every combination of a grid's hyper-parameters, each a run of `train segment`, `train instance`,
//! `train backbone` or `distill` in a folder of its own.
//!
//! ```text
//! grid.toml -> combinations -> here (--jobs), in shares (--shard), by successive halving (--halving), or on Slurm (--slurm)
//!                           -> OUT/batch=32_blocks=4/...  -> OUT/leaderboard.csv, OUT/leaderboard.md
//! ```
//!
//! Nothing is kept but the folders: what is finished is skipped, what was killed goes on, and the leaderboard is read from
//! them. So a sweep can be stopped at any time, shared by machines, and finished elsewhere, and ends the same.

pub mod grid;
pub mod halving;
pub mod leaderboard;
pub mod run;
pub mod slurm;

use std::{
    num::NonZeroUsize,
    path::{Path, PathBuf, absolute},
    str::FromStr,
};

use anyhow::Context;
use grid::{Combination, Grid, RunOptions};
use run::{Job, Sweep};
use thorax_files::{file_sha256, hexadecimal};
use thorax_shared::modality::Modality;

use crate::data;

/// Options of `sweep`.
#[derive(Debug, clap::Args)]
pub struct SweepArgs {
    /// The grid (TOML): [fixed] has options of `train segment` by their long names, [grid] lists of them; with train = "instance",
    /// "backbone" or "distill" above them those of that training
    grid: PathBuf,
    /// Manifest written by `thorax-train data import`
    #[arg(long)]
    manifest: PathBuf,
    /// Kind of picture
    #[arg(long)]
    modality: Modality,
    /// A folder for the runs' folders and the leaderboard; a sweep that was stopped goes on
    #[arg(long)]
    out: PathBuf,
    /// Seed of every run for which the grid has none
    #[arg(long, default_value_t = 1)]
    seed: u64,
    /// Where the runs compute, as the training's `--device` has it; a grid that says so itself needs no such option
    #[arg(long)]
    device: Option<String>,
    /// Only these runs, by name; `*` stands for any letters, `?` for one
    #[arg(long, value_name = "NAME", value_delimiter = ',')]
    only: Vec<String>,
    /// Only every n-th run, beginning with the i-th: a share for each of n machines
    #[arg(long, value_name = "I/N")]
    shard: Option<Shard>,
    /// Runs at the same time [default: 1, with --slurm as many as there is room for]
    #[arg(long, value_name = "N", value_parser = thorax_nn::device::threads)]
    jobs: Option<NonZeroUsize>,
    /// Successive halving: give all runs a few epochs, and let the best 1/ETA go on, until one is left
    #[arg(long, value_name = "ETA", value_parser = clap::value_parser!(u16).range(2..), conflicts_with_all = ["shard", "slurm"])]
    halving: Option<u16>,
    /// Print what would be run, and end
    #[arg(long)]
    dry_run: bool,
    /// Write the leaderboard of what is there, and end
    #[arg(long, conflicts_with_all = ["dry_run", "halving", "slurm"])]
    leaderboard_only: bool,
    /// Submit the runs to Slurm as a job array
    #[arg(long)]
    slurm: bool,
    /// Options for sbatch, such as "--partition=gpu --gres=gpu:1 --time=08:00:00"
    #[arg(long, value_name = "OPTIONS", requires = "slurm", allow_hyphen_values = true)]
    slurm_options: Option<String>,
    /// Wait for the end of the job array
    #[arg(long, requires = "slurm")]
    wait: bool,
}

/// One of several equal shares.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Shard {
    /// From 1.
    number: usize,
    of: usize,
}

impl FromStr for Shard {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let parts = text.split_once('/').and_then(|(i, n)| Some((i.parse().ok()?, n.parse().ok()?)));
        match parts {
            Some((number, of)) if (1..=of).contains(&number) => Ok(Self { number, of }),
            _ => Err(format!("`{text}`: expected I/N with I from 1 to N, such as 1/4")),
        }
    }
}

/// Carries out the command; `options` are those of the trainings that a grid may be of.
///
/// # Errors
/// A grid or folder that cannot be used, and the names of the runs that failed.
pub fn run(args: &SweepArgs, options: &[RunOptions]) -> anyhow::Result<()> {
    let grid = Grid::load(&args.grid, options)?;
    // Each run asks the same; here it is said once, before anything is started.
    data::open(&args.manifest)?;
    let chosen = choose(&grid, &args.only, args.shard)?;
    let sweep = Sweep {
        program: std::env::current_exe().context("the path of this program cannot be had; start it by its path")?,
        grid: &grid,
        manifest: args.manifest.clone(),
        manifest_sha256: hexadecimal(&file_sha256(&args.manifest)?),
        modality: args.modality,
        out: args.out.clone(),
        seed: args.seed,
        device: args.device.clone(),
    };
    sweep.check()?;
    if args.leaderboard_only {
        return finish(&sweep, &chosen, vec![]);
    }
    let eta = args.halving.map(usize::from);
    let jobs = match eta {
        Some(eta) => halving::first_jobs(&chosen, eta),
        None => chosen.iter().map(|&combination| Job { combination, stop_after: None }).collect(),
    };
    if args.slurm {
        return on_slurm(args, &sweep, &chosen, &jobs);
    }
    if args.dry_run {
        jobs.iter().for_each(|job| println!("{}", sweep.command_line(job)));
        return Ok(());
    }
    let at_once = args.jobs.unwrap_or(NonZeroUsize::MIN);
    let failed = match eta {
        Some(eta) => halving::run(&sweep, &chosen, eta, |jobs| sweep.run(jobs, at_once))?,
        None => sweep.run(&jobs, at_once)?,
    };
    finish(&sweep, &chosen, failed)
}

/// The runs that were asked for.
fn choose<'a>(grid: &'a Grid, only: &[String], shard: Option<Shard>) -> anyhow::Result<Vec<&'a Combination>> {
    for pattern in only {
        anyhow::ensure!(
            grid.combinations.iter().any(|run| matches(pattern.as_bytes(), run.name.as_bytes())),
            "--only {pattern}: the grid has no such run, its first is {}; --dry-run lists them all",
            grid.combinations.first().map_or("none", |run| run.name.as_str())
        );
    }
    let wanted = |run: &&Combination| {
        only.is_empty() || only.iter().any(|pattern| matches(pattern.as_bytes(), run.name.as_bytes()))
    };
    let Shard { number, of } = shard.unwrap_or(Shard { number: 1, of: 1 });
    Ok(grid.combinations.iter().filter(wanted).skip(number - 1).step_by(of).collect())
}

/// Whether `name` fits `pattern`, in which `*` stands for any letters and `?` for one.
fn matches(pattern: &[u8], name: &[u8]) -> bool {
    match pattern.split_first() {
        None => name.is_empty(),
        Some((b'*', rest)) => (0..=name.len()).any(|skipped| matches(rest, &name[skipped..])),
        Some((letter, rest)) => {
            name.split_first().is_some_and(|(first, name)| (*letter == b'?' || letter == first) && matches(rest, name))
        }
    }
}

/// Writes the leaderboard, and tells of the best and of those that failed.
fn finish(sweep: &Sweep<'_>, chosen: &[&Combination], failed: Vec<String>) -> anyhow::Result<()> {
    leaderboard::write(sweep.grid, &sweep.out)?;
    eprintln!("{}", sweep.out.join(leaderboard::MARKDOWN).display());
    if let Some((best, Some(progress))) = leaderboard::rows(sweep.grid, &sweep.out)?.first() {
        eprintln!("best {}: {:.4}, {}", sweep.grid.score.name, progress.best.score, best.name);
    }
    anyhow::ensure!(
        failed.is_empty(),
        "{} of {} runs failed: {}; look at log.txt in their folders, and give the same command again to go on",
        failed.len(),
        chosen.len(),
        failed.join(", ")
    );
    Ok(())
}

/// `--slurm`: what is not finished becomes a job array.
fn on_slurm(args: &SweepArgs, sweep: &Sweep<'_>, chosen: &[&Combination], jobs: &[Job<'_>]) -> anyhow::Result<()> {
    let unfinished = || -> anyhow::Result<Vec<&str>> {
        let rows = jobs.iter().map(|job| Ok((job.combination.name.as_str(), sweep.done(job)?)));
        let rows = rows.collect::<anyhow::Result<Vec<_>>>()?;
        Ok(rows.into_iter().filter(|(_, done)| done.is_none()).map(|(name, _)| name).collect())
    };
    let names = unfinished()?;
    if names.is_empty() {
        eprintln!("all {} runs are finished", jobs.len());
        return finish(sweep, chosen, vec![]);
    }
    // A task starts where it was submitted; absolute paths let the scripts be submitted from anywhere.
    let path = |path: &Path| Ok::<_, anyhow::Error>(absolute(path)?.to_string_lossy().into_owned());
    let mut common = vec![path(&sweep.program)?, "sweep".to_owned(), path(&args.grid)?];
    for (option, value) in [("--manifest", path(&args.manifest)?), ("--out", path(&args.out)?)] {
        common.extend([option.to_owned(), value]);
    }
    common.extend(["--modality", args.modality.as_str(), "--seed", &args.seed.to_string()].map(str::to_owned));
    common.extend(args.device.iter().flat_map(|device| ["--device".to_owned(), device.clone()]));
    let folder = absolute(args.out.join("slurm"))?;
    let at_once = args.jobs.map(NonZeroUsize::get);
    let array = slurm::Array { common: &common, names: &names, at_once, folder: &folder };
    if args.dry_run {
        print!("{}", array.script());
        return Ok(());
    }
    let options: Vec<&str> = args.slurm_options.iter().flat_map(|options| options.split_whitespace()).collect();
    array.submit(&options, args.wait)?;
    match args.wait {
        true => finish(sweep, chosen, unfinished()?.into_iter().map(str::to_owned).collect()),
        false => Ok(()),
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use clap::Parser;
    use proptest::prelude::*;

    use super::*;
    use crate::sweep::leaderboard::tests::grid;

    #[derive(Parser)]
    struct Command {
        #[command(flatten)]
        sweep: SweepArgs,
    }

    #[test]
    fn options_that_exclude_each_other_are_refused() {
        let read = |words: &str| {
            let words = format!("command grid.toml --manifest m --modality ct --out o {words}");
            Command::try_parse_from(words.split_whitespace()).map(|command| command.sweep).map_err(|e| e.to_string())
        };
        let args = read("--only a*,b --shard 2/3 --jobs 2 --slurm --slurm-options --time=1 --wait").unwrap();
        assert_eq!(args.only, ["a*", "b"]);
        assert_eq!(args.shard, Some(Shard { number: 2, of: 3 }));
        assert_eq!(args.slurm_options.as_deref(), Some("--time=1"));
        for (words, told) in [
            ("--halving 2 --shard 1/2", "--shard"),
            ("--halving 2 --slurm", "--slurm"),
            ("--halving 1", "2.."),
            ("--wait", "--slurm"),
            ("--leaderboard-only --dry-run", "--dry-run"),
            ("--shard 3/2", "I/N"),
            ("--shard 0/2", "I/N"),
            ("--shard 2", "I/N"),
            ("--jobs 0", "--jobs"),
        ] {
            let error = read(words).unwrap_err();
            assert!(error.contains(told), "{words}: {error}");
        }
    }

    #[test]
    fn runs_are_chosen_by_name() {
        let folder = tempfile::tempdir().unwrap();
        let grid = grid(&folder.path().join("grid.toml"), "[grid]\nbatch = [1, 2, 12]\nseed = [1, 2]");
        let names = |only: &[&str], shard: &str| -> Vec<String> {
            let only: Vec<String> = only.iter().map(|&pattern| pattern.to_owned()).collect();
            let shard = (!shard.is_empty()).then(|| shard.parse().unwrap());
            choose(&grid, &only, shard).unwrap().into_iter().map(|run| run.name.clone()).collect()
        };
        assert_eq!(names(&[], "").len(), 6);
        assert_eq!(names(&["batch=1_*"], ""), ["batch=1_seed=1", "batch=1_seed=2"]);
        assert_eq!(
            names(&["*batch=?_seed=2", "batch=12_seed=1"], ""),
            ["batch=1_seed=2", "batch=2_seed=2", "batch=12_seed=1"]
        );
        assert_eq!(names(&["*seed=1"], "2/2"), ["batch=2_seed=1"]);
        let told = choose(&grid, &["batch=3*".to_owned()], None).unwrap_err().to_string();
        assert!(told.contains("batch=3*") && told.contains("batch=1_seed=1"), "{told}");
        // More shares than runs: the last are empty.
        assert!(names(&["batch=2*"], "3/3").is_empty());
    }

    proptest! {
        #[test]
        fn shares_are_a_partition(of in 1usize..9) {
            let folder = tempfile::tempdir().unwrap();
            let grid = grid(&folder.path().join("grid.toml"), "[grid]\nbatch = [1, 2, 3, 4, 5]\nseed = [1, 2, 3]");
            let mut all: Vec<String> = vec![];
            for number in 1..=of {
                let share = choose(&grid, &[], Some(Shard { number, of })).unwrap();
                prop_assert!(share.len().abs_diff(15 / of) <= 1);
                all.extend(share.into_iter().map(|run| run.name.clone()));
            }
            all.sort();
            let mut expected: Vec<String> = grid.combinations.iter().map(|run| run.name.clone()).collect();
            expected.sort();
            prop_assert_eq!(all, expected);
        }

        #[test]
        fn a_name_matches_itself_and_what_it_is_made_of(name in "[a-z=_]{0,12}", at in 0usize..12) {
            let at = at.min(name.len());
            let (front, back) = name.split_at(at);
            prop_assert!(matches(name.as_bytes(), name.as_bytes()));
            let starred = format!("{front}*{back}");
            prop_assert!(matches(starred.as_bytes(), name.as_bytes()));
            let longer = format!("{name}x");
            prop_assert!(!matches(name.as_bytes(), longer.as_bytes()));
            let any = "?".repeat(name.len());
            prop_assert!(matches(any.as_bytes(), name.as_bytes()));
        }
    }
}
