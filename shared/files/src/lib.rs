//! How every file comes into being (whole, or not at all), by what it is known (its SHA-256), and how a folder is kept to one
//! process.

mod lock;
mod sha256;
mod write;

pub use lock::{FolderLock, LockError};
pub use sha256::{ReadError, file_sha256, hexadecimal, sha256_of};
pub use write::{WriteError, remove_left_over, replace_secret, sync_folder, write_atomically, write_new, write_secret};
