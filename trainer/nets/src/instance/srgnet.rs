//! A reconstruction of SRGNet (Wu et al. 2021, Pattern Recognition 118:108006), from its abstract and keywords alone.
//!
//! Neither its program nor its layers are public to us. What the abstract says, and what is built here:
//!
//! | the abstract says | here |
//! |---|---|
//! | segmentation at several scales, each supervised by masks | a feature pyramid on a ResNet50, a 1x1 convolution on each of its four maps, cross entropy and Dice of each |
//! | "context enhancement" (keyword) | each map plus a 1x1 convolution of its mean over the picture |
//! | "edge loss" (keyword) | pixels beside the edge of a mask count three times in the cross entropy of the largest map |
//! | lesion suggestions are made on the maps that were predicted | the boxes around the connected components of the largest map |
//! | detection results refine the segmentation afterwards | what lies in a box (with a border) is cut from the pyramid by RoIAlign, two layers on its mean say whether it is a lesion, and a component that is none is taken away |
//!
//! Whoever compares with it compares with this reconstruction.

use candle_core::{DType, Device, Result, Tensor};
use thorax_nn::{
    detection::{
        BoundingBox,
        roi_align::{Region, RoiAlignConfig, roi_align},
    },
    elementwise::{binary_cross_entropy, sigmoid},
};

use super::{
    Detector, Found, Instance, Losses,
    matching::Order,
    parts::{self, Beginnings, biased, enlarged, output, pyramid, resnet, torch_resnet},
    targets::{Targets, around, components},
};
use crate::{
    architecture::{Activation, Architecture, Dense, Kind, Layer, Resizing},
    network::{Network, Pass},
};

const CHANNELS: usize = 256;
const SUGGESTION_SIDE: usize = 7;
const HIDDEN: usize = CHANNELS;
/// Suggestions of a picture, the largest first, and the smallest of them in pixels of the map.
const MOST: usize = 64;
const SMALLEST: usize = 4;
/// What a box grows by on each side, as a share of it.
const BORDER: f32 = 0.25;
/// A suggestion of at least this overlap with a lesion's box is one.
const OVERLAP: f32 = 0.3;
/// The probability from which on a pixel, and a suggestion, is a lesion.
const HALF: f32 = 0.5;
/// How often a pixel beside an edge counts.
const EDGE: f32 = 3.0;

/// The pyramid keeps the variance, the last layers begin small.
const BEGINNINGS: Beginnings = Beginnings(&[
    ("judge.score", 0.01),
    ("segmentation.", 0.01),
    ("pyramid.lateral.0", 0.0625),
    ("pyramid.lateral.1", 0.0442),
    ("pyramid.lateral.2", 0.0313),
    ("pyramid.lateral.3", 0.0221),
    ("pyramid.output", 0.0208),
]);

/// The shape of the net.
#[derive(Clone, Copy, Debug, PartialEq, serde::Serialize, serde::Deserialize)]
#[serde(deny_unknown_fields)]
pub struct SrgNetConfig {
    /// Stem and first stage of the backbone, and all its batch norms, stay what they are.
    pub frozen: bool,
}

impl Default for SrgNetConfig {
    fn default() -> Self {
        Self { frozen: true }
    }
}

impl SrgNetConfig {
    pub(super) fn architectures(self) -> Vec<Architecture> {
        vec![self.body(), judge()]
    }

    fn body(self) -> Architecture {
        let mut net = parts::begin(3);
        let maps = resnet(&mut net, "backbone.", torch_resnet(), self.frozen);
        let name = |which: &str, level: usize| format!("pyramid.{which}.{level}");
        let maps = pyramid(&mut net, &maps, CHANNELS, Resizing::Bilinear, Activation::Relu, name);
        let mut enhanced = vec![];
        let mut logits = vec![];
        for (level, &map) in maps.iter().enumerate() {
            let mean = net.push(Layer::GlobalAveragePool, &[map]);
            let mean = biased(&mut net, format!("context.{level}"), mean, CHANNELS, [1, 1], Activation::Relu);
            let everywhere = net.push(Layer::Resize(Resizing::Nearest), &[mean, map]);
            let both = net.push(Layer::Add(Activation::None), &[map, everywhere]);
            logits.push(biased(&mut net, format!("segmentation.{level}"), both, 1, [1, 1], Activation::None));
            enhanced.push(both);
        }
        net.name_map("map", enhanced[0]);
        net.output("logits", Kind::Map, logits);
        net
    }

    pub(super) fn init(self, seed: u64, device: &Device) -> Result<SrgNet> {
        let network = |net: Architecture| {
            let weights = BEGINNINGS.draw(&net, seed, device)?;
            Network::new(net, weights)
        };
        Ok(SrgNet { body: network(self.body())?, judge: network(judge())? })
    }
}

/// Whether a suggestion is a lesion, told from the mean of what was cut: with all of its pixels as inputs, as the heads of Mask R-CNN have
/// them, a step of AdamW moved the score so far that no suggestion was believed again.
fn judge() -> Architecture {
    let mut net = parts::begin(CHANNELS);
    let mean = net.push(Layer::GlobalAveragePool, &[0]);
    let mut dense = |input, name: &str, outputs, activation| {
        let dense = Dense { name: format!("judge.{name}"), inputs: CHANNELS, outputs, activation };
        net.push(Layer::Dense(dense), &[input])
    };
    let hidden = dense(mean, "hidden", HIDDEN, Activation::Relu);
    let score = dense(hidden, "score", 1, Activation::None);
    net.name_map("score", score);
    net
}

/// The reconstruction with its weights.
pub(super) struct SrgNet {
    body: Network,
    judge: Network,
}

/// What the net says of a batch, f32.
struct Answers {
    /// The largest map of the pyramid, `[N, 256, h, w]`.
    map: Tensor,
    /// Logits of each map, the largest first, `[N, 1, h, w]`.
    logits: Vec<Tensor>,
    /// Of each picture the parts of its predicted map.
    suggestions: Vec<Vec<Suggestion>>,
}

/// A part of the map that was predicted, in pixels of the picture.
struct Suggestion {
    place: BoundingBox,
    mask: Vec<bool>,
    /// The mean probability of its pixels.
    certainty: f32,
}

impl SrgNet {
    fn answers(&self, x: &Tensor, pass: Pass) -> Result<Answers> {
        let (_, _, height, width) = x.dims4()?;
        let mut given = parts::answers(&self.body, x, pass)?;
        let mut take = |name: &str| {
            let maps = given.remove(name).unwrap_or_default();
            maps.iter().map(|map| map.to_dtype(DType::F32)).collect::<Result<Vec<_>>>()
        };
        let (mut map, logits) = (take("map")?, take("logits")?);
        let probabilities = enlarged(&sigmoid(&logits[0].detach())?, height, width)?;
        let suggestions = probabilities.iter().map(|map| suggestions(map, width)).collect();
        Ok(Answers { map: map.remove(0), logits, suggestions })
    }

    /// The logit of each region.
    fn scores(&self, answers: &Answers, regions: &[Region], height: usize, pass: Pass) -> Result<Tensor> {
        let scale = answers.map.dim(2)? as f32 / height as f32;
        let (side, samples) = (SUGGESTION_SIDE, 2);
        let config = RoiAlignConfig { height: side, width: side, scale, samples, aligned: true };
        let cut = roi_align(&answers.map, regions, config)?;
        output(&self.judge, &cut, "score", pass)?.remove(0).flatten_all()
    }
}

/// The connected parts of a map of probabilities, the largest first.
fn suggestions(map: &[f32], width: usize) -> Vec<Suggestion> {
    let mask: Vec<bool> = map.iter().map(|value| *value > HALF).collect();
    let numbers = components(&mask, width, SMALLEST);
    let mut pixels: Vec<Vec<usize>> = vec![vec![]; numbers.iter().max().map_or(0, |most| *most as usize)];
    for (at, &number) in numbers.iter().enumerate().filter(|(_, number)| **number > 0) {
        pixels[number as usize - 1].push(at);
    }
    pixels.sort_by_key(|pixels| std::cmp::Reverse(pixels.len()));
    pixels.truncate(MOST);
    let suggestion = |pixels: &Vec<usize>| {
        let mut mask = vec![false; map.len()];
        pixels.iter().for_each(|&at| mask[at] = true);
        let certainty = pixels.iter().map(|&at| map[at]).sum::<f32>() / pixels.len() as f32;
        around(&mask, width).map(|place| Suggestion { place, mask, certainty })
    };
    pixels.iter().filter_map(suggestion).collect()
}

/// A box with its border.
fn grown(place: &BoundingBox) -> BoundingBox {
    let (x, y) = place.centre();
    let factor = 1.0 + 2.0 * BORDER;
    BoundingBox::around(x, y, place.width() * factor, place.height() * factor)
}

impl Detector for SrgNet {
    fn networks(&self) -> Vec<&Network> {
        vec![&self.body, &self.judge]
    }

    fn losses(&self, x: &Tensor, targets: &[Targets], _: Order) -> Result<Losses> {
        let (_, _, height, _) = x.dims4()?;
        let pass = Pass::Train { seed: 0 };
        let answers = self.answers(x, pass)?;
        let mut segmentation = Tensor::zeros((), DType::F32, x.device())?;
        for (level, logits) in answers.logits.iter().enumerate() {
            segmentation = (segmentation + map_loss(logits, targets, level == 0)?)?;
        }
        let segmentation = (segmentation / answers.logits.len() as f64)?;
        let (mut regions, mut truth): (Vec<Region>, Vec<f32>) = (vec![], vec![]);
        for (picture, (own, targets)) in answers.suggestions.iter().zip(targets).enumerate() {
            for suggestion in own {
                let is = targets.lesions.iter().any(|lesion| lesion.place.overlap(&suggestion.place) >= OVERLAP);
                regions.push((picture, grown(&suggestion.place)));
                truth.push(f32::from(u8::from(is)));
            }
            // The lesions themselves, so that there is one to learn from the beginning.
            regions.extend(targets.lesions.iter().map(|lesion| (picture, grown(&lesion.place))));
            truth.resize(regions.len(), 1.0);
        }
        if regions.is_empty() {
            return Ok(vec![("loss_segmentation", segmentation), ("loss_suggestion", self.judge.nothing()?)]);
        }
        let scores = self.scores(&answers, &regions, height, pass)?;
        let truth = Tensor::new(truth, x.device())?;
        let suggestion = binary_cross_entropy(&scores, &truth)?.mean_all()?;
        Ok(vec![("loss_segmentation", segmentation), ("loss_suggestion", suggestion)])
    }

    fn detect(&self, x: &Tensor) -> Result<Vec<Found>> {
        let (n, _, height, width) = x.dims4()?;
        let answers = self.answers(x, Pass::Infer)?;
        let mut all = vec![];
        for picture in 0..n {
            let own = &answers.suggestions[picture];
            let mut found = Found { instances: vec![], map: Some(vec![false; height * width]) };
            if !own.is_empty() {
                let regions: Vec<Region> = own.iter().map(|of| (picture, grown(&of.place))).collect();
                let scores = self.scores(&answers, &regions, height, Pass::Infer)?;
                let scores = sigmoid(&scores.detach())?.to_vec1::<f32>()?;
                for (suggestion, score) in own.iter().zip(scores).filter(|(_, score)| *score >= HALF) {
                    let Suggestion { place, mask, certainty } = suggestion;
                    if let Some(map) = &mut found.map {
                        map.iter_mut().zip(mask).for_each(|(all, inside)| *all |= inside);
                    }
                    let score = score * certainty;
                    found.instances.push(Instance { class: 1, score, place: *place, mask: mask.clone() });
                }
                found.instances.sort_by(|a, b| b.score.total_cmp(&a.score));
            }
            all.push(found);
        }
        Ok(all)
    }
}

/// Cross entropy, in which pixels beside an edge may count more, and Dice over the batch, of logits `[N, 1, h, w]`.
fn map_loss(logits: &Tensor, targets: &[Targets], edges: bool) -> Result<Tensor> {
    let (n, _, h, w) = logits.dims4()?;
    let mut truth: Vec<f32> = Vec::with_capacity(n * h * w);
    let mut weights: Vec<f32> = Vec::with_capacity(n * h * w);
    for targets in targets {
        let union: Vec<f32> = targets.union().iter().map(|inside| f32::from(u8::from(*inside))).collect();
        let union = Tensor::from_vec(union, (1, 1, targets.height, targets.width), &Device::Cpu)?;
        let small: Vec<bool> = enlarged(&union, h, w)?.concat().iter().map(|value| *value >= HALF).collect();
        let differs = |at: usize| {
            let (x, y) = (at % w, at / w);
            let beside = [
                (x > 0).then(|| at - 1),
                (x + 1 < w).then(|| at + 1),
                (y > 0).then(|| at - w),
                (y + 1 < h).then(|| at + w),
            ];
            beside.into_iter().flatten().any(|other| small[other] != small[at])
        };
        weights.extend((0..h * w).map(|at| if edges && differs(at) { EDGE } else { 1.0 }));
        truth.extend(small.iter().map(|inside| f32::from(u8::from(*inside))));
    }
    let total: f32 = weights.iter().sum();
    let truth = Tensor::from_vec(truth, (n, 1, h, w), logits.device())?;
    let weights = Tensor::from_vec(weights, (n, 1, h, w), logits.device())?;
    let entropy = ((binary_cross_entropy(logits, &truth)? * weights)?.sum_all()? / f64::from(total))?;
    let probability = sigmoid(logits)?;
    let overlap = (((&probability * &truth)?.sum_all()? * 2.0)? + 1.0)?;
    let both = ((probability.sum_all()? + truth.sum_all()?)? + 1.0)?;
    entropy + (1.0 - (overlap / both)?)?
}
