//! A board's profile: the text of the file, as a person who was in a hurry wrote it.
//!
//! The program itself stands on tract, which these targets do without, so its file of profiles is read in here.
#![no_main]

use std::path::Path;

use libfuzzer_sys::fuzz_target;

#[allow(dead_code, reason = "a file of the program, of which one function is of use here")]
#[path = "../../edge/src/profile.rs"]
mod profile;

use profile::Profile;

fuzz_target!(|text: &str| {
    match Profile::parse(text, Path::new("/etc/thorax")) {
        // What was accepted can work: nobody is let in by mistake, and nothing is read from beside the profile's folder.
        Ok(profile) => {
            assert!(profile.intake.accept_any_peer || !profile.intake.peers.is_empty() || !profile.folders.is_empty());
            assert!(profile.status.address.ip().is_loopback());
            assert!(profile.folders.iter().all(|folder| folder.path.is_absolute()));
        }
        Err((_, reason)) => assert!(!reason.cause.is_empty() && reason.remedy.is_some()),
    }
});
