//! Whether two classifiers differ, or only their luck.

/// Exact McNemar test, two-sided: the chance of a split at least as uneven as `only_first` to `only_second` of the pictures on
/// which exactly one of two classifiers is right, were both equally good (McNemar 1947; statsmodels'
/// `mcnemar(exact=True)`).
///
/// It takes the pictures as independent. Those of one patient are not, so it finds differences too readily.
pub fn mcnemar(only_first: usize, only_second: usize) -> f64 {
    let (fewer, all) = (only_first.min(only_second), only_first + only_second);
    // The largest term, C(all, fewer) / 2^all, by its logarithm, which neither over- nor underflows on the way; the others by their ratio to it.
    let largest: f64 = (1..=fewer).map(|k| ((all - fewer + k) as f64 / k as f64).ln()).sum::<f64>()
        - all as f64 * std::f64::consts::LN_2;
    let (mut term, mut tail) = (1.0, 1.0);
    for k in (1..=fewer).rev() {
        term *= k as f64 / (all - k + 1) as f64;
        tail += term;
    }
    (2.0 * tail * largest.exp()).min(1.0)
}

/// Holm's correction for having asked several questions: adjusted p-values, in the order given (Holm 1979; R's
/// `p.adjust(method = "holm")`).
pub fn holm(p: &[f64]) -> Vec<f64> {
    let mut order: Vec<usize> = (0..p.len()).collect();
    order.sort_by(|&a, &b| p[a].total_cmp(&p[b]));
    let mut adjusted = vec![0.0; p.len()];
    let mut highest = 0.0f64;
    for (rank, &index) in order.iter().enumerate() {
        highest = highest.max((p[index] * (p.len() - rank) as f64).min(1.0));
        adjusted[index] = highest;
    }
    adjusted
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use proptest::prelude::*;

    use super::*;
    use crate::judge::classifiers::references::{number, section};

    #[test]
    fn the_test_is_statsmodels() {
        let cases = section("mcnemar");
        assert_eq!(cases.len(), 9);
        for case in cases {
            let [first, second] = ["only_first", "only_second"].map(|name| case[name].as_u64().unwrap() as usize);
            let (found, expected) = (mcnemar(first, second), number(&case["p"]));
            assert!(
                (found - expected).abs() <= 1e-9 * expected,
                "{first} {second}: found {found}, reference {expected}"
            );
        }
    }

    #[test]
    fn the_correction_is_statsmodels() {
        let cases = section("holm");
        assert_eq!(cases.len(), 4);
        for case in cases {
            let numbers = |name: &str| -> Vec<f64> { case[name].as_array().unwrap().iter().map(number).collect() };
            for (found, expected) in holm(&numbers("p")).iter().zip(numbers("adjusted")) {
                assert!((found - expected).abs() < 1e-12, "{found} {expected}");
            }
        }
        assert_eq!(holm(&[]), Vec::<f64>::new());
    }

    proptest! {
        #[test]
        fn p_is_the_sum_of_the_binomial_tails(first in 0usize..40, second in 0usize..40) {
            let all = first + second;
            // Pascal's row, exact in f64 up to 2^53 and good to 1e-15 beyond.
            let row = (0..all).fold(vec![1.0f64], |row, _| {
                (0..=row.len()).map(|k| (k.checked_sub(1).map_or(0.0, |k| row[k])) + row.get(k).unwrap_or(&0.0)).collect()
            });
            let tail: f64 = row[..=first.min(second)].iter().sum::<f64>() / 2f64.powi(all as i32);
            prop_assert!((mcnemar(first, second) - (2.0 * tail).min(1.0)).abs() < 1e-12);
            prop_assert_eq!(mcnemar(first, second), mcnemar(second, first));
        }

        #[test]
        fn corrected_values_are_larger_and_keep_their_order(p in prop::collection::vec(0.0f64..=1.0, 1..40)) {
            let adjusted = holm(&p);
            for (a, (raw_a, b, raw_b)) in adjusted.iter().zip(&p).flat_map(|(a, raw_a)| adjusted.iter().zip(&p).map(move |(b, raw_b)| (a, (raw_a, b, raw_b)))) {
                prop_assert!(a >= raw_a && *a <= 1.0);
                prop_assert!(raw_a > raw_b || a <= b);
            }
        }
    }
}
