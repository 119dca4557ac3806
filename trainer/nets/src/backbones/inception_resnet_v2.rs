//! InceptionResNetV2, headless (Szegedy et al. 2016): residual blocks of several branches, scaled before they are added.
//!
//! timm and Keras have the same net, with weights of the same origin; Keras's batch norms have no scale, and most of its layers
//! no name but a number in the order in which they are made, which is the order below. Of a 299 x 299 picture the feature map
//! has 1536 x 8 x 8 = 98,304 values; Keras's net has 54,336,736 parameters.

use thorax_nn::pool::PoolConfig;

use crate::{
    architecture::{Activation, Architecture, Border, Convolution, Folding, Layer, StepId},
    layout::Layout,
};

/// Windows of 3, two apart, which halve the sides.
const HALVING: PoolConfig = PoolConfig { kernel: 3, stride: 2, padding: 0, ceil_mode: false };

/// Windows of 3 around each pixel.
const AROUND: PoolConfig = PoolConfig { kernel: 3, stride: 1, padding: 1, ceil_mode: false };

/// A convolution of a branch: channels, kernel, stride, border.
type Part = (usize, [usize; 2], usize, Border);

/// A convolution that keeps the sides.
const fn keep(channels: usize, kernel: [usize; 2]) -> Part {
    (channels, kernel, 1, Border::Half)
}

/// A 1x1 convolution.
const fn point(channels: usize) -> Part {
    keep(channels, [1, 1])
}

/// A 3x3 convolution that keeps the sides.
const fn square(channels: usize) -> Part {
    keep(channels, [3, 3])
}

/// A 3x3 convolution that halves the sides.
const fn halve(channels: usize) -> Part {
    (channels, [3, 3], 2, Border::Valid)
}

/// A kind of residual block.
struct Block {
    /// Keras's name of it.
    keras: &'static str,
    branches: &'static [&'static [Part]],
    scale: f64,
}

const BLOCK_35: Block = Block {
    keras: "block35",
    branches: &[&[point(32)], &[point(32), square(32)], &[point(32), square(48), square(64)]],
    scale: 0.17,
};
const BLOCK_17: Block = Block {
    keras: "block17",
    branches: &[&[point(192)], &[point(128), keep(160, [1, 7]), keep(192, [7, 1])]],
    scale: 0.1,
};
const BLOCK_8: Block = Block {
    keras: "block8",
    branches: &[&[point(192)], &[point(192), keep(224, [1, 3]), keep(256, [3, 1])]],
    scale: 0.2,
};

/// The net as `layout` has it.
pub fn architecture(layout: Layout) -> Architecture {
    let mut net =
        Builder { net: Architecture::new(3, 1e-3, Folding::Reciprocal), keras: layout == Layout::Keras, made: 0 };
    let mut step = net.layer(0, "conv2d_1a", halve(32));
    step = net.layer(step, "conv2d_2a", (32, [3, 3], 1, Border::Valid));
    step = net.layer(step, "conv2d_2b", square(64));
    net.net.name_map("stride2", step);
    step = net.net.push(Layer::MaxPool(HALVING), &[step]);
    step = net.layer(step, "conv2d_3b", point(80));
    step = net.layer(step, "conv2d_4a", (192, [3, 3], 1, Border::Valid));
    net.net.name_map("stride4", step);
    step = net.net.push(Layer::MaxPool(HALVING), &[step]);

    let branches: [&[Part]; 3] = [&[point(96)], &[point(48), keep(64, [5, 5])], &[point(64), square(96), square(96)]];
    let mut outputs = net.branches(step, "mixed_5b", &branches);
    let pooled = net.net.push(Layer::AveragePool(AROUND), &[step]);
    outputs.push(net.layer(pooled, "mixed_5b.branch3.1", point(64)));
    step = net.net.push(Layer::Concatenate, &outputs);
    for index in 0..10 {
        step = net.residual(step, &format!("repeat.{index}"), &BLOCK_35, index, BLOCK_35.scale, Activation::Relu);
    }
    net.net.name_map("stride8", step);
    step = net.reduction(step, "mixed_6a", &[&[halve(384)], &[point(256), square(256), halve(384)]]);
    for index in 0..20 {
        step = net.residual(step, &format!("repeat_1.{index}"), &BLOCK_17, index, BLOCK_17.scale, Activation::Relu);
    }
    net.net.name_map("stride16", step);
    let branches: [&[Part]; 3] =
        [&[point(256), halve(384)], &[point(256), halve(288)], &[point(256), square(288), halve(320)]];
    step = net.reduction(step, "mixed_7a", &branches);
    for index in 0..9 {
        step = net.residual(step, &format!("repeat_2.{index}"), &BLOCK_8, index, BLOCK_8.scale, Activation::Relu);
    }
    step = net.residual(step, "block8", &BLOCK_8, 9, 1.0, Activation::None);
    step = net.layer(step, "conv2d_7b", point(1536));
    net.net.name_map("features", step);
    net.net
}

struct Builder {
    net: Architecture,
    keras: bool,
    /// Layers made so far that Keras only numbers.
    made: usize,
}

impl Builder {
    /// A convolution with batch norm and ReLU; `name` is timm's.
    fn layer(&mut self, input: StepId, name: &str, (channels, kernel, stride, border): Part) -> StepId {
        let [name, norm] = match (self.keras, name) {
            (true, "conv2d_7b") => ["conv_7b", "conv_7b_bn"].map(str::to_owned),
            (true, _) => {
                self.made += 1;
                ["conv2d", "batch_normalization"].map(|kind| format!("{kind}_{}", self.made - 1))
            }
            (false, _) => ["conv", "bn"].map(|part| format!("{name}.{part}")),
        };
        let convolution = Convolution {
            stride,
            border,
            norm: Some(self.net.norm(norm, !self.keras)),
            activation: Activation::Relu,
            ..Convolution::new(name, self.net.channels(input), channels, kernel)
        };
        self.net.convolution(input, convolution)
    }

    /// The ends of the branches of a block.
    fn branches(&mut self, input: StepId, prefix: &str, branches: &[&[Part]]) -> Vec<StepId> {
        let mut ends = vec![];
        for (index, branch) in branches.iter().enumerate() {
            let mut step = input;
            for (place, part) in branch.iter().enumerate() {
                let name = match branch.len() {
                    1 => format!("{prefix}.branch{index}"),
                    _ => format!("{prefix}.branch{index}.{place}"),
                };
                step = self.layer(step, &name, *part);
            }
            ends.push(step);
        }
        ends
    }

    /// Branches that halve the sides, and a max-pool beside them.
    fn reduction(&mut self, input: StepId, prefix: &str, branches: &[&[Part]]) -> StepId {
        let mut outputs = self.branches(input, prefix, branches);
        outputs.push(self.net.push(Layer::MaxPool(HALVING), &[input]));
        self.net.push(Layer::Concatenate, &outputs)
    }

    /// The input plus `scale` times what a 1x1 convolution makes of all branches.
    fn residual(
        &mut self,
        input: StepId,
        prefix: &str,
        block: &Block,
        index: usize,
        scale: f64,
        activation: Activation,
    ) -> StepId {
        let outputs = self.branches(input, prefix, block.branches);
        let both = self.net.push(Layer::Concatenate, &outputs);
        let name = match self.keras {
            true => format!("{}_{}_conv", block.keras, index + 1),
            false => format!("{prefix}.conv2d"),
        };
        let (from, to) = (self.net.channels(both), self.net.channels(input));
        let up = Convolution { biased: true, factor: scale, ..Convolution::new(name, from, to, [1, 1]) };
        let up = self.net.convolution(both, up);
        self.net.push(Layer::Add(activation), &[up, input])
    }
}
