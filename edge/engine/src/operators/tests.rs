//! Graphs with our operators give what they give without.
#![allow(clippy::unwrap_used)]

use proptest::prelude::*;
use tract_onnx::{
    prelude::TypedModel,
    tract_core::{
        internal::*,
        ops::{
            array::TypedConcat,
            cnn::{Conv, Deconv, KernelFormat, MaxPool, PaddingSpec, PoolSpec, SumPool},
            math,
            nn::{DataFormat, Reduce, Reducer, sigmoid},
        },
    },
};

use super::{Operator, Readers, know_readers, rewrite};

/// Numbers that depend on nothing but their place.
fn values(shape: &[usize], salt: u32) -> Tensor {
    let value = |i: u32| {
        let mut h = i.wrapping_mul(0x9E37_79B9) ^ salt.wrapping_mul(0x85EB_CA6B);
        h = (h ^ (h >> 15)).wrapping_mul(0x2C1B_3C6D);
        ((h ^ (h >> 12)) as f32 / u32::MAX as f32) * 2.0 - 1.0
    };
    let length = shape.iter().product::<usize>() as u32;
    Tensor::from_shape(shape, &(0..length).map(value).collect::<Vec<_>>()).unwrap()
}

/// A net that is built node by node; values are `[1, C, H, W]`.
struct Net {
    model: TypedModel,
    nodes: u32,
}

impl Net {
    fn new(shape: [usize; 4]) -> (Self, OutletId) {
        let mut model = TypedModel::default();
        let input = model.add_source("input", f32::fact(shape)).unwrap();
        (Self { model, nodes: 0 }, input)
    }

    fn name(&mut self) -> String {
        self.nodes += 1;
        format!("node{}", self.nodes)
    }

    /// Weights by which values keep their size, however deep the net: a clip behind a large value
    /// would leave an error of that value's size beside a small result.
    fn weights(&mut self, shape: &[usize], fan_in: usize, salt: u32) -> OutletId {
        let mut tensor = values(shape, salt);
        // Values drawn evenly from -1 to 1 have a variance of 1/3.
        let gain = (3.0 / fan_in as f32).sqrt();
        tensor.try_as_plain_ram_mut().unwrap().as_slice_mut::<f32>().unwrap().iter_mut().for_each(|w| *w *= gain);
        self.constant(tensor)
    }

    fn constant(&mut self, tensor: Tensor) -> OutletId {
        let name = self.name();
        self.model.add_const(name, tensor).unwrap()
    }

    fn wire(&mut self, op: impl Into<Box<dyn TypedOp>>, inputs: &[OutletId]) -> OutletId {
        let name = self.name();
        self.model.wire_node(name, op, inputs).unwrap()[0]
    }

    fn channels(&self, outlet: OutletId) -> usize {
        self.model.outlet_fact(outlet).unwrap().shape.as_concrete().unwrap()[1]
    }

    fn spec(&self, input: OutletId, channels: usize, kernel: usize, stride: usize, padding: PaddingSpec) -> PoolSpec {
        PoolSpec {
            data_format: DataFormat::NCHW,
            kernel_shape: tvec!(kernel, kernel),
            padding,
            dilations: None,
            strides: Some(tvec!(stride, stride)),
            input_channels: self.channels(input),
            output_channels: channels,
        }
    }

    fn convolution(&mut self, x: OutletId, channels: usize, kernel: usize, stride: usize, group: usize) -> OutletId {
        let pool_spec = self.spec(x, channels, kernel, stride, PaddingSpec::SameUpper);
        let inputs = self.channels(x) / group;
        let salt = self.nodes;
        let weight = self.weights(&[channels, inputs, kernel, kernel], inputs * kernel * kernel, salt);
        let bias = self.constant(values(&[channels], salt + 1));
        self.wire(Conv { pool_spec, kernel_fmt: KernelFormat::OIHW, group, q_params: None }, &[x, weight, bias])
    }

    fn up(&mut self, x: OutletId, channels: usize) -> OutletId {
        let pool_spec = self.spec(x, channels, 2, 2, PaddingSpec::Valid);
        let salt = self.nodes;
        let inputs = self.channels(x);
        let weight = self.weights(&[channels, inputs, 2, 2], inputs, salt);
        let bias = self.constant(values(&[channels], salt + 1));
        let op = Deconv { pool_spec, kernel_format: KernelFormat::OIHW, adjustments: tvec!(0, 0), group: 1 };
        self.wire(op, &[x, weight, bias])
    }

    fn number(&mut self, value: f32) -> OutletId {
        self.constant(Tensor::from_shape(&[1, 1, 1, 1], &[value]).unwrap())
    }

    fn relu(&mut self, x: OutletId) -> OutletId {
        let zero = self.number(0.0);
        self.wire(math::max(), &[x, zero])
    }

    fn relu6(&mut self, x: OutletId) -> OutletId {
        let (relu, six) = (self.relu(x), self.number(6.0));
        self.wire(math::min(), &[relu, six])
    }

    fn swish(&mut self, x: OutletId) -> OutletId {
        let gate = self.wire(sigmoid(), &[x]);
        self.wire(math::mul(), &[x, gate])
    }

    fn max_pool(&mut self, x: OutletId, kernel: usize, stride: usize) -> OutletId {
        let padding = PaddingSpec::Explicit(tvec!(1, 0), tvec!(0, 1));
        let pool_spec = self.spec(x, self.channels(x), kernel, stride, padding);
        self.wire(MaxPool { pool_spec, with_index_outputs: None }, &[x])
    }

    fn mean_pool(&mut self, x: OutletId, count_include_pad: bool) -> OutletId {
        let pool_spec = self.spec(x, self.channels(x), 3, 1, PaddingSpec::SameUpper);
        self.wire(SumPool { pool_spec, count_include_pad, normalize: true }, &[x])
    }

    fn global_average(&mut self, x: OutletId) -> OutletId {
        let pixels: usize = self.model.outlet_fact(x).unwrap().shape.as_concrete().unwrap()[2..].iter().product();
        let sum = self.wire(Reduce { axes: tvec!(2, 3), reducer: Reducer::Sum }, &[x]);
        let count = self.number(pixels as f32);
        self.wire(math::div(), &[sum, count])
    }

    fn join(&mut self, inputs: &[OutletId]) -> OutletId {
        self.wire(TypedConcat { axis: 1 }, inputs)
    }

    fn add(&mut self, a: OutletId, b: OutletId) -> OutletId {
        self.wire(math::add(), &[a, b])
    }

    /// Both ways give the same, and so many operators are ours.
    fn check(mut self, outputs: &[OutletId], ours: usize) {
        self.model.select_output_outlets(outputs).unwrap();
        let shape = self.model.input_fact(0).unwrap().shape.as_concrete().unwrap().to_vec();
        let rewritten = rewrite(&self.model).unwrap();
        // Turns of the layout are not counted.
        let names = rewritten.nodes().iter().map(|node| node.op.name());
        let counted = names.filter(|name| name.starts_with("Thorax") && !name.starts_with("ThoraxChannels")).count();
        assert_eq!(counted, ours, "{rewritten}");
        let plan = |model: TypedModel| {
            let mut model = model.into_optimized().unwrap();
            know_readers(&mut model).unwrap();
            model.into_runnable().unwrap()
        };
        let (own, tract) = (plan(rewritten), plan(self.model));
        // Three runs of the same plan, so that buffers are used again, with other values in them.
        for run in 0..3 {
            let x = || tvec!(values(&shape, 100 + run).into_tvalue());
            let (got, expected) = (own.run(x()).unwrap(), tract.run(x()).unwrap());
            assert_eq!(got.len(), expected.len());
            for (got, expected) in got.iter().zip(&expected) {
                got.close_enough(expected, Approximation::Approximate).unwrap();
            }
        }
    }
}

#[test]
fn activations_and_sums_are_taken_along() {
    let (mut net, x) = Net::new([1, 3, 21, 18]);
    let a = net.convolution(x, 20, 3, 2, 1);
    let a = net.relu6(a);
    let b = net.convolution(a, 20, 3, 1, 20);
    let b = net.swish(b);
    let b = net.convolution(b, 20, 1, 1, 1);
    // A shortcut that comes first, and one that comes later.
    let sum = net.add(a, b);
    let c = net.relu(sum);
    let d = net.convolution(c, 33, 3, 1, 1);
    let shortcut = net.convolution(c, 33, 1, 1, 1);
    let end = net.add(d, shortcut);
    let end = net.relu(end);
    net.check(&[end], 5);
}

#[test]
fn an_expansion_goes_with_its_depthwise_convolution() {
    let (mut net, x) = Net::new([1, 3, 20, 18]);
    let a = net.convolution(x, 8, 3, 2, 1);
    // An inverted residual block in two operators.
    let b = net.convolution(a, 48, 1, 1, 1);
    let b = net.relu6(b);
    let b = net.convolution(b, 48, 5, 1, 48);
    let b = net.relu6(b);
    let b = net.convolution(b, 8, 1, 1, 1);
    let sum = net.add(a, b);
    // An expansion that somebody else reads too stands by itself.
    let c = net.convolution(sum, 24, 1, 1, 1);
    let d = net.convolution(c, 24, 3, 1, 24);
    let end = net.add(c, d);
    // So does one whose value is added to another before it is filtered.
    let e = net.convolution(a, 24, 1, 1, 1);
    let e = net.add(e, c);
    let e = net.convolution(e, 24, 3, 2, 24);
    net.check(&[end, e], 7);
}

#[test]
fn a_value_that_others_need_is_not_taken_along() {
    let (mut net, x) = Net::new([1, 3, 12, 12]);
    let a = net.convolution(x, 8, 3, 1, 1);
    let b = net.relu(a);
    // An output of the graph, and a value with two readers.
    let c = net.convolution(b, 8, 3, 1, 1);
    let d = net.relu(c);
    let e = net.add(c, d);
    let twice = net.add(a, a);
    net.check(&[a, b, e, twice], 2);
}

#[test]
fn a_u_net_stays_inside() {
    let (mut net, x) = Net::new([1, 1, 32, 24]);
    let a = net.convolution(x, 16, 3, 1, 1);
    let a = net.relu(a);
    let b = net.wire(MaxPool { pool_spec: net.spec(a, 16, 2, 2, PaddingSpec::Valid), with_index_outputs: None }, &[a]);
    let b = net.convolution(b, 32, 3, 1, 1);
    let up = net.up(b, 16);
    let both = net.join(&[a, up]);
    // An attention map of one channel.
    let gate = net.convolution(both, 1, 1, 1, 1);
    let gate = net.wire(sigmoid(), &[gate]);
    let gated = net.wire(math::mul(), &[both, gate]);
    let end = net.convolution(gated, 3, 1, 1, 1);
    let end = net.wire(sigmoid(), &[end]);
    net.check(&[end], 8);
}

#[test]
fn pools_and_means() {
    let (mut net, x) = Net::new([1, 3, 17, 16]);
    let a = net.convolution(x, 19, 3, 1, 1);
    let largest = net.max_pool(a, 3, 2);
    let mean = net.mean_pool(a, false);
    let zeros = net.mean_pool(a, true);
    let global = net.global_average(mean);
    // Squeeze and excite.
    let gate = net.convolution(global, 19, 1, 1, 1);
    let gate = net.wire(sigmoid(), &[gate]);
    let excited = net.wire(math::mul(), &[zeros, gate]);
    net.check(&[largest, excited], 7);
}

#[test]
fn what_our_kernels_do_not_know_stays_tracts() {
    let (mut net, x) = Net::new([1, 6, 11, 11]);
    // Three groups, and a bias of one number for all.
    let grouped = net.convolution(x, 9, 3, 1, 3);
    let weight = net.constant(values(&[5, 9, 1, 1], 50));
    let bias = net.constant(tensor0(0.25f32));
    let pool_spec = net.spec(grouped, 5, 1, 1, PaddingSpec::Valid);
    let conv = Conv { pool_spec, kernel_fmt: KernelFormat::OIHW, group: 1, q_params: None };
    let end = net.wire(conv, &[grouped, weight, bias]);
    net.check(&[end], 1);
}

#[test]
fn what_others_read_has_memory_of_its_size() {
    let (mut net, x) = Net::new([1, 3, 16, 16]);
    let a = net.convolution(x, 32, 3, 1, 1);
    let b = net.convolution(a, 8, 3, 2, 1);
    // Three groups are tract's, an output is anybody's; the larger value of `a` is free by then.
    let c = net.convolution(b, 6, 1, 1, 1);
    let grouped = net.convolution(c, 6, 3, 1, 3);
    let d = net.convolution(b, 4, 1, 1, 1);
    let e = net.convolution(d, 4, 1, 1, 1);
    let mut model = net.model.clone();
    model.select_output_outlets(&[grouped, d, e]).unwrap();
    let mut model = rewrite(&model).unwrap().into_optimized().unwrap();
    know_readers(&mut model).unwrap();
    let mut readers = vec![];
    for node in model.nodes() {
        let Some(operator) = node.op_as::<Operator>() else { continue };
        let successors = model.outlet_successors(node.id.into());
        let ours = successors.iter().all(|user| model.node(user.node).op_is::<Operator>());
        let output = model.output_outlets().unwrap().contains(&node.id.into());
        assert_eq!(operator.readers == Readers::Ours, ours && !output, "{node}");
        readers.push(operator.readers);
    }
    assert!(readers.contains(&Readers::Ours) && readers.contains(&Readers::Anybody), "{model}");
    net.check(&[grouped, d, e], 5);
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(24))]

    /// Chains of nodes drawn at random, with joins and sums of what came before.
    #[test]
    fn any_net(choices in prop::collection::vec((0u8..11, 1usize..40, any::<prop::sample::Index>()), 1..12), side in 8usize..20) {
        let (mut net, x) = Net::new([1, 3, side, side]);
        let mut made = vec![x];
        for (kind, channels, index) in choices {
            let last = *made.last().unwrap();
            let shape = |net: &Net, outlet| net.model.outlet_fact(outlet).unwrap().shape.as_concrete().unwrap().to_vec();
            let other = *index.get(&made);
            let (a, b) = (shape(&net, last), shape(&net, other));
            let next = match kind {
                0 => net.convolution(last, channels, 3, 1, 1),
                1 => net.convolution(last, channels, 1, 1, 1),
                2 => net.convolution(last, a[1], 5, 1, a[1]),
                3 if a[2] > 4 => net.convolution(last, channels, 3, 2, 1),
                4 => net.relu(last),
                5 => net.relu6(last),
                6 => net.swish(last),
                7 if a[2] < 20 => net.up(last, channels),
                8 if a == b => net.add(last, other),
                9 if a[2..] == b[2..] && a[1] + b[1] < 200 => net.join(&[last, other]),
                10 if a[2] > 3 => net.max_pool(last, 2, 2),
                _ => net.mean_pool(last, false),
            };
            made.push(next);
        }
        let plan = |model: TypedModel| {
            let mut model = model.into_optimized().unwrap();
            know_readers(&mut model).unwrap();
            model.into_runnable().unwrap()
        };
        net.model.select_output_outlets(&made[made.len() - 1..]).unwrap();
        let own = plan(rewrite(&net.model).unwrap());
        // Of tract's way every value on the way is looked at too: the error of a sum is held against the
        // largest value that went into it, and a clip or a difference may leave but little of that.
        net.model.select_output_outlets(&made).unwrap();
        let tract = plan(net.model);
        let x = || tvec!(values(&[1, 3, side, side], 7).into_tvalue());
        let (got, expected) = (own.run(x()).unwrap(), tract.run(x()).unwrap());
        let numbers = |tensor: &Tensor| tensor.try_as_plain_ram().unwrap().as_slice::<f32>().unwrap().to_vec();
        let scale = expected.iter().flat_map(|value| numbers(value)).fold(1f32, |m, v| m.max(v.abs()));
        let (got, expected) = (numbers(&got[0]), numbers(expected.last().unwrap()));
        let worst = got.iter().zip(&expected).map(|(a, b)| (a - b).abs()).fold(0.0, f32::max);
        prop_assert!(worst <= 5e-5 * scale, "{} of {}", worst, scale);
    }
}

/// A graph of bytes with each of its operators, against ONNX Runtime (references/quantized_graph.py).
mod bytes {
    use super::*;
    use crate::graph::{Graph, Kernels};

    const GRAPH: &[u8] = include_bytes!("../../tests/references/quantized.onnx");

    fn values(bytes: &[u8]) -> Vec<f32> {
        bytes.as_chunks::<4>().0.iter().map(|bytes| f32::from_le_bytes(*bytes)).collect()
    }

    #[test]
    fn every_operator_on_bytes_answers_as_onnx_runtime() {
        let graph = Graph::read(GRAPH, &["masks", "features"], Kernels::Own).unwrap();
        let operators = graph.operators();
        let count = |name: &str| operators.iter().find(|(other, _)| other == name).map_or(0, |(_, count)| *count);
        assert_eq!(
            [
                count("ThoraxByteConvolution"),
                count("ThoraxBytePool"),
                count("ThoraxDepthToSpace"),
                count("ThoraxByteConcatenate"),
                // Two products and a sum; swish and two sigmoids.
                count("ThoraxByteCombination"),
                count("ThoraxByteTable"),
                // The layer in floating point.
                count("ThoraxConvolution"),
            ],
            [9, 1, 1, 1, 3, 3, 1],
            "{operators:?}"
        );
        let x = values(include_bytes!("../../tests/references/quantized_input.f32"));
        let expected = [
            values(include_bytes!("../../tests/references/quantized_masks.f32")),
            values(include_bytes!("../../tests/references/quantized_features.f32")),
        ];
        for _ in 0..2 {
            let got = graph.run(&[1, 3, 24, 20], &x).unwrap();
            for (index, ((_, got), expected)) in got.iter().zip(&expected).enumerate() {
                assert_eq!(got.len(), expected.len());
                let worst = got.iter().zip(expected).map(|(a, b)| (a - b).abs()).fold(0.0, f32::max);
                let other = got.iter().zip(expected).filter(|(a, b)| (*a - *b).abs() > 1e-6).count();
                // One unit of the logits (0.02, a quarter of it behind the sigmoid at most), and one of the mean (0.01).
                assert!(worst <= [0.0051, 0.0101][index], "output {index}: {worst}, {other} of {}", got.len());
                assert!(other * 100 <= got.len(), "output {index}: {other} of {} differ", got.len());
            }
        }
    }

    /// What would be computed in tract's way is told, not done.
    #[test]
    fn bytes_that_our_kernels_do_not_know_are_an_error() {
        let mut model = TypedModel::default();
        let x = model.add_source("input", u8::fact([1, 4, 8, 8])).unwrap();
        let y = model.wire_node("sum", math::add(), &[x, x]).unwrap();
        model.select_output_outlets(&y).unwrap();
        let error = rewrite(&model).unwrap_err().to_string();
        assert!(error.contains("sum") && error.contains("kernels do not know"), "{error}");
    }
}
