//! `thorax-edge`: the device's command line. It reads the arguments, has the command carried out, and gives the exit code.

use std::process::ExitCode;

use clap::Parser;
use thorax_edge::{
    cli::{Arguments, DEVICE_FAILED},
    commands,
};

fn main() -> ExitCode {
    match commands::run(Arguments::parse().command) {
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
