//! Thorax on the workstation: from a data set to signed bundles.
//!
//! ```text
//! data (import, split, check) -> features -> train (classify, segment) -> export (ONNX) -> bundle (sign, verify) -> evaluate
//! ```
//!
//! [`nn`] and [`nets`] know tensors and no medicine; [`data`] knows pictures and patients and no tensors; [`features`] and
//! [`train`] bring them together. [`phantom`] makes synthetic pictures for demonstrations and tests. Whatever is decoded or prepared is so
//! by the device's own code (`thorax-edge`, `thorax-shared`).

pub mod bench;
pub mod classifiers;
pub mod commands;
pub mod data;
pub mod evaluate;
pub mod explain;
pub mod features;
pub mod files;
pub mod judge;
pub mod pack;
pub mod report;
pub mod segmentation;
pub mod sweep;
pub mod train;
