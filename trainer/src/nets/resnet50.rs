//! ResNet50, headless (He et al. 2015).
//!
//! torchvision and timm have the stride of a block on its 3x3 convolution, and convolutions without bias; Keras has it on
//! the first 1x1 convolution, as the paper does, and biases. Of a 224 x 224 picture the feature map has 2048 x 7 x 7 = 100,352
//! values; Keras's net has 23,587,712 parameters.

use super::{
    architecture::{Activation, Architecture, Convolution, Layer, Norm, StepId},
    layout::Layout,
};
use crate::nn::pool::PoolConfig;

/// Width of the 3x3 convolutions and number of blocks of each stage; all but the first halve the sides.
const STAGES: [(usize, usize); 4] = [(64, 3), (128, 4), (256, 6), (512, 3)];

/// A block gives this many times its width.
const EXPANSION: usize = 4;

/// The names of the maps before each halving of the sides, and of the last.
const MAPS: [&str; 4] = ["stride4", "stride8", "stride16", "features"];

/// The net as `layout` has it.
pub fn architecture(layout: Layout) -> Architecture {
    let keras = layout == Layout::Keras;
    let mut net = Architecture::new(3, if keras { 1.001e-5 } else { 1e-5 });
    let stem = if keras { ["conv1_conv", "conv1_bn"] } else { ["conv1", "bn1"] };
    let mut step = layer(&mut net, 0, stem.map(str::to_owned), 64, 7, Activation::Relu, 2, keras);
    net.name_map("stride2", step);
    let pool = PoolConfig { kernel: 3, stride: 2, padding: 1, ceil_mode: false };
    step = net.push(Layer::MaxPool(pool), &[step]);
    for (stage, (width, blocks)) in STAGES.into_iter().enumerate() {
        for block in 0..blocks {
            let stride = if stage > 0 && block == 0 { 2 } else { 1 };
            step = bottleneck(&mut net, step, [stage, block], width, stride, keras);
        }
        net.name_map(MAPS[stage], step);
    }
    net
}

/// Names of convolution `index` of a block, and of its batch norm; 0 is the projection of the input.
fn names([stage, block]: [usize; 2], index: usize, keras: bool) -> [String; 2] {
    let (outer, inner) = (stage + 1, block);
    match index {
        _ if keras => ["conv", "bn"].map(|part| format!("conv{}_block{}_{index}_{part}", stage + 2, block + 1)),
        0 => [0, 1].map(|part| format!("layer{outer}.{inner}.downsample.{part}")),
        _ => ["conv", "bn"].map(|part| format!("layer{outer}.{inner}.{part}{index}")),
    }
}

/// 1x1 to `width`, 3x3, 1x1 to four times `width`, plus the input or a projection of it.
fn bottleneck(
    net: &mut Architecture,
    input: StepId,
    place: [usize; 2],
    width: usize,
    stride: usize,
    keras: bool,
) -> StepId {
    let out = width * EXPANSION;
    let shortcut = match place {
        [_, 0] => layer(net, input, names(place, 0, keras), out, 1, Activation::None, stride, keras),
        _ => input,
    };
    let (first, second) = if keras { (stride, 1) } else { (1, stride) };
    let mut step = layer(net, input, names(place, 1, keras), width, 1, Activation::Relu, first, keras);
    step = layer(net, step, names(place, 2, keras), width, 3, Activation::Relu, second, keras);
    step = layer(net, step, names(place, 3, keras), out, 1, Activation::None, 1, keras);
    net.push(Layer::Add(Activation::Relu), &[step, shortcut])
}

#[allow(clippy::too_many_arguments)]
fn layer(
    net: &mut Architecture,
    input: StepId,
    [name, norm]: [String; 2],
    channels_out: usize,
    kernel: usize,
    activation: Activation,
    stride: usize,
    biased: bool,
) -> StepId {
    let convolution = Convolution {
        stride,
        biased,
        norm: Some(Norm { name: norm, scaled: true }),
        activation,
        ..Convolution::new(name, net.channels(input), channels_out, [kernel; 2])
    };
    net.convolution(input, convolution)
}
