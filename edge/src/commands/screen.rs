//! `thorax-edge screen`: files and folders in; a row for each file or series, masks and panels out.
//!
//! What is wrong with a file is its row. What is wrong with the device (a graph that cannot run, a result that cannot be written)
//! ends the command before the file has a row, and before any of its results is written.

use std::{collections::BTreeSet, io::Write as _};

use anyhow::Context;
use thorax_decode::{Gathered, Limits, gather};
use thorax_engine::{screening::Screener, trust};

use crate::{
    cli::{ALL_SCREENED, BAD_USAGE, SOME_REFUSED, ScreenArgs},
    deliver::files::ResultFiles,
    outcome::{Outcome, screen_file},
    report::Row,
};

/// Screens every file of `args`, and every file and series in its folders.
///
/// # Errors
/// When the device fails.
pub fn run(args: &ScreenArgs) -> anyhow::Result<u8> {
    let input = &args.input;
    let screener = Screener::open(&input.bundles.paths()?, &trust::trusted_keys(input.bundles.trust.as_deref())?)?;
    let Gathered { inputs, passed_over } = gather(&input.files, &Limits::default(), input.modality);
    // Standard output is for what was read.
    for (path, why) in &passed_over {
        eprintln!("thorax-edge: {}: passed over: {why}", path.display());
    }
    let results = ResultFiles::new(&inputs, args.masks.as_deref(), args.prepared.as_deref(), args.display.as_deref())?;
    if let Some(path) = results.overwritten_input(&inputs) {
        eprintln!(
            "thorax-edge: {}: a result would be written over this input; choose another folder for --masks, --prepared or --display",
            path.display()
        );
        return Ok(BAD_USAGE);
    }
    let mut rows = Rows { json: args.json, header_told: false };
    let mut meanings = BTreeSet::new();
    let mut refused = false;
    for (input, names) in inputs.iter().zip(results.names()) {
        let mut pictures = vec![];
        let modality = args.input.modality;
        let (outcome, cost) = screen_file(&screener, input, modality, args.slices, |slice, reading, hanging| {
            pictures.push(results.pictures(names, slice, reading, hanging));
        })
        .with_context(|| input.path().display().to_string())?;
        if let Outcome::Screened(_) = outcome {
            for picture in pictures.into_iter().collect::<Result<Vec<_>, _>>()?.into_iter().flatten() {
                picture.write()?;
            }
        }
        results.panel(names, input, &outcome)?;
        let row = Row::new(input, &outcome, &cost);
        refused |= row.is_refused();
        rows.tell(&row)?;
        meanings.extend(row.meaning());
    }
    if !args.json {
        meanings.iter().for_each(|meaning| println!("{meaning}"));
        println!("Research use only, not a medical device.");
    }
    Ok(if refused { SOME_REFUSED } else { ALL_SCREENED })
}

/// Standard output.
struct Rows {
    json: bool,
    header_told: bool,
}

impl Rows {
    fn tell(&mut self, row: &Row) -> anyhow::Result<()> {
        let mut out = std::io::stdout().lock();
        if self.json {
            serde_json::to_writer(&mut out, row)?;
            writeln!(out)?;
        } else {
            if !std::mem::replace(&mut self.header_told, true) {
                writeln!(out, "{}", Row::HEADER)?;
            }
            writeln!(out, "{}", row.table_line())?;
        }
        out.flush()?;
        Ok(())
    }
}
