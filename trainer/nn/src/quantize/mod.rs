//! A graph of 8-bit integers from a graph of real numbers and pictures to calibrate by: post-training quantization.
//!
//! [`Calibrated::new`] prepares the graph: scales of single channels are folded into the convolution before them, the ranges of the
//! weights of neighbouring layers are evened out (`equalise`), and what every value is like on the pictures is written down
//! (`calibrate`). [`Calibrated::sensitivity`] then tells what each layer would lose, and [`Calibrated::quantize`] makes the
//! [`QuantizedGraph`], with the layers that were chosen kept in floating point (`build`). Before that, a [`Student`] may learn what
//! rounding costs (`fine_tune`). That graph runs here as ONNX defines it
//! (`graph`), and leaves as ONNX ([`to_onnx`]).
//!
//! ```text
//! Graph + pictures -> fold, equalise -> histograms -> Quantization of each value (ranges) -> steps (build) -> QuantizedGraph -> ONNX
//! ```
//!
//! Numbers are as ONNX and its runtimes have them (`numbers`): activations u8 with one scale and zero point a tensor, weights i8 with
//! one scale an output channel, sums and biases i32.

mod build;
mod calibrate;
mod equalise;
mod fine_tune;
mod graph;
mod layers;
mod numbers;
mod ranges;
mod sensitivity;
mod write;

use std::collections::BTreeSet;

use candle_core::Result;

pub use calibrate::Pictures;
pub use fine_tune::Student;
pub use graph::{IntegerConvolution, QuantizedGraph, QuantizedNode, QuantizedNodeId, Step};
pub use layers::Layer;
pub use numbers::{Quantization, QuantizedWeight};
pub use ranges::Ranges;
pub use sensitivity::Sensitivity;
pub use write::{Census, to_onnx};

use crate::{
    graph::{Graph, NodeId, Operation},
    onnx::HALF_PRECISION_FROM,
};
use build::Plan;
use calibrate::{Seen, highest};

/// How a graph is quantized.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Settings {
    /// How the range of an activation is chosen.
    pub ranges: Ranges,
    /// One scale for each output channel of a weight, not one for the tensor.
    pub per_channel: bool,
    /// Cross-layer equalisation.
    pub equalise: bool,
    /// Corrects biases by the mean error of the weights.
    pub correct_bias: bool,
}

/// A graph that was prepared, and what was seen of its values.
pub struct Calibrated {
    graph: Graph,
    seen: Seen,
    settings: Settings,
}

impl Calibrated {
    /// Prepares `graph` and runs it on `pictures`, `[C, H, W]` each.
    ///
    /// # Errors
    /// No pictures, or such of another size; values that are no numbers.
    pub fn new(graph: &Graph, pictures: &Pictures, settings: Settings) -> Result<Self> {
        let mut graph = layers::fold_scales(graph)?;
        if settings.equalise {
            let highest = highest(&graph, pictures)?;
            equalise::equalise(&mut graph, &highest)?;
        }
        let inputs = Layer::all(&graph).into_iter().filter_map(|layer| graph.nodes[layer.node].inputs.first().copied());
        let seen = Seen::of(&graph, pictures, inputs)?;
        Ok(Self { graph, seen, settings })
    }

    /// The graph of real numbers that is quantized: as it came, but folded and equalised.
    pub fn graph(&self) -> &Graph {
        &self.graph
    }

    /// The layers that can be quantized.
    pub fn layers(&self) -> Vec<Layer> {
        Layer::all(&self.graph)
    }

    /// The heads: layers behind which no other layer sees more than one pixel, but for the last that does so itself and feeds others. They
    /// make the outputs of what the net has found, and are a small part of its work. So are layers behind an output: what a classifier
    /// makes of a segmenter's masks.
    ///
    /// # Errors
    /// Shapes that do not fit.
    pub fn heads(&self) -> Result<BTreeSet<NodeId>> {
        let shapes = self.graph.shapes()?;
        let layers = self.layers();
        // By node: whether its value comes to a layer that sees more than one pixel.
        let mut leads_on = vec![false; self.graph.nodes.len()];
        for (index, node) in self.graph.nodes.iter().enumerate().rev() {
            let sees_pixels = layers.iter().any(|layer| layer.node == index) && shapes[node.inputs[0]][1..] != [1, 1];
            if sees_pixels || leads_on[index] {
                node.inputs.iter().for_each(|&input| leads_on[input] = true);
            }
        }
        // Whether it is computed of an output, as what a classifier makes of a segmenter's masks.
        let mut behind = vec![false; self.graph.nodes.len()];
        for (index, node) in self.graph.nodes.iter().enumerate() {
            let is_output = |input: &NodeId| self.graph.outputs.iter().any(|(_, output)| output == input);
            behind[index] = node.inputs.iter().any(|input| behind[*input] || is_output(input));
        }
        Ok(layers.iter().map(|layer| layer.node).filter(|&node| !leads_on[node] || behind[node]).collect())
    }

    /// What each layer loses where it alone calculates in integers, by the node whose value counts, on `pictures`.
    ///
    /// # Errors
    /// Pictures of another size.
    pub fn sensitivity(&self, output: NodeId, pictures: &Pictures) -> Result<Vec<Sensitivity>> {
        let plan = Plan::new(&self.graph, &self.seen, &self.settings, &BTreeSet::new());
        sensitivity::sensitivity(&plan, output, pictures)
    }

    /// The node that an output is made of, before a sigmoid at its end.
    pub fn before_sigmoid(&self, output: &str) -> Option<NodeId> {
        let &(_, node) = self.graph.outputs.iter().find(|(name, _)| name == output)?;
        match self.graph.nodes[node].operation {
            Operation::Sigmoid => self.graph.nodes[node].inputs.first().copied(),
            _ => Some(node),
        }
    }

    /// The graph of integers, with the layers `kept` in floating point, whose weights are rounded as they are stored.
    ///
    /// # Errors
    /// When memory fails.
    pub fn quantize(&self, kept: &BTreeSet<NodeId>) -> Result<QuantizedGraph> {
        let mut built = Plan::new(&self.graph, &self.seen, &self.settings, kept).build()?;
        built.round_to_half(HALF_PRECISION_FROM)?;
        Ok(built)
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used, clippy::panic, reason = "a test may fail by panic")]
mod tests {
    use candle_core::{Device, Tensor};

    use super::*;
    use crate::{convolution::ConvolutionConfig, pool::PoolConfig, seeded};

    pub(super) const SETTINGS: Settings =
        Settings { ranges: Ranges::MeanSquaredError, per_channel: true, equalise: true, correct_bias: true };

    fn draw(shape: &[usize], seed: u64) -> Tensor {
        seeded::normal(shape, 0.4, seed, &Device::Cpu).unwrap()
    }

    /// A small U-Net: pooling, a skip that a ReLU bounds beside a doubling that nothing bounds, a sum with its activation, a gate.
    pub(super) fn net() -> Graph {
        let mut graph = Graph::new([2, 16, 16]);
        let convolve = |graph: &mut Graph, input, [to, from]: [usize; 2], seed| {
            graph.convolution(input, draw(&[to, from, 3, 3], seed), draw(&[to], seed + 1), ConvolutionConfig::dense(3))
        };
        let first = convolve(&mut graph, 0, [6, 2], 1);
        let skip = graph.push(Operation::Relu, &[first]);
        let pooled = graph.push(Operation::MaxPool(PoolConfig::tiles(2)), &[skip]);
        let deep = convolve(&mut graph, pooled, [6, 6], 3);
        let sum = graph.push(Operation::Add, &[deep, pooled]);
        let sum = graph.push(Operation::Relu6, &[sum]);
        let mean = graph.push(Operation::GlobalAveragePool, &[sum]);
        let gate = graph.convolution(mean, draw(&[6, 6, 1, 1], 5), draw(&[6], 6), ConvolutionConfig::dense(1));
        let gate = graph.push(Operation::Sigmoid, &[gate]);
        let gated = graph.push(Operation::Multiply, &[sum, gate]);
        let up = graph.push(Operation::UpConvolution { weight: draw(&[6, 4, 2, 2], 7), bias: draw(&[4], 8) }, &[gated]);
        let both = graph.push(Operation::Concatenate, &[skip, up]);
        let end = convolve(&mut graph, both, [3, 10], 9);
        let masks = graph.push(Operation::Sigmoid, &[end]);
        graph.output("masks", masks);
        graph
    }

    /// Some weights of its second convolution are much larger than the others.
    pub(super) fn with_large_weights(mut graph: Graph) -> Graph {
        if let Operation::Convolution { weight, .. } = &mut graph.nodes[4].operation {
            let mut values = weight.flatten_all().unwrap().to_vec1::<f32>().unwrap();
            values.iter_mut().step_by(54).for_each(|value| *value = 20.0);
            *weight = Tensor::from_vec(values, weight.shape(), &Device::Cpu).unwrap();
        }
        graph
    }

    pub(super) fn pictures() -> Vec<Vec<f32>> {
        (0..6).map(|seed| draw(&[2 * 16 * 16], 100 + seed).to_vec1().unwrap()).collect()
    }

    pub(super) fn apart(real: &Graph, integers: &QuantizedGraph) -> f32 {
        let [mut sum, mut count] = [0.0; 2];
        for picture in pictures() {
            let x = Tensor::from_vec(picture, (1, 2, 16, 16), &Device::Cpu).unwrap();
            let difference = (&real.run(&x).unwrap()[0] - &integers.run(&x).unwrap()[0]).unwrap().abs().unwrap();
            sum += difference.sum_all().unwrap().to_scalar::<f32>().unwrap();
            count += difference.elem_count() as f32;
        }
        sum / count
    }

    #[test]
    fn integers_say_nearly_what_real_numbers_say() {
        let graph = net();
        for per_channel in [true, false] {
            for ranges in [Ranges::MeanSquaredError, Ranges::MinMax, Ranges::Percentile(0.9999)] {
                let settings = Settings { per_channel, ranges, ..SETTINGS };
                let quantized =
                    Calibrated::new(&graph, &pictures(), settings).unwrap().quantize(&BTreeSet::new()).unwrap();
                let apart = apart(&graph, &quantized);
                assert!(apart < 0.02 && apart > 0.0, "{settings:?}: {apart}");
            }
        }
    }

    #[test]
    fn a_bounded_value_gets_the_common_scale_in_front_of_a_concatenation() {
        let calibrated = Calibrated::new(&net(), &pictures(), SETTINGS).unwrap();
        let quantized = calibrated.quantize(&BTreeSet::new()).unwrap();
        let concatenation = quantized.nodes.iter().find(|node| matches!(node.step, Step::Concatenate)).unwrap();
        let [skip, up] = [0, 1].map(|input| &quantized.nodes[concatenation.inputs[input]]);
        let Step::Quantize(common) = skip.step else { panic!("the skip keeps its scale") };
        assert!(matches!(up.step, Step::DepthToSpace) && common.zero_point > 0);
        let Step::Convolution(doubling) = &quantized.nodes[up.inputs[0]].step else { panic!("no doubling") };
        assert_eq!(doubling.y, common);
        // What is pooled is bounded by its convolution's range.
        let bounded = quantized.nodes.iter().find_map(|node| match &node.step {
            Step::Convolution(convolution) => Some(convolution.y.zero_point),
            _ => None,
        });
        assert_eq!(bounded, Some(0));
    }

    #[test]
    fn what_is_kept_stays_in_floating_point_and_is_counted() {
        let calibrated = Calibrated::new(&net(), &pictures(), SETTINGS).unwrap();
        let layers = calibrated.layers();
        assert_eq!(layers.len(), 5);
        let kept = BTreeSet::from([layers[1].node]);
        for (kept, integers) in [(BTreeSet::new(), 5), (kept, 4)] {
            let quantized = calibrated.quantize(&kept).unwrap();
            let census = Census::of(&to_onnx(&quantized, "net").unwrap()).unwrap();
            assert_eq!((census.integer_convolutions(), census.float_convolutions.len()), (integers, kept.len()));
            assert!(apart(calibrated.graph(), &quantized) < 0.02);
        }
        let all = layers.iter().map(|layer| layer.node).collect();
        assert!(apart(calibrated.graph(), &calibrated.quantize(&all).unwrap()) < 1e-5, "nothing is quantized");
    }

    #[test]
    fn the_table_tells_a_layer_of_one_large_weight() {
        let graph = with_large_weights(net());
        let calibrated = Calibrated::new(&graph, &pictures(), Settings { equalise: false, ..SETTINGS }).unwrap();
        let output = calibrated.before_sigmoid("masks").unwrap();
        let losses = calibrated.sensitivity(output, &pictures()).unwrap();
        let most = losses.iter().max_by(|a, b| a.output_error.total_cmp(&b.output_error)).unwrap();
        assert_eq!(most.layer.node, 4, "{losses:?}");
        assert!(losses.iter().all(|loss| loss.sqnr_db > 10.0 && loss.output_error > 0.0), "{losses:?}");
    }

    /// With the correction, the mean of each channel over the calibration pictures is that of real numbers but for what activations lose.
    #[test]
    fn corrected_biases_keep_the_mean() {
        let mut graph = Graph::new([2, 16, 16]);
        let end = graph.convolution(0, draw(&[8, 2, 3, 3], 1), draw(&[8], 2), ConvolutionConfig::dense(3));
        graph.output("end", end);
        // Pictures whose mean is not 0, and weights of one coarse scale.
        let pictures: Vec<Vec<f32>> =
            pictures().into_iter().map(|picture| picture.into_iter().map(|value| value + 2.0).collect()).collect();
        if let Operation::Convolution { weight, .. } = &mut graph.nodes[1].operation {
            let mut values = weight.flatten_all().unwrap().to_vec1::<f32>().unwrap();
            values[0] = 30.0;
            *weight = Tensor::from_vec(values, weight.shape(), &Device::Cpu).unwrap();
        }
        let moved = |correct_bias| {
            let settings = Settings { correct_bias, per_channel: false, ranges: Ranges::MinMax, ..SETTINGS };
            let calibrated = Calibrated::new(&graph, &pictures, settings).unwrap();
            let quantized = calibrated.quantize(&BTreeSet::new()).unwrap();
            let mut sums = [0f64; 8];
            for picture in &pictures {
                let x = Tensor::from_slice(picture, (1, 2, 16, 16), &Device::Cpu).unwrap();
                let error = (&quantized.run(&x).unwrap()[0] - &graph.run(&x).unwrap()[0]).unwrap();
                let means = error.mean((0, 2, 3)).unwrap().to_vec1::<f32>().unwrap();
                sums.iter_mut().zip(means).for_each(|(sum, mean)| *sum += f64::from(mean));
            }
            sums.iter().skip(1).map(|sum| sum.abs()).fold(0.0, f64::max)
        };
        let [without, with] = [false, true].map(moved);
        assert!(with < without / 4.0, "{without} {with}");
    }
}
