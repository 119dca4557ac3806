//! How alike two lists of values are in their order.

/// Spearman's rank correlation, equal values having the mean of their ranks; none where all are equal.
pub fn spearman(a: &[f32], b: &[f32]) -> Option<f64> {
    let (a, b) = (ranks(a), ranks(b));
    let mean = (a.len() as f64 - 1.0) / 2.0;
    let product = |a: &[f64], b: &[f64]| a.iter().zip(b).map(|(a, b)| (a - mean) * (b - mean)).sum::<f64>();
    let spread = (product(&a, &a) * product(&b, &b)).sqrt();
    (spread > 0.0).then(|| product(&a, &b) / spread)
}

fn ranks(values: &[f32]) -> Vec<f64> {
    let mut order: Vec<usize> = (0..values.len()).collect();
    order.sort_by(|&a, &b| values[a].total_cmp(&values[b]));
    let mut ranks = vec![0.0; values.len()];
    let mut start = 0;
    for same in order.chunk_by(|&a, &b| values[a] == values[b]) {
        let rank = start as f64 + (same.len() - 1) as f64 / 2.0;
        same.iter().for_each(|&index| ranks[index] = rank);
        start += same.len();
    }
    ranks
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Values by `scipy.stats.spearmanr`.
    #[test]
    fn ranks_are_correlated_as_by_scipy() {
        let near = |found: Option<f64>, expected: f64| found.is_some_and(|found| (found - expected).abs() < 1e-12);
        assert!(near(spearman(&[1.0, 2.0, 3.0, 4.0], &[1.0, 3.0, 2.0, 4.0]), 0.8));
        assert!(near(spearman(&[1.0, 2.0, 2.0, 5.0], &[9.0, 1.0, 1.0, 0.5]), -1.0));
        assert!(spearman(&[1.0, 1.0], &[1.0, 2.0]).is_none());
    }
}
