//! PNG, JPEG and TIFF.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| {
    thorax_fuzz::decode(data, |data| {
        matches!(data, [0x89, b'P', ..] | [0xff, 0xd8, ..] | [b'I', b'I', ..] | [b'M', b'M', ..])
    });
});
