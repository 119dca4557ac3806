//! An ONNX file that [`to_onnx`](super::to_onnx) wrote, as a [`Graph`] again, so that candle can run what is in a bundle.

use std::collections::BTreeMap;

use candle_core::{DType, Device, Tensor};
use prost::Message;
use tract_onnx::pb::{
    GraphProto, ModelProto, TensorProto, tensor_proto::DataType, tensor_shape_proto::dimension, type_proto,
};

use crate::graph::{Graph, NodeId, Operation, operations::closes_swish};
use crate::onnx_format::{ReadError, StoredNode, foreign};

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
        let stored = StoredNode { node, constants: &constants };
        let mut operation = Operation::read(&stored)?;
        let inputs = node.input.iter().filter(|name| !constants.contains_key(*name));
        let inputs = inputs
            .map(|name| values.get(name).copied().ok_or_else(|| foreign(format!("{name} is used before it is made"))))
            .collect::<Result<Vec<_>, _>>()?;
        let mut inputs = inputs.as_slice();
        if closes_swish(&stored, output, &operation, built.nodes.last().map(|node| &node.operation)) {
            built.nodes.pop();
            (operation, inputs) = (Operation::Swish, &inputs[..1]);
        }
        values.insert(output.clone(), built.push(operation, inputs));
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

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::{super::to_onnx, *};
    use crate::{pool::PoolConfig, seeded, upsample::Method};

    /// What tract makes of the exported graph.
    fn tract(bytes: &[u8], x: &Tensor) -> (Vec<usize>, Vec<f32>) {
        use tract_onnx::prelude::{Framework, InferenceModelExt, IntoRunnable, Tensor, tvec};
        let model = tract_onnx::onnx().model_for_read(&mut std::io::Cursor::new(bytes)).unwrap();
        let plan = model.into_optimized().unwrap().into_runnable().unwrap();
        let input = Tensor::from_shape(x.dims(), &flat(x)).unwrap();
        let outputs = plan.run(tvec![input.into()]).unwrap();
        let view = outputs[0].to_plain_array_view::<f32>().unwrap();
        (view.shape().to_vec(), view.iter().copied().collect())
    }

    fn flat(x: &Tensor) -> Vec<f32> {
        x.flatten_all().unwrap().to_vec1().unwrap()
    }

    #[test]
    fn another_size_means_the_same_to_tract() {
        let methods =
            [Method::Nearest, Method::Bilinear { align_corners: false }, Method::Bilinear { align_corners: true }];
        let x = seeded::normal((1, 2, 4, 6), 1.0, 3, &Device::Cpu).unwrap();
        for (method, [height, width]) in methods.into_iter().flat_map(|m| [[8, 12], [7, 9], [3, 4]].map(|s| (m, s))) {
            let mut graph = Graph::new([2, 4, 6]);
            let resized = graph.push(Operation::Resize { method, height, width }, &[0]);
            graph.output("resized", resized);
            let own = graph.run(&x).unwrap().remove(0);
            assert_eq!(flat(&own), flat(&graph.nodes[1].operation.run(&[&x]).unwrap()), "{method:?}");
            let (shape, values) = tract(&to_onnx(&graph, "resize").unwrap(), &x);
            assert_eq!(shape, own.dims());
            let worst = flat(&own).iter().zip(&values).map(|(a, b)| (a - b).abs()).fold(0.0, f32::max);
            assert!(worst < 1e-5, "{method:?} {height} x {width}: {worst}");
        }
    }

    #[test]
    fn pooling_with_padding_means_the_same_to_tract() {
        let padded = PoolConfig { kernel: 3, stride: 2, padding: 1, ceil_mode: false };
        let open = PoolConfig { kernel: 3, stride: 2, padding: 0, ceil_mode: true };
        let kinds: [fn(PoolConfig) -> Operation; 2] = [Operation::MaxPool, Operation::AveragePool];
        for (config, kind) in [padded, open, PoolConfig::tiles(2)].into_iter().flat_map(|c| kinds.map(|k| (c, k))) {
            let mut graph = Graph::new([2, 8, 10]);
            let pooled = graph.push(kind(config), &[0]);
            graph.output("pooled", pooled);
            let bytes = to_onnx(&graph, "pool").unwrap();
            // Negative values: a padding of zeros would win.
            let x = (seeded::normal((1, 2, 8, 10), 1.0, 1, &Device::Cpu).unwrap() - 5.0).unwrap();
            let ours = graph.run(&x).unwrap().remove(0);
            assert_eq!(flat(&ours), flat(&from_onnx(&bytes).unwrap().run(&x).unwrap()[0]), "{config:?}");
            let (shape, theirs) = tract(&bytes, &x);
            assert_eq!(shape, ours.dims(), "{config:?}");
            assert!(theirs.iter().zip(flat(&ours)).all(|(a, b)| (a - b).abs() < 1e-5), "{config:?}");
        }
    }

    #[test]
    fn swish_is_written_as_a_pair_and_read_as_one() {
        let mut graph = Graph::new([2, 3, 4]);
        let swish = graph.push(Operation::Swish, &[0]);
        // A gate that is not a swish's own stays what it is.
        let gate = graph.push(Operation::Sigmoid, &[swish]);
        let gated = graph.push(Operation::Multiply, &[swish, gate]);
        let sum = graph.push(Operation::Add, &[gated, gate]);
        graph.output("sum", sum);
        let bytes = to_onnx(&graph, "swish").unwrap();
        let read = from_onnx(&bytes).unwrap();
        let x = seeded::normal((1, 2, 3, 4), 3.0, 1, &Device::Cpu).unwrap();
        let ours = flat(&graph.run(&x).unwrap()[0]);
        assert!(ours.iter().zip(tract(&bytes, &x).1).all(|(a, b)| (a - b).abs() < 1e-5));
        assert!(ours.iter().zip(flat(&read.run(&x).unwrap()[0])).all(|(a, b)| (a - b).abs() < 1e-6));
        assert!(read.nodes.iter().any(|node| matches!(node.operation, Operation::Swish)));
    }

    #[test]
    fn foreign_and_broken_files_are_errors() {
        assert!(from_onnx(b"no onnx at all").is_err());
        assert!(from_onnx(&[]).is_err());
    }
}
