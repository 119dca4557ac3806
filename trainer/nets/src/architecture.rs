//! A net as data: a straight list of layers, told once and read in two ways.
//!
//! A backbone is written down as an [`Architecture`]: which layer follows which, under which names its parameters are kept,
//! and which of its maps have a name. Read one way it is the [`Graph`] for inference, batch norms and factors folded into
//! the convolutions ([`Architecture::graph`]); read the other way it is the net that trains
//! ([`Network`](super::network::Network)). What has to be in a file of weights, and how many parameters there are, comes
//! from the same list ([`Architecture::parameters`]).

use candle_core::{Result, Tensor};
use thorax_nn::{
    convolution::{ConvolutionConfig, Padding},
    graph::{Graph, NodeId, Operation},
    pool::PoolConfig,
};

use super::weights::Weights;

/// Index of a step in its architecture; step 0 is the input.
pub type StepId = usize;

/// What is done to each value of a layer's output.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Activation {
    /// Nothing.
    None,
    /// `max(x, 0)`.
    Relu,
    /// `min(max(x, 0), 6)`.
    Relu6,
    /// `x / (1 + exp(-x))`.
    Swish,
    /// `1 / (1 + exp(-x))`.
    Sigmoid,
}

/// The zeros around a convolution's input.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Border {
    /// None.
    Valid,
    /// Half the kernel on every side, as PyTorch's nets have it.
    Half,
    /// TensorFlow's `SAME`: with a stride, how many and on which side depends on the size of the input.
    Same,
}

/// The batch norm behind a convolution.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Norm {
    /// Its name.
    pub name: String,
    /// Whether it has a scale, or a shift only.
    pub scaled: bool,
}

/// A convolution with all that belongs to it: `activation(factor * norm(convolution(x) + bias))`.
#[derive(Clone, Debug, PartialEq)]
pub struct Convolution {
    /// Its name.
    pub name: String,
    /// Channels of the input.
    pub channels_in: usize,
    /// Channels of the output.
    pub channels_out: usize,
    /// Rows and columns of the kernel, both odd.
    pub kernel: [usize; 2],
    /// Step, down and across.
    pub stride: usize,
    /// Zeros around the input.
    pub border: Border,
    /// Groups of channels that do not see each other.
    pub groups: usize,
    /// Whether there is a bias.
    pub biased: bool,
    /// The batch norm behind it.
    pub norm: Option<Norm>,
    /// By what the result is multiplied: the scale of a residual branch.
    pub factor: f64,
    /// What follows.
    pub activation: Activation,
}

impl Convolution {
    /// Stride 1, half the kernel as border, one group, nothing behind it.
    pub fn new(name: impl Into<String>, channels_in: usize, channels_out: usize, kernel: [usize; 2]) -> Self {
        Self {
            name: name.into(),
            channels_in,
            channels_out,
            kernel,
            stride: 1,
            border: Border::Half,
            groups: 1,
            biased: false,
            norm: None,
            factor: 1.0,
            activation: Activation::None,
        }
    }

    /// Shape of the kernel, `[C_out, C_in / groups, K_h, K_w]`.
    pub fn weight_shape(&self) -> [usize; 4] {
        [self.channels_out, self.channels_in / self.groups, self.kernel[0], self.kernel[1]]
    }

    /// How the kernel moves over an input of that size.
    pub fn config(&self, height: usize, width: usize) -> ConvolutionConfig {
        let Self { kernel: [rows, columns], stride, groups, .. } = *self;
        let padding = match self.border {
            Border::Valid => Padding::all(0),
            Border::Half => Padding { top: rows / 2, left: columns / 2, bottom: rows / 2, right: columns / 2 },
            Border::Same => {
                let (down, across) = (Padding::same(height, rows, stride), Padding::same(width, columns, stride));
                Padding { left: across.left, right: across.right, ..down }
            }
        };
        ConvolutionConfig { stride, padding, dilation: 1, groups }
    }
}

/// A layer of a net; activations are `[N, C, H, W]`.
#[derive(Clone, Debug, PartialEq)]
pub enum Layer {
    /// The picture that comes in, with that many channels.
    Input(usize),
    /// A convolution and what belongs to it.
    Convolution(Convolution),
    /// Sum of two, and what follows.
    Add(Activation),
    /// The channels of all inputs, one after another.
    Concatenate,
    /// Each plane of the first `[N, C, H, W]` times its number in the second `[N, C, 1, 1]`.
    Multiply,
    /// Largest of each window.
    MaxPool(PoolConfig),
    /// Mean of each window; the padding does not count.
    AveragePool(PoolConfig),
    /// Mean of each channel, `[N, C, 1, 1]`.
    GlobalAveragePool,
}

/// A layer and where its inputs come from.
#[derive(Clone, Debug, PartialEq)]
pub struct Step {
    /// What is done.
    pub layer: Layer,
    /// To what; always earlier steps.
    pub inputs: Vec<StepId>,
    /// Channels of the result.
    pub channels: usize,
}

/// What a parameter is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Role {
    /// Kernel of a convolution, `[C_out, C_in / groups, K_h, K_w]`.
    Kernel,
    /// Bias of a convolution, `[C_out]`.
    Bias,
    /// Scale of a batch norm, `[C]`.
    Scale,
    /// Shift of a batch norm, `[C]`.
    Shift,
    /// Moving mean of a batch norm, `[C]`.
    Mean,
    /// Moving variance of a batch norm, `[C]`.
    Variance,
}

/// A parameter of a net.
#[derive(Clone, Debug, PartialEq)]
pub struct Parameter {
    /// Whose it is.
    pub layer: String,
    /// What it is.
    pub role: Role,
    /// Its shape, as [`Role`] says.
    pub shape: Vec<usize>,
    /// Whether the kernel sees one channel only.
    pub depthwise: bool,
}

impl Parameter {
    /// PyTorch's name of it, under which weights and checkpoints keep it.
    pub fn name(&self) -> String {
        let part = match self.role {
            Role::Kernel | Role::Scale => "weight",
            Role::Bias | Role::Shift => "bias",
            Role::Mean => "running_mean",
            Role::Variance => "running_var",
        };
        format!("{}.{part}", self.layer)
    }

    /// Number of values.
    pub fn count(&self) -> usize {
        self.shape.iter().product()
    }

    /// Whether training moves it by its gradient.
    pub fn is_trainable(&self) -> bool {
        !matches!(self.role, Role::Mean | Role::Variance)
    }
}

/// A net's description.
#[derive(Clone, Debug, PartialEq)]
pub struct Architecture {
    steps: Vec<Step>,
    maps: Vec<(&'static str, StepId)>,
    epsilon: f64,
}

impl Architecture {
    /// A net that has only its input, a picture of that many channels; its batch norms add `epsilon` to the variance.
    pub fn new(channels: usize, epsilon: f64) -> Self {
        Self { steps: vec![Step { layer: Layer::Input(channels), inputs: vec![], channels }], maps: vec![], epsilon }
    }

    /// Appends a layer.
    pub fn push(&mut self, layer: Layer, inputs: &[StepId]) -> StepId {
        debug_assert!(inputs.iter().all(|&input| input < self.steps.len()));
        let before = |input: &StepId| self.channels(*input);
        let channels = match &layer {
            Layer::Input(channels) => *channels,
            Layer::Convolution(convolution) => convolution.channels_out,
            Layer::Concatenate => inputs.iter().map(before).sum(),
            _ => inputs.first().map_or(0, before),
        };
        self.steps.push(Step { layer, inputs: inputs.to_vec(), channels });
        self.steps.len() - 1
    }

    /// Appends a convolution.
    pub fn convolution(&mut self, input: StepId, convolution: Convolution) -> StepId {
        debug_assert_eq!(convolution.channels_in, self.channels(input), "{}", convolution.name);
        self.push(Layer::Convolution(convolution), &[input])
    }

    /// Gives a step's map a name; the last one named is the net's result.
    pub fn name_map(&mut self, name: &'static str, step: StepId) {
        self.maps.push((name, step));
    }

    /// Channels of a step's map.
    pub fn channels(&self, step: StepId) -> usize {
        self.steps[step].channels
    }

    /// All steps, in the order in which they are carried out.
    pub fn steps(&self) -> &[Step] {
        &self.steps
    }

    /// The named maps, in order; the last is the net's result.
    pub fn maps(&self) -> &[(&'static str, StepId)] {
        &self.maps
    }

    /// What every batch norm adds to the variance.
    pub fn epsilon(&self) -> f64 {
        self.epsilon
    }

    /// All parameters, in order.
    pub fn parameters(&self) -> Vec<Parameter> {
        let mut found = vec![];
        for step in &self.steps {
            let Layer::Convolution(convolution) = &step.layer else { continue };
            let mut add = |layer: &str, role, shape: Vec<usize>| {
                let depthwise = role == Role::Kernel && convolution.groups > 1;
                found.push(Parameter { layer: layer.to_owned(), role, shape, depthwise });
            };
            add(&convolution.name, Role::Kernel, convolution.weight_shape().to_vec());
            let channels = vec![convolution.channels_out];
            if convolution.biased {
                add(&convolution.name, Role::Bias, channels.clone());
            }
            if let Some(Norm { name, scaled }) = &convolution.norm {
                if *scaled {
                    add(name, Role::Scale, channels.clone());
                }
                for role in [Role::Shift, Role::Mean, Role::Variance] {
                    add(name, role, channels.clone());
                }
            }
        }
        found
    }

    /// `[C, H, W]` of every step's map for pictures of `side` x `side`.
    ///
    /// # Errors
    /// A side that is too small for the net.
    pub fn shapes(&self, side: usize) -> Result<Vec<[usize; 3]>> {
        let mut shapes: Vec<[usize; 3]> = Vec::with_capacity(self.steps.len());
        for step in &self.steps {
            let [_, h, w] = step.inputs.first().map_or([0, side, side], |&input| shapes[input]);
            let (h, w) = match &step.layer {
                Layer::Convolution(convolution) => {
                    let x = (1, convolution.channels_in, h, w).into();
                    let geometry =
                        convolution.config(h, w).geometry(&x, &convolution.weight_shape().as_slice().into())?;
                    (geometry.height_out(), geometry.width_out())
                }
                Layer::MaxPool(pool) | Layer::AveragePool(pool) => pool.output(&(1, 1, h, w).into())?,
                Layer::GlobalAveragePool => (1, 1),
                _ => (h, w),
            };
            shapes.push([step.channels, h, w]);
        }
        Ok(shapes)
    }

    /// The inference graph for pictures of `side` x `side`, its only output the last named map; and the node of each named
    /// map. The weights are used up.
    ///
    /// # Errors
    /// A weight that is missing; a side that is too small for the net.
    pub fn graph(&self, mut weights: Weights, side: usize) -> Result<(Graph, Vec<(&'static str, NodeId)>)> {
        let shapes = self.shapes(side)?;
        let mut graph = Graph::new([self.channels(0), side, side]);
        let mut nodes: Vec<NodeId> = Vec::with_capacity(self.steps.len());
        for step in &self.steps {
            let inputs: Vec<NodeId> = step.inputs.iter().map(|&input| nodes[input]).collect();
            let node = match &step.layer {
                Layer::Input(_) => 0,
                Layer::Convolution(convolution) => {
                    let (weight, bias) = self.fold(convolution, &mut weights)?;
                    let [_, h, w] = shapes[step.inputs[0]];
                    let config = convolution.config(h, w);
                    let node = graph.push(Operation::Convolution { weight, bias, config }, &inputs);
                    activate(&mut graph, node, convolution.activation)
                }
                Layer::Add(activation) => {
                    let node = graph.push(Operation::Add, &inputs);
                    activate(&mut graph, node, *activation)
                }
                Layer::Concatenate => graph.push(Operation::Concatenate, &inputs),
                Layer::Multiply => graph.push(Operation::Multiply, &inputs),
                Layer::MaxPool(pool) => graph.push(Operation::MaxPool(*pool), &inputs),
                Layer::AveragePool(pool) => graph.push(Operation::AveragePool(*pool), &inputs),
                Layer::GlobalAveragePool => graph.push(Operation::GlobalAveragePool, &inputs),
            };
            nodes.push(node);
        }
        let maps: Vec<_> = self.maps.iter().map(|&(name, step)| (name, nodes[step])).collect();
        if let Some((name, node)) = maps.last() {
            graph.output(name, *node);
        }
        Ok((graph, maps))
    }

    /// Weight and bias of a convolution, batch norm and factor folded in.
    fn fold(&self, convolution: &Convolution, weights: &mut Weights) -> Result<(Tensor, Tensor)> {
        let mut take = |layer: &str, part: &str| take(weights, &format!("{layer}.{part}"));
        let mut weight = take(&convolution.name, "weight")?;
        let mut bias = match convolution.biased {
            true => take(&convolution.name, "bias")?,
            false => Tensor::zeros(convolution.channels_out, weight.dtype(), weight.device())?,
        };
        let rows = (convolution.channels_out, 1, 1, 1);
        if let Some(Norm { name, scaled }) = &convolution.norm {
            let mut scale = (take(name, "running_var")? + self.epsilon)?.sqrt()?.recip()?;
            if *scaled {
                scale = (scale * take(name, "weight")?)?;
            }
            weight = weight.broadcast_mul(&scale.reshape(rows)?)?;
            bias = (((bias - take(name, "running_mean")?)? * scale)? + take(name, "bias")?)?;
        }
        if convolution.factor != 1.0 {
            (weight, bias) = ((weight * convolution.factor)?, (bias * convolution.factor)?);
        }
        Ok((weight, bias))
    }
}

/// Takes a weight out.
pub(super) fn take(weights: &mut Weights, name: &str) -> Result<Tensor> {
    weights.remove(name).ok_or_else(|| candle_core::Error::Msg(format!("the weights lack {name}")))
}

fn activate(graph: &mut Graph, node: NodeId, activation: Activation) -> NodeId {
    let operation = match activation {
        Activation::None => return node,
        Activation::Relu => Operation::Relu,
        Activation::Relu6 => Operation::Relu6,
        Activation::Swish => Operation::Swish,
        Activation::Sigmoid => Operation::Sigmoid,
    };
    graph.push(operation, &[node])
}
