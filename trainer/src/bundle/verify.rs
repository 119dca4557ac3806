//! What is in a bundle, carried out by candle and by tract on the same pictures.

use std::path::Path;

use anyhow::Context;
use candle_core::{Device, Tensor};
use rayon::prelude::*;
use thorax_engine::screening;
use thorax_nn::{graph::Graph, onnx::from_onnx, quantize::Census};
use thorax_shared::{
    bundle::{Bundle, Limits, TrustedKeys},
    uncertainty::Ensemble,
};

use crate::{
    data::{self, Manifest, Record, Split, Task, picture::Picture},
    judge::bundle::JudgedModel,
    progress::progress,
};

/// Largest difference of probability allowed between candle and tract.
pub const PROBABILITY_TOLERANCE: f32 = 1e-4;

/// Largest share of pixels on which candle's and tract's masks may differ.
pub const MASK_TOLERANCE: f64 = 1e-3;

/// Differences between candle and tract on one picture.
#[derive(Clone, Copy, Default)]
struct Difference {
    probability: f32,
    mask_pixels: f64,
}

/// How far candle and tract are apart.
#[derive(Clone, Copy, Debug)]
pub struct Agreement {
    /// Pictures that were compared.
    pub pictures: usize,
    /// Largest difference of probability.
    pub probability: f32,
    /// Largest share of pixels on which masks differ.
    pub mask_pixels: f64,
}

impl Agreement {
    /// Whether both differences are within what is allowed.
    pub fn is_fine(&self) -> bool {
        self.probability <= PROBABILITY_TOLERANCE && self.mask_pixels <= MASK_TOLERANCE
    }
}

/// Carries the bundle at `path` out by the workstation's operators (candle) and by the device (tract with our kernels) on the test
/// pictures of `manifest`, or the first `limit` of them.
///
/// # Errors
/// A bundle that cannot be read or run; a manifest without test pictures of its modality.
pub fn verify(
    path: &Path,
    trusted: &TrustedKeys,
    manifest: &Manifest,
    limit: Option<usize>,
) -> anyhow::Result<Agreement> {
    let model = JudgedModel::open(path, trusted)?;
    data::verify(manifest, model.manifest().modality, &[Task::Segment, Task::Classify])?;
    let bytes = std::fs::read(path)?;
    let bundle = Bundle::read(&bytes, trusted, &Limits::default())?;
    let graphs = [Some(bundle.classifier_graph()), bundle.segmenter_graph()];
    for onnx in graphs.into_iter().flatten() {
        anyhow::ensure!(
            Census::of(onnx)?.integer_convolutions() == 0,
            "{}: its graphs calculate in integers, which candle does not; the reports of thorax-train quantize compare them with those of \
             real numbers, and trainer/references/quantized.py with ONNX Runtime",
            path.display()
        );
    }
    let classifier = from_onnx(bundle.classifier_graph())?;
    let segmenter = bundle.segmenter_graph().map(from_onnx).transpose()?;
    let modality = model.manifest().modality;
    let records: Vec<&Record> = [Task::Classify, Task::Segment]
        .into_iter()
        .flat_map(|task| manifest.select(modality, task, Some(Split::Test)))
        .take(limit.unwrap_or(usize::MAX))
        .collect();
    anyhow::ensure!(!records.is_empty(), "the manifest has no {modality} test pictures");
    let bar = progress(records.len(), &format!("verify {modality}"));
    let differences: Vec<Difference> = records
        .par_iter()
        .map(|record| {
            let difference =
                compare(manifest, record, &model, &classifier, segmenter.as_ref()).with_context(|| record.path.clone());
            bar.inc(1);
            difference
        })
        .collect::<anyhow::Result<_>>()?;
    bar.finish_and_clear();
    // One loop for both crashes the code generator of rustc 1.95.
    Ok(Agreement {
        pictures: differences.len(),
        probability: differences.iter().map(|d| d.probability).fold(0.0, f32::max),
        mask_pixels: differences.iter().map(|d| d.mask_pixels).fold(0.0, f64::max),
    })
}

fn compare(
    manifest: &Manifest,
    record: &Record,
    model: &JudgedModel,
    classifier: &Graph,
    segmenter: Option<&Graph>,
) -> anyhow::Result<Difference> {
    let picture = Picture::of(manifest, record)?;
    let model = model.of(&picture);
    let device = Device::Cpu;
    let run = |graph: &Graph, name: &str, tensor: &[f32]| -> anyhow::Result<Vec<f32>> {
        let [c, h, w] = graph.input_shape;
        let output = graph.outputs.iter().position(|(output, _)| output == name);
        let output = output.with_context(|| format!("no output {name}"))?;
        let mut outputs = graph.run_by_operators(&Tensor::from_slice(tensor, (1, c, h, w), &device)?)?;
        Ok(outputs.swap_remove(output).flatten_all()?.to_vec1()?)
    };
    let contents = &model.manifest;
    let tensor = screening::classifier_input(model, &picture.frame)?;
    let by_candle = run(classifier, "logits", &tensor)?;
    let probability = |logits: &[f32]| {
        Ok::<_, anyhow::Error>(Ensemble::from_logits(logits, contents.calibration.temperature)?.probability)
    };
    let difference = (probability(&by_candle)? - probability(&model.classify(&tensor)?.logits)?).abs();
    let mut mask_pixels = 0.0;
    if let (Some(graph), Some(segmenter)) = (segmenter, &contents.segmenter) {
        let spec = &segmenter.graph.preprocess;
        let tensor = picture.prepare(spec)?.tensor;
        let masks = segmenter.graph.outputs.first().context("the segmenter has no output")?;
        let by_candle = run(graph, masks, &tensor)?;
        let by_tract: Vec<f32> =
            model.segment(&tensor)?.unwrap_or_default().into_iter().flat_map(|map| map.into_data()).collect();
        anyhow::ensure!(by_candle.len() == by_tract.len(), "masks of different sizes");
        let threshold = segmenter.mask_threshold;
        let other = by_candle.iter().zip(&by_tract).filter(|(a, b)| (**a >= threshold) != (**b >= threshold)).count();
        mask_pixels = other as f64 / by_candle.len().max(1) as f64;
    }
    Ok(Difference { probability: difference, mask_pixels })
}
