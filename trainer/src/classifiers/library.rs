//! The paper's classifiers are those of scikit-learn and XGBoost, and it names none of their hyper-parameters: so the libraries'
//! own defaults are what it most likely had. They are in `library.toml`; `--paper` takes them, and every report says where a run
//! has others.

use super::parameters::{Configuration, DEFAULTS, Parameters, lay_over};

/// The libraries' defaults, in the form of [`DEFAULTS`].
pub(super) const LIBRARY: &str = include_str!("library.toml");

/// The libraries, and their versions.
pub const LIBRARIES: &str = "scikit-learn 1.9.1 and XGBoost 3.2.0";

/// What `--paper` leaves as it is here, and why.
const LEFT: [(&str, &str); 4] = [
    ("standardise", "the paper does not say; without it a few strong channels decide every distance"),
    ("mlp.learning_rate", "the library's is for Adam, and here is stochastic gradient descent"),
    ("mlp.batch", "the library's is for Adam, and here is stochastic gradient descent"),
    ("mlp.epochs", "the library stops when its loss no longer falls, and here all epochs are gone through"),
];

/// Why the defaults of `classify` without `--paper` are others than the libraries'.
const CHOSEN: [(&str, &str); 9] = [
    ("svm-polynomial.tolerance", "at the library's 1e-3 another rounding moves a gradient by 2e-3 of its largest"),
    ("svm-rbf.tolerance", "at the library's 1e-3 another rounding moves a gradient by 2e-3 of its largest"),
    ("svm-polynomial.answer", "the probability is what is averaged, calibrated, and has an entropy"),
    ("svm-rbf.answer", "the probability is what is averaged, calibrated, and has an entropy"),
    ("mlp.hidden", "time: a hundred networks on a hundred thousand columns"),
    ("adaboost.rounds", "time: every round looks at every column"),
    ("xgboost.trees", "time: every tree looks at every column"),
    ("xgboost.depth", "time: every level looks at every column"),
    ("xgboost.max_bin", "memory: a node's histogram has every bin of every column"),
];

/// What is done otherwise than in the libraries, whatever the hyper-parameters.
pub const ALWAYS: [[&str; 3]; 5] = [
    [
        "SVC: probabilities",
        "cross-fitted by patient",
        "cross-fitted by picture, which flatters where a patient has several",
    ],
    ["Neural Network: solver", "stochastic gradient descent with Nesterov's momentum, all epochs", "Adam, early end"],
    [
        "Random Forest, Adaboost: cuts",
        "between up to 256 bins of a column, of equally many training pictures",
        "anywhere",
    ],
    ["XGBoost: growth", "node by node, the same tree, as nothing but its depth limits it", "level by level"],
    ["All: training pictures", "patients drawn with replacement, anew for each run", "whatever they are given"],
];

/// A hyper-parameter that is another than the library's.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Difference {
    /// `adaboost.rounds`.
    pub name: String,
    /// Its value in the run.
    pub here: String,
    /// The library's.
    pub library: String,
    /// Why, where the value is one that `classify` has unasked.
    pub why: Option<&'static str>,
}

/// What `--paper` lays over the defaults.
pub(super) fn taken() -> Result<toml::Table, toml::de::Error> {
    let mut table: toml::Table = LIBRARY.parse()?;
    for (name, _) in LEFT {
        match name.split_once('.') {
            Some((section, name)) => table.get_mut(section).and_then(toml::Value::as_table_mut).map(|s| s.remove(name)),
            None => Some(table.remove(name)),
        };
    }
    Ok(table)
}

impl Parameters {
    /// Where these are others than the libraries' defaults.
    ///
    /// # Errors
    /// Parameters that cannot be written as TOML.
    pub fn differences(&self) -> anyhow::Result<Vec<Difference>> {
        let unasked = values(&Configuration::load(None)?.parameters)?;
        let library: Self = complete(LIBRARY.parse()?)?.try_into()?;
        let pairs = values(self)?.into_iter().zip(values(&library)?).zip(unasked);
        let differing = pairs.filter(|((here, library), _)| here.1 != library.1);
        Ok(differing
            .map(|(((name, here), (_, library)), (_, unasked))| {
                let why = LEFT.iter().chain(&CHOSEN).find(|(of, _)| *of == name).map(|(_, why)| *why);
                Difference {
                    why: why.filter(|_| here == unasked),
                    name,
                    here: here.to_string(),
                    library: library.to_string(),
                }
            })
            .collect())
    }
}

/// Every hyper-parameter by its name, in alphabetical order.
fn values(parameters: &Parameters) -> anyhow::Result<Vec<(String, toml::Value)>> {
    let mut values = vec![];
    for (section, value) in complete(toml::Table::try_from(parameters)?)? {
        match value {
            toml::Value::Table(table) => {
                values.extend(table.into_iter().map(|(name, value)| (format!("{section}.{name}"), value)));
            }
            value => values.push((section, value)),
        }
    }
    Ok(values)
}

/// With the defaults of what a table leaves out.
fn complete(over: toml::Table) -> Result<toml::Table, toml::de::Error> {
    let mut table: toml::Table = DEFAULTS.parse()?;
    table.remove("tune");
    lay_over(&mut table, over);
    Ok(table)
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    fn names(parameters: &Parameters) -> Vec<String> {
        parameters.differences().unwrap().into_iter().map(|difference| difference.name).collect()
    }

    /// `trainer/references/library_defaults.py` asked scikit-learn and XGBoost.
    #[test]
    fn the_libraries_say_so_themselves() {
        let told: serde_json::Value =
            serde_json::from_str(include_str!("../../tests/references/library_defaults.json")).unwrap();
        let library: Parameters = complete(LIBRARY.parse().unwrap()).unwrap().try_into().unwrap();
        let mut asked = 0;
        for (name, value) in values(&library).unwrap() {
            // The two that are none of a library's own.
            if ["standardise", "folds"].contains(&name.as_str()) || name.ends_with(".answer") {
                continue;
            }
            let expected = &told["defaults"][&name];
            let same = match &value {
                toml::Value::String(word) => expected == word.as_str(),
                toml::Value::Integer(number) => expected.as_f64() == Some(*number as f64),
                toml::Value::Float(number) => {
                    expected.as_f64().is_some_and(|e| (e - number).abs() <= 1e-6 * number.abs())
                }
                _ => false,
            };
            assert!(same, "{name} is {value} here and {expected} there");
            asked += 1;
        }
        assert_eq!(asked, told["defaults"].as_object().unwrap().len());
        let versions = format!(
            "scikit-learn {} and XGBoost {}",
            told["scikit-learn"].as_str().unwrap(),
            told["xgboost"].as_str().unwrap()
        );
        assert_eq!(versions, LIBRARIES);
    }

    #[test]
    fn the_papers_parameters_are_the_libraries_but_for_those_that_are_named() {
        let paper = Configuration::of_paper(None).unwrap().parameters;
        assert_eq!((paper.xgboost.trees, paper.xgboost.depth, paper.adaboost.rounds), (100, 6, 50));
        assert_eq!(paper.random_forest.trees, 100);
        let mut left: Vec<&str> = LEFT.iter().map(|(name, _)| *name).collect();
        left.sort_unstable();
        let mut found = names(&paper);
        found.sort_unstable();
        assert_eq!(found, left);
        assert!(paper.differences().unwrap().iter().all(|difference| difference.why.is_some()));
        // What `classify` has unasked differs in these and in those with a reason of its own.
        let defaults = Configuration::load(None).unwrap().parameters;
        assert_eq!(names(&defaults).len(), LEFT.len() + CHOSEN.len());
        assert!(defaults.differences().unwrap().iter().all(|difference| difference.why.is_some()));
    }

    #[test]
    fn what_a_file_says_goes_before_the_papers_and_has_no_reason_of_ours() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("mine.toml");
        std::fs::write(&path, "standardise = false\n[adaboost]\nrounds = 20\n[knn]\nneighbours = 9").unwrap();
        let parameters = Configuration::of_paper(Some(&path)).unwrap().parameters;
        let differences = parameters.differences().unwrap();
        assert!(differences.iter().all(|difference| difference.name != "standardise"), "it is the library's now");
        let knn = differences.iter().find(|difference| difference.name == "knn.neighbours").unwrap();
        assert_eq!((knn.here.as_str(), knn.library.as_str(), knn.why), ("9", "5", None));
        assert_eq!(parameters.xgboost.trees, 100);
    }
}
