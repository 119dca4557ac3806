//! Thorax on the workstation.
pub mod bench;
pub mod export;
pub mod nets;
pub mod nn;
