//! Volumes in place: NIfTI scans and their masks are imported, learnt from and judged slice by slice, without a copy on disk; and collections are
//! joined.

use std::path::{Path, PathBuf};

use thorax_tests::{folder, names, refused, succeed, train};

/// Phantom scans in a folder for each class, their masks beside, as no manifest of ours names them.
fn scans(out: &Path) -> PathBuf {
    let phantoms = out.join("phantoms");
    let options = ["--count", "12", "--modality", "ct", "--size", "64", "--seed", "4", "--formats", "nifti"];
    succeed(train().arg("phantom").arg(&phantoms).args(options));
    let scans = out.join("scans");
    std::fs::create_dir_all(scans.join("covid")).unwrap();
    std::fs::create_dir_all(scans.join("normal")).unwrap();
    for name in names(&phantoms) {
        let class = if name.contains("positive") { "covid" } else { "normal" };
        if name.ends_with(".nii.gz") {
            std::fs::rename(phantoms.join(&name), scans.join(class).join(&name)).unwrap();
        }
    }
    std::fs::rename(phantoms.join("masks"), scans.join("masks")).unwrap();
    scans
}

#[test]
fn scans_are_learnt_from_and_judged_slice_by_slice() {
    let folder = folder();
    let scans = scans(folder.path());
    let before = size(&scans);
    let dry = succeed(train().args(["data", "import", "--dry-run"]).arg(&scans));
    assert!(
        dry.stdout.contains("nothing written") && dry.stderr.contains("layout volumes: 48 NIfTI volumes"),
        "{dry:?}"
    );
    let manifest = folder.path().join("manifest.csv");
    let imported = succeed(train().args(["data", "import"]).arg(&scans).arg("--out").arg(&manifest));
    assert!(imported.stderr.contains("masks of the left lung by their names"), "{}", imported.stderr);
    let text = std::fs::read_to_string(&manifest).unwrap();
    assert!(text.contains(".nii.gz#slice=4,ct,segment,positive,covid,phantom_ct_0000"), "{text}");
    succeed(train().args(["data", "check"]).arg(&manifest));

    let run = folder.path().join("run");
    let mut command = train();
    command.args(["train", "segment", "--modality", "ct", "--side", "48", "--base-channels", "4", "--batch", "4"]);
    command.args(["--epochs", "12", "--learning-rate", "0.01", "--augmentation", "none", "--threads", "1"]);
    succeed(command.arg("--manifest").arg(&manifest).arg("--out").arg(&run));
    let judged = folder.path().join("judged");
    succeed(
        train().args(["masks", "judge", "--manifest"]).arg(&manifest).arg("--run").arg(&run).arg("--out").arg(&judged),
    );
    let pictures = std::fs::read_to_string(judged.join("pictures.csv")).unwrap();
    assert!(pictures.contains(".nii.gz#slice="), "{pictures}");
    let judgement: serde_json::Value =
        serde_json::from_str(&std::fs::read_to_string(judged.join("judgement.json")).unwrap()).unwrap();
    let text = judgement.to_string();
    assert!(text.contains("left_lung") && text.contains("hd95"), "{text}");
    let volumes = std::fs::read_to_string(judged.join("volumes.csv")).unwrap();
    assert!(
        volumes.lines().count() > 1 && volumes.starts_with("run,volume,group,source,slices,mask,dice"),
        "{volumes}"
    );

    let store = folder.path().join("slices.features");
    let mut command = train();
    command.args(["features", "--modality", "ct", "--batch", "4", "--threads", "2", "--copies", "1"]);
    command.args(["--backbone", "efficientnet-lite0", "--weights", "random:1"]);
    succeed(command.arg("--manifest").arg(&manifest).arg("--out").arg(&store));
    let classified = folder.path().join("classified");
    let mut command = train();
    command.args(["classify", "--only", "knn", "--runs", "2", "--features"]).arg(&store);
    succeed(command.arg("--out").arg(&classified));
    assert_eq!(size(&scans), before, "no copy of the slices");
}

/// Bytes of all files below a folder.
fn size(folder: &Path) -> u64 {
    let entries = std::fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path());
    entries.map(|path| if path.is_dir() { size(&path) } else { path.metadata().unwrap().len() }).sum()
}

#[test]
fn collections_are_imported_one_by_one_and_joined() {
    let folder = folder();
    let at = |name: &str| folder.path().join(name);
    for (name, seed) in [("one", "1"), ("two", "2")] {
        let options = ["--count", "12", "--modality", "xray", "--size", "96", "--seed", seed];
        succeed(train().arg("phantom").arg(at("sets").join(name)).args(options));
        let mut import = train();
        import.args(["data", "import"]).arg(at("sets").join(name));
        succeed(import.arg("--out").arg(at(&format!("{name}.csv"))));
    }
    let mut join = train();
    join.args(["data", "join"]).arg(at("one.csv")).arg(at("two.csv"));
    let joined = succeed(join.arg("--out").arg(at("all.csv")));
    // Phantoms of two folders are of one source, whose names mean the same patients.
    assert!(joined.stderr.contains("is in several manifests: a patient of the same name"), "{}", joined.stderr);
    let lines = |name: &str| std::fs::read_to_string(at(name)).unwrap().lines().count();
    // Each with its header and, as its pictures lie below, its root.
    assert_eq!(lines("all.csv") + 2, lines("one.csv") + lines("two.csv"));
    let checked = succeed(train().args(["data", "check"]).arg(at("all.csv")));
    assert!(checked.stdout.contains("no problem found"), "{}", checked.stdout);
    let mut alone = train();
    refused(alone.args(["data", "join"]).arg(at("one.csv")).arg("--out").arg(at("none.csv")), &["MANIFEST"]);
    let mut gone = train();
    gone.args(["data", "join"]).arg(at("one.csv")).arg(at("three.csv")).arg("--out").arg(at("none.csv"));
    refused(&mut gone, &["three.csv"]);
    assert!(!at("none.csv").exists());
}
