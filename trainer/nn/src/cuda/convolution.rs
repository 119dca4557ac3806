//! Convolution, the gradient to its input and the gradient to its weight, in cuDNN.
//!
//! A transposed convolution is the second of these, and its gradients the other two.
//!
//! cuDNN proposes algorithms in the order of its expected times, without running them (`cudnnGet...Algorithm_v7`). The
//! first that is deterministic and whose workspace fits is taken, and remembered for the geometry: measuring instead
//! (`cudnnFind...`) would be quicker on some shapes, but two runs could measure, and so round, differently.
#![allow(unsafe_code)]

use std::{cell::RefCell, collections::HashMap, ffi::c_void, rc::Rc};

use candle_core::{CudaStorage, DType, Error, Result};
use cudarc::cudnn::{result, sys};
use thorax_kernels::convolution::{Convolution as Geometry, Padding};

use super::{
    super::kernel_error,
    handle::{
        ConvolutionDescriptor, FilterDescriptor, Handle, ONE, Operand, TensorDescriptor, ZERO, read, refused,
        same_kind, uninitialised, write,
    },
};

/// Convolution of x `[N, C_in, H, W]` with a weight `[C_out, C_in / groups, K_y, K_x]`.
///
/// # Errors
/// Operands of other shapes, types or layouts than the geometry's contiguous f32, bf16 or f16; what cuDNN refuses.
pub fn convolution(x: Operand, weight: Operand, geometry: &Geometry) -> Result<CudaStorage> {
    let name = "convolution";
    let problem = Problem::new(name, x, weight, geometry)?;
    // SAFETY: cuDNN writes the whole output.
    let mut y = unsafe { uninitialised(&x.0.device, &output_shape(geometry), problem.kind) }?;
    {
        let stream = &problem.handle.stream;
        let x = read(x, &input_shape(geometry), stream)?;
        let weight = read(weight, &weight_shape(geometry), stream)?;
        let y = write(&mut y, stream)?;
        problem.run(
            &problem.handle.choices.forward,
            || problem.propose_forward(),
            |choice, workspace| {
                // SAFETY: handle and descriptors live in `problem`; `read` checked that the operands are contiguous and of
                // the shape that their descriptors announce, `y` was allocated for its; the workspace has the size asked.
                unsafe {
                    result::convolution_forward(
                        problem.handle.raw,
                        ONE,
                        problem.input.raw(),
                        x.as_ptr(),
                        problem.weight.raw(),
                        weight.as_ptr(),
                        problem.convolution.raw(),
                        choice.algorithm,
                        workspace,
                        choice.workspace,
                        ZERO,
                        problem.output.raw(),
                        y.as_mut_ptr(),
                    )
                }
                .map_err(refused(name))
            },
        )?;
    }
    Ok(y)
}

/// The gradient to the input, `[N, C_in, H, W]`, from the weight and the gradient `[N, C_out, H_out, W_out]`.
///
/// # Errors
/// As [`convolution`].
pub fn convolution_input_gradient(weight: Operand, gradient: Operand, geometry: &Geometry) -> Result<CudaStorage> {
    let name = "convolution, gradient to the input";
    let problem = Problem::new(name, weight, gradient, geometry)?;
    // SAFETY: cuDNN writes the whole output.
    let mut to_x = unsafe { uninitialised(&weight.0.device, &input_shape(geometry), problem.kind) }?;
    {
        let stream = &problem.handle.stream;
        let weight = read(weight, &weight_shape(geometry), stream)?;
        let gradient = read(gradient, &output_shape(geometry), stream)?;
        let to_x = write(&mut to_x, stream)?;
        problem.run(
            &problem.handle.choices.to_input,
            || problem.propose_to_input(),
            |choice, workspace| {
                // SAFETY: as in `convolution`.
                unsafe {
                    result::convolution_backward_data(
                        problem.handle.raw,
                        ONE,
                        problem.weight.raw(),
                        weight.as_ptr(),
                        problem.output.raw(),
                        gradient.as_ptr(),
                        problem.convolution.raw(),
                        choice.algorithm,
                        workspace,
                        choice.workspace,
                        ZERO,
                        problem.input.raw(),
                        to_x.as_mut_ptr(),
                    )
                }
                .map_err(refused(name))
            },
        )?;
    }
    Ok(to_x)
}

/// The gradient to the weight, `[C_out, C_in / groups, K_y, K_x]`, from the input and the gradient
/// `[N, C_out, H_out, W_out]`.
///
/// # Errors
/// As [`convolution`].
pub fn convolution_weight_gradient(x: Operand, gradient: Operand, geometry: &Geometry) -> Result<CudaStorage> {
    let name = "convolution, gradient to the weight";
    let problem = Problem::new(name, x, gradient, geometry)?;
    // SAFETY: cuDNN writes the whole output.
    let mut to_weight = unsafe { uninitialised(&x.0.device, &weight_shape(geometry), problem.kind) }?;
    {
        let stream = &problem.handle.stream;
        let x = read(x, &input_shape(geometry), stream)?;
        let gradient = read(gradient, &output_shape(geometry), stream)?;
        let to_weight = write(&mut to_weight, stream)?;
        problem.run(
            &problem.handle.choices.to_weight,
            || problem.propose_to_weight(),
            |choice, workspace| {
                // SAFETY: as in `convolution`.
                unsafe {
                    result::convolution_backward_filter(
                        problem.handle.raw,
                        ONE,
                        problem.input.raw(),
                        x.as_ptr(),
                        problem.output.raw(),
                        gradient.as_ptr(),
                        problem.convolution.raw(),
                        choice.algorithm,
                        workspace,
                        choice.workspace,
                        ZERO,
                        problem.weight.raw(),
                        to_weight.as_mut_ptr(),
                    )
                }
                .map_err(refused(name))
            },
        )?;
    }
    Ok(to_weight)
}

/// An algorithm, the bytes of workspace that it needs, and its arithmetic.
#[derive(Clone, Copy)]
struct Choice<A> {
    algorithm: A,
    workspace: usize,
    arithmetic: sys::cudnnMathType_t,
}

/// What a choice holds for: sizes, type, and whether TF32 is allowed.
type Key = (Geometry, DType, bool);
type Remembered<A> = RefCell<HashMap<Key, Choice<A>>>;

/// The choices made so far on one handle.
#[derive(Default)]
pub(super) struct Choices {
    forward: Remembered<sys::cudnnConvolutionFwdAlgo_t>,
    to_input: Remembered<sys::cudnnConvolutionBwdDataAlgo_t>,
    to_weight: Remembered<sys::cudnnConvolutionBwdFilterAlgo_t>,
}

/// f32 products without tensor cores.
const EXACT: sys::cudnnMathType_t = sys::cudnnMathType_t::CUDNN_FMA_MATH;

/// More proposals than cuDNN has algorithms, of which each may come with several kinds of arithmetic.
const PROPOSALS: usize = 32;

/// cuDNN's proposals for one of the three operations, the quickest first, without the nondeterministic.
macro_rules! proposals {
    ($problem:ident, $ask:path, $size:path, [$($descriptor:ident),*]) => {{
        // SAFETY: enums of C and numbers; all zeros is a value of each of them.
        let mut found = [unsafe { std::mem::zeroed() }; PROPOSALS];
        let mut count = 0;
        // SAFETY: handle and descriptors live in the problem; `found` has room for `PROPOSALS`.
        unsafe {
            $ask(
                $problem.handle.raw,
                $($problem.$descriptor.raw(),)*
                PROPOSALS as i32,
                &raw mut count,
                found.as_mut_ptr(),
            )
        }
        .map_err(refused($problem.name))?;
        let mut choices = Vec::new();
        for proposal in &found[..(count.max(0) as usize).min(PROPOSALS)] {
            let usable = proposal.status == sys::cudnnStatus_t::CUDNN_STATUS_SUCCESS
                && proposal.determinism == sys::cudnnDeterminism_t::CUDNN_DETERMINISTIC;
            if !usable {
                continue;
            }
            // Whoever forbids TF32 gets no proposal that would use it after all.
            let arithmetic = if $problem.exact { EXACT } else { proposal.mathType };
            $problem.convolution.set_arithmetic(arithmetic)?;
            // SAFETY: as above.
            let workspace = unsafe { $size($problem.handle.raw, $($problem.$descriptor.raw(),)* proposal.algo) };
            if let Ok(workspace) = workspace {
                choices.push(Choice { algorithm: proposal.algo, workspace, arithmetic });
            }
        }
        Ok(choices)
    }};
}

/// One convolution as cuDNN sees it.
struct Problem {
    name: &'static str,
    handle: Rc<Handle>,
    kind: DType,
    key: Key,
    /// f32 without TF32.
    exact: bool,
    input: TensorDescriptor,
    weight: FilterDescriptor,
    output: TensorDescriptor,
    convolution: ConvolutionDescriptor,
}

impl Problem {
    fn new(name: &'static str, a: Operand, b: Operand, geometry: &Geometry) -> Result<Self> {
        let kind = same_kind(name, &[a, b])?;
        geometry.check().map_err(kernel_error)?;
        let Padding { top, left, bottom, right } = geometry.padding;
        if (top, left) != (bottom, right) {
            return Err(Error::msg(format!(
                "{name}: cuDNN pads opposite sides alike, and not by {:?}",
                geometry.padding
            )));
        }
        let tf32 = super::tf32_allowed();
        let handle = Handle::of(&a.0.device)?;
        let convolution = ConvolutionDescriptor::new([top, left], geometry.stride, geometry.dilation, geometry.groups)?;
        convolution.set_arithmetic(match kind {
            DType::F32 if tf32 => sys::cudnnMathType_t::CUDNN_DEFAULT_MATH,
            DType::F32 => EXACT,
            _ => sys::cudnnMathType_t::CUDNN_TENSOR_OP_MATH,
        })?;
        Ok(Self {
            name,
            handle,
            kind,
            key: (*geometry, kind, tf32),
            exact: kind == DType::F32 && !tf32,
            input: TensorDescriptor::new(kind, input_shape(geometry))?,
            weight: FilterDescriptor::new(kind, weight_shape(geometry))?,
            output: TensorDescriptor::new(kind, output_shape(geometry))?,
            convolution,
        })
    }

    /// Runs the remembered algorithm, or the first of cuDNN's proposals whose workspace fits, which is remembered.
    fn run<A: Copy>(
        &self,
        remembered: &Remembered<A>,
        propose: impl FnOnce() -> Result<Vec<Choice<A>>>,
        launch: impl Fn(Choice<A>, *mut c_void) -> Result<()>,
    ) -> Result<()> {
        let known = remembered.borrow().get(&self.key).copied();
        let mut refused = None;
        let mut attempt = |choice: Choice<A>| -> Result<bool> {
            self.convolution.set_arithmetic(choice.arithmetic)?;
            match self.handle.with_workspace(choice.workspace, |memory| launch(choice, memory)) {
                Some(Ok(())) => return Ok(true),
                // A proposal may be refused when it is launched; the next one may not be.
                Some(Err(error)) => refused = Some(error),
                None => {}
            }
            Ok(false)
        };
        if let Some(choice) = known {
            if attempt(choice)? {
                return Ok(());
            }
            // What no longer fits is not kept, and cuDNN is asked anew.
            remembered.borrow_mut().remove(&self.key);
        }
        // Later proposals are slower but need less.
        for choice in propose()? {
            if attempt(choice)? {
                remembered.borrow_mut().insert(self.key, choice);
                return Ok(());
            }
        }
        if let Some(error) = refused {
            return Err(error);
        }
        Err(Error::msg(format!(
            "{}: no deterministic algorithm of cuDNN fits into the device's free memory for {:?}; a smaller batch may",
            self.name, self.key.0
        )))
    }

    fn propose_forward(&self) -> Result<Vec<Choice<sys::cudnnConvolutionFwdAlgo_t>>> {
        proposals!(
            self,
            result::get_convolution_forward_algorithm,
            result::get_convolution_forward_workspace_size,
            [input, weight, convolution, output]
        )
    }

    fn propose_to_input(&self) -> Result<Vec<Choice<sys::cudnnConvolutionBwdDataAlgo_t>>> {
        proposals!(
            self,
            result::get_convolution_backward_data_algorithm,
            result::get_convolution_backward_data_workspace_size,
            [weight, output, convolution, input]
        )
    }

    fn propose_to_weight(&self) -> Result<Vec<Choice<sys::cudnnConvolutionBwdFilterAlgo_t>>> {
        proposals!(
            self,
            result::get_convolution_backward_filter_algorithm,
            result::get_convolution_backward_filter_workspace_size,
            [input, output, convolution, weight]
        )
    }
}

/// `[N, C_in, H, W]`.
pub(super) fn input_shape(g: &Geometry) -> [usize; 4] {
    [g.batch, g.channels_in, g.height, g.width]
}

/// `[C_out, C_in / groups, K_y, K_x]`.
pub(super) fn weight_shape(g: &Geometry) -> [usize; 4] {
    [g.channels_out, g.channels_in / g.groups, g.kernel_height, g.kernel_width]
}

/// `[N, C_out, H_out, W_out]`.
pub(super) fn output_shape(g: &Geometry) -> [usize; 4] {
    [g.batch, g.channels_out, g.height_out(), g.width_out()]
}
