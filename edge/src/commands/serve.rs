//! `thorax-edge serve`: the appliance.

use std::path::PathBuf;

use anyhow::Context;
use thorax_board::config::{Drawn, Panel, Png};
use thorax_engine::{graph, threads};

use crate::{
    cli::{DataArgs, LogLevel, ServeArgs},
    profile::{Profile, data_folder},
    serve::{self, Service, bundles::Chosen, demo::Demo, display::Display},
};

/// Serves until it is told to stop.
///
/// # Errors
/// When the profile, the bundles, the journal or a port are not as they should be, or the device fails, as in the self-test of a bundle.
pub fn run(args: &ServeArgs) -> anyhow::Result<u8> {
    serve::log_to_here(match args.log {
        LogLevel::Error => tracing::Level::ERROR,
        LogLevel::Warn => tracing::Level::WARN,
        LogLevel::Info => tracing::Level::INFO,
        LogLevel::Debug => tracing::Level::DEBUG,
    });
    anyhow::ensure!(args.place.board.is_some(), "no board: name one with --board, as --board boards/desktop");
    let (mut profile, mut data) = place(&args.place)?;
    // A rehearsal has data of its own, so that no phantom lies among patients.
    let rehearsal = args.demo.then(|| Demo::start(&mut profile)).transpose()?;
    if rehearsal.is_some() {
        data.push("demo");
    }
    serve::own_folder(&data)?;
    if rehearsal.is_some() && profile.panel.is_none() {
        let file = data.join("panel.png");
        tracing::info!(file = %file.display(), "no panel in the profile: what it would show is drawn into a file, again and again");
        profile.panel = Some(Panel::Png(Png { file, drawn: Drawn::default() }));
    }
    let executor = profile.executor.unwrap_or_default();
    if executor.gpu {
        let told = |reason| {
            anyhow::anyhow!(
                "no GPU ({reason}): leave executor.gpu out of the profile, or see \"The GPU of a Jetson\" in boards/README.md"
            )
        };
        graph::use_gpu().map_err(told)?;
    }
    let threads = threads::share_among(executor.threads * profile.screening.workers);
    tracing::info!(threads, gpu = executor.gpu, "a study is read by the threads of [executor]");
    let site = &profile.site;
    let display = Display::start(profile.tables(), site.name.clone(), site.language, data.clone());
    let display = display.context("no thread for the panel")?;
    let ended = serve(&display, profile, data);
    display.end(ended.as_ref().err().map(|error| format!("{error:#}")));
    drop(rehearsal);
    ended
}

fn serve(display: &Display, profile: Profile, data: PathBuf) -> anyhow::Result<u8> {
    let chosen = Chosen::at_start(&profile, &data)?;
    let service = Service::new(profile, data, chosen)?;
    display.attach(&service);
    service.run()
}

/// The profile and the folder of data, a whole path.
///
/// # Errors
/// When the profile cannot be read, or nothing says where data are.
pub(super) fn place(args: &DataArgs) -> anyhow::Result<(Profile, std::path::PathBuf)> {
    let profile = args.board.as_deref().map(Profile::read).transpose()?.unwrap_or_default();
    let data = data_folder(args.data.as_deref(), &profile, |name| std::env::var_os(name).map(Into::into));
    let data = data.context("no folder of data: name one with --data, or set HOME")?;
    Ok((profile, std::path::absolute(data)?))
}
