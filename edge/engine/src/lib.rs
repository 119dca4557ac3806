//! From a decoded picture to a verdict, by the models of a signed bundle.
//!
//! [`trust`] says whose bundles may be run, [`model`] runs a bundle's graphs with tract, and [`screening`] puts a picture
//! through them: check, preprocess, find the lungs, infer, decide; [`golden`] sees first that a device answers as the signer's did, [`threads`] are those
//! that share the work. What is wrong with a picture and what is wrong with the
//! device are two kinds of [`error`]. Nothing here knows a file of pictures, a display or a network.

pub mod error;
pub mod golden;
pub mod graph;
pub mod model;
mod operators;
mod quantized;
pub mod screening;
pub mod threads;
pub mod trust;
