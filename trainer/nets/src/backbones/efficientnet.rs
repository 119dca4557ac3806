//! EfficientNet-B0 to B7 (Tan and Le 2019) and EfficientNet-Lite0 to 2, headless: one net, scaled in width, depth and input.
//!
//! The numbers of channels are multiplied by the width and rounded to multiples of 8, the numbers of blocks are multiplied by
//! the depth and rounded up. The Lite variants drop squeeze-and-excitation, use ReLU6 for swish, and leave stem, head and the
//! number of blocks of the first and last stage unscaled.
//!
//! The weights that Google published, which timm calls `tf_efficientnet_*` and Keras has too, were trained with TensorFlow's
//! `SAME` padding and a batch norm epsilon of 1e-3; torchvision's have PyTorch's padding, and its epsilon up to B4.

use super::reduction::{self, Reduction};
use crate::{
    architecture::{Activation, Architecture, Border, Convolution, Folding, Layer, StepId},
    layout::Layout,
};

/// Expansion, channels out, blocks, stride of the first block and kernel of each stage of B0.
const STAGES: [(usize, usize, usize, usize, usize); reduction::STAGES] = [
    (1, 16, 1, 1, 3),
    (6, 24, 2, 2, 3),
    (6, 40, 2, 2, 5),
    (6, 80, 3, 2, 3),
    (6, 112, 3, 1, 5),
    (6, 192, 4, 2, 5),
    (6, 320, 1, 1, 3),
];

/// The name of the map behind a stage: the last of each size.
const MAPS: [Option<&str>; 7] = [Some("stride2"), Some("stride4"), Some("stride8"), None, Some("stride16"), None, None];

/// Channels of the stem and of the head, before scaling.
const STEM: usize = 32;
const HEAD: usize = 1280;

/// The squeeze has a fourth of the block's input channels.
const SQUEEZE: usize = 4;

/// What distinguishes the variants.
#[derive(Clone, Copy, Debug)]
pub struct Scaling {
    /// By what the numbers of channels are multiplied.
    pub width: f64,
    /// By what the numbers of blocks are multiplied.
    pub depth: f64,
    /// Width and height of the input the variant was trained on.
    pub side: usize,
    /// Whether it is a Lite variant.
    pub lite: bool,
}

impl Scaling {
    /// EfficientNet-B`index`; indices above 7 are that of 7.
    pub fn b(index: u8) -> Self {
        let (width, depth, side) = match index {
            0 => (1.0, 1.0, 224),
            1 => (1.0, 1.1, 240),
            2 => (1.1, 1.2, 260),
            3 => (1.2, 1.4, 300),
            4 => (1.4, 1.8, 380),
            5 => (1.6, 2.2, 456),
            6 => (1.8, 2.6, 528),
            _ => (2.0, 3.1, 600),
        };
        Self { width, depth, side, lite: false }
    }

    /// EfficientNet-Lite`index`, scaled as B`index`.
    pub fn lite(index: u8) -> Self {
        Self { lite: true, ..Self::b(index) }
    }

    /// `channels` times the width.
    fn channels(self, channels: usize) -> usize {
        scaled(channels, self.width)
    }

    /// Channels of the map of features.
    pub fn head_channels(self) -> usize {
        if self.lite { HEAD } else { self.channels(HEAD) }
    }

    fn stem_channels(self) -> usize {
        if self.lite { STEM } else { self.channels(STEM) }
    }

    fn blocks(self, blocks: usize) -> usize {
        (blocks as f64 * self.depth).ceil() as usize
    }
}

/// `channels` times `width`, rounded to a multiple of 8, but not to less than nine tenths.
fn scaled(channels: usize, width: f64) -> usize {
    let exact = channels as f64 * width;
    let rounded = ((exact + 4.0) as usize / 8 * 8).max(8);
    if (rounded as f64) < 0.9 * exact { rounded + 8 } else { rounded }
}

/// What is left of the net as `layout` has it.
pub fn architecture(scaling: Scaling, reduction: Reduction, layout: Layout) -> Architecture {
    let torchvision = layout == Layout::Torchvision;
    let names = Names { layout };
    let epsilon = if torchvision && scaling.width < 1.6 { 1e-5 } else { 1e-3 };
    let border = if torchvision { Border::Half } else { Border::Same };
    let activation = if scaling.lite { Activation::Relu6 } else { Activation::Swish };
    let mut net = Net { net: Architecture::new(3, epsilon, Folding::Reciprocal), border, activation };

    let mut step = net.layer(0, names.stem(), scaling.stem_channels(), [3, 2], false, activation);
    for (stage, (expansion, channels, blocks, first_stride, kernel)) in STAGES.into_iter().enumerate() {
        let outermost = stage == 0 || stage == STAGES.len() - 1;
        let blocks = if scaling.lite && outermost { blocks } else { scaling.blocks(blocks) };
        let channels = scaled(scaling.channels(channels), reduction.width);
        for block in 0..(blocks as f64 * reduction.depth).ceil() as usize {
            let names = names.block(stage, block, expansion > 1, !scaling.lite);
            let stride = if block == 0 { first_stride } else { 1 };
            let windows = if stage < reduction.plain { Windows::Plain } else { Windows::Depthwise(kernel) };
            let input = step;
            step = net.inverted_residual(step, names, expansion, channels, windows, stride);
            // Not where the channels are the same by chance, as of a narrow net's first blocks.
            if block > 0 {
                step = net.net.push(Layer::Add(Activation::None), &[step, input]);
            }
        }
        if let Some(name) = MAPS[stage] {
            net.net.name_map(name, step);
        }
    }
    step = net.layer(step, names.head(), scaling.head_channels(), [1, 1], false, activation);
    net.net.name_map("features", step);
    net.net
}

/// Convolution and batch norm.
type Pair = [String; 2];

/// What a block sees a pixel's surroundings with.
#[derive(Clone, Copy)]
enum Windows {
    /// A depthwise convolution of that kernel behind the 1x1 expansion.
    Depthwise(usize),
    /// A dense 3x3 convolution in place of both (Fused-MBConv).
    Plain,
}

/// Names of a block's layers.
struct BlockNames {
    expand: Pair,
    depthwise: Pair,
    /// Squeeze and excitation, where there are.
    squeeze: Option<[String; 2]>,
    project: Pair,
}

/// How a layout names the layers.
struct Names {
    layout: Layout,
}

impl Names {
    fn stem(&self) -> Pair {
        match self.layout {
            Layout::Timm => ["conv_stem", "bn1"],
            Layout::Torchvision => ["features.0.0", "features.0.1"],
            Layout::Keras => ["stem_conv", "stem_bn"],
        }
        .map(str::to_owned)
    }

    fn head(&self) -> Pair {
        match self.layout {
            Layout::Timm => ["conv_head", "bn2"],
            Layout::Torchvision => ["features.8.0", "features.8.1"],
            Layout::Keras => ["top_conv", "top_bn"],
        }
        .map(str::to_owned)
    }

    fn block(&self, stage: usize, block: usize, expands: bool, squeezes: bool) -> BlockNames {
        match self.layout {
            Layout::Timm => {
                let prefix = format!("blocks.{stage}.{block}");
                // A block without expansion numbers its batch norms one lower, and its last layer has the first one's name.
                let first = usize::from(!expands);
                let project = if expands { "conv_pwl" } else { "conv_pw" };
                let pair = |name: &str, norm: usize| [format!("{prefix}.{name}"), format!("{prefix}.bn{norm}")];
                BlockNames {
                    expand: pair("conv_pw", 1),
                    depthwise: pair("conv_dw", 2 - first),
                    squeeze: squeezes.then(|| ["conv_reduce", "conv_expand"].map(|n| format!("{prefix}.se.{n}"))),
                    project: pair(project, 3 - first),
                }
            }
            Layout::Torchvision => {
                let prefix = format!("features.{}.{block}.block", stage + 1);
                let first = usize::from(expands);
                let pair = |place: usize| [0, 1].map(|part| format!("{prefix}.{place}.{part}"));
                BlockNames {
                    expand: pair(0),
                    depthwise: pair(first),
                    squeeze: squeezes.then(|| ["fc1", "fc2"].map(|n| format!("{prefix}.{}.{n}", first + 1))),
                    project: pair(first + 1 + usize::from(squeezes)),
                }
            }
            Layout::Keras => {
                let prefix = format!("block{}{}_", stage + 1, char::from(b'a' + block as u8));
                let pair = |name: &str, norm: &str| [format!("{prefix}{name}"), format!("{prefix}{norm}")];
                BlockNames {
                    expand: pair("expand_conv", "expand_bn"),
                    depthwise: pair("dwconv", "bn"),
                    squeeze: squeezes.then(|| pair("se_reduce", "se_expand")),
                    project: pair("project_conv", "project_bn"),
                }
            }
        }
    }
}

struct Net {
    net: Architecture,
    border: Border,
    activation: Activation,
}

impl Net {
    /// A convolution with its batch norm; `kernel` and `stride` of its windows, a group a channel if `depthwise`.
    fn layer(
        &mut self,
        input: StepId,
        [name, norm]: Pair,
        channels_out: usize,
        [kernel, stride]: [usize; 2],
        depthwise: bool,
        activation: Activation,
    ) -> StepId {
        let channels_in = self.net.channels(input);
        let convolution = Convolution {
            stride,
            border: self.border,
            groups: if depthwise { channels_in } else { 1 },
            norm: Some(self.net.norm(norm, true)),
            activation,
            ..Convolution::new(name, channels_in, channels_out, [kernel; 2])
        };
        self.net.convolution(input, convolution)
    }

    /// 1x1 to `expansion` times the channels, a depthwise convolution, or plain windows for both; squeeze and excitation, 1x1 to `channels`.
    fn inverted_residual(
        &mut self,
        input: StepId,
        names: BlockNames,
        expansion: usize,
        channels: usize,
        windows: Windows,
        stride: usize,
    ) -> StepId {
        let before = self.net.channels(input);
        let expanded = before * expansion;
        let mut step = input;
        match windows {
            Windows::Depthwise(kernel) => {
                if expansion > 1 {
                    step = self.layer(step, names.expand, expanded, [1, 1], false, self.activation);
                }
                step = self.layer(step, names.depthwise, expanded, [kernel, stride], true, self.activation);
            }
            // Names of its own: no file that was published has such layers.
            Windows::Plain => {
                let names = names.depthwise.map(|name| name + "_plain");
                step = self.layer(step, names, expanded, [3, stride], false, self.activation);
            }
        }
        if let Some([squeeze, excite]) = names.squeeze {
            let squeezed = before / SQUEEZE;
            let mean = self.net.push(Layer::GlobalAveragePool, &[step]);
            let point = |name, from, to, activation| Convolution {
                biased: true,
                activation,
                ..Convolution::new(name, from, to, [1, 1])
            };
            let gate = self.net.convolution(mean, point(squeeze, expanded, squeezed, self.activation));
            let gate = self.net.convolution(gate, point(excite, squeezed, expanded, Activation::Sigmoid));
            step = self.net.push(Layer::Multiply, &[step, gate]);
        }
        self.layer(step, names.project, channels, [1, 1], false, Activation::None)
    }
}
