//! Thorax on the workstation.
pub mod bench;
pub mod data;
pub mod export;
pub mod files;
pub mod nets;
pub mod nn;
pub mod train;
