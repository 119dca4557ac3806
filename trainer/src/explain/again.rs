//! Runs that are fitted again: a folder keeps what they said, not what they are.

use std::path::Path;

use anyhow::{Context, ensure};

use super::has_gradient;
use crate::classifiers::{self, ClassifierRun, Kind, Problem, RunConfiguration};

/// How far a probability of a run that was fitted again may be from the one that the folder keeps. Another processor rounds
/// otherwise, and a solver then stops elsewhere within its tolerance.
const DRIFT: f64 = 0.01;

/// Of classifiers without a gradient, one in so many pictures may be further from it: where two neighbours are equally far, or two splits
/// equally good, rounding decides, and an answer takes a step.
const PICTURES_A_STEP: usize = 100;

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
        let differences = said.iter().zip(self.kept(run)?).map(|(said, kept)| (said - kept).abs());
        let differing = differences.filter(|difference| *difference > DRIFT).count();
        ensure!(
            differing <= if has_gradient(self.kind) { 0 } else { said.len().div_ceil(PICTURES_A_STEP) },
            "{}: {}, run {run}, fitted again differs from what is kept there, by more than {DRIFT} on {differing} of {} pictures, so another \
             program wrote it; run thorax-train classify again into a new folder",
            self.folder.display(),
            self.kind,
            said.len()
        );
        Ok(())
    }

    /// `[N]`: probabilities of a run in the folder.
    fn kept(&self, run: usize) -> anyhow::Result<Vec<f64>> {
        let path = classifiers::predictions(self.folder, self.kind, run);
        let fit = || format!("fit it: thorax-train classify --only {} with the same options", self.kind);
        let bytes = std::fs::read(&path).with_context(|| format!("{}: {}", path.display(), fit()))?;
        let probabilities = classifiers::probabilities(&bytes, self.problem.len());
        probabilities.map_err(|reason| anyhow::anyhow!("{}: {reason}; {}", path.display(), fit()))
    }
}
