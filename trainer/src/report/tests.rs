//! Whole reports, of simulated runs.
#![allow(clippy::unwrap_used)]

use std::{collections::BTreeSet, fs, path::Path};

use clap::Parser;
use thorax_shared::label::Modality;

use super::*;
use crate::{
    judge::simulation::{simulate, write},
    nets::Backbone,
};

/// The folder that keeps the page of [`everything_is_written_and_the_same_again`], for whoever wants to look at it.
const KEEP: &str = "THORAX_REPORT_FOLDER";

#[derive(clap::Parser)]
struct Command {
    #[command(flatten)]
    report: ReportArgs,
}

fn arguments(words: &[&str]) -> Result<ReportArgs, clap::Error> {
    Command::try_parse_from([&["report"], words].concat()).map(|command| command.report)
}

/// A main run with two sources left out, one of other features, and one with splits of its own.
fn runs(folder: &Path) -> Vec<PathBuf> {
    let paths = ["xray", "ct", "split"].map(|name| folder.join(name));
    let main = simulate(Modality::Xray, Backbone::ResNet50, Resample::Bootstrap, 400, 8);
    write(&main, &paths[0]);
    let sources: BTreeSet<String> = main.rows.iter().map(|row| row.source.clone()).collect();
    for (number, source) in sources.iter().enumerate().skip(1) {
        let mut without = main.clone();
        without.left_out = Some(source.clone());
        let weakened = without.classifiers.iter_mut().flat_map(|c| &mut c.runs).flatten();
        weakened.for_each(|p| *p = (*p * 0.8 + 0.15).min(1.0));
        write(&without, &paths[0].join("sources").join(number.to_string()));
    }
    write(&simulate(Modality::Ct, Backbone::InceptionResNetV2, Resample::Bootstrap, 150, 4), &paths[1]);
    write(&simulate(Modality::Ct, Backbone::EfficientNetB(0), Resample::Split, 120, 6), &paths[2]);
    paths.to_vec()
}

fn pictures(folder: &Path) {
    fs::create_dir_all(folder).unwrap();
    for (number, name) in ["film", "grad-cam", "heat"].iter().enumerate() {
        let picture =
            image::RgbImage::from_fn(64, 64, |x, y| image::Rgb([x as u8 * 4, y as u8 * 4, number as u8 * 100]));
        picture.save(folder.join(format!("{name}.png"))).unwrap();
    }
    let list = r#"[{"title": "Grad-CAM & heat map", "caption": "A made-up picture.", "files": ["film.png", "grad-cam.png", "heat.png"]}]"#;
    fs::write(folder.join("figures.json"), list).unwrap();
}

#[test]
fn everything_is_written_and_the_same_again() {
    let folder = tempfile::tempdir().unwrap();
    let runs = runs(folder.path());
    let figures = folder.path().join("figures");
    pictures(&figures);
    let report = |out: &str| {
        let out = folder.path().join(out);
        let args = ReportArgs {
            runs: runs.clone(),
            figures: vec![figures.clone()],
            out: out.clone(),
            sensitivity: 0.9,
            risk: 0.1,
            resamples: 100,
            seed: 1,
        };
        run(&args).unwrap();
        ["report.html", "report.md", "tables.csv", "judgement.json"]
            .map(|name| fs::read_to_string(out.join(name)).unwrap())
    };
    let files = report("first");
    assert_eq!(files, report("second"));
    let [html, markdown, csv, json] = files;
    if let Some(keep) = std::env::var_os(KEEP) {
        fs::create_dir_all(&keep).unwrap();
        [("report.html", &html), ("report.md", &markdown), ("tables.csv", &csv), ("judgement.json", &json)]
            .iter()
            .for_each(|(name, text)| fs::write(Path::new(&keep).join(name), text).unwrap());
    }

    assert!(html.contains("Research use only, not a medical device"));
    assert!(html.contains("Grad-CAM &amp; heat map") && html.matches("data:image/png;base64,iVBOR").count() == 3);
    // Two curves, 9 entropies, 9 reliabilities and the accuracies, for each of three runs.
    assert_eq!((html.matches("<svg").count(), html.matches("</svg>").count()), (63, 63));
    assert!(!html.contains("<script") && !html.contains("<link") && !html.contains("src=\"http"));
    assert!(!html.contains("NaN") && !html.contains(">inf"), "a figure that is none was printed");
    assert!(!html.contains("xray/0_0.png"), "pictures are not listed");
    // The paper's table VII begins with 85.8, ours beside it.
    assert!(markdown.contains("table VII") && markdown.contains("| SVC (polynomial) | paper | 85.8 | 85.1 |"));
    assert!(markdown.contains("The paper has no table for these features"));
    assert!(markdown.contains("left out, same pictures"));

    let json: serde_json::Value = serde_json::from_str(&json).unwrap();
    let judgements = json["judgements"].as_array().unwrap();
    assert_eq!(judgements.len(), 6);
    let rows: Vec<csv::StringRecord> =
        csv::Reader::from_reader(csv.as_bytes()).records().map(|row| row.unwrap()).collect();
    let lines: BTreeSet<_> = rows.iter().map(|row| row.iter().take(4).map(str::to_owned).collect::<Vec<_>>()).collect();
    assert_eq!(lines.len(), rows.len(), "two lines of one figure");
    let found =
        rows.iter().find(|row| &row[0] == "xray/resnet50" && &row[1] == "ensemble" && &row[3] == "accuracy").unwrap();
    let ensemble = &judgements[0]["classifiers"][8];
    assert_eq!(found[4].parse::<f64>().unwrap(), ensemble["averaged"]["accuracy"]["value"].as_f64().unwrap());
    let accuracy = ensemble["averaged"]["accuracy"]["value"].as_f64().unwrap() * 100.0;
    assert!(html.contains(&format!("<td>{accuracy:.1} (")), "{accuracy}");
}

#[test]
fn what_cannot_be_reported_is_refused_by_name() {
    let folder = tempfile::tempdir().unwrap();
    let out = folder.path().join("out");
    let refused = |run_folder: &Path, figures: Option<&Path>| {
        let mut args = arguments(&["--run", "x", "--out", "y", "--resamples", "10"]).unwrap();
        (args.runs, args.out, args.figures) =
            (vec![run_folder.to_owned()], out.clone(), figures.map(Path::to_owned).into_iter().collect());
        let error = format!("{:#}", run(&args).unwrap_err());
        assert!(!out.exists());
        error
    };
    assert!(refused(&folder.path().join("none"), None).contains("configuration.json is missing"));
    let good = folder.path().join("run");
    write(&simulate(Modality::Ct, Backbone::ResNet50, Resample::Bootstrap, 60, 2), &good);
    let figures = folder.path().join("figures");
    assert!(refused(&good, Some(&figures)).contains("figures.json"));
    pictures(&figures);
    fs::write(figures.join("heat.png"), "no picture").unwrap();
    assert!(refused(&good, Some(&figures)).contains("no PNG file"));
    fs::write(figures.join("figures.json"), r#"[{"title": "", "caption": "", "files": ["../film.png"]}]"#).unwrap();
    assert!(refused(&good, Some(&figures)).contains("../film.png"));
}

#[test]
fn shares_are_shares() {
    let with = |option, value| arguments(&["--run", "x", "--out", "y", option, value]);
    assert_eq!(with("--sensitivity", "0.95").unwrap().sensitivity, 0.95);
    for value in ["0", "1.1", "90", "-0.5", "NaN", "x"] {
        assert!(with("--risk", value).is_err(), "{value}");
    }
    assert!(arguments(&["--out", "y"]).is_err());
}
