//! Thorax on the device: the way of an image from a file to a verdict on the panel.
//!
//! ```text
//! decode -> screen (check, preprocess, infer, decide) -> draw, report, deliver
//! ```
//!
//! `thorax-decode` turns a file into upright grey pixels of known meaning, and `thorax-engine` puts them through a signed bundle's
//! models. What comes of a file is an [`outcome`], a value of its own that every other room takes: [`report`] makes a row or a
//! panel's screen of it, `thorax-screen` draws the screen, [`deliver`] writes the results.
//!
//! As an appliance, [`serve`] has these rooms at work on what arrives, by a board's [`profile`]; [`inspect`] asks what it keeps. [`cli`] has the words of the command line,
//! [`commands`] a file for each of its commands.

pub mod cli;
pub mod commands;
pub mod deliver;
pub mod inspect;
pub mod outcome;
pub mod profile;
pub mod report;
pub mod serve;
