//! The way of an image on the device: check, preprocess, find the lungs, infer, decide.
//!
//! The segmenter goes first where the classifier looks at the lungs that it finds, or weighs what is infected in them.
//!
//! [`Screener::screen`] takes what was decoded and gives a [`Screening`]: a value that knows neither the models that made it nor
//! how long they took ([`Timings`] stand beside it), so that it can be written down and read again. Nothing here knows a file, a
//! display or a network.

use std::time::{Duration, Instant};

use serde::{Deserialize, Serialize};
use thorax_decode::{Frame, Study, Volume};
use thorax_shared::{
    bundle::{Manifest, Refusal, TrustedKeys},
    decision::Evidence,
    lungs::{self, Involvement, LungArea},
    modality::Modality,
    plane::{Plane, Rect},
    preprocess::{
        self, Crop, Equalised, FoundLungs, Pixels, PreprocessError, PreprocessSpec, SourceRows, quality::Quality,
        upright::Looks,
    },
    uncertainty::{Ensemble, sigmoid},
    verdict::{RejectReason, Verdict},
};

use crate::{
    error::{DeviceError, PictureError, ScreenError},
    model::{BundleIdentity, Classification, Model},
};

/// Time spent in each stage.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Timings {
    /// Quality check, window, CLAHE.
    pub preprocess: Duration,
    /// Segmentation, masks back on the source.
    pub segment: Duration,
    /// Crop, backbone, heads, novelty.
    pub classify: Duration,
    /// Entropy, decision, heat back on the source.
    pub decide: Duration,
}

/// Adds the time that `stage` takes to `time`.
fn timed<T>(time: &mut Duration, stage: impl FnOnce() -> T) -> T {
    let start = Instant::now();
    let result = stage();
    *time += start.elapsed();
    result
}

/// What is known of one picture.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Reading {
    /// What Thorax says.
    pub verdict: Verdict,
    /// The numbers behind it; `None` when the picture was rejected before it was read.
    pub evidence: Option<Evidence>,
    /// How much the members of the ensemble disagree, in bits, by their own probabilities, before a map of their mean; `None` when the
    /// picture was rejected before the ensemble was asked.
    pub mutual_information_bits: Option<f32>,
    /// How good the picture is.
    pub quality: Quality,
    /// The picture, windowed, in its own size.
    pub picture: Plane<u8>,
    /// Where the classifier looked, 0 to 1, in the picture's size; `None` when rejected.
    pub heat: Option<Plane<f32>>,
    /// What is infected and which lung is where; `None` when rejected or without segmenter.
    pub masks: Option<Masks>,
}

/// Masks in the picture's size, 0 or 255.
///
/// What a segmenter marks as lung or as infected is lung: consolidated lung is easily missed as lung. Each pixel of it belongs to
/// the lung whose probability is higher there; where the bundle has one probability for both lungs, [`lungs::split`] cuts
/// what it found in two. So the two lungs never overlap, and every infected pixel is in one of them.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Masks {
    /// The infected part of the lungs.
    pub infection: Plane<u8>,
    /// The patient's left lung, on the right of the picture.
    pub left_lung: Plane<u8>,
    /// The patient's right lung, on the left of the picture.
    pub right_lung: Plane<u8>,
    /// Their pixels.
    pub area: LungArea,
}

impl Masks {
    /// Both lungs.
    pub fn lungs(&self) -> Plane<u8> {
        Plane::from_fn(self.left_lung.width(), self.left_lung.height(), |x, y| {
            self.left_lung.get(x, y) | self.right_lung.get(x, y)
        })
    }
}

/// Which slices of a volume were read.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Slices {
    /// The slice shown, counted from 0.
    pub shown: usize,
    /// How many were read.
    pub read: usize,
}

/// What is said of an image or volume.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Screening {
    /// The verdict of the whole.
    pub verdict: Verdict,
    /// The numbers behind it.
    pub evidence: Option<Evidence>,
    /// Infected share of the lungs over all slices that were read; `None` when hardly any lung was found. Without sides where the
    /// file does not say which is which.
    pub involvement: Option<Involvement>,
    /// Whether the file says which side of the picture is the patient's right.
    pub sides_known: bool,
    /// The picture to show: the image, or the slice with most infection (the middle one where all were rejected).
    pub shown: Reading,
    /// Of a volume; `None` for a single image.
    pub slices: Option<Slices>,
    /// What is to be told of how a volume was put together; it changes no verdict.
    pub notes: Vec<String>,
    /// What read it.
    pub bundle: BundleIdentity,
}

/// The bundles of a device.
pub struct Screener {
    models: Vec<Model>,
}

impl Screener {
    /// Opens every bundle of `paths`.
    ///
    /// # Errors
    /// The first that cannot be read or is not signed by one of `trusted`.
    pub fn open(paths: &[std::path::PathBuf], trusted: &TrustedKeys) -> Result<Self, DeviceError> {
        Ok(Self { models: paths.iter().map(|path| Model::open(path, trusted)).collect::<Result<_, _>>()? })
    }

    /// Of bundles that were opened before.
    pub fn new(models: Vec<Model>) -> Self {
        Self { models }
    }

    /// The bundles.
    pub fn models(&self) -> &[Model] {
        &self.models
    }

    /// The bundle for `modality`.
    ///
    /// # Errors
    /// [`PictureError::NoBundle`].
    pub fn model(&self, modality: Modality) -> Result<&Model, PictureError> {
        self.models.iter().find(|model| model.manifest.modality == modality).ok_or(PictureError::NoBundle(modality))
    }

    /// Screens what was decoded. `modality` overrules what the file says; where neither says, the picture decides: of the bundles to
    /// which it is not something else altogether, it is read by the one to whose training pictures it is nearest, each distance measured by
    /// the bundle's own limit. Of a volume `slices` evenly spaced ones are read (0: all), and the [`Timings`] are those of the slice shown; `each` sees every reading
    /// with the number of its slice.
    ///
    /// # Errors
    /// [`ScreenError`], which says whether picture or device is to blame.
    pub fn screen(
        &self,
        study: &Study,
        modality: Option<Modality>,
        slices: usize,
        mut each: impl FnMut(Option<usize>, &Reading),
    ) -> Result<(Screening, Timings), ScreenError> {
        match study {
            Study::Image(frame) => {
                let (model, classified) = self.choose(frame, modality)?;
                let (shown, timings) = read_on(model, frame, classified)?;
                each(None, &shown);
                let screening = Screening {
                    verdict: shown.verdict,
                    evidence: shown.evidence,
                    involvement: shown.masks.as_ref().and_then(|masks| involvement(masks.area, frame)),
                    sides_known: frame.sides_known,
                    shown,
                    slices: None,
                    notes: vec![],
                    bundle: model.identity.clone(),
                };
                Ok((screening, timings))
            }
            Study::Volume(volume) => self.screen_volume(volume, modality, slices, each),
        }
    }

    /// The bundle for a picture, and what was found out on the way: where the picture itself had to decide, the bundle has
    /// classified it already.
    fn choose<'a>(
        &'a self,
        frame: &'a Frame,
        modality: Option<Modality>,
    ) -> Result<(&'a Model, Option<Classified<'a>>), ScreenError> {
        if let Some(modality) = modality.or(frame.modality) {
            return Ok((self.model(modality)?, None));
        }
        if let [only] = &self.models[..] {
            return Ok((only, None));
        }
        let mut nearest: Option<((bool, f32), Classified<'a>)> = None;
        for model in &self.models {
            let classified = Prepared::new(model, frame)?.classify()?;
            let found = &classified.found.classification;
            let distance = found.novelty / model.manifest.decision.novelty_reject;
            // A child's film is a film: only what is no such picture at all speaks for another bundle.
            let refused = refusal(&model.manifest.extension.refusals, &found.refusals);
            let rank = (refused == Some(RejectReason::OutOfDistribution) || distance > 1.0, distance);
            if nearest.as_ref().is_none_or(|(least, _)| rank < *least) {
                nearest = Some((rank, classified));
            }
        }
        let (_, classified) = nearest.ok_or(DeviceError::NoBundles)?;
        Ok((classified.prepared.model, Some(classified)))
    }

    /// A volume's probability is the mean over the slices that were read (those rejected do not count), its entropy that of
    /// the mean, its novelty their median, its involvement that of all their pixels.
    fn screen_volume(
        &self,
        volume: &Volume,
        modality: Option<Modality>,
        slices: usize,
        mut each: impl FnMut(Option<usize>, &Reading),
    ) -> Result<(Screening, Timings), ScreenError> {
        let chosen = evenly(volume.slices(), slices);
        let middle = *chosen.get(chosen.len() / 2).ok_or(PictureError::NoSlices)?;
        let middle_frame = volume.slice(middle).ok_or(PictureError::NoSlices)?;
        let (model, mut classified) = self.choose(&middle_frame, modality)?;
        let mut probabilities = vec![];
        let mut novelties = vec![];
        let mut area = LungArea::default();
        let mut shown: Option<(usize, Reading, Timings)> = None;
        for &index in &chosen {
            let (reading, timings) = match index == middle {
                true => read_on(model, &middle_frame, classified.take())?,
                false => read(model, &volume.slice(index).ok_or(PictureError::NoSlices)?)?,
            };
            each(Some(index), &reading);
            if let Some(evidence) = reading.evidence.filter(|_| !matches!(reading.verdict, Verdict::Rejected(_))) {
                probabilities.push(evidence.probability);
                novelties.push(evidence.novelty);
            }
            if let Some(masks) = &reading.masks {
                area += masks.area;
            }
            // The slice with most infection; where none was read, the middle one speaks for all.
            let rank = |index: usize, reading: &Reading| match &reading.masks {
                Some(masks) => (true, masks.area.infected()),
                None => (false, u64::from(index == middle)),
            };
            if shown.as_ref().is_none_or(|(best, shown, _)| rank(index, &reading) > rank(*best, shown)) {
                shown = Some((index, reading, timings));
            }
        }
        let (index, mut shown, timings) = shown.ok_or(PictureError::NoSlices)?;
        let (verdict, evidence) = if probabilities.is_empty() {
            (shown.verdict, None)
        } else {
            novelties.sort_by(f32::total_cmp);
            let mean = Ensemble::from_probabilities(&probabilities)
                .map_err(|reason| DeviceError::Answer { bundle: model.title(), reason })?;
            let novelty = novelties[novelties.len() / 2];
            let evidence = Evidence { probability: mean.probability, entropy_bits: mean.entropy_bits, novelty };
            (unless_referred(model.manifest.decision.decide(&evidence), &middle_frame), Some(evidence))
        };
        shown.verdict = verdict;
        let screening = Screening {
            verdict,
            evidence,
            involvement: involvement(area, &middle_frame),
            sides_known: middle_frame.sides_known,
            shown,
            slices: Some(Slices { shown: index, read: chosen.len() }),
            notes: volume.notes().to_vec(),
            bundle: model.identity.clone(),
        };
        Ok((screening, timings))
    }
}

/// The involvement, with sides where the file tells them.
fn involvement(area: LungArea, frame: &Frame) -> Option<Involvement> {
    area.involvement().map(|involvement| if frame.sides_known { involvement } else { involvement.without_sides() })
}

/// `verdict`, unless the file leaves open what a verdict rests on: then a person has to look.
fn unless_referred(verdict: Verdict, frame: &Frame) -> Verdict {
    match (verdict, frame.refer) {
        (Verdict::Positive | Verdict::Negative | Verdict::Refer(_), Some(reason)) => Verdict::Refer(reason),
        _ => verdict,
    }
}

/// Where the file does not say how its picture hangs, the picture itself has to look upright; and be no negative, whatever the file
/// says. Hounsfield units are never negatives.
fn turned_or_negative(equalised: &Equalised, frame: &Frame, modality: Modality) -> Option<RejectReason> {
    if matches!(frame.pixels, Pixels::Hounsfield(_)) {
        return None;
    }
    match equalised.looks(modality) {
        Looks::Negative => Some(RejectReason::Negative),
        Looks::Turned if !frame.sides_known => Some(RejectReason::Turned),
        Looks::Turned | Looks::Upright => None,
    }
}

/// `count` evenly spaced numbers of `0..total`, all of them when `count` is 0 or too large.
fn evenly(total: usize, count: usize) -> Vec<usize> {
    if count == 0 || count >= total {
        return (0..total).collect();
    }
    (0..count).map(|i| (2 * i + 1) * total / (2 * count)).collect()
}

/// Reads one picture, and says how long it took.
///
/// # Errors
/// [`ScreenError`].
pub fn read(model: &Model, frame: &Frame) -> Result<(Reading, Timings), ScreenError> {
    read_on(model, frame, None)
}

/// Reads one picture, which may have been classified already.
fn read_on(
    model: &Model,
    frame: &Frame,
    classified: Option<Classified<'_>>,
) -> Result<(Reading, Timings), ScreenError> {
    let (prepared, found) = match classified {
        Some(Classified { prepared, found }) => (prepared, Some(found)),
        None => (Prepared::new(model, frame)?, None),
    };
    prepared.read(found)
}

/// A picture that a bundle's recipe has been carried out on, up to the crop.
struct Prepared<'a> {
    model: &'a Model,
    frame: &'a Frame,
    equalised: Equalised,
    timings: Timings,
}

/// What the classifier found in a picture, and where it looked.
struct Found {
    /// The masks, where the classifier needs them.
    masks: Option<Masks>,
    crop: Crop,
    classification: Classification,
}

/// A picture that a bundle's classifier has seen.
struct Classified<'a> {
    prepared: Prepared<'a>,
    found: Found,
}

impl<'a> Prepared<'a> {
    fn new(model: &'a Model, frame: &'a Frame) -> Result<Self, ScreenError> {
        let mut timings = Timings::default();
        let spec = &model.manifest.classifier.graph.preprocess;
        let equalised = timed(&mut timings.preprocess, || equalise(model, frame, spec))?;
        Ok(Self { model, frame, equalised, timings })
    }

    fn classify(mut self) -> Result<Classified<'a>, ScreenError> {
        let found = self.find()?;
        Ok(Classified { prepared: self, found })
    }

    fn find(&mut self) -> Result<Found, ScreenError> {
        let Self { model, frame, equalised, timings } = self;
        let (masks, crop, mut classification) = if model.is_one_net() {
            let (crop, tensor) = see(model, equalised, None);
            let (classification, maps) = timed(&mut timings.classify, || model.classify_and_segment(&tensor))?;
            (timed(&mut timings.segment, || place(model, equalised, crop.rect, &maps)), crop, classification)
        } else {
            let masks = timed(&mut timings.segment, || find_lungs(model, frame, equalised))?;
            let (crop, classification) = timed(&mut timings.classify, || {
                let (crop, tensor) = see(model, equalised, masks.as_ref());
                model.classify(&tensor).map(|classification| (crop, classification))
            })?;
            (masks, crop, classification)
        };
        if let Some(lesions) = &model.manifest.extension.lesions {
            let involvement = masks.as_ref().and_then(|masks| masks.area.involvement());
            lesions.add_to(&mut classification.logits, involvement.map(|involvement| involvement.percent));
        }
        Ok(Found { masks, crop, classification })
    }

    /// Checks and reads the picture. What was `found` before is not looked for again, and counts for nothing where the picture is
    /// not good enough.
    fn read(mut self, found: Option<Found>) -> Result<(Reading, Timings), ScreenError> {
        let Manifest { modality, quality: limits, calibration, decision, extension, .. } = &self.model.manifest;
        let (quality, refused) = timed(&mut self.timings.preprocess, || {
            let (quality, refused) = self.equalised.assess(self.frame.colour_share, limits);
            (quality, refused.or_else(|| turned_or_negative(&self.equalised, self.frame, *modality)))
        });
        if let Some(reason) = refused {
            return Ok(self.rejected(reason, None, quality));
        }
        let Found { mut masks, crop, classification } = match found {
            Some(found) => found,
            None => self.find()?,
        };
        if let Some(reason) = refusal(&extension.refusals, &classification.refusals) {
            return Ok(self.rejected(reason, None, quality));
        }
        let ensemble =
            timed(&mut self.timings.decide, || Ensemble::from_logits(&classification.logits, calibration.temperature))
                .map_err(|reason| DeviceError::Answer { bundle: self.model.title(), reason })?;
        let ensemble = ensemble.mapped(extension.probability_map.as_ref());
        let evidence = Evidence {
            probability: ensemble.probability,
            entropy_bits: ensemble.entropy_bits,
            novelty: classification.novelty,
        };
        let said = Some((evidence, ensemble.mutual_information_bits));
        let verdict = unless_referred(decision.decide(&evidence), self.frame);
        if let Verdict::Rejected(reason) = verdict {
            return Ok(self.rejected(reason, said, quality));
        }

        let Self { model, frame, equalised, mut timings } = self;
        if masks.is_none() {
            masks = timed(&mut timings.segment, || segment(model, frame, &equalised))?;
        }
        let size = (equalised.windowed.width(), equalised.windowed.height());
        let heat = timed(&mut timings.decide, || {
            preprocess::map_to_source(&heat(&classification.activation), crop.rect, size)
        });
        let picture = equalised.windowed;
        let (evidence, mutual_information_bits) = said.unzip();
        Ok((Reading { verdict, evidence, mutual_information_bits, quality, picture, heat: Some(heat), masks }, timings))
    }

    /// The reading of a picture that is not good enough, or like none that the models know.
    fn rejected(self, reason: RejectReason, said: Option<(Evidence, f32)>, quality: Quality) -> (Reading, Timings) {
        let (evidence, mutual_information_bits) = said.unzip();
        let verdict = Verdict::Rejected(reason);
        let picture = self.equalised.windowed;
        (
            Reading { verdict, evidence, mutual_information_bits, quality, picture, heat: None, masks: None },
            self.timings,
        )
    }
}

/// [`Equalised::new`], with the blame where it belongs.
fn equalise(model: &Model, frame: &Frame, spec: &PreprocessSpec) -> Result<Equalised, ScreenError> {
    Equalised::new(&frame.pixels, spec).map_err(|reason| match reason {
        PreprocessError::Empty => PictureError::NoPixels.into(),
        reason => DeviceError::Recipe { bundle: model.title(), reason }.into(),
    })
}

/// The masks of a picture alone, without classifier or quality check, and the windowed picture they lie on; for judging
/// the segmenter on pictures that are known to be good.
///
/// # Errors
/// [`ScreenError`].
pub fn segment_only(model: &Model, frame: &Frame) -> Result<(Option<Masks>, Plane<u8>), ScreenError> {
    let equalised = equalise(model, frame, &model.manifest.classifier.graph.preprocess)?;
    Ok((segment(model, frame, &equalised)?, equalised.windowed))
}

/// What the classifier sees of a picture, as numbers `[C, S, S]`; for comparing what runs it.
///
/// # Errors
/// [`ScreenError`].
pub fn classifier_input(model: &Model, frame: &Frame) -> Result<Vec<f32>, ScreenError> {
    let equalised = equalise(model, frame, &model.manifest.classifier.graph.preprocess)?;
    let masks = find_lungs(model, frame, &equalised)?;
    Ok(see(model, &equalised, masks.as_ref()).1)
}

/// What the picture is rejected as: of the kinds that reach their limits the most probable one.
fn refusal(kinds: &[Refusal], logits: &[f32]) -> Option<RejectReason> {
    let probable = kinds.iter().zip(logits).filter(|(kind, logit)| sigmoid(**logit, 1.0) >= kind.at);
    probable.max_by(|(_, a), (_, b)| a.total_cmp(b)).map(|(kind, _)| kind.reason)
}

/// Whether the classifier sees the lungs, or what is infected in them, which are then to be found first.
fn needs_lungs(model: &Model) -> bool {
    let Manifest { classifier, extension, .. } = &model.manifest;
    classifier.graph.preprocess.core.follows_lungs() || extension.lesions.is_some()
}

/// The masks, if the classifier needs them; where it does not, a picture that it rejects is not segmented.
fn find_lungs(model: &Model, frame: &Frame, equalised: &Equalised) -> Result<Option<Masks>, ScreenError> {
    match needs_lungs(model) {
        true => segment(model, frame, equalised),
        false => Ok(None),
    }
}

/// The classifier's part of the picture, which may be the lungs that `masks` tell, and its numbers `[C, S, S]`.
fn see(model: &Model, equalised: &Equalised, masks: Option<&Masks>) -> (Crop, Vec<f32>) {
    let Manifest { classifier, segmenter, .. } = &model.manifest;
    let spec = &classifier.graph.preprocess;
    let lungs = masks.map(Masks::lungs);
    let found = lungs.as_ref().zip(segmenter.as_ref());
    let found = found.map(|(mask, segmenter)| FoundLungs { mask, seen: segmenter.graph.preprocess.core });
    let crop = equalised.crop(spec.core, found);
    let tensor = equalised.input(&crop, spec).1;
    (crop, tensor)
}

/// Runs the segmenter, on `equalised` where its recipe allows it.
fn segment(model: &Model, frame: &Frame, equalised: &Equalised) -> Result<Option<Masks>, ScreenError> {
    let Some(segmenter) = &model.manifest.segmenter else { return Ok(None) };
    let spec = &segmenter.graph.preprocess;
    let own = if spec.same_picture(&model.manifest.classifier.graph.preprocess) {
        None
    } else {
        Some(equalise(model, frame, spec)?)
    };
    let equalised = own.as_ref().unwrap_or(equalised);
    let crop = equalised.crop(spec.core, None);
    let (_, tensor) = equalised.input(&crop, spec);
    Ok(model.segment(&tensor)?.and_then(|maps| place(model, equalised, crop.rect, &maps)))
}

/// The masks of a picture, of what the segmenter says of its part `seen`; `None` where it does not speak of lungs and infection.
fn place(model: &Model, equalised: &Equalised, seen: Rect, maps: &[Plane<f32>]) -> Option<Masks> {
    let segmenter = model.manifest.segmenter.as_ref()?;
    let mask = |name: &str| {
        let channel = segmenter.channels.iter().position(|channel| channel == name)?;
        maps.get(channel)
    };
    let infection = mask("infection")?;
    let lungs = match (mask("left_lung").zip(mask("right_lung")), mask("lung")) {
        (Some((left, right)), _) => vec![left, right],
        (None, both) => vec![both?],
    };
    let size = (equalised.windowed.width(), equalised.windowed.height());
    Some(place_masks(infection, &lungs, segmenter.mask_threshold, seen, size))
}

/// The part of an activation map that speaks for the positive class, 0 to 1 of its largest value.
fn heat(activation: &Plane<f32>) -> Plane<f32> {
    let largest = activation.data().iter().copied().fold(0f32, f32::max);
    activation.map(|value| if largest > 0.0 { (value / largest).max(0.0) } else { 0.0 })
}

/// Masks on the source picture, of probabilities at the network's size; `lungs` is the left and the right lung, or one map of
/// both. See [`Masks`].
fn place_masks(
    infection: &Plane<f32>,
    lungs: &[&Plane<f32>],
    threshold: f32,
    core: Rect,
    size: (usize, usize),
) -> Masks {
    let mut masks = [(); 3].map(|()| Plane::filled(size.0, size.1, 0u8));
    let [infection_mask, left_lung, right_lung] = &mut masks;
    let rows_of = |map| SourceRows::new(map, core, size);
    let mut rows = rows_of(infection);
    let mut lung_rows: Vec<SourceRows<'_>> = lungs.iter().map(|map| rows_of(map)).collect();
    let width = size.0.max(1);
    let planes = [infection_mask, left_lung, right_lung].map(|plane| plane.data_mut().chunks_exact_mut(width));
    let [infection_out, left_out, right_out] = planes;
    for (y, ((infected, left), right)) in infection_out.zip(left_out).zip(right_out).enumerate() {
        for (out, p) in infected.iter_mut().zip(rows.row(y)) {
            *out = if *p >= threshold { 255 } else { 0 };
        }
        match &mut lung_rows[..] {
            // What is lung goes to the lung whose probability is higher; where both are the same (none at all), to the lung of the
            // picture's half that it lies in.
            [of_left, of_right] => {
                let probabilities = of_left.row(y).iter().zip(of_right.row(y));
                let pixels = left.iter_mut().zip(right.iter_mut()).zip(infected.iter()).zip(probabilities);
                for (x, (((left, right), infected), (p_left, p_right))) in pixels.enumerate() {
                    let is_lung = *infected != 0 || *p_left >= threshold || *p_right >= threshold;
                    let is_left = p_left > p_right || (p_left == p_right && 2 * x >= size.0);
                    *left = if is_lung && is_left { 255 } else { 0 };
                    *right = if is_lung && !is_left { 255 } else { 0 };
                }
            }
            // One map of both: all of it is kept in one place, and cut in two below.
            others => {
                left.copy_from_slice(infected);
                for rows in others {
                    for (out, p) in left.iter_mut().zip(rows.row(y)) {
                        *out = if *p >= threshold { 255 } else { *out };
                    }
                }
            }
        }
    }
    let [infection, mut left_lung, mut right_lung] = masks;
    if lungs.len() != 2 {
        [left_lung, right_lung] = lungs::split(&left_lung);
    }
    let count = |wanted: &Plane<u8>, within: &Plane<u8>| {
        wanted.data().iter().zip(within.data()).filter(|(a, b)| **a & **b != 0).count() as u64
    };
    let area = LungArea {
        left: count(&left_lung, &left_lung),
        right: count(&right_lung, &right_lung),
        infected_left: count(&infection, &left_lung),
        infected_right: count(&infection, &right_lung),
        seen: core.area() as u64,
    };
    Masks { infection, left_lung, right_lung, area }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn chosen_slices_are_spread_and_inside() {
        assert_eq!(evenly(10, 0), (0..10).collect::<Vec<_>>());
        assert_eq!(evenly(3, 16), [0, 1, 2]);
        assert_eq!(evenly(100, 4), [12, 37, 62, 87]);
        assert_eq!(evenly(0, 4), [] as [usize; 0]);
    }

    #[test]
    fn heat_keeps_only_what_speaks_for_positive() {
        let map = Plane::new(2, 2, vec![-1.0, 0.5, 2.0, 0.0]).unwrap_or_else(|_| Plane::filled(2, 2, 0.0));
        assert_eq!(heat(&map).data(), [0.0, 0.25, 1.0, 0.0]);
        assert_eq!(heat(&Plane::filled(2, 2, -1.0)).data(), [0.0; 4]);
    }

    /// 100 x 100 probabilities, the same in every row.
    fn map(f: impl Fn(usize) -> f32) -> Plane<f32> {
        Plane::from_fn(100, 100, |x, _| f(x))
    }

    fn placed(infection: &Plane<f32>, lungs: &[&Plane<f32>]) -> Masks {
        place_masks(infection, lungs, 0.5, Rect::full(100, 100), (100, 100))
    }

    /// The columns of a mask that are marked: the first of each run, and the one behind its last.
    fn columns(mask: &Plane<u8>) -> Vec<(usize, usize)> {
        let mut runs: Vec<(usize, usize)> = vec![];
        for x in (0..100).filter(|&x| mask.get(x, 50) != 0) {
            match runs.last_mut() {
                Some((_, end)) if *end == x => *end = x + 1,
                _ => runs.push((x, x + 1)),
            }
        }
        runs
    }

    fn marked(columns: &[(usize, usize)]) -> impl Fn(usize) -> f32 {
        move |x| if columns.iter().any(|(first, end)| (*first..*end).contains(&x)) { 0.9 } else { 0.1 }
    }

    #[test]
    fn one_map_of_both_lungs_is_cut_and_what_is_infected_is_lung() {
        let masks = placed(&map(marked(&[(0, 10), (70, 75)])), &[&map(marked(&[(5, 40), (60, 100)]))]);
        assert_eq!(columns(&masks.right_lung), [(0, 40)], "the patient's right is on the left of the picture");
        assert_eq!(columns(&masks.left_lung), [(60, 100)]);
        let told = masks.area.involvement().map(|i| (i.percent, i.left_percent, i.right_percent));
        assert_eq!(told, Some((18.75, Some(12.5), Some(25.0))));
        assert_eq!(columns(&masks.lungs()), [(0, 40), (60, 100)]);
    }

    #[test]
    fn with_a_map_for_each_lung_every_pixel_goes_to_the_more_probable_one() {
        // Both claim 45..55, the left lung more surely from 48 on; infection at 0..4 and 96..100 is outside of both, at 0..4 nearer
        // to a right lung by probability, at 96..100 by nothing but its place.
        let right = map(|x| match x {
            0..4 => 0.2,
            10..48 => 0.9,
            48..55 => 0.6,
            _ => 0.0,
        });
        let left = map(|x| match x {
            0..4 => 0.1,
            45..48 => 0.6,
            48..90 => 0.9,
            _ => 0.0,
        });
        let infection = map(marked(&[(0, 4), (20, 29), (96, 100)]));
        let masks = placed(&infection, &[&left, &right]);
        assert_eq!(columns(&masks.right_lung), [(0, 4), (10, 48)]);
        assert_eq!(columns(&masks.left_lung), [(48, 90), (96, 100)]);
        let expected = LungArea { left: 4600, right: 4200, infected_left: 400, infected_right: 1300, seen: 10_000 };
        assert_eq!(masks.area, expected);
    }

    #[test]
    fn a_mirrored_picture_has_its_sides_exchanged() {
        let mirrored = |plane: &Plane<f32>| Plane::from_fn(100, 100, |x, y| plane.get(99 - x, y));
        let back = |mask: &Plane<u8>| Plane::from_fn(100, 100, |x, y| mask.get(99 - x, y));
        let (infection, right, left) =
            (map(marked(&[(0, 3), (30, 50)])), map(marked(&[(10, 45)])), map(marked(&[(55, 90)])));
        let both = map(marked(&[(10, 45), (55, 90)]));
        for (maps, mirrored_maps) in
            [(vec![&left, &right], vec![mirrored(&right), mirrored(&left)]), (vec![&both], vec![mirrored(&both)])]
        {
            let plain = placed(&infection, &maps);
            let other = placed(&mirrored(&infection), &mirrored_maps.iter().collect::<Vec<_>>());
            assert_eq!((&plain.left_lung, &plain.right_lung), (&back(&other.right_lung), &back(&other.left_lung)));
            assert_ne!(plain.area.infected_left, plain.area.infected_right, "an asymmetric picture");
        }
    }

    #[test]
    fn little_lung_gives_no_share() {
        let none = map(|_| 0.0);
        assert_eq!(placed(&none, &[&none]).area.involvement(), None);
        let right = map(marked(&[(10, 40)]));
        let told = placed(&map(marked(&[(10, 13)])), &[&none, &right]).area.involvement();
        assert_eq!(told, Some(Involvement { percent: 10.0, left_percent: None, right_percent: Some(10.0) }));
    }
}
