//! The last test binary of `cargo test --workspace`: counts what was left out, and clears the notes for the next run.
//!
//! No test by itself: it has no harness, so that nothing is printed behind its line.
#![allow(clippy::unwrap_used, clippy::panic, reason = "a test may fail by panic")]

use std::{
    collections::{BTreeMap, BTreeSet},
    fs,
    path::Path,
};

use thorax_wanted::{Kind, notes};

/// Where the tests are that are compiled with the feature `cuda` alone.
const OF_THE_GPU: [&str; 2] = ["trainer/nn/src/cuda", "trainer/nets/tests/cuda.rs"];

fn main() {
    // Whoever lists tests is not told a count.
    if std::env::args().any(|argument| argument == "--list") {
        return;
    }
    let mut tests = BTreeSet::new();
    let mut reasons: BTreeMap<Kind, BTreeMap<String, BTreeSet<String>>> = BTreeMap::new();
    let folder = notes().unwrap();
    for entry in fs::read_dir(&folder).into_iter().flatten() {
        let path = entry.unwrap().path();
        let test = path.file_name().unwrap().to_string_lossy().into_owned();
        for line in fs::read_to_string(&path).unwrap().lines() {
            let (kind, why) = line.split_once('\t').unwrap();
            let kind = Kind::ALL.into_iter().find(|known| known.name() == kind).unwrap();
            reasons.entry(kind).or_default().entry(why.to_owned()).or_default().insert(test.clone());
        }
        tests.insert(test);
        fs::remove_file(path).unwrap();
    }
    println!();
    let mut shares = vec![];
    for (kind, reasons) in &reasons {
        for (why, tests) in reasons {
            tests.iter().for_each(|test| println!("SKIPPED {test}: {why}"));
        }
        println!("   to have them: {}", kind.remedy());
        let tests: BTreeSet<&String> = reasons.values().flatten().collect();
        shares.push(format!("{} {}", tests.len(), kind.name()));
    }
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("../..");
    let of_the_gpu: usize = OF_THE_GPU.iter().map(|path| tests_in(&root.join(path))).sum();
    assert!(of_the_gpu > 0, "the GPU's tests are not at {OF_THE_GPU:?} any more");
    let shares = if shares.is_empty() { String::new() } else { format!(" ({})", shares.join(", ")) };
    println!(
        "{} tests SKIPPED, whole or in part, for want of material{shares}; {of_the_gpu} of the feature cuda not compiled",
        tests.len()
    );
}

/// How many tests the sources under `path` have.
fn tests_in(path: &Path) -> usize {
    if path.is_dir() {
        return fs::read_dir(path).unwrap().map(|entry| tests_in(&entry.unwrap().path())).sum();
    }
    let text = fs::read_to_string(path).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
    text.lines().filter(|line| line.trim() == "#[test]").count()
}
