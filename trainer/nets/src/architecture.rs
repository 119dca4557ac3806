//! A net as data: a straight list of layers, told once and read in several ways.
//!
//! Backbones and segmentation nets are written down as an [`Architecture`]: which layer follows which, under which names its
//! parameters are kept, and what it gives. Read one way it is the [`Graph`] for inference, batch norms and factors folded into
//! the convolutions and dropout gone ([`Architecture::graph`]); read the other way it is the net that trains
//! ([`Network`](super::network::Network)). What has to be in a file of weights, in which order, and how many parameters there
//! are, comes from the same list ([`Architecture::parameters`]).
//!
//! What a net gives is a list of [`Output`]s, each with a name, the steps it is made of and a [`Kind`]: a map for whoever
//! comes next, or logits from several heads. A net that finds single objects gives several of them, one step for each size of
//! map.

use std::collections::BTreeMap;

use candle_core::{Result, Tensor};
use thorax_nn::{
    convolution::{ConvolutionConfig, Padding},
    graph::{Graph, NodeId, Operation},
    pool::PoolConfig,
    upsample::Method,
};

/// A net's parameters in f32, by [`Parameter::name`].
pub type Weights = BTreeMap<String, Tensor>;

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

/// In which order a batch norm becomes a factor and a shift. Both are the same but for the last bit, and published bundles keep
/// theirs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Folding {
    /// `(1 / sqrt(variance + epsilon)) * scale` and `(bias - mean) * factor + shift`: backbones.
    Reciprocal,
    /// `scale / sqrt(variance + epsilon)` and `shift - mean * factor`: nets that were trained here.
    Quotient,
}

/// A batch norm, behind a convolution or by itself.
#[derive(Clone, Debug, PartialEq)]
pub struct Norm {
    /// Its name.
    pub name: String,
    /// Whether it has a scale, or a shift only.
    pub scaled: bool,
    /// What it adds to the variance.
    pub epsilon: f64,
    /// How it is folded.
    pub folding: Folding,
    /// Whether scale, shift and statistics stay what they are, also where the convolution before it is trained.
    pub frozen: bool,
}

impl Norm {
    /// Adds its parameters to `add`.
    fn parameters(&self, channels: usize, add: &mut impl FnMut(&str, Role, Vec<usize>, bool)) {
        if self.scaled {
            add(&self.name, Role::Scale, vec![channels], self.frozen);
        }
        for role in [Role::Shift, Role::Mean, Role::Variance] {
            add(&self.name, role, vec![channels], self.frozen);
        }
    }

    /// Factor and shift that it comes to behind a convolution with that bias, both `[C]`.
    fn fold(&self, bias: Option<Tensor>, weights: &mut Weights) -> Result<(Tensor, Tensor)> {
        let mut take = |part: &str| take(weights, &format!("{}.{part}", self.name));
        let (mean, shift) = (take("running_mean")?, take("bias")?);
        let deviation = (take("running_var")? + self.epsilon)?.sqrt()?;
        let scale = self.scaled.then(|| take("weight")).transpose()?;
        match self.folding {
            Folding::Reciprocal => {
                let factor = deviation.recip()?;
                let factor = scale.map_or_else(|| Ok(factor.clone()), |scale| &factor * scale)?;
                let bias = bias.map_or_else(|| mean.zeros_like(), Ok)?;
                let shift = (((bias - mean)? * &factor)? + shift)?;
                Ok((factor, shift))
            }
            Folding::Quotient => {
                let factor = scale.map_or_else(|| deviation.ones_like(), Ok)?.div(&deviation)?;
                let shift = shift.sub(&(mean * &factor)?)?;
                let shift = bias.map_or_else(|| Ok(shift.clone()), |bias| (bias * &factor)? + &shift)?;
                Ok((factor, shift))
            }
        }
    }
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

/// A transposed 2x2 convolution with stride 2 and a bias, which doubles the sides.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct UpConvolution {
    /// Its name.
    pub name: String,
    /// Channels of the input.
    pub channels_in: usize,
    /// Channels of the output.
    pub channels_out: usize,
}

/// A group norm (Wu and He 2018) and what follows.
#[derive(Clone, Debug, PartialEq)]
pub struct GroupNorm {
    /// Its name.
    pub name: String,
    /// Groups of channels.
    pub groups: usize,
    /// What it adds to the variance.
    pub epsilon: f64,
    /// What follows.
    pub activation: Activation,
}

/// All values of a map times a matrix, plus a bias, and what follows: `[N, C, H, W]` to `[N, outputs, 1, 1]`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Dense {
    /// Its name.
    pub name: String,
    /// `C H W` of the map.
    pub inputs: usize,
    /// Channels of the result.
    pub outputs: usize,
    /// What follows.
    pub activation: Activation,
}

/// How a map is brought to another's size.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Resizing {
    /// Each value is copied.
    Nearest,
    /// Mixed of the two nearest rows and columns, the corners not aligned.
    Bilinear,
}

/// A layer of a net; activations are `[N, C, H, W]`.
#[derive(Clone, Debug, PartialEq)]
pub enum Layer {
    /// The picture that comes in, with that many channels.
    Input(usize),
    /// A convolution and what belongs to it.
    Convolution(Convolution),
    /// A transposed convolution.
    UpConvolution(UpConvolution),
    /// A batch norm that no convolution before it can take in; in the graph a convolution of each channel by itself, 1x1.
    Norm(Norm),
    /// In training each value is set to zero with that probability; each layer of a net has a stream of the pass's seed.
    Dropout {
        /// Of a value to be dropped.
        probability: f64,
        /// The stream.
        stream: u64,
    },
    /// Sum of two, and what follows.
    Add(Activation),
    /// The channels of all inputs, one after another. In the graph a concatenation of concatenations is one.
    Concatenate,
    /// Each channel of the first `[N, C, H, W]` times the map of the second `[N, 1, H, W]`.
    Attend,
    /// Each plane of the first `[N, C, H, W]` times its number in the second `[N, C, 1, 1]`.
    Multiply,
    /// Largest of each window.
    MaxPool(PoolConfig),
    /// Mean of each window; the padding does not count.
    AveragePool(PoolConfig),
    /// Mean of each channel, `[N, C, 1, 1]`.
    GlobalAveragePool,
    /// The first at the size of the second.
    Resize(Resizing),
    /// At twice the size, bilinearly.
    Double,
    /// A group norm.
    GroupNorm(GroupNorm),
    /// A matrix.
    Dense(Dense),
    /// Of each value, behind a layer that has none.
    Activate(Activation),
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
    /// Whether its parameters stay what they are: batch norms use their moving statistics, and no gradient enters.
    pub frozen: bool,
}

/// What an output is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// A map of the net, for whoever comes next.
    Map,
    /// Logits of several heads, all of which are trained; in the graph their mean, one sum of convolutions.
    Heads,
}

/// What a net gives under a name.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Output {
    /// The name.
    pub name: &'static str,
    /// What it is.
    pub kind: Kind,
    /// The steps whose results it is made of, in order.
    pub steps: Vec<StepId>,
}

/// What a parameter is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Role {
    /// Kernel of a convolution, `[C_out, C_in / groups, K_h, K_w]`.
    Kernel,
    /// Kernel of a transposed convolution, `[C_in, C_out, 2, 2]`.
    UpKernel,
    /// `[outputs, inputs]` of a matrix.
    Matrix,
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
    /// Whether it stays what it is.
    pub frozen: bool,
}

impl Parameter {
    /// PyTorch's name of it, under which weights and checkpoints keep it.
    pub fn name(&self) -> String {
        let part = match self.role {
            Role::Kernel | Role::UpKernel | Role::Matrix | Role::Scale => "weight",
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
        !(self.frozen || matches!(self.role, Role::Mean | Role::Variance))
    }
}

/// A net's description.
#[derive(Clone, Debug, PartialEq)]
pub struct Architecture {
    steps: Vec<Step>,
    outputs: Vec<Output>,
    /// The steps whose parameters are told behind all others'.
    late: Vec<StepId>,
    epsilon: f64,
    folding: Folding,
}

impl Architecture {
    /// A net that has only its input, a picture of that many channels; its batch norms add `epsilon` to the variance.
    pub fn new(channels: usize, epsilon: f64, folding: Folding) -> Self {
        let input = Step { layer: Layer::Input(channels), inputs: vec![], channels, frozen: false };
        Self { steps: vec![input], outputs: vec![], late: vec![], epsilon, folding }
    }

    /// Appends a layer.
    pub fn push(&mut self, layer: Layer, inputs: &[StepId]) -> StepId {
        debug_assert!(inputs.iter().all(|&input| input < self.steps.len()));
        let before = |input: &StepId| self.channels(*input);
        let channels = match &layer {
            Layer::Input(channels) => *channels,
            Layer::Convolution(convolution) => convolution.channels_out,
            Layer::UpConvolution(up) => up.channels_out,
            Layer::Dense(dense) => dense.outputs,
            Layer::Concatenate => inputs.iter().map(before).sum(),
            _ => inputs.first().map_or(0, before),
        };
        self.steps.push(Step { layer, inputs: inputs.to_vec(), channels, frozen: false });
        self.steps.len() - 1
    }

    /// Appends a convolution.
    pub fn convolution(&mut self, input: StepId, convolution: Convolution) -> StepId {
        debug_assert_eq!(convolution.channels_in, self.channels(input), "{}", convolution.name);
        self.push(Layer::Convolution(convolution), &[input])
    }

    /// A batch norm as the net has them.
    pub fn norm(&self, name: impl Into<String>, scaled: bool) -> Norm {
        Norm { name: name.into(), scaled, epsilon: self.epsilon, folding: self.folding, frozen: false }
    }

    /// Appends another net behind `input`, frozen: its weights stay what they are, and their names begin with `prefix`. The
    /// steps of its outputs, in their order.
    pub fn freeze(&mut self, input: StepId, prefix: &str, net: Self) -> Vec<(&'static str, StepId)> {
        self.append(input, prefix, net, |_| true)
    }

    /// Keeps every batch norm as it is, also where the convolutions around it are trained.
    pub fn freeze_norms(&mut self) {
        for step in &mut self.steps {
            match &mut step.layer {
                Layer::Norm(norm) | Layer::Convolution(Convolution { norm: Some(norm), .. }) => norm.frozen = true,
                _ => {}
            }
        }
    }

    /// As [`Self::freeze`], but only the steps (of the appended net) of which `frozen` says so stay what they are.
    pub fn append(
        &mut self,
        input: StepId,
        prefix: &str,
        net: Self,
        frozen: impl Fn(StepId) -> bool,
    ) -> Vec<(&'static str, StepId)> {
        let before = self.steps.len();
        let place = |step: StepId| if step == 0 { input } else { before + step - 1 };
        for (number, mut step) in net.steps.into_iter().enumerate().skip(1) {
            let prefixed = |name: &mut String| name.insert_str(0, prefix);
            match &mut step.layer {
                Layer::Convolution(Convolution { name, norm, .. }) => {
                    prefixed(name);
                    norm.iter_mut().for_each(|norm| prefixed(&mut norm.name));
                }
                Layer::UpConvolution(UpConvolution { name, .. })
                | Layer::Norm(Norm { name, .. })
                | Layer::GroupNorm(GroupNorm { name, .. })
                | Layer::Dense(Dense { name, .. }) => prefixed(name),
                _ => {}
            }
            let inputs = step.inputs.into_iter().map(place).collect();
            let frozen = step.frozen || frozen(number);
            self.steps.push(Step { inputs, frozen, ..step });
        }
        self.late.extend(net.late.into_iter().map(place));
        let outputs = net.outputs.into_iter();
        outputs.flat_map(|output| output.steps.into_iter().map(move |step| (output.name, place(step)))).collect()
    }

    /// Tells the parameters of a step behind those of all other steps, where its checkpoints have them.
    pub fn tell_last(&mut self, step: StepId) {
        self.late.push(step);
    }

    /// Gives a step's map a name.
    pub fn name_map(&mut self, name: &'static str, step: StepId) {
        self.output(name, Kind::Map, vec![step]);
    }

    /// Adds an output; the last one added is the graph's.
    pub fn output(&mut self, name: &'static str, kind: Kind, steps: Vec<StepId>) {
        self.outputs.push(Output { name, kind, steps });
    }

    /// Channels of a step's map.
    pub fn channels(&self, step: StepId) -> usize {
        self.steps[step].channels
    }

    /// All steps, in the order in which they are carried out.
    pub fn steps(&self) -> &[Step] {
        &self.steps
    }

    /// What the net gives, in order; the last is the net's result.
    pub fn outputs(&self) -> &[Output] {
        &self.outputs
    }

    /// All parameters, in the order of checkpoints.
    pub fn parameters(&self) -> Vec<Parameter> {
        let mut found = vec![];
        let early = (0..self.steps.len()).filter(|step| !self.late.contains(step));
        for step in early.chain(self.late.iter().copied()).map(|step| &self.steps[step]) {
            let depthwise = matches!(&step.layer, Layer::Convolution(convolution) if convolution.groups > 1);
            let mut add = |layer: &str, role, shape: Vec<usize>, frozen: bool| {
                let (layer, depthwise) = (layer.to_owned(), role == Role::Kernel && depthwise);
                found.push(Parameter { layer, role, shape, depthwise, frozen: step.frozen || frozen });
            };
            match &step.layer {
                Layer::Convolution(convolution) => {
                    add(&convolution.name, Role::Kernel, convolution.weight_shape().to_vec(), false);
                    if convolution.biased {
                        add(&convolution.name, Role::Bias, vec![convolution.channels_out], false);
                    }
                    if let Some(norm) = &convolution.norm {
                        norm.parameters(convolution.channels_out, &mut add);
                    }
                }
                Layer::UpConvolution(UpConvolution { name, channels_in, channels_out }) => {
                    add(name, Role::UpKernel, vec![*channels_in, *channels_out, 2, 2], false);
                    add(name, Role::Bias, vec![*channels_out], false);
                }
                Layer::Dense(Dense { name, inputs, outputs, .. }) => {
                    add(name, Role::Matrix, vec![*outputs, *inputs], false);
                    add(name, Role::Bias, vec![*outputs], false);
                }
                Layer::GroupNorm(GroupNorm { name, .. }) => {
                    add(name, Role::Scale, vec![step.channels], false);
                    add(name, Role::Shift, vec![step.channels], false);
                }
                Layer::Norm(norm) => norm.parameters(step.channels, &mut add),
                _ => {}
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
                Layer::UpConvolution(_) | Layer::Double => (2 * h, 2 * w),
                Layer::GlobalAveragePool | Layer::Dense(_) => (1, 1),
                Layer::Resize(_) => step.inputs.get(1).map_or((h, w), |&like| (shapes[like][1], shapes[like][2])),
                _ => (h, w),
            };
            shapes.push([step.channels, h, w]);
        }
        Ok(shapes)
    }

    /// The inference graph for pictures of `side` x `side`, its only output the last; and the node of each output, of maps of several
    /// sizes one a map. The weights are used up.
    ///
    /// # Errors
    /// A weight that is missing; a side that is too small for the net; heads that are no plain convolutions; a group norm or a matrix, for
    /// which the graph has no operation.
    pub fn graph(&self, mut weights: Weights, side: usize) -> Result<(Graph, Vec<(&'static str, NodeId)>)> {
        let shapes = self.shapes(side)?;
        let inlined = self.inlined();
        let mut graph = Graph::new([self.channels(0), side, side]);
        // The nodes of each step: several of a concatenation that became part of others.
        let mut nodes: Vec<Vec<NodeId>> = Vec::with_capacity(self.steps.len());
        // The sum of each output's heads so far.
        let mut sums: Vec<Option<NodeId>> = vec![None; self.outputs.len()];
        for (index, step) in self.steps.iter().enumerate() {
            let inputs: Vec<NodeId> = step.inputs.iter().flat_map(|&input| nodes[input].iter().copied()).collect();
            let heads = self.outputs.iter().position(|o| o.kind == Kind::Heads && o.steps.contains(&index));
            let node = match &step.layer {
                Layer::Input(_) => 0,
                Layer::Convolution(convolution) => {
                    let share = heads.map_or(1.0, |output| 1.0 / self.outputs[output].steps.len() as f64);
                    let (weight, bias) = convolution.fold(share, &mut weights)?;
                    let [_, h, w] = shapes[step.inputs[0]];
                    let node = graph.convolution(inputs[0], weight, bias, convolution.config(h, w));
                    activate(&mut graph, node, convolution.activation)
                }
                Layer::UpConvolution(UpConvolution { name, .. }) => {
                    let mut take = |part: &str| take(&mut weights, &format!("{name}.{part}"));
                    let (weight, bias) = (take("weight")?, take("bias")?);
                    graph.push(Operation::UpConvolution { weight, bias }, &inputs)
                }
                Layer::Norm(norm) => {
                    let (factor, shift) = norm.fold(None, &mut weights)?;
                    graph.scale_and_shift(inputs[0], &factor, shift)?
                }
                Layer::Dropout { .. } => inputs[0],
                Layer::Add(activation) => {
                    let node = graph.push(Operation::Add, &inputs);
                    activate(&mut graph, node, *activation)
                }
                Layer::Concatenate if inlined[index] => {
                    nodes.push(inputs);
                    continue;
                }
                Layer::Concatenate => graph.push(Operation::Concatenate, &inputs),
                Layer::Attend | Layer::Multiply => graph.push(Operation::Multiply, &inputs),
                Layer::MaxPool(pool) => graph.push(Operation::MaxPool(*pool), &inputs),
                Layer::AveragePool(pool) => graph.push(Operation::AveragePool(*pool), &inputs),
                Layer::GlobalAveragePool => graph.push(Operation::GlobalAveragePool, &inputs),
                Layer::Activate(activation) => activate(&mut graph, inputs[0], *activation),
                Layer::Resize(_) | Layer::Double => {
                    let method = match step.layer {
                        Layer::Resize(Resizing::Nearest) => Method::Nearest,
                        _ => Method::Bilinear { align_corners: false },
                    };
                    let [_, height, width] = shapes[index];
                    graph.push(Operation::Resize { method, height, width }, &inputs[..1])
                }
                Layer::GroupNorm(_) | Layer::Dense(_) => {
                    candle_core::bail!("net: {:?} has no operation in the inference graph", step.layer)
                }
            };
            if let Some(output) = heads {
                if !matches!(&step.layer, Layer::Convolution(c) if c.activation == Activation::None) {
                    candle_core::bail!("net: a head of {} is no plain convolution", self.outputs[output].name);
                }
                let sum = sums[output].map_or(node, |before| graph.push(Operation::Add, &[before, node]));
                sums[output] = Some(sum);
            }
            nodes.push(vec![node]);
        }
        let mut outputs = vec![];
        for (output, sum) in self.outputs.iter().zip(sums) {
            match sum {
                Some(sum) => outputs.push((output.name, sum)),
                None => outputs.extend(output.steps.iter().map(|&step| (output.name, nodes[step][0]))),
            }
        }
        if let Some((name, node)) = outputs.last() {
            graph.output(name, *node);
        }
        Ok((graph, outputs))
    }

    /// Whether a step is a concatenation that only other concatenations use.
    fn inlined(&self) -> Vec<bool> {
        let mut inlined: Vec<bool> = self.steps.iter().map(|step| step.layer == Layer::Concatenate).collect();
        for step in self.steps.iter().filter(|step| step.layer != Layer::Concatenate) {
            step.inputs.iter().for_each(|&input| inlined[input] = false);
        }
        self.outputs.iter().flat_map(|output| &output.steps).for_each(|&step| inlined[step] = false);
        inlined
    }
}

impl Convolution {
    /// Weight and bias with the batch norm and the factor folded in, `share` times both.
    pub(crate) fn fold(&self, share: f64, weights: &mut Weights) -> Result<(Tensor, Tensor)> {
        let mut weight = take(weights, &format!("{}.weight", self.name))?;
        let bias = self.biased.then(|| take(weights, &format!("{}.bias", self.name))).transpose()?;
        let mut bias = match (&self.norm, bias) {
            (Some(norm), bias) => {
                let (factor, shift) = norm.fold(bias, weights)?;
                weight = weight.broadcast_mul(&factor.reshape((self.channels_out, 1, 1, 1))?)?;
                shift
            }
            (None, Some(bias)) => bias,
            (None, None) => Tensor::zeros(self.channels_out, weight.dtype(), weight.device())?,
        };
        let factor = self.factor * share;
        if factor != 1.0 {
            (weight, bias) = ((weight * factor)?, (bias * factor)?);
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
