"""Sets the classifiers of `thorax-train classify` beside scikit-learn's and XGBoost's: same features, same resamples.

    pip install numpy scikit-learn xgboost safetensors
    python trainer/references/classifiers.py RUN_FOLDER STORE --out parity.csv --runs 0,1,2
    python trainer/references/classifiers.py RUN_FOLDER STORE --time 2 --limit 600 --json
    python trainer/references/classifiers.py --self-test

Written with scikit-learn 1.9.1, XGBoost 3.2.0 and numpy 2.4.6.

Parity. The peer learns from the resample of the run with the hyper-parameters of the run folder and predicts the same rows. What
is determined by the data (both support vector machines, k nearest neighbours, naive Bayes) must give our probabilities, on
every row of validation and test, to within --goal. What is drawn (forest, perceptron) or cuts columns in another place
(AdaBoost, XGBoost) must have an accuracy on the test rows that lies in the 95 % percentile bootstrap interval, over groups, of
the peer's. The exit status is 1 when one does not, and 2 when the folder and the store do not belong together. Probabilities of
support vector machines agree to 1e-3 only where both solvers were run to the end: `tolerance` 1e-6 in the configuration.

How often a row counts goes to the peer as its weight where that is the same as that many copies of the row: support vector
machines, AdaBoost, XGBoost. The others get the copies: a forest draws its trees' rows from them, and naive Bayes takes its
smoothing from the variance of all rows.

Times. --time K lets a fresh process fit K runs, each of which predicts all rows, once as scikit-learn is plainly used, from
features, and for neighbours and support vector machines once more as who knows their kernels would: from a Gram matrix that is
computed once. Of 100 runs the preparation is counted once and the rest is scaled from the K runs. Classifiers without
threads of their own fit as many runs at a time as there are threads, so K should be a multiple of --threads. A folder without
predictions is enough.

Self-test. Makes a store and a run folder of random features, with predictions that scikit-learn makes in the plainest way:
features, copies of rows, and Newton's method of Lin, Lin and Weng (2007) for Platt's sigmoid. They must pass, and must not when
they are altered.
"""
import argparse
import csv
import json
import os
import subprocess
import sys
import tempfile
import time
import warnings
from pathlib import Path

NAMES = ["svm-polynomial", "svm-rbf", "random-forest", "mlp", "knn", "adaboost", "naive-bayes", "xgboost"]
DETERMINED = ["svm-polynomial", "svm-rbf", "knn", "naive-bayes"]
FROM_GRAM = ["svm-polynomial", "svm-rbf", "knn"]
RESAMPLES_OF_GROUPS = 2000
BLOCK = 4096

arguments = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
arguments.add_argument("folder", type=Path, nargs="?", help="what `thorax-train classify --out` wrote")
arguments.add_argument("store", type=Path, nargs="?", help="the feature store that it learnt from")
arguments.add_argument("--out", type=Path, help="write the table of parity here, as CSV")
arguments.add_argument("--runs", help="numbers of runs, with commas [default: 0]", default="0")
arguments.add_argument("--only", help="names of classifiers, with commas [default: all that were predicted with]")
arguments.add_argument("--goal", type=float, default=1e-3, help="largest difference of a probability")
arguments.add_argument("--tolerance", type=float, help="of the peer's solver [default: the configuration's]")
arguments.add_argument("--time", type=int, metavar="K", help="time K runs instead")
arguments.add_argument("--limit", type=float, default=1800, help="seconds after which a case of --time is ended")
arguments.add_argument("--threads", type=int, default=2)
arguments.add_argument("--json", action="store_true", help="print the results as JSON")
arguments.add_argument("--self-test", action="store_true")
arguments.add_argument("--case", help=argparse.SUPPRESS)
arguments = arguments.parse_args()

# Read when numpy is loaded.
for variable in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"):
    os.environ[variable] = str(arguments.threads)

import joblib
import numpy as np
import sklearn
import xgboost
from safetensors.numpy import load_file, save_file
from sklearn.calibration import CalibratedClassifierCV, _SigmoidCalibration
from sklearn.ensemble import AdaBoostClassifier, RandomForestClassifier
from sklearn.exceptions import ConvergenceWarning
from sklearn.metrics import roc_auc_score
from sklearn.model_selection import PredefinedSplit
from sklearn.naive_bayes import GaussianNB
from sklearn.neighbors import KNeighborsClassifier
from sklearn.neural_network import MLPClassifier
from sklearn.svm import SVC
from sklearn.tree import DecisionTreeClassifier

# A perceptron is trained for as many epochs as ours.
warnings.filterwarnings("ignore", category=ConvergenceWarning)


class Mismatch(Exception):
    """The run folder and the store do not belong together, or lack something."""


class Folder:
    """A run folder, N rows."""

    def __init__(self, path):
        self.path = path
        self.configuration = json.loads((path / "configuration.json").read_text())
        if self.configuration["format"] != 1:
            raise Mismatch(f"{path}: format {self.configuration['format']}, this script reads format 1")
        self.parameters = self.configuration["parameters"]
        with open(path / "rows.csv", newline="") as file:
            self.rows = list(csv.DictReader(file))
        self.store_rows = np.array([int(row["row"]) for row in self.rows])
        self.groups = np.array([row["group"] for row in self.rows])
        self.positive = np.array([row["positive"] in ("1", "true") for row in self.rows])
        self.fold = np.array([int(row["fold"] or -1) for row in self.rows])
        self.split = np.array([row["split"] for row in self.rows])
        self.counts = np.loadtxt(path / "resamples.csv", np.int64, delimiter=",", skiprows=1, ndmin=2).T
        if self.counts.shape[1] != len(self.rows):
            raise Mismatch(f"{path}: {len(self.rows)} rows, but resamples of {self.counts.shape[1]}")
        self.roles = None
        if (path / "roles.csv").exists():
            self.roles = np.loadtxt(path / "roles.csv", str, delimiter=",", skiprows=1, ndmin=2).T

    def role(self, run):
        """`[N]` of train, val, test."""
        return self.split if self.roles is None else self.roles[run]

    def predicted(self, name, run):
        """`[N]` probabilities of ours."""
        path = self.path / "predictions" / name / f"{run:04}.safetensors"
        if not path.exists():
            raise Mismatch(f"{path}: not there; --only and --runs choose what is compared")
        return load_file(path)["probability"].astype(np.float64)


class Features:
    """The rows of a store that a run folder uses; columns are standardised as we do."""

    def __init__(self, path, folder):
        with open(path, "rb") as file:
            length = int.from_bytes(file.read(8), "little")
            header = json.loads(file.read(length))
        entry, state = header["features"], header["state"]
        shape = (entry["shape"][0], int(np.prod(entry["shape"][1:])))
        dtype = {"F16": "<f2", "F32": "<f4"}[entry["dtype"]]
        self.map = np.memmap(path, dtype, "r", 8 + length + entry["data_offsets"][0], shape)
        state = np.memmap(path, "<u4", "r", 8 + length + state["data_offsets"][0], shape[:1])
        pictures = json.loads(header["__metadata__"]["thorax"])["rows"]
        for row in folder.rows:
            number = int(row["row"])
            picture = pictures[number] if number < len(pictures) else {}
            same = picture.get("path") == row["path"] and picture["group"] == row["group"]
            if not same or (picture["label"] == "positive") != (row["positive"] in ("1", "true")) or state[number] != 1:
                raise Mismatch(f"{path}: row {number} is not the picture {row['path']} of {folder.path}/rows.csv")
        self.rows, self.columns = folder.store_rows, shape[1]
        learn = folder.split == "train"
        self.mean, self.divisor, sums = np.zeros(self.columns), np.ones(self.columns), np.zeros(2)
        for columns in self.blocks():
            block = self.raw(columns, np.float64)[learn]
            if folder.parameters["standardise"]:
                self.mean[columns], deviation = block.mean(0), block.std(0)
                self.divisor[columns] = np.where(deviation == 0, 1, deviation)
            block = (block - self.mean[columns]) / self.divisor[columns]
            sums += block.sum(), (block**2).sum()
        mean, square = sums / (learn.sum() * self.columns)
        # Of all numbers of the standardised training rows together.
        self.variance = square - mean**2

    def blocks(self):
        return [slice(start, min(start + BLOCK, self.columns)) for start in range(0, self.columns, BLOCK)]

    def raw(self, columns, dtype):
        """`[N, columns]`."""
        return self.map[self.rows, columns].astype(dtype)

    def block(self, columns, dtype=np.float64):
        """`[N, columns]`, standardised."""
        return ((self.raw(columns, np.float64) - self.mean[columns]) / self.divisor[columns]).astype(dtype)

    def whole(self, of):
        """`[N, C]` in f32: `self.raw` for trees, which only compare, or `self.block`."""
        features = np.empty((len(self.rows), self.columns), np.float32)
        for columns in self.blocks():
            features[:, columns] = of(columns, np.float32)
        return features

    def gram(self):
        """`[N, N]` in f64."""
        gram = np.zeros((len(self.rows), len(self.rows)))
        for columns in self.blocks():
            block = self.block(columns)
            gram += block @ block.T
        return gram

    def gamma(self, parameters):
        gamma = parameters["gamma"]
        return 1 / (self.columns * self.variance) if gamma == "scale" else float(gamma)


def distances(gram):
    """`[N, N]` squared Euclidean distances."""
    square = gram.diagonal()
    return np.maximum(square[:, None] + square[None, :] - 2 * gram, 0)


def kernel(name, gram, parameters, gamma):
    if name == "svm-polynomial":
        return (gamma * gram + parameters["coef0"]) ** parameters["degree"]
    return np.exp(-gamma * distances(gram))


def copies(counts):
    """The numbers of the rows, each as often as it counts."""
    return np.repeat(np.arange(len(counts)), counts)


def neighbours_probability(away, folder, counts, parameters):
    """`[N]` from distances `[N, N]`."""
    rows = copies(counts)
    net = KNeighborsClassifier(parameters["neighbours"], weights=parameters["weights"], metric="precomputed")
    return net.fit(away[np.ix_(rows, rows)], folder.positive[rows]).predict_proba(away[:, rows])[:, 1]


def svm_probability(kernel, folder, counts, parameters, tolerance):
    """`[N]`: Platt's sigmoid on decision values that were cross-fitted over `fold`, of the machine of all rows."""

    def decide(learn, ask):
        seen = set(folder.positive[learn])
        if len(seen) < 2:
            # As LIBSVM does where there is nothing to tell apart.
            return np.full(len(ask), 0.0 if not seen else 1.0 if True in seen else -1.0)
        machine = SVC(C=parameters["c"], kernel="precomputed", tol=tolerance)
        machine.fit(kernel[np.ix_(learn, learn)], folder.positive[learn], sample_weight=counts[learn].astype(float))
        return machine.decision_function(kernel[np.ix_(ask, learn)])

    learn = np.flatnonzero(counts)
    folds = folder.fold[learn]
    if (folds < 0).any():
        raise Mismatch(f"{folder.path}/rows.csv: a row that is learnt from has no fold")
    values = np.empty(len(learn))
    for fold in set(folds):
        values[folds == fold] = decide(learn[folds != fold], learn[folds == fold])
    sigmoid = _SigmoidCalibration().fit(values, folder.positive[learn].astype(int), counts[learn].astype(float))
    return sigmoid.predict(decide(learn, np.arange(len(counts))))


def naive_bayes_probability(features, folder, counts, parameters):
    """`[N]` of GaussianNB in f64, fitted block by block of columns, which it takes for independent."""
    rows = copies(counts)
    positive = folder.positive[rows]
    parts, largest = [], 0
    for columns in features.blocks():
        block = features.block(columns)[rows]
        parts.append(GaussianNB(var_smoothing=0).fit(block, positive))
        largest = max(largest, block.var(0).max())
    net = parts[0]
    net.theta_ = np.concatenate([part.theta_ for part in parts], 1)
    net.var_ = np.concatenate([part.var_ for part in parts], 1) + parameters["var_smoothing"] * largest
    net.n_features_in_ = features.columns
    scale = lambda rows: (features.map[features.rows[rows]].astype(float) - features.mean) / features.divisor
    batches = np.array_split(np.arange(len(counts)), len(counts) // 64 + 1)
    with np.errstate(divide="ignore", invalid="ignore"):
        return np.concatenate([net.predict_proba(scale(batch))[:, 1] for batch in batches])


def estimator(name, parameters, seed, threads):
    """The peer's classifier with our hyper-parameters, for those that learn from features."""
    p = parameters
    if name == "knn":
        return KNeighborsClassifier(p["neighbours"], weights=p["weights"], n_jobs=threads)
    if name == "naive-bayes":
        return GaussianNB(var_smoothing=p["var_smoothing"])
    if name == "random-forest":
        return RandomForestClassifier(p["trees"], max_features=p["max_features"], max_depth=p.get("max_depth") or None,
                                      min_samples_leaf=p["min_samples_leaf"], random_state=seed, n_jobs=threads)
    if name == "adaboost":
        stump = DecisionTreeClassifier(max_depth=1, random_state=seed)
        return AdaBoostClassifier(stump, n_estimators=p["rounds"], learning_rate=p["learning_rate"], random_state=seed)
    if name == "xgboost":
        return xgboost.XGBClassifier(n_estimators=p["trees"], max_depth=p["depth"], learning_rate=p["eta"],
                                     reg_lambda=p["lambda"], min_child_weight=p.get("min_child_weight", 1),
                                     max_bin=p["max_bin"], tree_method="hist", random_state=seed, n_jobs=threads)
    if name == "mlp":
        hidden = p["hidden"] if isinstance(p["hidden"], list) else [p["hidden"]]
        # All epochs: no early end.
        return MLPClassifier(hidden, solver="sgd", nesterovs_momentum=True, momentum=p["momentum"], alpha=p["l2"],
                             learning_rate_init=p["learning_rate"], batch_size=p["batch"], max_iter=p["epochs"],
                             tol=0, n_iter_no_change=p["epochs"], random_state=seed)
    raise Mismatch(f"{name}: no such classifier; there are {', '.join(NAMES)}")


def estimate(name, parameters, seed, threads, features, positive, counts):
    """`[N]` of an estimator fitted to features `[N, C]`, the counts as weights or as copies."""
    net = estimator(name, parameters, seed, threads)
    if name in ("adaboost", "xgboost"):
        rows = np.flatnonzero(counts)
        net.fit(features[rows], positive[rows], sample_weight=counts[rows].astype(float))
    else:
        rows = copies(counts)
        net.fit(features[rows], positive[rows])
    return net.predict_proba(features)[:, 1]


def seed(folder, run):
    """Not ours: what is drawn is drawn otherwise anyway."""
    return 1000 * folder.configuration["protocol"]["seed"] + run


class Peer:
    """scikit-learn's probabilities; what several runs have in common is made once."""

    def __init__(self, folder, features):
        self.folder, self.features, self.made = folder, features, {}

    def once(self, key, make):
        if key not in self.made:
            self.made[key] = make()
        return self.made[key]

    def gram(self):
        return self.once("gram", self.features.gram)

    def probability(self, name, run):
        folder, features, counts = self.folder, self.features, self.folder.counts[run]
        parameters = folder.parameters[name]
        if name == "naive-bayes":
            return naive_bayes_probability(features, folder, counts, parameters)
        if name == "knn":
            away = self.once("distances", lambda: np.sqrt(distances(self.gram())))
            return neighbours_probability(away, folder, counts, parameters)
        if name in FROM_GRAM:
            gamma = features.gamma(parameters)
            of = self.once(name, lambda: kernel(name, self.gram(), parameters, gamma))
            tolerance = arguments.tolerance or parameters["tolerance"]
            return svm_probability(of, folder, counts, parameters, tolerance)
        of = features.block if name == "mlp" else features.raw
        whole = self.once(of.__name__, lambda: features.whole(of))
        return estimate(name, parameters, seed(folder, run), arguments.threads, whole, folder.positive, counts)


def accuracy(probability, positive):
    return np.mean((probability > 0.5) == positive)


def interval(probability, positive, groups):
    """95 % percentile bootstrap interval of the accuracy, over groups."""
    names, member = np.unique(groups, return_inverse=True)
    right = np.bincount(member, (probability > 0.5) == positive)
    size = np.bincount(member)
    drawn = np.random.default_rng(1).integers(len(names), size=(RESAMPLES_OF_GROUPS, len(names)))
    return np.percentile(right[drawn].sum(1) / size[drawn].sum(1), [2.5, 97.5])


def area(probability, positive):
    return roc_auc_score(positive, probability) if 0 < positive.sum() < len(positive) else None


def compare(folder, features, names, runs):
    """A line of the table for each run and classifier."""
    peer, lines = Peer(folder, features), []
    ours_of_gram = folder.path / "gram.safetensors"
    if ours_of_gram.exists() and set(names) & set(FROM_GRAM):
        gram = load_file(ours_of_gram)["gram"].astype(np.float64)
        away = np.abs(gram - peer.gram()).max() / np.abs(peer.gram()).max()
        print(f"Gram matrix: largest difference {away:.1e} of its largest number", file=sys.stderr)
    for name in names:
        for run in runs:
            # In f32, as ours are written: what is too small for it would order the peer's rows, but not ours.
            ours, theirs = folder.predicted(name, run), np.float32(peer.probability(name, run)).astype(np.float64)
            role = folder.role(run)
            judged, test = np.isin(role, ["val", "test"]), role == "test"
            differences = np.abs(ours - theirs)[judged]
            positive = folder.positive[test]
            low, high = interval(theirs[test], positive, folder.groups[test])
            line = {
                "classifier": name, "run": run, "difference": differences.max(),
                "beyond_goal": int((~(differences <= arguments.goal)).sum()), "rows": int(judged.sum()),
                "accuracy": accuracy(ours[test], positive), "peer_accuracy": accuracy(theirs[test], positive),
                "low": low, "high": high, "auc": area(ours[test], positive), "peer_auc": area(theirs[test], positive),
            }
            line["within"] = bool(low <= line["accuracy"] <= high) and bool(np.isfinite(ours).all())
            line["met"] = line["within"] and (name not in DETERMINED or line["beyond_goal"] == 0)
            lines.append(line)
        for key in (name, *(["distances"] if name == "knn" else [])):
            peer.made.pop(key, None)
    return lines


def written(value):
    if isinstance(value, bool):
        return "yes" if value else "no"
    return "-" if value is None else f"{value:.4g}" if isinstance(value, float) else str(value)


def print_table(lines):
    cells = [list(lines[0])] + [[written(value) for value in line.values()] for line in lines]
    widths = [max(map(len, column)) for column in zip(*cells)]
    for row in cells:
        print("  ".join(cell.ljust(width) for cell, width in zip(row, widths)).rstrip())


def parity(folder, features, names, runs):
    lines = compare(folder, features, names, runs)
    if arguments.json:
        print(json.dumps({"versions": versions(), "goal": arguments.goal, "lines": lines}, indent=1, default=float))
    else:
        print_table(lines)
    if arguments.out:
        with open(arguments.out, "w", newline="") as file:
            writer = csv.DictWriter(file, lines[0], lineterminator="\n")
            writer.writeheader()
            writer.writerows(lines)
    return 0 if all(line["met"] for line in lines) else 1


def versions():
    return {"scikit-learn": sklearn.__version__, "xgboost": xgboost.__version__, "numpy": np.__version__}


def case(folder, name, way, runs):
    """One case of --time: prints the seconds of the preparation, from the store on, and those of all runs together."""
    start = time.perf_counter()

    def told(word):
        nonlocal start
        print(word, time.perf_counter() - start, flush=True)
        start = time.perf_counter()

    features = Features(arguments.store, folder)
    parameters, threads, positive = folder.parameters[name], arguments.threads, folder.positive
    trees = name in ("random-forest", "adaboost", "xgboost")
    whole = features.whole(features.raw if trees else features.block)
    at_once = threads if way == "gram" or name in ("adaboost", "naive-bayes") else 1
    if way == "gram":
        gram = whole @ whole.T
        del whole
        if name == "knn":
            of = np.sqrt(distances(gram))
            fit = lambda run: neighbours_probability(of, folder, folder.counts[run], parameters)
        else:
            of = kernel(name, gram, parameters, features.gamma(parameters))
            fit = lambda run: svm_probability(of, folder, folder.counts[run], parameters, parameters["tolerance"])
    elif name in ("svm-polynomial", "svm-rbf"):
        p = parameters
        machine = SVC(C=p["c"], kernel="poly" if name == "svm-polynomial" else "rbf", gamma=features.gamma(p),
                      degree=p.get("degree", 3), coef0=p.get("coef0", 0), tol=p["tolerance"])

        def fit(run):
            rows = copies(folder.counts[run])
            split = PredefinedSplit(folder.fold[rows])
            calibrated = CalibratedClassifierCV(machine, cv=split, ensemble=False, n_jobs=threads)
            return calibrated.fit(whole[rows], positive[rows]).predict_proba(whole)
    else:
        fit = lambda run: estimate(name, parameters, seed(folder, run), threads, whole, positive, folder.counts[run])
    told("prepared")
    # In threads, so that the features are there once; the libraries let go of Python's lock.
    with joblib.parallel_config("threading"):
        if at_once == 1:
            for run in runs:
                fit(run)
        else:
            joblib.Parallel(n_jobs=at_once)(joblib.delayed(fit)(run) for run in runs)
    told("fitted")


def time_cases(names, runs):
    """Each case in a process of its own, one after the other."""
    lines = []
    for name, way in [(name, way) for name in names for way in ("features", "gram")]:
        if way == "gram" and name not in FROM_GRAM:
            continue
        command = [sys.executable, __file__, str(arguments.folder), str(arguments.store), "--case", f"{name}:{way}",
                   "--runs", ",".join(map(str, runs)), "--threads", str(arguments.threads)]
        child = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
        peak, started = 0, time.monotonic()
        while child.poll() is None and time.monotonic() - started < arguments.limit:
            time.sleep(0.1)
            with open(f"/proc/{child.pid}/status") as status:
                peak = max([peak] + [int(line.split()[1]) for line in status if line.startswith("VmHWM")])
        finished = child.poll() is not None
        child.kill()
        output = child.communicate()[0]
        if finished and child.returncode != 0:
            raise Mismatch(f"{name} from {way}: the process ended with {child.returncode}; see above")
        seconds = dict(line.split() for line in output.splitlines())
        line = {"classifier": name, "from": way, "finished": finished, "runs": len(runs)}
        line["prepare_s"] = float(seconds["prepared"]) if "prepared" in seconds else None
        line["run_s"] = float(seconds["fitted"]) / len(runs) if finished else None
        line["hundred_runs_s_scaled"] = line["prepare_s"] + 100 * line["run_s"] if finished else None
        line["peak_kib"] = peak
        lines.append(line)
        if not arguments.json:
            told = f"{line['run_s']:.3g} s a run" if finished else f"more than {arguments.limit:g} s"
            print(f"{name} from {way}: {told}", file=sys.stderr)
    if arguments.json:
        about = {"versions": versions(), "threads": arguments.threads, "limit_s": arguments.limit, "cases": lines}
        print(json.dumps(about, indent=1))
    else:
        print_table(lines)


def made_up(path, gap):
    """A store and a run folder in `path`, with scikit-learn's predictions; the classes lie `gap` apart."""
    random = np.random.default_rng(7)
    groups, shape, runs = 120, (30, 4, 4), 2
    size = random.integers(1, 5, groups)
    group = np.repeat(np.arange(groups), size)
    positive = (np.arange(groups) % 2 == 0)[group]
    split = random.permutation(np.repeat(["train", "val", "test"], [70, 15, 35]))[group]
    direction = random.normal(size=shape) * (random.random(shape) < 0.1)
    maps = random.normal(size=(len(group), *shape)) + random.normal(size=(groups, *shape))[group] * 0.5
    maps = np.maximum(maps + gap * direction * positive[:, None, None, None], 0)
    maps[:, 3] = 0  # a channel that is constant
    maps = maps.astype(np.float16)
    state = np.ones(len(group), np.uint32)
    state[[5, 17]] = 3
    rows = [{"path": f"{i}.png", "group": f"g{g}", "label": "positive" if p else "negative"}
            for i, (g, p) in enumerate(zip(group, positive))]
    tensors = {"checksum": np.zeros(len(group), np.uint32), "state": state, "features": maps}
    save_file(tensors, path / "made-up.features", {"thorax": json.dumps({"rows": rows})})

    used = np.flatnonzero(state == 1)
    group, positive, split = group[used], positive[used], split[used]
    fold = np.where(split == "train", group % 5, -1)
    counts = np.zeros((runs, len(used)), np.int64)
    for run in range(runs):
        train = np.flatnonzero(split == "train")
        np.add.at(counts[run], random.choice(train, len(train)), 1)
    folder = path / "run"
    folder.mkdir()
    svm = {"c": 1.0, "gamma": "scale", "tolerance": 1e-6}
    parameters = {
        "standardise": True, "knn": {"neighbours": 5, "weights": "uniform"},
        "svm-polynomial": svm | {"degree": 3, "coef0": 1.0}, "svm-rbf": svm,
        "random-forest": {"trees": 100, "max_features": "sqrt", "min_samples_leaf": 1},
        "mlp": {"hidden": 64, "learning_rate": 0.01, "momentum": 0.9, "batch": 32, "epochs": 30, "l2": 1e-4},
        "adaboost": {"rounds": 50, "learning_rate": 1.0}, "naive-bayes": {"var_smoothing": 1e-9},
        "xgboost": {"trees": 30, "depth": 6, "eta": 0.3, "lambda": 1, "max_bin": 64},
    }
    protocol = {"resample": "bootstrap", "runs": runs, "seed": 1, "left_out": None}
    (folder / "configuration.json").write_text(json.dumps(
        {"format": 1, "store": {}, "protocol": protocol, "parameters": parameters}))
    with open(folder / "rows.csv", "w", newline="") as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow(["row", "path", "group", "source", "split", "positive", "fold"])
        for i, row in enumerate(used):
            writer.writerow([row, rows[row]["path"], rows[row]["group"], "", split[i], int(positive[i]),
                             fold[i] if fold[i] >= 0 else ""])
    header = ",".join(f"run{run}" for run in range(runs))
    np.savetxt(folder / "resamples.csv", counts.T, "%d", ",", header=header, comments="")

    raw = maps[used].reshape(len(used), -1).astype(np.float64)
    mean, deviation = raw[split == "train"].mean(0), raw[split == "train"].std(0)
    x = (raw - mean) / np.where(deviation == 0, 1, deviation)
    gamma = 1 / (x.shape[1] * x[split == "train"].var())
    save_file({"gram": (x @ x.T).astype(np.float32)}, folder / "gram.safetensors")
    for name in NAMES:
        (folder / "predictions" / name).mkdir(parents=True)
        for run in range(runs):
            copied = copies(counts[run])
            if name.startswith("svm"):
                kind = {"svm-polynomial": "poly", "svm-rbf": "rbf"}[name]
                machine = SVC(kernel=kind, gamma=gamma, degree=3, coef0=1, tol=1e-6)
                values = np.empty(len(copied))
                for number in range(5):
                    inside = fold[copied] == number
                    machine.fit(x[copied[~inside]], positive[copied[~inside]])
                    values[inside] = machine.decision_function(x[copied[inside]])
                a, b = newton_sigmoid(values, positive[copied])
                value = machine.fit(x[copied], positive[copied]).decision_function(x)
                probability = 1 / (1 + np.exp(a * value + b))
            else:
                net = estimator(name, parameters[name], 99 + run, 1)
                learnt = raw if name in ("random-forest", "adaboost", "xgboost") else x
                probability = net.fit(learnt[copied], positive[copied]).predict_proba(learnt)[:, 1]
            save_file({"probability": np.ascontiguousarray(probability, np.float32)},
                      folder / "predictions" / name / f"{run:04}.safetensors")
    return folder, path / "made-up.features"


def newton_sigmoid(values, positive):
    """A and B of Platt's 1 / (1 + exp(A f + B)) by Newton's method (Lin, Lin and Weng, 2007)."""
    known, unknown = positive.sum(), (~positive).sum()
    target = np.where(positive, (known + 1) / (known + 2), 1 / (unknown + 2))
    inputs = np.stack([values, np.ones(len(values))], 1)
    loss = lambda ab: np.sum(np.logaddexp(0, inputs @ ab) - (1 - target) * (inputs @ ab))
    ab = np.array([0, np.log((unknown + 1) / (known + 1))])
    for _ in range(100):
        p = 1 / (1 + np.exp(inputs @ ab))
        gradient = inputs.T @ (target - p)
        step = np.linalg.solve((inputs * (p * (1 - p))[:, None]).T @ inputs + 1e-12 * np.eye(2), gradient)
        length = 1.0
        while length > 1e-10 and loss(ab - length * step) > loss(ab) - 1e-4 * length * gradient @ step:
            length /= 2
        ab = ab - length * step
        if np.abs(gradient).max() < 1e-8:
            break
    return ab


def self_test():
    """What scikit-learn predicted must pass, and must not when one row of it, or all of it, is altered."""
    with tempfile.TemporaryDirectory() as path:
        folder_path, store = made_up(Path(path), gap=0.9)
        folder = Folder(folder_path)
        features = Features(store, folder)
        lines = compare(folder, features, NAMES, [0, 1])
        print_table(lines)
        assert all(line["met"] for line in lines), "what scikit-learn predicted does not pass"
        for name in NAMES:
            file = folder_path / "predictions" / name / "0001.safetensors"
            kept = file.read_bytes()
            probability = load_file(file)["probability"].copy()
            if name in DETERMINED:
                row = np.flatnonzero(folder.split == "val")[3]
                probability[row] += 0.002 if probability[row] < 0.5 else -0.002
            else:
                probability = 1 - probability
            save_file({"probability": probability}, file)
            assert [line["met"] for line in compare(folder, features, [name], [0, 1])] == [True, False], name
            file.write_bytes(kept)
        text = (folder_path / "rows.csv").read_text()
        (folder_path / "rows.csv").write_text(text.replace("\n0,0.png,", "\n1,0.png,"))
        try:
            Features(store, Folder(folder_path))
            raise AssertionError("rows of another store pass")
        except Mismatch as error:
            print(f"another store is refused: {error}")
        (folder_path / "rows.csv").write_text(text)
        arguments.folder, arguments.store = folder_path, store
        time_cases(NAMES, [0, 1])
    print("self-test passed")


def main():
    if arguments.self_test:
        self_test()
        return 0
    if not arguments.folder or not arguments.store:
        sys.exit("name a run folder and its store, or --self-test; --help tells more")
    folder = Folder(arguments.folder)
    if arguments.time:
        kept = set(folder.parameters)
        names = arguments.only.split(",") if arguments.only else [name for name in NAMES if name in kept]
        time_cases(names, list(range(min(arguments.time, len(folder.counts)))))
        return 0
    runs = [int(run) for run in arguments.runs.split(",")]
    if arguments.case:
        case(folder, *arguments.case.split(":"), runs)
        return 0
    features = Features(arguments.store, folder)
    there = [name for name in NAMES if (folder.path / "predictions" / name).is_dir()]
    return parity(folder, features, arguments.only.split(",") if arguments.only else there, runs)


try:
    sys.exit(main())
except Mismatch as error:
    print(f"error: {error}", file=sys.stderr)
    sys.exit(2)
