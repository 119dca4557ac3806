//! The convolution with the channels inside beside its definition.

use thorax_kernels::{
    channels_last::{Layer, PackedConvolution},
    convolution::{Activation, Convolution},
};

use crate::written_out::{products, values, worst};

/// `[N, C, H, W]` to `[N, H, W, C]`.
pub(crate) fn inside<T: Copy>(x: &[T], channels: usize, pixels: usize) -> Vec<T> {
    let picture = |x: &[T]| {
        (0..pixels).flat_map(|p| (0..channels).map(move |c| (c, p))).map(|(c, p)| x[c * pixels + p]).collect()
    };
    x.chunks_exact(channels * pixels).flat_map(|x| -> Vec<T> { picture(x) }).collect()
}

/// Whether there is a kernel for such groups.
pub(crate) fn fits(g: &Convolution) -> bool {
    g.groups == 1 || (g.groups == g.channels_in && g.groups == g.channels_out)
}

/// The worst relative error with bias, summand and activation.
pub(crate) fn error(g: &Convolution, activation: Activation) -> f64 {
    let (x, w) = (values(g.input_length(), 1), values(g.weight_length(), 2));
    let (bias, add) = (values(g.channels_out, 3), values(g.output_length(), 4));
    let mut y = vec![0f64; g.output_length()];
    products(g, |o, i, k| y[o] += f64::from(x[i]) * f64::from(w[k]));
    let pixels = g.height_out() * g.width_out();
    for (i, y) in y.iter_mut().enumerate() {
        *y += f64::from(bias[i / pixels % g.channels_out]) + f64::from(add[i]);
        *y = match activation {
            Activation::None => *y,
            Activation::Relu => y.max(0.0),
            Activation::Relu6 => y.clamp(0.0, 6.0),
            Activation::Swish => *y / (1.0 + (-*y).exp()),
        };
    }
    let packed = PackedConvolution::new(&Layer { geometry: *g, weight: &w, bias: Some(&bias), activation }).unwrap();
    let x = inside(&x, g.channels_in, g.height * g.width);
    let add = inside(&add, g.channels_out, pixels);
    let mut got = vec![f32::NAN; y.len()];
    packed.run(g.batch, &x, Some(&add), &mut got).unwrap();
    worst(&got, &inside(&y, g.channels_out, pixels))
}
