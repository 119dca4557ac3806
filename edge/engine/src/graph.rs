//! An ONNX graph, read and planned by tract, run with our kernels or with tract's own.

use std::{
    io::Cursor,
    sync::{Arc, OnceLock},
};

use tract_onnx::prelude::*;

use crate::{
    operators::{self, Buffers},
    quantized,
};

/// Whose kernels carry a graph out.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kernels {
    /// Those of `thorax-kernels`, where they have one.
    Own,
    /// tract's, as it comes; to compare with.
    Tract,
    /// tract's on an NVIDIA GPU; needs the feature `cuda`.
    Cuda,
}

/// What bundles are run by, once it was asked.
static CHOSEN: OnceLock<Kernels> = OnceLock::new();

/// Has all bundles run on the GPU. The first call counts, and none after a bundle has run.
///
/// # Errors
/// In words: the program has no CUDA in it, or the machine has no driver, library or GPU for it.
pub fn use_gpu() -> Result<(), String> {
    check_gpu()?;
    match *CHOSEN.get_or_init(|| Kernels::Cuda) {
        Kernels::Cuda => Ok(()),
        Kernels::Own | Kernels::Tract => Err("a bundle has run without the GPU already".into()),
    }
}

/// What bundles are run by.
pub fn chosen() -> Kernels {
    *CHOSEN.get_or_init(|| Kernels::Own)
}

#[cfg(feature = "cuda")]
fn check_gpu() -> Result<(), String> {
    let told = |error: TractError| format!("{error:#}");
    cuda().and_then(|runtime| runtime.check()).map_err(told)
}

#[cfg(not(feature = "cuda"))]
fn check_gpu() -> Result<(), String> {
    Err("this program was built without the feature `cuda`".into())
}

/// tract's runtime for NVIDIA GPUs.
#[cfg(feature = "cuda")]
fn cuda() -> TractResult<&'static dyn tract_onnx::tract_core::runtime::Runtime> {
    // Named, so that the crate is linked, by which the runtime makes itself known.
    let _ = tract_cuda::CudaTransform;
    let found = tract_onnx::tract_core::runtime::runtime_for_name("cuda")?;
    found.ok_or_else(|| tract_onnx::tract_core::internal::format_err!("tract knows no runtime of this name"))
}

#[cfg(feature = "cuda")]
fn on_gpu(model: TypedModel) -> TractResult<Plan> {
    Ok(Plan::Gpu(cuda()?.prepare(model)?))
}

#[cfg(not(feature = "cuda"))]
fn on_gpu(_: TypedModel) -> TractResult<Plan> {
    tract_onnx::tract_core::internal::bail!("this program was built without the feature `cuda`")
}

/// `bytes` as tract reads them. The file's own form is dropped here, since all weights lie in it once more.
fn parse(bytes: &[u8], kernels: Kernels) -> TractResult<InferenceModel> {
    let onnx = tract_onnx::onnx();
    let file = onnx.proto_model_for_read(&mut Cursor::new(bytes))?;
    if let (Kernels::Own | Kernels::Cuda, Some(graph)) = (kernels, &file.graph) {
        quantized::refuse_qdq(graph)?;
    }
    onnx.model_for_proto_model(&file)
}

/// Shape and values of an output.
pub type Output = (Vec<usize>, Vec<f32>);

/// A graph, ready to run.
#[derive(Debug)]
pub struct Graph {
    plan: Plan,
    /// For our kernels, which leave an input as it is.
    inputs: Option<Buffers>,
}

#[derive(Debug)]
enum Plan {
    Processor(Arc<TypedRunnableModel>),
    #[cfg(feature = "cuda")]
    Gpu(Box<dyn tract_onnx::tract_core::runtime::Runnable>),
}

impl Plan {
    fn run(&self, inputs: TVec<TValue>) -> TractResult<TVec<TValue>> {
        match self {
            Self::Processor(plan) => plan.run(inputs),
            #[cfg(feature = "cuda")]
            Self::Gpu(plan) => plan.run(inputs),
        }
    }

    fn model(&self) -> Option<&TypedModel> {
        match self {
            Self::Processor(plan) => Some(plan.model()),
            #[cfg(feature = "cuda")]
            Self::Gpu(plan) => plan.typed_model().map(|model| &**model),
        }
    }
}

impl Graph {
    /// Reads `bytes` and plans what `outputs` need; all outputs of the file if there are none.
    ///
    /// # Errors
    /// A file that is no ONNX graph, or none that tract can run, and unless it is to run as tract has it, one whose 8-bit integers would run in
    /// floating point; in words.
    pub fn read(bytes: &[u8], outputs: &[impl AsRef<str>], kernels: Kernels) -> Result<Self, String> {
        let read = || -> TractResult<_> {
            let mut model = parse(bytes, kernels)?;
            if !outputs.is_empty() {
                model.select_outputs_by_name(outputs)?;
            }
            let typed = model.into_typed()?;
            let optimized = match kernels {
                Kernels::Own => {
                    let mut optimized = operators::rewrite(&typed)?.into_optimized()?;
                    operators::know_readers(&mut optimized)?;
                    optimized
                }
                Kernels::Tract => typed.into_optimized()?,
                Kernels::Cuda => return on_gpu(typed),
            };
            optimized.into_runnable().map(Plan::Processor)
        };
        let inputs = (kernels == Kernels::Own).then(Buffers::default);
        read().map(|plan| Self { plan, inputs }).map_err(|error| format!("{error:#}"))
    }

    /// Runs it on an input of `shape`; the outputs in their order.
    ///
    /// # Errors
    /// An input of another shape, an output that is not f32; in words.
    pub fn run(&self, shape: &[usize], values: &[f32]) -> Result<Vec<Output>, String> {
        let run = || -> TractResult<_> {
            let input = match &self.inputs {
                Some(inputs) => inputs.filled(shape, values)?.into_tvalue(),
                None => Tensor::from_shape(shape, values)?.into_tvalue(),
            };
            let outputs = self.plan.run(tvec![input])?;
            let values = |value: &TValue| {
                let values = value.try_as_plain_ram()?.as_slice::<f32>()?;
                Ok((value.shape().to_vec(), values.to_vec()))
            };
            outputs.iter().map(values).collect()
        };
        // As a task of the pool whose threads share the kernels' work: from outside, each kernel would have to wake it.
        rayon::scope(|_| run()).map_err(|error| format!("{error:#}"))
    }

    /// How many operators of each name are carried out, by name.
    pub fn operators(&self) -> Vec<(String, usize)> {
        let mut counts = std::collections::BTreeMap::new();
        for node in self.plan.model().into_iter().flat_map(|model| model.nodes()) {
            *counts.entry(node.op.name().into_owned()).or_default() += 1;
        }
        counts.into_iter().collect()
    }
}
