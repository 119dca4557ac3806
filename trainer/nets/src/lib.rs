//! The nets: what they are, how they train, and the graph in which they leave.
//!
//! A backbone is a description ([`architecture`]) in a file of its own, as the layouts of weight files have it ([`layout`]); with
//! weights ([`weights`]) it becomes a graph for inference or a net that trains ([`network`]).

pub mod architecture;
pub mod backbone;
pub mod efficientnet;
pub mod hub;
pub mod inception_resnet_v2;
pub mod layout;
pub mod network;
pub mod resnet50;
pub mod segmentation;
pub mod source;
#[cfg(test)]
mod tests;
pub mod weights;

pub use backbone::{Backbone, BackboneWeights, Pretrained};
pub use layout::Layout;
