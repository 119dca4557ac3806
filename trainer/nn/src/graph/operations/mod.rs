//! The operations of a graph, a family a file: what each is made of, the shape it gives, how candle and the CPU carry it out,
//! and how it stands in an ONNX file.
//!
//! A new operation is a variant of [`Operation`], a line of `Operation::operator`, and an [`Operator`] beside its kin.

mod activation;
mod concatenate;
mod convolution;
mod pair;
mod pool;
mod resize;

pub(crate) use activation::closes_swish;
use candle_core::{DType, Result, Tensor, TensorId};
use thorax_kernels::{KernelError, convolution::Activation, resample::Method};

use crate::{
    convolution::ConvolutionConfig,
    onnx_format::{ReadError, StoredNode, Writer, foreign},
    pool::PoolConfig,
};

/// One operation. Activations are `[N, C, H, W]`.
#[derive(Clone)]
pub enum Operation {
    /// The picture that comes in.
    Input,
    /// Convolution with `weight` `[C_out, C_in / groups, K, K]` and `bias` `[C_out]`.
    Convolution {
        /// The kernel.
        weight: Tensor,
        /// Added to each channel.
        bias: Tensor,
        /// Stride, padding, groups.
        config: ConvolutionConfig,
    },
    /// Transposed convolution, kernel 2, stride 2: `weight` `[C_in, C_out, 2, 2]`, `bias` `[C_out]`.
    UpConvolution {
        /// The kernel.
        weight: Tensor,
        /// Added to each channel.
        bias: Tensor,
    },
    /// `max(x, 0)`.
    Relu,
    /// `min(max(x, 0), 6)`.
    Relu6,
    /// `x / (1 + exp(-x))`.
    Swish,
    /// `1 / (1 + exp(-x))`.
    Sigmoid,
    /// Sum of two; the second may be a single channel or pixel (broadcast).
    Add,
    /// Product of two; the second may be a single channel or pixel (broadcast).
    Multiply,
    /// Quotient of two; either may be a single channel or pixel (broadcast).
    Divide,
    /// Largest of each window.
    MaxPool(PoolConfig),
    /// Mean of each window; the padding does not count.
    AveragePool(PoolConfig),
    /// Mean of each channel, `[N, C, 1, 1]`.
    GlobalAveragePool,
    /// The channels of all inputs, one after another.
    Concatenate,
    /// Each channel at another size.
    Resize {
        /// How its values are mixed.
        method: Method,
        /// Rows of the result.
        height: usize,
        /// Columns of the result.
        width: usize,
    },
}

/// `[C, H, W]` of one picture's value.
pub(crate) type Shape = [usize; 3];

/// Number of values of one picture.
pub(crate) fn values(shape: Shape) -> usize {
    shape.iter().product()
}

/// All that is known of an operation.
pub(crate) trait Operator {
    /// What it gives for inputs of these shapes.
    ///
    /// # Errors
    /// Shapes that do not fit.
    fn shape(&self, inputs: &[Shape]) -> Result<Shape>;

    /// Carries it out by candle.
    ///
    /// # Errors
    /// Shapes that do not fit; when the device fails.
    fn run(&self, inputs: &[&Tensor]) -> Result<Tensor>;

    /// How the CPU carries it out for inputs of these shapes.
    ///
    /// # Errors
    /// Shapes that do not fit.
    fn kernel(&self, inputs: &[Shape]) -> Result<Box<dyn Kernel>>;

    /// The same with a sum and an activation behind it, if it can do them on the way: its last input is the other summand.
    ///
    /// # Errors
    /// Shapes that do not fit.
    fn kernel_with(&self, _inputs: &[Shape], _behind: Activation) -> Option<Result<Box<dyn Kernel>>> {
        None
    }

    /// The same with an activation and then `next` behind it, if the two go together; `behind` are the activations of both, and the last input
    /// is what is added to `next`.
    ///
    /// # Errors
    /// Shapes that do not fit.
    fn kernel_before(
        &self,
        _inputs: &[Shape],
        _next: &Operation,
        _behind: [Activation; 2],
    ) -> Option<Result<Box<dyn Kernel>>> {
        None
    }

    /// What it is called where it stands behind another operation.
    fn behind(&self) -> Option<Activation> {
        None
    }

    /// Its numbers and weights, by which a changed operation is known.
    fn identity(&self) -> (String, Vec<TensorId>) {
        Default::default()
    }

    /// Writes it as ONNX.
    ///
    /// # Errors
    /// A weight that cannot be read, or does not survive half precision.
    fn write(&self, writer: &mut Writer, inputs: Vec<String>, output: &str) -> Result<()>;
}

/// An operation as the CPU carries it out, on values `[N, H, W, C]`.
pub(crate) trait Kernel: Send + Sync {
    /// Writes the values of `batch` pictures to `out`.
    ///
    /// # Errors
    /// Lengths that do not fit.
    fn run(&self, inputs: &[&[f32]], batch: usize, out: &mut [f32]) -> std::result::Result<(), KernelError>;
}

impl Operation {
    /// All that is known of it; of the input there is nothing.
    pub(crate) fn operator(&self) -> Option<Box<dyn Operator + '_>> {
        Some(match self {
            Self::Input => return None,
            Self::Convolution { weight, bias, config } => {
                Box::new(convolution::Convolution { weight, bias, config: *config })
            }
            Self::UpConvolution { weight, bias } => Box::new(convolution::UpConvolution { weight, bias }),
            Self::Relu => Box::new(activation::Relu),
            Self::Relu6 => Box::new(activation::Relu6),
            Self::Swish => Box::new(activation::Swish),
            Self::Sigmoid => Box::new(activation::Sigmoid),
            Self::Add => Box::new(pair::Add),
            Self::Multiply => Box::new(pair::Multiply),
            Self::Divide => Box::new(pair::Divide),
            Self::MaxPool(config) => Box::new(pool::MaxPool(*config)),
            Self::AveragePool(config) => Box::new(pool::AveragePool(*config)),
            Self::GlobalAveragePool => Box::new(pool::GlobalAveragePool),
            Self::Concatenate => Box::new(concatenate::Concatenate),
            Self::Resize { method, height, width } => {
                Box::new(resize::Resize { method: *method, height: *height, width: *width })
            }
        })
    }

    /// The operation that a node of an ONNX file is.
    ///
    /// # Errors
    /// One that is not written here.
    pub(crate) fn read(node: &StoredNode) -> std::result::Result<Self, ReadError> {
        for read in [convolution::read, activation::read, pair::read, pool::read, concatenate::read] {
            if let Some(operation) = read(node)? {
                return Ok(operation);
            }
        }
        Err(foreign(format!("operator {}", node.kind())))
    }

    /// Rounds its weight to half precision if it has at least `smallest` values.
    pub(crate) fn round_to_half(&mut self, smallest: usize) -> Result<()> {
        if let Self::Convolution { weight, .. } | Self::UpConvolution { weight, .. } = self
            && weight.elem_count() >= smallest
        {
            *weight = weight.to_dtype(DType::F16)?.to_dtype(DType::F32)?;
        }
        Ok(())
    }

    /// Carries it out by candle.
    pub(crate) fn run(&self, inputs: &[&Tensor]) -> Result<Tensor> {
        match self.operator() {
            Some(operator) => operator.run(inputs),
            None => candle_core::bail!("graph: the input is not computed"),
        }
    }
}

/// The only input, or the first of several.
fn first<T: Copy>(inputs: &[T]) -> Result<T> {
    inputs.first().copied().ok_or_else(|| candle_core::Error::Msg("graph: an operation has no input".into()))
}

/// The first two inputs.
fn both<T: Copy>(inputs: &[T]) -> Result<[T; 2]> {
    match *inputs {
        [a, b, ..] => Ok([a, b]),
        _ => candle_core::bail!("graph: an operation lacks its second input"),
    }
}

/// The shape of a batch of one picture.
fn with_batch([c, h, w]: Shape) -> candle_core::Shape {
    (1, c, h, w).into()
}
