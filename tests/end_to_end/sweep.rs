//! `thorax-train sweep` on phantoms: however a grid comes to its end, its leaderboard is the same bytes.
#![cfg(unix)] // a whole group of processes is killed

use std::{
    os::unix::process::CommandExt,
    path::{Path, PathBuf},
    process::{Command, Stdio},
    time::{Duration, Instant},
};

use thorax_tests::{folder, names, refused, run, signal_group, succeed, train};

const GRID: &str = r#"
[fixed]
side = 32
base-channels = 4
epochs = 4
threads = 1

[grid]
batch = [2, 4]
learning-rate = [
    { name = "constant", learning-rate = 1e-3, schedule = "constant" },
    { name = "cosine", learning-rate = 5e-3, schedule = "cosine" },
]
"#;
const RUNS: [&str; 4] = [
    "batch=2_learning-rate=constant",
    "batch=2_learning-rate=cosine",
    "batch=4_learning-rate=constant",
    "batch=4_learning-rate=cosine",
];

/// Films, their manifest, and a grid.
struct Material {
    folder: tempfile::TempDir,
}

impl Material {
    fn new() -> Self {
        let folder = folder();
        let films = folder.path().join("films");
        let options = ["--count", "9", "--modality", "xray", "--size", "128", "--seed", "3"];
        succeed(train().arg("phantom").arg(&films).args(options));
        let material = Self { folder };
        succeed(train().args(["data", "import"]).arg(&films).arg("--out").arg(material.manifest()));
        std::fs::write(material.at("grid.toml"), GRID).unwrap();
        material
    }

    fn at(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    fn manifest(&self) -> PathBuf {
        self.at("films/manifest.csv")
    }

    fn sweep(&self, out: &str, options: &[&str]) -> Command {
        let mut command = train();
        command.arg("sweep").arg(self.at("grid.toml")).args(["--modality", "xray", "--manifest"]).arg(self.manifest());
        command.arg("--out").arg(self.at(out)).args(options);
        command
    }

    fn leaderboard(&self, out: &str) -> [String; 2] {
        ["csv", "md"]
            .map(|kind| std::fs::read_to_string(self.at(out).join(format!("leaderboard.{kind}"))).unwrap_or_default())
    }

    /// Starts a sweep and kills it, and its child if told to, as soon as a run is finished and another has done an epoch.
    fn kill(&self, out: &str, child_too: bool) {
        let mut sweep = self.sweep(out, &[]);
        let mut sweep = sweep.process_group(0).stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap();
        let begun = || RUNS.iter().filter(|run| epochs(&self.at(out).join(run)) > 0).count();
        let started = Instant::now();
        while begun() < 2 {
            assert!(sweep.try_wait().unwrap().is_none(), "ended before its second run");
            assert!(started.elapsed() < Duration::from_secs(120), "no two runs in two minutes");
            std::thread::sleep(Duration::from_millis(1));
        }
        if child_too {
            signal_group(&sweep, libc::SIGKILL);
        } else {
            sweep.kill().unwrap();
        }
        assert_eq!(sweep.wait().unwrap().code(), None, "ended before it could be killed");
        // However it was killed, nothing of it goes on: whoever works at a run holds a lock on its log.
        let at_work = |run: &&str| {
            let log = std::fs::File::open(self.at(out).join(run).join("log.txt"));
            log.is_ok_and(|log| log.try_lock().is_err())
        };
        let killed = Instant::now();
        while RUNS.iter().any(at_work) {
            assert!(killed.elapsed() < Duration::from_secs(10), "a run outlives its sweep");
            std::thread::sleep(Duration::from_millis(5));
        }
        let done = RUNS.iter().map(|run| epochs(&self.at(out).join(run))).sum::<usize>();
        assert!((5..16).contains(&done), "killed after {done} epochs");
    }
}

fn epochs(run: &Path) -> usize {
    std::fs::read_to_string(run.join("epochs.csv")).unwrap_or_default().lines().count().saturating_sub(1)
}

#[test]
fn at_once_or_killed_and_resumed_or_in_shares_a_sweep_ends_the_same() {
    let material = Material::new();
    let dry = succeed(&mut material.sweep("whole", &["--dry-run"])).stdout;
    assert_eq!(dry.lines().filter(|line| line.contains("train segment --manifest ")).count(), 4, "{dry}");
    assert!(!material.at("whole").exists(), "nothing is written by --dry-run");

    let told = succeed(&mut material.sweep("whole", &[])).stderr;
    assert!(RUNS.iter().all(|run| told.contains(&format!("{run}: 4 epochs, best validation Dice"))), "{told}");
    let whole = material.leaderboard("whole");
    assert_eq!(whole[0].lines().count(), 5, "{}", whole[0]);
    assert!(whole[0].lines().skip(1).all(|row| row.ends_with(",finished")), "{}", whole[0]);
    // The rows are the runs' own best scores, in falling order.
    let scores: Vec<f64> =
        whole[0].lines().skip(1).map(|row| row.split(',').nth(5).unwrap().parse().unwrap()).collect();
    assert!(scores.is_sorted_by(|a, b| a >= b) && scores[0] > scores[3], "{scores:?}");
    let best = whole[0].lines().nth(1).unwrap().split(',').next().unwrap();
    let table = std::fs::read_to_string(material.at("whole").join(best).join("epochs.csv")).unwrap();
    let dice = table.lines().skip(1).map(|row| row.split(',').nth(2).unwrap().parse::<f64>().unwrap());
    assert_eq!(dice.fold(0.0, f64::max), scores[0]);
    assert!(whole[1].contains("not a medical device") && whole[1].contains("4 of 4 runs"), "{}", whole[1]);

    // When the sweep alone is killed, its child ends with it.
    for (out, child_too) in [("killed", true), ("orphaned", false)] {
        material.kill(out, child_too);
        let resumed = succeed(&mut material.sweep(out, &[])).stderr;
        assert!(resumed.contains("done already"), "{resumed}");
        assert!(material.leaderboard(out) == whole);
        for run in RUNS {
            for file in ["best.safetensors", "latest.safetensors", "threshold.json"] {
                let bytes = |out: &str| std::fs::read(material.at(out).join(run).join(file)).unwrap();
                assert!(bytes("whole") == bytes(out), "{run}: {file} differs");
            }
        }
    }

    succeed(&mut material.sweep("shares", &["--shard", "2/2", "--jobs", "2"]));
    assert_eq!(material.leaderboard("shares")[0].matches(",finished").count(), 2);
    succeed(&mut material.sweep("shares", &["--shard", "1/2"]));
    assert!(material.leaderboard("shares") == whole);
    std::fs::remove_file(material.at("shares/leaderboard.csv")).unwrap();
    succeed(&mut material.sweep("shares", &["--leaderboard-only"]));
    assert!(material.leaderboard("shares") == whole);

    // Another grid, seed or manifest in the same folder.
    refused(&mut material.sweep("whole", &["--seed", "2"]), &["sweep.json", "another grid, seed or manifest", "--out"]);
}

#[test]
fn successive_halving_trains_the_best_as_if_there_had_been_no_others() {
    let material = Material::new();
    let halved = succeed(&mut material.sweep("halved", &["--halving", "2"])).stderr;
    assert!(halved.contains("rung 1 of 3: 4 runs") && halved.contains("rung 3 of 3: 1 runs"), "{halved}");
    let mut done: Vec<usize> = RUNS.iter().map(|run| epochs(&material.at("halved").join(run))).collect();
    done.sort_unstable();
    assert_eq!(done, [1, 1, 2, 4]);
    let last = RUNS.iter().find(|run| epochs(&material.at("halved").join(run)) == 4).unwrap();
    succeed(&mut material.sweep("alone", &["--only", last]));
    let bytes = |out: &str| std::fs::read(material.at(out).join(last).join("latest.safetensors")).unwrap();
    assert!(bytes("halved") == bytes("alone"), "{last}: a stopped run went on otherwise");
    // What was decided stays.
    let decided = std::fs::read(material.at("halved/halving.json")).unwrap();
    succeed(&mut material.sweep("halved", &["--halving", "2"]));
    assert!(std::fs::read(material.at("halved/halving.json")).unwrap() == decided);
    refused(&mut material.sweep("halved", &["--halving", "3"]), &["halving.json", "delete it"]);
}

#[test]
fn a_run_that_fails_is_told_and_the_others_go_on() {
    let material = Material::new();
    let grid = "[fixed]\nside = 32\nbase-channels = 4\n[grid]\nbegin = [\n{ name = \"drawn\", epochs = 1 },\n\
                { name = \"lost\", epochs = 1, start = \"lost.safetensors\" },\n]\n";
    std::fs::write(material.at("grid.toml"), grid).unwrap();
    let failed = run(&mut material.sweep("out", &[]));
    assert_eq!(failed.code, 1, "{}", failed.stderr);
    for words in ["1 of 2 runs failed: begin=lost", "log.txt", "lost.safetensors"] {
        assert!(failed.stderr.contains(words), "`{words}` not said: {}", failed.stderr);
    }
    let rows = &material.leaderboard("out")[0];
    assert!(rows.contains("begin=drawn,drawn,1,1,") && rows.contains("begin=lost,lost,0,,,not begun"), "{rows}");
}

/// A search among backbones, and one among students of what they became.
#[test]
fn backbones_and_students_are_swept_too() {
    let material = Material::new();
    let sweep = |grid: String, out: &str, options: &[&str]| {
        std::fs::write(material.at("grid.toml"), grid).unwrap();
        material.sweep(out, options)
    };
    let fixed = "[fixed]\nweights = \"random:1\"\nfrozen = \"stride16\"\nbatch = 4\ncopies = 0\nsteadiness = 0.0\nthreads = 1\n";
    let backbones = format!("train = \"backbone\"\n{fixed}members = 2\nepochs = 2\n[grid]\nbalance = [0.0, 0.5]\n");
    let told = succeed(&mut sweep(backbones, "backbones", &["--halving", "2"])).stderr;
    assert!(told.contains("1 epochs, best validation AUC inside sources"), "{told}");
    let [csv, markdown] = material.leaderboard("backbones");
    assert!(csv.starts_with("name,balance,epochs_done,best_epoch,best_validation_auc_inside,state\n"), "{csv}");
    assert_eq!([",finished", ",unfinished"].map(|state| csv.matches(state).count()), [1, 1], "{csv}");
    assert!(markdown.contains("AUC over pairs of validation pictures of one source"), "{markdown}");

    let best = csv.lines().find(|line| line.ends_with(",finished")).unwrap().split(',').next().unwrap();
    let weights = material.at("backbones").join(best).join("weights.safetensors");
    let mut classify = train();
    classify.args(["train", "classify", "--modality", "xray", "--members", "2", "--weights"]).arg(&weights);
    succeed(classify.arg("--manifest").arg(material.manifest()).arg("--out").arg(material.at("teacher")));
    let teacher = format!("teacher = [{:?}]\nteacher-weights = [{weights:?}]\n", material.at("teacher"));
    let students = format!("train = \"distill\"\n{fixed}{teacher}epochs = 1\n[grid]\ndepth = [0.5, 1.0]\n");
    succeed(&mut sweep(students, "students", &[]));
    let [csv, markdown] = material.leaderboard("students");
    assert!(csv.contains("best_validation_agreement") && csv.matches(",finished").count() == 2, "{csv}");
    assert!(markdown.contains("Agreement with the teachers"), "{markdown}");
    // How much of the net is left is told by each student's file.
    let sizes = ["0.5", "1.0"].map(|depth| {
        let name = csv.lines().map(|line| line.split(',').next().unwrap()).find(|name| name.ends_with(depth)).unwrap();
        std::fs::metadata(material.at("students").join(name).join("weights.safetensors")).unwrap().len()
    });
    assert!(sizes[0] < sizes[1], "{sizes:?}");
}

#[test]
fn what_a_sweep_cannot_have_is_refused_with_a_remedy() {
    let material = Material::new();
    refused(&mut material.sweep("out", &["--only", "batch=3*"]), &["batch=3*", "--dry-run"]);
    refused(&mut material.sweep("out", &["--shard", "3/2"]), &["3/2", "I/N"]);
    // A machine without Slurm.
    refused(
        material.sweep("out", &["--slurm"]).env("PATH", material.at("nothing")),
        &["sbatch", "slurm-client", "--slurm"],
    );
    for (grid, words) in [
        ("[grid]\nbath = [1]\n", &["grid.toml", "[grid] bath", "no such option", "batch"][..]),
        ("[grid]\nbatch = []\n", &["grid.toml", "[grid] batch", "empty"]),
        ("[grid]\nbatch = [\"many\"]\n", &["grid.toml", "--batch", "many"]),
        ("[grid]\nlearning-rate = [1e-3, -1.0]\n", &["grid.toml", "learning-rate=-1.0", "above 0"]),
        ("[grid]\nblocks = [4, 6]\n[fixed]\nside = 96\n", &["grid.toml", "blocks=6", "multiple of 64"]),
    ] {
        std::fs::write(material.at("grid.toml"), grid).unwrap();
        refused(&mut material.sweep("none", &[]), words);
    }
    std::fs::remove_file(material.at("grid.toml")).unwrap();
    refused(&mut material.sweep("none", &[]), &["grid.toml", "check the path"]);
    assert!(
        !names(material.folder.path()).contains(&"none".to_owned()),
        "nothing is written for a grid that is refused"
    );
}
