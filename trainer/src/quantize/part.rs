//! One graph of a bundle: from what calibrates it to its integers, and what the report tells of it.

use std::{collections::BTreeSet, fmt::Write as _};

use anyhow::Context;
use thorax_files::{file_sha256, hexadecimal};
use thorax_nn::{
    graph::{Graph, NodeId, Operation},
    quantize::{Calibrated, Census, QuantizedGraph, Sensitivity, to_onnx},
};
use thorax_shared::bundle::Role;

use super::{
    build::{Ingredients, Kept, Tuning},
    fine_tune::{FineTuneConfig, FineTuning, Material, fine_tune},
    inputs::{Inputs, records},
};
use crate::{
    changes::Copies,
    data::{Manifest, Split},
    judge::bundle::JudgedModel,
};

/// A graph, and where it is from.
pub(super) struct Part<'a> {
    pub(super) args: &'a Ingredients<'a>,
    pub(super) manifest: &'a Manifest,
    pub(super) model: &'a JudgedModel,
    pub(super) role: Role,
    /// `classifier` or `segmenter`.
    pub(super) name: &'static str,
    /// Of the ONNX file of real numbers, in bytes.
    pub(super) size: usize,
}

/// Which layers stay in floating point, and why.
struct Floating {
    heads: BTreeSet<NodeId>,
    nodes: BTreeSet<NodeId>,
    /// What each layer loses where it alone calculates in integers, most first.
    losses: Vec<Sensitivity>,
}

/// A graph that is calibrated, so that all that is quickly refused has been refused before anything is trained.
pub(super) struct Prepared<'a> {
    part: Part<'a>,
    calibrated: Calibrated,
    floating: Floating,
    /// What calibrated it, `[C, S, S]` each.
    pub(super) inputs: Vec<Vec<f32>>,
}

impl Prepared<'_> {
    /// Which graph.
    pub(super) fn part(&self) -> &Part<'_> {
        &self.part
    }

    /// The graph of integers, the same as ONNX, and what is to be told of it.
    ///
    /// # Errors
    /// A graph that would run in floating point where nobody chose that, a fine-tuning that fails.
    pub(super) fn quantize(self) -> anyhow::Result<(QuantizedGraph, Vec<u8>, String)> {
        let Self { part, calibrated, floating, inputs } = self;
        let tuning = part.args.tuning.filter(|tuning| tuning.graphs.contains(&part.role));
        let (calibrated, mut told) = match tuning {
            Some(tuning) => part.tuned(calibrated, &floating.nodes, &inputs, tuning)?,
            None => (calibrated, String::new()),
        };
        let quantized = calibrated.quantize(&floating.nodes)?;
        // What nobody chose must not run in floating point.
        let onnx = to_onnx(&quantized, part.name)?;
        let census = Census::of(&onnx)?;
        let (layers, kept) = (calibrated.layers().len(), floating.nodes.len());
        anyhow::ensure!(
            census.integer_convolutions() == layers - kept && census.integer_convolutions() > 0,
            "{} of {layers} layers calculate in integers, {kept} were to stay in floating point",
            census.integer_convolutions(),
        );
        let operators: Vec<String> = census.operators.iter().map(|(name, count)| format!("{count} {name}")).collect();
        let _ = writeln!(told, "Operators: {}.\n", operators.join(", "));
        told += &floating.told(calibrated.graph(), census.integer_convolutions());
        Ok((quantized, onnx, told))
    }
}

impl<'a> Part<'a> {
    /// The graph as `inputs` calibrate it.
    ///
    /// # Errors
    /// A layer that was named and is not there.
    pub(super) fn prepare(self, graph: &Graph, inputs: Vec<Vec<f32>>) -> anyhow::Result<Prepared<'a>> {
        let calibrated = Calibrated::new(graph, &inputs, self.args.settings)?;
        let floating = self.floating(&calibrated, &inputs)?;
        Ok(Prepared { part: self, calibrated, floating, inputs })
    }

    /// The heads of a classifier, and what was chosen.
    fn floating(&self, calibrated: &Calibrated, inputs: &[Vec<f32>]) -> anyhow::Result<Floating> {
        let real = calibrated.graph();
        let classifies = self.role == Role::Classifier;
        let heads = if classifies { calibrated.heads()? } else { BTreeSet::new() };
        let output = if classifies { "logits" } else { real.outputs.first().map_or("masks", |(name, _)| name) };
        let counted = calibrated.before_sigmoid(output).with_context(|| format!("no output {output}"))?;
        let measured = &inputs[..self.args.sensitivity_pictures.min(inputs.len())];
        let mut losses = if measured.is_empty() { vec![] } else { calibrated.sensitivity(counted, measured)? };
        losses.sort_by(|a, b| b.output_error.total_cmp(&a.output_error));
        let chosen: BTreeSet<NodeId> = match self.args.kept {
            Kept::Most(count) => {
                let candidates = losses.iter().map(|loss| loss.layer.node).filter(|node| !heads.contains(node));
                candidates.take(*count).collect()
            }
            Kept::Named(names) => {
                let of = |layer: &str| {
                    let layers = calibrated.layers();
                    let node = layers.iter().map(|l| l.node).find(|&node| real.value_name(node) == layer);
                    node.with_context(|| {
                        format!("--keep-float: the graph has no layer {}/{layer}; the report lists them", self.name)
                    })
                };
                let own = names.iter().filter_map(|name| name.strip_prefix(self.name)?.strip_prefix('/'));
                own.map(of).collect::<anyhow::Result<_>>()?
            }
        };
        let nodes = heads.union(&chosen).copied().collect();
        Ok(Floating { heads, nodes, losses })
    }

    /// The graph after it was fine-tuned.
    fn tuned(
        &self,
        calibrated: Calibrated,
        kept: &BTreeSet<NodeId>,
        calibration: &[Vec<f32>],
        tuning: &Tuning<'_>,
    ) -> anyhow::Result<(Calibrated, String)> {
        let Self { args, manifest, model, role, name, .. } = *self;
        let load = |split, count, copies| {
            let records = records(manifest, model, role, split, count, args.seed);
            Inputs::load(manifest, model, role, &records, copies)
        };
        let [learnt_from, chosen_by] = tuning.pictures;
        let config = FineTuneConfig {
            bundle_sha256: hexadecimal(&file_sha256(args.bundle)?),
            manifest_sha256: manifest.sha256(),
            quantization: format!("{:?}", args.settings),
            kept: kept.iter().map(|&node| calibrated.graph().value_name(node)).collect(),
            pictures: [args.pictures, learnt_from, chosen_by],
            copies: tuning.copies,
            epochs: tuning.epochs,
            batch: tuning.batch,
            learning_rate: tuning.learning_rate,
            seed: args.seed,
            training: tuning.training,
        };
        let material = Material {
            calibrated,
            kept,
            calibration,
            training: load(Split::Train, learnt_from, tuning.copies)?,
            validation: load(Split::Val, chosen_by, Copies::default())?,
        };
        let folder = tuning.runs.join(name);
        let how = FineTuning { config: &config, folder: &folder, devices: tuning.devices, loaders: tuning.loaders };
        fine_tune(material, &how)
    }
}

impl Floating {
    /// Which layers stay in floating point, and the table of what each loses.
    fn told(&self, real: &Graph, integers: usize) -> String {
        let reason = |node: &NodeId| if self.heads.contains(node) { "a head" } else { "chosen" };
        let name = |node: &NodeId| format!("{} ({})", real.value_name(*node), reason(node));
        let names: Vec<String> = self.nodes.iter().map(name).collect();
        let mut told = match names.is_empty() {
            true => format!("{integers} layers in integers, none in floating point.\n"),
            false => format!(
                "{integers} layers in integers, {} in floating point: {}.\n",
                self.nodes.len(),
                names.join(", ")
            ),
        };
        if !self.losses.is_empty() {
            told += "\nWhat each layer loses where it alone calculates in integers, before any fine-tuning, most first:\n\n\
                     | layer | weight | SQNR, dB | mean squared error of the output |\n|---|---|---|---|\n";
        }
        for Sensitivity { layer, sqnr_db, output_error } in &self.losses {
            let weight = match &real.nodes[layer.node].operation {
                Operation::Convolution { weight, .. } | Operation::UpConvolution { weight, .. } => {
                    format!("{:?}", weight.dims())
                }
                _ => String::new(),
            };
            let name = real.value_name(layer.node);
            let _ = writeln!(told, "| {name} | {weight} | {sqnr_db:.1} | {output_error:.3e} |");
        }
        told
    }
}
