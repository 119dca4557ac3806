//! Group norm (Wu and He 2018): each picture's channels are normalised in groups, whatever else is in the batch.

use candle_core::{CpuStorage, CustomOp3, Layout, Result, Shape, Tensor};
use rayon::prelude::*;

use crate::{computed, contiguous, with_values};

/// `x` `[N, C, H, W]`, each of `groups` equal groups of a picture's channels with mean 0 and variance 1, and then each channel times
/// `gamma` plus `beta`, both `[C]`. Differentiable in all three.
///
/// # Errors
/// Channels that cannot be divided into that many groups; other shapes.
pub fn group_norm(x: &Tensor, gamma: &Tensor, beta: &Tensor, groups: usize, epsilon: f64) -> Result<Tensor> {
    let (_, channels, ..) = x.dims4()?;
    if groups == 0 || !channels.is_multiple_of(groups) || gamma.dims() != [channels] || beta.dims() != [channels] {
        candle_core::bail!(
            "group norm: {channels} channels cannot have {groups} groups, scales {:?} and shifts {:?}",
            gamma.shape(),
            beta.shape()
        );
    }
    if x.device().is_cpu() {
        let operator = Forward { groups, epsilon };
        return x.contiguous()?.apply_op3(&gamma.contiguous()?, &beta.contiguous()?, operator);
    }
    composed(x, gamma, beta, groups, epsilon)
}

/// The same of candle's operations, on any device.
fn composed(x: &Tensor, gamma: &Tensor, beta: &Tensor, groups: usize, epsilon: f64) -> Result<Tensor> {
    let (n, channels, h, w) = x.dims4()?;
    let grouped = x.reshape((n, groups, channels / groups * h * w))?;
    let centred = grouped.broadcast_sub(&grouped.mean_keepdim(2)?)?;
    let deviation = (centred.sqr()?.mean_keepdim(2)? + epsilon)?.sqrt()?;
    let normalised = centred.broadcast_div(&deviation)?.reshape((n, channels, h, w))?;
    let channel = (1, channels, 1, 1);
    normalised.broadcast_mul(&gamma.reshape(channel)?)?.broadcast_add(&beta.reshape(channel)?)
}

struct Forward {
    groups: usize,
    epsilon: f64,
}

/// Mean, and the reciprocal of the standard deviation.
fn statistics(values: &[f32], epsilon: f64) -> (f32, f32) {
    let count = values.len() as f64;
    let mean = values.iter().map(|&v| f64::from(v)).sum::<f64>() / count;
    let variance = values.iter().map(|&v| (f64::from(v) - mean).powi(2)).sum::<f64>() / count;
    (mean as f32, (1.0 / (variance + epsilon).sqrt()) as f32)
}

impl CustomOp3 for Forward {
    fn name(&self) -> &'static str {
        "group norm"
    }

    fn cpu_fwd(
        &self,
        x: &CpuStorage,
        xl: &Layout,
        gamma: &CpuStorage,
        gl: &Layout,
        beta: &CpuStorage,
        bl: &Layout,
    ) -> Result<(CpuStorage, Shape)> {
        let (_, channels, h, w) = xl.shape().dims4()?;
        let (x, gamma, beta) =
            (contiguous(x, xl, self.name())?, contiguous(gamma, gl, self.name())?, contiguous(beta, bl, self.name())?);
        let (plane, of_group) = (h * w, channels / self.groups);
        computed(xl.shape().clone(), |out| {
            let size = of_group * plane;
            out.par_chunks_mut(size).zip(x.par_chunks(size)).enumerate().for_each(|(index, (out, x))| {
                let first = index % self.groups * of_group;
                let (mean, inverse) = statistics(x, self.epsilon);
                for (channel, (out, x)) in out.chunks_mut(plane).zip(x.chunks(plane)).enumerate() {
                    let scale = gamma[first + channel] * inverse;
                    let shift = beta[first + channel] - mean * scale;
                    out.iter_mut().zip(x).for_each(|(out, x)| *out = x * scale + shift);
                }
            });
            Ok(())
        })
    }

    fn bwd(
        &self,
        x: &Tensor,
        gamma: &Tensor,
        _: &Tensor,
        _: &Tensor,
        gradient: &Tensor,
    ) -> Result<(Option<Tensor>, Option<Tensor>, Option<Tensor>)> {
        let (n, channels, h, w) = x.dims4()?;
        let (plane, of_group) = (h * w, channels / self.groups);
        let size = of_group * plane;
        let mut to_x = crate::zeros(x.elem_count());
        let gradient = gradient.contiguous()?;
        // Of each group its channels' gradients to scale and shift.
        let sums: Vec<Vec<[f64; 2]>> = with_values(x, "group norm gradient", |x| {
            with_values(&gradient, "group norm gradient", |d| {
                with_values(gamma, "group norm gradient", |gamma| {
                    let groups = to_x.par_chunks_mut(size).zip(x.par_chunks(size)).zip(d.par_chunks(size));
                    groups
                        .enumerate()
                        .map(|(index, ((to_x, x), d))| {
                            let first = index % self.groups * of_group;
                            group_gradient(to_x, x, d, &gamma[first..first + of_group], self.epsilon)
                        })
                        .collect()
                })
            })
        })???;
        let mut totals = vec![[0f64; 2]; channels];
        for (index, sums) in sums.iter().enumerate() {
            let first = index % self.groups * of_group;
            for (total, sum) in totals[first..].iter_mut().zip(sums) {
                total[0] += sum[0];
                total[1] += sum[1];
            }
        }
        let total = |part: usize| totals.iter().map(|total| total[part] as f32).collect::<Vec<_>>();
        let device = x.device();
        Ok((
            Some(Tensor::from_vec(to_x, (n, channels, h, w), device)?),
            Some(Tensor::new(total(0), device)?),
            Some(Tensor::new(total(1), device)?),
        ))
    }
}

/// Writes the gradient to one group, and gives those to the scales and shifts of its channels. With the normalised values `v`, the
/// upstream gradient `d` and its product with the scales `g`, it is `(g - mean(g) - v mean(g v)) / deviation`.
fn group_gradient(to_x: &mut [f32], x: &[f32], d: &[f32], gamma: &[f32], epsilon: f64) -> Vec<[f64; 2]> {
    let plane = x.len() / gamma.len();
    let (mean, inverse) = statistics(x, epsilon);
    let sums: Vec<[f64; 2]> = x
        .chunks(plane)
        .zip(d.chunks(plane))
        .map(|(x, d)| {
            x.iter().zip(d).fold([0.0; 2], |[scale, shift], (x, d)| {
                [scale + f64::from(d * (x - mean) * inverse), shift + f64::from(*d)]
            })
        })
        .collect();
    let weighted = |part: usize| sums.iter().zip(gamma).map(|(sum, g)| sum[part] * f64::from(*g)).sum::<f64>();
    let count = x.len() as f64;
    let (along, level) = ((weighted(0) / count) as f32, (weighted(1) / count) as f32);
    for (channel, to_x) in to_x.chunks_mut(plane).enumerate() {
        let (x, d) = (&x[channel * plane..], &d[channel * plane..]);
        for ((to_x, x), d) in to_x.iter_mut().zip(x).zip(d) {
            *to_x = inverse * (d * gamma[channel] - level - (x - mean) * inverse * along);
        }
    }
    sums
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use candle_core::{Device, Var};

    use super::*;
    use crate::seeded;

    #[test]
    fn value_and_gradients_equal_stock_operations() {
        let device = Device::Cpu;
        let x = Var::from_tensor(&(seeded::normal((2, 6, 5, 7), 2.0, 1, &device).unwrap() + 0.7).unwrap()).unwrap();
        let gamma = Var::from_tensor(&seeded::normal(6, 1.0, 2, &device).unwrap()).unwrap();
        let beta = Var::from_tensor(&seeded::normal(6, 1.0, 3, &device).unwrap()).unwrap();
        let pull = seeded::normal((2, 6, 5, 7), 1.0, 4, &device).unwrap();
        for groups in [1, 2, 3, 6] {
            let run = |y: Tensor| {
                let gradients = (&y * &pull).unwrap().sum_all().unwrap().backward().unwrap();
                let mut all = vec![y];
                all.extend([&x, &gamma, &beta].map(|var| gradients.get(var).unwrap().clone()));
                all
            };
            let ours = run(group_norm(&x, &gamma, &beta, groups, 1e-5).unwrap());
            let theirs = run(composed(&x, &gamma, &beta, groups, 1e-5).unwrap());
            for (ours, theirs) in ours.iter().zip(&theirs) {
                let worst = (ours - theirs).unwrap().abs().unwrap().flatten_all().unwrap().max(0).unwrap();
                assert!(worst.to_scalar::<f32>().unwrap() < 1e-4, "{groups} groups: {worst}");
            }
        }
        assert!(group_norm(&x, &gamma, &beta, 4, 1e-5).is_err());
    }
}
