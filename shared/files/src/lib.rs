//! How every file comes into being (whole, or not at all), and by what it is known (its SHA-256).

mod sha256;
mod write;

pub use sha256::{ReadError, file_sha256, hexadecimal};
pub use write::{WriteError, sync_folder, write_atomically};
