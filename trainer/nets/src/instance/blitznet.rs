//! BlitzNet of pictures of 300 x 300 with a stride of 4 (Dvornik et al. 2017): boxes and a semantic map from the same maps.
//!
//! It makes no masks of single lesions: what the paper's tables have of it is the semantic map, which is its answer here too. (A box's mask is what
//! of the map lies in it; that is ours.) A ResNet50 with the strides on the first convolutions, three further stages, and a way back up in which
//! each map is joined with that of the way down. 59,379,951 parameters with 21 classes, 55,625,342 with one lesion and the background;
//! 45,390 priors. The authors' weights are TensorFlow's; here the backbone takes timm's, whose strides are elsewhere, and pictures are
//! normalised as those want it. Maps are resized with the middles of pixels at 0.5, while TensorFlow 1 has them at 0.

use candle_core::{DType, Device, Result, Tensor};
use thorax_nn::detection::{BoundingBox, losses::softmax_cross_entropy, masks::inside, suppression::class_wise};

use super::{
    Detector, Found, Instance, Losses, anchors,
    matching::{Matcher, Order, Rescue},
    parts::{self, Beginnings, biased, enlarged, flat, four, probabilities, resnet, within},
    single_shot::{self, Hard, coder, matched},
    targets::Targets,
};
use crate::{
    architecture::{Activation, Architecture, Convolution, Kind, Layer, Resizing, StepId},
    backbones::resnet50,
    network::{Network, Pass},
};

/// Channels of the further stages, of the maps on the way up, and of what each map adds to the semantic one.
const DEEP: usize = 2048;
const UP: usize = 512;
const SEMANTIC: usize = 64;
/// Sides of the boxes as shares of the picture's: the smallest, that of the second map, and the last.
const SCALES: [f64; 3] = [0.04, 0.1, 0.95];
const RATIOS: [f32; 4] = [2.0, 1.0 / 2.0, 3.0, 1.0 / 3.0];
/// Maps that have priors.
const MAPS: usize = 7;
/// Priors of a place: a square, one for each ratio, and a larger square.
const PRIORS: usize = RATIOS.len() + 2;
/// The side of the published net's pictures.
pub const SIDE: usize = 300;
const MATCHER: Matcher = Matcher { lesion_from: 0.5, background_below: 0.5, rescue: Rescue::One };
/// From which score on a box is told, how much two may overlap, and how many there may be.
const SCORE: f32 = 0.01;
const OVERLAP: f32 = 0.45;
const MOST_BEFORE: usize = 400;
const MOST: usize = 200;

/// Small, as in the authors' program (`variance_scaling_initializer(factor=0.1)`): 0.1 over the fan-in.
const BEGINNINGS: Beginnings = Beginnings(&[("location", 0.0047), ("confidence", 0.0047)]);

/// The shape of the net.
#[derive(Clone, Copy, Debug, PartialEq, serde::Serialize, serde::Deserialize)]
#[serde(deny_unknown_fields)]
pub struct BlitzNetConfig {
    /// Classes, the background counted.
    pub classes: usize,
    /// Stem and first stage of the backbone, and its batch norms, stay what they are; the published net has it false.
    pub frozen: bool,
}

impl Default for BlitzNetConfig {
    fn default() -> Self {
        Self { classes: 2, frozen: false }
    }
}

impl BlitzNetConfig {
    pub(super) fn architectures(self) -> Vec<Architecture> {
        vec![self.net()]
    }

    /// The priors of a picture of that side.
    pub fn priors(self, side: usize) -> Vec<BoundingBox> {
        let mut size = side.div_ceil(2).div_ceil(2);
        let maps: [[usize; 2]; MAPS] = std::array::from_fn(|map| {
            let own = if map + 1 == MAPS { 1 } else { size };
            size = size.div_ceil(2);
            [own; 2]
        });
        let step = (SCALES[2] - SCALES[1]) / (MAPS - 2) as f64;
        let scale = |map: usize| if map == 0 { SCALES[0] } else { SCALES[1] + step * (map - 1) as f64 };
        let shapes = (0..MAPS).map(|map| {
            let (own, next) = (scale(map) as f32, (scale(map) * scale(map + 1)).sqrt() as f32);
            let mut shapes = vec![(own, own)];
            shapes.extend(RATIOS.map(|ratio| (own * ratio.sqrt(), own / ratio.sqrt())));
            shapes.push((next, next));
            shapes
        });
        anchors::priors(side, &maps, &shapes.collect::<Vec<_>>())
    }

    fn net(self) -> Architecture {
        let mut net = Builder { net: parts::begin(3) };
        let [c2, c3, c4, c5] = resnet(&mut net.net, "backbone.", resnet50::with_early_stride(), self.frozen);
        let mut down = vec![c2, c3, c4, c5];
        for stage in 5..8 {
            let last = down[down.len() - 1];
            let first = net.deep(last, &format!("extra.block{stage}.0"), 2);
            down.push(net.deep(first, &format!("extra.block{stage}.1"), 1));
        }
        let mut step = down[down.len() - 1];
        let mut up = vec![];
        for (index, &skip) in down.iter().enumerate().take(6).rev() {
            step = net.join(step, skip, &format!("back.block{}", index + 1));
            up.push(step);
        }
        // Of the smallest map on the way up.
        up.insert(0, net.net.push(Layer::GlobalAveragePool, &[up[0]]));
        up.reverse();
        net.heads(&up, self.classes);
        net.net
    }

    pub(super) fn init(self, seed: u64, device: &Device) -> Result<BlitzNet> {
        let net = self.net();
        let weights = BEGINNINGS.draw(&net, seed, device)?;
        Ok(BlitzNet { net: Network::new(net, weights)?, config: self })
    }
}

struct Builder {
    net: Architecture,
}

impl Builder {
    fn layer(
        &mut self,
        input: StepId,
        name: String,
        channels: usize,
        [kernel, stride]: [usize; 2],
        relu: bool,
    ) -> StepId {
        let convolution = Convolution {
            stride,
            norm: Some(self.net.norm(format!("{name}.bn"), true)),
            activation: if relu { Activation::Relu } else { Activation::None },
            ..Convolution::new(format!("{name}.conv"), self.net.channels(input), channels, [kernel; 2])
        };
        self.net.convolution(input, convolution)
    }

    /// A bottleneck as deep as its input, whose shortcut takes every `stride`th pixel.
    fn deep(&mut self, input: StepId, name: &str, stride: usize) -> StepId {
        let every = thorax_nn::pool::PoolConfig { kernel: 1, stride, padding: 0, ceil_mode: false };
        let shortcut = if stride > 1 { self.net.push(Layer::MaxPool(every), &[input]) } else { input };
        let step = self.layer(input, format!("{name}.1"), DEEP / 4, [1, stride], true);
        let step = self.layer(step, format!("{name}.2"), DEEP / 4, [3, 1], true);
        let step = self.layer(step, format!("{name}.3"), DEEP, [1, 1], false);
        self.net.push(Layer::Add(Activation::Relu), &[step, shortcut])
    }

    /// ResSkip (section 3.1, figure 3): the map at the size of `skip`, plus a bottleneck of both.
    fn join(&mut self, input: StepId, skip: StepId, name: &str) -> StepId {
        let raised = self.net.push(Layer::Resize(Resizing::Bilinear), &[input, skip]);
        let shortcut = match self.net.channels(raised) {
            UP => raised,
            _ => self.layer(raised, format!("{name}.shortcut"), UP, [1, 1], false),
        };
        let both = self.net.push(Layer::Concatenate, &[raised, skip]);
        let step = self.layer(both, format!("{name}.1"), UP / 4, [1, 1], true);
        let step = self.layer(step, format!("{name}.2"), UP / 4, [3, 1], true);
        let step = self.layer(step, format!("{name}.3"), UP, [1, 1], false);
        self.net.push(Layer::Add(Activation::Relu), &[step, shortcut])
    }

    /// Boxes and classes of each map by itself, the semantic map of all of them, the largest map first.
    fn heads(&mut self, maps: &[StepId], classes: usize) {
        let net = &mut self.net;
        let (mut boxes, mut kinds, mut parts) = (vec![], vec![], vec![]);
        for (index, &map) in maps.iter().enumerate() {
            boxes.push(biased(net, format!("location.{index}"), map, PRIORS * 4, [3, 1], Activation::None));
            kinds.push(biased(net, format!("confidence.{index}"), map, PRIORS * classes, [3, 1], Activation::None));
            let part = biased(net, format!("segmentation.{index}"), map, SEMANTIC, [1, 1], Activation::Relu);
            parts.push(net.push(Layer::Resize(Resizing::Nearest), &[part, maps[0]]));
        }
        let all = net.push(Layer::Concatenate, &parts);
        let semantic = biased(net, "segmentation.logits", all, classes, [3, 1], Activation::None);
        net.output("boxes", Kind::Map, boxes);
        net.output("classes", Kind::Map, kinds);
        net.name_map("semantic", semantic);
    }
}

/// BlitzNet with its weights.
pub(super) struct BlitzNet {
    config: BlitzNetConfig,
    net: Network,
}

/// What the net says of a batch, f32.
struct Answers {
    /// `[N, P, 4]`.
    boxes: Tensor,
    /// `[N, P, classes]`.
    classes: Tensor,
    /// `[N, classes, h, w]`.
    semantic: Tensor,
    priors: Vec<BoundingBox>,
}

impl BlitzNet {
    fn answers(&self, x: &Tensor, pass: Pass) -> Result<Answers> {
        let (_, _, height, width) = x.dims4()?;
        if height != width {
            candle_core::bail!("BlitzNet: pictures are square, not {height} x {width}");
        }
        let mut given = parts::answers(&self.net, x, pass)?;
        let mut take = |name: &str| {
            let maps = given.remove(name).unwrap_or_default();
            maps.iter().map(|map| map.to_dtype(DType::F32)).collect::<Result<Vec<_>>>()
        };
        Ok(Answers {
            boxes: flat(&take("boxes")?, 4)?,
            classes: flat(&take("classes")?, self.config.classes)?,
            semantic: take("semantic")?.remove(0),
            priors: self.config.priors(height),
        })
    }
}

impl Detector for BlitzNet {
    fn networks(&self) -> Vec<&Network> {
        vec![&self.net]
    }

    fn losses(&self, x: &Tensor, targets: &[Targets], _: Order) -> Result<Losses> {
        let answers = self.answers(x, Pass::Train { seed: 0 })?;
        let matched = matched(MATCHER, &answers.priors, targets);
        let Answers { boxes, classes, priors, semantic } = &answers;
        let (boxes, classes) = single_shot::sums(boxes, classes, priors, &matched, targets, Hard::OfBatch)?;
        let count = matched.lesions.len().max(1) as f64;
        Ok(vec![
            ("loss_box", (boxes / count)?),
            ("loss_class", (classes / count)?),
            ("loss_semantic", semantic_loss(semantic, targets)?),
        ])
    }

    fn detect(&self, x: &Tensor) -> Result<Vec<Found>> {
        let (n, _, height, width) = x.dims4()?;
        let answers = self.answers(x, Pass::Infer)?;
        (0..n).map(|picture| found(&answers, picture, [height, width])).collect()
    }
}

/// The cross entropy of each pixel of the map, a mean; the class of a pixel is that of the picture's pixel nearest to it.
fn semantic_loss(logits: &Tensor, targets: &[Targets]) -> Result<Tensor> {
    let (n, classes, h, w) = logits.dims4()?;
    let mut truth = vec![0u32; n * h * w];
    for (picture, targets) in targets.iter().enumerate() {
        for lesion in &targets.lesions {
            for (at, truth) in truth[picture * h * w..][..h * w].iter_mut().enumerate() {
                let (y, x) = (at / w * targets.height / h, at % w * targets.width / w);
                if lesion.mask[y * targets.width + x] {
                    *truth = lesion.class as u32;
                }
            }
        }
    }
    let pixels = logits.permute((0, 2, 3, 1))?.contiguous()?.reshape((n * h * w, classes))?;
    softmax_cross_entropy(&pixels, &truth)?.mean_all()
}

/// What is in one picture: the semantic map, and boxes with what of it lies in them.
fn found(answers: &Answers, picture: usize, [height, width]: [usize; 2]) -> Result<Found> {
    let logits = enlarged(&answers.semantic.narrow(0, picture, 1)?, height, width)?;
    let class_of = |at: usize| {
        let logit = |class: usize| logits[class][at];
        (1..logits.len()).fold(0, |best, class| if logit(class) > logit(best) { class } else { best })
    };
    let map: Vec<usize> = (0..height * width).map(class_of).collect();
    let scores = probabilities(&answers.classes.get(picture)?)?;
    let codes = answers.boxes.get(picture)?.detach().to_vec2::<f32>()?;
    let mut candidates: Vec<(usize, f32, BoundingBox)> = vec![];
    for (prior, scores) in scores.iter().enumerate() {
        for (class, &score) in scores.iter().enumerate().skip(1).filter(|(_, score)| **score > SCORE) {
            let place = coder().decode(four(&codes[prior]), &answers.priors[prior]);
            candidates.extend(within(place, height, width).map(|place| (class, score, place)));
        }
    }
    candidates.sort_by(|a, b| b.1.total_cmp(&a.1));
    candidates.truncate(MOST_BEFORE);
    let boxes: Vec<BoundingBox> = candidates.iter().map(|of| of.2).collect();
    let own: Vec<f32> = candidates.iter().map(|of| of.1).collect();
    let classes: Vec<usize> = candidates.iter().map(|of| of.0).collect();
    let mut kept = class_wise(&boxes, &own, &classes, OVERLAP);
    kept.truncate(MOST);
    let instances = kept.into_iter().map(|index| {
        let (class, score, place) = candidates[index];
        let mask = inside(&place, 0.0, height, width);
        let mask = mask.iter().zip(&map).map(|(lies, of)| *lies && *of == class).collect();
        Instance { class, score, place, mask }
    });
    Ok(Found { instances: instances.collect(), map: Some(map.iter().map(|class| *class > 0).collect()) })
}
