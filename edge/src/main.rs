//! `thorax-edge`: the device's command line. It reads arguments, calls the stages, and writes what they found.

use std::{
    collections::BTreeSet,
    io::Write as _,
    path::{Path, PathBuf},
    process::ExitCode,
    time::Instant,
};

use anyhow::Context;
use clap::Parser;
use embedded_graphics::geometry::Size;
use thorax_decode::{self, Limits, Study};
use thorax_edge::{
    bench,
    cli::{ALL_SCREENED, Arguments, BAD_USAGE, Command, DEVICE_FAILED, SOME_REFUSED, ScreenArgs},
    draw::{self, MessageScreen, Tone},
    report::{self, Row},
};
use thorax_engine::{
    screening::{Reading, Screener, Screening},
    trust,
};
use thorax_files::write_atomically;
use thorax_shared::plane::{Orientation, Plane};

/// The panel.
const PANEL: Size = Size::new(320, 240);

fn main() -> ExitCode {
    let result = match Arguments::parse().command {
        Command::Screen(args) => screen(&args),
        Command::Bench(args) => bench::run(&args).map(|()| ALL_SCREENED),
    };
    match result {
        Ok(code) => ExitCode::from(code),
        // Whoever read our output has seen enough (`| head`): nothing to say, but not every file was screened.
        Err(error) if is_broken_pipe(&error) => ExitCode::from(DEVICE_FAILED),
        Err(error) => {
            eprintln!("thorax-edge: {error:#}");
            ExitCode::from(DEVICE_FAILED)
        }
    }
}

fn is_broken_pipe(error: &anyhow::Error) -> bool {
    error.chain().any(|cause| {
        let io = cause.downcast_ref::<std::io::Error>().map(std::io::Error::kind);
        let json = cause.downcast_ref::<serde_json::Error>().and_then(serde_json::Error::io_error_kind);
        io.or(json) == Some(std::io::ErrorKind::BrokenPipe)
    })
}

fn screen(args: &ScreenArgs) -> anyhow::Result<u8> {
    let screener =
        Screener::open(&args.input.bundles.paths()?, &trust::trusted_keys(args.input.bundles.trust.as_deref())?)?;
    let mut output = Output::new(args)?;
    let names = result_names(&args.input.files);
    if let Some(path) = output.overwritten_input(&names) {
        eprintln!(
            "thorax-edge: {}: a result would be written over this input; choose another folder for --masks or --display",
            path.display()
        );
        return Ok(BAD_USAGE);
    }
    let mut refused = false;
    for (file, name) in args.input.files.iter().zip(&names) {
        let row = screen_file(args, &screener, file, name, &output)?;
        refused |= row.is_refused();
        output.tell(&row)?;
    }
    if !args.json {
        println!("Research use only, not a medical device.");
    }
    Ok(if refused { SOME_REFUSED } else { ALL_SCREENED })
}

/// Screens one file. What is wrong with the file is its row; what is wrong with the device is an error.
fn screen_file(
    args: &ScreenArgs,
    screener: &Screener,
    file: &Path,
    name: &str,
    output: &Output<'_>,
) -> anyhow::Result<Row> {
    let start = Instant::now();
    let study = match thorax_decode::decode(file, &Limits::default()) {
        Ok(study) => study,
        Err(error) => return output.refuse(file, name, error.to_string()),
    };
    let decoded = start.elapsed();
    let orientation = match &study {
        Study::Image(frame) => frame.orientation,
        Study::Volume(volume) => volume.slice(0).map(|frame| frame.orientation).unwrap_or_default(),
    };
    let mut written = Ok(());
    let screened = screener.screen(&study, args.input.modality.map(Into::into), args.slices, |slice, reading| {
        if written.is_ok() {
            written = output.masks(name, slice, reading, orientation);
        }
    });
    written?;
    match screened {
        Ok(screening) => {
            output.show(file, name, &screening)?;
            Ok(Row::screened(file, &screening, decoded))
        }
        Err(error) => output.refuse(file, name, error.to_string()),
    }
}

/// What the files of the masks have behind the name: infection, the patient's left and right lung.
const MASK_SUFFIXES: [&str; 3] = ["", "_left_lung", "_right_lung"];

fn mask_path(folder: &Path, name: &str, suffix: &str) -> PathBuf {
    folder.join(format!("{name}{suffix}.png"))
}

/// What each file's results are called: its name without the extension, or with it, or with a number too, where results of
/// two files would meet.
fn result_names(files: &[PathBuf]) -> Vec<String> {
    let mut taken = BTreeSet::new();
    let mut name_for = |file: &PathBuf| {
        let whole = file.file_name().map_or_else(|| "input".into(), |name| name.to_string_lossy().into_owned());
        let lower = whole.to_ascii_lowercase();
        let cut = [".nii.gz", ".nii", ".dcm", ".png", ".jpg", ".jpeg", ".tif", ".tiff"]
            .into_iter()
            .find(|extension| lower.ends_with(extension) && lower.len() > extension.len())
            .map_or(whole.len(), |extension| whole.len() - extension.len());
        let results = |name: &str| MASK_SUFFIXES.map(|suffix| format!("{name}{suffix}"));
        let name = [whole[..cut].to_owned(), whole.clone()]
            .into_iter()
            .chain((2..).map(|number| format!("{whole}_{number}")))
            .find(|name| results(name).iter().all(|result| !taken.contains(result)))
            .unwrap_or(whole);
        taken.extend(results(&name));
        name
    };
    files.iter().map(&mut name_for).collect()
}

/// Where results go.
struct Output<'a> {
    args: &'a ScreenArgs,
    display_folder: bool,
    header_told: bool,
}

impl<'a> Output<'a> {
    fn new(args: &'a ScreenArgs) -> anyhow::Result<Self> {
        let display_folder = args.display.as_ref().is_some_and(|path| args.input.files.len() > 1 || path.is_dir());
        let folders = args.masks.iter().chain(args.display.iter().filter(|_| display_folder));
        for folder in folders {
            std::fs::create_dir_all(folder)
                .with_context(|| format!("{}: cannot be made a folder", folder.display()))?;
        }
        Ok(Self { args, display_folder, header_told: false })
    }

    /// The input that a result of one of `names` would be written over, if there is one.
    fn overwritten_input(&self, names: &[String]) -> Option<PathBuf> {
        let inputs: BTreeSet<PathBuf> =
            self.args.input.files.iter().filter_map(|file| file.canonicalize().ok()).collect();
        let masks = |name: &String| {
            self.args
                .masks
                .iter()
                .flat_map(|folder| MASK_SUFFIXES.map(|suffix| mask_path(folder, name, suffix)))
                .collect::<Vec<_>>()
        };
        names
            .iter()
            .flat_map(|name| masks(name).into_iter().chain(self.display_path(name)))
            .find(|path| path.canonicalize().is_ok_and(|path| inputs.contains(&path)))
    }

    fn tell(&mut self, row: &Row) -> anyhow::Result<()> {
        let mut out = std::io::stdout().lock();
        if self.args.json {
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

    fn refuse(&self, file: &Path, name: &str, reason: String) -> anyhow::Result<Row> {
        if let Some(path) = self.display_path(name) {
            let (text, remedy) = match reason.split_once(": ") {
                Some((text, remedy)) => (text, Some(remedy)),
                None => (reason.as_str(), None),
            };
            let file_name = file.file_name().unwrap_or_default().to_string_lossy();
            let screen = MessageScreen { tone: Tone::Problem, title: "REJECTED", name: &file_name, text, remedy };
            draw::render_png(&screen, PANEL, &path)?;
        }
        Ok(Row::refused(file, reason))
    }

    fn display_path(&self, name: &str) -> Option<PathBuf> {
        let path = self.args.display.as_ref()?;
        Some(if self.display_folder { path.join(format!("{name}.png")) } else { path.clone() })
    }

    fn show(&self, file: &Path, name: &str, screening: &Screening<'_>) -> anyhow::Result<()> {
        let Some(path) = self.display_path(name) else { return Ok(()) };
        let file_name = file.file_name().unwrap_or_default().to_string_lossy();
        draw::render_png(&report::panel(screening, &file_name, &screening.model.title()), PANEL, &path)?;
        Ok(())
    }

    /// Writes the masks of a reading, turned back to the rows and columns of the file.
    fn masks(
        &self,
        name: &str,
        slice: Option<usize>,
        reading: &Reading,
        orientation: Orientation,
    ) -> anyhow::Result<()> {
        let (Some(folder), Some(masks)) = (&self.args.masks, &reading.masks) else { return Ok(()) };
        let name = slice.map_or_else(|| name.to_owned(), |slice| format!("{name}_slice{slice:04}"));
        for (suffix, mask) in MASK_SUFFIXES.into_iter().zip([&masks.infection, &masks.left_lung, &masks.right_lung]) {
            write_mask(&mask_path(folder, &name, suffix), &mask.oriented(orientation.inverse()))?;
        }
        Ok(())
    }
}

fn write_mask(path: &Path, mask: &Plane<u8>) -> anyhow::Result<()> {
    let (width, height) = (u32::try_from(mask.width())?, u32::try_from(mask.height())?);
    let image = image::GrayImage::from_raw(width, height, mask.data().to_vec()).context("a mask of another size")?;
    let mut bytes = std::io::Cursor::new(Vec::new());
    image.write_to(&mut bytes, image::ImageFormat::Png)?;
    write_atomically(path, |out| out.write_all(bytes.get_ref()))?;
    Ok(())
}
