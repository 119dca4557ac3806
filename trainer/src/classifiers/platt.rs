//! From a support vector machine's decision value to a probability: the sigmoid of Platt (1999), fitted as Lin, Lin and Weng
//! (2007, "A note on Platt's probabilistic outputs for support vector machines") and libsvm do.

/// `1 / (1 + exp(slope * value + offset))`.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Sigmoid {
    /// Negative where larger values mean the positive class.
    pub slope: f64,
    /// Added to it.
    pub offset: f64,
}

impl Sigmoid {
    /// Maximises the likelihood of the regularised targets `(n+ + 1) / (n+ + 2)` and `1 / (n- + 2)`, by Newton's method with
    /// backtracking; `counts` are how often each value counts.
    pub fn fit(values: &[f64], labels: &[bool], counts: &[u32]) -> Self {
        let total = |class| -> f64 {
            labels.iter().zip(counts).filter(|(label, _)| **label == class).map(|(_, count)| f64::from(*count)).sum()
        };
        let (positives, negatives) = (total(true), total(false));
        let (high, low) = ((positives + 1.0) / (positives + 2.0), 1.0 / (negatives + 2.0));
        let samples: Vec<(f64, f64, f64)> = values
            .iter()
            .zip(labels)
            .zip(counts)
            .filter(|(_, count)| **count > 0)
            .map(|((&value, &label), &count)| (value, if label { high } else { low }, f64::from(count)))
            .collect();
        // -log likelihood; log(1 + exp(z)) without overflow.
        let loss = |sigmoid: Self| -> f64 {
            let sample = |&(value, target, count): &(f64, f64, f64)| {
                let z = sigmoid.slope * value + sigmoid.offset;
                count * (if z >= 0.0 { target * z } else { (target - 1.0) * z } + (-z.abs()).exp().ln_1p())
            };
            samples.iter().map(sample).sum()
        };
        let mut best = Self { slope: 0.0, offset: ((negatives + 1.0) / (positives + 1.0)).ln() };
        let mut lowest = loss(best);
        for _ in 0..100 {
            // Hessian (with a ridge, so that it can be inverted) and gradient.
            let (mut h11, mut h22, mut h21, mut g1, mut g2) = (1e-12, 1e-12, 0.0, 0.0, 0.0);
            for &(value, target, count) in &samples {
                let p = best.probability(value);
                let curvature = count * p * (1.0 - p);
                h11 += value * value * curvature;
                h22 += curvature;
                h21 += value * curvature;
                let slope = count * (target - p);
                g1 += value * slope;
                g2 += slope;
            }
            if g1.abs() < 1e-5 && g2.abs() < 1e-5 {
                break;
            }
            let determinant = h11 * h22 - h21 * h21;
            let (d1, d2) = (-(h22 * g1 - h21 * g2) / determinant, -(h11 * g2 - h21 * g1) / determinant);
            let descent = g1 * d1 + g2 * d2;
            let mut step = 1.0;
            loop {
                let next = Self { slope: best.slope + step * d1, offset: best.offset + step * d2 };
                let reached = loss(next);
                if reached < lowest + 1e-4 * step * descent {
                    (best, lowest) = (next, reached);
                    break;
                }
                step /= 2.0;
                if step < 1e-10 {
                    return best;
                }
            }
        }
        best
    }

    /// The probability of the positive class.
    pub fn probability(self, value: f64) -> f64 {
        let z = self.slope * value + self.offset;
        if z >= 0.0 { (-z).exp() / (1.0 + (-z).exp()) } else { 1.0 / (1.0 + z.exp()) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        /// The targets' likelihood has no slope where the fit ends, and a count is as good as a repetition.
        #[test]
        fn the_fit_is_stationary(samples in prop::collection::vec((-3.0f64..3.0, any::<bool>(), 0u32..4), 4..60)) {
            let values: Vec<f64> = samples.iter().map(|s| s.0).collect();
            let labels: Vec<bool> = samples.iter().map(|s| s.1).collect();
            let counts: Vec<u32> = samples.iter().map(|s| s.2).collect();
            let sigmoid = Sigmoid::fit(&values, &labels, &counts);
            prop_assert!(sigmoid.slope.is_finite() && sigmoid.offset.is_finite());
            let repeated: Vec<(f64, bool)> =
                samples.iter().flat_map(|&(v, l, c)| std::iter::repeat_n((v, l), c as usize)).collect();
            let (v, l): (Vec<f64>, Vec<bool>) = repeated.into_iter().unzip();
            let again = Sigmoid::fit(&v, &l, &vec![1; v.len()]);
            for value in [-2.0, 0.0, 1.5] {
                prop_assert!((sigmoid.probability(value) - again.probability(value)).abs() < 1e-6);
            }
        }
    }
}
