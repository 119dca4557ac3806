//! Convolutions, plain and transposed. A plain one does a sum and an activation behind it on the way to its output.

use candle_core::{Result, Tensor, TensorId};
use thorax_kernels::{
    KernelError,
    channels_last::{Layer, PackedConvolution, PackedUpConvolution},
    convolution::Activation,
};

use super::{Kernel, Operation, Operator, Shape, first, with_batch};
use crate::{
    convolution::{ConvolutionConfig, Padding, TransposedConfig, biased_convolution, biased_transposed_convolution},
    kernel_error,
    onnx_format::{ReadError, StoredNode, Writer, foreign, integer, integers},
    with_values,
};

/// A convolution.
pub(super) struct Convolution<'a> {
    pub(super) weight: &'a Tensor,
    pub(super) bias: &'a Tensor,
    pub(super) config: ConvolutionConfig,
}

impl Operator for Convolution<'_> {
    fn shape(&self, inputs: &[Shape]) -> Result<Shape> {
        let geometry = self.config.geometry(&with_batch(first(inputs)?), self.weight.shape())?;
        Ok([geometry.channels_out, geometry.height_out(), geometry.width_out()])
    }

    fn run(&self, inputs: &[&Tensor]) -> Result<Tensor> {
        biased_convolution(first(inputs)?, self.weight, self.bias, self.config)
    }

    fn kernel(&self, inputs: &[Shape]) -> Result<Box<dyn Kernel>> {
        self.packed(inputs, Activation::None)
    }

    fn kernel_with(&self, inputs: &[Shape], behind: Activation) -> Option<Result<Box<dyn Kernel>>> {
        Some(self.packed(inputs, behind))
    }

    fn kernel_before(
        &self,
        inputs: &[Shape],
        next: &Operation,
        behind: [Activation; 2],
    ) -> Option<Result<Box<dyn Kernel>>> {
        let Operation::Convolution { weight, bias, config } = next else { return None };
        let next = Convolution { weight, bias, config: *config };
        self.expanding(inputs, &next, behind).transpose()
    }

    fn identity(&self) -> (String, Vec<TensorId>) {
        (format!("{:?}", self.config), vec![self.weight.id(), self.bias.id()])
    }

    fn write(&self, writer: &mut Writer, mut inputs: Vec<String>, output: &str) -> Result<()> {
        inputs.push(writer.weight(&format!("{output}.weight"), self.weight)?);
        inputs.push(writer.weight(&format!("{output}.bias"), self.bias)?);
        let ConvolutionConfig { stride, padding: p, dilation, groups } = self.config;
        let attributes = vec![
            integers("kernel_shape", &self.weight.dims()[2..]),
            integers("strides", &[stride, stride]),
            integers("dilations", &[dilation, dilation]),
            integers("pads", &[p.top, p.left, p.bottom, p.right]),
            integer("group", groups),
        ];
        writer.node("Conv", inputs, output, attributes);
        Ok(())
    }
}

impl Convolution<'_> {
    /// The two parts of a block that have many channels, if that is what this and `next` are.
    fn expanding(&self, inputs: &[Shape], next: &Self, behind: [Activation; 2]) -> Result<Option<Box<dyn Kernel>>> {
        let single = self.config == ConvolutionConfig::dense(1) && self.weight.dims()[2..] == [1, 1];
        if !single || next.config.groups == 1 {
            return Ok(None);
        }
        let between = self.shape(inputs)?;
        let geometry = self.config.geometry(&with_batch(first(inputs)?), self.weight.shape())?;
        let next_geometry = next.config.geometry(&with_batch(between), next.weight.shape())?;
        let weights = [self.weight, next.weight].map(|weight| weight.flatten_all()?.to_vec1::<f32>());
        let biases = [self.bias, next.bias].map(Tensor::to_vec1::<f32>);
        let ([weight, next_weight], [bias, next_bias]) = (weights, biases);
        let (weight, next_weight, bias, next_bias) = (weight?, next_weight?, bias?, next_bias?);
        let layer = Layer { geometry, weight: &weight, bias: Some(&bias), activation: behind[0] };
        let next =
            Layer { geometry: next_geometry, weight: &next_weight, bias: Some(&next_bias), activation: behind[1] };
        let both = PackedConvolution::expanded(&layer, &next);
        Ok(both.ok().map(|packed| Box::new(ConvolutionKernel(packed)) as Box<dyn Kernel>))
    }

    /// The kernel, its weight in the order in which it is read.
    fn packed(&self, inputs: &[Shape], activation: Activation) -> Result<Box<dyn Kernel>> {
        let geometry = self.config.geometry(&with_batch(first(inputs)?), self.weight.shape())?;
        let bias = self.bias.to_vec1::<f32>()?;
        let pack = |weight: &[f32]| PackedConvolution::new(&Layer { geometry, weight, bias: Some(&bias), activation });
        let packed = with_values(&self.weight.contiguous()?, "convolution", pack)?.map_err(kernel_error)?;
        Ok(Box::new(ConvolutionKernel(packed)))
    }
}

/// With what follows it; a second input is the other summand.
struct ConvolutionKernel(PackedConvolution);

impl Kernel for ConvolutionKernel {
    fn run(&self, inputs: &[&[f32]], batch: usize, out: &mut [f32]) -> std::result::Result<(), KernelError> {
        self.0.run(batch, inputs[0], inputs.get(1).copied(), out)
    }
}

/// A transposed convolution that doubles the sides.
pub(super) struct UpConvolution<'a> {
    pub(super) weight: &'a Tensor,
    pub(super) bias: &'a Tensor,
}

impl Operator for UpConvolution<'_> {
    fn shape(&self, inputs: &[Shape]) -> Result<Shape> {
        let geometry = TransposedConfig::doubling().geometry(&with_batch(first(inputs)?), self.weight.shape())?;
        Ok([geometry.channels_in, geometry.height, geometry.width])
    }

    fn run(&self, inputs: &[&Tensor]) -> Result<Tensor> {
        biased_transposed_convolution(first(inputs)?, self.weight, self.bias, TransposedConfig::doubling())
    }

    fn kernel(&self, inputs: &[Shape]) -> Result<Box<dyn Kernel>> {
        let [_, height, width] = first(inputs)?;
        let (channels_in, channels_out, _, _) = self.weight.dims4()?;
        let (weight, bias) = (self.weight.flatten_all()?.to_vec1::<f32>()?, self.bias.to_vec1::<f32>()?);
        let packed = PackedUpConvolution::new([channels_in, channels_out], &weight, Some(&bias));
        Ok(Box::new(UpConvolutionKernel { height, width, packed: packed.map_err(kernel_error)? }))
    }

    fn identity(&self) -> (String, Vec<TensorId>) {
        (String::new(), vec![self.weight.id(), self.bias.id()])
    }

    fn write(&self, writer: &mut Writer, mut inputs: Vec<String>, output: &str) -> Result<()> {
        inputs.push(writer.weight(&format!("{output}.weight"), self.weight)?);
        inputs.push(writer.weight(&format!("{output}.bias"), self.bias)?);
        let attributes = vec![integers("kernel_shape", &[2, 2]), integers("strides", &[2, 2])];
        writer.node("ConvTranspose", inputs, output, attributes);
        Ok(())
    }
}

struct UpConvolutionKernel {
    height: usize,
    width: usize,
    packed: PackedUpConvolution,
}

impl Kernel for UpConvolutionKernel {
    fn run(&self, inputs: &[&[f32]], batch: usize, out: &mut [f32]) -> std::result::Result<(), KernelError> {
        self.packed.run(batch * self.height, self.width, inputs[0], out)
    }
}

pub(super) fn read(node: &StoredNode) -> std::result::Result<Option<Operation>, ReadError> {
    Ok(Some(match node.kind() {
        "Conv" => {
            let [top, left, bottom, right] = node.integers("pads")[..] else {
                return Err(foreign("a convolution without pads"));
            };
            let (stride, dilation) = (node.even("strides")?, node.even("dilations")?);
            let groups = node.integer("group").and_then(|groups| usize::try_from(groups).ok()).unwrap_or(1);
            let config = ConvolutionConfig { stride, padding: Padding { top, left, bottom, right }, dilation, groups };
            Operation::Convolution { weight: node.weight(1)?, bias: node.weight(2)?, config }
        }
        "ConvTranspose" => Operation::UpConvolution { weight: node.weight(1)?, bias: node.weight(2)? },
        _ => return Ok(None),
    }))
}
