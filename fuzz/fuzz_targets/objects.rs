//! What DICOM objects are made of, and what de-identification leaves: the data set of a Part 10 file.
#![no_main]

use std::io::Cursor;

use thorax_objects::{
    Source,
    deidentify::{Key, deidentify_file},
};

libfuzzer_sys::fuzz_target!(|data: &[u8]| {
    thorax_fuzz::contain_libraries();
    if data.get(128..132) != Some(b"DICM") {
        return;
    }
    let _ = Source::read(Cursor::new(data));
    let Ok(made) = deidentify_file(Cursor::new(data), &Key::new([7; 32])) else { return };
    assert!(made.object.tags().all(|tag| tag.group() % 2 == 0), "a private attribute is left");
    let mut written = vec![];
    if made.object.write_all(&mut written).is_ok() {
        let _ = deidentify_file(Cursor::new(&written), &Key::new([7; 32]));
    }
});
