//! An ONNX file that [`to_onnx`](super::to_onnx) wrote, as a [`Graph`] again, so that candle can run what is in a bundle.

use std::collections::BTreeMap;

use candle_core::{DType, Device, Tensor};
use prost::Message;
use tract_onnx::pb::{
    GraphProto, ModelProto, NodeProto, TensorProto, tensor_proto::DataType, tensor_shape_proto::dimension, type_proto,
};

use crate::nn::{
    convolution::{ConvolutionConfig, Padding},
    graph::{Graph, NodeId, Operation},
};

/// Why a file could not be read.
#[derive(Debug, thiserror::Error)]
pub enum ReadError {
    /// Not an ONNX file.
    #[error("not an ONNX file: {0}")]
    Decode(#[from] prost::DecodeError),
    /// An ONNX file that `thorax-train` did not write.
    #[error("{0}; only graphs written by thorax-train export can be read")]
    Foreign(String),
    /// Arithmetic failed.
    #[error(transparent)]
    Candle(#[from] candle_core::Error),
}

fn foreign(what: impl Into<String>) -> ReadError {
    ReadError::Foreign(what.into())
}

/// Reads the graph.
///
/// # Errors
/// [`ReadError`].
pub fn from_onnx(bytes: &[u8]) -> Result<Graph, ReadError> {
    let graph = ModelProto::decode(bytes)?.graph.ok_or_else(|| foreign("there is no graph"))?;
    let mut constants = BTreeMap::new();
    for tensor in &graph.initializer {
        constants.insert(tensor.name.clone(), constant(tensor)?);
    }
    let mut built = Graph::new(input_shape(&graph)?);
    let mut values: BTreeMap<String, NodeId> = [("input".to_owned(), 0)].into();
    for node in &graph.node {
        let output = node.output.first().ok_or_else(|| foreign("a node has no output"))?;
        if node.op_type == "Cast" {
            let stored = node
                .input
                .first()
                .and_then(|name| constants.get(name))
                .ok_or_else(|| foreign("a cast of no constant"))?;
            let value = stored.to_dtype(DType::F32)?;
            constants.insert(output.clone(), value);
            continue;
        }
        let operation = operation(node, &constants)?;
        let inputs = node.input.iter().filter(|name| !constants.contains_key(*name));
        let inputs = inputs
            .map(|name| values.get(name).copied().ok_or_else(|| foreign(format!("{name} is used before it is made"))))
            .collect::<Result<Vec<_>, _>>()?;
        values.insert(output.clone(), built.push(operation, &inputs));
    }
    for output in &graph.output {
        let node =
            values.get(&output.name).ok_or_else(|| foreign(format!("nothing makes the output {}", output.name)))?;
        built.output(&output.name, *node);
    }
    Ok(built)
}

fn input_shape(graph: &GraphProto) -> Result<[usize; 3], ReadError> {
    let shape = graph.input.first().and_then(|input| match input.r#type.as_ref()?.value.as_ref()? {
        type_proto::Value::TensorType(tensor) => tensor.shape.as_ref(),
    });
    let dims: Option<Vec<usize>> = shape.map(|shape| {
        let value = |d: &tract_onnx::pb::tensor_shape_proto::Dimension| match d.value {
            Some(dimension::Value::DimValue(value)) => usize::try_from(value).unwrap_or(0),
            _ => 0,
        };
        shape.dim.iter().map(value).collect()
    });
    match dims.as_deref() {
        Some(&[1, c, h, w]) if c * h * w > 0 => Ok([c, h, w]),
        other => Err(foreign(format!("the input has shape {other:?}"))),
    }
}

fn constant(tensor: &TensorProto) -> Result<Tensor, ReadError> {
    let dims: Vec<usize> = tensor.dims.iter().map(|&d| usize::try_from(d).unwrap_or(0)).collect();
    let dtype = match tensor.data_type {
        t if t == DataType::Float as i32 => DType::F32,
        t if t == DataType::Float16 as i32 => DType::F16,
        t => return Err(foreign(format!("{} has data type {t}", tensor.name))),
    };
    let expected = dims.iter().try_fold(dtype.size_in_bytes(), |n, &d| n.checked_mul(d));
    if expected != Some(tensor.raw_data.len()) {
        return Err(foreign(format!("{} has {} bytes for shape {dims:?}", tensor.name, tensor.raw_data.len())));
    }
    Ok(Tensor::from_raw_buffer(&tensor.raw_data, dtype, &dims, &Device::Cpu)?)
}

fn operation(node: &NodeProto, constants: &BTreeMap<String, Tensor>) -> Result<Operation, ReadError> {
    let weight = |index: usize| {
        node.input
            .get(index)
            .and_then(|name| constants.get(name))
            .cloned()
            .ok_or_else(|| foreign(format!("{} {} lacks constant {index}", node.op_type, node.name)))
    };
    let attribute = |name: &str| node.attribute.iter().find(|a| a.name == name);
    let integers = |name: &str| {
        attribute(name)
            .map(|a| a.ints.iter().map(|&i| usize::try_from(i).unwrap_or(0)).collect::<Vec<_>>())
            .unwrap_or_default()
    };
    Ok(match node.op_type.as_str() {
        "Conv" => {
            let [top, left, bottom, right] = integers("pads")[..] else {
                return Err(foreign("a convolution without pads"));
            };
            let even = |name: &str| match integers(name)[..] {
                [] => Ok(1),
                [a, b] if a == b && a > 0 => Ok(a),
                _ => Err(foreign(format!("a convolution with uneven {name}"))),
            };
            let (stride, dilation) = (even("strides")?, even("dilations")?);
            let groups = attribute("group").and_then(|a| usize::try_from(a.i).ok()).unwrap_or(1);
            let config = ConvolutionConfig { stride, padding: Padding { top, left, bottom, right }, dilation, groups };
            Operation::Convolution { weight: weight(1)?, bias: weight(2)?, config }
        }
        "ConvTranspose" => Operation::UpConvolution { weight: weight(1)?, bias: weight(2)? },
        "Relu" => Operation::Relu,
        "Clip" => Operation::Relu6,
        "Sigmoid" => Operation::Sigmoid,
        "Add" => Operation::Add,
        "Mul" => Operation::Multiply,
        "MaxPool" => Operation::MaxPool2,
        "GlobalAveragePool" => Operation::GlobalAveragePool,
        "Concat" => Operation::Concatenate,
        other => return Err(foreign(format!("operator {other}"))),
    })
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::super::{HALF_PRECISION_FROM, to_onnx};
    use super::*;
    use crate::{nets::attention_unet::AttentionUnetConfig, nn::seeded};

    #[test]
    fn what_is_written_computes_the_same_when_read() {
        let net = AttentionUnetConfig { channels_in: 1, channels_out: 2, base_channels: 8, blocks: 2 }
            .init(3, &Device::Cpu)
            .unwrap();
        let mut graph = net.to_graph(16).unwrap();
        assert!(to_onnx(&graph, "unet").is_err(), "weights that are not rounded are refused");
        graph.round_to_half(HALF_PRECISION_FROM).unwrap();
        let bytes = to_onnx(&graph, "unet").unwrap();
        let read = from_onnx(&bytes).unwrap();
        let x = seeded::normal((1, 1, 16, 16), 1.0, 4, &Device::Cpu).unwrap();
        let values = |graph: &Graph| graph.run(&x).unwrap().remove(0).flatten_all().unwrap().to_vec1::<f32>().unwrap();
        assert_eq!(values(&graph), values(&read));
        assert_eq!(to_onnx(&read, "unet").unwrap().len(), bytes.len());
    }

    #[test]
    fn foreign_and_broken_files_are_errors() {
        assert!(from_onnx(b"no onnx at all").is_err());
        assert!(from_onnx(&[]).is_err());
    }
}
