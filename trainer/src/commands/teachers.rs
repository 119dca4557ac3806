//! The options that name teachers.

use std::path::PathBuf;

use thorax_nets::source::WeightsArgs;
use thorax_shared::modality::Modality;

use crate::{backbone::teachers::Ensembles, heads, segmentation::LungFinder};

/// Finished classifiers, one or several.
#[derive(Debug, Default, clap::Args)]
pub struct TeacherArgs {
    /// Finished run of `train classify` that teaches, or taught what is judged; several, each with its --teacher-weights, for an ensemble of them.
    /// What learns has a head for each of their members
    #[arg(long, value_name = "RUN", requires = "teacher_weights")]
    teacher: Vec<PathBuf>,
    /// Weights of the teacher's backbone, as --weights names weights; one for each --teacher, in their order
    #[arg(long, value_name = "SOURCE", requires = "teacher")]
    teacher_weights: Vec<WeightsArgs>,
    /// What finds the lungs for those --teacher that were trained with --lungs: the same run, runs or bundle; the student's own lungs may be
    /// others', or none
    #[arg(long, value_name = "RUN", requires = "teacher")]
    teacher_lungs: Vec<PathBuf>,
}

impl TeacherArgs {
    /// Sees that the options make sense together, without a look at files.
    pub fn check(&self) -> anyhow::Result<()> {
        anyhow::ensure!(
            self.teacher.len() == self.teacher_weights.len(),
            "{} --teacher and {} --teacher-weights; give one for each",
            self.teacher.len(),
            self.teacher_weights.len()
        );
        Ok(())
    }

    /// Opens them, if there are any. They read pictures of `modality`, or if that is not told, what the first of them reads.
    ///
    /// # Errors
    /// As [`Ensembles::open`].
    pub fn open(&self, modality: Option<Modality>) -> anyhow::Result<Option<Ensembles>> {
        let Some(first) = self.teacher.first() else { return Ok(None) };
        let modality = modality.map_or_else(|| Ok(heads::load(first)?.config.modality), anyhow::Ok)?;
        let runs: Vec<_> = self.teacher.iter().cloned().zip(self.teacher_weights.iter().cloned()).collect();
        let lungs = LungFinder::open_given(&self.teacher_lungs, modality)?;
        Ensembles::open(&runs, modality, lungs).map(Some)
    }
}
