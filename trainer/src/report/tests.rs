//! Whole reports, of simulated runs.
#![allow(clippy::unwrap_used)]

use std::{collections::BTreeSet, fs, path::Path};

use clap::Parser;
use thorax_nets::Backbone;
use thorax_shared::modality::Modality;

use super::*;
use crate::classifiers::{Configuration, Kind, NotRun};
use crate::judge::classifiers::simulation::{simulate, write};

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
        // Not all classifiers, as they take long.
        without.classifiers.retain(|runs| [Kind::SvmRbf, Kind::Knn].contains(&runs.kind));
        write(&without, &paths[0].join("sources").join(number.to_string()));
    }
    // Without XGBoost, and with the paper's hyper-parameters, by which support vector machines answer by their sign.
    let mut without = simulate(Modality::Ct, Backbone::InceptionResNetV2, Resample::Bootstrap, 150, 4);
    without.classifiers.retain(|runs| runs.kind != Kind::Xgboost);
    let why = NotRun { reason: "no libxgboost.so; install it".into(), install: "pip install xgboost-cpu".into() };
    without.not_run = [(Kind::Xgboost, why)].into();
    without.parameters = Configuration::of_paper(None).unwrap().parameters;
    let machine = &mut without.classifiers[0];
    machine.answers = Some(machine.runs.iter().map(|run| run.iter().map(|p| *p >= 0.4).collect()).collect());
    // The first of the forests' runs alone.
    let forest = &mut without.classifiers[2];
    forest.runs.truncate(1);
    without.fewer = [(forest.kind, 1)].into();
    write(&without, &paths[1]);
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
            masks: vec![],
            grid: vec![],
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
    // Two curves, 9 entropies, 9 reliabilities and the accuracies, for each of three runs, in one of which a classifier is missing.
    assert_eq!((html.matches("<svg").count(), html.matches("</svg>").count()), (61, 61));
    assert!(!html.contains("<script") && !html.contains("<link") && !html.contains("src=\"http"));
    assert!(!html.contains("NaN") && !html.contains(">inf"), "a figure that is none was printed");
    assert!(!html.contains("xray/0_0.png"), "pictures are not listed");
    // The paper's table VII begins with 85.8, ours beside it.
    assert!(markdown.contains("table VII") && markdown.contains("| SVC (polynomial) | paper | 85.8 | 85.1 |"));
    assert!(markdown.contains("The paper has no table for these features"));
    assert!(markdown.contains("left out, same pictures"));
    // Each classifier is beside itself, though fewer ran without a source.
    let table = |heading: &str| {
        let lines = markdown.split(heading).nth(1).unwrap().lines().skip(2).take_while(|line| line.starts_with('|'));
        lines.map(|line| line.split('|').map(str::trim).map(str::to_owned).collect::<Vec<_>>()).collect::<Vec<_>>()
    };
    let beside = table("| Source | SVC (RBF) | KNN | All classifiers |");
    let of_all = table("| Source | SVC (polynomial) | SVC (RBF) |");
    assert_eq!(beside.len(), 3, "a source each");
    for row in beside {
        let learnt = of_all.iter().find(|other| other[1] == row[1]).unwrap();
        assert_eq!(row[2].split(" → ").next(), Some(&*learnt[3]), "SVC (RBF): {row:?} {learnt:?}");
        assert_eq!(row[3].split(" → ").next(), Some(&*learnt[6]), "KNN: {row:?} {learnt:?}");
    }
    // The paper's row of XGBoost stands without ours, and says what to install.
    assert!(markdown.contains("| XGBoost | paper | 84.2 |"), "{markdown}");
    assert!(markdown.contains("|  | not run: pip install xgboost-cpu | – | – | – | – | – |"));
    assert!(markdown.contains("XGBoost did not run: no libxgboost.so; install it."));
    // The row says where there are fewer runs, and whose.
    assert_eq!(markdown.matches("| one run |").count(), 2, "the forest, and all");
    assert!(markdown.contains(" 4 runs of each classifier, 1 of Random Forest (seed 1)"));
    assert_eq!(
        markdown
            .matches("All classifiers, each run: the first run, as each of them has; averaged: all that each has.")
            .count(),
        1
    );
    assert!(markdown.contains("| runs of Random Forest | 1 | 100 | a run takes long |"));
    assert_eq!(markdown.matches("go by the sign of the decision").count(), 1);
    // The hyper-parameters, once for the two runs that have the defaults, and once for the one of the paper.
    let section = markdown.split("## Hyper-parameters that are not the paper's").nth(1).unwrap();
    assert_eq!(section.matches("| xgboost.trees | 20 | 100 |").count(), 2, "{section}");
    assert_eq!(section.matches("| runs of each | 4 | 100 |").count(), 1);
    assert_eq!(section.matches("| standardise | true | false | the paper does not say").count(), 3);
    assert_eq!(section.matches("| svm-rbf.answer |").count(), 2);
    assert!(section.contains("Adam, early end"));

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
fn drawn_weights_are_marked_and_stand_beside_nothing() {
    let folder = tempfile::tempdir().unwrap();
    let mut drawn = simulate(Modality::Xray, Backbone::ResNet50, Resample::Bootstrap, 120, 3);
    drawn.weights = "random:1 (random weights)".into();
    write(&drawn, &folder.path().join("run"));
    let out = folder.path().join("out");
    let args = ReportArgs {
        masks: vec![],
        grid: vec![],
        runs: vec![folder.path().join("run")],
        figures: vec![],
        out: out.clone(),
        sensitivity: 0.9,
        risk: 0.1,
        resamples: 50,
        seed: 1,
    };
    run(&args).unwrap();
    let markdown = fs::read_to_string(out.join("report.md")).unwrap();
    assert!(markdown.contains("| X-ray, resnet50, drawn weights |"), "the summary");
    assert!(markdown.contains("Drawn weights, which have seen no picture before"));
    assert!(!markdown.contains("| paper |") && !markdown.contains("table VII"), "{markdown}");
    assert!(!fs::read_to_string(out.join("tables.csv")).unwrap().contains("_paper"));
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

/// Two seeds of a frozen EfficientNet, and the paper's net, as `masks judge` writes them.
fn judged_masks(folder: &Path) -> Vec<PathBuf> {
    use thorax_nets::segmentation::{
        NetConfig, efficientnet_unet::EfficientNetUnetConfig, modified_attention_unet::ModifiedAttentionUnetConfig,
    };
    use thorax_shared::plane::Plane;

    use crate::{
        data::Split,
        judge::{
            Resampling,
            masks::{
                Curve, FORMAT, Identity, RunJudgement, SegmentationJudgement, Training,
                score::{MaskScore, PictureScore, judge_mask},
                spread, write,
            },
        },
        segmentation::run::SegmentConfig,
    };

    let settings = Resampling { resamples: 50, level: 0.95, seed: 1 };
    let square = |side: usize| Plane::from_fn(20, 20, |x, y| if x < side && y < side { 255u8 } else { 0 });
    let run = |net: NetConfig, seed: u64| {
        let picture = |patient: usize| PictureScore {
            path: format!("{patient}.png"),
            group: format!("patient {patient}"),
            source: "made, as COVID-19-CT-Seg".into(),
            negative: false,
            masks: vec![Some(MaskScore::new(&square(6 + seed as usize), &square(8 + patient), None).unwrap())],
            involvement_percent: [Some(10.0), Some(12.0)],
        };
        let pictures: Vec<PictureScore> = (0..3).map(picture).collect();
        let judged = judge_mask("infection", 0, &pictures.iter().collect::<Vec<_>>(), &[], &settings);
        let mut config = SegmentConfig::example(net, seed);
        config.start_sha256 = matches!(net, NetConfig::ModifiedAttentionUnet(_)).then(|| "0".repeat(64));
        config.encoder = matches!(net, NetConfig::EfficientNet(_)).then(|| ["weights.safetensors".into(), "00".into()]);
        RunJudgement {
            identity: Identity { run: format!("seed-{seed}"), seed, members: 1, rounds: 1, same_data: true },
            mask_names: vec!["infection".into()],
            masks: judged.into_iter().collect(),
            involvement_error: None,
            negatives: None,
            pictures,
            volumes: vec![],
            training: vec![Training {
                config: config.into(),
                curve: Curve {
                    loss: vec![1.5, 1.0, 0.7],
                    dice: vec![0.1, 0.4, 0.6],
                    images_per_second: vec![2.0, 4.0, 4.0],
                },
                // 360 + 180 + 180 seconds.
                pictures: Some(720),
            }],
        }
    };
    let frozen =
        NetConfig::EfficientNet(EfficientNetUnetConfig { backbone: Backbone::EfficientNetB(3), ..Default::default() });
    let papers = NetConfig::ModifiedAttentionUnet(ModifiedAttentionUnetConfig::default());
    [(frozen, vec![1, 2], "frozen"), (papers, vec![1], "papers")]
        .into_iter()
        .map(|(net, seeds, name)| {
            let runs: Vec<RunJudgement> = seeds.into_iter().map(|seed| run(net, seed)).collect();
            let judgement = SegmentationJudgement {
                format: FORMAT,
                notice: "Research use only, not a medical device.".into(),
                modality: Modality::Ct,
                split: Split::Test,
                source: None,
                settings,
                spread: if runs.len() > 1 { spread(&runs) } else { vec![] },
                runs,
            };
            write(&judgement, &folder.join(name)).unwrap();
            folder.join(name)
        })
        .collect()
}

/// The rounds of a cross-validation have a section of their own, beside what others published of the set.
#[test]
fn rounds_stand_beside_published_ones() {
    let folder = tempfile::tempdir().unwrap();
    let papers = judged_masks(folder.path()).pop().unwrap();
    let mut judgement = crate::judge::masks::read(&papers).unwrap();
    let run = &mut judgement.runs[0];
    run.identity.rounds = 5;
    let training = run.training[0].clone();
    run.training = vec![training; 5];
    let pooled = folder.path().join("pooled");
    crate::judge::masks::write(&judgement, &pooled).unwrap();
    let out = folder.path().join("report");
    let report = |masks: &[&Path]| {
        let mut args = arguments(&["--masks", "x", "--out", out.to_str().unwrap()]).unwrap();
        args.masks = masks.iter().map(|path| path.to_path_buf()).collect();
        run_report(&args)
    };
    let page = report(&[&pooled]);
    // 49 of 64, 81 and 100 pixels: Dice 86.7, 75.4 and 65.8.
    for words in [
        "3 pictures of 3 patients",
        "dropout 0.1, 5 rounds | 76.0 (",
        "| 5 by patient |",
        "| 60.9 | 5, of 4 training",
        "Some began with earlier weights",
    ] {
        assert!(page.contains(words), "`{words}` is not said:\n{page}");
    }
    assert!(!page.contains("Mask-RCNN"), "the paper's split is another");
    let html = fs::read_to_string(out.join("report.html")).unwrap();
    let one = report(&[&papers]);
    assert!(one.contains("Mask-RCNN") && !one.contains("nnU-Net"));
    let lines = |html: &str| html.matches("<polyline").count();
    // Two charts, a line a round instead of one.
    assert_eq!(lines(&html), lines(&fs::read_to_string(out.join("report.html")).unwrap()) + 8);
    let both = report(&[&papers, &pooled]);
    assert!(both.contains("Mask-RCNN") && both.contains("nnU-Net"));
}

fn run_report(args: &ReportArgs) -> String {
    run(args).unwrap();
    fs::read_to_string(args.out.join("report.md")).unwrap()
}

#[test]
fn judged_masks_become_the_papers_tables_of_segmentation() {
    let folder = tempfile::tempdir().unwrap();
    let masks = judged_masks(folder.path());
    let [frozen, papers] = [0, 1].map(|i| masks[i].to_str().unwrap());
    let out = folder.path().join("report");
    let args = arguments(&["--masks", frozen, "--masks", papers, "--out", out.to_str().unwrap()]).unwrap();
    run(&args).unwrap();
    let page = fs::read_to_string(out.join("report.md")).unwrap();
    for words in [
        "CT, segmentation",
        "not a medical device",
        // Seed 1 finds 49 of 64, 81 and 100 pixels, seed 2 64 of them: IoU 62.0 and 81.0.
        "efficientnet-b3 (frozen) with a decoder of 16 base channels, 2 seeds | 71.5 ± 13.4 | 82.4 ± 9.1 |",
        "Mask-RCNN, paper, table XI | 67.2 | 80.7 | 78.5",
        "| EfficientNet-B1 | 400 | 0.72 | 0.562 | not trained here |",
        // 720 pictures at 2, 4 and 4 a second.
        "| EfficientNet-B3 | 400 | 0.69 | 0.527 | 3 | 64 | weights.safetensors | 12 min | ",
        "| 4 blocks, one cycle(2e-3) | – | – | – | the paper's modified attention U-Net, 4 blocks, 16 base channels, dropout 0.1 | 3, from earlier \
         weights | 64 | – | 12 min |",
        "| 6 blocks, cosine(1e-5) | 500 | 0.90 | 0.818 | not trained here |",
        "Some began with earlier weights",
        "| patient 2 | 71.9 ± 8.7 | 65.8 |",
        "## Hyper-parameters that are not the paper's",
        "| blocks | 4 | 6 (also 4) |",
        "| epochs | 3, from earlier weights | 500 (also 100, 200, 300, 400) |",
        "| epochs | 3 | 400 |",
        "| batch | 4 | 64 (also 32, 128) |",
        "| batch | 4 | does not say |",
        "| loss | 1 x cross entropy + 1 x Dice | boundary loss + binary cross entropy + Dice |",
        "| optimizer | AdamW, weight decay 0.01 | does not say |",
        "| side of the picture | 64 pixels | does not say |",
    ] {
        assert!(page.contains(words), "`{words}` is not said:\n{page}");
    }
    assert!(!out.join("tables.csv").exists() && !out.join("judgement.json").exists(), "no classifier was judged");
    assert!(!page.contains("cross-validation by patient"));
    let html = fs::read_to_string(out.join("report.html")).unwrap();
    assert!(html.contains("validation Dice of the infection") && html.contains("training loss"));
    if let Some(keep) = std::env::var_os(KEEP) {
        fs::copy(out.join("report.html"), Path::new(&keep).join("masks.html")).unwrap();
    }

    let json = masks[0].join("judgement.json");
    let text = fs::read_to_string(&json).unwrap();
    for (from, to, told) in
        [("\"format\": 2", "\"format\": 9", "format 9"), ("\"training\": [", "\"training\": [[", "judge again")]
    {
        fs::write(&json, text.replacen(from, to, 1)).unwrap();
        let error = format!("{:#}", run(&args).unwrap_err());
        assert!(error.contains(told) && error.contains("judgement.json"), "{error}");
    }
    assert!(arguments(&["--out", "o"]).unwrap_err().to_string().contains("--run"));
}

/// Nets of a grid stand beside the paper's rows: those of its epochs, or of a fixed share of them. Encoders with drawn weights stand beside
/// nothing, and a set of other pictures has the tables of its own.
#[test]
fn nets_of_a_grid_stand_beside_the_papers_rows() {
    use thorax_nn::schedule::Schedule;

    use crate::{judge::masks::RunJudgement, segmentation::run::SegmentConfig};

    let folder = tempfile::tempdir().unwrap();
    let judged: Vec<_> = judged_masks(folder.path()).iter().map(|path| judge::masks::read(path).unwrap()).collect();
    let changed = |judgement: &judge::masks::SegmentationJudgement, change: &dyn Fn(&mut SegmentConfig)| {
        let mut run: RunJudgement = judgement.runs[0].clone();
        let mut config = run.training[0].config.segment().unwrap().clone();
        change(&mut config);
        run.training[0].config = config.into();
        run
    };
    let of_rate = |epochs: usize, rate: f64| {
        changed(&judged[1], &move |config| {
            config.start_sha256 = None;
            config.epochs = epochs;
            config.peak_learning_rate = rate;
            config.training.schedule = Schedule::Constant;
        })
    };
    let drawn = changed(&judged[0], &|config| config.encoder = Some(["random:1 (random weights)".into(), "00".into()]));
    let mut grid = judged[1].clone();
    // Of the rate of 5e-4 a hundredth of the paper's epochs; of another, which has no row, and of one without a series, one each.
    grid.runs = vec![of_rate(2, 5e-4), of_rate(5, 5e-4), of_rate(3, 7e-4), drawn];
    let path = folder.path().join("grid");
    judge::masks::write(&grid, &path).unwrap();
    let other = folder.path().join("other");
    let mut slices = judged[1].clone();
    slices.source = Some("medicalsegmentation.com".into());
    slices.runs[0].pictures.iter_mut().for_each(|picture| picture.source = "medicalsegmentation.com 100 slices".into());
    judge::masks::write(&slices, &other).unwrap();
    let out = folder.path().join("report");
    let mut args = arguments(&["--grid", "x", "--out", out.to_str().unwrap()]).unwrap();
    args.grid = vec![path.clone()];
    args.masks = vec![other];
    let page = run_report(&args);
    let net = "the paper's modified attention U-Net, 4 blocks, 16 base channels, dropout 0.1";
    for words in [
        &format!("| 4 blocks, 0.0005 | 200 | 0.76 | 0.613 | {net} | 2 | 64 | – | 12 min | 0.760 |"),
        &format!("| 4 blocks, 0.0005 | 500 | 0.80 | 0.667 | {net} | 5 | 64 |"),
        "| 4 blocks, 0.0005 | 100 | 0.75 | 0.600 | not trained here |",
        &format!("| 4 blocks, 0.0007 | – | – | – | {net} | 3 |"),
        "| EfficientNet-B3 | 400 | 0.69 | 0.527 | with drawn weights: below | – |",
        "| efficientnet-b3, drawn weights | – | – | – | 3 | 64 | drawn | 12 min |",
        "## CT, segmentation: medicalsegmentation.com",
        "Mask-RCNN, paper, table XII | 53.9 |",
        "| Diniz et al. [32] | 77.1 | 66.9 |",
        "What the 4 nets of the grid, in tables IX and X, have in common",
    ] {
        assert!(page.contains(words), "`{words}` is not said:\n{page}");
    }
    assert_eq!(page.matches("in the paper's table X\n").count(), 1, "{page}");
    assert!(!page.contains("table XI |"), "no net but those of the grid is of the paper's set");
    for (hours, told) in [(0.0044, "16 s"), (0.2, "12 min"), (1.6, "96 min"), (1.75, "1.8 h")] {
        assert_eq!(masks::duration(hours), told);
    }
    args.masks = vec![path];
    assert!(run(&args).unwrap_err().to_string().contains("--grid"));
}

/// A net that finds single lesions stands in the same tables, and its lesions in one of their own.
#[test]
fn nets_that_find_single_lesions_have_a_row_and_a_table() {
    use thorax_nets::instance::{InstanceConfig, yolact::YolactConfig};

    use crate::{
        data::Split,
        instance::run::InstanceRunConfig,
        judge::{Estimate, Resampling, lesions::LesionJudgement, masks::Training},
        segmentation::run::SegmentConfig,
    };

    let folder = tempfile::tempdir().unwrap();
    let papers = judged_masks(folder.path()).pop().unwrap();
    let mut judgement = judge::masks::read(&papers).unwrap();
    let training = judgement.runs[0].training[0].clone();
    let SegmentConfig { modality, preprocess, augmentation, training: of_training, .. } =
        training.config.segment().unwrap().clone();
    let net = InstanceConfig::Yolact(YolactConfig::default());
    let config = InstanceRunConfig {
        modality,
        instance_net: net,
        backbone: ["random:1".into(), "00".into()],
        epochs: 3,
        batch: 4,
        peak_learning_rate: 1e-3,
        seed: 1,
        preprocess,
        manifest_sha256: "00".into(),
        healthy: 0,
        healthy_sha256: None,
        start_sha256: None,
        copies: None,
        smallest_lesion: 10,
        augmentation,
        training: of_training,
    };
    judgement.runs[0].training = vec![Training { config: config.clone().into(), ..training }];
    let yolact = folder.path().join("yolact");
    judge::masks::write(&judgement, &yolact).unwrap();
    // What is written is read as what it is.
    assert_eq!(judge::masks::read(&yolact).unwrap().runs[0].training[0].config, config.into());
    let lesions = LesionJudgement {
        format: judge::lesions::FORMAT,
        run: judgement.runs[0].identity.run.clone(),
        net: net.describe().into(),
        split: Split::Test,
        counts: [3, 2, 7],
        smallest_lesion: 10,
        score_threshold: 0.4,
        settings: Resampling { resamples: 50, level: 0.95, seed: 1 },
        figures: [("ap".to_owned(), Some(Estimate { value: 0.125, low: 0.1, high: 0.25 })), ("ap50".to_owned(), None)]
            .into(),
    };
    judge::lesions::write(std::slice::from_ref(&lesions), &yolact).unwrap();
    let out = folder.path().join("report");
    let mut args = arguments(&["--masks", "x", "--out", out.to_str().unwrap()]).unwrap();
    args.masks = vec![papers, yolact.clone()];
    let page = run_report(&args);
    for words in [
        "| YOLACT (ResNet50) | 62.0 | 76.0 |",
        "Lesions, one by one",
        "| YOLACT (ResNet50) | 1 | CT | test | 7 | 3 | 2 | 12.5 (10.0–25.0) | – | – | – | – | – | 3 | 64 | drawn | 12 min |",
        "Mask-RCNN, paper, table XI | 67.2",
    ] {
        assert!(page.contains(words), "`{words}` is not said:\n{page}");
    }

    // Lesions of a run that was judged into the folder before, and what the next judgement makes of them.
    judge::lesions::write(&[LesionJudgement { run: "another".into(), ..lesions }], &yolact).unwrap();
    let error = format!("{:#}", run(&args).unwrap_err());
    assert!(error.contains("tells of another") && error.contains("judge again"), "{error}");
    judge::masks::write(&judgement, &yolact).unwrap();
    assert!(!yolact.join("lesions.json").exists() && !yolact.join("lesions.md").exists());
    assert!(!run_report(&args).contains("Lesions, one by one"));
}
