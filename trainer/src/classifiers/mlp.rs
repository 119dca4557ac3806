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
use thorax_nn::{
    matmul::{View, multiply},
    seeded,
};

use super::{
    ClassifierError, Done,
    gram::Gram,
    parameters::MlpParameters,
    problem::Problem,
    run::ClassifierRun,
    standard::{Standardised, blocks},
};

/// Tells `done` of each run, and of the probability of the disease of every picture, `[N]`, as it ends.
///
/// # Errors
/// A store that cannot be read any more.
pub(super) fn predict(
    problem: &Problem,
    gram: &Gram,
    runs: &[ClassifierRun],
    parameters: &MlpParameters,
    done: Done<'_>,
) -> Result<(), ClassifierError> {
    let units = project(problem, gram, runs, parameters.hidden)?;
    runs.par_iter().enumerate().try_for_each(|(position, run)| {
        let mut network = Network::new(units.of(position), problem.columns(), run, parameters);
        network.fit(gram, &problem.labels, run, parameters);
        done(run, &network.probabilities(), None)
    })
}

/// A perceptron whose first layer can be written out: `initial_share` times the weights that it began with, and a sum of standardised pictures.
#[derive(Clone, Debug)]
pub struct Perceptron {
    /// Of the run, and so of the initial weights.
    seed: u64,
    /// What weight decay has left of the initial weights.
    pub initial_share: f32,
    /// `[N, hidden]`: how often each picture is in each unit's weights.
    pub coefficients: Vec<f32>,
    /// `[hidden]`.
    pub first_bias: Vec<f32>,
    /// `[hidden]`.
    pub second: Vec<f32>,
    /// Of the output.
    pub second_bias: f32,
    /// `[N]`: what it says of every picture.
    pub probabilities: Vec<f64>,
}

impl Perceptron {
    /// The initial weights of its first layer in the block `block` of `columns` columns, `[hidden, width]`.
    pub fn initial_weights(&self, columns: usize, block: usize, weights: &mut [f32]) {
        draw_weights(self.seed, columns, self.second.len(), block, weights);
    }
}

/// Fits perceptrons as `classify` does, and keeps what they are; tells `done` of each.
///
/// # Errors
/// A store that cannot be read any more.
pub fn fit_perceptrons(
    problem: &Problem,
    gram: &Gram,
    runs: &[ClassifierRun],
    parameters: &MlpParameters,
    done: &(dyn Fn() + Sync),
) -> Result<Vec<Perceptron>, ClassifierError> {
    let units = project(problem, gram, runs, parameters.hidden)?;
    let fit = |(position, run): (usize, &ClassifierRun)| {
        let mut network = Network::new(units.of(position), problem.columns(), run, parameters);
        network.combination = Some(Combination::new(problem.len(), parameters.hidden));
        network.fit(gram, &problem.labels, run, parameters);
        done();
        let probabilities = network.probabilities();
        let Network { combination, first_bias, second, second_bias, .. } = network;
        let (initial_share, coefficients) =
            combination.map_or((1.0, vec![]), |c| (c.initial.values[0], c.pictures.values));
        Perceptron {
            seed: run.seed,
            initial_share,
            coefficients,
            first_bias: first_bias.values,
            second: second.values,
            second_bias: second_bias.values[0],
            probabilities,
        }
    };
    Ok(runs.par_iter().enumerate().map(fit).collect())
}

/// Products of all pictures with the initial weights of all units.
struct Units {
    /// `[N, runs * hidden]`.
    products: Vec<f32>,
    runs: usize,
    hidden: usize,
}

impl Units {
    /// `[N, hidden]`: those of the run at `position`.
    fn of(&self, position: usize) -> Vec<f32> {
        let lines = self.products.chunks_exact(self.runs * self.hidden);
        lines.flat_map(|line| &line[position * self.hidden..][..self.hidden]).copied().collect()
    }
}

/// Weights that units begin with, in the block `block` of `columns` columns, `[hidden, width]`: uniform within `sqrt(6 / (inputs + units))`
/// (Glorot and Bengio 2010), which is scikit-learn's choice for rectified units.
fn draw_weights(seed: u64, columns: usize, hidden: usize, block: usize, weights: &mut [f32]) {
    let limit = glorot(columns, hidden);
    let mut random = seeded::generator(seeded::derive(seed, &[3, block as u64]), 0);
    weights.iter_mut().for_each(|weight| *weight = random.random_range(-limit..limit));
}

fn project(problem: &Problem, gram: &Gram, runs: &[ClassifierRun], hidden: usize) -> Result<Units, ClassifierError> {
    let features = Standardised::open(problem, &gram.standard)?;
    let (pictures, columns, units) = (problem.len(), problem.columns(), runs.len() * hidden);
    let mut products = vec![0f32; pictures * units];
    let mut numbers = vec![];
    let mut weights = vec![];
    for (index, block) in blocks(columns).enumerate() {
        let width = block.len();
        numbers.resize(pictures * width, 0f32);
        features.par_fill(0..pictures, block, &mut numbers);
        weights.resize(units * width, 0f32);
        let of_runs = weights.par_chunks_exact_mut(hidden * width).zip(runs);
        of_runs.for_each(|(weights, run)| draw_weights(run.seed, columns, hidden, index, weights));
        multiply(
            (&mut products, View::row_major(pictures, units)),
            true,
            (&numbers, View::row_major(pictures, width)),
            (&weights, View::row_major(units, width).transposed()),
            true,
        );
    }
    Ok(Units { products, runs: runs.len(), hidden })
}

fn glorot(inputs: usize, outputs: usize) -> f32 {
    (6.0 / (inputs + outputs) as f64).sqrt() as f32
}

/// Weights and their momentum.
struct Network {
    /// `[N, hidden]`: the first layer's products with each picture, without its bias.
    units: Moving,
    /// What the first layer's weights are made of, where that is asked for.
    combination: Option<Combination>,
    /// `[hidden]`.
    first_bias: Moving,
    /// `[hidden]`.
    second: Moving,
    /// `[1]`.
    second_bias: Moving,
    random: rand::rngs::StdRng,
}

/// The first layer's weights as a combination of those that it began with and of pictures. Gradient descent moves it as it moves the
/// weights.
struct Combination {
    /// `[1]`: the factor of the initial weights.
    initial: Moving,
    /// `[N, hidden]`.
    pictures: Moving,
}

impl Combination {
    /// Of weights that have not moved yet.
    fn new(pictures: usize, hidden: usize) -> Self {
        Self { initial: Moving::new(vec![1.0]), pictures: Moving::new(vec![0.0; pictures * hidden]) }
    }
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
    fn new(units: Vec<f32>, columns: usize, run: &ClassifierRun, parameters: &MlpParameters) -> Self {
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
            combination: None,
            first_bias: Moving::new(first_bias),
            second: Moving::new(second_weights),
            second_bias: Moving::new(second_bias),
            random,
        }
    }

    /// Goes through the resample `epochs` times.
    fn fit(&mut self, gram: &Gram, labels: &[bool], run: &ClassifierRun, parameters: &MlpParameters) {
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
    }

    /// `[N]`: what it makes of every picture.
    fn probabilities(&self) -> Vec<f64> {
        (0..self.units.values.len() / self.hidden()).map(|picture| self.probability(picture).into()).collect()
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
        if let Some(Combination { initial, pictures }) = &mut self.combination {
            initial.step(&[decay * initial.values[0]], rate, momentum);
            let mut gradient: Vec<f32> = pictures.values.iter().map(|value| decay * value).collect();
            for (&picture, deltas) in batch.iter().zip(buffers.deltas.chunks_exact(hidden)) {
                let of_picture = gradient[picture * hidden..][..hidden].iter_mut();
                of_picture.zip(deltas).for_each(|(gradient, delta)| *gradient += delta);
            }
            pictures.step(&gradient, rate, momentum);
        }
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

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    /// A network with its weights written out, in f64, beside one that has none.
    #[test]
    fn the_network_is_the_one_with_its_weights_written_out() {
        const PICTURES: usize = 12;
        const COLUMNS: usize = 7;
        let mut random = seeded::generator(3, 0);
        let features: Vec<f32> = (0..PICTURES * COLUMNS).map(|_| random.random_range(-1.0..1.0)).collect();
        let row = |picture: usize| &features[picture * COLUMNS..][..COLUMNS];
        let dot = |a: &[f32], b: &[f32]| a.iter().zip(b).map(|(a, b)| a * b).sum::<f32>();
        let values = (0..PICTURES * PICTURES).map(|at| dot(row(at / PICTURES), row(at % PICTURES))).collect();
        let standard = super::super::Standard { mean: vec![0.0; COLUMNS], scale: vec![1.0; COLUMNS], variance: 1.0 };
        let gram = Gram { len: PICTURES, values, standard };
        let labels: Vec<bool> = (0..PICTURES).map(|picture| picture % 3 == 0).collect();
        let counts = vec![1, 0, 2, 1, 1, 3, 0, 1, 1, 0, 0, 0];
        let run = ClassifierRun { number: 0, seed: 9, counts };
        let parameters = MlpParameters { hidden: 5, learning_rate: 0.2, momentum: 0.9, batch: 4, epochs: 30, l2: 0.1 };

        let weights: Vec<f32> = (0..parameters.hidden * COLUMNS).map(|_| random.random_range(-0.5..0.5)).collect();
        let units = (0..PICTURES)
            .flat_map(|picture| weights.chunks_exact(COLUMNS).map(move |unit| (picture, unit)))
            .map(|(picture, unit)| dot(row(picture), unit))
            .collect();
        let mut network = Network::new(units, COLUMNS, &run, &parameters);
        let mut plain = Plain {
            first: Moved::of(&weights),
            first_bias: Moved::of(&network.first_bias.values),
            second: Moved::of(&network.second.values),
            second_bias: Moved::of(&network.second_bias.values),
        };
        network.combination = Some(Combination::new(PICTURES, parameters.hidden));
        let mut order = network.random.clone();
        network.fit(&gram, &labels, &run, &parameters);
        let found = network.probabilities();

        let mut drawn: Vec<usize> =
            (0..PICTURES).flat_map(|p| std::iter::repeat_n(p, run.counts[p] as usize)).collect();
        for _ in 0..parameters.epochs {
            drawn.shuffle(&mut order);
            drawn.chunks(parameters.batch).for_each(|batch| plain.step(&row, &labels, batch, &parameters));
        }
        for (picture, found) in found.iter().enumerate() {
            let expected = plain.forward(row(picture)).1;
            assert!((*found - expected).abs() < 1e-4, "{picture}: {found} {expected}");
        }
        // The weights, written out.
        let Combination { initial, pictures } = network.combination.unwrap();
        assert!(initial.values[0] < 0.9, "they have decayed");
        for (unit, expected) in plain.first.0.chunks_exact(COLUMNS).enumerate() {
            for (column, expected) in expected.iter().enumerate() {
                let learnt = (0..PICTURES).map(|p| pictures.values[p * parameters.hidden + unit] * row(p)[column]);
                let found = initial.values[0] * weights[unit * COLUMNS + column] + learnt.sum::<f32>();
                assert!((f64::from(found) - expected).abs() < 1e-4, "unit {unit}, column {column}: {found} {expected}");
            }
        }
        let learnt = (0..PICTURES).filter(|&p| run.counts[p] > 0);
        assert!(learnt.into_iter().all(|p| (found[p] > 0.5) == labels[p]), "it has learnt: {found:?}");
    }

    struct Moved(Vec<f64>, Vec<f64>);

    impl Moved {
        fn of(values: &[f32]) -> Self {
            Self(values.iter().copied().map(f64::from).collect(), vec![0.0; values.len()])
        }

        fn step(&mut self, gradient: &[f64], parameters: &MlpParameters) {
            for ((value, velocity), gradient) in self.0.iter_mut().zip(&mut self.1).zip(gradient) {
                *velocity = parameters.momentum * *velocity - parameters.learning_rate * gradient;
                *value += parameters.momentum * *velocity - parameters.learning_rate * gradient;
            }
        }
    }

    struct Plain {
        first: Moved,
        first_bias: Moved,
        second: Moved,
        second_bias: Moved,
    }

    impl Plain {
        fn forward(&self, x: &[f32]) -> (Vec<f64>, f64) {
            let unit = |(weights, bias): (&[f64], &f64)| {
                (weights.iter().zip(x).map(|(w, &x)| w * f64::from(x)).sum::<f64>() + bias).max(0.0)
            };
            let hidden: Vec<f64> = self.first.0.chunks_exact(x.len()).zip(&self.first_bias.0).map(unit).collect();
            let logit = hidden.iter().zip(&self.second.0).map(|(h, w)| h * w).sum::<f64>() + self.second_bias.0[0];
            (hidden, 1.0 / (1.0 + (-logit).exp()))
        }

        fn step<'a>(
            &mut self,
            row: &impl Fn(usize) -> &'a [f32],
            labels: &[bool],
            batch: &[usize],
            parameters: &MlpParameters,
        ) {
            let share = 1.0 / batch.len() as f64;
            let decay = |moved: &Moved| moved.0.iter().map(|w| parameters.l2 * share * w).collect::<Vec<f64>>();
            let (mut first, mut second) = (decay(&self.first), decay(&self.second));
            let (mut first_bias, mut second_bias) = (vec![0.0; second.len()], [0.0]);
            for &picture in batch {
                let x = row(picture);
                let (hidden, probability) = self.forward(x);
                let error = (probability - f64::from(u8::from(labels[picture]))) * share;
                second_bias[0] += error;
                for unit in 0..hidden.len() {
                    second[unit] += error * hidden[unit];
                    let delta = if hidden[unit] > 0.0 { error * self.second.0[unit] } else { 0.0 };
                    first_bias[unit] += delta;
                    let gradient = &mut first[unit * x.len()..][..x.len()];
                    gradient.iter_mut().zip(x).for_each(|(g, &x)| *g += delta * f64::from(x));
                }
            }
            self.first.step(&first, parameters);
            self.first_bias.step(&first_bias, parameters);
            self.second.step(&second, parameters);
            self.second_bias.step(&second_bias, parameters);
        }
    }
}
