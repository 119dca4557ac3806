//! A bundle's graphs, run by tract.

use std::{
    io::Cursor,
    path::{Path, PathBuf},
    sync::{Arc, OnceLock},
};

use thorax_shared::{
    bundle::{self, Bundle, BundleError, Limits, Manifest, TrustedKeys},
    plane::Plane,
};
use tract_onnx::prelude::*;

/// Why a model could not be loaded or run.
#[derive(Debug, thiserror::Error)]
pub enum InferError {
    /// The file cannot be read.
    #[error("{path}: {reason}; check the path of the bundle", path = path.display())]
    Read {
        /// The bundle.
        path: PathBuf,
        /// What the system said.
        reason: std::io::Error,
    },
    /// The file is no bundle to be trusted.
    #[error("{path}: {reason}", path = path.display())]
    Bundle {
        /// The bundle.
        path: PathBuf,
        /// What is wrong with it.
        reason: BundleError,
    },
    /// tract cannot run the graph.
    #[error("bundle {bundle}: its {graph} graph cannot be run: {reason}; install a bundle made for this version")]
    Graph {
        /// Name of the bundle.
        bundle: String,
        /// Which graph.
        graph: &'static str,
        /// What tract said.
        reason: String,
    },
}

/// A bundle ready to run. Its graphs are prepared when they are first needed, so that a picture that fails the quality check
/// never waits for them.
pub struct Model {
    /// Where it was read from.
    pub path: PathBuf,
    /// What the bundle says of itself.
    pub manifest: Manifest,
    classifier: Lazy,
    segmenter: Option<Lazy>,
}

/// Shape and values of an output.
type Output = (Vec<usize>, Vec<f32>);

struct Lazy {
    graph: &'static str,
    bytes: Vec<u8>,
    plan: OnceLock<Result<Arc<TypedRunnableModel>, String>>,
}

/// What the classifier says of one picture.
#[derive(Clone, Debug, PartialEq)]
pub struct Classification {
    /// One logit a member of the ensemble.
    pub logits: Vec<f32>,
    /// Mean over the members of the class activation map (coarse, row by row): positive speaks for the positive class. The
    /// mean of the map is the mean logit.
    pub activation: Plane<f32>,
    /// Distance to the training pictures; about 1 is familiar.
    pub novelty: f32,
}

impl Model {
    /// Reads and verifies a bundle.
    ///
    /// # Errors
    /// [`InferError::Read`] and [`InferError::Bundle`].
    pub fn open(path: &Path, trusted: &TrustedKeys) -> Result<Self, InferError> {
        let bytes = std::fs::read(path).map_err(|reason| InferError::Read { path: path.to_owned(), reason })?;
        let bundle = Bundle::read(&bytes, trusted, &Limits::default())
            .map_err(|reason| InferError::Bundle { path: path.to_owned(), reason })?;
        let lazy = |graph, bytes: &[u8]| Lazy { graph, bytes: bytes.to_vec(), plan: OnceLock::new() };
        Ok(Self {
            path: path.to_owned(),
            manifest: bundle.manifest().clone(),
            classifier: lazy("classifier", bundle.classifier_graph()),
            segmenter: bundle.segmenter_graph().map(|bytes| lazy("segmenter", bytes)),
        })
    }

    /// Name and version, as on the screen.
    pub fn title(&self) -> String {
        format!("{} {}", self.manifest.name, self.manifest.version)
    }

    /// Runs the classifier on a tensor `[C, S, S]`.
    ///
    /// # Errors
    /// [`InferError::Graph`] when the graph cannot be run or its outputs are not what the manifest says.
    pub fn classify(&self, tensor: &[f32]) -> Result<Classification, InferError> {
        let graph = &self.manifest.classifier.graph;
        let outputs = self.run(&self.classifier, graph, tensor)?;
        let error = |reason: &str| self.error("classifier", reason);
        let members = usize::from(self.manifest.classifier.members);
        let output = |name: &str| {
            graph
                .outputs
                .iter()
                .position(|output| output == name)
                .map(|index| &outputs[index])
                .ok_or_else(|| error(&format!("no output {name}")))
        };
        let (_, logits) = output("logits")?;
        if logits.len() != members {
            return Err(error(&format!("{} logits for {members} members", logits.len())));
        }
        let (shape, maps) = output("activation")?;
        let (height, width) = match shape[..] {
            [1, m, height, width] if m == members && height * width > 0 => (height, width),
            _ => return Err(error(&format!("activation has shape {shape:?}"))),
        };
        let area = height * width;
        let mean = (0..area).map(|i| maps.iter().skip(i).step_by(area).sum::<f32>() / members as f32).collect();
        let activation = Plane::new(width, height, mean).map_err(|e| error(&e.to_string()))?;
        let novelty = output("novelty")?.1.first().copied().ok_or_else(|| error("novelty is empty"))?;
        Ok(Classification { logits: logits.clone(), activation, novelty })
    }

    /// Runs the segmenter on a tensor `[C, S, S]`: one probability map a channel of the manifest; `None` if the bundle has
    /// no segmenter.
    ///
    /// # Errors
    /// [`InferError::Graph`] as above.
    pub fn segment(&self, tensor: &[f32]) -> Result<Option<Vec<Plane<f32>>>, InferError> {
        let (Some(lazy), Some(segmenter)) = (&self.segmenter, &self.manifest.segmenter) else { return Ok(None) };
        let mut outputs = self.run(lazy, &segmenter.graph, tensor)?;
        let (shape, values) = outputs.swap_remove(0);
        let [1, channels, height, width] = shape[..] else {
            return Err(self.error("segmenter", &format!("masks have shape {shape:?}")));
        };
        if channels != segmenter.channels.len() {
            return Err(self.error("segmenter", &format!("{channels} masks for {} channels", segmenter.channels.len())));
        }
        values
            .chunks_exact((width * height).max(1))
            .map(|map| Plane::new(width, height, map.to_vec()).map_err(|e| self.error("segmenter", &e.to_string())))
            .collect::<Result<_, _>>()
            .map(Some)
    }

    fn error(&self, graph: &'static str, reason: &str) -> InferError {
        InferError::Graph { bundle: self.title(), graph, reason: reason.to_owned() }
    }

    /// Shape and values of each output of the manifest's list.
    fn run(&self, lazy: &Lazy, graph: &bundle::Graph, tensor: &[f32]) -> Result<Vec<Output>, InferError> {
        let plan = lazy
            .plan
            .get_or_init(|| prepare(&lazy.bytes, graph).map_err(|e| format!("{e:#}")))
            .as_ref()
            .map_err(|reason| self.error(lazy.graph, reason))?;
        let channels = graph.preprocess.normalise.mean.len();
        let side = graph.preprocess.input_side as usize;
        let run = || -> TractResult<_> {
            let input = Tensor::from_shape(&[1, channels, side, side], tensor)?;
            plan.run(tvec![input.into()])?
                .iter()
                .map(|value| {
                    let view = value.to_plain_array_view::<f32>()?;
                    Ok((view.shape().to_vec(), view.iter().copied().collect()))
                })
                .collect::<TractResult<Vec<_>>>()
        };
        run().map_err(|e| self.error(lazy.graph, &format!("{e:#}")))
    }
}

fn prepare(bytes: &[u8], graph: &bundle::Graph) -> TractResult<Arc<TypedRunnableModel>> {
    let mut model = tract_onnx::onnx().model_for_read(&mut Cursor::new(bytes))?;
    model.select_outputs_by_name(graph.outputs.iter())?;
    model.into_optimized()?.into_runnable()
}
