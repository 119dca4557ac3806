//! The runs of the multilayer perceptron, fitted again, and what they say of a picture that is new to them.
//!
//! A first layer is a share of the weights that it began with, which are drawn again, and a sum of pictures that it learnt from, so that
//! both the units' values and their gradient are sums over blocks of columns.

use thorax_nn::matmul::{View, multiply};

use super::{again::Runs, grad_cam::Answer};
use crate::classifiers::{Gram, Kind, Perceptron, Standard, Standardised, blocks, fit_perceptrons};

/// Perceptrons on the features of one store.
pub(super) struct Perceptrons<'a> {
    perceptrons: Vec<Perceptron>,
    hidden: usize,
    standard: &'a Standard,
    features: Standardised<'a>,
    pictures: usize,
}

impl<'a> Perceptrons<'a> {
    /// Fits the runs again, and sees that they say what the folder keeps.
    ///
    /// # Errors
    /// Runs that the folder does not have, or that say something else; a store that cannot be read any more.
    pub(super) fn fit(runs: &Runs<'a>, gram: &'a Gram) -> anyhow::Result<Self> {
        runs.check_there()?;
        let (problem, parameters) = (runs.problem, &runs.configuration.parameters.mlp);
        let bar = crate::progress::progress(runs.count, Kind::Mlp.name());
        let perceptrons = fit_perceptrons(problem, gram, &runs.draw()?, parameters, &|| bar.inc(1))?;
        bar.finish_and_clear();
        for (run, perceptron) in perceptrons.iter().enumerate() {
            runs.check_said(run, &perceptron.probabilities)?;
        }
        let features = Standardised::open(problem, &gram.standard)?;
        Ok(Self { perceptrons, hidden: parameters.hidden, standard: &gram.standard, features, pictures: problem.len() })
    }

    /// What they say of pictures with these features, `[P][C * H * W]`.
    ///
    /// The logit of a run is `f(x) = sum of v_h relu(u_h) + c` with `u_h = (s w_h + sum of a_ih x_i) x + b_h`, of standardised features x,
    /// initial weights w and learnt-from pictures `x_i`; its derivative by x is `sum of v_h (s w_h + sum of a_ih x_i)` over the units
    /// that are above 0.
    pub(super) fn answer(&self, pictures: &[Vec<f32>]) -> Vec<Answer> {
        let columns = self.standard.scale.len();
        let (asked, runs, units) = (pictures.len(), self.perceptrons.len(), self.perceptrons.len() * self.hidden);
        // Products with the initial weights, and with the pictures that were learnt from.
        let mut initial = vec![0f32; asked * units];
        let mut learnt = vec![0f32; asked * self.pictures];
        self.each_block(pictures, columns, |_, width, x, weights, rows| {
            let x = (x, View::row_major(asked, width));
            let weights = (weights, View::row_major(units, width).transposed());
            multiply((&mut initial, View::row_major(asked, units)), true, x, weights, true);
            let rows = (rows, View::row_major(self.pictures, width).transposed());
            multiply((&mut learnt, View::row_major(asked, self.pictures)), true, x, rows, true);
        });

        let mut answers: Vec<Answer> = (0..asked)
            .map(|_| Answer { decision: 0.0, probabilities: vec![], unfamiliar: false, gradient: vec![0.0; columns] })
            .collect();
        // Factors of the initial weights and of the pictures in the gradient of the mean logit.
        let mut of_initial = vec![0f32; asked * units];
        let mut of_learnt = vec![0f32; asked * self.pictures];
        for (number, answer) in answers.iter_mut().enumerate() {
            let products = &learnt[number * self.pictures..][..self.pictures];
            for (run, perceptron) in self.perceptrons.iter().enumerate() {
                let first = number * units + run * self.hidden;
                let mut values: Vec<f64> = initial[first..][..self.hidden]
                    .iter()
                    .zip(&perceptron.first_bias)
                    .map(|(product, bias)| f64::from(perceptron.initial_share * product + bias))
                    .collect();
                for (product, coefficients) in products.iter().zip(perceptron.coefficients.chunks_exact(self.hidden)) {
                    let terms = values.iter_mut().zip(coefficients);
                    terms.for_each(|(value, a)| *value += f64::from(*product) * f64::from(*a));
                }
                let above: Vec<f32> =
                    values.iter().zip(&perceptron.second).map(|(u, v)| if *u > 0.0 { *v } else { 0.0 }).collect();
                let logit = values.iter().zip(&above).map(|(u, v)| u * f64::from(*v)).sum::<f64>();
                let logit = logit + f64::from(perceptron.second_bias);
                answer.decision += logit / runs as f64;
                answer.probabilities.push(1.0 / (1.0 + (-logit).exp()));
                let share = 1.0 / runs as f32;
                let factors = &mut of_initial[first..][..self.hidden];
                factors.iter_mut().zip(&above).for_each(|(factor, v)| *factor = share * perceptron.initial_share * v);
                let factors = &mut of_learnt[number * self.pictures..][..self.pictures];
                for (factor, coefficients) in factors.iter_mut().zip(perceptron.coefficients.chunks_exact(self.hidden))
                {
                    *factor += share * coefficients.iter().zip(&above).map(|(a, v)| a * v).sum::<f32>();
                }
            }
        }
        let mut gradient = vec![];
        self.each_block(pictures, columns, |first, width, _, weights, rows| {
            gradient.clear();
            gradient.resize(asked * width, 0f32);
            let of_block = View::row_major(asked, width);
            let factors = (&of_initial[..], View::row_major(asked, units));
            multiply((&mut gradient, of_block), true, factors, (weights, View::row_major(units, width)), true);
            let factors = (&of_learnt[..], View::row_major(asked, self.pictures));
            multiply((&mut gradient, of_block), true, factors, (rows, View::row_major(self.pictures, width)), true);
            for (answer, gradient) in answers.iter_mut().zip(gradient.chunks_exact(width)) {
                let terms = gradient.iter().zip(&self.standard.scale[first..]);
                let terms = terms.map(|(derivative, scale)| f64::from(*derivative) * f64::from(*scale));
                answer.gradient[first..][..width].iter_mut().zip(terms).for_each(|(out, derivative)| *out = derivative);
            }
        });
        answers
    }

    /// Shows `work`, of each block of columns, where it begins and its width, the standardised pictures `[P, width]`, all runs' initial weights
    /// `[runs * hidden, width]` and the pictures that were learnt from `[N, width]`.
    fn each_block(
        &self,
        pictures: &[Vec<f32>],
        columns: usize,
        mut work: impl FnMut(usize, usize, &[f32], &[f32], &[f32]),
    ) {
        let (mut x, mut weights, mut rows) = (vec![], vec![], vec![]);
        for (number, block) in blocks(columns).enumerate() {
            let width = block.len();
            x.resize(pictures.len() * width, 0f32);
            for (picture, x) in pictures.iter().zip(x.chunks_exact_mut(width)) {
                x.copy_from_slice(&picture[block.clone()]);
                self.standard.apply(block.clone(), x);
            }
            weights.resize(self.perceptrons.len() * self.hidden * width, 0f32);
            let of_runs = weights.chunks_exact_mut(self.hidden * width).zip(&self.perceptrons);
            of_runs.for_each(|(weights, perceptron)| perceptron.initial_weights(columns, number, weights));
            rows.resize(self.pictures * width, 0f32);
            self.features.par_fill(0..self.pictures, block.clone(), &mut rows);
            work(block.start, width, &x, &weights, &rows);
        }
    }
}
