//! Both readings of every description against each other, and the gradients of a net made of every kind of layer.
#![allow(clippy::unwrap_used)]

use candle_core::{DType, Device, Tensor, Var};
use thorax_nn::{graph::Operation, pool::PoolConfig, seeded};

use super::{
    architecture::{
        Activation, Architecture, Border, Convolution, Folding, Kind, Layer, Role, StepId, UpConvolution, Weights,
    },
    backbones::Backbone,
    network::{Network, Pass},
};

fn worst_relative(got: &Tensor, expected: &Tensor) -> f32 {
    assert_eq!(got.dims(), expected.dims());
    let largest = |t: &Tensor| t.abs().unwrap().flatten_all().unwrap().max(0).unwrap().to_scalar::<f32>().unwrap();
    largest(&(got - expected).unwrap()) / largest(expected)
}

/// Weights whose batch norms do something, so that folding them is tested.
fn draw(architecture: &Architecture) -> Weights {
    let draw = |(index, parameter): (usize, super::architecture::Parameter)| {
        let normal = |std: f32| seeded::normal(parameter.shape.as_slice(), std, index as u64, &Device::Cpu).unwrap();
        let tensor = match parameter.role {
            Role::UpKernel => normal((1.5 / parameter.shape[0] as f32).sqrt()),
            Role::Kernel | Role::Matrix => normal((1.5 / parameter.shape[1..].iter().product::<usize>() as f32).sqrt()),
            Role::Bias | Role::Shift | Role::Mean => normal(0.1),
            Role::Scale => (normal(0.1) + 0.8).unwrap(),
            Role::Variance => (normal(0.1).abs().unwrap() + 0.9).unwrap(),
        };
        (parameter.name(), tensor)
    };
    architecture.parameters().into_iter().enumerate().map(draw).collect()
}

/// The same net, frozen.
fn frozen(net: &Architecture) -> Architecture {
    let mut frozen = Architecture::new(net.channels(0), 0.0, Folding::Quotient);
    let maps = frozen.freeze(0, "", net.clone());
    maps.into_iter().for_each(|(name, step)| frozen.name_map(name, step));
    frozen
}

#[test]
fn the_graph_computes_what_the_net_computes() {
    for backbone in Backbone::ALL {
        // The larger ones differ from B0 in their numbers only, and drawing their weights takes long.
        let layouts = match backbone {
            Backbone::EfficientNetB(1..) => &backbone.layouts()[..1],
            _ => backbone.layouts(),
        };
        for layout in layouts {
            let architecture = backbone.architecture(*layout);
            let weights = draw(&architecture);
            let side = if backbone == Backbone::InceptionResNetV2 { 80 } else { 40 };
            let x = seeded::normal((1, 3, side, side), 1.0, 2, &Device::Cpu).unwrap();
            let (mut graph, maps) = architecture.graph(weights.clone(), side).unwrap();
            graph.outputs = maps.iter().map(|(name, node)| ((*name).to_owned(), *node)).collect();
            let from_graph = graph.run(&x).unwrap();
            for net in [frozen(&architecture), architecture] {
                let first = net.steps()[1].frozen;
                let from_net = Network::new(net, weights.clone()).unwrap().forward(&x, Pass::Infer).unwrap();
                for ((name, _), expected) in maps.iter().zip(&from_graph) {
                    let worst = worst_relative(&from_net[name][0], expected);
                    assert!(worst < 2e-5, "{backbone} of {layout}, {name}, frozen {first}: {worst}");
                }
            }
        }
    }
}

/// Every kind of layer and activation on an 11 x 9 picture.
fn tiny() -> Architecture {
    let mut net = Architecture::new(3, 1e-3, Folding::Reciprocal);
    let layer = |net: &mut Architecture, input: StepId, name: &str, out, kernel, activation| {
        let norm = Some(net.norm(format!("{name}.bn"), name != "c"));
        let convolution = Convolution { norm, activation, ..Convolution::new(name, net.channels(input), out, kernel) };
        net.convolution(input, convolution)
    };
    let a = layer(&mut net, 0, "a", 6, [3, 3], Activation::Swish);
    net.name_map("stride2", a);
    let b = Convolution {
        stride: 2,
        border: Border::Same,
        groups: 6,
        biased: true,
        norm: Some(net.norm("b.bn", true)),
        activation: Activation::Relu6,
        ..Convolution::new("b", 6, 6, [3, 3])
    };
    let b = net.convolution(a, b);
    let mean = net.push(Layer::GlobalAveragePool, &[b]);
    let point = |name: &str, from, to, activation| Convolution {
        biased: true,
        activation,
        ..Convolution::new(name, from, to, [1, 1])
    };
    let gate = net.convolution(mean, point("squeeze", 6, 2, Activation::Swish));
    let gate = net.convolution(gate, point("excite", 2, 6, Activation::Sigmoid));
    let gated = net.push(Layer::Multiply, &[b, gate]);
    let c = layer(&mut net, gated, "c", 4, [1, 3], Activation::Relu);
    let d = layer(&mut net, gated, "d", 4, [3, 1], Activation::None);
    let around = PoolConfig { kernel: 3, stride: 1, padding: 1, ceil_mode: false };
    let e = net.push(Layer::AveragePool(around), &[gated]);
    let branches = net.push(Layer::Concatenate, &[c, d, e]);
    let up = net.convolution(branches, Convolution { factor: 0.3, ..point("up", 14, 6, Activation::None) });
    let sum = net.push(Layer::Add(Activation::Relu), &[up, gated]);
    let pooled = net.push(Layer::MaxPool(PoolConfig { kernel: 3, stride: 2, padding: 0, ceil_mode: false }), &[sum]);
    let last = layer(&mut net, pooled, "f", 5, [1, 1], Activation::None);
    let last = net.push(Layer::Add(Activation::None), &[last, last]);
    net.name_map("features", last);
    let up = UpConvolution { name: "grow".into(), channels_in: 5, channels_out: 4 };
    let up = net.push(Layer::UpConvolution(up), &[last]);
    let norm = net.norm("n", true);
    let up = net.push(Layer::Norm(norm), &[up]);
    let up = net.push(Layer::Dropout { probability: 0.3, stream: 1 }, &[up]);
    let attention = net.convolution(up, point("attention", 4, 1, Activation::Sigmoid));
    let attended = net.push(Layer::Attend, &[up, attention]);
    let first = net.convolution(attended, point("first", 4, 2, Activation::None));
    net.tell_last(first);
    let both = net.push(Layer::Concatenate, &[up, attended]);
    let both = net.push(Layer::Concatenate, &[both, up]);
    let second = net.convolution(both, point("second", 12, 2, Activation::None));
    net.output("logits", Kind::Heads, vec![first, second]);
    net
}

#[test]
fn heads_are_one_mean_in_the_graph_and_concatenations_one() {
    let architecture = tiny();
    let weights = draw(&architecture);
    let x = seeded::normal((2, 3, 12, 12), 1.0, 3, &Device::Cpu).unwrap();
    let (graph, outputs) = architecture.graph(weights.clone(), 12).unwrap();
    assert_eq!(outputs.iter().map(|(name, _)| *name).collect::<Vec<_>>(), ["stride2", "features", "logits"]);
    let wide = |operation: &Operation| matches!(operation, Operation::Concatenate);
    let inputs: Vec<_> = graph.nodes.iter().filter(|n| wide(&n.operation)).map(|n| n.inputs.len()).collect();
    assert_eq!(inputs, [3, 3]);
    let heads =
        Network::new(architecture, weights).unwrap().forward(&x, Pass::Infer).unwrap().remove("logits").unwrap();
    let mean = ((&heads[0] + &heads[1]).unwrap() / 2.0).unwrap();
    assert!(worst_relative(&graph.run(&x).unwrap()[0], &mean) < 1e-5);
}

/// A weighted sum of all maps, so that no gradient cancels.
fn loss(net: &Network, x: &Tensor, pass: Pass) -> Tensor {
    let maps = net.forward(x, pass).unwrap();
    let weighed = maps.values().flatten().enumerate().map(|(index, map)| {
        let weights = seeded::normal(map.shape(), 1.0, 90 + index as u64, &Device::Cpu).unwrap();
        (map * weights).unwrap().sum_all().unwrap()
    });
    weighed.reduce(|a, b| (a + b).unwrap()).unwrap()
}

#[test]
fn gradients_are_the_slopes() {
    for pass in [Pass::Train { seed: 0 }, Pass::Infer] {
        let architecture = tiny();
        let net = Network::new(architecture.clone(), draw(&architecture)).unwrap();
        let x = Var::from_tensor(&seeded::normal((2, 3, 11, 9), 1.0, 3, &Device::Cpu).unwrap()).unwrap();
        let gradients = loss(&net, &x, pass).backward().unwrap();
        let mut variables = net.trainable();
        variables.push(("picture".into(), x.clone()));
        for (index, (name, var)) in variables.into_iter().enumerate() {
            let gradient = gradients.get(&var).unwrap().clone();
            let start = var.as_tensor().copy().unwrap();
            let direction = seeded::normal(var.shape(), 1.0, 200 + index as u64, &Device::Cpu).unwrap();
            let expected = (gradient * &direction).unwrap().sum_all().unwrap().to_scalar::<f32>().unwrap();
            // A large step may cross a kink, a small one drowns in f32's rounding: one of them has to agree.
            let slope = |step: f64| {
                let at = |step: f64| {
                    var.set(&(&start + (&direction * step).unwrap()).unwrap()).unwrap();
                    f64::from(loss(&net, &x, pass).to_scalar::<f32>().unwrap())
                };
                (at(step) - at(-step)) / (2.0 * step)
            };
            let slopes = [3e-2, 1e-2, 3e-3, 1e-3, 3e-4].map(slope);
            var.set(&start).unwrap();
            let scale = f64::from(expected).abs().max(1.0);
            let worst = slopes.map(|slope| (slope - f64::from(expected)).abs() / scale).into_iter().fold(9.0, f64::min);
            // In training a bias before a batch norm has no effect: its slope is zero, and so must be its gradient.
            assert!(worst < 1e-2, "{pass:?} {name}: gradient {expected}, slopes {slopes:?}");
        }
    }
}

#[test]
fn a_frozen_net_takes_no_gradient_and_training_moves_the_statistics() {
    let architecture = tiny();
    let net = Network::new(architecture.clone(), draw(&architecture)).unwrap();
    let x = Var::from_tensor(&seeded::normal((2, 3, 11, 9), 1.0, 3, &Device::Cpu).unwrap()).unwrap();
    let head = Var::ones((), DType::F32, &Device::Cpu).unwrap();
    let still = Network::new(frozen(&architecture), draw(&architecture)).unwrap();
    assert!(still.trainable().is_empty());
    let frozen = (loss(&still, &x, Pass::Train { seed: 0 }) * head.as_tensor()).unwrap().backward().unwrap();
    assert!(frozen.get(&head).is_some());
    assert!(frozen.get(&x).is_none());
    assert!(still.variables().iter().all(|(_, var)| frozen.get(var).is_none()));

    let before = net.weights().unwrap();
    net.forward(&x, Pass::Infer).unwrap();
    let flat = |t: &Tensor| t.flatten_all().unwrap().to_vec1::<f32>().unwrap();
    let same = |name: &String| flat(&before[name]) == flat(&net.weights().unwrap()[name]);
    assert!(before.keys().all(same));
    net.forward(&x, Pass::Train { seed: 0 }).unwrap();
    for name in before.keys() {
        assert_eq!(same(name), !name.contains("running"), "{name}");
    }
}

#[test]
fn variables_are_the_parameters_by_name() {
    let architecture = tiny();
    let net = Network::new(architecture.clone(), draw(&architecture)).unwrap();
    let described: Vec<_> = architecture.parameters().iter().map(|p| (p.name(), p.shape.clone())).collect();
    let variables: Vec<_> = net.variables().iter().map(|(name, var)| (name.clone(), var.dims().to_vec())).collect();
    assert_eq!(described, variables);
    let moved: Vec<_> = architecture.parameters().iter().filter(|p| p.is_trainable()).map(|p| p.name()).collect();
    assert_eq!(moved, net.trainable().into_iter().map(|(name, _)| name).collect::<Vec<_>>());
}
