//! Batches made ahead of time by threads of their own, while the device computes.
//!
//! Thread `t` of `T` makes the batches `t`, `t + T`, `t + 2 T`, ... into a bounded queue of its own, and the consumer takes
//! from the queues in turn, so batches come in their order without a buffer to sort them. What a batch holds is a function of
//! seed, epoch and the samples' numbers, so it is the same for any number of threads. The threads go on into the next epoch
//! while the last one is being validated.

use std::{
    sync::mpsc::{Receiver, SyncSender, sync_channel},
    thread::Scope,
};

use candle_core::Tensor;
use rand::seq::SliceRandom;

use super::{Dataset, TaskError, TrainingError};
use crate::seeded;

/// Batches that a thread makes ahead.
const AHEAD: usize = 2;

/// What a seed is [derived](seeded::derive) for.
pub(super) mod purpose {
    /// The order of an epoch: followed by the epoch.
    pub(crate) const ORDER: u64 = 1;
    /// The loading of a sample: followed by the epoch and the sample's number.
    pub(crate) const SAMPLE: u64 = 2;
    /// What is random in the net: followed by the step and the rank.
    pub(crate) const STEP: u64 = 3;
}

/// Which samples make which batch of a rank.
#[derive(Clone, Copy, Debug)]
pub(super) struct Plan {
    pub(super) seed: u64,
    /// Samples of the data set.
    pub(super) samples: usize,
    /// Samples of a batch, over all ranks.
    pub(super) batch: usize,
    pub(super) rank: usize,
    pub(super) ranks: usize,
}

impl Plan {
    /// Batches of an epoch. The samples that are left over when the shuffled set is cut into whole batches are left out of
    /// that epoch.
    pub(super) fn steps(&self) -> usize {
        self.samples / self.batch
    }

    /// The samples of an epoch in their order.
    fn order(&self, epoch: usize) -> Vec<usize> {
        let mut order: Vec<usize> = (0..self.samples).collect();
        order.shuffle(&mut seeded::generator(seeded::derive(self.seed, &[purpose::ORDER, epoch as u64]), 0));
        order
    }

    /// All samples of a step, over all ranks.
    pub(super) fn of_step(&self, epoch: usize, step: usize) -> Vec<usize> {
        self.order(epoch)[step * self.batch..][..self.batch].to_vec()
    }

    /// This rank's samples of step `step` of `order`.
    fn share<'a>(&self, order: &'a [usize], step: usize) -> &'a [usize] {
        let share = self.batch / self.ranks;
        &order[step * self.batch + self.rank * share..][..share]
    }
}

/// The batches of a rank, in their order.
pub(super) struct Loader {
    queues: Vec<Receiver<Result<Vec<Tensor>, TrainingError>>>,
    next: usize,
}

impl Loader {
    /// Starts `threads` threads that make the batches of `epochs`.
    pub(super) fn start<'scope, D: Dataset>(
        scope: &'scope Scope<'scope, '_>,
        data: &'scope D,
        plan: Plan,
        epochs: std::ops::Range<usize>,
        threads: usize,
    ) -> Self {
        let queues = (0..threads)
            .map(|thread| {
                let (queue, out) = sync_channel(AHEAD);
                let epochs = epochs.clone();
                scope.spawn(move || fill(&queue, data, plan, epochs, thread, threads));
                out
            })
            .collect();
        Self { queues, next: 0 }
    }

    /// The next batch, on the CPU.
    pub(super) fn next(&mut self) -> Result<Vec<Tensor>, TrainingError> {
        let queue = &self.queues[self.next % self.queues.len()];
        self.next += 1;
        queue.recv().unwrap_or_else(|_| Err(TrainingError::Task("a thread that loads batches has ended".into())))
    }
}

/// The work of thread `thread` of `threads`; ends when nobody listens any more.
fn fill<D: Dataset>(
    queue: &SyncSender<Result<Vec<Tensor>, TrainingError>>,
    data: &D,
    plan: Plan,
    epochs: std::ops::Range<usize>,
    thread: usize,
    threads: usize,
) {
    let mut number = 0;
    for epoch in epochs {
        let order = plan.order(epoch);
        for step in 0..plan.steps() {
            if number % threads == thread && queue.send(make(data, plan, epoch, plan.share(&order, step))).is_err() {
                return;
            }
            number += 1;
        }
    }
}

fn make<D: Dataset>(data: &D, plan: Plan, epoch: usize, chosen: &[usize]) -> Result<Vec<Tensor>, TrainingError> {
    let samples = chosen
        .iter()
        .map(|&index| {
            let seed = seeded::derive(plan.seed, &[purpose::SAMPLE, epoch as u64, index as u64]);
            let failed = |reason: TaskError| TrainingError::Sample { name: data.name(index), reason };
            data.load(index, &mut seeded::generator(seed, 0)).map_err(failed)
        })
        .collect::<Result<Vec<_>, _>>()?;
    data.collate(samples).map_err(TrainingError::Task)
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use candle_core::Device;
    use rand::{Rng, rngs::StdRng};

    use super::*;

    struct Numbers;

    impl Dataset for Numbers {
        type Sample = f32;

        fn len(&self) -> usize {
            11
        }

        fn name(&self, index: usize) -> String {
            format!("number {index}")
        }

        fn load(&self, index: usize, random: &mut StdRng) -> Result<f32, TaskError> {
            // The later batch is sometimes ready first.
            std::thread::sleep(std::time::Duration::from_micros(200 * (index as u64 % 4)));
            Ok(index as f32 + random.random_range(0.0..0.5))
        }

        fn collate(&self, samples: Vec<f32>) -> Result<Vec<Tensor>, TaskError> {
            Ok(vec![Tensor::new(samples, &Device::Cpu)?])
        }
    }

    fn batches(threads: usize, rank: usize, ranks: usize, epochs: std::ops::Range<usize>) -> Vec<Vec<f32>> {
        let plan = Plan { seed: 3, samples: 11, batch: 4, rank, ranks };
        std::thread::scope(|scope| {
            let count = plan.steps() * epochs.len();
            let mut loader = Loader::start(scope, &Numbers, plan, epochs, threads);
            (0..count).map(|_| loader.next().unwrap()[0].to_vec1().unwrap()).collect()
        })
    }

    #[test]
    fn the_same_batches_for_any_number_of_threads_and_from_any_epoch() {
        let one = batches(1, 0, 1, 0..6);
        assert_eq!(one.len(), 12);
        assert_eq!(one, batches(3, 0, 1, 0..6));
        assert_eq!(one[8..], batches(2, 0, 1, 4..6));
        let integral = |epoch: usize| {
            let mut all: Vec<usize> = one[2 * epoch..][..2].concat().iter().map(|v| *v as usize).collect();
            all.sort_unstable();
            all.dedup();
            all.len()
        };
        assert!((0..6).all(|epoch| integral(epoch) == 8), "no sample comes twice in an epoch");
        assert_ne!(one[0], one[2], "each epoch has an order of its own");
    }

    #[test]
    fn ranks_share_each_batch() {
        let (whole, first, second) = (batches(1, 0, 1, 0..2), batches(2, 0, 2, 0..2), batches(1, 1, 2, 0..2));
        for ((whole, first), second) in whole.iter().zip(first).zip(second) {
            assert_eq!(*whole, [first, second].concat());
        }
        let plan = Plan { seed: 3, samples: 11, batch: 4, rank: 1, ranks: 2 };
        let named: Vec<usize> = whole[3].iter().map(|v| *v as usize).collect();
        assert_eq!(plan.of_step(1, 1), named);
    }

    #[test]
    fn a_loader_that_nobody_needs_ends() {
        let plan = Plan { seed: 3, samples: 11, batch: 4, rank: 0, ranks: 1 };
        std::thread::scope(|scope| {
            let mut loader = Loader::start(scope, &Numbers, plan, 0..1_000_000, 2);
            loader.next().unwrap();
        });
    }
}
