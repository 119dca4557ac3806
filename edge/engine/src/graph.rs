//! An ONNX graph, read and planned by tract, run with our kernels or with tract's own.

use std::{io::Cursor, sync::Arc};

use tract_onnx::prelude::*;

use crate::operators;

/// Whose kernels carry a graph out.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kernels {
    /// Those of `thorax-kernels`, where they have one.
    Own,
    /// tract's, as it comes; to compare with.
    Tract,
}

/// Has `threads` threads share the kernels' work, all graphs' together; without it there is one a processor. The first call counts, and none
/// after a graph has run. Returns how many there are.
pub fn share_among(threads: usize) -> usize {
    // An error says that the threads are there already.
    let _ = rayon::ThreadPoolBuilder::new().num_threads(threads).build_global();
    rayon::current_num_threads()
}

/// How many threads share the kernels' work.
pub fn threads() -> usize {
    rayon::current_num_threads()
}

/// Shape and values of an output.
pub type Output = (Vec<usize>, Vec<f32>);

/// A graph, ready to run.
#[derive(Debug)]
pub struct Graph(Arc<TypedRunnableModel>);

impl Graph {
    /// Reads `bytes` and plans what `outputs` need; all outputs of the file if there are none.
    ///
    /// # Errors
    /// A file that is no ONNX graph, or none that tract can run; in words.
    pub fn read(bytes: &[u8], outputs: &[impl AsRef<str>], kernels: Kernels) -> Result<Self, String> {
        let read = || -> TractResult<_> {
            let mut model = tract_onnx::onnx().model_for_read(&mut Cursor::new(bytes))?;
            if !outputs.is_empty() {
                model.select_outputs_by_name(outputs)?;
            }
            let typed = model.into_typed()?;
            let typed = match kernels {
                Kernels::Own => operators::rewrite(&typed)?,
                Kernels::Tract => typed,
            };
            typed.into_optimized()?.into_runnable()
        };
        read().map(Self).map_err(|error| format!("{error:#}"))
    }

    /// Runs it on an input of `shape`; the outputs in their order.
    ///
    /// # Errors
    /// An input of another shape, an output that is not f32; in words.
    pub fn run(&self, shape: &[usize], values: &[f32]) -> Result<Vec<Output>, String> {
        let run = || -> TractResult<_> {
            let input = Tensor::from_shape(shape, values)?;
            self.0
                .run(tvec![input.into()])?
                .iter()
                .map(|value| {
                    let view = value.to_plain_array_view::<f32>()?;
                    Ok((view.shape().to_vec(), view.iter().copied().collect()))
                })
                .collect()
        };
        // As a task of the pool whose threads share the kernels' work: from outside, each kernel would have to wake it.
        rayon::scope(|_| run()).map_err(|error| format!("{error:#}"))
    }

    /// How many operators of each name are carried out, by name.
    pub fn operators(&self) -> Vec<(String, usize)> {
        let mut counts = std::collections::BTreeMap::new();
        for node in self.0.model().nodes() {
            *counts.entry(node.op.name().into_owned()).or_default() += 1;
        }
        counts.into_iter().collect()
    }
}
