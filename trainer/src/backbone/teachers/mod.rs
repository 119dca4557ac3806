//! What finished classifiers say of pictures, member by member, for a student to learn.
//!
//! They look at the picture as it is; the student looks at changed copies of it, and so learns that a change is no reason for another
//! answer. [`Ensembles`] are asked anew, [`Classifiers`] have said what they say in their run folders.

mod classifiers;
mod ensembles;

use candle_core::Tensor;
pub use classifiers::Classifiers;
pub use ensembles::Ensembles;

use thorax_shared::preprocess::spec::Core;

use super::pictures::Targets;
use crate::{
    data::{Manifest, Record, Split},
    segmentation::LungFinder,
};

/// Whoever teaches.
pub enum Teachers {
    /// Heads on backbones: runs of `train classify`.
    Ensembles(Box<Ensembles>),
    /// The paper's classifiers: run folders of `classify`.
    Classifiers(Classifiers),
}

impl Teachers {
    /// Two hashes of each: of what says the probabilities, and of the backbone or the feature store behind it.
    pub fn sha256(&self) -> Vec<[String; 2]> {
        match self {
            Self::Ensembles(all) => all.sha256(),
            Self::Classifiers(all) => all.sha256(),
        }
    }

    /// What each of the ensembles sees of a picture; empty of classifiers.
    pub fn see(&self) -> Vec<Core> {
        match self {
            Self::Ensembles(all) => all.see(),
            Self::Classifiers(_) => vec![],
        }
    }

    /// What finds the lungs for those that see these.
    pub fn lungs(&self) -> Option<&LungFinder> {
        match self {
            Self::Ensembles(all) => all.lungs(),
            Self::Classifiers(_) => None,
        }
    }

    /// The classifiers' names and how many runs each has; empty of ensembles.
    pub fn classifiers(&self) -> Vec<String> {
        match self {
            Self::Ensembles(_) => vec![],
            Self::Classifiers(all) => all.names(),
        }
    }

    /// Members of all.
    pub fn members(&self) -> usize {
        match self {
            Self::Ensembles(all) => all.members(),
            Self::Classifiers(all) => all.members(),
        }
    }

    /// Leaves those of `records`, which are of `split`, of which the teachers say something.
    ///
    /// # Errors
    /// Pictures that the teachers know otherwise than the manifest does; a class of which they know none.
    pub fn known<'a>(&self, records: Vec<&'a Record>, split: Split) -> anyhow::Result<Vec<&'a Record>> {
        match self {
            Self::Ensembles(_) => Ok(records),
            Self::Classifiers(all) => all.known(records, split),
        }
    }

    /// What all members say of `records`, each of which is [known](Self::known).
    ///
    /// # Errors
    /// Pictures that cannot be read; a net that fails.
    pub fn targets(&self, manifest: &Manifest, records: &[&Record]) -> anyhow::Result<Targets> {
        match self {
            Self::Ensembles(all) => all.targets(manifest, records),
            Self::Classifiers(all) => all.targets(records),
        }
    }

    /// What a student's file keeps beside its heads.
    ///
    /// # Errors
    /// When there is no memory.
    pub fn evidence(&self) -> candle_core::Result<Vec<(String, Tensor)>> {
        match self {
            Self::Ensembles(all) => all.evidence(),
            Self::Classifiers(_) => Ok(vec![]),
        }
    }
}
