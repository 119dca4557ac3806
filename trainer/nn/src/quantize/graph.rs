//! A net of 8-bit integers: a straight list of steps, each an operator of ONNX (opset 13).
//!
//! Values are u8 or f32, both `[N, C, H, W]`. Every u8 value has one [`Quantization`], which stands where it is made. [`run`] carries the
//! list out as ONNX defines it, [`write`](super::write) writes it.
//!
//! [`run`]: QuantizedGraph::run

use candle_core::{DType, Device, Result, Shape, Tensor};

use super::numbers::{Quantization, QuantizedWeight};
use crate::{convolution::ConvolutionConfig, graph::Operation, pool::PoolConfig};

/// Index of a node in its graph.
pub type QuantizedNodeId = usize;

/// What is done to values.
#[derive(Clone)]
pub enum Step {
    /// The picture that comes in, f32.
    Input,
    /// `QuantizeLinear`: f32 to u8.
    Quantize(Quantization),
    /// `DequantizeLinear`: u8 to f32.
    Dequantize(Quantization),
    /// `QLinearConv`: u8 to u8.
    Convolution(Box<IntegerConvolution>),
    /// `DepthToSpace` of block 2, mode DCR: u8 `[N, 4 C, H, W]` to `[N, C, 2 H, 2 W]`, where channel `(2 y + x) C + c` becomes the pixel
    /// (y, x) of each block.
    DepthToSpace,
    /// `MaxPool`: u8 to u8, which keeps scale and zero point.
    MaxPool(PoolConfig),
    /// `Concat` along the channels: u8 to u8, all of one scale and zero point.
    Concatenate,
    /// An operator on f32.
    Float(Operation),
}

/// A step, what it is done to, and what its value is called.
#[derive(Clone)]
pub struct QuantizedNode {
    /// Name of the value.
    pub name: String,
    /// What is done.
    pub step: Step,
    /// To what; always earlier nodes.
    pub inputs: Vec<QuantizedNodeId>,
}

/// A convolution of u8 with i8, summed in i32.
#[derive(Clone)]
pub struct IntegerConvolution {
    /// Real: `[C_out, C_in / groups, K_h, K_w]`.
    pub shape: [usize; 4],
    /// The weights.
    pub weight: QuantizedWeight,
    /// Of the scale `x_scale * weight_scale` of each channel.
    pub bias: Vec<i32>,
    /// Stride, padding, dilation, groups.
    pub config: ConvolutionConfig,
    /// Of what comes in.
    pub x: Quantization,
    /// Of what goes out. An activation behind the convolution is its range.
    pub y: Quantization,
    /// The weights as f64, for [`sums`](Self::sums).
    exact: Tensor,
}

impl IntegerConvolution {
    /// Quantizes `weight` `[C_out, C_in / groups, K_h, K_w]` and `bias`.
    ///
    /// # Errors
    /// A weight of another rank.
    pub fn new(
        weight: &Tensor,
        bias: &[f32],
        config: ConvolutionConfig,
        [x, y]: [Quantization; 2],
        per_channel: bool,
    ) -> Result<Self> {
        let (out, channels, height, width) = weight.dims4()?;
        let shape = [out, channels, height, width];
        let values = weight.flatten_all()?.to_vec1::<f32>()?;
        let weight = QuantizedWeight::new(&values, bias, x.scale, per_channel);
        let exact: Vec<f64> = weight.values.iter().map(|&value| f64::from(value)).collect();
        let exact = Tensor::from_vec(exact, &shape[..], &Device::Cpu)?;
        let bias = weight.bias(bias, x.scale);
        Ok(Self { shape, weight, bias, config, x, y, exact })
    }

    /// What the weights stand for, `[C_out, C_in / groups, K_h, K_w]`.
    ///
    /// # Errors
    /// When memory fails.
    pub fn dequantized_weight(&self) -> Result<Tensor> {
        Tensor::from_vec(self.weight.dequantized(), &self.shape[..], &Device::Cpu)
    }

    /// Carries it out on u8 `[N, C_in, H, W]`: the sum and its bias in i32, times the f32 `x_scale * weight_scale / y_scale`, to the
    /// nearest u8, halves to the even one.
    pub(super) fn run(&self, x: &Tensor) -> Result<Tensor> {
        let (sums, shape) = self.sums(x)?;
        let multipliers = self.weight.multipliers(self.x.scale, self.y.scale);
        let pixels = shape[2] * shape[3];
        let mut values = vec![0u8; sums.len()];
        for (plane, (sums, out)) in sums.chunks_exact(pixels).zip(values.chunks_exact_mut(pixels)).enumerate() {
            let (multiplier, bias) = (multipliers[plane % shape[1]], self.bias[plane % shape[1]]);
            let each = sums.iter().zip(out);
            each.for_each(|(&sum, out)| *out = self.y.requantize(sum.wrapping_add(bias), multiplier));
        }
        Tensor::from_vec(values, &shape[..], &Device::Cpu)
    }

    /// The sums of products without bias, and their shape `[N, C_out, H', W']`. Padding counts as the zero point.
    fn sums(&self, x: &Tensor) -> Result<(Vec<i32>, [usize; 4])> {
        let ConvolutionConfig { stride, padding, dilation, groups } = self.config;
        let geometry = self.config.geometry(x.shape(), &Shape::from(&self.shape[..]))?;
        let shape = [geometry.batch, geometry.channels_out, geometry.height_out(), geometry.width_out()];
        if groups == geometry.channels_in && groups == geometry.channels_out && groups > 1 {
            return Ok((self.depthwise_sums(x, shape)?, shape));
        }
        // Integers below 2^53, which f64 has exactly, so that the product may be formed in any order.
        let centred = (x.to_dtype(DType::F64)? - f64::from(self.x.zero_point))?;
        let padded = centred.pad_with_zeros(2, padding.top, padding.bottom)?;
        let padded = padded.pad_with_zeros(3, padding.left, padding.right)?;
        let sums = padded.contiguous()?.conv2d(&self.exact, 0, stride, dilation, groups)?;
        let sums = sums.flatten_all()?.to_vec1::<f64>()?;
        Ok((sums.into_iter().map(|sum| sum as i32).collect(), shape))
    }

    /// [`sums`](Self::sums) where each channel has a kernel of its own.
    fn depthwise_sums(&self, x: &Tensor, [batch, channels, height_out, width_out]: [usize; 4]) -> Result<Vec<i32>> {
        let (_, _, height, width) = x.dims4()?;
        let [_, _, kernel_height, kernel_width] = self.shape;
        let ConvolutionConfig { stride, padding, dilation, .. } = self.config;
        let x = x.flatten_all()?.to_vec1::<u8>()?;
        let zero_point = i32::from(self.x.zero_point);
        let mut sums = vec![0i32; batch * channels * height_out * width_out];
        for (plane, (x, sums)) in
            x.chunks_exact(height * width).zip(sums.chunks_exact_mut(height_out * width_out)).enumerate()
        {
            let taps = &self.weight.values[plane % channels * kernel_height * kernel_width..];
            for (tap, &weight) in taps[..kernel_height * kernel_width].iter().enumerate() {
                let (down, across) = (tap / kernel_width * dilation, tap % kernel_width * dilation);
                for (row, sums) in sums.chunks_exact_mut(width_out).enumerate() {
                    let Some(row) = (row * stride + down).checked_sub(padding.top).filter(|row| *row < height) else {
                        continue;
                    };
                    let x = &x[row * width..][..width];
                    for (column, sum) in sums.iter_mut().enumerate() {
                        let column = (column * stride + across).checked_sub(padding.left);
                        if let Some(&x) = column.and_then(|column| x.get(column)) {
                            *sum += i32::from(weight) * (i32::from(x) - zero_point);
                        }
                    }
                }
            }
        }
        Ok(sums)
    }
}

/// A net of 8-bit integers.
#[derive(Clone)]
pub struct QuantizedGraph {
    /// `[C, H, W]` of the input.
    pub input_shape: [usize; 3],
    /// In the order in which they are carried out.
    pub nodes: Vec<QuantizedNode>,
    /// Name and node of each output; all are f32.
    pub outputs: Vec<(String, QuantizedNodeId)>,
}

impl QuantizedGraph {
    /// A graph that has only its input, node 0.
    pub fn new(input_shape: [usize; 3]) -> Self {
        let input = QuantizedNode { name: "input".into(), step: Step::Input, inputs: vec![] };
        Self { input_shape, nodes: vec![input], outputs: vec![] }
    }

    /// Appends a step whose value is called `name`.
    pub fn push(&mut self, name: impl Into<String>, step: Step, inputs: &[QuantizedNodeId]) -> QuantizedNodeId {
        self.nodes.push(QuantizedNode { name: name.into(), step, inputs: inputs.to_vec() });
        self.nodes.len() - 1
    }

    /// Rounds every weight in floating point of at least `smallest` values to half precision, as the exported file stores it.
    ///
    /// # Errors
    /// When memory fails.
    pub fn round_to_half(&mut self, smallest: usize) -> Result<()> {
        for node in &mut self.nodes {
            if let Step::Float(operation) = &mut node.step {
                operation.round_to_half(smallest)?;
            }
        }
        Ok(())
    }

    /// Carries the graph out on f32 `x` `[N, C, H, W]`, as ONNX defines each operator; one f32 tensor an output.
    ///
    /// This is plain, and there to be compared with; the device has kernels for it.
    ///
    /// # Errors
    /// When `x` does not have the input's shape.
    pub fn run(&self, x: &Tensor) -> Result<Vec<Tensor>> {
        let [c, h, w] = self.input_shape;
        if x.dims().get(1..) != Some(&[c, h, w]) {
            candle_core::bail!("quantized graph: input is {:?}, expected [N, {c}, {h}, {w}]", x.dims());
        }
        let mut last_use = vec![0; self.nodes.len()];
        for (index, node) in self.nodes.iter().enumerate() {
            node.inputs.iter().for_each(|&input| last_use[input] = index);
        }
        self.outputs.iter().for_each(|&(_, node)| last_use[node] = usize::MAX);
        let mut values: Vec<Option<Tensor>> = vec![None; self.nodes.len()];
        for (index, node) in self.nodes.iter().enumerate() {
            let inputs = node.inputs.iter().map(|&input| known(&values, input)).collect::<Result<Vec<_>>>()?;
            let value = match &node.step {
                Step::Input => x.clone(),
                step => step.run(&inputs)?,
            };
            values[index] = Some(value);
            for &input in node.inputs.iter().filter(|&&input| last_use[input] == index) {
                values[input] = None;
            }
        }
        self.outputs.iter().map(|&(_, node)| known(&values, node).cloned()).collect()
    }
}

fn known(values: &[Option<Tensor>], node: QuantizedNodeId) -> Result<&Tensor> {
    let value = values.get(node).and_then(Option::as_ref);
    value.ok_or_else(|| candle_core::Error::Msg(format!("quantized graph: node {node} is used before it is made")))
}

impl Step {
    /// What it makes of its inputs.
    pub(super) fn run(&self, inputs: &[&Tensor]) -> Result<Tensor> {
        let Some(&first) = inputs.first() else { candle_core::bail!("quantized graph: a step has no input") };
        match self {
            Self::Input => candle_core::bail!("quantized graph: the input is not computed"),
            Self::Quantize(quantization) => {
                let values = first.flatten_all()?.to_vec1::<f32>()?;
                let values: Vec<u8> = values.into_iter().map(|value| quantization.quantize(value)).collect();
                Tensor::from_vec(values, first.shape(), &Device::Cpu)
            }
            Self::Dequantize(quantization) => {
                let values = first.flatten_all()?.to_vec1::<u8>()?;
                let values: Vec<f32> = values.into_iter().map(|value| quantization.dequantize(value)).collect();
                Tensor::from_vec(values, first.shape(), &Device::Cpu)
            }
            Self::Convolution(convolution) => convolution.run(first),
            Self::DepthToSpace => {
                let (n, c, h, w) = first.dims4()?;
                let blocks = first.reshape(&[n, 2, 2, c / 4, h, w][..])?.permute(vec![0, 3, 4, 1, 5, 2])?;
                blocks.contiguous()?.reshape((n, c / 4, 2 * h, 2 * w))
            }
            // f32 has every u8.
            Self::MaxPool(config) => crate::pool::max_pool(&first.to_dtype(DType::F32)?, *config)?.to_dtype(DType::U8),
            Self::Concatenate => Tensor::cat(inputs, 1),
            Self::Float(operation) => operation.run(inputs),
        }
    }
}
