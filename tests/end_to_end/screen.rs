//! `thorax-edge screen` as a whole: what a row says, the table, the exit codes of usage.

use std::{fs, process::Command};

use serde_json::Value;
use thorax_tests::{edge, film, folder, number, of_the_image, phantoms, run, screen, shipped, slice, succeed, text};

/// What the documentation promises of a row of an image that was read.
fn assert_is_complete(row: &Value) {
    let verdict = text(row, "verdict");
    assert!(["positive", "negative", "refer"].contains(&verdict), "{row}");
    assert!(["xray", "ct"].contains(&text(row, "modality")), "{row}");
    assert!((0.0..=1.0).contains(&number(row, "probability")), "{row}");
    assert!((0.0..=1.0).contains(&number(row, "entropy_bits")), "{row}");
    for field in ["involvement_percent", "involvement_left_percent", "involvement_right_percent"] {
        assert!(row[field].is_null() || (0.0..=100.0).contains(&number(row, field)), "{field}: {row}");
    }
    let sentence = match (row["cause"].as_str(), row["remedy"].as_str()) {
        (Some(cause), Some(remedy)) => Value::from(format!("{cause}: {remedy}")),
        (cause, _) => Value::from(cause),
    };
    assert_eq!(row["reason"], sentence, "{row}");
    assert_eq!(row["reason"].is_null(), verdict != "refer", "{row}");
    assert!(text(row, "bundle").starts_with(&format!("thorax-{} ", text(row, "modality"))), "{row}");
    assert!(number(row, "novelty") > 0.0, "{row}");
    assert!((0.0..=1.0).contains(&number(row, "quality")), "{row}");
    assert_eq!(row["slices"].is_null(), row["shown_slice"].is_null(), "{row}");
    assert_eq!(text(row, "disease"), "pneumonia as COVID-19 makes it", "{row}");
    let code = serde_json::json!({ "scheme": "SCT", "code": "840539006", "meaning": "COVID-19" });
    assert_eq!(row["disease_code"], code, "{row}");
    for stage in ["decode", "preprocess", "classify", "segment", "decide"] {
        assert!(number(&row["milliseconds"], stage) > 0.0, "{stage}: {row}");
    }
    assert!(number(row, "peak_memory_mib") > 10.0, "{row}");
    assert_eq!(row["research_use_only"], Value::Bool(true), "{row}");
    assert_eq!(row.as_object().unwrap().len(), 23, "documented fields and no others: {row}");
}

#[test]
fn every_row_has_all_documented_fields() {
    let run = screen(&[], &[film(".png"), film(".dcm"), slice(".dcm"), slice(".nii.gz")]);
    assert_eq!(run.code, 0, "{}", run.stderr);
    let rows = run.rows();
    assert_eq!(rows.len(), 4);
    rows.iter().for_each(assert_is_complete);
    for (row, path) in rows.iter().zip([film(".png"), film(".dcm"), slice(".dcm"), slice(".nii.gz")]) {
        assert_eq!(text(row, "file"), path.display().to_string());
    }
    assert!(rows[2]["slices"].is_null(), "a single image has no slices");
    assert_eq!(rows[3]["slices"], 9, "all of a small volume are read");
}

#[test]
fn entropy_is_that_of_the_probability() {
    for row in screen(&[], &[film(".png"), slice(".dcm")]).rows() {
        let p = number(&row, "probability");
        let bits = |p: f64| if p > 0.0 { -p * p.log2() } else { 0.0 };
        let expected = bits(p) + bits(1.0 - p);
        assert!((number(&row, "entropy_bits") - expected).abs() < 1e-4, "{row}: eq. 1 gives {expected}");
    }
}

#[test]
fn the_table_is_for_people_and_says_what_json_says() {
    let missing = phantoms().join("nowhere.png");
    let files = [film(".png"), missing.clone()];
    let table = run(edge().arg("screen").args(&files));
    assert_eq!(table.code, 1, "{}", table.stderr);
    let row = &screen(&[], &files).rows()[0];
    let lines: Vec<&str> = table.stdout.lines().collect();
    assert!(lines[0].contains("verdict") && lines[0].contains("entropy") && lines[0].contains("file"), "{}", lines[0]);
    let told = lines.iter().find(|line| line.ends_with(&film(".png").display().to_string())).unwrap();
    assert!(told.starts_with(text(row, "verdict")) && told.contains("X-ray"), "{told}");
    assert!(told.contains(&format!("{:.2} bit", number(row, "entropy_bits"))), "{told}");
    assert!(told.contains(&format!("{:.1} %", number(row, "involvement_percent"))), "{told}");
    let refused = lines.iter().position(|line| line.ends_with(&missing.display().to_string())).unwrap();
    assert!(lines[refused].starts_with("rejected") && !lines[refused].contains('%'), "{}", lines[refused]);
    assert!(lines[refused + 1].contains("no such file: check the path"), "{}", lines[refused + 1]);
    let meaning = format!("{}: positive means {}, negative without it.", text(row, "bundle"), text(row, "disease"));
    assert_eq!(lines[lines.len() - 2], meaning, "once, and nothing of what was not read: {}", table.stdout);
    assert!(lines.last().unwrap().to_lowercase().contains("research use only"), "{}", table.stdout);
    assert!(!table.stdout.contains('{'), "no JSON among the table");
}

#[test]
fn the_same_image_gives_the_same_row() {
    let files = [film(".png"), slice(".png")];
    let rows = || screen(&[], &files).rows().iter().map(of_the_image).collect::<Vec<_>>();
    assert_eq!(rows(), rows());
}

#[test]
fn wrong_usage_has_its_own_exit_code() {
    for (arguments, hint) in [
        (&[][..], "Usage"),
        (&["screen"], "<FILE>"),
        (&["screen", "--modality", "mri", "a.png"], "expected xray or ct"),
        (&["screen", "--slices", "many", "a.png"], "--slices"),
        (&["scream", "a.png"], "screen"),
    ] {
        let run = run(edge().args(arguments));
        assert_eq!(run.code, 2, "{arguments:?}: {run:?}");
        assert!(run.stderr.contains(hint) && run.stdout.is_empty(), "{arguments:?}: {run:?}");
    }
    let help = run(edge().arg("--help"));
    assert_eq!(help.code, 0);
    assert!(
        help.stdout.to_lowercase().contains("research use only") && help.stdout.contains("Exit codes"),
        "{}",
        help.stdout
    );
}

#[test]
fn the_programs_need_no_network_folder_or_home() {
    let elsewhere = folder();
    let row = |command: &mut std::process::Command| of_the_image(&run(command).rows()[0]);
    let usual = row(edge().args(["screen", "--json"]).arg(film(".png")));
    let models = thorax_tests::workspace().join("models");
    let bare = row(edge()
        .env_clear()
        .env("THORAX_MODELS", models)
        .current_dir(elsewhere.path())
        .args(["screen", "--json"])
        .arg(film(".png")));
    assert_eq!(usual, bare);
    assert!(thorax_tests::names(elsewhere.path()).is_empty(), "nothing is left in the working folder");
}

#[test]
fn bench_tells_every_stage_the_cold_start_and_the_memory() {
    let run = run(edge().args(["bench", "--runs", "2"]).arg(slice(".png")));
    assert_eq!(run.code, 0, "{}", run.stderr);
    let milliseconds = |name: &str| -> f64 {
        let line = run.stdout.lines().find(|line| line.trim_start().starts_with(name));
        let line = line.unwrap_or_else(|| panic!("{name} is not told:\n{}", run.stdout));
        line.split_whitespace().find_map(|word| word.parse().ok()).unwrap()
    };
    let stages = ["decode", "preprocess", "classify", "segment", "decide", "draw"].map(milliseconds);
    let (warm, cold) = (milliseconds("all, warm"), milliseconds("cold start"));
    assert!((stages.iter().sum::<f64>() - warm).abs() < 0.5, "the stages add up to the whole:\n{}", run.stdout);
    assert!(cold > warm, "a cold start loads the graphs as well:\n{}", run.stdout);
    assert!(milliseconds("peak memory") > 10.0, "{}", run.stdout);
}

/// The age that a film tells is held against the shipped bundle's minimum, here as in the appliance.
#[test]
fn a_child_is_not_read_by_a_bundle_for_adults() {
    let Some(dcmodify) = thorax_wanted::dcmtk("dcmodify") else { return };
    let made = folder();
    let of_age = |age: &str| {
        let file = made.path().join(format!("{age}.dcm"));
        fs::copy(film(".dcm"), &file).unwrap();
        succeed(Command::new(&dcmodify).args(["-nb", "-i", &format!("PatientAge={age}")]).arg(&file));
        file
    };
    let (child, grown) = (of_age("004Y"), of_age("040Y"));
    let told = run(edge().args(["screen", "--json", "--bundle"]).arg(shipped("xray")).args([&child, &grown]));
    let rows = told.rows();
    assert_eq!((told.code, rows.len()), (1, 2), "{told:?}");
    assert_eq!((text(&rows[0], "verdict"), &rows[0]["probability"]), ("rejected", &Value::Null));
    assert!(text(&rows[0], "cause").contains("a patient of 4 years, and nobody under 16 is read here"), "{told:?}");
    assert_ne!(text(&rows[1], "verdict"), "rejected", "{told:?}");
}
