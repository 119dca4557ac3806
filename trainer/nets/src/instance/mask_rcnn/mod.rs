//! Mask R-CNN with a ResNet50 and a feature pyramid (He et al. 2017), as torchvision has it.
//!
//! The maps of the pyramid go through one small net that tells for each anchor whether a lesion is there, and where exactly
//! (`proposals`); what lies in the best of these boxes is cut out of the maps, and two heads tell its class, its box and its mask
//! (`regions`). Parameters have torchvision's names, 44,401,393 of them with 91 classes, 43,922,395 with one lesion and the background.

mod proposals;
mod regions;

use candle_core::{DType, Device, Result, Tensor};
use thorax_nn::pool::PoolConfig;

use super::{
    Detector, Found, Losses,
    matching::Order,
    parts::{self, Beginnings, biased, pyramid, resnet, torch_resnet},
    targets::Targets,
};
use crate::{
    architecture::{Activation, Architecture, Convolution, Dense, Kind, Layer, Resizing, UpConvolution},
    network::{Network, Pass},
};

/// How the names of the backbone's parameters begin.
pub(super) const BACKBONE: &str = "backbone.body.";

/// Channels of the pyramid.
const CHANNELS: usize = 256;
/// Anchors of a place.
const ANCHORS: usize = 3;
/// Values of the hidden layers of the box head.
const HIDDEN: usize = 1024;
/// Sides of what is cut out for the box head and the mask head.
const BOX_SIDE: usize = 7;
const MASK_SIDE: usize = 14;

/// The name of the maps.
const MAPS: &str = "maps";

/// As torchvision begins, but the box head's two layers after He.
const BEGINNINGS: Beginnings = Beginnings(&[
    ("rpn.head.conv.0.0.weight", 0.01),
    ("rpn.head.cls_logits.weight", 0.01),
    ("rpn.head.bbox_pred.weight", 0.01),
    ("box_predictor.cls_score.weight", 0.01),
    ("box_predictor.bbox_pred.weight", 0.001),
    // 1 / sqrt(fan-in), which keeps the variance where no ReLU follows.
    ("layer_blocks", 0.0208),
    ("inner_blocks.0", 0.0625),
    ("inner_blocks.1", 0.0442),
    ("inner_blocks.2", 0.0313),
    ("inner_blocks.3", 0.0221),
]);

/// The shape of the net.
#[derive(Clone, Copy, Debug, PartialEq, serde::Serialize, serde::Deserialize)]
#[serde(deny_unknown_fields)]
pub struct MaskRcnnConfig {
    /// Classes, the background counted.
    pub classes: usize,
    /// Stem and first stage of the backbone, and all its batch norms, stay what they are.
    pub frozen: bool,
    /// Regions of a picture that a step looks at; 512 in the paper's net on a pyramid.
    pub regions: usize,
    /// The side of the anchors of the largest map, in pixels; those of each smaller map are twice as large.
    #[serde(default = "published_anchor")]
    pub anchor: usize,
}

/// Of pictures whose shorter side is 800.
pub const PUBLISHED_ANCHOR: usize = 32;

fn published_anchor() -> usize {
    PUBLISHED_ANCHOR
}

impl Default for MaskRcnnConfig {
    fn default() -> Self {
        Self { classes: 2, frozen: true, regions: 512, anchor: PUBLISHED_ANCHOR }
    }
}

impl MaskRcnnConfig {
    /// Body, proposals, box head, mask head.
    pub(super) fn architectures(self) -> Vec<Architecture> {
        vec![self.body(), proposer(), self.box_head(), self.mask_head()]
    }

    /// The ResNet and its pyramid: five maps, strides 4 to 64.
    fn body(self) -> Architecture {
        let mut net = parts::begin(3);
        let maps = resnet(&mut net, BACKBONE, torch_resnet(), self.frozen);
        let name = |which: &str, level: usize| match which {
            "lateral" => format!("backbone.fpn.inner_blocks.{level}.0"),
            _ => format!("backbone.fpn.layer_blocks.{level}.0"),
        };
        let mut maps = pyramid(&mut net, &maps, CHANNELS, Resizing::Nearest, Activation::None, name);
        let every_second = PoolConfig { kernel: 1, stride: 2, padding: 0, ceil_mode: false };
        maps.extend(maps.last().copied().map(|last| net.push(Layer::MaxPool(every_second), &[last])));
        net.output(MAPS, Kind::Map, maps);
        net
    }

    /// What a region of 7 x 7 shows, and where it is exactly.
    fn box_head(self) -> Architecture {
        let mut net = parts::begin(CHANNELS);
        let mut dense = |input, name: &str, inputs, outputs, activation| {
            net.push(Layer::Dense(Dense { name: format!("roi_heads.{name}"), inputs, outputs, activation }), &[input])
        };
        let first = dense(0, "box_head.fc6", CHANNELS * BOX_SIDE * BOX_SIDE, HIDDEN, Activation::Relu);
        let second = dense(first, "box_head.fc7", HIDDEN, HIDDEN, Activation::Relu);
        let classes = dense(second, "box_predictor.cls_score", HIDDEN, self.classes, Activation::None);
        let boxes = dense(second, "box_predictor.bbox_pred", HIDDEN, 4 * self.classes, Activation::None);
        net.name_map("classes", classes);
        net.name_map("boxes", boxes);
        net
    }

    /// The mask of a region of 14 x 14, of each class, 28 x 28.
    fn mask_head(self) -> Architecture {
        let mut net = parts::begin(CHANNELS);
        let convolutions = (0..4).map(|index| format!("roi_heads.mask_head.{index}.0"));
        let step = convolutions.fold(0, |step, name| biased(&mut net, name, step, CHANNELS, [3, 1], Activation::Relu));
        let name = "roi_heads.mask_predictor.conv5_mask".into();
        let up = net
            .push(Layer::UpConvolution(UpConvolution { name, channels_in: CHANNELS, channels_out: CHANNELS }), &[step]);
        let up = net.push(Layer::Activate(Activation::Relu), &[up]);
        let masks =
            biased(&mut net, "roi_heads.mask_predictor.mask_fcn_logits", up, self.classes, [1, 1], Activation::None);
        net.name_map("masks", masks);
        net
    }

    pub(super) fn init(self, seed: u64, device: &Device) -> Result<MaskRcnn> {
        let network = |net: Architecture| {
            let weights = BEGINNINGS.draw(&net, seed, device)?;
            Network::new(net, weights)
        };
        Ok(MaskRcnn {
            body: network(self.body())?,
            proposer: network(proposer())?,
            boxes: network(self.box_head())?,
            masks: network(self.mask_head())?,
            config: self,
        })
    }
}

/// Whether each anchor of a place has a lesion, and where it is exactly.
fn proposer() -> Architecture {
    let mut net = parts::begin(CHANNELS);
    let hidden = biased(&mut net, "rpn.head.conv.0.0", 0, CHANNELS, [3, 1], Activation::Relu);
    let head = |net: &mut Architecture, name: &str, channels| {
        let convolution = Convolution { biased: true, ..Convolution::new(name, CHANNELS, channels, [1, 1]) };
        net.convolution(hidden, convolution)
    };
    let objectness = head(&mut net, "rpn.head.cls_logits", ANCHORS);
    let boxes = head(&mut net, "rpn.head.bbox_pred", 4 * ANCHORS);
    net.name_map("objectness", objectness);
    net.name_map("boxes", boxes);
    net
}

/// Mask R-CNN with its weights.
pub(super) struct MaskRcnn {
    config: MaskRcnnConfig,
    body: Network,
    proposer: Network,
    boxes: Network,
    masks: Network,
}

/// What both stages look at.
struct Seen {
    /// The pyramid, f32.
    maps: Vec<Tensor>,
    /// The proposals' logits `[N, A]` and codes `[N, A, 4]`.
    proposals: proposals::Answers,
    /// Rows and columns of the pictures.
    size: [usize; 2],
}

impl MaskRcnn {
    fn see(&self, x: &Tensor, pass: Pass) -> Result<Seen> {
        let (_, _, height, width) = x.dims4()?;
        let maps = parts::output(&self.body, x, MAPS, pass)?;
        let maps = maps.iter().map(|map| map.to_dtype(DType::F32)).collect::<Result<Vec<_>>>()?;
        let proposals = proposals::answers(&self.proposer, &maps, [height, width], self.config.anchor, pass)?;
        Ok(Seen { maps, proposals, size: [height, width] })
    }
}

impl Detector for MaskRcnn {
    fn networks(&self) -> Vec<&Network> {
        vec![&self.body, &self.proposer, &self.boxes, &self.masks]
    }

    fn losses(&self, x: &Tensor, targets: &[Targets], order: Order) -> Result<Losses> {
        let seen = self.see(x, Pass::Train { seed: 0 })?;
        let mut losses = proposals::losses(&seen.proposals, targets, order)?;
        let proposals = proposals::choose(&seen.proposals, seen.size, true)?;
        losses.extend(regions::losses(self, &seen, proposals, targets, order)?);
        Ok(losses)
    }

    fn detect(&self, x: &Tensor) -> Result<Vec<Found>> {
        let seen = self.see(x, Pass::Infer)?;
        let proposals = proposals::choose(&seen.proposals, seen.size, false)?;
        regions::detect(self, &seen, &proposals)
    }
}
