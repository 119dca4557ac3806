//! Pictures and their masks as a segmentation net sees them: prepared by the very code that the device runs, at the net's size.

use std::{
    collections::BTreeMap,
    sync::{Mutex, PoisonError},
};

use anyhow::Context;
use candle_core::{Device, Tensor};
use rayon::prelude::*;
use thorax_nn::distance_transform::{DistanceError, signed_distance};
use thorax_shared::{
    mask::{INFECTION, LEFT_LUNG, NAMES as MASKS, RIGHT_LUNG},
    modality::Modality,
    plane::{Plane, Rect},
    preprocess::{
        Prepared, resize,
        spec::{Normalise, PreprocessSpec},
    },
};

use crate::{
    changes::{self, Change, Copies},
    data::{
        Manifest, Record, Split,
        address::content,
        picture::{Picture, truth},
    },
    progress::progress,
};

/// What the numbers of masks say.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum MaskKind {
    /// Where something was drawn: 0 or 255, and so after every change.
    Drawn,
    /// How probable it is by a teacher: 255 for 1.
    Probability,
}

impl MaskKind {
    /// What is to be learnt, 0 to 1, where a mask has been read between its pixels as 0 to 255.
    pub(super) fn target(self, read: f32) -> f32 {
        match self {
            Self::Drawn => f32::from(u8::from(read > 127.0)),
            Self::Probability => read / 255.0,
        }
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
    /// 0 to 255 for each of [`MASKS`]; `None` where the picture lacks it.
    pub masks: Vec<Option<Vec<u8>>>,
    /// What these numbers say.
    pub kind: MaskKind,
    /// Mean and standard deviation of each of the net's input channels, of values 0 to 1.
    normalise: Vec<(f32, f32)>,
}

impl SegmentationSample {
    /// A sample of `side` x `side` values with drawn masks; `mean` and `std` are those of the net's normalisation, one a channel.
    pub fn new(
        name: String,
        side: usize,
        picture: Vec<u8>,
        masks: Vec<Option<Vec<u8>>>,
        mean: &[f32],
        std: &[f32],
    ) -> Self {
        let normalise = mean.iter().copied().zip(std.iter().copied()).collect();
        Self { name, side, picture, masks, kind: MaskKind::Drawn, normalise }
    }

    /// The net's numbers `[C, S, S]` for grey values 0 to 255 `[S, S]`.
    pub fn normalised(&self, grey: &[f32]) -> Vec<f32> {
        let channel = |&(mean, std): &(f32, f32)| grey.iter().map(move |grey| (grey / 255.0 - mean) / std);
        self.normalise.iter().flat_map(channel).collect()
    }

    /// All pictures of one split that have a mask, each followed by its changed copies.
    ///
    /// # Errors
    /// The first file that cannot be read or does not fit its mask.
    pub fn load_split(
        manifest: &Manifest,
        modality: Modality,
        split: Split,
        spec: &PreprocessSpec,
        copies: Copies,
    ) -> anyhow::Result<Vec<Vec<Self>>> {
        let records: Vec<&Record> = manifest.masked(modality, split).collect();
        let told: Mutex<BTreeMap<String, usize>> = Mutex::default();
        let samples = Self::load(
            manifest,
            &records,
            spec,
            copies,
            &format!("{modality} {}", split.as_str()),
            MaskKind::Drawn,
            |record, picture| {
                let [width, height] = picture.size();
                let truth = truth(manifest, record, &Plane::filled(width, height, 0))?;
                let mut told = told.lock().unwrap_or_else(PoisonError::into_inner);
                truth.told.into_iter().for_each(|what| *told.entry(what).or_default() += 1);
                drop(told);
                Ok(truth.masks)
            },
        )?;
        for (what, masks) in told.into_inner().unwrap_or_else(PoisonError::into_inner) {
            eprintln!("{masks} {what} in the {} split", split.as_str());
        }
        Ok(samples)
    }

    /// Whether any infection is left at the net's size.
    pub fn shows_infection(&self) -> bool {
        self.masks[INFECTION].as_ref().is_some_and(|mask| mask.iter().any(|&value| value > 0))
    }

    /// All pictures of class `normal` of one split, each followed by its changed copies: no infection, lungs not marked.
    ///
    /// # Errors
    /// The first file that cannot be read; no such pictures.
    pub fn load_healthy(
        manifest: &Manifest,
        modality: Modality,
        split: Split,
        spec: &PreprocessSpec,
        copies: Copies,
    ) -> anyhow::Result<Vec<Vec<Self>>> {
        let records: Vec<&Record> = manifest.healthy(modality, split).collect();
        anyhow::ensure!(
            !records.is_empty(),
            "the manifest has no {modality} pictures of class normal (or healthy, no finding, CT-0) in its {} split; \
             leave out --healthy",
            split.as_str()
        );
        let title = format!("{modality} normal {}", split.as_str());
        Self::load(manifest, &records, spec, copies, &title, MaskKind::Drawn, |_, picture| {
            let [width, height] = picture.size();
            Ok((0..MASKS.len()).map(|mask| (mask == INFECTION).then(|| Plane::filled(width, height, 0))).collect())
        })
    }

    /// Reads and prepares `records` and their changed copies, behind a progress bar called `title`; `masks` gives a record its masks,
    /// of the picture's columns and rows.
    pub(super) fn load(
        manifest: &Manifest,
        records: &[&Record],
        spec: &PreprocessSpec,
        copies: Copies,
        title: &str,
        kind: MaskKind,
        masks: impl Fn(&Record, &Picture) -> anyhow::Result<Vec<Option<Plane<u8>>>> + Sync,
    ) -> anyhow::Result<Vec<Vec<Self>>> {
        let bar = progress(records.len(), title);
        let load = |record: &Record| -> anyhow::Result<Vec<Self>> {
            let picture = Picture::of(manifest, record)?;
            let masks = masks(record, &picture)?;
            let copy = |copy| {
                let changes = changes::history(&content(&record.path, &record.sha256), copy, copies.seed);
                Self::changed(record, &picture, (kind, &masks), &changes, spec)
            };
            (0..=copies.count).map(copy).collect()
        };
        let samples = records
            .par_iter()
            .map(|record| load(record).with_context(|| record.path.clone()).inspect(|_| bar.inc(1)))
            .collect();
        bar.finish_and_clear();
        samples
    }

    /// The picture and its masks after all `changes`, prepared.
    fn changed(
        record: &Record,
        picture: &Picture,
        (kind, masks): (MaskKind, &[Option<Plane<u8>>]),
        changes: &[Change],
        spec: &PreprocessSpec,
    ) -> anyhow::Result<Self> {
        let picture = changes::changed(picture.clone(), changes, &spec.window);
        let prepared = picture.prepare(spec)?;
        let side = spec.input_side as usize;
        let moved = |mask: &Plane<u8>| {
            let mask = changes.iter().fold(mask.clone(), |mask, change| change.apply_to_mask(&mask));
            to_input(&mask, kind, &prepared, side)
        };
        let mut masks: Vec<_> = masks.iter().map(|mask| mask.as_ref().map(moved)).collect();
        if changes.contains(&Change::Mirrored) {
            masks.swap(LEFT_LUNG, RIGHT_LUNG);
        }
        let Normalise { mean, std } = &spec.normalise;
        Ok(Self { kind, ..Self::new(record.path.clone(), side, prepared.input.into_data(), masks, mean, std) })
    }
}

/// Cuts a mask of the picture's size as the picture was cut, and brings it to the net's size.
fn to_input(mask: &Plane<u8>, kind: MaskKind, prepared: &Prepared, side: usize) -> Vec<u8> {
    let Rect { x, y, width, height } = prepared.core;
    let cut = mask.cropped(Rect { x, y, width, height });
    let resized = resize::resize_u8(&cut, side, side);
    match kind {
        MaskKind::Drawn => resized.map(|v| if v > 127 { 255 } else { 0 }).into_data(),
        MaskKind::Probability => resized.into_data(),
    }
}

/// A picture as the net's numbers, and its masks.
pub(crate) struct Values {
    pub(crate) side: usize,
    /// `[C, S, S]`.
    pub(crate) picture: Vec<f32>,
    /// `[M, S, S]` for the M [`MASKS`], 0 to 1; 0 where a mask is not known.
    pub(crate) masks: Vec<f32>,
    /// `[M]`, 1 for a known mask.
    pub(crate) known: Vec<f32>,
    /// `[M, S, S]`, the signed distance to each mask's border, for the boundary loss.
    pub(crate) distance: Option<Vec<f32>>,
}

impl Values {
    /// The picture as it is.
    pub(crate) fn of(sample: &SegmentationSample) -> Self {
        let area = sample.side * sample.side;
        let mask = |mask: &Option<Vec<u8>>| match mask {
            Some(mask) => mask.iter().map(|&v| f32::from(v) / 255.0).collect(),
            None => vec![0.0; area],
        };
        let grey: Vec<f32> = sample.picture.iter().map(|&v| f32::from(v)).collect();
        Self {
            side: sample.side,
            picture: sample.normalised(&grey),
            masks: sample.masks.iter().flat_map(mask).collect(),
            known: sample.masks.iter().map(|mask| f32::from(u8::from(mask.is_some()))).collect(),
            distance: None,
        }
    }

    /// Adds the signed distances.
    pub(super) fn measure(&mut self) -> Result<(), DistanceError> {
        let mut distances = Vec::with_capacity(self.masks.len());
        for mask in self.masks.chunks_exact(self.side * self.side) {
            let inside: Vec<bool> = mask.iter().map(|&value| value > 0.5).collect();
            distances.extend(signed_distance(&inside, self.side)?);
        }
        self.distance = Some(distances);
        Ok(())
    }
}

/// Pictures `[N, C, S, S]`, masks `[N, M, S, S]`, which masks are known `[N, M, 1, 1]`, and, where they were measured, the signed
/// distances `[N, M, S, S]`, on the CPU.
pub(super) fn collate(samples: Vec<Values>) -> candle_core::Result<Vec<Tensor>> {
    let (n, side) = (samples.len(), samples.first().map_or(0, |sample| sample.side));
    let channels = samples.first().map_or(0, |sample| sample.picture.len() / (side * side).max(1));
    let (mut x, mut y, mut known, mut distance) = (vec![], vec![], vec![], vec![]);
    for sample in samples {
        x.extend(sample.picture);
        y.extend(sample.masks);
        known.extend(sample.known);
        distance.extend(sample.distance.into_iter().flatten());
    }
    let masks = (n, MASKS.len(), side, side);
    let mut batch = vec![
        Tensor::from_vec(x, (n, channels, side, side), &Device::Cpu)?,
        Tensor::from_vec(y, masks, &Device::Cpu)?,
        Tensor::from_vec(known, (n, MASKS.len(), 1, 1), &Device::Cpu)?,
    ];
    if !distance.is_empty() {
        batch.push(Tensor::from_vec(distance, masks, &Device::Cpu)?);
    }
    Ok(batch)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use thorax_shared::{
        modality::Modality,
        preprocess::{self, spec::Equalisation},
    };

    use super::*;
    use crate::{
        data::recipe::preprocess_spec,
        segmentation::augment::{Augmentation, AugmentationConfig},
    };

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
            let samples =
                SegmentationSample::load_split(&manifest, Modality::Ct, Split::Train, &spec, Copies::default());
            samples.unwrap().swap_remove(0).swap_remove(0).picture
        };
        let pixels = Picture::read(&folder.path().join("slice.png"), false).unwrap().frame.pixels;
        let prepared = |spec: &PreprocessSpec| preprocess::prepare(&pixels, spec).unwrap().input.into_data();
        assert_eq!(seen(false), prepared(&spec));
        assert_eq!(seen(true), prepared(&PreprocessSpec { clahe: Equalisation::Never, ..spec.clone() }));
        assert_ne!(seen(false), seen(true));
    }

    /// A drawn mask has a border when it is turned, a probability stays one.
    #[test]
    fn what_a_teacher_says_stays_a_probability() {
        let side = 8;
        let mut random = thorax_nn::seeded::generator(3, 0);
        let config = AugmentationConfig { rotation_degrees: 20.0, ..AugmentationConfig::none() };
        let turned = Augmentation::draw(&config, &mut random);
        let half: Vec<u8> = (0..side * side).map(|i| if i % side < 4 { 100 } else { 0 }).collect();
        let sample = |kind| SegmentationSample {
            kind,
            ..SegmentationSample::new(
                "made".into(),
                side,
                half.clone(),
                vec![Some(half.clone()), None, None],
                &[0.5],
                &[0.5],
            )
        };
        let drawn = turned.apply(&sample(MaskKind::Drawn)).masks;
        assert!(drawn.iter().all(|&v| v == 0.0), "less than half is nothing");
        let told = turned.apply(&sample(MaskKind::Probability)).masks;
        let most = told.iter().copied().fold(0.0, f32::max);
        assert!((most - 100.0 / 255.0).abs() < 1e-6, "{most}");
        assert!(told[..side * side].iter().any(|&v| v > 0.01 && v < 0.38), "no value lies between");
        assert!(told[side * side..].iter().all(|&v| v == 0.0));
    }

    #[test]
    fn masks_go_with_the_changed_copies_of_their_picture() {
        let folder = tempfile::tempdir().unwrap();
        // A bright disc left of the middle, which is its own infection mask, on a film with left and right lung.
        let disc = |x: u32, y: u32| (x as i32 - 80).pow(2) + (y as i32 - 120).pow(2) < 40 * 40;
        let film = |x: u32, y: u32| {
            image::Luma([if disc(x, y) { 230 } else { (40 + (x + y) / 5 + (x * 7 + y * 13) % 20) as u8 }])
        };
        image::GrayImage::from_fn(256, 256, film).save(folder.path().join("film.png")).unwrap();
        let save = |name: &str, of: &dyn Fn(u32, u32) -> bool| {
            let mask = image::GrayImage::from_fn(256, 256, |x, y| image::Luma([if of(x, y) { 255 } else { 0 }]));
            mask.save(folder.path().join(name)).unwrap();
        };
        save("infection.png", &disc);
        save("left.png", &|x, _| x > 140);
        save("right.png", &|x, _| x < 110);
        let table = "path,modality,task,label,class,patient_id,group,source,licence,split,mask,lung_mask,sha256,equalised\n\
             film.png,xray,segment,positive,covid,p,p,made,,train,infection.png,left.png;right.png,0123456789abcdef,true";
        std::fs::write(folder.path().join("manifest.csv"), table).unwrap();
        let manifest = Manifest::load(&folder.path().join("manifest.csv")).unwrap();
        let spec = preprocess_spec(Modality::Xray, 96, Normalise { mean: vec![0.5], std: vec![0.25] });
        let load = |count| {
            let copies = Copies { count, seed: 3 };
            SegmentationSample::load_split(&manifest, Modality::Xray, Split::Train, &spec, copies)
                .unwrap()
                .swap_remove(0)
        };
        let (alone, samples) = (load(0), load(40));
        assert_eq!((alone.len(), samples.len()), (1, 41));
        assert!(alone[0].picture == samples[0].picture && alone[0].masks == samples[0].masks);
        let mean = |sample: &SegmentationSample, inside: bool| {
            let mask = sample.masks[INFECTION].as_ref().unwrap();
            let greys: Vec<f32> =
                sample.picture.iter().zip(mask).filter(|(_, m)| (**m > 0) == inside).map(|(&g, _)| g.into()).collect();
            greys.iter().sum::<f32>() / greys.len() as f32
        };
        // The middle of a mask, across.
        let middle = |sample: &SegmentationSample, mask: usize| {
            let mask = sample.masks[mask].as_ref().unwrap();
            let columns: Vec<usize> =
                mask.iter().enumerate().filter(|(_, v)| **v > 0).map(|(at, _)| at % sample.side).collect();
            columns.iter().sum::<usize>() / columns.len()
        };
        let mut mirrored = 0;
        for sample in &samples[1..] {
            assert_ne!(sample.picture, samples[0].picture);
            assert!(mean(sample, true) > mean(sample, false) + 40.0, "the mask has left the disc");
            assert!(
                middle(sample, LEFT_LUNG) > middle(sample, RIGHT_LUNG),
                "the patient's left is on the picture's right"
            );
            mirrored += usize::from(middle(sample, INFECTION) > middle(&samples[0], LEFT_LUNG) - 20);
        }
        assert!((10..30).contains(&mirrored), "{mirrored} of 40 are mirrored");
    }

    #[test]
    fn a_batch_has_a_channel_for_each_mean_and_distances_where_they_were_measured() {
        let side = 8;
        let mask: Vec<u8> = (0..side * side).map(|i| if i % side < 3 { 255 } else { 0 }).collect();
        let sample = |masks| SegmentationSample::new("made".into(), side, mask.clone(), masks, &[0.5; 3], &[0.5; 3]);
        let full = sample(vec![Some(mask.clone()), Some(mask.clone()), Some(mask.clone())]);
        let part = sample(vec![None, Some(mask.clone()), None]);
        let batch = collate(vec![Values::of(&full), Values::of(&part)]).unwrap();
        let shapes: Vec<_> = batch.iter().map(|tensor| tensor.dims().to_vec()).collect();
        assert_eq!(shapes, [vec![2, 3, 8, 8], vec![2, 3, 8, 8], vec![2, 3, 1, 1]]);
        let known = batch[2].flatten_all().unwrap().to_vec1::<f32>().unwrap();
        assert_eq!(known, [1.0, 1.0, 1.0, 0.0, 1.0, 0.0]);
        let measured = [full, part].map(|sample| {
            let mut values = Values::of(&sample);
            values.measure().unwrap();
            values
        });
        let batch = collate(measured.into()).unwrap();
        let distance = batch[3].to_vec2_of_planes();
        // The mask is three columns wide: -2, -1, 0 inside, then the distance to it.
        assert_eq!(distance[0][..side], [-2.0, -1.0, 0.0, 1.0, 2.0, 3.0, 4.0, 5.0]);
        assert!(distance[3].iter().all(|&d| d == 0.0), "an unknown mask has no distance");
    }

    trait Planes {
        fn to_vec2_of_planes(&self) -> Vec<Vec<f32>>;
    }

    impl Planes for Tensor {
        fn to_vec2_of_planes(&self) -> Vec<Vec<f32>> {
            self.flatten_from(2).unwrap().flatten_to(1).unwrap().to_vec2().unwrap()
        }
    }
}
