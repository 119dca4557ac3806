//! What a run tells: a progress bar, a line an epoch, `epochs.csv` and TensorBoard's events.

use std::path::{Path, PathBuf};

use indicatif::{ProgressBar, ProgressState, ProgressStyle};
use thorax_files::write_atomically;

use super::{TrainingError, events::EventFile};

/// The logs of a run.
pub(super) struct Log {
    scores: Vec<String>,
    path: PathBuf,
    /// The CSV file as it is.
    text: String,
    events: EventFile,
}

/// What is told of an epoch.
pub(super) struct Epoch<'a> {
    /// Counted from 0.
    pub(super) number: usize,
    pub(super) loss: f64,
    pub(super) scores: &'a [f64],
    /// Of the last step.
    pub(super) learning_rate: f64,
    /// Mean over the steps, before it is limited.
    pub(super) gradient_norm: f64,
    pub(super) samples_per_second: f64,
    pub(super) loss_scale: Option<f64>,
}

impl Log {
    /// Opens the logs of a run that has done `epochs` epochs; what the folder tells of later ones is dropped.
    pub(super) fn open(folder: &Path, scores: &[&str], epochs: usize) -> Result<Self, TrainingError> {
        let path = folder.join("epochs.csv");
        let before = std::fs::read_to_string(&path).unwrap_or_default();
        let scores: Vec<String> = scores.iter().map(|&name| name.to_owned()).collect();
        let names = ["epoch", "loss"].into_iter().chain(scores.iter().map(String::as_str));
        let mut text = line(names.chain(["learning_rate", "gradient_norm", "images_per_second"]));
        before.lines().skip(1).take(epochs).for_each(|line| text += &format!("{line}\n"));
        let events = EventFile::open(folder, (epochs > 0).then_some(epochs as i64))?;
        Ok(Self { scores, path, text, events })
    }

    /// Tells of one more epoch.
    pub(super) fn add(&mut self, epoch: &Epoch<'_>) -> Result<(), TrainingError> {
        let named = || self.scores.iter().zip(epoch.scores);
        let words: String = named().map(|(name, score)| format!(", {name} {score:.4}")).collect();
        eprintln!(
            "epoch {:>3}: loss {:.4}{words}, {:.1} images/s",
            epoch.number + 1,
            epoch.loss,
            epoch.samples_per_second
        );
        let mut values: Vec<(String, f64)> = vec![("train/loss".to_owned(), epoch.loss)];
        values.extend(named().map(|(name, &score)| (format!("validation/{name}"), score)));
        values.push(("train/learning_rate".to_owned(), epoch.learning_rate));
        values.push(("train/gradient_norm".to_owned(), epoch.gradient_norm));
        values.push(("train/images_per_second".to_owned(), epoch.samples_per_second));
        let columns = values.iter().map(|(_, value)| value.to_string());
        self.text += &line(std::iter::once(epoch.number.to_string()).chain(columns));
        write_atomically(&self.path, |out| out.write_all(self.text.as_bytes()))?;
        values.extend(epoch.loss_scale.map(|scale| ("train/loss_scale".to_owned(), scale)));
        // TensorBoard counts epochs as people do.
        self.events.add(epoch.number as i64 + 1, &values)?;
        Ok(())
    }
}

/// A line of CSV.
fn line<S: AsRef<[u8]>>(fields: impl IntoIterator<Item = S>) -> String {
    let mut table = csv::Writer::from_writer(vec![]);
    // Writing into memory does not fail.
    let _ = table.write_record(fields);
    String::from_utf8(table.into_inner().unwrap_or_default()).unwrap_or_default()
}

/// A bar for the `samples` samples of an epoch, on standard error, if it is to be `seen`.
pub(super) fn progress(seen: bool, samples: usize, epoch: usize, epochs: usize) -> ProgressBar {
    if !seen {
        return ProgressBar::hidden();
    }
    let template = "{prefix:>14} {wide_bar} {pos}/{len} images, {speed} images/s, {eta} left, {msg}";
    let style = ProgressStyle::with_template(template).unwrap_or_else(|_| ProgressStyle::default_bar());
    let style = style.with_key("speed", |state: &ProgressState, out: &mut dyn std::fmt::Write| {
        let _ = write!(out, "{:.1}", state.per_sec());
    });
    ProgressBar::new(samples as u64).with_style(style).with_prefix(format!("epoch {}/{epochs}", epoch + 1))
}
