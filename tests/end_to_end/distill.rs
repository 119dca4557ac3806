//! `train backbone` and `distill`: a backbone learns from labels, a student from what heads on it say, and a bundle is made of the student.

use std::path::Path;

use thorax_tests::{edge, folder, refused, succeed, train};

use crate::{stress::read, trainer};

/// The column of a run's `epochs.csv`.
fn scores(run: &Path, column: &str) -> Vec<f64> {
    let table = read(&run.join("epochs.csv"));
    let at = table.lines().next().unwrap().split(',').position(|name| name == column).unwrap();
    table.lines().skip(1).map(|line| line.split(',').nth(at).unwrap().parse().unwrap()).collect()
}

#[test]
fn a_student_says_what_its_teacher_says_and_becomes_a_bundle() {
    let folder = folder();
    let at = |name: &str| folder.path().join(name);
    let manifest = trainer::data(folder.path());
    // Of one film nobody says whether it shows the disease.
    let table = read(&manifest);
    let known = table.lines().find(|line| line.contains(",classify,negative,") && line.contains(",train,")).unwrap();
    std::fs::write(&manifest, table.replace(known, &known.replace(",classify,negative,", ",none,unlabelled,")))
        .unwrap();
    let command = |words: &str, out: &str| {
        let mut command = train();
        command.args(words.split_whitespace()).arg("--manifest").arg(&manifest).arg("--out").arg(at(out));
        command.args(["--modality", "xray"]);
        command
    };
    let backbone = |out: &str, more: &str| {
        let words =
            "train backbone --weights random:1 --frozen stride16 --members 2 --batch 4 --copies 2 --lesions 0.5";
        let epochs = if more.contains("--epochs") { "" } else { " --epochs 2" };
        let mut command = command(&format!("{words}{epochs}"), out);
        command.args(more.split_whitespace());
        command
    };
    refused(&mut backbone("b", "--dropout 1"), &["--dropout 1", "below 1"]);
    // Each class from a source of its own: who knows the source knows the class.
    let table = read(&manifest);
    let apart = |line: &str| match line.contains(",classify,positive,") {
        true => line.replace("thorax-train phantom", "another hospital"),
        false => line.to_owned(),
    };
    std::fs::write(&manifest, table.lines().map(apart).collect::<Vec<_>>().join("\n")).unwrap();
    refused(&mut backbone("b", ""), &["manifest.csv", "no source of the val split has pictures of both classes"]);
    std::fs::write(&manifest, table).unwrap();
    let boxes = at("boxes.csv");
    std::fs::write(&boxes, "path,x0,y0,x1,y1\nno_such.png,1,2,3,4\n").unwrap();
    refused(command("train backbone --weights random:1", "b").arg("--boxes").arg(&boxes), &["--lesions"]);
    refused(backbone("b", "").arg("--boxes").arg(&boxes), &["no box of a", "those of the manifest"]);
    assert!(!at("b").exists());
    // Stopped after an epoch it goes on, and ends as a run that was not.
    let learnt = succeed(&mut backbone("b", ""));
    assert!(learnt.stderr.contains("train: lesions are shown in "), "{}", learnt.stderr);
    let told = scores(&at("b"), "lesions_auc");
    assert!(told.len() == 2 && told.iter().all(|auc| (0.0..=1.0).contains(auc)), "{told:?}");
    assert!(!succeed(&mut backbone("stopped", "--stop-after 1")).stdout.contains("weights.safetensors"));
    assert!(!at("stopped/weights.safetensors").exists());
    let resumed = succeed(&mut backbone("stopped", ""));
    assert!(resumed.stderr.contains("resumed") && resumed.stdout.contains("weights.safetensors"), "{}", resumed.stderr);
    let bytes = |run: &str| std::fs::read(at(run).join("weights.safetensors")).unwrap();
    assert!(bytes("b") == bytes("stopped"));
    refused(&mut backbone("b", "--seed 2"), &["another configuration", "--out"]);
    // A member of a deep ensemble leaves a fold of the patients out.
    refused(&mut backbone("member", "--leave-out 1/2"), &["--leave-out", "2/5"]);
    let member = succeed(&mut backbone("member", "--seed 2 --epochs 1 --leave-out 2/3")).stderr;
    assert!(member.contains("without fold 2/3: "), "{member}");

    let own = at("b/weights.safetensors");
    let classify = |words: &str, out: &str, weights: &Path| {
        let mut command = command(&format!("train classify {words}"), out);
        command.arg("--weights").arg(weights);
        command
    };
    refused(
        &mut classify("--out-of-bag", "none", &own),
        &["--out-of-bag", "has learnt from the labels", "leave the option out"],
    );
    assert!(!at("none").exists());
    succeed(&mut classify("--members 3", "teacher", &own));
    succeed(&mut classify("--members 2", "second", &at("member/weights.safetensors")));
    let distill = |more: &str, out: &str| {
        let words = format!(
            "distill --side 160 --depth 0.5 --frozen stride16 --batch 4 --copies 0 --steadiness 0 --dropout 0 {more}"
        );
        let mut command = command(&words, out);
        command.arg("--weights").arg(&own).arg("--teacher").arg(at("teacher"));
        command
    };
    refused(&mut distill("--teacher-weights random:1", "s"), &["not what made these features"]);
    refused(
        distill("--epochs 1", "s").arg("--teacher-weights").arg(&own).arg("--teacher").arg(at("teacher")),
        &["2 --teacher and 1 --teacher-weights"],
    );
    refused(distill("--plain 1", "s").arg("--teacher-weights").arg(&own), &["--plain", "--batch-norms"]);
    let options = "--unlabelled --epochs 12 --learning-rate 3e-3 --schedule constant";
    let distilled = succeed(distill(options, "student").arg("--teacher-weights").arg(&own));
    assert!(distilled.stderr.contains("with a label, 1 without"), "{}", distilled.stderr);
    refused(
        distill(&format!("{options} --width 0.5"), "student").arg("--teacher-weights").arg(&own),
        &["another configuration", "reduction"],
    );
    let agreement = scores(&at("student"), "agreement");
    assert!(agreement.iter().fold(0.0, |best: f64, &score| best.max(score)) > agreement[0] + 0.1, "{agreement:?}");

    // A student of two teachers that is asked for what these disagree in too.
    let mut of_two = distill("--epochs 1 --doubt 0.5", "of_two");
    of_two.arg("--teacher").arg(at("second")).arg("--teacher-weights").arg(&own);
    succeed(of_two.arg("--teacher-weights").arg(at("member/weights.safetensors")));
    assert_eq!(scores(&at("of_two"), "doubt").len(), 1);
    let mut of_two = distill("--epochs 1", "unasked");
    of_two.arg("--teacher").arg(at("second")).arg("--teacher-weights").arg(&own);
    succeed(of_two.arg("--teacher-weights").arg(at("member/weights.safetensors")));
    assert!(bytes("of_two") != bytes("unasked"), "it learns otherwise when it is asked");

    let student = at("student/weights.safetensors");
    refused(
        command("distill --depth 1", "s")
            .arg("--weights")
            .arg(&student)
            .arg("--teacher")
            .arg(at("teacher"))
            .arg("--teacher-weights")
            .arg(&own),
        &["efficientnet-lite0 (depth 0.5, width 1, plain 0), asked for is efficientnet-lite0;"],
    );
    refused(&mut classify("--taught", "none", Path::new("random:1")), &["--taught", "student"]);
    refused(&mut classify("--taught --members 4", "none", &student), &["--members"]);
    refused(&mut classify("--taught --side 224", "none", &student), &["160 pixels", "224 pixels", "--side"]);
    succeed(&mut classify("--taught", "heads", &student));
    let config = read(&at("heads/config.json"));
    for words in ["\"members\": 3", "\"taught\": true", "\"input_side\": 160"] {
        assert!(config.contains(words), "{words}: {config}");
    }

    // On its finished features heads learn what each member says.
    let say = |words: &str, out: &str| {
        let mut said = classify(words, out, &student);
        said.arg("--teacher").arg(at("teacher")).arg("--teacher-weights").arg(&own);
        said
    };
    refused(&mut say("--taught", "none"), &["--taught", "--teacher"]);
    refused(&mut say("--members 3", "none"), &["--members", "--teacher"]);
    refused(&mut say("--out-of-bag", "none"), &["--out-of-bag", "--teacher"]);
    refused(say("", "none").arg("--teacher").arg(at("teacher")), &["2 --teacher and 1 --teacher-weights"]);
    succeed(&mut say("", "said"));
    let config = read(&at("said/config.json"));
    assert!(config.contains("\"members\": 3") && config.contains("\"teachers\"") && !config.contains("\"taught\""));
    let told = |run: &str| -> Vec<f64> {
        let table = read(&at(run).join("validation.csv"));
        table.lines().skip(1).map(|line| line.split(',').nth(2).unwrap().parse().unwrap()).collect()
    };
    // Of two validation phantoms no more than that they are near is sure; that each head learns its member is shown beside the code (`said.rs`).
    let apart = told("said").iter().zip(told("teacher")).map(|(a, b)| (a - b).abs()).fold(0.0, f64::max);
    assert!(apart < 0.25, "{:?} {:?}", told("said"), told("teacher"));

    let mut segment = command("train segment --side 32 --base-channels 4 --epochs 1", "segmenter");
    succeed(&mut segment);
    let key = succeed(train().args(["bundle", "keygen"]).arg(at("key"))).stdout;
    std::fs::write(at("trusted"), key).unwrap();
    let mut build = train();
    build.args(["bundle", "build", "--stress-pictures", "0", "--despite-stress", "--weights"]).arg(&student);
    build.arg("--classifier").arg(at("heads")).arg("--segmenter").arg(at("segmenter")).arg("--manifest").arg(&manifest);
    succeed(build.arg("--key").arg(at("key")).arg("--out").arg(at("own/own.thorax")));
    let card = read(&at("own/CARD.md"));
    for words in [
        "3 logistic heads, each taught what one member",
        "what 1 teacher of 3 members",
        "without a label too",
        "up to the map stride16",
        "efficientnet-lite0 (depth 0.5, width 1, plain 0) trained from",
    ] {
        assert!(card.contains(words), "{words}: {card}");
    }
    // Teacher and student side by side, and each look at the test split is written down beside the manifest.
    assert!(card.contains("No look at the test split is written down"), "{card}");
    let evaluate = || {
        let mut command = train();
        command.args(["evaluate", "--bundle"]).arg(at("own/own.thorax")).arg("--trust").arg(at("trusted"));
        command.arg("--manifest").arg(&manifest).arg("--teacher").arg(at("teacher"));
        command
    };
    refused(&mut evaluate(), &["--teacher-weights"]);
    let figures = succeed(evaluate().arg("--teacher-weights").arg(&own)).stdout;
    assert!(figures.contains("## Beside its teacher, 3 members, test split"), "{figures}");
    assert!(figures.contains("| figure | its teacher, 3 members | thorax-xray "), "{figures}");
    let row = figures.lines().find(|line| line.starts_with("| Dice of lungs, pooled |")).unwrap();
    assert!(
        row.starts_with("| Dice of lungs, pooled | – | 0.") || row.starts_with("| Dice of lungs, pooled | – | –"),
        "{row}"
    );
    assert!(figures.contains("Spearman of the mutual information (its teacher, 3 members)"), "{figures}");
    // Beside the very run that it was built from, it says the same.
    let mut same = train();
    same.args(["evaluate", "--split", "val", "--bundle"]).arg(at("own/own.thorax")).arg("--trust").arg(at("trusted"));
    same.arg("--manifest").arg(&manifest).arg("--teacher").arg(at("heads")).arg("--teacher-weights").arg(&student);
    let figures = succeed(&mut same).stdout;
    let of = |name: &str| -> f64 {
        let row = figures.lines().find(|line| line.starts_with(&format!("| {name} (its teacher"))).unwrap();
        row.trim_end_matches(" |").rsplit(' ').find_map(|cell| cell.parse().ok()).unwrap()
    };
    assert!(of("Spearman of the entropy") > 0.99 && of("mean difference of the probability") < 2e-3, "{figures}");
    // A teacher of other splits may know what it is judged on.
    let table = read(&manifest);
    let moved = table.lines().find(|line| line.contains(",classify,") && line.contains(",val,")).unwrap();
    let picture = moved.split_once(',').unwrap().0;
    let judged = |line: &str| match line.starts_with(picture) {
        true => line.replace(",val,", ",test,"),
        false => line.to_owned(),
    };
    std::fs::write(&manifest, table.lines().map(judged).collect::<Vec<_>>().join("\n")).unwrap();
    refused(evaluate().arg("--teacher-weights").arg(&own), &["--teacher", "other pictures or splits"]);
    std::fs::write(&manifest, table).unwrap();
    let looks = read(&manifest.with_added_extension("looks.csv"));
    let commands: Vec<&str> = looks.lines().skip(1).map(|line| line.split(',').nth(1).unwrap()).collect();
    assert_eq!(commands, ["bundle build", "evaluate"]);
    let mut build = train();
    build.args(["bundle", "build", "--stress-pictures", "0", "--despite-stress", "--weights"]).arg(&student);
    build.arg("--classifier").arg(at("said")).arg("--segmenter").arg(at("segmenter")).arg("--manifest").arg(&manifest);
    succeed(build.arg("--key").arg(at("key")).arg("--out").arg(at("said/said.thorax")));
    let card = read(&at("said/CARD.md"));
    assert!(card.contains("3 logistic heads, each fitted to what one member of its teacher says"), "{card}");

    let film = manifest.with_file_name("phantom_xray_0001_negative.png");
    let mut screen = edge();
    screen.args(["screen", "--json", "--bundle"]).arg(at("own/own.thorax")).arg("--trust").arg(at("trusted"));
    succeed(screen.arg(&film));
}

/// The paper's classifiers reach the device: a student has a head for each of their runs.
#[test]
fn a_student_learns_from_the_papers_classifiers() {
    let folder = folder();
    let at = |name: &str| folder.path().join(name);
    let manifest = trainer::data(folder.path());
    let command = |words: &str, out: &str| {
        let mut command = train();
        command.args(words.split_whitespace()).arg("--manifest").arg(&manifest).arg("--out").arg(at(out));
        command.args(["--modality", "xray"]);
        command
    };
    let lite0 = "--backbone efficientnet-lite0 --weights random:1";
    succeed(&mut command(&format!("features {lite0}"), "features"));
    let classify = |words: &str, out: &str| {
        let mut command = train();
        command.arg("classify").args(words.split_whitespace()).arg("--features").arg(at("features"));
        command.arg("--out").arg(at(out));
        command
    };
    succeed(&mut classify("--runs 3 --only knn,svm-rbf", "runs"));
    succeed(&mut classify("--runs 2 --only knn --resample split", "dealt"));
    let distill = |more: &str, runs: &str, out: &str| {
        let words = format!("distill --weights random:1 --frozen stride16 --batch 4 --copies 0 --epochs 1 {more}");
        let mut command = command(&words, out);
        command.arg("--classifiers").arg(at(runs));
        command
    };
    refused(&mut distill("", "dealt", "none"), &["dealt the patients out anew", "bootstrap"]);
    refused(&mut distill("--only mlp", "runs", "none"), &["--only mlp", "thorax-train classify --only mlp"]);
    refused(&mut distill("--unlabelled", "runs", "none"), &["--unlabelled"]);
    refused(&mut command("distill --weights random:1", "none"), &["--teacher"]);
    assert!(!at("none").exists());
    succeed(&mut distill("--runs 2", "runs", "student"));
    let config = read(&at("student/config.json"));
    assert!(config.contains("svm-rbf x 2") && config.contains("knn x 2"), "{config}");

    let student = at("student/weights.safetensors");
    succeed(command("train classify --taught", "heads").arg("--weights").arg(&student));
    assert!(read(&at("heads/config.json")).contains("\"members\": 4"));
    let key = succeed(train().args(["bundle", "keygen"]).arg(at("key"))).stdout;
    std::fs::write(at("trusted"), key).unwrap();
    succeed(&mut command("train segment --side 32 --base-channels 4 --epochs 1", "segmenter"));
    let mut build = train();
    build.args(["bundle", "build", "--stress-pictures", "0", "--despite-stress", "--weights"]).arg(&student);
    build.arg("--classifier").arg(at("heads")).arg("--segmenter").arg(at("segmenter")).arg("--manifest").arg(&manifest);
    succeed(build.arg("--key").arg(at("key")).arg("--out").arg(at("own/own.thorax")));
    let card = read(&at("own/CARD.md"));
    assert!(card.contains("svm-rbf x 2, knn x 2") && card.contains("had not learnt from"), "{card}");
    let film = manifest.with_file_name("phantom_xray_0001_negative.png");
    let mut screen = edge();
    screen.args(["screen", "--json", "--bundle"]).arg(at("own/own.thorax")).arg("--trust").arg(at("trusted"));
    succeed(screen.arg(&film));
}
