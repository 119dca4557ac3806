//! Convolutions, plain and transposed. A plain one does a sum and an activation behind it on the way to its output.

use candle_core::{Result, Tensor, TensorId};
use thorax_kernels::{
    KernelError,
    convolution::{Activation, Convolution as Geometry, Epilogue, PackedWeight},
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
    /// The kernel, its weight in the order in which it is read.
    fn packed(&self, inputs: &[Shape], activation: Activation) -> Result<Box<dyn Kernel>> {
        let geometry = self.config.geometry(&with_batch(first(inputs)?), self.weight.shape())?;
        let pack = |values: &[f32]| geometry.pack(values);
        let weight = with_values(&self.weight.contiguous()?, "convolution", pack)?.map_err(kernel_error)?;
        Ok(Box::new(ConvolutionKernel { geometry, weight, bias: self.bias.to_vec1()?, activation }))
    }
}

/// With what follows it; a second input is the other summand.
struct ConvolutionKernel {
    geometry: Geometry,
    weight: PackedWeight,
    bias: Vec<f32>,
    activation: Activation,
}

impl Kernel for ConvolutionKernel {
    fn run(&self, inputs: &[&[f32]], batch: usize, out: &mut [f32]) -> std::result::Result<(), KernelError> {
        let epilogue = Epilogue { bias: Some(&self.bias), add: inputs.get(1).copied(), activation: self.activation };
        Geometry { batch, ..self.geometry }.forward_packed(inputs[0], &self.weight, epilogue, out)
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
        let geometry = TransposedConfig::doubling().geometry(&with_batch(first(inputs)?), self.weight.shape())?;
        let weight = self.weight.flatten_all()?.to_vec1()?;
        Ok(Box::new(UpConvolutionKernel { geometry, weight, bias: self.bias.to_vec1()? }))
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
    geometry: Geometry,
    weight: Vec<f32>,
    bias: Vec<f32>,
}

impl Kernel for UpConvolutionKernel {
    fn run(&self, inputs: &[&[f32]], batch: usize, out: &mut [f32]) -> std::result::Result<(), KernelError> {
        Geometry { batch, ..self.geometry }.input_gradient(&self.weight, inputs[0], Some(&self.bias), out)
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
