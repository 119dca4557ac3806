//! `thorax-train train instance` on phantoms: nets that find single lesions.

use std::{
    path::{Path, PathBuf},
    process::{Command, Stdio},
    time::{Duration, Instant},
};

use thorax_tests::{folder, run, succeed, train};

use crate::trainer::{epochs_done, same_run};

/// Three films to learn from, and two to choose by: most of the time goes into looking for lesions on these.
fn films(folder: &Path) -> PathBuf {
    let films = folder.join("films");
    let options = ["--count", "7", "--modality", "xray", "--size", "128", "--seed", "3", "--formats", "png"];
    succeed(train().arg("phantom").arg(&films).args(options));
    let manifest = films.join("manifest.csv");
    succeed(train().args(["data", "import"]).arg(&films).arg("--out").arg(&manifest));
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
    let manifest = films(folder.path());
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
