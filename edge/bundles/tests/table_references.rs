//! The table of thresholds is NumPy's and SciPy's (`references/table_references.py`).
#![allow(clippy::unwrap_used, reason = "a test may fail by panic")]

use serde_json::Value;
use thorax_bundles::table::{Case, Costs, Row, Share};

fn near(found: f64, expected: &Value) -> bool {
    (found - expected.as_f64().unwrap()).abs() <= 1e-9 * found.abs().max(1.0)
}

fn agree(found: Option<Share>, expected: &Value) -> bool {
    match found {
        None => expected.is_null(),
        Some(Share { share, low, high }) => {
            [share, low, high].iter().zip(0..).all(|(found, i)| near(*found, &expected[i]))
        }
    }
}

#[test]
fn the_table_is_that_of_the_references() {
    let references: Value = serde_json::from_str(include_str!("references/table.json")).unwrap();
    let costs = ["cost_screen", "cost_test"].map(|name| references[name].as_f64().unwrap());
    let costs = Costs { screen: costs[0], test: costs[1] };
    let mut compared = 0;
    for table in references["tables"].as_array().unwrap() {
        let case = |case: &Value| Case {
            probability: case[0].as_f64().unwrap(),
            positive: case[1].as_bool().unwrap(),
            always_sent: case[2].as_bool().unwrap(),
        };
        let cases: Vec<Case> = table["cases"].as_array().unwrap().iter().map(case).collect();
        for expected in table["rows"].as_array().unwrap() {
            let row = Row::new(&cases, expected["threshold"].as_f64().unwrap());
            let counts = [row.true_positives, row.false_positives, row.false_negatives, row.true_negatives];
            assert_eq!(counts.map(Some), ["tp", "fp", "fn", "tn"].map(|name| expected[name].as_u64()), "{expected}");
            assert!(agree(row.sensitivity(), &expected["sensitivity"]), "{row:?}: {expected}");
            assert!(agree(row.specificity(), &expected["specificity"]), "{row:?}: {expected}");
            assert!(near(row.sent_share(), &expected["sent"]), "{row:?}: {expected}");
            assert!(near(row.found_per_thousand(), &expected["found_per_thousand"]), "{row:?}: {expected}");
            for (found, name) in
                [(row.screened_per_case(), "screened_per_case"), (row.cost_per_case(costs), "cost_per_case")]
            {
                let same = found.map_or(expected[name].is_null(), |found| near(found, &expected[name]));
                assert!(same, "{name}: {found:?}: {expected}");
            }
            compared += 1;
        }
    }
    assert!(compared >= 30, "{compared}");
}
