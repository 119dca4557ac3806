//! Grad-CAM: Selvaraju et al., *Grad-CAM: Visual Explanations from Deep Networks via Gradient-based Localization*, ICCV 2017,
//! arXiv:1610.02391.

use thorax_shared::{plane::Plane, preprocess::resize_f32};

/// What runs with a gradient say of a picture.
pub(super) struct Answer {
    /// Their mean decision value, of perceptrons their mean logit: positive for the disease.
    pub(super) decision: f64,
    /// `[runs]`: probabilities of the disease.
    pub(super) probabilities: Vec<f64>,
    /// Of support vector machines, whether all support vectors together weigh next to nothing: then the picture is unlike all that were
    /// learnt from, and the answer is the mean bias, as it is to any such picture.
    pub(super) unfamiliar: bool,
    /// `[C * H * W]`: the derivative of `decision` by each of the picture's features, as they are before standardising.
    pub(super) gradient: Vec<f64>,
}

/// The class activation map, `[H, W]`, of feature maps A, `features` `[C, H, W]`, and the derivatives of a class's score by
/// them, `gradient`, of the same shape.
///
/// The weight of a channel is the mean of its derivatives (equation 1), and the map is what is positive of the weighted sum of
/// the channels (equation 2): places that raise the score.
pub(super) fn activation_map(features: &[f32], gradient: &[f64], [_, height, width]: [usize; 3]) -> Plane<f32> {
    let plane = height * width;
    let mut sums = vec![0f64; plane];
    for (channel, gradient) in features.chunks_exact(plane).zip(gradient.chunks_exact(plane)) {
        let weight = gradient.iter().sum::<f64>() / plane as f64;
        sums.iter_mut().zip(channel).for_each(|(sum, &value)| *sum += weight * f64::from(value));
    }
    Plane::from_fn(width, height, |x, y| sums[y * width + x].max(0.0) as f32)
}

/// A map at the size of the net's input, from 0 (least) to 1 (most), as pytorch-grad-cam scales it: bilinear, which cannot go
/// beyond the map's own range. All 0 where the map is everywhere the same.
pub(super) fn heat(map: &Plane<f32>, side: usize) -> Plane<f32> {
    let large = resize_f32(map, side, side);
    let least = large.data().iter().copied().fold(f32::INFINITY, f32::min);
    let range = large.data().iter().copied().fold(0.0, f32::max) - least;
    large.map(|value| if range > 0.0 { (value - least) / range } else { 0.0 })
}
