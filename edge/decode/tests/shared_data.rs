//! The decoders on real files, against pydicom, nibabel and Pillow.
//!
//! The files are not in the repository; `references/decode_references.py` made the values.
#![allow(clippy::unwrap_used, clippy::panic, reason = "a test may fail by panic")]

use sha2::{Digest, Sha256};
use thorax_decode::{Frame, Limits, Study, decode};
use thorax_shared::preprocess::Pixels;

fn frames(study: Study) -> Vec<Frame> {
    match study {
        Study::Image(frame) => vec![frame],
        Study::Volume(volume) => (0..volume.slices()).map(|index| volume.slice(index).unwrap()).collect(),
    }
}

/// Kind, size, the values and their bytes.
fn values(pixels: &Pixels) -> (&'static str, usize, usize, Vec<i32>, Vec<u8>) {
    match pixels {
        Pixels::Eight(p) => {
            ("eight", p.width(), p.height(), p.data().iter().map(|&v| v.into()).collect(), p.data().to_vec())
        }
        Pixels::Sixteen(p) => (
            "sixteen",
            p.width(),
            p.height(),
            p.data().iter().map(|&v| v.into()).collect(),
            p.data().iter().flat_map(|v| v.to_le_bytes()).collect(),
        ),
        Pixels::Hounsfield(p) => (
            "hounsfield",
            p.width(),
            p.height(),
            p.data().iter().map(|&v| v.into()).collect(),
            p.data().iter().flat_map(|v| v.to_le_bytes()).collect(),
        ),
    }
}

#[test]
fn values_equal_those_of_pydicom_nibabel_and_pillow() {
    let Some(folder) = thorax_wanted::shared("data") else { return };
    let mut compared = 0;
    for line in include_str!("fixtures/decode_references.csv").lines().skip(1) {
        let [file, kind, columns, rows, slices, minimum, maximum, mean, sha256] =
            line.split(',').collect::<Vec<_>>().try_into().unwrap();
        let study = decode(&folder.join(file), &Limits::default()).unwrap_or_else(|error| panic!("{file}: {error}"));
        let frames = frames(study);
        assert_eq!(frames.len().to_string(), slices, "{file}");

        let mut hash = Sha256::new();
        let mut all = Vec::new();
        for frame in &frames {
            let (found, width, height, values, bytes) = values(&frame.pixels);
            assert_eq!((found, width.to_string(), height.to_string()), (kind, columns.into(), rows.into()), "{file}");
            assert!(frame.colour_share < 0.01, "{file} is grey, found {}", frame.colour_share);
            hash.update(&bytes);
            all.extend(values);
        }
        if sha256 == "-" {
            // Compressed with loss, or coloured, so that decoders may round otherwise.
            let near = |found: f64, expected: &str, by: f64| {
                let expected: f64 = expected.parse().unwrap();
                assert!((found - expected).abs() <= by, "{file}: {found} instead of {expected}");
            };
            near(all.iter().copied().min().unwrap().into(), minimum, 3.0);
            near(all.iter().copied().max().unwrap().into(), maximum, 3.0);
            near(all.iter().map(|&v| f64::from(v)).sum::<f64>() / all.len() as f64, mean, 0.5);
        } else {
            let found: String = hash.finalize().iter().map(|byte| format!("{byte:02x}")).collect();
            assert_eq!(found, sha256, "{file}");
        }
        compared += 1;
    }
    assert_eq!(compared, 58);
}

#[test]
fn every_picture_of_the_collection_decodes() {
    let Some(folder) = thorax_wanted::shared("data") else { return };
    let mut decoded = 0;
    for part in ["xray/covid", "xray/normal", "xray/other", "ct/covid", "ct/normal", "seg/images", "seg_xray/images"] {
        let mut files: Vec<_> =
            std::fs::read_dir(folder.join(part)).unwrap().map(|entry| entry.unwrap().path()).collect();
        files.sort();
        for path in files.iter().step_by(7) {
            match decode(path, &Limits::default()) {
                Ok(Study::Image(_)) => decoded += 1,
                other => panic!("{}: {other:?}", path.display()),
            }
        }
    }
    assert!(decoded > 200, "{decoded} pictures");
}
