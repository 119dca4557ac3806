//! Thorax on the device.
pub mod decode;
pub mod draw;
