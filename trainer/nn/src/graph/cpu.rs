//! A graph on the CPU, without a tensor library in between.
//!
//! A [`Program`] is made once for a graph: weights in the order in which the kernels read them, and a convolution together
//! with the sum and the activation behind it as one step. A run then lays the steps out for its number of pictures: early
//! layers are large and have few weights, so they take a few pictures at a time, whose values stay in the cache from one
//! step to the next; late layers are small and have many weights, so they take all pictures at once. Values live in
//! buffers that are used again as soon as nobody needs what is in them, and are kept from run to run.

use std::{ops::Range, sync::Mutex};

use candle_core::{Device, Result, Tensor, TensorId};
use thorax_kernels::{
    KernelError,
    convolution::{Activation, Convolution, Epilogue, PackedWeight},
    elementwise,
    pool::Pool,
};

use super::{Graph, NodeId, Operation};
use crate::{convolution::TransposedConfig, kernel_error, with_values, zeros};

/// Values that a thread's pictures may have in the steps of a stage: about its part of the last cache.
const STAGE_VALUES: usize = 1024 * 1024;
/// Steps before and after a step whose sizes also decide how many pictures it takes, so that stages are long.
const NEIGHBOURS: usize = 2;

/// `[C, H, W]` of one picture's value.
type Shape = [usize; 3];

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
    kernel: Kernel,
    inputs: Vec<NodeId>,
    output: NodeId,
}

enum Kernel {
    /// With what follows it; a second input is the other summand.
    Convolution {
        geometry: Convolution,
        weight: PackedWeight,
        bias: Vec<f32>,
        activation: Activation,
    },
    UpConvolution {
        geometry: Convolution,
        weight: Vec<f32>,
        bias: Vec<f32>,
    },
    Relu,
    Relu6,
    Swish,
    Sigmoid,
    Add,
    Multiply,
    MaxPool(Pool),
    AveragePool(Pool),
    GlobalAveragePool,
    Concatenate,
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

fn values(shape: Shape) -> usize {
    shape.iter().product()
}

fn origins(graph: &Graph) -> Vec<Origin> {
    let origin = |node: &super::Node| {
        let (numbers, weights) = match &node.operation {
            Operation::Convolution { weight, bias, config } => (format!("{config:?}"), vec![weight.id(), bias.id()]),
            Operation::UpConvolution { weight, bias } => (String::new(), vec![weight.id(), bias.id()]),
            Operation::MaxPool(config) | Operation::AveragePool(config) => (format!("{config:?}"), vec![]),
            _ => (String::new(), vec![]),
        };
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
            let (mut inputs, mut output) = (node.inputs.clone(), index);
            let kernel = match &node.operation {
                Operation::Input => {
                    computed[index] = true;
                    continue;
                }
                Operation::Convolution { weight, bias, config } => {
                    let [c, h, w] = shapes[node.inputs[0]];
                    let geometry = config.geometry(&(1, c, h, w).into(), weight.shape())?;
                    let (tail, add, activation) =
                        graph.tail(index, &consumers, |other| computed[other] && shapes[other] == shapes[index]);
                    for node in tail {
                        done[node] = true;
                        output = node;
                    }
                    inputs.extend(add);
                    let pack = |values: &[f32]| geometry.pack(values);
                    let weight = with_values(&weight.contiguous()?, "convolution", pack)?.map_err(kernel_error)?;
                    Kernel::Convolution { geometry, weight, bias: bias.to_vec1()?, activation }
                }
                Operation::UpConvolution { weight, bias } => {
                    let [c, h, w] = shapes[node.inputs[0]];
                    let geometry = TransposedConfig::doubling().geometry(&(1, c, h, w).into(), weight.shape())?;
                    let weight = weight.flatten_all()?.to_vec1()?;
                    Kernel::UpConvolution { geometry, weight, bias: bias.to_vec1()? }
                }
                Operation::Relu => Kernel::Relu,
                Operation::Relu6 => Kernel::Relu6,
                Operation::Swish => Kernel::Swish,
                Operation::Sigmoid => Kernel::Sigmoid,
                Operation::Add => Kernel::Add,
                Operation::Multiply => Kernel::Multiply,
                Operation::MaxPool(config) => Kernel::MaxPool(config.pool(&with_batch(shapes[node.inputs[0]]))?),
                Operation::AveragePool(config) => {
                    Kernel::AveragePool(config.pool(&with_batch(shapes[node.inputs[0]]))?)
                }
                Operation::GlobalAveragePool => Kernel::GlobalAveragePool,
                Operation::Concatenate => Kernel::Concatenate,
            };
            computed[output] = true;
            steps.push(Step { kernel, inputs, output });
        }
        let outputs = graph.outputs.iter().map(|&(_, node)| node).collect();
        Ok(Self { steps, shapes, outputs, origin: origins(graph), buffers: Mutex::default() })
    }

    /// Carries the program out for `batch` pictures `x`; the outputs in their order, `[N, C, H, W]` each.
    pub(super) fn run(&self, x: &[f32], batch: usize) -> Result<Vec<Tensor>> {
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
                    self.step(step, x, &pictures, &places, &mut buffers, &mut outputs).map_err(kernel_error)?;
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
                _ => Tensor::from_vec(values, (batch, c, h, w), &Device::Cpu)?,
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
        let done = self.kernel(step, pictures.len(), input, &mut target[part(step.output, whole)]);
        match places[step.output] {
            Place::Output(index) => outputs[index] = target,
            Place::Whole(index) | Place::Share(index) => buffers[index] = target,
            Place::Input => {}
        }
        done
    }

    fn kernel<'a>(
        &self,
        step: &Step,
        batch: usize,
        input: impl Fn(NodeId) -> &'a [f32],
        out: &mut [f32],
    ) -> std::result::Result<(), KernelError> {
        let first = input(step.inputs[0]);
        let shape = |index: usize| self.shapes[step.inputs[index]];
        match &step.kernel {
            Kernel::Convolution { geometry, weight, bias, activation } => {
                let add = step.inputs.get(1).map(|&node| input(node));
                let epilogue = Epilogue { bias: Some(bias), add, activation: *activation };
                Convolution { batch, ..*geometry }.forward_packed(first, weight, epilogue, out)?;
            }
            Kernel::UpConvolution { geometry, weight, bias } => {
                Convolution { batch, ..*geometry }.input_gradient(weight, first, Some(bias), out)?;
            }
            Kernel::Relu => elementwise::unary(first, out, |x| if x < 0.0 { 0.0 } else { x }),
            Kernel::Relu6 => elementwise::unary(first, out, |x| x.clamp(0.0, 6.0)),
            Kernel::Swish => elementwise::swish(first, out),
            Kernel::Sigmoid => elementwise::unary(first, out, elementwise::sigmoid),
            Kernel::Add => self.broadcast(first, input(step.inputs[1]), [shape(0), shape(1)], out, |a, b| a + b),
            Kernel::Multiply => self.broadcast(first, input(step.inputs[1]), [shape(0), shape(1)], out, |a, b| a * b),
            Kernel::MaxPool(pool) => pool.largest(first, out)?,
            Kernel::AveragePool(pool) => pool.mean(first, false, out)?,
            Kernel::GlobalAveragePool => {
                let [_, h, w] = shape(0);
                let scale = 1.0 / (h * w) as f32;
                let sums = elementwise::sum_planes(first, h * w);
                out.iter_mut().zip(sums).for_each(|(out, sum)| *out = sum * scale);
            }
            Kernel::Concatenate => {
                let length = values(self.shapes[step.output]);
                let mut start = 0;
                for &node in &step.inputs {
                    let part = values(self.shapes[node]);
                    let pictures = input(node).chunks_exact(part).zip(out.chunks_exact_mut(length));
                    pictures.for_each(|(source, out)| out[start..start + part].copy_from_slice(source));
                    start += part;
                }
            }
        }
        Ok(())
    }

    /// `f` of two values, either of which may have one channel, row or column where the other has more.
    fn broadcast(
        &self,
        a: &[f32],
        b: &[f32],
        [of_a, of_b]: [Shape; 2],
        out: &mut [f32],
        f: impl Fn(f32, f32) -> f32 + Copy + Sync,
    ) {
        let [c, h, w] = [0, 1, 2].map(|axis| of_a[axis].max(of_b[axis]));
        if of_a == of_b {
            return elementwise::binary(a, b, out, f);
        }
        if of_a == [c, h, w] && of_b == [c, 1, 1] {
            return elementwise::with_scales(a, b, h * w, out, f);
        }
        let place = |of: Shape, picture: usize, at: [usize; 3]| {
            let [y, x, z] = [0, 1, 2].map(|axis| if of[axis] == 1 { 0 } else { at[axis] });
            ((picture * of[0] + y) * of[1] + x) * of[2] + z
        };
        for (index, out) in out.iter_mut().enumerate() {
            let at = [index / (h * w) % c, index / w % h, index % w];
            let picture = index / (c * h * w);
            *out = f(a[place(of_a, picture, at)], b[place(of_b, picture, at)]);
        }
    }
}

fn with_batch([c, h, w]: Shape) -> candle_core::Shape {
    (1, c, h, w).into()
}

/// The shape of every node's value.
fn shapes(graph: &Graph) -> Result<Vec<Shape>> {
    let mut shapes: Vec<Shape> = Vec::with_capacity(graph.nodes.len());
    for (index, node) in graph.nodes.iter().enumerate() {
        let input = |position: usize| {
            let node = node.inputs.get(position).copied().filter(|&input| input < index);
            node.map(|node| shapes[node])
                .ok_or_else(|| candle_core::Error::Msg(format!("graph: node {index} lacks input {position}")))
        };
        shapes.push(match &node.operation {
            Operation::Input => graph.input_shape,
            Operation::Convolution { weight, config, .. } => {
                let geometry = config.geometry(&with_batch(input(0)?), weight.shape())?;
                [geometry.channels_out, geometry.height_out(), geometry.width_out()]
            }
            Operation::UpConvolution { weight, .. } => {
                let geometry = TransposedConfig::doubling().geometry(&with_batch(input(0)?), weight.shape())?;
                [geometry.channels_in, geometry.height, geometry.width]
            }
            Operation::Relu | Operation::Relu6 | Operation::Swish | Operation::Sigmoid => input(0)?,
            Operation::Add | Operation::Multiply => {
                let (a, b) = (input(0)?, input(1)?);
                if (0..3).any(|axis| a[axis] != b[axis] && a[axis] != 1 && b[axis] != 1) {
                    candle_core::bail!("graph: node {index} joins shapes {a:?} and {b:?}, which do not fit");
                }
                [0, 1, 2].map(|axis| a[axis].max(b[axis]))
            }
            Operation::MaxPool(config) | Operation::AveragePool(config) => {
                let (c, (h, w)) = (input(0)?[0], config.output(&with_batch(input(0)?))?);
                [c, h, w]
            }
            Operation::GlobalAveragePool => [input(0)?[0], 1, 1],
            Operation::Concatenate => {
                let [_, h, w] = input(0)?;
                let parts = (0..node.inputs.len()).map(input).collect::<Result<Vec<_>>>()?;
                if parts.iter().any(|part| part[1..] != [h, w]) {
                    candle_core::bail!("graph: node {index} joins shapes {parts:?}, which do not fit");
                }
                [parts.iter().map(|part| part[0]).sum(), h, w]
            }
        });
    }
    Ok(shapes)
}
