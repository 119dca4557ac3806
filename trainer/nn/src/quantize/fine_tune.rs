//! Quantization-aware fine-tuning: a graph learns to say in integers what it said in real numbers.
//!
//! A [`Student`] carries the calibrated graph out in real numbers, each value and weight rounded to what an integer will stand for. Rounding
//! has no slope, so the gradient passes it as if it were not there, and ends at the ends of the range (the straight-through estimator: Bengio
//! et al. 2013; Jacob et al. 2018, section 3). The ranges stay those of the calibration; a weight's scale follows its largest value.
//!
//! Its teacher is the graph that was calibrated, so no truth is needed, and every output counts alike: an output that ends in a
//! sigmoid by its cross-entropy, another by Huber's loss in units of its own standard deviation ([`Student::loss`]): a distance in feature space is
//! far out on some pictures, which are then not to drown the others. What is kept in floating point
//! is not learnt either: the heads say of the student's features what they said of the teacher's.

use std::collections::{BTreeMap, BTreeSet};

use candle_core::{D, Device, Result, Tensor, Var};

use super::{
    Calibrated, Settings,
    build::Plan,
    calibrate::{Everything, Pictures},
    layers::{Plain, output_dimension, scaled},
    numbers::{Quantization, QuantizedWeight},
};
use crate::{
    elementwise::{binary_cross_entropy, fake_quantize},
    graph::{Graph, NodeId, Operation},
};

/// A graph that is fine-tuned.
pub struct Student {
    /// Its weights on the device, and those of `layers` as they were at first.
    graph: Graph,
    layers: BTreeMap<NodeId, Trained>,
    /// By node: how its value is rounded, if it is.
    rounded: Vec<Option<Quantization>>,
    /// Of each output: the node that counts, and whether the output is its sigmoid.
    outputs: Vec<(NodeId, bool)>,
    /// Of each output: one over the variance of what the teacher says.
    weights: Vec<f64>,
    per_channel: bool,
}

/// A layer that learns. After equalisation the weights of one channel may be a thousandth of another's, and an optimizer's steps are as large
/// for both; so each channel learns in units of its own.
struct Trained {
    /// The weight in units of the largest of its output channel.
    weight: Var,
    /// The bias in units of that times the range of what comes in.
    bias: Var,
    /// The largest weight of each output channel as it was at first, `[C_out]`.
    units: Tensor,
    /// The dimension of the weight that its output channels are.
    channels: usize,
    /// Of what comes in.
    x: Quantization,
}

impl Calibrated {
    /// How much each output varies over `pictures`: its variance channel by channel, the mean of the channels; of one that does not vary 1.
    ///
    /// # Errors
    /// No pictures, or such of another size.
    pub fn variances(&self, pictures: &Pictures) -> Result<Vec<f64>> {
        variances(&self.graph, &self.outputs(), pictures)
    }

    /// The student of this graph, whose layers `kept` stay in floating point and as they are, and whose outputs have these `variances`.
    ///
    /// # Errors
    /// Variances of other outputs; when the device fails.
    pub fn student(&self, kept: &BTreeSet<NodeId>, variances: &[f64], device: &Device) -> Result<Student> {
        let plan = Plan::new(&self.graph, &self.seen, &self.settings, kept);
        let mut graph = self.graph.clone();
        for node in &mut graph.nodes {
            if let Operation::Convolution { weight, bias, .. } | Operation::UpConvolution { weight, bias } =
                &mut node.operation
            {
                (*weight, *bias) = (weight.to_device(device)?, bias.to_device(device)?);
            }
        }
        let layers = plan.integer_layers().iter().map(|layer| {
            let node = &graph.nodes[layer.node];
            let (Operation::Convolution { weight, bias, .. } | Operation::UpConvolution { weight, bias }) =
                &node.operation
            else {
                candle_core::bail!("quantize: no convolution")
            };
            Ok((layer.node, Trained::new(&node.operation, weight, bias, plan.quantization(node.inputs[0]))?))
        });
        let layers = layers.collect::<Result<_>>()?;
        let outputs = self.outputs();
        if variances.len() != outputs.len() {
            candle_core::bail!("quantize: {} variances for {} outputs", variances.len(), outputs.len());
        }
        let weights = variances.iter().map(|variance| 1.0 / variance).collect();
        let rounded = (0..graph.nodes.len()).map(|node| plan.rounded(node)).collect();
        Ok(Student { graph, layers, rounded, outputs, weights, per_channel: self.settings.per_channel })
    }

    /// The graph with what `student` has learnt. Its biases are not corrected again: they have learnt what the weights lose.
    ///
    /// # Errors
    /// A student of another graph; when the device fails.
    pub fn tuned(self, student: &Student) -> Result<Self> {
        let Self { mut graph, seen, settings } = self;
        for (&node, trained) in &student.layers {
            let Some(Operation::Convolution { weight, bias, .. } | Operation::UpConvolution { weight, bias }) =
                graph.nodes.get_mut(node).map(|node| &mut node.operation)
            else {
                candle_core::bail!("quantize: the student is one of another graph")
            };
            if weight.shape() != trained.weight.shape() {
                candle_core::bail!("quantize: the student is one of another graph");
            }
            let [learnt_weight, learnt_bias] = trained.now()?;
            *weight = learnt_weight.to_device(&Device::Cpu)?;
            *bias = learnt_bias.to_device(&Device::Cpu)?;
        }
        Ok(Self { graph, seen, settings: Settings { correct_bias: false, ..settings } })
    }

    /// Of each output the node that counts, and whether the output is its sigmoid.
    fn outputs(&self) -> Vec<(NodeId, bool)> {
        let outputs = self.graph.outputs.iter();
        outputs
            .map(|&(_, node)| match self.graph.nodes[node] {
                ref end if matches!(end.operation, Operation::Sigmoid) => (end.inputs[0], true),
                _ => (node, false),
            })
            .collect()
    }
}

/// [`Calibrated::variances`] of these outputs.
fn variances(graph: &Graph, outputs: &[(NodeId, bool)], pictures: &Pictures) -> Result<Vec<f64>> {
    if pictures.is_empty() {
        candle_core::bail!("quantize: there are no pictures to tell how much the outputs vary");
    }
    let everything = Everything::of(graph);
    // Sum and sum of squares of each channel, and the number of values.
    let mut sums: Vec<Option<[Tensor; 2]>> = vec![None; outputs.len()];
    let mut counts = vec![0usize; outputs.len()];
    for picture in pictures {
        let values = everything.values(picture)?;
        for ((&(node, _), sums), count) in outputs.iter().zip(&mut sums).zip(&mut counts) {
            let value = values[node].flatten_from(2)?.squeeze(0)?;
            let seen = [value.sum(1)?, value.sqr()?.sum(1)?];
            *count += value.dim(1)?;
            *sums = Some(match sums.take() {
                None => seen,
                Some([sum, squares]) => [(sum + &seen[0])?, (squares + &seen[1])?],
            });
        }
    }
    let each = sums.into_iter().zip(counts).map(|(sums, count)| {
        let Some([sum, squares]) = sums else { return Ok(1.0) };
        let share = 1.0 / count as f64;
        let variance = ((squares * share)? - (sum * share)?.sqr()?)?.mean_all()?.to_scalar::<f32>()?;
        Ok(if variance > 1e-12 { f64::from(variance) } else { 1.0 })
    });
    each.collect()
}

impl Student {
    /// What learns, by name.
    pub fn variables(&self) -> Vec<(String, Var)> {
        let named = |(node, trained): (&NodeId, &Trained)| {
            let of = |what: &str| format!("{node}.{what}");
            [(of("weight"), trained.weight.clone()), (of("bias"), trained.bias.clone())]
        };
        self.layers.iter().flat_map(named).collect()
    }

    /// Each output for `x` `[N, C, H, W]`, before the sigmoid where one ends it; differentiable.
    ///
    /// # Errors
    /// Pictures of another size; when the device fails.
    pub fn forward(&self, x: &Tensor) -> Result<Vec<Tensor>> {
        let mut values: Vec<Tensor> = Vec::with_capacity(self.graph.nodes.len());
        for (index, node) in self.graph.nodes.iter().enumerate() {
            let inputs: Vec<&Tensor> = node.inputs.iter().map(|&input| &values[input]).collect();
            let value = match (&node.operation, self.layers.get(&index)) {
                (Operation::Input, _) => x.clone(),
                (operation, None) => operation.run(&inputs)?,
                (operation, Some(trained)) => trained.operation(operation, self.per_channel)?.run(&inputs)?,
            };
            values.push(match self.rounded[index] {
                Some(quantization) => fake_quantize(&value, quantization.scale, quantization.range())?,
                None => value,
            });
        }
        Ok(self.outputs.iter().map(|&(node, _)| values[node].clone()).collect())
    }

    /// How far `said`, which [`Self::forward`] gave, is from what the teacher says, its outputs as they are: the mean over the outputs, as a
    /// scalar.
    ///
    /// # Errors
    /// Other outputs.
    pub fn loss(&self, said: &[Tensor], teacher: &[Tensor]) -> Result<Tensor> {
        let mut losses = vec![];
        for ((said, teacher), (weight, &(_, sigmoid))) in
            said.iter().zip(teacher).zip(self.weights.iter().zip(&self.outputs))
        {
            losses.push(match sigmoid {
                true => binary_cross_entropy(said, teacher)?.mean_all()?,
                false => huber(&((said - teacher)? * weight.sqrt())?)?,
            });
        }
        if losses.len() != self.outputs.len() {
            candle_core::bail!("quantize: {} outputs for {}", losses.len(), self.outputs.len());
        }
        Tensor::stack(&losses, 0)?.mean_all()
    }

    /// For each output, by its name, one less the squared error in units of the teacher's variance on these very pictures: 1 where the
    /// student says the same. `batches` are pictures and the teacher's outputs.
    ///
    /// # Errors
    /// Pictures of another size; when the device fails.
    pub fn agreement(&self, batches: &[(Tensor, Vec<Tensor>)]) -> Result<Vec<f64>> {
        // Squared error; sum, sum of squares and number of the teacher's values.
        let mut sums = vec![[0f64; 4]; self.outputs.len()];
        for (x, teacher) in batches {
            let said = self.forward(x)?;
            for (((said, teacher), sums), &(_, sigmoid)) in said.iter().zip(teacher).zip(&mut sums).zip(&self.outputs) {
                let said = if sigmoid { crate::elementwise::sigmoid(said)? } else { said.clone() };
                let of = |x: Tensor| -> Result<f64> { Ok(f64::from(x.sum_all()?.to_scalar::<f32>()?)) };
                sums[0] += of((said - teacher)?.sqr()?)?;
                sums[1] += of(teacher.clone())?;
                sums[2] += of(teacher.sqr()?)?;
                sums[3] += teacher.elem_count() as f64;
            }
        }
        let agreement = |[error, sum, squares, count]: [f64; 4]| {
            let variance = squares - sum * sum / count.max(1.0);
            1.0 - error / variance.max(f64::MIN_POSITIVE)
        };
        Ok(sums.into_iter().map(agreement).collect())
    }
}

/// Half the square of each value within -1 to 1, beyond them less than its size by a half (Huber 1964, with a threshold of 1); their mean.
fn huber(x: &Tensor) -> Result<Tensor> {
    let size = x.abs()?;
    let inside = size.clamp(0f32, 1f32)?;
    // Inside: x^2 / 2; outside: |x| - 1/2.
    ((&inside * &size)? - (inside.sqr()? * 0.5)?)?.mean_all()
}

impl Trained {
    fn new(operation: &Operation, weight: &Tensor, bias: &Tensor, x: Quantization) -> Result<Self> {
        let channels = output_dimension(operation);
        let largest = weight.abs()?.transpose(0, channels)?.flatten_from(1)?.max(D::Minus1)?;
        // A channel without weights has nothing to learn but its bias.
        let units = largest.eq(0f32)?.where_cond(&largest.ones_like()?, &largest)?;
        let [low, high] = x.range();
        let inverse = units.recip()?;
        Ok(Self {
            weight: Var::from_tensor(&scaled(weight, &inverse, channels)?)?,
            bias: Var::from_tensor(&((bias * inverse)? / f64::from(high - low))?)?,
            units,
            channels,
            x,
        })
    }

    /// Weight and bias, differentiable.
    fn now(&self) -> Result<[Tensor; 2]> {
        let [low, high] = self.x.range();
        let bias = ((self.bias.as_tensor() * &self.units)? * f64::from(high - low))?;
        Ok([scaled(self.weight.as_tensor(), &self.units, self.channels)?, bias])
    }

    /// The layer with the weights that integers will stand for. Biases are i32, and as good as exact.
    fn operation(&self, was: &Operation, per_channel: bool) -> Result<Operation> {
        let [weight, bias] = self.now()?;
        let rounded = self.rounded(was, &weight, &bias, per_channel)?;
        // The value is the rounded one, the gradient that of the weight.
        let weight = (&weight + (rounded - &weight)?.detach())?;
        Ok(match was {
            Operation::Convolution { config, .. } => Operation::Convolution { weight, bias, config: *config },
            _ => Operation::UpConvolution { weight, bias },
        })
    }

    /// What the weight's integers stand for.
    fn rounded(&self, was: &Operation, weight: &Tensor, bias: &Tensor, per_channel: bool) -> Result<Tensor> {
        let (weight, bias) = (weight.to_device(&Device::Cpu)?, bias.to_device(&Device::Cpu)?);
        let now = match was {
            Operation::Convolution { config, .. } => Operation::Convolution { weight, bias, config: *config },
            _ => Operation::UpConvolution { weight, bias },
        };
        let plain = Plain::of(&now)?;
        let values = plain.weight.flatten_all()?.to_vec1::<f32>()?;
        let stored = QuantizedWeight::new(&values, &plain.bias, self.x.scale, per_channel);
        let rounded = Tensor::from_vec(stored.dequantized(), plain.weight.shape(), &Device::Cpu)?;
        let rounded = match &now {
            Operation::UpConvolution { weight, .. } => {
                let (input, output, _, _) = weight.dims4()?;
                rounded.reshape((2, 2, output, input))?.permute((3, 2, 0, 1))?.contiguous()?
            }
            _ => rounded,
        };
        rounded.to_device(self.weight.device())
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "a test may fail by panic")]
mod tests {
    use candle_core::DType;

    use super::super::tests::{SETTINGS, apart, net, pictures, with_large_weights};
    use super::*;
    use crate::optimizer::{AdamWConfig, Optimizer};

    fn batch(graph: &Graph) -> (Tensor, Vec<Tensor>) {
        let [c, h, w] = graph.input_shape;
        let all = pictures();
        let x = Tensor::from_vec(all.concat(), (all.len(), c, h, w), &Device::Cpu).unwrap();
        let said = graph.run(&x).unwrap();
        (x, said)
    }

    fn student(calibrated: &Calibrated, kept: &BTreeSet<NodeId>) -> Student {
        calibrated.student(kept, &calibrated.variances(&pictures()).unwrap(), &Device::Cpu).unwrap()
    }

    /// What the student says before it has learnt anything is what the integers say, but for a rounding that falls otherwise here and there.
    #[test]
    fn a_student_says_what_integers_say() {
        for per_channel in [true, false] {
            let settings = Settings { correct_bias: false, per_channel, ..SETTINGS };
            let calibrated = Calibrated::new(&net(), &pictures(), settings).unwrap();
            let kept = BTreeSet::new();
            let (x, real) = batch(calibrated.graph());
            let student = student(&calibrated, &kept);
            let said = crate::elementwise::sigmoid(&student.forward(&x).unwrap()[0]).unwrap();
            let integers = calibrated.quantize(&kept).unwrap().run(&x).unwrap().remove(0);
            let mean = |a: &Tensor, b: &Tensor| {
                let apart = (a - b).unwrap().abs().unwrap().mean_all().unwrap();
                apart.to_dtype(DType::F64).unwrap().to_scalar::<f64>().unwrap()
            };
            let (near, far) = (mean(&said, &integers), mean(&real[0], &integers));
            assert!(near < far / 10.0, "{per_channel}: {near} {far}");
        }
    }

    #[test]
    fn what_was_learnt_is_nearer_to_the_teacher_as_integers() {
        // One scale for a tensor in which a few weights are large: the others are rounded coarsely.
        let settings = Settings { correct_bias: false, per_channel: false, equalise: false, ..SETTINGS };
        let teacher = with_large_weights(net());
        let kept = BTreeSet::new();
        let calibrated = Calibrated::new(&teacher, &pictures(), settings).unwrap();
        let before = apart(&teacher, &calibrated.quantize(&kept).unwrap());
        let student = student(&calibrated, &kept);
        let batch = [batch(&teacher)];
        let agreed = student.agreement(&batch).unwrap()[0];
        let variables = student.variables();
        assert_eq!(variables.len(), 10);
        let mut optimizer = Optimizer::new(variables, AdamWConfig { weight_decay: 0.0, ..Default::default() }).unwrap();
        for step in 0..100 {
            let [(x, said)] = &batch;
            let loss = student.loss(&student.forward(x).unwrap(), said).unwrap();
            optimizer.step(&loss.backward().unwrap(), 2e-3 * (1.0 - f64::from(step) / 100.0)).unwrap();
        }
        let now = student.agreement(&batch).unwrap()[0];
        assert!(1.0 - now < (1.0 - agreed) * 0.75, "{agreed} {now}");
        let after = apart(&teacher, &calibrated.tuned(&student).unwrap().quantize(&kept).unwrap());
        assert!(after < before, "{before} {after}");
    }

    #[test]
    fn far_values_count_by_their_size() {
        let x = Var::new(&[0.5f32, -0.5, 3.0, -3.0], &Device::Cpu).unwrap();
        let loss = huber(&x).unwrap();
        assert!((loss.to_scalar::<f32>().unwrap() - (0.125 + 2.5) / 2.0).abs() < 1e-6);
        let slope = loss.backward().unwrap().remove(&x).unwrap().to_vec1::<f32>().unwrap();
        assert_eq!(slope, [0.125, -0.125, 0.25, -0.25]);
    }

    #[test]
    fn what_is_kept_does_not_learn() {
        let calibrated = Calibrated::new(&net(), &pictures(), SETTINGS).unwrap();
        let first = calibrated.layers()[0];
        let student = student(&calibrated, &BTreeSet::from([first.node]));
        let names: Vec<String> = student.variables().into_iter().map(|(name, _)| name).collect();
        assert_eq!(names.len(), 8);
        assert!(!names.contains(&format!("{}.weight", first.node)));
        assert!(calibrated.variances(&[]).is_err());
        assert!(calibrated.student(&BTreeSet::new(), &[], &Device::Cpu).is_err());
    }
}
