//! CLAHE and resizing against OpenCV. `references/README.md` says how the files are made.
#![allow(clippy::unwrap_used, clippy::panic, reason = "a test may fail")]

#[path = "references/preprocess/synthetic.rs"]
mod synthetic;

use sha2::{Digest, Sha256};
use thorax_shared::preprocess::{clahe_u8, clahe_u16, resize_u8, spec::Clahe};

fn cases(json: &str) -> Vec<serde_json::Value> {
    let file: serde_json::Value = serde_json::from_str(json).unwrap();
    file["cases"].as_array().unwrap().clone()
}

#[test]
fn clahe_equals_opencv_to_the_bit() {
    let cases = cases(include_str!("references/preprocess/clahe.json"));
    assert!(cases.len() > 300, "{} cases", cases.len());
    for case in cases {
        let number = |name: &str| case[name].as_u64().unwrap();
        let (width, height, bits) = (number("width") as usize, number("height") as usize, number("bits") as u32);
        let picture = synthetic::picture(case["kind"].as_str().unwrap(), number("seed") as u32, width, height, bits);
        let clahe = Clahe {
            clip_limit: case["clip_limit"].as_f64().unwrap(),
            tiles_x: number("tiles_x") as u32,
            tiles_y: number("tiles_y") as u32,
        };
        let bytes: Vec<u8> = if bits == 8 {
            clahe_u8(&picture.map(|value| value as u8), clahe).unwrap().into_data()
        } else {
            clahe_u16(&picture, clahe).unwrap().data().iter().flat_map(|value| value.to_le_bytes()).collect()
        };
        let digest: String = Sha256::digest(&bytes).iter().map(|byte| format!("{byte:02x}")).collect();
        assert_eq!(digest, case["sha256"].as_str().unwrap(), "{case}");
    }
}

#[test]
fn resizing_is_within_a_grey_level_of_opencv() {
    let cases = cases(include_str!("references/preprocess/resize.json"));
    assert!(cases.len() > 20, "{} cases", cases.len());
    for case in cases {
        let size = |name: &str, axis: usize| case[name][axis].as_u64().unwrap() as usize;
        let (kind, seed) = (case["kind"].as_str().unwrap(), case["seed"].as_u64().unwrap() as u32);
        let picture = synthetic::picture(kind, seed, size("from", 0), size("from", 1), 8).map(|value| value as u8);
        let resized = resize_u8(&picture, size("to", 0), size("to", 1));
        let hex = case["hex"].as_str().unwrap();
        assert_eq!(hex.len(), 2 * resized.data().len(), "{case}");
        for (index, ours) in resized.data().iter().enumerate() {
            let theirs = u8::from_str_radix(&hex[2 * index..2 * index + 2], 16).unwrap();
            assert!(ours.abs_diff(theirs) <= 1, "value {index}: {ours}, OpenCV {theirs}, {case}");
        }
    }
}
