//! The feature store: what a frozen net sees in every labelled picture of a manifest, in one file that is made once and
//! read by whatever is fitted to it.
//!
//! The features are un-pooled maps, a hundred thousand numbers a picture, and there are thousands of pictures: too much to
//! hold in memory, and hours to compute. So the file is mapped, not loaded (`store`, `columns`); it is written row by row
//! by a run that may be killed at any point (`extract`, `writer`); and it says of itself all that decides its numbers
//! (`format`), so that features of two kinds are never mixed. `trainer/FEATURES.md` specifies the bytes.

mod columns;
mod extract;
mod extractor;
mod format;
mod store;
mod table;
#[cfg(test)]
mod tests;
mod writer;

use std::{num::NonZeroUsize, path::Path};

use anyhow::Context;
use candle_core::Device;
use extract::Pictures;
pub use extract::{Prepared, picture, prepare};
pub use extractor::{Extractor, FeatureNet, Maker, Remade, preprocess};
pub use format::{Contents, Dtype, FORMAT, FeatureError, FeatureRow, State, preprocess_sha256};
pub use store::{FeatureStore, Values};
pub use table::FeatureTable;
use thorax_shared::{modality::Modality, preprocess::QualityLimits};
pub use writer::{Opened, StoreWriter, WrittenRow};

use crate::{
    changes::Copies,
    data::{Label, Manifest, Task, fingerprint},
    progress::progress,
    segmentation::LungFinder,
};

/// How pictures are loaded.
#[derive(Clone, Copy, Debug, clap::Args)]
pub struct LoadingArgs {
    /// Threads that read and prepare pictures ahead; changes no result
    #[arg(long, value_name = "N", default_value = "2", value_parser = thorax_nn::device::threads)]
    loaders: NonZeroUsize,
}

/// Features that are wanted.
pub struct Request<'a> {
    /// Whose pictures.
    pub manifest: &'a Manifest,
    /// Which of them.
    pub modality: Modality,
    /// The net.
    pub net: &'a FeatureNet,
    /// What finds the lungs that pictures are cropped to, where its recipe is that.
    pub lungs: Option<&'a LungFinder>,
    /// Changed copies of each picture of the training and the validation split.
    pub copies: Copies,
    /// Type of the stored numbers.
    pub dtype: Dtype,
    /// Pictures a unit.
    pub unit: usize,
    /// Threads that prepare pictures.
    pub loading: LoadingArgs,
    /// Where the net is.
    pub device: &'a Device,
}

/// The batch of runs that are not asked for one.
pub const UNIT: usize = 16;

impl Request<'_> {
    /// What the store says of itself.
    ///
    /// # Errors
    /// When the manifest has no such pictures.
    pub fn contents(&self) -> anyhow::Result<Contents> {
        let Self { manifest, modality, net, lungs, .. } = *self;
        let labelled = manifest.select(modality, Task::Classify, None).filter(|r| r.label != Label::Unlabelled);
        let Copies { count: copies, seed: copies_seed } = self.copies;
        let rows: Vec<FeatureRow> = labelled.flat_map(|record| FeatureRow::with_copies(record, copies)).collect();
        anyhow::ensure!(!rows.is_empty(), "the manifest has no labelled {modality} pictures");
        Ok(Contents {
            format: FORMAT,
            program: concat!("thorax-train ", env!("CARGO_PKG_VERSION")).into(),
            backbone: net.extractor,
            weights: net.origin.clone(),
            weights_sha256: net.sha256.clone(),
            layout: net.layout,
            device: if self.device.is_cpu() { "cpu" } else { "cuda" }.into(),
            dtype: self.dtype,
            unit: self.unit,
            modality,
            preprocess_sha256: preprocess_sha256(&net.preprocess),
            preprocess: net.preprocess.clone(),
            quality: QualityLimits::default(),
            lungs_sha256: lungs.map(|lungs| lungs.sha256().to_owned()),
            manifest_sha256: fingerprint::fingerprint(manifest, modality, Task::Classify)?,
            copies,
            copies_seed: (copies > 0).then_some(copies_seed),
            rows,
        })
    }

    /// The whole store at `path`: as it is there, or after the missing rows were extracted.
    ///
    /// # Errors
    /// [`FeatureError`] when there is another store, or it cannot be written; a picture that cannot be read. What was
    /// extracted until then is kept.
    pub fn store(&self, path: &Path) -> anyhow::Result<FeatureStore> {
        let contents = self.contents()?;
        let writer = match StoreWriter::open(path, &contents, self.net.feature_shape()?)? {
            Opened::Finished(store) => {
                store.verify()?;
                return Ok(store);
            }
            Opened::Unfinished(writer) => writer,
        };
        let missing: usize = writer.pending().iter().map(|&unit| writer.unit(unit).len()).sum();
        let rows = contents.rows.len();
        let bar = progress(rows, &format!("{} features", self.modality));
        bar.set_style(style());
        if missing < rows {
            eprintln!("{}: resumed, {} of {rows} rows are there", path.display(), rows - missing);
            bar.set_position((rows - missing) as u64);
            bar.reset_eta();
        }
        let started = std::time::Instant::now();
        let graph = &self.net.graph;
        let pictures = Pictures { manifest: self.manifest, lungs: self.lungs };
        extract::extract(pictures, graph, &writer, self.device, self.loading.loaders.get(), &bar).with_context(
            || format!("what was extracted is kept in {}; the same command goes on", writer.partial().display()),
        )?;
        bar.finish_and_clear();
        let speed = missing as f64 / started.elapsed().as_secs_f64();
        eprintln!("{}: {missing} pictures extracted, {speed:.1} images/s", path.display());
        Ok(writer.finish()?)
    }
}

/// Images per second and the time that is left.
fn style() -> indicatif::ProgressStyle {
    let style = indicatif::ProgressStyle::with_template("{prefix:>18} {wide_bar} {pos}/{len} {images} {eta} left");
    style.unwrap_or_else(|_| indicatif::ProgressStyle::default_bar()).with_key(
        "images",
        |state: &indicatif::ProgressState, out: &mut dyn std::fmt::Write| {
            let _ = write!(out, "{:.1} images/s", state.per_sec());
        },
    )
}
