//! AdamW (Loshchilov and Hutter 2019) and SGD with momentum (Sutskever et al. 2013), as PyTorch computes them, with
//! weight decay by group, a limit on the gradients' norm, and a state that can be saved.
//!
//! On a CPU a step is one pass over each variable, its moments and its gradient, shared among threads; what a value
//! becomes does not depend on their number. On other devices the same formulas are written with candle's operations.

use std::collections::BTreeMap;

use candle_core::{DType, Result, Tensor, Var, backprop::GradStore};
use rayon::prelude::*;
use serde::{Deserialize, Serialize};

use super::{
    in_place::{CHUNK, sum_of_squares, with_values_mut},
    with_values,
};

/// Parameters of AdamW, with PyTorch's defaults.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct AdamWConfig {
    /// Decay of the mean of the gradients.
    pub beta1: f64,
    /// Decay of the mean of their squares.
    pub beta2: f64,
    /// Added to the denominator.
    pub epsilon: f64,
    /// Decoupled weight decay: a step takes the share `learning_rate * weight_decay` from each weight.
    pub weight_decay: f64,
}

impl Default for AdamWConfig {
    fn default() -> Self {
        Self { beta1: 0.9, beta2: 0.999, epsilon: 1e-8, weight_decay: 1e-2 }
    }
}

/// Parameters of SGD with momentum.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct SgdConfig {
    /// Share of the last step's direction that is kept; 0 is plain gradient descent.
    pub momentum: f64,
    /// Nesterov's form: the gradient is added to the direction once more after the momentum.
    pub nesterov: bool,
    /// Times the weight, added to its gradient (L2 penalty, as in PyTorch's SGD).
    pub weight_decay: f64,
}

impl Default for SgdConfig {
    fn default() -> Self {
        Self { momentum: 0.9, nesterov: false, weight_decay: 1e-4 }
    }
}

/// Which optimizer, and its parameters.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "snake_case")]
pub enum OptimizerConfig {
    /// AdamW.
    Adamw(AdamWConfig),
    /// SGD with momentum.
    Sgd(SgdConfig),
}

impl Default for OptimizerConfig {
    fn default() -> Self {
        Self::Adamw(AdamWConfig::default())
    }
}

impl From<AdamWConfig> for OptimizerConfig {
    fn from(config: AdamWConfig) -> Self {
        Self::Adamw(config)
    }
}

impl From<SgdConfig> for OptimizerConfig {
    fn from(config: SgdConfig) -> Self {
        Self::Sgd(config)
    }
}

impl OptimizerConfig {
    /// The weight decay of variables that decay.
    pub fn weight_decay(&self) -> f64 {
        match self {
            Self::Adamw(config) => config.weight_decay,
            Self::Sgd(config) => config.weight_decay,
        }
    }

    /// What is wrong with the optimizer's numbers, if anything.
    pub fn problem(&self) -> Option<&'static str> {
        let share = |value: f64| (0.0..1.0).contains(&value);
        if self.weight_decay().is_nan() || self.weight_decay() < 0.0 {
            return Some("the weight decay must not be negative");
        }
        match *self {
            Self::Adamw(AdamWConfig { beta1, beta2, epsilon, .. })
                if !(share(beta1) && share(beta2) && epsilon >= 0.0) =>
            {
                Some("AdamW's betas must be at least 0 and below 1, its epsilon not negative")
            }
            Self::Sgd(SgdConfig { momentum, .. }) if !share(momentum) => {
                Some("the momentum must be at least 0 and below 1")
            }
            Self::Sgd(SgdConfig { momentum: 0.0, nesterov: true, .. }) => {
                Some("Nesterov's form needs a momentum above 0")
            }
            _ => None,
        }
    }

    /// The names of what the optimizer remembers of each variable.
    fn moments(&self) -> &'static [&'static str] {
        match self {
            Self::Adamw(_) => &["first", "second"],
            Self::Sgd(SgdConfig { momentum: 0.0, .. }) => &[],
            Self::Sgd(_) => &["momentum"],
        }
    }
}

/// Variables with a weight decay of their own.
pub struct ParameterGroup {
    /// The variables, f32, by name.
    pub variables: Vec<(String, Var)>,
    /// Their weight decay.
    pub weight_decay: f64,
}

/// The usual grouping: `weight_decay` for matrices and filters, none for biases and normalisation (rank 1 and below).
pub fn default_groups(variables: Vec<(String, Var)>, weight_decay: f64) -> Vec<ParameterGroup> {
    let (decayed, plain) = variables.into_iter().partition(|(_, var)| var.rank() > 1);
    vec![ParameterGroup { variables: decayed, weight_decay }, ParameterGroup { variables: plain, weight_decay: 0.0 }]
}

/// A variable and what the optimizer knows of it.
struct Parameter {
    name: String,
    var: Var,
    weight_decay: f64,
    /// Its learning rate as a share of the step's.
    rate: f64,
    moments: Vec<Tensor>,
}

/// The optimizer of a net's variables.
pub struct Optimizer {
    config: OptimizerConfig,
    steps: usize,
    parameters: Vec<Parameter>,
}

impl Optimizer {
    /// An optimizer of `variables`, which are f32, in the [default groups](default_groups).
    ///
    /// # Errors
    /// As [`Self::with_groups`].
    pub fn new(variables: Vec<(String, Var)>, config: impl Into<OptimizerConfig>) -> Result<Self> {
        let config = config.into();
        Self::with_groups(default_groups(variables, config.weight_decay()), config)
    }

    /// An optimizer of all variables of `groups`; the groups' weight decay counts, not that of `config`.
    ///
    /// # Errors
    /// Variables that are not f32; when the device refuses the memory.
    pub fn with_groups(groups: Vec<ParameterGroup>, config: impl Into<OptimizerConfig>) -> Result<Self> {
        let config = config.into();
        let mut parameters = vec![];
        for ParameterGroup { variables, weight_decay } in groups {
            for (name, var) in variables {
                if var.dtype() != DType::F32 {
                    candle_core::bail!("{name}: {:?}; variables are kept in f32 and cast in the net", var.dtype());
                }
                let moments = config.moments().iter().map(|_| var.zeros_like()).collect::<Result<_>>()?;
                parameters.push(Parameter { name, var, weight_decay, rate: 1.0, moments });
            }
        }
        Ok(Self { config, steps: 0, parameters })
    }

    /// Gives each variable the learning rate that `of` tells by its name, as a share of the step's.
    #[must_use]
    pub fn with_rates(mut self, of: impl Fn(&str) -> f64) -> Self {
        self.parameters.iter_mut().for_each(|parameter| parameter.rate = of(&parameter.name));
        self
    }

    /// Steps taken so far.
    pub fn steps(&self) -> usize {
        self.steps
    }

    /// The variables' names, in the order of [`Self::gradients`].
    pub fn names(&self) -> impl Iterator<Item = &str> {
        self.parameters.iter().map(|parameter| parameter.name.as_str())
    }

    /// A scalar zero, then a zero gradient of each variable: what a rank tells that has found none.
    pub(super) fn zeros(&self) -> Result<Vec<Tensor>> {
        let gradients = self.parameters.iter().map(|parameter| parameter.var.zeros_like());
        match self.parameters.first() {
            None => Ok(vec![]),
            Some(first) => {
                std::iter::once(Tensor::zeros((), DType::F32, first.var.device())).chain(gradients).collect()
            }
        }
    }

    /// The gradient of each variable, contiguous and cut from the graph.
    ///
    /// # Errors
    /// A variable that the loss does not depend on.
    pub fn gradients(&self, store: &GradStore) -> Result<Vec<Tensor>> {
        self.parameters
            .iter()
            .map(|Parameter { name, var, .. }| match store.get(var) {
                Some(gradient) => gradient.detach().contiguous(),
                None => candle_core::bail!("{name} has no gradient: the loss does not depend on it"),
            })
            .collect()
    }

    /// One step down `gradients` at `learning_rate`.
    ///
    /// # Errors
    /// As [`Self::gradients`]; when the device fails.
    pub fn step(&mut self, gradients: &GradStore, learning_rate: f64) -> Result<()> {
        let gradients = self.gradients(gradients)?;
        self.update(&gradients, learning_rate, 1.0)
    }

    /// One step down `factor` times `gradients`, which stand in the order of [`Self::gradients`]; the factor is
    /// [`clip_factor`]'s, or undoes a scaled loss.
    ///
    /// # Errors
    /// Gradients of other shapes; when the device fails.
    pub fn update(&mut self, gradients: &[Tensor], learning_rate: f64, factor: f64) -> Result<()> {
        if gradients.len() != self.parameters.len() {
            candle_core::bail!("{} gradients for {} variables", gradients.len(), self.parameters.len());
        }
        self.steps += 1;
        for (parameter, gradient) in self.parameters.iter_mut().zip(gradients) {
            if gradient.shape() != parameter.var.shape() {
                candle_core::bail!(
                    "{}: gradient {:?} of a variable {:?}",
                    parameter.name,
                    gradient.shape(),
                    parameter.var.shape()
                );
            }
            let rate = learning_rate * parameter.rate;
            match &self.config {
                OptimizerConfig::Adamw(config) => adamw(parameter, gradient, config, self.steps, rate, factor)?,
                OptimizerConfig::Sgd(config) => sgd(parameter, gradient, config, rate, factor)?,
            }
        }
        Ok(())
    }

    /// The moments, named `<moment>.<variable>`: `first` and `second` of AdamW, `momentum` of SGD. They are the
    /// optimizer's own memory, and change with the next step.
    pub fn state(&self) -> impl Iterator<Item = (String, Tensor)> {
        self.parameters.iter().flat_map(|Parameter { name, moments, .. }| {
            let named = self.config.moments().iter().zip(moments);
            named.map(move |(kind, moment)| (format!("{kind}.{name}"), moment.clone()))
        })
    }

    /// Goes on after `steps` steps with moments that [`Self::state`] gave.
    ///
    /// # Errors
    /// When a moment is missing or has another shape.
    pub fn restore(&mut self, steps: usize, state: &BTreeMap<String, Tensor>) -> Result<()> {
        for Parameter { name, var, moments, .. } in &mut self.parameters {
            for (kind, moment) in self.config.moments().iter().zip(moments) {
                match state.get(&format!("{kind}.{name}")) {
                    Some(saved) if saved.shape() == var.shape() => *moment = saved.copy()?,
                    Some(saved) => candle_core::bail!(
                        "optimizer state {kind}.{name}: shape {:?}, expected {:?}",
                        saved.shape(),
                        var.shape()
                    ),
                    None => candle_core::bail!("optimizer state {kind}.{name} is missing"),
                }
            }
        }
        self.steps = steps;
        Ok(())
    }
}

/// One step of AdamW on values in memory: `m += (1 - beta1) (g - m)`; `v = beta2 v + (1 - beta2) g^2`; `w = (1 - rate decay) w -
/// rate / c1 * m / (sqrt(v) / sqrt(c2) + epsilon)` with `c = 1 - beta^steps`: the form of `torch.optim.AdamW`.
#[derive(Clone, Copy, Debug)]
pub struct AdamWStep {
    to_first: f64,
    beta2: f64,
    to_second: f64,
    rate: f64,
    correction: f64,
    keep: f64,
    epsilon: f64,
    factor: f64,
}

impl AdamWStep {
    /// Step number `steps`, counted from 1, at `learning_rate`, down `factor` times the gradients, with the weight decay of `config`.
    pub fn new(config: &AdamWConfig, steps: usize, learning_rate: f64, factor: f64) -> Self {
        let AdamWConfig { beta1, beta2, epsilon, weight_decay } = *config;
        let steps = i32::try_from(steps).unwrap_or(i32::MAX);
        Self {
            to_first: 1.0 - beta1,
            beta2,
            to_second: 1.0 - beta2,
            rate: learning_rate / (1.0 - beta1.powi(steps)),
            correction: (1.0 - beta2.powi(steps)).sqrt(),
            keep: 1.0 - learning_rate * weight_decay,
            epsilon,
            factor,
        }
    }

    /// Moves the weights `w` and both moments, `m` and `v`, by the gradients `g`; all are of one length.
    pub fn apply(&self, w: &mut [f32], m: &mut [f32], v: &mut [f32], g: &[f32]) {
        let [to_first, beta2, to_second, rate] =
            [self.to_first, self.beta2, self.to_second, self.rate].map(|number| number as f32);
        let [correction, keep, epsilon, factor] =
            [self.correction, self.keep, self.epsilon, self.factor].map(|number| number as f32);
        for (((w, m), v), g) in w.iter_mut().zip(m).zip(v).zip(g) {
            let g = g * factor;
            *m += to_first * (g - *m);
            *v = *v * beta2 + to_second * g * g;
            *w = *w * keep - rate * (*m / (v.sqrt() / correction + epsilon));
        }
    }
}

/// [`AdamWStep`], on any device.
fn adamw(
    Parameter { var, weight_decay, moments, .. }: &mut Parameter,
    gradient: &Tensor,
    config: &AdamWConfig,
    steps: usize,
    learning_rate: f64,
    factor: f64,
) -> Result<()> {
    let [first, second] = moments.as_mut_slice() else {
        candle_core::bail!("AdamW needs two moments");
    };
    let config = AdamWConfig { weight_decay: *weight_decay, ..*config };
    let step = AdamWStep::new(&config, steps, learning_rate, factor);
    if !var.device().is_cpu() {
        let AdamWStep { to_first, beta2, to_second, rate, correction, keep, epsilon, factor } = step;
        let g = (gradient * factor)?;
        *first = (&*first + ((&g - &*first)? * to_first)?)?;
        *second = ((&*second * beta2)? + (g.sqr()? * to_second)?)?;
        let denominator = ((second.sqrt()? / correction)? + epsilon)?;
        let step = (first.div(&denominator)? * rate)?;
        return var.set(&((var.as_detached_tensor() * keep)? - step)?);
    }
    let pass = |w: &mut [f32], m: &mut [f32], v: &mut [f32], g: &[f32]| step.apply(w, m, v, g);
    let mut inner = Ok(());
    with_values_mut(var, |w| {
        inner = with_values(gradient, "AdamW", |g| {
            let mut second_result = Ok(());
            let first_result = with_values_mut(first, |m| {
                second_result = with_values_mut(second, |v| {
                    if w.len() <= CHUNK {
                        return pass(w, m, v, g);
                    }
                    w.par_chunks_mut(CHUNK)
                        .zip(m.par_chunks_mut(CHUNK))
                        .zip(v.par_chunks_mut(CHUNK))
                        .zip(g.par_chunks(CHUNK))
                        .for_each(|(((w, m), v), g)| pass(w, m, v, g));
                });
            });
            first_result.and(second_result)
        })
        .and_then(|result| result);
    })?;
    inner
}

/// `d = g + decay w`; `b = momentum b + d`; `w -= rate b`, or `rate (d + momentum b)` with Nesterov: `torch.optim.SGD`.
fn sgd(
    Parameter { var, weight_decay, moments, .. }: &mut Parameter,
    gradient: &Tensor,
    config: &SgdConfig,
    learning_rate: f64,
    factor: f64,
) -> Result<()> {
    let SgdConfig { momentum, nesterov, .. } = *config;
    let moment = moments.first_mut();
    if !var.device().is_cpu() {
        let d = ((gradient * factor)? + (var.as_detached_tensor() * *weight_decay)?)?;
        let direction = match moment {
            None => d,
            Some(b) => {
                *b = ((&*b * momentum)? + &d)?;
                if nesterov { (d + (&*b * momentum)?)? } else { b.clone() }
            }
        };
        return var.set(&(var.as_detached_tensor() - (direction * learning_rate)?)?);
    }
    let [decay, momentum, rate, factor] = [*weight_decay, momentum, learning_rate, factor].map(|v| v as f32);
    let plain = |w: &mut [f32], g: &[f32]| {
        w.iter_mut().zip(g).for_each(|(w, g)| *w -= rate * (g * factor + decay * *w));
    };
    let with_momentum = |w: &mut [f32], b: &mut [f32], g: &[f32]| {
        for ((w, b), g) in w.iter_mut().zip(b).zip(g) {
            let d = g * factor + decay * *w;
            *b = momentum * *b + d;
            *w -= rate * if nesterov { d + momentum * *b } else { *b };
        }
    };
    let mut inner = Ok(());
    with_values_mut(var, |w| {
        inner = with_values(gradient, "SGD", |g| match moment {
            None if w.len() <= CHUNK => {
                plain(w, g);
                Ok(())
            }
            None => {
                w.par_chunks_mut(CHUNK).zip(g.par_chunks(CHUNK)).for_each(|(w, g)| plain(w, g));
                Ok(())
            }
            Some(moment) => with_values_mut(moment, |b| {
                if w.len() <= CHUNK {
                    return with_momentum(w, b, g);
                }
                w.par_chunks_mut(CHUNK)
                    .zip(b.par_chunks_mut(CHUNK))
                    .zip(g.par_chunks(CHUNK))
                    .for_each(|((w, b), g)| with_momentum(w, b, g));
            }),
        })
        .and_then(|result| result);
    })?;
    inner
}

/// Euclidean norm of all gradients together; not finite if one value is not. On a CPU the sum is f64 in a fixed order.
///
/// # Errors
/// When the device fails.
pub fn global_norm(gradients: &[Tensor]) -> Result<f64> {
    let Some(first) = gradients.first() else { return Ok(0.0) };
    if first.device().is_cpu() {
        let squares = gradients.iter().map(|gradient| with_values(gradient, "gradient norm", sum_of_squares));
        return Ok(squares.sum::<Result<f64>>()?.sqrt());
    }
    // One transfer, not one a variable.
    let squares: Vec<Tensor> = gradients.iter().map(|gradient| gradient.sqr()?.sum_all()).collect::<Result<_>>()?;
    let squares = Tensor::stack(&squares, 0)?.to_vec1::<f32>()?;
    Ok(squares.into_iter().map(f64::from).sum::<f64>().sqrt())
}

/// What gradients of norm `norm` are multiplied by so that it is at most `limit`: `min(1, limit / (norm + 1e-6))`, as
/// `torch.nn.utils.clip_grad_norm_`.
pub fn clip_factor(norm: f64, limit: Option<f64>) -> f64 {
    limit.map_or(1.0, |limit| (limit / (norm + 1e-6)).min(1.0))
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use candle_core::Device;

    use super::*;

    /// A variable with half of the rate moves as one that is alone with half of it.
    #[test]
    fn a_variable_may_have_a_rate_of_its_own() {
        for config in [OptimizerConfig::Adamw(AdamWConfig::default()), OptimizerConfig::Sgd(SgdConfig::default())] {
            let moved = |rates: [f64; 2], learning_rate: f64| -> Vec<Vec<f32>> {
                let vars: Vec<Var> = (0..2)
                    .map(|n| {
                        Var::from_tensor(&Tensor::arange(n as f32, n as f32 + 6.0, &Device::Cpu).unwrap()).unwrap()
                    })
                    .collect();
                let named = vars.iter().zip(["a", "b"]).map(|(var, name)| (name.to_owned(), var.clone())).collect();
                let mut optimizer =
                    Optimizer::new(named, config).unwrap().with_rates(|name| rates[usize::from(name == "b")]);
                for _ in 0..3 {
                    let gradients: Vec<Tensor> =
                        vars.iter().map(|var| var.as_detached_tensor().sqr().unwrap()).collect();
                    optimizer.update(&gradients, learning_rate, 1.0).unwrap();
                }
                vars.iter().map(|var| var.flatten_all().unwrap().to_vec1().unwrap()).collect()
            };
            let (apart, whole, half) = (moved([1.0, 0.5], 0.02), moved([1.0; 2], 0.02), moved([1.0; 2], 0.01));
            assert_eq!((&apart[0], &apart[1]), (&whole[0], &half[1]));
            assert_ne!(apart[1], whole[1]);
        }
    }

    #[test]
    fn three_steps_equal_the_published_update() {
        let var = Var::new(&[[1.0f32, -2.0]], &Device::Cpu).unwrap();
        let mut optimizer = Optimizer::new(vec![("w".into(), var.clone())], AdamWConfig::default()).unwrap();
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

    const SGD: [SgdConfig; 3] = [
        SgdConfig { momentum: 0.0, nesterov: false, weight_decay: 0.1 },
        SgdConfig { momentum: 0.9, nesterov: false, weight_decay: 0.1 },
        SgdConfig { momentum: 0.9, nesterov: true, weight_decay: 0.1 },
    ];

    #[test]
    fn a_restored_optimizer_goes_on_as_if_never_stopped() {
        let run = |config: OptimizerConfig, stop: Option<usize>| {
            let var = Var::new(&[[1.0f32, -2.0, 0.5]], &Device::Cpu).unwrap();
            let fresh = || Optimizer::new(vec![("w".into(), var.clone())], config).unwrap();
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
        for config in [OptimizerConfig::default()].into_iter().chain(SGD.map(OptimizerConfig::from)) {
            assert_eq!(run(config, None), run(config, Some(3)));
        }
    }

    /// Weights after each of four steps down the gradient `g_i = sin(3 i + step) + w_i`, with weight decay 0.1 on the matrix
    /// and none on the vector, and gradients clipped to a norm of 1; values of `trainer/references/optimizer_references.py`.
    #[test]
    fn steps_equal_pytorchs() {
        let references: BTreeMap<String, Vec<Vec<f32>>> =
            serde_json::from_str(include_str!("../../tests/references/optimizer.json")).unwrap();
        let configs = [
            ("adamw", OptimizerConfig::from(AdamWConfig { weight_decay: 0.1, ..Default::default() })),
            ("sgd", SGD[0].into()),
            ("sgd_momentum", SGD[1].into()),
            ("sgd_nesterov", SGD[2].into()),
        ];
        assert_eq!(references.len(), configs.len());
        for (name, config) in configs {
            let device = Device::Cpu;
            let matrix = Var::new(&[[0.5f32, -1.0, 2.0], [0.25, 0.0, -0.125]], &device).unwrap();
            let vector = Var::new(&[1.0f32, -0.5], &device).unwrap();
            let variables = vec![("matrix".to_owned(), matrix.clone()), ("vector".to_owned(), vector.clone())];
            let mut optimizer = Optimizer::new(variables, config).unwrap();
            for (step, expected) in references[name].iter().enumerate() {
                let gradients: Vec<Tensor> = [&matrix, &vector]
                    .iter()
                    .map(|var| {
                        let wave: Vec<f32> = (0..var.elem_count()).map(|i| ((3 * i + step) as f32).sin()).collect();
                        (Tensor::from_vec(wave, var.shape(), &device).unwrap() + var.as_tensor()).unwrap().detach()
                    })
                    .collect();
                let factor = clip_factor(global_norm(&gradients).unwrap(), Some(1.0));
                optimizer.update(&gradients, 0.1, factor).unwrap();
                let mut weights = matrix.flatten_all().unwrap().to_vec1::<f32>().unwrap();
                weights.extend(vector.to_vec1::<f32>().unwrap());
                for (ours, theirs) in weights.iter().zip(expected) {
                    assert!((ours - theirs).abs() < 1e-6, "{name}, step {step}: {weights:?} {expected:?}");
                }
            }
        }
    }

    #[test]
    fn the_number_of_threads_changes_no_bit() {
        let run = |threads: usize, config: OptimizerConfig| {
            rayon::ThreadPoolBuilder::new().num_threads(threads).build().unwrap().install(|| {
                let shape = (3, CHUNK + 5);
                let var =
                    Var::from_tensor(&super::super::seeded::normal(shape, 1.0, 1, &Device::Cpu).unwrap()).unwrap();
                let gradient = super::super::seeded::normal(shape, 1.0, 2, &Device::Cpu).unwrap();
                let mut optimizer = Optimizer::new(vec![("w".into(), var.clone())], config).unwrap();
                for _ in 0..3 {
                    let norm = global_norm(std::slice::from_ref(&gradient)).unwrap();
                    optimizer.update(std::slice::from_ref(&gradient), 0.1, clip_factor(norm, Some(1.0))).unwrap();
                }
                var.flatten_all().unwrap().to_vec1::<f32>().unwrap()
            })
        };
        for config in [OptimizerConfig::default()].into_iter().chain(SGD.map(OptimizerConfig::from)) {
            assert!(run(1, config) == run(3, config), "{config:?}");
        }
    }

    #[test]
    fn a_variable_that_the_loss_does_not_know_is_named() {
        let var = Var::new(&[1.0f32], &Device::Cpu).unwrap();
        let other = Var::new(&[1.0f32], &Device::Cpu).unwrap();
        let mut optimizer = Optimizer::new(vec![("forgotten".into(), other)], AdamWConfig::default()).unwrap();
        let error = optimizer.step(&var.sum_all().unwrap().backward().unwrap(), 0.1).unwrap_err().to_string();
        assert!(error.contains("forgotten"), "{error}");
    }

    #[test]
    fn the_norm_is_of_all_gradients_and_sees_what_is_not_finite() {
        let tensors = |values: [f32; 2]| {
            [Tensor::new(&[values[0]], &Device::Cpu).unwrap(), Tensor::new(&[[values[1]]], &Device::Cpu).unwrap()]
        };
        assert_eq!(global_norm(&tensors([3.0, 4.0])).unwrap(), 5.0);
        assert!(!global_norm(&tensors([3.0, f32::NAN])).unwrap().is_finite());
        assert!(!global_norm(&tensors([f32::INFINITY, 0.0])).unwrap().is_finite());
        assert_eq!(clip_factor(0.5, Some(1.0)), 1.0);
        assert_eq!(clip_factor(50.0, None), 1.0);
    }
}
