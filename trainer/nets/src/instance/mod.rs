//! The nets that find single lesions, each with its box, its score and its mask; one a file, behind one face.
//!
//! | net | folder or file | source |
//! |---|---|---|
//! | Mask R-CNN | [`mask_rcnn`] | He et al. 2017; torchvision's |
//! | YOLACT | [`yolact`] | Bolya et al. 2019 |
//! | SOLO | [`solo`] | Wang et al. 2020, the first |
//! | BlitzNet | [`blitznet`] | Dvornik et al. 2017; its semantic map is its answer |
//! | SRGNet | [`srgnet`] | a reconstruction from the abstract of Wu et al. 2021 |
//!
//! An [`InstanceConfig`] is what a run's configuration keeps; [`InstanceConfig::init`] makes an [`InstanceNet`] of it. All stand on a
//! ResNet50. [`targets`] are the lesions that they learn, [`anchors`] the boxes that they tell lesions from, [`matching`] says which of
//! these learns what. They train and infer as [`Network`]s on any device, the choice of boxes on the host. YOLACT leaves as ONNX, the choice
//! of boxes and their masks with it ([`InstanceNet::to_onnx`]).

pub mod anchors;
pub mod blitznet;
pub mod mask_rcnn;
pub mod matching;
mod parts;
mod single_shot;
pub mod solo;
pub mod srgnet;
pub mod targets;
#[cfg(test)]
mod tests;
pub mod yolact;

use blitznet::BlitzNetConfig;
use candle_core::{DType, Device, Result, Tensor, Var};
use mask_rcnn::MaskRcnnConfig;
use matching::Order;
use solo::SoloConfig;
use srgnet::SrgNetConfig;
use targets::Targets;
use thorax_nn::detection::BoundingBox;
use yolact::YolactConfig;

use crate::{
    architecture::{Architecture, Role, Weights},
    network::Network,
};

/// Which net, and its shape.
#[derive(Clone, Copy, Debug, PartialEq, serde::Serialize, serde::Deserialize)]
#[serde(tag = "kind", rename_all = "kebab-case")]
#[non_exhaustive]
pub enum InstanceConfig {
    /// He et al. 2017.
    MaskRcnn(MaskRcnnConfig),
    /// Bolya et al. 2019.
    Yolact(YolactConfig),
    /// Wang et al. 2020.
    Solo(SoloConfig),
    /// Dvornik et al. 2017.
    Blitznet(BlitzNetConfig),
    /// After Wu et al. 2021.
    Srgnet(SrgNetConfig),
}

/// A lesion that was found.
#[derive(Clone, Debug, PartialEq)]
pub struct Instance {
    /// Its class, from 1 on.
    pub class: usize,
    /// How sure the net is, 0 to 1.
    pub score: f32,
    /// Where it is, in pixels of the net's picture.
    pub place: BoundingBox,
    /// Whether each pixel of the net's picture belongs to it.
    pub mask: Vec<bool>,
}

/// What was found in a picture.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Found {
    /// The lesions, the surest first.
    pub instances: Vec<Instance>,
    /// Whether each pixel is infected, of a net that has a map of its own for it.
    pub map: Option<Vec<bool>>,
}

impl Found {
    /// Whether each of `pixels` pixels is infected: by the net's own map, or else by any lesion of at least that score.
    pub fn union(&self, pixels: usize, score: f32) -> Vec<bool> {
        if let Some(map) = &self.map {
            return map.clone();
        }
        let mut union = vec![false; pixels];
        for instance in self.instances.iter().filter(|instance| instance.score >= score) {
            union.iter_mut().zip(&instance.mask).for_each(|(all, inside)| *all |= inside);
        }
        union
    }
}

/// The terms of a loss by their names, each a scalar.
pub type Losses = Vec<(&'static str, Tensor)>;

/// A net that finds single lesions, whatever it is made of.
trait Detector: Send + Sync {
    /// The nets that it is made of, in the order of checkpoints.
    fn networks(&self) -> Vec<&Network>;

    /// The terms of the loss for pictures `[N, 3, S, S]` and their lesions.
    fn losses(&self, x: &Tensor, targets: &[Targets], order: Order) -> Result<Losses>;

    /// What is in each picture `[N, 3, S, S]`.
    fn detect(&self, x: &Tensor) -> Result<Vec<Found>>;

    /// All of [`Self::detect`] as an ONNX file for one picture of that side; `None` of a net that does not leave as one.
    fn to_onnx(&self, _side: usize) -> Option<Result<Vec<u8>>> {
        None
    }
}

impl InstanceConfig {
    /// The parts that the net is made of.
    pub fn architectures(self) -> Vec<Architecture> {
        match self {
            Self::MaskRcnn(config) => config.architectures(),
            Self::Yolact(config) => config.architectures(),
            Self::Solo(config) => config.architectures(),
            Self::Blitznet(config) => config.architectures(),
            Self::Srgnet(config) => config.architectures(),
        }
    }

    /// How many parameters there are, as PyTorch counts them: without the moving statistics of batch norms, and without batch norms that
    /// stay what they are.
    pub fn parameters(self) -> usize {
        let parameters = self.architectures().iter().flat_map(Architecture::parameters).collect::<Vec<_>>();
        let norms = |layer: &str| parameters.iter().any(|p| p.layer == layer && p.role == Role::Mean && p.frozen);
        let counts = parameters.iter().filter(|parameter| match parameter.role {
            Role::Mean | Role::Variance => false,
            Role::Scale | Role::Shift => !(parameter.frozen && self.freezes_norms() && norms(&parameter.layer)),
            _ => true,
        });
        counts.map(|parameter| parameter.count()).sum()
    }

    fn freezes_norms(self) -> bool {
        matches!(self, Self::MaskRcnn(_))
    }

    /// Classes, the background counted.
    pub fn classes(self) -> usize {
        match self {
            Self::MaskRcnn(config) => config.classes,
            Self::Yolact(config) => config.classes,
            Self::Solo(config) => config.classes + 1,
            Self::Blitznet(config) => config.classes,
            Self::Srgnet(_) => 2,
        }
    }

    /// Reference boxes of a picture of that side; `None` for a net without any.
    pub fn priors(self, side: usize) -> Option<usize> {
        match self {
            Self::Yolact(config) => Some(config.priors(side).len()),
            Self::Blitznet(config) => Some(config.priors(side).len()),
            _ => None,
        }
    }

    /// What the sides of the pictures must be multiples of.
    pub fn side_multiple(self) -> usize {
        match self {
            Self::MaskRcnn(_) | Self::Solo(_) | Self::Srgnet(_) => 32,
            Self::Yolact(_) | Self::Blitznet(_) => 1,
        }
    }

    /// In words, for a model card.
    pub fn describe(self) -> &'static str {
        match self {
            Self::MaskRcnn(_) => "Mask R-CNN (ResNet50, feature pyramid)",
            Self::Yolact(_) => "YOLACT (ResNet50)",
            Self::Solo(_) => "SOLO (ResNet50, feature pyramid)",
            Self::Blitznet(_) => "BlitzNet (ResNet50, stride 4), scored by its semantic map",
            Self::Srgnet(_) => {
                "SRGNet, a reconstruction from the abstract of Wu et al. 2021 (ResNet50, feature pyramid)"
            }
        }
    }

    /// The net with weights drawn from `seed`; a backbone's published ones are put in their place by [`InstanceNet::set_backbone`].
    ///
    /// # Errors
    /// When the device refuses the memory.
    pub fn init(self, seed: u64, device: &Device) -> Result<InstanceNet> {
        let detector: Box<dyn Detector> = match self {
            Self::MaskRcnn(config) => Box::new(config.init(seed, device)?),
            Self::Yolact(config) => Box::new(config.init(seed, device)?),
            Self::Solo(config) => Box::new(config.init(seed, device)?),
            Self::Blitznet(config) => Box::new(config.init(seed, device)?),
            Self::Srgnet(config) => Box::new(config.init(seed, device)?),
        };
        Ok(InstanceNet { config: self, detector, device: device.clone() })
    }

    /// The part of the names that the backbone's parameters begin with.
    fn backbone_prefix(self) -> &'static str {
        match self {
            Self::MaskRcnn(_) => mask_rcnn::BACKBONE,
            _ => "backbone.",
        }
    }
}

/// A net with its weights.
pub struct InstanceNet {
    config: InstanceConfig,
    detector: Box<dyn Detector>,
    device: Device,
}

impl InstanceNet {
    /// Which net it is.
    pub fn config(&self) -> InstanceConfig {
        self.config
    }

    /// Where it is.
    pub fn device(&self) -> &Device {
        &self.device
    }

    /// The terms of the loss of pictures `[N, 3, S, S]`, each with its lesions (possibly none).
    ///
    /// # Errors
    /// Lesions that cannot be learnt ([`Targets::check`]); pictures of another shape.
    pub fn losses(&self, x: &Tensor, targets: &[Targets], order: Order) -> Result<Losses> {
        let (n, _, height, width) = x.dims4()?;
        if targets.len() != n || targets.iter().any(|of| (of.height, of.width) != (height, width)) {
            candle_core::bail!("{n} pictures of {height} x {width} need as many lists of lesions of that size");
        }
        targets.iter().try_for_each(|targets| targets.check(self.config.classes()))?;
        self.detector.losses(x, targets, order)
    }

    /// The sum of [`Self::losses`], a scalar; each trained variable has a gradient from it.
    ///
    /// # Errors
    /// As [`Self::losses`].
    pub fn loss(&self, x: &Tensor, targets: &[Targets], order: Order) -> Result<Tensor> {
        let zero = Tensor::zeros((), DType::F32, &self.device)?;
        self.losses(x, targets, order)?.into_iter().try_fold(zero, |sum, (_, term)| sum + term)
    }

    /// What is in each picture `[N, 3, S, S]`.
    ///
    /// # Errors
    /// Pictures of another shape; a net one of whose maps, scores or boxes is no number (which finds nothing, and must not seem to).
    pub fn detect(&self, x: &Tensor) -> Result<Vec<Found>> {
        let found = self.detector.detect(x)?;
        let broken = |instance: &Instance| !instance.score.is_finite() || !instance.place.area().is_finite();
        if found.iter().flat_map(|found| &found.instances).any(broken) {
            candle_core::bail!("a lesion: {}", parts::BROKEN);
        }
        Ok(found)
    }

    /// All of [`Self::detect`] as an ONNX file: its input is `input`, `[1, 3, side, side]`; its outputs, the surest lesion first and K of them,
    /// are `boxes` `[K, 4]` (left, top, right, bottom in pixels of the input), `scores` `[K]` and `masks` `[K, side, side]` of 0 and 1 (u8).
    ///
    /// # Errors
    /// A net other than YOLACT with one class of lesions; a side that is too small for it.
    pub fn to_onnx(&self, side: usize) -> Result<Vec<u8>> {
        let unable = || candle_core::bail!("{} does not leave as ONNX; YOLACT does", self.config.describe());
        self.detector.to_onnx(side).unwrap_or_else(unable)
    }

    /// What the optimizer moves, by name.
    pub fn trainable(&self) -> Vec<(String, Var)> {
        self.detector.networks().into_iter().flat_map(Network::trainable).collect()
    }

    /// Everything a checkpoint needs, moving statistics included, by name.
    pub fn variables(&self) -> Vec<(String, Var)> {
        self.detector.networks().into_iter().flat_map(Network::variables).collect()
    }

    /// Puts the weights of a ResNet50, under timm's or torchvision's names, into the net.
    ///
    /// # Errors
    /// A weight that is missing or misshapen.
    pub fn set_backbone(&self, weights: &Weights) -> Result<()> {
        let prefix = self.config.backbone_prefix();
        for (name, var) in self.variables() {
            let Some(name) = name.strip_prefix(prefix) else { continue };
            let Some(weight) = weights.get(name) else {
                candle_core::bail!(
                    "the weights lack {name}; give those of a ResNet50 with timm's or torchvision's names"
                );
            };
            var.set(&weight.to_device(var.device())?)?;
        }
        Ok(())
    }
}
