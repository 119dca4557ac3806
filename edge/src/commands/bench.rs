//! `thorax-edge bench`: how long each stage takes, how long a cold start, how much memory.

use std::{process::Command, time::Instant};

use anyhow::Context;
use embedded_graphics::Drawable;
use thorax_decode::Input;
use thorax_engine::{screening::Screener, threads, trust};
use thorax_screen::{Framebuffer, PANEL};

use crate::{
    cli::{ALL_SCREENED, BenchArgs},
    outcome::{Outcome, screen_file},
    report::{self, Milliseconds},
};

fn median(mut values: Vec<f64>) -> f64 {
    values.sort_by(f64::total_cmp);
    values.get(values.len() / 2).copied().unwrap_or(f64::NAN)
}

/// Prints a table a file: medians of the stages in a warm process, then of whole cold processes.
///
/// # Errors
/// Files or bundles that cannot be read.
pub fn run(args: &BenchArgs) -> anyhow::Result<u8> {
    let runs = args.runs.max(1);
    // As the appliance has them.
    let threads = threads::share_among(std::thread::available_parallelism().map_or(1, usize::from));
    let paths = args.input.bundles.paths()?;
    let screener = Screener::open(&paths, &trust::trusted_keys(args.input.bundles.trust.as_deref())?)?;
    for file in &args.input.files {
        let mut stages: [Vec<f64>; 6] = Default::default();
        let ms = |start: Instant| start.elapsed().as_secs_f64() * 1e3;
        // One run more: the first prepares the graphs and is not counted.
        for run in 0..=runs {
            let (outcome, cost) =
                screen_file(&screener, &Input::File(file.clone()), args.input.modality, 1, |_, _, _| ())
                    .with_context(|| file.display().to_string())?;
            let screening = match outcome {
                Outcome::Screened(screening) => screening,
                Outcome::Refused(reason) => anyhow::bail!("{}: {reason}", file.display()),
            };
            let start = Instant::now();
            let title = screening.bundle.title();
            let screen = report::panel(&screening, "bench", &title, None);
            let mut panel = Framebuffer::new(PANEL);
            let Ok(()) = screen.draw(&mut panel);
            let draw = ms(start);
            if run > 0 {
                let Milliseconds { decode, preprocess, classify, segment, decide } = Milliseconds::of(&cost);
                let times = [decode, preprocess, classify, segment, decide, draw];
                stages.iter_mut().zip(times).for_each(|(stage, time)| stage.push(time));
            }
        }
        println!("{}, medians of {runs} runs, {threads} threads", file.display());
        let mut total = 0.0;
        for (name, times) in ["decode", "preprocess", "classify", "segment", "decide", "draw"].into_iter().zip(stages) {
            let time = median(times);
            total += time;
            println!("  {name:<12} {time:>8.1} ms");
        }
        println!("  {:<12} {total:>8.1} ms", "all, warm");
        let (mut cold, mut memory) = (vec![], vec![]);
        for _ in 0..runs {
            let mut command = Command::new(std::env::current_exe()?);
            command.arg("screen").arg("--json").arg("--slices").arg("1").arg(file);
            if let Some(modality) = args.input.modality {
                command.args(["--modality", modality.as_str()]);
            }
            paths.iter().for_each(|path| {
                command.arg("--bundle").arg(path);
            });
            args.input.bundles.trust.iter().for_each(|path| {
                command.arg("--trust").arg(path);
            });
            let start = Instant::now();
            let output = command.output().context("cannot start thorax-edge again")?;
            cold.push(ms(start));
            let row: serde_json::Value = serde_json::from_slice(&output.stdout)
                .with_context(|| String::from_utf8_lossy(&output.stderr).into_owned())?;
            memory.extend(row["peak_memory_mib"].as_f64());
        }
        println!("  {:<12} {:>8.1} ms (process start to verdict)", "cold start", median(cold));
        println!("  {:<12} {:>8.1} MiB", "peak memory", median(memory));
    }
    Ok(ALL_SCREENED)
}
