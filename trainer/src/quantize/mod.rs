//! A bundle's graphs in 8-bit integers: calibrated on training pictures as the device sees them (`inputs`), fine-tuned for it
//! ([`fine_tune`]), compared with the graphs of real numbers on another split through the device's own code ([`beside`](crate::judge::beside)), and written into a
//! new bundle ([`build`]).

pub mod build;
pub mod fine_tune;
mod inputs;
mod part;
