//! How well something can be told from numbers: classifiers as plain as can be, judged on groups of patients that they have not seen.

use rayon::prelude::*;
use thorax_nn::{
    matmul::{View, multiply},
    optimizer::{AdamWConfig, AdamWStep},
};

/// Steps of a fit.
const STEPS: usize = 200;
/// Learning rate at the start; half a cosine leads to 0.
const HIGHEST_RATE: f64 = 0.02;
/// Penalty on the squared weights of standardised columns.
const L2: f32 = 1e-2;
/// Neighbours that are asked.
const NEIGHBOURS: usize = 15;

/// Numbers of pictures, row by row, and which fold each is judged in.
pub(super) struct Table<'a> {
    pub(super) values: &'a [f32],
    pub(super) columns: usize,
    pub(super) folds: &'a [usize],
}

impl Table<'_> {
    fn rows(&self) -> usize {
        self.folds.len()
    }

    /// The rows `indices`, standardised by those of them that are learnt from.
    fn standardised(&self, learnt: &[usize], indices: &[usize]) -> Vec<f32> {
        let row = |index: usize| &self.values[index * self.columns..][..self.columns];
        let count = learnt.len().max(1) as f64;
        let mut sums = vec![[0f64; 2]; self.columns];
        for &index in learnt {
            for (sum, &value) in sums.iter_mut().zip(row(index)) {
                sum[0] += f64::from(value);
                sum[1] += f64::from(value).powi(2);
            }
        }
        let scales: Vec<[f32; 2]> = sums
            .iter()
            .map(|[sum, squares]| {
                let mean = sum / count;
                let deviation = (squares / count - mean * mean).max(0.0).sqrt();
                // A column without any spread says nothing.
                [mean as f32, if deviation > 1e-6 { (1.0 / deviation) as f32 } else { 0.0 }]
            })
            .collect();
        let scaled =
            |index: &usize| row(*index).iter().zip(&scales).map(|(value, [mean, scale])| (value - mean) * scale);
        indices.iter().flat_map(scaled).collect()
    }

    /// Calls `judge` with the rows that are learnt from and those that are judged, a fold after the other, and puts what it says of the
    /// latter, `width` numbers a row, back in their order.
    fn cross_validated(&self, width: usize, judge: impl Fn(&[usize], &[usize]) -> Vec<f32> + Sync) -> Vec<f32> {
        let last = self.folds.iter().copied().max().unwrap_or(0);
        let judged: Vec<(Vec<usize>, Vec<f32>)> = (0..=last)
            .into_par_iter()
            .map(|fold| {
                let (out, learnt): (Vec<usize>, Vec<usize>) =
                    (0..self.rows()).partition(|&row| self.folds[row] == fold);
                let said = if out.is_empty() || learnt.is_empty() { vec![] } else { judge(&learnt, &out) };
                (out, said)
            })
            .collect();
        let mut all = vec![0f32; self.rows() * width];
        for (rows, said) in judged {
            for (row, said) in rows.into_iter().zip(said.chunks_exact(width)) {
                all[row * width..][..width].copy_from_slice(said);
            }
        }
        all
    }

    /// The probabilities `[rows, classes]` that a multinomial logistic regression gives each row without having seen its fold. Every class
    /// counts the same, however many rows it has.
    pub(super) fn logistic(&self, targets: &[usize], classes: usize) -> Vec<f32> {
        self.logistic_of(|_| true, targets, classes)
    }

    /// The same, learnt from no other rows than those that are `known`, of which every fold leaves some.
    pub(super) fn logistic_of(
        &self,
        known: impl Fn(usize) -> bool + Sync,
        targets: &[usize],
        classes: usize,
    ) -> Vec<f32> {
        self.cross_validated(classes, |learnt, out| {
            let learnt: Vec<usize> = learnt.iter().copied().filter(|&row| known(row)).collect();
            let of: Vec<usize> = learnt.iter().map(|&row| targets[row]).collect();
            let x = self.standardised(&learnt, &learnt);
            let (weights, bias) = fit(&x, &of, self.columns, classes);
            let x = self.standardised(&learnt, out);
            let mut z = vec![0f32; out.len() * classes];
            multiply(
                (&mut z, View::row_major(out.len(), classes)),
                false,
                (&x, View::row_major(out.len(), self.columns)),
                (&weights, View::row_major(self.columns, classes)),
                false,
            );
            z.chunks_exact_mut(classes).for_each(|row| softmax(row, &bias));
            z
        })
    }

    /// The share of positives among the nearest rows of other folds, for few columns.
    pub(super) fn neighbours(&self, positive: &[bool]) -> Vec<f32> {
        self.cross_validated(1, |learnt, out| {
            let known = self.standardised(learnt, learnt);
            let asked = self.standardised(learnt, out);
            let share = |row: &[f32]| {
                let mut nearest: Vec<(f32, bool)> = known
                    .chunks_exact(self.columns)
                    .zip(learnt)
                    .map(|(other, &index)| {
                        let distance = row.iter().zip(other).map(|(a, b)| (a - b).powi(2)).sum();
                        (distance, positive[index])
                    })
                    .collect();
                nearest.sort_by(|a, b| a.0.total_cmp(&b.0));
                let asked = NEIGHBOURS.min(nearest.len());
                nearest[..asked].iter().filter(|(_, positive)| *positive).count() as f32 / asked.max(1) as f32
            };
            asked.chunks_exact(self.columns).map(share).collect()
        })
    }
}

/// Weights `[columns, classes]` and bias `[classes]`: full-batch Adam on a convex loss.
fn fit(x: &[f32], targets: &[usize], columns: usize, classes: usize) -> (Vec<f32>, Vec<f32>) {
    let rows = targets.len();
    let mut counts = vec![0f32; classes];
    targets.iter().for_each(|&class| counts[class] += 1.0);
    let present = counts.iter().filter(|count| **count > 0.0).count().max(1) as f32;
    let mut weights = vec![0f32; columns * classes];
    let mut bias = vec![0f32; classes];
    let mut moments = [columns * classes, classes].map(|count| [vec![0f32; count], vec![0f32; count]]);
    let config = AdamWConfig { weight_decay: 0.0, ..AdamWConfig::default() };
    let mut residual = vec![0f32; rows * classes];
    let mut gradient = vec![0f32; columns * classes];
    let (x_view, w_view, r_view) =
        (View::row_major(rows, columns), View::row_major(columns, classes), View::row_major(rows, classes));
    for step in 1..=STEPS {
        multiply((&mut residual, r_view), false, (x, x_view), (&weights, w_view), false);
        let mut to_bias = vec![0f32; classes];
        for (row, &target) in residual.chunks_exact_mut(classes).zip(targets) {
            softmax(row, &bias);
            row[target] -= 1.0;
            for (value, sum) in row.iter_mut().zip(&mut to_bias) {
                *value /= counts[target] * present;
                *sum += *value;
            }
        }
        multiply((&mut gradient, w_view), false, (x, x_view.transposed()), (&residual, r_view), false);
        gradient.iter_mut().zip(&weights).for_each(|(gradient, weight)| *gradient += L2 * weight);
        let share = step as f64 / STEPS as f64;
        let rate = HIGHEST_RATE * 0.5 * (1.0 + (std::f64::consts::PI * share).cos());
        let adam = AdamWStep::new(&config, step, rate, 1.0);
        let [of_weights, of_bias] = &mut moments;
        for (values, gradients, [first, second]) in
            [(&mut weights, &gradient, of_weights), (&mut bias, &to_bias, of_bias)]
        {
            adam.apply(values, first, second, gradients);
        }
    }
    (weights, bias)
}

/// From logits without their bias to probabilities.
fn softmax(row: &mut [f32], bias: &[f32]) {
    row.iter_mut().zip(bias).for_each(|(z, bias)| *z += bias);
    let largest = row.iter().copied().fold(f32::MIN, f32::max);
    row.iter_mut().for_each(|z| *z = (*z - largest).exp());
    let sum: f32 = row.iter().sum();
    row.iter_mut().for_each(|p| *p /= sum);
}

/// The share of each class's rows that are taken for it; `None` for a class without rows.
pub(super) fn recalls(probabilities: &[f32], targets: &[usize], classes: usize) -> Vec<Option<f64>> {
    let mut counts = vec![[0usize; 2]; classes];
    for (row, &target) in probabilities.chunks_exact(classes).zip(targets) {
        let highest = (0..classes).max_by(|&a, &b| row[a].total_cmp(&row[b]));
        counts[target][0] += usize::from(highest == Some(target));
        counts[target][1] += 1;
    }
    counts.into_iter().map(|[right, all]| (all > 0).then(|| right as f64 / all as f64)).collect()
}

#[cfg(test)]
mod tests {
    use rand::Rng as _;
    use thorax_nn::seeded;
    use thorax_shared::metrics::roc_auc;

    use super::*;
    use crate::data::group_folds;

    /// Three classes, of which `shift` moves one column each; two rows a group.
    fn made(shift: f32) -> (Vec<f32>, Vec<usize>, Vec<String>) {
        let mut random = seeded::generator(4, 0);
        let (mut values, mut targets, mut groups) = (vec![], vec![], vec![]);
        // Unequal classes.
        for i in 0..300usize {
            let group = i / 2;
            let class = [0, 0, 0, 0, 1, 2][group % 6];
            targets.push(class);
            groups.push(group.to_string());
            values.extend(
                (0..8).map(|column| random.random_range(-1.0..1.0) + if column == class { shift } else { 0.0 }),
            );
        }
        (values, targets, groups)
    }

    fn balanced(shift: f32) -> f64 {
        let (values, targets, groups) = made(shift);
        let groups: Vec<&str> = groups.iter().map(String::as_str).collect();
        let folds = group_folds(&groups, 5, 1);
        let table = Table { values: &values, columns: 8, folds: &folds };
        let probabilities = table.logistic(&targets, 3);
        assert!(probabilities.chunks_exact(3).all(|row| (row.iter().sum::<f32>() - 1.0).abs() < 1e-4));
        recalls(&probabilities, &targets, 3).into_iter().flatten().sum::<f64>() / 3.0
    }

    #[test]
    fn classes_are_told_where_they_differ_and_by_chance_where_not() {
        let (apart, alike) = (balanced(3.0), balanced(0.0));
        assert!(apart > 0.97, "{apart}");
        assert!((alike - 1.0 / 3.0).abs() < 0.1, "{alike}");
    }

    #[test]
    fn what_is_not_known_is_not_learnt() {
        let (values, targets, groups) = made(3.0);
        let groups: Vec<&str> = groups.iter().map(String::as_str).collect();
        let folds = group_folds(&groups, 5, 1);
        let table = Table { values: &values, columns: 8, folds: &folds };
        let of = |known: &(dyn Fn(usize) -> bool + Sync)| {
            recalls(&table.logistic_of(known, &targets, 3), &targets, 3).into_iter().flatten().collect::<Vec<_>>()
        };
        // Whoever has seen no row of a class takes none for it.
        let without = of(&|row| targets[row] != 2);
        assert!(without[0] > 0.9 && without[2] < 0.1, "{without:?}");
        // An eighth of the groups tells less than all of them.
        let (few, all) = (of(&|row| row / 2 % 8 == 0), of(&|_| true));
        assert!(few.iter().sum::<f64>() < all.iter().sum::<f64>(), "{few:?} {all:?}");
    }

    /// Numbers that name the group would tell everything, were groups divided.
    #[test]
    fn a_group_is_in_one_fold_and_every_fold_has_as_many() {
        let groups: Vec<String> = (0..40).map(|i| (i / 2).to_string()).collect();
        let groups: Vec<&str> = groups.iter().map(String::as_str).collect();
        let folds = group_folds(&groups, 5, 7);
        assert!(folds.chunks_exact(2).all(|pair| pair[0] == pair[1]));
        assert!((0..5).all(|fold| folds.iter().filter(|&&of| of == fold).count() == 8));
        let values: Vec<f32> = (0..40).map(|i| (i / 2) as f32 * 100.0).collect();
        // Neighbouring groups have other classes, those behind them the same: nearest of all would be the other row of the group.
        let positive: Vec<bool> = (0..40).map(|i| i / 2 % 2 == 0).collect();
        let told = Table { values: &values, columns: 1, folds: &folds }.neighbours(&positive);
        assert!(told.iter().all(|share| (0.0..=1.0).contains(share)));
        assert!(roc_auc(&told, &positive).is_ok_and(|auc| auc < 0.7), "{told:?}");
    }

    /// Two sizes of pictures, no line between which has the positives on one side.
    #[test]
    fn neighbours_tell_what_no_line_tells() {
        let mut random = seeded::generator(9, 0);
        let rows = 200usize;
        let positive: Vec<bool> = (0..rows).map(|i| i % 2 == 0).collect();
        let values: Vec<f32> = (0..rows)
            .flat_map(|i| {
                let corner = [[-1.0, -1.0], [1.0, -1.0], [1.0, 1.0], [-1.0, 1.0f32]][i % 4];
                corner.map(|at| at + random.random_range(-0.3..0.3))
            })
            .collect();
        let folds: Vec<usize> = (0..rows).map(|i| i / 4 % 5).collect();
        let table = Table { values: &values, columns: 2, folds: &folds };
        let auc = |scores: &[f32]| roc_auc(scores, &positive).unwrap_or_default();
        let targets: Vec<usize> = positive.iter().map(|&positive| usize::from(positive)).collect();
        let line: Vec<f32> = table.logistic(&targets, 2).chunks_exact(2).map(|row| row[1]).collect();
        assert!(auc(&table.neighbours(&positive)) > 0.99 && auc(&line) < 0.7, "{}", auc(&line));
    }

    #[test]
    fn recalls_by_hand() {
        let probabilities = [0.6, 0.4, 0.3, 0.7, 0.2, 0.8];
        assert_eq!(recalls(&probabilities, &[0, 0, 1], 2), [Some(0.5), Some(1.0)]);
        assert_eq!(recalls(&probabilities, &[1, 1, 1], 2), [None, Some(2.0 / 3.0)]);
    }
}
