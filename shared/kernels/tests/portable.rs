//! The kernels without vector instructions, which every machine can run, against the definition as well.
#![allow(clippy::unwrap_used)]

mod inside;
mod written_out;

use thorax_kernels::{convolution::Activation, quantized::InstructionSet};
use written_out::{errors, shapes};

#[test]
fn the_portable_kernels_equal_the_definition() {
    thorax_kernels::use_portable_kernels(true);
    for case in shapes() {
        let errors = errors(&case);
        assert!(errors.iter().all(|e| *e < 2e-5), "{errors:?} {case:?}");
    }
    for case in shapes().into_iter().filter(inside::fits) {
        let error = inside::error(&case, Activation::Relu6);
        assert!(error < 2e-5, "channels inside: {error} {case:?}");
    }
}

#[test]
fn bytes_are_then_summed_by_plain_rust_too() {
    thorax_kernels::use_portable_kernels(true);
    assert_eq!(InstructionSet::best(), InstructionSet::PORTABLE);
}
