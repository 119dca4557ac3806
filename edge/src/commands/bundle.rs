//! `thorax-edge bundle`: which bundles the appliance runs.

use std::{
    io::Write,
    path::{Path, PathBuf},
};

use serde_json::json;
use thorax_bundles::{Bundles, Installed, State};
use thorax_journal::Moment;
use thorax_shared::modality::Modality;

use super::serve::place;
use crate::{
    cli::{ALL_SCREENED, BundleCommand, BundleCommandArgs},
    serve::{bundles as served, own_folder},
};

/// Does it, and says what was done.
///
/// # Errors
/// What is wrong with the bundle, the profile or the folder of data; nothing was changed then.
pub fn run(args: BundleCommandArgs) -> anyhow::Result<u8> {
    let (profile, data) = place(&args.place)?;
    let mut out = std::io::stdout().lock();
    match args.action {
        BundleCommand::Install { file, by } => {
            let file = only_bundle(&file)?;
            own_folder(&data)?;
            let done = served::install(&profile, &data, &file, by.as_deref())?;
            served::tell_journal(&mut Bundles::open(&data)?, &profile, &data);
            writeln!(
                out,
                "{} for {} installed, {} golden answers given",
                done.installed.title, done.modality, done.answers
            )?;
            let former = done.former.map_or("what the profile names".into(), |former| former.title);
            writeln!(out, "it is on trial as soon as the appliance is at work; to go back to: {former}")?;
            if let Some(cause) = done.taken_back_before {
                writeln!(out, "note: this very bundle was taken back before: {cause}")?;
            }
        }
        BundleCommand::Rollback { modality, by, why } => {
            let mut bundles = Bundles::open(&data)?;
            let gone = bundles.roll_back(modality, &why, by.as_deref(), served::now())?;
            served::tell_journal(&mut bundles, &profile, &data);
            let active = bundles.state().slot(modality).active.as_ref();
            let active = active.map_or("what the profile names", |active| &active.title);
            writeln!(out, "{} taken back; the appliance runs {active}", gone.title)?;
        }
        BundleCommand::List { json } => list(&Bundles::look(&data)?, json, &mut out)?,
        BundleCommand::Status { json: true } => {
            writeln!(out, "{:#}", serde_json::to_value(Bundles::look(&data)?)?)?;
        }
        BundleCommand::Status { json: false } => status(&Bundles::look(&data)?, &mut out)?,
    }
    Ok(ALL_SCREENED)
}

/// The bundle that is meant by a file, or by a folder with one.
fn only_bundle(path: &Path) -> anyhow::Result<PathBuf> {
    if !path.is_dir() {
        return Ok(path.to_owned());
    }
    let entries = std::fs::read_dir(path).map_err(|error| anyhow::anyhow!("{}: {error}", path.display()))?;
    let found: Vec<PathBuf> = entries
        .flatten()
        .map(|entry| entry.path())
        .filter(|path| path.extension().is_some_and(|extension| extension == "thorax") && path.is_file())
        .collect();
    match &found[..] {
        [only] => Ok(only.clone()),
        found => anyhow::bail!("{}: {} bundles (*.thorax) in it: name the file", path.display(), found.len()),
    }
}

fn utc(unix_milliseconds: i64) -> String {
    Moment { unix_milliseconds, device_milliseconds: 0 }.utc()
}

fn list(state: &State, json: bool, out: &mut dyn Write) -> anyhow::Result<()> {
    for modality in Modality::ALL {
        let slot = state.slot(modality);
        let kept = |role: &'static str, installed: &Option<Installed>| installed.clone().map(|it| (role, it));
        let active = if slot.trial.is_some() { "on trial" } else { "active" };
        for (role, it) in [kept(active, &slot.active), kept("former", &slot.former)].into_iter().flatten() {
            let (by, installed) = (it.by.as_deref().unwrap_or("-"), utc(it.unix_milliseconds));
            if json {
                let (title, sha256) = (&it.title, it.sha256);
                writeln!(
                    out,
                    "{}",
                    json!({ "modality": modality, "role": role, "bundle": title, "sha256": sha256, "by": it.by, "installed_utc": installed })
                )?;
            } else {
                writeln!(out, "{modality:<5} {role:<9} {:<24} {}  {installed}  {by}", it.title, it.sha256)?;
            }
        }
    }
    Ok(())
}

fn status(state: &State, out: &mut dyn Write) -> anyhow::Result<()> {
    for modality in Modality::ALL {
        let slot = state.slot(modality);
        let title = |installed: &Option<Installed>| {
            installed
                .as_ref()
                .map_or("what the profile names".into(), |it| format!("{} ({})", it.title, it.sha256.short()))
        };
        writeln!(out, "{modality}: {}", title(&slot.active))?;
        if slot.active.is_some() {
            writeln!(out, "  to go back to: {}", title(&slot.former))?;
        }
        if let Some(trial) = slot.trial {
            let since = if trial.at_work { "" } else { ", not at work at the moment" };
            writeln!(out, "  on trial: {} studies read, went down {} times{since}", trial.studies, trial.went_down)?;
        }
        if let Some(gone) = &slot.rolled_back {
            writeln!(out, "  taken back {}: {}: {}", utc(gone.unix_milliseconds), gone.title, gone.cause)?;
        }
        if let Some(set) = &slot.thresholds {
            let (negative, positive, by) = (set.negative_at, set.positive_at, &set.by);
            writeln!(
                out,
                "  thresholds of the site: negative below {negative}, positive from {positive}, set by {by}"
            )?;
        }
    }
    Ok(())
}
