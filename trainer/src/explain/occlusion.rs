//! Where classifiers look that have no gradient: occlusion (Zeiler and Fergus, *Visualizing and Understanding Convolutional Networks*, ECCV
//! 2014, arXiv:1311.2901, section 4.2). A square of the picture is greyed out, and the answer asked for again; where it falls, something was
//! that spoke for it.
//!
//! Classifiers are not kept: what a run says, it says of the pictures of its feature store, as it is fitted. So the greyed copies become pictures of a store beside the others, which no run learns from, and the runs are fitted again.

use std::{
    path::Path,
    sync::{Mutex, PoisonError},
};

use anyhow::Context;
use half::f16;
use thorax_shared::plane::Plane;

use super::again::Runs;
use crate::{
    classifiers::{ClassifierRun, Fitter, Gram, Problem},
    data::{Label, Split, UNKNOWN_PATIENT},
    features::{Contents, Dtype, FeatureRow, FeatureStore, Opened, State, StoreWriter, WrittenRow},
    progress::progress,
};

/// Cells along each side of a picture. A square that is greyed out covers two by two of them, and the next one is a cell further.
pub(super) const CELLS: usize = 14;

/// The folder of the store that is fitted to, inside the one that is written to.
const ROOM: &str = ".occluded.part";

/// Squares along each side.
const SQUARES: usize = CELLS - 1;

/// A picture, and a copy for each square.
pub(super) const COPIES: usize = 1 + SQUARES * SQUARES;

/// A net's input, `[C, H, W]`, and behind it a copy for each square, `[SQUARES * SQUARES]` by rows, in which the square has the input's mean.
pub(super) fn copies(input: &[f32], [channels, height, width]: [usize; 3]) -> Vec<Vec<f32>> {
    let plane = height * width;
    let means: Vec<f32> = input.chunks_exact(plane).map(|channel| mean(channel) as f32).collect();
    let square = |position: usize| {
        let mut copy = input.to_vec();
        let [row, column] = [position / SQUARES, position % SQUARES];
        let columns = column * width / CELLS..(column + 2) * width / CELLS;
        for (channel, mean) in (0..channels).zip(&means) {
            for y in row * height / CELLS..(row + 2) * height / CELLS {
                copy[channel * plane + y * width..][..width][columns.clone()].fill(*mean);
            }
        }
        copy
    };
    std::iter::once(input.to_vec()).chain((0..SQUARES * SQUARES).map(square)).collect()
}

fn mean(values: &[f32]) -> f64 {
    values.iter().map(|&value| f64::from(value)).sum::<f64>() / values.len() as f64
}

/// `[CELLS, CELLS]`: by how much the score of a picture, the first of `scores`, is above those of the copies behind it, the mean over the
/// squares that cover a cell; 0 where it is below.
pub(super) fn map(scores: &[f64]) -> Plane<f32> {
    let (whole, squares) = (scores[0], &scores[1..]);
    Plane::from_fn(CELLS, CELLS, |x, y| {
        // Of the squares that begin at this cell or one before.
        let beginnings = |at: usize| at.saturating_sub(1)..=at.min(SQUARES - 1);
        let covering = beginnings(y).flat_map(|row| beginnings(x).map(move |column| row * SQUARES + column));
        let (sum, count) = covering.fold((0.0, 0), |(sum, count), square| (sum + whole - squares[square], count + 1));
        (sum / f64::from(count)).max(0.0) as f32
    })
}

/// `[pictures][copies][runs]`: what runs say of the disease in pictures with the features `[pictures][copies][C * H * W]`. A store with them
/// lies in the folder `out` for as long as it takes.
///
/// # Errors
/// Runs that, fitted again, say something else of its own pictures than it keeps; no room for the store.
pub(super) fn ask(
    runs: &Runs,
    pictures: &[Vec<Vec<f32>>],
    out: &Path,
    xgboost: Option<&Path>,
) -> anyhow::Result<Vec<Vec<Vec<f64>>>> {
    let Runs { kind, count, problem, .. } = *runs;
    let parameters = &runs.configuration.parameters;
    let asked: Vec<&[f32]> = pictures.iter().flatten().map(Vec::as_slice).collect();
    let room = out.join(ROOM);
    if room.exists() {
        // Of a process that was killed.
        std::fs::remove_dir_all(&room).with_context(|| room.display().to_string())?;
    }
    let room = tempfile::Builder::new()
        .prefix(ROOM)
        .rand_bytes(0)
        .tempdir_in(out)
        .with_context(|| room.display().to_string())?;
    let extended = extended(problem, &asked, &room.path().join("occluded.features"))?;
    let gram = Gram::compute(&extended, parameters.standardise)?;
    let mut drawn = runs.draw()?;
    drawn.iter_mut().for_each(|run| run.counts.resize(extended.len(), 0));

    let bar = progress(count, kind.name());
    let said = Mutex::new(vec![vec![]; count]);
    let done = |run: &ClassifierRun, probabilities: &[f64], _: Option<&[bool]>| {
        said.lock().unwrap_or_else(PoisonError::into_inner)[run.number] = probabilities.to_vec();
        bar.inc(1);
        Ok(())
    };
    Fitter::new(&extended, &gram, extended.memory(), xgboost).fit(kind, parameters, &drawn, &done)?;
    bar.finish_and_clear();
    let said = said.into_inner().unwrap_or_else(PoisonError::into_inner);
    for (number, said) in said.iter().enumerate() {
        runs.check_said(number, &said[..problem.len()])?;
    }
    let mut next = problem.len()..;
    let of_copy = |at: usize| said.iter().map(|run| run[at]).collect::<Vec<f64>>();
    let of_picture = |copies: &Vec<_>| next.by_ref().take(copies.len()).map(of_copy).collect();
    Ok(pictures.iter().map(of_picture).collect())
}

/// The pictures of `problem`, and behind them others with features `asked`, `[K][C * H * W]`, which are not for learning; their store is
/// written to `path`.
fn extended(problem: &Problem, asked: &[&[f32]], path: &Path) -> anyhow::Result<Problem> {
    let others = asked.iter().enumerate().map(|(number, _)| FeatureRow {
        path: format!("explained {number}"),
        sha256: String::new(),
        patient_id: UNKNOWN_PATIENT.into(),
        group: format!("explained {number}"),
        source: "explained".into(),
        label: Label::Negative,
        split: Split::Test,
        equalised: false,
        copy: 0,
    });
    let pictures: Vec<FeatureRow> = problem.pictures.iter().cloned().chain(others).collect();
    let contents = Contents { rows: pictures.clone(), ..problem.contents.clone() };
    let Opened::Unfinished(writer) = StoreWriter::open(path, &contents, problem.shape)? else {
        anyhow::bail!("{}: there already", path.display())
    };
    let store = FeatureStore::open(&problem.store)?;
    let bytes = |row: usize| -> Vec<u8> {
        let mut values = vec![0f32; problem.columns()];
        match row.checked_sub(problem.len()) {
            Some(other) => values.copy_from_slice(asked[other]),
            None => store.row(problem.rows[row]).write_f32(&mut values),
        }
        match contents.dtype {
            // What comes from a store, or was rounded as one rounds, loses nothing here.
            Dtype::F16 => values.iter().flat_map(|&value| f16::from_f32(value).to_le_bytes()).collect(),
            Dtype::F32 => values.iter().flat_map(|value| value.to_le_bytes()).collect(),
        }
    };
    for &unit in writer.pending() {
        let rows: Vec<Vec<u8>> = writer.unit(unit).map(bytes).collect();
        let rows: Vec<WrittenRow> = rows.iter().map(|bytes| WrittenRow { state: State::Extracted, bytes }).collect();
        writer.write(unit, &rows)?;
    }
    writer.finish()?;
    Ok(Problem {
        store: path.to_owned(),
        rows: (0..pictures.len()).collect(),
        labels: problem.labels.iter().copied().chain(std::iter::repeat_n(false, asked.len())).collect(),
        folds: problem.folds.iter().copied().chain(std::iter::repeat_n(0, asked.len())).collect(),
        pictures,
        contents,
        shape: problem.shape,
        left_out: problem.left_out.clone(),
    })
}
