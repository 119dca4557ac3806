//! Times the machine learning libraries of Rust with the paper's classifiers on as many columns as un-pooled features have.
//!
//! A case is a classifier of a library: it learns from 70 % of the rows of a drawn problem and predicts all of them, once, in a
//! process of its own, which is ended when it takes too long. What that says is in README.md.

mod cases;
mod problem;

use std::io::Read;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::Context;
use clap::Parser;

use cases::{CASES, Case, Outcome};
use problem::Problem;

/// Times the machine learning libraries of Rust on many columns
#[derive(Parser)]
struct Arguments {
    /// Rows of the problem; 70 % are learnt from, all are predicted
    #[arg(long, value_delimiter = ',', default_value = "500,1000")]
    rows: Vec<usize>,
    /// Columns
    #[arg(long, value_delimiter = ',', default_value = "62720,100352")]
    columns: Vec<usize>,
    /// Only cases whose library and classifier contain this
    #[arg(long, default_value = "", value_name = "TEXT")]
    only: String,
    /// Seconds after which a case is ended
    #[arg(long, default_value = "60", value_name = "SECONDS")]
    limit: u64,
    /// Carries out one case, by its number, in this process
    #[arg(long, hide = true)]
    case: Option<usize>,
}

fn main() -> anyhow::Result<()> {
    let arguments = Arguments::parse();
    if let Some(number) = arguments.case {
        let case = CASES.get(number).context("there is no case of that number")?;
        let outcome = (case.run)(Problem::drawn(arguments.rows[0], arguments.columns[0]))?;
        println!("{}", serde_json::to_string(&outcome)?);
        return Ok(());
    }
    println!(
        "| library | classifier | answers | rows | columns | f32 MiB | fit s | predict s | peak MiB | accuracy | |"
    );
    println!("|---|---|---|---|---|---|---|---|---|---|---|");
    for (number, case) in CASES.iter().enumerate() {
        if !format!("{} {}", case.library, case.classifier).contains(&arguments.only) {
            continue;
        }
        for columns in &arguments.columns {
            for rows in &arguments.rows {
                let ending = run_apart(number, *rows, *columns, Duration::from_secs(arguments.limit))?;
                println!("{}", line(case, *rows, *columns, &ending));
            }
        }
    }
    Ok(())
}

/// How a process ended, and the most memory it was seen to have.
struct Ending {
    outcome: Result<Outcome, String>,
    peak_kib: u64,
}

/// Carries a case out in a process of its own.
fn run_apart(number: usize, rows: usize, columns: usize, limit: Duration) -> anyhow::Result<Ending> {
    let mut child = Command::new(std::env::current_exe()?)
        .args(["--case", &number.to_string()])
        .args(["--rows", &rows.to_string(), "--columns", &columns.to_string()])
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()?;
    let (started, mut peak_kib) = (Instant::now(), 0);
    let status = loop {
        peak_kib = peak_kib.max(peak(&child));
        if let Some(status) = child.try_wait()? {
            break Some(status);
        }
        if started.elapsed() > limit {
            child.kill()?;
            child.wait()?;
            break None;
        }
        std::thread::sleep(Duration::from_millis(20));
    };
    let mut written = [String::new(), String::new()];
    child.stdout.take().context("no output")?.read_to_string(&mut written[0])?;
    child.stderr.take().context("no output")?.read_to_string(&mut written[1])?;
    let outcome = match status {
        None => Err(format!("more than {} s", limit.as_secs())),
        Some(status) if status.success() => Ok(serde_json::from_str(&written[0])?),
        // What a panic says first is its place.
        Some(_) => Err(written[1]
            .lines()
            .find(|line| !line.is_empty() && !line.contains("panicked"))
            .map_or_else(|| "ended without a word".to_owned(), |line| line.trim_start_matches("Error: ").to_owned())),
    };
    Ok(Ending { outcome, peak_kib })
}

/// The most memory that a process has had resident, in KiB; 0 when it is gone.
fn peak(child: &Child) -> u64 {
    let status = std::fs::read_to_string(format!("/proc/{}/status", child.id())).unwrap_or_default();
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:"));
    line.and_then(|line| line.split_whitespace().next()?.parse().ok()).unwrap_or(0)
}

/// A line of the table.
fn line(case: &Case, rows: usize, columns: usize, ending: &Ending) -> String {
    let Case { library, classifier, answers, .. } = case;
    let size = (4 * rows * columns) >> 20;
    let peak = ending.peak_kib >> 10;
    let head = format!("| {library} | {classifier} | {answers} | {rows} | {columns} | {size} ");
    match &ending.outcome {
        Ok(Outcome { fit_s, predict_s, accuracy, impossible }) => {
            let remark = match impossible {
                0 => String::new(),
                count => format!("{count} of {rows} probabilities are not in 0 to 1"),
            };
            format!("{head}| {fit_s:.2} | {predict_s:.2} | {peak} | {accuracy:.3} | {remark} |")
        }
        Err(reason) => format!("{head}| - | - | {peak} | - | {reason} |"),
    }
}
