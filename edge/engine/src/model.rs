//! A bundle's graphs, run by tract.

use std::{
    path::{Path, PathBuf},
    sync::{
        Arc, OnceLock,
        atomic::{AtomicU64, Ordering},
    },
};

use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};
use thorax_shared::{
    bundle::{self, Bundle, Disease, Limits, Manifest, Name, Role, Segmenter, Sha256Sum, TrustedKeys},
    modality::Modality,
    plane::Plane,
};

use crate::{
    error::DeviceError,
    graph::{self, Graph, Output},
};

/// By what a bundle is known, long after it was run: in a journal, in a report.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct BundleIdentity {
    /// Name of the model.
    pub name: String,
    /// Version of the model.
    pub version: String,
    /// What it reads.
    pub modality: Modality,
    /// SHA-256 of the bundle's file.
    pub sha256: Sha256Sum,
    /// What *positive* means; *negative* means without it.
    pub disease: Disease,
}

/// What *positive* means in a bundle: COVID-19 where it does not say.
pub fn disease(manifest: &Manifest) -> Disease {
    // Of the right length, so none is left empty.
    let name = |text| Name::try_from(text).unwrap_or_default();
    let covid_19 =
        || Disease { words: name("COVID-19"), scheme: name("SCT"), code: name("840539006"), meaning: name("COVID-19") };
    manifest.extension.disease.clone().unwrap_or_else(covid_19)
}

impl BundleIdentity {
    /// Name and version, as on the screen.
    pub fn title(&self) -> String {
        format!("{} {}", self.name, self.version)
    }
}

/// A bundle ready to run. Its graphs are prepared when they are first needed, so that a picture that fails the quality check
/// never waits for them. A copy shares them.
#[derive(Clone)]
pub struct Model {
    /// Where it was read from.
    pub path: PathBuf,
    /// What the bundle says of itself.
    pub manifest: Manifest,
    /// By what it is known.
    pub identity: BundleIdentity,
    classifier: Arc<Lazy>,
    segmenter: Option<Arc<Lazy>>,
}

/// A file of a bundle, prepared when it is first needed. Where classifier and segmenter are one net, it is the file of both.
struct Lazy {
    graph: &'static str,
    bytes: Vec<u8>,
    /// What is asked of it.
    outputs: Vec<Name>,
    plan: OnceLock<Result<Graph, String>>,
    runs: AtomicU64,
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
    /// The logit of each of the bundle's refusals.
    pub refusals: Vec<f32>,
}

impl Model {
    /// Reads and verifies a bundle.
    ///
    /// # Errors
    /// [`DeviceError::Read`] and [`DeviceError::Bundle`].
    pub fn open(path: &Path, trusted: &TrustedKeys) -> Result<Self, DeviceError> {
        let bytes = std::fs::read(path).map_err(|reason| DeviceError::Read { path: path.to_owned(), reason })?;
        let bundle = Bundle::read(&bytes, trusted, &Limits::default())
            .map_err(|reason| DeviceError::Bundle { path: path.to_owned(), reason })?;
        let manifest = bundle.manifest().clone();
        let (classifier, segmenter) = Lazy::of(&manifest, bundle.classifier_graph(), bundle.segmenter_graph());
        Ok(Self {
            path: path.to_owned(),
            identity: BundleIdentity {
                name: manifest.name.clone(),
                version: manifest.version.clone(),
                modality: manifest.modality,
                sha256: Sha256::digest(&bytes).into(),
                disease: disease(&manifest),
            },
            manifest,
            classifier,
            segmenter,
        })
    }

    /// The same bundle with `onnx` in the place of one of its graphs, or of both where they are one net; for judging it before it is
    /// signed.
    #[must_use]
    pub fn with_graph(mut self, role: Role, onnx: &[u8]) -> Self {
        let one = self.is_one_net();
        let kept = |lazy: &Option<Arc<Lazy>>| lazy.as_ref().map(|lazy| lazy.bytes.clone());
        let (classifier, segmenter) = match role {
            _ if one => (onnx.to_vec(), Some(onnx.to_vec())),
            Role::Classifier => (onnx.to_vec(), kept(&self.segmenter)),
            Role::Segmenter => (self.classifier.bytes.clone(), self.segmenter.is_some().then(|| onnx.to_vec())),
        };
        (self.classifier, self.segmenter) = Lazy::of(&self.manifest, &classifier, segmenter.as_deref());
        self
    }

    /// Whether classifier and segmenter are one net, which sees a picture once and says both.
    pub fn is_one_net(&self) -> bool {
        let Manifest { classifier, segmenter, .. } = &self.manifest;
        segmenter.as_ref().is_some_and(|segmenter| segmenter.graph.is_one_with(&classifier.graph))
    }

    /// Name and version, as on the screen.
    pub fn title(&self) -> String {
        self.identity.title()
    }

    /// How often its graphs have run since it was opened.
    pub fn runs(&self) -> u64 {
        let graphs = [Some(&self.classifier), self.segmenter.as_ref().filter(|_| !self.is_one_net())];
        graphs.into_iter().flatten().map(|graph| graph.runs.load(Ordering::Relaxed)).sum()
    }

    /// Runs the classifier on a tensor `[C, S, S]`.
    ///
    /// # Errors
    /// [`DeviceError::Graph`] when the graph cannot be run or its outputs are not what the manifest says.
    pub fn classify(&self, tensor: &[f32]) -> Result<Classification, DeviceError> {
        self.classification(&self.run(&self.classifier, &self.manifest.classifier.graph, tensor)?)
    }

    /// Runs the segmenter on a tensor `[C, S, S]`: one probability map a channel of the manifest; `None` if the bundle has
    /// no segmenter.
    ///
    /// # Errors
    /// [`DeviceError::Graph`] as above.
    pub fn segment(&self, tensor: &[f32]) -> Result<Option<Vec<Plane<f32>>>, DeviceError> {
        let (Some(lazy), Some(segmenter)) = (&self.segmenter, &self.manifest.segmenter) else { return Ok(None) };
        self.masks(segmenter, &self.run(lazy, &segmenter.graph, tensor)?).map(Some)
    }

    /// [`Self::classify`] and [`Self::segment`] in one run, of a bundle [whose nets are one](Self::is_one_net).
    ///
    /// # Errors
    /// [`DeviceError::Graph`] as above.
    pub fn classify_and_segment(&self, tensor: &[f32]) -> Result<(Classification, Vec<Plane<f32>>), DeviceError> {
        let outputs = self.run(&self.classifier, &self.manifest.classifier.graph, tensor)?;
        let masks = self.manifest.segmenter.as_ref().map(|segmenter| self.masks(segmenter, &outputs)).transpose()?;
        Ok((self.classification(&outputs)?, masks.unwrap_or_default()))
    }

    fn classification(&self, outputs: &Outputs<'_>) -> Result<Classification, DeviceError> {
        let error = |reason: &str| self.error("classifier", reason);
        let members = usize::from(self.manifest.classifier.members);
        let output = |name: &str| outputs.get(name).ok_or_else(|| error(&format!("no output {name}")));
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
        if !novelty.is_finite() {
            return Err(error(&format!("novelty is {novelty}, which is no finite number")));
        }
        let kinds = self.manifest.extension.refusals.len();
        let refusals = if kinds == 0 { vec![] } else { output("refusal")?.1.clone() };
        if refusals.len() != kinds || refusals.iter().any(|logit| logit.is_nan()) {
            return Err(error(&format!(
                "refusal has {} values for {kinds} kinds, or one that is no number",
                refusals.len()
            )));
        }
        Ok(Classification { logits: logits.clone(), activation, novelty, refusals })
    }

    fn masks(&self, segmenter: &Segmenter, outputs: &Outputs<'_>) -> Result<Vec<Plane<f32>>, DeviceError> {
        let error = |reason: &str| self.error("segmenter", reason);
        let output = segmenter.graph.outputs.first().and_then(|name| outputs.get(name));
        let (shape, values) = output.ok_or_else(|| error("it has no output"))?;
        let [1, channels, height, width] = shape[..] else {
            return Err(error(&format!("masks have shape {shape:?}")));
        };
        if channels != segmenter.channels.len() {
            return Err(error(&format!("{channels} masks for {} channels", segmenter.channels.len())));
        }
        let map = |map: &[f32]| Plane::new(width, height, map.to_vec()).map_err(|e| error(&e.to_string()));
        values.chunks_exact((width * height).max(1)).map(map).collect()
    }

    fn error(&self, graph: &'static str, reason: &str) -> DeviceError {
        DeviceError::Graph { bundle: self.title(), path: self.path.clone(), graph, reason: reason.to_owned() }
    }

    /// What the file says of a tensor for `graph`.
    fn run<'a>(&self, lazy: &'a Lazy, graph: &bundle::Graph, tensor: &[f32]) -> Result<Outputs<'a>, DeviceError> {
        let plan = lazy
            .plan
            .get_or_init(|| Graph::read(&lazy.bytes, &lazy.outputs, graph::chosen()))
            .as_ref()
            .map_err(|reason| self.error(lazy.graph, reason))?;
        let channels = graph.preprocess.normalise.mean.len();
        let side = graph.preprocess.input_side as usize;
        lazy.runs.fetch_add(1, Ordering::Relaxed);
        let values = plan.run(&[1, channels, side, side], tensor).map_err(|reason| self.error(lazy.graph, &reason))?;
        Ok(Outputs { names: &lazy.outputs, values })
    }
}

/// What a file said.
struct Outputs<'a> {
    names: &'a [Name],
    values: Vec<Output>,
}

impl Outputs<'_> {
    /// Shape and values of an output.
    fn get(&self, name: &str) -> Option<&Output> {
        self.names.iter().position(|output| &**output == name).and_then(|index| self.values.get(index))
    }
}

impl Lazy {
    /// The files of a bundle's graphs, which may be one.
    fn of(manifest: &Manifest, classifier: &[u8], segmenter: Option<&[u8]>) -> (Arc<Self>, Option<Arc<Self>>) {
        let new = |graph, bytes: &[u8], outputs: Vec<Name>| {
            Arc::new(Self { graph, bytes: bytes.to_vec(), outputs, plan: OnceLock::new(), runs: AtomicU64::new(0) })
        };
        let graph = &manifest.classifier.graph;
        let other = segmenter.zip(manifest.segmenter.as_ref().map(|segmenter| &segmenter.graph));
        match other {
            Some((_, other)) if other.is_one_with(graph) => {
                let both = new("classifier", classifier, [&graph.outputs[..], &other.outputs].concat());
                (both.clone(), Some(both))
            }
            _ => (
                new("classifier", classifier, graph.outputs.clone()),
                other.map(|(bytes, other)| new("segmenter", bytes, other.outputs.clone())),
            ),
        }
    }
}
