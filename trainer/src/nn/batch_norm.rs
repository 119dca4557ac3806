//! Batch normalisation (Ioffe and Szegedy 2015) with the ReLU that follows it, on the CPU as one operator.
//!
//! candle's own is a dozen passes over the activations, forward and backward; this is three.

use candle_core::{CpuStorage, CustomOp3, DType, Device, Layout, Result, Shape, Tensor, Var};
use rayon::prelude::*;

use super::{contiguous, with_values};

/// Batch normalisation of `[N, C, H, W]` over N, H and W.
pub struct BatchNorm {
    /// Scale, `[C]`.
    pub gamma: Var,
    /// Shift, `[C]`.
    pub beta: Var,
    /// Moving mean, `[C]`.
    pub moving_mean: Var,
    /// Moving (unbiased) variance, `[C]`.
    pub moving_variance: Var,
    /// Share of a new batch in the moving statistics.
    pub momentum: f64,
    /// Added to the variance.
    pub epsilon: f64,
}

impl BatchNorm {
    /// Scale 1, shift 0, moving mean 0 and variance 1; momentum 0.1 and epsilon 1e-5 as in PyTorch.
    ///
    /// # Errors
    /// When the device refuses the memory.
    pub fn new(channels: usize, device: &Device) -> Result<Self> {
        Ok(Self {
            gamma: Var::ones(channels, DType::F32, device)?,
            beta: Var::zeros(channels, DType::F32, device)?,
            moving_mean: Var::zeros(channels, DType::F32, device)?,
            moving_variance: Var::ones(channels, DType::F32, device)?,
            momentum: 0.1,
            epsilon: 1e-5,
        })
    }

    /// Normalises with the batch's own statistics, moves the moving ones, and applies ReLU if `relu`.
    ///
    /// # Errors
    /// Other shapes than `[N, C, H, W]`.
    pub fn train(&self, x: &Tensor, relu: bool) -> Result<Tensor> {
        let (n, channels, h, w) = x.dims4()?;
        let count = n * h * w;
        let x = x.contiguous()?;
        let (mean, variance) = moments(&x)?;
        let unbiased = (&variance * (count as f64 / (count as f64 - 1.0).max(1.0)))?;
        let moved = |old: &Var, new: &Tensor| {
            ((old.as_tensor() * (1.0 - self.momentum))? + (new * self.momentum)?)?.detach().copy()
        };
        self.moving_mean.set(&moved(&self.moving_mean, &mean)?)?;
        self.moving_variance.set(&moved(&self.moving_variance, &unbiased)?)?;
        if x.device().is_cpu() {
            let inverse_std = (&variance + self.epsilon)?.sqrt()?.recip()?.to_vec1()?;
            let operator = BatchNormOperator { mean: mean.to_vec1()?, inverse_std, relu };
            return x.apply_op3(self.gamma.as_tensor(), self.beta.as_tensor(), operator);
        }
        let row = (1, channels, 1, 1);
        let mean = x.mean_keepdim((0, 2, 3))?;
        let centred = x.broadcast_sub(&mean)?;
        let scale = (centred.sqr()?.mean_keepdim((0, 2, 3))? + self.epsilon)?.sqrt()?.recip()?;
        let y = centred
            .broadcast_mul(&scale)?
            .broadcast_mul(&self.gamma.reshape(row)?)?
            .broadcast_add(&self.beta.reshape(row)?)?;
        if relu { y.relu() } else { Ok(y) }
    }

    /// Scale and shift of the inference form, each `[C]`: `y = scale * x + shift` with the moving statistics.
    ///
    /// # Errors
    /// When the device fails.
    pub fn folded(&self) -> Result<(Tensor, Tensor)> {
        let gamma = self.gamma.as_detached_tensor();
        let scale = gamma.div(&(self.moving_variance.as_detached_tensor() + self.epsilon)?.sqrt()?)?;
        let shift = self.beta.as_detached_tensor().sub(&(self.moving_mean.as_detached_tensor() * &scale)?)?;
        Ok((scale, shift))
    }

    /// Normalises with the moving statistics, and applies ReLU if `relu`.
    ///
    /// # Errors
    /// Other shapes than `[N, C, H, W]`.
    pub fn infer(&self, x: &Tensor, relu: bool) -> Result<Tensor> {
        let (scale, shift) = self.folded()?;
        let row = (1, scale.elem_count(), 1, 1);
        let y = x.broadcast_mul(&scale.reshape(row)?)?.broadcast_add(&shift.reshape(row)?)?;
        if relu { y.relu() } else { Ok(y) }
    }
}

/// Mean and biased variance of each channel, each `[C]`.
fn moments(x: &Tensor) -> Result<(Tensor, Tensor)> {
    let (n, channels, h, w) = x.dims4()?;
    if !x.device().is_cpu() {
        let x = x.detach();
        let mean = x.mean_keepdim((0, 2, 3))?;
        let variance = x.broadcast_sub(&mean)?.sqr()?.mean_keepdim((0, 2, 3))?;
        return Ok((mean.flatten_all()?, variance.flatten_all()?));
    }
    let plane = h * w;
    let (means, variances): (Vec<f32>, Vec<f32>) = with_values(x, "batch norm", |x| {
        (0..channels)
            .into_par_iter()
            .map(|c| {
                let count = (n * plane) as f64;
                let planes = || (0..n).map(move |i| &x[(i * channels + c) * plane..][..plane]);
                let mean = planes().map(|p| sum_lanes(p, |v| v)).sum::<f64>() / count;
                let centre = mean as f32;
                let variance = planes().map(|p| sum_lanes(p, |v| (v - centre) * (v - centre))).sum::<f64>() / count;
                (centre, variance as f32)
            })
            .unzip()
    })?;
    Ok((Tensor::new(means, x.device())?, Tensor::new(variances, x.device())?))
}

/// Sum over short f32 runs kept in f64: exact enough for a million values and still vectorised.
fn sum_lanes(values: &[f32], f: impl Fn(f32) -> f32) -> f64 {
    values
        .chunks(256)
        .map(|run| {
            let mut lanes = [0f32; 16];
            let whole = run.chunks_exact(16);
            let rest = whole.remainder().iter().map(|&v| f(v)).sum::<f32>();
            for lane_values in whole {
                lanes.iter_mut().zip(lane_values).for_each(|(lane, &v)| *lane += f(v));
            }
            f64::from(lanes.iter().sum::<f32>() + rest)
        })
        .sum()
}

struct BatchNormOperator {
    mean: Vec<f32>,
    inverse_std: Vec<f32>,
    relu: bool,
}

impl CustomOp3 for BatchNormOperator {
    fn name(&self) -> &'static str {
        "batch norm"
    }

    fn cpu_fwd(
        &self,
        x: &CpuStorage,
        x_layout: &Layout,
        gamma: &CpuStorage,
        gamma_layout: &Layout,
        beta: &CpuStorage,
        beta_layout: &Layout,
    ) -> Result<(CpuStorage, Shape)> {
        let (_, channels, h, w) = x_layout.shape().dims4()?;
        let x = contiguous(x, x_layout, self.name())?;
        let gamma = contiguous(gamma, gamma_layout, self.name())?;
        let beta = contiguous(beta, beta_layout, self.name())?;
        let floor = if self.relu { 0.0 } else { f32::NEG_INFINITY };
        let mut y = vec![0f32; x.len()];
        y.par_chunks_mut(h * w).zip(x.par_chunks(h * w)).enumerate().for_each(|(index, (y, x))| {
            let c = index % channels;
            let scale = gamma[c] * self.inverse_std[c];
            let shift = beta[c] - scale * self.mean[c];
            y.iter_mut().zip(x).for_each(|(y, x)| *y = (scale * x + shift).max(floor));
        });
        Ok((CpuStorage::F32(y), x_layout.shape().clone()))
    }

    fn bwd(
        &self,
        x: &Tensor,
        gamma: &Tensor,
        beta: &Tensor,
        y: &Tensor,
        gradient: &Tensor,
    ) -> Result<(Option<Tensor>, Option<Tensor>, Option<Tensor>)> {
        let (n, channels, h, w) = x.dims4()?;
        let plane = h * w;
        let gradient = gradient.contiguous()?;
        let gammas = gamma.to_vec1::<f32>()?;
        let work = |xs: &[f32], ys: &[f32], gs: &[f32]| {
            // Per channel: sum of the gradient, and of the gradient times the normalised input.
            let sums: Vec<(f32, f32)> = (0..channels)
                .into_par_iter()
                .map(|c| {
                    let (mut to_beta, mut to_gamma) = (0f64, 0f64);
                    for i in 0..n {
                        let at = (i * channels + c) * plane;
                        for start in (0..plane).step_by(256) {
                            let range = at + start..at + (start + 256).min(plane);
                            let (mut b, mut g) = ([0f32; 16], [0f32; 16]);
                            for ((x, y), d) in
                                xs[range.clone()].chunks(16).zip(ys[range.clone()].chunks(16)).zip(gs[range].chunks(16))
                            {
                                for lane in 0..x.len() {
                                    let d = if self.relu && y[lane] <= 0.0 { 0.0 } else { d[lane] };
                                    b[lane] += d;
                                    g[lane] += d * (x[lane] - self.mean[c]);
                                }
                            }
                            to_beta += f64::from(b.iter().sum::<f32>());
                            to_gamma += f64::from(g.iter().sum::<f32>());
                        }
                    }
                    (to_beta as f32, to_gamma as f32 * self.inverse_std[c])
                })
                .collect();
            let mut to_x = vec![0f32; xs.len()];
            let count = (n * plane) as f32;
            to_x.par_chunks_mut(plane).enumerate().for_each(|(index, out)| {
                let c = index % channels;
                let range = index * plane..(index + 1) * plane;
                let scale = gammas[c] * self.inverse_std[c];
                let (mean_gradient, slope) = (sums[c].0 / count, sums[c].1 / count * self.inverse_std[c]);
                for (((out, x), y), d) in out.iter_mut().zip(&xs[range.clone()]).zip(&ys[range.clone()]).zip(&gs[range])
                {
                    let d = if self.relu && *y <= 0.0 { 0.0 } else { *d };
                    *out = scale * (d - mean_gradient - slope * (x - self.mean[c]));
                }
            });
            (to_x, sums)
        };
        let name = self.name();
        let (to_x, sums) =
            with_values(x, name, |x| with_values(y, name, |y| with_values(&gradient, name, |g| work(x, y, g))))???;
        let (to_beta, to_gamma): (Vec<f32>, Vec<f32>) = sums.into_iter().unzip();
        Ok((
            Some(Tensor::from_vec(to_x, x.shape(), x.device())?),
            Some(Tensor::from_vec(to_gamma, gamma.shape(), x.device())?),
            Some(Tensor::from_vec(to_beta, beta.shape(), x.device())?),
        ))
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::super::seeded;
    use super::*;

    /// The same with candle's differentiable stock operations.
    fn stock(x: &Tensor, norm: &BatchNorm, relu: bool) -> Tensor {
        let c = x.dims()[1];
        let centred = x.broadcast_sub(&x.mean_keepdim((0, 2, 3)).unwrap()).unwrap();
        let variance = centred.sqr().unwrap().mean_keepdim((0, 2, 3)).unwrap();
        let scale = (variance + norm.epsilon).unwrap().sqrt().unwrap();
        let y = centred
            .broadcast_div(&scale)
            .unwrap()
            .broadcast_mul(&norm.gamma.reshape((1, c, 1, 1)).unwrap())
            .unwrap()
            .broadcast_add(&norm.beta.reshape((1, c, 1, 1)).unwrap())
            .unwrap();
        if relu { y.relu().unwrap() } else { y }
    }

    fn worst(a: &Tensor, b: &Tensor) -> f32 {
        (a - b).unwrap().abs().unwrap().flatten_all().unwrap().max(0).unwrap().to_scalar().unwrap()
    }

    #[test]
    fn value_and_gradients_equal_stock_operations() {
        let device = Device::Cpu;
        for (relu, shape) in [(false, (2, 3, 5, 7)), (true, (3, 4, 17, 19))] {
            let x = Var::from_tensor(&(seeded::normal(shape, 2.0, 1, &device).unwrap() + 0.7).unwrap()).unwrap();
            let norm = BatchNorm::new(shape.1, &device).unwrap();
            norm.gamma.set(&seeded::normal(shape.1, 1.0, 2, &device).unwrap()).unwrap();
            norm.beta.set(&seeded::normal(shape.1, 1.0, 3, &device).unwrap()).unwrap();
            let ours = norm.train(&x, relu).unwrap();
            let theirs = stock(&x, &norm, relu);
            assert!(worst(&ours, &theirs) < 1e-5);
            let pull = seeded::normal(shape, 1.0, 4, &device).unwrap();
            let ours = (ours * &pull).unwrap().sum_all().unwrap().backward().unwrap();
            let theirs = (theirs * &pull).unwrap().sum_all().unwrap().backward().unwrap();
            for (name, var) in [("x", &x), ("gamma", &norm.gamma), ("beta", &norm.beta)] {
                let difference = worst(ours.get(var).unwrap(), theirs.get(var).unwrap());
                assert!(difference < 1e-3, "gradient to {name} is off by {difference}");
            }
        }
    }

    #[test]
    fn moving_statistics_follow_pytorchs_rule() {
        let device = Device::Cpu;
        let x = Tensor::new(&[[[[1f32, 2.0], [3.0, 6.0]]]], &device).unwrap();
        let norm = BatchNorm::new(1, &device).unwrap();
        norm.train(&x, false).unwrap();
        // Mean 3, unbiased variance 14 / 3; a tenth of each moves in.
        assert!((norm.moving_mean.to_vec1::<f32>().unwrap()[0] - 0.3).abs() < 1e-6);
        assert!((norm.moving_variance.to_vec1::<f32>().unwrap()[0] - (0.9 + 14.0 / 30.0)).abs() < 1e-6);
        let y = norm.infer(&x, false).unwrap().flatten_all().unwrap().to_vec1::<f32>().unwrap();
        assert!((y[0] - (1.0 - 0.3) / (0.9f32 + 14.0 / 30.0 + 1e-5).sqrt()).abs() < 1e-5);
    }
}
