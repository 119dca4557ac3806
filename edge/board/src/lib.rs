//! The device's hardware, as far as the program has to know it.
//!
//! A board is told in its profile ([`config`]): which panel it has and how that is wired, its buttons and its touch panel, how hot it
//! may become, how many processors there are. From that come a [`panel::Panel`], which shows a picture and sends only what changed of
//! it, and [`inputs::Inputs`], which says what the operator did. [`thermal`] tells when the board has to slow down, [`check`] holds a
//! profile against what the machine at hand has ([`facts`]), [`wiring`] draws the profile's pins, and [`notify`] talks with systemd.
//!
//! Everything that decides something is a function over values: how a contact bounces, which rectangles are sent, which mode a
//! monitor gets, what of a profile a machine lacks. What is left are the calls into the kernel. Those of SPI are tested against a bus that
//! writes down its bytes. DRM and keys were tried in a virtual machine (virtio's monitor and keyboard, `packaging/boot.py`); GPIO and touch
//! panels never were: the machine on which this was written has neither, nor modules of its kernel (`gpio-sim`, `uinput`).

pub mod backlight;
pub mod buttons;
pub mod check;
pub mod config;
mod error;
pub mod facts;
pub mod inputs;
mod line;
pub mod network;
pub mod notify;
pub mod panel;
pub mod thermal;
pub mod touch;
pub mod wiring;

pub use error::BoardError;
