//! The crop to the lungs, as the device makes it: the segmenter looks at the film or the body, and what it marks is what a
//! classifier sees.

use std::path::PathBuf;

use anyhow::{Context, ensure};
use thorax_shared::{
    lungs,
    mask::{INFECTION, LEFT_LUNG, RIGHT_LUNG, union},
    modality::Modality,
    plane::Plane,
    preprocess::{
        Crop, Equalised, FoundLungs,
        spec::{Core, PreprocessSpec},
    },
};

use super::{Origin, Segmenter};
use crate::data::{Manifest, picture::Picture};

/// Margin around the lungs, as a share of their box's longer side.
const MARGIN: f32 = 0.05;

/// Up to which distance from the lungs something is still seen where they are seen alone, as a share of the longer side of what is cut out.
/// Half is seen at 3.5 %, about where the soft mask had it that was measured first (docs/figures.md); not tuned.
const FADE: f32 = 0.07;

/// What finds the lungs that pictures are cropped to.
#[derive(Clone, Debug, Default, clap::Args)]
pub struct LungsArgs {
    /// Crop to the lungs that this finished run of `thorax-train train segment` finds, or the mean of several, or the segmenter of a
    /// bundle: a bundle of all then does so too [default: crop to the film or the body]
    #[arg(long, value_name = "RUN")]
    lungs: Vec<PathBuf>,
}

impl LungsArgs {
    /// The runs, if any were given.
    ///
    /// # Errors
    /// A folder without a finished run; a run on pictures of another modality; runs that do not agree.
    pub fn open(&self, modality: Modality) -> anyhow::Result<Option<LungFinder>> {
        LungFinder::open_given(&self.lungs, modality)
    }
}

/// What finds the lungs that pictures are cropped to, and whether anything else is seen.
#[derive(Clone, Debug, Default, clap::Args)]
pub struct LungCropArgs {
    #[command(flatten)]
    lungs: LungsArgs,
    /// Fade everything but the lungs into their mean grey
    #[arg(long, requires = "lungs")]
    lungs_alone: bool,
}

impl LungCropArgs {
    /// The crop, if one was asked for.
    ///
    /// # Errors
    /// Those of [`LungsArgs::open`].
    pub fn open(&self, modality: Modality) -> anyhow::Result<Option<LungCrop>> {
        let core = match self.lungs_alone {
            true => Core::LungsAlone { margin: MARGIN, fade: FADE },
            false => Core::Lungs { margin: MARGIN },
        };
        Ok(self.lungs.open(modality)?.map(|finder| LungCrop { finder, core }))
    }
}

/// The crop to the lungs that something finds.
pub struct LungCrop {
    /// What finds them.
    pub finder: LungFinder,
    /// What is seen of them and of what lies around.
    pub core: Core,
}

/// What finds the lesions whose share of the lungs is evidence.
#[derive(Clone, Debug, Default, clap::Args)]
pub struct LesionsArgs {
    /// Take the infected share of the lungs that this finished run of `thorax-train train segment` finds, or the mean of several, or
    /// the segmenter of a bundle, as evidence beside the features: a bundle of all then does so too
    #[arg(long, value_name = "RUN")]
    lesions: Vec<PathBuf>,
}

impl LesionsArgs {
    /// The runs, if any were given.
    ///
    /// # Errors
    /// Those of [`LungsArgs::open`].
    pub fn open(&self, modality: Modality) -> anyhow::Result<Option<LungFinder>> {
        LungFinder::open_given(&self.lesions, modality)
    }
}

/// What segmenter is the trunk of a classifier.
#[derive(Clone, Debug, Default, clap::Args)]
pub struct TrunkArgs {
    /// In place of a backbone: learn from what this finished run of `thorax-train train segment`, or the segmenter of a bundle, sees in the
    /// lungs and in what it takes for infected; the device then runs one net for masks and verdict
    #[arg(long, value_name = "RUN", conflicts_with_all = ["weights", "side", "lungs", "lungs_alone"])]
    segmenter: Option<PathBuf>,
}

impl TrunkArgs {
    /// The segmenter, if one was given.
    ///
    /// # Errors
    /// Those of [`LungsArgs::open`].
    pub fn open(&self, modality: Modality) -> anyhow::Result<Option<LungFinder>> {
        self.segmenter.as_ref().map(|path| LungFinder::open(std::slice::from_ref(path), modality)).transpose()
    }
}

/// A segmenter as a bundle has it, its weights rounded, that finds both lungs.
pub struct LungFinder {
    segmenter: Segmenter,
    sha256: String,
    origin: Origin,
}

impl LungFinder {
    /// The mean of finished runs on pictures of `modality`, or the segmenter of a bundle that reads them.
    ///
    /// # Errors
    /// Those of [`Origin::open`]; pictures of another modality.
    pub fn open(paths: &[PathBuf], modality: Modality) -> anyhow::Result<Self> {
        let origin = Origin::open(paths)?;
        ensure!(
            origin.modality() == modality,
            "{}: finds the lungs of {} pictures; give a run of {modality}",
            origin.name(),
            origin.modality()
        );
        Ok(Self { segmenter: origin.shipped_segmenter()?, sha256: origin.sha256()?, origin })
    }

    /// [`Self::open`], where any path is given.
    ///
    /// # Errors
    /// Those of [`Self::open`].
    pub fn open_given(paths: &[PathBuf], modality: Modality) -> anyhow::Result<Option<Self>> {
        (!paths.is_empty()).then(|| Self::open(paths, modality)).transpose()
    }

    /// Where it comes from.
    pub fn origin(&self) -> &Origin {
        &self.origin
    }

    /// [`Origin::sha256`] of the segmenter.
    pub fn sha256(&self) -> &str {
        &self.sha256
    }

    /// [`Origin::learnt_from_other`] of the segmenter.
    ///
    /// # Errors
    /// A mask that cannot be read.
    pub fn learnt_from_other(&self, manifest: &Manifest) -> anyhow::Result<bool> {
        self.origin.learnt_from_other(manifest)
    }

    /// Sees that the segmenter, which `option` names, learnt from no other data than `manifest`.
    ///
    /// # Errors
    /// That it did; a mask that cannot be read.
    pub fn learnt_from(&self, option: &str, manifest: &Manifest) -> anyhow::Result<()> {
        ensure!(
            !self.learnt_from_other(manifest)?,
            "{option}: the run learnt from other masks or splits than this manifest's, and may have seen patients of its test split; give a \
             run that was trained with this manifest"
        );
        Ok(())
    }

    /// Infected share of the lungs in percent; `None` where hardly any lung is found.
    ///
    /// # Errors
    /// A segmenter that fails.
    pub fn involvement_percent(&self, picture: &Picture) -> anyhow::Result<Option<f32>> {
        let drawn = self.segmenter.draw(picture)?;
        let lungs =
            union([LEFT_LUNG, RIGHT_LUNG].map(|lung| drawn.masks.get(lung))).context("the segmenter draws no lungs")?;
        Ok(lungs::involvement_percent(&drawn.masks[INFECTION], &lungs, drawn.seen).map(|percent| percent as f32))
    }

    /// Whose pictures it reads.
    pub fn modality(&self) -> Modality {
        self.origin.modality()
    }

    /// Both lungs with what is infected in them, at the picture's size, 0 or 255.
    pub(super) fn find(&self, picture: &Picture) -> anyhow::Result<Plane<u8>> {
        let drawn = self.segmenter.draw(picture)?;
        union(drawn.masks.iter().map(Some)).context("the segmenter draws no masks")
    }
}

/// The part of a picture that a classifier with the recipe `spec` sees.
///
/// # Errors
/// A recipe that crops to the lungs without anything that finds them; a segmenter that fails.
pub fn crop(
    picture: &Picture,
    equalised: &Equalised,
    spec: &PreprocessSpec,
    finder: Option<&LungFinder>,
) -> anyhow::Result<Crop> {
    if !spec.core.follows_lungs() {
        return Ok(equalised.crop(spec.core, None));
    }
    let finder = finder.context("these features are of the lungs that a segmenter found; give its run with --lungs")?;
    let mask = finder.find(picture)?;
    let seen = finder.segmenter.preprocess().core;
    Ok(equalised.crop(spec.core, Some(FoundLungs { mask: &mask, seen })))
}
