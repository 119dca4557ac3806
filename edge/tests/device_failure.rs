//! A bundle that is signed and trusted, and does not work: the device says so and stops, instead of refusing the pictures.
#![allow(clippy::unwrap_used, reason = "a test may fail by panic")]

use std::{
    path::{Path, PathBuf},
    process::{Command, Output},
};

use thorax_engine::trust::trusted_keys;
use thorax_phantom::{Format, ModalityChoice, PhantomArgs, generate_files};
use thorax_shared::bundle::{Bundle, Limits, Manifest, PartSource, SecretKey, write};

/// The shipped bundle for films, changed and signed anew, and the file of keys that trusts it.
fn bundle(folder: &Path, change: impl FnOnce(&mut Manifest, &mut Vec<(String, Vec<u8>)>)) -> [PathBuf; 2] {
    let shipped = Path::new(env!("CARGO_MANIFEST_DIR")).join("../models/xray/thorax-xray.thorax");
    let bytes = std::fs::read(shipped).unwrap();
    let whole = Bundle::read(&bytes, &trusted_keys(None).unwrap(), &Limits::default()).unwrap();
    let mut manifest = Manifest { name: "thorax-broken".into(), ..whole.manifest().clone() };
    let mut parts: Vec<(String, Vec<u8>)> =
        whole.parts().map(|(entry, bytes)| (entry.name.to_string(), bytes.to_vec())).collect();
    change(&mut manifest, &mut parts);
    let sources: Vec<PartSource<'_>> = whole
        .parts()
        .zip(&parts)
        .map(|((entry, _), (name, bytes))| PartSource { name, kind: entry.kind, bytes })
        .collect();
    let key = SecretKey::from_seed(&mut [9; 32]);
    let [bundle, keys] = ["broken.thorax", "trusted.keys"].map(|name| folder.join(name));
    std::fs::write(&bundle, write(manifest, &sources, &key).unwrap()).unwrap();
    std::fs::write(&keys, format!("{} the test's own\n", key.public_key())).unwrap();
    [bundle, keys]
}

/// Screens `files` with `bundle`; masks go to `folder/found`, panels to `folder/screens`.
fn screen(folder: &Path, [bundle, keys]: &[PathBuf; 2], files: &[PathBuf]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_thorax-edge"))
        .args(["screen", "--json", "--bundle"])
        .arg(bundle)
        .arg("--trust")
        .arg(keys)
        .arg("--masks")
        .arg(folder.join("found"))
        .arg("--display")
        .arg(folder.join("screens"))
        .args(files)
        .output()
        .unwrap()
}

/// One small phantom of each kind that was asked for.
fn phantoms(out: &Path, modality: ModalityChoice, format: Format) {
    let (out, formats) = (out.to_owned(), vec![format]);
    generate_files(&PhantomArgs { out, count: 1, seed: 7, modality, size: Some(256), formats }).unwrap();
}

fn names(folder: &Path) -> Vec<String> {
    let entries = std::fs::read_dir(folder).unwrap();
    entries.map(|entry| entry.unwrap().file_name().to_string_lossy().into_owned()).collect()
}

/// A bundle changed so must end the program at the film, which comes between a file that is no picture and another film, and
/// the message must say all of `words`.
fn assert_stops(change: impl FnOnce(&mut Manifest, &mut Vec<(String, Vec<u8>)>), words: &[&str]) {
    let folder = tempfile::tempdir().unwrap();
    let at = folder.path();
    phantoms(at, ModalityChoice::Xray, Format::Png);
    let film = at.join("phantom_xray_0000_positive.png");
    let notes = at.join("notes.txt");
    std::fs::write(&notes, "no picture").unwrap();

    let run = screen(at, &bundle(at, change), &[notes, film.clone(), film.clone()]);
    let said = String::from_utf8(run.stderr).unwrap();
    let told = String::from_utf8(run.stdout).unwrap();
    assert_eq!(run.status.code(), Some(3), "{said}{told}");
    assert_eq!(told.lines().count(), 1, "the file that is no picture, and nothing else: {told}");
    assert!(told.contains("notes.txt") && told.contains("a text file"), "{told}");
    let everywhere = ["thorax-broken ", &*film.display().to_string(), ": install "];
    for word in words.iter().chain(&everywhere) {
        assert!(said.contains(word), "`{word}` not said: {said}");
    }
    assert!(!said.contains("panicked"), "{said}");
    assert_eq!(names(&at.join("found")), [""; 0], "no mask of what was not read");
    assert_eq!(names(&at.join("screens")), ["notes.txt.png"], "no panel either");
}

#[test]
fn a_graph_that_is_none() {
    let garbage = |graph: &'static str| {
        move |manifest: &mut Manifest, parts: &mut Vec<(String, Vec<u8>)>| {
            let part = match graph {
                "classifier" => &manifest.classifier.graph.part,
                _ => &manifest.segmenter.as_ref().unwrap().graph.part,
            };
            let (_, bytes) = parts.iter_mut().find(|(name, _)| name == part.as_str()).unwrap();
            *bytes = b"no ONNX graph at all".to_vec();
        }
    };
    assert_stops(garbage("classifier"), &["classifier", "broken.thorax", "made for this version"]);
    assert_stops(garbage("segmenter"), &["segmenter", "broken.thorax", "made for this version"]);
}

#[test]
fn a_graph_that_is_none_ends_the_appliance() {
    let folder = tempfile::tempdir().unwrap();
    let at = folder.path();
    let [bundle, keys] = bundle(at, |manifest, parts| {
        let (_, bytes) = parts.iter_mut().find(|(name, _)| name == manifest.classifier.graph.part.as_str()).unwrap();
        *bytes = b"no ONNX graph at all".to_vec();
    });
    let incoming = at.join("incoming");
    phantoms(&incoming, ModalityChoice::Xray, Format::Png);
    let profile = format!(
        "[intake]\naddress = \"127.0.0.1:0\"\n[status]\naddress = \"127.0.0.1:0\"\n[journal]\nquiet_seconds = 1\n\
         reserve_bytes = 16777216\n[screening]\nbundles = [{bundle:?}]\ntrust = {keys:?}\n\
         [[folders]]\nname = \"incoming\"\npath = {incoming:?}\nsettle_seconds = 1\n"
    );
    std::fs::write(at.join("profile.toml"), profile).unwrap();
    let run = Command::new(env!("CARGO_BIN_EXE_thorax-edge"))
        .args(["serve", "--board"])
        .arg(at)
        .arg("--data")
        .arg(at.join("data"))
        .output()
        .unwrap();
    let said = String::from_utf8(run.stderr).unwrap();
    assert_eq!(run.status.code(), Some(3), "{said}");
    for word in ["thorax-edge: the classifier of bundle thorax-broken", "broken.thorax", "made for this version"] {
        assert!(said.contains(word), "`{word}` not said: {said}");
    }
    assert!(!said.contains("panicked") && !at.join("data/running.json").exists(), "{said}");
}

#[test]
fn a_graph_of_another_input() {
    // The graph is sound; the recipe's pictures are of another size than it takes.
    let change = |manifest: &mut Manifest, _: &mut Vec<(String, Vec<u8>)>| {
        manifest.classifier.graph.preprocess.input_side = 16;
    };
    assert_stops(change, &["classifier", "broken.thorax", "made for this version"]);
}

#[test]
fn no_bundle_for_a_kind_of_image_is_the_row_of_that_image() {
    let folder = tempfile::tempdir().unwrap();
    let at = folder.path();
    phantoms(at, ModalityChoice::Both, Format::Dicom);
    let files = ["ct", "xray"].map(|modality| at.join(format!("phantom_{modality}_0000_positive.dcm")));
    let run = screen(at, &bundle(at, |_, _| ()), &files);
    assert_eq!(run.status.code(), Some(1));
    let rows: Vec<serde_json::Value> =
        String::from_utf8(run.stdout).unwrap().lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    assert_eq!(rows[0]["cause"], "no bundle for ct images is loaded");
    assert_eq!(rows[0]["remedy"], "give one with --bundle");
    assert_eq!(rows[0]["reason"], "no bundle for ct images is loaded: give one with --bundle");
    assert_eq!(rows[1]["modality"], "xray");
    assert!(rows[1]["bundle"].as_str().unwrap().starts_with("thorax-broken "), "{}", rows[1]);
}
