//! Real images, where the machine has them: every file of the shared material is read, or refused for a good reason.

use std::path::{Path, PathBuf};

use serde_json::Value;
use thorax_tests::{files, folder, grey, names, screen, text};

/// Screens all files of a folder, one after the other, so that slices of one series stay slices; every file has its row.
fn rows_of(folder: &Path, options: &[&str], wanted: impl Fn(&str) -> bool) -> Vec<(String, Value)> {
    let name = |path: &PathBuf| path.file_name().unwrap().to_string_lossy().into_owned();
    let files: Vec<PathBuf> = files(folder).into_iter().filter(|path| wanted(&name(path))).collect();
    assert!(!files.is_empty(), "{}: nothing to screen", folder.display());
    files
        .iter()
        .map(|file| {
            let run = screen(options, std::slice::from_ref(file));
            assert!(!run.stderr.contains("panicked"), "{}", run.stderr);
            let [row] = <[Value; 1]>::try_from(run.rows()).unwrap_or_else(|rows| panic!("{rows:?}"));
            assert_eq!(text(&row, "file"), file.to_str().unwrap());
            (name(file), row)
        })
        .collect()
}

fn assert_screened(name: &str, row: &Value, modality: &str) {
    assert_ne!(text(row, "verdict"), "rejected", "{name}: {row}");
    assert_eq!(text(row, "modality"), modality, "{name}: {row}");
}

#[test]
fn every_dicom_file_is_screened() {
    let Some(dicom) = thorax_wanted::shared("data/dicom") else { return };
    let rows = rows_of(&dicom, &[], |_| true);
    for (name, row) in &rows {
        if name.contains("mono1_fake") {
            // It says MONOCHROME1 of greys that are MONOCHROME2: by its own words it is a negative.
            assert!(text(row, "reason").contains("negative"), "{row}");
            continue;
        }
        assert_screened(name, row, if name.starts_with("cxr") { "xray" } else { "ct" });
    }
    // One slice in three transfer syntaxes: JPEG lossless, explicit and implicit VR.
    let probability =
        |name: &str| rows.iter().find(|(n, _)| n == name).map(|(_, row)| row["probability"].clone()).unwrap();
    let lossless = probability("covidctmd_P001_s037.dcm");
    assert_eq!(lossless, probability("covidctmd_P001_s037_explicit.dcm"));
    assert_eq!(lossless, probability("covidctmd_P001_s037_implicit.dcm"));
}

#[test]
fn every_original_is_screened_and_its_kind_recognised() {
    let Some(originals) = thorax_wanted::shared("data/originals") else { return };
    for (name, row) in rows_of(&originals, &[], |_| true) {
        assert_screened(&name, &row, if name.starts_with("xray") { "xray" } else { "ct" });
    }
}

#[test]
fn volumes_are_screened_and_mask_volumes_are_refused() {
    let Some(volumes) = thorax_wanted::shared("data/seg_volumes") else { return };
    for (name, row) in rows_of(&volumes, &["--slices", "4"], |_| true) {
        if name.starts_with("totalsegmentator") {
            // From the hips to the diaphragm.
            assert!(text(&row, "reason").contains("does not look like a chest X-ray or CT slice"), "{name}: {row}");
        } else if ["_infection", "_lung", "_mask"].iter().any(|mask| name.contains(mask)) {
            assert_eq!(text(&row, "verdict"), "rejected", "{name}: {row}");
            assert!(row["probability"].is_null(), "{name}: {row}");
            assert!(text(&row, "reason").contains(": "), "a reason and a remedy: {name}: {row}");
        } else {
            assert_screened(&name, &row, "ct");
            assert_eq!(row["slices"], 4, "{name}");
        }
    }
}

#[test]
fn lungs_of_real_volumes_are_found_where_radiologists_drew_them() {
    let Some(images) = thorax_wanted::shared("data/seg/images") else { return };
    let truths = images.with_file_name("lung_masks");
    // The 20-case set has slices of both orientations; a patient each is enough to see a flip of ours.
    for patient in ["coronacases-002", "radiopaedia-4"] {
        let Some(name) = names(&images).into_iter().filter(|name| name.starts_with(&format!("{patient}__"))).nth(12)
        else {
            panic!("{patient}: no slices in {}", images.display());
        };
        let out = folder();
        let run = screen(&["--masks", out.path().to_str().unwrap(), "--modality", "ct"], &[images.join(&name)]);
        assert_eq!(run.code, 0, "{}", run.stdout);
        let found = grey(&out.path().join(name.replace(".png", "_lungs.png")));
        let truth = grey(&truths.join(&name));
        let upright = thorax_tests::dice(&found, &truth);
        assert!(upright > 0.8, "{name}: Dice {upright}");
        for other in [image::imageops::flip_horizontal(&truth), image::imageops::flip_vertical(&truth)] {
            let other = thorax_tests::dice(&found, &other);
            assert!(upright > other, "{name}: Dice {upright}, but {other} flipped");
        }
    }
}

#[test]
fn each_lung_of_real_films_is_found_where_radiologists_drew_it() {
    let Some(images) = thorax_wanted::shared("data/seg_xray/images") else { return };
    let (mut read, mut rejected) = (0, 0);
    for name in names(&images).into_iter().step_by(13) {
        let out = folder();
        // As DICOM, which says which side is which.
        let film = out.path().join(name.replace(".png", ".dcm"));
        crate::made::dicom_film(&grey(&images.join(&name)), &film);
        let run = screen(&["--masks", out.path().to_str().unwrap()], &[film]);
        if run.code == 1 && text(&run.rows()[0], "verdict") == "rejected" {
            // Some films of this collection are (docs/figures.md), and of those there are no masks.
            rejected += 1;
            continue;
        }
        assert_eq!(run.code, 0, "{}", run.stdout);
        read += 1;
        let [left, right] = ["left_lung", "right_lung"].map(|side| grey(&images.with_file_name(side).join(&name)));
        for (side, own, other) in [("left", &left, &right), ("right", &right, &left)] {
            let found = grey(&out.path().join(name.replace(".png", &format!("_{side}_lung.png"))));
            let [own, other] = [own, other].map(|truth| thorax_tests::dice(&found, truth));
            assert!(own > 0.8 && other < 0.05, "{name}: {side} lung: Dice {own}, with the other lung {other}");
        }
    }
    assert!(rejected <= 1 && read >= 5, "{rejected} of {} rejected", read + rejected);
}
