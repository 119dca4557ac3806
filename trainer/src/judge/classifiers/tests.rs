//! Whole judgements: of runs small enough to reckon by hand, and of simulated ones.
#![allow(clippy::unwrap_used, clippy::panic)]

use std::fs;

use thorax_nets::Backbone;
use thorax_shared::modality::Modality;

use super::{simulation::*, *};
use crate::{
    classifiers::{Configuration, Kind, read_run},
    data::Split,
};

const QUICK: Settings = Settings { resamples: 50, level: 0.95, seed: 1, sensitivity: 0.9, risk: 0.1 };

fn simulated(resample: Resample) -> RunFolder {
    simulate(Modality::Xray, Backbone::ResNet50, resample, 120, 7)
}

/// Two runs of one classifier on four test pictures, after four validation pictures.
fn by_hand() -> RunFolder {
    let row = |number: usize, split, positive| PredictedRow {
        path: number.to_string(),
        group: number.to_string(),
        source: if number.is_multiple_of(2) { "even" } else { "odd" }.into(),
        split,
        positive,
    };
    let positive = [false, false, true, true];
    let rows = (0..8).map(|i| row(i, if i < 4 { Split::Val } else { Split::Test }, positive[i % 4])).collect();
    let first = vec![0.1, 0.3, 0.6, 0.9, 0.1, 0.8, 0.4, 0.9];
    let second = vec![0.1, 0.3, 0.6, 0.9, 0.3, 0.6, 0.8, 0.9];
    RunFolder {
        modality: Modality::Ct,
        backbone: Backbone::ResNet50.into(),
        weights: "none".into(),
        resample: Resample::Bootstrap,
        runs: 2,
        fewer: Default::default(),
        seed: 1,
        parameters: Configuration::load(None).unwrap().parameters,
        not_run: Default::default(),
        left_out: None,
        rows,
        classifiers: vec![ClassifierRuns { kind: Kind::Knn, runs: vec![first, second], answers: None }],
        roles: None,
    }
}

fn close(found: impl Into<f64>, expected: f64) {
    let found = found.into();
    assert!((found - expected).abs() < 1e-6, "found {found}, expected {expected}");
}

#[test]
fn figures_reckoned_by_hand() {
    let judgement = judge(&by_hand(), &QUICK).unwrap();
    let [knn, ensemble] = &judgement.classifiers[..] else { panic!("{}", judgement.classifiers.len()) };
    // Run 0 answers no, yes, no, yes: two of four; run 1 no, yes, yes, yes: three of four.
    let accuracy = knn.runs.accuracy.unwrap();
    close(accuracy.mean, 0.625);
    close(accuracy.standard_deviation.unwrap(), 0.125 * 2f64.sqrt());
    close(knn.runs.recall.unwrap().mean, 0.75);
    close(knn.runs.specificity.unwrap().mean, 0.5);
    close(knn.runs.precision.unwrap().mean, (0.5 + 2.0 / 3.0) / 2.0);
    close(knn.runs.f1.unwrap().mean, (0.5 + 0.8) / 2.0);
    // Averaged: 0.2, 0.7, 0.6, 0.9, so that the second picture alone is wrong, and three of four pairs are in order.
    close(knn.averaged.accuracy.unwrap().value, 0.75);
    close(knn.averaged.auc.unwrap().value, 0.75);
    close(knn.averaged.f1.unwrap().value, 0.8);
    close(knn.validation_accuracy.unwrap(), 1.0);
    // Entropies in bits: H(0.2) 0.722, H(0.7) 0.881, H(0.6) 0.971, H(0.9) 0.469; the wrong one is the third in order.
    close(knn.uncertainty.error_auc.unwrap().value, 2.0 / 3.0);
    close(knn.selective.area, (1.0 / 3.0 + 1.0 / 4.0) / 4.0);
    assert_eq!(knn.uncertainty.limit, Some(Limit { bits: FALLBACK_LIMIT_BITS, rule: LimitRule::Fallback }));
    let counts = knn.uncertainty.confusion.unwrap();
    assert_eq!(
        (counts.true_positives, counts.false_positives, counts.true_negatives, counts.false_negatives),
        (1, 2, 1, 0)
    );
    // Nine in ten of two positives are both: the threshold is the smaller's 0.6.
    let screening = knn.screening.unwrap();
    close(screening.threshold, 0.6f32.into());
    close(screening.sensitivity.unwrap().value, 1.0);
    close(screening.specificity.unwrap().value, 0.5);
    // Validation has no error, so all is answered there: up to H(0.6).
    let abstention = knn.selective.abstention.unwrap();
    close(abstention.validation_coverage, 1.0);
    close(abstention.coverage, 1.0);
    close(abstention.risk.unwrap(), 0.25);
    // One classifier: the ensemble is the same, and never differs.
    assert_eq!(Judged { kind: knn.kind, ..ensemble.clone() }, *knn);
    assert_eq!(judgement.comparisons.len(), 1);
    close(judgement.comparisons[0].p, 1.0);
    assert_eq!((judgement.test.pictures, judgement.test.positive, judgement.patients_on_both_sides), (4, 2, 0));
}

/// Answers of their own decide the scores, and the probabilities all else.
#[test]
fn answers_by_the_sign_are_scored_and_ranks_are_by_probability() {
    let mut folder = by_hand();
    let [no, yes] = [false, true];
    // On the four test pictures, of which the last two are positive: all right; and none but the second and the last called positive.
    folder.classifiers[0].answers =
        Some(vec![vec![no, no, yes, yes, no, no, yes, yes], vec![no, no, yes, yes, no, yes, no, yes]]);
    let judgement = judge(&folder, &QUICK).unwrap();
    let [knn, ensemble] = &judgement.classifiers[..] else { panic!("{}", judgement.classifiers.len()) };
    assert!(knn.by_sign && !ensemble.by_sign);
    close(knn.runs.accuracy.unwrap().mean, 0.75);
    close(knn.runs.specificity.unwrap().mean, 0.75);
    // The runs are of one mind on the first and the last picture; of the others, 0.7 and 0.6, the probability decides.
    assert_eq!((knn.confusion.true_positives, knn.confusion.false_positives), (2, 1));
    let by_probability = judge(&by_hand(), &QUICK).unwrap();
    assert_eq!(knn.averaged.auc, by_probability.classifiers[0].averaged.auc);
    assert_eq!(knn.calibration, by_probability.classifiers[0].calibration);
    assert_eq!(*ensemble, by_probability.classifiers[1]);
    // With a third run most of them decide, whatever the probability.
    folder.runs = 3;
    let third = folder.classifiers[0].runs[1].clone();
    folder.classifiers[0].runs.push(third);
    let answers = folder.classifiers[0].answers.as_mut().unwrap();
    answers.push(answers[0].clone());
    let judged = judge(&folder, &QUICK).unwrap();
    close(judged.classifiers[0].averaged.accuracy.unwrap().value, 1.0);
    close(judged.classifiers[1].averaged.accuracy.unwrap().value, 0.75);
    // And through the files of a folder.
    let directory = tempfile::tempdir().unwrap();
    crate::judge::classifiers::simulation::write(&folder, directory.path());
    assert_eq!(judge(&read_run(directory.path()).unwrap(), &QUICK).unwrap(), judged);
}

#[test]
fn nothing_that_is_chosen_sees_a_test_picture() {
    let folder = simulated(Resample::Bootstrap);
    let mut other = folder.clone();
    other.rows.iter_mut().filter(|row| row.split == Split::Test).for_each(|row| row.positive = !row.positive);
    let [before, after] = [&folder, &other].map(|folder| judge(folder, &QUICK).unwrap());
    for (before, after) in before.classifiers.iter().zip(&after.classifiers) {
        assert_ne!(before.averaged.accuracy, after.averaged.accuracy);
        assert_eq!(before.calibration.temperature, after.calibration.temperature);
        assert_eq!(before.uncertainty.limit, after.uncertainty.limit);
        assert_eq!(before.screening.unwrap().threshold, after.screening.unwrap().threshold);
        assert_eq!(before.selective.abstention.map(|a| a.limit_bits), after.selective.abstention.map(|a| a.limit_bits));
        assert_eq!(before.validation_accuracy, after.validation_accuracy);
    }
}

#[test]
fn training_pictures_are_not_looked_at() {
    let folder = simulated(Resample::Bootstrap);
    let mut other = folder.clone();
    for (row, _) in folder.rows.iter().enumerate().filter(|(_, row)| row.split == Split::Train) {
        other.classifiers.iter_mut().flat_map(|c| &mut c.runs).for_each(|run| run[row] = 0.5);
    }
    assert_eq!(judge(&folder, &QUICK).unwrap(), judge(&other, &QUICK).unwrap());
}

#[test]
fn the_ensemble_averages_the_classifiers_and_temperature_mends_the_exaggerating() {
    let judgement = judge(&simulated(Resample::Bootstrap), &QUICK).unwrap();
    assert_eq!(judgement.classifiers.len(), 9);
    assert_eq!(judgement.comparisons.len(), 36);
    let bayes = judgement.classifiers.iter().find(|judged| judged.kind == Some(Kind::NaiveBayes)).unwrap();
    assert!(bayes.calibration.temperature.unwrap() > 2.0, "{:?}", bayes.calibration.temperature);
    assert!(bayes.calibration.tempered.as_ref().unwrap().nll < bayes.calibration.before.nll);
    assert!(bayes.calibration.isotonic.as_ref().unwrap().ece < bayes.calibration.before.ece);
    for judged in &judgement.classifiers {
        let Uncertainty { right_histogram, wrong_histogram, .. } = &judged.uncertainty;
        let wrong = judged.confusion.false_positives + judged.confusion.false_negatives;
        assert_eq!(wrong_histogram.iter().sum::<usize>() as u64, wrong);
        assert_eq!(right_histogram.iter().sum::<usize>() as u64, judged.confusion.total() - wrong);
        assert_eq!(judged.uncertainty.confusion.unwrap().total(), judged.confusion.total());
        assert_eq!(judged.sources.iter().map(|s| s.count.pictures).sum::<usize>(), judgement.test.pictures);
        assert_eq!((judged.roc.first(), judged.roc.last()), (Some(&[0.0, 0.0]), Some(&[1.0, 1.0])));
        let area: f64 = judged.roc.windows(2).map(|p| (p[1][0] - p[0][0]) * (p[1][1] + p[0][1]) / 2.0).sum();
        assert!((area - judged.averaged.auc.unwrap().value).abs() < 1e-12);
        for interval in judged.averaged.into_array().into_iter().flatten() {
            assert!(interval.low <= interval.value && interval.value <= interval.high);
        }
    }
}

#[test]
fn sources_of_one_class_have_no_ranking() {
    let judgement = judge(&simulated(Resample::Bootstrap), &QUICK).unwrap();
    for source in &judgement.classifiers[0].sources {
        let both = (1..source.count.pictures).contains(&source.count.positive);
        let figures = source.figures;
        assert!(figures.accuracy.is_some());
        assert_eq!([figures.f1, figures.precision, figures.auc].map(|f| f.is_some()), [both; 3], "{}", source.source);
        assert_eq!(figures.recall.is_some(), source.count.positive > 0);
        assert_eq!(figures.specificity.is_some(), source.count.positive < source.count.pictures);
    }
}

#[test]
fn a_left_out_source_is_judged_whole_and_alone() {
    let mut folder = simulated(Resample::Bootstrap);
    let source = folder.rows[0].source.clone();
    folder.left_out = Some(source.clone());
    let judgement = judge(&folder, &QUICK).unwrap();
    assert_eq!(judgement.test.pictures, folder.rows.iter().filter(|row| row.source == source).count());
    assert_eq!(judgement.classifiers[0].sources.len(), 1);
    let others = |split| folder.rows.iter().filter(|row| row.source != source && row.split == split).count();
    assert_eq!((judgement.train.pictures, judgement.validation.pictures), (others(Split::Train), others(Split::Val)));
    folder.left_out = Some("nowhere".into());
    assert!(matches!(judge(&folder, &QUICK), Err(JudgeError::NoTestPicture { .. })));
}

#[test]
fn with_a_split_for_each_run_its_own_test_pictures_count_and_nothing_is_fitted() {
    let folder = simulated(Resample::Split);
    let judgement = judge(&folder, &QUICK).unwrap();
    let roles = folder.roles.as_ref().unwrap();
    let runs = &folder.classifiers[0].runs;
    let tested = |run: usize| (0..folder.rows.len()).filter(move |&row| roles[run][row] == Split::Test);
    let accuracies: Vec<f64> = (0..folder.runs)
        .map(|run| {
            let right = tested(run).filter(|&row| (runs[run][row] >= 0.5) == folder.rows[row].positive).count();
            right as f64 / tested(run).count() as f64
        })
        .collect();
    let judged = &judgement.classifiers[0];
    close(judged.runs.accuracy.unwrap().mean, accuracies.iter().sum::<f64>() / accuracies.len() as f64);
    assert!(judgement.test.pictures > tested(0).count());
    assert!(judged.calibration.temperature.is_none() && judged.calibration.isotonic.is_none());
    assert!(judged.screening.is_none() && judged.selective.abstention.is_none() && judged.uncertainty.limit.is_none());
}

#[test]
fn a_written_folder_is_read_back() {
    for resample in [Resample::Bootstrap, Resample::Split] {
        let (run, folder) = (simulated(resample), tempfile::tempdir().unwrap());
        write(&run, folder.path());
        let read = read_run(folder.path()).unwrap();
        assert_eq!((read.rows, read.roles, read.runs, read.resample), (run.rows, run.roles, run.runs, run.resample));
        assert_eq!(read.classifiers.len(), run.classifiers.len());
        for (read, run) in read.classifiers.iter().zip(&run.classifiers) {
            assert_eq!((read.kind, &read.runs), (run.kind, &run.runs));
        }
    }
}

#[test]
fn what_is_missing_or_damaged_is_named() {
    let (run, folder) = (simulated(Resample::Split), tempfile::tempdir().unwrap());
    let refused = |name: &str, change: &dyn Fn(&std::path::Path)| {
        write(&run, folder.path());
        change(&folder.path().join(name));
        let error = read_run(folder.path()).unwrap_err();
        assert!(error.to_string().contains(name), "{error}");
        error
    };
    let missing = |path: &std::path::Path| fs::remove_file(path).unwrap();
    for name in ["configuration.json", "rows.csv", "roles.csv", "predictions/knn/0003.safetensors"] {
        assert!(matches!(refused(name, &missing), RunFolderError::Unfinished { .. }), "{name}");
        let damaged = |path: &std::path::Path| fs::write(path, "nonsense,\n1").unwrap();
        assert!(matches!(refused(name, &damaged), RunFolderError::Malformed { .. }), "{name}");
    }
    let edited = |from: &'static str, to: &'static str| {
        move |path: &std::path::Path| {
            let text = fs::read_to_string(path).unwrap();
            assert!(text.contains(from));
            fs::write(path, text.replacen(from, to, 1)).unwrap();
        }
    };
    refused("configuration.json", &edited("\"format\":2", "\"format\":1"));
    refused("rows.csv", &edited(",true,", ",maybe,"));
    refused("roles.csv", &edited("\ntrain", "\nteacher"));
    refused("roles.csv", &edited("\ntrain", ""));
    let nan = |path: &std::path::Path| {
        let mut bytes = fs::read(path).unwrap();
        let end = bytes.len();
        bytes[end - 8..].copy_from_slice(&f64::NAN.to_le_bytes());
        fs::write(path, bytes).unwrap();
    };
    refused("predictions/mlp/0000.safetensors", &nan);
    let none = |path: &std::path::Path| fs::remove_dir_all(path).unwrap();
    assert!(matches!(refused("predictions", &none), RunFolderError::Unfinished { .. }));
}

#[test]
fn lists_of_different_lengths_are_refused() {
    let mut folder = by_hand();
    folder.classifiers[0].runs[1].pop();
    assert!(matches!(
        judge(&folder, &QUICK),
        Err(JudgeError::RunFolder(RunFolderError::Shape { found: 7, expected: 8, .. }))
    ));
    let mut folder = by_hand();
    folder.runs = 3;
    assert!(matches!(
        judge(&folder, &QUICK),
        Err(JudgeError::RunFolder(RunFolderError::Shape { found: 2, expected: 3, .. }))
    ));
    let mut folder = by_hand();
    folder.fewer.insert(Kind::Knn, 3);
    folder.classifiers[0].runs.push(vec![0.5; 8]);
    assert!(judge(&folder, &QUICK).is_err(), "not fewer, but more than all");
    let mut folder = by_hand();
    folder.classifiers.clear();
    assert!(matches!(judge(&folder, &QUICK), Err(JudgeError::RunFolder(RunFolderError::Shape { .. }))));
}

/// kNN has two runs, the forest one: each counts for half, and a run by itself is the first of both.
#[test]
fn a_classifier_with_fewer_runs_has_figures_of_these() {
    let mut folder = by_hand();
    let only = vec![0.2, 0.2, 0.8, 0.8, 0.1, 0.2, 0.2, 0.7];
    folder.classifiers.push(ClassifierRuns { kind: Kind::RandomForest, runs: vec![only], answers: None });
    assert!(judge(&folder, &QUICK).is_err(), "nobody said that it has fewer");
    folder.fewer.insert(Kind::RandomForest, 1);
    let judgement = judge(&folder, &QUICK).unwrap();
    let [knn, forest, all] = &judgement.classifiers[..] else { panic!("{judgement:?}") };
    assert_eq!([knn, forest, all].map(|judged| judged.run_count), [2, 1, 1]);
    // Test pictures are negative, negative, positive, positive. kNN says .1, .8, .4, .9 and .3, .6, .8, .9, so .2, .7, .6, .9; with the
    // forest's .1, .2, .2, .7 that is .15, .45, .4, .8. The first runs alone: .1, .5, .3, .8.
    close(forest.averaged.accuracy.unwrap().value, 0.75);
    close(all.averaged.accuracy.unwrap().value, 0.75);
    close(all.averaged.auc.unwrap().value, 0.75);
    close(all.runs.accuracy.unwrap().mean, 0.5);
    close(knn.runs.accuracy.unwrap().mean, 0.625);
    let h = |p: f64| -p * p.log2() - (1.0 - p) * (1.0 - p).log2();
    let expected =
        [(0.1, 0.3, 0.1), (0.8, 0.6, 0.2), (0.4, 0.8, 0.2), (0.9, 0.9, 0.7)].map(|(first, second, forest)| {
            let mean = ((first + second) / 2.0 + forest) / 2.0;
            h(mean) - ((h(first) + h(second)) / 2.0 + h(forest)) / 2.0
        });
    let found = all.uncertainty.mutual_information_bits;
    assert!((found - expected.iter().sum::<f64>() / 4.0).abs() < 1e-6, "{found} {expected:?}");
}

#[test]
fn risk_and_coverage_are_numpys() {
    use references::{flags, floats, number, section};
    use thorax_shared::metrics::RiskCoverage;

    let cases = section("risk_coverage");
    assert_eq!(cases.len(), 3);
    for case in cases {
        let curve = RiskCoverage::new(&floats(&case["uncertainty"]), &flags(&case["wrong"])).unwrap();
        let tolerance = number(&case["tolerance"]);
        let expected: Vec<f64> = case["risk"].as_array().unwrap().iter().map(number).collect();
        let found: Vec<f64> = curve.risks().collect();
        assert_eq!(found.len(), expected.len());
        for (found, expected) in found.iter().zip(&expected) {
            assert!((found - expected).abs() <= 10.0 * tolerance, "{found} {expected}");
        }
        assert!((curve.area() - number(&case["aurc"])).abs() <= tolerance);
    }
}

/// Votes of five neighbours in three runs: 5, 2 and none come to as many as 3, 3 and 1. As f32 the one mean is below the other, and
/// this AUC would be 1.
#[test]
fn tied_votes_stay_tied() {
    let mut folder = by_hand();
    folder.runs = 3;
    folder.classifiers[0].runs = vec![
        vec![0.1, 0.3, 0.6, 0.9, 1.0, 1.0, 0.6, 0.6],
        vec![0.1, 0.3, 0.6, 0.9, 0.4, 0.4, 0.6, 0.6],
        vec![0.1, 0.3, 0.6, 0.9, 0.0, 0.0, 0.2, 0.2],
    ];
    let judgement = judge(&folder, &QUICK).unwrap();
    let knn = &judgement.classifiers[0];
    close(knn.averaged.auc.unwrap().value, 0.5);
    assert_eq!(knn.roc, [[0.0, 0.0], [1.0, 1.0]], "one score, one step");
    let risks: Vec<f64> = knn.selective.curve.iter().map(|[_, risk]| *risk).collect();
    assert!(risks.iter().all(|risk| (risk - 0.5).abs() < 1e-12), "{risks:?}");
}
