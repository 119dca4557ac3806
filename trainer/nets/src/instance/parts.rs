//! What the nets are told in: the ResNet50 with its maps, feature pyramids, heads; and how their answers are read.

use std::collections::BTreeMap;

use candle_core::{D, DType, Device, Result, Tensor};
use thorax_nn::{detection::BoundingBox, seeded};

use crate::{
    Backbone, Layout,
    architecture::{Activation, Architecture, Convolution, Folding, Layer, Parameter, Resizing, Role, StepId, Weights},
    network::{Network, Pass},
    weights,
};

/// What batch norms add to the variance.
pub(super) const EPSILON: f64 = 1e-5;

/// A net of that many channels in.
pub(super) fn begin(channels: usize) -> Architecture {
    Architecture::new(channels, EPSILON, Folding::Quotient)
}

/// Appends a ResNet50, and gives its maps of strides 4, 8, 16 and 32. With `frozen`, stem and first stage stay what they are, and so do
/// all batch norms: with one or two pictures a step there is too little to normalise by.
pub(super) fn resnet(net: &mut Architecture, prefix: &str, mut resnet: Architecture, frozen: bool) -> [StepId; 4] {
    if frozen {
        resnet.freeze_norms();
    }
    let stage = |name: &str| resnet.outputs().iter().find(|output| output.name == name).map_or(0, |o| o.steps[0]);
    let first = stage("stride4");
    let maps = net.append(0, prefix, resnet, |step| frozen && step <= first);
    let map = |name: &str| maps.iter().find(|(of, _)| *of == name).map_or(0, |(_, step)| *step);
    [map("stride4"), map("stride8"), map("stride16"), map("features")]
}

/// timm's (and torchvision's) ResNet50.
pub(super) fn torch_resnet() -> Architecture {
    Backbone::ResNet50.architecture(Layout::Timm)
}

/// Appends a convolution with bias, half the kernel around it.
pub(super) fn biased(
    net: &mut Architecture,
    name: impl Into<String>,
    input: StepId,
    channels: usize,
    [kernel, stride]: [usize; 2],
    activation: Activation,
) -> StepId {
    let from = net.channels(input);
    let convolution =
        Convolution { biased: true, stride, activation, ..Convolution::new(name, from, channels, [kernel; 2]) };
    net.convolution(input, convolution)
}

/// Appends the top-down way of a feature pyramid (Lin et al. 2017, "Feature pyramid networks"): each map, as wide as all others by a
/// 1x1 convolution, plus the one above it at its size, and smoothed by a 3x3 convolution. `name(which, level)` names the two
/// convolutions of a map, the largest map first.
pub(super) fn pyramid(
    net: &mut Architecture,
    maps: &[StepId],
    channels: usize,
    resizing: Resizing,
    activation: Activation,
    name: impl Fn(&str, usize) -> String,
) -> Vec<StepId> {
    let mut sums: Vec<StepId> = vec![];
    for (level, &map) in maps.iter().enumerate().rev() {
        let lateral = biased(net, name("lateral", level), map, channels, [1, 1], Activation::None);
        let sum = match sums.last() {
            None => lateral,
            Some(&above) => {
                let raised = net.push(Layer::Resize(resizing), &[above, lateral]);
                net.push(Layer::Add(Activation::None), &[lateral, raised])
            }
        };
        sums.push(sum);
    }
    sums.reverse();
    let smooth = |(level, sum): (usize, StepId)| biased(net, name("output", level), sum, channels, [3, 1], activation);
    sums.into_iter().enumerate().map(smooth).collect()
}

/// How a net's parameters begin that are not drawn after He: where the name has a part, the standard deviation of a kernel; where the part
/// ends with `bias`, the value of a bias.
pub(super) struct Beginnings(pub(super) &'static [(&'static str, f32)]);

impl Beginnings {
    /// Weights of `net` drawn from `seed`.
    ///
    /// # Errors
    /// When the device refuses the memory.
    pub(super) fn draw(&self, net: &Architecture, seed: u64, device: &Device) -> Result<Weights> {
        let mut drawn = weights::drawn(net, seed, device)?;
        for parameter in net.parameters() {
            let name = parameter.name();
            let fits = |part: &str| name.contains(part) && part.ends_with("bias") == (parameter.role == Role::Bias);
            let Some((_, value)) = self.0.iter().find(|(part, _)| fits(part)) else { continue };
            let Parameter { role, shape, .. } = &parameter;
            let (shape, stream) = (shape.as_slice(), name.len() as u64);
            let weight = match role {
                Role::Kernel | Role::UpKernel | Role::Matrix => {
                    seeded::normal(shape, *value, seeded::derive(seed, &[stream, parameter.count() as u64]), device)?
                }
                Role::Bias => (Tensor::ones(shape, DType::F32, device)? * f64::from(*value))?,
                _ => continue,
            };
            drawn.insert(name, weight);
        }
        Ok(drawn)
    }
}

/// What a net gives for `x`, by its outputs' names: every pass of the nets of this room goes through here. What is found is read out of
/// comparisons, which are all false for what is no number, so that a broken net would find nothing and seem whole: inference refuses it.
/// (Training refuses a loss that is no number.)
pub(super) fn answers(net: &Network, x: &Tensor, pass: Pass) -> Result<BTreeMap<&'static str, Vec<Tensor>>> {
    let given = net.forward(x, pass)?;
    if pass == Pass::Infer {
        for (name, map) in given.iter().flat_map(|(name, maps)| maps.iter().map(move |map| (name, map))) {
            // Any number times 0 is 0; NaN and infinity times 0 are NaN.
            if !(map.detach().to_dtype(DType::F32)? * 0.0)?.sum_all()?.to_scalar::<f32>()?.is_finite() {
                candle_core::bail!("{name}: {BROKEN}");
            }
        }
    }
    Ok(given)
}

/// What a net is refused with whose answers are no numbers.
pub(super) const BROKEN: &str = "the net gives what is no number, so its weights are broken; train it anew";

/// What a net gives under a name.
pub(super) fn output(net: &Network, x: &Tensor, name: &str, pass: Pass) -> Result<Vec<Tensor>> {
    let found = answers(net, x, pass)?.remove(name);
    found.ok_or_else(|| candle_core::Error::Msg(format!("the net gives no {name}")))
}

/// Maps `[N, A * values, H, W]` as `[N, sum(H W A), values]`, in the order of the maps, the rows, the columns, the boxes.
pub(super) fn flat(maps: &[Tensor], values: usize) -> Result<Tensor> {
    let level = |map: &Tensor| {
        let (n, c, h, w) = map.dims4()?;
        let apart = map.reshape((n, c / values, values, h, w))?.permute((0, 3, 4, 1, 2))?.contiguous()?;
        apart.reshape((n, h * w * (c / values), values))
    };
    Tensor::cat(&maps.iter().map(level).collect::<Result<Vec<_>>>()?, 1)
}

/// Rows and columns of maps.
pub(super) fn sizes(maps: &[Tensor]) -> Result<Vec<[usize; 2]>> {
    maps.iter().map(|map| map.dims4().map(|(_, _, h, w)| [h, w])).collect()
}

/// These rows of a tensor `[R, ...]`, in this order. Differentiable.
pub(super) fn rows(tensor: &Tensor, numbers: &[usize]) -> Result<Tensor> {
    let numbers: Vec<u32> = numbers.iter().map(|number| *number as u32).collect();
    tensor.index_select(&Tensor::new(numbers, tensor.device())?, 0)
}

/// `[R, C]` as probabilities on the host.
pub(super) fn probabilities(logits: &Tensor) -> Result<Vec<Vec<f32>>> {
    let shifted = logits.detach().broadcast_sub(&logits.detach().max_keepdim(D::Minus1)?)?.exp()?;
    shifted.broadcast_div(&shifted.sum_keepdim(D::Minus1)?)?.to_vec2()
}

/// Codes of boxes as a tensor `[K, 4]`.
pub(super) fn codes(codes: Vec<[f32; 4]>, device: &Device) -> Result<Tensor> {
    let count = codes.len();
    Tensor::from_vec(codes.concat(), (count, 4), device)
}

/// A picture's probabilities at another size, `[rows * columns]`.
pub(super) fn enlarged(map: &Tensor, height: usize, width: usize) -> Result<Vec<Vec<f32>>> {
    let map = thorax_nn::upsample::bilinear(&map.detach().contiguous()?, height, width, false)?;
    map.flatten_from(2)?.flatten_to(1)?.to_vec2()
}

/// The box of a code `[4]`.
pub(super) fn four(values: &[f32]) -> [f32; 4] {
    std::array::from_fn(|index| values[index])
}

/// What of a box lies in a picture, if anything does.
pub(super) fn within(place: BoundingBox, height: usize, width: usize) -> Option<BoundingBox> {
    let place = place.clipped(width as f32, height as f32);
    place.has_area().then_some(place)
}
