//! What a graph's values are like on calibration pictures.

use std::collections::BTreeMap;

use candle_core::{Device, Result, Tensor};

use super::ranges::{Extent, Histogram};
use crate::{
    graph::{Graph, NodeId},
    with_values,
};

/// A graph's input `[C, H, W]` of each calibration picture.
pub type Pictures = [Vec<f32>];

/// A graph that gives the value of every node.
pub(super) struct Everything {
    graph: Graph,
}

impl Everything {
    pub(super) fn of(graph: &Graph) -> Self {
        let mut graph = graph.clone();
        graph.outputs = (0..graph.nodes.len()).map(|node| (graph.value_name(node), node)).collect();
        Self { graph }
    }

    /// The value of every node for one picture, `[1, C, H, W]` each.
    ///
    /// # Errors
    /// A picture of another size.
    pub(super) fn values(&self, picture: &[f32]) -> Result<Vec<Tensor>> {
        self.graph.run(&picture_tensor(&self.graph, picture)?)
    }
}

/// A picture as the graph's input.
pub(super) fn picture_tensor(graph: &Graph, picture: &[f32]) -> Result<Tensor> {
    let [c, h, w] = graph.input_shape;
    Tensor::from_slice(picture, (1, c, h, w), &Device::Cpu)
}

/// For each node the largest value of each channel.
///
/// # Errors
/// Pictures of another size.
pub(super) fn highest(graph: &Graph, pictures: &Pictures) -> Result<Vec<Vec<f32>>> {
    let everything = Everything::of(graph);
    let mut highest: Vec<Vec<f32>> = graph.shapes()?.iter().map(|shape| vec![f32::NEG_INFINITY; shape[0]]).collect();
    for picture in pictures {
        for (value, highest) in everything.values(picture)?.iter().zip(&mut highest) {
            let channels: Vec<f32> = value.flatten_from(2)?.max(2)?.squeeze(0)?.to_vec1()?;
            highest.iter_mut().zip(channels).for_each(|(highest, value)| *highest = highest.max(value));
        }
    }
    Ok(highest)
}

/// What was seen of each node's value.
pub(super) struct Seen {
    /// By node.
    pub(super) histograms: Vec<Histogram>,
    /// The mean over the pictures of what comes into a layer, `[1, C, H, W]`, by the node that gives it.
    pub(super) means: BTreeMap<NodeId, Tensor>,
}

impl Seen {
    /// Runs `graph` twice on every picture: for the ends of all histograms, then for what is in them. `means` are the nodes whose mean is
    /// wanted.
    ///
    /// # Errors
    /// No pictures, or such of another size; values that are no numbers.
    pub(super) fn of(graph: &Graph, pictures: &Pictures, means: impl Iterator<Item = NodeId>) -> Result<Self> {
        if pictures.is_empty() {
            candle_core::bail!("quantize: there are no calibration pictures");
        }
        let everything = Everything::of(graph);
        let mut extents = vec![Extent::default(); graph.nodes.len()];
        for picture in pictures {
            for (value, extent) in everything.values(picture)?.iter().zip(&mut extents) {
                with_values(&value.contiguous()?, "quantize", |values| extent.observe(values))?;
            }
        }
        if let Some(node) = extents.iter().position(|extent| !(extent.low.is_finite() && extent.high.is_finite())) {
            candle_core::bail!("quantize: {} has a value that is no number", graph.value_name(node));
        }
        let mut histograms: Vec<Histogram> = extents.into_iter().map(Histogram::new).collect();
        let mut means: BTreeMap<NodeId, Option<Tensor>> = means.map(|node| (node, None)).collect();
        for picture in pictures {
            let values = everything.values(picture)?;
            for (value, histogram) in values.iter().zip(&mut histograms) {
                with_values(&value.contiguous()?, "quantize", |values| histogram.observe(values))?;
            }
            for (&node, sum) in &mut means {
                let sum_so_far = sum.take().map_or(Ok(values[node].clone()), |sum| &sum + &values[node])?;
                *sum = Some(sum_so_far);
            }
        }
        let share = 1.0 / pictures.len() as f64;
        let means = means.into_iter().filter_map(|(node, sum)| Some((node, (sum? * share))));
        let means = means.map(|(node, mean)| Ok((node, mean?))).collect::<Result<_>>()?;
        Ok(Self { histograms, means })
    }
}
