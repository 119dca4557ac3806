//! A map at another size. It is written as ONNX, and not read again: no net of a bundle has it.

use candle_core::{Result, Tensor};
use thorax_kernels::{
    KernelError,
    resample::{Method, Resample},
};

use super::{Kernel, Operator, Shape, first};
use crate::{
    onnx_format::{Writer, integer, text},
    upsample, zeros,
};

/// The map at `height` x `width`.
pub(super) struct Resize {
    pub(super) method: Method,
    pub(super) height: usize,
    pub(super) width: usize,
}

impl Operator for Resize {
    fn shape(&self, inputs: &[Shape]) -> Result<Shape> {
        Ok([first(inputs)?[0], self.height, self.width])
    }

    fn run(&self, inputs: &[&Tensor]) -> Result<Tensor> {
        let x = first(inputs)?;
        match self.method {
            Method::Nearest => upsample::nearest(x, self.height, self.width),
            Method::Bilinear { align_corners } => upsample::bilinear(x, self.height, self.width, align_corners),
        }
    }

    fn kernel(&self, inputs: &[Shape]) -> Result<Box<dyn Kernel>> {
        let [channels, height, width] = first(inputs)?;
        let Self { method, height: height_out, width: width_out } = *self;
        // A row of all columns' channels is a plane's row for the one, and a column's channels for the other.
        let row = width * channels;
        Ok(Box::new(Separable {
            rows: Resample { height, width: row, height_out, width_out: row, method },
            columns: Resample { height: width, width: channels, height_out: width_out, width_out: channels, method },
        }))
    }

    fn identity(&self) -> (String, Vec<candle_core::TensorId>) {
        (format!("{:?} {} {}", self.method, self.height, self.width), vec![])
    }

    fn write(&self, writer: &mut Writer, mut inputs: Vec<String>, output: &str) -> Result<()> {
        // ONNX asks for all four sizes, and pictures and channels are not known here.
        let part = |what: &str| format!("{output}.{what}");
        writer.node("Shape", inputs.clone(), &part("shape"), vec![]);
        let [from, to] = [("from", 0), ("to", 2)].map(|(name, value)| writer.integers(&part(name), &[1], &[value]));
        writer.node("Slice", vec![part("shape"), from, to], &part("outer"), vec![]);
        let inner = writer.integers(&part("inner"), &[2], &[self.height as i64, self.width as i64]);
        writer.node("Concat", vec![part("outer"), inner], &part("sizes"), vec![integer("axis", 0)]);
        inputs.extend([String::new(), String::new(), part("sizes")]);
        let (mode, places, rounding) = match self.method {
            Method::Nearest => ("nearest", "asymmetric", "floor"),
            Method::Bilinear { align_corners: true } => ("linear", "align_corners", "floor"),
            Method::Bilinear { align_corners: false } => ("linear", "half_pixel", "floor"),
        };
        let attributes =
            vec![text("mode", mode), text("coordinate_transformation_mode", places), text("nearest_mode", rounding)];
        writer.node("Resize", inputs, output, attributes);
        Ok(())
    }
}

struct Separable {
    rows: Resample,
    columns: Resample,
}

impl Kernel for Separable {
    fn run(&self, inputs: &[&[f32]], batch: usize, out: &mut [f32]) -> std::result::Result<(), KernelError> {
        let mut mixed = zeros(batch * self.rows.height_out * self.rows.width_out);
        self.rows.forward(inputs[0], &mut mixed)?;
        self.columns.forward(&mixed, out)
    }
}
