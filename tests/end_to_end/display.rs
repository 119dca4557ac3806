//! What the little screen shows, as a PNG.

use std::path::Path;

use image::{ColorType, RgbImage};
use thorax_tests::{edge, film, folder, names, run, screen, slice};

use crate::made::file;

fn panel(path: &Path) -> RgbImage {
    let image = image::open(path).unwrap();
    assert_eq!((image.width(), image.height()), (320, 240), "{}", path.display());
    assert_eq!(image.color(), ColorType::Rgb8);
    image.into_rgb8()
}

fn differing(a: &RgbImage, b: &RgbImage) -> usize {
    a.pixels().zip(b.pixels()).filter(|(a, b)| a != b).count()
}

#[test]
fn one_file_gives_one_panel_that_shows_the_picture() {
    let folder = folder();
    let shown = |file: std::path::PathBuf, name: &str| {
        let out = folder.path().join(name);
        assert_eq!(screen(&["--display", out.to_str().unwrap()], &[file]).code, 0);
        panel(&out)
    };
    let (a, b) = (shown(film(".png"), "film.png"), shown(slice(".png"), "deeper/slice.png"));
    assert!(differing(&a, &b) > 5000, "two pictures, two panels");
    let colours: std::collections::BTreeSet<[u8; 3]> = a.pixels().map(|p| p.0).collect();
    assert!(colours.len() > 50, "a radiograph has more than {} colours", colours.len());
    assert!(a.pixels().any(|p| p.0[0].abs_diff(p.0[2]) > 60), "the overlay is in colour");
}

#[test]
fn the_same_screening_gives_the_same_panel() {
    let folder = folder();
    let bytes = |name: &str| {
        let out = folder.path().join(name);
        screen(&["--display", out.to_str().unwrap()], &[film(".png")]);
        std::fs::read(out).unwrap()
    };
    assert!(bytes("first.png") == bytes("second.png"));
}

#[test]
fn several_files_give_a_folder_with_a_panel_each_refusals_too() {
    let folder = folder();
    let out = folder.path().join("panels");
    let bad = file(folder.path(), "notes.png", b"words");
    let run = screen(&["--display", out.to_str().unwrap()], &[film(".png"), bad, slice(".nii.gz")]);
    assert_eq!(run.code, 1);
    assert_eq!(names(&out), ["notes.png", "phantom_ct_0000_positive.png", "phantom_xray_0000_positive.png"]);
    let panels: Vec<RgbImage> = names(&out).iter().map(|name| panel(&out.join(name))).collect();
    for i in 0..3 {
        for j in 0..i {
            assert!(differing(&panels[i], &panels[j]) > 1000, "panels {i} and {j} are all but equal");
        }
    }
}

#[test]
fn a_panel_that_cannot_be_written_is_the_device_s_failure() {
    let folder = folder();
    // A file where a folder is needed: refused to every user, root included.
    let wall = file(folder.path(), "wall", b"");
    let out = wall.join("panel.png");
    for (option, files) in [
        ("--display", vec![film(".png")]),
        ("--display", vec![film(".png"), slice(".png")]),
        ("--masks", vec![film(".png")]),
    ] {
        let run = run(edge().args(["screen", "--json", option]).arg(&out).args(&files));
        assert_eq!(run.code, 3, "{option}: {run:?}");
        assert!(run.stderr.contains(out.to_str().unwrap()), "{option}: the message names the path: {}", run.stderr);
    }
}
