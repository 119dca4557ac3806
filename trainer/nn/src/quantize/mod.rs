//! A graph of 8-bit integers from a graph of real numbers and pictures to calibrate by: post-training quantization.
//!
//! [`Calibrated::new`] prepares the graph: scales of single channels are folded into the convolution before them, the ranges of the
//! weights of neighbouring layers are evened out ([`equalise`]), and what every value is like on the pictures is written down
//! ([`calibrate`]). [`Calibrated::sensitivity`] then tells what each layer would lose, and [`Calibrated::quantize`] makes the
//! [`QuantizedGraph`], with the layers that were chosen kept in floating point ([`build`]). That graph runs here as ONNX defines it
//! ([`graph`]), and leaves as ONNX ([`to_onnx`]).
//!
//! ```text
//! Graph + pictures -> fold, equalise -> histograms -> Quantization of each value (ranges) -> steps (build) -> QuantizedGraph -> ONNX
//! ```
//!
//! Numbers are as ONNX and its runtimes have them ([`numbers`]): activations u8 with one scale and zero point a tensor, weights i8 with
//! one scale an output channel, sums and biases i32.

mod build;
mod calibrate;
mod equalise;
mod graph;
mod layers;
mod numbers;
mod ranges;
mod sensitivity;
mod write;

use std::collections::BTreeSet;

use candle_core::Result;

pub use calibrate::Pictures;
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
    /// make the outputs of what the net has found, and are a small part of its work.
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
        Ok(layers.iter().map(|layer| layer.node).filter(|&node| !leads_on[node]).collect())
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
