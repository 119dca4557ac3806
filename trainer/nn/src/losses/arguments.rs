//! The command line's words for a [`LossConfig`].

use super::{Balance, BoundaryConfig, LossConfig};
use crate::training::TrainingError;

/// Options of every command that trains a segmentation net.
#[derive(Clone, Debug, clap::Args)]
pub struct LossArgs {
    /// Weight of the binary cross entropy
    #[arg(long, value_name = "WEIGHT", default_value_t = 1.0)]
    cross_entropy_weight: f64,
    /// Weight of the soft Dice loss
    #[arg(long, value_name = "WEIGHT", default_value_t = 1.0)]
    dice_weight: f64,
    /// Add the boundary loss with a weight alpha; this is what the other terms weigh beside it [default: no boundary loss]
    #[arg(long, value_name = "BALANCE", value_enum)]
    boundary: Option<Balance>,
    /// Weight alpha of the boundary loss in the first epoch [default: 0.01]
    #[arg(long, value_name = "WEIGHT", requires = "boundary")]
    boundary_first: Option<f64>,
    /// What each epoch adds to it [default: 0.01]
    #[arg(long, value_name = "WEIGHT", requires = "boundary")]
    boundary_rise: Option<f64>,
    /// Where its rise ends [default: 0.9]
    #[arg(long, value_name = "WEIGHT", requires = "boundary")]
    boundary_highest: Option<f64>,
}

impl LossArgs {
    /// What was asked for.
    ///
    /// # Errors
    /// Numbers that make no sense.
    pub fn config(&self) -> Result<LossConfig, TrainingError> {
        let default = BoundaryConfig::default();
        let boundary = self.boundary.map(|balance| BoundaryConfig {
            first: self.boundary_first.unwrap_or(default.first),
            rise_per_epoch: self.boundary_rise.unwrap_or(default.rise_per_epoch),
            highest: self.boundary_highest.unwrap_or(default.highest),
            balance,
        });
        let config = LossConfig { cross_entropy: self.cross_entropy_weight, dice: self.dice_weight, boundary };
        config.check()?;
        Ok(config)
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use clap::Parser;

    use super::*;

    #[derive(Parser)]
    struct Command {
        #[command(flatten)]
        loss: LossArgs,
    }

    fn read(words: &str) -> Result<LossConfig, String> {
        let command = Command::try_parse_from(std::iter::once("command").chain(words.split_whitespace()));
        command.map_err(|e| e.to_string())?.loss.config().map_err(|e| e.to_string())
    }

    #[test]
    fn words_become_a_configuration() {
        assert_eq!(read("").unwrap(), LossConfig::default());
        let plain = LossConfig { boundary: Some(BoundaryConfig::default()), ..Default::default() };
        assert_eq!(read("--boundary rebalance").unwrap(), plain);
        let words = "--cross-entropy-weight 0 --dice-weight 0.5 --boundary increase --boundary-first 0.1 --boundary-rise 0.2 \
                     --boundary-highest 3";
        let boundary = BoundaryConfig { first: 0.1, rise_per_epoch: 0.2, highest: 3.0, balance: Balance::Increase };
        let config = LossConfig { cross_entropy: 0.0, dice: 0.5, boundary: Some(boundary) };
        assert_eq!(read(words).unwrap(), config);
    }

    #[test]
    fn numbers_that_make_no_sense_are_refused() {
        for (words, told) in [
            ("--cross-entropy-weight 0 --dice-weight 0", "all weights of the loss are 0"),
            (
                "--cross-entropy-weight 0 --dice-weight 0 --boundary increase --boundary-first 0",
                "all weights of the loss",
            ),
            ("--cross-entropy-weight inf", "at least 0"),
            ("--dice-weight NaN", "at least 0"),
            ("--dice-weight=-1", "at least 0"),
            ("--boundary-rise 0.1", "--boundary <BALANCE>"),
            ("--boundary rebalance --boundary-highest inf", "at least 0"),
            ("--boundary rebalance --boundary-rise=-1", "at least 0"),
            ("--boundary rebalance --boundary-highest 1.5", "at most 1"),
            ("--boundary rebalance --boundary-first 0.95", "above its highest"),
            ("--boundary increase --boundary-first 0 --boundary-rise 0", "never count"),
            ("--boundary increase --boundary-first 0 --boundary-highest 0", "never count"),
        ] {
            let error = read(words).unwrap_err();
            assert!(error.contains(told), "{words}: {error}");
        }
        assert!(read("--cross-entropy-weight 0 --dice-weight 0 --boundary increase").is_ok());
    }
}
