//! What a bundle calls positive stands on the panel, in the table and in JSON; COVID-19 where it names no disease.
#![allow(clippy::unwrap_used, clippy::panic, reason = "a test may fail by panic")]

use std::{fs, path::Path, process::Command};

use serde_json::{Value, json};
use thorax_engine::trust::trusted_keys;
use thorax_phantom::{Format, ModalityChoice, PhantomArgs, generate_files};
use thorax_shared::bundle::{Bundle, Disease, Limits, Name, PartSource, SecretKey, write};

/// A disease with these words, code and meaning, of SNOMED CT.
fn disease([words, code, meaning]: [&str; 3]) -> Disease {
    let name = |text| Name::try_from(text).unwrap();
    Disease { words: name(words), scheme: name("SCT"), code: name(code), meaning: name(meaning) }
}

/// The shipped bundle for films with this disease in place of its own, signed by `key`.
fn bundle(disease: Option<Disease>, key: &SecretKey) -> Vec<u8> {
    let shipped = Path::new(env!("CARGO_MANIFEST_DIR")).join("../models/xray/thorax-xray.thorax");
    let bytes = fs::read(shipped).unwrap();
    let whole = Bundle::read(&bytes, &trusted_keys(None).unwrap(), &Limits::default()).unwrap();
    let mut manifest = whole.manifest().clone();
    manifest.extension.disease = disease;
    let parts = whole.parts().map(|(entry, bytes)| PartSource { name: &entry.name, kind: entry.kind, bytes });
    write(manifest, &parts.collect::<Vec<_>>(), key).unwrap()
}

/// What is told of a film: the panel's file, the JSON, and the table.
fn told(disease: Option<Disease>) -> (Vec<u8>, Value, String) {
    let folder = tempfile::tempdir().unwrap();
    let at = |name: &str| folder.path().join(name);
    let key = SecretKey::from_seed(&mut [9; 32]);
    fs::write(at("own.keys"), format!("{} the test's own\n", key.public_key())).unwrap();
    fs::write(at("named.thorax"), bundle(disease, &key)).unwrap();
    let phantom = PhantomArgs {
        out: folder.path().to_owned(),
        count: 1,
        seed: 7,
        modality: ModalityChoice::Xray,
        size: Some(512),
        formats: vec![Format::Png],
    };
    generate_files(&phantom).unwrap();
    let screen = |options: &[&str]| {
        let mut command = Command::new(env!("CARGO_BIN_EXE_thorax-edge"));
        command.current_dir(folder.path()).arg("screen").args(options);
        command.args(["--bundle", "named.thorax", "--trust", "own.keys", "phantom_xray_0000_positive.png"]);
        let output = command.output().unwrap();
        assert!(output.status.success(), "{output:?}");
        String::from_utf8(output.stdout).unwrap()
    };
    let row = serde_json::from_str(&screen(&["--json", "--display", "panel.png"])).unwrap();
    (fs::read(at("panel.png")).unwrap(), row, screen(&[]))
}

#[test]
fn a_disease_is_named_wherever_a_verdict_is_shown() {
    let tuberculosis = ["tuberculosis", "56717001", "Tuberculosis"];
    let (panel, row, table) = told(Some(disease(tuberculosis)));
    assert_eq!(row["disease"], "tuberculosis");
    assert_eq!(row["disease_code"], json!({ "scheme": "SCT", "code": "56717001", "meaning": "Tuberculosis" }));
    assert!(table.contains(": positive means tuberculosis, negative without it.\n"), "{table}");
    // But for the words all is alike, and so it is they that differ on the panel.
    let [_, code, meaning] = tuberculosis;
    assert_ne!(told(Some(disease(["silicosis", code, meaning]))).0, panel, "the words are on the panel");
    assert_eq!(told(Some(disease(["tuberculosis", "1", "Another code"]))).0, panel, "the code is not");
}

#[test]
fn where_no_disease_is_named_it_is_covid_19() {
    let (panel, row, table) = told(None);
    assert_eq!(row["disease"], "COVID-19");
    assert_eq!(row["disease_code"], json!({ "scheme": "SCT", "code": "840539006", "meaning": "COVID-19" }));
    assert!(table.contains(": positive means COVID-19, negative without it.\n"), "{table}");
    assert_eq!(told(Some(disease(["COVID-19", "840539006", "COVID-19"]))).0, panel);
}
