//! Results on their way: to DCMTK's and a real Orthanc, to archives that misbehave, and to a stick.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "a test may fail by panic")]

#[path = "../../../objects/tests/made/mod.rs"]
mod made;

mod archive;
mod device;
mod orthanc;

mod export;
mod faults;
mod peers;
mod real;
mod web;
