//! Batch normalisation (Ioffe and Szegedy 2015) with the ReLU that follows it, on the CPU as one operator.
//!
//! candle's own is a dozen passes over the activations, forward and backward; `thorax-kernels` makes four in all.

use std::cell::Cell;

use candle_core::{CpuStorage, CustomOp2, CustomOp3, DType, Device, Layout, Result, Shape, Tensor, Var};
use thorax_kernels::batch_norm::{self, Statistics};

use super::{
    computed, contiguous,
    convolution::{ConvolutionConfig, convolution, convolution_input_gradient, convolution_weight_gradient},
    with_values,
};

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
        let x = x.contiguous()?;
        #[cfg(feature = "cuda")]
        if x.device().is_cuda() {
            let (n, _, h, w) = x.dims4()?;
            let normalised = super::cuda::operators::batch_norm(&x, &self.gamma, &self.beta, self.epsilon)?;
            self.follow(&normalised.mean, &normalised.variance, n * h * w)?;
            return if relu { normalised.y.relu() } else { Ok(normalised.y) };
        }
        let operator = self.operator(&x, relu)?;
        x.apply_op3(self.gamma.as_tensor(), self.beta.as_tensor(), operator)
    }

    /// As [`Self::train`] of `x` `[N, C_in, H, W]` convolved with `weight` `[C, C_in / groups, K_h, K_w]`. On the CPU both are
    /// one operator, and candle does not keep a gradient between them.
    ///
    /// # Errors
    /// Shapes that do not fit.
    pub fn train_convolved(
        &self,
        x: &Tensor,
        weight: &Tensor,
        config: ConvolutionConfig,
        relu: bool,
    ) -> Result<Tensor> {
        if !x.device().is_cpu() {
            return self.train(&convolution(x, weight, config)?, relu);
        }
        let (x, weight) = (x.contiguous()?, weight.contiguous()?);
        let convolved = convolution(&x.detach(), &weight.detach(), config)?;
        let normalise = self.operator(&convolved, relu)?;
        let scale_and_shift = Tensor::stack(&[self.gamma.as_tensor(), self.beta.as_tensor()], 0)?;
        x.apply_op3(&weight, &scale_and_shift, Convolved { convolved, config, normalise })
    }

    /// The operator that normalises `x` with its own statistics, which the moving ones follow.
    fn operator(&self, x: &Tensor, relu: bool) -> Result<Normalise> {
        let (n, _, h, w) = x.dims4()?;
        let (mean, variance) = moments(x)?;
        self.follow(&mean, &variance, n * h * w)?;
        let inverse_std = (&variance + self.epsilon)?.sqrt()?.recip()?.to_vec1()?;
        Ok(Normalise { mean: mean.to_vec1()?, inverse_std, relu })
    }

    /// Moves the moving statistics towards a batch's mean and biased variance over `count` pixels.
    fn follow(&self, mean: &Tensor, variance: &Tensor, count: usize) -> Result<()> {
        let unbiased = (variance * (count as f64 / (count as f64 - 1.0).max(1.0)))?;
        let moved = |old: &Var, new: &Tensor| {
            ((old.as_tensor() * (1.0 - self.momentum))? + (new * self.momentum)?)?.detach().copy()
        };
        self.moving_mean.set(&moved(&self.moving_mean, mean)?)?;
        self.moving_variance.set(&moved(&self.moving_variance, &unbiased)?)
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

    /// Normalises with the moving statistics, and applies ReLU if `relu`. Differentiable in `x`, `gamma` and `beta`.
    ///
    /// # Errors
    /// Other shapes than `[N, C, H, W]`.
    pub fn infer(&self, x: &Tensor, relu: bool) -> Result<Tensor> {
        #[cfg(feature = "cuda")]
        if x.device().is_cuda() {
            let (mean, variance) = (self.moving_mean.as_detached_tensor(), self.moving_variance.as_detached_tensor());
            let y =
                super::cuda::operators::batch_norm_inference(x, &self.gamma, &self.beta, mean, variance, self.epsilon)?;
            return if relu { y.relu() } else { Ok(y) };
        }
        let inverse_std = (self.moving_variance.as_detached_tensor() + self.epsilon)?.sqrt()?.recip()?;
        let scale = self.gamma.mul(&inverse_std)?;
        let shift = self.beta.sub(&(self.moving_mean.as_detached_tensor() * &scale)?)?;
        let row = (1, scale.elem_count(), 1, 1);
        let y = x.broadcast_mul(&scale.reshape(row)?)?.broadcast_add(&shift.reshape(row)?)?;
        if relu { y.relu() } else { Ok(y) }
    }
}

fn kernel_shape(x: &Shape) -> Result<batch_norm::Shape> {
    let (batch, channels, h, w) = x.dims4()?;
    Ok(batch_norm::Shape { batch, channels, pixels: h * w })
}

/// Mean and biased variance of each channel, each `[C]`.
fn moments(x: &Tensor) -> Result<(Tensor, Tensor)> {
    let shape = kernel_shape(x.shape())?;
    let (means, variances) = with_values(x, "batch norm", |x| batch_norm::moments(shape, x))?;
    Ok((Tensor::new(means, x.device())?, Tensor::new(variances, x.device())?))
}

/// Input, scale and shift to the normalised output, with the statistics that were taken of the input.
struct Normalise {
    mean: Vec<f32>,
    inverse_std: Vec<f32>,
    relu: bool,
}

impl CustomOp3 for Normalise {
    fn name(&self) -> &'static str {
        "batch norm"
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
        let gamma = contiguous(gamma, gl, self.name())?;
        let beta = contiguous(beta, bl, self.name())?;
        self.forward(contiguous(x, xl, self.name())?, xl.shape(), gamma, beta)
    }

    fn bwd(
        &self,
        x: &Tensor,
        gamma: &Tensor,
        beta: &Tensor,
        _: &Tensor,
        gradient: &Tensor,
    ) -> Result<(Option<Tensor>, Option<Tensor>, Option<Tensor>)> {
        let (to_x, to_gamma, to_beta) = self.gradients(x, gamma.to_vec1()?, beta.to_vec1()?, gradient)?;
        let device = x.device();
        Ok((Some(to_x), Some(Tensor::new(to_gamma, device)?), Some(Tensor::new(to_beta, device)?)))
    }
}

impl Normalise {
    fn forward(&self, x: &[f32], shape: &Shape, gamma: &[f32], beta: &[f32]) -> Result<(CpuStorage, Shape)> {
        let scale: Vec<f32> = gamma.iter().zip(&self.inverse_std).map(|(g, s)| g * s).collect();
        let shift: Vec<f32> = beta.iter().zip(&scale).zip(&self.mean).map(|((b, s), m)| b - s * m).collect();
        let sizes = kernel_shape(shape)?;
        computed(shape.clone(), |y| {
            batch_norm::scale_and_shift(sizes, x, &scale, &shift, self.relu, y);
            Ok(())
        })
    }

    /// To input, scale and shift.
    fn gradients(
        &self,
        x: &Tensor,
        gamma: Vec<f32>,
        beta: Vec<f32>,
        gradient: &Tensor,
    ) -> Result<(Tensor, Vec<f32>, Vec<f32>)> {
        let operator = NormaliseGradient { forward: self, gamma, beta, to_scale_and_shift: Cell::new(None) };
        let to_x = x.apply_op2_no_bwd(&gradient.contiguous()?, &operator)?;
        match operator.to_scale_and_shift.take() {
            Some((to_gamma, to_beta)) => Ok((to_x, to_gamma, to_beta)),
            None => candle_core::bail!("batch norm: no gradient to the scale"),
        }
    }
}

/// Input, weight, and scale and shift `[2, C]`, to the normalised convolution.
struct Convolved {
    /// The convolution's output, which the backward pass needs.
    convolved: Tensor,
    config: ConvolutionConfig,
    normalise: Normalise,
}

impl CustomOp3 for Convolved {
    fn name(&self) -> &'static str {
        "convolution and batch norm"
    }

    fn cpu_fwd(
        &self,
        _: &CpuStorage,
        _: &Layout,
        _: &CpuStorage,
        _: &Layout,
        scale_and_shift: &CpuStorage,
        layout: &Layout,
    ) -> Result<(CpuStorage, Shape)> {
        let scale_and_shift = contiguous(scale_and_shift, layout, self.name())?;
        let (gamma, beta) = scale_and_shift.split_at(scale_and_shift.len() / 2);
        with_values(&self.convolved, self.name(), |x| self.normalise.forward(x, self.convolved.shape(), gamma, beta))?
    }

    fn bwd(
        &self,
        x: &Tensor,
        weight: &Tensor,
        scale_and_shift: &Tensor,
        _: &Tensor,
        gradient: &Tensor,
    ) -> Result<(Option<Tensor>, Option<Tensor>, Option<Tensor>)> {
        let mut gamma = scale_and_shift.flatten_all()?.to_vec1::<f32>()?;
        let beta = gamma.split_off(gamma.len() / 2);
        let (inner, to_gamma, to_beta) = self.normalise.gradients(&self.convolved, gamma, beta, gradient)?;
        let to_x = match x.track_op() {
            true => Some(convolution_input_gradient(weight, &inner, x.shape(), self.config)?),
            false => None,
        };
        let to_weight = convolution_weight_gradient(x, &inner, weight.shape(), self.config)?;
        Ok((to_x, Some(to_weight), Some(Tensor::new(vec![to_gamma, to_beta], x.device())?)))
    }
}

/// Input and output's gradient to input's gradient; those of scale and shift come on the way.
struct NormaliseGradient<'a> {
    forward: &'a Normalise,
    gamma: Vec<f32>,
    beta: Vec<f32>,
    to_scale_and_shift: Cell<Option<(Vec<f32>, Vec<f32>)>>,
}

impl CustomOp2 for NormaliseGradient<'_> {
    fn name(&self) -> &'static str {
        "batch norm gradient"
    }

    fn cpu_fwd(&self, x: &CpuStorage, xl: &Layout, d: &CpuStorage, dl: &Layout) -> Result<(CpuStorage, Shape)> {
        let shape = kernel_shape(xl.shape())?;
        let (x, d) = (contiguous(x, xl, self.name())?, contiguous(d, dl, self.name())?);
        let statistics = Statistics {
            gamma: &self.gamma,
            beta: &self.beta,
            mean: &self.forward.mean,
            inverse_std: &self.forward.inverse_std,
            relu: self.forward.relu,
        };
        computed(xl.shape().clone(), |out| {
            self.to_scale_and_shift.set(Some(batch_norm::gradient(shape, x, d, statistics, out)));
            Ok(())
        })
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::{super::seeded, *};

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
    fn convolved_in_one_operator_or_in_two_is_the_same() {
        let device = Device::Cpu;
        let x = Var::from_tensor(&seeded::normal((2, 3, 9, 10), 1.0, 1, &device).unwrap()).unwrap();
        let weight = Var::from_tensor(&seeded::normal((4, 3, 3, 3), 0.3, 2, &device).unwrap()).unwrap();
        let pull = seeded::normal((2, 4, 9, 10), 1.0, 3, &device).unwrap();
        let config = ConvolutionConfig::dense(3);
        let run = |one: bool| {
            let norm = BatchNorm::new(4, &device).unwrap();
            norm.gamma.set(&Tensor::new(&[0.5f32, 1.5, -1.0, 2.0], &device).unwrap()).unwrap();
            norm.beta.set(&Tensor::new(&[0.1f32, -0.2, 0.3, 0.0], &device).unwrap()).unwrap();
            let y = if one {
                norm.train_convolved(&x, &weight, config, true).unwrap()
            } else {
                norm.train(&convolution(&x, &weight, config).unwrap(), true).unwrap()
            };
            let gradients = (&y * &pull).unwrap().sum_all().unwrap().backward().unwrap();
            let mut all = vec![y, norm.moving_mean.as_tensor().clone(), norm.moving_variance.as_tensor().clone()];
            all.extend([&x, &weight, &norm.gamma, &norm.beta].map(|var| gradients.get(var).unwrap().clone()));
            all.iter().flat_map(|t| t.flatten_all().unwrap().to_vec1::<f32>().unwrap()).collect::<Vec<_>>()
        };
        assert_eq!(run(true), run(false));
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
