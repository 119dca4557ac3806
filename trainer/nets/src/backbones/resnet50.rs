//! ResNet50, headless (He et al. 2015).
//!
//! torchvision and timm have the stride of a block on its 3x3 convolution, and convolutions without bias; Keras has it on
//! the first 1x1 convolution, as the paper does, and biases. Of a 224 x 224 picture the feature map has 2048 x 7 x 7 = 100,352
//! values; Keras's net has 23,587,712 parameters.

use thorax_nn::pool::PoolConfig;

use crate::{
    architecture::{Activation, Architecture, Convolution, Folding, Layer, StepId},
    layout::Layout,
};

/// Width of the 3x3 convolutions and number of blocks of each stage; all but the first halve the sides.
const STAGES: [(usize, usize); 4] = [(64, 3), (128, 4), (256, 6), (512, 3)];

/// A block gives this many times its width.
const EXPANSION: usize = 4;

/// The names of the maps before each halving of the sides, and of the last.
const MAPS: [&str; 4] = ["stride4", "stride8", "stride16", "features"];

/// The net as `layout` has it.
pub fn architecture(layout: Layout) -> Architecture {
    let keras = layout == Layout::Keras;
    built(keras, keras)
}

/// timm's net and names, but with the stride of a block on its first convolution, as the paper has it.
pub fn with_early_stride() -> Architecture {
    built(false, true)
}

fn built(keras: bool, early_stride: bool) -> Architecture {
    let net = Architecture::new(3, if keras { 1.001e-5 } else { 1e-5 }, Folding::Reciprocal);
    let mut net = Builder { net, keras, early_stride };
    let stem = if keras { ["conv1_conv", "conv1_bn"] } else { ["conv1", "bn1"] };
    let mut step = net.layer(0, stem.map(str::to_owned), 64, 7, 2, Activation::Relu);
    net.net.name_map("stride2", step);
    let pool = PoolConfig { kernel: 3, stride: 2, padding: 1, ceil_mode: false };
    step = net.net.push(Layer::MaxPool(pool), &[step]);
    for (stage, (width, blocks)) in STAGES.into_iter().enumerate() {
        for block in 0..blocks {
            let stride = if stage > 0 && block == 0 { 2 } else { 1 };
            step = net.bottleneck(step, [stage, block], width, stride);
        }
        net.net.name_map(MAPS[stage], step);
    }
    net.net
}

struct Builder {
    net: Architecture,
    keras: bool,
    /// Whether a block's stride is on its first convolution.
    early_stride: bool,
}

impl Builder {
    /// Names of convolution `index` of a block, and of its batch norm; 0 is the projection of the input.
    fn names(&self, [stage, block]: [usize; 2], index: usize) -> [String; 2] {
        match index {
            _ if self.keras => {
                ["conv", "bn"].map(|part| format!("conv{}_block{}_{index}_{part}", stage + 2, block + 1))
            }
            0 => [0, 1].map(|part| format!("layer{}.{block}.downsample.{part}", stage + 1)),
            _ => ["conv", "bn"].map(|part| format!("layer{}.{block}.{part}{index}", stage + 1)),
        }
    }

    /// 1x1 to `width`, 3x3, 1x1 to four times `width`, plus the input or a projection of it.
    fn bottleneck(&mut self, input: StepId, place: [usize; 2], width: usize, stride: usize) -> StepId {
        let out = width * EXPANSION;
        let [projection, reduce, middle, expand] = [0, 1, 2, 3].map(|index| self.names(place, index));
        let shortcut = match place {
            [_, 0] => self.layer(input, projection, out, 1, stride, Activation::None),
            _ => input,
        };
        let (first, second) = if self.early_stride { (stride, 1) } else { (1, stride) };
        let mut step = self.layer(input, reduce, width, 1, first, Activation::Relu);
        step = self.layer(step, middle, width, 3, second, Activation::Relu);
        step = self.layer(step, expand, out, 1, 1, Activation::None);
        self.net.push(Layer::Add(Activation::Relu), &[step, shortcut])
    }

    fn layer(
        &mut self,
        input: StepId,
        [name, norm]: [String; 2],
        channels_out: usize,
        kernel: usize,
        stride: usize,
        activation: Activation,
    ) -> StepId {
        let convolution = Convolution {
            stride,
            biased: self.keras,
            norm: Some(self.net.norm(norm, true)),
            activation,
            ..Convolution::new(name, self.net.channels(input), channels_out, [kernel; 2])
        };
        self.net.convolution(input, convolution)
    }
}
