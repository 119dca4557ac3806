//! What each layer loses as integers while all others calculate in floating point.

use candle_core::{Result, Tensor};

use super::{
    build::Plan,
    calibrate::{Everything, Pictures},
    graph::Step,
    layers::Layer,
};
use crate::graph::{Graph, NodeId, Operation};

/// What is lost where one layer alone calculates in integers.
#[derive(Clone, Debug)]
pub struct Sensitivity {
    /// The layer.
    pub layer: Layer,
    /// Signal to quantization noise ratio of what it gives, in dB: `10 log10(sum(y^2) / sum((y - y')^2))`; infinite where nothing is lost.
    pub sqnr_db: f64,
    /// Mean squared error that it causes in the output that is asked for.
    pub output_error: f64,
}

/// The sensitivity of all layers of `plan`, measured in the node `output` on `pictures`.
///
/// # Errors
/// Pictures of another size.
pub(super) fn sensitivity(plan: &Plan<'_>, output: NodeId, pictures: &Pictures) -> Result<Vec<Sensitivity>> {
    let graph = plan.graph;
    let everything = Everything::of(graph);
    let layers = Layer::all(graph);
    let steps = layers.iter().map(|layer| plan.alone(layer)).collect::<Result<Vec<_>>>()?;
    // Sums over the pictures: signal, noise, error of the output, values of the output.
    let mut sums = vec![[0f64; 4]; layers.len()];
    for picture in pictures {
        let values = everything.values(picture)?;
        for ((layer, steps), sums) in layers.iter().zip(&steps).zip(&mut sums) {
            let input = graph.nodes[layer.node].inputs.first().copied().unwrap_or_default();
            let found = steps.iter().try_fold(values[input].clone(), |value, step| step.run(&[&value]))?;
            let (signal, noise) = (squares(&values[layer.output])?, squares(&(&found - &values[layer.output])?)?);
            let end = changed(graph, &values, layer.output, found, output)?;
            let error = squares(&(&end - &values[output])?)?;
            for (sum, value) in sums.iter_mut().zip([signal, noise, error, end.elem_count() as f64]) {
                *sum += value;
            }
        }
    }
    let told = layers.into_iter().zip(sums).map(|(layer, [signal, noise, error, count])| Sensitivity {
        layer,
        sqnr_db: 10.0 * (signal / noise).log10(),
        output_error: error / count,
    });
    Ok(told.collect())
}

impl Plan<'_> {
    /// A layer from f32 to f32, by way of integers.
    fn alone(&self, layer: &Layer) -> Result<Vec<Step>> {
        let (convolution, to_space) = self.convolution(layer)?;
        let (x, y) = (convolution.x, convolution.y);
        let mut steps = vec![Step::Quantize(x), Step::Convolution(Box::new(convolution))];
        steps.extend(to_space.then_some(Step::DepthToSpace));
        steps.push(Step::Dequantize(y));
        Ok(steps)
    }
}

/// The sum of the squares.
fn squares(values: &Tensor) -> Result<f64> {
    let values = values.flatten_all()?.to_vec1::<f32>()?;
    Ok(values.into_iter().map(|value| f64::from(value).powi(2)).sum())
}

/// The value of `output` where the value of `node` is another one.
fn changed(graph: &Graph, values: &[Tensor], node: NodeId, value: Tensor, output: NodeId) -> Result<Tensor> {
    let mut others: Vec<Option<Tensor>> = vec![None; values.len()];
    others[node] = Some(value);
    for index in node + 1..=output {
        let Some(operation) = graph.nodes.get(index).map(|node| &node.operation) else { break };
        let inputs = &graph.nodes[index].inputs;
        if matches!(operation, Operation::Input) || inputs.iter().all(|&input| others[input].is_none()) {
            continue;
        }
        let inputs: Vec<&Tensor> =
            inputs.iter().map(|&input| others[input].as_ref().unwrap_or(&values[input])).collect();
        others[index] = Some(operation.run(&inputs)?);
    }
    Ok(others[output].clone().unwrap_or_else(|| values[output].clone()))
}
