//! The command line's words: each file has the options of one command, and calls the rooms that do its work. (`bench`, `explain`,
//! `report` and `sweep` are one command each, and have their options themselves.)

pub mod backbones;
pub mod bundle;
pub mod classify;
pub mod data;
pub mod features;
pub mod masks;
pub mod nets;
pub mod phantom;
pub mod probe;
pub mod quantize;
pub mod stress;
pub mod teachers;
pub mod train;
pub mod train_backbone;
mod train_instance;
