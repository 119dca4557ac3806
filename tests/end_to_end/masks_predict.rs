//! `thorax-train masks`: a segmenter trained on phantoms draws masks that lie where the lungs are, in every format, and the
//! judgement says of its masks what the files say.

use std::{
    io::Read,
    path::{Path, PathBuf},
};

use image::{GrayImage, imageops};
use thorax_tests::{dice, folder, grey, names, refused, succeed, train};

const SIDE: u32 = 96;

fn at(folder: &Path, name: &str) -> PathBuf {
    folder.join(name)
}

fn phantoms(out: &Path, count: &str, seed: &str, formats: &str) {
    let side = SIDE.to_string();
    let options = ["--count", count, "--modality", "ct", "--size", &side, "--seed", seed, "--formats", formats];
    succeed(train().arg("phantom").arg(out).args(options));
}

/// Phantom slices and their manifest, and a net that learnt from them.
fn trained(folder: &Path, seeds: &[&str]) -> (PathBuf, Vec<PathBuf>) {
    let slices = at(folder, "slices");
    phantoms(&slices, "20", "3", "png");
    let manifest = at(&slices, "manifest.csv");
    succeed(train().args(["data", "import"]).arg(&slices).arg("--out").arg(&manifest));
    let runs = seeds.iter().map(|seed| {
        let run = at(folder, &format!("run{seed}"));
        let mut command = train();
        command.args(["train", "segment", "--modality", "ct", "--side", "48", "--base-channels", "4", "--batch", "2"]);
        command.args([
            "--epochs",
            "40",
            "--learning-rate",
            "0.01",
            "--augmentation",
            "none",
            "--threads",
            "1",
            "--seed",
            seed,
        ]);
        succeed(command.arg("--manifest").arg(&manifest).arg("--out").arg(&run));
        run
    });
    let runs = runs.collect();
    (manifest, runs)
}

/// A NIfTI file's header and voxels.
fn nifti(path: &Path) -> (Vec<u8>, Vec<u8>) {
    let mut bytes = vec![];
    flate2::read::GzDecoder::new(std::fs::File::open(path).unwrap()).read_to_end(&mut bytes).unwrap();
    let voxels = bytes.split_off(352);
    (bytes, voxels)
}

fn union(mut a: GrayImage, b: GrayImage) -> GrayImage {
    a.pixels_mut().zip(b.pixels()).for_each(|(a, b)| a.0[0] |= b.0[0]);
    a
}

#[test]
fn masks_of_a_trained_net_lie_on_the_lungs_and_are_judged_as_they_are() {
    let folder = folder();
    let (manifest, runs) = trained(folder.path(), &["1", "2"]);

    // The same slice as PNG and DICOM, and the volume around it.
    let scans = at(folder.path(), "scans");
    phantoms(&scans, "1", "8", "png,dicom,nifti");
    let files: Vec<PathBuf> = [".png", ".dcm", ".nii.gz"]
        .iter()
        .map(|ending| at(&scans, &format!("phantom_ct_0000_positive{ending}")))
        .collect();
    let predicted = |file: &Path, out: &str| {
        let out = at(folder.path(), out);
        let said = succeed(train().args(["masks", "predict", "--run"]).arg(&runs[0]).arg("--out").arg(&out).arg(file));
        assert!(said.stdout.contains("Research use only"), "{}", said.stdout);
        out
    };
    let outs = ["png", "dicom", "nifti"].map(|out| at(folder.path(), out));
    files.iter().zip(["png", "dicom", "nifti"]).for_each(|(file, out)| drop(predicted(file, out)));
    let stem = "phantom_ct_0000_positive";
    let true_mask = |name: &str| grey(&at(&scans, &format!("masks/{stem}_{name}.png")));
    let truth = union(true_mask("left_lung"), true_mask("right_lung"));
    for out in &outs[..2] {
        let [left, right] = ["left", "right"].map(|side| grey(&at(out, &format!("{stem}_{side}_lung.png"))));
        let [true_left, true_right] = ["left_lung", "right_lung"].map(true_mask);
        for (found, same, other) in [(&left, &true_left, &true_right), (&right, &true_right, &true_left)] {
            assert!(dice(found, same) > dice(found, other) + 0.3, "{}: {}", out.display(), dice(found, same));
        }
        let found = union(left, right);
        assert_eq!(found.dimensions(), (SIDE, SIDE));
        assert!(found.pixels().all(|pixel| [0, 255].contains(&pixel.0[0])));
        let upright = dice(&found, &truth);
        assert!(upright > 0.75, "{}: Dice {upright}", out.display());
        for other in [imageops::flip_horizontal(&truth), imageops::flip_vertical(&truth), imageops::rotate180(&truth)] {
            assert!(upright > dice(&found, &other) + 0.02, "{}: Dice {upright}", out.display());
        }
        let overlay = image::open(at(out, &format!("{stem}_overlay.png"))).unwrap();
        assert_eq!((overlay.width(), overlay.height()), (SIDE, SIDE));
    }

    // The volume's masks have its header but for what tells of values, and lie on the true voxels of their side.
    let (scan, voxels) = nifti(&files[2]);
    let overlap = |a: &[u8], b: &[u8]| {
        let count = |mask: &[u8]| mask.iter().filter(|&&voxel| voxel > 0).count() as f64;
        2.0 * a.iter().zip(b).filter(|(a, b)| **a > 0 && **b > 0).count() as f64 / (count(a) + count(b))
    };
    let truth = ["left", "right"].map(|side| nifti(&at(&scans, &format!("masks/{stem}_{side}_lung.nii.gz"))).1);
    for (side, other) in [(0, 1), (1, 0)] {
        let (header, found) = nifti(&at(&outs[2], &format!("{stem}_{}_lung.nii.gz", ["left", "right"][side])));
        for same in [40..56, 76..108, 123..124, 252..328] {
            assert_eq!(header[same.clone()], scan[same.clone()], "{same:?}");
        }
        assert_eq!(found.len(), voxels.len() / 2, "the scan has 16 bits a voxel, the mask 8");
        let (same, other) = (overlap(&found, &truth[side]), overlap(&found, &truth[other]));
        assert!(same > 0.6 && same > other + 0.3, "Dice {same}, with the other lung {other}");
    }
    assert_compared(folder.path(), &outs, &at(&scans, "masks"), stem);

    // Nothing is written over, and never an input.
    let mut again = train();
    again.args(["masks", "predict", "--run"]).arg(&runs[0]).arg("--out").arg(&outs[0]).arg(&files[0]);
    refused(&mut again, &["is there already", "--force"]);
    succeed(again.arg("--force"));
    let mut twice = train();
    twice.args(["masks", "predict", "--run"]).arg(&runs[0]).arg("--out").arg(at(folder.path(), "twice"));
    refused(twice.args(&files[..2]), &["phantom_ct_0000_positive", "another --out"]);

    assert_judged_as_predicted(folder.path(), &manifest, &runs);
}

/// `masks compare` tells of files what their voxels and pixels say.
fn assert_compared(folder: &Path, [pictures, _, volumes]: &[PathBuf; 3], truth: &Path, stem: &str) {
    let compared = |found: &Path, truth: &Path, options: &[&str]| -> serde_json::Value {
        let run = succeed(train().args(["masks", "compare", "--json"]).arg(found).arg(truth).args(options));
        serde_json::from_str(&run.stdout).unwrap()
    };
    let name = |mask: &str, ending: &str| format!("{stem}_{mask}.{ending}");
    let figure = |json: &serde_json::Value, name: &str| json["figures"][name].as_f64().unwrap();
    let lungs = ["left_lung", "right_lung"];
    let [left, right] = lungs.map(|lung| at(volumes, &name(lung, "nii.gz")));
    let masks = lungs.map(|lung| at(truth, &name(lung, "nii.gz")));
    let count = |mask: &[u8], value: u8| mask.iter().filter(|&&voxel| voxel == value).count() as f64;

    // Both true lungs in one file, 1 and 2.
    let (mut header, mut both) = nifti(&masks[0]);
    both.iter_mut().for_each(|voxel| *voxel = u8::from(*voxel > 0));
    both.iter_mut().zip(nifti(&masks[1]).1).filter(|(_, right)| *right > 0).for_each(|(voxel, _)| *voxel = 2);
    let labels = at(folder, "labels.nii");
    header.extend(&both);
    std::fs::write(&labels, header).unwrap();
    for (found, truth, value) in [(&left, &masks[0], 1), (&right, &masks[1], 2)] {
        let voxels = nifti(found).1;
        let shared = voxels.iter().zip(&both).filter(|(found, truth)| **found > 0 && **truth == value).count() as f64;
        let expected = 2.0 * shared / (count(&voxels, 1) + count(&both, value));
        let json = compared(found, truth, &[]);
        assert!((figure(&json, "dice") - expected).abs() < 1e-12, "{expected}: {json}");
        assert_eq!(compared(found, &labels, &["--label", &value.to_string()]), json);
        let header = nifti(truth).0;
        let millimetres = f64::from(f32::from_le_bytes(header[80..84].try_into().unwrap()));
        assert!((figure(&json, "hd95_mm") / figure(&json, "hd95_pixels") - millimetres).abs() < 1e-6, "{json}");
        assert!(json["notice"].as_str().unwrap().contains("Research use only"));
        let same = compared(found, found, &[]);
        assert_eq!((figure(&same, "dice"), figure(&same, "hd95_mm")), (1.0, 0.0));
    }

    let (found, truth_png) = (at(pictures, &name("left_lung", "png")), at(truth, &name("left_lung", "png")));
    let json = compared(&found, &truth_png, &[]);
    assert!((figure(&json, "dice") - dice(&grey(&found), &grey(&truth_png))).abs() < 1e-12, "{json}");
    assert_eq!((&json["slices"], &json["figures"]["hd95_mm"]), (&1.into(), &serde_json::Value::Null));
    let said = succeed(train().args(["masks", "compare"]).arg(&found).arg(&truth_png)).stdout;
    assert!(said.contains("Research use only") && said.contains("dice") && said.contains("1 slices, 1 with"), "{said}");

    let refuse = |truth: &Path, words: &[&str]| {
        refused(train().args(["masks", "compare"]).arg(&left).arg(truth), words);
    };
    refuse(&truth_png, &["left_lung.png", "1 slices of 96 x 96", "resample"]);
    refuse(&at(truth.parent().unwrap(), &format!("{stem}.nii.gz")), &["Hounsfield", "give masks"]);
    refuse(&at(truth, "none.nii.gz"), &["none.nii.gz", "no such file"]);
}

/// A judgement is whole, goes into a report, and tells of each run and of their mean what `masks predict` draws.
fn assert_judged_as_predicted(folder: &Path, manifest: &Path, runs: &[PathBuf]) {
    let out = at(folder, "judged");
    let mut judge = train();
    judge
        .args(["masks", "judge", "--resamples", "200", "--figures", "2", "--manifest"])
        .arg(manifest)
        .arg("--out")
        .arg(&out);
    for run in runs {
        judge.arg("--run").arg(run);
    }
    let said = succeed(&mut judge);
    assert!(said.stdout.contains("infection, Dice per patient"), "{}", said.stdout);
    let (figures, files): (Vec<String>, Vec<String>) =
        names(&out).into_iter().partition(|name| name.starts_with("figure_"));
    assert_eq!(files, ["figures.json", "judgement.json", "judgement.md", "patients.csv", "pictures.csv"]);
    assert!(!figures.is_empty() && figures.len() % 3 == 0, "{figures:?}");
    for figure in figures.chunks(3) {
        // By name: found, picture, truth.
        let sizes: Vec<(u32, u32)> =
            figure.iter().map(|name| image::image_dimensions(at(&out, name)).unwrap()).collect();
        assert_eq!(sizes, [(SIDE, SIDE); 3]);
    }
    let page = at(folder, "page");
    let report = |to: &Path| {
        let mut report = train();
        report.args(["report", "--masks"]).arg(&out).arg("--figures").arg(&out).arg("--out").arg(to);
        report
    };
    succeed(&mut report(&page));
    let html = std::fs::read_to_string(at(&page, "report.html")).unwrap();
    assert!(html.contains("CT, segmentation") && html.contains("rank 1 of") && html.contains("attention U-Net"));
    refused(&mut report(&out), &["another folder"]);

    assert_predicted(folder, manifest, &out, &runs[0].display().to_string(), &runs[..1]);
    let markdown = std::fs::read_to_string(at(&out, "judgement.md")).unwrap();
    for words in ["Research use only", "Per patient", "Spread of 2 runs", "HD95"] {
        assert!(markdown.contains(words), "{markdown}");
    }
    let json: serde_json::Value =
        serde_json::from_str(&std::fs::read_to_string(at(&out, "judgement.json")).unwrap()).unwrap();
    assert_eq!(json["runs"].as_array().unwrap().len(), 2);
    assert_eq!(json["runs"][0]["same_data"], true);

    // The mean of both is one net, and is predicted as it is judged.
    let mean = at(folder, "mean");
    let mut judge = train();
    judge.args(["masks", "judge", "--mean", "--manifest"]).arg(manifest).arg("--out").arg(&mean);
    for run in runs {
        judge.arg("--run").arg(run);
    }
    succeed(&mut judge);
    let name = format!("mean of {} + {}", runs[0].display(), runs[1].display());
    assert_predicted(folder, manifest, &mean, &name, runs);
    let tables = [&out, &mean].map(|judged| std::fs::read_to_string(at(judged, "patients.csv")).unwrap());
    let rows = |table: &str| -> Vec<String> {
        table.lines().skip(1).map(|row| row.split(',').skip(1).collect::<Vec<_>>().join(",")).collect()
    };
    let [each, both] = tables.each_ref().map(|table| rows(table));
    assert!(both.len() * 2 == each.len() && both[..] != each[..both.len()] && both[..] != each[both.len()..]);
    refused(
        train().args(["masks", "judge", "--manifest"]).arg(manifest).arg("--run").arg(folder).arg("--out").arg(&out),
        &["no segmentation run"],
    );
    for how in [&["--mean"][..], &[]] {
        let mut twice = train();
        twice.args(["masks", "judge", "--manifest"]).arg(manifest).arg("--out").arg(at(folder, "twice")).args(how);
        refused(twice.arg("--run").arg(&runs[0]).arg("--run").arg(&runs[0]), &["the same training as"]);
    }
}

/// Every Dice that `judged` tells of the run `name` is that of the mask which `masks predict` of `runs` writes.
fn assert_predicted(folder: &Path, manifest: &Path, judged: &Path, name: &str, runs: &[PathBuf]) {
    let table = std::fs::read_to_string(at(judged, "pictures.csv")).unwrap();
    let head: Vec<&str> = table.lines().next().unwrap().split(',').collect();
    let column = |row: &str, name: &str| {
        row.split(',').nth(head.iter().position(|column| *column == name).unwrap()).unwrap().to_owned()
    };
    let masks = at(folder, "masks");
    let root = manifest.parent().unwrap();
    let mut compared = 0;
    for row in table.lines().skip(1) {
        let path = column(row, "path");
        let stem = path.trim_end_matches(".png");
        if column(row, "run") != name || column(row, "mask") != "infection" {
            continue;
        }
        let mut predict = train();
        predict.args(["masks", "predict", "--force", "--out"]).arg(&masks).arg(root.join(&path));
        runs.iter().for_each(|run| {
            predict.arg("--run").arg(run);
        });
        succeed(&mut predict);
        let found = grey(&at(&masks, &format!("{stem}_infection.png")));
        let truth = match column(row, "negative").as_str() {
            "true" => GrayImage::new(SIDE, SIDE),
            _ => grey(&root.join(format!("masks/{stem}_infection.png"))),
        };
        let count = |mask: &GrayImage| mask.pixels().filter(|pixel| pixel.0[0] > 127).count();
        if count(&truth) > 0 {
            let told: f64 = column(row, "dice").parse().unwrap();
            assert!((told - dice(&found, &truth)).abs() < 1e-12, "{row}");
        } else {
            assert_eq!(column(row, "dice"), "");
            assert_eq!(column(row, "false_positives"), count(&found).to_string());
        }
        compared += 1;
    }
    assert!(compared > 3, "{table}");
}
