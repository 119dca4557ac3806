//! Where a net computes, in what precision, and with how many threads: the words of the command line, made into devices or
//! into an error that says what to do.

use std::{fmt, num::NonZeroUsize, str::FromStr};

use candle_core::{DType, Device};
use serde::{Deserialize, Serialize};

/// Devices or precision that cannot be had.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
pub enum DeviceError {
    /// The program has no CUDA code.
    #[error("cuda:{0}: this program was built without CUDA; build it with --features cuda, or give --device cpu")]
    NotBuilt(usize),
    /// There is CUDA code, and no driver, a library missing, or no such device.
    #[error("cuda:{ordinal}: {reason}; or give --device cpu")]
    NoDevice {
        /// Its number.
        ordinal: usize,
        /// What is missing or what the driver says, and what to do about it.
        reason: String,
    },
    /// Half precision on a CPU.
    #[error("--precision {0}: the CPU computes in f32 only; leave out --precision, or give a --device cuda:N")]
    Precision(Precision),
    /// More devices than a command can use.
    #[error("--device: this command runs on one device, and {0} are given; name one")]
    Several(usize),
}

/// A device by name: `cpu` or `cuda:N`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum DeviceName {
    /// The processor.
    Cpu,
    /// An NVIDIA GPU, counted from 0.
    Cuda(usize),
}

impl FromStr for DeviceName {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        match text.split_once(':') {
            None if text == "cpu" => Ok(Self::Cpu),
            Some(("cuda", number)) if number.bytes().all(|b| b.is_ascii_digit()) => {
                number.parse().map(Self::Cuda).map_err(|_| format!("`{text}`: expected a number after cuda:"))
            }
            _ => Err(format!("`{text}` is no device: expected cpu, or cuda:N with N counted from 0")),
        }
    }
}

impl DeviceName {
    /// The device itself.
    ///
    /// # Errors
    /// See [`DeviceError`].
    pub fn open(self) -> Result<Device, DeviceError> {
        match self {
            Self::Cpu => Ok(Device::Cpu),
            #[cfg(not(feature = "cuda"))]
            Self::Cuda(ordinal) => Err(DeviceError::NotBuilt(ordinal)),
            #[cfg(feature = "cuda")]
            Self::Cuda(ordinal) => super::cuda::device(ordinal)
                .map_err(|reason| DeviceError::NoDevice { ordinal, reason: reason.to_string() }),
        }
    }
}

/// One or more devices of one kind, such as `cpu` or `cuda:0,cuda:1`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DeviceNames(Vec<DeviceName>);

impl FromStr for DeviceNames {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let names = text.split(',').map(str::parse).collect::<Result<Vec<DeviceName>, _>>()?;
        let gpus = names.iter().filter(|&&name| name != DeviceName::Cpu).count();
        if gpus != 0 && gpus != names.len() {
            return Err(format!("`{text}`: give CPUs or GPUs, not both"));
        }
        if names.iter().enumerate().any(|(i, name)| *name != DeviceName::Cpu && names[..i].contains(name)) {
            return Err(format!("`{text}`: a GPU is named twice"));
        }
        Ok(Self(names))
    }
}

/// The type in which a net computes; its weights are f32 always.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, clap::ValueEnum)]
#[serde(rename_all = "snake_case")]
pub enum Precision {
    /// Single precision.
    #[default]
    F32,
    /// bfloat16: the range of f32 with 8 bits of precision.
    Bf16,
    /// Half precision, which needs a scaled loss.
    F16,
}

impl Precision {
    /// candle's name for it.
    pub fn dtype(self) -> DType {
        match self {
            Self::F32 => DType::F32,
            Self::Bf16 => DType::BF16,
            Self::F16 => DType::F16,
        }
    }

    /// Sees that `devices` can compute in it.
    ///
    /// # Errors
    /// [`DeviceError::Precision`] for half precision on a CPU.
    pub fn check(self, devices: &[Device]) -> Result<(), DeviceError> {
        match self {
            Self::Bf16 | Self::F16 if devices.iter().any(Device::is_cpu) => Err(DeviceError::Precision(self)),
            _ => Ok(()),
        }
    }
}

impl fmt::Display for Precision {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.dtype().as_str())
    }
}

/// More threads than this are taken for a mistake; the system may give that many, and the program would do nothing else.
const MOST_THREADS: usize = 1024;

/// A number of threads on the command line.
///
/// # Errors
/// What is no number from 1 to 1024.
pub fn threads(text: &str) -> Result<NonZeroUsize, String> {
    match text.parse::<NonZeroUsize>() {
        Ok(number) if number.get() <= MOST_THREADS => Ok(number),
        _ => Err(format!("expected a number of threads from 1 to {MOST_THREADS}")),
    }
}

/// Options of every command that runs a net.
#[derive(Clone, Debug, clap::Args)]
pub struct DeviceArgs {
    /// `cpu`, `cuda:N`, or several of one kind such as `cuda:0,cuda:1`, which share each batch
    #[arg(long, default_value = "cpu", value_name = "DEVICE[,DEVICE]")]
    device: DeviceNames,
    /// Threads of the CPU [default: RAYON_NUM_THREADS, or one a core]
    #[arg(long, value_name = "N", value_parser = threads)]
    threads: Option<NonZeroUsize>,
}

impl DeviceArgs {
    /// The devices, of which there is at least one.
    ///
    /// # Errors
    /// See [`DeviceError`].
    pub fn open(&self) -> Result<Vec<Device>, DeviceError> {
        self.device.0.iter().map(|name| name.open()).collect()
    }

    /// The device of a command that runs on one.
    ///
    /// # Errors
    /// See [`DeviceError`].
    pub fn open_one(&self) -> Result<Device, DeviceError> {
        match self.device.0.as_slice() {
            [name] => name.open(),
            names => Err(DeviceError::Several(names.len())),
        }
    }

    /// The number of threads that was asked for.
    pub fn threads(&self) -> Option<NonZeroUsize> {
        self.threads
    }
}

/// Has rayon, gemm and candle use `threads` threads, if a number is given, and candle's threads sleep soon when they have
/// nothing to do. candle 0.11 keeps a pool of its own beside rayon's, whose threads spin for a while after each operation and
/// take the processor from those that work; it reads both numbers from the environment alone, so that is where they are put.
///
/// # Safety
/// No other thread of the process may be running, since the environment is changed; so call this first in `main`.
#[allow(unsafe_code)]
pub unsafe fn prepare_threads(threads: Option<NonZeroUsize>) {
    let set = |name: &str, value: &str| {
        // SAFETY: `set_var` asks that no other thread reads or writes the environment meanwhile; the caller promises that
        // there is none.
        unsafe { std::env::set_var(name, value) };
    };
    if let Some(threads) = threads {
        set("RAYON_NUM_THREADS", &threads.to_string());
        set("CANDLE_NUM_THREADS", &threads.to_string());
    }
    if std::env::var_os("CANDLE_BARRIER_POOL_SPIN_LIMIT").is_none() {
        set("CANDLE_BARRIER_POOL_SPIN_LIMIT", "100");
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[test]
    fn devices_are_read_and_mistakes_told() {
        let read = |text: &str| text.parse::<DeviceNames>();
        assert_eq!(read("cpu").unwrap().0, [DeviceName::Cpu]);
        assert_eq!(read("cpu,cpu").unwrap().0, [DeviceName::Cpu; 2]);
        assert_eq!(read("cuda:0,cuda:12").unwrap().0, [DeviceName::Cuda(0), DeviceName::Cuda(12)]);
        for (text, words) in [
            ("gpu", "expected cpu, or cuda:N"),
            ("cuda", "expected cpu, or cuda:N"),
            ("cuda:-1", "expected cpu, or cuda:N"),
            ("cuda:", "expected a number"),
            ("cpu,", "expected cpu"),
            ("cpu,cuda:0", "not both"),
            ("cuda:1,cuda:1", "named twice"),
        ] {
            let error = read(text).unwrap_err();
            assert!(error.contains(words), "{text}: {error}");
        }
    }

    #[test]
    fn a_million_threads_are_a_mistake() {
        assert_eq!(threads("1024").map(NonZeroUsize::get), Ok(1024));
        for text in ["0", "-1", "1025", "1000000", "99999999999999999999", "many", ""] {
            assert!(threads(text).unwrap_err().contains("1 to 1024"), "{text}");
        }
    }

    #[test]
    fn half_precision_is_not_for_the_cpu() {
        assert!(Precision::F32.check(&[Device::Cpu]).is_ok());
        for (precision, name) in [(Precision::Bf16, "bf16"), (Precision::F16, "f16")] {
            let error = precision.check(&[Device::Cpu]).unwrap_err().to_string();
            assert!(error.contains(&format!("--precision {name}")) && error.contains("cuda:N"), "{error}");
        }
    }

    #[test]
    #[cfg(not(feature = "cuda"))]
    fn without_cuda_the_error_says_how_to_get_it() {
        let error = DeviceName::Cuda(3).open().unwrap_err().to_string();
        assert!(error.contains("cuda:3") && error.contains("--features cuda"), "{error}");
    }
}
