//! From pictures to rows: threads that read and prepare, the net, and threads that write, each a few pictures ahead of the
//! next.
//!
//! Loader `t` of `T` prepares the pictures `t`, `t + T`, ... of those that are missing, and the net takes them in turn, a unit
//! at a time. All queues are short, so the memory does not depend on how many pictures there are. Units are the same whether
//! a run was killed or not, and with them every bit that comes out.

use std::{
    ops::Range,
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicBool, Ordering},
        mpsc::{Receiver, SyncSender, sync_channel},
    },
};

use anyhow::Context;
use candle_core::{Device, Tensor};
use half::{f16, slice::HalfFloatSliceExt};
use indicatif::ProgressBar;
use thorax_nn::graph::Graph;

use super::{
    format::{Contents, Dtype, FeatureError, FeatureRow, State},
    writer::{StoreWriter, WrittenRow},
};
use crate::{
    changes,
    data::{Manifest, picture::Picture},
    segmentation::{LungFinder, lungs},
};

/// Threads that write, so that one waits for the disk while another fills its unit in.
const WRITERS: usize = 2;

/// Where pictures are from, and what part of them the net sees.
#[derive(Clone, Copy)]
pub(super) struct Pictures<'a> {
    /// Their paths and hashes.
    pub(super) manifest: &'a Manifest,
    /// What finds the lungs that they are cropped to.
    pub(super) lungs: Option<&'a LungFinder>,
}

/// A picture, ready for the net.
pub struct Prepared {
    /// `[C, H, W]`.
    pub input: Vec<f32>,
    /// Whether it passed the quality check.
    pub state: State,
}

/// A unit that the net is done with.
struct Computed {
    unit: usize,
    states: Vec<State>,
    /// `[N, C, H, W]`.
    features: Vec<f32>,
}

/// Computes and writes every unit that `writer` lacks, with `loaders` threads that prepare `pictures`.
///
/// # Errors
/// A picture that cannot be read or is another one than in the manifest; a net or a disk that fails. Units that are done
/// stay done.
pub(super) fn extract(
    pictures: Pictures<'_>,
    backbone: &Graph,
    writer: &StoreWriter,
    device: &Device,
    loaders: usize,
    bar: &ProgressBar,
) -> anyhow::Result<()> {
    let rows: Vec<usize> = writer.pending().iter().flat_map(|&unit| writer.unit(unit)).collect();
    let ahead = writer.contents().unit.div_ceil(loaders).max(2);
    let failed = AtomicBool::new(false);
    let (queue, computed) = sync_channel::<Computed>(1);
    // The writers own it, so that when the last of them has failed the net is not left speaking to nobody.
    let computed = Arc::new(Mutex::new(computed));
    std::thread::scope(|scope| {
        let prepared: Vec<_> = (0..loaders)
            .map(|loader| {
                let (queue, out) = sync_channel(ahead);
                let rows = &rows;
                scope.spawn(move || load(&queue, pictures, writer, rows.iter().copied().skip(loader).step_by(loaders)));
                out
            })
            .collect();
        let writers: Vec<_> = (0..WRITERS)
            .map(|_| {
                let (computed, failed) = (computed.clone(), &failed);
                scope.spawn(move || {
                    let written = write(&computed, writer, bar);
                    failed.fetch_or(written.is_err(), Ordering::Relaxed);
                    written
                })
            })
            .collect();
        drop(computed);
        let done = compute(backbone, writer, device, &prepared, &queue, &failed);
        // The loaders end when nobody listens, the writers when nobody speaks.
        drop((prepared, queue));
        let mut written = Ok(());
        for thread in writers {
            let ended = thread.join().unwrap_or_else(|_| Err(anyhow::anyhow!("a thread that writes has ended")));
            written = written.and(ended);
        }
        // What the disk says explains why the net was stopped.
        written.and(done)
    })
}

/// The work of a loader.
fn load(
    queue: &SyncSender<anyhow::Result<Prepared>>,
    pictures: Pictures<'_>,
    writer: &StoreWriter,
    rows: impl Iterator<Item = usize>,
) {
    for row in rows {
        let (contents, row) = (writer.contents(), &writer.contents().rows[row]);
        let prepared = picture(pictures.manifest, contents, row)
            .and_then(|picture| prepare(&picture, contents, pictures.lungs).with_context(|| row.path.clone()));
        let stop = prepared.is_err();
        if queue.send(prepared).is_err() || stop {
            return;
        }
    }
}

/// The picture of a row as it was extracted, changed if it is a copy.
///
/// # Errors
/// A file that cannot be read, or is not the one that was imported.
pub fn picture(manifest: &Manifest, contents: &Contents, row: &FeatureRow) -> anyhow::Result<Picture> {
    let path = manifest.locate(&row.path);
    let sha256 = Picture::sha256(manifest, &row.path)?;
    anyhow::ensure!(
        sha256 == row.sha256,
        "{}: not the file that was imported (SHA-256 {sha256}, the manifest has {}); restore it, or import anew",
        path.display(),
        row.sha256
    );
    let mut picture = Picture::at(manifest, &row.path, row.equalised)?;
    let changes = row.changes(contents.copies_seed.unwrap_or_default());
    picture.frame.pixels = changes::apply_all(&changes, picture.frame.pixels, &contents.preprocess.window);
    Ok(picture)
}

/// What a backbone sees of a picture, by the recipe of `contents`; `finder` finds the lungs where that crops to them.
///
/// # Errors
/// A picture without pixels; a segmenter that fails.
pub fn prepare(picture: &Picture, contents: &Contents, finder: Option<&LungFinder>) -> anyhow::Result<Prepared> {
    let equalised = picture.equalise(&contents.preprocess)?;
    let (_, refused) = equalised.assess(picture.frame.colour_share, &contents.quality);
    let crop = lungs::crop(picture, &equalised, &contents.preprocess, finder)?;
    Ok(Prepared {
        input: equalised.input(&crop, &contents.preprocess).1,
        state: refused.map_or(State::Extracted, State::Refused),
    })
}

/// Runs the net over all pending units, in their order.
fn compute(
    backbone: &Graph,
    writer: &StoreWriter,
    device: &Device,
    prepared: &[Receiver<anyhow::Result<Prepared>>],
    queue: &SyncSender<Computed>,
    failed: &AtomicBool,
) -> anyhow::Result<()> {
    let [c, h, w] = backbone.input_shape;
    let mut queues = prepared.iter().cycle();
    for &unit in writer.pending() {
        let count = writer.unit(unit).len();
        let mut states = Vec::with_capacity(count);
        let mut inputs = Vec::with_capacity(count * c * h * w);
        for queue in queues.by_ref().take(count) {
            let Prepared { input, state } = queue.recv().context("a thread that loads pictures has ended")??;
            anyhow::ensure!(
                input.len() == c * h * w,
                "a picture has {} numbers, the net takes {c} x {h} x {w}",
                input.len()
            );
            inputs.extend(input);
            states.push(state);
        }
        let x = Tensor::from_vec(inputs, (count, c, h, w), device)?;
        let features = backbone.run(&x)?.swap_remove(0).flatten_all()?.to_vec1::<f32>()?;
        if failed.load(Ordering::Relaxed) || queue.send(Computed { unit, states, features }).is_err() {
            anyhow::bail!("the store cannot be written");
        }
    }
    Ok(())
}

/// The work of a writer.
fn write(computed: &Mutex<Receiver<Computed>>, writer: &StoreWriter, bar: &ProgressBar) -> anyhow::Result<()> {
    let next = || computed.lock().unwrap_or_else(PoisonError::into_inner).recv().ok();
    while let Some(Computed { unit, states, features }) = next() {
        let range = writer.unit(unit);
        let bytes = stored(&features, writer, range.clone())?;
        let row_bytes = bytes.len() / range.len();
        let rows: Vec<WrittenRow> = states
            .iter()
            .zip(bytes.chunks_exact(row_bytes))
            .map(|(&state, bytes)| WrittenRow { state, bytes })
            .collect();
        writer.write(unit, &rows)?;
        bar.inc(range.len() as u64);
    }
    Ok(())
}

/// The bytes of a unit's features.
fn stored(features: &[f32], writer: &StoreWriter, rows: Range<usize>) -> Result<Vec<u8>, FeatureError> {
    let dtype = writer.contents().dtype;
    let refuse = |index: usize| {
        let value = features[index];
        let picture = writer.contents().rows[rows.start + index / (features.len() / rows.len())].path.clone();
        let remedy = if value.is_finite() { "give --dtype f32" } else { "check the weights" };
        FeatureError::Value { picture, value, dtype, remedy }
    };
    match dtype {
        Dtype::F16 => {
            let mut values = vec![f16::ZERO; features.len()];
            values.convert_from_f32_slice(features);
            values.iter().position(|value| !value.is_finite()).map_or(Ok(()), |index| Err(refuse(index)))?;
            Ok(bytemuck::cast_slice(&values).to_vec())
        }
        Dtype::F32 => {
            features.iter().position(|value| !value.is_finite()).map_or(Ok(()), |index| Err(refuse(index)))?;
            Ok(bytemuck::cast_slice(features).to_vec())
        }
    }
}
