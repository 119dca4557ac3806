"""What scikit-learn and XGBoost take where nobody says otherwise, under the names of trainer/src/classifiers/parameters.toml.

    python trainer/references/library_defaults.py

Needs scikit-learn and xgboost. XGBoost's Python classes leave their defaults to the library, so a booster is fitted and asked.
Assertions see to what has no name there: that trees are stumps, that a depth has no limit.
"""
import json, pathlib
import numpy as np, sklearn, xgboost
from sklearn.ensemble import AdaBoostClassifier, RandomForestClassifier
from sklearn.naive_bayes import GaussianNB
from sklearn.neighbors import KNeighborsClassifier
from sklearn.neural_network import MLPClassifier
from sklearn.svm import SVC

random = np.random.default_rng(1)
x, y = random.normal(size=(300, 3)), random.integers(0, 2, 300)

svc, forest, mlp = SVC().get_params(), RandomForestClassifier().get_params(), MLPClassifier().get_params()
knn, adaboost = KNeighborsClassifier().get_params(), AdaBoostClassifier().get_params()
defaults = {}
for name in ["svm-polynomial", "svm-rbf"]:
    defaults |= {f"{name}.c": svc["C"], f"{name}.gamma": svc["gamma"], f"{name}.tolerance": svc["tol"]}
defaults |= {"svm-polynomial.degree": svc["degree"], "svm-polynomial.coef0": svc["coef0"]}
assert forest["max_depth"] is None
defaults |= {
    "random-forest.trees": forest["n_estimators"],
    "random-forest.max_features": forest["max_features"],
    "random-forest.min_samples_leaf": forest["min_samples_leaf"],
    "random-forest.max_depth": 0,
}
(hidden,) = mlp["hidden_layer_sizes"]
assert mlp["batch_size"] == "auto" and mlp["solver"] == "adam"  # "auto": 200, or all there are
defaults |= {
    "mlp.hidden": hidden,
    "mlp.learning_rate": mlp["learning_rate_init"],
    "mlp.momentum": mlp["momentum"],
    "mlp.batch": 200,
    "mlp.epochs": mlp["max_iter"],
    "mlp.l2": mlp["alpha"],
}
defaults |= {"knn.neighbours": knn["n_neighbors"], "knn.weights": knn["weights"]}
defaults |= {"adaboost.rounds": adaboost["n_estimators"], "adaboost.learning_rate": adaboost["learning_rate"]}
assert all(tree.get_depth() <= 1 for tree in AdaBoostClassifier().fit(x, y).estimators_)
defaults["naive-bayes.var_smoothing"] = GaussianNB().var_smoothing

booster = xgboost.XGBClassifier().fit(x, y).get_booster()
learner = json.loads(booster.save_config())["learner"]["gradient_booster"]
tree = learner["tree_train_param"]
assert learner["gbtree_train_param"]["tree_method"] in ("auto", "hist")
defaults |= {
    "xgboost.trees": booster.num_boosted_rounds(),
    "xgboost.depth": int(tree["max_depth"]),
    "xgboost.eta": float(tree["eta"]),
    "xgboost.lambda": float(tree["lambda"]),
    "xgboost.min_child_weight": float(tree["min_child_weight"]),
    "xgboost.max_bin": int(tree["max_bin"]),
}

written = {"scikit-learn": sklearn.__version__, "xgboost": xgboost.__version__, "defaults": dict(sorted(defaults.items()))}
path = pathlib.Path(__file__).parent.parent / "tests/references/library_defaults.json"
path.write_text(json.dumps(written, indent=1) + "\n")
