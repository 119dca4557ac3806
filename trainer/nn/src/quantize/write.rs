//! A net of 8-bit integers as an ONNX file (opset 13), and what is in such a file, counted.

use std::collections::BTreeMap;

use candle_core::Result;
use prost::Message;
use tract_onnx::pb::{ModelProto, tensor_proto::DataType};

use super::{
    graph::{IntegerConvolution, QuantizedGraph, Step},
    numbers::Quantization,
};
use crate::{
    graph::Operation,
    onnx::finish,
    onnx_format::{ReadError, Writer, foreign, integer, integers, text},
};

/// The bytes of an ONNX model named `name`; its batch is one picture, its input `input`, its outputs the graph's.
///
/// Convolutions are `QLinearConv` with u8 activations, i8 weights of zero point 0 with one scale an output channel, and an i32 bias.
///
/// # Errors
/// When a weight that stays in floating point does not survive half precision.
pub fn to_onnx(graph: &QuantizedGraph, name: &str) -> Result<Vec<u8>> {
    let mut writer = Writer::default();
    for node in &graph.nodes {
        let inputs: Vec<String> = node.inputs.iter().map(|&input| graph.nodes[input].name.clone()).collect();
        node.step.write(&mut writer, inputs, &node.name)?;
    }
    let [c, h, w] = graph.input_shape;
    let outputs: Vec<(&str, DataType)> =
        graph.outputs.iter().map(|(name, _)| (name.as_str(), DataType::Float)).collect();
    Ok(finish(writer, name, [1, c, h, w], &outputs))
}

impl Step {
    fn write(&self, writer: &mut Writer, mut inputs: Vec<String>, output: &str) -> Result<()> {
        match self {
            Self::Input => {}
            Self::Quantize(quantization) => {
                inputs.extend(written(writer, output, *quantization));
                writer.node("QuantizeLinear", inputs, output, vec![]);
            }
            Self::Dequantize(quantization) => {
                inputs.extend(written(writer, output, *quantization));
                writer.node("DequantizeLinear", inputs, output, vec![]);
            }
            Self::Convolution(convolution) => convolution.write(writer, inputs, output),
            Self::DepthToSpace => {
                let attributes = vec![integer("blocksize", 2), text("mode", "DCR")];
                writer.node("DepthToSpace", inputs, output, attributes);
            }
            Self::MaxPool(config) => {
                if let Some(operator) = Operation::MaxPool(*config).operator() {
                    operator.write(writer, inputs, output)?;
                }
            }
            Self::Concatenate => writer.node("Concat", inputs, output, vec![integer("axis", 1)]),
            Self::Float(operation) => {
                if let Some(operator) = operation.operator() {
                    operator.write(writer, inputs, output)?;
                }
            }
        }
        Ok(())
    }
}

impl IntegerConvolution {
    fn write(&self, writer: &mut Writer, mut inputs: Vec<String>, output: &str) {
        let dims = self.shape.map(|size| size as i64);
        let weight = self.weight.values.iter().map(|value| value.to_le_bytes()[0]).collect();
        let scales = self.weight.scales.iter().flat_map(|scale| scale.to_le_bytes()).collect();
        let bias = self.bias.iter().flat_map(|bias| bias.to_le_bytes()).collect();
        inputs.extend(written(writer, &format!("{output}.x"), self.x));
        inputs.push(writer.raw(&format!("{output}.weight"), &dims, DataType::Int8, weight));
        inputs.push(writer.raw(&format!("{output}.weight.scale"), &dims[..1], DataType::Float, scales));
        inputs.push(writer.raw(&format!("{output}.weight.zero"), &[], DataType::Int8, vec![0]));
        inputs.extend(written(writer, output, self.y));
        inputs.push(writer.raw(&format!("{output}.bias"), &dims[..1], DataType::Int32, bias));
        let padding = self.config.padding;
        let attributes = vec![
            integers("kernel_shape", &self.shape[2..]),
            integers("strides", &[self.config.stride; 2]),
            integers("dilations", &[self.config.dilation; 2]),
            integers("pads", &[padding.top, padding.left, padding.bottom, padding.right]),
            integer("group", self.config.groups),
        ];
        writer.node("QLinearConv", inputs, output, attributes);
    }
}

/// Scale and zero point as constants of a node; their names.
fn written(writer: &mut Writer, node: &str, quantization: Quantization) -> [String; 2] {
    let scale = writer.scalar(&format!("{node}.scale"), quantization.scale);
    [scale, writer.raw(&format!("{node}.zero"), &[], DataType::Uint8, vec![quantization.zero_point])]
}

/// How many operators of each kind a file has, and which of its convolutions calculate in floating point.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Census {
    /// ONNX's name of each operator, and how often it is there. `Cast`s of stored weights do not count.
    pub operators: BTreeMap<String, usize>,
    /// Names of the convolutions in floating point.
    pub float_convolutions: Vec<String>,
}

impl Census {
    /// Counts what is in a file.
    ///
    /// # Errors
    /// Bytes that are no ONNX file.
    pub fn of(onnx: &[u8]) -> std::result::Result<Self, ReadError> {
        let graph = ModelProto::decode(onnx)?.graph.ok_or_else(|| foreign("there is no graph"))?;
        let mut census = Self::default();
        for node in graph.node.iter().filter(|node| node.op_type != "Cast") {
            *census.operators.entry(node.op_type.clone()).or_default() += 1;
            if matches!(node.op_type.as_str(), "Conv" | "ConvTranspose") {
                census.float_convolutions.push(node.name.clone());
            }
        }
        Ok(census)
    }

    /// Convolutions in integers.
    pub fn integer_convolutions(&self) -> usize {
        self.operators.get("QLinearConv").copied().unwrap_or_default()
    }
}
