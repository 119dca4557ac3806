//! Several runs as one segmenter: the mean of their probabilities. Nets that differ in their seed err in different places, and
//! their mean errs less.

use std::path::PathBuf;

use anyhow::{Context, bail, ensure};
use candle_core::Device;
use sha2::{Digest, Sha256};
use thorax_files::hexadecimal;
use thorax_nn::{graph::Graph, onnx::HALF_PRECISION_FROM};
use thorax_shared::mask::NAMES as MASKS;

use super::{
    Segmenter,
    run::{self, SegmentRun},
    segmenter::OUTPUT,
};

/// Sees that no run is given twice: it has no spread, and its mean is itself.
///
/// # Errors
/// Two runs of one training.
pub fn refuse_twins(groups: &[Members]) -> anyhow::Result<()> {
    let runs = groups.iter().flat_map(|members| members.folders.iter().zip(&members.runs));
    let runs: Vec<(&PathBuf, &SegmentRun)> = runs.collect();
    for (index, (folder, run)) in runs.iter().enumerate() {
        if let Some((twin, _)) = runs[..index].iter().find(|(_, other)| other.config == run.config) {
            bail!("{}: the same training as {}; give runs of different seeds", folder.display(), twin.display());
        }
    }
    Ok(())
}

/// Finished runs of `thorax-train train segment` that differ in their seed alone.
pub struct Members {
    folders: Vec<PathBuf>,
    runs: Vec<SegmentRun>,
}

impl Members {
    /// Reads the runs in `folders`.
    ///
    /// # Errors
    /// No folder; one without a finished run; runs that differ in more than their seed, or not at all.
    pub fn load(folders: &[PathBuf]) -> anyhow::Result<Self> {
        let runs = folders.iter().map(|folder| run::load(folder, &Device::Cpu));
        let runs: Vec<SegmentRun> = runs.collect::<anyhow::Result<_>>()?;
        let first = &runs.first().context("give the folder of a run of thorax-train train segment")?.config;
        for (run, folder) in runs.iter().zip(folders) {
            ensure!(
                run.config.without_seed() == first.without_seed(),
                "{}: another net, other data, or trained in another way than {}; the mean is of runs that differ in their seed alone",
                folder.display(),
                folders[0].display()
            );
        }
        let members = Self { folders: folders.to_vec(), runs };
        refuse_twins(std::slice::from_ref(&members))?;
        Ok(members)
    }

    /// Where they are.
    pub fn folders(&self) -> &[PathBuf] {
        &self.folders
    }

    /// The runs, at least one.
    pub fn runs(&self) -> &[SegmentRun] {
        &self.runs
    }

    /// The run whose modality, preparation and data are those of all.
    pub fn first(&self) -> &SegmentRun {
        &self.runs[0]
    }

    /// One graph: the mean of the runs' probabilities, each with its threshold moved to 0.5.
    ///
    /// # Errors
    /// When the device fails.
    pub fn graph(&self) -> candle_core::Result<Graph> {
        let graphs = self.runs.iter().map(SegmentRun::graph).collect::<candle_core::Result<Vec<Graph>>>()?;
        Graph::mean(graphs, OUTPUT, MASKS.len())
    }

    /// The same as bundles have it: large weights rounded to half precision.
    ///
    /// # Errors
    /// When the device fails.
    pub fn shipped_graph(&self) -> candle_core::Result<Graph> {
        let mut graph = self.graph()?;
        graph.round_to_half(HALF_PRECISION_FROM)?;
        Ok(graph)
    }

    /// What draws their masks.
    ///
    /// # Errors
    /// When the device fails.
    pub fn segmenter(&self) -> anyhow::Result<Segmenter> {
        let config = &self.first().config;
        Segmenter::new(self.graph()?, config.preprocess.clone(), config.modality, &MASKS)
    }

    /// SHA-256 of all that the masks depend on: of one run [`run::sha256`], of several that over theirs.
    ///
    /// # Errors
    /// A file that cannot be read.
    pub fn sha256(&self) -> anyhow::Result<String> {
        let all = self.folders.iter().map(|folder| run::sha256(folder));
        let all: Vec<String> = all.collect::<anyhow::Result<_>>()?;
        Ok(if let [one] = &all[..] { one.clone() } else { hexadecimal(&Sha256::digest(all.concat())) })
    }

    /// `runs/a`, or `mean of runs/a + runs/b`.
    pub fn name(&self) -> String {
        let names: Vec<String> = self.folders.iter().map(|folder| folder.display().to_string()).collect();
        if names.len() > 1 { format!("mean of {}", names.join(" + ")) } else { names.concat() }
    }
}
