//! Feature stores: once as they are, once with data of the right length behind a header whose contents are the input's and
//! whose entries fit, so that the fuzzer gets past the lengths.
#![no_main]

use std::{io::Write, path::Path};

use thorax_trainer::features::{FeatureError, FeatureStore};

/// Opens a store and asks it everything.
fn read(path: &Path) -> Result<(), FeatureError> {
    let store = FeatureStore::open(path)?;
    let mut pooled = vec![0.0; store.shape()[0]];
    for row in 0..store.rows() {
        store.state(row);
        store.pooled(row, &mut pooled);
    }
    store.for_columns(0..store.columns(), |_, values| assert_eq!(values.len(), store.rows()));
    store.verify()
}

libfuzzer_sys::fuzz_target!(|data: &[u8]| {
    let write = |parts: &[&[u8]]| {
        let mut file = tempfile::NamedTempFile::new().unwrap();
        parts.iter().for_each(|part| file.write_all(part).unwrap());
        file.flush().unwrap();
        let _ = read(file.path());
    };
    write(&[data]);

    // The input: rows, channels, type, then the text of the contents.
    let (&[rows, channels, single], text) = data.split_first_chunk().map_or((&[0; 3], data), |split| split);
    let Ok(text) = std::str::from_utf8(text) else { return };
    if text.chars().any(char::is_control) {
        return;
    }
    let text = text.replace('\\', "\\\\").replace('"', "\\\"");
    let (rows, channels) = (usize::from(rows), usize::from(channels));
    let (dtype, size) = if single & 1 == 1 { ("F32", 4) } else { ("F16", 2) };
    let end = 8 * rows + rows * channels * size;
    let header = format!(
        "{{\"__metadata__\":{{\"thorax\":\"{text}\"}},\"checksum\":{{\"dtype\":\"U32\",\"shape\":[{rows}],\"data_offsets\":[0,{}]}},\
         \"state\":{{\"dtype\":\"U32\",\"shape\":[{rows}],\"data_offsets\":[{},{}]}},\"features\":{{\"dtype\":\"{dtype}\",\
         \"shape\":[{rows},{channels},1,1],\"data_offsets\":[{},{end}]}}}}",
        4 * rows,
        4 * rows,
        8 * rows,
        8 * rows
    );
    let length = (8 + header.len() + 8 * rows).next_multiple_of(4096) - 8 * rows - 8;
    let spaces = vec![b' '; length - header.len()];
    write(&[&(length as u64).to_le_bytes(), header.as_bytes(), &spaces, &vec![1; end]]);
});
