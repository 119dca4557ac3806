//! The multilayer perceptron: one hidden layer of rectified units, fitted by stochastic gradient descent with Nesterov's
//! momentum, as scikit-learn's `MLPClassifier(solver="sgd")`.
//!
//! A step of gradient descent changes the first layer's weights by a combination of the pictures of the batch. What the layer
//! makes of *any* picture then changes by the same combination of inner products, and those are in the Gram matrix. So not
//! the hundred thousand weights of a unit are kept, but its values for all pictures: they begin as the products of the
//! features with the initial weights, for which the store is read once for many runs, and each step adds columns of the Gram
//! matrix. It is the same network with the same weights, to rounding; only that they are never written out.

use rand::{Rng as _, seq::SliceRandom as _};
use rayon::prelude::*;

use super::{
    ClassifierError,
    gram::Gram,
    parameters::MlpParameters,
    problem::Problem,
    run::Run,
    standard::{Standardised, blocks},
};
use crate::nn::{
    matmul::{View, multiply},
    seeded,
};

/// The probability of COVID-19 of every picture, `[runs][N]`; `done` is told of each run as it ends.
///
/// # Errors
/// A store that cannot be read any more.
pub(super) fn predict(
    problem: &Problem,
    gram: &Gram,
    runs: &[Run],
    parameters: &MlpParameters,
    done: &(dyn Fn(&Run, &[f32]) -> Result<(), ClassifierError> + Sync),
) -> Result<(), ClassifierError> {
    let initial = project(problem, gram, runs, parameters.hidden)?;
    let total = runs.len() * parameters.hidden;
    runs.par_iter().enumerate().try_for_each(|(position, run)| {
        let units: Vec<f32> = initial
            .chunks_exact(total)
            .flat_map(|line| &line[position * parameters.hidden..][..parameters.hidden])
            .copied()
            .collect();
        done(run, &Network::new(units, problem.columns(), run, parameters).fit(gram, &problem.labels, run, parameters))
    })
}

/// Products of all pictures with the initial weights of all units, `[N, runs * hidden]`.
///
/// Weights are uniform within `sqrt(6 / (inputs + units))` (Glorot and Bengio 2010), which is scikit-learn's choice for
/// rectified units.
fn project(problem: &Problem, gram: &Gram, runs: &[Run], hidden: usize) -> Result<Vec<f32>, ClassifierError> {
    let features = Standardised::open(problem, &gram.standard)?;
    let (pictures, columns, units) = (problem.len(), problem.columns(), runs.len() * hidden);
    let limit = glorot(columns, hidden);
    let mut products = vec![0f32; pictures * units];
    let mut numbers = vec![];
    let mut weights = vec![];
    for (index, block) in blocks(columns).enumerate() {
        let width = block.len();
        numbers.resize(pictures * width, 0f32);
        features.par_fill(0..pictures, block, &mut numbers);
        weights.resize(units * width, 0f32);
        weights.par_chunks_exact_mut(hidden * width).zip(runs).for_each(|(weights, run)| {
            let mut random = seeded::generator(seeded::derive(run.seed, &[3, index as u64]), 0);
            weights.iter_mut().for_each(|weight| *weight = random.random_range(-limit..limit));
        });
        multiply(
            (&mut products, View::row_major(pictures, units)),
            true,
            (&numbers, View::row_major(pictures, width)),
            (&weights, View::row_major(units, width).transposed()),
            true,
        );
    }
    Ok(products)
}

fn glorot(inputs: usize, outputs: usize) -> f32 {
    (6.0 / (inputs + outputs) as f64).sqrt() as f32
}

/// Weights and their momentum.
struct Network {
    /// `[N, hidden]`: the first layer's products with each picture, without its bias.
    units: Moving,
    /// `[hidden]`.
    first_bias: Moving,
    /// `[hidden]`.
    second: Moving,
    /// `[1]`.
    second_bias: Moving,
    random: rand::rngs::StdRng,
}

/// Numbers that gradient descent moves.
struct Moving {
    values: Vec<f32>,
    velocity: Vec<f32>,
}

impl Moving {
    fn new(values: Vec<f32>) -> Self {
        Self { velocity: vec![0.0; values.len()], values }
    }

    /// Nesterov's step: `v <- m v - r g`, `w <- w + m v - r g`.
    fn step(&mut self, gradient: &[f32], rate: f32, momentum: f32) {
        for ((value, velocity), gradient) in self.values.iter_mut().zip(&mut self.velocity).zip(gradient) {
            *velocity = momentum * *velocity - rate * gradient;
            *value += momentum * *velocity - rate * gradient;
        }
    }
}

impl Network {
    fn new(units: Vec<f32>, columns: usize, run: &Run, parameters: &MlpParameters) -> Self {
        let mut random = seeded::generator(run.seed, 4);
        let mut uniform =
            |count: usize, limit: f32| (0..count).map(|_| random.random_range(-limit..limit)).collect::<Vec<f32>>();
        let first = glorot(columns, parameters.hidden);
        // scikit-learn draws the output layer's weights for a logistic unit from a range narrower by sqrt(3).
        let second = (2.0 / (parameters.hidden + 1) as f32).sqrt();
        let first_bias = uniform(parameters.hidden, first);
        let second_weights = uniform(parameters.hidden, second);
        let second_bias = uniform(1, second);
        Self {
            units: Moving::new(units),
            first_bias: Moving::new(first_bias),
            second: Moving::new(second_weights),
            second_bias: Moving::new(second_bias),
            random,
        }
    }

    /// Goes through the resample `epochs` times, and says what it then makes of every picture, `[N]`.
    fn fit(mut self, gram: &Gram, labels: &[bool], run: &Run, parameters: &MlpParameters) -> Vec<f32> {
        let mut drawn: Vec<usize> = run
            .counts
            .iter()
            .enumerate()
            .flat_map(|(picture, &count)| std::iter::repeat_n(picture, count as usize))
            .collect();
        let mut buffers = Buffers::default();
        for _ in 0..parameters.epochs {
            drawn.shuffle(&mut self.random);
            for batch in drawn.chunks(parameters.batch) {
                self.step(gram, labels, batch, parameters, &mut buffers);
            }
        }
        (0..gram.len).map(|picture| self.probability(picture)).collect()
    }

    fn hidden(&self) -> usize {
        self.second.values.len()
    }

    fn logit(&self, picture: usize) -> f32 {
        let units = &self.units.values[picture * self.hidden()..][..self.hidden()];
        let products = units.iter().zip(&self.first_bias.values).zip(&self.second.values);
        products.map(|((unit, bias), weight)| (unit + bias).max(0.0) * weight).sum::<f32>() + self.second_bias.values[0]
    }

    fn probability(&self, picture: usize) -> f32 {
        1.0 / (1.0 + (-self.logit(picture)).exp())
    }

    /// One step on the mean cross entropy of a batch.
    fn step(
        &mut self,
        gram: &Gram,
        labels: &[bool],
        batch: &[usize],
        parameters: &MlpParameters,
        buffers: &mut Buffers,
    ) {
        let (hidden, pictures) = (self.hidden(), gram.len);
        let share = 1.0 / batch.len() as f32;
        let decay = parameters.l2 as f32 * share;
        // Gradients by the values of the hidden units, and by what follows from them.
        buffers.deltas.clear();
        buffers.rows.clear();
        let mut second: Vec<f32> = self.second.values.iter().map(|weight| decay * weight).collect();
        let mut first_bias = vec![0f32; hidden];
        let mut second_bias = 0f32;
        for &picture in batch {
            let error = (self.probability(picture) - f32::from(u8::from(labels[picture]))) * share;
            second_bias += error;
            let units = &self.units.values[picture * hidden..][..hidden];
            for unit in 0..hidden {
                let value = (units[unit] + self.first_bias.values[unit]).max(0.0);
                second[unit] += error * value;
                let delta = if value > 0.0 { error * self.second.values[unit] } else { 0.0 };
                first_bias[unit] += delta;
                buffers.deltas.push(delta);
            }
            buffers.rows.extend_from_slice(gram.row(picture));
        }
        // The gradient by the first layer's weights, as it shows in every picture's products with them.
        buffers.gradient.clear();
        buffers.gradient.extend(self.units.values.iter().map(|value| decay * value));
        multiply(
            (&mut buffers.gradient, View::row_major(pictures, hidden)),
            true,
            (&buffers.rows, View::row_major(batch.len(), pictures).transposed()),
            (&buffers.deltas, View::row_major(batch.len(), hidden)),
            false,
        );
        let (rate, momentum) = (parameters.learning_rate as f32, parameters.momentum as f32);
        self.units.step(&buffers.gradient, rate, momentum);
        self.first_bias.step(&first_bias, rate, momentum);
        self.second.step(&second, rate, momentum);
        self.second_bias.step(&[second_bias], rate, momentum);
    }
}

#[derive(Default)]
struct Buffers {
    /// `[batch, N]`.
    rows: Vec<f32>,
    /// `[batch, hidden]`.
    deltas: Vec<f32>,
    /// `[N, hidden]`.
    gradient: Vec<f32>,
}
