//! Support vector machines with soft margins, on kernels that follow from the Gram matrix.
//!
//! The dual problem is solved by sequential minimal optimisation, two coefficients at a time, chosen by second-order
//! information (Fan, Chen and Lin 2005, as libsvm does). The unknowns are `beta = alpha * y`, so that labels appear only in the
//! bounds. A picture that a run did not draw has both bounds at 0; one that it drew twice has twice the penalty, which is the
//! same as two copies of it. So every run works on the one kernel matrix of all pictures, and the decision values of all
//! pictures, learnt from or not, are kept up to date on the way.
//!
//! Probabilities are Platt's: a sigmoid over decision values from cross-fitting, in whose folds no patient is on both sides.

use rayon::prelude::*;

use super::{
    ClassifierError, Kind,
    gram::Gram,
    parameters::{Gamma, GammaRule, PolynomialParameters, RbfParameters},
    platt::Sigmoid,
    run::ClassifierRun,
};

/// A kernel, as a function of inner products.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Kernel {
    /// `(gamma <x, y> + coef0)^degree`.
    Polynomial {
        /// Factor of the inner product.
        gamma: f64,
        /// Added to it.
        coef0: f64,
        /// The power.
        degree: u32,
    },
    /// `exp(-gamma |x - y|^2)`.
    Rbf {
        /// Factor of the squared distance.
        gamma: f64,
    },
}

/// What an SVM is fitted with.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct SvmConfig {
    /// Which of the two.
    pub kind: Kind,
    /// Its kernel.
    pub kernel: Kernel,
    /// Penalty.
    pub c: f64,
    /// Largest violation of the optimality conditions.
    pub tolerance: f64,
}

/// A fitted machine: `sum of coefficients * kernel(x, picture) + bias`, and the sigmoid over it.
#[derive(Clone, Debug, PartialEq)]
pub struct Svm {
    /// `[N]`; 0 where a picture is no support vector.
    pub coefficients: Vec<f64>,
    /// Added to the sum.
    pub bias: f64,
    /// From decision value to probability.
    pub sigmoid: Sigmoid,
}

/// The kernel's values between all pictures, `[N, N]`.
pub struct KernelMatrix {
    len: usize,
    values: Vec<f32>,
}

impl SvmConfig {
    /// The polynomial machine on features of which `gram` has the products.
    pub fn polynomial(parameters: &PolynomialParameters, gram: &Gram) -> Self {
        let PolynomialParameters { c, degree, coef0, tolerance, gamma, .. } = *parameters;
        let kernel = Kernel::Polynomial { gamma: width(gamma, gram), coef0, degree };
        Self { kind: Kind::SvmPolynomial, kernel, c, tolerance }
    }

    /// The machine with radial basis functions on features of which `gram` has the products.
    pub fn rbf(parameters: &RbfParameters, gram: &Gram) -> Self {
        let RbfParameters { c, gamma, tolerance, .. } = *parameters;
        Self { kind: Kind::SvmRbf, kernel: Kernel::Rbf { gamma: width(gamma, gram) }, c, tolerance }
    }
}

fn width(gamma: Gamma, gram: &Gram) -> f64 {
    match gamma {
        Gamma::Value(value) => value,
        // Features that do not vary have no kernel to widen; scikit-learn takes 1 then.
        Gamma::Rule(GammaRule::Scale) if gram.standard.variance == 0.0 => 1.0,
        Gamma::Rule(GammaRule::Scale) => 1.0 / (gram.standard.mean.len() as f64 * gram.standard.variance),
    }
}

impl Kernel {
    /// From `<x, y>`, `<x, x>` and `<y, y>`.
    pub fn of(self, product: f64, own: f64, other: f64) -> f64 {
        match self {
            Self::Polynomial { gamma, coef0, degree } => (gamma * product + coef0).powi(degree as i32),
            Self::Rbf { gamma } => (-gamma * (own - 2.0 * product + other).max(0.0)).exp(),
        }
    }

    /// The derivative by `x`, as the factors of `x` and of `y`.
    pub fn gradient(self, product: f64, own: f64, other: f64) -> [f64; 2] {
        match self {
            Self::Polynomial { gamma, coef0, degree } => {
                [0.0, f64::from(degree) * gamma * (gamma * product + coef0).powi(degree as i32 - 1)]
            }
            Self::Rbf { gamma } => {
                let factor = 2.0 * gamma * self.of(product, own, other);
                [-factor, factor]
            }
        }
    }
}

impl KernelMatrix {
    /// Of all pictures.
    pub fn of(kernel: Kernel, gram: &Gram) -> Self {
        let squares = gram.diagonal();
        let mut values = vec![0f32; gram.len * gram.len];
        values.par_chunks_exact_mut(gram.len.max(1)).enumerate().for_each(|(index, line)| {
            let own = f64::from(squares[index]);
            for ((value, &product), &other) in line.iter_mut().zip(gram.row(index)).zip(&squares) {
                *value = kernel.of(f64::from(product), own, f64::from(other)) as f32;
            }
            // Rounding of the products would leave a picture at some distance from itself.
            line[index] = kernel.of(own, own, own) as f32;
        });
        Self { len: gram.len, values }
    }

    fn row(&self, index: usize) -> &[f32] {
        &self.values[index * self.len..][..self.len]
    }
}

impl Svm {
    /// Fits the machine and its sigmoid to a run. `folds` `[N]` are the folds of the cross-fitting.
    ///
    /// # Errors
    /// [`ClassifierError::NotConverged`].
    pub fn fit(
        matrix: &KernelMatrix,
        labels: &[bool],
        folds: &[usize],
        run: &ClassifierRun,
        config: &SvmConfig,
    ) -> Result<(Self, Vec<f64>), ClassifierError> {
        let bound: Vec<f64> = run.counts.iter().map(|&count| config.c * f64::from(count)).collect();
        let count = folds.iter().max().map_or(0, |last| last + 1);
        let mut held_out = vec![0f64; labels.len()];
        for fold in 0..count {
            let bound: Vec<f64> = bound.iter().zip(folds).map(|(&b, &f)| if f == fold { 0.0 } else { b }).collect();
            let class = |class| labels.iter().zip(&bound).any(|(&label, &b)| label == class && b > 0.0);
            // A fold that leaves one class: as libsvm, every decision is for the class that is left.
            let values = match (class(true), class(false)) {
                (true, true) => {
                    let solution = solve(matrix, labels, &bound, config, run.number)?;
                    solution.sums.iter().map(|sum| sum + solution.bias).collect()
                }
                (true, false) => vec![1.0; labels.len()],
                (false, true) => vec![-1.0; labels.len()],
                (false, false) => vec![0.0; labels.len()],
            };
            let of_fold = held_out.iter_mut().zip(values).zip(folds).filter(|(_, f)| **f == fold);
            of_fold.for_each(|((held_out, value), _)| *held_out = value);
        }
        let sigmoid = Sigmoid::fit(&held_out, labels, &run.counts);
        let Solution { coefficients, sums, bias } = solve(matrix, labels, &bound, config, run.number)?;
        let decisions = sums.into_iter().map(|sum| sum + bias).collect();
        Ok((Self { coefficients, bias, sigmoid }, decisions))
    }
}

struct Solution {
    /// `alpha * y`.
    coefficients: Vec<f64>,
    /// Each picture's decision value, less the bias.
    sums: Vec<f64>,
    bias: f64,
}

/// Curvature below which a step is limited by the bounds alone, as libsvm.
const TAU: f64 = 1e-12;

/// Minimises `1/2 sum beta_s beta_t K(s, t) - sum y_t beta_t` under `sum beta_t = 0`, with `beta_t` between 0 and
/// `y_t * bound_t`.
fn solve(
    matrix: &KernelMatrix,
    labels: &[bool],
    bound: &[f64],
    config: &SvmConfig,
    run: usize,
) -> Result<Solution, ClassifierError> {
    let n = labels.len();
    let active: Vec<usize> = (0..n).filter(|&t| bound[t] > 0.0).collect();
    let target: Vec<f64> = labels.iter().map(|&label| if label { 1.0 } else { -1.0 }).collect();
    let limits = |t: usize| if labels[t] { (0.0, bound[t]) } else { (-bound[t], 0.0) };
    let diagonal: Vec<f64> = (0..n).map(|t| f64::from(matrix.row(t)[t])).collect();
    let mut beta = vec![0f64; n];
    let mut sums = vec![0f64; n];
    let limit = 10_000_000.max(100 * active.len());
    for _ in 0..limit {
        // The slope upwards of beta_t is y_t - sums_t. The steepest that can rise:
        let (mut up, mut steepest) = (usize::MAX, f64::NEG_INFINITY);
        let mut lowest = f64::INFINITY;
        for &t in &active {
            let slope = target[t] - sums[t];
            let (low, high) = limits(t);
            if beta[t] < high && slope > steepest {
                (up, steepest) = (t, slope);
            }
            if beta[t] > low {
                lowest = lowest.min(slope);
            }
        }
        if up == usize::MAX || steepest - lowest < config.tolerance {
            let bias = bias(&active, &beta, &sums, &target, limits);
            return Ok(Solution { coefficients: beta, sums, bias });
        }
        // Its partner that can fall: the one with which the objective falls most.
        let row = matrix.row(up);
        let (mut down, mut gain, mut step) = (usize::MAX, f64::NEG_INFINITY, 0.0);
        for &t in &active {
            let difference = steepest - (target[t] - sums[t]);
            if beta[t] > limits(t).0 && difference > 0.0 {
                let curvature = (diagonal[up] + diagonal[t] - 2.0 * f64::from(row[t])).max(TAU);
                let fall = difference * difference / curvature;
                if fall > gain {
                    (down, gain, step) = (t, fall, difference / curvature);
                }
            }
        }
        if down == usize::MAX {
            let bias = bias(&active, &beta, &sums, &target, limits);
            return Ok(Solution { coefficients: beta, sums, bias });
        }
        let (room_up, room_down) = (limits(up).1 - beta[up], beta[down] - limits(down).0);
        let step = step.min(room_up).min(room_down);
        // Exactly onto a bound, so that it is known to be there.
        beta[up] = if step == room_up { limits(up).1 } else { beta[up] + step };
        beta[down] = if step == room_down { limits(down).0 } else { beta[down] - step };
        let other = matrix.row(down);
        for ((sum, &rising), &falling) in sums.iter_mut().zip(row).zip(other) {
            *sum += step * (f64::from(rising) - f64::from(falling));
        }
    }
    Err(ClassifierError::NotConverged { classifier: config.kind.name(), run, iterations: limit })
}

/// The mean over the free coefficients of what their decision value lacks; without free ones, the middle of what the others
/// allow (libsvm's `calculate_rho`).
fn bias(active: &[usize], beta: &[f64], sums: &[f64], target: &[f64], limits: impl Fn(usize) -> (f64, f64)) -> f64 {
    let (mut free, mut total) = (0usize, 0.0);
    let (mut least, mut most) = (f64::NEG_INFINITY, f64::INFINITY);
    for &t in active {
        let slope = target[t] - sums[t];
        let (low, high) = limits(t);
        if beta[t] > low && beta[t] < high {
            free += 1;
            total += slope;
        } else if beta[t] < high {
            least = least.max(slope);
        } else {
            most = most.min(slope);
        }
    }
    if free > 0 { total / free as f64 } else { least.midpoint(most) }
}
