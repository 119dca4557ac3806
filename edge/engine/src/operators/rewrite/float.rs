//! Operators on f32.

use super::*;

/// A convolution and its weights.
struct Weighted {
    geometry: Convolution,
    weight: Vec<f32>,
    bias: Vec<f32>,
}

impl Weighted {
    fn layer(&self, activation: Activation) -> Layer<'_> {
        Layer { geometry: self.geometry, weight: &self.weight, bias: Some(&self.bias), activation }
    }
}

/// What a convolution does on the way to its output.
struct Tail {
    /// The nodes.
    taken: Vec<usize>,
    /// The other summand.
    add: Option<OutletId>,
    activation: Activation,
    /// Whose value comes out.
    outlet: OutletId,
}

impl Rewriter<'_> {
    /// The sizes of a window over `[N, C, H, W]`, if our kernels know such.
    pub(super) fn window(
        spec: &PoolSpec,
        [_, channels, height, width]: [usize; 4],
        channels_out: usize,
    ) -> Option<Convolution> {
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
    pub(super) fn bias(&mut self, outlet: OutletId, channels: usize) -> Option<Vec<f32>> {
        let bias = self.numbers(outlet)?;
        match bias.len() {
            1 => Some(vec![bias[0]; channels]),
            length => (length == channels).then_some(bias),
        }
    }

    /// A convolution of known weights that our kernels can do.
    fn weighted(&mut self, node: &TypedNode, op: &Conv) -> TractResult<Option<Weighted>> {
        let Some(shape) = sides(self.graph.outlet_fact(node.inputs[0])?) else { return Ok(None) };
        if op.q_params.is_some() || op.kernel_fmt != KernelFormat::OIHW {
            return Ok(None);
        }
        let Some(geometry) = Self::window(&op.pool_spec, shape, op.output_channels()) else { return Ok(None) };
        let geometry = Convolution { groups: op.group, ..geometry };
        let weight = self.numbers(node.inputs[1]);
        let bias = self.bias(node.inputs[2], geometry.channels_out);
        Ok(weight.zip(bias).map(|(weight, bias)| Weighted { geometry, weight, bias }))
    }

    pub(super) fn convolution(&mut self, node: &TypedNode, op: &Conv) -> TractResult<bool> {
        let Some(weighted) = self.weighted(node, op)? else { return Ok(false) };
        let tail = self.tail(node.id.into())?;
        let (packed, tail) = match self.depthwise_behind(&weighted, &tail)? {
            Some(both) => both,
            None => match PackedConvolution::new(&weighted.layer(tail.activation)) {
                Ok(packed) => (packed, tail),
                Err(_) => return Ok(false),
            },
        };
        let mut inputs = tvec!(self.inside(node.inputs[0])?);
        if let Some(add) = tail.add {
            inputs.push(self.inside(add)?);
        }
        self.taken.extend(tail.taken);
        self.put(node, Arc::new(kernels::Convolution { packed }), &inputs, tail.outlet)
    }

    /// A convolution together with the depthwise one behind it, if that is all that becomes of its value and the two go together.
    fn depthwise_behind(&mut self, before: &Weighted, tail: &Tail) -> TractResult<Option<(PackedConvolution, Tail)>> {
        let Some(user) = self.only_user(tail.outlet)?.filter(|_| tail.add.is_none()) else { return Ok(None) };
        let node = self.graph.node(user);
        let Some(op) = node.op_as::<Conv>().filter(|op| op.group > 1 && node.inputs[0] == tail.outlet) else {
            return Ok(None);
        };
        let Some(weighted) = self.weighted(node, op)? else { return Ok(None) };
        let mut behind = self.tail(user.into())?;
        let both = PackedConvolution::expanded(&before.layer(tail.activation), &weighted.layer(behind.activation));
        behind.taken.push(user);
        behind.taken.extend(&tail.taken);
        Ok(both.ok().map(|packed| (packed, behind)))
    }

    /// What a convolution whose value is `outlet` can do on the way.
    fn tail(&mut self, mut outlet: OutletId) -> TractResult<Tail> {
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
        Ok(Tail { taken, add, activation, outlet })
    }

    /// The activation that is all that becomes of `outlet`, and its nodes.
    pub(super) fn activation(&mut self, outlet: OutletId) -> TractResult<(Vec<usize>, Activation)> {
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
    pub(super) fn bound<T: BinMiniOp>(&mut self, outlet: OutletId, number: f32) -> TractResult<Option<usize>> {
        let Some(user) = self.only_user(outlet)? else { return Ok(None) };
        let next = self.graph.node(user);
        if !is::<T>(next.op.as_ref()) {
            return Ok(None);
        }
        let other = if next.inputs[0] == outlet { next.inputs[1] } else { next.inputs[0] };
        Ok((self.number(other) == Some(number)).then_some(user))
    }

    pub(super) fn up_convolution(&mut self, node: &TypedNode, op: &Deconv) -> TractResult<bool> {
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

    pub(super) fn pool(&mut self, node: &TypedNode, spec: &PoolSpec, kind: PoolKind) -> TractResult<bool> {
        let Some(shape) = sides(self.graph.outlet_fact(node.inputs[0])?) else { return Ok(false) };
        let Some(geometry) = Self::window(spec, shape, shape[1]) else { return Ok(false) };
        let input = self.inside(node.inputs[0])?;
        let kernel = kernels::Windows { pool: Pool { geometry, kind } };
        self.put(node, Arc::new(kernel), &[input], node.id.into())
    }

    /// A sum over all pixels that is then divided by their number, as ONNX's GlobalAveragePool is read.
    pub(super) fn global_average(&mut self, node: &TypedNode, op: &Reduce) -> TractResult<bool> {
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

    /// A product with a factor a channel or a pixel.
    pub(super) fn scale(&mut self, node: &TypedNode) -> TractResult<bool> {
        if !is::<Mul>(node.op.as_ref()) || !node.inputs.iter().any(|&input| self.is_inside(input)) {
            return Ok(false);
        }
        for [x, factors] in [[0, 1], [1, 0]].map(|order: [usize; 2]| order.map(|input| node.inputs[input])) {
            let sizes = [sides(self.graph.outlet_fact(x)?), sides(self.graph.outlet_fact(factors)?)];
            let [Some([n, channels, height, width]), Some(other)] = sizes else { return Ok(false) };
            let kind = if other == [n, channels, 1, 1] {
                Factors::Channels
            } else if other == [n, 1, height, width] {
                Factors::Pixels
            } else {
                continue;
            };
            let inputs = [self.inside(x)?, self.inside(factors)?];
            let kernel = kernels::Scale { factors: kind, pixels: height * width, channels };
            return self.put(node, Arc::new(kernel), &inputs, node.id.into());
        }
        Ok(false)
    }

    pub(super) fn concatenate(&mut self, node: &TypedNode, op: &TypedConcat) -> TractResult<bool> {
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
}
