//! Pictures of a manifest, decoded and prepared by the very code the device runs.

use std::path::Path;

use anyhow::Context;
use rand::seq::SliceRandom;
use rayon::prelude::*;
use thorax_edge::decode::{self, Frame, Limits, Study};
use thorax_shared::{
    label::Modality,
    plane::{Plane, Rect},
    preprocess::{self, Prepared, resize, spec::PreprocessSpec},
};

use super::{progress, segment::MASKS};
use crate::{
    data::{Label, Manifest, Record, Split, Task},
    nn::seeded,
};

/// Reads one picture.
///
/// # Errors
/// When the file cannot be read, or is a volume.
pub fn read(path: &Path) -> anyhow::Result<Frame> {
    match decode::decode(path, &Limits::default()).with_context(|| path.display().to_string())? {
        Study::Image(frame) => Ok(frame),
        Study::Volume(_) => anyhow::bail!("{}: a volume; training takes single pictures", path.display()),
    }
}

/// A picture and its masks at the size of the net's input.
pub struct SegmentationSample {
    /// The file's path in the manifest.
    pub name: String,
    /// Sides of picture and masks.
    pub side: usize,
    /// Grey values after CLAHE and crop.
    pub picture: Vec<u8>,
    /// 0 or 255 for each of [`MASKS`]; `None` where the picture lacks it.
    pub masks: Vec<Option<Vec<u8>>>,
    mean: f32,
    std: f32,
}

impl SegmentationSample {
    /// A sample of `side` x `side` values; `mean` and `std` are those of the net's normalisation.
    pub fn new(name: String, side: usize, picture: Vec<u8>, masks: Vec<Option<Vec<u8>>>, mean: f32, std: f32) -> Self {
        Self { name, side, picture, masks, mean, std }
    }

    /// The net's number for a grey value.
    pub fn normalised(&self, grey: f32) -> f32 {
        (grey / 255.0 - self.mean) / self.std
    }

    /// All pictures of one split that have an infection mask.
    ///
    /// # Errors
    /// The first file that cannot be read or does not fit its mask.
    pub fn load_split(
        manifest: &Manifest,
        modality: Modality,
        split: Split,
        spec: &PreprocessSpec,
    ) -> anyhow::Result<Vec<Self>> {
        let records: Vec<&Record> =
            manifest.select(modality, Task::Segment, Some(split)).filter(|r| !r.mask.is_empty()).collect();
        let bar = progress(records.len(), &format!("{modality} {}", split.as_str()));
        let samples = records
            .par_iter()
            .map(|record| {
                let sample = Self::load(manifest, record, spec).with_context(|| record.path.clone());
                bar.inc(1);
                sample
            })
            .collect();
        bar.finish_and_clear();
        samples
    }

    /// At most `most` pictures of class `normal` of one split, drawn by `seed`: no infection, lungs not marked.
    ///
    /// # Errors
    /// The first file that cannot be read; no such pictures.
    pub fn load_healthy(
        manifest: &Manifest,
        modality: Modality,
        split: Split,
        spec: &PreprocessSpec,
        most: usize,
        seed: u64,
    ) -> anyhow::Result<Vec<Self>> {
        let mut records: Vec<&Record> = manifest
            .select(modality, Task::Classify, Some(split))
            .filter(|r| r.label == Label::Negative && r.class == "normal")
            .collect();
        anyhow::ensure!(
            !records.is_empty(),
            "the manifest has no {modality} pictures of class normal in its {} split; leave out --healthy",
            split.as_str()
        );
        records.shuffle(&mut seeded::generator(seed, u64::from(u32::MAX)));
        records.truncate(most);
        records
            .par_iter()
            .map(|record| {
                let frame = read(&manifest.locate(&record.path))?;
                let prepared = preprocess::prepare(&frame.pixels, spec).with_context(|| record.path.clone())?;
                let side = spec.input_side as usize;
                let masks = MASKS.iter().map(|&mask| (mask == "infection").then(|| vec![0; side * side])).collect();
                let (mean, std) = (spec.normalise.mean[0], spec.normalise.std[0]);
                Ok(Self::new(record.path.clone(), side, prepared.input.into_data(), masks, mean, std))
            })
            .collect()
    }

    fn load(manifest: &Manifest, record: &Record, spec: &PreprocessSpec) -> anyhow::Result<Self> {
        let frame = read(&manifest.locate(&record.path))?;
        let prepared = preprocess::prepare(&frame.pixels, spec)?;
        let masks = truth_masks(manifest, record, &prepared.windowed)?;
        let side = spec.input_side as usize;
        let masks = masks.into_iter().map(|mask| mask.map(|mask| to_input(&mask, &prepared, side))).collect();
        let (mean, std) = (spec.normalise.mean[0], spec.normalise.std[0]);
        Ok(Self::new(record.path.clone(), side, prepared.input.into_data(), masks, mean, std))
    }
}

/// The masks of a record at the picture's own size, in the order of [`MASKS`], 0 or 255.
///
/// # Errors
/// A mask that cannot be read or has another size than its picture.
pub fn truth_masks(
    manifest: &Manifest,
    record: &Record,
    picture: &Plane<u8>,
) -> anyhow::Result<Vec<Option<Plane<u8>>>> {
    let infection: Vec<&str> = Some(record.mask.as_str()).filter(|path| !path.is_empty()).into_iter().collect();
    let lungs: Vec<&str> = record.lung_masks().collect();
    [infection, lungs]
        .into_iter()
        .map(|paths| {
            let mut union: Option<Plane<u8>> = None;
            for path in paths {
                let path = manifest.locate(path);
                let image = image::open(&path).with_context(|| path.display().to_string())?.into_luma8();
                let (width, height) = (image.width() as usize, image.height() as usize);
                anyhow::ensure!(
                    (width, height) == (picture.width(), picture.height()),
                    "{}: the mask is {width} x {height}, its picture {} x {}",
                    path.display(),
                    picture.width(),
                    picture.height()
                );
                let mut mask = Plane::new(width, height, image.into_raw())?.map(|v| if v > 127 { 255 } else { 0 });
                if let Some(before) = union.take() {
                    mask.data_mut().iter_mut().zip(before.data()).for_each(|(mask, before)| *mask |= before);
                }
                union = Some(mask);
            }
            Ok(union)
        })
        .collect::<anyhow::Result<Vec<_>>>()
        .inspect(|masks| debug_assert_eq!(masks.len(), MASKS.len()))
}

/// Cuts a mask of the picture's size as the picture was cut, and brings it to the net's size.
fn to_input(mask: &Plane<u8>, prepared: &Prepared, side: usize) -> Vec<u8> {
    let Rect { x, y, width, height } = prepared.core;
    let cut = mask.cropped(Rect { x, y, width, height });
    resize::resize_u8(&cut, side, side).map(|v| if v > 127 { 255 } else { 0 }).into_data()
}
