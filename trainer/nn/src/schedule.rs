//! How the learning rate goes over a run.
//!
//! A schedule counts time in whatever unit its caller counts: configurations count epochs, and [`Schedule::scaled`] makes
//! steps of them when the length of an epoch is known.

use std::f64::consts::PI;

use serde::{Deserialize, Serialize};

/// The shape of the learning rate, whose highest value is the caller's.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "snake_case")]
pub enum Schedule {
    /// One-cycle (Smith and Topin 2018): a cosine rise over the first 30 % of the run, then a cosine fall to nearly nothing.
    #[default]
    OneCycle,
    /// The peak throughout.
    Constant,
    /// The peak, multiplied by `factor` after every `every`.
    Step {
        /// Time between two changes.
        every: f64,
        /// Factor of a change, such as 0.1.
        factor: f64,
    },
    /// A linear rise (Goyal et al. 2017), then half a cosine down to `lowest`, perhaps again and again (Loshchilov and Hutter
    /// 2017, SGDR).
    Cosine {
        /// Time of the rise; 0 for none.
        warm_up: f64,
        /// The lowest rate, as a share of the peak.
        lowest: f64,
        /// Jumps back to the peak; `None` for one fall that ends with the run.
        restarts: Option<Restarts>,
    },
}

/// Warm restarts of a cosine.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct Restarts {
    /// Time of the first fall.
    pub first: f64,
    /// How many times longer each further fall is than the one before; at least 1.
    pub factor: f64,
}

impl Schedule {
    /// The same schedule where a unit of time is divided into `units` new ones.
    pub fn scaled(self, units: f64) -> Self {
        match self {
            Self::OneCycle | Self::Constant => self,
            Self::Step { every, factor } => Self::Step { every: every * units, factor },
            Self::Cosine { warm_up, lowest, restarts } => Self::Cosine {
                warm_up: warm_up * units,
                lowest,
                restarts: restarts.map(|r| Restarts { first: r.first * units, ..r }),
            },
        }
    }

    /// The learning rate of `step`, counted from 0, of a run of `steps` steps whose highest rate is `peak`.
    pub fn rate(&self, step: usize, steps: usize, peak: f64) -> f64 {
        let time = step as f64;
        match *self {
            Self::OneCycle => one_cycle(step, steps, peak),
            Self::Constant => peak,
            Self::Step { every, factor } => peak * factor.powf((time / every).floor()),
            Self::Cosine { warm_up, .. } if time < warm_up => peak * (time + 1.0) / (warm_up + 1.0),
            Self::Cosine { warm_up, lowest, restarts } => {
                let time = time - warm_up;
                let share = match restarts {
                    None => time / (steps as f64 - warm_up),
                    Some(restarts) => restarts.share(time),
                };
                cosine(peak, peak * lowest, share.clamp(0.0, 1.0))
            }
        }
    }

    /// What is wrong with the schedule's numbers, if anything.
    pub fn problem(&self) -> Option<&'static str> {
        match *self {
            Self::Step { every, factor } if !(every > 0.0 && factor > 0.0) => {
                Some("the time between steps and their factor must be above 0")
            }
            Self::Cosine { warm_up, lowest, .. } if !(warm_up >= 0.0 && (0.0..=1.0).contains(&lowest)) => {
                Some("the warm-up must not be negative, and the lowest rate a share between 0 and 1")
            }
            Self::Cosine { restarts: Some(Restarts { first, factor }), .. } if !(first > 0.0 && factor >= 1.0) => {
                Some("the time to the first restart must be above 0, and the factor of further times at least 1")
            }
            _ => None,
        }
    }
}

impl Restarts {
    /// How much of its fall has gone by at `time`.
    fn share(self, time: f64) -> f64 {
        let (mut start, mut length) = (0.0, self.first);
        while time >= start + length {
            start += length;
            length *= self.factor;
        }
        (time - start) / length
    }
}

fn cosine(from: f64, to: f64, share: f64) -> f64 {
    to + (from - to) * (1.0 + (PI * share).cos()) / 2.0
}

/// One-cycle schedule (Smith and Topin 2018): a cosine rise from `peak / 25` to `peak` over the first 30 % of the steps, then
/// a cosine fall to `peak / 250000`.
pub fn one_cycle(step: usize, steps: usize, peak: f64) -> f64 {
    let (start, end) = (peak / 25.0, peak / 25e4);
    let rise = 0.3 * steps as f64;
    let step = step as f64;
    if step < rise {
        cosine(start, peak, step / rise)
    } else {
        cosine(peak, end, ((step - rise) / (steps as f64 - rise).max(1.0)).min(1.0))
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[test]
    fn one_cycle_rises_and_falls() {
        assert!((one_cycle(0, 100, 1.0) - 0.04).abs() < 1e-9);
        assert!((one_cycle(30, 100, 1.0) - 1.0).abs() < 1e-9);
        assert!(one_cycle(100, 100, 1.0) < 1e-5);
        assert_eq!(Schedule::OneCycle.rate(7, 100, 2.0), one_cycle(7, 100, 2.0));
    }

    const COSINE: Schedule = Schedule::Cosine { warm_up: 0.0, lowest: 0.01, restarts: None };

    /// Values of `trainer/references/optimizer_references.py`.
    #[test]
    fn rates_equal_pytorchs() {
        let references: std::collections::BTreeMap<String, Vec<f64>> =
            serde_json::from_str(include_str!("../../tests/references/schedule.json")).unwrap();
        let schedules = [
            ("constant", Schedule::Constant),
            ("step", Schedule::Step { every: 6.0, factor: 0.3 }),
            ("cosine", COSINE),
            ("cosine_warm_up", Schedule::Cosine { warm_up: 5.0, lowest: 0.01, restarts: None }),
            (
                "cosine_restarts",
                Schedule::Cosine { warm_up: 0.0, lowest: 0.01, restarts: Some(Restarts { first: 3.0, factor: 2.0 }) },
            ),
        ];
        assert_eq!(references.len(), schedules.len());
        for (name, schedule) in schedules {
            let expected = &references[name];
            assert!(schedule.problem().is_none());
            for (step, expected) in expected.iter().enumerate() {
                let rate = schedule.rate(step, 20, 0.5);
                assert!((rate - expected).abs() < 1e-9, "{name}, step {step}: {rate}, expected {expected}");
            }
        }
    }

    #[test]
    fn a_schedule_in_epochs_becomes_one_in_steps() {
        let epochs =
            Schedule::Cosine { warm_up: 1.0, lowest: 0.0, restarts: Some(Restarts { first: 2.0, factor: 1.0 }) };
        let steps = epochs.scaled(5.0);
        for epoch in 1..8 {
            assert!((epochs.rate(epoch, 8, 1.0) - steps.rate(5 * epoch, 40, 1.0)).abs() < 1e-12);
        }
        assert_eq!(Schedule::Step { every: 2.0, factor: 0.1 }.scaled(3.0), Schedule::Step { every: 6.0, factor: 0.1 });
    }

    #[test]
    fn senseless_numbers_are_told() {
        assert!(Schedule::Step { every: 0.0, factor: 0.1 }.problem().is_some());
        assert!(Schedule::Cosine { warm_up: -1.0, lowest: 0.0, restarts: None }.problem().is_some());
        let restarts = Some(Restarts { first: 3.0, factor: 0.5 });
        assert!(Schedule::Cosine { warm_up: 0.0, lowest: 0.0, restarts }.problem().is_some());
    }
}
