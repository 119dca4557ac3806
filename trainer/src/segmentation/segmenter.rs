//! A trained net on whole pictures: prepared as the device prepares them, masks brought back to the picture's size.

use anyhow::{Context, ensure};
use candle_core::{Device, Tensor};
use thorax_nn::graph::Graph;
use thorax_shared::{
    modality::Modality,
    plane::Plane,
    preprocess::{self, Prepared, PreprocessSpec},
};

use crate::data::picture::Picture;

/// The output of a graph that has the masks' probabilities.
pub const OUTPUT: &str = "masks";

/// A pixel of at least this probability belongs to the mask, as on the device. (The graph of a run has its chosen threshold there.)
const THRESHOLD: f32 = 0.5;

/// Whatever draws masks on pictures of any size.
pub trait DrawMasks: Sync {
    /// What it was trained on.
    fn modality(&self) -> Modality;

    /// The masks it draws, such as `infection`.
    fn names(&self) -> &[String];

    /// Draws the masks of a picture.
    ///
    /// # Errors
    /// A picture without pixels or of another modality; a net that fails or gives what is no number.
    fn draw(&self, picture: &Picture) -> anyhow::Result<Drawn>;
}

/// A net that draws masks on pictures of any size.
pub struct Segmenter {
    graph: Graph,
    /// Which of the graph's outputs has the masks.
    output: usize,
    preprocess: PreprocessSpec,
    modality: Modality,
    names: Vec<String>,
}

/// A picture and the masks on it, all of one size.
#[derive(Clone, Debug, PartialEq)]
pub struct Drawn {
    /// The picture as a reader expects it, windowed.
    pub picture: Plane<u8>,
    /// 0 or 255, in the order of [`Segmenter::names`]: each as the net drew it. (The device counts what is infected as lung.)
    pub masks: Vec<Plane<u8>>,
    /// Pixels of the part of the picture that the net saw.
    pub seen: u64,
}

impl Segmenter {
    /// A graph from pictures `[N, C, S, S]`, prepared as `preprocess` says, to its output `masks` `[N, C, S, S]`: the
    /// probabilities of the masks that `names` names.
    ///
    /// # Errors
    /// A graph without such an output; found on the first picture: one with another number of masks.
    pub fn new(graph: Graph, preprocess: PreprocessSpec, modality: Modality, names: &[&str]) -> anyhow::Result<Self> {
        let output = graph.outputs.iter().position(|(name, _)| name == OUTPUT);
        let output = output.with_context(|| format!("the net has no output {OUTPUT}; train it anew"))?;
        let names = names.iter().map(|&name| name.to_owned()).collect();
        Ok(Self { graph, output, preprocess, modality, names })
    }

    /// What the net was trained on.
    pub fn modality(&self) -> Modality {
        self.modality
    }

    /// How it prepares a picture.
    pub fn preprocess(&self) -> &PreprocessSpec {
        &self.preprocess
    }

    /// The masks it draws, such as `infection`.
    pub fn names(&self) -> &[String] {
        &self.names
    }

    /// Draws the masks of a picture.
    ///
    /// # Errors
    /// A picture without pixels or of another modality; a net that fails or gives what is no probability.
    pub fn draw(&self, picture: &Picture) -> anyhow::Result<Drawn> {
        let (prepared, maps) = self.probabilities(picture)?;
        let mask = |map: &Plane<f32>| map.map(|p| if p >= THRESHOLD { 255 } else { 0 });
        Ok(Drawn {
            masks: maps.iter().map(mask).collect(),
            seen: prepared.core.area() as u64,
            picture: prepared.windowed,
        })
    }

    /// How probable each mask is in each pixel of a picture, in the order of [`Self::names`], and how the picture was prepared.
    ///
    /// # Errors
    /// As [`Self::draw`].
    pub(super) fn probabilities(&self, picture: &Picture) -> anyhow::Result<(Prepared, Vec<Plane<f32>>)> {
        if let Some(modality) = picture.frame.modality {
            ensure!(
                modality == self.modality,
                "the picture is {modality}, and the run draws masks on {} pictures; give a run of {modality}",
                self.modality
            );
        }
        let prepared = picture.prepare(&self.preprocess)?;
        let side = self.preprocess.input_side as usize;
        let channels = self.preprocess.normalise.mean.len();
        let x = Tensor::from_slice(&prepared.tensor, (1, channels, side, side), &Device::Cpu)?;
        let maps = self.graph.run(&x)?.swap_remove(self.output).squeeze(0)?.flatten_from(1)?.to_vec2::<f32>()?;
        ensure!(
            maps.len() == self.names.len(),
            "the net draws {} masks, not {} ({}); train it anew",
            maps.len(),
            self.names.len(),
            self.names.join(", ")
        );
        let size = (prepared.windowed.width(), prepared.windowed.height());
        let placed = |map: Vec<f32>| {
            ensure!(map.iter().all(|p| !p.is_nan()), "the net gives what is no number; train it anew");
            Ok(preprocess::map_to_source(&Plane::new(side, side, map)?, prepared.core, size))
        };
        let maps = maps.into_iter().map(placed).collect::<anyhow::Result<_>>()?;
        Ok((prepared, maps))
    }
}

impl DrawMasks for Segmenter {
    fn modality(&self) -> Modality {
        self.modality
    }

    fn names(&self) -> &[String] {
        &self.names
    }

    fn draw(&self, picture: &Picture) -> anyhow::Result<Drawn> {
        Segmenter::draw(self, picture)
    }
}
