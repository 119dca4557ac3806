//! Where results go once there are any.

pub mod files;
