//! Pictures of a manifest, decoded and prepared by the very code the device runs.

use std::path::Path;

use anyhow::Context;
use rayon::prelude::*;
use thorax_decode::{Frame, Limits, Study};
use thorax_shared::{
    label::Modality,
    lungs,
    plane::{Plane, Rect},
    preprocess::{
        Prepared, resize,
        spec::{Normalise, PreprocessSpec},
    },
};

use super::{
    progress,
    segment::{INFECTION, MASKS},
};
use crate::data::{Manifest, Record, Split};

/// Reads one picture.
///
/// # Errors
/// When the file cannot be read, or is a volume.
pub fn read(path: &Path) -> anyhow::Result<Frame> {
    match thorax_decode::decode(path, &Limits::default()).with_context(|| path.display().to_string())? {
        Study::Image(frame) => Ok(frame),
        Study::Volume(_) => anyhow::bail!("{}: a volume; training takes single pictures", path.display()),
    }
}

/// Reads the picture of a manifest's line.
///
/// # Errors
/// Those of [`read`].
pub fn read_record(manifest: &Manifest, record: &Record) -> anyhow::Result<Frame> {
    Ok(Frame { equalised: record.equalised, ..read(&manifest.locate(&record.path))? })
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
    /// Mean and standard deviation of each of the net's input channels, of values 0 to 1.
    normalise: Vec<(f32, f32)>,
}

impl SegmentationSample {
    /// A sample of `side` x `side` values; `mean` and `std` are those of the net's normalisation, one a channel.
    pub fn new(
        name: String,
        side: usize,
        picture: Vec<u8>,
        masks: Vec<Option<Vec<u8>>>,
        mean: &[f32],
        std: &[f32],
    ) -> Self {
        let normalise = mean.iter().copied().zip(std.iter().copied()).collect();
        Self { name, side, picture, masks, normalise }
    }

    /// The net's numbers `[C, S, S]` for grey values 0 to 255 `[S, S]`.
    pub fn normalised(&self, grey: &[f32]) -> Vec<f32> {
        let channel = |&(mean, std): &(f32, f32)| grey.iter().map(move |grey| (grey / 255.0 - mean) / std);
        self.normalise.iter().flat_map(channel).collect()
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
        let records: Vec<&Record> = manifest.masked(modality, split).collect();
        Self::load(manifest, &records, spec, &format!("{modality} {}", split.as_str()), |record, prepared| {
            let masks = truth_masks(manifest, record, &prepared.windowed)?;
            let side = spec.input_side as usize;
            Ok(masks.into_iter().map(|mask| mask.map(|mask| to_input(&mask, prepared, side))).collect())
        })
    }

    /// All pictures of class `normal` of one split: no infection, lungs not marked.
    ///
    /// # Errors
    /// The first file that cannot be read; no such pictures.
    pub fn load_healthy(
        manifest: &Manifest,
        modality: Modality,
        split: Split,
        spec: &PreprocessSpec,
    ) -> anyhow::Result<Vec<Self>> {
        let records: Vec<&Record> = manifest.healthy(modality, split).collect();
        anyhow::ensure!(
            !records.is_empty(),
            "the manifest has no {modality} pictures of class normal in its {} split; leave out --healthy",
            split.as_str()
        );
        let area = (spec.input_side * spec.input_side) as usize;
        Self::load(manifest, &records, spec, &format!("{modality} normal {}", split.as_str()), |_, _| {
            Ok((0..MASKS.len()).map(|mask| (mask == INFECTION).then(|| vec![0; area])).collect())
        })
    }

    /// Reads and prepares `records`, behind a progress bar called `title`; `masks` gives each its masks at the net's size.
    fn load(
        manifest: &Manifest,
        records: &[&Record],
        spec: &PreprocessSpec,
        title: &str,
        masks: impl Fn(&Record, &Prepared) -> anyhow::Result<Vec<Option<Vec<u8>>>> + Sync,
    ) -> anyhow::Result<Vec<Self>> {
        let bar = progress(records.len(), title);
        let load = |record: &Record| -> anyhow::Result<Self> {
            let frame = read_record(manifest, record)?;
            let prepared = frame.prepare(spec)?;
            let masks = masks(record, &prepared)?;
            let Normalise { mean, std } = &spec.normalise;
            let (side, picture) = (spec.input_side as usize, prepared.input.into_data());
            Ok(Self::new(record.path.clone(), side, picture, masks, mean, std))
        };
        let samples = records
            .par_iter()
            .map(|record| load(record).with_context(|| record.path.clone()).inspect(|_| bar.inc(1)))
            .collect();
        bar.finish_and_clear();
        samples
    }
}

/// The masks of a record at the picture's own size, in the order of [`MASKS`], 0 or 255. A mask of both lungs is cut in two.
///
/// # Errors
/// A mask that cannot be read or has another size than its picture.
pub fn truth_masks(
    manifest: &Manifest,
    record: &Record,
    picture: &Plane<u8>,
) -> anyhow::Result<Vec<Option<Plane<u8>>>> {
    let read = |path: &str| -> anyhow::Result<Plane<u8>> {
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
        Ok(Plane::new(width, height, image.into_raw())?.map(|v| if v > 127 { 255 } else { 0 }))
    };
    let infection = (!record.mask.is_empty()).then(|| read(&record.mask)).transpose()?;
    let paths: Vec<&str> = record.lung_masks().collect();
    let [left, right] = match paths[..] {
        [] => [None, None],
        [both] => lungs::split(&read(both)?).map(Some),
        [left, right] => [Some(read(left)?), Some(read(right)?)],
        _ => anyhow::bail!("{}: {} lung masks; give one, or the left and the right", record.path, paths.len()),
    };
    Ok(vec![infection, left, right])
}

/// All masks together; `None` if one is not known, or there is none.
pub fn union<'a>(masks: impl IntoIterator<Item = Option<&'a Plane<u8>>>) -> Option<Plane<u8>> {
    let mut masks = masks.into_iter();
    let mut union = masks.next()??.clone();
    for mask in masks {
        union.data_mut().iter_mut().zip(mask?.data()).for_each(|(union, mask)| *union |= mask);
    }
    Some(union)
}

/// Cuts a mask of the picture's size as the picture was cut, and brings it to the net's size.
fn to_input(mask: &Plane<u8>, prepared: &Prepared, side: usize) -> Vec<u8> {
    let Rect { x, y, width, height } = prepared.core;
    let cut = mask.cropped(Rect { x, y, width, height });
    resize::resize_u8(&cut, side, side).map(|v| if v > 127 { 255 } else { 0 }).into_data()
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use thorax_shared::{label::Modality, preprocess};

    use super::*;
    use crate::train::preprocess_spec;

    #[test]
    fn a_picture_that_is_equalised_already_is_not_equalised_again() {
        let folder = tempfile::tempdir().unwrap();
        let grey = |x: u32, y: u32| image::Luma([(40 + (x * 7 + y * 13) % 61 + x / 2) as u8]);
        image::GrayImage::from_fn(96, 96, grey).save(folder.path().join("slice.png")).unwrap();
        image::GrayImage::from_pixel(96, 96, image::Luma([0])).save(folder.path().join("mask.png")).unwrap();
        let lines = |equalised: bool| {
            "path,modality,task,label,class,patient_id,group,source,licence,split,mask,lung_mask,sha256,equalised\n\
             slice.png,ct,segment,positive,covid,p,p,made,,train,mask.png,,,"
                .to_owned()
                + &equalised.to_string()
        };
        let spec = preprocess_spec(Modality::Ct, 64, Normalise { mean: vec![0.5], std: vec![0.25] });
        let seen = |equalised| {
            let path = folder.path().join("manifest.csv");
            std::fs::write(&path, lines(equalised)).unwrap();
            let manifest = Manifest::load(&path).unwrap();
            SegmentationSample::load_split(&manifest, Modality::Ct, Split::Train, &spec).unwrap().swap_remove(0).picture
        };
        let pixels = read(&folder.path().join("slice.png")).unwrap().pixels;
        let prepared = |spec: &PreprocessSpec| preprocess::prepare(&pixels, spec).unwrap().input.into_data();
        assert_eq!(seen(false), prepared(&spec));
        assert_eq!(seen(true), prepared(&PreprocessSpec { clahe: None, ..spec.clone() }));
        assert_ne!(seen(false), seen(true));
    }
}
