//! Which classifiers there are, and what a run of one learns from.

use serde::{Deserialize, Serialize};

/// One of the paper's classifiers (section V).
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, clap::ValueEnum)]
#[serde(rename_all = "kebab-case")]
pub enum Kind {
    /// Support vector machine with a polynomial kernel.
    SvmPolynomial,
    /// Support vector machine with a radial basis function.
    SvmRbf,
    /// Random forest.
    RandomForest,
    /// Multilayer perceptron.
    Mlp,
    /// k nearest neighbours.
    Knn,
    /// AdaBoost of decision stumps.
    #[serde(rename = "adaboost")]
    #[value(name = "adaboost")]
    AdaBoost,
    /// Gaussian naive Bayes.
    NaiveBayes,
    /// Gradient-boosted trees of the XGBoost library.
    Xgboost,
}

impl Kind {
    /// All of them, in the order of the paper's tables.
    pub const ALL: [Self; 8] = [
        Self::SvmPolynomial,
        Self::SvmRbf,
        Self::RandomForest,
        Self::Mlp,
        Self::Knn,
        Self::AdaBoost,
        Self::NaiveBayes,
        Self::Xgboost,
    ];

    /// Its name in files and on the command line.
    pub const fn name(self) -> &'static str {
        match self {
            Self::SvmPolynomial => "svm-polynomial",
            Self::SvmRbf => "svm-rbf",
            Self::RandomForest => "random-forest",
            Self::Mlp => "mlp",
            Self::Knn => "knn",
            Self::AdaBoost => "adaboost",
            Self::NaiveBayes => "naive-bayes",
            Self::Xgboost => "xgboost",
        }
    }

    /// Its name in the paper's tables V to VIII.
    pub const fn title(self) -> &'static str {
        match self {
            Self::SvmPolynomial => "SVC (polynomial)",
            Self::SvmRbf => "SVC (RBF)",
            Self::RandomForest => "Random Forest",
            Self::Mlp => "Neural Network",
            Self::Knn => "KNN",
            Self::AdaBoost => "Adaboost",
            Self::NaiveBayes => "Naive Bayes",
            Self::Xgboost => "XGBoost",
        }
    }

    /// Whether it looks at columns one by one, and so at the codes of all features.
    pub const fn of_trees(self) -> bool {
        matches!(self, Self::RandomForest | Self::AdaBoost | Self::Xgboost)
    }
}

impl std::fmt::Display for Kind {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(self.name())
    }
}

/// One run: the rows it learns from, and the seed of whatever else it draws.
#[derive(Clone, Debug)]
pub struct ClassifierRun {
    /// From 0.
    pub number: usize,
    /// Of its initialisation, its trees, its shuffling.
    pub seed: u64,
    /// `[N]`: how often each row counts; 0 where it is not learnt from.
    pub counts: Vec<u32>,
}
