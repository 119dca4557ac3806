//! The command line's words: each file has the options of one command, and calls the rooms that do its work.

pub mod backbones;
pub mod phantom;
