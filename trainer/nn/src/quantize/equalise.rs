//! Cross-layer equalisation: Nagel et al. 2019 (arXiv 1906.04721, section 4.1).
//!
//! Where one convolution alone feeds another, a channel between them may be divided by any `s > 0` in the first and multiplied by it in
//! the second, since `max(x / s, 0) = max(x, 0) / s`. With `s = sqrt(r1 / r2)`, of the largest weights `r1` that make the channel
//! and `r2` that it meets, both have the same range (equation 11 of the paper, `s = sqrt(r1 r2) / r2`), and no channel is drowned
//! by the scale of its neighbours.
//!
//! ReLU6 cuts at 6 whatever the scale, so the equation above does not hold for it, and the paper replaces it by ReLU, which makes another
//! net. Here the net stays: behind a ReLU6 a channel is scaled only if the pictures that were seen never drove it to 6, and only so far
//! that they do not afterwards. Every other channel keeps its scale.

use candle_core::{Device, Result, Tensor};

use super::layers::{Bound, Layer, input_ranges, output_ranges, scale_inputs, scale_outputs};
use crate::graph::Graph;

/// Passes over all pairs; each evens out what the one before has moved.
const PASSES: usize = 10;
/// Scales that are this near to 1 end it.
const EVEN: f32 = 1e-3;
/// A channel is scaled by no more than this, either way: one of hardly any weight needs no range.
const LARGEST_SCALE: f32 = 1e3;
/// Where a ReLU6 cuts.
const SIX: f32 = 6.0;

/// Equalises every pair of layers of `graph`; returns how many pairs there are.
///
/// `highest` has, for the output of each layer (by node), the largest value of each channel that was seen.
///
/// # Errors
/// When memory fails.
pub(super) fn equalise(graph: &mut Graph, highest: &[Vec<f32>]) -> Result<usize> {
    let pairs = pairs(graph);
    let mut highest = highest.to_vec();
    for _ in 0..PASSES {
        let mut even = true;
        for &(first, second) in &pairs {
            let ranges =
                (output_ranges(&graph.nodes[first.node].operation)?, input_ranges(&graph.nodes[second].operation)?);
            let (Some(made), Some(met)) = ranges else { continue };
            if made.len() != met.len() {
                continue;
            }
            let highest = &mut highest[first.output];
            let scales: Vec<f32> = made
                .iter()
                .zip(&met)
                .zip(highest.iter())
                .map(|((&made, &met), &highest)| scale(made, met, (first.bound == Bound::Six).then_some(highest)))
                .collect();
            even &= scales.iter().all(|scale| (scale - 1.0).abs() < EVEN);
            highest.iter_mut().zip(&scales).for_each(|(highest, scale)| *highest /= scale);
            let divided: Vec<f32> = scales.iter().map(|scale| 1.0 / scale).collect();
            scale_outputs(&mut graph.nodes[first.node].operation, &Tensor::new(divided, &Device::Cpu)?)?;
            scale_inputs(&mut graph.nodes[second].operation, &Tensor::new(scales, &Device::Cpu)?)?;
        }
        if even {
            break;
        }
    }
    Ok(pairs.len())
}

/// What a channel is divided by, `highest` being the largest value seen of one that a ReLU6 cuts.
fn scale(made: f32, met: f32, highest: Option<f32>) -> f32 {
    if made <= 0.0 || met <= 0.0 {
        return 1.0;
    }
    let wanted = (made / met).sqrt().clamp(1.0 / LARGEST_SCALE, LARGEST_SCALE);
    match highest {
        None => wanted,
        Some(highest) if highest >= SIX => 1.0,
        Some(highest) => wanted.max(highest / SIX),
    }
}

/// Layers, and the convolution that alone uses what each gives.
fn pairs(graph: &Graph) -> Vec<(Layer, usize)> {
    let consumers = graph.only_consumers();
    let layers = Layer::all(graph);
    let next = |layer: &Layer| {
        let next = consumers[layer.output].filter(|next| layers.iter().any(|layer| layer.node == *next))?;
        Some((*layer, next))
    };
    layers.iter().filter_map(next).collect()
}

#[cfg(test)]
#[allow(clippy::unwrap_used, clippy::panic, reason = "a test may fail by panic")]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::{convolution::ConvolutionConfig, graph::Operation, seeded};

    fn draw(shape: &[usize], spread: f32, seed: u64) -> Tensor {
        // Channels of very different scale.
        let weight = seeded::normal(shape, 0.3, seed, &Device::Cpu).unwrap();
        let scales: Vec<f32> = (0..shape[0]).map(|channel| spread.powf((channel % 5) as f32 - 2.0)).collect();
        let mut like = vec![1; shape.len()];
        like[0] = shape[0];
        weight.broadcast_mul(&Tensor::new(scales, &Device::Cpu).unwrap().reshape(like).unwrap()).unwrap()
    }

    /// An inverted residual block and a doubling, behind `activation`.
    fn net(activation: &Operation, spread: f32, seed: u64) -> Graph {
        let mut graph = Graph::new([3, 8, 8]);
        let depthwise = ConvolutionConfig { groups: 6, ..ConvolutionConfig::dense(3) };
        let convolve = |graph: &mut Graph, input, shape: [usize; 4], config, seed| {
            graph.convolution(input, draw(&shape, spread, seed), draw(&shape[..1], 1.0, seed + 1), config)
        };
        let wide = convolve(&mut graph, 0, [6, 3, 1, 1], ConvolutionConfig::dense(1), seed);
        let wide = graph.push(activation.clone(), &[wide]);
        let deep = convolve(&mut graph, wide, [6, 1, 3, 3], depthwise, seed + 2);
        let deep = graph.push(activation.clone(), &[deep]);
        let narrow = convolve(&mut graph, deep, [4, 6, 1, 1], ConvolutionConfig::dense(1), seed + 4);
        let up =
            Operation::UpConvolution { weight: draw(&[4, 5, 2, 2], 1.0, seed + 6), bias: draw(&[5], 1.0, seed + 7) };
        let up = graph.push(up, &[narrow]);
        let end = convolve(&mut graph, up, [2, 5, 3, 3], ConvolutionConfig::dense(3), seed + 8);
        graph.output("end", end);
        graph
    }

    /// The largest of each channel of each node.
    fn highest(graph: &Graph, x: &Tensor) -> Vec<Vec<f32>> {
        let mut all = graph.clone();
        all.outputs = (0..graph.nodes.len()).map(|node| (format!("{node}"), node)).collect();
        let values = all.run(x).unwrap();
        values
            .iter()
            .map(|value| value.transpose(0, 1).unwrap().flatten_from(1).unwrap().max(1).unwrap().to_vec1().unwrap())
            .collect()
    }

    /// How far two graphs are apart, as a share of the largest value.
    fn apart(a: &Graph, b: &Graph, x: &Tensor) -> f32 {
        let largest = |x: &Tensor| x.abs().unwrap().max_all().unwrap().to_scalar::<f32>().unwrap();
        let [a, b] = [a, b].map(|graph| graph.run(x).unwrap().remove(0));
        largest(&(&a - &b).unwrap()) / largest(&a)
    }

    proptest! {
        #![proptest_config(ProptestConfig { cases: 32, ..ProptestConfig::default() })]
        #[test]
        fn the_function_stays(spread in 1f32..8.0, seed in 0u64..1000, six: bool) {
            let activation = if six { Operation::Relu6 } else { Operation::Relu };
            let graph = net(&activation, spread, seed);
            let x = seeded::normal((2, 3, 8, 8), 2.0, seed, &Device::Cpu).unwrap();
            let mut equalised = graph.clone();
            prop_assert_eq!(equalise(&mut equalised, &highest(&graph, &x)).unwrap(), 4);
            let apart = apart(&graph, &equalised, &x);
            prop_assert!(apart < 1e-5, "{apart}");
        }
    }

    #[test]
    fn ranges_on_both_sides_of_a_channel_become_equal() {
        let mut graph = net(&Operation::Relu, 6.0, 3);
        let x = seeded::normal((1, 3, 8, 8), 1.0, 3, &Device::Cpu).unwrap();
        let highest = highest(&graph, &x);
        let uneven = |graph: &Graph| {
            let ratio = |(first, second): &(Layer, usize)| {
                let made = output_ranges(&graph.nodes[first.node].operation).unwrap().unwrap();
                let met = input_ranges(&graph.nodes[*second].operation).unwrap().unwrap();
                made.iter().zip(&met).map(|(made, met)| (made / met).max(met / made)).fold(1.0, f32::max)
            };
            pairs(graph).iter().map(ratio).fold(1.0, f32::max)
        };
        assert!(uneven(&graph) > 5.0);
        equalise(&mut graph, &highest).unwrap();
        assert!(uneven(&graph) < 1.05, "{}", uneven(&graph));
    }

    #[test]
    fn a_channel_that_a_relu6_cuts_keeps_its_scale() {
        assert_eq!(scale(4.0, 1.0, Some(6.0)), 1.0);
        assert_eq!(scale(4.0, 1.0, Some(3.0)), 2.0);
        assert_eq!(scale(1.0, 16.0, Some(3.0)), 0.5, "not so far that it reaches 6");
        assert_eq!((scale(4.0, 1.0, None), scale(1.0, 16.0, None), scale(0.0, 1.0, None)), (2.0, 0.25, 1.0));
    }
}
