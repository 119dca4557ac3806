//! What makes features of pictures: a backbone with published or trained weights, or a segmenter as a [`trunk`].

use std::fmt;

use anyhow::{Context, ensure};
use candle_core::Device;
use serde::{Deserialize, Serialize};
use thorax_nets::{
    Backbone, Layout, Pretrained,
    backbones::UnknownBackbone,
    source::{Source, WeightsArgs},
};
use thorax_nn::graph::Graph;
use thorax_shared::{
    modality::Modality,
    preprocess::spec::{Normalise, PreprocessSpec},
};

use crate::{
    data::{Manifest, recipe},
    segmentation::{LungFinder, Origin, lungs::LungCrop, trunk::trunk},
};

/// Which net made features.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(into = "String", try_from = "String")]
pub enum Extractor {
    /// A backbone, by its name.
    Backbone(Backbone),
    /// The segmenter whose SHA-256 stands for the weights.
    Segmenter,
}

/// How [`Extractor::Segmenter`] is written.
const SEGMENTER: &str = "segmenter";

impl Extractor {
    /// The backbone, if it is one.
    pub fn backbone(self) -> Option<Backbone> {
        match self {
            Self::Backbone(backbone) => Some(backbone),
            Self::Segmenter => None,
        }
    }
}

impl fmt::Display for Extractor {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Backbone(backbone) => backbone.fmt(f),
            Self::Segmenter => f.write_str(SEGMENTER),
        }
    }
}

impl From<Backbone> for Extractor {
    fn from(backbone: Backbone) -> Self {
        Self::Backbone(backbone)
    }
}

impl From<Extractor> for String {
    fn from(extractor: Extractor) -> Self {
        extractor.to_string()
    }
}

impl TryFrom<String> for Extractor {
    type Error = UnknownBackbone;

    fn try_from(name: String) -> Result<Self, UnknownBackbone> {
        match &*name {
            SEGMENTER => Ok(Self::Segmenter),
            name => name.parse().map(Self::Backbone),
        }
    }
}

/// A net that makes features, ready to run.
pub struct FeatureNet {
    /// Which.
    pub extractor: Extractor,
    /// Where its weights are from, in words.
    pub origin: String,
    /// SHA-256 of its weights.
    pub sha256: String,
    /// Whose names the weights had, of a backbone.
    pub layout: Option<Layout>,
    /// Its first output is `features`, `[N, C, H, W]`.
    pub graph: Graph,
    /// How a picture becomes its input.
    pub preprocess: PreprocessSpec,
}

impl FeatureNet {
    /// A backbone of `side` x `side` pixels, whose pictures are cropped to what `lungs` finds, or to the film or the body.
    ///
    /// # Errors
    /// Lungs of a segmenter that learnt from other data than `manifest`; weights that are not those of `backbone`, a side too small for it.
    pub fn of_backbone(
        manifest: &Manifest,
        modality: Modality,
        (backbone, side): (Backbone, usize),
        source: Source,
        lungs: Option<&LungCrop>,
        device: &Device,
    ) -> anyhow::Result<Self> {
        let Pretrained { layout, graph, mean, std, .. } = source.open(backbone, side, device)?;
        Ok(Self {
            extractor: Extractor::Backbone(backbone),
            origin: source.origin,
            sha256: source.sha256,
            layout: Some(layout),
            preprocess: preprocess(manifest, modality, side, (mean, std), lungs)?,
            graph,
        })
    }

    /// The segmenter as a trunk.
    ///
    /// # Errors
    /// One that learnt from other data than `manifest`; a net that is no trunk.
    pub fn of_segmenter(manifest: &Manifest, finder: &LungFinder) -> anyhow::Result<Self> {
        finder.learnt_from("--segmenter", manifest)?;
        let origin = finder.origin();
        Ok(Self {
            extractor: Extractor::Segmenter,
            origin: origin.name(),
            sha256: finder.sha256().to_owned(),
            layout: None,
            graph: trunk(origin.shipped_graph()?)?,
            preprocess: origin.preprocess().clone(),
        })
    }

    /// `[C, H, W]` of a picture's features.
    ///
    /// # Errors
    /// A graph whose shapes do not fit.
    pub fn feature_shape(&self) -> anyhow::Result<[usize; 3]> {
        let (_, features) = self.graph.outputs.first().context("the net has no output")?;
        Ok(self.graph.shapes()?[*features])
    }
}

/// What made features once, to make them again: one of both.
pub struct Remade<'a> {
    /// Of a backbone.
    pub weights: Option<&'a WeightsArgs>,
    /// Of features of a segmenter.
    pub segmenter: Option<&'a Origin>,
}

/// A net that makes features, and where its weights are from.
pub struct Maker {
    /// Its first output is `features`.
    pub graph: Graph,
    /// In words.
    pub origin: String,
    /// The file, of a backbone.
    pub source: Option<Source>,
}

impl Remade<'_> {
    /// The net that made features of `extractor` with the hash `sha256`, of pictures prepared by `preprocess`.
    ///
    /// # Errors
    /// Neither weights nor segmenter, or others.
    pub fn maker(
        &self,
        extractor: Extractor,
        sha256: &str,
        preprocess: &PreprocessSpec,
        device: &Device,
    ) -> anyhow::Result<Maker> {
        let same = |option: &str, origin: &str, found: &str| {
            ensure!(
                found == sha256,
                "{option}: {origin} is not what made these features (SHA-256 {found}, expected {sha256}); give that"
            );
            Ok(())
        };
        match extractor {
            Extractor::Backbone(backbone) => {
                let weights =
                    self.weights.context("give --weights SOURCE, those of the backbone that made the features")?;
                let source = weights.resolve(backbone)?;
                same("--weights", &source.origin, &source.sha256)?;
                let graph = source.open(backbone, preprocess.input_side as usize, device)?.graph;
                Ok(Maker { graph, origin: source.origin.clone(), source: Some(source) })
            }
            Extractor::Segmenter => {
                let origin = self.segmenter.context("give --segmenter RUN, the one that made the features")?;
                ensure!(self.weights.is_none(), "--weights: a segmenter made these features; leave it out");
                same("--segmenter", &origin.name(), &origin.sha256()?)?;
                ensure!(
                    origin.preprocess() == preprocess,
                    "--segmenter: {} is shown pictures in another way than when these features were made; extract them anew, and train the \
                     classifier again",
                    origin.name()
                );
                Ok(Maker { graph: trunk(origin.shipped_graph()?)?, origin: origin.name(), source: None })
            }
        }
    }
}

/// How pictures of `manifest` are prepared for a backbone that takes `side` x `side` pixels, `mean` subtracted and divided by `std`: cropped
/// to what `lungs` finds, or to the film or the body.
///
/// # Errors
/// Lungs of a segmenter that learnt from other data.
pub fn preprocess(
    manifest: &Manifest,
    modality: Modality,
    side: usize,
    (mean, std): ([f32; 3], [f32; 3]),
    lungs: Option<&LungCrop>,
) -> anyhow::Result<PreprocessSpec> {
    let normalise = Normalise { mean: mean.to_vec(), std: std.to_vec() };
    let mut spec = recipe::preprocess_spec(modality, side as u32, normalise);
    if let Some(LungCrop { finder, core }) = lungs {
        finder.learnt_from("--lungs", manifest)?;
        spec.core = *core;
    }
    Ok(spec)
}
