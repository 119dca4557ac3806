//! Where the segmenter of a classifier or of a bundle comes from: runs of `thorax-train train segment`, or a bundle.

use std::path::PathBuf;

use thorax_nn::graph::Graph;
use thorax_shared::{mask::NAMES as MASKS, modality::Modality, preprocess::PreprocessSpec};

use super::{
    Members, Segmenter,
    run::{SegmentConfig, SegmentRun, THRESHOLD},
    shipped::Shipped,
};
use crate::data::Manifest;

/// A segmenter, and what is known of how it came about.
pub enum Origin {
    /// Runs that are here.
    Runs(Members),
    /// What a bundle has.
    Bundle(Box<Shipped>),
}

impl Origin {
    /// The bundle that is the only one of `paths`, or the mean of the runs in these folders.
    ///
    /// # Errors
    /// Those of [`Members::load`] and [`Shipped::open`].
    pub fn open(paths: &[PathBuf]) -> anyhow::Result<Self> {
        match paths {
            [bundle] if bundle.is_file() => Ok(Self::Bundle(Box::new(Shipped::open(bundle)?))),
            folders => Ok(Self::Runs(Members::load(folders)?)),
        }
    }

    /// Whose pictures it reads.
    pub fn modality(&self) -> Modality {
        match self {
            Self::Runs(members) => members.first().config.modality,
            Self::Bundle(shipped) => shipped.modality,
        }
    }

    /// How it prepares a picture: a run as it learnt it, a bundle as recipes are today.
    pub fn preprocess(&self) -> &PreprocessSpec {
        match self {
            Self::Runs(members) => &members.first().config.preprocess,
            Self::Bundle(shipped) => &shipped.preprocess,
        }
    }

    /// Its graph as bundles have it.
    ///
    /// # Errors
    /// When the device fails.
    pub fn shipped_graph(&self) -> candle_core::Result<Graph> {
        match self {
            Self::Runs(members) => members.shipped_graph(),
            Self::Bundle(shipped) => Ok(shipped.graph.clone()),
        }
    }

    /// What draws its masks, with the graph as bundles have it.
    ///
    /// # Errors
    /// When the device fails.
    pub fn shipped_segmenter(&self) -> anyhow::Result<Segmenter> {
        Segmenter::new(self.shipped_graph()?, self.preprocess().clone(), self.modality(), &MASKS)
    }

    /// SHA-256 of the net: that of [`Members::sha256`], or of the graph in the bundle. How pictures are prepared for it is not in it.
    ///
    /// # Errors
    /// A file that cannot be read.
    pub fn sha256(&self) -> anyhow::Result<String> {
        match self {
            Self::Runs(members) => members.sha256(),
            Self::Bundle(shipped) => Ok(shipped.sha256.clone()),
        }
    }

    /// `runs/a`, `mean of runs/a + runs/b`, or `thorax-ct 0.1.0`.
    pub fn name(&self) -> String {
        match self {
            Self::Runs(members) => members.name(),
            Self::Bundle(shipped) => shipped.title.clone(),
        }
    }

    /// Whether it was shown pictures by their class ([`SegmentConfig::knows_classes`]) in any of its stages; `None` where that is not known,
    /// as of a bundle.
    pub fn knows_classes(&self) -> Option<bool> {
        let Self::Runs(members) = self else { return None };
        let of_run = |run: &SegmentRun| {
            let earlier = run.earlier.as_ref().map(|stages| stages.iter().any(SegmentConfig::knows_classes));
            if run.config.knows_classes() { Some(true) } else { earlier }
        };
        let of_runs: Vec<Option<bool>> = members.runs().iter().map(of_run).collect();
        if of_runs.contains(&Some(true)) {
            Some(true)
        } else {
            of_runs.into_iter().collect::<Option<Vec<_>>>().map(|_| false)
        }
    }

    /// Whether runs learnt from other data than this very manifest. What a bundle learnt from its card tells people, and nothing tells it
    /// to a program, so of a bundle this is not known, and not so.
    ///
    /// # Errors
    /// A mask that cannot be read.
    pub fn learnt_from_other(&self, manifest: &Manifest) -> anyhow::Result<bool> {
        match self {
            Self::Runs(members) => Ok(!members.first().config.learnt_from(manifest)?),
            Self::Bundle(_) => Ok(false),
        }
    }

    /// The files that it was read from: the name by which a bundle lists each, and where it is.
    pub fn files(&self) -> Vec<(String, PathBuf)> {
        match self {
            Self::Runs(members) => {
                let folders = members.folders();
                let role = |number: usize| match folders.len() {
                    1 => "segmenter".to_owned(),
                    _ => format!("segmenter-{}", number + 1),
                };
                let of = |(number, folder): (usize, &PathBuf)| {
                    [thorax_nn::training::BEST, THRESHOLD, "config.json"]
                        .map(|name| (format!("{}/{name}", role(number)), folder.join(name)))
                };
                folders.iter().enumerate().flat_map(of).collect()
            }
            Self::Bundle(shipped) => vec![("segmenter/bundle.thorax".into(), shipped.path.clone())],
        }
    }
}
