//! A graph as tract reads it, with our operators in it.
//!
//! The graph is told again node by node, in the order in which it is carried out. What our kernels can do they do, on
//! values with the channels inside, and a convolution takes the sum and the activation behind it along. Whatever works value
//! by value goes on in the layout it finds. Every other node is told as it was. A value is turned round at most once each way,
//! when somebody asks for it in a layout that it does not have yet.

use std::{
    collections::{HashMap, HashSet},
    sync::Arc,
};

use thorax_kernels::{
    channels_last::{PackedConvolution, PackedUpConvolution, Pool, PoolKind},
    convolution::{Activation, Convolution, Padding},
};
use tract_onnx::{
    prelude::TypedModel,
    tract_core::{
        internal::*,
        ops::{
            array::TypedConcat,
            binary::{BinMiniOp, TypedBinOp},
            cnn::{Conv, Deconv, KernelFormat, MaxPool, PoolSpec, SumPool},
            element_wise::ElementWiseOp,
            math::{Add, Div, Max, Min, Mul},
            nn::{DataFormat, Reduce, Reducer, Sigmoid},
            source::TypedSource,
        },
    },
};

use super::{
    Operator,
    buffers::Buffers,
    kernels::{self, Kernel},
};

/// `graph`, which has been read and typed but not yet optimized, with our operators.
pub(crate) fn rewrite(graph: &TypedModel) -> TractResult<TypedModel> {
    let mut rewriter = Rewriter {
        graph,
        target: TypedModel { symbols: graph.symbols.clone(), ..TypedModel::default() },
        places: HashMap::new(),
        constants: HashMap::new(),
        taken: HashSet::new(),
        buffers: Buffers::default(),
    };
    for node in graph.eval_order()? {
        rewriter.node(node)?;
    }
    let outputs = graph.output_outlets()?.iter().map(|&outlet| rewriter.outside(outlet));
    let outputs = outputs.collect::<TractResult<Vec<_>>>()?;
    let labels = graph.output_outlets()?.iter().map(|outlet| graph.outlet_label(*outlet).map(str::to_owned));
    let labels: Vec<Option<String>> = labels.collect();
    let mut target = rewriter.target;
    target.select_output_outlets(&outputs)?;
    for (outlet, label) in outputs.into_iter().zip(labels) {
        if let Some(label) = label {
            target.set_outlet_label(outlet, label)?;
        }
    }
    Ok(target)
}

/// Where a value of the old graph is in the new one.
#[derive(Clone, Copy, Default)]
struct Places {
    /// `[N, C, H, W]`, or whatever it was.
    outside: Option<OutletId>,
    /// `[N, H, W, C]`.
    inside: Option<OutletId>,
}

struct Rewriter<'a> {
    graph: &'a TypedModel,
    target: TypedModel,
    places: HashMap<OutletId, Places>,
    constants: HashMap<OutletId, Arc<Tensor>>,
    /// Nodes that another has taken along.
    taken: HashSet<usize>,
    buffers: Buffers,
}

/// `[N, C, H, W]` of a value whose sizes are known.
fn sides(fact: &TypedFact) -> Option<[usize; 4]> {
    let shape = fact.shape.as_concrete()?;
    (fact.datum_type == f32::datum_type()).then_some(())?;
    shape.try_into().ok()
}

fn inside_of([n, c, h, w]: [usize; 4]) -> [usize; 4] {
    [n, h, w, c]
}

fn is<T: BinMiniOp>(op: &dyn TypedOp) -> bool {
    op.downcast_ref::<TypedBinOp>().is_some_and(|op| op.0.is::<T>())
}

impl Rewriter<'_> {
    fn node(&mut self, id: usize) -> TractResult<()> {
        let node = self.graph.node(id);
        if self.taken.contains(&id) || self.constant(id.into()).is_some() {
            return Ok(());
        }
        if let Some(source) = node.op_as::<TypedSource>() {
            let outlet = self.target.add_source(&node.name, source.fact.clone())?;
            self.places.entry(id.into()).or_default().outside = Some(outlet);
            return Ok(());
        }
        let op: &dyn TypedOp = node.op.as_ref();
        let done = if let Some(op) = op.downcast_ref::<Conv>() {
            self.convolution(node, op)?
        } else if let Some(op) = op.downcast_ref::<Deconv>() {
            self.up_convolution(node, op)?
        } else if let Some(op) = op.downcast_ref::<MaxPool>() {
            op.with_index_outputs.is_none() && self.pool(node, &op.pool_spec, PoolKind::Largest)?
        } else if let Some(op) = op.downcast_ref::<SumPool>().filter(|op| op.normalize) {
            let kind = if op.count_include_pad { PoolKind::MeanWithPadding } else { PoolKind::Mean };
            self.pool(node, &op.pool_spec, kind)?
        } else if let Some(op) = op.downcast_ref::<Reduce>() {
            self.global_average(node, op)?
        } else if let Some(op) = op.downcast_ref::<TypedConcat>() {
            self.concatenate(node, op)?
        } else if op.is::<TypedBinOp>() || op.is::<ElementWiseOp>() {
            self.value_by_value(node)?
        } else {
            false
        };
        if !done {
            let inputs = node.inputs.iter().map(|&input| self.outside(input)).collect::<TractResult<TVec<_>>>()?;
            let outlets = self.target.wire_node(&node.name, node.op.clone(), &inputs)?;
            for (slot, outlet) in outlets.into_iter().enumerate() {
                self.places.entry(OutletId::new(id, slot)).or_default().outside = Some(outlet);
            }
        }
        Ok(())
    }

    /// The value of `outlet`, if it depends on nothing that comes in.
    fn constant(&mut self, outlet: OutletId) -> Option<Arc<Tensor>> {
        if let Some(found) = self.constants.get(&outlet) {
            return Some(found.clone());
        }
        let node = self.graph.node(outlet.node);
        let known = self.graph.outlet_fact(outlet).ok().and_then(|fact| fact.konst.clone());
        let value = match known {
            Some(value) => value,
            None if node.inputs.is_empty() => return None,
            None => {
                let inputs = node.inputs.iter().map(|&input| self.constant(input).map(IntoTValue::into_tvalue));
                let inputs: TVec<TValue> = inputs.collect::<Option<_>>()?;
                node.op.eval_out_of_plan(inputs).ok()??.into_iter().nth(outlet.slot)?.into_arc_tensor()
            }
        };
        self.constants.insert(outlet, value.clone());
        Some(value)
    }

    /// The values of a constant of f32.
    fn numbers(&mut self, outlet: OutletId) -> Option<Vec<f32>> {
        let tensor = self.constant(outlet)?;
        Some(tensor.try_as_plain_ram().ok()?.as_slice::<f32>().ok()?.to_vec())
    }

    /// The one number of a constant.
    fn number(&mut self, outlet: OutletId) -> Option<f32> {
        self.numbers(outlet).filter(|numbers| numbers.len() == 1).map(|numbers| numbers[0])
    }

    /// `outlet` as the old graph has it.
    fn outside(&mut self, outlet: OutletId) -> TractResult<OutletId> {
        let places = self.places.get(&outlet).copied().unwrap_or_default();
        if let Some(outside) = places.outside {
            return Ok(outside);
        }
        let name = format!("{}.{}", self.graph.node(outlet.node).name, outlet.slot);
        let place = match places.inside {
            Some(inside) => self.target.wire_node(format!("{name}.outside"), AxisOp::Move(3, 1), &[inside])?[0],
            None => {
                let value = self.constant(outlet).with_context(|| format!("{name} is used before it is made"))?;
                self.target.add_const(name, value)?
            }
        };
        self.places.entry(outlet).or_default().outside = Some(place);
        Ok(place)
    }

    /// `outlet` with the channels inside.
    fn inside(&mut self, outlet: OutletId) -> TractResult<OutletId> {
        let places = self.places.get(&outlet).copied().unwrap_or_default();
        if let Some(inside) = places.inside {
            return Ok(inside);
        }
        let name = format!("{}.{}.inside", self.graph.node(outlet.node).name, outlet.slot);
        let place = match self.constant(outlet) {
            Some(value) => self.target.add_const(name, value.into_tensor().move_axis(1, 3)?)?,
            None => {
                let outside = self.outside(outlet)?;
                self.target.wire_node(name, AxisOp::Move(1, 3), &[outside])?[0]
            }
        };
        self.places.entry(outlet).or_default().inside = Some(place);
        Ok(place)
    }

    fn is_inside(&self, outlet: OutletId) -> bool {
        self.places.get(&outlet).is_some_and(|places| places.inside.is_some())
    }

    /// Puts `kernel` where `node` was; the value is that of `outlet`, `[N, C, H, W]`.
    fn put(
        &mut self,
        node: &TypedNode,
        kernel: Arc<dyn Kernel>,
        inputs: &[OutletId],
        outlet: OutletId,
    ) -> TractResult<bool> {
        let shape = sides(self.graph.outlet_fact(outlet)?).context("a shape that is known")?;
        let shape: TVec<usize> = inside_of(shape).into();
        let operator = Operator { kernel, output: f32::fact(&shape), shape, buffers: self.buffers.clone() };
        let place = self.target.wire_node(&node.name, operator, inputs)?[0];
        self.places.entry(outlet).or_default().inside = Some(place);
        Ok(true)
    }

    /// The only node that uses `outlet`, which is no output.
    fn only_user(&self, outlet: OutletId) -> TractResult<Option<usize>> {
        let users = self.graph.outlet_successors(outlet);
        let is_output = self.graph.output_outlets()?.contains(&outlet);
        Ok(users.first().filter(|_| users.len() == 1 && !is_output).map(|user| user.node))
    }

    /// The sizes of a window over `[N, C, H, W]`, if our kernels know such.
    fn window(spec: &PoolSpec, [_, channels, height, width]: [usize; 4], channels_out: usize) -> Option<Convolution> {
        let (strides, dilations) = (spec.strides(), spec.dilations());
        let ([stride, across], [dilation, sideways]) = (&*strides, &*dilations) else { return None };
        (spec.data_format == DataFormat::NCHW && stride == across && dilation == sideways).then_some(())?;
        let padding = spec.computed_padding(&[height, width]);
        let geometry = Convolution {
            batch: 1,
            channels_in: channels,
            channels_out,
            height,
            width,
            kernel_height: spec.kernel_shape[0],
            kernel_width: spec.kernel_shape[1],
            stride: *stride,
            dilation: *dilation,
            padding: Padding {
                top: padding[0].pad_before,
                left: padding[1].pad_before,
                bottom: padding[0].pad_after,
                right: padding[1].pad_after,
            },
            groups: 1,
        };
        geometry.check().ok()?;
        // A window that reaches beyond the padded input is another thing.
        let sizes = [geometry.height_out(), geometry.width_out()];
        (sizes == [padding[0].convoluted, padding[1].convoluted]).then_some(geometry)
    }

    /// The bias of a convolution, a number a channel.
    fn bias(&mut self, outlet: OutletId, channels: usize) -> Option<Vec<f32>> {
        let bias = self.numbers(outlet)?;
        match bias.len() {
            1 => Some(vec![bias[0]; channels]),
            length => (length == channels).then_some(bias),
        }
    }

    fn convolution(&mut self, node: &TypedNode, op: &Conv) -> TractResult<bool> {
        let Some(shape) = sides(self.graph.outlet_fact(node.inputs[0])?) else { return Ok(false) };
        if op.q_params.is_some() || op.kernel_fmt != KernelFormat::OIHW {
            return Ok(false);
        }
        let Some(geometry) = Self::window(&op.pool_spec, shape, op.output_channels()) else { return Ok(false) };
        let geometry = Convolution { groups: op.group, ..geometry };
        let weight = self.numbers(node.inputs[1]);
        let bias = self.bias(node.inputs[2], geometry.channels_out);
        let (Some(weight), Some(bias)) = (weight, bias) else { return Ok(false) };
        let (taken, add, activation, outlet) = self.tail(node.id.into())?;
        let Ok(packed) = PackedConvolution::new(&geometry, &weight, Some(&bias), activation) else { return Ok(false) };
        let mut inputs = tvec!(self.inside(node.inputs[0])?);
        if let Some(add) = add {
            inputs.push(self.inside(add)?);
        }
        self.taken.extend(taken);
        self.put(node, Arc::new(kernels::Convolution { packed }), &inputs, outlet)
    }

    /// What a convolution whose value is `outlet` can do on the way: the nodes, the other summand, the activation, and whose value comes out.
    fn tail(&mut self, mut outlet: OutletId) -> TractResult<(Vec<usize>, Option<OutletId>, Activation, OutletId)> {
        let (mut taken, mut add) = (vec![], None);
        if let Some(user) = self.only_user(outlet)? {
            let next = self.graph.node(user);
            if is::<Add>(next.op.as_ref()) {
                let other = if next.inputs[0] == outlet { next.inputs[1] } else { next.inputs[0] };
                let same = self.graph.outlet_fact(other)?.shape == self.graph.outlet_fact(outlet)?.shape;
                // It must be there by now; if it comes later, it takes this value along itself.
                let there = self.places.contains_key(&other) || self.constant(other).is_some();
                if same && there && other != outlet {
                    add = Some(other);
                    taken.push(user);
                    outlet = user.into();
                }
            }
        }
        let (nodes, activation) = self.activation(outlet)?;
        if let Some(&last) = nodes.last() {
            outlet = last.into();
        }
        taken.extend(nodes);
        Ok((taken, add, activation, outlet))
    }

    /// The activation that is all that becomes of `outlet`, and its nodes.
    fn activation(&mut self, outlet: OutletId) -> TractResult<(Vec<usize>, Activation)> {
        // x * sigmoid(x).
        let users: Vec<usize> = self.graph.outlet_successors(outlet).iter().map(|user| user.node).collect();
        if let [a, b] = users[..]
            && !self.graph.output_outlets()?.contains(&outlet)
        {
            for (sigmoid, product) in [(a, b), (b, a)] {
                let is_sigmoid =
                    self.graph.node(sigmoid).op_as::<ElementWiseOp>().is_some_and(|op| op.0.is::<Sigmoid>());
                if is_sigmoid
                    && is::<Mul>(self.graph.node(product).op.as_ref())
                    && self.only_user(sigmoid.into())? == Some(product)
                {
                    return Ok((vec![sigmoid, product], Activation::Swish));
                }
            }
        }
        let Some(relu) = self.bound::<Max>(outlet, 0.0)? else { return Ok((vec![], Activation::None)) };
        Ok(match self.bound::<Min>(relu.into(), 6.0)? {
            Some(limit) => (vec![relu, limit], Activation::Relu6),
            None => (vec![relu], Activation::Relu),
        })
    }

    /// The only user of `outlet`, if it is the larger or smaller (`T`) of it and `number`.
    fn bound<T: BinMiniOp>(&mut self, outlet: OutletId, number: f32) -> TractResult<Option<usize>> {
        let Some(user) = self.only_user(outlet)? else { return Ok(None) };
        let next = self.graph.node(user);
        if !is::<T>(next.op.as_ref()) {
            return Ok(None);
        }
        let other = if next.inputs[0] == outlet { next.inputs[1] } else { next.inputs[0] };
        Ok((self.number(other) == Some(number)).then_some(user))
    }

    fn up_convolution(&mut self, node: &TypedNode, op: &Deconv) -> TractResult<bool> {
        let spec = &op.pool_spec;
        let doubles = op.group == 1
            && op.kernel_format == KernelFormat::OIHW
            && spec.data_format == DataFormat::NCHW
            && *spec.kernel_shape == [2, 2]
            && *spec.strides() == [2, 2]
            && *spec.dilations() == [1, 1]
            && op.adjustments.iter().all(|&adjustment| adjustment == 0);
        let input = sides(self.graph.outlet_fact(node.inputs[0])?);
        let output = sides(self.graph.outlet_fact(node.id.into())?);
        let (true, Some([_, channels_in, height, width]), Some([_, channels_out, height_out, width_out])) =
            (doubles, input, output)
        else {
            return Ok(false);
        };
        if [height_out, width_out] != [2 * height, 2 * width] {
            return Ok(false);
        }
        let (weight, bias) = (self.numbers(node.inputs[1]), self.bias(node.inputs[2], channels_out));
        let (Some(weight), Some(bias)) = (weight, bias) else { return Ok(false) };
        // tract keeps `[C_out, C_in, 2, 2]`.
        let mut turned = vec![0.0; weight.len()];
        for (index, taps) in weight.chunks_exact(4).enumerate() {
            let (channel_out, channel_in) = (index / channels_in, index % channels_in);
            turned[(channel_in * channels_out + channel_out) * 4..][..4].copy_from_slice(taps);
        }
        let packed = PackedUpConvolution::new([channels_in, channels_out], &turned, Some(&bias))?;
        let input = self.inside(node.inputs[0])?;
        self.put(node, Arc::new(kernels::UpConvolution { packed }), &[input], node.id.into())
    }

    fn pool(&mut self, node: &TypedNode, spec: &PoolSpec, kind: PoolKind) -> TractResult<bool> {
        let Some(shape) = sides(self.graph.outlet_fact(node.inputs[0])?) else { return Ok(false) };
        let Some(geometry) = Self::window(spec, shape, shape[1]) else { return Ok(false) };
        let input = self.inside(node.inputs[0])?;
        let kernel = kernels::Windows { pool: Pool { geometry, kind } };
        self.put(node, Arc::new(kernel), &[input], node.id.into())
    }

    /// A sum over all pixels that is then divided by their number, as ONNX's GlobalAveragePool is read.
    fn global_average(&mut self, node: &TypedNode, op: &Reduce) -> TractResult<bool> {
        let Some([_, channels, height, width]) = sides(self.graph.outlet_fact(node.inputs[0])?) else {
            return Ok(false);
        };
        if op.reducer != Reducer::Sum || *op.axes != [2, 3] || !self.is_inside(node.inputs[0]) {
            return Ok(false);
        }
        let Some(user) = self.only_user(node.id.into())? else { return Ok(false) };
        let next = self.graph.node(user);
        let divides = is::<Div>(next.op.as_ref()) && next.inputs[0] == node.id.into();
        if !divides || self.number(next.inputs[1]) != Some((height * width) as f32) {
            return Ok(false);
        }
        let input = self.inside(node.inputs[0])?;
        self.taken.insert(user);
        let kernel = kernels::GlobalAverage { pixels: height * width, channels };
        self.put(node, Arc::new(kernel), &[input], user.into())
    }

    fn concatenate(&mut self, node: &TypedNode, op: &TypedConcat) -> TractResult<bool> {
        let facts = node.inputs.iter().map(|&input| self.graph.outlet_fact(input).map(sides));
        let facts = facts.collect::<TractResult<Option<Vec<_>>>>()?;
        let (1, Some(shapes)) = (op.axis, facts) else { return Ok(false) };
        if !node.inputs.iter().any(|&input| self.is_inside(input)) {
            return Ok(false);
        }
        let inputs = node.inputs.iter().map(|&input| self.inside(input)).collect::<TractResult<Vec<_>>>()?;
        let channels = shapes.into_iter().map(|[_, channels, _, _]| channels).collect();
        self.put(node, Arc::new(kernels::Concatenate { channels }), &inputs, node.id.into())
    }

    /// An operator that is the same in any layout, on values of which one has its channels inside.
    fn value_by_value(&mut self, node: &TypedNode) -> TractResult<bool> {
        let four = |outlet: &OutletId| self.graph.outlet_fact(*outlet).is_ok_and(|fact| sides(fact).is_some());
        if !node.inputs.iter().all(four) || !node.inputs.iter().any(|&input| self.is_inside(input)) {
            return Ok(false);
        }
        let inputs = node.inputs.iter().map(|&input| self.inside(input)).collect::<TractResult<TVec<_>>>()?;
        let place = self.target.wire_node(&node.name, node.op.clone(), &inputs)?[0];
        self.places.entry(node.id.into()).or_default().inside = Some(place);
        Ok(true)
    }
}
