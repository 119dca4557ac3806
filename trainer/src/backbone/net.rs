//! The backbone, its features pooled, a linear head for each member, and where lesions are learnt too, a logit for each cell of the map.

use candle_core::{DType, Device, Tensor};
use thorax_nets::{
    Backbone, Layout,
    architecture::{Activation, Architecture, Convolution, Dense, Folding, Layer, StepId, Weights},
    backbones::{BackboneWeights, reduction::Reduction},
    network::Network,
};

use crate::heads;

/// The output with a logit a member, `[N, members, 1, 1]`.
pub const LOGITS: &str = "logits";

/// The output with a logit a cell of the features' map, `[N, 1, g, g]`, and the name of its layer. Its weights end with the training.
pub const LESION_MAP: &str = "lesion_map";

/// The stream of the pass's seed that the dropout has.
const DROPOUT: u64 = 1;

/// Up to which map a backbone stays what it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, serde::Serialize, serde::Deserialize, clap::ValueEnum)]
#[serde(rename_all = "lowercase")]
pub enum Frozen {
    /// All of it is trained
    None,
    /// Up to the last map at half the picture's side
    Stride2,
    /// Up to the last map at a quarter
    Stride4,
    /// Up to the last map at an eighth
    Stride8,
    /// Up to the last map at a sixteenth
    Stride16,
}

impl Frozen {
    /// The last map that stays, or `none`.
    pub fn name(self) -> &'static str {
        match self {
            Self::None => "none",
            Self::Stride2 => "stride2",
            Self::Stride4 => "stride4",
            Self::Stride8 => "stride8",
            Self::Stride16 => "stride16",
        }
    }
}

/// What of the net is chosen.
#[derive(Clone, Copy, Debug, PartialEq, serde::Serialize, serde::Deserialize)]
pub struct Shape {
    /// The backbone.
    pub backbone: Backbone,
    /// What of it is left.
    #[serde(default, skip_serializing_if = "Reduction::is_whole")]
    pub reduction: Reduction,
    /// Heads.
    pub members: usize,
    /// What of the backbone stays as it is.
    pub frozen: Frozen,
    /// Batch norms follow the batches, in place of staying what they are.
    pub batch_norms: bool,
    /// Probability with which a pooled feature is dropped.
    pub dropout: f64,
}

impl Shape {
    /// The step of the map of that name among `maps`.
    fn step_of(self, maps: &[(&'static str, StepId)], name: &str) -> candle_core::Result<StepId> {
        let found = maps.iter().find(|(output, _)| *output == name).map(|&(_, step)| step);
        found.ok_or_else(|| candle_core::Error::Msg(format!("{}: there is no map {name}", self.backbone)))
    }

    /// Cells of a side of the features' map, for pictures of `side` x `side`.
    ///
    /// # Errors
    /// A side that is too small for the net.
    pub fn cells(self, layout: Layout, side: usize) -> candle_core::Result<usize> {
        let backbone = self.backbone.reduced(layout, self.reduction);
        let features = self.step_of(&maps_of(&backbone), "features")?;
        Ok(backbone.shapes(side)?[features][1])
    }

    /// The net as the weights' layout has it, with [`LESION_MAP`] if that is wanted.
    ///
    /// # Errors
    /// A backbone without the maps that it should have.
    fn architecture(self, layout: Layout, lesion_map: bool) -> candle_core::Result<Architecture> {
        let backbone = self.backbone.reduced(layout, self.reduction);
        let last_frozen = match self.frozen {
            Frozen::None => 0,
            frozen => self.step_of(&maps_of(&backbone), frozen.name())?,
        };
        let mut net = Architecture::new(backbone.channels(0), 1e-3, Folding::Reciprocal);
        let maps = net.append(0, "", backbone, |step| step <= last_frozen);
        if !self.batch_norms {
            net.freeze_norms();
        }
        let features = self.step_of(&maps, "features")?;
        let pooled = net.push(Layer::GlobalAveragePool, &[features]);
        let dropped = net.push(Layer::Dropout { probability: self.dropout, stream: DROPOUT }, &[pooled]);
        let inputs = net.channels(features);
        let heads = Dense { name: heads::LAYER.into(), inputs, outputs: self.members, activation: Activation::None };
        let logits = net.push(Layer::Dense(heads), &[dropped]);
        net.name_map(LOGITS, logits);
        if lesion_map {
            let cells = Convolution { biased: true, ..Convolution::new(LESION_MAP, inputs, 1, [1, 1]) };
            let cells = net.convolution(features, cells);
            net.name_map(LESION_MAP, cells);
        }
        Ok(net)
    }

    /// The net with a backbone's weights, and heads that say nothing yet; with [`LESION_MAP`], which says nothing yet either, if that is wanted.
    ///
    /// # Errors
    /// Keras's weights, whose kernels lie otherwise in the file; when the device refuses the memory.
    pub fn network(self, weights: &BackboneWeights, lesion_map: bool, device: &Device) -> anyhow::Result<Network> {
        let layout = weights.layout();
        anyhow::ensure!(
            layout != Layout::Keras,
            "weights as Keras keeps them cannot be trained on; give timm's or torchvision's"
        );
        let architecture = self.architecture(layout, lesion_map)?;
        let mut all: Weights = weights.weights().clone();
        let drawn = |layer: &str| layer == heads::LAYER || layer == LESION_MAP;
        for parameter in architecture.parameters().iter().filter(|parameter| drawn(&parameter.layer)) {
            all.insert(parameter.name(), Tensor::zeros(parameter.shape.as_slice(), DType::F32, device)?);
        }
        Ok(Network::new(architecture, all)?)
    }
}

/// The maps that a backbone names.
fn maps_of(backbone: &Architecture) -> Vec<(&'static str, StepId)> {
    backbone.outputs().iter().map(|output| (output.name, output.steps[0])).collect()
}
