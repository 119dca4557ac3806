//! `thorax-train classify`: the words of its command line, and what it does one after the other.

use std::{
    collections::BTreeMap,
    num::NonZeroUsize,
    path::{Path, PathBuf},
};

use anyhow::Context;
use sha2::{Digest, Sha256};
use thorax_files::{hexadecimal, remove_left_over};
use thorax_nets::Backbone;
use thorax_nn::device::threads;

use crate::{
    classifiers::{
        ClassifierError, Configuration, DEFAULTS, FORMAT, Fitter, Folder, Gram, Kind, NotRun, Parameters, Problem,
        Protocol, Resample, RunConfiguration, StoreIdentity, XGBOOST_PACKAGE, check_xgboost, note_not_run, tune,
    },
    features::Extractor,
    files::take_folder,
    memory,
    progress::progress,
};

/// Options of `classify`.
#[derive(Debug, clap::Args)]
pub struct ClassifyArgs {
    /// Features written by `thorax-train features`
    #[arg(long, value_name = "STORE", required_unless_present = "defaults")]
    features: Option<PathBuf>,
    /// Folder of the runs; work that was stopped goes on there
    #[arg(long, value_name = "FOLDER", required_unless_present = "defaults")]
    out: Option<PathBuf>,
    /// Hyper-parameters (TOML), laid over the defaults, or over those of --paper
    #[arg(long, value_name = "FILE")]
    config: Option<PathBuf>,
    /// Take the hyper-parameters that the paper most likely had, the defaults of scikit-learn and XGBoost: XGBoost of 100 trees of depth 6,
    /// AdaBoost of 50, a forest of 100, support vector machines scored by the sign of their decision. What --config or --tune says goes
    /// before them; the report lists what differs. Takes many times as long
    #[arg(long)]
    paper: bool,
    /// Print the hyper-parameters' defaults, with what they mean, and end; with --paper those of the paper
    #[arg(long)]
    defaults: bool,
    /// Runs of each classifier; more may be asked for later
    #[arg(long, value_name = "N", default_value_t = 100, value_parser = clap::value_parser!(u32).range(1..=10_000))]
    runs: u32,
    /// Fewer runs of a classifier that takes long, such as xgboost=10; the report says so in its rows. The folder keeps this until it is said
    /// otherwise: xgboost=100 later adds the others
    #[arg(long, value_name = "CLASSIFIER=N", value_delimiter = ',', value_parser = fewer)]
    fewer: Vec<(Kind, usize)>,
    /// How the runs differ
    #[arg(long, value_enum, default_value_t = Resample::Bootstrap)]
    resample: Resample,
    /// Of all that is drawn
    #[arg(long, default_value_t = 1)]
    seed: u64,
    /// Only these classifiers
    #[arg(long, value_enum, value_delimiter = ',', value_name = "NAMES")]
    only: Vec<Kind>,
    /// Choose hyper-parameters first, by cross-validation over the training patients
    #[arg(long)]
    tune: bool,
    /// Test on the pictures of this source and learn from the others
    #[arg(long, value_name = "SOURCE", conflicts_with = "leave_one_source_out")]
    leave_out: Option<String>,
    /// Afterwards leave out each source in turn, into FOLDER/sources
    #[arg(long)]
    leave_one_source_out: bool,
    /// Refuse features of another net than this
    #[arg(long, value_name = "NAME")]
    backbone: Option<Backbone>,
    /// Memory that may be used, in MiB, the program itself and the pages of the mapped store included; what cannot do with it is
    /// refused [default: 1.3 times the features and the Gram matrix, and at least 512, where XGBoost takes more]
    #[arg(long, value_name = "MIB")]
    memory: Option<usize>,
    /// The XGBoost library, such as `xgboost/lib/libxgboost.so` of the PyPI package xgboost-cpu [default: the system's]. Without it the
    /// other classifiers run, and the report says what to install
    #[arg(long, value_name = "FILE", env = "THORAX_XGBOOST")]
    xgboost: Option<PathBuf>,
    /// Threads of the CPU; changes no result
    #[arg(long, value_name = "N", value_parser = threads)]
    threads: Option<NonZeroUsize>,
}

impl ClassifyArgs {
    /// The number of threads that was asked for.
    pub fn threads(&self) -> Option<NonZeroUsize> {
        self.threads
    }

    /// The classifiers that were asked for.
    fn kinds(&self) -> Vec<Kind> {
        Kind::ALL.into_iter().filter(|kind| self.only.is_empty() || self.only.contains(kind)).collect()
    }

    /// How many runs there are to be of the classifiers of which fewer are asked for, now or, as `folder` says, before.
    ///
    /// # Errors
    /// More than of the others, or of a classifier that is not to run; where every run deals the patients out anew, since a picture may
    /// then have been a test picture in none of the few.
    fn fewer_runs(&self, folder: &Path) -> anyhow::Result<BTreeMap<Kind, usize>> {
        let kinds = self.kinds();
        let mut fewer = RunConfiguration::read(folder).map(|found| found.protocol.fewer).unwrap_or_default();
        for (position, &(kind, runs)) in self.fewer.iter().enumerate() {
            let all = self.runs as usize;
            anyhow::ensure!(
                runs <= all,
                "--fewer {kind}={runs}: there are {all} --runs of the others; give at most so many"
            );
            anyhow::ensure!(kinds.contains(&kind), "--fewer {kind}={runs}: --only does not name {kind}; add it there");
            anyhow::ensure!(
                self.resample == Resample::Bootstrap,
                "--fewer {kind}={runs}: with --resample split an image may be tested in none of these runs; leave out --fewer"
            );
            let twice = self.fewer[..position].iter().any(|(other, _)| *other == kind);
            anyhow::ensure!(!twice, "--fewer {kind}: given twice; give it once");
            fewer.insert(kind, runs);
        }
        Ok(fewer)
    }
}

/// `CLASSIFIER=N` of `--fewer`.
fn fewer(text: &str) -> Result<(Kind, usize), String> {
    let (kind, runs) = text.split_once('=').ok_or("not CLASSIFIER=N, such as xgboost=10")?;
    let kind = Kind::ALL.into_iter().find(|known| known.name() == kind).ok_or_else(|| {
        let known: Vec<&str> = Kind::ALL.iter().map(|kind| kind.name()).collect();
        format!("{kind:?} is none of {}", known.join(", "))
    })?;
    match runs.parse() {
        Ok(runs) if runs > 0 => Ok((kind, runs)),
        _ => Err(format!("{runs:?} is no number of runs; give 1 or more")),
    }
}

/// Carries out `classify`.
///
/// # Errors
/// Whatever went wrong, with the file it went wrong with.
pub fn run(args: &ClassifyArgs) -> anyhow::Result<()> {
    if args.defaults {
        if args.paper {
            print!("{}", toml::to_string(&Configuration::of_paper(None)?.parameters)?);
        } else {
            print!("{DEFAULTS}");
        }
        return Ok(());
    }
    let (store, out) = args.features.as_deref().zip(args.out.as_deref()).context("give --features and --out")?;
    let config = args.config.as_deref();
    let configuration = if args.paper { Configuration::of_paper(config)? } else { Configuration::load(config)? };
    let parameters = series(args, &configuration, store, out, args.leave_out.as_deref())?;
    if args.leave_one_source_out {
        let problem = open(args, &parameters, store, None)?;
        let mut sources: Vec<&str> = problem.pictures.iter().map(|row| row.source.as_str()).collect();
        sources.sort_unstable();
        sources.dedup();
        for source in sources {
            let folder = out.join("sources").join(slug(source));
            // What was tuned with the source is not used without it: these runs have the parameters of the file.
            match series(args, &configuration, store, &folder, Some(source)) {
                // Without this source a split has one class alone: there is nothing to learn or to choose by.
                Err(error) if matches!(error.downcast_ref(), Some(ClassifierError::MissingClass { .. })) => {
                    eprintln!("{source}: left in, because without it {error}");
                }
                result => {
                    result?;
                }
            }
        }
    }
    Ok(())
}

/// All runs of all classifiers on one division of the pictures; returns the parameters that they had.
fn series(
    args: &ClassifyArgs,
    configuration: &Configuration,
    store: &Path,
    out: &Path,
    left_out: Option<&str>,
) -> anyhow::Result<Parameters> {
    let problem = open(args, &configuration.parameters, store, left_out)?;
    let identity = StoreIdentity::of(&problem);
    let test = left_out.map_or(String::new(), |source| format!(", the source {source:?} left out"));
    let refused = problem.contents.rows.len() - problem.len();
    eprintln!(
        "{}: {} {} pictures ({refused} not used: quality check or left out){test}, {} features of {}",
        store.display(),
        problem.len(),
        problem.modality(),
        problem.columns(),
        identity.backbone
    );
    let memory = limit(args, &problem, &configuration.parameters)?;
    let _lock = take_folder(out)?;
    let fewer = args.fewer_runs(out)?;
    for kind in Kind::ALL {
        let folder = out.join("predictions").join(kind.name());
        if folder.is_dir() {
            remove_left_over(&folder).with_context(|| folder.display().to_string())?;
        }
    }
    let protocol = Protocol {
        resample: args.resample,
        runs: args.runs as usize,
        fewer,
        seed: args.seed,
        left_out: left_out.map(str::to_owned),
    };
    let begin = |parameters: &Parameters| {
        let (format, store, protocol) = (FORMAT, identity.clone(), protocol.clone());
        Folder::open(out, &RunConfiguration { format, store, protocol, parameters: parameters.clone() })
    };
    // Another configuration is refused before anything long begins; with --tune it is not known yet.
    let early = if args.tune { None } else { Some(begin(&configuration.parameters)?) };
    let gram = Gram::open(&out.join("gram.safetensors"), &problem, configuration.parameters.standardise)?;
    let fitter = Fitter::new(&problem, &gram, memory, args.xgboost.as_deref());
    let kinds = args.kinds();
    let no_xgboost = check_xgboost(args.xgboost.as_deref()).err().filter(|_| kinds.contains(&Kind::Xgboost));
    if let Some(error) = &no_xgboost {
        anyhow::ensure!(!args.only.contains(&Kind::Xgboost), "{error}");
        eprintln!("{}: left out, the others run. {error}", Kind::Xgboost);
    }
    let usable = |kind: &Kind| *kind != Kind::Xgboost || no_xgboost.is_none();
    let parameters = if args.tune {
        let kinds: Vec<Kind> = kinds.iter().copied().filter(usable).collect();
        tune::tune(&fitter, configuration, &kinds, args.seed, &out.join("tuning.json"))?
    } else {
        configuration.parameters.clone()
    };
    let mut folder = match early {
        Some(folder) => folder,
        None => begin(&parameters)?,
    };
    let runs = problem.runs(args.resample, args.runs as usize, args.seed)?;
    folder.describe(&problem, &runs)?;
    for kind in kinds {
        let wanted = &runs.runs[..protocol.runs_of(kind)];
        let missing: Vec<_> = wanted.iter().filter(|run| !folder.has(kind, run.number)).cloned().collect();
        let not_run = no_xgboost.as_ref().filter(|_| !usable(&kind) && !missing.is_empty());
        let why = not_run.map(|error| NotRun { reason: error.to_string(), install: XGBOOST_PACKAGE.to_owned() });
        note_not_run(out, kind, why)?;
        if not_run.is_some() {
            continue;
        }
        let bar = progress(wanted.len(), kind.name());
        bar.set_position((wanted.len() - missing.len()) as u64);
        bar.reset_eta();
        let started = std::time::Instant::now();
        fitter.fit(kind, &parameters, &missing, &|run, probabilities, answers| {
            folder.keep(kind, run.number, probabilities, answers)?;
            bar.inc(1);
            Ok(())
        })?;
        bar.finish_and_clear();
        let seconds = started.elapsed().as_secs_f64();
        let there = wanted.len() - missing.len();
        let peak = memory::peak_kib().ok().map(|kib| kib as usize / 1024);
        let told = peak.map_or(String::new(), |mib| format!("; peak memory {mib} MiB"));
        eprintln!("{kind}: {} runs in {seconds:.1} s, {there} were there{told}", missing.len());
        if let (Some(peak), Some(allowed)) =
            (peak, args.memory.filter(|allowed| peak.is_some_and(|peak| peak > *allowed)))
        {
            eprintln!("{kind}: took {peak} MiB, more than the {allowed} MiB that --memory allows");
        }
    }
    Ok(parameters)
}

fn open(
    args: &ClassifyArgs,
    parameters: &Parameters,
    store: &Path,
    left_out: Option<&str>,
) -> Result<Problem, ClassifierError> {
    Problem::open(store, args.backbone.map(Extractor::from), left_out, parameters.folds, args.seed)
}

/// Bytes that may be used.
///
/// # Errors
/// Work that does not fit. Where --memory says what may be used, all counts that this process will have resident: what it has
/// already, and what each classifier takes (of XGBoost's own matrices and histograms what was measured, see docs/figures.md).
fn limit(args: &ClassifyArgs, problem: &Problem, parameters: &Parameters) -> anyhow::Result<usize> {
    const MIB: usize = 1 << 20;
    let (pictures, columns, runs) = (problem.len(), problem.columns(), args.runs as usize);
    let gram = 4 * pictures * pictures;
    let codes = pictures * columns;
    let allowed = match args.memory {
        Some(mib) => mib.saturating_mul(MIB),
        None => problem.memory(),
    };
    let kinds = args.kinds();
    let mut needs = vec![("the Gram matrix and a kernel's", 2 * gram)];
    if kinds.iter().copied().any(Kind::of_trees) {
        needs.push(("the trees' codes and the Gram matrix", gram + codes));
    }
    if args.memory.is_some() {
        let base = memory::peak_kib()? as usize * 1024;
        needs.iter_mut().for_each(|(_, bytes)| *bytes += base);
        let each = [
            (Kind::Knn, "kNN's votes and the Gram matrix", 16 * runs * pictures),
            (Kind::NaiveBayes, "naive Bayes' sums and the Gram matrix", 8 * runs * pictures),
            (Kind::Mlp, "two networks at a time and the Gram matrix", 32 * pictures * parameters.mlp.hidden),
            (
                Kind::Xgboost,
                "XGBoost's matrices and the Gram matrix",
                16 * codes / 5 + 144 * parameters.xgboost.max_bin as usize * columns,
            ),
        ];
        let asked = each.into_iter().filter(|(kind, ..)| kinds.contains(kind));
        needs.extend(asked.map(|(_, what, bytes)| (what, base + gram + bytes)));
    }
    for (what, needed) in needs {
        if needed > allowed {
            let (needed_mib, allowed_mib) = (needed.div_ceil(MIB), allowed / MIB);
            return Err(ClassifierError::Memory { what, needed_mib, allowed_mib }.into());
        }
    }
    Ok(allowed)
}

/// A source's name as a folder's, with some of its hash, as different names may have the same letters.
fn slug(source: &str) -> String {
    let mut name = String::new();
    for character in source.chars().take(40) {
        match character.to_ascii_lowercase() {
            c if c.is_ascii_alphanumeric() => name.push(c),
            _ if name.ends_with('-') || name.is_empty() => {}
            _ => name.push('-'),
        }
    }
    format!("{}-{}", name.trim_end_matches('-'), &hexadecimal(&Sha256::digest(source))[..6])
}
