//! What a net learns from and is chosen by: pictures with masks and their changed copies, and pictures of other kinds that each epoch draws
//! beside them. Nets that draw masks and nets that find single lesions share it.

use rand::{Rng, rngs::StdRng};
use thorax_shared::{modality::Modality, preprocess::spec::PreprocessSpec};

use super::{
    augment::{Augmentation, AugmentationConfig},
    sample::{SegmentationSample, Values},
};
use crate::{
    changes::Copies,
    data::{Manifest, Record, Split},
    memory::ensure_available,
};

/// Pictures, each with its changed copies.
type Samples = Vec<Vec<SegmentationSample>>;

/// Which pictures a training wants.
pub(crate) struct Wanted<'a> {
    pub(crate) modality: Modality,
    pub(crate) preprocess: &'a PreprocessSpec,
    /// Pictures of class `normal` that each epoch draws.
    pub(crate) healthy: usize,
    pub(crate) copies: Copies,
    /// Whether there is something to learn of a picture.
    pub(crate) shows: &'a dyn Fn(&SegmentationSample) -> bool,
    /// What that is, in words: `infection marked`.
    pub(crate) what: &'a str,
    /// What helps, beside better masks, where no picture has it.
    pub(crate) remedy: &'a str,
}

impl Wanted<'_> {
    /// At most one copy of a picture that others are drawn from or chosen by.
    pub(crate) fn one_copy(&self) -> Copies {
        Copies { count: self.copies.count.min(1), ..self.copies }
    }

    /// The pictures of the training split, and those of the validation split with their copies.
    ///
    /// # Errors
    /// Pictures that cannot be read; a split in which no picture shows anything.
    pub(crate) fn load(&self, manifest: &Manifest) -> anyhow::Result<(TrainingPictures, Vec<SegmentationSample>)> {
        let own = self.split(manifest, Split::Train, self.copies)?;
        let mut validation = self.split(manifest, Split::Val, self.one_copy())?;
        validation.extend(self.healthy(manifest, Split::Val)?);
        let training = TrainingPictures { own, drawn: vec![] };
        let training = training.beside(self.healthy, self.healthy(manifest, Split::Train)?);
        Ok((training, validation.into_iter().flatten().collect()))
    }

    fn split(&self, manifest: &Manifest, split: Split, copies: Copies) -> anyhow::Result<Samples> {
        let samples = SegmentationSample::load_split(manifest, self.modality, split, self.preprocess, copies)?;
        let (modality, what, name) = (self.modality, self.what, split.as_str());
        anyhow::ensure!(!samples.is_empty(), "the manifest has no {modality} pictures with masks in the {name} split");
        let empty = samples.iter().filter(|copies| !(self.shows)(&copies[0])).count();
        anyhow::ensure!(
            empty < samples.len(),
            "none of the {} {modality} pictures in the {name} split has {what} (at {3} x {3} pixels): there is nothing to {}; look at the masks \
             with thorax-train data check{}",
            samples.len(),
            if split == Split::Train { "learn" } else { "choose the best epoch by" },
            self.remedy,
            self.preprocess.input_side
        );
        if empty > 0 {
            eprintln!(
                "{empty} of {} pictures in the {name} split have no {}",
                samples.len(),
                what.trim_start_matches("a ")
            );
        }
        Ok(samples)
    }

    fn healthy(&self, manifest: &Manifest, split: Split) -> anyhow::Result<Samples> {
        match self.healthy {
            0 => Ok(vec![]),
            _ => SegmentationSample::load_healthy(manifest, self.modality, split, self.preprocess, self.one_copy()),
        }
    }
}

/// What is loaded of a manifest.
#[derive(Clone, Copy)]
pub(crate) struct Extent {
    /// Whose pictures.
    pub(crate) modality: Modality,
    /// Width and height of a picture.
    pub(crate) side: usize,
    /// Whether healthy pictures are loaded too.
    pub(crate) healthy: bool,
    /// Changed copies of each training picture.
    pub(crate) copies: u16,
}

impl Extent {
    /// Sees that there is memory for what [`Wanted::load`] loads.
    ///
    /// # Errors
    /// Less memory than that, with what helps.
    pub(crate) fn ensure_fit(self, manifest: &Manifest) -> anyhow::Result<()> {
        let what = format!("pictures of {0} x {0} with their masks, which are all held in memory,", self.side);
        let smaller = "--side or --copies, or fewer slices (data import --every)";
        ensure_available(self.bytes(manifest), &what, smaller)
    }

    /// What the pictures take at least: a byte a pixel of each, of its infection mask and of each lung's.
    fn bytes(self, manifest: &Manifest) -> u64 {
        let planes = |record: &Record| {
            1 + u64::from(!record.mask.is_empty()) + 2 * u64::from(record.lung_masks().next().is_some())
        };
        let of_split = |(split, copies): (Split, u16)| {
            let own = manifest.masked(self.modality, split).map(planes).sum::<u64>() * (1 + u64::from(copies));
            let healthy = if self.healthy { manifest.healthy(self.modality, split).count() as u64 } else { 0 };
            own + 2 * healthy * (1 + u64::from(copies.min(1)))
        };
        let planes: u64 =
            [(Split::Train, self.copies), (Split::Val, self.copies.min(1))].into_iter().map(of_split).sum();
        planes * (self.side * self.side) as u64
    }
}

/// The pictures of an epoch.
pub(crate) struct TrainingPictures {
    /// All of these.
    own: Samples,
    /// So many of each of these, drawn anew in each epoch.
    drawn: Vec<(usize, Samples)>,
}

impl TrainingPictures {
    /// With `count` of the pictures `from` drawn in each epoch.
    pub(crate) fn beside(mut self, count: usize, from: Samples) -> Self {
        self.drawn.push((count, from));
        self
    }

    /// Pictures of an epoch.
    pub(crate) fn len(&self) -> usize {
        self.own.len() + self.drawn.iter().map(|(count, _)| count).sum::<usize>()
    }

    /// What picture `index` of an epoch is called.
    pub(crate) fn name(&self, index: usize) -> String {
        self.own.get(index).map_or_else(
            || "a picture of class normal, with boxes, or with a teacher's masks".to_owned(),
            |copies| copies[0].name.clone(),
        )
    }

    /// Picture `index` of an epoch, varied; `None` beyond the last.
    pub(crate) fn load(&self, index: usize, augmentation: &AugmentationConfig, random: &mut StdRng) -> Option<Values> {
        let copies = match self.own.get(index) {
            Some(copies) => copies,
            None => {
                let mut before = self.own.len();
                let (_, from) = self.drawn.iter().find(|(count, _)| {
                    before += count;
                    index < before
                })?;
                &from[random.random_range(0..from.len())]
            }
        };
        // Without copies nothing is drawn, so that runs made before there were any are made anew to the bit.
        let sample = if copies.len() > 1 { &copies[random.random_range(0..copies.len())] } else { &copies[0] };
        Some(Augmentation::draw(augmentation, random).apply(sample))
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use thorax_nn::seeded;

    use super::*;
    use crate::data::{Label, Task};

    fn named(name: &str, grey: u8, copies: usize) -> Vec<SegmentationSample> {
        let sample = || SegmentationSample::new(name.into(), 2, vec![grey; 4], vec![None, None, None], &[0.0], &[1.0]);
        (0..=copies).map(|_| sample()).collect()
    }

    #[test]
    fn memory_is_reckoned_before_a_picture_is_read() {
        let masked = |path: &str, split, mask: &str, lung_mask: &str| Record {
            mask: mask.into(),
            lung_mask: lung_mask.into(),
            ..Record::made(path, Task::Segment, Label::Positive, split)
        };
        let healthy = |path: &str, split| Record {
            class: "normal".into(),
            ..Record::made(path, Task::Classify, Label::Negative, split)
        };
        let manifest = Manifest::new(
            "/nowhere".into(),
            vec![
                masked("a.png", Split::Train, "a", ""),
                masked("b.png", Split::Train, "b", "lungs"),
                masked("c.png", Split::Val, "", "left;right"),
                masked("d.png", Split::Test, "d", ""),
                healthy("e.png", Split::Train),
                healthy("f.png", Split::Val),
            ],
        );
        let of = |side, healthy, copies| Extent { modality: Modality::Xray, side, healthy, copies };
        assert_eq!(of(8, false, 0).bytes(&manifest), (2 + 4 + 3) * 64);
        assert_eq!(of(8, true, 0).bytes(&manifest), (2 + 4 + 3 + 2 + 2) * 64);
        assert_eq!(of(8, true, 3).bytes(&manifest), ((2 + 4) * 4 + 3 * 2 + (2 + 2) * 2) * 64);
        assert!(of(8, true, 3).ensure_fit(&manifest).is_ok());
        if crate::memory::available_bytes().is_some() {
            let error = of(100_000_000, false, 0).ensure_fit(&manifest).unwrap_err().to_string();
            assert!(error.contains("held in memory") && error.contains("--every"), "{error}");
        }
    }

    #[test]
    fn an_epoch_has_all_its_own_pictures_and_as_many_of_the_others_as_were_asked_for() {
        let pictures = TrainingPictures { own: vec![named("a", 255, 0), named("b", 255, 2)], drawn: vec![] };
        let pictures = pictures.beside(3, vec![named("n", 0, 0), named("m", 0, 1)]).beside(0, vec![]);
        let pictures = pictures.beside(1, vec![named("x", 51, 0)]);
        assert_eq!((pictures.len(), pictures.name(1), pictures.name(2).contains("normal")), (6, "b".into(), true));
        let mut random = seeded::generator(1, 0);
        let mut grey = |index| {
            let values = pictures.load(index, &AugmentationConfig::none(), &mut random);
            values.map(|values| (255.0 * values.picture[0]).round())
        };
        let greys: Vec<f32> = (0..6).map(|index| grey(index).unwrap()).collect();
        assert_eq!(greys, [255.0, 255.0, 0.0, 0.0, 0.0, 51.0]);
        assert!(grey(6).is_none());
    }
}
