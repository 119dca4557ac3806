//! Less of an EfficientNet-Lite than was published: fewer blocks, fewer channels, plain convolutions for depthwise ones.
//!
//! A student need not be the net that its weights were published for. It begins from what they know: blocks that stay keep their weights,
//! and of a layer's channels those stay whose filters have the largest L1 norms (Li et al. 2017, "Pruning Filters for Efficient ConvNets",
//! arXiv 1608.08710, section 3.1), batch norms folded into them, since these undo any scale of a filter. Channels that residual sums join
//! are chosen once for all (section 3.3), here by the sum of their norms. Stem and features keep their numbers of channels, as EfficientNet-Lite
//! leaves both unscaled.
//!
//! What was reduced is a word in the student's file of weights ([`WORD`]), so that whoever reads it builds the same net.

use std::{collections::BTreeMap, fmt, path::Path};

use candle_core::{Device, Result, Tensor};
use thorax_nn::checkpoint::Checkpoint;

use super::BackboneWeights;
use crate::{
    architecture::{Architecture, Convolution, Layer, Step, Weights},
    weights::{self, WeightsError},
};

/// Under which word a file of weights keeps a [`Reduction`], as JSON; one of a whole net has no such word.
pub const WORD: &str = "reduction";

/// Stages of an EfficientNet.
pub(super) const STAGES: usize = 7;

/// What of a net is left.
#[derive(Clone, Copy, Debug, PartialEq, serde::Serialize, serde::Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Reduction {
    /// The share of each stage's blocks that stays, rounded up; the first ones.
    pub depth: f64,
    /// The share of each stage's channels that stays, rounded to multiples of 8 as EfficientNet's own widths are; the stem's and the
    /// features' stay all.
    pub width: f64,
    /// In so many of the first stages one dense 3x3 convolution stands for a block's 1x1 expansion and its depthwise convolution (Fused-MBConv
    /// of EfficientNetV2, Tan and Le 2021, arXiv 2104.00298, section 3.2 and Table 4; EfficientNet-EdgeTPU). The 1x1 projection stays.
    pub plain: usize,
}

impl Reduction {
    /// All of the net.
    pub const WHOLE: Self = Self { depth: 1.0, width: 1.0, plain: 0 };

    /// Whether it is all of the net.
    pub fn is_whole(&self) -> bool {
        *self == Self::WHOLE
    }

    /// What a file of weights says of itself.
    pub(crate) fn of(path: &Path) -> std::result::Result<Self, WeightsError> {
        // A file without words, or none of ours, is of a whole net.
        let word = Checkpoint::load_words(path).ok().and_then(|mut file| file.metadata.remove(WORD));
        let Some(word) = word else { return Ok(Self::WHOLE) };
        let read = serde_json::from_str(&word).ok().filter(|Self { depth, width, plain }| {
            [depth, width].iter().all(|&&share| share > 0.0 && share <= 1.0) && *plain <= STAGES
        });
        read.ok_or_else(|| WeightsError::Reduction { path: path.display().to_string(), word })
    }
}

impl Default for Reduction {
    fn default() -> Self {
        Self::WHOLE
    }
}

/// As a supplement to the net's name: nothing of a whole net.
impl fmt::Display for Reduction {
    fn fmt(&self, f: &mut fmt::Formatter) -> fmt::Result {
        let Self { depth, width, plain } = self;
        if self.is_whole() { Ok(()) } else { write!(f, " (depth {depth}, width {width}, plain {plain})") }
    }
}

/// The options that reduce a backbone.
#[derive(Clone, Copy, Debug, Default, clap::Args)]
pub struct ReductionArgs {
    /// Share of the blocks of each stage of an EfficientNet-Lite that stays, rounded up: the first ones, with their weights [default: 1, or as
    /// the weights have it]
    #[arg(long, value_name = "SHARE", value_parser = positive_share)]
    depth: Option<f64>,
    /// Share of the channels of each stage of an EfficientNet-Lite that stays, rounded to multiples of 8: those whose filters have the largest L1
    /// norms; best with --batch-norms, whose statistics were those of all channels [default: 1, or as the weights have it]
    #[arg(long, value_name = "SHARE", value_parser = positive_share)]
    width: Option<f64>,
    /// In the first N stages of an EfficientNet-Lite plain 3x3 convolutions, drawn from the seed, in place of 1x1 expansions and depthwise ones;
    /// with --batch-norms, and --frozen none [default: 0, or as the weights have it]
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u8).range(0..=STAGES as i64))]
    plain: Option<u8>,
}

/// A share of an option that is more than 0, and 1 at most.
///
/// # Errors
/// Any other text.
pub fn positive_share(text: &str) -> std::result::Result<f64, String> {
    let share: f64 = text.parse().map_err(|_| "not a number".to_owned())?;
    if share > 0.0 && share <= 1.0 { Ok(share) } else { Err("take more than 0, and 1 at most".into()) }
}

impl ReductionArgs {
    /// Whether layers are asked for of which published weights know nothing.
    pub fn draws(self) -> bool {
        self.plain.is_some_and(|stages| stages > 0)
    }

    /// What is asked for, where the weights have `found`.
    fn of(self, found: Reduction) -> Reduction {
        Reduction {
            depth: self.depth.unwrap_or(found.depth),
            width: self.width.unwrap_or(found.width),
            plain: self.plain.map_or(found.plain, usize::from),
        }
    }
}

impl BackboneWeights {
    /// What of the net they are of.
    pub fn reduction(&self) -> Reduction {
        self.reduction
    }

    /// Those of the net that is asked for, reduced if they are of a whole one; what has no weights yet is drawn from `seed`.
    ///
    /// # Errors
    /// A reduction of another net than EfficientNet-Lite; weights that are of another reduction than is asked for.
    pub fn reduced(self, asked: ReductionArgs, seed: u64) -> std::result::Result<Self, WeightsError> {
        let wanted = asked.of(self.reduction);
        self.reduced_to(wanted, seed)
    }

    /// The same of a reduction that is `wanted` in all its parts.
    ///
    /// # Errors
    /// As [`reduced`](Self::reduced).
    pub fn reduced_to(self, wanted: Reduction, seed: u64) -> std::result::Result<Self, WeightsError> {
        if wanted == self.reduction {
            return Ok(self);
        }
        if !self.backbone.reduces() || !self.reduction.is_whole() {
            return Err(WeightsError::Irreducible {
                found: format!("{}{}", self.backbone, self.reduction),
                wanted: format!("{}{wanted}", self.backbone),
            });
        }
        let architecture = self.backbone.reduced(self.layout, wanted);
        let device = self.weights.values().next().map_or(Device::Cpu, |tensor| tensor.device().clone());
        let weights = cut(&self.architecture, &self.weights, &architecture, seed, &device)?;
        Ok(Self { architecture, weights, reduction: wanted, ..self })
    }
}

/// The weights of `reduced`, a part of the net `whole` that has `weights`, layers by their names; those that are not in it are drawn.
fn cut(whole: &Architecture, weights: &Weights, reduced: &Architecture, seed: u64, device: &Device) -> Result<Weights> {
    let convolutions = |net: &Architecture| -> Vec<(usize, Convolution)> {
        let of_step = |(index, step): (usize, &Step)| match &step.layer {
            Layer::Convolution(convolution) => Some((index, convolution.clone())),
            _ => None,
        };
        net.steps().iter().enumerate().filter_map(of_step).collect()
    };
    let before: BTreeMap<String, Convolution> =
        convolutions(whole).into_iter().map(|(_, convolution)| (convolution.name.clone(), convolution)).collect();
    let mut kept = convolutions(reduced);
    kept.retain(|(_, convolution)| before.contains_key(&convolution.name));

    // Of each step the one whose channels it has: the first convolution of those that residual sums join, that before a depthwise one.
    let mut first: Vec<usize> = (0..reduced.steps().len()).collect();
    for (index, step) in reduced.steps().iter().enumerate() {
        match &step.layer {
            Layer::Add(_) => {
                first[index] = first[step.inputs[1]];
                first[step.inputs[0]] = first[index];
            }
            Layer::Convolution(convolution) if convolution.groups > 1 => first[index] = first[step.inputs[0]],
            _ => {}
        }
    }
    // L1 norms of the filters that make the channels of such a step, summed over the convolutions.
    let mut norms: BTreeMap<usize, Vec<f32>> = BTreeMap::new();
    for (index, convolution) in kept.iter().filter(|(_, convolution)| convolution.groups == 1) {
        let (filters, _) = before[&convolution.name].fold(1.0, &mut weights.clone())?;
        let found: Vec<f32> = filters.abs()?.flatten_from(1)?.sum(1)?.to_vec1()?;
        let sums = norms.entry(first[*index]).or_insert_with(|| vec![0.0; found.len()]);
        sums.iter_mut().zip(found).for_each(|(sum, norm)| *sum += norm);
    }
    // In the net's own order: where all stay, nothing moves.
    let channels = |step: usize| {
        let count = reduced.channels(step);
        let norms = norms.get(&first[step]);
        let mut channels: Vec<u32> = (0..norms.map_or(count, Vec::len) as u32).collect();
        if let Some(norms) = norms {
            channels.sort_by(|&a, &b| norms[b as usize].total_cmp(&norms[a as usize]));
        }
        channels.truncate(count);
        channels.sort_unstable();
        Tensor::new(channels, device)
    };

    let mut cut = weights::drawn(reduced, seed, device)?;
    for (index, Convolution { name, norm, groups, .. }) in &kept {
        let outputs = channels(*index)?;
        let kernel = weights[&format!("{name}.weight")].index_select(&outputs, 0)?;
        let kernel = match groups {
            1 => kernel.index_select(&channels(reduced.steps()[*index].inputs[0])?, 1)?,
            _ => kernel,
        };
        cut.insert(format!("{name}.weight"), kernel);
        for part in ["weight", "bias", "running_mean", "running_var"] {
            let name = norm.as_ref().map(|norm| format!("{}.{part}", norm.name));
            if let Some((name, values)) = name.and_then(|name| weights.get_key_value(&name)) {
                cut.insert(name.clone(), values.index_select(&outputs, 0)?);
            }
        }
    }
    Ok(cut)
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use thorax_nn::{
        graph::Graph,
        onnx::{HALF_PRECISION_FROM, from_onnx, to_onnx},
        seeded,
    };

    use super::*;
    use crate::{
        Backbone, Layout,
        source::{Source, SourceKind},
    };

    const LITE0: Backbone = Backbone::EfficientNetLite(0);

    fn asked(depth: f64, width: f64, plain: u8) -> ReductionArgs {
        ReductionArgs { depth: Some(depth), width: Some(width), plain: Some(plain) }
    }

    fn drawn(backbone: Backbone) -> BackboneWeights {
        backbone.drawn_weights(5, &Device::Cpu).unwrap()
    }

    fn flat(tensor: &Tensor) -> Vec<f32> {
        tensor.flatten_all().unwrap().to_vec1().unwrap()
    }

    fn bits(weights: &Weights) -> Vec<(&String, Vec<u32>)> {
        weights.iter().map(|(name, tensor)| (name, flat(tensor).into_iter().map(f32::to_bits).collect())).collect()
    }

    /// Multiply-accumulates of the convolutions.
    fn macs(net: &Architecture, side: usize) -> usize {
        let shapes = net.shapes(side).unwrap();
        let of_step = |(step, [channels, h, w]): (&Step, &[usize; 3])| match &step.layer {
            Layer::Convolution(convolution) => {
                channels * h * w * convolution.weight_shape()[1..].iter().product::<usize>()
            }
            _ => 0,
        };
        net.steps().iter().zip(&shapes).map(of_step).sum()
    }

    #[test]
    fn a_whole_net_is_what_it_was() {
        let whole = drawn(LITE0);
        let again = cut(&whole.architecture, &whole.weights, &whole.architecture, 1, &Device::Cpu).unwrap();
        assert!(bits(&again) == bits(&whole.weights));
        let same = drawn(LITE0).reduced(asked(1.0, 1.0, 0), 1).unwrap();
        assert!(same.architecture == LITE0.architecture(Layout::Timm) && bits(&same.weights) == bits(&whole.weights));
        assert!(drawn(Backbone::ResNet50).reduced(asked(1.0, 1.0, 0), 1).is_ok());
    }

    /// The numbers were reckoned in Python, from B0's table (Tan and Le 2019, Table 1) and what [`Reduction`] says.
    #[test]
    fn channels_blocks_and_multiply_accumulates_are_those_expected() {
        for (options, channels, blocks, million) in [
            (asked(1.0, 1.0, 0), [16, 24, 40, 80, 112, 192, 320], [1, 2, 2, 3, 3, 4, 1], 383_907_552),
            (asked(0.5, 1.0, 0), [16, 24, 40, 80, 112, 192, 320], [1, 1, 1, 2, 2, 2, 1], 243_540_192),
            (asked(1.0, 0.75, 0), [16, 24, 32, 64, 88, 144, 240], [1, 2, 2, 3, 3, 4, 1], 274_519_952),
            (asked(1.0, 0.5, 0), [8, 16, 24, 40, 56, 96, 160], [1, 2, 2, 3, 3, 4, 1], 133_102_032),
            (asked(1.0, 1.0, 3), [16, 24, 40, 80, 112, 192, 320], [1, 2, 2, 3, 3, 4, 1], 666_147_552),
            (asked(0.5, 0.75, 2), [16, 24, 32, 64, 88, 144, 240], [1, 1, 1, 2, 2, 2, 1], 311_135_888),
        ] {
            let weights = drawn(LITE0).reduced(options, 1).unwrap();
            let found: Vec<&Convolution> = weights
                .architecture
                .steps()
                .iter()
                .filter_map(|step| match &step.layer {
                    Layer::Convolution(convolution) => Some(convolution),
                    _ => None,
                })
                .collect();
            for stage in 0..STAGES {
                let of_stage = |wanted: &dyn Fn(&Convolution) -> bool| {
                    let prefix = format!("blocks.{stage}.");
                    found.iter().filter(|c| c.name.starts_with(&prefix) && wanted(c)).count()
                };
                let projects = |c: &Convolution| c.activation == crate::architecture::Activation::None;
                assert_eq!(
                    of_stage(&|c| projects(c) && c.channels_out == channels[stage]),
                    blocks[stage],
                    "{options:?}"
                );
                let plain = stage < options.plain.map_or(0, usize::from);
                assert_eq!(of_stage(&|c| c.groups > 1), if plain { 0 } else { blocks[stage] }, "{options:?}");
                assert_eq!(of_stage(&|c| c.groups == 1 && c.kernel == [3; 2]), if plain { blocks[stage] } else { 0 });
            }
            assert_eq!(macs(&weights.architecture, 224), million, "{options:?}");
            let features = weights.architecture.outputs().last().unwrap().steps[0];
            assert_eq!(weights.architecture.shapes(160).unwrap()[features], [1280, 5, 5]);
        }
    }

    /// Channels whose filters are zero are the ones that go, wherever they lie, on both sides of every sum: the net says what it said.
    #[test]
    fn what_says_nothing_is_what_goes() {
        let options = asked(1.0, 0.5, 0);
        let narrow = LITE0.reduced(Layout::Timm, options.of(Reduction::WHOLE));
        let mut whole = drawn(LITE0);
        for step in narrow.steps() {
            let Layer::Convolution(convolution) = &step.layer else { continue };
            let name = format!("{}.weight", convolution.name);
            let before = whole.weights[&name].dim(0).unwrap();
            if convolution.groups > 1 || before == convolution.channels_out {
                continue;
            }
            // 11 divides no number of channels.
            let stays: Vec<f32> =
                (0..before).map(|c| f32::from(u8::from((c * 11 + 3) % before < convolution.channels_out))).collect();
            let stays = Tensor::new(stays, &Device::Cpu).unwrap().reshape((before, 1, 1, 1)).unwrap();
            let zeroed = whole.weights[&name].broadcast_mul(&stays).unwrap();
            whole.weights.insert(name, zeroed);
        }
        let x = seeded::normal((1, 3, 64, 64), 1.0, 8, &Device::Cpu).unwrap();
        let told = |weights: BackboneWeights| flat(&weights.pretrained(64).unwrap().graph.run(&x).unwrap()[0]);
        let copy = BackboneWeights { weights: whole.weights.clone(), ..drawn(LITE0) };
        let (expected, found) = (told(whole), told(copy.reduced(options, 1).unwrap()));
        let largest = expected.iter().fold(0.0f32, |most, value| most.max(*value));
        assert!(largest > 0.0 && expected.iter().zip(&found).all(|(a, b)| (a - b).abs() < 1e-4 * largest));
    }

    #[test]
    fn blocks_that_stay_keep_their_weights_and_plain_ones_are_drawn_from_the_seed() {
        let whole = drawn(LITE0);
        let shallow = drawn(LITE0).reduced(asked(0.5, 1.0, 0), 1).unwrap();
        assert!(shallow.weights.len() < whole.weights.len());
        assert!(shallow.weights.iter().all(|(name, tensor)| flat(tensor) == flat(&whole.weights[name])));
        let plain = |seed| drawn(LITE0).reduced(asked(1.0, 1.0, 2), seed).unwrap().weights;
        let (one, again, other) = (plain(1), plain(1), plain(2));
        assert!(bits(&one) == bits(&again));
        for (name, tensor) in &one {
            let kernel = name.contains("_plain") && tensor.rank() == 4;
            assert_eq!(flat(tensor) != flat(&other[name]), kernel, "{name}");
            assert!(kernel || name.contains("_plain") || flat(tensor) == flat(&whole.weights[name]), "{name}");
        }
    }

    #[test]
    fn what_is_left_becomes_onnx_as_the_whole_does() {
        for options in [asked(0.4, 1.0, 0), asked(1.0, 0.5, 0), asked(1.0, 1.0, 3), asked(0.5, 0.75, 2)] {
            let mut graph = drawn(LITE0).reduced(options, 1).unwrap().pretrained(64).unwrap().graph;
            graph.round_to_half(HALF_PRECISION_FROM).unwrap();
            let read = from_onnx(&to_onnx(&graph, "student").unwrap()).unwrap();
            let x = seeded::normal((1, 3, 64, 64), 1.0, 4, &Device::Cpu).unwrap();
            let values = |graph: &Graph| flat(&graph.run(&x).unwrap()[0]);
            let told = values(&graph);
            assert!(told.iter().any(|&value| value > 0.0) && told == values(&read), "{options:?}");
        }
    }

    #[test]
    fn a_file_says_what_is_left_and_other_wishes_are_refused() {
        let folder = tempfile::tempdir().unwrap();
        let reduction = Reduction { depth: 0.5, width: 0.75, plain: 2 };
        let student = drawn(LITE0).reduced(asked(0.5, 0.75, 2), 1).unwrap();
        let file = |word: Option<&str>| {
            let words = word.map(|word| (WORD.to_owned(), word.to_owned())).into_iter().collect();
            let path = folder.path().join("student.safetensors");
            Checkpoint::new(student.weights.clone(), words).save(&path).unwrap();
            Source { origin: String::new(), sha256: String::new(), kind: SourceKind::File(path) }
        };
        let word = serde_json::to_string(&reduction).unwrap();
        let opened = || file(Some(&word)).weights(LITE0, &Device::Cpu).unwrap();
        assert_eq!(opened().reduction(), reduction);
        assert!(opened().architecture == student.architecture && bits(&opened().weights) == bits(&student.weights));
        // Asked for nothing, or for what is there, it stays.
        for options in [ReductionArgs::default(), ReductionArgs { depth: Some(0.5), ..Default::default() }] {
            assert_eq!(opened().reduced(options, 1).unwrap().reduction(), reduction);
        }
        let refused = |weights: BackboneWeights, options| weights.reduced(options, 1).err().unwrap().to_string();
        let words = refused(opened(), ReductionArgs { depth: Some(1.0), ..Default::default() });
        for part in ["depth 0.5, width 0.75, plain 2", "depth 1, width 0.75, plain 2", "--depth"] {
            assert!(words.contains(part), "{words}");
        }
        let words = refused(drawn(Backbone::EfficientNetB(0)), asked(0.5, 1.0, 0));
        assert!(words.contains("EfficientNet-Lite") && words.contains("of efficientnet-b0, asked"), "{words}");

        // Tensors of another reduction than the file says, and words that say nothing.
        let refused =
            |word: Option<&str>, backbone| file(word).weights(backbone, &Device::Cpu).err().unwrap().to_string();
        let other = serde_json::to_string(&Reduction { width: 0.5, ..reduction }).unwrap();
        let words = refused(Some(&other), LITE0);
        assert!(words.contains("efficientnet-lite0 (depth 0.5, width 0.5, plain 2)"), "{words}");
        assert!(words.contains("student.safetensors") && words.contains("misshapen"), "{words}");
        assert!(refused(None, LITE0).contains("not the weights of efficientnet-lite0 ("));
        assert!(refused(Some(&word), Backbone::ResNet50).contains("these are the weights of efficientnet-lite0"));
        for junk in ["half", r#"{"depth":0,"width":1,"plain":0}"#, r#"{"depth":1,"width":1e9,"plain":0}"#] {
            assert!(refused(Some(junk), LITE0).contains("does not say what of a backbone is left"), "{junk}");
        }
    }
}
