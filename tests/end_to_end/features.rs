//! `thorax-train features`: killed at any point, given the wrong thing, read by the classifier; on phantoms and weights drawn
//! from a seed.

use std::{
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    time::{Duration, Instant},
};

use serde_json::Value;
#[cfg(unix)]
use thorax_tests::signal;
use thorax_tests::{folder, names, refused, succeed, train};

const PICTURES: usize = 24;

/// Phantom films and their manifest, for this test alone.
fn films(folder: &Path) -> PathBuf {
    let films = folder.join("films");
    let count = PICTURES.to_string();
    succeed(train().arg("phantom").arg(&films).args([
        "--count",
        &count,
        "--modality",
        "xray",
        "--size",
        "96",
        "--seed",
        "5",
    ]));
    let manifest = films.join("manifest.csv");
    succeed(train().args(["data", "import"]).arg(&films).arg("--out").arg(&manifest));
    manifest
}

/// `features` of EfficientNet-Lite0, four pictures a unit.
fn features(manifest: &Path, store: &Path) -> Command {
    let mut command = train();
    command.args(["features", "--modality", "xray", "--batch", "4", "--threads", "1"]);
    command.args(["--backbone", "efficientnet-lite0", "--weights", "random:1"]);
    command.arg("--manifest").arg(manifest).arg("--out").arg(store);
    command
}

/// The header of a store, and where its data begin; `None` while there is no header.
fn header(store: &Path) -> Option<(Value, usize)> {
    let bytes = std::fs::read(store).ok()?;
    let length = u64::from_le_bytes(bytes.get(..8)?.try_into().unwrap()) as usize;
    Some((serde_json::from_slice(bytes.get(8..8 + length)?).ok()?, 8 + length))
}

/// Rows whose state is set.
fn rows_done(partial: &Path) -> usize {
    let Some((header, data)) = header(partial) else { return 0 };
    let begin = data + header["state"]["data_offsets"][0].as_u64().unwrap() as usize;
    let bytes = std::fs::read(partial).unwrap_or_default();
    bytes.get(begin..).unwrap_or_default().chunks_exact(4).take(PICTURES).filter(|state| **state != [0; 4]).count()
}

/// Waits until `when`, then kills; false when the program had ended before.
fn kill(mut child: Child, when: impl Fn() -> bool) -> bool {
    let started = Instant::now();
    while !when() && child.try_wait().unwrap().is_none() {
        assert!(started.elapsed() < Duration::from_secs(60), "nothing happened in a minute");
        std::thread::sleep(Duration::from_micros(200));
    }
    child.kill().unwrap();
    child.wait().unwrap().code().is_none()
}

#[test]
fn an_extraction_that_is_killed_again_and_again_ends_as_an_undisturbed_one() {
    let folder = folder();
    let manifest = films(folder.path());
    let [whole, killed] = ["whole.features", "killed.features"].map(|name| folder.path().join(name));
    let told = succeed(&mut features(&manifest, &whole));
    assert!(told.stdout.contains("24 pictures") && told.stdout.contains("1280 x 7 x 7 f16"), "{}", told.stdout);
    let (head, data) = header(&whole).unwrap();
    assert_eq!(head["features"]["shape"], serde_json::json!([PICTURES, 1280, 7, 7]));
    let size = data + 8 * PICTURES + PICTURES * 1280 * 49 * 2;
    assert_eq!(std::fs::metadata(&whole).unwrap().len() as usize, size);

    let partial = killed.with_extension("features.partial");
    let start = || features(&manifest, &killed).stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap();
    // Before the file is there, as soon as it is, and after so many rows and a moment.
    let mut kills = 0;
    kills += usize::from(kill(start(), || true));
    kills += usize::from(kill(start(), || partial.exists()));
    for (rows, moment) in [(0, 2), (1, 0), (1, 31), (9, 7), (13, 17), (17, 3)] {
        kills += usize::from(kill(start(), || {
            rows_done(&partial) >= rows && {
                std::thread::sleep(Duration::from_millis(moment));
                true
            }
        }));
    }
    assert!(kills >= 5, "the program was faster than the kills: {kills} of 8");
    // More or fewer loaders and threads change no bit.
    let resumed = succeed(features(&manifest, &killed).args(["--loaders", "3"]));
    assert!(resumed.stderr.contains("resumed") || !partial.exists(), "{}", resumed.stderr);
    assert!(std::fs::read(&whole).unwrap() == std::fs::read(&killed).unwrap(), "the stores differ");
    assert!(!names(folder.path()).iter().any(|name| name.ends_with(".partial")));
    let again = succeed(&mut features(&manifest, &killed));
    assert!(!again.stderr.contains("extracted"), "a whole store is not made again: {}", again.stderr);
}

#[test]
fn what_does_not_belong_together_is_refused_and_what_was_done_is_kept() {
    let folder = folder();
    let manifest = films(folder.path());
    let store = folder.path().join("xray.features");
    let partial = store.with_extension("features.partial");

    // A picture that cannot be decoded: in the manifest as it is, so that only the decoder can tell.
    let name = "phantom_xray_0013_negative.png";
    let picture = manifest.with_file_name(name);
    let sound = std::fs::read(&picture).unwrap();
    let import = || {
        std::fs::remove_file(&manifest).unwrap();
        succeed(train().args(["data", "import"]).arg(manifest.parent().unwrap()).arg("--out").arg(&manifest));
    };
    let table = std::fs::read_to_string(&manifest).unwrap();
    std::fs::write(&picture, &sound[..sound.len() / 2]).unwrap();
    refused(&mut features(&manifest, &store), &[name, "not the file that was imported", "the same command goes on"]);
    assert_eq!(rows_done(&partial), 12, "the three units before it are kept");
    import();
    let kept = std::fs::read(&partial).unwrap();
    refused(&mut features(&manifest, &store), &["manifest_sha256 is", "delete it"]);
    assert!(std::fs::read(&partial).unwrap() == kept, "a refusal changes nothing");
    refused(&mut features(&manifest, &folder.path().join("other.features")), &[name, "other.features.partial"]);
    std::fs::write(&picture, &sound).unwrap();
    std::fs::write(&manifest, &table).unwrap();

    // Two at once: the first has the file.
    let started = Instant::now();
    std::fs::write(&partial, b"").unwrap();
    let mut first = features(&manifest, &store).stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap();
    while rows_done(&partial) == 0 {
        assert!(first.try_wait().unwrap().is_none() && started.elapsed() < Duration::from_secs(60), "no first row");
        std::thread::sleep(Duration::from_micros(200));
    }
    #[cfg(unix)]
    {
        // Stopped, so that it is at work for as long as the other needs to look.
        signal(&first, libc::SIGSTOP);
        refused(&mut features(&manifest, &store), &["another process is writing", "wait for it"]);
        signal(&first, libc::SIGCONT);
    }
    assert!(first.wait().unwrap().success());
    refused(
        features(&manifest, &store).args(["--dtype", "f32"]),
        &["dtype is \"f16\", not \"f32\"", "give another name"],
    );
    let replaced = |from: &str, to: &str| {
        let mut command = train();
        let before = features(&manifest, &store);
        command.args(before.get_args().map(|word| if word == from { to.as_ref() } else { word }));
        command
    };
    refused(&mut replaced("random:1", "random:2"), &["weights_sha256 is"]);
    refused(&mut replaced("efficientnet-lite0", "efficientnet-lite1"), &["backbone is", "preprocess has other values"]);
    refused(&mut replaced("xray", "ct"), &["no labelled ct pictures"]);
    refused(&mut replaced("efficientnet-lite0", "alexnet"), &["alexnet"]);
    refused(&mut replaced("random:1", "nowhere.safetensors"), &["nowhere.safetensors"]);
    refused(features(&manifest, &store).args(["--device", "cpu,cpu"]), &["--device", "name one"]);
    refused(features(&manifest, &store).args(["--lungs", "nowhere"]), &["nowhere", "thorax-train train segment"]);

    // The classifier takes it, if it is sound and of the same pictures.
    let run_folder = folder.path().join("run");
    let classify = |store: &Path, manifest: &Path| {
        let mut command = train();
        command.args(["train", "classify", "--modality", "xray", "--members", "3", "--features"]).arg(store);
        command.arg("--manifest").arg(manifest).arg("--out").arg(&run_folder);
        command
    };
    let damaged = folder.path().join("damaged.features");
    let mut bytes = std::fs::read(&store).unwrap();
    *bytes.last_mut().unwrap() ^= 1;
    std::fs::write(&damaged, &bytes).unwrap();
    refused(&mut classify(&damaged, &manifest), &["row 23", "checksum", "extract again"]);
    std::fs::write(&damaged, &bytes[..bytes.len() - 1]).unwrap();
    refused(&mut classify(&damaged, &manifest), &["damaged.features", "describes another length"]);
    std::fs::write(&manifest, table.replace(",train,", ",val,")).unwrap();
    refused(&mut classify(&store, &manifest), &["xray.features", "other pictures, labels or splits"]);
    std::fs::write(&manifest, &table).unwrap();
    refused(
        classify(&store, &manifest).args(["--weights", "random:1"]),
        &["--features", "with --refuse, --taught or --out-of-bag, and not without them"],
    );
    refused(
        train().args(["train", "classify", "--modality", "xray", "--out", "x", "--manifest"]).arg(&manifest),
        &["--weights", "--features"],
    );
    assert!(!run_folder.exists());
    succeed(&mut classify(&store, &manifest));

    // Extracted on the way or before, the classifier is the same.
    let direct = folder.path().join("direct");
    let mut command = train();
    command.args(["train", "classify", "--modality", "xray", "--members", "3", "--weights", "random:1"]);
    succeed(command.arg("--manifest").arg(&manifest).arg("--out").arg(&direct));
    for name in ["classifier.safetensors", "outcome.json", "validation.csv", "config.json"] {
        assert!(
            std::fs::read(direct.join(name)).unwrap() == std::fs::read(run_folder.join(name)).unwrap(),
            "{name} differs"
        );
    }
}
