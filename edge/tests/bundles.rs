//! Bundles come on a stick, are tried, and go back; a site sets its thresholds; all of it seen from outside.
#![allow(clippy::unwrap_used, clippy::panic, reason = "a test may fail by panic")]

use std::{
    fs::{self, File},
    io::{Read, Write},
    net::TcpStream,
    path::{Path, PathBuf},
    process::{Child, Command, Output, Stdio},
    thread,
    time::{Duration, Instant},
};

use serde_json::Value;
use thorax_engine::{golden, model::Model, trust::trusted_keys};
use thorax_phantom::{Format, GOLDEN_SIDE, ModalityChoice, Phantom, PhantomArgs, generate_files};
use thorax_shared::{
    bundle::{Bundle, GoldenAnswer, Limits, Manifest, PartSource, SecretKey, TrustedKeys, write},
    modality::Modality,
};

/// Nothing here takes longer, however busy the machine is.
const PATIENCE: Duration = Duration::from_secs(240);

fn key() -> SecretKey {
    SecretKey::from_seed(&mut [9; 32])
}

fn shipped() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../models/xray/thorax-xray.thorax")
}

/// The shipped bundle for films with another version, signed by the test's own key, with these golden answers.
fn bundle(version: &str, golden: &[GoldenAnswer]) -> Vec<u8> {
    let bytes = fs::read(shipped()).unwrap();
    let whole = Bundle::read(&bytes, &trusted_keys(None).unwrap(), &Limits::default()).unwrap();
    let mut manifest = Manifest { name: "thorax-tried".into(), version: version.into(), ..whole.manifest().clone() };
    manifest.extension.golden = golden.to_vec();
    // Phantoms are unlike what it was trained on.
    (manifest.decision.novelty_refer, manifest.decision.novelty_reject) = (f32::MAX, f32::MAX);
    let parts = whole.parts().map(|(entry, bytes)| PartSource { name: &entry.name, kind: entry.kind, bytes });
    write(manifest, &parts.collect::<Vec<_>>(), &key()).unwrap()
}

/// A place with a profile, a data folder and a stick.
struct Place {
    folder: tempfile::TempDir,
    golden: Vec<GoldenAnswer>,
    serving: Option<Child>,
}

impl Drop for Place {
    fn drop(&mut self) {
        if let Some(mut child) = self.serving.take() {
            let _ = child.kill();
            let _ = child.wait();
        }
    }
}

impl Place {
    fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let at = folder.path();
        ["incoming", "stick"].iter().for_each(|name| fs::create_dir(at.join(name)).unwrap());
        fs::write(at.join("own.keys"), format!("{} the test's own\n", key().public_key())).unwrap();
        let profile = format!(
            "[data]\nfolder = \"data\"\n[intake]\naddress = \"127.0.0.1:0\"\n\
             [[folders]]\nname = \"incoming\"\npath = \"incoming\"\nsettle_seconds = 1\n\
             [journal]\nquiet_seconds = 1\nreserve_bytes = 16777216\n\
             [screening]\nbundles = [{:?}]\ntrust = \"own.keys\"\ntrial_studies = 1\n\
             [status]\naddress = \"127.0.0.1:0\"\n",
            shipped()
        );
        fs::write(at.join("profile.toml"), profile).unwrap();
        // What the bundle answers is asked of itself, as its signer would.
        fs::write(at.join("plain.thorax"), bundle("0", &[])).unwrap();
        let model = Model::open(&at.join("plain.thorax"), &TrustedKeys::only(key().public_key())).unwrap();
        let pixels = Phantom::generate(Modality::Xray, 11, GOLDEN_SIDE, true).pixels();
        let golden = vec![golden::answer(&model, 11, true, pixels).unwrap().unwrap()];
        Self { folder, golden, serving: None }
    }

    fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    fn run(&self, arguments: &[&str]) -> Output {
        let mut command = Command::new(env!("CARGO_BIN_EXE_thorax-edge"));
        command.args(arguments).arg("--board").arg(self.folder.path()).output().unwrap()
    }

    #[track_caller]
    fn succeed(&self, arguments: &[&str]) -> String {
        let output = self.run(arguments);
        assert!(output.status.success(), "{arguments:?}: {output:?}");
        String::from_utf8(output.stdout).unwrap()
    }

    #[track_caller]
    fn refused(&self, arguments: &[&str], words: &[&str]) {
        let output = self.run(arguments);
        let told = String::from_utf8_lossy(&output.stderr);
        assert_eq!(output.status.code(), Some(3), "{arguments:?}: {output:?}");
        assert!(words.iter().all(|word| told.contains(word)), "{arguments:?}: {told}");
    }

    /// The one bundle on the stick, with its version.
    fn install(&self, version: &str) -> String {
        let stick = self.path("stick");
        fs::read_dir(&stick).unwrap().for_each(|entry| fs::remove_file(entry.unwrap().path()).unwrap());
        fs::write(stick.join("new.thorax"), bundle(version, &self.golden)).unwrap();
        self.succeed(&["bundle", "install", stick.to_str().unwrap(), "--by", "Ada"])
    }

    fn log(&self) -> String {
        fs::read_to_string(self.path("log")).unwrap_or_default()
    }

    /// Starts the appliance, and waits until its page says which bundles are run.
    fn start(&mut self) -> Value {
        let log = File::options().create(true).append(true).open(self.path("log")).unwrap();
        let mut command = Command::new(env!("CARGO_BIN_EXE_thorax-edge"));
        command.arg("serve").arg("--board").arg(self.folder.path());
        self.serving = Some(command.stdout(Stdio::null()).stderr(log).spawn().unwrap());
        self.until("it is at work", |place| place.bundle().filter(|bundle| bundle["bundle"].is_string()))
    }

    fn kill(&mut self) {
        let mut child = self.serving.take().unwrap();
        child.kill().unwrap();
        child.wait().unwrap();
        // What it left would be taken for the next one's.
        let _ = fs::remove_file(self.path("data/running.json"));
    }

    fn stop(&mut self) {
        let mut child = self.serving.take().unwrap();
        let told = Command::new("sh").args(["-c", &format!("kill -TERM {}", child.id())]).status().unwrap();
        assert!(told.success() && child.wait().unwrap().success(), "{}", self.log());
    }

    #[track_caller]
    fn until<T>(&mut self, what: &str, ask: impl Fn(&Self) -> Option<T>) -> T {
        let until = Instant::now() + PATIENCE;
        loop {
            if let Some(found) = ask(self) {
                return found;
            }
            let ended = self.serving.as_mut().and_then(|child| child.try_wait().unwrap());
            assert!(ended.is_none() && Instant::now() < until, "not so: {what} ({ended:?})\n{}", self.log());
            thread::sleep(Duration::from_millis(100));
        }
    }

    /// What the page of the status says of the bundle for films.
    fn bundle(&self) -> Option<Value> {
        let running: Value = serde_json::from_slice(&fs::read(self.path("data/running.json")).ok()?).ok()?;
        let mut connection = TcpStream::connect(running["status"].as_str()?).ok()?;
        connection.set_read_timeout(Some(PATIENCE)).unwrap();
        write!(connection, "GET /health HTTP/1.1\r\nHost: x\r\n\r\n").ok()?;
        let mut answer = String::new();
        connection.read_to_string(&mut answer).ok()?;
        let health: Value = serde_json::from_str(answer.split_once("\r\n\r\n")?.1).ok()?;
        health["bundles"].as_array()?.iter().find(|bundle| bundle["modality"] == "xray").cloned()
    }

    /// Films come in by the folder.
    fn send(&self, seed: u64) {
        let out = self.path(&format!("films-{seed}"));
        let (modality, formats) = (ModalityChoice::Xray, vec![Format::Png]);
        let args = PhantomArgs { out: out.clone(), count: 2, seed, modality, size: Some(512), formats };
        for film in generate_files(&args).unwrap() {
            fs::rename(out.join(&film.file), self.path("incoming").join(format!("{seed}-{}", film.file))).unwrap();
        }
    }

    /// The last studies, once there are `count` and all are finished.
    fn studies(&mut self, count: usize) -> Vec<Value> {
        self.until("all studies are read", |place| {
            let told: Vec<Value> =
                serde_json::from_str(&place.succeed(&["journal", "export", "--format", "json"])).unwrap();
            let all = told.len() == count && told.iter().all(|study| study["state"] == "finished");
            all.then_some(told)
        })
    }

    /// Kinds and texts of what happened, the newest first.
    fn events(&self) -> Vec<(String, String)> {
        let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
        let line = |line: &str| {
            let event: Value = serde_json::from_str(line).unwrap();
            (text(&event["kind"]), text(&event["text"]) + " by " + &text(&event["by"]))
        };
        self.succeed(&["journal", "events", "--json"]).lines().map(line).collect()
    }
}

#[test]
fn a_bundle_is_installed_tried_kept_and_the_next_one_taken_back() {
    let mut place = Place::new();
    let sent = |place: &Place, seed| place.send(seed);

    // What is not signed, or answers otherwise, changes nothing.
    let wrong = place.path("wrong.thorax");
    let other = GoldenAnswer { probability: 1.0 - place.golden[0].probability, ..place.golden[0].clone() };
    fs::write(&wrong, bundle("9", &[other])).unwrap();
    place.refused(&["bundle", "install", wrong.to_str().unwrap()], &["the self-test failed", "nothing was changed"]);
    let silent = place.path("silent.thorax");
    fs::write(&silent, bundle("8", &[])).unwrap();
    place.refused(&["bundle", "install", silent.to_str().unwrap()], &["no answers to test"]);
    place.refused(&["bundle", "rollback", "--modality", "xray", "--why", "no"], &["no bundle for xray is installed"]);
    assert_eq!(place.succeed(&["bundle", "list"]), "");

    // The first one: on trial, and then for good.
    let told = place.install("1");
    assert!(told.contains("thorax-tried 1 for xray installed, 1 golden answers given"), "{told}");
    let bundle = place.start();
    assert_eq!((&bundle["bundle"], &bundle["trial"]["studies"]), (&"thorax-tried 1".into(), &0.into()), "{bundle}");
    sent(&place, 1);
    let studies = place.studies(2);
    assert!(studies.iter().all(|study| study["result"]["bundle"] == "thorax-tried 1"), "{studies:#?}");
    assert!(studies.iter().all(|study| study["result"]["thresholds"]["of"] == "bundle"), "{studies:#?}");
    place.until("the trial is over", |place| place.bundle().filter(|bundle| bundle["trial"].is_null()));

    // While it runs: thresholds of the site, told to the journal by the appliance itself.
    let own = studies[0]["result"]["thresholds"].clone();
    let negative_at = (own["negative_at"].as_f64().unwrap() / 2.0).to_string();
    let set = ["threshold", "set", "--modality", "xray", "--by", "Dr. B", "--why", "table of March", "--negative-at"];
    place.refused(&[&set[..], &["0.99"]].concat(), &["negative_at 0.99 is not within", "bounds for this bundle"]);
    place.succeed(&[&set[..], &[&negative_at]].concat());
    place.until("the journal knows", |place| (place.events()[0].0 == "site thresholds set").then_some(()));
    assert!(place.events()[0].1.contains("table of March by Dr. B"), "{:?}", place.events());
    let bundle =
        place.until("they are used", |place| place.bundle().filter(|bundle| bundle["thresholds_of"] == "site"));
    assert!(bundle["negative_at"].as_f64() < own["negative_at"].as_f64(), "{bundle}");
    sent(&place, 2);
    let studies = place.studies(4);
    assert_eq!(studies[3]["result"]["thresholds"]["of"], "site", "{:#}", studies[3]);

    // The table, from the truth of these four.
    let truth = place.path("truth.csv");
    let line = |(number, study): (usize, &Value)| {
        format!("{},{}\n", study["study"], if number % 2 == 0 { "positive" } else { "negative" })
    };
    let lines: String = studies.iter().enumerate().map(line).collect();
    fs::write(&truth, format!("record,truth\n{lines}99999,positive\n")).unwrap();
    let costs = ["--cost-test", "10", "--cost-screen", "1"];
    let table = ["threshold", "table", "--modality", "xray", "--truth", truth.to_str().unwrap()];
    let told = place.succeed(&[&table[..], &costs].concat());
    assert!(told.contains("4 patients, 2 of them positive") && told.contains("left out: 1 of no study"), "{told}");
    assert!(told.contains("the bundle's negative_at") && told.contains("the site's negative_at"), "{told}");
    assert!(place.succeed(&[&table[..], &["--csv"]].concat()).lines().count() >= 20);

    // The next bundle goes down twice: the former comes back, and the reason is told.
    place.install("2");
    for went_down in 0..2 {
        let bundle = match went_down {
            // At once, by the appliance that is at work.
            0 => place.until("it is run", |place| place.bundle().filter(|bundle| bundle["bundle"] == "thorax-tried 2")),
            _ => place.start(),
        };
        assert_eq!(bundle["trial"]["went_down"], went_down, "{bundle}");
        if went_down == 0 {
            place.until("it is told", |place| (place.events()[0].0 == "site thresholds forgotten").then_some(()));
        }
        place.kill();
    }
    let bundle = place.start();
    assert_eq!(bundle["bundle"], "thorax-tried 1", "{bundle}");
    let cause = bundle["rolled_back"]["cause"].as_str().unwrap();
    assert!(cause.contains("the device went down 2 times"), "{cause}");
    assert!(place.log().contains("bundle rolled back"), "{}", place.log());
    assert!(place.events().iter().any(|(kind, text)| kind == "bundle rolled back" && text.contains("2 times")));
    assert!(place.succeed(&["bundle", "status"]).contains("went down 2 times"));

    // A file that the disk has spoilt is not run; then there is what the profile names.
    place.stop();
    let kept: Vec<PathBuf> = fs::read_dir(place.path("data/bundles"))
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .filter(|path| path.file_name().unwrap().len() == 64)
        .collect();
    assert_eq!(kept.len(), 1);
    let mut bytes = fs::read(&kept[0]).unwrap();
    let middle = bytes.len() / 2;
    bytes[middle] ^= 1;
    fs::write(&kept[0], bytes).unwrap();
    let bundle = place.start();
    assert!(bundle["installed"] == false && bundle["bundle"].as_str().unwrap().starts_with("thorax-xray"), "{bundle}");
    assert!(bundle["rolled_back"]["cause"].as_str().unwrap().contains("it failed at a start"), "{bundle}");
    place.stop();
    let kinds: Vec<String> = place.events().into_iter().rev().map(|event| event.0).collect();
    let expected = [
        "bundle installed",
        "trial passed",
        "site thresholds set",
        "bundle installed",
        "site thresholds forgotten",
        "bundle rolled back",
        "bundle rolled back",
    ];
    assert_eq!(kinds, expected);
}
