//! Operators on bytes: `QLinearConv`, what ONNX computes on u8 as it is, and what it computes between a `DequantizeLinear` and a
//! `QuantizeLinear`.

use thorax_kernels::quantized::{self, Broadcast, Combination, DepthOrder, Operation, PoolKind, Quantization, Table};
use tract_onnx::tract_core::ops::quant::{DequantizeLinearF32, QuantizeLinearU8};

use super::*;

/// That nothing is left to tract that would compute bytes in its own way.
pub(super) fn all_ours(graph: &TypedModel) -> TractResult<()> {
    for node in graph.nodes() {
        let on_bytes = node.outputs.iter().any(|output| output.fact.datum_type != f32::datum_type());
        let in_bytes =
            |input: &OutletId| graph.outlet_fact(*input).is_ok_and(|fact| fact.datum_type == u8::datum_type());
        let moves = node.op_is::<Operator>() || node.op_is::<AxisOp>() || node.inputs.is_empty();
        if !moves
            && (on_bytes && node.inputs.iter().any(|input| !is_constant(graph, *input))
                || node.inputs.iter().any(in_bytes))
        {
            bail!(
                "{} ({}) computes with integers in a way that our kernels do not know; it would run slowly or with other roundings",
                node.name,
                node.op.name()
            );
        }
    }
    Ok(())
}

/// Whether a value depends on nothing that comes in.
pub(super) fn is_constant(graph: &TypedModel, outlet: OutletId) -> bool {
    let node = graph.node(outlet.node);
    !node.op_is::<TypedSource>() && node.inputs.iter().all(|&input| is_constant(graph, input))
}

/// `[N, C, H, W]` of a value of bytes.
fn byte_sides(fact: &TypedFact) -> Option<[usize; 4]> {
    (fact.datum_type == u8::datum_type()).then_some(())?;
    fact.shape.as_concrete()?.try_into().ok()
}

impl Rewriter<'_> {
    /// Whether `node` is one of those here, and done.
    pub(super) fn bytes(&mut self, node: &TypedNode) -> TractResult<bool> {
        let op: &dyn TypedOp = node.op.as_ref();
        if let Some(op) = op.downcast_ref::<ElementWiseOp>().and_then(|op| op.0.downcast_ref::<QuantizeLinearU8>()) {
            return self.quantize(node, op);
        }
        let Some(shape) = node.inputs.first().and_then(|&input| byte_sides(self.graph.outlet_fact(input).ok()?)) else {
            return Ok(false);
        };
        if let Some(op) = op.downcast_ref::<Conv>() {
            self.quantized_convolution(node, op, shape)
        } else if let Some(op) = op.downcast_ref::<DequantizeLinearF32>() {
            let Some(x) = quantization_of(op) else { return Ok(false) };
            let input = self.inside(node.inputs[0])?;
            self.put(node, Arc::new(kernels::Dequantize { x }), &[input], node.id.into())
        } else if let Some(op) = op.downcast_ref::<MaxPool>() {
            let Some(geometry) = Self::window(&op.pool_spec, shape, shape[1]) else { return Ok(false) };
            let input = self.inside(node.inputs[0])?;
            let pool = quantized::Pool { geometry, kind: PoolKind::Largest };
            self.put(node, Arc::new(kernels::ByteWindows { pool }), &[input], node.id.into())
        } else if let Some(op) = op.downcast_ref::<TypedConcat>() {
            self.join_bytes(node, op)
        } else if let Some(AxisOp::Reshape(1, _, _)) = op.downcast_ref::<AxisOp>() {
            self.depth_to_space(node, shape)
        } else {
            Ok(false)
        }
    }

    /// One number of a constant of any type.
    fn scalar<T: Datum + Copy>(&mut self, outlet: OutletId) -> Option<T> {
        let tensor = self.constant(outlet)?;
        let tensor = tensor.cast_to::<T>().ok()?;
        tensor.try_as_plain_ram().ok()?.as_slice::<T>().ok()?.first().copied()
    }

    /// All numbers of a constant of any type.
    fn scalars<T: Datum + Copy>(&mut self, outlet: OutletId) -> Option<Vec<T>> {
        let tensor = self.constant(outlet)?;
        let tensor = tensor.cast_to::<T>().ok()?;
        Some(tensor.try_as_plain_ram().ok()?.as_slice::<T>().ok()?.to_vec())
    }

    /// The scale and the zero point that two constants say.
    fn quantization(&mut self, scale: OutletId, zero_point: OutletId) -> Option<Quantization> {
        Some(Quantization {
            scale: self.scalar(scale)?,
            zero_point: u8::try_from(self.scalar::<i32>(zero_point)?).ok()?,
        })
    }

    /// `QLinearConv`. Of tract's inputs there are x, weight, bias, and zero point and scale of x, weight and y.
    fn quantized_convolution(&mut self, node: &TypedNode, op: &Conv, shape: [usize; 4]) -> TractResult<bool> {
        let [x, weight, bias, x_zero, x_scale, weight_zero, weight_scale, y_zero, y_scale] = node.inputs[..] else {
            return Ok(false);
        };
        if op.q_params != Some(u8::datum_type()) || op.kernel_fmt != KernelFormat::OIHW {
            return Ok(false);
        }
        let Some(geometry) = Self::window(&op.pool_spec, shape, op.output_channels()) else { return Ok(false) };
        let geometry = Convolution { groups: op.group, ..geometry };
        let packed = (|| {
            let weight = self.constant(weight)?;
            let weight = weight.try_as_plain_ram().ok()?.as_slice::<i8>().ok()?.to_vec();
            self.scalars::<i32>(weight_zero)?.iter().all(|&zero| zero == 0).then_some(())?;
            let bias = self.scalars::<i32>(bias)?;
            let bias = if bias.len() == 1 { vec![bias[0]; geometry.channels_out] } else { bias };
            let scales = self.scalars::<f32>(weight_scale)?;
            let (x, y) = (self.quantization(x_scale, x_zero)?, self.quantization(y_scale, y_zero)?);
            quantized::Convolution::new(&geometry, &weight, &scales, Some(&bias), x, y).ok()
        })();
        let Some(packed) = packed else { return Ok(false) };
        let input = self.inside(x)?;
        self.put(node, Arc::new(kernels::ByteConvolution { packed }), &[input], node.id.into())
    }

    fn join_bytes(&mut self, node: &TypedNode, op: &TypedConcat) -> TractResult<bool> {
        let shapes = node.inputs.iter().map(|&input| self.graph.outlet_fact(input).map(byte_sides));
        let shapes = shapes.collect::<TractResult<Option<Vec<_>>>>()?;
        let (1, Some(shapes)) = (op.axis, shapes) else { return Ok(false) };
        let inputs = node.inputs.iter().map(|&input| self.inside(input)).collect::<TractResult<Vec<_>>>()?;
        let channels = shapes.iter().map(|shape| shape[1]).collect();
        self.put(node, Arc::new(kernels::ByteConcatenate { channels }), &inputs, node.id.into())
    }

    /// `DepthToSpace` of block 2 in the order DCR, which tract reads as four changes of the axes.
    fn depth_to_space(&mut self, node: &TypedNode, [_, channels, height, width]: [usize; 4]) -> TractResult<bool> {
        let quarter = channels / 4;
        let steps = [
            AxisOp::Reshape(1, tvec!(channels.to_dim()), tvec!(2.to_dim(), 2.to_dim(), quarter.to_dim())),
            AxisOp::Move(2, 5),
            AxisOp::Move(1, 3),
            AxisOp::Reshape(
                2,
                tvec!(height.to_dim(), 2.to_dim(), width.to_dim(), 2.to_dim()),
                tvec!((2 * height).to_dim(), (2 * width).to_dim()),
            ),
        ];
        let (mut last, mut taken) = (node.id, vec![]);
        for (index, step) in steps.iter().enumerate() {
            if index > 0 {
                let Some(next) = self.only_user(last.into())? else { return Ok(false) };
                taken.push(next);
                last = next;
            }
            if self.graph.node(last).op_as::<AxisOp>() != Some(step) {
                return Ok(false);
            }
        }
        self.taken.extend(taken);
        let input = self.inside(node.inputs[0])?;
        let kernel = kernels::DepthToSpace { order: DepthOrder::DepthColumnRow };
        self.put(node, Arc::new(kernel), &[input], last.into())
    }

    /// `QuantizeLinear`, with what stands between it and the bytes that went in.
    fn quantize(&mut self, node: &TypedNode, op: &QuantizeLinearU8) -> TractResult<bool> {
        let Some([_, channels, height, width]) = sides(self.graph.outlet_fact(node.inputs[0])?) else {
            return Ok(false);
        };
        let scale = self.scale_behind(node.id.into(), op.scale.recip())?;
        let y = Quantization { scale, zero_point: op.zero_point };
        let (value, bounds) = self.bounded(node.inputs[0]);
        if let Some((x, table)) = self.table(value, bounds, y) {
            let input = self.inside(x)?;
            return self.put(node, Arc::new(kernels::ByteTable { table }), &[input], node.id.into());
        }
        if let Some((operation, [a, b], broadcast)) = self.combination(value)? {
            let combination = Combination { operation, pixels: height * width, channels, broadcast, bounds, y };
            let quantizations = [a.1, b.1];
            let inputs = [self.inside(a.0)?, self.inside(b.0)?];
            let kernel = kernels::ByteCombination { combination, quantizations };
            return self.put(node, Arc::new(kernel), &inputs, node.id.into());
        }
        let turn = !self.is_inside(node.inputs[0]);
        let input = if turn { self.outside(node.inputs[0])? } else { self.inside(node.inputs[0])? };
        let kernel = kernels::Quantize { y, turn: turn.then_some([channels, height * width]) };
        self.put(node, Arc::new(kernel), &[input], node.id.into())
    }

    /// The scale of the bytes `outlet` in full: tract keeps its reciprocal, so it is asked of whoever reads the bytes.
    fn scale_behind(&mut self, outlet: OutletId, about: f32) -> TractResult<f32> {
        for user in self.graph.outlet_successors(outlet).to_vec() {
            let node = self.graph.node(user.node);
            let scale = if let Some(op) = node.op_as::<DequantizeLinearF32>() {
                Some(op.scale)
            } else if node.op_is::<Conv>() {
                node.inputs.get(4).and_then(|&scale| self.scalar(scale))
            } else if node.op_is::<MaxPool>() || node.op_is::<TypedConcat>() || node.op_is::<AxisOp>() {
                Some(self.scale_behind(user.node.into(), about)?)
            } else {
                None
            };
            // Not more than the rounding of two reciprocals away.
            if let Some(scale) = scale.filter(|scale| (scale - about).abs() <= 2.0 * f32::EPSILON * about) {
                return Ok(scale);
            }
        }
        Ok(about)
    }

    /// The value before the bounds that a ReLU or a ReLU6 sets, and the bounds.
    fn bounded(&mut self, mut outlet: OutletId) -> (OutletId, [f32; 2]) {
        let mut bounds = [f32::NEG_INFINITY, f32::INFINITY];
        loop {
            let node = self.graph.node(outlet.node);
            let (low, high) = (is::<Max>(node.op.as_ref()), is::<Min>(node.op.as_ref()));
            if !low && !high {
                return (outlet, bounds);
            }
            let [a, b] = node.inputs[..] else { return (outlet, bounds) };
            let (value, number) = match (self.number(a), self.number(b)) {
                (None, Some(number)) => (a, number),
                (Some(number), None) => (b, number),
                _ => return (outlet, bounds),
            };
            if low {
                bounds[0] = bounds[0].max(number);
            } else {
                bounds[1] = bounds[1].min(number);
            }
            outlet = value;
        }
    }

    /// The bytes whose values `outlet` are.
    fn dequantized(&self, outlet: OutletId) -> Option<(OutletId, Quantization)> {
        let node = self.graph.node(outlet.node);
        let x = quantization_of(node.op_as::<DequantizeLinearF32>()?)?;
        byte_sides(self.graph.outlet_fact(node.inputs[0]).ok()?)?;
        Some((node.inputs[0], x))
    }

    /// A function of single bytes: the sigmoid, x times its sigmoid, or nothing but other bytes for the same values.
    fn table(&self, outlet: OutletId, [low, high]: [f32; 2], y: Quantization) -> Option<(OutletId, Table)> {
        let node = self.graph.node(outlet.node);
        let sigmoid_of = |outlet: OutletId| {
            let node = self.graph.node(outlet.node);
            let is_sigmoid = node.op_as::<ElementWiseOp>().is_some_and(|op| op.0.is::<Sigmoid>());
            is_sigmoid.then(|| node.inputs[0])
        };
        let sigmoid = |value: f32| 1.0 / (1.0 + (-value).exp());
        let (bytes, x, f): (_, _, Box<dyn Fn(f32) -> f32>) = if let Some((bytes, x)) = self.dequantized(outlet) {
            (bytes, x, Box::new(|value| value))
        } else if let Some(input) = sigmoid_of(outlet) {
            let (bytes, x) = self.dequantized(input)?;
            (bytes, x, Box::new(sigmoid))
        } else if is::<Mul>(node.op.as_ref()) {
            let [a, b] = node.inputs[..] else { return None };
            let value = [(a, b), (b, a)].into_iter().find(|&(a, b)| sigmoid_of(b) == Some(a))?.0;
            let (bytes, x) = self.dequantized(value)?;
            (bytes, x, Box::new(move |value| value * sigmoid(value)))
        } else {
            return None;
        };
        Some((bytes, Table::new(x, y, |value| f(value).max(low).min(high)).ok()?))
    }

    /// Sum or product of two values that were bytes, the larger one first.
    #[allow(clippy::type_complexity, reason = "three things that are found together and used once")]
    fn combination(
        &self,
        outlet: OutletId,
    ) -> TractResult<Option<(Operation, [(OutletId, Quantization); 2], Broadcast)>> {
        let node = self.graph.node(outlet.node);
        let operation = match node.op.as_ref() {
            op if is::<Add>(op) => Operation::Add,
            op if is::<Mul>(op) => Operation::Multiply,
            _ => return Ok(None),
        };
        let Some(result) = sides(self.graph.outlet_fact(outlet)?) else { return Ok(None) };
        let (Some(a), Some(b)) = (self.dequantized(node.inputs[0]), self.dequantized(node.inputs[1])) else {
            return Ok(None);
        };
        let shape = |operand: (OutletId, Quantization)| self.graph.outlet_fact(operand.0).map(byte_sides);
        let (a, b) = if shape(a)? == Some(result) { (a, b) } else { (b, a) };
        let (Some(first), Some(second)) = (shape(a)?, shape(b)?) else { return Ok(None) };
        let [n, channels, height, width] = result;
        let broadcast = match second {
            _ if first != result => return Ok(None),
            same if same == result => Broadcast::Nowhere,
            pixel if pixel == [n, channels, 1, 1] => Broadcast::Pixels,
            map if map == [n, 1, height, width] => Broadcast::Channels,
            _ => return Ok(None),
        };
        Ok(Some((operation, [a, b], broadcast)))
    }
}

fn quantization_of(op: &DequantizeLinearF32) -> Option<Quantization> {
    Some(Quantization { scale: op.scale, zero_point: u8::try_from(op.zero_point).ok()? })
}
