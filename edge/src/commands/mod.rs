//! What `thorax-edge` can be told to do, a file for each command. A command takes its arguments and gives the exit code; what it
//! fails with is the device's failure.

pub mod bench;
pub mod board;
pub mod bundle;
pub mod journal;
pub mod manual;
pub mod page;
pub mod phantom;
pub mod screen;
pub mod serve;
pub mod threshold;
pub mod worklist;

use crate::cli::Command;

/// Carries out `command`, and gives the exit code (see [`crate::cli`]).
///
/// # Errors
/// Whatever ends the program with [`crate::cli::DEVICE_FAILED`].
pub fn run(command: Command) -> anyhow::Result<u8> {
    match command {
        Command::Screen(args) => screen::run(&args),
        Command::Bench(args) => bench::run(&args),
        Command::Serve(args) => serve::run(&args),
        Command::Journal(args) => journal::run(args),
        Command::Bundle(args) => bundle::run(args),
        Command::Threshold(args) => threshold::run(args),
        Command::Worklist(args) => worklist::run(&args),
        Command::Board(args) => board::run(&args),
        Command::Page(args) => page::run(args),
        Command::Phantom(args) => phantom::run(&args),
        Command::Manual(args) => manual::run(&args),
    }
}
