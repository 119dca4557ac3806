//! The backbone, its features pooled, and a linear head for each member.

use candle_core::{DType, Device, Tensor};
use thorax_nets::{
    Backbone, Layout,
    architecture::{Activation, Architecture, Dense, Folding, Layer, StepId, Weights},
    backbones::BackboneWeights,
    network::Network,
};

use crate::heads;

/// The output with a logit a member, `[N, members, 1, 1]`.
pub const LOGITS: &str = "logits";

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
    /// The net as the weights' layout has it.
    ///
    /// # Errors
    /// A backbone without the maps that it should have.
    fn architecture(self, layout: Layout) -> candle_core::Result<Architecture> {
        let backbone = self.backbone.architecture(layout);
        let step_of = |outputs: &[(&'static str, StepId)], name: &str| {
            let found = outputs.iter().find(|(output, _)| *output == name).map(|&(_, step)| step);
            found.ok_or_else(|| candle_core::Error::Msg(format!("{}: there is no map {name}", self.backbone)))
        };
        let maps: Vec<_> = backbone.outputs().iter().map(|output| (output.name, output.steps[0])).collect();
        let last_frozen = match self.frozen {
            Frozen::None => 0,
            frozen => step_of(&maps, frozen.name())?,
        };
        let mut net = Architecture::new(backbone.channels(0), 1e-3, Folding::Reciprocal);
        let maps = net.append(0, "", backbone, |step| step <= last_frozen);
        if !self.batch_norms {
            net.freeze_norms();
        }
        let features = step_of(&maps, "features")?;
        let pooled = net.push(Layer::GlobalAveragePool, &[features]);
        let dropped = net.push(Layer::Dropout { probability: self.dropout, stream: DROPOUT }, &[pooled]);
        let inputs = net.channels(features);
        let heads = Dense { name: heads::LAYER.into(), inputs, outputs: self.members, activation: Activation::None };
        let logits = net.push(Layer::Dense(heads), &[dropped]);
        net.name_map(LOGITS, logits);
        Ok(net)
    }

    /// The net with a backbone's weights, and heads that say nothing yet.
    ///
    /// # Errors
    /// Keras's weights, whose kernels lie otherwise in the file; when the device refuses the memory.
    pub fn network(self, weights: &BackboneWeights, device: &Device) -> anyhow::Result<Network> {
        let layout = weights.layout();
        anyhow::ensure!(
            layout != Layout::Keras,
            "weights as Keras keeps them cannot be trained on; give timm's or torchvision's"
        );
        let architecture = self.architecture(layout)?;
        let mut all: Weights = weights.weights().clone();
        for parameter in architecture.parameters().iter().filter(|parameter| parameter.layer == heads::LAYER) {
            all.insert(parameter.name(), Tensor::zeros(parameter.shape.as_slice(), DType::F32, device)?);
        }
        Ok(Network::new(architecture, all)?)
    }
}
