//! A graph that was quantized is computed in bytes, or it is refused.
//!
//! ONNX has two forms of an 8-bit convolution. `QLinearConv` is one, and our kernels carry it out. The other, QDQ, is a convolution in
//! f32 of bytes that a `DequantizeLinear` has turned into numbers, weights among them; a runtime is expected to see what is meant. We do
//! not, and it would run in f32, as slowly as before and with other roundings, and nobody would know. It has to be seen in the file: when
//! tract has read it, small weights are numbers whose origin is gone.
//!
//! A layer that was kept in floating point on purpose has weights that no `DequantizeLinear` made, and weights that are bytes only to take
//! less room meet an input that never was bytes. Both are welcome.

use std::collections::HashMap;

use tract_onnx::{
    pb::{GraphProto, NodeProto},
    prelude::TractResult,
    tract_core::internal::bail,
};

/// What multiplies its first two inputs.
const PRODUCTS: [&str; 4] = ["Conv", "ConvTranspose", "Gemm", "MatMul"];
/// What leaves bytes that were made numbers such: it moves, drops or bounds them.
const PASSES_ON: [&str; 10] =
    ["Cast", "Clip", "Flatten", "Identity", "MaxPool", "Relu", "Reshape", "Squeeze", "Transpose", "Unsqueeze"];

/// That no product of `graph` is in the form QDQ.
///
/// # Errors
/// The first that is, by its name, with the remedy.
pub(crate) fn refuse_qdq(graph: &GraphProto) -> TractResult<()> {
    let made_by: HashMap<&str, &NodeProto> =
        graph.node.iter().flat_map(|node| node.output.iter().map(move |output| (output.as_str(), node))).collect();
    for node in graph.node.iter().filter(|node| PRODUCTS.contains(&node.op_type.as_str())) {
        if let [x, weight, ..] = &node.input[..]
            && were_bytes(&made_by, x)
            && were_bytes(&made_by, weight)
        {
            let name = [&node.name].into_iter().chain(&node.output).find(|name| !name.is_empty());
            bail!(
                "{} ({}) multiplies what DequantizeLinear gives (QDQ), which would run in floating point; quantize the graph of real \
                 numbers with `thorax-train quantize`, which writes QLinearConv",
                name.map_or("a node without a name", String::as_str),
                node.op_type
            );
        }
    }
    Ok(())
}

/// Whether `value` is what a `DequantizeLinear` gave.
fn were_bytes<'a>(made_by: &HashMap<&'a str, &'a NodeProto>, mut value: &'a str) -> bool {
    // No way back is longer than this, unless it goes round in a circle.
    for _ in 0..made_by.len() {
        let Some(node) = made_by.get(value) else { return false };
        if node.op_type == "DequantizeLinear" {
            return true;
        }
        match node.input.first() {
            Some(input) if PASSES_ON.contains(&node.op_type.as_str()) => value = input,
            _ => return false,
        }
    }
    false
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "a test may fail by panic")]
mod tests {
    use super::*;
    use crate::graph::{Graph, Kernels};

    /// Two convolutions as ONNX Runtime's tool quantizes them (references/qdq_graph.py).
    const QDQ: &[u8] = include_bytes!("../tests/references/qdq.onnx");

    fn graph(nodes: &[(&str, &[&str], &str)]) -> GraphProto {
        let node = |&(op_type, inputs, output): &(&str, &[&str], &str)| NodeProto {
            op_type: op_type.into(),
            input: inputs.iter().map(|&input| input.into()).collect(),
            output: vec![output.into()],
            ..NodeProto::default()
        };
        GraphProto { node: nodes.iter().map(node).collect(), ..GraphProto::default() }
    }

    #[test]
    fn a_graph_in_the_form_qdq_is_refused_by_name_whoever_runs_it() {
        for kernels in [Kernels::Own, Kernels::Cuda] {
            let error = Graph::read(QDQ, &["masks"], kernels).unwrap_err();
            assert!(error.contains("first (Conv)") && error.contains("thorax-train quantize"), "{error}");
        }
    }

    #[test]
    fn bytes_are_followed_through_what_passes_them_on() {
        let mut nodes: Vec<(&str, &[&str], &str)> = vec![
            ("QuantizeLinear", &["input", "scale", "zero"], "bytes"),
            ("DequantizeLinear", &["bytes", "scale", "zero"], "numbers"),
            ("Relu", &["numbers"], "bounded"),
            ("DequantizeLinear", &["stored", "scales", "zeros"], "turned"),
            ("Transpose", &["turned"], "weight"),
        ];
        for product in PRODUCTS {
            nodes.push((product, &["bounded", "weight"], "y"));
            let error = refuse_qdq(&graph(&nodes)).unwrap_err().to_string();
            assert!(error.contains(&format!("y ({product})")), "{error}");
            // The order of a file is not to be relied on.
            let turned: Vec<_> = nodes.iter().copied().rev().collect();
            assert!(refuse_qdq(&graph(&turned)).is_err());
            nodes.pop();
        }
    }

    #[test]
    fn what_is_meant_to_be_in_floating_point_is_not_refused() {
        let kept_in_float: &[(&str, &[&str], &str)] = &[
            ("QuantizeLinear", &["input", "scale", "zero"], "bytes"),
            ("DequantizeLinear", &["bytes", "scale", "zero"], "numbers"),
            ("Cast", &["half"], "weight"),
            ("Conv", &["numbers", "weight", "bias"], "y"),
        ];
        let weights_alone: &[(&str, &[&str], &str)] = &[
            ("DequantizeLinear", &["stored", "scales", "zeros"], "weight"),
            ("Conv", &["input", "weight", "bias"], "y"),
        ];
        let sum: &[(&str, &[&str], &str)] = &[
            ("DequantizeLinear", &["bytes", "scale", "zero"], "a"),
            ("DequantizeLinear", &["others", "scale", "zero"], "b"),
            ("Add", &["a", "b"], "sum"),
            ("QuantizeLinear", &["sum", "scale", "zero"], "y"),
        ];
        // No graph, but nothing to wait for either.
        let circle: &[(&str, &[&str], &str)] =
            &[("Relu", &["b"], "a"), ("Relu", &["a"], "b"), ("Conv", &["a", "b"], "y")];
        for nodes in [kept_in_float, weights_alone, sum, circle] {
            refuse_qdq(&graph(nodes)).unwrap();
        }
    }
}
