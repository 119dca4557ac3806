//! NIfTI of both versions, bare or in gzip.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| {
    thorax_fuzz::decode(data, |data| {
        data.starts_with(&[0x1f, 0x8b]) || data.get(344..346) == Some(b"n+") || data.get(4..6) == Some(b"n+")
    });
});
