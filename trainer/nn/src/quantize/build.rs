//! From a calibrated graph to one of integers: which values are u8, which of them share a scale, and the steps.
//!
//! Every layer that is not kept calculates in integers: its input is u8, and so is its output. What lies between layers follows: a value
//! is u8 if an integer layer needs it, directly or through operators that need it to give what is u8. These are, on u8, max-pooling and
//! concatenation; all others are `DequantizeLinear`, the operator in f32 with the activation behind it, `QuantizeLinear`. What leads to
//! outputs alone stays f32.
//!
//! Max-pooling keeps the scale, and the inputs of a concatenation share one with its output. An activation is the range of the convolution
//! before it, which is only so as long as the range begins at its zero (and ends at 6); where others in a concatenation have a wider
//! range, the activation's value gets the common scale in front of the concatenation, by a `DequantizeLinear` and a
//! `QuantizeLinear` without an operator between them.

use std::collections::BTreeSet;

use candle_core::{Result, Tensor};

use super::{
    Settings,
    calibrate::Seen,
    graph::{IntegerConvolution, QuantizedGraph, QuantizedNodeId, Step},
    layers::{Bound, Layer, Plain},
    numbers::Quantization,
    ranges::{Histogram, Ranges},
};
use crate::{
    convolution::{ConvolutionConfig, convolution},
    graph::{Graph, NodeId, Operation},
};

/// What decides how a graph is quantized.
pub(super) struct Plan<'a> {
    pub(super) graph: &'a Graph,
    pub(super) seen: &'a Seen,
    pub(super) settings: &'a Settings,
    /// Layers that calculate in integers.
    integer: Vec<Layer>,
    /// By node: whether its value is needed as u8.
    bytes: Vec<bool>,
    /// By node: how its value is quantized, if it is.
    quantizations: Vec<Quantization>,
}

impl<'a> Plan<'a> {
    /// With the layers `kept` in floating point.
    pub(super) fn new(graph: &'a Graph, seen: &'a Seen, settings: &'a Settings, kept: &BTreeSet<NodeId>) -> Self {
        let integer: Vec<Layer> = Layer::all(graph).into_iter().filter(|layer| !kept.contains(&layer.node)).collect();
        let bytes = needed_as_bytes(graph, &integer);
        let groups = groups(graph, &bytes, &bounds(graph, &integer, &bytes));
        let quantizations = quantizations(&groups, &seen.histograms, settings.ranges);
        Self { graph, seen, settings, integer, bytes, quantizations }
    }

    /// The layers that calculate in integers.
    pub(super) fn integer_layers(&self) -> &[Layer] {
        &self.integer
    }

    /// How a node's value is quantized where it is.
    pub(super) fn quantization(&self, node: NodeId) -> Quantization {
        self.quantizations[node]
    }

    /// How a node's value is rounded for all that use it: what a layer gives is u8, and so is what one takes.
    pub(super) fn rounded(&self, node: NodeId) -> Option<Quantization> {
        let is_given = self.integer.iter().any(|layer| layer.output == node);
        (is_given || self.bytes[node]).then(|| self.quantizations[node])
    }

    /// A layer as integers, which take and give what the plan says, and whether its channels are then taken apart to pixels.
    ///
    /// # Errors
    /// When memory fails.
    pub(super) fn convolution(&self, layer: &Layer) -> Result<(IntegerConvolution, bool)> {
        let node = &self.graph.nodes[layer.node];
        let input = node.inputs.first().copied().unwrap_or_default();
        let Plain { weight, mut bias, config, to_space } = Plain::of(&node.operation)?;
        let ends = [self.quantizations[input], self.quantizations[layer.output]];
        if self.settings.correct_bias
            && let Some(mean) = self.seen.means.get(&input)
        {
            let stored = IntegerConvolution::new(&weight, &bias, config, ends, self.settings.per_channel)?;
            let error = mean_error(&stored.dequantized_weight()?, &weight, mean, config)?;
            bias.iter_mut().zip(error).for_each(|(bias, error)| *bias -= error);
        }
        Ok((IntegerConvolution::new(&weight, &bias, config, ends, self.settings.per_channel)?, to_space))
    }

    /// The steps.
    ///
    /// # Errors
    /// When memory fails.
    pub(super) fn build(&self) -> Result<QuantizedGraph> {
        let mut built = Building {
            plan: self,
            graph: QuantizedGraph::new(self.graph.input_shape),
            real: vec![None; self.graph.nodes.len()],
            bytes: vec![None; self.graph.nodes.len()],
        };
        built.real[0] = Some(0);
        let consumers = self.graph.only_consumers();
        for (index, node) in self.graph.nodes.iter().enumerate().skip(1) {
            if built.real[index].is_some() || built.bytes[index].is_some() {
                // It was carried out with what is before it.
                continue;
            }
            match &node.operation {
                _ if self.integer.iter().any(|layer| layer.node == index) => built.layer(index)?,
                Operation::MaxPool(config) if self.bytes[index] => {
                    let input = built.byte(node.inputs[0])?;
                    let step = Step::MaxPool(*config);
                    built.bytes[index] = Some(built.push(built.byte_name(index), step, &[input]));
                }
                Operation::Concatenate if self.bytes[index] => {
                    let inputs = node.inputs.iter().map(|&input| built.byte_as(input, index));
                    let inputs = inputs.collect::<Result<Vec<_>>>()?;
                    built.bytes[index] = Some(built.push(built.byte_name(index), Step::Concatenate, &inputs));
                }
                operation => {
                    let wanted = |node: NodeId| self.bytes[node];
                    // An activation behind it alone stands before it is quantized again.
                    let behind = activation_behind(self.graph, &consumers, index);
                    let is_layer = matches!(operation, Operation::Convolution { .. } | Operation::UpConvolution { .. });
                    let quantized = !is_layer && behind.map_or(wanted(index), wanted);
                    let inputs = node.inputs.iter().map(|&input| match quantized {
                        true => built.real_of_byte(input),
                        false => built.real(input),
                    });
                    let inputs = inputs.collect::<Result<Vec<_>>>()?;
                    let step = Step::Float(operation.clone());
                    built.real[index] = Some(built.push(self.graph.value_name(index), step, &inputs));
                    if let Some(next) = behind {
                        let inputs = [built.real(index)?];
                        let step = Step::Float(self.graph.nodes[next].operation.clone());
                        built.real[next] = Some(built.push(self.graph.value_name(next), step, &inputs));
                    }
                }
            }
        }
        for (name, node) in &self.graph.outputs {
            let value = built.real(*node)?;
            built.graph.outputs.push((name.clone(), value));
        }
        Ok(built.graph)
    }
}

/// A graph that is being built, and what there is of each value.
struct Building<'a> {
    plan: &'a Plan<'a>,
    graph: QuantizedGraph,
    real: Vec<Option<QuantizedNodeId>>,
    bytes: Vec<Option<QuantizedNodeId>>,
}

impl Building<'_> {
    fn push(&mut self, name: String, step: Step, inputs: &[QuantizedNodeId]) -> QuantizedNodeId {
        self.graph.push(name, step, inputs)
    }

    fn byte_name(&self, node: NodeId) -> String {
        format!("{}.u8", self.plan.graph.value_name(node))
    }

    fn layer(&mut self, node: NodeId) -> Result<()> {
        let Some(layer) = self.plan.integer.iter().find(|layer| layer.node == node) else { return Ok(()) };
        let input = self.byte(self.plan.graph.nodes[node].inputs[0])?;
        let (convolution, to_space) = self.plan.convolution(layer)?;
        let (name, step) = (self.byte_name(layer.output), Step::Convolution(Box::new(convolution)));
        let value = match to_space {
            false => self.push(name, step, &[input]),
            true => {
                let blocks = self.push(format!("{name}.blocks"), step, &[input]);
                self.push(name, Step::DepthToSpace, &[blocks])
            }
        };
        self.bytes[layer.output] = Some(value);
        // Nothing else uses what is between the convolution and its activation.
        self.bytes[layer.node] = Some(value);
        Ok(())
    }

    /// A value as u8.
    fn byte(&mut self, node: NodeId) -> Result<QuantizedNodeId> {
        if let Some(value) = self.bytes[node] {
            return Ok(value);
        }
        let real = self.real(node)?;
        let step = Step::Quantize(self.plan.quantizations[node]);
        let value = self.push(self.byte_name(node), step, &[real]);
        self.bytes[node] = Some(value);
        Ok(value)
    }

    /// A value as u8 with the scale of another one.
    fn byte_as(&mut self, node: NodeId, other: NodeId) -> Result<QuantizedNodeId> {
        let (own, common) = (self.plan.quantizations[node], self.plan.quantizations[other]);
        if own == common {
            return self.byte(node);
        }
        let real = self.real(node)?;
        let name = format!("{}.{}", self.byte_name(node), self.plan.graph.value_name(other));
        Ok(self.push(name, Step::Quantize(common), &[real]))
    }

    /// A value as f32.
    fn real(&mut self, node: NodeId) -> Result<QuantizedNodeId> {
        match (self.real[node], self.bytes[node]) {
            (Some(value), _) => Ok(value),
            (None, Some(byte)) => {
                let step = Step::Dequantize(self.plan.quantizations[node]);
                let value = self.push(self.plan.graph.value_name(node), step, &[byte]);
                self.real[node] = Some(value);
                Ok(value)
            }
            (None, None) => candle_core::bail!("quantize: node {node} is used before it is made"),
        }
    }

    /// What a value as u8 stands for.
    fn real_of_byte(&mut self, node: NodeId) -> Result<QuantizedNodeId> {
        let byte = self.byte(node)?;
        let dequantized = |value: &QuantizedNodeId| matches!(self.graph.nodes[*value].step, Step::Dequantize(_));
        if let Some(value) = self.real[node].filter(dequantized) {
            return Ok(value);
        }
        let (name, step) = (format!("{}.f32", self.byte_name(node)), Step::Dequantize(self.plan.quantizations[node]));
        let there = self.graph.nodes.iter().position(|node| node.name == name);
        Ok(there.unwrap_or_else(|| self.push(name, step, &[byte])))
    }
}

/// How far the weight `stored` moves the mean of each output channel from that of `weight`: since a convolution is linear, the mean of its
/// error is its error of the mean picture (Nagel et al. 2019, section 4.2, equation 17, with the mean of each pixel, so
/// that padding is taken for what it is).
fn mean_error(stored: &Tensor, weight: &Tensor, mean: &Tensor, config: ConvolutionConfig) -> Result<Vec<f32>> {
    let error = (stored - weight)?;
    convolution(mean, &error, config)?.mean((0, 2, 3))?.to_vec1()
}

/// Whether each value is needed as u8.
fn needed_as_bytes(graph: &Graph, integer: &[Layer]) -> Vec<bool> {
    let consumers = graph.only_consumers();
    let behind = |node: NodeId| activation_behind(graph, &consumers, node);
    let mut needed = vec![false; graph.nodes.len()];
    for (index, node) in graph.nodes.iter().enumerate().rev() {
        let is_integer = integer.iter().any(|layer| layer.node == index);
        let is_layer = matches!(node.operation, Operation::Convolution { .. } | Operation::UpConvolution { .. });
        // An activation is carried out with what it is alone behind.
        let is_part = node.inputs.first().is_some_and(|&before| behind(before) == Some(index));
        let is_needed = needed[index] || behind(index).is_some_and(|next| needed[next]);
        if is_integer || (!is_layer && !is_part && is_needed) {
            node.inputs.iter().for_each(|&input| needed[input] = true);
        }
    }
    needed
}

/// The ReLU or ReLU6 that alone uses a node's value, which is then carried out with it.
fn activation_behind(graph: &Graph, consumers: &[Option<NodeId>], node: NodeId) -> Option<NodeId> {
    let activation = |next: &NodeId| matches!(graph.nodes[*next].operation, Operation::Relu | Operation::Relu6);
    consumers[node].filter(activation).filter(|_| {
        !matches!(graph.nodes[node].operation, Operation::Input | Operation::MaxPool(_) | Operation::Concatenate)
    })
}

/// What is left of each value by a bound that is its range.
fn bounds(graph: &Graph, integer: &[Layer], bytes: &[bool]) -> Vec<Bound> {
    let mut bounds = vec![Bound::None; graph.nodes.len()];
    for (index, node) in graph.nodes.iter().enumerate() {
        if let Some(layer) = integer.iter().find(|layer| layer.output == index) {
            bounds[index] = layer.bound;
        }
        if matches!(node.operation, Operation::MaxPool(_) | Operation::Concatenate) && bytes[index] {
            bounds[index] = node.inputs.iter().map(|&input| bounds[input]).max().unwrap_or(Bound::None);
        }
    }
    bounds
}

/// For each node one that has the same scale and zero point, the same for all that share them.
fn groups(graph: &Graph, bytes: &[bool], bounds: &[Bound]) -> Vec<NodeId> {
    let mut groups: Vec<NodeId> = (0..graph.nodes.len()).collect();
    let mut join = |a: NodeId, b: NodeId| {
        let (one, other) = (groups[a].min(groups[b]), groups[a].max(groups[b]));
        groups.iter_mut().filter(|group| **group == other).for_each(|group| *group = one);
    };
    for (index, node) in graph.nodes.iter().enumerate() {
        match node.operation {
            Operation::MaxPool(_) if bytes[index] => join(index, node.inputs[0]),
            Operation::Concatenate if bytes[index] => {
                node.inputs
                    .iter()
                    .filter(|&&input| bounds[input] == bounds[index])
                    .for_each(|&input| join(index, input));
            }
            _ => {}
        }
    }
    groups
}

/// The quantization of each node's value, chosen by what was seen of all that share it.
fn quantizations(groups: &[NodeId], histograms: &[Histogram], ranges: Ranges) -> Vec<Quantization> {
    let mut chosen: Vec<Option<Quantization>> = vec![None; groups.len()];
    for (index, &group) in groups.iter().enumerate() {
        if chosen[group].is_none() {
            let shared = groups.iter().zip(histograms).filter(|(other, _)| **other == group);
            chosen[group] = Some(ranges.choose(&shared.map(|(_, histogram)| histogram).collect::<Vec<_>>()));
        }
        chosen[index] = chosen[group];
    }
    chosen.into_iter().map(|chosen| chosen.unwrap_or(Quantization::of_range(0.0, 0.0))).collect()
}
