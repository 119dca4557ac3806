//! A graph on the CPU, without a tensor library in between.
//!
//! A [`Program`] is made once for a graph: weights in the order in which the kernels read them, and a convolution together
//! with the sum and the activation behind it as one step. Between its input and its outputs values are `[N, H, W, C]`: the kernels are
//! those of the device. A run then lays the steps out for its number of pictures: early
//! layers are large and have few weights, so they take a few pictures at a time, whose values stay in the cache from one
//! step to the next; late layers are small and have many weights, so they take all pictures at once. Values live in
//! buffers that are used again as soon as nobody needs what is in them, and are kept from run to run.

use std::{ops::Range, sync::Mutex};

use candle_core::{Device, Result, Tensor, TensorId};
use thorax_kernels::{
    KernelError,
    channels_last::{channels_inside, channels_outside},
};

use super::{
    Graph, NodeId, Operation,
    operations::{Kernel, Shape, values},
};
use crate::{kernel_error, zeros};

/// Values that a thread's pictures may have in the steps of a stage: about its part of the last cache.
const STAGE_VALUES: usize = 1024 * 1024;
/// Steps before and after a step whose sizes also decide how many pictures it takes, so that stages are long.
const NEIGHBOURS: usize = 2;

/// A graph, ready to run.
pub(super) struct Program {
    steps: Vec<Step>,
    /// By node.
    shapes: Vec<Shape>,
    outputs: Vec<NodeId>,
    /// What this was made from.
    origin: Vec<Origin>,
    /// Buffers of runs that have ended.
    buffers: Mutex<Vec<Vec<Vec<f32>>>>,
}

/// What of a node decides how it is carried out; another weight has another id.
#[derive(PartialEq)]
struct Origin {
    operation: std::mem::Discriminant<Operation>,
    numbers: String,
    weights: Vec<TensorId>,
    inputs: Vec<NodeId>,
}

struct Step {
    kernel: Box<dyn Kernel>,
    inputs: Vec<NodeId>,
    output: NodeId,
}

/// Where a run keeps a value.
#[derive(Clone, Copy)]
enum Place {
    Input,
    /// All pictures', as this output.
    Output(usize),
    /// All pictures', in this buffer.
    Whole(usize),
    /// Those of the pictures at hand, in this buffer.
    Share(usize),
}

/// Steps that take so many pictures at a time.
struct Stage {
    steps: Range<usize>,
    pictures: usize,
}

fn origins(graph: &Graph) -> Vec<Origin> {
    let origin = |node: &super::Node| {
        let (numbers, weights) = node.operation.operator().map(|operator| operator.identity()).unwrap_or_default();
        let operation = std::mem::discriminant(&node.operation);
        Origin { operation, numbers, weights, inputs: node.inputs.clone() }
    };
    graph.nodes.iter().map(origin).collect()
}

impl Program {
    /// Whether this is still what `graph` says.
    pub(super) fn is_of(&self, graph: &Graph) -> bool {
        self.shapes.first() == Some(&graph.input_shape)
            && self.outputs.iter().eq(graph.outputs.iter().map(|(_, node)| node))
            && self.origin == origins(graph)
    }

    /// Packs the weights and finds what is carried out together.
    ///
    /// # Errors
    /// Shapes that do not fit.
    pub(super) fn new(graph: &Graph) -> Result<Self> {
        let shapes = shapes(graph)?;
        let consumers = graph.only_consumers();
        let mut steps: Vec<Step> = vec![];
        let mut computed = vec![false; graph.nodes.len()];
        let mut done = vec![false; graph.nodes.len()];
        for (index, node) in graph.nodes.iter().enumerate() {
            if done[index] {
                continue;
            }
            let Some(operator) = node.operation.operator() else {
                computed[index] = true;
                continue;
            };
            let (mut inputs, mut output) = (node.inputs.clone(), index);
            let of_inputs: Vec<Shape> = inputs.iter().map(|&input| shapes[input]).collect();
            let (tail, add, activation) =
                graph.tail(index, &consumers, |other| computed[other] && shapes[other] == shapes[index]);
            let mut take_along = |nodes: Vec<NodeId>, add: Option<NodeId>| {
                for node in nodes {
                    done[node] = true;
                    output = node;
                }
                inputs.extend(add);
            };
            // An expansion goes with its depthwise convolution, if that is all that becomes of its value.
            let last = tail.last().copied().unwrap_or(index);
            let both = consumers[last].filter(|_| add.is_none()).and_then(|next| {
                let (mut nodes, add, behind) =
                    graph.tail(next, &consumers, |other| computed[other] && shapes[other] == shapes[next]);
                nodes.insert(0, next);
                let kernel = operator.kernel_before(&of_inputs, &graph.nodes[next].operation, [activation, behind])?;
                Some((kernel, nodes, add))
            });
            let kernel = if let Some((kernel, nodes, add_behind)) = both {
                take_along(tail, None);
                take_along(nodes, add_behind);
                kernel?
            } else if let Some(kernel) = operator.kernel_with(&of_inputs, activation) {
                take_along(tail, add);
                kernel?
            } else {
                operator.kernel(&of_inputs)?
            };
            computed[output] = true;
            steps.push(Step { kernel, inputs, output });
        }
        let outputs = graph.outputs.iter().map(|&(_, node)| node).collect();
        Ok(Self { steps, shapes, outputs, origin: origins(graph), buffers: Mutex::default() })
    }

    /// What it carries out one after the other.
    #[cfg(test)]
    pub(super) fn steps(&self) -> usize {
        self.steps.len()
    }

    /// Carries the program out for `batch` pictures `x`; the outputs in their order, `[N, C, H, W]` each.
    pub(super) fn run(&self, x: &[f32], batch: usize) -> Result<Vec<Tensor>> {
        let sizes_of = |[c, h, w]: Shape| [c, h * w];
        let mut inside = zeros(x.len());
        channels_inside(sizes_of(self.shapes[0]), x, &mut inside).map_err(kernel_error)?;
        let stages = self.stages(batch);
        let (places, sizes) = self.places(&stages, batch);
        let kept = || self.buffers.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
        let mut buffers = kept().pop().unwrap_or_default();
        buffers.resize_with(sizes.len().max(buffers.len()), Vec::new);
        for (buffer, size) in buffers.iter_mut().zip(sizes) {
            if buffer.len() < size {
                *buffer = zeros(size);
            }
        }
        let mut outputs: Vec<Vec<f32>> =
            self.outputs.iter().map(|&node| zeros(batch * values(self.shapes[node]))).collect();
        for stage in &stages {
            for first in (0..batch).step_by(stage.pictures) {
                let pictures = first..(first + stage.pictures).min(batch);
                for step in &self.steps[stage.steps.clone()] {
                    self.step(step, &inside, &pictures, &places, &mut buffers, &mut outputs).map_err(kernel_error)?;
                }
            }
        }
        kept().push(buffers);
        let mut tensors: Vec<Tensor> = Vec::with_capacity(outputs.len());
        for (index, (&node, values)) in self.outputs.iter().zip(outputs).enumerate() {
            let [c, h, w] = self.shapes[node];
            // One value under two names is one tensor.
            let same = self.outputs[..index].iter().position(|&other| other == node);
            tensors.push(match (places[node], same) {
                (_, Some(same)) => tensors[same].clone(),
                (Place::Input, _) => Tensor::from_slice(x, (batch, c, h, w), &Device::Cpu)?,
                _ => {
                    let mut outside = zeros(values.len());
                    channels_outside(sizes_of(self.shapes[node]), &values, &mut outside).map_err(kernel_error)?;
                    Tensor::from_vec(outside, (batch, c, h, w), &Device::Cpu)?
                }
            });
        }
        Ok(tensors)
    }

    /// Cuts the steps into stages.
    fn stages(&self, batch: usize) -> Vec<Stage> {
        let budget = STAGE_VALUES * rayon::current_num_threads();
        let sizes: Vec<usize> = self
            .steps
            .iter()
            .map(|step| step.inputs.iter().chain([&step.output]).map(|&node| values(self.shapes[node])).sum())
            .collect();
        let mut stages: Vec<Stage> = vec![];
        for step in 0..sizes.len() {
            let around = step.saturating_sub(NEIGHBOURS)..(step + NEIGHBOURS + 1).min(sizes.len());
            let largest = sizes[around].iter().copied().max().unwrap_or(1).max(1);
            let wanted = (budget / largest).clamp(1, batch);
            // Powers of two, so that a little more or less does not end a stage.
            let pictures = if wanted == batch { batch } else { 1 << wanted.ilog2() };
            match stages.last_mut() {
                Some(stage) if stage.pictures == pictures => stage.steps.end = step + 1,
                _ => stages.push(Stage { steps: step..step + 1, pictures }),
            }
        }
        stages
    }

    /// The place of every value, and the length of every buffer.
    fn places(&self, stages: &[Stage], batch: usize) -> (Vec<Place>, Vec<usize>) {
        let stage_of = |step: usize| stages.partition_point(|stage| stage.steps.end <= step);
        let mut last_use = vec![0; self.shapes.len()];
        for (index, step) in self.steps.iter().enumerate() {
            step.inputs.iter().for_each(|&input| last_use[input] = index);
        }
        let mut places = vec![Place::Input; self.shapes.len()];
        let mut sizes: Vec<usize> = vec![];
        let mut free: Vec<usize> = vec![];
        // The free buffer that fits best; the largest one grows if none is large enough.
        let take = |free: &mut Vec<usize>, sizes: &mut Vec<usize>, size: usize| {
            let best = (0..free.len()).min_by_key(|&i| (sizes[free[i]] < size, sizes[free[i]].abs_diff(size)));
            let buffer = best.map(|i| free.swap_remove(i)).unwrap_or_else(|| {
                sizes.push(0);
                sizes.len() - 1
            });
            sizes[buffer] = sizes[buffer].max(size);
            buffer
        };
        for (index, stage) in stages.iter().enumerate() {
            let steps = &self.steps[stage.steps.clone()];
            // What others need of this stage is there for all pictures, and so is not written over before it ends.
            for step in steps {
                let node = step.output;
                if let Some(output) = self.outputs.iter().position(|&output| output == node) {
                    places[node] = Place::Output(output);
                } else if stage_of(last_use[node]) > index {
                    places[node] = Place::Whole(take(&mut free, &mut sizes, batch * values(self.shapes[node])));
                }
            }
            let mut ended: Vec<usize> = vec![];
            for (number, step) in stage.steps.clone().zip(steps) {
                if let Place::Input = places[step.output] {
                    let size = stage.pictures * values(self.shapes[step.output]);
                    places[step.output] = Place::Share(take(&mut free, &mut sizes, size));
                }
                let mut inputs = step.inputs.clone();
                inputs.sort_unstable();
                inputs.dedup();
                for &node in inputs.iter().filter(|&&node| last_use[node] == number) {
                    match places[node] {
                        Place::Share(buffer) => free.push(buffer),
                        Place::Whole(buffer) => ended.push(buffer),
                        Place::Input | Place::Output(_) => {}
                    }
                }
                // What nobody reads is free at once.
                if let (Place::Share(buffer), 0) = (places[step.output], last_use[step.output]) {
                    free.push(buffer);
                }
            }
            free.extend(ended);
        }
        (places, sizes)
    }

    fn step(
        &self,
        step: &Step,
        x: &[f32],
        pictures: &Range<usize>,
        places: &[Place],
        buffers: &mut [Vec<f32>],
        outputs: &mut [Vec<f32>],
    ) -> std::result::Result<(), KernelError> {
        let part = |node: NodeId, whole: bool| {
            let length = values(self.shapes[node]);
            if whole { pictures.start * length..pictures.end * length } else { 0..pictures.len() * length }
        };
        // The buffer that is written leaves its place, so that the others can be read.
        let mut target = match places[step.output] {
            Place::Output(index) => std::mem::take(&mut outputs[index]),
            Place::Whole(index) | Place::Share(index) => std::mem::take(&mut buffers[index]),
            Place::Input => return Ok(()),
        };
        let whole = !matches!(places[step.output], Place::Share(_));
        let input = |node: NodeId| match places[node] {
            Place::Input => &x[part(node, true)],
            Place::Output(index) => &outputs[index][part(node, true)],
            Place::Whole(index) => &buffers[index][part(node, true)],
            Place::Share(index) => &buffers[index][part(node, false)],
        };
        let inputs: Vec<&[f32]> = step.inputs.iter().map(|&node| input(node)).collect();
        let done = step.kernel.run(&inputs, pictures.len(), &mut target[part(step.output, whole)]);
        match places[step.output] {
            Place::Output(index) => outputs[index] = target,
            Place::Whole(index) | Place::Share(index) => buffers[index] = target,
            Place::Input => {}
        }
        done
    }
}

/// The shape of every node's value.
pub(super) fn shapes(graph: &Graph) -> Result<Vec<Shape>> {
    let mut shapes: Vec<Shape> = Vec::with_capacity(graph.nodes.len());
    for (index, node) in graph.nodes.iter().enumerate() {
        let input = |&input: &NodeId| {
            let shape = shapes.get(input).copied();
            shape.ok_or_else(|| candle_core::Error::Msg(format!("graph: node {index} comes before its input {input}")))
        };
        let inputs = node.inputs.iter().map(input).collect::<Result<Vec<_>>>()?;
        let shape = match node.operation.operator() {
            None => Ok(graph.input_shape),
            Some(operator) => operator.shape(&inputs),
        };
        shapes.push(shape.map_err(|error| candle_core::Error::Msg(format!("graph: node {index}: {error}")))?);
    }
    Ok(shapes)
}
