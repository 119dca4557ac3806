//! A bundle's graphs in 8-bit integers: calibrated on training pictures as the device sees them, compared with the graphs of real
//! numbers on another split through the device's own code ([`compare`]), and written beside them into a new bundle ([`build`]).

pub mod build;
pub mod compare;
