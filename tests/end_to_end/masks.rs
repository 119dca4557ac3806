//! Where the masks lie. A mask that is flipped against its picture is worse than none.

use std::path::{Path, PathBuf};

use image::{GrayImage, RgbImage, imageops};
use thorax_tests::{both, dice, film, folder, grey, names, run, screen, slice, true_lungs, true_mask};

use crate::made::{Turn, turned_film, turned_slice, turned_volume};

/// Screens `files` and gives the folder with their masks.
fn masks_of(files: &[PathBuf], options: &[&str]) -> tempfile::TempDir {
    let folder = folder();
    let out = folder.path().to_string_lossy().into_owned();
    let run = screen(&[&["--masks", &out], options].concat(), files);
    assert_eq!(run.code, 0, "{}\n{}", run.stdout, run.stderr);
    folder
}

/// What the files of the masks have behind the name, where the file says which side is which.
const SUFFIXES: [&str; 3] = ["", "_left_lung", "_right_lung"];

/// And where it does not.
const WITHOUT_SIDES: [&str; 2] = ["", "_lungs"];

/// The patient's left and right lung.
fn each_lung(folder: &Path, name: &str) -> [GrayImage; 2] {
    ["left", "right"].map(|side| grey(&folder.join(format!("{name}_{side}_lung.png"))))
}

fn lungs(folder: &Path, name: &str) -> GrayImage {
    let together = folder.join(format!("{name}_lungs.png"));
    if together.exists() {
        return grey(&together);
    }
    let [left, right] = &each_lung(folder, name);
    both(left, right)
}

fn stem(path: &Path) -> String {
    path.file_stem().unwrap().to_string_lossy().into_owned()
}

#[test]
fn masks_have_the_input_s_name_and_size_and_two_values() {
    let folder = folder();
    let oblong = folder.path().join("oblong.png");
    let picture = grey(&film(".png"));
    imageops::crop_imm(&picture, 20, 0, 460, 512).to_image().save(&oblong).unwrap();
    let masks = masks_of(&[film(".png"), oblong, slice(".dcm")], &[]);
    let (film, slice) = (stem(&film(".png")), stem(&slice(".dcm")));
    let results = [
        (&film[..], &WITHOUT_SIDES[..], (512, 512)),
        ("oblong", &WITHOUT_SIDES, (460, 512)),
        (&slice, &SUFFIXES, (384, 384)),
    ];
    let mut expected: Vec<String> = results
        .iter()
        .flat_map(|(name, suffixes, _)| suffixes.iter().map(move |suffix| format!("{name}{suffix}.png")))
        .collect();
    expected.sort();
    assert_eq!(names(masks.path()), expected);
    for (name, suffixes, size) in results {
        for suffix in suffixes {
            let path = masks.path().join(format!("{name}{suffix}.png"));
            assert_eq!(image::open(&path).unwrap().color(), image::ColorType::L8, "{name}{suffix}");
            let mask = grey(&path);
            assert_eq!(mask.dimensions(), size, "{name}{suffix}");
            assert!(mask.pixels().all(|p| p.0[0] == 0 || p.0[0] == 255), "{name}{suffix}");
        }
        let (infection, lung) = (grey(&masks.path().join(format!("{name}.png"))), lungs(masks.path(), name));
        let outside = infection.pixels().zip(lung.pixels()).filter(|(i, l)| i.0[0] > l.0[0]).count();
        assert_eq!(outside, 0, "{name}: infection outside of the lungs");
        if suffixes.len() < SUFFIXES.len() {
            continue;
        }
        let [left, right] = each_lung(masks.path(), name);
        let shared = left.pixels().zip(right.pixels()).filter(|(l, r)| l.0[0] > 0 && r.0[0] > 0).count();
        assert_eq!(shared, 0, "{name}: a pixel of both lungs");
    }
}

#[test]
fn the_involved_shares_are_those_of_the_masks() {
    let out = folder();
    for file in [film(".dcm"), slice(".dcm")] {
        let row = screen(&["--masks", &out.path().to_string_lossy()], std::slice::from_ref(&file)).rows().remove(0);
        let infection = grey(&out.path().join(format!("{}.png", stem(&file))));
        let [left, right] = each_lung(out.path(), &stem(&file));
        for (field, lung) in [
            ("involvement_percent", both(&left, &right)),
            ("involvement_left_percent", left),
            ("involvement_right_percent", right),
        ] {
            let count = |mask: &GrayImage| {
                mask.pixels().zip(lung.pixels()).filter(|(m, l)| m.0[0] > 0 && l.0[0] > 0).count() as f64
            };
            let share = 100.0 * count(&infection) / count(&lung);
            assert!((thorax_tests::number(&row, field) - share).abs() < 0.01, "{row}: {field}: masks say {share}");
        }
    }
}

#[test]
fn lungs_are_found_where_they_are() {
    let masks = masks_of(&[film(".dcm"), slice(".dcm")], &[]);
    for (picture, least) in [(film(".png"), 0.85), (slice(".png"), 0.9)] {
        let found = lungs(masks.path(), &stem(&picture));
        let truth = true_lungs(&picture);
        let upright = dice(&found, &truth);
        assert!(upright > least, "{}: Dice {upright}", picture.display());
        for (what, other) in [
            ("mirrored", imageops::flip_horizontal(&truth)),
            ("upside down", imageops::flip_vertical(&truth)),
            ("turned round", imageops::rotate180(&truth)),
        ] {
            let other = dice(&found, &other);
            assert!(upright > other + 0.02, "{}: Dice {upright}, but {other} {what}", picture.display());
        }
        let truths = ["left_lung", "right_lung"].map(|side| true_mask(&picture, side));
        for (side, found) in each_lung(masks.path(), &stem(&picture)).iter().enumerate() {
            let [own, other] = [side, 1 - side].map(|side| dice(found, &truths[side]));
            assert!(own > least && other < 0.01, "{}: Dice {own}, with the other lung {other}", picture.display());
        }
    }
    // Lesions differ far more between the sides than lungs do.
    let (found, truth) =
        (grey(&masks.path().join(format!("{}.png", stem(&slice(".png"))))), true_mask(&slice(".png"), "infection"));
    let upright = dice(&found, &truth);
    assert!(upright > 0.5, "Dice of the infection {upright}");
    for other in [imageops::flip_horizontal(&truth), imageops::flip_vertical(&truth), imageops::rotate180(&truth)] {
        assert!(upright > dice(&found, &other) + 0.1);
    }
}

#[test]
fn masks_of_a_mirrored_picture_are_mirrored() {
    let folder = folder();
    for (name, picture) in [("film", film(".png")), ("slice", slice(".png"))] {
        let mirrored = folder.path().join(format!("{name}.png"));
        imageops::flip_horizontal(&grey(&picture)).save(&mirrored).unwrap();
        let masks = masks_of(&[picture.clone(), mirrored], &[]);
        let (plain, mirrored) = (lungs(masks.path(), &stem(&picture)), lungs(masks.path(), name));
        let back = dice(&plain, &imageops::flip_horizontal(&mirrored));
        let same = dice(&plain, &mirrored);
        assert!(back > 0.95 && back > same + 0.02, "{name}: Dice {back} mirrored back, {same} as it is");
    }
}

/// The part of a panel where the picture is, and none of the column beside it.
fn shown(folder: &Path, name: &str) -> RgbImage {
    let panel = image::open(folder.join(format!("{name}.png"))).unwrap().into_rgb8();
    imageops::crop_imm(&panel, 0, 60, 96, 148).to_image()
}

/// Screens the picture `upright` stored in all eight ways (`make` writes one) and sees that the panel always shows it
/// upright, as `png`, which has no orientation, is shown; and that the masks lie on the stored pixels: they are those of the
/// upright picture turned the same way, to the pixel.
fn assert_turns(
    upright: &Path,
    png: &Path,
    ending: &str,
    found: &str,
    lesions_found: bool,
    make: fn(&Path, Turn, &Path),
) {
    let folder = folder();
    let at = |name: String| folder.path().join(name);
    let turns: Vec<Turn> = Turn::all().collect();
    let mut files: Vec<PathBuf> = (0..turns.len()).map(|i| at(format!("turn{i}{ending}"))).collect();
    turns.iter().zip(&files).for_each(|(turn, file)| make(upright, *turn, file));
    let picture = grey(png);
    let others = ["png", "mirrored", "upside_down"];
    let [same, mirrored, upside_down] = others.map(|name| at(format!("{name}.png")));
    picture.save(&same).unwrap();
    imageops::flip_horizontal(&picture).save(&mirrored).unwrap();
    imageops::flip_vertical(&picture).save(&upside_down).unwrap();
    files.push(same);
    let panels = at("panels".into());
    let masks = masks_of(&files, &["--slices", "1", "--display", panels.to_str().unwrap()]);

    // A film that stands on its head may be rejected as unlike the training films (exit code 1), and is shown all the same.
    let run = screen(&["--display", panels.to_str().unwrap()], &[mirrored, upside_down]);
    assert!([0, 1].contains(&run.code), "{}\n{}", run.stdout, run.stderr);

    let first = shown(&panels, "turn0");
    for (i, turn) in turns.iter().enumerate() {
        assert!(shown(&panels, &format!("turn{i}")) == first, "{turn:?} is shown otherwise");
    }
    let [same, mirrored, upside_down] = others.map(|name| {
        let other = shown(&panels, name);
        let apart = first.as_raw().iter().zip(other.as_raw()).map(|(a, b)| f64::from(a.abs_diff(*b)));
        apart.sum::<f64>() / first.as_raw().len() as f64
    });
    assert!(
        2.0 * same < mirrored.min(upside_down),
        "PNG: {same} apart, mirrored {mirrored}, upside down {upside_down}"
    );

    let side = grey(&masks.path().join(format!("turn0{found}.png"))).width();
    for suffix in SUFFIXES {
        let mask = |i: usize| grey(&masks.path().join(format!("turn{i}{found}{suffix}.png")));
        let expected = mask(0);
        // The X-ray model finds little or nothing on the phantom film, so there the lungs carry the comparison.
        let may_be_empty = suffix.is_empty() && !lesions_found;
        assert!(may_be_empty || expected.pixels().any(|p| p.0[0] > 0), "nothing to compare");
        for (i, turn) in turns.iter().enumerate() {
            assert!(turn.of(expected.as_raw(), side as usize) == *mask(i).as_raw(), "{suffix} {turn:?}");
        }
    }
}

#[test]
fn a_turned_dicom_slice_is_shown_upright_and_masked_as_stored() {
    assert_turns(&slice(".dcm"), &slice(".png"), ".dcm", "", true, turned_slice);
}

#[test]
fn a_turned_dicom_film_is_shown_upright_and_masked_as_stored() {
    assert_turns(&film(".dcm"), &film(".png"), ".dcm", "", false, turned_film);
}

#[test]
fn a_turned_volume_is_shown_upright_and_masked_as_stored() {
    assert_turns(&slice(".dcm"), &slice(".png"), ".nii", "_slice0001", true, turned_volume);
}

#[test]
fn png_dicom_and_nifti_of_a_slice_have_one_mask() {
    let folder = folder();
    let nifti = folder.path().join("volume.nii");
    let plain = Turn { transpose: false, mirror: false, upside_down: false };
    turned_volume(&slice(".dcm"), plain, &nifti);
    let png = folder.path().join("picture.png");
    std::fs::copy(slice(".png"), &png).unwrap();
    let masks = masks_of(&[slice(".dcm"), nifti, png, slice(".nii.gz")], &["--slices", "1"]);
    let name = stem(&slice(".dcm"));
    let dicom = each_lung(masks.path(), &name);
    assert!(dicom == each_lung(masks.path(), "volume_slice0001"), "a volume of the very same values");
    // The phantom's own volume keeps all values of air, DICOM's stored values end at -1024.
    let own = names(masks.path()).into_iter().find_map(|file| {
        file.strip_suffix("_left_lung.png").filter(|name| name.ends_with("_slice0004")).map(str::to_owned)
    });
    let own = own.unwrap();
    for (lung, other_lung) in dicom.iter().zip(&each_lung(masks.path(), &own)) {
        let agreement = dice(lung, other_lung);
        assert!(agreement > 0.97, "{own}: Dice {agreement}");
    }
    let agreement = dice(&lungs(masks.path(), &name), &lungs(masks.path(), "picture"));
    assert!(agreement > 0.97, "PNG: Dice {agreement}");
}

#[test]
fn files_of_one_name_do_not_overwrite_each_other_s_masks() {
    let folder = folder();
    let other = folder.path().join(film(".png").file_name().unwrap());
    imageops::flip_horizontal(&grey(&film(".png"))).save(&other).unwrap();
    let masks = masks_of(&[film(".png"), film(".dcm"), other], &[]);
    assert_eq!(names(masks.path()).len(), 7, "{:?}", names(masks.path()));
}

#[test]
fn a_name_that_ends_like_a_lung_mask_does_not_overwrite_one() {
    let folder = folder();
    let files = ["a.dcm", "a_left_lung.dcm", "a_lungs.png"].map(|name| folder.path().join(name));
    for file in &files {
        std::fs::copy(film(&format!(".{}", file.extension().unwrap().display())), file).unwrap();
    }
    assert_eq!(names(masks_of(&files, &[]).path()).len(), 8);
}

#[test]
fn no_result_is_written_over_an_input() {
    let folder = folder();
    let input = folder.path().join("a.png");
    std::fs::copy(film(".png"), &input).unwrap();
    let before = std::fs::read(&input).unwrap();
    for (option, path) in [("--masks", folder.path()), ("--display", input.as_path())] {
        let run = run(thorax_tests::edge().args(["screen", option]).arg(path).arg(&input));
        assert!(std::fs::read(&input).unwrap() == before, "{option}: the input was overwritten; {run:?}");
    }
}
