//! Dynamic loss scaling for half precision (Micikevicius et al. 2018): the loss is multiplied so that small gradients do not
//! vanish in f16, and gradients are divided by the same number before they are used.
//!
//! The scale is halved when a gradient is no longer finite, and that step is skipped: neither weights nor moments move. After
//! [`GROWTH_INTERVAL`] good steps it is doubled. The numbers are those of PyTorch's `GradScaler`.

/// The scale of the first step.
const START: f64 = 65536.0;
/// Good steps until the scale is doubled.
pub const GROWTH_INTERVAL: usize = 2000;
/// A scale below this has not been too large: the gradients themselves are broken.
const LEAST: f64 = 1.0 / 65536.0;

/// The scale of a run, and how many good steps it has seen.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct LossScale {
    /// What the loss is multiplied by; a power of 2.
    pub scale: f64,
    /// Steps since the scale changed or a step was skipped.
    pub good_steps: usize,
}

impl Default for LossScale {
    fn default() -> Self {
        Self { scale: START, good_steps: 0 }
    }
}

impl LossScale {
    /// After a step whose gradients were finite.
    pub fn succeeded(&mut self) {
        self.good_steps += 1;
        if self.good_steps == GROWTH_INTERVAL {
            *self = Self { scale: self.scale * 2.0, good_steps: 0 };
        }
    }

    /// After a step whose gradients were not finite: `false` when no smaller scale can help.
    #[must_use]
    pub fn backed_off(&mut self) -> bool {
        *self = Self { scale: self.scale / 2.0, good_steps: 0 };
        self.scale >= LEAST
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn grows_and_backs_off_as_gradscaler() {
        let mut scale = LossScale::default();
        (1..GROWTH_INTERVAL).for_each(|_| scale.succeeded());
        assert_eq!(scale, LossScale { scale: START, good_steps: GROWTH_INTERVAL - 1 });
        scale.succeeded();
        assert_eq!(scale, LossScale { scale: 2.0 * START, good_steps: 0 });
        scale.succeeded();
        assert!(scale.backed_off());
        assert_eq!(scale, LossScale { scale: START, good_steps: 0 });
        let tries = (0..1000).take_while(|_| scale.backed_off()).count();
        assert_eq!(tries, 32, "from 2^16 to 2^-16");
    }
}
