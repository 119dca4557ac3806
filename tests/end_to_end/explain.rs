//! `thorax-train explain`: from phantom films to pictures for the report; and what does not belong together is refused.

use std::{path::Path, process::Command};

use serde_json::Value;
use thorax_tests::{folder, names, refused, succeed, train};

const BACKBONE: [&str; 4] = ["--backbone", "efficientnet-lite0", "--weights", "random:1"];

/// Films, their features of drawn weights, and three runs of a machine, in `folder`.
pub(crate) fn classified(folder: &Path) {
    let films = folder.join("films");
    let phantoms = ["--count", "24", "--modality", "xray", "--size", "96", "--seed", "5"];
    succeed(train().arg("phantom").arg(&films).args(phantoms));
    let manifest = films.join("manifest.csv");
    succeed(train().args(["data", "import"]).arg(&films).arg("--out").arg(&manifest));
    let mut features = train();
    features.args(["features", "--modality", "xray"]).args(BACKBONE).arg("--manifest").arg(&manifest);
    succeed(features.arg("--out").arg(folder.join("xray.features")));
    let mut classify = train();
    classify.args(["classify", "--runs", "3", "--only", "svm-rbf", "--features"]).arg(folder.join("xray.features"));
    succeed(classify.arg("--out").arg(folder.join("run")));
}

/// `explain` with the weights `weights`, of the film `number`.
fn explain(folder: &Path, weights: &str, number: usize) -> Command {
    explain_into("out", folder, weights, number)
}

fn explain_into(out: &str, folder: &Path, weights: &str, number: usize) -> Command {
    let film = ["positive", "negative"][number % 2];
    let mut command = train();
    command.args(["explain", "--weights", weights, "--run"]).arg(folder.join("run"));
    command.arg("--features").arg(folder.join("xray.features")).arg("--out").arg(folder.join(out));
    command.arg(folder.join("films").join(format!("phantom_xray_{number:04}_{film}.png")));
    command
}

#[test]
fn films_are_explained_and_the_report_takes_the_pictures() {
    let folder = folder();
    let folder = folder.path();
    classified(folder);
    let kept = || names(&folder.join("run"));
    let before = kept();
    // The same film twice, so that names have to be told apart.
    let film = folder.join("films/phantom_xray_0000_positive.png");
    let mut command = explain(folder, "random:1", 0);
    let told = succeed(command.arg(&film).args(["--maps", "--class", "positive", "--threads", "1"]));
    assert!(told.stdout.contains("2 pictures") && told.stdout.contains("research use only"), "{}", told.stdout);
    assert_eq!(kept(), before, "the run folder is only read");

    let out = folder.join("out");
    let figures: Value = serde_json::from_slice(&std::fs::read(out.join("figures.json")).unwrap()).unwrap();
    let captions: Vec<&str> = (0..2).map(|number| figures[number]["caption"].as_str().unwrap()).collect();
    let title = figures[0]["title"].as_str().unwrap();
    assert_eq!(title, "Chest X-ray 1, efficientnet-lite0, drawn weights, SVC (RBF): Grad-CAM and heat map");
    for words in [
        "features of efficientnet-lite0",
        "drawn weights, which have seen no picture",
        "mean of 3 runs",
        "bits",
        "uncalibrated",
        "speaks for the disease",
        "Research use only",
    ] {
        assert!(captions[0].contains(words), "{words}: {}", captions[0]);
    }
    assert_eq!(captions[0], captions[1]);
    for (number, what) in ["input", "heat", "gradcam"].into_iter().enumerate() {
        let [first, second] = [0, 1].map(|picture| figures[picture]["files"][number].as_str().unwrap().to_owned());
        assert_eq!(first, format!("phantom_xray_0000_positive_{what}.png"));
        assert_eq!(second, format!("phantom_xray_0000_positive-2_{what}.png"));
        let [first, second] = [first, second].map(|file| image::open(out.join(file)).unwrap().into_rgb8());
        assert_eq!(first.dimensions(), (224, 224));
        assert_eq!(first, second, "the same picture is explained alike");
    }
    let table = std::fs::read_to_string(out.join("explained.csv")).unwrap();
    let lines: Vec<Vec<&str>> = table.lines().map(|line| line.split(',').collect()).collect();
    assert_eq!(lines[0], ["file", "probability", "entropy_bits", "class", "decision", "familiar", "quality"]);
    assert_eq!((lines.len(), lines[1][3], lines[1][6]), (3, "positive", "passed"));
    let probability: f64 = lines[1][1].parse().unwrap();
    assert!((0.0..=1.0).contains(&probability));
    assert!(out.join("phantom_xray_0000_positive_maps.safetensors").exists());

    let mut report = train();
    report.args(["report", "--resamples", "50", "--run"]).arg(folder.join("run")).arg("--figures").arg(&out);
    succeed(report.arg("--out").arg(folder.join("report")));
    let page = std::fs::read_to_string(folder.join("report/report.html")).unwrap();
    assert_eq!(page.matches("data:image/png;base64,").count(), 6);

    refused(&mut explain(folder, "random:2", 0), &["SHA-256", "not what made these features", "random:1"]);
    refused(explain(folder, "random:1", 0).args(["--runs", "4"]), &["has 3 runs of svm-rbf, not 4", "--runs 4"]);
    refused(explain(folder, "random:1", 0).args(["--classifier", "svm-polynomial"]), &["--only svm-polynomial"]);
    refused(explain(folder, "random:1", 0).args(["--classifier", "knn"]), &["knn", "thorax-train classify --only knn"]);
    refused(explain(folder, "random:1", 0).arg(folder.join("films/none.png")), &["none.png"]);
    refused(explain(folder, "random:1", 0).arg(folder.join("xray.features")), &["xray.features"]);
    // Fewer runs of one classifier, of which the others' calls keep as many as there are.
    let classify = |words: &[&str]| {
        let mut command = train();
        command.args(["classify", "--features"]).arg(folder.join("xray.features")).arg("--out").arg(folder.join("run"));
        command.args(["--runs", "3"]).args(words);
        command
    };
    succeed(&mut classify(&["--only", "svm-polynomial", "--fewer", "svm-polynomial=2"]));
    succeed(&mut classify(&["--only", "svm-rbf,knn,mlp"]));
    let mut command = explain_into("perceptron", folder, "random:1", 0);
    succeed(command.args(["--classifier", "mlp", "--runs", "2", "--class", "positive"]));
    let lines = std::fs::read_to_string(folder.join("perceptron/explained.csv")).unwrap();
    let line: Vec<&str> = lines.lines().nth(1).unwrap().split(',').collect();
    assert!(
        line[4].parse::<f64>().unwrap().is_finite() && line[5].is_empty(),
        "a logit, and no support vectors: {lines}"
    );
    // kNN has no gradient: squares of the film are greyed out.
    let occluded = folder.join("occluded");
    let mut command = explain_into("occluded", folder, "random:1", 0);
    succeed(command.args(["--classifier", "knn", "--maps", "--class", "positive"]));
    let files = [".lock", "explained.csv", "figures.json"].map(str::to_owned).into_iter();
    let files = files.chain(
        ["heat.png", "input.png", "maps.safetensors", "occlusion.png"]
            .map(|what| format!("phantom_xray_0000_positive_{what}")),
    );
    assert_eq!(names(&occluded), files.collect::<Vec<_>>(), "and no store is left");
    let figures: Value = serde_json::from_slice(&std::fs::read(occluded.join("figures.json")).unwrap()).unwrap();
    let caption = figures[0]["caption"].as_str().unwrap();
    assert!(figures[0]["title"].as_str().unwrap().contains("Occlusion"), "{figures}");
    assert!(
        caption.contains("KNN") && caption.contains("a square of a seventh of the side is greyed out"),
        "{caption}"
    );
    let lines = std::fs::read_to_string(occluded.join("explained.csv")).unwrap();
    assert!(lines.lines().nth(1).unwrap().ends_with(",positive,,,passed"), "{lines}");
    let machines = names(&folder.join("run/predictions/svm-polynomial"));
    assert_eq!(machines.len(), 2, "{machines:?}");
    refused(
        explain(folder, "random:1", 0).args(["--classifier", "svm-polynomial", "--runs", "3"]),
        &["has 2 runs of svm-polynomial, not 3", "--fewer svm-polynomial=3"],
    );
    let mut report = train();
    report.args(["report", "--resamples", "50", "--run"]).arg(folder.join("run"));
    succeed(report.arg("--out").arg(folder.join("few")));
    let page = std::fs::read_to_string(folder.join("few/report.md")).unwrap();
    assert!(page.contains("3 runs of each classifier, 2 of SVC (polynomial)"), "{page}");
    // The folder keeps it, until it is said otherwise.
    succeed(&mut classify(&["--only", "svm-polynomial"]));
    assert_eq!(names(&folder.join("run/predictions/svm-polynomial")).len(), 2);
    succeed(&mut classify(&["--only", "svm-polynomial", "--fewer", "svm-polynomial=3"]));
    assert_eq!(names(&folder.join("run/predictions/svm-polynomial")).len(), 3);
    refused(&mut classify(&["--fewer", "svm-polynomial=4"]), &["svm-polynomial=4", "3 --runs"]);
    refused(&mut classify(&["--only", "knn", "--fewer", "mlp=2"]), &["mlp=2", "--only does not name mlp"]);
    refused(&mut classify(&["--fewer", "mlp=2,mlp=1"]), &["--fewer mlp", "twice"]);
    refused(&mut classify(&["--fewer", "mlp=2", "--resample", "split"]), &["--resample split", "leave out --fewer"]);
    let configuration = folder.join("run/configuration.json");
    let text = std::fs::read_to_string(&configuration).unwrap();
    let hash = text.split("\"contents_sha256\": \"").nth(1).unwrap()[..64].to_owned();
    std::fs::write(&configuration, text.replace(&hash, &"0".repeat(64))).unwrap();
    refused(&mut explain(folder, "random:1", 0), &["not the features that the runs in"]);
    std::fs::write(&configuration, "{}").unwrap();
    refused(&mut explain(folder, "random:1", 0), &["configuration.json", "run thorax-train classify"]);
}
