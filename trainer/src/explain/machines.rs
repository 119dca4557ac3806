//! The runs of a support vector machine, fitted again, and what they say of a picture that is new to them.

use rayon::prelude::*;

use super::{again::Runs, grad_cam::Answer};
use crate::classifiers::{
    ClassifierError, Gram, Kernel, KernelMatrix, Kind, Problem, Standard, Standardised, Svm, SvmConfig,
};

/// Columns of the gradient that a thread works on at a time.
const BAND: usize = 1024;

/// Support vectors that together weigh less say nothing of a picture.
const LEAST_WEIGHT: f64 = 1e-3;

/// Machines with one kernel, on the features of one store.
pub(super) struct Machines<'a> {
    kernel: Kernel,
    /// One a run.
    machines: Vec<Svm>,
    /// Pictures that are a support vector of some run, and the mean over the runs of their coefficients. A picture's
    /// coefficients have the sign of its label in every run, so that the mean is 0 only where all are.
    support: Vec<(usize, f64)>,
    /// `[N]`: squared lengths of the standardised pictures.
    squares: Vec<f32>,
    standard: &'a Standard,
    features: Standardised<'a>,
}

impl<'a> Machines<'a> {
    /// Of machines that are fitted.
    ///
    /// # Errors
    /// A store that cannot be read any more.
    pub(super) fn new(
        config: &SvmConfig,
        machines: Vec<Svm>,
        problem: &'a Problem,
        gram: &'a Gram,
    ) -> Result<Self, ClassifierError> {
        let mean = |index: usize| machines.iter().map(|m| m.coefficients[index]).sum::<f64>() / machines.len() as f64;
        let support = (0..problem.len()).map(|index| (index, mean(index))).filter(|(_, mean)| *mean != 0.0).collect();
        let (squares, standard) = (gram.diagonal(), &gram.standard);
        let features = Standardised::open(problem, standard)?;
        let kernel = config.kernel;
        Ok(Self { kernel, machines, support, squares, standard, features })
    }

    /// Fits the runs again, which takes seconds, and sees that they say what the folder keeps.
    ///
    /// # Errors
    /// Runs that the folder does not have, or that say something else; a solver that comes to no end.
    pub(super) fn fit(runs: &Runs<'a>, gram: &'a Gram) -> anyhow::Result<Self> {
        runs.check_there()?;
        let Runs { kind, problem, .. } = *runs;
        let parameters = &runs.configuration.parameters;
        let config = match kind {
            Kind::SvmPolynomial => SvmConfig::polynomial(&parameters.svm_polynomial, gram),
            _ => SvmConfig::rbf(&parameters.svm_rbf, gram),
        };
        let matrix = KernelMatrix::of(config.kernel, gram);
        let bar = crate::progress::progress(runs.count, kind.name());
        let machines = runs
            .draw()?
            .par_iter()
            .map(|run| {
                let (machine, decisions) = Svm::fit(&matrix, &problem.labels, &problem.folds, run, &config)?;
                let said = decisions.into_iter().map(|decision| machine.sigmoid.probability(decision));
                runs.check_said(run.number, &said.collect::<Vec<f64>>())?;
                bar.inc(1);
                Ok(machine)
            })
            .collect::<anyhow::Result<Vec<Svm>>>()?;
        bar.finish_and_clear();
        Ok(Self::new(&config, machines, problem, gram)?)
    }

    /// What they say of a picture with these features, `[C * H * W]`.
    ///
    /// The decision value of a run is `f(x) = sum of c_i K(x, x_i) + b` of standardised features x. All runs have the same
    /// pictures `x_i`, so that their mean has the mean coefficients. Both kernels are functions of inner products; with
    /// `dK / dx = g x + h x_i` ([`Kernel::gradient`]) and `x = (a - mean) * scale`, the mean's derivative by `a` is
    /// `scale * (x * sum of c_i g_i + sum of c_i h_i x_i)`. Sums are f64.
    pub(super) fn answer(&self, features: &[f32]) -> Answer {
        let columns = features.len();
        let mut x = features.to_vec();
        self.standard.apply(0..columns, &mut x);
        let own = inner_product(&x, &x);
        let products: Vec<f64> = self
            .support
            .par_iter()
            .map_init(
                || vec![0f32; columns],
                |row, &(index, _)| {
                    self.features.write(index, 0..columns, row);
                    inner_product(&x, row)
                },
            )
            .collect();
        let of_support = || self.support.iter().zip(&products).map(|(&(index, c), &p)| (index, c, p));
        let other = |index: usize| f64::from(self.squares[index]);
        let kernels: Vec<f64> = of_support().map(|(index, _, p)| self.kernel.of(p, own, other(index))).collect();
        let decisions: Vec<f64> = self
            .machines
            .iter()
            .map(|machine| {
                let terms = self.support.iter().zip(&kernels).map(|(&(index, _), k)| machine.coefficients[index] * k);
                machine.bias + terms.sum::<f64>()
            })
            .collect();
        let mut own_factor = 0.0;
        let factors: Vec<(usize, f64)> = of_support()
            .map(|(index, c, p)| {
                let [g, h] = self.kernel.gradient(p, own, other(index));
                own_factor += c * g;
                (index, c * h)
            })
            .collect();
        let bands: Vec<_> = (0..columns).step_by(BAND).map(|first| first..(first + BAND).min(columns)).collect();
        let gradient = bands
            .into_par_iter()
            .flat_map_iter(|band| {
                let mut sums: Vec<f64> = x[band.clone()].iter().map(|&x| own_factor * f64::from(x)).collect();
                let mut row = vec![0f32; band.len()];
                for &(index, factor) in &factors {
                    self.features.write(index, band.clone(), &mut row);
                    sums.iter_mut().zip(&row).for_each(|(sum, &x)| *sum += factor * f64::from(x));
                }
                sums.into_iter().zip(&self.standard.scale[band]).map(|(sum, &scale)| sum * f64::from(scale))
            })
            .collect();
        let weight: f64 = self.support.iter().zip(&kernels).map(|((_, c), k)| (c * k).abs()).sum();
        let probability = |(machine, &decision): (&Svm, &f64)| machine.sigmoid.probability(decision);
        Answer {
            decision: decisions.iter().sum::<f64>() / decisions.len() as f64,
            probabilities: self.machines.iter().zip(&decisions).map(probability).collect(),
            unfamiliar: weight < LEAST_WEIGHT,
            gradient,
        }
    }
}

fn inner_product(a: &[f32], b: &[f32]) -> f64 {
    a.iter().zip(b).map(|(&a, &b)| f64::from(a) * f64::from(b)).sum()
}
