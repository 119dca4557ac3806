//! The runs of a sweep, the best first: `leaderboard.csv` and `leaderboard.md`.
//!
//! Everything in it is read from the runs' own checkpoints, and nothing tells of the machine or the time. So it does not matter
//! how a sweep came to its end: in one process or in many, at once or killed and resumed, the bytes are the same.

use std::path::Path;

use anyhow::Context;
use thorax_files::write_atomically;
use thorax_nn::{
    checkpoint::{Checkpoint, CheckpointError},
    training::{Best, LATEST},
};

use super::grid::{Combination, Grid};
use crate::markdown;

/// The leaderboard for programs.
pub const CSV: &str = "leaderboard.csv";
/// The leaderboard for people.
pub const MARKDOWN: &str = "leaderboard.md";

/// How far a run has come.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Progress {
    /// Epochs done.
    pub epochs: usize,
    /// Whether it has ended, by its epochs or its patience.
    pub finished: bool,
    /// Its best epoch and that epoch's score.
    pub best: Best,
}

impl Progress {
    /// Of the run in `folder`; `None` before the end of its first epoch.
    ///
    /// # Errors
    /// A checkpoint that cannot be read.
    pub fn read(folder: &Path) -> Result<Option<Self>, CheckpointError> {
        let path = folder.join(LATEST);
        if !path.exists() {
            return Ok(None);
        }
        let words = Checkpoint::load_words(&path)?;
        Ok(Some(Self {
            epochs: words.value::<usize>("epoch")? + 1,
            finished: words.value("finished")?,
            best: Best { score: words.value("best_score")?, epoch: words.value("best_epoch")? },
        }))
    }
}

/// A run and how far it has come.
pub type LeaderboardRow<'a> = (&'a Combination, Option<Progress>);

/// The runs of `grid` under `out`: best score first, equal ones by name, those without a score last.
///
/// # Errors
/// A checkpoint that cannot be read.
pub fn rows<'a>(grid: &'a Grid, out: &Path) -> Result<Vec<LeaderboardRow<'a>>, CheckpointError> {
    let read = |run: &'a Combination| Ok((run, Progress::read(&out.join(&run.name))?));
    let mut rows = grid.combinations.iter().map(read).collect::<Result<Vec<LeaderboardRow<'_>>, CheckpointError>>()?;
    let score = |row: &LeaderboardRow<'_>| row.1.map_or(f64::NEG_INFINITY, |progress| progress.best.score);
    rows.sort_by(|a, b| score(b).total_cmp(&score(a)).then_with(|| a.0.name.cmp(&b.0.name)));
    Ok(rows)
}

/// Writes both leaderboards of `grid` into `out`.
///
/// # Errors
/// A checkpoint that cannot be read, or a file that cannot be written.
pub fn write(grid: &Grid, out: &Path) -> anyhow::Result<()> {
    let rows = rows(grid, out)?;
    let csv = csv(grid, &rows).with_context(|| out.join(CSV).display().to_string())?;
    write_atomically(&out.join(CSV), |file| file.write_all(&csv))?;
    write_atomically(&out.join(MARKDOWN), |file| file.write_all(table(grid, &rows).as_bytes()))?;
    Ok(())
}

/// The cells of a row after its name and options: epochs done, best epoch from 1, its score, and the state.
fn cells(progress: Option<Progress>, score: impl Fn(f64) -> String) -> [String; 4] {
    match progress {
        None => ["0".into(), String::new(), String::new(), "not begun".into()],
        Some(Progress { epochs, finished, best }) => [
            epochs.to_string(),
            (best.epoch + 1).to_string(),
            score(best.score),
            if finished { "finished" } else { "unfinished" }.into(),
        ],
    }
}

fn csv(grid: &Grid, rows: &[LeaderboardRow<'_>]) -> anyhow::Result<Vec<u8>> {
    let mut table = csv::Writer::from_writer(vec![]);
    let words = |words: &[&str]| -> Vec<String> { words.iter().map(|&word| word.to_owned()).collect() };
    let last = words(&["epochs_done", "best_epoch", grid.score.column, "state"]);
    table.write_record(words(&["name"]).iter().chain(&grid.axes).chain(&last))?;
    for (run, progress) in rows {
        let cells = cells(*progress, |score| score.to_string());
        table.write_record(std::iter::once(&run.name).chain(&run.labels).chain(&cells))?;
    }
    Ok(table.into_inner()?)
}

fn table(grid: &Grid, rows: &[LeaderboardRow<'_>]) -> String {
    let best = format!("best {}", grid.score.name);
    let last = ["epochs done", "best epoch", &best, "state"];
    let head = std::iter::once("").chain(grid.axes.iter().map(String::as_str)).chain(last);
    let head: Vec<&str> = head.collect();
    let finished = rows.iter().filter(|row| row.1.is_some_and(|progress| progress.finished)).count();
    let mut text = format!(
        "# Leaderboard of a sweep\n\n**Research use only, not a medical device.**\n\n\
         {finished} of {} runs are finished. {}, by which each run's best \
         epoch was chosen: it flatters, the more so the more runs are compared. What the best is worth, the test pictures say.\n\n",
        rows.len(),
        grid.score.meaning
    );
    text += &markdown::head(&head);
    for (place, (run, progress)) in rows.iter().enumerate() {
        let cells = cells(*progress, |score| format!("{score:.4}"));
        text += &markdown::row(std::iter::once((place + 1).to_string()).chain(run.labels.clone()).chain(cells));
    }
    text
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
pub(super) mod tests {
    use super::*;
    use crate::segmentation::run::THRESHOLD;

    /// Has the run in `folder` say that it has come so far.
    pub(in super::super) fn pretend(folder: &Path, epochs: usize, finished: bool, score: f64, best_epoch: usize) {
        let words = [
            ("epoch", (epochs - 1).to_string()),
            ("finished", finished.to_string()),
            ("best_score", score.to_string()),
            ("best_epoch", best_epoch.to_string()),
        ];
        let words = words.map(|(name, word)| (name.to_owned(), word));
        Checkpoint::new([].into(), words.into()).save(&folder.join(LATEST)).unwrap();
        if finished {
            std::fs::write(folder.join(THRESHOLD), "{}").unwrap();
        }
    }

    pub(in super::super) fn grid(file: &Path, text: &str) -> Grid {
        std::fs::write(file, text).unwrap();
        Grid::load(file, &crate::commands::train::run_options()).unwrap()
    }

    #[test]
    fn the_best_is_first_and_equals_stand_by_name() {
        let out = tempfile::tempdir().unwrap();
        let grid = grid(&out.path().join("grid.toml"), "[grid]\nbatch = [1, 2, 3, 4]\nschedule = [\"constant\"]");
        let run = |batch: usize| out.path().join(format!("batch={batch}_schedule=constant"));
        pretend(&run(3), 12, true, 0.123_456_789_012_345_6, 4);
        pretend(&run(2), 12, true, 0.5, 11);
        pretend(&run(1), 7, false, 0.5, 0);
        write(&grid, out.path()).unwrap();
        let csv = std::fs::read_to_string(out.path().join(CSV)).unwrap();
        assert_eq!(
            csv,
            "name,batch,schedule,epochs_done,best_epoch,best_validation_dice,state\n\
             batch=1_schedule=constant,1,constant,7,1,0.5,unfinished\n\
             batch=2_schedule=constant,2,constant,12,12,0.5,finished\n\
             batch=3_schedule=constant,3,constant,12,5,0.1234567890123456,finished\n\
             batch=4_schedule=constant,4,constant,0,,,not begun\n"
        );
        let markdown = std::fs::read_to_string(out.path().join(MARKDOWN)).unwrap();
        for words in ["not a medical device", "2 of 4 runs", "| 3 | 3 | constant | 12 | 5 | 0.1235 | finished |"] {
            assert!(markdown.contains(words), "`{words}` not said: {markdown}");
        }
        std::fs::write(run(3).join(LATEST), "torn").unwrap();
        let error = write(&grid, out.path()).unwrap_err().to_string();
        assert!(error.contains("batch=3") && error.contains(LATEST), "{error}");
    }
}
