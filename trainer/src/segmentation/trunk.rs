//! A segmenter as the trunk of a classifier: what its maps hold, on average over the lungs and over what it takes for infected, is what a
//! classifier learns from. Such a classifier reads the lungs, weighted by where the net sees lungs and lesions; and the device runs one net for both.
//!
//! Which maps: every one that the decoder enlarges, and the last. Each is averaged twice, weighted by the probability of either lung, and by
//! the squared probability of the infection: squared, since over most of the lungs that is small but not zero. A mean is kept as cells
//! of 32 x 32 pixels whose own mean it is, so that heads behind it have an activation map as they have behind a backbone.

use anyhow::{Context, ensure};
use candle_core::{Device, Tensor};
use thorax_nn::{
    convolution::ConvolutionConfig,
    graph::{Graph, NodeId, Operation},
    pool::PoolConfig,
};
use thorax_shared::mask::{INFECTION, LEFT_LUNG, NAMES, RIGHT_LUNG};

use super::segmenter::OUTPUT;

/// Pixels of a cell's side.
const CELL: usize = 32;

/// What is added to the mean of the weights: of a picture without lungs or without any infection.
const LEAST: f32 = 1e-6;

/// A segmenter's graph with the output `features` `[N, C, S / 32, S / 32]` before its `masks` `[N, 3, S, S]`.
///
/// # Errors
/// A net whose side is no multiple of 32; one that is the mean of several.
pub fn trunk(mut graph: Graph) -> anyhow::Result<Graph> {
    let [_, side, _] = graph.input_shape;
    ensure!(
        side.is_multiple_of(CELL),
        "a segmenter of {side} x {side} pixels is no trunk for a classifier; train one with a --side that is a multiple of {CELL}"
    );
    let found = graph.outputs.iter().find(|(name, _)| name == OUTPUT);
    let masks = found.with_context(|| format!("the net has no output {OUTPUT}"))?.1;
    let maps = maps(&graph, masks)?;
    let weights = [weight(&mut graph, masks, &[LEFT_LUNG, RIGHT_LUNG])?, {
        let infection = weight(&mut graph, masks, &[INFECTION])?;
        graph.push(Operation::Multiply, &[infection, infection])
    }];
    let mut features = vec![];
    for weight in weights {
        let mean = graph.push(Operation::GlobalAveragePool, &[weight]);
        let mean =
            graph.scale_and_shift(mean, &Tensor::new(&[1f32], &Device::Cpu)?, Tensor::new(&[LEAST], &Device::Cpu)?)?;
        for &(map, of_map) in &maps {
            let small = averaged(&mut graph, weight, side / of_map);
            let weighted = graph.push(Operation::Multiply, &[map, small]);
            let cells = averaged(&mut graph, weighted, CELL * of_map / side);
            features.push(graph.push(Operation::Divide, &[cells, mean]));
        }
    }
    let features = graph.push(Operation::Concatenate, &features);
    graph.outputs.clear();
    graph.output("features", features);
    graph.output(OUTPUT, masks);
    Ok(graph)
}

/// The maps that are enlarged, and the last before the masks, each with its side.
fn maps(graph: &Graph, masks: NodeId) -> anyhow::Result<Vec<(NodeId, usize)>> {
    let shapes = graph.shapes()?;
    let mut last = masks;
    while shapes[last][0] <= NAMES.len() {
        last = match graph.nodes[last].inputs[..] {
            [input] => input,
            [] => anyhow::bail!("the net has no maps that a classifier can learn from; give a U-Net"),
            _ => anyhow::bail!(
                "what several nets or branches are added up to (as the mean of several) is no trunk for a classifier; give one run of a U-Net"
            ),
        };
    }
    let enlarged = graph.nodes.iter().enumerate().filter_map(|(node, of)| {
        let enlarges = matches!(of.operation, Operation::UpConvolution { .. } | Operation::Resize { .. });
        let &input = of.inputs.first().filter(|_| enlarges)?;
        (shapes[node][1] > shapes[input][1] && shapes[input][1] > 1 && shapes[input][0] > NAMES.len()).then_some(input)
    });
    let mut maps: Vec<NodeId> = enlarged.chain([last]).collect();
    maps.sort_unstable();
    maps.dedup();
    let [_, side, _] = graph.input_shape;
    let sides = maps.into_iter().map(|map| (map, shapes[map][1]));
    // Smaller maps than the cells, and those of no whole share of the picture, have no place on them.
    let maps: Vec<_> = sides.filter(|(_, of)| side.is_multiple_of(*of) && (CELL * of).is_multiple_of(side)).collect();
    ensure!(!maps.is_empty(), "the net has no maps that a classifier can learn from; give a U-Net");
    Ok(maps)
}

/// The sum of some of the masks' probabilities, `[N, 1, S, S]`.
fn weight(graph: &mut Graph, masks: NodeId, which: &[usize]) -> anyhow::Result<NodeId> {
    let values = (0..NAMES.len()).map(|mask| if which.contains(&mask) { 1f32 } else { 0.0 }).collect();
    let kernel = Tensor::from_vec(values, (1, NAMES.len(), 1, 1), &Device::Cpu)?;
    let bias = Tensor::new(&[0f32], &Device::Cpu)?;
    Ok(graph.convolution(masks, kernel, bias, ConvolutionConfig::dense(1)))
}

/// The mean of each window of that side.
fn averaged(graph: &mut Graph, map: NodeId, side: usize) -> NodeId {
    if side == 1 {
        return map;
    }
    let config = PoolConfig { kernel: side, stride: side, padding: 0, ceil_mode: false };
    graph.push(Operation::AveragePool(config), &[map])
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use thorax_nets::segmentation::{NetConfig, unet::UnetConfig};
    use thorax_nn::seeded;

    use super::*;

    /// A graph whose masks are its input, and whose last map is that input beside noise.
    fn known(side: usize) -> Graph {
        let mut graph = Graph::new([4, side, side]);
        let weight = seeded::normal((3, 4, 1, 1), 1.0, 1, &Device::Cpu).unwrap();
        let bias = Tensor::new(&[0f32; 3], &Device::Cpu).unwrap();
        let masks = graph.convolution(0, weight, bias, ConvolutionConfig::dense(1));
        let masks = graph.push(Operation::Sigmoid, &[masks]);
        graph.output(OUTPUT, masks);
        graph
    }

    #[test]
    fn features_are_means_over_lungs_and_lesions() {
        let side = 64;
        let graph = trunk(known(side)).unwrap();
        let x = seeded::normal((2, 4, side, side), 1.0, 2, &Device::Cpu).unwrap();
        let run = graph.run(&x).unwrap();
        let [features, masks] = &run[..] else { unreachable!("two outputs") };
        assert_eq!((features.dims(), masks.dims()), (&[2, 8, 2, 2][..], &[2, 3, side, side][..]));
        for other in graph.run_by_operators(&x).unwrap().iter().zip(&run) {
            let apart = (other.0 - other.1).unwrap().abs().unwrap().flatten_all().unwrap().max(0).unwrap();
            assert!(apart.to_scalar::<f32>().unwrap() < 1e-4);
        }
        let values = |tensor: &Tensor| tensor.flatten_all().unwrap().to_vec1::<f32>().unwrap();
        let (x, masks) = (values(&x), values(masks));
        let pixels = side * side;
        let means = values(&features.mean((2, 3)).unwrap());
        for picture in 0..2 {
            let of = |mask: usize, at: usize| f64::from(masks[(picture * 3 + mask) * pixels + at]);
            let weights: [Vec<f64>; 2] = [
                (0..pixels).map(|at| of(LEFT_LUNG, at) + of(RIGHT_LUNG, at)).collect(),
                (0..pixels).map(|at| of(INFECTION, at).powi(2)).collect(),
            ];
            for (number, weights) in weights.iter().enumerate() {
                let all: f64 = weights.iter().sum();
                for channel in 0..4 {
                    let map = &x[(picture * 4 + channel) * pixels..][..pixels];
                    let expected = map.iter().zip(weights).map(|(x, w)| f64::from(*x) * w).sum::<f64>() / all;
                    let found = f64::from(means[picture * 8 + number * 4 + channel]);
                    assert!((found - expected).abs() < 1e-4, "{picture} {number} {channel}: {found} {expected}");
                }
            }
        }
    }

    #[test]
    fn every_map_of_a_unet_that_is_enlarged_counts() {
        let unet = UnetConfig { channels_in: 1, channels_out: 3, base_channels: 8, blocks: 3 };
        let net = NetConfig::Unet(unet).init(1, &Device::Cpu).unwrap();
        let trunk = trunk(net.to_graph_at(64, &[0.5, 0.4, 0.5]).unwrap()).unwrap();
        let (name, features) = &trunk.outputs[0];
        assert_eq!((name.as_str(), trunk.shapes().unwrap()[*features]), ("features", [2 * (64 + 32 + 16 + 8), 2, 2]));
    }

    #[test]
    fn a_mean_of_nets_and_an_odd_side_are_refused() {
        let mean = Graph::mean(vec![known(64), known(64)], OUTPUT, 3).unwrap();
        let error = trunk(mean).map(|_| ()).unwrap_err().to_string();
        assert!(error.contains("mean of several"), "{error}");
        let error = trunk(known(48)).map(|_| ()).unwrap_err().to_string();
        assert!(error.contains("multiple of 32"), "{error}");
    }
}
