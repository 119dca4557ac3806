//! From the ensemble's probability to one that means what it says, where a temperature alone does not make it so.
//!
//! The map is applied to the mean probability (paper, equation 1, at the bundle's temperature); the entropy (equation 2) is then that of
//! the mapped probability.

use alloc::vec::Vec;

use serde::{Deserialize, Serialize};

/// No probability counts as nearer to 0 or 1 than this to Beta calibration, whose logarithms would make much of how it was rounded.
pub const NEAREST: f64 = 1e-4;

/// A map of probabilities that keeps their order.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub enum ProbabilityMap {
    /// Isotonic regression (Zadrozny and Elkan 2002): straight between these points (probability in, probability out), flat beyond the
    /// first and the last.
    Isotonic(Vec<[f32; 2]>),
    /// Beta calibration (Kull, Silva Filho and Flach 2017, equation 4): `1 / (1 + 1 / (exp(c) p^a / (1 - p)^b))`.
    Beta {
        /// Of the logarithm of the probability; not below 0.
        a: f32,
        /// Of that of its complement; not below 0.
        b: f32,
        /// What is added.
        c: f32,
    },
}

impl ProbabilityMap {
    /// The probability that is meant by `probability`. NaN stays NaN, which no decision passes.
    pub fn apply(&self, probability: f32) -> f32 {
        let p = f64::from(probability);
        match self {
            _ if p.is_nan() => probability,
            Self::Isotonic(points) => between(points, p) as f32,
            Self::Beta { a, b, c } => {
                let p = p.clamp(NEAREST, 1.0 - NEAREST);
                let logit = f64::from(*a) * libm::log(p) - f64::from(*b) * libm::log1p(-p) + f64::from(*c);
                (1.0 / (1.0 + libm::exp(-logit))) as f32
            }
        }
    }

    /// Whether it maps 0 to 1 into 0 to 1 and keeps order.
    pub fn is_valid(&self) -> bool {
        match self {
            Self::Isotonic(points) => {
                let within = points.iter().flatten().all(|value| (0.0..=1.0).contains(value));
                within
                    && !points.is_empty()
                    && points.windows(2).all(|pair| pair[0][0] < pair[1][0] && pair[0][1] <= pair[1][1])
            }
            Self::Beta { a, b, c } => [a, b, c].iter().all(|value| value.is_finite()) && *a >= 0.0 && *b >= 0.0,
        }
    }
}

/// The height at `p` of the line through `points`.
fn between(points: &[[f32; 2]], p: f64) -> f64 {
    let (Some(first), Some(last)) = (points.first(), points.last()) else { return p };
    let after = points.partition_point(|point| f64::from(point[0]) <= p);
    match after {
        0 => f64::from(first[1]),
        after if after == points.len() => f64::from(last[1]),
        after => {
            let [[x0, y0], [x1, y1]] = [points[after - 1], points[after]].map(|point| point.map(f64::from));
            y0 + (y1 - y0) * (p - x0) / (x1 - x0)
        }
    }
}

#[cfg(test)]
mod tests {
    use alloc::vec;

    use super::*;

    #[test]
    fn isotonic_is_straight_between_its_points_and_flat_beyond() {
        let map = ProbabilityMap::Isotonic(vec![[0.2, 0.1], [0.4, 0.5], [0.8, 0.9]]);
        assert!(map.is_valid());
        for (p, expected) in [(0.0, 0.1), (0.2, 0.1), (0.3, 0.3), (0.4, 0.5), (0.6, 0.7), (0.8, 0.9), (1.0, 0.9)] {
            assert!((map.apply(p) - expected).abs() < 1e-6, "{p}: {}", map.apply(p));
        }
        assert!(map.apply(f32::NAN).is_nan());
    }

    #[test]
    fn beta_with_equal_ones_changes_nothing() {
        let map = ProbabilityMap::Beta { a: 1.0, b: 1.0, c: 0.0 };
        for p in [0.0, 0.01, 0.3, 0.5, 0.99, 1.0] {
            let tolerance = if p % 1.0 == 0.0 { 1.1e-4 } else { 1e-6 };
            assert!((map.apply(p) - p).abs() < tolerance, "{p}: {}", map.apply(p));
        }
        // By hand: logit 2 ln 0.5 - 1 ln 0.5 + 1 = 1 - ln 2.
        let map = ProbabilityMap::Beta { a: 2.0, b: 1.0, c: 1.0 };
        assert!((map.apply(0.5) - 1.0 / (1.0 + 2.0 * (-1f32).exp())).abs() < 1e-6);
    }

    #[test]
    fn maps_that_turn_order_round_are_not_valid() {
        for points in [
            vec![],
            vec![[0.5, 0.4], [0.5, 0.6]],
            vec![[0.1, 0.6], [0.9, 0.5]],
            vec![[0.0, 1.5]],
            vec![[f32::NAN, 0.5]],
        ] {
            assert!(!ProbabilityMap::Isotonic(points.clone()).is_valid(), "{points:?}");
        }
        assert!(!ProbabilityMap::Beta { a: -0.1, b: 1.0, c: 0.0 }.is_valid());
        assert!(!ProbabilityMap::Beta { a: 1.0, b: f32::INFINITY, c: 0.0 }.is_valid());
    }
}
