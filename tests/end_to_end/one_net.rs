//! A segmenter as the trunk of a classifier: one net in the bundle, run once a picture.

use std::path::Path;

use thorax_tests::{edge, folder, number, refused, run, shipped, succeed, teacher, text, train};

use crate::trainer::data;

#[test]
fn a_segmenter_is_the_trunk_of_a_classifier_and_the_device_runs_it_once() {
    let folder = folder();
    let at = |name: &str| folder.path().join(name);
    let manifest = data(folder.path());
    let classify = |options: &[&str], segmenter: &Path, out: &str| {
        let mut command = train();
        command.args(["train", "classify", "--modality", "xray", "--members", "4", "--manifest"]).arg(&manifest);
        command.args(options).arg("--segmenter").arg(segmenter).arg("--out").arg(at(out));
        command
    };
    // It takes the place of a backbone, and is one for these pictures and in real numbers.
    refused(
        &mut classify(&["--backbone", "efficientnet-lite0"], &teacher("xray"), "none"),
        &["--segmenter", "--backbone"],
    );
    refused(&mut classify(&[], &teacher("ct"), "none"), &["ct pictures", "give a run of xray"]);
    refused(&mut classify(&[], &shipped("xray"), "none"), &["8-bit integers"]);
    succeed(&mut classify(&[], &teacher("xray"), "heads"));

    let key = succeed(train().args(["bundle", "keygen"]).arg(at("key"))).stdout;
    std::fs::write(at("trusted"), key).unwrap();
    let bundle = at("one.thorax");
    let mut build = train();
    build.args(["bundle", "build", "--stress-pictures", "2", "--despite-stress", "--classifier"]).arg(at("heads"));
    build.arg("--manifest").arg(&manifest).arg("--key").arg(at("key")).arg("--out").arg(&bundle);
    succeed(build.arg("--segmenter").arg(teacher("xray")));
    let shown = succeed(train().args(["bundle", "show"]).arg(&bundle)).stdout;
    let parts: Vec<&str> = shown.lines().filter(|line| line.starts_with("part ")).collect();
    assert!(parts.len() == 2 && parts[0].starts_with("part net.onnx"), "{shown}");
    let card = std::fs::read_to_string(at("CARD.md")).unwrap();
    assert!(card.contains("what the segmenter (thorax-xray 0.5.0) sees, frozen"), "{card}");

    // Candle and the device agree, and what was told of the validation pictures is what the device says of them.
    let mut verify = train();
    verify.args(["bundle", "verify"]).arg(&bundle).arg("--manifest").arg(&manifest).arg("--trust").arg(at("trusted"));
    succeed(&mut verify);
    let validation = std::fs::read_to_string(at("heads/validation.csv")).unwrap();
    let screen = |bundle: &Path, picture: &Path| {
        let mut command = edge();
        command.args(["screen", "--json", "--modality", "xray", "--trust"]).arg(at("trusted"));
        run(command.arg("--bundle").arg(bundle).arg(picture)).rows().remove(0)
    };
    let mut read = 0;
    for line in validation.lines().skip(1) {
        let fields: Vec<&str> = line.split(',').collect();
        let row = screen(&bundle, &manifest.with_file_name(fields[0]));
        if text(&row, "verdict") == "rejected" {
            continue;
        }
        read += 1;
        let trained: f64 = fields[2].parse().unwrap();
        assert!((number(&row, "probability") - trained).abs() < 0.01, "{row}: {trained} in training");
    }
    assert!(read > 0, "{validation}");

    // In integers it is one graph too; another segmenter cannot take its own's place.
    let quantize = |out: &str| {
        let mut command = train();
        command.args(["quantize", "--pictures", "4", "--sensitivity-pictures", "0", "--no-comparison", "--bundle"]);
        command.arg(&bundle).arg("--trust").arg(at("trusted")).arg("--manifest").arg(&manifest);
        command.arg("--key").arg(at("key")).arg("--out").arg(at(out));
        command
    };
    refused(quantize("none.thorax").arg("--segmenter").arg(teacher("xray")), &["maps of its own segmenter"]);
    succeed(&mut quantize("integers.thorax"));
    let sizes = [&bundle, &at("integers.thorax")].map(|file| std::fs::metadata(file).unwrap().len());
    assert!(sizes[1] < sizes[0], "{sizes:?}");
    let first = validation.lines().nth(1).and_then(|line| line.split(',').next()).unwrap();
    let row = screen(&at("integers.thorax"), &manifest.with_file_name(first));
    assert!(["positive", "negative", "refer", "rejected"].contains(&text(&row, "verdict")), "{row}");
}
