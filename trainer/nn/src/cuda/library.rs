//! Is CUDA there at all? Asked before cudarc loads its libraries, since it panics where one is missing.
#![allow(unsafe_code)]

use candle_core::{Error, Result};

/// A shared library of CUDA, as `lib{name}.so` and the versions by which cudarc looks for it.
pub(super) struct Library {
    name: &'static str,
    remedy: &'static str,
}

const WHEELS: &str = "its folder must stand in LD_LIBRARY_PATH; the wheels that .ci/cuda.sh installs have it, and \
                      target/cuda/environment sets the path";

/// What a training on one GPU loads, the driver first.
pub(super) const FOR_TRAINING: [Library; 6] = [
    Library { name: "cuda", remedy: "it comes with NVIDIA's driver: install that" },
    Library { name: "nvrtc", remedy: WHEELS },
    Library { name: "cublas", remedy: WHEELS },
    Library { name: "cublasLt", remedy: WHEELS },
    Library { name: "curand", remedy: WHEELS },
    Library { name: "cudnn", remedy: WHEELS },
];

/// What several GPUs load besides.
#[cfg(feature = "nccl")]
pub(super) const FOR_SEVERAL: [Library; 1] = [Library { name: "nccl", remedy: WHEELS }];

/// The suffixes that cudarc 0.19 tries; newer libraries than it knows it would not find either.
const SUFFIXES: [&str; 7] = ["", ".13", ".12", ".11", ".10", ".9", ".1"];

/// # Errors
/// The first library that cannot be loaded, and what to do about it.
pub(super) fn require(libraries: &[Library]) -> Result<()> {
    match libraries.iter().find(|library| !library.loads()) {
        None => Ok(()),
        Some(Library { name, remedy }) => Err(Error::Msg(format!("lib{name}.so cannot be loaded; {remedy}"))),
    }
}

impl Library {
    pub(super) fn loads(&self) -> bool {
        SUFFIXES.iter().any(|suffix| {
            // SAFETY: loading runs the initialisers of NVIDIA's own libraries, which is what cudarc does next with the
            // very same names. The handle is not used, and closing it again leaves no pointer behind.
            unsafe { libloading::Library::new(format!("lib{}.so{suffix}", self.name)) }.is_ok()
        })
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[test]
    fn a_missing_library_is_named_with_its_remedy() {
        let missing = Library { name: "thorax-does-not-exist", remedy: "install it" };
        let message = require(&[missing]).unwrap_err().to_string();
        assert!(message.contains("libthorax-does-not-exist.so") && message.contains("install it"), "{message}");
    }

    #[test]
    fn a_library_that_is_there_is_found() {
        // The C library's own loader stub: a name with the suffix of a version, as CUDA's have.
        let present = ["m", "c", "gcc_s"].into_iter().any(|name| {
            // SAFETY: libraries of the C compiler, which this process has loaded already or could.
            unsafe { libloading::Library::new(format!("lib{name}.so.1")) }.is_ok()
        });
        assert_eq!(present, Library { name: "gcc_s", remedy: "" }.loads());
    }
}
