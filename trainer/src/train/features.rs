//! Pooled features of every labelled picture of a manifest, kept in parts so that a killed run loses at most one.

use std::{collections::BTreeMap, path::Path};

use anyhow::Context;
use candle_core::{Device, Tensor};
use rayon::prelude::*;
use thorax_shared::{
    label::Modality,
    preprocess::{Equalised, PreprocessSpec, QualityLimits},
};

use super::{picture, progress};
use crate::{
    data::{Label, Manifest, Record, Split, Task},
    files::write_atomically,
    nn::{checkpoint::Checkpoint, graph::Graph},
};

/// Pictures a part file.
const PART: usize = 64;

/// Labelled pictures with their features.
pub struct FeatureTable {
    /// The pictures, without those that failed the quality check.
    pub rows: Vec<FeatureRow>,
    /// Length of each row of `values`.
    pub columns: usize,
    /// Features, row by row.
    pub values: Vec<f32>,
}

/// What is known of one picture.
#[derive(Clone, Debug)]
pub struct FeatureRow {
    /// Path in the manifest.
    pub path: String,
    /// Patient or group of patients.
    pub group: String,
    /// Where it comes from.
    pub source: String,
    /// Its split.
    pub split: Split,
    /// COVID-19.
    pub positive: bool,
}

impl FeatureTable {
    /// The rows of one split and their numbers.
    pub fn split(&self, split: Split) -> impl Iterator<Item = (usize, &FeatureRow)> {
        self.rows.iter().enumerate().filter(move |(_, row)| row.split == split)
    }

    /// Row `index`.
    pub fn row(&self, index: usize) -> &[f32] {
        &self.values[index * self.columns..][..self.columns]
    }
}

/// Extracts what `folder` does not hold yet. `backbone` gives `[N, C, H, W]` features, which are averaged over H and W.
/// Pictures that fail the quality check are left out and listed in `removed.csv` with the reason.
///
/// # Errors
/// Pictures that cannot be read; a part file that is broken.
pub fn extract(
    manifest: &Manifest,
    modality: Modality,
    backbone: &Graph,
    spec: &PreprocessSpec,
    limits: &QualityLimits,
    folder: &Path,
    device: &Device,
) -> anyhow::Result<FeatureTable> {
    let records: Vec<&Record> =
        manifest.select(modality, Task::Classify, None).filter(|r| r.label != Label::Unlabelled).collect();
    anyhow::ensure!(!records.is_empty(), "the manifest has no labelled {modality} pictures");
    let mut table = FeatureTable { rows: vec![], columns: 0, values: vec![] };
    let mut removed = String::from("path,split,reason\n");
    let bar = progress(records.len(), &format!("{modality} features"));
    for (number, part) in records.chunks(PART).enumerate() {
        let path = folder.join(format!("part_{number:04}.safetensors"));
        let checkpoint = if path.exists() {
            Checkpoint::load(&path, device)?
        } else {
            let checkpoint = extract_part(manifest, part, backbone, spec, limits, device)?;
            checkpoint.save(&path)?;
            checkpoint
        };
        let features = checkpoint.tensor("features")?.to_vec2::<f32>()?;
        for (record, row) in part.iter().zip(features) {
            let name = record.path.clone();
            if let Some(reason) = checkpoint.metadata.get(&name) {
                removed += &format!("{name},{},{reason:?}\n", record.split.as_str());
                continue;
            }
            table.columns = row.len();
            table.values.extend(row);
            table.rows.push(FeatureRow {
                path: name,
                group: record.group.clone(),
                source: record.source.clone(),
                split: record.split,
                positive: record.label == Label::Positive,
            });
        }
        bar.inc(part.len() as u64);
    }
    bar.finish_and_clear();
    write_atomically(&folder.join("removed.csv"), |out| out.write_all(removed.as_bytes()))?;
    Ok(table)
}

fn extract_part(
    manifest: &Manifest,
    records: &[&Record],
    backbone: &Graph,
    spec: &PreprocessSpec,
    limits: &QualityLimits,
    device: &Device,
) -> anyhow::Result<Checkpoint> {
    let prepared: Vec<(Vec<f32>, Option<String>)> = records
        .par_iter()
        .map(|record| {
            let frame = picture::read(&manifest.locate(&record.path))?;
            let equalised = Equalised::new(&frame.pixels, spec).with_context(|| record.path.clone())?;
            let (_, refused) = equalised.assess(frame.colour_share, limits);
            Ok((equalised.input(spec).1, refused.map(|reason| reason.to_string())))
        })
        .collect::<anyhow::Result<_>>()?;
    let [c, h, w] = backbone.input_shape;
    let mut rows = Vec::with_capacity(records.len());
    for batch in prepared.chunks(16) {
        let values: Vec<f32> = batch.iter().flat_map(|(tensor, _)| tensor.iter().copied()).collect();
        let x = Tensor::from_vec(values, (batch.len(), c, h, w), device)?;
        rows.push(backbone.run(&x)?.remove(0).mean((2, 3))?);
    }
    let metadata: BTreeMap<String, String> = records
        .iter()
        .zip(&prepared)
        .filter_map(|(record, (_, refused))| refused.clone().map(|reason| (record.path.clone(), reason)))
        .collect();
    Ok(Checkpoint::new([("features".to_owned(), Tensor::cat(&rows, 0)?)].into(), metadata))
}
