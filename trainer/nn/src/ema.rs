//! An exponential moving average of a net's variables (Polyak and Juditsky 1992), which often scores better than the last
//! weights and never worse by chance of the last step.
//!
//! The decay of step `t` is `min(decay, (1 + t) / (10 + t))`, as in TensorFlow's `ExponentialMovingAverage`, so that
//! a short run is not held at its first weights. Moving statistics of batch norm are averaged with the weights.

use std::collections::BTreeMap;

use candle_core::{Result, Tensor, Var};
use rayon::prelude::*;

use super::{
    in_place::{CHUNK, with_values_mut},
    with_values,
};

/// Variables and their moving average.
pub struct Ema {
    decay: f64,
    updates: usize,
    averages: Vec<(String, Var, Tensor)>,
}

impl Ema {
    /// Starts at what the variables, f32, are now.
    ///
    /// # Errors
    /// When the device refuses the memory.
    pub fn new(variables: Vec<(String, Var)>, decay: f64) -> Result<Self> {
        let averages = variables
            .into_iter()
            .map(|(name, var)| {
                let average = var.as_detached_tensor().copy()?;
                Ok((name, var, average))
            })
            .collect::<Result<_>>()?;
        Ok(Self { decay, updates: 0, averages })
    }

    /// Updates so far.
    pub fn updates(&self) -> usize {
        self.updates
    }

    /// Takes in the variables after a step: `average += (1 - decay) (variable - average)`.
    ///
    /// # Errors
    /// When the device fails.
    pub fn update(&mut self) -> Result<()> {
        let t = self.updates as f64;
        let share = 1.0 - self.decay.min((1.0 + t) / (10.0 + t));
        self.updates += 1;
        for (_, var, average) in &mut self.averages {
            if !var.device().is_cpu() {
                *average = (&*average + ((var.as_detached_tensor() - &*average)? * share)?)?;
                continue;
            }
            let share = share as f32;
            let pass = |a: &mut [f32], w: &[f32]| a.iter_mut().zip(w).for_each(|(a, w)| *a += share * (w - *a));
            let mut inner = Ok(());
            with_values_mut(average, |a| {
                inner = with_values(var, "moving average", |w| {
                    if a.len() <= CHUNK {
                        return pass(a, w);
                    }
                    a.par_chunks_mut(CHUNK).zip(w.par_chunks(CHUNK)).for_each(|(a, w)| pass(a, w));
                });
            })?;
            inner?;
        }
        Ok(())
    }

    /// Puts the averages into the variables and keeps what was there; a second call puts it back.
    ///
    /// # Errors
    /// When the device fails.
    pub fn exchange(&mut self) -> Result<()> {
        for (_, var, average) in &mut self.averages {
            let before = var.as_detached_tensor().copy()?;
            var.set(average)?;
            *average = before;
        }
        Ok(())
    }

    /// The averages, named `ema.<variable>`. They are the struct's own memory, and change with the next update.
    pub fn state(&self) -> impl Iterator<Item = (String, Tensor)> {
        self.averages.iter().map(|(name, _, average)| (format!("ema.{name}"), average.clone()))
    }

    /// Goes on after `updates` updates with averages that [`Self::state`] gave.
    ///
    /// # Errors
    /// When an average is missing or has another shape.
    pub fn restore(&mut self, updates: usize, state: &BTreeMap<String, Tensor>) -> Result<()> {
        for (name, var, average) in &mut self.averages {
            match state.get(&format!("ema.{name}")) {
                Some(saved) if saved.shape() == var.shape() => *average = saved.copy()?,
                _ => candle_core::bail!("the moving average ema.{name} is missing, or has another shape"),
            }
        }
        self.updates = updates;
        Ok(())
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use candle_core::Device;

    use super::*;

    #[test]
    fn the_average_is_its_formula_and_changes_places() {
        let var = Var::new(&[1.0f32, 10.0], &Device::Cpu).unwrap();
        let mut ema = Ema::new(vec![("w".into(), var.clone())], 0.2).unwrap();
        let mut expected = [1.0f64, 10.0];
        for step in 0..5u8 {
            let now = [f32::from(step), 10.0 - f32::from(step)];
            var.set(&Tensor::new(&now, &Device::Cpu).unwrap()).unwrap();
            ema.update().unwrap();
            // The decay is 0.1, 2 / 11, then the limit.
            let decay = f64::min(0.2, (1.0 + f64::from(step)) / (10.0 + f64::from(step)));
            expected.iter_mut().zip(now).for_each(|(e, w)| *e = decay * *e + (1.0 - decay) * f64::from(w));
        }
        let last = var.to_vec1::<f32>().unwrap();
        ema.exchange().unwrap();
        let averaged = var.to_vec1::<f32>().unwrap();
        for (a, e) in averaged.iter().zip(expected) {
            assert!((f64::from(*a) - e).abs() < 1e-6, "{averaged:?} {expected:?}");
        }
        ema.exchange().unwrap();
        assert_eq!(var.to_vec1::<f32>().unwrap(), last);
    }

    #[test]
    fn a_restored_average_goes_on_as_if_never_stopped() {
        let run = |stop: bool| {
            let var = Var::new(&[1.0f32], &Device::Cpu).unwrap();
            let fresh = || Ema::new(vec![("w".into(), var.clone())], 0.9).unwrap();
            let mut ema = fresh();
            for step in 0..4u8 {
                if stop && step == 2 {
                    let state = ema.state().collect();
                    let updates = ema.updates();
                    ema = fresh();
                    ema.restore(updates, &state).unwrap();
                }
                var.set(&Tensor::new(&[f32::from(step) * 0.3], &Device::Cpu).unwrap()).unwrap();
                ema.update().unwrap();
            }
            ema.exchange().unwrap();
            var.to_vec1::<f32>().unwrap()
        };
        assert_eq!(run(false), run(true));
        assert!(
            Ema::new(vec![("w".into(), Var::new(&[0f32], &Device::Cpu).unwrap())], 0.9)
                .unwrap()
                .restore(1, &BTreeMap::new())
                .is_err()
        );
    }
}
