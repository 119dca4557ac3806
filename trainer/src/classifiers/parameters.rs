//! Hyper-parameters: a TOML file laid over the documented defaults, which are a TOML file themselves.

use std::{collections::BTreeMap, path::Path};

use serde::{Deserialize, Serialize};

use super::{ClassifierError, Kind, library};

/// The defaults, with what each of them means.
pub const DEFAULTS: &str = include_str!("parameters.toml");

/// Width of a kernel.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(untagged)]
pub enum Gamma {
    /// So wide.
    Value(f64),
    /// By a rule.
    Rule(GammaRule),
}

/// How a kernel's width follows from the features.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum GammaRule {
    /// `1 / (columns * variance of all numbers)`, scikit-learn's default.
    Scale,
}

/// By what a support vector machine calls a picture positive.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Answer {
    /// Its probability is at least one half.
    #[default]
    Probability,
    /// Its decision is at least 0, as scikit-learn's `SVC.predict`. The two need not agree.
    Sign,
}

impl Answer {
    /// What run folders, whose hash names every hyper-parameter, have been without.
    fn is_default(&self) -> bool {
        *self == Self::default()
    }
}

/// Of the polynomial support vector machine.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct PolynomialParameters {
    /// Penalty.
    pub c: f64,
    /// Degree, 1 is linear.
    pub degree: u32,
    /// Factor of the inner product.
    pub gamma: Gamma,
    /// Added to it.
    pub coef0: f64,
    /// Largest violation of the optimality conditions.
    pub tolerance: f64,
    /// By what its scores are reckoned; in every case its probabilities are kept.
    #[serde(default, skip_serializing_if = "Answer::is_default")]
    pub answer: Answer,
}

/// Of the support vector machine with radial basis functions.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct RbfParameters {
    /// Penalty.
    pub c: f64,
    /// Factor of the squared distance.
    pub gamma: Gamma,
    /// Largest violation of the optimality conditions.
    pub tolerance: f64,
    /// By what its scores are reckoned; in every case its probabilities are kept.
    #[serde(default, skip_serializing_if = "Answer::is_default")]
    pub answer: Answer,
}

/// Columns that a split of a tree looks at.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(untagged)]
pub enum MaxFeatures {
    /// So many.
    Count(usize),
    /// By a rule.
    Rule(MaxFeaturesRule),
}

/// How many columns a split looks at.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum MaxFeaturesRule {
    /// The square root of all.
    Sqrt,
}

/// Of the random forest.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ForestParameters {
    /// Trees.
    pub trees: usize,
    /// Columns a split looks at.
    pub max_features: MaxFeatures,
    /// Least draws in a leaf.
    pub min_samples_leaf: usize,
    /// Deepest level; 0 has no limit.
    pub max_depth: usize,
}

/// Of the multilayer perceptron.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct MlpParameters {
    /// Units of the hidden layer.
    pub hidden: usize,
    /// Of stochastic gradient descent.
    pub learning_rate: f64,
    /// Nesterov's.
    pub momentum: f64,
    /// Pictures a step.
    pub batch: usize,
    /// Passes over the resample.
    pub epochs: usize,
    /// Weight decay.
    pub l2: f64,
}

/// How neighbours vote.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum NeighbourWeights {
    /// All alike.
    Uniform,
    /// By the inverse of the distance.
    Distance,
}

/// Of k nearest neighbours.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct KnnParameters {
    /// How many are asked.
    pub neighbours: usize,
    /// How they vote.
    pub weights: NeighbourWeights,
}

/// Of AdaBoost.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct AdaBoostParameters {
    /// Stumps.
    pub rounds: usize,
    /// Shrinks each stump's vote.
    pub learning_rate: f64,
}

/// Of Gaussian naive Bayes.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct NaiveBayesParameters {
    /// Share of the largest variance that is added to each.
    pub var_smoothing: f64,
}

/// Of XGBoost.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct XgboostParameters {
    /// Trees.
    pub trees: usize,
    /// Deepest level.
    pub depth: u32,
    /// Shrinks each tree.
    pub eta: f64,
    /// Penalty on the squared leaves.
    pub lambda: f64,
    /// Least sum of second derivatives in a leaf.
    pub min_child_weight: f64,
    /// Bins of a column.
    pub max_bin: u32,
}

/// All hyper-parameters of a run.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub struct Parameters {
    /// Whether columns have mean 0 and variance 1 over the training pictures.
    pub standardise: bool,
    /// Folds of the cross-fitting behind the SVMs' probabilities, and of the tuning.
    pub folds: usize,
    /// Support vector machine with a polynomial kernel.
    pub svm_polynomial: PolynomialParameters,
    /// Support vector machine with radial basis functions.
    pub svm_rbf: RbfParameters,
    /// Random forest.
    pub random_forest: ForestParameters,
    /// Multilayer perceptron.
    pub mlp: MlpParameters,
    /// k nearest neighbours.
    pub knn: KnnParameters,
    /// AdaBoost.
    pub adaboost: AdaBoostParameters,
    /// Gaussian naive Bayes.
    pub naive_bayes: NaiveBayesParameters,
    /// XGBoost.
    pub xgboost: XgboostParameters,
}

/// What `--tune` tries of a classifier: values of each named parameter.
pub type Grid = BTreeMap<String, Vec<toml::Value>>;

/// A configuration file, laid over the defaults.
#[derive(Clone, Debug)]
pub struct Configuration {
    /// The hyper-parameters.
    pub parameters: Parameters,
    /// What is tried of each classifier.
    pub tune: BTreeMap<Kind, Grid>,
    table: toml::Table,
}

impl Configuration {
    /// Reads `path` over the defaults; without a path, the defaults.
    ///
    /// # Errors
    /// [`ClassifierError::Read`], or [`ClassifierError::Parameters`] with the name of what cannot be used.
    pub fn load(path: Option<&Path>) -> Result<Self, ClassifierError> {
        Self::over(Ok(toml::Table::new()), path)
    }

    /// Reads `path` over what `--paper` takes: the [libraries' defaults](super::library) over ours.
    ///
    /// # Errors
    /// As [`Self::load`].
    pub fn of_paper(path: Option<&Path>) -> Result<Self, ClassifierError> {
        Self::over(library::taken(), path)
    }

    fn over(below: Result<toml::Table, toml::de::Error>, path: Option<&Path>) -> Result<Self, ClassifierError> {
        let text = path
            .map(std::fs::read_to_string)
            .transpose()
            .map_err(|reason| ClassifierError::Read { path: path.unwrap_or(Path::new("")).to_owned(), reason })?;
        Self::parse(below, text.as_deref().unwrap_or("")).map_err(|reason| ClassifierError::Parameters {
            path: path.unwrap_or(Path::new("the defaults")).to_owned(),
            reason,
        })
    }

    /// The defaults, `below` over them, and `text` over both.
    fn parse(below: Result<toml::Table, toml::de::Error>, text: &str) -> Result<Self, String> {
        let reason = |error: toml::de::Error| error.to_string().trim_end().to_owned();
        let mut table: toml::Table = DEFAULTS.parse().map_err(reason)?;
        lay_over(&mut table, below.map_err(reason)?);
        lay_over(&mut table, text.parse().map_err(reason)?);
        Self::from_table(table)
    }

    fn from_table(table: toml::Table) -> Result<Self, String> {
        let mut parameters = table.clone();
        let tune = parameters.remove("tune").unwrap_or(toml::Value::Table(toml::Table::new()));
        let tune: BTreeMap<Kind, Grid> = tune.try_into().map_err(|error| format!("[tune] {error}"))?;
        let parameters: Parameters =
            parameters.try_into().map_err(|error: toml::de::Error| error.to_string().trim_end().to_owned())?;
        parameters.validate()?;
        let configuration = Self { parameters, tune, table };
        for (kind, grid) in &configuration.tune {
            for (name, values) in grid {
                for value in values {
                    let fault = |reason| format!("[tune] {kind}: {name} = {value}: {reason}");
                    configuration.with(*kind, &[(name, value)]).map_err(fault)?;
                }
            }
        }
        Ok(configuration)
    }

    /// The hyper-parameters with some of one classifier's replaced.
    ///
    /// # Errors
    /// Why they cannot be.
    pub fn with(&self, kind: Kind, changes: &[(&str, &toml::Value)]) -> Result<Parameters, String> {
        let mut table = self.table.clone();
        table.remove("tune");
        let section = table.get_mut(kind.name()).and_then(toml::Value::as_table_mut);
        let section = section.ok_or_else(|| format!("there is no section [{kind}]"))?;
        changes.iter().for_each(|&(name, value)| drop(section.insert(name.to_owned(), value.clone())));
        let parameters: Parameters =
            table.try_into().map_err(|error: toml::de::Error| error.to_string().trim_end().to_owned())?;
        parameters.validate()?;
        Ok(parameters)
    }
}

/// Puts the values of `over` in the place of those in `table`, table by table.
pub(super) fn lay_over(table: &mut toml::Table, over: toml::Table) {
    for (name, value) in over {
        match (table.get_mut(&name), value) {
            (Some(toml::Value::Table(below)), toml::Value::Table(above)) if name != "tune" => lay_over(below, above),
            (_, value) => drop(table.insert(name, value)),
        }
    }
}

impl Parameters {
    /// Takes the section of `kind` from `other`.
    pub fn take(&mut self, kind: Kind, other: &Self) {
        match kind {
            Kind::SvmPolynomial => self.svm_polynomial = other.svm_polynomial.clone(),
            Kind::SvmRbf => self.svm_rbf = other.svm_rbf.clone(),
            Kind::RandomForest => self.random_forest = other.random_forest.clone(),
            Kind::Mlp => self.mlp = other.mlp.clone(),
            Kind::Knn => self.knn = other.knn.clone(),
            Kind::AdaBoost => self.adaboost = other.adaboost.clone(),
            Kind::NaiveBayes => self.naive_bayes = other.naive_bayes.clone(),
            Kind::Xgboost => self.xgboost = other.xgboost.clone(),
        }
    }

    /// Refuses numbers with which nothing can be fitted.
    fn validate(&self) -> Result<(), String> {
        let positive = |name: &str, value: f64| {
            let usable = value.is_finite() && value > 0.0;
            usable.then_some(()).ok_or_else(|| format!("{name} is {value}, but must be a number above 0"))
        };
        let count = |name: &str, value: usize| positive(name, value as f64);
        let finite = |name: &str, value: f64| {
            let usable = value.is_finite() && value >= 0.0;
            usable.then_some(()).ok_or_else(|| format!("{name} is {value}, but must be a number of at least 0"))
        };
        let gamma = |name: &str, value: Gamma| match value {
            Gamma::Value(value) => positive(name, value),
            Gamma::Rule(GammaRule::Scale) => Ok(()),
        };
        if self.folds < 2 {
            return Err(format!("folds is {}, but must be at least 2", self.folds));
        }
        positive("svm-polynomial.c", self.svm_polynomial.c)?;
        count("svm-polynomial.degree", self.svm_polynomial.degree as usize)?;
        gamma("svm-polynomial.gamma", self.svm_polynomial.gamma)?;
        finite("svm-polynomial.coef0", self.svm_polynomial.coef0)?;
        positive("svm-polynomial.tolerance", self.svm_polynomial.tolerance)?;
        positive("svm-rbf.c", self.svm_rbf.c)?;
        gamma("svm-rbf.gamma", self.svm_rbf.gamma)?;
        positive("svm-rbf.tolerance", self.svm_rbf.tolerance)?;
        count("random-forest.trees", self.random_forest.trees)?;
        if let MaxFeatures::Count(value) = self.random_forest.max_features {
            count("random-forest.max_features", value)?;
        }
        count("random-forest.min_samples_leaf", self.random_forest.min_samples_leaf)?;
        count("mlp.hidden", self.mlp.hidden)?;
        positive("mlp.learning_rate", self.mlp.learning_rate)?;
        if !(0.0..1.0).contains(&self.mlp.momentum) {
            return Err(format!("mlp.momentum is {}, but must be at least 0 and below 1", self.mlp.momentum));
        }
        count("mlp.batch", self.mlp.batch)?;
        count("mlp.epochs", self.mlp.epochs)?;
        finite("mlp.l2", self.mlp.l2)?;
        count("knn.neighbours", self.knn.neighbours)?;
        count("adaboost.rounds", self.adaboost.rounds)?;
        positive("adaboost.learning_rate", self.adaboost.learning_rate)?;
        finite("naive-bayes.var_smoothing", self.naive_bayes.var_smoothing)?;
        count("xgboost.trees", self.xgboost.trees)?;
        count("xgboost.depth", self.xgboost.depth as usize)?;
        positive("xgboost.eta", self.xgboost.eta)?;
        finite("xgboost.lambda", self.xgboost.lambda)?;
        finite("xgboost.min_child_weight", self.xgboost.min_child_weight)?;
        if !(2..=256).contains(&self.xgboost.max_bin) {
            return Err(format!("xgboost.max_bin is {}, but must be 2 to 256", self.xgboost.max_bin));
        }
        Ok(())
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    fn parse(text: &str) -> Result<Configuration, String> {
        Configuration::parse(Ok(toml::Table::new()), text)
    }

    #[test]
    fn a_file_replaces_what_it_names_and_nothing_else() {
        let defaults = parse("").unwrap();
        assert_eq!(defaults.parameters.knn.neighbours, 5);
        assert_eq!(defaults.tune.len(), Kind::ALL.len());
        let changed = parse("[knn]\nneighbours = 9\n[svm-rbf]\ngamma = 0.5").unwrap();
        assert_eq!(changed.parameters.knn, KnnParameters { neighbours: 9, weights: NeighbourWeights::Uniform });
        assert_eq!(changed.parameters.svm_rbf.gamma, Gamma::Value(0.5));
        assert_eq!(changed.parameters.mlp, defaults.parameters.mlp);
        let tuned = changed.with(Kind::Knn, &[("weights", &toml::Value::String("distance".into()))]).unwrap();
        assert_eq!(tuned.knn, KnnParameters { neighbours: 9, weights: NeighbourWeights::Distance });
        let only = parse("[tune]\nknn = { neighbours = [1] }").unwrap();
        assert_eq!(only.tune.keys().collect::<Vec<_>>(), [&Kind::Knn]);
    }

    #[test]
    fn what_cannot_be_used_is_named() {
        for (text, part) in [
            ("[knn]\nneighbors = 3", "neighbors"),
            ("[knn]\nneighbours = 0", "knn.neighbours"),
            ("[svm-rbf]\nc = -1", "svm-rbf.c"),
            ("[mlp]\nmomentum = 1.0", "mlp.momentum"),
            ("[xgboost]\nmax_bin = 1000", "xgboost.max_bin"),
            ("folds = 1", "folds"),
            ("[tune]\nknn = { neighbours = [0] }", "[tune] knn"),
            ("[tune]\nfoo = {}", "foo"),
            ("nonsense", "nonsense"),
        ] {
            let reason = parse(text).unwrap_err();
            assert!(reason.contains(part), "{text}: {reason}");
        }
    }
}
