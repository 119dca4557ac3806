//! The inference form of a net: a straight list of operations with their weights.
//!
//! A net that is trained ends as a [`Graph`]: batch norms folded, dropout gone, shapes fixed. It runs here ([`Graph::run`], on
//! the CPU by our kernels, else by candle); [`onnx`](super::onnx) writes the same list as ONNX, which tract runs on the device.
//! What is compared when a bundle is verified is therefore one description carried out by two libraries. What an operation is
//! stands in one place, `operations`; the rest knows none by name but the sum, which convolutions take in.

mod cpu;
pub(crate) mod operations;

use std::sync::{Arc, Mutex};

use candle_core::{Device, Result, Tensor};
use thorax_kernels::convolution::Activation;

pub use operations::Operation;

use super::{convolution::ConvolutionConfig, with_values};

/// Index of a node in its graph.
pub type NodeId = usize;

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
    compiled: Compiled,
}

/// What the CPU carries out, once it has been asked to. A copy of the graph may become another, so it begins without.
#[derive(Default)]
struct Compiled(Mutex<Option<Arc<cpu::Program>>>);

impl Clone for Compiled {
    fn clone(&self) -> Self {
        Self::default()
    }
}

impl Graph {
    /// A graph that has only its input, node 0.
    pub fn new(input_shape: [usize; 3]) -> Self {
        Self {
            input_shape,
            nodes: vec![Node { operation: Operation::Input, inputs: vec![] }],
            outputs: vec![],
            compiled: Compiled::default(),
        }
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

    /// One graph that gives the mean of the output `name`, of `channels` channels, of all `members`, which take the same input. Of one
    /// member it is that member.
    ///
    /// # Errors
    /// Members with other inputs than the first, or without that output; when the device fails.
    pub fn mean(members: Vec<Self>, name: &str, channels: usize) -> Result<Self> {
        let count = members.len();
        let mut members = members.into_iter();
        let Some(first) = members.next() else { candle_core::bail!("the mean of no graph") };
        if count == 1 {
            return Ok(first);
        }
        let mut mean = Self::new(first.input_shape);
        let mut sum: Option<NodeId> = None;
        for member in std::iter::once(first).chain(members) {
            let found = member.outputs.iter().find(|(output, _)| output == name).map(|&(_, node)| node);
            let (Some(output), true) = (found, member.input_shape == mean.input_shape) else {
                candle_core::bail!("a graph of another input, or without output {name}, has no part in the mean");
            };
            // The input is node 0 of each, and the others follow.
            let offset = mean.nodes.len() - 1;
            let moved = |node: NodeId| if node == 0 { 0 } else { node + offset };
            for Node { operation, inputs } in member.nodes.into_iter().skip(1) {
                let inputs: Vec<NodeId> = inputs.into_iter().map(moved).collect();
                mean.push(operation, &inputs);
            }
            let output = moved(output);
            sum = Some(sum.map_or(output, |sum| mean.push(Operation::Add, &[sum, output])));
        }
        let share = Tensor::full(1.0 / count as f32, channels, &Device::Cpu)?;
        let node = mean.scale_and_shift(sum.unwrap_or_default(), &share, share.zeros_like()?)?;
        mean.output(name, node);
        Ok(mean)
    }

    /// Appends `factor x + shift` for each channel, both `[C]`: a convolution of one pixel, channel by channel.
    ///
    /// # Errors
    /// A factor of another rank.
    pub fn scale_and_shift(&mut self, input: NodeId, factor: &Tensor, shift: Tensor) -> Result<NodeId> {
        let channels = factor.dims1()?;
        let config = ConvolutionConfig { groups: channels, ..ConvolutionConfig::dense(1) };
        Ok(self.convolution(input, factor.reshape((channels, 1, 1, 1))?, shift, config))
    }

    /// `[C, H, W]` of every node's value.
    ///
    /// # Errors
    /// Shapes that do not fit.
    pub fn shapes(&self) -> Result<Vec<[usize; 3]>> {
        cpu::shapes(self)
    }

    /// What a node's value is called in an ONNX file: the name of the output that it is, or its number.
    pub fn value_name(&self, node: NodeId) -> String {
        match self.outputs.iter().find(|(_, output)| *output == node) {
            Some((name, _)) => name.clone(),
            None if node == 0 => "input".into(),
            None => format!("n{node}"),
        }
    }

    /// Names a node as an output.
    pub fn output(&mut self, name: &str, node: NodeId) {
        self.outputs.push((name.into(), node));
    }

    /// The graph of one of its outputs alone, without what no value of it is made of; none where it has no such output.
    pub fn only(mut self, name: &str) -> Option<Self> {
        self.outputs.retain(|(output, _)| output == name);
        let (_, output) = self.outputs.first()?;
        let mut needed = vec![false; self.nodes.len()];
        (needed[0], needed[*output]) = (true, true);
        for (index, node) in self.nodes.iter().enumerate().rev() {
            if needed[index] {
                node.inputs.iter().for_each(|&input| needed[input] = true);
            }
        }
        let mut places = vec![0; self.nodes.len()];
        let mut only = Self::new(self.input_shape);
        for (index, Node { operation, inputs }) in
            self.nodes.into_iter().enumerate().skip(1).filter(|(at, _)| needed[*at])
        {
            let inputs: Vec<NodeId> = inputs.into_iter().map(|input| places[input]).collect();
            places[index] = only.push(operation, &inputs);
        }
        only.outputs = self.outputs.into_iter().map(|(name, node)| (name, places[node])).collect();
        Some(only)
    }

    /// Rounds every weight of at least `smallest` values to half precision, as the exported file stores it.
    ///
    /// # Errors
    /// When the device fails.
    pub fn round_to_half(&mut self, smallest: usize) -> Result<()> {
        for node in &mut self.nodes {
            node.operation.round_to_half(smallest)?;
        }
        Ok(())
    }

    /// Carries the graph out on `x` `[N, C, H, W]`; one tensor an output, in their order.
    ///
    /// # Errors
    /// When `x` does not have the input's shape or the device fails.
    pub fn run(&self, x: &Tensor) -> Result<Vec<Tensor>> {
        if !x.device().is_cpu() {
            return self.run_by_operators(x);
        }
        self.check_input(x)?;
        let program = self.program()?;
        let run = |values: &[f32]| program.run(values, x.dims()[0]);
        with_values(&x.contiguous()?, "graph", run)?
    }

    fn check_input(&self, x: &Tensor) -> Result<()> {
        let [c, h, w] = self.input_shape;
        if x.dims().get(1..) != Some(&[c, h, w]) {
            candle_core::bail!("graph: input is {:?}, expected [N, {c}, {h}, {w}]", x.dims());
        }
        if x.dims()[0] == 0 {
            candle_core::bail!("graph: there is no picture in {:?}", x.dims());
        }
        Ok(())
    }

    /// The same as [`Self::run`], operator by operator, as nets are trained: on a GPU there is no other way, and on the CPU it says what the
    /// device's kernels, which [`Self::run`] uses there, are compared with.
    ///
    /// # Errors
    /// As [`Self::run`].
    pub fn run_by_operators(&self, x: &Tensor) -> Result<Vec<Tensor>> {
        self.check_input(x)?;
        let mut last_use = vec![0; self.nodes.len()];
        for (index, node) in self.nodes.iter().enumerate() {
            node.inputs.iter().for_each(|&input| last_use[input] = index);
        }
        self.outputs.iter().for_each(|&(_, node)| last_use[node] = usize::MAX);
        let mut values: Vec<Option<Tensor>> = vec![None; self.nodes.len()];
        for (index, node) in self.nodes.iter().enumerate() {
            let input = |input: &NodeId| {
                values[*input]
                    .as_ref()
                    .ok_or_else(|| candle_core::Error::Msg(format!("graph: node {index} uses node {input} too late")))
            };
            let inputs = node.inputs.iter().map(input).collect::<Result<Vec<_>>>()?;
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

    /// The graph as the CPU carries it out, made anew if the graph was changed.
    fn program(&self) -> Result<Arc<cpu::Program>> {
        let kept = || self.compiled.0.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
        if let Some(program) = kept().as_ref().filter(|program| program.is_of(self)) {
            return Ok(program.clone());
        }
        // Made without the lock: the threads that share the work may run this graph meanwhile.
        let program = Arc::new(cpu::Program::new(self)?);
        *kept() = Some(program.clone());
        Ok(program)
    }

    /// For each node the one that uses it, if it is only one and the node is no output.
    pub(crate) fn only_consumers(&self) -> Vec<Option<NodeId>> {
        let mut uses = vec![0; self.nodes.len()];
        let mut consumers = vec![None; self.nodes.len()];
        for (index, node) in self.nodes.iter().enumerate() {
            for &input in &node.inputs {
                uses[input] += 1;
                consumers[input] = Some(index);
            }
        }
        self.outputs.iter().for_each(|&(_, node)| uses[node] += 1);
        consumers.iter().zip(uses).map(|(&consumer, uses)| consumer.filter(|_| uses == 1)).collect()
    }

    /// What alone uses the node `index` and can be done on the way to its output: a sum with what is `there` already,
    /// and an activation. The nodes, the other summand, the activation.
    fn tail(
        &self,
        index: NodeId,
        consumers: &[Option<NodeId>],
        there: impl Fn(NodeId) -> bool,
    ) -> (Vec<NodeId>, Option<NodeId>, Activation) {
        let (mut nodes, mut add, mut last) = (vec![], None, index);
        if let Some(next) = consumers[last]
            && let (Operation::Add, &[a, b]) = (&self.nodes[next].operation, self.nodes[next].inputs.as_slice())
            && let other = if a == last { b } else { a }
            && there(other)
        {
            add = Some(other);
            nodes.push(next);
            last = next;
        }
        let next = consumers[last].and_then(|next| self.nodes[next].operation.operator()?.behind());
        let Some(activation) = next else { return (nodes, add, Activation::None) };
        nodes.extend(consumers[last]);
        (nodes, add, activation)
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use candle_core::DType;

    use super::*;
    use crate::pool::PoolConfig;

    /// What the graph gives is what its operations give one by one, and a picture's part of it has no bit of its neighbours.
    fn assert_equal(graph: &Graph, x: &Tensor) {
        let flat = |x: &Tensor| x.flatten_all().unwrap().to_vec1::<f32>().unwrap();
        let (got, expected) = (graph.run(x).unwrap(), graph.run_by_operators(x).unwrap());
        assert_eq!((got.len(), expected.len()), (graph.outputs.len(), graph.outputs.len()));
        for ((got, expected), (name, _)) in got.iter().zip(&expected).zip(&graph.outputs) {
            assert_eq!(got.dims(), expected.dims(), "{name}");
            let expected = flat(expected);
            let largest = expected.iter().map(|value| value.abs()).fold(1.0, f32::max);
            let worst = flat(got).iter().zip(&expected).map(|(a, b)| (a - b).abs()).fold(0.0, f32::max);
            assert!(worst < 1e-5 * largest, "{name}: {worst} of {largest}");
        }
        for picture in 0..x.dims()[0] {
            let alone = graph.run(&x.narrow(0, picture, 1).unwrap()).unwrap();
            for (alone, got) in alone.iter().zip(&got) {
                assert_eq!(flat(alone), flat(&got.narrow(0, picture, 1).unwrap()));
            }
        }
    }

    #[test]
    fn the_graph_of_one_output_gives_it_and_has_nothing_else() {
        let mut graph = Graph::new([2, 4, 4]);
        let other = graph.push(Operation::Sigmoid, &[0]);
        let wanted = graph.push(Operation::Relu, &[0]);
        let behind = graph.push(Operation::Multiply, &[wanted, other]);
        for (name, node) in [("behind", behind), ("wanted", wanted)] {
            graph.output(name, node);
        }
        let x = crate::seeded::normal((1, 2, 4, 4), 1.0, 1, &Device::Cpu).unwrap();
        let expected = graph.run(&x).unwrap().swap_remove(1).flatten_all().unwrap().to_vec1::<f32>().unwrap();
        assert!(graph.clone().only("none").is_none());
        let only = graph.only("wanted").unwrap();
        assert_eq!((only.nodes.len(), only.outputs.len()), (2, 1));
        assert_eq!(only.run(&x).unwrap()[0].flatten_all().unwrap().to_vec1::<f32>().unwrap(), expected);
    }

    #[test]
    fn the_mean_of_graphs_is_the_mean_of_what_they_give() {
        let device = Device::Cpu;
        let member = |value: f32, side: usize| {
            let mut graph = Graph::new([2, side, side]);
            let weight = Tensor::full(value, (3, 2, 1, 1), &device).unwrap();
            let bias = Tensor::zeros(3, DType::F32, &device).unwrap();
            let logits = graph.convolution(0, weight, bias, ConvolutionConfig::dense(1));
            graph.output("logits", logits);
            let masks = graph.push(Operation::Sigmoid, &[logits]);
            graph.output("masks", masks);
            graph
        };
        let x = Tensor::arange(0f32, 32.0, &device).unwrap().reshape((1, 2, 4, 4)).unwrap();
        let values = |graph: &Graph| {
            let output = graph.outputs.iter().position(|(name, _)| name == "masks").unwrap();
            graph.run(&x).unwrap()[output].flatten_all().unwrap().to_vec1::<f32>().unwrap()
        };
        let scales = [0.02, -0.01, 0.05];
        let mean = Graph::mean(scales.map(|scale| member(scale, 4)).into(), "masks", 3).unwrap();
        assert_equal(&mean, &x);
        let each = scales.map(|scale| values(&member(scale, 4)));
        for (pixel, mean) in values(&mean).into_iter().enumerate() {
            let expected = each.iter().map(|values| values[pixel]).sum::<f32>() / 3.0;
            assert!((mean - expected).abs() < 1e-6, "{mean} {expected}");
        }
        let alone = Graph::mean(vec![member(0.02, 4)], "masks", 3).unwrap();
        assert_eq!(values(&alone), each[0]);
        for members in [vec![], vec![member(0.1, 4), member(0.1, 8)]] {
            assert!(Graph::mean(members, "masks", 3).is_err());
        }
        assert!(Graph::mean(vec![member(0.1, 4), member(0.2, 4)], "other", 3).is_err());
    }

    #[test]
    fn an_expansion_goes_with_its_depthwise_convolution() {
        let draw = |shape: &[usize], seed| super::super::seeded::normal(shape, 0.3, seed, &Device::Cpu).unwrap();
        let mut graph = Graph::new([5, 9, 9]);
        let convolve = |graph: &mut Graph, node, shape: [usize; 4], config, seed| {
            graph.convolution(node, draw(&shape, seed), draw(&shape[..1], seed + 1), config)
        };
        let apart = |groups| ConvolutionConfig { groups, ..ConvolutionConfig::dense(3) };
        // A block with a shortcut around both, one whose expansion others need, and one in which a sum comes between.
        let wide = convolve(&mut graph, 0, [20, 5, 1, 1], ConvolutionConfig::dense(1), 1);
        let wide = graph.push(Operation::Relu6, &[wide]);
        let filtered = convolve(&mut graph, wide, [20, 1, 3, 3], apart(20), 3);
        let filtered = graph.push(Operation::Swish, &[filtered]);
        let narrow = convolve(&mut graph, filtered, [5, 20, 1, 1], ConvolutionConfig::dense(1), 5);
        let sum = graph.push(Operation::Add, &[narrow, 0]);
        let wide = convolve(&mut graph, sum, [20, 5, 1, 1], ConvolutionConfig::dense(1), 7);
        let seen = convolve(&mut graph, wide, [20, 1, 3, 3], apart(20), 9);
        let seen = graph.push(Operation::Add, &[seen, wide]);
        let other = convolve(&mut graph, sum, [20, 5, 1, 1], ConvolutionConfig::dense(1), 11);
        let other = graph.push(Operation::Add, &[other, seen]);
        let other = convolve(&mut graph, other, [20, 1, 3, 3], apart(20), 13);
        // Added to the second part.
        let last = convolve(&mut graph, sum, [20, 5, 1, 1], ConvolutionConfig::dense(1), 15);
        let last = convolve(&mut graph, last, [20, 1, 3, 3], apart(20), 17);
        let last = graph.push(Operation::Add, &[last, other]);
        graph.output("last", last);
        let x = super::super::seeded::normal((2, 5, 9, 9), 1.0, 1, &Device::Cpu).unwrap();
        assert_equal(&graph, &x);
        // Two pairs are a step each, and every sum is done on the way: nine convolutions and four sums in seven steps.
        assert_eq!(cpu::Program::new(&graph).unwrap().steps(), 7);
    }

    /// Early values large enough that a stage takes a single picture, late ones small enough that it takes all.
    #[test]
    fn stages_of_several_sizes_change_nothing() {
        let draw = |shape: &[usize], seed| super::super::seeded::normal(shape, 0.3, seed, &Device::Cpu).unwrap();
        let side = 2 * rayon::current_num_threads().max(8) * 32;
        let mut graph = Graph::new([2, side, side]);
        let convolve = |graph: &mut Graph, node, shape: [usize; 4], config, seed| {
            graph.convolution(node, draw(&shape, seed), draw(&shape[..1], seed + 1), config)
        };
        let wide = convolve(&mut graph, 0, [8, 2, 3, 3], ConvolutionConfig::dense(3), 1);
        let wide = graph.push(Operation::Swish, &[wide]);
        let mean = graph.push(Operation::AveragePool(PoolConfig { padding: 1, ..PoolConfig::tiles(3) }), &[wide]);
        let early = graph.push(Operation::MaxPool(PoolConfig::tiles(8)), &[mean]);
        let mut node = early;
        for block in 0..4 {
            let config = ConvolutionConfig { groups: 8, ..ConvolutionConfig::dense(3) };
            let depthwise = convolve(&mut graph, node, [8, 1, 3, 3], config, 10 * block + 10);
            let squeezed = graph.push(Operation::GlobalAveragePool, &[depthwise]);
            let gate = convolve(&mut graph, squeezed, [8, 8, 1, 1], ConvolutionConfig::dense(1), 10 * block + 12);
            let gate = graph.push(Operation::Sigmoid, &[gate]);
            let gated = graph.push(Operation::Multiply, &[depthwise, gate]);
            node = graph.push(Operation::Add, &[gated, node]);
        }
        // A value of an early stage that a late one needs, a single channel, and a pixel.
        let attention = convolve(&mut graph, node, [1, 8, 1, 1], ConvolutionConfig::dense(1), 70);
        let attended = graph.push(Operation::Multiply, &[early, attention]);
        let both = graph.push(Operation::Concatenate, &[attended, node, early]);
        let up = Operation::UpConvolution { weight: draw(&[24, 3, 2, 2], 80), bias: draw(&[3], 81) };
        let up = graph.push(up, &[both]);
        let pixel = graph.push(Operation::GlobalAveragePool, &[up]);
        let end = graph.push(Operation::Add, &[up, pixel]);
        graph.output("end", end);
        graph.output("early", early);
        graph.output("again", end);
        graph.output("input", 0);
        assert_equal(&graph, &draw(&[5, 2, side, side], 90));
    }

    #[test]
    fn sums_and_relus_on_the_way_change_nothing() {
        let device = Device::Cpu;
        let draw = |shape: &[usize], seed| super::super::seeded::normal(shape, 0.5, seed, &device).unwrap();
        let mut graph = Graph::new([3, 9, 10]);
        let convolve = |graph: &mut Graph, node, from, to, seed| {
            graph.convolution(node, draw(&[to, from, 3, 3], seed), draw(&[to], seed + 1), ConvolutionConfig::dense(3))
        };
        // A residual block whose shortcut comes first, one whose shortcut comes later, and a sum that is an output too.
        let first = convolve(&mut graph, 0, 3, 10, 1);
        let first = graph.push(Operation::Relu, &[first]);
        let inner = convolve(&mut graph, first, 10, 10, 3);
        let sum = graph.push(Operation::Add, &[inner, first]);
        let block = graph.push(Operation::Relu6, &[sum]);
        let inner = convolve(&mut graph, block, 10, 10, 5);
        let shortcut = convolve(&mut graph, block, 10, 10, 7);
        let late = graph.push(Operation::Add, &[inner, shortcut]);
        let end = graph.push(Operation::Relu, &[late]);
        graph.output("late", late);
        graph.output("end", end);
        let x = draw(&[2, 3, 9, 10], 9);
        assert_equal(&graph, &x);
        // Packed weights are not used for another weight.
        let before = graph.run(&x).unwrap().remove(1);
        if let Operation::Convolution { weight, .. } = &mut graph.nodes[1].operation {
            *weight = (&*weight * 2.0).unwrap();
        }
        let after = graph.run(&x).unwrap().remove(1);
        assert_ne!(
            before.flatten_all().unwrap().to_vec1::<f32>().unwrap(),
            after.flatten_all().unwrap().to_vec1::<f32>().unwrap()
        );
    }

    #[test]
    fn a_graph_refuses_another_input_shape() {
        let mut graph = Graph::new([1, 4, 4]);
        let pooled = graph.push(Operation::MaxPool(PoolConfig::tiles(2)), &[0]);
        graph.output("pooled", pooled);
        let zeros = |shape: (usize, usize, usize, usize)| Tensor::zeros(shape, DType::F32, &Device::Cpu).unwrap();
        assert_eq!(graph.run(&zeros((3, 1, 4, 4))).unwrap()[0].dims(), [3, 1, 2, 2]);
        assert!(graph.run(&zeros((1, 1, 4, 6))).is_err());
    }
}
