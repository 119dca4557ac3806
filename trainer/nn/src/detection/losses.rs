//! What the heads of these nets make small, each of tensors of one shape.

use candle_core::{D, Result, Tensor};

use crate::elementwise::{binary_cross_entropy, sigmoid};

/// The sum of the smooth L1 loss (Girshick 2015, "Fast R-CNN", section 2.3): of each difference `d` it is `d^2 / (2 beta)` below
/// `beta`, and `|d| - beta / 2` from there on. Differentiable in `x`.
///
/// # Errors
/// Other shapes.
pub fn smooth_l1(x: &Tensor, target: &Tensor, beta: f64) -> Result<Tensor> {
    let difference = (x - target)?.abs()?;
    let short = difference.minimum(beta)?;
    ((&short * (difference - (&short * 0.5)?)?)?.sum_all()? / beta)?.contiguous()
}

/// The focal loss (Lin et al. 2017, equation 5) of each logit and its truth, 0 or 1: `-a (1 - p)^gamma ln p`, with the probability
/// `p` of the truth, and `a` is `alpha` for what is there and `1 - alpha` for what is not. Differentiable in the logits.
///
/// # Errors
/// Other shapes.
pub fn focal(logits: &Tensor, truth: &Tensor, alpha: f64, gamma: f64) -> Result<Tensor> {
    let probability = sigmoid(logits)?;
    // Of the other answer: p (1 - y) + (1 - p) y.
    let miss = (&probability + truth)?.sub(&((&probability * truth)? * 2.0)?)?;
    let weight = ((truth * (2.0 * alpha - 1.0))? + (1.0 - alpha))?;
    let modulated = if gamma == 2.0 { miss.sqr()? } else { miss.powf(gamma)? };
    (modulated * weight)? * binary_cross_entropy(logits, truth)?
}

/// `1 - 2 sum(p y) / (sum(p^2) + sum(y^2) + 2 epsilon)` of each row of probabilities and truth, both `[K, P]`: Dice with squares in
/// the denominator (Milletari et al. 2016), as SOLO has it. `[K]`, differentiable in the probabilities.
///
/// # Errors
/// Other shapes.
pub fn squared_dice(probability: &Tensor, truth: &Tensor, epsilon: f64) -> Result<Tensor> {
    let overlap = ((probability * truth)?.sum(D::Minus1)? * 2.0)?;
    let both = ((probability.sqr()?.sum(D::Minus1)? + truth.sqr()?.sum(D::Minus1)?)? + 2.0 * epsilon)?;
    1.0 - (overlap / both)?
}

/// The cross entropy `-ln softmax(z)[class]` of each row of logits `[K, classes]` and its class. `[K]`, differentiable in the logits.
///
/// # Errors
/// Other shapes; a class that is not there.
pub fn softmax_cross_entropy(logits: &Tensor, classes: &[u32]) -> Result<Tensor> {
    let (rows, columns) = logits.dims2()?;
    if rows != classes.len() || classes.iter().any(|class| *class as usize >= columns) {
        candle_core::bail!("cross entropy: {} classes of {columns} for {rows} rows do not fit", classes.len());
    }
    let classes = Tensor::from_slice(classes, (rows, 1), logits.device())?;
    let highest = logits.detach().max_keepdim(1)?;
    let shifted = logits.broadcast_sub(&highest)?;
    let total = shifted.exp()?.sum(1)?.log()?;
    total - shifted.gather(&classes, 1)?.squeeze(1)?
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use candle_core::{Device, Var};

    use super::*;
    use crate::seeded;

    /// The gradient of a sum against finite differences.
    fn check(name: &str, start: &Tensor, loss: impl Fn(&Tensor) -> Tensor) {
        let x = Var::from_tensor(start).unwrap();
        let gradient = loss(&x).sum_all().unwrap().backward().unwrap();
        let gradient = gradient.get(&x).unwrap().flatten_all().unwrap().to_vec1::<f32>().unwrap();
        let flat = start.flatten_all().unwrap().to_vec1::<f32>().unwrap();
        for place in 0..flat.len() {
            let moved = |step: f32| {
                let mut values = flat.clone();
                values[place] += step;
                let x = Tensor::from_vec(values, start.shape(), &Device::Cpu).unwrap();
                let values = loss(&x).flatten_all().unwrap().to_vec1::<f32>().unwrap();
                values.iter().map(|v| f64::from(*v)).sum::<f64>()
            };
            let expected = (moved(5e-3) - moved(-5e-3)) / 1e-2;
            let got = f64::from(gradient[place]);
            assert!((got - expected).abs() < 5e-3 * (1.0 + expected.abs()), "{name} {place}: {got} {expected}");
        }
    }

    #[test]
    fn gradients_are_those_of_finite_differences() {
        let x = seeded::normal((4, 5), 1.0, 1, &Device::Cpu).unwrap();
        let truth = seeded::normal((4, 5), 1.0, 2, &Device::Cpu).unwrap().gt(0.0).unwrap();
        let truth = truth.to_dtype(candle_core::DType::F32).unwrap();
        check("smooth L1", &x, |x| smooth_l1(x, &truth, 0.4).unwrap());
        check("focal", &x, |x| focal(x, &truth, 0.25, 2.0).unwrap());
        check("squared Dice", &x, |x| squared_dice(&sigmoid(x).unwrap(), &truth, 1e-3).unwrap());
        check("cross entropy", &x, |x| softmax_cross_entropy(x, &[0, 4, 2, 2]).unwrap());
    }

    #[test]
    fn large_logits_give_numbers() {
        let x = Tensor::new(&[[1e4f32, -1e4], [-1e4, 1e4]], &Device::Cpu).unwrap();
        let truth = Tensor::new(&[[0f32, 1.0], [0.0, 1.0]], &Device::Cpu).unwrap();
        for loss in [focal(&x, &truth, 0.25, 2.0).unwrap(), softmax_cross_entropy(&x, &[1, 1]).unwrap()] {
            let values = loss.flatten_all().unwrap().to_vec1::<f32>().unwrap();
            assert!(values.iter().all(|v| v.is_finite() && *v >= 0.0), "{values:?}");
        }
        assert!(softmax_cross_entropy(&x, &[2, 0]).is_err() && softmax_cross_entropy(&x, &[1]).is_err());
    }
}
