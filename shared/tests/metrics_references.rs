//! Metrics, uncertainty and temperature against scikit-learn, NumPy and SciPy
//! (`references/metrics_references.py` wrote the numbers).
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, missing_docs)]

use serde_json::Value;
use thorax_shared::decision::fit_temperature;
use thorax_shared::metrics::{
    Confusion, RocCurve, bootstrap_interval, brier_score, error_detection_auc, expected_calibration_error,
    negative_log_likelihood, roc_auc,
};
use thorax_shared::uncertainty::{Ensemble, binary_entropy_bits, entropy_bits, mean_distribution};

/// For what is computed and returned as `f64`.
const EXACT: f64 = 1e-12;
/// For what is returned as `f32`.
const SINGLE: f64 = 1e-6;

fn references(section: &str) -> Value {
    let all: Value = serde_json::from_str(include_str!("references/metrics/metrics.json")).expect("JSON");
    all[section].clone()
}

fn floats(value: &Value) -> Vec<f32> {
    value.as_array().expect("list").iter().map(|x| x.as_f64().expect("number") as f32).collect()
}

fn flags(value: &Value) -> Vec<bool> {
    value.as_array().expect("list").iter().map(|x| x.as_u64() == Some(1)).collect()
}

fn number(value: &Value) -> f64 {
    value.as_f64().unwrap_or_else(|| panic!("no number: {value}"))
}

#[track_caller]
fn close(found: f64, expected: &Value, tolerance: f64) {
    let expected = number(expected);
    assert!((found - expected).abs() <= tolerance, "found {found}, reference {expected}");
}

#[test]
fn equations_3_to_8_are_scikit_learns() {
    let cases = references("confusion");
    assert_eq!(cases.as_array().unwrap().len(), 6);
    for case in cases.as_array().unwrap() {
        let counts = Confusion::new(&flags(&case["predicted"]), &flags(&case["truth"])).unwrap();
        for (name, found) in [
            ("accuracy", counts.accuracy()),
            ("precision", counts.precision()),
            ("sensitivity", counts.sensitivity()),
            ("specificity", counts.specificity()),
            ("f1", counts.f1()),
            ("iou", counts.iou()),
        ] {
            match found {
                Some(found) => close(found, &case["figures"][name], EXACT),
                None => assert!(case["figures"][name].is_null(), "{name}: {}", case["figures"][name]),
            }
        }
    }
}

#[test]
fn roc_and_calibration_are_scikit_learns() {
    let cases = references("probabilities");
    assert_eq!(cases.as_array().unwrap().len(), 3);
    for case in cases.as_array().unwrap() {
        let (p, y) = (floats(&case["probabilities"]), flags(&case["labels"]));
        let curve = RocCurve::new(&p, &y).unwrap();
        let roc = &case["roc"];
        assert_eq!(curve.points.len(), roc["fpr"].as_array().unwrap().len());
        assert_eq!(curve.points[0].threshold, f32::INFINITY);
        assert_eq!(curve.points[1..].iter().map(|p| p.threshold).collect::<Vec<_>>(), floats(&roc["thresholds"]));
        for (i, point) in curve.points.iter().enumerate() {
            close(curve.false_positive_rate(point), &roc["fpr"][i], EXACT);
            close(curve.true_positive_rate(point), &roc["tpr"][i], EXACT);
        }
        close(curve.auc(), &case["auc"], EXACT);
        close(brier_score(&p, &y).unwrap(), &case["brier"], EXACT);
        close(negative_log_likelihood(&p, &y).unwrap(), &case["nll"], EXACT);
        for bins in [5, 10, 15] {
            close(expected_calibration_error(&p, &y, bins).unwrap(), &case["ece"][bins.to_string()], EXACT);
        }
        let entropy = floats(&case["entropy_bits"]);
        for (&p, &entropy) in p.iter().zip(&entropy) {
            assert!((binary_entropy_bits(p) - entropy).abs() <= 1e-6, "{p}");
        }
        let predicted: Vec<bool> = p.iter().map(|&p| p >= 0.5).collect();
        close(error_detection_auc(&entropy, &predicted, &y).unwrap(), &case["error_auc"], EXACT);
    }
}

#[test]
fn equations_1_and_2_are_scipys() {
    let cases = references("ensembles");
    for case in cases["distributions"].as_array().unwrap() {
        let members: Vec<Vec<f32>> = case["members"].as_array().unwrap().iter().map(floats).collect();
        let mean = mean_distribution(&members).unwrap();
        for (found, expected) in mean.iter().zip(case["mean"].as_array().unwrap()) {
            close(f64::from(*found), expected, SINGLE);
        }
        close(f64::from(entropy_bits(&mean)), &case["entropy_bits"], SINGLE);
    }
    for case in cases["binary"].as_array().unwrap() {
        let e = Ensemble::from_logits(&floats(&case["logits"]), number(&case["temperature"]) as f32).unwrap();
        close(f64::from(e.probability), &case["probability"], SINGLE);
        close(f64::from(e.entropy_bits), &case["entropy_bits"], SINGLE);
        close(f64::from(e.expected_entropy_bits), &case["expected_entropy_bits"], SINGLE);
        close(f64::from(e.mutual_information_bits), &case["mutual_information_bits"], SINGLE);
        close(f64::from(e.standard_deviation), &case["standard_deviation"], SINGLE);
    }
}

#[test]
fn the_fitted_temperature_is_scipys() {
    for case in references("temperatures").as_array().unwrap() {
        let logits: Vec<Vec<f32>> = case["logits"].as_array().unwrap().iter().map(floats).collect();
        let found = fit_temperature(&logits, &flags(&case["labels"])).unwrap();
        close(f64::from(found), &case["temperature"], 1e-5);
    }
}

#[test]
fn the_bootstrap_is_numpys() {
    let case = references("bootstrap");
    let groups: Vec<u64> = case["groups"].as_array().unwrap().iter().map(|g| g.as_u64().unwrap()).collect();
    let (y, s) = (flags(&case["labels"]), floats(&case["scores"]));
    let auc = |drawn: &[usize]| {
        let scores: Vec<f32> = drawn.iter().map(|&i| s[i]).collect();
        let labels: Vec<bool> = drawn.iter().map(|&i| y[i]).collect();
        roc_auc(&scores, &labels).ok()
    };
    let (seed, resamples) = (case["seed"].as_u64().unwrap(), case["resamples"].as_u64().unwrap() as usize);
    let interval = bootstrap_interval(&groups, seed, resamples, number(&case["level"]), auc).unwrap();
    assert_eq!(interval.resamples as u64, case["used"].as_u64().unwrap());
    close(interval.estimate, &case["estimate"], EXACT);
    close(interval.low, &case["low"], EXACT);
    close(interval.high, &case["high"], EXACT);

    // SciPy draws other random numbers: the interval of a mean (0.08 wide) has to agree to a twentieth of it.
    let sample = floats(&case["scipy_sample"]);
    let each: Vec<usize> = (0..sample.len()).collect();
    let mean = |drawn: &[usize]| Some(drawn.iter().map(|&i| f64::from(sample[i])).sum::<f64>() / drawn.len() as f64);
    let interval = bootstrap_interval(&each, 1, 20_000, 0.95, mean).unwrap();
    close(interval.low, &case["scipy_interval"][0], 0.002);
    close(interval.high, &case["scipy_interval"][1], 0.002);
}
