//! Thorax on the workstation: from a data set to signed bundles.
//!
//! ```text
//! data (import, split, check) -> segmentation -> features -> heads, classifiers -> bundle (build, sign, verify) -> judge -> report
//! ```
//!
//! [`data`] knows pictures and patients and no tensors; `thorax-nn` and `thorax-nets` know tensors and no medicine; [`segmentation`],
//! [`instance`], [`features`], [`heads`] and [`classifiers`] bring them together. [`judge`] makes figures, [`report`] pages of them;
//! [`stress`] and [`probe`] ask what figures are worth on other files and other hospitals. [`commands`] are the words of the command line,
//! and nothing imports them. Whatever is decoded or prepared is so by the device's own code (`thorax-decode`, `thorax-engine`,
//! `thorax-shared`).

pub mod backbone;
pub mod bench;
pub mod bundle;
pub mod changes;
pub mod classifiers;
pub mod commands;
pub mod data;
pub mod explain;
pub mod features;
pub mod figures;
pub mod files;
pub mod heads;
pub mod instance;
pub mod judge;
pub mod markdown;
pub mod memory;
pub mod probe;
pub mod progress;
pub mod quantize;
pub mod ranks;
pub mod report;
pub mod segmentation;
pub mod spoilers;
pub mod stress;
pub mod sweep;
