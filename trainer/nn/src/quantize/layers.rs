//! The convolutions of a graph: what stands behind each, and the tensors of their weights.

use candle_core::{D, Result, Tensor};

use crate::{
    convolution::ConvolutionConfig,
    graph::{Graph, NodeId, Operation},
};

/// What an activation that is folded into a convolution's range leaves of the real numbers.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Bound {
    /// 0 to 6.
    Six,
    /// 0 and more.
    Positive,
    /// All.
    None,
}

/// A convolution with the activation behind it.
#[derive(Clone, Copy, Debug)]
pub struct Layer {
    /// The convolution.
    pub node: NodeId,
    /// The activation behind it, or the convolution itself.
    pub output: NodeId,
    /// What the activation leaves.
    pub(super) bound: Bound,
}

impl Layer {
    /// All of a graph but those that only scale and shift each channel, of which nothing is gained.
    pub(super) fn all(graph: &Graph) -> Vec<Self> {
        let consumers = graph.only_consumers();
        let layers = graph.nodes.iter().enumerate().filter(|(_, node)| is_layer(&node.operation));
        layers
            .map(|(node, _)| {
                let next = consumers[node].map(|next| (next, &graph.nodes[next].operation));
                let (output, bound) = match next {
                    Some((next, Operation::Relu)) => (next, Bound::Positive),
                    Some((next, Operation::Relu6)) => (next, Bound::Six),
                    _ => (node, Bound::None),
                };
                Self { node, output, bound }
            })
            .collect()
    }
}

/// Whether this is a convolution of more than one value each.
fn is_layer(operation: &Operation) -> bool {
    match operation {
        Operation::Convolution { weight, .. } => !scales_and_shifts(operation, weight),
        Operation::UpConvolution { .. } => true,
        _ => false,
    }
}

/// Whether this multiplies each channel by one number, and adds another.
fn scales_and_shifts(operation: &Operation, weight: &Tensor) -> bool {
    let Operation::Convolution { config, .. } = operation else { return false };
    let one = ConvolutionConfig { groups: config.groups, ..ConvolutionConfig::dense(1) };
    weight.dims() == [config.groups, 1, 1, 1] && *config == one
}

/// `graph` without the nodes that only scale and shift what a convolution alone gives them: the convolution does it.
///
/// # Errors
/// When memory fails.
pub(super) fn fold_scales(graph: &Graph) -> Result<Graph> {
    let consumers = graph.only_consumers();
    let mut folded = Graph::new(graph.input_shape);
    let mut moved: Vec<NodeId> = vec![0];
    for node in graph.nodes.iter().skip(1) {
        let inputs: Vec<NodeId> = node.inputs.iter().map(|&input| moved[input]).collect();
        let before = node.inputs.first().filter(|&&input| consumers[input].is_some()).map(|&input| moved[input]);
        if let (Operation::Convolution { weight, bias, .. }, Some(before)) = (&node.operation, before)
            && scales_and_shifts(&node.operation, weight)
            && is_layer(&folded.nodes[before].operation)
        {
            let factor = weight.flatten_all()?;
            let operation = &mut folded.nodes[before].operation;
            scale_outputs(operation, &factor)?;
            if let Operation::Convolution { bias: own, .. } | Operation::UpConvolution { bias: own, .. } = operation {
                *own = (&*own + bias)?;
            }
            moved.push(before);
            continue;
        }
        moved.push(folded.push(node.operation.clone(), &inputs));
    }
    graph.outputs.iter().for_each(|(name, node)| folded.output(name, moved[*node]));
    Ok(folded)
}

/// Multiplies what comes out of a convolution by `factor` `[C_out]`.
pub(super) fn scale_outputs(operation: &mut Operation, factor: &Tensor) -> Result<()> {
    let channels = output_dimension(operation);
    let (Operation::Convolution { weight, bias, .. } | Operation::UpConvolution { weight, bias }) = operation else {
        return Ok(());
    };
    *weight = scaled(weight, factor, channels)?;
    *bias = (&*bias * factor)?;
    Ok(())
}

/// Multiplies the weights of each input channel by `factor` `[C_in]`. Of groups it is done where each is one channel.
pub(super) fn scale_inputs(operation: &mut Operation, factor: &Tensor) -> Result<()> {
    let (weight, channels) = match operation {
        Operation::Convolution { weight, config, .. } => (weight, usize::from(config.groups == 1)),
        Operation::UpConvolution { weight, .. } => (weight, 0),
        _ => return Ok(()),
    };
    *weight = scaled(weight, factor, channels)?;
    Ok(())
}

/// The dimension of a layer's weight that its output channels are.
pub(super) fn output_dimension(operation: &Operation) -> usize {
    usize::from(matches!(operation, Operation::UpConvolution { .. }))
}

/// `weight` times `factor`, which runs along its dimension `channels`.
pub(super) fn scaled(weight: &Tensor, factor: &Tensor, channels: usize) -> Result<Tensor> {
    let mut shape = [1; 4];
    shape[channels] = factor.elem_count();
    weight.broadcast_mul(&factor.reshape(&shape[..])?)
}

/// The largest weight of each output channel.
pub(super) fn output_ranges(operation: &Operation) -> Result<Option<Vec<f32>>> {
    match operation {
        Operation::Convolution { weight, .. } => largest(weight, 0).map(Some),
        Operation::UpConvolution { weight, .. } => largest(weight, 1).map(Some),
        _ => Ok(None),
    }
}

/// The largest weight that each input channel is multiplied by; of groups where each is one channel.
pub(super) fn input_ranges(operation: &Operation) -> Result<Option<Vec<f32>>> {
    match operation {
        Operation::Convolution { weight, config, .. } if config.groups == 1 => largest(weight, 1).map(Some),
        Operation::Convolution { weight, config, .. } if weight.dims()[..2] == [config.groups, 1] => {
            largest(weight, 0).map(Some)
        }
        Operation::UpConvolution { weight, .. } => largest(weight, 0).map(Some),
        _ => Ok(None),
    }
}

fn largest(weight: &Tensor, channels: usize) -> Result<Vec<f32>> {
    let first = weight.abs()?.transpose(0, channels)?.contiguous()?;
    first.flatten_from(1)?.max(D::Minus1)?.to_vec1()
}

/// A layer as a plain convolution: its weight `[C_out, C_in / groups, K_h, K_w]`, bias and configuration, and whether the pixels of each
/// block of 2 x 2 are then to be taken out of its channels.
///
/// A transposed convolution of kernel and stride 2 never adds two products of different pixels, so it is a 1x1 convolution to four times
/// the channels (those of the block's first pixel first) followed by that.
pub(super) struct Plain {
    pub(super) weight: Tensor,
    pub(super) bias: Vec<f32>,
    pub(super) config: ConvolutionConfig,
    pub(super) to_space: bool,
}

impl Plain {
    /// That of a convolution.
    ///
    /// # Errors
    /// Another operation.
    pub(super) fn of(operation: &Operation) -> Result<Self> {
        match operation {
            Operation::Convolution { weight, bias, config } => {
                Ok(Self { weight: weight.clone(), bias: bias.to_vec1()?, config: *config, to_space: false })
            }
            Operation::UpConvolution { weight, bias } => {
                let (input, output, _, _) = weight.dims4()?;
                let weight = weight.permute((2, 3, 1, 0))?.contiguous()?.reshape((4 * output, input, 1, 1))?;
                let bias = bias.to_vec1::<f32>()?.repeat(4);
                Ok(Self { weight, bias, config: ConvolutionConfig::dense(1), to_space: true })
            }
            _ => candle_core::bail!("quantize: no convolution"),
        }
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used, clippy::panic, reason = "a test may fail by panic")]
mod tests {
    use candle_core::{DType, Device};

    use super::*;
    use crate::seeded;

    fn draw(shape: &[usize], seed: u64) -> Tensor {
        seeded::normal(shape, 0.5, seed, &Device::Cpu).unwrap()
    }

    fn apart(a: &Graph, b: &Graph, x: &Tensor) -> f32 {
        let pairs = a.run(x).unwrap().into_iter().zip(b.run(x).unwrap());
        let apart = pairs.map(|(a, b)| (a - b).unwrap().abs().unwrap().max_all().unwrap().to_scalar::<f32>().unwrap());
        apart.fold(0.0, f32::max)
    }

    #[test]
    fn scales_are_folded_where_a_convolution_alone_is_before_them() {
        let mut graph = Graph::new([2, 6, 6]);
        let first = graph.convolution(0, draw(&[4, 2, 3, 3], 1), draw(&[4], 2), ConvolutionConfig::dense(3));
        let scaled = graph.scale_and_shift(first, &draw(&[4], 3), draw(&[4], 4)).unwrap();
        let up = Operation::UpConvolution { weight: draw(&[4, 3, 2, 2], 5), bias: draw(&[3], 6) };
        let up = graph.push(up, &[scaled]);
        let scaled = graph.scale_and_shift(up, &draw(&[3], 7), draw(&[3], 8)).unwrap();
        // This one is used twice, and so stays, as does what scales the picture.
        let kept = graph.scale_and_shift(scaled, &draw(&[3], 9), draw(&[3], 10)).unwrap();
        let both = graph.push(Operation::Add, &[scaled, kept]);
        let picture = graph.scale_and_shift(0, &draw(&[2], 11), draw(&[2], 12)).unwrap();
        graph.output("both", both);
        graph.output("picture", picture);
        let folded = fold_scales(&graph).unwrap();
        assert_eq!((folded.nodes.len(), graph.nodes.len()), (6, 8));
        let x = draw(&[2, 2, 6, 6], 13);
        assert!(apart(&graph, &folded, &x) < 1e-5);
        assert_eq!(Layer::all(&folded).len(), 2);
    }

    #[test]
    fn a_doubling_convolution_is_one_of_a_pixel_and_a_move() {
        let (weight, bias) = (draw(&[5, 3, 2, 2], 1), draw(&[3], 2));
        let up = Operation::UpConvolution { weight, bias };
        let x = draw(&[2, 5, 3, 4], 3);
        let expected = up.run(&[&x]).unwrap();
        let Plain { weight, bias, config, to_space } = Plain::of(&up).unwrap();
        assert!(to_space);
        let bias = Tensor::new(bias, &Device::Cpu).unwrap();
        let found = Operation::Convolution { weight, bias, config }.run(&[&x]).unwrap();
        let blocks = found.reshape(&[2, 2, 2, 3, 3, 4][..]).unwrap().permute(vec![0, 3, 4, 1, 5, 2]).unwrap();
        let found = blocks.contiguous().unwrap().reshape((2, 3, 6, 8)).unwrap();
        let apart = (found - expected).unwrap().abs().unwrap().max_all().unwrap().to_scalar::<f32>().unwrap();
        assert!(apart < 1e-5, "{apart}");
    }

    #[test]
    fn activations_are_bounds_of_their_convolution_alone() {
        let mut graph = Graph::new([2, 4, 4]);
        let convolve = |graph: &mut Graph, input| {
            let bias = Tensor::zeros(2, DType::F32, &Device::Cpu).unwrap();
            graph.convolution(input, draw(&[2, 2, 1, 1], 1), bias, ConvolutionConfig::dense(1))
        };
        let first = convolve(&mut graph, 0);
        let relu = graph.push(Operation::Relu6, &[first]);
        let second = convolve(&mut graph, relu);
        let relu = graph.push(Operation::Relu, &[second]);
        let both = graph.push(Operation::Add, &[second, relu]);
        graph.output("both", both);
        let layers = Layer::all(&graph);
        let told: Vec<_> = layers.iter().map(|layer| (layer.node, layer.output, layer.bound)).collect();
        assert_eq!(told, [(1, 2, Bound::Six), (3, 3, Bound::None)]);
    }
}
