//! The command line's words for a [`TrainingConfig`].

use std::num::NonZeroUsize;

use super::{TrainingConfig, TrainingError};
use crate::{
    device::{Precision, threads},
    optimizer::{AdamWConfig, OptimizerConfig, SgdConfig},
    schedule::{Restarts, Schedule},
};

/// Which optimizer.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
enum OptimizerName {
    /// AdamW
    Adamw,
    /// Stochastic gradient descent with momentum
    Sgd,
}

/// Which schedule.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
enum ScheduleName {
    /// A cosine rise over 30 % of the run, then a cosine fall
    OneCycle,
    /// A linear rise (--warm-up), then half a cosine down
    Cosine,
    /// The learning rate times --step-factor every --step-every epochs
    Step,
    /// The same learning rate throughout
    Constant,
}

/// Options of every command that trains a net with [`fit`](super::fit).
#[derive(Clone, Debug, clap::Args)]
pub struct TrainingArgs {
    /// What makes a step of a gradient
    #[arg(long, value_enum, default_value_t = OptimizerName::Adamw)]
    optimizer: OptimizerName,
    /// Weight decay of matrices and filters [default: 0.01 with adamw, 0.0001 with sgd]
    #[arg(long, value_name = "DECAY")]
    weight_decay: Option<f64>,
    /// Momentum of sgd [default: 0.9]
    #[arg(long)]
    momentum: Option<f64>,
    /// Nesterov's momentum, with sgd
    #[arg(long)]
    nesterov: bool,
    /// How the learning rate goes over the run
    #[arg(long, value_enum, default_value_t = ScheduleName::OneCycle)]
    schedule: ScheduleName,
    /// Epochs of the linear rise of the cosine schedule [default: 0]
    #[arg(long, value_name = "EPOCHS")]
    warm_up: Option<f64>,
    /// Lowest learning rate of the cosine schedule, as a share of the highest [default: 0]
    #[arg(long, value_name = "SHARE")]
    lowest_rate: Option<f64>,
    /// Epochs from the cosine schedule's rise to its first restart [default: no restarts]
    #[arg(long, value_name = "EPOCHS")]
    restart_after: Option<f64>,
    /// How many times longer the cosine schedule takes after each restart [default: 1]
    #[arg(long, value_name = "FACTOR")]
    restart_factor: Option<f64>,
    /// Epochs between two changes of the step schedule [default: 30]
    #[arg(long, value_name = "EPOCHS")]
    step_every: Option<f64>,
    /// Factor of a change of the step schedule [default: 0.1]
    #[arg(long, value_name = "FACTOR")]
    step_factor: Option<f64>,
    /// Largest norm of all gradients together; longer ones are shortened [default: no limit]
    #[arg(long, value_name = "NORM")]
    clip: Option<f64>,
    /// Validate and keep a moving average of the weights with this decay, such as 0.999 [default: none]
    #[arg(long, value_name = "DECAY")]
    ema: Option<f64>,
    /// End the run after so many epochs without a better validation score [default: never]
    #[arg(long, value_name = "EPOCHS")]
    patience: Option<usize>,
    /// Keep the weights of the last epoch, not those of the best validation score: where the validation pictures say little of what is
    /// learnt
    #[arg(long, conflicts_with = "patience")]
    keep_last: bool,
    /// Type in which the net computes; bf16 and f16 need a GPU
    #[arg(long, value_enum, default_value_t = Precision::F32)]
    precision: Precision,
    /// Threads that load and augment pictures ahead, for each device; changes no result
    #[arg(long, value_name = "N", default_value = "2", value_parser = threads)]
    loaders: NonZeroUsize,
}

impl TrainingArgs {
    /// Threads that load samples ahead.
    pub fn loaders(&self) -> usize {
        self.loaders.get()
    }

    /// What was asked for.
    ///
    /// # Errors
    /// An option of an optimizer or schedule that was not chosen; numbers that make no sense.
    pub fn config(&self) -> Result<TrainingConfig, TrainingError> {
        let foreign = [
            (self.momentum.is_some(), "--momentum", self.optimizer == OptimizerName::Sgd, "--optimizer sgd"),
            (self.nesterov, "--nesterov", self.optimizer == OptimizerName::Sgd, "--optimizer sgd"),
            (self.warm_up.is_some(), "--warm-up", self.schedule == ScheduleName::Cosine, "--schedule cosine"),
            (self.lowest_rate.is_some(), "--lowest-rate", self.schedule == ScheduleName::Cosine, "--schedule cosine"),
            (
                self.restart_after.is_some(),
                "--restart-after",
                self.schedule == ScheduleName::Cosine,
                "--schedule cosine",
            ),
            (self.restart_factor.is_some(), "--restart-factor", self.restart_after.is_some(), "--restart-after"),
            (self.step_every.is_some(), "--step-every", self.schedule == ScheduleName::Step, "--schedule step"),
            (self.step_factor.is_some(), "--step-factor", self.schedule == ScheduleName::Step, "--schedule step"),
        ];
        if let Some((_, option, _, needed)) = foreign.iter().find(|(given, _, applies, _)| *given && !applies) {
            return Err(TrainingError::Configuration(format!("{option} needs {needed}")));
        }
        let optimizer = match self.optimizer {
            OptimizerName::Adamw => {
                let default = AdamWConfig::default();
                AdamWConfig { weight_decay: self.weight_decay.unwrap_or(default.weight_decay), ..default }.into()
            }
            OptimizerName::Sgd => {
                let default = SgdConfig::default();
                OptimizerConfig::Sgd(SgdConfig {
                    momentum: self.momentum.unwrap_or(default.momentum),
                    nesterov: self.nesterov,
                    weight_decay: self.weight_decay.unwrap_or(default.weight_decay),
                })
            }
        };
        let schedule = match self.schedule {
            ScheduleName::OneCycle => Schedule::OneCycle,
            ScheduleName::Constant => Schedule::Constant,
            ScheduleName::Step => {
                Schedule::Step { every: self.step_every.unwrap_or(30.0), factor: self.step_factor.unwrap_or(0.1) }
            }
            ScheduleName::Cosine => Schedule::Cosine {
                warm_up: self.warm_up.unwrap_or(0.0),
                lowest: self.lowest_rate.unwrap_or(0.0),
                restarts: self
                    .restart_after
                    .map(|first| Restarts { first, factor: self.restart_factor.unwrap_or(1.0) }),
            },
        };
        let Self { clip, ema, patience, keep_last, precision, .. } = *self;
        let config = TrainingConfig { optimizer, schedule, clip, ema, patience, keep_last, precision };
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
        training: TrainingArgs,
    }

    fn read(words: &str) -> Result<TrainingConfig, String> {
        let command = Command::try_parse_from(std::iter::once("command").chain(words.split_whitespace()));
        command.map_err(|e| e.to_string())?.training.config().map_err(|e| e.to_string())
    }

    #[test]
    fn words_become_a_configuration() {
        assert_eq!(read("").unwrap(), TrainingConfig::default());
        let config = read(
            "--optimizer sgd --nesterov --weight-decay 0.5 --schedule cosine --warm-up 2 --restart-after 3 --clip 1 --ema 0.99 --patience 4",
        );
        let config = config.unwrap();
        assert_eq!(config.optimizer, SgdConfig { momentum: 0.9, nesterov: true, weight_decay: 0.5 }.into());
        let restarts = Some(Restarts { first: 3.0, factor: 1.0 });
        assert_eq!(config.schedule, Schedule::Cosine { warm_up: 2.0, lowest: 0.0, restarts });
        assert_eq!((config.clip, config.ema, config.patience), (Some(1.0), Some(0.99), Some(4)));
    }

    #[test]
    fn an_option_that_would_do_nothing_is_refused() {
        for (words, told) in [
            ("--momentum 0.5", "--momentum needs --optimizer sgd"),
            ("--step-factor 0.5", "--step-factor needs --schedule step"),
            ("--schedule cosine --restart-factor 2", "--restart-factor needs --restart-after"),
            ("--schedule step --step-every 0", "above 0"),
            ("--weight-decay=-1", "weight decay"),
            ("--loaders 0", "--loaders"),
        ] {
            let error = read(words).unwrap_err();
            assert!(error.contains(told), "{words}: {error}");
        }
    }

    #[test]
    fn a_configuration_is_written_and_read() {
        for words in ["", "--optimizer sgd --schedule step", "--schedule cosine --restart-after 2 --ema 0.9"] {
            let config = read(words).unwrap();
            let text = serde_json::to_string(&config).unwrap();
            assert_eq!(serde_json::from_str::<TrainingConfig>(&text).unwrap(), config, "{text}");
        }
        assert_eq!(serde_json::from_str::<TrainingConfig>("{}").unwrap(), TrainingConfig::default());
    }
}
