//! A net that trains, read from its description.
//!
//! The same list of layers as the inference graph's, but with variables: batch norms stay what they are, so they can follow
//! the batches, and every layer has a gradient, but those that the description freezes.

use std::collections::BTreeMap;

use candle_core::{DType, Device, Result, Tensor, Var};
use thorax_nn::{
    batch_norm::BatchNorm,
    convolution::{TransposedConfig, biased_convolution, biased_transposed_convolution, convolution},
    detection::group_norm::group_norm,
    dropout::dropout,
    elementwise::{add_relu, attend, concatenate, relu, relu6, scale_planes, sigmoid, sum_planes, swish},
    pool::{average_pool, max_pool},
    seeded,
    upsample::{bilinear, nearest},
};

use super::architecture::{
    Activation, Architecture, Convolution, Dense, GroupNorm, Layer, Norm, Parameter, Resizing, StepId, Weights, take,
};

/// What a pass through a net is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Pass {
    /// Batch norms use the batch's statistics, and the moving ones follow; dropout drops what `seed` chooses.
    Train {
        /// Of the dropout; each step has its own.
        seed: u64,
    },
    /// Batch norms use the moving statistics; nothing is dropped.
    Infer,
}

/// The variables of a step.
enum Variables {
    /// It has none.
    None,
    /// Of a convolution.
    Convolution { weight: Var, bias: Option<Var>, norm: Option<BatchNorm> },
    /// Of a transposed convolution.
    UpConvolution { weight: Var, bias: Var },
    /// Of a batch norm by itself.
    Norm(BatchNorm),
    /// Of a group norm (scale and shift) or a matrix (it and its bias).
    Pair(Var, Var),
}

/// A net with its variables.
pub struct Network {
    architecture: Architecture,
    /// In the order of checkpoints.
    parameters: Vec<(Parameter, Var)>,
    /// Of each step.
    variables: Vec<Variables>,
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
        let mut parameters = vec![];
        for parameter in architecture.parameters() {
            let name = parameter.name();
            let weight = take(&mut weights, &name)?;
            if weight.dims() != parameter.shape {
                candle_core::bail!("{name}: shape {:?}, expected {:?}", weight.dims(), parameter.shape);
            }
            parameters.push((parameter, Var::from_tensor(&weight)?));
        }
        let mut named = parameters.iter().map(|(parameter, var)| (parameter.name(), var.clone())).collect();
        let steps = architecture.steps().iter();
        let variables =
            steps.map(|step| Variables::new(&step.layer, step.channels, &mut named, &device)).collect::<Result<_>>()?;
        Ok(Self { architecture, parameters, variables, last_use, device })
    }

    /// What the net is.
    pub fn architecture(&self) -> &Architecture {
        &self.architecture
    }

    /// Where the net is.
    pub fn device(&self) -> &Device {
        &self.device
    }

    /// What the net gives for `x` `[N, C, H, W]`: of each output the results of its steps.
    ///
    /// # Errors
    /// Another number of channels; sides that are too small for the net.
    pub fn forward(&self, x: &Tensor, pass: Pass) -> Result<BTreeMap<&'static str, Vec<Tensor>>> {
        let mut values: Vec<Option<Tensor>> = Vec::with_capacity(self.variables.len());
        let mut given: BTreeMap<StepId, Tensor> = BTreeMap::new();
        let outputs = self.architecture.outputs();
        for (index, (step, variables)) in self.architecture.steps().iter().zip(&self.variables).enumerate() {
            let input = |&input: &StepId| {
                let value = values[input].as_ref();
                let value = value.map(|value| if step.frozen { value.detach() } else { value.clone() });
                value.ok_or_else(|| candle_core::Error::Msg(format!("net: step {index} uses step {input} too late")))
            };
            let inputs = step.inputs.iter().map(input).collect::<Result<Vec<_>>>()?;
            let value = match (&step.layer, variables, inputs.as_slice()) {
                (Layer::Input(_), ..) => x.clone(),
                (Layer::Convolution(layer), Variables::Convolution { weight, bias, norm }, [x]) => {
                    let bias = bias.as_ref();
                    if step.frozen {
                        layer.frozen(x, weight, bias, norm.as_ref())
                    } else {
                        layer.forward(x, weight, bias, norm.as_ref(), pass)
                    }?
                }
                (Layer::UpConvolution(_), Variables::UpConvolution { weight, bias }, [x]) => {
                    let (weight, bias) = if step.frozen {
                        (weight.as_detached_tensor(), bias.as_detached_tensor())
                    } else {
                        (weight.as_tensor().clone(), bias.as_tensor().clone())
                    };
                    biased_transposed_convolution(x, &weight, &bias, TransposedConfig::doubling())?
                }
                (Layer::Norm(layer), Variables::Norm(norm), [x]) => match pass {
                    _ if step.frozen || layer.frozen => frozen_norm(x, norm)?,
                    Pass::Train { .. } => norm.train(x, false)?,
                    Pass::Infer => norm.infer(x, false)?,
                },
                (Layer::Dropout { probability, stream }, _, [x]) => match pass {
                    Pass::Train { seed } if !step.frozen => dropout(x, *probability, seeded::derive(seed, &[*stream]))?,
                    _ => x.clone(),
                },
                (Layer::Add(Activation::Relu), _, [a, b]) => add_relu(a, b)?,
                (Layer::Add(activation), _, [a, b]) => activate(&(a + b)?, *activation)?,
                (Layer::Attend, _, [x, attention]) => attend(x, attention)?,
                (Layer::Multiply, _, [a, b]) => scale_planes(a, b)?,
                (Layer::MaxPool(pool), _, [x]) => max_pool(x, *pool)?,
                (Layer::AveragePool(pool), _, [x]) => average_pool(x, *pool, false)?,
                (Layer::GlobalAveragePool, _, [x]) => {
                    let (n, c, h, w) = x.dims4()?;
                    (sum_planes(x)? / (h * w) as f64)?.reshape((n, c, 1, 1))?
                }
                (Layer::Resize(resizing), _, [x, like]) => {
                    let (_, _, h, w) = like.dims4()?;
                    match resizing {
                        Resizing::Nearest => nearest(x, h, w)?,
                        Resizing::Bilinear => bilinear(x, h, w, false)?,
                    }
                }
                (Layer::Activate(activation), _, [x]) => activate(x, *activation)?,
                (Layer::Double, _, [x]) => {
                    let (_, _, h, w) = x.dims4()?;
                    bilinear(x, 2 * h, 2 * w, false)?
                }
                (Layer::GroupNorm(layer), Variables::Pair(scale, shift), [x]) => {
                    let (scale, shift) = used(scale, shift, step.frozen);
                    activate(&group_norm(x, &scale, &shift, layer.groups, layer.epsilon)?, layer.activation)?
                }
                (Layer::Dense(layer), Variables::Pair(matrix, bias), [x]) => {
                    let (matrix, bias) = used(matrix, bias, step.frozen);
                    // Parameters stay in single precision, whatever the maps are in.
                    let flat = x.flatten_from(1)?.to_dtype(matrix.dtype())?;
                    let y = flat.matmul(&matrix.t()?)?.broadcast_add(&bias)?;
                    activate(&y.reshape((x.dim(0)?, layer.outputs, 1, 1))?, layer.activation)?
                }
                (Layer::Concatenate, _, [first, rest @ ..]) => {
                    rest.iter().try_fold(first.clone(), |all, next| concatenate(&all, next))?
                }
                (layer, ..) => candle_core::bail!("net: step {index} has {} inputs for {layer:?}", inputs.len()),
            };
            if outputs.iter().any(|output| output.steps.contains(&index)) {
                given.insert(index, value.clone());
            }
            values.push(Some(value));
            for &input in &step.inputs {
                if self.last_use[input] == index {
                    values[input] = None;
                }
            }
        }
        let result = |step: &StepId| {
            given.get(step).cloned().ok_or_else(|| candle_core::Error::Msg(format!("net: there is no step {step}")))
        };
        outputs
            .iter()
            .map(|output| Ok((output.name, output.steps.iter().map(result).collect::<Result<_>>()?)))
            .collect()
    }

    /// What the optimizer moves, by name.
    pub fn trainable(&self) -> Vec<(String, Var)> {
        let moved = self.parameters.iter().filter(|(parameter, _)| parameter.is_trainable());
        moved.map(|(parameter, var)| (parameter.name(), var.clone())).collect()
    }

    /// 0, but with a gradient (of zeros) to all that is trained: what the loss of a pass in which the net was left out has of it.
    ///
    /// # Errors
    /// When the device fails.
    pub fn nothing(&self) -> Result<Tensor> {
        let zero = Tensor::zeros((), DType::F32, &self.device)?;
        self.trainable().iter().try_fold(zero, |sum, (_, var)| sum + nothing_of(var.as_tensor())?)
    }

    /// Everything a checkpoint needs, moving statistics included, by name: the names are those of
    /// [`Architecture::parameters`].
    pub fn variables(&self) -> Vec<(String, Var)> {
        self.parameters.iter().map(|(parameter, var)| (parameter.name(), var.clone())).collect()
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
    fn new(layer: &Layer, channels: usize, named: &mut BTreeMap<String, Var>, device: &Device) -> Result<Self> {
        let mut variable = |layer: &str, part: &str| {
            let name = format!("{layer}.{part}");
            named.remove(&name).ok_or_else(|| candle_core::Error::Msg(format!("net: there is no variable {name}")))
        };
        let batch_norm = |Norm { name, scaled, epsilon, .. }: &Norm,
                          variable: &mut dyn FnMut(&str, &str) -> Result<Var>| {
            let mut norm = BatchNorm::new(channels, device)?;
            norm.epsilon = *epsilon;
            if *scaled {
                norm.gamma = variable(name, "weight")?;
            }
            norm.beta = variable(name, "bias")?;
            norm.moving_mean = variable(name, "running_mean")?;
            norm.moving_variance = variable(name, "running_var")?;
            Ok::<_, candle_core::Error>(norm)
        };
        Ok(match layer {
            Layer::Convolution(layer) => Self::Convolution {
                weight: variable(&layer.name, "weight")?,
                bias: layer.biased.then(|| variable(&layer.name, "bias")).transpose()?,
                norm: layer.norm.as_ref().map(|norm| batch_norm(norm, &mut variable)).transpose()?,
            },
            Layer::UpConvolution(layer) => {
                Self::UpConvolution { weight: variable(&layer.name, "weight")?, bias: variable(&layer.name, "bias")? }
            }
            Layer::Norm(norm) => Self::Norm(batch_norm(norm, &mut variable)?),
            Layer::GroupNorm(GroupNorm { name, .. }) | Layer::Dense(Dense { name, .. }) => {
                Self::Pair(variable(name, "weight")?, variable(name, "bias")?)
            }
            _ => Self::None,
        })
    }
}

impl Convolution {
    fn forward(
        &self,
        x: &Tensor,
        weight: &Var,
        bias: Option<&Var>,
        norm: Option<&BatchNorm>,
        pass: Pass,
    ) -> Result<Tensor> {
        let (_, _, h, w) = x.dims4()?;
        let config = self.config(h, w);
        if let (Some(norm), true) = (norm, self.norm.as_ref().is_some_and(|norm| norm.frozen)) {
            // Folded in: a product of the kernel in place of one of the map.
            let (scale, shift) = norm.folded()?;
            let folded = weight.broadcast_mul(&scale.reshape((self.channels_out, 1, 1, 1))?)?;
            let shift = bias.map_or_else(|| Ok(shift.clone()), |bias| (bias.as_tensor() * &scale)? + &shift)?;
            let y = biased_convolution(x, &folded, &shift, config)?;
            let y = if self.factor == 1.0 { y } else { (y * self.factor)? };
            return activate(&y, self.activation);
        }
        let relu = self.activation == Activation::Relu && self.factor == 1.0;
        let convolve = || match bias {
            Some(bias) => biased_convolution(x, weight, bias, config),
            None => convolution(x, weight, config),
        };
        let (y, activated) = match (norm, pass) {
            (None, _) => (convolve()?, false),
            (Some(norm), Pass::Train { .. }) if bias.is_none() => {
                (norm.train_convolved(x, weight, config, relu)?, relu)
            }
            (Some(norm), Pass::Train { .. }) => (norm.train(&convolve()?, relu)?, relu),
            (Some(norm), Pass::Infer) => (norm.infer(&convolve()?, relu)?, relu),
        };
        let y = if self.factor == 1.0 { y } else { (y * self.factor)? };
        if activated { Ok(y) } else { activate(&y, self.activation) }
    }

    /// With the moving statistics, and without a gradient.
    fn frozen(&self, x: &Tensor, weight: &Var, bias: Option<&Var>, norm: Option<&BatchNorm>) -> Result<Tensor> {
        let (_, _, h, w) = x.dims4()?;
        let config = self.config(h, w);
        let (weight, bias) = (weight.as_detached_tensor(), bias.map(Var::as_detached_tensor));
        let y = match (norm, bias) {
            (Some(norm), bias) => {
                let (scale, shift) = norm.folded()?;
                let folded = weight.broadcast_mul(&scale.reshape((self.channels_out, 1, 1, 1))?)?;
                let shift = bias.map_or_else(|| Ok(shift.clone()), |bias| (bias * &scale)? + &shift)?;
                biased_convolution(x, &folded, &shift, config)?
            }
            (None, Some(bias)) => biased_convolution(x, &weight, &bias, config)?,
            (None, None) => convolution(x, &weight, config)?,
        };
        let y = if self.factor == 1.0 { y } else { (y * self.factor)? };
        activate(&y, self.activation)
    }
}

/// 0, but with a gradient (of zeros) to `tensor`. A product with a tensor: candle leaves out what is multiplied by the number 0.
pub(crate) fn nothing_of(tensor: &Tensor) -> Result<Tensor> {
    tensor.sum_all()? * Tensor::zeros((), tensor.dtype(), tensor.device())?
}

/// Two variables, without a gradient where they are frozen.
fn used(first: &Var, second: &Var, frozen: bool) -> (Tensor, Tensor) {
    if frozen {
        (first.as_detached_tensor(), second.as_detached_tensor())
    } else {
        (first.as_tensor().clone(), second.as_tensor().clone())
    }
}

/// A norm that stays what it is: a gradient to `x` only.
fn frozen_norm(x: &Tensor, norm: &BatchNorm) -> Result<Tensor> {
    let (scale, shift) = norm.folded()?;
    let row = (1, scale.elem_count(), 1, 1);
    x.broadcast_mul(&scale.reshape(row)?)?.broadcast_add(&shift.reshape(row)?)
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

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use thorax_nn::seeded;

    use super::*;
    use crate::architecture::{Architecture, Dense, Folding};

    /// Heads compute in single precision whatever the maps before them are in, and a gradient comes back to these.
    #[test]
    fn a_matrix_takes_maps_of_half_precision() {
        let mut net = Architecture::new(4, 1e-3, Folding::Reciprocal);
        let dense = Dense { name: "heads".into(), inputs: 4, outputs: 3, activation: Activation::None };
        let last = net.push(Layer::Dense(dense), &[0]);
        net.name_map("logits", last);
        let drawn = |shape: &[usize], seed| seeded::normal(shape, 1.0, seed, &Device::Cpu).unwrap();
        let weights = [("heads.weight".to_owned(), drawn(&[3, 4], 1)), ("heads.bias".to_owned(), drawn(&[3], 2))];
        let net = Network::new(net, weights.into()).unwrap();
        let x = drawn(&[2, 4, 1, 1], 3);
        let told = |x: &Tensor| net.forward(x, Pass::Train { seed: 1 }).unwrap().remove("logits").unwrap().remove(0);
        let whole = told(&x).flatten_all().unwrap().to_vec1::<f32>().unwrap();
        for half in [DType::BF16, DType::F16] {
            let x = Var::from_tensor(&x.to_dtype(half).unwrap()).unwrap();
            let found = told(x.as_tensor());
            let gradient = found.sum_all().unwrap().backward().unwrap().get(x.as_tensor()).unwrap().dtype();
            assert_eq!((found.dtype(), gradient), (DType::F32, half));
            let found = found.flatten_all().unwrap().to_vec1::<f32>().unwrap();
            assert!(whole.iter().zip(&found).all(|(a, b)| (a - b).abs() < 0.05), "{whole:?} {found:?}");
        }
    }
}
