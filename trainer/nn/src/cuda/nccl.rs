//! Several GPUs of one machine: one process, a thread for each GPU, NCCL between them.
//!
//! The tensors of one call travel as one run of numbers, since a net has many small ones. What every rank gets from
//! [`Communicator::mean`] has the same bits, so ranks that began with the same weights keep them.
#![allow(unsafe_code)]

use candle_core::{
    CudaStorage, DType, Device, Error, Result, Storage, Tensor,
    cuda::{CudaDType, cudarc},
    op::BackpropOp,
};
use cudarc::{
    driver::{CudaSlice, CudaView, DeviceRepr},
    nccl::{
        result::NcclError,
        safe::{Comm, NcclType, ReduceOp},
    },
};

use crate::communicator::Communicator;

/// One GPU's place in a group.
pub struct Ranked(Comm);

// SAFETY: a communicator may be used from any thread, one at a time (NCCL user guide, "Thread Safety"). `Ranked` is not
// `Sync`, so there is never a second; the stream inside is `Send` by itself.
unsafe impl Send for Ranked {}

/// A communicator for each of `devices`, in their order; each is to be used on a thread of its own.
///
/// # Errors
/// A missing library, by name and with the remedy; a device that is no GPU or comes twice; a failure of NCCL.
pub fn connect(devices: &[Device]) -> Result<Vec<Ranked>> {
    super::library::require(&super::library::FOR_TRAINING)?;
    super::library::require(&super::library::FOR_SEVERAL)?;
    let streams =
        devices.iter().map(|device| Ok(device.as_cuda_device()?.cuda_stream())).collect::<Result<Vec<_>>>()?;
    let ranks = Comm::from_devices(streams).map_err(refused("connecting the GPUs"))?;
    Ok(ranks.into_iter().map(Ranked).collect())
}

impl Communicator for Ranked {
    fn rank(&self) -> usize {
        self.0.rank()
    }

    fn size(&self) -> usize {
        self.0.world_size()
    }

    fn mean(&self, tensors: &[Tensor]) -> Result<Vec<Tensor>> {
        self.exchange(tensors, Exchange::Mean)
    }

    fn broadcast(&self, tensors: &[Tensor]) -> Result<Vec<Tensor>> {
        self.exchange(tensors, Exchange::FromRank0)
    }
}

#[derive(Clone, Copy)]
enum Exchange {
    Mean,
    FromRank0,
}

impl Ranked {
    fn exchange(&self, tensors: &[Tensor], exchange: Exchange) -> Result<Vec<Tensor>> {
        if tensors.is_empty() {
            return Ok(Vec::new());
        }
        self.0.context().bind_to_thread().map_err(Error::wrap)?;
        let run = tensors.iter().map(Tensor::flatten_all).collect::<Result<Vec<_>>>()?;
        let run = self.exchange_run(&Tensor::cat(&run, 0)?, exchange)?;
        let mut start = 0;
        tensors
            .iter()
            .map(|tensor| {
                let own = run.narrow(0, start, tensor.elem_count())?.reshape(tensor.shape());
                start += tensor.elem_count();
                own
            })
            .collect()
    }

    fn exchange_run(&self, run: &Tensor, exchange: Exchange) -> Result<Tensor> {
        let (storage, layout) = run.storage_and_layout();
        let (Storage::Cuda(storage), Some((start, end))) = (&*storage, layout.contiguous_offsets()) else {
            return Err(Error::msg("NCCL: tensors must be on the rank's own GPU"));
        };
        let range = start..end;
        let result = match run.dtype() {
            DType::F32 => self.launch(storage, storage.as_cuda_slice::<f32>()?.slice(range), exchange),
            DType::BF16 => self.launch(storage, storage.as_cuda_slice::<half::bf16>()?.slice(range), exchange),
            DType::F16 => self.launch(storage, storage.as_cuda_slice::<half::f16>()?.slice(range), exchange),
            DType::U32 => self.launch(storage, storage.as_cuda_slice::<u32>()?.slice(range), exchange),
            other => Err(Error::msg(format!("NCCL: tensors must be f32, bf16, f16 or u32, and are {other:?}"))),
        }?;
        Ok(Tensor::from_storage(Storage::Cuda(result), run.shape(), BackpropOp::none(), false))
    }

    fn launch<T: CudaDType + DeviceRepr + NcclType>(
        &self,
        storage: &CudaStorage,
        values: CudaView<T>,
        exchange: Exchange,
    ) -> Result<CudaStorage> {
        // SAFETY: both exchanges write every element of it.
        let mut result: CudaSlice<T> = unsafe { storage.device.alloc(values.len()) }?;
        match exchange {
            Exchange::Mean => self.0.all_reduce(&values, &mut result, &ReduceOp::Avg).map_err(refused("mean")),
            Exchange::FromRank0 => self.0.broadcast(Some(&values), &mut result, 0).map_err(refused("broadcast")),
        }?;
        Ok(CudaStorage::wrap_cuda_slice(result, storage.device.clone()))
    }
}

fn refused(operation: &'static str) -> impl Fn(NcclError) -> Error {
    move |NcclError(status)| Error::msg(format!("NCCL, {operation}: {status:?}; NCCL_DEBUG=WARN says more"))
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    /// Shapes of unlike sizes, so that a tensor cut from the wrong place shows.
    const SHAPES: [&[usize]; 3] = [&[2, 3, 5], &[7], &[1, 11]];

    fn of_rank(rank: usize, device: &Device) -> Vec<Tensor> {
        let draw = |(stream, shape): (usize, &&[usize])| {
            super::super::super::seeded::normal(*shape, 1.0, (10 * rank + stream) as u64, device).unwrap()
        };
        SHAPES.iter().enumerate().map(draw).collect()
    }

    fn values(tensors: &[Tensor]) -> Vec<Vec<f32>> {
        tensors.iter().map(|tensor| tensor.flatten_all().unwrap().to_vec1().unwrap()).collect()
    }

    #[test]
    fn every_rank_gets_the_mean_and_rank_0s_tensors() {
        let devices: Vec<Device> = (0..2).map_while(|ordinal| super::super::device(ordinal).ok()).collect();
        if devices.is_empty() {
            assert!(thorax_wanted::found(thorax_wanted::Kind::Gpu, super::super::device(0)).is_none());
            return;
        }
        if devices.len() == 1 {
            eprintln!("NCCL: one GPU only, so a group of one");
        }
        let ranks = connect(&devices).unwrap();
        let received: Vec<_> = std::thread::scope(|scope| {
            let threads: Vec<_> = ranks
                .into_iter()
                .zip(&devices)
                .map(|(rank, device)| {
                    scope.spawn(move || {
                        let own = of_rank(rank.rank(), device);
                        (values(&rank.mean(&own).unwrap()), values(&rank.broadcast(&own).unwrap()))
                    })
                })
                .collect();
            threads.into_iter().map(|thread| thread.join().unwrap()).collect()
        });
        let all: Vec<_> = (0..devices.len()).map(|rank| values(&of_rank(rank, &Device::Cpu))).collect();
        for (mean, first) in &received {
            assert_eq!(mean, &received[0].0, "the same bits on every rank");
            assert_eq!(first, &all[0]);
            for (index, shape) in SHAPES.iter().enumerate() {
                assert_eq!(mean[index].len(), shape.iter().product::<usize>());
                for (at, got) in mean[index].iter().enumerate() {
                    let sum: f32 = all.iter().map(|rank| rank[index][at]).sum();
                    assert!((got - sum / devices.len() as f32).abs() < 1e-6);
                }
            }
        }
    }
}
