//! Thorax on the device: the way of an image from a file to a verdict on the panel.
//!
//! ```text
//! decode -> screen (check, preprocess, infer, decide) -> draw, report
//! ```
//!
//! [`decode`] turns a file into upright grey pixels of known meaning, [`screen`] puts them through a signed bundle's
//! models ([`infer`]) to a verdict, [`draw`] shows it on a small panel. `main.rs` and [`cli`] are the command line around it.

pub mod decode;
pub mod draw;
pub mod files;
pub mod trust;

#[cfg(feature = "inference")]
pub mod bench;
#[cfg(feature = "inference")]
pub mod cli;
#[cfg(feature = "inference")]
pub mod infer;
#[cfg(feature = "inference")]
pub mod report;
#[cfg(feature = "inference")]
pub mod screen;
