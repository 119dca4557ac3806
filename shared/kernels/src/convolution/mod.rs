//! Two-dimensional convolution: forward, and the gradients to its input and to its weight.
//!
//! Any stride, dilation, padding and grouping; a depthwise convolution is one with as many groups as channels, a
//! transposed convolution is the gradient to the input. `geometry` turns each direction into a list of taps over
//! flattened rows, `band` cuts the rows into tasks, `engine` multiplies, `weight_gradient` is its counterpart for the
//! weight, `tiles` says how much of both the registers hold, `winograd` halves the products of three-row kernels, and
//! `depthwise` is for channels that stay apart.

pub(crate) mod band;
mod depthwise;
mod engine;
mod geometry;
mod panels;
mod tiles;
mod weight_gradient;
pub(crate) mod winograd;

pub(crate) use engine::lanes;
pub use engine::{Activation, Epilogue};
pub use geometry::{Convolution, Padding};

use crate::KernelError;

/// A weight made ready for [`Convolution::forward_packed`], for nets whose weights do not change.
#[derive(Clone, Debug)]
pub struct PackedWeight {
    geometry: Convolution,
    packed: Packed,
}

#[derive(Clone, Debug)]
enum Packed {
    /// As it is.
    Depthwise(Vec<f32>),
    /// For the product of matrices.
    Panels(panels::Packed),
    /// For the engine.
    Tiles(engine::Packed),
}

fn expect(name: &str, length: usize, expected: usize) -> Result<(), KernelError> {
    if length == expected {
        return Ok(());
    }
    Err(KernelError::Shape(format!("convolution: {name} has {length} values, expected {expected}")))
}

impl Convolution {
    /// `x` `[N, C_in, H, W]` convolved with `weight` `[C_out, C_in / groups, K_h, K_w]`, into `out` `[N, C_out, H', W']`.
    ///
    /// # Errors
    /// Sizes that contradict each other, slices of another length.
    pub fn forward(
        &self,
        x: &[f32],
        weight: &[f32],
        epilogue: Epilogue<'_>,
        out: &mut [f32],
    ) -> Result<(), KernelError> {
        self.forward_packed(x, &self.pack(weight)?, epilogue, out)
    }

    /// Puts `weight` in the order in which [`Self::forward_packed`] reads it.
    ///
    /// # Errors
    /// Sizes that contradict each other, a slice of another length.
    pub fn pack(&self, weight: &[f32]) -> Result<PackedWeight, KernelError> {
        self.check()?;
        expect("the weight", weight.len(), self.weight_length())?;
        let plan = self.flattened(self.forward_plan());
        let packed = if depthwise::fits(&plan) {
            Packed::Depthwise(weight.to_vec())
        } else if panels::pays(self) && !engine::three_rows_pay(&plan) {
            Packed::Panels(panels::Packed::new(self, weight))
        } else {
            Packed::Tiles(self.packed(&plan, weight))
        };
        Ok(PackedWeight { geometry: *self, packed })
    }

    /// As [`Self::forward`], with a weight that [`Self::pack`] of the same sizes, but for the number of pictures, made ready.
    ///
    /// # Errors
    /// A weight of other sizes, slices of another length.
    pub fn forward_packed(
        &self,
        x: &[f32],
        weight: &PackedWeight,
        epilogue: Epilogue<'_>,
        out: &mut [f32],
    ) -> Result<(), KernelError> {
        if (Self { batch: self.batch, ..weight.geometry }) != *self {
            return Err(KernelError::Shape(format!(
                "convolution: the weight was packed for {:?}, not for {self:?}",
                weight.geometry
            )));
        }
        expect("the input", x.len(), self.input_length())?;
        expect("the output", out.len(), self.output_length())?;
        if let Some(bias) = epilogue.bias {
            expect("the bias", bias.len(), self.channels_out)?;
        }
        if let Some(add) = epilogue.add {
            expect("the second summand", add.len(), self.output_length())?;
        }
        let plan = self.flattened(self.forward_plan());
        match &weight.packed {
            Packed::Depthwise(weight) => depthwise::run(&plan, self.groups, x, weight, epilogue, out),
            Packed::Panels(weight) => panels::run(self, x, weight, epilogue, out),
            Packed::Tiles(weight) => engine::run(&plan, &self.operands(x, weight, epilogue), out),
        }
        Ok(())
    }

    /// The gradient to the input `[N, C_in, H, W]`, from that to the output, `[N, C_out, H', W']`, into `out`. With the
    /// roles of input and output exchanged this is the transposed convolution, hence the `bias` `[C_in]`.
    ///
    /// # Errors
    /// Sizes that contradict each other, slices of another length.
    pub fn input_gradient(
        &self,
        weight: &[f32],
        gradient: &[f32],
        bias: Option<&[f32]>,
        out: &mut [f32],
    ) -> Result<(), KernelError> {
        self.check()?;
        expect("the weight", weight.len(), self.weight_length())?;
        expect("the output's gradient", gradient.len(), self.output_length())?;
        expect("the input's gradient", out.len(), self.input_length())?;
        if let Some(bias) = bias {
            expect("the bias", bias.len(), self.channels_in)?;
        }
        let plan = self.flattened(self.input_gradient_plan());
        let epilogue = Epilogue { bias, ..Epilogue::default() };
        if depthwise::fits(&plan) {
            depthwise::run(&plan, self.groups, gradient, weight, epilogue, out);
        } else {
            engine::run(&plan, &self.operands(gradient, &self.packed(&plan, weight), epilogue), out);
        }
        Ok(())
    }

    /// The gradient to the weight `[C_out, C_in / groups, K_h, K_w]`, from that to the output, into `out`.
    ///
    /// # Errors
    /// Sizes that contradict each other, slices of another length.
    pub fn weight_gradient(&self, x: &[f32], gradient: &[f32], out: &mut [f32]) -> Result<(), KernelError> {
        self.check()?;
        expect("the input", x.len(), self.input_length())?;
        expect("the output's gradient", gradient.len(), self.output_length())?;
        expect("the weight's gradient", out.len(), self.weight_length())?;
        let plan = self.flattened(self.forward_plan());
        weight_gradient::run(self, &plan, x, gradient, out);
        Ok(())
    }

    fn flattened(&self, mut plan: geometry::Plan) -> geometry::Plan {
        if plan.is_pointwise() {
            plan.flatten();
        }
        plan
    }

    fn packed(&self, plan: &geometry::Plan, weight: &[f32]) -> engine::Packed {
        engine::Packed::new(plan, self.groups, weight, self.weight_length() / self.groups)
    }

    fn operands<'a>(
        &self,
        source: &'a [f32],
        weight: &'a engine::Packed,
        epilogue: Epilogue<'a>,
    ) -> engine::Operands<'a> {
        engine::Operands { batch: self.batch, groups: self.groups, source, weight, epilogue }
    }
}
