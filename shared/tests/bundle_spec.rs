//! The example in SPEC.md is what the crate writes. `THORAX_WRITE_SPEC=1 cargo test -p thorax-shared --test bundle_spec`
//! writes it anew.
#![allow(clippy::unwrap_used, clippy::expect_used, missing_docs)]

mod bundle_sample;

use bundle_sample::{PARTS, bundle, fields};
use std::fmt::Write;

const BEGIN: &str = "<!-- example: written by tests/bundle_spec.rs -->\n```text\n";
const END: &str = "```\n<!-- end of example -->";

/// The sample bundle, a line for each field (more where it is longer than 16 bytes).
fn example() -> String {
    let file = bundle();
    let manifest_length = fields().iter().map(|(_, bytes)| bytes.len()).sum::<usize>();
    let parts_length = PARTS.iter().map(|part| part.bytes.len()).sum::<usize>();
    let mut pieces: Vec<(String, Vec<u8>)> = vec![
        ("magic \"THORAX\"".into(), b"THORAX".to_vec()),
        ("format version 2".into(), 2u16.to_le_bytes().to_vec()),
        (format!("length of the manifest: {manifest_length}"), (manifest_length as u32).to_le_bytes().to_vec()),
        (format!("length of all parts: {parts_length}"), (parts_length as u64).to_le_bytes().to_vec()),
    ];
    pieces.extend(fields());
    pieces.extend(PARTS.iter().map(|part| (format!("part {}", part.name), part.bytes.to_vec())));
    let trailer = file.len() - 96;
    pieces.push(("public key of the signer".into(), file[trailer..trailer + 32].to_vec()));
    pieces.push(("signature over bytes 0 to the end of the manifest".into(), file[trailer + 32..].to_vec()));

    let whole: Vec<u8> = pieces.iter().flat_map(|(_, bytes)| bytes.clone()).collect();
    assert_eq!(whole, file, "the fields are not what is written");

    let mut text = String::new();
    let mut offset = 0;
    for (meaning, bytes) in pieces {
        for (row, chunk) in bytes.chunks(16).enumerate() {
            let hex: Vec<String> = chunk.iter().map(|byte| format!("{byte:02x}")).collect();
            let meaning = if row == 0 { &meaning } else { "" };
            writeln!(text, "{}", format!("{offset:04x}  {:<47}  {meaning}", hex.join(" ")).trim_end()).unwrap();
            offset += chunk.len();
        }
    }
    text
}

#[test]
fn the_example_in_the_specification_is_true() {
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/SPEC.md");
    let spec = std::fs::read_to_string(path).expect("SPEC.md");
    let begin = spec.find(BEGIN).expect("begin of the example") + BEGIN.len();
    let end = spec.find(END).expect("end of the example");
    let example = example();
    if std::env::var_os("THORAX_WRITE_SPEC").is_some() {
        std::fs::write(path, format!("{}{example}{}", &spec[..begin], &spec[end..])).expect("SPEC.md is writable");
    } else {
        assert_eq!(&spec[begin..end], example, "SPEC.md is out of date: run with THORAX_WRITE_SPEC=1");
    }
}
