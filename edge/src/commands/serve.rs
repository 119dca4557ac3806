//! `thorax-edge serve`: the appliance.

use anyhow::Context;
use thorax_engine::{golden, screening::Screener, trust};
use thorax_phantom::{GOLDEN_SIDE, Phantom};

use crate::{
    cli::{BundleArgs, DataArgs, LogLevel, ServeArgs},
    profile::{Profile, data_folder},
    serve::{self, Service},
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
    let (profile, data) = place(&args.place)?;
    let bundles = BundleArgs { bundles: profile.screening.bundles.clone(), trust: profile.screening.trust.clone() };
    let screener = Screener::open(&bundles.paths()?, &trust::trusted_keys(bundles.trust.as_deref())?)?;
    for model in screener.models() {
        tracing::info!(bundle = model.title(), path = %model.path.display(), "bundle trusted");
        let draw = |seed, lesions| Phantom::generate(model.manifest.modality, seed, GOLDEN_SIDE, lesions).pixels();
        match golden::check(model, draw)? {
            0 => tracing::warn!(bundle = model.title(), "brings no answers to test itself by; bundles of format 2 do"),
            answers => tracing::info!(bundle = model.title(), answers, "self-test passed"),
        }
    }
    Service::new(profile, data, screener)?.run()
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
