//! AdamW (Loshchilov and Hutter 2019) whose state can be saved, and the one-cycle learning rate.

use std::collections::BTreeMap;

use candle_core::{Result, Tensor, Var, backprop::GradStore};

/// Parameters of [`AdamW`], with PyTorch's defaults.
#[derive(Clone, Copy, Debug)]
pub struct AdamWConfig {
    /// Decay of the mean of the gradients.
    pub beta1: f64,
    /// Decay of the mean of their squares.
    pub beta2: f64,
    /// Added to the denominator.
    pub epsilon: f64,
    /// Decoupled weight decay; not applied to vectors (biases, normalisation).
    pub weight_decay: f64,
}

impl Default for AdamWConfig {
    fn default() -> Self {
        Self { beta1: 0.9, beta2: 0.999, epsilon: 1e-8, weight_decay: 1e-2 }
    }
}

/// The optimizer, with a first and second moment for each named variable.
pub struct AdamW {
    config: AdamWConfig,
    step: usize,
    variables: Vec<(String, Var, Tensor, Tensor)>,
}

impl AdamW {
    /// Moments of zero for every variable.
    ///
    /// # Errors
    /// When the device refuses the memory.
    pub fn new(variables: Vec<(String, Var)>, config: AdamWConfig) -> Result<Self> {
        let variables = variables
            .into_iter()
            .map(|(name, var)| {
                let zeros = var.zeros_like()?;
                Ok((name, var, zeros.clone(), zeros))
            })
            .collect::<Result<_>>()?;
        Ok(Self { config, step: 0, variables })
    }

    /// Steps taken so far.
    pub fn steps(&self) -> usize {
        self.step
    }

    /// One step down `gradients` at `learning_rate`.
    ///
    /// # Errors
    /// When the device fails.
    pub fn step(&mut self, gradients: &GradStore, learning_rate: f64) -> Result<()> {
        self.step += 1;
        let AdamWConfig { beta1, beta2, epsilon, weight_decay } = self.config;
        let correction1 = 1.0 - beta1.powi(self.step as i32);
        let correction2 = 1.0 - beta2.powi(self.step as i32);
        for (_, var, first, second) in &mut self.variables {
            let Some(gradient) = gradients.get(var) else { continue };
            let gradient = gradient.detach();
            *first = ((&*first * beta1)? + (&gradient * (1.0 - beta1))?)?;
            *second = ((&*second * beta2)? + (gradient.sqr()? * (1.0 - beta2))?)?;
            let denominator = ((&*second / correction2)?.sqrt()? + epsilon)?;
            let update = (&*first * (learning_rate / correction1))?.div(&denominator)?;
            let decay = if var.rank() > 1 { 1.0 - learning_rate * weight_decay } else { 1.0 };
            var.set(&((var.as_detached_tensor() * decay)? - update)?)?;
        }
        Ok(())
    }

    /// The moments, named `first.<variable>` and `second.<variable>`.
    pub fn state(&self) -> impl Iterator<Item = (String, Tensor)> {
        self.variables.iter().flat_map(|(name, _, first, second)| {
            [(format!("first.{name}"), first.clone()), (format!("second.{name}"), second.clone())]
        })
    }

    /// Goes on after `step` steps with moments that [`Self::state`] gave.
    ///
    /// # Errors
    /// When a moment is missing or has another shape.
    pub fn restore(&mut self, step: usize, state: &BTreeMap<String, Tensor>) -> Result<()> {
        for (name, var, first, second) in &mut self.variables {
            for (kind, moment) in [("first", first), ("second", second)] {
                match state.get(&format!("{kind}.{name}")) {
                    Some(saved) if saved.shape() == var.shape() => *moment = saved.clone(),
                    Some(saved) => candle_core::bail!(
                        "optimizer state {kind}.{name}: shape {:?}, expected {:?}",
                        saved.shape(),
                        var.shape()
                    ),
                    None => candle_core::bail!("optimizer state {kind}.{name} is missing"),
                }
            }
        }
        self.step = step;
        Ok(())
    }
}

/// One-cycle schedule (Smith and Topin 2018): a cosine rise to `peak` over the first 30 % of the steps, then a cosine
/// fall to nearly nothing.
pub fn one_cycle(step: usize, steps: usize, peak: f64) -> f64 {
    let (start, end) = (peak / 25.0, peak / 25e4);
    let cosine = |from: f64, to: f64, share: f64| to + (from - to) * (1.0 + (std::f64::consts::PI * share).cos()) / 2.0;
    let rise = 0.3 * steps as f64;
    let step = step as f64;
    if step < rise {
        cosine(start, peak, step / rise)
    } else {
        cosine(peak, end, ((step - rise) / (steps as f64 - rise).max(1.0)).min(1.0))
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;
    use candle_core::Device;

    #[test]
    fn three_steps_equal_the_published_update() {
        let var = Var::new(&[[1.0f32, -2.0]], &Device::Cpu).unwrap();
        let mut optimizer = AdamW::new(vec![("w".into(), var.clone())], AdamWConfig::default()).unwrap();
        let (mut w, mut m, mut v) = ([1.0f64, -2.0], [0.0; 2], [0.0; 2]);
        for t in 1..=3 {
            let gradients = var.sqr().unwrap().sum_all().unwrap().backward().unwrap();
            optimizer.step(&gradients, 0.1).unwrap();
            for i in 0..2 {
                let g = 2.0 * w[i];
                m[i] = 0.9 * m[i] + 0.1 * g;
                v[i] = 0.999 * v[i] + 0.001 * g * g;
                let (mh, vh) = (m[i] / (1.0 - 0.9f64.powi(t)), v[i] / (1.0 - 0.999f64.powi(t)));
                w[i] = w[i] * (1.0 - 0.1 * 0.01) - 0.1 * mh / (vh.sqrt() + 1e-8);
            }
        }
        let got = var.to_vec2::<f32>().unwrap();
        for i in 0..2 {
            assert!((f64::from(got[0][i]) - w[i]).abs() < 1e-5, "{got:?} {w:?}");
        }
    }

    #[test]
    fn a_restored_optimizer_goes_on_as_if_never_stopped() {
        let run = |stop: Option<usize>| {
            let var = Var::new(&[[1.0f32, -2.0, 0.5]], &Device::Cpu).unwrap();
            let fresh = || AdamW::new(vec![("w".into(), var.clone())], AdamWConfig::default()).unwrap();
            let mut optimizer = fresh();
            for step in 0..6 {
                if stop == Some(step) {
                    let state = optimizer.state().collect();
                    let steps = optimizer.steps();
                    optimizer = fresh();
                    optimizer.restore(steps, &state).unwrap();
                }
                let gradients = var.sqr().unwrap().sum_all().unwrap().backward().unwrap();
                optimizer.step(&gradients, 0.1).unwrap();
            }
            var.to_vec2::<f32>().unwrap()
        };
        assert_eq!(run(None), run(Some(3)));
    }

    #[test]
    fn one_cycle_rises_and_falls() {
        assert!((one_cycle(0, 100, 1.0) - 0.04).abs() < 1e-9);
        assert!((one_cycle(30, 100, 1.0) - 1.0).abs() < 1e-9);
        assert!(one_cycle(100, 100, 1.0) < 1e-5);
    }
}
