//! Runs that are fitted again: a folder keeps what they said, not what they are.

use std::path::Path;

use anyhow::{Context, ensure};

use crate::classifiers::{self, ClassifierRun, Kind, Problem, RunConfiguration};

/// How far a probability of a run that was fitted again may be from the one that the folder keeps. Another processor rounds
/// otherwise, and a solver then stops elsewhere within its tolerance.
const DRIFT: f64 = 0.01;

/// Runs of a classifier.
pub(super) struct Runs<'a> {
    pub(super) kind: Kind,
    /// The first so many.
    pub(super) count: usize,
    /// Where they are.
    pub(super) folder: &'a Path,
    pub(super) configuration: &'a RunConfiguration,
    /// What they learnt from.
    pub(super) problem: &'a Problem,
}

impl Runs<'_> {
    /// What each of them learns from.
    ///
    /// # Errors
    /// When draw after draw lacks a class.
    pub(super) fn draw(&self) -> anyhow::Result<Vec<ClassifierRun>> {
        let protocol = &self.configuration.protocol;
        Ok(self.problem.runs(protocol.resample, self.count, protocol.seed)?.runs)
    }

    /// Refuses runs that the folder does not have, before they are fitted again for nothing.
    ///
    /// # Errors
    /// The first of them.
    pub(super) fn check_there(&self) -> anyhow::Result<()> {
        (0..self.count).try_for_each(|run| self.kept(run).map(drop))
    }

    /// Refuses a run that says something else of its pictures, `said` `[N]`, than the folder keeps.
    ///
    /// # Errors
    /// Such a run.
    pub(super) fn check_said(&self, run: usize, said: &[f64]) -> anyhow::Result<()> {
        let drift = said.iter().zip(self.kept(run)?).map(|(said, kept)| (said - kept).abs()).fold(0.0, f64::max);
        ensure!(
            drift <= DRIFT,
            "{}: {}, run {run}, fitted again differs by {drift} from what is kept there, so another program wrote it; run thorax-train \
             classify again into a new folder",
            self.folder.display(),
            self.kind
        );
        Ok(())
    }

    /// `[N]`: what the folder keeps of a run.
    fn kept(&self, run: usize) -> anyhow::Result<Vec<f64>> {
        let path = classifiers::predictions(self.folder, self.kind, run);
        let fit = || format!("fit it: thorax-train classify --only {} with the same options", self.kind);
        let bytes = std::fs::read(&path).with_context(|| format!("{}: {}", path.display(), fit()))?;
        let probabilities = classifiers::probabilities(&bytes, self.problem.len());
        probabilities.map_err(|reason| anyhow::anyhow!("{}: {reason}; {}", path.display(), fit()))
    }
}
