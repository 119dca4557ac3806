//! What goes beyond all measure, what is in somebody's way, and what breaks off: each has an answer, and nothing half-done is left.

use std::{
    path::Path,
    process::{Command, Stdio},
    time::{Duration, Instant},
};

use thorax_tests::{folder, names, refused, run, succeed, train};

use crate::{explain, trainer};

/// `train segment` of a manifest, as small as can be.
fn segment(manifest: &Path, out: &Path) -> Command {
    let mut command = train();
    command.args(["train", "segment", "--modality", "xray", "--side", "32", "--base-channels", "4", "--batch", "4"]);
    command.arg("--manifest").arg(manifest).arg("--out").arg(out).args(["--threads", "1"]);
    command
}

#[test]
fn numbers_beyond_all_measure_are_refused_before_anything_is_read() {
    let folder = folder();
    let nowhere = folder.path().join("nowhere.csv");
    let out = folder.path().join("out");
    let segment = |words: &str| {
        let mut command = train();
        command.args(["train", "segment", "--modality", "xray", "--manifest"]).arg(&nowhere).arg("--out").arg(&out);
        command.args(words.split_whitespace());
        command
    };
    for (words, told) in [
        ("--threads 1000000", &["--threads", "1 to 1024"][..]),
        ("--threads 0", &["--threads", "1 to 1024"]),
        ("--loaders 1000000", &["--loaders", "1 to 1024"]),
        ("--epochs 0", &["--epochs", "above 0"]),
        ("--epochs 1000000000", &["--epochs", "100000"]),
        ("--batch 1000000000", &["--batch", "4096"]),
        ("--side 1000000", &["--side", "1024"]),
        ("--net unet --blocks 8 --base-channels 512 --side 1024 --batch 4096", &["MiB are free", "--base-channels"]),
    ] {
        refused(&mut segment(words), told);
    }
    refused(segment("").env("RAYON_NUM_THREADS", "1000000"), &["RAYON_NUM_THREADS=1000000", "1 to 1024"]);
    refused(train().args(["phantom", "--count", "99999999999"]).arg(&out), &["--count", "100000"]);
    let classify = || {
        let mut command = train();
        command.args(["classify", "--features"]).arg(&nowhere).arg("--out").arg(&out);
        command
    };
    refused(classify().args(["--threads", "1000000"]), &["--threads", "1 to 1024"]);
    refused(classify().args(["--runs", "4000000000"]), &["--runs", "10000"]);
    for (words, told) in
        [("--fewer knn", "CLASSIFIER=N"), ("--fewer knn=0", "1 or more"), ("--fewer knm=3", "none of svm-polynomial, ")]
    {
        refused(classify().args(words.split(' ')), &["--fewer", told]);
    }
    refused(
        train().args(["report", "--resamples", "4000000000", "--run", "r", "--out", "o"]),
        &["--resamples", "1000000"],
    );
    assert!(names(folder.path()).is_empty(), "nothing is written: {:?}", names(folder.path()));
}

#[test]
fn more_normal_pictures_than_there_are_are_refused() {
    let folder = folder();
    let manifest = trainer::data(folder.path());
    refused(
        segment(&manifest, &folder.path().join("run")).args(["--healthy", "100000"]),
        &["--healthy 100000", "pictures of class normal", "at most"],
    );
}

#[test]
fn a_users_mistake_has_no_stack_trace() {
    for variable in ["RUST_BACKTRACE", "RUST_LIB_BACKTRACE"] {
        for value in ["1", "full"] {
            let told = run(train().args(["bundle", "show", "no-such.thorax"]).env(variable, value)).stderr;
            assert!(told.starts_with("Error: no-such.thorax"), "{told}");
            assert!(told.lines().count() == 1 && !told.to_lowercase().contains("backtrace"), "{told}");
        }
    }
}

#[test]
#[cfg(unix)]
fn a_key_is_whole_or_not_there_and_never_replaced() {
    let folder = folder();
    let keys = folder.path().join("keys");
    std::fs::create_dir(&keys).unwrap();
    let key = keys.join("signing.key");
    // A disk that takes no byte: of all processes that `sh` starts, no file may grow.
    let program = train().get_program().to_owned();
    let full = |words: &[&str]| {
        let mut command = Command::new("sh");
        command.args(["-c", "ulimit -f 0; trap '' XFSZ; exec \"$0\" \"$@\""]).arg(&program).args(words);
        command
    };
    let path = key.to_str().unwrap();
    refused(&mut full(&["bundle", "keygen", path]), &["signing.key", "disk has room"]);
    assert!(names(&keys).is_empty(), "{:?}", names(&keys));
    // Its public half is lost.
    if let Ok(lost) = std::fs::File::options().write(true).open("/dev/full") {
        let mut keygen = train();
        let keygen = keygen.args(["bundle", "keygen", path]).stdout(lost).stderr(Stdio::piped());
        let output = keygen.spawn().unwrap().wait_with_output().unwrap();
        let told = String::from_utf8_lossy(&output.stderr);
        assert!(!output.status.success() && told.contains("no key was made"), "{told}");
        assert!(names(&keys).is_empty(), "{:?}", names(&keys));
    }
    succeed(train().args(["bundle", "keygen", path]));
    let before = std::fs::read(&key).unwrap();
    refused(train().args(["bundle", "keygen", path]), &["signing.key", "never overwritten"]);
    assert!(std::fs::read(&key).unwrap() == before && names(&keys) == ["signing.key"]);
    // The same of what other commands write.
    let phantoms = folder.path().join("phantoms");
    let words = ["phantom", phantoms.to_str().unwrap(), "--count", "1", "--size", "64", "--modality", "ct"];
    refused(&mut full(&words), &["phantoms", "disk has room"]);
    let left: Vec<String> = names(&phantoms).into_iter().filter(|name| name != "masks").collect();
    assert!(left.is_empty() && names(&phantoms.join("masks")).is_empty(), "{left:?}");
}

#[test]
#[cfg(unix)]
fn output_that_nobody_takes_is_no_panic() {
    let Ok(full) = std::fs::File::options().write(true).open("/dev/full") else { return };
    let mut command = train();
    let command = command.args(["backbones"]).stdout(full).stderr(Stdio::piped());
    let output = command.spawn().unwrap().wait_with_output().unwrap();
    let told = String::from_utf8_lossy(&output.stderr);
    assert!(!output.status.success() && !told.contains("panicked") && told.starts_with("Error: "), "{told}");
}

#[test]
fn two_processes_do_not_share_a_run() {
    let folder = folder();
    let manifest = trainer::data(folder.path());
    let out = folder.path().join("run");
    let long = || {
        let mut command = segment(&manifest, &out);
        command.args(["--epochs", "5000"]);
        command
    };
    let mut first = long().stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap();
    let started = Instant::now();
    // Its first epoch is told in `epochs.csv` before there is a checkpoint to go on from.
    while !out.join("latest.safetensors").exists() {
        assert!(first.try_wait().unwrap().is_none(), "it ended before its first checkpoint");
        assert!(started.elapsed() < Duration::from_secs(120), "no checkpoint in two minutes");
        std::thread::sleep(Duration::from_millis(5));
    }
    let process = format!("process {}", first.id());
    refused(&mut long(), &["run", &process, "wait for its end"]);
    first.kill().unwrap();
    first.wait().unwrap();
    // What it had been writing is no part of the run, and is put away by the next.
    std::fs::write(out.join(".thorax-Ab12cD.part"), "half a checkpoint").unwrap();
    let done = std::fs::read_to_string(out.join("epochs.csv")).unwrap().lines().count() - 1;
    let next = succeed(long().args(["--stop-after", &(done + 1).to_string()]));
    assert!(next.stderr.contains("half-written") && next.stderr.contains("resumed"), "{}", next.stderr);
    assert!(!names(&out).iter().any(|name| name.ends_with(".part")), "{:?}", names(&out));
}

#[test]
fn nothing_is_written_over_unasked() {
    let folder = folder();
    let at = |name: &str| folder.path().join(name);
    for name in ["a.thorax", "CARD.md", "net.onnx", "manifest.csv"] {
        std::fs::write(at(name), name).unwrap();
    }
    let build = |out: &str| {
        let mut command = train();
        command.args([
            "bundle",
            "build",
            "--weights",
            "random:1",
            "--classifier",
            "c",
            "--segmenter",
            "s",
            "--key",
            "k",
        ]);
        command.arg("--manifest").arg(at("manifest.csv")).arg("--out").arg(at(out));
        command
    };
    refused(&mut build("a.thorax"), &["a.thorax", "exists already", "--force"]);
    // The card of another bundle.
    refused(&mut build("b.thorax"), &["CARD.md", "exists already", "--force"]);
    refused(build("CARD.md").arg("--force"), &["CARD.md", "give the bundle another"]);
    let told = run(build("a.thorax").arg("--force"));
    assert!(told.code == 1 && !told.stderr.contains("exists already"), "it goes on to the key: {}", told.stderr);
    refused(train().args(["export", "run", "--out"]).arg(at("net.onnx")), &["net.onnx", "exists already", "--force"]);
    for option in ["--predictions", "--pixels"] {
        let mut evaluate = train();
        evaluate.args(["evaluate", "--bundle", "models/ct/thorax-ct.thorax", "--manifest"]).arg(at("manifest.csv"));
        refused(evaluate.arg(option).arg(at("manifest.csv")), &["manifest.csv", "exists already", "--force"]);
    }
    for name in ["a.thorax", "CARD.md", "net.onnx", "manifest.csv"] {
        assert_eq!(std::fs::read_to_string(at(name)).unwrap(), name);
    }
    assert_eq!(names(folder.path()).len(), 4, "{:?}", names(folder.path()));
}

#[test]
fn memory_that_does_not_suffice_is_said() {
    let folder = folder();
    explain::classified(folder.path());
    let classify = |memory: &str, kind: &str| {
        let mut command = train();
        command.args(["classify", "--runs", "2", "--memory", memory, "--only", kind, "--features"]);
        command
            .arg(folder.path().join("xray.features"))
            .arg("--out")
            .arg(folder.path().join(format!("{kind}-{memory}")));
        command
    };
    for kind in ["svm-rbf", "knn", "naive-bayes", "mlp", "random-forest", "adaboost", "xgboost"] {
        refused(&mut classify("1", kind), &["--memory allows 1 MiB", "allow more"]);
    }
    // XGBoost takes more than the others, of 16 films of 62,720 columns some 140 MiB.
    refused(&mut classify("140", "xgboost"), &["XGBoost's matrices", "--memory allows 140 MiB"]);
    succeed(&mut classify("1000", "knn"));
}
