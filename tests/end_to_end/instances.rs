//! `thorax-train train instance` on phantoms: nets that find single lesions.

use std::{
    path::{Path, PathBuf},
    process::{Command, Stdio},
    time::{Duration, Instant},
};

use serde_json::Value;
use thorax_tests::{folder, names, run, succeed, train};

use crate::trainer::{epochs_done, same_run};

/// Three pictures to learn from, and two to choose by: most of the time goes into looking for lesions on these. Two are left to judge on.
fn pictures(folder: &Path, modality: &str) -> PathBuf {
    let pictures = folder.join(modality);
    let options = ["--count", "7", "--modality", modality, "--size", "128", "--seed", "3", "--formats", "png"];
    succeed(train().arg("phantom").arg(&pictures).args(options));
    let manifest = pictures.join("manifest.csv");
    succeed(train().args(["data", "import"]).arg(&pictures).arg("--out").arg(&manifest));
    manifest
}

/// Mask R-CNN, since what it looks at is drawn anew in each step; tiny, on one thread.
fn mask_rcnn(manifest: &Path, out: &Path) -> Command {
    let mut command = train();
    command.args(["train", "instance", "--net", "mask-rcnn", "--weights", "random:1", "--modality", "xray"]);
    command.args(["--side", "64", "--regions", "8", "--anchor", "8", "--smallest-lesion", "1", "--threads", "1"]);
    command.args(["--optimizer", "sgd", "--clip", "5", "--batch", "1", "--epochs", "2"]);
    command.arg("--manifest").arg(manifest).arg("--out").arg(out);
    command
}

#[test]
fn a_killed_run_goes_on_and_ends_as_an_undisturbed_one() {
    let folder = folder();
    let manifest = pictures(folder.path(), "xray");
    let [undisturbed, killed] = ["undisturbed", "killed"].map(|run| folder.path().join(run));
    succeed(&mut mask_rcnn(&manifest, &undisturbed));

    let mut child = mask_rcnn(&manifest, &killed).stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap();
    let started = Instant::now();
    // Of an epoch that has its row alone there would be nothing to go on from.
    while !killed.join("latest.safetensors").exists() {
        assert!(child.try_wait().unwrap().is_none(), "ended before its first checkpoint");
        assert!(started.elapsed() < Duration::from_secs(600), "no epoch in ten minutes");
        std::thread::sleep(Duration::from_millis(1));
    }
    child.kill().unwrap();
    assert_eq!(child.wait().unwrap().code(), None, "ended before it could be killed: give it more epochs");
    assert_eq!(epochs_done(&killed), 1, "epochs before it was killed");

    let resumed = succeed(&mut mask_rcnn(&manifest, &killed));
    assert!(resumed.stderr.contains("resumed"), "{}", resumed.stderr);
    same_run(&undisturbed, &killed, "score_threshold.json");
    let other = run(mask_rcnn(&manifest, &killed).args(["--seed", "2"]));
    assert_ne!(other.code, 0);
    assert!(other.stderr.contains("another configuration") && other.stderr.contains("--out"), "{}", other.stderr);
}

/// What an ONNX file calls its graph's inputs (field 11 of a `GraphProto`) or outputs (field 12): tag, length, and the description, whose
/// first field is the name. All stand at the end of the file.
fn onnx_names(file: &[u8], field: u8) -> Vec<String> {
    let end = &file[file.len().saturating_sub(200)..];
    let tag = field << 3 | 2;
    let name = |at: usize| {
        let length = usize::from(*end.get(at + 3)?);
        let described = end[at] == tag && end[at + 2] == 0x0A && length > 0 && usize::from(end[at + 1]) > length;
        let name = described.then(|| end.get(at + 4..at + 4 + length)).flatten()?;
        name.iter().all(u8::is_ascii_lowercase).then(|| String::from_utf8_lossy(name).into_owned())
    };
    (0..end.len()).filter_map(name).collect()
}

#[test]
fn yolact_goes_from_phantoms_to_a_judgement_a_report_and_an_onnx_file() {
    let folder = folder();
    let manifest = pictures(folder.path(), "ct");
    let [net, judged, report, onnx] =
        ["yolact", "judged", "report", "yolact.onnx"].map(|name| folder.path().join(name));
    let mut command = train();
    command.args(["train", "instance", "--net", "yolact", "--weights", "random:1", "--modality", "ct", "--side", "64"]);
    command.args(["--epochs", "1", "--batch", "2", "--smallest-lesion", "1", "--threads", "1"]);
    succeed(command.arg("--manifest").arg(&manifest).arg("--out").arg(&net));

    let mut command = train();
    command.args(["masks", "judge", "--split", "test", "--figures", "1", "--resamples", "50"]);
    let told = succeed(command.arg("--manifest").arg(&manifest).arg("--run").arg(&net).arg("--out").arg(&judged));
    assert!(told.stdout.contains("COCO's average precision"), "{}", told.stdout);
    for name in ["judgement.json", "lesions.json", "lesions.md", "figure_01_found.png", "figure_01_lesions.png"] {
        assert!(judged.join(name).exists(), "no {name}, but {:?}", names(&judged));
    }
    let drawn = image::open(judged.join("figure_01_lesions.png")).unwrap();
    assert_eq!((drawn.width(), drawn.height()), (128, 128));
    let lesions: Value = serde_json::from_slice(&std::fs::read(judged.join("lesions.json")).unwrap()).unwrap();
    assert_eq!(lesions[0]["net"], "YOLACT (ResNet50)");
    let [pictures, patients, count] = [0, 1, 2].map(|at| lesions[0]["counts"][at].as_u64().unwrap());
    assert!(pictures == 2 && patients == 2 && count > 0, "{lesions}");
    // A net of one epoch finds nothing to speak of, but the figure is there.
    for name in ["ap", "ap50", "ap75", "ar1", "ar10", "ar100"] {
        let value = lesions[0]["figures"][name]["value"].as_f64().unwrap();
        assert!((0.0..=1.0).contains(&value), "{name}: {value}");
    }

    succeed(train().arg("report").arg("--masks").arg(&judged).arg("--figures").arg(&judged).arg("--out").arg(&report));
    let page = std::fs::read_to_string(report.join("report.md")).unwrap();
    assert!(page.contains("## Lesions, one by one"), "{page}");
    let row = format!("| YOLACT (ResNet50) | 1 | CT | test | {count} | 2 | 2 | ");
    let row = page.lines().find(|line| line.starts_with(&row)).unwrap_or_else(|| panic!("no `{row}`:\n{page}"));
    assert!(row.contains(" | 1 | 64 | drawn | "), "epochs, side, encoder: {row}");

    let exported = succeed(train().arg("export").arg(&net).arg("--out").arg(&onnx));
    assert!(exported.stdout.contains("a lesion counts from a score of"), "{}", exported.stdout);
    let file = std::fs::read(&onnx).unwrap();
    assert!(file.len() > 4 * 30_000_000, "{} bytes for 30 million weights", file.len());
    assert_eq!(
        (onnx_names(&file, 11), onnx_names(&file, 12)),
        (vec!["input".to_owned()], ["boxes", "scores", "masks"].map(str::to_owned).to_vec())
    );
}
