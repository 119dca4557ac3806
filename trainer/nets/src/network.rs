//! A net that trains, read from its description.
//!
//! The same list of layers as the inference graph's, but with variables: batch norms stay what they are, so they can follow
//! the batches, and every layer has a gradient.

use std::collections::BTreeMap;

use candle_core::{Device, Result, Tensor, Var};
use thorax_nn::{
    batch_norm::BatchNorm,
    convolution::{biased_convolution, convolution},
    elementwise::{add_relu, concatenate, relu, relu6, scale_planes, sigmoid, sum_planes, swish},
    pool::{average_pool, max_pool},
};

use super::{
    architecture::{Activation, Architecture, Convolution, Layer, Norm, StepId, take},
    weights::Weights,
};

/// What a pass through the net is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mode {
    /// Batch norms use the batch's statistics, and the moving ones follow; gradients flow.
    Train,
    /// Batch norms use the moving statistics; gradients flow.
    Infer,
    /// As [`Self::Infer`], and no gradient enters the net: neither to its variables nor through it.
    Frozen,
}

/// The variables of a convolution.
struct Variables {
    weight: Var,
    bias: Option<Var>,
    norm: Option<BatchNorm>,
}

/// A net with its variables.
pub struct Network {
    architecture: Architecture,
    /// Of each step that is a convolution.
    variables: Vec<Option<Variables>>,
    /// The last step that uses each step's result.
    last_use: Vec<StepId>,
    device: Device,
}

impl Network {
    /// The net with these weights, which are copied.
    ///
    /// # Errors
    /// A weight that is missing or misshapen; when the device refuses the memory.
    pub fn new(architecture: Architecture, mut weights: Weights) -> Result<Self> {
        let device = weights.values().next().map_or(Device::Cpu, |weight| weight.device().clone());
        let mut last_use = vec![0; architecture.steps().len()];
        for (index, step) in architecture.steps().iter().enumerate() {
            step.inputs.iter().for_each(|&input| last_use[input] = index);
        }
        let variables = architecture
            .steps()
            .iter()
            .map(|step| match &step.layer {
                Layer::Convolution(convolution) => {
                    Variables::new(convolution, architecture.epsilon(), &mut weights, &device).map(Some)
                }
                _ => Ok(None),
            })
            .collect::<Result<_>>()?;
        Ok(Self { architecture, variables, last_use, device })
    }

    /// What the net is.
    pub fn architecture(&self) -> &Architecture {
        &self.architecture
    }

    /// Where the net is.
    pub fn device(&self) -> &Device {
        &self.device
    }

    /// The named maps of `x` `[N, C, H, W]`, `features` among them.
    ///
    /// # Errors
    /// Another number of channels; sides that are too small for the net.
    pub fn forward(&self, x: &Tensor, mode: Mode) -> Result<BTreeMap<&'static str, Tensor>> {
        let x = if mode == Mode::Frozen { x.detach() } else { x.clone() };
        let mut values: Vec<Option<Tensor>> = Vec::with_capacity(self.variables.len());
        let mut maps = BTreeMap::new();
        for (index, (step, variables)) in self.architecture.steps().iter().zip(&self.variables).enumerate() {
            let input = |&input: &StepId| {
                values[input]
                    .clone()
                    .ok_or_else(|| candle_core::Error::Msg(format!("net: step {index} uses step {input} too late")))
            };
            let inputs = step.inputs.iter().map(input).collect::<Result<Vec<_>>>()?;
            let value = match (&step.layer, variables, inputs.as_slice()) {
                (Layer::Input(_), ..) => x.clone(),
                (Layer::Convolution(layer), Some(variables), [x]) => variables.forward(layer, x, mode)?,
                (Layer::Add(Activation::Relu), _, [a, b]) => add_relu(a, b)?,
                (Layer::Add(activation), _, [a, b]) => activate(&(a + b)?, *activation)?,
                (Layer::Multiply, _, [a, b]) => scale_planes(a, b)?,
                (Layer::MaxPool(pool), _, [x]) => max_pool(x, *pool)?,
                (Layer::AveragePool(pool), _, [x]) => average_pool(x, *pool, false)?,
                (Layer::GlobalAveragePool, _, [x]) => {
                    let (n, c, h, w) = x.dims4()?;
                    (sum_planes(x)? / (h * w) as f64)?.reshape((n, c, 1, 1))?
                }
                (Layer::Concatenate, _, [first, rest @ ..]) => {
                    rest.iter().try_fold(first.clone(), |all, next| concatenate(&all, next))?
                }
                (layer, ..) => candle_core::bail!("net: step {index} has {} inputs for {layer:?}", inputs.len()),
            };
            for &(name, _) in self.architecture.maps().iter().filter(|(_, step)| *step == index) {
                maps.insert(name, value.clone());
            }
            values.push(Some(value));
            for &input in &step.inputs {
                if self.last_use[input] == index {
                    values[input] = None;
                }
            }
        }
        Ok(maps)
    }

    fn visit(&self, visitor: &mut impl FnMut(String, &Var, bool)) {
        for (step, variables) in self.architecture.steps().iter().zip(&self.variables) {
            let (Layer::Convolution(layer), Some(variables)) = (&step.layer, variables) else { continue };
            visitor(format!("{}.weight", layer.name), &variables.weight, true);
            if let Some(bias) = &variables.bias {
                visitor(format!("{}.bias", layer.name), bias, true);
            }
            if let (Some(Norm { name, scaled }), Some(norm)) = (&layer.norm, &variables.norm) {
                if *scaled {
                    visitor(format!("{name}.weight"), &norm.gamma, true);
                }
                visitor(format!("{name}.bias"), &norm.beta, true);
                visitor(format!("{name}.running_mean"), &norm.moving_mean, false);
                visitor(format!("{name}.running_var"), &norm.moving_variance, false);
            }
        }
    }

    /// What the optimizer moves, by name.
    pub fn trainable(&self) -> Vec<(String, Var)> {
        let mut found = vec![];
        self.visit(&mut |name, var, trainable| {
            if trainable {
                found.push((name, var.clone()));
            }
        });
        found
    }

    /// Everything a checkpoint needs, moving statistics included, by name: the names are those of
    /// [`Architecture::parameters`].
    pub fn variables(&self) -> Vec<(String, Var)> {
        let mut found = vec![];
        self.visit(&mut |name, var, _| found.push((name, var.clone())));
        found
    }

    /// The weights as they are now, copied: for [`Architecture::graph`].
    ///
    /// # Errors
    /// When the device refuses the memory.
    pub fn weights(&self) -> Result<Weights> {
        self.variables().into_iter().map(|(name, var)| Ok((name, var.as_detached_tensor().copy()?))).collect()
    }
}

impl Variables {
    fn new(layer: &Convolution, epsilon: f64, weights: &mut Weights, device: &Device) -> Result<Self> {
        let mut variable = |name: &str, part: &str| Var::from_tensor(&take(weights, &format!("{name}.{part}"))?);
        let weight = variable(&layer.name, "weight")?;
        if weight.dims() != layer.weight_shape() {
            candle_core::bail!("{}: kernel {:?}, expected {:?}", layer.name, weight.dims(), layer.weight_shape());
        }
        let bias = layer.biased.then(|| variable(&layer.name, "bias")).transpose()?;
        let norm = match &layer.norm {
            None => None,
            Some(Norm { name, scaled }) => {
                let mut norm = BatchNorm::new(layer.channels_out, device)?;
                norm.epsilon = epsilon;
                if *scaled {
                    norm.gamma = variable(name, "weight")?;
                }
                norm.beta = variable(name, "bias")?;
                norm.moving_mean = variable(name, "running_mean")?;
                norm.moving_variance = variable(name, "running_var")?;
                Some(norm)
            }
        };
        Ok(Self { weight, bias, norm })
    }

    fn forward(&self, layer: &Convolution, x: &Tensor, mode: Mode) -> Result<Tensor> {
        let (_, _, h, w) = x.dims4()?;
        let config = layer.config(h, w);
        let variable =
            |var: &Var| if mode == Mode::Frozen { var.as_detached_tensor() } else { var.as_tensor().clone() };
        let (weight, bias) = (variable(&self.weight), self.bias.as_ref().map(variable));
        let relu = layer.activation == Activation::Relu && layer.factor == 1.0;
        let convolve = |bias: Option<Tensor>| match bias {
            Some(bias) => biased_convolution(x, &weight, &bias, config),
            None => convolution(x, &weight, config),
        };
        let (y, activated) = match (&self.norm, mode) {
            (None, _) => (convolve(bias)?, false),
            (Some(norm), Mode::Train) if bias.is_none() => (norm.train_convolved(x, &weight, config, relu)?, relu),
            (Some(norm), Mode::Train) => (norm.train(&convolve(bias)?, relu)?, relu),
            (Some(norm), Mode::Infer) => (norm.infer(&convolve(bias)?, relu)?, relu),
            (Some(norm), Mode::Frozen) => {
                let (scale, shift) = norm.folded()?;
                let folded = weight.broadcast_mul(&scale.reshape((layer.channels_out, 1, 1, 1))?)?;
                let shift = bias.map_or_else(|| Ok(shift.clone()), |bias| (bias * &scale)? + &shift)?;
                (biased_convolution(x, &folded, &shift, config)?, false)
            }
        };
        let y = if layer.factor == 1.0 { y } else { (y * layer.factor)? };
        if activated { Ok(y) } else { activate(&y, layer.activation) }
    }
}

fn activate(x: &Tensor, activation: Activation) -> Result<Tensor> {
    match activation {
        Activation::None => Ok(x.clone()),
        Activation::Relu => relu(x),
        Activation::Relu6 => relu6(x),
        Activation::Swish => swish(x),
        Activation::Sigmoid => sigmoid(x),
    }
}
