//! Signed bundles: [`build`] puts a classifier and a segmenter into one, [`card`] writes what they are and what they are worth,
//! [`verify`] runs what is in a bundle by two libraries, and [`keys`] are what bundles are signed with.

pub mod build;
pub mod card;
pub mod keys;
pub mod verify;
