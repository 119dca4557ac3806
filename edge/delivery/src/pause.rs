//! How long a peer that failed is left alone: twice as long each time, up to a bound, and drawn between half of that and all of it.

use std::time::Duration;

use rand::{Rng, SeedableRng, rngs::StdRng};
use sha2::{Digest, Sha256};

use crate::config::Config;

/// The pauses of one destination.
#[derive(Debug)]
pub(crate) struct Pauses {
    first: Duration,
    longest: Duration,
    random: StdRng,
}

impl Pauses {
    pub(crate) fn new(config: &Config, destination: &str) -> Self {
        // So that two destinations of a box do not draw the same.
        let seed = Sha256::new().chain_update(config.seed.to_le_bytes()).chain_update(destination).finalize();
        Self {
            first: Duration::from_secs(config.first_pause_seconds),
            longest: Duration::from_secs(config.longest_pause_seconds),
            random: StdRng::from_seed(seed.into()),
        }
    }

    /// After so many failures in a row; none needs no pause.
    pub(crate) fn after(&mut self, failures: u32) -> Duration {
        let Some(doublings) = failures.checked_sub(1) else { return Duration::ZERO };
        let whole = self.first.saturating_mul(1 << doublings.min(20)).min(self.longest);
        whole.mul_f64(self.random.random_range(0.5..=1.0))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pauses_double_up_to_a_bound_and_follow_from_the_seed() {
        let config = Config { first_pause_seconds: 5, longest_pause_seconds: 60, seed: 3, ..Config::default() };
        let draw = |config: &Config, destination: &str| {
            let mut pauses = Pauses::new(config, destination);
            (0..40).map(|failures| pauses.after(failures).as_secs_f64()).collect::<Vec<_>>()
        };
        let drawn = draw(&config, "pacs");
        assert_eq!(drawn, draw(&config, "pacs"));
        assert_ne!(drawn, draw(&config, "fleet"));
        assert_ne!(drawn, draw(&Config { seed: 4, ..config }, "pacs"));
        assert_eq!(drawn[0], 0.0);
        for (failures, pause) in drawn.iter().enumerate().skip(1) {
            let whole = (5.0 * 2_f64.powi(failures as i32 - 1)).min(60.0);
            assert!((whole / 2.0..=whole).contains(pause), "{failures}: {pause}");
        }
        assert!(drawn[20..].iter().any(|pause| *pause != drawn[19]), "boxes come back at different moments");
    }
}
