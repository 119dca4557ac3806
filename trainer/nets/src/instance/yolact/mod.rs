//! YOLACT with a ResNet50 (Bolya et al. 2019): each prior tells a class, a box, and how much of each of 32 prototypes its mask is made
//! of; the prototypes are drawn once for the whole picture.
//!
//! 31,164,943 parameters with 81 classes, 30,598,355 with lesion and background; 19,248 priors of a picture of 550 x 550. The published
//! weights were trained with square priors (a mistake that was kept, see [`YolactConfig::square`]). Unlike the authors' program, the
//! decoding of a box cannot overflow (its logarithms end at ln(1000 / 16)), and a batch without any lesion divides by 1.

mod onnx;

use candle_core::{DType, Device, Result, Tensor};
use rand::seq::SliceRandom;
use thorax_nn::{
    detection::{BoundingBox, masks::inside, suppression},
    elementwise::{binary_cross_entropy, sigmoid},
    seeded,
};

use super::{
    Detector, Found, Instance, Losses, anchors,
    matching::{Matcher, Order, Rescue},
    parts::{
        self, Beginnings, biased, enlarged, flat, four, probabilities, pyramid, resnet, rows, torch_resnet, within,
    },
    single_shot::{self, Hard, Matched, coder, matched},
    targets::Targets,
};
use crate::{
    architecture::{Activation, Architecture, Kind, Layer, Resizing},
    network::{Network, Pass, nothing_of},
};

const CHANNELS: usize = 256;
/// Prototypes.
const PROTOTYPES: usize = 32;
/// Sides of the priors of each map, in pixels of a picture of [`SIDE`].
const SCALES: [f32; 5] = [24.0, 48.0, 96.0, 192.0, 384.0];
const RATIOS: [f32; 3] = [1.0, 0.5, 2.0];
/// The side of the published net's pictures.
pub const SIDE: usize = 550;
const MATCHER: Matcher = Matcher { lesion_from: 0.5, background_below: 0.4, rescue: Rescue::One };
/// The weights of the terms for boxes and masks; those of classes and the semantic map are 1.
const BOX_WEIGHT: f64 = 1.5;
const MASK_WEIGHT: f64 = 6.125;
/// At most so many masks of a picture are compared.
const MOST_MASKS: usize = 100;
/// From which score on a lesion is told, how much two may overlap, and how many there may be: of a class, and of all.
const SCORE: f32 = 0.05;
const OVERLAP: f32 = 0.5;
const MOST_OF_CLASS: usize = 200;
const MOST: usize = 100;
/// A cut reaches so many pixels of the prototypes over the box.
const BORDER: f32 = 1.0;

/// The pyramid keeps the variance; the last layers begin small, which the authors' do not, but which a backbone of drawn weights needs.
const BEGINNINGS: Beginnings = Beginnings(&[
    ("bbox_layer", 0.01),
    ("conf_layer", 0.01),
    ("mask_layer", 0.01),
    ("fpn.lat_layers.0", 0.0221),
    ("fpn.lat_layers.1", 0.0313),
    ("fpn.lat_layers.2", 0.0442),
    ("fpn.", 0.0208),
]);

/// The shape of the net.
#[derive(Clone, Copy, Debug, PartialEq, serde::Serialize, serde::Deserialize)]
#[serde(deny_unknown_fields)]
pub struct YolactConfig {
    /// Classes, the background counted.
    pub classes: usize,
    /// Stem and first stage of the backbone, and all its batch norms, stay what they are; the published net has it false.
    pub frozen: bool,
    /// Priors are as high as they are wide, as with the published weights; false: as the paper has it.
    pub square: bool,
}

impl Default for YolactConfig {
    fn default() -> Self {
        Self { classes: 2, frozen: false, square: true }
    }
}

impl YolactConfig {
    /// Body, head.
    pub(super) fn architectures(self) -> Vec<Architecture> {
        vec![self.body(), self.head()]
    }

    /// Rows and columns of the five maps of a picture of that side.
    fn maps(side: usize) -> [[usize; 2]; 5] {
        let mut size = side.div_ceil(2).div_ceil(2).div_ceil(2);
        std::array::from_fn(|_| {
            let own = size;
            size = size.div_ceil(2);
            [own; 2]
        })
    }

    /// The priors of a picture of that side.
    pub fn priors(self, side: usize) -> Vec<BoundingBox> {
        let shapes = SCALES.map(|scale| {
            let shape = |ratio: f32| {
                let (w, h) = (scale * ratio.sqrt() / SIDE as f32, scale / ratio.sqrt() / SIDE as f32);
                if self.square { (w, w) } else { (w, h) }
            };
            RATIOS.map(shape).to_vec()
        });
        anchors::priors(side, &Self::maps(side), &shapes)
    }

    /// The pyramid, the prototypes, and the semantic map that is only trained.
    fn body(self) -> Architecture {
        let mut net = parts::begin(3);
        let [_, c3, c4, c5] = resnet(&mut net, "backbone.", torch_resnet(), self.frozen);
        // The authors count from the smallest map.
        let name = |which: &str, level: usize| match which {
            "lateral" => format!("fpn.lat_layers.{}", 2 - level),
            _ => format!("fpn.pred_layers.{}", 2 - level),
        };
        let mut maps = pyramid(&mut net, &[c3, c4, c5], CHANNELS, Resizing::Bilinear, Activation::Relu, name);
        for level in 0..2 {
            let last = maps[maps.len() - 1];
            let name = format!("fpn.downsample_layers.{level}");
            maps.push(biased(&mut net, name, last, CHANNELS, [3, 2], Activation::None));
        }
        let mut step = maps[0];
        for index in [0, 2, 4] {
            step = biased(&mut net, format!("proto_net.{index}"), step, CHANNELS, [3, 1], Activation::Relu);
        }
        step = net.push(Layer::Double, &[step]);
        step = biased(&mut net, "proto_net.8", step, CHANNELS, [3, 1], Activation::Relu);
        let prototypes = biased(&mut net, "proto_net.10", step, PROTOTYPES, [1, 1], Activation::Relu);
        let semantic = biased(&mut net, "semantic_seg_conv", maps[0], self.classes - 1, [1, 1], Activation::None);
        net.output("maps", Kind::Map, maps);
        net.name_map("prototypes", prototypes);
        net.name_map("semantic", semantic);
        net
    }

    /// One head for all maps.
    fn head(self) -> Architecture {
        let mut net = parts::begin(CHANNELS);
        let name = |part: &str| format!("prediction_layers.0.{part}");
        let hidden = biased(&mut net, name("upfeature.0"), 0, CHANNELS, [3, 1], Activation::Relu);
        let priors = RATIOS.len();
        for (part, layer, values) in
            [("boxes", "bbox_layer", 4), ("classes", "conf_layer", self.classes), ("masks", "mask_layer", PROTOTYPES)]
        {
            let step = biased(&mut net, name(layer), hidden, priors * values, [3, 1], Activation::None);
            net.name_map(part, step);
        }
        net
    }

    pub(super) fn init(self, seed: u64, device: &Device) -> Result<Yolact> {
        let network = |net: Architecture| {
            let weights = BEGINNINGS.draw(&net, seed, device)?;
            Network::new(net, weights)
        };
        Ok(Yolact { body: network(self.body())?, head: network(self.head())?, config: self })
    }
}

/// YOLACT with its weights.
pub(super) struct Yolact {
    config: YolactConfig,
    body: Network,
    head: Network,
}

/// What the net says of a batch, f32.
struct Answers {
    /// `[N, P, 4]`.
    boxes: Tensor,
    /// `[N, P, classes]`.
    classes: Tensor,
    /// `[N, P, 32]`, -1 to 1.
    coefficients: Tensor,
    /// `[N, 32, h, w]`.
    prototypes: Tensor,
    /// `[N, classes - 1, h', w']`.
    semantic: Tensor,
    priors: Vec<BoundingBox>,
}

impl Yolact {
    fn answers(&self, x: &Tensor, pass: Pass) -> Result<Answers> {
        let (_, _, height, width) = x.dims4()?;
        if height != width {
            candle_core::bail!("YOLACT: pictures are square, not {height} x {width}");
        }
        let mut given = parts::answers(&self.body, x, pass)?;
        let mut take = |name: &str| {
            let maps = given.remove(name).unwrap_or_default();
            maps.iter().map(|map| map.to_dtype(DType::F32)).collect::<Result<Vec<_>>>()
        };
        let (maps, mut prototypes, mut semantic) = (take("maps")?, take("prototypes")?, take("semantic")?);
        let (mut boxes, mut classes, mut masks) = (vec![], vec![], vec![]);
        for map in &maps {
            let mut given = parts::answers(&self.head, map, pass)?;
            for (name, all) in [("boxes", &mut boxes), ("classes", &mut classes), ("masks", &mut masks)] {
                all.extend(given.remove(name).into_iter().flatten());
            }
        }
        Ok(Answers {
            boxes: flat(&boxes, 4)?,
            classes: flat(&classes, self.config.classes)?,
            coefficients: flat(&masks, PROTOTYPES)?.tanh()?,
            prototypes: prototypes.remove(0),
            semantic: semantic.remove(0),
            priors: self.config.priors(height),
        })
    }
}

impl Detector for Yolact {
    fn networks(&self) -> Vec<&Network> {
        vec![&self.body, &self.head]
    }

    fn to_onnx(&self, side: usize) -> Option<Result<Vec<u8>>> {
        Some(onnx::written(self, side))
    }

    fn losses(&self, x: &Tensor, targets: &[Targets], order: Order) -> Result<Losses> {
        let answers = self.answers(x, Pass::Train { seed: 0 })?;
        let matched = matched(MATCHER, &answers.priors, targets);
        let Answers { boxes, classes, priors, .. } = &answers;
        let (boxes, classes) = single_shot::sums(boxes, classes, priors, &matched, targets, Hard::OfPicture)?;
        let count = matched.lesions.len().max(1) as f64;
        Ok(vec![
            ("loss_box", (boxes * (BOX_WEIGHT / count))?),
            ("loss_class", (classes / count)?),
            ("loss_mask", (masks(&answers, &matched, targets, order)? * (MASK_WEIGHT / count))?),
            ("loss_semantic", semantic(&answers.semantic, targets)?),
        ])
    }

    fn detect(&self, x: &Tensor) -> Result<Vec<Found>> {
        let (n, _, height, width) = x.dims4()?;
        let answers = self.answers(x, Pass::Infer)?;
        (0..n).map(|picture| found(&answers, picture, [height, width])).collect()
    }
}

/// The probability's logits of masks `[K, h w]` made of the prototypes.
fn assembled(answers: &Answers, picture: usize, priors: &[usize]) -> Result<Tensor> {
    let prototypes = answers.prototypes.get(picture)?.flatten_from(1)?;
    rows(&answers.coefficients.get(picture)?, priors)?.matmul(&prototypes)
}

/// The sum, over the masks, of the cross entropy in the lesion's box over the box's area.
fn masks(answers: &Answers, matched: &Matched, targets: &[Targets], order: Order) -> Result<Tensor> {
    let (_, _, height, width) = answers.prototypes.dims4()?;
    let device = answers.prototypes.device();
    let mut sum = nothing_of(&answers.prototypes)?.add(&nothing_of(&answers.coefficients)?)?;
    for (picture, targets) in targets.iter().enumerate() {
        let mut own: Vec<(usize, usize)> = matched
            .lesions
            .iter()
            .filter(|(of, ..)| *of == picture)
            .map(|&(_, prior, lesion)| (prior, lesion))
            .collect();
        let Some(truth) = targets.masks()? else { continue };
        if own.is_empty() {
            continue;
        }
        let all = own.len();
        if let Order::Drawn(seed) = order {
            own.shuffle(&mut seeded::generator(seeded::derive(seed, &[3, picture as u64]), 0));
        }
        own.truncate(MOST_MASKS);
        let small = enlarged(&truth, height, width)?;
        let factor = width as f32 / targets.width as f32;
        let (mut wanted, mut weights) = (vec![], vec![]);
        for &(_, lesion) in &own {
            let place = targets.lesions[lesion].place.scaled(factor);
            let share = 1.0 / place.area();
            weights
                .extend(inside(&place, BORDER, height, width).into_iter().map(|lies| if lies { share } else { 0.0 }));
            wanted.extend(small[lesion].iter().map(|value| f32::from(u8::from(*value > 0.5))));
        }
        let shape = (own.len(), height * width);
        let wanted = Tensor::from_vec(wanted, shape, device)?;
        let weights = Tensor::from_vec(weights, shape, device)?;
        let logits = assembled(answers, picture, &own.iter().map(|(prior, _)| *prior).collect::<Vec<_>>())?;
        let loss = (binary_cross_entropy(&logits, &wanted)? * weights)?.sum_all()?;
        sum = (sum + (loss * (all as f64 / own.len() as f64))?)?;
    }
    Ok(sum)
}

/// The cross entropy of each class's map, a mean over the pixels, summed over the classes, a mean over the pictures.
fn semantic(logits: &Tensor, targets: &[Targets]) -> Result<Tensor> {
    let (n, classes, height, width) = logits.dims4()?;
    let mut truth = vec![0f32; n * classes * height * width];
    for (picture, targets) in targets.iter().enumerate() {
        let Some(masks) = targets.masks()? else { continue };
        for (lesion, mask) in targets.lesions.iter().zip(enlarged(&masks, height, width)?) {
            let plane = (picture * classes + lesion.class - 1) * height * width;
            let marked = mask.iter().enumerate().filter(|(_, value)| **value > 0.5);
            marked.for_each(|(at, _)| truth[plane + at] = 1.0);
        }
    }
    let truth = Tensor::from_vec(truth, logits.shape(), logits.device())?;
    binary_cross_entropy(logits, &truth)?.sum_all()? / (n * height * width) as f64
}

/// What is in one picture.
fn found(answers: &Answers, picture: usize, [height, width]: [usize; 2]) -> Result<Found> {
    let scores = probabilities(&answers.classes.get(picture)?)?;
    let codes = answers.boxes.get(picture)?.detach().to_vec2::<f32>()?;
    let classes = scores.first().map_or(0, Vec::len);
    let mut chosen: Vec<(usize, f32, usize, BoundingBox)> = vec![];
    for class in 1..classes {
        // Whoever is sure of any class is a candidate of each.
        let sure = |scores: &Vec<f32>| scores[1..].iter().any(|score| *score > SCORE);
        let candidate = |(prior, scores): (usize, &Vec<f32>)| {
            let place = coder().decode(four(&codes[prior]), &answers.priors[prior]);
            (sure(scores) && place.has_area()).then_some((class, scores[class], prior, place))
        };
        let own: Vec<_> = scores.iter().enumerate().filter_map(candidate).collect();
        let boxes: Vec<BoundingBox> = own.iter().map(|of| of.3).collect();
        let own_scores: Vec<f32> = own.iter().map(|of| of.1).collect();
        chosen.extend(suppression::fast(&boxes, &own_scores, OVERLAP, MOST_OF_CLASS).into_iter().map(|i| own[i]));
    }
    chosen.sort_by(|a, b| b.1.total_cmp(&a.1));
    chosen.truncate(MOST);
    chosen.retain(|of| within(of.3, height, width).is_some());
    if chosen.is_empty() {
        return Ok(Found::default());
    }
    let (_, _, rows, columns) = answers.prototypes.dims4()?;
    let masks = sigmoid(&assembled(answers, picture, &chosen.iter().map(|of| of.2).collect::<Vec<_>>())?.detach())?;
    let factor = columns as f32 / width as f32;
    let cuts = chosen.iter().flat_map(|of| inside(&of.3.scaled(factor), BORDER, rows, columns));
    let cuts = cuts.map(|lies| f32::from(u8::from(lies))).collect();
    let cuts = Tensor::from_vec(cuts, masks.shape(), masks.device())?;
    let masks = enlarged(&(masks * cuts)?.reshape((1, chosen.len(), rows, columns))?, height, width)?;
    let instances = chosen.into_iter().zip(masks).map(|((class, score, _, place), mask)| Instance {
        class,
        score,
        place: place.clipped(width as f32, height as f32),
        mask: mask.iter().map(|value| *value > 0.5).collect(),
    });
    Ok(Found { instances: instances.collect(), map: None })
}
