//! `thorax-train bench store`: what it costs to read a feature store by rows and by columns, beside reading the file.
//!
//! Each round does all of it in turn, so that what disturbs the machine disturbs everything; a figure is the median of the
//! rounds. From the second round on the file is in the page cache, if it fits there: it is the reader that is measured, not
//! the disk.

use std::{fs::File, hint::black_box, io::Read, num::NonZeroUsize, path::PathBuf, time::Instant};

use anyhow::Context;
use rand::Rng;
use rayon::prelude::*;
use thorax_nn::seeded;

use super::median;
use crate::{features::FeatureStore, memory::peak_kib};

/// Rows or columns that are picked at random.
const PICKED: usize = 1000;

/// Options of `bench store`.
#[derive(Debug, clap::Args)]
pub struct StoreArgs {
    /// A store that `thorax-train features` made
    store: PathBuf,
    /// Rounds, after one to warm up
    #[arg(long, default_value = "5", value_name = "N")]
    rounds: NonZeroUsize,
}

/// Runs the benchmark.
///
/// # Errors
/// A file that is no store.
pub(super) fn run(arguments: &StoreArgs) -> anyhow::Result<()> {
    let path = &arguments.store;
    let store = FeatureStore::open(path)?;
    let (rows, columns) = (store.rows(), store.columns());
    let mut random = seeded::generator(1, 0);
    let mut draw = |below: usize| -> Vec<usize> { (0..PICKED).map(|_| random.random_range(0..below)).collect() };
    let (some_rows, some_columns) = (draw(rows), draw(columns));
    let size = store.contents().dtype.size();
    let one_row = |buffer: &mut Vec<f32>, row: usize| {
        store.row(row).write_f32(buffer);
        black_box(buffer);
    };
    let all = rows * columns * size;
    let read_file = || -> anyhow::Result<()> {
        let mut file = File::open(path).with_context(|| path.display().to_string())?;
        let mut buffer = vec![0; 1 << 20];
        while file.read(&mut buffer)? > 0 {
            black_box(&mut buffer);
        }
        Ok(())
    };
    let by_rows = |chosen: &[usize]| {
        let mut buffer = vec![0f32; columns];
        chosen.iter().for_each(|&row| one_row(&mut buffer, row));
    };
    let every_row: Vec<usize> = (0..rows).collect();
    let by_columns = || {
        store.for_columns(0..columns, |column, values| {
            black_box((column, values));
        });
    };
    let random_columns = || {
        some_columns.par_iter().for_each_init(
            || vec![0f32; rows],
            |buffer, &column| {
                store.column(column, buffer);
                black_box(buffer);
            },
        );
    };
    type Case<'a> = (&'static str, usize, Box<dyn Fn() -> anyhow::Result<()> + 'a>);
    let cases: [Case; 5] = [
        ("reading the file, one thread", all, Box::new(read_file)),
        (
            "all rows as f32, one thread",
            all,
            Box::new(|| {
                by_rows(&every_row);
                Ok(())
            }),
        ),
        (
            "all columns as f32, all threads",
            all,
            Box::new(|| {
                by_columns();
                Ok(())
            }),
        ),
        (
            "1,000 random rows as f32, one thread",
            PICKED * columns * size,
            Box::new(|| {
                by_rows(&some_rows);
                Ok(())
            }),
        ),
        (
            "1,000 random columns as f32, all threads",
            PICKED * rows * size,
            Box::new(|| {
                random_columns();
                Ok(())
            }),
        ),
    ];
    let mut times = vec![vec![]; cases.len()];
    for round in 0..=arguments.rounds.get() {
        for ((.., work), times) in cases.iter().zip(&mut times) {
            let started = Instant::now();
            work()?;
            if round > 0 {
                times.push(started.elapsed().as_secs_f64());
            }
        }
    }
    println!(
        "{}: {rows} rows of {columns} {} numbers; {} threads, medians of {} rounds",
        path.display(),
        store.contents().dtype,
        rayon::current_num_threads(),
        arguments.rounds
    );
    println!("{:<44} {:>9} {:>7} {:>8}", "", "ms", "GB/s", "of file");
    let mut plain = None;
    for ((name, bytes, _), times) in cases.iter().zip(times) {
        let seconds = median(times);
        let speed = *bytes as f64 / seconds / 1e9;
        let plain = *plain.get_or_insert(speed);
        println!("{name:<44} {:>9.1} {speed:>7.2} {:>8.2}", seconds * 1e3, speed / plain);
    }
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let own = status.lines().find_map(|line| line.strip_prefix("RssAnon:")).map_or("?", str::trim);
    println!("resident: at most {} MiB with the pages of the file, {own} without at the end", peak_kib()? >> 10);
    Ok(())
}
