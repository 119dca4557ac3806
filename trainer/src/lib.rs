//! Thorax on the workstation.
pub mod export;
pub mod nets;
pub mod nn;
