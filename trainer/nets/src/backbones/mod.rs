//! The backbones by name: what each takes and gives, and how it is made of weights. Each is told in a file of its own.

pub mod efficientnet;
pub mod inception_resnet_v2;
pub mod reduction;
pub mod resnet50;

use std::{collections::BTreeMap, fmt, path::Path, str::FromStr};

use candle_core::{Device, Tensor};
use thorax_nn::graph::{Graph, NodeId};

use efficientnet::Scaling;
use reduction::Reduction;

use crate::{
    architecture::{Architecture, Weights},
    layout::Layout,
    network::Network,
    weights::{self, Mismatch, WeightsError},
};

/// A net that turns a picture into a map of features; the number is the variant's.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, serde::Serialize, serde::Deserialize)]
#[serde(into = "&'static str", try_from = "String")]
pub enum Backbone {
    /// He et al. 2015.
    ResNet50,
    /// Szegedy et al. 2016.
    InceptionResNetV2,
    /// Tan and Le 2019, 0 to 7.
    EfficientNetB(u8),
    /// Tan and Le 2019, without squeeze-and-excitation, 0 to 2.
    EfficientNetLite(u8),
}

/// There is no backbone of that name.
#[derive(Debug, thiserror::Error)]
#[error("there is no backbone {0:?}; `thorax-train backbones` lists them")]
pub struct UnknownBackbone(String);

/// Mean and standard deviation of the pictures that the published weights were trained on, of RGB in 0..1.
const IMAGENET: Normalisation = ([0.485, 0.456, 0.406], [0.229, 0.224, 0.225]);

/// RGB in -1..1.
const SYMMETRIC: Normalisation = ([0.5; 3], [0.5; 3]);

/// The mean of ImageNet's pictures that Caffe's nets subtract, of RGB in 0..255; they do not divide.
const CAFFE_MEAN: [f32; 3] = [123.68, 116.779, 103.939];

/// Mean and standard deviation, of RGB in 0..1.
type Normalisation = ([f32; 3], [f32; 3]);

impl Backbone {
    /// All of them.
    pub const ALL: [Self; 13] = [
        Self::ResNet50,
        Self::InceptionResNetV2,
        Self::EfficientNetB(0),
        Self::EfficientNetB(1),
        Self::EfficientNetB(2),
        Self::EfficientNetB(3),
        Self::EfficientNetB(4),
        Self::EfficientNetB(5),
        Self::EfficientNetB(6),
        Self::EfficientNetB(7),
        Self::EfficientNetLite(0),
        Self::EfficientNetLite(1),
        Self::EfficientNetLite(2),
    ];

    /// The name on the command line and in files.
    pub fn name(self) -> &'static str {
        match self {
            Self::ResNet50 => "resnet50",
            Self::InceptionResNetV2 => "inception-resnet-v2",
            Self::EfficientNetB(0) => "efficientnet-b0",
            Self::EfficientNetB(1) => "efficientnet-b1",
            Self::EfficientNetB(2) => "efficientnet-b2",
            Self::EfficientNetB(3) => "efficientnet-b3",
            Self::EfficientNetB(4) => "efficientnet-b4",
            Self::EfficientNetB(5) => "efficientnet-b5",
            Self::EfficientNetB(6) => "efficientnet-b6",
            Self::EfficientNetB(_) => "efficientnet-b7",
            Self::EfficientNetLite(0) => "efficientnet-lite0",
            Self::EfficientNetLite(1) => "efficientnet-lite1",
            Self::EfficientNetLite(_) => "efficientnet-lite2",
        }
    }

    /// Authors and year of the paper.
    pub fn paper(self) -> &'static str {
        match self {
            Self::ResNet50 => "He et al. 2015",
            Self::InceptionResNetV2 => "Szegedy et al. 2016",
            Self::EfficientNetB(_) | Self::EfficientNetLite(_) => "Tan and Le 2019",
        }
    }

    /// Width and height of the pictures that it was trained on.
    pub fn input_side(self) -> usize {
        match self {
            Self::ResNet50 => 224,
            Self::InceptionResNetV2 => 299,
            Self::EfficientNetB(index) => Scaling::b(index).side,
            Self::EfficientNetLite(index) => Scaling::lite(index).side,
        }
    }

    /// `[C, H, W]` of the map of features of a picture of [`Self::input_side`], headless and not pooled.
    pub fn feature_shape(self) -> [usize; 3] {
        match self {
            Self::ResNet50 => [2048, 7, 7],
            Self::InceptionResNetV2 => [1536, 8, 8],
            Self::EfficientNetB(index) => {
                let scaling = Scaling::b(index);
                let side = scaling.side.div_ceil(32);
                [scaling.head_channels(), side, side]
            }
            Self::EfficientNetLite(index) => {
                let scaling = Scaling::lite(index);
                let side = scaling.side.div_ceil(32);
                [scaling.head_channels(), side, side]
            }
        }
    }

    /// The repository on the Hugging Face Hub whose `model.safetensors` has the weights trained on ImageNet.
    pub fn hub_repository(self) -> &'static str {
        match self {
            Self::ResNet50 => "timm/resnet50.tv_in1k",
            Self::InceptionResNetV2 => "timm/inception_resnet_v2.tf_in1k",
            Self::EfficientNetB(0) => "timm/tf_efficientnet_b0.aa_in1k",
            Self::EfficientNetB(1) => "timm/tf_efficientnet_b1.aa_in1k",
            Self::EfficientNetB(2) => "timm/tf_efficientnet_b2.aa_in1k",
            Self::EfficientNetB(3) => "timm/tf_efficientnet_b3.aa_in1k",
            Self::EfficientNetB(4) => "timm/tf_efficientnet_b4.aa_in1k",
            Self::EfficientNetB(5) => "timm/tf_efficientnet_b5.aa_in1k",
            Self::EfficientNetB(6) => "timm/tf_efficientnet_b6.aa_in1k",
            Self::EfficientNetB(_) => "timm/tf_efficientnet_b7.aa_in1k",
            Self::EfficientNetLite(0) => "timm/tf_efficientnet_lite0.in1k",
            Self::EfficientNetLite(1) => "timm/tf_efficientnet_lite1.in1k",
            Self::EfficientNetLite(_) => "timm/tf_efficientnet_lite2.in1k",
        }
    }

    /// The layouts in which there are weights.
    pub fn layouts(self) -> &'static [Layout] {
        match self {
            Self::ResNet50 | Self::InceptionResNetV2 => &[Layout::Timm, Layout::Keras],
            Self::EfficientNetB(_) => &[Layout::Timm, Layout::Torchvision, Layout::Keras],
            Self::EfficientNetLite(_) => &[Layout::Timm],
        }
    }

    /// The net as `layout` has it; a layout without this net counts as timm's.
    pub fn architecture(self, layout: Layout) -> Architecture {
        self.reduced(layout, Reduction::WHOLE)
    }

    /// What is left of the net; of one that is not [reduced](Self::reduces), all.
    pub fn reduced(self, layout: Layout, reduction: Reduction) -> Architecture {
        let layout = if self.layouts().contains(&layout) { layout } else { Layout::Timm };
        match self {
            Self::ResNet50 => resnet50::architecture(layout),
            Self::InceptionResNetV2 => inception_resnet_v2::architecture(layout),
            Self::EfficientNetB(index) => efficientnet::architecture(Scaling::b(index), Reduction::WHOLE, layout),
            Self::EfficientNetLite(index) => efficientnet::architecture(Scaling::lite(index), reduction, layout),
        }
    }

    /// Whether there are nets with less of it.
    pub fn reduces(self) -> bool {
        matches!(self, Self::EfficientNetLite(_))
    }

    /// Names and shapes of the tensors that a file of that layout has, in the net's order, the classifier aside.
    pub fn file_tensors(self, layout: Layout) -> Vec<(String, Vec<usize>)> {
        weights::file_tensors(&self.architecture(layout), layout)
    }

    /// The layout of a file with these tensors, if it is this net's.
    fn layout_of(self, tensors: &BTreeMap<String, Tensor>) -> Layout {
        let layout = Layout::of(tensors);
        if self.layouts().contains(&layout) { layout } else { Layout::Timm }
    }

    /// What is subtracted from a picture, and by what it is divided, as the layout's published weights were trained.
    fn normalisation(self, layout: Layout) -> Normalisation {
        match (self, layout) {
            (Self::ResNet50, Layout::Keras) => (CAFFE_MEAN.map(|mean| mean / 255.0), [1.0 / 255.0; 3]),
            (Self::ResNet50 | Self::EfficientNetB(_), _) => IMAGENET,
            (Self::InceptionResNetV2 | Self::EfficientNetLite(_), _) => SYMMETRIC,
        }
    }

    /// What these tensors of a file make of this net.
    ///
    /// # Errors
    /// [`WeightsError::Mismatch`] when they are not this net's.
    pub fn weights(self, tensors: &BTreeMap<String, Tensor>) -> Result<BackboneWeights, WeightsError> {
        self.weights_of(tensors, Reduction::WHOLE)
    }

    /// As [`Self::weights`], of what is left of the net.
    ///
    /// # Errors
    /// [`WeightsError::Mismatch`] when they are not those.
    pub fn weights_of(
        self,
        tensors: &BTreeMap<String, Tensor>,
        reduction: Reduction,
    ) -> Result<BackboneWeights, WeightsError> {
        let layout = self.layout_of(tensors);
        let architecture = self.reduced(layout, reduction);
        if let Some(difference) = weights::compare(layout, &architecture, tensors) {
            let fits = Self::ALL.into_iter().filter(|other| *other != self).find(|other| {
                let layout = other.layout_of(tensors);
                weights::compare(layout, &other.reduced(layout, reduction), tensors).is_none()
            });
            return Err(WeightsError::Mismatch(Box::new(Mismatch {
                net: format!("{self}{reduction}"),
                hub_repository: self.hub_repository(),
                difference,
                fits: fits.map(Self::name),
            })));
        }
        let mut weights = weights::named(layout, &architecture, tensors)?;
        let mut normalisation = self.normalisation(layout);
        if layout == Layout::Keras {
            match self {
                Self::ResNet50 => swap_red_and_blue(&mut weights)?,
                Self::EfficientNetB(_) => normalisation = keras_normalisation(tensors)?.unwrap_or(normalisation),
                _ => {}
            }
        }
        Ok(BackboneWeights { backbone: self, reduction, layout, architecture, weights, normalisation })
    }

    /// Weights drawn from `seed`, timm's net: for measuring and testing, and to train from nothing.
    ///
    /// # Errors
    /// When the device refuses the memory.
    pub fn drawn_weights(self, seed: u64, device: &Device) -> Result<BackboneWeights, WeightsError> {
        let layout = Layout::Timm;
        let architecture = self.architecture(layout);
        let weights = weights::drawn(&architecture, seed, device)?;
        let (reduction, normalisation) = (Reduction::WHOLE, self.normalisation(layout));
        Ok(BackboneWeights { backbone: self, reduction, layout, architecture, weights, normalisation })
    }

    /// The net for inference on pictures of [`Self::input_side`], of the tensors of a file (see [`Self::weights`]).
    ///
    /// # Errors
    /// [`WeightsError::Mismatch`] when they are not this net's.
    pub fn load(self, tensors: &BTreeMap<String, Tensor>) -> Result<Pretrained, WeightsError> {
        self.weights(tensors)?.pretrained(self.input_side())
    }

    /// As [`Self::load`], of a safetensors file.
    ///
    /// # Errors
    /// [`WeightsError`] when the file cannot be read or is not this net's; it names the file.
    pub fn open(self, path: &Path, device: &Device) -> Result<Pretrained, WeightsError> {
        self.load(&weights::read(path, self.name(), device)?).map_err(|error| error.in_file(path))
    }

    /// The net for inference with weights drawn from `seed` (see [`Self::drawn_weights`]).
    ///
    /// # Errors
    /// When the device refuses the memory.
    pub fn draw(self, seed: u64, device: &Device) -> Result<Pretrained, WeightsError> {
        self.drawn_weights(seed, device)?.pretrained(self.input_side())
    }
}

impl fmt::Display for Backbone {
    fn fmt(&self, f: &mut fmt::Formatter) -> fmt::Result {
        f.write_str(self.name())
    }
}

impl FromStr for Backbone {
    type Err = UnknownBackbone;

    fn from_str(name: &str) -> Result<Self, UnknownBackbone> {
        let found = Self::ALL.into_iter().find(|backbone| backbone.name() == name);
        found.ok_or_else(|| UnknownBackbone(name.to_owned()))
    }
}

impl From<Backbone> for &'static str {
    fn from(backbone: Backbone) -> Self {
        backbone.name()
    }
}

impl TryFrom<String> for Backbone {
    type Error = UnknownBackbone;

    fn try_from(name: String) -> Result<Self, UnknownBackbone> {
        name.parse()
    }
}

impl clap::ValueEnum for Backbone {
    fn value_variants<'a>() -> &'a [Self] {
        &Self::ALL
    }

    fn to_possible_value(&self) -> Option<clap::builder::PossibleValue> {
        Some(clap::builder::PossibleValue::new(self.name()))
    }
}

/// Keras's ResNet50 was trained on BGR; with its first kernel turned round it takes RGB.
fn swap_red_and_blue(weights: &mut Weights) -> candle_core::Result<()> {
    for (name, weight) in weights.iter_mut() {
        if name == "conv1_conv.weight" {
            *weight = weight.index_select(&Tensor::new(&[2u32, 1, 0], weight.device())?, 1)?;
        }
    }
    Ok(())
}

/// What the normalisation layer inside Keras's EfficientNets does, if it is in the file.
///
/// The published files keep the standard deviations where the layer wants variances, and Keras divides by their roots twice;
/// every other file keeps variances.
fn keras_normalisation(tensors: &BTreeMap<String, Tensor>) -> candle_core::Result<Option<Normalisation>> {
    let values = |variable: &str| -> candle_core::Result<Option<[f32; 3]>> {
        let mut named = tensors.iter().filter_map(|(name, tensor)| {
            let (layer, last) = name.rsplit_once('/')?;
            (layer.starts_with("normalization") && last == variable).then_some(tensor)
        });
        let Some(tensor) = named.next() else { return Ok(None) };
        let values: Vec<f32> = tensor.to_dtype(candle_core::DType::F32)?.flatten_all()?.to_vec1()?;
        Ok(values.try_into().ok())
    };
    Ok(values("mean")?.zip(values("variance")?).map(|(mean, variance)| {
        let published = variance.iter().zip(IMAGENET.1).all(|(got, std)| (got - std).abs() < 1e-3);
        (mean, if published { variance } else { variance.map(f32::sqrt) })
    }))
}

/// A backbone's weights, ready to become a net.
pub struct BackboneWeights {
    backbone: Backbone,
    reduction: Reduction,
    layout: Layout,
    architecture: Architecture,
    weights: Weights,
    normalisation: Normalisation,
}

impl BackboneWeights {
    /// Whose they are.
    pub fn layout(&self) -> Layout {
        self.layout
    }

    /// The parameters, by name.
    pub fn weights(&self) -> &Weights {
        &self.weights
    }

    /// Mean and standard deviation that the net's pictures are normalised with, of RGB in 0..1.
    pub fn normalisation(&self) -> ([f32; 3], [f32; 3]) {
        self.normalisation
    }

    /// The net for inference on pictures of `side` x `side`.
    ///
    /// # Errors
    /// A side that is too small for the net.
    pub fn pretrained(self, side: usize) -> Result<Pretrained, WeightsError> {
        let Self { backbone, layout, architecture, weights, normalisation: (mean, std), .. } = self;
        let (graph, maps) = architecture.graph(weights, side)?;
        Ok(Pretrained { backbone, layout, graph, mean, std, maps })
    }

    /// The net that can be trained.
    ///
    /// # Errors
    /// When the device refuses the memory.
    pub fn network(self) -> Result<Network, WeightsError> {
        Ok(Network::new(self.architecture, self.weights)?)
    }
}

/// A backbone for inference.
pub struct Pretrained {
    /// Which.
    pub backbone: Backbone,
    /// Whose weights.
    pub layout: Layout,
    /// Its only output is `features`, `[N, C, H, W]`.
    pub graph: Graph,
    /// Subtracted from each channel of RGB in 0..1.
    pub mean: [f32; 3],
    /// By what each channel is then divided.
    pub std: [f32; 3],
    maps: Vec<(&'static str, NodeId)>,
}

impl Pretrained {
    /// The graph with the named maps as further outputs: `features`, then `stride2` to `stride16`, the last maps before the
    /// sides are halved again. They are kept in memory until the run is over.
    pub fn with_maps(&self) -> Graph {
        let mut graph = self.graph.clone();
        for (name, node) in &self.maps {
            if *name != "features" {
                graph.output(name, *node);
            }
        }
        graph
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[test]
    fn names_are_read_back_and_others_refused() {
        for backbone in Backbone::ALL {
            assert_eq!(backbone.name().parse::<Backbone>().unwrap(), backbone);
            let json = serde_json::to_string(&backbone).unwrap();
            assert_eq!(json, format!("{:?}", backbone.name()));
            assert_eq!(serde_json::from_str::<Backbone>(&json).unwrap(), backbone);
        }
        let error = "resnet51".parse::<Backbone>().unwrap_err().to_string();
        assert!(error.contains("resnet51") && error.contains("backbones"), "{error}");
    }

    #[test]
    fn the_shape_of_the_features_is_that_of_every_layout() {
        for backbone in Backbone::ALL {
            for layout in backbone.layouts() {
                let architecture = backbone.architecture(*layout);
                let shapes = architecture.shapes(backbone.input_side()).unwrap();
                let maps: Vec<_> = architecture.outputs().iter().map(|output| output.name).collect();
                assert_eq!(maps, ["stride2", "stride4", "stride8", "stride16", "features"]);
                assert_eq!(
                    shapes[architecture.outputs()[4].steps[0]],
                    backbone.feature_shape(),
                    "{backbone} of {layout}"
                );
            }
        }
    }
}
