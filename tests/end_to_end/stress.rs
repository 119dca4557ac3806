//! `thorax-train stress` and `probe`, and what `bundle build` makes of them: on phantoms and weights drawn from a seed.

use std::{
    path::{Path, PathBuf},
    process::Command,
};

use serde_json::Value;
use thorax_tests::{folder, names, refused, succeed, train};

use crate::trainer;

/// A bundle of nets that know nothing, its public key, and what it was made of.
pub(crate) struct Toy {
    pub(crate) manifest: PathBuf,
    classifier: PathBuf,
    pub(crate) bundle: PathBuf,
    pub(crate) trusted: PathBuf,
    build: Command,
}

impl Toy {
    pub(crate) fn new(folder: &Path) -> Self {
        let at = |name: &str| folder.join(name);
        let manifest = trainer::data(folder);
        let (classifier, segmenter) = (at("classifier"), at("segmenter"));
        let mut segment = train();
        segment.args([
            "train",
            "segment",
            "--modality",
            "xray",
            "--side",
            "32",
            "--base-channels",
            "4",
            "--epochs",
            "2",
        ]);
        succeed(segment.arg("--manifest").arg(&manifest).arg("--out").arg(&segmenter));
        let mut classify = train();
        classify.args(["train", "classify", "--modality", "xray", "--members", "4", "--weights", "random:1"]);
        succeed(classify.arg("--manifest").arg(&manifest).arg("--out").arg(&classifier));
        let key = succeed(train().args(["bundle", "keygen"]).arg(at("key"))).stdout;
        std::fs::write(at("trusted"), key).unwrap();
        let mut build = train();
        build.args(["bundle", "build", "--weights", "random:1", "--classifier"]).arg(&classifier);
        build.arg("--segmenter").arg(&segmenter).arg("--manifest").arg(&manifest);
        build.arg("--key").arg(at("key")).arg("--out").arg(at("own/own.thorax"));
        Self { manifest, classifier, bundle: at("own/own.thorax"), trusted: at("trusted"), build }
    }

    /// The same with its bundle signed, of which nobody tried what its verdicts survive.
    pub(crate) fn signed(folder: &Path) -> Self {
        let toy = Self::new(folder);
        succeed(&mut toy.build(&["--stress-pictures", "0", "--despite-stress"]));
        toy
    }

    /// `bundle build` with further options.
    pub(crate) fn build(&self, options: &[&str]) -> Command {
        let mut command = train();
        command.args(self.build.get_args()).args(options);
        command
    }

    fn stress(&self, out: &Path, options: &[&str]) -> Command {
        let mut command = train();
        command.args(["stress", "--bundle"]).arg(&self.bundle).arg("--manifest").arg(&self.manifest);
        command.arg("--trust").arg(&self.trusted).arg("--out").arg(out).args(options);
        command
    }
}

pub(crate) fn read(path: &Path) -> String {
    std::fs::read_to_string(path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

fn json(path: &Path) -> Value {
    serde_json::from_str(&read(path)).unwrap()
}

#[test]
fn a_bundle_is_tried_before_it_is_signed_and_afterwards() {
    let folder = folder();
    let toy = Toy::new(folder.path());
    let card = folder.path().join("own/CARD.md");

    // What else tells the classes apart, of the features that the classifier learnt from.
    let probed = folder.path().join("probed");
    let mut probe = train();
    probe.args(["probe", "--features"]).arg(toy.classifier.join("pictures.features"));
    probe.arg("--manifest").arg(&toy.manifest).arg("--out").arg(&probed);
    succeed(&mut probe);
    refused(&mut probe, &["probe.md", "exists already", "--force"]);
    let found = json(&probed.join("probe.json"));
    assert_eq!(found["with_test"], Value::Bool(false));
    let counted =
        read(&toy.manifest).lines().filter(|line| line.contains(",classify,") && !line.contains(",test,")).count();
    assert_eq!(found["pictures"].as_u64(), Some(counted as u64));
    // One program draws all phantoms, in one size: no source can be told, and no file.
    assert_eq!((found["sources"].as_array().map(Vec::len), &found["sources_told"]), (Some(1), &Value::Null));
    let auc = found["auc_of_features"]["value"].as_f64().unwrap();
    assert!((0.0..=1.0).contains(&auc), "{found}");
    let grown = found["by_patients"].as_array().unwrap();
    let groups: Vec<f64> = grown.iter().map(|learnt| learnt["groups"].as_f64().unwrap()).collect();
    assert!(groups.len() == 5 && groups.is_sorted() && groups[4] > groups[0] * 8.0, "{found}");
    assert!((0.0..=1.0).contains(&grown[4]["auc"]["mean"].as_f64().unwrap()), "{found}");
    assert!(read(&probed.join("probe.md")).contains("What more patients are worth"));
    // The classifier's own run has asked the same, and a bundle of it tells it.
    let beside = toy.classifier.join("probe.json");
    assert_eq!(json(&beside), found);

    refused(&mut toy.build(&["--stress-pictures", "0"]), &["--stress-pictures 0", "--despite-stress"]);
    assert!(!toy.bundle.exists() && !card.exists());
    let mut untried = toy.build(&["--stress-pictures", "0", "--despite-stress"]);
    succeed(&mut untried);
    let text = read(&card);
    let first = text.find("What its verdicts survive was not tried").expect("the card says that nobody tried");
    assert!(first < text.find("## What it is").unwrap() && text.contains("What more patients are worth"), "{text}");

    // Without it the card says that nobody asked.
    std::fs::remove_file(beside).unwrap();
    succeed(&mut toy.build(&["--stress-pictures", "0", "--despite-stress", "--force"]));
    assert!(read(&card).contains("`thorax-train probe` says"), "{text}");
    let probe_json = probed.join("probe.json");
    let mut tried = toy.build(&["--stress-pictures", "2", "--despite-stress", "--force", "--probe"]);
    succeed(tried.arg(&probe_json));
    let text = read(&card);
    let section = text.split("## What a verdict survives").nth(1).expect("the card has what a verdict survives");
    let fallen = section.contains("fewer than 90 % of the verdicts are the same");
    assert_eq!(text.contains("Its verdicts do not survive what happens to files"), fallen, "{text}");
    assert!(section.contains("| JPEG 40 |") && section.contains("| negative |"), "{section}");
    assert!(
        section.contains("## What else tells the classes apart") && section.contains("nearest neighbours"),
        "{section}"
    );
    // A bundle that keeps its verdicts needs no leave to be signed; another does.
    let mut asked = toy.build(&["--stress-pictures", "2", "--force"]);
    match fallen {
        true => refused(&mut asked, &["do not survive", "--despite-stress"]),
        false => drop(succeed(&mut asked)),
    }
    let mut other = found.clone();
    other["of"]["weights_sha256"] = "another".into();
    std::fs::write(&probe_json, other.to_string()).unwrap();
    let mut foreign = toy.build(&["--despite-stress", "--force", "--probe"]);
    refused(foreign.arg(&probe_json), &["--probe", "other features"]);

    // The same as a command of its own, which keeps what it has read.
    let out = folder.path().join("stressed");
    let options = ["--split", "val", "--kinds", "JPEG,negative,turned", "--strengths"];
    refused(&mut toy.stress(&out, &["--kinds", "fax"]), &["fax", "there is no such change", "JPEG"]);
    assert!(!out.exists());
    succeed(&mut toy.stress(&out, &options));
    assert!(
        ["stress.csv", "stress.html", "stress.json", "stress.md"]
            .iter()
            .all(|name| names(&out).contains(&(*name).into()))
    );
    assert_eq!(names(&out.join("curves")), ["JPEG.svg"]);
    let figures = json(&out.join("stress.json"));
    let pictures = figures["pictures"].as_u64().unwrap() as usize;
    let trials = figures["figures"].as_array().unwrap();
    assert_eq!(trials.len(), 1 + 4 + 1 + 2 + 1, "unchanged, JPEG, negative, turned 90 and 270, turned 180");
    assert!(pictures >= 2 && figures["masked"].as_u64() >= Some(1), "{figures}");
    assert_eq!(trials[0]["kept"]["value"].as_f64(), Some(1.0));
    assert!(trials[0]["dice"]["value"].as_f64().is_some_and(|dice| (0.0..=1.0).contains(&dice)), "{}", trials[0]);
    let table = read(&out.join("stress.csv"));
    assert_eq!(table.lines().count(), 1 + pictures * trials.len());
    assert!(!read(&out.join("stress.md")).contains("look at the test split"));

    // A changed number of what is kept comes back: it is not read again, but what is missing is.
    let kept = out.join("readings/JPEG_40.json");
    let mut readings = json(&kept);
    readings["seen"][0]["evidence"] = serde_json::json!([0.125, 0.25]);
    std::fs::write(&kept, readings.to_string()).unwrap();
    std::fs::remove_file(out.join("readings/JPEG_20.json")).unwrap();
    succeed(&mut toy.stress(&out, &options));
    let again = read(&out.join("stress.csv"));
    let of = |table: &str, strength: &str| -> Vec<String> {
        let strength = format!(",JPEG,{strength},");
        table.lines().filter(|line| line.contains(&strength)).map(Into::into).collect()
    };
    assert!(of(&again, "40")[0].ends_with(",0.125,0.25"), "{:?}", of(&again, "40"));
    assert_eq!(of(&again, "20"), of(&table, "20"));

    let one = ["--split", "test", "--pictures", "1", "--kinds", "text"];
    refused(&mut toy.stress(&out, &one), &["stressed", "another", "--out", "--force"]);
    let picture = toy.manifest.with_file_name("phantom_xray_0001_negative.png");
    succeed(toy.stress(&out, &one).arg("--force").arg("--show").arg(&picture));
    let told = read(&out.join("stress.md"));
    assert!(told.contains("written down beside its manifest: ") && told.contains("(bundle build "), "{told}");
    assert!(told.contains("phantom_xray_0001_negative.png"), "{told}");
    // What has been read is not looked at once more.
    let looks = || read(&toy.manifest.with_added_extension("looks.csv")).matches(",stress,").count();
    assert_eq!(looks(), 1);
    succeed(&mut toy.stress(&out, &one));
    assert_eq!(looks(), 1);
    assert_eq!(read(&out.join("stress.csv")).lines().count(), 1 + 2, "one picture, unchanged and with letters");
}
