//! The inference form of a net: a straight list of operations with their weights.
//!
//! A net that is trained ends as a [`Graph`]: batch norms folded, dropout gone, shapes fixed. candle runs it here
//! ([`Graph::run`]); `export` writes the same list as ONNX, which tract runs on the device. What is compared when a bundle
//! is verified is therefore one description carried out by two libraries.

use candle_core::{DType, Result, Tensor};

use super::{
    convolution::{ConvolutionConfig, TransposedConfig, biased_convolution, biased_transposed_convolution},
    elementwise::{relu, sigmoid},
    pool::{PoolConfig, max_pool},
};

/// Index of a node in its graph.
pub type NodeId = usize;

/// One operation. Activations are `[N, C, H, W]`.
#[derive(Clone)]
pub enum Operation {
    /// The picture that comes in.
    Input,
    /// Convolution with `weight` `[C_out, C_in / groups, K, K]` and `bias` `[C_out]`.
    Convolution {
        /// The kernel.
        weight: Tensor,
        /// Added to each channel.
        bias: Tensor,
        /// Stride, padding, groups.
        config: ConvolutionConfig,
    },
    /// Transposed convolution, kernel 2, stride 2: `weight` `[C_in, C_out, 2, 2]`, `bias` `[C_out]`.
    UpConvolution {
        /// The kernel.
        weight: Tensor,
        /// Added to each channel.
        bias: Tensor,
    },
    /// `max(x, 0)`.
    Relu,
    /// `min(max(x, 0), 6)`.
    Relu6,
    /// `1 / (1 + exp(-x))`.
    Sigmoid,
    /// Sum of two; the second may be a single channel or pixel (broadcast).
    Add,
    /// Product of two; the second may be a single channel or pixel (broadcast).
    Multiply,
    /// Largest of each 2 x 2.
    MaxPool2,
    /// Mean of each channel, `[N, C, 1, 1]`.
    GlobalAveragePool,
    /// The channels of all inputs, one after another.
    Concatenate,
}

/// An operation and where its inputs come from.
#[derive(Clone)]
pub struct Node {
    /// What is done.
    pub operation: Operation,
    /// To what; always earlier nodes.
    pub inputs: Vec<NodeId>,
}

/// A net for inference.
#[derive(Clone)]
pub struct Graph {
    /// `[C, H, W]` of the input.
    pub input_shape: [usize; 3],
    /// In the order in which they are carried out.
    pub nodes: Vec<Node>,
    /// Name and node of each output.
    pub outputs: Vec<(String, NodeId)>,
}

impl Graph {
    /// A graph that has only its input, node 0.
    pub fn new(input_shape: [usize; 3]) -> Self {
        Self { input_shape, nodes: vec![Node { operation: Operation::Input, inputs: vec![] }], outputs: vec![] }
    }

    /// Appends an operation.
    pub fn push(&mut self, operation: Operation, inputs: &[NodeId]) -> NodeId {
        debug_assert!(inputs.iter().all(|&input| input < self.nodes.len()));
        self.nodes.push(Node { operation, inputs: inputs.to_vec() });
        self.nodes.len() - 1
    }

    /// Appends a convolution.
    pub fn convolution(&mut self, input: NodeId, weight: Tensor, bias: Tensor, config: ConvolutionConfig) -> NodeId {
        self.push(Operation::Convolution { weight, bias, config }, &[input])
    }

    /// Names a node as an output.
    pub fn output(&mut self, name: &str, node: NodeId) {
        self.outputs.push((name.into(), node));
    }

    /// Rounds every weight of at least `smallest` values to half precision, as the exported file stores it.
    ///
    /// # Errors
    /// When the device fails.
    pub fn round_to_half(&mut self, smallest: usize) -> Result<()> {
        for node in &mut self.nodes {
            if let Operation::Convolution { weight, .. } | Operation::UpConvolution { weight, .. } = &mut node.operation
                && weight.elem_count() >= smallest
            {
                *weight = weight.to_dtype(DType::F16)?.to_dtype(DType::F32)?;
            }
        }
        Ok(())
    }

    /// Carries the graph out on `x` `[N, C, H, W]`; one tensor an output, in their order.
    ///
    /// # Errors
    /// When `x` does not have the input's shape or the device fails.
    pub fn run(&self, x: &Tensor) -> Result<Vec<Tensor>> {
        let [c, h, w] = self.input_shape;
        if x.dims().get(1..) != Some(&[c, h, w]) {
            candle_core::bail!("graph: input is {:?}, expected [N, {c}, {h}, {w}]", x.dims());
        }
        let mut last_use = vec![0; self.nodes.len()];
        for (index, node) in self.nodes.iter().enumerate() {
            node.inputs.iter().for_each(|&input| last_use[input] = index);
        }
        self.outputs.iter().for_each(|&(_, node)| last_use[node] = usize::MAX);
        let mut values: Vec<Option<Tensor>> = vec![None; self.nodes.len()];
        for (index, node) in self.nodes.iter().enumerate() {
            let inputs = node
                .inputs
                .iter()
                .map(|&input| {
                    values[input].as_ref().ok_or_else(|| {
                        candle_core::Error::Msg(format!("graph: node {index} uses node {input} too late"))
                    })
                })
                .collect::<Result<Vec<_>>>()?;
            let value = if let Operation::Input = node.operation { x.clone() } else { node.operation.run(&inputs)? };
            values[index] = Some(value);
            for &input in &node.inputs {
                if last_use[input] == index {
                    values[input] = None;
                }
            }
        }
        self.outputs
            .iter()
            .map(|(name, node)| {
                values[*node]
                    .clone()
                    .ok_or_else(|| candle_core::Error::Msg(format!("graph: output {name} was not computed")))
            })
            .collect()
    }
}

impl Operation {
    fn run(&self, inputs: &[&Tensor]) -> Result<Tensor> {
        let &[first, ..] = inputs else { candle_core::bail!("graph: an operation has no input") };
        let second = || {
            inputs
                .get(1)
                .copied()
                .ok_or_else(|| candle_core::Error::Msg("graph: an operation lacks its second input".into()))
        };
        match self {
            Self::Input => Ok(first.clone()),
            Self::Convolution { weight, bias, config } => biased_convolution(first, weight, bias, *config),
            Self::UpConvolution { weight, bias } => {
                biased_transposed_convolution(first, weight, bias, TransposedConfig::doubling())
            }
            Self::Relu => relu(first),
            Self::Relu6 => first.clamp(0f32, 6f32),
            Self::Sigmoid => sigmoid(first),
            Self::Add => first.broadcast_add(second()?),
            Self::Multiply => first.broadcast_mul(second()?),
            Self::MaxPool2 => max_pool(first, PoolConfig::tiles(2)),
            Self::GlobalAveragePool => first.mean_keepdim((2, 3)),
            Self::Concatenate => Tensor::cat(inputs, 1),
        }
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;
    use candle_core::Device;

    #[test]
    fn a_graph_refuses_another_input_shape() {
        let mut graph = Graph::new([1, 4, 4]);
        let pooled = graph.push(Operation::MaxPool2, &[0]);
        graph.output("pooled", pooled);
        let zeros = |shape: (usize, usize, usize, usize)| Tensor::zeros(shape, DType::F32, &Device::Cpu).unwrap();
        assert_eq!(graph.run(&zeros((3, 1, 4, 4))).unwrap()[0].dims(), [3, 1, 2, 2]);
        assert!(graph.run(&zeros((1, 1, 4, 6))).is_err());
    }
}
