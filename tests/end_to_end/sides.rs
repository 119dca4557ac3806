//! Left and right. A lesion that is told of the wrong lung is worse than none, so one lung of a phantom is ill and the other
//! is healthy, and the picture comes in every format and every orientation that a file can have.

use std::path::{Path, PathBuf};

use image::imageops;
use serde_json::Value;
use thorax_tests::{folder, grey, number, screen, slice, true_mask};

use crate::made::{Turn, healed_slice, png_of_slice, turned_slice, turned_volume};

/// Infected share of the patient's left and right lung, in percent.
fn shares(row: &Value) -> [f64; 2] {
    ["involvement_left_percent", "involvement_right_percent"].map(|field| number(row, field))
}

fn assert_ill(row: &Value, side: &str) {
    let [left, right] = shares(row);
    let (ill, healthy) = if side == "left" { (left, right) } else { (right, left) };
    assert!(ill > 25.0 && healthy < 5.0, "the {side} lung is ill: {row}");
}

/// The phantom slice as DICOM with lesions in one lung only, the patient's `ill` one.
fn one_sided(folder: &Path, ill: &str) -> PathBuf {
    let healthy = if ill == "left" { "right_lung" } else { "left_lung" };
    let [infection, lung] = ["infection", healthy].map(|what| true_mask(&slice(".png"), what));
    let path = folder.join(format!("{ill}.dcm"));
    healed_slice(&slice(".dcm"), &infection, &lung, &path);
    path
}

#[test]
fn lesions_are_told_of_the_lung_they_are_in_however_the_file_is_turned() {
    for ill in ["left", "right"] {
        let folder = folder();
        let dicom = one_sided(folder.path(), ill);
        let mut files = vec![];
        for (i, turn) in Turn::all().enumerate() {
            for (make, name) in [
                (turned_slice as fn(&Path, Turn, &Path), format!("turn{i}.dcm")),
                (turned_volume, format!("turn{i}.nii")),
            ] {
                let path = folder.path().join(name);
                make(&dicom, turn, &path);
                files.push(path);
            }
        }
        let run = screen(&["--slices", "0"], &files);
        assert_eq!(run.code, 0, "{}", run.stderr);
        let rows = run.rows();
        for row in &rows {
            assert_ill(row, ill);
            // The very same voxels; of a volume they are counted three times.
            let apart = |i: usize| (shares(row)[i] - shares(&rows[0])[i]).abs();
            assert!(apart(0).max(apart(1)) < 1e-4, "{}\n{row}", rows[0]);
        }
    }
}

#[test]
fn of_a_picture_that_does_not_say_how_it_hangs_no_sides_are_told() {
    let folder = folder();
    let dicom = one_sided(folder.path(), "left");
    let [png, mirrored] = ["png", "mirrored"].map(|name| folder.path().join(format!("{name}.png")));
    png_of_slice(&dicom, &png);
    imageops::flip_horizontal(&grey(&png)).save(&mirrored).unwrap();
    let masks = folder.path().join("masks");
    let rows = screen(&["--modality", "ct", "--masks", masks.to_str().unwrap()], &[png, mirrored]).rows();
    for row in &rows {
        assert!(number(row, "involvement_percent") > 10.0, "{row}");
        for side in ["involvement_left_percent", "involvement_right_percent"] {
            assert!(row[side].is_null(), "{side}: {row}");
        }
    }
    assert_eq!(thorax_tests::names(&masks), ["mirrored.png", "mirrored_lungs.png", "png.png", "png_lungs.png"]);
}

#[test]
fn the_table_tells_each_lung() {
    let folder = folder();
    let dicom = one_sided(folder.path(), "right");
    let [left, right] = shares(&screen(&[], std::slice::from_ref(&dicom)).rows()[0]);
    let table = thorax_tests::succeed(thorax_tests::edge().arg("screen").arg(&dicom)).stdout;
    let mut lines = table.lines();
    let (header, line) = (lines.next().unwrap(), lines.next().unwrap());
    for (word, share) in [("right", right), ("left", left)] {
        // Numbers end where the head of their column does.
        let end = header.find(word).unwrap() + word.len();
        assert!(line[..end].ends_with(&format!(" {share:.1} %")), "{word} {share}:\n{table}");
    }
}
