//! Data parallel training: each device has a replica of the net and its share of every batch, and the replicas step down the
//! mean of their gradients, so that they stay equal.
//!
//! A replica is called a rank, and is one thread of this process. Ranks speak through a [`Communicator`]; [`connect`] chooses
//! it, NCCL between GPUs where the program has it. [`Threads`] works for any devices, through the host's memory, and sums in
//! the order of the ranks, so that its results do not depend on which rank comes first.

use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};

use candle_core::{Device, Result, Tensor};

pub use crate::communicator::Communicator;

/// A communicator for each of `devices`, in their order.
///
/// # Errors
/// When the devices cannot be connected.
pub fn connect(devices: &[Device]) -> Result<Vec<Box<dyn Communicator>>> {
    #[cfg(feature = "nccl")]
    if devices.len() > 1 && devices.iter().all(Device::is_cuda) {
        return Ok(boxed(crate::cuda::nccl::connect(devices)?));
    }
    Ok(boxed(Threads::connect(devices)))
}

fn boxed(ranks: Vec<impl Communicator + 'static>) -> Vec<Box<dyn Communicator>> {
    ranks.into_iter().map(|rank| Box::new(rank) as Box<dyn Communicator>).collect()
}

/// A [`Communicator`] through the memory that the threads share.
pub struct Threads {
    rank: usize,
    device: Device,
    meeting: Arc<Meeting>,
}

/// Where the ranks meet: each lays down its tensors, reads all, and leaves with the others.
struct Meeting {
    size: usize,
    state: Mutex<State>,
    changed: Condvar,
}

struct State {
    /// What each rank has laid down.
    slots: Vec<Option<Vec<Tensor>>>,
    /// All of it, once it is complete and until every rank has left.
    complete: Option<Arc<Vec<Vec<Tensor>>>>,
    left: usize,
    round: usize,
    ended: bool,
}

impl Threads {
    /// One for each of `devices`.
    pub fn connect(devices: &[Device]) -> Vec<Self> {
        let state = State { slots: vec![None; devices.len()], complete: None, left: 0, round: 0, ended: false };
        let meeting = Arc::new(Meeting { size: devices.len(), state: Mutex::new(state), changed: Condvar::new() });
        let of_rank =
            |(rank, device): (usize, &Device)| Self { rank, device: device.clone(), meeting: meeting.clone() };
        devices.iter().enumerate().map(of_rank).collect()
    }

    /// Gives every rank's tensors to `read`; returns when every rank has read, so that tensors may be changed again.
    fn exchange<T>(&self, tensors: &[Tensor], read: impl FnOnce(&[Vec<Tensor>]) -> Result<T>) -> Result<T> {
        let all = self.meeting.enter(self.rank, tensors)?;
        let result = read(&all);
        self.meeting.leave()?;
        result
    }
}

impl Meeting {
    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn wait<'a>(&self, state: MutexGuard<'a, State>) -> Result<MutexGuard<'a, State>> {
        if state.ended {
            candle_core::bail!("another rank has ended");
        }
        Ok(self.changed.wait(state).unwrap_or_else(PoisonError::into_inner))
    }

    fn enter(&self, rank: usize, tensors: &[Tensor]) -> Result<Arc<Vec<Vec<Tensor>>>> {
        let mut state = self.lock();
        state.slots[rank] = Some(tensors.to_vec());
        if state.slots.iter().all(Option::is_some) {
            let all = state.slots.iter_mut().filter_map(Option::take).collect();
            state.complete = Some(Arc::new(all));
            self.changed.notify_all();
        }
        loop {
            if let Some(all) = &state.complete {
                return Ok(all.clone());
            }
            state = self.wait(state)?;
        }
    }

    fn leave(&self) -> Result<()> {
        let mut state = self.lock();
        state.left += 1;
        if state.left == self.size {
            state.complete = None;
            state.left = 0;
            state.round += 1;
            self.changed.notify_all();
            return Ok(());
        }
        let round = state.round;
        while state.round == round {
            state = self.wait(state)?;
        }
        Ok(())
    }
}

impl Drop for Threads {
    /// Whoever waits for this rank need wait no longer.
    fn drop(&mut self) {
        self.meeting.lock().ended = true;
        self.meeting.changed.notify_all();
    }
}

impl Communicator for Threads {
    fn rank(&self) -> usize {
        self.rank
    }

    fn size(&self) -> usize {
        self.meeting.size
    }

    fn mean(&self, tensors: &[Tensor]) -> Result<Vec<Tensor>> {
        if self.meeting.size == 1 {
            return Ok(tensors.to_vec());
        }
        self.exchange(tensors, |all| {
            (0..tensors.len())
                .map(|index| {
                    let mut ranks = all.iter().map(|tensors| match tensors.get(index) {
                        Some(tensor) => tensor.to_device(&self.device),
                        None => candle_core::bail!("the ranks have different numbers of tensors"),
                    });
                    let Some(first) = ranks.next() else { candle_core::bail!("there are no ranks") };
                    let sum = ranks.try_fold(first?, |sum, tensor| sum + tensor?)?;
                    sum / self.meeting.size as f64
                })
                .collect()
        })
    }

    fn broadcast(&self, tensors: &[Tensor]) -> Result<Vec<Tensor>> {
        if self.meeting.size == 1 {
            return Ok(tensors.to_vec());
        }
        let of_first = |all: &[Vec<Tensor>]| all[0].iter().map(|t| t.to_device(&self.device)?.copy()).collect();
        self.exchange(tensors, of_first)
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    /// What each of `size` ranks makes of its communicator.
    fn of_ranks<T: Send>(size: usize, work: impl Fn(Threads) -> T + Sync) -> Vec<T> {
        let ranks = Threads::connect(&vec![Device::Cpu; size]);
        let work = &work;
        std::thread::scope(|scope| {
            let threads: Vec<_> = ranks.into_iter().map(|rank| scope.spawn(move || work(rank))).collect();
            threads.into_iter().map(|thread| thread.join().unwrap()).collect()
        })
    }

    #[test]
    fn every_rank_gets_the_same_mean_again_and_again() {
        let found = of_ranks(3, |rank| {
            let mut seen = vec![];
            for round in 0..50u8 {
                let mine = Tensor::new(&[f32::from(round) + 0.1 * rank.rank() as f32, 1e8], &Device::Cpu).unwrap();
                let mean = rank.mean(&[mine.clone(), mine]).unwrap();
                seen.push(mean[1].to_vec1::<f32>().unwrap());
            }
            seen
        });
        assert!(found.iter().all(|seen| *seen == found[0]));
        assert!(found[0].iter().enumerate().all(|(round, mean)| (mean[0] - round as f32 - 0.1).abs() < 1e-5));
    }

    #[test]
    fn all_get_what_the_first_has_even_if_it_changes_it_next() {
        let found = of_ranks(2, |rank| {
            let var = candle_core::Var::new(&[rank.rank() as f32 + 5.0], &Device::Cpu).unwrap();
            let got = rank.broadcast(&[var.as_detached_tensor()]).unwrap();
            var.set(&Tensor::new(&[-1f32], &Device::Cpu).unwrap()).unwrap();
            got[0].to_vec1::<f32>().unwrap()
        });
        assert_eq!(found, [[5.0], [5.0]]);
    }

    #[test]
    fn a_rank_that_ends_early_stops_the_others() {
        let found = of_ranks(3, |rank| {
            let x = Tensor::new(&[1f32], &Device::Cpu).unwrap();
            if rank.rank() == 1 { Ok(vec![]) } else { rank.mean(&[x]) }
        });
        assert!(found[0].is_err() && found[2].is_err());
    }
}
