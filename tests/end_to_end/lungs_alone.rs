//! Lungs without what lies around them: a classifier that sees these, its bundle on the device, and a student of the whole film that it teaches.

use std::path::Path;

use thorax_tests::{folder, refused, succeed, teacher, train};

use crate::{stress::read, trainer};

#[test]
fn lungs_alone_are_seen_in_training_and_on_the_device_and_teach_a_student_of_the_film() {
    let folder = folder();
    let at = |name: &str| folder.path().join(name);
    let manifest = trainer::data(folder.path());
    let segmenter = teacher("xray");
    let command = |words: &str, out: &str| {
        let mut command = train();
        command.args(words.split_whitespace()).args(["--modality", "xray", "--weights", "random:1"]);
        command.arg("--manifest").arg(&manifest).arg("--out").arg(at(out));
        command
    };
    // A line a validation picture: path, class, probability, entropy, novelty.
    let validation = |run: &str| read(&at(run).join("validation.csv"));

    refused(&mut command("train classify --lungs-alone", "none"), &["--lungs"]);
    let mut trunk = train();
    trunk.args(["features", "--modality", "xray", "--lungs-alone", "--segmenter"]).arg(&segmenter);
    refused(trunk.arg("--manifest").arg(&manifest).arg("--out").arg(at("none")), &["--lungs-alone", "--segmenter"]);
    let classify = |words: &str, out: &str| {
        let mut command = command(&format!("train classify --members 4 {words}"), out);
        command.arg("--lungs").arg(&segmenter);
        command
    };
    std::fs::write(at("refuse.csv"), "path,kind,split\nno_chest.png,not-a-chest,train\n").unwrap();
    let grey = |x: u32, y: u32| image::Luma([(128.0 + 100.0 * f64::from(x * y).sin()) as u8]);
    image::GrayImage::from_fn(224, 224, grey).save(at("no_chest.png")).unwrap();
    let refuse = |mut command: std::process::Command| {
        command.arg("--refuse").arg(at("refuse.csv"));
        command
    };
    succeed(&mut refuse(classify("--lungs-alone", "alone")));
    succeed(&mut classify("", "lungs"));
    succeed(&mut command("train classify --members 4", "films"));
    let told = ["alone", "lungs", "films"].map(validation);
    assert!(told[0] != told[1] && told[1] != told[2] && told[0] != told[2], "{told:?}");

    // Of a store of such features the same is made, if the lungs are found in what is to be refused too.
    let store = at("alone/pictures.features");
    let of_store = |mut command: std::process::Command| {
        command.arg("--features").arg(&store);
        refuse(command)
    };
    refused(
        &mut of_store(command("train classify --members 4", "none")),
        &["pictures.features", "nothing is not what these pictures were cropped with"],
    );
    succeed(&mut of_store(classify("", "stored")));
    assert_eq!(validation("stored"), told[0]);

    let key = succeed(train().args(["bundle", "keygen"]).arg(at("key"))).stdout;
    std::fs::write(at("trusted"), key).unwrap();
    let bundle = at("own/own.thorax");
    let mut build = train();
    build.args(["bundle", "build", "--stress-pictures", "0", "--despite-stress", "--weights", "random:1"]);
    build.arg("--classifier").arg(at("alone")).arg("--segmenter").arg(&segmenter).arg("--manifest").arg(&manifest);
    succeed(build.arg("--key").arg(at("key")).arg("--out").arg(&bundle));
    let seen = "the lungs that the segmenter finds, without what lies around them";
    let card = read(&at("own/CARD.md"));
    assert!(card.contains(seen), "{card}");
    let shown = succeed(train().args(["bundle", "show"]).arg(&bundle)).stdout;
    assert!(shown.contains(&format!("sees {seen}")), "{shown}");

    // The device fades the same pixels as the trainer did.
    let mut evaluate = train();
    evaluate.args(["evaluate", "--split", "val", "--bundle"]).arg(&bundle).arg("--manifest").arg(&manifest);
    evaluate.arg("--trust").arg(at("trusted")).arg("--predictions").arg(at("predictions.csv"));
    succeed(&mut evaluate);
    let by_device = read(&at("predictions.csv"));
    let (mut compared, mut apart) = (0, 0.0f64);
    for (line, unfaded) in told[0].lines().zip(told[1].lines()).skip(1) {
        let trainer: Vec<&str> = line.split(',').collect();
        let probability = |line: &str| line.split(',').nth(2).unwrap().parse::<f64>().unwrap();
        apart = apart.max((probability(line) - probability(unfaded)).abs());
        let device = by_device.lines().map(|line| line.split(',').collect::<Vec<_>>());
        let device = device.into_iter().find(|fields| fields[1] == trainer[0]).unwrap();
        let [device, trainer] = [device[7], trainer[2]].map(|p| p.parse::<f64>().unwrap());
        assert!((device - trainer).abs() < 0.01, "{line}: {device} on the device");
        compared += 1;
    }
    assert_eq!(compared, 2, "{by_device}");
    assert!(apart > 0.02, "fading hardly moves a probability, so that it could not be told from none: {told:?}");

    let distill = |teacher: &str, out: &str, lungs: Option<&Path>| {
        let words =
            "distill --frozen stride16 --copies 0 --steadiness 0 --epochs 1 --batch 4 --teacher-weights random:1";
        let mut command = command(words, out);
        command.arg("--teacher").arg(at(teacher));
        command.args(lungs.iter().flat_map(|run| [Path::new("--teacher-lungs"), run]));
        command
    };
    refused(&mut distill("alone", "none", None), &["alone", "sees the lungs", "--teacher-lungs"]);
    refused(&mut distill("films", "none", Some(&segmenter)), &["--teacher-lungs", "leave it out"]);
    assert!(!at("none").exists());
    succeed(&mut distill("alone", "student", Some(&segmenter)));
    let config = read(&at("student/config.json"));
    assert!(config.contains("\"LungsAlone\"") && config.contains("\"Film\""), "{config}");
}
