//! The nets, a file each: what they are, how they train, and the graph in which they leave.

pub mod attention_unet;
pub mod efficientnet_lite;
pub mod resnet50;
pub mod weights;
