//! What an ONNX file is made of, for whoever writes or reads one operation of it.

use std::collections::{BTreeMap, HashMap};

use candle_core::{DType, Tensor, TensorId};
use tract_onnx::pb::{AttributeProto, NodeProto, TensorProto, attribute_proto::AttributeType, tensor_proto::DataType};

/// Weights of at least this many values are stored in half precision.
pub const HALF_PRECISION_FROM: usize = 4096;

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

/// An error about a file of another program.
pub(crate) fn foreign(what: impl Into<String>) -> ReadError {
    ReadError::Foreign(what.into())
}

/// The nodes and weights of a file that is being written.
pub(crate) struct Writer {
    pub(super) nodes: Vec<NodeProto>,
    pub(super) weights: Vec<TensorProto>,
    /// Weights of so many values are stored in half precision.
    half_from: usize,
    /// The names of weights that are there.
    known: HashMap<TensorId, String>,
}

impl Default for Writer {
    fn default() -> Self {
        Self { nodes: vec![], weights: vec![], half_from: HALF_PRECISION_FROM, known: HashMap::new() }
    }
}

impl Writer {
    /// One that stores all weights as they are.
    pub(crate) fn whole() -> Self {
        Self { half_from: usize::MAX, ..Self::default() }
    }

    /// A node that makes `output`.
    pub(crate) fn node(&mut self, kind: &str, input: Vec<String>, output: &str, attribute: Vec<AttributeProto>) {
        self.node_of(kind, input, vec![output.into()], attribute);
    }

    /// A node that makes several `output`s, called after the first.
    pub(crate) fn node_of(
        &mut self,
        kind: &str,
        input: Vec<String>,
        output: Vec<String>,
        attribute: Vec<AttributeProto>,
    ) {
        let name = output.first().cloned().unwrap_or_default();
        let node = NodeProto { name, op_type: kind.into(), input, output, attribute, ..Default::default() };
        self.nodes.push(node);
    }

    /// A weight, in half precision where it is large; its name. One that several operations share is stored once.
    pub(crate) fn weight(&mut self, name: &str, tensor: &Tensor) -> candle_core::Result<String> {
        if let Some(known) = self.known.get(&tensor.id()) {
            return Ok(known.clone());
        }
        self.known.insert(tensor.id(), name.into());
        let values = tensor.to_dtype(DType::F32)?.flatten_all()?.to_vec1::<f32>()?;
        let dims = tensor.dims().iter().map(|&d| d as i64).collect();
        if values.len() < self.half_from {
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

    /// A number; its name.
    pub(crate) fn scalar(&mut self, name: &str, value: f32) -> String {
        self.raw(name, &[], DataType::Float, value.to_le_bytes().into())
    }

    /// Whole numbers; their name.
    pub(crate) fn integers(&mut self, name: &str, dims: &[i64], values: &[i64]) -> String {
        self.raw(name, dims, DataType::Int64, values.iter().flat_map(|value| value.to_le_bytes()).collect())
    }

    /// A constant of any type, little-endian; its name.
    pub(crate) fn raw(&mut self, name: &str, dims: &[i64], data_type: DataType, raw_data: Vec<u8>) -> String {
        let (dims, data_type) = (dims.into(), data_type as i32);
        self.weights.push(TensorProto { name: name.into(), dims, data_type, raw_data, ..Default::default() });
        name.into()
    }
}

/// An attribute.
pub(crate) fn integer(name: &str, value: usize) -> AttributeProto {
    AttributeProto { name: name.into(), r#type: AttributeType::Int as i32, i: value as i64, ..Default::default() }
}

/// An attribute that is a word.
pub(crate) fn text(name: &str, value: &str) -> AttributeProto {
    AttributeProto { name: name.into(), r#type: AttributeType::String as i32, s: value.into(), ..Default::default() }
}

/// An attribute of several numbers.
pub(crate) fn integers(name: &str, values: &[usize]) -> AttributeProto {
    let ints = values.iter().map(|&v| v as i64).collect();
    AttributeProto { name: name.into(), r#type: AttributeType::Ints as i32, ints, ..Default::default() }
}

/// A node of a file that is being read.
pub(crate) struct StoredNode<'a> {
    pub(super) node: &'a NodeProto,
    pub(super) constants: &'a BTreeMap<String, Tensor>,
}

impl StoredNode<'_> {
    /// ONNX's name of the operator.
    pub(crate) fn kind(&self) -> &str {
        &self.node.op_type
    }

    /// The name of an input.
    pub(crate) fn input(&self, index: usize) -> Option<&String> {
        self.node.input.get(index)
    }

    /// An input that is a constant.
    ///
    /// # Errors
    /// Where there is none.
    pub(crate) fn weight(&self, index: usize) -> Result<Tensor, ReadError> {
        self.input(index)
            .and_then(|name| self.constants.get(name))
            .cloned()
            .ok_or_else(|| foreign(format!("{} {} lacks constant {index}", self.node.op_type, self.node.name)))
    }

    fn attribute(&self, name: &str) -> Option<&AttributeProto> {
        self.node.attribute.iter().find(|a| a.name == name)
    }

    /// An attribute.
    pub(crate) fn integer(&self, name: &str) -> Option<i64> {
        self.attribute(name).map(|a| a.i)
    }

    /// An attribute of several numbers; none where it is not there.
    pub(crate) fn integers(&self, name: &str) -> Vec<usize> {
        self.attribute(name)
            .map(|a| a.ints.iter().map(|&i| usize::try_from(i).unwrap_or(0)).collect())
            .unwrap_or_default()
    }

    /// An attribute of two numbers that are the same; 1 where it is not there.
    ///
    /// # Errors
    /// Numbers that differ.
    pub(crate) fn even(&self, name: &str) -> Result<usize, ReadError> {
        match self.integers(name)[..] {
            [] => Ok(1),
            [a, b] if a == b && a > 0 => Ok(a),
            _ => Err(foreign(format!("{} {} with uneven {name}", self.node.op_type, self.node.name))),
        }
    }
}
