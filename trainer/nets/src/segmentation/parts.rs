//! What the segmentation nets are told in: convolutions with their norms, steps up, attention gates.

use thorax_nn::pool::PoolConfig;

use crate::architecture::{Activation, Architecture, Convolution, Folding, Kind, Layer, StepId, UpConvolution};

/// No block has more channels, however deep the net is (as in nnU-Net, Isensee et al. 2021): six blocks of doubling channels
/// would put nine tenths of the weights where the map has 4 x 4 pixels.
const MOST_CHANNELS: usize = 512;

/// What the batch norms add to the variance, as PyTorch's do.
const EPSILON: f64 = 1e-5;

/// The name of the output.
pub(super) const LOGITS: &str = "logits";

/// Channels of encoder block `block`, counted from 0; each doubles those before, up to 512.
pub(super) fn width(base_channels: usize, block: usize) -> usize {
    (base_channels << block.min(usize::BITS as usize / 2)).min(MOST_CHANNELS.max(base_channels))
}

/// A net of that many channels in, to which the parts are appended.
pub(super) struct Builder {
    pub(super) net: Architecture,
}

impl Builder {
    pub(super) fn new(channels_in: usize) -> Self {
        Self { net: Architecture::new(channels_in, EPSILON, Folding::Quotient) }
    }

    /// Twice: 3x3 convolution, batch norm, ReLU.
    pub(super) fn double(&mut self, prefix: &str, input: StepId, channels: usize) -> StepId {
        (0..2).fold(input, |step, index| {
            let convolution = Convolution {
                norm: Some(self.net.norm(format!("{prefix}.bn{index}"), true)),
                activation: Activation::Relu,
                ..Convolution::new(format!("{prefix}.conv{index}"), self.net.channels(step), channels, [3, 3])
            };
            self.net.convolution(step, convolution)
        })
    }

    /// Twice: 3x3 convolution with bias, ReLU.
    pub(super) fn double_without_norm(&mut self, prefix: &str, input: StepId, channels: usize) -> StepId {
        (0..2).fold(input, |step, index| {
            self.biased(&format!("{prefix}.conv{index}"), step, channels, 3, Activation::Relu)
        })
    }

    /// A convolution with bias, `kernel` x `kernel`.
    pub(super) fn biased(
        &mut self,
        name: &str,
        input: StepId,
        channels: usize,
        kernel: usize,
        activation: Activation,
    ) -> StepId {
        let from = self.net.channels(input);
        let convolution =
            Convolution { biased: true, activation, ..Convolution::new(name, from, channels, [kernel; 2]) };
        self.net.convolution(input, convolution)
    }

    /// A batch norm by itself.
    pub(super) fn norm(&mut self, name: &str, input: StepId) -> StepId {
        let norm = self.net.norm(name, true);
        self.net.push(Layer::Norm(norm), &[input])
    }

    /// The sides halved.
    pub(super) fn down(&mut self, input: StepId) -> StepId {
        self.net.push(Layer::MaxPool(PoolConfig::tiles(2)), &[input])
    }

    /// The sides doubled, by a transposed convolution.
    pub(super) fn up(&mut self, name: &str, input: StepId, channels_out: usize) -> StepId {
        let up = UpConvolution { name: name.into(), channels_in: self.net.channels(input), channels_out };
        self.net.push(Layer::UpConvolution(up), &[input])
    }

    /// The channels of both.
    pub(super) fn join(&mut self, first: StepId, second: StepId) -> StepId {
        self.net.push(Layer::Concatenate, &[first, second])
    }

    /// An additive attention gate (Oktay et al. 2018, equations 1 and 2), both maps of one shape: each pixel of the skip
    /// connection is weighed by what it and the deeper map hold, `sigmoid(score(relu(signal(g) + skip(x))))`.
    pub(super) fn gate(&mut self, prefix: &str, skip: StepId, signal: StepId) -> StepId {
        let inner = (self.net.channels(skip) / 2).max(1);
        let from_signal = self.biased(&format!("{prefix}.signal"), signal, inner, 1, Activation::None);
        let from_skip = self.biased(&format!("{prefix}.skip"), skip, inner, 1, Activation::None);
        let sum = self.net.push(Layer::Add(Activation::Relu), &[from_signal, from_skip]);
        let attention = self.biased(&format!("{prefix}.score"), sum, 1, 1, Activation::Sigmoid);
        self.net.push(Layer::Attend, &[skip, attention])
    }

    /// The net whose answer is what a 1x1 convolution makes of `input`.
    pub(super) fn finish(mut self, input: StepId, channels_out: usize) -> Architecture {
        let head = self.biased("head", input, channels_out, 1, Activation::None);
        self.net.output(LOGITS, Kind::Heads, vec![head]);
        self.net
    }
}
