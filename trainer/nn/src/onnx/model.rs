//! An ONNX model that goes on behind a [`Graph`]: choosing boxes, suppressing them, drawing their masks.
//!
//! A graph is maps of fixed sizes, which this program runs itself; what follows is only written, for other runtimes. Weights are stored as
//! they are, so that the answer is that of the net.

use candle_core::Result;
use tract_onnx::pb::{AttributeProto, attribute_proto::AttributeType, tensor_proto::DataType};

use super::finish;
use crate::{
    graph::{Graph, NodeId},
    onnx_format::{Writer, integer, integers},
};

/// A value of a model that is being written.
#[derive(Clone, Debug)]
pub struct Value(String);

/// What an output is made of.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Element {
    /// f32.
    Float,
    /// u8.
    Byte,
}

impl Element {
    fn data_type(self) -> DataType {
        match self {
            Self::Float => DataType::Float,
            Self::Byte => DataType::Uint8,
        }
    }
}

/// A property of a node.
#[derive(Clone, Copy, Debug)]
pub enum Attribute<'a> {
    /// A whole number, possibly below 0.
    Integer(i64),
    /// Several.
    Integers(&'a [usize]),
    /// The type that a `Cast` makes.
    To(Element),
}

impl Attribute<'_> {
    fn named(self, name: &str) -> AttributeProto {
        match self {
            Self::Integer(i) => {
                AttributeProto { name: name.into(), r#type: AttributeType::Int as i32, i, ..Default::default() }
            }
            Self::Integers(values) => integers(name, values),
            Self::To(element) => integer(name, element.data_type() as usize),
        }
    }
}

/// A model that is being written: a graph, and operators of ONNX (opset 13) behind it.
pub struct Model {
    writer: Writer,
    input: [usize; 3],
    /// Of values that have a name from here.
    made: usize,
}

impl Model {
    /// What `graph` computes, as far as these nodes need it; and their values, `[1, C, H, W]`.
    ///
    /// # Errors
    /// When a weight cannot be read from its device.
    pub fn behind(graph: &Graph, nodes: &[NodeId]) -> Result<(Self, Vec<Value>)> {
        let mut needed = vec![false; graph.nodes.len()];
        nodes.iter().for_each(|&node| needed[node] = true);
        for index in (0..graph.nodes.len()).rev() {
            if needed[index] {
                graph.nodes[index].inputs.iter().for_each(|&input| needed[input] = true);
            }
        }
        let mut writer = Writer::whole();
        for (index, node) in graph.nodes.iter().enumerate().filter(|(index, _)| needed[*index]) {
            let inputs = node.inputs.iter().map(|&input| graph.value_name(input)).collect();
            if let Some(operator) = node.operation.operator() {
                operator.write(&mut writer, inputs, &graph.value_name(index))?;
            }
        }
        let values = nodes.iter().map(|&node| Value(graph.value_name(node))).collect();
        Ok((Self { writer, input: graph.input_shape, made: 0 }, values))
    }

    fn name(&mut self, kind: &str) -> String {
        self.made += 1;
        format!("{}_{}", kind.to_lowercase(), self.made)
    }

    /// An operator with one result.
    pub fn node(&mut self, kind: &str, inputs: &[&Value], attributes: &[(&str, Attribute<'_>)]) -> Value {
        let [value] = self.nodes(kind, inputs, attributes);
        value
    }

    /// An operator with several results.
    pub fn nodes<const N: usize>(
        &mut self,
        kind: &str,
        inputs: &[&Value],
        attributes: &[(&str, Attribute<'_>)],
    ) -> [Value; N] {
        let outputs: [String; N] = std::array::from_fn(|_| self.name(kind));
        let inputs = inputs.iter().map(|value| value.0.clone()).collect();
        let attributes = attributes.iter().map(|(name, attribute)| attribute.named(name)).collect();
        self.writer.node_of(kind, inputs, outputs.to_vec(), attributes);
        outputs.map(Value)
    }

    /// A constant of f32.
    pub fn floats(&mut self, dims: &[usize], values: &[f32]) -> Value {
        let name = self.name("floats");
        let bytes = values.iter().flat_map(|value| value.to_le_bytes()).collect();
        let dims: Vec<i64> = dims.iter().map(|&dim| dim as i64).collect();
        Value(self.writer.raw(&name, &dims, DataType::Float, bytes))
    }

    /// A whole number.
    pub fn integer(&mut self, value: i64) -> Value {
        let name = self.name("integer");
        Value(self.writer.integers(&name, &[], &[value]))
    }

    /// A constant of whole numbers, `[K]`.
    pub fn integers(&mut self, values: &[i64]) -> Value {
        let name = self.name("integers");
        Value(self.writer.integers(&name, &[values.len() as i64], values))
    }

    /// The bytes of the model, called `name`; its input is `input`, `[1, C, H, W]`.
    pub fn finish(mut self, name: &str, outputs: &[(&str, Value, Element)]) -> Vec<u8> {
        for (output, value, _) in outputs {
            self.writer.node("Identity", vec![value.0.clone()], output, vec![]);
        }
        let [c, h, w] = self.input;
        let outputs: Vec<(&str, DataType)> =
            outputs.iter().map(|(name, _, element)| (*name, element.data_type())).collect();
        finish(self.writer, name, [1, c, h, w], &outputs)
    }
}
