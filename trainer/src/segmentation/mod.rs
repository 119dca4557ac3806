//! What a trained segmentation net is worth, and the masks it draws.
//!
//! A [`Segmenter`] is a run of `thorax-train train segment`, or the mean of several ([`Members`]), that takes whole pictures: it
//! prepares them as the device does and brings what the net drew back to the picture's own size. Two commands stand on it.
//! `masks judge` ([`judge_masks`]) compares such masks with true ones, at the picture's size and patient by patient, and `masks
//! pool` ([`pool`]) puts such judgements of a cross-validation together. `masks predict` ([`predict`]) writes them: for a picture as
//! PNG files of its rows and columns, for a volume as NIfTI files that lie over the scan ([`nifti`]); `masks compare` ([`compare`])
//! says how such files agree with true ones. And a classifier can be shown
//! the lungs that it finds, and nothing else ([`lung_finder`]).

pub mod compare;
mod figures;
pub mod judge_masks;
pub mod lung_finder;
mod members;
pub mod nifti;
pub mod pool;
pub mod predict;
pub mod score;
mod segmenter;
pub mod surface_distance;
mod tables;
#[cfg(test)]
mod tests;

pub use lung_finder::LungFinder;
pub use members::Members;
pub use segmenter::{Drawn, Segmenter};

/// `thorax-train masks ...`
#[derive(Debug, clap::Subcommand)]
pub enum MasksCommand {
    /// Compare the masks that trained nets draw with the true ones of a split
    Judge(judge_masks::JudgeArgs),
    /// Put the rounds of a cross-validation together, as one judgement over all patients
    Pool(pool::PoolArgs),
    /// Draw the masks of pictures (PNG files) and volumes (NIfTI files that lie over the scan)
    Predict(predict::PredictArgs),
    /// Compare a mask with the true one: NIfTI volumes that lie over one scan, or pictures
    Compare(compare::CompareArgs),
}

/// Carries out a command.
///
/// # Errors
/// Whatever went wrong, with the file it went wrong with.
pub fn run(command: &MasksCommand) -> anyhow::Result<()> {
    match command {
        MasksCommand::Judge(args) => judge_masks::run(args),
        MasksCommand::Pool(args) => pool::run(args),
        MasksCommand::Predict(args) => predict::run(args),
        MasksCommand::Compare(args) => compare::run(args),
    }
}
