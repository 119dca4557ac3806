//! The file of a grid: options of a training such as `thorax-train train segment`, some with one value, some with a list of them.
//!
//! ```toml
//! train = "segment"            # or "instance", "backbone", "distill"; this may be left out
//!
//! [fixed]                      # the same for every run
//! base-channels = 16
//!
//! [grid]                       # every combination of these is a run
//! batch = [32, 64, 128]
//! learning-rate = [            # a table sets several options under one name
//!     { name = "1e-5", learning-rate = 1e-5, schedule = "constant" },
//!     { name = "cosine", learning-rate = 1e-5, schedule = "cosine" },
//! ]
//! ```
//!
//! Options have their long names without dashes; `nesterov = true` stands for an option without a value, and `teacher = ["a", "b"]` for one
//! that is given more than once. Which there are, and what they take, the parser of that command itself says, so a grid is refused before its
//! first run starts, and not hours later.

use std::{
    collections::{BTreeMap, BTreeSet},
    path::{Path, PathBuf},
};

use serde::Deserialize;
use toml::Value;

/// More runs than this are taken for a mistake.
const MOST_RUNS: usize = 10_000;
/// Bytes of a name, which is that of a folder; file systems take 255.
const LONGEST_NAME: usize = 200;
/// What `thorax-train sweep` gives to every run by itself.
const OF_THE_SWEEP: [&str; 4] = ["manifest", "modality", "out", "stop-after"];

/// A grid that cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum GridError {
    /// The file cannot be read.
    #[error("{path}: {reason}; check the path and the permissions", path = path.display())]
    Read {
        /// The file.
        path: PathBuf,
        /// The system's reason.
        reason: std::io::Error,
    },
    /// The file is no grid.
    #[error("{path}: {reason}", path = path.display())]
    Invalid {
        /// The file.
        path: PathBuf,
        /// The key, what is wrong with it, and what to do.
        reason: String,
    },
}

/// All runs of a grid.
#[derive(Clone, Debug, PartialEq)]
pub struct Grid {
    /// The words of the command that each run is: `train segment`.
    pub command: &'static [&'static str],
    /// What its epochs are judged by.
    pub score: Score,
    /// The file that such a run writes last.
    pub last_file: &'static str,
    /// The names of the lists, in alphabetical order.
    pub axes: Vec<String>,
    /// Every combination of their values; the last list turns fastest.
    pub combinations: Vec<Combination>,
}

/// One run of a grid.
#[derive(Clone, Debug, PartialEq)]
pub struct Combination {
    /// `batch=32_blocks=4`; the name of its folder.
    pub name: String,
    /// The value of each axis, in words.
    pub labels: Vec<String>,
    /// The options of the command: `--batch=32`.
    pub arguments: Vec<String>,
    /// Passes over the training pictures.
    pub epochs: usize,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct File {
    #[serde(default = "segment")]
    train: String,
    #[serde(default)]
    fixed: toml::Table,
    grid: BTreeMap<String, Vec<Value>>,
}

/// What is trained where the file does not say.
fn segment() -> String {
    "segment".into()
}

/// A value of an axis.
struct Entry {
    label: String,
    options: BTreeMap<String, Value>,
}

impl Grid {
    /// Reads `path`, a grid of one of those commands.
    ///
    /// # Errors
    /// See [`GridError`].
    pub fn load(path: &Path, options: &[RunOptions]) -> Result<Self, GridError> {
        let text = std::fs::read_to_string(path).map_err(|reason| GridError::Read { path: path.to_owned(), reason })?;
        Self::parse(&text, options).map_err(|reason| GridError::Invalid { path: path.to_owned(), reason })
    }

    fn parse(text: &str, options: &[RunOptions]) -> Result<Self, String> {
        let File { train, fixed, grid } =
            toml::from_str(text).map_err(|error| error.to_string().trim_end().to_owned())?;
        let Some(options) = options.iter().find(|options| options.name == train) else {
            let names: Vec<&str> = options.iter().map(|options| options.name).collect();
            return Err(format!("train = {train:?}: there is no such training; give one of {}", names.join(", ")));
        };
        let parser = Parser::new(options);
        let fixed: BTreeMap<String, Value> = fixed.into_iter().collect();
        for (name, value) in &fixed {
            parser.argument(name, value).map_err(|reason| format!("[fixed] {name}: {reason}"))?;
        }
        if grid.is_empty() {
            return Err("[grid] has no list; give at least one, such as batch = [32, 64]".into());
        }
        let mut axes = vec![];
        for (axis, values) in grid {
            let entries = entries(&parser, &axis, values).map_err(|reason| format!("[grid] {axis}: {reason}"))?;
            axes.push((axis, entries));
        }
        set_once(&fixed, &axes)?;
        let varied = axes.iter().flat_map(|(axis, entries)| entries.iter().map(move |entry| (axis, entry)));
        for (axis, name) in varied.flat_map(|(axis, entry)| entry.options.keys().map(move |name| (axis, name))) {
            if options.same_for_all.contains(&name.as_str()) {
                return Err(format!(
                    "[grid] {axis}: the {} is measured against what {name} names, so runs with others are not to be ranked by it; give it \
                     in [fixed]",
                    options.score.name
                ));
            }
        }
        let count = axes.iter().try_fold(1usize, |count, (_, entries)| count.checked_mul(entries.len()));
        if count.is_none_or(|count| count > MOST_RUNS) {
            return Err(format!(
                "[grid] has more than {MOST_RUNS} combinations; shorten its lists, or make several grids"
            ));
        }
        let combinations = product(&axes)
            .into_iter()
            .map(|chosen| parser.combination(&fixed, &axes, &chosen))
            .collect::<Result<Vec<_>, _>>()?;
        let mut names = BTreeSet::new();
        // Some file systems do not tell capitals from small letters.
        if let Some(twice) = combinations.iter().find(|combination| !names.insert(combination.name.to_lowercase())) {
            return Err(format!(
                "[grid] two combinations would share the folder {}; name their values: {{ name = \"a\", option = ... }}",
                twice.name
            ));
        }
        let RunOptions { words, score, last_file, .. } = *options;
        Ok(Self {
            command: words,
            score,
            last_file,
            axes: axes.into_iter().map(|(axis, _)| axis).collect(),
            combinations,
        })
    }
}

/// The values of an axis.
fn entries(parser: &Parser, axis: &str, values: Vec<Value>) -> Result<Vec<Entry>, String> {
    if values.is_empty() {
        return Err("the list is empty; give it a value, or leave it out".into());
    }
    let mut labels = BTreeSet::new();
    let mut entries = vec![];
    for value in values {
        let (label, options) = match value {
            Value::Table(mut table) => {
                let Some(Value::String(label)) = table.remove("name") else {
                    return Err("a table needs a name in words: { name = \"a\", option = ... }".into());
                };
                if table.is_empty() {
                    return Err(format!("{label}: the table sets no option; add one, such as batch = 32"));
                }
                (label, table.into_iter().collect())
            }
            value => (parser.argument(axis, &value)?.0, BTreeMap::from([(axis.to_owned(), value)])),
        };
        for (name, value) in &options {
            parser.argument(name, value).map_err(|reason| format!("{label}: {name}: {reason}"))?;
        }
        if label.is_empty() {
            return Err("a name is empty; give it a letter".into());
        }
        if !labels.insert(label.clone()) {
            return Err(format!("{label} is there twice; leave one out, or give it another name"));
        }
        entries.push(Entry { label, options });
    }
    Ok(entries)
}

/// Sees that no option is set in two places.
fn set_once(fixed: &BTreeMap<String, Value>, axes: &[(String, Vec<Entry>)]) -> Result<(), String> {
    let mut set: BTreeMap<&str, &str> = fixed.keys().map(|name| (name.as_str(), "[fixed]")).collect();
    for (axis, entries) in axes {
        let names: BTreeSet<&str> = entries.iter().flat_map(|entry| entry.options.keys().map(String::as_str)).collect();
        for name in names {
            if let Some(other) = set.insert(name, axis) {
                return Err(format!("[grid] {axis}: {name} is set by {other} too; leave it out of one of them"));
            }
        }
    }
    Ok(())
}

/// Every choice of one entry an axis, by number; the last axis turns fastest.
fn product(axes: &[(String, Vec<Entry>)]) -> Vec<Vec<usize>> {
    axes.iter().fold(vec![vec![]], |chosen, (_, entries)| {
        let with =
            |before: &Vec<usize>| (0..entries.len()).map(|i| [before.as_slice(), &[i]].concat()).collect::<Vec<_>>();
        chosen.iter().flat_map(with).collect()
    })
}

/// What the epochs of a training are judged by, on the validation pictures; more is better.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Score {
    /// The column of a leaderboard for programs.
    pub column: &'static str,
    /// The same for people.
    pub name: &'static str,
    /// What it is.
    pub meaning: &'static str,
}

/// The score of what draws masks.
pub const DICE: Score = Score {
    column: "best_validation_dice",
    name: "validation Dice",
    meaning: "Dice of the infection, pooled over the validation pictures",
};

/// A training that runs are started with.
pub struct RunOptions {
    /// What a grid calls it.
    pub name: &'static str,
    /// The words of its command.
    pub words: &'static [&'static str],
    /// What its epochs are judged by.
    pub score: Score,
    /// The file in a run's folder that is written last.
    pub last_file: &'static str,
    /// Its options by themselves.
    pub command: clap::Command,
    /// Those that say what the score is measured against, and must be the same for all runs.
    pub same_for_all: &'static [&'static str],
    /// Sees that they make sense together, and gives the number of epochs.
    pub check: fn(&clap::ArgMatches) -> anyhow::Result<usize>,
}

/// The parser of a training's options.
struct Parser {
    words: &'static [&'static str],
    command: clap::Command,
    check: fn(&clap::ArgMatches) -> anyhow::Result<usize>,
}

impl Parser {
    fn new(options: &RunOptions) -> Self {
        // What the sweep gives by itself is not there yet.
        let command = options.command.clone().no_binary_name(true);
        Self {
            words: options.words,
            command: command.mut_args(|argument| argument.required(false)),
            check: options.check,
        }
    }

    /// A value in words, and the arguments that set it: one, none for a switch that is off, and several for a list.
    fn argument(&self, name: &str, value: &Value) -> Result<(String, Vec<String>), String> {
        if OF_THE_SWEEP.contains(&name) {
            return Err(format!("thorax-train sweep gives --{name} to each run by itself; leave it out of the file"));
        }
        let known = || self.command.get_arguments().filter_map(|argument| argument.get_long());
        let Some(option) = self.command.get_arguments().find(|argument| argument.get_long() == Some(name)) else {
            let names: Vec<&str> = known().filter(|name| !OF_THE_SWEEP.contains(name)).collect();
            return Err(format!("{} has no such option; it has {}", self.words.join(" "), names.join(", ")));
        };
        let takes_value = option.get_action().takes_values();
        let several = matches!(option.get_action(), clap::ArgAction::Append);
        let text = match value {
            Value::Boolean(on) if !takes_value => {
                return Ok((on.to_string(), on.then(|| format!("--{name}")).into_iter().collect()));
            }
            _ if !takes_value => return Err(format!("{value} is no switch; give true or false")),
            Value::Array(values) if several && !values.iter().any(Value::is_array) => {
                let given = values.iter().map(|value| self.argument(name, value));
                let (labels, arguments): (Vec<_>, Vec<_>) = given.collect::<Result<Vec<_>, _>>()?.into_iter().unzip();
                return Ok((labels.join("+"), arguments.concat()));
            }
            Value::Integer(number) => number.to_string(),
            // The shortest text that is this number: 0.002, 1e-5.
            Value::Float(number) if number.is_finite() => format!("{number:?}"),
            Value::Float(number) => return Err(format!("{number} is not finite; give another number")),
            Value::String(text) => text.clone(),
            _ => return Err(format!("{value} is neither a number nor a word; give one of these")),
        };
        let argument = format!("--{name}={text}");
        Ok((text, vec![argument]))
    }

    fn combination(
        &self,
        fixed: &BTreeMap<String, Value>,
        axes: &[(String, Vec<Entry>)],
        chosen: &[usize],
    ) -> Result<Combination, String> {
        let entries = || axes.iter().zip(chosen).map(|((axis, entries), &i)| (axis, &entries[i]));
        let name: Vec<String> = entries().map(|(axis, entry)| safe(&format!("{axis}={}", entry.label))).collect();
        let name = name.join("_");
        if name.len() > LONGEST_NAME {
            return Err(format!(
                "[grid] {name}: a folder's name of more than {LONGEST_NAME} letters; name the values: {{ name = \"a\", option = ... }}"
            ));
        }
        // Sorted, so that the order in the file changes nothing.
        let options: BTreeMap<&String, &Value> = fixed.iter().chain(entries().flat_map(|(_, e)| &e.options)).collect();
        let arguments = options.into_iter().map(|(name, value)| Ok(self.argument(name, value)?.1));
        let arguments = arguments.collect::<Result<Vec<_>, String>>()?.concat();
        let epochs = self.epochs(&arguments).map_err(|reason| format!("run {name}: {reason}; change the grid"))?;
        Ok(Combination { name, labels: entries().map(|(_, entry)| entry.label.clone()).collect(), arguments, epochs })
    }

    /// Reads `arguments` as the run will, and gives the number of its epochs.
    fn epochs(&self, arguments: &[String]) -> Result<usize, String> {
        let told = |error: clap::Error| {
            let text = error.to_string();
            let lines = text.lines().map(str::trim).take_while(|line| !line.starts_with("For more information"));
            let words: Vec<&str> = lines.filter(|line| !line.is_empty()).collect();
            words.join(" ").trim_start_matches("error: ").to_owned()
        };
        // What the sweep gives by itself, so that the whole can be read.
        let given = ["--manifest=m", "--modality=ct", "--out=o"].map(str::to_owned);
        let matches = self.command.clone().try_get_matches_from(given.iter().chain(arguments)).map_err(told)?;
        (self.check)(&matches).map_err(|error| error.to_string())
    }
}

/// `text` with what file systems and shells stumble over replaced.
fn safe(text: &str) -> String {
    let keep = |letter: char| if letter.is_ascii_alphanumeric() || "=.+-_".contains(letter) { letter } else { '-' };
    text.chars().map(keep).collect()
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use std::collections::HashSet;

    use proptest::prelude::*;

    use super::*;

    fn options() -> Vec<RunOptions> {
        crate::commands::train::run_options()
    }

    fn parse(text: &str) -> Result<Grid, String> {
        Grid::parse(text, &options())
    }

    #[test]
    fn every_combination_is_a_run_with_a_name_and_arguments() {
        let grid = parse(
            r#"
            [fixed]
            side = 64
            nesterov = true
            optimizer = "sgd"
            [grid]
            epochs = [3, 4]
            rate = [
                { name = "1e-5", learning-rate = 1e-5, schedule = "constant" },
                { name = "cosine", learning-rate = 0.002, schedule = "cosine" },
            ]
            base-channels = [4]
            "#,
        )
        .unwrap();
        assert_eq!(grid.axes, ["base-channels", "epochs", "rate"]);
        let names: Vec<&str> = grid.combinations.iter().map(|combination| combination.name.as_str()).collect();
        assert_eq!(
            names,
            [
                "base-channels=4_epochs=3_rate=1e-5",
                "base-channels=4_epochs=3_rate=cosine",
                "base-channels=4_epochs=4_rate=1e-5",
                "base-channels=4_epochs=4_rate=cosine",
            ]
        );
        let last = &grid.combinations[3];
        assert_eq!(last.labels, ["4", "4", "cosine"]);
        assert_eq!(last.epochs, 4);
        assert_eq!(
            last.arguments,
            [
                "--base-channels=4",
                "--epochs=4",
                "--learning-rate=0.002",
                "--nesterov",
                "--optimizer=sgd",
                "--schedule=cosine",
                "--side=64"
            ]
        );
        assert!(grid.combinations[0].arguments.contains(&"--learning-rate=1e-5".to_owned()));
        // What train segment takes when nothing is said.
        assert_eq!(parse("[grid]\nseed = [1, 2]").unwrap().combinations[0].epochs, 12);
        let off = parse("fixed.optimizer = \"sgd\"\ngrid.nesterov = [false, true]").unwrap();
        assert_eq!(off.combinations[0].arguments, ["--optimizer=sgd"]);
        assert_eq!(off.combinations[1].name, "nesterov=true");
    }

    #[test]
    fn a_grid_says_what_it_trains() {
        let grid = parse("train = \"instance\"\n[fixed]\nweights = \"random:1\"\n[grid]\nnet = [\"yolact\", \"solo\"]")
            .unwrap();
        assert_eq!((grid.command, grid.last_file), (&["train", "instance"][..], "score_threshold.json"));
        assert_eq!(grid.combinations[1].arguments, ["--net=solo", "--weights=random:1"]);
        let grid = parse("[grid]\nbatch = [1]").unwrap();
        assert_eq!((grid.command, grid.last_file), (&["train", "segment"][..], "threshold.json"));
        let fixed = "[fixed]\nweights = \"random:1\"\nepochs = 3";
        let grid = parse(&format!("train = \"backbone\"\n{fixed}\n[grid]\nlesions = [0.0, 0.5]")).unwrap();
        assert_eq!((grid.command, grid.last_file), (&["train", "backbone"][..], "weights.safetensors"));
        assert_eq!((grid.score.column, grid.combinations[0].epochs), ("best_validation_auc_inside", 3));
        let teachers = "teacher = [\"a\", \"b\"]\nteacher-weights = [\"a.safetensors\", \"b.safetensors\"]";
        let grid = parse(&format!("train = \"distill\"\n{fixed}\n{teachers}\n[grid]\ndropout = [0.0]")).unwrap();
        assert_eq!((grid.command, grid.score.column), (&["distill"][..], "best_validation_agreement"));
        let arguments = grid.combinations[0].arguments.join(" ");
        assert!(arguments.contains("--teacher=a --teacher=b --teacher-weights=a.safetensors"), "{arguments}");
        // A list among the values of an axis is one of them.
        let grid = format!("train = \"backbone\"\n{fixed}\n[grid]\nlungs = [[\"runs/a\", \"runs/b\"], \"runs/a\"]");
        let names = parse(&grid).unwrap().combinations.into_iter().map(|run| run.name).collect::<Vec<_>>();
        assert_eq!(names, ["lungs=runs-a+runs-b", "lungs=runs-a"]);
    }

    #[test]
    fn what_is_no_grid_is_refused_with_its_key() {
        for (text, words) in [
            ("train = \"classify\"\n[grid]\nseed = [1]", &["classify", "segment, instance, backbone, distill"][..]),
            ("train = \"instance\"\n[grid]\nseed = [1]", &["weights"]),
            ("train = \"instance\"\n[grid]\nblocks = [1]", &["train instance has no such option"]),
            ("train = \"distill\"\n[grid]\nlesions = [1]", &["distill has no such option"]),
            ("train = \"distill\"\n[fixed]\nweights = \"random:1\"\n[grid]\nepochs = [1]", &["--teacher"]),
            (
                "train = \"backbone\"\n[fixed]\nweights = \"random:1\"\n[grid]\ndropout = [1.0]",
                &["--dropout 1", "below 1"],
            ),
            (
                "train = \"backbone\"\n[fixed]\nweights = \"random:1\"\nboxes = \"b.csv\"\n[grid]\nlesions = [0.0, 0.5]",
                &["lesions=0.0", "--boxes without --lesions"],
            ),
            (
                "train = \"backbone\"\n[fixed]\nlungs = [[\"a\"]]\n[grid]\nseed = [1]",
                &["lungs", "neither a number nor a word"],
            ),
            (
                "train = \"distill\"\n[fixed]\nweights = \"random:1\"\n[grid]\nclassifiers = [\"a\", \"b\"]",
                &["[grid] classifiers", "validation agreement", "[fixed]"],
            ),
            (
                "train = \"distill\"\n[fixed]\nweights = \"random:1\"\nteacher = [\"a\", \"b\"]\nteacher-weights = \"a\"\n[grid]\nseed = [1]",
                &["2 --teacher and 1 --teacher-weights"],
            ),
            ("[grid]\nepoch = [1]", &["[grid] epoch", "no such option", "epochs"]),
            ("[fixed]\nbath = 1\n[grid]\nbatch = [1]", &["[fixed] bath", "no such option"]),
            ("[fixed]\nbatch = 1", &["grid"]),
            ("[grid]", &["no list"]),
            ("[gird]\nbatch = [1]", &["gird"]),
            ("[grid]\nbatch = 1", &["batch", "line 2"]),
            ("[grid]\nbatch = []", &["[grid] batch", "empty"]),
            ("[grid]\nbatch = [1, 2, 1]", &["[grid] batch", "1 is there twice"]),
            ("[grid]\nbatch = [1.5]", &["batch=1.5", "--batch", "invalid digit"]),
            ("[grid]\nbatch = [\"many\"]", &["many", "--batch"]),
            ("[grid]\nepochs = [0]", &["epochs=0", "above 0"]),
            ("[grid]\nside = [8]", &["side=8", "16..=1024"]),
            ("[grid]\nlearning-rate = [nan]", &["[grid] learning-rate", "not finite"]),
            ("[grid]\nlearning-rate = [-inf]", &["[grid] learning-rate", "not finite"]),
            ("[grid]\nlearning-rate = [[1]]", &["[grid] learning-rate", "neither a number nor a word"]),
            ("[grid]\nbatch = [true]", &["[grid] batch", "neither a number nor a word"]),
            ("[grid]\nnesterov = [1]", &["[grid] nesterov", "no switch"]),
            ("[grid]\nschedule = [\"cosin\"]", &["schedule=cosin", "one-cycle"]),
            ("[grid]\nmomentum = [0.5]", &["momentum=0.5", "--optimizer sgd"]),
            ("[grid]\ndice-weight = [1, -1]", &["dice-weight=-1", "weight"]),
            ("[grid]\nboundary-first = [0.1]", &["boundary-first=0.1", "--boundary <"]),
            ("[grid]\nout = [\"a\"]", &["[grid] out", "by itself"]),
            ("[fixed]\nstop-after = 1\n[grid]\nbatch = [1]", &["[fixed] stop-after", "by itself"]),
            ("[fixed]\nbatch = 1\n[grid]\nbatch = [2]", &["batch", "set by [fixed] too"]),
            ("[grid]\nbatch = [2]\nrate = [{ name = \"a\", batch = 3 }]", &["[grid] rate", "set by batch too"]),
            ("[grid]\nrate = [{ batch = 3 }]", &["[grid] rate", "needs a name"]),
            ("[grid]\nrate = [{ name = \"a\" }]", &["[grid] rate", "no option"]),
            ("[grid]\nrate = [{ name = \"a\", bath = 3 }]", &["[grid] rate: a: bath", "no such option"]),
            ("[grid]\nrate = [3]", &["[grid] rate", "no such option"]),
            ("[grid]\nrate = [{ name = \"\", batch = 3 }]", &["empty"]),
            ("[grid]\nstart = [\"a/b\", \"a-b\"]", &["start=a-b", "share the folder"]),
        ] {
            let error = parse(text).unwrap_err();
            words.iter().for_each(|word| assert!(error.contains(word), "{text}: `{word}` not said: {error}"));
        }
        let long = format!("[grid]\nstart = [\"{}\"]", "x".repeat(300));
        assert!(parse(&long).unwrap_err().contains("more than 200"));
        let numbers = (0..101).map(|i| i.to_string()).collect::<Vec<_>>().join(", ");
        let many = format!("[grid]\nseed = [{numbers}]\nhealthy = [{numbers}]");
        assert!(parse(&many).unwrap_err().contains("more than 10000"));
        let missing = Grid::load(Path::new("nowhere.toml"), &options()).unwrap_err().to_string();
        assert!(missing.contains("nowhere.toml") && missing.contains("check the path"), "{missing}");
    }

    fn shipped(name: &str) -> Grid {
        Grid::load(&Path::new(env!("CARGO_MANIFEST_DIR")).join("../docs/segmentation").join(name), &options()).unwrap()
    }

    #[test]
    fn table_iv_is_the_papers() {
        let grid = shipped("table_iv.toml");
        assert_eq!(grid.axes, ["batch", "blocks", "epochs", "learning-rate"]);
        let runs: HashSet<&[String]> = grid.combinations.iter().map(|run| run.labels.as_slice()).collect();
        assert_eq!((grid.combinations.len(), runs.len()), (90, 90));
        for batch in ["32", "64", "128"] {
            for blocks in ["4", "6"] {
                for epochs in ["100", "200", "300", "400", "500"] {
                    for rate in ["1e-5", "5e-5", "cosine"] {
                        assert!(runs.contains(&[batch, blocks, epochs, rate].map(str::to_owned)[..]));
                    }
                }
            }
        }
        for run in &grid.combinations {
            let has = |argument: &str| run.arguments.iter().any(|a| a == argument);
            assert!(has("--net=modified-attention-unet") && has(&format!("--epochs={}", run.epochs)));
            assert!(has("--schedule=cosine") == (run.labels[3] == "cosine"));
        }
    }

    #[test]
    fn the_short_grid_is_short() {
        let grid = shipped("short_grid.toml");
        assert!(grid.combinations.len() >= 6 && grid.combinations.iter().all(|run| run.epochs == 2));
    }

    proptest! {
        #[test]
        fn no_text_makes_it_panic(text in "\\PC{0,80}", body in "(\\[grid\\]\n)?(batch|rate|nesterov) = \\[\\PC{0,30}\\]") {
            let _ = (parse(&text), parse(&body));
        }

        #[test]
        fn as_many_runs_as_the_lists_say(
            batch in proptest::collection::btree_set(1u16..999, 1..6),
            rate in proptest::collection::btree_set(1u32..999, 1..6),
        ) {
            let rates: Vec<f64> = rate.iter().map(|&i| f64::from(i) * 1e-6).collect();
            let text = format!("[grid]\nbatch = {batch:?}\nlearning-rate = {rates:?}").replace(['{', '}'], "");
            let text = text.replace("batch = ", "batch = [").replace("\nlearning", "]\nlearning");
            let grid = parse(&text).unwrap();
            prop_assert_eq!(grid.combinations.len(), batch.len() * rate.len());
            for run in &grid.combinations {
                let said: f64 = run.labels[1].parse().unwrap();
                prop_assert!(rates.contains(&said), "{} is the very number", said);
                prop_assert!(run.name.chars().all(|c| c.is_ascii_alphanumeric() || "=.+-_".contains(c)));
            }
        }
    }
}
