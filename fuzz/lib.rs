//! What the targets share.

use std::sync::Once;

use thorax_decode::{Limits, Study, decode_bytes};

/// Has a panic in our own code be a finding, and not one in a library that our code contains: of those each place is told once.
/// libFuzzer's hook aborts on any.
pub fn contain_libraries() {
    static HOOK: Once = Once::new();
    HOOK.call_once(|| {
        let abort = std::panic::take_hook();
        let seen = std::sync::Mutex::new(std::collections::HashSet::new());
        std::panic::set_hook(Box::new(move |info| {
            let location = info.location().map(ToString::to_string).unwrap_or_default();
            if !location.contains(".cargo/registry") && !location.contains("/rustc/") {
                abort(info);
            } else if seen.lock().is_ok_and(|mut seen| seen.insert(location.clone())) {
                eprintln!("CONTAINED panic in a library at {location}");
            }
        }));
    });
}

/// Decodes `data` if it begins like the format of the target; every slice of a volume is cut.
pub fn decode(data: &[u8], is_of_target: impl Fn(&[u8]) -> bool) {
    contain_libraries();
    if !is_of_target(data) {
        return;
    }
    // Small, so that the fuzzer finds more than slow inputs.
    let limits = Limits { max_file_bytes: 1 << 20, max_pixels: 1 << 20, max_decoded_bytes: 16 << 20 };
    match decode_bytes(data, &limits) {
        Ok(Study::Volume(volume)) => {
            for index in 0..volume.slices() {
                assert!(volume.slice(index).is_some());
            }
        }
        Ok(Study::Image(frame)) => assert!((0.0..=1.0).contains(&frame.colour_share)),
        Err(error) => assert!(!error.to_string().is_empty()),
    }
}
