//! DICOM, with and without preamble.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| {
    thorax_fuzz::decode(data, |data| data.get(128..132) == Some(b"DICM") || matches!(data, [2 | 8 | b'D', ..]));
});
