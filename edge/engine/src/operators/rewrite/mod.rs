//! A graph as tract reads it, with our operators in it.
//!
//! The graph is told again node by node, in the order in which it is carried out. What our kernels can do they do, on
//! values with the channels inside, and a convolution takes the sum and the activation behind it along. Whatever works value
//! by value goes on in the layout it finds. What a quantized graph computes in bytes our kernels compute in bytes, or it is an error. Every other node is told as it was. A value is turned round at most once each way,
//! when somebody asks for it in a layout that it does not have yet.

use std::{
    collections::{HashMap, HashSet},
    sync::Arc,
};

use thorax_kernels::{
    channels_last::{Factors, Layer, PackedConvolution, PackedUpConvolution, Pool, PoolKind},
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
    buffers::{Buffers, Readers},
    kernels::{self, Kernel},
};

mod bytes;
mod float;

/// Values of a constant that is kept for whoever asks again.
const KEPT: usize = 4096;

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
    bytes::all_ours(&target)?;
    target.select_output_outlets(&outputs)?;
    for (outlet, label) in outputs.into_iter().zip(labels) {
        if let Some(label) = label {
            target.set_outlet_label(outlet, label)?;
        }
    }
    Ok(target)
}

/// Tells the operators of a graph, in which nothing is changed any more, whose values only operators of ours read.
pub(crate) fn know_readers(target: &mut TypedModel) -> TractResult<()> {
    for id in 0..target.nodes().len() {
        let users = target.outlet_successors(id.into());
        let ours = users.iter().all(|user| target.node(user.node).op_is::<Operator>())
            && !target.output_outlets()?.contains(&id.into());
        if let Some(operator) = target.node_mut(id).op_as_mut::<Operator>().filter(|_| ours) {
            operator.readers = Readers::Ours;
        }
    }
    Ok(())
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
    (fact.datum_type == f32::datum_type()).then_some(())?;
    fact.shape.as_concrete()?.try_into().ok()
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
        if self.taken.contains(&id) || bytes::is_constant(self.graph, id.into()) {
            return Ok(());
        }
        if let Some(source) = node.op_as::<TypedSource>() {
            let outlet = self.target.add_source(&node.name, source.fact.clone())?;
            self.places.entry(id.into()).or_default().outside = Some(outlet);
            return Ok(());
        }
        let op: &dyn TypedOp = node.op.as_ref();
        let done = if self.bytes(node)? {
            true
        } else if let Some(op) = op.downcast_ref::<Conv>() {
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
            self.scale(node)? || self.value_by_value(node)?
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
        // Weights are asked for once, and not kept: they would lie in memory beside what is packed from them.
        if value.len() <= KEPT {
            self.constants.insert(outlet, value.clone());
        }
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
            Some(inside) => self.turned(format!("{name}.outside"), inside, false)?,
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
                self.turned(name, outside, true)?
            }
        };
        self.places.entry(outlet).or_default().inside = Some(place);
        Ok(place)
    }

    /// A value of the new graph in the other layout.
    fn turned(&mut self, name: String, outlet: OutletId, inside: bool) -> TractResult<OutletId> {
        let fact = self.target.outlet_fact(outlet)?.clone();
        let sizes =
            sides(&fact).map(|[n, a, b, c]| if inside { (a, b * c, [n, b, c, a]) } else { (c, a * b, [n, c, a, b]) });
        // Of one channel, or one pixel, there is nothing to move.
        let Some((channels, pixels, shape)) = sizes.filter(|(channels, pixels, _)| *channels > 1 && *pixels > 1) else {
            let axes = if inside { AxisOp::Move(1, 3) } else { AxisOp::Move(3, 1) };
            return Ok(self.target.wire_node(name, axes, &[outlet])?[0]);
        };
        self.operator(name, Arc::new(kernels::Turn { inside, channels, pixels }), &[outlet], fact.datum_type, &shape)
    }

    /// A kernel of ours in the new graph.
    fn operator(
        &mut self,
        name: String,
        kernel: Arc<dyn Kernel>,
        inputs: &[OutletId],
        datum_type: DatumType,
        shape: &[usize],
    ) -> TractResult<OutletId> {
        let operator = Operator {
            kernel,
            output: datum_type.fact(shape),
            shape: shape.into(),
            buffers: self.buffers.clone(),
            readers: Readers::Anybody,
        };
        Ok(self.target.wire_node(name, operator, inputs)?[0])
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
        let fact = self.graph.outlet_fact(outlet)?;
        let shape = fact.shape.as_concrete().and_then(|shape| <[usize; 4]>::try_from(shape).ok());
        let shape = shape.with_context(|| format!("{node}: {fact:?} is not [N, C, H, W] of known sizes"))?;
        let datum_type = fact.datum_type;
        let place = self.operator(node.name.clone(), kernel, inputs, datum_type, &inside_of(shape))?;
        self.places.entry(outlet).or_default().inside = Some(place);
        Ok(true)
    }

    /// The only node that uses `outlet`, which is no output.
    fn only_user(&self, outlet: OutletId) -> TractResult<Option<usize>> {
        let users = self.graph.outlet_successors(outlet);
        let is_output = self.graph.output_outlets()?.contains(&outlet);
        Ok(users.first().filter(|_| users.len() == 1 && !is_output).map(|user| user.node))
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
