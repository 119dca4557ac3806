//! How every file of the workstation comes into being: as on the device, whole or not at all.

pub use thorax_edge::files::{WriteError, sync_folder, write_atomically};
