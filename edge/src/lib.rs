//! Thorax on the device: the way of an image from a file to a verdict on the panel.
//!
//! ```text
//! decode -> screen (check, preprocess, infer, decide) -> draw, report
//! ```
//!
//! [`decode`] turns a file into upright grey pixels of known meaning, [`screen`] puts them through a signed bundle's
//! models ([`infer`]) to a verdict, [`draw`] shows it on a small panel. `main.rs` and [`cli`] are the command line around it.

pub mod bench;
pub mod cli;
pub mod draw;
pub mod report;
