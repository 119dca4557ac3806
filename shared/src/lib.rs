//! What Thorax's workstation and device must agree on to the bit.
//!
//! A model is only as good as the picture it is shown. The trainer and the device therefore share one
//! crate for everything between a decoded image and a verdict: the pixels' way into a tensor
//! ([`preprocess`]), the words for what was looked at ([`modality`]), what was found ([`verdict`]) and why something was refused ([`reason`]), the two lungs and how much of each is
//! infected ([`lungs`]) and what that says ([`lesions`]), the ensemble's entropy ([`uncertainty`]), the map that makes its
//! probability mean what it says ([`calibration`]), the rule that turns numbers into
//! *positive*, *negative* or *refer* ([`decision`]), the figures by which all of it is judged
//! ([`metrics`]), the signed file in which a model travels ([`bundle`]), and the words that people read ([`words`]).
//!
//! The crate is `no_std` (with `alloc`) unless the default feature `std` is on; it knows no file
//! system, no tensor library and no display.
#![cfg_attr(not(feature = "std"), no_std)]

extern crate alloc;

pub mod bundle;
pub mod calibration;
pub mod decision;
pub mod lesions;
pub mod lungs;
pub mod mask;
pub mod metrics;
pub mod modality;
pub mod plane;
pub mod preprocess;
pub mod reason;
pub mod uncertainty;
pub mod verdict;
pub mod words;
