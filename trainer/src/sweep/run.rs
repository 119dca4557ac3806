//! Runs as processes of their own: `thorax-train train segment`, or another training, with the options of the grid.
//!
//! A run that crashes takes nothing with it, Slurm starts the very same command, and whatever one can do with a folder of
//! that command one can do with that of a run. In the folder lie besides: `sweep.json`, what the run was asked for, so that an
//! altered grid is not mistaken for the one that was trained; and `log.txt`, all that the process has said. The process holds a lock
//! on its log, so that of two sweeps the second waits. It also reads its standard input, a pipe whose other end the sweep has and never
//! writes to: however the sweep ends, the system closes that end, and the process ends too ([`end_with_sweep`]). So no run outlives
//! its sweep, and no signal has to be caught.

use std::{
    ffi::OsString,
    fs::{File, TryLockError},
    io::{Read, Seek, SeekFrom},
    num::NonZeroUsize,
    path::{Path, PathBuf},
    process::{Command, Stdio},
    sync::{
        atomic::{AtomicUsize, Ordering},
        mpsc,
    },
};

use anyhow::Context;
use serde::Serialize;
use thorax_files::write_atomically;
use thorax_shared::modality::Modality;

use super::{
    grid::{Combination, Grid},
    leaderboard::{self, Progress},
};
use crate::progress::progress;

/// What a run was asked for.
const REQUEST: &str = "sweep.json";
/// What its process said.
const LOG: &str = "log.txt";
/// In the environment of a process that is to end with its sweep.
const ENDS_WITH_SWEEP: &str = "THORAX_ENDS_WITH_SWEEP";
/// Lines of the log that are told of a run that failed.
const LAST_LINES: usize = 5;

/// All that the runs of a grid have in common.
pub struct Sweep<'a> {
    /// `thorax-train`.
    pub program: PathBuf,
    /// The runs.
    pub grid: &'a Grid,
    /// The data.
    pub manifest: PathBuf,
    /// Hash of the manifest's bytes.
    pub manifest_sha256: String,
    /// Kind of picture.
    pub modality: Modality,
    /// A folder for the folders.
    pub out: PathBuf,
    /// Of each run that the grid gives none.
    pub seed: u64,
    /// Where they compute, if not where the grid says.
    pub device: Option<String>,
}

/// A run, and how far it is to go.
#[derive(Clone, Copy, Debug)]
pub struct Job<'a> {
    /// The run.
    pub combination: &'a Combination,
    /// Stop after so many epochs; `None` to go to the end.
    pub stop_after: Option<usize>,
}

#[derive(Serialize)]
struct Request<'a> {
    /// Left out of `train segment` and `train instance`, whose sweeps were begun without it.
    #[serde(skip_serializing_if = "Option::is_none")]
    command: Option<String>,
    modality: Modality,
    manifest_sha256: &'a str,
    seed: u64,
    arguments: &'a [String],
}

enum Event {
    Began(usize),
    Waits(usize),
    Ended(usize, anyhow::Result<Progress>),
}

impl Sweep<'_> {
    /// The folder of a run.
    pub fn folder(&self, combination: &Combination) -> PathBuf {
        self.out.join(&combination.name)
    }

    /// The words after the program's name.
    pub fn arguments(&self, job: &Job<'_>) -> Vec<OsString> {
        let mut words: Vec<OsString> = self.grid.command.iter().map(OsString::from).collect();
        words.push("--manifest".into());
        words.push(self.manifest.clone().into());
        words.extend(["--modality", self.modality.as_str(), "--out"].map(OsString::from));
        words.push(self.folder(job.combination).into());
        let own = &job.combination.arguments;
        if !own.iter().any(|argument| argument.starts_with("--seed=")) {
            words.extend(["--seed".into(), self.seed.to_string().into()]);
        }
        words.extend(own.iter().map(OsString::from));
        let placed = own.iter().any(|argument| argument.starts_with("--device="));
        words.extend(self.device.iter().filter(|_| !placed).flat_map(|device| ["--device".into(), device.into()]));
        words.extend(job.stop_after.iter().flat_map(|epochs| ["--stop-after".into(), epochs.to_string().into()]));
        words
    }

    /// The program and its words, for a shell.
    pub fn command_line(&self, job: &Job<'_>) -> String {
        let words = std::iter::once(self.program.clone().into()).chain(self.arguments(job));
        words.map(|word: OsString| quote(&word.to_string_lossy())).collect::<Vec<_>>().join(" ")
    }

    /// How far a run has come that has come as far as it is to go; `None` of one that has not.
    ///
    /// # Errors
    /// A checkpoint that cannot be read.
    pub fn done(&self, job: &Job<'_>) -> anyhow::Result<Option<Progress>> {
        let folder = self.folder(job.combination);
        let far = |progress: &Progress| job.stop_after.is_some_and(|stop| progress.epochs >= stop);
        let whole = |progress: &Progress| progress.finished && folder.join(self.grid.last_file).exists();
        Ok(Progress::read(&folder)?.filter(|progress| whole(progress) || far(progress)))
    }

    /// Sees that whatever lies under `out` by the name of a run is that run.
    ///
    /// # Errors
    /// A folder of another grid, other data or another seed.
    pub fn check(&self) -> anyhow::Result<()> {
        self.grid.combinations.iter().try_for_each(|run| self.is_same(run).map(drop))
    }

    /// Whether the folder of a run is there.
    fn is_same(&self, combination: &Combination) -> anyhow::Result<bool> {
        let path = self.folder(combination).join(REQUEST);
        match std::fs::read_to_string(&path) {
            Ok(before) => anyhow::ensure!(
                before == self.request(combination)?,
                "{}: this run was started with another grid, seed or manifest; choose another --out, or delete its folder",
                path.display()
            ),
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(false),
            Err(error) => anyhow::bail!("{}: {error}; choose another --out", path.display()),
        }
        Ok(true)
    }

    fn request(&self, combination: &Combination) -> anyhow::Result<String> {
        let Self { modality, ref manifest_sha256, seed, .. } = *self;
        let unnamed = ["train segment", "train instance"];
        let command = Some(self.grid.command.join(" ")).filter(|command| !unnamed.contains(&command.as_str()));
        let request = Request { command, modality, manifest_sha256, seed, arguments: &combination.arguments };
        Ok(serde_json::to_string_pretty(&request)?)
    }

    /// Carries out `jobs`, `at_once` of them at the same time, and gives the names of those that failed; what they failed of
    /// has been told. The leaderboard is written after each.
    ///
    /// # Errors
    /// A leaderboard that cannot be written.
    pub fn run(&self, jobs: &[Job<'_>], at_once: NonZeroUsize) -> anyhow::Result<Vec<String>> {
        let mut todo = vec![];
        for job in jobs {
            if self.done(job)?.is_none() {
                todo.push(*job);
            }
        }
        let bar = progress(jobs.len(), "runs");
        bar.inc((jobs.len() - todo.len()) as u64);
        if todo.len() < jobs.len() {
            bar.suspend(|| eprintln!("{} of {} runs are done already", jobs.len() - todo.len(), jobs.len()));
        }
        let (next, (tell, told)) = (AtomicUsize::new(0), mpsc::channel());
        let mut failed = vec![];
        std::thread::scope(|scope| {
            for _ in 0..at_once.get().min(todo.len()) {
                let (tell, next, todo) = (tell.clone(), &next, &todo);
                scope.spawn(move || {
                    loop {
                        let number = next.fetch_add(1, Ordering::Relaxed);
                        let Some(job) = todo.get(number) else { break };
                        // Nobody listens any more when the sweep has failed.
                        let _ = tell.send(Event::Began(number));
                        let result = self.train(job, at_once, || drop(tell.send(Event::Waits(number))));
                        let _ = tell.send(Event::Ended(number, result));
                    }
                });
            }
            drop(tell);
            let mut running = vec![];
            for event in told {
                match event {
                    Event::Began(number) => running.push(number),
                    Event::Waits(number) => {
                        let name = &todo[number].combination.name;
                        bar.suspend(|| eprintln!("{name}: another process trains it; waiting for its end"));
                    }
                    Event::Ended(number, result) => {
                        running.retain(|other| *other != number);
                        let combination = todo[number].combination;
                        let words = match result {
                            Ok(Progress { epochs, best, .. }) => {
                                let name = self.grid.score.name;
                                format!("{epochs} epochs, best {name} {:.4}, epoch {}", best.score, best.epoch + 1)
                            }
                            Err(error) => {
                                failed.push(combination.name.clone());
                                format!("failed: {error:#}")
                            }
                        };
                        bar.suspend(|| eprintln!("{}: {words}", combination.name));
                        bar.inc(1);
                        let written = leaderboard::write(self.grid, &self.out);
                        if written.is_err() {
                            next.store(todo.len(), Ordering::Relaxed);
                        }
                        written?;
                    }
                }
                let names: Vec<&str> = running.iter().map(|&number| todo[number].combination.name.as_str()).collect();
                bar.set_message(names.join(" "));
            }
            anyhow::Ok(())
        })?;
        bar.finish_and_clear();
        failed.sort();
        Ok(failed)
    }

    /// Has a process of its own carry out `job`, unless another has done so meanwhile; calls `waits` before it waits for one.
    fn train(&self, job: &Job<'_>, at_once: NonZeroUsize, waits: impl Fn()) -> anyhow::Result<Progress> {
        let folder = self.folder(job.combination);
        if !self.is_same(job.combination)? {
            let request = self.request(job.combination)?;
            write_atomically(&folder.join(REQUEST), |out| out.write_all(request.as_bytes()))?;
        }
        let path = folder.join(LOG);
        let named = || format!("{}: check that the folder is writable", path.display());
        let log = File::options().create(true).append(true).open(&path).with_context(named)?;
        // The lock goes with the open file, which the process has from us: it lasts as long as either. Where a file system has no
        // locks, it is done without.
        if let Err(TryLockError::WouldBlock) = log.try_lock() {
            waits();
            log.lock().with_context(named)?;
        }
        if let Some(progress) = self.done(job)? {
            return Ok(progress);
        }
        let before = log.metadata().with_context(named)?.len();
        let mut command = Command::new(&self.program);
        command
            .args(self.arguments(job))
            .stdin(Stdio::piped())
            .stdout(log.try_clone().with_context(named)?)
            .stderr(log);
        command.env(ENDS_WITH_SWEEP, "1");
        if at_once.get() > 1 && std::env::var_os("RAYON_NUM_THREADS").is_none() {
            let cores = std::thread::available_parallelism().map_or(1, NonZeroUsize::get);
            command.env("RAYON_NUM_THREADS", (cores / at_once).max(1).to_string());
        }
        let child = command.spawn();
        let mut child = child.with_context(|| format!("{} cannot be started", self.program.display()))?;
        // Taken, since waiting would close it.
        let held = child.stdin.take();
        let status = child.wait().with_context(named)?;
        drop(held);
        let end = || last_lines(&path, before).unwrap_or_else(|error| error.to_string());
        anyhow::ensure!(status.success(), "{status}; the end of {}:\n{}", path.display(), end());
        self.done(job)?.with_context(|| format!("it ended too early; the end of {}:\n{}", path.display(), end()))
    }
}

/// In a process that a sweep has started: has it end when the sweep has ended, which its standard input tells. Work goes on from the
/// last checkpoint when the sweep is started again.
pub fn end_with_sweep() {
    if std::env::var_os(ENDS_WITH_SWEEP).is_none() {
        return;
    }
    std::thread::spawn(|| {
        // Nothing is ever written to it. An error tells as much as an end.
        let _ = std::io::copy(&mut std::io::stdin().lock(), &mut std::io::sink());
        eprintln!("the sweep that started this run has ended, and so does the run; start the sweep again to go on");
        std::process::exit(1);
    });
}

/// The last lines of what stands in a file after `start`.
fn last_lines(path: &Path, start: u64) -> std::io::Result<String> {
    let mut file = File::open(path)?;
    file.seek(SeekFrom::Start(start))?;
    let mut bytes = vec![];
    file.read_to_end(&mut bytes)?;
    let text = String::from_utf8_lossy(&bytes);
    let lines: Vec<&str> = text.lines().filter(|line| !line.trim().is_empty()).collect();
    Ok(lines[lines.len().saturating_sub(LAST_LINES)..].join("\n"))
}

/// `word` as a shell reads it back.
pub(super) fn quote(word: &str) -> String {
    let plain = |letter: char| letter.is_ascii_alphanumeric() || "-_=.,/:+@%".contains(letter);
    match !word.is_empty() && word.chars().all(plain) {
        true => word.to_owned(),
        false => format!("'{}'", word.replace('\'', r"'\''")),
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::sweep::leaderboard::tests::{grid, pretend};

    const ONE: NonZeroUsize = NonZeroUsize::MIN;

    fn sweep<'a>(grid: &'a Grid, out: &Path, program: &str) -> Sweep<'a> {
        Sweep {
            program: program.into(),
            grid,
            manifest: "a manifest.csv".into(),
            manifest_sha256: "00".into(),
            modality: Modality::Ct,
            out: out.to_owned(),
            seed: 3,
            device: None,
        }
    }

    fn jobs(grid: &Grid) -> Vec<Job<'_>> {
        grid.combinations.iter().map(|combination| Job { combination, stop_after: None }).collect()
    }

    #[test]
    fn a_run_is_a_command_that_can_be_given_by_hand() {
        let out = tempfile::tempdir().unwrap();
        let grid = grid(&out.path().join("grid.toml"), "[grid]\nbatch = [1]\nlearning-rate = [1e-5]");
        let mut sweep = sweep(&grid, Path::new("runs"), "thorax-train");
        let mut job = jobs(&grid)[0];
        assert_eq!(
            sweep.command_line(&job),
            "thorax-train train segment --manifest 'a manifest.csv' --modality ct --out runs/batch=1_learning-rate=1e-5 --seed 3 \
             --batch=1 --learning-rate=1e-5"
        );
        sweep.device = Some("cuda:0".into());
        job.stop_after = Some(2);
        assert!(sweep.command_line(&job).ends_with("--device cuda:0 --stop-after 2"));
        let seeds = super::super::leaderboard::tests::grid(&out.path().join("seeds.toml"), "[grid]\nseed = [7]");
        let line = super::tests::sweep(&seeds, out.path(), "t").command_line(&jobs(&seeds)[0]);
        assert!(line.contains("--seed=7") && !line.contains("--seed 3"), "{line}");
    }

    #[test]
    fn a_finished_run_is_skipped_and_a_failure_is_told_and_does_not_stop_the_others() {
        let out = tempfile::tempdir().unwrap();
        let grid = grid(&out.path().join("grid.toml"), "[grid]\nbatch = [1, 2, 3]");
        pretend(&out.path().join("batch=2"), 12, true, 0.5, 3);
        // `false` says nothing and fails.
        let failed = sweep(&grid, out.path(), "false").run(&jobs(&grid), NonZeroUsize::new(2).unwrap()).unwrap();
        assert_eq!(failed, ["batch=1", "batch=3"]);
        assert!(out.path().join("batch=1").join(LOG).exists() && !out.path().join("batch=2").join(LOG).exists());
        assert!(
            std::fs::read_to_string(out.path().join(leaderboard::CSV)).unwrap().contains("batch=2,2,12,4,0.5,finished")
        );
        // `true` says that all is well, and has done nothing.
        let idle = sweep(&grid, out.path(), "true");
        let told = idle.train(&jobs(&grid)[0], ONE, || ()).unwrap_err().to_string();
        assert!(told.contains("ended too early"), "{told}");
        // `ls` knows no such option, and says so into the log.
        let told = sweep(&grid, out.path(), "ls").train(&jobs(&grid)[0], ONE, || ()).unwrap_err().to_string();
        assert!(told.contains("log.txt") && told.contains("--manifest"), "{told}");
        let told = sweep(&grid, out.path(), "no-such-program").train(&jobs(&grid)[0], ONE, || ()).unwrap_err();
        assert!(format!("{told:#}").contains("no-such-program cannot be started"), "{told:#}");
    }

    #[test]
    fn a_folder_of_another_sweep_is_refused() {
        let out = tempfile::tempdir().unwrap();
        let made = |text: &str| grid(&out.path().join("grid.toml"), text);
        let first = made("[fixed]\nside = 64\n[grid]\nbatch = [1]");
        sweep(&first, out.path(), "false").run(&jobs(&first), ONE).unwrap();
        sweep(&first, out.path(), "false").check().unwrap();
        // More runs under the same folder are welcome.
        sweep(&made("[fixed]\nside = 64\n[grid]\nbatch = [1, 2]"), out.path(), "false").check().unwrap();
        let other = made("[fixed]\nside = 32\n[grid]\nbatch = [1]");
        let seed = Sweep { seed: 4, ..sweep(&first, out.path(), "false") };
        let data = Sweep { manifest_sha256: "01".into(), ..sweep(&first, out.path(), "false") };
        // The same options of another training, whose score is another.
        let backbones = Grid { command: &["train", "backbone"], ..first.clone() };
        for sweep in [sweep(&other, out.path(), "false"), sweep(&backbones, out.path(), "false"), seed, data] {
            let told = sweep.check().unwrap_err().to_string();
            assert!(told.contains("batch=1") && told.contains("--out"), "{told}");
        }
    }

    #[test]
    fn a_run_waits_for_whoever_has_its_lock() {
        let out = tempfile::tempdir().unwrap();
        let grid = grid(&out.path().join("grid.toml"), "[grid]\nbatch = [1]");
        let folder = out.path().join("batch=1");
        std::fs::create_dir(&folder).unwrap();
        let log = File::create(folder.join(LOG)).unwrap();
        log.lock().unwrap();
        std::thread::scope(|scope| {
            let waiting = scope.spawn(|| sweep(&grid, out.path(), "false").run(&jobs(&grid), ONE).unwrap());
            std::thread::sleep(std::time::Duration::from_millis(200));
            assert!(!waiting.is_finished());
            // The other has finished it: nothing is left to do, and `false` is not called.
            pretend(&folder, 12, true, 0.5, 3);
            log.unlock().unwrap();
            assert!(waiting.join().unwrap().is_empty());
        });
    }

    #[test]
    fn the_end_of_a_log_is_what_was_said_last() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join(LOG);
        std::fs::write(&path, "before\n1\n2\n3\n\n4\n5\n6\n").unwrap();
        assert_eq!(last_lines(&path, 7).unwrap(), "2\n3\n4\n5\n6");
        assert_eq!(last_lines(&path, 13).unwrap(), "4\n5\n6");
    }

    proptest! {
        #[test]
        fn a_shell_reads_back_what_was_quoted(word in "[^\\x00]{0,20}") {
            let line = format!("printf %s {}", quote(&word));
            let said = Command::new("sh").args(["-c", &line]).output().unwrap().stdout;
            prop_assert_eq!(said, word.as_bytes());
        }
    }
}
