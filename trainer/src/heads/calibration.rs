//! Which map from the ensemble's probability to one that means what it says, if any.
//!
//! A temperature stretches logits and no more: it cannot help where the ensemble is too sure of positives and not of negatives. Beta
//! calibration (Kull, Silva Filho and Flach 2017) can, and isotonic regression (Zadrozny and Elkan 2002) follows any order, and noise as
//! well. So each is fitted to four fifths of the patients and judged on the rest, and the one with the least log-loss there is
//! taken; none, unless it is clearly better than the temperature alone.

use thorax_shared::{
    calibration::{NEAREST, ProbabilityMap},
    metrics,
};

use crate::data::group_folds;

/// Parts that the patients are divided into.
const FOLDS: usize = 5;
/// How much less log-loss a map has to have than none, in nats a picture.
const WORTH: f64 = 0.005;
/// Probabilities that are no nearer to 0 and 1 than this have a log-loss.
const EDGE: f32 = 1e-3;
/// Points of an isotonic map are at least this far apart, so that it is nowhere steep: a device that rounds otherwise must not get another
/// answer.
const LEAST_APART: f64 = 0.02;
/// Steps of Newton's method; it needs about six.
const STEPS: usize = 50;

/// One way, judged on patients that it was not fitted to.
#[derive(Clone, Debug, PartialEq, serde::Serialize, serde::Deserialize)]
pub struct Judged {
    /// `temperature`, `Beta` or `isotonic`.
    pub way: String,
    /// Mean log-loss in nats.
    pub log_loss: f64,
    /// Brier score.
    pub brier: f64,
    /// Expected calibration error, 15 bins.
    pub ece: f64,
}

/// The map to use, and how each way was judged, the temperature alone first.
///
/// # Errors
/// No pictures, or numbers that are none.
pub(super) fn choose(
    probabilities: &[f32],
    labels: &[bool],
    groups: &[&str],
    seed: u64,
) -> anyhow::Result<(Option<ProbabilityMap>, Vec<Judged>)> {
    type Fit = fn(&[f32], &[bool]) -> Option<ProbabilityMap>;
    let ways: [(&str, Fit); 3] = [("temperature", |_, _| None), ("Beta", beta), ("isotonic", isotonic)];
    let folds = group_folds(groups, FOLDS, seed);
    let judge = |(way, fit): (&str, Fit)| -> anyhow::Result<Judged> {
        let mut told = probabilities.to_vec();
        for fold in 0..FOLDS {
            let (kept, kept_labels): (Vec<f32>, Vec<bool>) =
                (0..told.len()).filter(|&at| folds[at] != fold).map(|at| (probabilities[at], labels[at])).unzip();
            let Some(map) = fit(&kept, &kept_labels) else { continue };
            (0..told.len()).filter(|&at| folds[at] == fold).for_each(|at| told[at] = map.apply(probabilities[at]));
        }
        told.iter_mut().for_each(|p| *p = p.clamp(EDGE, 1.0 - EDGE));
        let squares = told.iter().zip(labels).map(|(&p, &y)| (f64::from(p) - f64::from(u8::from(y))).powi(2));
        Ok(Judged {
            way: way.to_owned(),
            log_loss: metrics::negative_log_likelihood(&told, labels)?,
            brier: squares.sum::<f64>() / told.len() as f64,
            ece: metrics::expected_calibration_error(&told, labels, 15)?,
        })
    };
    let judged = ways.into_iter().map(judge).collect::<anyhow::Result<Vec<_>>>()?;
    let best = (1..ways.len()).min_by(|&a, &b| judged[a].log_loss.total_cmp(&judged[b].log_loss)).unwrap_or_default();
    let worth = judged[best].log_loss + WORTH <= judged[0].log_loss;
    Ok((worth.then(|| ways[best].1(probabilities, labels)).flatten(), judged))
}

/// Isotonic regression by pooling adjacent violators: each block of pictures is a point, its mean probability and its share of
/// positives. `None` where there are fewer than two blocks.
fn isotonic(probabilities: &[f32], labels: &[bool]) -> Option<ProbabilityMap> {
    let mut order: Vec<usize> = (0..probabilities.len()).collect();
    order.sort_by(|&a, &b| probabilities[a].total_cmp(&probabilities[b]));
    // Sum of probabilities, positives, pictures.
    let mut blocks: Vec<[f64; 3]> = vec![];
    for at in order {
        blocks.push([probabilities[at].into(), f64::from(u8::from(labels[at])), 1.0]);
        // What falls is pooled, and what is hardly apart.
        while let [.., before, last] = &blocks[..] {
            let rises = before[1] / before[2] < last[1] / last[2];
            if rises && before[0] / before[2] + LEAST_APART <= last[0] / last[2] {
                break;
            }
            let pooled = std::array::from_fn(|i| before[i] + last[i]);
            blocks.truncate(blocks.len() - 2);
            blocks.push(pooled);
        }
    }
    let points: Vec<[f32; 2]> = blocks.iter().map(|[p, y, n]| [(p / n) as f32, (y / n) as f32]).collect();
    (points.len() > 1).then_some(ProbabilityMap::Isotonic(points))
}

/// Beta calibration: a logistic regression on `ln p` and `-ln(1 - p)` by Newton's method, whose two slopes may not fall; one that would is
/// left out. `None` where it does not converge, as on classes that are told apart without a mistake.
fn beta(probabilities: &[f32], labels: &[bool]) -> Option<ProbabilityMap> {
    let rows: Vec<[f64; 3]> = probabilities
        .iter()
        .map(|&p| {
            let p = f64::from(p).clamp(NEAREST, 1.0 - NEAREST);
            [p.ln(), -(1.0 - p).ln(), 1.0]
        })
        .collect();
    let [mut a, mut b, mut c] = logistic(&rows, labels, [true; 3])?;
    if a < 0.0 {
        [a, b, c] = logistic(&rows, labels, [false, true, true])?;
    } else if b < 0.0 {
        [a, b, c] = logistic(&rows, labels, [true, false, true])?;
    }
    let map = ProbabilityMap::Beta { a: a as f32, b: b as f32, c: c as f32 };
    map.is_valid().then_some(map)
}

/// Weights of a logistic regression on those of three columns that are `used`; the others have 0.
fn logistic(rows: &[[f64; 3]], labels: &[bool], used: [bool; 3]) -> Option<[f64; 3]> {
    let mut weights = [0.0; 3];
    for _ in 0..STEPS {
        let mut gradient = [0.0; 3];
        let mut hessian = [[0.0; 3]; 3];
        for (row, &label) in rows.iter().zip(labels) {
            let z: f64 = row.iter().zip(&weights).map(|(x, w)| x * w).sum();
            let p = 1.0 / (1.0 + (-z).exp());
            for i in (0..3).filter(|&i| used[i]) {
                gradient[i] += row[i] * (p - f64::from(u8::from(label)));
                (0..3).filter(|&j| used[j]).for_each(|j| hessian[i][j] += row[i] * row[j] * p * (1.0 - p));
            }
        }
        (0..3).for_each(|i| hessian[i][i] += if used[i] { 1e-9 } else { 1.0 });
        let step = solve(hessian, gradient)?;
        weights.iter_mut().zip(step).for_each(|(w, s)| *w -= s);
        let size = step.iter().map(|s| s.abs()).fold(0.0, f64::max);
        if !size.is_finite() || size > 1e6 {
            return None;
        }
        if size < 1e-9 {
            return Some(weights);
        }
    }
    None
}

/// Solves three equations by elimination with pivots.
fn solve(mut a: [[f64; 3]; 3], mut b: [f64; 3]) -> Option<[f64; 3]> {
    for column in 0..3 {
        let pivot = (column..3).max_by(|&i, &j| a[i][column].abs().total_cmp(&a[j][column].abs()))?;
        a.swap(column, pivot);
        b.swap(column, pivot);
        if a[column][column].abs() < 1e-300 {
            return None;
        }
        for row in column + 1..3 {
            let factor = a[row][column] / a[column][column];
            let above = a[column];
            a[row].iter_mut().zip(above).for_each(|(value, above)| *value -= factor * above);
            b[row] -= factor * b[column];
        }
    }
    let mut x = [0.0; 3];
    for row in (0..3).rev() {
        let rest: f64 = (row + 1..3).map(|column| a[row][column] * x[column]).sum();
        x[row] = (b[row] - rest) / a[row][row];
    }
    Some(x)
}

#[cfg(test)]
#[allow(clippy::unwrap_used, clippy::panic)]
mod tests {
    use super::*;

    const P: [f32; 16] = [0.05, 0.1, 0.15, 0.2, 0.3, 0.35, 0.4, 0.45, 0.5, 0.55, 0.6, 0.7, 0.75, 0.8, 0.9, 0.95];
    const Y: [bool; 16] =
        [false, false, true, false, false, true, false, true, false, true, true, false, true, true, true, true];

    /// Of scikit-learn 1.8, IsotonicRegression and LogisticRegression without penalty on (ln p, -ln(1 - p)).
    #[test]
    fn both_maps_are_scikit_learns() {
        let Some(ProbabilityMap::Isotonic(points)) = isotonic(&P, &Y) else { panic!("no isotonic map") };
        let shares: Vec<f32> = points.iter().map(|point| point[1]).collect();
        assert_eq!(shares.len(), 5);
        for (share, expected) in shares.iter().zip([0.0, 1.0 / 3.0, 0.5, 2.0 / 3.0, 1.0]) {
            assert!((share - expected).abs() < 1e-6, "{shares:?}");
        }
        let Some(ProbabilityMap::Beta { a, b, c }) = beta(&P, &Y) else { panic!("no Beta map") };
        for (found, expected) in [(a, 0.550_547), (b, 1.508_567), (c, -0.342_674)] {
            assert!((found - expected).abs() < 1e-5, "{a} {b} {c}");
        }
    }

    #[test]
    fn what_needs_no_map_gets_none_and_what_does_gets_one() {
        // Probabilities on a grid, as many positives as they say; each picture a patient.
        let grid: Vec<(f32, bool)> = (0..2000)
            .map(|at| (((at / 20) as f32 + 0.5) / 100.0, (at % 20) as f32 + 0.5 < ((at / 20) as f32 + 0.5) / 5.0))
            .collect();
        let (told, labels): (Vec<f32>, Vec<bool>) = grid.into_iter().unzip();
        let names: Vec<String> = (0..told.len()).map(|at| (at * 7919 % told.len()).to_string()).collect();
        let groups: Vec<&str> = names.iter().map(String::as_str).collect();
        let (map, judged) = choose(&told, &labels, &groups, 1).unwrap();
        assert!(map.is_none() && judged[0].ece < 0.03, "{map:?} {judged:?}");
        // Sure of positives only, which no temperature mends.
        let sure: Vec<f32> = told.iter().map(|p| 1.0 - (1.0 - p).powi(3)).collect();
        let (map, judged) = choose(&sure, &labels, &groups, 1).unwrap();
        let map = map.unwrap();
        for (sure, p) in sure.iter().zip(&told).filter(|(_, p)| (0.1..0.9).contains(*p)) {
            assert!((map.apply(*sure) - p).abs() < 0.06, "{sure}: {} {p} {judged:?}", map.apply(*sure));
        }
    }

    #[test]
    fn classes_that_are_told_apart_have_no_beta_map() {
        assert_eq!(beta(&[0.1, 0.2, 0.8, 0.9], &[false, false, true, true]), None);
    }
}
