//! `thorax-train quantize`: from a bundle of real numbers to one of integers, which the device then runs.

use std::path::Path;

use thorax_tests::{edge, folder, refused, shipped, succeed, train};

use crate::stress::{Toy, read};

#[test]
fn a_bundle_of_integers_is_fine_tuned_signed_and_run() {
    let folder = folder();
    let at = |name: &str| folder.path().join(name);
    let toy = Toy::signed(folder.path());
    let out = at("integers.thorax");
    let quantize = |options: &[&str]| {
        let mut command = train();
        command.args(["quantize", "--pictures", "4", "--sensitivity-pictures", "1", "--bundle"]).arg(&toy.bundle);
        command.arg("--trust").arg(&toy.trusted).arg("--manifest").arg(&toy.manifest);
        command.arg("--key").arg(at("key")).arg("--out").arg(&out).args(options);
        command
    };
    let runs = at("runs");
    let runs = runs.to_str().unwrap();
    let fine_tune = ["--fine-tune", runs, "--learn-from", "4", "--choose-by", "2", "--batch", "2", "--copies", "1"];
    let tuned = |more: &[&str]| quantize(&[&fine_tune, more].concat());

    refused(&mut quantize(&["--epochs", "2"]), &["--epochs", "--fine-tune"]);
    refused(&mut tuned(&["--keep-float", "lungs/n3"]), &["lungs/n3", "classifier/NAME"]);
    refused(&mut tuned(&["--keep-float", "segmenter/n999"]), &["segmenter/n999", "the report lists them"]);
    assert!(!out.exists());

    succeed(&mut tuned(&["--epochs", "2"]));
    let report = read(&at("integers.thorax.md"));
    for words in [
        "## The classifier in integers",
        "## The segmenter in integers",
        "| output | before | after |",
        "| logits |",
        "QLinearConv",
        ", val split",
        "| figure | thorax-xray 0.1.0 | this bundle, in integers |",
    ] {
        assert!(report.contains(words), "{words}: {report}");
    }
    assert_eq!(read(&at("runs/segmenter/epochs.csv")).lines().count(), 1 + 2);

    // It is a bundle like any other, and names what it was made of.
    let shown = succeed(train().args(["bundle", "show"]).arg(&out)).stdout;
    assert!(shown.contains("-int8"), "{shown}");
    let film = toy.manifest.with_file_name("phantom_xray_0001_negative.png");
    let mut screen = edge();
    screen.args(["screen", "--json", "--bundle"]).arg(&out).arg("--trust").arg(&toy.trusted).arg(&film);
    succeed(&mut screen);
    // candle has no integers.
    let mut verify = train();
    verify.args(["bundle", "verify"]).arg(&out).arg("--manifest").arg(&toy.manifest).arg("--trust").arg(&toy.trusted);
    refused(&mut verify, &["integers", "quantized.py"]);

    // What was trained is not trained again, and other settings are another run.
    let before = std::fs::read(at("runs/classifier/best.safetensors")).unwrap();
    refused(&mut tuned(&["--epochs", "2"]), &["integers.thorax", "exists already"]);
    succeed(&mut tuned(&["--epochs", "2", "--force", "--no-comparison", "--graphs", "classifier"]));
    assert_eq!(before, std::fs::read(at("runs/classifier/best.safetensors")).unwrap());
    refused(&mut tuned(&["--epochs", "3", "--force"]), &["runs/classifier", "another configuration", "--fine-tune"]);
}

/// A small segmenter learns what a larger one draws, takes its place in the bundle, and the card says what it learnt from.
#[test]
fn a_segmenter_that_learnt_from_the_bundles_takes_its_place() {
    let folder = folder();
    let at = |name: &str| folder.path().join(name);
    let toy = Toy::signed(folder.path());
    let teacher = at("segmenter");
    let student = |options: &[&str]| {
        let mut command = train();
        command.args([
            "train",
            "segment",
            "--modality",
            "xray",
            "--net",
            "unet",
            "--side",
            "16",
            "--base-channels",
            "2",
        ]);
        command.args(["--epochs", "2", "--copies", "1", "--keep-last", "--manifest"]).arg(&toy.manifest);
        command.arg("--out").arg(at("student")).args(options);
        command
    };
    let from = teacher.to_str().unwrap();
    refused(&mut student(&["--teacher", from]), &["--taught"]);
    refused(&mut student(&["--taught", "3"]), &["--teacher"]);
    succeed(&mut student(&["--teacher", from, "--taught", "3", "--stop-after", "1"]));
    succeed(&mut student(&["--teacher", from, "--taught", "3"]));
    refused(&mut student(&["--teacher", from, "--taught", "4"]), &["student", "another configuration"]);
    let config = read(&at("student/config.json"));
    assert!(config.contains("\"taught\"") && config.contains(from), "{config}");

    let out = at("small.thorax");
    let quantize = |segmenter: &str| {
        let mut command = train();
        command.args(["quantize", "--pictures", "4", "--sensitivity-pictures", "0", "--bundle"]).arg(&toy.bundle);
        command.arg("--trust").arg(&toy.trusted).arg("--manifest").arg(&toy.manifest).arg("--key").arg(at("key"));
        command.args([
            "--model-version",
            "0.2.0",
            "--stress-pictures",
            "2",
            "--despite-stress",
            "--test",
            "--segmenter",
        ]);
        command.arg(at(segmenter)).arg("--out").arg(&out);
        command
    };
    refused(&mut quantize("classifier"), &["classifier", "segmentation run"]);
    let before = std::fs::metadata(&toy.bundle).unwrap().len();
    succeed(&mut quantize("student"));
    assert!(std::fs::metadata(&out).unwrap().len() < before);
    let shown = succeed(train().args(["bundle", "show", "--card"]).arg(&out)).stdout;
    for words in [
        "# Model card: thorax-xray 0.2.0",
        "with the new segmenter, in real numbers",
        "were drawn for each epoch, with the probabilities that",
        "## What a verdict survives",
        "## Figures",
        "The card of the bundle that it was made of",
    ] {
        assert!(shown.contains(words), "{words}: {shown}");
    }
    let film = toy.manifest.with_file_name("phantom_xray_0001_negative.png");
    let screen = |bundle: &Path| {
        let mut screen = edge();
        screen.args(["screen", "--json", "--bundle"]).arg(bundle).arg("--trust").arg(&toy.trusted).arg(&film);
        succeed(&mut screen).stdout
    };
    screen(&out);

    // Its segmenter of integers is lent to another bundle as it is.
    let lent = at("lent.thorax");
    let lend = |from: &Path| {
        let mut command = train();
        command.args(["quantize", "--pictures", "4", "--sensitivity-pictures", "0", "--bundle"]).arg(&toy.bundle);
        command.arg("--trust").arg(&toy.trusted).arg("--manifest").arg(&toy.manifest).arg("--key").arg(at("key"));
        command.args(["--model-version", "0.3.0", "--segmenter-of"]).arg(from).arg("--out").arg(&lent);
        command
    };
    refused(&mut lend(&toy.bundle), &["real numbers", "thorax-train quantize"]);
    refused(&mut lend(&shipped("ct")), &["thorax-ct.thorax", "ct pictures", "xray"]);
    succeed(&mut lend(&out));
    let parts = |bundle: &Path, out: &str| {
        succeed(train().args(["bundle", "show", "--extract"]).arg(at(out)).arg(bundle));
        std::fs::read(at(out).join("segmenter.onnx")).unwrap()
    };
    assert!(parts(&out, "a") == parts(&lent, "b"), "to the byte");
    assert!(read(&at("b/card.md")).contains("- Segmenter: that of thorax-xray 0.2.0, unchanged"));
    screen(&lent);
}
