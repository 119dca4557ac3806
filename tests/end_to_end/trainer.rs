//! `thorax-train` from phantoms to a bundle that the device runs, on the smallest data and nets that can be told apart.

use std::{
    path::{Path, PathBuf},
    process::Stdio,
    time::{Duration, Instant},
};

use thorax_tests::{edge, film, folder, names, number, refused, run, succeed, text, train};

/// Small phantom films, positive and negative in every split, and their manifest; for this test alone, so that it may break
/// them.
pub(crate) fn data(folder: &Path) -> PathBuf {
    let films = folder.join("films");
    succeed(train().arg("phantom").arg(&films).args([
        "--count",
        "12",
        "--modality",
        "xray",
        "--size",
        "224",
        "--seed",
        "3",
    ]));
    let manifest = films.join("manifest.csv");
    let imported = succeed(train().args(["data", "import"]).arg(&films).arg("--out").arg(&manifest));
    assert!(imported.stdout.contains("24 rows"), "each film is for both tasks: {}", imported.stdout);
    assert!(imported.stdout.contains("classify  positive  "), "which class counts as positive: {}", imported.stdout);
    manifest
}

/// `train segment`, tiny, on one thread.
fn segment(manifest: &Path, out: &Path, epochs: usize) -> std::process::Command {
    segment_on(manifest, out, epochs, 1)
}

fn segment_on(manifest: &Path, out: &Path, epochs: usize, threads: usize) -> std::process::Command {
    let mut command = train();
    command.args(["train", "segment", "--modality", "xray", "--side", "32", "--base-channels", "4", "--batch", "4"]);
    command.arg("--manifest").arg(manifest).arg("--out").arg(out).args(["--epochs", &epochs.to_string()]);
    command.args(["--threads", &threads.to_string()]);
    command
}

pub(crate) fn epochs_done(run: &Path) -> usize {
    std::fs::read_to_string(run.join("epochs.csv")).unwrap_or_default().lines().count().saturating_sub(1)
}

/// `epochs.csv` without its last column, the speed.
fn epochs(run: &Path) -> Vec<String> {
    let text = std::fs::read_to_string(run.join("epochs.csv")).unwrap();
    text.lines().map(|line| line.rsplit_once(',').unwrap().0.to_owned()).collect()
}

/// Two runs that have to be one: their weights, counters and moments to the byte, what they tell of their epochs, and what was chosen at
/// their end, in the file `threshold`.
#[track_caller]
pub(crate) fn same_run(a: &Path, b: &Path, threshold: &str) {
    for name in ["config.json", "best.safetensors", "latest.safetensors", threshold] {
        let bytes = |run: &Path| std::fs::read(run.join(name)).unwrap();
        let least = if name == threshold { 20 } else { 500 };
        assert!(bytes(a).len() > least && bytes(a) == bytes(b), "{name} differs");
    }
    assert_eq!(epochs(a), epochs(b));
}

#[test]
fn the_same_seed_writes_the_same_phantoms() {
    let folder = folder();
    let made = |name: &str, seed: &str| -> Vec<Vec<u8>> {
        let out = folder.path().join(name);
        let formats = "png,png16,dicom,nifti";
        succeed(train().arg("phantom").arg(&out).args([
            "--count",
            "1",
            "--size",
            "64",
            "--seed",
            seed,
            "--formats",
            formats,
        ]));
        names(&out)
            .into_iter()
            .filter(|name| name != "masks")
            .map(|name| std::fs::read(out.join(name)).unwrap())
            .collect()
    };
    let (a, b, other) = (made("a", "5"), made("b", "5"), made("other", "6"));
    assert_eq!(a.len(), 9, "4 films, 4 slices, 1 table");
    assert!(a == b);
    assert!(a.iter().zip(&other).all(|(a, other)| a != other));
}

#[test]
fn a_killed_run_goes_on_and_ends_as_an_undisturbed_one() {
    let folder = folder();
    let manifest = data(folder.path());
    const EPOCHS: usize = 12;
    for (name, options) in [
        ("plain", ""),
        (
            "all",
            "--optimizer sgd --nesterov --schedule cosine --warm-up 2 --restart-after 4 --clip 1 --ema 0.9 --loaders 3",
        ),
    ] {
        let start = |out: &Path| {
            let mut command = segment(&manifest, out, EPOCHS);
            command.args(options.split_whitespace());
            command
        };
        let [undisturbed, killed] = ["undisturbed", "killed"].map(|run| folder.path().join(format!("{name}_{run}")));
        succeed(&mut start(&undisturbed));

        let mut child = start(&killed).stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap();
        let started = Instant::now();
        while epochs_done(&killed) < 3 {
            assert!(child.try_wait().unwrap().is_none(), "ended before its third epoch");
            assert!(started.elapsed() < Duration::from_secs(120), "no three epochs in two minutes");
            std::thread::sleep(Duration::from_millis(1));
        }
        child.kill().unwrap();
        assert_eq!(child.wait().unwrap().code(), None, "ended before it could be killed: give it more epochs");
        let done = epochs_done(&killed);
        assert!((3..EPOCHS).contains(&done), "killed after {done} epochs");

        let resumed = succeed(&mut start(&killed));
        assert!(resumed.stderr.contains("resumed"), "{}", resumed.stderr);
        assert_eq!(epochs_done(&undisturbed), EPOCHS);
        same_run(&undisturbed, &killed, "threshold.json");
        // A run is never continued with other settings.
        let other = run(start(&killed).args(["--seed", "2"]));
        assert_ne!(other.code, 0);
        assert!(other.stderr.contains("another configuration") && other.stderr.contains("--out"), "{}", other.stderr);
        assert!(other.stderr.contains("other data: seed is 1 there and 2 here; choose"), "{}", other.stderr);
    }
}

#[test]
fn threads_change_no_bit_and_devices_share_a_batch() {
    let folder = folder();
    let manifest = data(folder.path());
    let trained = |name: &str, threads: usize, options: &[&str]| {
        let out = folder.path().join(name);
        succeed(segment_on(&manifest, &out, 3, threads).args(options));
        out
    };
    let one = trained("one", 1, &[]);
    same_run(&one, &trained("two", 2, &["--loaders", "1"]), "threshold.json");
    assert!(names(&one).contains(&"events.out.tfevents".to_owned()));
    // Two replicas, each with half of each batch; batch norm makes that another run, but a sound one.
    let shared = epochs(&trained("shared", 1, &["--device", "cpu,cpu"]));
    let loss = |rows: &[String]| rows[3].split(',').nth(1).unwrap().parse::<f64>().unwrap();
    let alone = epochs(&one);
    assert!((loss(&shared) / loss(&alone) - 1.0).abs() < 0.2, "{shared:?} {alone:?}");
}

#[test]
fn what_a_training_cannot_have_is_refused_with_a_remedy() {
    let folder = folder();
    let manifest = folder.path().join("none.csv");
    for (options, words) in [
        (&["--device", "cuda:99"][..], &["cuda:99", "--device cpu"][..]),
        (&["--device", "gpu"], &["gpu", "cuda:N"]),
        (&["--precision", "bf16"], &["--precision bf16", "f32 only", "cuda:N"]),
        (&["--precision", "f16"], &["--precision f16", "f32 only"]),
        (&["--momentum", "0.5"], &["--momentum needs --optimizer sgd"]),
        (&["--clip", "0"], &["norm", "above 0"]),
    ] {
        let refused = run(segment(&manifest, &folder.path().join("out"), 1).args(options));
        assert_ne!(refused.code, 0);
        for word in words {
            assert!(refused.stderr.contains(word), "`{word}` not said: {}", refused.stderr);
        }
    }
    assert!(names(folder.path()).is_empty(), "nothing is written before it is clear that it can run");
}

#[test]
fn data_check_finds_what_would_spoil_a_figure() {
    let folder = folder();
    let manifest = data(folder.path());
    let check = || run(train().args(["data", "check"]).arg(&manifest));
    let sound = check();
    assert_eq!(sound.code, 0, "{}", sound.stderr);
    assert!(sound.stdout.contains("12 pictures in 24 rows, no problem found"), "{}", sound.stdout);

    let films = manifest.parent().unwrap();
    let table = std::fs::read_to_string(&manifest).unwrap();
    let broken = |words: &[&str]| {
        let found = check();
        assert_ne!(found.code, 0, "{found:?}");
        words.iter().for_each(|word| assert!(found.stderr.contains(word), "`{word}` not said: {}", found.stderr));
    };

    let mask = films.join("masks/phantom_xray_0000_positive_infection.png");
    let whole = std::fs::read(&mask).unwrap();
    image::GrayImage::new(100, 50).save(&mask).unwrap();
    broken(&["phantom_xray_0000_positive_infection.png", "100 x 50", "224 x 224", "problem"]);
    std::fs::write(&mask, whole).unwrap();

    // One of the two rows of a patient goes to another split.
    let line = table.lines().find(|line| line.starts_with("phantom_xray_0001") && line.contains(",segment,")).unwrap();
    let moved = match line.contains(",test,") {
        true => line.replace(",test,", ",train,"),
        false => line.replace(",train,", ",test,").replace(",val,", ",test,"),
    };
    std::fs::write(&manifest, table.replace(line, &moved)).unwrap();
    broken(&["patient", "more than one split", "phantom_xray_0001", "data split"]);
    std::fs::write(&manifest, &table).unwrap();

    let picture = films.join("phantom_xray_0002_positive.png");
    std::fs::copy(films.join("phantom_xray_0004_positive.png"), &picture).unwrap();
    broken(&["phantom_xray_0002_positive.png", "not the file that was imported"]);
    std::fs::remove_file(&picture).unwrap();
    broken(&["phantom_xray_0002_positive.png", "restore the file"]);
    assert_eq!(run(train().args(["data", "import", "nowhere", "--out", "m.csv"]).current_dir(folder.path())).code, 1);
}

#[test]
fn a_signing_key_is_never_overwritten_and_not_for_other_eyes() {
    let folder = folder();
    let key = folder.path().join("signing.key");
    let made = succeed(train().args(["bundle", "keygen"]).arg(&key));
    assert!(made.stdout.starts_with("ed25519:") && !made.stdout.contains("secret"), "{}", made.stdout);
    let before = std::fs::read(&key).unwrap();
    let again = run(train().args(["bundle", "keygen"]).arg(&key));
    assert_ne!(again.code, 0);
    assert!(again.stdout.is_empty() && again.stderr.contains(key.to_str().unwrap()), "{again:?}");
    assert_eq!(std::fs::read(&key).unwrap(), before);
    #[cfg(unix)]
    {
        use std::os::unix::fs::PermissionsExt;
        assert_eq!(std::fs::metadata(&key).unwrap().permissions().mode() & 0o077, 0);
    }
    let other = succeed(train().args(["bundle", "keygen"]).arg(folder.path().join("other.key")));
    assert_ne!(made.stdout, other.stdout, "two keys are not one");
}

/// A number that follows `name` in a row of a Markdown table whose head has `name`.
fn column<'a>(markdown: &'a str, name: &str) -> Option<&'a str> {
    let mut lines = markdown.lines().skip_while(|line| !line.split('|').any(|cell| cell.trim() == name));
    let at = lines.next()?.split('|').position(|cell| cell.trim() == name)?;
    lines.nth(1)?.split('|').nth(at).map(str::trim)
}

#[test]
fn from_phantoms_to_a_verdict_through_a_bundle_of_one_s_own() {
    let Some(backbone) = thorax_wanted::shared("weights/tf_efficientnet_lite0.f32.safetensors") else { return };
    let folder = folder();
    let at = |name: &str| folder.path().join(name);
    let manifest = data(folder.path());
    let (classifier, segmenter, bundle) = (at("classifier"), at("segmenter"), at("own/own.thorax"));
    let classify = |lungs: Option<&Path>, out: &Path| {
        let mut classify = train();
        classify.args(["train", "classify", "--modality", "xray", "--members", "20", "--weights"]).arg(&backbone);
        classify.arg("--manifest").arg(&manifest).arg("--out").arg(out);
        if let Some(run) = lungs {
            classify.arg("--lungs").arg(run).arg("--lesions").arg(run).arg("--refuse").arg(at("refuse.csv"));
        }
        classify
    };
    // Waves of all directions and lengths are no chests.
    let waves = |number: u32| {
        let (length, angle) = (6.0 + f64::from(number), f64::from(number));
        let grey = |x: u32, y: u32| {
            let along = f64::from(x) * angle.cos() + f64::from(y) * angle.sin();
            image::Luma([(128.0 + 100.0 * (along / length).sin() + f64::from((x * 7 + y * 13) % 20)) as u8])
        };
        let name = format!("waves-{number}.png");
        image::GrayImage::from_fn(224, 224, grey).save(at(&name)).unwrap();
        name
    };
    let rows: String = (0..8).map(|number| format!("{},not-a-chest,train\n", waves(number))).collect();
    std::fs::write(at("refuse.csv"), format!("path,kind,split\n{rows}")).unwrap();
    let early = run(&mut classify(Some(&segmenter), &classifier));
    assert!(early.code != 0 && early.stderr.contains("train segment"), "{early:?}");
    // Long enough to find lungs, if not lesions.
    succeed(&mut segment(&manifest, &segmenter, 30));
    succeed(&mut classify(Some(&segmenter), &classifier));
    let of_films = at("classifier of films");
    succeed(&mut classify(None, &of_films));
    // A line a validation picture: path, class, probability, entropy, novelty.
    let validation = |run: &Path| std::fs::read_to_string(run.join("validation.csv")).unwrap();
    assert_ne!(validation(&classifier), validation(&of_films), "the crop to the lungs is none");

    // Boxes around lesions serve where there are no masks.
    let table = std::fs::read_to_string(&manifest).unwrap();
    let positive = table.lines().filter(|line| line.contains(",classify,positive,") && line.contains(",train,"));
    let boxes: String = positive.map(|line| format!("{},30,40,100,180\n", line.split(',').next().unwrap())).collect();
    std::fs::write(at("boxes.csv"), format!("path,x0,y0,x1,y1\n{boxes}")).unwrap();
    let boxed = |boxes: &str| {
        let mut command = segment(&manifest, &at("boxed"), 1);
        command.args(["--boxed", "4", "--boxes"]).arg(at(boxes)).arg("--boxes-lungs").arg(&segmenter);
        command
    };
    std::fs::write(at("others.csv"), "path,x0,y0,x1,y1\nelsewhere.png,1,1,9,9\n").unwrap();
    refused(&mut boxed("others.csv"), &["others.csv", "no box of a positive xray picture in the training split"]);
    succeed(&mut boxed("boxes.csv"));
    let config = std::fs::read_to_string(at("boxed/config.json")).unwrap();
    assert!(config.contains("\"boxed\": 4") && config.contains("boxes_sha256"), "{config}");

    let mut build = train();
    // Of nets as small as these nobody expects that their verdicts survive.
    build
        .args(["bundle", "build", "--stress-pictures", "2", "--despite-stress"])
        .arg("--classifier")
        .arg(&classifier)
        .arg("--segmenter")
        .arg(&segmenter);
    build
        .arg("--weights")
        .arg(&backbone)
        .arg("--manifest")
        .arg(&manifest)
        .arg("--key")
        .arg(at("key"))
        .arg("--out")
        .arg(&bundle);
    let other = at("another segmenter");
    succeed(&mut segment(&manifest, &other, 1));
    let key = succeed(train().args(["bundle", "keygen"]).arg(at("key"))).stdout;
    std::fs::write(at("trusted"), &key).unwrap();
    let mut mixed = train();
    mixed.args(
        build.get_args().map(|argument| if argument == segmenter.as_os_str() { other.as_os_str() } else { argument }),
    );
    refused(
        &mut mixed,
        &["another segmenter", "not the segmenter whose lungs the classifier was trained on", "--lungs"],
    );
    succeed(&mut build);
    let shown = succeed(train().args(["bundle", "show"]).arg(&bundle)).stdout;
    assert!(
        shown.contains("sees the lungs that the segmenter finds") && shown.contains("sees the exposed film"),
        "{shown}"
    );
    assert!(
        std::fs::read_to_string(at("own/CARD.md")).unwrap().contains("thorax-train phantom"),
        "the card names the data"
    );
    for words in
        ["the infected share of the lungs that the segmenter finds", "Rejected as *no chest X-ray or CT slice*"]
    {
        assert!(std::fs::read_to_string(at("own/CARD.md")).unwrap().contains(words), "{words}");
    }

    let mut verify = train();
    verify.args(["bundle", "verify"]).arg(&bundle).arg("--manifest").arg(&manifest);
    let distrusted = run(&mut verify);
    assert!(distrusted.code != 0 && distrusted.stderr.contains("unknown key"), "{distrusted:?}");
    verify.arg("--trust").arg(at("trusted"));
    succeed(&mut verify);

    let predictions = at("predictions.csv");
    let mut evaluate = train();
    evaluate.arg("evaluate").arg("--bundle").arg(&bundle).arg("--manifest").arg(&manifest);
    // On so few pictures only those that the limits were chosen on are certain to be familiar.
    evaluate.args(["--split", "val", "--trust"]).arg(at("trusted")).arg("--predictions").arg(&predictions);
    let evaluated = succeed(&mut evaluate).stdout;
    for name in [
        "AUC",
        "sensitivity",
        "specificity",
        "accuracy",
        "ECE",
        "AUROC of entropy for errors",
        "Dice per image",
        "IoU pooled",
        "Dice per patient",
    ] {
        assert!(column(&evaluated, name).is_some(), "{name} is not told:\n{evaluated}");
    }
    let auc: f64 = column(&evaluated, "AUC").and_then(|cell| cell.split(' ').next()?.parse().ok()).unwrap();
    assert!((0.0..=1.0).contains(&auc), "{evaluated}");
    let told = std::fs::read_to_string(&predictions).unwrap();
    let table = std::fs::read_to_string(&manifest).unwrap();
    let judged = table.lines().filter(|line| line.contains(",classify,") && line.contains(",val,")).count();
    assert_eq!(told.lines().count() - 1, judged, "one line a picture: {told}");

    // The device crops to the same lungs as the trainer did.
    for line in validation(&classifier).lines().skip(1) {
        let fields: Vec<&str> = line.split(',').collect();
        let by_device = told.lines().find(|line| line.split(',').nth(1) == Some(fields[0])).unwrap();
        let [by_device, by_trainer] =
            [by_device.split(',').nth(7).unwrap(), fields[2]].map(|p| p.parse::<f64>().unwrap());
        assert!(
            (by_device - by_trainer).abs() < 0.01,
            "{}: {by_device} on the device, {by_trainer} in training",
            fields[0]
        );
    }

    // The device: not without the key, then with it, and with the very numbers that were evaluated.
    let picture = told.lines().nth(1).unwrap().split(',').nth(1).unwrap();
    let mut screen = edge();
    screen.args(["screen", "--json", "--bundle"]).arg(&bundle).arg(manifest.with_file_name(picture));
    let distrusted = run(&mut screen);
    assert_eq!(distrusted.code, 3, "{distrusted:?}");
    for words in [bundle.to_str().unwrap(), "unknown key", "add the key to the trusted keys"] {
        assert!(distrusted.stderr.contains(words), "`{words}` not said: {}", distrusted.stderr);
    }
    let row = succeed(screen.arg("--trust").arg(at("trusted"))).rows().remove(0);
    assert!(text(&row, "bundle").starts_with("thorax-xray "), "{row}");
    let evaluated: f64 = told.lines().nth(1).unwrap().split(',').nth(7).unwrap().parse().unwrap();
    assert!((number(&row, "probability") - evaluated).abs() < 1e-6, "{row}: evaluated as {evaluated}");

    // What the classifier was to refuse gets no verdict.
    let mut screen = edge();
    screen.args(["screen", "--json", "--modality", "xray", "--trust"]).arg(at("trusted")).arg("--bundle").arg(&bundle);
    let screened = run(screen.arg(at(&waves(9))));
    assert_eq!(screened.code, 1, "{screened:?}");
    let row = screened.rows().remove(0);
    assert_eq!(text(&row, "verdict"), "rejected", "{row}");
    assert!(text(&row, "reason").contains("does not look like a chest"), "{row}");

    // The appliance tests itself by what the bundle says of phantoms.
    let profile = format!(
        "[intake]\naccept_any_peer = true\naddress = \"127.0.0.1:0\"\n[status]\naddress = \"127.0.0.1:0\"\n\
         [screening]\nbundles = [{bundle:?}]\ntrust = {:?}\n",
        at("trusted")
    );
    std::fs::write(at("profile.toml"), profile).unwrap();
    let mut serve = edge();
    serve.args(["serve", "--board"]).arg(at("profile.toml")).arg("--data").arg(at("data")).stdout(Stdio::null());
    let mut child = serve.stderr(std::fs::File::create(at("log")).unwrap()).spawn().unwrap();
    let log = || std::fs::read_to_string(at("log")).unwrap();
    let until = Instant::now() + Duration::from_secs(120);
    while !log().contains("at work") {
        assert!(Instant::now() < until && child.try_wait().unwrap().is_none(), "{}", log());
        std::thread::sleep(Duration::from_millis(50));
    }
    child.kill().unwrap();
    child.wait().unwrap();
    assert!(log().contains("self-test passed") && log().contains("answers"), "{}", log());

    // One altered byte, and the key helps no more.
    let mut bytes = std::fs::read(&bundle).unwrap();
    let middle = bytes.len() / 2;
    bytes[middle] ^= 1;
    std::fs::write(&bundle, bytes).unwrap();
    let altered =
        run(edge().args(["screen", "--bundle"]).arg(&bundle).arg("--trust").arg(at("trusted")).arg(film(".png")));
    assert!(altered.code == 3 && altered.stderr.contains("altered"), "{altered:?}");
}
