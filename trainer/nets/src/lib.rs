//! The nets: what they are, how they train, and the graph in which they leave.
//!
//! Every net is a description ([`architecture`]), told once in a file of its own: [`backbones`] turn a picture into a map of
//! features, [`segmentation`] nets into masks, [`instance`] nets into single lesions, each with its box, its score and its mask. With weights ([`weights`]) a description becomes a net that trains
//! ([`network`]), and a graph for inference. Published weights come from a file or from the Hugging Face Hub ([`source`],
//! [`hub`]), under the names that whoever published them gave ([`layout`]).

pub mod architecture;
pub mod backbones;
pub mod hub;
pub mod instance;
pub mod layout;
pub mod network;
pub mod segmentation;
pub mod source;
#[cfg(test)]
mod tests;
pub mod weights;

pub use backbones::{Backbone, BackboneWeights, Pretrained};
pub use layout::Layout;
