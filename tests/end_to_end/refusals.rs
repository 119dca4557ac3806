//! What cannot be screened is refused, each thing for its own reason and with a remedy, and harms nothing else.

use std::{collections::BTreeSet, path::PathBuf};

use thorax_tests::{film, folder, names, of_the_image, screen, slice, text};

use crate::made::{cat, file, png_of_header, without_pixels};

#[test]
fn each_bad_file_gets_its_own_reason_and_the_good_ones_their_results() {
    let folder = folder();
    let at = folder.path();
    let whole = std::fs::read(film(".dcm")).unwrap();
    cat(&at.join("cat.png"));
    image::GrayImage::from_pixel(1, 1, image::Luma([128])).save(at.join("one.png")).unwrap();
    std::fs::create_dir(at.join("folder.dcm")).unwrap();
    // Each file, what its reason must say, and the remedy.
    let bad: Vec<(PathBuf, &str, &str)> = vec![
        (at.join("cat.png"), "colour picture", "send the image itself"),
        (file(at, "empty.dcm", b""), "empty", "copy it again"),
        (file(at, "truncated.dcm", &whole[..whole.len() / 2]), "cut short", "copy it again"),
        (file(at, "report.dcm", &without_pixels(&film(".dcm"))), "without pixel data", "send the image"),
        (at.join("one.png"), "too few pixels", "send the original"),
        (file(at, "huge.png", &png_of_header(20_000, 20_000)), "20000 x 20000", "send the image at its original size"),
        (at.join("folder.dcm"), "a folder", "send the image as"),
        (file(at, "notes.png", b"no image, only words\n"), "a text file", "send the image as"),
        (at.join("nowhere.png"), "no such file", "check the path"),
    ];
    // Good files come first, last and in the middle.
    let mut files: Vec<PathBuf> = bad.iter().map(|(path, ..)| path.clone()).collect();
    files.insert(0, film(".png"));
    files.insert(5, slice(".dcm"));
    files.push(film("_monochrome1.dcm"));

    let run = screen(&[], &files);
    assert_eq!(run.code, 1, "{}", run.stderr);
    let rows = run.rows();
    let in_order: Vec<&str> = rows.iter().map(|row| text(row, "file")).collect();
    assert_eq!(
        in_order,
        files.iter().map(|file| file.to_str().unwrap()).collect::<Vec<_>>(),
        "one line a file, in order"
    );

    let mut reasons = BTreeSet::new();
    for (path, reason, remedy) in &bad {
        let row = rows.iter().find(|row| text(row, "file") == path.to_str().unwrap()).unwrap();
        assert_eq!(text(row, "verdict"), "rejected", "{row}");
        for field in [
            "probability",
            "entropy_bits",
            "involvement_percent",
            "involvement_left_percent",
            "involvement_right_percent",
        ] {
            assert!(row[field].is_null(), "{field}: {row}");
        }
        assert!(text(row, "reason").contains(reason), "{reason}: {row}");
        assert!(text(row, "reason").contains(remedy), "{remedy}: {row}");
        assert!(reasons.insert(text(row, "reason")), "a reason of its own: {row}");
    }

    let good: Vec<PathBuf> = [0, 5, files.len() - 1].map(|i| files[i].clone()).to_vec();
    let alone = screen(&[], &good);
    assert_eq!(alone.code, 0);
    for (alone, beside) in alone.rows().iter().zip([0, 5, files.len() - 1].map(|i| &rows[i])) {
        assert_eq!(of_the_image(alone), of_the_image(beside), "bad files must not change good ones' results");
    }
    assert!(!run.stderr.contains("panicked"), "{}", run.stderr);
}

#[test]
fn a_picture_cut_short_is_never_screened() {
    let folder = folder();
    let at = folder.path();
    image::open(film(".png")).unwrap().save(at.join("whole.jpg")).unwrap();
    let cut = |source: PathBuf, name: &str| {
        let bytes = std::fs::read(source).unwrap();
        file(at, name, &bytes[..bytes.len() * 2 / 3])
    };
    let files = [
        cut(film(".png"), "cut.png"),
        cut(at.join("whole.jpg"), "cut.jpg"),
        cut(slice(".nii.gz"), "cut.nii.gz"),
        cut(slice(".dcm"), "cut.dcm"),
    ];
    let rows = screen(&[], &files).rows();
    assert_eq!(rows.len(), 4);
    for row in rows {
        assert_eq!(text(&row, "verdict"), "rejected", "{row}");
        assert!(text(&row, "reason").contains("again"), "tells to copy or export it again: {row}");
    }
}

#[test]
fn a_refused_file_leaves_no_mask() {
    let folder = folder();
    let masks = folder.path().join("masks");
    let bad = [file(folder.path(), "notes.png", b"words"), file(folder.path(), "empty.png", b"")];
    assert_eq!(screen(&["--masks", masks.to_str().unwrap()], &bad).code, 1);
    assert!(names(&masks).is_empty(), "{:?}", names(&masks));
}

#[test]
fn masks_and_blank_pictures_are_no_radiographs() {
    let folder = folder();
    let at = folder.path();
    image::GrayImage::new(512, 512).save(at.join("black.png")).unwrap();
    image::GrayImage::from_pixel(512, 512, image::Luma([255])).save(at.join("white.png")).unwrap();
    image::GrayImage::from_pixel(512, 512, image::Luma([120])).save(at.join("grey.png")).unwrap();
    thorax_tests::true_lungs(&film(".png")).save(at.join("lungs.png")).unwrap();
    image::GrayImage::from_fn(2000, 200, |x, y| image::Luma([(x * 7 + y * 13) as u8]))
        .save(at.join("strip.png"))
        .unwrap();
    let files: Vec<PathBuf> =
        ["black", "white", "grey", "lungs", "strip"].map(|name| at.join(format!("{name}.png"))).to_vec();
    let run = screen(&[], &files);
    assert_eq!(run.code, 1);
    for row in run.rows() {
        assert_eq!(text(&row, "verdict"), "rejected", "{row}");
        assert!(row["probability"].is_null() && text(&row, "reason").contains(": "), "a reason and a remedy: {row}");
    }
}
