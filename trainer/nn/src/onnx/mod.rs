//! A [`Graph`] as an ONNX file (opset 13), which tract and ONNX Runtime read.
//!
//! Large weights are stored in half precision with a `Cast` behind them, which every runtime folds away on loading: half
//! the size on disk, full precision in the arithmetic.
//!
//! A [`Model`] goes on behind a graph, for answers that are no maps: boxes, scores, masks.

mod model;
mod read;

pub use crate::onnx_format::{HALF_PRECISION_FROM, ReadError};
pub use model::{Attribute, Element, Model, Value};
pub use read::from_onnx;

use prost::Message;
use tract_onnx::pb::{
    GraphProto, ModelProto, OperatorSetIdProto, TensorShapeProto, TypeProto, ValueInfoProto, tensor_proto::DataType,
    tensor_shape_proto, type_proto,
};

use crate::graph::Graph;
use crate::onnx_format::Writer;

/// The bytes of an ONNX model named `name`; its batch is one picture, its input `input`, its outputs the graph's.
///
/// # Errors
/// When a weight cannot be read from its device, or does not survive half precision (round it first, see
/// [`Graph::round_to_half`]).
pub fn to_onnx(graph: &Graph, name: &str) -> candle_core::Result<Vec<u8>> {
    to_onnx_of_batch(graph, name, 1)
}

/// [`to_onnx`] for `batch` pictures at a time, for other runtimes; [`from_onnx`] and the device read batches of one.
///
/// # Errors
/// See [`to_onnx`].
pub fn to_onnx_of_batch(graph: &Graph, name: &str, batch: usize) -> candle_core::Result<Vec<u8>> {
    let mut writer = Writer::default();
    let mut values = Vec::with_capacity(graph.nodes.len());
    for (index, node) in graph.nodes.iter().enumerate() {
        let output = graph.value_name(index);
        let inputs: Vec<String> = node.inputs.iter().map(|&input| String::clone(&values[input])).collect();
        if let Some(operator) = node.operation.operator() {
            operator.write(&mut writer, inputs, &output)?;
        }
        values.push(output);
    }
    let [c, h, w] = graph.input_shape;
    let outputs = graph.outputs.iter().map(|(name, _)| (name.as_str(), DataType::Float)).collect::<Vec<_>>();
    Ok(finish(writer, name, [batch, c, h, w], &outputs))
}

/// The bytes of a model of what was written, whose input is called `input` and has the shape `input`.
pub(crate) fn finish(writer: Writer, name: &str, input: [usize; 4], outputs: &[(&str, DataType)]) -> Vec<u8> {
    let model = ModelProto {
        ir_version: 7,
        opset_import: vec![OperatorSetIdProto { domain: String::new(), version: 13 }],
        producer_name: "thorax-train".into(),
        producer_version: env!("CARGO_PKG_VERSION").into(),
        graph: Some(GraphProto {
            name: name.into(),
            node: writer.nodes,
            initializer: writer.weights,
            input: vec![value_info("input", DataType::Float, Some(input))],
            output: outputs.iter().map(|&(name, element)| value_info(name, element, None)).collect(),
            ..Default::default()
        }),
        ..Default::default()
    };
    model.encode_to_vec()
}

fn value_info(name: &str, element: DataType, shape: Option<[usize; 4]>) -> ValueInfoProto {
    use tensor_shape_proto::{Dimension, dimension::Value};
    let shape = shape.map(|dims| TensorShapeProto {
        dim: dims
            .into_iter()
            .map(|d| Dimension { denotation: String::new(), value: Some(Value::DimValue(d as i64)) })
            .collect(),
    });
    let tensor = type_proto::Tensor { elem_type: element as i32, shape };
    ValueInfoProto {
        name: name.into(),
        r#type: Some(TypeProto { denotation: String::new(), value: Some(type_proto::Value::TensorType(tensor)) }),
        doc_string: String::new(),
    }
}
