//! A [`Graph`] as an ONNX file (opset 13), which tract and ONNX Runtime read.
//!
//! Large weights are stored in half precision with a `Cast` behind them, which every runtime folds away on loading: half
//! the size on disk, full precision in the arithmetic.

mod read;

pub use read::{ReadError, from_onnx};

use candle_core::{DType, Tensor};
use prost::Message;
use tract_onnx::pb::{
    AttributeProto, GraphProto, ModelProto, NodeProto, OperatorSetIdProto, TensorProto, TensorShapeProto, TypeProto,
    ValueInfoProto, attribute_proto::AttributeType, tensor_proto::DataType, tensor_shape_proto, type_proto,
};

use crate::{
    convolution::ConvolutionConfig,
    graph::{Graph, Operation},
    pool::PoolConfig,
};

/// Weights of at least this many values are stored in half precision.
pub const HALF_PRECISION_FROM: usize = 4096;

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
        let output = match graph.outputs.iter().find(|(_, id)| *id == index) {
            Some((name, _)) => name.clone(),
            None if index == 0 => "input".into(),
            None => format!("n{index}"),
        };
        let inputs: Vec<String> = node.inputs.iter().map(|&input| String::clone(&values[input])).collect();
        writer.operation(&node.operation, inputs, &output)?;
        values.push(output);
    }
    let [c, h, w] = graph.input_shape;
    let outputs = graph.outputs.iter().map(|(name, _)| value_info(name, None)).collect();
    let model = ModelProto {
        ir_version: 7,
        opset_import: vec![OperatorSetIdProto { domain: String::new(), version: 13 }],
        producer_name: "thorax-train".into(),
        producer_version: env!("CARGO_PKG_VERSION").into(),
        graph: Some(GraphProto {
            name: name.into(),
            node: writer.nodes,
            initializer: writer.weights,
            input: vec![value_info("input", Some([batch, c, h, w]))],
            output: outputs,
            ..Default::default()
        }),
        ..Default::default()
    };
    Ok(model.encode_to_vec())
}

fn value_info(name: &str, shape: Option<[usize; 4]>) -> ValueInfoProto {
    use tensor_shape_proto::{Dimension, dimension::Value};
    let shape = shape.map(|dims| TensorShapeProto {
        dim: dims
            .into_iter()
            .map(|d| Dimension { denotation: String::new(), value: Some(Value::DimValue(d as i64)) })
            .collect(),
    });
    let tensor = type_proto::Tensor { elem_type: DataType::Float as i32, shape };
    ValueInfoProto {
        name: name.into(),
        r#type: Some(TypeProto { denotation: String::new(), value: Some(type_proto::Value::TensorType(tensor)) }),
        doc_string: String::new(),
    }
}

#[derive(Default)]
struct Writer {
    nodes: Vec<NodeProto>,
    weights: Vec<TensorProto>,
}

impl Writer {
    fn operation(&mut self, operation: &Operation, mut inputs: Vec<String>, output: &str) -> candle_core::Result<()> {
        let (kind, attributes) = match operation {
            Operation::Input => return Ok(()),
            Operation::Convolution { weight, bias, config } => {
                inputs.push(self.weight(&format!("{output}.weight"), weight)?);
                inputs.push(self.weight(&format!("{output}.bias"), bias)?);
                let ConvolutionConfig { stride, padding: p, dilation, groups } = *config;
                let attributes = vec![
                    integers("kernel_shape", &weight.dims()[2..]),
                    integers("strides", &[stride, stride]),
                    integers("dilations", &[dilation, dilation]),
                    integers("pads", &[p.top, p.left, p.bottom, p.right]),
                    integer("group", groups),
                ];
                ("Conv", attributes)
            }
            Operation::UpConvolution { weight, bias } => {
                inputs.push(self.weight(&format!("{output}.weight"), weight)?);
                inputs.push(self.weight(&format!("{output}.bias"), bias)?);
                ("ConvTranspose", vec![integers("kernel_shape", &[2, 2]), integers("strides", &[2, 2])])
            }
            Operation::Relu => ("Relu", vec![]),
            Operation::Relu6 => {
                inputs.push(self.scalar(&format!("{output}.min"), 0.0));
                inputs.push(self.scalar(&format!("{output}.max"), 6.0));
                ("Clip", vec![])
            }
            Operation::Swish => {
                // ONNX has none; the runtimes know the pair.
                let gate = gate_of(output);
                self.node("Sigmoid", inputs.clone(), &gate, vec![]);
                inputs.push(gate);
                ("Mul", vec![])
            }
            Operation::Sigmoid => ("Sigmoid", vec![]),
            Operation::Add => ("Add", vec![]),
            Operation::Multiply => ("Mul", vec![]),
            Operation::MaxPool(config) => ("MaxPool", windows(*config)),
            Operation::AveragePool(config) => {
                let attributes = [windows(*config), vec![integer("count_include_pad", 0)]].concat();
                ("AveragePool", attributes)
            }
            Operation::GlobalAveragePool => ("GlobalAveragePool", vec![]),
            Operation::Concatenate => ("Concat", vec![integer("axis", 1)]),
        };
        self.node(kind, inputs, output, attributes);
        Ok(())
    }

    fn node(&mut self, kind: &str, input: Vec<String>, output: &str, attribute: Vec<AttributeProto>) {
        let node = NodeProto {
            name: output.into(),
            op_type: kind.into(),
            input,
            output: vec![output.into()],
            attribute,
            ..Default::default()
        };
        self.nodes.push(node);
    }

    fn weight(&mut self, name: &str, tensor: &Tensor) -> candle_core::Result<String> {
        let values = tensor.to_dtype(DType::F32)?.flatten_all()?.to_vec1::<f32>()?;
        let dims = tensor.dims().iter().map(|&d| d as i64).collect();
        if values.len() < HALF_PRECISION_FROM {
            let raw_data = values.iter().flat_map(|v| v.to_le_bytes()).collect();
            self.weights.push(TensorProto {
                name: name.into(),
                dims,
                data_type: DataType::Float as i32,
                raw_data,
                ..Default::default()
            });
            return Ok(name.into());
        }
        let halves: Vec<half::f16> = values.iter().map(|&v| half::f16::from_f32(v)).collect();
        if halves.iter().zip(&values).any(|(half, &value)| half.to_f32() != value) {
            candle_core::bail!("export: {name} is not rounded to half precision");
        }
        let stored = format!("{name}.f16");
        self.weights.push(TensorProto {
            name: stored.clone(),
            dims,
            data_type: DataType::Float16 as i32,
            raw_data: halves.iter().flat_map(|v| v.to_le_bytes()).collect(),
            ..Default::default()
        });
        self.node("Cast", vec![stored], name, vec![integer("to", DataType::Float as usize)]);
        Ok(name.into())
    }

    fn scalar(&mut self, name: &str, value: f32) -> String {
        self.weights.push(TensorProto {
            name: name.into(),
            data_type: DataType::Float as i32,
            raw_data: value.to_le_bytes().into(),
            ..Default::default()
        });
        name.into()
    }
}

/// The name of the sigmoid in a swish called `output`.
fn gate_of(output: &str) -> String {
    format!("{output}.gate")
}

fn windows(config: PoolConfig) -> Vec<AttributeProto> {
    let PoolConfig { kernel, stride, padding, ceil_mode } = config;
    vec![
        integers("kernel_shape", &[kernel; 2]),
        integers("strides", &[stride; 2]),
        integers("pads", &[padding; 4]),
        integer("ceil_mode", usize::from(ceil_mode)),
    ]
}

fn integer(name: &str, value: usize) -> AttributeProto {
    AttributeProto { name: name.into(), r#type: AttributeType::Int as i32, i: value as i64, ..Default::default() }
}

fn integers(name: &str, values: &[usize]) -> AttributeProto {
    let ints = values.iter().map(|&v| v as i64).collect();
    AttributeProto { name: name.into(), r#type: AttributeType::Ints as i32, ints, ..Default::default() }
}
